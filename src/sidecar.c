#include "config.h"
#include "sidecar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layout.h"

#define RRD ".rrd"
#define XML ".xml"
#define ENDING 4                /* of both */
/* A service's name may be any beginning of the file's name that ends before a "_": of those for
 * which there is a file, so many are read. */
#define READ_MAX 32

/* What is left of the other storage type, which the service had once. */
#define ELSEWHERE "tells of other files: its values are not kept in this one now"

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

/* ---- which sidecar tells of which file ---- */

static const char *last_part(const char *rel)
{
	const char *slash = strrchr(rel, '/');

	return slash ? slash + 1 : rel;
}

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

/* Is all that it tells of kept in files of that storage type? */
static bool tells_only_of(const struct sidecar *sidecar, bool multiple)
{
	for (size_t i = 0; i < sidecar->count; i++)
		if (sidecar->ds[i].multiple != multiple)
			return false;
	return sidecar->count;
}

static bool tells(const struct sidecar *sidecar, const char *file)
{
	for (size_t i = 0; i < sidecar->count; i++)
		if (sidecar_tells_of(sidecar, &sidecar->ds[i], file))
			return true;
	return false;
}

/* Opens <service>.xml in the directory of `rel`, `service` being the first `len` bytes of the last
 * part of it.  -ENOENT where there is none. */
static int open_of_service(int root, const char *rel, size_t len, int *ret_fd, struct reason *why)
{
	char path[PATH_MAX];
	struct stat st;
	int dir_len = (int)(last_part(rel) - rel);
	int n = snprintf(path, sizeof(path), "%.*s" XML, dir_len + (int)len, rel);

	if (n >= (int)sizeof(path) || !len || len > NAME_MAX - ENDING)
		return -ENOENT;
	/* Most names that are tried are no file's: that must cost little. */
	if (fstatat(root, path, &st, AT_SYMLINK_NOFOLLOW) && (errno == ENOENT || errno == ENOTDIR))
		return -ENOENT;
	return io_open_file(root, path, O_RDONLY, ret_fd, NULL, why);
}

static int read_of_service(int root, const char *rel, size_t len, struct sidecar *ret,
			   struct reason *why)
{
	int fd, r = open_of_service(root, rel, len, &fd, why);

	if (!r) {
		r = sidecar_read(fd, ret, why);
		close(fd);
	}
	if (!r)
		memcpy(ret->service, last_part(rel), len);
	return r;
}

/* The length of `rel`'s last part without ".rrd"; 0 where it has no such name. */
static size_t stem_length(const char *rel)
{
	size_t len = strlen(last_part(rel));

	return len > ENDING && !strcmp(last_part(rel) + len - ENDING, RRD) ? len - ENDING : 0;
}

/* "dir/service.xml", what is of no use of it after that. */
static void name_it(struct reason *why, const char *rel, size_t len, const char *what)
{
	int dir_len = (int)(last_part(rel) - rel);

	reason_set(why, "%.*s" XML " %s", dir_len + (int)len, rel, what);
}

void sidecar_name(const char *rel, const struct sidecar *sidecar, const char *what,
		  struct reason *why)
{
	name_it(why, rel, strlen(sidecar->service), what);
}

int sidecar_find(int root, const char *rel, struct sidecar *ret, struct reason *why)
{
	const char *file = last_part(rel);
	struct sidecar found = { 0 };
	struct reason useless = { "" };         /* the first that is, its name being the longest */
	size_t stem = stem_length(rel), found_len = 0;
	unsigned reads = 0;
	int result = -ENOENT;

	for (size_t len = stem; len; len--) {
		struct sidecar one = { 0 };
		struct reason one_why = { "" };

		if (len != stem && file[len] != '_')
			continue;
		if (reads == READ_MAX) {
			sidecar_free(&found);
			reason_set(why, "file has more than %d sidecars that may tell of it", READ_MAX);
			return -ENOTUNIQ;
		}
		int r = read_of_service(root, rel, len, &one, &one_why);
		reads += r != -ENOENT;
		if (!r && tells(&one, file)) {
			if (!found.bytes) {
				found = one;
				found_len = len;
				continue;
			}
			sidecar_free(&one);
			sidecar_free(&found);
			reason_set(why, "file has two sidecars that tell of it: %.*s" XML " and %.*s" XML,
				   (int)found_len, file, (int)len, file);
			return -ENOTUNIQ;
		}
		/* Which of the beginnings is the service's, only a sidecar can tell: but for one. */
		if (!r && len == stem && tells_only_of(&one, true)) {
			name_it(&useless, rel, len, ELSEWHERE);
			result = -EXDEV;
		} else if (r && r != -ENOENT && result == -ENOENT) {
			name_it(&useless, rel, len, one_why.text);
			result = REFUSED;
		}
		sidecar_free(&one);
	}
	if (found.bytes) {
		*ret = found;
		return 0;
	}
	if (result != -ENOENT && why)
		*why = useless;
	return result;
}

bool sidecar_is_name(const char *name)
{
	size_t len = strlen(name);

	return len > ENDING && !strcmp(name + len - ENDING, XML);
}

bool sidecar_may_tell_of(const char *xml, const char *rrd)
{
	size_t len = strlen(xml);

	if (!sidecar_is_name(xml) || strncmp(xml, rrd, len - ENDING))
		return false;
	rrd += len - ENDING;
	return !strcmp(rrd, RRD) || (*rrd == '_' && !strchr(rrd, '/'));
}

bool sidecar_is_near(int root, const char *rel)
{
	const char *file = last_part(rel);
	size_t stem = stem_length(rel);
	bool near = false;
	int fd;

	for (size_t len = stem; len && !near; len--) {
		if ((len != stem && file[len] != '_') ||
		    open_of_service(root, rel, len, &fd, NULL))
			continue;
		near = root_of(fd) == ROOT_OURS;
		close(fd);
	}
	return near;
}

/* ---- the other storage type ---- */

/* Is there a value of this name in the live file? */
static bool has_name(const struct sidecar *live, const char *file, const char *name)
{
	for (size_t i = 0; i < live->count; i++)
		if (!strcmp(live->ds[i].name, name) && sidecar_tells_of(live, &live->ds[i], file))
			return true;
	return false;
}

/* How long the service's name is in the counterpart's: a renamed file has what follows that name
 * ("_name.rrd", or ".rrd") in common with live's. */
static size_t service_length(const struct sidecar *live, const char *rel, const char *backup_rel)
{
	const char *tail = last_part(rel) + strlen(live->service), *file = last_part(backup_rel);
	size_t len = strlen(file), tail_len = strlen(tail);

	return len > tail_len && !strcmp(file + len - tail_len, tail) ? len - tail_len : 0;
}

bool sidecar_disowns(const struct sidecar *live, const char *rel, int root, const char *backup_rel,
		     struct reason *why)
{
	size_t len = service_length(live, rel, backup_rel);
	struct sidecar backup = { 0 };

	if (!len || len == stem_length(backup_rel) ||
	    read_of_service(root, backup_rel, len, &backup, NULL))
		return false;
	bool disowns = tells_only_of(&backup, false);
	if (disowns)
		name_it(why, backup_rel, len, ELSEWHERE);
	sidecar_free(&backup);
	return disowns;
}

int sidecar_siblings(const struct sidecar *live, const char *rel, int root, const char *backup_rel,
		     sidecar_sibling_fn *sibling, void *arg)
{
	const char *file = last_part(backup_rel);
	size_t len = service_length(live, rel, backup_rel);
	struct sidecar backup = { 0 };
	bool single_told = false;
	int r = 0;

	if (!len || read_of_service(root, backup_rel, len, &backup, NULL))
		return 0;
	for (size_t i = 0; i < backup.count && !r; i++) {
		const struct sidecar_ds *ds = &backup.ds[i];
		char path[PATH_MAX], other[NAME_MAX + 1];
		int n;

		n = snprintf(other, sizeof(other), "%s%s%s" RRD, backup.service,
			     ds->multiple ? "_" : "", ds->multiple ? ds->name : "");
		if (n >= (int)sizeof(other) || strchr(other, '/') || !strcmp(other, file) ||
		    !sidecar_tells_of(&backup, ds, other) ||
		    !has_name(live, last_part(rel), ds->name) || (!ds->multiple && single_told))
			continue;
		n = snprintf(path, sizeof(path), "%.*s%s", (int)(file - backup_rel), backup_rel,
			     other);
		single_told = single_told || !ds->multiple;
		if (n < (int)sizeof(path))
			r = sibling(path, arg);
	}
	sidecar_free(&backup);
	return r;
}

static bool is_repeated(const struct sidecar *sidecar, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (sidecar->ds[k].multiple == sidecar->ds[i].multiple &&
		    !strcmp(sidecar->ds[k].name, sidecar->ds[i].name))
			return true;
	return false;
}

int sidecar_others(const struct sidecar *sidecar, const char *rel, sidecar_sibling_fn *other,
		   void *arg)
{
	const char *file = last_part(rel);
	int r = 0;

	for (size_t i = 0; i < sidecar->count && !r; i++) {
		const struct sidecar_ds *ds = &sidecar->ds[i];
		char path[PATH_MAX];

		if (!sidecar_tells_of(sidecar, ds, file) || strchr(ds->name, '/') ||
		    is_repeated(sidecar, i))
			continue;
		int n = snprintf(path, sizeof(path), "%.*s%s%s%s" RRD, (int)(file - rel), rel,
				 sidecar->service, ds->multiple ? "" : "_",
				 ds->multiple ? "" : ds->name);
		if (n < (int)sizeof(path))
			r = other(path, arg);
	}
	return r;
}

bool sidecar_shares(const struct sidecar *sidecar, const char *rel, int root, const char *other)
{
	struct sidecar theirs;
	bool shares = false;
	int r = sidecar_find(root, other, &theirs, NULL);

	if (r)
		return r == -ENOTUNIQ;
	for (size_t i = 0; i < theirs.count && !shares; i++)
		shares = sidecar_tells_of(&theirs, &theirs.ds[i], last_part(other)) &&
			 has_name(sidecar, last_part(rel), theirs.ds[i].name);
	sidecar_free(&theirs);
	return shares;
}
