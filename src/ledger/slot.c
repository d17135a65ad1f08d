/*
 * slot.c
 *		What back ends tell the sealer's workers of their database: a slot in
 *		shared memory for each that has a ledger.  An open-addressed table; where
 *		it is full, the workers visit all databases.
 */
#include "ledger/sealer.h"

#include "storage/latch.h"
#include "storage/lwlock.h"

#define SLOTS_PIECE		"bulwark databases"
#define SLOTS			4096	/* a power of two */
#define RETRY_LIMIT_S	60
#define AVOID_LIMIT_US	(INT64CONST(10) * USECS_PER_SEC)

typedef struct SlotTable
{
	slock_t		mutex;
	Latch	   *launcher;
	pg_atomic_uint32 overflow;
	pg_atomic_uint32 wanted;	/* databases wait while all workers are busy */
	DatabaseSlot slot[SLOTS];
} SlotTable;

static SlotTable *table = NULL;
static LWLock *lock = NULL;
static DatabaseSlot *mine = NULL;

static void
slot_clear(DatabaseSlot *slot)
{
	pg_atomic_write_u32(&slot->dirty, 0);
	pg_atomic_write_u32(&slot->avoid, 0);
	pg_atomic_write_u32(&slot->failures, 0);
	pg_atomic_write_u64(&slot->active, 0);
	pg_atomic_write_u64(&slot->last_page, 0);
	pg_atomic_write_u64(&slot->untold, 0);
	pg_atomic_write_u64(&slot->sealed_id, 0);
	SpinLockAcquire(&slot->mutex);
	slot->worker_pid = 0;
	slot->worker_latch = NULL;
	slot->avoided_since = 0;
	slot->started_at = slot->waiting_since = slot->retry_at = slot->sealed_at = 0;
	slot->failed_in_row = 0;
	SpinLockRelease(&slot->mutex);
}

static void
slots_init(void *piece)
{
	SlotTable  *made = piece;

	SpinLockInit(&made->mutex);
	pg_atomic_init_u32(&made->overflow, 0);
	pg_atomic_init_u32(&made->wanted, 0);
	for (int i = 0; i < SLOTS; i++)
	{
		DatabaseSlot *slot = &made->slot[i];

		pg_atomic_init_u32(&slot->database, InvalidOid);
		pg_atomic_init_u32(&slot->dirty, 0);
		pg_atomic_init_u32(&slot->avoid, 0);
		pg_atomic_init_u32(&slot->failures, 0);
		pg_atomic_init_u64(&slot->active, 0);
		pg_atomic_init_u64(&slot->last_page, 0);
		pg_atomic_init_u64(&slot->requested, 0);
		pg_atomic_init_u64(&slot->served, 0);
		pg_atomic_init_u64(&slot->untold, 0);
		pg_atomic_init_u64(&slot->sealed_id, 0);
		ConditionVariableInit(&slot->changed);
		SpinLockInit(&slot->mutex);
	}
}

/* The slot of that database, else a free one; NULL: neither.  The lock is held. */
static DatabaseSlot *
find_slot(Oid database, bool want_free)
{
	uint32		hash = database * 0x9E3779B1u;
	DatabaseSlot *free_slot = NULL;

	for (uint32 i = 0; i < SLOTS; i++)
	{
		DatabaseSlot *slot = &table->slot[((hash >> 20) + i) & (SLOTS - 1)];
		Oid			holder = pg_atomic_read_u32(&slot->database);

		if (holder == database)
			return slot;
		if ((holder == InvalidOid || holder == SLOT_LEFT) && free_slot == NULL)
			free_slot = slot;
		if (holder == InvalidOid)
			break;
	}
	return want_free ? free_slot : NULL;
}

DatabaseSlot *
SlotOf(Oid database, bool make)
{
	DatabaseSlot *slot;

	if (lock == NULL)
		lock = ShmemPieceLock(SLOTS_PIECE);
	LWLockAcquire(lock, LW_SHARED);
	slot = find_slot(database, false);
	LWLockRelease(lock);
	if (slot != NULL || !make)
		return slot;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = find_slot(database, true);
	if (slot != NULL && pg_atomic_read_u32(&slot->database) != database)
	{
		slot_clear(slot);
		pg_atomic_write_u32(&slot->database, database);
	}
	LWLockRelease(lock);
	return slot;
}

DatabaseSlot *
SlotMine(void)
{
	if (likely(mine != NULL))
		return mine;
	if (OidIsValid(MyDatabaseId))
		mine = SlotOf(MyDatabaseId, true);
	return mine;
}

/* By the one who seals. */
void
SlotTellSealedId(uint64 entry_id)
{
	DatabaseSlot *slot = SlotMine();

	if (slot != NULL && entry_id > pg_atomic_read_u64(&slot->sealed_id))
		pg_atomic_write_u64(&slot->sealed_id, entry_id);
}

/* Only once nobody can be connected to that database any more. */
void
SlotRelease(Oid database)
{
	DatabaseSlot *slot;

	if (lock == NULL)
		lock = ShmemPieceLock(SLOTS_PIECE);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	slot = find_slot(database, false);
	if (slot != NULL)
	{
		slot_clear(slot);
		pg_atomic_write_u32(&slot->database, SLOT_LEFT);
	}
	LWLockRelease(lock);
	ToldForget(database);
}

DatabaseSlot *
SlotNext(int *position)
{
	while (*position < SLOTS)
	{
		DatabaseSlot *slot = &table->slot[(*position)++];
		Oid			database = pg_atomic_read_u32(&slot->database);

		if (database != InvalidOid && database != SLOT_LEFT)
			return slot;
	}
	return NULL;
}

void
SlotFailed(DatabaseSlot *slot)
{
	TimestampTz now = GetCurrentTimestamp();

	pg_atomic_write_u32(&slot->dirty, 1);
	SpinLockAcquire(&slot->mutex);
	slot->failed_in_row = Min(slot->failed_in_row + 1, 16);
	slot->retry_at = now + USECS_PER_SEC * (int64) Min(1 << (slot->failed_in_row - 1), RETRY_LIMIT_S);
	if (slot->waiting_since == 0)
		slot->waiting_since = now;
	SpinLockRelease(&slot->mutex);
	pg_atomic_fetch_add_u32(&slot->failures, 1);
	ConditionVariableBroadcast(&slot->changed);
}

void
SlotAvoid(DatabaseSlot *slot)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&slot->mutex);
	if (slot->avoided_since == 0)
		slot->avoided_since = now;
	SpinLockRelease(&slot->mutex);
	pg_atomic_fetch_add_u32(&slot->avoid, 1);
}

void
SlotAvoidEnd(DatabaseSlot *slot)
{
	pg_atomic_fetch_sub_u32(&slot->avoid, 1);
}

/* One statement after the other could keep the ledger from being sealed: a round comes in between. */
bool
SlotIsAvoided(DatabaseSlot *slot, TimestampTz *until)
{
	if (pg_atomic_read_u32(&slot->avoid) == 0)
		return false;
	SpinLockAcquire(&slot->mutex);
	*until = slot->avoided_since + AVOID_LIMIT_US;
	SpinLockRelease(&slot->mutex);
	return GetCurrentTimestamp() < *until;
}

int
SlotWorker(DatabaseSlot *slot)
{
	int			pid;

	SpinLockAcquire(&slot->mutex);
	pid = slot->worker_pid;
	SpinLockRelease(&slot->mutex);
	return pid;
}

void
WorkersWanted(bool wanted)
{
	pg_atomic_write_u32(&table->wanted, wanted);
}

bool
WorkersAreWanted(void)
{
	return pg_atomic_read_u32(&table->wanted) != 0;
}

bool
SlotOverflowTake(void)
{
	return pg_atomic_read_u32(&table->overflow) != 0 &&
		pg_atomic_exchange_u32(&table->overflow, 0) != 0;
}

void
LauncherPublish(Latch *latch)
{
	SpinLockAcquire(&table->mutex);
	table->launcher = latch;
	SpinLockRelease(&table->mutex);
}

/* A latch of a process that has gone meanwhile belongs to nobody, or to another: no harm. */
void
SlotWake(DatabaseSlot *slot)
{
	Latch	   *latch = NULL;

	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		latch = slot->worker_latch;
		SpinLockRelease(&slot->mutex);
	}
	if (latch == NULL)
	{
		SpinLockAcquire(&table->mutex);
		latch = table->launcher;
		SpinLockRelease(&table->mutex);
	}
	if (latch != NULL)
		SetLatch(latch);
}

void
SealerWake(void)
{
	DatabaseSlot *slot = SlotMine();

	if (unlikely(slot == NULL))
	{
		if (pg_atomic_exchange_u32(&table->overflow, 1) == 0)
			SlotWake(NULL);
		return;
	}
	/* a worker that is there looks by itself */
	if (pg_atomic_read_u32(&slot->dirty) != 0 || pg_atomic_exchange_u32(&slot->dirty, 1) != 0)
		return;
	if (slot->worker_pid == 0)
		SlotWake(NULL);
}

bool
SealRequest(DatabaseSlot **slot, uint64 *request, uint32 *failures)
{
	*slot = SlotMine();
	if (*slot == NULL)
		return false;
	*failures = pg_atomic_read_u32(&(*slot)->failures);
	*request = pg_atomic_add_fetch_u64(&(*slot)->requested, 1);
	pg_atomic_write_u32(&(*slot)->dirty, 1);
	SlotWake(*slot);
	return true;
}

bool
SealServed(DatabaseSlot *slot, uint64 request)
{
	return pg_atomic_read_u64(&slot->served) >= request;
}

void
SlotInit(void)
{
	ShmemPieceRequest(SLOTS_PIECE, sizeof(SlotTable), (void **) &table, slots_init);
}
