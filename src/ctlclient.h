/* ctlclient: asks the daemon over its control socket (the protocol is in control.h). */
#ifndef CTLCLIENT_H
#define CTLCLIENT_H

#include <stdbool.h>
#include <stddef.h>

enum ctlclient_outcome {
	CTLCLIENT_DONE,
	CTLCLIENT_FAILED,       /* the command did */
	CTLCLIENT_USAGE,        /* the request is wrong */
	CTLCLIENT_UNREACHED     /* there is no daemon, or no right to ask it, or it broke off */
};

struct ctlclient_field {
	const char *key, *value;        /* unescaped: the value may hold any byte */
	bool is_number;                 /* as JSON writes one */
};

/* Called for each record as it comes; the fields live only for the call. */
typedef void ctlclient_record_fn(const struct ctlclient_field *fields, size_t count, void *arg);

#define CTLCLIENT_TEXT_SIZE 8192

struct ctlclient_options {
	const char *socket;
	unsigned timeout_ms;            /* for all of it; 0: none */
	unsigned patience_ms;           /* without an answer: then `slow` is called, once; 0: not */
	void (*slow)(void *arg);
	ctlclient_record_fn *record;
	void *arg;
};

/* Sends the words, the command first, and takes the answer.  What is not CTLCLIENT_DONE has words
 * for the user in `text`, which may hold any byte.  Records may have come all the same. */
enum ctlclient_outcome ctlclient_ask(const struct ctlclient_options *options, size_t words,
				     char *const *word, char text[CTLCLIENT_TEXT_SIZE]);

#endif
