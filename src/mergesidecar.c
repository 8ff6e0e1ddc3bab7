/* pnp4nagios writes a sidecar anew after each update of its RRD.  So a file that is new has none for
 * a moment, or that of a file that was there before it, and to go by the names of its data sources
 * would be to guess where in a moment it can be known.
 *
 * A file is new for WAIT_MS after its birth (or its last change, where the filesystem does not keep
 * the birth), and its sidecar is waited for so long, where a backup has one too, until it is there
 * and tells of the check with which the RRD was made, or a later one.  What has not come by then is
 * not written (XML_UPDATE_DELAY keeps a sidecar that is young), and the file is judged by what is
 * there: one that stood there before the RRD was made is of no use then, as one that is damaged. */
#include "config.h"
#include "mergeint.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "pnp.h"
#include "series.h"

#define WAIT_MS 5000
/* It is looked for again after a part of the time that the file is old; mostly an event tells
 * sooner (live_await()). */
#define RETRY_PART 4
#define RETRY_MIN_MS 10
#define RETRY_MAX_MS 500

#define OLDER "is older than the RRD, and tells of one that was there before it"

static int64_t ms_of(const struct statx_timestamp *t)
{
	return t->tv_sec * 1000 + t->tv_nsec / 1000000;
}

/* When the live file came to be, nanoseconds; INT64_MIN: it cannot be told. */
static int64_t birth_ns(const struct merge_job *job)
{
	struct statx stx;

	if (statx(job->root, job->request->rel, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &stx) ||
	    !(stx.stx_mask & STATX_BTIME))
		return INT64_MIN;
	return stx.stx_btime.tv_sec * INT64_C(1000000000) + stx.stx_btime.tv_nsec;
}

/* How old the live file is, milliseconds; -1: it cannot be told. */
static int64_t age_ms(const struct merge_job *job)
{
	struct statx stx;
	struct timespec now;

	if (statx(job->root, job->request->rel, AT_SYMLINK_NOFOLLOW, STATX_CTIME | STATX_BTIME,
		  &stx))
		return -1;
	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 -
	       ms_of(stx.stx_mask & STATX_BTIME ? &stx.stx_btime : &stx.stx_ctime);
}

/* Does the sidecar tell of a check before the last one that the RRD knows? */
static bool is_behind(struct merge_job *job)
{
	const struct sidecar *sidecar = &job->scratch->sidecar;
	struct rrd *live = &job->scratch->live;
	struct reason why;
	int fd, r;

	if (!sidecar->time || io_open_file(job->root, job->request->rel, O_RDONLY, &fd, NULL, &why))
		return false;
	r = rrd_read(live, fd, &why);
	close(fd);
	return !r && sidecar->time < live->head.last_up;
}

static bool knows_until(const struct rrd *db, int64_t time)
{
	for (uint64_t rra = 0; rra < db->head.rra_cnt; rra++)
		for (uint64_t ds = 0; ds < db->head.ds_cnt; ds++) {
			struct series s = series_of(db, rra, ds);

			for (int64_t at = s.oldest; s.resolution && at <= s.newest && at <= time;
			     at += s.resolution)
				if (!isnan(series_at(&s, at)))
					return true;
		}
	return false;
}

/* Was it there before the RRD was made anew, with other values perhaps?  Then it tells of a check of
 * which that knows nothing.  (Files that were copied come in any order, and know their past.) */
static bool is_of_another(struct merge_job *job)
{
	const struct sidecar *sidecar = &job->scratch->sidecar;

	return sidecar->stamp.ctime_ns < birth_ns(job) && is_behind(job) &&
	       !knows_until(&job->scratch->live, sidecar->time);
}

/* True where the job has ended. */
static bool waits(struct merge_job *job, bool found)
{
	int64_t age;
	struct reason why;

	if (!job->site->wait_sidecar)
		return false;
	age = age_ms(job);
	if (age < 0 || age >= WAIT_MS || (found && !is_behind(job)) ||
	    !source_has_sidecar(&job->site->sources, job->request->rel))
		return false;
	int64_t in_ms = age / RETRY_PART;
	in_ms = in_ms < RETRY_MIN_MS ? RETRY_MIN_MS : in_ms > RETRY_MAX_MS ? RETRY_MAX_MS : in_ms;
	reason_set(&why, "is new, and its sidecar is still to come");
	merge_again(job, MERGE_UNLABELLED, (unsigned)in_ms, "live", &why);
	return true;
}

bool merge_read_sidecar(struct merge_job *job)
{
	struct sidecar *sidecar = &job->scratch->sidecar;
	struct reason *why = &job->scratch->useless;
	int r;

	*why = (struct reason){ "" };
	sidecar_free(sidecar);
	job->scratch->gather.inputs = 0;        /* they are those of the file before */
	if (job->site->match == LABELS_NAME)
		return true;
	r = pnp_find_sidecar(job->root, job->request->rel, sidecar, why);
	if (r != -ENOTUNIQ) {
		if (waits(job, !r))
			return false;
		if (!r && is_of_another(job)) {
			pnp_name_sidecar(job->request->rel, sidecar, OLDER, why);
			sidecar_free(sidecar);
		}
		return true;
	}
	merge_note_denied(job, r, MERGE_DENIED_READ);
	merge_fail(job, "live", why);
	return false;
}
