/*
 * image.c
 *		Rows as bytes that no session setting changes.
 *
 * Common types have a binary form that costs nothing; all others are the output of
 * their type, under pinned settings.  Which settings an output depends on is known
 * for the server's own types (shape.c); only those that the session has otherwise
 * are pinned, which for most rows is none.
 */
#include "ledger/capture.h"

#include "access/detoast.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "pgtime.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/json.h"

/*
 * An image does not grow past this: what is left of its large values is digests.
 * Two of them, each byte six in JSON, and the content in base64 make a line of text.
 */
#define IMAGE_MAX		((Size) 16 * 1024 * 1024)
#define IMAGE_INLINE	256			/* smaller values are kept in any case */

static int	max_value_kb = 1024;	/* bulwark.ledger_max_value */

/* --- settings ---------------------------------------------------------------------------- */

typedef struct PinnedSetting
{
	uint8		pin;
	const char *name;
	const char *value;
} PinnedSetting;

static const PinnedSetting pinned_settings[] = {
	{PIN_DATESTYLE, "DateStyle", "ISO"},
	{PIN_INTERVAL, "IntervalStyle", "postgres"},
	{PIN_FLOAT, "extra_float_digits", "1"},
	{PIN_BYTEA, "bytea_output", "hex"},
	{PIN_TIMEZONE, "TimeZone", "UTC"},
	{PIN_MONEY, "lc_monetary", "C"},
	{PIN_PATH, "search_path", ""},
	{PIN_PATH, "quote_all_identifiers", "off"},
};

/* Which of the pins the session has otherwise. */
static uint8
settings_to_pin(uint8 pins)
{
	uint8		differ = 0;

	if ((pins & PIN_DATESTYLE) && DateStyle != USE_ISO_DATES)
		differ |= PIN_DATESTYLE;
	if ((pins & PIN_INTERVAL) && IntervalStyle != INTSTYLE_POSTGRES)
		differ |= PIN_INTERVAL;
	if ((pins & PIN_FLOAT) && extra_float_digits != 1)
		differ |= PIN_FLOAT;
	if ((pins & PIN_BYTEA) && bytea_output != BYTEA_OUTPUT_HEX)
		differ |= PIN_BYTEA;
	if ((pins & PIN_TIMEZONE) && strcmp(pg_get_timezone_name(session_timezone), "UTC") != 0)
		differ |= PIN_TIMEZONE;
	if ((pins & PIN_MONEY) && strcmp(GetConfigOption("lc_monetary", false, false), "C") != 0)
		differ |= PIN_MONEY;
	if ((pins & PIN_PATH) && (namespace_search_path[0] != '\0' || quote_all_identifiers))
		differ |= PIN_PATH;
	return differ;
}

int
PinSettings(uint8 pins)
{
	int			level;

	pins = settings_to_pin(pins);
	if (pins == 0)
		return 0;
	level = NewGUCNestLevel();
	for (int i = 0; i < lengthof(pinned_settings); i++)
		if (pins & pinned_settings[i].pin)
			(void) set_config_option(pinned_settings[i].name, pinned_settings[i].value,
									 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

void
UnpinSettings(int level)
{
	if (level != 0)
		AtEOXact_GUC(true, level);
}

/* --- values -------------------------------------------------------------------------------- */

static inline void
put_kind(StringInfo buf, bw_kind kind)
{
	appendStringInfoCharMacro(buf, (char) kind);
}

static inline void
put_varint(StringInfo buf, uint64 value)
{
	enlargeStringInfo(buf, BW_VARINT_MAX);
	buf->len += bw_varint_encode(value, (uint8 *) buf->data + buf->len);
}

/* A value of the given bytes, or what stands for it. */
static void
put_bytes(StringInfo buf, const CaptureColumn *column, const void *data, Size len,
		  const uint8 *salt, const pg_uuid_t *tenant)
{
	if (len > (Size) max_value_kb * 1024 ||
		(len > IMAGE_INLINE && buf->len + len > IMAGE_MAX))
	{
		uint8		digest[BW_DIGEST_LEN];

		bw_value_digest(salt, data, len, digest);
		put_kind(buf, BW_KIND_DIGEST);
		appendBinaryStringInfo(buf, (const char *) digest, BW_DIGEST_LEN);
	}
	else if (column->sealed)
	{
		const ContentSealer *sealer = ContentSealerGet();
		void	   *sealed;
		Size		sealed_len;

		if (sealer == NULL || tenant == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("a sealed column cannot be recorded"),
					 sealer == NULL ? errdetail("No module seals contents.") :
					 errdetail("The row has no tenant, and no identity is in force.")));
		sealed = sealer->seal(tenant, data, len, &sealed_len);
		put_kind(buf, BW_KIND_SEALED);
		put_varint(buf, sealed_len);
		appendBinaryStringInfo(buf, sealed, sealed_len);
		pfree(sealed);
	}
	else
	{
		put_kind(buf, BW_KIND_VALUE);
		put_varint(buf, len);
		appendBinaryStringInfo(buf, data, len);
	}
}

/* The bytes of a varlena as they are, or in UTF-8. */
static void
put_varlena(StringInfo buf, const CaptureColumn *column, Datum value,
			const uint8 *salt, const pg_uuid_t *tenant)
{
	struct varlena *raw = (struct varlena *) DatumGetPointer(value);
	struct varlena *plain = VARATT_IS_EXTERNAL(raw) || VARATT_IS_COMPRESSED(raw) ? detoast_attr(raw) : raw;
	bw_bytes	bytes = {(const uint8_t *) VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain)};

	if (column->encoding == BW_ENC_TEXT)
		bytes = LedgerUtf8((const char *) bytes.data, bytes.len);
	put_bytes(buf, column, bytes.data, bytes.len, salt, tenant);
	if (plain != raw)
		pfree(plain);
}

/* The type's output. */
static void
put_output(StringInfo buf, const CaptureColumn *column, Datum value,
		   const uint8 *salt, const pg_uuid_t *tenant)
{
	char	   *text = OutputFunctionCall(unconstify(FmgrInfo *, &column->output), value);
	bw_bytes	bytes = LedgerUtf8(text, strlen(text));

	put_bytes(buf, column, bytes.data, bytes.len, salt, tenant);
	pfree(text);
}

/* Big-endian bytes of a value of fixed width. */
static Size
fixed_bytes(const CaptureColumn *column, Datum value, uint8 bytes[16])
{
	switch (column->encoding)
	{
		case BW_ENC_BOOL:
			bytes[0] = DatumGetBool(value) ? 1 : 0;
			return 1;
		case BW_ENC_INT2:
			{
				uint16		be = pg_hton16((uint16) DatumGetInt16(value));

				memcpy(bytes, &be, 2);
				return 2;
			}
		case BW_ENC_INT4:
		case BW_ENC_DATE:
			{
				uint32		be = pg_hton32((uint32) DatumGetInt32(value));

				memcpy(bytes, &be, 4);
				return 4;
			}
		case BW_ENC_FLOAT4:
			{
				float4		number = DatumGetFloat4(value);
				uint32		be;

				memcpy(&be, &number, 4);
				be = pg_hton32(be);
				memcpy(bytes, &be, 4);
				return 4;
			}
		case BW_ENC_FLOAT8:
			{
				float8		number = DatumGetFloat8(value);
				uint64		be;

				memcpy(&be, &number, 8);
				be = pg_hton64(be);
				memcpy(bytes, &be, 8);
				return 8;
			}
		case BW_ENC_UUID:
			memcpy(bytes, DatumGetUUIDP(value)->data, UUID_LEN);
			return UUID_LEN;
		default:				/* int8, timestamp, timestamptz */
			{
				uint64		be = pg_hton64((uint64) DatumGetInt64(value));

				memcpy(bytes, &be, 8);
				return 8;
			}
	}
}

static void
put_value(StringInfo buf, const CaptureColumn *column, Datum value,
		  const uint8 *salt, const pg_uuid_t *tenant)
{
	uint8		bytes[16];

	switch (column->encoding)
	{
		case BW_ENC_TEXT_OUTPUT:
			put_output(buf, column, value, salt, tenant);
			break;
		case BW_ENC_TEXT:
		case BW_ENC_BYTEA:
			put_varlena(buf, column, value, salt, tenant);
			break;
		default:
			put_bytes(buf, column, bytes, fixed_bytes(column, value, bytes), salt, tenant);
	}
}

/* --- images ----------------------------------------------------------------------------------- */

/* Is it the same value out of line, to judge by where it is kept? */
static bool
same_toast_pointer(Datum a, Datum b)
{
	struct varlena *left = (struct varlena *) DatumGetPointer(a);
	struct varlena *right = (struct varlena *) DatumGetPointer(b);
	struct varatt_external left_pointer,
				right_pointer;

	if (!VARATT_IS_EXTERNAL_ONDISK(left) || !VARATT_IS_EXTERNAL_ONDISK(right))
		return false;
	VARATT_EXTERNAL_GET_POINTER(left_pointer, left);
	VARATT_EXTERNAL_GET_POINTER(right_pointer, right);
	return memcmp(&left_pointer, &right_pointer, sizeof(left_pointer)) == 0;
}

bool
ImageCompare(const CaptureShape *shape, TupleTableSlot *old, TupleTableSlot *new, uint8 *changes)
{
	bool		any = false;

	for (int i = 0; i < shape->ncolumns; i++)
	{
		const CaptureColumn *column = &shape->columns[i];
		int			at = column->attno - 1;
		bool		old_null = old->tts_isnull[at];
		bool		new_null = new->tts_isnull[at];

		if (old_null || new_null)
			changes[i] = old_null && new_null ? COLUMN_SAME : COLUMN_CHANGED;
		else if (column->attlen == -1 && same_toast_pointer(old->tts_values[at], new->tts_values[at]))
			changes[i] = COLUMN_SAME_APART;
		else
			changes[i] = datum_image_eq(old->tts_values[at], new->tts_values[at],
										column->attbyval, column->attlen) ? COLUMN_SAME : COLUMN_CHANGED;
		any |= changes[i] == COLUMN_CHANGED;
	}
	return any;
}

void
ImageBuild(StringInfo buf, const CaptureShape *shape, TupleTableSlot *slot, ImageSide side,
		   const uint8 *changes, const uint8 *salt, const pg_uuid_t *tenant)
{
	resetStringInfo(buf);
	put_varint(buf, shape->ncolumns);
	for (int i = 0; i < shape->ncolumns; i++)
	{
		const CaptureColumn *column = &shape->columns[i];
		int			at = column->attno - 1;
		bool		new_of_update = side == IMAGE_NEW && changes != NULL;

		if (column->excluded)
			put_kind(buf, new_of_update && changes[i] == COLUMN_CHANGED ?
					 BW_KIND_EXCLUDED_CHANGED : BW_KIND_EXCLUDED);
		else if (changes != NULL &&
				 (changes[i] == COLUMN_SAME_APART || (new_of_update && changes[i] == COLUMN_SAME)))
			put_kind(buf, BW_KIND_UNCHANGED);
		else if (slot->tts_isnull[at])
			put_kind(buf, BW_KIND_NULL);
		else
			put_value(buf, column, slot->tts_values[at], salt, tenant);
	}
}

/* --- keys ------------------------------------------------------------------------------------- */

/* Text of a key column, as its type writes it. */
static char *
key_text(const CaptureColumn *column, Datum value)
{
	if (column->encoding == BW_ENC_TEXT)
		return TextDatumGetCString(value);
	return OutputFunctionCall(unconstify(FmgrInfo *, &column->output), value);
}

static bool
is_integer(const CaptureColumn *column)
{
	return column->encoding == BW_ENC_INT2 || column->encoding == BW_ENC_INT4 || column->encoding == BW_ENC_INT8;
}

char *
ImageKey(const CaptureShape *shape, TupleTableSlot *slot)
{
	StringInfoData buf;
	const CaptureColumn *column;

	if (shape->nkeys == 0)
		return NULL;
	column = &shape->columns[shape->keys[0]];
	if (shape->nkeys == 1)
		return slot->tts_isnull[column->attno - 1] ? NULL :
			key_text(column, slot->tts_values[column->attno - 1]);

	initStringInfo(&buf);
	for (int i = 0; i < shape->nkeys; i++)
	{
		column = &shape->columns[shape->keys[i]];
		appendStringInfoChar(&buf, i == 0 ? '[' : ',');
		if (slot->tts_isnull[column->attno - 1])
			appendStringInfoString(&buf, "null");
		else if (is_integer(column))
			appendStringInfoString(&buf, key_text(column, slot->tts_values[column->attno - 1]));
		else
			escape_json(&buf, key_text(column, slot->tts_values[column->attno - 1]));
	}
	appendStringInfoChar(&buf, ']');
	return buf.data;
}

void
ImageInit(void)
{
	DefineCustomIntVariable("bulwark.ledger_max_value",
							"Values of more bytes are recorded as their digest and length.",
							NULL, &max_value_kb, 1024, 1, 16384, PGC_SIGHUP,
							GUC_UNIT_KB | GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
}
