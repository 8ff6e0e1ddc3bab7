#include "config.h"
#include "conf.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "log.h"

#define STATE_DIR "/var/lib/rrdmergd"
#define SOCKET "/run/rrdmergd/control.sock"
#define WORKERS_MAX 64
#define WORKERS_DEFAULT_MAX 4
#define TEXT_MAX (1u << 20)     /* bytes, included files and all */
#define INCLUDE_DEPTH 10

/* A line of the text that libconfig sees comes from this line of this file. */
struct origin {
	size_t file;
	unsigned line;
};

/* A directory that the configuration names. */
struct place {
	const char *key;
	struct origin at;
	char *path;             /* as written, without slashes at the end */
	char *real;             /* the same with links resolved, as far as it exists */
};

struct reading {
	conf_report_fn *report;
	void *arg;
	bool failed;            /* an error was reported */
	bool no_memory;
	/* The text, @include expanded. */
	char *text;
	size_t len, capacity;
	char **file;
	size_t files;
	struct origin *origin;
	size_t lines, line_capacity;
	enum { CODE, STRING, LINE_COMMENT, BLOCK_COMMENT } state;
	/* What was found in it. */
	bool live_given, backup_given;
	struct place live;
	struct place *backup;
	size_t backups;
	struct conf conf;
};

/* ---- messages ---- */

static void report(struct reading *r, int priority, struct origin at, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* `at.line` 0: the file as a whole. */
static void report(struct reading *r, int priority, struct origin at, const char *format, ...)
{
	char name[LOG_PATH_SIZE], *what = NULL, *message = NULL;
	va_list args;
	int len;

	if (priority == LOG_ERR)
		r->failed = true;
	va_start(args, format);
	if (vasprintf(&what, format, args) < 0)
		what = NULL;
	va_end(args);
	log_escape(name, sizeof(name), r->file[at.file]);
	if (at.line)
		len = asprintf(&message, "%s:%u: %s", name, at.line, what ? what : "");
	else
		len = asprintf(&message, "%s: %s", name, what ? what : "");
	if (len < 0 || !what)
		r->no_memory = true;
	else
		r->report(priority, message, r->arg);
	if (len >= 0)
		free(message);
	free(what);
}

/* A path or a value as it may stand in a message; one at a time. */
struct shown {
	char text[LOG_PATH_SIZE];
};

static const char *show(struct shown *shown, const char *text)
{
	return log_escape(shown->text, sizeof(shown->text), text);
}

/* ---- the text ---- */

static void *grow(struct reading *r, void *array, size_t *capacity, size_t need, size_t size)
{
	size_t more = *capacity ? *capacity : 64;
	void *grown;

	if (need <= *capacity)
		return array;
	while (more < need)
		more *= 2;
	grown = reallocarray(array, more, size);
	if (!grown) {
		r->no_memory = true;
		return NULL;
	}
	*capacity = more;
	return grown;
}

static int append(struct reading *r, const char *bytes, size_t len)
{
	char *grown = grow(r, r->text, &r->capacity, r->len + len + 1, 1);

	if (!grown)
		return -ENOMEM;
	r->text = grown;
	memcpy(r->text + r->len, bytes, len);
	r->len += len;
	r->text[r->len] = '\0';
	return 0;
}

static int add_origin(struct reading *r, struct origin at)
{
	struct origin *grown = grow(r, r->origin, &r->line_capacity, r->lines + 1,
				    sizeof(*r->origin));

	if (!grown)
		return -ENOMEM;
	r->origin = grown;
	r->origin[r->lines++] = at;
	return 0;
}

/* Where a line of the text that libconfig saw came from. */
static struct origin origin_of(const struct reading *r, unsigned line)
{
	struct origin whole = { 0, 0 };

	if (!line || !r->lines)
		return whole;
	return r->origin[line <= r->lines ? line - 1 : r->lines - 1];
}

static int add_file(struct reading *r, const char *path, size_t *ret_file)
{
	char **grown = reallocarray(r->file, r->files + 1, sizeof(*r->file));
	char *copy = strdup(path);

	if (grown)
		r->file = grown;
	if (!grown || !copy) {
		free(copy);
		r->no_memory = true;
		return -ENOMEM;
	}
	*ret_file = r->files;
	r->file[r->files++] = copy;
	return 0;
}

/* Says what is wrong with a file as a whole: where it is included, or of itself. */
static void report_file(struct reading *r, struct origin at, const char *path, const char *what)
{
	struct shown shown;

	if (at.line)
		report(r, LOG_ERR, at, "%s %s", show(&shown, path), what);
	else
		report(r, LOG_ERR, at, "%s", what);
}

static void report_unreadable(struct reading *r, struct origin at, const char *path, int error)
{
	char what[128];

	snprintf(what, sizeof(what), "cannot be read: %s; %s", strerror(error),
		 error == EACCES ? "let the user read it as whom this runs"
		 : "check the path");
	report_file(r, at, path, what);
}

/* Reads a whole file.  `at` is where to report: the file, or the @include that names it. */
static int slurp(struct reading *r, const char *path, struct origin at, char **ret_text,
		 size_t *ret_len)
{
	struct stat st;
	char *text = NULL;
	size_t len = 0;
	ssize_t got = 1;
	int error = EINVAL;
	/* Not to hang where it is a FIFO. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 || fstat(fd, &st) < 0) {
		error = errno;
		report_unreadable(r, at, path, error);
		goto out;
	}
	if (S_ISDIR(st.st_mode)) {
		error = EISDIR;
		report_file(r, at, path, "is a directory; name a file");
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		report_file(r, at, path, "is not a regular file; name a file");
		goto out;
	}
	text = malloc(TEXT_MAX + 1);
	if (!text) {
		error = ENOMEM;
		r->no_memory = true;
		goto out;
	}
	while (got > 0 && len <= TEXT_MAX) {
		got = read(fd, text + len, TEXT_MAX + 1 - len);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got > 0)
			len += (size_t)got;
	}
	if (got < 0) {
		error = errno;
		report_unreadable(r, at, path, error);
	} else if (r->len + len > TEXT_MAX) {
		report_file(r, at, path, "is too large for a configuration; name another file");
	} else if (memchr(text, '\0', len)) {
		report_file(r, at, path, "is not a text file; name another file");
	} else {
		error = 0;
		*ret_text = text;
		*ret_len = len;
		text = NULL;
	}
out:
	free(text);
	if (fd >= 0)
		close(fd);
	return -error;
}

static int expand(struct reading *r, size_t file, char *text, size_t len, unsigned depth);

/* Includes are read here and not by libconfig: 1.5 ends the whole program where one names a
 * directory, and puts its include directory even before an absolute path.  A relative one is
 * taken from the directory of the file that includes it. */
static int include(struct reading *r, const char *name, struct origin at, unsigned depth)
{
	const char *base = r->file[at.file], *slash = strrchr(base, '/');
	char *path = NULL, *text = NULL;
	size_t file, len;
	int rc;

	if (name[0] == '/' || !slash)
		rc = asprintf(&path, "%s", name);
	else
		rc = asprintf(&path, "%.*s/%s", (int)(slash - base), base, name);
	if (rc < 0) {
		r->no_memory = true;
		return -ENOMEM;
	}
	if (depth >= INCLUDE_DEPTH) {
		report(r, LOG_ERR, at, "files include one another more than %d deep; "
		       "take an @include out", INCLUDE_DEPTH);
		rc = -EINVAL;
		goto out;
	}
	rc = slurp(r, path, at, &text, &len);
	if (rc) {
		rc = rc == -ENOMEM ? rc : -EINVAL;      /* the configuration as such could be read */
		goto out;
	}
	rc = add_file(r, path, &file);
	if (!rc)
		rc = expand(r, file, text, len, depth + 1);
out:
	free(text);
	free(path);
	return rc;
}

/* The file that an @include at `line` names, cut out of it in place; NULL where it is none.
 * *ret_rest is what follows, NULL where the closing quote is missing.  (libconfig's scanner.l:
 * at the start of a line, in quotes.) */
static char *include_name(char *line, char **ret_rest)
{
	char *s = line + strspn(line, " \t"), *name, *out;

	if (strncmp(s, "@include", 8) != 0 || (s[8] != ' ' && s[8] != '\t'))
		return NULL;
	s += 8 + strspn(s + 8, " \t");
	if (*s != '"')
		return NULL;
	name = out = ++s;
	for (; *s && *s != '"'; s++) {
		if (*s == '\\' && (s[1] == '\\' || s[1] == '"'))
			s++;
		*out++ = *s;
	}
	*ret_rest = *s ? s + 1 : NULL;
	*out = '\0';
	return name;
}

/* Follows libconfig's scanner over a line, as to comments and strings. */
static void follow(struct reading *r, const char *s)
{
	for (; *s; s++) {
		switch (r->state) {
		case CODE:
			if (*s == '"')
				r->state = STRING;
			else if (*s == '#' || (s[0] == '/' && s[1] == '/'))
				r->state = LINE_COMMENT;
			else if (s[0] == '/' && s[1] == '*' && s++)
				r->state = BLOCK_COMMENT;
			break;
		case STRING:
			if (s[0] == '\\' && s[1])
				s++;
			else if (*s == '"')
				r->state = CODE;
			break;
		case BLOCK_COMMENT:
			if (s[0] == '*' && s[1] == '/' && s++)
				r->state = CODE;
			break;
		case LINE_COMMENT:
			return;
		}
	}
}

/* Appends a file's text line by line, with what it includes. */
static int expand(struct reading *r, size_t file, char *text, size_t len, unsigned depth)
{
	struct origin at = { file, 0 };
	char *end, *rest = NULL;
	int rc = 0;

	text[len] = '\0';       /* there is room for it: slurp() */
	for (char *line = text; !rc && line < text + len; line = end + 1) {
		char *name = NULL;

		end = strchrnul(line, '\n');
		*end = '\0';
		at.line++;
		if (r->state == CODE)
			name = include_name(line, &rest);
		if (name && !rest) {
			report(r, LOG_ERR, at, "@include lacks its closing quote; add it");
			rc = -EINVAL;
			break;
		}
		if (name) {
			rc = include(r, name, at, depth);
			line = rest;
		}
		follow(r, line);
		if (r->state == LINE_COMMENT)
			r->state = CODE;
		if (!rc)
			rc = add_origin(r, at);
		if (!rc)
			rc = append(r, line, strlen(line));
		if (!rc)
			rc = append(r, "\n", 1);
	}
	return rc;
}

/* ---- the values ---- */

static const char *type_name(const config_setting_t *s)
{
	switch (config_setting_type(s)) {
	case CONFIG_TYPE_GROUP:  return "a group";
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:  return "a number";
	case CONFIG_TYPE_FLOAT:  return "a number with a fraction";
	case CONFIG_TYPE_STRING: return "a string";
	case CONFIG_TYPE_BOOL:   return "true or false";
	case CONFIG_TYPE_ARRAY:
	case CONFIG_TYPE_LIST:   return "a list";
	default:                 return "nothing";
	}
}

static struct origin origin_of_setting(const struct reading *r, const config_setting_t *s)
{
	return origin_of(r, (unsigned)config_setting_source_line(s));
}

/* An absolute path without slashes at its end; NULL where it is none, and reported. */
static char *take_path(struct reading *r, const config_setting_t *s, const char *key,
		       const char *example)
{
	struct origin at = origin_of_setting(r, s);
	struct shown shown;
	const char *text;
	char *path;
	size_t len;

	if (config_setting_type(s) != CONFIG_TYPE_STRING) {
		report(r, LOG_ERR, at, "\"%s\" is %s and must be a path in quotes; "
		       "write it like %s = \"%s\";", key, type_name(s), key, example);
		return NULL;
	}
	text = config_setting_get_string(s);
	if (!text || !*text) {
		report(r, LOG_ERR, at, "\"%s\" is empty; put the path there, like "
		       "%s = \"%s\";", key, key, example);
		return NULL;
	}
	if (*text != '/') {
		report(r, LOG_ERR, at, "\"%s\" is a relative path: %s; "
		       "write the whole path, beginning with /", key, show(&shown, text));
		return NULL;
	}
	len = strlen(text);
	while (len > 1 && text[len - 1] == '/')
		len--;
	path = strndup(text, len);
	if (!path)
		r->no_memory = true;
	return path;
}

#define LIVE_EXAMPLE "/var/lib/pnp4nagios/perfdata"
#define BACKUP_EXAMPLE "/srv/restore/perfdata"

static void take_live(struct reading *r, const config_setting_t *s)
{
	r->live_given = true;
	r->live.key = "live";
	r->live.at = origin_of_setting(r, s);
	r->live.path = take_path(r, s, "live", LIVE_EXAMPLE);
}

static void report_empty_backup(struct reading *r, const config_setting_t *s)
{
	report(r, LOG_ERR, origin_of_setting(r, s), "\"backup\" is empty; put the path of the "
	       "restored RRD files there, like backup = \"%s\";", BACKUP_EXAMPLE);
}

static void add_backup(struct reading *r, const config_setting_t *s)
{
	struct place place = { "backup", origin_of_setting(r, s), NULL, NULL };
	struct place *grown;
	const char *text = config_setting_get_string(s);

	if (config_setting_type(s) == CONFIG_TYPE_STRING && (!text || !*text)) {
		report_empty_backup(r, s);
		return;
	}
	place.path = take_path(r, s, "backup", BACKUP_EXAMPLE);
	if (!place.path)
		return;
	grown = reallocarray(r->backup, r->backups + 1, sizeof(*grown));
	if (!grown) {
		free(place.path);
		r->no_memory = true;
		return;
	}
	r->backup = grown;
	r->backup[r->backups++] = place;
}

static void take_backup(struct reading *r, const config_setting_t *s)
{
	int length;

	r->backup_given = true;
	if (!config_setting_is_array(s) && !config_setting_is_list(s)) {
		add_backup(r, s);
		return;
	}
	length = config_setting_length(s);
	if (!length)
		report_empty_backup(r, s);
	for (int i = 0; i < length; i++)
		add_backup(r, config_setting_get_elem(s, (unsigned)i));
}

static void take_workers(struct reading *r, const config_setting_t *s)
{
	struct origin at = origin_of_setting(r, s);
	long long n;

	if (config_setting_type(s) != CONFIG_TYPE_INT
	    && config_setting_type(s) != CONFIG_TYPE_INT64) {
		report(r, LOG_ERR, at, "\"workers\" is %s and must be a whole number; "
		       "write it like workers = 2;", type_name(s));
		return;
	}
	n = config_setting_get_int64(s);
	if (n < 1 || n > WORKERS_MAX)
		report(r, LOG_ERR, at, "\"workers\" is %lld and out of range; use 1 to %d", n,
		       WORKERS_MAX);
	else
		r->conf.workers = (unsigned)n;
}

static void take_state_dir(struct reading *r, const config_setting_t *s)
{
	r->conf.state_dir = take_path(r, s, "state_dir", STATE_DIR);
}

static void take_socket(struct reading *r, const config_setting_t *s)
{
	struct sockaddr_un address;

	r->conf.socket = take_path(r, s, "socket", SOCKET);
	if (r->conf.socket && strlen(r->conf.socket) >= sizeof(address.sun_path))
		report(r, LOG_ERR, origin_of_setting(r, s), "\"socket\" is longer than the %zu "
		       "bytes that a socket's path may have; use a shorter path",
		       sizeof(address.sun_path) - 1);
}

static void take_facility(struct reading *r, const config_setting_t *s)
{
	struct origin at = origin_of_setting(r, s);
	struct shown shown;

	if (config_setting_type(s) != CONFIG_TYPE_STRING) {
		report(r, LOG_ERR, at, "\"facility\" is %s and must be a name in quotes; "
		       "write it like facility = \"daemon\";", type_name(s));
		return;
	}
	r->conf.facility = log_facility(config_setting_get_string(s));
	if (r->conf.facility < 0)
		report(r, LOG_ERR, at, "\"facility\" names no facility of syslog: \"%s\"; "
		       "use \"daemon\", \"user\" or \"local0\" to \"local7\"",
		       show(&shown, config_setting_get_string(s)));
}

static const struct {
	const char *name;
	void (*take)(struct reading *r, const config_setting_t *s);
} key[] = {
	{ "live", take_live },
	{ "backup", take_backup },
	{ "workers", take_workers },
	{ "state_dir", take_state_dir },
	{ "socket", take_socket },
	{ "facility", take_facility },
};
#define KEYS (sizeof(key) / sizeof(key[0]))

/* How many letters must be changed, put in or left out to make one word of the other; words
 * of 31 letters at most. */
static size_t distance(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b), row[32];

	if (la > 31 || lb > 31)
		return SIZE_MAX;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t best = diagonal
				+ (tolower((unsigned char)a[i - 1]) != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[lb];
}

static void report_unknown(struct reading *r, const config_setting_t *s)
{
	const char *name = config_setting_name(s);
	size_t nearest = 0, least = SIZE_MAX;
	struct shown shown;

	for (size_t i = 0; i < KEYS; i++) {
		size_t d = distance(name, key[i].name);

		if (d < least) {
			least = d;
			nearest = i;
		}
	}
	if (least * 2 <= strlen(key[nearest].name))
		report(r, LOG_ERR, origin_of_setting(r, s), "unknown key \"%s\"; did you mean "
		       "\"%s\"?", show(&shown, name), key[nearest].name);
	else
		report(r, LOG_ERR, origin_of_setting(r, s), "unknown key \"%s\"; take it out, "
		       "or see rrdmergd.conf(5) for those there are", show(&shown, name));
}

static void take_settings(struct reading *r, const config_setting_t *root)
{
	int length = config_setting_length(root);

	for (int i = 0; i < length; i++) {
		const config_setting_t *s = config_setting_get_elem(root, (unsigned)i);
		size_t k = 0;

		while (k < KEYS && strcmp(config_setting_name(s), key[k].name) != 0)
			k++;
		if (k < KEYS)
			key[k].take(r, s);
		else
			report_unknown(r, s);
	}
	if (!r->live_given)
		report(r, LOG_ERR, (struct origin){ 0, 0 }, "\"live\" is missing; add a line "
		       "like live = \"%s\";", LIVE_EXAMPLE);
	if (!r->backup_given)
		report(r, LOG_ERR, (struct origin){ 0, 0 }, "\"backup\" is missing; add a line "
		       "like backup = \"%s\";", BACKUP_EXAMPLE);
}

/* ---- the directories ---- */

/* Resolves what exists of `path`; the rest of it is appended as it stands. */
static char *resolve(struct reading *r, const char *path)
{
	char *head = strdup(path), *real = NULL, *joined = NULL;
	size_t len = strlen(path);

	while (head && !real) {
		head[len] = '\0';
		real = len ? realpath(head, NULL) : strdup("/");
		if (real || !len)
			break;
		while (len && path[len - 1] != '/')
			len--;
		while (len && path[len - 1] == '/')
			len--;
	}
	if (!real || asprintf(&joined, "%s%s", path[len] && !real[1] ? "" : real,
			      path + len) < 0) {
		joined = NULL;
		r->no_memory = true;
	}
	free(head);
	free(real);
	return joined;
}

static void look_at(struct reading *r, struct place *place)
{
	struct shown shown;
	struct stat st;

	place->real = resolve(r, place->path);
	show(&shown, place->path);
	if (stat(place->path, &st) == 0) {
		if (!S_ISDIR(st.st_mode))
			report(r, LOG_ERR, place->at, "\"%s\" is not a directory: %s; "
			       "name the directory that holds the RRD files", place->key,
			       shown.text);
	} else if (errno == ENOENT) {
		report(r, LOG_WARNING, place->at, "\"%s\" does not exist yet: %s; "
		       "check the path, or create it", place->key, shown.text);
	} else if (errno == EACCES) {
		report(r, LOG_WARNING, place->at, "\"%s\" cannot be reached: %s: %s; let the "
		       "user read it as whom this runs", place->key, shown.text,
		       strerror(errno));
	} else {
		report(r, LOG_ERR, place->at, "\"%s\" cannot be used: %s: %s; "
		       "check the path", place->key, shown.text, strerror(errno));
	}
}

enum relation { APART, SAME, INSIDE };

/* How `inner` stands to `outer`: by their paths without links, and, since one directory can be
 * mounted in two places, by the identity of each directory on the way up. */
static enum relation relate(struct reading *r, const struct place *inner,
			    const struct place *outer)
{
	size_t len = strlen(outer->real);
	enum relation relation = SAME;
	struct stat outer_st, st;
	char *path;

	if (strcmp(inner->real, outer->real) == 0)
		return SAME;
	if (strcmp(outer->real, "/") == 0
	    || (strncmp(inner->real, outer->real, len) == 0 && inner->real[len] == '/'))
		return INSIDE;
	if (stat(outer->real, &outer_st) < 0)
		return APART;
	path = strdup(inner->real);
	if (!path) {
		r->no_memory = true;
		return APART;
	}
	while (stat(*path ? path : "/", &st) < 0 || st.st_dev != outer_st.st_dev
	       || st.st_ino != outer_st.st_ino) {
		if (!*path) {
			relation = APART;
			break;
		}
		*strrchr(path, '/') = '\0';
		relation = INSIDE;
	}
	free(path);
	return relation;
}

/* `a` stands later in the configuration, and is where the trouble is told of. */
static void check_apart(struct reading *r, const struct place *a, const struct place *b)
{
	struct shown one, two;
	const struct place *inner = a, *outer = b;
	enum relation relation;

	if (!a->real || !b->real)
		return;
	relation = relate(r, a, b);
	if (relation == APART) {
		inner = b;
		outer = a;
		relation = relate(r, b, a);
	}
	if (relation == SAME)
		report(r, LOG_ERR, a->at, "\"%s\" %s and \"%s\" %s are the same directory; %s",
		       b->key, show(&one, b->path), a->key, show(&two, a->path),
		       strcmp(a->key, b->key) == 0 ? "name it once"
		       : "name the restored copy, not the live tree, as backup");
	else if (relation == INSIDE)
		report(r, LOG_ERR, a->at, "\"%s\" %s lies inside \"%s\" %s; "
		       "use directories that do not hold one another", inner->key,
		       show(&one, inner->path), outer->key, show(&two, outer->path));
}

static void check_places(struct reading *r)
{
	if (r->live.path)
		look_at(r, &r->live);
	for (size_t i = 0; i < r->backups; i++) {
		look_at(r, &r->backup[i]);
		check_apart(r, &r->backup[i], &r->live);
		for (size_t j = 0; j < i; j++)
			check_apart(r, &r->backup[i], &r->backup[j]);
	}
}

/* ---- the whole ---- */

static unsigned default_workers(void)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	if (online < 1)
		return 1;
	return online > WORKERS_DEFAULT_MAX ? WORKERS_DEFAULT_MAX : (unsigned)online;
}

/* Moves what was read into the configuration and puts the defaults in. */
static int finish(struct reading *r)
{
	struct conf *conf = &r->conf;

	if (!conf->state_dir)
		conf->state_dir = strdup(STATE_DIR);
	if (!conf->socket)
		conf->socket = strdup(SOCKET);
	conf->backup = calloc(r->backups, sizeof(*conf->backup));
	if (!conf->state_dir || !conf->socket || !conf->backup)
		return -ENOMEM;
	conf->live = r->live.path;
	r->live.path = NULL;
	for (; conf->backups < r->backups; conf->backups++) {
		conf->backup[conf->backups] = r->backup[conf->backups].path;
		r->backup[conf->backups].path = NULL;
	}
	return 0;
}

static void reading_free(struct reading *r)
{
	for (size_t i = 0; i < r->files; i++)
		free(r->file[i]);
	for (size_t i = 0; i < r->backups; i++) {
		free(r->backup[i].path);
		free(r->backup[i].real);
	}
	free(r->live.path);
	free(r->live.real);
	free(r->backup);
	free(r->file);
	free(r->origin);
	free(r->text);
	conf_free(&r->conf);
}

static int read_text(struct reading *r, const char *path)
{
	struct origin whole = { 0, 0 };
	char *text = NULL;
	size_t len;
	int rc = add_file(r, path, &whole.file);

	if (!rc)
		rc = slurp(r, path, whole, &text, &len);
	if (!rc)
		rc = append(r, "", 0);
	if (!rc)
		rc = expand(r, whole.file, text, len, 0);
	free(text);
	return rc;
}

static void report_syntax(struct reading *r, const config_t *parsed)
{
	const char *text = config_error_text(parsed);

	report(r, LOG_ERR, origin_of(r, (unsigned)config_error_line(parsed)), "%s; %s", text,
	       strstr(text, "duplicate") ? "take one of the two out"
	       : "correct this line, or the end of the one before it");
}

int conf_read(const char *path, struct conf *ret, conf_report_fn *report_fn, void *arg)
{
	struct reading r = { .report = report_fn, .arg = arg };
	config_t parsed;
	int rc;

	r.conf.workers = default_workers();
	r.conf.facility = LOG_DAEMON;
	config_init(&parsed);
	rc = read_text(&r, path);
	if (rc)
		goto out;
	if (config_read_string(&parsed, r.text)) {
		take_settings(&r, config_root_setting(&parsed));
		check_places(&r);
	} else {
		report_syntax(&r, &parsed);
	}
	rc = r.no_memory ? -ENOMEM : r.failed ? -EINVAL : finish(&r);
	if (rc)
		goto out;
	*ret = r.conf;
	memset(&r.conf, 0, sizeof(r.conf));
out:
	config_destroy(&parsed);
	reading_free(&r);
	return rc;
}

void conf_free(struct conf *conf)
{
	if (!conf)
		return;
	for (size_t i = 0; i < conf->backups; i++)
		free(conf->backup[i]);
	free(conf->backup);
	free(conf->live);
	free(conf->state_dir);
	free(conf->socket);
	memset(conf, 0, sizeof(*conf));
}
