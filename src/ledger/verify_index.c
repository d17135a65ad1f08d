/*
 * verify_index.c
 *		Does an index of a segment hide one of its entries?
 *
 * The leaf pages of the index are read as they lie, which is fast; what seems to be
 * missing is looked for again through the index itself, since pages may have been
 * split meanwhile.
 */
#include "ledger/verify.h"

#include "access/genam.h"
#include "access/itup.h"
#include "access/nbtree.h"
#include "access/relation.h"
#include "access/relscan.h"
#include "catalog/pg_am.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#define WORDS_OF_PAGE	((MaxHeapTuplesPerPage + 64) / 64)

struct TidSet
{
	BlockNumber pages;
	uint64		words[];
};

TidSet *
TidSetMake(Verify *v, BlockNumber pages)
{
	TidSet	   *set = MemoryContextAllocExtended(v->context, offsetof(TidSet, words) + (Size) pages * WORDS_OF_PAGE * sizeof(uint64),
												 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	set->pages = pages;
	return set;
}

void
TidSetAdd(TidSet *set, const ItemPointerData *tid)
{
	BlockNumber page = ItemPointerGetBlockNumberNoCheck(tid);
	OffsetNumber offset = ItemPointerGetOffsetNumberNoCheck(tid);

	if (page < set->pages && offset <= MaxHeapTuplesPerPage)
		set->words[(Size) page * WORDS_OF_PAGE + offset / 64] |= UINT64CONST(1) << (offset % 64);
}

/* --- what the index has ------------------------------------------------------------------ */

typedef struct IndexWalk
{
	Verify	   *v;
	Relation	heap;
	Relation	index;
	BlockNumber block;
	TidSet	   *found;
} IndexWalk;

/* The rows that an item of a leaf page leads to. */
static void
take_item(IndexWalk *walk, IndexTuple item, Size len)
{
	Size		end;
	int			n;

	if (len < sizeof(IndexTupleData) || IndexTupleSize(item) > len)
		return;
	if (!BTreeTupleIsPosting(item))
	{
		TidSetAdd(walk->found, &item->t_tid);
		return;
	}
	n = BTreeTupleGetNPosting(item);
	end = (Size) BTreeTupleGetPostingOffset(item) + n * sizeof(ItemPointerData);
	for (int i = 0; end <= len && i < n; i++)
		TidSetAdd(walk->found, BTreeTupleGetPostingN(item, i));
}

/* Guarded: one page. */
static void
take_page(void *arg)
{
	IndexWalk  *walk = arg;
	Buffer		buffer = ReadBufferExtended(walk->index, MAIN_FORKNUM, walk->block, RBM_NORMAL, walk->v->strategy);
	Page		page;
	BTPageOpaque opaque;
	OffsetNumber last;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	opaque = BTPageGetOpaque(page);
	if (!PageIsNew(page) && PageGetSpecialSize(page) == MAXALIGN(sizeof(BTPageOpaqueData)) &&
		P_ISLEAF(opaque) && !P_IGNORE(opaque) && !P_ISMETA(opaque))
	{
		last = PageGetMaxOffsetNumber(page);
		for (OffsetNumber n = P_FIRSTDATAKEY(opaque); n <= last; n++)
		{
			ItemId		id = PageGetItemId(page, n);

			if (ItemIdIsNormal(id) && ItemIdGetOffset(id) + ItemIdGetLength(id) <= BLCKSZ)
				take_item(walk, (IndexTuple) PageGetItem(page, id), ItemIdGetLength(id));
		}
	}
	UnlockReleaseBuffer(buffer);
}

/* Guarded: the whole index, in its own order. */
static void
take_scan(void *arg)
{
	IndexWalk  *walk = arg;
	IndexScanDesc scan = BW_INDEX_BEGINSCAN(walk->heap, walk->index, walk->v->snapshot, 0);
	ItemPointer tid;

	index_rescan(scan, NULL, 0, NULL, 0);
	while ((tid = index_getnext_tid(scan, ForwardScanDirection)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		TidSetAdd(walk->found, tid);
	}
	index_endscan(scan);
}

/* --- comparing ----------------------------------------------------------------------------- */

static bool
has_all(const TidSet *found, const TidSet *wanted)
{
	for (Size i = 0; i < (Size) wanted->pages * WORDS_OF_PAGE; i++)
		if (wanted->words[i] & ~found->words[i])
			return false;
	return true;
}

static void
name_hidden(Verify *v, const VerifyRow *row, void *arg)
{
	Relation	index = arg;
	bw_bytes	leaf;
	const char *why;
	uint64		entry_id = 0;

	if (!row->nulls[0] && VerifyBytes(v, row, 0, &leaf, &why))
		(void) bw_leaf_get_entry_id(leaf.data, leaf.len, &entry_id);
	VerifyProblem(v, NO_LEAF, entry_id > 0 ? (int64) entry_id : NO_ENTRY, "index \"%s\" hides it", RelationGetRelationName(index));
}

static void
name_all_hidden(IndexWalk *walk, const TidSet *wanted)
{
	for (Size i = 0; i < (Size) wanted->pages * WORDS_OF_PAGE; i++)
		for (uint64 left = wanted->words[i] & ~walk->found->words[i]; left != 0; left &= left - 1)
		{
			ItemPointerData tid;

			ItemPointerSet(&tid, (BlockNumber) (i / WORDS_OF_PAGE),
						   (OffsetNumber) (i % WORDS_OF_PAGE * 64 + __builtin_ctzll(left)));
			(void) VerifyFetch(walk->v, walk->heap, &tid, name_hidden, walk->index);
		}
}

static void
check_index(Verify *v, Relation heap, Oid relid, const TidSet *wanted)
{
	IndexWalk	walk = {v, heap, relation_open(relid, AccessShareLock), 0, TidSetMake(v, wanted->pages)};
	char	   *why = NULL;

	if (walk.index->rd_rel->relam == BTREE_AM_OID && walk.index->rd_index->indisvalid)
	{
		BlockNumber blocks = RelationGetNumberOfBlocks(walk.index);

		for (walk.block = BTREE_METAPAGE + 1; walk.block < blocks; walk.block++)
		{
			CHECK_FOR_INTERRUPTS();
			(void) VerifyGuarded(take_page, &walk);
		}
		if (!has_all(walk.found, wanted))
		{
			memset(walk.found->words, 0, (Size) wanted->pages * WORDS_OF_PAGE * sizeof(uint64));
			why = VerifyGuarded(take_scan, &walk);
		}
		if (why != NULL)
			VerifyProblem(v, NO_LEAF, NO_ENTRY, "index \"%s\" cannot be read: %s", RelationGetRelationName(walk.index), why);
		else if (!has_all(walk.found, wanted))
			name_all_hidden(&walk, wanted);
	}
	pfree(walk.found);
	relation_close(walk.index, AccessShareLock);
}

void
VerifyIndexes(Verify *v, Relation heap, const TidSet *wanted)
{
	List	   *indexes = RelationGetIndexList(heap);
	MemoryContext caller = MemoryContextSwitchTo(v->page);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		check_index(v, heap, lfirst_oid(lc), wanted);
		MemoryContextReset(v->page);
	}
	MemoryContextSwitchTo(caller);
	list_free(indexes);
}
