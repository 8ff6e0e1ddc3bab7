/* daemonint: what the daemon's files share; nobody else includes it.  Each calls those below it:
 *
 *    daemon.c         ticks, signals, the end
 *    daemonreload.c   another configuration
 *    daemonhang.c     disks that do not answer
 *    daemonparts.c    what it consists of
 *    daemoncrew.c     the workers */
#ifndef DAEMONINT_H
#define DAEMONINT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "backups.h"
#include "bulletin.h"
#include "commands.h"
#include "daemon.h"
#include "live.h"
#include "reread.h"
#include "worker.h"

#define DAEMON_REST_S 10        /* a source must have been left alone so long, seconds */

/* Workers and what they work with, which is theirs alone: it may outlast a reload. */
struct crew {
	struct worker_pool *pool;
	struct merge_site site;
	struct crew *next;
};

struct daemon {
	const struct daemon_options *options;
	struct conf *conf;
	int signals;

	struct merge_site site;
	struct queue *queue;
	struct tally *tally;
	struct live *live;
	struct backups *backups;
	struct crew *crew;      /* at work; NULL: none */
	struct crew *left;      /* those of before a reload that have not come back */
	struct books *books;    /* NULL: ledger = false */
	struct forgotten *forgotten;
	struct control *control;
	struct commands commands;
	char *name;             /* of the live tree, see place_name() */
	char *next_name;        /* while reloading */
	atomic_uint_fast64_t named_root;        /* which directory bears it; 0: nobody has looked */
	uint64_t asked_root;    /* the last for which a reload was asked */

	atomic_bool log_files;  /* conf's, for workers: they may outlast a reload */

	/* Said once, by workers. */
	atomic_bool lease_said, future_said;
	atomic_uint_fast64_t missed;    /* tries that have met a backup that is not there */
	atomic_uint_fast64_t rest_ns;   /* when it was said last that the backup rests */

	/* The main thread's own. */
	struct bulletin bulletin;
	uint64_t busy_until_ns, alive_ns, walked_ns, reload_ns;
	uint64_t missed_told;   /* to the backups */
	bool stall_said;
	bool passing;           /* the crew is to end, and another to begin */
	uint64_t passing_ns;    /* since when */
	bool *hanging;          /* [site.sources.count]: that each does not answer was said */
	bool ready, was_root, concluded, reread_said;
	bool rushed;            /* many files were to be looked at, since it was idle */
	bool reloading, reload_again;   /* the file may be another since it was read */
	struct reread *reread;  /* the configuration is being read again */
	struct conf next;       /* while reloading */
};

/* ---- daemoncrew.c: the workers; the main thread calls ---- */

/* Begins a crew, which has what it works with of its own: copies of d->site and its sources.  0 or
 * -errno: then d->crew is as it was. */
int daemon_start_workers(struct daemon *d);
/* Waits for them to end, who were told to by the queue or worker_leave(), until io_now_ns() is
 * `until_ns`.  True where there are none any more; d->crew is NULL then. */
bool daemon_workers_ended(struct daemon *d, uint64_t until_ns);
/* The same for those who were left behind. */
bool daemon_left_ended(struct daemon *d, uint64_t until_ns);
/* A disk holds them: what they have in hand is theirs until they come back, and then they end.
 * Says so; d->crew is NULL then. */
void daemon_leave_behind(struct daemon *d);

/* ---- daemonhang.c: disks that do not answer; the main thread calls ---- */

/* Says which, and feeds systemd's watchdog, unless a worker hangs. */
void daemon_look_at_disks(struct daemon *d, uint64_t now);
/* Whoever a backup holds is left behind with it, and others take his place.  A step of it; waits
 * for nothing. */
void daemon_pass_by(struct daemon *d);

/* ---- daemonparts.c: what the daemon consists of ---- */

/* All that there is, by d->conf; the books and what is forgotten only where they are not open yet.
 * 0, -errno, or REFUSED where we may not start, and said.  What was made until then stays, for
 * daemon_drop_all(). */
int daemon_start(struct daemon *d);
/* All but the books, the commands and what is forgotten.  No worker is at work. */
void daemon_drop_all(struct daemon *d);
/* The backups, by d->conf, and who knows them: there are none yet.  0 or -errno. */
int daemon_set_sources(struct daemon *d);
/* Another who walks over the same backups takes the place of the one that there is.  0 or -errno:
 * nothing has changed. */
int daemon_walk_anew(struct daemon *d);
void daemon_drop_sources(struct daemon *d);
/* Who asks finds what there is now.  Nobody may be asking: the caller holds the commands' lock for
 * writing, or nobody can ask yet. */
void daemon_set_commands(struct daemon *d);
/* 0, or REFUSED where another daemon answers there; what is otherwise wrong is said, and the daemon
 * goes on unasked. */
int daemon_start_control(struct daemon *d);
/* A backup is needed until each was seen with files in it, and none of these is wanted any more. */
bool daemon_backup_needed(struct daemon *d, const struct tally_sums *sums);

/* ---- daemonreload.c: another configuration ---- */

/* The file is read from now on, by a thread of its own; where a reload is under way already, after
 * that. */
void daemon_begin_reload(struct daemon *d);
/* A step of it, if one is under way; waits for nothing.  0, or -errno where the new configuration
 * is in force and cannot be served. */
int daemon_go_on_reloading(struct daemon *d);
/* As d->conf has it. */
void daemon_reopen_log(const struct daemon *d);

#endif
