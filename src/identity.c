#include "config.h"
#include "identity.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io.h"
#include "log.h"
#include "notify.h"
#include "privilege.h"
#include "signals.h"
#include "wire.h"

#define AWAIT_NS (2 * UINT64_C(1000000000))     /* between two looks for the live tree */

enum { GO_ON = -1, STATUS_FINE, STATUS_FAILED, STATUS_CONFIG };

/* Gives the user a directory in which nothing of others' is.  (systemd gives those that it makes
 * back to root at the next start, and so do we again to the user.) */
static void own_directory(const char *path, const struct privilege_user *user)
{
	static const char *const ours[] = { "ledger", "control", "forgotten", NULL };
	struct reason why;
	char shown[LOG_PATH_SIZE];

	if (path && *path == '/' && !strchr(path, ':') &&
	    privilege_own_directory(path, user, ours, &why))
		log_message(LOG_WARNING, "directory %s path=%s", why.text,
			    log_escape(shown, sizeof(shown), path));
}

/* The one in which the control socket is to be, where there is none yet. */
static void own_socket_directory(const struct conf *conf, const struct privilege_user *user)
{
	char *path = strdup(conf->socket), *slash = path ? strrchr(path, '/') : NULL;

	if (slash && slash != path) {
		*slash = '\0';
		if (access(path, F_OK))
			own_directory(path, user);
	}
	free(path);
}

/* As far as the mode tells, where it is not we who ask. */
static bool may_write(const char *dir, const struct stat *st, const struct privilege_user *user)
{
	mode_t right = 0003;

	if (user->uid == geteuid())
		return !access(dir, W_OK | X_OK);
	if (st->st_uid == user->uid)
		right = 0300;
	else if (st->st_gid == user->gid)
		right = 0030;
	return user->uid == 0 || (st->st_mode & right) == right;
}

static bool directory_will_do(const struct conf *conf, const char *dir,
			      const struct privilege_user *user, struct reason *why)
{
	/* The unit has systemd make this one, and root gives the user the other. */
	bool given = !strcmp(conf->socket, WIRE_SOCKET) ||
		     (!geteuid() && !strcmp(dir, conf->state_dir));
	struct stat st;

	if (stat(dir, &st)) {
		if (errno == ENOENT && (given || !geteuid()))
			return true;            /* it will be made */
		reason_errno(why, errno, "cannot be made in its directory");
		return false;
	}
	if (!S_ISDIR(st.st_mode))
		reason_set(why, "cannot be made: it is no directory in which it is to be");
	else if (given || may_write(dir, &st, user))
		return true;
	else
		reason_set(why, "cannot be made: user %s may not write to its directory",
			   user->name);
	return false;
}

bool identity_may_listen(const struct conf *conf, const struct privilege_user *user,
			 struct reason *why)
{
	char *dir = strdup(conf->socket), *slash = dir ? strrchr(dir, '/') : NULL;
	bool may = true;
	struct stat st;

	if (!lstat(conf->socket, &st) && !S_ISSOCK(st.st_mode)) {
		reason_set(why, "cannot be made: something else stands there");
		may = false;
	} else if (slash) {
		slash[slash == dir] = '\0';     /* the root keeps its slash */
		may = directory_will_do(conf, dir, user, why);
	}
	free(dir);
	return may;
}

static int become(const struct conf *conf, const struct privilege_user *user)
{
	struct reason why;
	bool lacks = false;

	own_directory(getenv("STATE_DIRECTORY"), user);
	own_directory(getenv("RUNTIME_DIRECTORY"), user);
	own_directory(conf->state_dir, user);
	own_socket_directory(conf, user);
	if (privilege_become(user, &lacks, &why)) {
		log_message(LOG_ERR, "cannot become user %s: %s", user->name, why.text);
		return STATUS_FAILED;
	}
	if (lacks)
		log_message(LOG_NOTICE, "running as %s, without the right to read what that user may "
			    "not (CAP_DAC_READ_SEARCH was taken away)", user->name);
	return GO_ON;
}

static void say(int priority, const char *message, void *arg)
{
	(void)arg;
	log_message(priority, "%s", message);
}

static void reload(const char *file, struct conf *conf)
{
	struct conf next = { 0 };

	notify_reloading();
	if (conf_read(file, &next, say, NULL)) {
		log_message(LOG_ERR, "the configuration is not taken over: it has errors; what was "
			    "read before stays in force");
		return;
	}
	conf_free(conf);
	*conf = next;
	log_message(LOG_NOTICE, "reloaded file=%s", file);
}

static void say_missing(const struct conf *conf, const char *why, bool once)
{
	char shown[LOG_PATH_SIZE];

	log_message(LOG_ERR, "live tree cannot be watched: %s; %s live=%s", why,
		    once ? "ending" : "waiting for it",
		    log_escape(shown, sizeof(shown), conf->live));
}

/* Its look at the live tree may hang, where a server does not answer. */
static int choose(const struct conf *conf, struct privilege_user *user, struct reason *why)
{
	signals_deadly();
	int r = privilege_choose(conf->live, conf->user, user, why);
	signals_tame();
	return r;
}

/* Root waits here until it knows who owns the live tree. */
static int await(const char *file, struct conf *conf, bool once, int signals)
{
	struct privilege_user user;
	struct reason why = { "" };
	bool waited = false;
	int said = 0, r;

	while ((r = choose(conf, &user, &why))) {
		/* One that has just been made may be given to its owner in a moment. */
		if (r == REFUSED && !waited) {
			log_message(LOG_ERR, "%s: live %s", file, why.text);
			return STATUS_CONFIG;
		}
		if (r != said)
			say_missing(conf, r == REFUSED ? why.text : strerror(-r), once);
		if (once)
			return STATUS_CONFIG;
		if (!waited)
			notify_ready();
		waited = true;
		said = r;
		notify_status("waiting for the live tree %s", conf->live);
		notify_alive();
		int signal = signals_wait(signals, io_now_ns() + AWAIT_NS);
		if (signal && signal != SIGHUP) {
			log_message(LOG_NOTICE, "ended");
			return STATUS_FINE;
		}
		if (signal) {
			reload(file, conf);
			notify_ready();
			said = 0;
		}
	}
	if (waited) {
		char shown[LOG_PATH_SIZE];

		log_message(LOG_NOTICE, "live tree is there live=%s",
			    log_escape(shown, sizeof(shown), conf->live));
	}
	return become(conf, &user);
}

bool identity_take(const char *file, struct conf *conf, bool once, int signals, int *ret_status)
{
	struct privilege_user self;
	int status = GO_ON;

	privilege_current(&self);
	if (self.uid == 0)
		status = await(file, conf, once, signals);
	else if (conf->user && strcmp(conf->user, self.name))
		log_message(LOG_WARNING, "started as user %s, which it stays: user = \"%s\" counts "
			    "only where it is started as root", self.name, conf->user);
	if (status != GO_ON)
		*ret_status = status;
	return status == GO_ON;
}
