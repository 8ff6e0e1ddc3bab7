/* unit-ledger-faults: a ledger that is damaged, newer, foreign, in use, unwritable, on a full disk
 * or taken away. */
#include "config.h"
#include "ledgering.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* SQLite's syncs come here. */
static atomic_size_t syncs;
static atomic_int sync_error;

static int count_sync(long call, int fd)
{
	int error = atomic_load(&sync_error);

	atomic_fetch_add(&syncs, 1);
	if (!error)
		return (int)syscall(call, fd);
	errno = error;
	return -1;
}

int fdatasync(int fd)
{
	return count_sync(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	return count_sync(SYS_fsync, fd);
}

static void overwrite(const char *path, off_t at, size_t size)
{
	int fd = open(path, O_RDWR);
	uint8_t *bytes = malloc(size);

	memset(bytes, 0xa5, size);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, size, at), size);
	free(bytes);
	close(fd);
}

/* Some hundred merges, closed again. */
static void fill(const char *path)
{
	struct ledger *ledger = open_at(path);

	for (int i = 0; i < 500; i++) {
		char rel[64] = "";
		struct ledger_intent intent = intent_for(rel);
		struct ledger_outcome outcome = outcome_for(rel);
		int64_t id;

		snprintf(rel, sizeof(rel), "host/%d.rrd", i);
		assert_int_equal(ledger_intend(ledger, &intent, &id), 0);
		ledger_applied(ledger, rel, id, &outcome);
	}
	flush(ledger);
	close_it(ledger);
}

/* Opened, it says that it was damaged, has kept the old one, and works. */
static void assert_begun_anew(const char *path)
{
	struct ledger *ledger = NULL;
	struct ledger_state known;
	struct reason why;

	tell_nothing();
	assert_int_equal(try_open(path, true, &ledger, &why), 0);
	assert_true(ledger_notice(ledger, &why));
	assert_non_null(strstr(why.text, "begun anew"));
	assert_non_null(strstr(why.text, ".corrupt-"));
	assert_false(ledger_notice(ledger, &why));
	assert_false(ledger_known(ledger, "host/1.rrd", &known));
	assert_works(ledger);
	close_it(ledger);
	assert_true(count_named(".corrupt-") >= 1);
	ledger = open_at(path);
	assert_false(ledger_notice(ledger, &why));
	assert_true(ledger_known(ledger, "works.rrd", &known));
	close_it(ledger);
}

static void test_garbage_header(void **state)
{
	(void)state;
	fill(ledger_path());
	overwrite(ledger_path(), 0, 100);
	assert_begun_anew(ledger_path());
}

static void test_garbage_schema(void **state)
{
	(void)state;
	fill(ledger_path());
	overwrite(ledger_path(), 100, 3000);
	assert_begun_anew(ledger_path());
}

static void test_garbage_middle(void **state)
{
	struct ledger *ledger;
	struct reason why;
	struct stat st;

	(void)state;
	fill(ledger_path());
	assert_int_equal(stat(ledger_path(), &st), 0);
	/* Whichever page it is, of tables that are read at once or much later. */
	for (off_t page = 1; page < st.st_size / 4096; page += 4) {
		if (page > 1) {
			unlink(ledger_path());
			fill(ledger_path());
			/* How large it is depends on which commits took what together. */
			assert_int_equal(stat(ledger_path(), &st), 0);
			if (page >= st.st_size / 4096)
				break;
		}
		overwrite(ledger_path(), page * 4096, 4096);
		ledger = open_at(ledger_path());
		if (!ledger_notice(ledger, &why))
			fail_msg("page %ld: not noticed", (long)page);
		close_it(ledger);
	}
	unlink(ledger_path());
	fill(ledger_path());
	overwrite(ledger_path(), st.st_size / 8192 * 4096, 4096);
	assert_begun_anew(ledger_path());
}

static void test_truncated(void **state)
{
	struct stat st;

	(void)state;
	fill(ledger_path());
	assert_int_equal(stat(ledger_path(), &st), 0);
	assert_int_equal(truncate(ledger_path(), st.st_size / 8192 * 4096), 0);
	assert_begun_anew(ledger_path());
}

static void test_empty(void **state)
{
	int fd = open(ledger_path(), O_WRONLY | O_CREAT, 0644);
	struct ledger *ledger = open_at(ledger_path());

	(void)state;
	close(fd);
	assert_works(ledger);
	close_it(ledger);
}

/* The damage comes while it is open: what is in memory goes into the new one. */
static void test_damage_while_open(void **state)
{
	struct ledger *ledger;
	struct ledger_state known;
	struct ledger_intent intent = intent_for("held.rrd"), undo = intent,
		under_way = intent_for("way.rrd");
	struct ledger_outcome outcome = outcome_for("held.rrd");
	struct reason why;
	struct stat st;
	int64_t id, number;

	(void)state;
	fill(ledger_path());
	ledger = open_at(ledger_path());
	id = merge(ledger, &intent);
	undo.undoes = &id;
	undo.undone = 1;
	number = intend(ledger, &undo);
	ledger_applied(ledger, "held.rrd", number, &outcome);
	flush(ledger);
	close_it(ledger);               /* so that there is no log any more */

	ledger = open_at(ledger_path());
	number = intend(ledger, &under_way);
	assert_int_equal(stat(ledger_path(), &st), 0);
	overwrite(ledger_path(), 0, (size_t)st.st_size);
	overwrite(scratch("ledger.db-wal"), 0, 200);
	/* Its header in memory is good as long as nobody else has written.  So: somebody has. */
	overwrite(scratch("ledger.db-shm"), 0, 32768);
	tell_nothing();
	assert_int_equal(ledger_intend(ledger, &intent, &id), -EPERM);
	intent = intent_for("new.rrd");
	ledger_intend(ledger, &intent, &id);
	wait_for(&told.durable, 2);     /* the one under way is told anew */
	assert_true(ledger_notice(ledger, &why));
	assert_non_null(strstr(why.text, "begun anew"));
	assert_true(ledger_ok(ledger, NULL));
	assert_true(ledger_covers(ledger, number, &under_way));
	close_it(ledger);
	ledger = open_at(ledger_path());
	assert_true(ledger_known(ledger, "held.rrd", &known));
	assert_true(known.held);
	assert_true(ledger_known(ledger, "host/7.rrd", &known));
	assert_int_equal(stage_of(ledger, number), LEDGER_INTERRUPTED);
	assert_int_equal(stage_of(ledger, id), LEDGER_INTERRUPTED);
	close_it(ledger);
}

/* Removed, or its whole directory, while it is open. */
static void test_removed(void **state)
{
	struct ledger *ledger;
	struct ledger_state known;
	struct reason why;

	(void)state;
	assert_int_equal(mkdir(scratch("state"), 0755), 0);
	fill(scratch("state/ledger.db"));
	ledger = open_at(scratch("state/ledger.db"));
	assert_works(ledger);
	/* One is applied and not synced yet when it happens. */
	struct ledger_intent intent = intent_for("a.rrd"), written = intent_for("written.rrd");
	struct ledger_outcome outcome = outcome_for("written.rrd");
	int64_t id, unsynced = intend(ledger, &written);
	told.sync_hangs = true;
	ledger_applied(ledger, "written.rrd", unsynced, &outcome);
	assert_int_equal(rename(scratch("state"), scratch("gone")), 0);
	told.durable = 0;
	assert_int_equal(ledger_intend(ledger, &intent, &id), 0);
	assert_int_equal(ledger_flush(ledger, now_ns() + 60 * SECOND), -EIO);
	assert_false(ledger_ok(ledger, &why));
	assert_int_equal(told.durable, 0);
	assert_int_equal(ledger_intend(ledger, &intent, &id), -EIO);
	assert_int_equal(mkdir(scratch("state"), 0755), 0);
	wait_for(&told.durable, 1);
	assert_true(ledger_notice(ledger, &why));
	pthread_mutex_lock(&told.mutex);
	told.sync_hangs = false;
	pthread_cond_broadcast(&told.some);
	pthread_mutex_unlock(&told.mutex);
	assert_works(ledger);
	assert_int_equal(stage_of(ledger, unsynced), LEDGER_IS_DONE);
	close_it(ledger);
	ledger = open_at(scratch("state/ledger.db"));
	assert_true(ledger_known(ledger, "host/7.rrd", &known));
	close_it(ledger);
}

static void copy_file(const char *from, const char *to)
{
	char block[65536];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	ssize_t got;

	assert_true(in >= 0 && out >= 0);
	while ((got = read(in, block, sizeof(block))) > 0)
		assert_int_equal(write(out, block, (size_t)got), got);
	close(in);
	close(out);
}

/* The number that the first row has. */
static int64_t ask_on(const char *path, const char *text)
{
	sqlite3_stmt *statement = NULL;
	sqlite3 *db;
	int64_t number = -1;

	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	if (!sqlite3_prepare_v2(db, text, -1, &statement, NULL) &&
	    sqlite3_step(statement) == SQLITE_ROW)
		number = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	sqlite3_close(db);
	return number;
}

static void wait_notice(struct ledger *ledger, struct reason *why)
{
	for (int i = 0; i < 6000; i++) {
		if (ledger_notice(ledger, why) && ledger_ok(ledger, NULL))
			return;
		if (why->text[0] && ledger_ok(ledger, NULL))
			return;
		usleep(10000);
	}
	fail_msg("nothing is said, or it does not work: %s", why->text);
}

enum { COPIED_OVER, MOVED_OVER, OLDER_COPIED, OLDER_MOVED, EMPTIED, REMOVED, REPLACINGS };

/* Another ledger is put in the place of the one that is open: it is not mixed in. */
static void replace(int how)
{
	struct ledger_intent intent = intent_for("known.rrd"), way = intent_for("way.rrd");
	struct ledger_outcome outcome = outcome_for("way.rrd");
	struct ledger_state known;
	struct reason why = { "" };
	struct ledger *ledger;
	int64_t id;

	fill(scratch("other.db"));
	ledger = open_at(ledger_path());
	merge(ledger, &intent);
	close_it(ledger);
	copy_file(ledger_path(), scratch("older.db"));
	ledger = open_at(ledger_path());
	intent = intent_for("later.rrd");
	merge(ledger, &intent);
	/* Until then the older one is what the file itself holds, and does no harm. */
	exec_on(ledger_path(), "PRAGMA wal_checkpoint(PASSIVE)");
	id = intend(ledger, &way);
	if (how == COPIED_OVER)
		copy_file(scratch("other.db"), ledger_path());
	else if (how == MOVED_OVER)
		assert_int_equal(rename(scratch("other.db"), ledger_path()), 0);
	else if (how == OLDER_COPIED)
		copy_file(scratch("older.db"), ledger_path());
	else if (how == OLDER_MOVED)
		assert_int_equal(rename(scratch("older.db"), ledger_path()), 0);
	else if (how == EMPTIED)
		assert_int_equal(truncate(ledger_path(), 0), 0);
	else
		assert_int_equal(remove(ledger_path()), 0);
	/* Nobody writes anything: it is found by looking. */
	ledger_check(ledger);
	wait_notice(ledger, &why);
	if (how < EMPTIED) {
		assert_non_null(strstr(why.text, "another was put in its place"));
		assert_int_equal(count_named(".other-"), 1);
	} else {
		assert_non_null(strstr(why.text, "begun anew"));
		assert_int_equal(count_named(".other-"), 0);
	}
	assert_int_equal(count_named(".corrupt-"), 0);
	/* What is known is still so, and in the new one; what was under way goes on. */
	flush(ledger);
	assert_true(ledger_known(ledger, "later.rrd", &known));
	assert_false(ledger_known(ledger, "host/7.rrd", &known));
	assert_true(ledger_covers(ledger, id, &way));
	ledger_applied(ledger, "way.rrd", id, &outcome);
	flush(ledger);
	assert_int_equal(stage_of(ledger, id), LEDGER_IS_DONE);
	assert_works(ledger);
	close_it(ledger);
	ledger = open_at(ledger_path());
	assert_false(ledger_notice(ledger, &why));
	assert_true(ledger_known(ledger, "known.rrd", &known));
	assert_true(ledger_known(ledger, "later.rrd", &known));
	assert_false(ledger_known(ledger, "host/7.rrd", &known));
	assert_int_equal(stage_of(ledger, id), LEDGER_IS_DONE);
	close_it(ledger);
	assert_int_equal(ask_on(ledger_path(), "SELECT count(*) FROM merge"), 2);
}

static void test_replaced(void **state)
{
	char path[600];

	for (int how = 0; how < REPLACINGS; how++) {
		if (how) {
			scratch_remove();
			scratch_make();
		}
		replace(how);
		/* What was put there is whole, under another name. */
		DIR *dir = opendir(scratch_dir);
		for (struct dirent *entry; (entry = readdir(dir)); ) {
			if (!strstr(entry->d_name, ".other-"))
				continue;
			assert_null(strstr(entry->d_name, "-wal"));
			snprintf(path, sizeof(path), "%s/%s", scratch_dir, entry->d_name);
			assert_int_equal(ask_on(path, "SELECT count(*) FROM pragma_quick_check"
						" WHERE quick_check = 'ok'"), 1);
			assert_int_equal(ask_on(path, "SELECT count(*) FROM merge"),
					 how < OLDER_COPIED ? 500 : 1);
		}
		closedir(dir);
	}
	(void)state;
}

/* Somebody else moves the log into the database, or takes the log away: it is the same one. */
static void test_same(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd");
	struct reason why = { "" };
	int64_t first = merge(ledger, &intent), second;

	(void)state;
	exec_on(ledger_path(), "PRAGMA wal_checkpoint(TRUNCATE)");
	ledger_check(ledger);
	intent = intent_for("b.rrd");
	second = merge(ledger, &intent);
	assert_int_equal(remove(scratch("ledger.db-wal")), 0);
	ledger_check(ledger);
	intent = intent_for("c.rrd");
	merge(ledger, &intent);
	assert_false(ledger_notice(ledger, &why));
	assert_int_equal(stage_of(ledger, first), LEDGER_IS_DONE);
	assert_int_equal(stage_of(ledger, second), LEDGER_IS_DONE);
	/* And it is on disk where others look for it. */
	assert_int_equal(ask_on(ledger_path(), "SELECT count(*) FROM merge WHERE state = 1"), 3);
	assert_int_equal(count_named(".other-"), 0);
	close_it(ledger);
}

/* A question that meets damage: it does not work any more, until it is begun anew. */
static void test_question(void **state)
{
	struct ledger_entry *entry;
	struct ledger_state known;
	struct reason why = { "" };
	struct ledger *ledger;
	struct stat st;
	size_t count;

	(void)state;
	fill(ledger_path());
	ledger = open_at(ledger_path());
	assert_int_equal(stat(ledger_path(), &st), 0);
	overwrite(ledger_path(), st.st_size / 2, (size_t)(st.st_size / 2));
	assert_true(ledger_history(ledger, NULL, 0, 1000, &entry, &count) < 0);
	wait_notice(ledger, &why);
	assert_non_null(strstr(why.text, "begun anew"));
	assert_int_equal(count_named(".corrupt-") > 0, 1);
	assert_int_equal(ledger_history(ledger, NULL, 0, 1000, &entry, &count), 0);
	ledger_entries_free(entry, count);
	assert_true(ledger_known(ledger, "host/7.rrd", &known));
	assert_works(ledger);
	close_it(ledger);
}

static void test_newer(void **state)
{
	struct ledger *ledger;
	struct reason why;

	(void)state;
	fill(ledger_path());
	exec_on(ledger_path(), "PRAGMA user_version = 1000");
	assert_int_equal(try_open(ledger_path(), true, &ledger, &why), REFUSED);
	assert_non_null(strstr(why.text, "newer version"));
	assert_int_equal(count_named(".corrupt-"), 0);
	exec_on(ledger_path(), "PRAGMA user_version = 3");
	close_it(open_at(ledger_path()));
}

/* tests/data/ledger-1.sql, with an undo of a.rrd that was interrupted besides; -2 has that. */
static void older(int version)
{
	const char *top = getenv("top_srcdir");
	char path[4200], text[16384] = "", rel[] = "/live/d.rrd";
	struct ledger_intent intent = intent_for(rel);
	struct ledger_entry *entry;
	struct ledger_state known;
	struct ledger_cells cells;
	struct ledger_undo undo;
	struct ledger *ledger;
	struct reason why;

	snprintf(path, sizeof(path), "%s/tests/data/ledger-%d.sql", top ? top : "..", version);
	FILE *file = fopen(path, "r");
	if (!file) {
		print_message("           SKIP: %s is not there (top_srcdir says where)\n", path);
		skip();
	}
	assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
	fclose(file);
	exec_on(ledger_path(), text);
	exec_on(ledger_path(), version > 1 ? "" : "INSERT INTO merge SELECT 5, file, 1, 0, time_ms, NULL, dev, ino,"
		" identity, last_up, exact, seam, consolidated, spread, NULL, NULL, NULL, runs"
		" FROM merge WHERE id = 1");
	for (int again = 0; again < 2; again++) {
		ledger = open_at(ledger_path());
		assert_true(ledger_ok(ledger, NULL));
		assert_true(ledger_known(ledger, "/live/a.rrd", &known));
		assert_int_equal(known.verdict, LEDGER_MERGED);
		assert_true(ledger_known(ledger, "/live/b.rrd", &known));
		assert_true(known.held);
		assert_int_equal(ledger_get(ledger, 1, &entry), 0);
		assert_int_equal(entry->undone, 0);
		assert_int_equal(entry->undoing, 5);
		ledger_entries_free(entry, 1);
		assert_int_equal(ledger_get(ledger, 2, &entry), 0);
		assert_int_equal(entry->undone, 3);
		assert_int_equal(entry->undoing, 0);
		ledger_entries_free(entry, 1);
		assert_int_equal(stage_of(ledger, 4), LEDGER_INTERRUPTED);
		assert_int_equal(ledger_get(ledger, 4, &entry), 0);
		assert_int_equal(entry->undoing, 0);
		ledger_entries_free(entry, 1);
		assert_int_equal(ledger_runs(ledger, 4, &cells), 0);
		assert_int_equal(cells.runs, SOME_RUNS);
		assert_int_equal(cells.run[0].count, 500);
		ledger_cells_free(&cells);
		assert_false(ledger_notice(ledger, &why));
		assert_int_equal(ledger_undo(ledger, "/live/a.rrd", 1, INO, IDENTITY, false, &undo, &why), 0);
		ledger_undo_free(&undo);
		rel[6] = again ? 'e' : 'd';
		assert_int_equal(stage_of(ledger, merge(ledger, &intent)), LEDGER_IS_DONE);
		close_it(ledger);
	}
	/* The views are there as in a new one. */
	exec_on(ledger_path(), "SELECT undone_by, state FROM merges; SELECT * FROM sources;"
		"SELECT * FROM refusals");
	assert_int_equal(ask_on(ledger_path(), "PRAGMA user_version"), 3);
	assert_int_equal(ask_on(ledger_path(), "SELECT count(*) FROM merge WHERE seal IS NULL"), 0);
	assert_int_equal(count_named(".corrupt-"), 0);
}

static void test_older(void **state)
{
	(void)state;
	older(1);
	scratch_remove();
	scratch_make();
	older(2);
}

/* What is not ours stays where it is. */
static void test_foreign(void **state)
{
	struct ledger *ledger;
	struct reason why;
	struct stat before, after;

	(void)state;
	exec_on(scratch("theirs.db"), "CREATE TABLE t(a); INSERT INTO t VALUES(5)");
	assert_int_equal(try_open(scratch("theirs.db"), true, &ledger, &why), REFUSED);
	assert_non_null(strstr(why.text, "no ledger"));
	int fd = open(scratch("some.rrd"), O_WRONLY | O_CREAT, 0644);
	assert_int_equal(write(fd, "RRD\0000003 is what it is, and long enough for a header.....",
			       58), 58);
	assert_int_equal(ftruncate(fd, 20000), 0);
	close(fd);
	assert_int_equal(stat(scratch("some.rrd"), &before), 0);
	assert_int_equal(try_open(scratch("some.rrd"), false, &ledger, &why), REFUSED);
	assert_non_null(strstr(why.text, "no ledger"));
	assert_int_equal(stat(scratch("some.rrd"), &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	assert_int_equal(count_named(".corrupt-"), 0);
	/* But a damaged ledger is one on any path. */
	fill(scratch("mine.db"));
	overwrite(scratch("mine.db"), 100, 3000);
	assert_int_equal(try_open(scratch("mine.db"), false, &ledger, &why), 0);
	assert_true(ledger_notice(ledger, &why));
	close_it(ledger);
}

/* Runs `body` in a process of its own; its exit status. */
static int in_child(int (*body)(void))
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(body());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int open_second(void)
{
	struct ledger *ledger;
	struct reason why;
	char pid[32];

	snprintf(pid, sizeof(pid), "process: %ld", (long)getppid());
	return try_open(ledger_path(), true, &ledger, &why) == REFUSED
		&& strstr(why.text, pid) ? 0 : 1;
}

static void test_in_use(void **state)
{
	struct ledger *ledger = open_at(ledger_path());

	(void)state;
	assert_int_equal(in_child(open_second), 0);
	assert_works(ledger);
	close_it(ledger);
}

/* Somebody writes to it with sqlite3, and takes his time. */
static void test_locked(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd");
	struct ledger_entry *entry;
	struct reason why;
	size_t count;
	sqlite3 *db;
	int64_t id;

	(void)state;
	assert_works(ledger);
	assert_int_equal(sqlite3_open(ledger_path(), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	tell_nothing();
	assert_int_equal(ledger_intend(ledger, &intent, &id), 0);
	assert_int_equal(ledger_flush(ledger, now_ns() + 60 * SECOND), -EIO);
	assert_false(ledger_ok(ledger, &why));
	assert_non_null(strstr(why.text, "locked"));
	assert_int_equal(ledger_history(ledger, NULL, 0, 5, &entry, &count), 0);
	ledger_entries_free(entry, count);
	assert_int_equal(told.durable, 0);
	assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	wait_for(&told.durable, 1);
	assert_works(ledger);
	close_it(ledger);
}

/* ---- a disk that does not take it: in a process of its own ---- */

#define CHECK(what) do { if (!(what)) { \
	fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); return 1; } } while (0)

static int on_read_only(void)
{
	struct ledger *ledger;
	struct ledger_intent intent = intent_for("a.rrd");
	struct reason why;
	int64_t id;
	size_t waits = 0;

	if (geteuid() == 0 && setresuid(65534, 65534, 65534))
		return 77;
	CHECK(try_open(scratch("state/ledger.db"), true, &ledger, &why) == 0);
	CHECK(!ledger_ok(ledger, &why));
	CHECK(strstr(why.text, "Permission denied"));
	CHECK(ledger_intend(ledger, &intent, &id) == -EIO);
	/* Our parent lets us, when it sees this. */
	int fd = open(scratch("tell"), O_WRONLY);
	CHECK(fd >= 0 && write(fd, "x", 1) == 1);
	while (!ledger_ok(ledger, &why) && waits++ < 6000)
		usleep(10000);
	CHECK(ledger_intend(ledger, &intent, &id) == 0);
	CHECK(ledger_flush(ledger, now_ns() + 60 * SECOND) == 0);
	CHECK(ledger_close(ledger, now_ns() + 60 * SECOND));
	return 0;
}

static void test_read_only(void **state)
{
	int status, fd;
	char byte;
	pid_t child;

	(void)state;
	assert_int_equal(mkdir(scratch("state"), 0555), 0);
	assert_int_equal(mkfifo(scratch("tell"), 0666), 0);
	assert_int_equal(chmod(scratch("tell"), 0666), 0);
	assert_int_equal(chmod(scratch_dir, 0755), 0);
	child = fork();
	if (child == 0)
		_exit(on_read_only());
	/* For reading and writing: it opens whether the child comes that far or not. */
	fd = open(scratch("tell"), O_RDWR | O_NONBLOCK);
	while (waitpid(child, &status, WNOHANG) == 0 && read(fd, &byte, 1) != 1)
		usleep(10000);
	chmod(scratch("state"), 0777);
	close(fd);
	if (waitpid(child, &status, 0) != child)
		fail_msg("ended before it had seen anything");
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int on_full_disk(void)
{
	struct ledger *ledger;
	struct ledger_state known;
	struct reason why;
	char rel[64] = "";
	struct ledger_intent intent = intent_for(rel);
	struct ledger_outcome outcome = outcome_for(rel);
	size_t durable, handed = 0;
	uint8_t block[4096] = { 0 };
	int64_t id, last = 0;

	if ((unshare(CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNS))
	    || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)
	    || mount("none", scratch("state"), "tmpfs", 0, "size=1m"))
		return 77;
	CHECK(try_open(scratch("state/ledger.db"), true, &ledger, &why) == 0);
	snprintf(rel, sizeof(rel), "first.rrd");
	CHECK(ledger_intend(ledger, &intent, &id) == 0);
	CHECK(ledger_flush(ledger, now_ns() + 60 * SECOND) == 0);
	int fd = open(scratch("state/ballast"), O_WRONLY | O_CREAT, 0644);
	while (write(fd, block, sizeof(block)) == sizeof(block))
		;
	while (ledger_ok(ledger, &why) && handed < 100000) {
		snprintf(rel, sizeof(rel), "host/%zu.rrd", handed);
		if (ledger_intend(ledger, &intent, &id) == 0) {
			handed++;
			last = id;
		}
		usleep(100);
	}
	CHECK(!ledger_ok(ledger, &why));
	if (!strstr(why.text, "full"))
		fprintf(stderr, "says: %s\n", why.text);
	CHECK(strstr(why.text, "full"));
	durable = told.durable;
	usleep(300000);                         /* some more tries */
	CHECK(told.durable == durable);
	CHECK(!ledger_covers(ledger, last, &intent));
	CHECK(durable < handed + 1);
	CHECK(ledger_known(ledger, "none", &known) == false);
	close(fd);
	unlink(scratch("state/ballast"));
	for (int i = 0; i < 6000 && !ledger_ok(ledger, &why); i++)
		usleep(10000);
	CHECK(ledger_flush(ledger, now_ns() + 60 * SECOND) == 0);
	CHECK(told.durable == handed + 1);
	snprintf(rel, sizeof(rel), "host/%zu.rrd", handed - 1);
	CHECK(ledger_covers(ledger, last, &intent));
	ledger_applied(ledger, rel, last, &outcome);
	CHECK(ledger_flush(ledger, now_ns() + 60 * SECOND) == 0);
	CHECK(told.last_done == last);
	CHECK(ledger_close(ledger, now_ns() + 60 * SECOND));
	CHECK(try_open(scratch("state/ledger.db"), true, &ledger, &why) == 0);
	CHECK(!ledger_notice(ledger, &why));    /* nothing was damaged by it */
	CHECK(ledger_close(ledger, now_ns() + 60 * SECOND));
	umount(scratch("state"));
	return 0;
}

static void test_full(void **state)
{
	int status;

	(void)state;
	assert_int_equal(mkdir(scratch("state"), 0755), 0);
	tell_nothing();
	status = in_child(on_full_disk);
	if (status == 77) {
		print_message("           SKIP: no file system of our own may be mounted here\n");
		skip();
	}
	assert_int_equal(status, 0);
}

/* What is told to be durable was synced: one sync for each that comes alone, and none told while
 * syncs fail. */
static void test_syncs(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd"), other = intent_for("b.rrd");
	struct ledger_entry *entry;
	struct reason why;
	int64_t id, let_go;

	(void)state;
	intend(ledger, &intent);
	for (int i = 0; i < 5; i++) {
		size_t before = atomic_load(&syncs);

		intend(ledger, &intent);
		assert_true(atomic_load(&syncs) > before);
	}
	atomic_store(&sync_error, EIO);
	tell_nothing();
	assert_int_equal(ledger_intend(ledger, &intent, &id), 0);
	assert_int_equal(ledger_intend(ledger, &other, &let_go), 0);
	assert_int_equal(ledger_flush(ledger, now_ns() + 60 * SECOND), -EIO);
	usleep(200000);
	assert_int_equal(told.durable, 0);
	assert_false(ledger_covers(ledger, id, &intent));
	assert_false(ledger_ok(ledger, &why));
	/* One that is let go meanwhile does not turn up again. */
	struct ledger_outcome nothing = { .result = LEDGER_VOID };
	ledger_applied(ledger, other.rel, let_go, &nothing);
	if (!strstr(why.text, "I/O error"))
		fail_msg("says: %s", why.text);
	atomic_store(&sync_error, 0);
	wait_for(&told.durable, 1);
	assert_true(ledger_covers(ledger, id, &intent));
	assert_works(ledger);
	close_it(ledger);
	ledger = open_at(ledger_path());
	assert_false(ledger_notice(ledger, &why));
	assert_int_equal(stage_of(ledger, id), LEDGER_INTERRUPTED);
	assert_int_equal(ledger_get(ledger, let_go, &entry), -ENOENT);
	close_it(ledger);
}

/* On its way out with a disk that takes nothing: in time. */
static void test_close_broken(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_state seen = { .verdict = LEDGER_SKIPPED };
	sqlite3 *db;

	(void)state;
	assert_works(ledger);
	assert_int_equal(sqlite3_open(ledger_path(), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(ledger_note(ledger, "a.rrd", &seen, NULL), 0);
	close_it(ledger);
	sqlite3_close(db);
	ledger = open_at(ledger_path());
	assert_false(ledger_known(ledger, "a.rrd", &seen));
	close_it(ledger);
}

/* The questions that docs/ledger.md shows are answered. */
static int count_row(void *arg, int columns, char **value, char **name)
{
	(void)columns;
	(void)value;
	(void)name;
	++*(int *)arg;
	return 0;
}

static void test_documented(void **state)
{
	const char *top = getenv("top_srcdir");
	char path[4200], line[512], text[2048] = "";
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("/var/lib/pnp4nagios/perfdata/web01/PING.rrd");
	struct ledger_state refused = { .verdict = LEDGER_REFUSED };
	int asked = 0;
	sqlite3 *db;

	(void)state;
	merge(ledger, &intent);
	assert_int_equal(ledger_note(ledger, "b.rrd", &refused, "is a FIFO"), 0);
	flush(ledger);
	snprintf(path, sizeof(path), "%s/docs/ledger.md", top ? top : "..");
	FILE *file = fopen(path, "r");
	if (!file) {
		close_it(ledger);
		print_message("           SKIP: %s is not there (top_srcdir says where)\n", path);
		skip();
	}
	assert_int_equal(sqlite3_open_v2(ledger_path(), &db, SQLITE_OPEN_READONLY, NULL), 0);
	while (fgets(line, sizeof(line), file)) {
		int rows = 0;

		if (strncmp(line, "    SELECT", 10) && !*text)
			continue;
		assert_true(strlen(text) + strlen(line) < sizeof(text));
		strcat(text, line);
		if (!strchr(line, ';'))
			continue;
		if (sqlite3_exec(db, text, count_row, &rows, NULL) || rows != 1)
			fail_msg("%d rows, %s: %s", rows, sqlite3_errmsg(db), text);
		asked++;
		*text = '\0';
	}
	fclose(file);
	assert_int_equal(asked, 3);
	sqlite3_close(db);
	close_it(ledger);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_garbage_header, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(test_garbage_schema, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(test_garbage_middle, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(test_truncated, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_empty, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_damage_while_open, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(test_removed, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_replaced, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_same, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_question, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_newer, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_older, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_foreign, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_in_use, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_locked, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_read_only, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_full, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_syncs, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_close_broken, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_documented, scratch_setup, scratch_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
