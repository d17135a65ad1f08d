/*
 * residue_scan.c
 *		Whether the files of a table still hold what its column held: every value of
 *		the column must be an envelope, and no page of the table, of its TOAST table
 *		or of its indexes may hold the bytes of a sample of the old ones, in live rows,
 *		dead ones or the space between.
 */
#include "secrets/import.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define SAMPLES_MAX		64
#define SAMPLES_OF_ONE	32		/* table */
#define SAMPLE_MIN		8		/* bytes: shorter ones are found anywhere */
#define SAMPLE_MAX		48

struct ResidueSamples
{
	int			n;
	Size		len[SAMPLES_MAX];
	uint8		bytes[SAMPLES_MAX][SAMPLE_MAX];
};

ResidueSamples *
ResidueBegin(MemoryContext context)
{
	return SecretAlloc(context, sizeof(ResidueSamples));
}

/* A sample of a value: what would be on disk, uncompressed. */
static void
add_sample(ResidueSamples *samples, Datum value)
{
	struct varlena *plain = PG_DETOAST_DATUM_PACKED(value);
	Size		len = Min(VARSIZE_ANY_EXHDR(plain), SAMPLE_MAX);

	if (len < SAMPLE_MIN)
		return;
	memcpy(samples->bytes[samples->n], VARDATA_ANY(plain), len);
	samples->len[samples->n++] = len;
}

void
ResidueSample(ResidueSamples *samples, Oid relid, const char *column)
{
	Relation	rel = table_open(relid, AccessShareLock);
	AttrNumber	attno = get_attnum(relid, column);
	TupleTableSlot *row = table_slot_create(rel, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	int			limit = Min(samples->n + SAMPLES_OF_ONE, SAMPLES_MAX);

	if (TupleDescAttr(RelationGetDescr(rel), attno - 1)->attlen == -1)
		while (samples->n < limit && table_scan_getnextslot(scan, ForwardScanDirection, row))
		{
			bool		isnull;
			Datum		value = slot_getattr(row, attno, &isnull);

			if (!isnull)
				add_sample(samples, value);
		}
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(row);
	table_close(rel, NoLock);
}

static bool
page_holds(const ResidueSamples *samples, Page page)
{
	for (int i = 0; i < samples->n; i++)
		if (memmem(page, BLCKSZ, samples->bytes[i], samples->len[i]) != NULL)
			return true;
	return false;
}

static void
scan_pages(const ResidueSamples *samples, Oid relid, Residue *residue)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	BlockNumber blocks;

	if (rel == NULL)
		return;
	blocks = RelationGetNumberOfBlocks(rel);
	for (BlockNumber block = 0; block < blocks; block++)
	{
		Buffer		buffer;

		CHECK_FOR_INTERRUPTS();
		buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		residue->pages++;
		if (page_holds(samples, BufferGetPage(buffer)))
			residue->hits++;
		UnlockReleaseBuffer(buffer);
	}
	FreeAccessStrategy(strategy);
	relation_close(rel, AccessShareLock);
}

/* Values that are there and are no envelopes. */
static int64
count_bare(Relation rel, AttrNumber attno)
{
	TupleTableSlot *row = table_slot_create(rel, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	int64		bare = 0;

	while (table_scan_getnextslot(scan, ForwardScanDirection, row))
	{
		bool		isnull;
		Datum		value = slot_getattr(row, attno, &isnull);
		struct varlena *start;
		uint8		key_id[BW_ENVELOPE_KEY_ID_LEN];
		bool		has_context;

		CHECK_FOR_INTERRUPTS();
		if (isnull)
			continue;
		start = PG_DETOAST_DATUM_SLICE(value, 0, BW_ENVELOPE_OVERHEAD);
		if (!SecretInspect(VARDATA_ANY(start), VARSIZE_ANY_EXHDR(start), key_id, &has_context))
			bare++;
		pfree(start);
	}
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(row);
	return bare;
}

void
ResidueScan(const ResidueSamples *samples, Oid relid, const char *column, Residue *residue)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);
	AttrNumber	attno;
	ListCell   *lc;

	residue->samples = samples->n;
	if (rel == NULL)
		return;
	attno = get_attnum(relid, column);
	/* it is not locked any more, so the column may have become another */
	if (attno > 0 && SecretColumnType(get_atttype(relid, attno)) != 0)
		residue->bare += count_bare(rel, attno);
	scan_pages(samples, relid, residue);
	if (OidIsValid(rel->rd_rel->reltoastrelid))
		scan_pages(samples, rel->rd_rel->reltoastrelid, residue);
	foreach(lc, RelationGetIndexList(rel))
		scan_pages(samples, lfirst_oid(lc), residue);
	relation_close(rel, AccessShareLock);
}
