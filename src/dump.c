#include "config.h"
#include "dump.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dumpint.h"
#include "unpack.h"

#define CHUNK 65536
#define LOOK 4096
/* What expat has seen the beginning of and not the end: a comment, a tag.  It begins anew with
 * each chunk. */
#define TOKEN_MAX (4u * CHUNK)
/* Text that a dump may have beside its values, and with each of them. */
#define TEXT_ALWAYS (UINT64_C(1) << 22)
#define TEXT_PER_BYTE 64        /* of the database */
/* A buffer larger than this is not kept for the next file, unless it is needed. */
#define KEEP_CAPACITY (UINT64_C(32) << 20)

/* ---- text → tree ---- */

/* What expat found wrong, unless it was we who stopped it. */
static int explain(const struct dump_tree *tree, bool at_end, struct reason *why)
{
	enum XML_Error error = XML_GetErrorCode(tree->xml);
	unsigned long line = (unsigned long)XML_GetCurrentLineNumber(tree->xml);

	if (tree->error)
		return tree->error;
	if (error == XML_ERROR_NO_MEMORY)
		return reason_errno(why, ENOMEM, "cannot be read");
	if (!tree->begun)
		reason_set(why, "is no dump of rrdtool: %s, line %lu", XML_ErrorString(error),
			   line);
	else if (at_end)
		reason_set(why, "is truncated: the dump breaks off in line %lu", line);
	else
		reason_set(why, "is a damaged dump, line %lu: %s", line, XML_ErrorString(error));
	return REFUSED;
}

/* After a chunk that brought the text to `text` bytes. */
static int check_bounds(const struct dump_tree *tree, uint64_t text, struct reason *why)
{
	unsigned long begun = (unsigned long)XML_GetCurrentByteIndex(tree->xml);

	if ((unsigned long)text - begun > TOKEN_MAX)
		reason_set(why, "is a damaged dump, line %lu: a comment or a tag of more than %u "
			   "bytes", (unsigned long)XML_GetCurrentLineNumber(tree->xml),
			   TOKEN_MAX);
	else if (text > DUMP_TEXT_MAX)
		reason_set(why, "is too large for a dump: more than %llu bytes of text",
			   (unsigned long long)DUMP_TEXT_MAX);
	else if (text > TEXT_ALWAYS + TEXT_PER_BYTE * dump_tree_size(tree))
		reason_set(why, "is no dump: %llu bytes of text and hardly a value in it",
			   (unsigned long long)text);
	else
		return 0;
	return REFUSED;
}

static int feed(struct dump_tree *tree, struct unpack *unpack, struct reason *why)
{
	uint64_t text = 0;
	size_t len;

	do {
		void *buffer = XML_GetBuffer(tree->xml, CHUNK);
		int r;

		if (!buffer)
			return reason_errno(why, ENOMEM, "cannot be read");
		r = unpack_read(unpack, buffer, CHUNK, &len, why);
		if (r)
			return r;
		text += len;
		if (!text) {
			reason_set(why, "is empty");
			return REFUSED;
		}
		if (XML_ParseBuffer(tree->xml, (int)len, len == 0) != XML_STATUS_OK)
			return explain(tree, len == 0, why);
		r = check_bounds(tree, text, why);
		if (r)
			return r;
	} while (len);
	return 0;
}

/* ---- tree → image ---- */

static int measure(const struct dump_tree *tree, uint64_t *ret_header, uint64_t *ret_total,
		   struct reason *why)
{
	uint64_t header, total;
	bool fits = native_header_size(&tree->head, &header);

	total = header;
	for (uint64_t i = 0; fits && i < tree->head.rra_cnt; i++)
		fits = native_add_rows(&total, tree->rra[i].row_cnt, tree->head.ds_cnt);
	if (!fits || total > RRD_SIZE_MAX) {
		reason_set(why, "is too large to be a dump of an RRD");
		return REFUSED;
	}
	*ret_header = header;
	*ret_total = total;
	return 0;
}

/* The rows stand at the beginning of the bytes; the header goes before them. */
static int build(const struct dump_tree *tree, struct rrd *db, struct reason *why)
{
	const struct native_head *head = &tree->head;
	struct layout_header decoded;
	uint64_t header, total;
	int r = measure(tree, &header, &total, why);

	if (r)
		return r;
	r = dump_reserve(db, total);
	if (r)
		return reason_errno(why, -r, "cannot be read");
	memmove(db->bytes + header, db->bytes, (size_t)(total - header));
	memset(db->bytes, 0, (size_t)header);
	native_put_head(db->bytes, head);
	for (uint64_t i = 0; i < head->ds_cnt; i++)
		native_put_ds(db->bytes, head, i, &tree->ds[i]);
	for (uint64_t i = 0; i < head->rra_cnt; i++) {
		native_put_rra(db->bytes, head, i, &tree->rra[i]);
		for (uint64_t j = 0; j < head->ds_cnt; j++)
			native_put_cdp(db->bytes, head, i, j, tree->cdp[i * head->ds_cnt + j]);
	}
	/* What an RRD may not say, a dump may not either. */
	r = layout_measure(db->bytes, (size_t)header, total, &decoded, why);
	if (!r)
		r = layout_decode(db->bytes, (size_t)header, &decoded, why);
	if (r)
		return r;
	db->head = decoded;
	db->origin = "dump";
	db->size = (size_t)total;
	return 0;
}

static int read_all(struct rrd *db, int fd, uint64_t size, struct reason *why)
{
	struct dump_tree *tree = calloc(1, sizeof(*tree));
	struct unpack *unpack = NULL;
	XML_Parser xml = XML_ParserCreate(NULL);
	int r;

	if (!tree || !xml) {
		r = reason_errno(why, ENOMEM, "cannot be read");
		goto out;
	}
	if (db->capacity > KEEP_CAPACITY) {
		free(db->bytes);
		db->bytes = NULL;
		db->capacity = 0;
	}
	tree->db = db;
	tree->why = why;
	dump_tree_attach(tree, xml);
	r = unpack_open(fd, size, &unpack, why);
	if (!r)
		r = feed(tree, unpack, why);
	if (!r)
		r = build(tree, db, why);
out:
	unpack_close(unpack);
	if (xml)
		XML_ParserFree(xml);
	if (tree)
		dump_tree_free(tree);
	free(tree);
	return r;
}

int dump_read(struct rrd *db, int fd, struct reason *why)
{
	struct stat before;

	layout_free(&db->head);
	db->size = 0;
	if (fstat(fd, &before))
		return reason_errno(why, errno, "cannot be looked at");
	int r = read_all(db, fd, (uint64_t)before.st_size, why);
	if (!r)
		r = io_unchanged(fd, &before, &db->stamp, why);
	if (r) {
		layout_free(&db->head);
		db->size = 0;
	}
	return r;
}

/* ---- what it is ---- */

struct look {
	XML_Parser xml;
	enum dump_root root;
};

static void XMLCALL on_root(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct look *look = arg;

	(void)attributes;
	look->root = !strcmp(name, "rrd") ? DUMP_ROOT_RRD
		: !strcmp(name, "NAGIOS") ? DUMP_ROOT_NAGIOS : DUMP_ROOT_OTHER;
	XML_StopParser(look->xml, XML_FALSE);
}

int dump_look(int fd, enum dump_root *ret_root, struct reason *why)
{
	struct look look = { .root = DUMP_ROOT_OTHER };
	struct unpack *unpack = NULL;
	struct stat st;
	size_t seen = 0, len = 0;
	int r;

	if (fstat(fd, &st))
		return reason_errno(why, errno, "cannot be looked at");
	look.xml = XML_ParserCreate(NULL);
	if (!look.xml)
		return reason_errno(why, ENOMEM, "cannot be read");
	XML_SetUserData(look.xml, &look);
	XML_SetStartElementHandler(look.xml, on_root);
	r = unpack_open(fd, (uint64_t)st.st_size, &unpack, why);
	while (!r && seen < LOOK) {
		char buffer[LOOK];

		r = unpack_read(unpack, buffer, LOOK - seen, &len, why);
		if (r || !len || XML_Parse(look.xml, buffer, (int)len, 0) != XML_STATUS_OK)
			break;
		seen += len;
	}
	unpack_close(unpack);
	XML_ParserFree(look.xml);
	if (r < 0)
		return r;
	*ret_root = look.root;
	return 0;
}
