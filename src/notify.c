#include "config.h"
#include "notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MS 10
#define SOON_TRIES 10

static struct {
	int fd;                         /* -1: nobody asked */
	struct sockaddr_un address;
	socklen_t size;
	uint64_t watchdog_ns;
	char status[NOTIFY_STATUS_SIZE];        /* what was said last */
} supervisor = { .fd = -1 };

/* The tests do not wait so long. */
static unsigned ready_tries = NOTIFY_READY_S * 1000 / RETRY_MS;

/* A path, or an abstract name after an '@' (sd_notify(3)). */
static int set_address(const char *name)
{
	size_t len = strlen(name);

	/* A path keeps its NUL, an abstract name has a NUL in place of the '@'. */
	if (len < 2 || (name[0] != '/' && name[0] != '@') ||
	    len > sizeof(supervisor.address.sun_path) - (name[0] == '/'))
		return -EINVAL;
	memset(&supervisor.address, 0, sizeof(supervisor.address));
	supervisor.address.sun_family = AF_UNIX;
	memcpy(supervisor.address.sun_path, name, len);
	supervisor.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	if (name[0] == '@')
		supervisor.address.sun_path[0] = '\0';
	else
		supervisor.size++;
	return 0;
}

static int reach(void)
{
	return connect(supervisor.fd, (const struct sockaddr *)&supervisor.address,
		       supervisor.size) ? -errno : 0;
}

/* Decimal digits alone, above 0; 0 for anything else. */
static uint64_t number_of(const char *text)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return 0;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);

	return errno || *end ? 0 : value;
}

/* sd_watchdog_enabled(3): without a WATCHDOG_PID it is meant for whoever reads it. */
static uint64_t watchdog_of(const char *usec, const char *pid)
{
	uint64_t value = number_of(usec);

	if (pid && number_of(pid) != (uint64_t)getpid())
		return 0;
	return value > UINT64_MAX / 1000 ? 0 : value * 1000;
}

int notify_open(void)
{
	const char *name = getenv("NOTIFY_SOCKET");
	int r = 0;

	notify_close();
	if (name && *name)
		r = set_address(name);
	if (name && *name && !r) {
		supervisor.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		r = supervisor.fd < 0 ? -errno : reach();
	}
	if (supervisor.fd >= 0)
		supervisor.watchdog_ns = watchdog_of(getenv("WATCHDOG_USEC"),
						     getenv("WATCHDOG_PID"));
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return r;
}

void notify_close(void)
{
	if (supervisor.fd >= 0)
		close(supervisor.fd);
	supervisor.fd = -1;
	supervisor.watchdog_ns = 0;
	supervisor.status[0] = '\0';
}

/* True where it got there.  A socket that was made anew is connected to once more. */
static bool tell_once(const char *message)
{
	size_t size = strlen(message);

	for (int again = 0;; again++) {
		if (send(supervisor.fd, message, size, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return true;
		if (again || errno == EAGAIN || errno == ENOBUFS || reach())
			return false;
	}
}

/* Tries until it gets there. */
static bool tell(const char *message, unsigned tries)
{
	const struct timespec pause = { .tv_nsec = RETRY_MS * 1000000 };
	bool told = supervisor.fd < 0;
	int saved = errno;

	while (!told && tries--) {
		told = tell_once(message);
		if (!told && tries)
			nanosleep(&pause, NULL);
	}
	errno = saved;
	return told;
}

void notify_ready(void)
{
	tell("READY=1", ready_tries);
}

/* Cuts the first bytes of a character whose last ones may not have fitted. */
static void trim_character(char *text)
{
	size_t len = strlen(text);
	size_t at = len;

	while (at && len - at < 3 && ((unsigned char)text[at - 1] & 0xc0) == 0x80)
		at--;
	if (at && (unsigned char)text[at - 1] >= 0xc0)
		text[at - 1] = '\0';
}

void notify_status(const char *format, ...)
{
	char message[sizeof("STATUS=") - 1 + NOTIFY_STATUS_SIZE] = "STATUS=";
	char *text = message + strlen(message);
	va_list args;

	va_start(args, format);
	int len = vsnprintf(text, NOTIFY_STATUS_SIZE, format, args);
	va_end(args);
	if (len < 0)
		return;
	if (len >= NOTIFY_STATUS_SIZE)
		trim_character(text);
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = ' ';
	if (strcmp(text, supervisor.status) && tell(message, 1))
		strcpy(supervisor.status, text);
}

void notify_reloading(void)
{
	struct timespec now;
	char message[64];

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(message, sizeof(message), "RELOADING=1\nMONOTONIC_USEC=%llu",
		 (unsigned long long)now.tv_sec * 1000000 +
		 (unsigned long long)now.tv_nsec / 1000);
	tell(message, SOON_TRIES);
}

void notify_stopping(void)
{
	tell("STOPPING=1", SOON_TRIES);
}

void notify_alive(void)
{
	tell("WATCHDOG=1", 1);
}

uint64_t notify_watchdog_ns(void)
{
	return supervisor.watchdog_ns;
}
