/* unit-hold: alone with a live file, and gone again without a trace. */
#include "config.h"
#include "hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "authority.h"
#include "scratch.h"

/* Stands before the C library's: leases are refused where a test wants it. */
static int lease_error;
static unsigned leases_refused;

int fcntl(int fd, int command, ...)
{
	va_list args;
	unsigned long arg;

	va_start(args, command);
	arg = va_arg(args, unsigned long);
	va_end(args);
	if (command == F_SETLEASE && lease_error && arg == F_WRLCK) {
		leases_refused++;
		errno = lease_error;
		return -1;
	}
	return (int)syscall(SYS_fcntl, fd, command, arg);
}

/* ---- another process ---- */

struct other {
	pid_t pid;
	int say, hear;
};

/* Runs `act` in another process, which writes a byte whenever it has done something. */
static struct other start(void (*act)(int say, int hear))
{
	int to[2], from[2];
	struct other other;

	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	assert_int_equal(pipe2(from, O_CLOEXEC), 0);
	fflush(NULL);
	other.pid = fork();
	assert_true(other.pid >= 0);
	if (!other.pid) {
		close(to[1]);
		close(from[0]);
		alarm(60);
		act(from[1], to[0]);
		_exit(0);
	}
	close(to[0]);
	close(from[1]);
	other.say = to[1];
	other.hear = from[0];
	return other;
}

static void hear(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		_exit(3);
}

static void say(int fd)
{
	if (write(fd, "x", 1) != 1)
		_exit(3);
}

static void hear_of(const struct other *other)
{
	char byte;

	assert_int_equal(read(other->hear, &byte, 1), 1);
}

static bool has_said(const struct other *other)
{
	int flags = fcntl(other->hear, F_GETFL);
	char byte;

	fcntl(other->hear, F_SETFL, (long)flags | O_NONBLOCK);
	bool said = read(other->hear, &byte, 1) == 1;
	fcntl(other->hear, F_SETFL, (long)flags);
	return said;
}

static void end(struct other *other)
{
	int status;

	assert_int_equal(write(other->say, "x", 1), 1);
	close(other->say);
	assert_int_equal(waitpid(other->pid, &status, 0), other->pid);
	close(other->hear);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static const char *file;        /* what the other process opens */
static int inherited = -1;      /* and what it closes first */

static void keep_open(int out, int in)
{
	int fd = open(file, O_RDONLY);

	if (fd < 0)
		_exit(4);
	say(out);
	hear(in);
	close(fd);
}

static void keep_locked(int out, int in)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(file, O_RDWR);

	if (fd < 0 || fcntl(fd, F_OFD_SETLK, &whole))
		_exit(4);
	say(out);
	hear(in);
	close(fd);
}

/* What an updater does. */
static void open_for_update(int out, int in)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	close(inherited);
	say(out);
	int fd = open(file, O_RDWR);
	if (fd < 0)
		_exit(4);
	if (fcntl(fd, F_SETLK, &whole))
		_exit(5);
	say(out);
	hear(in);
	close(fd);
}

/* ---- */

static int root;
static struct rrd live;

static void must_read(void)
{
	struct reason why;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(rrd_read(&live, fd, &why), 0);
	close(fd);
}

static int setup(void **state)
{
	(void)state;
	lease_error = 0;
	leases_refused = 0;
	if (scratch_make())
		return -1;
	file = scratch("x.rrd");
	authority_create(file, 60, 1600000000, (const char *[]){
		"DS:a:GAUGE:120:U:U", "RRA:AVERAGE:0.5:1:3000", NULL });
	root = io_open_root(scratch_dir);
	must_read();
	return root < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	rrd_free(&live);
	close(root);
	return scratch_remove();
}

static void take(struct hold *hold)
{
	struct reason why = { "" };
	int r = hold_take(root, "x.rrd", false, hold, &why);

	if (r == -ENOLCK) {
		print_message("no leases in %s\n", scratch_dir);
		skip();
	}
	assert_int_equal(r, 0);
	assert_true(hold->fd >= 0);
	assert_true(hold->leased);
	assert_false(hold->locked);
}

static int verify(struct hold *hold)
{
	return hold_verify(hold, root, "x.rrd", &live);
}

static void test_alone(void **state)
{
	struct hold hold;

	(void)state;
	take(&hold);
	assert_int_equal(fcntl(hold.fd, F_GETLEASE, 0L), F_WRLCK);
	assert_int_equal(verify(&hold), 0);
	assert_true(hold.locked);
	assert_true(hold_release(&hold) > 0);
	assert_int_equal(hold.fd, -1);
	assert_int_equal(hold_release(&hold), 0);
	/* And again: nothing was left behind. */
	take(&hold);
	assert_int_equal(verify(&hold), 0);
	assert_true(hold_release(&hold) > 0);
}

static void test_not_there(void **state)
{
	struct hold hold = { .fd = 77 };
	struct reason why;

	(void)state;
	assert_int_equal(hold_take(root, "y.rrd", false, &hold, &why), -ENOENT);
	assert_int_equal(hold.fd, 77);
	assert_int_equal(symlink("x.rrd", scratch("l.rrd")), 0);
	assert_int_equal(hold_take(root, "l.rrd", false, &hold, &why), REFUSED);
	assert_int_equal(mkfifo(scratch("f.rrd"), 0600), 0);
	assert_int_equal(hold_take(root, "f.rrd", false, &hold, &why), REFUSED);
	assert_int_equal(hold_take(root, "../x.rrd", false, &hold, &why), REFUSED);
	assert_int_equal(hold.fd, 77);
}

static void test_open_elsewhere(void **state)
{
	struct hold hold;
	struct reason why;
	struct other other = start(keep_open);

	(void)state;
	hear_of(&other);
	assert_int_equal(hold_take(root, "x.rrd", false, &hold, &why), -EAGAIN);
	end(&other);
	take(&hold);
	hold_release(&hold);
	/* A descriptor of our own counts as well. */
	int fd = open(file, O_RDONLY);
	assert_int_equal(hold_take(root, "x.rrd", false, &hold, &why), -EAGAIN);
	close(fd);
	take(&hold);
	hold_release(&hold);
}

static void nap(void)
{
	const struct timespec t = { 0, 50 * 1000 * 1000 };

	nanosleep(&t, NULL);
}

/* An updater comes: it waits, is not refused, and goes on. */
static void test_opener_waits(void **state)
{
	struct hold hold;

	(void)state;
	take(&hold);
	assert_int_equal(verify(&hold), 0);
	inherited = hold.fd;
	struct other other = start(open_for_update);
	hear_of(&other);                                /* it is about to open */
	while (fcntl(hold.fd, F_GETLEASE, 0L) == F_WRLCK)
		nap();                                  /* until it is waiting */
	assert_false(has_said(&other));
	assert_true(hold_release(&hold) > 0);
	hear_of(&other);                                /* opened and locked */
	end(&other);
}

static void test_locked_elsewhere(void **state)
{
	struct hold hold;
	struct reason why;

	(void)state;
	/* Only where there is no lease can somebody have a lock. */
	lease_error = EINVAL;
	struct other other = start(keep_locked);
	hear_of(&other);
	assert_int_equal(hold_take(root, "x.rrd", false, &hold, &why), -ENOLCK);
	assert_int_equal(hold_take(root, "x.rrd", true, &hold, &why), 0);
	assert_int_equal(verify(&hold), -EAGAIN);
	assert_false(hold.locked);
	assert_true(hold_release(&hold) > 0);
	end(&other);
	assert_int_equal(hold_take(root, "x.rrd", false, &hold, &why), -ENOLCK);
	assert_int_equal(hold_take(root, "x.rrd", true, &hold, &why), 0);
	assert_int_equal(verify(&hold), 0);
	hold_release(&hold);
}

static void test_no_leases(void **state)
{
	static const int errors[] = { EINVAL, EACCES, EOPNOTSUPP, ENOLCK };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct hold hold = { .fd = -1 };
		struct reason why = { "" };

		lease_error = errors[i];
		leases_refused = 0;
		assert_int_equal(hold_take(root, "x.rrd", false, &hold, &why), -ENOLCK);
		assert_int_equal(leases_refused, 1);
		assert_string_not_equal(why.text, "");
		assert_true(hold.fd < 0);
		assert_int_equal(hold_take(root, "x.rrd", true, &hold, &why), 0);
		assert_false(hold.leased);
		assert_true(hold.fd >= 0);
		/* With a lock alone it works as well, and an updater would be refused. */
		assert_int_equal(verify(&hold), 0);
		assert_true(hold.locked);
		assert_int_equal(fcntl(hold.fd, F_GETLEASE, 0L), F_UNLCK);
		assert_true(hold_release(&hold) > 0);
	}
	lease_error = EAGAIN;
	struct hold hold = { .fd = 77 };
	struct reason why = { "" };
	int before = dup(0);
	close(before);
	assert_int_equal(hold_take(root, "x.rrd", false, &hold, &why), -EAGAIN);
	assert_int_equal(hold.fd, 77);
	int after = dup(0);
	assert_int_equal(after, before);                /* nothing stays open */
	close(after);
}

/* ---- verify ---- */

static void assert_stale(void)
{
	struct hold hold;

	take(&hold);
	assert_int_equal(verify(&hold), -ESTALE);
	assert_true(hold_release(&hold) > 0);
}

static void assert_current(void)
{
	struct hold hold;

	take(&hold);
	assert_int_equal(verify(&hold), 0);
	hold_release(&hold);
}

static void test_updated(void **state)
{
	(void)state;
	assert_current();
	authority_update(file, (const char *[]){ "1600000070:1", NULL });
	assert_stale();
	must_read();
	assert_current();
}

static void test_touched(void **state)
{
	const struct timespec times[2] = { { 5, 5 }, { 5, 5 } };
	struct stat st;

	(void)state;
	assert_int_equal(utimensat(AT_FDCWD, file, times, 0), 0);
	assert_stale();
	must_read();
	assert_current();
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(truncate(file, st.st_size + 1), 0);
	assert_stale();
}

/* Each byte of the header counts, though the times be the same. */
static void test_header(void **state)
{
	(void)state;
	for (size_t at = 0; at < live.head.size; at++) {
		struct hold hold;

		live.bytes[at] ^= 1;
		take(&hold);
		assert_int_equal(verify(&hold), -ESTALE);
		hold_release(&hold);
		live.bytes[at] ^= 1;
	}
	/* The rows are not compared: they are what is to be written. */
	live.bytes[live.head.size] ^= 1;
	assert_current();
}

/* A header of several chunks, the last byte of it as well. */
static void test_long_header(void **state)
{
	char ds[40][40];
	const char *args[64] = { "RRA:AVERAGE:0.5:1:10" };
	struct hold hold;

	(void)state;
	for (size_t i = 0; i < 40; i++) {
		snprintf(ds[i], sizeof(ds[i]), "DS:name%zu:GAUGE:120:U:U", i);
		args[i + 1] = ds[i];
	}
	unlink(file);
	authority_create(file, 60, 1600000000, args);
	must_read();
	assert_true(live.head.size > 2 * 4096);
	assert_current();
	const size_t places[] = { 0, 4095, 4096, 8191, 8192, (size_t)live.head.size - 1 };
	for (size_t i = 0; i < 6; i++) {
		live.bytes[places[i]] ^= 0x80;
		take(&hold);
		assert_int_equal(verify(&hold), -ESTALE);
		hold_release(&hold);
		live.bytes[places[i]] ^= 0x80;
	}
	assert_current();
}

static void test_replaced(void **state)
{
	struct hold hold;
	size_t size;
	uint8_t *bytes = authority_slurp(file, &size);

	(void)state;
	authority_spill(scratch("new"), bytes, size);
	free(bytes);
	/* Before it was opened. */
	assert_int_equal(rename(file, scratch("old")), 0);
	assert_int_equal(rename(scratch("new"), file), 0);
	assert_stale();
	/* And after: a lease does not keep a name. */
	must_read();
	take(&hold);
	assert_int_equal(rename(scratch("old"), file), 0);
	assert_int_equal(verify(&hold), -ESTALE);
	hold_release(&hold);
	must_read();
	take(&hold);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(verify(&hold), -ESTALE);
	hold_release(&hold);
}

/* The directory above goes another way: neither the file nor its times are touched. */
static void test_directory_replaced(void **state)
{
	struct hold hold;
	size_t size;
	uint8_t *bytes = authority_slurp(file, &size);

	(void)state;
	assert_int_equal(mkdir(scratch("h"), 0755), 0);
	assert_int_equal(mkdir(scratch("h2"), 0755), 0);
	assert_int_equal(rename(file, scratch("h/x.rrd")), 0);
	authority_spill(scratch("h2/x.rrd"), bytes, size);
	free(bytes);
	file = scratch("h/x.rrd");
	must_read();
	if (hold_take(root, "h/x.rrd", false, &hold, NULL))
		skip();
	assert_int_equal(rename(scratch("h"), scratch("h1")), 0);
	assert_int_equal(hold_verify(&hold, root, "h/x.rrd", &live), -ESTALE);
	assert_int_equal(rename(scratch("h2"), scratch("h")), 0);
	assert_int_equal(hold_verify(&hold, root, "h/x.rrd", &live), -ESTALE);
	assert_int_equal(hold_verify(&hold, root, "h1/x.rrd", &live), 0);
	hold_release(&hold);
}

/* ---- write ---- */

/* Extents over rows of the live file, whose image is changed there. */
static void make_plan(struct plan *plan, const uint64_t (*rows)[2], size_t count)
{
	double *cells = rrd_rows(&live, 0);

	*plan = (struct plan){ .extents = count, .extent_capacity = count };
	plan->extent = calloc(count, sizeof(*plan->extent));
	for (size_t i = 0; i < count; i++) {
		plan->extent[i].offset = live.head.rra[0].offset + rows[i][0] * sizeof(double);
		plan->extent[i].size = rows[i][1] * sizeof(double);
		for (uint64_t row = rows[i][0]; row < rows[i][0] + rows[i][1]; row++)
			cells[row] = (double)row + 0.5;
	}
}

static void assert_written(void)
{
	size_t size;
	uint8_t *bytes = authority_slurp(file, &size);

	assert_int_equal(size, live.size);
	assert_memory_equal(bytes, live.bytes, size);
	free(bytes);
}

/* How many bytes differ from what they were. */
static size_t changed(const uint8_t *before)
{
	size_t size, n = 0;
	uint8_t *bytes = authority_slurp(file, &size);

	for (size_t at = 0; at < size; at += sizeof(double))
		n += memcmp(bytes + at, before + at, sizeof(double)) ? sizeof(double) : 0;
	free(bytes);
	return n;
}

/* A budget that cuts extents, over as many holds as it takes.  Whatever else is in the image is
 * not written. */
static void test_budget(void **state)
{
	static const uint64_t rows[][2] = { { 0, 1 }, { 10, 100 }, { 200, 1 }, { 2000, 1000 } };
	static const uint64_t budgets[] = { 8, 64, 512, 1000, 4096, 1 << 20 };

	(void)state;
	for (size_t b = 0; b < 6; b++) {
		struct plan plan;
		size_t next = 0, size, done = 0, holds = 0;
		uint8_t *before;

		for (uint64_t row = 0; row < 3000; row++)
			rrd_rows(&live, 0)[row] = (double)NAN;
		authority_spill(file, live.bytes, live.size);
		must_read();
		before = authority_slurp(file, &size);
		make_plan(&plan, rows, 4);
		while (next < plan.extents) {
			struct hold hold;

			assert_true(holds++ < 2000);
			take(&hold);
			/* Our own last write does not count as a change. */
			assert_int_equal(verify(&hold), 0);
			assert_int_equal(hold_write(&hold, &live, &plan, &next, budgets[b]), 0);
			hold_release(&hold);
			size_t now = changed(before) / 8 * 8;
			assert_true(now - done <= (budgets[b] + 7) / 8 * 8);
			assert_true(now > done || budgets[b] < 8);
			done = now;
		}
		assert_int_equal(done, 8 * (1 + 100 + 1 + 1000));
		assert_int_equal(holds, (done + budgets[b] - 1) / budgets[b]);
		assert_written();
		free(before);
		plan_free(&plan);
	}
}

static void test_only_extents(void **state)
{
	static const uint64_t rows[][2] = { { 7, 3 } };
	struct plan plan;
	struct hold hold;
	size_t next = 0, size;
	uint8_t *before = authority_slurp(file, &size);

	(void)state;
	make_plan(&plan, rows, 1);
	rrd_rows(&live, 0)[6] = 1;
	rrd_rows(&live, 0)[10] = 1;
	/* Budget, extents done and bytes changed after it. */
	static const size_t expected[][3] = { { 0, 0, 0 }, { 1000, 1, 24 }, { 1000, 1, 24 } };
	for (size_t i = 0; i < 3; i++) {
		take(&hold);
		assert_int_equal(verify(&hold), 0);
		assert_int_equal(hold_write(&hold, &live, &plan, &next, expected[i][0]), 0);
		hold_release(&hold);
		assert_int_equal(next, expected[i][1]);
		assert_int_equal(changed(before), expected[i][2]);
	}
	free(before);
	plan_free(&plan);
}

/* Many small extents: not all of them in one hold, but all in the end. */
static void test_many_extents(void **state)
{
	enum { EXTENTS = 1000 };
	uint64_t rows[EXTENTS][2];
	struct plan plan;
	size_t next = 0, holds = 0;

	(void)state;
	for (size_t i = 0; i < EXTENTS; i++) {
		rows[i][0] = 3 * i;
		rows[i][1] = 1;
	}
	make_plan(&plan, rows, EXTENTS);
	while (next < plan.extents) {
		struct hold hold;
		size_t had = next;

		take(&hold);
		assert_int_equal(verify(&hold), 0);
		assert_int_equal(hold_write(&hold, &live, &plan, &next, 1 << 20), 0);
		hold_release(&hold);
		assert_true(next > had);
		holds++;
	}
	assert_true(holds > 1 && holds < 100);
	assert_written();
	plan_free(&plan);
}

static void test_write_error(void **state)
{
	static const uint64_t rows[][2] = { { 7, 3 } };
	struct plan plan;
	size_t next = 0;

	(void)state;
	make_plan(&plan, rows, 1);
	struct hold hold = { .fd = open(file, O_RDONLY) };
	assert_true(hold.fd >= 0);
	assert_int_equal(hold_write(&hold, &live, &plan, &next, 1000), -EBADF);
	hold_release(&hold);
	plan_free(&plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_there, setup, teardown),
		cmocka_unit_test_setup_teardown(test_open_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_opener_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_locked_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_leases, setup, teardown),
		cmocka_unit_test_setup_teardown(test_updated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_touched, setup, teardown),
		cmocka_unit_test_setup_teardown(test_header, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_header, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_directory_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_budget, setup, teardown),
		cmocka_unit_test_setup_teardown(test_only_extents, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_extents, setup, teardown),
		cmocka_unit_test_setup_teardown(test_write_error, setup, teardown),
	};

	alarm(120);
	hold_prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
