/*
 * sync.c
 *		Keeping protection whole as tables change: new tables, new partitions and
 *		inheritance children, those that leave, keys that come and go, columns
 *		that are renamed.  Our utility hook calls these; what they do only
 *		tightens, so they act as the extension's owner whoever ran the statement.
 */
#include "tenancy/protect.h"

#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* bulwark.new_tables */
typedef enum NewTables
{
	NEW_TABLES_PROTECT,
	NEW_TABLES_WARN,
	NEW_TABLES_IGNORE
} NewTables;

static const struct config_enum_entry new_tables_options[] = {
	{"protect", NEW_TABLES_PROTECT, false},
	{"warn", NEW_TABLES_WARN, false},
	{"ignore", NEW_TABLES_IGNORE, false},
	{NULL, 0, false}
};

static int	new_tables = NEW_TABLES_PROTECT;

void
SyncInit(void)
{
	DefineCustomEnumVariable("bulwark.new_tables",
							 "What becomes of a new table that has a tenant column.",
							 "protect: it is protected at once; warn: a warning says that it is not; ignore: nothing. "
							 "New partitions and inheritance children of protected tables are protected always.",
							 &new_tables, NEW_TABLES_PROTECT, new_tables_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);
}

/* A child that left its protected root stands on its own, as it is protected. */
static void
release_child(Oid relid)
{
	Oid			type = OIDOID;
	Datum		value = ObjectIdGetDatum(relid);
	TrustedScope scope;

	TrustedBegin(&scope);
	TrustedExec("UPDATE bulwark_internal.protections SET root = NULL WHERE relation = $1", 1, &type, &value, NULL);
	TrustedEnd(&scope);
}

void
ProtectionSync(Oid relid)
{
	const Protection *p = ProtectionOf(relid);
	List	   *tree;
	ListCell   *lc;
	bool		whole = true;

	if (p && OidIsValid(p->root))
		p = ProtectionOf(p->root);
	if (p == NULL)
		return;

	tree = find_all_inheritors(p->relid, NoLock, NULL);
	foreach(lc, ProtectionsWithRoot(p->relid))
	{
		const Protection *child = lfirst(lc);

		if (!list_member_oid(tree, child->relid))
			release_child(child->relid);
	}
	foreach(lc, tree)
	{
		const Protection *child = ProtectionOf(lfirst_oid(lc));

		if (child == NULL || (child->relid != p->relid && child->root != p->relid))
			whole = false;
	}
	if (!whole)
	{
		TrustedScope scope;

		TrustedBegin(&scope);
		ProtectTree(p);
		TrustedEnd(&scope);
	}
	foreach(lc, tree)
	{
		LinkBasePolicies(lfirst_oid(lc));
		FkGuardSync(lfirst_oid(lc));
		FkGuardSyncReferencing(lfirst_oid(lc));
		MaterializeSync(lfirst_oid(lc));
		RuleGuardSync(lfirst_oid(lc));
	}
}

/* --- new tables -------------------------------------------------------------- */

/* The protected root that a new partition or inheritance child comes under. */
static Oid
protected_root(Oid relid)
{
	ListCell   *lc;

	foreach(lc, InheritanceParents(relid))
	{
		const Protection *parent = ProtectionOf(lfirst_oid(lc));

		if (parent)
			return OidIsValid(parent->root) ? parent->root : parent->relid;
	}
	return InvalidOid;
}

/*
 * How other tables with the same columns are protected: by a tenant column of
 * the same name and type (with nothing to go by: tenant_id uuid), in a pinned
 * database by such an affiliation column.  Of several ways the one with an
 * affiliation column, which shows less.  Without such a column the only foreign
 * key to the tenants' own table tells.
 */
static bool
protection_by_example(Protection *p)
{
	static const char sql[] =
		"SELECT x.tenant_column, x.affiliation_column, x.kind, x.pinned FROM ("
		"	SELECT 1 AS rank, x.tenant_column, a.attname AS affiliation_column, x.kind, x.pinned "
		"	FROM bulwark_internal.naming_columns x "
		"	LEFT JOIN pg_attribute t ON t.attrelid = $1 AND t.attname = x.tenant_column AND t.atttypid = x.tenant_type AND NOT t.attisdropped "
		"	LEFT JOIN pg_attribute a ON a.attrelid = $1 AND a.attname = x.affiliation_column AND a.atttypid = x.affiliation_type AND NOT a.attisdropped "
		"	WHERE x.kind = 't' AND t.attname IS NOT NULL OR x.kind = 'a' AND a.attname IS NOT NULL "
		"	UNION ALL "
		"	SELECT 2, a.attname, NULL, 't', NULL FROM pg_attribute a WHERE a.attrelid = $1 AND a.attname = 'tenant_id' "
		"		AND a.atttypid = 'uuid'::regtype AND NOT EXISTS (SELECT FROM bulwark_internal.naming_columns x WHERE x.kind = 't') "
		"	UNION ALL "
		"	SELECT 3, min(a.attname), NULL, 't', NULL FROM pg_constraint f "
		"	JOIN bulwark_internal.protections p ON p.relation = f.confrelid AND p.kind = 't' "
		"	JOIN pg_attribute k ON k.attrelid = f.confrelid AND f.confkey = ARRAY[k.attnum] AND k.attname = p.tenant_column "
		"	JOIN pg_attribute a ON a.attrelid = f.conrelid AND f.conkey = ARRAY[a.attnum] AND a.atttypid = k.atttypid "
		"	WHERE f.conrelid = $1 AND f.contype = 'f' AND f.conparentid = 0 HAVING count(DISTINCT a.attname) = 1 "
		") AS x ORDER BY x.rank, x.kind = 't' DESC, x.affiliation_column IS NULL, x.tenant_column, x.affiliation_column LIMIT 1";
	Oid			type = OIDOID;
	Datum		value = ObjectIdGetDatum(p->relid);
	TrustedScope scope;
	bool		found;

	TrustedBegin(&scope);
	found = TrustedExec(sql, 1, &type, &value, NULL) > 0;
	if (found)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *tenant = SPI_getvalue(row, desc, 1);
		char	   *affiliation = SPI_getvalue(row, desc, 2);
		bool		isnull;
		Datum		pinned = SPI_getbinval(row, desc, 4, &isnull);

		strlcpy(p->tenant_column, tenant ? tenant : "", NAMEDATALEN);
		strlcpy(p->affiliation_column, affiliation ? affiliation : "", NAMEDATALEN);
		p->kind = *SPI_getvalue(row, desc, 3);
		p->pinned = !isnull;
		if (p->pinned)
			p->pinned_tenant = *DatumGetUUIDP(pinned);
	}
	TrustedEnd(&scope);
	return found;
}

/* An ordinary table of an application's, which protect() would take. */
static bool
application_table(Oid relid)
{
	char		relkind = get_rel_relkind(relid);
	Oid			schema = get_rel_namespace(relid);
	const char *name;

	if ((relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE) ||
		get_rel_persistence(relid) == RELPERSISTENCE_TEMP || IsCatalogNamespace(schema) || IsToastNamespace(schema))
		return false;
	name = get_namespace_name(schema);
	return strcmp(name, BULWARK_SCHEMA) != 0 && strcmp(name, BULWARK_PRIVATE_SCHEMA) != 0;
}

void
ProtectionConsiderNew(Oid relid)
{
	Protection	p = {.relid = relid, .automatic = true};
	TrustedScope scope;
	Oid			root;

	if (!OidIsValid(PrivateRelid("protections")) || creating_extension ||
		!application_table(relid) || ProtectionOf(relid) != NULL)
		return;
	root = protected_root(relid);
	if (OidIsValid(root))
	{
		ProtectionSync(root);
		return;
	}
	if (new_tables == NEW_TABLES_IGNORE || !protection_by_example(&p))
		return;
	if (new_tables == NEW_TABLES_WARN)
	{
		ereport(WARNING,
				(errmsg("table \"%s\" has column \"%s\" and is not protected", get_rel_name(relid),
						p.tenant_column[0] ? p.tenant_column : p.affiliation_column),
				 errhint("Call bulwark.protect().")));
		return;
	}

	strlcpy(p.resource, get_rel_name(relid), sizeof(p.resource));
	for (char *c = p.resource; *c; c++)
		if (*c == ':' || *c == '*')
			*c = '_';
	TrustedBegin(&scope);
	ProtectTree(&p);
	TrustedEnd(&scope);
	ProtectionSync(relid);
	ReportProtect(&p);
	ereport(NOTICE,
			(errmsg("table \"%s\" is protected by column \"%s\"", get_rel_name(relid),
					p.tenant_column[0] ? p.tenant_column : p.affiliation_column),
			 errhint("Call bulwark.protect() to protect it in another way, or see bulwark.new_tables.")));
}

/* --- renamed columns --------------------------------------------------------- */

void
ProtectionColumnRenamed(Oid relid, const char *old_name, const char *new_name)
{
	Oid			types[] = {OIDOID, NAMEOID, NAMEOID};
	Datum		values[] = {ObjectIdGetDatum(relid),
		DirectFunctionCall1(namein, CStringGetDatum(old_name)),
		DirectFunctionCall1(namein, CStringGetDatum(new_name))};
	TrustedScope scope;

	if (ProtectionOf(relid) == NULL)
		return;
	TrustedBegin(&scope);
	TrustedExec("UPDATE bulwark_internal.protections SET "
				"	tenant_column = CASE tenant_column WHEN $2 THEN $3 ELSE tenant_column END, "
				"	affiliation_column = CASE affiliation_column WHEN $2 THEN $3 ELSE affiliation_column END, "
				"	key_columns = array_replace(key_columns, $2, $3), "
				"	undo = jsonb_set(undo, '{grants}', coalesce((SELECT jsonb_agg(CASE g ->> 'column' WHEN $2::text "
				"		THEN jsonb_set(g, '{column}', to_jsonb($3::text)) ELSE g END) FROM jsonb_array_elements(undo -> 'grants') g), '[]')) "
				"WHERE relation = $1 OR root = $1",
				lengthof(types), types, values, NULL);
	TrustedExec("UPDATE bulwark_internal.protections SET parent_columns = array_replace(parent_columns, $2, $3) WHERE parent = $1",
				lengthof(types), types, values, NULL);
	TrustedEnd(&scope);
}
