/* unit-watch: real inotify over a real tree, and rrdtool itself as the writer. */
#include "config.h"
#include "watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "io.h"
#include "queue.h"

static unsigned seed;

/* What was called, in words: "written a/x.rrd". */
static pthread_mutex_t calls_mutex = PTHREAD_MUTEX_INITIALIZER;
static char **calls;
static size_t calls_count, calls_capacity;

static char *dir;               /* the test's own, the live tree is in it */
static char *live;
static struct watch *watch;
static struct queue *queue;     /* directories to scan */
static int scan_result;         /* the last that was not 0 */

static void note(const char *call, const char *rel)
{
	pthread_mutex_lock(&calls_mutex);
	if (calls_count == calls_capacity) {
		calls_capacity = calls_capacity ? 2 * calls_capacity : 64;
		calls = realloc(calls, calls_capacity * sizeof(*calls));
		if (!calls)
			abort();
	}
	if (asprintf(&calls[calls_count++], "%s %s", call, rel) < 0)
		abort();
	pthread_mutex_unlock(&calls_mutex);
}

static void forget_calls(void)
{
	pthread_mutex_lock(&calls_mutex);
	while (calls_count)
		free(calls[--calls_count]);
	pthread_mutex_unlock(&calls_mutex);
}

static unsigned times(const char *call)
{
	unsigned count = 0;

	pthread_mutex_lock(&calls_mutex);
	for (size_t i = 0; i < calls_count; i++)
		count += strcmp(calls[i], call) == 0;
	pthread_mutex_unlock(&calls_mutex);
	return count;
}

static void on_written(const char *rel, void *arg) { (void)arg; note("written", rel); }
static void on_appeared(const char *rel, void *arg) { (void)arg; note("appeared", rel); }
static void on_created(const char *rel, void *arg) { (void)arg; note("created", rel); }
static void on_modified(const char *rel, void *arg) { (void)arg; note("modified", rel); }
static void on_gone(const char *rel, void *arg) { (void)arg; note("gone", rel); }
static void on_overflow(void *arg) { (void)arg; note("overflow", ""); }
static void on_root_gone(void *arg) { (void)arg; note("root_gone", ""); }

static void on_odd(const char *rel, const char *what, void *arg)
{
	char *words;

	(void)arg;
	if (asprintf(&words, "%s: %s", rel, what) < 0)
		abort();
	note("odd", words);
	free(words);
}

static void on_directory(const char *rel, void *arg)
{
	(void)arg;
	/* Hangs here where a lock is held during the call. */
	if (watch)
		watch_directories(watch);
	note("directory", rel);
	if (queue_put(queue, QUEUE_DIR, rel, QUEUE_NOW, 0) < 0)
		abort();
}

static const struct watch_calls callbacks = {
	on_written, on_appeared, on_created, on_modified, on_gone, on_odd,
	on_directory, on_overflow, on_root_gone
};

/* Stands before the C library's: what `before_watching` does happens in the midst of a scan,
 * after the directory was opened. */
static void (*before_watching)(void);

int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	void (*now)(void) = before_watching;

	if (now) {
		before_watching = NULL;
		now();
	}
	return (int)syscall(SYS_inotify_add_watch, fd, path, mask);
}

static char *join(const char *base, const char *rel)
{
	char *path;

	if (asprintf(&path, "%s/%s", base, rel) < 0)
		abort();
	return path;
}

/* Paths in the live tree, good until the eighth call after. */
static const char *in(const char *rel)
{
	static char *path[8];
	static unsigned turn;

	turn = (turn + 1) % 8;
	free(path[turn]);
	path[turn] = NULL;
	if (rel)
		path[turn] = join(live, rel);
	return path[turn];
}

static void make_dir(const char *rel)
{
	assert_int_equal(mkdir(in(rel), 0755), 0);
}

static void make_file(const char *rel)
{
	int fd = open(in(rel), O_WRONLY | O_CREAT, 0644);

	assert_true(fd >= 0);
	close(fd);
}

static void move(const char *from, const char *to)
{
	assert_int_equal(rename(in(from), in(to)), 0);
}

static int run(const char *const *argv)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDOUT_FILENO);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void rrd_create(const char *rel)
{
	const char *const argv[] = { "rrdtool", "create", in(rel), "--start", "1000000000",
		"--step", "60", "DS:1:GAUGE:120:U:U", "RRA:AVERAGE:0.5:1:10", NULL };
	int result = run(argv);

	if (result == 127) {
		print_message("rrdtool is not installed\n");
		skip();
	}
	assert_int_equal(result, 0);
}

static void rrd_update(const char *rel)
{
	const char *const argv[] = { "rrdtool", "update", in(rel), "1000000060:1", NULL };

	assert_int_equal(run(argv), 0);
}

/* Reads all events and scans all directories, until there is nothing left.  The kernel queues
 * an event before the call that made it returns: so all is seen. */
static void settle(void)
{
	struct queue_count count;

	do {
		struct queue_job job;
		int result;

		watch_dispatch(watch);
		count = queue_count(queue);
		if (!count.due)
			break;
		assert_true(queue_take(queue, &job));
		result = watch_scan(watch, job.path);
		if (result)
			scan_result = result;
		queue_done(queue, &job, false, 0);
	} while (true);
}

/* What the kernel has, for comparison with what we think. */
static size_t kernel_watches(void)
{
	char line[256];
	size_t count = 0;
	FILE *file;

	snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", watch_fd(watch));
	file = fopen(line, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		count += strncmp(line, "inotify wd:", strlen("inotify wd:")) == 0;
	fclose(file);
	return count;
}

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	if (asprintf(&dir, "%s/unit-watch.XXXXXX", tmp ? tmp : "/tmp") < 0 || !mkdtemp(dir))
		return -1;
	live = join(dir, "live");
	scan_result = 0;
	queue = queue_new();
	return !queue || mkdir(live, 0755) < 0
		|| watch_new(live, &callbacks, NULL, &watch) < 0 ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	(void)state;
	watch_free(watch);
	watch = NULL;
	queue_free(queue);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(live);
	free(dir);
	forget_calls();
	free(calls);
	calls = NULL;
	calls_capacity = 0;
	for (int i = 0; i < 8; i++)
		in(NULL);
	return 0;
}

static void begin(void)
{
	on_directory("", NULL);
	settle();
	assert_int_equal(scan_result, 0);
}

static void begin_anew(void)
{
	begin();
	forget_calls();
}

static void test_scan(void **state)
{
	(void)state;
	make_dir("web01");
	make_dir("web01/.hidden");
	make_file("top.rrd");
	make_file("web01/.hidden/x.rrd");
	make_file("web01/x.rrdABCDEF");
	make_file("web01/x.xml");
	begin();
	assert_int_equal(times("appeared top.rrd"), 1);
	assert_int_equal(times("appeared web01/.hidden/x.rrd"), 1);
	assert_int_equal(times("directory web01"), 1);
	assert_int_equal(times("directory web01/.hidden"), 1);
	assert_int_equal(calls_count, 5);               /* and nothing else */
	assert_int_equal(watch_directories(watch), 3);
	begin();                                        /* a second scan finds the same watches */
	assert_int_equal(times("directory web01"), 2);  /* and takes none away */
	assert_int_equal(watch_directories(watch), 3);
}

static void test_rrdtool(void **state)
{
	(void)state;
	make_dir("web01");
	begin_anew();
	rrd_create("web01/PING.rrd");
	settle();
	assert_int_equal(times("appeared web01/PING.rrd"), 1);
	assert_int_equal(calls_count, 1);               /* nothing of PING.rrdXXXXXX */
	rrd_update("web01/PING.rrd");
	settle();
	assert_int_equal(times("written web01/PING.rrd"), 1);
	assert_int_equal(calls_count, 2);
	rrd_create("web01/PING.rrd");                   /* over an existing one */
	settle();
	assert_int_equal(times("appeared web01/PING.rrd"), 2);
}

static void test_temp_names(void **state)
{
	(void)state;
	begin_anew();
	make_file("x.rrdABCDEF");
	move("x.rrdABCDEF", "x.rrdGHIJKL");
	make_file("x.rrd.backup");
	make_file("x.xml");
	assert_int_equal(unlink(in("x.xml")), 0);
	settle();
	assert_int_equal(calls_count, 0);
}

static void test_files(void **state)
{
	(void)state;
	begin_anew();
	make_file("a.rrd");
	settle();
	assert_int_equal(times("created a.rrd"), 1);
	assert_int_equal(times("written a.rrd"), 1);
	move("a.rrd", "b.rrd");
	settle();
	assert_int_equal(times("gone a.rrd"), 1);
	assert_int_equal(times("appeared b.rrd"), 1);
	assert_int_equal(unlink(in("b.rrd")), 0);
	settle();
	assert_int_equal(times("gone b.rrd"), 1);
	assert_int_equal(calls_count, 5);

	int fd = open(in("c.rrd"), O_WRONLY | O_CREAT, 0644);
	assert_int_equal(unlink(in("c.rrd")), 0);
	close(fd);                                      /* of no name any more */
	settle();
	assert_int_equal(times("written c.rrd"), 0);
	assert_int_equal(times("gone c.rrd"), 1);
}

static void test_nested_at_once(void **state)
{
	(void)state;
	begin_anew();
	make_dir("a");
	make_dir("a/b");
	make_dir("a/b/c");
	make_file("a/b/c/x.rrd");
	settle();
	assert_true(times("appeared a/b/c/x.rrd") >= 1);
	assert_int_equal(watch_directories(watch), 4);
	forget_calls();
	make_file("a/b/c/x.rrd");
	settle();
	assert_int_equal(times("written a/b/c/x.rrd"), 1);
}

static void test_move_in_and_out(void **state)
{
	char *outside = join(dir, "outside"), *deep = join(dir, "outside/deep");
	char *file = join(dir, "outside/deep/x.rrd");

	(void)state;
	assert_int_equal(mkdir(outside, 0755), 0);
	assert_int_equal(mkdir(deep, 0755), 0);
	close(open(file, O_WRONLY | O_CREAT, 0644));
	begin_anew();
	assert_int_equal(rename(outside, in("web")), 0);
	settle();
	assert_int_equal(times("appeared web/deep/x.rrd"), 1);
	assert_int_equal(watch_directories(watch), 3);
	forget_calls();

	assert_int_equal(rename(in("web"), outside), 0);
	settle();
	assert_int_equal(watch_directories(watch), 1);
	assert_int_equal(kernel_watches(), 1);
	assert_int_equal(scan_result, -ENOENT);         /* handed out, and seen to be gone */
	forget_calls();
	close(open(file, O_WRONLY));                    /* what is outside is none of ours */
	settle();
	assert_int_equal(calls_count, 0);
	free(outside);
	free(deep);
	free(file);
}

static void test_rename_directory(void **state)
{
	(void)state;
	make_dir("old");
	make_dir("old/deep");
	make_dir("old/deep/er");
	make_file("old/deep/er/x.rrd");
	begin_anew();
	move("old", "new");
	settle();
	assert_int_equal(watch_directories(watch), 4);
	assert_true(times("appeared new/deep/er/x.rrd") >= 1);
	forget_calls();
	make_file("new/deep/er/x.rrd");
	make_file("new/y.rrd");
	settle();
	assert_int_equal(times("written new/deep/er/x.rrd"), 1);
	assert_int_equal(times("written new/y.rrd"), 1);
	assert_int_equal(times("written old/deep/er/x.rrd"), 0);
	assert_int_equal(times("written old/y.rrd"), 0);

	make_dir("old");                                /* the name again, another directory */
	make_file("old/z.rrd");
	settle();
	forget_calls();
	make_file("old/z.rrd");
	make_file("new/y.rrd");
	settle();
	assert_int_equal(times("written old/z.rrd"), 1);
	assert_int_equal(times("written new/y.rrd"), 1);
	assert_int_equal(calls_count, 2);
}

/* A scan that comes before the event of the move takes the watches over. */
static void test_scan_before_event(void **state)
{
	(void)state;
	make_dir("a");
	make_dir("a/deep");
	make_file("a/deep/x.rrd");
	begin_anew();
	move("a", "b");
	make_dir("a");                                  /* and the name is used again */
	make_dir("a/deep");
	on_directory("b", NULL);
	on_directory("b/deep", NULL);
	on_directory("a", NULL);
	on_directory("a/deep", NULL);
	for (int i = 0; i < 4; i++) {
		struct queue_job job;

		assert_true(queue_take(queue, &job));
		assert_int_equal(watch_scan(watch, job.path), 0);
		queue_done(queue, &job, false, 0);
	}
	assert_int_equal(watch_directories(watch), 5);
	assert_int_equal(kernel_watches(), 5);
	settle();
	forget_calls();
	make_file("a/deep/x.rrd");
	make_file("b/deep/x.rrd");
	settle();
	assert_int_equal(times("written a/deep/x.rrd"), 1);
	assert_int_equal(times("written b/deep/x.rrd"), 1);
	assert_int_equal(watch_directories(watch), 5);
}

static void move_away(void)
{
	char *away = join(dir, "away");

	assert_int_equal(rename(in("a/b"), away), 0);
	free(away);
}

static void move_back(void)
{
	move("a/c", "a/b");
}

/* A directory that is moved in the midst of its scan.  The one above it is not watched here: so
 * there is no event to put it right, only the scan's last look. */
static void test_moved_while_scanned(void **state)
{
	(void)state;
	begin();
	make_dir("a");
	make_dir("a/b");
	before_watching = move_away;
	assert_int_equal(watch_scan(watch, "a/b"), -ENOENT);
	assert_int_equal(watch_directories(watch), 1);
	assert_int_equal(kernel_watches(), 1);

	make_dir("a/b");
	assert_int_equal(watch_scan(watch, "a/b"), 0);
	move("a/b", "a/c");
	before_watching = move_back;                    /* takes the watch from a/b, wrongly */
	forget_calls();
	assert_int_equal(watch_scan(watch, "a/c"), -ENOENT);
	assert_int_equal(times("directory a/b"), 1);
	settle();
	forget_calls();
	make_file("a/b/x.rrd");
	settle();
	assert_int_equal(times("written a/b/x.rrd"), 1);
	assert_int_equal(kernel_watches(), watch_directories(watch));
}

static void test_exchange(void **state)
{
	(void)state;
	make_dir("a");
	make_dir("b");
	make_dir("b/deep");
	begin_anew();
	if (renameat2(AT_FDCWD, in("a"), AT_FDCWD, in("b"), RENAME_EXCHANGE) < 0) {
		print_message("renameat2: %s\n", strerror(errno));
		skip();
	}
	on_directory("b", NULL);                        /* scanned between the events */
	struct queue_job job;
	assert_true(queue_take(queue, &job));
	assert_int_equal(watch_scan(watch, job.path), 0);
	queue_done(queue, &job, false, 0);
	settle();
	forget_calls();
	make_file("a/deep/x.rrd");
	make_file("b/x.rrd");
	settle();
	assert_int_equal(times("written a/deep/x.rrd"), 1);
	assert_int_equal(times("written b/x.rrd"), 1);
	assert_int_equal(watch_directories(watch), 4);
}

static void test_removal(void **state)
{
	(void)state;
	make_dir("a");
	make_dir("a/b");
	make_file("a/b/x.rrd");
	begin_anew();
	assert_int_equal(unlink(in("a/b/x.rrd")), 0);
	assert_int_equal(rmdir(in("a/b")), 0);
	assert_int_equal(rmdir(in("a")), 0);
	settle();
	assert_int_equal(times("gone a/b/x.rrd"), 1);
	assert_int_equal(watch_directories(watch), 1);
	assert_int_equal(watch_scan(watch, "a"), -ENOENT);
	assert_int_equal(times("root_gone "), 0);
}

static void test_odd_names(void **state)
{
	static const char *const names[] = {
		"with space", "new\nline", "\xff\xfe\x80", "%s%n", "-rf", "#[]'\"\\", "..."
	};
	char rel[64], call[96];

	(void)state;
	begin_anew();
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		make_dir(names[i]);
		settle();
		snprintf(rel, sizeof(rel), "%s/%s.rrd", names[i], names[i]);
		make_file(rel);
		settle();
		snprintf(call, sizeof(call), "written %s", rel);
		assert_int_equal(times(call), 1);
	}
	begin();
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(call, sizeof(call), "appeared %s/%s.rrd", names[i], names[i]);
		assert_int_equal(times(call), 1);
	}
}

static void test_odd_files(void **state)
{
	(void)state;
	make_dir("dir.rrd");
	assert_int_equal(symlink("dir.rrd", in("link")), 0);
	assert_int_equal(symlink(dir, in("out.rrd")), 0);
	assert_int_equal(symlink("nowhere", in("link.rrd")), 0);
	assert_int_equal(symlink("nowhere", in("link.txt")), 0);
	assert_int_equal(mkfifo(in("fifo.rrd"), 0600), 0);
	assert_int_equal(mkfifo(in("fifo"), 0600), 0);
	begin();
	assert_int_equal(times("odd link: is a symbolic link to a directory; not followed"), 1);
	assert_int_equal(times("odd out.rrd: is a symbolic link to a directory; not followed"), 1);
	assert_int_equal(times("odd link.rrd: is a symbolic link; not followed"), 1);
	assert_int_equal(times("odd fifo.rrd: is not a regular file"), 1);
	assert_int_equal(times("directory dir.rrd"), 1);
	assert_int_equal(calls_count, 6);
	assert_int_equal(watch_directories(watch), 2);
	assert_true(watch_scan(watch, "link") < 0);     /* not followed if asked either */
	assert_true(watch_scan(watch, "..") < 0);
	assert_int_equal(watch_directories(watch), 2);
	forget_calls();

	/* Whatever is made later and never closed after writing is handed out as made. */
	make_file("file");
	assert_int_equal(link(in("file"), in("hard.rrd")), 0);
	assert_int_equal(symlink("file", in("soft.rrd")), 0);
	settle();
	assert_int_equal(times("created hard.rrd"), 1);
	assert_int_equal(times("created soft.rrd"), 1);
	assert_int_equal(calls_count, 2);
}

static void test_overflow(void **state)
{
	unsigned long max = 0;
	FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "r");

	(void)state;
	if (file) {
		if (fscanf(file, "%lu", &max) != 1)
			max = 0;
		fclose(file);
	}
	if (max == 0 || max > 1000000) {
		print_message("max_queued_events is unknown or too large: %lu\n", max);
		skip();
	}
	make_dir("moved");
	make_dir("moved/deep");
	make_dir("removed");
	make_dir("stays");
	begin_anew();
	/* By turns: the kernel joins equal events that follow each other. */
	for (unsigned long i = 0; i <= max; i++)
		make_file(i % 2 ? "a.rrd" : "b.rrd");
	/* What comes now is lost. */
	move("moved", "there");
	assert_int_equal(rmdir(in("removed")), 0);
	make_dir("made");
	make_file("made/x.rrd");
	settle();
	assert_int_equal(times("overflow "), 1);
	assert_int_equal(times("directory made"), 0);
	forget_calls();

	on_directory("", NULL);                         /* as the caller has to */
	settle();
	assert_int_equal(times("appeared made/x.rrd"), 1);
	assert_int_equal(watch_directories(watch), 5);  /* what is gone was found gone */
	forget_calls();
	make_file("there/deep/x.rrd");
	make_file("made/x.rrd");
	settle();
	assert_int_equal(times("written there/deep/x.rrd"), 1);
	assert_int_equal(times("written made/x.rrd"), 1);
}

static void check_root_gone(void)
{
	watch_dispatch(watch);
	assert_int_equal(times("root_gone "), 1);
	settle();
	assert_int_equal(watch_directories(watch), 0);
	assert_int_equal(watch_scan(watch, "a"), -ENOENT);
	assert_int_equal(watch_scan(watch, ""), -ENOENT);
	assert_int_equal(kernel_watches(), 0);          /* by a scan: it may wait */
	assert_int_equal(times("root_gone "), 1);       /* once */

	assert_int_equal(mkdir(live, 0755), 0);         /* and it begins again */
	make_dir("a");
	forget_calls();
	scan_result = 0;
	begin();
	make_file("a/x.rrd");
	settle();
	assert_int_equal(times("written a/x.rrd"), 1);
	assert_int_equal(times("root_gone "), 0);
}

static void test_root_removed(void **state)
{
	(void)state;
	make_dir("a");
	begin_anew();
	assert_int_equal(rmdir(in("a")), 0);
	assert_int_equal(rmdir(live), 0);
	check_root_gone();
}

static void test_root_moved(void **state)
{
	char *away = join(dir, "away");

	(void)state;
	make_dir("a");
	begin_anew();
	assert_int_equal(rename(live, away), 0);
	check_root_gone();
	free(away);
}

/* No event tells that a directory above the root was renamed, or that another filesystem was
 * mounted over it: the next scan does. */
static void test_root_replaced(void **state)
{
	char *other = join(dir, "other"), *rel = join(dir, "live/sub"), *old = join(dir, "old");
	struct watch *sub;

	(void)state;
	make_dir("sub");
	assert_int_equal(watch_new(rel, &callbacks, NULL, &sub), 0);
	assert_int_equal(watch_scan(sub, ""), 0);
	assert_int_equal(watch_directories(sub), 1);
	assert_int_equal(mkdir(other, 0755), 0);
	assert_int_equal(rename(live, old), 0);
	assert_int_equal(rename(other, live), 0);
	make_dir("sub");
	watch_dispatch(sub);
	assert_int_equal(times("root_gone "), 0);
	assert_int_equal(watch_scan(sub, ""), -ENOENT);
	assert_int_equal(times("root_gone "), 1);
	assert_int_equal(watch_directories(sub), 0);
	assert_int_equal(watch_scan(sub, ""), 0);
	assert_int_equal(watch_directories(sub), 1);
	watch_free(sub);
	free(other);
	free(rel);
	free(old);
}

/* In a user namespace of its own a process can lower the limit without harm to others.
 * 77: it could not. */
static int limited(void)
{
	char map[64];
	struct watch *here;
	FILE *file;

	snprintf(map, sizeof(map), "0 %u 1\n", (unsigned)geteuid());
	if (unshare(CLONE_NEWUSER) < 0)
		return 77;
	file = fopen("/proc/self/uid_map", "w");
	if (!file || fputs(map, file) < 0 || fclose(file) != 0)
		return 77;
	file = fopen("/proc/sys/user/max_inotify_watches", "w");
	if (!file || fputs("2\n", file) < 0 || fclose(file) != 0)
		return 77;
	if (watch_new(live, &callbacks, NULL, &here) < 0)
		return 77;
	if (watch_scan(here, "") != 0 || watch_scan(here, "a") != 0)
		return 1;
	if (watch_scan(here, "b") != -ENOSPC)
		return 2;
	if (times("appeared b/x.rrd") != 1 || times("directory b/c") != 1)
		return 3;
	if (watch_directories(here) != 2)
		return 4;
	if (watch_scan(here, "b/c") != -ENOSPC || watch_scan(here, "a") != 0)
		return 5;
	watch_free(here);
	return 0;
}

/* A mount over the root is silent, an unmount is not. */
static int mounted(void)
{
	struct watch *here;

	if (unshare(CLONE_NEWNS) < 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 77;
	if (watch_new(live, &callbacks, NULL, &here) < 0 || watch_scan(here, "") != 0)
		return 1;
	if (mount("none", live, "tmpfs", 0, NULL) < 0)
		return 77;
	if (watch_scan(here, "") != -ENOENT || times("root_gone ") != 1)
		return 2;
	mkdir(in("sub"), 0755);
	if (watch_scan(here, "") != 0 || watch_scan(here, "sub") != 0)
		return 3;
	/* Idle, we are not what keeps it from being unmounted. */
	if (umount(live) < 0)
		return 4;
	watch_dispatch(here);
	if (times("root_gone ") != 2 || watch_directories(here) != 0)
		return 5;
	watch_free(here);
	return 0;
}

/* Runs in a child what needs namespaces of its own. */
static void in_child(int (*work)(void), const char *otherwise)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(work());
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("%s\n", otherwise);
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_watch_limit(void **state)
{
	(void)state;
	make_dir("a");
	make_dir("b");
	make_dir("b/c");
	make_file("b/x.rrd");
	in_child(limited, "cannot lower the watch limit in a user namespace");
}

static void test_root_mounted(void **state)
{
	(void)state;
	in_child(mounted, "may not mount in a namespace");
}

/* Directories come, go and are renamed at random while one thread reads events and two scan.
 * Afterwards every directory that is there must be watched, under its own path. */
#define STORM_STEPS 3000
#define STORM_NAMES 4           /* few: so that names are used again at once */
#define STORM_DIRS 200u         /* or a quarter of the watches that may be had here */

static atomic_bool storm_over;

static void *read_events(void *arg)
{
	struct pollfd fd = { .fd = watch_fd(watch), .events = POLLIN };

	(void)arg;
	while (!storm_over) {
		if (poll(&fd, 1, 10) > 0)
			watch_dispatch(watch);
	}
	return NULL;
}

static void *scan_directories(void *arg)
{
	struct queue_job job;

	(void)arg;
	while (queue_take(queue, &job)) {
		bool full = watch_scan(watch, job.path) == -ENOSPC;

		queue_done(queue, &job, full, io_now_ns() + 10000000);
	}
	return NULL;
}

static void random_rel(unsigned *random, char *rel, size_t size)
{
	int depth = 1 + rand_r(random) % 3;
	size_t at = 0;

	for (int i = 0; i < depth; i++)
		at += (size_t)snprintf(rel + at, size - at, "%s%c", i ? "/" : "",
				       'a' + rand_r(random) % STORM_NAMES);
}

static unsigned storm_dirs_max(void)
{
	unsigned limit = 0;
	FILE *file = fopen("/proc/sys/fs/inotify/max_user_watches", "r");

	if (file) {
		if (fscanf(file, "%u", &limit) != 1)
			limit = 0;
		fclose(file);
	}
	return limit && limit / 4 < STORM_DIRS ? limit / 4 : STORM_DIRS;
}

static unsigned storm_count;

static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path;
	(void)st;
	(void)ftw;
	storm_count += type == FTW_D;
	return 0;
}

static void storm(unsigned random)
{
	unsigned max = storm_dirs_max();
	char from[16], to[16];

	for (int i = 0; i < STORM_STEPS; i++) {
		random_rel(&random, from, sizeof(from));
		random_rel(&random, to, sizeof(to));
		switch (rand_r(&random) % 8) {
		case 0: case 1: case 2:
			if (storm_count >= max) {       /* some were replaced since */
				storm_count = 0;
				nftw(live, count_one, 16, FTW_PHYS);
			}
			if (storm_count < max)
				storm_count += mkdir(in(from), 0755) == 0;
			break;
		case 3:
			rmdir(in(from));
			break;
		case 4:
			renameat2(AT_FDCWD, in(from), AT_FDCWD, in(to), RENAME_EXCHANGE);
			break;
		default:
			rename(in(from), in(to));
		}
		if (rand_r(&random) % 32 == 0)
			usleep(1000);
	}
}

static size_t storm_dirs, storm_missing;
static const char *storm_probe;

static int probe(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	char *file, *call;

	(void)st;
	(void)ftw;
	if (type != FTW_D)
		return 0;
	storm_dirs++;
	file = join(path, storm_probe);
	close(open(file, O_WRONLY | O_CREAT, 0644));
	if (asprintf(&call, "written %s", file + strlen(live) + 1) < 0)
		abort();
	storm_missing += times(call) == 0;
	free(call);
	free(file);
	return 0;
}

/* Writes in every directory again and again, until all writes are told, or time is up. */
static void probe_all(const char *name)
{
	storm_probe = name;
	for (int tries = 0; tries < 1000; tries++) {
		storm_dirs = storm_missing = 0;
		assert_int_equal(nftw(live, probe, 16, FTW_PHYS), 0);
		if (!storm_missing && watch_directories(watch) == storm_dirs)
			return;
		usleep(20000);
	}
	fail_msg("%zu of %zu directories are not watched, %zu are", storm_missing, storm_dirs,
		 watch_directories(watch));
}

static void test_storm(void **state)
{
	pthread_t reader, scanner[2];
	size_t told = 0;

	(void)state;
	on_directory("", NULL);
	assert_int_equal(pthread_create(&reader, NULL, read_events, NULL), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&scanner[i], NULL, scan_directories, NULL), 0);
	storm(seed);
	probe_all("first.rrd");
	forget_calls();
	probe_all("second.rrd");                        /* all is calm now */
	storm_over = true;
	queue_stop(queue);
	pthread_join(reader, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(scanner[i], NULL);
	for (size_t i = 0; i < calls_count; i++) {
		char *path;

		if (strncmp(calls[i], "written ", 8) != 0)
			continue;
		told++;
		path = join(live, calls[i] + 8);
		assert_int_equal(access(path, F_OK), 0);        /* and under no other path */
		free(path);
	}
	assert_true(told >= storm_dirs);
	assert_int_equal(kernel_watches(), storm_dirs);
	assert_int_equal(times("root_gone "), 0);
	print_message("%zu directories left\n", storm_dirs);
}

int main(void)
{
	const char *given = getenv("SEED");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_scan, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rrdtool, setup, teardown),
		cmocka_unit_test_setup_teardown(test_temp_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nested_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_move_in_and_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rename_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scan_before_event, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moved_while_scanned, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exchange, setup, teardown),
		cmocka_unit_test_setup_teardown(test_removal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overflow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_root_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_root_moved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_root_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_watch_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_root_mounted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_storm, setup, teardown),
	};

	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	print_message("SEED=%u\n", seed);
	alarm(180);                                     /* a lock held twice would hang */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
