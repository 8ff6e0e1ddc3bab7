/* check_rrdmergd: a plugin for Nagios and its kin: how is rrdmergd?
 *
 * One line, then performance data whose labels, order and count are fixed for ever: PNP graphs them by
 * their place. */
#include "config.h"

#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctlclient.h"
#include "ctlstatus.h"
#include "io.h"
#include "log.h"
#include "range.h"
#include "wire.h"

enum state { STATE_OK, STATE_WARNING, STATE_CRITICAL, STATE_UNKNOWN };

#define TIMEOUT_S 10
#define TIMEOUT_MAX_S 3600
#define TEXT_SIZE 4096

static const char *const state_name[] = { "OK", "WARNING", "CRITICAL", "UNKNOWN" };

/* In this order, for ever. */
static const char *const label[] = {
	"merged", "unchanged", "waiting", "refused", "failed", "pending", "cells", "watch_overflows",
	"unwatched_dirs",
};
#define LABELS (sizeof(label) / sizeof(label[0]))

struct options {
	const char *socket;
	const char *warning, *critical; /* as given; NULL: none */
	struct range warn, crit;        /* of the files that want a person */
	unsigned timeout_s;
	bool verbose;
};

/* ---- the answer ---- */

/* What a plugin's text may not hold: "|" begins the performance data. */
static void put_text(const char *text)
{
	char shown[TEXT_SIZE];

	for (const char *c = log_escape(shown, sizeof(shown), text); *c; c++)
		putchar(*c == '|' ? '!' : *c);
}

static enum state give_up(const char *text)
{
	printf("RRDMERGD %s - ", state_name[STATE_UNKNOWN]);
	put_text(text);
	putchar('\n');
	return STATE_UNKNOWN;
}

static void worsen(enum state *state, enum state to)
{
	if (to > *state)
		*state = to;
}

static bool is(const struct ctlstatus *status, const char *key, const char *text)
{
	return !strcmp(ctlstatus_text(status, key), text);
}

/* Is each value there, and a number?  One that is missing would be graphed as 0. */
static bool is_complete(const struct ctlstatus *status)
{
	bool complete = *ctlstatus_text(status, "state");

	for (size_t i = 0; i < LABELS; i++) {
		const char *text = ctlstatus_text(status, label[i]);

		complete = complete && *text && !text[strspn(text, "0123456789")];
	}
	return complete;
}

/* The worse of what the thresholds say of the files that want a person, and of what is always wrong. */
static enum state judge(const struct options *o, const struct ctlstatus *status)
{
	const char *now = ctlstatus_text(status, "state");
	double refused = (double)ctlstatus_number(status, "refused");
	enum state state = STATE_OK;

	if (o->warning && range_alerts(&o->warn, refused))
		worsen(&state, STATE_WARNING);
	if (o->critical && range_alerts(&o->crit, refused))
		worsen(&state, STATE_CRITICAL);
	if (is(status, "paused", "yes") || is(status, "lost", "yes") ||
	    is(status, "backups_seen", "no") || ctlstatus_number(status, "stalled_seconds") ||
	    ctlstatus_number(status, "undone_in_part") || ctlstatus_number(status, "unwatched_dirs"))
		worsen(&state, STATE_WARNING);
	if (!strncmp(now, "waiting for", 11) || /* the live tree, or the ledger */
	    ctlstatus_number(status, "unsynced"))
		worsen(&state, STATE_CRITICAL);
	return state;
}

static void put_summary(const struct ctlstatus *status)
{
	const char *now = ctlstatus_text(status, "state");
	unsigned long long refused = ctlstatus_number(status, "refused");
	unsigned long long pending = ctlstatus_number(status, "pending");
	unsigned long long unwatched = ctlstatus_number(status, "unwatched_dirs");

	put_text(now);
	if (!strcmp(now, "waiting for the ledger")) {
		printf(" (");
		put_text(ctlstatus_text(status, "ledger"));
		putchar(')');
	}
	printf(", %llu merged, %llu unchanged", ctlstatus_number(status, "merged"),
	       ctlstatus_number(status, "unchanged"));
	if (pending)
		printf(", %llu still to come", pending);
	if (refused)
		printf(", %llu refused", refused);
	if (ctlstatus_number(status, "unsynced"))
		printf(", %llu may not be on disk as live's disk has failed",
		       ctlstatus_number(status, "unsynced"));
	if (ctlstatus_number(status, "undone_in_part"))
		printf(", %llu undone in part", ctlstatus_number(status, "undone_in_part"));
	if (unwatched)
		printf(", %llu directories not watched", unwatched);
	if (is(status, "lost", "yes"))
		printf(", not one live file has a counterpart");
	if (is(status, "backups_seen", "no"))
		printf(", a backup is not there or cannot be read");
	if (ctlstatus_number(status, "stalled_seconds"))
		printf(", a disk has not answered for %llu s",
		       ctlstatus_number(status, "stalled_seconds"));
	if (*ctlstatus_text(status, "stalled_backups")) {
		printf(" (");
		put_text(ctlstatus_text(status, "stalled_backups"));
		putchar(')');
	}
	printf("; the backup is %s needed", is(status, "backup_needed", "yes") ? "still"
	       : "no longer");
}

/* 'label'=value;warn;crit;min;max: the thresholds stand with what they are for. */
static void put_figures(const struct options *o, const struct ctlstatus *status)
{
	putchar('|');
	for (size_t i = 0; i < LABELS; i++) {
		bool judged = !strcmp(label[i], "refused");

		printf("%s%s=%llu;%s;%s;0;", i ? " " : "", label[i],
		       ctlstatus_number(status, label[i]),
		       judged && o->warning ? o->warning : "",
		       judged && o->critical ? o->critical : "");
	}
	putchar('\n');
}

/* Of each kind of refusal one file, for -v. */
static void put_refusals(const struct ctlstatus *status)
{
	for (size_t i = 0; i < status->kinds; i++) {
		const struct ctlstatus_kind *kind = &status->kind[i];

		printf("%llu refused: ", kind->files);
		put_text(kind->reason);
		printf(" file=");
		put_text(kind->example);
		putchar('\n');
	}
	if (status->more_kinds)
		printf("and %llu kinds more\n", status->more_kinds);
}

/* ---- asking ---- */

static void take(const struct ctlclient_field *fields, size_t count, void *arg)
{
	ctlstatus_take(arg, fields, count);
}

static enum state check(const struct options *o)
{
	char word[] = "status", text[CTLCLIENT_TEXT_SIZE];
	char *words[] = { word };
	struct ctlstatus status = { .fields = 0 };
	const struct ctlclient_options options = {
		.socket = o->socket,
		.timeout_ms = o->timeout_s * 1000,
		.record = take,
		.arg = &status,
	};
	enum state state;

	if (ctlclient_ask(&options, 1, words, text) != CTLCLIENT_DONE) {
		state = give_up(text);
	} else if (status.failed || !is_complete(&status)) {
		state = give_up(status.failed ? "out of memory" : "rrdmergd does not say how it is: "
				"is it of another version?");
	} else {
		state = judge(o, &status);
		printf("RRDMERGD %s - ", state_name[state]);
		put_summary(&status);
		put_figures(o, &status);
		if (o->verbose)
			put_refusals(&status);
	}
	ctlstatus_free(&status);
	return state;
}

/* Whatever hangs, Nagios gets its line. */
static void on_alarm(int signal)
{
	static const char text[] = "RRDMERGD UNKNOWN - no answer in time\n";

	(void)signal;
	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
		_exit(STATE_UNKNOWN);
	_exit(STATE_UNKNOWN);
}

/* ---- the command line ---- */

static void usage(FILE *to)
{
	fprintf(to,
		"usage: check_rrdmergd [-s SOCKET] [-w RANGE] [-c RANGE] [-t SECONDS] [-v]\n"
		"\n"
		"A plugin for Nagios: is rrdmergd well, and does a file want a person?\n"
		"\n"
		"  -s, --socket SOCKET     rrdmergd's socket (%s)\n"
		"  -w, --warning RANGE     warn where so many files are refused, wholly or in part\n"
		"                          (0: any)\n"
		"  -c, --critical RANGE    critical where so many are (never)\n"
		"  -t, --timeout SECONDS   wait no longer (%d)\n"
		"  -v, --verbose           name a file of each kind of refusal\n"
		"  -h, --help              this text\n"
		"  -V, --version           the version\n"
		"\n"
		"A paused daemon, a backup that was never seen whole, a live tree of which\n"
		"nothing has a counterpart, a disk that does not answer, an undo that did not\n"
		"come to its end, and directories that are not watched are warnings; a ledger\n"
		"that does not work, a live tree that is not there, or a disk of it that has\n"
		"failed, is critical.\n"
		"RANGE is [@]start:end, as plugins have it.\n",
		WIRE_SOCKET, TIMEOUT_S);
}

static bool parse_seconds(const char *text, unsigned *ret)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (!*text || strspn(text, "0123456789") != strlen(text) || value < 1 ||
	    value > TIMEOUT_MAX_S)
		return false;
	*ret = (unsigned)value;
	return true;
}

static int refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int refuse(const char *format, ...)
{
	char text[TEXT_SIZE];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return (int)give_up(text);
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "warning", required_argument, NULL, 'w' },
		{ "critical", required_argument, NULL, 'c' },
		{ "timeout", required_argument, NULL, 't' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "s:w:c:t:vhV", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o->socket = optarg;
			break;
		case 'w':
			o->warning = optarg;
			break;
		case 'c':
			o->critical = optarg;
			break;
		case 't':
			if (!parse_seconds(optarg, &o->timeout_s))
				return refuse("-t takes 1 to %d seconds, and not \"%s\"",
					      TIMEOUT_MAX_S, optarg);
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'h':
			usage(stdout);
			return STATE_UNKNOWN;
		case 'V':
			printf("check_rrdmergd %s\n", PACKAGE_VERSION);
			return STATE_UNKNOWN;
		default:
			usage(stderr);
			return refuse("the command line is wrong: see --help");
		}
	}
	if (optind < argc)
		return refuse("\"%s\" is one argument too many: see --help", argv[optind]);
	if (!range_parse(o->warning, &o->warn))
		return refuse("-w takes a range like 10, 5:20 or @1:3, and not \"%s\"", o->warning);
	if (o->critical && !range_parse(o->critical, &o->crit))
		return refuse("-c takes a range like 10, 5:20 or @1:3, and not \"%s\"", o->critical);
	return -1;
}

int main(int argc, char **argv)
{
	struct options options = {
		.socket = WIRE_SOCKET, .warning = "0", .timeout_s = TIMEOUT_S,
	};

	io_prepare();
	int status = parse(argc, argv, &options);
	if (status >= 0)
		return fflush(stdout) ? STATE_UNKNOWN : status;
	signal(SIGALRM, on_alarm);
	alarm(options.timeout_s + 1);
	status = (int)check(&options);
	return fflush(stdout) ? STATE_UNKNOWN : status;
}
