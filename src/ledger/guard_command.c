/*
 * guard_command.c
 *		The utility hook: commands that the object access hook is not told of, or
 *		only after other errors that would say less.
 */
#include "ledger/guard.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_shdepend.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "commands/tablecmds.h"
#include "commands/tablespace.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

static bool refuse_drop_database = false;
static GuardMode mode = GUARD_REFUSES;
static ProcessUtility_hook_type prev_ProcessUtility = NULL;

GuardMode
GuardCommandMode(void)
{
	return mode;
}

static Oid
named_relation(const RangeVar *name)
{
	return name ? RangeVarGetRelid(name, NoLock, true) : InvalidOid;
}

static bool
is_ours(const char *schema_or_extension)
{
	return strcmp(schema_or_extension, BULWARK_SCHEMA) == 0 || strcmp(schema_or_extension, BULWARK_PRIVATE_SCHEMA) == 0;
}

/* --- ALTER TABLE ----------------------------------------------------------------- */

static bool
is_among(const AlterTableCmd *cmd, const AlterTableType *types, int n)
{
	for (int i = 0; i < n; i++)
		if (cmd->subtype == types[i])
			return true;
	return false;
}

static bool
any_subcommand(const AlterTableStmt *stmt, const AlterTableType *types, int n)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
		if (is_among(lfirst_node(AlterTableCmd, lc), types, n))
			return true;
	return false;
}

static bool
only_subcommands(const AlterTableStmt *stmt, const AlterTableType *types, int n)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
		if (!is_among(lfirst_node(AlterTableCmd, lc), types, n))
			return false;
	return true;
}

/* Ours on an audited table, by name.  (All of them switched: altered.c.) */
static void
check_named_triggers(const AlterTableStmt *stmt, Oid relid)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		DdlPart		part = {.relid = relid};

		if (cmd->subtype != AT_DisableTrig && cmd->subtype != AT_EnableTrig && cmd->subtype != AT_EnableReplicaTrig)
			continue;
		namestrcpy(&part.name, cmd->name);
		if (IsCaptureTrigger(&part) && OidIsValid(get_trigger_oid(relid, cmd->name, true)))
			RefuseTriggerChange(&part, "switching");
	}
}

/* Changes of a table that nothing else tells of. */
static const AlterTableType silent[] = {AT_ReplicaIdentity, AT_SetIdentity};

/*
 * How the rows of audited tables are to be read, as long as the catalogs say it: a
 * change of a column's type forgets the values of columns that came without a
 * rewrite before it tells us.  Locks as the command itself does.
 */
static void
keep_rows(AlterTableStmt *stmt, Oid relid)
{
	LOCKMODE	lockmode = AlterTableGetLockLevel(stmt->cmds);
	bool		audited = false;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
		audited = audited || AuditedOf(lfirst_oid(lc)) != NULL;
	if (!audited)
		return;
	relid = AlterTableLookupRelation(stmt, lockmode);
	if (!OidIsValid(relid))
		return;
	if (AuditedOf(relid) != NULL && any_subcommand(stmt, silent, lengthof(silent)))
		AlteredNote(relid, ALTERED_DEFINITION, InvalidOid);
	foreach(lc, stmt->relation->inh ? find_all_inheritors(relid, lockmode, NULL) : list_make1_oid(relid))
		if (AuditedOf(lfirst_oid(lc)) != NULL)
			AlteredKeepRows(lfirst_oid(lc));
}

/*
 * What keeps writers out keeps them out until its transaction ends, so that is to be
 * the command's own.
 */
static void
require_own_transaction(Oid relid, bool top_level, const char *what)
{
	if (OidIsValid(relid) && OidIsValid(LedgerTableOf(relid)) && !GuardOff())
		PreventInTransactionBlock(top_level, what);
}

/* What row security, replica identity and others change has no event of its own.
 * True: skip the command. */
static bool
check_alter_table(AlterTableStmt *stmt, bool top_level)
{
	static const AlterTableType all_triggers[] = {
		AT_DisableTrigAll, AT_DisableTrigUser, AT_EnableTrigAll, AT_EnableTrigUser
	};
	static const AlterTableType tablespace[] = {AT_SetTableSpace};
	static const AlterTableType storage[] = {
		AT_DisableTrigAll, AT_DisableTrigUser, AT_EnableTrigAll, AT_EnableTrigUser, AT_SetTableSpace,
		AT_SetRelOptions, AT_ResetRelOptions, AT_SetStatistics, AT_ClusterOn, AT_DropCluster
	};
	Oid			relid = named_relation(stmt->relation);

	if (!OidIsValid(relid) || GuardOff())
		return false;
	check_named_triggers(stmt, relid);
	/* a default of a view's column is no change of the view to the hook on definitions */
	if (get_rel_relkind(relid) == RELKIND_VIEW && IsLedgerMember(RelationRelationId, relid))
		RefuseLedgerDefinition("altering a view of bulwark");
	if (!OidIsValid(LedgerTableOf(relid)))
	{
		if (OidIsValid(OwnTableOf(relid)))
		{
			/* pg_restore --disable-triggers goes on, and is recorded (catalog.c) */
			if (!only_subcommands(stmt, storage, lengthof(storage)))
				RefuseOwnChange("ALTER TABLE", OwnTableOf(relid));
			mode = GUARD_MAINTAINS;
		}
		else if (stmt->objtype == OBJECT_TABLE)
			keep_rows(stmt, relid);
		return false;
	}
	relid = LedgerTableOf(relid);
	if (only_subcommands(stmt, all_triggers, lengthof(all_triggers)))
	{
		/* pg_restore --disable-triggers goes on */
		ereport(NOTICE,
				(errmsg("triggers of ledger table \"%s\" stay enabled always", get_rel_name(relid))));
		return true;
	}
	if (!only_subcommands(stmt, tablespace, lengthof(tablespace)))
		RefuseLedgerChange("ALTER TABLE", relid);
	require_own_transaction(relid, top_level, "SET TABLESPACE of a ledger relation");
	mode = GUARD_MAINTAINS;
	return false;
}

/* --- maintenance ------------------------------------------------------------------ */

/* Are ledger relations in it? */
static bool
tablespace_has_ledger(const char *name)
{
	Oid			tablespace = get_tablespace_oid(name, true);
	ListCell   *lc;

	if (!OidIsValid(tablespace) || !OidIsValid(LedgerExtension()))
		return false;
	foreach(lc, LedgerTables())
	{
		Oid			its = get_rel_tablespace(lfirst_oid(lc));

		if (its == tablespace || (its == InvalidOid && tablespace == MyDatabaseTableSpace))
			return true;
	}
	return false;
}

static void
check_maintenance(Node *stmt, bool top_level)
{
	if (IsA(stmt, ReindexStmt))
		require_own_transaction(named_relation(((ReindexStmt *) stmt)->relation), top_level, "REINDEX of a ledger relation");
	else if (IsA(stmt, ClusterStmt))
		require_own_transaction(named_relation(((ClusterStmt *) stmt)->relation), top_level, "CLUSTER of a ledger relation");
	else if (IsA(stmt, AlterTableMoveAllStmt) && tablespace_has_ledger(((AlterTableMoveAllStmt *) stmt)->orig_tablespacename) &&
			 !GuardOff())
		PreventInTransactionBlock(top_level, "ALTER TABLE ALL IN TABLESPACE of ledger relations");
}

/* --- DROP -------------------------------------------------------------------------- */

/* Say it before PostgreSQL says only that the extension requires the object. */
static void
check_drop(const DropStmt *stmt)
{
	ListCell   *lc;

	if (GuardOff())
		return;
	foreach(lc, stmt->objects)
	{
		Node	   *object = lfirst(lc);
		Oid			relid = InvalidOid;

		switch (stmt->removeType)
		{
			case OBJECT_EXTENSION:
				if (get_extension_oid(strVal(object), true) == LedgerExtension() && !MayDecommission())
					RefuseLedgerDefinition("DROP EXTENSION");
				break;
			case OBJECT_SCHEMA:
				if (OidIsValid(LedgerExtension()) && is_ours(strVal(object)))
					RefuseLedgerDefinition("DROP SCHEMA");
				break;
			case OBJECT_FUNCTION:
			case OBJECT_PROCEDURE:
			case OBJECT_ROUTINE:
			case OBJECT_AGGREGATE:
				if (IsLedgerMember(ProcedureRelationId,
								   LookupFuncWithArgs(stmt->removeType, castNode(ObjectWithArgs, object), true)))
					RefuseLedgerDefinition("dropping a function of bulwark");
				break;
			case OBJECT_TABLE:
			case OBJECT_SEQUENCE:
			case OBJECT_INDEX:
				relid = LedgerTableOf(named_relation(makeRangeVarFromNameList(castNode(List, object))));
				break;
			default:
				break;
		}
		if (OidIsValid(relid))
			RefuseLedgerChange("DROP", relid);
	}
	if ((stmt->removeType == OBJECT_EXTENSION || stmt->behavior == DROP_CASCADE) && MayDecommission())
		mode = GUARD_DROPS;
}

/*
 * Does the database have the extension?  Our roles hold privileges on functions of
 * such a one, and what is granted to roles is known to the whole cluster.
 */
static bool
has_bulwark(Oid database)
{
	Relation	catalog;
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;
	Oid			admin = get_role_oid(ROLE_ADMIN, true);

	if (!OidIsValid(admin))
		return false;
	catalog = table_open(SharedDependRelationId, AccessShareLock);
	ScanKeyInit(&key[0], Anum_pg_shdepend_refclassid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(AuthIdRelationId));
	ScanKeyInit(&key[1], Anum_pg_shdepend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(admin));
	scan = systable_beginscan(catalog, SharedDependReferenceIndexId, true, NULL, 2, key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_shdepend form = (Form_pg_shdepend) GETSTRUCT(tuple);

		found = form->dbid == database && form->classid == ProcedureRelationId;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

static void
check_drop_database(const DropdbStmt *stmt)
{
	if (refuse_drop_database && has_bulwark(get_database_oid(stmt->dbname, true)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("database \"%s\" has a ledger and is not dropped", stmt->dbname),
				 errhint("bulwark.refuse_drop_database is on in the configuration file.")));
}

/* --- others -------------------------------------------------------------------------- */

static void
check_grant(const GrantStmt *stmt)
{
	ListCell   *lc;

	if (stmt->objtype != OBJECT_TABLE && stmt->objtype != OBJECT_SEQUENCE)
		return;
	foreach(lc, stmt->objects)
	{
		Oid			relid = InvalidOid;

		if (stmt->targtype == ACL_TARGET_OBJECT)
			relid = LedgerTableOf(named_relation(lfirst_node(RangeVar, lc)));
		else if (stmt->targtype == ACL_TARGET_ALL_IN_SCHEMA &&
				 strcmp(strVal(lfirst(lc)), BULWARK_PRIVATE_SCHEMA) == 0)
			relid = PrivateRelid("ledger_log");
		if (OidIsValid(relid) && !GuardOff())
			RefuseLedgerChange(stmt->is_grant ? "GRANT" : "REVOKE", relid);
	}
}

/*
 * ALTER EXTENSION ADD, ALTER ... DEPENDS ON EXTENSION: another extension's, it would not be
 * dumped as ours, and go when that goes.  (Taking it back is welcome.)
 */
static void
check_adoption(ObjectAddress object, Relation rel)
{
	Oid			relid;

	if (rel != NULL)
		relation_close(rel, NoLock);
	if (!OidIsValid(object.objectId) || GuardOff() ||
		(!GoesWithLedger(object.classId, object.objectId, &relid) && !IsLedgerMember(object.classId, object.objectId)))
		return;
	if (OidIsValid(relid))
		RefuseOwnChange("giving to another extension", relid);
	RefuseLedgerDefinition("giving what belongs to bulwark to another extension");
}

static void
check_extension_contents(const AlterExtensionContentsStmt *stmt)
{
	Relation	rel = NULL;
	ObjectAddress object;

	if (strcmp(stmt->extname, BULWARK_SCHEMA) == 0)
	{
		if (!GuardOff())
			RefuseLedgerDefinition("ALTER EXTENSION ADD or DROP");
	}
	else if (stmt->action > 0)
	{
		object = get_object_address(stmt->objtype, stmt->object, &rel, AccessShareLock, true);
		check_adoption(object, rel);
	}
}

static void
check_depends(const AlterObjectDependsStmt *stmt)
{
	Relation	rel = NULL;
	ObjectAddress object;

	if (stmt->remove)
		return;
	object = get_object_address_rv(stmt->objectType, stmt->relation, (List *) stmt->object, &rel, AccessShareLock, true);
	check_adoption(object, rel);
}

/* Locks that keep writers out, on whatever the command reached through views. */
static void
check_locks_taken(const LockStmt *stmt)
{
	ListCell   *lc;

	if (stmt->mode < ShareUpdateExclusiveLock || !OidIsValid(LedgerExtension()) || GuardOff())
		return;
	foreach(lc, LedgerTables())
	{
		LOCKTAG		tag;

		SET_LOCKTAG_RELATION(tag, MyDatabaseId, lfirst_oid(lc));
		if (BW_LOCK_HELD(&tag, stmt->mode))
			RefuseLedgerChange("LOCK TABLE", lfirst_oid(lc));
	}
}

/* The trigger has refused each row; where somebody edited it away, the command fails. */
static void
check_rows_copied(const CopyStmt *stmt, uint64 rows)
{
	Oid			relid;

	if (!stmt->is_from || rows == 0 || stmt->relation == NULL)
		return;
	relid = named_relation(stmt->relation);
	if (OidIsValid(relid) && IsLedgerRelation(relid) && !GuardOff())
		RefuseLedgerChange("COPY", relid);
}

/* Before the command; true: skip it. */
static bool
check_before(Node *stmt, bool top_level)
{
	switch (nodeTag(stmt))
	{
		case T_AlterTableStmt:
			return check_alter_table((AlterTableStmt *) stmt, top_level);
		case T_DropStmt:
			check_drop((DropStmt *) stmt);
			break;
		case T_DropOwnedStmt:
			if (MayDecommission())
				mode = GUARD_DROPS;
			break;
		case T_DropdbStmt:
			check_drop_database((DropdbStmt *) stmt);
			break;
		case T_GrantStmt:
			check_grant((GrantStmt *) stmt);
			break;
		case T_AlterExtensionContentsStmt:
			check_extension_contents((AlterExtensionContentsStmt *) stmt);
			break;
		case T_AlterObjectDependsStmt:
			check_depends((AlterObjectDependsStmt *) stmt);
			break;
		case T_VacuumStmt:
		case T_ClusterStmt:
		case T_ReindexStmt:
		case T_AlterTableMoveAllStmt:
			check_maintenance(stmt, top_level);
			mode = GUARD_MAINTAINS;
			break;
		default:
			break;
	}
	return false;
}

static void
check_after(Node *stmt, const QueryCompletion *qc)
{
	if (IsA(stmt, CopyStmt))
		check_rows_copied((CopyStmt *) stmt, qc->nprocessed);
	else if (IsA(stmt, LockStmt))
		check_locks_taken((LockStmt *) stmt);
}

/* The command between its checks. */
static void
run_command(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			ProcessUtilityContext context, ParamListInfo params,
			QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	QueryCompletion own;

	if (check_before(pstmt->utilityStmt, context == PROCESS_UTILITY_TOPLEVEL))
		return;
	if (qc == NULL)
	{
		InitializeQueryCompletion(&own);
		qc = &own;
	}
	if (prev_ProcessUtility)
		prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	check_after(pstmt->utilityStmt, qc);
}

static void
guard_ProcessUtility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					 ProcessUtilityContext context, ParamListInfo params,
					 QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	GuardMode	outer = mode;
	/* what protect() does in several commands is part of the one around them */
	bool		settles = context != PROCESS_UTILITY_SUBCOMMAND && !ProtectionWorking();
	AlteredCommand outer_command = AlteredCommandBegin(pstmt, queryString, settles);

	/* A command inside a command, in an index's expression say, stands for itself;
	 * steps of one command share its leave. */
	if (context != PROCESS_UTILITY_SUBCOMMAND)
		mode = GUARD_REFUSES;
	PG_TRY();
	{
		run_command(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		if (settles)
			AlteredSettle();
	}
	PG_FINALLY();
	{
		mode = outer;
		AlteredCommandEnd(outer_command);
	}
	PG_END_TRY();
}

void
GuardCommandInit(void)
{
	DefineCustomBoolVariable("bulwark.refuse_drop_database",
							 "Refuses DROP DATABASE of a database that has the extension.",
							 "Without it only a checkpoint kept elsewhere tells of a database that has gone.",
							 &refuse_drop_database, false, PGC_SIGHUP,
							 GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);

	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = guard_ProcessUtility;
}
