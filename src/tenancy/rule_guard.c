/*
 * rule_guard.c
 *		A rule writes with the rights of its table's owner, and if those bypass row
 *		security no policy of the table that it writes to is asked.  A trigger on
 *		such tables asks ours, as the user who runs the statement.
 */
#include "tenancy/protect.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_rewrite.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(bulwark_rule_guard);

/* --- where it is needed ------------------------------------------------------- */

/* Is it a rule that writes (not a view's), by its oid? */
static bool
rule_writes(Oid rule)
{
	HeapTuple	row = CatalogRow(RewriteRelationId, RewriteOidIndexId, Anum_pg_rewrite_oid, rule, NULL);
	bool		result = row != NULL && ((Form_pg_rewrite) GETSTRUCT(row))->ev_type != '0' + CMD_SELECT;

	if (row != NULL)
		heap_freetuple(row);
	return result;
}

/* The other ends of dependencies: of what refers to objectid, or what it refers to. */
static List *
dependencies(Oid classid, Oid objectid, bool of_referenced, Oid other_class, Snapshot snapshot)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *result = NIL;

	ScanKeyInit(&key[0], of_referenced ? Anum_pg_depend_refclassid : Anum_pg_depend_classid,
				BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(classid));
	ScanKeyInit(&key[1], of_referenced ? Anum_pg_depend_refobjid : Anum_pg_depend_objid,
				BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(objectid));
	scan = systable_beginscan(rel, of_referenced ? DependReferenceIndexId : DependDependerIndexId, true, snapshot, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		if ((of_referenced ? form->classid : form->refclassid) == other_class)
			result = list_append_unique_oid(result, of_referenced ? form->objid : form->refobjid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

void
RuleGuardSync(Oid relid)
{
	char	   *name = QualifiedName(relid);
	bool		wanted = false;
	TrustedScope scope;
	ListCell   *lc;

	if (ProtectionOf(relid) == NULL || get_rel_relkind(relid) != RELKIND_RELATION)
		return;
	foreach(lc, dependencies(RelationRelationId, relid, true, RewriteRelationId, NULL))
		wanted = wanted || rule_writes(lfirst_oid(lc));
	if (wanted == OidIsValid(get_trigger_oid(relid, TRIGGER_RULE_GUARD, true)))
		return;

	TrustedBegin(&scope);
	if (wanted)
	{
		Ddl(psprintf("CREATE TRIGGER " TRIGGER_RULE_GUARD " BEFORE INSERT OR UPDATE OR DELETE ON %s "
					 "FOR EACH ROW EXECUTE FUNCTION bulwark_internal.rule_guard()", name));
		Ddl(psprintf("ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER " TRIGGER_RULE_GUARD, name));
	}
	else
		Ddl(psprintf("DROP TRIGGER " TRIGGER_RULE_GUARD " ON %s", name));
	TrustedEnd(&scope);
}

List *
ProtectionRuleTargets(Oid rule)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, dependencies(RewriteRelationId, rule, false, RelationRelationId, SnapshotSelf))
		if (ProtectionOf(lfirst_oid(lc)) != NULL)
			result = lappend_oid(result, lfirst_oid(lc));
	return result;
}

/* --- the check ------------------------------------------------------------------ */

typedef enum Command
{
	RULE_INSERT,
	RULE_UPDATE,
	RULE_DELETE
} Command;

static const char *const actions[] = {"insert", "update", "delete"};

typedef struct RuleGuard
{
	Oid			relid;			/* hash key */
	KeptPlan	kept[lengthof(actions)];	/* the row -> do our policies let it through? */
} RuleGuard;

static HTAB *guards = NULL;

static KeptPlan *
guard_lookup(Oid relid, Command command)
{
	RuleGuard  *guard;
	KeptPlan   *kept;
	bool		found;
	const Protection *p;
	Oid			type = get_rel_type_id(relid);

	if (guards == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(RuleGuard)};

		guards = hash_create("bulwark targets of rules", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	guard = hash_search(guards, &relid, HASH_ENTER, &found);
	if (!found)
		memset(guard->kept, 0, sizeof(guard->kept));
	kept = &guard->kept[command];
	if (KeptPlanValid(kept))
		return kept;

	KeptPlanReset(kept);
	p = ProtectionOf(relid);
	if (p == NULL)
		KeptPlanSet(kept, NULL, 0, NULL);
	else
		KeptPlanSet(kept, psprintf("SELECT %s FROM (SELECT ($1).*) AS %s", PolicyCondition(p, actions[command]),
								   quote_identifier(get_rel_name(relid))), 1, &type);
	return kept;
}

/* Do our policies let the row through for the current user? */
static bool
row_allowed(Relation rel, HeapTuple row, Command command)
{
	TrustedScope scope;
	KeptPlan   *kept;
	Datum		value = heap_copy_tuple_as_datum(row, RelationGetDescr(rel));
	bool		allowed = true;

	CallerBegin(&scope);
	kept = guard_lookup(RelationGetRelid(rel), command);
	if (kept->plan)
	{
		bool		isnull;

		if (SPI_execute_plan(kept->plan, &value, NULL, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
			elog(ERROR, "the policies of \"%s\" could not be asked", RelationGetRelationName(rel));
		allowed = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) && !isnull;
	}
	TrustedEnd(&scope);
	return allowed;
}

/*
 * As policies do: an old row that they hide is passed over, a new one refused.  A
 * foreign key's query is not bound by them, and has no rule's part that they bind.
 */
Datum
bulwark_rule_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Relation	rel;
	Command		command;
	HeapTuple	old_row,
				new_row;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("bulwark_internal.rule_guard() must be called as a row trigger before insert, update or delete")));
	rel = trigger->tg_relation;
	command = TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? RULE_INSERT :
		TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? RULE_UPDATE : RULE_DELETE;
	old_row = command == RULE_INSERT ? NULL : trigger->tg_trigtuple;
	new_row = command == RULE_INSERT ? trigger->tg_trigtuple : trigger->tg_newtuple;

	if (!RunsPastForce() && check_enable_rls(RelationGetRelid(rel), InvalidOid, true) == RLS_ENABLED)
	{
		if (old_row && !row_allowed(rel, old_row, command))
			return PointerGetDatum(NULL);
		if (command != RULE_DELETE && !row_allowed(rel, new_row, command))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("new row violates row-level security policy for table \"%s\"",
							RelationGetRelationName(rel))));
	}
	return PointerGetDatum(command == RULE_DELETE ? old_row : new_row);
}
