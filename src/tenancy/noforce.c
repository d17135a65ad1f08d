/*
 * noforce.c
 *		Row security stays forced in what a foreign key's query sets off.
 *
 *		PostgreSQL checks and follows foreign keys with queries that it runs as the
 *		table's owner and past FORCE ROW LEVEL SECURITY (SECURITY_NOFORCE_RLS), and
 *		so do we.  They have to: a cascade that policies bind would leave rows.  But
 *		that holds as long as the query does, also for what others wrote: triggers on
 *		the rows, functions in checks, domains, defaults, generated columns, indexes,
 *		casts and operators.  Whatever these read of tables of that owner would be all
 *		tenants', and a plan made for it would be kept and go on showing them.
 *
 *		A query is past row security once it is rewritten: nothing after that needs
 *		the mark any more.  So it is off while such a query is planned and run.  Only
 *		what rules put into the query is rewritten with it: that is refused.
 */
#include "tenancy/protect.h"

#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/planner.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

/* The depth of statements at which such a query runs; 0: none does. */
static int	running = 0;

static planner_hook_type prev_planner = NULL;
static ExecutorStart_hook_type prev_ExecutorStart = NULL;
static ExecutorRun_hook_type prev_ExecutorRun = NULL;
static ExecutorFinish_hook_type prev_ExecutorFinish = NULL;

typedef struct Marked
{
	Oid			userid;
	int			sec_context;
	int			running;
} Marked;

/* Is the mark set?  A database without the extension keeps PostgreSQL's ways. */
static inline bool
is_marked(void)
{
	return unlikely(InNoForceRLSOperation()) && OidIsValid(PrivateRelid(WATCHED_RELATION));
}

static void
take_mark(Marked *marked, int depth)
{
	GetUserIdAndSecContext(&marked->userid, &marked->sec_context);
	marked->running = running;
	running = depth;
	SetUserIdAndSecContext(marked->userid, marked->sec_context & ~SECURITY_NOFORCE_RLS);
}

static void
put_back_mark(const Marked *marked)
{
	running = marked->running;
	SetUserIdAndSecContext(marked->userid, marked->sec_context);
}

bool
RunsPastForce(void)
{
	return running > 0 && running == StatementDepth();
}

/* --- rules ---------------------------------------------------------------------- */

/* Would row security bind that role there, but for the mark? */
static bool
is_let_through(Oid relid, Oid userid, const Marked *marked)
{
	bool		result;

	if (check_enable_rls(relid, userid, true) != RLS_ENABLED)
		return false;
	SetUserIdAndSecContext(marked->userid, marked->sec_context);
	result = check_enable_rls(relid, userid, true) != RLS_ENABLED;
	SetUserIdAndSecContext(marked->userid, marked->sec_context & ~SECURITY_NOFORCE_RLS);
	return result;
}

/*
 * The query's own tables are read with the rights of who runs it, a rule's with
 * those of the rule's owner; OLD and NEW are in neither FROM nor the target.  Tables
 * of a view with security_invoker look like the query's own, which reads no views.
 */
static bool
check_rules(Node *node, void *marked)
{
	Query	   *query = (Query *) node;
	ListCell   *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, check_rules, marked);
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);
		Oid			owner = BW_QUERY_CHECK_AS_USER(query, rte);
		bool		used = rte->inFromCl || foreach_current_index(lc) + 1 == query->resultRelation;

		if (rte->relkind == RELKIND_VIEW ||
			(OidIsValid(owner) && used && (IsPrivateRelation(rte->relid) || is_let_through(rte->relid, owner, marked))))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a rule cannot use \"%s\" within the query of a foreign key", get_rel_name(rte->relid)),
					 errdetail("Row security would not be forced there, and changes of Bulwark's own tables not recorded."),
					 errhint("Use a trigger instead of the rule.")));
	}
	return query_tree_walker(query, check_rules, marked, 0);
}

/* --- hooks ------------------------------------------------------------------------ */

static PlannedStmt *
plan(Query *parse, const char *query_string, int cursorOptions, ParamListInfo boundParams)
{
	return prev_planner ? prev_planner(parse, query_string, cursorOptions, boundParams) :
		standard_planner(parse, query_string, cursorOptions, boundParams);
}

static PlannedStmt *
noforce_planner(Query *parse, const char *query_string, int cursorOptions, ParamListInfo boundParams)
{
	PlannedStmt *volatile result = NULL;
	Marked		marked;

	if (!is_marked())
		return plan(parse, query_string, cursorOptions, boundParams);
	take_mark(&marked, 0);
	PG_TRY();
	{
		(void) check_rules((Node *) parse, &marked);
		result = plan(parse, query_string, cursorOptions, boundParams);
	}
	PG_FINALLY();
	{
		put_back_mark(&marked);
	}
	PG_END_TRY();
	return result;
}

static void
start(QueryDesc *queryDesc, int eflags)
{
	if (prev_ExecutorStart)
		prev_ExecutorStart(queryDesc, eflags);
	else
		standard_ExecutorStart(queryDesc, eflags);
}

static void
noforce_ExecutorStart(QueryDesc *queryDesc, int eflags)
{
	Marked		marked;

	if (!is_marked())
	{
		start(queryDesc, eflags);
		return;
	}
	take_mark(&marked, 0);
	PG_TRY();
	{
		start(queryDesc, eflags);
	}
	PG_FINALLY();
	{
		put_back_mark(&marked);
	}
	PG_END_TRY();
}

static void
run(BW_RUN_PARAMS)
{
	if (prev_ExecutorRun)
		prev_ExecutorRun(BW_RUN_ARGS);
	else
		standard_ExecutorRun(BW_RUN_ARGS);
}

/* The session's hook, which is below, counts this statement. */
static void
noforce_ExecutorRun(BW_RUN_PARAMS)
{
	Marked		marked;

	if (!is_marked())
	{
		run(BW_RUN_ARGS);
		return;
	}
	take_mark(&marked, StatementDepth() + 1);
	PG_TRY();
	{
		run(BW_RUN_ARGS);
	}
	PG_FINALLY();
	{
		put_back_mark(&marked);
	}
	PG_END_TRY();
}

static void
finish(QueryDesc *queryDesc)
{
	if (prev_ExecutorFinish)
		prev_ExecutorFinish(queryDesc);
	else
		standard_ExecutorFinish(queryDesc);
}

static void
noforce_ExecutorFinish(QueryDesc *queryDesc)
{
	Marked		marked;

	if (!is_marked())
	{
		finish(queryDesc);
		return;
	}
	take_mark(&marked, StatementDepth() + 1);
	PG_TRY();
	{
		finish(queryDesc);
	}
	PG_FINALLY();
	{
		put_back_mark(&marked);
	}
	PG_END_TRY();
}

void
NoForceInit(void)
{
	prev_planner = planner_hook;
	planner_hook = noforce_planner;
	prev_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = noforce_ExecutorStart;
	prev_ExecutorRun = ExecutorRun_hook;
	ExecutorRun_hook = noforce_ExecutorRun;
	prev_ExecutorFinish = ExecutorFinish_hook;
	ExecutorFinish_hook = noforce_ExecutorFinish;
}
