#include "config.h"
#include "suggest.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct suggest {
	const char *root;       /* the backup's */
	const char *live_name;  /* last part of the live root's path */
	char *const *rel;
	size_t count;
	size_t best_hits;
	char *best;
};

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Takes `dir` as the best so far where more live files stand beneath it than beneath the
 * others; between equals, the one that is named as the live root is. */
static void try_directory(struct suggest *suggest, const char *dir)
{
	struct stat st;
	size_t hits = 0;
	int root = io_open_root(dir);

	if (root < 0)
		return;
	for (size_t i = 0; i < suggest->count; i++)
		if (!fstatat(root, suggest->rel[i], &st, AT_SYMLINK_NOFOLLOW) &&
		    S_ISREG(st.st_mode))
			hits++;
	close(root);
	bool named = !strcmp(last_part(dir), suggest->live_name);
	if (hits > suggest->best_hits || (hits && hits == suggest->best_hits && named)) {
		char *copy = strdup(dir);

		if (!copy)
			return;
		free(suggest->best);
		suggest->best = copy;
		suggest->best_hits = hits;
	}
}

static int try_entry(const char *rel, enum io_kind kind, void *arg)
{
	struct suggest *suggest = arg;
	char path[PATH_MAX];

	if (kind == IO_DIR &&
	    snprintf(path, sizeof(path), "%s/%s", suggest->root, rel) < (int)sizeof(path))
		try_directory(suggest, path);
	return 0;
}

struct descend {
	int root;
	struct suggest *suggest;
};

static int try_below(const char *rel, enum io_kind kind, void *arg)
{
	struct descend *descend = arg;

	if (kind == IO_DIR) {
		try_entry(rel, kind, descend->suggest);
		io_list(descend->root, rel, try_entry, descend->suggest);
	}
	return 0;
}

static void try_above(struct suggest *suggest)
{
	char path[PATH_MAX];

	if (!realpath(suggest->root, path))
		return;
	for (int level = 0; level < 2; level++) {
		char *slash = strrchr(path, '/');

		if (!slash || slash == path)
			return;
		*slash = '\0';
		try_directory(suggest, path);
	}
}

char *suggest_backup(const struct source *source, const char *live_root, char *const *rel,
		     size_t count)
{
	struct suggest suggest = {
		.root = source->path,
		.live_name = last_part(live_root),
		.rel = rel,
		.count = count,
	};
	struct descend descend = { io_open_root(source->path), &suggest };

	if (descend.root >= 0) {
		io_list(descend.root, "", try_below, &descend);
		close(descend.root);
	}
	try_above(&suggest);
	return suggest.best;
}

/* Length of the first `levels` parts of the path with their slashes; 0 where it has no more. */
static size_t head_length(const char *rel, int levels)
{
	const char *at = rel;

	while (levels--) {
		at = strchr(at, '/');
		if (!at)
			return 0;
		at++;
	}
	return (size_t)(at - rel);
}

/* How many of the live files that stand beneath the same head as `like` the backup has without it. */
static size_t count_beneath(int root, const char *like, size_t len, char *const *rel, size_t count)
{
	struct stat st;
	size_t hits = 0;

	for (size_t i = 0; i < count; i++)
		if (!strncmp(rel[i], like, len) &&
		    !fstatat(root, rel[i] + len, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode))
			hits++;
	return hits;
}

char *suggest_live(const struct source *source, const char *live_root,
		   char *const *rel, size_t count)
{
	int root = io_open_root(source->path);
	const char *best = NULL, *seen = "";
	size_t best_len = 0, best_hits = 0, seen_len = 0;
	char *path = NULL;

	if (root < 0)
		return NULL;
	for (int levels = 1; levels <= 2; levels++)
		for (size_t i = 0; i < count; i++) {
			size_t len = head_length(rel[i], levels), hits;

			/* They are in order: what stands beneath the same head stands together. */
			if (!len || (len == seen_len && !strncmp(rel[i], seen, len)))
				continue;
			seen = rel[i];
			seen_len = len;
			hits = count_beneath(root, rel[i], len, rel, count);
			if (hits > best_hits) {
				best = rel[i];
				best_len = len;
				best_hits = hits;
			}
		}
	close(root);
	if (best && asprintf(&path, "%s/%.*s", live_root, (int)best_len - 1, best) < 0)
		path = NULL;
	return path;
}
