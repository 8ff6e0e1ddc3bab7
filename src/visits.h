/* visits: who is in a backup just now, and since when.  A disk that hangs lets nobody go, nor can
 * it be asked whether it does: so one that holds somebody for long does not answer, and nobody else
 * goes there before he is back.
 *
 * All who name the same path share one of these, a daemon's later sets of backups too.  One mutex
 * inside; from any thread. */
#ifndef VISITS_H
#define VISITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define VISITS_HANG_NS UINT64_C(5000000000)     /* held so long: it does not answer */
#define VISITS_WALK_NS UINT64_C(10000000000)    /* the same for a walk, which may be slow */

/* A walk that is held tells of walks alone: a large directory may take a minute where each file
 * comes at once. */
enum visits_kind { VISITS_READ, VISITS_WALK };

/* One stay, the visitor's own; on his stack. */
struct visit {
	struct visit *next;
	_Atomic uint64_t moved_ns;      /* when he was last seen to go on: io_beat_to() */
	_Atomic uint64_t *before;       /* the thread's, outside of it */
	enum visits_kind kind;
	unsigned long thread;
	bool given_up;
};

struct visits;

/* Those of this path.  NULL: no memory. */
struct visits *visits_of(const char *path);
struct visits *visits_ref(struct visits *visits);
void visits_free(struct visits *visits);

/* False, and he is not in, where it does not answer or is barred.  With `patient`, never. */
bool visits_enter(struct visits *visits, enum visits_kind kind, bool patient, struct visit *visit);
/* He goes on: what takes long by its nature does not hang. */
void visits_move(struct visit *visit);
void visits_leave(struct visits *visits, struct visit *visit);

/* What the thread (pthread_self()) does is done by another from now on: it is to stop when it comes
 * back, of which visits_given_up() tells it.  False where nothing holds it. */
bool visits_give_up(unsigned long thread);
/* For the thread itself, after each visit: once true, always. */
bool visits_given_up(void);

/* For how many nanoseconds it has not answered; 0: it does, as far as is known. */
uint64_t visits_hang_ns(struct visits *visits, enum visits_kind kind);
/* Is the calling thread's like (pthread_self()) held by any that does not answer? */
bool visits_hold(unsigned long thread);

/* Nobody who is not patient goes there until this is taken back, but who relates it: how live
 * stands to it is not known. */
void visits_bar(struct visits *visits, bool barred);
bool visits_barred(struct visits *visits);
/* As visits_enter() for a reader, but a bar is none. */
bool visits_enter_barred(struct visits *visits, struct visit *visit);

#endif
