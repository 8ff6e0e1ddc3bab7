/* identity: as whom the daemon runs.  Started as root it becomes the owner of the live tree, and
 * waits for that tree where it is not there yet. */
#ifndef IDENTITY_H
#define IDENTITY_H

#include <stdbool.h>

#include "conf.h"
#include "privilege.h"

/* True where the daemon may go on, as whom it will stay.  Else *ret_status is the exit status: a
 * signal came (of `signals`, see signals.h), or the configuration names nobody to become.
 * SIGHUP while it waits reads `file` again, into *conf.  With `once` it does not wait. */
bool identity_take(const char *file, struct conf *conf, bool once, int signals, int *ret_status);

/* Could `user`, as whom the daemon would run if it were started by us, make the control socket?
 * False with the reason, which goes on from "socket PATH". */
bool identity_may_listen(const struct conf *conf, const struct privilege_user *user,
			 struct reason *why);

#endif
