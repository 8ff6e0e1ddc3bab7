/* ledgerint: what the files of the ledger share, from the ground up. */
#ifndef LEDGERINT_H
#define LEDGERINT_H

#include <pthread.h>
#include <sys/queue.h>

#include "blocks.h"
#include "ledger.h"

/* ---- ledgercells.c: sets of cells ---- */

/* Appends a copy.  0 or -ENOMEM. */
int ledgercells_add(struct ledger_cells *cells, const struct ledger_run *run);
int ledgercells_add_open(struct ledger_cells *cells, const struct ledger_open_row *row);
void ledgercells_sort(struct ledger_cells *cells);

bool ledgercells_are_sorted(const struct ledger_run *run, size_t runs);
/* The end time of the row after the newest. */
int64_t ledgercells_end(const struct ledger_run *run);

/* The three below want both sorted. */

/* Removes from `from` the cells of `what`. */
int ledgercells_subtract(struct ledger_cells *from, const struct ledger_cells *what);
/* Cells of `cells` with an old value that are in `below` too get the old value from there. */
int ledgercells_sink(struct ledger_cells *cells, const struct ledger_cells *below);
/* Is each cell of `inner` in `outer`, of the same kind and source and with the same old value; and
 * each open row likewise? */
bool ledgercells_within(const struct ledger_cells *inner, const struct ledger_cells *outer);

/* ---- ledgerpack.c: sets of cells in bytes ---- */

/* Packs runs and open rows, in any order, into bytes to free.  -EINVAL for what no RRD can have,
 * the same cell twice included. */
int ledgerpack_put(const struct ledger_intent *intent, uint8_t **ret, size_t *ret_size);
/* The reverse; the bytes are checked: -EBADMSG. */
int ledgerpack_get(const uint8_t *bytes, size_t size, struct ledger_cells *ret);

struct sqlite3;
struct sqlite3_stmt;

/* ---- ledgerplace.c: is the database at its path still ours?  ----
 *
 * Another one may be copied over it, or moved into its place, or it may be removed or emptied,
 * while we have it open; SQLite would go on with what it has in memory, and mix the two.  So each
 * commit writes a mark into it that there was none like before, and the file is looked at before
 * each commit. */

struct ledger_mark {
	uint64_t token;         /* a random number of each process */
	uint64_t count;         /* of its commits */
};

#define LEDGER_MARK_SIZE 48
void ledgerplace_text(const struct ledger_mark *mark, char *buffer);
bool ledgerplace_parse(const char *text, struct ledger_mark *ret);

struct ledger_stamp {
	uint64_t dev, ino, size;
	int64_t mtime_ns, ctime_ns;
};

struct ledgerplace {
	struct ledger_stamp file, log;  /* as we left them; log.ino 0: there was none */
	uint32_t page, page_size;       /* where the mark is */
	struct ledger_mark base;        /* in the file itself */
	struct ledger_mark opened;      /* when it was opened, the log included */
};

enum ledgerplace_is {
	LEDGERPLACE_SAME,
	LEDGERPLACE_MOVED,      /* another file is at its path, or none */
	LEDGERPLACE_REPLACED,   /* it was written over */
	LEDGERPLACE_LOG_LOST    /* only its log was taken away */
};

int ledgerplace_take(struct ledgerplace *place, struct sqlite3 *db, const char *path,
		     struct reason *why);
/* We have written to the file itself. */
void ledgerplace_note(struct ledgerplace *place, struct sqlite3 *db, const char *path);
enum ledgerplace_is ledgerplace_check(struct ledgerplace *place, struct sqlite3 *db,
				      const char *path, const struct ledger_mark *last);
/* Removes the log that we have left beside another database, which would be taken for its own. */
void ledgerplace_clear(const struct ledgerplace *place, const char *path);

/* ---- ledgerlock.c: is it ours alone?  ----
 *
 * PATH.lock is flock(2)ed for as long as the ledger is open, and says by whom.  It can be removed,
 * or stand beside another name of the database; so a byte of the database itself, which SQLite does
 * not use, is locked too, by a descriptor of its own (F_OFD_SETLK).  That one is closed after
 * SQLite's: closing any descriptor of a file gives up all that SQLite has locked there. */

/* Before anything is made there: whether it and what SQLite puts beside it are files, or nothing
 * yet.  Only to be read, it may be a link.  0, REFUSED, -errno. */
int ledgerlock_look(const char *path, bool reading, struct reason *why);
/* Has PATH.lock in *lock, where it is not there already (-1: not at all).  `ret_begun` is set: was
 * a ledger in use there before?  0, REFUSED (another process), -errno. */
int ledgerlock_take(const char *path, int *lock, bool *ret_begun, struct reason *why);
/* From now on there is one. */
void ledgerlock_begun(int lock);
/* Makes the database's file where there is none, and locks it until *ret_fd is closed.
 * 0, REFUSED, -EAGAIN (it is being replaced), -errno. */
int ledgerlock_hold(const char *path, int *ret_fd, struct reason *why);

/* ---- ledgerseal.c: is a row as it was written?  ----
 *
 * SQLite does not notice a bit that has turned in what a table holds.  So each row of `merge` and
 * of `file` has a seal: the CRC-32 of what undo and the daemon act upon.  It is renewed with the
 * row only where it was good before. */

/* Gives the connection the SQL function seal_of(…). */
int ledgerseal_prepare(struct sqlite3 *db);

/* The seals that rows have with these values for what changes; the names are the columns'. */
#define LEDGERSEAL_MERGE(state, undone, undoing) "seal_of(id, file, what, " state ", time_ms," \
	" dev, ino, identity, last_up, " undone ", " undoing ", runs)"
#define LEDGERSEAL_FILE(held, spread) "seal_of(id, path, verdict, settled, " held ", " spread "," \
	" dev, ino, identity, size, mtime_ns, ctime_ns, sources, cells, why)"
/* Is a row as it was sealed? */
#define LEDGERSEAL_MERGE_SOUND "seal IS " LEDGERSEAL_MERGE("state", "undone", "undoing")
#define LEDGERSEAL_FILE_SOUND "seal IS " LEDGERSEAL_FILE("held", "spread")
/* For UPDATE: what is damaged stays so. */
#define LEDGERSEAL_MERGE_SET(state, undone, undoing) "seal = CASE WHEN " LEDGERSEAL_MERGE_SOUND \
	" THEN " LEDGERSEAL_MERGE(state, undone, undoing) " END"
#define LEDGERSEAL_FILE_SET(held, spread) "seal = CASE WHEN " LEDGERSEAL_FILE_SOUND \
	" THEN " LEDGERSEAL_FILE(held, spread) " END"

/* ---- ledgerschema.c: is it a ledger, and a sound one? ---- */

/* Beside 0, REFUSED and -errno: */
#define LEDGERSCHEMA_CORRUPT 2
#define LEDGERSCHEMA_ODD 3      /* a database in good order, but a table or a column is missing */

#define LEDGERSCHEMA_BUSY_MS 2000       /* how long somebody else is waited for */

/* What SQLite's error means, said as far as it knows: LEDGERSCHEMA_CORRUPT, LEDGERSCHEMA_ODD,
 * -errno. */
int ledgerschema_fail(struct sqlite3 *db, int code, struct reason *why);
int ledgerschema_prepare(struct sqlite3 *db, const char *text, struct sqlite3_stmt **ret,
			 struct reason *why);
int ledgerschema_run(struct sqlite3 *db, const char *text, struct reason *why);
/* The first column of the first row. */
int ledgerschema_ask(struct sqlite3 *db, const char *text, int64_t *ret, struct reason *why);
int ledgerschema_connect(const char *path, int flags, struct sqlite3 **ret, struct reason *why);
/* Is it ours, and of a version that we know?  Makes what is missing in a new one. */
int ledgerschema_check(struct sqlite3 *db, bool whole, bool *ret_created, bool *ret_ours,
		       struct reason *why);
/* Can its history be asked, without a change to it?  0, REFUSED, -errno. */
int ledgerschema_check_reading(struct sqlite3 *db, struct reason *why);
/* The first bytes say whether it was a ledger, whatever is wrong with the rest. */
bool ledgerschema_is_ours(const char *path);
/* Moves one away, as PATH.`what`-TIME; `ret` has the new name. */
int ledgerschema_set_aside(const char *path, const char *what, struct reason *ret);

/* ---- what goes on record ---- */

struct entry;

/* A merge under way.  What stands above `outcome` does not change once it is handed in. */
struct ticket {
	TAILQ_ENTRY(ticket) link;
	struct entry *entry;
	int64_t id, file;
	const char *rel;        /* the entry's */
	enum ledger_what what;
	int64_t time_ms;
	uint64_t dev, ino, identity, digest;
	int64_t last_up;
	uint8_t *runs;
	size_t runs_size;
	struct ledger_source *source;   /* one block, strings and all */
	size_t sources;
	uint64_t (*given)[LEDGER_KINDS];        /* [sources] cells intended from each */
	uint64_t intended[LEDGER_KINDS];
	int64_t *undoes;
	size_t undone;
	size_t bytes;           /* of memory, all in all */

	uint64_t written[LEDGER_KINDS];
	bool wrote;             /* the file was written to, under this intention */
	bool was_held;          /* an undo: the file was so before */
	struct ledger_outcome outcome;
	char *reason;
	unsigned epoch;         /* the database that has its row; 0: none */
	bool durable;           /* it has, and that is on disk */
	bool tried;             /* it may have, even if a commit has failed */
	bool committing;        /* in the hands of the committer; meanwhile: */
	bool dropped;           /*  … superseded or void */
	bool applied;           /*  … applied (it was durable in a database that is gone) */
	int error;              /* of its sync */
	bool asked, unended;    /* its commit has asked; the file's state by then */
};
TAILQ_HEAD(ticket_list, ticket);

/* A file's state as it is to be written. */
struct file_row {
	int64_t id;
	const char *rel;
	struct entry *entry;
	struct ledger_state state;
	uint64_t why;           /* hash of the reason, 0 without */
	char *refusal;          /* for the history, owned; or NULL */
	int64_t event;          /* its number there */
	bool damaged;           /* as it was read: the state is a guess on the safe side */
};

/* ---- ledgerwrite.c: puts it there ----
 *
 * The statements that write; the connection outlives them. */

struct ledgerwrite;
int ledgerwrite_open(struct sqlite3 *db, struct ledgerwrite **ret, struct reason *why);
void ledgerwrite_close(struct ledgerwrite *writer);

/* One transaction: begin, any of the middle ones, commit; after a failure, roll back. */
int ledgerwrite_begin(struct ledgerwrite *writer, struct reason *why);
int ledgerwrite_mark(struct ledgerwrite *writer, const struct ledger_mark *mark,
		     struct reason *why);
int ledgerwrite_file(struct ledgerwrite *writer, const struct file_row *row, struct reason *why);
int ledgerwrite_intent(struct ledgerwrite *writer, const struct ticket *ticket,
		       struct reason *why);
int ledgerwrite_done(struct ledgerwrite *writer, const struct ticket *ticket, int64_t now_ms,
		     struct reason *why);
/* Takes it off the record: nothing of it was written. */
int ledgerwrite_remove(struct ledgerwrite *writer, const struct ticket *ticket,
		       struct reason *why);
/* How ledger_unended() has the file after what was written so far. */
int ledgerwrite_unended(struct ledgerwrite *writer, int64_t file, bool *ret, struct reason *why);
int ledgerwrite_commit(struct ledgerwrite *writer, struct reason *why);
void ledgerwrite_rollback(struct ledgerwrite *writer);

/* ---- ledgerask.c: what is on record ----
 *
 * The questions, by a connection of their own; one at a time. */

struct ledgerask;
/* Not `all`: the history of all files, and nothing else. */
int ledgerask_open(struct sqlite3 *db, bool all, struct ledgerask **ret, struct reason *why);
void ledgerask_close(struct ledgerask *asker);

/* file 0: all; id 0: those before `before`. */
int ledgerask_history(struct ledgerask *asker, int64_t file, int64_t id, int64_t before,
		      size_t limit, struct ledger_entry **ret, size_t *ret_count);
int ledgerask_runs(struct ledgerask *asker, int64_t id, struct ledger_cells *ret);
int ledgerask_sources(struct ledgerask *asker, int64_t id, char ***ret, size_t *ret_count);
int ledgerask_undoable(struct ledgerask *asker, char ***ret, size_t *ret_count);

/* One merge or undo of a file with its runs. */
struct recorded {
	int64_t id;
	enum ledger_stage stage;
	uint64_t ino, identity;
	int64_t last_up;
	bool undone;
	bool undoing;           /* an undo has begun with it: nobody knows how far it came */
	struct ledger_cells cells;
};
/* The file's merges, or its undos, oldest first.  -EBADMSG: the one with this number is damaged. */
int ledgerask_recorded(struct ledgerask *asker, int64_t file, enum ledger_what what,
		       struct recorded **ret, size_t *ret_count, int64_t *ret_damaged);
void ledgerask_recorded_free(struct recorded *merge, size_t count);

/* ---- ledgersql.c: the database, open ----
 *
 * Two connections, one to write and one to ask, each with its statements. */

struct ledgersql;
/* Opens, checks (`whole`: however large it is), makes what is missing.  0, REFUSED (newer, not
 * ours, or in use), LEDGERSCHEMA_CORRUPT (`ret_ours`: it was a ledger for certain),
 * LEDGERSCHEMA_ODD, -errno. */
int ledgersql_open(const char *path, bool whole, struct ledgersql **ret, bool *ret_created,
		   bool *ret_ours, struct reason *why);
/* For ledgerask_history() of all files alone, without a lock.  0, REFUSED, -errno. */
int ledgersql_open_reading(const char *path, struct ledgersql **ret, struct reason *why);
void ledgersql_close(struct ledgersql *sql);
/* Is it still what we have written at the path?  `last` is the mark of the last commit, or of one
 * that was tried.  Where it is not, it is to be left: */
enum ledgerplace_is ledgersql_check(struct ledgersql *sql, const struct ledger_mark *last);
/* Closes it without touching what is at the path; what is in our log goes into our own file, if
 * that was moved away. */
void ledgersql_leave(struct ledgersql *sql, enum ledgerplace_is found);
/* The mark on record. */
int ledgersql_mark(struct ledgersql *sql, struct ledger_mark *ret, struct reason *why);

/* The first time that a process opens it: hands out what is known of each file, and calls
 * interrupted what nobody finished. */
typedef int ledgersql_file_fn(const struct file_row *row, void *arg);
int ledgersql_load(struct ledgersql *sql, ledgersql_file_fn *file, void *arg,
		   int64_t *ret_last_file, int64_t *ret_last_merge, struct reason *why);
/* Which files ledger_unended() has, by what is on record. */
#define LEDGERSQL_UNENDED "SELECT DISTINCT f.path FROM merge m JOIN file f ON f.id = m.file" \
	" WHERE m.undoing IS NOT NULL AND m.undone IS NULL AND m.what = 0" \
	" AND (SELECT max(l.id) FROM merge l WHERE l.file = m.file AND l.what = 0)" \
	" < (SELECT max(u.id) FROM merge u WHERE u.file = m.file AND u.what = 1" \
	" AND u.state IN (2, 3))"
typedef void ledgersql_unended_fn(const char *rel, void *arg);
int ledgersql_unended(struct ledgersql *sql, ledgersql_unended_fn *fn, void *arg,
		      struct reason *why);

/* Where the log of changes has grown: moves it into the database. */
void ledgersql_checkpoint(struct ledgersql *sql);

/* For the committer. */
struct ledgerwrite *ledgersql_writer(struct ledgersql *sql);
/* For whoever holds `reading`. */
struct ledgerask *ledgersql_asker(struct ledgersql *sql);

/* ---- ledgerundo.c: which cells an undo gives back, and to what; see the invariants 5 to 7 ---- */

int ledgerundo_plan(struct recorded *merge, size_t count, int64_t id, uint64_t ino,
		    uint64_t identity, struct ledger_undo *ret, struct reason *why);
int ledgerundo_spread(struct recorded *merge, size_t count, uint64_t ino, uint64_t identity,
		      struct ledger_undo *ret);

/* ---- ledgerunended.c: undos that were begun and did not come to their end ---- */

/* Callers hold the mutex. */
void ledgerunended_set(struct ledger *ledger, struct entry *entry, bool unended);
void ledgerunended_clear(struct ledger *ledger);
/* See ledger_begun(). */
int ledgerunended_begun(const struct recorded *merge, size_t merges, const struct recorded *undo,
			size_t undos, uint64_t ino, uint64_t identity, struct ledger_begun *ret);

/* ---- ledgertable.c: files and tickets in memory.  Callers hold the mutex. ---- */

/* One live file, for as long as the ledger is open. */
struct entry {
	struct entry *next_dirty;
	struct ticket *ticket;          /* the one not applied yet */
	char *refusal;                  /* to go into the history with the next commit */
	int64_t id;
	uint64_t why;                   /* hash of the last reason */
	struct ledger_state state;
	unsigned unsynced;              /* merges whose data is not on disk for certain */
	bool dirty;                     /* state is not in the database */
	bool listed;                    /* … and in the list of those to be written */
	bool unended;                   /* see ledger_unended() */
	char path[];
};

struct ledger {
	struct ledger_options options;
	char *path;
	bool only_read;                 /* there are no threads */
	int lock;                       /* PATH.lock, flock(2)ed; the committer's */
	struct ledgersql *sql;          /* writing: the committer's.  Asking, and the pointer: under
					 * `reading` */
	pthread_mutex_t reading;

	pthread_mutex_t mutex;          /* guards all that follows */
	pthread_cond_t commit;          /* something for the committer */
	pthread_cond_t sync;            /* … for the syncer */
	pthread_cond_t moved;           /* for those who flush or close: something has changed */
	pthread_t committer, syncer;
	bool loaded, ok, stopping, syncer_ended, committer_ended, committing, syncing;
	unsigned flushing;              /* who waits in ledger_flush() */
	struct reason why;              /* !ok */
	struct reason notice;

	struct blocks blocks;           /* the entries' memory */
	struct entry **table;           /* by path, open addressing */
	size_t entries, capacity;
	int64_t last_file, last_merge;
	uint64_t held;                  /* bytes of tickets */
	size_t unsynced, given_up;      /* merges applied and not done; of them for good */
	size_t unended;                 /* files */

	struct ticket_list fresh;       /* to be recorded */
	struct ticket_list applied;     /* to be synced */
	struct ticket_list finished;    /* to be recorded as done */
	struct ticket_list dropped;     /* to be taken off the record */
	struct entry *dirty;
	uint64_t began_ns;              /* the last commit */
	uint64_t gap_ns;                /* from then to the next that a merge waits for */
	uint64_t work_since_ns;         /* something to commit, 0: nothing */
	uint64_t applied_since_ns;
	uint64_t retry_ns;              /* !ok: not before */
	/* somebody wants to know whether the database is there still */
	bool checking;
	bool doubted;                   /* a question has met an error: !ok */
	/* the how manieth database this is; the committer's, as are: */
	unsigned epoch;
	struct ledger_mark last;        /* of the last commit */
	struct ledger_mark tried;       /* … or of one that failed, and may have come through */
	uint64_t token;                 /* of the marks to come */
	bool whole;                     /* it is doubted, and checked however large it is */
	/* not LEDGERPLACE_SAME: it was left, and none opened since */
	size_t damaged;                 /* rows of files, as it was opened */
	bool begun;                     /* PATH.lock says that there was one before */
	enum ledgerplace_is found;
};

struct entry *ledgertable_find(const struct ledger *ledger, const char *rel);
/* `id` 0: a new one takes the next number.  NULL without memory. */
struct entry *ledgertable_add(struct ledger *ledger, const char *rel, int64_t id);
void ledgertable_free(struct ledger *ledger);

/* 0 without a text. */
uint64_t ledgertable_hash(const char *text);

void ledgertable_wake_committer(struct ledger *ledger);
/* The state is to be written, though not before the data is on disk: invariant 3. */
void ledgertable_list(struct ledger *ledger, struct entry *entry);

/* Copies an intention; without the mutex.  0, -ENOMEM, -EINVAL. */
int ledgertable_ticket(const struct ledger_intent *intent, struct ticket **ret);
/* With it, unless it was never counted in `held`. */
void ledgertable_ticket_free(struct ledger *ledger, struct ticket *ticket);
/* Nothing of it was written, nor will be: off the record with it. */
void ledgertable_drop(struct ledger *ledger, struct ticket *ticket);
/* It waits for its sync. */
void ledgertable_applied(struct ledger *ledger, struct ticket *ticket);

/* ---- ledgerconnect.c: the database at its path, whatever has become of it ----
 *
 * What is damaged, or another one, is set aside, and one begun anew that gets all that is known. */

#define LEDGERCONNECT_NEWCOMER_MS 1000  /* so long a file put in the ledger's place has to rest */

/* Opens the database, or opens it again.  Only before there are threads, or by the committer, whose
 * the others are. */
int ledgerconnect_open(struct ledger *ledger, struct reason *why);
/* The database as it stands at its path, opened again where it must be. */
int ledgerconnect_ready(struct ledger *ledger, struct reason *why);
/* After a failure `r` of a commit: damage that shows only now, and what may be cured by opening it
 * anew.  0: that can be had at once. */
int ledgerconnect_failed(struct ledger *ledger, int r, struct reason *why);
void ledgerconnect_close(struct ledger *ledger);

/* ---- ledgercommit.c: the thread that puts on record, in groups, what was handed in ---- */

void *ledgercommit_run(void *ledger);
/* Caller holds the mutex. */
bool ledgercommit_has_work(const struct ledger *ledger);

/* ---- ledgersync.c: the thread that has synced what was written ---- */

void *ledgersync_run(void *ledger);

#endif
