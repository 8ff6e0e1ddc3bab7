/* patience: who hangs is left behind, with all that is his, and lets go of it in the end. */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "../src/patience.h"

/* What hangs, hangs here. */
static sem_t gate, gone;
static atomic_int dropped;

struct question {
	bool hangs;
	int answer;
};

static void work(void *arg)
{
	struct question *question = arg;

	while (question->hangs && sem_wait(&gate))
		;
	question->answer = 42;
}

static void drop(void *arg)
{
	free(arg);
	atomic_fetch_add(&dropped, 1);
	sem_post(&gone);
}

static struct question *question(bool hangs)
{
	struct question *question = calloc(1, sizeof(*question));

	assert_non_null(question);
	question->hangs = hangs;
	return question;
}

static int setup(void **state)
{
	(void)state;
	atomic_store(&dropped, 0);
	return sem_init(&gate, 0, 0) || sem_init(&gone, 0, 0);
}

static void test_answer(void **state)
{
	struct question *asked = question(false);
	struct patience *patience = NULL;

	(void)state;
	assert_int_equal(patience_begin(work, drop, asked, &patience), 0);
	assert_true(patience_wait(patience, 60000));
	assert_true(patience_wait(patience, 0));
	assert_int_equal(asked->answer, 42);
	assert_int_equal(atomic_load(&dropped), 0);
	patience_end(patience);
	assert_int_equal(atomic_load(&dropped), 1);
	patience_end(NULL);
}

static void test_hangs(void **state)
{
	struct patience *patience = NULL;

	(void)state;
	assert_int_equal(patience_begin(work, drop, question(true), &patience), 0);
	assert_false(patience_wait(patience, 0));
	assert_false(patience_wait(patience, 20));
	patience_end(patience);
	assert_int_equal(atomic_load(&dropped), 0);     /* it is in use */
	sem_post(&gate);
	assert_int_equal(sem_wait(&gone), 0);
	assert_int_equal(atomic_load(&dropped), 1);
}

/* Hanging threads are not piled up without an end; when they are gone, there is room again. */
static void test_many(void **state)
{
	struct patience *patience[PATIENCE_MAX], *more = NULL;
	int r;

	(void)state;
	for (int i = 0; i < PATIENCE_MAX; i++)
		assert_int_equal(patience_begin(work, drop, question(true), &patience[i]), 0);
	assert_int_equal(patience_begin(work, drop, question(false), &more), -EAGAIN);
	assert_null(more);
	assert_int_equal(atomic_load(&dropped), 1);
	for (int i = 0; i < PATIENCE_MAX; i++)
		patience_end(patience[i]);
	assert_int_equal(patience_begin(work, drop, question(false), &more), -EAGAIN);
	for (int i = 0; i < PATIENCE_MAX; i++)
		sem_post(&gate);
	for (int i = 0; i < PATIENCE_MAX + 2; i++)
		assert_int_equal(sem_wait(&gone), 0);
	do
		r = patience_begin(work, drop, question(false), &more);
	while (r == -EAGAIN);
	assert_int_equal(r, 0);
	assert_true(patience_wait(more, 60000));
	patience_end(more);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_answer, setup),
		cmocka_unit_test_setup(test_hangs, setup),
		cmocka_unit_test_setup(test_many, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
