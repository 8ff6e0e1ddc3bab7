/* place: a change of what is mounted is seen, whatever the table of mounts has in the end; and what
 * names and mounts tell of a directory that is not asked. */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "place.h"
#include "scratch.h"

static bool mount_on(const char *path)
{
	return !mount("none", path, "tmpfs", 0, "size=64k");
}

/* In mounts of its own.  77: it may not mount here. */
static int look(void)
{
	const char *path = scratch("on");

	if (unshare(CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || !mount_on(path))
		return 77;
	uint64_t before = place_mounts();
	if (place_mounts() != before)
		return 1;
	/* The kernel hands out the same numbers again, so the table has the same line as before. */
	if (umount(path) || !mount_on(path))
		return 2;
	uint64_t again = place_mounts();
	if (again == before)
		return 3;
	if (place_mounts() != again)
		return 4;
	return umount(path) ? 5 : place_mounts() == again ? 6 : 0;
}

static void names_alone(void **state)
{
	char a[4096], b[4096];

	(void)state;
	snprintf(a, sizeof(a), "%s", scratch("a"));
	snprintf(b, sizeof(b), "%s", scratch("a/b"));
	assert_int_equal(mkdir(a, 0755), 0);
	assert_int_equal(mkdir(b, 0755), 0);
	assert_int_equal(place_relate_names(a, a), IO_SAME);
	assert_int_equal(place_relate_names(b, a), IO_INSIDE);
	assert_int_equal(place_relate_names(a, b), IO_HOLDS);
	/* The second is not asked, whether it is there or not. */
	assert_int_equal(place_relate_names(b, scratch("a/c")), IO_APART);
	assert_int_equal(place_relate_names(a, scratch("a/c")), IO_HOLDS);
	assert_int_equal(place_relate_names(b, scratch("a/b2")), IO_APART);
	assert_int_equal(place_relate_names(scratch("none"), a), -ENOENT);
}

/* In mounts of its own, as look(). */
static int look_at_names(void)
{
	char a[4096], b[4096], inner[4096];

	snprintf(a, sizeof(a), "%s", scratch("a"));
	snprintf(b, sizeof(b), "%s", scratch("b"));
	snprintf(inner, sizeof(inner), "%s", scratch("a/inner"));
	if (unshare(CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount(a, b, NULL, MS_BIND, NULL))
		return 77;
	if (place_relate_names(a, b) != IO_SAME || place_relate_names(inner, b) != IO_INSIDE)
		return 1;
	return umount(b) || mount(inner, b, NULL, MS_BIND, NULL) ? 2
		: place_relate_names(a, b) != IO_HOLDS ? 3 : 0;
}

static void names_and_mounts(void **state)
{
	pid_t child;
	int status;

	(void)state;
	assert_int_equal(mkdir(scratch("a"), 0755) || mkdir(scratch("b"), 0755) ||
			 mkdir(scratch("a/inner"), 0755), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child)
		_exit(look_at_names());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();         /* not allowed to mount here */
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void the_same_mounted_again(void **state)
{
	pid_t child;
	int status;

	(void)state;
	assert_int_equal(mkdir(scratch("on"), 0755), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child)
		_exit(look());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();         /* not allowed to mount here */
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(names_alone, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(names_and_mounts, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(the_same_mounted_again, scratch_setup,
						scratch_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
