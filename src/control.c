#include "config.h"
#include "control.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controlint.h"
#include "detached.h"
#include "until.h"

#define EXHAUSTED_MS 100        /* no descriptor to be had: look again then */

/* ---- threads ---- */

/* They are told apart by their number alone. */
static int start_thread(struct control *c, void *(*body)(void *), void *arg)
{
	pthread_mutex_lock(&c->mutex);
	c->threads++;
	pthread_mutex_unlock(&c->mutex);
	int r = detached_start(body, arg);
	if (!r)
		return 0;
	pthread_mutex_lock(&c->mutex);
	c->threads--;
	pthread_mutex_unlock(&c->mutex);
	return r;
}

/* The last thing that a thread does with the server. */
static void leave(struct control *c)
{
	pthread_mutex_lock(&c->mutex);
	c->threads--;
	pthread_cond_broadcast(&c->left);
	pthread_mutex_unlock(&c->mutex);
}

static bool take_place(struct control *c)
{
	pthread_mutex_lock(&c->mutex);
	bool room = c->calls < CONTROL_CALLS_MAX;
	if (room)
		c->calls++;
	pthread_mutex_unlock(&c->mutex);
	return room;
}

static void give_place(struct control *c)
{
	pthread_mutex_lock(&c->mutex);
	c->calls--;
	pthread_mutex_unlock(&c->mutex);
}

static void *serve(void *arg)
{
	struct control_call *call = arg;
	struct control *c = call->control;

	control_call_serve(call);
	/* Before the peer sees the end: who asks one thing after another never needs two places. */
	give_place(c);
	close(call->fd);
	free(call);
	leave(c);
	return NULL;
}

/* ---- connections ---- */

static void turn_away(int fd, const char *text)
{
	(void)!send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

static void admit(struct control *c, int fd)
{
	struct control_call *call;

	if (!take_place(c)) {
		turn_away(fd, "error: too many are asking; try again in a moment\n");
		return;
	}
	call = calloc(1, sizeof(*call));
	if (call) {
		call->control = c;
		call->fd = fd;
		if (!start_thread(c, serve, call))
			return;
	}
	free(call);
	give_place(c);
	turn_away(fd, "error: out of memory or threads; try again in a moment\n");
}

static void *listen_all(void *arg)
{
	struct control *c = arg;
	struct pollfd wait[] = {
		{ .fd = c->stop_fd, .events = POLLIN }, { .fd = c->socket.fd, .events = POLLIN },
	};

	for (;;) {
		poll(wait, 2, -1);
		if (wait[0].revents)
			break;
		int fd = accept4(c->socket.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			admit(c, fd);
		else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			poll(wait, 1, EXHAUSTED_MS);
	}
	leave(c);
	return NULL;
}

/* ---- start and stop ---- */

static void check_table(const struct control_options *options)
{
	for (size_t i = 0; i < options->count; i++) {
		const struct control_command *command = &options->commands[i];

		assert(command->name && *command->name && command->handler && command->help);
		assert(command->min >= 0 && (command->max < 0 || command->max >= command->min));
		for (size_t j = 0; j < i; j++)
			assert(strcmp(options->commands[j].name, command->name));
		(void)command;
	}
}

static int prepare(struct control *c)
{
	int r = until_prepare(&c->left);

	if (r)
		return r;
	r = -pthread_mutex_init(&c->mutex, NULL);
	if (r)
		pthread_cond_destroy(&c->left);
	return r;
}

static void drop(struct control *c)
{
	if (c->socket.fd >= 0)
		close(c->socket.fd);
	if (c->stop_fd >= 0)
		close(c->stop_fd);
	pthread_cond_destroy(&c->left);
	pthread_mutex_destroy(&c->mutex);
	free(c);
}

int control_start(const struct control_options *options, struct control **ret,
		  struct reason *why)
{
	struct control *c = calloc(1, sizeof(*c));
	int r = c ? prepare(c) : -ENOMEM;

	check_table(options);
	if (r) {
		free(c);
		return reason_errno(why, -r, "cannot be had");
	}
	c->options = *options;
	c->socket.fd = -1;
	c->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->stop_fd < 0)
		r = reason_errno(why, errno, "cannot be had");
	if (!r)
		r = control_socket_open(options->path, &c->socket, why);
	if (!r) {
		r = start_thread(c, listen_all, c);
		if (r)
			reason_errno(why, -r, "has no thread");
	}
	if (r) {
		control_socket_remove(&c->socket);
		drop(c);
	} else {
		*ret = c;
	}
	return r;
}

bool control_stop(struct control *c, uint64_t until_ns)
{
	uint64_t one = 1;

	if (!c)
		return true;
	/* At once, though a handler may hang: whoever comes now finds nobody. */
	control_socket_remove(&c->socket);
	shutdown(c->socket.fd, SHUT_RDWR);
	(void)!write(c->stop_fd, &one, sizeof(one));
	pthread_mutex_lock(&c->mutex);
	while (c->threads && until_wait(&c->left, &c->mutex, until_ns))
		continue;
	bool ended = !c->threads;
	pthread_mutex_unlock(&c->mutex);
	if (ended)
		drop(c);
	return ended;
}
