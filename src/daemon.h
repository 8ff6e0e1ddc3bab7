/* daemon: watches the live tree and merges what appears in it, until told to end. */
#ifndef DAEMON_H
#define DAEMON_H

#include <stdbool.h>

#include "conf.h"

/* Runs with every signal blocked that it waits for: SIGTERM and SIGINT end it.  `once`: merges
 * what is there and returns.  Returns an exit status: 0 all merged or nothing to do, 1 some file
 * was refused or failed (once), 2 nothing could be done with this configuration (once). */
int daemon_run(const struct conf *conf, bool once);

#endif
