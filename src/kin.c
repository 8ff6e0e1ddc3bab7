#include "config.h"
#include "kin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "patience.h"
#include "place.h"

#define PROC_FD_SIZE (sizeof("/proc/self/fd/") + 3 * sizeof(int))
#define ASK_NS VISITS_HANG_NS           /* for all together */
#define LEAST_NS UINT64_C(1000000000)   /* … but for so many at least */
#define AT_ONCE (PATIENCE_MAX / 2)
#define MS UINT64_C(1000000)

/* All of it the thread's own, which may outlast who asked. */
struct question {
	int fd;
	char *path;
	struct visits *visits;
	bool entered;
	int relation;
};

static void name_fd(int fd, char *buffer)
{
	snprintf(buffer, PROC_FD_SIZE, "/proc/self/fd/%d", fd);
}

static void ask(void *arg)
{
	struct question *q = arg;
	char live[PROC_FD_SIZE];
	struct visit visit;

	q->entered = visits_enter_barred(q->visits, &visit);
	if (!q->entered)
		return;
	name_fd(q->fd, live);
	q->relation = place_relate(live, q->path);
	visits_leave(q->visits, &visit);
}

static void drop(void *arg)
{
	struct question *q = arg;

	if (q->fd >= 0)
		close(q->fd);
	visits_free(q->visits);
	free(q->path);
	free(q);
}

/* 0, and *ret is NULL where nobody can be had to ask; -ENOMEM. */
static int begin(const struct source *source, int fd, struct patience **ret,
		 const struct question **ret_question)
{
	struct question *q = calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	q->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	q->path = strdup(source->path);
	q->visits = visits_ref(source->visits);
	if (q->fd < 0 || !q->path) {
		drop(q);
		return -ENOMEM;
	}
	*ret_question = q;
	/* Where so many hang that no more are asked, this is one more. */
	if (patience_begin(ask, drop, q, ret))
		*ret = NULL;
	return 0;
}

/* The relation of one that was asked until then. */
static int end(const struct source *source, const char *live, struct patience *patience,
	       const struct question *q, uint64_t until_ns)
{
	uint64_t now = io_now_ns();
	unsigned left_ms = until_ns > now ? (unsigned)((until_ns - now) / MS) : 0;
	bool answered = patience && patience_wait(patience, left_ms) && q->entered;
	int relation = answered ? q->relation : place_relate_names(live, source->path);

	visits_bar(source->visits, !answered);
	patience_end(patience);
	return relation;
}

/* Asks `count` of them from `first` on, all at once.  The worst relation, or -ENOMEM. */
static int relate_some(const struct source_set *sources, unsigned first, unsigned count, int fd,
		       uint64_t until_ns, char *shown)
{
	const struct question *question[AT_ONCE];
	struct patience *patience[AT_ONCE] = { NULL };
	int r = 0, worst = IO_APART;
	char live[PROC_FD_SIZE];

	name_fd(fd, live);
	for (unsigned i = 0; i < count && !r; i++)
		r = begin(&sources->source[first + i], fd, &patience[i], &question[i]);
	for (unsigned i = 0; i < count && !r; i++) {
		const struct source *source = &sources->source[first + i];
		int relation = end(source, live, patience[i], question[i], until_ns);

		patience[i] = NULL;
		if (relation > IO_APART && worst == IO_APART) {
			worst = relation;
			log_escape(shown, LOG_PATH_SIZE, source->path);
		}
	}
	for (unsigned i = 0; i < count; i++)
		patience_end(patience[i]);
	return r ? r : worst;
}

static int relate_all(const struct source_set *sources, int fd, char *shown)
{
	uint64_t until = io_now_ns() + ASK_NS;
	int r = IO_APART;

	for (unsigned n = 0; n < sources->count && r == IO_APART; n += AT_ONCE) {
		unsigned left = sources->count - n;
		uint64_t least = io_now_ns() + LEAST_NS;

		r = relate_some(sources, n, left < AT_ONCE ? left : AT_ONCE, fd,
				until > least ? until : least, shown);
	}
	return r;
}

int kin_relate(const struct source_set *sources, int fd, char *shown)
{
	char live[PROC_FD_SIZE];
	int relation = IO_APART;

	if (sources->impatient)
		return relate_all(sources, fd, shown);
	name_fd(fd, live);
	for (unsigned n = 0; n < sources->count && relation <= IO_APART; n++) {
		relation = place_relate(live, sources->source[n].path);
		if (relation > IO_APART)
			log_escape(shown, LOG_PATH_SIZE, sources->source[n].path);
	}
	return relation > IO_APART ? relation : IO_APART;
}

bool kin_is_answered(const struct source_set *sources)
{
	bool answered = false;

	for (unsigned n = 0; n < sources->count && !answered; n++) {
		struct visits *visits = sources->source[n].visits;

		answered = visits_barred(visits) && !visits_hang_ns(visits, VISITS_READ);
	}
	return answered;
}
