/*
 * authority.c
 *		Who may administer what.  A role with the privileges of bulwark_admin may
 *		do everything; an identity, what its permissions in its own tenant give.
 *		Privileges of EXECUTE are not relied on: default privileges of others can
 *		widen them.
 */
#include "tenancy/admin.h"

PG_FUNCTION_INFO_V1(bulwark_sees_all);
PG_FUNCTION_INFO_V1(bulwark_member_visible);

/* Who asks.  Call it before TrustedBegin: inside, the current user is the owner. */
Authority
CallerAuthority(void)
{
	Authority	who = {.admin = HasClusterRole(GetUserId(), ROLE_ADMIN)};

	if (!who.admin)
		who.actor = IdentityCurrent();
	return who;
}

char *
AuthorityName(const Authority *who)
{
	if (who->actor)
		return psprintf("principal %s", UuidText(&who->actor->identity.principal_id));
	return psprintf("role %s", GetUserNameFromId(GetSessionUserId(), false));
}

void
RequireAdmin(const char *what)
{
	if (!HasClusterRole(GetUserId(), ROLE_ADMIN))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to %s", what),
				 errdetail("Only roles with the privileges of role \"%s\" may do this.", ROLE_ADMIN)));
}

/* Does the identity in force (never a stale one) hold the permission there? */
static bool
holds(const Authority *who, const pg_uuid_t *tenant_id, const pg_uuid_t *affiliation_id,
	  const char *resource, int resource_len, const char *action, int action_len)
{
	const EffectiveIdentity *actor;
	const Grant *grant;

	if (who->admin)
		return true;
	actor = IdentityCurrent();
	if (actor == NULL || !UuidEquals(&actor->identity.tenant_id, tenant_id))
		return false;
	grant = GrantFor(resource, resource_len, action, action_len);
	if (grant == NULL)
		return false;
	return grant->tenant_wide || (affiliation_id != NULL && GrantHasId(grant, affiliation_id));
}

bool
AuthorityHas(const Authority *who, const pg_uuid_t *tenant_id, const pg_uuid_t *affiliation_id,
			 const char *resource, const char *action)
{
	return holds(who, tenant_id, affiliation_id, resource, strlen(resource), action, strlen(action));
}

void
AuthorityRequire(const Authority *who, const pg_uuid_t *tenant_id, const pg_uuid_t *affiliation_id,
				 const char *resource, const char *action)
{
	if (!AuthorityHas(who, tenant_id, affiliation_id, resource, action))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied: %s:%s is needed", resource, action),
				 affiliation_id
				 ? errdetail("An identity needs it in this tenant, for the affiliation.")
				 : errdetail("An identity needs it in this tenant, for all affiliations.")));
}

void
RequireTenantPermission(const pg_uuid_t *tenant_id, const pg_uuid_t *affiliation_id,
						const char *resource, const char *action)
{
	Authority	who = CallerAuthority();

	AuthorityRequire(&who, tenant_id, affiliation_id, resource, action);
}

/*
 * A wildcard of a role is covered by a wildcard only: '*' is looked up as if it
 * were a resource or an action of that name, which only '*' patterns match.
 */
void
AuthorityRequireAll(const Authority *who, const pg_uuid_t *tenant_id,
					const pg_uuid_t *affiliation_id, const ArrayType *permissions)
{
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	if (who->admin)
		return;
	deconstruct_array(unconstify(ArrayType *, permissions), TEXTOID, -1, false, TYPALIGN_INT,
					  &elems, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *permission = TextDatumGetCString(elems[i]);
		char	   *colon = strchr(permission, ':');

		if (colon == NULL ||
			!holds(who, tenant_id, affiliation_id,
				   permission, colon - permission, colon + 1, strlen(colon + 1)))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to give \"%s\"", permission),
					 errdetail("Nobody gives more than they hold, there where they hold it.")));
	}
}

/* Filter of the views: roles that see every tenant's rows. */
Datum
bulwark_sees_all(PG_FUNCTION_ARGS)
{
	Oid			user = GetUserId();

	PG_RETURN_BOOL(HasClusterRole(user, ROLE_ADMIN) ||
				   HasClusterRole(user, ROLE_AUDITOR) ||
				   HasClusterRole(user, ROLE_MAINTENANCE));
}

/* Filter of the views: a membership that is one's own, or that one may manage. */
Datum
bulwark_member_visible(PG_FUNCTION_ARGS)
{
	const EffectiveIdentity *actor = IdentityCurrent();
	Authority	who = {.admin = false,.actor = actor};

	if (actor == NULL || PG_ARGISNULL(0) || PG_ARGISNULL(1) ||
		!UuidEquals(&actor->identity.tenant_id, PG_GETARG_UUID_P(0)))
		PG_RETURN_BOOL(false);
	if (UuidEquals(&actor->identity.principal_id, PG_GETARG_UUID_P(1)))
		PG_RETURN_BOOL(true);
	PG_RETURN_BOOL(AuthorityHas(&who, PG_GETARG_UUID_P(0), ArgUuidOrNull(fcinfo, 2),
								"users", "manage"));
}
