#include "config.h"
#include "conf.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <limits.h>
#include <pwd.h>
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

#include "io.h"
#include "log.h"
#include "place.h"
#include "wire.h"

#define STATE_DIR "/var/lib/rrdmergd"
#define WORKERS_MAX 64
#define WORKERS_DEFAULT_MAX 4
#define RESCAN_DEFAULT_S 900
#define RESCAN_MIN_S 1
#define RESCAN_MAX_S (7 * 86400)
#define TEXT_MAX (1u << 20)     /* bytes */
#define MESSAGE_SIZE (3 * LOG_PATH_SIZE)        /* the file, two paths */

/* Where in the configuration something stands. */
struct origin {
	const char *file;       /* NULL: in the configuration itself, not in what it includes */
	unsigned line;          /* 0: the file as a whole */
};

static const struct origin whole = { NULL, 0 };

/* A directory that the configuration names. */
struct place {
	const char *key, *path;
	struct origin at;
};

struct reading {
	const char *file;
	conf_report_fn *report;
	void *arg;
	bool failed;            /* an error was reported */
	bool no_memory;
	struct place live, *backup;     /* [conf.backups] */
	struct conf conf;
};

/* ---- messages ---- */

/* What the configuration holds is escaped here, with the message around it. */
static void __attribute__((format(printf, 4, 5)))
report(struct reading *r, int priority, struct origin at, const char *format, ...)
{
	char message[MESSAGE_SIZE], raw[MESSAGE_SIZE + 1];
	size_t len;
	va_list args;

	if (priority == LOG_ERR)
		r->failed = true;
	snprintf(raw, PATH_MAX, "%s", at.file ? at.file : r->file);
	len = strlen(raw);
	if (at.line)
		len += (size_t)sprintf(raw + len, ":%u", at.line);
	len += (size_t)sprintf(raw + len, ": ");
	va_start(args, format);
	vsnprintf(raw + len, sizeof(raw) - len, format, args);
	va_end(args);
	r->report(priority, log_escape(message, sizeof(message), raw), r->arg);
}

/* ---- the text ---- */

/* Reads the whole file.  libconfig is given the text and not the file: it ends the program where
 * that is a directory, waits where it is a FIFO, and knows no bound. */
static int slurp(struct reading *r, char **ret_text)
{
	const char *wrong = NULL;
	char *text = NULL;
	size_t len = 0;
	ssize_t got = 0;
	struct stat st;
	int error = EINVAL;
	/* Not to hang where it is a FIFO. */
	int fd = open(r->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 || fstat(fd, &st) < 0)
		goto unreadable;
	if (!S_ISREG(st.st_mode)) {
		error = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
		wrong = S_ISDIR(st.st_mode) ? "is a directory; name a file"
			: "is not a regular file; name a file";
		goto out;
	}
	text = malloc(TEXT_MAX + 2);
	if (!text)
		goto unreadable;
	while (len <= TEXT_MAX && (got = read(fd, text + len, TEXT_MAX + 1 - len)) > 0)
		len += (size_t)got;
	if (got < 0)
		goto unreadable;
	text[len] = '\0';
	if (len > TEXT_MAX)
		wrong = "is too large for a configuration; name another file";
	else if (strlen(text) < len)
		wrong = "is not a text file; name another file";
	else
		error = 0;
	goto out;
unreadable:
	error = errno;
	report(r, LOG_ERR, whole, "cannot be read: %s; %s", strerror(error),
	       error == EACCES ? "let the user read it as whom this runs" : "check the path");
out:
	if (wrong)
		report(r, LOG_ERR, whole, "%s", wrong);
	if (error)
		free(text);
	else
		*ret_text = text;
	if (fd >= 0)
		close(fd);
	return -error;
}

/* What libconfig 1.5 does with an @include that is no regular file is to wait for ever, or to end the
 * program: so each is looked at first, and what it includes in turn.  (It knows @include at the
 * beginning of a line alone, and ten levels.) */
#define INCLUDE_LEVELS 10

static bool includes_are_files(struct reading *r, const char *dir, const char *file,
			       const char *text, int level);

static bool include_is_file(struct reading *r, const char *dir, const char *from, unsigned line,
			    const char *name, int level)
{
	struct origin at = { level ? from : NULL, line };
	char path[PATH_MAX];
	struct reading inner = *r;
	struct stat st;
	char *text = NULL;
	bool good = true;

	if (snprintf(path, sizeof(path), "%s%s%s", *name == '/' ? "" : dir,
		     *name == '/' || !*dir ? "" : "/", name) >= (int)sizeof(path) ||
	    stat(path, &st))
		return true;            /* libconfig says so itself */
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)TEXT_MAX) {
		report(r, LOG_ERR, at, "what it includes is %s: %s; name a file",
		       S_ISDIR(st.st_mode) ? "a directory" : S_ISREG(st.st_mode)
		       ? "too large for a configuration" : "not a regular file", path);
		return false;
	}
	inner.file = path;
	if (level < INCLUDE_LEVELS && slurp(&inner, &text) == 0)
		good = includes_are_files(r, dir, path, text, level + 1);
	r->failed = r->failed || inner.failed;
	free(text);
	return good && !inner.failed;
}

static bool includes_are_files(struct reading *r, const char *dir, const char *file,
			       const char *text, int level)
{
	bool good = true;

	for (unsigned line = 1; good && text && *text; line++) {
		const char *at = text + strspn(text, " \t");
		char name[PATH_MAX];

		if (strncmp(at, "@include", 8) == 0) {
			at += 8;
			at += strspn(at, " \t");
			size_t len = *at == '"' ? strcspn(at + 1, "\"\n") : 0;
			if (len && len < sizeof(name)) {
				memcpy(name, at + 1, len);
				name[len] = '\0';
				good = include_is_file(r, dir, file, line, name, level);
			}
		}
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return good;
}

/* Where the files that the configuration includes by a relative name are: beside it. */
static int prepare_includes(struct reading *r, const char *text, config_t *parsed)
{
	const char *slash = strrchr(r->file, '/');
	char *dir = NULL;
	int result = 0;

	if (slash) {            /* else libconfig takes the working directory */
		dir = strndup(r->file, slash == r->file ? 1 : (size_t)(slash - r->file));
		if (!dir)
			return -ENOMEM;
		config_set_include_dir(parsed, dir);
	}
	if (!includes_are_files(r, dir ? dir : "", r->file, text, 0))
		result = -EINVAL;
	free(dir);
	return result;
}

static void report_syntax(struct reading *r, const config_t *parsed)
{
	struct origin at = { config_error_file(parsed), (unsigned)config_error_line(parsed) };
	const char *text = config_error_text(parsed);

	report(r, LOG_ERR, at, "%s; %s", text,
	       strstr(text, "duplicate") ? "take one of the two out"
	       : strstr(text, "include") ? "correct the name, or take the @include out"
	       : "correct this line, or the end of the one before it");
}

/* ---- the values ---- */

static const char *type_name(int type)
{
	switch (type) {
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

static struct origin origin_of(const config_setting_t *s)
{
	return (struct origin){ config_setting_source_file(s),
				(unsigned)config_setting_source_line(s) };
}

struct key {
	const char *name;
	void (*take)(struct reading *r, const config_setting_t *s, const struct key *key);
	const char *kind, *example;     /* what its value must be */
	const char *of;                 /* what it is the path of, said where it is empty */
};

static bool is_type(struct reading *r, const config_setting_t *s, const struct key *key, int type)
{
	int given = config_setting_type(s);

	if (given == type || (given == CONFIG_TYPE_INT64 && type == CONFIG_TYPE_INT))
		return true;
	report(r, LOG_ERR, origin_of(s), "\"%s\" is %s and must be %s; write it like %s = %s;",
	       key->name, type_name(given), key->kind, key->name, key->example);
	return false;
}

static void report_empty(struct reading *r, const config_setting_t *s, const struct key *key)
{
	report(r, LOG_ERR, origin_of(s), "\"%s\" is empty; put the path%s there, like %s = %s;",
	       key->name, key->of, key->name, key->example);
}

/* An absolute path without slashes at its end; NULL where it is none, and reported. */
static char *take_path(struct reading *r, const config_setting_t *s, const struct key *key)
{
	const char *text;
	char *path;
	size_t len;

	if (!is_type(r, s, key, CONFIG_TYPE_STRING))
		return NULL;
	text = config_setting_get_string(s);
	if (!text || !*text) {
		report_empty(r, s, key);
		return NULL;
	}
	if (*text != '/') {
		report(r, LOG_ERR, origin_of(s), "\"%s\" is a relative path: %s; "
		       "write the whole path, beginning with /", key->name, text);
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

static void take_live(struct reading *r, const config_setting_t *s, const struct key *key)
{
	r->conf.live = take_path(r, s, key);
	r->live = (struct place){ key->name, r->conf.live, origin_of(s) };
}

static void take_backup(struct reading *r, const config_setting_t *s, const struct key *key)
{
	bool many = config_setting_is_array(s) || config_setting_is_list(s);
	unsigned length = many ? (unsigned)config_setting_length(s) : 1;
	struct conf *conf = &r->conf;

	if (!length)
		report_empty(r, s, key);
	conf->backup = calloc(length + 1, sizeof(*conf->backup));
	r->backup = calloc(length + 1, sizeof(*r->backup));
	if (!conf->backup || !r->backup) {
		r->no_memory = true;
		return;
	}
	for (unsigned i = 0; i < length; i++) {
		const config_setting_t *elem = many ? config_setting_get_elem(s, i) : s;
		char *path = take_path(r, elem, key);

		if (!path)
			continue;
		r->backup[conf->backups] = (struct place){ key->name, path, origin_of(elem) };
		conf->backup[conf->backups++] = path;
	}
}

static void take_workers(struct reading *r, const config_setting_t *s, const struct key *key)
{
	long long n;

	if (!is_type(r, s, key, CONFIG_TYPE_INT))
		return;
	n = config_setting_get_int64(s);
	if (n < 1 || n > WORKERS_MAX)
		report(r, LOG_ERR, origin_of(s), "\"workers\" is %lld and out of range; "
		       "use 1 to %d", n, WORKERS_MAX);
	else
		r->conf.workers = (unsigned)n;
}

static void take_state_dir(struct reading *r, const config_setting_t *s, const struct key *key)
{
	r->conf.state_dir = take_path(r, s, key);
}

static void check_socket_size(struct reading *r, const config_setting_t *s, const struct key *key,
			      const char *path)
{
	struct sockaddr_un address;

	if (path && strlen(path) >= sizeof(address.sun_path))
		report(r, LOG_ERR, origin_of(s), "\"%s\" is longer than the %zu "
		       "bytes that a socket's path may have; use a shorter path",
		       key->name, sizeof(address.sun_path) - 1);
}

static void take_socket(struct reading *r, const config_setting_t *s, const struct key *key)
{
	r->conf.socket = take_path(r, s, key);
	check_socket_size(r, s, key, r->conf.socket);
}

/* As rrdtool writes an address, but of this machine alone: it must write the very files beneath
 * live, and a hostname would be asked for where nobody may wait. */
static void take_rrdcached(struct reading *r, const config_setting_t *s, const struct key *key)
{
	const char *text, *path;

	if (!is_type(r, s, key, CONFIG_TYPE_STRING))
		return;
	text = config_setting_get_string(s);
	path = strncmp(text, "unix:", 5) == 0 ? text + 5 : text;
	if (!*path) {
		report_empty(r, s, key);
	} else if (*path != '/') {
		report(r, LOG_ERR, origin_of(s), "\"rrdcached\" is not the path of a socket: %s; "
		       "one that listens on the network alone cannot be asked: write it like "
		       "rrdcached = %s;", text, key->example);
	} else {
		check_socket_size(r, s, key, path);
		r->conf.rrdcached = strdup(path);
		if (!r->conf.rrdcached)
			r->no_memory = true;
	}
}

static void take_facility(struct reading *r, const config_setting_t *s, const struct key *key)
{
	const char *name = config_setting_get_string(s);

	if (!is_type(r, s, key, CONFIG_TYPE_STRING))
		return;
	r->conf.facility = log_facility(name);
	if (r->conf.facility < 0)
		report(r, LOG_ERR, origin_of(s), "\"facility\" names no facility of syslog: "
		       "\"%s\"; use \"daemon\", \"user\" or \"local0\" to \"local7\"",
		       name);
}

/* From several threads: one may still wait for the disk that another's configuration names. */
static bool is_user(const char *name)
{
	char buffer[16384];
	struct passwd entry, *found = NULL;

	return !getpwnam_r(name, &entry, buffer, sizeof(buffer), &found) && found;
}

static void take_user(struct reading *r, const config_setting_t *s, const struct key *key)
{
	const char *name = config_setting_get_string(s);

	if (!is_type(r, s, key, CONFIG_TYPE_STRING))
		return;
	if (!*name)
		report(r, LOG_ERR, origin_of(s), "\"user\" is empty; name the user who writes the "
		       "live files, or take the line out");
	else if (!is_user(name))
		report(r, LOG_ERR, origin_of(s), "\"user\" names nobody on this machine: \"%s\"; "
		       "name the user who writes the live files, or take the line out", name);
	else if (!(r->conf.user = strdup(name)))
		r->no_memory = true;
}

static void take_rescan(struct reading *r, const config_setting_t *s, const struct key *key)
{
	long long n;

	if (!is_type(r, s, key, CONFIG_TYPE_INT))
		return;
	n = config_setting_get_int64(s);
	if (n && (n < RESCAN_MIN_S || n > RESCAN_MAX_S))
		report(r, LOG_ERR, origin_of(s), "\"rescan_interval\" is %lld and out of range; "
		       "use %d to %d seconds, or 0 for never", n, RESCAN_MIN_S, RESCAN_MAX_S);
	else
		r->conf.rescan_s = (unsigned)n;
}

#define PATH "a path in quotes"

static void take_spread(struct reading *r, const config_setting_t *s, const struct key *key)
{
	if (is_type(r, s, key, CONFIG_TYPE_BOOL))
		r->conf.no_spread = !config_setting_get_bool(s);
}

static void take_ledger(struct reading *r, const config_setting_t *s, const struct key *key)
{
	if (is_type(r, s, key, CONFIG_TYPE_BOOL))
		r->conf.ledger = config_setting_get_bool(s);
}

static void take_seam(struct reading *r, const config_setting_t *s, const struct key *key)
{
	const char *how;

	if (!is_type(r, s, key, CONFIG_TYPE_STRING))
		return;
	how = config_setting_get_string(s);
	r->conf.rebuild = !strcmp(how, "rebuild");
	if (!r->conf.rebuild && strcmp(how, "heal"))
		report(r, LOG_ERR, origin_of(s), "\"seam\" is \"%s\", which is not known; use "
		       "\"heal\" or \"rebuild\"", how);
}

static const struct key keys[] = {
	{ "live", take_live, PATH, "\"/var/lib/pnp4nagios/perfdata\"", "" },
	{ "backup", take_backup, PATH, "\"/srv/restore/perfdata\"", " of the restored RRD files" },
	{ "workers", take_workers, "a whole number", "2", "" },
	{ "state_dir", take_state_dir, PATH, "\"" STATE_DIR "\"", "" },
	{ "socket", take_socket, PATH, "\"" WIRE_SOCKET "\"", "" },
	{ "rrdcached", take_rrdcached, PATH, "\"unix:/run/rrdcached.sock\"", " of its socket" },
	{ "facility", take_facility, "a name in quotes", "\"daemon\"", "" },
	{ "user", take_user, "a name in quotes", "\"nagios\"", "" },
	{ "rescan_interval", take_rescan, "a whole number of seconds", "900", "" },
	{ "spread", take_spread, "true or false", "true", "" },
	{ "ledger", take_ledger, "true or false", "true", "" },
	{ "seam", take_seam, "a name in quotes", "\"heal\"", "" },
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

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
			size_t best = diagonal + (tolower((unsigned char)a[i - 1]) != b[j - 1]);

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
	const char *name = config_setting_name(s), *nearest = NULL;
	size_t least = SIZE_MAX;

	for (size_t i = 0; i < KEYS; i++) {
		size_t d = distance(name, keys[i].name);

		if (d < least) {
			least = d;
			nearest = keys[i].name;
		}
	}
	if (nearest && least * 2 <= strlen(nearest))
		report(r, LOG_ERR, origin_of(s), "unknown key \"%s\"; did you mean \"%s\"?",
		       name, nearest);
	else
		report(r, LOG_ERR, origin_of(s), "unknown key \"%s\"; take it out, "
		       "or see rrdmergd.conf(5) for those there are", name);
}

static void take_settings(struct reading *r, const config_setting_t *root)
{
	int length = config_setting_length(root);

	for (int i = 0; i < length; i++) {
		const config_setting_t *s = config_setting_get_elem(root, (unsigned)i);
		size_t k = 0;

		while (k < KEYS && strcmp(config_setting_name(s), keys[k].name) != 0)
			k++;
		if (k < KEYS)
			keys[k].take(r, s, &keys[k]);
		else
			report_unknown(r, s);
	}
	for (size_t k = 0; k < 2; k++)          /* live and backup */
		if (!config_setting_get_member(root, keys[k].name))
			report(r, LOG_ERR, whole, "\"%s\" is missing; add a line like "
			       "%s = %s;", keys[k].name, keys[k].name, keys[k].example);
}

/* ---- the directories ---- */

static void look_at(struct reading *r, const struct place *place)
{
	struct stat st;

	if (stat(place->path, &st) == 0) {
		if (!S_ISDIR(st.st_mode))
			report(r, LOG_ERR, place->at, "\"%s\" is not a directory: %s; "
			       "name the directory that holds the RRD files", place->key,
			       place->path);
	} else if (errno == ENOENT) {
		report(r, LOG_WARNING, place->at, "\"%s\" does not exist yet: %s; "
		       "check the path, or create it", place->key, place->path);
	} else {
		bool closed = errno == EACCES;

		report(r, closed ? LOG_WARNING : LOG_ERR, place->at, "\"%s\" cannot be %s: "
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
	int relation = place_relate(a->path, b->path);

	if (relation < 0)       /* one of them is not there yet */
		relation = relate_names(a->path, b->path);
	if (relation == IO_HOLDS) {
		inner = b;
		outer = a;
	}
	if (relation == IO_SAME)
		report(r, LOG_ERR, a->at, "\"%s\" %s and \"%s\" %s are the same directory; %s",
		       b->key, b->path, a->key, a->path,
		       strcmp(a->key, b->key) == 0 ? "name it once"
		       : "name the restored copy, not the live tree, as backup");
	else if (relation != IO_APART)
		report(r, LOG_ERR, a->at, "\"%s\" %s lies inside \"%s\" %s; "
		       "use directories that do not hold one another", inner->key,
		       inner->path, outer->key, outer->path);
}

static void check_places(struct reading *r)
{
	if (r->live.path)
		look_at(r, &r->live);
	for (size_t i = 0; i < r->conf.backups; i++) {
		look_at(r, &r->backup[i]);
		if (r->live.path)
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

int conf_read(const char *path, struct conf *ret, conf_report_fn *report_fn, void *arg)
{
	struct reading r = { .file = path, .report = report_fn, .arg = arg };
	char *text = NULL;
	config_t parsed;
	int rc;

	r.conf.workers = default_workers();
	r.conf.facility = LOG_DAEMON;
	r.conf.rescan_s = RESCAN_DEFAULT_S;
	r.conf.ledger = true;
	config_init(&parsed);
	rc = slurp(&r, &text);
	if (!rc)
		rc = prepare_includes(&r, text, &parsed);
	if (rc)
		goto out;
	if (config_read_string(&parsed, text)) {
		take_settings(&r, config_root_setting(&parsed));
		check_places(&r);
	} else {
		report_syntax(&r, &parsed);
	}
	if (!r.conf.state_dir)
		r.conf.state_dir = strdup(STATE_DIR);
	if (!r.conf.socket)
		r.conf.socket = strdup(WIRE_SOCKET);
	if (!r.conf.state_dir || !r.conf.socket)
		r.no_memory = true;
	rc = r.no_memory ? -ENOMEM : r.failed ? -EINVAL : 0;
	if (rc)
		goto out;
	*ret = r.conf;
	memset(&r.conf, 0, sizeof(r.conf));
out:
	config_destroy(&parsed);
	conf_free(&r.conf);
	free(r.backup);
	free(text);
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
	free(conf->rrdcached);
	free(conf->user);
	memset(conf, 0, sizeof(*conf));
}
