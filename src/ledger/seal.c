/*
 * seal.c
 *		One round of sealing: what has been committed since the round before goes
 *		under the tree, in blocks, each with a signed checkpoint.
 *
 * Batches are by snapshot, as PgQ has them: an entry is visible in the snapshot of
 * its block and not in that of the block before, so it is in exactly one, and no
 * writer waits for anything.  Everything of a round is written in one transaction.
 *
 * What does not bear its MAC is not sealed; what is missing, changed or doubled is
 * a finding that names the transaction, and does not keep others from being sealed.
 */
#include "ledger/sealer.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "common/block.h"
#include "common/merkle.h"
#include "common/note.h"
#include "common/record.h"
#include "keyring/keyring.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define BLOCKS_TABLE	"ledger_blocks"
#define STRAGGLERS_TABLE "ledger_stragglers"
#define FORCED			"an entry's row was made visible by force"
#define RUNS_IN_BLOCK	1000000 /* transactions: what a block's runs take in memory is bounded */
#define UNIX_EPOCH_US	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* A snapshot as a header has it: 64-bit transaction ids, ours among those in progress. */
typedef struct WideSnapshot
{
	uint64		xmin;
	uint64		xmax;
	uint32		nxip;
	uint64	   *xip;			/* ascending */
} WideSnapshot;

/* The newest block of an incarnation. */
typedef struct Newest
{
	uint32		incarnation;
	bool		any;
	bw_block	block;			/* points into bytes of the round's context */
} Newest;

/* Rows that are hashed together. */
typedef struct Batch
{
	int			n;
	uint32		mac_epoch;		/* of all */
	Size		used;
	SealItem	item[BW_MANY];
	bw_bytes	record[BW_MANY]; /* in bytes */
	const uint8 *mac[BW_MANY];
	bool		forced[BW_MANY];	/* the row says of no transaction that made it */
	uint8		bytes[2 * (BW_LEAF_MAX + LEDGER_MAC_LEN)];
} Batch;

typedef struct Round
{
	const Log  *log;
	Snapshot	snapshot;
	WideSnapshot wide;
	List	   *newest;			/* Newest */
	Sorter	   *sorter;
	uint64		unsealed;		/* rows in the sorter */
	uint64		committed;		/* a transaction that is known to be; 0: none */
	Told	   *told;			/* what committed transactions told */
	int			ntold;
	Batch	   *batch;
	MemoryContext context;
	MemoryContext row;			/* reset after each row */

	/* where the chain of blocks stands */
	uint64		next_block;
	uint64		tree_size;
	uint8		before[BW_SHA256_LEN];
	char	   *checkpoint;		/* of the newest block, or NULL */
	TreeAppender *tree;

	/* the block that is being made */
	bool		open;
	uint32		incarnation;
	uint64		first_leaf;
	uint64		nruns;
	uint64		last_run;		/* xid */
	uint8	   *runs;
	Size		runs_len;
	Size		runs_cap;

	/* the transaction that is being added */
	bool		in_run;
	uint64		xid;
	uint64		entries;
	uint32		sequence;		/* of the newest entry of it */
	uint8		last_hash[BW_SHA256_LEN];
	uint32		group_first;	/* first sequence of the open manifest */
	uint32		group_entries;
	bool		group_whole;	/* none of it is missing so far */
	bool		damaged;		/* a finding names it already */
	bw_sha256_state group_hashes;	/* of those entries */
} Round;

/* --- snapshots ---------------------------------------------------------------------- */

static int
by_number(const void *a, const void *b)
{
	uint64		left = *(const uint64 *) a;
	uint64		right = *(const uint64 *) b;

	return left < right ? -1 : left > right;
}

static void
widen_snapshot(Snapshot snapshot, WideSnapshot *wide)
{
	FullTransactionId next = ReadNextFullTransactionId();
	TransactionId own = GetTopTransactionIdIfAny();

	wide->xmin = WideXid(snapshot->xmin, next);
	wide->xmax = WideXid(snapshot->xmax, next);
	wide->xip = palloc((snapshot->xcnt + 1) * sizeof(uint64));
	wide->nxip = 0;
	for (uint32 i = 0; i < snapshot->xcnt; i++)
		wide->xip[wide->nxip++] = WideXid(snapshot->xip[i], next);
	/* a snapshot leaves out who took it */
	if (TransactionIdIsValid(own) && WideXid(own, next) < wide->xmax)
		wide->xip[wide->nxip++] = WideXid(own, next);
	qsort(wide->xip, wide->nxip, sizeof(uint64), by_number);
	if (wide->nxip > 0)
		wide->xmin = Min(wide->xmin, wide->xip[0]);
}

static bool
wide_in_progress(uint64 xid, void *arg)
{
	const WideSnapshot *wide = arg;

	return xid >= wide->xmax ||
		bsearch(&xid, wide->xip, wide->nxip, sizeof(uint64), by_number) != NULL;
}

/* --- what was sealed before ------------------------------------------------------------ */

typedef struct NewestRow
{
	int64		block;
	int64		xmax;
	bytea	   *header;
} NewestRow;

static bool
keep_newest(HeapTuple row, TupleDesc desc, void *arg)
{
	NewestRow  *newest = arg;
	bool		isnull;
	int64		block = DatumGetInt64(heap_getattr(row, 1, desc, &isnull));
	int64		xmax = DatumGetInt64(heap_getattr(row, 3, desc, &isnull));

	if (newest->header != NULL && xmax != newest->xmax)
		return false;
	if (newest->header == NULL || block > newest->block)
	{
		newest->header = DatumGetByteaPCopy(heap_getattr(row, 6, desc, &isnull));
		newest->block = block;
		newest->xmax = xmax;
	}
	return true;
}

static Newest *
newest_of(Round *round, uint32 incarnation)
{
	static const AttrNumber key[] = {2, 3};
	Newest	   *newest;
	NewestRow	row = {0};
	ScanKeyData scan_key;
	MemoryContext caller;
	Relation	rel;
	ListCell   *cell;

	foreach(cell, round->newest)
	{
		newest = lfirst(cell);
		if (newest->incarnation == incarnation)
			return newest;
	}
	caller = MemoryContextSwitchTo(round->context);
	newest = palloc0(sizeof(Newest));
	newest->incarnation = incarnation;
	rel = table_open(PrivateRelid(BLOCKS_TABLE), AccessShareLock);
	ScanKeyInit(&scan_key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum((int32) incarnation));
	StoreScan(rel, key, lengthof(key), &scan_key, 1, BackwardScanDirection, keep_newest, &row);
	table_close(rel, AccessShareLock);
	if (row.header != NULL)
	{
		if (!bw_block_parse(VARDATA(row.header), VARSIZE(row.header) - VARHDRSZ, &newest->block))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("the header of block " INT64_FORMAT " of the ledger is damaged", row.block)));
		newest->any = true;
	}
	round->newest = lappend(round->newest, newest);
	MemoryContextSwitchTo(caller);
	return newest;
}

/* Number, size, hash of the header and checkpoint of the newest block of all. */
static void
load_end_of_chain(Round *round)
{
	static const AttrNumber key[] = {1};
	Relation	rel = table_open(PrivateRelid(BLOCKS_TABLE), AccessShareLock);
	HeapTuple	row = StoreFetch(rel, key, lengthof(key), NULL, 0, BackwardScanDirection);
	TupleDesc	desc = RelationGetDescr(rel);
	bool		isnull;

	if (row != NULL)
	{
		bytea	   *header = DatumGetByteaPP(heap_getattr(row, 6, desc, &isnull));

		round->next_block = (uint64) DatumGetInt64(heap_getattr(row, 1, desc, &isnull)) + 1;
		round->tree_size = (uint64) DatumGetInt64(heap_getattr(row, 5, desc, &isnull));
		round->checkpoint = TextDatumGetCString(heap_getattr(row, 8, desc, &isnull));
		bw_sha256(VARDATA_ANY(header), VARSIZE_ANY_EXHDR(header), round->before);
	}
	table_close(rel, AccessShareLock);
}

/* Is it under the tree, at its place or (of a transaction that has gaps) near it? */
static bool
is_sealed(const SealItem *item)
{
	uint64		first;
	uint64		entries;
	uint8		hash[BW_SHA256_LEN];

	if (!TreeFindRun(item->incarnation, item->xid, &first, &entries))
		return false;
	if (item->sequence <= entries && TreeHash(0, first + item->sequence - 1, hash) &&
		memcmp(hash, item->hash, BW_SHA256_LEN) == 0)
		return true;
	for (uint64 leaf = first; leaf < first + entries; leaf++)
		if (TreeHash(0, leaf, hash) && memcmp(hash, item->hash, BW_SHA256_LEN) == 0)
			return true;
	return false;
}

/* --- rows -------------------------------------------------------------------------------- */

/*
 * Has the record's transaction committed?  What a row says of itself is not asked:
 * rows can be made to say that they are visible to all.
 */
static bool
has_committed(Round *round, const SealItem *item)
{
	if (item->incarnation != round->log->incarnation || item->xid == round->committed)
		return true;
	if (wide_in_progress(item->xid, &round->wide) || !XidCommitted(item->xid))
		return false;
	round->committed = item->xid;
	return true;
}

/* Does the record come from a transaction that has committed, and not been sealed? */
static bool
belongs_here(Round *round, const SealItem *item, bool forced)
{
	const Newest *newest;

	if (item->incarnation == 0 || item->incarnation > round->log->incarnation)
	{
		SealFinding(item->incarnation, item->xid, item->entry_id, "an entry is of an incarnation that has not begun");
		return false;
	}
	if (!has_committed(round, item))
	{
		SealFinding(item->incarnation, item->xid, item->entry_id, "an entry is there although its transaction has not committed");
		return false;
	}
	newest = newest_of(round, item->incarnation);
	if (newest->any && !bw_block_in_progress(&newest->block, item->xid))
	{
		if (!is_sealed(item))
			SealFinding(item->incarnation, item->xid, item->entry_id,
						forced ? FORCED : "an entry appeared after its transaction had been sealed");
		return false;
	}
	return true;
}

/* Those of the batch that bear their MAC and belong here are to be sealed. */
static void
end_batch(Round *round)
{
	Batch	   *batch = round->batch;
	MemoryContext caller = MemoryContextSwitchTo(round->context);
	uint8		macs[BW_MANY][BW_SHA256_LEN];
	bool		key;

	bw_leaf_hash_many(round->log->log_id.data, batch->record, batch->n, macs);
	for (int i = 0; i < batch->n; i++)
		memcpy(batch->item[i].hash, macs[i], BW_SHA256_LEN);
	key = LedgerMacs(batch->mac_epoch, batch->n, macs);
	for (int i = 0; i < batch->n; i++)
	{
		SealItem   *item = &batch->item[i];

		if (!belongs_here(round, item, batch->forced[i]))
			continue;
		if (!key || !bw_equal(batch->mac[i], macs[i], LEDGER_MAC_LEN))
		{
			SealFinding(item->incarnation, item->xid, item->entry_id, "an entry does not bear the ledger's MAC");
			continue;
		}
		if (batch->forced[i])
		{
			SealFinding(item->incarnation, item->xid, item->entry_id, FORCED);
			continue;
		}
		SorterAdd(round->sorter, item);
		round->unsealed++;
	}
	batch->n = 0;
	batch->used = 0;
	MemoryContextSwitchTo(caller);
}

/* Take one row into the batch; false: it is no entry. */
static bool
add_to_batch(Round *round, const uint8 *bytes, Size len, bool forced)
{
	Batch	   *batch = round->batch;
	SealItem   *item;
	bw_leaf		record;

	if (len <= LEDGER_MAC_LEN || len > BW_LEAF_MAX + LEDGER_MAC_LEN ||
		bw_leaf_parse(bytes, len - LEDGER_MAC_LEN, &record) != (ssize_t) (len - LEDGER_MAC_LEN))
		return false;
	if (batch->n == BW_MANY || len > sizeof(batch->bytes) - batch->used || batch->mac_epoch != record.mac_epoch)
		end_batch(round);
	batch->mac_epoch = record.mac_epoch;
	item = &batch->item[batch->n];
	item->incarnation = record.incarnation;
	item->sequence = record.sequence;
	item->xid = record.xid;
	item->entry_id = record.entry_id;
	item->kind = (record.flags & BW_LEAF_ALONE) ? SEAL_ALONE :
		(record.flags & BW_LEAF_MANIFEST) ? SEAL_MANIFEST : SEAL_PLAIN;
	if (item->kind == SEAL_MANIFEST)
	{
		item->first = record.manifest_first;
		item->count = record.manifest_count;
		memcpy(item->digest, record.manifest_digest, BW_SHA256_LEN);
	}
	memcpy(batch->bytes + batch->used, bytes, len);
	batch->record[batch->n] = (bw_bytes) {batch->bytes + batch->used, len - LEDGER_MAC_LEN};
	batch->mac[batch->n] = batch->bytes + batch->used + len - LEDGER_MAC_LEN;
	batch->forced[batch->n] = forced;
	batch->used += len;
	batch->n++;
	return true;
}

static void
seal_row(Relation rel, HeapTuple row, void *arg)
{
	Round	   *round = arg;
	MemoryContext caller = MemoryContextSwitchTo(round->row);
	bool		isnull;
	Datum		value = heap_getattr(row, 1, RelationGetDescr(rel), &isnull);
	bytea	   *leaf = isnull ? NULL : DatumGetByteaPP(value);
	/* the server freezes rows without taking their transaction's id away */
	bool		forced = !TransactionIdIsNormal(HeapTupleHeaderGetRawXmin(row->t_data));

	if (leaf == NULL || !add_to_batch(round, (uint8 *) VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), forced))
		SealFinding(0, 0, 0, psprintf("row (%u,%u) of \"%s\" is no entry",
									  ItemPointerGetBlockNumber(&row->t_self),
									  ItemPointerGetOffsetNumber(&row->t_self), RelationGetRelationName(rel)));
	MemoryContextSwitchTo(caller);
	MemoryContextReset(round->row);
}

/* --- transactions -------------------------------------------------------------------------- */

static void
run_damaged(Round *round, uint64 entry_id, const char *problem)
{
	if (!round->damaged)
		SealFinding(round->incarnation, round->xid, entry_id, problem);
	round->damaged = true;
}

/* Is the manifest what was found of its entries? */
static void
check_manifest(Round *round, const SealItem *item)
{
	uint8		digest[BW_SHA256_LEN];

	if (item->kind == SEAL_MANIFEST)
		bw_sha256_end(&round->group_hashes, digest);
	if (item->kind == SEAL_ALONE)
	{
		if (round->group_first != 1 || item->sequence != 1 || round->group_entries != 0)
			run_damaged(round, item->entry_id, "an entry that says it is alone in its transaction is not");
	}
	else if (!round->group_whole || item->first != round->group_first ||
			 item->count != round->group_entries + 1 || !bw_equal(item->digest, digest, BW_SHA256_LEN))
		run_damaged(round, item->entry_id, "a transaction's entries are not those that its manifest counts");
	round->group_first = item->sequence + 1;
	round->group_entries = 0;
	round->group_whole = true;
	bw_sha256_begin(&round->group_hashes);
}

static void
begin_run(Round *round, const SealItem *item)
{
	round->in_run = true;
	round->xid = item->xid;
	round->entries = 0;
	round->sequence = 0;
	round->group_first = 1;
	round->group_entries = 0;
	round->group_whole = true;
	round->damaged = false;
	bw_sha256_begin(&round->group_hashes);
}

static void
add_entry(Round *round, const SealItem *item)
{
	if (round->entries > 0 && item->sequence == round->sequence)
	{
		run_damaged(round, item->entry_id,
					memcmp(item->hash, round->last_hash, BW_SHA256_LEN) == 0 ?
					"an entry is there twice" : "two entries have the same place in their transaction");
		return;
	}
	if (item->sequence != round->sequence + 1)
	{
		run_damaged(round, item->entry_id, "entries of a transaction are missing");
		round->group_whole = false;
	}
	round->sequence = item->sequence;
	memcpy(round->last_hash, item->hash, BW_SHA256_LEN);
	round->entries++;
	SlotTellSealedId(item->entry_id);
	TreeAppend(round->tree, item->hash);
	round->tree_size++;

	if (item->kind != SEAL_PLAIN)
		check_manifest(round, item);
	else
	{
		bw_sha256_add(&round->group_hashes, item->hash, BW_SHA256_LEN);
		round->group_entries++;
	}
}

static void
insert_straggler(Round *round)
{
	Datum		values[3];
	bool		nulls[3] = {false};

	values[0] = Int32GetDatum((int32) round->incarnation);
	values[1] = Int64GetDatum((int64) round->xid);
	values[2] = Int64GetDatum((int64) round->next_block);
	LedgerInsert(STRAGGLERS_TABLE, values, nulls);
}

static void
end_run(Round *round)
{
	const Newest *newest = newest_of(round, round->incarnation);
	Told	   *told = ToldOf(round->told, round->ntold, round->incarnation, round->xid);
	bw_writer	w;

	if (!round->in_run)
		return;
	round->in_run = false;
	if (told != NULL)
		told->found = true;
	if (round->group_entries != 0 || !round->group_whole || (told != NULL && told->sequence > round->sequence))
		run_damaged(round, 0, "the last entries of a transaction, with its manifest, are missing");
	if (round->entries == 0)
		return;

	if (round->runs_cap - round->runs_len < 2 * BW_VARINT_MAX)
	{
		round->runs_cap = Max(1024, 2 * round->runs_cap);
		round->runs = round->runs == NULL ? palloc(round->runs_cap) :
			repalloc_huge(round->runs, round->runs_cap);
	}
	w = (bw_writer) {round->runs, round->runs_cap, round->runs_len};
	bw_runs_add(&w, round->last_run, round->xid, round->entries);
	round->runs_len = w.len;
	round->last_run = round->xid;
	round->nruns++;
	if (newest->any && round->xid < newest->block.xmax)
		insert_straggler(round);
}

/* --- blocks ------------------------------------------------------------------------------------ */

static void
begin_block(Round *round, uint32 incarnation)
{
	round->open = true;
	round->incarnation = incarnation;
	round->first_leaf = round->tree_size;
	round->nruns = 0;
	round->last_run = 0;
	round->runs_len = 0;
}

/*
 * Sign the body with the newest key, and with the one before where that signed last:
 * the body then names the newest, whose word nobody has to take for it.
 */
static char *
sign_checkpoint(Round *round, bw_checkpoint *checkpoint)
{
	char		note[BW_NOTE_MAX];
	uint32		newest = LedgerSignEpoch();
	uint32		first = CheckpointSigner(round->log, round->checkpoint);
	Size		len;
	Size		body_len;

	if (first == 0)
		first = newest;
	checkpoint->has_next = first != newest;
	if (checkpoint->has_next)
		EpochVkey(round->log, newest, &checkpoint->next);
	len = body_len = bw_checkpoint_format(checkpoint, note, sizeof(note));
	for (uint32 epoch = first; epoch <= newest && len > 0; epoch++)
	{
		bw_vkey		vkey;
		uint8		signature[BW_ED25519_SIG_LEN];

		EpochVkey(round->log, epoch, &vkey);
		LedgerSign(epoch, note, body_len, signature);
		len = bw_note_add_signature(note, len, sizeof(note), epoch == first, &vkey, signature);
	}
	if (len == 0)
		elog(ERROR, "could not write a checkpoint");
	return pnstrdup(note, len);
}

/*
 * The snapshot that the header shows.  Ours, but ended behind the last transaction
 * of this block where others of this round follow in another.  Transaction ids of an
 * earlier incarnation may be larger than any of this server's, whose own then say
 * nothing about them: all are over.
 */
static void
block_snapshot(Round *round, bool cut, bw_block *block, uint8 *xip)
{
	const Newest *newest = newest_of(round, round->incarnation);
	uint64		before = newest->any ? newest->block.xmax : 0;
	bw_writer	w = {xip, 8 * (Size) round->wide.nxip};
	uint64		end = cut ? round->last_run + 1 : round->wide.xmax;

	if (round->last_run >= end || before > end)
	{
		block->xmin = block->xmax = Max(round->last_run + 1, before);
		return;
	}
	block->xmax = end;
	block->xmin = Min(round->wide.xmin, end);
	for (uint32 i = 0; i < round->wide.nxip && round->wide.xip[i] < end; i++)
	{
		bw_put_uint(&w, round->wide.xip[i], 8);
		block->nxip++;
	}
	block->xip = xip;
}

static void
insert_block(Round *round, const bw_block *block, bytea *header, bytea *runs)
{
	Datum		values[8];
	bool		nulls[8] = {false};

	values[0] = Int64GetDatum((int64) block->number);
	values[1] = Int32GetDatum((int32) block->incarnation);
	values[2] = Int64GetDatum((int64) block->xmax);
	values[3] = Int64GetDatum((int64) block->first_leaf);
	values[4] = Int64GetDatum((int64) block->tree_size);
	values[5] = PointerGetDatum(header);
	values[6] = PointerGetDatum(runs);
	values[7] = CStringGetTextDatum(round->checkpoint);
	LedgerInsert(BLOCKS_TABLE, values, nulls);
}

/* The runs with their number before them. */
static bytea *
runs_bytes(Round *round)
{
	Size		cap = BW_VARINT_MAX + round->runs_len;
	bytea	   *bytes = MemoryContextAllocHuge(CurrentMemoryContext, VARHDRSZ + cap);
	bw_writer	w = {(uint8 *) VARDATA(bytes), cap};

	bw_runs_begin(&w, round->nruns);
	bw_put(&w, round->runs, round->runs_len);
	SET_VARSIZE(bytes, VARHDRSZ + w.len);
	return bytes;
}

/* End the open block; cut: more of its incarnation follows in this round. */
static void
end_block(Round *round, bool cut)
{
	bw_block	block = {0};
	bw_checkpoint checkpoint = {0};
	bytea	   *runs;
	bytea	   *header;
	bw_writer	w;
	Newest	   *newest;

	if (!round->open)
		return;
	round->open = false;
	if (round->nruns == 0)
		return;

	runs = runs_bytes(round);
	memcpy(block.log_id, round->log->log_id.data, UUID_LEN);
	block.incarnation = round->incarnation;
	block.number = round->next_block;
	block.first_leaf = round->first_leaf;
	block.tree_size = round->tree_size;
	TreeAppendRoot(round->tree, block.root);
	memcpy(block.before, round->before, BW_SHA256_LEN);
	block.time = GetCurrentTimestamp() + UNIX_EPOCH_US;
	block.system_identifier = GetSystemIdentifier();
	block.timeline = GetWALInsertionTimeLine();
	block_snapshot(round, cut, &block, palloc(8 * (Size) round->wide.nxip + 1));
	bw_sha256(VARDATA(runs), VARSIZE(runs) - VARHDRSZ, block.runs_digest);

	header = palloc(VARHDRSZ + BW_BLOCK_LEN(block.nxip));
	SET_VARSIZE(header, VARHDRSZ + BW_BLOCK_LEN(block.nxip));
	w = (bw_writer) {(uint8 *) VARDATA(header), BW_BLOCK_LEN(block.nxip)};
	bw_block_encode(&w, &block);
	if (w.failed || w.len != w.cap)
		elog(ERROR, "could not write the header of a block");
	bw_sha256(VARDATA(header), w.len, round->before);

	strlcpy(checkpoint.origin, LogOrigin(round->log), sizeof(checkpoint.origin));
	checkpoint.size = block.tree_size;
	memcpy(checkpoint.root, block.root, BW_SHA256_LEN);
	checkpoint.has_block = true;
	checkpoint.block = block.number;
	memcpy(checkpoint.header_hash, round->before, BW_SHA256_LEN);
	round->checkpoint = sign_checkpoint(round, &checkpoint);
	insert_block(round, &block, header, runs);
	pfree(runs);

	newest = newest_of(round, round->incarnation);
	newest->any = true;
	newest->block = block;
	round->next_block++;
}

/* A block may end here if it is long, and its snapshot then no earlier than the one before. */
static bool
may_cut(Round *round)
{
	const Newest *newest = newest_of(round, round->incarnation);

	return round->nruns >= RUNS_IN_BLOCK && (!newest->any || round->last_run + 1 >= newest->block.xmax);
}

static void
seal_sorted(Round *round)
{
	SealItem	item;

	round->tree = TreeAppendBegin(round->tree_size);
	while (SorterNext(round->sorter, &item))
	{
		bool		other_block = !round->open || item.incarnation != round->incarnation;

		WorkerCheck();
		if (round->in_run && (other_block || item.xid != round->xid))
		{
			end_run(round);
			if (other_block || may_cut(round))
				end_block(round, !other_block);
		}
		if (!round->open)
			begin_block(round, item.incarnation);
		if (!round->in_run)
			begin_run(round, &item);
		add_entry(round, &item);
	}
	if (round->in_run)
		end_run(round);
	end_block(round, false);
	TreeAppendEnd(round->tree);
}

/* Transactions that told that they have entries, of which none was found. */
static void
check_told(Round *round)
{
	DatabaseSlot *slot = SlotMine();
	uint64		untold = slot != NULL ? pg_atomic_exchange_u64(&slot->untold, 0) : 0;

	for (int i = 0; i < round->ntold; i++)
	{
		const Told *told = &round->told[i];
		uint64		first;
		uint64		entries;

		if (!told->found && !TreeFindRun(told->incarnation, told->xid, &first, &entries))
			SealFinding(told->incarnation, told->xid, 0, "the entries of a transaction that has committed are missing");
	}
	if (untold > 0)
		ereport(LOG,
				(errmsg("bulwark: " UINT64_FORMAT " transactions could not tell the sealer that they have entries", untold),
				 errdetail("More were waiting to be sealed than are remembered. Had all entries of one of them been taken away, it would not show.")));
}

uint64
LedgerSealNow(void)
{
	Round	   *round;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "bulwark sealing", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	uint64		size;

	round = palloc0(sizeof(Round));
	round->log = LogOpen();
	(void) LedgerLock(LEDGER_LOCK_SEAL, true);
	KeyringRequire();
	round->context = context;
	round->row = AllocSetContextCreate(context, "bulwark entry", ALLOCSET_DEFAULT_SIZES);
	round->sorter = SorterBegin();
	round->batch = palloc0(sizeof(Batch));
	round->snapshot = RegisterSnapshot(GetLatestSnapshot());
	widen_snapshot(round->snapshot, &round->wide);
	load_end_of_chain(round);
	round->told = ToldCommitted(round->log, wide_in_progress, &round->wide, &round->ntold);

	LedgerWorkBegin();
	ScanUnsealed(round->snapshot, seal_row, round);
	end_batch(round);
	if (round->unsealed > 0)
		seal_sorted(round);
	check_told(round);
	ScanSaveMarks();
	LedgerWorkEnd();

	size = round->tree_size;
	SorterEnd(round->sorter);
	UnregisterSnapshot(round->snapshot);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return size;
}
