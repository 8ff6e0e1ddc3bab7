#include "config.h"
#include "progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "io.h"

#define BAR_MIN 4
#define BAR_MAX 40

void progress_start(struct progress *progress, int fd)
{
	*progress = (struct progress){ .fd = isatty(fd) ? fd : -1, .started_ns = io_now_ns() };
}

static int width_of(int fd)
{
	struct winsize size;

	return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

static void put(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);
		if (n <= 0)
			return;         /* a terminal that went away is no reason to stop */
		text += n;
		len -= (size_t)n;
	}
}

void progress_draw(struct progress *progress, size_t done, size_t total, uint64_t bytes)
{
	char figures[160], line[320], bar[BAR_MAX + 1], rate[40] = "", still[40] = "";
	uint64_t now_ns = io_now_ns();
	size_t now = done > progress->before ? done - progress->before : 0;
	double seconds = (double)(now_ns - progress->started_ns) / 1e9;

	if (progress->fd < 0 || !total || seconds <= 0)
		return;
	/* Waiting for the first says nothing of how long the others take. */
	if (!now)
		progress->started_ns = now_ns;
	double left = progress->told ? (double)progress->left_s
		: now ? seconds / (double)now * (double)(total - done) : -1;
	double pace = (double)now / seconds;
	if (left >= 0)
		snprintf(still, sizeof(still), " %.0f:%02d left", floor(left / 60),
			 (int)fmod(left, 60));
	int columns = width_of(progress->fd) - 1;       /* the last one would wrap */
	if (bytes && now)
		snprintf(rate, sizeof(rate), " %.0f MB/s", (double)bytes / seconds / 1e6);
	int len = snprintf(figures, sizeof(figures),
			   " %3.0f%% %zu/%zu %.*f files/s%s%s",
			   100.0 * (double)done / (double)total, done, total,
			   pace > 0 && pace < 10, pace, rate, still);
	int width = columns - len - 2;
	if (width > BAR_MAX)
		width = BAR_MAX;
	if (width >= BAR_MIN) {
		int full = (int)((double)width * (double)done / (double)total);

		memset(bar, '#', (size_t)full);
		memset(bar + full, '.', (size_t)(width - full));
		bar[width] = '\0';
		len = snprintf(line, sizeof(line), "\r[%s]%s\033[K", bar, figures);
	} else {                /* narrow: what fits of the figures, the share first */
		len = snprintf(line, sizeof(line), "\r%.*s\033[K", columns, figures + 1);
	}
	put(progress->fd, line, (size_t)len);
	progress->drawn = true;
}

void progress_clear(struct progress *progress)
{
	if (progress->fd >= 0 && progress->drawn)
		put(progress->fd, "\r\033[K", 4);
	progress->drawn = false;
}
