/* patience: a question to a disk that may hang, waited for for as long as the asker likes.
 *
 * It runs in a thread of its own.  Where the asker gives up, the thread keeps what it works with,
 * and lets go of it when the disk lets it: nobody else may use any of that. */
#ifndef PATIENCE_H
#define PATIENCE_H

#include <stdbool.h>

#define PATIENCE_MAX 32         /* questions at once, those that hang among them */

struct patience;

/* Has `work` done with `arg`, which `drop` frees in the end, also where this fails.  0; -EAGAIN
 * where so many hang already that no more are asked; -ENOMEM or another -errno. */
int patience_begin(void (*work)(void *arg), void (*drop)(void *arg), void *arg,
		   struct patience **ret);
/* Waits until it is done, but no longer than `ms`.  False where it is not: `arg` must not be looked
 * at. */
bool patience_wait(struct patience *patience, unsigned ms);
/* The last of it, whether it is done or not.  NULL: nothing. */
void patience_end(struct patience *patience);

#endif
