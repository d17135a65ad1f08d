/*
 * verify_block.c
 *		Blocks, the checkpoints over them, and where a transaction's entries are.
 */
#include "ledger/verify.h"

#include "access/relation.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#define CACHED_BLOCKS	16
#define CACHED_RUNS		256

/* Columns of ledger_blocks. */
enum
{
	COL_BLOCK, COL_INCARNATION, COL_XMAX, COL_FIRST_LEAF, COL_TREE_SIZE, COL_HEADER, COL_RUNS, COL_CHECKPOINT
};

/* What is remembered of every block. */
typedef struct Place
{
	uint64		xmax;
	uint32		incarnation;
	ItemPointerData tid;
} Place;

/* A block whose runs are decoded. */
typedef struct Loaded
{
	MemoryContext context;
	bool		valid;
	ItemPointerData tid;
	uint64		used;			/* by which look-up, last */
	bw_block	block;			/* xip points into a copy */
	uint64		n;
	uint64	   *xid;
	uint64	   *first;			/* leaf of each; one more at the end */
} Loaded;

/* A run that took more than one block to find. */
typedef struct FoundRun
{
	uint64		xid;
	uint64		first;
	uint64		count;			/* 0: none */
	uint32		incarnation;
} FoundRun;

struct VerifyBlocks
{
	Relation	rel;
	NumberSort *sort;
	RecordFile *places;			/* Place of each, in the order of (incarnation, xmax) ... */
	List	   *late;			/* ... and those that were sealed after a later incarnation had begun */
	uint64		stragglers;		/* transactions that an earlier block saw in progress */

	/* The chain. */
	int64		expected;		/* number of the next block */
	bool		any;
	uint64		before_size;	/* tree size of the block before */
	uint8		before_hash[BW_SHA256_LEN];
	uint32		last_incarnation;
	bool		beyond_tree;	/* told that the tree ends early */
	bw_trust	trust;
	uint64		foreign;		/* checkpoints not signed by the log's key */
	int64		first_foreign;

	/* Looking up. */
	Loaded		loaded[CACHED_BLOCKS];
	uint64		lookups;
	FoundRun	found[CACHED_RUNS];
};

/* --- the chain ------------------------------------------------------------------------ */

static void
check_runs(Verify *v, const bw_block *block, const VerifyIncarnation *incarnation, const bw_bytes *bytes)
{
	VerifyBlocks *b = v->blocks;
	bool		follows = incarnation != NULL && incarnation->any;
	uint8		digest[BW_SHA256_LEN];
	bw_runs		runs;
	uint64		xid,
				n,
				total = 0;

	bw_sha256(bytes->data, bytes->len, digest);
	if (!bw_equal(digest, block->runs_digest, sizeof(digest)))
	{
		VerifyProblem(v, (int64) block->first_leaf, NO_ENTRY,
					  "block " UINT64_FORMAT ": its runs are not those of the header", block->number);
		return;
	}
	for (bw_runs_open(&runs, bytes->data, bytes->len); bw_runs_next(&runs, &xid, &n);)
	{
		total = n > BW_TREE_MAX - total ? BW_TREE_MAX : total + n;
		if (bw_block_in_progress(block, xid))
			VerifyProblem(v, (int64) block->first_leaf, NO_ENTRY,
						  "block " UINT64_FORMAT ": transaction " UINT64_FORMAT " had not ended when it was sealed", block->number, xid);
		if (follows && !bw_block_in_progress(&incarnation->newest, xid))
			VerifyProblem(v, (int64) block->first_leaf, NO_ENTRY,
						  "block " UINT64_FORMAT ": transaction " UINT64_FORMAT " belongs to an earlier block", block->number, xid);
		if (follows && xid < incarnation->newest.xmax)
			b->stragglers++;
	}
	if (!bw_runs_valid(&runs) || total != block->tree_size - block->first_leaf)
		VerifyProblem(v, (int64) block->first_leaf, NO_ENTRY,
					  "block " UINT64_FORMAT ": its runs do not add up to its leaves", block->number);
}

/* The columns beside the header are for look-ups: they must say the same. */
static bool
columns_agree(const VerifyRow *row, const bw_block *block)
{
	return DatumGetInt32(row->values[COL_INCARNATION]) == (int32) block->incarnation &&
		DatumGetInt64(row->values[COL_XMAX]) == (int64) block->xmax &&
		DatumGetInt64(row->values[COL_FIRST_LEAF]) == (int64) block->first_leaf &&
		DatumGetInt64(row->values[COL_TREE_SIZE]) == (int64) block->tree_size &&
		DatumGetInt64(row->values[COL_BLOCK]) == (int64) block->number;
}

/* Was it sealed where its incarnation lived, or a later one that found it unsealed? */
static bool
lived_there(Verify *v, const bw_block *block)
{
	ListCell   *lc;

	foreach(lc, v->incarnations)
	{
		const VerifyIncarnation *incarnation = lfirst(lc);

		if (incarnation->incarnation >= block->incarnation && incarnation->timeline == block->timeline &&
			incarnation->system_identifier == block->system_identifier)
			return true;
	}
	return false;
}

static void
check_header(Verify *v, const VerifyRow *row, const bw_block *block, const VerifyIncarnation *incarnation)
{
	VerifyBlocks *b = v->blocks;
	static const uint8 zeros[BW_SHA256_LEN];
	int64		leaf = (int64) block->first_leaf;

	if (!columns_agree(row, block))
		VerifyProblem(v, leaf, NO_ENTRY, "block " UINT64_FORMAT ": its columns are not what its header says", block->number);
	if (memcmp(block->log_id, &v->log->log_id, BW_LOG_ID_LEN) != 0)
		VerifyProblem(v, leaf, NO_ENTRY, "block " UINT64_FORMAT " is one of another log", block->number);
	if (!bw_equal(block->before, b->any ? b->before_hash : zeros, BW_SHA256_LEN) && (b->any || block->number == 0))
		VerifyProblem(v, leaf, NO_ENTRY, "block " UINT64_FORMAT " does not follow the header before it", block->number);
	if (block->first_leaf != b->before_size)
		VerifyProblem(v, leaf, NO_ENTRY, "block " UINT64_FORMAT " begins with leaf " UINT64_FORMAT ", the one before it ends with " UINT64_FORMAT,
					  block->number, block->first_leaf, b->before_size);
	if (incarnation != NULL && incarnation->any && !bw_block_goes_on(&incarnation->newest, block))
		VerifyProblem(v, leaf, NO_ENTRY, "block " UINT64_FORMAT " does not see all that the one before it saw", block->number);
	if (!lived_there(v, block))
		VerifyProblem(v, leaf, NO_ENTRY, "block " UINT64_FORMAT " was not sealed where incarnation %u lived",
					  block->number, block->incarnation);
}

static void
check_checkpoint(Verify *v, const bw_block *block, const uint8 header_hash[BW_SHA256_LEN], const bw_bytes *note)
{
	VerifyBlocks *b = v->blocks;
	bw_checkpoint checkpoint;
	size_t		body_len = 0;
	bw_note_result result = bw_trust_next(&b->trust, (const char *) note->data, note->len, &body_len);

	if (result == BW_NOTE_UNKNOWN_KEY)
	{
		if (b->foreign++ == 0)
			b->first_foreign = (int64) block->number;
		return;
	}
	if (result != BW_NOTE_OK)
		VerifyProblem(v, (int64) block->first_leaf, NO_ENTRY, "block " UINT64_FORMAT ": %s", block->number,
					  result == BW_NOTE_MALFORMED ? "its checkpoint is not a signed note" : "the signature of its checkpoint is wrong");
	else if (!bw_checkpoint_parse((const char *) note->data, body_len, &checkpoint) || strcmp(checkpoint.origin, v->origin) != 0 ||
			 checkpoint.size != block->tree_size || !checkpoint.has_block || checkpoint.block != block->number ||
			 !bw_equal(checkpoint.root, block->root, BW_SHA256_LEN) ||
			 !bw_equal(checkpoint.header_hash, header_hash, BW_SHA256_LEN))
		VerifyProblem(v, (int64) block->first_leaf, NO_ENTRY, "block " UINT64_FORMAT ": its checkpoint says something else than its header",
					  block->number);
}

/* Our root of the size that the earlier checkpoint has, once it is passed. */
static void
compare_earlier(Verify *v, uint64 tree_size)
{
	bw_hash		root;

	if (v->earlier == NULL || v->compared || v->earlier->size > tree_size)
		return;
	v->compared = true;
	v->differs = !VerifyTreeRoot(v, v->earlier->size, root) || !bw_equal(root, v->earlier->root, sizeof(root));
}

static void
check_root(Verify *v, const bw_block *block)
{
	bw_hash		root;

	compare_earlier(v, block->tree_size);
	if (VerifyTreeRoot(v, block->tree_size, root))
	{
		if (!bw_equal(root, block->root, sizeof(root)))
			VerifyProblem(v, (int64) block->first_leaf, NO_ENTRY,
						  "block " UINT64_FORMAT ": the tree of " UINT64_FORMAT " leaves does not have the root that was signed",
						  block->number, block->tree_size);
	}
	else if (!v->blocks->beyond_tree)
	{
		v->blocks->beyond_tree = true;
		VerifyProblem(v, (int64) block->first_leaf, NO_ENTRY,
					  "block " UINT64_FORMAT ": the tree of " UINT64_FORMAT " leaves cannot be had", block->number, block->tree_size);
	}
}

/* Keep what the next block must follow, and where this one is. */
static void
remember(Verify *v, const VerifyRow *row, const bw_block *block, VerifyIncarnation *incarnation,
		 const bw_bytes *header, const uint8 hash[BW_SHA256_LEN])
{
	VerifyBlocks *b = v->blocks;
	Place		place = {0};

	place.xmax = block->xmax;
	place.incarnation = block->incarnation;
	place.tid = row->tid;
	if (block->incarnation >= b->last_incarnation)
		RecordFileAdd(b->places, &place);
	else
	{
		MemoryContext caller = MemoryContextSwitchTo(v->context);
		Place	   *late = palloc(sizeof(Place));

		*late = place;
		b->late = lappend(b->late, late);
		MemoryContextSwitchTo(caller);
	}
	b->last_incarnation = Max(b->last_incarnation, block->incarnation);
	b->before_size = block->tree_size;
	memcpy(b->before_hash, hash, BW_SHA256_LEN);
	b->any = true;
	if (incarnation == NULL)
		return;
	if (incarnation->bytes)
		pfree(incarnation->bytes);
	incarnation->bytes = MemoryContextAlloc(v->context, header->len);
	memcpy(incarnation->bytes, header->data, header->len);
	(void) bw_block_parse(incarnation->bytes, header->len, &incarnation->newest);
	incarnation->any = true;
}

static void
check_block(Verify *v, const VerifyRow *row, void *arg)
{
	int64		number = v->blocks->expected;
	bw_bytes	header,
				runs,
				note;
	bw_block	block;
	uint8		hash[BW_SHA256_LEN];
	const char *why = "it is not one";
	VerifyIncarnation *incarnation;

	for (int i = 0; i < row->rel->rd_att->natts; i++)
		if (row->nulls[i])
		{
			VerifyProblem(v, NO_LEAF, NO_ENTRY, "block " INT64_FORMAT ": a column is missing", number);
			return;
		}
	if (!VerifyBytes(v, row, COL_HEADER, &header, &why) || !bw_block_parse(header.data, header.len, &block))
	{
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "block " INT64_FORMAT ": its header cannot be read: %s", number, why);
		return;
	}
	bw_sha256(header.data, header.len, hash);
	incarnation = VerifyIncarnationOf(v, block.incarnation);
	check_header(v, row, &block, incarnation);
	if (v->earlier != NULL && bw_checkpoint_other_block(v->earlier, block.number, block.tree_size, hash))
		v->other_block = true;
	check_root(v, &block);
	if (VerifyBytes(v, row, COL_RUNS, &runs, &why))
		check_runs(v, &block, incarnation, &runs);
	else
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "block " INT64_FORMAT ": its runs cannot be read: %s", number, why);
	if (VerifyBytes(v, row, COL_CHECKPOINT, &note, &why))
		check_checkpoint(v, &block, hash, &note);
	else
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "block " INT64_FORMAT ": its checkpoint cannot be read: %s", number, why);
	remember(v, row, &block, incarnation, &header, hash);
}

static void
note_block(Verify *v, const VerifyRow *row, void *arg)
{
	int64		number = row->nulls[COL_BLOCK] ? -1 : DatumGetInt64(row->values[COL_BLOCK]);

	if (number < 0)
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "block " INT64_FORMAT " cannot be", number);
	else
		NumberSortAdd(v->blocks->sort, number, VerifyPackTid(&row->tid));
}

/* Blocks in their order: each number once. */
static void
check_all(Verify *v)
{
	VerifyBlocks *b = v->blocks;
	MemoryContext caller = MemoryContextSwitchTo(v->page);
	int64		number;
	int64		place;

	while (NumberSortNext(b->sort, &number, &place))
	{
		ItemPointerData tid = VerifyUnpackTid(place);

		CHECK_FOR_INTERRUPTS();
		if (number < b->expected)
		{
			VerifyProblem(v, NO_LEAF, NO_ENTRY, "block " INT64_FORMAT " is there twice", number);
			continue;
		}
		if (number > b->expected)
			VerifyProblem(v, (int64) b->before_size, NO_ENTRY,
						  number == b->expected + 1 ? "block " INT64_FORMAT " is missing" :
						  "blocks " INT64_FORMAT " to " INT64_FORMAT " are missing", b->expected, number - 1);
		b->expected = number;
		if (!VerifyFetch(v, b->rel, &tid, check_block, NULL))
			VerifyProblem(v, NO_LEAF, NO_ENTRY, "block " INT64_FORMAT " cannot be read", number);
		b->expected++;
		MemoryContextReset(v->page);
	}
	MemoryContextSwitchTo(caller);
	if (b->foreign > 0)
		VerifyProblem(v, NO_LEAF, NO_ENTRY, UINT64_FORMAT " checkpoints are not signed by the log's key, the first is that of block " INT64_FORMAT,
					  b->foreign, b->first_foreign);
	else if (b->any && v->pinned == NULL && !b->trust.trusted)
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "the first checkpoint is not signed by the log's first key");
}

void
VerifyBlocksRun(Verify *v)
{
	VerifyBlocks *b = palloc0(sizeof(VerifyBlocks));

	v->blocks = b;
	b->places = RecordFileBegin(v, sizeof(Place));
	VerifyKeys(v, &b->trust);
	b->rel = VerifyOpen(v, "ledger_blocks");
	if (b->rel != NULL)
	{
		b->sort = NumberSortBegin();
		VerifyScan(v, b->rel, note_block, NULL);
		NumberSortPerform(b->sort);
		check_all(v);
		NumberSortEnd(b->sort);
	}
	v->key_trusted = b->trust.trusted && b->foreign == 0;
	VerifyTreeFinish(v);
}

/* --- where a transaction is ------------------------------------------------------------------ */

/* The first block whose (incarnation, xmax) is above this one. */
static uint64
first_above(VerifyBlocks *b, uint32 incarnation, uint64 xid)
{
	uint64		low = 0,
				high = RecordFileLength(b->places);

	while (low < high)
	{
		uint64		middle = low + (high - low) / 2;
		const Place *place = RecordFileGet(b->places, middle);

		if (place->incarnation > incarnation || (place->incarnation == incarnation && place->xmax > xid))
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Decode the runs of a block; those that were found wrong leave it without any. */
static void
take_runs(Verify *v, const VerifyRow *row, void *arg)
{
	Loaded	   *loaded = arg;
	bw_bytes	header,
				bytes;
	const char *why;
	bw_runs		runs;
	uint64		count;
	uint64		leaf;
	uint8	   *copy;

	if (!VerifyBytes(v, row, COL_HEADER, &header, &why) || !VerifyBytes(v, row, COL_RUNS, &bytes, &why))
		return;
	copy = MemoryContextAlloc(loaded->context, header.len);
	memcpy(copy, header.data, header.len);
	if (!bw_block_parse(copy, header.len, &loaded->block) || !bw_runs_open(&runs, bytes.data, bytes.len))
		return;
	loaded->xid = MemoryContextAllocHuge(loaded->context, (runs.left + 1) * sizeof(uint64));
	loaded->first = MemoryContextAllocHuge(loaded->context, (runs.left + 1) * sizeof(uint64));
	leaf = loaded->block.first_leaf;
	for (loaded->n = 0; bw_runs_next(&runs, &loaded->xid[loaded->n], &count); leaf += count)
		loaded->first[loaded->n++] = leaf;
	loaded->first[loaded->n] = leaf;
	loaded->valid = true;
}

static Loaded *
load_block(Verify *v, ItemPointerData tid)
{
	VerifyBlocks *b = v->blocks;
	Loaded	   *slot = &b->loaded[0];

	for (int i = 0; i < CACHED_BLOCKS; i++)
	{
		if (b->loaded[i].valid && ItemPointerEquals(&b->loaded[i].tid, &tid))
			return &b->loaded[i];
		if (b->loaded[i].used < slot->used)
			slot = &b->loaded[i];
	}
	if (slot->context == NULL)
		slot->context = AllocSetContextCreate(v->context, "bulwark verified block", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(slot->context);
	slot->valid = false;
	slot->n = 0;
	slot->tid = tid;
	(void) VerifyFetch(v, b->rel, &tid, take_runs, slot);
	return slot;
}

static bool
find_in(VerifyBlocks *b, Loaded *loaded, uint64 xid, uint64 *first, uint64 *count)
{
	uint64		low = 0,
				high = loaded->n;

	while (low < high)
	{
		uint64		middle = low + (high - low) / 2;

		if (loaded->xid[middle] < xid)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == loaded->n || loaded->xid[low] != xid)
		return false;
	*first = loaded->first[low];
	*count = loaded->first[low + 1] - loaded->first[low];
	loaded->used = ++b->lookups;
	return true;
}

/* In this block?  *over: its snapshot saw the transaction ended, so that no later one has it. */
static bool
find_at(Verify *v, const Place *place, uint64 xid, FoundRun *found, bool *over)
{
	Loaded	   *loaded = load_block(v, place->tid);

	loaded->used = ++v->blocks->lookups;
	*over = loaded->valid && !bw_block_in_progress(&loaded->block, xid);
	return find_in(v->blocks, loaded, xid, &found->first, &found->count);
}

/* From the first block that may have it on, until one whose snapshot saw it ended. */
static bool
find_in_chain(Verify *v, uint32 incarnation, uint64 xid, FoundRun *found)
{
	VerifyBlocks *b = v->blocks;
	bool		over = false;
	ListCell   *lc;

	for (uint64 i = first_above(b, incarnation, xid); !over && i < RecordFileLength(b->places); i++)
	{
		const Place *place = RecordFileGet(b->places, i);

		CHECK_FOR_INTERRUPTS();
		if (place->incarnation != incarnation)
			break;
		if (find_at(v, place, xid, found, &over))
			return true;
	}
	foreach(lc, b->late)
	{
		const Place *place = lfirst(lc);

		if (place->incarnation == incarnation && find_at(v, place, xid, found, &over))
			return true;
	}
	return false;
}

bool
VerifyFindRun(Verify *v, uint32 incarnation, uint64 xid, uint64 *first, uint64 *count)
{
	VerifyBlocks *b = v->blocks;
	FoundRun   *found = &b->found[xid % CACHED_RUNS];
	MemoryContext caller;
	bool		ok;

	if (found->count > 0 && found->xid == xid && found->incarnation == incarnation)
	{
		*first = found->first;
		*count = found->count;
		return true;
	}
	for (int i = 0; i < CACHED_BLOCKS; i++)
		if (b->loaded[i].valid && b->loaded[i].block.incarnation == incarnation &&
			find_in(b, &b->loaded[i], xid, first, count))
			return true;
	caller = MemoryContextSwitchTo(v->page);
	found->count = 0;
	found->xid = xid;
	found->incarnation = incarnation;
	ok = find_in_chain(v, incarnation, xid, found);
	MemoryContextSwitchTo(caller);
	if (!ok)
		found->count = 0;
	*first = found->first;
	*count = found->count;
	return ok;
}

bool
VerifyUnsealed(Verify *v, uint32 number, uint64 xid)
{
	const VerifyIncarnation *incarnation = VerifyIncarnationOf(v, number);

	return incarnation != NULL && (!incarnation->any || bw_block_in_progress(&incarnation->newest, xid));
}

/* --- stragglers ----------------------------------------------------------------------------------- */

static void
check_straggler(Verify *v, const VerifyRow *row, void *arg)
{
	uint64	   *right = arg;
	int32		incarnation = DatumGetInt32(row->values[0]);
	int64		xid = DatumGetInt64(row->values[1]);
	int64		block = DatumGetInt64(row->values[2]);
	uint64		first,
				count;

	if (VerifyFindRun(v, (uint32) incarnation, (uint64) xid, &first, &count))
	{
		for (int i = 0; i < CACHED_BLOCKS; i++)
		{
			Loaded	   *loaded = &v->blocks->loaded[i];

			if (loaded->valid && loaded->block.number == (uint64) block &&
				loaded->block.first_leaf <= first && first < loaded->block.tree_size)
			{
				(*right)++;
				return;
			}
		}
	}
	VerifyProblem(v, NO_LEAF, NO_ENTRY, "transaction " INT64_FORMAT " of incarnation %d is not in block " INT64_FORMAT
				  ", as the table of stragglers says", xid, incarnation, block);
}

void
VerifyStragglers(Verify *v)
{
	Relation	rel = VerifyOpen(v, "ledger_stragglers");
	uint64		right = 0;

	if (rel == NULL)
		return;
	memset(v->blocks->found, 0, sizeof(v->blocks->found));
	VerifyScan(v, rel, check_straggler, &right);
	if (right != v->blocks->stragglers)
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "the table of stragglers names " UINT64_FORMAT " transactions instead of " UINT64_FORMAT,
					  right, v->blocks->stragglers);
}
