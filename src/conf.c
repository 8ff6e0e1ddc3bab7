#include "config.h"
#include "conf.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "confint.h"
#include "globs.h"
#include "log.h"
#include "wire.h"

#define WORKERS_DEFAULT_MAX 4
#define RESCAN_DEFAULT_S 900
#define MESSAGE_SIZE (3 * LOG_PATH_SIZE)        /* the file, two paths */

void conf_report(struct reading *r, int priority, struct origin at, const char *format, ...)
{
	char message[MESSAGE_SIZE], raw[MESSAGE_SIZE + 1];
	size_t len;
	va_list args;

	if (priority == LOG_ERR)
		r->failed = true;
	snprintf(raw, PATH_MAX, "%s", at.file ? at.file : r->file);
	len = strlen(raw);
	if (at.line)
		len += (size_t)sprintf(raw + len, ":%u", at.line);
	len += (size_t)sprintf(raw + len, ": ");
	va_start(args, format);
	vsnprintf(raw + len, sizeof(raw) - len, format, args);
	va_end(args);
	r->report(priority, log_escape(message, sizeof(message), raw), r->arg);
}

static unsigned default_workers(void)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	if (online < 1)
		return 1;
	return online > WORKERS_DEFAULT_MAX ? WORKERS_DEFAULT_MAX : (unsigned)online;
}

static int read_conf(struct reading r, struct conf *ret)
{
	config_t parsed;
	int rc;

	r.conf.workers = default_workers();
	r.conf.facility = LOG_DAEMON;
	r.conf.rescan_s = RESCAN_DEFAULT_S;
	r.conf.ledger = true;
	r.conf.log_files = true;
	config_init(&parsed);
	rc = conf_parse(&r, &parsed);
	if (rc)
		goto out;
	conf_take_settings(&r, config_root_setting(&parsed));
	conf_check_places(&r);
	if (!r.conf.state_dir)
		r.conf.state_dir = strdup(CONF_STATE_DIR);
	if (!r.conf.socket)
		r.conf.socket = strdup(WIRE_SOCKET);
	if (!r.conf.state_dir || !r.conf.socket)
		r.no_memory = true;
	rc = r.no_memory ? -ENOMEM : r.failed ? -EINVAL : 0;
	if (rc && !(r.unseen && rc == -EINVAL))
		goto out;
	*ret = r.conf;
	memset(&r.conf, 0, sizeof(r.conf));
out:
	config_destroy(&parsed);
	conf_free(&r.conf);
	free(r.given);
	return rc;
}

int conf_read(const char *path, struct conf *ret, conf_report_fn *report, void *arg)
{
	return read_conf((struct reading){ .file = path, .report = report, .arg = arg }, ret);
}

int conf_read_unseen(const char *path, struct conf *ret, conf_report_fn *report, void *arg)
{
	return read_conf((struct reading){ .file = path, .unseen = true, .report = report, .arg = arg },
			 ret);
}

int conf_read_beside(const char *path, char *const *hanging, size_t count, struct conf *ret,
		     conf_report_fn *report, void *arg)
{
	return read_conf((struct reading){ .file = path, .hanging = hanging, .hangings = count,
					   .report = report, .arg = arg }, ret);
}

void conf_free(struct conf *conf)
{
	if (!conf)
		return;
	globs_free(conf->backup, conf->backups);
	globs_free(conf->given, conf->givens);
	names_rules_free(conf->rename, conf->renames);
	free(conf->live);
	free(conf->state_dir);
	free(conf->socket);
	free(conf->rrdcached);
	free(conf->user);
	memset(conf, 0, sizeof(*conf));
}

bool conf_same_sources(const struct conf *a, const struct conf *b)
{
	return globs_same(a->backup, a->backups, b->backup, b->backups) && a->match == b->match &&
	       names_same(a->rename, a->renames, b->rename, b->renames);
}
