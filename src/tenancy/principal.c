/*
 * principal.c
 *		Principals: people and services, and the subjects of token issuers that
 *		they are.  A principal may belong to several tenants, so no tenant's
 *		administrator changes one.
 */
#include "tenancy/admin.h"

PG_FUNCTION_INFO_V1(bulwark_principal_create);
PG_FUNCTION_INFO_V1(bulwark_principal_link);
PG_FUNCTION_INFO_V1(bulwark_principal_unlink);
PG_FUNCTION_INFO_V1(bulwark_principal_disable);
PG_FUNCTION_INFO_V1(bulwark_principal_enable);
PG_FUNCTION_INFO_V1(bulwark_tickets_revoke);

static void
expect_principal(uint64 rows, const pg_uuid_t *id)
{
	if (rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("principal %s does not exist", UuidText(id))));
}

/* Tickets of an older generation are refused. */
static void
bump_generation(const pg_uuid_t *id)
{
	expect_principal(AdminExec("UPDATE bulwark_internal.principals SET generation = generation + 1 "
							   "WHERE principal_id = $1",
							   ARGS(UuidArg(id))), id);
}

Datum
bulwark_principal_create(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	char	   *email;
	char	   *display_name;
	char	   *kind;
	pg_uuid_t  *id;

	RequireAdmin("create a principal");
	email = ArgText(fcinfo, 0, "email");
	display_name = ArgTextOrNull(fcinfo, 1);
	kind = ArgText(fcinfo, 2, "kind");
	id = PG_ARGISNULL(3) ? NewUuid() : PG_GETARG_UUID_P(3);

	NameCheck("email", email);
	if (display_name)
		NameCheck("display_name", display_name);
	if (strcmp(kind, "user") != 0 && strcmp(kind, "service") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kind must be \"user\" or \"service\", not \"%s\"", kind)));

	TrustedBegin(&scope);
	if (AdminExec("INSERT INTO bulwark_internal.principals (principal_id, email, display_name, kind) "
				  "VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
				  ARGS(UuidArg(id), TextArg(email), TextArg(display_name), TextArg(kind))) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("a principal with this e-mail address or id exists already")));
	TrustedEnd(&scope);

	AuditAdmin("principal_create", "principal", UuidText(id), NULL, "email", email, "kind", kind, NULL);
	PG_RETURN_UUID_P(id);
}

Datum
bulwark_principal_link(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	pg_uuid_t  *id;
	char	   *issuer;
	char	   *subject;

	RequireAdmin("link a principal");
	id = ArgUuid(fcinfo, 0, "principal_id");
	issuer = ArgText(fcinfo, 1, "issuer");
	subject = ArgText(fcinfo, 2, "subject");
	NameCheck("issuer", issuer);
	NameCheck("subject", subject);

	TrustedBegin(&scope);
	expect_principal(AdminExec("SELECT FROM bulwark_internal.principals WHERE principal_id = $1 FOR KEY SHARE",
							   ARGS(UuidArg(id))), id);
	if (AdminExec("INSERT INTO bulwark_internal.principal_links (issuer, subject, principal_id) "
				  "VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
				  ARGS(TextArg(issuer), TextArg(subject), UuidArg(id))) == 0 &&
		!AdminReadBool("SELECT principal_id = $3 FROM bulwark_internal.principal_links "
					   "WHERE issuer = $1 AND subject = $2",
					   ARGS(TextArg(issuer), TextArg(subject), UuidArg(id))))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("this subject of the issuer is another principal"),
				 errhint("Unlink it from that principal first.")));
	TrustedEnd(&scope);

	AuditAdmin("principal_link", "principal", UuidText(id), NULL, "issuer", issuer, "subject", subject, NULL);
	PG_RETURN_VOID();
}

Datum
bulwark_principal_unlink(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	pg_uuid_t  *id;
	char	   *issuer;
	char	   *subject;

	RequireAdmin("unlink a principal");
	id = ArgUuid(fcinfo, 0, "principal_id");
	issuer = ArgText(fcinfo, 1, "issuer");
	subject = ArgText(fcinfo, 2, "subject");

	TrustedBegin(&scope);
	if (AdminExec("DELETE FROM bulwark_internal.principal_links "
				  "WHERE principal_id = $1 AND issuer = $2 AND subject = $3",
				  ARGS(UuidArg(id), TextArg(issuer), TextArg(subject))) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("principal %s is not linked to this subject of the issuer", UuidText(id))));
	bump_generation(id);
	TrustedEnd(&scope);

	AuditAdmin("principal_unlink", "principal", UuidText(id), NULL, "issuer", issuer, "subject", subject, NULL);
	PG_RETURN_VOID();
}

Datum
bulwark_principal_disable(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	pg_uuid_t  *id;
	uint64		enabled;

	RequireAdmin("disable a principal");
	id = ArgUuid(fcinfo, 0, "principal_id");

	TrustedBegin(&scope);
	enabled = AdminExec("UPDATE bulwark_internal.principals "
						"SET disabled_at = pg_catalog.now(), generation = generation + 1 "
						"WHERE principal_id = $1 AND disabled_at IS NULL",
						ARGS(UuidArg(id)));
	if (enabled > 0)
		AdministratorTaken(FROM_PRINCIPAL, id);
	else
		expect_principal(AdminRead("SELECT FROM bulwark_internal.principals WHERE principal_id = $1",
								   ARGS(UuidArg(id))), id);
	TrustedEnd(&scope);

	if (ArgBool(fcinfo, 1))
		TerminateAtCommit(id, NULL);
	AuditAdmin("principal_disable", "principal", UuidText(id), NULL, NULL);
	PG_RETURN_VOID();
}

Datum
bulwark_principal_enable(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	pg_uuid_t  *id;

	RequireAdmin("enable a principal");
	id = ArgUuid(fcinfo, 0, "principal_id");

	TrustedBegin(&scope);
	expect_principal(AdminExec("UPDATE bulwark_internal.principals SET disabled_at = NULL WHERE principal_id = $1",
							   ARGS(UuidArg(id))), id);
	TrustedEnd(&scope);

	AuditAdmin("principal_enable", "principal", UuidText(id), NULL, NULL);
	PG_RETURN_VOID();
}

Datum
bulwark_tickets_revoke(PG_FUNCTION_ARGS)
{
	TrustedScope scope;
	pg_uuid_t  *id;

	RequireAdmin("revoke tickets");
	id = ArgUuid(fcinfo, 0, "principal_id");

	TrustedBegin(&scope);
	bump_generation(id);
	TrustedEnd(&scope);

	AuditAdmin("tickets_revoke", "principal", UuidText(id), NULL, NULL);
	PG_RETURN_VOID();
}
