#include "config.h"
#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "commandlist.h"
#include "commandsint.h"
#include "log.h"
#include "takeback.h"

#define SECOND UINT64_C(1000000000)
#define UNDO_NS (60 * SECOND)           /* for one file that others keep open */
#define RECORD_NS (20 * SECOND)         /* for the ledger to write what it was given */
#define GIVE_UP_NS SECOND               /* for a file that somebody has in hand, to be let go */
#define RETRY_MS 20
#define GIVE_UP_MS 5
#define UNDO_FILES 256                  /* go on record together */
#define HISTORY_LIMIT 1000              /* at once */

static int no_ledger(struct control_call *call)
{
	return control_fail(call, "no record is kept: the configuration has ledger = false");
}

/* What the ledger was asked, it has not answered. */
static int no_answer(struct control_call *call, struct commands *c, int r)
{
	struct reason why = { "" };

	if (r != -ENOMEM && !ledger_ok(books_ledger(c->books), &why))
		return control_fail(call, "the ledger does not work: %s", why.text);
	return r;
}

const char *commands_rel(const struct commands *c, const char *path)
{
	const char *const root[] = { c->site->live, c->site->name };

	for (int i = 0; i < 2; i++) {
		size_t len = root[i] ? strlen(root[i]) : 0;

		if (len && !strncmp(path, root[i], len) && (!path[len] || path[len] == '/'))
			return path[len] ? path + len + 1 : path + len;
	}
	return path;
}

/* The same as strings of their own, for whom a disk may keep waiting.  0 or -ENOMEM. */
static int copy_path(struct commands *c, const char *path, char **ret_live, char **ret_rel)
{
	pthread_rwlock_rdlock(&c->lock);
	*ret_live = strdup(c->site->live);
	*ret_rel = strdup(commands_rel(c, path));
	pthread_rwlock_unlock(&c->lock);
	return *ret_live && *ret_rel ? 0 : -ENOMEM;
}

bool commands_is_plain(const char *rel)
{
	if (!*rel)
		return false;
	while (*rel) {
		size_t len = strcspn(rel, "/");

		if (!len || (len == 1 && rel[0] == '.') || (len == 2 && rel[0] == '.' && rel[1] == '.'))
			return false;
		rel += len;
		if (*rel && !*++rel)
			return false;
	}
	return true;
}

int commands_not_beneath(struct control_call *call, struct commands *c, const char *path)
{
	pthread_rwlock_rdlock(&c->lock);
	int r = control_fail(call, "%s is not beneath the live tree, %s", path, c->site->live);
	pthread_rwlock_unlock(&c->lock);
	return r;
}

int commands_not_plain(struct control_call *call, struct commands *c, const char *path)
{
	pthread_rwlock_rdlock(&c->lock);
	const char *rel = commands_rel(c, path);
	bool whole = rel != path, empty = !*rel, beneath = *rel != '/' || whole;
	pthread_rwlock_unlock(&c->lock);

	if (!beneath)
		return commands_not_beneath(call, c, path);
	if (empty)
		return control_fail(call, whole ? "%s is the live tree: name a file in it"
				    : "an empty path%s: name a file", path);
	return control_fail(call, "%s: write the path without . and .. and double slashes, and none "
			    "at its end", path);
}

void commands_time(int64_t ms, char *buffer, size_t size)
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || !strftime(buffer, size, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(buffer, size, "%lld", (long long)seconds);
}

/* ---- history ---- */

static const char *what_of(const struct ledger_entry *entry)
{
	switch (entry->what) {
	case LEDGER_UNDO:
		return entry->stage == LEDGER_INTENDED ? "undo under way"
			: entry->stage == LEDGER_INTERRUPTED ? "undo interrupted"
			: entry->stage == LEDGER_IS_PART ? "undo in part" : "undo";
	case LEDGER_REFUSAL:
		return "refused";
	default:
		return entry->stage == LEDGER_INTENDED ? "merge under way"
			: entry->stage == LEDGER_INTERRUPTED ? "merge interrupted"
			: entry->stage == LEDGER_IS_PART ? "merged in part" : "merged";
	}
}

int commands_put_entry(struct control_call *call, const struct ledger_entry *entry)
{
	static const char *const kind[LEDGER_KINDS] = {
		"exact", "seam", "consolidated", "spread"
	};
	uint64_t cells = 0;
	char when[32];

	control_record(call);
	commands_time(entry->time_ms, when, sizeof(when));
	control_number(call, "id", (long long)entry->id);
	control_put(call, "time", when);
	control_put(call, "what", what_of(entry));
	for (int i = 0; i < LEDGER_KINDS; i++)
		cells += entry->cells[i];
	control_number(call, "cells", (long long)cells);
	for (int i = 0; i < LEDGER_KINDS; i++)
		if (entry->cells[i])
			control_number(call, kind[i], (long long)entry->cells[i]);
	if (entry->undone)
		control_number(call, "undone_by", (long long)entry->undone);
	else if (entry->undoing)
		control_number(call, "undone_in_part_by", (long long)entry->undoing);
	if (entry->reason)
		control_put(call, "reason", entry->reason);
	if (entry->sources && *entry->sources)
		control_put(call, "sources", entry->sources);
	return control_put(call, "file", entry->rel);
}

int commands_history(struct control_call *call, int argc, char **argv, void *arg)
{
	struct commands *c = arg;
	struct ledger_entry *entry = NULL;
	char key[MERGE_KEY_SIZE];
	int64_t before = 0;
	size_t count = 0;
	int r = 0;

	if (!c->books)
		return no_ledger(call);
	pthread_rwlock_rdlock(&c->lock);
	/* What another live tree had, which was served before this one, stays on record. */
	const char *rel = argc > 1 ? commands_rel(c, argv[1]) : "";
	bool elsewhere = argc > 1 && rel == argv[1] && *rel == '/';
	if (elsewhere)
		snprintf(key, sizeof(key), "%s", rel);
	else if (argc > 1)
		merge_key(c->site, rel, key);
	pthread_rwlock_unlock(&c->lock);
	if (argc > 1 && !elsewhere && !commands_is_plain(rel))
		return commands_not_plain(call, c, argv[1]);
	do {
		r = ledger_history(books_ledger(c->books), argc > 1 ? key : NULL, before,
				   HISTORY_LIMIT, &entry, &count);
		for (size_t i = 0; i < count && !r; i++)
			r = commands_put_entry(call, &entry[i]);
		if (!r && count)
			before = entry[count - 1].id;
		ledger_entries_free(entry, count);
		entry = NULL;
	} while (!r && count == HISTORY_LIMIT);
	if (r < 0)
		r = no_answer(call, c, r);
	if (!r && !before && argc > 1)
		r = control_fail(call, "nothing is on record for %s", key);
	return r;
}

/* ---- undo ---- */

/* One file of which something is to be undone. */
struct undoing {
	const char *rel;
	int64_t id;             /* which merge; 0: all of them */
	bool ended, hangs;
	struct merge_result result;
};

/* One try.  0: it has ended, or is to be tried again; -ETIMEDOUT: live's disk hangs; -ENOMEM. */
static int try_undo(struct commands *c, struct undoing *file)
{
	struct takeback *takeback;

	/* Nothing is held while the disk is waited for. */
	pthread_rwlock_rdlock(&c->lock);
	const struct takeback_site at = { c->site, c->queue, &c->left };
	int r = takeback_begin(&at, file->rel, file->id, &file->result, &takeback);
	pthread_rwlock_unlock(&c->lock);
	bool begun = !r;
	if (begun)
		r = takeback_end(takeback, &file->result);
	file->ended = !r && file->result.outcome != MERGE_BUSY
		&& file->result.outcome != MERGE_RECORDING;
	if (r == -ETIMEDOUT || r == -EAGAIN) {
		reason_set(&file->result.why, "live does not answer: its disk hangs");
		file->hangs = r == -ETIMEDOUT;
		return -ETIMEDOUT;
	}
	return r == -EBUSY ? 0 : r;
}

/* One round.  *ret_left: how many have not ended; *ret_recording: … wait for their record. */
static int try_all(struct commands *c, struct undoing *file, size_t files, size_t *ret_left,
		   size_t *ret_recording)
{
	size_t left = 0, recording = 0;

	for (size_t i = 0; i < files; i++) {
		int r = file[i].ended ? 0 : try_undo(c, &file[i]);

		if (r)
			return r;
		left += !file[i].ended;
		recording += !file[i].ended && file[i].result.outcome == MERGE_RECORDING;
	}
	*ret_left = left;
	*ret_recording = recording;
	return 0;
}

/* What has not come to its end is not gone on with, and says so on record: else it would be under
 * way, and the file held, with nobody who does it.  Somebody else who undoes the file begins anew. */
static void give_up(struct commands *c, const struct undoing *file, size_t files)
{
	const struct timespec nap = { 0, GIVE_UP_MS * 1000000L };
	uint64_t until = io_now_ns() + GIVE_UP_NS;
	char key[MERGE_KEY_SIZE];
	struct queue_job job;

	for (size_t i = 0; i < files; i++) {
		bool done = file[i].ended && file[i].result.outcome == MERGE_MERGED;
		int r = done || file[i].hangs ? 0 : -EBUSY;     /* who hangs does so himself */

		while (r == -EBUSY) {
			pthread_rwlock_rdlock(&c->lock);
			r = queue_claim(c->queue, QUEUE_FILE, file[i].rel, &job);
			if (!r) {
				ledger_abandon(books_ledger(c->books),
					       merge_key(c->site, file[i].rel, key));
				queue_done(c->queue, &job, false, 0);
				queue_put(c->queue, QUEUE_FILE, file[i].rel, QUEUE_NOW,
					  QUEUE_LOOK);
			}
			pthread_rwlock_unlock(&c->lock);
			if (r == -EBUSY && (io_now_ns() > until || nanosleep(&nap, NULL)))
				break;
		}
	}
}

/* Until all have ended, or the time is over.  What is to be recorded is so for all of them at once.
 * -errno where nobody hears us any more, or nothing can go on. */
static int undo_files(struct control_call *call, struct commands *c, struct undoing *file,
		      size_t files)
{
	uint64_t until = io_now_ns() + UNDO_NS;
	size_t left = files, recording = 0;
	int r = 0;

	for (size_t i = 0; i < files; i++)
		file[i].result = (struct merge_result){ .outcome = MERGE_BUSY };
	while (!r && left && io_now_ns() < until) {
		r = try_all(c, file, files, &left, &recording);
		if (r || !left)
			break;
		if (recording)
			ledger_flush(books_ledger(c->books), io_now_ns() + RECORD_NS);
		r = control_wait(call, recording ? 0 : RETRY_MS);
		/* What is on record by now is not left half done. */
		if (r && recording && try_all(c, file, files, &left, &recording))
			break;
	}
	give_up(c, file, files);
	return r;
}

/* What came of it.  REFUSED with the reason, which names the file; -errno where nobody hears us any
 * more. */
static int tell_undone(struct control_call *call, struct commands *c, const struct undoing *file,
		       struct reason *why)
{
	const struct merge_result *result = &file->result;
	char shown[LOG_PATH_SIZE];

	if (file->hangs)
		reason_set(why, "%s: %s; \"rrdmergctl history\" tells, when it answers, whether it "
			   "is undone", file->rel, result->why.text);
	else if (!file->ended)
		reason_set(why, "%s: %s; it is not undone%s: try again later", file->rel,
			   result->why.text[0] ? result->why.text : "it is being merged all the time",
			   merge_wrote(result) ? ", but a part of it was taken back" : "");
	else if (result->outcome == MERGE_GONE)
		reason_set(why, "%s: is not in the live tree%s", file->rel,
			   file->rel[strspn(file->rel, "0123456789")] || !*file->rel ? ""
			   : ", nor the number of a merge");
	else if (result->outcome != MERGE_MERGED)
		reason_set(why, "%s: %s", file->rel, result->why.text);
	if (!file->ended || result->outcome != MERGE_MERGED)
		return REFUSED;
	log_message(LOG_NOTICE, "undone cells=%llu open=%llu file=%s",
		    (unsigned long long)result->counts.cells,
		    (unsigned long long)result->counts.opens,
		    log_escape(shown, sizeof(shown), file->rel));
	/* It is held from now on, and the daemon is to know. */
	pthread_rwlock_rdlock(&c->lock);
	queue_put(c->queue, QUEUE_FILE, file->rel, QUEUE_NOW, QUEUE_LOOK);
	pthread_rwlock_unlock(&c->lock);
	control_record(call);
	control_number(call, "cells", (long long)result->counts.cells);
	control_number(call, "open_rows", (long long)result->counts.opens);
	if (result->healed)
		control_number(call, "open_rows_kept", (long long)result->healed);
	if (result->why.text[0])
		control_put(call, "note", result->why.text);
	return control_put(call, "undone", file->rel);
}

static int undo_file(struct control_call *call, struct commands *c, const char *rel, int64_t id,
		     struct reason *why)
{
	struct undoing file = { .rel = rel, .id = id };
	int r = undo_files(call, c, &file, 1);

	return r && r != -ETIMEDOUT && !file.ended ? r : tell_undone(call, c, &file, why);
}

/* The next of `path`, as many as go together.  Those of another live tree, which was served before
 * this one, are left out. */
static size_t next_files(struct commands *c, char *const *path, size_t paths, size_t *at,
			 struct undoing *file)
{
	size_t files = 0;

	pthread_rwlock_rdlock(&c->lock);
	for (; *at < paths && files < UNDO_FILES; ++*at) {
		const char *rel = commands_rel(c, path[*at]);

		if (rel != path[*at])
			file[files++] = (struct undoing){ .rel = rel };
	}
	pthread_rwlock_unlock(&c->lock);
	return files;
}

static int undo_all(struct control_call *call, struct commands *c, size_t *ret_undone,
		    struct reason *why)
{
	struct undoing *file = calloc(UNDO_FILES, sizeof(*file));
	size_t paths = 0, at = 0, files, count = 0, failed = 0;
	struct reason first = { "" };
	char **path = NULL;
	int r = file ? ledger_undoable(books_ledger(c->books), &path, &paths) : -ENOMEM;

	if (r)
		r = no_answer(call, c, r);
	while (!r && (files = next_files(c, path, paths, &at, file)) > 0) {
		r = undo_files(call, c, file, files);
		for (size_t i = 0; i < files; i++) {
			struct reason text = { "" };
			int told = r && r != -ETIMEDOUT && !file[i].ended ? r
				: tell_undone(call, c, &file[i], &text);

			if (told == REFUSED && !failed++)
				first = text;
			else if (told && told != REFUSED && !r)
				r = told;
		}
		count += files;
	}
	for (size_t i = 0; i < paths; i++)
		free(path[i]);
	free(path);
	free(file);
	*ret_undone = count - failed;
	if ((!r || r == -ETIMEDOUT) && failed) {
		reason_set(why, "%zu of %zu files could not be undone: %s%s", failed, count,
			   first.text, failed > 1 ? "; ..." : "");
		r = REFUSED;
	} else if (!r && !count) {
		r = control_put(call, "note", "there is nothing left to undo");
	}
	return r;
}

/* Merge `entry` of the file `rel`.  What else is on record cannot be undone. */
static int undo_entry(struct control_call *call, struct commands *c,
		      const struct ledger_entry *entry, const char *rel, struct reason *why)
{
	if (entry->what == LEDGER_UNDO)
		reason_set(why, "%lld is an undo; \"rrdmergctl merge %s\" brings the values back",
			   (long long)entry->id, rel);
	else if (entry->what == LEDGER_REFUSAL)
		reason_set(why, "%lld is a refusal: nothing of it was written to %s",
			   (long long)entry->id, rel);
	else
		return undo_file(call, c, rel, entry->id, why);
	return REFUSED;
}

static bool is_directory(struct commands *c, const char *given)
{
	char *live = NULL, *rel = NULL;
	int root = copy_path(c, given, &live, &rel) ? -ENOMEM : io_open_root(live);
	bool is = false;
	struct stat st;

	for (size_t len = root >= 0 ? strlen(rel) : 0; len && rel[len - 1] == '/'; len--)
		rel[len - 1] = '\0';
	if (root >= 0 && !*rel)
		is = *given;
	else if (root >= 0 && commands_is_plain(rel))
		is = !fstatat(root, rel, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode);
	if (root >= 0)
		close(root);
	free(live);
	free(rel);
	return is;
}

/* `why` stays empty where the call knows it already. */
static int undo_one(struct control_call *call, struct commands *c, const char *what,
		    struct reason *why)
{
	struct ledger_entry *entry;
	char *end;
	long long id = strtoll(what, &end, 10);
	int r;

	pthread_rwlock_rdlock(&c->lock);
	const char *rel = commands_rel(c, what);
	pthread_rwlock_unlock(&c->lock);
	bool path = *end || id <= 0;
	if (path && is_directory(c, what))
		return control_fail(call, "%s is a directory: name a file, a merge by its id, or all "
				    "of them by --all", what);
	if (path && !commands_is_plain(rel))
		return commands_not_plain(call, c, what);
	if (path) {
		r = undo_file(call, c, rel, 0, why);
	} else {
		r = id < LLONG_MAX ? ledger_get(books_ledger(c->books), id, &entry) : -ENOENT;
		if (r == -ENOENT)
			return control_fail(call, "there is no merge %s on record", what);
		if (r) {
			r = no_answer(call, c, r);
		} else {
			pthread_rwlock_rdlock(&c->lock);
			rel = commands_rel(c, entry->rel);
			pthread_rwlock_unlock(&c->lock);
			r = undo_entry(call, c, entry, rel, why);
			ledger_entries_free(entry, 1);
		}
	}
	return r;
}

int commands_undo(struct control_call *call, int argc, char **argv, void *arg)
{
	struct commands *c = arg;

	if (!c->books)
		return no_ledger(call);
	if (control_has(call, "--all") != (argc == 1))
		return control_fail(call, "usage: undo PATH, undo ID, or undo --all");
	struct reason why = { "" };
	size_t undone = 0;
	int r = argc == 1 ? undo_all(call, c, &undone, &why) : undo_one(call, c, argv[1], &why);
	if (argc > 1)
		undone = !r;
	/* What is said to be undone is on record. */
	if ((!r || r == REFUSED) && undone
	    && ledger_flush(books_ledger(c->books), io_now_ns() + RECORD_NS)) {
		reason_add(&why, "%s, but not on record yet: the ledger does not answer; until it does "
			   "the undo counts as under way", r ? "the others are undone" : "undone");
		r = REFUSED;
	}
	return r == REFUSED && why.text[0] ? control_fail(call, "%s", why.text) : r;
}

/* ---- merge ---- */

/* Is it a file that could be merged?  Asks the disk, which may hang. */
static int check_file(struct control_call *call, const char *live, const char *rel)
{
	struct reason why = { "" };
	int root = io_open_root(live), fd = -1;
	int r = root < 0 ? reason_errno(&why, -root, "live tree cannot be opened")
		: io_open_file(root, rel, O_RDONLY, &fd, NULL, &why);

	if (root >= 0)
		close(root);
	if (fd >= 0)
		close(fd);
	return r && why.text[0] ? control_fail(call, "%s: %s", rel, why.text) : r;
}

static int merge_one(struct control_call *call, struct commands *c, const char *live,
		     const char *rel)
{
	char key[MERGE_KEY_SIZE];
	int r = check_file(call, live, rel);

	if (r)
		return r;
	pthread_rwlock_rdlock(&c->lock);
	if (c->books)
		ledger_release(books_ledger(c->books), merge_key(c->site, rel, key));
	tally_asked(c->tally, rel);
	r = queue_put(c->queue, QUEUE_FILE, rel, QUEUE_NOW, QUEUE_LOOK);
	pthread_rwlock_unlock(&c->lock);
	if (r)
		return r;
	control_put(call, "queued", rel);
	if (atomic_load(&c->paused))
		control_put(call, "note", "the daemon is paused: the file is merged after "
			    "\"rrdmergctl resume\"");
	return 0;
}

int commands_merge(struct control_call *call, int argc, char **argv, void *arg)
{
	struct commands *c = arg;
	char *live = NULL, *rel = NULL;
	int r = copy_path(c, argv[1], &live, &rel);

	(void)argc;
	if (!r)
		r = commands_is_plain(rel) ? merge_one(call, c, live, rel)
			: commands_not_plain(call, c, argv[1]);
	free(live);
	free(rel);
	return r;
}

#define ROW(word, access, min, max, options, arguments, help) \
	{ #word, commands_##word, access, min, max, options, arguments, help },
const struct control_command commands_table[] = { COMMAND_LIST(ROW) };
const size_t commands_count = sizeof(commands_table) / sizeof(*commands_table);
