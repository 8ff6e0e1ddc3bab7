/* specimen: random RRD files, made by librrd.
 *
 * Everything comes from one random state, so that a seed makes the same files again (but for
 * rrdtool's own random(), which the caller seeds with srandom()). */
#ifndef SPECIMEN_H
#define SPECIMEN_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define SPECIMEN_DS_MAX 6
#define SPECIMEN_RRA_MAX 24

struct specimen_ds {
	char name[20];
	const char *type;
	unsigned heartbeat;     /* seconds */
	char min[24], max[24];
	char rpn[80];           /* COMPUTE only */
	int needs[2];           /* COMPUTE only: indices in the pool, −1 for none */
};

struct specimen {
	unsigned long step;
	time_t start;
	struct specimen_ds ds[SPECIMEN_DS_MAX];
	unsigned ds_cnt;
	char rra[SPECIMEN_RRA_MAX][96];
	unsigned rra_cnt;
	unsigned updates;
	bool fractions;         /* updates at fractions of a second */
};

void specimen_seed(uint64_t seed);
uint64_t specimen_below(uint64_t n);
bool specimen_chance(unsigned percent);

/* What two files are to be that have something in common, mostly; sometimes they contradict each
 * other.  The live one has no start yet. */
void specimen_random_pair(struct specimen *live, struct specimen *backup);
/* When a live file was created whose backup begins and ends so. */
time_t specimen_live_start(const struct specimen *backup, time_t backup_last,
			   unsigned long step);

/* Creates the file, gives it its updates, and sometimes does what befalls files: rows of any bits,
 * dump and restore, an old version, bytes appended.  Returns the time of the last update. */
time_t specimen_make(const char *path, const struct specimen *file);

/* The steps of it. */
void specimen_create(const char *path, const struct specimen *file);
time_t specimen_update(const char *path, const struct specimen *file);
/* To version 0001 ('1') or 0002 ('2'); false where the file is not of version 0003. */
bool specimen_make_old(const char *path, char version);

#endif
