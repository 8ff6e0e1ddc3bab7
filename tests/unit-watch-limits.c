/* unit-watch-limits: what watch does where inotify gives up: events lost, limits reached, the root
 * gone, covered or replaced. */
#include "config.h"
#include "watch.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include "io.h"
#include "watching.h"

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
	dispatch();
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

/* Nothing tells that another directory stands above; a look does. */
static void test_check(void **state)
{
	char *above = join(dir, "above"), *sub = join(dir, "above/sub"), *old = join(dir, "old");

	(void)state;
	watch_free(watch);
	watch = NULL;
	assert_int_equal(watch_new(sub, &callbacks, NULL, &watch), 0);
	assert_int_equal(watch_check(watch), 0);        /* nothing known yet */
	assert_int_equal(mkdir(above, 0755), 0);
	assert_int_equal(mkdir(sub, 0755), 0);
	assert_int_equal(watch_check(watch), 0);
	assert_int_equal(watch_scan(watch, ""), 0);
	assert_int_equal(watch_check(watch), 0);
	assert_int_equal(times("root_gone "), 0);

	assert_int_equal(rename(above, old), 0);        /* none there */
	dispatch();
	assert_int_equal(times("root_gone "), 0);
	assert_int_equal(watch_check(watch), -ENOENT);
	assert_int_equal(times("root_gone "), 1);
	assert_int_equal(watch_directories(watch), 0);
	assert_int_equal(kernel_watches(), 0);
	assert_int_equal(watch_check(watch), 0);        /* said once; nothing known again */
	assert_int_equal(watch_scan(watch, ""), -ENOENT);

	assert_int_equal(mkdir(above, 0755), 0);        /* another */
	assert_int_equal(mkdir(sub, 0755), 0);
	assert_int_equal(watch_scan(watch, ""), 0);
	assert_int_equal(renameat2(AT_FDCWD, above, AT_FDCWD, old, RENAME_EXCHANGE), 0);
	assert_int_equal(watch_check(watch), -ESTALE);
	assert_int_equal(times("root_gone "), 2);
	assert_int_equal(watch_scan(watch, ""), 0);
	assert_int_equal(watch_check(watch), 0);

	assert_int_equal(rmdir(sub), 0);                /* not a directory */
	close(open(sub, O_WRONLY | O_CREAT, 0644));
	assert_int_equal(watch_check(watch), -ENOTDIR);
	assert_int_equal(times("root_gone "), 3);
	assert_int_equal(watch_scan(watch, ""), -ENOTDIR);
	assert_int_equal(watch_check(watch), 0);
	free(above);
	free(sub);
	free(old);
}

/* Without inotify all is listed, and a look still tells that the root has gone. */
static void without_inotify(int error)
{
	assert_int_equal(watch_error(watch), -error);
	assert_int_equal(watch_fd(watch), -1);
	dispatch();
	assert_int_equal(watch_scan(watch, ""), -error);
	assert_int_equal(watch_scan(watch, "a"), -error);
	assert_int_equal(watch_scan(watch, "a/b"), -error);
	assert_int_equal(watch_scan(watch, "nowhere"), -ENOENT);
	assert_int_equal(times("appeared a/b/x.rrd"), 1);
	assert_int_equal(times("directory a"), 1);
	assert_int_equal(watch_directories(watch), 0);
	assert_int_equal(watch_unwatched(watch), 3);
	forget_calls();

	assert_int_equal(unlink(in("a/b/x.rrd")), 0);
	assert_int_equal(rmdir(in("a/b")), 0);
	assert_int_equal(watch_scan(watch, "a/b"), -ENOENT);
	assert_int_equal(watch_unwatched(watch), 2);
	make_dir("a/b");
	assert_int_equal(watch_scan(watch, "a/b"), -error);
	assert_int_equal(watch_unwatched(watch), 3);
	assert_int_equal(rmdir(in("a/b")), 0);
	assert_int_equal(watch_scan(watch, "a"), -error);
	assert_int_equal(times("directory a/b"), 1);    /* to be looked at, as it was known */
	assert_int_equal(watch_scan(watch, "a/b"), -ENOENT);
	assert_int_equal(watch_unwatched(watch), 2);
	assert_int_equal(watch_check(watch), 0);
	assert_int_equal(rmdir(in("a")), 0);
	assert_int_equal(rmdir(live), 0);
	assert_int_equal(watch_check(watch), -ENOENT);
	assert_int_equal(times("root_gone "), 1);
	assert_int_equal(watch_unwatched(watch), 0);
	assert_int_equal(mkdir(live, 0755), 0);
	assert_int_equal(watch_scan(watch, ""), -error);
	assert_int_equal(watch_unwatched(watch), 1);
}

static void test_no_inotify(void **state)
{
	(void)state;
	make_dir("a");
	make_dir("a/b");
	make_file("a/b/x.rrd");
	watch_free(watch);
	watch = NULL;
	refuse_inotify = ENOSYS;
	assert_int_equal(watch_new(live, &callbacks, NULL, &watch), 0);
	refuse_inotify = 0;
	without_inotify(ENOSYS);
}

/* A user namespace of our own, where limits can be lowered without harm to others: those beneath
 * /proc/sys/user are the namespace's, those beneath /proc/sys/fs/inotify are the machine's. */
static bool lower(const char *limit, const char *value)
{
	FILE *file = fopen(limit, "w");

	return file && fputs(value, file) >= 0 && fclose(file) == 0;
}

static bool own_namespace(void)
{
	char map[64];

	snprintf(map, sizeof(map), "0 %u 1\n", (unsigned)geteuid());
	return unshare(CLONE_NEWUSER) == 0 && lower("/proc/self/uid_map", map);
}

static int limited(void)
{
	static const char limit[] = "/proc/sys/user/max_inotify_watches";

	watch_free(watch);
	watch = NULL;
	if (!own_namespace() || !lower(limit, "2\n"))
		return 77;
	assert_int_equal(watch_new(live, &callbacks, NULL, &watch), 0);
	assert_int_equal(watch_scan(watch, ""), 0);
	assert_int_equal(watch_scan(watch, "a"), 0);
	assert_int_equal(watch_scan(watch, "b"), -ENOSPC);
	assert_int_equal(times("appeared b/x.rrd"), 1);
	assert_int_equal(times("directory b/c"), 1);
	assert_int_equal(watch_directories(watch), 2);
	assert_int_equal(watch_unwatched(watch), 1);
	assert_int_equal(watch_scan(watch, "b/c"), -ENOSPC);
	assert_int_equal(watch_scan(watch, "a"), 0);    /* what has its watch keeps it */
	assert_int_equal(watch_scan(watch, "b"), -ENOSPC);
	assert_int_equal(watch_unwatched(watch), 2);

	/* Gone, seen by the scan of the one above, or by an event. */
	assert_int_equal(rmdir(in("b/c")), 0);
	assert_int_equal(watch_scan(watch, "b"), -ENOSPC);
	assert_int_equal(watch_unwatched(watch), 1);
	move("b", "d");
	dispatch();
	assert_int_equal(times("directory d"), 1);
	assert_int_equal(watch_unwatched(watch), 0);
	assert_int_equal(watch_scan(watch, "d"), -ENOSPC);
	assert_int_equal(watch_unwatched(watch), 1);

	/* One goes, another takes its place. */
	assert_int_equal(rmdir(in("a")), 0);
	dispatch();
	assert_int_equal(watch_scan(watch, "d"), 0);
	assert_int_equal(watch_unwatched(watch), 0);
	assert_int_equal(watch_directories(watch), 2);

	/* Another directory stands where one was watched: there is no watch for it. */
	make_dir("e");
	if (!lower(limit, "1\n"))
		return 77;
	assert_int_equal(renameat2(AT_FDCWD, in("d"), AT_FDCWD, in("e"), RENAME_EXCHANGE), 0);
	assert_int_equal(watch_scan(watch, "d"), -ENOSPC);
	assert_int_equal(watch_directories(watch), 1);
	assert_int_equal(watch_unwatched(watch), 1);
	assert_int_equal(kernel_watches(), 1);

	/* And when the limit is raised, all is watched. */
	if (!lower(limit, "100\n"))
		return 77;
	scan_result = 0;
	on_directory("", NULL);
	settle();
	assert_int_equal(watch_directories(watch), 3);
	assert_int_equal(watch_unwatched(watch), 0);
	assert_int_equal(kernel_watches(), 3);
	return 0;
}

static int no_instances(void)
{
	watch_free(watch);
	watch = NULL;
	if (!own_namespace() || !lower("/proc/sys/user/max_inotify_instances", "0\n"))
		return 77;
	assert_int_equal(watch_new(live, &callbacks, NULL, &watch), 0);
	without_inotify(EMFILE);
	return 0;
}

static bool own_mounts(void)
{
	return unshare(CLONE_NEWNS) == 0 && mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* A mount over the root is silent, an unmount is not. */
static int mounted(void)
{
	if (!own_mounts())
		return 77;
	assert_int_equal(watch_scan(watch, ""), 0);
	if (mount("none", live, "tmpfs", 0, NULL) < 0)
		return 77;
	dispatch();
	assert_int_equal(times("root_gone "), 0);
	assert_int_equal(watch_check(watch), -ESTALE);
	assert_int_equal(times("root_gone "), 1);
	make_dir("sub");
	assert_int_equal(watch_scan(watch, ""), 0);
	assert_int_equal(watch_scan(watch, "sub"), 0);
	assert_int_equal(watch_check(watch), 0);
	/* Another of its kind, the root of which bears the same number. */
	assert_int_equal(mount("none", live, "tmpfs", 0, NULL), 0);
	assert_int_equal(watch_check(watch), -ESTALE);
	assert_int_equal(watch_scan(watch, ""), 0);
	assert_int_equal(umount(live), 0);
	dispatch();
	assert_int_equal(times("root_gone "), 3);
	assert_int_equal(watch_scan(watch, ""), 0);
	assert_int_equal(watch_scan(watch, "sub"), 0);
	/* Idle, we are not what keeps it from being unmounted. */
	assert_int_equal(umount(live), 0);
	dispatch();
	assert_int_equal(times("root_gone "), 4);
	assert_int_equal(watch_directories(watch), 0);
	assert_int_equal(watch_check(watch), 0);
	assert_int_equal(watch_scan(watch, ""), 0);
	assert_int_equal(kernel_watches(), 1);

	/* The next scan sees a mount over the root, too, and one that is only detached. */
	assert_int_equal(mount("none", live, "tmpfs", 0, NULL), 0);
	assert_int_equal(watch_scan(watch, ""), -ENOENT);
	assert_int_equal(times("root_gone "), 5);
	assert_int_equal(watch_scan(watch, ""), 0);
	int busy = open(in("busy"), O_WRONLY | O_CREAT, 0644);
	assert_int_equal(umount2(live, MNT_DETACH), 0);
	dispatch();
	assert_int_equal(watch_check(watch), -ESTALE);
	assert_int_equal(times("root_gone "), 6);
	close(busy);
	return 0;
}

/* So is a mount over a directory beneath the root: a scan of it sees that. */
static int mounted_beneath(void)
{
	if (!own_mounts())
		return 77;
	begin();
	if (mount("none", in("a"), "tmpfs", 0, NULL) < 0)
		return 77;
	make_dir("a/new");
	make_file("a/x.rrd");
	forget_calls();
	settle();
	assert_int_equal(calls_count, 0);
	on_directory("a", NULL);
	settle();
	assert_int_equal(times("appeared a/x.rrd"), 1);
	assert_int_equal(watch_directories(watch), 5);  /* root, a, a/new, b, b/c */
	assert_int_equal(kernel_watches(), 5);
	forget_calls();
	make_file("a/x.rrd");
	make_file("a/new/x.rrd");
	settle();
	assert_int_equal(times("written a/x.rrd"), 1);
	assert_int_equal(times("written a/new/x.rrd"), 1);
	assert_int_equal(umount(in("a")), 0);
	settle();                               /* what was covered is there again */
	forget_calls();
	make_file("a/y.rrd");
	settle();
	assert_int_equal(times("written a/y.rrd"), 1);
	assert_int_equal(watch_directories(watch), 4);
	assert_int_equal(kernel_watches(), 4);
	assert_int_equal(times("root_gone "), 0);
	assert_int_equal(watch_check(watch), 0);
	return 0;
}

/* Runs in a child what needs namespaces of its own.  77: it could not have them.  (Where an
 * assertion fails there, cmocka goes on in the child as in any test, and that ends with 255.) */
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

static void test_instance_limit(void **state)
{
	(void)state;
	make_dir("a");
	make_dir("a/b");
	make_file("a/b/x.rrd");
	in_child(no_instances, "cannot lower the limit of instances in a user namespace");
}

static void test_root_mounted(void **state)
{
	(void)state;
	in_child(mounted, "may not mount in a namespace");
}

static void test_mounted_beneath(void **state)
{
	(void)state;
	make_dir("a");
	make_dir("b");
	make_dir("b/c");
	in_child(mounted_beneath, "may not mount in a namespace");
}

/* Stands before the C library's. */
static long filesystem_type;

int statfs(const char *path, struct statfs *ret)
{
	(void)path;
	if (filesystem_type < 0) {
		errno = EACCES;
		return -1;
	}
	memset(ret, 0, sizeof(*ret));
	ret->f_type = filesystem_type;
	return 0;
}

static void test_remote(void **state)
{
	static const struct {
		long type;
		const char *name;       /* NULL: local */
	} types[] = {
		{ 0x6969, "NFS" }, { 0xfe534d42, "SMB" }, { 0xff534d42, "SMB" }, { 0x517b, "SMB" },
		{ 0x65735546, "FUSE" }, { 0xc36400, "Ceph" }, { 0x01021997, "9p" },
		{ 0x5346414f, "AFS" }, { 0x6b414653, "AFS" }, { 0x01161970, "GFS2" },
		{ 0x7461636f, "OCFS2" }, { 0x0bd00bd0, "Lustre" }, { 0x47504653, "GPFS" },
		{ 0xef53, NULL }, { 0x58465342, NULL }, { 0x9123683e, NULL }, { 0x01021994, NULL },
		{ 0x794c7630, NULL }, { 0x2fc12fc1, NULL }, { 0x9fa0, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		filesystem_type = types[i].type;
		if (types[i].name)
			assert_string_equal(io_remote_fs("/"), types[i].name);
		else
			assert_null(io_remote_fs("/"));
	}
	filesystem_type = -1;
	assert_null(io_remote_fs("/nowhere"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_overflow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_root_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_root_moved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_root_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_check, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_inotify, setup, teardown),
		cmocka_unit_test_setup_teardown(test_watch_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_instance_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_root_mounted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mounted_beneath, setup, teardown),
		cmocka_unit_test(test_remote),
	};

	alarm(180);                                     /* a lock held twice would hang */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
