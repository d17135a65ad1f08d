/*
 * upkeep.c
 *		What rooms do now and then; a worker of the ledger lends itself for it.
 */
#include "base/base.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define MAX_UPKEEPS	8
#define EVERY_US	(INT64CONST(5) * USECS_PER_MINUTE)

static Upkeep upkeeps[MAX_UPKEEPS];
static int	nupkeeps = 0;
static TimestampTz done_at = 0;

void
UpkeepRegister(Upkeep upkeep)
{
	if (nupkeeps == MAX_UPKEEPS)
		elog(ERROR, "too many kinds of upkeep");
	upkeeps[nupkeeps++] = upkeep;
}

static void
run_one(Upkeep upkeep)
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		upkeep();
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		if (ProcDiePending)
			PG_RE_THROW();
		HOLD_INTERRUPTS();
		EmitErrorReport();
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
}

void
UpkeepRun(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (done_at != 0 && now - done_at < EVERY_US)
		return;
	done_at = now;
	for (int i = 0; i < nupkeeps; i++)
		run_one(upkeeps[i]);
}
