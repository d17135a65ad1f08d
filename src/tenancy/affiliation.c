/*
 * affiliation.c
 *		A tenant's tree of affiliations.  A role on a node holds for its
 *		descendants, so whoever puts a node below another gives those who hold
 *		roles there what is in it: it takes holding as much oneself.
 */
#include "tenancy/admin.h"

PG_FUNCTION_INFO_V1(bulwark_affiliation_create);
PG_FUNCTION_INFO_V1(bulwark_affiliation_move);
PG_FUNCTION_INFO_V1(bulwark_affiliation_drop);

static void
require_affiliation(const pg_uuid_t *tenant_id, const pg_uuid_t *id)
{
	if (!AdminReadBool("SELECT EXISTS (SELECT FROM bulwark_internal.affiliations "
					   "WHERE tenant_id = $1 AND affiliation_id = $2)",
					   ARGS(UuidArg(tenant_id), UuidArg(id))))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("affiliation %s does not exist in the tenant", UuidText(id))));
}

/* May who give a node to those who hold roles on the parent or above it? */
static void
require_ceiling(const Authority *who, const pg_uuid_t *tenant_id, const pg_uuid_t *parent_id)
{
	uint64		nroles;
	ArrayType **permissions;

	if (who->admin)
		return;
	nroles = AdminRead("WITH RECURSIVE up (affiliation_id) AS ("
					   "SELECT $2 UNION SELECT p.parent_id FROM up "
					   "JOIN bulwark_internal.affiliation_parents p USING (affiliation_id)) "
					   "SELECT r.permissions FROM bulwark_internal.roles r WHERE r.role_id IN ("
					   "SELECT m.role_id FROM bulwark_internal.memberships m JOIN up USING (affiliation_id) "
					   "WHERE m.tenant_id = $1)",
					   ARGS(UuidArg(tenant_id), UuidArg(parent_id)));
	permissions = palloc(nroles * sizeof(ArrayType *) + 1);
	for (uint64 i = 0; i < nroles; i++)
		permissions[i] = DatumGetArrayTypeP(AdminResult(i, 1, NULL));
	for (uint64 i = 0; i < nroles; i++)
		AuthorityRequireAll(who, tenant_id, NULL, permissions[i]);
}

static void
set_parent(const pg_uuid_t *tenant_id, const pg_uuid_t *id, const pg_uuid_t *parent_id)
{
	AdminExec("INSERT INTO bulwark_internal.affiliation_parents (tenant_id, affiliation_id, parent_id) "
			  "VALUES ($1, $2, $3) ON CONFLICT (affiliation_id) DO UPDATE SET parent_id = EXCLUDED.parent_id",
			  ARGS(UuidArg(tenant_id), UuidArg(id), UuidArg(parent_id)));
}

Datum
bulwark_affiliation_create(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	Authority	who = CallerAuthority();
	pg_uuid_t  *tenant_id = ArgUuid(fcinfo, 0, "tenant_id");
	char	   *slug = ArgText(fcinfo, 1, "slug");
	char	   *name = ArgText(fcinfo, 2, "name");
	char	   *key = PG_ARGISNULL(3) ? slug : ArgText(fcinfo, 3, "key");
	pg_uuid_t  *parent_id = ArgUuidOrNull(fcinfo, 4);
	pg_uuid_t  *id = PG_ARGISNULL(5) ? NewUuid() : PG_GETARG_UUID_P(5);
	ArrayType  *names;
	int			nnames;

	AuthorityRequire(&who, tenant_id, NULL, "system", "configure");
	/* ids are unique across tenants: to choose one is to learn of, or take, another's */
	if (!PG_ARGISNULL(5) && !who.admin)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to choose an affiliation's id"),
				 errhint("Leave the id out, or let a member of %s create it.", ROLE_ADMIN)));
	SlugCheck(slug);
	NameCheck("name", name);
	NameCheck("key", key);
	names = NamesFold(id, slug, key, &nnames);

	TrustedBegin(&scope);
	TenantLock(tenant_id);
	AuthorityRequire(&who, tenant_id, NULL, "system", "configure");
	if (parent_id)
	{
		require_affiliation(tenant_id, parent_id);
		require_ceiling(&who, tenant_id, parent_id);
	}
	if (AdminExec("INSERT INTO bulwark_internal.affiliations (affiliation_id, tenant_id, slug, name, key, key_int8) "
				  "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
				  ARGS(UuidArg(id), UuidArg(tenant_id), TextArg(slug), TextArg(name), TextArg(key),
					   NameInt8Arg(key))) == 0 ||
		AdminExec("INSERT INTO bulwark_internal.affiliation_names (affiliation_id, tenant_id, folded) "
				  "SELECT $1, $2, pg_catalog.unnest($3) ON CONFLICT DO NOTHING",
				  ARGS(UuidArg(id), UuidArg(tenant_id), ArrayArg(TEXTARRAYOID, names))) != nnames)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("the slug, key or id is another affiliation's"),
				 errdetail("Slugs, keys and ids share one namespace, without regard to case, Unicode form, signs and leading zeros.")));
	if (parent_id)
		set_parent(tenant_id, id, parent_id);
	TrustedEnd(&scope);

	AuditAdmin("affiliation_create", "affiliation", UuidText(id), tenant_id, "slug", slug,
			   "parent", parent_id ? UuidText(parent_id) : NULL, NULL);
	PG_RETURN_UUID_P(id);
}

/*
 * The tenant of an affiliation that who may configure, locked.  To an identity,
 * another tenant's affiliation and one that does not exist are the same.
 */
static pg_uuid_t *
lock_tenant_of(const Authority *who, const pg_uuid_t *id)
{
	static const char sql[] = "SELECT tenant_id FROM bulwark_internal.affiliations WHERE affiliation_id = $1";
	bool		found = AdminRead(sql, ARGS(UuidArg(id))) > 0;
	pg_uuid_t  *tenant_id = found ? DatumGetUUIDP(AdminResult(0, 1, NULL)) : NULL;

	if (found && AuthorityHas(who, tenant_id, NULL, "system", "configure"))
	{
		TenantLock(tenant_id);
		AuthorityRequire(who, tenant_id, NULL, "system", "configure");
		found = AdminRead(sql, ARGS(UuidArg(id))) > 0;
	}
	else if (!who->admin)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for affiliation %s", UuidText(id)),
				 errdetail("An identity needs system:configure in this tenant, for all affiliations.")));
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("affiliation %s does not exist", UuidText(id))));
	return tenant_id;
}

Datum
bulwark_affiliation_move(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	Authority	who = CallerAuthority();
	pg_uuid_t  *id = ArgUuid(fcinfo, 0, "affiliation_id");
	pg_uuid_t  *parent_id = ArgUuidOrNull(fcinfo, 1);
	pg_uuid_t  *tenant_id;

	TrustedBegin(&scope);
	tenant_id = lock_tenant_of(&who, id);
	if (parent_id)
	{
		require_affiliation(tenant_id, parent_id);
		require_ceiling(&who, tenant_id, parent_id);
		if (AdminReadBool("WITH RECURSIVE up (affiliation_id) AS ("
						  "SELECT $2 UNION SELECT p.parent_id FROM up "
						  "JOIN bulwark_internal.affiliation_parents p USING (affiliation_id)) "
						  "SELECT EXISTS (SELECT FROM up WHERE affiliation_id = $1)",
						  ARGS(UuidArg(id), UuidArg(parent_id))))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("an affiliation cannot be below itself"),
					 errdetail("Affiliation %s is, or is below, the one to move.", UuidText(parent_id))));
		set_parent(tenant_id, id, parent_id);
	}
	else
		AdminExec("DELETE FROM bulwark_internal.affiliation_parents WHERE affiliation_id = $1",
				  ARGS(UuidArg(id)));
	TrustedEnd(&scope);

	AuditAdmin("affiliation_move", "affiliation", UuidText(id), tenant_id,
			   "parent", parent_id ? UuidText(parent_id) : NULL, NULL);
	PG_RETURN_VOID();
}

static void
refuse_used(const char *sql, const pg_uuid_t *id, const char *by, const char *hint)
{
	if (AdminReadBool(sql, ARGS(UuidArg(id))))
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("affiliation %s has %s", UuidText(id), by),
				 errhint("%s", hint)));
}

Datum
bulwark_affiliation_drop(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	Authority	who = CallerAuthority();
	pg_uuid_t  *id = ArgUuid(fcinfo, 0, "affiliation_id");
	pg_uuid_t  *tenant_id;

	TrustedBegin(&scope);
	tenant_id = lock_tenant_of(&who, id);
	refuse_used("SELECT EXISTS (SELECT FROM bulwark_internal.affiliation_parents WHERE parent_id = $1)",
				id, "affiliations below it", "Move or drop them first.");
	refuse_used("SELECT EXISTS (SELECT FROM bulwark_internal.memberships WHERE affiliation_id = $1)",
				id, "members", "Revoke their memberships first; the view bulwark.members lists them.");
	AdminExec("DELETE FROM bulwark_internal.affiliations WHERE affiliation_id = $1", ARGS(UuidArg(id)));
	TrustedEnd(&scope);

	AuditAdmin("affiliation_drop", "affiliation", UuidText(id), tenant_id, NULL);
	PG_RETURN_VOID();
}
