/* arguments: the command line of rrdmerge. */
#ifndef ARGUMENTS_H
#define ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "names.h"
#include "plan.h"

enum { EXIT_MERGED = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2 };

struct arguments {
	bool dry_run, verbose, json, show;
	struct plan_options plan;
	unsigned jobs;
	struct names_rule *rename;      /* [renames] */
	size_t renames;
	const char *ledger;     /* NULL: no record is kept */
	bool convert;           /* OLD to NEW, which is not there yet */
	const char *merging;    /* an option that says how to merge; NULL: none was given */
	bool undo;              /* of the ledger, what `id` names */
	char **id;
	size_t ids;
	const char *old, *new;
};

/* Into *o, in which `jobs` is set.  -1: go on; else the exit status, and all is said. */
int arguments_parse(int argc, char **argv, struct arguments *o);
void arguments_free(struct arguments *o);

#endif
