#include "config.h"
#include "visits.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"

struct visits {
	struct visits *next;
	unsigned refs;
	bool barred;
	struct visit *visit;    /* those who are in */
	char path[];
};

/* For all that follows, and all visits; never held while a disk is waited for. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct visits *all;

static _Thread_local bool given_up;

struct visits *visits_of(const char *path)
{
	size_t size = strlen(path) + 1;
	struct visits *visits;

	pthread_mutex_lock(&mutex);
	for (visits = all; visits && strcmp(visits->path, path); visits = visits->next)
		;
	if (!visits && (visits = calloc(1, sizeof(*visits) + size))) {
		memcpy(visits->path, path, size);
		visits->next = all;
		all = visits;
	}
	if (visits)
		visits->refs++;
	pthread_mutex_unlock(&mutex);
	return visits;
}

struct visits *visits_ref(struct visits *visits)
{
	pthread_mutex_lock(&mutex);
	visits->refs++;
	pthread_mutex_unlock(&mutex);
	return visits;
}

void visits_free(struct visits *visits)
{
	struct visits **at = &all;

	if (!visits)
		return;
	pthread_mutex_lock(&mutex);
	bool last = !--visits->refs;
	while (last && *at != visits)
		at = &(*at)->next;
	if (last)
		*at = visits->next;
	pthread_mutex_unlock(&mutex);
	if (last)
		free(visits);
}

/* For how long the visitor is held beyond what is usual; 0: he is not. */
static uint64_t held_ns(const struct visit *visit, uint64_t now)
{
	uint64_t moved = atomic_load(&visit->moved_ns);
	uint64_t most = visit->kind == VISITS_WALK ? VISITS_WALK_NS : VISITS_HANG_NS;

	return now > moved + most ? now - moved : 0;
}

/* Caller holds the mutex. */
static uint64_t hang_ns(const struct visits *visits, enum visits_kind kind)
{
	uint64_t now = io_now_ns(), longest = 0;

	for (const struct visit *visit = visits->visit; visit; visit = visit->next) {
		uint64_t held = kind == VISITS_READ && visit->kind == VISITS_WALK
			? 0 : held_ns(visit, now);

		if (held > longest)
			longest = held;
	}
	return longest;
}

static bool enter(struct visits *visits, enum visits_kind kind, bool patient, bool barred_too,
		  struct visit *visit)
{
	pthread_mutex_lock(&mutex);
	bool in = patient || (!(visits->barred && !barred_too) && !hang_ns(visits, kind));
	if (in) {
		*visit = (struct visit){ .next = visits->visit, .kind = kind,
					 .thread = (unsigned long)pthread_self() };
		atomic_store(&visit->moved_ns, io_now_ns());
		visits->visit = visit;
	}
	pthread_mutex_unlock(&mutex);
	if (in)
		visit->before = io_beat_to(&visit->moved_ns);
	return in;
}

bool visits_enter(struct visits *visits, enum visits_kind kind, bool patient, struct visit *visit)
{
	return enter(visits, kind, patient, false, visit);
}

bool visits_enter_barred(struct visits *visits, struct visit *visit)
{
	return enter(visits, VISITS_READ, false, true, visit);
}

void visits_move(struct visit *visit)
{
	atomic_store(&visit->moved_ns, io_now_ns());
}

void visits_leave(struct visits *visits, struct visit *visit)
{
	struct visit **at;

	io_beat_to(visit->before);
	pthread_mutex_lock(&mutex);
	for (at = &visits->visit; *at != visit; at = &(*at)->next)
		;
	*at = visit->next;
	given_up = given_up || visit->given_up;
	pthread_mutex_unlock(&mutex);
}

bool visits_give_up(unsigned long thread)
{
	uint64_t now = io_now_ns();
	bool held = false;

	pthread_mutex_lock(&mutex);
	for (const struct visits *visits = all; visits; visits = visits->next)
		for (struct visit *visit = visits->visit; visit; visit = visit->next)
			if (visit->thread == thread && held_ns(visit, now))
				held = visit->given_up = true;
	pthread_mutex_unlock(&mutex);
	return held;
}

bool visits_given_up(void)
{
	return given_up;
}

uint64_t visits_hang_ns(struct visits *visits, enum visits_kind kind)
{
	pthread_mutex_lock(&mutex);
	uint64_t ns = hang_ns(visits, kind);
	pthread_mutex_unlock(&mutex);
	return ns;
}

bool visits_hold(unsigned long thread)
{
	uint64_t now = io_now_ns();
	bool held = false;

	pthread_mutex_lock(&mutex);
	for (const struct visits *visits = all; visits; visits = visits->next)
		for (const struct visit *visit = visits->visit; visit; visit = visit->next)
			held = held || (visit->thread == thread && held_ns(visit, now));
	pthread_mutex_unlock(&mutex);
	return held;
}

void visits_bar(struct visits *visits, bool barred)
{
	pthread_mutex_lock(&mutex);
	visits->barred = barred;
	pthread_mutex_unlock(&mutex);
}

bool visits_barred(struct visits *visits)
{
	pthread_mutex_lock(&mutex);
	bool barred = visits->barred;
	pthread_mutex_unlock(&mutex);
	return barred;
}
