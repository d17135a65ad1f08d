/*
 * ddl_same.c
 *		A dump of a protected table brings our policies and triggers along.  When
 *		it is restored where the new table has been protected already, the same
 *		definition again is no conflict; another one is.
 */
#include "tenancy/ddl.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "parser/parse_clause.h"
#include "parser/parse_collate.h"
#include "parser/parse_func.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

/* The row of a catalog that has both a relation's oid and a name. */
static SysScanDesc
scan_by_relation_and_name(Relation catalog, Oid index, AttrNumber relation_column, Oid relid,
						  AttrNumber name_column, const char *name)
{
	ScanKeyData key[2];

	ScanKeyInit(&key[0], relation_column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	ScanKeyInit(&key[1], name_column, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(name));
	return systable_beginscan(catalog, index, true, NULL, 2, key);
}

/* Policy.c's letter for a command. */
static char
policy_command(const char *name)
{
	if (strcmp(name, "select") == 0)
		return ACL_SELECT_CHR;
	if (strcmp(name, "insert") == 0)
		return ACL_INSERT_CHR;
	if (strcmp(name, "update") == 0)
		return ACL_UPDATE_CHR;
	if (strcmp(name, "delete") == 0)
		return ACL_DELETE_CHR;
	return '*';
}

/* Are the statement's roles PUBLIC, as in all of our policies, and the policy's too? */
static bool
both_for_public(List *specs, Datum roles)
{
	ArrayType  *array = DatumGetArrayTypeP(roles);

	return (specs == NIL ||
			linitial_node(RoleSpec, specs)->roletype == ROLESPEC_PUBLIC) &&
		ARR_DIMS(array)[0] == 1 &&
		((Oid *) ARR_DATA_PTR(array))[0] == ACL_ID_PUBLIC;
}

/* Two conditions are the same when they read the same in the table's context. */
static bool
same_condition(Relation rel, Node *raw, const char *source, bool stored_null, Datum stored)
{
	List	   *context = deparse_context_for(RelationGetRelationName(rel), RelationGetRelid(rel));
	ParseState *pstate;
	ParseNamespaceItem *item;
	Node	   *condition;
	bool		same;

	if (raw == NULL || stored_null)
		return raw == NULL && stored_null;

	pstate = make_parsestate(NULL);
	pstate->p_sourcetext = source;
	item = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, NULL, false, false);
	addNSItemToQuery(pstate, item, false, true, true);
	condition = transformWhereClause(pstate, copyObject(raw), EXPR_KIND_POLICY, "POLICY");
	assign_expr_collations(pstate, condition);

	same = strcmp(deparse_expression(condition, context, false, false),
				  deparse_expression(stringToNode(TextDatumGetCString(stored)),
									 context, false, false)) == 0;
	free_parsestate(pstate);
	return same;
}

bool
SamePolicyExists(Oid relid, const CreatePolicyStmt *stmt, const char *source)
{
	Relation	catalog = table_open(PolicyRelationId, AccessShareLock);
	Relation	rel = table_open(relid, AccessShareLock);
	SysScanDesc scan = scan_by_relation_and_name(catalog, PolicyPolrelidPolnameIndexId,
												 Anum_pg_policy_polrelid, relid,
												 Anum_pg_policy_polname, stmt->policy_name);
	HeapTuple	tuple = systable_getnext(scan);
	bool		same = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_policy policy = (Form_pg_policy) GETSTRUCT(tuple);
		TupleDesc	desc = RelationGetDescr(catalog);
		bool		no_roles,
					no_qual,
					no_check;
		Datum		roles = heap_getattr(tuple, Anum_pg_policy_polroles, desc, &no_roles);
		Datum		qual = heap_getattr(tuple, Anum_pg_policy_polqual, desc, &no_qual);
		Datum		check = heap_getattr(tuple, Anum_pg_policy_polwithcheck, desc, &no_check);

		same = policy->polcmd == policy_command(stmt->cmd_name) &&
			policy->polpermissive == stmt->permissive &&
			both_for_public(stmt->roles, roles) &&
			same_condition(rel, stmt->qual, source, no_qual, qual) &&
			same_condition(rel, stmt->with_check, source, no_check, check);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	table_close(catalog, AccessShareLock);
	return same;
}

/* pg_trigger keeps arguments one after the other, each with its NUL. */
static bool
same_arguments(List *args, int nstored, bytea *stored)
{
	const char *p = VARDATA_ANY(stored);
	ListCell   *lc;

	if (list_length(args) != nstored)
		return false;
	foreach(lc, args)
	{
		if (strcmp(strVal(lfirst(lc)), p) != 0)
			return false;
		p += strlen(p) + 1;
	}
	return true;
}

static bool
same_columns(Oid relid, List *columns, const int2vector *stored)
{
	ListCell   *lc;
	int			i = 0;

	if (list_length(columns) != stored->dim1)
		return false;
	foreach(lc, columns)
	{
		if (get_attnum(relid, strVal(lfirst(lc))) != stored->values[i++])
			return false;
	}
	return true;
}

/* By name where the statement qualifies it, as a dump does: whoever restores need
 * not be allowed to look into the function's schema. */
static bool
same_function(List *name, Oid function)
{
	char	   *schema;
	char	   *bare;

	DeconstructQualifiedName(name, &schema, &bare);
	if (schema == NULL)
		return LookupFuncName(name, 0, NULL, true) == function;
	return strcmp(bare, get_func_name(function)) == 0 &&
		strcmp(schema, get_namespace_name(get_func_namespace(function))) == 0;
}

bool
SameTriggerExists(Oid relid, const CreateTrigStmt *stmt)
{
	Relation	catalog = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan = scan_by_relation_and_name(catalog, TriggerRelidNameIndexId,
												 Anum_pg_trigger_tgrelid, relid,
												 Anum_pg_trigger_tgname, stmt->trigname);
	HeapTuple	tuple = systable_getnext(scan);
	bool		same = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
		TupleDesc	desc = RelationGetDescr(catalog);
		bool		isnull;
		Datum		args = heap_getattr(tuple, Anum_pg_trigger_tgargs, desc, &isnull);
		int16		type = stmt->timing | stmt->events | (stmt->row ? TRIGGER_TYPE_ROW : 0);

		/* Ours have neither a condition nor transition tables. */
		same = !trigger->tgisinternal &&
			same_function(stmt->funcname, trigger->tgfoid) &&
			trigger->tgtype == type &&
			stmt->isconstraint == OidIsValid(trigger->tgconstraint) &&
			trigger->tgdeferrable == stmt->deferrable &&
			trigger->tginitdeferred == stmt->initdeferred &&
			(stmt->constrrel ? RangeVarGetRelid(stmt->constrrel, NoLock, true) : InvalidOid) == trigger->tgconstrrelid &&
			stmt->whenClause == NULL && heap_attisnull(tuple, Anum_pg_trigger_tgqual, desc) &&
			stmt->transitionRels == NIL &&
			heap_attisnull(tuple, Anum_pg_trigger_tgoldtable, desc) &&
			heap_attisnull(tuple, Anum_pg_trigger_tgnewtable, desc) &&
			same_arguments(stmt->args, trigger->tgnargs, DatumGetByteaPP(args)) &&
			same_columns(relid, stmt->columns, &trigger->tgattr);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return same;
}
