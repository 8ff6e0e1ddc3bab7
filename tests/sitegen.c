/* sitegen: trees of RRD files in the shape that pnp4nagios gives them, made fast.
 *
 *     sitegen pnp DIR --files N [--ds D] [--end TIME] [--days DAYS]
 *
 * N files with D data sources and pnp4nagios' default archives, 20 services a host, updated for
 * DAYS (a fraction is fine) up to TIME (seconds since the epoch).  A backup and the live tree of
 * the server that followed it are two calls with different times.
 *
 * One file is made with librrd, update by update; the others are copies of it in which the last
 * bits of each value differ, but for the rows written last: what stands there must agree with the
 * header. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oracle.h"

#define PATH_SIZE 512
#define DS_MAX 32
#define AT_ONCE 64
#define DAY 86400
#define SERVICES 20             /* of one host */

static struct {
	const char *dir;
	unsigned long files, ds;
	time_t end;
	double days;
} opt = { .files = 20, .ds = 2, .end = 1700000000, .days = 30 };

static void create(const char *path, time_t start)
{
	static const char *const cfs[] = { "AVERAGE", "MAX", "MIN" };
	static const char *const rows[] = { "1:2880", "5:2880", "30:4320", "360:5840" };
	char text[DS_MAX + 12][64];
	const char *argv[DS_MAX + 12];
	int argc = 0;

	for (unsigned long i = 1; i <= opt.ds; i++)
		snprintf(text[argc++], sizeof(text[0]), "DS:%lu:GAUGE:8460:U:U", i);
	for (unsigned cf = 0; cf < 3; cf++)
		for (unsigned i = 0; i < 4; i++)
			snprintf(text[argc++], sizeof(text[0]), "RRA:%s:0.5:%s", cfs[cf], rows[i]);
	for (int i = 0; i < argc; i++)
		argv[i] = text[i];
	oracle_create(path, 60, start, argv, (size_t)argc);
}

/* Only as often as the finest ring that still holds that time can show. */
static time_t interval(time_t age)
{
	if (age > 11 * DAY)
		return 1800;
	return age > 3 * DAY ? 300 : 60;
}

static void update(const char *path, time_t start)
{
	static char text[AT_ONCE][DS_MAX * 16 + 24];
	const char *argv[AT_ONCE];
	time_t now = start;

	while (now < opt.end) {
		int argc = 0;

		for (; argc < AT_ONCE && now < opt.end; argc++) {
			int at;

			now += interval(opt.end - now);
			at = snprintf(text[argc], sizeof(text[0]), "%jd", (intmax_t)now);
			for (unsigned long i = 0; i < opt.ds; i++) {
				double phase = (double)(now % DAY) / DAY * 2 * M_PI + (double)i;

				at += snprintf(text[argc] + at, sizeof(text[0]) - (size_t)at, ":%.3f",
					       100 + 40 * sin(phase) + (double)(now / 60 % 17));
			}
			argv[argc] = text[argc];
		}
		rrd_clear_error();
		if (rrd_update_r(path, NULL, argc, argv))
			oracle_die("cannot update %s: %s", path, rrd_get_error());
	}
}

/* The bytes of file number n. */
static void vary(const struct oracle *model, uint8_t *bytes, uint64_t n)
{
	uint64_t change = n * UINT64_C(0x9E3779B97F4A7C15) & 0xFFFFF;

	memcpy(bytes, model->bytes, model->size);
	for (uint64_t rra = 0; rra < model->rra_cnt; rra++)
		for (uint64_t slot = 0; slot < model->rra[rra].row_cnt; slot++)
			for (uint64_t ds = 0; ds < model->ds_cnt; ds++) {
				size_t at = oracle_cell(model, rra, slot, ds);
				uint64_t bits;

				if (slot == model->ptr[rra].cur_row ||
				    isnan(oracle_value(bytes, at)))
					continue;
				memcpy(&bits, bytes + at, sizeof(bits));
				bits ^= change;
				memcpy(bytes + at, &bits, sizeof(bits));
			}
}

static void make_dir(const char *path)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		oracle_die("%s: %s", path, strerror(errno));
}

static void parse(int argc, char **argv)
{
	if (argc < 3 || strcmp(argv[1], "pnp"))
		oracle_die("usage: sitegen pnp DIR [--files N] [--ds D] [--end TIME] [--days DAYS]");
	opt.dir = argv[2];
	for (int i = 3; i < argc; i += 2) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--files") == 0)
			opt.files = strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--ds") == 0)
			opt.ds = strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--end") == 0)
			opt.end = (time_t)strtoll(value, NULL, 10);
		else if (strcmp(argv[i], "--days") == 0)
			opt.days = atof(value);
		else
			oracle_die("unknown option %s", argv[i]);
	}
	if (opt.ds < 1 || opt.ds > DS_MAX || opt.days < 0 || opt.end < 500000000)
		oracle_die("a number is out of range");
}

int main(int argc, char **argv)
{
	struct oracle model;
	char path[PATH_SIZE];
	time_t start;
	uint8_t *bytes;

	parse(argc, argv);
	make_dir(opt.dir);
	start = opt.end - (time_t)(opt.days * DAY);
	snprintf(path, sizeof(path), "%.400s/model.rrd", opt.dir);
	create(path, start);
	update(path, start);
	if (oracle_read(&model, path) < 0)
		return 2;
	unlink(path);
	bytes = oracle_alloc(model.size, 1);
	for (unsigned long n = 0; n < opt.files; n++) {
		snprintf(path, sizeof(path), "%.400s/host%04lu", opt.dir, n / SERVICES);
		make_dir(path);
		snprintf(path, sizeof(path), "%.400s/host%04lu/Service_%02lu.rrd", opt.dir,
			 n / SERVICES, n % SERVICES);
		vary(&model, bytes, n);
		oracle_spill(path, bytes, model.size);
	}
	free(bytes);
	oracle_free(&model);
	return 0;
}
