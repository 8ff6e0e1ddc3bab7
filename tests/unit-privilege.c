/* unit-privilege: who is to serve a tree, becoming that user for good, and which directories may
 * be given to it. */
#include "config.h"
#include "privilege.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"

#define CAP(n) (UINT64_C(1) << (n))

/* Users that passwd does not know: the one to become, and somebody else. */
static struct privilege_user user = { .gid = 54399 }, other = { .gid = 54398 };

/* ---- children: what a process becomes, it stays ---- */

#define CHECK(condition) do { \
	if (!(condition)) { \
		fprintf(stderr, "%s:%d: does not hold: %s (%s)\n", __FILE__, __LINE__, \
			#condition, strerror(errno)); \
		return 1; \
	} \
} while (0)

static int in_child(int (*body)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		alarm(60);
		_exit(body());
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int take_ids(void)
{
	return setresgid(user.gid, user.gid, user.gid) || setresuid(user.uid, user.uid, user.uid);
}

/* In a namespace, root may have no other user to become. */
static void need_root(void)
{
	if (geteuid()) {
		print_message("SKIP: needs root\n");
		skip();
	}
	if (in_child(take_ids)) {
		print_message("SKIP: root cannot become another user here\n");
		skip();
	}
}

static void fill_user(struct privilege_user *ret, uid_t from)
{
	while (getpwuid(from))
		from++;
	ret->uid = from;
	snprintf(ret->name, sizeof(ret->name), "#%u", (unsigned)from);
}

static int setup(void **state)
{
	(void)state;
	fill_user(&user, 54321);
	fill_user(&other, user.uid + 1);
	return scratch_make() || chmod(scratch_dir, 0755) ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	return scratch_remove();
}

static void make_dir(const char *rel, uid_t uid, gid_t gid, mode_t mode)
{
	assert_int_equal(mkdir(scratch(rel), 0700), 0);
	assert_int_equal(chmod(scratch(rel), mode), 0);
	if (!geteuid())
		assert_int_equal(chown(scratch(rel), uid, gid), 0);
}

static void make_file(const char *rel, uid_t uid, gid_t gid, mode_t mode)
{
	int fd = open(scratch(rel), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(fchmod(fd, mode), 0);
	if (!geteuid())
		assert_int_equal(fchown(fd, uid, gid), 0);
	close(fd);
}

/* ---- names ---- */

static void test_names(void **state)
{
	struct privilege_user me = { .uid = 1 };
	char name[PRIVILEGE_NAME_SIZE], small[5];

	(void)state;
	assert_string_equal(privilege_name(0, name, sizeof(name)), "root");
	assert_string_equal(privilege_name(user.uid, name, sizeof(name)), user.name);
	assert_string_equal(privilege_name(user.uid, small, sizeof(small)), "#543");
	privilege_current(&me);
	assert_int_equal(me.uid, geteuid());
	assert_int_equal(me.gid, getegid());
	assert_string_equal(me.name, privilege_name(geteuid(), name, sizeof(name)));
}

/* ---- choosing ---- */

static void assert_does_not_choose(const char *live, const char *name, int expected,
				   const char *words)
{
	struct privilege_user ret, before;
	struct reason why = { "" };

	memset(&ret, 0x5a, sizeof(ret));
	before = ret;
	assert_int_equal(privilege_choose(live, name, &ret, &why), expected);
	if (!strstr(why.text, words))
		fail_msg("\"%s\" and not \"%s\"", why.text, words);
	assert_memory_equal(&ret, &before, sizeof(ret));
	assert_int_equal(privilege_choose(live, name, &ret, NULL), expected);
}

static void test_choose_by_name(void **state)
{
	struct privilege_user ret;
	char longest[5000];

	(void)state;
	assert_int_equal(privilege_choose("/nowhere/at/all", "root", &ret, NULL), 0);
	assert_int_equal(ret.uid, 0);
	assert_int_equal(ret.gid, 0);
	assert_string_equal(ret.name, "root");
	assert_does_not_choose("/", "nosuchuser", REFUSED, "there is no user \"nosuchuser\"");
	assert_does_not_choose("/", "", REFUSED, "there is no user \"\"");
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_does_not_choose("/", longest, REFUSED, "there is no user \"aaa");
}

static void test_choose_owner(void **state)
{
	struct privilege_user ret, me;
	struct stat st;

	(void)state;
	privilege_current(&me);
	make_dir("live", me.uid, me.gid, 0755);
	make_file("file", me.uid, me.gid, 0644);
	assert_int_equal(symlink("live", scratch("link")), 0);
	assert_does_not_choose(scratch("none"), NULL, -ENOENT, "none: No such file");
	assert_does_not_choose(scratch("file"), NULL, -ENOTDIR, "file: Not a directory");
	if (me.uid) {
		assert_int_equal(privilege_choose(scratch("live"), NULL, &ret, NULL), 0);
		assert_int_equal(ret.uid, me.uid);
		assert_string_equal(ret.name, me.name);
	}
	if (!stat("/", &st) && !st.st_uid) {
		assert_does_not_choose("/", NULL, REFUSED, "belongs to root");
		assert_does_not_choose("/", NULL, REFUSED, "user = \"root\"");
	}
	if (!me.uid)
		assert_does_not_choose(scratch("link"), NULL, REFUSED, "link belongs to root");
}

static void test_choose_known(void **state)
{
	struct privilege_user ret;
	struct passwd *nobody = getpwnam("nobody");

	(void)state;
	need_root();
	if (!nobody) {
		print_message("SKIP: there is no user nobody\n");
		skip();
		return;
	}
	uid_t uid = nobody->pw_uid;
	gid_t gid = nobody->pw_gid;
	/* The group is the user's own, not the directory's. */
	make_dir("live", uid, 0, 0755);
	assert_int_equal(privilege_choose(scratch("live"), NULL, &ret, NULL), 0);
	assert_int_equal(ret.uid, uid);
	assert_int_equal(ret.gid, gid);
	assert_string_equal(ret.name, "nobody");
	/* A name goes before the owner. */
	assert_int_equal(privilege_choose(scratch("live"), "root", &ret, NULL), 0);
	assert_int_equal(ret.uid, 0);
}

static void test_choose_unknown(void **state)
{
	struct privilege_user ret;

	(void)state;
	need_root();
	make_dir("live", user.uid, user.gid, 0700);
	assert_int_equal(privilege_choose(scratch("live"), NULL, &ret, NULL), 0);
	assert_int_equal(ret.uid, user.uid);
	assert_int_equal(ret.gid, user.gid);
	assert_string_equal(ret.name, user.name);
	assert_int_equal(chown(scratch("live"), user.uid, 0), 0);
	assert_int_equal(privilege_choose(scratch("live"), NULL, &ret, NULL), 0);
	assert_int_equal(ret.uid, user.uid);
	assert_int_not_equal(ret.gid, 0);       /* root's group is not given away */
}

/* ---- becoming ---- */

/* "Uid:\t1\t1" and the like of a thread's status; false where it is not so. */
static bool status_is(const char *key, const char *expected)
{
	char line[4096], *value = NULL;
	FILE *status = fopen("/proc/thread-self/status", "re");

	while (status && !value && fgets(line, sizeof(line), status))
		if (!strncmp(line, key, strlen(key)) && line[strlen(key)] == ':')
			value = line + strlen(key) + 1;
	if (status)
		fclose(status);
	if (!value)
		return false;
	value += strspn(value, " \t");
	value[strcspn(value, "\n")] = '\0';
	for (size_t end = strlen(value); end && value[end - 1] == ' '; end--)
		value[end - 1] = '\0';
	if (!strcmp(value, expected))
		return true;
	fprintf(stderr, "%s is \"%s\" and not \"%s\"\n", key, value, expected);
	return false;
}

static bool ids_are(const struct privilege_user *who)
{
	char uids[80], gids[80];
	unsigned u = who->uid, g = who->gid;

	snprintf(uids, sizeof(uids), "%u\t%u\t%u\t%u", u, u, u, u);
	snprintf(gids, sizeof(gids), "%u\t%u\t%u\t%u", g, g, g, g);
	return status_is("Uid", uids) && status_is("Gid", gids) && status_is("Groups", "");
}

static bool capabilities_are(uint64_t wanted)
{
	static const char none[] = "0000000000000000";
	char hex[20];

	snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)wanted);
	return status_is("CapEff", hex) && status_is("CapPrm", hex) && status_is("CapInh", none) &&
	       status_is("CapAmb", none) && status_is("CapBnd", none);
}

static int cannot_go_back(void)
{
	CHECK(setuid(0) && setgid(0) && seteuid(0) && setegid(0));
	CHECK(setreuid(0, 0) && setresuid(0, 0, 0) && setresgid(0, 0, 0));
	CHECK(setgroups(1, &(gid_t){ 0 }));
	return 0;
}

static void drop_capability(int capability)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		abort();
	for (int i = 0; i < 2; i++) {
		data[i].effective &= ~(uint32_t)(CAP(capability) >> 32 * i);
		data[i].permitted = data[i].effective;
		data[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &head, data))
		abort();
}

/* Capabilities are each thread's own, and ThreadSanitizer has a thread of its own, which would
 * still be allowed what the process is to be refused. */
static void need_one_thread(void)
{
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define OTHER_THREADS
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(OTHER_THREADS)
	print_message("SKIP: ThreadSanitizer runs a thread beside\n");
	skip();
#endif
}

static bool has(int capability)
{
	return prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1;
}

static int body_ids(void)
{
	bool lacks = true;
	struct reason why = { "" };

	CHECK(!setgroups(2, (gid_t[]){ 0, 4 }));
	umask(0);
	if (privilege_become(&user, &lacks, &why)) {
		fprintf(stderr, "%s\n", why.text);
		return 1;
	}
	CHECK(!lacks);
	CHECK(ids_are(&user));
	CHECK(capabilities_are(CAP(CAP_DAC_READ_SEARCH)));
	CHECK(status_is("NoNewPrivs", "1"));
	CHECK(prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0) == 0);
	CHECK(umask(0) == 027);
	CHECK(!cannot_go_back());
	CHECK(privilege_become(&user, &lacks, &why) == -EPERM);
	CHECK(strstr(why.text, "only root can"));
	return 0;
}

static void test_become(void **state)
{
	(void)state;
	need_root();
	assert_int_equal(in_child(body_ids), 0);
}

static void test_become_needs_root(void **state)
{
	bool lacks = true;
	struct reason why = { "" };

	(void)state;
	if (!geteuid()) {
		print_message("SKIP: is root\n");
		skip();
	}
	assert_int_equal(privilege_become(&user, &lacks, &why), -EPERM);
	assert_true(lacks);
	assert_non_null(strstr(why.text, "only root can"));
}

static int body_files(void)
{
	bool lacks;
	char byte = 0;
	int fd;

	CHECK(!privilege_become(&user, &lacks, NULL));
	fd = open(scratch("secret/file"), O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && read(fd, &byte, 1) == 1 && byte == 'x');
	CHECK(open(scratch("secret/file"), O_RDWR | O_CLOEXEC) < 0 && errno == EACCES);
	CHECK(truncate(scratch("secret/file"), 0) && errno == EACCES);
	CHECK(open(scratch("secret/new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0 &&
	      errno == EACCES);
	CHECK(unlink(scratch("secret/file")) && errno == EACCES);
	CHECK(chmod(scratch("secret/file"), 0666) && errno == EPERM);
	CHECK(chown(scratch("secret/file"), user.uid, user.gid) && errno == EPERM);
	CHECK(open(scratch("theirs"), O_RDWR | O_CLOEXEC) < 0 && errno == EACCES);
	/* No lease on what belongs to somebody else. */
	fd = open(scratch("theirs"), O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && fcntl(fd, F_SETLEASE, F_WRLCK) && errno == EACCES);
	/* What is made now is nobody else's to read. */
	struct stat st;
	CHECK(!mkdir(scratch("ours/new"), 0777) && !stat(scratch("ours/new"), &st));
	CHECK((st.st_mode & 0777) == 0750 && st.st_uid == user.uid && st.st_gid == user.gid);
	return 0;
}

static void test_files(void **state)
{
	(void)state;
	need_root();
	make_dir("secret", 0, 0, 0700);
	make_file("secret/file", 0, 0, 0600);
	make_file("theirs", other.uid, other.gid, 0644);
	make_dir("ours", user.uid, user.gid, 0700);
	assert_int_equal(in_child(body_files), 0);
}

/* The way of the daemon to a directory: opened beneath a root, then watched by its descriptor. */
static int watched_by_descriptor(const char *directory)
{
	char path[64];
	int fd = open(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), list;
	int notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	CHECK(fd >= 0 && notify >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(inotify_add_watch(notify, path, IN_CLOSE_WRITE) >= 0);
	list = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(list >= 0);
	close(list);
	close(fd);
	return notify;
}

static bool tells(int notify)
{
	struct pollfd wait = { .fd = notify, .events = POLLIN };
	char buffer[sizeof(struct inotify_event) + 256];

	return poll(&wait, 1, 10000) == 1 && read(notify, buffer, sizeof(buffer)) > 0;
}

static int lease_and_watch(void)
{
	int notify, fd;

	signal(SIGIO, SIG_IGN);
	notify = watched_by_descriptor(scratch("ours"));
	CHECK(notify > 1);
	fd = open(scratch("ours/file"), O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK(fcntl(fd, F_SETLEASE, F_WRLCK) == 0);
	CHECK(fcntl(fd, F_GETLEASE) == F_WRLCK);
	CHECK(fcntl(fd, F_SETLEASE, F_UNLCK) == 0);
	CHECK(write(fd, "y", 1) == 1 && !close(fd));
	CHECK(tells(notify));
	close(notify);
	return 0;
}

static int body_lease_and_watch(void)
{
	bool lacks;
	int notify;

	CHECK(!privilege_become(&user, &lacks, NULL) && !lacks);
	CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 || getenv("ANY_SUID_DUMPABLE"));
	CHECK(!lease_and_watch());
	notify = watched_by_descriptor(scratch("secret"));
	CHECK(notify > 1);
	return 0;
}

static int body_lacks(void)
{
	bool lacks = false;

	drop_capability(CAP_DAC_READ_SEARCH);
	CHECK(!privilege_become(&user, &lacks, NULL));
	CHECK(lacks);
	CHECK(ids_are(&user) && capabilities_are(0));
	CHECK(open(scratch("secret/file"), O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
	CHECK(!lease_and_watch());
	return 0;
}

static void make_ours_and_secret(void)
{
	make_dir("secret", 0, 0, 0700);
	make_file("secret/file", 0, 0, 0600);
	make_dir("ours", user.uid, user.gid, 0700);
	make_file("ours/file", user.uid, user.gid, 0600);
}

/* A changed user makes a process one that /proc hides; not from itself. */
static void test_lease_and_watch(void **state)
{
	char word[8] = "";
	int fd = open("/proc/sys/fs/suid_dumpable", O_RDONLY | O_CLOEXEC);

	(void)state;
	need_root();
	if (fd < 0 || read(fd, word, 1) != 1 || *word != '0')
		setenv("ANY_SUID_DUMPABLE", "1", 1);
	if (fd >= 0)
		close(fd);
	make_ours_and_secret();
	assert_int_equal(in_child(body_lease_and_watch), 0);
}

static void test_lacks(void **state)
{
	(void)state;
	need_root();
	make_ours_and_secret();
	assert_int_equal(in_child(body_lacks), 0);
}

static int body_without_setpcap(void)
{
	bool lacks = true;

	drop_capability(CAP_SETPCAP);
	CHECK(!privilege_become(&user, &lacks, NULL) && !lacks);
	CHECK(ids_are(&user));
	CHECK(status_is("CapEff", "0000000000000004") && status_is("CapPrm", "0000000000000004"));
	CHECK(has(CAP_CHOWN));          /* which nothing can gain any more */
	CHECK(!cannot_go_back());
	return 0;
}

static int body_without_setuid(void)
{
	bool lacks = true;
	struct reason why = { "" };

	drop_capability(CAP_SETUID);
	CHECK(privilege_become(&user, &lacks, &why) == -EPERM);
	CHECK(lacks);
	CHECK(strstr(why.text, "cannot be changed"));
	CHECK(strstr(why.text, "not permitted"));
	return 0;
}

static int body_without_setgid(void)
{
	bool lacks = true;
	struct reason why = { "" };

	CHECK(!setgroups(1, &(gid_t){ 4 }));
	drop_capability(CAP_SETGID);
	CHECK(privilege_become(&user, &lacks, &why) == -EPERM);
	CHECK(lacks);
	CHECK(strstr(why.text, "groups cannot be dropped"));
	return 0;
}

/* (uid_t)-1 means "as it is" to the kernel: it must not leave us root. */
static int body_minus_one(void)
{
	struct privilege_user none = { (uid_t)-1, user.gid, "none" };
	bool lacks = true;
	struct reason why = { "" };

	CHECK(privilege_become(&none, &lacks, &why) == -EPERM);
	CHECK(lacks && strstr(why.text, "the change was made, but "));
	return 0;
}

static void test_become_with_less(void **state)
{
	(void)state;
	need_root();
	need_one_thread();
	assert_int_equal(in_child(body_without_setpcap), 0);
	assert_int_equal(in_child(body_without_setuid), 0);
	assert_int_equal(in_child(body_without_setgid), 0);
	assert_int_equal(in_child(body_minus_one), 0);
}

static const struct privilege_user root_user = { 0, 0, "root" };

static int body_root(void)
{
	bool lacks = true;
	int fd;

	CHECK(!setgroups(1, &(gid_t){ 4 }));
	CHECK(!privilege_become(&root_user, &lacks, NULL) && !lacks);
	CHECK(ids_are(&root_user));
	CHECK(capabilities_are(CAP(CAP_DAC_READ_SEARCH) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_LEASE)));
	CHECK(status_is("NoNewPrivs", "1"));
	CHECK(umask(0) == 027);
	/* Writes any live file, and takes a lease on it. */
	fd = open(scratch("ours/file"), O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0 && fcntl(fd, F_SETLEASE, F_WRLCK) == 0);
	close(fd);
	CHECK(chown(scratch("ours/file"), 0, 0) && errno == EPERM);
	CHECK(chmod(scratch("ours/file"), 0666) && errno == EPERM);
	CHECK(setuid(user.uid) && setgid(user.gid));
	return 0;
}

static int body_root_without(void)
{
	bool lacks = false;

	drop_capability(CAP_DAC_READ_SEARCH);
	drop_capability(CAP_LEASE);
	drop_capability(CAP_SETGID);
	CHECK(!privilege_become(&root_user, &lacks, NULL) && lacks);
	CHECK(capabilities_are(CAP(CAP_DAC_OVERRIDE)));
	return 0;
}

/* Root that executes a program has all of its bounding set again. */
static int body_root_executes(void)
{
	bool lacks;

	CHECK(!privilege_become(&root_user, &lacks, NULL));
	execlp("grep", "grep", "-q", "^CapEff:.0000000000000000$", "/proc/self/status", NULL);
	return 99;
}

static void test_root(void **state)
{
	(void)state;
	need_root();
	make_ours_and_secret();
	assert_int_equal(in_child(body_root_executes), 0);
	need_one_thread();
	assert_int_equal(in_child(body_root), 0);
	assert_int_equal(in_child(body_root_without), 0);
}

static void *thread_checks(void *arg)
{
	int *ret = arg;
	bool same = ids_are(&user) && capabilities_are(CAP(CAP_DAC_READ_SEARCH)) &&
		    status_is("NoNewPrivs", "1") && !cannot_go_back();

	*ret = same ? 0 : 1;
	return NULL;
}

static int body_threads(void)
{
	pthread_t thread[4];
	int wrong[4] = { 1, 1, 1, 1 };
	bool lacks;

	CHECK(!privilege_become(&user, &lacks, NULL));
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&thread[i], NULL, thread_checks, &wrong[i]));
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_join(thread[i], NULL));
	CHECK(!wrong[0] && !wrong[1] && !wrong[2] && !wrong[3]);
	return 0;
}

static void test_threads(void **state)
{
	(void)state;
	need_root();
	assert_int_equal(in_child(body_threads), 0);
}

/* ---- directories ---- */

static const char *const ours[] = { "ledger", "control.", NULL };

static void assert_owned(const char *rel, const struct privilege_user *who, mode_t mode)
{
	struct stat st;

	assert_int_equal(lstat(scratch(rel), &st), 0);
	if (st.st_uid != who->uid || st.st_gid != who->gid || (st.st_mode & 07777) != mode)
		fail_msg("%s: %u:%u %o and not %u:%u %o", rel, (unsigned)st.st_uid,
			 (unsigned)st.st_gid, (unsigned)st.st_mode & 07777, (unsigned)who->uid,
			 (unsigned)who->gid, (unsigned)mode);
}

static void assert_takes(const char *rel)
{
	struct reason why = { "" };

	if (privilege_own_directory(scratch(rel), &user, ours, &why))
		fail_msg("%s: %s", rel, why.text);
}

static void assert_refuses(const char *path, int expected, const char *words)
{
	struct reason why = { "" };
	mode_t mask = umask(022);

	assert_int_equal(privilege_own_directory(path, &user, ours, &why), expected);
	if (!strstr(why.text, words) || !strstr(why.text, user.name))
		fail_msg("%s: \"%s\" and not \"%s\"", path, why.text, words);
	assert_int_equal(privilege_own_directory(path, &user, ours, NULL), expected);
	assert_int_equal(umask(mask), 022);
}

/* Without root: one's own, and nothing else's. */
static int body_own_as_user(void)
{
	bool lacks;
	struct stat st;

	if (!geteuid())
		CHECK(!privilege_become(&user, &lacks, NULL));
	else
		privilege_current(&user);
	umask(0);
	assert_takes("ours/new");
	assert_takes("ours/new");
	CHECK(!stat(scratch("ours/new"), &st) && (st.st_mode & 0777) == 0750);
	CHECK(!chmod(scratch("ours/new"), 0705));
	assert_takes("ours/new/");
	CHECK(!stat(scratch("ours/new"), &st) && (st.st_mode & 0777) == 0705);
	CHECK(!symlink("new", scratch("ours/link")));
	assert_refuses(scratch("ours/link"), REFUSED, "symbolic link");
	assert_refuses(scratch("ours/link/"), REFUSED, "symbolic link");
	assert_refuses(scratch("ours/file"), REFUSED, "not a directory");
	assert_refuses(scratch("ours/none/new"), -ENOENT, "cannot be made: No such file");
	CHECK(!stat("/", &st));
	if (st.st_uid != geteuid() && !st.st_uid)
		assert_refuses("/", REFUSED, "belongs to user root");
	return 0;
}

static void test_own_as_user(void **state)
{
	(void)state;
	if (!geteuid())
		need_root();
	make_dir("ours", user.uid, user.gid, 0700);
	make_file("ours/file", user.uid, user.gid, 0600);
	assert_int_equal(in_child(body_own_as_user), 0);
}

/* The rules ask who may change the way to the directory; where that is not root alone, they
 * cannot be tried. */
static void need_trusted_way(void)
{
	char *real;
	struct stat st;

	need_root();
	real = realpath(scratch_dir, NULL);
	assert_non_null(real);
	while (*real) {
		*strrchr(real, '/') = '\0';
		if (stat(*real ? real : "/", &st) || st.st_uid ||
		    (st.st_mode & 022 && !(st.st_mode & S_ISVTX))) {
			print_message("SKIP: others than root may change %s/\n", real);
			free(real);
			skip();
			return;
		}
	}
	free(real);
}

static void test_own_new(void **state)
{
	(void)state;
	need_trusted_way();
	/* Where only root may make it; where the user may; with another umask. */
	make_dir("roots", 0, 0, 0755);
	make_dir("users", user.uid, user.gid, 0700);
	mode_t mask = umask(077);
	assert_takes("roots/new");
	assert_takes("users/new");
	assert_int_equal(umask(mask), 077);
	assert_owned("roots/new", &user, 0750);
	assert_owned("users/new", &user, 0750);
	assert_takes("roots/new");
	assert_takes("users/new/.");
	assert_owned("roots", &root_user, 0755);
	assert_refuses(scratch("roots/none/new"), -ENOENT, "No such file");
	/* For root itself. */
	assert_int_equal(privilege_own_directory(scratch("roots/two"), &root_user, ours, NULL), 0);
	assert_owned("roots/two", &root_user, 0750);
	assert_int_equal(privilege_own_directory(scratch("roots/two"), &root_user, ours, NULL), 0);
	assert_int_equal(privilege_own_directory(scratch("roots/new"), &root_user, ours, NULL),
			 REFUSED);
	assert_owned("roots/new", &user, 0750);
}

static void test_own_taken(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void)state;
	need_trusted_way();
	make_dir("empty", 0, 0, 0755);
	assert_takes("empty");
	assert_owned("empty", &user, 0750);
	make_dir("closed", 0, 0, 0700);         /* is not opened any wider */
	assert_takes("closed/./");
	assert_owned("closed", &user, 0700);

	/* As systemd leaves it: given to us, and taken back at the next start. */
	make_dir("state", 0, 0, 0755);
	make_file("state/ledger.db", 0, 0, 0640);
	make_file("state/ledger.db-wal", user.uid, user.gid, 0600);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", scratch("state/control.sock"));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof(address)));
	close(fd);
	assert_int_equal(chmod(scratch("state/control.sock"), 0660), 0);
	for (int start = 0; start < 2; start++) {
		assert_takes("state");
		assert_owned("state", &user, 0750);
		assert_owned("state/ledger.db", &user, 0640);
		assert_owned("state/ledger.db-wal", &user, 0600);
		assert_owned("state/control.sock", &user, 0660);
		assert_int_equal(chown(scratch("state"), 0, 0), 0);
		assert_int_equal(chown(scratch("state/ledger.db"), 0, 0), 0);
	}
}

/* What is in a directory that is refused stays whose it was, all of it. */
static void hostile(const char *name, const char *words)
{
	assert_refuses(scratch("state"), REFUSED, words);
	assert_owned("state", &root_user, 0755);
	assert_owned("state/ledger.db", &root_user, 0640);
	assert_owned("outside", &root_user, 0600);
	assert_int_equal(unlink(scratch(name)), 0);
}

static void test_own_hostile_entries(void **state)
{
	(void)state;
	need_trusted_way();
	make_file("outside", 0, 0, 0600);
	make_dir("state", 0, 0, 0755);
	make_file("state/ledger.db", 0, 0, 0640);

	make_file("state/passwd", 0, 0, 0644);
	hostile("state/passwd", "\"passwd\", which is none of ours");
	make_file("state/.ledger", 0, 0, 0644);
	hostile("state/.ledger", "\".ledger\", which is none of ours");
	make_file("state/ledge", 0, 0, 0644);
	hostile("state/ledge", "\"ledge\", which is none of ours");
	assert_int_equal(symlink(scratch("outside"), scratch("state/ledger.l")), 0);
	hostile("state/ledger.l", "\"ledger.l\", which is no regular file");
	assert_int_equal(symlink("/nowhere", scratch("state/ledger.l")), 0);
	hostile("state/ledger.l", "\"ledger.l\", which is no regular file");
	assert_int_equal(link(scratch("outside"), scratch("state/ledger.h")), 0);
	hostile("state/ledger.h", "\"ledger.h\", which has more than one link");
	assert_int_equal(mkfifo(scratch("state/ledger.f"), 0600), 0);
	hostile("state/ledger.f", "\"ledger.f\", which is no regular file");
	make_file("state/ledger.o", other.uid, other.gid, 0644);
	hostile("state/ledger.o", "\"ledger.o\", which is another user's");
	make_dir("state/ledger.d", 0, 0, 0755);
	assert_refuses(scratch("state"), REFUSED, "\"ledger.d\", which is no regular file");
	assert_int_equal(rmdir(scratch("state/ledger.d")), 0);

	/* Without prefixes only an empty one will do. */
	assert_int_equal(privilege_own_directory(scratch("state"), &user, NULL, NULL), REFUSED);
	assert_takes("state");
	assert_owned("state", &user, 0750);
	assert_owned("state/ledger.db", &user, 0640);
}

static void test_own_hostile_directories(void **state)
{
	(void)state;
	need_trusted_way();
	make_dir("target", 0, 0, 0755);
	assert_int_equal(symlink("target", scratch("link")), 0);
	assert_refuses(scratch("link"), REFUSED, "symbolic link");
	assert_refuses(scratch("link/"), REFUSED, "symbolic link");
	assert_refuses(scratch("link/."), REFUSED, "symbolic link");
	assert_refuses(scratch("link/./"), REFUSED, "symbolic link");
	assert_owned("target", &root_user, 0755);
	assert_int_equal(symlink("nowhere", scratch("dangling")), 0);
	assert_refuses(scratch("dangling"), REFUSED, "symbolic link");
	make_file("file", 0, 0, 0644);
	assert_refuses(scratch("file"), REFUSED, "not a directory");
	assert_owned("file", &root_user, 0644);

	make_dir("theirs", other.uid, other.gid, 0700);
	assert_refuses(scratch("theirs"), REFUSED, other.name);
	assert_owned("theirs", &other, 0700);
	/* Empty, root's, and yet somebody's. */
	make_dir("tmp", 0, 0, 01777);
	assert_refuses(scratch("tmp"), REFUSED, "may write to it");
	assert_owned("tmp", &root_user, 01777);
	make_dir("staff", 0, other.gid, 0775);
	assert_refuses(scratch("staff"), REFUSED, "may write to it");
}

/* Somebody who may change the way to a directory would choose which one is given away. */
static void test_own_hostile_way(void **state)
{
	struct stat st;

	(void)state;
	need_trusted_way();
	make_dir("target", 0, 0, 0755);
	make_dir("target/state", 0, 0, 0755);
	make_dir("theirs", other.uid, other.gid, 0755);
	make_dir("users", user.uid, user.gid, 0755);
	assert_refuses(scratch("theirs/new"), REFUSED, "theirs can be changed by others");
	assert_int_not_equal(stat(scratch("theirs/new"), &st), 0);
	make_dir("theirs/state", 0, 0, 0755);
	assert_refuses(scratch("theirs/state"), REFUSED, "theirs can be changed by others");
	assert_owned("theirs/state", &root_user, 0755);
	/* Through a link: the user's own, and root's own that leads through what is the user's. */
	assert_int_equal(symlink(scratch("target"), scratch("users/link")), 0);
	assert_refuses(scratch("users/link/state"), REFUSED, "users can be changed by others");
	assert_refuses(scratch("users/link/new"), REFUSED, "users can be changed by others");
	make_dir("users/deep", 0, 0, 0755);
	make_dir("users/deep/state", 0, 0, 0755);
	assert_int_equal(symlink("users/deep", scratch("links")), 0);
	assert_refuses(scratch("links/state"), REFUSED, "users can be changed by others");
	assert_owned("users/deep/state", &root_user, 0755);
	/* A link in a directory where anybody may make one. */
	make_dir("tmp", 0, 0, 01777);
	assert_int_equal(symlink("../target", scratch("tmp/link")), 0);
	assert_int_equal(lchown(scratch("tmp/link"), other.uid, other.gid), 0);
	assert_int_not_equal(privilege_own_directory(scratch("tmp/link/state"), &user, ours, NULL),
			     0);
	assert_owned("target/state", &root_user, 0755);
	/* Root's own links are the administrator's. */
	assert_int_equal(symlink("target", scratch("fine")), 0);
	assert_takes("fine/state");
	assert_owned("target/state", &user, 0750);
	make_dir("tmp/state", 0, 0, 0755);
	assert_takes("tmp/state");
	assert_takes("tmp/made");
	assert_owned("tmp/made", &user, 0750);
}

static int body_own_without_chown(void)
{
	struct reason why = { "" };

	drop_capability(CAP_CHOWN);
	CHECK(privilege_own_directory(scratch("state"), &user, ours, &why) == -EPERM);
	CHECK(strstr(why.text, "cannot be given to "));
	drop_capability(CAP_SETUID);
	CHECK(privilege_own_directory(scratch("new"), &user, ours, &why) < 0);
	return 0;
}

static void test_own_without_chown(void **state)
{
	(void)state;
	need_trusted_way();
	make_dir("state", 0, 0, 0755);
	make_file("state/ledger.db", 0, 0, 0640);
	assert_int_equal(in_child(body_own_without_chown), 0);
	assert_owned("state", &root_user, 0755);
	assert_int_equal(unlink(scratch("state/ledger.db")), 0);
	assert_int_equal(in_child(body_own_without_chown), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_names),
		TEST(test_choose_by_name),
		TEST(test_choose_owner),
		TEST(test_choose_known),
		TEST(test_choose_unknown),
		TEST(test_become),
		TEST(test_become_needs_root),
		TEST(test_files),
		TEST(test_lease_and_watch),
		TEST(test_lacks),
		TEST(test_become_with_less),
		TEST(test_root),
		TEST(test_threads),
		TEST(test_own_as_user),
		TEST(test_own_new),
		TEST(test_own_taken),
		TEST(test_own_hostile_entries),
		TEST(test_own_hostile_directories),
		TEST(test_own_hostile_way),
		TEST(test_own_without_chown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
