#include "config.h"
#include "privilege.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OTHERS_WRITE (S_IWGRP | S_IWOTH)
#define DIRECTORY_MODE 0750
#define PRIVATE_UMASK 027
#define PASSWD_SIZE_MAX (1 << 20)       /* bytes of one entry, whatever a directory service says */
#define NOBODYS_GROUP 65534             /* the kernel's own overflow id */

#define BIT(capability) (UINT64_C(1) << (capability))

/* ---- passwd ---- */

/* Looks a user up, by name, or by uid where name is NULL.  -ESRCH where there is none. */
static int look_up(const char *name, uid_t uid, struct privilege_user *ret)
{
	struct passwd entry, *found = NULL;
	char *buffer = NULL;
	int r = ERANGE;

	for (size_t size = 1024; r == ERANGE && size <= PASSWD_SIZE_MAX; size *= 4) {
		free(buffer);
		buffer = malloc(size);
		if (!buffer)
			return -ENOMEM;
		do
			r = name ? getpwnam_r(name, &entry, buffer, size, &found) :
				   getpwuid_r(uid, &entry, buffer, size, &found);
		while (r == EINTR);
	}
	/* getpwnam(3) lists what "not found" has been called. */
	if (r == ENOENT || r == ESRCH || r == EBADF || r == EPERM || (!r && !found))
		r = ESRCH;
	if (!r) {
		ret->uid = entry.pw_uid;
		ret->gid = entry.pw_gid;
		snprintf(ret->name, sizeof(ret->name), "%s", entry.pw_name);
	}
	free(buffer);
	return -r;
}

char *privilege_name(uid_t uid, char *buffer, size_t size)
{
	struct privilege_user user;

	if (look_up(NULL, uid, &user))
		snprintf(buffer, size, "#%lu", (unsigned long)uid);
	else
		snprintf(buffer, size, "%s", user.name);
	return buffer;
}

void privilege_current(struct privilege_user *ret)
{
	ret->uid = geteuid();
	ret->gid = getegid();
	privilege_name(ret->uid, ret->name, sizeof(ret->name));
}

int privilege_choose(const char *live, const char *user, struct privilege_user *ret,
		     struct reason *why)
{
	struct privilege_user owner;
	struct stat st;
	int r;

	if (user) {
		r = look_up(user, 0, &owner);
		if (r == -ESRCH) {
			reason_set(why, "there is no user \"%s\"", user);
			return REFUSED;
		}
		if (r)
			return reason_errno(why, -r, "user \"%s\" cannot be looked up", user);
		*ret = owner;
		return 0;
	}
	if (stat(live, &st))
		return reason_errno(why, errno, "%s", live);
	if (!S_ISDIR(st.st_mode))
		return reason_errno(why, ENOTDIR, "%s", live);
	if (!st.st_uid) {
		reason_set(why, "%s belongs to root, and \"user\" is not set; add user = \"root\"; or "
			   "the name of whoever writes the files", live);
		return REFUSED;
	}
	/* The directory may have root's group, which is not for somebody whom passwd does not
	 * even know. */
	if (look_up(NULL, st.st_uid, &owner)) {
		owner.uid = st.st_uid;
		owner.gid = st.st_gid ? st.st_gid : NOBODYS_GROUP;
		snprintf(owner.name, sizeof(owner.name), "#%lu", (unsigned long)st.st_uid);
	}
	*ret = owner;
	return 0;
}

/* ---- becoming ---- */

struct capabilities {
	uint64_t effective, permitted, inheritable;
};

static int get_capabilities(struct capabilities *ret)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	if (syscall(SYS_capget, &head, data))
		return -errno;
	ret->effective = data[0].effective | (uint64_t)data[1].effective << 32;
	ret->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	ret->inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
	return 0;
}

/* Effective and permitted; none is inheritable any more, and so none ambient. */
static int set_capabilities(uint64_t wanted)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		data[i].effective = data[i].permitted = (uint32_t)(wanted >> 32 * i);
	return syscall(SYS_capset, &head, data) ? -errno : 0;
}

/* Without CAP_SETPCAP this fails, and is not needed: PR_SET_NO_NEW_PRIVS has the same end. */
static void empty_bounding_set(void)
{
	for (unsigned long n = 0; prctl(PR_CAPBSET_READ, n, 0, 0, 0) >= 0; n++)
		prctl(PR_CAPBSET_DROP, n, 0, 0, 0);
}

static int change_ids(const struct privilege_user *user, struct reason *why)
{
	/* Root's groups add nothing to root's rights: who may not drop them can keep them. */
	if (setgroups(0, NULL) && (user->uid || errno != EPERM))
		return reason_errno(why, errno, "supplementary groups cannot be dropped");
	if (setresgid(user->gid, user->gid, user->gid) ||
	    setresuid(user->uid, user->uid, user->uid))
		return reason_errno(why, errno, "the user and group cannot be changed");
	return 0;
}

static int verify(const struct privilege_user *user, uint64_t wanted, struct reason *why)
{
	struct capabilities now;
	uid_t uid[3];
	gid_t gid[3];
	const char *wrong = NULL;

	if (getresuid(&uid[0], &uid[1], &uid[2]) || getresgid(&gid[0], &gid[1], &gid[2]) ||
	    get_capabilities(&now))
		return reason_errno(why, errno, "cannot tell who I am");
	for (int i = 0; i < 3; i++)
		if (uid[i] != user->uid || gid[i] != user->gid)
			wrong = "an id is still another's";
	if (user->uid && getgroups(0, NULL))
		wrong = "groups are left";
	if (now.effective != wanted || now.permitted != wanted || now.inheritable)
		wrong = "the capabilities are not those that were set";
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		wrong = "new privileges can be had";
	if ((user->uid && !setuid(0)) || (user->gid && !setgid(0)))
		wrong = "root's rights can be had back";
	if (wrong)
		return reason_errno(why, EPERM, "the change was made, but %s", wrong);
	return 0;
}

int privilege_become(const struct privilege_user *user, bool *ret_lacks, struct reason *why)
{
	uint64_t wanted = BIT(CAP_DAC_READ_SEARCH);
	struct capabilities had;
	int r;

	if (geteuid())
		return reason_errno(why, EPERM, "only root can");
	if (!user->uid)
		wanted |= BIT(CAP_DAC_OVERRIDE) | BIT(CAP_LEASE);
	r = get_capabilities(&had);
	if (r)
		return reason_errno(why, -r, "cannot tell what I may do");
	wanted &= had.permitted;

	umask(PRIVATE_UMASK);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return reason_errno(why, errno, "new privileges cannot be given up");
	empty_bounding_set();
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) && user->uid)
		wanted = 0;
	r = change_ids(user, why);
	if (r)
		return r;
	prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
	r = set_capabilities(wanted);
	if (r)
		return reason_errno(why, -r, "capabilities cannot be given up");
	r = verify(user, wanted, why);
	if (!r)
		*ret_lacks = !(wanted & BIT(CAP_DAC_READ_SEARCH));
	return r;
}

/* ---- directories ---- */

/* A slash at the end would have the kernel follow a link there. */
static char *without_slashes(const char *path)
{
	char *copy = strdup(path);
	size_t length = copy ? strlen(copy) : 0;

	while (length > 1 && (copy[length - 1] == '/' ||
			      (copy[length - 1] == '.' && copy[length - 2] == '/')))
		copy[--length] = '\0';
	return copy;
}

/* mkdir with the rights of that user alone; file system ids take root's rights over files away
 * too (capabilities(7)). */
static int make_as_user(const char *path, const struct privilege_user *user)
{
	gid_t gid = getegid();
	uid_t uid = geteuid();
	int r = -EPERM;

	setfsgid(user->gid);
	setfsuid(user->uid);
	if ((uid_t)setfsuid((uid_t)-1) == user->uid && (gid_t)setfsgid((gid_t)-1) == user->gid)
		r = mkdir(path, DIRECTORY_MODE) ? -errno : 0;
	setfsuid(uid);
	setfsgid(gid);
	return r;
}

/* 0 where nobody but root can put something else in the place of what is in `path`. */
static int trust(const char *path, struct reason *why)
{
	struct stat st, link;

	if (stat(path, &st) || lstat(path, &link))
		return reason_errno(why, errno, "%s", path);
	if (!st.st_uid && !link.st_uid && (!(st.st_mode & OTHERS_WRITE) || st.st_mode & S_ISVTX))
		return 0;
	reason_set(why, "%s can be changed by others than root", path);
	return REFUSED;
}

static int trust_each(char *path, struct reason *why)
{
	int r = *path == '/' ? trust("/", why) : 0;

	for (char *slash = strchr(path + 1, '/'); !r && slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		r = trust(path, why);
		*slash = '/';
	}
	return r ? r : trust(path, why);
}

/* The way to `path`, as it is written and as it is once links are seen through. */
static int trust_above(const char *path, struct reason *why)
{
	const char *slash = strrchr(path, '/');
	char *parent = !slash ? strdup(".") : strndup(path, slash > path ? (size_t)(slash - path) : 1);
	char *real = NULL;
	int r = -ENOMEM;

	if (!parent)
		goto out;
	r = trust_each(parent, why);
	if (r)
		goto out;
	real = realpath(parent, NULL);
	r = real ? trust_each(real, why) : reason_errno(why, errno, "%s", parent);
out:
	free(real);
	free(parent);
	return r;
}

static bool begins_with_one(const char *name, const char *const *prefixes)
{
	for (; prefixes && *prefixes; prefixes++)
		if (!strncmp(name, *prefixes, strlen(*prefixes)))
			return true;
	return false;
}

/* Is this entry ours to give?  `give`: gives it, the very one that was looked at. */
static int take_entry(int dir, const char *name, const struct privilege_user *user,
		      const char *const *prefixes, bool give, struct reason *why)
{
	struct stat st;
	const char *wrong = NULL;
	int r = 0, fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st)) {
		r = reason_errno(why, errno, "\"%s\" in it", name);
		goto out;
	}
	if (!begins_with_one(name, prefixes))
		wrong = "which is none of ours";
	else if (!S_ISREG(st.st_mode) && !S_ISSOCK(st.st_mode))
		wrong = "which is no regular file";
	else if (st.st_nlink != 1)
		wrong = "which has more than one link";
	else if (st.st_uid && st.st_uid != user->uid)
		wrong = "which is another user's";
	if (wrong) {
		reason_set(why, "it holds \"%s\", %s", name, wrong);
		r = REFUSED;
	} else if (give && fchownat(fd, "", user->uid, user->gid, AT_EMPTY_PATH)) {
		r = reason_errno(why, errno, "\"%s\" in it cannot be given to %s", name,
				 user->name);
	}
out:
	if (fd >= 0)
		close(fd);
	return r;
}

static int take_entries(DIR *dir, const struct privilege_user *user, const char *const *prefixes,
			bool give, struct reason *why)
{
	const struct dirent *entry;
	int r = 0;

	rewinddir(dir);
	while (!r && (errno = 0, entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			r = take_entry(dirfd(dir), entry->d_name, user, prefixes, give, why);
	return r || !errno ? r : reason_errno(why, errno, "it cannot be listed");
}

/* With root's rights.  `dir` is open: what happens to its name now does not matter. */
static int take_directory(DIR *dir, const struct privilege_user *user,
			  const char *const *prefixes, struct reason *why)
{
	struct stat st;
	char name[PRIVILEGE_NAME_SIZE];
	int r;

	if (fstat(dirfd(dir), &st))
		return reason_errno(why, errno, "it cannot be looked at");
	if (st.st_uid == user->uid)
		return 0;
	if (st.st_uid || geteuid()) {
		reason_set(why, "it belongs to user %s",
			   privilege_name(st.st_uid, name, sizeof(name)));
		return REFUSED;
	}
	if (st.st_mode & OTHERS_WRITE) {
		reason_set(why, "others than root may write to it");
		return REFUSED;
	}
	r = take_entries(dir, user, prefixes, false, why);
	if (!r)
		r = take_entries(dir, user, prefixes, true, why);
	if (r)
		return r;
	/* Itself last, so that what is broken off here is begun again; and its mode before it,
	 * while we are its owner. */
	if (fchmod(dirfd(dir), (st.st_mode & DIRECTORY_MODE) | S_IRWXU) ||
	    fchown(dirfd(dir), user->uid, user->gid))
		return reason_errno(why, errno, "it cannot be given to user %s", user->name);
	return 0;
}

static int open_directory(const char *path, DIR **ret, struct reason *why)
{
	struct stat st;
	int r, fd;

	if (!lstat(path, &st) && !S_ISDIR(st.st_mode)) {
		reason_set(why, S_ISLNK(st.st_mode) ? "it is a symbolic link" :
						      "it is not a directory");
		return REFUSED;
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return reason_errno(why, errno, "it cannot be opened");
	*ret = fdopendir(fd);
	if (*ret)
		return 0;
	r = reason_errno(why, errno, "it cannot be opened");
	close(fd);
	return r;
}

static int own_directory(const char *path, const struct privilege_user *user,
			 const char *const *prefixes, struct reason *why)
{
	struct stat st;
	DIR *dir;
	int r = make_as_user(path, user);

	if (!r || (r == -EEXIST && !lstat(path, &st) && S_ISDIR(st.st_mode) &&
		   st.st_uid == user->uid))
		return 0;
	if (r != -EEXIST && (geteuid() || (r != -EACCES && r != -EPERM)))
		return reason_errno(why, -r, "it cannot be made");
	if (!geteuid()) {
		r = trust_above(path, why);
		if (!r && mkdir(path, DIRECTORY_MODE) && errno != EEXIST)
			r = reason_errno(why, errno, "it cannot be made");
		if (r)
			return r;
	}
	r = open_directory(path, &dir, why);
	if (r)
		return r;
	r = take_directory(dir, user, prefixes, why);
	closedir(dir);
	return r;
}

int privilege_own_directory(const char *path, const struct privilege_user *user,
			    const char *const *prefixes, struct reason *why)
{
	struct reason inner = { "" };
	char *plain = without_slashes(path);
	mode_t mask = umask(PRIVATE_UMASK);
	int r = plain ? own_directory(plain, user, prefixes, &inner) : -ENOMEM;

	umask(mask);
	if (r)
		reason_set(why, "cannot be used as user %s: %s", user->name,
			   *inner.text ? inner.text : strerror(-r));
	free(plain);
	return r;
}
