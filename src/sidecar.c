#include "config.h"
#include "sidecar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layout.h"
#include "unpack.h"

#define RRD ".rrd"
#define XML ".xml"
#define LOOK 4096               /* bytes in which a dump shows what it is */

#define NO_ELEMENT "it holds no whole element"

/* ---- is it one? ---- */

bool sidecar_is_name(const char *name)
{
	size_t len = strlen(name), ending = strlen(XML);

	return len > ending && !strcmp(name + len - ending, XML);
}

/* Moves *at past what begins with `begin` and ends with `end`.  False where it does not begin so,
 * or has no end in sight. */
static bool skip_markup(const char **at, const char *limit, const char *begin, const char *end)
{
	size_t begin_len = strlen(begin), end_len = strlen(end);

	if ((size_t)(limit - *at) < begin_len || memcmp(*at, begin, begin_len))
		return false;
	const char *close = memmem(*at, (size_t)(limit - *at), end, end_len);
	if (close)
		*at = close + end_len;
	return close;
}

/* rrdtool's dump may have the same name, and be large.  What is not plainly one is taken for a
 * sidecar, sound or not. */
static bool is_dump(const char *at, size_t size)
{
	static const char doctype[] = "<!DOCTYPE rrd", root[] = "<rrd";
	const char *limit = at + size;

	if (size >= 3 && !memcmp(at, "\xef\xbb\xbf", 3))
		at += 3;
	do {
		while (at < limit && *at && strchr(" \t\r\n", *at))
			at++;
		if ((size_t)(limit - at) >= strlen(doctype) &&
		    !memcmp(at, doctype, strlen(doctype)))
			return true;
	} while (skip_markup(&at, limit, "<?", "?>") || skip_markup(&at, limit, "<!--", "-->") ||
		 skip_markup(&at, limit, "<!DOCTYPE", ">"));
	return (size_t)(limit - at) > strlen(root) && !memcmp(at, root, strlen(root)) &&
	       at[strlen(root)] && strchr("> \t\r\n/", at[strlen(root)]);
}

/* ---- its bytes ---- */

struct slurp {
	char *bytes;            /* a NUL stands after them */
	size_t size, capacity;
};

static bool make_room(struct slurp *slurp)
{
	size_t capacity = slurp->capacity ? slurp->capacity * 4 : 4 * LOOK;

	if (slurp->size < slurp->capacity)
		return true;
	char *grown = realloc(slurp->bytes, capacity + 1);
	if (grown) {
		slurp->bytes = grown;
		slurp->capacity = capacity;
	}
	return grown;
}

/* Reads until it has as much as `enough`, or all. */
static int read_until(struct slurp *slurp, struct unpack *unpack, size_t enough,
		      struct reason *why)
{
	size_t len = 1;
	int r = 0;

	while (!r && len && slurp->size < enough) {
		if (!make_room(slurp))
			return reason_errno(why, ENOMEM, "cannot be read");
		r = unpack_read(unpack, slurp->bytes + slurp->size, slurp->capacity - slurp->size,
				&len, why);
		if (!r)
			slurp->size += len;
	}
	if (slurp->bytes)
		slurp->bytes[slurp->size] = '\0';
	return r;
}

/* Unpacked where it is packed.  -ENOENT: a dump, and `why` is untouched. */
static int read_bytes(struct slurp *slurp, int fd, uint64_t size, size_t enough, struct reason *why)
{
	struct unpack *unpack;
	int r = unpack_open(fd, size, &unpack, why);

	if (r)
		return r;
	r = read_until(slurp, unpack, LOOK, why);
	if (!r && is_dump(slurp->bytes, slurp->size < LOOK ? slurp->size : LOOK))
		r = -ENOENT;
	if (!r)
		r = read_until(slurp, unpack, enough, why);
	unpack_close(unpack);
	if (!r && slurp->size > SIDECAR_SIZE_MAX) {
		reason_set(why, "is larger than %u bytes", SIDECAR_SIZE_MAX);
		r = REFUSED;
	}
	return r;
}

bool sidecar_is_one(int fd)
{
	struct slurp slurp = { 0 };
	struct stat st;
	bool is_one = fstat(fd, &st) || read_bytes(&slurp, fd, (uint64_t)st.st_size, LOOK,
						   NULL) != -ENOENT;

	free(slurp.bytes);
	return is_one;
}

/* ---- what they say ---- */

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

static int take_prolog_line(struct parse *parse, const char *line, size_t len)
{
	if (!strcmp(line, "<NAGIOS>")) {
		parse->part = PART_BODY;
		return 0;
	}
	if (strstr(line, "<NAGIOS>"))
		return damaged(parse, "it does not have one element a line");
	/* Of what is cut off, the end says it. */
	if (!strncmp("<NAGIOS>", line, len) || !strncmp(line, "<?", 2) || !strncmp(line, "<!", 2))
		return 0;
	return damaged(parse, "it does not begin with <NAGIOS>");
}

static int take_line(struct parse *parse, char *line, size_t len)
{
	const char *rc, *time;

	switch (parse->part) {
	case PART_PROLOG:
		return take_prolog_line(parse, line, len);
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

	if (!size)
		return damaged(parse, "it is empty");
	/* After a crash, or a restore to a full disk, it may look like that. */
	if (memchr(bytes, '\0', size))
		return damaged(parse, strstr(bytes, "<NAGIOS>") ? "it holds a NUL byte"
							       : NO_ELEMENT);
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
		return damaged(parse, NO_ELEMENT);
	if (!r && parse->part != PART_END)
		return damaged(parse, "it ends in the middle");
	if (!r && !parse->sidecar->count)
		return damaged(parse, "it lists no value");
	return r;
}

int sidecar_read(int fd, struct sidecar *ret, struct reason *why)
{
	struct sidecar sidecar = { 0 };
	struct parse parse = { .sidecar = &sidecar, .why = why };
	struct slurp slurp = { 0 };
	struct stat st;

	if (fstat(fd, &st))
		return reason_errno(why, errno, "cannot be looked at");
	sidecar.stamp = io_stamp_of(&st);
	int r = read_bytes(&slurp, fd, (uint64_t)st.st_size, SIDECAR_SIZE_MAX + 1, why);
	sidecar.bytes = slurp.bytes;
	if (!r)
		r = parse_lines(&parse, slurp.bytes, slurp.size);
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
