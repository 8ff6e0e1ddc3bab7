/* commands: what rrdmergctl can ask the daemon, and have it do. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include <pthread.h>
#include <stdatomic.h>

#include "backups.h"
#include "books.h"
#include "control.h"
#include "forgotten.h"
#include "live.h"

/* What the handlers work with.  They hold `lock` for reading while they use it, and for a bounded
 * time; who changes it holds it for writing. */
struct commands {
	pthread_rwlock_t lock;
	const struct merge_site *site;
	struct queue *queue;
	struct tally *tally;
	struct live *live;
	struct backups *backups;
	struct books *books;            /* NULL: ledger = false */
	struct forgotten *forgotten;    /* NULL: there is no memory for it */
	bool (*backup_needed)(void *arg);
	void *arg;

	/* These are used without the lock. */
	atomic_bool paused;             /* the queue is to be, whichever it is */
	/* As the daemon saw them last: */
	atomic_bool busy;               /* something is due or in hand, or not known yet */
	atomic_uint stalled_s;          /* so long a disk has not answered; 0: all do */
	atomic_llong left_s;            /* as bulletin_left_s() has it */
	atomic_ullong rescan_ns;        /* when a rescan was asked for last; 0: never */
	atomic_uint left;               /* undos under way: see takeback.h */
	/* How often a reload was done, and how often the configuration was not taken over. */
	atomic_uint reloaded, stayed;
};

extern const struct control_command commands_table[];
extern const size_t commands_count;

#endif
