/* unit-record: what a sync of the live files hears of. */
#include "config.h"
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "scratch.h"

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
			return 1; \
		} \
	} while (0)

static void write_to(const char *path, size_t size)
{
	static const char block[65536] = "x";
	int fd = open(path, O_WRONLY | O_CREAT, 0644);

	for (size_t at = 0; fd >= 0 && at < size; at += sizeof(block))
		if (write(fd, block, sizeof(block)) < 0)
			break;
	if (fd >= 0)
		close(fd);
}

/* A disk that is full although its filesystem does not know it: an image on a small tmpfs. */
static int make_live(void)
{
	char command[4096];

	/* Again, where others want a loop device too, or the kernel is not done with the last one. */
	snprintf(command, sizeof(command), "cd %s && mkfs.ext2 -q -F small/img && "
		 "for try in 1 2 3 4 5 6 7 8 9; do mount -o loop small/img live && exit; sleep 0.2; "
		 "done; exit 1", scratch_dir);
	return system(command) == 0 ? 0 : -1;
}

static int make_disk(void)
{
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)
	    || mount("none", scratch("small"), "tmpfs", 0, "size=2m"))
		return -1;
	int fd = open(scratch("small/img"), O_WRONLY | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, 32 << 20))
		return -1;
	close(fd);
	return make_live();
}

static bool is_disk_error(int error)
{
	return error == -EIO || error == -ENOSPC;
}

static int child(void)
{
	struct ledger_synced file[2] = { { scratch("live/a.rrd"), 0 }, { scratch("live/b.rrd"), 0 } };
	struct stat st;

	if (make_disk() || stat(scratch("live"), &st))
		return 77;
	record_sync(file, 2, NULL);
	CHECK(!file[0].error && !file[1].error);
	record_before(scratch("live/a.rrd"), st.st_dev);
	write_to(scratch("live/a.rrd"), 8 << 20);
	int fd = open(scratch("live"), O_RDONLY | O_DIRECTORY);
	/* Somebody else hears of it first.  Which of its errors the kernel tells last is by chance. */
	CHECK(syncfs(fd) && is_disk_error(-errno));
	close(fd);
	record_sync(file, 2, NULL);
	CHECK(is_disk_error(file[0].error));
	CHECK(is_disk_error(file[1].error));    /* which of them it was nobody knows */
	record_sync(file, 2, NULL);
	CHECK(!file[0].error && !file[1].error);
	/* It is let go with the sync, or where none comes. */
	CHECK(!umount2(scratch("live"), 0) && !make_live());
	CHECK(!stat(scratch("live"), &st));
	record_before(scratch("live/a.rrd"), st.st_dev);
	record_rest(UINT64_C(60000000000));
	CHECK(umount(scratch("live")) && errno == EBUSY);
	record_rest(0);
	CHECK(!umount(scratch("live")));
	umount(scratch("small"));
	return 0;
}

static void test_heard_before(void **state)
{
	int status;

	(void)state;
	assert_int_equal(mkdir(scratch("small"), 0755), 0);
	assert_int_equal(mkdir(scratch("live"), 0755), 0);
	/* In a namespace of its own. */
	pid_t pid = fork();
	if (!pid)
		_exit(child());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("           SKIP: no disk can be made here (root, loop devices)\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* What is not there any more is no reason to say that all is well. */
static void test_nowhere(void **state)
{
	struct ledger_synced file[2] = { { scratch("a.rrd"), 7 }, { "/nowhere/b/c.rrd", 7 } };

	(void)state;
	record_sync(file, 2, NULL);
	assert_int_equal(file[0].error, 0);
	assert_int_equal(file[1].error, 0);     /* beneath / */
	record_rest(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_heard_before, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_nowhere, scratch_setup, scratch_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
