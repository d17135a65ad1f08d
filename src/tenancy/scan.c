/*
 * scan.c
 *		Reading our own tables from C: by index, with a fresh catalog snapshot,
 *		so that it also works in parallel workers and sees in REPEATABLE READ
 *		what has been committed since.
 *
 *		Rows of one heap page that come one after the other are checked for
 *		visibility together, under one lock of the page: a principal may have
 *		thousands of memberships, and a statement waits for them.
 */
#include "tenancy/tenancy.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* False when the extension is not in this database. */
bool
PrivateScanBegin(PrivateScan *scan, const char *table, const char *index)
{
	Oid			relid = PrivateRelid(table);

	memset(scan, 0, sizeof(*scan));
	if (!OidIsValid(relid))
		return false;
	scan->index = index ? PrivateRelid(index) : InvalidOid;
	if (index != NULL && !OidIsValid(scan->index))
		elog(ERROR, "index \"%s\" of \"%s\" is missing", index, table);
	scan->rel = table_open(relid, AccessShareLock);
	return true;
}

void
PrivateScanUuid(PrivateScan *scan, AttrNumber attno, const pg_uuid_t *value)
{
	ScanKeyInit(&scan->keys[scan->nkeys++], attno, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(value));
}

void
PrivateScanText(PrivateScan *scan, AttrNumber attno, const char *value)
{
	ScanKeyInit(&scan->keys[scan->nkeys++], attno, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(value));
}

void
PrivateScanName(PrivateScan *scan, AttrNumber attno, const char *value)
{
	NameData   *name = palloc(sizeof(NameData));

	namestrcpy(name, value);
	ScanKeyInit(&scan->keys[scan->nkeys++], attno, BTEqualStrategyNumber, F_NAMEEQ,
				NameGetDatum(name));
}

void
PrivateScanOid(PrivateScan *scan, AttrNumber attno, Oid value)
{
	ScanKeyInit(&scan->keys[scan->nkeys++], attno, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(value));
}

typedef struct PrivateBatch
{
	Relation	index;
	IndexScanDesc desc;
	Snapshot	snapshot;
	Buffer		buffer;			/* pinned while its tuples are in use */
	ItemPointerData ahead;		/* the first of the next page */
	bool		has_ahead;
	bool		exhausted;		/* the index has no more; asked again, it would begin anew */
	int			ntuples;
	int			next;
	HeapTupleData tuples[MaxHeapTuplesPerPage];
} PrivateBatch;

static PrivateBatch *
batch_begin(PrivateScan *scan)
{
	PrivateBatch *batch = palloc(sizeof(PrivateBatch));
	Relation	index = index_open(scan->index, AccessShareLock);

	/* keys name columns of the table; the scan wants columns of the index */
	for (int i = 0; i < scan->nkeys; i++)
	{
		int			column = 0;

		while (column < IndexRelationGetNumberOfKeyAttributes(index) &&
			   index->rd_index->indkey.values[column] != scan->keys[i].sk_attno)
			column++;
		if (column == IndexRelationGetNumberOfKeyAttributes(index))
			elog(ERROR, "index \"%s\" lacks a column that is searched", RelationGetRelationName(index));
		scan->keys[i].sk_attno = column + 1;
	}
	batch->index = index;
	batch->snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(scan->rel)));
	batch->desc = BW_INDEX_BEGINSCAN(scan->rel, index, batch->snapshot, scan->nkeys);
	index_rescan(batch->desc, scan->keys, scan->nkeys, NULL, 0);
	batch->buffer = InvalidBuffer;
	batch->has_ahead = batch->exhausted = false;
	batch->ntuples = batch->next = 0;
	return batch;
}

/* The index's next entries of one heap page; 0 at the end. */
static int
batch_tids(PrivateBatch *batch, ItemPointerData *tids)
{
	int			n = 0;

	while (n < MaxHeapTuplesPerPage)
	{
		if (!batch->has_ahead && !batch->exhausted)
		{
			ItemPointer tid = index_getnext_tid(batch->desc, ForwardScanDirection);

			if (tid == NULL)
				batch->exhausted = true;
			else
			{
				batch->ahead = *tid;
				batch->has_ahead = true;
			}
		}
		if (!batch->has_ahead ||
			(n > 0 && ItemPointerGetBlockNumber(&tids[0]) != ItemPointerGetBlockNumber(&batch->ahead)))
			break;
		tids[n++] = batch->ahead;
		batch->has_ahead = false;
	}
	return n;
}

/* Fetch what is visible of the next page that has anything; false at the end. */
static bool
batch_fill(PrivateBatch *batch, Relation rel)
{
	ItemPointerData tids[MaxHeapTuplesPerPage];
	int			ntids;

	batch->ntuples = batch->next = 0;
	while (batch->ntuples == 0 && (ntids = batch_tids(batch, tids)) > 0)
	{
		batch->buffer = ReleaseAndReadBuffer(batch->buffer, rel, ItemPointerGetBlockNumber(&tids[0]));
		LockBuffer(batch->buffer, BUFFER_LOCK_SHARE);
		for (int i = 0; i < ntids; i++)
			if (heap_hot_search_buffer(&tids[i], rel, batch->buffer, batch->snapshot,
									   &batch->tuples[batch->ntuples], NULL, true))
				batch->ntuples++;
		LockBuffer(batch->buffer, BUFFER_LOCK_UNLOCK);
	}
	return batch->ntuples > 0;
}

bool
PrivateScanNext(PrivateScan *scan)
{
	PrivateBatch *batch;

	if (!OidIsValid(scan->index))
	{
		if (scan->desc == NULL)
			scan->desc = systable_beginscan(scan->rel, InvalidOid, false, NULL, scan->nkeys, scan->keys);
		scan->tuple = systable_getnext(scan->desc);
		return HeapTupleIsValid(scan->tuple);
	}

	if (scan->batch == NULL)
		scan->batch = batch_begin(scan);
	batch = scan->batch;
	if (batch->next == batch->ntuples && !batch_fill(batch, scan->rel))
		return false;
	scan->tuple = &batch->tuples[batch->next++];
	return true;
}

Datum
PrivateScanGet(PrivateScan *scan, AttrNumber attno, bool *isnull)
{
	return heap_getattr(scan->tuple, attno, RelationGetDescr(scan->rel), isnull);
}

void
PrivateScanEnd(PrivateScan *scan)
{
	if (scan->desc != NULL)
		systable_endscan(scan->desc);
	if (scan->batch != NULL)
	{
		if (BufferIsValid(scan->batch->buffer))
			ReleaseBuffer(scan->batch->buffer);
		index_endscan(scan->batch->desc);
		UnregisterSnapshot(scan->batch->snapshot);
		index_close(scan->batch->index, AccessShareLock);
		pfree(scan->batch);
	}
	table_close(scan->rel, AccessShareLock);
}
