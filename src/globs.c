#include "config.h"
#include "globs.h"

#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct match {
	char *path;
	dev_t dev;
	ino_t ino;
	time_t mtime;
};

/* ---- one pattern ---- */

bool globs_is(const char *path)
{
	struct stat st;

	return strpbrk(path, "*?[") && lstat(path, &st);
}

/* glob(3) hands its function nothing of ours. */
static _Thread_local int first_error;

static int on_error(const char *path, int error)
{
	(void)path;
	if (!first_error && error != ENOENT && error != ENOTDIR)
		first_error = error;
	return 0;
}

/* Has what follows the first `fixed` bytes a number of four digits or more in each?  Such count
 * years, or upwards in any case; small ones, how old a copy is. */
static bool are_dated(const struct match *match, size_t count, size_t fixed)
{
	for (size_t i = 0; i < count; i++) {
		size_t digits = 0, longest = 0;

		for (const char *at = match[i].path + strnlen(match[i].path, fixed); *at; at++) {
			digits = isdigit((unsigned char)*at) ? digits + 1 : 0;
			longest = digits > longest ? digits : longest;
		}
		if (longest < 4)
			return false;
	}
	return true;
}

static int compare_matches(const void *a, const void *b, void *arg)
{
	const struct match *x = a, *y = b;
	const bool *dated = arg;

	if (x->mtime != y->mtime)
		return x->mtime > y->mtime ? -1 : 1;
	return *dated ? strverscmp(y->path, x->path) : strverscmp(x->path, y->path);
}

static void sort(struct match *match, size_t count, const char *pattern)
{
	size_t fixed = strcspn(pattern, "*?[");
	bool dated;

	while (fixed && pattern[fixed - 1] != '/')
		fixed--;
	dated = are_dated(match, count, fixed);
	qsort_r(match, count, sizeof(*match), compare_matches, &dated);
}

static bool is_its_own(const char *path)
{
	char *real = realpath(path, NULL);
	bool own = real && !strcmp(real, path);

	free(real);
	return own;
}

/* The directories among what was found, each once: a link to the latest copy is that copy, which
 * goes by its own name. */
static size_t take_matches(glob_t *found, struct match *match)
{
	size_t count = 0;

	for (size_t i = 0; i < found->gl_pathc; i++) {
		char *path = found->gl_pathv[i];
		struct stat st;
		size_t k = 0;

		if (stat(path, &st) || !S_ISDIR(st.st_mode))
			continue;
		while (k < count && (match[k].dev != st.st_dev || match[k].ino != st.st_ino))
			k++;
		if (k == count)
			match[count++] = (struct match){ path, st.st_dev, st.st_ino, st.st_mtime };
		else if (is_its_own(path))
			match[k].path = path;
	}
	return count;
}

static int copy_list(const struct match *match, size_t count, char ***ret)
{
	char **list = calloc(count + 1, sizeof(*list));

	for (size_t i = 0; list && i < count; i++) {
		list[i] = strdup(match[i].path);
		if (!list[i]) {
			globs_free(list, i);
			list = NULL;
		}
	}
	if (!list)
		return -ENOMEM;
	*ret = list;
	return 0;
}

int globs_expand(const char *given, char ***ret, size_t *ret_count, int *ret_error)
{
	struct match itself = { .path = (char *)(size_t)given }, *match = NULL;
	glob_t found = { 0 };
	size_t count = 0;
	int r = 0;

	first_error = 0;
	if (globs_is(given)) {
		r = glob(given, GLOB_ONLYDIR, on_error, &found);
		r = r == GLOB_NOSPACE ? -ENOMEM : 0;
		if (!r && found.gl_pathc) {
			match = calloc(found.gl_pathc, sizeof(*match));
			r = match ? 0 : -ENOMEM;
		}
	}
	if (match)
		count = take_matches(&found, match);
	if (count)
		sort(match, count, given);
	if (!r)
		r = copy_list(count ? match : &itself, count ? count : 1, ret);
	if (!r) {
		*ret_count = count ? count : 1;
		*ret_error = first_error;
	}
	free(match);
	globfree(&found);
	return r;
}

/* ---- a list ---- */

static bool same_directory(const char *a, const char *b)
{
	struct stat x, y;

	return !strcmp(a, b) || (!stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev &&
				 x.st_ino == y.st_ino);
}

struct list {
	char **path;
	size_t *from, count;
};

/* What is named by itself stays where that is, before or after a pattern that matches it too. */
static bool is_named(char *const *given, size_t givens, const char *path)
{
	for (size_t i = 0; i < givens; i++)
		if (!globs_is(given[i]) && same_directory(given[i], path))
			return true;
	return false;
}

/* Moves what is not there yet to the end of the list, and frees the rest. */
static int append(struct list *list, char **more, size_t mores, size_t from, bool pattern)
{
	size_t before = list->count, room = before + mores + 1;
	char **path = reallocarray(list->path, room, sizeof(*path));
	size_t *froms = reallocarray(list->from, room, sizeof(*froms));

	list->path = path ? path : list->path;
	list->from = froms ? froms : list->from;
	if (!path || !froms) {
		globs_free(more, mores);
		return -ENOMEM;
	}
	for (size_t i = 0; i < mores; i++) {
		size_t k = 0;

		while (pattern && k < before && !same_directory(path[k], more[i]))
			k++;
		if (pattern && k < before) {
			free(more[i]);
			continue;
		}
		froms[list->count] = from;
		path[list->count++] = more[i];
	}
	free(more);
	return 0;
}

static void leave_out_named(char *const *given, size_t givens, char **path, size_t *paths)
{
	size_t kept = 0;

	for (size_t i = 0; i < *paths; i++)
		if (is_named(given, givens, path[i]))
			free(path[i]);
		else
			path[kept++] = path[i];
	*paths = kept;
}

int globs_expand_all(char *const *given, size_t givens, char ***ret, size_t *ret_count,
		     size_t **ret_from)
{
	struct list list = { NULL, NULL, 0 };
	int r = 0;

	for (size_t i = 0; i < givens && !r; i++) {
		char **more;
		size_t mores;
		int error;

		r = globs_expand(given[i], &more, &mores, &error);
		if (r)
			break;
		bool pattern = strcmp(more[0], given[i]) || mores > 1;
		if (pattern)
			leave_out_named(given, givens, more, &mores);
		r = append(&list, more, mores, i, pattern);
	}
	if (r) {
		globs_free(list.path, list.count);
		free(list.from);
		return r;
	}
	*ret = list.path;
	*ret_count = list.count;
	if (ret_from)
		*ret_from = list.from;
	else
		free(list.from);
	return 0;
}

bool globs_same(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
	bool same = a_count == b_count;

	for (size_t i = 0; same && i < a_count; i++)
		same = !strcmp(a[i], b[i]);
	return same;
}

bool globs_same_set(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
	bool same = a_count == b_count;

	for (size_t i = 0; same && i < a_count; i++) {
		size_t k = 0;

		while (k < b_count && strcmp(a[i], b[k]))
			k++;
		same = k < b_count;
	}
	return same;
}

void globs_free(char **list, size_t count)
{
	for (size_t i = 0; list && i < count; i++)
		free(list[i]);
	free(list);
}
