#include "config.h"
#include "books.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "pnp.h"
#include "privilege.h"
#include "record.h"

#define SECOND UINT64_C(1000000000)
#define EARLY_NS (SECOND / 2)
#define CHECK_NS SECOND         /* is the ledger still the one that it was? */
#define REST_NS (3 * SECOND)         /* longer than what was written waits for its sync */
#define PROOFS 3                /* times that a file is read to prove it */

struct books {
	struct books_options options;
	struct source_set sources;      /* our own */
	pthread_mutex_t mutex;          /* for the sources, and in callbacks the queue and the live tree */
	struct ledger *ledger;
	char *path;
	uint64_t checked_ns;
	bool broken_said;
};

/* ---- what the ledger's threads call ---- */

/* The path beneath the live tree; NULL: it is of another one. */
static const char *rel_of(const struct books *books, const char *key)
{
	const struct merge_site *site = books->options.site;
	const char *live = site->name ? site->name : site->live;
	size_t len = strlen(live);

	return !strncmp(key, live, len) && key[len] == '/' ? key + len + 1 : NULL;
}

static void look(struct books *books, const char *key, uint64_t due_ns)
{
	pthread_mutex_lock(&books->mutex);
	const char *rel = books->options.queue ? rel_of(books, key) : NULL;
	if (rel)
		queue_put(books->options.queue, QUEUE_FILE, rel, due_ns, QUEUE_LOOK);
	pthread_mutex_unlock(&books->mutex);
}

static void on_durable(const char *key, int64_t id, void *arg)
{
	(void)id;
	look(arg, key, QUEUE_NOW);
}

static void on_done(const char *key, int64_t id, int error, void *arg)
{
	char shown[LOG_PATH_SIZE];

	(void)id;
	if (!error)
		return;
	log_file(LOG_ERR, "unsynced reason=\"live: %s: what was merged may not be on disk\" file=%s",
		 strerror(-error), log_escape(shown, sizeof(shown), key));
	look(arg, key, io_now_ns() + SECOND);
}

size_t books_unsynced(struct books *books)
{
	size_t failed = 0;

	if (books)
		ledger_unsynced(books->ledger, &failed);
	return failed;
}

size_t books_syncing(struct books *books)
{
	size_t failed = 0, all = books ? ledger_unsynced(books->ledger, &failed) : 0;

	return all - failed;
}

size_t books_unended(struct books *books, struct tally *tally, char **ret_example)
{
	const char *first = NULL;
	size_t paths = 0, count = 0;
	char **path = NULL;

	*ret_example = NULL;
	if (!books || ledger_unended(books->ledger, &path, &paths))
		return 0;
	for (size_t i = 0; i < paths; i++) {
		const char *rel = rel_of(books, path[i]);

		if (!rel || !tally_has_live(tally, rel))
			continue;
		count++;
		if (!first || strcmp(rel, first) < 0)
			first = rel;
	}
	*ret_example = first ? strdup(first) : NULL;
	for (size_t i = 0; i < paths; i++)
		free(path[i]);
	free(path);
	return count;
}

/* ---- opening ---- */

int books_open(const struct books_options *options, struct books **ret, struct reason *why)
{
	static const char *const ours[] = { "ledger", "control", "forgotten", NULL };
	struct books *books = calloc(1, sizeof(*books));
	struct privilege_user self;
	struct reason ignored;
	int r = -ENOMEM;

	if (!books)
		return r;
	books->options = *options;
	pthread_mutex_init(&books->mutex, NULL);
	if (asprintf(&books->path, "%s/ledger.db", options->state_dir) < 0) {
		books->path = NULL;
		goto out;
	}
	/* Where it cannot be made, the ledger says so. */
	privilege_current(&self);
	privilege_own_directory(options->state_dir, &self, ours, &ignored);
	const struct ledger_options ledger = {
		.path = books->path,
		.own_path = true,
		.durable = on_durable,
		.sync = record_sync,
		.done = on_done,
		.arg = books,
	};
	r = ledger_open(&ledger, &books->ledger, why);
out:
	if (r) {
		free(books->path);
		free(books);
		return r;
	}
	*ret = books;
	return 0;
}

bool books_close(struct books *books, uint64_t until_ns)
{
	if (!books)
		return true;
	if (!ledger_close(books->ledger, until_ns))
		return false;
	pthread_mutex_destroy(&books->mutex);
	source_set_free(&books->sources);
	free(books->path);
	free(books);
	return true;
}

int books_set_sources(struct books *books, const struct source_set *sources)
{
	struct source_set copy, old;

	if (!books)
		return 0;
	int r = source_set_copy(sources, &copy);
	if (r)
		return r;
	pthread_mutex_lock(&books->mutex);
	old = books->sources;
	books->sources = copy;
	pthread_mutex_unlock(&books->mutex);
	source_set_free(&old);
	return 0;
}

void books_serve(struct books *books, struct queue *queue, struct tally *tally)
{
	if (!books)
		return;
	pthread_mutex_lock(&books->mutex);
	books->options.queue = queue;
	books->options.tally = tally;
	pthread_mutex_unlock(&books->mutex);
}

struct ledger *books_ledger(struct books *books)
{
	return books ? books->ledger : NULL;
}

/* ---- what is done is not done again ---- */

/* Those of pnp4nagios' other storage type. */
static int find_siblings(const struct books *books, const struct source_set *sources,
			 const char *rel, struct source_found *found)
{
	int root = io_open_root(books->options.site->live), r = 0;
	struct sidecar sidecar;

	if (root < 0)
		return root;
	if (!pnp_find_sidecar(root, rel, &sidecar, NULL)) {
		r = source_find_siblings(sources, &sidecar, rel, found);
		sidecar_free(&sidecar);
	}
	close(root);
	return r;
}

/* What source n, which we have entered, has for the file now.  0 or -errno. */
static int record_now(const struct books *books, const struct source_set *sources, unsigned n,
		      const char *rel, bool siblings, struct source_found *found,
		      struct record *record)
{
	struct stat st;
	int r = source_find(sources, n, rel, found);

	if (!r && siblings)
		r = find_siblings(books, sources, rel, found);
	for (unsigned i = 0; i < found->count && !r; i++) {
		struct io_stamp stamp;

		if (fstatat(found->root, found->file[i].rel, &st, AT_SYMLINK_NOFOLLOW))
			return -errno;
		if (!S_ISREG(st.st_mode))
			return REFUSED;
		stamp = io_stamp_of(&st);
		r = record_source(record, &sources->source[n], found->file[i].rel, &stamp);
	}
	return r;
}

/* What the sources have for the file now, as record_digest() has it; 0: one cannot be looked at. */
static uint64_t digest_now(struct books *books, const char *rel, bool siblings,
			   unsigned *ret_sources)
{
	struct source_set sources = { 0 };
	struct record record = { 0 };
	uint64_t digest = 0;

	/* Nothing is held while a disk is waited for. */
	pthread_mutex_lock(&books->mutex);
	int r = source_set_copy(&books->sources, &sources);
	pthread_mutex_unlock(&books->mutex);
	struct source_found *found = calloc(sources.count + 1, sizeof(*found));
	if (!found)
		r = -ENOMEM;
	for (unsigned n = 0; found && n < sources.count; n++)
		found[n] = SOURCE_FOUND_NONE;
	for (unsigned n = 0; n < sources.count && !r; n++) {
		struct visit visit;

		if (!source_enter(&sources, n, &visit)) {
			r = -EAGAIN;
			break;
		}
		r = record_now(books, &sources, n, rel, siblings, &found[n], &record);
		source_leave(&sources, n, &visit);
	}
	if (!r) {
		*ret_sources = record.sources;
		digest = record_digest(&record, rel);
	}
	for (unsigned n = 0; found && n < sources.count; n++)
		source_found_free(&found[n]);
	free(found);
	record_free(&record);
	source_set_free(&sources);
	return digest;
}

/* What the file says of the record.  RECORD_MUTE, too, where it cannot be read, nor the record. */
static enum record_word ask_file(struct books *books, int fd, const char *key, struct rrd *live)
{
	struct ledger_undo merged = { .last_up = 0 };
	enum record_word word = RECORD_MUTE;
	struct ledger_state state;
	struct reason ignored;

	if (!ledger_known(books->ledger, key, &state) || rrd_read(live, fd, &ignored))
		return word;
	uint64_t identity = record_identity(&live->head);
	if (identity != state.identity)
		return RECORD_DIFFERS;
	if (!ledger_spread(books->ledger, key, io_file_id(fd, ""), identity, &merged))
		word = record_word(&merged, live);
	ledger_undo_free(&merged);
	return word;
}

bool books_prove(struct books *books, const char *rel)
{
	int root = io_open_root(books->options.site->live), fd = -1;
	enum record_word word = RECORD_MUTE;
	char key[MERGE_KEY_SIZE];
	struct rrd live = { 0 };
	struct reason ignored;

	merge_key(books->options.site, rel, key);
	/* An update may be under way: what it makes look otherwise is over when it is read again. */
	for (unsigned try = 0; try < PROOFS && root >= 0 && word != RECORD_AGREES; try++) {
		if (!io_open_file(root, rel, O_RDONLY, &fd, NULL, &ignored)) {
			word = ask_file(books, fd, key, &live);
			close(fd);
		}
	}
	rrd_free(&live);
	if (root >= 0)
		close(root);
	tally_proved(books->options.tally, rel, word == RECORD_AGREES);
	return word == RECORD_AGREES;
}

/* Are they those that were recorded?  To ask the sidecars for each file would take too long: it is done
 * where the file's own sources are not all. */
static bool are_same(struct books *books, const char *rel, uint64_t recorded, unsigned *ret_sources)
{
	return digest_now(books, rel, false, ret_sources) == recorded ||
	       digest_now(books, rel, true, ret_sources) == recorded;
}

/* Where rename rules lead is known when the backups were walked. */
static bool is_early(struct books *books, const char *rel)
{
	pthread_mutex_lock(&books->mutex);
	bool early = books->options.queue && !index_is_walked(books->sources.index) &&
		     !queue_put(books->options.queue, QUEUE_FILE, rel, io_now_ns() + EARLY_NS,
				QUEUE_GLANCE);
	pthread_mutex_unlock(&books->mutex);
	return early;
}

bool books_recall(struct books *books, const char *rel)
{
	struct merge_result result = { .settled = true };
	struct ledger_state state;
	char key[MERGE_KEY_SIZE];
	struct stat st;

	if (!books || !ledger_known(books->ledger, merge_key(books->options.site, rel, key), &state) ||
	    !state.settled || state.held ||
	    (state.verdict != LEDGER_MERGED && state.verdict != LEDGER_UNCHANGED))
		return false;
	int root = io_open_root(books->options.site->live);
	if (root < 0)
		return false;
	int r = fstatat(root, rel, &st, AT_SYMLINK_NOFOLLOW);
	uint64_t file_id = io_file_id(root, rel);
	close(root);
	if (r || !S_ISREG(st.st_mode) || file_id != state.ino || (uint64_t)st.st_size != state.size ||
	    io_stamp_of(&st).mtime_ns < state.mtime_ns)
		return false;
	if (!are_same(books, rel, state.sources, &result.sources))
		return is_early(books, rel);
	result.outcome = MERGE_UNCHANGED;       /* since the start */
	result.stamp = io_stamp_of(&st);
	tally_result(books->options.tally, rel, &result, false);
	/* Updates make it younger.  What was copied over it in place is so too: one stat does not tell. */
	if (result.stamp.mtime_ns == state.mtime_ns && result.stamp.ctime_ns == state.ctime_ns)
		return true;
	if (books->options.once)
		return books_prove(books, rel);
	tally_recalled(books->options.tally, rel);
	return true;
}

bool books_has_sources(struct books *books, const char *rel)
{
	struct ledger_state state;
	char key[MERGE_KEY_SIZE];
	unsigned sources;

	return books &&
	       ledger_known(books->ledger, merge_key(books->options.site, rel, key), &state) &&
	       (state.held || are_same(books, rel, state.sources, &sources));
}

/* ---- what is said ---- */

void books_tick(struct books *books)
{
	char shown[LOG_PATH_SIZE];
	uint64_t now = io_now_ns();
	struct reason why;

	if (!books)
		return;
	if (now - books->checked_ns >= CHECK_NS) {
		books->checked_ns = now;
		ledger_check(books->ledger);
	}
	record_rest(REST_NS);
	if (ledger_notice(books->ledger, &why))
		log_message(LOG_WARNING, "ledger %s path=%s", why.text,
			    log_escape(shown, sizeof(shown), books->path));
	bool works = ledger_ok(books->ledger, &why);
	if (!works && !books->broken_said)
		log_message(LOG_ERR, "the ledger does not work: %s; nothing is merged until it does "
			    "(or with ledger = false) path=%s", why.text,
			    log_escape(shown, sizeof(shown), books->path));
	else if (works && books->broken_said)
		log_message(LOG_NOTICE, "the ledger works again path=%s",
			    log_escape(shown, sizeof(shown), books->path));
	books->broken_said = !works;
}
