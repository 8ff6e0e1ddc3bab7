/* Which data source of a backup belongs to which of live is asked of each backup by itself
 * (labels.h), but for this: one without a sidecar goes by numbers, as long as nobody else shows that
 * a number has not always been the same value. */
#include "config.h"
#include "mergeint.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "dump.h"

static const char *file_name(const char *rel)
{
	const char *slash = strrchr(rel, '/');

	return slash ? slash + 1 : rel;
}

static struct labels_side live_side(const struct merge_job *job)
{
	const struct merge_scratch *scratch = job->scratch;

	return (struct labels_side){
		.head = &scratch->live.head,
		.sidecar = scratch->sidecar.bytes ? &scratch->sidecar : NULL,
		.useless = scratch->useless.text[0] ? scratch->useless.text : NULL,
		.file = file_name(job->request->rel),
	};
}

/* `rrd` is for the name of an RRD of which the input is a dump. */
static struct labels_side backup_side(const struct gather_input *input, char rrd[PATH_MAX])
{
	bool named = input->file.dump && dump_stands_for(input->file.rel, rrd, PATH_MAX);

	return (struct labels_side){
		.head = &input->db.head,
		.sidecar = input->sidecar.bytes ? &input->sidecar : NULL,
		.useless = input->useless.text[0] ? input->useless.text : NULL,
		.file = file_name(named ? rrd : input->file.rel),
		.ruled = input->file.way == SOURCE_RENAMED,
	};
}

/* What it says of itself, which is no file of the other storage type. */
static bool is_witness(const struct gather_input *input)
{
	return input->sidecar.bytes && input->file.way != SOURCE_SIBLING;
}

/* Does any input from `first` on contradict `side`, be it live's or an input's?  `why` says how. */
static bool is_contradicted(const struct merge_job *job, const struct labels_side *side,
			    const char *side_name, unsigned first, struct reason *why)
{
	const struct gather *gather = &job->scratch->gather;

	for (unsigned n = first; n < gather->inputs; n++) {
		char rrd[PATH_MAX], name[GATHER_SIDE_SIZE];
		const struct labels_side other = backup_side(&gather->input[n], rrd);
		const char *number;

		if (!side->sidecar || !is_witness(&gather->input[n]) ||
		    !labels_disagree(side, &other, &number))
			continue;
		gather_side(&job->site->sources, gather->input[n].source, name);
		reason_set(why, "numbers alone prove nothing: data source %s is another by the "
			   "sidecar of %s than by that of %s", number, name, side_name);
		return true;
	}
	return false;
}

/* Do any two sidecars disagree on what a number is? */
static bool numbers_changed(const struct merge_job *job, struct reason *why)
{
	const struct gather *gather = &job->scratch->gather;
	struct labels_side side = live_side(job);
	bool changed = is_contradicted(job, &side, "live", 0, why);

	for (unsigned n = 0; n < gather->inputs && !changed; n++) {
		char rrd[PATH_MAX], name[GATHER_SIDE_SIZE];

		if (!is_witness(&gather->input[n]))
			continue;
		side = backup_side(&gather->input[n], rrd);
		gather_side(&job->site->sources, gather->input[n].source, name);
		changed = is_contradicted(job, &side, name, n + 1, why);
	}
	return changed;
}

int merge_match(struct merge_job *job, unsigned n, uint64_t *map, struct labels_verdict *ret,
		struct reason *why)
{
	struct merge_scratch *scratch = job->scratch;
	const struct gather_input *input = &scratch->gather.input[n];
	const struct labels_side live = live_side(job);
	char rrd[PATH_MAX];
	const struct labels_side backup = backup_side(input, rrd);
	int r = labels_map(&live, &backup, input->file.way == SOURCE_SIBLING ? LABELS_LABEL
			   : job->site->match, map, ret, why);

	if (!n)
		scratch->numbers_asked = false;
	if (r || !ret->numbers)
		return r;
	if (!scratch->numbers_asked && !numbers_changed(job, &scratch->changed))
		scratch->changed = (struct reason){ "" };
	scratch->numbers_asked = true;
	if (!scratch->changed.text[0])
		return 0;
	*why = scratch->changed;
	*ret = (struct labels_verdict){ .refused = live.head->ds_cnt, .told = true };
	return REFUSED;
}
