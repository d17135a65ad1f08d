/*
 * scan.c
 *		Reading our own tables from C: by index, with a fresh catalog snapshot,
 *		so that it also works in parallel workers and sees in REPEATABLE READ
 *		what has been committed since.
 *
 *		Rows of one heap page that come one after the other are checked for
 *		visibility together, under one lock of the page, and without more work
 *		than each needs: a principal may have thousands of memberships, and a
 *		statement waits for them.
 */
#include "tenancy/tenancy.h"

#include "access/heapam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "storage/bufmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* False when the extension is not in this database.  index NULL: every row, as they lie. */
bool
PrivateScanBegin(PrivateScan *scan, const char *table, const char *index)
{
	Oid			relid = PrivateRelid(table);

	memset(scan, 0, sizeof(*scan));
	if (!OidIsValid(relid))
		return false;
	if (index != NULL)
		scan->index = PrivateRelid(index);
	if (index != NULL && !OidIsValid(scan->index) && IsBinaryUpgrade)
		return false;			/* pg_upgrade makes the table first */
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
	Relation	index;			/* NULL: all rows of the heap, by heap_desc */
	IndexScanDesc desc;
	TableScanDesc heap_desc;
	Snapshot	snapshot;
	Buffer		buffer;			/* pinned while its tuples are in use */
	BlockNumber block;
	ItemPointerData ahead;		/* the first of the next page, or invalid */
	bool		exhausted;		/* the index has no more; asked again, it would begin anew */
	HeapTupleData tuples[MaxHeapTuplesPerPage];
} PrivateBatch;

static PrivateBatch *
heap_begin(PrivateScan *scan)
{
	PrivateBatch *batch = palloc(sizeof(PrivateBatch));

	batch->index = NULL;
	batch->buffer = InvalidBuffer;
	batch->snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(scan->rel)));
	batch->heap_desc = table_beginscan(scan->rel, batch->snapshot, scan->nkeys, scan->keys);
	return batch;
}

/* The next row of a heap; its scan keeps the page. */
static bool
heap_fill(PrivateBatch *batch, PrivateScan *scan)
{
	HeapTuple	tuple = heap_getnext(batch->heap_desc, ForwardScanDirection);

	scan->left = tuple != NULL;
	if (tuple != NULL)
		batch->tuples[0] = *tuple;
	scan->tuple = batch->tuples;
	return tuple != NULL;
}

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
	ItemPointerSetInvalid(&batch->ahead);
	batch->exhausted = false;
	return batch;
}

/* The index's next entries that lead to one page; 0 at the end. */
static int
batch_entries(PrivateBatch *batch, OffsetNumber *offsets)
{
	int			n = 0;

	if (ItemPointerIsValid(&batch->ahead))
	{
		batch->block = ItemPointerGetBlockNumber(&batch->ahead);
		offsets[n++] = ItemPointerGetOffsetNumber(&batch->ahead);
		ItemPointerSetInvalid(&batch->ahead);
	}
	while (n < MaxHeapTuplesPerPage && !batch->exhausted)
	{
		ItemPointer tid = index_getnext_tid(batch->desc, ForwardScanDirection);

		if (tid == NULL)
		{
			batch->exhausted = true;
			break;
		}
		if (n == 0)
			batch->block = ItemPointerGetBlockNumber(tid);
		else if (ItemPointerGetBlockNumber(tid) != batch->block)
		{
			batch->ahead = *tid;
			break;
		}
		offsets[n++] = ItemPointerGetOffsetNumber(tid);
	}
	return n;
}

/* Is there one version of the row, and no chain of them to follow?  Fills the tuple. */
static inline bool
only_version(Page page, OffsetNumber offset, HeapTuple tuple)
{
	ItemId		item = PageGetItemId(page, offset);

	if (!ItemIdIsNormal(item))
		return false;
	tuple->t_len = ItemIdGetLength(item);
	tuple->t_data = (HeapTupleHeader) PageGetItem(page, item);
	return !HeapTupleIsHotUpdated(tuple) && !HeapTupleIsHeapOnly(tuple);
}

/* Fill in what the snapshot sees of these entries' rows; the page is locked. */
static int
page_versions(PrivateBatch *batch, Relation rel, const OffsetNumber *offsets, int entries)
{
	Page		page = BufferGetPage(batch->buffer);
	/* what a serializable transaction reads is noted by heap_hot_search_buffer() */
	OffsetNumber last = IsolationIsSerializable() ? InvalidOffsetNumber : PageGetMaxOffsetNumber(page);
	bool		all_visible = PageIsAllVisible(page) && !batch->snapshot->takenDuringRecovery;
	HeapTuple	tuple = batch->tuples;

	for (int i = 0; i < entries; i++)
	{
		ItemPointerSet(&tuple->t_self, batch->block, offsets[i]);
		tuple->t_tableOid = RelationGetRelid(rel);
		if (offsets[i] <= last && only_version(page, offsets[i], tuple)
			? all_visible || HeapTupleSatisfiesVisibility(tuple, batch->snapshot, batch->buffer)
			: heap_hot_search_buffer(&tuple->t_self, rel, batch->buffer, batch->snapshot, tuple, NULL, true))
			tuple++;
	}
	return tuple - batch->tuples;
}

/* Fetch what is visible of the next page that has anything; false at the end. */
static bool
batch_fill(PrivateBatch *batch, PrivateScan *scan)
{
	OffsetNumber offsets[MaxHeapTuplesPerPage];
	int			entries;

	scan->left = 0;
	while (scan->left == 0 && (entries = batch_entries(batch, offsets)) > 0)
	{
		batch->buffer = ReleaseAndReadBuffer(batch->buffer, scan->rel, batch->block);
		LockBuffer(batch->buffer, BUFFER_LOCK_SHARE);
		scan->left = page_versions(batch, scan->rel, offsets, entries);
		LockBuffer(batch->buffer, BUFFER_LOCK_UNLOCK);
	}
	scan->tuple = batch->tuples;
	return scan->left > 0;
}

bool
PrivateScanFill(PrivateScan *scan)
{
	if (scan->batch == NULL)
		scan->batch = OidIsValid(scan->index) ? batch_begin(scan) : heap_begin(scan);
	return scan->batch->index != NULL ? batch_fill(scan->batch, scan) : heap_fill(scan->batch, scan);
}

Datum
PrivateScanGet(PrivateScan *scan, AttrNumber attno, bool *isnull)
{
	return heap_getattr(scan->tuple, attno, RelationGetDescr(scan->rel), isnull);
}

void
PrivateScanEnd(PrivateScan *scan)
{
	if (scan->batch != NULL)
	{
		if (BufferIsValid(scan->batch->buffer))
			ReleaseBuffer(scan->batch->buffer);
		if (scan->batch->index != NULL)
		{
			index_endscan(scan->batch->desc);
			index_close(scan->batch->index, AccessShareLock);
		}
		else
			table_endscan(scan->batch->heap_desc);
		UnregisterSnapshot(scan->batch->snapshot);
		pfree(scan->batch);
	}
	table_close(scan->rel, AccessShareLock);
}
