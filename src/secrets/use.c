/*
 * use.c
 *		Before a plaintext is used: who may, how often, and on the record.
 *
 *		The session's login decides, not the current user: no definer function and
 *		no SET ROLE lends this right.  The entry is on disk before anything is
 *		given out, whatever becomes of the transaction.
 */
#include "secrets/use.h"

#include "access/parallel.h"
#include "miscadmin.h"

#define PURPOSE_MAX		1000	/* bytes */

BW_NORETURN static void
refuse_login(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to use secrets"),
			 errdetail("%s", detail)));
}

/* A login of a trusted back end, in a tenant of its scope. */
void
SecretRequireService(const pg_uuid_t *tenant_id)
{
	Oid			login = GetSessionUserId();

	if (!HasClusterRole(login, ROLE_SECRETS))
		refuse_login("The session's login must be a member of " ROLE_SECRETS ".");
	if (SessionIsApp())
		refuse_login("A login cannot be both an application's (" ROLE_APP ") and a trusted back end's.");
	if (!superuser_arg(login) && !MembershipOperations()->service_allows(login, tenant_id))
		refuse_login("The tenant is outside the login's service scope.");
}

static void
check_purpose(const char *purpose)
{
	if (purpose == NULL || purpose[strspn(purpose, " \t\r\n")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a purpose is needed to use a secret"),
				 errhint("Say in a few words what it is used for: it is kept in the ledger.")));
	if (strlen(purpose) > PURPOSE_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a purpose has at most %d bytes", PURPOSE_MAX)));
}

void
SecretRecord(SecretOperation operation, const char *entity_type, const char *entity_id,
			 const char *purpose, const char *version)
{
	AuditEvent	event = {
		.action = "decrypt",
		.entity_type = entity_type,
		.entity_id = entity_id,
		.tenant_id = SecretTenant(),
		.durability = AUDIT_DURABLE,
	};

	if (IsParallelWorker())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("secrets cannot be used in a parallel worker")));
	event.detail = AuditDetail("operation", SecretOperationName(operation), "purpose", purpose, "version", version, NULL);
	AuditEmit(&event);
}

void
SecretUseVersion(SecretOperation operation, const pg_uuid_t *credential_id,
				 const char *purpose, int32 version)
{
	check_purpose(purpose);
	SecretRequireService(SecretTenant());
	MeterUse(operation, credential_id);
	SecretRecord(operation, "credential", UuidText(credential_id), purpose, psprintf("%d", version));
}
