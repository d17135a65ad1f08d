/*
 * aside.c
 *		Statements that want a database without sessions in it: the sealer's
 *		worker leaves, and none comes, as long as they run.
 */
#include "ledger/sealer.h"

#include "access/htup_details.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "utils/syscache.h"
#include "utils/wait_event.h"

#define PATIENCE_US		(INT64CONST(5) * USECS_PER_SEC)

static ProcessUtility_hook_type prev_ProcessUtility = NULL;

/* The database that a statement wants for itself; NULL: none. */
static const char *
wanted_database(Node *statement, bool *drops)
{
	ListCell   *cell;

	*drops = false;
	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			*drops = true;
			return ((DropdbStmt *) statement)->dbname;
		case T_RenameStmt:
			return ((RenameStmt *) statement)->renameType == OBJECT_DATABASE ?
				((RenameStmt *) statement)->subname : NULL;
		case T_AlterDatabaseStmt:
			foreach(cell, ((AlterDatabaseStmt *) statement)->options)
				if (strcmp(lfirst_node(DefElem, cell)->defname, "tablespace") == 0)
					return ((AlterDatabaseStmt *) statement)->dbname;
			return NULL;
		case T_CreatedbStmt:
			foreach(cell, ((CreatedbStmt *) statement)->options)
			{
				DefElem    *option = lfirst(cell);

				if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
					return defGetString(option);
			}
			return "template1";
		default:
			return NULL;
	}
}

static bool
is_template(Oid database)
{
	HeapTuple	row = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		result = HeapTupleIsValid(row) && ((Form_pg_database) GETSTRUCT(row))->datistemplate;

	if (HeapTupleIsValid(row))
		ReleaseSysCache(row);
	return result;
}

/* Who could only send the worker away is not served: as createdb() and the others ask. */
static bool
may_want(Node *statement, Oid database)
{
	if (BW_OWNS_DATABASE(database, GetUserId()))
		return !IsA(statement, CreatedbStmt) || have_createdb_privilege();
	return IsA(statement, CreatedbStmt) && have_createdb_privilege() && is_template(database);
}

/* Wait, for a while only, until the worker has left. */
static void
wait_for_worker(DatabaseSlot *slot)
{
	TimestampTz give_up = GetCurrentTimestamp() + PATIENCE_US;

	SlotWake(slot);
	ConditionVariablePrepareToSleep(&slot->changed);
	while (SlotWorker(slot) != 0 && GetCurrentTimestamp() < give_up)
		(void) ConditionVariableTimedSleep(&slot->changed, 50, PG_WAIT_EXTENSION);
	ConditionVariableCancelSleep();
}

static void
come_back(int code, Datum arg)
{
	DatabaseSlot *slot = (DatabaseSlot *) DatumGetPointer(arg);

	SlotAvoidEnd(slot);
	SlotWake(NULL);
}

static void
run_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
			DestReceiver *dest, QueryCompletion *qc)
{
	if (prev_ProcessUtility)
		prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

/* COMMIT PREPARED makes entries visible that another transaction had written. */
static bool
commits_prepared(Node *statement)
{
	return IsA(statement, TransactionStmt) &&
		((TransactionStmt *) statement)->kind == TRANS_STMT_COMMIT_PREPARED;
}

static void
aside_ProcessUtility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					 ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
					 DestReceiver *dest, QueryCompletion *qc)
{
	bool		dropped;
	const char *name = wanted_database(pstmt->utilityStmt, &dropped);
	bool		prepared = commits_prepared(pstmt->utilityStmt);
	Oid			database = name != NULL ? get_database_oid(name, true) : InvalidOid;
	DatabaseSlot *slot = OidIsValid(database) && may_want(pstmt->utilityStmt, database) ?
		SlotOf(database, true) : NULL;
	volatile bool drops = dropped;

	if (slot == NULL)
	{
		run_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		if (prepared)
			SealerWake();
		return;
	}

	SlotAvoid(slot);
	PG_ENSURE_ERROR_CLEANUP(come_back, PointerGetDatum(slot));
	{
		wait_for_worker(slot);
		run_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_END_ENSURE_ERROR_CLEANUP(come_back, PointerGetDatum(slot));
	come_back(0, PointerGetDatum(slot));
	if (drops)
		SlotRelease(database);
}

void
AsideInit(void)
{
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = aside_ProcessUtility;
}
