#include "config.h"
#include "sidecar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layout.h"

#define RRD ".rrd"
#define XML ".xml"

/* ---- is it one? ---- */

bool sidecar_is_name(const char *name)
{
	size_t len = strlen(name), ending = strlen(XML);

	return len > ending && !strcmp(name + len - ending, XML);
}

enum root { ROOT_OURS, ROOT_OTHER, ROOT_CUT };

/* Does all of a file end before its first element is whole? */
static bool is_cut(const char *at, const char *end)
{
	for (;;) {
		while (at < end && strchr(" \t\r\n\xef\xbb\xbf", *at))
			at++;
		if (end - at < 2 || memcmp(at, "<?", 2))
			break;
		const char *close = memmem(at, (size_t)(end - at), "?>", 2);
		if (!close)
			return true;
		at = close + 2;
	}
	return (size_t)(end - at) < strlen("<NAGIOS>") && !memcmp(at, "<NAGIOS>", (size_t)(end - at));
}

/* A dump has the same ending, and may be large. */
static enum root root_of(int fd)
{
	char head[512];
	ssize_t n = pread(fd, head, sizeof(head), 0);

	/* What cannot be read is told by who reads all. */
	if (n < 0 || memmem(head, (size_t)n, "<NAGIOS>", strlen("<NAGIOS>")))
		return ROOT_OURS;
	/* Nobody's XML; after a crash, or a restore to a full disk, ours may look like that. */
	if (memchr(head, '\0', (size_t)n) || (n < (ssize_t)sizeof(head) && is_cut(head, head + n)))
		return ROOT_CUT;
	return ROOT_OTHER;
}

bool sidecar_is_one(int fd)
{
	return root_of(fd) == ROOT_OURS;
}

/* ---- reading ---- */

/* Reads all of it: a sidecar that is being restored may grow while we do. */
static int slurp(int fd, char **ret_bytes, size_t *ret_size, struct reason *why)
{
	size_t size = 0, capacity = 16384;
	char *bytes = malloc(capacity + 1);

	while (bytes) {
		ssize_t n = pread(fd, bytes + size, capacity - size, (off_t)size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int r = reason_errno(why, errno, "cannot be read");

			free(bytes);
			return r;
		}
		size += (size_t)n;
		if (size > SIDECAR_SIZE_MAX) {
			free(bytes);
			reason_set(why, "is larger than %u bytes", SIDECAR_SIZE_MAX);
			return REFUSED;
		}
		if (!n) {
			bytes[size] = '\0';
			*ret_bytes = bytes;
			*ret_size = size;
			return 0;
		}
		if (size == capacity) {
			char *grown = realloc(bytes, capacity * 4 + 1);

			if (!grown)
				free(bytes);
			bytes = grown;
			capacity *= 4;
		}
	}
	return reason_errno(why, ENOMEM, "cannot be read");
}

enum part { PART_PROLOG, PART_BODY, PART_DS, PART_RRD, PART_END };

struct parse {
	struct sidecar *sidecar;
	size_t capacity;
	enum part part;
	struct reason *why;
};

static int damaged(struct parse *parse, const char *what)
{
	reason_set(parse->why, "is damaged: %s", what);
	return REFUSED;
}

/* The value of "<TAG>value</TAG>", ended with a NUL in place; NULL where it is another line. */
static char *value_of(char *line, size_t len, const char *tag)
{
	size_t tag_len = strlen(tag), around = 2 * tag_len + strlen("<></>");

	if (len < around || line[0] != '<' || memcmp(line + 1, tag, tag_len) ||
	    line[1 + tag_len] != '>')
		return NULL;
	char *close = line + len - tag_len - strlen("</>");
	if (memcmp(close, "</", 2) || memcmp(close + 2, tag, tag_len) || line[len - 1] != '>')
		return NULL;
	*close = '\0';
	return line + tag_len + 2;
}

static int begin_ds(struct parse *parse)
{
	struct sidecar *sidecar = parse->sidecar;

	if (sidecar->count == LAYOUT_DS_MAX)
		return damaged(parse, "more data sources than an RRD can have");
	if (sidecar->count == parse->capacity) {
		size_t capacity = parse->capacity ? parse->capacity * 4 : 8;
		struct sidecar_ds *grown = reallocarray(sidecar->ds, capacity, sizeof(*grown));

		if (!grown)
			return reason_errno(parse->why, ENOMEM, "cannot be read");
		sidecar->ds = grown;
		parse->capacity = capacity;
	}
	sidecar->ds[sidecar->count++] = (struct sidecar_ds){ 0 };
	parse->part = PART_DS;
	return 0;
}

static int end_ds(struct parse *parse)
{
	struct sidecar_ds *ds = &parse->sidecar->ds[parse->sidecar->count - 1];

	ds->name = ds->name ? ds->name : "";
	ds->label = ds->label ? ds->label : "";
	ds->unit = ds->unit ? ds->unit : "";
	parse->part = PART_BODY;
	return 0;
}

static int take_ds_line(struct parse *parse, char *line, size_t len)
{
	struct sidecar_ds *ds = &parse->sidecar->ds[parse->sidecar->count - 1];
	const char *storage = NULL;
	const struct {
		const char *tag, **value;
	} known[] = {
		{ "NAME", &ds->name },
		{ "LABEL", &ds->label },
		{ "UNIT", &ds->unit },
		{ "RRDFILE", &ds->file },
		{ "RRD_STORAGE_TYPE", &storage },
	};

	if (!strcmp(line, "</DATASOURCE>"))
		return end_ds(parse);
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		char *value = value_of(line, len, known[i].tag);

		if (!value)
			continue;
		if (*known[i].value)
			return damaged(parse, "a value stands twice");
		*known[i].value = value;
		if (known[i].value == &ds->file && strrchr(value, '/'))
			ds->file = strrchr(value, '/') + 1;
	}
	/* To the letter, as process_perfdata.pl compares it. */
	if (storage)
		ds->multiple = !strcmp(storage, "MULTIPLE");
	return 0;
}

static int take_line(struct parse *parse, char *line, size_t len)
{
	const char *rc, *time;

	switch (parse->part) {
	case PART_PROLOG:
		if (!len || !strncmp(line, "<?", 2) || !strncmp(line, "<!", 2))
			return 0;
		if (strcmp(line, "<NAGIOS>"))
			return -ENOENT;
		parse->part = PART_BODY;
		return 0;
	case PART_BODY:
		if (!strcmp(line, "<DATASOURCE>"))
			return begin_ds(parse);
		if (!strcmp(line, "<RRD>"))
			parse->part = PART_RRD;
		else if (!strcmp(line, "</NAGIOS>"))
			parse->part = PART_END;
		time = value_of(line, len, "NAGIOS_TIMET");
		if (time)
			parse->sidecar->time = strtoll(time, NULL, 10);
		return 0;
	case PART_DS:
		return take_ds_line(parse, line, len);
	case PART_RRD:
		if (!strcmp(line, "</RRD>"))
			parse->part = PART_BODY;
		rc = value_of(line, len, "RC");
		if (rc)
			parse->sidecar->failed = strcmp(rc, "0");
		return 0;
	case PART_END:
		break;
	}
	return 0;
}

static int parse_lines(struct parse *parse, char *bytes, size_t size)
{
	char *at = bytes, *end = bytes + size;
	int r = 0;

	if (memchr(bytes, '\0', size))
		return damaged(parse, "it holds a NUL byte");
	if (size >= 3 && !memcmp(bytes, "\xef\xbb\xbf", 3))
		at += 3;
	while (at < end && !r && parse->part != PART_END) {
		char *stop = memchr(at, '\n', (size_t)(end - at));
		char *next = stop ? stop + 1 : end;

		stop = stop ? stop : end;
		if (stop > at && stop[-1] == '\r')
			stop--;
		*stop = '\0';
		while (*at == ' ' || *at == '\t')
			at++;
		r = take_line(parse, at, (size_t)(stop - at));
		at = next;
	}
	if (!r && parse->part == PART_PROLOG)
		return -ENOENT;
	if (!r && parse->part != PART_END)
		return damaged(parse, "it ends in the middle");
	return r;
}

int sidecar_read(int fd, struct sidecar *ret, struct reason *why)
{
	struct sidecar sidecar = { 0 };
	struct parse parse = { .sidecar = &sidecar, .why = why };
	struct stat st;
	size_t size = 0;

	if (fstat(fd, &st))
		return reason_errno(why, errno, "cannot be looked at");
	sidecar.stamp = io_stamp_of(&st);
	enum root is = root_of(fd);
	if (is == ROOT_OTHER)
		return -ENOENT;
	if (is == ROOT_CUT)
		return damaged(&parse, st.st_size ? "it holds no whole element" : "it is empty");
	int r = slurp(fd, &sidecar.bytes, &size, why);
	if (!r)
		r = parse_lines(&parse, sidecar.bytes, size);
	if (r)
		sidecar_free(&sidecar);
	else
		*ret = sidecar;
	return r;
}

void sidecar_free(struct sidecar *sidecar)
{
	free(sidecar->ds);
	free(sidecar->bytes);
	*sidecar = (struct sidecar){ 0 };
}

/* ---- what it says ---- */

bool sidecar_tells_of(const struct sidecar *sidecar, const struct sidecar_ds *ds, const char *file)
{
	size_t service = strlen(sidecar->service), name = strlen(ds->name);
	const char *at = file + service;

	if (strncmp(file, sidecar->service, service) || (ds->file && strcmp(ds->file, file)))
		return false;
	if (!ds->multiple)
		return !strcmp(at, RRD);
	return ds->file && *at == '_' && name && !strncmp(at + 1, ds->name, name) &&
	       !strcmp(at + 1 + name, RRD);
}
