/*
 * fk_mode.c
 *		SET CONSTRAINTS reaches the guard of a foreign key (fk_guard.c) with the key.
 *		Deferred alone, one of the two would answer at once and the other later, and so
 *		tell another tenant's row from a missing one.
 */
#include "tenancy/protect.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

/* Name the guard of that key, if it has one, and those of the keys derived from it. */
static List *
add_guards(Relation catalog, Form_pg_constraint con, List *names)
{
	char	   *guard = FkGuardName(NameStr(con->conname));
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	check_stack_depth();
	if (OidIsValid(con->conrelid) && OidIsValid(get_trigger_oid(con->conrelid, guard, true)))
		names = lappend(names, makeRangeVar(get_namespace_name(get_rel_namespace(con->conrelid)), guard, -1));

	ScanKeyInit(&key, Anum_pg_constraint_conparentid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(con->oid));
	scan = systable_beginscan(catalog, ConstraintParentIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		names = add_guards(catalog, (Form_pg_constraint) GETSTRUCT(tuple), names);
	systable_endscan(scan);
	return names;
}

/* The guards of all constraints with that name in that schema; false if it has none. */
static bool
add_guards_of(Relation catalog, Oid schema, const char *name, List **names)
{
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key[0], Anum_pg_constraint_conname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(name));
	ScanKeyInit(&key[1], Anum_pg_constraint_connamespace, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(schema));
	scan = systable_beginscan(catalog, ConstraintNameNspIndexId, true, NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		found = true;
		*names = add_guards(catalog, (Form_pg_constraint) GETSTRUCT(tuple), *names);
	}
	systable_endscan(scan);
	return found;
}

/* Names are found as SET CONSTRAINTS does: in the first schema that has any. */
List *
FkGuardsOf(List *constraints)
{
	Relation	catalog = table_open(ConstraintRelationId, AccessShareLock);
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, constraints)
	{
		RangeVar   *constraint = lfirst_node(RangeVar, lc);
		List	   *schemas = constraint->schemaname == NULL ? fetch_search_path(true) :
			list_make1_oid(get_namespace_oid(constraint->schemaname, true));
		ListCell   *schema;

		if (strncmp(constraint->relname, TRIGGER_FK_GUARD, strlen(TRIGGER_FK_GUARD)) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("constraint trigger \"%s\" is deferred with the foreign key that it guards", constraint->relname),
					 errhint("Name the foreign key.")));
		foreach(schema, schemas)
			if (add_guards_of(catalog, lfirst_oid(schema), constraint->relname, &names))
				break;
	}
	table_close(catalog, AccessShareLock);
	return names;
}
