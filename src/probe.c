#include "config.h"
#include "probe.h"

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "globs.h"
#include "io.h"

/* Tells of each path before it is looked at. */
static _Noreturn void look(int told, char *const *path, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct stat st;
		char **list;
		size_t found;
		int error;

		if (write(told, &i, sizeof(i)) != sizeof(i))
			_exit(1);
		if (stat(path[i], &st) && globs_is(path[i]))
			(void)globs_expand(path[i], &list, &found, &error);
	}
	_exit(0);
}

/* True when it has ended; false when the time is up.  *ret_last: of which it has told last. */
static bool follow(int told, uint64_t until_ns, size_t *ret_last)
{
	for (;;) {
		uint64_t now = io_now_ns();
		struct pollfd poll_fd = { .fd = told, .events = POLLIN };
		int left_ms = until_ns > now ? (int)((until_ns - now) / 1000000) : 0;
		int r = poll(&poll_fd, 1, left_ms);

		if (r < 0)
			continue;               /* a signal */
		if (r == 0)
			return false;
		if (read(told, ret_last, sizeof(*ret_last)) != sizeof(*ret_last))
			return true;
	}
}

size_t probe_hanging(char *const *path, size_t count, int wait_ms)
{
	uint64_t until_ns = io_now_ns() + (uint64_t)wait_ms * 1000000;
	size_t last = 0;
	int pipe_fd[2];

	if (pipe(pipe_fd))
		return count;
	pid_t child = fork();

	if (child == 0) {
		close(pipe_fd[0]);
		look(pipe_fd[1], path, count);
	}
	close(pipe_fd[1]);
	if (child > 0 && follow(pipe_fd[0], until_ns, &last)) {
		waitpid(child, NULL, 0);
		last = count;
	} else if (child > 0) {
		/* Where the kernel does not let it die it stays, as one that is waiting to be buried. */
		kill(child, SIGKILL);
		waitpid(child, NULL, WNOHANG);
	} else {
		last = count;
	}
	close(pipe_fd[0]);
	return last;
}
