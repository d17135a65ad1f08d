/*
 * digest.c
 *		What a table holds, in 32 bytes: for definitions that change rows without
 *		any trigger being asked.
 *
 *		The digest is that of the digests of the rows, sorted: it depends neither on
 *		where rows are stored nor on a key, so that a dump, a replica or a restored
 *		backup gives the same.  docs/file-formats.md has it to the byte.
 */
#include "ledger/guard.h"
#include "ledger/capture.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"

#define ROW_DIGEST_SIZE	(VARHDRSZ + BW_SHA256_LEN)

typedef struct RowHasher
{
	TupleDesc	desc;
	const Audited *audited;
	const uint8 *salt;
	FmgrInfo   *outputs;		/* of each column */
	uint64		ncolumns;		/* without dropped ones */
	MemoryContext row_context;
} RowHasher;

static void
hasher_begin(RowHasher *hasher, TupleDesc desc, const Audited *audited, const uint8 *salt)
{
	hasher->desc = desc;
	hasher->audited = audited;
	hasher->salt = salt;
	hasher->ncolumns = 0;
	hasher->outputs = palloc0(sizeof(FmgrInfo) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Oid			output;
		bool		varlena;

		if (att->attisdropped)
			continue;
		hasher->ncolumns++;
		getTypeOutputInfo(att->atttypid, &output, &varlena);
		fmgr_info(output, &hasher->outputs[i]);
	}
	hasher->row_context = AllocSetContextCreate(CurrentMemoryContext, "bulwark row", ALLOCSET_DEFAULT_SIZES);
}

/* Columns whose values the ledger does not have are not guessed from a digest either. */
static bool
is_left_out(const RowHasher *hasher, AttrNumber attno)
{
	return hasher->audited != NULL &&
		(list_member_int(hasher->audited->excluded, attno) || list_member_int(hasher->audited->sealed, attno));
}

/* H(salt || image), the image's values all as their types' output. */
static void
hash_row(RowHasher *hasher, TupleTableSlot *slot, uint8 digest[BW_SHA256_LEN])
{
	MemoryContext caller = MemoryContextSwitchTo(hasher->row_context);
	StringInfoData image;
	uint8		head[BW_VARINT_MAX];

	initStringInfo(&image);
	slot_getallattrs(slot);
	appendBinaryStringInfo(&image, (char *) head, bw_varint_encode(hasher->ncolumns, head));
	for (int i = 0; i < hasher->desc->natts; i++)
	{
		char	   *text;

		if (TupleDescAttr(hasher->desc, i)->attisdropped)
			continue;
		if (is_left_out(hasher, i + 1))
			appendStringInfoCharMacro(&image, BW_KIND_EXCLUDED);
		else if (slot->tts_isnull[i])
			appendStringInfoCharMacro(&image, BW_KIND_NULL);
		else
		{
			text = OutputFunctionCall(&hasher->outputs[i], slot->tts_values[i]);
			appendStringInfoCharMacro(&image, BW_KIND_VALUE);
			appendBinaryStringInfo(&image, (char *) head, bw_varint_encode(strlen(text), head));
			appendStringInfoString(&image, text);
		}
	}
	bw_sha256_two(hasher->salt, BW_SALT_LEN, image.data, image.len, digest);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(hasher->row_context);
}

/* Digests of all rows into the sort. */
static uint64
hash_rows(Relation rel, RowHasher *hasher, Tuplesortstate *sort)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = MakeSingleTupleTableSlot(hasher->desc, table_slot_callbacks(rel));
	TableScanDesc scan;
	uint64		rows = 0;

	PushActiveSnapshot(snapshot);	/* output functions may look around */
	scan = table_beginscan(rel, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		union
		{
			char		data[ROW_DIGEST_SIZE];
			int32		align;
		}			row;

		CHECK_FOR_INTERRUPTS();
		SET_VARSIZE(row.data, ROW_DIGEST_SIZE);
		hash_row(hasher, slot, (uint8 *) VARDATA(row.data));
		tuplesort_putdatum(sort, PointerGetDatum(row.data), false);
		rows++;
	}
	table_endscan(scan);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	return rows;
}

void
TableDigestOf(Relation rel, TupleDesc desc, const Audited *audited, const uint8 *salt, TableDigest *digest)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "bulwark table digest", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Tuplesortstate *sort = tuplesort_begin_datum(BYTEAOID, ByteaLessOperator, InvalidOid, false,
												 maintenance_work_mem, NULL, TUPLESORT_NONE);
	RowHasher	hasher;
	bw_sha256_state rows;
	Datum		value;
	bool		isnull;
	int			level = PinSettings(PIN_ALL);

	hasher_begin(&hasher, desc, audited, salt);
	digest->rows = hash_rows(rel, &hasher, sort);
	UnpinSettings(level);

	tuplesort_performsort(sort);
	bw_sha256_begin(&rows);
	while (BW_TUPLESORT_GETDATUM(sort, &value, &isnull))
	{
		CHECK_FOR_INTERRUPTS();
		bw_sha256_add(&rows, VARDATA_ANY(DatumGetPointer(value)), BW_SHA256_LEN);
		pfree(DatumGetPointer(value));
	}
	bw_sha256_end(&rows, digest->digest);
	tuplesort_end(sort);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}
