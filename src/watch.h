/* watch: inotify over the live tree; hands out paths by callback.
 *
 * The thread that reads events (watch_dispatch) never waits for a disk: it does not list or
 * stat anything, and reading events is the only system call that it makes.  A directory that
 * appears is handed out; whoever may wait calls watch_scan() for it, which watches first and
 * lists then, so that nothing falls between.
 *
 * How it stays right while directories come, go and are renamed:
 *  1. A watch belongs to an inode; its path is what the last scan found it under.
 *  2. A name that leaves a directory takes all watches beneath with it.  What comes back under
 *     the new name is scanned anew, and gets new watches and paths.
 *  3. A scan looks after watching whether the path still leads to the directory that it
 *     watches.  A move before that look is seen by it, a later one by its event.
 *  4. Whoever takes a watch away because of something that may be outdated hands the directory
 *     out again.  So a scan of what is gone (-ENOENT) is normal; what was known beneath that
 *     path is gone then.
 *
 * Locks: watch_dispatch() takes one mutex, which nobody holds during I/O, a call, or any system
 * call that could wait; a second, for adding and removing watches in the kernel, is not its. */
#ifndef WATCH_H
#define WATCH_H

#include <stdbool.h>
#include <stddef.h>

struct watch;

/* Paths are beneath the root and live only for the call.  Files are names that
 * io_is_rrd_name() knows.  The same path may be handed out more than once.  No lock is held
 * during a call: it may call back into watch.  A call that is NULL is left out. */
struct watch_calls {
	void (*written)(const char *rel, void *arg);    /* an .rrd was closed after writing */
	/* an .rrd was moved in, or found by a scan */
	void (*appeared)(const char *rel, void *arg);
	/* A name *.rrd was made: a file whose `written` will follow, or a hard link, a symbolic
	 * link, a FIFO … with no further event.  Worth a look some time later. */
	void (*created)(const char *rel, void *arg);
	/* An .rrd was written with write(2), or truncated.  Not what an update of rrdtool's is (it
	 * writes through mmap, of which inotify does not know): so the file was rewritten; unless
	 * it was we who wrote.  Comes before `written`, once for many writes or for each. */
	void (*modified)(const char *rel, void *arg);
	void (*gone)(const char *rel, void *arg);       /* an .rrd was removed or moved away */
	/* A name *.xml was moved in, as pnp4nagios does it after each update; told only if somebody
	 * says just then that he wants to know. */
	bool (*wants_sidecars)(void *arg);
	void (*sidecar)(const char *rel, void *arg);
	/* Found by a scan: a link, a FIFO … named *.rrd, or a link to a directory. */
	void (*odd)(const char *rel, const char *what, void *arg);
	void (*directory)(const char *rel, void *arg);  /* a directory to watch_scan() */
	void (*overflow)(void *arg);                    /* events were lost: scan everything */
	/* The root was removed, moved, unmounted, cannot be reached any more, or another one stands
	 * at its path.  All is forgotten; watch_scan("") begins again with what is there then. */
	void (*root_gone)(void *arg);
};

/* Opens inotify; watches nothing yet.  0 or -ENOMEM.  Copies its arguments.  Calls come from
 * whichever thread calls watch_dispatch(), watch_scan() or watch_check(). */
int watch_new(const char *root, const struct watch_calls *calls, void *arg, struct watch **ret);
void watch_free(struct watch *watch);

/* 0, or the -errno for which there is no inotify: -EMFILE where fs.inotify.max_user_instances is
 * reached, -ENFILE, -ENOSYS.  Scans list all the same. */
int watch_error(const struct watch *watch);
/* To poll for reading; -1 where there is no inotify. */
int watch_fd(const struct watch *watch);
/* Reads what events there are; false where there were none.  For one thread at a time.  Does no
 * I/O, does not log, waits for nothing but a moment for the mutex; what is called from here should
 * not either. */
bool watch_dispatch(struct watch *watch);

/* Watches directory `rel` ("" is the root, and the first to be scanned), then lists it: files
 * to `appeared`, subdirectories to `directory`.  From any thread, but a path by one at a time.
 * 0 or -errno: -ENOENT where it is gone again; -ENOSPC where the watch limit
 * (fs.inotify.max_user_watches) is reached, watch_error() where there is no inotify, and any
 * other error of inotify's: listed, but not watched. */
int watch_scan(struct watch *watch, const char *rel);

/* Whether the path still leads to the root that is watched: nothing tells of a mount over it, or
 * of a directory above it that was renamed.  Call it every few seconds, from where one may wait.
 * 0 (also where no root is known), or -errno after `root_gone`: -ESTALE where another root stands
 * there now, else why there is none. */
int watch_check(struct watch *watch);

/* How many directories are watched, and how many were listed but have no watch. */
size_t watch_directories(struct watch *watch);
size_t watch_unwatched(struct watch *watch);

/* Do events tell of what happens to this file: is its directory watched? */
bool watch_sees(struct watch *watch, const char *rel);

#endif
