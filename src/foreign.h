/* foreign: a database that another kind of machine wrote → the same as this one would have. */
#ifndef FOREIGN_H
#define FOREIGN_H

#include "layout.h"

/* Makes the native image of a whole file: header and rows, doubles bit for bit.  `head` is what
 * layout_decode() made of `bytes`, which hold head->file_size bytes.  The caller frees the image.
 * REFUSED where it holds what this machine's integers cannot. */
int foreign_translate(const struct layout_header *head, const uint8_t *bytes,
		      uint8_t **ret_image, size_t *ret_size, struct reason *why);

#endif
