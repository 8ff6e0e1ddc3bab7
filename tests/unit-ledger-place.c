/* unit-ledger-place: what may stand at a ledger's path and beside it, and that it is one process's
 * alone, whatever name it is opened by. */
#include "config.h"
#include "ledgering.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void make_one(const char *path)
{
	struct ledger *ledger = open_at(path);

	assert_works(ledger);
	close_it(ledger);
}

/* ---- one process alone ---- */

/* In a process of its own: is it refused, with this? */
static void assert_refused_to_others(const char *path, const char *with)
{
	struct ledger *ledger;
	struct reason why;
	int status;
	pid_t child = fork();

	if (child == 0) {
		int r = try_open(path, true, &ledger, &why);

		if (r != REFUSED || !strstr(why.text, with))
			fprintf(stderr, "%s: %d, %s\n", path, r, why.text);
		_exit(r == REFUSED && strstr(why.text, with) ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_alone(void **state)
{
	struct ledger *ledger;
	struct reason why = { "" };
	char pid[32];

	(void)state;
	snprintf(pid, sizeof(pid), "process: %ld", (long)getpid());
	assert_int_equal(mkdir(scratch("state"), 0755), 0);
	assert_int_equal(symlink("state", scratch("way")), 0);
	ledger = open_at(scratch("state/ledger.db"));
	assert_works(ledger);
	assert_refused_to_others(scratch("state/ledger.db"), pid);
	assert_refused_to_others(scratch("way/ledger.db"), pid);
	/* By other names. */
	assert_int_equal(symlink("state/ledger.db", scratch("link.db")), 0);
	assert_refused_to_others(scratch("link.db"), "symbolic link");
	assert_int_equal(link(scratch("state/ledger.db"), scratch("hard.db")), 0);
	assert_refused_to_others(scratch("hard.db"), "2 names");
	assert_refused_to_others(scratch("state/ledger.db"), "2 names");
	assert_int_equal(remove(scratch("hard.db")), 0);
	/* Without the file that says so. */
	assert_int_equal(remove(scratch("state/ledger.db.lock")), 0);
	assert_refused_to_others(scratch("state/ledger.db"), "in use by another process");
	assert_works(ledger);
	/* Another directory in place of the old one. */
	assert_int_equal(rename(scratch("state"), scratch("moved")), 0);
	assert_int_equal(mkdir(scratch("state"), 0755), 0);
	assert_refused_to_others(scratch("moved/ledger.db"), "in use by another process");
	ledger_check(ledger);
	for (int i = 0; i < 6000 && !(ledger_ok(ledger, NULL) && ledger_notice(ledger, &why)); i++)
		usleep(10000);
	assert_non_null(strstr(why.text, "begun anew"));
	assert_works(ledger);
	assert_refused_to_others(scratch("state/ledger.db"), pid);
	assert_int_equal(remove(scratch("state/ledger.db.lock")), 0);
	assert_refused_to_others(scratch("state/ledger.db"), "in use by another process");
	close_it(ledger);
	make_one(scratch("moved/ledger.db"));
}

/* Somebody else has begun in the new directory before we look. */
static void test_overtaken(void **state)
{
	struct ledger *ledger;
	struct reason why = { "" };
	int tell[2], go[2];
	char byte = 0;

	(void)state;
	assert_int_equal(mkdir(scratch("state"), 0755), 0);
	assert_int_equal(pipe(tell) | pipe(go), 0);
	/* Before there are threads here: it starts some. */
	pid_t child = fork();
	if (child == 0) {
		struct ledger *second;

		close(go[1]);
		bool open = read(go[0], &byte, 1) == 1
			&& !try_open(scratch("state/ledger.db"), true, &second, &why)
			&& ledger_ok(second, &why);

		if (!open || write(tell[1], "x", 1) != 1)
			_exit(1);
		while (read(go[0], &byte, 1) > 0)
			;
		_exit(0);
	}
	close(tell[1]);
	ledger = open_at(scratch("state/ledger.db"));
	assert_works(ledger);
	assert_int_equal(rename(scratch("state"), scratch("moved")), 0);
	assert_int_equal(mkdir(scratch("state"), 0755), 0);
	assert_int_equal(write(go[1], "x", 1), 1);
	assert_int_equal(read(tell[0], &byte, 1), 1);
	ledger_check(ledger);
	for (int i = 0; i < 6000 && ledger_ok(ledger, &why); i++)
		usleep(10000);
	for (int i = 0; i < 6000 && !strstr(why.text, "in use by another process"); i++) {
		assert_false(ledger_ok(ledger, &why));
		usleep(10000);
	}
	assert_non_null(strstr(why.text, "in use by another process"));
	/* Once that is gone, what it has done there is not ours. */
	close(go[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	for (int i = 0; i < 6000 && !ledger_ok(ledger, &why); i++)
		usleep(10000);
	assert_works(ledger);
	close_it(ledger);
	close(tell[0]);
	close(go[0]);
}

/* ---- names ---- */

static void test_names(void **state)
{
	static const char *const name[] = {
		"file:foo.db", ":memory:", "file:x?mode=memory", "file:///x", "-", "a b%41?c#d", "~"
	};
	char old[4096];
	struct reason why;
	struct ledger *ledger;
	struct stat st;

	(void)state;
	assert_non_null(getcwd(old, sizeof(old)));
	assert_int_equal(chdir(scratch_dir), 0);
	assert_int_equal(mkdir("file:", 0755), 0);
	for (size_t i = 0; i < sizeof(name) / sizeof(*name); i++) {
		make_one(name[i]);
		if (stat(name[i], &st) || !S_ISREG(st.st_mode) || st.st_size < 4096)
			fail_msg("%s: is not there", name[i]);
		ledger = open_at(name[i]);
		assert_false(ledger_notice(ledger, &why));
		assert_int_equal(stage_of(ledger, 1), LEDGER_IS_DONE);
		close_it(ledger);
	}
	assert_int_equal(count_named("foo.db"), 2);     /* and its lock */
	assert_int_equal(try_open("", false, &ledger, &why), REFUSED);
	assert_non_null(strstr(why.text, "has no name"));
	assert_int_equal(chdir(old), 0);
}

/* ---- what is no file ---- */

static void assert_no_file(const char *path, const char *with)
{
	int before = count_named("");
	struct ledger *ledger;
	struct reason why;

	for (int own = 0; own < 2; own++) {
		int r = try_open(path, own, &ledger, &why);

		if (r != REFUSED || !strstr(why.text, with))
			fail_msg("%s: %d, %s", path, r, why.text);
	}
	assert_int_equal(count_named(""), before);
}

static void test_kinds(void **state)
{
	static const char *const ending[] = { "-wal", "-shm", "-journal", ".lock" };
	char path[64], with[64];

	(void)state;
	assert_int_equal(mkdir(scratch("dir"), 0755), 0);
	assert_no_file(scratch("dir"), "is a directory");
	assert_int_equal(mkfifo(scratch("fifo"), 0644), 0);
	assert_no_file(scratch("fifo"), "is a FIFO");
	assert_int_equal(symlink("loop", scratch("loop")), 0);
	assert_no_file(scratch("loop"), "is a symbolic link");
	make_one(scratch("real.db"));
	assert_int_equal(symlink("real.db", scratch("link")), 0);
	assert_no_file(scratch("link"), "is a symbolic link");
	/* What somebody may have left there is no affair of ours. */
	int lock = access("/dev/null.lock", F_OK), journal = access("/dev/null-journal", F_OK);
	assert_no_file("/dev/null", "is a device");
	assert_int_equal(access("/dev/null.lock", F_OK), lock);
	assert_int_equal(access("/dev/null-journal", F_OK), journal);
	for (size_t i = 0; i < sizeof(ending) / sizeof(*ending); i++) {
		snprintf(path, sizeof(path), "new.db%s", ending[i]);
		snprintf(with, sizeof(with), "new.db%s beside it is a directory", ending[i]);
		assert_int_equal(mkdir(scratch(path), 0755), 0);
		assert_no_file(scratch("new.db"), with);
		assert_int_equal(rmdir(scratch(path)), 0);
	}
	make_one(scratch("new.db"));
}

/* ---- it was one once ---- */

/* Opened, with these notices; the number of files set aside. */
static void assert_says(const char *path, const char *with, int aside)
{
	struct ledger *ledger = open_at(path);
	struct reason why = { "" };
	bool some = ledger_notice(ledger, &why);

	if (some != (with != NULL) || (with && !strstr(why.text, with)))
		fail_msg("says: %s", why.text);
	assert_works(ledger);
	close_it(ledger);
	assert_int_equal(count_named(".corrupt-"), aside);
}

static void test_emptied(void **state)
{
	struct ledger *ledger;
	struct reason why;

	(void)state;
	for (off_t size = 0; size < 100; size = size * 99 + 1) {
		make_one(ledger_path());
		assert_int_equal(truncate(ledger_path(), size), 0);
		assert_says(ledger_path(), "it is empty", 1);
		scratch_remove();
		scratch_make();
	}
	/* Where nothing but its log tells: that is kept, for it has what was done. */
	make_one(ledger_path());
	assert_int_equal(truncate(ledger_path(), 0), 0);
	assert_int_equal(remove(scratch("ledger.db.lock")), 0);
	int fd = open(scratch("ledger.db-wal"), O_WRONLY | O_CREAT, 0644);
	assert_int_equal(write(fd, "a log", 5), 5);
	close(fd);
	assert_says(ledger_path(), "it is empty", 2);
	/* One that was not in use before. */
	scratch_remove();
	scratch_make();
	close(open(ledger_path(), O_WRONLY | O_CREAT, 0644));
	assert_says(ledger_path(), NULL, 0);
	/* One that is gone. */
	assert_int_equal(remove(ledger_path()), 0);
	assert_says(ledger_path(), "is not there any more", 0);
	assert_says(ledger_path(), NULL, 0);
	/* On a command line: what was never one is left alone. */
	fd = open(scratch("letter"), O_WRONLY | O_CREAT, 0644);
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
	assert_int_equal(try_open(scratch("letter"), false, &ledger, &why), REFUSED);
	assert_non_null(strstr(why.text, "is no ledger"));
	/* … and what is new, is that. */
	close(open(scratch("fresh"), O_WRONLY | O_CREAT, 0644));
	assert_int_equal(try_open(scratch("fresh"), false, &ledger, &why), 0);
	assert_false(ledger_notice(ledger, &why));
	close_it(ledger);
	assert_int_equal(truncate(scratch("fresh"), 0), 0);
	assert_int_equal(try_open(scratch("fresh"), false, &ledger, &why), 0);
	assert_true(ledger_notice(ledger, &why));
	close_it(ledger);
	assert_int_equal(remove(scratch("fresh")), 0);
	assert_int_equal(try_open(scratch("fresh"), false, &ledger, &why), 0);
	assert_false(ledger_notice(ledger, &why));
	close_it(ledger);
}

/* A sound database, and yet not what a ledger is. */
static void test_odd(void **state)
{
	static const char *const how[] = {
		"DROP TABLE merge", "DROP TABLE file", "DROP TABLE source", "DROP TABLE root",
		"DROP TABLE mark", "ALTER TABLE merge RENAME COLUMN runs TO walks",
		"PRAGMA user_version = 0", "PRAGMA user_version = 1", "PRAGMA user_version = 2",
		"PRAGMA user_version = -1", "DROP TABLE merge; PRAGMA user_version = 2",
	};
	struct ledger *ledger;
	struct reason why;
	struct stat before, after;

	(void)state;
	for (size_t i = 0; i < sizeof(how) / sizeof(*how); i++) {
		make_one(ledger_path());
		if (how[i][0] != 'P')
			exec_on(ledger_path(), "DROP VIEW merges; DROP VIEW sources;"
				"DROP VIEW refusals");
		exec_on(ledger_path(), how[i]);
		assert_int_equal(stat(ledger_path(), &before), 0);
		if (try_open(ledger_path(), false, &ledger, &why) != REFUSED ||
		    !strstr(why.text, "is damaged (") || !strstr(why.text, "move it away"))
			fail_msg("%s: %s", how[i], why.text);
		assert_int_equal(stat(ledger_path(), &after), 0);
		assert_int_equal(before.st_ino, after.st_ino);
		assert_says(ledger_path(), "begun anew", 1);
		scratch_remove();
		scratch_make();
	}
}

/* The same while it is open: it does not stay so. */
static void test_odd_while_open(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("later.rrd");
	struct ledger_state known;
	struct reason why = { "" };
	int64_t id;

	(void)state;
	assert_works(ledger);
	exec_on(ledger_path(), "DROP TABLE source");
	tell_nothing();
	assert_int_equal(ledger_intend(ledger, &intent, &id), 0);
	wait_for(&told.durable, 1);
	assert_true(ledger_notice(ledger, &why));
	assert_non_null(strstr(why.text, "begun anew"));
	assert_int_equal(count_named(".corrupt-"), 1);
	close_it(ledger);
	ledger = open_at(ledger_path());
	assert_true(ledger_known(ledger, "works.rrd", &known));
	assert_int_equal(stage_of(ledger, id), LEDGER_INTERRUPTED);
	close_it(ledger);
}

/* ---- only read ---- */

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

/* How many are listed; nothing is made or written for it. */
static int count_listed(const char *path)
{
	struct ledger *ledger;
	struct ledger_entry *entry;
	struct reason why = { "" };
	struct stat before, after;
	size_t count = 0;
	int files = count_named("");

	assert_int_equal(stat(path, &before), 0);
	if (ledger_open_reading(path, &ledger, &why))
		fail_msg("%s: %s", path, why.text);
	assert_int_equal(ledger_history(ledger, NULL, 0, 100, &entry, &count), 0);
	ledger_entries_free(entry, count);
	assert_true(ledger_close(ledger, 0));
	assert_int_equal(stat(path, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
	assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof(before.st_ctim));
	assert_int_equal(count_named(""), files);
	return (int)count;
}

static void assert_unread(const char *path, const char *with)
{
	struct ledger *ledger;
	struct reason why = { "" };
	int files = count_named("");

	if (!ledger_open_reading(path, &ledger, &why) || !strstr(why.text, with))
		fail_msg("%s: %s", path, why.text);
	assert_int_equal(count_named(""), files);
}

static void test_reading(void **state)
{
	static const char *const name[] = { "ledger.db", "a b%41?c#d", "file:x" };
	struct ledger *ledger;

	(void)state;
	for (size_t i = 0; i < sizeof(name) / sizeof(*name); i++) {
		const char *path = scratch(name[i]);
		char doubled[4200];

		make_one(path);
		assert_int_equal(count_listed(path), 1);
		snprintf(doubled, sizeof(doubled), "/%s", path);
		assert_int_equal(count_listed(doubled), 1);
	}
	/* While it is open, and after it was killed: what is in the log counts. */
	ledger = open_at(ledger_path());
	assert_works(ledger);
	assert_int_equal(count_listed(ledger_path()), 2);
	copy_file(ledger_path(), scratch("killed"));
	copy_file(scratch("ledger.db-wal"), scratch("killed-wal"));
	copy_file(scratch("ledger.db-shm"), scratch("killed-shm"));
	assert_works(ledger);
	close_it(ledger);
	assert_int_equal(count_listed(scratch("killed")), 2);
	assert_int_equal(count_listed(ledger_path()), 3);
	assert_int_equal(symlink("ledger.db", scratch("link")), 0);
	assert_int_equal(count_listed(scratch("link")), 3);
	/* What cannot be. */
	assert_unread(scratch("none"), "No such file or directory");
	assert_unread("", "has no name");
	assert_unread("/dev/null", "is a device");
	close(open(scratch("empty"), O_WRONLY | O_CREAT, 0644));
	assert_unread(scratch("empty"), "is empty");
	exec_on(scratch("theirs"), "CREATE TABLE t(a)");
	assert_unread(scratch("theirs"), "no ledger");
	int fd = open(scratch("letter"), O_WRONLY | O_CREAT, 0644);
	for (int i = 0; i < 50; i++)
		assert_int_equal(write(fd, "this is a letter to my aunt", 27), 27);
	close(fd);
	assert_unread(scratch("letter"), "is no ledger");
	exec_on(ledger_path(), "PRAGMA user_version = 1");
	assert_unread(ledger_path(), "older version");
	exec_on(ledger_path(), "PRAGMA user_version = 99");
	assert_unread(ledger_path(), "newer version");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_alone, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_overtaken, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_names, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_kinds, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_emptied, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_odd, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_odd_while_open, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(test_reading, scratch_setup, scratch_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
