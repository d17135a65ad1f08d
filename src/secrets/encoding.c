/*
 * encoding.c
 *		Texts on their way into and out of values.
 *
 *		A value holds UTF-8 whatever the database's encoding is, so that a dump
 *		restored into a database of another encoding still opens to the same text,
 *		and so that a signature or a blind index is the same there.  Nothing here
 *		quotes what it could not convert, as the server's own conversions do.
 */
#include "secrets/values.h"

#include "catalog/namespace.h"
#include "common/unicode_norm.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

BW_NORETURN static void
refuse_encoding(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
			 errmsg("%s cannot be converted between UTF-8 and %s, the encoding of the database",
					what, GetDatabaseEncodingName()),
			 errdetail("It is not shown.")));
}

static bool
is_ascii(const char *data, Size len)
{
	for (Size i = 0; i < len; i++)
		if (IS_HIGHBIT_SET(data[i]))
			return false;
	return true;
}

/* Memory for a copy that is wiped on every path. */
static char *
hold(Plain *plain, Size size)
{
	plain->copy = SecretAlloc(CurrentMemoryContext, size);
	plain->copy_size = size;
	return plain->copy;
}

/* Converted between encodings, wiped memory of *outlen bytes and a NUL. */
static char *
convert(const char *data, Size len, int from, int to, const char *what, Size *size, Size *outlen)
{
	Oid			proc = FindDefaultConversionProc(from, to);
	char	   *converted;

	if (!OidIsValid(proc) || len > MaxAllocSize / MAX_CONVERSION_GROWTH - 1)
		refuse_encoding(what);
	*size = len * MAX_CONVERSION_GROWTH + 1;
	converted = SecretAlloc(CurrentMemoryContext, *size);
	if (pg_do_encoding_conversion_buf(proc, from, to, (unsigned char *) unconstify(char *, data), len,
									  (unsigned char *) converted, *size, true) != len)
		refuse_encoding(what);
	*outlen = strlen(converted);
	return converted;
}

void
PlainOfBytes(Plain *plain, Datum argument)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(argument);

	memset(plain, 0, sizeof(*plain));
	plain->len = VARSIZE_ANY_EXHDR(value);
	plain->data = VARDATA_ANY(value);
	if ((Pointer) value != DatumGetPointer(argument))
	{
		/* a detoasted copy, which nobody else would wipe */
		memcpy(hold(plain, plain->len + 1), plain->data, plain->len);
		bw_wipe(value, VARSIZE_ANY(value));
		pfree(value);
		plain->data = plain->copy;
	}
}

void
PlainOfText(Plain *plain, Datum argument, const char *what)
{
	int			encoding = GetDatabaseEncoding();
	Plain		stored;

	PlainOfBytes(plain, argument);
	if (encoding == PG_UTF8 || is_ascii(plain->data, plain->len))
		return;
	if (encoding == PG_SQL_ASCII)
	{
		/* bytes of an unknown encoding: UTF-8, or nothing that would open elsewhere */
		if (!pg_verify_mbstr(PG_UTF8, plain->data, plain->len, true))
			refuse_encoding(what);
		return;
	}
	stored = *plain;
	plain->copy = convert(stored.data, stored.len, encoding, PG_UTF8, what, &plain->copy_size, &plain->len);
	plain->data = plain->copy;
	PlainForget(&stored);
}

/*
 * Composing sorts each run of combining marks, and PostgreSQL's function takes the
 * square of the run's length for it and cannot be interrupted.  So a text is composed
 * in pieces of so many characters at most; a run of marks that fills one is refused
 * (Unicode's stream-safe format, UAX #15, has 30 in a row).
 */
#define PIECE_MAX	256
#define HIGH_MARK	0x0360		/* of combining class 234, and itself no part of another */

/* The first character of what a character decomposes to, itself if it does not. */
static pg_wchar
first_of(pg_wchar c)
{
	const pg_wchar text[] = {c, 0};
	pg_wchar   *decomposed = unicode_normalize(UNICODE_NFD, text);
	pg_wchar	first = decomposed[0];

	for (pg_wchar *p = decomposed; *p != 0; p++)
		bw_wipe(p, sizeof(*p));
	pfree(decomposed);
	return first;
}

/*
 * Does nothing before the character compose with it, or change places with it?  The
 * first character that it decomposes to is a starter then, and nothing that may compose:
 * the quick check refuses a mark of a lower class behind one of class 234, and does not
 * vouch for what may compose.  Marks of that class and above are in two blocks.
 */
static bool
begins_piece(pg_wchar c)
{
	pg_wchar	pair[] = {HIGH_MARK, c, 0};

	if (c < 0x80)
		return true;
	pair[1] = c = first_of(c);
	if ((c >= 0x0300 && c <= 0x036F) || (c >= 0x1DC0 && c <= 0x1DFF))
		return false;
	return unicode_is_normalized_quickcheck(UNICODE_NFC, pair) == UNICODE_NORM_QC_YES;
}

/* Where the piece that begins at start ends; left: from start on. */
static Size
piece_len(const pg_wchar *start, Size left)
{
	if (left <= PIECE_MAX)
		return left;
	for (Size len = PIECE_MAX; len > 0; len--)
		if (begins_piece(start[len]))
			return len;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the text has more than %d characters in a row that combine with those before", PIECE_MAX - 1)));
}

/* The composed piece, in UTF-8, at the end of what plain holds. */
static void
append_composed(Plain *plain, char *data, Size room, const pg_wchar *piece)
{
	pg_wchar   *composed = unicode_normalize(UNICODE_NFC, piece);
	Size		n;

	for (n = 0; composed[n] != 0; n++)
	{
		if (plain->len + 4 > room)
			elog(ERROR, "composed text is longer than Unicode allows");
		unicode_to_utf8(composed[n], (unsigned char *) data + plain->len);
		plain->len += pg_utf_mblen((unsigned char *) data + plain->len);
	}
	bw_wipe(composed, n * sizeof(pg_wchar));
	pfree(composed);
}

/* Composed (NFC), for what is compared by its bytes; 22023 for what is no text. */
void
PlainNormalize(Plain *plain)
{
	pg_wchar   *points;
	Size		n = 0;
	Size		room;
	char	   *data;
	Plain		stored = *plain;

	if (is_ascii(plain->data, plain->len))
		return;
	points = SecretAlloc(CurrentMemoryContext, (plain->len + 1) * sizeof(pg_wchar));
	for (const char *p = plain->data; p < plain->data + plain->len; p += pg_utf_mblen((const unsigned char *) p))
		points[n++] = utf8_to_unicode((const unsigned char *) p);
	if (unicode_is_normalized_quickcheck(UNICODE_NFC, points) == UNICODE_NORM_QC_YES)
	{
		bw_wipe(points, n * sizeof(pg_wchar));
		return;
	}
	/* composed, UTF-8 is at most three times as long (UAX #15) */
	room = plain->len * 3 + 4;
	plain->copy = NULL;
	data = hold(plain, room);
	plain->len = 0;
	for (Size start = 0, len; start < n; start += len)
	{
		pg_wchar	next;

		CHECK_FOR_INTERRUPTS();
		len = piece_len(points + start, n - start);
		next = points[start + len];
		points[start + len] = 0;
		append_composed(plain, data, room, points + start);
		points[start + len] = next;
	}
	plain->data = data;
	bw_wipe(points, n * sizeof(pg_wchar));
	PlainForget(&stored);
}

void
PlainForget(Plain *plain)
{
	if (plain->copy != NULL)
		bw_wipe(plain->copy, plain->copy_size);
	plain->copy = NULL;
}

text *
PlainToText(text *opened)
{
	int			encoding = GetDatabaseEncoding();
	const char *data = VARDATA(opened);
	Size		len = VARSIZE(opened) - VARHDRSZ,
				size;
	char	   *converted;
	text	   *result;

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII || is_ascii(data, len))
		return opened;
	converted = convert(data, len, PG_UTF8, encoding, "the value", &size, &len);
	result = SecretAlloc(CurrentMemoryContext, VARHDRSZ + len);
	SET_VARSIZE(result, VARHDRSZ + len);
	memcpy(VARDATA(result), converted, len);
	bw_wipe(converted, size);
	bw_wipe(opened, VARSIZE(opened));
	return result;
}

bool
PlainToDocument(char *json, Datum *document)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool read = true;

	PG_TRY();
	{
		*document = DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
	}
	PG_CATCH();
	{
		/* the parser's error quotes what it read; others pass */
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		read = false;
	}
	PG_END_TRY();
	return read;
}
