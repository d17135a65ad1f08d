/*
 * proof.c
 *		ledger_proof() and ledger_consistency(): RFC 6962 proofs as JSON, with all
 *		that somebody outside needs.
 */
#include "ledger/log.h"

#include "common/merkle.h"
#include "common/note.h"
#include "common/record.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
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
to_jsonb(const StringInfo json)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json->data));
}

/* A leaf as it lies in a segment, of an entry that the caller may see; NULL: none. */
static bytea *
visible_leaf(int64 entry_id)
{
	Oid			type = INT8OID;
	Datum		value = Int64GetDatum(entry_id);
	MemoryContext caller = CurrentMemoryContext;
	bytea	   *leaf = NULL;
	bool		isnull;

	/* as the caller: row security decides */
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT bulwark_internal.ledger_leaf($1)", 1, &type, &value, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for an entry");
	if (SPI_processed == 1)
	{
		Datum		found = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

		if (!isnull)
		{
			bytea	   *plain = DatumGetByteaPP(found);

			leaf = MemoryContextAlloc(caller, VARSIZE_ANY(plain));
			memcpy(leaf, plain, VARSIZE_ANY(plain));
		}
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return leaf;
}
