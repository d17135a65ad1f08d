/*
 * store.c
 *		Rows of our own tables by index, without the executor.
 */
#include "ledger/sealer.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "utils/snapmgr.h"

/* The index whose first columns are those. */
static Relation
open_index(Relation rel, const AttrNumber *columns, int ncolumns)
{
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		bool		same = index->rd_index->indnkeyatts >= ncolumns && index->rd_index->indisvalid;

		for (int i = 0; i < ncolumns && same; i++)
			same = (index->rd_index->indkey.values[i] == columns[i]);
		if (same)
			return index;
		index_close(index, AccessShareLock);
	}
	elog(ERROR, "table \"%s\" has lost an index", RelationGetRelationName(rel));
}

void
StoreScan(Relation rel, const AttrNumber *columns, int ncolumns, ScanKeyData *keys, int nkeys,
		  ScanDirection direction, StoreCallback callback, void *arg)
{
	Relation	index = open_index(rel, columns, ncolumns);
	Snapshot	snapshot = RegisterSnapshot(LedgerSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc scan = BW_INDEX_BEGINSCAN(rel, index, snapshot, nkeys);
	bool		more = true;

	index_rescan(scan, keys, nkeys, NULL, 0);
	while (more && index_getnext_slot(scan, direction, slot))
	{
		bool		should_free;
		HeapTuple	row = ExecFetchSlotHeapTuple(slot, false, &should_free);

		more = callback(row, RelationGetDescr(rel), arg);
		if (should_free)
			heap_freetuple(row);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
}

static bool
keep_first(HeapTuple row, TupleDesc desc, void *arg)
{
	*(HeapTuple *) arg = heap_copytuple(row);
	return false;
}

HeapTuple
StoreFetch(Relation rel, const AttrNumber *columns, int ncolumns, ScanKeyData *keys, int nkeys,
		   ScanDirection direction)
{
	HeapTuple	first = NULL;

	StoreScan(rel, columns, ncolumns, keys, nkeys, direction, keep_first, &first);
	return first;
}
