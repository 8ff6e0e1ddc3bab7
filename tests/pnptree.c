/* pnptree: writes what pnp4nagios' process_perfdata.pl writes, to the byte.
 *
 *    pnptree [-m] [-d SECONDS] [-p MS] [-n] PERFDATA <CHECKS
 *
 * Each line of CHECKS is one result of a check: TIME, host, service and performance data, with a tab
 * between.  The database is made or updated by librrd; then comes the sidecar, under a name of its own
 * that is changed at the end.  What is not here: custom templates, check_multi, Gearman.
 *
 *    -m   RRD_STORAGE_TYPE is MULTIPLE
 *    -d   XML_UPDATE_DELAY
 *    -p   wait so long between the database and its sidecar
 *    -n   no sidecar: it dies in between
 *
 * The archives are pnp4nagios' own with fewer rows. */
#include "config.h"
#include "oracle.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define VALUES_MAX 64
#define TEXT_MAX 512
#define STEP 60
#define HEARTBEAT "8640"

static const char *const archives[] = {
	"RRA:AVERAGE:0.5:1:400", "RRA:AVERAGE:0.5:5:200", "RRA:AVERAGE:0.5:30:100",
	"RRA:MAX:0.5:1:400", "RRA:MAX:0.5:5:200", "RRA:MAX:0.5:30:100",
	"RRA:MIN:0.5:1:400", "RRA:MIN:0.5:5:200", "RRA:MIN:0.5:30:100",
};
#define ARCHIVES (sizeof(archives) / sizeof(*archives))

struct range {
	char plain[TEXT_MAX], min[TEXT_MAX], max[TEXT_MAX], type[TEXT_MAX];
};

struct value {
	char label[TEXT_MAX], name[TEXT_MAX], act[TEXT_MAX], unit[TEXT_MAX];
	struct range warn, crit;
	char min[TEXT_MAX], max[TEXT_MAX];
	char file[PATH_MAX];
	bool multiple;
};

struct check {
	char *time, *host, *service, *perfdata;         /* as the monitoring server gave them */
	char clean_host[TEXT_MAX], clean_service[TEXT_MAX];
	char cleaned[8 * TEXT_MAX];                     /* the performance data */
	char xml[PATH_MAX];
	struct value value[VALUES_MAX];
	unsigned values;
	int rc;
	char txt[TEXT_MAX];
};

static struct {
	const char *perfdata;
	bool multiple, no_sidecar;
	long delay_s, pause_ms;
} options;

/* ---- performance data, as _parse() has it ---- */

/* s/[set]/by/g, or s/[set]//g where `by` is 0. */
static void replace(char *text, const char *set, char by)
{
	char *to = text;

	for (const char *at = text; *at; at++) {
		if (!strchr(set, *at))
			*to++ = *at;
		else if (by)
			*to++ = by;
	}
	*to = '\0';
}

static void clean(char *text)
{
	replace(text, "& :/\\", '_');
}

/* Takes all that `takes` allows from *at. */
static void take(const char **at, const char *extra, bool words, char *ret)
{
	size_t len = 0;

	while ((*at)[len] && (isdigit((unsigned char)(*at)[len]) || strchr(extra, (*at)[len]) ||
			      (words && (isalnum((unsigned char)(*at)[len]) || (*at)[len] == '_'))))
		len++;
	if (len >= TEXT_MAX)
		oracle_die("pnptree: a word is too long");
	memcpy(ret, *at, len);
	ret[len] = '\0';
	*at += len;
}

static void take_semicolon(const char **at)
{
	*at += **at == ';';
}

static void split_range(struct range *range)
{
	char *colon = strchr(range->plain, ':');

	if (colon && !strchr(colon + 1, ':')) {
		*colon = '\0';
		strcpy(range->min, range->plain);
		strcpy(range->max, colon + 1);
		strcpy(range->type, range->min[0] == '@' ? "inside" : "outside");
		if (range->min[0] == '@')
			memmove(range->min, range->min + 1, strlen(range->min));
		range->plain[0] = '\0';
	} else {
		char *sign = strpbrk(range->plain, "~@");

		if (sign)
			memmove(sign, sign + 1, strlen(sign));
	}
}

/* One value from *at; false where it is none. */
static bool parse_value(const char **at, struct value *value)
{
	const char *equals = strchr(*at, '=');

	*value = (struct value){ 0 };
	if (!equals || equals == *at || equals - *at >= TEXT_MAX)
		return false;
	memcpy(value->label, *at, (size_t)(equals - *at));
	strcpy(value->name, value->label);
	*at = equals + 1;
	if (**at == 'U') {
		strcpy(value->act, "U");
		(*at)++;
	} else {
		take(at, ".-", false, value->act);
	}
	if (!value->act[0])
		return false;
	take(at, "/%", true, value->unit);
	take_semicolon(at);
	take(at, ".-:~@", false, value->warn.plain);
	take_semicolon(at);
	take(at, ".-:~@", false, value->crit.plain);
	take_semicolon(at);
	take(at, ".-", false, value->min);
	take_semicolon(at);
	take(at, ".-", false, value->max);
	take_semicolon(at);
	while (isspace((unsigned char)**at))
		(*at)++;
	replace(value->label, "&\"'", 0);
	replace(value->name, "\"'", 0);
	clean(value->name);
	if (!strcmp(value->unit, "%"))
		strcpy(value->unit, "%%");
	split_range(&value->warn);
	split_range(&value->crit);
	return value->label[0] && strcmp(value->label, "0");
}

/* The blanks around each "=", and what else process_perfdata() changes before. */
static void clean_perfdata(struct check *check)
{
	char *to = check->cleaned;

	if (strlen(check->perfdata) + 2 > sizeof(check->cleaned))
		oracle_die("pnptree: too much performance data");
	for (const char *at = check->perfdata; *at; at++) {
		if (*at == '=')
			while (to > check->cleaned && isspace((unsigned char)to[-1]))
				to--;
		if (isspace((unsigned char)*at) && to > check->cleaned && to[-1] == '=')
			continue;
		*to++ = *at == ',' ? '.' : *at;
	}
	strcpy(to, " ");
}

static void parse_perfdata(struct check *check)
{
	const char *at = check->cleaned;

	check->values = 0;
	while (*at && strcmp(at, "0")) {
		if (check->values == VALUES_MAX)
			oracle_die("pnptree: too many values");
		if (!parse_value(&at, &check->value[check->values])) {
			check->values = 0;      /* invalid: all of it is dropped */
			return;
		}
		check->values++;
	}
}

/* ---- the databases ---- */

static bool is_counter(const struct value *value)
{
	return !strcmp(value->unit, "c") || !strcmp(value->unit, "d");
}

static void keep_state(struct check *check, int r, const char *good)
{
	check->rc = r ? 1 : 0;
	snprintf(check->txt, sizeof(check->txt), "%s", r ? rrd_get_error() : good);
	rrd_clear_error();
}

static void create(struct check *check, const struct value *value, unsigned count)
{
	char ds[VALUES_MAX][64];
	const char *args[ARCHIVES + VALUES_MAX];

	memcpy(args, archives, sizeof(archives));
	for (unsigned i = 0; i < count; i++) {
		bool counter = is_counter(&value[i]);

		snprintf(ds[i], sizeof(ds[i]), "DS:%u:%s:" HEARTBEAT ":%s:U", i + 1,
			 counter ? "DERIVE" : "GAUGE", counter ? "0" : "U");
		args[ARCHIVES + i] = ds[i];
	}
	keep_state(check, rrd_create_r(value->file, STEP, atol(check->time),
				       (int)(ARCHIVES + count), args), "just created");
}

/* As write_rrd() does it: what is created is not updated. */
static void write_rrd(struct check *check, const struct value *value, unsigned count)
{
	char update[VALUES_MAX * 32];
	const char *args[] = { update };
	int used;

	if (access(value->file, F_OK)) {
		create(check, value, count);
		return;
	}
	used = snprintf(update, sizeof(update), "%s", check->time);
	for (unsigned i = 0; i < count; i++)
		used += snprintf(update + used, sizeof(update) - (size_t)used, ":%s", value[i].act);
	keep_state(check, rrd_update_r(value->file, NULL, 1, args), "successful updated");
}

static void write_rrds(struct check *check)
{
	char single[PATH_MAX], file[PATH_MAX];
	bool multiple;

	snprintf(single, sizeof(single), "%s/%s/%s.rrd", options.perfdata, check->clean_host,
		 check->clean_service);
	multiple = options.multiple && access(single, F_OK);
	for (unsigned i = 0; i < check->values; i++) {
		struct value *value = &check->value[i];

		value->multiple = multiple;
		if (!multiple) {
			strcpy(value->file, single);
			continue;
		}
		if (snprintf(file, sizeof(file), "%.*s_%s.rrd", (int)strlen(single) - 4, single,
			     value->name) >= PATH_MAX)
			oracle_die("pnptree: a path is too long");
		strcpy(value->file, file);
		write_rrd(check, value, 1);
	}
	if (!multiple)
		write_rrd(check, check->value, check->values);
}

/* ---- the sidecar ---- */

static void put(FILE *out, const char *tag, const char *text)
{
	fprintf(out, "    <%s>%s</%s>\n", tag, text, tag);
}

static void put_range(FILE *out, const char *tag, const struct range *range)
{
	char other[32];

	put(out, tag, range->plain);
	snprintf(other, sizeof(other), "%s_MIN", tag);
	put(out, other, range->min);
	snprintf(other, sizeof(other), "%s_MAX", tag);
	put(out, other, range->max);
	snprintf(other, sizeof(other), "%s_RANGE_TYPE", tag);
	put(out, other, range->type);
}

static void put_value(FILE *out, const struct value *value, unsigned number)
{
	char ds[16];

	snprintf(ds, sizeof(ds), "%u", value->multiple ? 1 : number);
	fprintf(out, "  <DATASOURCE>\n");
	put(out, "TEMPLATE", "check_any");
	put(out, "RRDFILE", value->file);
	put(out, "RRD_STORAGE_TYPE", value->multiple ? "MULTIPLE" : "SINGLE");
	put(out, "RRD_HEARTBEAT", HEARTBEAT);
	put(out, "IS_MULTI", "0");
	put(out, "DS", ds);
	put(out, "NAME", value->name);
	put(out, "LABEL", value->label);
	put(out, "UNIT", value->unit);
	put(out, "ACT", value->act);
	put_range(out, "WARN", &value->warn);
	put_range(out, "CRIT", &value->crit);
	put(out, "MIN", value->min);
	put(out, "MAX", value->max);
	fprintf(out, "  </DATASOURCE>\n");
}

static void put_env(FILE *out, const char *key, const char *text)
{
	fprintf(out, "  <NAGIOS_%s>", key);
	for (; *text; text++) {
		if (strchr("<>&", *text))
			fprintf(out, "%%%02x", (unsigned char)*text);
		else
			fputc(*text, out);
	}
	fprintf(out, "</NAGIOS_%s>\n", key);
}

/* time() may be a tick behind what the kernel stamps files with, and a file that was just written be
 * of the next second: where no delay is asked for, none is young. */
static bool is_young(const char *path)
{
	struct stat st;

	return options.delay_s && !stat(path, &st) && time(NULL) - st.st_mtime < options.delay_s;
}

static void write_sidecar(const struct check *check)
{
	char temp[PATH_MAX + 16];
	FILE *out;

	if (options.no_sidecar || is_young(check->xml))
		return;
	snprintf(temp, sizeof(temp), "%s.%ld", check->xml, (long)getpid());
	out = fopen(temp, "w");
	if (!out)
		oracle_die("pnptree: %s: %s", temp, strerror(errno));
	fprintf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<NAGIOS>\n");
	for (unsigned i = 0; i < check->values; i++)
		put_value(out, &check->value[i], i + 1);
	fprintf(out, "  <RRD>\n    <RC>%d</RC>\n    <TXT>%s</TXT>\n  </RRD>\n", check->rc,
		check->txt);
	put_env(out, "AUTH_HOSTNAME", check->host);
	put_env(out, "AUTH_SERVICEDESC", check->service);
	put_env(out, "CHECK_COMMAND", "check_any");
	put_env(out, "DATATYPE", "SERVICEPERFDATA");
	put_env(out, "DISP_HOSTNAME", check->host);
	put_env(out, "DISP_SERVICEDESC", check->service);
	put_env(out, "HOSTNAME", check->clean_host);
	put_env(out, "MULTI_PARENT", "");
	put_env(out, "PERFDATA", check->cleaned);
	put_env(out, "RRDFILE", check->value[0].multiple ? "" : check->value[0].file);
	put_env(out, "SERVICECHECKCOMMAND", "check_any");
	put_env(out, "SERVICEDESC", check->clean_service);
	put_env(out, "SERVICEPERFDATA", check->perfdata);
	put_env(out, "TIMET", check->time);
	put_env(out, "XMLFILE", check->xml);
	fprintf(out, "  <XML>\n   <VERSION>4</VERSION>\n  </XML>\n</NAGIOS>\n");
	if (fclose(out) || rename(temp, check->xml))
		oracle_die("pnptree: %s: %s", temp, strerror(errno));
}

/* ---- one check ---- */

static void do_check(struct check *check)
{
	char dir[PATH_MAX];

	if (strlen(check->host) >= TEXT_MAX || strlen(check->service) >= TEXT_MAX)
		oracle_die("pnptree: a name is too long");
	strcpy(check->clean_host, check->host);
	strcpy(check->clean_service, check->service);
	clean(check->clean_host);
	clean(check->clean_service);
	clean_perfdata(check);
	parse_perfdata(check);
	if (!check->values)
		return;
	snprintf(dir, sizeof(dir), "%s/%s", options.perfdata, check->clean_host);
	if (snprintf(check->xml, sizeof(check->xml), "%s/%s.xml", dir, check->clean_service) >=
	    PATH_MAX)
		oracle_die("pnptree: a path is too long");
	mkdir(options.perfdata, 0755);
	mkdir(dir, 0755);
	write_rrds(check);
	if (options.pause_ms)
		usleep((useconds_t)options.pause_ms * 1000);
	write_sidecar(check);
}

int main(int argc, char **argv)
{
	static struct check check;
	char *line = NULL;
	size_t size = 0;
	ssize_t len;
	int option;

	while ((option = getopt(argc, argv, "mnd:p:")) != -1) {
		if (option == 'm')
			options.multiple = true;
		else if (option == 'n')
			options.no_sidecar = true;
		else if (option == 'd')
			options.delay_s = atol(optarg);
		else if (option == 'p')
			options.pause_ms = atol(optarg);
		else
			return 2;
	}
	if (optind + 1 != argc)
		return 2;
	options.perfdata = argv[optind];
	while ((len = getline(&line, &size, stdin)) > 0) {
		char *rest = line;

		if (line[len - 1] == '\n')
			line[len - 1] = '\0';
		check.time = strsep(&rest, "\t");
		check.host = strsep(&rest, "\t");
		check.service = strsep(&rest, "\t");
		check.perfdata = rest;
		if (!rest)
			oracle_die("pnptree: not a check: %s", line);
		do_check(&check);
	}
	free(line);
	return 0;
}
