/*
 * wait.c
 *		Waiting until what is committed is sealed, and SQL that asks for it.
 */
#include "ledger/sealer.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "keyring/keyring.h"
#include "fmgr.h"
#include "storage/ipc.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"

#define LOOK_MS		100			/* so often a waiting session looks for signals */
#define SEAL_TIMEOUT_US (INT64CONST(60) * USECS_PER_SEC)
#define SEAL_TRY_US		(INT64CONST(10) * USECS_PER_SEC)

static bool commit_waits_for_seal = false;

PG_FUNCTION_INFO_V1(bulwark_ledger_seal);

/* Why a session that has committed gives up; NULL: it does not. */
static const char *
signal_to_stop(void)
{
	if (ProcDiePending)
	{
		whereToSendOutput = DestNone;
		return "the session ends";
	}
	if (QueryCancelPending)
	{
		QueryCancelPending = false;
		return "it was canceled";
	}
	return NULL;
}

/*
 * Interrupts are held off here, as in a wait for a synchronous standby: the
 * transaction is committed, and nothing may say otherwise.
 */
void
SealWaitAfterCommit(void)
{
	DatabaseSlot *slot;
	uint64		request;
	uint32		failures;
	const char *why = NULL;

	if (!commit_waits_for_seal || proc_exit_inprogress || MyBackendType != B_BACKEND)
		return;
	if (!SealRequest(&slot, &request, &failures))
		why = "there are too many databases";
	else
	{
		ConditionVariablePrepareToSleep(&slot->changed);
		while (!SealServed(slot, request) && why == NULL)
		{
			(void) ConditionVariableTimedSleep(&slot->changed, LOOK_MS, PG_WAIT_EXTENSION);
			why = signal_to_stop();
			if (why == NULL && pg_atomic_read_u32(&slot->failures) != failures)
				why = "sealing failed";
		}
		ConditionVariableCancelSleep();
		if (SealServed(slot, request))
			return;
	}
	ereport(WARNING,
			(errmsg("did not wait until the transaction's ledger entries are sealed: %s", why),
			 errdetail("The transaction has already committed.")));
}

typedef enum Sealed
{
	SEALED, SEALED_NO_SLOT, SEALED_FAILED, SEALED_LATE
} Sealed;

/* Wait, not longer than that, until a round that begins after the call has been committed. */
static Sealed
seal_now(int64 patience)
{
	TimestampTz give_up = GetCurrentTimestamp() + patience;
	DatabaseSlot *slot;
	uint64		request;
	uint32		failures;
	Sealed		result = SEALED;

	if (!SealRequest(&slot, &request, &failures))
		return SEALED_NO_SLOT;
	ConditionVariablePrepareToSleep(&slot->changed);
	while (result == SEALED && !SealServed(slot, request))
	{
		(void) ConditionVariableTimedSleep(&slot->changed, LOOK_MS, PG_WAIT_EXTENSION);
		if (pg_atomic_read_u32(&slot->failures) != failures)
			result = SEALED_FAILED;
		else if (GetCurrentTimestamp() > give_up && !SealServed(slot, request))
			result = SEALED_LATE;
	}
	ConditionVariableCancelSleep();
	return result;
}

void
SealIfPossible(void)
{
	uint8		root[ROOT_KEY_ID_LEN];

	if (!RecoveryInProgress() && LogPeek() != NULL && !LogIsOwn() && KeyringHasRoot(KEYRING_CURRENT, root))
		(void) seal_now(SEAL_TRY_US);
}

/* The tree's size then. */
Datum
bulwark_ledger_seal(PG_FUNCTION_ARGS)
{
	PreventCommandDuringRecovery("bulwark.ledger_seal()");
	if (LogPeek() == NULL)
		PG_RETURN_INT64(0);
	KeyringRequire();
	switch (seal_now(SEAL_TIMEOUT_US))
	{
		case SEALED:
			break;
		case SEALED_NO_SLOT:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("too many databases have a ledger")));
			break;
		case SEALED_FAILED:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("sealing failed"),
					 errdetail("The server log says why; it is tried again.")));
			break;
		case SEALED_LATE:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the ledger has not been sealed"),
					 errhint("See bulwark.ledger_status(), bulwark.max_workers and max_worker_processes.")));
			break;
	}
	PG_RETURN_INT64((int64) TreeSize());
}

void
WaitInit(void)
{
	DefineCustomBoolVariable("bulwark.commit_waits_for_seal",
							 "A commit returns when its ledger entries are sealed.",
							 NULL, &commit_waits_for_seal, false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
}
