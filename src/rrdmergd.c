/* rrdmergd: gives every RRD of a live tree its history back from a backup, as it appears. */
#include "config.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf.h"
#include "daemon.h"
#include "identity.h"
#include "globs.h"
#include "io.h"
#include "log.h"
#include "privilege.h"
#include "probe.h"

enum { EXIT_USAGE = 2 };

#define ANSWER_MS 5000          /* so long a backup may take to answer at the start */

struct options {
	const char *file;
	bool test, log_stderr, once;
};

static void usage(FILE *to)
{
	fprintf(to,
		"usage: rrdmergd [-f FILE] [-t] [-e] [--once]\n"
		"\n"
		"Watches the live RRD files and gives each its history back from the backup.\n"
		"Runs in the foreground and tells syslog (ident rrdmergd) what it does.\n"
		"\n"
		"  -f, --file FILE    the configuration (%s/rrdmergd.conf)\n"
		"  -t, --test-config  check the configuration and exit\n"
		"  -e, --log-stderr   log to standard error as well\n"
		"      --once         merge what is there and exit\n"
		"  -h, --help         this text\n"
		"  -V, --version      the version\n"
		"\n"
		"Exit status: 0 all merged or nothing to do; 1 a file was refused or failed;\n"
		"2 usage or configuration.\n", SYSCONFDIR);
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "file", required_argument, NULL, 'f' },
		{ "test-config", no_argument, NULL, 't' },
		{ "log-stderr", no_argument, NULL, 'e' },
		{ "once", no_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "f:tehV", longs, NULL)) != -1) {
		switch (c) {
		case 'f':
			o->file = optarg;
			break;
		case 't':
			o->test = true;
			break;
		case 'e':
			o->log_stderr = true;
			break;
		case 'o':
			o->once = true;
			break;
		case 'h':
			usage(stdout);
			return fflush(stdout) ? 1 : 0;
		case 'V':
			printf("rrdmergd %s\n", PACKAGE_VERSION);
			return fflush(stdout) ? 1 : 0;
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "rrdmergd: what is %s?  It takes options only\n", argv[optind]);
		usage(stderr);
		return EXIT_USAGE;
	}
	return -1;
}

static void say(int priority, const char *message, void *arg)
{
	(void)arg;
	log_message(priority, "%s%s", message, priority == LOG_WARNING ? " (a warning)" : "");
}

/* Would root find somebody to become?  The same is asked again at the start.  False: no, and said. */
static bool check_user(const struct conf *conf, const struct options *options)
{
	struct privilege_user user;
	struct reason why;
	char shown[LOG_PATH_SIZE];
	int r = 0;

	if (geteuid())
		privilege_current(&user);
	else
		r = privilege_choose(conf->live, conf->user, &user, &why);
	if (r == REFUSED) {
		log_message(LOG_ERR, "%s: live %s", options->file, why.text);
		return false;
	}
	if (!r && options->test && !identity_may_listen(conf, &user, &why))
		log_message(LOG_WARNING, "%s: socket %s %s (a warning)", options->file,
			    log_escape(shown, sizeof(shown), conf->socket), why.text);
	return true;
}

/* What the patterns stand for, with the numbers by which the log names the backups. */
static void show_backups(const struct conf *conf)
{
	char shown[LOG_PATH_SIZE];

	for (size_t n = 0; n < conf->backups; n++)
		printf("rrdmergd: source=%zu backup=%s\n", n + 1,
		       log_escape(shown, sizeof(shown), conf->backup[n]));
}

/* What is wrong at the start is seen by whoever starts it, and by who reads the log; under systemd,
 * whose journal has both, once. */
static unsigned first_targets(const struct options *options)
{
	if (options->test)
		return LOG_TO_STDERR;
	if (getenv("JOURNAL_STREAM") && !options->log_stderr && !access("/dev/log", W_OK))
		return LOG_TO_SYSLOG;
	return LOG_TO_STDERR | LOG_TO_SYSLOG;
}

static void hear_nothing(int priority, const char *message, void *arg)
{
	(void)priority;
	(void)message;
	(void)arg;
}

/* Those of the configuration's directories that do not answer. */
struct hanging {
	char **path;            /* [count], the live tree's last */
	size_t count;
	bool live;              /* it is among them */
};

static void free_hanging(struct hanging *hanging)
{
	for (size_t i = 0; i < hanging->count; i++)
		free(hanging->path[i]);
	free(hanging->path);
}

/* The live tree alone is waited for by who serves it. */
static void find_hanging(const struct options *options, struct hanging *ret)
{
	struct conf conf = { 0 };

	/* What is wrong is said when it is read in earnest. */
	(void)conf_read_unseen(options->file, &conf, hear_nothing, NULL);
	size_t asked = conf.backups + (options->test && conf.live);
	char **path = calloc(asked + 1, sizeof(*path));
	bool *hangs = calloc(asked + 1, sizeof(*hangs));

	if (path && hangs) {
		for (size_t i = 0; i < conf.backups; i++)
			path[i] = conf.backup[i];
		path[conf.backups] = conf.live;
		probe_hanging(path, asked, ANSWER_MS, hangs);
	}
	for (size_t i = 0; path && hangs && i < asked; i++) {
		path[ret->count] = hangs[i] ? strdup(path[i]) : NULL;
		if (path[ret->count])
			ret->count++;
		ret->live = ret->live || (hangs[i] && i == conf.backups);
	}
	ret->path = path;
	free(hangs);
	conf_free(&conf);
}

/* A backup that hangs must not keep the daemon from serving the rest, nor who asks whether the
 * configuration is sound from an answer.  Who merges once has to wait for it. */
static int read_first(const struct options *options, struct conf *ret, bool *ret_live_hangs)
{
	struct hanging hanging = { NULL, 0, false };
	char shown[LOG_PATH_SIZE];
	int r;

	find_hanging(options, &hanging);
	for (size_t i = 0; i < hanging.count; i++) {
		bool live = hanging.live && i + 1 == hanging.count;

		log_message(LOG_WARNING, "%s has not answered for %d s: %s %s=%s",
			    live ? "live tree" : "backup", ANSWER_MS / 1000,
			    options->test ? "it is not looked at (a warning)"
			    : options->once ? "waiting for it"
			    : "starting without a look at it; it is done without until it answers",
			    live ? "live" : "backup",
			    log_escape(shown, sizeof(shown), hanging.path[i]));
	}
	*ret_live_hangs = hanging.live;
	if (options->once)
		r = conf_read(options->file, ret, say, NULL);
	else
		r = conf_read_beside(options->file, hanging.path, hanging.count, ret, say, NULL);
	free_hanging(&hanging);
	return r;
}

int main(int argc, char **argv)
{
	struct options options = { .file = SYSCONFDIR "/rrdmergd.conf" };
	struct conf conf = { 0 };
	bool live_hangs;

	io_prepare();
	signal(SIGHUP, SIG_IGN);        /* until it can be heeded: signals_open() */
	int status = parse(argc, argv, &options);

	if (status >= 0)
		return status;
	log_open("rrdmergd", first_targets(&options), LOG_DAEMON);
	if (read_first(&options, &conf, &live_hangs)) {
		log_close();
		return EXIT_USAGE;
	}
	if (!live_hangs && !check_user(&conf, &options)) {
		status = EXIT_USAGE;
	} else if (options.test) {
		if (!globs_same(conf.given, conf.givens, conf.backup, conf.backups))
			show_backups(&conf);
		printf("rrdmergd: %s: the configuration is sound\n", options.file);
		status = fflush(stdout) ? 1 : 0;
	} else {
		unsigned targets = LOG_TO_SYSLOG;

		/* Where no syslog listens, nobody would hear. */
		if (options.log_stderr || access("/dev/log", W_OK))
			targets |= LOG_TO_STDERR;
		log_close();
		log_open("rrdmergd", targets, conf.facility);
		const struct daemon_options run = { options.file, targets, options.once };
		status = daemon_run(&run, &conf);
	}
	conf_free(&conf);
	log_close();
	return status;
}
