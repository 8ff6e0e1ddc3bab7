/* conf: /etc/rrdmergd.conf → one const struct. */
#ifndef CONF_H
#define CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "names.h"

enum conf_match {
	CONF_MATCH_AUTO,        /* data sources belong together by label where both sides have it */
	CONF_MATCH_LABEL,       /* by label, or not at all */
	CONF_MATCH_NAME         /* by name, whatever labels say */
};

#define CONF_BACKUPS_MAX 400

struct conf {
	char *live;
	char **backup;          /* [backups], most trusted first; in it as it stands, and no */
	size_t backups;         /* directory, is a pattern that matches nothing */
	char **given;           /* [givens], the backups as they were written: paths and patterns */
	size_t givens;
	struct names_rule *rename;      /* [renames] */
	size_t renames;
	enum conf_match match;
	unsigned workers;
	uint64_t rate;          /* bytes a second that may be read and written; 0: no limit */
	char *state_dir;
	char *socket;
	char *rrdcached;        /* the path of its socket; NULL: none */
	int facility;           /* syslog's */
	char *user;             /* as whom to run when started as root; NULL: live's owner */
	unsigned rescan_s;      /* how often everything is looked at by stat alone; 0: never */
	bool no_spread;         /* rows without a counterpart are not made from coarser ones */
	bool log_files;         /* a message for each file that was merged */
	bool ledger;            /* a record is kept of every merge */
	bool rebuild;           /* known coarse rows are made again from the merged finer ones */
};

/* Called for each problem found; `message` names the file and the line. */
typedef void conf_report_fn(int priority, const char *message, void *arg);

/* Reads and checks.  Reports every error (LOG_ERR) and warning (LOG_WARNING), not the first
 * alone.  0, or -EINVAL where there was an error, or -errno where the file could not be read. */
int conf_read(const char *path, struct conf *ret, conf_report_fn *report, void *arg);
/* The same, but no directory is looked at, as a disk may not answer: none is found missing or
 * within another, and patterns stay what they are, until backups_follow() finds what they match.
 * With -EINVAL, too, *ret has what could be read, and is to be freed: begin with it zeroed. */
int conf_read_unseen(const char *path, struct conf *ret, conf_report_fn *report, void *arg);
/* The same, but those of these paths that the configuration names (patterns as it has them) are not
 * looked at. */
int conf_read_beside(const char *path, char *const *hanging, size_t count, struct conf *ret,
		     conf_report_fn *report, void *arg);
void conf_free(struct conf *conf);

/* Do they name the same backups, and lead the same files of them to the same live ones? */
bool conf_same_sources(const struct conf *a, const struct conf *b);

#endif
