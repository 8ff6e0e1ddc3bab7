#include "config.h"

#include "oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHOWN 8         /* differences printed of one file */
#define HANGS 900       /* seconds after which a program that hangs is ended */
#define READONLY 1      /* rrdtool src/rrd_tool.h, RRD_READONLY: not in the installed headers */

/* rrd_open is marked as librrd's own business; for its own reading of a header there is no other
 * way.  The files are of our making, never hostile. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

/* librrd 1.7.2 loses a few bytes of each file of version 0001 or 0002 that it opens: for the leak
 * checker of a sanitized build, which asks for this by name. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:librrd";
}

const char *__lsan_default_options(void)
{
	return "print_suppressions=0";
}

void oracle_die(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

void *oracle_alloc(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size ? size : 1);

	if (!p)
		oracle_die("out of memory");
	return p;
}

uint64_t oracle_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

uint8_t *oracle_slurp(const char *path, size_t *ret_size)
{
	struct stat st;
	uint8_t *bytes;
	size_t have = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0)
		oracle_die("%s: %s", path, strerror(errno));
	bytes = oracle_alloc((size_t)st.st_size, 1);
	while (have < (size_t)st.st_size) {
		ssize_t n = pread(fd, bytes + have, (size_t)st.st_size - have, (off_t)have);

		if (n <= 0)
			oracle_die("%s: cannot read at %zu", path, have);
		have += (size_t)n;
	}
	close(fd);
	*ret_size = have;
	return bytes;
}

static void write_all(const char *path, int flags, const uint8_t *bytes, size_t size)
{
	size_t done = 0;
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);

	if (fd < 0)
		oracle_die("%s: %s", path, strerror(errno));
	while (done < size) {
		ssize_t n = write(fd, bytes + done, size - done);

		if (n <= 0)
			oracle_die("%s: cannot write: %s", path, strerror(errno));
		done += (size_t)n;
	}
	if (ftruncate(fd, (off_t)size) < 0 || close(fd) < 0)
		oracle_die("%s: %s", path, strerror(errno));
}

void oracle_spill(const char *path, const void *bytes, size_t size)
{
	write_all(path, O_CREAT | O_TRUNC, bytes, size);
}

void oracle_overwrite(const char *path, const void *bytes, size_t size)
{
	write_all(path, 0, bytes, size);
}

void oracle_copy(const char *from, const char *to)
{
	size_t size;
	uint8_t *bytes = oracle_slurp(from, &size);

	oracle_spill(to, bytes, size);
	free(bytes);
}

void oracle_create(const char *path, unsigned long step, time_t start, const char *const *argv,
		   size_t argc)
{
	rrd_clear_error();
	if (rrd_create_r(path, step, start, (int)argc, (const char **)(uintptr_t)argv))
		oracle_die("cannot create %s: %s", path, rrd_get_error());
}

void oracle_fill(struct oracle *db, uint64_t *state)
{
	for (uint64_t rra = 0; rra < db->rra_cnt; rra++)
		for (uint64_t slot = 0; slot < db->rra[rra].row_cnt; slot++)
			for (uint64_t ds = 0; ds < db->ds_cnt; ds++) {
				double value = (double)(oracle_random(state) % 1000000) / 7;

				if (slot != db->ptr[rra].cur_row)
					memcpy(db->bytes + oracle_cell(db, rra, slot, ds), &value,
					       sizeof(value));
			}
}

static void *copy_of(const void *bytes, size_t count, size_t size)
{
	void *p = oracle_alloc(count, size);

	memcpy(p, bytes, count * size);
	return p;
}

/* The formulas of COMPUTE data sources, in names, from rrd_info_r. */
static int read_formulas(struct oracle *db, const char *path)
{
	rrd_info_t *info = NULL;
	bool any = false;

	db->rpn = oracle_alloc(db->ds_cnt, sizeof(*db->rpn));
	for (uint64_t i = 0; i < db->ds_cnt; i++)
		any |= strcmp(db->ds[i].dst, "COMPUTE") == 0;
	if (!any)
		return 0;
	rrd_clear_error();
	info = rrd_info_r(path);
	if (!info) {
		fprintf(stderr, "%s: rrd_info: %s\n", path, rrd_get_error());
		return -1;
	}
	for (uint64_t i = 0; i < db->ds_cnt; i++) {
		char key[64];

		snprintf(key, sizeof(key), "ds[%s].cdef", db->ds[i].ds_nam);
		for (rrd_info_t *at = info; at; at = at->next)
			if (!db->rpn[i] && at->type == RD_I_STR && strcmp(at->key, key) == 0)
				db->rpn[i] = strdup(at->value.u_str);
	}
	rrd_info_free(info);
	return 0;
}

static void copy_header(struct oracle *db, const rrd_t *rrd, size_t header_len)
{
	size_t at = header_len;

	db->header_len = header_len;
	db->ds_cnt = rrd->stat_head->ds_cnt;
	db->rra_cnt = rrd->stat_head->rra_cnt;
	db->step = rrd->stat_head->pdp_step;
	db->last_up = rrd->live_head->last_up;
	db->ds = copy_of(rrd->ds_def, db->ds_cnt, sizeof(*db->ds));
	db->rra = copy_of(rrd->rra_def, db->rra_cnt, sizeof(*db->rra));
	db->ptr = copy_of(rrd->rra_ptr, db->rra_cnt, sizeof(*db->ptr));
	db->offset = oracle_alloc(db->rra_cnt, sizeof(*db->offset));
	for (uint64_t i = 0; i < db->rra_cnt; i++) {
		db->offset[i] = at;
		at += db->rra[i].row_cnt * db->ds_cnt * sizeof(rrd_value_t);
	}
	db->rows_end = at;
}

int oracle_read(struct oracle *db, const char *path)
{
	rrd_t rrd;
	rrd_file_t *file;

	memset(db, 0, sizeof(*db));
	rrd_clear_error();
	rrd_init(&rrd);
	file = rrd_open(path, &rrd, READONLY);
	if (!file) {
		fprintf(stderr, "%s: %s\n", path, rrd_get_error());
		rrd_free(&rrd);
		return -1;
	}
	copy_header(db, &rrd, (size_t)file->header_len);
	rrd_free(&rrd);
	rrd_close(file);
	if (stat(path, &db->st) < 0)
		oracle_die("%s: %s", path, strerror(errno));
	db->bytes = oracle_slurp(path, &db->size);
	if (db->size < db->rows_end) {
		fprintf(stderr, "%s: shorter than its rows\n", path);
		oracle_free(db);
		return -1;
	}
	if (read_formulas(db, path) < 0) {
		oracle_free(db);
		return -1;
	}
	return 0;
}

void oracle_free(struct oracle *db)
{
	for (uint64_t i = 0; db->rpn && i < db->ds_cnt; i++)
		free(db->rpn[i]);
	free(db->rpn);
	free(db->bytes);
	free(db->ds);
	free(db->rra);
	free(db->ptr);
	free(db->offset);
	memset(db, 0, sizeof(*db));
}

int64_t oracle_resolution(const struct oracle *db, uint64_t rra)
{
	return (int64_t)(db->step * db->rra[rra].pdp_cnt);
}

static int64_t newest(const struct oracle *db, uint64_t rra)
{
	return db->last_up - db->last_up % oracle_resolution(db, rra);
}

/* rrd_dump.c prints the rows from cur_row + 1 on, oldest first, and the last of them, cur_row
 * itself, with the newest time. */
int64_t oracle_time(const struct oracle *db, uint64_t rra, uint64_t slot)
{
	uint64_t rows = db->rra[rra].row_cnt;
	uint64_t age = (db->ptr[rra].cur_row + rows - slot) % rows;

	return newest(db, rra) - (int64_t)age * oracle_resolution(db, rra);
}

int64_t oracle_slot(const struct oracle *db, uint64_t rra, int64_t time)
{
	int64_t resolution = oracle_resolution(db, rra);
	int64_t back = newest(db, rra) - time;
	uint64_t rows = db->rra[rra].row_cnt;

	if (back < 0 || back % resolution || (uint64_t)(back / resolution) >= rows)
		return -1;
	return (int64_t)((db->ptr[rra].cur_row + rows - (uint64_t)(back / resolution)) % rows);
}

size_t oracle_cell(const struct oracle *db, uint64_t rra, uint64_t slot, uint64_t ds)
{
	return db->offset[rra] + (slot * db->ds_cnt + ds) * sizeof(double);
}

double oracle_value(const uint8_t *bytes, size_t offset)
{
	double value;

	memcpy(&value, bytes + offset, sizeof(value));
	return value;
}

static bool same_kind(const struct oracle *a, uint64_t i, const struct oracle *b, uint64_t j)
{
	return strcmp(a->rra[i].cf_nam, b->rra[j].cf_nam) == 0 &&
	       oracle_resolution(a, i) == oracle_resolution(b, j);
}

/* At one PDP a row all CFs hold the same, and rrd_fetch takes whichever comes first. */
static bool confusable(const struct oracle *db, uint64_t i, uint64_t j)
{
	return same_kind(db, i, db, j) ||
	       (db->rra[i].pdp_cnt == 1 && db->rra[j].pdp_cnt == 1);
}

/* An RRA of AVERAGE, MIN, MAX or LAST that fetch cannot confuse with another. */
static int64_t plain_rra(const struct oracle *db, uint64_t first)
{
	for (uint64_t k = 0; k < db->rra_cnt; k++) {
		uint64_t i = (first + k) % db->rra_cnt;
		bool alone = true;

		for (uint64_t j = 0; j < db->rra_cnt; j++)
			alone &= j == i || !confusable(db, i, j);
		if (alone && (strcmp(db->rra[i].cf_nam, "AVERAGE") == 0 ||
			      strcmp(db->rra[i].cf_nam, "MIN") == 0 ||
			      strcmp(db->rra[i].cf_nam, "MAX") == 0 ||
			      strcmp(db->rra[i].cf_nam, "LAST") == 0))
			return (int64_t)i;
	}
	return -1;
}

static uint64_t compare_fetched(const struct oracle *db, uint64_t rra, const char *path,
				time_t start, time_t end, unsigned long step,
				const rrd_value_t *data)
{
	uint64_t wrong = 0;

	for (time_t t = start + (time_t)step; t <= end; t += (time_t)step) {
		int64_t slot = oracle_slot(db, rra, t);

		for (uint64_t ds = 0; ds < db->ds_cnt; ds++, data++) {
			double ours = slot < 0 ? NAN : oracle_value(db->bytes,
				oracle_cell(db, rra, (uint64_t)slot, ds));

			if ((isnan(ours) && isnan(*data)) || memcmp(&ours, data, sizeof(ours)) == 0)
				continue;
			if (!wrong++)
				fprintf(stderr, "%s: rra %" PRIu64 " ds %s time %jd: fetch says"
					" %.17g, we read %.17g\n", path, rra,
					db->ds[ds].ds_nam, (intmax_t)t, *data, ours);
		}
	}
	return wrong;
}

int oracle_fetch_check(const struct oracle *db, const char *path, uint64_t first)
{
	int64_t chosen = plain_rra(db, first % db->rra_cnt);
	uint64_t rra = (uint64_t)chosen;
	unsigned long step, ds_cnt;
	time_t start, end;
	char **names = NULL;
	rrd_value_t *data = NULL;
	uint64_t wrong;

	if (chosen < 0)
		return 0;
	step = (unsigned long)oracle_resolution(db, rra);
	end = newest(db, rra);
	start = end - (time_t)(step * db->rra[rra].row_cnt);
	rrd_clear_error();
	if (rrd_fetch_r(path, db->rra[rra].cf_nam, &start, &end, &step, &ds_cnt, &names, &data)) {
		fprintf(stderr, "%s: rrd_fetch: %s\n", path, rrd_get_error());
		return -1;
	}
	wrong = step != (unsigned long)oracle_resolution(db, rra) || ds_cnt != db->ds_cnt;
	if (wrong)
		fprintf(stderr, "%s: fetch chose another RRA than %" PRIu64 "\n", path, rra);
	else
		wrong = compare_fetched(db, rra, path, start, end, step, data);
	for (unsigned long i = 0; i < ds_cnt; i++)
		free(names[i]);
	free(names);
	free(data);
	return wrong ? -1 : 0;
}

static bool is_phase_table(const rra_def_t *rra)
{
	return strcmp(rra->cf_nam, "SEASONAL") == 0 || strcmp(rra->cf_nam, "DEVSEASONAL") == 0;
}

/* map[live ds] = backup ds or −1.  Returns how many were found. */
static uint64_t match_sources(const struct oracle *live, const struct oracle *backup,
			      int64_t *map, unsigned *ret_refused)
{
	uint64_t found = 0;

	*ret_refused = 0;
	for (uint64_t i = 0; i < live->ds_cnt; i++) {
		map[i] = -1;
		for (uint64_t j = 0; j < backup->ds_cnt; j++) {
			if (strcmp(live->ds[i].ds_nam, backup->ds[j].ds_nam))
				continue;
			if (strcmp(live->ds[i].dst, backup->ds[j].dst) ||
			    (live->rpn[i] && strcmp(live->rpn[i], backup->rpn[j]))) {
				(*ret_refused)++;
				continue;
			}
			map[i] = (int64_t)j;
			found++;
			break;
		}
	}
	return found;
}

/* The first known cell that the backup holds for this one. */
static bool find_cell(const struct oracle *live, uint64_t rra, const struct oracle *backup,
		      uint64_t backup_ds, int64_t time, size_t *ret_offset)
{
	for (uint64_t j = 0; j < backup->rra_cnt; j++) {
		int64_t slot;

		if (!same_kind(live, rra, backup, j))
			continue;
		slot = oracle_slot(backup, j, time);
		if (slot < 0)
			continue;
		*ret_offset = oracle_cell(backup, j, (uint64_t)slot, backup_ds);
		if (!isnan(oracle_value(backup->bytes, *ret_offset)))
			return true;
	}
	return false;
}

static uint64_t expect_rra(const struct oracle *live, uint64_t rra, const struct oracle *backup,
			   const int64_t *map, uint8_t *expected)
{
	uint64_t cells = 0;

	for (uint64_t slot = 0; slot < live->rra[rra].row_cnt; slot++) {
		int64_t time = oracle_time(live, rra, slot);

		for (uint64_t ds = 0; ds < live->ds_cnt; ds++) {
			size_t at = oracle_cell(live, rra, slot, ds), from;

			if (map[ds] < 0 || !isnan(oracle_value(live->bytes, at)) ||
			    !find_cell(live, rra, backup, (uint64_t)map[ds], time, &from))
				continue;
			memcpy(expected + at, backup->bytes + from, sizeof(double));
			cells++;
		}
	}
	return cells;
}

struct oracle_outcome oracle_expect(const struct oracle *live, const struct oracle *backup,
				    uint8_t *expected)
{
	struct oracle_outcome outcome = { false, 0, 0 };
	int64_t *map = oracle_alloc(live->ds_cnt, sizeof(*map));
	bool common = false;

	memcpy(expected, live->bytes, live->size);
	if (!match_sources(live, backup, map, &outcome.ds_refused))
		outcome.refused = true;
	for (uint64_t i = 0; i < live->rra_cnt && !outcome.refused; i++) {
		bool shared = false;

		for (uint64_t j = 0; j < backup->rra_cnt; j++)
			shared |= same_kind(live, i, backup, j);
		if (!shared || is_phase_table(&live->rra[i]))
			continue;
		common = true;
		outcome.cells += expect_rra(live, i, backup, map, expected);
	}
	outcome.refused |= !common;
	free(map);
	return outcome;
}

static void print_cell(FILE *out, const char *what, const uint8_t *bytes, size_t at)
{
	uint64_t bits;

	memcpy(&bits, bytes + at, sizeof(bits));
	fprintf(out, "%s %.17g (%016" PRIx64 ")", what, oracle_value(bytes, at), bits);
}

/* Says where in the file a differing byte stands. */
static void describe(const struct oracle *db, size_t at, const uint8_t *expected,
		     const uint8_t *after, const char *label, FILE *out)
{
	uint64_t rra = 0, cell;

	if (at < db->header_len || at >= db->rows_end) {
		fprintf(out, "%s: %s byte %zu is %02x, must be %02x\n", label,
			at < db->header_len ? "header" : "trailing", at, after[at], expected[at]);
		return;
	}
	while (rra + 1 < db->rra_cnt && at >= db->offset[rra + 1])
		rra++;
	cell = (at - db->offset[rra]) / sizeof(double);
	at = db->offset[rra] + cell * sizeof(double);
	fprintf(out, "%s: rra %" PRIu64 " (%s, %jd s) ds %s time %jd:", label, rra,
		db->rra[rra].cf_nam, (intmax_t)oracle_resolution(db, rra),
		db->ds[cell % db->ds_cnt].ds_nam,
		(intmax_t)oracle_time(db, rra, cell / db->ds_cnt));
	print_cell(out, " is", after, at);
	print_cell(out, ", must be", expected, at);
	print_cell(out, ", was", db->bytes, at);
	fputc('\n', out);
}

uint64_t oracle_compare(const struct oracle *before, const uint8_t *expected,
			const uint8_t *after, size_t after_size, const char *label, FILE *out)
{
	uint64_t differ = 0;
	size_t at = 0;

	if (after_size != before->size) {
		fprintf(out, "%s: size is %zu, must be %zu\n", label, after_size, before->size);
		return 1;
	}
	while (at < after_size) {
		size_t next = at + 1;

		if (at >= before->header_len && at < before->rows_end)
			next = at + sizeof(double);
		if (memcmp(after + at, expected + at, next - at)) {
			if (differ++ < SHOWN)
				describe(before, at, expected, after, label, out);
		}
		at = next;
	}
	if (differ > SHOWN)
		fprintf(out, "%s: %" PRIu64 " differences in all\n", label, differ);
	return differ;
}

static void understand(struct oracle_summary *s, const char *path)
{
	size_t size;
	char *text = (char *)oracle_slurp(path, &size), *copy, *line;

	while (size && text[size - 1] == '\n')
		size--;
	copy = oracle_alloc(size + 1, 1);
	memcpy(copy, text, size);
	line = strrchr(copy, '\n');
	line = line ? line + 1 : copy;
	s->understood = sscanf(line, "%lu merged, %lu unchanged, %lu skipped, %lu failed; %llu"
			       " cells", &s->merged, &s->unchanged, &s->skipped, &s->failed,
			       &s->cells) == 5;
	free(copy);
	free(text);
}

struct oracle_summary oracle_run(const char *const *argv, const char *dir)
{
	struct oracle_summary s = { -1, 0, 0, 0, 0, 0, false };
	char out[1024], err[1024];
	int status;
	pid_t pid;

	snprintf(out, sizeof(out), "%s/out", dir);
	snprintf(err, sizeof(err), "%s/err", dir);
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		oracle_die("fork: %s", strerror(errno));
	if (pid == 0) {
		if (!freopen(out, "w", stdout) || !freopen(err, "w", stderr))
			_exit(126);
		alarm(HANGS);
		execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			oracle_die("waitpid: %s", strerror(errno));
	if (WIFEXITED(status))
		s.status = WEXITSTATUS(status);
	if (s.status == 126 || s.status == 127)
		oracle_die("cannot run %s", argv[0]);
	understand(&s, out);
	return s;
}
