/* commands: what rrdmergctl can ask the daemon, and have it do. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include <pthread.h>

#include "backups.h"
#include "books.h"
#include "control.h"
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
	bool (*backup_needed)(void *arg);
	void *arg;
};

extern const struct control_command commands_table[];
extern const size_t commands_count;

#endif
