/* unit-watch: real inotify over a real tree, and rrdtool itself as the writer. */
#include "config.h"
#include "watch.h"

#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

#include "io.h"
#include "watching.h"

static unsigned seed;

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

/* What tells a rewritten file from an updated one. */
static void test_modified(void **state)
{
	char *xml = join(dir, "dump.xml");
	int fd;

	(void)state;
	make_dir("web01");
	rrd_create("web01/a.rrd");
	rrd_create("web01/b.rrd");
	begin_anew();
	rrd_update("web01/a.rrd");
	settle();
	assert_int_equal(times("written web01/a.rrd"), 1);
	assert_int_equal(times("modified web01/a.rrd"), 0);

	/* Ours write so too. */
	fd = open(in("web01/a.rrd"), O_RDWR);
	assert_int_equal(pwrite(fd, "RRD", 3, 0), 3);
	settle();
	assert_true(times("modified web01/a.rrd") >= 1);
	assert_int_equal(times("written web01/a.rrd"), 1);
	assert_int_equal(ftruncate(fd, 100), 0);
	settle();
	assert_true(times("modified web01/a.rrd") >= 2);
	close(fd);
	settle();
	forget_calls();

	const char *const copy[] = { "cp", in("web01/b.rrd"), in("web01/a.rrd"), NULL };
	assert_int_equal(run(copy), 0);
	settle();
	assert_true(times("modified web01/a.rrd") >= 1);
	assert_int_equal(times("written web01/a.rrd"), 1);
	assert_int_equal(times("modified web01/b.rrd"), 0);     /* it was only read */
	forget_calls();

	const char *const dump[] = { "rrdtool", "dump", in("web01/b.rrd"), xml, NULL };
	const char *const restore[] = { "rrdtool", "restore", "-f", xml, in("web01/b.rrd"), NULL };
	assert_int_equal(run(dump), 0);
	assert_int_equal(run(restore), 0);
	settle();                               /* in place, or by a rename over it */
	assert_true(times("modified web01/b.rrd") + times("appeared web01/b.rrd") >= 1);
	forget_calls();

	fd = open(in("web01/b.rrdABCDEF"), O_RDWR | O_CREAT, 0644);
	assert_int_equal(write(fd, "RRD", 3), 3);
	close(fd);
	settle();
	assert_int_equal(calls_count, 0);
	free(xml);
}

/* As pnp4nagios writes them: under a name of their own, then changed. */
static void put_sidecar(const char *temporary, const char *name)
{
	make_file(temporary);
	move(temporary, name);
	settle();
}

static void test_sidecars(void **state)
{
	(void)state;
	make_dir("web01");
	make_dir("web01/dir");
	begin_anew();
	put_sidecar("web01/PING.xml.123", "web01/PING.xml");
	assert_int_equal(calls_count, 0);               /* nobody wants to know */
	want_sidecars = true;
	put_sidecar("web01/PING.xml.124", "web01/PING.xml");
	assert_int_equal(times("sidecar web01/PING.xml"), 1);
	put_sidecar("top.xml.124", "top.xml");
	assert_int_equal(times("sidecar top.xml"), 1);
	put_sidecar("web01/x", "web01/PING.xml.gz");
	put_sidecar("web01/x", "web01/.xml");
	make_file("web01/made.xml");
	assert_int_equal(unlink(in("web01/made.xml")), 0);
	settle();
	assert_int_equal(calls_count, 2);
	move("web01/dir", "web01/dir.xml");             /* is a directory all the same */
	settle();
	assert_int_equal(times("directory web01/dir.xml"), 1);
	want_sidecars = false;
	put_sidecar("web01/PING.xml.125", "web01/PING.xml");
	assert_int_equal(times("sidecar web01/PING.xml"), 1);
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

/* Events take the watch away of a directory that was moved, while the scan of its new path has
 * just been given the same one by the kernel. */
static void move_seen(void)
{
	move("a", "b");
	dispatch();
}

static void test_moved_while_watched(void **state)
{
	(void)state;
	make_dir("a");
	make_dir("a/deep");
	begin();
	make_dir("other");
	after_watching = move_seen;             /* while "other" is scanned: "a" is only doomed */
	settle();
	assert_int_equal(watch_directories(watch), 4);
	assert_int_equal(kernel_watches(), 4);

	move("b", "a");                         /* scanned before the event; then, in the midst, */
	after_watching = dispatch;              /* the event */
	assert_int_equal(watch_scan(watch, "a"), 0);
	settle();
	forget_calls();
	make_file("a/x.rrd");
	make_file("a/deep/x.rrd");
	make_file("other/x.rrd");
	settle();
	assert_int_equal(times("written a/x.rrd"), 1);
	assert_int_equal(times("written a/deep/x.rrd"), 1);
	assert_int_equal(times("written other/x.rrd"), 1);
	assert_int_equal(watch_directories(watch), 4);
	assert_int_equal(kernel_watches(), 4);
	for (int i = 0; i < 20; i++) {          /* nor does a watch stay behind */
		move(i % 2 ? "b" : "a", i % 2 ? "a" : "b");
		after_watching = dispatch;
		settle();
	}
	assert_int_equal(watch_directories(watch), 4);
	assert_int_equal(kernel_watches(), 4);
}

/* A scan that hangs in the kernel (a network filesystem) does not hold up who reads events. */
static sem_t hanging, let_go;

static void hang(void)
{
	sem_post(&hanging);
	while (sem_wait(&let_go) < 0)
		;
}

static void *scan_one(void *arg)
{
	assert_int_equal(watch_scan(watch, arg), 0);
	return NULL;
}

static void test_hanging_scan(void **state)
{
	char slow[] = "slow";
	pthread_t scanner;

	(void)state;
	sem_init(&hanging, 0, 0);
	sem_init(&let_go, 0, 0);
	make_dir("a");
	make_dir("a/deep");
	make_dir("b");
	begin_anew();
	make_dir(slow);
	before_watching = hang;
	assert_int_equal(pthread_create(&scanner, NULL, scan_one, slow), 0);
	while (sem_wait(&hanging) < 0)
		;
	make_file("b/x.rrd");
	move("a", "c");
	assert_int_equal(rmdir(in("b/../c/deep")), 0);
	dispatch();                             /* would hang, too, until the alarm */
	assert_int_equal(times("written b/x.rrd"), 1);
	assert_int_equal(times("directory c"), 1);
	assert_int_equal(watch_directories(watch), 2);
	sem_post(&let_go);
	assert_int_equal(pthread_join(scanner, NULL), 0);
	settle();
	assert_int_equal(watch_directories(watch), 4);
	assert_int_equal(kernel_watches(), 4);
	sem_destroy(&hanging);
	sem_destroy(&let_go);
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

/* Directories come, go and are renamed at random while one thread reads events and two scan.
 * Afterwards every directory that is there must be watched, under its own path. */
#define STORM_STEPS 3000
#define STORM_NAMES 4           /* few: so that names are used again at once */
#define STORM_DIRS 200u         /* or half the watches that may be had here */

static atomic_bool storm_over;

static void *read_events(void *arg)
{
	struct pollfd fd = { .fd = watch_fd(watch), .events = POLLIN };

	(void)arg;
	while (!storm_over) {
		if (poll(&fd, 1, 10) > 0)
			dispatch();
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
	return limit && limit / 2 < STORM_DIRS ? limit / 2 : STORM_DIRS;
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
		cmocka_unit_test_setup_teardown(test_modified, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sidecars, setup, teardown),
		cmocka_unit_test_setup_teardown(test_temp_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nested_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_move_in_and_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rename_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scan_before_event, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moved_while_scanned, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moved_while_watched, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hanging_scan, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exchange, setup, teardown),
		cmocka_unit_test_setup_teardown(test_removal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_storm, setup, teardown),
	};

	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	print_message("SEED=%u\n", seed);
	alarm(180);                                     /* a lock held twice would hang */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
