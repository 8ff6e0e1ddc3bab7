/* outage: random outages for the judges of seams: what they are made of, their files, and how the
 * cells of these are compared.
 *
 * An outage is one stream of updates with a hole in it.  The old server's file has what came
 * before T1, its last update; live, created at T2, in the hole, has what came after, up to T3,
 * when it is merged.  All randomness is specimen.h's, so that a seed makes the same case again. */
#ifndef OUTAGE_H
#define OUTAGE_H

#include "oracle.h"

#define OUTAGE_DS_MAX 7         /* six, and a COMPUTE */
#define OUTAGE_RRA_MAX 22
#define OUTAGE_PATH_SIZE 512

/* How a case is merged. */
enum outage_how {
	OUTAGE_DAEMON = 1,      /* by rrdmergd, not rrdmerge */
	OUTAGE_OLDER = 2,       /* an older copy of the backup is given too: daemon only */
	OUTAGE_OLDER_FIRST = 4,
	OUTAGE_REBUILD = 8,
	OUTAGE_NO_SPREAD = 16,
	OUTAGE_EXACT = 32       /* rrdmerge only */
};

enum outage_file {
	OUTAGE_LIVE,
	OUTAGE_BACKUP,
	OUTAGE_OLDER_COPY,
	OUTAGE_TRUTH,           /* rrdtool's own: what live should be */
	OUTAGE_FRESH,           /* live before the merge */
	OUTAGE_MERGED,          /* … and after the first of two */
	OUTAGE_FILES
};

struct outage_source {
	char name[20];
	const char *type;
	unsigned heartbeat;     /* seconds */
	char min[24], max[24];
	char rpn[80];           /* COMPUTE only */
	double level;           /* where the walk of its values stands */
};

struct outage_archive {
	const char *cf;
	unsigned pdp_cnt, row_cnt;
	double xff;
};

/* The structure of a file. */
struct outage_shape {
	time_t step;
	struct outage_archive rra[OUTAGE_RRA_MAX];
	unsigned rra_cnt;
	unsigned season;                        /* rows of a Holt-Winters season, or 0 */
	unsigned order[OUTAGE_DS_MAX];          /* of the data sources; a COMPUTE is the last */
};

struct outage_stream {
	time_t *time;
	char (*text)[224];
	size_t count, room;
};

struct outage {
	uint64_t seed;
	unsigned how;                   /* enum outage_how */
	char path[OUTAGE_FILES][OUTAGE_PATH_SIZE];
	time_t step;                    /* seconds; the greater one of the two shapes */
	struct outage_source ds[OUTAGE_DS_MAX];
	unsigned ds_cnt, computes;
	struct outage_shape old, new;   /* backup's and live's */
	time_t coarsest;                /* seconds of a row */
	time_t leap;                    /* the most that two updates may be apart, seconds */
	time_t interval;                /* seconds between two checks */
	unsigned jitter;                /* percent of the interval */
	unsigned missed, unknown;       /* percent */
	bool fractions;                 /* updates at fractions of a second, but not at T1 */
	time_t t0, t1, t2, t3;          /* begun, crashed, begun again, merged */
	struct outage_stream before, since, further;
	size_t older_count;             /* updates that the older copy has */
	/* While it is judged: */
	struct oracle backup, older, fresh, merged;
	double scale[OUTAGE_DS_MAX];    /* greatest absolute value, in live's order */
};

/* A cell of the merged file. */
struct outage_cell {
	uint64_t rra, ds;
	const char *cf;
	time_t start, end;
	double is, must_be, was;        /* must_be: the truth's; was: before the merge */
};

/* ---- choosing ---- */

/* Between 1 and n, small ones as often as great ones. */
uint64_t outage_any_size(uint64_t n);
double outage_random_xff(void);

/* The data sources, 1 … `most` and now and then a COMPUTE; o->step stands. */
void outage_choose_sources(struct outage *o, unsigned most);
void outage_add_archive(struct outage_shape *s, const char *cf, unsigned pdp_cnt, double xff,
			unsigned rows);
void outage_shuffle(struct outage_shape *s);
/* When checks come, and the three streams; all else stands.  `gentle`: no update but that of T2
 * completes more rows than a ring has: rrdtool would write the first of them at a wrong time
 * (src/rrd_update.c, update_all_cdp_prep). */
void outage_choose_streams(struct outage *o, bool gentle);

/* ---- the files ---- */

/* A file with rows for all of the stream where it is `ample`. */
void outage_create(const struct outage *o, const struct outage_shape *s, enum outage_file file,
		   time_t start, bool ample);
void outage_feed(const struct outage *o, enum outage_file file, const struct outage_stream *s,
		 size_t first, size_t end);
/* What rrdtool is told at the new server's first second. */
void outage_feed_unknown(const struct outage *o, enum outage_file file);
void outage_copy(const struct outage *o, enum outage_file from, enum outage_file to);

/* ---- judging ---- */

void outage_read(const struct outage *o, struct oracle *db, enum outage_file file);
time_t outage_floor(time_t t, time_t step);
/* Does this function consolidate PDPs (AVERAGE, MIN, MAX, LAST)? */
bool outage_consolidates(const char *cf);
bool outage_is_compute(const struct outage *o, const struct outage_cell *c);
/* NaN where the ring does not hold the row that ends then. */
double outage_value(const struct oracle *db, uint64_t rra, uint64_t ds, time_t end);
bool outage_same(double a, double b);           /* to the bit */
/* As near as arithmetic in another order comes. */
bool outage_equal(const struct outage *o, uint64_t ds, double a, double b);
double outage_slack(const struct outage *o, uint64_t ds, double a, double b);
/* Has the cell this time in its midst: neither began then nor ended? */
bool outage_holds(const struct outage_cell *c, time_t time);
/* Are live's rows of one PDP, at the merge, all there that end in [first, last]? */
bool outage_live_has(const struct outage *o, time_t first, time_t last);
/* The backup's prep areas say what was in the row before T1; the rest must be read off live's rows
 * of one PDP, be it to see that there is nothing.  Is all that there? */
bool outage_live_tells(const struct outage *o, const struct outage_cell *c);

#endif
