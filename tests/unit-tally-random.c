/* unit-tally-random: tally through any sequence of calls, with many files, from many threads. */
#include "config.h"
#include "tally.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tallying.h"

static unsigned seed;

/* ---- any sequence at all, against a plain list ---- */

enum { NEW = 100, NAMES = 40 };

struct model {
	bool live, backup, met, pending, retried, settled, unpaired, merged;
	unsigned outcome;       /* an enum merge_outcome, or NEW */
	const char *why;        /* NULL: not refused */
	enum merge_denied denied;
	unsigned sources;
	unsigned unsaid;        /* its turn; 0: said */
	unsigned scan;
	ino_t ino;              /* 0: not seen */
	int64_t ctime_ns;
	bool alarmed;
	unsigned alarms;
	bool half_seen;
};

static struct model models[NAMES];
static unsigned turn, model_scan;
static uint64_t model_cells;

/* What is left of it when it is not live any more. */
static void model_gone(struct model *m)
{
	*m = (struct model){ .backup = m->backup, .met = m->met, .scan = m->scan };
	if (!m->backup)                 /* nothing of it is remembered */
		*m = (struct model){ 0 };
}

static bool model_done(const struct model *m)
{
	return !m->pending && (m->settled || ((m->outcome == MERGE_SKIPPED || m->unpaired) && !m->backup));
}

static void name_of(size_t i, char name[16])
{
	snprintf(name, 16, "d%zu/f%02zu", i % 4, i);
}

static void assert_as_modelled(struct tally *tally)
{
	struct tally_sums sums = tally_sums(tally), mine = { 0 };

	for (size_t i = 0; i < NAMES; i++) {
		const struct model *m = &models[i];

		mine.waiting += m->backup && !m->live;
		if (!m->live)
			continue;
		mine.live++;
		mine.merged += m->outcome == MERGE_MERGED;
		mine.unchanged += m->outcome == MERGE_UNCHANGED;
		mine.skipped += m->outcome == MERGE_SKIPPED;
		mine.failed += m->outcome == MERGE_FAILED;
		mine.pending += m->pending;
		mine.retried += m->retried;
		mine.refused += m->why != NULL;
		mine.unsaid += m->unsaid > 0;
		if (m->denied)
			mine.denied[m->denied]++;
		mine.half_seen += m->half_seen;
		mine.paired += m->sources > 0;
		mine.unsettled += !m->settled && ((m->outcome != MERGE_SKIPPED && !m->unpaired) || m->backup);
	}
	mine.cells = model_cells;
	mine.changes = sums.changes;
	assert_memory_equal(&sums, &mine, sizeof(sums));
}

/* The same for what is handed out of one file, and for the lists. */
static void assert_told_as_modelled(struct tally *tally, size_t i)
{
	static const enum tally_which all[] = { TALLY_LIVE, TALLY_UNMET, TALLY_WAITING,
		TALLY_DENIED, TALLY_DENIED, TALLY_DENIED };
	struct reason why = { "" };
	char name[16];

	name_of(i, name);
	assert_int_equal(tally_why(tally, name, &why), models[i].why != NULL);
	assert_string_equal(why.text, models[i].why ? models[i].why : "");
	unsigned in_s = models[i].alarms > 3 ? 60u << (models[i].alarms - 4) : 1;
	assert_int_equal(tally_written_to(tally, name, false), in_s < 3600 ? in_s : 3600);
	for (size_t n = 0; n < 6; n++) {
		enum merge_denied denied = (enum merge_denied)(n < 3 ? 0 : n - 2);
		size_t count, at = 0;
		char **list = tally_list(tally, all[n], denied, 0, &count);

		for (size_t j = 0; j < 4 * NAMES; j++) {        /* in the order of the names */
			size_t k = j % NAMES;
			const struct model *m = &models[k];
			bool wanted = all[n] == TALLY_WAITING ? m->backup && !m->live : m->live;

			if (k % 4 != j / NAMES)
				continue;
			if (all[n] == TALLY_UNMET)
				wanted = wanted && m->scan != model_scan;
			if (all[n] == TALLY_DENIED)
				wanted = wanted && m->denied == denied;
			if (!wanted)
				continue;
			name_of(k, name);
			assert_true(at < count);
			assert_string_equal(list[at++], name);
		}
		assert_int_equal(at, count);
		tally_list_free(list, count);
	}
}

static void live_at_random(struct tally *tally, const char *name, struct model *m)
{
	bool scan = rand() % 2, settled = false;

	assert_int_equal(tally_live(tally, name, scan, &settled), 0);
	if (!m->live) {
		m->live = m->pending = true;
		m->outcome = NEW;
	}
	if (scan)
		m->scan = model_scan;
	assert_int_equal(settled, model_done(m));
}

static struct io_stamp stamp_at_random(void)
{
	struct io_stamp stamp = first;

	stamp.ino = (ino_t)(rand() % 8 ? 1 + rand() % 2 : 0);
	stamp.ctime_ns = rand() % 2;
	return stamp;
}

/* No words are of a denial and of something else as well. */
static const char *const words[2][MERGE_DENIALS] = {
	{ "one", "may not read the backup's", "may not read", "may not write" },
	{ "two", "must not read the backup's", "must not read", "must not write" },
};

static struct merge_result random_result(void)
{
	static const enum merge_outcome outcomes[] = { MERGE_MERGED, MERGE_UNCHANGED, MERGE_SKIPPED,
		MERGE_GONE, MERGE_BUSY, MERGE_RESTING, MERGE_TORN, MERGE_QUIET, MERGE_FAILED };
	struct merge_result r = { .outcome = outcomes[rand() % 9] };

	r.partial = r.outcome <= MERGE_UNCHANGED && rand() % 4 == 0;
	if (r.partial || r.outcome == MERGE_FAILED) {
		r.denied = (enum merge_denied)(rand() % MERGE_DENIALS);
		reason_set(&r.why, "%s", words[rand() % 2][r.denied]);
	}
	r.source_missing = rand() % 2;
	r.settled = r.outcome <= MERGE_UNCHANGED && rand() % 2;
	r.sources = r.outcome == MERGE_SKIPPED ? 0 : 1 + (unsigned)rand() % 2;
	r.stamp = stamp_at_random();
	r.counts.cells = r.outcome == MERGE_MERGED ? (uint64_t)rand() % 100 : 0;
	return r;
}

static const char *kept_words(const char *text)
{
	for (size_t i = 0; i < 2 * MERGE_DENIALS; i++)
		if (!strcmp(words[i / MERGE_DENIALS][i % MERGE_DENIALS], text))
			return words[i / MERGE_DENIALS][i % MERGE_DENIALS];
	return NULL;
}

static void model_refusal(struct model *m, const struct merge_result *r, bool refusal)
{
	bool fresh = refusal && (!m->why || strcmp(m->why, r->why.text));

	if (!refusal || fresh)
		m->unsaid = 0;
	if (fresh && !r->denied)
		m->unsaid = ++turn;
	m->why = refusal ? kept_words(r->why.text) : NULL;
	m->denied = refusal ? r->denied : MERGE_ALLOWED;
}

static void result_at_random(struct tally *tally, const char *name, struct model *m)
{
	struct merge_result r = random_result();
	bool ends = r.outcome < MERGE_BUSY, same = r.stamp.ino && r.stamp.ino == m->ino;
	bool refusal = r.partial || r.outcome == MERGE_FAILED;

	tally_result(tally, name, &r, !ends || rand() % 8 == 0);
	if (r.outcome != MERGE_GONE)
		model_cells += r.counts.cells;
	if (!m->live)
		return;
	if (r.outcome == MERGE_GONE) {
		model_gone(m);
		return;
	}
	m->pending = m->retried = !ends;
	m->unpaired = r.outcome == MERGE_SKIPPED && !r.source_missing;
	m->half_seen = r.source_missing && !(m->settled && same);
	if (!(m->settled && r.source_missing && same)) {
		m->settled = r.settled;
		m->sources = r.sources;
	}
	m->merged = m->merged || r.outcome == MERGE_MERGED;
	if (r.outcome == MERGE_FAILED)
		m->outcome = MERGE_FAILED;
	else if (ends && m->merged)
		m->outcome = MERGE_MERGED;
	else if (ends && !(r.outcome == MERGE_SKIPPED && r.source_missing &&
			   m->outcome == MERGE_UNCHANGED))
		m->outcome = r.outcome;
	if (ends)
		model_refusal(m, &r, refusal);
	if (r.stamp.ino) {
		m->ino = r.stamp.ino;
		m->ctime_ns = r.stamp.ctime_ns;
	}
	if (ends && m->alarmed)
		m->alarms = r.counts.cells ? 0 : m->alarms < 10 ? m->alarms + 1 : 10;
	if (ends)
		m->alarmed = false;
}

static void same_at_random(struct tally *tally, const char *name, struct model *m)
{
	struct io_stamp now = stamp_at_random();
	bool rewritten = rand() % 2, same;

	now.ino += now.ino == 0;        /* a stat always sees one */
	same = tally_same(tally, name, &now, rewritten);
	if (!m->live) {
		assert_false(same);
		return;
	}
	bool other = now.ino != m->ino || (rewritten && now.ctime_ns != m->ctime_ns);
	assert_int_equal(same, !other && (rewritten ? !m->pending : model_done(m)));
	if (other) {
		m->settled = false;
		m->pending = true;
		m->retried = false;
		m->alarmed = rewritten;
	}
}

static void backup_at_random(struct tally *tally, const char *name, struct model *m)
{
	bool look = backup(tally, name);

	m->backup = m->met = true;
	if (!m->live || m->pending)
		assert_false(look);
	else if (!m->sources)
		assert_true(look);
}

static void end_backups(struct tally *tally)
{
	bool whole = rand() % 2;

	tally_backups_end(tally, whole);
	tally_backups_begin(tally);
	for (size_t i = 0; i < NAMES; i++) {
		struct model *m = &models[i];

		if (whole)
			m->backup = m->backup && m->met;
		m->met = false;
		if (!m->live && !m->backup)
			model_gone(m);
	}
}

static void next_at_random(struct tally *tally)
{
	struct model *oldest = NULL;
	char name[16] = "";

	for (size_t i = 0; i < NAMES; i++)
		if (models[i].unsaid && (!oldest || models[i].unsaid < oldest->unsaid))
			oldest = &models[i];
	if (!oldest) {
		assert_next(tally, NULL, NULL, false);
		return;
	}
	name_of((size_t)(oldest - models), name);
	assert_next(tally, name, oldest->why, oldest->outcome != MERGE_FAILED);
	oldest->unsaid = 0;
}

static void new_sources(struct tally *tally)
{
	tally_new_sources(tally);
	for (size_t i = 0; i < NAMES; i++) {
		struct model *m = &models[i];

		m->settled = m->backup = false;
		m->pending = m->live;
		m->retried = false;
		m->sources = 0;
		if (!m->live)
			model_gone(m);
	}
}

static void act_at_random(struct tally *tally, size_t i)
{
	struct model *m = &models[i];
	char name[16], dir[8];

	name_of(i, name);
	switch (rand() % 200) {
	default:
		live_at_random(tally, name, m);
		break;
	case 40 ... 99:
		result_at_random(tally, name, m);
		break;
	case 100 ... 119:
		backup_at_random(tally, name, m);
		break;
	case 120 ... 159:
		same_at_random(tally, name, m);
		break;
	case 160 ... 169:
		tally_gone(tally, name);
		if (m->live)
			model_gone(m);
		break;
	case 170 ... 180:
		next_at_random(tally);
		break;
	case 181 ... 182:
		end_backups(tally);
		break;
	case 183:
		tally_scan_begin(tally);
		model_scan++;
		break;
	case 184:
		snprintf(dir, sizeof(dir), "d%zu", i % 4);
		tally_gone_beneath(tally, dir);
		for (size_t j = i % 4; j < NAMES; j += 4)
			if (models[j].live)
				model_gone(&models[j]);
		break;
	case 185:
		new_sources(tally);
		break;
	}
}

static void test_random(void **state)
{
	struct tally *tally = *state;

	srand(seed);
	tally_backups_begin(tally);
	for (unsigned n = 0; n < 40000; n++) {
		size_t i = (size_t)rand() % NAMES;
		uint64_t changes = tally_sums(tally).changes;

		act_at_random(tally, i);
		assert_as_modelled(tally);
		assert_true(tally_sums(tally).changes >= changes);
		if (n % 8 == 0)
			assert_told_as_modelled(tally, i);
	}
}

static void test_many(void **state)
{
	enum { FILES = 100000 };
	struct tally *tally = *state;
	char name[64];

	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "host%d/service%d.rrd", i % 997, i);
		live(tally, name);
		backup(tally, name);
		tell(tally, name, MERGE_MERGED);
	}
	assert_sums(tally, FILES, FILES, 0, 0, 0, 0);
	tally_gone_beneath(tally, "host5");
	assert_int_equal(tally_sums(tally).live + waiting(tally), FILES);
	tally_gone_beneath(tally, "");
	assert_int_equal(waiting(tally), FILES);
	tally_backups_begin(tally);
	tally_backups_end(tally, true);
	assert_int_equal(waiting(tally), 0);
}

/* ---- many at once ---- */

enum { THREADS = 4, OWN = 500 };

struct crowd {
	struct tally *tally;
	atomic_uint number, handed, faults;
	atomic_uchar said[THREADS * OWN];
};

/* Each thread has refusals of its own, and all hand them out. */
static void hand_out(struct crowd *crowd)
{
	char rel[32];
	struct reason why;
	bool partial;
	unsigned i;

	if (!tally_next_refusal(crowd->tally, rel, sizeof(rel), &why, &partial))
		return;
	if (sscanf(rel, "own%u", &i) != 1 || i >= THREADS * OWN || crowd->said[i]++)
		crowd->faults++;
	crowd->handed++;
}

static void meddle(struct tally *tally, int i)
{
	struct reason why;
	char name[16];
	size_t count;
	bool out = false;

	snprintf(name, sizeof(name), "d/f%d", i % 50);
	tally_live(tally, name, i % 2, &out);
	tally_backup(tally, name, &out);
	finish(tally, name, &first);
	tally_same(tally, name, &first, i % 2);
	tally_written_to(tally, name, false);
	fail_with(tally, name, "may not", i % 3 ? MERGE_DENIED_READ : MERGE_DENIED_WRITE);
	tally_why(tally, name, &why);
	if (i % 3 == 0)
		tally_gone(tally, name);
	if (i % 100)
		return;
	char **list = tally_list(tally, (enum tally_which)(i / 100 % 4), MERGE_DENIED_READ, 10,
				 &count);
	tally_list_free(list, count);
	tally_scan_begin(tally);
	tally_gone_beneath(tally, "d");
	tally_backups_begin(tally);
	tally_backups_end(tally, i % 200);
	if (i % 500 == 0)
		tally_new_sources(tally);
}

static void *join_crowd(void *arg)
{
	struct crowd *crowd = arg;
	unsigned number = crowd->number++;
	char name[16];

	for (int i = 0; i < 3000; i++) {
		meddle(crowd->tally, i);
		if (i < OWN) {
			snprintf(name, sizeof(name), "own%d", (int)number * OWN + i);
			live(crowd->tally, name);
			fail_with(crowd->tally, name, "words", MERGE_ALLOWED);
		}
		hand_out(crowd);
		if (tally_sums(crowd->tally).unsaid > THREADS * OWN)
			crowd->faults++;
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct tally *tally = *state;
	struct crowd *crowd = calloc(1, sizeof(*crowd));
	pthread_t threads[THREADS];
	struct tally_sums sums, zero = { 0 };

	assert_non_null(crowd);
	crowd->tally = tally;
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, join_crowd, crowd), 0);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(crowd->handed, THREADS * OWN);
	assert_int_equal(crowd->faults, 0);
	free(crowd);
	sums = tally_sums(tally);
	assert_int_equal(sums.refused - sums.denied[MERGE_DENIED_READ] -
			 sums.denied[MERGE_DENIED_WRITE], THREADS * OWN);
	tally_gone_beneath(tally, "");
	tally_backups_begin(tally);
	tally_backups_end(tally, true);
	zero.changes = tally_sums(tally).changes;
	assert_same_sums(tally, &zero);
}

int main(void)
{
	const char *given = getenv("SEED");
	const struct CMUnitTest tests[] = {
		TEST(test_random),
		TEST(test_many),
		TEST(test_threads),
	};

	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	print_message("SEED=%u\n", seed);
	alarm(120);                     /* a lock held twice would hang */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
