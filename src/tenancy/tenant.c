/*
 * tenant.c
 *		Tenants: created, suspended, resumed.
 */
#include "tenancy/admin.h"

PG_FUNCTION_INFO_V1(bulwark_tenant_create);
PG_FUNCTION_INFO_V1(bulwark_tenant_suspend);
PG_FUNCTION_INFO_V1(bulwark_tenant_resume);

static void
refuse_duplicate(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 errmsg("the slug, key or id is another tenant's"),
			 errdetail("Slugs, keys and ids share one namespace, without regard to case, Unicode form, signs and leading zeros.")));
}

Datum
bulwark_tenant_create(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	char	   *slug;
	char	   *name;
	char	   *key;
	char	   *region;
	pg_uuid_t  *id;
	ArrayType  *names;
	int			nnames;

	RequireAdmin("create a tenant");
	slug = ArgText(fcinfo, 0, "slug");
	name = ArgText(fcinfo, 1, "name");
	key = PG_ARGISNULL(2) ? slug : ArgText(fcinfo, 2, "key");
	region = ArgTextOrNull(fcinfo, 3);
	id = PG_ARGISNULL(4) ? NewUuid() : PG_GETARG_UUID_P(4);

	SlugCheck(slug);
	NameCheck("name", name);
	NameCheck("key", key);
	if (region)
		NameCheck("region", region);
	names = NamesFold(id, slug, key, &nnames);

	TrustedBegin(&scope);
	if (AdminExec("INSERT INTO bulwark_internal.tenants (tenant_id, slug, name, key, key_int8, region) "
				  "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
				  ARGS(UuidArg(id), TextArg(slug), TextArg(name), TextArg(key), NameInt8Arg(key),
					   TextArg(region))) == 0 ||
		AdminExec("INSERT INTO bulwark_internal.tenant_names (tenant_id, folded) "
				  "SELECT $1, pg_catalog.unnest($2) ON CONFLICT DO NOTHING",
				  ARGS(UuidArg(id), ArrayArg(TEXTARRAYOID, names))) != nnames)
		refuse_duplicate();
	TrustedEnd(&scope);

	AuditAdmin("tenant_create", "tenant", UuidText(id), id, "slug", slug, "key", key, NULL);
	PG_RETURN_UUID_P(id);
}

static void
expect_tenant(uint64 rows, const pg_uuid_t *id)
{
	if (rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("tenant %s does not exist", UuidText(id))));
}

Datum
bulwark_tenant_suspend(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	pg_uuid_t  *id;
	char	   *reason;

	RequireAdmin("suspend a tenant");
	id = ArgUuid(fcinfo, 0, "tenant_id");
	reason = ArgText(fcinfo, 1, "reason");
	NameCheck("reason", reason);

	TrustedBegin(&scope);
	expect_tenant(AdminExec("UPDATE bulwark_internal.tenants "
							"SET suspended_at = COALESCE(suspended_at, pg_catalog.now()), suspended_reason = $2 "
							"WHERE tenant_id = $1",
							ARGS(UuidArg(id), TextArg(reason))), id);
	TrustedEnd(&scope);

	if (ArgBool(fcinfo, 2))
		TerminateAtCommit(NULL, id);
	AuditAdmin("tenant_suspend", "tenant", UuidText(id), id, "reason", reason, NULL);
	PG_RETURN_VOID();
}

Datum
bulwark_tenant_resume(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	pg_uuid_t  *id;

	RequireAdmin("resume a tenant");
	id = ArgUuid(fcinfo, 0, "tenant_id");

	TrustedBegin(&scope);
	expect_tenant(AdminExec("UPDATE bulwark_internal.tenants SET suspended_at = NULL, suspended_reason = NULL "
							"WHERE tenant_id = $1",
							ARGS(UuidArg(id))), id);
	TrustedEnd(&scope);

	AuditAdmin("tenant_resume", "tenant", UuidText(id), id, NULL);
	PG_RETURN_VOID();
}
