/* watching: the fixture of the tests of watch: a live tree, a watch over it, and what it called. */
#ifndef WATCHING_H
#define WATCHING_H

#include "watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "queue.h"

/* What was called, in words: "written a/x.rrd". */
static pthread_mutex_t calls_mutex = PTHREAD_MUTEX_INITIALIZER;
static char **calls;
static size_t calls_count, calls_capacity;

static char *dir;               /* the test's own, the live tree is in it */
static char *live;
static struct watch *watch;
static struct queue *queue;     /* directories to scan */
static int scan_result;         /* the last that was not 0 */

static inline void note(const char *call, const char *rel)
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

static inline void forget_calls(void)
{
	pthread_mutex_lock(&calls_mutex);
	while (calls_count)
		free(calls[--calls_count]);
	pthread_mutex_unlock(&calls_mutex);
}

static inline unsigned times(const char *call)
{
	unsigned count = 0;

	pthread_mutex_lock(&calls_mutex);
	for (size_t i = 0; i < calls_count; i++)
		count += strcmp(calls[i], call) == 0;
	pthread_mutex_unlock(&calls_mutex);
	return count;
}

static inline void on_written(const char *rel, void *arg) { (void)arg; note("written", rel); }
static inline void on_appeared(const char *rel, void *arg) { (void)arg; note("appeared", rel); }
static inline void on_created(const char *rel, void *arg) { (void)arg; note("created", rel); }
static inline void on_modified(const char *rel, void *arg) { (void)arg; note("modified", rel); }
static inline void on_gone(const char *rel, void *arg) { (void)arg; note("gone", rel); }
static inline void on_overflow(void *arg) { (void)arg; note("overflow", ""); }
static inline void on_root_gone(void *arg) { (void)arg; note("root_gone", ""); }

static inline void on_odd(const char *rel, const char *what, void *arg)
{
	char *words;

	(void)arg;
	if (asprintf(&words, "%s: %s", rel, what) < 0)
		abort();
	note("odd", words);
	free(words);
}

static inline void on_directory(const char *rel, void *arg)
{
	(void)arg;
	/* Hangs here where a lock is held during the call. */
	if (watch)
		watch_directories(watch);
	note("directory", rel);
	if (queue_put(queue, QUEUE_DIR, rel, QUEUE_NOW, 0) < 0)
		abort();
}

static bool want_sidecars;

static inline bool wants_sidecars(void *arg)
{
	(void)arg;
	return want_sidecars;
}

static inline void on_sidecar(const char *rel, void *arg) { (void)arg; note("sidecar", rel); }

static const struct watch_calls callbacks = {
	.written = on_written,
	.appeared = on_appeared,
	.created = on_created,
	.modified = on_modified,
	.gone = on_gone,
	.wants_sidecars = wants_sidecars,
	.sidecar = on_sidecar,
	.odd = on_odd,
	.directory = on_directory,
	.overflow = on_overflow,
	.root_gone = on_root_gone,
};

/* These stand before the C library's.  `before_watching` happens in the midst of a scan, after the
 * directory was opened; `after_watching` when it has its watch, and the table does not know yet. */
static void (*before_watching)(void), (*after_watching)(void);
static int refuse_inotify;      /* errno of inotify_init1 */
static _Thread_local bool dispatching;

static inline void call_once(void (**hook)(void))
{
	void (*now)(void) = *hook;

	if (!now)
		return;
	*hook = NULL;
	now();
}

int inotify_init1(int flags)
{
	if (refuse_inotify) {
		errno = refuse_inotify;
		return -1;
	}
	return (int)syscall(SYS_inotify_init1, flags);
}

int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	int wd;

	if (dispatching)
		abort();
	call_once(&before_watching);
	wd = (int)syscall(SYS_inotify_add_watch, fd, path, mask);
	if (after_watching) {
		int error = errno;

		call_once(&after_watching);
		errno = error;
	}
	return wd;
}

int inotify_rm_watch(int fd, int wd)
{
	if (dispatching)        /* the kernel may wait here for an inode to be let go */
		abort();
	return (int)syscall(SYS_inotify_rm_watch, fd, wd);
}

static inline void dispatch(void)
{
	dispatching = true;
	watch_dispatch(watch);
	dispatching = false;
}

static inline char *join(const char *base, const char *rel)
{
	char *path;

	if (asprintf(&path, "%s/%s", base, rel) < 0)
		abort();
	return path;
}

/* Paths in the live tree, good until the eighth call after. */
static inline const char *in(const char *rel)
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

static inline void make_dir(const char *rel)
{
	assert_int_equal(mkdir(in(rel), 0755), 0);
}

static inline void make_file(const char *rel)
{
	int fd = open(in(rel), O_WRONLY | O_CREAT, 0644);

	assert_true(fd >= 0);
	close(fd);
}

static inline void move(const char *from, const char *to)
{
	assert_int_equal(rename(in(from), in(to)), 0);
}

static inline int run(const char *const *argv)
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

static inline void rrd_create(const char *rel)
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

static inline void rrd_update(const char *rel)
{
	const char *const argv[] = { "rrdtool", "update", in(rel), "1000000060:1", NULL };

	assert_int_equal(run(argv), 0);
}

/* Reads all events and scans all directories, until there is nothing left.  The kernel queues
 * an event before the call that made it returns: so all is seen. */
static inline void settle(void)
{
	struct queue_count count;

	do {
		struct queue_job job;
		int result;

		dispatch();
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
static inline size_t kernel_watches(void)
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

static inline int setup(void **state)
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

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int teardown(void **state)
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

static inline void begin(void)
{
	on_directory("", NULL);
	settle();
	assert_int_equal(scan_result, 0);
}

static inline void begin_anew(void)
{
	begin();
	forget_calls();
}

#endif
