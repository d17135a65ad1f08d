/*
 * standby.c
 *		How stale may the memberships be that a standby reads?
 *
 * A revocation reaches a standby when it is replayed.  Replay that is paused,
 * held back by somebody's query, or cut off from the primary, here or further up
 * a cascade, would keep revoked identities alive, so past
 * bulwark.standby_max_staleness there is none.
 *
 * The one thing that says, whichever way the WAL came, until when a standby knows
 * what its primary knew is the time of the newest commit it has replayed.  (That
 * messages arrive says nothing: they may be those of a standby that is itself cut
 * off.)  So that there is a new commit on an idle primary too, a worker of ours
 * makes an empty one now and then while a standby streams from it.
 */
#include "session/session.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/spin.h"
#include "utils/wait_event.h"

#define WORKER_NAME		"bulwark heartbeat"
#define BEATS			4		/* in the time that a standby may be stale */

static int	standby_max_staleness = 60;

PGDLLEXPORT void BulwarkHeartbeatWorker(Datum arg);

/* A time in the future says that the clocks differ, not how much is missing. */
bool
StandbyIsFresh(void)
{
	int64		limit = standby_max_staleness * USECS_PER_SEC;
	int64		lag;

	if (!RecoveryInProgress())
		return true;
	lag = GetCurrentTimestamp() - GetLatestXTime();
	return lag <= limit && lag >= -limit;
}

static bool
anybody_streams(void)
{
	for (int i = 0; i < max_wal_senders; i++)
	{
		WalSnd	   *sender = &WalSndCtl->walsnds[i];
		bool		used;

		SpinLockAcquire(&sender->mutex);
		used = sender->pid != 0;
		SpinLockRelease(&sender->mutex);
		if (used)
			return true;
	}
	return false;
}

/* A commit with nothing in it but its time. */
static void
beat(void)
{
	StartTransactionCommand();
	(void) GetTopTransactionId();
	CommitTransactionCommand();
}

/* The worker's main function.  It exits with 1, so that the postmaster starts
 * another unless the server is stopping. */
void
BulwarkHeartbeatWorker(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	while (!ShutdownRequestPending)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (anybody_streams())
			beat();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 standby_max_staleness * 1000L / BEATS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	proc_exit(1);
}

void
StandbyInit(void)
{
	BackgroundWorker worker = {0};

	DefineCustomIntVariable("bulwark.standby_max_staleness",
							"How far a standby may lag and still accept identities.",
							"Past it there is no identity on the standby. Give primary and standbys the same, and the same time.",
							&standby_max_staleness, 60, 1, 3600, PGC_SIGHUP,
							GUC_UNIT_S | GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 10;
	strlcpy(worker.bgw_library_name, "bulwark", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "BulwarkHeartbeatWorker", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, WORKER_NAME, sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, WORKER_NAME, sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}
