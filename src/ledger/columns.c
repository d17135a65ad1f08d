/*
 * columns.c
 *		Single fields of stored entries as SQL values: for the indexes of closed
 *		segments and for the view.  NULL where the field is absent or the bytes
 *		are no entry's, so that damage stops neither an index nor a query.
 */
#include "ledger/log.h"

#include "common/record.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#define UNIX_EPOCH_US	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)
/* An entity id shorter than this is had without the rest of the content. */
#define SLICE_LEN		2000

PG_FUNCTION_INFO_V1(bulwark_leaf_entry_id);
PG_FUNCTION_INFO_V1(bulwark_leaf_time);
PG_FUNCTION_INFO_V1(bulwark_leaf_actor);
PG_FUNCTION_INFO_V1(bulwark_leaf_tenant);
PG_FUNCTION_INFO_V1(bulwark_leaf_action);
PG_FUNCTION_INFO_V1(bulwark_leaf_entity_type);
PG_FUNCTION_INFO_V1(bulwark_leaf_affiliation);
PG_FUNCTION_INFO_V1(bulwark_content_entity_id);

/* Text of the ledger in the database's encoding; false where it has none there. */
static bool
text_datum(const bw_bytes *utf8, Datum *value)
{
	const char *text = (const char *) utf8->data;
	int			encoding = GetDatabaseEncoding();

	if (encoding == PG_SQL_ASCII || encoding == PG_UTF8)
	{
		if (!pg_verifymbstr(text, (int) utf8->len, true))
			return false;
		*value = PointerGetDatum(cstring_to_text_with_len(text, (int) utf8->len));
		return true;
	}
	if (!pg_verify_mbstr(PG_UTF8, text, (int) utf8->len, true))
		return false;
	text = pg_any_to_server(text, (int) utf8->len, PG_UTF8);
	*value = text == (const char *) utf8->data ?
		PointerGetDatum(cstring_to_text_with_len(text, (int) utf8->len)) : CStringGetTextDatum(text);
	return true;
}

#define LEAF(fcinfo, leaf)	bytea *leaf = PG_GETARG_BYTEA_PP(0)
#define LEAF_BYTES(leaf)	VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf)

Datum
bulwark_leaf_entry_id(PG_FUNCTION_ARGS)
{
	LEAF(fcinfo, leaf);
	uint64_t	entry_id;

	if (!bw_leaf_get_entry_id(LEAF_BYTES(leaf), &entry_id))
		PG_RETURN_NULL();
	PG_RETURN_INT64((int64) entry_id);
}

Datum
bulwark_leaf_time(PG_FUNCTION_ARGS)
{
	LEAF(fcinfo, leaf);
	int64_t		time;

	if (!bw_leaf_get_time(LEAF_BYTES(leaf), &time) ||
		!IS_VALID_TIMESTAMP(time - UNIX_EPOCH_US))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(time - UNIX_EPOCH_US);
}

static Datum
uuid_field(FunctionCallInfo fcinfo, bool (*get) (const void *, size_t, bw_bytes *))
{
	LEAF(fcinfo, leaf);
	bw_bytes	bytes;
	pg_uuid_t  *uuid;

	if (!get(LEAF_BYTES(leaf), &bytes) || bytes.len != UUID_LEN)
		PG_RETURN_NULL();
	uuid = palloc(sizeof(pg_uuid_t));
	memcpy(uuid, bytes.data, UUID_LEN);
	PG_RETURN_UUID_P(uuid);
}

static Datum
text_field(FunctionCallInfo fcinfo, bool (*get) (const void *, size_t, bw_bytes *))
{
	LEAF(fcinfo, leaf);
	bw_bytes	bytes;
	Datum		value;

	if (!get(LEAF_BYTES(leaf), &bytes) || !text_datum(&bytes, &value))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(value);
}

Datum
bulwark_leaf_actor(PG_FUNCTION_ARGS)
{
	return uuid_field(fcinfo, bw_leaf_get_actor);
}

Datum
bulwark_leaf_tenant(PG_FUNCTION_ARGS)
{
	return uuid_field(fcinfo, bw_leaf_get_tenant);
}

Datum
bulwark_leaf_action(PG_FUNCTION_ARGS)
{
	return text_field(fcinfo, bw_leaf_get_action);
}

Datum
bulwark_leaf_entity_type(PG_FUNCTION_ARGS)
{
	return text_field(fcinfo, bw_leaf_get_entity_type);
}

Datum
bulwark_leaf_affiliation(PG_FUNCTION_ARGS)
{
	return text_field(fcinfo, bw_leaf_get_affiliation);
}

/* The entity id is the first field of a content that has one. */
static bool
entity_id_field(struct varlena *content, bool *cut, bw_bytes *value)
{
	bw_content	parsed;
	bw_field	field;

	*cut = false;
	if (!bw_content_open(&parsed, VARDATA_ANY(content), VARSIZE_ANY_EXHDR(content)))
		return false;
	if (!bw_content_next(&parsed, &field))
	{
		*cut = true;
		return false;
	}
	*value = field.value;
	return field.tag == BW_TAG_ENTITY_ID && field.mode == BW_MODE_PLAIN;
}

Datum
bulwark_content_entity_id(PG_FUNCTION_ARGS)
{
	struct varlena *stored = (struct varlena *) PG_GETARG_POINTER(0);
	bool		in_row = !VARATT_IS_EXTERNAL(stored) && !VARATT_IS_COMPRESSED(stored);
	struct varlena *content = in_row ? stored : (struct varlena *) PG_GETARG_BYTEA_P_SLICE(0, 0, SLICE_LEN);
	bw_bytes	bytes;
	Datum		value;
	bool		cut;
	bool		found = entity_id_field(content, &cut, &bytes);

	if (!found && cut && !in_row)
	{
		content = (struct varlena *) PG_GETARG_BYTEA_PP(0);
		found = entity_id_field(content, &cut, &bytes);
	}
	if (!found || !text_datum(&bytes, &value))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(value);
}
