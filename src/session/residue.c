/*
 * residue.c
 *		An identity leaves nothing in the session.  A pooled connection serves
 *		one tenant after another under one login, so an application login may
 *		not leave behind what the next one would run into: temporary objects
 *		that shadow tables, prepared statements, cursors that outlive their
 *		transaction, settings that decide what a name or a policy means, a new
 *		password of the login itself.
 *
 *		A statement that would is refused at once, and so is, for every login, a COMMIT in a
 *		loop over a query, which keeps the query's rows for what comes after it.  What no statement shows
 *		(set_config(), a function that creates in pg_temp) is refused when the
 *		transaction is about to commit.
 */
#include "session/session.h"

#include "access/xact.h"
#include "commands/prepare.h"
#include "executor/executor.h"
#include "nodes/parsenodes.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"

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

/* Settings that may not outlive a transaction once the session has had an identity. */
static const char *const bound_settings[] = {
	"search_path", "role", "row_security",
	"transform_null_equals",
	"debug_print_parse", "debug_print_rewritten", "debug_print_plan"
};

static struct config_generic *bound_records[lengthof(bound_settings)];

static ProcessUtility_hook_type prev_ProcessUtility = NULL;
static ExecutorRun_hook_type prev_ExecutorRun = NULL;

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

static bool
is_bound_setting(const char *name)
{
	for (int i = 0; i < lengthof(bound_settings); i++)
		if (name != NULL && pg_strcasecmp(name, bound_settings[i]) == 0)
			return true;
	return false;
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

				if (IdentityEverSet() && !set->is_local && is_bound_setting(set->name) &&
					(set->kind == VAR_SET_VALUE || set->kind == VAR_SET_CURRENT))
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

static bool
same_string(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/*
 * Will the setting have, after this transaction's commit, a value that is
 * neither its reset value nor the one from before?  What RESET gives stays
 * possible.
 */
static bool
setting_survives(struct config_generic *setting)
{
	GucStack   *stack = setting->stack;

	if (stack == NULL || (stack->state != GUC_SET && stack->state != GUC_SET_LOCAL))
		return false;

	if (setting->vartype == PGC_STRING)
	{
		struct config_string *string = (struct config_string *) setting;
		const char *kept = stack->state == GUC_SET ? *string->variable : stack->masked.val.stringval;

		return !same_string(kept, string->reset_val) && !same_string(kept, stack->prior.val.stringval);
	}
	else
	{
		struct config_bool *boolean = (struct config_bool *) setting;
		bool		kept = stack->state == GUC_SET ? *boolean->variable : stack->masked.val.boolval;

		Assert(setting->vartype == PGC_BOOL);
		return kept != boolean->reset_val && kept != stack->prior.val.boolval;
	}
}

/* What the transaction would leave behind if it committed, or NULL. */
static const char *
transaction_residue(const char **hint)
{
	if (MyXactFlags & XACT_FLAGS_ACCESSEDTEMPNAMESPACE)
	{
		*hint = HINT_NOT_SHARED;
		return "a temporary object";
	}
	for (int i = 0; i < lengthof(bound_settings) && IdentityEverSet(); i++)
	{
		if (setting_survives(bound_records[i]))
		{
			*hint = HINT_SET_LOCAL;
			return psprintf("a value of %s that outlives its transaction", bound_settings[i]);
		}
	}
	return NULL;
}

/* The last moment at which the transaction can be refused. */
static void
residue_xact(XactEvent event, void *arg)
{
	const char *residue;
	const char *hint;

	if ((event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE) ||
		session_state != SESSION_STATE_REFUSE)
		return;
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

	for (int i = 0; i < lengthof(bound_settings); i++)
		bound_records[i] = BwFindSetting(bound_settings[i]);

	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = residue_ProcessUtility;
	prev_ExecutorRun = ExecutorRun_hook;
	ExecutorRun_hook = residue_ExecutorRun;
	RegisterXactCallback(residue_xact, NULL);
}
