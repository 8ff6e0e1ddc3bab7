/* visits: one that holds somebody for long lets nobody else in, until he is back. */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "../src/io.h"
#include "../src/visits.h"

#define SECOND UINT64_C(1000000000)

/* As if he had not moved for so long. */
static void hold(struct visit *visit, uint64_t ns)
{
	atomic_store(&visit->moved_ns, io_now_ns() - ns);
}

/* A disk that answers, however slowly, does not hang. */
static void who_reads_goes_on(void **state)
{
	struct visits *visits = visits_of("/a");
	struct visit first, second;
	struct reason why;
	char byte;
	int fd, root = io_open_root("/proc/self");

	(void)state;
	assert_true(root >= 0);
	assert_true(visits_enter(visits, VISITS_READ, false, &first));
	hold(&first, VISITS_HANG_NS + SECOND);
	assert_false(visits_enter(visits, VISITS_READ, false, &second));
	assert_int_equal(io_open_file(root, "maps", O_RDONLY, &fd, NULL, &why), 0);
	assert_true(visits_enter(visits, VISITS_READ, false, &second));
	hold(&first, VISITS_HANG_NS + SECOND);
	hold(&second, 0);
	visits_leave(visits, &second);
	/* It is his again. */
	assert_true(visits_hang_ns(visits, VISITS_READ) > 0);
	assert_int_equal(io_pread(fd, &byte, 1, 0), 0);
	assert_int_equal(visits_hang_ns(visits, VISITS_READ), 0);
	visits_leave(visits, &first);
	assert_int_equal(io_pread(fd, &byte, 1, 0), 0);
	close(fd);
	close(root);
	visits_free(visits);
}

static unsigned long self(void)
{
	return (unsigned long)pthread_self();
}

static void who_is_held_keeps_others_out(void **state)
{
	struct visits *visits = visits_of("/a"), *same = visits_of("/a"), *other = visits_of("/b");
	struct visit first, second, patient;

	(void)state;
	assert_ptr_equal(visits, same);
	assert_ptr_not_equal(visits, other);
	assert_true(visits_enter(visits, VISITS_READ, false, &first));
	assert_true(visits_enter(same, VISITS_READ, false, &second));
	visits_leave(same, &second);
	assert_false(visits_hold(self()));
	assert_int_equal(visits_hang_ns(visits, VISITS_READ), 0);
	hold(&first, VISITS_HANG_NS + SECOND);
	assert_true(visits_hold(self()));
	assert_true(visits_hang_ns(same, VISITS_READ) > VISITS_HANG_NS);
	assert_false(visits_enter(same, VISITS_READ, false, &second));
	assert_false(visits_enter(same, VISITS_WALK, false, &second));
	assert_true(visits_enter(same, VISITS_READ, true, &patient));
	visits_leave(same, &patient);
	assert_true(visits_enter(other, VISITS_READ, false, &second));
	visits_leave(other, &second);
	/* He goes on. */
	visits_move(&first);
	assert_true(visits_enter(same, VISITS_READ, false, &second));
	visits_leave(same, &second);
	hold(&first, VISITS_HANG_NS + SECOND);
	visits_leave(visits, &first);
	assert_int_equal(visits_hang_ns(visits, VISITS_READ), 0);
	assert_true(visits_enter(same, VISITS_READ, false, &second));
	visits_leave(same, &second);
	visits_free(visits);
	visits_free(same);
	visits_free(other);
}

static void a_walk_holds_up_walks(void **state)
{
	struct visits *visits = visits_of("/a");
	struct visit walk, other;

	(void)state;
	assert_true(visits_enter(visits, VISITS_WALK, false, &walk));
	hold(&walk, VISITS_HANG_NS + SECOND);
	assert_int_equal(visits_hang_ns(visits, VISITS_WALK), 0);
	hold(&walk, VISITS_WALK_NS + SECOND);
	assert_true(visits_hang_ns(visits, VISITS_WALK) > 0);
	assert_int_equal(visits_hang_ns(visits, VISITS_READ), 0);
	assert_false(visits_enter(visits, VISITS_WALK, false, &other));
	assert_true(visits_enter(visits, VISITS_READ, false, &other));
	visits_leave(visits, &other);
	visits_leave(visits, &walk);
	visits_free(visits);
}

static void one_that_is_barred(void **state)
{
	struct visits *visits = visits_of("/a");
	struct visit visit;

	(void)state;
	visits_bar(visits, true);
	assert_true(visits_barred(visits));
	assert_false(visits_enter(visits, VISITS_READ, false, &visit));
	assert_false(visits_enter(visits, VISITS_WALK, false, &visit));
	assert_true(visits_enter_barred(visits, &visit));
	visits_leave(visits, &visit);
	assert_true(visits_enter(visits, VISITS_READ, true, &visit));
	visits_leave(visits, &visit);
	visits_bar(visits, false);
	assert_true(visits_enter(visits, VISITS_READ, false, &visit));
	hold(&visit, VISITS_HANG_NS + SECOND);
	struct visit other;
	assert_false(visits_enter_barred(visits, &other));
	visits_leave(visits, &visit);
	visits_free(visits);
}

/* Once told, a thread stays so: each has its own. */
static void *given_up(void *arg)
{
	struct visits *visits = arg;
	struct visit visit;

	assert_true(visits_enter(visits, VISITS_READ, false, &visit));
	assert_false(visits_give_up(self()));           /* nothing holds it */
	visits_leave(visits, &visit);
	assert_false(visits_given_up());
	assert_true(visits_enter(visits, VISITS_READ, false, &visit));
	hold(&visit, VISITS_HANG_NS + SECOND);
	assert_true(visits_give_up(self()));
	visits_move(&visit);
	visits_leave(visits, &visit);
	assert_true(visits_given_up());
	assert_false(visits_give_up(self()));
	return NULL;
}

static void who_is_given_up_is_told(void **state)
{
	struct visits *visits = visits_of("/a");
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, given_up, visits), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(visits_given_up());
	visits_free(visits);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_held_keeps_others_out),
		cmocka_unit_test(who_reads_goes_on),
		cmocka_unit_test(a_walk_holds_up_walks),
		cmocka_unit_test(one_that_is_barred),
		cmocka_unit_test(who_is_given_up_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
