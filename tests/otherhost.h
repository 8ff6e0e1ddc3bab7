/* otherhost: an RRD file of this machine → what another kind of machine would have written.
 *
 * The files are built up field by field as that machine's compiler would lay out rrdtool's
 * structures; nothing of src/ is used, nor any of its tables.  What no field covers (the gaps in
 * structures, the half of a union that a 32-bit integer leaves alone) holds random bytes. */
#ifndef OTHERHOST_H
#define OTHERHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct otherhost {
	const char *name;
	unsigned size_of_long, size_of_time;
	unsigned double_at;             /* what a double is aligned to, and a long long */
	bool big_endian;
};

extern const struct otherhost otherhosts[];
extern const unsigned otherhost_count;

/* NULL where there is none of that name. */
const struct otherhost *otherhost_find(const char *name);

/* `bytes` is a sound file of this machine; what follows its rows is left away.  The caller frees
 * the result.  NULL where a number in it is too large for that machine. */
uint8_t *otherhost_write(const struct otherhost *host, const uint8_t *bytes, uint64_t *random_state,
			 size_t *ret_size);

#endif
