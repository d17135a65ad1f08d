/*
 * worker.c
 *		A sealer's worker: stays in one database as long as that has something to
 *		seal, two rounds every bulwark.seal_interval, and leaves it then.
 */
#include "ledger/sealer.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "libpq/pqsignal.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#define MAX_TASKS		4
#define LINGER_US		(INT64CONST(5) * USECS_PER_SEC)	/* in an idle database */
#define SHARE_US		(INT64CONST(1) * USECS_PER_SEC)	/* in a busy one while others wait */
#define ALARM_AGAIN_US	(INT64CONST(600) * USECS_PER_SEC)
#define LOCK_TIMEOUT	"10s"

typedef struct Task
{
	int			(*run) (void);
	bool		(*pending) (Oid database);
} Task;

static Task tasks[MAX_TASKS];
static int	ntasks = 0;
static DatabaseSlot *here = NULL;	/* of the database that this worker is in; may be NULL */
static bool am_worker = false;
static TimestampTz alarmed_at = 0;

PGDLLEXPORT void BulwarkSealWorker(Datum arg);

void
WorkerTaskRegister(int (*task) (void), bool (*pending) (Oid database))
{
	if (ntasks == MAX_TASKS)
		elog(ERROR, "too many tasks");
	tasks[ntasks++] = (Task) {task, pending};
}

static bool
must_leave(void)
{
	TimestampTz until;

	return here != NULL && SlotIsAvoided(here, &until);
}

void
WorkerCheck(void)
{
	CHECK_FOR_INTERRUPTS();
	if (unlikely(am_worker && must_leave()))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("another session wants the database for itself")));
}

/* --- one round ------------------------------------------------------------------------- */

static bool
task_pending(void)
{
	for (int i = 0; i < ntasks; i++)
		if (tasks[i].pending(MyDatabaseId))
			return true;
	return false;
}

/* False: there is no log here. */
static bool
seal(void)
{
	bool		any;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	any = LogPeek() != NULL;
	if (any)
		(void) LedgerSealNow();
	PopActiveSnapshot();
	CommitTransactionCommand();
	return any;
}

/* Who asked before this round began has been served by it. */
static void
publish(uint64 requested)
{
	if (here == NULL)
		return;
	pg_atomic_write_u64(&here->served, requested);
	SpinLockAcquire(&here->mutex);
	here->sealed_at = GetCurrentTimestamp();
	here->waiting_since = 0;
	here->avoided_since = pg_atomic_read_u32(&here->avoid) != 0 ? here->sealed_at : 0;
	here->failed_in_row = 0;
	here->retry_at = 0;
	SpinLockRelease(&here->mutex);
	ConditionVariableBroadcast(&here->changed);
}

static bool
asked_for(void)
{
	return here != NULL &&
		pg_atomic_read_u64(&here->requested) > pg_atomic_read_u64(&here->served);
}

/* An entry waits for the round after its commit, and what that takes: a round each half of the interval. */
static TimestampTz
next_round(TimestampTz began)
{
	return began + (int64) seal_interval * 500;
}

/*
 * Steps of upkeep as long as another like the last would end before the next round is
 * due, and nobody waits for that; however busy we are, one an interval.  Nobody leaves
 * while there are more.
 */
static void
keep_up(TimestampTz began)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentTimestamp();
	int64		took;
	bool		more = true;

	if (!asked_for() || now - last >= (int64) seal_interval * 1000)
	{
		do
		{
			last = now;
			more = SegmentsKeepUp();
			WorkerCheck();
			now = GetCurrentTimestamp();
			took = now - last;
		} while (more && !asked_for() && now + took < next_round(began));
		last = now;
	}
	if (more)
		SealerWake();
}

static void
do_round(void)
{
	TimestampTz began = GetCurrentTimestamp();
	uint64		requested = 0;
	bool		any;

	if (here != NULL)
	{
		(void) pg_atomic_exchange_u32(&here->dirty, 0);
		requested = pg_atomic_read_u64(&here->requested);
	}
	pgstat_report_activity(STATE_RUNNING, "sealing ledger entries");
	for (int i = 0; i < ntasks; i++)
		if (tasks[i].pending(MyDatabaseId))
			(void) tasks[i].run();
	any = seal();
	publish(requested);
	if (any)
		keep_up(began);
	if (any && am_worker)
		UpkeepRun();
	pgstat_report_activity(STATE_IDLE, NULL);
	pgstat_report_stat(true);
}

/* --- errors ---------------------------------------------------------------------------------- */

/* False: the round failed, and the worker had better go. */
static bool
try_round(void)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool good = false;

	PG_TRY();
	{
		do_round();
		good = true;
	}
	PG_CATCH();
	{
		bool		asked;

		HOLD_INTERRUPTS();
		asked = must_leave();
		if (!asked)
			EmitErrorReport();
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		if (here != NULL && !asked)
			SlotFailed(here);
		else if (here != NULL)
			pg_atomic_write_u32(&here->dirty, 1);
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	return good;
}

/* --- lag ---------------------------------------------------------------------------------------- */

/* The session or the prepared transaction that has kept rows from being sealed. */
static char *
holder_of(TransactionId xid)
{
	Oid			types[] = {TEXTOID};
	Datum		values[1];
	TrustedScope scope;
	char	   *holder;
	bool		found;
	bool		isnull;
	Datum		value;

	values[0] = CStringGetTextDatum(psprintf("%u", xid));
	TrustedBegin(&scope);
	value = TrustedScalar("SELECT format('prepared transaction %L', gid) FROM pg_prepared_xacts WHERE transaction::text = $1 "
						  "UNION ALL SELECT format('process %s', pid) FROM pg_stat_activity WHERE backend_xid::text = $1",
						  1, types, values, NULL, &found, &isnull);
	holder = found && !isnull ? TextDatumGetCString(value) : psprintf("transaction %u", xid);
	TrustedEnd(&scope);
	return holder;
}

static void
alarm_if_held_back(void)
{
	TimestampTz since;
	TimestampTz now = GetCurrentTimestamp();
	TransactionId xid = ScanOldestPending(&since);

	if (!TransactionIdIsValid(xid) || seal_lag_alarm == 0 ||
		now - since < (int64) seal_lag_alarm * USECS_PER_SEC)
	{
		alarmed_at = 0;
		return;
	}
	if (alarmed_at != 0 && now - alarmed_at < ALARM_AGAIN_US)
		return;
	alarmed_at = now;
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	ereport(WARNING,
			(errmsg("bulwark: ledger entries have waited %ld seconds for %s to end",
					(long) ((now - since) / USECS_PER_SEC), holder_of(xid)),
			 errhint("They are sealed when it has been committed; until then their segment is not indexed.")));
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* --- the worker ------------------------------------------------------------------------------------ */

static void
arrive(Oid database)
{
	here = SlotOf(database, true);
	if (here == NULL)
		return;
	SpinLockAcquire(&here->mutex);
	here->worker_pid = MyProcPid;
	here->worker_latch = MyLatch;
	SpinLockRelease(&here->mutex);
}

static void
leave(int code, Datum arg)
{
	bool		mine;

	if (here == NULL)
		return;
	if (code != 0 && !am_worker)
		SlotFailed(here);		/* it could not connect */
	else if (code != 0)
		pg_atomic_write_u32(&here->dirty, 1);
	SpinLockAcquire(&here->mutex);
	mine = (here->worker_pid == MyProcPid);
	if (mine)
	{
		here->worker_pid = 0;
		here->worker_latch = NULL;
	}
	SpinLockRelease(&here->mutex);
	ConditionVariableBroadcast(&here->changed);
	SlotWake(NULL);
}

/* What a DBA may have set for the database or all roles does not reach us. */
static void
pin_settings(void)
{
	static const char *const pinned[][2] = {
		{"synchronous_commit", "on"},	/* a checkpoint that was seen is on disk */
		{"lock_timeout", LOCK_TIMEOUT},
		{"statement_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"max_parallel_maintenance_workers", "0"},
		{"session_replication_role", "origin"},
		{"row_security", "on"},
		{"search_path", "pg_catalog, pg_temp"},
	};

	for (int i = 0; i < lengthof(pinned); i++)
		SetConfigOption(pinned[i][0], pinned[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/* Until the next round is due, or asked for. */
static void
wait_for_round(TimestampTz due)
{
	while (!asked_for() && !must_leave())
	{
		long		left = (long) ((due - GetCurrentTimestamp()) / 1000);

		if (left <= 0)
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		if (ProcDiePending)
			proc_exit(0);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}

void
BulwarkSealWorker(Datum arg)
{
	Oid			database = DatumGetObjectId(arg);
	TimestampTz arrived;
	TimestampTz busy_at = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	before_shmem_exit(leave, (Datum) 0);
	arrive(database);
	if (must_leave())
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	am_worker = true;
	pin_settings();

	arrived = GetCurrentTimestamp();
	for (;;)
	{
		TimestampTz began = GetCurrentTimestamp();
		TimestampTz since;
		bool		busy;

		if (!try_round())
			proc_exit(0);
		alarm_if_held_back();
		busy = here == NULL ? false : pg_atomic_read_u32(&here->dirty) != 0 || asked_for() || task_pending();
		if (busy || busy_at == 0)
			busy_at = GetCurrentTimestamp();
		if (here == NULL || must_leave() ||
			(WorkersAreWanted() && (!busy || began - arrived > SHARE_US)))
			break;
		if (!busy && !TransactionIdIsValid(ScanOldestPending(&since)) &&
			GetCurrentTimestamp() - busy_at > LINGER_US)
			break;
		wait_for_round(next_round(began));
	}
	proc_exit(0);
}
