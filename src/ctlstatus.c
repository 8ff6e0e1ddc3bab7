#include "config.h"
#include "ctlstatus.h"

#include <stdlib.h>
#include <string.h>

#include "ctlprint.h"

/* ---- taking the records ---- */

static const char *find(const struct ctlclient_field *field, size_t fields, const char *key)
{
	for (size_t i = 0; i < fields; i++)
		if (!strcmp(field[i].key, key))
			return field[i].value;
	return NULL;
}

static char *keep(struct ctlstatus *status, const char *text)
{
	char *copy = strdup(text ? text : "");

	status->failed = status->failed || !copy;
	return copy;
}

static void take_first(struct ctlstatus *status, const struct ctlclient_field *field,
		       size_t fields)
{
	status->field = calloc(fields, sizeof(*status->field));
	status->failed = !status->field;
	for (size_t i = 0; i < fields && !status->failed; i++) {
		status->field[i].key = keep(status, field[i].key);
		status->field[i].value = keep(status, field[i].value);
		status->fields++;
	}
}

void ctlstatus_take(struct ctlstatus *status, const struct ctlclient_field *field, size_t fields)
{
	const char *files = find(field, fields, "refusals");
	const char *more = find(field, fields, "more_kinds");

	if (!status->field) {
		take_first(status, field, fields);
	} else if (files && status->kinds < CTLSTATUS_KINDS) {
		struct ctlstatus_kind *kind = &status->kind[status->kinds++];

		kind->files = strtoull(files, NULL, 10);
		kind->text = keep(status, find(field, fields, "kind"));
		kind->example = keep(status, find(field, fields, "example"));
		kind->reason = keep(status, find(field, fields, "reason"));
	} else if (files) {
		status->more_kinds++;
	} else if (more) {
		status->more_kinds += strtoull(more, NULL, 10);
	}
}

void ctlstatus_free(struct ctlstatus *status)
{
	for (size_t i = 0; i < status->fields; i++) {
		free(status->field[i].key);
		free(status->field[i].value);
	}
	free(status->field);
	for (size_t i = 0; i < status->kinds; i++) {
		free(status->kind[i].text);
		free(status->kind[i].example);
		free(status->kind[i].reason);
	}
	*status = (struct ctlstatus){ 0 };
}

const char *ctlstatus_text(const struct ctlstatus *status, const char *key)
{
	for (size_t i = 0; i < status->fields; i++)
		if (!strcmp(status->field[i].key, key))
			return status->field[i].value;
	return "";
}

unsigned long long ctlstatus_number(const struct ctlstatus *status, const char *key)
{
	return strtoull(ctlstatus_text(status, key), NULL, 10);
}

static bool is(const struct ctlstatus *status, const char *key, const char *text)
{
	return !strcmp(ctlstatus_text(status, key), text);
}

bool ctlstatus_is_idle(const struct ctlstatus *status)
{
	return is(status, "state", "idle");
}

/* ---- in sentences ---- */

static const char *s(unsigned long long count)
{
	return count == 1 ? "" : "s";
}

static void print_well(FILE *to, const struct ctlstatus *status)
{
	bool well = is(status, "well", "yes");

	if (is(status, "state", "waiting for the live tree")) {
		fputs("Not well: the live tree is not there, and rrdmergd waits for it: ", to);
		ctlprint_safe(to, ctlstatus_text(status, "live"));
		fputc('\n', to);
	} else if (is(status, "state", "waiting for the ledger")) {
		fputs("Not well: nothing is merged, as the ledger does not work: ", to);
		ctlprint_safe(to, ctlstatus_text(status, "ledger"));
		fputc('\n', to);
	} else if (is(status, "paused", "yes")) {
		fputs("Paused: no merge begins until \"rrdmergctl resume\".\n", to);
	} else if (ctlstatus_is_idle(status)) {
		fputs(well ? "All is well, and all that could be done is done.\n"
		      : "All that could be done is done, and something needs a person.\n", to);
	} else {
		fputs(well ? "All is well; work is under way.\n"
		      : "Work is under way, and something needs a person.\n", to);
	}
}

static void print_left(FILE *to, unsigned long long left)
{
	if (left < 90)
		fprintf(to, "; about %llu s still", left);
	else if (left < 5400)
		fprintf(to, "; about %llu min still", (left + 30) / 60);
	else
		fprintf(to, "; about %llu h %llu min still", left / 3600, left / 60 % 60);
}

static void print_progress(FILE *to, const struct ctlstatus *status)
{
	unsigned long long files = ctlstatus_number(status, "files");
	unsigned long long pending = ctlstatus_number(status, "pending");
	unsigned long long again = ctlstatus_number(status, "tried_again");
	unsigned long long done = files > pending ? files - pending : 0;

	if (!files)
		fputs("No file was found in the live tree yet.\n", to);
	else if (!pending)
		fprintf(to, "%llu file%s, all looked at: %llu merged, %llu unchanged, %llu without a "
			"counterpart, %llu failed.", files, s(files),
			ctlstatus_number(status, "merged"), ctlstatus_number(status, "unchanged"),
			ctlstatus_number(status, "skipped"), ctlstatus_number(status, "failed"));
	else
		fprintf(to, "%llu of %llu file%s done (%llu %%)", done, files, s(files),
			done * 100 / files);
	if (files && pending && *ctlstatus_text(status, "left_seconds"))
		print_left(to, ctlstatus_number(status, "left_seconds"));
	if (files)
		fprintf(to, "%s %llu cell%s filled since the start.\n", pending ? "." : "",
			ctlstatus_number(status, "cells"), s(ctlstatus_number(status, "cells")));
	if (again)
		fprintf(to, "%llu file%s to be tried again: %s in use just now, or not yet copied "
			"as a whole (\"rrdmergctl list pending\").\n", again,
			again == 1 ? " is" : "s are",
			again == 1 ? "it or its backup is" : "they or their backups are");
}

static void print_kind(FILE *to, const struct ctlstatus_kind *kind)
{
	fprintf(to, "  %6llu file%s refused: ", kind->files, s(kind->files));
	ctlprint_safe(to, kind->files > 1 ? kind->text : kind->reason);
	fputs(kind->files > 1 ? "\n                e.g. " : "\n                     ", to);
	ctlprint_safe(to, kind->example);
	if (kind->files > 1 && strcmp(kind->text, kind->reason)) {
		fputs(": ", to);
		ctlprint_safe(to, kind->reason);
	}
	fputc('\n', to);
}

static void print_unended(FILE *to, const struct ctlstatus *status, unsigned long long files)
{
	fprintf(to, "  %6llu file%s undone in part, for an undo of %s did not come to its end\n"
		"                e.g. ", files, files == 1 ? " is" : "s are",
		files == 1 ? "it" : "them");
	ctlprint_safe(to, ctlstatus_text(status, "undone_in_part_example"));
	fputs("\n          \"rrdmergctl undo\" again, of a file or --all, takes back the rest; "
	      "\"rrdmergctl merge\"\n          of a file brings back what was taken\n", to);
}

static void print_needs(FILE *to, const struct ctlstatus *status)
{
	unsigned long long unwatched = ctlstatus_number(status, "unwatched_dirs");
	unsigned long long unsynced = ctlstatus_number(status, "unsynced");
	unsigned long long unended = ctlstatus_number(status, "undone_in_part");
	unsigned long long stalled = ctlstatus_number(status, "stalled_seconds");
	bool unseen = is(status, "backups_seen", "no"), apart = is(status, "lost", "yes");

	if (!status->kinds && !unwatched && !unseen && !apart && !stalled && !unsynced &&
	    !unended) {
		fputs("No file needs a person.\n", to);
		return;
	}
	fputs("What needs a person:\n", to);
	if (unsynced)
		fprintf(to, "  %6llu merge%s may not be on disk, as live's disk has failed: see the "
			"kernel's log, keep the backup, and restart the machine before rrdmergd.\n",
			unsynced, s(unsynced));
	if (unended)
		print_unended(to, status, unended);
	if (stalled && *ctlstatus_text(status, "stalled_backups")) {
		fprintf(to, "       A disk has not answered for %llu s, and until it does its backup is "
			"done without: ", stalled);
		ctlprint_safe(to, ctlstatus_text(status, "stalled_backups"));
		fputc('\n', to);
	} else if (stalled) {
		fprintf(to, "       A disk has not answered for %llu s, and what lies on it waits; the log "
			"says where.\n", stalled);
	}
	if (unseen)
		fputs("       A backup is not there, or cannot be read as a whole: is it mounted?  The "
		      "log names it.\n", to);
	if (apart)
		fputs("       Not one live file has a counterpart: is a path one level off?  The log "
		      "may name a better one.\n", to);
	for (size_t i = 0; i < status->kinds; i++)
		print_kind(to, &status->kind[i]);
	if (status->more_kinds)
		fprintf(to, "          and %llu more reason%s\n", status->more_kinds,
			s(status->more_kinds));
	if (status->kinds)
		fputs("          \"rrdmergctl list refused\" names them all\n", to);
	if (unwatched)
		fprintf(to, "  %6llu director%s not watched: raise fs.inotify.max_user_watches\n",
			unwatched, unwatched == 1 ? "y is" : "ies are");
}

/* It has made up for it already, and all may be well. */
static void print_overflows(FILE *to, const struct ctlstatus *status)
{
	unsigned long long lost = ctlstatus_number(status, "watch_overflows");

	if (lost)
		fprintf(to, "Events were lost %llu time%s, and all was looked through again: a higher "
			"fs.inotify.max_queued_events saves that.\n", lost, s(lost));
}

static void print_backup(FILE *to, const struct ctlstatus *status)
{
	unsigned long long by = ctlstatus_number(status, "needed_by");
	unsigned long long waiting = ctlstatus_number(status, "waiting");
	unsigned long long rest = by > waiting ? by - waiting : 0;
	unsigned long long undone = ctlstatus_number(status, "undone");

	if (!is(status, "backup_needed", "yes")) {
		fputs("The backup is not needed any more: it can be unmounted.\n", to);
		if (undone)
			fprintf(to, "But %llu file%s undone, and nothing but \"rrdmergctl merge\", "
				"with the backup there, brings %s values back.\n", undone,
				undone == 1 ? " was" : "s were", undone == 1 ? "its" : "their");
		return;
	}
	if (!by) {
		fputs("The backup is still needed: ", to);
		fputs(is(status, "backups_seen", "yes") ? "work is under way.\n"
		      : "it was not seen as a whole yet.\n", to);
		return;
	}
	fprintf(to, "The backup is still needed, by %llu file%s:", by, s(by));
	if (rest)
		fprintf(to, " %llu live file%s may yet take from it%s", rest, s(rest),
			waiting ? ";" : ".");
	if (waiting)
		fprintf(to, " %llu of its own wait%s for a live file that has not appeared "
			"(\"rrdmergctl list waiting\"; \"rrdmergctl forget\" gives them up).", waiting,
			waiting == 1 ? "s" : "");
	fputc('\n', to);
}

void ctlstatus_print(FILE *to, const struct ctlstatus *status)
{
	size_t width = 0;

	print_well(to, status);
	print_progress(to, status);
	print_needs(to, status);
	print_overflows(to, status);
	print_backup(to, status);
	fputc('\n', to);
	for (size_t i = 0; i < status->fields; i++)
		if (strlen(status->field[i].key) > width)
			width = strlen(status->field[i].key);
	for (size_t i = 0; i < status->fields; i++) {
		fprintf(to, "%s:%*s", status->field[i].key,
			(int)(width - strlen(status->field[i].key) + 1), "");
		ctlprint_safe(to, status->field[i].value);
		fputc('\n', to);
	}
}
