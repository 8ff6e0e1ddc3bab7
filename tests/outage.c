/* Random outages. */
#include "config.h"

#include "outage.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "specimen.h"

#define UPDATES_AT_ONCE 64
#define PDPS_MAX 3000           /* in one part of a stream */
#define UPDATES_MAX 2000        /* likewise */
#define RELATIVE 1e-9           /* values as near as this are equal */
#define CANCELLED 1e-12         /* and so are these, of the greatest value of their DS */

static double unit(void)
{
	return (double)specimen_below(UINT64_C(1) << 53) * 0x1p-53;
}

uint64_t outage_any_size(uint64_t n)
{
	double size = exp(unit() * log((double)n + 1));

	return size < 1 ? 1 : size > (double)n ? n : (uint64_t)size;
}

time_t outage_floor(time_t t, time_t step)
{
	return t - t % step;
}

static time_t least(time_t a, time_t b)
{
	return a < b ? a : b;
}

bool outage_consolidates(const char *cf)
{
	return !strcmp(cf, "AVERAGE") || !strcmp(cf, "MIN") || !strcmp(cf, "MAX") ||
		!strcmp(cf, "LAST");
}

bool outage_is_compute(const struct outage *o, const struct outage_cell *c)
{
	return o->ds[o->new.order[c->ds]].rpn[0] != '\0';
}

/* ---- the structure ---- */

static void random_source(const struct outage *o, struct outage_source *ds, unsigned number)
{
	static const char *const types[] = {
		"GAUGE", "GAUGE", "COUNTER", "DERIVE", "ABSOLUTE", "DCOUNTER", "DDERIVE"
	};

	snprintf(ds->name, sizeof(ds->name), "d%u", number + 1);
	ds->type = types[specimen_below(sizeof(types) / sizeof(*types))];
	ds->heartbeat = (unsigned)o->step * (2 + (unsigned)outage_any_size(20));
	if (specimen_chance(20))
		ds->heartbeat = (unsigned)o->step * 2;
	if (specimen_chance(8))
		ds->heartbeat = 1 + (unsigned)specimen_below((uint64_t)o->step * 2);
	strcpy(ds->min, specimen_chance(10) ? "0" : "U");
	if (specimen_chance(10))
		snprintf(ds->max, sizeof(ds->max), "%u", 50 + (unsigned)specimen_below(2000));
	else
		strcpy(ds->max, "U");
	ds->level = unit() * 1000;
}

/* Its formulas are unknown where one of their data sources is. */
static void add_compute(struct outage *o)
{
	struct outage_source *ds = &o->ds[o->ds_cnt];
	unsigned a = 1 + (unsigned)specimen_below(o->ds_cnt);
	unsigned b = 1 + (unsigned)specimen_below(o->ds_cnt);
	static const char operators[] = "+-*";

	snprintf(ds->name, sizeof(ds->name), "d%u", o->ds_cnt + 1);
	ds->type = "COMPUTE";
	if (specimen_chance(50))
		snprintf(ds->rpn, sizeof(ds->rpn), "d%u,8,*", a);
	else
		snprintf(ds->rpn, sizeof(ds->rpn), "d%u,d%u,%c", a, b,
			 operators[specimen_below(3)]);
	o->ds_cnt++;
	o->computes = 1;
}

void outage_choose_sources(struct outage *o, unsigned most)
{
	o->ds_cnt = 1 + (unsigned)specimen_below(most);
	for (unsigned i = 0; i < o->ds_cnt; i++)
		random_source(o, &o->ds[i], i);
	if (specimen_chance(22))
		add_compute(o);
	for (unsigned i = 0; i < o->ds_cnt; i++)
		o->old.order[i] = o->new.order[i] = i;
}

double outage_random_xff(void)
{
	static const double common[] = { 0, 0.1, 0.2, 0.25, 0.3, 0.5, 0.5, 0.5, 0.6, 0.9, 0.99 };

	return specimen_chance(80) ? common[specimen_below(sizeof(common) / sizeof(*common))]
		: unit() * 0.99;
}

void outage_add_archive(struct outage_shape *s, const char *cf, unsigned pdp_cnt, double xff,
			unsigned rows)
{
	if (s->rra_cnt < OUTAGE_RRA_MAX)
		s->rra[s->rra_cnt++] = (struct outage_archive){ cf, pdp_cnt, rows, xff };
}

void outage_shuffle(struct outage_shape *s)
{
	for (unsigned i = s->rra_cnt; i > 1; i--) {
		unsigned j = (unsigned)specimen_below(i);
		struct outage_archive swap = s->rra[i - 1];

		s->rra[i - 1] = s->rra[j];
		s->rra[j] = swap;
	}
}

/* ---- the streams ---- */

static void put(char **at, const char *end, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void put(char **at, const char *end, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(*at, (size_t)(end - *at), format, ap);
	va_end(ap);
	if (n < 0 || n >= end - *at)
		oracle_die("an update is too long");
	*at += n;
}

static void random_value(struct outage_source *ds, time_t seconds, char **at, const char *end)
{
	double rate = unit() * 100 * (double)least(seconds, 100000);

	if (strcmp(ds->type, "GAUGE") == 0) {
		ds->level += (unit() - 0.5) * 50;
		put(at, end, ":%.12g", specimen_chance(30) ? floor(ds->level) : ds->level);
	} else if (strcmp(ds->type, "COUNTER") == 0) {
		ds->level = specimen_chance(1) ? 0 : floor(ds->level + rate);
		put(at, end, ":%.0f", ds->level);
	} else if (strcmp(ds->type, "DERIVE") == 0) {
		ds->level = floor(ds->level + rate - (specimen_chance(20) ? 2 * rate : 0));
		put(at, end, ":%.0f", ds->level);
	} else if (strcmp(ds->type, "ABSOLUTE") == 0) {
		put(at, end, ":%.0f", rate);
	} else if (strcmp(ds->type, "DCOUNTER") == 0) {
		ds->level = specimen_chance(1) ? 0.5 : ds->level + rate;
		put(at, end, ":%.6f", ds->level);
	} else {
		ds->level += rate - (specimen_chance(20) ? 2 * rate : 0);
		put(at, end, ":%.6f", ds->level);
	}
}

/* `unknown`: percent. */
static void add_update(struct outage *o, struct outage_stream *s, time_t last, time_t now,
		       unsigned unknown)
{
	bool all_unknown = unknown && specimen_chance(unknown / 4);
	char *at, *end;

	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 256;
		s->time = realloc(s->time, s->room * sizeof(*s->time));
		s->text = realloc(s->text, s->room * sizeof(*s->text));
		if (!s->time || !s->text)
			oracle_die("out of memory");
	}
	s->time[s->count] = now;
	at = s->text[s->count++];
	end = at + sizeof(*s->text);
	put(&at, end, "%jd", (intmax_t)now);
	if (o->fractions && specimen_chance(50))
		put(&at, end, ".%02u", (unsigned)specimen_below(100));
	for (unsigned i = 0; i < o->ds_cnt - o->computes; i++) {
		if (all_unknown || specimen_chance(unknown))
			put(&at, end, ":U");
		else
			random_value(&o->ds[i], now - last, &at, end);
	}
}

/* The time of the check after `now`. */
static time_t next_time(const struct outage *o, time_t now)
{
	time_t next = now + o->interval;

	if (!o->jitter && o->interval % o->step == 0 && specimen_chance(95))
		return next;
	if (o->jitter)
		next += (time_t)((unit() - 0.5) * (double)o->interval * o->jitter / 50);
	if (o->missed && specimen_chance(o->missed))
		next += (time_t)outage_any_size((uint64_t)o->interval * 40);
	if (specimen_chance(5))         /* on the dot */
		next = outage_floor(next, o->step);
	next = least(next, now + o->leap);
	return next > now ? next : now + 1;
}

/* From `now`, the last update, until no more update is at or before `until`.  Returns the time
 * of the last one. */
static time_t random_updates(struct outage *o, struct outage_stream *s, time_t now, time_t until)
{
	for (;;) {
		time_t next = next_time(o, now);

		if (next > until)
			return now;
		add_update(o, s, now, next, o->unknown);
		now = next;
	}
}

/* A length of time: within a coarse row, or over some of them. */
static time_t random_length(const struct outage *o)
{
	uint64_t coarse = (uint64_t)(o->coarsest / o->step) + 1;
	uint64_t pdps = specimen_chance(25) ? outage_any_size(12)
		: specimen_chance(45) ? outage_any_size(2 * coarse) : outage_any_size(8 * coarse);

	if (pdps > PDPS_MAX)
		pdps = PDPS_MAX;
	return least((time_t)pdps * o->step, UPDATES_MAX * o->interval) +
		(time_t)specimen_below((uint64_t)o->step);
}

/* Returns T2.  With a heartbeat of less than two steps, the PDP that is open at T1 depends on T2
 * where that is in the very next step: no file tells. */
static time_t random_gap(const struct outage *o)
{
	time_t next = outage_floor(o->t1, o->step) + o->step;   /* the first second after */
	time_t t2;

	for (unsigned i = 0; i < o->ds_cnt - o->computes; i++)
		if (o->ds[i].heartbeat < 2 * o->step)
			next = outage_floor(o->t1, o->step) + 2 * o->step;
	t2 = next;
	if (specimen_chance(25))
		t2 += (time_t)specimen_below((uint64_t)o->step * 3);
	else
		t2 += random_length(o) * (specimen_chance(10) ? 5 : 1);
	if (specimen_chance(15) && outage_floor(t2, o->step) >= next)
		t2 = outage_floor(t2, o->step);
	return t2;
}

static void add_last(struct outage *o, time_t now, unsigned unknown)
{
	add_update(o, &o->before, o->t1, now, unknown);
	o->t1 = now;
}

/* The backup's last PDP, of more than one piece, some of them unknown: now and then half of it to
 * the second. */
static void random_last_words(struct outage *o)
{
	time_t dot = outage_floor(o->t1, o->step) + o->step;
	unsigned pieces = 1 + (unsigned)specimen_below(4);

	if (o->step > 2 && specimen_chance(40)) {
		add_last(o, dot, o->unknown);
		add_last(o, dot + o->step / 2, 90);
		add_last(o, dot + o->step / 2 + 1 +
			 (time_t)specimen_below((uint64_t)o->step / 2 - 1), 10);
		return;
	}
	for (unsigned i = 0; i < pieces; i++)
		add_last(o, o->t1 + 1 + (time_t)specimen_below((uint64_t)o->step / pieces + 1), 50);
}

static void random_end(struct outage *o)
{
	bool fractions = o->fractions;

	o->fractions = false;   /* else the last PDP depends on T2 */
	if (o->leap <= 2 * o->step && !fractions)
		return;
	if (specimen_chance(20))        /* crashed on the dot */
		add_last(o, outage_floor(o->t1, o->step) + o->step, o->unknown);
	else if (specimen_chance(35))
		random_last_words(o);
	else if (fractions)
		add_last(o, o->t1 + 1 + (time_t)specimen_below((uint64_t)o->step), o->unknown);
	o->fractions = fractions;
}

/* What comes after the merge, so that what was open is completed. */
static void random_further(struct outage *o)
{
	time_t end = outage_floor(o->t3, o->coarsest) + 3 * o->coarsest;
	time_t last = random_updates(o, &o->further, o->t3,
		least(end + 2 * o->interval, o->t3 + UPDATES_MAX * o->interval));

	if (last >= end)
		end = last + 1;
	if (end - last <= o->leap)
		add_update(o, &o->further, last, end, 0);
}

static void measure(struct outage *o, const struct outage_shape *s, bool gentle)
{
	for (unsigned i = 0; i < s->rra_cnt; i++) {
		time_t size = s->step * (time_t)s->rra[i].pdp_cnt;

		if (size > o->coarsest)
			o->coarsest = size;
		if (gentle)
			o->leap = least(o->leap, size * (time_t)(s->rra[i].row_cnt - 2));
	}
}

static void random_checks(struct outage *o)
{
	o->interval = specimen_chance(50) ? o->step : least(o->old.step, o->new.step);
	if (specimen_chance(20))
		o->interval = 1 + (time_t)specimen_below((uint64_t)o->step * 4);
	o->interval = least(o->interval, o->leap);
	o->jitter = specimen_chance(40) ? 0 : (unsigned)specimen_below(90);
	o->missed = specimen_chance(40) ? 0 : 1 + (unsigned)specimen_below(6);
	o->unknown = specimen_chance(40) ? 0 : (unsigned)outage_any_size(50);
}

void outage_choose_streams(struct outage *o, bool gentle)
{
	time_t first;

	o->leap = 1000000000;
	measure(o, &o->old, gentle);
	measure(o, &o->new, gentle);
	random_checks(o);
	o->t0 = 1600000000 + (time_t)specimen_below(100000000);
	if (specimen_chance(20))
		o->t0 = outage_floor(o->t0, o->step);
	o->t1 = random_updates(o, &o->before, o->t0, o->t0 + o->interval + random_length(o));
	random_end(o);
	o->t2 = o->t3 = random_gap(o);
	if (!specimen_chance(3)) {
		first = o->t2 + (specimen_chance(50) ? 1 : o->interval);
		add_update(o, &o->since, o->t1, first, o->unknown);
		o->t3 = random_updates(o, &o->since, first, first + random_length(o) - 1);
	}
	random_further(o);
	o->older_count = o->before.count;
	if (o->before.count > 1)
		o->older_count -= specimen_chance(50) ? outage_any_size(o->before.count - 1)
			: 1 + specimen_below(o->before.count - 1);
}

/* ---- the files ---- */

static unsigned number_of(const struct outage_shape *s, const char *cf)
{
	unsigned i = 0;

	while (i < s->rra_cnt && strcmp(s->rra[i].cf, cf))
		i++;
	return i + 1;
}

static void archive_text(const struct outage_shape *s, const struct outage_archive *rra,
			 unsigned rows, char *text, size_t size)
{
	if (strcmp(rra->cf, "HWPREDICT") == 0)
		snprintf(text, size, "RRA:HWPREDICT:%u:0.1:0.0035:%u:%u", rows, s->season,
			 number_of(s, "SEASONAL"));
	else if (strcmp(rra->cf, "SEASONAL") == 0 || strcmp(rra->cf, "DEVSEASONAL") == 0)
		snprintf(text, size, "RRA:%s:%u:0.1:%u", rra->cf, s->season,
			 number_of(s, "HWPREDICT"));
	else if (strcmp(rra->cf, "DEVPREDICT") == 0)
		snprintf(text, size, "RRA:DEVPREDICT:%u:%u", rows, number_of(s, "DEVSEASONAL"));
	else if (strcmp(rra->cf, "FAILURES") == 0)
		snprintf(text, size, "RRA:FAILURES:%u:2:3:%u", rows, number_of(s, "DEVSEASONAL"));
	else
		snprintf(text, size, "RRA:%s:%.15g:%u:%u", rra->cf, rra->xff, rra->pdp_cnt, rows);
}

void outage_create(const struct outage *o, const struct outage_shape *s, enum outage_file file,
		   time_t start, bool ample)
{
	char text[OUTAGE_DS_MAX + OUTAGE_RRA_MAX][160];
	const char *argv[OUTAGE_DS_MAX + OUTAGE_RRA_MAX];
	time_t end = o->further.count ? o->further.time[o->further.count - 1] : o->t3;
	int argc = 0;

	for (unsigned i = 0; i < o->ds_cnt; i++, argc++) {
		const struct outage_source *ds = &o->ds[s->order[i]];

		argv[argc] = text[argc];
		if (ds->rpn[0])
			snprintf(text[argc], sizeof(text[argc]), "DS:%s:COMPUTE:%s", ds->name,
				 ds->rpn);
		else
			snprintf(text[argc], sizeof(text[argc]), "DS:%s:%s:%u:%s:%s", ds->name,
				 ds->type, ds->heartbeat, ds->min, ds->max);
	}
	for (unsigned i = 0; i < s->rra_cnt; i++, argc++) {
		time_t size = s->step * (time_t)s->rra[i].pdp_cnt;

		argv[argc] = text[argc];
		archive_text(s, &s->rra[i], ample ? (unsigned)((end - o->t0) / size) + 5
			     : s->rra[i].row_cnt, text[argc], sizeof(text[argc]));
	}
	rrd_clear_error();
	if (rrd_create_r(o->path[file], (unsigned long)s->step, start, argc, argv))
		oracle_die("seed %" PRIu64 ": create: %s", o->seed, rrd_get_error());
}

/* The order in which a stream has the values. */
static const char *order(const struct outage *o)
{
	static char text[OUTAGE_DS_MAX * 24];

	text[0] = '\0';
	for (unsigned i = 0; i < o->ds_cnt - o->computes; i++) {
		if (i)
			strcat(text, ":");
		strcat(text, o->ds[i].name);
	}
	return text;
}

static void update(const struct outage *o, enum outage_file file, int n, const char **argv)
{
	rrd_clear_error();
	if (rrd_update_r(o->path[file], order(o), n, argv))
		oracle_die("seed %" PRIu64 ": update: %s", o->seed, rrd_get_error());
}

void outage_feed(const struct outage *o, enum outage_file file, const struct outage_stream *s,
		 size_t first, size_t end)
{
	const char *argv[UPDATES_AT_ONCE];

	while (first < end) {
		int n = 0;

		while (n < UPDATES_AT_ONCE && first < end)
			argv[n++] = s->text[first++];
		update(o, file, n, argv);
	}
}

void outage_feed_unknown(const struct outage *o, enum outage_file file)
{
	char text[64 + 2 * OUTAGE_DS_MAX], *at = text;
	const char *argv[] = { text };

	put(&at, text + sizeof(text), "%jd", (intmax_t)o->t2);
	for (unsigned i = 0; i < o->ds_cnt - o->computes; i++)
		put(&at, text + sizeof(text), ":U");
	update(o, file, 1, argv);
}

void outage_copy(const struct outage *o, enum outage_file from, enum outage_file to)
{
	size_t size;
	uint8_t *bytes = oracle_slurp(o->path[from], &size);

	oracle_spill(o->path[to], bytes, size);
	free(bytes);
}

void outage_read(const struct outage *o, struct oracle *db, enum outage_file file)
{
	if (oracle_read(db, o->path[file]) < 0)
		oracle_die("seed %" PRIu64 ": librrd cannot read %s", o->seed, o->path[file]);
}

/* ---- comparing ---- */

double outage_value(const struct oracle *db, uint64_t rra, uint64_t ds, time_t end)
{
	int64_t slot = oracle_slot(db, rra, end);

	return slot < 0 ? NAN
		: oracle_value(db->bytes, oracle_cell(db, rra, (uint64_t)slot, ds));
}

bool outage_same(double a, double b)
{
	return memcmp(&a, &b, sizeof(a)) == 0;
}

double outage_slack(const struct outage *o, uint64_t ds, double a, double b)
{
	return fmax(RELATIVE * fmax(fabs(a), fabs(b)), CANCELLED * o->scale[ds]);
}

bool outage_equal(const struct outage *o, uint64_t ds, double a, double b)
{
	if (isnan(a) || isnan(b))
		return isnan(a) && isnan(b);
	return a == b || fabs(a - b) <= outage_slack(o, ds, a, b);
}

bool outage_holds(const struct outage_cell *c, time_t time)
{
	return c->start < time && time < c->end;
}

bool outage_live_has(const struct outage *o, time_t first, time_t last)
{
	unsigned rows = 0;

	if (first > last)
		return true;
	for (unsigned i = 0; i < o->new.rra_cnt; i++) {
		const struct outage_archive *rra = &o->new.rra[i];

		if (rra->pdp_cnt == 1 && rra->row_cnt > rows && outage_consolidates(rra->cf))
			rows = rra->row_cnt;
	}
	return rows && first > outage_floor(o->t3, o->new.step) - (time_t)rows * o->new.step;
}

bool outage_live_tells(const struct outage *o, const struct outage_cell *c)
{
	time_t now = outage_floor(o->t3, o->new.step);
	/* the first PDP of which the backup's areas say nothing */
	time_t first = outage_floor(o->t1 + o->new.step - 1, o->new.step) + o->new.step;

	return outage_live_has(o, first, least(c->end, now));
}
