/*
 * upkeep.c
 *		What rooms do now and then; a worker of the ledger lends itself for it.
 */
#include "base/base.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define MAX_UPKEEPS	8
#define EVERY_US	(INT64CONST(5) * USECS_PER_MINUTE)

static Upkeep upkeeps[MAX_UPKEEPS];
static int	nupkeeps = 0;
static TimestampTz done_at = 0;
static uint64 seen = 0;			/* of the requests, at the last run */

typedef struct Requests
{
	pg_atomic_uint64 made;
} Requests;

static Requests *requests = NULL;	/* in shared memory; NULL: not preloaded */
static bool soon = false;		/* this transaction asks for it */

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
UpkeepSoon(void)
{
	soon = true;
}

/* Not when it is prepared: then it is done in its turn. */
static void
at_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && soon && requests != NULL)
		pg_atomic_fetch_add_u64(&requests->made, 1);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		soon = false;
}

void
UpkeepRun(void)
{
	TimestampTz now = GetCurrentTimestamp();
	uint64		made = requests == NULL ? 0 : pg_atomic_read_u64(&requests->made);

	if (done_at != 0 && now - done_at < EVERY_US && made == seen)
		return;
	done_at = now;
	seen = made;
	for (int i = 0; i < nupkeeps; i++)
		run_one(upkeeps[i]);
}

static void
requests_init(void *piece)
{
	requests = piece;
	pg_atomic_init_u64(&requests->made, 0);
}

void
UpkeepInit(void)
{
	ShmemPieceRequest("bulwark upkeep", sizeof(Requests), (void **) &requests, requests_init);
	RegisterXactCallback(at_end, NULL);
}
