/*
 * spool.c
 *		What survives the caller's rollback: entries on their way to the worker.
 *
 *		The spool is a piece of shared memory cut into chunks; an entry is a chain
 *		of them.  It is bounded whatever comes: of each class (denied, reads ...)
 *		and principal, or login where there is none, the first entries of a window of
 *		ten seconds are kept and the others counted, and the count is an entry.  So is
 *		what finds no room.  A quarter is for entries that somebody waits for.
 *
 *		Most callers are about to abort, or handle an error already: nothing here
 *		allocates, reads a catalog or raises, but for LedgerSpoolAndWait.
 */
#include "ledger/sealer.h"
#include "ledger/spool.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "funcapi.h"
#include "keyring/keyring.h"
#include "lib/ilist.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(bulwark_ledger_spool);

#define SPOOL_PIECE		"bulwark spool"
#define CHUNK_SIZE		512
#define WINDOW			(10 * USECS_PER_SEC)
#define READ_FACTOR		10		/* reads are many: their limit is this times the others' */
#define FOLD_EVERY		USECS_PER_SEC
#define FOLDS			512
#define FOLD_PROBES		8
#define SHARED_FOLDS	64		/* for whom the others have no room */
#define TAKE_BYTES		(256 * 1024)
#define TICKET_FAILED	(UINT64CONST(1) << 63)

typedef struct Chunk
{
	struct Chunk *next;			/* of the entry, or of the free ones */
	char		data[CHUNK_SIZE - sizeof(struct Chunk *)];
} Chunk;

/* What an entry's first chunk begins with; the record follows. */
typedef struct Queued
{
	dlist_node	node;
	Chunk	   *chunk;			/* the one that this is in */
	Oid			database;
	uint32		len;			/* of the record */
	int			slot;			/* of its Fold, or -1 */
	int			waiter;			/* number of the PGPROC that waits, or -1 */
	int			failures;		/* to write it alone */
	bool		taken;			/* the worker writes it now */
	uint64		ticket;			/* names the entry to who waits */
} Queued;

/* One class of one principal, or login, in one database. */
typedef struct Fold
{
	uint64		hash;
	Oid			database;		/* InvalidOid: free */
	SpoolClass	class;
	TimestampTz window;			/* when it began */
	int			kept;			/* in the window */
	int			queued;			/* in the spool now */
	uint64		folded;
	TimestampTz first;
	TimestampTz last;
	TimestampTz reported;
	EntryActor	actor;
	char		action[NAMEDATALEN];
	char		entity_type[2 * NAMEDATALEN + 8];
} Fold;

typedef struct Spool
{
	dlist_head	queue;
	Chunk	   *free;
	int			nfree;
	int			nchunks;
	uint64		last_ticket;
	uint64		seed;
	uint64		lost[SPOOL_CLASSES];	/* counted, but for nobody */
	pg_atomic_uint32 pending;	/* entries, and counts that are not 0 */
	Fold		folds[FOLDS + SHARED_FOLDS];
	/* the newest ticket that is durable, for each PGPROC; then the chunks */
	pg_atomic_uint64 durable[FLEXIBLE_ARRAY_MEMBER];
} Spool;

static Spool *spool = NULL;

static int	spool_size = 4096;
static int	flood_limit = 100;
static int	wait_timeout = 10000;

static LWLock *
spool_lock(void)
{
	static LWLock *lock = NULL;

	if (lock == NULL)
		lock = ShmemPieceLock(SPOOL_PIECE);
	return lock;
}

/* --- may anything be kept? -------------------------------------------------------- */

/*
 * Nothing is kept where no worker will ever come for it: on a standby, in a
 * database without the extension, or whose ledger has not begun and cannot.
 */
bool
SpoolServes(void)
{
	return spool != NULL && IsUnderPostmaster && !IsBinaryUpgrade && OidIsValid(MyDatabaseId) &&
		!RecoveryInProgress() && SpoolLedgerHere() &&
		(SpoolLedgerBegun() || SpoolHasKey());
}

void
SpoolRequire(void)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the ledger cannot be written on a standby"),
				 errhint("Run the statement on the primary.")));
	KeyringRequire();
	if (!IsUnderPostmaster)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no worker writes the ledger in single-user mode")));
}

/* --- chunks -------------------------------------------------------------------------- */

#define FIRST_CHUNK_ROOM	(sizeof(((Chunk *) 0)->data) - MAXALIGN(sizeof(Queued)))
#define CHUNK_ROOM			sizeof(((Chunk *) 0)->data)

static int
chunks_for(Size len)
{
	return len <= FIRST_CHUNK_ROOM ? 1 : 2 + (len - FIRST_CHUNK_ROOM - 1) / CHUNK_ROOM;
}

/* Move the record in or out, the spool's lock held. */
static void
copy_record(Queued *queued, char *bytes, bool in)
{
	Chunk	   *chunk = queued->chunk;
	char	   *data = (char *) queued + MAXALIGN(sizeof(Queued));
	Size		left = queued->len;
	Size		room = FIRST_CHUNK_ROOM;

	for (;;)
	{
		Size		part = Min(left, room);

		memcpy(in ? data : bytes, in ? bytes : data, part);
		bytes += part;
		left -= part;
		if (left == 0)
			break;
		chunk = chunk->next;
		data = chunk->data;
		room = CHUNK_ROOM;
	}
}

/* There are that many free chunks. */
static Queued *
enqueue(SpoolRecord *record, int slot, int waiter)
{
	int			n = chunks_for(record->len);
	Chunk	   *chunk = spool->free;
	Chunk	   *last = chunk;
	Queued	   *queued = (Queued *) chunk->data;

	for (int i = 1; i < n; i++)
		last = last->next;
	spool->free = last->next;
	spool->nfree -= n;
	last->next = NULL;

	queued->chunk = chunk;
	queued->database = MyDatabaseId;
	queued->len = record->len;
	queued->slot = slot;
	queued->waiter = waiter;
	queued->failures = 0;
	queued->taken = false;
	queued->ticket = ++spool->last_ticket;
	copy_record(queued, (char *) record, true);
	dlist_push_tail(&spool->queue, &queued->node);
	pg_atomic_fetch_add_u32(&spool->pending, 1);
	return queued;
}

static void
dequeue(Queued *queued)
{
	int			n = chunks_for(queued->len);
	Chunk	   *first = queued->chunk;
	Chunk	   *last = first;

	if (queued->slot >= 0)
		spool->folds[queued->slot].queued--;
	dlist_delete(&queued->node);
	while (last->next != NULL)
		last = last->next;
	last->next = spool->free;
	spool->free = first;
	spool->nfree += n;
	pg_atomic_fetch_sub_u32(&spool->pending, 1);
}

/* --- what is kept and what is counted -------------------------------------------------- */

static bool
window_over(const Fold *fold, TimestampTz now)
{
	return now < fold->window || now - fold->window >= WINDOW;
}

static bool
fold_is_free(const Fold *fold, TimestampTz now)
{
	return !OidIsValid(fold->database) ||
		(fold->folded == 0 && fold->queued == 0 && window_over(fold, now));
}

static void
fold_start(Fold *fold, uint64 hash, const SpoolRecord *record, TimestampTz now)
{
	const char *entity_type = SpoolTextOf(record, TEXT_ENTITY_TYPE);

	memset(fold, 0, sizeof(*fold));
	fold->hash = hash;
	fold->database = MyDatabaseId;
	fold->class = record->class;
	fold->window = now;
	fold->actor = record->actor;
	strlcpy(fold->action, SpoolTextOf(record, TEXT_ACTION), sizeof(fold->action));
	strlcpy(fold->entity_type, entity_type ? entity_type : "statement", sizeof(fold->entity_type));
}

/* Nobody in particular. */
static Fold *
shared_fold(const SpoolRecord *record, TimestampTz now)
{
	Fold	   *unused = NULL;

	for (Fold *fold = spool->folds + FOLDS; fold < spool->folds + FOLDS + SHARED_FOLDS; fold++)
	{
		if (fold->database == MyDatabaseId && fold->class == record->class)
			return fold;
		if (unused == NULL && fold_is_free(fold, now))
			unused = fold;
	}
	if (unused != NULL)
	{
		fold_start(unused, 0, record, now);
		memset(&unused->actor, 0, sizeof(unused->actor));
		strlcpy(unused->entity_type, "several", sizeof(unused->entity_type));
	}
	return unused;
}

/* Where entries of this class and principal are counted; NULL: there is no room. */
static Fold *
find_fold(const SpoolRecord *record, TimestampTz now)
{
	uint64		hash = SpoolFoldHash(record, spool->seed);
	Fold	   *unused = NULL;

	for (int i = 0; i < FOLD_PROBES; i++)
	{
		Fold	   *fold = &spool->folds[(hash + i) % FOLDS];

		if (fold->hash == hash && fold->database == MyDatabaseId && fold->class == record->class)
			return fold;
		if (unused == NULL && fold_is_free(fold, now))
			unused = fold;
	}
	if (unused == NULL)
		return shared_fold(record, now);
	fold_start(unused, hash, record, now);
	return unused;
}

static void
count_folded(Fold *fold, const SpoolRecord *record, TimestampTz now)
{
	if (fold == NULL)
	{
		spool->lost[record->class]++;
		return;
	}
	if (fold->folded++ == 0)
	{
		fold->first = now;
		pg_atomic_fetch_add_u32(&spool->pending, 1);
	}
	fold->last = now;
}

/* Keep the entry, or count it. */
static void
admit(SpoolRecord *record, TimestampTz now)
{
	int			limit = record->class == SPOOL_READ ? flood_limit * READ_FACTOR : flood_limit;
	Fold	   *fold;

	LWLockAcquire(spool_lock(), LW_EXCLUSIVE);
	fold = find_fold(record, now);
	if (fold != NULL && window_over(fold, now))
	{
		fold->window = now;
		fold->kept = 0;
	}
	if (fold == NULL || fold->kept >= limit ||
		spool->nfree - chunks_for(record->len) < spool->nchunks / 4)
		count_folded(fold, record, now);
	else
	{
		fold->kept++;
		fold->queued++;
		(void) enqueue(record, fold - spool->folds, -1);
	}
	LWLockRelease(spool_lock());
}

void
SpoolStatement(SpoolClass class, const Entry *entry, const Oid *relations, int nrelations)
{
	if (!SpoolServes())
		return;
	admit(SpoolEncode(class, entry, relations, nrelations), GetCurrentTimestamp());
	SealerWake();
}

void
LedgerSpool(SpoolClass class, const Entry *entry)
{
	SpoolStatement(class, entry, NULL, 0);
}

/* --- waiting -------------------------------------------------------------------------- */

/* Take the entry back, unless it is being written or has been. */
static bool
withdraw(uint64 ticket)
{
	bool		found = false;
	dlist_mutable_iter iter;

	LWLockAcquire(spool_lock(), LW_EXCLUSIVE);
	dlist_foreach_modify(iter, &spool->queue)
	{
		Queued	   *queued = dlist_container(Queued, node, iter.cur);

		if (queued->ticket == ticket && !queued->taken)
		{
			dequeue(queued);
			found = true;
			break;
		}
	}
	LWLockRelease(spool_lock());
	return found;
}

/* True once durable; false when the worker gave it up, or time is over. */
static bool
wait_durable(uint64 ticket, bool *timed_out)
{
	pg_atomic_uint64 *durable = &spool->durable[BW_PROC_NUMBER(MyProc)];
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait_timeout);

	for (;;)
	{
		uint64		done = pg_atomic_read_u64(durable);
		long		left;

		if ((done & ~TICKET_FAILED) >= ticket)
		{
			*timed_out = false;
			return done == ticket;
		}
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
		if (left <= 0)
		{
			*timed_out = true;
			return false;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * A waiter that is cancelled leaves its entry behind: the worker writes it, and
 * nobody asks.
 */
void
LedgerSpoolAndWait(const Entry *entry)
{
	SpoolRecord *record;
	uint64		ticket = 0;
	DatabaseSlot *slot;
	uint64		request;
	uint32		failures;
	bool		timed_out;

	SpoolNoteSession();
	SpoolRequire();
	if (!SpoolLedgerHere())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("bulwark is not installed in this database"),
				 errhint("Run CREATE EXTENSION bulwark.")));
	if (LedgerRestoring())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the ledger cannot be written while a dump is restored"),
				 errhint("Set bulwark.restore to off when the restore is over.")));

	record = SpoolEncode(SPOOL_OTHER, entry, NULL, 0);
	LWLockAcquire(spool_lock(), LW_EXCLUSIVE);
	if (spool->nfree >= chunks_for(record->len))
		ticket = enqueue(record, -1, BW_PROC_NUMBER(MyProc))->ticket;
	LWLockRelease(spool_lock());
	if (ticket == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the spool of the ledger is full"),
				 errhint("Raise bulwark.ledger_spool_size, and see the server log for what keeps the ledger's worker.")));
	(void) SealRequest(&slot, &request, &failures);

	if (wait_durable(ticket, &timed_out))
		return;
	if (timed_out)
		(void) withdraw(ticket);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the ledger entry could not be made durable"),
			 timed_out ? errdetail("The ledger's worker did not write it within %d ms.", wait_timeout)
			 : errdetail("The ledger's worker could not write it."),
			 errhint("See the server log for what keeps the ledger's worker.")));
}

/* --- the worker's side -------------------------------------------------------------------- */

bool
SpoolPending(Oid database)
{
	bool		found = false;
	dlist_iter	iter;

	if (spool == NULL || pg_atomic_read_u32(&spool->pending) == 0)
		return false;
	LWLockAcquire(spool_lock(), LW_SHARED);
	dlist_foreach(iter, &spool->queue)
	{
		if (dlist_container(Queued, node, iter.cur)->database == database)
		{
			found = true;
			break;
		}
	}
	for (int i = 0; !found && i < FOLDS + SHARED_FOLDS; i++)
		found = spool->folds[i].database == database && spool->folds[i].folded > 0;
	LWLockRelease(spool_lock());
	return found;
}

/* Entries on their way out. */
typedef struct Taking
{
	SpoolTaken *slots;
	char	   *bytes;
	Size		used;
	int			n;
	int			max;
} Taking;

/* The oldest ones that somebody waits for, or nobody; false: there was no room for all. */
static bool
take_queued(Taking *taking, bool waited_for)
{
	dlist_iter	iter;

	dlist_foreach(iter, &spool->queue)
	{
		Queued	   *queued = dlist_container(Queued, node, iter.cur);
		SpoolTaken *slot = &taking->slots[taking->n];

		if (queued->database != MyDatabaseId || (queued->waiter >= 0) != waited_for)
			continue;
		if (taking->n == taking->max || taking->used + queued->len > TAKE_BYTES)
			return false;
		slot->queued = queued;
		slot->waited_for = waited_for;
		slot->record = (SpoolRecord *) (taking->bytes + taking->used);
		copy_record(queued, (char *) slot->record, false);
		queued->taken = true;
		taking->used += MAXALIGN(queued->len);
		taking->n++;
	}
	return true;
}

/*
 * Copies of entries of this database, those that somebody waits for before all
 * others: they are committed together.  *more: not all had room.  One worker at a
 * time calls this.
 */
List *
SpoolTake(int max, bool *more)
{
	Taking		taking = {palloc(max * sizeof(SpoolTaken)), palloc(TAKE_BYTES), .max = max};
	List	   *taken = NIL;

	LWLockAcquire(spool_lock(), LW_EXCLUSIVE);
	*more = !take_queued(&taking, true) || !take_queued(&taking, false);
	LWLockRelease(spool_lock());

	for (int i = 0; i < taking.n; i++)
		taken = lappend(taken, &taking.slots[i]);
	return taken;
}

/* Counts of this database that are due: one a second for each, and no more. */
List *
SpoolTakeFolded(void)
{
	TimestampTz now = GetCurrentTimestamp();
	SpoolFolded *slots = palloc((FOLDS + SHARED_FOLDS) * sizeof(SpoolFolded));
	int			n = 0;
	List	   *taken = NIL;

	LWLockAcquire(spool_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < FOLDS + SHARED_FOLDS; i++)
	{
		Fold	   *fold = &spool->folds[i];

		if (fold->database != MyDatabaseId || fold->folded == 0 ||
			(now >= fold->reported && now - fold->reported < FOLD_EVERY))
			continue;
		slots[n].slot = i;
		slots[n].count = fold->folded;
		slots[n].class = fold->class;
		slots[n].first = fold->first;
		slots[n].last = fold->last;
		slots[n].actor = fold->actor;
		memcpy(slots[n].action, fold->action, sizeof(fold->action));
		memcpy(slots[n].entity_type, fold->entity_type, sizeof(fold->entity_type));
		fold->reported = now;
		n++;
	}
	LWLockRelease(spool_lock());

	for (int i = 0; i < n; i++)
		taken = lappend(taken, &slots[i]);
	return taken;
}

/* Tell who waits, if it still does: a later one in its place waits for a later ticket. */
static void
tell_waiter(const Queued *queued, bool failed)
{
	pg_atomic_uint64 *durable;

	if (queued->waiter < 0)
		return;
	durable = &spool->durable[queued->waiter];
	if ((pg_atomic_read_u64(durable) & ~TICKET_FAILED) < queued->ticket)
		pg_atomic_write_u64(durable, queued->ticket | (failed ? TICKET_FAILED : 0));
	SetLatch(&GetPGProcByNumber(queued->waiter)->procLatch);
}

/* These are committed, and durable where somebody waits. */
void
SpoolWritten(List *taken, List *folded)
{
	ListCell   *lc;

	LWLockAcquire(spool_lock(), LW_EXCLUSIVE);
	foreach(lc, taken)
	{
		Queued	   *queued = ((SpoolTaken *) lfirst(lc))->queued;

		tell_waiter(queued, false);
		dequeue(queued);
	}
	foreach(lc, folded)
	{
		SpoolFolded *one = lfirst(lc);
		Fold	   *fold = &spool->folds[one->slot];

		fold->folded -= one->count;
		fold->first = one->last;
		if (fold->folded == 0)
			pg_atomic_fetch_sub_u32(&spool->pending, 1);
	}
	LWLockRelease(spool_lock());
}

/* They are not: another try will be made, and who waits may give up meanwhile. */
void
SpoolNotWritten(List *taken)
{
	ListCell   *lc;

	LWLockAcquire(spool_lock(), LW_EXCLUSIVE);
	foreach(lc, taken)
	{
		Queued	   *queued = ((SpoolTaken *) lfirst(lc))->queued;

		queued->taken = false;
		if (list_length(taken) == 1)
			queued->failures++;
	}
	LWLockRelease(spool_lock());
}

int
SpoolFailures(const SpoolTaken *taken)
{
	return ((Queued *) taken->queued)->failures;
}

void
SpoolDiscard(const SpoolTaken *taken)
{
	Queued	   *queued = taken->queued;
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(spool_lock(), LW_EXCLUSIVE);
	count_folded(find_fold(taken->record, now), taken->record, now);
	tell_waiter(queued, true);
	dequeue(queued);
	LWLockRelease(spool_lock());
}

/* What was counted for nobody in particular, to be told at least in the log. */
uint64
SpoolTakeLost(void)
{
	uint64		lost = 0;

	LWLockAcquire(spool_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < SPOOL_CLASSES; i++)
	{
		lost += spool->lost[i];
		spool->lost[i] = 0;
	}
	LWLockRelease(spool_lock());
	return lost;
}

void
SpoolForget(void)
{
	dlist_mutable_iter iter;

	LWLockAcquire(spool_lock(), LW_EXCLUSIVE);
	dlist_foreach_modify(iter, &spool->queue)
	{
		Queued	   *queued = dlist_container(Queued, node, iter.cur);

		if (queued->database != MyDatabaseId)
			continue;
		tell_waiter(queued, true);
		dequeue(queued);
	}
	for (int i = 0; i < FOLDS + SHARED_FOLDS; i++)
	{
		if (spool->folds[i].database != MyDatabaseId)
			continue;
		if (spool->folds[i].folded > 0)
			pg_atomic_fetch_sub_u32(&spool->pending, 1);
		memset(&spool->folds[i], 0, sizeof(Fold));
	}
	LWLockRelease(spool_lock());
}

Datum
bulwark_ledger_spool(PG_FUNCTION_ARGS)
{
	int64		entries = 0;
	int64		folded = 0;
	float4		used;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false};
	dlist_iter	iter;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	LWLockAcquire(spool_lock(), LW_SHARED);
	dlist_foreach(iter, &spool->queue)
		if (dlist_container(Queued, node, iter.cur)->database == MyDatabaseId)
			entries++;
	for (int i = 0; i < FOLDS + SHARED_FOLDS; i++)
		if (spool->folds[i].database == MyDatabaseId)
			folded += spool->folds[i].folded;
	used = 1 - (float4) spool->nfree / spool->nchunks;
	LWLockRelease(spool_lock());

	values[0] = Int64GetDatum(entries);
	values[1] = Int64GetDatum(folded);
	values[2] = Float4GetDatum(used);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* --- start-up ------------------------------------------------------------------------------- */

static Size
durable_size(void)
{
	return MAXALIGN(add_size(offsetof(Spool, durable), mul_size(MaxBackends, sizeof(pg_atomic_uint64))));
}

static Size
spool_bytes(void)
{
	return add_size(durable_size(), mul_size(spool_size, 1024));
}

static void
spool_init(void *piece)
{
	Chunk	   *chunks;

	spool = piece;
	chunks = (Chunk *) ((char *) piece + durable_size());
	dlist_init(&spool->queue);
	pg_atomic_init_u32(&spool->pending, 0);
	for (int i = 0; i < MaxBackends; i++)
		pg_atomic_init_u64(&spool->durable[i], 0);
	if (!bw_random(&spool->seed, sizeof(spool->seed)))
		elog(FATAL, "no random bytes");

	spool->nchunks = spool->nfree = (int) ((Size) spool_size * 1024 / sizeof(Chunk));
	for (int i = spool->nchunks - 1; i >= 0; i--)
	{
		chunks[i].next = spool->free;
		spool->free = &chunks[i];
	}
}

void
SpoolInit(void)
{
	DefineCustomIntVariable("bulwark.ledger_spool_size",
							"Shared memory for ledger entries that survive a rollback, on their way to the worker.",
							"A quarter of it is for entries that somebody waits for.",
							&spool_size, 4096, 256, 1024 * 1024, PGC_POSTMASTER,
							GUC_UNIT_KB | GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	DefineCustomIntVariable("bulwark.ledger_flood_limit",
							"How many ledger entries for denied statements, refused tokens and the like are kept of each principal in ten seconds.",
							"Those beyond are counted, and the count is an entry. Of reads, ten times as many are kept.",
							&flood_limit, 100, 1, 100000, PGC_SIGHUP,
							GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	DefineCustomIntVariable("bulwark.ledger_wait_timeout",
							"How long a statement waits for its ledger entry to be durable before it is refused.",
							NULL,
							&wait_timeout, 10000, 100, 600000, PGC_SIGHUP,
							GUC_UNIT_MS | GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	WorkerTaskRegister(SpoolDrain, SpoolPending);
	ShmemPieceRequestSized(SPOOL_PIECE, spool_bytes, (void **) &spool, spool_init);
}
