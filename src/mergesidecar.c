/* pnp4nagios writes a sidecar anew after each update of its RRD.  So a file that is new has none for
 * a moment, or that of a file that was there before it, and to go by the names of its data sources
 * would be to guess where in a moment it can be known.
 *
 * A file is new for WAIT_MS after its birth (or its last change, where the filesystem does not keep
 * the birth), and its sidecar is waited for so long, where a backup has one too, until it is there
 * and tells of the check with which the RRD was made, or a later one.  What has not come by then is
 * not written (XML_UPDATE_DELAY keeps a sidecar that is young), and the file is judged by what is
 * there. */
#include "config.h"
#include "mergeint.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 5000
/* It is looked for again after a part of the time that the file is old; mostly an event tells
 * sooner (live_await()). */
#define RETRY_PART 4
#define RETRY_MIN_MS 10
#define RETRY_MAX_MS 500

static int64_t ms_of(const struct statx_timestamp *t)
{
	return t->tv_sec * 1000 + t->tv_nsec / 1000000;
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
	struct reason why = { "" };
	int r;

	sidecar_free(sidecar);
	job->scratch->gather.inputs = 0;        /* they are those of the file before */
	if (job->site->match == LABELS_NAME)
		return true;
	r = sidecar_find(job->root, job->request->rel, sidecar, &why);
	if (!r || r == -ENOENT || r == REFUSED) /* one that is damaged proves nothing */
		return !waits(job, !r);
	merge_note_denied(job, r, MERGE_DENIED_READ);
	merge_fail(job, "live", &why);
	return false;
}
