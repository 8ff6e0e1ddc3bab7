/* control: the Unix socket through which the daemon is asked and steered.
 *
 * The protocol, for one request a connection:
 *
 *    request   one line: the command and its arguments, spaces between them.  WIRE_REQUEST_MAX
 *              bytes and WIRE_WORDS_MAX words at most; what follows the newline is not looked at.
 *    answer    any number of records, an empty line between two of them; a record is lines of
 *              "key: value", a key at most once in it.
 *    its end   "ok", or "error: text", and the connection is closed.  An answer without it broke
 *              off.  A text that begins with "usage: " says that the request itself is wrong.
 *
 * Escapes, the same in arguments, values and the text: a backslash is \\, control characters (below
 * 0x20, 0x7f) are \xHH in upper case, nothing at all is \e, a space in an argument is \s.  All else
 * stands for itself, whether it is UTF-8 or not; a NUL cannot be said.  Any byte may be written as
 * \xHH, and the first of a text that looks like a number is: so a value that is a number as it
 * stands is one.
 *
 * Words that begin with '-' are options, and may stand anywhere behind the command; "--" ends them.
 *
 * Who may connect is up to the mode of the socket, 0660.  A command that changes something is
 * for root, for the user as whom the daemon runs, and for members of the socket's group.
 *
 * Nobody holds anything up: each connection has a thread of its own, in which its handler runs, and
 * there are CONTROL_CALLS_MAX of them at most, CONTROL_CHANGES_MAX of which may run a handler that
 * changes something; who is one too many is told so.  A request has to be there within
 * CONTROL_REQUEST_MS; a reader who takes nothing for CONTROL_STALL_MS, or has been waited for
 * CONTROL_ANSWER_MS in all, is dropped. */
#ifndef CONTROL_H
#define CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "reason.h"

#define CONTROL_CALLS_MAX 16
#define CONTROL_CHANGES_MAX 8
#define CONTROL_REQUEST_MS 10000
#define CONTROL_STALL_MS 10000
#define CONTROL_ANSWER_MS 60000

struct control;
struct control_call;

/* Answers a command, in a thread of the connection: several run at once.  argv[0] is the command,
 * then come its arguments; options are asked for by control_has().  Returns 0 for "ok"; or -errno,
 * or what control_fail() returns, for "error". */
typedef int control_fn(struct control_call *call, int argc, char **argv, void *arg);

enum control_access {
	CONTROL_ASKS,           /* for anyone who may connect */
	CONTROL_CHANGES
};

struct control_command {
	const char *name;
	control_fn *handler;
	enum control_access access;
	int min, max;                   /* arguments, options not counted; max -1: any number */
	const char *options;            /* those it knows, a space between; NULL: none */
	const char *arguments;          /* as help shows them: "PATH | ID | --all" */
	const char *help;               /* one sentence */
};

/* "help", which is there without being named. */
#define CONTROL_HELP_ARGUMENTS "[COMMAND]"
#define CONTROL_HELP "Shows the commands, or one of them."

struct control_options {
	const char *path;
	const struct control_command *commands;
	size_t count;
	void *arg;                      /* for the handlers */
};

/* Listens.  The options' table and arg must outlive the server.  -errno with the reason, which
 * goes on from "control socket" and names the path; -EADDRINUSE where somebody answers there
 * already, -ENAMETOOLONG where a socket cannot have such a path, -EEXIST where something stands
 * there that is no socket.  A socket on which nobody answers is removed.  SIGPIPE is not raised,
 * and its threads take no signals. */
int control_start(const struct control_options *options, struct control **ret,
		  struct reason *why);

/* Takes the socket away, if it is still ours, ends all calls and frees the server; but does not
 * wait beyond `until_ns` of the monotonic clock.  False where a handler has not come back: the
 * server stays, and so must all that handlers use; it can be called again.  `c` may be NULL. */
bool control_stop(struct control *c, uint64_t until_ns);

/* ---- for handlers ---- */

/* Was the option, with its dashes, given? */
bool control_has(const struct control_call *call, const char *option);

/* Who asks. */
uid_t control_uid(const struct control_call *call);

/* Adds a value to the record; may wait for the peer.  0, or -errno where nobody hears us any more
 * (-EPIPE: gone; -ETIMEDOUT: does not read; -ECANCELED: we are stopped), or where it is longer than
 * a line (-E2BIG); and so for all that is said later: return then. */
int control_put(struct control_call *call, const char *key, const char *text);
int control_putf(struct control_call *call, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int control_number(struct control_call *call, const char *key, long long number);
int control_real(struct control_call *call, const char *key, double number, int decimals);
/* The next value begins a new record. */
void control_record(struct control_call *call);
/* Sends now what was put. */
int control_flush(struct control_call *call);

/* Waits; -EPIPE, -ECANCELED as soon as that is so.  With 0 ms: is it so now? */
int control_wait(struct control_call *call, unsigned ms);

/* Sets the text of the error, with paths as they are: who shows it escapes them.  Returns REFUSED,
 * to be returned. */
int control_fail(struct control_call *call, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
