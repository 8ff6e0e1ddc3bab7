#include "config.h"
#include "report.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *utc(char *buffer, size_t size, int64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(buffer, size, "%Y-%m-%dT%H:%MZ", &tm))
		snprintf(buffer, size, "%lld", (long long)seconds);
	return buffer;
}

/* How the cells came about where not all are copies: with `all` everything, else what cells= and
 * seam= leave open. */
static void add_kinds(char *buffer, size_t size, const struct merge_result *result, bool all)
{
	const struct plan_counts *counts = &result->counts;
	uint64_t exact = counts->of_kind[PLAN_EXACT];
	bool mixed = exact != counts->cells || counts->opens || result->unhealed;
	const struct {
		const char *key;
		uint64_t count;
		bool said;
	} kind[] = {
		{ "exact", exact, all },
		{ "consolidated", counts->of_kind[PLAN_CONSOLIDATED], true },
		{ "spread", counts->of_kind[PLAN_SPREAD], true },
		{ "open", counts->opens, all },
		{ "unhealed", result->unhealed, all },
	};
	size_t used = 0;

	buffer[0] = '\0';
	for (size_t i = 0; mixed && i < sizeof(kind) / sizeof(*kind) && used < size; i++)
		if (kind[i].said && (all || kind[i].count))
			used += (size_t)snprintf(buffer + used, size - used, " %s=%llu", kind[i].key,
						 (unsigned long long)kind[i].count);
}

/* Where a source's file is not simply the RRD of the same path. */
static void describe_source(char *buffer, size_t size, const struct merge_result *result)
{
	const struct source_file *file = result->source_file;
	const char *kind = result->foreign ? " kind=foreign" : file && file->dump ? " kind=dump" : "";
	char path[LOG_PATH_SIZE], rule[32] = "";

	buffer[0] = '\0';
	if (!file)
		return;
	if (file->rule)
		snprintf(rule, sizeof(rule), " rule=%u", file->rule);
	if (file->way != SOURCE_SAME)
		snprintf(buffer, size, "%s%s backup_file=\"%s\"", kind, rule,
			 log_escape(path, sizeof(path), file->rel));
	else
		snprintf(buffer, size, "%s", kind);
}

char *report_merged(char *buffer, size_t size, const char *rel,
		    const struct merge_result *result, bool dry, bool all)
{
	char path[LOG_PATH_SIZE], source[LOG_PATH_SIZE + 80];
	char from[32], to[32], took[80] = "", kinds[200];

	if (!dry)
		snprintf(took, sizeof(took), " ms=%.1f", (double)result->took_ns / 1e6);
	if (!dry && all)
		snprintf(took + strlen(took), sizeof(took) - strlen(took), " hold_us=%.1f",
			 (double)result->hold_ns / 1e3);
	add_kinds(kinds, sizeof(kinds), result, all);
	describe_source(source, sizeof(source), result);
	snprintf(buffer, size, "%s cells=%llu seam=%llu from=%s to=%s%s source=%u%s%s file=%s",
		 dry ? "would merge" : "merged", (unsigned long long)result->counts.cells,
		 (unsigned long long)result->counts.of_kind[PLAN_SEAM],
		 utc(from, sizeof(from), result->from), utc(to, sizeof(to), result->to), took,
		 result->source, source, kinds, log_escape(path, sizeof(path), rel));
	return buffer;
}

char *report_unhealed(char *buffer, size_t size, const char *rel,
		      const struct merge_result *result)
{
	char path[LOG_PATH_SIZE];

	snprintf(buffer, size, "unchanged unhealed=%llu file=%s",
		 (unsigned long long)result->unhealed, log_escape(path, sizeof(path), rel));
	return buffer;
}

char *report_refused(char *buffer, size_t size, const char *word, const char *rel,
		     const char *reason)
{
	char path[LOG_PATH_SIZE], why[sizeof(((struct reason *)0)->text) * 4];

	log_escape(why, sizeof(why), reason);
	for (char *c = why; *c; c++)
		if (*c == '"')
			*c = '\'';      /* the value itself stands in quotes */
	snprintf(buffer, size, "%s reason=\"%s\" file=%s", word, why,
		 log_escape(path, sizeof(path), rel));
	return buffer;
}

char *report_sums_text(char *buffer, size_t size, const struct report_sums *sums, double seconds)
{
	snprintf(buffer, size,
		 "%zu merged, %zu unchanged, %zu skipped, %zu failed; %llu cells filled in %.2f s",
		 sums->merged, sums->unchanged, sums->skipped, sums->failed,
		 (unsigned long long)sums->cells, seconds);
	return buffer;
}

char *report_sums_json(char *buffer, size_t size, const struct report_sums *sums, double seconds)
{
	snprintf(buffer, size,
		 "{\"merged\":%zu,\"unchanged\":%zu,\"skipped\":%zu,\"failed\":%zu,"
		 "\"cells\":%llu,\"seconds\":%.3f}",
		 sums->merged, sums->unchanged, sums->skipped, sums->failed,
		 (unsigned long long)sums->cells, seconds);
	return buffer;
}
