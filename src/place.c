#include "config.h"
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A directory of a filesystem. */
struct spot {
	unsigned major, minor;
	char path[PATH_MAX];    /* from the filesystem's own root */
};

struct mount {
	struct spot root;       /* what is mounted */
	char on[PATH_MAX];      /* where */
};

/* The file writes blanks and the like as \ooo. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		unsigned code;

		if (*from == '\\' && sscanf(from + 1, "%3o", &code) == 1) {
			*to = (char)code;
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* The next line of /proc/self/mountinfo (proc(5)); false at its end. */
static bool next_mount(FILE *in, struct mount *ret)
{
	char *line = NULL;
	size_t size = 0;
	bool found = false;

	while (!found && getline(&line, &size, in) > 0)
		found = sscanf(line, "%*d %*d %u:%u %4095s %4095s", &ret->root.major,
			       &ret->root.minor, ret->root.path, ret->on) == 4;
	free(line);
	if (found) {
		unescape(ret->root.path);
		unescape(ret->on);
	}
	return found;
}

/* What of `path` follows `head`, both absolute: "" or "/…"; NULL where it does not lie there. */
static const char *beneath(const char *path, const char *head)
{
	size_t len = strcmp(head, "/") ? strlen(head) : 0;

	return !strncmp(path, head, len) && (path[len] == '/' || !path[len]) ? path + len : NULL;
}

static enum io_relation relate(const struct spot *a, const struct spot *b)
{
	if (a->major != b->major || a->minor != b->minor)
		return IO_APART;
	if (!strcmp(a->path, b->path))
		return IO_SAME;
	return beneath(a->path, b->path) ? IO_INSIDE : beneath(b->path, a->path) ? IO_HOLDS : IO_APART;
}

/* Where the directory with this true path lies: the last mount on the way to it decides. */
static int find_spot(const char *path, struct spot *ret)
{
	FILE *in = fopen("/proc/self/mountinfo", "re");
	struct mount mount;
	size_t longest = 0;
	int r = -ENOENT;

	if (!in)
		return -errno;
	while (next_mount(in, &mount)) {
		const char *rest = beneath(path, mount.on);
		size_t len = strlen(mount.on);

		if (!rest || len < longest)
			continue;
		const char *head = strcmp(mount.root.path, "/") ? mount.root.path : "";
		if (snprintf(ret->path, sizeof(ret->path), "%s%s%s", head, rest,
			     !*head && !*rest ? "/" : "") >= (int)sizeof(ret->path))
			continue;
		ret->major = mount.root.major;
		ret->minor = mount.root.minor;
		longest = len;
		r = 0;
	}
	fclose(in);
	return r;
}

/* The same for what is mounted beneath `path`: the worst relation of any to `other`. */
static enum io_relation relate_beneath(const char *path, const struct spot *other)
{
	FILE *in = fopen("/proc/self/mountinfo", "re");
	enum io_relation found = IO_APART;
	struct mount mount;

	while (in && found == IO_APART && next_mount(in, &mount)) {
		const char *rest = beneath(mount.on, path);

		if (rest && *rest)
			found = relate(&mount.root, other);
	}
	if (in)
		fclose(in);
	return found;
}

/* The paths are true ones. */
static int relate_spots(const char *a, const struct spot *spot_a, const char *b,
			const struct spot *spot_b)
{
	enum io_relation relation = relate(spot_a, spot_b);

	if (relation == IO_APART && relate_beneath(a, spot_b) != IO_APART)
		relation = IO_HOLDS;
	if (relation == IO_APART && relate_beneath(b, spot_a) != IO_APART)
		relation = IO_INSIDE;
	return (int)relation;
}

int place_relate(const char *a, const char *b)
{
	char true_a[PATH_MAX], true_b[PATH_MAX];
	struct spot spot_a, spot_b;
	int relation = io_relate(a, b);

	if (relation != IO_APART)
		return relation;
	if (!realpath(a, true_a) || !realpath(b, true_b))
		return -errno;
	/* Without the kernel's table of mounts there is nothing more to know. */
	if (find_spot(true_a, &spot_a) || find_spot(true_b, &spot_b))
		return IO_APART;
	return relate_spots(true_a, &spot_a, true_b, &spot_b);
}

int place_relate_names(const char *a, const char *b)
{
	struct spot spot_a, spot_b;
	char true_a[PATH_MAX];

	if (!realpath(a, true_a))
		return -errno;
	if (!strcmp(true_a, b))
		return IO_SAME;
	if (beneath(true_a, b) || beneath(b, true_a))
		return beneath(true_a, b) ? IO_INSIDE : IO_HOLDS;
	if (find_spot(true_a, &spot_a) || find_spot(b, &spot_b))
		return IO_APART;
	return relate_spots(true_a, &spot_a, b, &spot_b);
}

/* How often the kernel has told us that the table has changed.  What is unmounted and mounted again
 * may have the very same line in it, number and all, and then the text alone tells nothing. */
static uint64_t changes(void)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static struct pollfd table = { .fd = -1 };
	static uint64_t count;

	pthread_mutex_lock(&mutex);
	if (table.fd < 0)
		table = (struct pollfd){
			.fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC),
			.events = POLLPRI,
		};
	if (table.fd >= 0 && poll(&table, 1, 0) > 0 && table.revents & POLLPRI)
		count++;
	uint64_t now = count;
	pthread_mutex_unlock(&mutex);
	return now;
}

/* Without stdio, of which exit() disposes while a thread that is left behind may be here. */
uint64_t place_mounts(void)
{
	uint64_t hash = UINT64_C(14695981039346656037);     /* FNV-1a */
	uint8_t buffer[4096];
	ssize_t got;

	hash ^= changes();      /* first: what changes meanwhile is told the next time */
	int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && (got = read(fd, buffer, sizeof(buffer))) > 0)
		for (ssize_t i = 0; i < got; i++)
			hash = (hash ^ buffer[i]) * UINT64_C(1099511628211);
	if (fd >= 0)
		close(fd);
	return hash;
}

char *place_name(const char *path)
{
	char *part = strdup(path), *real = NULL, *name = NULL;
	size_t len = strlen(path);

	/* What is not there yet is named as it was given, beneath what is. */
	while (part && !(real = realpath(part, NULL)) && len > 0) {
		while (len > 0 && path[len - 1] != '/')
			len--;
		while (len > 0 && path[len - 1] == '/')
			len--;
		strcpy(part + len, len ? "" : "/");
	}
	const char *rest = path + len + strspn(path + len, "/");
	if (part && (!real || !*rest))
		name = strdup(real ? real : path);
	else if (part && asprintf(&name, "%s/%s", strcmp(real, "/") ? real : "", rest) < 0)
		name = NULL;
	free(real);
	free(part);
	return name;
}
