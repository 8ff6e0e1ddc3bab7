#include "config.h"
#include "wire.h"

#include <errno.h>
#include <string.h>

#define NUMBER_MAX 40

static bool is_control(unsigned char byte)
{
	return byte < 0x20 || byte == 0x7f;
}

/* Writes one byte to `piece` (4 bytes do); returns the length. */
static size_t escape_one(char *piece, unsigned char byte, bool word)
{
	static const char hex[] = "0123456789ABCDEF";

	piece[0] = '\\';
	if (byte == '\\' || (byte == ' ' && word)) {
		piece[1] = byte == ' ' ? 's' : '\\';
		return 2;
	}
	if (is_control(byte)) {
		piece[1] = 'x';
		piece[2] = hex[byte >> 4];
		piece[3] = hex[byte & 15];
		return 4;
	}
	piece[0] = (char)byte;
	return 1;
}

static ssize_t escape(char *buffer, size_t size, const char *text, bool word)
{
	size_t used = 0;
	char piece[4];

	for (; *text; text++) {
		size_t length = escape_one(piece, (unsigned char)*text, word);

		if (used + length >= size)
			return -E2BIG;
		memcpy(buffer + used, piece, length);
		used += length;
	}
	if (used >= size)
		return -E2BIG;
	buffer[used] = '\0';
	return (ssize_t)used;
}

ssize_t wire_word(char *buffer, size_t size, const char *text)
{
	if (*text)
		return escape(buffer, size, text, true);
	if (size < sizeof("\\e"))
		return -E2BIG;
	strcpy(buffer, "\\e");
	return 2;
}

ssize_t wire_value(char *buffer, size_t size, const char *text)
{
	return escape(buffer, size, text, false);
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that \xHH stands for, -EINVAL where it is none. */
static int byte_of(const char *hex)
{
	int high = digit(hex[0]), low = high < 0 ? -1 : digit(hex[1]);

	return low < 0 || !(high | low) ? -EINVAL : high << 4 | low;
}

int wire_unescape(char *text)
{
	char *to = text;

	while (*text) {
		int byte = (unsigned char)*text++;

		if (is_control((unsigned char)byte))
			return -EINVAL;
		if (byte == '\\') {
			char kind = *text;

			if (kind == 'e') {
				text++;
				continue;
			}
			byte = kind == '\\' ? '\\' : kind == 's' ? ' ' :
			       kind == 'x' ? byte_of(text + 1) : -EINVAL;
			if (byte < 0)
				return byte;
			text += kind == 'x' ? 3 : 1;
		}
		*to++ = (char)byte;
	}
	*to = '\0';
	return 0;
}

int wire_split(char *line, size_t length, char *ret_words[WIRE_WORDS_MAX], size_t *ret_count)
{
	char *words[WIRE_WORDS_MAX], *rest = NULL;
	size_t count = 0;

	if (memchr(line, '\0', length))
		return -EINVAL;
	for (char *word = strtok_r(line, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (count == WIRE_WORDS_MAX)
			return -E2BIG;
		if (wire_unescape(word))
			return -EINVAL;
		words[count++] = word;
	}
	if (!count)
		return -ENODATA;
	memcpy(ret_words, words, count * sizeof(*words));
	*ret_count = count;
	return 0;
}

bool wire_is_key(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (!((text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9') ||
		      text[i] == '_'))
			return false;
	return length && !(length == strlen("error") && !memcmp(text, "error", length));
}

static size_t digits(const char *text)
{
	return strspn(text, "0123456789");
}

/* RFC 8259 §6. */
bool wire_is_number(const char *text)
{
	const char *at = text + (*text == '-');
	size_t whole = digits(at);

	if (!whole || (whole > 1 && *at == '0') || strnlen(text, NUMBER_MAX + 1) > NUMBER_MAX)
		return false;
	at += whole;
	if (*at == '.') {
		if (!digits(at + 1))
			return false;
		at += 1 + digits(at + 1);
	}
	if (*at == 'e' || *at == 'E') {
		at += 1 + (at[1] == '+' || at[1] == '-');
		if (!digits(at))
			return false;
		at += digits(at);
	}
	return !*at;
}
