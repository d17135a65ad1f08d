/*
 * catalog.c
 *		Rows of catalogs by their oid, where the caches have none: those that the
 *		running command has just written, and those of catalogs without a cache.
 */
#include "base/base.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "utils/fmgroids.h"

HeapTuple
CatalogRow(Oid catalog, Oid index, AttrNumber column, Oid oid, Snapshot snapshot)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	row;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(rel, index, true, snapshot, 1, &key);
	row = systable_getnext(scan);
	row = HeapTupleIsValid(row) ? heap_copytuple(row) : NULL;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return row;
}
