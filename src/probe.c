#include "config.h"
#include "probe.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "globs.h"
#include "io.h"

#define MS UINT64_C(1000000)

static _Noreturn void look(const char *path)
{
	struct stat st;
	char **list;
	size_t found;
	int error;

	if (stat(path, &st) && globs_is(path))
		(void)globs_expand(path, &list, &found, &error);
	_exit(0);
}

/* How many have not ended; ret[i] says which. */
static size_t count_left(pid_t *child, size_t count, bool *ret)
{
	size_t left = 0;

	for (size_t i = 0; i < count; i++) {
		if (ret[i])
			ret[i] = waitpid(child[i], NULL, WNOHANG) == 0;
		left += ret[i];
	}
	return left;
}

void probe_hanging(char *const *path, size_t count, int wait_ms, bool *ret)
{
	const struct timespec nap = { 0, MS };
	uint64_t until_ns = io_now_ns() + (uint64_t)wait_ms * MS;
	pid_t *child = calloc(count + 1, sizeof(*child));

	for (size_t i = 0; i < count; i++) {
		pid_t pid = child ? fork() : -1;

		if (pid == 0)
			look(path[i]);
		if (pid > 0)
			child[i] = pid;
		ret[i] = pid > 0;
	}
	while (child && count_left(child, count, ret) && io_now_ns() < until_ns)
		nanosleep(&nap, NULL);
	/* Where the kernel does not let it die it stays, as one that is waiting to be buried. */
	for (size_t i = 0; i < count; i++)
		if (ret[i])
			kill(child[i], SIGKILL);
	free(child);
}
