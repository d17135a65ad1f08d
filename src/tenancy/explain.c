/*
 * explain.c
 *		An application login gets no EXPLAIN of a protected table, nor of our own,
 *		which views show a part of: a plan's estimates and counters are of all
 *		tenants' rows (see session/introspection.c).
 */
#include "tenancy/tenancy.h"

#include "executor/executor.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"

/* The depth of statements at which EXPLAIN starts what it explains; 0: none does. */
static int	explaining = 0;

static ProcessUtility_hook_type prev_ProcessUtility = NULL;
static ExecutorStart_hook_type prev_ExecutorStart = NULL;

static bool
has_others_rows(Oid relid)
{
	return ProtectionOf(relid) != NULL || IsPrivateRelation(relid);
}

static void
check_plan(const PlannedStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind == RTE_RELATION && has_others_rows(rte->relid) && IntrospectionRefused())
			RefuseIntrospection(psprintf("EXPLAIN of protected table \"%s\"", get_rel_name(rte->relid)),
								DETAIL_COUNTS_ROWS);
	}
}

/*
 * Whatever is explained starts here, be it a prepared statement or a function's
 * query that the planner took in; what else runs meanwhile is not shown.
 */
static void
explain_ExecutorStart(QueryDesc *queryDesc, int eflags)
{
	if (explaining > 0 && explaining == StatementDepth() &&
		((eflags & EXEC_FLAG_EXPLAIN_ONLY) != 0 || queryDesc->instrument_options != 0))
		check_plan(queryDesc->plannedstmt);

	if (prev_ExecutorStart)
		prev_ExecutorStart(queryDesc, eflags);
	else
		standard_ExecutorStart(queryDesc, eflags);
}

static void
explain_ProcessUtility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					   ProcessUtilityContext context, ParamListInfo params,
					   QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	int			outer = explaining;

	/* The session's own hook, which is below, counts this statement. */
	explaining = IsA(pstmt->utilityStmt, ExplainStmt) ? StatementDepth() + 1 : 0;
	PG_TRY();
	{
		if (prev_ProcessUtility)
			prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		else
			standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_FINALLY();
	{
		explaining = outer;
	}
	PG_END_TRY();
}

void
ExplainInit(void)
{
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = explain_ProcessUtility;
	prev_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = explain_ExecutorStart;
}
