/* dumping: what the tests of dumps share: a dump to begin with, and reading it in one call. */
#ifndef DUMPING_H
#define DUMPING_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "authority.h"
#include "dump.h"
#include "dumped.h"
#include "scratch.h"

/* Text with its length; a NUL stands behind it. */
struct text {
	char *at;
	size_t len;
};

static inline struct text text_of(const void *bytes, size_t len)
{
	struct text text = { malloc(len + 1), len };

	memcpy(text.at, bytes, len);
	text.at[len] = '\0';
	return text;
}

static inline struct text text_file(const char *path)
{
	size_t len;
	uint8_t *bytes = authority_slurp(path, &len);
	struct text text = text_of(bytes, len);

	free(bytes);
	return text;
}

/* Every `from` becomes `to`; the old text is freed.  At most `times`. */
static inline struct text text_replace(struct text text, const char *from, const char *to,
				       size_t times)
{
	size_t cut = strlen(from), put = strlen(to), count = 0;
	char *at = text.at;

	while ((at = strstr(at, from)) && count < times) {
		at += cut;
		count++;
	}
	struct text changed = { malloc(text.len + count * put + 1), 0 };
	char *rest = text.at;
	while (count--) {
		at = strstr(rest, from);
		memcpy(changed.at + changed.len, rest, (size_t)(at - rest));
		changed.len += (size_t)(at - rest);
		memcpy(changed.at + changed.len, to, put);
		changed.len += put;
		rest = at + cut;
	}
	memcpy(changed.at + changed.len, rest, (size_t)(text.at + text.len - rest) + 1);
	changed.len += (size_t)(text.at + text.len - rest);
	free(text.at);
	return changed;
}

static inline int read_path(struct rrd *db, const char *path, struct reason *why)
{
	int fd = open(path, O_RDONLY);

	why->text[0] = '\0';
	if (fd < 0)
		return -errno;
	int r = dump_read(db, fd, why);
	close(fd);
	return r;
}

static inline int read_bytes(struct rrd *db, const void *bytes, size_t len, struct reason *why)
{
	const char *path = scratch("given.xml");

	authority_spill(path, bytes, len);
	return read_path(db, path, why);
}

/* A small dump with most that a dump may have: two data sources, one of them computed, four
 * archives, unknown rows, an open row.  `seconds` since the file was made. */
static inline struct text make_sample(int64_t seconds, int header)
{
	const char *rrd = scratch("sample.rrd"), *xml = scratch("sample.xml");
	int64_t start = 1600000000;

	unlink(rrd);
	authority_create(rrd, 10, start, (const char *[]){
		"DS:in:GAUGE:30:-5:1e6", "DS:twice:COMPUTE:in,2,*", "RRA:AVERAGE:0.5:1:20",
		"RRA:MAX:0.25:3:10", "RRA:LAST:0:5:4", "RRA:MIN:0.5:1:7", NULL });
	for (int64_t t = start + 7; t <= start + seconds; t += 7) {
		char update[64];

		if (t % 13 == 0)
			snprintf(update, sizeof(update), "%lld:U", (long long)t);
		else
			snprintf(update, sizeof(update), "%lld:%g", (long long)t,
				 (double)(t % 91) / 7);
		authority_update(rrd, (const char *[]){ update, NULL });
	}
	dumped_dump(rrd, xml, header);
	return text_file(xml);
}

#endif
