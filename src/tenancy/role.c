/*
 * role.c
 *		Roles: named sets of permissions, built in, for all tenants, or of one.
 */
#include "tenancy/admin.h"

#include "utils/fmgroids.h"

PG_FUNCTION_INFO_V1(bulwark_role_create);
PG_FUNCTION_INFO_V1(bulwark_role_alter);
PG_FUNCTION_INFO_V1(bulwark_role_drop);

#define PERMISSION_RESOURCE_MAX	127
#define PERMISSION_ACTION_MAX	63

/* 22023 unless the text is resource:action. */
static void
check_permission(const char *permission)
{
	const char *colon = strchr(permission, ':');
	const char *action = colon ? colon + 1 : "";
	int			resource_len = colon ? colon - permission : 0;
	size_t		action_len = strlen(action);
	bool		valid;

	NameCheck("permission", permission);
	valid = resource_len > 0 && resource_len <= PERMISSION_RESOURCE_MAX &&
		action_len > 0 && action_len <= PERMISSION_ACTION_MAX;
	valid = valid && (memchr(permission, '*', resource_len) == NULL ||
					  (resource_len == 1 && permission[0] == '*'));
	valid = valid && (strcmp(action, "*") == 0 ||
					  (action[0] >= 'a' && action[0] <= 'z' &&
					   strspn(action, "abcdefghijklmnopqrstuvwxyz0123456789_") == action_len));
	if (!valid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid permission \"%s\"", permission),
				 errdetail("A permission is resource:action, with * for either; an action is lower-case letters, digits and \"_\".")));
}

static ArrayType *
arg_permissions(FunctionCallInfo fcinfo, int n)
{
	ArrayType  *permissions;
	Datum	   *elems;
	bool	   *nulls;
	int			nelems;

	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("permissions must not be null")));
	permissions = PG_GETARG_ARRAYTYPE_P(n);
	deconstruct_array(permissions, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &nelems);
	for (int i = 0; i < nelems; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a permission must not be null")));
		check_permission(TextDatumGetCString(elems[i]));
	}
	return permissions;
}

/* '{resource:action,...}', for the ledger. */
static char *
permissions_text(const ArrayType *permissions)
{
	return OidOutputFunctionCall(F_ARRAY_OUT, PointerGetDatum(permissions));
}

/* Roles for all tenants are bulwark_admin's; a tenant's, those of its roles:manage. */
static void
require_role_manager(const Authority *who, const pg_uuid_t *tenant_id)
{
	if (tenant_id != NULL)
		AuthorityRequire(who, tenant_id, NULL, "roles", "manage");
	else if (!who->admin)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to manage roles for all tenants"),
				 errdetail("Only roles with the privileges of role \"%s\" may do this.", ROLE_ADMIN)));
}

static bool
find_role(const char *condition, const pg_uuid_t *tenant_id, const char *name, RoleRow *role)
{
	if (AdminRead(psprintf("SELECT role_id, tenant_id IS NULL, builtin, permissions "
						   "FROM bulwark_internal.roles WHERE %s AND name = $2", condition),
				  ARGS(UuidArg(tenant_id), TextArg(name))) == 0)
		return false;
	role->role_id = *DatumGetUUIDP(AdminResult(0, 1, NULL));
	role->global = DatumGetBool(AdminResult(0, 2, NULL));
	role->builtin = DatumGetBool(AdminResult(0, 3, NULL));
	role->permissions = DatumGetArrayTypeP(AdminResult(0, 4, NULL));
	return true;
}

static void
refuse_unknown(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("role \"%s\" does not exist", name)));
}

RoleRow
RoleFind(const pg_uuid_t *tenant_id, const char *name)
{
	RoleRow		role;

	/* a name is a tenant's or everybody's, never both */
	if (!find_role("(tenant_id = $1 OR tenant_id IS NULL)", tenant_id, name, &role))
		refuse_unknown(name);
	return role;
}

/* The role to alter or drop, locked, its tenant too. */
static RoleRow
find_own(const pg_uuid_t *tenant_id, const char *name)
{
	RoleRow		role;

	if (tenant_id)
		TenantLock(tenant_id);
	AdminExec("SELECT FROM bulwark_internal.roles "
			  "WHERE tenant_id IS NOT DISTINCT FROM $1 AND name = $2 AND NOT builtin FOR NO KEY UPDATE",
			  ARGS(UuidArg(tenant_id), TextArg(name)));
	if (!find_role("tenant_id IS NOT DISTINCT FROM $1", tenant_id, name, &role))
	{
		/* a built-in role has no tenant: say why rather than "unknown" */
		if (tenant_id == NULL || !find_role("tenant_id IS NULL AND $1::uuid IS NOT NULL", tenant_id, name, &role))
			refuse_unknown(name);
		if (!role.builtin)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("role \"%s\" is for all tenants and not the tenant's own", name)));
	}
	if (role.builtin)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" is built in and cannot be changed", name),
				 errhint("Create a role of your own.")));
	return role;
}

Datum
bulwark_role_create(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	Authority	who = CallerAuthority();
	pg_uuid_t  *tenant_id = ArgUuidOrNull(fcinfo, 0);
	char	   *name = ArgText(fcinfo, 1, "name");
	ArrayType  *permissions = arg_permissions(fcinfo, 2);
	pg_uuid_t  *id = NewUuid();

	NameCheck("name", name);
	require_role_manager(&who, tenant_id);

	TrustedBegin(&scope);
	if (tenant_id)
	{
		TenantLock(tenant_id);
		require_role_manager(&who, tenant_id);
		AuthorityRequireAll(&who, tenant_id, NULL, permissions);
	}
	/* one for all tenants against one of any tenant: neither may miss the other */
	AdminExec(tenant_id ? "LOCK TABLE bulwark_internal.roles IN ROW EXCLUSIVE MODE"
			  : "LOCK TABLE bulwark_internal.roles IN SHARE ROW EXCLUSIVE MODE", 0, NULL);
	if (AdminReadBool("SELECT EXISTS (SELECT FROM bulwark_internal.roles "
					  "WHERE pg_catalog.lower(name COLLATE pg_catalog.\"default\") = pg_catalog.lower($2) "
					  "AND ($1 IS NULL OR tenant_id IS NULL OR tenant_id = $1))",
					  ARGS(UuidArg(tenant_id), TextArg(name))))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("role \"%s\" exists already", name),
				 errdetail("A tenant's role and a role for all tenants never have the same name.")));
	AdminExec("INSERT INTO bulwark_internal.roles (role_id, tenant_id, name, permissions) "
			  "SELECT $1, $2, $3, ARRAY(SELECT DISTINCT p COLLATE \"C\" FROM pg_catalog.unnest($4) AS p ORDER BY 1)",
			  ARGS(UuidArg(id), UuidArg(tenant_id), TextArg(name), ArrayArg(TEXTARRAYOID, permissions)));
	TrustedEnd(&scope);

	AuditAdmin("role_create", "role", UuidText(id), tenant_id, "name", name,
			   "permissions", permissions_text(permissions), NULL);
	PG_RETURN_UUID_P(id);
}

Datum
bulwark_role_alter(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	Authority	who = CallerAuthority();
	pg_uuid_t  *tenant_id = ArgUuidOrNull(fcinfo, 0);
	char	   *name = ArgText(fcinfo, 1, "name");
	ArrayType  *permissions = arg_permissions(fcinfo, 2);
	RoleRow		role;

	require_role_manager(&who, tenant_id);

	TrustedBegin(&scope);
	role = find_own(tenant_id, name);
	if (tenant_id)
	{
		require_role_manager(&who, tenant_id);
		AuthorityRequireAll(&who, tenant_id, NULL, role.permissions);
		AuthorityRequireAll(&who, tenant_id, NULL, permissions);
	}
	AdminExpectRow(AdminExec("UPDATE bulwark_internal.roles "
							 "SET permissions = ARRAY(SELECT DISTINCT p COLLATE \"C\" FROM pg_catalog.unnest($2) AS p ORDER BY 1) "
							 "WHERE role_id = $1",
							 ARGS(UuidArg(&role.role_id), ArrayArg(TEXTARRAYOID, permissions))));
	if (AdminReadBool("SELECT bulwark_internal.administers($1) AND NOT bulwark_internal.administers($2)",
					  ARGS(ArrayArg(TEXTARRAYOID, role.permissions), ArrayArg(TEXTARRAYOID, permissions))))
		AdministratorTaken(FROM_ROLE, &role.role_id);
	TrustedEnd(&scope);

	AuditAdmin("role_alter", "role", UuidText(&role.role_id), tenant_id, "name", name,
			   "permissions", permissions_text(permissions),
			   "before", permissions_text(role.permissions), NULL);
	PG_RETURN_VOID();
}

Datum
bulwark_role_drop(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	Authority	who = CallerAuthority();
	pg_uuid_t  *tenant_id = ArgUuidOrNull(fcinfo, 0);
	char	   *name = ArgText(fcinfo, 1, "name");
	RoleRow		role;

	require_role_manager(&who, tenant_id);

	TrustedBegin(&scope);
	role = find_own(tenant_id, name);
	if (tenant_id)
	{
		require_role_manager(&who, tenant_id);
		AuthorityRequireAll(&who, tenant_id, NULL, role.permissions);
	}
	if (AdminReadBool("SELECT EXISTS (SELECT FROM bulwark_internal.memberships WHERE role_id = $1)",
					  ARGS(UuidArg(&role.role_id))))
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("role \"%s\" is held by members", name),
				 errhint("Revoke their memberships first; the view bulwark.members lists them.")));
	AdminExec("DELETE FROM bulwark_internal.roles WHERE role_id = $1", ARGS(UuidArg(&role.role_id)));
	TrustedEnd(&scope);

	AuditAdmin("role_drop", "role", UuidText(&role.role_id), tenant_id, "name", name, NULL);
	PG_RETURN_VOID();
}
