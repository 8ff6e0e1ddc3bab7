/* rrdmergctl: asks and steers the daemon. */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "commandlist.h"
#include "control.h"
#include "ctlclient.h"
#include "ctlprint.h"
#include "ctlshow.h"
#include "ctlstatus.h"
#include "io.h"
#include "log.h"
#include "progress.h"
#include "terminal.h"
#include "wire.h"

enum { EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_UNREACHED };

#define PATIENCE_MS 5000
#define WAIT_MS 500             /* between two looks of status --wait */

struct options {
	const char *socket;
	bool json, wait;
	size_t words;
	char **word;            /* the command and its arguments */
};

struct printing {
	const struct options *options;
	FILE *to;
	size_t records;
	enum { SHOW_PLAIN, SHOW_HELP, SHOW_STATUS, SHOW_LIST, SHOW_FILE } show;
	struct ctlstatus status;
	struct ctlshow file;
};

/* What this program knows of the commands without asking: the daemon may be another version. */
#define ROW(word, access, min, max, options, arguments, help) \
	{ #word, arguments, (access) == CONTROL_CHANGES, help },
static const struct {
	const char *name, *arguments;
	bool changes;
	const char *help;
} command[] = {
	COMMAND_LIST(ROW)
	{ "help", CONTROL_HELP_ARGUMENTS, false, CONTROL_HELP },
};
#define COMMANDS (sizeof(command) / sizeof(command[0]))

static void show_command(FILE *to, size_t i, bool alone)
{
	const struct ctlclient_field fields[] = {
		{ "command", command[i].name, false },
		{ "arguments", command[i].arguments, false },
		{ "access", command[i].changes ? "changes" : "asks", false },
		{ "help", command[i].help, false },
	};

	ctlprint_help(to, fields, sizeof(fields) / sizeof(fields[0]), alone);
}

/* False where it is none that we know. */
static bool explain(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(name, command[i].name))
			continue;
		show_command(stdout, i, true);
		return true;
	}
	return false;
}

static void usage(FILE *to)
{
	fprintf(to,
		"usage: rrdmergctl [-s SOCKET] [--json] COMMAND [ARGUMENT ...]\n"
		"\n"
		"Asks and steers rrdmergd.\n"
		"\n"
		"  -s, --socket SOCKET  the daemon's socket (%s)\n"
		"      --json           answer in JSON\n"
		"  -h, --help           this text\n"
		"  -V, --version        the version\n"
		"\n"
		"Commands; COMMAND --help says a little more of one:\n"
		"\n",
		WIRE_SOCKET);
	for (size_t i = 0; i < COMMANDS; i++)
		show_command(to, i, false);
	fprintf(to,
		"\n"
		"Exit status: 0 done; 1 the command failed; 2 usage; 3 the daemon was not\n"
		"reached.\n");
}

/* --json may stand behind the command as well, but not behind a "--" there, which is the
 * daemon's; so may --help.  --wait is not the daemon's either. */
static void take_late_options(struct options *o, bool *help)
{
	size_t kept = 0;
	bool ended = false;

	for (size_t i = 0; i < o->words; i++) {
		char *word = o->word[i];

		ended = ended || !strcmp(word, "--");
		if (!ended && !strcmp(word, "--json"))
			o->json = true;
		else if (!ended && !strcmp(word, "--wait") && i && !strcmp(o->word[0], "status"))
			o->wait = true;
		else if (!ended && (!strcmp(word, "--help") || !strcmp(word, "-h")))
			*help = true;
		else
			o->word[kept++] = word;
	}
	o->words = kept;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 }
	};
	static char help_word[] = "help";
	static char *help_words[2] = { help_word };
	bool help = false;
	int c;

	while ((c = getopt_long(argc, argv, "+s:hV", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o->socket = optarg;
			break;
		case 'j':
			o->json = true;
			break;
		case 'h':
			usage(stdout);
			return fflush(stdout) ? EXIT_FAILED : EXIT_DONE;
		case 'V':
			printf("rrdmergctl %s\n", PACKAGE_VERSION);
			return fflush(stdout) ? EXIT_FAILED : EXIT_DONE;
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	o->word = argv + optind;
	o->words = (size_t)(argc - optind);
	take_late_options(o, &help);
	if (!o->words) {
		fprintf(stderr, "rrdmergctl: name a command\n");
		usage(stderr);
		return EXIT_USAGE;
	}
	if (help && !o->json && explain(o->word[0]))
		return fflush(stdout) ? EXIT_FAILED : EXIT_DONE;
	if (help) {
		help_words[1] = o->word[0];
		o->word = help_words;
		o->words = 2;
	}
	return -1;
}

static void print_record(const struct ctlclient_field *fields, size_t count, void *arg)
{
	struct printing *p = arg;
	bool first = p->records++ == 0;

	if (p->show == SHOW_STATUS)
		ctlstatus_take(&p->status, fields, count);
	if (p->options->json)
		ctlprint_json(p->to, fields, count, first);
	else if (p->show == SHOW_HELP)
		ctlprint_help(p->to, fields, count, p->options->words > 1);
	else if (p->show == SHOW_LIST)
		ctlprint_item(p->to, fields, count);
	else if (p->show == SHOW_FILE)
		ctlshow_print(p->to, &p->file, fields, count);
	else if (p->show == SHOW_PLAIN)
		ctlprint_plain(p->to, fields, count, first);
}

static void say_slow(void *arg)
{
	struct printing *p = arg;
	char shown[LOG_PATH_SIZE];

	fprintf(stderr, "rrdmergctl: waiting for rrdmergd to answer on %s; Ctrl-C does no harm\n",
		log_escape(shown, sizeof(shown), p->options->socket));
}

static void say_failed(const char *text)
{
	size_t size = 4 * strlen(text) + 1;
	char *shown = malloc(size);

	fprintf(stderr, "rrdmergctl: %s\n", shown ? log_escape(shown, size, text) : "failed");
	free(shown);
}

static void end_json(FILE *to, size_t records, enum ctlclient_outcome outcome, const char *text)
{
	fprintf(to, "%s],\"status\":\"%s\"", records ? "\n" : "",
		outcome == CTLCLIENT_DONE ? "ok" : "error");
	if (outcome != CTLCLIENT_DONE) {
		fputs(",\"error\":", to);
		ctlprint_json_string(to, text);
	}
	fputs("}\n", to);
}

/* The answer as it is to be written. */
struct answer {
	enum ctlclient_outcome outcome;
	char text[CTLCLIENT_TEXT_SIZE];
	FILE *spool;            /* NULL: */
	char *bytes;
	size_t size;
	bool spoilt;            /* for want of memory, or of room for the spool */
};

static bool is_command(const struct options *o, const char *name)
{
	return !strcmp(o->word[0], name);
}

/* The whole answer is taken before any of it is written: the daemon does not wait for a pager.  What
 * may be long waits in a file without a name. */
static void take_answer(struct printing *p, struct answer *ret)
{
	const struct options *o = p->options;
	const struct ctlclient_options options = {
		.socket = o->socket, .patience_ms = PATIENCE_MS, .slow = say_slow,
		.record = print_record, .arg = p,
	};

	*ret = (struct answer){ .outcome = CTLCLIENT_FAILED };
	if (is_command(o, "list") || is_command(o, "history"))
		ret->spool = tmpfile();
	p->to = ret->spool ? ret->spool : open_memstream(&ret->bytes, &ret->size);
	if (!p->to) {
		snprintf(ret->text, sizeof(ret->text), "out of memory");
		return;
	}
	p->records = 0;
	ctlstatus_free(&p->status);
	if (o->json)
		fputs("{\"records\":[", p->to);
	ret->outcome = ctlclient_ask(&options, o->words, o->word, ret->text);
	if (ret->outcome == CTLCLIENT_DONE && p->show == SHOW_STATUS &&
	    !*ctlstatus_text(&p->status, "state")) {
		snprintf(ret->text, sizeof(ret->text), "what answers on the socket %s does not say how "
			 "it is: is it rrdmergd, of this version?", o->socket);
		ret->outcome = CTLCLIENT_UNREACHED;
	}
	if (o->json)
		end_json(p->to, p->records, ret->outcome, ret->text);
	else if (p->show == SHOW_STATUS && p->records)
		ctlstatus_print(p->to, &p->status);
	else if (p->show == SHOW_FILE)
		ctlshow_end(p->to, &p->file);
	ret->spoilt = fflush(p->to) || ferror(p->to);
	if (!ret->spool)
		fclose(p->to);
}

static void drop_answer(struct answer *answer)
{
	if (answer->spool)
		fclose(answer->spool);
	free(answer->bytes);
}

/* False where it cannot be written. */
static bool write_answer(const struct answer *answer)
{
	char chunk[1 << 16];
	size_t got;
	bool written = !answer->spoilt;

	if (answer->spool && written) {
		rewind(answer->spool);
		while (written && (got = fread(chunk, 1, sizeof(chunk), answer->spool)))
			written = fwrite(chunk, 1, got, stdout) == got;
	} else if (answer->bytes && written) {
		written = fwrite(answer->bytes, 1, answer->size, stdout) == answer->size;
	}
	return !fflush(stdout) && written;
}

/* What this program knows by itself, where no daemon tells.  False where that is nothing. */
static bool help_alone(const struct options *o)
{
	if (!is_command(o, "help") || o->json || o->words > 2)
		return false;
	if (o->words == 2)
		return explain(o->word[1]);
	for (size_t i = 0; i < COMMANDS; i++)
		show_command(stdout, i, false);
	return true;
}

static int finish(const struct printing *p, struct answer *answer)
{
	enum ctlclient_outcome outcome = answer->outcome;

	if (outcome == CTLCLIENT_UNREACHED && !p->records && help_alone(p->options)) {
		drop_answer(answer);
		return fflush(stdout) ? EXIT_FAILED : EXIT_DONE;
	}
	bool written = write_answer(answer);
	if (outcome != CTLCLIENT_DONE)
		say_failed(answer->text);
	else if (!written)
		perror("rrdmergctl: the answer cannot be written");
	drop_answer(answer);
	return outcome == CTLCLIENT_DONE && !written ? EXIT_FAILED : (int)outcome;
}

/* Why there is no end in sight; NULL: there is. */
static const char *why_stuck(const struct ctlstatus *status)
{
	const char *state = ctlstatus_text(status, "state");

	return ctlstatus_is_idle(status) || !strcmp(state, "merging") ? NULL : state;
}

/* As the daemon says; -1: it does not. */
static long long left_of(const struct ctlstatus *status)
{
	return *ctlstatus_text(status, "left_seconds")
		? (long long)ctlstatus_number(status, "left_seconds") : -1;
}

/* Draws until the daemon has nothing left to do; *answer is the last, or that of an error. */
static void wait_idle(struct printing *p, struct answer *answer)
{
	const struct timespec pause = { .tv_nsec = WAIT_MS * 1000000L };
	struct progress progress;
	bool begun = false, said = false;

	for (;;) {
		const struct ctlstatus *status = &p->status;
		unsigned long long files, pending;

		take_answer(p, answer);
		if (answer->outcome != CTLCLIENT_DONE || answer->spoilt || ctlstatus_is_idle(status))
			break;
		files = ctlstatus_number(status, "files");
		pending = ctlstatus_number(status, "pending");
		size_t done = files > pending ? files - pending : 0;
		if (!begun) {
			progress_start(&progress, STDERR_FILENO);
			progress.before = done;
			progress.told = true;
			begun = true;
		}
		if (why_stuck(status) && !said) {
			progress_clear(&progress);
			fputs("rrdmergctl: rrdmergd is ", stderr);
			ctlprint_safe(stderr, why_stuck(status));
			fputs("; Ctrl-C does no harm\n", stderr);
			said = true;
		} else if (!why_stuck(status)) {
			progress.left_s = left_of(status);
			progress_draw(&progress, done, files, 0);
			said = false;
		}
		drop_answer(answer);
		nanosleep(&pause, NULL);
	}
	if (begun)
		progress_clear(&progress);
}

static bool is_digits(const char *text)
{
	return *text && !text[strspn(text, "0123456789")];
}

/* A time line is as wide as what it is shown on, and who makes it is to know that. */
static void wide(struct printing *p, struct options *wider, char *words[WIRE_WORDS_MAX],
		 char *columns, size_t size)
{
	const struct options *o = p->options;
	size_t width = terminal_columns(STDOUT_FILENO);
	size_t paths = o->words > 1 && !strcmp(o->word[1], "--") ? 2 : 1;       /* where the path is */

	width = width < TIMELINE_COLUMNS_MIN ? TIMELINE_COLUMNS_MIN
		: width > TIMELINE_COLUMNS_MAX ? TIMELINE_COLUMNS_MAX : width;
	if (o->words == paths + 2 && is_digits(o->word[paths + 1]))
		width = strtoul(o->word[paths + 1], NULL, 10);
	p->file.columns = width;
	p->file.utf8 = terminal_is_utf8(STDOUT_FILENO);
	if (o->words != paths + 1)
		return;
	snprintf(columns, size, "%zu", width);
	*wider = *o;
	wider->word = words;
	memcpy(words, o->word, o->words * sizeof(*words));
	words[wider->words++] = columns;
	p->options = wider;
}

static int ask(const struct options *o)
{
	struct answer answer;
	struct printing p = {
		.options = o,
		.show = is_command(o, "help") ? SHOW_HELP : is_command(o, "status") ? SHOW_STATUS
			: is_command(o, "list") ? SHOW_LIST
			: is_command(o, "show") ? SHOW_FILE : SHOW_PLAIN,
	};
	char columns[32], *words[WIRE_WORDS_MAX];
	struct options wider;
	int status;

	if (p.show == SHOW_FILE && !o->json)
		wide(&p, &wider, words, columns, sizeof(columns));

	if (o->wait)
		wait_idle(&p, &answer);
	else
		take_answer(&p, &answer);
	status = finish(&p, &answer);
	ctlstatus_free(&p.status);
	return status;
}

int main(int argc, char **argv)
{
	struct options options = { .socket = WIRE_SOCKET };
	io_prepare();
	int status = parse(argc, argv, &options);

	return status >= 0 ? status : ask(&options);
}
