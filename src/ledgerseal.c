#include "config.h"
#include "ledgerint.h"

#include <endian.h>
#include <sqlite3.h>
#include <string.h>
#include <zlib.h>

#define HEAD 9

/* Type, and value or size: where one ends and the next begins is told by that. */
static void put_head(sqlite3_value *value, bool bytes, uint8_t *at)
{
	uint64_t number = htole64(bytes ? (uint64_t)sqlite3_value_bytes(value)
				  : (uint64_t)sqlite3_value_int64(value));

	at[0] = (uint8_t)sqlite3_value_type(value);
	memcpy(at + 1, &number, sizeof(number));
}

static void seal(sqlite3_context *context, int values, sqlite3_value **value)
{
	uint8_t heads[16 * HEAD];
	uInt size = 0;
	uLong crc = crc32(0, NULL, 0);

	for (int i = 0; i < values; i++) {
		int type = sqlite3_value_type(value[i]);
		bool bytes = type == SQLITE_TEXT || type == SQLITE_BLOB;

		put_head(value[i], bytes, heads + size);
		size += HEAD;
		const void *at = bytes ? sqlite3_value_blob(value[i]) : NULL;
		if (at)
			crc = crc32(crc, at, (uInt)sqlite3_value_bytes(value[i]));
		if (size == sizeof(heads) || i == values - 1) {
			crc = crc32(crc, heads, size);
			size = 0;
		}
	}
	sqlite3_result_int64(context, (sqlite3_int64)crc);
}

int ledgerseal_prepare(sqlite3 *db)
{
	return sqlite3_create_function_v2(db, "seal_of", -1, SQLITE_UTF8 | SQLITE_DETERMINISTIC,
					  NULL, seal, NULL, NULL, NULL);
}
