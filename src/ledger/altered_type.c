/*
 * altered_type.c
 *		Rows of audited tables that a command changes through the type of one of
 *		their columns: an attribute of a composite type, or a column of a table
 *		whose row type it is, comes or goes, a value of an enum gets another name.
 *		The table itself is not touched then, and nobody else tells of it.
 */
#include "ledger/guard.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/*
 * The relations that have a column of the type; of an array, a domain or a range
 * over it; of a row type that has such a column.
 */
static List *
users_of_type(Oid type)
{
	Relation	catalog = table_open(DependRelationId, AccessShareLock);
	List	   *types = list_make1_oid(type);
	List	   *relids = NIL;

	for (int i = 0; i < list_length(types); i++)
	{
		ScanKeyData key[2];
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(TypeRelationId));
		ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(list_nth_oid(types, i)));
		scan = systable_beginscan(catalog, DependReferenceIndexId, true, NULL, 2, key);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			Form_pg_depend user = (Form_pg_depend) GETSTRUCT(tuple);
			Oid			above = InvalidOid;

			if (user->classid == TypeRelationId)
				above = user->objid;
			else if (user->classid == RelationRelationId && user->objsubid > 0)
			{
				relids = list_append_unique_oid(relids, user->objid);
				above = get_rel_type_id(user->objid);
			}
			if (OidIsValid(above))
				types = list_append_unique_oid(types, above);
		}
		systable_endscan(scan);
	}
	table_close(catalog, AccessShareLock);
	list_free(types);
	return relids;
}

void
AlteredRowsOfType(Oid type)
{
	ListCell   *lc;

	if (!OidIsValid(type))
		return;
	foreach(lc, users_of_type(type))
	{
		Relation	rel;

		if (AuditedOf(lfirst_oid(lc)) == NULL)
			continue;
		rel = table_open(lfirst_oid(lc), AccessShareLock);
		CheckTableNotInUse(rel, "ALTER TYPE");
		table_close(rel, NoLock);
		AlteredDigestRows(lfirst_oid(lc));
		AlteredNote(lfirst_oid(lc), ALTERED_ROWS, InvalidOid);
	}
}
