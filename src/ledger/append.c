/*
 * append.c
 *		Entries on their way into the active segment.
 *
 * An entry is made at once and kept in memory until there are many or the
 * transaction is about to commit; then all go in together.  The last one of a
 * transaction is held back to the end, for it carries the manifest: how many
 * there are, and the digest of the others.
 *
 * What a subtransaction kept is dropped when it aborts, as the rows that it wrote
 * are; number and digest go back to where they were when it began, so that the
 * sequences of what survives have no gap.  Hence a level for each subtransaction
 * that appended anything, with its own position, on top of those below.  A level
 * writes its own entries only: written by an inner subtransaction, an outer one's
 * would be lost with it.  The exception is LedgerFlush() in a subtransaction,
 * which "absorbs": all below is written by the inner level and stays in memory
 * as well, until the inner one commits.
 *
 * An entry is inserted under the number of the command that made it, however much
 * later: who has a snapshot that sees the command's rows sees their entries.
 */
#include "ledger/entry.h"
#include "ledger/sealer.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/transam.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "executor/tuptable.h"
#include "storage/lmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#define KEEP_ENTRIES	512		/* more are written at once, ... */
#define KEEP_BYTES		((Size) 512 * 1024) /* ... and where they take more than this */
#define ENTRY_SEQUENCE	"ledger_entry_id"
#define ENTRY_IDS		64			/* that one value of the sequence stands for */

typedef struct Kept
{
	struct Kept *next;
	HeapTuple	tuple;			/* record and content; digest and MAC are zero until finished */
	uint8	   *leaf;			/* in the tuple */
	Size		record_len;
	bw_bytes	content;		/* in the tuple */
	uint32		mac_epoch;
	CommandId	cid;
	bool		finished;
} Kept;

typedef struct Level
{
	struct Level *below;
	int			nest;
	Kept	   *head;
	Kept	   *tail;
	bool		absorbed;		/* everything below is written by this level */

	/* where the transaction stands, seen from here */
	uint32		sequence;		/* of the newest entry */
	uint32		group_first;	/* first of the open manifest; 0: none is open */
	Kept	   *last;			/* newest of the open manifest, here or below */
	Kept	   *unhashed;		/* from here on, hashes of this level's entries are not in before */
	bw_sha256_state before;		/* over the hashes of those of it before the last */
} Level;

static Level *top = NULL;
static MemoryContext kept_context = NULL;
static int	kept_count = 0;
static Size kept_bytes = 0;
static bool committing = false; /* the last manifest of our own is written */

static TupleTableSlot *slots[KEEP_ENTRIES];
static int	slots_used = 0;
static Oid	sequence_relid = InvalidOid;
static int64 next_id = 0;		/* of those that were taken from it, ... */
static int	ids_left = 0;		/* ... which are so many */

/* --- what is kept -------------------------------------------------------------------- */

static Size
kept_size(const Kept *kept)
{
	return sizeof(Kept) + HEAPTUPLESIZE + kept->tuple->t_len;
}

static void
kept_free(Kept *kept)
{
	kept_count--;
	kept_bytes -= kept_size(kept);
	heap_freetuple(kept->tuple);
	pfree(kept);
}

/* Form the tuple of a record, with room for the MAC, and a content. */
static void
kept_form(Kept *kept, const uint8 *record, Size len, Datum content)
{
	char		leaf[VARHDRSZ + BW_LEAF_MAX + LEDGER_MAC_LEN];
	Datum		values[2] = {PointerGetDatum(leaf), content};
	bool		nulls[2] = {false, false};
	MemoryContext old = MemoryContextSwitchTo(kept_context);
	bool		isnull;

	SET_VARSIZE(leaf, VARHDRSZ + len + LEDGER_MAC_LEN);
	memcpy(VARDATA(leaf), record, len);
	memset(VARDATA(leaf) + len, 0, LEDGER_MAC_LEN);
	kept->tuple = heap_form_tuple(SegmentDesc(), values, nulls);
	kept->leaf = (uint8 *) VARDATA_ANY(DatumGetPointer(heap_getattr(kept->tuple, 1, SegmentDesc(), &isnull)));
	kept->record_len = len;
	content = heap_getattr(kept->tuple, 2, SegmentDesc(), &isnull);
	kept->content = (bw_bytes) {(uint8 *) VARDATA_ANY(DatumGetPointer(content)), VARSIZE_ANY_EXHDR(DatumGetPointer(content))};
	kept->finished = false;
	MemoryContextSwitchTo(old);
}

static Kept *
kept_new(const bw_leaf *leaf, const struct varlena *content)
{
	uint8		record[BW_LEAF_MAX];
	bw_writer	w = {.data = record, .cap = sizeof(record)};
	Kept	   *kept;

	bw_leaf_encode(&w, leaf);
	if (w.failed)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the names in a ledger entry are too long")));
	kept = MemoryContextAlloc(kept_context, sizeof(Kept));
	kept->next = NULL;
	kept->mac_epoch = leaf->mac_epoch;
	kept->cid = GetCurrentCommandId(true);
	kept_form(kept, record, w.len, PointerGetDatum(content));
	kept_count++;
	kept_bytes += kept_size(kept);
	return kept;
}

static void
kept_digest(Kept *kept)
{
	uint8		digest[BW_SHA256_LEN];

	bw_sha256(kept->content.data, kept->content.len, digest);
	bw_leaf_set_digest(kept->leaf, kept->record_len, digest);
}

/*
 * The records of n entries of one MAC epoch are final: put their contents' digests
 * into them and the MACs behind them, and add their hashes to a manifest's, unless
 * that is NULL.
 */
static void
finish_entries(Kept *const *entries, int n, bw_sha256_state *manifest)
{
	bw_bytes	messages[BW_MANY] = {{NULL, 0}};
	uint8		hashes[BW_MANY][BW_SHA256_LEN];

	for (int i = 0; i < n; i++)
		messages[i] = entries[i]->content;
	bw_sha256_many(messages, n, hashes);
	for (int i = 0; i < n; i++)
	{
		bw_leaf_set_digest(entries[i]->leaf, entries[i]->record_len, hashes[i]);
		messages[i] = (bw_bytes) {entries[i]->leaf, entries[i]->record_len};
	}
	bw_leaf_hash_many(LogOpen()->log_id.data, messages, n, hashes);
	if (manifest != NULL)
		bw_sha256_add(manifest, hashes, n * BW_SHA256_LEN);
	if (!LedgerMacs(entries[0]->mac_epoch, n, hashes))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the key that authenticates ledger entries cannot be had"),
				 errhint("Make the root key available: see bulwark.root_key_provider.")));
	for (int i = 0; i < n; i++)
	{
		memcpy(entries[i]->leaf + entries[i]->record_len, hashes[i], LEDGER_MAC_LEN);
		entries[i]->finished = true;
	}
}

static void
kept_enqueue(Level *level, Kept *kept)
{
	if (level->tail != NULL)
		level->tail->next = kept;
	else
		level->head = kept;
	level->tail = kept;
}

static void
free_list(Kept *list)
{
	while (list != NULL)
	{
		Kept	   *next = list->next;

		kept_free(list);
		list = next;
	}
}

/* The slots let go of tuples that stay ours. */
static void
clear_slots(void)
{
	for (int i = 0; i < slots_used; i++)
	{
		slots[i]->tts_flags &= ~TTS_FLAG_SHOULDFREE;
		ExecClearTuple(slots[i]);
	}
	slots_used = 0;
}

/* --- levels ----------------------------------------------------------------------------- */

/* Finish what this level has before the newest entry of the open manifest. */
static void
settle(Level *level)
{
	Kept	   *batch[BW_MANY];
	int			n = 0;
	bw_sha256_state before = level->before;
	Kept	   *kept;

	for (kept = level->unhashed; kept != NULL && kept != level->last; kept = kept->next)
	{
		if (n == BW_MANY || (n > 0 && kept->mac_epoch != batch[0]->mac_epoch))
		{
			finish_entries(batch, n, &before);
			n = 0;
		}
		batch[n++] = kept;
	}
	if (n > 0)
		finish_entries(batch, n, &before);
	level->before = before;
	level->unhashed = kept;
}

/* The level of the current subtransaction, begun where the one below stands. */
static Level *
level_now(void)
{
	int			nest = GetCurrentTransactionNestLevel();
	Level	   *level;

	if (top != NULL && top->nest == nest)
		return top;
	if (kept_context == NULL)
		kept_context = AllocSetContextCreate(TopMemoryContext, "bulwark ledger entries",
											 ALLOCSET_DEFAULT_SIZES);
	if (top != NULL)
		settle(top);
	level = MemoryContextAllocZero(kept_context, sizeof(Level));
	if (top != NULL)
		*level = *top;
	level->below = top;
	level->nest = nest;
	level->head = level->tail = level->unhashed = NULL;
	level->absorbed = false;
	top = level;
	return level;
}

static void
subxact_commit(int nest)
{
	Level	   *level = top;
	Level	   *below;

	if (level == NULL || level->nest < nest)
		return;
	below = level->below;
	if (below == NULL || below->nest < nest - 1)
	{
		level->nest = nest - 1;
		return;
	}

	/* Nothing here allocates: it is too late to fail. */
	if (level->absorbed)
	{
		free_list(below->head);
		below->head = below->tail = NULL;
		below->absorbed = below->below != NULL;
	}
	if (level->head != NULL)
	{
		kept_enqueue(below, level->head);
		below->tail = level->tail;
	}
	/* the newest of below was hashed when one came after it here */
	if (level->head != NULL || level->absorbed)
		below->unhashed = level->unhashed;
	below->sequence = level->sequence;
	below->group_first = level->group_first;
	below->last = level->last;
	below->before = level->before;
	top = below;
	pfree(level);
}

static void
subxact_abort(int nest)
{
	clear_slots();
	while (top != NULL && top->nest >= nest)
	{
		Level	   *level = top;

		top = level->below;
		free_list(level->head);
		pfree(level);
	}
}

/* --- writing ------------------------------------------------------------------------------ */

static TupleTableSlot *
entry_slot(int i)
{
	if (slots[i] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		slots[i] = MakeSingleTupleTableSlot(SegmentDesc(), &TTSOpsHeapTuple);
		MemoryContextSwitchTo(old);
	}
	return slots[i];
}

/*
 * Insert a list of entries, up to but not with stop.  All are finished.  The slots
 * are told that the tuples are theirs, lest the insertion copies each of them.
 */
static void
insert_list(const Kept *list, const Kept *stop)
{
	while (list != NULL && list != stop)
	{
		CommandId	cid = list->cid;

		for (; list != NULL && list != stop && slots_used < KEEP_ENTRIES; list = list->next)
		{
			Assert(list->finished);
			ExecStoreHeapTuple(list->tuple, entry_slot(slots_used), true);
			slots_used++;
			cid = Max(cid, list->cid);
		}
		SegmentInsert(slots, slots_used, cid);
		clear_slots();
	}
}

/* Write the level's own entries but the one that is held back. */
static void
write_kept(Level *level)
{
	Kept	   *held = level->tail == level->last ? level->tail : NULL;

	if (level->head == NULL || level->head == held)
		return;
	settle(level);
	insert_list(level->head, held);

	while (level->head != held)
	{
		Kept	   *next = level->head->next;

		kept_free(level->head);
		level->head = next;
	}
	level->tail = held;
}

/* Give an entry its manifest: a copy of it, or the same one made longer. */
static void
put_manifest(Kept *kept, const Level *level)
{
	uint8		record[BW_LEAF_MAX];
	HeapTuple	old = kept->tuple;
	bool		isnull;
	Datum		content = heap_getattr(old, 2, SegmentDesc(), &isnull);
	Size		len;
	bw_sha256_state before = level->before;
	uint8		digest[BW_SHA256_LEN];

	bw_sha256_end(&before, digest);
	kept_digest(kept);
	memcpy(record, kept->leaf, kept->record_len);
	len = bw_leaf_add_manifest(record, kept->record_len, level->group_first,
							   level->sequence - level->group_first + 1, digest);
	kept_form(kept, record, len, content);
}

/*
 * End the open manifest with the newest entry.  An entry of a level below keeps
 * its bytes for the case that this one aborts; a copy of it is written instead.
 */
static void
close_manifest(Level *level, bool final)
{
	Kept	   *last = level->last;

	if (level->group_first == 0)
		return;
	settle(level);
	if (last != level->tail)
	{
		Kept	   *copy = MemoryContextAlloc(kept_context, sizeof(Kept));

		*copy = *last;
		copy->next = NULL;
		put_manifest(copy, level);
		kept_count++;
		kept_bytes += kept_size(copy);
		kept_enqueue(level, copy);
	}
	else if (final && level->sequence == 1)
	{
		bw_leaf_set_alone(last->leaf);
		last->finished = false;
	}
	else
	{
		HeapTuple	old = last->tuple;

		kept_bytes -= kept_size(last);
		put_manifest(last, level);
		kept_bytes += kept_size(last);
		heap_freetuple(old);
	}
	finish_entries(&level->tail, 1, NULL);
	level->group_first = 0;
	level->last = level->unhashed = NULL;
}

/* Write everything, that of the levels below too; this level has it then. */
static void
write_all(Level *level, bool final)
{
	const Kept *replaced = level->last != level->tail ? level->last : NULL;

	if (level->group_first == 0 && level->head == NULL && (level->below == NULL || level->absorbed))
		return;
	close_manifest(level, final);
	if (!level->absorbed)
		for (Level *below = level->below; below != NULL; below = below->below)
		{
			/* the replaced one is the newest of its level */
			insert_list(below->head, replaced);
			if (below->absorbed)
				break;
		}
	insert_list(level->head, NULL);

	free_list(level->head);
	level->head = level->tail = NULL;
	level->absorbed = level->below != NULL;
}

void
LedgerFlush(void)
{
	if (top != NULL)
		write_all(level_now(), false);
}

/* The transaction will commit with these entries, if it does. */
static void
tell_sealer(const Level *level)
{
	if (level->sequence > 0)
		ToldNote(LogOpen(), U64FromFullTransactionId(GetTopFullTransactionId()), level->sequence);
}

/* --- appending ------------------------------------------------------------------------------ */

/* Nothing is written from a parallel worker, or in recovery. */
static void
require_writer(void)
{
	if (IsParallelWorker())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot write ledger entries in a parallel worker")));
	PreventCommandDuringRecovery("writing ledger entries");
}

/* Is this an id that an entry may have already?  Ids that others took meanwhile may pass ours. */
static bool
is_used(int64 id)
{
	DatabaseSlot *slot = SlotMine();

	return slot != NULL && (uint64) id <= pg_atomic_read_u64(&slot->sealed_id);
}

/*
 * The sequence hands out blocks of numbers: what its increment is, which ledger.sql
 * says.  setval() by a superuser, which nothing stops, can have put it back: then it is
 * put forward again, by one of those who notice.
 */
static int64
take_ids(Oid sequence)
{
	int64		id = nextval_internal(sequence, false);
	TrustedScope scope;

	if (likely(!is_used(id)))
		return id;
	LockRelationOid(sequence, ShareUpdateExclusiveLock);
	id = nextval_internal(sequence, false);
	if (is_used(id))
	{
		int64		sealed = (int64) pg_atomic_read_u64(&SlotMine()->sealed_id);

		TrustedBegin(&scope);
		(void) DirectFunctionCall2(setval_oid, ObjectIdGetDatum(sequence), Int64GetDatum(sealed));
		TrustedEnd(&scope);
		ereport(LOG,
				(errmsg("bulwark: the sequence of ledger entries' ids had been set back to " INT64_FORMAT, id),
				 errdetail("It goes on after " INT64_FORMAT ".", sealed)));
		id = nextval_internal(sequence, false);
	}
	UnlockRelationOid(sequence, ShareUpdateExclusiveLock);
	return id;
}

static int64
next_entry_id(void)
{
	if (!OidIsValid(sequence_relid) || ids_left == 0)
	{
		sequence_relid = PrivateRelid(ENTRY_SEQUENCE);
		next_id = take_ids(sequence_relid);
		ids_left = ENTRY_IDS;
	}
	ids_left--;
	return next_id++;
}

/*
 * The next of the open manifest; the one before it is final now.  One of a level below
 * is finished here, the level's own later and together.
 */
static void
push(Level *level, Kept *kept)
{
	if (level->group_first == 0)
	{
		level->group_first = level->sequence + 1;
		bw_sha256_begin(&level->before);
	}
	else if (level->last != level->tail)
	{
		bw_sha256_state before = level->before;

		finish_entries(&level->last, 1, &before);
		level->before = before;
	}
	level->sequence++;
	level->last = kept;
	kept_enqueue(level, kept);
	if (level->unhashed == NULL)
		level->unhashed = kept;
}

int64
LedgerAppend(const Entry *entry)
{
	const EntryActor *actor = entry->actor != NULL ? entry->actor : EntryActorPeek();
	const Log  *log;
	bw_leaf		leaf = {0};
	const struct varlena *content;
	Level	   *level;

	/* what a dump's statements do is no event of this database */
	if (entry->source == SOURCE_SYSTEM && LedgerRestoring())
		return 0;
	require_writer();
	log = LogOpen();
	level = level_now();
	if (level->sequence == PG_UINT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many ledger entries in one transaction")));

	EntryRecord(entry, actor, &leaf);
	content = EntryContent(entry, actor);
	leaf.incarnation = log->incarnation;
	leaf.mac_epoch = LedgerMacEpoch();
	leaf.entry_id = next_entry_id();
	leaf.xid = U64FromFullTransactionId(GetTopFullTransactionId());
	leaf.sequence = level->sequence + 1;

	push(level, kept_new(&leaf, content));

	if (committing)
	{
		write_all(level, false);
		tell_sealer(level);
	}
	else if (kept_count >= KEEP_ENTRIES || kept_bytes >= KEEP_BYTES)
		write_kept(level);
	return leaf.entry_id;
}

/* --- the transaction's end --------------------------------------------------------------------- */

/* Another module may still write rows: each entry then has a manifest of its own. */
static void
write_at_commit(void)
{
	committing = true;
	if (top != NULL)
	{
		write_all(level_now(), true);
		tell_sealer(top);
	}
}

static void
reset(void)
{
	clear_slots();
	top = NULL;
	kept_count = 0;
	kept_bytes = 0;
	committing = false;
	if (kept_context != NULL)
		MemoryContextReset(kept_context);
}

static void
append_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT)
		reset();
}

static void
append_subxact(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		subxact_commit(GetCurrentTransactionNestLevel());
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		subxact_abort(GetCurrentTransactionNestLevel());
}

/* The sequence may be another's after DROP and CREATE EXTENSION. */
static void
relation_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == sequence_relid)
		sequence_relid = InvalidOid;
}

void
AppendInit(void)
{
	EntryInit();
	PreCommitLastRegister(write_at_commit);
	RegisterXactCallback(append_xact, NULL);
	RegisterSubXactCallback(append_subxact, NULL);
	RelationWatch(relation_changed);
}
