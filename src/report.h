/* report: what came of a file, in the words that syslog and the terminal share, and the sums. */
#ifndef REPORT_H
#define REPORT_H

#include "log.h"
#include "merge.h"

/* Of files whose data sources were matched by their numbers alone. */
#define REPORT_UNPROVEN "no pnp4nagios sidecars on both sides tell which data source is which: " \
			"they were matched by their numbers"

#define REPORT_SIZE (2 * LOG_PATH_SIZE + 1024)

/* "merged cells=… seam=… from=… to=… ms=… source=… file=…" (`dry`: "would merge cells=…").  After
 * source= stands what is remarkable of that source's file: kind=dump or kind=foreign; where it
 * has not live's path, the rule= that led there and backup_file="…".  Before file= stand
 * consolidated= and spread= where there are such cells.  With `all`, hold_us= is there too, and
 * where not all cells are copies: exact=, consolidated=, spread=, open= (open rows that were
 * completed), unhealed= (cells of a seam that cannot be had).  Returns `buffer`. */
char *report_merged(char *buffer, size_t size, const char *rel,
		    const struct merge_result *result, bool dry, bool all);
/* "unchanged unhealed=… file=…" */
char *report_unhealed(char *buffer, size_t size, const char *rel,
		      const struct merge_result *result);
/* "refused reason="…" file=…", or any other word in place of refused. */
char *report_refused(char *buffer, size_t size, const char *word, const char *rel,
		     const char *reason);

struct report_sums {
	size_t merged, unchanged, skipped, failed;
	size_t named;           /* files with a refusal, those merged in part included */
	uint64_t cells;
	uint64_t bytes;         /* read and written */
};

/* "12 merged, 3 unchanged, 1 skipped, 0 failed; 517341 cells filled in 0.41 s" */
char *report_sums_text(char *buffer, size_t size, const struct report_sums *sums,
		       double seconds);
char *report_sums_json(char *buffer, size_t size, const struct report_sums *sums,
		       double seconds);

#endif
