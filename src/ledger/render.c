/*
 * render.c
 *		An entry's images and metadata as JSON, for whoever reads.
 *
 * Images are rendered from the entry alone: the types that its shape names need
 * not exist any more.  Numbers, booleans, JSON and arrays become what they are in
 * JSON, all else the text that the type's output was.  What the entry does not
 * hold is said by an object whose member begins with "$".
 */
#include "ledger/view.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "common/shortest_dec.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/resowner.h"
#include "utils/varlena.h"

#include <ctype.h>
#include <math.h>

/* --- shapes ---------------------------------------------------------------------- */

typedef struct ShapeEntry
{
	uint8		id[BW_SHAPE_ID_LEN];
	bytea	   *shape;
} ShapeEntry;

/* A shape's bytes follow from its id, so what was found stays right. */
static HTAB *shapes = NULL;

static void
shapes_create(void)
{
	HASHCTL		control = {
		.keysize = BW_SHAPE_ID_LEN,
		.entrysize = sizeof(ShapeEntry),
		.hcxt = TopMemoryContext,
	};

	shapes = hash_create("bulwark ledger shapes", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* The shape with that id, from the table; NULL where it is not, or not that. */
static bytea *
shape_read(const uint8 *id)
{
	Relation	rel = table_open(PrivateRelid("ledger_shapes"), AccessShareLock);
	bytea	   *key = palloc(VARHDRSZ + BW_SHAPE_ID_LEN);
	bytea	   *found = NULL;
	ScanKeyData scankey;
	SysScanDesc scan;
	HeapTuple	tuple;

	SET_VARSIZE(key, VARHDRSZ + BW_SHAPE_ID_LEN);
	memcpy(VARDATA(key), id, BW_SHAPE_ID_LEN);
	ScanKeyInit(&scankey, 1, BTEqualStrategyNumber, F_BYTEAEQ, PointerGetDatum(key));
	scan = systable_beginscan(rel, PrivateRelid("ledger_shapes_shape_id_idx"), true, NULL, 1, &scankey);
	while (found == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		bytea	   *shape = DatumGetByteaPP(heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));
		uint8		actual[BW_SHAPE_ID_LEN];

		bw_shape_id(VARDATA_ANY(shape), VARSIZE_ANY_EXHDR(shape), actual);
		if (memcmp(actual, id, BW_SHAPE_ID_LEN) == 0)
		{
			Size		len = VARSIZE_ANY_EXHDR(shape);

			found = MemoryContextAlloc(TopMemoryContext, VARHDRSZ + len);
			SET_VARSIZE(found, VARHDRSZ + len);
			memcpy(VARDATA(found), VARDATA_ANY(shape), len);
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static const bytea *
shape_of(const bytea *content)
{
	bw_field	field;
	ShapeEntry *entry;
	bytea	   *shape;

	if (!LedgerField(content, BW_TAG_SHAPE, &field) || field.value.len != BW_SHAPE_ID_LEN)
		return NULL;
	if (shapes == NULL)
		shapes_create();
	entry = hash_search(shapes, field.value.data, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->shape;
	shape = shape_read(field.value.data);
	if (shape != NULL)
	{
		entry = hash_search(shapes, field.value.data, HASH_ENTER, NULL);
		entry->shape = shape;
	}
	return shape;
}

/* --- values ------------------------------------------------------------------------ */

static void
push_string(JsonbParseState **state, JsonbIteratorToken token, const char *text, int len)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = len;
	pushJsonbValue(state, token, &value);
}

static void
push_null(JsonbParseState **state, JsonbIteratorToken token)
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
static void
push_note(JsonbParseState **state, const char *name, const char *text)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_string(state, WJB_KEY, name, (int) strlen(name));
	if (text != NULL)
		push_string(state, WJB_VALUE, text, (int) strlen(text));
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
		push_string(state, token, text, len);
		return;
	}
	push_numeric(state, token,
				 DirectFunctionCall3(numeric_in, CStringGetDatum(pnstrdup(text, len)),
									 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* JSON that jsonb does not take (\u0000, a huge number) stays a string. */
static Jsonb *
json_or_null(const char *text)
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

static void
push_jsonb(JsonbParseState **state, JsonbIteratorToken token, Jsonb *jsonb)
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
	Jsonb	   *jsonb = json_or_null(pnstrdup(text, len));

	if (jsonb == NULL)
		push_string(state, token, text, len);
	else
		push_jsonb(state, token, jsonb);
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
			push_string(state, token, text, len);
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
		push_null(state, WJB_ELEM);
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

static void
push_value(JsonbParseState **state, const bw_column *column, const bw_bytes *bytes)
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
		push_note(state, "$unreadable", NULL);
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

				push_string(state, WJB_VALUE, VARDATA_ANY(converted), VARSIZE_ANY_EXHDR(converted));
				return;
			}
		default:
			push_output(state, column, bytes);
			return;
	}
	push_string(state, WJB_VALUE, text, (int) strlen(text));
}

static void
push_digest(JsonbParseState **state, const bw_bytes *value)
{
	bw_reader	r = {.data = value->data, .len = value->len};
	uint8		digest[BW_SHA256_LEN];
	char		hex[2 * BW_SHA256_LEN];

	bw_get(&r, digest, sizeof(digest));
	bw_hex_encode(digest, sizeof(digest), hex);
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_string(state, WJB_KEY, "$sha256", 7);
	push_string(state, WJB_VALUE, hex, sizeof(hex));
	push_string(state, WJB_KEY, "$length", 7);
	push_int(state, WJB_VALUE, (int64) bw_get_uint(&r, 8));
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static void
push_sealed(JsonbParseState **state, const bw_column *column, const bw_bytes *value, const uint8 *tenant)
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
		push_note(state, "$sealed", NULL);
		return;
	}
	push_value(state, column, &(bw_bytes) {plain, len});
	bw_wipe(plain, len);
}

/* --- images -------------------------------------------------------------------------------- */

/* May the current user select the column?  Not if there is no such column now. */
static bool
column_selectable(Oid relid, const bw_column *column)
{
	char	   *name = text_to_cstring(LedgerText(&column->name));
	AttrNumber	attno = get_attnum(relid, name);

	return attno > 0 && pg_attribute_aclcheck(relid, attno, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

static Oid
relation_of_shape(const bw_shape *shape)
{
	char	   *name = text_to_cstring(LedgerText(&shape->relation));

	return RangeVarGetRelid(makeRangeVarFromNameList(BW_QUALIFIED_NAME_LIST(name)), NoLock, true);
}

typedef struct Rendering
{
	bool		all_columns;	/* else those of relid that the user may select */
	Oid			relid;
	const uint8 *tenant;
} Rendering;

static bool
shows(const Rendering *rendering, const bw_column *column)
{
	return rendering->all_columns || column_selectable(rendering->relid, column);
}

/* base (may be NULL): the old image, from which unchanged columns are taken */
static Datum
render_image(const bytea *shape_bytes, const bw_bytes *image_bytes, const bw_bytes *base_bytes,
			 const Rendering *rendering)
{
	JsonbParseState *state = NULL;
	bw_shape	shape;
	bw_column	column;
	bw_image	image;
	bw_image	base;
	bw_value	value;
	bw_value	old;

	if (!bw_shape_open(&shape, VARDATA_ANY(shape_bytes), VARSIZE_ANY_EXHDR(shape_bytes)) ||
		!bw_image_open(&image, image_bytes->data, image_bytes->len) ||
		(base_bytes != NULL && !bw_image_open(&base, base_bytes->data, base_bytes->len)))
		return (Datum) 0;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while (bw_shape_next(&shape, &column) && bw_image_next(&image, &value))
	{
		text	   *name;

		if (base_bytes != NULL && !bw_image_next(&base, &old))
			break;
		if (value.kind == BW_KIND_UNCHANGED && base_bytes != NULL)
			value = old;
		if (value.kind == BW_KIND_EXCLUDED || value.kind == BW_KIND_UNCHANGED || !shows(rendering, &column))
			continue;

		name = LedgerText(&column.name);
		push_string(&state, WJB_KEY, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
		switch (value.kind)
		{
			case BW_KIND_NULL:
				push_null(&state, WJB_VALUE);
				break;
			case BW_KIND_VALUE:
				push_value(&state, &column, &value.value);
				break;
			case BW_KIND_EXCLUDED_CHANGED:
				push_note(&state, "$excluded", "changed");
				break;
			case BW_KIND_DIGEST:
				push_digest(&state, &value.value);
				break;
			default:
				push_sealed(&state, &column, &value.value, rendering->tenant);
				break;
		}
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* How much of the images of this entry the reader may see; false: nothing. */
static bool
rendering_for(const bytea *leaf, const bytea *shape, Rendering *rendering)
{
	bw_shape	opened;
	bw_bytes	tenant;
	bool		as_tenant;

	memset(rendering, 0, sizeof(*rendering));
	if (!LedgerContentVisible(leaf, &as_tenant))
		return false;
	rendering->all_columns = !as_tenant;
	if (as_tenant && shape != NULL)
	{
		if (!bw_shape_open(&opened, VARDATA_ANY(shape), VARSIZE_ANY_EXHDR(shape)))
			return false;
		rendering->relid = relation_of_shape(&opened);
		if (!OidIsValid(rendering->relid))
			return false;
		rendering->all_columns = pg_class_aclcheck(rendering->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
	}
	if (bw_leaf_get_tenant(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), &tenant))
		rendering->tenant = tenant.data;
	return true;
}

bool
LedgerContentWhole(const bytea *leaf, const bytea *content)
{
	const bytea *shape = shape_of(content);
	bw_field	image;
	Rendering	rendering;
	bool		images = LedgerField(content, BW_TAG_OLD_IMAGE, &image) ||
		LedgerField(content, BW_TAG_NEW_IMAGE, &image);

	return rendering_for(leaf, shape, &rendering) &&
		(rendering.all_columns || (shape == NULL && !images));
}

/* The image with that tag, as far as the reader may see it; else a NULL Datum. */
static Datum
entry_image(const bytea *leaf, const bytea *content, bw_tag tag)
{
	const bytea *shape;
	Rendering	rendering;
	bw_field	image;
	bw_field	old;
	bool		has_old;

	if (!LedgerField(content, tag, &image) || image.mode != BW_MODE_PLAIN)
		return (Datum) 0;
	shape = shape_of(content);
	if (shape == NULL || !rendering_for(leaf, shape, &rendering))
		return (Datum) 0;
	has_old = tag == BW_TAG_NEW_IMAGE && LedgerField(content, BW_TAG_OLD_IMAGE, &old) &&
		old.mode == BW_MODE_PLAIN;
	return render_image(shape, &image.value, has_old ? &old.value : NULL, &rendering);
}

PG_FUNCTION_INFO_V1(bulwark_entry_old);
Datum
bulwark_entry_old(PG_FUNCTION_ARGS)
{
	Datum		image = entry_image(PG_GETARG_BYTEA_PP(0), PG_GETARG_BYTEA_PP(1), BW_TAG_OLD_IMAGE);

	if (image == (Datum) 0)
		PG_RETURN_NULL();
	return image;
}

PG_FUNCTION_INFO_V1(bulwark_entry_new);
Datum
bulwark_entry_new(PG_FUNCTION_ARGS)
{
	Datum		image = entry_image(PG_GETARG_BYTEA_PP(0), PG_GETARG_BYTEA_PP(1), BW_TAG_NEW_IMAGE);

	if (image == (Datum) 0)
		PG_RETURN_NULL();
	return image;
}

static Jsonb *
json_field(const bytea *content, bw_tag tag)
{
	bw_field	field;
	text	   *value;
	Jsonb	   *jsonb;

	if (!LedgerField(content, tag, &field) || field.mode != BW_MODE_PLAIN)
		return NULL;
	value = LedgerText(&field.value);
	jsonb = json_or_null(text_to_cstring(value));
	if (jsonb == NULL)			/* shown all the same */
	{
		JsonbValue	string = {.type = jbvString};

		string.val.string.val = VARDATA_ANY(value);
		string.val.string.len = VARSIZE_ANY_EXHDR(value);
		jsonb = JsonbValueToJsonb(&string);
	}
	return jsonb;
}

/*
 * The entry's own metadata, or what the application asserted with annotate();
 * where there are both, that is a member "request" of the first.
 */
PG_FUNCTION_INFO_V1(bulwark_entry_metadata);
Datum
bulwark_entry_metadata(PG_FUNCTION_ARGS)
{
	bytea	   *content = PG_GETARG_BYTEA_PP(1);
	bool		as_tenant;
	Jsonb	   *own;
	Jsonb	   *request;

	if (!LedgerContentVisible(PG_GETARG_BYTEA_PP(0), &as_tenant))
		PG_RETURN_NULL();
	own = json_field(content, BW_TAG_METADATA);
	request = json_field(content, BW_TAG_REQUEST_METADATA);
	if (own != NULL && request != NULL && JB_ROOT_IS_OBJECT(own))
	{
		JsonbParseState *state = NULL;
		Jsonb	   *member;

		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		push_string(&state, WJB_KEY, "request", 7);
		push_jsonb(&state, WJB_VALUE, request);
		member = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
		return DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(own), JsonbPGetDatum(member));
	}
	if (own == NULL && request == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(own != NULL ? own : request);
}
