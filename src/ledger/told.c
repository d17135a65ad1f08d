/*
 * told.c
 *		What transactions tell the sealer as they commit: that they have entries,
 *		and how many.  The entries' manifests say which belong together, but not
 *		that there was a manifest; whoever takes a transaction's entries away whole,
 *		or the last of them with their manifest, is found by what it told.
 *
 * A transaction notes itself before it commits, so that who sees it committed sees
 * the note.  Notes are in shared memory alone: a restart of the server forgets those
 * of transactions that are not sealed yet.  They are kept until the sealer's own
 * transaction, which has sealed theirs, is committed.
 *
 * The place of a note follows from the transaction id, so that a commit takes no lock
 * and ids that follow each other lie side by side.  One that finds no place near its own is counted.
 */
#include "ledger/sealer.h"

#include "access/transam.h"
#include "access/xact.h"
#include "storage/lwlock.h"

#define NOTES		32768		/* a power of two */
#define NEAR		128			/* places that a note looks at */
#define FILLING		1			/* no transaction has that id */

typedef struct Note
{
	pg_atomic_uint64 xid;		/* 0: free, FILLING: not to be read yet */
	Oid			database;
	uint32		incarnation;
	uint32		sequence;		/* of the newest entry */
	uint8		log[12];		/* the beginning of its id */
} Note;

typedef struct ReadNote
{
	int			at;
	uint64		xid;
} ReadNote;

static Note *notes = NULL;

static Note *own = NULL;		/* of this transaction */
static uint64 own_xid = 0;
static bool found_no_place = false;

static ReadNote *served = NULL; /* by this transaction, which is the sealer's */
static int	nserved = 0;
static int	served_cap = 0;

/* --- who commits ------------------------------------------------------------------- */

static Note *
claim(uint64 xid)
{
	for (int i = 0; i < NEAR; i++)
	{
		Note	   *note = &notes[(xid + i) & (NOTES - 1)];
		uint64		nobody = 0;

		if (pg_atomic_read_u64(&note->xid) == 0 &&
			pg_atomic_compare_exchange_u64(&note->xid, &nobody, FILLING))
			return note;
	}
	return NULL;
}

void
ToldNote(const Log *log, uint64 xid, uint32 sequence)
{
	DatabaseSlot *slot;

	if (own != NULL)
	{
		own->sequence = sequence;
		return;
	}
	if (found_no_place)
		return;
	own = claim(xid);
	if (own == NULL)
	{
		found_no_place = true;
		slot = SlotMine();
		if (slot != NULL)
			pg_atomic_fetch_add_u64(&slot->untold, 1);
		return;
	}
	own_xid = xid;
	own->database = MyDatabaseId;
	own->incarnation = log->incarnation;
	own->sequence = sequence;
	memcpy(own->log, log->log_id.data, sizeof(own->log));
	pg_write_barrier();
	pg_atomic_write_u64(&own->xid, xid);
}

/* --- the sealer ---------------------------------------------------------------------- */

/* Take a note away, unless somebody has, and the place is another's by now. */
static void
erase(Note *note, uint64 xid)
{
	(void) pg_atomic_compare_exchange_u64(&note->xid, &xid, 0);
}

/* A transaction id with the epoch that it has now. */
uint64
WideXid(TransactionId xid, FullTransactionId next)
{
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return (uint64) epoch << 32 | xid;
}

bool
XidCommitted(uint64 xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	bool		committed = true;

	if (xid >= U64FromFullTransactionId(next))
		return false;
	/* what the commit log still knows is not taken away meanwhile */
	LWLockAcquire(XactTruncationLock, LW_SHARED);
	if (xid >= WideXid(BW_OLDEST_CLOG_XID, next))
		committed = TransactionIdDidCommit((TransactionId) xid);
	LWLockRelease(XactTruncationLock);
	return committed;
}

static int
by_transaction(const void *a, const void *b)
{
	const Told *left = a;
	const Told *right = b;

	if (left->incarnation != right->incarnation)
		return left->incarnation < right->incarnation ? -1 : 1;
	return left->xid < right->xid ? -1 : left->xid > right->xid;
}

static void
remember_served(int at, uint64 xid)
{
	if (nserved == served_cap)
	{
		served_cap = Max(256, 2 * served_cap);
		served = served == NULL ? MemoryContextAlloc(TopMemoryContext, served_cap * sizeof(ReadNote)) :
			repalloc(served, served_cap * sizeof(ReadNote));
	}
	served[nserved++] = (ReadNote) {at, xid};
}

/* Copy a note of this database; false: it is none. */
static bool
read_note(Note *note, Note *copy, uint64 *xid)
{
	*xid = pg_atomic_read_u64(&note->xid);
	if (*xid <= FILLING)
		return false;
	pg_read_barrier();
	copy->database = note->database;
	copy->incarnation = note->incarnation;
	copy->sequence = note->sequence;
	memcpy(copy->log, note->log, sizeof(copy->log));
	pg_read_barrier();
	return copy->database == MyDatabaseId && pg_atomic_read_u64(&note->xid) == *xid;
}

Told *
ToldCommitted(const Log *log, bool (*in_progress) (uint64 xid, void *arg), void *arg, int *n)
{
	int			cap = 64;
	Told	   *told = palloc(cap * sizeof(Told));

	*n = nserved = 0;
	for (int i = 0; i < NOTES; i++)
	{
		Note		note;
		uint64		xid;

		if (!read_note(&notes[i], &note, &xid) || in_progress(xid, arg))
			continue;
		/* of a log that has been dropped since, or of who was rolled back */
		if (memcmp(note.log, log->log_id.data, sizeof(note.log)) != 0 || !XidCommitted(xid))
		{
			erase(&notes[i], xid);
			continue;
		}
		if (*n == cap)
		{
			cap *= 2;
			told = repalloc(told, cap * sizeof(Told));
		}
		told[(*n)++] = (Told) {.incarnation = note.incarnation, .xid = xid, .sequence = note.sequence};
		remember_served(i, xid);
	}
	qsort(told, *n, sizeof(Told), by_transaction);
	return told;
}

Told *
ToldOf(Told *told, int n, uint32 incarnation, uint64 xid)
{
	Told		wanted = {.incarnation = incarnation, .xid = xid};

	return bsearch(&wanted, told, n, sizeof(Told), by_transaction);
}

void
ToldForget(Oid database)
{
	for (int i = 0; i < NOTES; i++)
	{
		uint64		xid = pg_atomic_read_u64(&notes[i].xid);

		if (xid <= FILLING)
			continue;
		pg_read_barrier();
		if (notes[i].database == database)
			erase(&notes[i], xid);
	}
}

/* --- ends of transactions --------------------------------------------------------------- */

/* A prepared transaction's note waits for its commit. */
static void
at_xact_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (own != NULL && event == XACT_EVENT_ABORT)
		erase(own, own_xid);
	own = NULL;
	found_no_place = false;

	for (int i = 0; event == XACT_EVENT_COMMIT && i < nserved; i++)
		erase(&notes[served[i].at], served[i].xid);
	nserved = 0;
}

static void
notes_init(void *piece)
{
	Note	   *all = piece;

	for (int i = 0; i < NOTES; i++)
		pg_atomic_init_u64(&all[i].xid, 0);
}

void
ToldInit(void)
{
	ShmemPieceRequest("bulwark commits", NOTES * sizeof(Note), (void **) &notes, notes_init);
	RegisterXactCallback(at_xact_end, NULL);
}
