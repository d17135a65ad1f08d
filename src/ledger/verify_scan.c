/*
 * verify_scan.c
 *		Reading a heap that may be damaged.
 *
 * A page is copied under its lock together with the offsets of what is visible
 * on it; rows are then taken from the copy.  What may raise an error over bytes
 * that make no sense (a checksum, a transaction id, a value to detoast) runs in a
 * subtransaction, so that the error becomes a problem and the scan goes on.
 */
#include "ledger/verify.h"

#include "access/detoast.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupmacs.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "storage/bufpage.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"

typedef struct PageCopy
{
	PGAlignedBlock bytes;
	OffsetNumber visible[MaxHeapTuplesPerPage];
	int			n;
} PageCopy;

/* --- errors that become problems ------------------------------------------------- */

char *
VerifyGuarded(void (*work) (void *arg), void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile message = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		/* cancelled, out of memory, out of disk: not for us to explain */
		if (error->sqlerrcode != ERRCODE_DATA_CORRUPTED && error->sqlerrcode != ERRCODE_INDEX_CORRUPTED &&
			error->sqlerrcode != ERRCODE_INTERNAL_ERROR && error->sqlerrcode != ERRCODE_UNDEFINED_FILE &&
			error->sqlerrcode != ERRCODE_IO_ERROR && error->sqlerrcode != ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
			ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		message = error->message;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return message;
}

/* --- pages -------------------------------------------------------------------------- */

typedef struct PageRead
{
	Verify	   *v;
	Relation	rel;
	BlockNumber block;
	OffsetNumber only;			/* InvalidOffsetNumber: all */
	PageCopy   *copy;
	List	   *damaged;		/* offsets of line pointers that make no sense */
} PageRead;

static bool
item_is_whole(Page page, ItemId item)
{
	return ItemIdGetOffset(item) >= SizeOfPageHeaderData && ItemIdGetOffset(item) == MAXALIGN(ItemIdGetOffset(item)) &&
		ItemIdGetLength(item) >= SizeofHeapTupleHeader &&
		ItemIdGetOffset(item) + ItemIdGetLength(item) <= PageGetPageSize(page);
}

/* Guarded: copy a page and find what is visible on it. */
static void
read_page(void *arg)
{
	PageRead   *read = arg;
	PageCopy   *copy = read->copy;
	Buffer		buffer = ReadBufferExtended(read->rel, MAIN_FORKNUM, read->block, RBM_NORMAL, read->v->strategy);
	Page		page;
	OffsetNumber last;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	copy->n = 0;
	if (PageGetPageSize(page) == BLCKSZ && PageGetMaxOffsetNumber(page) > MaxHeapTuplesPerPage)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("more rows than a page can have")));
	last = PageIsNew(page) ? 0 : PageGetMaxOffsetNumber(page);
	for (OffsetNumber n = FirstOffsetNumber; n <= last; n++)
	{
		ItemId		item = PageGetItemId(page, n);
		HeapTupleData tuple;

		if (!ItemIdIsNormal(item) || (read->only != InvalidOffsetNumber && read->only != n))
			continue;
		if (!item_is_whole(page, item))
		{
			read->damaged = lappend_int(read->damaged, n);
			continue;
		}
		tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuple.t_len = ItemIdGetLength(item);
		tuple.t_tableOid = RelationGetRelid(read->rel);
		ItemPointerSet(&tuple.t_self, read->block, n);
		if (PageIsAllVisible(page) || HeapTupleSatisfiesVisibility(&tuple, read->v->snapshot, buffer))
			copy->visible[copy->n++] = n;
	}
	memcpy(copy->bytes.data, page, BLCKSZ);
	UnlockReleaseBuffer(buffer);
}

/* A page, or those of its rows whose visibility can be known where one's cannot. */
static void
copy_page(Verify *v, Relation rel, BlockNumber block, PageCopy *copy)
{
	PageRead	read = {v, rel, block, InvalidOffsetNumber, copy, NIL};
	char	   *why = VerifyGuarded(read_page, &read);
	OffsetNumber whole[MaxHeapTuplesPerPage];
	ListCell   *lc;
	int			n = 0;
	bool		any = false;

	if (why != NULL)
	{
		for (OffsetNumber i = FirstOffsetNumber; i <= MaxHeapTuplesPerPage; i++)
		{
			char	   *again;

			read.only = i;
			read.damaged = NIL;
			again = VerifyGuarded(read_page, &read);
			any |= again == NULL;
			if (i == FirstOffsetNumber && again == NULL)
				why = NULL;
			if (again == NULL && copy->n == 1)
				whole[n++] = i;
			else if (again != NULL && any)
				VerifyProblem(v, NO_LEAF, NO_ENTRY, "row (%u,%u) of \"%s\" cannot be read: %s",
							  block, i, RelationGetRelationName(rel), again);
			else if (again != NULL)
				break;			/* the page itself */
		}
		memcpy(copy->visible, whole, n * sizeof(OffsetNumber));
		copy->n = n;
		if (!any)
			VerifyProblem(v, NO_LEAF, NO_ENTRY, "page %u of \"%s\" cannot be read: %s",
						  block, RelationGetRelationName(rel), why);
		return;
	}
	foreach(lc, read.damaged)
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "row (%u,%d) of \"%s\" is damaged: its line pointer",
					  block, lfirst_int(lc), RelationGetRelationName(rel));
}

/* --- rows --------------------------------------------------------------------------- */

/* The length of a varlena at data, of which there are left bytes; 0: it makes no sense. */
static Size
varlena_length(const char *data, Size left)
{
	Size		len;

	if (left < 1)
		return 0;
	if (VARATT_IS_1B_E(data))
		len = left >= VARHDRSZ_EXTERNAL && VARTAG_EXTERNAL(data) == VARTAG_ONDISK ? VARSIZE_EXTERNAL(data) : 0;
	else if (VARATT_IS_1B(data))
		len = VARSIZE_1B(data);
	else if (left < VARHDRSZ)
		return 0;
	else
		len = VARATT_IS_4B_C(data) && VARSIZE_4B(data) < VARHDRSZ_COMPRESSED ? 0 : VARSIZE_4B(data);
	return len <= left && (VARATT_IS_1B(data) || len >= VARHDRSZ) ? len : 0;
}

/* Take a row apart without trusting it: NULL, or what is wrong. */
static const char *
deform(HeapTupleHeader tuple, Size len, TupleDesc desc, Datum *values, bool *nulls)
{
	int			natts = HeapTupleHeaderGetNatts(tuple);
	bool		has_nulls = (tuple->t_infomask & HEAP_HASNULL) != 0;
	Size		header = SizeofHeapTupleHeader + (has_nulls ? BITMAPLEN(natts) : 0);
	char	   *data = (char *) tuple + tuple->t_hoff;
	Size		room,
				off = 0;

	if (natts > desc->natts || tuple->t_hoff < header || tuple->t_hoff != MAXALIGN(tuple->t_hoff) || tuple->t_hoff > len)
		return "its header";
	room = len - tuple->t_hoff;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Size		width;

		if (i >= natts)
		{
			values[i] = getmissingattr(desc, i + 1, &nulls[i]);
			continue;
		}
		nulls[i] = has_nulls && att_isnull(i, tuple->t_bits);
		if (nulls[i])
			continue;
		if (off >= room)
			return "it ends early";
		if (att->attlen == -1)
			off = att_align_pointer(off, att->attalign, -1, data + off);
		else
			off = att_align_nominal(off, att->attalign);
		if (off >= room)
			return "it ends early";
		width = att->attlen == -1 ? varlena_length(data + off, room - off) : att->attlen;
		if (width == 0 || width > room - off)
			return "the length of a column";
		values[i] = fetch_att(data + off, att->attbyval, att->attlen);
		off += width;
	}
	return NULL;
}

/* Where the chain of a row's versions on this page begins. */
static OffsetNumber
root_of(PageCopy *copy, OffsetNumber offset)
{
	OffsetNumber roots[MaxHeapTuplesPerPage];

	heap_get_root_tuples((Page) copy->bytes.data, roots);
	return OffsetNumberIsValid(roots[offset - 1]) ? roots[offset - 1] : offset;
}

/* The rows of a page, one after the other. */
static void
each_row(Verify *v, Relation rel, BlockNumber block, PageCopy *copy, VerifyRowCallback callback, void *arg)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	VerifyRow	row = {rel, .values = values, .nulls = nulls};

	for (int i = 0; i < copy->n; i++)
	{
		ItemId		item = PageGetItemId((Page) copy->bytes.data, copy->visible[i]);
		HeapTupleHeader tuple = (HeapTupleHeader) PageGetItem((Page) copy->bytes.data, item);
		const char *why = deform(tuple, ItemIdGetLength(item), desc, values, nulls);

		ItemPointerSet(&row.tid, block, copy->visible[i]);
		row.root = row.tid;
		/* the server freezes rows without taking their transaction's id away */
		row.forced = !TransactionIdIsNormal(HeapTupleHeaderGetRawXmin(tuple));
		if (HeapTupleHeaderIsHeapOnly(tuple))
			ItemPointerSetOffsetNumber(&row.root, root_of(copy, copy->visible[i]));
		if (why != NULL)
			VerifyProblem(v, NO_LEAF, NO_ENTRY, "row (%u,%u) of \"%s\" is damaged: %s",
						  block, copy->visible[i], RelationGetRelationName(rel), why);
		else
			callback(v, &row, arg);
	}
}

void
VerifyScan(Verify *v, Relation rel, VerifyRowCallback callback, void *arg)
{
	PageCopy   *copy = MemoryContextAlloc(v->context, sizeof(PageCopy));
	MemoryContext caller = MemoryContextSwitchTo(v->page);
	BlockNumber blocks = RelationGetNumberOfBlocks(rel);

	for (BlockNumber block = 0; block < blocks; block++)
	{
		CHECK_FOR_INTERRUPTS();
		copy_page(v, rel, block, copy);
		each_row(v, rel, block, copy, callback, arg);
		MemoryContextReset(v->page);
	}
	MemoryContextSwitchTo(caller);
	pfree(copy);
}

bool
VerifyFetch(Verify *v, Relation rel, ItemPointer tid, VerifyRowCallback callback, void *arg)
{
	PageCopy   *copy = palloc(sizeof(PageCopy));
	PageRead	read = {v, rel, ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid), copy, NIL};
	bool		found = VerifyGuarded(read_page, &read) == NULL && copy->n == 1;

	if (found)
		each_row(v, rel, read.block, copy, callback, arg);
	pfree(copy);
	return found;
}

/* --- values -------------------------------------------------------------------------- */

typedef struct Detoast
{
	Datum		value;
	struct varlena *result;
} Detoast;

/* Guarded. */
static void
detoast(void *arg)
{
	Detoast    *d = arg;

	d->result = detoast_attr((struct varlena *) DatumGetPointer(d->value));
}

/* Does a value out of line point into the relation's own toast table? */
static bool
points_home(Relation rel, const char *value)
{
	struct varatt_external pointer;

	VARATT_EXTERNAL_GET_POINTER(pointer, value);
	return pointer.va_toastrelid == rel->rd_rel->reltoastrelid;
}

bool
VerifyBytes(Verify *v, const VerifyRow *row, int column, bw_bytes *bytes, const char **why)
{
	char	   *value = DatumGetPointer(row->values[column]);
	Detoast		d = {row->values[column], NULL};

	if (!VARATT_IS_EXTENDED(value) || (VARATT_IS_SHORT(value) && !VARATT_IS_EXTERNAL(value)))
	{
		*bytes = (bw_bytes) {(const uint8 *) VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)};
		return true;
	}
	if (VARATT_IS_EXTERNAL(value) && !points_home(row->rel, value))
	{
		*why = "it points into another table";
		return false;
	}
	*why = VerifyGuarded(detoast, &d);
	if (*why != NULL)
		return false;
	*bytes = (bw_bytes) {(const uint8 *) VARDATA(d.result), VARSIZE(d.result) - VARHDRSZ};
	return true;
}

Relation
VerifyOpen(Verify *v, const char *name)
{
	Oid			relid = PrivateRelid(name);
	Relation	rel = OidIsValid(relid) ? try_relation_open(relid, AccessShareLock) : NULL;
	MemoryContext caller;

	if (rel == NULL)
	{
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "table \"%s\" is missing", name);
		return NULL;
	}
	caller = MemoryContextSwitchTo(v->context);
	v->opened = lappend(v->opened, rel);
	MemoryContextSwitchTo(caller);
	if (rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_rel->relam == HEAP_TABLE_AM_OID &&
		rel->rd_rel->relpersistence == RELPERSISTENCE_PERMANENT)
		return rel;
	VerifyProblem(v, NO_LEAF, NO_ENTRY, "table \"%s\" is not a plain table", name);
	return NULL;
}
