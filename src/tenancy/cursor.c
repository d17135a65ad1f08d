/*
 * cursor.c
 *		A cursor outlives the check that opened it.
 *
 *		What an index scan looks for, and what a one-time filter let through, was
 *		worked out when the plan started: a membership revoked since would still
 *		be served by the next FETCH.  So a plan that reads protected tables goes
 *		on only under the rights that it was started with.  (When the identity has
 *		ended altogether, the session room lets it yield nothing more.)
 */
#include "tenancy/tenancy.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

typedef struct Started
{
	EState	   *estate;			/* hash key: first */
	uint64		rights;
} Started;

static HTAB *started = NULL;

static ExecutorStart_hook_type prev_ExecutorStart = NULL;
static ExecutorRun_hook_type prev_ExecutorRun = NULL;
static ExecutorEnd_hook_type prev_ExecutorEnd = NULL;

static bool
reads_protected(const PlannedStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind == RTE_RELATION && ProtectionOf(rte->relid) != NULL)
			return true;
	}
	return false;
}

static void
remember(QueryDesc *queryDesc)
{
	const EffectiveIdentity *current = IdentityPeek();
	Started    *entry;

	if (current == NULL || IsParallelWorker() || !reads_protected(queryDesc->plannedstmt))
		return;
	if (started == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = sizeof(EState *);
		ctl.entrysize = sizeof(Started);
		ctl.hcxt = TopMemoryContext;
		started = hash_create("bulwark running plans", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(started, &queryDesc->estate, HASH_ENTER, NULL);
	entry->rights = MembershipRights(current->membership);
}

/* Raise if the identity in force has other rights than the plan's. */
static void
check_rights(QueryDesc *queryDesc)
{
	const EffectiveIdentity *current;
	Started    *entry;

	if (started == NULL || hash_get_num_entries(started) == 0)
		return;
	entry = hash_search(started, &queryDesc->estate, HASH_FIND, NULL);
	if (entry == NULL)
		return;

	AcceptInvalidationMessages();
	IdentityBump();
	current = IdentityPeek();
	if (current != NULL && MembershipRights(current->membership) != entry->rights)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the identity's rights have changed since the statement or cursor was started"),
				 errhint("Run the statement, or open the cursor, again.")));
}

static void
cursor_ExecutorStart(QueryDesc *queryDesc, int eflags)
{
	if (prev_ExecutorStart)
		prev_ExecutorStart(queryDesc, eflags);
	else
		standard_ExecutorStart(queryDesc, eflags);
	remember(queryDesc);
}

static void
cursor_ExecutorRun(BW_RUN_PARAMS)
{
	check_rights(queryDesc);
	if (prev_ExecutorRun)
		prev_ExecutorRun(BW_RUN_ARGS);
	else
		standard_ExecutorRun(BW_RUN_ARGS);
}

static void
cursor_ExecutorEnd(QueryDesc *queryDesc)
{
	if (started != NULL)
		hash_search(started, &queryDesc->estate, HASH_REMOVE, NULL);
	if (prev_ExecutorEnd)
		prev_ExecutorEnd(queryDesc);
	else
		standard_ExecutorEnd(queryDesc);
}

/* What an error left behind; a later plan at the same address overwrites it. */
static void
cursor_xact(XactEvent event, void *arg)
{
	if ((event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE) &&
		started != NULL && hash_get_num_entries(started) > 0)
	{
		hash_destroy(started);
		started = NULL;
	}
}

void
CursorInit(void)
{
	prev_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = cursor_ExecutorStart;
	prev_ExecutorRun = ExecutorRun_hook;
	ExecutorRun_hook = cursor_ExecutorRun;
	prev_ExecutorEnd = ExecutorEnd_hook;
	ExecutorEnd_hook = cursor_ExecutorEnd;
	RegisterXactCallback(cursor_xact, NULL);
}
