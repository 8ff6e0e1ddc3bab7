#include "config.h"
#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "hold.h"
#include "io.h"

#define MS UINT64_C(1000000)

int signals_open(void)
{
	sigset_t set;

	hold_prepare();
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGHUP, SIG_DFL);        /* ignored until now, see main() */
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int take(int fd)
{
	struct signalfd_siginfo info;

	return read(fd, &info, sizeof(info)) == sizeof(info) ? (int)info.ssi_signo : 0;
}

/* What signals_watch()'s thread has: the descriptor it takes from, the pipe it hands on to. */
struct watcher {
	int from, to, status;
};

static int handed_on = -1;      /* the end of the pipe to read from */

static void *hand_on(void *arg)
{
	struct watcher watcher = *(struct watcher *)arg;
	struct pollfd wait = { .fd = watcher.from, .events = POLLIN };
	uint64_t end_ns = 0;

	free(arg);
	for (;;) {
		uint64_t now = io_now_ns();
		int signal;

		if (end_ns && now >= end_ns)
			_exit(watcher.status);
		poll(&wait, 1, end_ns ? (int)((end_ns - now) / MS) + 1 : -1);
		while ((signal = take(watcher.from))) {
			unsigned char byte = (unsigned char)signal;

			if (signal != SIGHUP && !end_ns)
				end_ns = io_now_ns() + SIGNALS_END_MS * MS;
			/* A pipe full of signals loses none that matters: they say the same. */
			if (write(watcher.to, &byte, 1) < 0)
				continue;
		}
	}
}

int signals_watch(int signals, int status)
{
	struct watcher *watcher = malloc(sizeof(*watcher));
	pthread_t thread;
	int pipe[2];

	if (!watcher)
		return -ENOMEM;
	if (pipe2(pipe, O_CLOEXEC | O_NONBLOCK)) {
		free(watcher);
		return -errno;
	}
	*watcher = (struct watcher){ signals, pipe[1], status };
	int r = -pthread_create(&thread, NULL, hand_on, watcher);
	if (r) {
		close(pipe[0]);
		close(pipe[1]);
		free(watcher);
		return r;
	}
	pthread_detach(thread);
	handed_on = pipe[0];
	return pipe[0];
}

int signals_wait(int signals, uint64_t until_ns)
{
	struct pollfd wait = { .fd = signals, .events = POLLIN };
	uint64_t now = io_now_ns();
	int ms = until_ns > now ? (int)((until_ns - now) / MS) + 1 : 0;
	unsigned char byte;

	poll(&wait, 1, ms);
	if (signals != handed_on)
		return take(signals);
	return read(signals, &byte, 1) == 1 ? byte : 0;
}

static void set_mask(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(how, &set, NULL);
}

void signals_deadly(void)
{
	set_mask(SIG_UNBLOCK);
}

void signals_tame(void)
{
	set_mask(SIG_BLOCK);
}
