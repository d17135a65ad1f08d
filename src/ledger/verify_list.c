/*
 * verify_list.c
 *		Lists that may be longer than memory: numbers sorted with what
 *		belongs to them, records found by their place.
 */
#include "ledger/verify.h"

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"

/* --- by a number ---------------------------------------------------------------- */

struct NumberSort
{
	Tuplesortstate *state;
	TupleTableSlot *added;
	TupleTableSlot *next;
};

NumberSort *
NumberSortBegin(void)
{
	NumberSort    *sort = palloc(sizeof(NumberSort));
	TupleDesc	desc = CreateTemplateTupleDesc(3);
	AttrNumber	column = 1;
	Oid			less = Int8LessOperator;
	Oid			collation = InvalidOid;
	bool		nulls_first = false;

	TupleDescInitEntry(desc, 1, "number", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 2, "with", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 3, "hash", BYTEAOID, -1, 0);
	sort->added = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	sort->next = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	sort->state = tuplesort_begin_heap(desc, 1, &column, &less, &collation, &nulls_first, work_mem, NULL, TUPLESORT_NONE);
	return sort;
}

static void
sort_add(NumberSort *sort, int64 number, int64 with, const uint8 *hash)
{
	TupleTableSlot *slot = ExecClearTuple(sort->added);
	char		value[VARHDRSZ + BW_HASH_LEN];

	slot->tts_values[0] = Int64GetDatum(number);
	slot->tts_values[1] = Int64GetDatum(with);
	slot->tts_isnull[0] = slot->tts_isnull[1] = false;
	slot->tts_isnull[2] = hash == NULL;
	if (hash != NULL)
	{
		SET_VARSIZE(value, sizeof(value));
		memcpy(VARDATA(value), hash, BW_HASH_LEN);
		slot->tts_values[2] = PointerGetDatum(value);
	}
	tuplesort_puttupleslot(sort->state, ExecStoreVirtualTuple(slot));
	ExecClearTuple(slot);
}

void
NumberSortAdd(NumberSort *sort, int64 number, int64 with)
{
	sort_add(sort, number, with, NULL);
}

void
NumberSortAddHash(NumberSort *sort, int64 number, int64 with, const bw_hash hash)
{
	sort_add(sort, number, with, hash);
}

void
NumberSortPerform(NumberSort *sort)
{
	tuplesort_performsort(sort->state);
}

bool
NumberSortNext(NumberSort *sort, int64 *number, int64 *with)
{
	bool		isnull;

	if (!tuplesort_gettupleslot(sort->state, true, false, sort->next, NULL))
		return false;
	*number = DatumGetInt64(slot_getattr(sort->next, 1, &isnull));
	*with = DatumGetInt64(slot_getattr(sort->next, 2, &isnull));
	return true;
}

bool
NumberSortNextHash(NumberSort *sort, int64 *number, int64 *with, bw_hash hash)
{
	bool		isnull;

	if (!NumberSortNext(sort, number, with))
		return false;
	memcpy(hash, VARDATA_ANY(DatumGetPointer(slot_getattr(sort->next, 3, &isnull))), BW_HASH_LEN);
	return true;
}

void
NumberSortEnd(NumberSort *sort)
{
	ExecDropSingleTupleTableSlot(sort->added);
	ExecDropSingleTupleTableSlot(sort->next);
	tuplesort_end(sort->state);
	pfree(sort);
}

/* --- records by their place -------------------------------------------------------------- */

struct RecordFile
{
	BufFile    *file;
	Size		size;
	Size		per_page;		/* records of a page of BLCKSZ bytes */
	uint64		n;
	uint64		written;		/* pages */
	uint64		loaded;			/* the page that is in memory, 0: none, else its number + 1 */
	Size		filled;			/* bytes of the page that is being written */
	char		page[BLCKSZ];
	char		read[BLCKSZ];
};

RecordFile *
RecordFileBegin(Verify *v, Size size)
{
	MemoryContext caller = MemoryContextSwitchTo(v->context);
	RecordFile *file = palloc0(sizeof(RecordFile));

	v->files = lappend(v->files, file);
	MemoryContextSwitchTo(caller);
	file->file = BufFileCreateTemp(false);
	file->size = size;
	file->per_page = BLCKSZ / size;
	return file;
}

void
RecordFileAdd(RecordFile *file, const void *record)
{
	memcpy(file->page + file->filled, record, file->size);
	file->filled += file->size;
	file->n++;
	if (file->n % file->per_page != 0)
		return;
	memset(file->page + file->filled, 0, BLCKSZ - file->filled);
	if (BufFileSeekBlock(file->file, file->written) != 0)
		elog(ERROR, "could not seek in a temporary file");
	BufFileWrite(file->file, file->page, BLCKSZ);
	file->written++;
	file->filled = 0;
}

uint64
RecordFileLength(const RecordFile *file)
{
	return file->n;
}

const void *
RecordFileGet(RecordFile *file, uint64 n)
{
	uint64		page = n / file->per_page;
	Size		offset = (n % file->per_page) * file->size;

	Assert(n < file->n);
	if (page == file->written)
		return file->page + offset;
	if (file->loaded != page + 1)
	{
		if (BufFileSeekBlock(file->file, page) != 0 || BufFileRead(file->file, file->read, BLCKSZ) != BLCKSZ)
			elog(ERROR, "could not read a temporary file");
		file->loaded = page + 1;
	}
	return file->read + offset;
}

void
RecordFileEnd(RecordFile *file)
{
	BufFileClose(file->file);
	pfree(file);
}
