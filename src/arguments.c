#include "config.h"
#include "arguments.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"

#define JOBS_MAX 64

static void usage(FILE *to)
{
	fputs("usage: rrdmerge [-nv] [-j N] [--json | --show] [--exact] [--no-spread]\n"
	      "                [--seam HOW] [--rename FROM TO]... [--ledger FILE] OLD NEW\n"
	      "       rrdmerge --convert [-nv] OLD NEW.rrd\n"
	      "       rrdmerge --undo FILE [ID...]\n"
	      "\n"
	      "Gives NEW, an RRD file or a tree of them that may be in use, the history\n"
	      "that OLD, the same from a backup, holds.  Known values are never changed;\n"
	      "OLD is only read.\n"
	      "\n"
	      "  -n, --dry-run   change nothing, say what would be done\n"
	      "  -v, --verbose   a line for each file that is merged or skipped\n"
	      "  -j, --jobs N    threads, 1 to 64 (the number of processors, at most 4)\n"
	      "      --json      the sums as one JSON object on standard output\n"
	      "      --show      of two files: draw NEW's time line, with what is filled\n"
	      "      --exact     copy rows, and make none\n"
	      "      --no-spread spread no coarse row over finer ones that nobody has\n"
	      "      --seam HOW  rebuild: make the coarse rows again that NEW knows from its\n"
	      "                  own part alone; heal, the default: leave them as they are\n"
	      "      --convert   write OLD, from whatever kind of machine, to the new file NEW\n"
	      "                  in this machine's own form, and merge nothing\n"
	      "      --rename FROM TO\n"
	      "                  what the regular expression FROM matches in the path of a file\n"
	      "                  in OLD is TO in NEW\n"
	      "      --ledger FILE\n"
	      "                  keep a record of the merges, by which they can be undone\n"
	      "      --undo FILE undo the merges of that record with these numbers; without\n"
	      "                  one, list them\n"
	      "  -h, --help      this text\n"
	      "  -V, --version   the version\n"
	      "\n"
	      "Exit status: 0 all merged or nothing to do; 1 a file was refused or failed,\n"
	      "each named on standard error; 2 usage, or not one file of NEW has a\n"
	      "counterpart in OLD.\n", to);
}

static bool parse_jobs(const char *text, unsigned *ret)
{
	char *end;

	errno = 0;
	long n = strtol(text, &end, 10);
	if (errno || end == text || *end || n < 1 || n > JOBS_MAX ||
	    strspn(text, "0123456789") != strlen(text))
		return false;
	*ret = (unsigned)n;
	return true;
}

/* False where it is wrong, and said. */
static bool add_rule(struct arguments *o, const char *from, const char *to)
{
	struct names_rule *grown, *rule;
	struct reason why = { "out of memory" };
	char shown[LOG_PATH_SIZE];

	if (!to) {
		log_message(LOG_ERR, "--rename takes two words, FROM and TO: a regular expression, and "
			    "what takes the place of what it matches");
		return false;
	}
	grown = reallocarray(o->rename, o->renames + 1, sizeof(*grown));
	if (grown) {
		o->rename = grown;
		rule = &grown[o->renames];
		*rule = (struct names_rule){ strdup(from), calloc(1, sizeof(char *)), 0 };
		o->renames++;
		if (rule->from && rule->to && (rule->to[0] = strdup(to))) {
			rule->tos = 1;
			if (!names_check(rule, &why))
				return true;
		}
	}
	log_message(LOG_ERR, "--rename: %s", log_escape(shown, sizeof(shown), why.text));
	return false;
}

static char *without_slashes(char *path)
{
	size_t len = strlen(path);

	/* "dir/" is the directory; "file/" must stay the error that it is. */
	while (len > 1 && path[len - 1] == '/') {
		struct stat st;

		if (stat(path, &st) || !S_ISDIR(st.st_mode))
			break;
		path[--len] = '\0';
	}
	return path;
}

/* The first option that says how to merge, or what to do of it. */
static const char *option_of_merging(int c, const char *given)
{
	static const struct {
		int c;
		const char *name;
	} options[] = {
		{ 'j', "-j, --jobs" }, { 'J', "--json" }, { 'E', "--exact" },
		{ 'W', "--show" }, { 'P', "--no-spread" }, { 'S', "--seam" }, { 'L', "--ledger" },
		{ 'U', "--undo" },
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]) && !given; i++)
		if (options[i].c == c)
			given = options[i].name;
	return given;
}

/* What the command line goes on with; anything else is an exit status. */
#define GO_ON (-1)

/* False where it is wrong, and said. */
static bool set_seam(struct arguments *o, const char *how)
{
	o->plan.rebuild = !strcmp(how, "rebuild");
	if (o->plan.rebuild || !strcmp(how, "heal"))
		return true;
	log_message(LOG_ERR, "--seam: %s is neither \"heal\" nor \"rebuild\"", how);
	return false;
}

static bool set_jobs(struct arguments *o, const char *text)
{
	if (parse_jobs(text, &o->jobs))
		return true;
	log_message(LOG_ERR, "-j, --jobs: %s is no number from 1 to %d", text, JOBS_MAX);
	return false;
}

/* One that getopt_long(3) has found; a second word of it is in argv[optind]. */
static int take_option(struct arguments *o, int c, char **argv)
{
	switch (c) {
	case 'n':
		o->dry_run = true;
		return GO_ON;
	case 'v':
		o->verbose = true;
		return GO_ON;
	case 'J':
		o->json = true;
		return GO_ON;
	case 'W':
		o->show = true;
		return GO_ON;
	case 'E':
		o->plan.exact = true;
		return GO_ON;
	case 'C':
		o->convert = true;
		return GO_ON;
	case 'L':
	case 'U':
		o->ledger = optarg;
		o->undo = c == 'U';
		return GO_ON;
	case 'P':
		o->plan.no_spread = true;
		return GO_ON;
	case 'R':
		return add_rule(o, optarg, argv[optind++]) ? GO_ON : EXIT_USAGE;
	case 'S':
		return set_seam(o, optarg) ? GO_ON : EXIT_USAGE;
	case 'j':
		return set_jobs(o, optarg) ? GO_ON : EXIT_USAGE;
	case 'h':
		usage(stdout);
		return fflush(stdout) ? EXIT_REFUSED : EXIT_MERGED;
	case 'V':
		printf("rrdmerge %s\n", PACKAGE_VERSION);
		return fflush(stdout) ? EXIT_REFUSED : EXIT_MERGED;
	default:
		usage(stderr);
		return EXIT_USAGE;
	}
}

/* Options that exclude each other. */
static bool go_together(const struct arguments *o)
{
	if (o->convert && o->merging) {
		log_message(LOG_ERR, "--convert merges nothing: %s does not go with it", o->merging);
		return false;
	}
	if (o->show && (o->json || o->undo)) {
		log_message(LOG_ERR, "--show draws for people: %s does not go with it",
			    o->json ? "--json" : "--undo");
		return false;
	}
	return true;
}

static bool take_files(struct arguments *o, int count, char **path)
{
	if (count != 2 || !*path[0] || !*path[1]) {
		log_message(LOG_ERR, o->convert ? "give two files: OLD, and NEW, which is not there yet"
			    : "give two files or two directories: OLD, the backup, and NEW");
		usage(stderr);
		return false;
	}
	if (!strcmp(path[0], "-") || !strcmp(path[1], "-")) {
		log_message(LOG_ERR, "standard input and output are no RRD files: give names (./- is "
			    "a file called so)");
		return false;
	}
	o->old = without_slashes(path[0]);
	o->new = without_slashes(path[1]);
	return true;
}

int arguments_parse(int argc, char **argv, struct arguments *o)
{
	static const struct option longs[] = {
		{ "dry-run", no_argument, NULL, 'n' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "json", no_argument, NULL, 'J' },
		{ "show", no_argument, NULL, 'W' },
		{ "exact", no_argument, NULL, 'E' },
		{ "convert", no_argument, NULL, 'C' },
		{ "ledger", required_argument, NULL, 'L' },
		{ "undo", required_argument, NULL, 'U' },
		{ "no-spread", no_argument, NULL, 'P' },
		{ "seam", required_argument, NULL, 'S' },
		{ "rename", required_argument, NULL, 'R' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 }
	};
	int c, r = GO_ON;

	while (r == GO_ON && (c = getopt_long(argc, argv, "nvj:hV", longs, NULL)) != -1) {
		o->merging = option_of_merging(c, o->merging);
		r = take_option(o, c, argv);
	}
	if (r != GO_ON)
		return r;
	if (!go_together(o))
		return EXIT_USAGE;
	if (!o->undo)
		return take_files(o, argc - optind, argv + optind) ? GO_ON : EXIT_USAGE;
	o->id = argv + optind;
	o->ids = (size_t)(argc - optind);
	return GO_ON;
}

void arguments_free(struct arguments *o)
{
	names_rules_free(o->rename, o->renames);
}
