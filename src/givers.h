/* givers: which files of the backups gave a database what is filled in it, by the ledger.
 *
 * A file is known by its whole path, as the ledger has it; it need not exist any more. */
#ifndef GIVERS_H
#define GIVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chart.h"
#include "ledger.h"
#include "rrd.h"

/* A file of a backup that gave what was merged. */
struct giver {
	char *path;
	struct chart_share share;       /* of what the file holds now; givers_share() sets it */
	bool told;                      /* the caller's, false at first */
};

/* Starts zeroed. */
struct givers {
	struct giver *giver;            /* [count]; a run's `source` is its place here */
	size_t count, capacity;
	struct chart_run *run;          /* [runs], for chart_make(): the oldest merge first */
	size_t runs, run_capacity;
};

/* Adds what the ledger has of the database `db`, which was read from the file that io_file_id()
 * calls `id`: of the merges among `entry`, the latest first as ledger_history() gives them, those
 * of this database that are not undone.  One that is damaged in the ledger adds nothing: its cells
 * are live's own then.  0, -ENOMEM, or the ledger's -errno; what was added until then stays. */
int givers_take(struct givers *givers, struct ledger *ledger, const struct ledger_entry *entry,
		size_t entries, const struct rrd *db, uint64_t id);
/* Each one's share, of a chart that was made of these runs. */
void givers_share(struct givers *givers, const struct chart *chart);
/* The one of this path, until another is added; NULL: it gave nothing. */
struct giver *givers_find(struct givers *givers, const char *path);
void givers_free(struct givers *givers);

#endif
