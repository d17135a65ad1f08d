/*
 * identity.c
 *		The identity in force.
 *
 * Every identity travels in one GUC, bulwark.ticket, whatever proved it: its
 * check hook builds the Identity, its assign hook installs it, and PostgreSQL's
 * own handling of SET LOCAL, savepoints, RESET and DISCARD does the rest.  A
 * ticket proves itself; authenticate() and assume() hand their result to the
 * check hook through a variable that is set only while they set the GUC.
 *
 * What the GUC carries is not yet in force.  An identity counts only in the
 * transaction in which it was checked (by local transaction id, so that a plain
 * SET, or a savepoint that restores an old value, revives nothing), only when it
 * is the transaction's first, until it expires, and while the tenancy room finds
 * a membership for it.  All that is looked at once per "epoch": the counter
 * moves at every statement, invalidation, assignment and transaction end.
 */
#include "session/session.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/planner.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/inval.h"
#include "utils/memutils.h"

/* What authenticate() and assume() set the GUC to; genuine only from within. */
#define HANDOVER_VALUE "(proved)"

typedef struct Carried
{
	LocalTransactionId lxid;	/* the transaction in which it was checked */
	Identity	identity;
} Carried;

uint64		IdentityEpoch = 1;
uint64		identity_checked_epoch = 0;
const EffectiveIdentity *identity_effective = NULL;

static char *ticket_setting = NULL;
static bool allow_session_identity = false;

static const MembershipOps *membership_ops = NULL;

static const Carried *carried = NULL;	/* the GUC's current extra */
static const Identity *handover = NULL;
static bool ever_set = false;

/* The transaction's first identity, its only one. */
static LocalTransactionId first_lxid = InvalidLocalTransactionId;
static Identity first;

static EffectiveIdentity effective;
static bool none_read = false;	/* the running top-level statement read no identity */
static int	statement_depth = 0;
static int	planner_depth = 0;
static PlannedStmt *top_statement = NULL;	/* what the executor runs at depth 1 ... */
static uint64 top_limit = 0;	/* ... up to how many rows; 0: to its end */

static ExecutorStart_hook_type prev_ExecutorStart = NULL;
static ExecutorRun_hook_type prev_ExecutorRun = NULL;
static ExecutorFinish_hook_type prev_ExecutorFinish = NULL;
static ProcessUtility_hook_type prev_ProcessUtility = NULL;
static planner_hook_type prev_planner = NULL;
static object_access_hook_type prev_object_access = NULL;

void
MembershipRegister(const MembershipOps *ops)
{
	membership_ops = ops;
}

const MembershipOps *
MembershipOperations(void)
{
	return membership_ops;
}

bool
IdentityEverSet(void)
{
	return ever_set;
}

int
StatementDepth(void)
{
	return statement_depth;
}

static bool
expression_contains(Node *node, void *wanted)
{
	if (node == NULL)
		return false;
	if (node == wanted)
		return true;
	return expression_tree_walker(node, expression_contains, wanted);
}

static bool
is_top_level_expression(Node *expr)
{
	if (expr == NULL || top_statement == NULL)
		return false;
	for (Plan *plan = top_statement->planTree; plan != NULL; plan = plan->lefttree)
	{
		if (expression_contains((Node *) plan->targetlist, expr) ||
			expression_contains((Node *) plan->qual, expr) ||
			(IsA(plan, FunctionScan) &&
			 expression_contains((Node *) ((FunctionScan *) plan)->functions, expr)))
			return true;
	}
	return false;
}

/*
 * Does the executor run a client's SELECT, to its end?  Not a trigger that was deferred
 * to the commit, nor a cursor that is kept beyond it, nor what a portal leaves off after
 * some rows: other statements may come before the commit then.
 */
static bool
is_whole_select(void)
{
	return top_statement != NULL && top_limit == 0 && ActivePortal != NULL &&
		ActivePortal->strategy == PORTAL_ONE_SELECT &&
		!(ActivePortal->cursorOptions & CURSOR_OPT_HOLD) &&
		linitial(ActivePortal->stmts) == top_statement;
}

/* The second in a pipeline is in one transaction with the first. */
bool
CalledInAutocommit(FunctionCallInfo fcinfo)
{
	return !IsInTransactionBlock(is_whole_select()) && is_top_level_expression(fcinfo->flinfo->fn_expr);
}

void
CommitAtOnce(void)
{
	MyXactFlags |= XACT_FLAGS_NEEDIMMEDIATECOMMIT;
}

const Identity *
IdentityOfTransaction(void)
{
	return MyProc != NULL && first_lxid == BW_LXID(MyProc) &&
		first_lxid != InvalidLocalTransactionId ? &first : NULL;
}

void
RefuseToken(const char *cause)
{
	AuditEvent	event = {
		.action = "authenticate",
		.entity_type = "token",
		.detail = AuditDetail("outcome", "refused", "cause", cause, NULL),
		.durability = AUDIT_SURVIVES,
	};

	AuditEmit(&event);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("token or ticket refused"),
			 errdetail_log("%s", cause)));
}

/* One person in one tenant with one reach, however often proved. */
static bool
same_identity(const Identity *a, const Identity *b)
{
	return memcmp(&a->principal_id, &b->principal_id, sizeof(pg_uuid_t)) == 0 &&
		memcmp(&a->tenant_id, &b->tenant_id, sizeof(pg_uuid_t)) == 0 &&
		a->proof == b->proof &&
		a->scoped == b->scoped &&
		strcmp(a->scope, b->scope) == 0 &&
		strcmp(a->assumed_by, b->assumed_by) == 0;
}

/* Does the transaction's first identity stand against this one? */
static bool
contradicts_first(const Identity *identity)
{
	return first_lxid == BW_LXID(MyProc) && !same_identity(&first, identity);
}

/* Is the carried identity one of this transaction (or allowed to outlive it)? */
static bool
carried_is_current(void)
{
	return carried != NULL &&
		(allow_session_identity || carried->lxid == BW_LXID(MyProc));
}

/* The identity that may take effect, without asking for its membership. */
static const Identity *
candidate(TimestampTz now)
{
	static Identity leader;
	static bool leader_read = false;
	static bool leader_has = false;

	if (IsParallelWorker())
	{
		if (!leader_read)
		{
			leader_has = SlotOfLeader(&leader);
			leader_read = true;
		}
		return leader_has ? &leader : NULL;
	}
	if (!carried_is_current() || contradicts_first(&carried->identity) ||
		now >= carried->identity.expires_at)
		return NULL;
	return &carried->identity;
}

/* Look again at everything that the identity depends on. */
static void
look_again(void)
{
	uint64		epoch = IdentityEpoch;
	const Identity *identity = NULL;
	const void *membership = NULL;

	identity_effective = NULL;
	if (IsTransactionState() && membership_ops != NULL)
		identity = candidate(GetCurrentTimestamp());

	if (identity != NULL && StandbyIsFresh() &&
		(identity->proof != PROOF_TOKEN ||
		 IssuerKeyValid(&identity->issuer_id, identity->issuer_key)))
		membership = membership_ops->resolve(identity);

	if (membership != NULL)
	{
		effective.identity = *identity;
		effective.membership = membership;
		if (first_lxid != BW_LXID(MyProc))
		{
			if (!IsParallelWorker())
				AuditActsInForce(&identity->tenant_id);
			first = *identity;
			first_lxid = BW_LXID(MyProc);
		}
		identity_effective = &effective;
	}
	if (!IsParallelWorker())
		SlotPublish(membership != NULL ? &effective.identity : NULL);
	identity_checked_epoch = epoch;
}

const EffectiveIdentity *
IdentityPeek(void)
{
	if (identity_checked_epoch != IdentityEpoch)
		look_again();
	return identity_effective;
}

const EffectiveIdentity *
IdentityRefresh(void)
{
	if (IdentityPeek() == NULL && statement_depth > 0 && planner_depth == 0)
		none_read = true;
	return identity_effective;
}

/* May this identity be set here and now?  Raises if not. */
static void
check_may_set(const Identity *identity)
{
	if (contradicts_first(identity))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this transaction already has an identity"),
				 errhint("An identity is bound to its transaction: commit or roll back before another is set.")));
	if (none_read && statement_depth > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the running statement has already read without an identity"),
				 errhint("Set the identity in a statement of its own, before the first that reads.")));
}

/*
 * The check hook may run without a transaction (a client's start-up options, a
 * parallel worker that restores its leader's settings).
 */
static bool
check_ticket(char **newval, void **extra, GucSource source)
{
	Carried    *checked;
	Identity	identity;

	if (*newval == NULL || **newval == '\0')
		return true;

	/* A worker reads its leader's slot; the restored value means nothing. */
	if (IsParallelWorker())
		return true;

	if (handover != NULL && strcmp(*newval, HANDOVER_VALUE) == 0)
		identity = *handover;
	else
	{
		const char *cause;

		if (source != PGC_S_SESSION || !IsTransactionState())
		{
			GUC_check_errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION);
			GUC_check_errmsg("token or ticket refused");
			GUC_check_errhint("A ticket can only be set in a transaction, with SET LOCAL or set_config().");
			return false;
		}
		cause = TicketOpen(*newval, &identity);
		if (cause == NULL && GetCurrentTimestamp() >= identity.expires_at)
			cause = "the ticket has expired";
		if (cause == NULL && identity.proof == PROOF_TOKEN &&
			!IssuerKeyValid(&identity.issuer_id, identity.issuer_key))
			cause = "the issuer or its key is gone";
		if (cause == NULL && membership_ops->resolve(&identity) == NULL)
			cause = "the ticket's principal has no such membership any more";
		if (cause != NULL)
			RefuseToken(cause);
	}

	check_may_set(&identity);
	AuditActsInForce(&identity.tenant_id);

	checked = BW_GUC_ALLOC(sizeof(Carried));
	if (checked == NULL)
		return false;
	checked->lxid = BW_LXID(MyProc);
	checked->identity = identity;
	*extra = checked;
	return true;
}

/* Must not fail: also called while a transaction ends or aborts. */
static void
assign_ticket(const char *newval, void *extra)
{
	carried = extra;
	IdentityBump();
	if (carried == NULL)
		SlotPublish(NULL);
	else
	{
		ever_set = true;
		if (first_lxid != BW_LXID(MyProc) && carried->lxid == BW_LXID(MyProc))
		{
			first = carried->identity;
			first_lxid = carried->lxid;
		}
	}
}

static const char *
show_ticket(void)
{
	return carried != NULL ? "(set)" : "";
}

void
IdentitySet(const Identity *identity, bool is_local)
{
	if (!is_local && !allow_session_identity)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("an identity for the whole session is not allowed here"),
				 errhint("Use is_local => true in a transaction, or set bulwark.allow_session_identity in the configuration file.")));

	handover = identity;
	PG_TRY();
	{
		(void) set_config_option("bulwark.ticket", HANDOVER_VALUE, PGC_USERSET, PGC_S_SESSION,
								 is_local ? GUC_ACTION_LOCAL : GUC_ACTION_SET, true, 0, false);
	}
	PG_FINALLY();
	{
		handover = NULL;
	}
	PG_END_TRY();
}

void
IdentityRelease(void)
{
	(void) set_config_option("bulwark.ticket", "", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SET, true, 0, false);
}

/* --- statements -------------------------------------------------------------- */

/*
 * A new statement, or the continuation of one: take note of what others have
 * committed (a back end that holds a table's lock already would not by itself),
 * and of the time.
 */
static void
statement_boundary(bool begins)
{
	if (begins && statement_depth == 0)
		none_read = false;
	if (begins)
		IntrospectionBegin();
	if (IsTransactionState())
		AcceptInvalidationMessages();
	IdentityBump();
	/* Workers started by this statement read our slot: keep it true. */
	if (carried != NULL && statement_depth == 0 && IsTransactionState() &&
		!IsAbortedTransactionBlockState())
		(void) IdentityPeek();
}

static void
identity_ExecutorStart(QueryDesc *queryDesc, int eflags)
{
	statement_boundary(true);
	if (prev_ExecutorStart)
		prev_ExecutorStart(queryDesc, eflags);
	else
		standard_ExecutorStart(queryDesc, eflags);
}

/*
 * A portal that goes on (FETCH, a loop over a query) after its transaction's
 * identity has ended: what a sort or a hash table keeps was that identity's.
 */
static bool
has_outlived_identity(QueryDesc *queryDesc)
{
	return queryDesc->already_executed && first_lxid == BW_LXID(MyProc) && !IsParallelWorker() &&
		IdentityPeek() == NULL;
}

/* Nothing more comes of it. */
static void
run_empty(QueryDesc *queryDesc)
{
	queryDesc->estate->es_processed = 0;
	if (queryDesc->operation == CMD_SELECT || queryDesc->plannedstmt->hasReturning)
	{
		queryDesc->dest->rStartup(queryDesc->dest, queryDesc->operation, queryDesc->tupDesc);
		queryDesc->dest->rShutdown(queryDesc->dest);
	}
}

static void
identity_ExecutorRun(BW_RUN_PARAMS)
{
	statement_boundary(false);
	if (has_outlived_identity(queryDesc))
	{
		run_empty(queryDesc);
		return;
	}
	if (statement_depth == 0)
	{
		top_statement = queryDesc->plannedstmt;
		top_limit = count;
	}
	statement_depth++;
	PG_TRY();
	{
		if (prev_ExecutorRun)
			prev_ExecutorRun(BW_RUN_ARGS);
		else
			standard_ExecutorRun(BW_RUN_ARGS);
	}
	PG_FINALLY();
	{
		statement_depth--;
		if (statement_depth == 0)
			top_statement = NULL;
	}
	PG_END_TRY();
}

static void
identity_ExecutorFinish(QueryDesc *queryDesc)
{
	statement_depth++;
	PG_TRY();
	{
		if (prev_ExecutorFinish)
			prev_ExecutorFinish(queryDesc);
		else
			standard_ExecutorFinish(queryDesc);
	}
	PG_FINALLY();
	{
		statement_depth--;
	}
	PG_END_TRY();
}

static void
identity_ProcessUtility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
						ProcessUtilityContext context, ParamListInfo params,
						QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	statement_boundary(true);
	statement_depth++;
	PG_TRY();
	{
		if (prev_ProcessUtility)
			prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		else
			standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_FINALLY();
	{
		statement_depth--;
	}
	PG_END_TRY();
}

/* Estimates evaluate STABLE accessors: that is not reading. */
static PlannedStmt *
identity_planner(Query *parse, const char *query_string, int cursorOptions, ParamListInfo boundParams)
{
	PlannedStmt *result;

	IntrospectionBegin();
	planner_depth++;
	PG_TRY();
	{
		if (prev_planner)
			result = prev_planner(parse, query_string, cursorOptions, boundParams);
		else
			result = standard_planner(parse, query_string, cursorOptions, boundParams);
	}
	PG_FINALLY();
	{
		planner_depth--;
	}
	PG_END_TRY();
	return result;
}

/* The protocol's function call runs no statement: it is one by itself. */
static void
identity_object_access(ObjectAccessType access, Oid classid, Oid objectid, int subid, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classid, objectid, subid, arg);
	if (access == OAT_FUNCTION_EXECUTE && debug_query_string == NULL && statement_depth == 0 &&
		whereToSendOutput == DestRemote)
		statement_boundary(true);
}

static void
identity_xact(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			first_lxid = InvalidLocalTransactionId;
			none_read = false;
			IdentityBump();
			SlotPublish(NULL);
			break;
		default:
			break;
	}
}

/* A savepoint rolled back may have undone a membership of this transaction's. */
static void
identity_subxact(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		IdentityBump();
}

void
SessionInit(void)
{
	DefineCustomStringVariable("bulwark.ticket",
							   "The ticket that proves who acts in this transaction.",
							   "Genuine tickets only; never shown. Use set_config('bulwark.ticket', $1, true) with a bound parameter.",
							   &ticket_setting, "", PGC_USERSET,
							   GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE | GUC_NO_SHOW_ALL,
							   check_ticket, assign_ticket, show_ticket);
	DefineCustomBoolVariable("bulwark.allow_session_identity",
							 "Allows identities that outlive their transaction.",
							 "Only for connections that are never shared.",
							 &allow_session_identity, false, PGC_SIGHUP,
							 GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);

	LiveInit();
	StandbyInit();
	TicketInit();
	AnnotateInit();
	IssuerInit();
	IssuerCacheInit();

	prev_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = identity_ExecutorStart;
	prev_ExecutorRun = ExecutorRun_hook;
	ExecutorRun_hook = identity_ExecutorRun;
	prev_ExecutorFinish = ExecutorFinish_hook;
	ExecutorFinish_hook = identity_ExecutorFinish;
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = identity_ProcessUtility;
	prev_planner = planner_hook;
	planner_hook = identity_planner;
	prev_object_access = object_access_hook;
	object_access_hook = identity_object_access;

	RegisterXactCallback(identity_xact, NULL);
	RegisterSubXactCallback(identity_subxact, NULL);

	ResidueInit();
	HideInit();
	IntrospectionInit();
}
