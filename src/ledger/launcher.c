/*
 * launcher.c
 *		Sends workers to the databases that have something to seal: one process
 *		for the cluster, which sleeps until a database's slot says so.
 */
#include "ledger/sealer.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/wait_event.h"

#define LAUNCHER_NAME	"bulwark sealer launcher"
#define WORKER_NAME		"bulwark sealer"
#define START_LIMIT_US	(INT64CONST(30) * USECS_PER_SEC)	/* a worker asked for that has not come */
#define RETRY_MIN_US	(INT64CONST(100) * 1000)	/* no process to be had; one that has just left is given back in a moment */
#define RETRY_MAX_US	(INT64CONST(5) * USECS_PER_SEC)
#define WATCH_MS		5000L	/* for a new checkpoint */
#define ALARM_AGAIN_US	(INT64CONST(600) * USECS_PER_SEC)

int			seal_interval = 1000;
int			seal_lag_alarm = 60;
static int	max_workers = 4;

static List *unvisited = NIL;	/* Oids: databases that no slot has asked for */
static TimestampTz no_process_since = 0;	/* 0: there was one the last time */
static TimestampTz no_process_until = 0;
static bool no_process_told = false;
static TimestampTz alarmed_at = 0;

PGDLLEXPORT void BulwarkSealLauncher(Datum arg);

/* --- which databases there are ----------------------------------------------------- */

/* All that can be connected to; templates only where their slot asks. */
static void
visit_all(void)
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	row;

	list_free(unvisited);
	unvisited = NIL;
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((row = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(row);
		MemoryContext caller;

		if (!database->datallowconn || database->datistemplate || database->datconnlimit == -2)
			continue;
		caller = MemoryContextSwitchTo(TopMemoryContext);
		unvisited = lappend_oid(unvisited, database->oid);
		MemoryContextSwitchTo(caller);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
}

/* --- workers --------------------------------------------------------------------------- */

static bool
start_worker(Oid database)
{
	BackgroundWorker worker = {0};
	BackgroundWorkerHandle *handle;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "bulwark", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "BulwarkSealWorker", sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), WORKER_NAME " of database %u", database);
	strlcpy(worker.bgw_type, WORKER_NAME, sizeof(worker.bgw_type));
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		return false;
	pfree(handle);
	return true;
}

/* Is it there, and open to connections?  A slot whose database is gone is given back. */
static bool
can_connect(DatabaseSlot *slot)
{
	Oid			database = pg_atomic_read_u32(&slot->database);
	HeapTuple	row;
	bool		there;
	bool		can = false;

	StartTransactionCommand();
	row = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	there = HeapTupleIsValid(row);
	if (there)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(row);

		can = form->datallowconn && form->datconnlimit != -2;
		ReleaseSysCache(row);
	}
	CommitTransactionCommand();
	if (!there)
		SlotRelease(database);
	else if (!can)
		SlotFailed(slot);
	return can;
}

static void
process_is_free(void)
{
	no_process_since = no_process_until = 0;
	no_process_told = false;
}

/* Ask for a worker; false: no process is to be had now. */
static bool
send_worker(DatabaseSlot *slot, TimestampTz now)
{
	SpinLockAcquire(&slot->mutex);
	slot->worker_pid = SLOT_STARTING;
	slot->started_at = now;
	SpinLockRelease(&slot->mutex);
	if (start_worker(pg_atomic_read_u32(&slot->database)))
		return true;

	SpinLockAcquire(&slot->mutex);
	slot->worker_pid = 0;
	SpinLockRelease(&slot->mutex);
	if (no_process_since == 0)
		no_process_since = now;
	if (!no_process_told && now - no_process_since >= RETRY_MAX_US)
	{
		no_process_told = true;
		ereport(WARNING,
				(errmsg("bulwark: no background worker is free to seal the ledger"),
				 errhint("Raise max_worker_processes.")));
	}
	no_process_until = now + Min(Max(now - no_process_since, RETRY_MIN_US), RETRY_MAX_US);
	return false;
}

/* --- what waits ----------------------------------------------------------------------------- */

typedef struct Survey
{
	int			working;
	DatabaseSlot *next;			/* has waited longest */
	TimestampTz wake_at;		/* something to look at then; 0: nothing */
	TimestampTz longest;		/* waiting since; 0: nobody is */
	Oid			longest_database;
} Survey;

static void
wake_at(Survey *survey, TimestampTz at)
{
	if (survey->wake_at == 0 || at < survey->wake_at)
		survey->wake_at = at;
}

static void
survey_slot(Survey *survey, DatabaseSlot *slot, TimestampTz now)
{
	TimestampTz since;
	TimestampTz retry;
	TimestampTz until;
	int			pid;

	SpinLockAcquire(&slot->mutex);
	pid = slot->worker_pid;
	if (pid == SLOT_STARTING && now - slot->started_at > START_LIMIT_US)
		pid = slot->worker_pid = 0;
	if (pid == 0 && pg_atomic_read_u32(&slot->dirty) != 0 && slot->waiting_since == 0)
		slot->waiting_since = now;
	since = slot->waiting_since;
	retry = slot->retry_at;
	SpinLockRelease(&slot->mutex);

	if (pid != 0)
	{
		survey->working++;
		if (pid == SLOT_STARTING)
			wake_at(survey, now + START_LIMIT_US);
		return;
	}
	if (pg_atomic_read_u32(&slot->dirty) == 0)
		return;
	if (survey->longest == 0 || since < survey->longest)
	{
		survey->longest = since;
		survey->longest_database = pg_atomic_read_u32(&slot->database);
	}
	if (SlotIsAvoided(slot, &until))
	{
		wake_at(survey, until);
		return;
	}
	if (retry > now)
	{
		wake_at(survey, retry);
		return;
	}
	if (survey->next == NULL)
		survey->next = slot;
	else
	{
		SpinLockAcquire(&survey->next->mutex);
		if (since < survey->next->waiting_since)
		{
			SpinLockRelease(&survey->next->mutex);
			survey->next = slot;
		}
		else
			SpinLockRelease(&survey->next->mutex);
	}
}

/* A database that has waited too long for a worker is told to the server log. */
static void
alarm_if_late(Survey *survey, TimestampTz now)
{
	int64		limit = (int64) seal_lag_alarm * USECS_PER_SEC;

	if (survey->longest == 0 || limit == 0)
	{
		alarmed_at = 0;
		return;
	}
	if (now - survey->longest < limit)
	{
		wake_at(survey, survey->longest + limit);
		return;
	}
	wake_at(survey, now + limit);
	if (alarmed_at != 0 && now - alarmed_at < ALARM_AGAIN_US)
		return;
	alarmed_at = now;
	ereport(WARNING,
			(errmsg("bulwark: entries of database %u have waited %ld seconds to be sealed",
					survey->longest_database, (long) ((now - survey->longest) / USECS_PER_SEC)),
			 max_workers == 0 ?
			 errhint("bulwark.max_workers is 0: nothing is sealed.") :
			 errhint("The server log says what stopped the workers, or bulwark.max_workers is too small.")));
}

/* The slot of a database that waits for its visit at start-up; NULL: none is left. */
static DatabaseSlot *
next_unvisited(void)
{
	while (unvisited != NIL)
	{
		Oid			database = linitial_oid(unvisited);
		DatabaseSlot *slot = SlotOf(database, true);

		unvisited = list_delete_first(unvisited);
		if (slot == NULL)
		{
			/* visited all the same, without what a slot is for */
			(void) start_worker(database);
			return NULL;
		}
		if (pg_atomic_exchange_u32(&slot->dirty, 1) == 0 && SlotWorker(slot) == 0)
			return slot;
	}
	return NULL;
}

/* Send whom there is; how long nothing has to be done, in ms, -1: until something changes. */
static long
send_workers(void)
{
	TimestampTz now = GetCurrentTimestamp();

	for (;;)
	{
		Survey		survey = {0};
		DatabaseSlot *slot;
		int			position = 0;

		while ((slot = SlotNext(&position)) != NULL)
			survey_slot(&survey, slot, now);
		if (survey.next == NULL)
			process_is_free();	/* nobody asks for one */
		if (survey.next == NULL && survey.working < max_workers && unvisited != NIL)
		{
			(void) next_unvisited();
			continue;
		}
		WorkersWanted((survey.working >= max_workers || no_process_since != 0) &&
					  (survey.next != NULL || unvisited != NIL));
		alarm_if_late(&survey, now);
		if (no_process_until > now)
			wake_at(&survey, no_process_until);
		else if (survey.next != NULL && survey.working < max_workers)
		{
			if (!can_connect(survey.next))
				continue;
			if (send_worker(survey.next, now))
			{
				process_is_free();
				continue;
			}
			wake_at(&survey, no_process_until);
		}
		if (survey.wake_at == 0)
			return -1L;
		return Max(1L, (long) ((survey.wake_at - GetCurrentTimestamp()) / 1000) + 1);
	}
}

static void
launcher_leaves(int code, Datum arg)
{
	LauncherPublish(NULL);
}

/* The launcher's main function; the postmaster starts another when it ends. */
void
BulwarkSealLauncher(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	before_shmem_exit(launcher_leaves, (Datum) 0);
	LauncherPublish(MyLatch);

	/* what the databases had to seal was forgotten when the server stopped */
	visit_all();
	while (!ShutdownRequestPending)
	{
		long		timeout;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (SlotOverflowTake())
			visit_all();
		StartWatchCheckpoint();
		timeout = send_workers();
		if (timeout < 0 || timeout > WATCH_MS)
			timeout = WATCH_MS;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout, PG_WAIT_EXTENSION);
	}
	proc_exit(1);
}

void
WorkerInit(void)
{
	BackgroundWorker worker = {0};

	DefineCustomIntVariable("bulwark.seal_interval",
							"Time within which ledger entries are sealed after their commit.",
							NULL, &seal_interval, 1000, 10, 60000,
							PGC_SIGHUP, GUC_UNIT_MS | GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	DefineCustomIntVariable("bulwark.max_workers",
							"Databases whose ledgers are sealed at the same time.",
							"Each takes one of max_worker_processes while it is busy. 0: nothing is sealed.",
							&max_workers, 4, 0, 64,
							PGC_SIGHUP, GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	DefineCustomIntVariable("bulwark.seal_lag_alarm",
							"Time after which entries that are not sealed yet are told to the server log.",
							"0: never.", &seal_lag_alarm, 60, 0, 86400,
							PGC_SIGHUP, GUC_UNIT_S | GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "bulwark", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "BulwarkSealLauncher", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, LAUNCHER_NAME, sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, LAUNCHER_NAME, sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
	WaitInit();
	AsideInit();
}
