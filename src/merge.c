#include "config.h"
#include "merge.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mergeint.h"

#define ROOT_RETRY_MS 500       /* another live root: until it was found good, or gone */
#define DENIED_RETRY_MS 2000    /* and longer each time */
#define SIDECAR_RETRY_MS 10000  /* the same */
#define LINK_RETRY_MS 10000     /* a source that does not answer: the same */
#define FUTURE_S 60             /* a clock may be off by so much without a word */

struct merge_scratch *merge_scratch_new(void)
{
	return calloc(1, sizeof(struct merge_scratch));
}

void merge_scratch_free(struct merge_scratch *scratch)
{
	if (!scratch)
		return;
	rrd_free(&scratch->live);
	gather_free(&scratch->gather);
	free(scratch->map);
	free(scratch->source);
	plan_free(&scratch->plan);
	pdps_free(&scratch->pdps);
	reshape_free(&scratch->reshape);
	give_free(&scratch->give);
	record_free(&scratch->record);
	ledger_undo_free(&scratch->undo);
	sidecar_free(&scratch->sidecar);
	free(scratch);
}

/* Room for `sources` sources of a file with `ds_cnt` data sources. */
static int reserve(struct merge_scratch *scratch, unsigned sources, uint64_t ds_cnt)
{
	size_t count = (size_t)ds_cnt * sources;

	if (count > scratch->map_capacity) {
		uint64_t *grown = reallocarray(scratch->map, count, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		scratch->map = grown;
		scratch->map_capacity = count;
	}
	if (sources > scratch->source_capacity) {
		struct plan_source *grown = reallocarray(scratch->source, sources, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		scratch->source = grown;
		scratch->source_capacity = sources;
	}
	return 0;
}

/* ---- the end of a job ---- */

void merge_finish(struct merge_job *job, enum merge_outcome outcome)
{
	job->result->outcome = outcome;
}

void merge_fail(struct merge_job *job, const char *side, const struct reason *why)
{
	merge_finish(job, MERGE_FAILED);
	job->result->settled = false;
	reason_set(&job->result->why, "%s %s", side, why->text);
}

void merge_note_denied(struct merge_job *job, int error, enum merge_denied what)
{
	if (error != -EACCES && error != -EPERM && error != -EROFS)
		return;
	job->result->denied = what;
	/* A file that was just put there may be given to its owner in a moment. */
	if (!job->result->retry_ms)
		job->result->retry_ms = DENIED_RETRY_MS;
}

void merge_again(struct merge_job *job, enum merge_outcome outcome, unsigned in_ms, const char *side,
		  const struct reason *why)
{
	merge_finish(job, outcome);
	job->result->partial = false;   /* what was refused is said when the job has ended */
	job->result->settled = false;
	job->result->retry_ms = in_ms;
	reason_set(&job->result->why, "%s %s", side, why->text);
}

void merge_advise(struct reason *why, int error)
{
	if (error == -EACCES || error == -EPERM)
		reason_add(why, "give it to the user as whom this runs, or run this as its owner, or "
			   "as root");
	else if (error == -EROFS)
		reason_add(why, "mount it for writing; where systemd started this, its "
			   "ReadWritePaths= must name the live tree");
}

/* ---- sources ---- */

/* May a sidecar of live's, which is still to come, lead to files of pnp4nagios' other storage type? */
static bool lacks_sidecar(const struct merge_job *job)
{
	return job->site->wait_sidecar && job->site->match != LABELS_NAME &&
	       !job->scratch->sidecar.bytes &&
	       source_has_sidecar(&job->site->sources, job->request->rel);
}

/* No source has the file.  What is no file in the first place is said all the same. */
static void skip(struct merge_job *job)
{
	struct stat st;

	merge_finish(job, MERGE_SKIPPED);
	if (fstatat(job->root, job->request->rel, &st, AT_SYMLINK_NOFOLLOW)) {
		if (errno == ENOENT || errno == ENOTDIR)
			merge_finish(job, MERGE_GONE);
	} else if (!S_ISREG(st.st_mode)) {
		struct reason why;

		reason_set(&why, S_ISLNK(st.st_mode) ? "is a symbolic link, which is not followed"
						     : "is not a regular file");
		merge_fail(job, "live", &why);
		job->result->settled = true;    /* no backup will change that */
	} else {
		job->result->stamp = io_stamp_of(&st);
		job->result->unlabelled = lacks_sidecar(job);
	}
}

/* False where the job has ended. */
static bool read_sources(struct merge_job *job)
{
	struct gather *gather = &job->scratch->gather;
	struct merge_result *result = job->result;
	const struct gather_request request = {
		.sources = &job->site->sources,
		.rel = job->request->rel,
		.sidecar = job->site->match == LABELS_NAME ? NULL : &job->scratch->sidecar,
		.rest_s = job->site->rest_s,
		.strict_roots = job->site->strict_roots,
		.last_try = job->request->last_try,
		.again = job->site->ledger &&
			 ledger_intended(job->site->ledger, job->scratch->key, LEDGER_MERGE),
		.memo = job->request->memo,
	};
	enum gather_outcome outcome = gather_read(gather, &request);

	result->sources = gather->found;
	result->source_missing = gather->missing;
	result->denied = gather->denied ? MERGE_DENIED_SOURCE : MERGE_ALLOWED;
	result->retry_ms = gather->retry_ms;
	result->memo = gather->memo;
	result->bytes = gather->bytes;
	switch (outcome) {
	case GATHER_READY:
		return true;
	case GATHER_NONE:
		skip(job);
		return false;
	case GATHER_REFUSED:
		merge_finish(job, MERGE_FAILED);
		break;
	case GATHER_RESTING:
		merge_finish(job, MERGE_RESTING);
		break;
	case GATHER_TORN:
		merge_finish(job, MERGE_TORN);
		break;
	}
	result->why = gather->why;
	return false;
}

/* ---- planning ---- */

static int check_live(struct merge_job *job, struct reason *why)
{
	const struct rrd *live = &job->scratch->live;

	if (!live->head.native) {
		reason_set(why, "was written on another kind of machine (%s), so nothing here can "
			   "be writing it; make it this machine's own with \"rrdmerge --convert OLD "
			   "NEW.rrd\", or with \"rrdtool dump\" there and \"rrdtool restore\" here",
			   live->origin);
		return REFUSED;
	}
	if (gather_holds(&job->scratch->gather, &live->stamp)) {
		reason_set(why, "and backup are the same file");
		return REFUSED;
	}
	int linked = source_holds_inode(&job->site->sources, &live->stamp);
	if (visits_given_up())          /* another has the file in hand by now */
		linked = -EAGAIN;
	if (linked < 0)
		job->result->retry_ms = LINK_RETRY_MS;
	if (linked)
		reason_set(why, linked < 0 ? "has several links, and whether a file of a backup is one "
			   "cannot be known before that backup answers"
			   : "is a hard link to a file of the backup, which would change too");
	if (linked)
		return REFUSED;
	return 0;
}

static int read_live(struct merge_job *job, int fd, struct reason *why)
{
	struct merge_scratch *scratch = job->scratch;
	int r = 0, own = -1;

	if (fd < 0) {
		r = io_open_file(job->root, job->request->rel, O_RDONLY, &own, NULL, why);
		fd = own;
	}
	if (!r) {
		scratch->file_id = io_file_id(fd, "");
		r = rrd_read(&scratch->live, fd, why);
	}
	if (own >= 0)
		close(own);
	if (!r)
		r = check_live(job, why);
	return r;
}

int merge_read_live(struct merge_job *job, int fd)
{
	struct reason why = { "" };
	int r = read_live(job, fd, &why);

	if (r == -ESTALE || r == -EAGAIN)
		return -ESTALE;
	if (r == -ENOENT) {
		merge_finish(job, MERGE_GONE);
	} else if (r) {
		merge_advise(&why, r);
		merge_note_denied(job, r, MERGE_DENIED_READ);
		merge_fail(job, "live", &why);
	} else {
		job->result->bytes += job->scratch->live.size;
		job->result->stamp = job->scratch->live.stamp;
	}
	return r ? 1 : 0;
}

/* Of seven backups, each may have the same to say: the first of them is named, but where live alone
 * is at fault. */
static void add_once(const struct merge_job *job, struct reason *all,
		     const struct gather_input *input, const struct reason *why)
{
	const struct source_set *sources = &job->site->sources;
	char side[GATHER_SIDE_SIZE];

	if (strstr(all->text, why->text))
		return;
	if (sources->count == 1 || !strncmp(why->text, "live ", 5))
		reason_add(all, "%s", why->text);
	else
		reason_add(all, "%s: %s", gather_side(sources, input->source, side), why->text);
}

/* Others may come that prove what these do not.  Of a backup's no event tells, and its RRD is the same
 * as before: it is looked for now and then. */
static void wait_for_sidecars(struct merge_job *job)
{
	if (!job->result->retry_ms)
		job->result->retry_ms = SIDECAR_RETRY_MS;
	job->result->unlabelled = job->scratch->useless.text[0];
}

/* Fills live's image from all sources.  0, or REFUSED where nothing can be taken from any. */
static int plan_sources(struct merge_job *job, struct reason *refusals)
{
	struct merge_scratch *scratch = job->scratch;
	const struct plan_options *options = &job->site->options;
	struct rrd *live = &scratch->live;
	struct reason apart = { "" };   /* sources that have nothing in common with live */
	unsigned taken = 0;
	int r;

	plan_clear(&scratch->plan);
	*refusals = scratch->gather.why;
	if (reserve(scratch, scratch->gather.inputs, live->head.ds_cnt))
		return reason_errno(refusals, ENOMEM, "cannot plan");
	for (unsigned n = 0; n < scratch->gather.inputs; n++) {
		const struct gather_input *input = &scratch->gather.input[n];
		uint64_t *map = scratch->map + taken * live->head.ds_cnt;
		struct plan_source *source = &scratch->source[taken];
		struct labels_verdict verdict = { 0 };
		struct reason why = { "" };

		r = merge_match(job, n, map, &verdict, &why);
		if (r == -ENOMEM)
			return reason_errno(refusals, ENOMEM, "cannot plan");
		if (r || verdict.refused || verdict.useless)
			add_once(job, verdict.refused || verdict.useless ? refusals : &apart,
				 input, &why);
		if (verdict.refused && verdict.told)
			wait_for_sidecars(job);
		if (r == REFUSED)
			continue;
		job->result->unproven = job->result->unproven || verdict.unproven;
		*source = (struct plan_source){ &input->db, map, n };
		r = plan_fill(&scratch->plan, live, source, options, &why);
		if (r == REFUSED)
			add_once(job, &apart, input, &why);
		else if (r)
			return reason_errno(refusals, -r, "cannot plan");
		else
			taken++;
	}
	/* With another source to take from, one that fits nothing is no refusal. */
	if (!taken && apart.text[0])
		reason_add(refusals, "%s", apart.text);
	if (!taken)
		return REFUSED;
	r = options->exact ? 0 : seam_heal(&scratch->plan, live, scratch->source, taken, options,
					   &scratch->pdps);
	if (!r)
		r = give_reshape(&scratch->give, &scratch->plan, live, scratch->source, taken,
				 options, &scratch->reshape);
	if (!r)
		r = plan_finish(&scratch->plan, live);
	return r ? reason_errno(refusals, -r, "cannot plan") : 0;
}

static void note_times(struct merge_job *job)
{
	const struct rrd *live = &job->scratch->live;
	const struct gather *gather = &job->scratch->gather;
	int64_t newest = live->head.last_up > gather->newest ? live->head.last_up : gather->newest;

	job->result->source_newer = gather->newest > live->head.last_up;
	job->result->settled = gather->all_seen && live->head.last_up > gather->newest;
	job->result->future = newest > (int64_t)time(NULL) + FUTURE_S;
}

/* rrdcached knows the file by the path by which it is written to. */
static void flush(const struct merge_job *job)
{
	char path[MERGE_KEY_SIZE];

	snprintf(path, sizeof(path), "%s/%s", job->site->live, job->request->rel);
	cached_flush(job->site->cached, path);
}

/* See merge_job.plan. */
static int plan(struct merge_job *job, int fd)
{
	struct merge_scratch *scratch = job->scratch;
	struct merge_result *result = job->result;
	struct reason refusals;

	/* Not under the lease: it would open the file, and wait for us. */
	if (fd < 0 && job->site->cached && !job->request->just_written)
		flush(job);
	int r = merge_read_live(job, fd);

	if (r)
		return r < 0 ? r : 0;
	/* Under the lease nothing waits for the ledger's disk. */
	if (fd < 0)
		merge_heed_undo(job);
	note_times(job);
	r = give_up(&scratch->give, job->site->ledger, scratch->key, fd < 0, scratch->file_id,
		    &scratch->live);
	r = r ? reason_errno(&refusals, -r, "cannot plan") : plan_sources(job, &refusals);
	result->why = refusals;
	result->partial = refusals.text[0] != '\0';
	if (r) {
		merge_finish(job, MERGE_FAILED);
		return 0;
	}
	result->unhealed = scratch->plan.unhealed;
	if (job->site->planned && fd < 0 && !merge_wrote(result) && !job->request->wrote)
		job->site->planned(&scratch->live, &scratch->plan, &scratch->gather,
				   job->site->planned_arg);
	if (plan_is_empty(&scratch->plan)) {
		merge_finish(job, merge_wrote(result) ? MERGE_MERGED : MERGE_UNCHANGED);
		return 0;
	}
	return 1;
}

/* ---- the record ---- */

/* The sources that can be used, whether live takes from them or not: where one changes, the file is
 * to be looked at again. */
static int record_sources(struct merge_job *job)
{
	const struct source_set *sources = &job->site->sources;
	struct merge_scratch *scratch = job->scratch;
	int r = 0;

	record_begin(&scratch->record);
	for (unsigned n = 0; n < scratch->gather.inputs && !r; n++) {
		const struct gather_input *input = &scratch->gather.input[n];

		r = record_source(&scratch->record, &sources->source[input->source],
				  input->file.rel, &input->db.stamp);
	}
	return r;
}

static enum ledger_verdict verdict_of(enum merge_outcome outcome)
{
	switch (outcome) {
	case MERGE_MERGED:
		return LEDGER_MERGED;
	case MERGE_UNCHANGED:
		return LEDGER_UNCHANGED;
	case MERGE_SKIPPED:
		return LEDGER_SKIPPED;
	case MERGE_FAILED:
		return LEDGER_REFUSED;
	default:
		return LEDGER_NOTHING;
	}
}

static struct ledger_outcome outcome_of(const struct merge_job *job, bool wrote)
{
	const struct merge_result *result = job->result;
	const uint64_t *kind = result->counts.of_kind;
	bool complete = result->outcome <= MERGE_UNCHANGED;

	return (struct ledger_outcome){
		.result = !wrote ? LEDGER_VOID : complete ? LEDGER_DONE : LEDGER_PART,
		.cells = { kind[PLAN_EXACT], kind[PLAN_SEAM], kind[PLAN_CONSOLIDATED],
			   kind[PLAN_SPREAD] },
		.took_ns = io_now_ns() - job->started_ns,
		.reason = result->why.text[0] ? result->why.text : NULL,
		.state = record_state(verdict_of(result->outcome),
				      result->settled && !result->partial, &result->stamp, job->scratch->file_id,
				      job->scratch->live.size
				      ? record_identity(&job->scratch->live.head) : 0,
				      record_digest(&job->scratch->record, job->request->rel),
				      result->counts.cells),
	};
}

void merge_end(struct merge_job *job)
{
	struct ledger *ledger = job->site->ledger;
	const char *key = job->scratch->key;

	if (!ledger || job->site->dry_run || visits_given_up() || job->result->outcome >= MERGE_BUSY ||
	    job->result->outcome == MERGE_HELD)
		return;
	int64_t id = ledger_intended(ledger, key, job->undo ? LEDGER_UNDO : LEDGER_MERGE);
	struct ledger_outcome outcome =
		outcome_of(job, merge_wrote(job->result) || job->request->wrote);

	if (id)
		ledger_applied(ledger, key, id, &outcome);
	if ((!id || outcome.result == LEDGER_VOID) && !job->undo &&
	    job->result->outcome != MERGE_GONE)
		ledger_note(ledger, key, &outcome.state, outcome.reason);
}

/* ---- one file ---- */

uint64_t merge_root_id(const struct stat *st)
{
	uint64_t id = (uint64_t)st->st_dev * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)st->st_ino;

	/* splitmix64's last steps, which map no two numbers to one; neighbours come apart. */
	id = (id ^ id >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	id = (id ^ id >> 27) * UINT64_C(0x94d049bb133111eb);
	id ^= id >> 31;
	return id ? id : 1;
}

/* The path of the live root may lead elsewhere by now: into a backup, say. */
static bool is_good_root(struct merge_job *job)
{
	const struct merge_site *site = job->site;
	struct reason why;
	struct stat st;

	if (!site->root)
		return true;
	uint64_t root = fstat(job->root, &st) ? 0 : merge_root_id(&st);
	uint64_t named = site->named ? atomic_load(site->named) : 0;
	if (root && root == atomic_load(site->root) && (!named || root == named))
		return true;
	reason_set(&why, "tree is another directory than it was");
	merge_again(job, MERGE_BUSY, ROOT_RETRY_MS, "live", &why);
	return false;
}

bool merge_begin(struct merge_job *job)
{
	const struct merge_site *site = job->site;

	memset(job->result, 0, sizeof(*job->result));
	job->started_ns = io_now_ns();
	merge_key(site, job->request->rel, job->scratch->key);
	job->root = io_open_root(site->live);
	if (job->root < 0) {
		struct reason why;

		reason_errno(&why, -job->root, "tree cannot be opened");
		merge_fail(job, "live", &why);
		return false;
	}
	return is_good_root(job);
}

/* Somebody has undone it, and nobody has asked since that it be merged. */
static bool is_held(struct merge_job *job)
{
	struct ledger_state state;
	struct stat st;

	if (!job->site->ledger || !ledger_known(job->site->ledger, job->scratch->key, &state) ||
	    !state.held || fstatat(job->root, job->request->rel, &st, AT_SYMLINK_NOFOLLOW))
		return false;
	job->result->stamp = io_stamp_of(&st);
	job->result->settled = true;
	job->result->sources = 1;       /* it was merged from one, at least */
	merge_finish(job, MERGE_HELD);
	return true;
}

char *merge_key(const struct merge_site *site, const char *rel, char *buffer)
{
	snprintf(buffer, MERGE_KEY_SIZE, "%s/%s", site->name ? site->name : site->live, rel);
	return buffer;
}

void merge_file(struct merge_scratch *scratch, const struct merge_site *site,
		const struct merge_request *request, struct merge_result *ret)
{
	struct merge_job job = {
		.scratch = scratch,
		.site = site,
		.request = request,
		.result = ret,
		.plan = plan,
	};

	if (merge_begin(&job) && !is_held(&job)) {
		/* Somebody wants it merged: what was begun to take it back is not gone on with. */
		if (site->ledger && !site->dry_run)
			ledger_abandon(site->ledger, scratch->key);
		struct reason why;
		bool ready = merge_read_sidecar(&job) && read_sources(&job) && !visits_given_up();

		if (site->ledger && record_sources(&job)) {
			reason_errno(&why, ENOMEM, "cannot be recorded");
			merge_fail(&job, "it", &why);
			ready = false;
		}
		if (ready)
			merge_apply(&job);
		gather_end(&scratch->gather, ret->settled && ret->outcome <= MERGE_UNCHANGED);
		merge_end(&job);
	}
	if (job.root >= 0)
		close(job.root);
	ret->took_ns = io_now_ns() - job.started_ns;
}
