#include "config.h"
#include "gather.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MS 250            /* a source that was changing */
#define TORN_S 60               /* a torn source that changed since may be mended in a moment */
#define REFUSED_RETRY_MS 60000  /* a source that was refused may be mended */

static int reserve(struct gather *gather, unsigned count)
{
	if (count <= gather->inputs)
		return 0;
	struct gather_input *grown = reallocarray(gather->input, count, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	memset(grown + gather->inputs, 0, (count - gather->inputs) * sizeof(*grown));
	gather->input = grown;
	gather->inputs = count;
	return 0;
}

void gather_free(struct gather *gather)
{
	for (unsigned i = 0; i < gather->inputs; i++)
		rrd_free(&gather->input[i].db);
	free(gather->input);
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

bool gather_holds(const struct gather *gather, unsigned count, const struct io_stamp *stamp)
{
	for (unsigned n = 0; n < count && n < gather->inputs; n++) {
		const struct gather_input *input = &gather->input[n];

		if (input->usable && input->db.stamp.dev == stamp->dev &&
		    input->db.stamp.ino == stamp->ino)
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

/* Ends the try, for the reason that `why` gives. */
static enum gather_outcome later(struct gather *gather, enum gather_outcome outcome,
				 unsigned in_ms, const char *side, const struct reason *why)
{
	gather->retry_ms = in_ms;
	reason_set(&gather->why, "%s %s", side, why->text);
	return outcome;
}

/* Reads source n.  Anything but GATHER_READY ends the try. */
static enum gather_outcome read_one(struct gather *gather, const struct gather_request *request,
				    unsigned n)
{
	struct gather_input *input = &gather->input[n];
	struct reason why = { "" };
	char side[GATHER_SIDE_SIZE];
	int fd;

	input->usable = false;
	gather_side(request->sources, n, side);
	int r = source_open(request->sources, n, request->rel, &fd, &why);
	if (r == -ENOENT || r == -ENOTDIR)
		return GATHER_READY;
	if (r == -ENXIO && !request->strict_roots) {
		gather->all_seen = false;       /* not there yet, or not now */
		gather->missing = true;
		return GATHER_READY;
	}
	gather->found++;
	int64_t age = INT64_MAX;
	bool torn = false;
	if (!r) {
		struct stat st;

		if (!fstat(fd, &st)) {
			struct io_stamp stamp = io_stamp_of(&st);
			age = age_ms(&stamp);
		}
		r = rrd_read(&input->db, fd, &why);
		close(fd);
		torn = !r && rrd_is_torn(&input->db, &why);
		/* A daemon has time: what is no database yet may be half of one. */
		torn = torn || (r == REFUSED && request->rest_s);
		if (torn)
			r = REFUSED;
	}
	bool changing = r == -ESTALE || r == -EAGAIN || (torn && age >= 0 && age < TORN_S * 1000);
	if (changing && !request->last_try)
		return later(gather, GATHER_TORN, RETRY_MS, side, &why);
	if (r) {
		gather->denied = gather->denied || r == -EACCES || r == -EPERM;
		reason_add(&gather->why, "%s %s", side, why.text);
		gather->all_seen = false;
		gather->retry_ms = REFUSED_RETRY_MS;
		return GATHER_READY;
	}
	unsigned left = rest_left_ms(gather, request, &input->db.stamp);
	if (left) {
		reason_set(&why, "changed a moment ago: left to rest");
		return later(gather, GATHER_RESTING, left, side, &why);
	}
	gather->usable++;
	input->usable = true;
	if (input->db.head.last_up > gather->newest)
		gather->newest = input->db.head.last_up;
	gather->bytes += input->db.size;
	return GATHER_READY;
}

enum gather_outcome gather_read(struct gather *gather, const struct gather_request *request)
{
	enum gather_outcome outcome = GATHER_READY;

	*gather = (struct gather){
		.input = gather->input,
		.inputs = gather->inputs,
		.newest = INT64_MIN,
		.all_seen = true,
	};
	if (reserve(gather, request->sources->count)) {
		reason_set(&gather->why, "backup cannot be read: out of memory");
		return GATHER_REFUSED;
	}
	for (unsigned n = 0; n < request->sources->count && outcome == GATHER_READY; n++)
		outcome = read_one(gather, request, n);
	if (outcome != GATHER_READY || gather->usable)
		return outcome;
	return gather->why.text[0] ? GATHER_REFUSED : GATHER_NONE;
}
