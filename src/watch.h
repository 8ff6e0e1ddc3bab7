/* watch: inotify over the live tree; hands out paths by callback.
 *
 * The thread that reads events (watch_dispatch) never waits for a disk: it does not list or
 * stat anything.  A directory that appears is handed out; whoever may wait calls watch_scan()
 * for it, which watches first and lists then, so that nothing falls between. */
#ifndef WATCH_H
#define WATCH_H

#include <stddef.h>

struct watch;

struct watch_calls {
	void (*written)(const char *rel, void *arg);    /* an .rrd was closed after writing */
	void (*appeared)(const char *rel, void *arg);   /* an .rrd was moved in, or found by a scan */
	void (*gone)(const char *rel, void *arg);       /* an .rrd was removed or moved away */
	void (*odd)(const char *rel, const char *what, void *arg);  /* a link, a FIFO … named *.rrd */
	void (*directory)(const char *rel, void *arg);  /* a directory to watch_scan() */
	void (*overflow)(void *arg);                    /* events were lost: scan everything */
	void (*root_gone)(void *arg);
};

/* Opens inotify; watches nothing yet.  0 or -errno.  Calls come from whichever thread calls
 * watch_dispatch() or watch_scan(). */
int watch_new(const char *root, const struct watch_calls *calls, void *arg, struct watch **ret);
void watch_free(struct watch *watch);

/* To poll for reading. */
int watch_fd(const struct watch *watch);
void watch_dispatch(struct watch *watch);

/* Watches directory `rel` ("" is the root), then lists it: files to `appeared`, subdirectories
 * to `directory`.  0 or -errno (-ENOENT where it is gone again; -ENOSPC where the watch limit
 * is reached: listed, but not watched). */
int watch_scan(struct watch *watch, const char *rel);

size_t watch_directories(struct watch *watch);

#endif
