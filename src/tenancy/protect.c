/*
 * protect.c
 *		protect() and unprotect(): everything is checked before the first strong
 *		lock is asked for; then a table, its partitions and its inheritance
 *		children get the same policies, and the registry remembers what was there
 *		before.
 */
#include "tenancy/protect.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/policy.h"
#include "commands/trigger.h"
#include "storage/lmgr.h"
#include "utils/array.h"
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
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
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

static Datum
name_array(List *names)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(1, list_length(names)));

	for (int i = 0; i < list_length(names); i++)
		elements[i] = DirectFunctionCall1(namein, CStringGetDatum(list_nth(names, i)));
	return PointerGetDatum(construct_array(elements, list_length(names), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR));
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

/* The same protection, however it was asked for? */
static bool
same_request(const Protection *a, const Protection *b)
{
	return a->kind == b->kind && a->parent == b->parent && a->materialize == b->materialize &&
		strcmp(a->resource, b->resource) == 0 &&
		strcmp(a->tenant_column, b->tenant_column) == 0 &&
		strcmp(a->affiliation_column, b->affiliation_column) == 0 &&
		SameNames(a->key_columns, b->key_columns) &&
		SameNames(a->parent_columns, b->parent_columns);
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

/* --- one relation ----------------------------------------------------------- */

/* The first column of each row that a query of ours about relid returns. */
static List *
trusted_list(const char *sql, Oid relid)
{
	TrustedScope scope;
	List	   *result = NIL;
	Oid			type = OIDOID;
	Datum		value = ObjectIdGetDatum(relid);

	TrustedBegin(&scope);
	TrustedExec(sql, 1, &type, &value, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(scope.caller);
		char	   *text = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);

		result = lappend(result, pstrdup(text));
		MemoryContextSwitchTo(old);
	}
	TrustedEnd(&scope);
	return result;
}

/* Run statements that a query of ours wrote. */
static void
run_statements(const char *sql, Oid relid)
{
	ListCell   *lc;

	foreach(lc, trusted_list(sql, relid))
		Ddl(lfirst(lc));
}

/* Permissive ones first: they would go with the restrictive ones (and sort so). */
#define DROP_POLICIES \
	"SELECT format('DROP POLICY %I ON %I.%I', o.polname, n.nspname, c.relname) " \
	"FROM pg_policy o JOIN pg_class c ON c.oid = o.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace " \
	"WHERE c.oid = $1 AND o.polname ~ '^bulwark_(tenant|(base_)?(select|insert|update|delete))$' ORDER BY o.polname"

/* Our policies and triggers, off a relation. */
static void
drop_objects(Oid relid)
{
	run_statements(DROP_POLICIES, relid);
	run_statements("SELECT format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname) "
				   "FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
				   "JOIN pg_proc f ON f.oid = t.tgfoid "
				   "WHERE c.oid = $1 AND NOT t.tgisinternal AND t.tgparentid = 0 "
				   "AND f.pronamespace = '" BULWARK_PRIVATE_SCHEMA "'::regnamespace AND t.tgname ~* '^(zz_)?bulwark_'", relid);
}

/*
 * Enter the relation with all that unprotect() needs: the flags of row security,
 * the tenant column's default, and the grants that are about to be revoked (those
 * of its owner's, to roles that application logins have).
 */
static void
register_relation(const Protection *p)
{
	TrustedScope scope;
	Oid			types[] = {OIDOID, CHAROID, TEXTOID, NAMEOID, NAMEOID, OIDOID, NAMEARRAYOID, NAMEARRAYOID, OIDOID, UUIDOID, BOOLOID, BOOLOID, NAMEOID, BOOLOID};
	Datum		values[lengthof(types)];
	bool		isnull[lengthof(types)] = {false};

	values[0] = ObjectIdGetDatum(p->relid);
	values[1] = CharGetDatum(p->kind);
	values[2] = CStringGetTextDatum(p->resource);
	values[3] = CStringGetDatum(p->tenant_column);	/* NUL-padded to NAMEDATALEN */
	isnull[3] = !p->tenant_column[0];
	values[4] = CStringGetDatum(p->affiliation_column);
	isnull[4] = !p->affiliation_column[0];
	values[5] = ObjectIdGetDatum(p->parent);
	isnull[5] = !OidIsValid(p->parent);
	values[6] = name_array(p->key_columns);
	isnull[6] = p->key_columns == NIL;
	values[7] = name_array(p->parent_columns);
	isnull[7] = p->parent_columns == NIL;
	values[8] = ObjectIdGetDatum(p->root);
	isnull[8] = !OidIsValid(p->root);
	values[9] = UUIDPGetDatum(&p->pinned_tenant);
	isnull[9] = !p->pinned;
	values[10] = BoolGetDatum(p->materialize);
	values[11] = BoolGetDatum(p->materialized);
	values[12] = DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(GetUserId(), false)));

	values[13] = BoolGetDatum(p->automatic);

	TrustedBegin(&scope);
	TrustedExec("INSERT INTO bulwark_internal.protections (relation, kind, resource, tenant_column, affiliation_column, "
				"	parent, key_columns, parent_columns, root, pinned, materialize, materialized, protected_by, automatic, undo) "
				"SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, "
				"	jsonb_build_object("
				"		'row_security', c.relrowsecurity, 'force', c.relforcerowsecurity, "
				"		'default', (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d JOIN pg_attribute a "
				"			ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE a.attrelid = c.oid AND a.attname = $4), "
				"		'grants', coalesce((SELECT jsonb_agg(jsonb_build_object('grantee', r.rolname, 'privilege', g.privilege_type, "
				"				'column', g.attname, 'grantable', g.is_grantable)) "
				"			FROM (SELECT NULL AS attname, x.* FROM aclexplode(c.relacl) x "
				"				UNION ALL SELECT a.attname, x.* FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = c.oid) g "
				"			LEFT JOIN pg_roles r ON r.oid = g.grantee "
				"			WHERE g.privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES', 'MAINTAIN') "
				"				AND g.grantor = c.relowner AND g.grantee <> c.relowner "
				"				AND (g.grantee = 0 OR NOT r.rolsuper AND pg_has_role(g.grantee, '" ROLE_APP "', 'MEMBER'))), '[]')) "
				"FROM pg_class c WHERE c.oid = $1",
				lengthof(types), types, values, isnull);
	TrustedEnd(&scope);
}

/*
 * A command with no permissive policy would be denied once row security is on:
 * let it through to the restrictive ones.  But where row security was on before
 * the denial was meant, and stays.
 */
static void
create_base_policies(Oid relid)
{
	bool		denied = trusted_list("SELECT 1 FROM bulwark_internal.protections WHERE relation = $1 "
									  "AND undo ->> 'row_security' = 'true'", relid) != NIL;
	ListCell   *lc;
	StringInfoData names;

	initStringInfo(&names);
	foreach(lc, trusted_list("SELECT c.cmd FROM (VALUES (1, 'r'), (2, 'a'), (3, 'w'), (4, 'd')) AS c (n, cmd) "
							 "WHERE NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = $1 AND p.polpermissive "
							 "AND p.polcmd IN (c.cmd::\"char\", '*')) ORDER BY c.n", relid))
	{
		char		command = *(char *) lfirst(lc);

		if (denied)
			appendStringInfo(&names, "%s%s", names.len ? ", " : "", CommandKeyword(command));
		else
			Ddl(BasePolicy(relid, command).sql);
	}
	LinkBasePolicies(relid);
	if (names.len)
		ereport(NOTICE,
				(errmsg("%s on \"%s\" stays denied", names.data, get_rel_name(relid)),
				 errdetail("Row security was enabled already, without a permissive policy for it.")));
}

static void
create_policies(const Protection *p)
{
	ListCell   *lc;

	foreach(lc, PolicyDefinitions(p))
		Ddl(((PolicyDefinition *) lfirst(lc))->sql);
	create_base_policies(p->relid);
}

static void
create_immutable_trigger(const Protection *p)
{
	char	   *name = QualifiedName(p->relid);

	Ddl(psprintf("CREATE TRIGGER " TRIGGER_IMMUTABLE " BEFORE UPDATE OF %s ON %s "
				 "FOR EACH ROW EXECUTE FUNCTION bulwark_internal.tenant_immutable()",
				 quote_identifier(p->tenant_column), name));
	Ddl(psprintf("ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER " TRIGGER_IMMUTABLE, name));
}

/* Row security, default and triggers. */
static void
alter_relation(const Protection *p)
{
	StringInfoData buf;
	char	   *name = QualifiedName(p->relid);

	initStringInfo(&buf);
	appendStringInfo(&buf, "ALTER TABLE ONLY %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", name);
	if (p->tenant_column[0])
	{
		const char *column = quote_identifier(p->tenant_column);
		HeapTuple	tuple = SearchSysCacheAttName(p->relid, p->tenant_column);
		Form_pg_attribute att = (Form_pg_attribute) GETSTRUCT(tuple);

		if (!att->attidentity && !att->attgenerated)
			appendStringInfo(&buf, ", ALTER COLUMN %s SET DEFAULT %s", column,
							 TenantAccessor(ColumnKeyType(p->relid, p->tenant_column)));
		ReleaseSysCache(tuple);
	}
	Ddl(buf.data);
	/* A trigger of a partitioned table would be cloned; each leaf has its own. */
	if (get_rel_relkind(p->relid) != RELKIND_RELATION)
		return;
	if (p->tenant_column[0])
		create_immutable_trigger(p);
	if (p->materialize)
		MaterializeCreateTrigger(p);
}

/* Grants that are not the owner's we cannot take back: say so. */
static void
revoke_grants(Oid relid)
{
	List	   *rest;

	run_statements("SELECT format('REVOKE %s ON %s FROM %s', "
				   "	string_agg((g ->> 'privilege') || coalesce(' (' || quote_ident(g ->> 'column') || ')', ''), ', '), "
				   "	format('%I.%I', n.nspname, c.relname), coalesce(quote_ident(g ->> 'grantee'), 'PUBLIC')) "
				   "FROM bulwark_internal.protections p JOIN pg_class c ON c.oid = p.relation "
				   "JOIN pg_namespace n ON n.oid = c.relnamespace, jsonb_array_elements(p.undo -> 'grants') g "
				   "WHERE p.relation = $1 GROUP BY n.nspname, c.relname, g ->> 'grantee' ORDER BY g ->> 'grantee'", relid);

	rest = trusted_list("SELECT DISTINCT format('\"%s\" (granted by \"%s\")', r.rolname, g.grantor::regrole) "
						"FROM pg_class c, aclexplode(c.relacl) g JOIN pg_roles r ON r.oid = g.grantee "
						"WHERE c.oid = $1 AND g.privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES', 'MAINTAIN') "
						"AND g.grantee <> c.relowner AND NOT r.rolsuper AND pg_has_role(g.grantee, '" ROLE_APP "', 'MEMBER')", relid);
	if (rest != NIL)
		ereport(WARNING,
				(errmsg("application role %s keeps TRUNCATE, TRIGGER, REFERENCES or MAINTAIN on \"%s\"",
						(char *) linitial(rest), get_rel_name(relid)),
				 errhint("The role that granted it must revoke it.")));
}

void
RenewPolicies(Oid relid)
{
	run_statements(DROP_POLICIES, relid);
	create_policies(ProtectionOf(relid));
}

/*
 * What a superuser has taken off a protected relation comes back: row security,
 * policies and triggers.
 */
static void
repair_relation(const Protection *p)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(p->relid));
	Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);
	bool		secured = form->relrowsecurity && form->relforcerowsecurity;
	bool		leaf = form->relkind == RELKIND_RELATION;
	bool		whole = true;
	ListCell   *lc;

	ReleaseSysCache(tuple);
	foreach(lc, PolicyDefinitions(p))
		if (!OidIsValid(get_relation_policy_oid(p->relid, ((PolicyDefinition *) lfirst(lc))->name, true)))
			whole = false;
	if (!whole)
		RenewPolicies(p->relid);
	if (!secured)
		Ddl(psprintf("ALTER TABLE ONLY %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", QualifiedName(p->relid)));
	if (leaf && p->tenant_column[0] && !OidIsValid(get_trigger_oid(p->relid, TRIGGER_IMMUTABLE, true)))
		create_immutable_trigger(p);
	if (leaf && p->materialize && !OidIsValid(get_trigger_oid(p->relid, TRIGGER_MATERIALIZE, true)))
		MaterializeCreateTrigger(p);
}

/* What bulwark.new_tables chose has been asked for now. */
static void
confirm(Oid relid)
{
	TrustedScope scope;
	Oid			type = OIDOID;
	Datum		value = ObjectIdGetDatum(relid);

	TrustedBegin(&scope);
	TrustedExec("UPDATE bulwark_internal.protections SET automatic = false WHERE relation = $1 OR root = $1",
				1, &type, &value, NULL);
	TrustedEnd(&scope);
}

static void
unregister_relation(Oid relid)
{
	TrustedScope scope;
	Oid			type = OIDOID;
	Datum		value = ObjectIdGetDatum(relid);

	TrustedBegin(&scope);
	TrustedExec("DELETE FROM bulwark_internal.protections WHERE relation = $1", 1, &type, &value, NULL);
	TrustedEnd(&scope);
}

static void
protect_relation(const Protection *p)
{
	register_relation(p);
	create_policies(p);
	alter_relation(p);
	revoke_grants(p->relid);
}

/*
 * Take everything of ours off a relation and put back what was there.  What
 * somebody changed since (a default, a role that is gone) stays changed.
 */
static void
unprotect_relation(Oid relid)
{
	drop_objects(relid);
	run_statements("WITH r AS (SELECT p.*, format('%I.%I', n.nspname, c.relname) AS name "
				   "	FROM bulwark_internal.protections p JOIN pg_class c ON c.oid = p.relation "
				   "	JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.relation = $1) "
				   "SELECT format('ALTER TABLE ONLY %s %s', r.name, string_agg(a, ', ')) FROM r, LATERAL ("
				   "	SELECT 'DISABLE ROW LEVEL SECURITY' WHERE r.undo ->> 'row_security' = 'false' "
				   "	UNION ALL SELECT 'NO FORCE ROW LEVEL SECURITY' WHERE r.undo ->> 'force' = 'false' "
				   "	UNION ALL SELECT format('ALTER COLUMN %I ', a.attname) || coalesce('SET DEFAULT ' || (r.undo ->> 'default'), 'DROP DEFAULT') "
				   "		FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
				   "		WHERE a.attrelid = r.relation AND a.attname = r.tenant_column AND a.attidentity = '' AND a.attgenerated = '' "
				   "			AND pg_get_expr(d.adbin, d.adrelid) ~ '^\\(?bulwark\\.tenant_(id|key|key_int8)\\(\\)' "
				   "	) AS x (a) GROUP BY r.name "
				   "UNION ALL "
				   "SELECT format('GRANT %s ON %s TO %s%s', (g ->> 'privilege') || coalesce(' (' || quote_ident(g ->> 'column') || ')', ''), "
				   "	r.name, coalesce(quote_ident(g ->> 'grantee'), 'PUBLIC'), "
				   "	CASE WHEN (g ->> 'grantable')::boolean THEN ' WITH GRANT OPTION' END) "
				   "FROM r, jsonb_array_elements(r.undo -> 'grants') g "
				   "WHERE (g ->> 'grantee' IS NULL OR to_regrole(quote_ident(g ->> 'grantee')) IS NOT NULL) "
				   "	AND (g ->> 'column' IS NULL OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = r.relation "
				   "		AND a.attname = g ->> 'column' AND NOT a.attisdropped))", relid);
	unregister_relation(relid);
}

/* --- the tree --------------------------------------------------------------- */

/*
 * Protect the relation and its partitions and inheritance children as p says,
 * those that are not yet.  A child that was protected by itself before it came
 * under this root starts again as part of it.
 */
void
ProtectTree(const Protection *p)
{
	ListCell   *lc;

	bool		materialized = p->materialized;
	List	   *tree;

	if (OidIsValid(p->parent))
		LockRelationOid(p->parent, AccessShareLock);
	tree = find_all_inheritors(p->relid, AccessExclusiveLock, NULL);
	if (p->materialize && ProtectionOf(p->relid) == NULL)
	{
		materialized = MaterializeAddColumns(p);
		if (!materialized)
			ereport(NOTICE,
					(errmsg("\"%s\" has rows whose tenant is read through \"%s\" until they are filled in",
							get_rel_name(p->relid), get_rel_name(p->parent)),
					 errhint("CALL bulwark.materialize(%s);", quote_literal_cstr(QualifiedName(p->relid)))));
	}
	foreach(lc, tree)
	{
		Protection	one = *p;
		const Protection *before;

		one.relid = lfirst_oid(lc);
		one.root = one.relid == p->relid ? InvalidOid : p->relid;
		one.materialized = materialized;
		before = ProtectionOf(one.relid);
		if (before && before->root == one.root && (one.root || same_request(before, p)))
			continue;
		if (before && OidIsValid(before->root))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("\"%s\" is protected as part of \"%s\" already", get_rel_name(one.relid), get_rel_name(before->root)),
					 errhint("A table with several parents can follow one protected parent only.")));
		if (before)
			unprotect_relation(one.relid);
		protect_relation(&one);
	}
}

/* Take a root and all that is protected with it out. */
static void
unprotect_tree(Oid relid)
{
	List	   *tree = lcons_oid(relid, NIL);
	bool		materialize = ProtectionOf(relid)->materialize;
	ListCell   *lc;

	foreach(lc, ProtectionsWithRoot(relid))
		tree = lappend_oid(tree, ((const Protection *) lfirst(lc))->relid);
	list_sort(tree, list_oid_cmp);
	foreach(lc, tree)
		LockRelationOid(lfirst_oid(lc), AccessExclusiveLock);
	foreach(lc, tree)
		unprotect_relation(lfirst_oid(lc));
	if (materialize)
		MaterializeDropColumns(relid);
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
	if (before && !same_request(before, p) && (!before->automatic || ProtectionsWithParent(p->relid) != NIL))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" is protected already, in another way", get_rel_name(p->relid)),
				 errhint("See bulwark.protected_tables; call unprotect() first.")));
	if (before && same_request(before, p))
	{
		if (before->automatic)
			confirm(p->relid);
		CallerBegin(&scope);
		repair_relation(before);
		foreach(lc, ProtectionsWithRoot(p->relid))
			repair_relation(lfirst(lc));
		TrustedEnd(&scope);
		ProtectionSync(p->relid);
		PG_RETURN_VOID();
	}

	count_nulls(p);
	CallerBegin(&scope);
	if (before)
		unprotect_tree(p->relid);
	ProtectTree(p);
	TrustedEnd(&scope);
	ProtectionSync(p->relid);
	if (p->materialize)
		ProtectionSync(p->parent);
	PG_RETURN_VOID();
}

/* unprotect(relation) */
Datum
bulwark_unprotect(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	const Protection *p;
	List	   *children;
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
	children = ProtectionsWithParent(relid);
	if (children != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot unprotect \"%s\": \"%s\" is protected through it", get_rel_name(relid),
						get_rel_name(((const Protection *) linitial(children))->relid)),
				 errhint("Call unprotect() for the children first.")));

	CallerBegin(&scope);
	unprotect_tree(relid);
	TrustedEnd(&scope);
	FkGuardSyncReferencing(relid);
	if (p->materialize)
		ProtectionSync(p->parent);
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
		if (!same_request(before, restored) || before->root != restored->root || before->materialized != restored->materialized)
			drop_objects(restored->relid);
		unregister_relation(restored->relid);
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

	maintenance = get_role_oid(ROLE_MAINTENANCE, true);
	if (!OidIsValid(maintenance) ||
		!(is_member_of_role_nosuper(GetUserId(), maintenance) || is_member_of_role_nosuper(GetOuterUserId(), maintenance)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the tenant of a row of \"%s\" cannot be changed", RelationGetRelationName(trigger->tg_relation)),
				 errhint("Members of \"%s\" may move rows between tenants.", ROLE_MAINTENANCE)));
	return PointerGetDatum(trigger->tg_newtuple);
}
