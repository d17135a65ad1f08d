/*
 * apply.c
 *		Putting a protection on tables and taking it off: a table, its partitions
 *		and its inheritance children get the same policies, and the registry
 *		remembers what was there before.
 */
#include "tenancy/protect.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/policy.h"
#include "commands/trigger.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* --- statements of ours ------------------------------------------------------ */

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

/* --- one relation ------------------------------------------------------------ */

static Datum
name_array(List *names)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(1, list_length(names)));

	for (int i = 0; i < list_length(names); i++)
		elements[i] = DirectFunctionCall1(namein, CStringGetDatum(list_nth(names, i)));
	return PointerGetDatum(construct_array(elements, list_length(names), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR));
}

/* Permissive ones first: they would go with the restrictive ones (and sort so). */
#define DROP_POLICIES \
	"SELECT format('DROP POLICY %I ON %I.%I', o.polname, n.nspname, c.relname) " \
	"FROM pg_policy o JOIN pg_class c ON c.oid = o.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace " \
	"WHERE c.oid = $1 AND o.polname ~ '^bulwark_(tenant|(base_)?(select|insert|update|delete))$' ORDER BY o.polname"

/* Our policies and triggers, off a relation. */
void
DropProtectionObjects(Oid relid)
{
	run_statements(DROP_POLICIES, relid);
	run_statements("SELECT format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname) "
				   "FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
				   "JOIN pg_proc f ON f.oid = t.tgfoid "
				   "WHERE c.oid = $1 AND NOT t.tgisinternal AND t.tgparentid = 0 "
				   "AND f.pronamespace = '" BULWARK_PRIVATE_SCHEMA "'::regnamespace AND t.tgname ~* '^(zz_)?bulwark_'", relid);
}

/* Is an expression a default of ours? */
#define OUR_DEFAULT	" ~ '^\\(?bulwark\\.tenant_(id|key|key_int8)\\(\\)'"

/*
 * Enter the relation with all that unprotect() needs: the flags of row security,
 * the tenant column's default (its root's where it was made with ours), and the
 * grants that are about to be revoked (those of its owner's, to roles that
 * application logins have).
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
				"		'default', (SELECT CASE WHEN e " OUR_DEFAULT " "
				"				THEN (SELECT r.undo ->> 'default' FROM bulwark_internal.protections r WHERE r.relation = $9) ELSE e END "
				"			FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum, "
				"				pg_get_expr(d.adbin, d.adrelid) AS e WHERE a.attrelid = c.oid AND a.attname = $4), "
				"		'grants', coalesce((SELECT jsonb_agg(jsonb_build_object('grantee', r.rolname, 'privilege', g.privilege_type, "
				"				'column', g.attname, 'grantable', g.is_grantable)) "
				"			FROM (SELECT NULL AS attname, x.* FROM aclexplode(c.relacl) x "
				"				UNION ALL SELECT a.attname, x.* FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = c.oid) g "
				"			LEFT JOIN pg_roles r ON r.oid = g.grantee "
				"			WHERE g.privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES', 'MAINTAIN') "
				"				AND g.grantor = c.relowner AND g.grantee <> c.relowner "
				"				AND (g.grantee = 0 OR NOT r.rolsuper AND g.grantee IN (SELECT oid FROM bulwark_internal.app_grantees))), '[]')) "
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
				(errmsg("row security goes on denying %s on \"%s\"", names.data, get_rel_name(relid)),
				 errdetail("It was enabled already, without a permissive policy for that.")));
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
						"AND g.grantee <> c.relowner AND NOT r.rolsuper AND g.grantee IN (SELECT oid FROM bulwark_internal.app_grantees)", relid);
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
void
RepairProtection(const Protection *p)
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
void
ProtectionConfirm(Oid relid)
{
	TrustedScope scope;
	Oid			type = OIDOID;
	Datum		value = ObjectIdGetDatum(relid);

	TrustedBegin(&scope);
	TrustedExec("UPDATE bulwark_internal.protections SET automatic = false WHERE relation = $1 OR root = $1",
				1, &type, &value, NULL);
	TrustedEnd(&scope);
}

void
ProtectionUnregister(Oid relid)
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
	DropProtectionObjects(relid);
	run_statements("WITH r AS (SELECT p.*, format('%I.%I', n.nspname, c.relname) AS name "
				   "	FROM bulwark_internal.protections p JOIN pg_class c ON c.oid = p.relation "
				   "	JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.relation = $1) "
				   "SELECT format('ALTER TABLE ONLY %s %s', r.name, string_agg(a, ', ')) FROM r, LATERAL ("
				   "	SELECT 'DISABLE ROW LEVEL SECURITY' WHERE r.undo ->> 'row_security' = 'false' "
				   "	UNION ALL SELECT 'NO FORCE ROW LEVEL SECURITY' WHERE r.undo ->> 'force' = 'false' "
				   "	UNION ALL SELECT format('ALTER COLUMN %I ', a.attname) || coalesce('SET DEFAULT ' || (r.undo ->> 'default'), 'DROP DEFAULT') "
				   "		FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
				   "		WHERE a.attrelid = r.relation AND a.attname = r.tenant_column AND a.attidentity = '' AND a.attgenerated = '' "
				   "			AND pg_get_expr(d.adbin, d.adrelid) " OUR_DEFAULT " "
				   "	) AS x (a) GROUP BY r.name "
				   "UNION ALL "
				   "SELECT format('GRANT %s ON %s TO %s%s', (g ->> 'privilege') || coalesce(' (' || quote_ident(g ->> 'column') || ')', ''), "
				   "	r.name, coalesce(quote_ident(g ->> 'grantee'), 'PUBLIC'), "
				   "	CASE WHEN (g ->> 'grantable')::boolean THEN ' WITH GRANT OPTION' END) "
				   "FROM r, jsonb_array_elements(r.undo -> 'grants') g "
				   "WHERE (g ->> 'grantee' IS NULL OR to_regrole(quote_ident(g ->> 'grantee')) IS NOT NULL) "
				   "	AND (g ->> 'column' IS NULL OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = r.relation "
				   "		AND a.attname = g ->> 'column' AND NOT a.attisdropped))", relid);
	ProtectionUnregister(relid);
}

void
RefuseOtherProtection(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("\"%s\" is protected already, in another way", get_rel_name(relid)),
			 errhint("See bulwark.protected_tables; call unprotect() first.")));
}

void
RequireNoChildren(Oid relid)
{
	const Protection *named = NULL;
	ListCell   *lc;

	/* a child that can be unprotected, rather than its partitions */
	foreach(lc, ProtectionsWithParent(relid))
	{
		const Protection *child = lfirst(lc);

		if (named == NULL || (OidIsValid(named->root) && !OidIsValid(child->root)))
			named = child;
	}
	if (named != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot unprotect \"%s\": \"%s\" is protected through it", get_rel_name(relid),
						get_rel_name(named->relid)),
				 errhint("Call unprotect() for the children first.")));
}

/* --- the tree --------------------------------------------------------------- */

/* Lock a table that may have been dropped while we waited for that. */
static void
lock_table(Oid relid, LOCKMODE mode)
{
	LockRelationOid(relid, mode);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		RefuseGone(relid);
}

/*
 * Protect the relation and its partitions and inheritance children as p says,
 * those that are not yet.  A child that was protected by itself before it came
 * under this root starts again as part of it.
 */
void
ProtectTree(const Protection *p)
{
	bool		materialized = p->materialized;
	List	   *tree;
	ListCell   *lc;

	if (OidIsValid(p->parent))
		lock_table(p->parent, AccessShareLock);
	lock_table(p->relid, AccessExclusiveLock);
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
		if (before && before->root == one.root && (one.root || SameProtection(before, p)))
			continue;
		if (before && OidIsValid(before->root))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("\"%s\" is protected as part of \"%s\" already", get_rel_name(one.relid), get_rel_name(before->root)),
					 errhint("A table with several parents can follow one protected parent only.")));
		if (before && !OidIsValid(one.root))
			RefuseOtherProtection(one.relid);	/* somebody was faster */
		if (before)
		{
			RequireNoChildren(one.relid);
			unprotect_relation(one.relid);
		}
		protect_relation(&one);
	}
}

/* Take a root and all that is protected with it out. */
void
UnprotectTree(Oid relid)
{
	List	   *tree = lcons_oid(relid, NIL);
	bool		materialize = ProtectionOf(relid)->materialize;
	ListCell   *lc;

	foreach(lc, ProtectionsWithRoot(relid))
		tree = lappend_oid(tree, ((const Protection *) lfirst(lc))->relid);
	list_sort(tree, list_oid_cmp);
	foreach(lc, tree)
		lock_table(lfirst_oid(lc), AccessExclusiveLock);
	RequireNoChildren(relid);
	foreach(lc, tree)
		unprotect_relation(lfirst_oid(lc));
	if (materialize)
		MaterializeDropColumns(relid);
}
