/*
 * ddl_command.c
 *		The utility hook: commands that the object access hook is not told of,
 *		and the end of every command, when what was noted is settled.
 */
#include "tenancy/ddl.h"
#include "tenancy/protect.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/extension.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static ProcessUtility_hook_type prev_ProcessUtility = NULL;
static Oid
named_relation(const RangeVar *name)
{
	return RangeVarGetRelid(name, NoLock, true);
}

/* Row security has no event of its own in all versions. */
static void
check_alter_table(const AlterTableStmt *stmt)
{
	bool		app = SessionIsApp();
	Oid			relid = named_relation(stmt->relation);
	ListCell   *lc;

	RefuseApp(relid, "ALTER TABLE");
	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (cmd->subtype != AT_DisableRowSecurity && cmd->subtype != AT_NoForceRowSecurity)
			continue;
		if (app)				/* on any table: by the time it runs the name may mean another */
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("taking row security from a table is not allowed for an application login")));
		if (OidIsValid(relid) && ProtectionOf(relid) != NULL)
			Weaken(relid, cmd->subtype == AT_DisableRowSecurity ?
				   "disabling row security" : "not forcing row security");
	}
}

/* Privileges that row security does not govern. */
static bool
grants_ungoverned(const GrantStmt *stmt)
{
	static const char *const ungoverned[] = {"truncate", "trigger", "references", "maintain"};
	ListCell   *lc;

	if (stmt->privileges == NIL)
		return true;
	foreach(lc, stmt->privileges)
	{
		const char *name = lfirst_node(AccessPriv, lc)->priv_name;

		for (int i = 0; i < lengthof(ungoverned); i++)
			if (name == NULL || strcmp(name, ungoverned[i]) == 0)
				return true;
	}
	return false;
}

/* Is an application role among these, or a member of one of these? */
static bool
reaches_app(List *grantees)
{
	Oid			app = get_role_oid(ROLE_APP, true);
	List	   *roles = NIL;
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	tuple;
	ListCell   *lc;
	bool		reached = false;

	foreach(lc, grantees)
	{
		RoleSpec   *spec = lfirst_node(RoleSpec, lc);

		if (spec->roletype == ROLESPEC_PUBLIC)
			return true;
		roles = lappend_oid(roles, get_rolespec_oid(spec, true));
	}
	catalog = table_open(AuthIdRelationId, AccessShareLock);
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while (!reached && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_authid form = (Form_pg_authid) GETSTRUCT(tuple);

		if (form->rolsuper || !is_member_of_role_nosuper(form->oid, app))
			continue;
		foreach(lc, roles)
			reached = reached || is_member_of_role_nosuper(form->oid, lfirst_oid(lc));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return reached;
}

/* A protected relation in one of these schemas, or InvalidOid. */
static Oid
protected_in_schemas(List *names)
{
	Relation	catalog = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	List	   *schemas = NIL;
	Oid			found = InvalidOid;
	HeapTuple	tuple;
	ListCell   *lc;

	foreach(lc, names)
		schemas = lappend_oid(schemas, get_namespace_oid(strVal(lfirst(lc)), true));
	while (!OidIsValid(found) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if ((form->relkind == RELKIND_RELATION || form->relkind == RELKIND_PARTITIONED_TABLE) &&
			list_member_oid(schemas, form->relnamespace) && ProtectionOf(form->oid) != NULL)
			found = form->oid;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

static void
check_grant(const GrantStmt *stmt)
{
	Oid			found = InvalidOid;
	ListCell   *lc;
	bool		app = SessionIsApp();

	if (stmt->objtype != OBJECT_TABLE || stmt->targtype == ACL_TARGET_DEFAULTS ||
		(!app && !(stmt->is_grant && grants_ungoverned(stmt) && reaches_app(stmt->grantees))))
		return;

	if (stmt->targtype == ACL_TARGET_ALL_IN_SCHEMA)
		found = protected_in_schemas(stmt->objects);
	else
	{
		foreach(lc, stmt->objects)
		{
			Oid			relid = named_relation(lfirst_node(RangeVar, lc));

			if (OidIsValid(relid) && ProtectionOf(relid) != NULL)
				found = relid;
		}
	}
	if (!OidIsValid(found))
		return;
	if (app)
		RefuseApp(found, stmt->is_grant ? "GRANT" : "REVOKE");
	ereport(superuser() ? WARNING : ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("TRUNCATE, TRIGGER, REFERENCES and MAINTAIN on protected table \"%s\" are not for application roles",
					get_rel_name(found)),
			 errdetail("Row security does not govern them."),
			 errhint("Grant SELECT, INSERT, UPDATE and DELETE by name.")));
}

/* An application login's copy of rows that others will read. */
static void
check_copied_rows(Node *stmt)
{
	if (!SessionIsApp())
		return;

	/* EXPLAIN ANALYZE runs it without asking the utility hook again. */
	if (IsA(stmt, ExplainStmt))
	{
		Node	   *explained = ((ExplainStmt *) stmt)->query;

		if (!IsA(explained, Query) || ((Query *) explained)->utilityStmt == NULL)
			return;
		stmt = ((Query *) explained)->utilityStmt;
	}
	if (IsA(stmt, CreateTableAsStmt))
	{
		CreateTableAsStmt *ctas = (CreateTableAsStmt *) stmt;

		/* What stays in the session is residue.c's to judge. */
		if (ctas->objtype == OBJECT_TABLE && ctas->into->rel->relpersistence == RELPERSISTENCE_TEMP)
			return;
	}
	else if (!IsA(stmt, RefreshMatViewStmt))
		return;

	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("storing the result of a query is not allowed for an application login"),
			 errdetail("CREATE TABLE AS, SELECT INTO and materialized views keep rows of one identity for others."),
			 errhint("Create the table first, and let it be protected.")));
}

/* CREATE TABLE (LIKE ...) of an application login. */
static void
check_create_table(const CreateStmt *stmt)
{
	ListCell   *lc;

	if (!SessionIsApp())
		return;
	foreach(lc, stmt->tableElts)
	{
		if (IsA(lfirst(lc), TableLikeClause))
			RefuseApp(named_relation(((TableLikeClause *) lfirst(lc))->relation),
									"CREATE TABLE LIKE");
	}
}

static void
check_publication(List *objects)
{
	ListCell   *lc;

	foreach(lc, objects)
	{
		PublicationObjSpec *object = lfirst_node(PublicationObjSpec, lc);

		if (object->pubtable != NULL)
			RefuseApp(named_relation(object->pubtable->relation), "publishing");
	}
}

static void
check_label(const SecLabelStmt *stmt)
{
	List	   *name;

	if (stmt->objtype != OBJECT_TABLE && stmt->objtype != OBJECT_COLUMN)
		return;
	name = list_copy(castNode(List, stmt->object));
	if (stmt->objtype == OBJECT_COLUMN)
		name = list_truncate(name, list_length(name) - 1);
	if (name != NIL)
		RefuseApp(named_relation(makeRangeVarFromNameList(name)), "SECURITY LABEL");
}

/*
 * LOCK TABLE of an application login: a lock that keeps other tenants from their
 * rows.  What a view is over, and so what its lock would reach, is not looked up.
 */
static void
check_lock(const LockStmt *stmt)
{
	ListCell   *lc;

	if (stmt->mode <= RowExclusiveLock || !SessionIsApp())
		return;
	foreach(lc, stmt->relations)
	{
		RangeVar   *name = lfirst_node(RangeVar, lc);
		Oid			relid = named_relation(name);
		ListCell   *child;

		if (!OidIsValid(relid))
			continue;
		if (get_rel_relkind(relid) == RELKIND_VIEW)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("LOCK TABLE of a view is not allowed for an application login"),
					 errhint("Modes up to ROW EXCLUSIVE are allowed, and SELECT ... FOR UPDATE.")));
		foreach(child, name->inh ? find_all_inheritors(relid, NoLock, NULL) : list_make1_oid(relid))
			RefuseApp(lfirst_oid(child), "LOCK TABLE in a mode that other tenants wait for");
	}
}

/* A dump brings a policy or trigger of ours that is there already: true, skip it. */
static bool
brings_the_same(Node *stmt, const char *source)
{
	bool		policy = IsA(stmt, CreatePolicyStmt);
	const char *name = policy ? ((CreatePolicyStmt *) stmt)->policy_name : ((CreateTrigStmt *) stmt)->trigname;
	const RangeVar *table = policy ? ((CreatePolicyStmt *) stmt)->table : ((CreateTrigStmt *) stmt)->relation;
	Oid			relid;

	if (!ProtectionPartName(name))
		return false;
	relid = named_relation(table);
	if (!OidIsValid(relid) || ProtectionOf(relid) == NULL ||
		!BW_OWNS_RELATION(relid, GetUserId()))
		return false;
	if (!(policy ? SamePolicyExists(relid, (CreatePolicyStmt *) stmt, source) :
		  SameTriggerExists(relid, (CreateTrigStmt *) stmt)))
		return false;
	ereport(NOTICE,
			(errmsg("%s \"%s\" of table \"%s\" exists with the same definition, skipping",
					policy ? "policy" : "trigger", name, get_rel_name(relid))));
	return true;
}

/*
 * A dump brings rows of our tables.  Theirs are the only foreign keys that are
 * there before the rows, and what pg_restore loads in parallel comes in any order:
 * a dump is consistent as a whole.
 */
static bool
brings_our_rows(Node *stmt)
{
	CopyStmt   *copy = (CopyStmt *) stmt;

	return IsA(stmt, CopyStmt) && copy->is_from && copy->relation != NULL &&
		IsPrivateRelation(named_relation(copy->relation));
}

/* Check a command before it runs; true if it is to be skipped. */
static bool
check_command(Node *stmt, const char *source)
{
	switch (nodeTag(stmt))
	{
		case T_AlterTableStmt:
			check_alter_table((AlterTableStmt *) stmt);
			break;
		case T_GrantStmt:
			check_grant((GrantStmt *) stmt);
			break;
		case T_CreateStmt:
			check_create_table((CreateStmt *) stmt);
			break;
		case T_CreateTableAsStmt:
		case T_RefreshMatViewStmt:
		case T_ExplainStmt:
			check_copied_rows(stmt);
			break;
		case T_LockStmt:
			check_lock((LockStmt *) stmt);
			break;
		case T_CreatePublicationStmt:
			check_publication(((CreatePublicationStmt *) stmt)->pubobjects);
			break;
		case T_AlterPublicationStmt:
			check_publication(((AlterPublicationStmt *) stmt)->pubobjects);
			break;
		case T_SecLabelStmt:
			check_label((SecLabelStmt *) stmt);
			break;
		case T_CreatePolicyStmt:
		case T_CreateTrigStmt:
			return brings_the_same(stmt, source);
		default:
			break;
	}
	return false;
}

static void
ddl_ProcessUtility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				   ProcessUtilityContext context, ParamListInfo params,
				   QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	int			guc_level = 0;
	List	   *guards = NIL;

	if (DdlWatched() && check_command(pstmt->utilityStmt, queryString))
		return;

	if (IsA(pstmt->utilityStmt, ConstraintsSetStmt) && OidIsValid(PrivateRelid("protections")))
		guards = FkGuardsOf(((ConstraintsSetStmt *) pstmt->utilityStmt)->constraints);
	if (guards != NIL)
	{
		ConstraintsSetStmt *set;

		pstmt = copyObject(pstmt);
		set = (ConstraintsSetStmt *) pstmt->utilityStmt;
		set->constraints = list_concat(set->constraints, guards);
	}

	if (brings_our_rows(pstmt->utilityStmt))
	{
		/* foreign keys rest; triggers of ours that matter fire always */
		guc_level = NewGUCNestLevel();
		(void) set_config_option("session_replication_role", "replica", PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	}

	if (prev_ProcessUtility)
		prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);

	if (guc_level > 0)
		AtEOXact_GUC(true, guc_level);

	/* A command in several steps, or an extension's script, is one. */
	if (context != PROCESS_UTILITY_SUBCOMMAND && !creating_extension)
		Settle();
}

void
DdlCommandInit(void)
{
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = ddl_ProcessUtility;
}
