#include "config.h"
#include "pnp.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RRD ".rrd"
#define XML ".xml"
#define ENDING 4                /* of both */
/* A service's name may be any beginning of the file's name that ends before a "_": of those for
 * which there is a file, so many are read. */
#define READ_MAX 32

/* As a backup may have them. */
static const char *const packings[] = { "", ".gz", ".zst", ".xz" };
#define PACKINGS (sizeof(packings) / sizeof(*packings))

/* What is left of the other storage type, which the service had once. */
#define ELSEWHERE "tells of other files: its values are not kept in this one now"

/* ---- the sidecar of an RRD ---- */

static const char *last_part(const char *rel)
{
	const char *slash = strrchr(rel, '/');

	return slash ? slash + 1 : rel;
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

/* "dir/service.xml", packed so, and what is of no use of it after that. */
static void name_it(struct reason *why, const char *rel, size_t len, const char *packing,
		    const char *what)
{
	int dir_len = (int)(last_part(rel) - rel);

	reason_set(why, "%.*s" XML "%s %s", dir_len + (int)len, rel, packing ? packing : "", what);
}

/* A file of which it tells, and of which no sidecar of its name would: it was moved here without
 * being written anew, or damaged, and what it says of others is not to be believed either. */
static const char *find_stray(const struct sidecar *sidecar)
{
	for (size_t i = 0; i < sidecar->count; i++) {
		const struct sidecar_ds *ds = &sidecar->ds[i];
		char own[NAME_MAX + 1];

		if (!ds->file)
			continue;
		int n = snprintf(own, sizeof(own), "%s%s%s" RRD, sidecar->service,
				 ds->multiple ? "_" : "", ds->multiple ? ds->name : "");
		if (n >= (int)sizeof(own) || strcmp(own, ds->file))
			return ds->file;
	}
	return NULL;
}

/* Opens <service>.xml, packed so, in the directory of `rel`, `service` being the first `len` bytes
 * of the last part of it.  -ENOENT where there is none. */
static int open_of_service(int root, const char *rel, size_t len, const char *packing, int *ret_fd,
			   struct reason *why)
{
	char path[PATH_MAX];
	struct stat st;
	int dir_len = (int)(last_part(rel) - rel);
	int n = snprintf(path, sizeof(path), "%.*s" XML "%s", dir_len + (int)len, rel, packing);

	if (n >= (int)sizeof(path) || !len || len > NAME_MAX - ENDING)
		return -ENOENT;
	/* Most names that are tried are no file's: that must cost little. */
	/* Of a name that is too long for a file there is none. */
	if (fstatat(root, path, &st, AT_SYMLINK_NOFOLLOW) &&
	    (errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG))
		return -ENOENT;
	return io_open_file(root, path, O_RDONLY, ret_fd, NULL, why);
}

/* -ENOENT where none stands there, or a dump.  `why` begins with its path. */
static int read_packed(int root, const char *rel, size_t len, const char *packing,
		       struct sidecar *ret, struct reason *why)
{
	struct reason one_why = { "" };
	int fd, r = open_of_service(root, rel, len, packing, &fd, &one_why);

	if (!r) {
		r = sidecar_read(fd, ret, &one_why);
		close(fd);
	}
	if (!r) {
		memcpy(ret->service, last_part(rel), len);
		ret->packing = packing;
	} else if (r != -ENOENT) {
		name_it(why, rel, len, packing, one_why.text);
	}
	return r;
}

/* The one that is not packed is the newest: that alone is written. */
static int read_of_service(int root, const char *rel, size_t len, struct sidecar *ret,
			   struct reason *why)
{
	int r = read_packed(root, rel, len, packings[0], ret, why);

	for (size_t i = 1; i < PACKINGS && r == -ENOENT; i++)
		r = read_packed(root, rel, len, packings[i], ret, why);
	for (size_t i = 1; i < PACKINGS && !r && *ret->packing; i++) {
		int fd;

		if (!strcmp(packings[i], ret->packing) ||
		    open_of_service(root, rel, len, packings[i], &fd, NULL))
			continue;
		if (sidecar_is_one(fd)) {
			name_it(why, rel, len, packings[i], "stands there packed in two ways");
			sidecar_free(ret);
			r = REFUSED;
		}
		close(fd);
	}
	return r;
}

/* The length of `rel`'s last part without ".rrd"; 0 where it has no such name. */
static size_t stem_length(const char *rel)
{
	size_t len = strlen(last_part(rel));

	return len > ENDING && !strcmp(last_part(rel) + len - ENDING, RRD) ? len - ENDING : 0;
}

void pnp_name_sidecar(const char *rel, const struct sidecar *sidecar, const char *what,
		      struct reason *why)
{
	name_it(why, rel, strlen(sidecar->service), sidecar->packing, what);
}

int pnp_find_sidecar(int root, const char *rel, struct sidecar *ret, struct reason *why)
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
		const char *stray = r ? NULL : find_stray(&one);
		if (!r && len == stem && tells_only_of(&one, true)) {
			name_it(&useless, rel, len, one.packing, ELSEWHERE);
			result = -EXDEV;
		} else if (result == -ENOENT && stray) {
			struct reason what;

			reason_set(&what, "tells of a file that is not its own, \"%.60s\"", stray);
			name_it(&useless, rel, len, one.packing, what.text);
			result = REFUSED;
		} else if (result == -ENOENT && r && r != -ENOENT) {
			useless = one_why;
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

bool pnp_may_tell_of(const char *xml, const char *rrd)
{
	size_t len = strlen(xml);

	if (!sidecar_is_name(xml) || strncmp(xml, rrd, len - ENDING))
		return false;
	rrd += len - ENDING;
	return !strcmp(rrd, RRD) || (*rrd == '_' && !strchr(rrd, '/'));
}

bool pnp_sidecar_is_near(int root, const char *rel)
{
	const char *file = last_part(rel);
	size_t stem = stem_length(rel);
	bool near = false;
	int fd;

	for (size_t len = stem; len && !near; len--) {
		if (len != stem && file[len] != '_')
			continue;
		for (size_t i = 0; i < PACKINGS && !near; i++) {
			if (open_of_service(root, rel, len, packings[i], &fd, NULL))
				continue;
			near = sidecar_is_one(fd);
			close(fd);
		}
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

bool pnp_disowns(const struct sidecar *live, const char *rel, int root, const char *backup_rel,
		 struct reason *why)
{
	size_t len = service_length(live, rel, backup_rel);
	struct sidecar backup = { 0 };

	if (!len || len == stem_length(backup_rel) ||
	    read_of_service(root, backup_rel, len, &backup, NULL))
		return false;
	bool disowns = tells_only_of(&backup, false);
	if (disowns)
		name_it(why, backup_rel, len, backup.packing, ELSEWHERE);
	sidecar_free(&backup);
	return disowns;
}

int pnp_siblings(const struct sidecar *live, const char *rel, int root, const char *backup_rel,
		 pnp_file_fn *sibling, void *arg)
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

int pnp_others(const struct sidecar *sidecar, const char *rel, pnp_file_fn *other, void *arg)
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

bool pnp_shares(const struct sidecar *sidecar, const char *rel, int root, const char *other)
{
	struct sidecar theirs;
	bool shares = false;
	int r = pnp_find_sidecar(root, other, &theirs, NULL);

	if (r)
		return r == -ENOTUNIQ;
	for (size_t i = 0; i < theirs.count && !shares; i++)
		shares = sidecar_tells_of(&theirs, &theirs.ds[i], last_part(other)) &&
			 has_name(sidecar, last_part(rel), theirs.ds[i].name);
	sidecar_free(&theirs);
	return shares;
}
