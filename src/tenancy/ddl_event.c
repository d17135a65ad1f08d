/*
 * ddl_event.c
 *		The object access hook: which object the running command creates, changes
 *		or drops.  Catalog rows are read twice where it matters: under the
 *		catalog's own snapshot they are as earlier commands left them, under
 *		SnapshotSelf as the running one has just written them.
 */
#include "tenancy/ddl.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* A catalog of things that belong to a relation. */
typedef struct PartCatalog
{
	Oid			classid;
	Oid			index;			/* on oid_column */
	AttrNumber	oid_column;
	AttrNumber	relation_column;
	AttrNumber	name_column;	/* 0: none */
	const char *what;
} PartCatalog;

static const PartCatalog part_catalogs[] = {
	{PolicyRelationId, PolicyOidIndexId, Anum_pg_policy_oid,
	Anum_pg_policy_polrelid, Anum_pg_policy_polname, "policy"},
	{TriggerRelationId, TriggerOidIndexId, Anum_pg_trigger_oid,
	Anum_pg_trigger_tgrelid, Anum_pg_trigger_tgname, "trigger"},
	{RewriteRelationId, RewriteOidIndexId, Anum_pg_rewrite_oid,
	Anum_pg_rewrite_ev_class, Anum_pg_rewrite_rulename, "rule"},
	{ConstraintRelationId, ConstraintOidIndexId, Anum_pg_constraint_oid,
	Anum_pg_constraint_conrelid, Anum_pg_constraint_conname, "constraint"},
	{StatisticExtRelationId, StatisticExtOidIndexId, Anum_pg_statistic_ext_oid,
	Anum_pg_statistic_ext_stxrelid, Anum_pg_statistic_ext_stxname, "statistics object"},
	{IndexRelationId, IndexRelidIndexId, Anum_pg_index_indexrelid,
	Anum_pg_index_indrelid, 0, "index"},
};

static object_access_hook_type prev_object_access = NULL;

bool
DdlReadPart(Oid classid, Oid objectid, Snapshot snapshot, DdlPart *part)
{
	const PartCatalog *catalog = NULL;
	Relation	rel;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		isnull;

	for (int i = 0; i < lengthof(part_catalogs); i++)
		if (part_catalogs[i].classid == classid)
			catalog = &part_catalogs[i];
	if (catalog == NULL)
		return false;

	memset(part, 0, sizeof(*part));
	rel = table_open(classid, AccessShareLock);
	ScanKeyInit(&key, catalog->oid_column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(objectid));
	scan = systable_beginscan(rel, catalog->index, true, snapshot, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		part->what = catalog->what;
		part->rewritten = (tuple->t_data->t_infomask & HEAP_UPDATED) != 0;
		part->relid = DatumGetObjectId(heap_getattr(tuple, catalog->relation_column,
													RelationGetDescr(rel), &isnull));
		if (catalog->name_column != 0)
			part->name = *DatumGetName(heap_getattr(tuple, catalog->name_column,
													RelationGetDescr(rel), &isnull));
		if (classid == TriggerRelationId)
		{
			part->internal = ((Form_pg_trigger) GETSTRUCT(tuple))->tgisinternal;
			part->enabled = ((Form_pg_trigger) GETSTRUCT(tuple))->tgenabled;
			part->function = ((Form_pg_trigger) GETSTRUCT(tuple))->tgfoid;
		}
		else if (classid == ConstraintRelationId)
			part->referenced = ((Form_pg_constraint) GETSTRUCT(tuple))->confrelid;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return part->what != NULL;
}

/* Is it one of our policies or triggers on a protected relation? */
static bool
is_our_part(Oid classid, const DdlPart *part)
{
	return (classid == PolicyRelationId || classid == TriggerRelationId) &&
		ProtectionPartName(NameStr(part->name)) &&
		ProtectionOf(part->relid) != NULL;
}

/* A table that the running command has just made, and others will see. */
static bool
is_new_table(Oid relid)
{
	Relation	catalog = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		result = false;

	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, ClassOidIndexId, true, SnapshotSelf, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		result = (form->relkind == RELKIND_RELATION || form->relkind == RELKIND_PARTITIONED_TABLE) &&
			form->relpersistence != RELPERSISTENCE_TEMP;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return result;
}

/* The column as the running command has just written it. */
static bool
new_attribute(Oid relid, int attnum, FormData_pg_attribute *attribute)
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
		memcpy(attribute, GETSTRUCT(tuple), ATTRIBUTE_FIXED_PART_SIZE);
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

/* Does the protection stand on this column? */
static bool
is_key_column(const Protection *protection, const char *column)
{
	return strcmp(protection->tenant_column, column) == 0 ||
		strcmp(protection->affiliation_column, column) == 0;
}

static void
relation_created(Oid relid)
{
	DdlPart		index;

	/* An index's expressions would read every row. */
	if (DdlReadPart(IndexRelationId, relid, SnapshotSelf, &index))
		RefuseApp(index.relid, "CREATE INDEX");
	else if (is_new_table(relid))
		SettleRelation(SETTLE_CREATED, relid);
}

static void
column_created(Oid relid)
{
	RefuseApp(relid, "ADD COLUMN");
	if (ProtectionOf(relid) != NULL)
		SettleRelation(SETTLE_CHANGED, relid);
}

static void
part_created(Oid classid, Oid objectid)
{
	DdlPart		part;

	if (!DdlReadPart(classid, objectid, SnapshotSelf, &part))
		return;
	RefuseApp(part.relid, psprintf("adding a %s", part.what));

	if (part.rewritten && is_our_part(classid, &part))
		Weaken(part.relid, psprintf("replacing %s \"%s\"", part.what, NameStr(part.name)));
	else if (classid == PolicyRelationId && is_our_part(classid, &part))
		SettleRelation(SETTLE_CHANGED, part.relid);	/* a restore's */

	/* A rule may write where its owner's rights go past row security. */
	if (classid == RewriteRelationId)
	{
		ListCell   *lc;

		foreach(lc, ProtectionRuleTargets(objectid))
			SettleRelation(SETTLE_CHANGED, lfirst_oid(lc));
	}

	/* A foreign key: from a protected table it must stay within the tenant, to
	 * one it may make a child. */
	if (OidIsValid(part.referenced))
	{
		if (ProtectionOf(part.relid) != NULL)
			SettleRelation(SETTLE_CHANGED, part.relid);
		else if (ProtectionOf(part.referenced) != NULL)
			SettleRelation(SETTLE_CREATED, part.relid);
	}
}

static void
column_altered(const Protection *protection, int attnum)
{
	char	   *column = get_attname(protection->relid, attnum, true);
	FormData_pg_attribute now;

	SettleRelation(SETTLE_CHANGED, protection->relid);
	if (column == NULL || !new_attribute(protection->relid, attnum, &now))
		return;
	if (strcmp(column, NameStr(now.attname)) != 0)
	{
		if (is_key_column(protection, column))
			Weaken(protection->relid, psprintf("renaming column \"%s\"", column));
		SettleColumn(protection->relid, column, NameStr(now.attname));
	}
	else if (is_key_column(protection, column) &&
			 now.atttypid != get_atttype(protection->relid, attnum))
		Weaken(protection->relid, psprintf("changing the type of column \"%s\"", column));
}

static void
relation_altered(Oid relid, int attnum)
{
	const Protection *protection = ProtectionOf(relid);

	if (protection == NULL)
		return;
	RefuseApp(relid, "ALTER TABLE");
	if (attnum > 0)
		column_altered(protection, attnum);
	else
		SettleRelation(SETTLE_CHANGED, relid);
}

/* A child came to a parent, or left it. */
static void
inheritance_altered(Oid child, Oid parent)
{
	/* A partition made for the login by a SECURITY DEFINER function is a new
	 * table; one of its own making could bring checks that run others' rows. */
	if (!IsSettleCreated(child) || !InLocalUserIdChange())
	{
		RefuseApp(child, "changing the parents");
		RefuseApp(parent, "changing the children");
	}
	if (ProtectionOf(child) != NULL)
		SettleRelation(SETTLE_CHANGED, child);
	else if (ProtectionOf(parent) != NULL)
		SettleRelation(SETTLE_CREATED, child);
}

static void
part_altered(Oid classid, Oid objectid)
{
	DdlPart		before,
				now;

	if (!DdlReadPart(classid, objectid, NULL, &before))
		return;
	RefuseApp(before.relid, psprintf("changing a %s", before.what));
	if (OidIsValid(before.referenced) && ProtectionOf(before.relid) != NULL)
		SettleRelation(SETTLE_CHANGED, before.relid);	/* a foreign key's deferrability */
	if (!is_our_part(classid, &before))
		return;
	SettleRelation(SETTLE_CHANGED, before.relid);

	if (classid == TriggerRelationId &&
		DdlReadPart(classid, objectid, SnapshotSelf, &now) &&
		strcmp(NameStr(now.name), NameStr(before.name)) == 0)
	{
		/* Ours always fire: a dump that says so again changes nothing. */
		if (now.enabled == TRIGGER_FIRES_ALWAYS)
			return;
		if (superuser())
		{
			SettlePart(SETTLE_SWITCHED, classid, before.relid, NameStr(before.name));
			return;
		}
	}
	Weaken(before.relid, psprintf("changing %s \"%s\"", before.what, NameStr(before.name)));
}

static void
relation_dropped(Oid relid, int attnum)
{
	const Protection *protection = ProtectionOf(relid);
	char	   *column;

	if (protection == NULL)
		return;
	if (attnum == 0)
	{
		RefuseApp(relid, "DROP TABLE");
		ProtectionForget(relid);
		return;
	}
	RefuseApp(relid, "DROP COLUMN");
	column = get_attname(relid, attnum, true);
	if (column != NULL && is_key_column(protection, column))
		Weaken(relid, psprintf("dropping column \"%s\"", column));
	SettleRelation(SETTLE_CHANGED, relid);
}

static void
part_dropped(Oid classid, Oid objectid)
{
	DdlPart		part;

	if (!DdlReadPart(classid, objectid, NULL, &part) || part.internal)
		return;
	RefuseApp(part.relid, psprintf("dropping a %s", part.what));
	if (is_our_part(classid, &part))
		SettlePart(SETTLE_REMOVED, classid, part.relid, NameStr(part.name));
}

static void
ddl_object_access(ObjectAccessType access, Oid classid, Oid objectid, int subid, void *arg)
{
	bool		relation = classid == RelationRelationId;

	if (prev_object_access)
		prev_object_access(access, classid, objectid, subid, arg);
	if (!DdlWatched())
		return;

	switch (access)
	{
		case OAT_POST_CREATE:
			if (!relation)
				part_created(classid, objectid);
			else if (subid != 0)
				column_created(objectid);
			else if (!((ObjectAccessPostCreate *) arg)->is_internal)	/* else a heap that a rewrite fills */
				relation_created(objectid);
			break;

		case OAT_POST_ALTER:
			if (classid == InheritsRelationId)
				inheritance_altered(objectid, ((ObjectAccessPostAlter *) arg)->auxiliary_id);
			else if (((ObjectAccessPostAlter *) arg)->is_internal)
				break;
			else if (relation)
				relation_altered(objectid, subid);
			else
				part_altered(classid, objectid);
			break;

		case OAT_DROP:
			if (relation)
				relation_dropped(objectid, subid);
			else if ((((ObjectAccessDrop *) arg)->dropflags & PERFORM_DELETION_INTERNAL) == 0)
				part_dropped(classid, objectid);
			break;

		case OAT_TRUNCATE:
			RefuseApp(objectid, "TRUNCATE");
			break;

		default:
			break;
	}
}

void
DdlEventInit(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = ddl_object_access;
}
