/*
 * guard_event.c
 *		The object access hook: whatever a command is called, and however deep a
 *		CASCADE reaches, it is asked by oid before it touches what is the ledger's.
 */
#include "ledger/guard.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

static object_access_hook_type prev_object_access = NULL;

static bool
is_our_schema(Oid schema)
{
	return schema >= FirstNormalObjectId &&
		(schema == get_namespace_oid(BULWARK_PRIVATE_SCHEMA, true) ||
		 schema == get_namespace_oid(BULWARK_SCHEMA, true));
}

static bool
is_our_view(Oid relid)
{
	return get_rel_relkind(relid) == RELKIND_VIEW && IsLedgerMember(RelationRelationId, relid);
}

/*
 * The schema that the running command has given an object of the kinds that live in
 * one; InvalidOid where that says nothing: what comes with a table stands and falls
 * with that, and so do the row type of one, and an array type with what it is of.
 */
static Oid
schema_of(Oid classid, Oid objectid)
{
	Relation	catalog;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			schema = InvalidOid;
	bool		isnull;

	if (classid == ConstraintRelationId || !is_objectclass_supported(classid) ||
		get_object_attnum_namespace(classid) == InvalidAttrNumber)
		return InvalidOid;
	catalog = table_open(classid, AccessShareLock);
	ScanKeyInit(&key, get_object_attnum_oid(classid), BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(objectid));
	scan = systable_beginscan(catalog, get_object_oid_index(classid), true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple) &&
		!(classid == TypeRelationId && (OidIsValid(((Form_pg_type) GETSTRUCT(tuple))->typrelid) ||
										IsTrueArrayType((Form_pg_type) GETSTRUCT(tuple)))) &&
		!(classid == RelationRelationId && (((Form_pg_class) GETSTRUCT(tuple))->relkind == RELKIND_INDEX ||
											((Form_pg_class) GETSTRUCT(tuple))->relkind == RELKIND_PARTITIONED_INDEX)))
		schema = DatumGetObjectId(heap_getattr(tuple, get_object_attnum_namespace(classid),
											   RelationGetDescr(catalog), &isnull));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return schema;
}

/* What is called as if it were ours, or is where ours is to be, stands in its way. */
static void
check_stranger(Oid classid, Oid objectid, const char *what)
{
	Oid			schema = schema_of(classid, objectid);

	if (is_our_schema(schema) && OidIsValid(LedgerExtension()) && !IsLedgerMember(classid, objectid))
		RefuseLedgerDefinition(psprintf("%s schema \"%s\"", what, get_namespace_name(schema)));
}

/* A part of a table of ours, but a trigger of others' foreign key to one. */
static bool
is_our_part(const DdlPart *part)
{
	return IsLedgerRelation(part->relid) || (!part->internal && OidIsValid(OwnTableOf(part->relid)));
}

/* Such a part, or a foreign key to a ledger table. */
static void
check_part(const DdlPart *part, const char *what)
{
	Oid			relid = is_our_part(part) ? part->relid :
		OidIsValid(part->referenced) && IsLedgerRelation(part->referenced) ? part->referenced : InvalidOid;

	if (OidIsValid(relid))
		RefuseOwnChange(psprintf("%s %s %s", what, part->what[0] == 'i' ? "an" : "a", part->what), relid);
}

static void
check_create(Oid classid, Oid objectid, int subid, bool internal)
{
	DdlPart		part;

	if (classid == RelationRelationId)
	{
		if (subid != 0)
		{
			if (OidIsValid(OwnTableOf(objectid)))
				RefuseOwnChange("adding a column", objectid);
		}
		else if (internal)		/* a heap that VACUUM FULL or CLUSTER fills */
			return;
		else if (DdlReadPart(IndexRelationId, objectid, SnapshotSelf, &part))
			check_part(&part, "adding");
		else if (IsNewLedgerRelation(objectid))
			RefuseLedgerDefinition("another relation of that name in schema \"" BULWARK_PRIVATE_SCHEMA "\"");
		else
			check_stranger(classid, objectid, "another relation in");
	}
	else if (classid == ProcedureRelationId)
	{
		if (IsLedgerMember(classid, objectid))
			RefuseLedgerDefinition("replacing a function of bulwark");
		check_stranger(classid, objectid, "another function in");
	}
	else if (DdlReadPart(classid, objectid, SnapshotSelf, &part))
	{
		check_part(&part, part.rewritten ? "replacing" : "adding");
		if ((classid == RewriteRelationId || classid == TriggerRelationId) && is_our_view(part.relid))
			RefuseLedgerDefinition("replacing a view of bulwark, or what it does,");
	}
	else if (!internal)
		check_stranger(classid, objectid, "creating something in");
}

static void
check_alter(Oid classid, Oid objectid, Oid auxiliary, bool internal)
{
	DdlPart		part;

	switch (classid)
	{
		case InheritsRelationId:
			if (OidIsValid(OwnTableOf(objectid)))
				RefuseOwnChange("changing the parents", objectid);
			if (OidIsValid(OwnTableOf(auxiliary)))
				RefuseOwnChange("changing the children", auxiliary);
			break;
		case RelationRelationId:
			if (internal)
				break;
			if (OidIsValid(OwnTableOf(objectid)))
				RefuseOwnChange("ALTER", OwnTableOf(objectid));
			if (IsNewLedgerRelation(objectid))
				RefuseLedgerDefinition("another relation of that name in schema \"" BULWARK_PRIVATE_SCHEMA "\"");
			if (is_our_view(objectid))
				RefuseLedgerDefinition("altering a view of bulwark");
			check_stranger(classid, objectid, "another relation in");
			break;
		case NamespaceRelationId:
			if (is_our_schema(objectid))
				RefuseLedgerDefinition("altering a schema of bulwark");
			break;
		case ProcedureRelationId:
			if (IsLedgerMember(classid, objectid))
				RefuseLedgerDefinition("altering a function of bulwark");
			check_stranger(classid, objectid, "another function in");
			break;
		default:
			if (internal)
				break;
			if (DdlReadPart(classid, objectid, NULL, &part))
				check_part(&part, "changing");
			else if (is_our_schema(schema_of(classid, objectid)))
				RefuseLedgerDefinition("altering what is in a schema of bulwark");
			break;
	}
}

bool
GoesWithLedger(Oid classid, Oid objectid, Oid *relid)
{
	DdlPart		part;

	*relid = InvalidOid;

	switch (classid)
	{
		case ExtensionRelationId:
			return objectid == LedgerExtension();
		case NamespaceRelationId:
			return is_our_schema(objectid) && OidIsValid(LedgerExtension());
		case ProcedureRelationId:
			return IsLedgerMember(classid, objectid);
		case RelationRelationId:
			*relid = OwnTableOf(objectid);
			return OidIsValid(*relid) || is_our_view(objectid);
		default:
			if (DdlReadPart(classid, objectid, NULL, &part) && is_our_part(&part))
				*relid = part.relid;
			return OidIsValid(*relid);
	}
}

static void
check_drop(Oid classid, Oid objectid)
{
	Oid			relid;

	if (!GoesWithLedger(classid, objectid, &relid))
		return;
	/* The log may have begun while the command waited for its locks. */
	if (GuardCommandMode() == GUARD_DROPS && (classid != RelationRelationId || MayDecommission()))
		return;
	if (OidIsValid(relid))
		RefuseOwnChange("DROP", relid);
	RefuseLedgerDefinition("dropping what belongs to bulwark");
}

/* What the command does to the ledger itself. */
static void
check_event(ObjectAccessType access, Oid classid, Oid objectid, int subid, void *arg)
{
	switch (access)
	{
		case OAT_POST_CREATE:
			check_create(classid, objectid, subid, ((ObjectAccessPostCreate *) arg)->is_internal);
			break;
		case OAT_POST_ALTER:
			check_alter(classid, objectid, ((ObjectAccessPostAlter *) arg)->auxiliary_id,
						((ObjectAccessPostAlter *) arg)->is_internal);
			break;
		case OAT_DROP:
			check_drop(classid, objectid);
			break;
		case OAT_TRUNCATE:
			if (OidIsValid(LedgerTableOf(objectid)))
				RefuseLedgerChange("TRUNCATE", objectid);
			break;
		default:
			break;
	}
}

/*
 * A catalog that is part of another table is changed through that, and one that has
 * parts is read with theirs: nobody would look for either.
 */
static void
check_catalog_parts(Oid child, Oid parent)
{
	if (Min(child, parent) < FirstNormalObjectId && OidIsValid(LedgerExtension()) && !MayDecommission() && !GuardOff())
		RefuseLedgerDefinition("changing the parents or children of a system catalog");
}

static void
guard_object_access(ObjectAccessType access, Oid classid, Oid objectid, int subid, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classid, objectid, subid, arg);

	/* these two come with every look-up and every call */
	if (access == OAT_NAMESPACE_SEARCH || access == OAT_FUNCTION_EXECUTE)
		return;
	if (access == OAT_POST_ALTER && classid == InheritsRelationId)
		check_catalog_parts(objectid, ((ObjectAccessPostAlter *) arg)->auxiliary_id);
	/* what initdb made concerns no ledger, but for schema public, in which tables are */
	if (objectid < FirstNormalObjectId && classid != NamespaceRelationId)
		return;
	if (GuardCommandMode() == GUARD_MAINTAINS || GuardOff())
		return;
	check_event(access, classid, objectid, subid, arg);
	AlteredEvent(access, classid, objectid, subid, arg);
}

void
GuardEventInit(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = guard_object_access;
}
