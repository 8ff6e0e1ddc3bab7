#include "config.h"

#include "specimen.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oracle.h"

#define DS_MAX SPECIMEN_DS_MAX
#define RRA_MAX SPECIMEN_RRA_MAX
#define UPDATES_AT_ONCE 48      /* arguments of one rrd_update_r */
#define PATH_SIZE 512

static uint64_t state;

void specimen_seed(uint64_t seed)
{
	state = seed;
}

static uint64_t below(uint64_t n)
{
	return oracle_random(&state) % n;
}

static bool chance(unsigned percent)
{
	return below(100) < percent;
}

uint64_t specimen_below(uint64_t n)
{
	return below(n);
}

bool specimen_chance(unsigned percent)
{
	return chance(percent);
}

static double unit(void)
{
	return (double)(oracle_random(&state) >> 11) * 0x1p-53;
}

/* ---- data sources ---- */

static const char *const ds_types[] = {
	"GAUGE", "GAUGE", "GAUGE", "COUNTER", "DERIVE", "ABSOLUTE", "DCOUNTER", "DDERIVE"
};
static const char *const ds_names[] = {
	"1", "2", "rta", "pl", "in-octets", "a_name_of_19_letters"
};

static void random_limits(struct specimen_ds *ds)
{
	strcpy(ds->min, "U");
	strcpy(ds->max, "U");
	if (chance(25))
		snprintf(ds->min, sizeof(ds->min), "%d", (int)below(40) - 30);
	if (chance(25))
		snprintf(ds->max, sizeof(ds->max), "%d", (int)below(900) + 20);
}

static void random_formula(struct specimen_ds *ds, const struct specimen_ds *pool)
{
	const char *a = pool[ds->needs[0]].name;
	const char *b = ds->needs[1] < 0 ? a : pool[ds->needs[1]].name;

	switch (below(5)) {
	case 0:
		snprintf(ds->rpn, sizeof(ds->rpn), "%s,%d,*", a, (int)below(50) + 2);
		break;
	case 1:
		snprintf(ds->rpn, sizeof(ds->rpn), "%s,%s,+", a, b);
		break;
	case 2:
		snprintf(ds->rpn, sizeof(ds->rpn), "%s,UN,%s,%s,IF", a, b, a);
		break;
	case 3:
		snprintf(ds->rpn, sizeof(ds->rpn), "%s,%s,-", b, a);
		break;
	default:
		snprintf(ds->rpn, sizeof(ds->rpn), "%s,8,*,%s,MAX", a, b);
		break;
	}
}

/* The data sources that the two files draw from. */
static unsigned random_pool(struct specimen_ds *pool, unsigned long step)
{
	unsigned n = 1 + (unsigned)below(DS_MAX), plain = 0;

	for (unsigned i = 0; i < n; i++) {
		struct specimen_ds *ds = &pool[i];

		memset(ds, 0, sizeof(*ds));
		snprintf(ds->name, sizeof(ds->name), "%.19s", ds_names[i]);
		ds->type = ds_types[below(8)];
		ds->heartbeat = (unsigned)(step * (1 + below(6)));
		random_limits(ds);
		ds->needs[0] = ds->needs[1] = -1;
		if (plain && chance(20)) {
			ds->type = "COMPUTE";
			do
				ds->needs[0] = (int)below(i);
			while (pool[ds->needs[0]].needs[0] >= 0);
			do
				ds->needs[1] = (int)below(i);
			while (pool[ds->needs[1]].needs[0] >= 0);
			random_formula(ds, pool);
		} else {
			plain++;
		}
	}
	return n;
}

/* Appends pool members to a file in the order given; a COMPUTE after those that it needs. */
static void take_sources(struct specimen *file, const struct specimen_ds *pool, unsigned n,
			 const unsigned *order, const bool *taken)
{
	file->ds_cnt = 0;
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned k = 0; k < n; k++) {
			const struct specimen_ds *ds = &pool[order[k]];
			bool compute = ds->needs[0] >= 0, early = true;

			if (!taken[order[k]])
				continue;
			for (unsigned i = 0; compute && i < 2; i++) {
				bool seen = false;

				if (!taken[ds->needs[i]])
					goto next;
				for (unsigned j = 0; j < k; j++)
					seen |= order[j] == (unsigned)ds->needs[i];
				early &= seen;
			}
			if (early == (pass == 0))
				file->ds[file->ds_cnt++] = *ds;
next:
			continue;
		}
}

static void choose_sources(struct specimen *file, const struct specimen_ds *pool, unsigned n,
			   bool keep_order)
{
	unsigned order[DS_MAX];
	bool taken[DS_MAX];
	unsigned leave_out = chance(25) ? 40 : 0;

	for (unsigned i = 0; i < n; i++) {
		order[i] = i;
		taken[i] = !chance(leave_out);
	}
	for (unsigned i = n; i-- > 1 && !keep_order;) {
		unsigned j = (unsigned)below(i + 1), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	take_sources(file, pool, n, order, taken);
	if (file->ds_cnt == 0) {
		/* pool[0] is never a COMPUTE */
		file->ds[0] = pool[0];
		file->ds_cnt = 1;
	}
}

/* In the live file, sometimes another formula, or one data source of another type (none that a
 * COMPUTE builds on: what becomes of that one is not for us to say). */
static void contradict(struct specimen *live, const struct specimen_ds *pool)
{
	for (unsigned i = 0; i < live->ds_cnt; i++)
		if (live->ds[i].needs[0] >= 0 && chance(15))
			random_formula(&live->ds[i], pool);
	if (chance(10)) {
		struct specimen_ds *ds = &live->ds[below(live->ds_cnt)];
		const char *type = ds_types[below(8)];
		bool needed = ds->needs[0] >= 0;

		for (unsigned i = 0; i < DS_MAX; i++)
			for (unsigned k = 0; k < 2 && i < live->ds_cnt; k++)
				needed |= live->ds[i].needs[0] >= 0 &&
					  strcmp(pool[live->ds[i].needs[k]].name, ds->name) == 0;
		if (!needed)
			ds->type = type;
	}
}

/* ---- archives ---- */

struct archive {
	const char *cf;
	unsigned long resolution;       /* seconds */
};

static void add_archive(struct specimen *file, const struct archive *archive)
{
	static const char *const xffs[] = { "0", "0.5", "0.25", "0.99", "0.9" };
	unsigned long rows = 1 + below(chance(10) ? 900 : 150);

	if (archive->resolution % file->step || file->rra_cnt == RRA_MAX)
		return;
	snprintf(file->rra[file->rra_cnt++], sizeof(file->rra[0]), "RRA:%s:%s:%lu:%lu",
		 archive->cf, xffs[below(5)], archive->resolution / file->step, rows);
}

static void add_holt_winters(struct specimen *file)
{
	unsigned period = 3 + (unsigned)below(20);

	if (file->rra_cnt == RRA_MAX)
		return;
	snprintf(file->rra[file->rra_cnt++], sizeof(file->rra[0]), "RRA:%s:%u:0.1:0.0035:%u",
		 chance(30) ? "MHWPREDICT" : "HWPREDICT", period * 2 + (unsigned)below(60), period);
}

static void choose_archives(struct specimen *file, const struct archive *common, unsigned n,
			    unsigned long coarse_step, bool holt_winters)
{
	static const char *const cfs[] = { "AVERAGE", "MIN", "MAX", "LAST" };
	static const unsigned counts[] = { 1, 2, 5, 7, 30, 360 };

	file->rra_cnt = 0;
	for (unsigned i = 0; i < n; i++) {
		if (chance(85))
			add_archive(file, &common[i]);
		while (chance(12))
			add_archive(file, &common[i]);
	}
	while (file->rra_cnt == 0 || chance(25)) {
		struct archive own = { cfs[below(4)],
			(chance(50) ? file->step : coarse_step) * counts[below(6)] };

		add_archive(file, &own);
	}
	if (holt_winters)
		add_holt_winters(file);
	for (unsigned i = file->rra_cnt; i-- > 1;) {
		unsigned j = (unsigned)below(i + 1);
		char t[sizeof(file->rra[0])];

		memcpy(t, file->rra[i], sizeof(t));
		memcpy(file->rra[i], file->rra[j], sizeof(t));
		memcpy(file->rra[j], t, sizeof(t));
	}
}

static unsigned random_archives(struct archive *common, unsigned long step)
{
	static const char *const cfs[] = { "AVERAGE", "MIN", "MAX", "LAST" };
	static const unsigned counts[] = { 1, 1, 5, 7, 30, 360 };
	unsigned n = 1 + (unsigned)below(7);

	for (unsigned i = 0; i < n; i++) {
		common[i].cf = cfs[below(4)];
		common[i].resolution = step * counts[below(6)];
	}
	return n;
}

/* ---- files ---- */

void specimen_create(const char *path, const struct specimen *file)
{
	char text[DS_MAX + RRA_MAX][192];
	const char *argv[DS_MAX + RRA_MAX];
	int argc = 0;

	for (unsigned i = 0; i < file->ds_cnt; i++, argc++) {
		const struct specimen_ds *ds = &file->ds[i];

		if (strcmp(ds->type, "COMPUTE") == 0)
			snprintf(text[argc], sizeof(text[0]), "DS:%s:COMPUTE:%s", ds->name,
				 ds->rpn);
		else
			snprintf(text[argc], sizeof(text[0]), "DS:%s:%s:%u:%s:%s", ds->name,
				 ds->type, ds->heartbeat, ds->min, ds->max);
	}
	for (unsigned i = 0; i < file->rra_cnt; i++, argc++)
		snprintf(text[argc], sizeof(text[0]), "%s", file->rra[i]);
	for (int i = 0; i < argc; i++)
		argv[i] = text[i];
	rrd_clear_error();
	if (rrd_create_r(path, file->step, file->start, argc, argv)) {
		for (int i = 0; i < argc; i++)
			fprintf(stderr, "%s\n", argv[i]);
		oracle_die("cannot create %s: %s", path, rrd_get_error());
	}
}

struct series {
	double level;
	uint64_t count;
};

/* The next value of one data source, as text. */
static size_t print_value(char *text, size_t size, const struct specimen_ds *ds, struct series *s)
{
	s->level += (unit() - 0.5) * 20;
	if (chance(8))
		return (size_t)snprintf(text, size, ":U");
	if (strcmp(ds->type, "GAUGE") == 0)
		return (size_t)snprintf(text, size, ":%.*f", (int)below(7), s->level);
	if (strcmp(ds->type, "DDERIVE") == 0)
		return (size_t)snprintf(text, size, ":%.4f", s->level * 100);
	s->count = chance(2) ? below(1000) : s->count + below(3000);
	if (strcmp(ds->type, "DERIVE") == 0)
		return (size_t)snprintf(text, size, ":%" PRId64, (int64_t)(s->level * 1000));
	if (strcmp(ds->type, "DCOUNTER") == 0)
		return (size_t)snprintf(text, size, ":%.3f", (double)s->count / 3);
	if (strcmp(ds->type, "ABSOLUTE") == 0)
		return (size_t)snprintf(text, size, ":%" PRIu64, below(5000));
	return (size_t)snprintf(text, size, ":%" PRIu64, s->count);
}

static time_t next_time(time_t now, const struct specimen *file)
{
	uint64_t kind = below(100);
	uint64_t step = file->step;

	if (kind < 70)
		return now + 1 + (time_t)((double)step * (0.3 + 1.4 * unit()));
	if (kind < 85)
		return now + 1 + (time_t)below(step * 5);
	if (kind < 99)
		return now + 1 + (time_t)below(step * 12);
	return now + 1 + (time_t)below(chance(40) ? step * 700 : step * 30);
}

/* Gives the file its updates; returns the time of the last one. */
time_t specimen_update(const char *path, const struct specimen *file)
{
	struct series series[DS_MAX];
	char text[UPDATES_AT_ONCE][256];
	const char *argv[UPDATES_AT_ONCE];
	time_t now = file->start;
	unsigned done = 0;

	for (unsigned i = 0; i < DS_MAX; i++)
		series[i] = (struct series){ (unit() - 0.2) * 300, below(UINT64_C(1) << 33) };
	while (done < file->updates) {
		int argc = 0;

		for (; argc < UPDATES_AT_ONCE && done < file->updates; argc++, done++) {
			size_t at;

			now = next_time(now, file);
			at = (size_t)snprintf(text[argc], sizeof(text[0]), "%jd", (intmax_t)now);
			if (file->fractions)
				at += (size_t)snprintf(text[argc] + at, sizeof(text[0]) - at,
						       ".%03u", (unsigned)below(1000));
			for (unsigned i = 0; i < file->ds_cnt; i++)
				if (strcmp(file->ds[i].type, "COMPUTE"))
					at += print_value(text[argc] + at, sizeof(text[0]) - at,
							  &file->ds[i], &series[i]);
			argv[argc] = text[argc];
		}
		rrd_clear_error();
		if (rrd_update_r(path, NULL, argc, argv))
			oracle_die("cannot update %s: %s", path,
				   rrd_get_error());
	}
	return now;
}

/* Gives rows the values that no update would: any double at all, unknown ones with payloads.
 * The row written last stays, for a source is refused where its cdp_prep contradicts that. */
static void scramble_rows(const char *path)
{
	struct oracle db;

	if (oracle_read(&db, path) < 0)
		oracle_die("cannot read back %s", path);
	for (uint64_t rra = 0; rra < db.rra_cnt; rra++)
		for (uint64_t slot = 0; slot < db.rra[rra].row_cnt; slot++)
			for (uint64_t ds = 0; ds < db.ds_cnt; ds++) {
				uint64_t bits = oracle_random(&state);

				if (slot == db.ptr[rra].cur_row || chance(30))
					continue;
				if (chance(30))
					bits |= UINT64_C(0x7ff8000000000000);
				else if (chance(5))
					bits = UINT64_C(0x7ff0000000000000);
				else if (chance(5))
					bits = UINT64_C(0x8000000000000000);
				memcpy(db.bytes + oracle_cell(&db, rra, slot, ds), &bits,
				       sizeof(bits));
			}
	oracle_overwrite(path, db.bytes, db.size);
	oracle_free(&db);
}

static void through_xml(const char *path)
{
	char xml[PATH_SIZE + 8], self[] = "restore", force[] = "-f", from[PATH_SIZE + 8];
	char into[PATH_SIZE];
	char *argv[] = { self, force, from, into, NULL };

	snprintf(xml, sizeof(xml), "%s.xml", path);
	snprintf(from, sizeof(from), "%s", xml);
	snprintf(into, sizeof(into), "%s", path);
	rrd_clear_error();
	if (rrd_dump_r(path, xml) || rrd_restore(4, argv))
		oracle_die("dump and restore of %s: %s", path, rrd_get_error());
	unlink(xml);
}

/* Versions 0001 and 0002 have a bare time_t where a live_head_t stands in 0003. */
bool specimen_make_old(const char *path, char version)
{
	size_t size, at;
	uint8_t *bytes = oracle_slurp(path, &size);
	stat_head_t head;
	bool ours;

	memcpy(&head, bytes, sizeof(head));
	ours = memcmp(head.version, RRD_VERSION3, sizeof(head.version)) == 0;
	if (ours) {
		at = sizeof(head) + head.ds_cnt * sizeof(ds_def_t) +
		     head.rra_cnt * sizeof(rra_def_t) + sizeof(time_t);
		memmove(bytes + at, bytes + at + sizeof(long), size - at - sizeof(long));
		size -= sizeof(long);
		bytes[offsetof(stat_head_t, version) + 3] = (uint8_t)version;
		oracle_overwrite(path, bytes, size);
	}
	free(bytes);
	return ours;
}

static void append_garbage(const char *path)
{
	size_t size, more = 1 + below(chance(20) ? 9000 : 50);
	uint8_t *bytes = oracle_slurp(path, &size);
	uint8_t *longer = oracle_alloc(size + more, 1);

	memcpy(longer, bytes, size);
	for (size_t i = size; i < size + more; i++)
		longer[i] = (uint8_t)below(256);
	oracle_overwrite(path, longer, size + more);
	free(longer);
	free(bytes);
}

time_t specimen_make(const char *path, const struct specimen *file)
{
	time_t last;

	specimen_create(path, file);
	last = specimen_update(path, file);
	if (chance(10))
		through_xml(path);
	if (chance(15))
		scramble_rows(path);
	if (!file->fractions && chance(8))
		specimen_make_old(path, chance(50) ? '1' : '2');
	if (chance(8))
		append_garbage(path);
	return last;
}

void specimen_random_pair(struct specimen *live, struct specimen *backup)
{
	static const unsigned long steps[] = { 1, 10, 60, 300 };
	struct specimen_ds pool[DS_MAX];
	struct archive common[8];
	unsigned long coarse;
	unsigned n;
	bool holt_winters = chance(15);

	memset(live, 0, sizeof(*live));
	memset(backup, 0, sizeof(*backup));
	backup->step = steps[below(4)];
	live->step = chance(75) ? backup->step : steps[below(4)];
	coarse = live->step > backup->step ? live->step : backup->step;
	n = random_pool(pool, coarse);
	choose_sources(backup, pool, n, true);
	choose_sources(live, pool, n, chance(50));
	contradict(live, pool);
	n = random_archives(common, coarse);
	choose_archives(backup, common, n, coarse, holt_winters);
	choose_archives(live, common, n, coarse, holt_winters && chance(90));
	backup->updates = chance(3) ? 0 : 5 + (unsigned)below(250);
	live->updates = chance(8) ? 0 : (unsigned)below(chance(70) ? 40 : 150);
	backup->fractions = chance(8);
	live->fractions = chance(8);
	backup->start = (time_t)(1500000000 + below(150000000));
}

time_t specimen_live_start(const struct specimen *backup, time_t backup_last, unsigned long step)
{
	time_t span = backup_last - backup->start + 1;

	switch (below(8)) {
	case 0:
		return backup_last;
	case 1:
		return backup->start - (time_t)below((uint64_t)span);
	case 2:
	case 3:
		return backup->start + (time_t)below((uint64_t)span);
	case 4:
		return backup_last + (time_t)below((uint64_t)span);
	default:
		return backup_last + (time_t)below(step * (chance(25) ? 200 : 25));
	}
}
