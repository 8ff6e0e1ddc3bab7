/* detached: a thread that nobody waits for, since it may hang. */
#ifndef DETACHED_H
#define DETACHED_H

/* Starts one, which takes no signal and has a small stack.  0 or -errno. */
int detached_start(void *(*body)(void *arg), void *arg);

#endif
