/*
 * verify_entry.c
 *		Every entry of every segment: its record, its MAC, its content, and that
 *		it is exactly the leaf that the tree has in its place.
 *
 * Entries lie about in the order of their leaves, so few tiles are open at a time:
 * a tile that has met all its leaves leaves one bit behind.
 */
#include "ledger/verify.h"
#include "ledger/sealer.h"
#include "ledger/view.h"

#include "common/idset.h"

#include "access/relation.h"
#include "access/transam.h"
#include "access/xact.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#define TILE_LEN	256
#define HOT_TILES	64			/* whose hashes are kept */
#define BATCH_BYTES	(64 * 1024)

/* A tile that has not met all its leaves. */
typedef struct OpenTile
{
	uint64		tile;			/* hash key */
	int			leaves;			/* that it has */
	int			met;
	int			nhashes;
	bw_hash    *hashes;			/* or NULL: fetched again when needed */
	uint64		used;
	uint64		bits[TILE_LEN / 64];
} OpenTile;

/* What is known of an entry. */
typedef struct Subject
{
	bw_leaf		leaf;			/* its strings are gone */
	bw_hash		hash;
	int64		leaf_index;
	int64		entry_id;
	bool		unsealed;
	bool		committed;		/* where unsealed */
	bool		forced;			/* the row names no transaction that made it */
	bool		in_run;			/* its sequence is among those of its sealed transaction */
	const uint8 *mac;
	bool		content;		/* is there to be checked */
	bool		gone;
} Subject;

/* Entries that are hashed together. */
typedef struct Batch
{
	int			n;
	Subject		subject[BW_MANY];	/* all of one MAC epoch */
	bw_bytes	record[BW_MANY];	/* in bytes, as are contents */
	bw_bytes	content[BW_MANY];
	Size		used;
	uint8		bytes[BATCH_BYTES];
} Batch;

typedef struct Entries
{
	HTAB	   *open;
	OpenTile   *hot[HOT_TILES];
	OpenTile   *last;			/* of the entry before, or NULL */
	uint64		uses;
	uint64		ntiles;
	uint8	   *complete;		/* a bit for each tile */
	VerifyPending *pending;
	Erasures   *erasures;
	bw_idset	ids;

	/* The transaction of the entry before. */
	bool		run_known;
	uint32		incarnation;
	uint64		xid;
	uint64		run_first;
	uint64		run_count;		/* 0: in no block */
	bool		unsealed;
	bool		committed;		/* where unsealed */

	List	   *missing_keys;	/* MAC epochs that were told of */
	TidSet	   *rows;			/* of the segment at hand, if it has indexes */
	Batch		batch;
} Entries;

/* --- tiles ---------------------------------------------------------------------------- */

/* Give the tile its hashes, taking them from the one that was not used for longest. */
static void
heat(Verify *v, Entries *e, OpenTile *tile)
{
	int			coldest = 0;

	for (int i = 0; i < HOT_TILES; i++)
	{
		if (e->hot[i] == NULL)
		{
			coldest = i;
			break;
		}
		if (e->hot[i]->used < e->hot[coldest]->used)
			coldest = i;
	}
	if (e->hot[coldest] != NULL)
	{
		tile->hashes = e->hot[coldest]->hashes;
		e->hot[coldest]->hashes = NULL;
	}
	else
		tile->hashes = MemoryContextAlloc(v->context, TILE_LEN * BW_HASH_LEN);
	e->hot[coldest] = tile;
	tile->nhashes = VerifyTile(v, tile->tile, tile->hashes);
}

static bool
is_complete(const Entries *e, uint64 tile)
{
	return (e->complete[tile / 8] >> (tile % 8) & 1) != 0;
}

/* The tile, open; NULL where it has met all its leaves. */
static OpenTile *
open_tile(Verify *v, Entries *e, uint64 number)
{
	OpenTile   *tile = e->last;
	bool		found;

	if (tile == NULL || tile->tile != number)
	{
		if (is_complete(e, number))
			return NULL;
		tile = hash_search(e->open, &number, HASH_ENTER, &found);
		if (!found)
		{
			uint64		left = v->tree_size - number * TILE_LEN;

			memset((char *) tile + sizeof(tile->tile), 0, sizeof(*tile) - sizeof(tile->tile));
			tile->leaves = left < TILE_LEN ? (int) left : TILE_LEN;
		}
		e->last = tile;
	}
	if (tile->hashes == NULL)
		heat(v, e, tile);
	tile->used = ++e->uses;
	return tile;
}

static void
close_tile(Entries *e, OpenTile *tile)
{
	uint64		number = tile->tile;

	for (int i = 0; i < HOT_TILES; i++)
		if (e->hot[i] == tile)
		{
			pfree(tile->hashes);
			e->hot[i] = NULL;
		}
	e->complete[number / 8] |= (uint8) (1 << (number % 8));
	(void) hash_search(e->open, &number, HASH_REMOVE, NULL);
	e->last = NULL;
}

/* The entry is leaf number leaf_index: is it what the tree has there, and the only one? */
static void
meet(Verify *v, Entries *e, const Subject *s)
{
	uint64		number = (uint64) s->leaf_index / TILE_LEN;
	int			offset = (int) ((uint64) s->leaf_index % TILE_LEN);
	OpenTile   *tile;

	if ((uint64) s->leaf_index >= v->tree_size)
	{
		VerifyProblem(v, s->leaf_index, s->entry_id, "its leaf is not in the tree");
		return;
	}
	tile = open_tile(v, e, number);
	if (tile == NULL || (tile->bits[offset / 64] >> (offset % 64) & 1) != 0)
	{
		VerifyProblem(v, s->leaf_index, s->entry_id, "it is there twice");
		return;
	}
	if (offset < tile->nhashes && memcmp(tile->hashes[offset], s->hash, BW_HASH_LEN) != 0)
		VerifyProblem(v, s->leaf_index, s->entry_id, "its record is not the one that was sealed");
	tile->bits[offset / 64] |= UINT64CONST(1) << (offset % 64);
	if (++tile->met == tile->leaves)
		close_tile(e, tile);
}

/* Leaves that no entry has met, as runs of them. */
static void
finish_tiles(Verify *v, Entries *e)
{
	uint64		first = 0,
				n = 0;

	for (uint64 number = 0; number <= e->ntiles; number++)
	{
		OpenTile   *tile = NULL;

		if (number < e->ntiles && !is_complete(e, number))
			tile = hash_search(e->open, &number, HASH_FIND, NULL);
		for (int i = 0; i < TILE_LEN; i++)
		{
			uint64		leaf = number * TILE_LEN + i;
			bool		missing = leaf < v->tree_size && !is_complete(e, number) &&
				(tile == NULL || (tile->bits[i / 64] >> (i % 64) & 1) == 0);

			if (missing && n++ == 0)
				first = leaf;
			if (missing || n == 0)
				continue;
			if (n == 1)
				VerifyProblem(v, (int64) first, NO_ENTRY, "its entry is missing");
			else
				VerifyProblem(v, (int64) first, NO_ENTRY, UINT64_FORMAT " entries are missing from here on", n);
			n = 0;
		}
	}
}

/* --- contents ------------------------------------------------------------------------------- */

static void
check_fields(Verify *v, Entries *e, const Subject *s, const bw_bytes *bytes)
{
	bw_content	content;
	bw_field	field;

	bw_content_open(&content, bytes->data, bytes->len);
	while (bw_content_next(&content, &field))
	{
		if (field.mode != BW_MODE_PLAIN)
			continue;
		if (field.tag == BW_TAG_SHAPE &&
			(field.value.len != BW_SHAPE_ID_LEN || !VerifyShapeKnown(v, field.value.data)))
			VerifyProblem(v, s->leaf_index, s->entry_id, "the shape of its images is missing");
		if (field.tag == BW_TAG_METADATA && bw_leaf_records_erasure(&s->leaf))
			ErasuresNamed(v, e->erasures, &s->leaf, s->leaf_index, &field.value);
	}
	if (!bw_content_valid(&content))
		VerifyProblem(v, s->leaf_index, s->entry_id, "its content is not one of this format");
}

/* Is it the one that was recorded? */
static bool
check_content(Verify *v, Entries *e, const Subject *s, const bw_bytes *bytes, const bw_hash digest)
{
	if (memcmp(digest, s->leaf.content_digest, BW_SHA256_LEN) != 0)
	{
		VerifyProblem(v, s->leaf_index, s->entry_id, "its content is not the one that was recorded");
		return false;
	}
	check_fields(v, e, s, bytes);
	return true;
}

/* The content of a row; false: there is none, or none that can be read. */
static bool
take_content(Verify *v, Subject *s, const VerifyRow *row, bw_bytes *bytes)
{
	const char *why;

	if (!row->nulls[1])
	{
		if (VerifyBytes(v, row, 1, bytes, &why))
			return true;
		VerifyProblem(v, s->leaf_index, s->entry_id, "its content cannot be read: %s", why);
		return false;
	}
	s->gone = true;
	if (bw_leaf_keeps_content(&s->leaf))
		VerifyProblem(v, s->leaf_index, s->entry_id, "its content is gone, which no erasure takes from such an entry");
	return false;
}

/* --- entries ------------------------------------------------------------------------------------ */

/* The MACs of a batch from its hashes; false: their key cannot be had, which is told once. */
static bool
make_macs(Verify *v, Entries *e, uint8 (*macs)[BW_SHA256_LEN])
{
	Batch	   *batch = &e->batch;
	uint32		epoch = batch->subject[0].leaf.mac_epoch;
	MemoryContext caller;

	for (int i = 0; i < batch->n; i++)
		memcpy(macs[i], batch->subject[i].hash, BW_SHA256_LEN);
	if (LedgerMacs(epoch, batch->n, macs))
		return true;
	if (list_member_int(e->missing_keys, (int) epoch))
		return false;
	VerifyProblem(v, NO_LEAF, NO_ENTRY, "authentication codes of epoch %u cannot be checked: their key cannot be had", epoch);
	caller = MemoryContextSwitchTo(v->context);
	e->missing_keys = lappend_int(e->missing_keys, (int) epoch);
	MemoryContextSwitchTo(caller);
	return false;
}

/* Where the entry's transaction is. */
static void
locate(Verify *v, Entries *e, const bw_leaf *leaf)
{
	if (e->run_known && e->xid == leaf->xid && e->incarnation == leaf->incarnation)
		return;
	e->run_known = true;
	e->xid = leaf->xid;
	e->incarnation = leaf->incarnation;
	e->run_count = 0;
	e->unsealed = VerifyUnsealed(v, leaf->incarnation, leaf->xid);
	e->committed = leaf->incarnation != v->log->incarnation || XidCommitted(leaf->xid);
	if (!e->unsealed && !VerifyFindRun(v, leaf->incarnation, leaf->xid, &e->run_first, &e->run_count))
		e->run_count = 0;
}

/* Written by the transaction that verifies: it may have no manifest yet. */
static bool
is_own(const Verify *v, const bw_leaf *leaf)
{
	return leaf->incarnation == v->log->incarnation &&
		leaf->xid == U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
}

static void
check_place(Verify *v, Entries *e, Subject *s)
{
	if (s->unsealed && is_own(v, &s->leaf))
		v->pending++;
	else if (s->unsealed && s->forced)
		VerifyProblem(v, NO_LEAF, s->entry_id, "it is not sealed yet, and its row was made visible by force");
	else if (s->unsealed && !s->committed)
		VerifyProblem(v, NO_LEAF, s->entry_id, "it is there although its transaction has not committed");
	else if (s->unsealed)
		PendingAdd(e->pending, &s->leaf, s->hash);
	else if (!s->in_run)
		VerifyProblem(v, NO_LEAF, s->entry_id, "it is in no block: it was not there when its transaction was sealed");
	else
		meet(v, e, s);
}

/* What is audited: of entries that are ours, so that what is taken apart is well formed. */
static void
note_coverage(Verify *v, const Subject *s, const bw_bytes *record, const bw_bytes *content)
{
	bw_leaf		leaf;

	if (CoverageTold(&s->leaf) && bw_leaf_parse(record->data, record->len, &leaf) >= 0)
		v->events = CoverageAdd(v->events, v->context, &leaf, content);
}

static void
end_batch(Verify *v, Entries *e)
{
	Batch	   *batch = &e->batch;
	uint8		hashes[BW_MANY][BW_SHA256_LEN];
	bool		genuine[BW_MANY];
	bool		key;

	if (batch->n == 0)
		return;
	bw_leaf_hash_many(v->log->log_id.data, batch->record, batch->n, hashes);
	for (int i = 0; i < batch->n; i++)
		memcpy(batch->subject[i].hash, hashes[i], BW_SHA256_LEN);
	key = make_macs(v, e, hashes);
	for (int i = 0; i < batch->n; i++)
	{
		genuine[i] = !key || memcmp(batch->subject[i].mac, hashes[i], LEDGER_MAC_LEN) == 0;
		if (!genuine[i])
			VerifyProblem(v, batch->subject[i].leaf_index, batch->subject[i].entry_id, "its authentication code is wrong");
	}
	bw_sha256_many(batch->content, batch->n, hashes);
	for (int i = 0; i < batch->n; i++)
	{
		Subject    *s = &batch->subject[i];

		if (s->content && check_content(v, e, s, &batch->content[i], hashes[i]) && genuine[i])
			note_coverage(v, s, &batch->record[i], &batch->content[i]);
		else if (s->gone)
			ErasuresGone(e->erasures, &s->leaf, s->hash, s->leaf_index);
		check_place(v, e, s);
	}
	batch->n = 0;
	batch->used = 0;
}

static bw_bytes
copy_to_batch(Batch *batch, const uint8 *data, Size len)
{
	uint8	   *copy = batch->bytes + batch->used;

	memcpy(copy, data, len);
	batch->used += len;
	return (bw_bytes) {copy, len};
}

static void
add_to_batch(Verify *v, Entries *e, const Subject *s, const bw_bytes *record, const bw_bytes *content)
{
	Batch	   *batch = &e->batch;
	bool		large = content->len > BATCH_BYTES / 2;
	Subject    *mine;

	if (large || batch->n == BW_MANY || record->len + content->len > BATCH_BYTES - batch->used ||
		(batch->n > 0 && batch->subject[0].leaf.mac_epoch != s->leaf.mac_epoch))
		end_batch(v, e);
	mine = &batch->subject[batch->n];
	*mine = *s;
	batch->record[batch->n] = copy_to_batch(batch, record->data, record->len);
	mine->mac = batch->record[batch->n].data + record->len - LEDGER_MAC_LEN;
	batch->record[batch->n].len -= LEDGER_MAC_LEN;
	batch->content[batch->n] = large ? *content : copy_to_batch(batch, content->data, content->len);
	batch->n++;
	if (large)
		end_batch(v, e);		/* while its page is at hand */
}

static void
check_entry(Verify *v, const VerifyRow *row, void *arg)
{
	Entries    *e = arg;
	Subject		s = {.leaf_index = NO_LEAF, .entry_id = NO_ENTRY};
	bw_bytes	record;
	bw_bytes	content = {(const uint8 *) "", 0};
	ssize_t		len = -1;
	const char *why = "it is none";

	v->entries++;
	if (e->rows != NULL)
		TidSetAdd(e->rows, &row->root);
	if (!row->nulls[0] && VerifyBytes(v, row, 0, &record, &why) && record.len > LEDGER_MAC_LEN)
		len = bw_leaf_parse(record.data, record.len - LEDGER_MAC_LEN, &s.leaf);
	if (len < 0 || (Size) len + LEDGER_MAC_LEN != record.len)
	{
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "the record in row (%u,%u) of \"%s\" cannot be read: %s",
					  ItemPointerGetBlockNumber(&row->tid), ItemPointerGetOffsetNumber(&row->tid),
					  RelationGetRelationName(row->rel), why ? why : "it is none");
		return;
	}
	s.entry_id = (int64) s.leaf.entry_id;
	locate(v, e, &s.leaf);
	s.unsealed = e->unsealed;
	s.committed = e->committed;
	s.forced = row->forced;
	s.in_run = !e->unsealed && s.leaf.sequence <= e->run_count;
	if (s.in_run)
		s.leaf_index = (int64) (e->run_first + s.leaf.sequence - 1);
	if (!bw_idset_add(&e->ids, s.leaf.entry_id))
		VerifyProblem(v, s.leaf_index, s.entry_id, "another entry has the same id");
	s.content = take_content(v, &s, row, &content);
	add_to_batch(v, e, &s, &record, &content);
}

static void
check_segment(Verify *v, Entries *e, Relation segment)
{
	if (segment->rd_rel->relhasindex)
		e->rows = TidSetMake(v, RelationGetNumberOfBlocks(segment));
	VerifyScan(v, segment, check_entry, e);
	end_batch(v, e);
	if (e->rows == NULL)
		return;
	VerifyIndexes(v, segment, e->rows);
	pfree(e->rows);
	e->rows = NULL;
}

static void *
resize(void *context, void *old, size_t size)
{
	return old != NULL ? repalloc_huge(old, size) : MemoryContextAllocHuge(context, size);
}

void
VerifyEntriesRun(Verify *v)
{
	Entries    *e = palloc0(sizeof(Entries));
	HASHCTL		control = {.keysize = sizeof(uint64), .entrysize = sizeof(OpenTile), .hcxt = v->context};
	List	   *segments = VerifySegments(v);
	ListCell   *lc;

	e->open = hash_create("bulwark verified tiles", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	e->ntiles = (v->tree_size + TILE_LEN - 1) / TILE_LEN;
	e->complete = MemoryContextAllocExtended(v->context, e->ntiles / 8 + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	e->pending = PendingBegin();
	e->erasures = ErasuresBegin();
	e->ids = (bw_idset) {.resize = resize, .free = pfree, .owner = v->context};
	foreach(lc, segments)
		check_segment(v, e, lfirst(lc));
	finish_tiles(v, e);
	ErasuresFinish(v, e->erasures);
	PendingFinish(v, e->pending);
	bw_idset_free(&e->ids);
}
