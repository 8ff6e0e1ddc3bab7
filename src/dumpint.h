/* dumpint: what the files of the dump room share. */
#ifndef DUMPINT_H
#define DUMPINT_H

#include <expat.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "native.h"
#include "rrd.h"

/* ---- dumpvalue.c: text → values ---- */

/* A number in decimal, "NaN" or "inf", to the nearest double, whatever the locale; a comma may
 * stand for the point (rrdtool 1.3 wrote one where the locale had one).  False: it is none. */
bool dump_real(const char *text, double *ret_value);
/* Whole numbers. */
bool dump_count(const char *text, uint64_t *ret_value);
bool dump_time(const char *text, int64_t *ret_value);

/* ---- dumptree.c: elements → what the database consists of ---- */

#define DUMP_WORD_SIZE 1024     /* of one element's text, with its NUL */

enum dump_place {
	DUMP_FILE, DUMP_RRD, DUMP_DS, DUMP_RRA, DUMP_PARAMS, DUMP_CDP_PREP, DUMP_CDP,
	DUMP_DATABASE, DUMP_ROW, DUMP_PLACES
};

struct dump_element;

/* A zeroed one is empty, but for its first two members. */
struct dump_tree {
	struct rrd *db;                 /* its bytes receive the rows, oldest first, RRA by RRA */
	struct reason *why;
	XML_Parser xml;
	int error;                      /* REFUSED or -errno, once it went wrong */
	bool begun;                     /* the root element is rrdtool's */
	struct native_head head;        /* the counts grow as they are seen */
	struct native_ds *ds;
	struct native_rra *rra;
	uint64_t (*cdp)[NATIVE_PARS];   /* [rra · ds_cnt + ds] */
	size_t ds_room, rra_room, cdp_room;
	size_t cdps, cells;             /* how many so far */

	enum dump_place place;          /* which element we are in */
	uint64_t seen[DUMP_PLACES];     /* what was in it so far */
	const struct dump_element *leaf; /* being read, or NULL */
	bool cut;                       /* by a comment, after its text had begun */
	uint64_t in_row, in_prep;       /* values in this row, <ds> in this <cdp_prep> */
	char cdef[DUMP_WORD_SIZE];
	size_t word_len;
	char word[DUMP_WORD_SIZE];
};

/* Has the parser call us.  The tree must stay where it is. */
void dump_tree_attach(struct dump_tree *tree, XML_Parser xml);
void dump_tree_free(struct dump_tree *tree);
/* How much the database takes so far, about; bytes. */
uint64_t dump_tree_size(const struct dump_tree *tree);
/* Makes room in the database's bytes; 0 or -ENOMEM. */
int dump_reserve(struct rrd *db, uint64_t size);

#endif
