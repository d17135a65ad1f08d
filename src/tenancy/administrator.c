/*
 * administrator.c
 *		A tenant that has an administrator keeps one, however many sessions try
 *		at once to take the last away.
 *
 *		An administrator is a row of the view bulwark_internal.administrators: a
 *		tenant-wide membership without an end, of an enabled principal, whose
 *		role holds users:manage, in a tenant that is not suspended.  Whatever may
 *		end one locks the tenant first, decides on what is committed by then, and
 *		checks after its change.
 *
 *		The lock is the row that reserves the tenant's id among the names, not
 *		the tenant itself: a member who holds it in an open transaction must not
 *		be able to delay tenant_suspend.
 *
 *		Order of locks: tenants by id, then a principal, then a role.
 */
#include "tenancy/admin.h"

#include "utils/inval.h"

void
TenantLock(const pg_uuid_t *tenant_id)
{
	if (AdminExec("SELECT FROM bulwark_internal.tenant_names WHERE folded = $1 FOR UPDATE",
				  ARGS(TextArg(UuidText(tenant_id)))) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("tenant %s does not exist", UuidText(tenant_id))));
	AcceptInvalidationMessages();
}

bool
TenantHasAdministrator(const pg_uuid_t *tenant_id)
{
	return AdminReadBool("SELECT EXISTS (SELECT FROM bulwark_internal.administrators WHERE tenant_id = $1)",
						 ARGS(UuidArg(tenant_id)));
}

void
TenantKeepsAdministrator(const pg_uuid_t *tenant_id, bool had)
{
	if (had && !TenantHasAdministrator(tenant_id))
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("tenant %s would be left without an administrator", UuidText(tenant_id)),
				 errdetail("A tenant-wide membership without an end, of an enabled principal, with users:manage must remain."),
				 errhint("Grant one to somebody else first, or suspend the tenant.")));
}

static AdministeredTenants
administered(const char *column, const pg_uuid_t *id)
{
	AdministeredTenants tenants;

	tenants.count = AdminRead(psprintf("SELECT DISTINCT tenant_id FROM bulwark_internal.administrators "
									   "WHERE %s = $1 ORDER BY tenant_id", column),
							  ARGS(UuidArg(id)));
	tenants.ids = palloc(tenants.count * sizeof(pg_uuid_t) + 1);
	for (uint64 i = 0; i < tenants.count; i++)
		tenants.ids[i] = *DatumGetUUIDP(AdminResult(i, 1, NULL));
	return tenants;
}

AdministeredTenants
AdministeredLock(const char *column, const pg_uuid_t *id)
{
	AdministeredTenants tenants = administered(column, id);

	for (uint64 i = 0; i < tenants.count; i++)
		TenantLock(&tenants.ids[i]);
	return tenants;
}

void
AdministeredRecheck(AdministeredTenants *tenants, const char *column, const pg_uuid_t *id)
{
	AdministeredTenants now = administered(column, id);
	uint64		locked = 0;

	/* both are sorted */
	for (uint64 i = 0; i < now.count; i++)
	{
		while (locked < tenants->count && !UuidEquals(&tenants->ids[locked], &now.ids[i]))
			locked++;
		AdminExpectRow(tenants->count - locked);
	}
	*tenants = now;
}

void
AdministeredKeep(const AdministeredTenants *tenants)
{
	for (uint64 i = 0; i < tenants->count; i++)
		TenantKeepsAdministrator(&tenants->ids[i], true);
}
