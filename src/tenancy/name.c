/*
 * name.c
 *		Slugs, keys and ids: what may be a name, and which names are one.
 */
#include "tenancy/admin.h"

#include <ctype.h>

#include "catalog/pg_collation.h"
#include "mb/pg_wchar.h"

#define NAME_MAX_BYTES	255
#define SLUG_MAX_BYTES	63

typedef struct CharRange
{
	pg_wchar	first,
				last;
} CharRange;

static const CharRange blanks[] = {
	{0x20, 0x20}, {0xa0, 0xa0}, {0x1680, 0x1680}, {0x2000, 0x200a},
	{0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}
};

/* Control characters, and those that show nothing or turn the text around. */
static const CharRange unseen[] = {
	{0x00, 0x1f}, {0x7f, 0x9f}, {0xad, 0xad}, {0x200b, 0x200f}, {0x2028, 0x202e},
	{0x2060, 0x206f}, {0xfeff, 0xfeff}
};

static bool
in_ranges(pg_wchar c, const CharRange *ranges, int n)
{
	/* other encodings than UTF-8 have code points of their own */
	if (c >= 0x80 && GetDatabaseEncoding() != PG_UTF8)
		return false;
	for (int i = 0; i < n; i++)
		if (c >= ranges[i].first && c <= ranges[i].last)
			return true;
	return false;
}

void
NameCheck(const char *what, const char *name)
{
	int			bytes = strlen(name);
	pg_wchar   *chars;
	int			n;

	if (bytes == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", what)));
	if (bytes > NAME_MAX_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is too long: %d bytes, at most %d", what, bytes, NAME_MAX_BYTES)));

	chars = palloc((bytes + 1) * sizeof(pg_wchar));
	n = pg_mb2wchar_with_len(name, chars, bytes);
	if (in_ranges(chars[0], blanks, lengthof(blanks)) || in_ranges(chars[n - 1], blanks, lengthof(blanks)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not begin or end with a blank", what)));
	for (int i = 0; i < n; i++)
		if (in_ranges(chars[i], unseen, lengthof(unseen)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s must not contain control or invisible characters", what)));
	pfree(chars);
}

void
SlugCheck(const char *slug)
{
	size_t		n = strspn(slug, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

	if (n == 0 || n > SLUG_MAX_BYTES || slug[n] != '\0' || !isalnum((unsigned char) slug[0]))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid slug"),
				 errdetail("A slug is 1 to %d ASCII letters, digits, \".\", \"_\" or \"-\", beginning with a letter or a digit.",
						   SLUG_MAX_BYTES),
				 errhint("Any other name can be the key.")));
}

/* Does the text read as an int8: optional sign, digits, leading zeros? */
static bool
reads_as_int8(const char *name, int64 *value)
{
	const char *p = name;
	uint64		magnitude = 0;
	bool		negative = *p == '-';

	if (*p == '-' || *p == '+')
		p++;
	if (*p == '\0')
		return false;
	for (; *p; p++)
	{
		int			digit = *p - '0';

		if (digit < 0 || digit > 9 || magnitude > (UINT64_MAX - digit) / 10)
			return false;
		magnitude = magnitude * 10 + digit;
	}
	if (magnitude > (uint64) PG_INT64_MAX + (negative ? 1 : 0))
		return false;
	*value = (int64) (negative ? -magnitude : magnitude);
	return true;
}

Arg
NameInt8Arg(const char *key)
{
	char		canonical[32];
	int64		value = 0;
	bool		is_int8 = reads_as_int8(key, &value);

	snprintf(canonical, sizeof(canonical), INT64_FORMAT, value);
	is_int8 = is_int8 && strcmp(canonical, key) == 0;
	return (Arg) {INT8OID, Int64GetDatum(value), !is_int8};
}

/* The canonical form of whatever PostgreSQL reads as a uuid, or NULL. */
static char *
as_uuid(const char *name)
{
	char		canonical[UUID_LEN * 2 + 5];
	int			digits = 0;
	int			n = 0;

	for (const char *p = name; *p; p++)
	{
		if (*p == '-' || *p == '{' || *p == '}')
			continue;
		if (!isxdigit((unsigned char) *p) || digits == UUID_LEN * 2)
			return NULL;
		if (digits == 8 || digits == 12 || digits == 16 || digits == 20)
			canonical[n++] = '-';
		canonical[n++] = tolower((unsigned char) *p);
		digits++;
	}
	if (digits != UUID_LEN * 2)
		return NULL;
	canonical[n] = '\0';
	return pstrdup(canonical);
}

char *
NameFold(const char *name)
{
	int64		number;
	char	   *uuid;
	Datum		folded;

	if (reads_as_int8(name, &number))
		return psprintf(INT64_FORMAT, number);
	uuid = as_uuid(name);
	if (uuid)
		return uuid;
	folded = CStringGetTextDatum(name);
	if (GetDatabaseEncoding() == PG_UTF8)
		folded = DirectFunctionCall2(unicode_normalize_func, folded, CStringGetTextDatum("NFC"));
	return TextDatumGetCString(DirectFunctionCall1Coll(lower, DEFAULT_COLLATION_OID, folded));
}

ArrayType *
NamesFold(const pg_uuid_t *id, const char *slug, const char *key, int *count)
{
	char	   *folded[3] = {UuidText(id), NameFold(slug), NameFold(key)};
	Datum		names[3];
	int			n = 0;

	for (int i = 0; i < 3; i++)
	{
		bool		seen = false;

		for (int j = 0; j < i; j++)
			seen |= strcmp(folded[i], folded[j]) == 0;
		if (!seen)
			names[n++] = CStringGetTextDatum(folded[i]);
	}
	*count = n;
	return construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT);
}
