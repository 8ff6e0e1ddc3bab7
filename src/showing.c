#include "config.h"
#include "showing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "terminal.h"

void showing_free(struct showing *showing)
{
	chart_free(&showing->chart);
	for (unsigned n = 0; n < showing->givers; n++)
		free(showing->giver[n]);
	free(showing->giver);
	showing->giver = NULL;
	showing->givers = 0;
}

/* Where OLD itself cannot be used, its dumps may be. */
static void take_givers(struct showing *showing, const struct gather *gather)
{
	showing->giver = calloc(gather->inputs + 1, sizeof(*showing->giver));
	for (; showing->giver && showing->givers < gather->inputs; showing->givers++) {
		const struct gather_input *input = &gather->input[showing->givers];
		const struct source *source = &showing->sources->source[input->source];
		char *path = NULL;

		if (!strcmp(input->file.rel, source->file))
			path = strdup(showing->old);
		else if (asprintf(&path, "%s/%s", source->path, input->file.rel) < 0)
			path = NULL;
		if (!path)
			break;
		showing->giver[showing->givers] = path;
	}
}

void showing_planned(const struct rrd *live, const struct plan *plan, const struct gather *gather,
		     void *arg)
{
	static const enum timeline_kind kind[PLAN_KINDS] = {
		[PLAN_EXACT] = TIMELINE_EXACT, [PLAN_SEAM] = TIMELINE_SEAM,
		[PLAN_CONSOLIDATED] = TIMELINE_CONSOLIDATED, [PLAN_SPREAD] = TIMELINE_SPREAD,
	};
	struct showing *showing = arg;
	struct chart_run *runs = calloc(plan->runs + 1, sizeof(*runs));

	showing_free(showing);
	if (!runs)
		return;
	take_givers(showing, gather);
	for (size_t i = 0; i < plan->runs; i++) {
		const struct plan_run *at = &plan->run[i];

		runs[i] = (struct chart_run){ at->rra, at->ds, at->source, at->first,
					      at->count, kind[at->kind] };
	}
	chart_make(live, runs, plan->runs, terminal_columns(STDOUT_FILENO), &showing->chart);
	free(runs);
}

void showing_print(const struct showing *showing)
{
	char text[CHART_SHARE_SIZE], shown[LOG_PATH_SIZE];
	const struct chart_share nothing = { .all = 0 };

	if (!showing->chart.lines)
		return;
	chart_draw(stdout, &showing->chart, terminal_columns(STDOUT_FILENO),
		   terminal_is_utf8(STDOUT_FILENO));
	for (unsigned n = 0; n < showing->givers; n++)
		printf("%s gives %s\n", log_escape(shown, sizeof(shown), showing->giver[n]),
		       chart_share_text(text, n < showing->chart.shares ? &showing->chart.share[n]
								    : &nothing));
}
