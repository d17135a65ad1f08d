/*
 * value.c
 *		A column's value as JSON.
 *
 * Values are rendered from the entry alone: the types that its shape names need
 * not exist any more.  Numbers, booleans, JSON and arrays become what they are in
 * JSON, all else the text that the type's output was.  What the entry does not
 * hold is said by an object whose member begins with "$".
 */
#include "ledger/view.h"

#include "access/xact.h"
#include "common/shortest_dec.h"
#include "datatype/timestamp.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/resowner.h"

#include <ctype.h>
#include <math.h>

void
PushString(JsonbParseState **state, JsonbIteratorToken token, const char *text, int len)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = len;
	pushJsonbValue(state, token, &value);
}

void
PushNull(JsonbParseState **state, JsonbIteratorToken token)
{
	JsonbValue	value = {.type = jbvNull};

	pushJsonbValue(state, token, &value);
}

static void
push_bool(JsonbParseState **state, JsonbIteratorToken token, bool truth)
{
	JsonbValue	value;

	value.type = jbvBool;
	value.val.boolean = truth;
	pushJsonbValue(state, token, &value);
}

static void
push_numeric(JsonbParseState **state, JsonbIteratorToken token, Datum numeric)
{
	JsonbValue	value;

	value.type = jbvNumeric;
	value.val.numeric = DatumGetNumeric(numeric);
	pushJsonbValue(state, token, &value);
}

static void
push_int(JsonbParseState **state, JsonbIteratorToken token, int64 number)
{
	push_numeric(state, token, NumericGetDatum(int64_to_numeric(number)));
}

/* A member that says what the entry holds instead of a value. */
void
PushNote(JsonbParseState **state, const char *name, const char *text)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	PushString(state, WJB_KEY, name, (int) strlen(name));
	if (text != NULL)
		PushString(state, WJB_VALUE, text, (int) strlen(text));
	else
		push_bool(state, WJB_VALUE, true);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* Is the text a number as JSON spells it? */
static bool
is_json_number(const char *text, int len)
{
	int			i = 0;

	if (i < len && text[i] == '-')
		i++;
	if (i == len || !isdigit((unsigned char) text[i]))
		return false;
	while (i < len && isdigit((unsigned char) text[i]))
		i++;
	if (i < len && text[i] == '.')
		for (i++; i < len && isdigit((unsigned char) text[i]); i++)
			;
	if (i < len && (text[i] == 'e' || text[i] == 'E'))
	{
		i++;
		if (i < len && (text[i] == '+' || text[i] == '-'))
			i++;
		if (i == len)
			return false;
		while (i < len && isdigit((unsigned char) text[i]))
			i++;
	}
	return i == len && isdigit((unsigned char) text[len - 1]);
}

static void
push_number_text(JsonbParseState **state, JsonbIteratorToken token, const char *text, int len)
{
	if (!is_json_number(text, len))	/* NaN, Infinity */
	{
		PushString(state, token, text, len);
		return;
	}
	push_numeric(state, token,
				 DirectFunctionCall3(numeric_in, CStringGetDatum(pnstrdup(text, len)),
									 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* JSON that jsonb does not take (\u0000, a huge number) stays a string. */
Jsonb *
JsonOrNull(const char *text)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Jsonb	   *volatile jsonb = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION &&
			error->sqlerrcode != ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
			error->sqlerrcode != ERRCODE_STATEMENT_TOO_COMPLEX)
			ReThrowError(error);
		jsonb = NULL;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return jsonb;
}

void
PushJsonb(JsonbParseState **state, JsonbIteratorToken token, Jsonb *jsonb)
{
	JsonbValue	value;

	if (JB_ROOT_IS_SCALAR(jsonb))
	{
		JsonbIterator *it = JsonbIteratorInit(&jsonb->root);

		(void) JsonbIteratorNext(&it, &value, true);	/* the array around it */
		(void) JsonbIteratorNext(&it, &value, true);
	}
	else
	{
		value.type = jbvBinary;
		value.val.binary.data = &jsonb->root;
		value.val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
	}
	pushJsonbValue(state, token, &value);
}

static void
push_json(JsonbParseState **state, JsonbIteratorToken token, const char *text, int len)
{
	Jsonb	   *jsonb = JsonOrNull(pnstrdup(text, len));

	if (jsonb == NULL)
		PushString(state, token, text, len);
	else
		PushJsonb(state, token, jsonb);
}

/* What the text of a type becomes in JSON. */
typedef enum TextKind
{
	AS_STRING, AS_NUMBER, AS_BOOLEAN, AS_JSON
} TextKind;

static bool
type_is(const bw_bytes *type, size_t len, const char *name)
{
	static const char prefix[] = "pg_catalog.";
	const char *text = (const char *) type->data;
	size_t		namelen = strlen(name);

	if (len > sizeof(prefix) - 1 && memcmp(text, prefix, sizeof(prefix) - 1) == 0)
	{
		text += sizeof(prefix) - 1;
		len -= sizeof(prefix) - 1;
	}
	return len >= namelen && memcmp(text, name, namelen) == 0 &&
		(len == namelen || text[namelen] == '(');
}

static TextKind
text_kind(const bw_bytes *type, size_t len)
{
	static const char *const numbers[] = {
		"smallint", "integer", "bigint", "real", "double precision", "numeric",
		"int2", "int4", "int8", "float4", "float8"
	};

	for (int i = 0; i < lengthof(numbers); i++)
		if (type_is(type, len, numbers[i]))
			return AS_NUMBER;
	if (type_is(type, len, "boolean") || type_is(type, len, "bool"))
		return AS_BOOLEAN;
	if (type_is(type, len, "jsonb") || type_is(type, len, "json"))
		return AS_JSON;
	return AS_STRING;
}

static void
push_text(JsonbParseState **state, JsonbIteratorToken token, TextKind kind, const char *text, int len)
{
	switch (kind)
	{
		case AS_NUMBER:
			push_number_text(state, token, text, len);
			break;
		case AS_BOOLEAN:
			push_bool(state, token, len > 0 && text[0] == 't');
			break;
		case AS_JSON:
			push_json(state, token, text, len);
			break;
		default:
			PushString(state, token, text, len);
			break;
	}
}

/* --- arrays: what array_out printed --------------------------------------------------- */

typedef struct ArrayText
{
	const char *p;
	const char *end;
	char		delimiter;
	TextKind	kind;
} ArrayText;

static void
push_array_element(JsonbParseState **state, ArrayText *in)
{
	StringInfoData element;
	bool		quoted = in->p < in->end && *in->p == '"';

	initStringInfo(&element);
	if (quoted)
		in->p++;
	while (in->p < in->end)
	{
		if (quoted ? *in->p == '"' : (*in->p == in->delimiter || *in->p == '}'))
			break;
		if (*in->p == '\\' && in->p + 1 < in->end)
			in->p++;
		appendStringInfoChar(&element, *in->p++);
	}
	if (quoted && in->p < in->end)
		in->p++;
	if (!quoted && pg_strcasecmp(element.data, "NULL") == 0)
		PushNull(state, WJB_ELEM);
	else
		push_text(state, WJB_ELEM, in->kind, element.data, element.len);
}

/* One level of braces, *p at its opening. */
static void
push_array(JsonbParseState **state, ArrayText *in)
{
	check_stack_depth();
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	in->p++;
	while (in->p < in->end && *in->p != '}')
	{
		if (*in->p == '{')
			push_array(state, in);
		else
			push_array_element(state, in);
		if (in->p < in->end && *in->p == in->delimiter)
			in->p++;
	}
	if (in->p < in->end)
		in->p++;
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* Text that a type's output function printed. */
static void
push_output(JsonbParseState **state, const bw_column *column, const bw_bytes *bytes)
{
	text	   *converted = LedgerText(bytes);
	const char *data = VARDATA_ANY(converted);
	int			len = VARSIZE_ANY_EXHDR(converted);
	size_t		typelen = column->type.len;

	if (typelen > 2 && memcmp(column->type.data + typelen - 2, "[]", 2) == 0)
	{
		const char *brace = memchr(data, '{', len);	/* after bounds, if any */

		typelen -= 2;
		if (brace != NULL)
		{
			ArrayText	in = {
				brace, data + len,
				type_is(&column->type, typelen, "box") ? ';' : ',',
				text_kind(&column->type, typelen)
			};

			push_array(state, &in);
			return;
		}
	}
	push_text(state, WJB_VALUE, text_kind(&column->type, typelen), data, len);
}

/* --- columns ---------------------------------------------------------------------------- */

static char *
date_text(int32 date)
{
	struct pg_tm tm;
	char		buffer[MAXDATELEN + 1];

	if (DATE_NOT_FINITE(date))
		EncodeSpecialDate(date, buffer);
	else
	{
		j2date(date + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
		EncodeDateOnly(&tm, USE_ISO_DATES, buffer);
	}
	return pstrdup(buffer);
}

/* As to_jsonb() prints it, in UTC where it has a zone. */
static char *
timestamp_text(int64 value, bool zone)
{
	struct pg_tm tm;
	fsec_t		fsec;
	char		buffer[MAXDATELEN + 1];

	if (TIMESTAMP_NOT_FINITE(value))
		EncodeSpecialTimestamp(value, buffer);
	else if (timestamp2tm(value, NULL, &tm, &fsec, NULL, NULL) != 0)
		snprintf(buffer, sizeof(buffer), INT64_FORMAT, value);
	else
	{
		tm.tm_isdst = 0;
		EncodeDateTime(&tm, fsec, zone, 0, "UTC", USE_XSD_DATES, buffer);
	}
	return pstrdup(buffer);
}

char *
LedgerTimeText(int64 since_1970)
{
	return timestamp_text(since_1970 - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY, true);
}

static void
push_float(JsonbParseState **state, double number, bool single)
{
	char	   *text;

	if (isnan(number))
		text = "NaN";
	else if (isinf(number))
		text = number > 0 ? "Infinity" : "-Infinity";
	else
	{
		/* the shortest digits that read back as this number, whatever the session's setting */
		text = palloc(DOUBLE_SHORTEST_DECIMAL_LEN);
		if (single)
			float_to_shortest_decimal_buf((float) number, text);
		else
			double_to_shortest_decimal_buf(number, text);
	}
	push_number_text(state, WJB_VALUE, text, (int) strlen(text));
}

void
PushValue(JsonbParseState **state, const bw_column *column, const bw_bytes *bytes)
{
	bw_reader	r = {.data = bytes->data, .len = bytes->len};
	int			width = bw_encoding_width(column->encoding);
	char	   *text = NULL;
	union
	{
		uint32		bits;
		float		value;
	}			f4;
	union
	{
		uint64		bits;
		double		value;
	}			f8;

	if (width >= 0 && bytes->len != (size_t) width)
	{
		PushNote(state, "$unreadable", NULL);
		return;
	}
	switch (column->encoding)
	{
		case BW_ENC_BOOL:
			push_bool(state, WJB_VALUE, bytes->data[0] != 0);
			return;
		case BW_ENC_INT2:
			push_int(state, WJB_VALUE, (int16) bw_get_uint(&r, 2));
			return;
		case BW_ENC_INT4:
			push_int(state, WJB_VALUE, (int32) bw_get_uint(&r, 4));
			return;
		case BW_ENC_INT8:
			push_int(state, WJB_VALUE, (int64) bw_get_uint(&r, 8));
			return;
		case BW_ENC_FLOAT4:
			f4.bits = (uint32) bw_get_uint(&r, 4);
			push_float(state, f4.value, true);
			return;
		case BW_ENC_FLOAT8:
			f8.bits = bw_get_uint(&r, 8);
			push_float(state, f8.value, false);
			return;
		case BW_ENC_UUID:
			text = DatumGetCString(DirectFunctionCall1(uuid_out, PointerGetDatum(bytes->data)));
			break;
		case BW_ENC_BYTEA:
			text = palloc(bytes->len * 2 + 3);
			strcpy(text, "\\x");
			bw_hex_encode(bytes->data, bytes->len, text + 2);
			text[bytes->len * 2 + 2] = '\0';
			break;
		case BW_ENC_DATE:
			text = date_text((int32) bw_get_uint(&r, 4));
			break;
		case BW_ENC_TIMESTAMP:
		case BW_ENC_TIMESTAMPTZ:
			text = timestamp_text((int64) bw_get_uint(&r, 8), column->encoding == BW_ENC_TIMESTAMPTZ);
			break;
		case BW_ENC_TEXT:
			{
				struct varlena *converted = LedgerText(bytes);

				PushString(state, WJB_VALUE, VARDATA_ANY(converted), VARSIZE_ANY_EXHDR(converted));
				return;
			}
		default:
			push_output(state, column, bytes);
			return;
	}
	PushString(state, WJB_VALUE, text, (int) strlen(text));
}

void
PushDigest(JsonbParseState **state, const bw_bytes *value)
{
	bw_reader	r = {.data = value->data, .len = value->len};
	uint8		digest[BW_SHA256_LEN];
	char	   *hex = palloc(2 * BW_SHA256_LEN);	/* the JSON points to it until it is made */

	bw_get(&r, digest, sizeof(digest));
	bw_hex_encode(digest, sizeof(digest), hex);
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	PushString(state, WJB_KEY, "$sha256", 7);
	PushString(state, WJB_VALUE, hex, 2 * BW_SHA256_LEN);
	PushString(state, WJB_KEY, "$length", 7);
	push_int(state, WJB_VALUE, (int64) bw_get_uint(&r, 8));
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

void
PushSealed(JsonbParseState **state, const bw_column *column, const bw_bytes *value, const uint8 *tenant)
{
	const ContentSealer *sealer = ContentSealerGet();
	pg_uuid_t	id;
	Size		len = 0;
	void	   *plain = NULL;

	if (sealer != NULL && tenant != NULL)
	{
		memcpy(id.data, tenant, UUID_LEN);
		plain = sealer->open(&id, value->data, value->len, &len);
	}
	if (plain == NULL)
	{
		PushNote(state, "$sealed", NULL);
		return;
	}
	PushValue(state, column, &(bw_bytes) {plain, len});
	bw_wipe(plain, len);
}
