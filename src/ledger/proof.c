/*
 * proof.c
 *		ledger_proof() and ledger_consistency(): RFC 6962 proofs as JSON, with all
 *		that somebody outside needs.
 */
#include "ledger/view.h"

#include "common/merkle.h"
#include "common/note.h"
#include "common/record.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"

static bool
subtree(void *arg, int level, uint64_t n, bw_hash hash)
{
	return TreeHash(level, n, hash);
}

static void
add_base64(StringInfo json, const char *name, const void *data, Size len)
{
	char	   *text = palloc(BW_BASE64_ENCODED_LEN(len));
	Size		n = bw_base64_encode(data, len, text);

	appendStringInfo(json, ", \"%s\": \"", name);
	appendBinaryStringInfo(json, text, (int) n);
	appendStringInfoChar(json, '"');
	pfree(text);
}

static void
add_path(StringInfo json, const bw_hash *path, int n)
{
	char		text[BW_BASE64_ENCODED_LEN(BW_HASH_LEN)];

	appendStringInfoString(json, ", \"path\": [");
	for (int i = 0; i < n; i++)
	{
		(void) bw_base64_encode(path[i], BW_HASH_LEN, text);
		appendStringInfo(json, "%s\"%.*s\"", i > 0 ? ", " : "", (int) sizeof(text), text);
	}
	appendStringInfoChar(json, ']');
}

static Datum
jsonb_of(const StringInfo json)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json->data));
}

/* The first row's columns, copied to the caller's context; false: no row. */
static bool
trusted_row(const char *sql, Oid type, Datum argument, int n, Datum *values)
{
	bool		isnull = false;
	bool		found = TrustedExec(sql, OidIsValid(type) ? 1 : 0, &type, &argument, &isnull) > 0;

	for (int i = 0; found && i < n; i++)
	{
		Form_pg_attribute att = TupleDescAttr(SPI_tuptable->tupdesc, i);
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &isnull);

		values[i] = datumCopy(value, att->attbyval, att->attlen);
	}
	return found;
}

/* The leaf (record and MAC) of the entry, the newest tree's size, and its checkpoint. */
static bytea *
fetch_leaf(int64 entry_id, uint64 *tree_size, text **checkpoint)
{
	TrustedScope scope;
	Datum		found[1];
	Datum		newest[2];
	bool		exists;
	bool		sealed;

	LedgerFlush();
	TrustedBegin(&scope);
	exists = trusted_row("SELECT leaf FROM bulwark_internal.ledger_entries WHERE bulwark_internal.leaf_entry_id(leaf) = $1",
						 INT8OID, Int64GetDatum(entry_id), 1, found);
	sealed = trusted_row("SELECT tree_size, checkpoint FROM bulwark_internal.ledger_blocks ORDER BY block DESC LIMIT 1",
						 InvalidOid, (Datum) 0, 2, newest);
	TrustedEnd(&scope);
	*tree_size = sealed ? (uint64) DatumGetInt64(newest[0]) : 0;
	*checkpoint = sealed ? DatumGetTextPP(newest[1]) : NULL;
	return exists ? DatumGetByteaPP(found[0]) : NULL;
}

static void
raise_unsealed(int64 entry_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("entry " INT64_FORMAT " is not sealed yet", entry_id),
			 errhint("The worker seals every bulwark.seal_interval; ledger_seal() does so now.")));
}

/* What is told about a leaf, as it was sealed. */
static Datum
inclusion_json(const Log *log, const bytea *leaf, const bw_leaf *record, Size len, int64 index, uint64 tree_size,
			   const text *checkpoint)
{
	bw_hash		path[BW_PROOF_MAX];
	bw_hash		hash;
	int			n = bw_inclusion_proof((uint64) index, tree_size, subtree, NULL, path);
	uint8	   *data = palloc(BW_LOG_ID_LEN + len);
	StringInfoData json;

	if (n < 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the ledger's tree does not have what a proof needs"),
				 errhint("ledger_problems() says what is wrong with it.")));
	memcpy(data, log->log_id.data, BW_LOG_ID_LEN);
	memcpy(data + BW_LOG_ID_LEN, VARDATA_ANY(leaf), len);
	bw_leaf_hash(log->log_id.data, VARDATA_ANY(leaf), len, hash);

	initStringInfo(&json);
	appendStringInfo(&json, "{\"version\": 1, \"origin\": \"%s\", \"entry_id\": " UINT64_FORMAT ", \"leaf_index\": " INT64_FORMAT
					 ", \"tree_size\": " UINT64_FORMAT, LogOrigin(log), record->entry_id, index, tree_size);
	add_base64(&json, "leaf", data, BW_LOG_ID_LEN + len);
	add_base64(&json, "leaf_hash", hash, BW_HASH_LEN);
	add_path(&json, (const bw_hash *) path, n);
	appendStringInfoString(&json, ", \"checkpoint\": ");
	escape_json(&json, text_to_cstring(checkpoint));
	appendStringInfoChar(&json, '}');
	return jsonb_of(&json);
}

PG_FUNCTION_INFO_V1(bulwark_ledger_proof);
Datum
bulwark_ledger_proof(PG_FUNCTION_ARGS)
{
	int64		entry_id = PG_GETARG_INT64(0);
	const Log  *log = LogPeek();
	uint64		tree_size = 0;
	text	   *checkpoint = NULL;
	bytea	   *leaf = log != NULL ? fetch_leaf(entry_id, &tree_size, &checkpoint) : NULL;
	bw_leaf		record;
	ssize_t		len;
	int64		index;

	/* another tenant's and one that is not there are the same */
	if (leaf == NULL || !LedgerEntryVisible(leaf))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("entry " INT64_FORMAT " does not exist", entry_id)));
	len = bw_leaf_parse(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), &record);
	if (len < 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the record of entry " INT64_FORMAT " is damaged", entry_id)));
	index = LeafIndexOf(record.incarnation, record.xid, record.sequence);
	if (index < 0 || (uint64) index >= tree_size)
		raise_unsealed(entry_id);
	return inclusion_json(LogPeek(), leaf, &record, (Size) len, index, tree_size, checkpoint);
}

PG_FUNCTION_INFO_V1(bulwark_ledger_consistency);
Datum
bulwark_ledger_consistency(PG_FUNCTION_ARGS)
{
	int64		old_size = PG_GETARG_INT64(0);
	int64		new_size = PG_GETARG_INT64(1);
	const Log  *log = LogPeek();
	uint64		tree_size = log != NULL ? TreeSize() : 0;
	bw_hash		path[BW_PROOF_MAX];
	bw_hash		old_root;
	bw_hash		new_root;
	StringInfoData json;
	int			n;

	/* how many entries there are is not everybody's business */
	if (!LedgerReadsAll() && !HasClusterRole(GetUserId(), ROLE_ADMIN) && GrantFor("audit", 5, "read", 4) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to prove the ledger's consistency"),
				 errhint("Be a member of \"%s\" or \"%s\", or act as an identity with audit:read.", ROLE_AUDITOR, ROLE_ADMIN)));
	if (old_size < 1 || old_size > new_size || (uint64) new_size > tree_size)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sizes must be 1 <= old_size <= new_size <= " UINT64_FORMAT ", not " INT64_FORMAT " and " INT64_FORMAT,
						tree_size, old_size, new_size)));
	n = bw_consistency_proof((uint64) old_size, (uint64) new_size, subtree, NULL, path);
	if (n < 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the ledger's tree does not have what a proof needs"),
				 errhint("ledger_problems() says what is wrong with it.")));
	TreeRoot((uint64) old_size, old_root);
	TreeRoot((uint64) new_size, new_root);

	initStringInfo(&json);
	appendStringInfo(&json, "{\"version\": 1, \"origin\": \"%s\", \"old_size\": " INT64_FORMAT ", \"new_size\": " INT64_FORMAT,
					 LogOrigin(log), old_size, new_size);
	add_base64(&json, "old_root", old_root, BW_HASH_LEN);
	add_base64(&json, "new_root", new_root, BW_HASH_LEN);
	add_path(&json, (const bw_hash *) path, n);
	appendStringInfoChar(&json, '}');
	return jsonb_of(&json);
}
