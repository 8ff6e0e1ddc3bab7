/* privilege: root becomes the owner of the live tree, and keeps no more than it needs to read any
 * backup.
 *
 * A backup is often readable by root alone, the live files belong to the monitoring server.  So
 * of root's rights one is kept, CAP_DAC_READ_SEARCH, which reads and never writes.  All of this
 * happens in a process that has one thread yet. */
#ifndef PRIVILEGE_H
#define PRIVILEGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "reason.h"

#define PRIVILEGE_NAME_SIZE 64

struct privilege_user {
	uid_t uid;
	gid_t gid;
	char name[PRIVILEGE_NAME_SIZE];         /* for messages; "#1234" where passwd knows none */
};

/* Who is to serve the tree `live`: `user`, a name from the configuration, or where that is NULL
 * the owner of the directory.  With `user` set, live is not looked at.
 *    -errno     live cannot be looked at (-ENOENT: not there yet), or passwd cannot be read,
 *    REFUSED    live belongs to root and `user` is not set, or there is no such user. */
int privilege_choose(const char *live, const char *user, struct privilege_user *ret,
		     struct reason *why);

/* Becomes that user, for good; only root can.  After an error the process may be half of one
 * user and half of another, and must end (the reason does not name the user).  Afterwards:
 *    - the user ids and group ids are all the user's, and there are no supplementary groups,
 *    - CAP_DAC_READ_SEARCH is permitted and in effect, nothing else: no capability is inherited,
 *      ambient or, where CAP_SETPCAP allows that, in the bounding set; for root itself
 *      CAP_DAC_OVERRIDE and CAP_LEASE are kept as well,
 *    - no program that is executed gains anything (PR_SET_NO_NEW_PRIVS); the umask is 027,
 *    - the process is not dumpable (as fs.suid_dumpable has it), unless the user is root.
 * A container may have taken CAP_DAC_READ_SEARCH away: then it goes on without it, and
 * *ret_lacks is true. */
int privilege_become(const struct privilege_user *user, bool *ret_lacks, struct reason *why);

/* Makes `path`, a state or runtime directory, one that belongs to `user`; call it before
 * privilege_become, or as that user.  A new one has mode 0750.  What the user can do itself is
 * done with the user's own rights; root's are used only
 *    - where nobody but root can change the way to it, and it is no symbolic link,
 *    - on a directory that belongs to root and that nobody else may write to,
 *    - which is empty, or holds nothing but regular files and sockets with one link that belong
 *      to root or to the user and whose names begin with one of `prefixes` (ended by NULL; NULL:
 *      none).  They are given away along with it; of its mode, what exceeds 0750 is taken away.
 * Otherwise REFUSED, with a reason that does not name the path.  A directory that is the user's
 * already stays as it is. */
int privilege_own_directory(const char *path, const struct privilege_user *user,
			    const char *const *prefixes, struct reason *why);

/* The effective user. */
void privilege_current(struct privilege_user *ret);

/* The name of any user, "#1234" where passwd knows none.  Returns `buffer`. */
char *privilege_name(uid_t uid, char *buffer, size_t size);

#endif
