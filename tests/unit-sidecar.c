/* unit-sidecar: pnp4nagios' sidecars, as it writes them and as nobody would; which tells of what. */
#include "config.h"
#include "sidecar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "awaited.h"
#include "layout.h"
#include "pnp.h"
#include "scratch.h"

#define HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<NAGIOS>\n"
#define TAIL "  <XML>\n   <VERSION>4</VERSION>\n  </XML>\n</NAGIOS>\n"
#define STATE(rc) "  <RRD>\n    <RC>" rc "</RC>\n    <TXT>what came of it</TXT>\n  </RRD>\n"
#define VALUE(file, storage, name, label, unit) \
	"  <DATASOURCE>\n    <TEMPLATE>check_any</TEMPLATE>\n" \
	"    <RRDFILE>" file "</RRDFILE>\n    <RRD_STORAGE_TYPE>" storage "</RRD_STORAGE_TYPE>\n" \
	"    <IS_MULTI>0</IS_MULTI>\n    <DS>1</DS>\n    <NAME>" name "</NAME>\n" \
	"    <LABEL>" label "</LABEL>\n    <UNIT>" unit "</UNIT>\n    <ACT>1</ACT>\n" \
	"    <MAX></MAX>\n  </DATASOURCE>\n"
#define SINGLE(service, name) VALUE("/old/perfdata/host/" service ".rrd", "SINGLE", name, name, "s")
#define MULTIPLE(service, name) \
	VALUE("/old/perfdata/host/" service "_" name ".rrd", "MULTIPLE", name, name, "s")

#define ANY "<DATASOURCE>\n</DATASOURCE>\n"

static int root = -1;

static int setup(void **state)
{
	(void)state;
	if (scratch_make())
		return -1;
	root = io_open_root(scratch_dir);
	return root < 0 ? -1 : mkdir(scratch("host"), 0755);
}

static int teardown(void **state)
{
	(void)state;
	close(root);
	return scratch_remove();
}

static void spill(const char *rel, const void *bytes, size_t size)
{
	FILE *out = fopen(scratch(rel), "w");

	assert_non_null(out);
	assert_int_equal(fwrite(bytes, 1, size, out), size);
	assert_int_equal(fclose(out), 0);
}

static void put(const char *rel, const char *text)
{
	spill(rel, text, strlen(text));
}

static void put_gz(const char *rel, const char *text)
{
	gzFile out = gzopen(scratch(rel), "wb");

	assert_non_null(out);
	assert_int_equal(gzwrite(out, text, (unsigned)strlen(text)), strlen(text));
	assert_int_equal(gzclose(out), 0);
}

static int read_bytes(const void *bytes, size_t size, struct sidecar *ret, struct reason *why)
{
	spill("one.xml", bytes, size);
	int fd = open(scratch("one.xml"), O_RDONLY);
	assert_true(fd >= 0);
	int r = sidecar_read(fd, ret, why);
	close(fd);
	return r;
}

/* Reads and expects `result`; `words` must stand in the reason. */
static void assert_read(const void *bytes, size_t size, int result, const char *words)
{
	struct sidecar sidecar = { 0 };
	struct reason why = { "" };

	assert_int_equal(read_bytes(bytes, size, &sidecar, &why), result);
	if (!strstr(why.text, words))
		fail_msg("\"%s\" and not \"%s\"", why.text, words);
	if (!result)
		sidecar_free(&sidecar);
	else
		assert_null(sidecar.bytes);     /* untouched */
}

#define READ(text, result, words) assert_read(text, strlen(text), result, words)

static void test_read(void **state)
{
	static const char text[] = HEAD
		VALUE("/a/b/C___Drive.rrd", "SINGLE", "C___used", "C:\\ used", "MB")
		VALUE("/a/b/C___Drive.rrd", "SINGLE", "a<b>", "a<b>", "%%")
		VALUE("/a/b/C___Drive.rrd", "SINGLE", "x_y", "xy</LABEL>", "")
		VALUE("plain.rrd", "MULTIPLE", "\xc3\xa9", "\xc3\xa9 \xff", "c")
		STATE("1") "  <NAGIOS_TIMET>1</NAGIOS_TIMET>\n" TAIL;
	struct sidecar sidecar;
	struct reason why;

	(void)state;
	assert_int_equal(read_bytes(text, strlen(text), &sidecar, &why), 0);
	assert_int_equal(sidecar.count, 4);
	assert_true(sidecar.failed);
	assert_string_equal(sidecar.ds[0].file, "C___Drive.rrd");
	assert_string_equal(sidecar.ds[0].name, "C___used");
	assert_string_equal(sidecar.ds[0].label, "C:\\ used");
	assert_string_equal(sidecar.ds[0].unit, "MB");
	assert_false(sidecar.ds[0].multiple);
	assert_string_equal(sidecar.ds[1].label, "a<b>");
	assert_string_equal(sidecar.ds[2].label, "xy</LABEL>");
	assert_string_equal(sidecar.ds[2].unit, "");
	assert_string_equal(sidecar.ds[3].file, "plain.rrd");
	assert_string_equal(sidecar.ds[3].label, "\xc3\xa9 \xff");
	assert_true(sidecar.ds[3].multiple);
	assert_int_equal(sidecar.stamp.size, strlen(text));
	sidecar_free(&sidecar);
	sidecar_free(&sidecar);
}

/* As nobody writes it, but whoever copies files may leave it. */
static void test_tolerant(void **state)
{
	static const char *const good[] = {
		"<NAGIOS>\n" ANY "</NAGIOS>",
		"\xef\xbb\xbf\n\n" HEAD ANY "</NAGIOS>",
		"<?xml?>\n<!-- -->\n" HEAD ANY "</NAGIOS>",
		/* A label may have any form, too. */
		HEAD SINGLE("svc", "<rrd>") TAIL,
		HEAD ANY "no line of ours\n<RRD>\n</RRD>\n<\n<>\n</>\n<NAME>\n" TAIL
			"<DATASOURCE>\n",
		/* An error's text may have any form. */
		HEAD "  <RRD>\n    <RC>256</RC>\n    <TXT>two\nlines</TXT>\n  </RRD>\n" ANY TAIL,
	};
	static const char returns[] = "<?xml?>\r\n<NAGIOS>\r\n<DATASOURCE>\r\n<NAME>a</NAME>\r\n"
		"</DATASOURCE>\r\n</NAGIOS>\r\n";
	struct sidecar sidecar;
	struct reason why;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		READ(good[i], 0, "");
	assert_int_equal(read_bytes(returns, strlen(returns), &sidecar, &why), 0);
	assert_int_equal(sidecar.count, 1);
	assert_string_equal(sidecar.ds[0].name, "a");
	assert_string_equal(sidecar.ds[0].label, "");
	assert_null(sidecar.ds[0].file);
	assert_false(sidecar.failed);
	sidecar_free(&sidecar);
	/* Half a tag is none. */
	static const char half[] = HEAD "<DATASOURCE>\n<NAME>a</NAM>\n<LABEL></LABEL\n<UNIT></UNIT>"
		"\n<NAME></UNIT>\n</DATASOURCE>\n" STATE("0") TAIL;
	assert_int_equal(read_bytes(half, strlen(half), &sidecar, &why), 0);
	assert_string_equal(sidecar.ds[0].name, "");
	assert_string_equal(sidecar.ds[0].label, "");
	assert_false(sidecar.failed);
	sidecar_free(&sidecar);
}

/* Only what is plainly rrdtool's dump is none of ours; all else stands where a sidecar should. */
static void test_something_else(void **state)
{
	static const char *const dump[] = {
		"<rrd>\n<NAGIOS>\n</NAGIOS>\n", "<rrd/>", "<!DOCTYPE rrd",
		"\xef\xbb\xbf <?xml?><!-- a\n<NAGIOS>\n b --><!DOCTYPE x\n><rrd\n",
		"<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<!DOCTYPE rrd SYSTEM "
			"\"http://oss.oetiker.ch/rrdtool/rrdtool.dtd\">\n"
			"<!-- Round Robin Database Dump -->\n<rrd>\n</rrd>\n",
	};
	static const char *const other[] = {
		"SQLite format 3", "<r", "<rrd", "<rrds>\n</rrds>\n", "x", "x\n" HEAD ANY TAIL,
		"<NAGIOSX>\n</NAGIOSX>\n", "<nagios>\n</nagios>\n", "<NAGIOS x=\"1\">\n",
		"=?xml?>\n<NAGIOS>\n" ANY TAIL, "<html>\n</html>\n",
		"<!-- a\nb -->\n" HEAD ANY TAIL,
		"=?xml?>\n<rrd>\n</rrd>\n", "<NAG\n" ANY TAIL,
	};
	static const char *const line[] = {
		"<?xml?><NAGIOS>\n" ANY TAIL, "<NAGIOS> \n" ANY TAIL,
		"<?xml?>\r<NAGIOS>\r<DATASOURCE>\r</DATASOURCE>\r</NAGIOS>\r",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(dump) / sizeof(*dump); i++)
		READ(dump[i], -ENOENT, "");
	for (size_t i = 0; i < sizeof(other) / sizeof(*other); i++)
		READ(other[i], REFUSED, "is damaged: it does not begin with <NAGIOS>");
	for (size_t i = 0; i < sizeof(line) / sizeof(*line); i++)
		READ(line[i], REFUSED, "is damaged: it does not have one element a line");
	READ("<?xml?>\n<!DOCTYPE r", REFUSED, "is damaged: it holds no whole element");
	/* However much stands before it. */
	char text[8000] = "<?xml?>\n";

	memset(text + strlen(text), '\n', 6000);
	strcat(text, HEAD ANY TAIL);
	READ(text, 0, "");
	/* It parses, and says nothing. */
	READ("<NAGIOS>\n</NAGIOS>", REFUSED, "is damaged: it lists no value");
	READ(HEAD STATE("0") TAIL, REFUSED, "is damaged: it lists no value");
}

static void test_damaged(void **state)
{
	static const char nul[] = HEAD "\0" TAIL, zeros[4096];
	static const char whole[] = HEAD SINGLE("svc", "a") STATE("0") TAIL;

	(void)state;
	/* Not even so far that it can be told whose it is. */
	READ("", REFUSED, "is damaged: it is empty");
	for (size_t len = 1; len < strlen(HEAD) - 1; len++)
		assert_read(HEAD, len, REFUSED, "is damaged: it ");
	READ("\n", REFUSED, "is damaged: it holds no whole element");
	READ("\xef\xbb\xbf<?xml?>\n <NAG", REFUSED, "is damaged: it holds no whole element");
	assert_read(zeros, sizeof(zeros), REFUSED, "is damaged: it holds no whole element");
	READ(HEAD, REFUSED, "is damaged: it ends in the middle");
	READ(HEAD "  <DATASOURCE>\n" TAIL, REFUSED, "it ends in the middle");
	assert_read(nul, sizeof(nul) - 1, REFUSED, "is damaged: it holds a NUL byte");
	READ(HEAD "<DATASOURCE>\n<NAME>a</NAME>\n<NAME>b</NAME>\n</DATASOURCE>\n" TAIL, REFUSED,
	     "is damaged: a value stands twice");
	READ(HEAD "<DATASOURCE>\n<RRDFILE>a</RRDFILE>\n<RRDFILE></RRDFILE>\n</DATASOURCE>\n" TAIL,
	     REFUSED, "is damaged: a value stands twice");
	/* Cut off anywhere, but for its very last byte. */
	for (size_t len = strlen(HEAD); len < strlen(whole) - 1; len++)
		assert_read(whole, len, REFUSED, "it ends in the middle");
	assert_read(whole, strlen(whole) - 1, 0, "");
}

static void test_sizes(void **state)
{
	size_t size = SIDECAR_SIZE_MAX + 1, at;
	char *bytes = malloc(size);
	struct sidecar sidecar;
	struct reason why;

	(void)state;
	assert_non_null(bytes);
	memset(bytes, 'x', size);
	memcpy(bytes, HEAD, strlen(HEAD));
	assert_read(bytes, size, REFUSED, "is larger than 4194304 bytes");
	/* As large as may be, most of it one value. */
	size--;
	at = strlen(HEAD);
	at += (size_t)sprintf(bytes + at, "<DATASOURCE>\n<LABEL>");
	bytes[at] = 'x';
	static const char end[] = "</LABEL>\n</DATASOURCE>\n</NAGIOS>";
	memcpy(bytes + size - strlen(end), end, strlen(end));
	assert_int_equal(read_bytes(bytes, size, &sidecar, &why), 0);
	assert_int_equal(strlen(sidecar.ds[0].label), size - strlen(end) - at);
	sidecar_free(&sidecar);
	/* As many values as an RRD can have data sources, and one more. */
	at = strlen(HEAD);
	for (unsigned i = 0; i <= LAYOUT_DS_MAX; i++) {
		if (i == LAYOUT_DS_MAX) {
			size_t keep = at;

			at += (size_t)sprintf(bytes + at, "</NAGIOS>");
			assert_int_equal(read_bytes(bytes, at, &sidecar, &why), 0);
			assert_int_equal(sidecar.count, LAYOUT_DS_MAX);
			sidecar_free(&sidecar);
			at = keep;
		}
		at += (size_t)sprintf(bytes + at, "<DATASOURCE>\n</DATASOURCE>\n");
	}
	at += (size_t)sprintf(bytes + at, "</NAGIOS>");
	assert_read(bytes, at, REFUSED, "more data sources than an RRD can have");
	free(bytes);
}

/* ---- whose it is ---- */

/* Finds the sidecar of `rel`, which must be that of `service`. */
static void assert_found(const char *rel, const char *service)
{
	struct sidecar sidecar;
	struct reason why = { "" };
	int r = pnp_find_sidecar(root, rel, &sidecar, &why);

	if (r)
		fail_msg("%s: %d %s", rel, r, why.text);
	assert_string_equal(sidecar.service, service);
	sidecar_free(&sidecar);
}

static void assert_not_found(const char *rel, int result, const char *words)
{
	struct sidecar sidecar;
	struct reason why = { "" };

	assert_int_equal(pnp_find_sidecar(root, rel, &sidecar, &why), result);
	if (!strstr(why.text, words))
		fail_msg("\"%s\" and not \"%s\"", why.text, words);
}

static void test_find(void **state)
{
	(void)state;
	put("host/svc.xml", HEAD SINGLE("svc", "a") SINGLE("svc", "b_c") TAIL);
	put("top.xml", HEAD SINGLE("top", "a") TAIL);
	put("host/many.xml", HEAD MULTIPLE("many", "a") MULTIPLE("many", "b_c") TAIL);
	put("host/_.xml", HEAD MULTIPLE("_", "_") TAIL);
	put("host/old.xml", HEAD "<DATASOURCE>\n<NAME>a</NAME>\n</DATASOURCE>\n" TAIL);
	put("host/host_svc.xml", HEAD SINGLE("host_svc", "a") TAIL);
	assert_found("host/svc.rrd", "svc");
	assert_found("top.rrd", "top");
	assert_found("host/many_a.rrd", "many");
	assert_found("host/many_b_c.rrd", "many");
	assert_found("host/___.rrd", "_");
	assert_found("host/old.rrd", "old");    /* RRDFILE came with pnp4nagios 0.6 */
	assert_found("host/host_svc.rrd", "host_svc");
	assert_not_found("host/svc_a.rrd", -ENOENT, "");        /* SINGLE: not its file */
	assert_not_found("host/many.rrd", -EXDEV,               /* MULTIPLE: nor this */
			 "host/many.xml tells of other files: its values are not kept in this one");
	assert_not_found("host/many_c.rrd", -ENOENT, "");
	assert_not_found("host/none.rrd", -ENOENT, "");
	assert_not_found("nowhere/svc.rrd", -ENOENT, "");
	assert_not_found("host/svc.xml", -ENOENT, "");
	assert_not_found("host/.rrd", -ENOENT, "");
	assert_not_found("../host/svc.rrd", -ENOENT, "");
}

/* The last part of RRDFILE is what counts, and must be the file's name. */
static void test_find_moved(void **state)
{
	(void)state;
	put("host/moved.xml", HEAD VALUE("D:\\x/../other host/moved.rrd", "SINGLE", "a", "a", "")
	    TAIL);
	put("host/renamed.xml", HEAD SINGLE("before", "a") TAIL);
	put("host/odd.xml", HEAD VALUE("/p/odd_a.rrd", "MULTIPLE", "b", "b", "")
	    VALUE("/p/", "MULTIPLE", "c", "c", "") VALUE("/p/odd_.rrd", "MULTIPLE", "", "", "")
	    VALUE("/p/odd_d.rrd", "multiple", "d", "d", "") TAIL);
	assert_found("host/moved.rrd", "moved");
	/* It stands there, and is another's or damaged: not the same as none. */
	assert_not_found("host/renamed.rrd", REFUSED,
			 "host/renamed.xml tells of a file that is not its own, \"before.rrd\"");
	assert_not_found("host/renamed_x.rrd", REFUSED, "not its own");
	assert_not_found("host/odd_a.rrd", REFUSED, "host/odd.xml tells of a file that is not its");
	assert_not_found("host/odd_b.rrd", REFUSED, "not its own");
	assert_not_found("host/odd_c.rrd", REFUSED, "not its own");
	assert_not_found("host/odd_.rrd", REFUSED, "not its own");
	assert_not_found("host/odd_d.rrd", REFUSED, "not its own");
}

static void test_find_bad(void **state)
{
	(void)state;
	put("host/torn.xml", HEAD SINGLE("torn", "a"));
	assert_not_found("host/torn.rrd", REFUSED, "host/torn.xml is damaged");
	/* It might tell of this one. */
	assert_not_found("host/torn_a.rrd", REFUSED, "host/torn.xml is damaged");
	assert_not_found("host/torn_.rrd", REFUSED, "host/torn.xml is damaged");
	assert_not_found("host/torna.rrd", -ENOENT, "");
	put("torn.xml", "");
	assert_not_found("torn.rrd", REFUSED, "torn.xml is damaged: it is empty");
	put("host/dump.xml", "<?xml version=\"1.0\"?>\n<rrd>\n</rrd>\n");
	assert_not_found("host/dump.rrd", -ENOENT, "");
	assert_int_equal(symlink("svc.xml", scratch("host/link.xml")), 0);
	assert_not_found("host/link.rrd", REFUSED, "host/link.xml is a symbolic link");
	assert_int_equal(mkfifo(scratch("host/fifo.xml"), 0600), 0);
	assert_not_found("host/fifo.rrd", REFUSED, "host/fifo.xml is a FIFO");
	assert_int_equal(mkdir(scratch("host/dir.xml"), 0700), 0);
	assert_not_found("host/dir.rrd", REFUSED, "host/dir.xml is a directory");
	/* Two services write the same file. */
	put("host/two.xml", HEAD MULTIPLE("two", "a") TAIL);
	put("host/two_a.xml", HEAD SINGLE("two_a", "x") TAIL);
	assert_not_found("host/two_a.rrd", -ENOTUNIQ,
			 "two sidecars that tell of it: two_a.xml and two.xml");
	/* The longer name is damaged, but the shorter one's values are whole. */
	put("host/two_a.xml", HEAD);
	assert_found("host/two_a.rrd", "two");
}

static void test_packed(void **state)
{
	static const char text[] = HEAD SINGLE("packed", "a") TAIL;

	(void)state;
	assert_int_equal(mkdir(scratch("gz"), 0755), 0);
	put_gz("gz/packed.xml.gz", text);
	assert_found("gz/packed.rrd", "packed");
	assert_true(pnp_sidecar_is_near(root, "gz/packed.rrd"));
	put_gz("gz/many.xml.gz", HEAD MULTIPLE("many", "a") TAIL);
	assert_found("gz/many_a.rrd", "many");
	assert_not_found("gz/many.rrd", -EXDEV, "gz/many.xml.gz tells of other files");
	/* Packed in its place, as a restore may have it. */
	put_gz("gz/inside.xml", HEAD SINGLE("inside", "a") TAIL);
	assert_found("gz/inside.rrd", "inside");
	/* The one that is written counts; of two others, nobody knows which. */
	put("gz/packed.xml", HEAD);
	assert_not_found("gz/packed.rrd", REFUSED, "gz/packed.xml is damaged");
	assert_int_equal(unlink(scratch("gz/packed.xml")), 0);
	put("gz/packed.xml.xz", text);
	assert_not_found("gz/packed.rrd", REFUSED,
			 "gz/packed.xml.xz stands there packed in two ways");
	/* Dumps are told apart there as well. */
	put("gz/packed.xml.xz", "<rrd>\n</rrd>\n");
	assert_found("gz/packed.rrd", "packed");
	put_gz("gz/packed.xml", "<rrd>\n</rrd>\n");
	assert_found("gz/packed.rrd", "packed");
	put("gz/torn.xml.gz", "\x1f\x8b\b");
	assert_not_found("gz/torn.rrd", REFUSED, "gz/torn.xml.gz is ");
	put("gz/odd.xml.gz", "BZh91AY&SY");
	assert_not_found("gz/odd.rrd", REFUSED, "gz/odd.xml.gz is packed by bzip2, which this");
}

/* ---- the other storage type ---- */

static char listed[512];

static int list(const char *rel, void *arg)
{
	(void)arg;
	strcat(strcat(listed, rel), " ");
	return 0;
}

static void assert_siblings(const char *live_text, const char *rel, const char *backup_rel,
			    const char *expected)
{
	struct sidecar live;
	struct reason why;

	put("live.xml", live_text);
	assert_int_equal(read_bytes(live_text, strlen(live_text), &live, &why), 0);
	const char *at = strrchr(rel, '/') + 1;
	strcpy(live.service, at);
	live.service[strcspn(at, "_.")] = '\0';
	listed[0] = '\0';
	assert_int_equal(pnp_siblings(&live, rel, root, backup_rel, list, NULL), 0);
	assert_string_equal(listed, expected);
	sidecar_free(&live);
}

static void test_siblings(void **state)
{
	static const char single[] = HEAD SINGLE("svc", "a") SINGLE("svc", "b_c") TAIL;
	static const char multiple[] = HEAD MULTIPLE("svc", "a") MULTIPLE("svc", "b_c") TAIL;

	(void)state;
	put("host/svc.xml", single);
	assert_siblings(multiple, "host/svc_a.rrd", "host/svc_a.rrd", "host/svc.rrd ");
	assert_siblings(multiple, "host/svc_b_c.rrd", "host/svc_b_c.rrd", "host/svc.rrd ");
	/* Not by the path alone: live's sidecar must know the name for this file, and so the backup's. */
	assert_siblings(HEAD MULTIPLE("svc", "x") TAIL, "host/svc_x.rrd", "host/svc_x.rrd", "");
	assert_siblings(multiple, "host/svc_x.rrd", "host/svc_x.rrd", "");
	assert_siblings(single, "host/svc.rrd", "host/svc.rrd", "");
	assert_siblings(multiple, "host/svc_a.rrd", "nowhere/svc_a.rrd", "");

	put("host/svc.xml", HEAD MULTIPLE("svc", "b_c") MULTIPLE("svc", "a") MULTIPLE("svc", "d")
	    VALUE("/p/other_a.rrd", "MULTIPLE", "a", "a", "")
	    VALUE("/p/svc_../../x.rrd", "MULTIPLE", "../../x", "a", "") TAIL);
	assert_siblings(single, "host/svc.rrd", "host/svc.rrd",
			"host/svc_b_c.rrd host/svc_a.rrd ");
	assert_siblings(multiple, "host/svc_a.rrd", "host/svc_a.rrd", "");
	assert_siblings(HEAD SINGLE("svc", "../../x") TAIL, "host/svc.rrd", "host/svc.rrd", "");

	/* Another host and another service there. */
	assert_int_equal(mkdir(scratch("was"), 0755), 0);
	put("was/before.xml", HEAD SINGLE("before", "a") TAIL);
	assert_siblings(multiple, "host/svc_a.rrd", "was/before_a.rrd", "was/before.rrd ");
	assert_siblings(multiple, "host/svc_a.rrd", "was/before_x.rrd", "");
	assert_siblings(multiple, "host/svc_a.rrd", "was/_a.rrd", "");
}

/* What is left of MULTIPLE, now that the service keeps all in one file. */
static void test_disowned(void **state)
{
	static const char live_text[] = HEAD MULTIPLE("kept", "a") TAIL;
	struct sidecar live;
	struct reason why = { "" };

	(void)state;
	assert_int_equal(read_bytes(live_text, strlen(live_text), &live, &why), 0);
	strcpy(live.service, "kept");
	put("host/kept.xml", HEAD SINGLE("kept", "b") TAIL);
	assert_true(pnp_disowns(&live, "host/kept_a.rrd", root, "host/kept_a.rrd", &why));
	assert_string_equal(why.text, "host/kept.xml tells of other files: its values are not kept "
				      "in this one now");
	assert_false(pnp_disowns(&live, "host/kept_a.rrd", root, "nowhere/kept_a.rrd", &why));
	/* Another host and another service there. */
	put("was/held.xml", HEAD SINGLE("held", "a") TAIL);
	assert_true(pnp_disowns(&live, "host/kept_a.rrd", root, "was/held_a.rrd", &why));
	assert_false(pnp_disowns(&live, "host/kept_a.rrd", root, "was/held_x.rrd", &why));
	/* Renamed, but of the same kind; or of both; or of none. */
	put("host/kept.xml", HEAD MULTIPLE("before", "a") TAIL);
	assert_false(pnp_disowns(&live, "host/kept_a.rrd", root, "host/kept_a.rrd", &why));
	put("host/kept.xml", HEAD SINGLE("kept", "a") MULTIPLE("kept", "b") TAIL);
	assert_false(pnp_disowns(&live, "host/kept_a.rrd", root, "host/kept_a.rrd", &why));
	put("host/kept.xml", HEAD TAIL);
	assert_false(pnp_disowns(&live, "host/kept_a.rrd", root, "host/kept_a.rrd", &why));
	/* Live's own service may well be called so. */
	strcpy(live.service, "kept_a");
	put("host/kept.xml", HEAD SINGLE("kept", "b") TAIL);
	assert_false(pnp_disowns(&live, "host/kept_a.rrd", root, "host/kept_a.rrd", &why));
	sidecar_free(&live);
}

/* ---- who waits for one ---- */

static void test_awaited(void **state)
{
	struct awaited *awaited = awaited_new();
	char rel[64];

	(void)state;
	assert_non_null(awaited);
	assert_false(awaited_any(awaited));
	assert_false(awaited_take(awaited, "h/svc.xml", rel, sizeof(rel)));
	awaited_set(awaited, "h/svc.rrd", true);
	awaited_set(awaited, "h/svc.rrd", true);
	awaited_set(awaited, "h/svc_a.rrd", true);
	awaited_set(awaited, "h/svcs.rrd", true);
	awaited_set(awaited, "h/svc_a/x.rrd", true);
	awaited_set(awaited, "svc.rrd", true);
	awaited_set(awaited, "h/other.rrd", true);
	awaited_set(awaited, "h/other.rrd", false);
	awaited_set(awaited, "h/nobody.rrd", false);
	assert_false(awaited_take(awaited, "h/other.xml", rel, sizeof(rel)));
	assert_false(awaited_take(awaited, "h/svc.xml.12", rel, sizeof(rel)));
	assert_false(awaited_take(awaited, "h/svc.rrd", rel, sizeof(rel)));
	assert_true(awaited_take(awaited, "h/svc.xml", rel, sizeof(rel)));
	assert_string_equal(rel, "h/svc.rrd");
	assert_true(awaited_take(awaited, "h/svc.xml", rel, sizeof(rel)));
	assert_string_equal(rel, "h/svc_a.rrd");
	assert_false(awaited_take(awaited, "h/svc.xml", rel, sizeof(rel)));
	assert_true(awaited_take(awaited, "svc.xml", rel, sizeof(rel)));
	assert_true(awaited_any(awaited));
	awaited_set(awaited, "h/svcs.rrd", false);
	awaited_set(awaited, "h/svc_a/x.rrd", false);
	assert_false(awaited_any(awaited));
	/* However many there are: so many are kept, and the others do without. */
	for (int i = 0; i < 3000; i++) {
		snprintf(rel, sizeof(rel), "h/%d.rrd", i);
		awaited_set(awaited, rel, true);
	}
	assert_true(awaited_take(awaited, "h/0.xml", rel, sizeof(rel)));
	assert_false(awaited_take(awaited, "h/2999.xml", rel, sizeof(rel)));
	awaited_free(awaited);
	awaited_free(NULL);
}

static void test_near(void **state)
{
	(void)state;
	assert_int_equal(mkdir(scratch("near"), 0755), 0);
	assert_false(pnp_sidecar_is_near(root, "near/svc.rrd"));
	put("near/svc.xml", "<?xml version=\"1.0\"?>\n<rrd>\n</rrd>\n");
	assert_false(pnp_sidecar_is_near(root, "near/svc.rrd"));
	put("near/svc.xml", HEAD SINGLE("svc", "a") TAIL);
	assert_true(pnp_sidecar_is_near(root, "near/svc.rrd"));
	assert_true(pnp_sidecar_is_near(root, "near/svc_x_y.rrd"));
	assert_false(pnp_sidecar_is_near(root, "near/svcs.rrd"));
	assert_false(pnp_sidecar_is_near(root, "near/sv.rrd"));
	assert_false(pnp_sidecar_is_near(root, "svc.rrd"));
}

/* ---- anything at all ---- */

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* What was read lies in what was read. */
static void assert_sound(const struct sidecar *sidecar)
{
	const char *end = sidecar->bytes + sidecar->stamp.size + 1;

	for (size_t i = 0; i < sidecar->count; i++) {
		const char *text[] = { sidecar->ds[i].file, sidecar->ds[i].name,
				       sidecar->ds[i].label, sidecar->ds[i].unit };

		for (size_t n = 0; n < 4; n++)
			assert_true((!text[n] && !n) || !*text[n] ||
				    (text[n] > sidecar->bytes && text[n] + strlen(text[n]) < end));
	}
}

static void test_fuzz(void **state)
{
	static const char text[] = HEAD SINGLE("svc", "a") MULTIPLE("svc", "b") STATE("0") TAIL;
	static const char *const piece[] = {
		"<DATASOURCE>", "</DATASOURCE>", "\n", "<RRD>", "</RRD>", "<NAME>", "</NAME>", "<",
		"</", ">", "<RC>", "</RC>", "</NAGIOS>", "<NAGIOS>", "\r\n", "/", "\0", "<NAME>\n",
	};
	const char *given = getenv("SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)getpid() * 2654435761u + 1;
	unsigned rounds = getenv("ROUNDS") ? (unsigned)atoi(getenv("ROUNDS")) : 3000, read = 0;
	char bytes[2 * sizeof(text)];

	(void)state;
	print_message("SEED=%llu\n", (unsigned long long)seed);
	for (unsigned i = 0; i < rounds; i++) {
		size_t size = sizeof(text) - 1;
		struct sidecar sidecar;
		struct reason why;

		memcpy(bytes, text, size);
		for (uint64_t n = next(&seed) % 6; n; n--) {
			const char *p = piece[next(&seed) % (sizeof(piece) / sizeof(*piece))];
			size_t len = strlen(p) ? strlen(p) : 1, at = next(&seed) % size;

			switch (next(&seed) % 4) {
			case 0:
				bytes[at] = (char)next(&seed);
				break;
			case 1:
				if (at + len < size)
					memcpy(bytes + at, p, len);
				break;
			case 2:
				memmove(bytes + at + len, bytes + at, size - at);
				memcpy(bytes + at, p, len);
				size += len;
				break;
			default:
				len = next(&seed) % 40;
				if (at + len < size) {
					memmove(bytes + at, bytes + at + len, size - at - len);
					size -= len;
				}
			}
		}
		int r = read_bytes(bytes, size, &sidecar, &why);
		assert_true(r == 0 || r == REFUSED);
		if (r)
			continue;
		read++;
		assert_sound(&sidecar);
		sidecar_free(&sidecar);
	}
	assert_true(read > rounds / 20 && read < rounds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_tolerant),
		cmocka_unit_test(test_something_else),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_find_moved),
		cmocka_unit_test(test_find_bad),
		cmocka_unit_test(test_packed),
		cmocka_unit_test(test_siblings),
		cmocka_unit_test(test_disowned),
		cmocka_unit_test(test_awaited),
		cmocka_unit_test(test_near),
		cmocka_unit_test(test_fuzz),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
