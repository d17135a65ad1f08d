/*
 * altered_event.c
 *		The object access hook's part for audited tables: what a command does to
 *		them, by oid, whatever it is called and however it came to them.
 */
#include "ledger/guard.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

bool
IsCaptureTrigger(const DdlPart *part)
{
	return (strcmp(NameStr(part->name), TRIGGER_CAPTURE) == 0 ||
			strcmp(NameStr(part->name), TRIGGER_CAPTURE_TRUNCATE) == 0) &&
		AuditedOf(part->relid) != NULL;
}

void
RefuseTriggerChange(const DdlPart *part, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("%s trigger \"%s\" of audited table \"%s\" is not allowed",
					what, NameStr(part->name), get_rel_name(part->relid)),
			 errhint("bulwark.audit_stop() ends the audit of a table, with an entry.")));
}

/* --- columns and tables ------------------------------------------------------------ */

/* The definition of what may be an audited table. */
static void
definition_changed(Oid relid)
{
	if (OidIsValid(relid) && AuditedOf(relid) != NULL)
		AlteredNote(relid, ALTERED_DEFINITION, InvalidOid);
}

/* The row of pg_class as the running command has just written it; false: none. */
static bool
new_class(Oid relid, FormData_pg_class *form)
{
	HeapTuple	row = CatalogRow(RelationRelationId, ClassOidIndexId, Anum_pg_class_oid, relid, SnapshotSelf);

	if (row == NULL)
		return false;
	memcpy(form, GETSTRUCT(row), CLASS_TUPLE_SIZE);
	heap_freetuple(row);
	return true;
}

/* The column's name as the running command has just written it; false: none. */
static bool
new_column_name(Oid relid, int attnum, NameData *name)
{
	Relation	catalog = table_open(AttributeRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	ScanKeyInit(&key[0], Anum_pg_attribute_attrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	ScanKeyInit(&key[1], Anum_pg_attribute_attnum, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(attnum));
	scan = systable_beginscan(catalog, AttributeRelidNumIndexId, true, SnapshotSelf, 2, key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
		*name = ((Form_pg_attribute) GETSTRUCT(tuple))->attname;
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/* A rewrite fills a new heap, which is named after the old one: that is being read
 * now, for the last time. */
static void
heap_created(Oid heap)
{
	FormData_pg_class form;
	Oid			relid;

	if (GuardCommandMode() == GUARD_MAINTAINS || !new_class(heap, &form) ||
		sscanf(NameStr(form.relname), "pg_temp_%u", &relid) != 1 || AuditedOf(relid) == NULL)
		return;
	AlteredDigestRows(relid);
	AlteredNote(relid, ALTERED_ROWS, InvalidOid);
}

static void
column_altered(Oid relid, int attnum)
{
	char	   *column = get_attname(relid, attnum, true);
	NameData	now;

	AlteredKeepRows(relid);
	AlteredNote(relid, ALTERED_DEFINITION, InvalidOid);
	if (column != NULL && new_column_name(relid, attnum, &now) && strcmp(column, NameStr(now)) != 0)
		AlteredColumnName(relid, column, NameStr(now));
}

/* Of an audited table; or of a composite type, or a row type, that one has. */
static void
column_created(Oid relid, int attnum)
{
	if (AuditedOf(relid) != NULL)
		column_altered(relid, attnum);
	AlteredRowsOfType(get_rel_type_id(relid));
}

/* Only now is it known that the command may, and still nothing of it is seen. */
static void
type_altered(Oid type)
{
	if (AlteredCommandRenamesValue())
		AlteredRowsOfType(type);
}

static void
table_altered(Oid relid)
{
	FormData_pg_class now;
	bool		renamed = new_class(relid, &now) &&
		(strcmp(NameStr(now.relname), get_rel_name(relid)) != 0 || now.relnamespace != get_rel_namespace(relid));

	AlteredNote(relid, renamed ? ALTERED_NAME : ALTERED_DEFINITION, InvalidOid);
}

/* The schema's name as the running command has just written it; false: none. */
static bool
new_schema_name(Oid schema, NameData *name)
{
	HeapTuple	row = CatalogRow(NamespaceRelationId, NamespaceOidIndexId, Anum_pg_namespace_oid, schema, SnapshotSelf);

	if (row == NULL)
		return false;
	*name = ((Form_pg_namespace) GETSTRUCT(row))->nspname;
	heap_freetuple(row);
	return true;
}

/* Its tables are called otherwise, if it is: it may have got another owner. */
static void
schema_altered(Oid schema)
{
	char	   *before = get_namespace_name(schema);
	NameData	now;
	Relation	catalog;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *relids = NIL;
	ListCell   *lc;

	if (before == NULL || !new_schema_name(schema, &now) || strcmp(before, NameStr(now)) == 0)
		return;
	catalog = table_open(RelationRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_class_relnamespace, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(schema));
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		relids = lappend_oid(relids, ((Form_pg_class) GETSTRUCT(tuple))->oid);
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);

	foreach(lc, relids)
		if (AuditedOf(lfirst_oid(lc)) != NULL)
			AlteredNote(lfirst_oid(lc), ALTERED_NAME, InvalidOid);
}

static void
relation_dropped(Oid relid, int attnum)
{
	AlteredDigestRows(relid);
	if (attnum == 0)
	{
		AlteredNote(relid, ALTERED_DROPPED, InvalidOid);
		AuditedForget(relid);
	}
	else
	{
		AlteredNote(relid, ALTERED_ROWS | ALTERED_DEFINITION, InvalidOid);
		AlteredColumnName(relid, get_attname(relid, attnum, false), NULL);
	}
}

/*
 * With a table its out-of-line values go first, and of these the index: the last
 * moment at which the table's rows can be read.
 */
static void
toast_index_dropped(Oid index)
{
	char	   *name = get_rel_name(index);
	char		expected[NAMEDATALEN];
	Oid			relid;

	if (get_rel_namespace(index) != PG_TOAST_NAMESPACE || name == NULL || sscanf(name, "pg_toast_%u", &relid) != 1)
		return;
	snprintf(expected, sizeof(expected), "pg_toast_%u_index", relid);
	if (strcmp(name, expected) == 0 && AuditedOf(relid) != NULL)
		AlteredDigestRows(relid);
}

/* Is the one a child of the other, as the running command has just written it? */
static bool
is_child(Oid child, Oid parent)
{
	Relation	catalog = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(child));
	scan = systable_beginscan(catalog, InheritsRelidSeqnoIndexId, true, SnapshotSelf, 1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_inherits form = (Form_pg_inherits) GETSTRUCT(tuple);

		found = form->inhparent == parent && !form->inhdetachpending;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

static void
inheritance_altered(Oid child, Oid parent)
{
	if (AuditedOf(parent) != NULL)
		AlteredNote(child, is_child(child, parent) ? ALTERED_ATTACHED : ALTERED_DETACHED, parent);
	else
		definition_changed(child);	/* it is written through another table, too */
}

/* --- what belongs to a table --------------------------------------------------------- */

/* Does it change what is stored, or who may? */
static bool
counts(Oid classid, const DdlPart *part)
{
	return !part->internal && AuditedOf(part->relid) != NULL &&
		(classid == TriggerRelationId || classid == RewriteRelationId || classid == PolicyRelationId ||
		 classid == ConstraintRelationId);
}

static void
part_created(Oid classid, Oid objectid)
{
	DdlPart		before,
				part;

	if (!DdlReadPart(classid, objectid, SnapshotSelf, &part))
		return;
	if (classid == TriggerRelationId && part.rewritten &&
		DdlReadPart(classid, objectid, NULL, &before) && IsCaptureTrigger(&before))
		RefuseTriggerChange(&before, "replacing");
	if (counts(classid, &part))
		AlteredNote(part.relid, ALTERED_DEFINITION, InvalidOid);
}

/*
 * Ours was switched off with all others: on again at once, before anything else that
 * the command does, since that may run others' code (a CHECK's function, say).
 */
static void
keep_firing(Oid trigger, Oid relid)
{
	Relation	catalog;
	HeapTuple	row;

	CommandCounterIncrement();
	row = CatalogRow(TriggerRelationId, TriggerOidIndexId, Anum_pg_trigger_oid, trigger, NULL);
	if (row == NULL)
		elog(ERROR, "could not find trigger %u", trigger);
	((Form_pg_trigger) GETSTRUCT(row))->tgenabled = TRIGGER_FIRES_ALWAYS;
	catalog = table_open(TriggerRelationId, RowExclusiveLock);
	CatalogTupleUpdate(catalog, &row->t_self, row);
	table_close(catalog, RowExclusiveLock);
	heap_freetuple(row);
	CacheInvalidateRelcacheByRelid(relid);
	CommandCounterIncrement();
}

static void
part_altered(Oid classid, Oid objectid)
{
	DdlPart		before,
				now;

	if (!DdlReadPart(classid, objectid, NULL, &before))
		return;
	/* a foreign key that is not checked any more */
	if (before.internal && DdlReadPart(classid, objectid, SnapshotSelf, &now) && now.enabled != before.enabled)
		definition_changed(before.relid);
	if (!counts(classid, &before))
		return;
	if (classid != TriggerRelationId || !IsCaptureTrigger(&before))
		AlteredNote(before.relid, ALTERED_DEFINITION, InvalidOid);
	else if (!DdlReadPart(classid, objectid, SnapshotSelf, &now) ||
			 strcmp(NameStr(now.name), NameStr(before.name)) != 0)
		RefuseTriggerChange(&before, "renaming");
	else if (now.enabled != TRIGGER_FIRES_ALWAYS)
	{
		keep_firing(objectid, before.relid);
		AlteredNote(before.relid, ALTERED_SWITCHED, InvalidOid);
	}
}

static void
part_dropped(Oid classid, Oid objectid)
{
	DdlPart		part;

	if (!DdlReadPart(classid, objectid, NULL, &part) || !counts(classid, &part))
		return;
	AlteredNote(part.relid, classid == TriggerRelationId && IsCaptureTrigger(&part) ?
				ALTERED_TRIGGER_GONE : ALTERED_DEFINITION, InvalidOid);
}

/* An index says what is unique, and names rows where it is the replica identity. */
static void
index_changed(Oid index, SnapshotData *snapshot)
{
	DdlPart		part;

	if (DdlReadPart(IndexRelationId, index, snapshot, &part))
		definition_changed(part.relid);
}

/* --- the hook's part ------------------------------------------------------------------- */

void
AlteredEvent(ObjectAccessType access, Oid classid, Oid objectid, int subid, void *arg)
{
	bool		relation = classid == RelationRelationId;

	/* The extension is being dropped, and the registry cannot be read any more. */
	if (GuardCommandMode() == GUARD_DROPS && !OidIsValid(PrivateRelid("ledger_audited_pkey")))
		return;

	switch (access)
	{
		case OAT_POST_CREATE:
			if (classid == AttrDefaultRelationId)
				definition_changed(objectid);	/* of that relation and column */
			else if (!relation)
				part_created(classid, objectid);
			else if (subid != 0)
				column_created(objectid, subid);
			else if (((ObjectAccessPostCreate *) arg)->is_internal)
				heap_created(objectid);
			else
				index_changed(objectid, SnapshotSelf);
			break;

		case OAT_POST_ALTER:
			if (classid == InheritsRelationId)
				inheritance_altered(objectid, ((ObjectAccessPostAlter *) arg)->auxiliary_id);
			else if (((ObjectAccessPostAlter *) arg)->is_internal)
				break;
			else if (classid == NamespaceRelationId)
				schema_altered(objectid);
			else if (classid == TypeRelationId)
				type_altered(objectid);
			else if (!relation)
				part_altered(classid, objectid);
			else if (AuditedOf(objectid) == NULL)
				break;
			else if (subid != 0)
				column_altered(objectid, subid);
			else
				table_altered(objectid);
			break;

		case OAT_DROP:
			if (relation && subid != 0)
				AlteredRowsOfType(get_rel_type_id(objectid));
			if (relation && AuditedOf(objectid) != NULL)
				relation_dropped(objectid, subid);
			else if (relation && subid == 0)
				toast_index_dropped(objectid);
			if ((((ObjectAccessDrop *) arg)->dropflags & PERFORM_DELETION_INTERNAL) != 0)
				break;
			if (classid == AttrDefaultRelationId)
				definition_changed(GetAttrDefaultColumnAddress(objectid).objectId);
			else if (!relation)
				part_dropped(classid, objectid);
			else if (subid == 0)
				index_changed(objectid, NULL);
			break;

		default:
			break;
	}
}
