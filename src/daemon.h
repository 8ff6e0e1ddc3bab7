/* daemon: live, backups, queue, tally and workers put together; signals, reload, the end. */
#ifndef DAEMON_H
#define DAEMON_H

#include <stdbool.h>

#include "conf.h"

struct daemon_options {
	const char *file;       /* the configuration, to be read again on SIGHUP */
	unsigned log_targets;   /* of log_open() */
	bool once;              /* merge what is there, and end */
};

/* Runs until SIGTERM or SIGINT, or with `once` until all is done.  Started as root it becomes the
 * owner of the live tree.  `conf` is what `file` held; a reload replaces its content.  Returns the
 * exit status of the program: 0; with `once`, 1 where a file was refused or failed; 2 where the
 * configuration does not fit what is there. */
int daemon_run(const struct daemon_options *options, struct conf *conf);

#endif
