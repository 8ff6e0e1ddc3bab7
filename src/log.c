#include "config.h"
#include "log.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

/* A message with one escaped path and some words around it. */
#define LINE_SIZE (2 * LOG_PATH_SIZE)
#define CUT "..."

static struct {
	const char *ident;
	unsigned targets;
} target = { NULL, LOG_TO_STDERR };

#define SECOND UINT64_C(1000000000)
#define BEING_SAID UINT64_MAX

/* The last lines per file, a ring: when each of them had been written, or BEING_SAID; 0 for none
 * yet.  A line takes the place of the oldest, a second after that at the soonest: so no second,
 * wherever it begins and however long a write takes, sees more than there are places.
 * Guarded by `mutex`, which is never held while a line is written. */
static struct {
	pthread_mutex_t mutex;
	uint64_t said_ns[LOG_FILE_RATE];
	unsigned next;
	uint64_t omitted, omitted_ns;   /* how many since it was last said; the first of them */
} rate = { PTHREAD_MUTEX_INITIALIZER, { 0 }, 0, 0, 0 };

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* The tests put a clock of their own here. */
static uint64_t (*clock_ns)(void) = monotonic_ns;

/* Length of the UTF-8 sequence at `s`, its code point in *ret_code; 0 where there is none.
 * (RFC 3629 §4: no overlong forms, no surrogates, nothing above U+10FFFF.)  A NUL is no
 * continuation byte, so nothing is read behind the end of the string. */
static size_t utf8_sequence(const unsigned char *s, uint32_t *ret_code)
{
	uint32_t code, least;
	size_t len;

	if (s[0] < 0x80) {
		*ret_code = s[0];
		return 1;
	} else if (s[0] >= 0xc2 && s[0] <= 0xdf) {
		len = 2;
		least = 0x80;
		code = s[0] & 0x1fu;
	} else if ((s[0] & 0xf0) == 0xe0) {
		len = 3;
		least = 0x800;
		code = s[0] & 0x0fu;
	} else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
		len = 4;
		least = 0x10000;
		code = s[0] & 0x07u;
	} else {
		return 0;
	}
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3fu);
	}
	if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	*ret_code = code;
	return len;
}

bool log_is_unsafe(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code <= 0x9f)
		|| code == 0x2028 || code == 0x2029
		|| (code >= 0x202a && code <= 0x202e)
		|| (code >= 0x2066 && code <= 0x2069);
}

/* Length of the escape that log_escape() wrote at `s`; 1 where there is none. */
static size_t escape_length(const unsigned char *s)
{
	if (s[0] == '\\' && s[1] == '\\')
		return 2;
	if (s[0] == '\\' && s[1] == 'x' && isxdigit(s[2]) && isxdigit(s[3]))
		return 4;
	return 1;
}

/* Writes one character of `text` to `piece` (16 bytes do), escaped where need be; advances
 * *text.  Returns the length written. */
static size_t escape_one(char *piece, const unsigned char **text, bool backslash)
{
	static const char hex[] = "0123456789ABCDEF";
	const unsigned char *s = *text;
	uint32_t code = 0;
	size_t len = utf8_sequence(s, &code);
	size_t out = 0;

	if (code == '\\' && !backslash)
		len = escape_length(s);         /* kept whole where the line is cut */
	*text += len ? len : 1;
	if (len && !log_is_unsafe(code)) {
		if (code == '\\' && backslash)
			piece[out++] = '\\';
		memcpy(piece + out, s, len);
		return out + len;
	}
	for (; s < *text; s++) {
		piece[out++] = '\\';
		piece[out++] = 'x';
		piece[out++] = hex[*s >> 4];
		piece[out++] = hex[*s & 15];
	}
	return out;
}

static char *escape(char *buffer, size_t size, const char *text, bool backslash)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t used = 0, fits = 0;      /* `fits`: the last place at which CUT still fits */
	char piece[16];

	if (!size)
		return buffer;
	while (*s) {
		size_t len = escape_one(piece, &s, backslash);

		if (used + len >= size) {
			size_t dots = size - 1 - fits;

			if (dots > strlen(CUT))
				dots = strlen(CUT);
			memcpy(buffer + fits, CUT, dots);
			buffer[fits + dots] = '\0';
			return buffer;
		}
		memcpy(buffer + used, piece, len);
		used += len;
		if (used + strlen(CUT) < size)
			fits = used;
	}
	buffer[used] = '\0';
	return buffer;
}

char *log_escape(char *buffer, size_t size, const char *text)
{
	return escape(buffer, size, text, true);
}

void log_open(const char *ident, unsigned targets, int facility)
{
	target.ident = ident;
	target.targets = targets;
	if (targets & LOG_TO_SYSLOG)
		openlog(ident, LOG_PID | LOG_NDELAY, facility);
}

void log_close(void)
{
	log_flush();
	if (target.targets & LOG_TO_SYSLOG)
		closelog();
	target.ident = NULL;
	target.targets = LOG_TO_STDERR;
}

/* In one write, so that the lines of several threads and processes stay apart. */
static void to_stderr(const char *message)
{
	const char *ident = target.ident ? target.ident : program_invocation_short_name;
	char line[LINE_SIZE + 256];
	size_t size = strlen(message);
	int head = snprintf(line, 255, "%s: ", ident);

	if (head < 0 || head > 254)
		head = 0;
	memcpy(line + head, message, size);
	size += (size_t)head;
	line[size++] = '\n';
	for (size_t at = 0; at < size;) {
		ssize_t wrote = write(STDERR_FILENO, line + at, size - at);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return;         /* there is nobody left to tell */
		at += (size_t)wrote;
	}
}

static void say(int priority, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));

static void say(int priority, const char *format, va_list args)
{
	int saved = errno;
	/* Longer than a line: what vsnprintf() cuts amid a character never gets into one. */
	char text[LINE_SIZE + 16], line[LINE_SIZE];

	if (vsnprintf(text, sizeof(text), format, args) < 0)
		snprintf(text, sizeof(text), "a message could not be formatted: %s", format);
	/* Paths in it were escaped by log_escape(): their backslashes are right already. */
	escape(line, sizeof(line), text, false);
	if (target.targets & LOG_TO_SYSLOG)
		syslog(priority, "%s", line);
	if (target.targets & LOG_TO_STDERR)
		to_stderr(line);
	errno = saved;
}

void log_message(int priority, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(priority, format, args);
	va_end(args);
}

static void say_omitted(uint64_t omitted)
{
	if (omitted)
		log_message(LOG_NOTICE, "omitted lines=%llu reason=\"more than %d a second\"",
			    (unsigned long long)omitted, LOG_FILE_RATE);
}

/* A place for one more line, which rate_give() gets when it is written; NULL where there is none.
 * What was left out for a second is handed to the caller, who says it. */
static uint64_t *rate_take(uint64_t *ret_omitted)
{
	uint64_t *place;

	*ret_omitted = 0;
	pthread_mutex_lock(&rate.mutex);
	uint64_t now = clock_ns();      /* not before the lock: never older than a line of the ring */
	if (rate.omitted && now - rate.omitted_ns >= SECOND) {
		*ret_omitted = rate.omitted;
		rate.omitted = 0;
	}
	place = &rate.said_ns[rate.next];
	if (*place && (*place == BEING_SAID || now - *place < SECOND)) {
		place = NULL;
		if (!rate.omitted++)
			rate.omitted_ns = now;
	} else {
		*place = BEING_SAID;
		rate.next = (rate.next + 1) % LOG_FILE_RATE;
	}
	pthread_mutex_unlock(&rate.mutex);
	return place;
}

static void rate_give(uint64_t *place)
{
	pthread_mutex_lock(&rate.mutex);
	*place = clock_ns();
	pthread_mutex_unlock(&rate.mutex);
}

void log_file(int priority, const char *format, ...)
{
	uint64_t omitted, *place = rate_take(&omitted);
	va_list args;

	say_omitted(omitted);
	if (!place)
		return;
	va_start(args, format);
	say(priority, format, args);
	va_end(args);
	rate_give(place);
}

void log_flush(void)
{
	uint64_t omitted;

	pthread_mutex_lock(&rate.mutex);
	omitted = rate.omitted;
	rate.omitted = 0;
	pthread_mutex_unlock(&rate.mutex);
	say_omitted(omitted);
}

int log_facility(const char *name)
{
	/* Not "kern": syslog(3) gives a process that name under no circumstances. */
	static const struct {
		const char *name;
		int facility;
	} known[] = {
		{ "auth", LOG_AUTH }, { "authpriv", LOG_AUTHPRIV }, { "cron", LOG_CRON },
		{ "daemon", LOG_DAEMON }, { "ftp", LOG_FTP }, { "lpr", LOG_LPR },
		{ "mail", LOG_MAIL }, { "news", LOG_NEWS }, { "syslog", LOG_SYSLOG },
		{ "user", LOG_USER }, { "uucp", LOG_UUCP },
		{ "local0", LOG_LOCAL0 }, { "local1", LOG_LOCAL1 }, { "local2", LOG_LOCAL2 },
		{ "local3", LOG_LOCAL3 }, { "local4", LOG_LOCAL4 }, { "local5", LOG_LOCAL5 },
		{ "local6", LOG_LOCAL6 }, { "local7", LOG_LOCAL7 }
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcasecmp(name, known[i].name) == 0)
			return known[i].facility;
	}
	return -1;
}
