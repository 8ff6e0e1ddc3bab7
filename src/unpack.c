#include "config.h"
#include "unpack.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#ifdef HAVE_ZSTD
#include <zstd.h>
#endif
#ifdef HAVE_LZMA
#include <lzma.h>
#endif

#include "io.h"

#define INPUT_SIZE 65536u
#define MAGIC_SIZE 6u
/* What a packed file may ask for: "zstd --long" and "xz -9e" stay below. */
#define ZSTD_WINDOW_LOG 27
#define XZ_MEMORY (UINT64_C(128) << 20)

/* One way of packing.  `step` moves what it can from the input to `out`, and sets `piece_done`
 * where a piece has come to its end; no bytes moved tells that it needs more input. */
struct format {
	const char *name;
	int (*start)(struct unpack *unpack);
	int (*step)(struct unpack *unpack, uint8_t *out, size_t size, size_t *ret_len,
		    struct reason *why);
	void (*stop)(struct unpack *unpack);
};

struct unpack {
	int fd;
	uint64_t size, offset;          /* of the file; of what was read of it */
	const struct format *format;
	bool piece_done;                /* here the stream may end */
	z_stream gzip;
#ifdef HAVE_ZSTD
	ZSTD_DStream *zstd;
#endif
#ifdef HAVE_LZMA
	lzma_stream xz;
#endif
	size_t at, len;                 /* in `input`: what was not used yet */
	uint8_t input[INPUT_SIZE];
};

static bool all_read(const struct unpack *unpack)
{
	return unpack->offset == unpack->size;
}

static int damaged(const struct unpack *unpack, const char *how, struct reason *why)
{
	reason_set(why, "is damaged: its %s data are wrong (%s)", unpack->format->name, how);
	return REFUSED;
}

/* ---- not packed ---- */

static int plain_step(struct unpack *unpack, uint8_t *out, size_t size, size_t *ret_len,
		      struct reason *why)
{
	size_t len = unpack->len - unpack->at;

	(void)why;
	if (len > size)
		len = size;
	memcpy(out, unpack->input + unpack->at, len);
	unpack->at += len;
	unpack->piece_done = true;
	*ret_len = len;
	return 0;
}

/* ---- gzip ---- */

static int gzip_start(struct unpack *unpack)
{
	/* 15: any window; 16: gzip's own header and trailer, nothing else. */
	return inflateInit2(&unpack->gzip, 15 + 16) == Z_OK ? 0 : -ENOMEM;
}

static int gzip_step(struct unpack *unpack, uint8_t *out, size_t size, size_t *ret_len,
		     struct reason *why)
{
	z_stream *z = &unpack->gzip;

	/* Zeros fill up the last block of a tape; gzip passes over them, too. */
	while (unpack->piece_done && unpack->at < unpack->len && !unpack->input[unpack->at])
		unpack->at++;
	if (unpack->piece_done && unpack->at < unpack->len) {
		inflateReset(z);
		unpack->piece_done = false;
	}
	z->next_in = unpack->input + unpack->at;
	z->avail_in = (uInt)(unpack->len - unpack->at);
	z->next_out = out;
	z->avail_out = (uInt)size;
	int r = unpack->piece_done ? Z_OK : inflate(z, Z_NO_FLUSH);
	unpack->at = unpack->len - z->avail_in;
	*ret_len = size - z->avail_out;
	if (r == Z_STREAM_END)
		unpack->piece_done = true;
	else if (r == Z_MEM_ERROR)
		return -ENOMEM;
	else if (r != Z_OK && r != Z_BUF_ERROR)
		return damaged(unpack, z->msg ? z->msg : "no reason given", why);
	return 0;
}

static void gzip_stop(struct unpack *unpack)
{
	inflateEnd(&unpack->gzip);
}

/* ---- zstd ---- */

#ifdef HAVE_ZSTD
static int zstd_start(struct unpack *unpack)
{
	unpack->zstd = ZSTD_createDStream();
	if (!unpack->zstd)
		return -ENOMEM;
	ZSTD_DCtx_setParameter(unpack->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
	return 0;
}

static int zstd_step(struct unpack *unpack, uint8_t *out, size_t size, size_t *ret_len,
		     struct reason *why)
{
	ZSTD_inBuffer from = { unpack->input, unpack->len, unpack->at };
	ZSTD_outBuffer to = { out, size, 0 };

	/* With nothing to read, a new piece would begin and never end. */
	if (unpack->piece_done && from.pos == from.size) {
		*ret_len = 0;
		return 0;
	}
	size_t r = ZSTD_decompressStream(unpack->zstd, &to, &from);
	unpack->at = from.pos;
	*ret_len = to.pos;
	if (ZSTD_isError(r))
		return damaged(unpack, ZSTD_getErrorName(r), why);
	unpack->piece_done = r == 0;
	return 0;
}

static void zstd_stop(struct unpack *unpack)
{
	ZSTD_freeDStream(unpack->zstd);
}
#endif

/* ---- xz ---- */

#ifdef HAVE_LZMA
static int xz_start(struct unpack *unpack)
{
	unpack->xz = (lzma_stream)LZMA_STREAM_INIT;
	return lzma_stream_decoder(&unpack->xz, XZ_MEMORY, LZMA_CONCATENATED) == LZMA_OK
		? 0 : -ENOMEM;
}

static int xz_step(struct unpack *unpack, uint8_t *out, size_t size, size_t *ret_len,
		   struct reason *why)
{
	lzma_stream *xz = &unpack->xz;

	*ret_len = 0;
	if (unpack->piece_done)
		return 0;
	xz->next_in = unpack->input + unpack->at;
	xz->avail_in = unpack->len - unpack->at;
	xz->next_out = out;
	xz->avail_out = size;
	lzma_ret r = lzma_code(xz, all_read(unpack) ? LZMA_FINISH : LZMA_RUN);
	unpack->at = unpack->len - xz->avail_in;
	*ret_len = size - xz->avail_out;
	switch (r) {
	case LZMA_STREAM_END:
		unpack->piece_done = true;
		return 0;
	case LZMA_OK:
	case LZMA_BUF_ERROR:
		return 0;
	case LZMA_MEM_ERROR:
		return -ENOMEM;
	case LZMA_MEMLIMIT_ERROR:
		reason_set(why, "is packed by xz so that it takes more than %llu MB of memory",
			   (unsigned long long)(XZ_MEMORY >> 20));
		return REFUSED;
	default:
		return damaged(unpack, "they do not fit together", why);
	}
}

static void xz_stop(struct unpack *unpack)
{
	lzma_end(&unpack->xz);
}
#endif

/* ---- which it is ---- */

static const struct format plain = { "plain", NULL, plain_step, NULL };
static const struct format gzip = { "gzip", gzip_start, gzip_step, gzip_stop };
#ifdef HAVE_ZSTD
static const struct format zstd = { "zstd", zstd_start, zstd_step, zstd_stop };
#define ZSTD_FORMAT (&zstd)
#else
#define ZSTD_FORMAT NULL
#endif
#ifdef HAVE_LZMA
static const struct format xz = { "xz", xz_start, xz_step, xz_stop };
#define XZ_FORMAT (&xz)
#else
#define XZ_FORMAT NULL
#endif

/* The last, empty magic fits everything. */
static const struct {
	const char *name;
	size_t len;
	uint8_t magic[MAGIC_SIZE];
	const struct format *format;
	bool never;
} kinds[] = {
	{ "gzip", 2, { 0x1f, 0x8b }, &gzip, false },
	{ "zstd", 4, { 0x28, 0xb5, 0x2f, 0xfd }, ZSTD_FORMAT, false },
	/* pzstd begins with a frame that is to be skipped: how long the next one is. */
	{ "zstd", 4, { 0x50, 0x2a, 0x4d, 0x18 }, ZSTD_FORMAT, false },
	{ "xz", 6, { 0xfd, '7', 'z', 'X', 'Z', 0 }, XZ_FORMAT, false },
	{ "bzip2", 3, { 'B', 'Z', 'h' }, NULL, true },
	{ "", 0, { 0 }, &plain, false },
};

static int find_format(struct unpack *unpack, struct reason *why)
{
	size_t i = 0;

	while (unpack->len < kinds[i].len ||
	       memcmp(unpack->input, kinds[i].magic, kinds[i].len))
		i++;
	unpack->format = kinds[i].format;
	if (unpack->format)
		return 0;
	reason_set(why, "is packed by %s, which this program %s: unpack it first", kinds[i].name,
		   kinds[i].never ? "does not read" : "was built without");
	return REFUSED;
}

static int refill(struct unpack *unpack, struct reason *why)
{
	uint64_t left = unpack->size - unpack->offset;
	size_t len = left < INPUT_SIZE ? (size_t)left : INPUT_SIZE;
	int r = io_pread(unpack->fd, unpack->input, len, unpack->offset);

	if (r == -ENODATA) {
		reason_set(why, "became shorter while it was read");
		return -ESTALE;
	}
	if (r)
		return reason_errno(why, -r, "cannot be read");
	unpack->offset += len;
	unpack->at = 0;
	unpack->len = len;
	return 0;
}

int unpack_open(int fd, uint64_t size, struct unpack **ret_unpack, struct reason *why)
{
	struct unpack *unpack;

	if (size > UNPACK_FILE_MAX) {
		reason_set(why, "is too large for a dump: %llu bytes", (unsigned long long)size);
		return REFUSED;
	}
	unpack = malloc(sizeof(*unpack));
	if (!unpack)
		return reason_errno(why, ENOMEM, "cannot be read");
	memset(unpack, 0, offsetof(struct unpack, input));
	unpack->fd = fd;
	unpack->size = size;
	int r = refill(unpack, why);
	if (!r)
		r = find_format(unpack, why);
	if (!r && unpack->format->start) {
		r = unpack->format->start(unpack);
		if (r)
			reason_errno(why, -r, "cannot be unpacked");
	}
	if (r) {
		free(unpack);   /* what could not start holds nothing */
		return r;
	}
	*ret_unpack = unpack;
	return 0;
}

void unpack_close(struct unpack *unpack)
{
	if (unpack && unpack->format->stop)
		unpack->format->stop(unpack);
	free(unpack);
}

int unpack_read(struct unpack *unpack, void *buffer, size_t size, size_t *ret_len,
		struct reason *why)
{
	for (;;) {
		size_t before, len = 0;
		int r = 0;

		if (unpack->at == unpack->len && !all_read(unpack))
			r = refill(unpack, why);
		if (r)
			return r;
		before = unpack->at;
		r = unpack->format->step(unpack, buffer, size, &len, why);
		if (r < 0)
			return reason_errno(why, -r, "cannot be unpacked");
		if (r)
			return r;
		if (len) {
			*ret_len = len;
			return 0;
		}
		if (unpack->at < unpack->len || !all_read(unpack)) {
			/* It could go on and did not: that is no packed stream. */
			if (unpack->at == before && unpack->at < unpack->len)
				return damaged(unpack, "they stand still", why);
			continue;
		}
		if (unpack->at > before)
			continue;       /* perhaps something is left in the unpacker */
		if (!unpack->piece_done) {
			reason_set(why, "is truncated: its %s data have no end",
				   unpack->format->name);
			return REFUSED;
		}
		*ret_len = 0;
		return 0;
	}
}
