/*
 * protect.c
 *		protect() and unprotect(): what is asked for is checked whole against the
 *		catalogs before the first strong lock is asked for.
 */
#include "tenancy/protect.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "replication/logicalworker.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(bulwark_protect);
PG_FUNCTION_INFO_V1(bulwark_unprotect);
PG_FUNCTION_INFO_V1(bulwark_protection_replace);
PG_FUNCTION_INFO_V1(bulwark_tenant_immutable);

/* --- what may be protected, and by whom ------------------------------------ */

static void
refuse_relation(Oid relid, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("cannot protect \"%s\": it is %s", get_rel_name(relid), what),
			 errhint("%s", hint)));
}

/* An ordinary or partitioned table of the application's. */
static void
require_table(Oid relid)
{
	char		relkind = get_rel_relkind(relid);
	Oid			schema = get_rel_namespace(relid);
	const char *schema_name = get_namespace_name(schema);

	if (relkind == '\0')
		RefuseGone(relid);
	if (IsCatalogNamespace(schema) || IsToastNamespace(schema) || strcmp(schema_name, "information_schema") == 0)
		refuse_relation(relid, "a system table", "Protect the application's own tables.");
	if (strcmp(schema_name, BULWARK_SCHEMA) == 0 || strcmp(schema_name, BULWARK_PRIVATE_SCHEMA) == 0)
		refuse_relation(relid, "part of bulwark", "Bulwark's own relations are isolated already.");
	switch (relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			break;
		case RELKIND_VIEW:
			refuse_relation(relid, "a view", "Protect the tables that it reads, and set security_invoker on the view.");
			break;
		case RELKIND_MATVIEW:
			refuse_relation(relid, "a materialized view",
							"PostgreSQL has no row security on materialized views: make it a table, or keep application roles from it.");
			break;
		case RELKIND_FOREIGN_TABLE:
			refuse_relation(relid, "a foreign table",
							"PostgreSQL has no row security on foreign tables: protect the table on the other server, or keep application roles from this one.");
			break;
		default:
			refuse_relation(relid, "not a table", "Name a table.");
	}
	if (get_rel_persistence(relid) == RELPERSISTENCE_TEMP)
		refuse_relation(relid, "a temporary table", "Only its own session sees it.");
}

void
RequireRights(Oid relid)
{
	Oid			userid = GetUserId();

	if (superuser_arg(userid))
		return;
	if (!HasClusterRole(userid, ROLE_ADMIN))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to protect \"%s\"", get_rel_name(relid)),
				 errdetail("Only members of \"%s\" protect tables.", ROLE_ADMIN)));
	if (!BW_OWNS_RELATION(relid, userid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table %s", get_rel_name(relid))));
}

/* The partitions and inheritance children can be protected, too. */
static void
require_tree(Oid relid)
{
	ListCell   *lc;

	if (has_superclass(relid))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot protect \"%s\": it is a partition or inheritance child", get_rel_name(relid)),
				 errhint("Protect the table at the top: its partitions and children are protected with it.")));
	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		Oid			child = lfirst_oid(lc);

		require_table(child);
		if (child != relid)
			RequireRights(child);
	}
}

/* --- the request ------------------------------------------------------------ */

static void
bad_argument(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message), errhint("%s", hint)));
}

/* A column that names a tenant or an affiliation: it exists, its type can. */
static void
require_key_column(Oid relid, const char *column, const char *what)
{
	Oid			type;

	if (ColumnKeyType(relid, column) != KEY_NONE)
		return;
	type = get_atttype(relid, get_attnum(relid, column));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("column \"%s\" of relation \"%s\" has type %s, which cannot name %s",
					column, get_rel_name(relid), format_type_be(type), what),
			 errhint("It takes uuid, smallint, integer, bigint, text or varchar%s.",
					 getBaseType(type) == BPCHAROID ?
					 "; char(n) pads with blanks: change the column to text" : "")));
}

/*
 * The foreign key from a child to its parent, by name where one is given.
 * Keys that partitioning derives on the referenced side are no keys of ours.
 */
static void
find_parent_key(Protection *p, const char *key_name)
{
	Relation	rel = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *names = NIL;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(p->relid));
	scan = systable_beginscan(rel, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint con = (Form_pg_constraint) GETSTRUCT(tuple);

		if (con->contype != CONSTRAINT_FOREIGN || con->confrelid != p->parent ||
			(key_name && strcmp(NameStr(con->conname), key_name) != 0))
			continue;
		names = lappend(names, pstrdup(NameStr(con->conname)));
		p->key_columns = ConstraintColumns(p->relid, tuple, Anum_pg_constraint_conkey);
		p->parent_columns = ConstraintColumns(p->parent, tuple, Anum_pg_constraint_confkey);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	if (names == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 key_name ? errmsg("relation \"%s\" has no foreign key \"%s\" to \"%s\"", get_rel_name(p->relid), key_name, get_rel_name(p->parent)) :
				 errmsg("relation \"%s\" has no foreign key to \"%s\"", get_rel_name(p->relid), get_rel_name(p->parent)),
				 errhint("Add the foreign key that says whose row each row belongs to (NOT VALID first on a filled table).")));
	if (list_length(names) > 1)
	{
		StringInfoData buf;

		initStringInfo(&buf);
		for (int i = 0; i < list_length(names); i++)
			appendStringInfo(&buf, "%s\"%s\"", i ? ", " : "", (char *) list_nth(names, i));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("relation \"%s\" has %d foreign keys to \"%s\"", get_rel_name(p->relid), list_length(names), get_rel_name(p->parent)),
				 errdetail("They are %s.", buf.data),
				 errhint("Name the one that says whose row each row belongs to: parent_key => '...'.")));
	}
}

/* The tenant that this database is pinned to; false if it is not. */
static bool
pinned_tenant(pg_uuid_t *tenant)
{
	TrustedScope scope;
	bool		found;
	Datum		id;

	TrustedBegin(&scope);
	id = TrustedScalar("SELECT tenant_id FROM bulwark_internal.pinned_tenant", 0, NULL, NULL, NULL, &found, NULL);
	TrustedEnd(&scope);
	if (found)
		*tenant = *DatumGetUUIDP(id);
	return found;
}

/* What protect()'s arguments ask for, checked against the catalogs. */
static void
resolve_request(Protection *p, const char *parent_key)
{
	bool		tenant = p->tenant_column[0] != '\0';
	bool		affiliation = p->affiliation_column[0] != '\0';

	if (strpbrk(p->resource, ":*") || p->resource[0] == '\0')
		bad_argument(psprintf("\"%s\" cannot be the name of a resource", p->resource),
					 "A resource has a name without ':' and '*': resource => '...'.");
	if (tenant)
		require_key_column(p->relid, p->tenant_column, "a tenant");
	if (affiliation)
		require_key_column(p->relid, p->affiliation_column, "an affiliation");

	if (p->kind == 's')
	{
		if (tenant || affiliation || OidIsValid(p->parent) || p->materialize)
			bad_argument("a shared table has no tenant, affiliation or parent",
						 "Call protect with shared => true alone, or without it.");
	}
	else if (OidIsValid(p->parent))
	{
		const Protection *parent = ProtectionOf(p->parent);

		p->kind = 'c';
		if (p->parent == p->relid)
			bad_argument(psprintf("relation \"%s\" cannot be its own parent", get_rel_name(p->relid)),
						 "Name the table whose rows decide, or the tenant column.");
		if (parent == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("parent \"%s\" is not protected", get_rel_name(p->parent)),
					 errhint("Protect parents before their children; protect_schema() lists tables in that order.")));
		if (parent->kind == 's')
			bad_argument(psprintf("rows of the shared table \"%s\" belong to no tenant", get_rel_name(p->parent)),
						 "Name the parent whose rows have a tenant.");
		find_parent_key(p, parent_key);
		p->pinned = parent->pinned;
		p->pinned_tenant = parent->pinned_tenant;
	}
	else if (tenant)
		p->kind = 't';
	else
	{
		p->kind = 'a';
		p->pinned = pinned_tenant(&p->pinned_tenant);
		if (!p->pinned)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("no tenant column is given and the database is not pinned to a tenant"),
					 errhint("Give tenant_column, parent or shared => true; or call pin_tenant() in a database that holds one tenant.")));
	}
	if (parent_key && p->kind != 'c')
		bad_argument("parent_key needs a parent", "Name the parent table as well.");
	if (p->materialize)
		MaterializeCheck(p);
}

/*
 * Warn of rows without a tenant, before any strong lock.  In a subtransaction
 * that is rolled back, so that not even the weak lock stays: asking for the
 * strong one on top of it would invite a deadlock.
 */
static void
count_nulls(const Protection *p)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	TrustedScope scope;
	int64		nulls;
	HeapTuple	tuple;
	bool		not_null;

	if (!p->tenant_column[0])
		return;
	tuple = SearchSysCacheAttName(p->relid, p->tenant_column);
	not_null = ((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull;
	ReleaseSysCache(tuple);
	if (not_null)
		return;

	BeginInternalSubTransaction(NULL);
	TrustedBegin(&scope);
	SetUserIdAndSecContext(RelationOwner(p->relid), scope.save_sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	nulls = DatumGetInt64(TrustedScalar(psprintf("SELECT count(*) FROM %s WHERE %s IS NULL",
												 QualifiedName(p->relid), quote_identifier(p->tenant_column)),
										0, NULL, NULL, NULL, NULL, NULL));
	TrustedEnd(&scope);
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (nulls > 0)
		ereport(WARNING,
				(errmsg(nulls == 1 ? "%lld row of \"%s\" has no tenant" : "%lld rows of \"%s\" have no tenant",
						(long long) nulls, get_rel_name(p->relid)),
				 errhint("Only members of bulwark_maintenance see them; set \"%s\" in them, and make the column NOT NULL.",
						 p->tenant_column)));
}

/* --- SQL -------------------------------------------------------------------- */

static void
optional_name(char *dst, FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg))
		dst[0] = '\0';
	else
		strlcpy(dst, NameStr(*PG_GETARG_NAME(arg)), NAMEDATALEN);
}

void
ReportProtect(const Protection *p)
{
	AuditAdmin("protect", "relation", QualifiedName(p->relid), p->pinned ? &p->pinned_tenant : NULL,
			   "kind", p->kind == 't' ? "tenant" : p->kind == 'a' ? "affiliation" : p->kind == 'c' ? "child" : "shared",
			   "tenant_column", p->tenant_column[0] ? p->tenant_column : NULL,
			   "affiliation_column", p->affiliation_column[0] ? p->affiliation_column : NULL,
			   "parent", OidIsValid(p->parent) ? QualifiedName(p->parent) : NULL,
			   "resource", p->resource,
			   "materialize", p->materialize ? "true" : NULL,
			   "automatic", p->automatic ? "true" : NULL, NULL);
}

/* protect(relation, tenant_column, affiliation_column, parent, shared, resource,
 * materialize, parent_key) */
Datum
bulwark_protect(PG_FUNCTION_ARGS)
{
	Protection *p = palloc0(sizeof(Protection));
	const char *parent_key = PG_ARGISNULL(7) ? NULL : NameStr(*PG_GETARG_NAME(7));
	const Protection *before;
	TrustedScope scope;
	ListCell   *lc;
	char	   *resource;

	if (PG_ARGISNULL(0))
		bad_argument("no relation is given", "Name the table to protect.");
	p->relid = PG_GETARG_OID(0);
	optional_name(p->tenant_column, fcinfo, 1);
	optional_name(p->affiliation_column, fcinfo, 2);
	p->parent = PG_ARGISNULL(3) ? InvalidOid : PG_GETARG_OID(3);
	p->kind = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4) ? 's' : '\0';
	require_table(p->relid);
	RequireRights(p->relid);
	resource = PG_ARGISNULL(5) ? get_rel_name(p->relid) : text_to_cstring(PG_GETARG_TEXT_PP(5));
	if (resource == NULL)
		RefuseGone(p->relid);
	if (strlen(resource) >= sizeof(p->resource))
		bad_argument("the name of a resource is too long", "It has at most 127 bytes.");
	strlcpy(p->resource, resource, sizeof(p->resource));
	p->materialize = !PG_ARGISNULL(6) && PG_GETARG_BOOL(6);

	before = ProtectionOf(p->relid);
	if (before && OidIsValid(before->root))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" is protected as part of \"%s\"", get_rel_name(p->relid), get_rel_name(before->root))));
	require_tree(p->relid);
	resolve_request(p, parent_key);
	if (before && !SameProtection(before, p) && (!before->automatic || ProtectionsWithParent(p->relid) != NIL))
		RefuseOtherProtection(p->relid);
	if (before && SameProtection(before, p))
	{
		if (before->automatic)
			ProtectionConfirm(p->relid);
		CallerBegin(&scope);
		RepairProtection(before);
		foreach(lc, ProtectionsWithRoot(p->relid))
			RepairProtection(lfirst(lc));
		TrustedEnd(&scope);
		ProtectionSync(p->relid);
		ReportProtect(p);
		PG_RETURN_VOID();
	}

	count_nulls(p);
	CallerBegin(&scope);
	if (before)
		UnprotectTree(p->relid);
	ProtectTree(p);
	TrustedEnd(&scope);
	ProtectionSync(p->relid);
	if (p->materialize)
		ProtectionSync(p->parent);
	ReportProtect(p);
	PG_RETURN_VOID();
}

/* unprotect(relation) */
Datum
bulwark_unprotect(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	const Protection *p;
	TrustedScope scope;

	require_table(relid);
	RequireRights(relid);
	p = ProtectionOf(relid);
	if (p == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" is not protected", get_rel_name(relid))));
	if (OidIsValid(p->root))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" is protected as part of \"%s\"", get_rel_name(relid), get_rel_name(p->root)),
				 errhint("Call unprotect() for that table.")));
	RequireNoChildren(relid);

	CallerBegin(&scope);
	UnprotectTree(relid);
	TrustedEnd(&scope);
	FkGuardSyncReferencing(relid);
	if (p->materialize)
		ProtectionSync(p->parent);
	AuditAdmin("unprotect", "relation", QualifiedName(relid), NULL, NULL);
	PG_RETURN_VOID();
}

/*
 * Row trigger of the registry: a row that a restore brings takes the place of
 * the one that the protection of new tables made.  Where the two say the same
 * their policies are the same; where not, ours go (row security stays on) and
 * the dump brings its own.
 */
Datum
bulwark_protection_replace(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Protection *restored;
	const Protection *before;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("bulwark_internal.protection_replace() must be called as a trigger")));

	restored = ProtectionFromTuple(trigger->tg_trigtuple, RelationGetDescr(trigger->tg_relation));
	before = ProtectionOf(restored->relid);
	if (before)
	{
		TrustedScope scope;

		TrustedBegin(&scope);
		if (!SameProtection(before, restored) || before->root != restored->root || before->materialized != restored->materialized)
			DropProtectionObjects(restored->relid);
		ProtectionUnregister(restored->relid);
		TrustedEnd(&scope);
	}
	return PointerGetDatum(trigger->tg_trigtuple);
}

/*
 * Row trigger: the tenant of a row does not change.  One that has none yet may
 * get one.  Whoever bypasses row security is bound by this, superusers too; a
 * member of bulwark_maintenance is not, nor is the foreign key that cascades
 * what such a member does.
 */
Datum
bulwark_tenant_immutable(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	Form_pg_attribute att;
	Datum		old_value,
				new_value;
	bool		old_null,
				new_null;
	Oid			maintenance;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) || trigger->tg_trigger->tgnattr != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("bulwark_internal.tenant_immutable() must be called as a trigger before update of one column")));

	desc = RelationGetDescr(trigger->tg_relation);
	att = TupleDescAttr(desc, trigger->tg_trigger->tgattr[0] - 1);
	old_value = heap_getattr(trigger->tg_trigtuple, att->attnum, desc, &old_null);
	new_value = heap_getattr(trigger->tg_newtuple, att->attnum, desc, &new_null);
	if (old_null || (!new_null && datum_image_eq(old_value, new_value, att->attbyval, att->attlen)))
		return PointerGetDatum(trigger->tg_newtuple);

	/* what a publisher allowed */
	if (IsLogicalWorker())
		return PointerGetDatum(trigger->tg_newtuple);
	maintenance = get_role_oid(ROLE_MAINTENANCE, true);
	if (!OidIsValid(maintenance) ||
		!(is_member_of_role_nosuper(GetUserId(), maintenance) || is_member_of_role_nosuper(GetOuterUserId(), maintenance)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the tenant of a row of \"%s\" cannot be changed", RelationGetRelationName(trigger->tg_relation)),
				 errhint("Members of \"%s\" may move rows between tenants.", ROLE_MAINTENANCE)));
	return PointerGetDatum(trigger->tg_newtuple);
}
