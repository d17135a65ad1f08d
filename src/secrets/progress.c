/*
 * progress.c
 *		How far procedures have come that work on whole tables: slots in shared
 *		memory, shown by a view in the manner of pg_stat_progress_*.
 */
#include "secrets/column.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"

PG_FUNCTION_INFO_V1(bulwark_reencrypt_progress);

#define PROGRESS_PIECE	"bulwark reencrypt progress"
#define SLOTS			64

typedef struct Slot
{
	int			pid;			/* 0: free */
	Oid			database;
	TimestampTz started;
	Progress	progress;
} Slot;

static Slot *slots = NULL;
static Slot *mine = NULL;

/* What this back end reports; where no slot is free it goes nowhere. */
static Progress unseen;

static void
release(int code, Datum arg)
{
	ProgressEnd();
}

Progress *
ProgressBegin(const char *command)
{
	static bool registered = false;
	LWLock	   *lock = ShmemPieceLock(PROGRESS_PIECE);

	if (!registered)
		before_shmem_exit(release, (Datum) 0);
	registered = true;
	memset(&unseen, 0, sizeof(unseen));
	ProgressEnd();
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (Slot *slot = slots; slot < slots + SLOTS && mine == NULL; slot++)
		if (slot->pid == 0)
			mine = slot;
	if (mine != NULL)
	{
		memset(mine, 0, sizeof(*mine));
		mine->pid = MyProcPid;
		mine->database = MyDatabaseId;
		mine->started = GetCurrentTimestamp();
		mine->progress.command = command;
		mine->progress.phase = "starting";
	}
	LWLockRelease(lock);
	return mine != NULL ? &mine->progress : &unseen;
}

void
ProgressEnd(void)
{
	LWLock	   *lock;

	if (mine == NULL)
		return;
	lock = ShmemPieceLock(PROGRESS_PIECE);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	mine->pid = 0;
	mine = NULL;
	LWLockRelease(lock);
}

/* Counters are read as they are written: each is right, together they may differ a little. */
Datum
bulwark_reencrypt_progress(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	LWLock	   *lock = ShmemPieceLock(PROGRESS_PIECE);
	Slot	   *copy = palloc(SLOTS * sizeof(Slot));

	InitMaterializedSRF(fcinfo, 0);
	LWLockAcquire(lock, LW_SHARED);
	memcpy(copy, slots, SLOTS * sizeof(Slot));
	LWLockRelease(lock);
	for (Slot *slot = copy; slot < copy + SLOTS; slot++)
	{
		Datum		values[11];
		bool		nulls[11] = {false};

		if (slot->pid == 0 || slot->database != MyDatabaseId)
			continue;
		values[0] = Int32GetDatum(slot->pid);
		values[1] = CStringGetTextDatum(slot->progress.command);
		values[2] = ObjectIdGetDatum(slot->progress.relid);
		values[3] = CStringGetTextDatum(slot->progress.phase);
		values[4] = Int64GetDatum(slot->progress.blocks_total);
		values[5] = Int64GetDatum(slot->progress.blocks_done);
		values[6] = Int64GetDatum(slot->progress.values_seen);
		values[7] = Int64GetDatum(slot->progress.values_written);
		values[8] = Int64GetDatum(slot->progress.values_unreadable);
		values[9] = Int64GetDatum(slot->progress.rows_locked);
		values[10] = TimestampTzGetDatum(slot->started);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

void
ProgressInit(void)
{
	ShmemPieceRequest(PROGRESS_PIECE, SLOTS * sizeof(Slot), (void **) &slots, NULL);
}
