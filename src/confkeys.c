#include "config.h"
#include "confint.h"

#include <ctype.h>
#include <limits.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <syslog.h>

#include "log.h"
#include "names.h"
#include "wire.h"

#define WORKERS_MAX 64
#define RATE_MIN_MB 0.1
#define RATE_MAX_MB 1e5
#define RESCAN_MIN_S 1
#define RESCAN_MAX_S (7 * 86400)

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
	conf_report(r, LOG_ERR, origin_of(s), "\"%s\" is %s and must be %s; write it like %s = %s;",
	       key->name, type_name(given), key->kind, key->name, key->example);
	return false;
}

static void report_empty(struct reading *r, const config_setting_t *s, const struct key *key)
{
	conf_report(r, LOG_ERR, origin_of(s), "\"%s\" is empty; put the path%s there, like "
	       "%s = %s;",
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
		conf_report(r, LOG_ERR, origin_of(s), "\"%s\" is a relative path: %s; "
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

/* The elements of what may be one or several. */
static unsigned count_of(const config_setting_t *s)
{
	return config_setting_is_array(s) || config_setting_is_list(s)
		? (unsigned)config_setting_length(s) : 1;
}

static const config_setting_t *elem_of(const config_setting_t *s, unsigned i)
{
	return config_setting_is_array(s) || config_setting_is_list(s)
		? config_setting_get_elem(s, i) : s;
}

/* What patterns stand for is looked for when all keys are known. */
static void take_backup(struct reading *r, const config_setting_t *s, const struct key *key)
{
	unsigned length = count_of(s);
	struct conf *conf = &r->conf;

	if (!length)
		report_empty(r, s, key);
	conf->given = calloc(length + 1, sizeof(*conf->given));
	r->given = calloc(length + 1, sizeof(*r->given));
	if (!conf->given || !r->given) {
		r->no_memory = true;
		return;
	}
	for (unsigned i = 0; i < length; i++) {
		const config_setting_t *elem = elem_of(s, i);
		char *path = take_path(r, elem, key);

		if (!path)
			continue;
		r->given[conf->givens] = (struct place){ key->name, path, origin_of(elem) };
		conf->given[conf->givens++] = path;
	}
}

static void take_workers(struct reading *r, const config_setting_t *s, const struct key *key)
{
	long long n;

	if (!is_type(r, s, key, CONFIG_TYPE_INT))
		return;
	n = config_setting_get_int64(s);
	if (n < 1 || n > WORKERS_MAX)
		conf_report(r, LOG_ERR, origin_of(s), "\"workers\" is %lld and out of range; "
		       "use 1 to %d", n, WORKERS_MAX);
	else
		r->conf.workers = (unsigned)n;
}

static void take_rate(struct reading *r, const config_setting_t *s, const struct key *key)
{
	double mb;

	if (config_setting_type(s) == CONFIG_TYPE_FLOAT)
		mb = config_setting_get_float(s);
	else if (is_type(r, s, key, CONFIG_TYPE_INT))
		mb = (double)config_setting_get_int64(s);
	else
		return;
	if (mb == 0.0 || (mb >= RATE_MIN_MB && mb <= RATE_MAX_MB))
		r->conf.rate = (uint64_t)(mb * 1e6);
	else
		conf_report(r, LOG_ERR, origin_of(s), "\"rate\" is %g and out of range; use %g to "
		       "%g megabytes a second, or 0 for no limit", mb, RATE_MIN_MB, RATE_MAX_MB);
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
		conf_report(r, LOG_ERR, origin_of(s), "\"%s\" is longer than the %zu "
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
		conf_report(r, LOG_ERR, origin_of(s), "\"rrdcached\" is not the path of a "
		       "socket: %s; one that listens on the network alone cannot be asked: write it "
		       "like rrdcached = %s;", text, key->example);
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
		conf_report(r, LOG_ERR, origin_of(s), "\"facility\" names no facility of syslog: "
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
		conf_report(r, LOG_ERR, origin_of(s), "\"user\" is empty; name the user who "
		       "writes the live files, or take the line out");
	else if (!is_user(name))
		conf_report(r, LOG_ERR, origin_of(s), "\"user\" names nobody on this machine: "
		       "\"%s\"; name the user who writes the live files, or take the line out",
		       name);
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
		conf_report(r, LOG_ERR, origin_of(s), "\"rescan_interval\" is %lld and out of "
		       "range; use %d to %d seconds, or 0 for never", n, RESCAN_MIN_S,
		       RESCAN_MAX_S);
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

static void take_log_files(struct reading *r, const config_setting_t *s, const struct key *key)
{
	if (is_type(r, s, key, CONFIG_TYPE_BOOL))
		r->conf.log_files = config_setting_get_bool(s);
}

static void take_seam(struct reading *r, const config_setting_t *s, const struct key *key)
{
	const char *how;

	if (!is_type(r, s, key, CONFIG_TYPE_STRING))
		return;
	how = config_setting_get_string(s);
	r->conf.rebuild = !strcmp(how, "rebuild");
	if (!r->conf.rebuild && strcmp(how, "heal"))
		conf_report(r, LOG_ERR, origin_of(s), "\"seam\" is \"%s\", which is not known; use "
		       "\"heal\" or \"rebuild\"", how);
}

static void take_match(struct reading *r, const config_setting_t *s, const struct key *key)
{
	static const char *const names[] = {
		[CONF_MATCH_AUTO] = "auto", [CONF_MATCH_LABEL] = "label",
		[CONF_MATCH_NAME] = "name",
	};
	const char *how;
	size_t i = 0;

	if (!is_type(r, s, key, CONFIG_TYPE_STRING))
		return;
	how = config_setting_get_string(s);
	while (i < 3 && strcmp(how, names[i]))
		i++;
	if (i < 3)
		r->conf.match = (enum conf_match)i;
	else
		conf_report(r, LOG_ERR, origin_of(s), "\"match\" is \"%s\", which is not known; "
			    "use \"auto\", \"label\" or \"name\"", how);
}

/* ---- keys that there are not ---- */

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

static void report_unknown(struct reading *r, const config_setting_t *s, const struct key *keys,
			   size_t count, const char *where)
{
	const char *name = config_setting_name(s), *nearest = NULL;
	size_t least = SIZE_MAX;

	for (size_t i = 0; i < count; i++) {
		size_t d = distance(name, keys[i].name);

		if (d < least) {
			least = d;
			nearest = keys[i].name;
		}
	}
	if (nearest && least * 2 <= strlen(nearest))
		conf_report(r, LOG_ERR, origin_of(s), "unknown key \"%s\"%s; did you mean \"%s\"?",
		       name, where, nearest);
	else
		conf_report(r, LOG_ERR, origin_of(s), "unknown key \"%s\"%s; take it out, "
		       "or see rrdmergd.conf(5) for those there are", name, where);
}

/* ---- the rules ---- */

/* Backslashes are doubled where a message is escaped, as they must be in the file. */
#define FROM "\"^web01\\.old/(.*)\""
#define RULE "{ from = " FROM "; to = \"web01/$1\"; }"

static const struct key rule_keys[] = {
	{ "from", NULL, "a regular expression in quotes", FROM, "" },
	{ "to", NULL, "a path in quotes", "\"web01/$1\"", "" },
};

/* Each says by itself what is wrong with it, in its own line. */
static void check_rule(struct reading *r, const config_setting_t *from, const config_setting_t *to,
		       const struct names_rule *rule)
{
	struct names_rule part = { .from = rule->from };
	struct reason why = { "" };
	int rc = names_check(&part, &why);

	if (rc == REFUSED)
		conf_report(r, LOG_ERR, origin_of(from), "in \"rename\", %s", why.text);
	part.tos = 1;
	for (unsigned i = 0; i < rule->tos && !rc; i++) {
		part.to = rule->to + i;
		rc = names_check(&part, &why);
		if (rc == REFUSED)
			conf_report(r, LOG_ERR, origin_of(elem_of(to, i)), "in \"rename\", %s",
				    why.text);
	}
	if (rc < 0) {
		conf_report(r, LOG_ERR, origin_of(from), "in \"rename\": out of memory");
		r->no_memory = true;
	}
}

/* A member that must be there. */
static const config_setting_t *member_of(struct reading *r, const config_setting_t *s,
					 const struct key *key)
{
	const config_setting_t *member = config_setting_get_member(s, key->name);

	if (!member)
		conf_report(r, LOG_ERR, origin_of(s), "in \"rename\", a rule has no \"%s\"; write "
			    "it like %s", key->name, RULE);
	return member;
}

static void take_rule(struct reading *r, const config_setting_t *s)
{
	const config_setting_t *from = member_of(r, s, &rule_keys[0]);
	const config_setting_t *to = member_of(r, s, &rule_keys[1]);
	struct names_rule *rule = &r->conf.rename[r->conf.renames];
	unsigned length;
	bool good = true;

	for (int i = 0; i < config_setting_length(s); i++) {
		const config_setting_t *m = config_setting_get_elem(s, (unsigned)i);

		if (m != from && m != to)
			report_unknown(r, m, rule_keys, 2, " in a rule of \"rename\"");
	}
	if (!from || !to || !is_type(r, from, &rule_keys[0], CONFIG_TYPE_STRING))
		return;
	length = count_of(to);
	if (!length)
		conf_report(r, LOG_ERR, origin_of(to), "in \"rename\", \"to\" is an empty list; "
			    "name at least one path");
	for (unsigned i = 0; i < length; i++)
		good = is_type(r, elem_of(to, i), &rule_keys[1], CONFIG_TYPE_STRING) && good;
	if (!length || !good)
		return;
	r->conf.renames++;              /* from here on it is freed with the rest */
	rule->from = strdup(config_setting_get_string(from));
	rule->to = calloc(length, sizeof(*rule->to));
	good = rule->from && rule->to;
	for (unsigned i = 0; i < length && good; i++) {
		rule->to[i] = strdup(config_setting_get_string(elem_of(to, i)));
		rule->tos = i + 1;
		good = rule->to[i];
	}
	if (!good)
		r->no_memory = true;
	else
		check_rule(r, from, to, rule);
}

static void take_rename(struct reading *r, const config_setting_t *s, const struct key *key)
{
	bool many = config_setting_is_array(s) || config_setting_is_list(s);
	unsigned length = count_of(s);

	if (!many) {
		conf_report(r, LOG_ERR, origin_of(s), "\"%s\" is %s and must be %s; write it like "
			    "%s = %s;", key->name, type_name(config_setting_type(s)), key->kind,
			    key->name, key->example);
		return;
	}
	if (length > NAMES_RULES_MAX) {
		conf_report(r, LOG_ERR, origin_of(s), "\"rename\" has %u rules, and more than %d "
			    "are too many; make fewer of them with groups, as in " RULE, length,
			    NAMES_RULES_MAX);
		return;
	}
	r->conf.rename = calloc(length + 1, sizeof(*r->conf.rename));
	if (!r->conf.rename) {
		r->no_memory = true;
		return;
	}
	for (unsigned i = 0; i < length; i++) {
		const config_setting_t *elem = config_setting_get_elem(s, i);

		if (config_setting_is_group(elem))
			take_rule(r, elem);
		else
			conf_report(r, LOG_ERR, origin_of(elem), "in \"rename\", a rule is %s and "
				    "must be a group; write it like %s",
				    type_name(config_setting_type(elem)), RULE);
	}
}

/* ---- all of them ---- */

static const struct key keys[] = {
	{ "live", take_live, PATH, "\"/var/lib/pnp4nagios/perfdata\"", "" },
	{ "backup", take_backup, PATH, "\"/srv/restore/perfdata\"", " of the restored RRD files" },
	{ "workers", take_workers, "a whole number", "2", "" },
	{ "rate", take_rate, "a number of megabytes a second", "10", "" },
	{ "state_dir", take_state_dir, PATH, "\"" CONF_STATE_DIR "\"", "" },
	{ "socket", take_socket, PATH, "\"" WIRE_SOCKET "\"", "" },
	{ "rrdcached", take_rrdcached, PATH, "\"unix:/run/rrdcached.sock\"", " of its socket" },
	{ "facility", take_facility, "a name in quotes", "\"daemon\"", "" },
	{ "log_files", take_log_files, "true or false", "true", "" },
	{ "user", take_user, "a name in quotes", "\"nagios\"", "" },
	{ "rescan_interval", take_rescan, "a whole number of seconds", "900", "" },
	{ "spread", take_spread, "true or false", "true", "" },
	{ "ledger", take_ledger, "true or false", "true", "" },
	{ "seam", take_seam, "a name in quotes", "\"heal\"", "" },
	{ "match", take_match, "a name in quotes", "\"auto\"", "" },
	{ "rename", take_rename, "a list of rules", "( " RULE " )", "" },
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

void conf_take_settings(struct reading *r, const config_setting_t *root)
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
			report_unknown(r, s, keys, KEYS, "");
	}
	for (size_t k = 0; k < 2; k++)          /* live and backup */
		if (!config_setting_get_member(root, keys[k].name))
			conf_report(r, LOG_ERR, conf_whole, "\"%s\" is missing; add a line like "
			       "%s = %s;", keys[k].name, keys[k].name, keys[k].example);
}
