/* faults: a library to preload, which counts what a program writes and syncs, and then lets it
 * die, stop or fail at a chosen call.  SQLite's calls count as well, for they go through libc.
 *
 * Counted are write, pwrite, fsync, fdatasync, syncfs, ftruncate, rename and unlink, under each of
 * their names, but not what goes to a terminal, a pipe, a socket or descriptors 0 to 2.  In the
 * environment:
 *
 *     FAULT_TRACE=FILE        a line for each of them: its number, its name, the file
 *     FAULT_DIE_AT=N          SIGKILL right before the Nth, all threads at once
 *     FAULT_AFTER=1           … right after it
 *     FAULT_TORN=1            … when it has written a part
 *     FAULT_ERROR=WHAT:N:ERROR[:PATH],…
 *                             the Nth WHAT (or each: "*") fails with ERROR (EIO, ENOSPC, EROFS,
 *                             EDQUOT, EINTR, EAGAIN); LOST: a sync says that it has been done, and
 *                             has not; "pread" and "lease" are understood too
 *     FAULT_STOP=WHAT:N[:PATH],…
 *                             the program stops itself (SIGSTOP) before the Nth WHAT
 *     FAULT_SHADOW=FROM:TO    TO becomes what a disk would hold of the tree FROM had the power
 *                             been cut: a file as it was when it was synced last
 *
 * With a PATH only calls on files count of whose path it is a part.  Numbers begin with 1.
 *
 * What a torn write leaves.  The kernel heeds a SIGKILL between two pages of one write (Linux
 * mm/filemap.c, generic_perform_write), so it is cut at a page's boundary.  One within a page is
 * cut in its middle, as if the power had failed; but an RRD's is not written at all, since only
 * SIGKILL is tried on those.
 *
 * No config.h: with _FILE_OFFSET_BITS the two names of a call would become one. */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define RULES 8
#define PATH_SIZE 4096
#define PAGE 4096
#define LOST 100000             /* no errno */

enum call {
	WRITE, PWRITE, FSYNC, FDATASYNC, SYNCFS, FTRUNCATE, RENAME, UNLINK,
	COUNTED,
	PREAD = COUNTED, LEASE,
	CALLS
};

static const char *const call_name[CALLS] = {
	"write", "pwrite", "fsync", "fdatasync", "syncfs", "ftruncate", "rename", "unlink",
	"pread", "lease"
};

struct rule {
	enum call call;
	unsigned long at;       /* 0: each */
	int error;
	char path[256];         /* "": any */
	atomic_ulong seen;
};

static struct {
	unsigned long die_at;
	bool after, torn;
	int trace;
	struct rule error[RULES], stop[RULES];
	unsigned errors, stops;
	char from[PATH_SIZE], to[PATH_SIZE];
	bool wants[CALLS];      /* has a rule */
} opt = { .trace = -1 };

static atomic_ulong count;
static atomic_bool dying;

/* ---- what the environment says ---- */

static void broken(const char *what, const char *text)
{
	fprintf(stderr, "faults: %s: %s is not understood\n", what, text);
	_exit(99);
}

static int error_of(const char *name)
{
	static const struct { const char *name; int error; } known[] = {
		{ "EIO", EIO }, { "ENOSPC", ENOSPC }, { "EROFS", EROFS }, { "EDQUOT", EDQUOT },
		{ "EINTR", EINTR }, { "EAGAIN", EAGAIN }, { "LOST", LOST }
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(name, known[i].name))
			return known[i].error;
	return 0;
}

static void parse_rule(struct rule *rule, char *text, bool fails)
{
	char *call = strsep(&text, ":"), *at = strsep(&text, ":"),
	     *error = fails ? strsep(&text, ":") : NULL;
	int i = 0;

	while (i < CALLS && strcmp(call, call_name[i]))
		i++;
	if (i == CALLS || !at || (fails && (!error || !error_of(error))))
		broken(fails ? "FAULT_ERROR" : "FAULT_STOP", call);
	rule->call = (enum call)i;
	rule->at = strcmp(at, "*") ? strtoul(at, NULL, 10) : 0;
	rule->error = fails ? error_of(error) : 0;
	if (text)
		snprintf(rule->path, sizeof(rule->path), "%s", text);
	opt.wants[i] = true;
}

static unsigned parse_rules(const char *name, struct rule *rule, bool fails)
{
	char *value = getenv(name), *text = value ? strdup(value) : NULL, *rest = text, *one;
	unsigned n = 0;

	while ((one = strsep(&rest, ",")) && n < RULES)
		if (*one)
			parse_rule(&rule[n++], one, fails);
	free(text);
	return n;
}

static bool is_set(const char *name)
{
	const char *value = getenv(name);

	return value && *value && strcmp(value, "0");
}

__attribute__((constructor)) static void prepare(void)
{
	const char *trace = getenv("FAULT_TRACE"), *at = getenv("FAULT_DIE_AT"),
		   *shadow = getenv("FAULT_SHADOW"), *colon;

	opt.die_at = at ? strtoul(at, NULL, 10) : 0;
	opt.after = is_set("FAULT_AFTER");
	opt.torn = is_set("FAULT_TORN");
	opt.errors = parse_rules("FAULT_ERROR", opt.error, true);
	opt.stops = parse_rules("FAULT_STOP", opt.stop, false);
	if (shadow && (colon = strchr(shadow, ':'))) {
		snprintf(opt.from, sizeof(opt.from), "%.*s", (int)(colon - shadow), shadow);
		snprintf(opt.to, sizeof(opt.to), "%s", colon + 1);
	}
	if (trace && *trace) {
		int fd = open(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

		/* Out of the way of a program that counts on its descriptors. */
		opt.trace = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 500);
		if (opt.trace < 0)
			broken("FAULT_TRACE", trace);
		close(fd);
	}
}

/* ---- one call ---- */

static void die(void)
{
	atomic_store(&dying, true);
	syscall(SYS_kill, (pid_t)syscall(SYS_getpid), SIGKILL);
	for (;;)
		pause();
}

static void path_of(int fd, char *path)
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, PATH_SIZE - 1);
	path[n < 0 ? 0 : n] = '\0';
}

static bool is_rrd(const char *path)
{
	size_t n = strlen(path);

	return n > 4 && !strcmp(path + n - 4, ".rrd");
}

/* Does a rule hit this call?  Each rule counts for itself. */
static const struct rule *hit(struct rule *rule, unsigned rules, enum call call, const char *path)
{
	const struct rule *found = NULL;

	for (unsigned i = 0; i < rules; i++) {
		if (rule[i].call != call || (rule[i].path[0] && !strstr(path, rule[i].path)))
			continue;
		unsigned long n = atomic_fetch_add(&rule[i].seen, 1) + 1;
		if (!rule[i].at || rule[i].at == n)
			found = &rule[i];
	}
	return found;
}

/* What is to become of one call. */
struct fate {
	unsigned long number;
	char path[PATH_SIZE];
};

/* True where the call is to fail, with errno set.  `path` or else `fd`. */
static bool begin(struct fate *fate, enum call call, int fd, const char *path)
{
	int saved = errno;

	while (atomic_load(&dying))
		pause();
	fate->number = 0;
	fate->path[0] = '\0';
	if (path)
		snprintf(fate->path, sizeof(fate->path), "%s", path);
	else if (opt.wants[call] || call < COUNTED)
		path_of(fd, fate->path);
	/* "pipe:[1]", "socket:[2]", a terminal */
	bool counts = call < COUNTED && fd != opt.trace &&
		(path || (fd > STDERR_FILENO && fate->path[0] == '/' &&
			  strncmp(fate->path, "/dev/", 5)));
	if (counts) {
		char line[PATH_SIZE + 64];

		fate->number = atomic_fetch_add(&count, 1) + 1;
		int n = snprintf(line, sizeof(line), "%lu %s %s\n", fate->number, call_name[call],
				 fate->path);
		if (opt.trace >= 0)
			syscall(SYS_write, opt.trace, line, (size_t)n);
		if (fate->number == opt.die_at && !opt.after && !opt.torn)
			die();
	}
	errno = saved;
	if (!opt.wants[call])
		return false;
	if (hit(opt.stop, opt.stops, call, fate->path))
		raise(SIGSTOP);
	const struct rule *rule = hit(opt.error, opt.errors, call, fate->path);
	errno = rule ? rule->error : saved;
	return rule != NULL;
}

static void end(const struct fate *fate)
{
	if (fate->number && fate->number == opt.die_at)
		die();
}

/* How many bytes of a write that is to be torn are written; all where it is not. */
static size_t torn(const struct fate *fate, size_t size, int64_t offset)
{
	if (!opt.torn || !fate->number || fate->number != opt.die_at)
		return size;
	int64_t boundary = (offset + (int64_t)size - 1) / PAGE * PAGE;

	if (boundary > offset)
		return (size_t)(boundary - offset);
	return is_rrd(fate->path) ? 0 : size / 2;
}

/* ---- what a disk would hold ---- */

static bool shadow_name(const char *path, char *ret)
{
	size_t n = strlen(opt.from);

	if (!n || strncmp(path, opt.from, n) || path[n] != '/')
		return false;
	return snprintf(ret, PATH_SIZE, "%s%s", opt.to, path + n) < PATH_SIZE;
}

/* A name of a file that was unlinked ends so, and -shm is not meant to outlive anything. */
static bool lives_on(const char *path)
{
	size_t n = strlen(path);

	return !strstr(path, " (deleted)") && (n < 4 || strcmp(path + n - 4, "-shm"));
}

/* The whole file, under its name at once. */
static void shadow_file(const char *path)
{
	char to[PATH_SIZE], tmp[PATH_SIZE + 32], buffer[65536];
	struct stat st;
	ssize_t n;

	if (!lives_on(path) || !shadow_name(path, to) || stat(path, &st) || !S_ISREG(st.st_mode))
		return;
	snprintf(tmp, sizeof(tmp), "%s.%ld", to, (long)syscall(SYS_gettid));
	int in = open(path, O_RDONLY | O_CLOEXEC);
	int out = in < 0 ? -1 : open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	while (out >= 0 && (n = syscall(SYS_read, in, buffer, sizeof(buffer))) > 0)
		if (syscall(SYS_write, out, buffer, (size_t)n) != n)
			broken("FAULT_SHADOW", strerror(errno));
	if (out >= 0 && syscall(SYS_renameat, AT_FDCWD, tmp, AT_FDCWD, to))
		broken("FAULT_SHADOW", strerror(errno));
	if (out >= 0)
		close(out);
	if (in >= 0)
		close(in);
}

static void shadow_tree(const char *path)
{
	char below[PATH_SIZE];
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", path, entry->d_name) >= PATH_SIZE)
			continue;
		if (entry->d_type == DT_DIR)
			shadow_tree(below);
		else if (entry->d_type == DT_REG)
			shadow_file(below);
	}
	if (dir)
		closedir(dir);
}

static void shadow_unlink(const char *path)
{
	char to[PATH_SIZE];

	if (shadow_name(path, to))
		syscall(SYS_unlinkat, AT_FDCWD, to, 0);
}

/* ---- the calls ---- */

/* The next one of this name; its type is that of the function itself. */
#define REAL(name) \
	static __typeof__(&name) real; \
	if (!real) \
		real = (__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name)

EXPORT ssize_t write(int fd, const void *buffer, size_t size)
{
	REAL(write);
	struct fate fate;

	if (begin(&fate, WRITE, fd, NULL))
		return -1;
	int64_t at = fate.number ? (int64_t)lseek64(fd, 0, SEEK_CUR) : 0;
	ssize_t n = real(fd, buffer, torn(&fate, size, at < 0 ? 0 : at));
	end(&fate);
	return n;
}

#define PWRITE_AS(name, type) \
EXPORT ssize_t name(int fd, const void *buffer, size_t size, type offset) \
{ \
	REAL(name); \
	struct fate fate; \
	if (begin(&fate, PWRITE, fd, NULL)) \
		return -1; \
	ssize_t n = real(fd, buffer, torn(&fate, size, (int64_t)offset), offset); \
	end(&fate); \
	return n; \
}
PWRITE_AS(pwrite, off_t)
PWRITE_AS(pwrite64, off64_t)

#define PREAD_AS(name, type) \
EXPORT ssize_t name(int fd, void *buffer, size_t size, type offset) \
{ \
	REAL(name); \
	struct fate fate; \
	if (begin(&fate, PREAD, fd, NULL)) \
		return -1; \
	return real(fd, buffer, size, offset); \
}
PREAD_AS(pread, off_t)
PREAD_AS(pread64, off64_t)

#define SYNC_AS(name, call) \
EXPORT int name(int fd) \
{ \
	REAL(name); \
	struct fate fate; \
	if (begin(&fate, call, fd, NULL)) \
		return errno == LOST ? 0 : -1; \
	int r = real(fd); \
	if (!r && opt.from[0] && call == SYNCFS) \
		shadow_tree(opt.from); \
	else if (!r && opt.from[0]) \
		shadow_file(fate.path); \
	end(&fate); \
	return r; \
}
SYNC_AS(fsync, FSYNC)
SYNC_AS(fdatasync, FDATASYNC)
SYNC_AS(syncfs, SYNCFS)

#define FTRUNCATE_AS(name, type) \
EXPORT int name(int fd, type size) \
{ \
	REAL(name); \
	struct fate fate; \
	if (begin(&fate, FTRUNCATE, fd, NULL)) \
		return -1; \
	int r = real(fd, size); \
	end(&fate); \
	return r; \
}
FTRUNCATE_AS(ftruncate, off_t)
FTRUNCATE_AS(ftruncate64, off64_t)

EXPORT int rename(const char *from, const char *to)
{
	REAL(rename);
	struct fate fate;

	if (begin(&fate, RENAME, -1, from))
		return -1;
	int r = real(from, to);
	end(&fate);
	return r;
}

EXPORT int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	REAL(renameat);
	struct fate fate;

	if (begin(&fate, RENAME, -1, from))
		return -1;
	int r = real(from_dir, from, to_dir, to);
	end(&fate);
	return r;
}

EXPORT int unlink(const char *path)
{
	REAL(unlink);
	struct fate fate;

	if (begin(&fate, UNLINK, -1, path))
		return -1;
	int r = real(path);
	if (!r && opt.from[0])
		shadow_unlink(path);
	end(&fate);
	return r;
}

EXPORT int unlinkat(int dir, const char *path, int flags)
{
	REAL(unlinkat);
	struct fate fate;

	if (begin(&fate, UNLINK, -1, path))
		return -1;
	int r = real(dir, path, flags);
	end(&fate);
	return r;
}

/* Leases alone: the argument is a number or a pointer, which one register holds all the same. */
#define FCNTL_AS(name) \
EXPORT int name(int fd, int what, ...) \
{ \
	REAL(name); \
	struct fate fate; \
	va_list list; \
	va_start(list, what); \
	void *argument = va_arg(list, void *); \
	va_end(list); \
	if (what == F_SETLEASE && (int)(intptr_t)argument == F_WRLCK && \
	    begin(&fate, LEASE, fd, NULL)) \
		return -1; \
	return real(fd, what, argument); \
}
FCNTL_AS(fcntl)
FCNTL_AS(fcntl64)
