/* commandsshow: the command that tells all of one file. */
#include "config.h"
#include "commandsint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chart.h"
#include "counterparts.h"
#include "givers.h"
#include "patience.h"

#define COLUMNS_DEFAULT 100
#define MERGES 20               /* of the history, that are told */
#define MERGES_MAX 1000         /* whose runs are looked at */
#define TRIES 5                 /* for a file that is updated while it is read */
#define DISK_NS UINT64_C(3000000000)    /* for all disks that are asked, together */
#define LEAST_NS UINT64_C(200000000)    /* … but for each at least */
#define LOOK_MS 50
#define NO_ANSWER "does not answer: its disk hangs"
#define LIVE_MAX (64 << 20)     /* bytes; what is larger is not drawn */

/* One file that is to be shown, and what is known of it: all of it our own, so that no lock is held
 * while a disk is waited for. */
struct showing {
	struct control_call *call;
	struct commands *c;
	char *rel, *live, key[MERGE_KEY_SIZE];
	struct source_set sources;
	struct tally_item item;
	bool known;
	struct ledger_state state;
	bool held;
	size_t columns;
	uint64_t until_ns;              /* for the disks; 0: none was asked yet */
	struct ledger_entry *entry;     /* the latest first */
	size_t entries;
	struct givers givers;
	bool drawn;                     /* the shares are known */
	bool labels;                    /* sidecars are asked */
};

/* 0 or -ENOMEM. */
static int take(struct showing *show, const char *given)
{
	struct commands *c = show->c;
	int r;

	pthread_rwlock_rdlock(&c->lock);
	show->rel = strdup(commands_rel(c, given));
	show->live = strdup(c->site->live);
	r = show->rel && show->live ? source_set_copy(&c->site->sources, &show->sources) : -ENOMEM;
	if (!r) {
		merge_key(c->site, show->rel, show->key);
		show->labels = c->site->match != LABELS_NAME;
		show->known = tally_look(c->tally, show->rel, &show->item);
		show->held = c->books && ledger_known(books_ledger(c->books), show->key,
						      &show->state) && show->state.held;
	}
	pthread_rwlock_unlock(&c->lock);
	return r;
}

static void drop(struct showing *show)
{
	free(show->rel);
	free(show->live);
	source_set_free(&show->sources);
	tally_page_free(&show->item, 1);
	ledger_entries_free(show->entry, show->entries);
	givers_free(&show->givers);
}

/* ---- how it stands ---- */

static const char *waits_for(const struct showing *show)
{
	const struct tally_item *item = &show->item;

	if (show->held)
		return "somebody who asks for it; it was undone, and \"rrdmergctl merge\" brings it back";
	switch (item->state) {
	case TALLY_IS_WAITING:
		return "a live file of this name; \"rrdmergctl forget\" gives it up";
	case TALLY_IS_FORGOTTEN:
		return "nothing; it was given up by \"rrdmergctl forget\"";
	case TALLY_IS_PENDING:
		return atomic_load(&show->c->paused) ? "\"rrdmergctl resume\"" : "its turn, or its next try";
	case TALLY_IS_SKIPPED:
		return "a backup that has it";
	case TALLY_IS_FAILED:
		return "a person; see the reason";
	default:
		break;
	}
	if (item->half_seen)
		return "a backup that is away";
	if (!item->settled)
		return "its own last update to pass that of the backup; until then it is looked at again";
	return "nothing; it is done";
}

static int put_standing(struct showing *show)
{
	struct control_call *call = show->call;
	const struct tally_item *item = &show->item;

	control_put(call, "file", show->rel);
	control_put(call, "state", commands_state(item->state));
	if (item->why) {
		control_put(call, "refused", item->partial ? "in part" : "wholly");
		control_put(call, "reason", item->why);
	}
	if (item->unproven)
		control_put(call, "unproven", "yes");
	if (show->held)
		control_put(call, "undone", "yes");
	return control_put(call, "waits_for", waits_for(show));
}

/* ---- its history ---- */

static int take_history(struct showing *show)
{
	int r;

	if (!show->c->books)
		return 0;
	r = ledger_history(books_ledger(show->c->books), show->key, 0, MERGES_MAX, &show->entry,
			   &show->entries);
	for (size_t i = 0; i < show->entries && i < MERGES && !r; i++)
		r = commands_put_entry(show->call, &show->entry[i]);
	return r;
}

/* ---- what disks are asked ---- */

/* Waits for an answer until `until_ns`, as long as somebody wants to know.  -ETIMEDOUT, or what
 * control_wait() says. */
static int await(struct control_call *call, struct patience *patience, uint64_t until_ns)
{
	while (!patience_wait(patience, LOOK_MS)) {
		int r = control_wait(call, 0);

		if (r)
			return r;
		if (io_now_ns() >= until_ns)
			return -ETIMEDOUT;
	}
	return 0;
}

/* Until when the next disk is waited for: all of them together have DISK_NS. */
static uint64_t until(struct showing *show)
{
	uint64_t now = io_now_ns();

	if (!show->until_ns)
		show->until_ns = now + DISK_NS;
	return show->until_ns > now + LEAST_NS ? show->until_ns : now + LEAST_NS;
}

static bool is_silent(int r)
{
	return r == -ETIMEDOUT || r == -EAGAIN;
}

/* ---- its sources ---- */

static void put_share(struct control_call *call, const struct chart_share *share)
{
	char text[CHART_SHARE_SIZE];

	control_number(call, "gave", (long long)share->all);
	for (int kind = TIMELINE_LIVE + 1; kind < TIMELINE_UNKNOWN; kind++)
		if (share->cells[kind])
			control_number(call, timeline_name((enum timeline_kind)kind),
				       (long long)share->cells[kind]);
	if (share->all) {
		control_number(call, "from", share->from);
		control_number(call, "to", share->to);
	}
	control_put(call, "share", chart_share_text(text, share));
}

/* 0 or -ENOMEM. */
static int put_source(struct showing *show, unsigned n, const struct source_file *file)
{
	static const struct chart_share nothing;
	struct control_call *call = show->call;
	struct giver *giver;
	char *path;

	if (asprintf(&path, "%s/%s", show->sources.source[n].path, file->rel) < 0)
		return -ENOMEM;
	giver = givers_find(&show->givers, path);
	control_record(call);
	control_number(call, "source", (long long)n + 1);
	control_put(call, "kind", file->dump ? "dump" : "rrd");
	if (file->rule)
		control_number(call, "rule", (long long)file->rule);
	control_put(call, "path", path);
	if (show->drawn)
		put_share(call, giver ? &giver->share : &nothing);
	if (giver)
		giver->told = true;
	free(path);
	return 0;
}

static void put_away(struct showing *show, unsigned n, const char *why)
{
	control_record(show->call);
	control_number(show->call, "source", (long long)n + 1);
	control_put(show->call, "path", show->sources.source[n].path);
	control_put(show->call, "away", why);
}

/* Asks, and waits. */
static int ask(struct showing *show, unsigned n, struct patience **ret,
	       const struct counterparts **ret_answer)
{
	int r = counterparts_ask(&show->sources, n, show->rel, show->labels ? show->live : NULL,
				 ret, ret_answer);

	return r ? r : await(show->call, *ret, until(show));
}

/* 0 also where it cannot be asked, of which no more is told. */
static int ask_source(struct showing *show, unsigned n)
{
	const struct counterparts *answer = NULL;
	struct patience *patience = NULL;
	int r = ask(show, n, &patience, &answer);

	if (is_silent(r) && show->labels) {     /* it may be live that hangs, and its sidecar */
		patience_end(patience);
		patience = NULL;
		show->labels = false;
		r = ask(show, n, &patience, &answer);
	}
	if (is_silent(r)) {
		put_away(show, n, NO_ANSWER);
		r = 0;
	} else if (!r) {
		for (unsigned i = 0; i < answer->found.count && !answer->r && !r; i++)
			r = put_source(show, n, &answer->found.file[i]);
		if (answer->r == -ENXIO)
			put_away(show, n, strerror(answer->found.error));
		r = answer->r == -ENOMEM ? answer->r : r;
	}
	patience_end(patience);
	return r;
}

/* What gave something, and is not among those that have it now. */
static void put_gone(struct showing *show)
{
	for (size_t i = 0; i < show->givers.count; i++) {
		const struct giver *giver = &show->givers.giver[i];

		if (giver->told || !giver->share.all)
			continue;
		control_record(show->call);
		control_number(show->call, "source", 0);
		control_put(show->call, "path", giver->path);
		put_share(show->call, &giver->share);
	}
}

/* Which backups have it now, and what each gave. */
static int put_sources(struct showing *show)
{
	int r = 0;

	for (unsigned n = 0; n < show->sources.count && !r; n++)
		r = ask_source(show, n);
	if (!r)
		put_gone(show);
	return r ? r : control_flush(show->call);
}

/* ---- its time line ---- */

/* The live file, read. */
struct reading {
	char *live, *rel;
	struct rrd db;
	uint64_t id;
	struct reason why;
	int r;
};

static int read_file(struct reading *reading, int root)
{
	struct stat st;
	int fd, r = io_open_file(root, reading->rel, O_RDONLY, &fd, &st, &reading->why);

	if (r)
		return r;
	reading->id = io_file_id(fd, "");
	if (st.st_size > LIVE_MAX) {
		reason_set(&reading->why, "is too large to be drawn");
		r = REFUSED;
	} else {
		r = rrd_read(&reading->db, fd, &reading->why);
	}
	close(fd);
	return r;
}

static void read_live(void *arg)
{
	struct reading *reading = arg;
	int root = io_open_root(reading->live);

	if (root < 0) {
		reading->r = reason_errno(&reading->why, -root, "tree cannot be opened");
		return;
	}
	reading->r = -ESTALE;
	for (int i = 0; i < TRIES && reading->r == -ESTALE; i++)
		reading->r = read_file(reading, root);
	close(root);
}

static void reading_drop(void *arg)
{
	struct reading *reading = arg;

	rrd_free(&reading->db);
	free(reading->live);
	free(reading->rel);
	free(reading);
}

static struct reading *reading_new(const struct showing *show)
{
	struct reading *reading = calloc(1, sizeof(*reading));

	if (!reading)
		return NULL;
	reading->live = strdup(show->live);
	reading->rel = strdup(show->rel);
	if (reading->live && reading->rel)
		return reading;
	reading_drop(reading);
	return NULL;
}

static int put_line(struct control_call *call, const struct chart_line *line)
{
	char when[32];

	control_record(call);
	control_put(call, "archives", line->functions);
	control_number(call, "resolution", line->resolution);
	control_number(call, "rows", (long long)line->rows);
	control_number(call, "from", line->from);
	control_number(call, "to", line->to);
	commands_time(line->from * 1000, when, sizeof(when));
	control_put(call, "from_time", when);
	commands_time(line->to * 1000, when, sizeof(when));
	control_put(call, "to_time", when);
	for (int kind = 0; kind < TIMELINE_KINDS; kind++)
		control_number(call, timeline_name((enum timeline_kind)kind),
			       (long long)line->cells[kind]);
	return control_put(call, "line", line->letters);
}

static int put_lines(struct showing *show, const struct rrd *db, uint64_t id)
{
	struct givers *givers = &show->givers;
	struct chart chart = { 0 };
	int r = givers_take(givers, books_ledger(show->c->books), show->entry, show->entries, db,
			    id);

	if (!r)
		r = chart_make(db, givers->run, givers->runs, show->columns, &chart);
	show->drawn = !r && show->c->books;
	givers_share(givers, &chart);
	for (size_t i = 0; i < chart.lines && !r; i++)
		r = put_line(show->call, &chart.line[i]);
	chart_free(&chart);
	return r;
}

static int put_no_line(struct showing *show, const char *why)
{
	control_record(show->call);
	return control_putf(show->call, "no_line", "live %s", why);
}

static int put_chart(struct showing *show)
{
	struct reading *reading = reading_new(show);
	struct patience *patience = NULL;
	int r = reading ? patience_begin(read_live, reading_drop, reading, &patience) : -ENOMEM;

	if (!r)
		r = await(show->call, patience, until(show));
	if (is_silent(r))
		r = put_no_line(show, NO_ANSWER);
	else if (!r && reading->r)
		r = put_no_line(show, reading->why.text[0] ? reading->why.text
				: strerror(reading->r < 0 ? -reading->r : EINVAL));
	else if (!r)
		r = put_lines(show, &reading->db, reading->id);
	patience_end(patience);
	return r;
}

/* ---- the command ---- */

static int show_all(struct showing *show)
{
	int r = put_standing(show);

	if (!r)
		r = take_history(show);
	if (!r && show->item.state != TALLY_IS_WAITING && show->item.state != TALLY_IS_FORGOTTEN)
		r = put_chart(show);
	return r ? r : put_sources(show);
}

int commands_show(struct control_call *call, int argc, char **argv, void *arg)
{
	struct showing show = { .call = call, .c = arg, .columns = COLUMNS_DEFAULT };
	char *end;
	int r;

	if (argc > 2) {
		show.columns = strtoul(argv[2], &end, 10);
		if (*end || show.columns < TIMELINE_COLUMNS_MIN ||
		    show.columns > TIMELINE_COLUMNS_MAX)
			return control_fail(call, WIRE_USAGE "a time line has %d to %d columns, not "
					    "%.32s", TIMELINE_COLUMNS_MIN, TIMELINE_COLUMNS_MAX,
					    argv[2]);
	}
	r = take(&show, argv[1]);
	if (!r && !commands_is_plain(show.rel))
		r = commands_not_plain(call, show.c, argv[1]);
	else if (!r && !show.known)
		r = control_fail(call, "%s: no such file is known, neither in the live tree nor in a "
				 "backup; \"rrdmergctl list '*%s*'\" looks for others", show.rel,
				 strrchr(show.rel, '/') ? strrchr(show.rel, '/') + 1 : show.rel);
	if (!r)
		r = show_all(&show);
	drop(&show);
	return r;
}
