#include "config.h"
#include "signals.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
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
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int signals_wait(int signals, uint64_t until_ns)
{
	struct pollfd wait = { .fd = signals, .events = POLLIN };
	struct signalfd_siginfo info;
	uint64_t now = io_now_ns();
	int ms = until_ns > now ? (int)((until_ns - now) / MS) + 1 : 0;

	poll(&wait, 1, ms);
	return read(signals, &info, sizeof(info)) == sizeof(info) ? (int)info.ssi_signo : 0;
}
