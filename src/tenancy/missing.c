/*
 * missing.c
 *		What happens to a statement without an identity.  By default protected
 *		rows are hidden, which a migration or a refresh may take for "there are
 *		none"; bulwark.missing_identity = error says so instead.
 */
#include "tenancy/tenancy.h"

#include "executor/executor.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

typedef enum MissingIdentity
{
	MISSING_HIDE,
	MISSING_ERROR
} MissingIdentity;

static const struct config_enum_entry missing_options[] = {
	{"hide", MISSING_HIDE, false},
	{"error", MISSING_ERROR, false},
	{NULL, 0, false}
};

static int	missing_identity = MISSING_HIDE;
static ExecutorStart_hook_type prev_ExecutorStart = NULL;

/* Raise if row security would hide a protected table's rows from nobody. */
static void
check_relations(const PlannedStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		if (rte->rtekind != RTE_RELATION || ProtectionOf(rte->relid) == NULL ||
			check_enable_rls(rte->relid, BW_CHECK_AS_USER(stmt, rte), true) != RLS_ENABLED)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("no identity is in force to read protected table \"%s\"",
						get_rel_name(rte->relid)),
				 errhint("Authenticate first, or run it as a member of %s.", ROLE_MAINTENANCE)));
	}
}

static void
missing_ExecutorStart(QueryDesc *queryDesc, int eflags)
{
	if (missing_identity == MISSING_ERROR &&
		!(eflags & EXEC_FLAG_EXPLAIN_ONLY) && IdentityPeek() == NULL)
		check_relations(queryDesc->plannedstmt);

	if (prev_ExecutorStart)
		prev_ExecutorStart(queryDesc, eflags);
	else
		standard_ExecutorStart(queryDesc, eflags);
}

void
MissingInit(void)
{
	DefineCustomEnumVariable("bulwark.missing_identity",
							 "What a statement without an identity does with protected tables: hide their rows, or raise an error.",
							 NULL, &missing_identity, MISSING_HIDE, missing_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	prev_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = missing_ExecutorStart;
}
