/* place: a change of what is mounted is seen, whatever the table of mounts has in the end. */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

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
		cmocka_unit_test_setup_teardown(the_same_mounted_again, scratch_setup,
						scratch_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
