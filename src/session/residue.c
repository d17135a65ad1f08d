/*
 * residue.c
 *		An identity leaves nothing in the session.  A pooled connection serves
 *		one tenant after another under one login, so an application login may
 *		not leave behind what the next one would run into: temporary objects
 *		that shadow tables, prepared statements, cursors and locks that outlive their
 *		transaction, settings that decide what a statement means, a new password of
 *		the login itself; nor a prepared transaction, which any session of the login
 *		may then commit or roll back.
 *
 *		A statement that would is refused at once, and so is, for every login, a COMMIT in a
 *		loop over a query, which keeps the query's rows for what comes after it.  What no statement shows
 *		(set_config(), a function that creates in pg_temp) is refused when the
 *		transaction is about to commit.
 */
#include "session/session.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "commands/prepare.h"
#include "executor/executor.h"
#include "nodes/parsenodes.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"
#include "utils/fmgroids.h"

typedef enum SessionState
{
	SESSION_STATE_REFUSE,
	SESSION_STATE_ALLOW
} SessionState;

static const struct config_enum_entry session_state_options[] = {
	{"refuse", SESSION_STATE_REFUSE, false},
	{"allow", SESSION_STATE_ALLOW, false},
	{NULL, 0, false}
};

static int	session_state = SESSION_STATE_REFUSE;

static ProcessUtility_hook_type prev_ProcessUtility = NULL;
static ExecutorRun_hook_type prev_ExecutorRun = NULL;
static object_access_hook_type prev_object_access = NULL;

BW_NORETURN static void refuse(const char *what, const char *hint);

static void
refuse(const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("%s is not allowed for an application login", what),
			 errdetail("The session may serve another tenant after this transaction."),
			 errhint("%s", hint)));
}

#define HINT_NOT_SHARED \
	"Where the connection is not shared, bulwark.session_state = allow in the configuration file permits it."
#define HINT_SET_LOCAL \
	"Use SET LOCAL, or set_config() with is_local => true."

/* Would this relation be created in the session's temporary schema? */
static bool
is_temporary(const RangeVar *rel)
{
	return rel->relpersistence == RELPERSISTENCE_TEMP ||
		(rel->schemaname != NULL && strncmp(rel->schemaname, "pg_temp", 7) == 0);
}

/* The relation that the statement creates, or NULL. */
static const RangeVar *
created_relation(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
			return ((CreateStmt *) stmt)->relation;
		case T_CreateTableAsStmt:
			return ((CreateTableAsStmt *) stmt)->into->rel;
		case T_CreateSeqStmt:
			return ((CreateSeqStmt *) stmt)->sequence;
		case T_ViewStmt:
			return ((ViewStmt *) stmt)->view;
		default:
			return NULL;
	}
}

/* Another's statement: any that this transaction has not prepared. */
static bool
is_older_statement(const DeallocateStmt *stmt)
{
	PreparedStatement *prepared;

	if (stmt->name == NULL)
		return true;
	prepared = FetchPreparedStatement(stmt->name, false);
	return prepared != NULL &&
		prepared->prepare_time < GetCurrentTransactionStartTimestamp();
}

/* Refuse a statement of an application login that would leave something. */
static void
check_statement(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_PrepareStmt:
			refuse("PREPARE", "Let the driver prepare statements through the protocol.");
			break;

		case T_DeallocateStmt:
			if (IdentityPeek() != NULL && is_older_statement((DeallocateStmt *) stmt))
				refuse("DEALLOCATE under an identity",
					   "Deallocate after the transaction, or let the driver close its statements through the protocol.");
			break;

		case T_DeclareCursorStmt:
			if (((DeclareCursorStmt *) stmt)->options & CURSOR_OPT_HOLD)
				refuse("a cursor WITH HOLD", HINT_NOT_SHARED);
			break;

		case T_ListenStmt:
			refuse("LISTEN", HINT_NOT_SHARED);
			break;

		case T_AlterRoleStmt:	/* every role may change its own password */
			refuse("changing a role", "Ask an administrator to change it.");
			break;

		case T_AlterRoleSetStmt:
		case T_AlterDatabaseSetStmt:
			refuse("changing the settings of later sessions", "Ask an administrator to change them.");
			break;

		case T_VariableSetStmt:
			{
				VariableSetStmt *set = (VariableSetStmt *) stmt;

				if (!set->is_local && (set->kind == VAR_SET_VALUE || set->kind == VAR_SET_CURRENT) &&
					SettingIsBound(set->name))
					refuse(psprintf("SET %s for the session", set->name), HINT_SET_LOCAL);
			}
			break;

		default:
			{
				const RangeVar *created = created_relation(stmt);

				if (created != NULL && is_temporary(created))
					refuse("creating a temporary object", HINT_NOT_SHARED);
			}
			break;
	}
}

static void
residue_ProcessUtility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					   ProcessUtilityContext context, ParamListInfo params,
					   QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	switch (nodeTag(pstmt->utilityStmt))
	{
		case T_PrepareStmt:
		case T_DeallocateStmt:
		case T_DeclareCursorStmt:
		case T_ListenStmt:
		case T_AlterRoleStmt:
		case T_AlterRoleSetStmt:
		case T_AlterDatabaseSetStmt:
		case T_VariableSetStmt:
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
		case T_CreateTableAsStmt:
		case T_CreateSeqStmt:
		case T_ViewStmt:
			if (session_state == SESSION_STATE_REFUSE && SessionIsApp())
				check_statement(pstmt->utilityStmt);
			break;
		default:
			break;
	}

	if (prev_ProcessUtility)
		prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

/*
 * Is a portal's query run to keep its rows past the end of the transaction?
 * That is how PostgreSQL commits inside a procedure that loops over a query.
 */
static bool
is_held(const QueryDesc *queryDesc)
{
	return queryDesc->dest->mydest == DestTuplestore && ActivePortal != NULL &&
		ActivePortal->queryDesc == queryDesc && ActivePortal->holdStore != NULL;
}

/* No login's: rows read as one would be fetched as the next. */
static void
residue_ExecutorRun(BW_RUN_PARAMS)
{
	if (session_state == SESSION_STATE_REFUSE && is_held(queryDesc) && IdentityCurrent() != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("COMMIT or ROLLBACK within a loop over a query, or with an open cursor, is not allowed under an identity"),
				 errdetail("The query's rows would outlive the identity that they were read as."),
				 errhint("Collect what to loop over in an array first.")));

	if (prev_ExecutorRun)
		prev_ExecutorRun(BW_RUN_ARGS);
	else
		standard_ExecutorRun(BW_RUN_ARGS);
}

/* Does it take an advisory lock that the session keeps? */
static bool
takes_session_lock(Oid function)
{
	switch (function)
	{
		case F_PG_ADVISORY_LOCK_INT8:
		case F_PG_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_TRY_ADVISORY_LOCK_INT8:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT8:
		case F_PG_ADVISORY_LOCK_INT4_INT4:
		case F_PG_ADVISORY_LOCK_SHARED_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_INT4_INT4:
		case F_PG_TRY_ADVISORY_LOCK_SHARED_INT4_INT4:
			return true;
		default:
			return false;
	}
}

static void
residue_object_access(ObjectAccessType access, Oid classid, Oid objectid, int subid, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classid, objectid, subid, arg);
	if (access == OAT_FUNCTION_EXECUTE && takes_session_lock(objectid) &&
		session_state == SESSION_STATE_REFUSE && IdentityOfTransaction() != NULL && SessionIsApp())
		refuse("an advisory lock of the session under an identity",
			   "Use pg_advisory_xact_lock(), or take it outside the identity's transaction.");
}

/* What the transaction would leave behind if it committed, or NULL. */
static const char *
transaction_residue(const char **hint)
{
	const char *setting;

	if (MyXactFlags & XACT_FLAGS_ACCESSEDTEMPNAMESPACE)
	{
		*hint = HINT_NOT_SHARED;
		return "a temporary object";
	}
	setting = SettingSurvivor();
	if (setting == NULL)
		return NULL;
	*hint = HINT_SET_LOCAL;
	return psprintf("a value of %s that outlives its transaction", setting);
}

/* The last moment at which the transaction can be refused. */
static void
residue_xact(XactEvent event, void *arg)
{
	const char *residue;
	const char *hint;

	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		SettingTransactionEnd();
	if ((event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE) ||
		session_state != SESSION_STATE_REFUSE)
		return;
	if (event == XACT_EVENT_PRE_PREPARE && IdentityOfTransaction() != NULL && SessionIsApp())
		refuse("PREPARE TRANSACTION under an identity",
			   "A transaction manager needs bulwark.session_state = allow in the configuration file.");
	residue = transaction_residue(&hint);
	if (residue != NULL && SessionIsApp())
		refuse(residue, hint);
}

void
ResidueInit(void)
{
	DefineCustomEnumVariable("bulwark.session_state",
							 "What an application login may leave in its session.",
							 "refuse: nothing that would reach the next tenant on a shared connection; allow: the connection is not shared.",
							 &session_state, SESSION_STATE_REFUSE, session_state_options,
							 PGC_SIGHUP, GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);

	SettingInit();
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = residue_ProcessUtility;
	prev_ExecutorRun = ExecutorRun_hook;
	ExecutorRun_hook = residue_ExecutorRun;
	prev_object_access = object_access_hook;
	object_access_hook = residue_object_access;
	RegisterXactCallback(residue_xact, NULL);
}
