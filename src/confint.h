/* confint: what the rooms of conf share: conftext.c makes libconfig's tree of the file, confkeys.c
 * values of the tree, confplaces.c looks at the directories, conf.c puts them together. */
#ifndef CONFINT_H
#define CONFINT_H

#include <libconfig.h>
#include <stdbool.h>

#include "conf.h"

#define CONF_STATE_DIR "/var/lib/rrdmergd"

/* Where in the configuration something stands. */
struct origin {
	const char *file;       /* NULL: in the configuration itself, not in what it includes */
	unsigned line;          /* 0: the file as a whole */
};

static const struct origin conf_whole = { NULL, 0 };

/* A directory that the configuration names. */
struct place {
	const char *key, *path;
	struct origin at;
};

struct reading {
	const char *file;
	conf_report_fn *report;
	void *arg;
	bool failed;            /* an error was reported */
	bool no_memory;
	bool unseen;            /* directories are not looked at */
	char *const *hanging;   /* [hangings]: nor are these */
	size_t hangings;
	struct place live, *given;      /* [conf.givens] */
	struct conf conf;
};

/* What the configuration holds is escaped here, with the message around it. */
void conf_report(struct reading *r, int priority, struct origin at, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Reads the file and what it includes.  0, -EINVAL (reported) or -errno (reported). */
int conf_parse(struct reading *r, config_t *parsed);

/* Takes the values, and reports those that are wrong, unknown or missing. */
void conf_take_settings(struct reading *r, const config_setting_t *root);

/* Finds the directories that the backups' patterns stand for.  Are all there, and apart from each
 * other? */
void conf_check_places(struct reading *r);

#endif
