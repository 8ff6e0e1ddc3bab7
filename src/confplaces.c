#include "config.h"
#include "confint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>

#include "globs.h"
#include "io.h"
#include "place.h"

/* It must not be asked anything. */
static bool hangs(const struct reading *r, const char *path)
{
	for (size_t i = 0; i < r->hangings; i++)
		if (!strcmp(r->hanging[i], path))
			return true;
	return false;
}

static void look_at(struct reading *r, const struct place *place)
{
	struct stat st;

	if (hangs(r, place->path))
		return;
	if (stat(place->path, &st) == 0) {
		if (!S_ISDIR(st.st_mode))
			conf_report(r, LOG_ERR, place->at, "\"%s\" is not a directory: %s; "
			       "name the directory that holds the RRD files", place->key,
			       place->path);
	} else if (errno == ENOENT) {
		conf_report(r, LOG_WARNING, place->at, "\"%s\" does not exist yet: %s; "
		       "check the path, or create it", place->key, place->path);
	} else {
		bool closed = errno == EACCES;

		conf_report(r, closed ? LOG_WARNING : LOG_ERR, place->at, "\"%s\" cannot be %s: "
		       "%s: %s; %s", place->key, closed ? "reached" : "used", place->path,
		       strerror(errno), closed ? "let the user read it as whom this runs"
		       : "check the path");
	}
}

/* How `a` stands to `b` going by their names alone. */
static int relate_names(const char *a, const char *b)
{
	for (;;) {
		size_t a_len, b_len;

		a += strspn(a, "/");
		b += strspn(b, "/");
		a_len = strcspn(a, "/");
		b_len = strcspn(b, "/");
		if (!a_len || !b_len)
			return a_len ? IO_INSIDE : b_len ? IO_HOLDS : IO_SAME;
		if (a_len != b_len || memcmp(a, b, a_len) != 0)
			return IO_APART;
		a += a_len;
		b += b_len;
	}
}

/* The trouble is told of where `a` stands. */
static void check_apart(struct reading *r, const struct place *a, const struct place *b)
{
	const struct place *inner = a, *outer = b;
	bool asked = !hangs(r, a->path) && !hangs(r, b->path);
	int relation = asked ? place_relate(a->path, b->path) : -EAGAIN;

	if (relation < 0)       /* one of them is not there yet, or hangs */
		relation = relate_names(a->path, b->path);
	if (relation == IO_HOLDS) {
		inner = b;
		outer = a;
	}
	if (relation == IO_SAME)
		conf_report(r, LOG_ERR, a->at, "\"%s\" %s and \"%s\" %s are the same directory; %s",
		       b->key, b->path, a->key, a->path,
		       strcmp(a->key, b->key) == 0 ? "name it once"
		       : "name the restored copy, not the live tree, as backup");
	else if (relation != IO_APART)
		conf_report(r, LOG_ERR, a->at, "\"%s\" %s lies inside \"%s\" %s; "
		       "use directories that do not hold one another", inner->key,
		       inner->path, outer->key, outer->path);
}

/* ---- the backups, and what their patterns stand for ---- */

static void report_no_match(struct reading *r, const struct place *given)
{
	char **list;
	size_t count;
	int error;

	if (globs_expand(given->path, &list, &count, &error))
		return;
	globs_free(list, count);
	if (error)
		conf_report(r, LOG_WARNING, given->at, "\"%s\" matches nothing that can be "
			    "reached: %s: %s; let the user read the directories on the way as whom this "
			    "runs", given->key, given->path, strerror(error));
	else
		conf_report(r, LOG_WARNING, given->at, "\"%s\" matches no directory yet: %s; check "
			    "the pattern, or create one", given->key, given->path);
}

static void check_backups(struct reading *r, const size_t *from)
{
	for (size_t i = 0; i < r->conf.backups; i++) {
		struct place backup = r->given[from[i]];

		if (globs_is(backup.path) && !strcmp(backup.path, r->conf.backup[i])) {
			if (!hangs(r, backup.path))
				report_no_match(r, &backup);
			continue;
		}
		backup.path = r->conf.backup[i];
		look_at(r, &backup);
		if (r->live.path)
			check_apart(r, &backup, &r->live);
		for (size_t j = 0; j < i; j++) {
			struct place other = r->given[from[j]];

			/* What one pattern has matched, it was meant to match. */
			if (from[i] == from[j])
				continue;
			other.path = r->conf.backup[j];
			check_apart(r, &backup, &other);
		}
	}
}

static void report_too_many(struct reading *r, const struct place *given)
{
	conf_report(r, LOG_ERR, given->at, "\"backup\" stands for %zu directories, and more than %d are "
		    "too many: %s; name fewer, or narrow the pattern", r->conf.backups,
		    CONF_BACKUPS_MAX, given->path);
}

/* Puts what hangs in its place among what the others stand for.  Takes the strings over. */
static int put_in_place(struct reading *r, char **path, size_t paths, const size_t *from,
			size_t **ret_from)
{
	struct conf *conf = &r->conf;
	size_t at = 0, nth = 0;         /* of the paths; among those that do not hang */

	conf->backup = calloc(paths + conf->givens + 1, sizeof(*conf->backup));
	*ret_from = calloc(paths + conf->givens + 1, sizeof(**ret_from));
	if (!conf->backup || !*ret_from)
		return -ENOMEM;
	for (size_t i = 0; i < conf->givens; i++) {
		bool silent = hangs(r, conf->given[i]);
		char *copy = silent ? strdup(conf->given[i]) : NULL;

		if (silent && !copy)
			return -ENOMEM;
		if (silent) {
			(*ret_from)[conf->backups] = i;
			conf->backup[conf->backups++] = copy;
			continue;
		}
		for (; at < paths && from[at] == nth; at++) {
			(*ret_from)[conf->backups] = i;
			conf->backup[conf->backups++] = path[at];
			path[at] = NULL;
		}
		nth++;
	}
	return 0;
}

/* What hangs stays what it is.  0 or -ENOMEM. */
static int expand(struct reading *r, size_t **ret_from)
{
	struct conf *conf = &r->conf;
	size_t count = 0, paths = 0, *from = NULL;
	char **path = NULL;

	if (!r->hangings)
		return globs_expand_all(conf->given, conf->givens, &conf->backup, &conf->backups,
					ret_from);
	char **given = calloc(conf->givens + 1, sizeof(*given));
	for (size_t i = 0; given && i < conf->givens; i++)
		if (!hangs(r, conf->given[i]))
			given[count++] = conf->given[i];
	int error = given ? globs_expand_all(given, count, &path, &paths, &from) : -ENOMEM;
	if (!error)
		error = put_in_place(r, path, paths, from, ret_from);
	globs_free(path, paths);
	free(given);
	free(from);
	return error;
}

static void take_unseen(struct reading *r)
{
	struct conf *conf = &r->conf;

	conf->backup = calloc(conf->givens + 1, sizeof(*conf->backup));
	while (conf->backup && conf->backups < conf->givens) {
		char *copy = strdup(conf->given[conf->backups]);

		if (!copy)
			break;
		conf->backup[conf->backups++] = copy;
	}
	if (!conf->backup || conf->backups < conf->givens)
		r->no_memory = true;
}

void conf_check_places(struct reading *r)
{
	struct conf *conf = &r->conf;
	size_t *from = NULL;

	if (r->unseen) {
		take_unseen(r);
		return;
	}
	if (r->live.path)
		look_at(r, &r->live);
	if (expand(r, &from))
		r->no_memory = true;
	else if (conf->backups > CONF_BACKUPS_MAX)
		report_too_many(r, &r->given[from[CONF_BACKUPS_MAX]]);
	else
		check_backups(r, from);
	free(from);
}
