/*
 * finding.c
 *		What the sealer found to be wrong: told to the server log, and kept, so
 *		that it is told once.
 */
#include "ledger/sealer.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#define FINDINGS_TABLE	"ledger_findings"

typedef struct Wanted
{
	int64		entry_id;
	const char *problem;
	bool		known;
} Wanted;

static bool
is_known(HeapTuple row, TupleDesc desc, void *arg)
{
	Wanted	   *wanted = arg;
	bool		isnull;

	wanted->known = DatumGetInt64(heap_getattr(row, 4, desc, &isnull)) == wanted->entry_id &&
		strcmp(TextDatumGetCString(heap_getattr(row, 5, desc, &isnull)), wanted->problem) == 0;
	return !wanted->known;
}

void
SealFinding(uint32 incarnation, uint64 xid, uint64 entry_id, const char *problem)
{
	static const AttrNumber key[] = {2, 3};
	Wanted		wanted = {(int64) entry_id, problem};
	ScanKeyData keys[2];
	Relation	rel;
	Datum		values[5];
	bool		nulls[5] = {false};

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum((int64) incarnation));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum((int64) xid));
	rel = table_open(PrivateRelid(FINDINGS_TABLE), RowExclusiveLock);
	StoreScan(rel, key, lengthof(key), keys, lengthof(keys), ForwardScanDirection, is_known, &wanted);
	table_close(rel, NoLock);
	if (wanted.known)
		return;

	values[0] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[1] = Int64GetDatum((int64) incarnation);
	values[2] = Int64GetDatum((int64) xid);
	values[3] = Int64GetDatum((int64) entry_id);
	values[4] = CStringGetTextDatum(problem);
	LedgerInsert(FINDINGS_TABLE, values, nulls);
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("bulwark: the ledger has been tampered with: %s", problem),
			 errdetail("Incarnation %u, transaction " UINT64_FORMAT ", entry " UINT64_FORMAT ".",
					   incarnation, xid, entry_id),
			 errhint("It stays visible in ledger_problems(), and nothing here repairs it.")));
}
