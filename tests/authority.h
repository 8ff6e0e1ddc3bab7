/* authority: what librrd says of a file and does to it, without a type or a name of its own.
 *
 * librrd's header and ours are both called rrd.h, and both define rrd_free and rrd_read.  So this
 * module and those beneath it are compiled without src/ in the include path, and what they test
 * with those two renamed (Makefile.am). */
#ifndef AUTHORITY_H
#define AUTHORITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AUTHORITY_SCRATCH 10

struct authority_ds {
	char name[20], type[20];
	uint64_t heartbeat;
	double min, max;
	uint8_t par[80];        /* all parameters as in the file */
};

struct authority_rra {
	char cf[20];
	uint64_t row_cnt, pdp_cnt, cur_row;
	double xff;
};

struct authority {
	char version[5];
	uint64_t ds_cnt, rra_cnt, step;
	int64_t last_up, last_up_usec;
	uint64_t header_len, file_len;
	struct authority_ds *ds;        /* [ds_cnt] */
	struct authority_rra *rra;      /* [rra_cnt] */
	double *cdp;                    /* [rra_cnt · ds_cnt · AUTHORITY_SCRATCH] */
};

/* Reads a header with rrd_open; a file that librrd refuses ends the program. */
void authority_read(struct authority *db, const char *path);
void authority_free(struct authority *db);

/* What rrd_fetch_r says: row n ends at start + (n + 1) · step. */
struct authority_rows {
	int64_t start, end;
	uint64_t step, ds_cnt;
	double *value;                  /* to be freed */
};
struct authority_rows authority_fetch(const char *path, const char *cf, uint64_t step,
				      int64_t start, int64_t end);

/* These end the program where librrd fails.  Arguments are ended by NULL. */
void authority_create(const char *path, unsigned long step, int64_t start,
		      const char *const *args);
void authority_update(const char *path, const char *const *args);
void authority_dump_restore(const char *path);
void authority_tune(const char *path, const char *const *args);
/* Like rrdtool resize; the file takes the place of the old one.  Works in the file's directory. */
void authority_resize(const char *path, unsigned rra, bool grow, unsigned rows);

/* Whole files; to be freed. */
uint8_t *authority_slurp(const char *path, size_t *ret_size);
/* In place where it exists: the inode stays. */
void authority_spill(const char *path, const void *bytes, size_t size);
uint64_t authority_random(uint64_t *state);

#endif
