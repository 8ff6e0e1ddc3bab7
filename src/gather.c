#include "config.h"
#include "gather.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dump.h"
#include "pnp.h"

#define RETRY_MS 250            /* a source that was changing */
#define TORN_S 60               /* a torn source that changed since may be mended in a moment */
#define ABSENCE_RESTS 5         /* so often it has rested when no sidecar is expected any more */
#define REFUSED_RETRY_MS 60000  /* a source that was refused may be mended */

/* The next input, not counted yet: its buffers are those of a file before.  NULL: no memory. */
static struct gather_input *next_input(struct gather *gather)
{
	if (gather->inputs == gather->capacity) {
		unsigned capacity = gather->capacity ? gather->capacity * 2 : 2;
		struct gather_input *grown = reallocarray(gather->input, capacity, sizeof(*grown));

		if (!grown)
			return NULL;
		memset(grown + gather->capacity, 0,
		       (capacity - gather->capacity) * sizeof(*grown));
		gather->input = grown;
		while (gather->capacity < capacity)
			gather->input[gather->capacity++].fd = -1;
	}
	return &gather->input[gather->inputs];
}

void gather_end(struct gather *gather, bool done)
{
	for (unsigned i = 0; i < gather->inputs; i++) {
		struct gather_input *input = &gather->input[i];

		if (input->fd < 0)
			continue;
		if (done)
			posix_fadvise(input->fd, 0, 0, POSIX_FADV_DONTNEED);
		close(input->fd);
		input->fd = -1;
	}
}

void gather_free(struct gather *gather)
{
	gather_end(gather, false);
	for (unsigned i = 0; i < gather->capacity; i++) {
		rrd_free(&gather->input[i].db);
		free(gather->input[i].file.rel);
		sidecar_free(&gather->input[i].sidecar);
	}
	free(gather->input);
	if (gather->files.file)
		source_found_free(&gather->files);
	*gather = (struct gather){ 0 };
}

char *gather_side(const struct source_set *sources, unsigned n, char *buffer)
{
	if (sources->count == 1)
		snprintf(buffer, GATHER_SIDE_SIZE, "backup");
	else
		snprintf(buffer, GATHER_SIDE_SIZE, "backup %u", n + 1);
	return buffer;
}

bool gather_holds(const struct gather *gather, const struct io_stamp *stamp)
{
	for (unsigned i = 0; i < gather->inputs; i++) {
		const struct io_stamp *input = &gather->input[i].db.stamp;

		if (input->dev == stamp->dev && input->ino == stamp->ino)
			return true;
	}
	return false;
}

/* Since when it was left alone, milliseconds.  The change time alone counts: it cannot be set
 * back, as a restore does with the modification time. */
static int64_t age_ms(const struct io_stamp *stamp)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return ((int64_t)now.tv_sec * 1000000000 + now.tv_nsec - stamp->ctime_ns) / 1000000;
}

/* How long a source must still rest, milliseconds. */
static unsigned rest_left_ms(struct gather *gather, const struct gather_request *request,
			     const struct io_stamp *stamp)
{
	int64_t age = age_ms(stamp), rest = (int64_t)request->rest_s * 1000;

	if (age >= 0 || !rest)
		return age >= rest ? 0 : (unsigned)(rest - age);
	/* Its clock is ahead of ours and tells nothing: it has rested when it is the same at the
	 * next try. */
	gather->memo = (gather->memo ^ (uint64_t)stamp->ctime_ns ^ stamp->size << 20) *
		       UINT64_C(1099511628211);
	return gather->memo == request->memo ? 0 : (unsigned)rest;
}

/* The same where live has a sidecar and the source has none: a restore may have brought the RRD and
 * have the sidecar still to come.  Then others come into the directory meanwhile; and on a server
 * that is still running, always: so not for ever. */
static unsigned absence_left_ms(struct gather *gather, const struct gather_request *request,
				const struct gather_input *input, const struct source_file *file)
{
	int64_t rest = (int64_t)request->rest_s * 1000, age = age_ms(&input->db.stamp);
	const char *slash = strrchr(file->rel, '/');
	char dir[PATH_MAX];
	struct stat st;

	if (!rest || !request->sidecar || !request->sidecar->count || input->sidecar.bytes ||
	    input->useless.text[0] || age < 0 || age >= ABSENCE_RESTS * rest)
		return 0;
	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - file->rel) : 1,
		 slash ? file->rel : ".");
	if (fstatat(gather->files.root, dir, &st, 0))
		return 0;
	const struct io_stamp stamp = io_stamp_of(&st);
	age = age_ms(&stamp);
	return age < 0 || age >= rest ? 0 : (unsigned)(rest - age);
}

/* Ends the try, for the reason that `why` gives. */
static enum gather_outcome later(struct gather *gather, enum gather_outcome outcome,
				 unsigned in_ms, const char *side, const struct reason *why)
{
	gather->retry_ms = in_ms;
	reason_set(&gather->why, "%s %s", side, why->text);
	return outcome;
}

/* May more live files than one take from it? */
static bool serves_others(const struct gather_request *request, const struct source_file *file)
{
	const struct index *index = request->sources->index;
	char live[NAMES_SIZE];
	struct reason why;
	unsigned rule;

	return file->way == SOURCE_SIBLING ||
	       (index && (file->dump || names_apply(index_names(index), file->rel, 1, live, &rule,
						    &why) != -ENOENT));
}

/* Opens and reads one, and judges whether it is sound.  `ret_fd` is set where its pages are there for
 * us alone.  `ret_changing`: it may be in a moment. */
static int read_file(const struct gather_request *request, int root,
		     const struct source_file *file, struct rrd *db, int *ret_fd,
		     bool *ret_changing, struct reason *why)
{
	int64_t age = INT64_MAX;
	bool torn = false, cached = false;
	int fd = -1, r = io_open_file(root, file->rel, O_RDONLY, &fd, NULL, why);

	if (!r) {
		struct stat st;

		if (!fstat(fd, &st)) {
			struct io_stamp stamp = io_stamp_of(&st);
			age = age_ms(&stamp);
		}
		cached = io_is_cached(fd);
		r = file->dump ? dump_read(db, fd, why) : rrd_read(db, fd, why);
		torn = !r && rrd_is_torn(db, why);
		/* A daemon has time: what is no database yet may be half of one. */
		torn = torn || (r == REFUSED && request->rest_s);
		if (torn)
			r = REFUSED;
	}
	*ret_changing = r == -ESTALE || r == -EAGAIN || (torn && age >= 0 && age < TORN_S * 1000);
	if (!r && (request->again || !cached) && !serves_others(request, file))
		*ret_fd = fd;
	else if (fd >= 0)
		close(fd);
	return r;
}

/* The sidecar counts as a part of the file: one that is of no use may contradict what the names of
 * the data sources say. */
static int read_sidecar(const struct gather *gather, const struct gather_request *request,
			struct gather_input *input, const struct source_file *file,
			struct reason *why)
{
	char name[PATH_MAX];

	sidecar_free(&input->sidecar);
	input->sidecar = (struct sidecar){ 0 };
	input->useless = (struct reason){ "" };
	if (!request->sidecar)
		return 0;
	if (file->dump && !dump_stands_for(file->rel, name, sizeof(name)))
		return 0;
	const char *rrd = file->dump ? name : file->rel;
	int r = pnp_find_sidecar(gather->files.root, rrd, &input->sidecar, why);
	if (r == REFUSED || r == -EXDEV)
		input->useless = *why;
	else if (r == -ENOENT && request->sidecar->count)
		pnp_disowns(request->sidecar, request->rel, gather->files.root, rrd,
				&input->useless);
	return r == -ENOTUNIQ ? r : 0;
}

static void count_in(struct gather *gather, struct gather_input *input, unsigned n,
		     struct source_file *file, int *fd)
{
	input->fd = *fd;
	*fd = -1;
	free(input->file.rel);
	input->source = n;
	input->file = *file;
	file->rel = NULL;               /* it is the input's now */
	gather->inputs++;
	if (input->db.head.last_up > gather->newest)
		gather->newest = input->db.head.last_up;
	gather->bytes += input->db.size;
}

/* A file that there is and that does not count. */
static void refuse(struct gather *gather, const char *side, int error, const struct reason *why)
{
	gather->denied = gather->denied || error == -EACCES || error == -EPERM;
	reason_add(&gather->why, "%s %s", side, why->text);
	gather->all_seen = false;
	gather->retry_ms = REFUSED_RETRY_MS;
}

/* As take().  `fd` is open afterwards where the file does not count. */
static enum gather_outcome take_or_leave(struct gather *gather,
					 const struct gather_request *request, unsigned n,
					 unsigned at, int *fd)
{
	struct gather_input *input = next_input(gather);
	struct source_file *file = &gather->files.file[at];
	struct reason why = { "" };
	char side[GATHER_SIDE_SIZE];
	bool changing = false;
	int r;

	gather_side(request->sources, n, side);
	if (!input)
		r = reason_errno(&why, ENOMEM, "cannot be read");
	else
		r = read_file(request, gather->files.root, file, &input->db, fd, &changing,
			      &why);
	if (!r)
		r = read_sidecar(gather, request, input, file, &why);
	if (r == -ENOENT || r == -ENOTDIR)      /* since it was found */
		return GATHER_READY;
	gather->found++;
	if (changing && !request->last_try)
		return later(gather, GATHER_TORN, RETRY_MS, side, &why);
	if (r) {
		refuse(gather, side, r, &why);
		if (!file->dump)
			source_find_dumps(&gather->files, at);
		return GATHER_READY;
	}
	unsigned left = rest_left_ms(gather, request, &input->db.stamp);
	if (!left)
		left = absence_left_ms(gather, request, input, file);
	if (left) {
		reason_set(&why, "changed a moment ago: left to rest");
		return later(gather, GATHER_RESTING, left, side, &why);
	}
	count_in(gather, input, n, file, fd);
	return GATHER_READY;
}

/* Takes the file at that place of the list of source n in.  Anything but GATHER_READY ends the try. */
static enum gather_outcome take(struct gather *gather, const struct gather_request *request,
				unsigned n, unsigned at)
{
	int fd = -1;
	enum gather_outcome outcome = take_or_leave(gather, request, n, at, &fd);

	if (fd >= 0)
		close(fd);
	return outcome;
}

struct hidden {
	struct gather *gather;
	const char *side;
};

static int refuse_hidden(const char *rrd, void *arg)
{
	const struct hidden *hidden = arg;
	int root = hidden->gather->files.root;
	struct sidecar sidecar = { 0 };
	struct reason damage, why;

	if (pnp_find_sidecar(root, rrd, &sidecar, &damage) != REFUSED) {
		sidecar_free(&sidecar);
		return 0;
	}
	reason_set(&why, "sidecar is of no use, and would tell what other files hold: %s", damage.text);
	hidden->gather->found++;
	refuse(hidden->gather, hidden->side, REFUSED, &why);
	return 1;
}

/* The source has no file for live's; one of the other storage type may hold its values, of which a
 * sidecar would tell that is of no use. */
static void look_for_hidden(struct gather *gather, const struct gather_request *request,
			    const char *side)
{
	struct hidden hidden = { gather, side };

	source_find_others(request->sources, request->sidecar, request->rel, &gather->files,
			   refuse_hidden, &hidden);
}

/* Not there yet, or not now. */
static enum gather_outcome do_without(struct gather *gather)
{
	gather->all_seen = false;
	gather->missing = true;
	return GATHER_READY;
}

/* What source n, which we have entered, has.  Anything but GATHER_READY ends the try. */
static enum gather_outcome take_source(struct gather *gather, const struct gather_request *request,
				       unsigned n)
{
	enum gather_outcome outcome = GATHER_READY;
	struct source_found *files = &gather->files;
	char side[GATHER_SIDE_SIZE];
	struct reason why;
	int r = source_find(request->sources, n, request->rel, files);

	gather_side(request->sources, n, side);
	if (r == -ENXIO && !request->strict_roots)
		return do_without(gather);
	/* One file was named, and nothing else. */
	if (!r && !request->sources->source[n].file && request->sidecar && request->sidecar->count)
		r = source_find_siblings(request->sources, request->sidecar, request->rel, files);
	if (!r && !files->count && !request->sources->source[n].file && request->sidecar)
		look_for_hidden(gather, request, side);
	if (r) {
		int error = r == -ENXIO ? files->error : -r;

		reason_errno(&why, error, r == -ENXIO ? "is in a tree that cannot be opened"
						      : "cannot be looked at");
		gather->found++;
		refuse(gather, side, -error, &why);
	}
	for (unsigned i = 0; i < files->count && outcome == GATHER_READY; i++)
		outcome = take(gather, request, n, i);
	source_found_end(files);
	return outcome;
}

enum gather_outcome gather_read(struct gather *gather, const struct gather_request *request)
{
	enum gather_outcome outcome = GATHER_READY;
	struct visit visit;

	if (!gather->files.file)
		gather->files = SOURCE_FOUND_NONE;
	*gather = (struct gather){
		.input = gather->input,
		.capacity = gather->capacity,
		.files = gather->files,
		.newest = INT64_MIN,
		.all_seen = true,
	};
	for (unsigned n = 0; n < request->sources->count && outcome == GATHER_READY; n++) {
		if (!source_enter(request->sources, n, &visit)) {
			outcome = do_without(gather);
			continue;
		}
		outcome = take_source(gather, request, n);
		source_leave(request->sources, n, &visit);
	}
	if (outcome != GATHER_READY || gather->inputs)
		return outcome;
	return gather->why.text[0] ? GATHER_REFUSED : GATHER_NONE;
}
