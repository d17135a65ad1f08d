/*
 * verify_tree.c
 *		The tiles of the tree, level by level in one pass.
 *
 * Leaf hashes are taken from level 0 in their order; as soon as a tile is full its
 * root must be the next hash of the level above, and so on upwards.  The peaks that
 * grow on the way give the root of every size that is asked for.
 */
#include "ledger/verify.h"

#include "access/relation.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#define TILE_LEN	256
#define TILE_BITS	8
#define LEVELS		8

/* The tiles of one level, in their order. */
typedef struct Level
{
	NumberSort *sort;			/* NULL: no tile of this level */
	bool		waiting;		/* a row was taken from it that is not used yet */
	int64		number;			/* of that row */
	int64		place;
	uint64		tile;			/* the one in hashes */
	int			n;				/* hashes of it, 0: it cannot be read */
	bool		loaded;
	bw_hash		hashes[TILE_LEN];
} Level;

struct VerifyTree
{
	Relation	rel;
	Level	   *levels[LEVELS];
	RecordFile *places;			/* of the tiles of level 0 */
	MemoryContext reading;		/* reset after each tile */
	bw_peaks	peaks;
	bool		broken;			/* no root can be had any more */
	uint64		unknown;		/* leaves from here ... */
	uint64		known_again;	/* ... to here are not known */
	bool		past_end;		/* told that tiles end early */
};

/* --- reading ------------------------------------------------------------------------ */

static void
note_tile(Verify *v, const VerifyRow *row, void *arg)
{
	VerifyTree *tree = arg;
	int16		level = row->nulls[0] ? -1 : DatumGetInt16(row->values[0]);
	int64		number = row->nulls[1] ? -1 : DatumGetInt64(row->values[1]);
	MemoryContext caller;

	if (level < 0 || level >= LEVELS || number < 0)
	{
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "tile " INT64_FORMAT " of level %d of the tree cannot be", number, level);
		return;
	}
	caller = MemoryContextSwitchTo(v->context);
	if (tree->levels[level] == NULL)
		tree->levels[level] = palloc0(sizeof(Level));
	if (tree->levels[level]->sort == NULL)
		tree->levels[level]->sort = NumberSortBegin();
	MemoryContextSwitchTo(caller);
	NumberSortAdd(tree->levels[level]->sort, number, VerifyPackTid(&row->tid));
}

/* Where the tiles of level 0 are, for the entries to come: a hole where one is missing. */
static void
note_place(VerifyTree *tree, uint64 tile, int64 place)
{
	const int64 none = 0;

	while (RecordFileLength(tree->places) < tile)
		RecordFileAdd(tree->places, &none);
	RecordFileAdd(tree->places, &place);
}

void
VerifyTreeBegin(Verify *v)
{
	VerifyTree *tree = palloc0(sizeof(VerifyTree));

	v->tree = tree;
	tree->places = RecordFileBegin(v, sizeof(int64));
	tree->reading = AllocSetContextCreate(v->context, "bulwark verified tile", ALLOCSET_DEFAULT_SIZES);
	tree->rel = VerifyOpen(v, "ledger_tiles");
	if (tree->rel == NULL)
		return;
	VerifyScan(v, tree->rel, note_tile, tree);
	for (int level = 0; level < LEVELS; level++)
		if (tree->levels[level] != NULL)
			NumberSortPerform(tree->levels[level]->sort);
}

typedef struct TileRead
{
	int			n;
	bw_hash    *hashes;
} TileRead;

static void
take_hashes(Verify *v, const VerifyRow *row, void *arg)
{
	TileRead   *read = arg;
	bw_bytes	bytes;
	const char *why;

	if (row->nulls[2] || !VerifyBytes(v, row, 2, &bytes, &why) ||
		bytes.len % BW_HASH_LEN != 0 || bytes.len == 0 || bytes.len > TILE_LEN * BW_HASH_LEN)
		return;
	memcpy(read->hashes, bytes.data, bytes.len);
	read->n = (int) (bytes.len / BW_HASH_LEN);
}

static int
read_tile(Verify *v, int64 place, bw_hash hashes[TILE_LEN])
{
	TileRead	read = {0, hashes};
	ItemPointerData tid;
	MemoryContext caller;

	if (place == 0)
		return 0;
	tid = VerifyUnpackTid(place);
	caller = MemoryContextSwitchTo(v->tree->reading);
	(void) VerifyFetch(v, v->tree->rel, &tid, take_hashes, &read);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(v->tree->reading);
	return read.n;
}

/* Make the level's next tile the one in memory; n is 0 where it is missing. */
static void
load_next(Verify *v, int number, uint64 tile)
{
	VerifyTree *tree = v->tree;
	Level	   *level = tree->levels[number];

	if (level == NULL)
		level = tree->levels[number] = MemoryContextAllocZero(v->context, sizeof(Level));
	level->loaded = true;
	level->tile = tile;
	level->n = 0;
	for (;;)
	{
		if (!level->waiting)
			level->waiting = level->sort != NULL && NumberSortNext(level->sort, &level->number, &level->place);
		if (!level->waiting || (uint64) level->number > tile)
			break;
		level->waiting = false;
		if ((uint64) level->number < tile)
		{
			VerifyProblem(v, NO_LEAF, NO_ENTRY, "tile " INT64_FORMAT " of level %d of the tree is there twice",
						  level->number, number);
			continue;
		}
		level->n = read_tile(v, level->place, level->hashes);
		if (number == 0)
			note_place(tree, tile, level->place);
		break;
	}
	if (level->n == 0 && !tree->past_end)
		VerifyProblem(v, number == 0 ? (int64) (tile * TILE_LEN) : NO_LEAF, NO_ENTRY,
					  "tile " UINT64_FORMAT " of level %d of the tree is missing or cannot be read", tile, number);
	/* every further one would be missing too */
	if (number == 0 && level->n == 0 && !level->waiting)
		tree->past_end = true;
}

/* --- the levels above --------------------------------------------------------------------- */

/* Hash n of a level, which its children have; *hash becomes the level's own. */
static bool
compare_above(Verify *v, int number, uint64 n, bw_hash hash)
{
	Level	   *level;
	bool		same;
	bw_hash		root[TILE_LEN];

	if (number >= LEVELS)
		return true;
	level = v->tree->levels[number];
	if (level == NULL || !level->loaded || level->tile != n / TILE_LEN)
	{
		load_next(v, number, n / TILE_LEN);
		level = v->tree->levels[number];
	}
	if ((int) (n % TILE_LEN) >= level->n)
	{
		if (level->n > 0)
			VerifyProblem(v, NO_LEAF, NO_ENTRY, "tile " UINT64_FORMAT " of level %d of the tree has %d hashes: too few",
						  level->tile, number, level->n);
		level->n = 0;
		return false;
	}
	same = memcmp(level->hashes[n % TILE_LEN], hash, BW_HASH_LEN) == 0;
	memcpy(hash, level->hashes[n % TILE_LEN], BW_HASH_LEN);
	if (n % TILE_LEN == TILE_LEN - 1)
	{
		memcpy(root, level->hashes, sizeof(root));
		bw_subtree_root(root, TILE_BITS);
		(void) compare_above(v, number + 1, n / TILE_LEN, root[0]);
	}
	return same;
}

/* --- leaves ------------------------------------------------------------------------------------ */

/* A tile of level 0 that is full: its root must be what the level above has. */
static void
finish_tile(Verify *v, uint64 tile, const bw_hash root)
{
	bw_hash		above;

	memcpy(above, root, BW_HASH_LEN);
	if (!compare_above(v, 1, tile, above) && v->tree->levels[1]->n > 0)
		VerifyProblem(v, (int64) (tile * TILE_LEN), NO_ENTRY,
					  "tile " UINT64_FORMAT " of the tree does not have the root that the level above has", tile);
}

/* A tile that cannot be read: go on with the hash that the level above has of it. */
static bool
skip_tile(Verify *v, uint64 tile)
{
	VerifyTree *tree = v->tree;
	bw_hash		above = {0};

	tree->unknown = tile * TILE_LEN;
	tree->known_again = (tile + 1) * TILE_LEN;
	(void) compare_above(v, 1, tile, above);
	if (tree->past_end || tree->levels[1] == NULL || tree->levels[1]->n == 0)
		return false;
	return bw_peaks_add_subtree(&tree->peaks, TILE_BITS, above);
}

/* The peaks of the first size leaves, as far as there are hashes. */
static bool
advance(Verify *v, uint64 size)
{
	VerifyTree *tree = v->tree;
	bw_hash		work[TILE_LEN];

	while (!tree->broken && tree->peaks.size < size)
	{
		uint64		tile = tree->peaks.size / TILE_LEN;
		int			offset = (int) (tree->peaks.size % TILE_LEN);
		Level	   *level = tree->levels[0];
		uint64		left = size - tree->peaks.size;

		CHECK_FOR_INTERRUPTS();
		if (level == NULL || !level->loaded || level->tile != tile)
		{
			load_next(v, 0, tile);
			level = tree->levels[0];
		}
		if (offset == 0 && level->n == TILE_LEN && left >= TILE_LEN)
		{
			memcpy(work, level->hashes, sizeof(work));
			bw_subtree_root(work, TILE_BITS);
			finish_tile(v, tile, work[0]);
			(void) bw_peaks_add_subtree(&tree->peaks, TILE_BITS, work[0]);
		}
		else if (level->n > offset)
		{
			bw_peaks_add(&tree->peaks, level->hashes[offset]);
			if (offset == TILE_LEN - 1)
			{
				memcpy(work, level->hashes, sizeof(work));
				bw_subtree_root(work, TILE_BITS);
				finish_tile(v, tile, work[0]);
			}
		}
		else if (level->n == 0 && offset == 0 && left < TILE_LEN)
			return false;		/* the next size may lie beyond it */
		else if (level->n > 0 || offset != 0 || !skip_tile(v, tile))
			tree->broken = true;
	}
	return tree->peaks.size == size;
}

bool
VerifyTreeRoot(Verify *v, uint64 size, bw_hash root)
{
	if (v->tree->rel == NULL || !advance(v, size))
		return false;
	bw_peaks_root(&v->tree->peaks, root);
	return true;
}

/* Is there anything in a level beyond what the tree has? */
static void
finish_level(Verify *v, int number)
{
	Level	   *level = v->tree->levels[number];
	uint64		count = v->tree->peaks.size >> (TILE_BITS * number);

	if (level == NULL)
		return;
	if (level->loaded && level->n > 0 && count < level->tile * TILE_LEN + level->n)
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "tile " UINT64_FORMAT " of level %d of the tree has %d hashes: too many",
					  level->tile, number, level->n);
	while (level->waiting || (level->sort != NULL && NumberSortNext(level->sort, &level->number, &level->place)))
	{
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "tile " INT64_FORMAT " of level %d of the tree does not belong to it, or is there twice",
					  level->number, number);
		level->waiting = false;
	}
	if (level->sort != NULL)
		NumberSortEnd(level->sort);
	level->sort = NULL;
}

void
VerifyTreeFinish(Verify *v)
{
	VerifyTree *tree = v->tree;

	v->tree_size = tree->peaks.size;
	if (!tree->broken)
		for (int number = 0; number < LEVELS; number++)
			finish_level(v, number);
}

int
VerifyTile(Verify *v, uint64 tile, bw_hash hashes[TILE_LEN])
{
	if (v->tree->rel == NULL || tile >= RecordFileLength(v->tree->places))
		return 0;
	return read_tile(v, *(const int64 *) RecordFileGet(v->tree->places, tile), hashes);
}
