/* rrdmergctl: asks and steers the daemon. */
#include "config.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commandlist.h"
#include "control.h"
#include "ctlclient.h"
#include "ctlprint.h"
#include "io.h"
#include "log.h"
#include "wire.h"

enum { EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_UNREACHED };

#define PATIENCE_MS 5000

struct options {
	const char *socket;
	bool json;
	size_t words;
	char **word;            /* the command and its arguments */
};

struct printing {
	const struct options *options;
	FILE *to;
	size_t records;
	bool help;
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
 * daemon's; so may --help. */
static void take_late_options(struct options *o, bool *help)
{
	size_t kept = 0;
	bool ended = false;

	for (size_t i = 0; i < o->words; i++) {
		char *word = o->word[i];

		ended = ended || !strcmp(word, "--");
		if (!ended && !strcmp(word, "--json"))
			o->json = true;
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

	if (p->options->json)
		ctlprint_json(p->to, fields, count, first);
	else if (p->help)
		ctlprint_help(p->to, fields, count, p->options->words > 1);
	else
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

/* The whole answer is taken before any of it is written: the daemon does not wait for a pager. */
static int ask(const struct options *o)
{
	char *answer = NULL, text[CTLCLIENT_TEXT_SIZE];
	size_t size = 0;
	struct printing p = {
		.options = o, .to = open_memstream(&answer, &size), .help =
			!strcmp(o->word[0], "help"),
	};
	const struct ctlclient_options options = {
		.socket = o->socket, .patience_ms = PATIENCE_MS, .slow = say_slow,
		.record = print_record, .arg = &p,
	};
	bool written;

	if (!p.to) {
		perror("rrdmergctl");
		return EXIT_FAILED;
	}
	if (o->json)
		fputs("{\"records\":[", p.to);
	enum ctlclient_outcome outcome = ctlclient_ask(&options, o->words, o->word, text);
	if (o->json)
		end_json(p.to, p.records, outcome, text);
	written = !ferror(p.to);
	written = !fclose(p.to) && written;
	written = written && fwrite(answer, 1, size, stdout) == size;
	written = !fflush(stdout) && written;
	free(answer);
	if (outcome != CTLCLIENT_DONE)
		say_failed(text);
	else if (!written)
		perror("rrdmergctl: the answer cannot be written");
	return outcome == CTLCLIENT_DONE && !written ? EXIT_FAILED : (int)outcome;
}

int main(int argc, char **argv)
{
	struct options options = { .socket = WIRE_SOCKET };
	io_prepare();
	int status = parse(argc, argv, &options);

	return status >= 0 ? status : ask(&options);
}
