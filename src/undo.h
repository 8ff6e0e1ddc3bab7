/* undo: takes merges back by a ledger, without a daemon: rrdmerge --undo. */
#ifndef UNDO_H
#define UNDO_H

#include <stdbool.h>
#include <stddef.h>

/* Undoes the merges with these numbers, in their order (none: lists what is on record, without a
 * change to it, whoever has it open), says what came of each on standard output, and what went
 * wrong in the log.  True where all were undone. */
bool undo_merges(const char *ledger, char *const *id, size_t ids);

#endif
