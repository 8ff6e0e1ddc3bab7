#include "config.h"
#include "reread.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Freed by the last of the two that have it: the thread, and who has begun it. */
struct reread {
	pthread_mutex_t mutex;  /* for ended and dropped */
	bool ended, dropped;
	char *file;
	conf_report_fn *report;
	struct conf conf;
	int result;
};

static void free_reread(struct reread *reread)
{
	conf_free(&reread->conf);
	pthread_mutex_destroy(&reread->mutex);
	free(reread->file);
	free(reread);
}

static void *read_it(void *arg)
{
	struct reread *reread = arg;

	reread->result = conf_read(reread->file, &reread->conf, reread->report, NULL);
	pthread_mutex_lock(&reread->mutex);
	reread->ended = true;
	bool dropped = reread->dropped;
	pthread_mutex_unlock(&reread->mutex);
	if (dropped)
		free_reread(reread);
	return NULL;
}

struct reread *reread_begin(const char *file, conf_report_fn *report)
{
	struct reread *reread = calloc(1, sizeof(*reread));
	pthread_t thread;

	if (!reread)
		return NULL;
	pthread_mutex_init(&reread->mutex, NULL);
	reread->report = report;
	reread->file = strdup(file);
	if (!reread->file || pthread_create(&thread, NULL, read_it, reread)) {
		free_reread(reread);
		return NULL;
	}
	pthread_detach(thread);
	return reread;
}

bool reread_ended(struct reread *reread, struct conf *ret, int *ret_result)
{
	pthread_mutex_lock(&reread->mutex);
	bool ended = reread->ended;
	pthread_mutex_unlock(&reread->mutex);
	if (!ended)
		return false;
	*ret = reread->conf;
	*ret_result = reread->result;
	memset(&reread->conf, 0, sizeof(reread->conf));
	free_reread(reread);
	return true;
}

void reread_drop(struct reread *reread)
{
	if (!reread)
		return;
	pthread_mutex_lock(&reread->mutex);
	reread->dropped = true;
	bool ended = reread->ended;
	pthread_mutex_unlock(&reread->mutex);
	if (ended)
		free_reread(reread);
}
