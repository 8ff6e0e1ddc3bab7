/* unit-io: whole reads and writes, and nothing but what lies beneath a root. */
#include "config.h"
#include "io.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"

static int root;
static bool stepwise;           /* there is no openat2 */

static void make_file(const char *rel)
{
	int fd = open(scratch(rel), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	close(fd);
}

static void make_dir(const char *rel)
{
	assert_int_equal(mkdir(scratch(rel), 0755), 0);
}

static void make_link(const char *to, const char *rel)
{
	assert_int_equal(symlink(to, scratch(rel)), 0);
}

/* tree/ is the root; outside/ is not beneath it. */
static int setup(void **state)
{
	(void)state;
	if (scratch_make())
		return -1;
	make_dir("tree");
	make_dir("tree/d");
	make_dir("outside");
	make_file("tree/d/f.rrd");
	make_file("tree/f.rrd");
	make_file("outside/f.rrd");
	root = io_open_root(scratch("tree"));
	return root < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	close(root);
	return scratch_remove();
}

/* Runs the rest as a user who may not read everything; false where that cannot be had. */
static bool become_nobody(void)
{
	return geteuid() || (chmod(scratch_dir, 0755) == 0 && seteuid(65534) == 0);
}

static void become_oneself(void)
{
	if (getuid() == 0 && seteuid(0))
		abort();
}

static int try_open(const char *rel, struct reason *why)
{
	int fd = -1, r = io_open_file(root, rel, O_RDONLY, &fd, NULL, why);

	assert_true(r ? fd == -1 : fd >= 0);
	if (!r)
		close(fd);
	return r;
}

static void assert_opens(const char *rel)
{
	struct reason why = { "" };

	if (try_open(rel, &why))
		fail_msg("%s: %s", rel, why.text);
}

static void assert_does_not_open(const char *rel, int expected, const char *words)
{
	struct reason why = { "" };

	assert_int_equal(try_open(rel, &why), expected);
	if (!strstr(why.text, words))
		fail_msg("%s: \"%s\" and not \"%s\"", rel, why.text, words);
	assert_int_equal(try_open(rel, NULL), expected);
}

static void test_open_file(void **state)
{
	struct stat st;
	int fd;

	(void)state;
	assert_opens("f.rrd");
	assert_opens("d/f.rrd");
	assert_opens("./d//f.rrd");
	if (stepwise)
		assert_does_not_open("./d/../f.rrd", REFUSED, "out of the tree");
	else
		assert_opens("./d/../f.rrd");   /* never leaves the tree */
	assert_does_not_open("g.rrd", -ENOENT, "No such file");
	assert_does_not_open("g/f.rrd", -ENOENT, "No such file");
	assert_does_not_open("f.rrd/x", -ENOTDIR, "Not a directory");
	assert_does_not_open("", REFUSED, "a directory");
	assert_does_not_open("d", REFUSED, "a directory");
	assert_int_equal(io_open_file(root, "f.rrd", O_RDWR, &fd, &st, NULL), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
}

static void test_beneath(void **state)
{
	(void)state;
	assert_does_not_open("../outside/f.rrd", REFUSED, "out of the tree");
	assert_does_not_open("d/../../outside/f.rrd", REFUSED, "out of the tree");
	assert_does_not_open("..", REFUSED, "out of the tree");
	assert_does_not_open(scratch("outside/f.rrd"), REFUSED, "out of the tree");
	assert_does_not_open(scratch("tree/f.rrd"), REFUSED, "out of the tree");
	assert_does_not_open("/", REFUSED, "out of the tree");
}

static void test_links(void **state)
{
	char absolute[64];

	(void)state;
	make_link("f.rrd", "tree/to-file");
	make_link("d", "tree/to-dir");
	make_link("../outside", "tree/to-outside");
	make_link("/", "tree/to-root");
	make_link("nowhere", "tree/dangling");
	make_link("loop", "tree/loop");
	assert_does_not_open("to-file", REFUSED, "symbolic link");
	assert_does_not_open("to-dir", REFUSED, "symbolic link");
	assert_does_not_open("to-dir/f.rrd", REFUSED, "symbolic link");
	assert_does_not_open("to-outside/f.rrd", REFUSED, "symbolic link");
	assert_does_not_open("to-root/etc/passwd", REFUSED, "symbolic link");
	assert_does_not_open("dangling", REFUSED, "symbolic link");
	assert_does_not_open("loop", REFUSED, "symbolic link");
	snprintf(absolute, sizeof(absolute), "/proc/self/fd/%d", root);
	make_link(absolute, "tree/magic");
	assert_does_not_open("magic/f.rrd", REFUSED, "symbolic link");
	int fd = -1;
	assert_int_equal(io_open_dir(root, "to-dir", &fd), -ENOTDIR);
	assert_int_equal(io_open_dir(root, "to-outside", &fd), -ENOTDIR);
	assert_int_equal(io_open_dir(root, "to-root/etc", &fd), -ELOOP);
	assert_int_equal(io_open_dir(root, "..", &fd), -EXDEV);
	assert_int_equal(io_open_dir(root, "f.rrd", &fd), -ENOTDIR);
	assert_int_equal(io_open_dir(root, "g", &fd), -ENOENT);
	assert_int_equal(fd, -1);
	/* Links in the root's own path are the administrator's. */
	make_link("tree", "to-tree");
	fd = io_open_root(scratch("to-tree"));
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(io_open_root(scratch("nowhere")), -ENOENT);
	assert_int_equal(io_open_root(scratch("tree/f.rrd")), -ENOTDIR);
}

/* Would hang for ever, were it opened; and whoever waits on the other side must not wake. */
static void test_fifo(void **state)
{
	int fd = -1;

	(void)state;
	assert_int_equal(mkfifo(scratch("tree/fifo.rrd"), 0666), 0);
	assert_does_not_open("fifo.rrd", REFUSED, "a FIFO");
	assert_int_equal(io_open_file(root, "fifo.rrd", O_RDWR, &fd, NULL, NULL), REFUSED);
	assert_int_equal(io_open_file(root, "fifo.rrd", O_WRONLY, &fd, NULL, NULL), REFUSED);
	pid_t pid = fork();
	if (!pid) {
		/* Comes back only when somebody opens the other end. */
		alarm(1);
		_exit(open(scratch("tree/fifo.rrd"), O_WRONLY) < 0);
	}
	for (int i = 0; i < 200; i++) {
		io_open_file(root, "fifo.rrd", O_RDONLY, &fd, NULL, NULL);
		usleep(1000);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(fd, -1);
}

static void test_socket_and_device(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", scratch("tree/s.rrd"));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_does_not_open("s.rrd", REFUSED, "a socket");
	if (mknod(scratch("tree/null.rrd"), S_IFCHR | 0666, makedev(1, 3)) == 0)
		assert_does_not_open("null.rrd", REFUSED, "a device");
	else
		print_message("no device made: that part is left out\n");
}

/* ---- listing ---- */

struct list {
	char *words[400];
	size_t count;
	int stop_at, stop_with;         /* which entry ends it, counted from 1 */
	unsigned errors, entries;
	char error_rel[5000];
	int error;
};

static const char *const kinds[] = { "file", "dir", "link", "link to dir", "other" };

static int note(const char *rel, enum io_kind kind, void *arg)
{
	struct list *list = arg;

	list->entries++;
	if (list->count < 400 &&
	    asprintf(&list->words[list->count++], "%s %s", kinds[kind], rel) < 0)
		abort();
	return (int)list->entries == list->stop_at ? list->stop_with : 0;
}

static void note_error(const char *rel, int error, void *arg)
{
	struct list *list = arg;

	list->errors++;
	list->error = error;
	snprintf(list->error_rel, sizeof(list->error_rel), "%s", rel);
}

static bool has(const struct list *list, const char *words)
{
	unsigned times = 0;

	for (size_t i = 0; i < list->count; i++)
		times += !strcmp(list->words[i], words);
	assert_true(times <= 1);
	return times;
}

static size_t place(const struct list *list, const char *words)
{
	for (size_t i = 0; i < list->count; i++)
		if (!strcmp(list->words[i], words))
			return i;
	fail_msg("%s is not listed", words);
	return 0;
}

static void forget(struct list *list)
{
	while (list->count)
		free(list->words[--list->count]);
	*list = (struct list){ 0 };
}

static void make_odd_tree(void)
{
	make_file("tree/ sp ace %#[]'\"\\\n\t.rrd");
	make_file("tree/\xff\xfe\x80.rrd");
	make_file("tree/.hidden.rrd");
	make_dir("tree/.dir");
	make_file("tree/.dir/...");
	make_dir("tree/d/e");
	make_file("tree/d/e/g.rrd");
	make_link("f.rrd", "tree/link");
	make_link("d", "tree/dirlink");
	make_link("nowhere", "tree/dangling");
	assert_int_equal(mkfifo(scratch("tree/fifo"), 0600), 0);
}

static void test_list(void **state)
{
	struct list list = { .count = 0 };

	(void)state;
	make_odd_tree();
	assert_int_equal(io_list(root, "", note, &list), 0);
	assert_int_equal(list.count, 10);
	assert_true(has(&list, "file f.rrd"));
	assert_true(has(&list, "file  sp ace %#[]'\"\\\n\t.rrd"));
	assert_true(has(&list, "file \xff\xfe\x80.rrd"));
	assert_true(has(&list, "file .hidden.rrd"));
	assert_true(has(&list, "dir .dir"));
	assert_true(has(&list, "dir d"));
	assert_true(has(&list, "link link"));
	assert_true(has(&list, "link dangling"));
	assert_true(has(&list, "link to dir dirlink"));
	assert_true(has(&list, "other fifo"));
	forget(&list);
	assert_int_equal(io_list(root, "d", note, &list), 0);
	assert_int_equal(list.count, 2);
	assert_true(has(&list, "file d/f.rrd"));
	assert_true(has(&list, "dir d/e"));
	forget(&list);
	assert_int_equal(io_list(root, "dirlink", note, &list), -ENOTDIR);
	assert_int_equal(io_list(root, "dirlink/e", note, &list), -ELOOP);
	assert_int_equal(io_list(root, "..", note, &list), -EXDEV);
	assert_int_equal(io_list(root, "f.rrd", note, &list), -ENOTDIR);
	assert_int_equal(io_list(root, "nothing", note, &list), -ENOENT);
	assert_int_equal(list.count, 0);
	list.stop_at = 3;
	list.stop_with = -EINTR;
	assert_int_equal(io_list(root, "", note, &list), -EINTR);
	assert_int_equal(list.entries, 3);
	forget(&list);
}

static void test_walk(void **state)
{
	struct list list = { .count = 0 };

	(void)state;
	make_odd_tree();
	assert_int_equal(io_walk(root, "", note, note_error, &list), 0);
	assert_int_equal(list.count, 14);
	assert_int_equal(list.errors, 0);
	assert_true(has(&list, "file .dir/..."));
	assert_true(has(&list, "file d/e/g.rrd"));
	assert_true(has(&list, "link to dir dirlink"));
	assert_true(place(&list, "dir d") < place(&list, "dir d/e"));
	assert_true(place(&list, "dir d/e") < place(&list, "file d/e/g.rrd"));
	forget(&list);
	assert_int_equal(io_walk(root, "d", note, note_error, &list), 0);
	assert_int_equal(list.count, 3);
	forget(&list);
	assert_int_equal(io_walk(root, "nothing", note, note_error, &list), 0);
	assert_int_equal(list.errors, 1);
	assert_int_equal(list.error, ENOENT);
	assert_string_equal(list.error_rel, "nothing");
	forget(&list);
}

/* What ends a listing ends a walk, at any depth. */
static void test_walk_ended(void **state)
{
	static const int with[] = { 1, 77, -ENOMEM };
	struct list list = { .count = 0 };

	(void)state;
	make_odd_tree();
	for (size_t w = 0; w < 3; w++)
		for (int at = 1; at <= 14; at++) {
			list.stop_at = at;
			list.stop_with = with[w];
			assert_int_equal(io_walk(root, "", note, note_error, &list), with[w]);
			assert_int_equal(list.entries, at);
			assert_int_equal(list.errors, 0);
			forget(&list);
		}
}

/* The callback's own error is no directory's. */
static void test_walk_ended_by_error(void **state)
{
	struct list list = { .stop_at = 2, .stop_with = -ECANCELED };

	(void)state;
	int r = io_walk(root, "", note, note_error, &list);
	unsigned entries = list.entries, errors = list.errors;
	forget(&list);
	assert_int_equal(r, -ECANCELED);
	assert_int_equal(entries, 2);
	assert_int_equal(errors, 0);
}

static void test_walk_depth(void **state)
{
	enum { DEPTH = 100 };
	struct list list = { .count = 0 };
	int dir = dup(root);

	(void)state;
	for (int i = 0; i < DEPTH; i++) {
		assert_int_equal(mkdirat(dir, "n", 0755), 0);
		int below = openat(dir, "n", O_RDONLY | O_DIRECTORY);
		assert_true(below >= 0);
		close(dir);
		dir = below;
	}
	close(dir);
	make_file("tree/n/last.rrd");
	assert_int_equal(io_walk(root, "n", note, note_error, &list), 0);
	assert_int_equal(list.errors, 1);
	assert_int_equal(list.error, ELOOP);
	assert_true(list.count > 20 && list.count < DEPTH);
	assert_true(has(&list, "file n/last.rrd"));
	forget(&list);
}

static void test_walk_unreadable(void **state)
{
	struct list list = { .count = 0 };

	(void)state;
	make_odd_tree();
	assert_int_equal(chmod(scratch("tree/d"), 0), 0);
	if (!become_nobody()) {
		print_message("cannot become another user\n");
		skip();
	}
	int r = io_walk(root, "", note, note_error, &list);
	become_oneself();
	assert_int_equal(chmod(scratch("tree/d"), 0755), 0);
	assert_int_equal(r, 0);
	assert_int_equal(list.errors, 1);
	assert_int_equal(list.error, EACCES);
	assert_string_equal(list.error_rel, "d");
	assert_true(has(&list, "dir d"));
	assert_true(has(&list, "file .dir/..."));
	assert_int_equal(list.count, 11);
	forget(&list);
}

static void test_unreadable_file(void **state)
{
	int fd = -1;

	(void)state;
	assert_int_equal(chmod(scratch("tree/f.rrd"), 0), 0);
	if (!become_nobody()) {
		print_message("cannot become another user\n");
		skip();
	}
	int r = io_open_file(root, "f.rrd", O_RDONLY, &fd, NULL, NULL);
	become_oneself();
	assert_int_equal(r, -EACCES);
	assert_int_equal(fd, -1);
}

/* ---- relations ---- */

static void assert_related(const char *a, const char *b, int there, int back)
{
	assert_int_equal(io_relate(a, b), there);
	assert_int_equal(io_relate(b, a), back);
}

static void test_relate(void **state)
{
	(void)state;
	make_dir("tree/d/e");
	make_dir("tree2");
	make_link("tree", "to-tree");
	make_link("../tree/d", "outside/to-d");
	assert_related(scratch("tree"), scratch("tree"), IO_SAME, IO_SAME);
	assert_related(scratch("tree"), scratch("tree/."), IO_SAME, IO_SAME);
	assert_related(scratch("tree"), scratch("tree//d/.."), IO_SAME, IO_SAME);
	assert_related(scratch("tree"), scratch("to-tree"), IO_SAME, IO_SAME);
	assert_related(scratch("tree/d"), scratch("tree"), IO_INSIDE, IO_HOLDS);
	assert_related(scratch("tree/d/e"), scratch("to-tree"), IO_INSIDE, IO_HOLDS);
	assert_related(scratch("to-tree/d/e"), scratch("tree"), IO_INSIDE, IO_HOLDS);
	assert_related(scratch("outside/to-d"), scratch("tree"), IO_INSIDE, IO_HOLDS);
	assert_related(scratch("outside/to-d"), scratch("outside"), IO_APART, IO_APART);
	assert_related(scratch("tree"), scratch("tree2"), IO_APART, IO_APART);
	assert_related(scratch("tree"), scratch("outside"), IO_APART, IO_APART);
	assert_related("/", scratch("tree"), IO_HOLDS, IO_INSIDE);
	assert_related("/", "/", IO_SAME, IO_SAME);
	assert_related(scratch("tree"), scratch("nowhere"), -ENOENT, -ENOENT);
}

/* In a mount namespace of another process: 0 there, or 77 where it cannot be had. */
static void test_relate_mounted(void **state)
{
	int status;

	(void)state;
	make_dir("tree/d/e");
	make_dir("mounted");
	fflush(NULL);
	pid_t pid = fork();
	if (!pid) {
		if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount(scratch("tree"), scratch("mounted"), NULL, MS_BIND, NULL))
			_exit(77);
		if (io_relate(scratch("mounted"), scratch("tree")) != IO_SAME)
			_exit(1);
		if (io_relate(scratch("mounted/d"), scratch("tree")) != IO_INSIDE)
			_exit(2);
		if (io_relate(scratch("mounted"), scratch("tree/d/e")) != IO_HOLDS)
			_exit(3);
		if (io_relate(scratch("mounted"), scratch("outside")) != IO_APART)
			_exit(4);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("needs a mount namespace\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- the rest ---- */

static void test_names(void **state)
{
	(void)state;
	assert_true(io_is_rrd_name("a.rrd"));
	assert_true(io_is_rrd_name("h/a.rrd"));
	assert_true(io_is_rrd_name(".a.rrd"));
	assert_true(io_is_rrd_name("a.rrd.rrd"));
	assert_true(io_is_rrd_name(" .rrd"));
	assert_false(io_is_rrd_name(".rrd"));
	assert_false(io_is_rrd_name("h/.rrd"));
	assert_false(io_is_rrd_name("rrd"));
	assert_false(io_is_rrd_name(""));
	assert_false(io_is_rrd_name("a.rrdXXXXXX"));
	assert_false(io_is_rrd_name("a.rrd.backup"));
	assert_false(io_is_rrd_name("a.RRD"));
	assert_false(io_is_rrd_name("arrd"));
	assert_false(io_is_rrd_name("a.xml"));
	assert_false(io_is_rrd_name("a.rrd/b"));
}

static void test_stamp(void **state)
{
	struct stat st = { .st_dev = 1, .st_ino = 2, .st_nlink = 3, .st_size = 4 };
	struct io_stamp a, b;

	(void)state;
	st.st_mtim = (struct timespec){ 5, 6 };
	st.st_ctim = (struct timespec){ 7, 8 };
	a = b = io_stamp_of(&st);
	assert_int_equal(a.dev, 1);
	assert_int_equal(a.ino, 2);
	assert_int_equal(a.links, 3);
	assert_int_equal(a.size, 4);
	assert_int_equal(a.mtime_ns, 5000000006);
	assert_int_equal(a.ctime_ns, 7000000008);
	assert_true(io_stamp_equal(&a, &b));
	b.links++;                      /* a new name is no new state */
	assert_true(io_stamp_equal(&a, &b));
	b = a, b.dev++;
	assert_false(io_stamp_equal(&a, &b));
	b = a, b.ino++;
	assert_false(io_stamp_equal(&a, &b));
	b = a, b.size++;
	assert_false(io_stamp_equal(&a, &b));
	b = a, b.mtime_ns++;
	assert_false(io_stamp_equal(&a, &b));
	b = a, b.ctime_ns++;
	assert_false(io_stamp_equal(&a, &b));
}

static void test_read_and_write(void **state)
{
	char buffer[16] = "";
	int fd = open(scratch("tree/f.rrd"), O_RDWR), pipes[2];

	(void)state;
	assert_int_equal(io_pwrite(fd, "0123456789", 10, 0), 0);
	assert_int_equal(io_pwrite(fd, "ab", 2, 4), 0);
	assert_int_equal(io_pread(fd, buffer, 10, 0), 0);
	assert_memory_equal(buffer, "0123ab6789", 10);
	assert_int_equal(io_pread(fd, buffer, 3, 7), 0);
	assert_memory_equal(buffer, "789", 3);
	assert_int_equal(io_pread(fd, buffer, 4, 7), -ENODATA);
	assert_int_equal(io_pread(fd, buffer, 1, 10), -ENODATA);
	assert_int_equal(io_pread(fd, buffer, 0, 99), 0);
	close(fd);
	assert_int_equal(io_pread(-1, buffer, 1, 0), -EBADF);
	assert_int_equal(io_pwrite(-1, buffer, 1, 0), -EBADF);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(io_pread(pipes[0], buffer, 1, 0), -ESPIPE);
	close(pipes[0]);
	close(pipes[1]);
}

/* As where systemd's RestrictSUIDSGID= is set, or on Linux before 5.6. */
static int without_openat2(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0))
		return -errno;
	return syscall(SYS_openat2, -1, NULL, NULL, 0) < 0 && errno == ENOSYS ? 0 : -EINVAL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_open_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_beneath, setup, teardown),
		cmocka_unit_test_setup_teardown(test_links, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fifo, setup, teardown),
		cmocka_unit_test_setup_teardown(test_socket_and_device, setup, teardown),
		cmocka_unit_test_setup_teardown(test_list, setup, teardown),
		cmocka_unit_test_setup_teardown(test_walk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_walk_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(test_walk_ended_by_error, setup, teardown),
		cmocka_unit_test_setup_teardown(test_walk_depth, setup, teardown),
		cmocka_unit_test_setup_teardown(test_walk_unreadable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unreadable_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_relate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_relate_mounted, setup, teardown),
		cmocka_unit_test(test_names),
		cmocka_unit_test_setup_teardown(test_stamp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_and_write, setup, teardown),
	};

	alarm(60);                      /* a FIFO opened would hang */
	int failed = cmocka_run_group_tests_name("openat2", tests, NULL, NULL);

	if (without_openat2()) {
		puts("no system call can be filtered here: nothing is known of kernels without "
		     "openat2");
		return failed;
	}
	stepwise = true;
	return failed + cmocka_run_group_tests_name("without openat2", tests, NULL, NULL);
}
