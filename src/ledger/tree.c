/*
 * tree.c
 *		The Merkle tree over all sealed entries, in tiles of 256 hashes, and where
 *		in it an entry is.
 *
 * A tile only ever grows, so what was read of one stays right; a partial one is
 * read again when more of it is asked for.
 */
#include "ledger/sealer.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "common/block.h"
#include "common/merkle.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

#define TILES_TABLE		"ledger_tiles"
#define BLOCKS_TABLE	"ledger_blocks"
#define STRAGGLERS_TABLE "ledger_stragglers"

#define TILE_BITS		8
#define TILE_LEN		(1 << TILE_BITS)
#define TILE_LEVELS		8		/* 256^8 leaves: more than there can be */
#define CACHED_TILES	16

typedef struct Tile
{
	int			level;
	uint64		number;
	int			n;				/* hashes that are there; 0: unused */
	bw_hash		hash[TILE_LEN];
} Tile;

static Tile *cache = NULL;
static pg_uuid_t cache_log;

static const AttrNumber tile_key[] = {1, 2};
static const AttrNumber block_key[] = {1};
static const AttrNumber block_xmax_key[] = {2, 3};
static const AttrNumber straggler_key[] = {1, 2};

/* The runs of one block, decoded. */
static struct
{
	MemoryContext context;
	pg_uuid_t	log_id;
	uint32		incarnation;
	uint64		block;
	uint64		nruns;			/* 0: nothing */
	uint64	   *xid;
	uint64	   *first;			/* leaf of each; one more at the end */
} run_cache;

void
TreeForget(void)
{
	if (cache != NULL)
		memset(cache, 0, CACHED_TILES * sizeof(Tile));
	run_cache.nruns = 0;
}

/* --- tiles ------------------------------------------------------------------------ */

static HeapTuple
fetch_tile(Relation rel, int level, uint64 number)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum((int16) level));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum((int64) number));
	return StoreFetch(rel, tile_key, lengthof(tile_key), keys, lengthof(keys), ForwardScanDirection);
}

/* Copies at most TILE_LEN hashes of a row; how many. */
static int
tile_hashes(HeapTuple row, TupleDesc desc, bw_hash hash[TILE_LEN])
{
	bool		isnull;
	Datum		stored = heap_getattr(row, 3, desc, &isnull);
	bytea	   *hashes = DatumGetByteaPP(stored);
	Size		len = VARSIZE_ANY_EXHDR(hashes);

	if (len % BW_HASH_LEN != 0 || len == 0 || len > TILE_LEN * BW_HASH_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a tile of the ledger's tree has %zu bytes", len)));
	memcpy(hash, VARDATA_ANY(hashes), len);
	if (hashes != (bytea *) DatumGetPointer(stored))
		pfree(hashes);
	return (int) (len / BW_HASH_LEN);
}

/* The cache belongs to one log. */
static bool
cache_ready(void)
{
	const Log  *log = LogPeek();

	if (log == NULL)
		return false;
	if (cache == NULL)
		cache = MemoryContextAllocZero(TopMemoryContext, CACHED_TILES * sizeof(Tile));
	if (memcmp(&cache_log, &log->log_id, UUID_LEN) != 0)
	{
		TreeForget();
		cache_log = log->log_id;
	}
	return true;
}

/* A tile with at least n hashes, or NULL. */
static const Tile *
get_tile(int level, uint64 number, int n)
{
	Tile	   *tile;
	Relation	rel;
	HeapTuple	row;

	if (!cache_ready())
		return NULL;
	tile = &cache[(number * 5 + (uint64) level) % CACHED_TILES];
	if (tile->n >= n && tile->level == level && tile->number == number)
		return tile;

	rel = table_open(PrivateRelid(TILES_TABLE), AccessShareLock);
	row = fetch_tile(rel, level, number);
	tile->n = 0;
	if (row != NULL)
	{
		int			have = tile_hashes(row, RelationGetDescr(rel), tile->hash);

		tile->level = level;
		tile->number = number;
		tile->n = have;
		heap_freetuple(row);
	}
	table_close(rel, AccessShareLock);
	return tile->n >= n ? tile : NULL;
}

/* Root of 2^bits hashes that begin at hash. */
static void
root_of(const bw_hash *hash, int bits, uint8 root[32])
{
	bw_hash		work[TILE_LEN];

	memcpy(work, hash, ((Size) BW_HASH_LEN) << bits);
	bw_subtree_root(work, bits);
	memcpy(root, work[0], BW_HASH_LEN);
}

bool
TreeHash(int level, uint64 n, uint8 hash[32])
{
	int			tile_level = level / TILE_BITS;
	int			bits = level % TILE_BITS;
	uint64		at;
	int			offset;
	const Tile *tile;

	if (level < 0 || level > 62 || n > (uint64) PG_INT64_MAX >> level)
		return false;
	at = n << bits;
	offset = (int) (at % TILE_LEN);
	tile = get_tile(tile_level, at / TILE_LEN, offset + (1 << bits));
	if (tile == NULL)
		return false;
	root_of(&tile->hash[offset], bits, hash);
	return true;
}

static bool
subtree_from_table(void *arg, int level, uint64_t n, bw_hash hash)
{
	return TreeHash(level, n, hash);
}

void
TreeRoot(uint64 size, uint8 root[32])
{
	if (!bw_tree_root(size, subtree_from_table, NULL, root))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the ledger's tree has no root of size " UINT64_FORMAT, size)));
}

/* --- adding to it --------------------------------------------------------------------- */

struct TreeAppender
{
	uint64		size;
	Relation	rel;
	CatalogIndexState indexes;
	MemoryContext work;
	struct
	{
		bool		stored;		/* there is a row of fewer hashes */
		bool		changed;
		ItemPointerData tid;
		Tile		tile;		/* the last, partial one: n may be 0 */
	}			level[TILE_LEVELS];
};

static void
load_partial(TreeAppender *appender, int level)
{
	uint64		count = appender->size >> (TILE_BITS * level);
	Tile	   *tile = &appender->level[level].tile;
	int			expected = (int) (count % TILE_LEN);
	HeapTuple	row;

	tile->level = level;
	tile->number = count / TILE_LEN;
	if (expected == 0)
		return;
	row = fetch_tile(appender->rel, level, tile->number);
	if (row != NULL)
	{
		tile->n = tile_hashes(row, RelationGetDescr(appender->rel), tile->hash);
		appender->level[level].stored = true;
		appender->level[level].tid = row->t_self;
		heap_freetuple(row);
	}
	if (tile->n != expected)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("tile " UINT64_FORMAT " of level %d of the ledger's tree has %d hashes instead of %d",
						tile->number, level, tile->n, expected)));
}

TreeAppender *
TreeAppendBegin(uint64 size)
{
	TreeAppender *appender = palloc0(sizeof(TreeAppender));

	appender->size = size;
	appender->rel = table_open(PrivateRelid(TILES_TABLE), RowExclusiveLock);
	appender->indexes = CatalogOpenIndexes(appender->rel);
	appender->work = AllocSetContextCreate(CurrentMemoryContext, "bulwark tiles", ALLOCSET_SMALL_SIZES);
	for (int level = 0; level < TILE_LEVELS; level++)
		load_partial(appender, level);
	return appender;
}

static void
store_tile(TreeAppender *appender, int level)
{
	Tile	   *tile = &appender->level[level].tile;
	MemoryContext caller = MemoryContextSwitchTo(appender->work);
	Size		len = (Size) tile->n * BW_HASH_LEN;
	bytea	   *hashes = palloc(VARHDRSZ + len);
	Datum		values[3];
	bool		nulls[3] = {false};
	HeapTuple	row;

	SET_VARSIZE(hashes, VARHDRSZ + len);
	memcpy(VARDATA(hashes), tile->hash, len);
	values[0] = Int16GetDatum((int16) level);
	values[1] = Int64GetDatum((int64) tile->number);
	values[2] = PointerGetDatum(hashes);
	row = heap_form_tuple(RelationGetDescr(appender->rel), values, nulls);
	if (appender->level[level].stored)
		CatalogTupleUpdateWithInfo(appender->rel, &appender->level[level].tid, row, appender->indexes);
	else
		CatalogTupleInsertWithInfo(appender->rel, row, appender->indexes);
	appender->level[level].tid = row->t_self;
	appender->level[level].stored = true;
	appender->level[level].changed = false;
	MemoryContextSwitchTo(caller);
	MemoryContextReset(appender->work);
}

static void
append_at(TreeAppender *appender, int level, const uint8 hash[32])
{
	Tile	   *tile = &appender->level[level].tile;
	bw_hash		root;

	memcpy(tile->hash[tile->n++], hash, BW_HASH_LEN);
	appender->level[level].changed = true;
	if (likely(tile->n < TILE_LEN))
		return;

	store_tile(appender, level);
	bw_subtree_root(tile->hash, TILE_BITS);
	memcpy(root, tile->hash[0], BW_HASH_LEN);
	tile->number++;
	tile->n = 0;
	appender->level[level].stored = appender->level[level].changed = false;
	if (level + 1 < TILE_LEVELS)
		append_at(appender, level + 1, root);
}

void
TreeAppend(TreeAppender *appender, const uint8 leaf[32])
{
	append_at(appender, 0, leaf);
	appender->size++;
}

/* Every peak lies in the partial tile of its level. */
static bool
subtree_from_partial(void *arg, int level, uint64_t n, bw_hash hash)
{
	TreeAppender *appender = arg;
	int			bits = level % TILE_BITS;
	const Tile *tile = &appender->level[level / TILE_BITS].tile;
	uint64		at = n << bits;

	if (at / TILE_LEN != tile->number || (int) (at % TILE_LEN) + (1 << bits) > tile->n)
		return false;
	root_of(&tile->hash[at % TILE_LEN], bits, hash);
	return true;
}

void
TreeAppendRoot(TreeAppender *appender, uint8 root[32])
{
	if (!bw_tree_root(appender->size, subtree_from_partial, appender, root))
		elog(ERROR, "the ledger's tree has no root of size " UINT64_FORMAT, appender->size);
}

void
TreeAppendEnd(TreeAppender *appender)
{
	for (int level = 0; level < TILE_LEVELS; level++)
		if (appender->level[level].changed)
			store_tile(appender, level);
	CatalogCloseIndexes(appender->indexes);
	table_close(appender->rel, NoLock);
	MemoryContextDelete(appender->work);
	pfree(appender);
	CommandCounterIncrement();
}

/* --- blocks ------------------------------------------------------------------------------ */

uint64
TreeSize(void)
{
	Oid			relid = PrivateRelid(BLOCKS_TABLE);
	Relation	rel;
	HeapTuple	row;
	uint64		size = 0;
	bool		isnull;

	if (!OidIsValid(relid))
		return 0;
	rel = table_open(relid, AccessShareLock);
	row = StoreFetch(rel, block_key, lengthof(block_key), NULL, 0, BackwardScanDirection);
	if (row != NULL)
	{
		size = (uint64) DatumGetInt64(heap_getattr(row, 5, RelationGetDescr(rel), &isnull));
		heap_freetuple(row);
	}
	table_close(rel, AccessShareLock);
	return size;
}

/* Several snapshots may end at the same xid: the first block of them counts. */
typedef struct FirstBlock
{
	HeapTuple	row;
	int64		xmax;
	int64		block;
} FirstBlock;

static bool
keep_first_block(HeapTuple row, TupleDesc desc, void *arg)
{
	FirstBlock *first = arg;
	bool		isnull;
	int64		block = DatumGetInt64(heap_getattr(row, 1, desc, &isnull));
	int64		xmax = DatumGetInt64(heap_getattr(row, 3, desc, &isnull));

	if (first->row != NULL && xmax != first->xmax)
		return false;
	if (first->row == NULL || block < first->block)
	{
		if (first->row)
			heap_freetuple(first->row);
		first->row = heap_copytuple(row);
		first->block = block;
		first->xmax = xmax;
	}
	return true;
}

/* The block that a straggler is in; -1: it is none. */
static int64
straggler_block(uint32 incarnation, uint64 xid)
{
	Relation	rel = table_open(PrivateRelid(STRAGGLERS_TABLE), AccessShareLock);
	ScanKeyData keys[2];
	HeapTuple	row;
	int64		block = -1;
	bool		isnull;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum((int32) incarnation));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum((int64) xid));
	row = StoreFetch(rel, straggler_key, lengthof(straggler_key), keys, lengthof(keys), ForwardScanDirection);
	if (row != NULL)
		block = DatumGetInt64(heap_getattr(row, 3, RelationGetDescr(rel), &isnull));
	table_close(rel, AccessShareLock);
	return block;
}

/* The row of the block that the transaction's entries are in, if they are in any. */
static HeapTuple
find_block(Relation rel, uint32 incarnation, uint64 xid)
{
	int64		block = straggler_block(incarnation, xid);
	ScanKeyData keys[2];
	FirstBlock	first = {NULL};

	if (block >= 0)
	{
		ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(block));
		return StoreFetch(rel, block_key, lengthof(block_key), keys, 1, ForwardScanDirection);
	}
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum((int32) incarnation));
	ScanKeyInit(&keys[1], 2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum((int64) xid));
	StoreScan(rel, block_xmax_key, lengthof(block_xmax_key), keys, lengthof(keys),
			  ForwardScanDirection, keep_first_block, &first);
	return first.row;
}

/* Decode the runs of a block into the cache. */
static void
load_runs(HeapTuple row, TupleDesc desc)
{
	bool		isnull;
	uint64		block = (uint64) DatumGetInt64(heap_getattr(row, 1, desc, &isnull));
	uint64		leaf = (uint64) DatumGetInt64(heap_getattr(row, 4, desc, &isnull));
	bytea	   *bytes = DatumGetByteaPP(heap_getattr(row, 7, desc, &isnull));
	bw_runs		runs;
	uint64		n = 0;
	uint64		entries;

	run_cache.nruns = 0;
	if (run_cache.context == NULL)
		run_cache.context = AllocSetContextCreate(TopMemoryContext, "bulwark runs", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(run_cache.context);
	if (!bw_runs_open(&runs, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)))
		return;
	run_cache.xid = MemoryContextAllocHuge(run_cache.context, (runs.left + 1) * sizeof(uint64));
	run_cache.first = MemoryContextAllocHuge(run_cache.context, (runs.left + 1) * sizeof(uint64));
	while (bw_runs_next(&runs, &run_cache.xid[n], &entries))
	{
		run_cache.first[n++] = leaf;
		leaf += entries;
	}
	run_cache.first[n] = leaf;
	if (bw_runs_valid(&runs))
		run_cache.nruns = n;
	run_cache.log_id = cache_log;
	run_cache.incarnation = (uint32) DatumGetInt32(heap_getattr(row, 2, desc, &isnull));
	run_cache.block = block;
}

/* In the cached block? */
static bool
find_cached(uint32 incarnation, uint64 xid, uint64 *first_leaf, uint64 *entries)
{
	uint64		low = 0;
	uint64		high = run_cache.nruns;

	if (high == 0 || run_cache.incarnation != incarnation ||
		memcmp(&run_cache.log_id, &cache_log, UUID_LEN) != 0)
		return false;
	while (low < high)
	{
		uint64		middle = low + (high - low) / 2;

		if (run_cache.xid[middle] < xid)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == run_cache.nruns || run_cache.xid[low] != xid)
		return false;
	*first_leaf = run_cache.first[low];
	*entries = run_cache.first[low + 1] - run_cache.first[low];
	return true;
}

bool
TreeFindRun(uint32 incarnation, uint64 xid, uint64 *first_leaf, uint64 *entries)
{
	Relation	rel;
	HeapTuple	row;
	bool		isnull;

	if (!cache_ready())
		return false;
	if (find_cached(incarnation, xid, first_leaf, entries))
		return true;

	rel = table_open(PrivateRelid(BLOCKS_TABLE), AccessShareLock);
	row = find_block(rel, incarnation, xid);
	if (row != NULL &&
		(run_cache.nruns == 0 ||
		 run_cache.block != (uint64) DatumGetInt64(heap_getattr(row, 1, RelationGetDescr(rel), &isnull))))
		load_runs(row, RelationGetDescr(rel));
	if (row != NULL)
		heap_freetuple(row);
	table_close(rel, AccessShareLock);
	return row != NULL && find_cached(incarnation, xid, first_leaf, entries);
}

int64
LeafIndexOf(uint32 incarnation, uint64 xid, uint32 sequence)
{
	uint64		first_leaf;
	uint64		entries;

	if (!TreeFindRun(incarnation, xid, &first_leaf, &entries) || sequence == 0 || sequence > entries)
		return -1;
	return (int64) (first_leaf + sequence - 1);
}
