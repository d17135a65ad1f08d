/*
 * scan.c
 *		Reading our own tables from C: by index, with a fresh catalog snapshot,
 *		so that it also works in parallel workers and sees in REPEATABLE READ
 *		what has been committed since.
 */
#include "tenancy/tenancy.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

/* False when the extension is not in this database. */
bool
PrivateScanBegin(PrivateScan *scan, const char *table, const char *index)
{
	Oid			relid = PrivateRelid(table);

	memset(scan, 0, sizeof(*scan));
	if (!OidIsValid(relid))
		return false;
	scan->index = index ? PrivateRelid(index) : InvalidOid;
	if (index != NULL && !OidIsValid(scan->index))
		elog(ERROR, "index \"%s\" of \"%s\" is missing", index, table);
	scan->rel = table_open(relid, AccessShareLock);
	return true;
}

void
PrivateScanUuid(PrivateScan *scan, AttrNumber attno, const pg_uuid_t *value)
{
	ScanKeyInit(&scan->keys[scan->nkeys++], attno, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(value));
}

void
PrivateScanText(PrivateScan *scan, AttrNumber attno, const char *value)
{
	ScanKeyInit(&scan->keys[scan->nkeys++], attno, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(value));
}

void
PrivateScanName(PrivateScan *scan, AttrNumber attno, const char *value)
{
	NameData   *name = palloc(sizeof(NameData));

	namestrcpy(name, value);
	ScanKeyInit(&scan->keys[scan->nkeys++], attno, BTEqualStrategyNumber, F_NAMEEQ,
				NameGetDatum(name));
}

bool
PrivateScanNext(PrivateScan *scan)
{
	if (scan->desc == NULL)
		scan->desc = systable_beginscan(scan->rel, scan->index, OidIsValid(scan->index),
										NULL, scan->nkeys, scan->keys);
	scan->tuple = systable_getnext(scan->desc);
	return HeapTupleIsValid(scan->tuple);
}

Datum
PrivateScanGet(PrivateScan *scan, AttrNumber attno, bool *isnull)
{
	return heap_getattr(scan->tuple, attno, RelationGetDescr(scan->rel), isnull);
}

void
PrivateScanEnd(PrivateScan *scan)
{
	if (scan->desc != NULL)
		systable_endscan(scan->desc);
	table_close(scan->rel, AccessShareLock);
}
