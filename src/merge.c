#include "config.h"
#include "merge.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gather.h"
#include "hold.h"
#include "reshape.h"
#include "seam.h"

#define HOLD_BYTES (UINT64_C(1) << 20)  /* written under one lease at most */
#define LOCK_BYTES (UINT64_C(64) << 10) /* under a lock alone, which costs updates */
#define FREE_PLANS 3            /* plans made without the lease before one is made under it */
#define LEASE_TRIES 24          /* in one go, a few milliseconds altogether */
#define ROOT_RETRY_MS 500       /* another live root: until it was found good, or gone */
#define FUTURE_S 60             /* a clock may be off by so much without a word */
#define QUIET_RETRY_MS 60000    /* a file that is not updated, where leases are refused */

struct merge_scratch {
	struct rrd live;
	struct gather gather;
	uint64_t *map;          /* of all sources, one after the other */
	size_t map_capacity;
	struct plan_source *source;     /* those that can be taken from */
	unsigned source_capacity;
	struct plan plan;
	struct pdps pdps;
	struct reshape reshape;
};

/* One file under way. */
struct job {
	struct merge_scratch *scratch;
	const struct merge_site *site;
	const struct merge_request *request;
	struct merge_result *result;
	int root;
};

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

static void finish(struct job *job, enum merge_outcome outcome)
{
	job->result->outcome = outcome;
}

/* What could not be read or written may be tomorrow: it is not done. */
static void fail(struct job *job, const char *side, const struct reason *why)
{
	finish(job, MERGE_FAILED);
	job->result->settled = false;
	reason_set(&job->result->why, "%s %s", side, why->text);
}

/* Whoever runs this may not do it: told apart, for there will be many of them. */
static void note_denied(struct job *job, int error, enum merge_denied what)
{
	if (error == -EACCES || error == -EPERM || error == -EROFS)
		job->result->denied = what;
}

static void again(struct job *job, enum merge_outcome outcome, unsigned in_ms, const char *side,
		  const struct reason *why)
{
	finish(job, outcome);
	job->result->partial = false;   /* what was refused is said when the job has ended */
	job->result->settled = false;
	job->result->retry_ms = in_ms;
	reason_set(&job->result->why, "%s %s", side, why->text);
}

/* ---- sources ---- */

/* No source has the file.  What is no file in the first place is said all the same. */
static void skip(struct job *job)
{
	struct stat st;

	finish(job, MERGE_SKIPPED);
	if (fstatat(job->root, job->request->rel, &st, AT_SYMLINK_NOFOLLOW)) {
		if (errno == ENOENT || errno == ENOTDIR)
			finish(job, MERGE_GONE);
	} else if (!S_ISREG(st.st_mode)) {
		struct reason why;

		reason_set(&why, S_ISLNK(st.st_mode) ? "is a symbolic link, which is not followed"
						     : "is not a regular file");
		fail(job, "live", &why);
		job->result->settled = true;    /* no backup will change that */
	} else {
		job->result->stamp = io_stamp_of(&st);
	}
}

/* False where the job has ended. */
static bool read_sources(struct job *job)
{
	struct gather *gather = &job->scratch->gather;
	struct merge_result *result = job->result;
	const struct gather_request request = {
		.sources = &job->site->sources,
		.rel = job->request->rel,
		.rest_s = job->site->rest_s,
		.strict_roots = job->site->strict_roots,
		.last_try = job->request->last_try,
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
		finish(job, MERGE_FAILED);
		break;
	case GATHER_RESTING:
		finish(job, MERGE_RESTING);
		break;
	case GATHER_TORN:
		finish(job, MERGE_TORN);
		break;
	}
	result->why = gather->why;
	return false;
}

static void advise(struct reason *why, int error)
{
	if (error == -EACCES || error == -EPERM)
		reason_add(why, "give it to the user as whom this runs, or run this as its owner, or "
			   "as root");
	else if (error == -EROFS)
		reason_add(why, "mount it for writing; where systemd started this, its "
			   "ReadWritePaths= must name the live tree");
}

/* ---- planning ---- */

static int check_live(struct job *job, struct reason *why)
{
	const struct rrd *live = &job->scratch->live;

	if (!live->head.native) {
		reason_set(why, "was written on another kind of machine");
		return REFUSED;
	}
	if (gather_holds(&job->scratch->gather, job->site->sources.count, &live->stamp)) {
		reason_set(why, "and backup are the same file");
		return REFUSED;
	}
	if (source_holds_inode(&job->site->sources, &live->stamp)) {
		reason_set(why, "is a hard link to a file of the backup, which would change too");
		return REFUSED;
	}
	return 0;
}

/* Reads live from `fd`, or opens it for the time of reading when that is -1. */
static int read_live(struct job *job, int fd, struct reason *why)
{
	struct merge_scratch *scratch = job->scratch;
	int r = 0, own = -1;

	if (fd < 0) {
		r = io_open_file(job->root, job->request->rel, O_RDONLY, &own, NULL, why);
		fd = own;
	}
	if (!r)
		r = rrd_read(&scratch->live, fd, why);
	if (own >= 0)
		close(own);
	if (!r)
		r = check_live(job, why);
	return r;
}

/* Fills live's image from all sources.  0, or REFUSED where nothing can be taken from any. */
static int plan_sources(struct job *job, struct reason *refusals)
{
	struct merge_scratch *scratch = job->scratch;
	const struct plan_options *options = &job->site->options;
	struct rrd *live = &scratch->live;
	struct reason apart = { "" };   /* sources that have nothing in common with live */
	unsigned taken = 0;
	int r;

	plan_clear(&scratch->plan);
	*refusals = scratch->gather.why;
	if (reserve(scratch, job->site->sources.count, live->head.ds_cnt))
		return reason_errno(refusals, ENOMEM, "cannot plan");
	for (unsigned n = 0; n < job->site->sources.count; n++) {
		const struct gather_input *input = &scratch->gather.input[n];
		uint64_t *map = scratch->map + taken * live->head.ds_cnt, refused = 0;
		struct plan_source *source = &scratch->source[taken];
		struct reason why = { "" };

		if (!input->usable)
			continue;
		r = source_map(&live->head, &input->db.head, map, &refused, &why);
		if (r || refused)
			reason_add(refused ? refusals : &apart, "%s", why.text);
		if (r == REFUSED)
			continue;
		*source = (struct plan_source){ &input->db, map, n };
		r = plan_fill(&scratch->plan, live, source, options, &why);
		if (r == REFUSED)
			reason_add(&apart, "%s", why.text);
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
	if (!r && !options->exact)
		r = reshape_fill(&scratch->plan, live, scratch->source, taken, options,
				 &scratch->reshape);
	if (!r)
		r = plan_finish(&scratch->plan, live);
	return r ? reason_errno(refusals, -r, "cannot plan") : 0;
}

static void note_times(struct job *job)
{
	const struct rrd *live = &job->scratch->live;
	const struct gather *gather = &job->scratch->gather;
	int64_t newest = live->head.last_up > gather->newest ? live->head.last_up : gather->newest;

	job->result->source_newer = gather->newest > live->head.last_up;
	job->result->settled = gather->all_seen && live->head.last_up > gather->newest;
	job->result->future = newest > (int64_t)time(NULL) + FUTURE_S;
}

/* Reads and plans.  1 where there is something to write; 0 where the job has ended;
 * -ESTALE where live changed under the reading. */
static int plan(struct job *job, int fd)
{
	struct merge_scratch *scratch = job->scratch;
	struct merge_result *result = job->result;
	struct reason why = { "" }, refusals;
	int r = read_live(job, fd, &why);

	if (r == -ESTALE || r == -EAGAIN)
		return -ESTALE;
	if (r == -ENOENT) {
		finish(job, MERGE_GONE);
		return 0;
	}
	if (r) {
		advise(&why, r);
		note_denied(job, r, MERGE_DENIED_READ);
		fail(job, "live", &why);
		return 0;
	}
	result->bytes += scratch->live.size;
	result->stamp = scratch->live.stamp;
	note_times(job);
	r = plan_sources(job, &refusals);
	result->why = refusals;
	result->partial = refusals.text[0] != '\0';
	if (r) {
		finish(job, MERGE_FAILED);
		return 0;
	}
	result->unhealed = scratch->plan.unhealed;
	if (plan_is_empty(&scratch->plan)) {
		finish(job, merge_wrote(result) ? MERGE_MERGED : MERGE_UNCHANGED);
		return 0;
	}
	return 1;
}

/* ---- applying ---- */

static void nap(unsigned try)
{
	struct timespec t = { 0, 20000L << (try < 5 ? try : 5) };

	nanosleep(&t, NULL);
}

static int take_once(struct job *job, bool unleased, struct hold *hold, struct reason *why)
{
	if (job->site->opening)
		job->site->opening(job->request->rel, job->site->opening_arg);
	return hold_take(job->root, job->request->rel, unleased, hold, why);
}

static int take(struct job *job, struct hold *hold, struct reason *why)
{
	int r = -EAGAIN;

	for (unsigned try = 0; try < LEASE_TRIES; try++) {
		r = take_once(job, false, hold, why);
		if (r != -EAGAIN)
			return r;
		nap(try);
	}
	return r;
}

static void busy(struct job *job)
{
	struct reason why;

	reason_set(&why, "is open in another process: trying again until it is closed");
	again(job, MERGE_BUSY, 50, "live", &why);
}

static void add_counts(struct plan_counts *sum, const struct plan_counts *now,
		       const struct plan_counts *before)
{
	sum->cells += now->cells - before->cells;
	for (int kind = 0; kind < PLAN_KINDS; kind++)
		sum->of_kind[kind] += now->of_kind[kind] - before->of_kind[kind];
	sum->opens += now->opens - before->opens;
}

/* What is written is counted when it is written: a plan may not come to its end. */
static void count_written(struct job *job, size_t next, struct plan_counts *counted)
{
	const struct plan *plan = &job->scratch->plan;
	struct merge_result *result = job->result;
	struct plan_counts now = next < plan->extents
		? plan_before(plan, &job->scratch->live, plan->extent[next].offset)
		: plan->counts;
	bool first = !merge_wrote(result);

	if (first || plan->from < result->from)
		result->from = plan->from;
	if (first || plan->to > result->to)
		result->to = plan->to;
	if (!result->source && plan->runs)
		result->source = plan->run[0].source + 1;
	add_counts(&result->counts, &now, counted);
	*counted = now;
}

/* Has the lease or, where there is none, may do without?  Otherwise the job has ended. */
static bool may_write(struct job *job, int taken, struct hold *hold, bool planned_often,
		      struct reason *why)
{
	if (taken == 0) {
		job->result->no_lease = !hold->leased;
		return true;
	}
	if (taken == -EAGAIN) {
		busy(job);
	} else if (taken == -ENOENT) {
		finish(job, MERGE_GONE);
	} else if (taken == -ENOLCK) {
		struct reason quiet;

		job->result->lease_why = *why;
		reason_set(&quiet, "must wait for its next update: %s", why->text);
		if (planned_often)
			busy(job);      /* it is being updated all the time: a lock would hurt */
		else if (job->site->wait_quiet && !job->request->just_written)
			again(job, MERGE_QUIET, QUIET_RETRY_MS, "live", &quiet);
		else
			return may_write(job, take_once(job, true, hold, why), hold, planned_often,
					 why);
	} else {
		advise(why, taken);
		note_denied(job, taken, MERGE_DENIED_WRITE);
		fail(job, "live", why);
	}
	return false;
}

/* A dry run promises nothing that the same user could not do. */
static void promise(struct job *job)
{
	struct reason why;
	struct plan_counts counted = { 0 };

	if (faccessat(job->root, job->request->rel, W_OK, AT_EACCESS)) {
		int error = -errno;

		reason_errno(&why, -error, "cannot be opened for writing");
		advise(&why, error);
		note_denied(job, error, MERGE_DENIED_WRITE);
		fail(job, "live", &why);
		return;
	}
	count_written(job, job->scratch->plan.extents, &counted);
	finish(job, MERGE_MERGED);
}

static void note_hold(struct job *job, struct hold *hold)
{
	uint64_t held = hold_release(hold);

	job->result->holds++;
	if (held > job->result->hold_ns)
		job->result->hold_ns = held;
}

/* One hold: verify, write a part.  0 or -errno: -ESTALE plan again, -EAGAIN locked. */
static int write_part(struct job *job, struct hold *hold, size_t *next)
{
	struct merge_scratch *scratch = job->scratch;
	int r = hold_verify(hold, job->root, job->request->rel, &scratch->live);

	if (!r)
		r = hold_write(hold, &scratch->live, &scratch->plan, next,
			       hold->leased ? HOLD_BYTES : LOCK_BYTES);
	note_hold(job, hold);
	return r;
}

/* Plans and writes until nothing is left.  Each turn of the outer loop is one plan. */
static void apply(struct job *job)
{
	struct plan *planned = &job->scratch->plan;
	struct hold hold = { .fd = -1 };
	unsigned stale = 0;             /* plans in a row that came to nothing */

	for (;;) {
		struct reason why = { "" };
		bool under_lease = stale >= FREE_PLANS && !job->site->dry_run;
		struct plan_counts counted = { 0 };
		size_t next = 0;
		int r = 0;

		if (under_lease && !may_write(job, take(job, &hold, &why), &hold, true, &why))
			return;
		int todo = plan(job, hold.fd);
		if (todo == -ESTALE) {
			hold_release(&hold);
			if (++stale > 10 * FREE_PLANS) {
				busy(job);
				return;
			}
			nap(stale);
			continue;
		}
		if (todo == 0 || job->site->dry_run) {
			hold_release(&hold);
			if (todo)
				promise(job);
			return;
		}
		while (!r && next < planned->extents) {
			if (hold.fd < 0 &&
			    !may_write(job, take(job, &hold, &why), &hold, false, &why))
				return;
			r = write_part(job, &hold, &next);
			count_written(job, next, &counted);
			if (!r)
				stale = 0;
			job->result->stamp = job->scratch->live.stamp;
		}
		if (!r) {
			finish(job, MERGE_MERGED);
			return;
		}
		if (r == -EAGAIN) {
			busy(job);
			return;
		}
		if (r != -ESTALE) {
			reason_errno(&why, -r, "cannot be written");
			fail(job, "live", &why);
			return;
		}
		stale++;
	}
}

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
static bool is_good_root(struct job *job)
{
	struct reason why;
	struct stat st;

	if (!job->site->root || (!fstat(job->root, &st) &&
				 merge_root_id(&st) == atomic_load(job->site->root)))
		return true;
	reason_set(&why, "tree is another directory than it was");
	again(job, MERGE_BUSY, ROOT_RETRY_MS, "live", &why);
	return false;
}

void merge_file(struct merge_scratch *scratch, const struct merge_site *site,
		const struct merge_request *request, struct merge_result *ret)
{
	uint64_t started = io_now_ns();
	struct job job = {
		.scratch = scratch,
		.site = site,
		.request = request,
		.result = ret,
	};

	memset(ret, 0, sizeof(*ret));
	job.root = io_open_root(site->live);
	if (job.root < 0) {
		struct reason why;

		reason_errno(&why, -job.root, "tree cannot be opened");
		fail(&job, "live", &why);
		return;
	}
	if (is_good_root(&job) && read_sources(&job))
		apply(&job);
	close(job.root);
	ret->took_ns = io_now_ns() - started;
}
