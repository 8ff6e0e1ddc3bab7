/* scratch: a directory of a test's own, paths in it, and its removal. */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *scratch_dir;

static inline int scratch_make(void)
{
	const char *tmp = getenv("TMPDIR");

	if (asprintf(&scratch_dir, "%s/unit-XXXXXX", tmp && *tmp ? tmp : "/tmp") < 0)
		return -1;
	return mkdtemp(scratch_dir) ? 0 : -1;
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int kind,
				     struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

struct scratch_path {
	struct scratch_path *next;
	char path[];
};

static struct scratch_path *scratch_paths;

/* A path in the directory, good until that is removed. */
static inline const char *scratch(const char *rel)
{
	size_t size = strlen(scratch_dir) + 1 + strlen(rel) + 1;
	struct scratch_path *at = scratch_paths;

	while (at && strcmp(at->path + strlen(scratch_dir) + 1, rel))
		at = at->next;
	if (at)
		return at->path;
	at = malloc(sizeof(*at) + size);
	if (!at)
		abort();
	snprintf(at->path, size, "%s/%s", scratch_dir, rel);
	at->next = scratch_paths;
	scratch_paths = at;
	return at->path;
}

static inline int scratch_remove(void)
{
	int r = nftw(scratch_dir, scratch_remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);

	free(scratch_dir);
	scratch_dir = NULL;
	while (scratch_paths) {
		struct scratch_path *next = scratch_paths->next;

		free(scratch_paths);
		scratch_paths = next;
	}
	return r;
}

/* The same for cmocka. */
static inline int scratch_setup(void **state)
{
	(void)state;
	return scratch_make();
}

static inline int scratch_teardown(void **state)
{
	(void)state;
	return scratch_remove();
}

#endif
