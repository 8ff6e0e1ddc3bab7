#include "config.h"
#include "forgotten.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "privilege.h"
#include "wire.h"

#define FILE_MAX (FORGOTTEN_MAX * (WIRE_REQUEST_MAX + 1))
#define HEADER "# rrdmergctl forget: files of the backup that will never appear in the live tree.\n"

struct list {
	char **pattern;
	size_t count;
};

struct forgotten {
	char *state_dir, *path, *next_path;
	pthread_mutex_t changing;       /* held by the one change under way, while it waits for the disk */
	pthread_mutex_t mutex;          /* for the list; never held while a disk is waited for */
	struct list list;
	struct reason unread;           /* why nothing can be changed */
};

static void drop(struct list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->pattern[i]);
	free(list->pattern);
	*list = (struct list){ 0 };
}

/* Copies it, all but number `without`, and appends `more` (NULL: nothing). */
static int copy(const struct list *from, size_t without, const char *more, struct list *ret)
{
	struct list list = { calloc(from->count + 1, sizeof(*list.pattern)), 0 };

	if (!list.pattern)
		return -ENOMEM;
	for (size_t i = 0; i <= from->count; i++) {
		const char *pattern = i < from->count ? from->pattern[i] : more;

		if (i == without || !pattern)
			continue;
		list.pattern[list.count] = strdup(pattern);
		if (!list.pattern[list.count]) {
			drop(&list);
			return -ENOMEM;
		}
		list.count++;
	}
	*ret = list;
	return 0;
}

static size_t find(const struct list *list, const char *pattern)
{
	size_t i = 0;

	while (i < list->count && strcmp(list->pattern[i], pattern))
		i++;
	return i;
}

/* ---- reading ---- */

static int take_lines(struct list *list, FILE *from, struct reason *why)
{
	char *line = NULL;
	size_t size = 0, number = 0;
	ssize_t length;
	int r = 0;

	while (!r && (length = getline(&line, &size, from)) > 0) {
		struct list longer;

		number++;
		if (line[length - 1] == '\n')
			line[--length] = '\0';
		if (!length || *line == '#')
			continue;
		if (strlen(line) != (size_t)length || wire_unescape(line) ||
		    list->count == FORGOTTEN_MAX) {
			reason_set(why, "line %zu is none that rrdmergctl has written", number);
			r = REFUSED;
			continue;
		}
		r = copy(list, list->count + 1, line, &longer);
		if (!r) {
			drop(list);
			*list = longer;
		}
	}
	if (!r && ferror(from))
		r = reason_errno(why, errno, "cannot be read");
	free(line);
	return r;
}

static int read_all(struct forgotten *forgotten, struct reason *why)
{
	int fd = open(forgotten->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	FILE *from;
	int r;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0)
		return reason_errno(why, errno, "cannot be read");
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
		close(fd);
		reason_set(why, "is none that rrdmergctl has written");
		return REFUSED;
	}
	from = fdopen(fd, "r");
	if (!from) {
		close(fd);
		return -ENOMEM;
	}
	r = take_lines(&forgotten->list, from, why);
	fclose(from);
	if (r)
		drop(&forgotten->list);
	return r;
}

int forgotten_open(const char *state_dir, struct forgotten **ret, struct reason *why)
{
	struct forgotten *forgotten = calloc(1, sizeof(*forgotten));
	int r = -ENOMEM;

	if (!forgotten)
		return r;
	pthread_mutex_init(&forgotten->changing, NULL);
	pthread_mutex_init(&forgotten->mutex, NULL);
	forgotten->state_dir = strdup(state_dir);
	if (asprintf(&forgotten->path, "%s/forgotten", state_dir) < 0)
		forgotten->path = NULL;
	if (asprintf(&forgotten->next_path, "%s/forgotten.new", state_dir) < 0)
		forgotten->next_path = NULL;
	if (forgotten->state_dir && forgotten->path && forgotten->next_path)
		r = read_all(forgotten, &forgotten->unread);
	if (r == -ENOMEM) {
		forgotten_free(forgotten);
		return r;
	}
	if (r)
		reason_set(why, "%s", forgotten->unread.text);
	*ret = forgotten;
	return r;
}

void forgotten_free(struct forgotten *forgotten)
{
	if (!forgotten)
		return;
	drop(&forgotten->list);
	free(forgotten->state_dir);
	free(forgotten->path);
	free(forgotten->next_path);
	pthread_mutex_destroy(&forgotten->changing);
	pthread_mutex_destroy(&forgotten->mutex);
	free(forgotten);
}

/* ---- asking ---- */

bool forgotten_matches(const char *pattern, const char *rel)
{
	return !fnmatch(pattern, rel, FNM_LEADING_DIR) || !fnmatch(pattern, rel, 0);
}

bool forgotten_is(const char *rel, void *arg)
{
	struct forgotten *forgotten = arg;
	bool is = false;

	pthread_mutex_lock(&forgotten->mutex);
	for (size_t i = 0; i < forgotten->list.count && !is; i++)
		is = forgotten_matches(forgotten->list.pattern[i], rel);
	pthread_mutex_unlock(&forgotten->mutex);
	return is;
}

char *forgotten_get(struct forgotten *forgotten, size_t n)
{
	pthread_mutex_lock(&forgotten->mutex);
	char *copied = n < forgotten->list.count ? strdup(forgotten->list.pattern[n]) : NULL;
	pthread_mutex_unlock(&forgotten->mutex);
	return copied;
}

/* ---- changing ---- */

static bool write_lines(const struct list *list, FILE *to)
{
	char line[WIRE_REQUEST_MAX * 4 + 1];

	fputs(HEADER, to);
	for (size_t i = 0; i < list->count; i++) {
		const char *pattern = list->pattern[i];
		bool comment = *pattern == '#';

		if (wire_value(line, sizeof(line), pattern + comment) < 0)
			return false;
		fprintf(to, "%s%s\n", comment ? "\\x23" : "", line);
	}
	return !fflush(to) && !ferror(to);
}

static int sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) && errno != EINVAL)
		r = -errno;
	close(fd);
	return r;
}

/* *ret_there: it is in its place, whether it is certain to be on disk or not. */
static int write_all(const struct forgotten *forgotten, const struct list *list, bool *ret_there,
		     struct reason *why)
{
	static const char *const ours[] = { "ledger", "control", "forgotten", NULL };
	struct privilege_user self;
	int r, fd;

	privilege_current(&self);
	r = privilege_own_directory(forgotten->state_dir, &self, ours, why);
	if (r)
		return r;
	unlink(forgotten->next_path);   /* of one that was killed */
	fd = open(forgotten->next_path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return reason_errno(why, errno, "cannot be written");
	FILE *to = fdopen(fd, "w");
	if (!to)
		close(fd);
	bool written = to && write_lines(list, to) && !fsync(fd);
	int error = errno;
	if (to && fclose(to) && written) {
		written = false;
		error = errno;
	}
	if (written && rename(forgotten->next_path, forgotten->path)) {
		written = false;
		error = errno;
	}
	if (!written) {
		unlink(forgotten->next_path);
		return reason_errno(why, error ? error : EIO, "cannot be written");
	}
	*ret_there = true;
	r = sync_directory(forgotten->state_dir);
	return r ? reason_errno(why, -r, "may not be on disk") : 0;
}

/* Caller holds `changing`: nobody else changes the list. */
static int change(struct forgotten *forgotten, const char *pattern, bool add, struct reason *why)
{
	struct list *list = &forgotten->list, next = { 0 };
	size_t at = find(list, pattern);
	bool there = false;
	int r;

	if (forgotten->unread.text[0]) {
		reason_set(why, "%s", forgotten->unread.text);
		return REFUSED;
	}
	if (add == (at < list->count))
		return add ? -EEXIST : -ENOENT;
	if (add && list->count == FORGOTTEN_MAX) {
		reason_set(why, "holds %d patterns, and no more are allowed: write one for many files",
			   FORGOTTEN_MAX);
		return REFUSED;
	}
	r = copy(list, add ? list->count + 1 : at, add ? pattern : NULL, &next);
	if (r)
		return reason_errno(why, -r, "cannot be written");
	r = write_all(forgotten, &next, &there, why);
	if (there) {
		pthread_mutex_lock(&forgotten->mutex);
		struct list old = *list;
		*list = next;
		pthread_mutex_unlock(&forgotten->mutex);
		next = old;
	}
	drop(&next);
	return r;
}

int forgotten_change(struct forgotten *forgotten, const char *pattern, bool add,
		     struct reason *why)
{
	int r;

	if (pthread_mutex_trylock(&forgotten->changing))
		return -EBUSY;
	r = change(forgotten, pattern, add, why);
	pthread_mutex_unlock(&forgotten->changing);
	return r;
}
