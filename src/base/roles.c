/*
 * roles.c
 *		Which of the cluster roles the current user or the session's login has.
 */
#include "base/base.h"

#include "access/xact.h"

bool
HasClusterRole(Oid userid, const char *role)
{
	Oid			roleid;

	if (superuser_arg(userid))
		return true;
	roleid = get_role_oid(role, true);
	return OidIsValid(roleid) && has_privs_of_role(userid, roleid);
}

bool
SessionIsApp(void)
{
	Oid			login = GetSessionUserId();
	Oid			app;

	if (!IsTransactionState() || superuser_arg(login))
		return false;
	app = get_role_oid(ROLE_APP, true);
	return OidIsValid(app) && is_member_of_role_nosuper(login, app) &&
		OidIsValid(PrivateRelid(WATCHED_RELATION));
}
