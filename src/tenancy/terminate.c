/*
 * terminate.c
 *		End the back ends that act under what has just been withdrawn.  A
 *		statement that runs already would finish otherwise; all later ones see
 *		the change by themselves.
 *
 *		It is done when, and only when, the withdrawal has committed: a wish of
 *		a rolled back savepoint or transaction is forgotten.
 */
#include "tenancy/admin.h"

#include <signal.h>

#include "access/xact.h"
#include "utils/memutils.h"

typedef struct Wish
{
	bool		any_principal;
	bool		any_tenant;
	pg_uuid_t	principal_id;
	pg_uuid_t	tenant_id;
	int			nest_level;
	struct Wish *next;
} Wish;

static Wish *wishes = NULL;		/* in TopTransactionContext, newest first */

static bool
concerns(const Wish *wish, const Identity *identity)
{
	return (wish->any_principal || UuidEquals(&wish->principal_id, &identity->principal_id)) &&
		(wish->any_tenant || UuidEquals(&wish->tenant_id, &identity->tenant_id));
}

static void
terminate(void)
{
	ListCell   *cell;

	foreach(cell, LiveIdentities())
	{
		LiveIdentity *live = lfirst(cell);

		if (live->pid == MyProcPid)
			continue;
		for (const Wish *wish = wishes; wish; wish = wish->next)
			if (concerns(wish, &live->identity))
			{
				(void) kill(live->pid, SIGTERM);
				break;
			}
	}
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (wishes == NULL)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that is to terminate sessions")));
			break;
		case XACT_EVENT_COMMIT:
			terminate();
			wishes = NULL;
			break;
		case XACT_EVENT_ABORT:
			wishes = NULL;
			break;
		default:
			break;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_ABORT_SUB)
		while (wishes && wishes->nest_level >= level)
			wishes = wishes->next;
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		for (Wish *wish = wishes; wish && wish->nest_level >= level; wish = wish->next)
			wish->nest_level = level - 1;
}

void
TerminateAtCommit(const pg_uuid_t *principal_id, const pg_uuid_t *tenant_id)
{
	static bool registered = false;
	Wish	   *wish = MemoryContextAllocZero(TopTransactionContext, sizeof(Wish));

	if (!registered)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		RegisterSubXactCallback(at_subtransaction_end, NULL);
		registered = true;
	}
	wish->any_principal = principal_id == NULL;
	wish->any_tenant = tenant_id == NULL;
	if (principal_id)
		wish->principal_id = *principal_id;
	if (tenant_id)
		wish->tenant_id = *tenant_id;
	wish->nest_level = GetCurrentTransactionNestLevel();
	wish->next = wishes;
	wishes = wish;
}
