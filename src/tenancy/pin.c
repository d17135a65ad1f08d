/*
 * pin.c
 *		What a whole database, or a service's login, is limited to.
 */
#include "tenancy/admin.h"

#include "utils/fmgroids.h"

PG_FUNCTION_INFO_V1(bulwark_pin_tenant);
PG_FUNCTION_INFO_V1(bulwark_unpin_tenant);
PG_FUNCTION_INFO_V1(bulwark_service_scope);

Datum
bulwark_pin_tenant(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	pg_uuid_t  *id;

	RequireAdmin("pin the database to a tenant");
	id = ArgUuid(fcinfo, 0, "tenant_id");

	TrustedBegin(&scope);
	if (AdminExec("SELECT FROM bulwark_internal.tenants WHERE tenant_id = $1 FOR KEY SHARE",
				  ARGS(UuidArg(id))) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("tenant %s does not exist", UuidText(id))));
	if (AdminExec("INSERT INTO bulwark_internal.pinned_tenant (tenant_id) VALUES ($1) ON CONFLICT DO NOTHING",
				  ARGS(UuidArg(id))) == 0 &&
		!AdminReadBool("SELECT tenant_id = $1 FROM bulwark_internal.pinned_tenant", ARGS(UuidArg(id))))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the database is pinned to another tenant"),
				 errhint("Run bulwark.unpin_tenant() first.")));
	TrustedEnd(&scope);

	AuditAdmin("pin_tenant", "tenant", UuidText(id), id, NULL);
	PG_RETURN_VOID();
}

Datum
bulwark_unpin_tenant(PG_FUNCTION_ARGS)
{
	TrustedScope scope;

	RequireAdmin("unpin the database");

	TrustedBegin(&scope);
	AdminExec("DELETE FROM bulwark_internal.pinned_tenant", 0, NULL);
	TrustedEnd(&scope);

	AuditAdmin("unpin_tenant", "database", NULL, NULL, NULL);
	PG_RETURN_VOID();
}

Datum
bulwark_service_scope(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	char	   *role;
	Oid			id;
	ArrayType  *tenants;

	RequireAdmin("limit a service to tenants");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("role must not be null")));
	role = NameStr(*PG_GETARG_NAME(0));
	id = get_role_oid(role, false);
	tenants = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	if (tenants && array_contains_nulls(tenants))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a tenant id must not be null")));

	TrustedBegin(&scope);
	if (tenants != NULL)
	{
		if (AdminRead("SELECT t FROM pg_catalog.unnest($1) AS t "
					  "WHERE t NOT IN (SELECT tenant_id FROM bulwark_internal.tenants)",
					  ARGS(ArrayArg(UUIDARRAYOID, tenants))) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("tenant %s does not exist", UuidText(DatumGetUUIDP(AdminResult(0, 1, NULL))))));
	}
	AdminExec("DELETE FROM bulwark_internal.service_scopes AS s WHERE role_oid = $2 OR role = $1::pg_catalog.name "
			  "AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid = s.role_oid)",
			  ARGS(TextArg(role), OidArg(id)));
	if (tenants != NULL)
		AdminExec("INSERT INTO bulwark_internal.service_scopes (role, tenant_ids) VALUES ($1::pg_catalog.name, $2) "
				  "ON CONFLICT (role_oid) DO UPDATE SET role = EXCLUDED.role, tenant_ids = EXCLUDED.tenant_ids",
				  ARGS(TextArg(role), ArrayArg(UUIDARRAYOID, tenants)));
	TrustedEnd(&scope);

	AuditAdmin("service_scope", "login", role, NULL, "tenants",
			   tenants ? OidOutputFunctionCall(F_ARRAY_OUT, PointerGetDatum(tenants)) : NULL, NULL);
	PG_RETURN_VOID();
}
