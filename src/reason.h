/* reason: why a file was refused or failed, in words meant for the administrator. */
#ifndef REASON_H
#define REASON_H

/* A function that may refuse takes a struct reason last and returns
 *    0         done,
 *    REFUSED   the file is not one that we may use; the reason says why,
 *    -errno    the system would not let us; the reason says what we tried. */
#define REFUSED 1

struct reason {
	char text[320];
};

/* Writes the reason, cut to what fits.  `why` may be NULL: then nothing is kept. */
void reason_set(struct reason *why, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The same for a system call that failed: appends the error's own words, returns -error. */
int reason_errno(struct reason *why, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Appends to what is there, "; " between. */
void reason_add(struct reason *why, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
