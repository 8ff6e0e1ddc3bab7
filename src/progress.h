/* progress: one line on a terminal that tells how far it is, how fast, and how long still. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
	int fd;                 /* a terminal, or -1: then nothing is ever drawn */
	uint64_t started_ns;
	bool drawn;
	size_t before;          /* done before the start: no part of the rate */
	bool told;              /* somebody else knows better how long it takes: */
	long long left_s;       /* … so many seconds, or -1: that cannot be told */
};

/* Draws on `fd` where that is a terminal. */
void progress_start(struct progress *progress, int fd);

/* `total` may still grow; `bytes` read and written so far; 0: that is not known.  Fits the
 * terminal's width. */
void progress_draw(struct progress *progress, size_t done, size_t total, uint64_t bytes);

/* Takes the line away, before anything else is written to the terminal. */
void progress_clear(struct progress *progress);

#endif
