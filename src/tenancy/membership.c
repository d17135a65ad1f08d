/*
 * membership.c
 *		Memberships: a principal holds a role in a tenant, on all of it or on an
 *		affiliation, for good or until a time.
 */
#include "tenancy/admin.h"

PG_FUNCTION_INFO_V1(bulwark_membership_grant);
PG_FUNCTION_INFO_V1(bulwark_membership_revoke);

/*
 * An identity grants to members of its tenant, and to principals that belong to
 * none yet.  For all others there is one answer: whether they exist is not to be
 * found out, and nobody draws another tenant's members into their own.
 */
static void
require_grantee(const pg_uuid_t *actor_id, const pg_uuid_t *tenant_id, const pg_uuid_t *principal_id)
{
	if (actor_id == NULL)
	{
		if (!AdminReadBool("SELECT EXISTS (SELECT FROM bulwark_internal.principals WHERE principal_id = $1)",
						   ARGS(UuidArg(principal_id))))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("principal %s does not exist", UuidText(principal_id))));
		return;
	}
	if (!AdminReadBool("SELECT EXISTS (SELECT FROM bulwark_internal.memberships WHERE principal_id = $1 AND tenant_id = $2) "
					   "OR EXISTS (SELECT FROM bulwark_internal.principals WHERE principal_id = $1) "
					   "AND NOT EXISTS (SELECT FROM bulwark_internal.memberships WHERE principal_id = $1)",
					   ARGS(UuidArg(principal_id), UuidArg(tenant_id))))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for principal %s", UuidText(principal_id)),
				 errdetail("An identity grants to members of its tenant, and to principals that belong to none."),
				 errhint("Roles with the privileges of role \"%s\" grant to everybody.", ROLE_ADMIN)));
	if (UuidEquals(principal_id, actor_id))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to grant to oneself")));
}

static void
require_affiliation(const pg_uuid_t *tenant_id, const pg_uuid_t *id)
{
	if (AdminExec("SELECT FROM bulwark_internal.affiliations "
				  "WHERE tenant_id = $1 AND affiliation_id = $2 FOR KEY SHARE",
				  ARGS(UuidArg(tenant_id), UuidArg(id))) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("affiliation %s does not exist in the tenant", UuidText(id))));
}

/* Tickets of an older generation are refused. */
static void
bump_generation(const pg_uuid_t *principal_id, const pg_uuid_t *tenant_id)
{
	AdminExec("INSERT INTO bulwark_internal.member_generations AS g (principal_id, tenant_id, generation) "
			  "VALUES ($1, $2, 1) "
			  "ON CONFLICT (principal_id, tenant_id) DO UPDATE SET generation = g.generation + 1",
			  ARGS(UuidArg(principal_id), UuidArg(tenant_id)));
}

static void
delete_membership(const pg_uuid_t *id, const pg_uuid_t *principal_id, const pg_uuid_t *tenant_id)
{
	AdminExpectRow(AdminExec("DELETE FROM bulwark_internal.memberships WHERE membership_id = $1",
							 ARGS(UuidArg(id))));
	bump_generation(principal_id, tenant_id);
}

/* An existing grant of the same: its id, NULL if there is none in force. */
static pg_uuid_t *
regrant(const pg_uuid_t *principal_id, const pg_uuid_t *tenant_id, const pg_uuid_t *role_id,
		const pg_uuid_t *affiliation_id, TimestampTz expires_at, const char *granted_by)
{
	pg_uuid_t  *id;
	bool		expired;
	bool		same;

	if (AdminRead("SELECT membership_id, COALESCE(expires_at <= $5, false), expires_at IS NOT DISTINCT FROM $6 "
				  "FROM bulwark_internal.memberships WHERE principal_id = $1 AND tenant_id = $2 "
				  "AND role_id = $3 AND affiliation_id IS NOT DISTINCT FROM $4",
				  ARGS(UuidArg(principal_id), UuidArg(tenant_id), UuidArg(role_id),
					   UuidArg(affiliation_id), TimeArg(GetCurrentTimestamp()), TimeArg(expires_at))) == 0)
		return NULL;
	id = DatumGetUUIDP(AdminResult(0, 1, NULL));
	expired = DatumGetBool(AdminResult(0, 2, NULL));
	same = DatumGetBool(AdminResult(0, 3, NULL));

	if (expired)
	{
		/* what has ended does not come back to life, nor do its tickets */
		delete_membership(id, principal_id, tenant_id);
		return NULL;
	}
	if (!same)
		AdminExpectRow(AdminExec("UPDATE bulwark_internal.memberships "
								 "SET expires_at = $2, granted_by = $3, granted_at = pg_catalog.now() "
								 "WHERE membership_id = $1",
								 ARGS(UuidArg(id), TimeArg(expires_at), TextArg(granted_by))));
	return id;
}

Datum
bulwark_membership_grant(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	Authority	who = CallerAuthority();
	pg_uuid_t  *principal_id = ArgUuid(fcinfo, 0, "principal_id");
	pg_uuid_t  *tenant_id = ArgUuid(fcinfo, 1, "tenant_id");
	char	   *role_name = ArgText(fcinfo, 2, "role");
	pg_uuid_t  *affiliation_id = ArgUuidOrNull(fcinfo, 3);
	TimestampTz expires_at = PG_ARGISNULL(4) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(4);
	char	   *granted_by;
	pg_uuid_t	actor_id;
	RoleRow		role;
	pg_uuid_t  *id;
	bool		had;

	AuthorityRequire(&who, tenant_id, affiliation_id, "users", "manage");
	granted_by = AuthorityName(&who);
	if (!who.admin)
		actor_id = who.actor->identity.principal_id;
	if (expires_at <= GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expires_at must be in the future")));

	TrustedBegin(&scope);
	TenantLock(tenant_id);
	AuthorityRequire(&who, tenant_id, affiliation_id, "users", "manage");
	require_grantee(who.admin ? NULL : &actor_id, tenant_id, principal_id);
	if (affiliation_id)
		require_affiliation(tenant_id, affiliation_id);
	role = RoleFind(tenant_id, role_name);
	AuthorityRequireAll(&who, tenant_id, affiliation_id, role.permissions);

	had = affiliation_id == NULL && expires_at != DT_NOEND && TenantHasAdministrator(tenant_id);
	id = regrant(principal_id, tenant_id, &role.role_id, affiliation_id, expires_at, granted_by);
	if (id == NULL)
	{
		id = NewUuid();
		AdminExec("INSERT INTO bulwark_internal.memberships "
				  "(membership_id, principal_id, tenant_id, role_id, affiliation_id, expires_at, granted_by) "
				  "VALUES ($1, $2, $3, $4, $5, $6, $7)",
				  ARGS(UuidArg(id), UuidArg(principal_id), UuidArg(tenant_id), UuidArg(&role.role_id),
					   UuidArg(affiliation_id), TimeArg(expires_at), TextArg(granted_by)));
	}
	if (had)
		AdministratorTaken(FROM_TENANT, tenant_id);
	TrustedEnd(&scope);

	AuditAdmin("membership_grant", "membership", UuidText(id), tenant_id,
			   "principal", UuidText(principal_id), "role", role_name,
			   "affiliation", affiliation_id ? UuidText(affiliation_id) : NULL,
			   "expires_at", expires_at == DT_NOEND ? NULL : UtcText(expires_at), NULL);
	PG_RETURN_UUID_P(id);
}

typedef struct MembershipRow
{
	pg_uuid_t  *principal_id;
	pg_uuid_t  *tenant_id;
	pg_uuid_t  *affiliation_id; /* NULL: tenant-wide */
	ArrayType  *permissions;
} MembershipRow;

static bool
find_membership(const pg_uuid_t *id, MembershipRow *row)
{
	Datum		affiliation;
	bool		tenant_wide;

	if (AdminRead("SELECT m.principal_id, m.tenant_id, m.affiliation_id, r.permissions "
				  "FROM bulwark_internal.memberships m JOIN bulwark_internal.roles r USING (role_id) "
				  "WHERE m.membership_id = $1",
				  ARGS(UuidArg(id))) == 0)
		return false;
	row->principal_id = DatumGetUUIDP(AdminResult(0, 1, NULL));
	row->tenant_id = DatumGetUUIDP(AdminResult(0, 2, NULL));
	affiliation = AdminResult(0, 3, &tenant_wide);
	row->affiliation_id = tenant_wide ? NULL : DatumGetUUIDP(affiliation);
	row->permissions = DatumGetArrayTypeP(AdminResult(0, 4, NULL));
	return true;
}

/* Find the membership again with its tenant locked.  To an identity, one that it
 * may not manage and one that does not exist are the same. */
static MembershipRow
lock_membership(const Authority *who, const pg_uuid_t *id)
{
	MembershipRow row;
	bool		found = find_membership(id, &row);

	if (found && AuthorityHas(who, row.tenant_id, row.affiliation_id, "users", "manage"))
	{
		TenantLock(row.tenant_id);
		found = find_membership(id, &row) &&
			AuthorityHas(who, row.tenant_id, row.affiliation_id, "users", "manage");
	}
	else
		found = false;
	if (!found)
		ereport(ERROR,
				(errcode(who->admin ? ERRCODE_UNDEFINED_OBJECT : ERRCODE_INSUFFICIENT_PRIVILEGE),
				 who->admin ? errmsg("membership %s does not exist", UuidText(id))
				 : errmsg("permission denied for membership %s", UuidText(id)),
				 who->admin ? 0
				 : errdetail("An identity needs users:manage in this tenant, for the affiliation.")));
	return row;
}

Datum
bulwark_membership_revoke(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	Authority	who = CallerAuthority();
	pg_uuid_t  *id = ArgUuid(fcinfo, 0, "membership_id");
	MembershipRow row;
	bool		had;

	TrustedBegin(&scope);
	row = lock_membership(&who, id);
	AuthorityRequireAll(&who, row.tenant_id, row.affiliation_id, row.permissions);
	had = row.affiliation_id == NULL && TenantHasAdministrator(row.tenant_id);
	delete_membership(id, row.principal_id, row.tenant_id);
	if (had)
		AdministratorTaken(FROM_TENANT, row.tenant_id);
	TrustedEnd(&scope);

	if (ArgBool(fcinfo, 1))
		TerminateAtCommit(row.principal_id, row.tenant_id);
	AuditAdmin("membership_revoke", "membership", UuidText(id), row.tenant_id,
			   "principal", UuidText(row.principal_id),
			   "affiliation", row.affiliation_id ? UuidText(row.affiliation_id) : NULL, NULL);
	PG_RETURN_VOID();
}
