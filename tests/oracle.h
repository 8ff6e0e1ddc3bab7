/* oracle: RRD files as librrd reads them, and what a merge must make of a pair.
 *
 * Nothing of the project's own src/ is used here, and these programs are compiled without
 * src/ in the include path (it has an rrd.h of its own): rrdtool is the authority. */
#ifndef ORACLE_H
#define ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>

#define RRD_EXPORT_DEPRECATED
#include <rrd.h>
#include <rrd_format.h>

/* A database as it was at the moment it was read. */
struct oracle {
	uint8_t *bytes;         /* the whole file */
	size_t size;            /* bytes */
	size_t header_len;      /* the rows begin here */
	size_t rows_end;        /* what follows is none of rrdtool's business */
	uint64_t ds_cnt, rra_cnt, step;
	int64_t last_up;
	ds_def_t *ds;           /* [ds_cnt] */
	rra_def_t *rra;         /* [rra_cnt] */
	rra_ptr_t *ptr;         /* [rra_cnt] */
	size_t *offset;         /* [rra_cnt]: where an RRA's rows begin */
	char **rpn;             /* [ds_cnt]: a COMPUTE data source's formula in names, or NULL */
	struct stat st;
};

/* Reads a file.  0, or −1 with rrdtool's reason printed to stderr. */
int oracle_read(struct oracle *db, const char *path);
void oracle_free(struct oracle *db);

/* Seconds between two rows. */
int64_t oracle_resolution(const struct oracle *db, uint64_t rra);
/* End time of the row in a slot (rrdtool src/rrd_dump.c). */
int64_t oracle_time(const struct oracle *db, uint64_t rra, uint64_t slot);
/* The slot of the row that ends at `time`, or −1 where the ring does not hold it. */
int64_t oracle_slot(const struct oracle *db, uint64_t rra, int64_t time);
/* Where a cell stands in the file, and what it holds. */
size_t oracle_cell(const struct oracle *db, uint64_t rra, uint64_t slot, uint64_t ds);
double oracle_value(const uint8_t *bytes, size_t offset);

/* Asks rrd_fetch_r for one RRA and compares its rows and times with ours.  `first` chooses where
 * to begin looking for an RRA that is the only one of its CF and resolution.  0, or −1 with the
 * difference printed. */
int oracle_fetch_check(const struct oracle *db, const char *path, uint64_t first);

/* What must come of a merge. */
struct oracle_outcome {
	bool refused;           /* no DS or no RRA in common: nothing may be touched */
	unsigned ds_refused;    /* same name, but another type or formula */
	uint64_t cells;         /* to be filled */
};

/* Writes the file that a merge of `backup` into `live` must give to `expected` (live->size
 * bytes). */
struct oracle_outcome oracle_expect(const struct oracle *live, const struct oracle *backup,
				    uint8_t *expected);

/* Compares the file after a merge with what was expected; prints the first few differences, each
 * line begun with `label`.  Returns how many bytes' worth of places differ (0: the same). */
uint64_t oracle_compare(const struct oracle *before, const uint8_t *expected,
			const uint8_t *after, size_t after_size, const char *label, FILE *out);

/* A database of a fixed definition (DS…, RRA…), of which the first value may come after `start`.
 * Ends the program where librrd refuses. */
void oracle_create(const char *path, unsigned long step, time_t start, const char *const *argv,
		   size_t argc);
/* Every row known, but for those written last, which are as rrdtool left them: random values. */
void oracle_fill(struct oracle *db, uint64_t *state);

/* Whole files.  All end the program where the system does not let them. */
uint8_t *oracle_slurp(const char *path, size_t *ret_size);
void oracle_spill(const char *path, const void *bytes, size_t size);
void oracle_copy(const char *from, const char *to);
/* Overwrites an existing file in place: inode, owner and mode stay. */
void oracle_overwrite(const char *path, const void *bytes, size_t size);

/* What rrdmerge said and how it ended. */
struct oracle_summary {
	int status;             /* exit code, or −1 */
	unsigned long merged, unchanged, skipped, failed;
	unsigned long long cells;
	bool understood;        /* the last line on stdout was the one that it must be */
};

/* Runs a program, its stdout and stderr to `dir`/out and `dir`/err. */
struct oracle_summary oracle_run(const char *const *argv, const char *dir);

/* A small random generator with its state in the caller's hands (splitmix64). */
uint64_t oracle_random(uint64_t *state);

/* Prints and ends the program with status 2: the test itself could not go on. */
void oracle_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void *oracle_alloc(size_t count, size_t size);

#endif
