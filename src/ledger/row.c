/*
 * row.c
 *		An entry as the columns of the view bulwark.ledger, in text: what exports
 *		are made of.
 */
#include "ledger/view.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

const char *const ledger_column_names[LEDGER_COLUMNS] = {
	"entry_id", "leaf_index", "occurred_at", "source", "action", "tenant_id", "affiliation",
	"actor_id", "actor_email", "actor_proof", "assumed_by", "db_role", "entity_type", "entity_id",
	"route", "request_id", "client_addr", "metadata", "old", "new"
};

/* A decoder of the view: NULL where it returns NULL. */
static Datum
decode(PGFunction decoder, bytea *leaf, bytea *content, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum		result;

	InitFunctionCallInfoData(*fcinfo, NULL, content != NULL ? 2 : 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = PointerGetDatum(leaf);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = PointerGetDatum(content);
	fcinfo->args[1].isnull = false;
	result = decoder(fcinfo);
	*isnull = fcinfo->isnull;
	return result;
}

static char *
decode_text(PGFunction decoder, bytea *bytes)
{
	bool		isnull;
	Datum		value = decode(decoder, bytes, NULL, &isnull);

	return isnull ? NULL : text_to_cstring(DatumGetTextPP(value));
}

static char *
decode_json(PGFunction decoder, bytea *leaf, bytea *content)
{
	bool		isnull;
	Datum		value = decode(decoder, leaf, content, &isnull);
	Jsonb	   *jsonb;

	if (isnull)
		return NULL;
	jsonb = DatumGetJsonbP(value);
	return JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
}

static char *
uuid_bytes_text(const uint8 *bytes)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, PointerGetDatum(bytes)));
}

static void
fill_from_leaf(LedgerRow *row, bytea *leaf_bytes)
{
	bw_leaf		leaf;
	const char *action;

	if (bw_leaf_parse(VARDATA_ANY(leaf_bytes), VARSIZE_ANY_EXHDR(leaf_bytes), &leaf) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("an entry of the ledger is damaged"),
				 errhint("bulwark.ledger_problems() names it.")));
	action = bw_action_text(leaf.action);
	row->time = leaf.time;
	row->text[COL_ENTRY_ID] = psprintf(UINT64_FORMAT, leaf.entry_id);
	row->text[COL_OCCURRED_AT] = LedgerTimeText(leaf.time);
	row->text[COL_SOURCE] = decode_text(bulwark_leaf_source, leaf_bytes);
	row->text[COL_ACTION] = action != NULL ? pstrdup(action) : LedgerCString(&leaf.action_name);
	if (leaf.flags & BW_LEAF_TENANT)
		row->text[COL_TENANT_ID] = uuid_bytes_text(leaf.tenant);
	if (leaf.flags & BW_LEAF_AFFILIATION)
		row->text[COL_AFFILIATION] = LedgerCString(&leaf.affiliation);
	if (leaf.flags & BW_LEAF_ACTOR)
		row->text[COL_ACTOR_ID] = uuid_bytes_text(leaf.actor);
	row->text[COL_ACTOR_PROOF] = decode_text(bulwark_leaf_proof, leaf_bytes);
	row->text[COL_ASSUMED_BY] = decode_text(bulwark_leaf_assumed_by, leaf_bytes);
	row->text[COL_DB_ROLE] = LedgerCString(&leaf.role);
	row->text[COL_ENTITY_TYPE] = LedgerCString(&leaf.entity_type);
}

static void
fill_from_content(LedgerRow *row, bytea *leaf, bytea *content)
{
	static const struct
	{
		LedgerColumn column;
		bw_tag		tag;
	}			plain[] = {
		{COL_ENTITY_ID, BW_TAG_ENTITY_ID},
		{COL_ACTOR_EMAIL, BW_TAG_EMAIL},
		{COL_ROUTE, BW_TAG_ROUTE},
		{COL_REQUEST_ID, BW_TAG_REQUEST_ID},
		{COL_CLIENT_ADDR, BW_TAG_CLIENT_ADDR},
	};

	for (int i = 0; i < lengthof(plain); i++)
	{
		bw_field	field;

		if (LedgerField(content, plain[i].tag, &field) && field.mode == BW_MODE_PLAIN)
			row->text[plain[i].column] = LedgerCString(&field.value);
	}
	row->text[COL_METADATA] = decode_json(bulwark_entry_metadata, leaf, content);
	row->text[COL_OLD] = decode_json(bulwark_entry_old, leaf, content);
	row->text[COL_NEW] = decode_json(bulwark_entry_new, leaf, content);
}

void
LedgerRowFill(LedgerRow *row, bytea *leaf, bytea *content, int64 leaf_index)
{
	memset(row, 0, sizeof(*row));
	fill_from_leaf(row, leaf);
	if (leaf_index >= 0)
		row->text[COL_LEAF_INDEX] = psprintf(INT64_FORMAT, leaf_index);
	if (content != NULL)
		fill_from_content(row, leaf, content);
}
