#include "config.h"
#include "confint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#define TEXT_MAX (1u << 20)     /* bytes */

/* Reads the whole file.  libconfig is given the text and not the file: it ends the program where
 * that is a directory, waits where it is a FIFO, and knows no bound. */
static int slurp(struct reading *r, char **ret_text)
{
	const char *wrong = NULL;
	char *text = NULL;
	size_t len = 0;
	ssize_t got = 0;
	struct stat st;
	int error = EINVAL;
	/* Not to hang where it is a FIFO. */
	int fd = open(r->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 || fstat(fd, &st) < 0)
		goto unreadable;
	if (!S_ISREG(st.st_mode)) {
		error = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
		wrong = S_ISDIR(st.st_mode) ? "is a directory; name a file"
			: "is not a regular file; name a file";
		goto out;
	}
	text = malloc(TEXT_MAX + 2);
	if (!text)
		goto unreadable;
	while (len <= TEXT_MAX && (got = read(fd, text + len, TEXT_MAX + 1 - len)) > 0)
		len += (size_t)got;
	if (got < 0)
		goto unreadable;
	text[len] = '\0';
	if (len > TEXT_MAX)
		wrong = "is too large for a configuration; name another file";
	else if (strlen(text) < len)
		wrong = "is not a text file; name another file";
	else
		error = 0;
	goto out;
unreadable:
	error = errno;
	conf_report(r, LOG_ERR, conf_whole, "cannot be read: %s; %s", strerror(error),
	       error == EACCES ? "let the user read it as whom this runs" : "check the path");
out:
	if (wrong)
		conf_report(r, LOG_ERR, conf_whole, "%s", wrong);
	if (error)
		free(text);
	else
		*ret_text = text;
	if (fd >= 0)
		close(fd);
	return -error;
}

/* What libconfig 1.5 does with an @include that is no regular file is to wait for ever, or to end
 * the program: so each is looked at first, and what it includes in turn.  (It knows @include at the
 * beginning of a line alone, and ten levels.) */
#define INCLUDE_LEVELS 10

static bool includes_are_files(struct reading *r, const char *dir, const char *file,
			       const char *text, int level);

static bool include_is_file(struct reading *r, const char *dir, const char *from, unsigned line,
			    const char *name, int level)
{
	struct origin at = { level ? from : NULL, line };
	char path[PATH_MAX];
	struct reading inner = *r;
	struct stat st;
	char *text = NULL;
	bool good = true;

	if (snprintf(path, sizeof(path), "%s%s%s", *name == '/' ? "" : dir,
		     *name == '/' || !*dir ? "" : "/", name) >= (int)sizeof(path) ||
	    stat(path, &st))
		return true;            /* libconfig says so itself */
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)TEXT_MAX) {
		conf_report(r, LOG_ERR, at, "what it includes is %s: %s; name a file",
		       S_ISDIR(st.st_mode) ? "a directory" : S_ISREG(st.st_mode)
		       ? "too large for a configuration" : "not a regular file", path);
		return false;
	}
	inner.file = path;
	if (level < INCLUDE_LEVELS && slurp(&inner, &text) == 0)
		good = includes_are_files(r, dir, path, text, level + 1);
	r->failed = r->failed || inner.failed;
	free(text);
	return good && !inner.failed;
}

static bool includes_are_files(struct reading *r, const char *dir, const char *file,
			       const char *text, int level)
{
	bool good = true;

	for (unsigned line = 1; good && text && *text; line++) {
		const char *at = text + strspn(text, " \t");
		char name[PATH_MAX];

		if (strncmp(at, "@include", 8) == 0) {
			at += 8;
			at += strspn(at, " \t");
			size_t len = *at == '"' ? strcspn(at + 1, "\"\n") : 0;
			if (len && len < sizeof(name)) {
				memcpy(name, at + 1, len);
				name[len] = '\0';
				good = include_is_file(r, dir, file, line, name, level);
			}
		}
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return good;
}

/* Where the files that the configuration includes by a relative name are: beside it. */
static int prepare_includes(struct reading *r, const char *text, config_t *parsed)
{
	const char *slash = strrchr(r->file, '/');
	char *dir = NULL;
	int result = 0;

	if (slash) {            /* else libconfig takes the working directory */
		dir = strndup(r->file, slash == r->file ? 1 : (size_t)(slash - r->file));
		if (!dir)
			return -ENOMEM;
		config_set_include_dir(parsed, dir);
	}
	if (!includes_are_files(r, dir ? dir : "", r->file, text, 0))
		result = -EINVAL;
	free(dir);
	return result;
}

static void report_syntax(struct reading *r, const config_t *parsed)
{
	struct origin at = { config_error_file(parsed), (unsigned)config_error_line(parsed) };
	const char *text = config_error_text(parsed);

	conf_report(r, LOG_ERR, at, "%s; %s", text,
	       strstr(text, "duplicate") ? "take one of the two out"
	       : strstr(text, "include") ? "correct the name, or take the @include out"
	       : "correct this line, or the end of the one before it");
}

int conf_parse(struct reading *r, config_t *parsed)
{
	char *text = NULL;
	int rc = slurp(r, &text);

	if (!rc)
		rc = prepare_includes(r, text, parsed);
	if (!rc && !config_read_string(parsed, text)) {
		report_syntax(r, parsed);
		rc = -EINVAL;
	}
	free(text);
	return rc;
}
