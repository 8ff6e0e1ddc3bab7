/* controlint: what control's files share. */
#ifndef CONTROLINT_H
#define CONTROLINT_H

#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "control.h"
#include "wire.h"

/* ---- controlsocket.c: the socket and its file ---- */

struct control_socket {
	int fd;
	dev_t dev;
	ino_t ino;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/* Listens; see control_start(). */
int control_socket_open(const char *path, struct control_socket *ret, struct reason *why);
/* The group of its file, which an administrator may have changed.  False where the file is not ours
 * any more, or its group is nobody's. */
bool control_socket_group(const struct control_socket *socket, gid_t *ret_gid);
/* Removes the file where it is ours; while the socket is still open. */
void control_socket_remove(const struct control_socket *socket);

/* ---- controlcall.c: one call, from its request to the end of its answer ---- */

#define CONTROL_TEXT_SIZE 8192

struct control {
	struct control_options options;
	struct control_socket socket;
	int stop_fd;                    /* readable from the stop on */

	pthread_mutex_t mutex;          /* for what follows; nothing is waited for under it */
	pthread_cond_t left;
	unsigned threads, calls, changes;
};

struct control_call {
	struct control *control;
	int fd;
	uid_t uid;
	gid_t gid;
	int error;                      /* nobody hears us any more: -errno */
	unsigned waited_ms;             /* for the peer to read */
	bool any, separate;             /* something was put; a new record begins */
	char *option[WIRE_WORDS_MAX];
	size_t options;
	char *word[WIRE_WORDS_MAX];
	char failure[CONTROL_TEXT_SIZE];
	char request[WIRE_REQUEST_MAX + 1];
	size_t used;
	char out[WIRE_ANSWER_MAX + 1];
};

/* Serves the peer; closes nothing and frees nothing. */
void control_call_serve(struct control_call *call);

#endif
