/* unpack: the bytes of a file as one stream, unpacked where it is packed.
 *
 * gzip, and zstd and xz where the program was built with their libraries; what a file is, its
 * first bytes tell, never its name.  Several packed pieces one after the other are one stream.
 * The memory needed does not depend on the file. */
#ifndef UNPACK_H
#define UNPACK_H

#include <stddef.h>
#include <stdint.h>

#include "reason.h"

struct unpack;

/* Bytes of a file, packed or not: what gives nothing (padding, empty pieces) is read to its end. */
#define UNPACK_FILE_MAX (UINT64_C(4) << 30)

/* Of a file of `size` bytes; its offset is neither used nor moved.  The caller keeps `fd` open
 * until unpack_close().
 *    REFUSED    packed in a way that we cannot read, or too large,
 *    -ESTALE    the file is shorter than `size`,
 *    -ENOMEM, -EIO … */
int unpack_open(int fd, uint64_t size, struct unpack **ret_unpack, struct reason *why);
/* May be NULL. */
void unpack_close(struct unpack *unpack);

/* The next 1 to `size` bytes; 0 of them at the stream's end, which is told only where nothing is
 * missing and all checksums were right.  Returns as unpack_open() does. */
int unpack_read(struct unpack *unpack, void *buffer, size_t size, size_t *ret_len,
		struct reason *why);

#endif
