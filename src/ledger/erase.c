/*
 * erase.c
 *		Destroys the contents of entries, for erasure and retention.  Records stay,
 *		and with them every proof; what is gone is named by an entry of its own,
 *		which ledger_verify() asks for.
 *
 * The bytes are gone from the table once the old row versions are vacuumed away;
 * what WAL archives and backups hold is theirs to expire.
 */
#include "ledger/log.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "common/merkle.h"
#include "common/record.h"
#include "lib/qunique.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define ERASED_AT_ONCE	1000	/* entries that one entry names at most */
#define REASON_MAX		1000	/* bytes */

/* Locked, so that of two who erase the same one the second finds what the first has left. */
static const char find_sql[] =
	"SELECT e.tableoid, e.ctid, bulwark_internal.leaf_entry_id(e.leaf), e.leaf"
	" FROM bulwark_internal.ledger_entries e"
	" WHERE bulwark_internal.leaf_entry_id(e.leaf) = ANY ($1) AND e.content IS NOT NULL"
	" ORDER BY 3 FOR NO KEY UPDATE";

/*
 * Entries that say what was erased, or how things are set up, stay whole, or nobody
 * could tell what there must be.  The hash of any other's leaf.
 */
static void
require_erasable(const bytea *stored, int64 entry_id, bw_hash hash)
{
	const char *data = VARDATA_ANY(stored);
	bw_leaf		leaf;
	ssize_t		len = bw_leaf_parse(data, VARSIZE_ANY_EXHDR(stored), &leaf);

	if (len < 0 || bw_leaf_keeps_content(&leaf))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the content of entry " INT64_FORMAT " cannot be erased", entry_id),
				 errdetail("It is the record of an erasure, a definition or a configuration, or damaged.")));
	bw_leaf_hash(LogOpen()->log_id.data, data, len, hash);
}

static void
erase_row(Oid segment, ItemPointer tid)
{
	Relation	rel = table_open(segment, RowExclusiveLock);
	Datum		values[2] = {0};
	bool		nulls[2] = {false, true};
	bool		replace[2] = {false, true};

	LedgerUpdate(rel, tid, values, nulls, replace);
	table_close(rel, NoLock);
}

/* Ids that follow each other, and their leaves. */
typedef struct Range
{
	int64		first;
	int64		last;			/* -1: none has begun */
	bw_sha256_state leaves;
} Range;

static void
end_range(StringInfo ranges, Range *range)
{
	bw_hash		hash;
	char		hex[2 * BW_HASH_LEN + 1] = {0};

	if (range->last < 0)
		return;
	bw_sha256_end(&range->leaves, hash);
	bw_hex_encode(hash, BW_HASH_LEN, hex);
	if (ranges->data[ranges->len - 1] != '[')
		appendStringInfoString(ranges, ", ");
	appendStringInfo(ranges, "[" INT64_FORMAT ", " INT64_FORMAT ", \"%s\"]", range->first, range->last, hex);
	range->last = -1;
}

static void
add_to_range(StringInfo ranges, Range *range, int64 id, const bw_hash hash)
{
	if (id != range->last + 1)
		end_range(ranges, range);
	if (range->last < 0)
	{
		range->first = id;
		bw_sha256_begin(&range->leaves);
	}
	bw_sha256_add(&range->leaves, hash, BW_HASH_LEN);
	range->last = id;
}

static void
record_erasure(const char *ranges, const char *reason)
{
	StringInfoData metadata;
	Entry		entry = {
		.source = SOURCE_SYSTEM,
		.action = "retention",
		.entity_type = "bulwark.ledger",
	};

	initStringInfo(&metadata);
	appendStringInfo(&metadata, "{\"erased\": [%s], \"reason\": ", ranges);
	escape_json(&metadata, reason);
	appendStringInfoChar(&metadata, '}');
	entry.metadata = metadata.data;
	LedgerAppend(&entry);
}

/* Erase at most ERASED_AT_ONCE entries; how many had content. */
static int64
erase_some(const int64 *ids, int n, const char *reason)
{
	Datum	   *elements = palloc(n * sizeof(Datum));
	Oid			type = INT8ARRAYOID;
	Datum		value;
	StringInfoData ranges;
	TrustedScope scope;
	uint64		found;
	Range		range = {.last = -1};

	for (int i = 0; i < n; i++)
		elements[i] = Int64GetDatum(ids[i]);
	value = PointerGetDatum(construct_array(elements, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	initStringInfo(&ranges);
	appendStringInfoChar(&ranges, '[');

	TrustedBegin(&scope);
	LedgerWorkBegin();
	found = TrustedExec(find_sql, 1, &type, &value, NULL);
	for (uint64 i = 0; i < found; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Oid			segment = DatumGetObjectId(SPI_getbinval(row, desc, 1, &isnull));
		ItemPointerData tid = *(ItemPointer) DatumGetPointer(SPI_getbinval(row, desc, 2, &isnull));
		int64		id = DatumGetInt64(SPI_getbinval(row, desc, 3, &isnull));
		bw_hash		hash;

		require_erasable(DatumGetByteaPP(SPI_getbinval(row, desc, 4, &isnull)), id, hash);
		erase_row(segment, &tid);
		add_to_range(&ranges, &range, id, hash);
	}
	end_range(&ranges, &range);
	LedgerWorkEnd();
	TrustedEnd(&scope);

	if (found > 0)
		record_erasure(ranges.data + 1, reason);
	return (int64) found;
}

static int
compare_ids(const void *a, const void *b)
{
	int64		left = *(const int64 *) a;
	int64		right = *(const int64 *) b;

	return left < right ? -1 : left > right;
}

int64
LedgerEraseContents(const int64 *entry_ids, int n, const char *reason)
{
	int64	   *ids = palloc(Max(n, 1) * sizeof(int64));
	int64		erased = 0;

	memcpy(ids, entry_ids, n * sizeof(int64));
	qsort(ids, n, sizeof(int64), compare_ids);
	n = (int) qunique(ids, n, sizeof(int64), compare_ids);
	LedgerFlush();
	for (int at = 0; at < n; at += ERASED_AT_ONCE)
		erased += erase_some(ids + at, Min(n - at, ERASED_AT_ONCE), reason);
	return erased;
}

PG_FUNCTION_INFO_V1(bulwark_ledger_erase);
Datum
bulwark_ledger_erase(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	char	   *reason = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Datum	   *elements;
	bool	   *nulls;
	int64	   *ids;
	int			n;

	if (reason[0] == '\0' || strlen(reason) > REASON_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a reason has 1 to %d bytes", REASON_MAX)));
	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elements, &nulls, &n);
	ids = palloc(Max(n, 1) * sizeof(int64));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("an entry id must not be null")));
		ids[i] = DatumGetInt64(elements[i]);
	}
	PG_RETURN_INT64(LedgerEraseContents(ids, n, reason));
}
