/*
 * policy.c
 *		The policies that protect() writes, as SQL.  All filters of ours are
 *		restrictive, one a command, so that whatever permissive policies an
 *		application or a DBA adds can only let through what ours do.
 */
#include "tenancy/protect.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "commands/policy.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static const struct
{
	char		command;		/* pg_policy.polcmd */
	const char *keyword;
	const char *action;
	const char *name;
	const char *base;
}			commands[] =
{
	{'r', "SELECT", "read", "bulwark_select", "bulwark_base_select"},
	{'a', "INSERT", "insert", "bulwark_insert", "bulwark_base_insert"},
	{'w', "UPDATE", "update", "bulwark_update", "bulwark_base_update"},
	{'d', "DELETE", "delete", "bulwark_delete", "bulwark_base_delete"},
};

char *
RowColumn(const char *ref, const char *column)
{
	return psprintf("%s.%s", quote_identifier(ref), quote_identifier(column));
}

/* Type, base type and collation of a column that must exist. */
static void
column_type(Oid relid, const char *column, Oid *type, Oid *base, Oid *collation)
{
	HeapTuple	tuple = SearchSysCacheAttName(relid, column);
	Form_pg_attribute att;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist", column, get_rel_name(relid))));
	att = (Form_pg_attribute) GETSTRUCT(tuple);
	*type = att->atttypid;
	*base = getBaseType(att->atttypid);
	*collation = att->attcollation;
	ReleaseSysCache(tuple);
}

KeyType
ColumnKeyType(Oid relid, const char *column)
{
	Oid			type,
				base,
				collation;

	column_type(relid, column, &type, &base, &collation);
	switch (base)
	{
		case UUIDOID:
			return KEY_UUID;
		case TEXTOID:
		case VARCHAROID:
			return KEY_TEXT;
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return KEY_INT;
		default:
			return KEY_NONE;
	}
}

const char *
TenantAccessor(KeyType type)
{
	return type == KEY_UUID ? "bulwark.tenant_id()" :
		type == KEY_TEXT ? "bulwark.tenant_key()" : "bulwark.tenant_key_int8()";
}

/*
 * The column equals the identity's tenant.  Bare, so that it serves as an index
 * condition; under a collation that calls different strings equal, bytewise too.
 */
static char *
tenant_condition(Oid relid, const char *ref, const char *column)
{
	KeyType		key = ColumnKeyType(relid, column);
	Oid			type,
				base,
				collation;
	char	   *col = RowColumn(ref, column);

	column_type(relid, column, &type, &base, &collation);
	if (OidIsValid(collation) && !get_collation_isdeterministic(collation))
		return psprintf("%s = %s AND (%s COLLATE \"C\") = %s", col, TenantAccessor(key), col, TenantAccessor(key));
	return psprintf("%s = %s", col, TenantAccessor(key));
}

static char *
affiliation_condition(Oid relid, const char *ref, const char *column, const char *resource, const char *action)
{
	Oid			type,
				base,
				collation;
	char	   *col = RowColumn(ref, column);

	column_type(relid, column, &type, &base, &collation);
	if (base == VARCHAROID)
		base = TEXTOID;
	if (type != base)			/* the accessor takes base types */
		col = psprintf("%s::%s", col, format_type_extended(base, -1, FORMAT_TYPE_FORCE_QUALIFY));
	return psprintf("bulwark.affiliation_visible(%s, %s, %s)", col,
					quote_literal_cstr(resource), quote_literal_cstr(action));
}

static char *
permission_condition(const char *resource, const char *action)
{
	return psprintf("bulwark.permitted(%s, %s)", quote_literal_cstr(resource), quote_literal_cstr(action));
}

static void
add_condition(StringInfo buf, const char *condition)
{
	appendStringInfo(buf, "%s%s", buf->len ? " AND " : "", condition);
}

char *
EqualityOperator(Oid relid, const char *column)
{
	Oid			type,
				base,
				collation;
	TypeCacheEntry *entry;
	HeapTuple	tuple;
	Form_pg_operator operator;
	char	   *result;

	column_type(relid, column, &type, &base, &collation);
	entry = lookup_type_cache(base, TYPECACHE_EQ_OPR);
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(entry->eq_opr));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("column \"%s\" of relation \"%s\" has no equality operator", column, get_rel_name(relid))));
	operator = (Form_pg_operator) GETSTRUCT(tuple);
	result = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(operator->oprnamespace)),
					  NameStr(operator->oprname));
	ReleaseSysCache(tuple);
	return result;
}

char *
KeyCondition(List *child_columns, const char *child_ref, Oid parent, List *parent_columns, const char *parent_ref)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < list_length(child_columns); i++)
		add_condition(&buf, psprintf("%s %s %s", RowColumn(parent_ref, list_nth(parent_columns, i)),
									 EqualityOperator(parent, list_nth(parent_columns, i)),
									 RowColumn(child_ref, list_nth(child_columns, i))));
	return buf.data;
}

Oid
RelationOwner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

const Protection *
ProtectionAnchor(const Protection *p)
{
	while (p->kind == 'c' && !p->materialized)
	{
		const Protection *parent = ProtectionOf(p->parent);

		if (parent == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the parent of \"%s\" is not protected any more", get_rel_name(p->relid)),
					 errhint("Call unprotect() for \"%s\", then protect() anew.", get_rel_name(p->relid))));
		p = parent;
	}
	return p;
}

/* The column by which the anchor tells affiliations, or NULL. */
static const char *
anchor_affiliation(const Protection *anchor)
{
	if (anchor->kind == 'c')
		return get_attnum(anchor->relid, MATERIALIZED_AFFILIATION) != InvalidAttrNumber ?
			MATERIALIZED_AFFILIATION : NULL;
	return anchor->affiliation_column[0] ? anchor->affiliation_column : NULL;
}

/*
 * The row's parents exist, are visible (their own policies see to that), and up
 * to the anchor belong to an affiliation in which the child's own resource and
 * action are granted.  NULL where the row has columns of its own to tell.
 */
static char *
parent_condition(const Protection *p, const char *ref, const char *resource, const char *action, int depth)
{
	const Protection *parent = ProtectionOf(p->parent);
	const char *affiliation;
	char	   *alias = psprintf("bulwark_p%d", depth);
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "EXISTS (SELECT FROM %s AS %s WHERE %s",
					 QualifiedName(p->parent), alias, KeyCondition(p->key_columns, ref, p->parent, p->parent_columns, alias));
	if (parent->kind == 'c' && !parent->materialized)
		appendStringInfo(&buf, " AND %s", parent_condition(parent, alias, resource, action, depth + 1));
	else if ((affiliation = anchor_affiliation(parent)) != NULL)
		appendStringInfo(&buf, " AND %s",
						 affiliation_condition(parent->relid, alias, affiliation, resource, action));
	appendStringInfoChar(&buf, ')');
	return buf.data;
}

/* What the row needs beyond its tenant for one command. */
static char *
command_condition(const Protection *p, const char *ref, const char *action)
{
	bool		through_parent = p->kind == 'c' && !p->materialized;
	const char *affiliation = anchor_affiliation(through_parent ? ProtectionAnchor(p) : p);
	StringInfoData buf;

	if (p->kind == 's')
		return strcmp(action, "read") == 0 ?
			psprintf("%s OR pg_has_role('" ROLE_ADMIN "', 'USAGE')", permission_condition(p->resource, action)) :
			pstrdup("pg_has_role('" ROLE_ADMIN "', 'USAGE')");

	initStringInfo(&buf);
	if (p->affiliation_column[0])
		add_condition(&buf, affiliation_condition(p->relid, ref, p->affiliation_column, p->resource, action));
	else if (affiliation == NULL)
		add_condition(&buf, permission_condition(p->resource, action));
	if (through_parent)
		add_condition(&buf, parent_condition(p, ref, p->resource, action, 1));
	else if (p->kind == 'c' && affiliation)
		add_condition(&buf, affiliation_condition(p->relid, ref, affiliation, p->resource, action));
	return buf.data;
}

/* The tenant floor, or NULL where the parents' own is all there is. */
static char *
floor_condition(const Protection *p, const char *ref)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (p->tenant_column[0])
		add_condition(&buf, tenant_condition(p->relid, ref, p->tenant_column));
	if (p->kind == 'c' && p->materialized &&
		get_attnum(p->relid, MATERIALIZED_TENANT) != InvalidAttrNumber)
		add_condition(&buf, tenant_condition(p->relid, ref, MATERIALIZED_TENANT));
	if (p->pinned)
		add_condition(&buf, psprintf("bulwark.tenant_id() = '%s'::uuid",
									 DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&p->pinned_tenant)))));
	return buf.len ? buf.data : NULL;
}

/* How the row that decides names its tenant. */
KeyType
TenantKeyType(const Protection *p)
{
	const Protection *anchor;

	if (p->tenant_column[0])
		return ColumnKeyType(p->relid, p->tenant_column);
	anchor = ProtectionAnchor(p);
	if (anchor->kind == 'c' && !anchor->pinned)
		return ColumnKeyType(anchor->relid, MATERIALIZED_TENANT);
	if (anchor->tenant_column[0])
		return ColumnKeyType(anchor->relid, anchor->tenant_column);
	return anchor->pinned ? KEY_UUID : KEY_NONE;
}

static char *
tenant_expr(const Protection *p, const char *alias, int depth)
{
	char	   *inner;

	if (p->tenant_column[0])
		return psprintf("%s::text", RowColumn(alias, p->tenant_column));
	if (p->pinned)
		return psprintf("'%s'::text", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&p->pinned_tenant))));
	if (p->kind != 'c')
		return pstrdup("NULL::text");
	if (p->materialized)
		return psprintf("%s::text", RowColumn(alias, MATERIALIZED_TENANT));
	inner = psprintf("bulwark_t%d", depth);
	return psprintf("(SELECT %s FROM %s AS %s WHERE %s)", tenant_expr(ProtectionOf(p->parent), inner, depth + 1),
					QualifiedName(p->parent), inner,
					KeyCondition(p->key_columns, alias, p->parent, p->parent_columns, inner));
}

char *
ProtectionTenantExpr(Oid relid, const char *alias)
{
	const Protection *p = ProtectionOf(relid);

	return p ? tenant_expr(p, alias, 1) : pstrdup("NULL::text");
}

char *
PolicyCondition(const Protection *p, const char *action)
{
	const char *ref = get_rel_name(p->relid);
	char	   *floor = floor_condition(p, ref);
	char	   *condition = command_condition(p, ref, action);

	return floor ? psprintf("(%s) AND (%s)", floor, condition) : condition;
}

static List *
add_policy(List *list, Oid relid, const char *name, const char *keyword, const char *condition)
{
	PolicyDefinition *policy = palloc(sizeof(PolicyDefinition));

	policy->name = name;
	policy->sql = psprintf("CREATE POLICY %s ON %s AS RESTRICTIVE FOR %s TO PUBLIC %s (%s)",
						   name, QualifiedName(relid), keyword,
						   strcmp(keyword, "INSERT") == 0 ? "WITH CHECK" : "USING", condition);
	return lappend(list, policy);
}

List *
PolicyDefinitions(const Protection *p)
{
	List	   *list = NIL;
	const char *ref = get_rel_name(p->relid);
	char	   *floor = floor_condition(p, ref);

	if (floor)
		list = add_policy(list, p->relid, "bulwark_tenant", "ALL", floor);
	for (int i = 0; i < lengthof(commands); i++)
		list = add_policy(list, p->relid, commands[i].name, commands[i].keyword,
						  command_condition(p, ref, commands[i].action));
	return list;
}

static bool
depends_on(const ObjectAddress *depender, const ObjectAddress *referenced)
{
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(depender->classId));
	ScanKeyInit(&key[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(depender->objectId));
	scan = systable_beginscan(rel, DependDependerIndexId, true, NULL, 2, key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		found = form->refclassid == referenced->classId && form->refobjid == referenced->objectId;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

const char *
CommandKeyword(char command)
{
	for (int i = 0; i < lengthof(commands); i++)
		if (commands[i].command == command)
			return commands[i].keyword;
	return NULL;
}

/*
 * A permissive policy of ours does not outlive the restrictive ones that stand
 * beside it: were one of those dropped, with a parent that it reads say, the
 * command would be denied rather than let through.
 */
void
LinkBasePolicies(Oid relid)
{
	for (int i = 0; i < lengthof(commands); i++)
	{
		const char *names[] = {"bulwark_tenant", commands[i].name};
		ObjectAddress base = {PolicyRelationId, get_relation_policy_oid(relid, commands[i].base, true), 0};

		for (int j = 0; OidIsValid(base.objectId) && j < lengthof(names); j++)
		{
			ObjectAddress restrictive = {PolicyRelationId, get_relation_policy_oid(relid, names[j], true), 0};

			if (OidIsValid(restrictive.objectId) && !depends_on(&base, &restrictive))
				recordDependencyOn(&base, &restrictive, DEPENDENCY_AUTO);
		}
	}
}

PolicyDefinition
BasePolicy(Oid relid, char command)
{
	PolicyDefinition policy = {NULL, NULL};

	for (int i = 0; i < lengthof(commands); i++)
		if (commands[i].command == command)
		{
			policy.name = commands[i].base;
			policy.sql = psprintf("CREATE POLICY %s ON %s FOR %s TO PUBLIC %s (true)",
								  policy.name, QualifiedName(relid), commands[i].keyword,
								  command == 'a' ? "WITH CHECK" : "USING");
		}
	return policy;
}
