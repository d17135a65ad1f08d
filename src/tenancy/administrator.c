/*
 * administrator.c
 *		A tenant that has an administrator keeps one, however many sessions try
 *		at once to take the last away.
 *
 *		An administrator is a row of the view bulwark_internal.administrators: a
 *		tenant-wide membership without an end, of an enabled principal, whose
 *		role holds users:manage, in a tenant that is not suspended.  Whatever
 *		takes one away is checked at once, for a clear error, and again when the
 *		transaction commits, one such transaction at a time, on what the others
 *		have committed by then.  That lock is held while a transaction commits
 *		and never while one is open: who keeps a transaction open delays neither
 *		tenant_suspend nor principal_disable.
 *
 *		Only taking away needs that lock.  A transaction that relies on an
 *		administrator who is being disabled takes one away itself, so of the two
 *		the later one sees the other.
 */
#include "tenancy/admin.h"

#include "access/xact.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(bulwark_administers);

typedef struct Taken
{
	TakenFrom	from;
	pg_uuid_t	id;
	struct Taken *next;
} Taken;

static Taken *taken = NULL;		/* by this transaction, in TopTransactionContext */

#define ACTIVE_WITHOUT_ADMINISTRATOR \
	" t.suspended_at IS NULL AND NOT EXISTS (" \
	"SELECT FROM bulwark_internal.administrators a WHERE a.tenant_id = t.tenant_id)"

/* The tenants that had one of whom it was taken, and have none now. */
static const char *const orphaned_sql[] = {
	[FROM_TENANT] =
	"SELECT t.tenant_id FROM bulwark_internal.tenants t "
	"WHERE t.tenant_id = $1 AND" ACTIVE_WITHOUT_ADMINISTRATOR,
	[FROM_PRINCIPAL] =
	"SELECT t.tenant_id FROM bulwark_internal.memberships m "
	"JOIN bulwark_internal.tenants t USING (tenant_id) "
	"JOIN bulwark_internal.roles r USING (role_id) "
	"WHERE m.principal_id = $1 AND m.affiliation_id IS NULL AND m.expires_at IS NULL "
	"AND bulwark_internal.administers(r.permissions) AND" ACTIVE_WITHOUT_ADMINISTRATOR,
	[FROM_ROLE] =
	"SELECT t.tenant_id FROM bulwark_internal.memberships m "
	"JOIN bulwark_internal.tenants t USING (tenant_id) "
	"JOIN bulwark_internal.principals p USING (principal_id) "
	"WHERE m.role_id = $1 AND m.affiliation_id IS NULL AND m.expires_at IS NULL "
	"AND p.disabled_at IS NULL AND" ACTIVE_WITHOUT_ADMINISTRATOR,
};

static void
refuse_orphans(TakenFrom from, const pg_uuid_t *id)
{
	if (AdminRead(orphaned_sql[from], ARGS(UuidArg(id))) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("tenant %s would be left without an administrator",
						UuidText(DatumGetUUIDP(AdminResult(0, 1, NULL)))),
				 errdetail("A tenant-wide membership without an end, of an enabled principal, with users:manage must remain."),
				 errhint("Grant one to somebody else first, or suspend the tenant.")));
}

static void
check_at_commit(XactEvent event, void *arg)
{
	TrustedScope scope;
	Oid			lock;

	if (taken == NULL)
		return;
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
	{
		taken = NULL;
		return;
	}
	lock = PrivateRelid("administrators");
	if (!OidIsValid(lock))
		return;					/* the extension was dropped */
	TrustedBegin(&scope);
	LockDatabaseObject(lock, 0, 0, ExclusiveLock);
	for (const Taken *one = taken; one; one = one->next)
		refuse_orphans(one->from, &one->id);
	TrustedEnd(&scope);
}

void
AdministratorTaken(TakenFrom from, const pg_uuid_t *id)
{
	static bool registered = false;
	Taken	   *one;

	refuse_orphans(from, id);
	if (!registered)
	{
		RegisterXactCallback(check_at_commit, NULL);
		registered = true;
	}
	one = MemoryContextAlloc(TopTransactionContext, sizeof(Taken));
	one->from = from;
	one->id = *id;
	one->next = taken;
	taken = one;
}

/* Do the permissions of a role make an administrator? */
Datum
bulwark_administers(PG_FUNCTION_ARGS)
{
	Datum	   *elems;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &elems, NULL, &n);
	for (int i = 0; i < n; i++)
		if (PermissionCovers(VARDATA_ANY(DatumGetTextPP(elems[i])), VARSIZE_ANY_EXHDR(DatumGetTextPP(elems[i])),
							 "users", 5, "manage", 6))
			PG_RETURN_BOOL(true);
	PG_RETURN_BOOL(false);
}

bool
TenantHasAdministrator(const pg_uuid_t *tenant_id)
{
	return AdminReadBool("SELECT EXISTS (SELECT FROM bulwark_internal.administrators WHERE tenant_id = $1)",
						 ARGS(UuidArg(tenant_id)));
}

/*
 * The lock is the row that reserves the tenant's id among the names, not the
 * tenant itself: a member who holds it in an open transaction must not be able
 * to delay tenant_suspend.
 */
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
