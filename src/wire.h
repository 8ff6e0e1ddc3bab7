/* wire: words, values and their escapes in the protocol of the control socket (control.h). */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Where the daemon listens unless the configuration says otherwise. */
#define WIRE_SOCKET "/run/rrdmergd/control.sock"

#define WIRE_REQUEST_MAX 8192           /* bytes of a request, its newline included */
#define WIRE_ANSWER_MAX 65536           /* bytes of one line of an answer, likewise */
#define WIRE_WORDS_MAX 64               /* the command and its arguments */

/* Begins the text of an error that is the asker's own mistake. */
#define WIRE_USAGE "usage: "

/* Escapes one word of a request; or a value, in which spaces stay.  Returns the length without
 * the NUL, or -E2BIG where it does not fit in `size`. */
ssize_t wire_word(char *buffer, size_t size, const char *text);
ssize_t wire_value(char *buffer, size_t size, const char *text);

/* Undoes either in place.  -EINVAL where an escape is none, or gives a NUL, or a control character
 * stands there as it is; the text is spoilt then. */
int wire_unescape(char *text);

/* Cuts a request of `length` bytes, its newline taken away and a NUL in its place, into words,
 * unescaped.  -EINVAL as above, -ENODATA where there is none, -E2BIG where there are more than
 * WIRE_WORDS_MAX. */
int wire_split(char *line, size_t length, char *ret_words[WIRE_WORDS_MAX], size_t *ret_count);

/* A name that a value may have: lower case letters, digits and '_'; not "error". */
bool wire_is_key(const char *text, size_t length);

/* A number as JSON writes it, of at most 40 characters. */
bool wire_is_number(const char *text);

#endif
