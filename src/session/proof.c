/*
 * proof.c
 *		The SQL by which an identity is proved, carried, described and dropped,
 *		and the accessors that policies read.
 */
#include "session/session.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#define TICKET_TTL_MAX_S	3600
#define ASSUMED_MAX_S		3600

static void
json_key(JsonbParseState **state, const char *key)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, key);
	value.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &value);
}

static void
json_text(JsonbParseState **state, JsonbIteratorToken token, const char *text)
{
	JsonbValue	value;

	if (text == NULL)
		value.type = jbvNull;
	else
	{
		value.type = jbvString;
		value.val.string.val = unconstify(char *, text);
		value.val.string.len = strlen(text);
	}
	pushJsonbValue(state, token, &value);
}

static char *
uuid_text(const pg_uuid_t *uuid)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(uuid)));
}

const char *
ProofName(const Identity *identity)
{
	return identity->proof == PROOF_TOKEN ? "token" : "assumed";
}

/* The identity in force as jsonb, or NULL. */
static Datum
describe_identity(FunctionCallInfo fcinfo)
{
	const EffectiveIdentity *current = IdentityCurrent();
	JsonbParseState *state = NULL;
	const Identity *identity;
	char	   *email;
	char	   *slug;
	List	   *roles;
	ListCell   *lc;

	if (current == NULL)
		PG_RETURN_NULL();
	identity = &current->identity;
	MembershipOperations()->describe(identity, current->membership, &email, &slug, &roles);

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_key(&state, "principal_id");
	json_text(&state, WJB_VALUE, uuid_text(&identity->principal_id));
	json_key(&state, "email");
	json_text(&state, WJB_VALUE, email);
	json_key(&state, "tenant_id");
	json_text(&state, WJB_VALUE, uuid_text(&identity->tenant_id));
	json_key(&state, "tenant_slug");
	json_text(&state, WJB_VALUE, slug);
	json_key(&state, "roles");
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, roles)
		json_text(&state, WJB_ELEM, lfirst(lc));
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	json_key(&state, "expires_at");
	json_text(&state, WJB_VALUE, UtcText(identity->expires_at));
	json_key(&state, "proof");
	json_text(&state, WJB_VALUE, ProofName(identity));
	json_key(&state, "assumed_by");
	json_text(&state, WJB_VALUE, identity->proof == PROOF_ASSUMED ? identity->assumed_by : NULL);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/*
 * For the transaction only, called directly by a client's own statement in
 * autocommit: the identity would be gone when the next statement comes.
 */
static void
require_use_for_local(FunctionCallInfo fcinfo, bool is_local, const char *name)
{
	if (is_local && CalledInAutocommit(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s() sets the identity of a transaction and can only be used in transaction blocks", name),
				 errhint("Use BEGIN first, or call it in the function whose statements it is to serve.")));
}

/* Somebody has come in; the ledger keeps one entry a token. */
static void
report_proved(const Identity *identity)
{
	AuditEvent	event = {
		.action = "authenticate",
		.entity_type = "principal",
		.entity_id = uuid_text(&identity->principal_id),
		.detail = AuditDetail("outcome", "accepted", "proof", ProofName(identity), NULL),
		.tenant_id = &identity->tenant_id,
		.durability = AUDIT_SURVIVES,
	};

	AuditEmit(&event);
}

/* The identity just set must be in force, or something has changed meanwhile. */
static Datum
set_and_describe(FunctionCallInfo fcinfo, const Identity *identity, bool is_local)
{
	IdentitySet(identity, is_local);
	if (IdentityCurrent() == NULL)
		RefuseToken("the identity is not in force (expired, stale standby, or revoked meanwhile)");
	report_proved(identity);
	return describe_identity(fcinfo);
}

PG_FUNCTION_INFO_V1(bulwark_authenticate);
Datum
bulwark_authenticate(PG_FUNCTION_ARGS)
{
	text	   *token = PG_GETARG_TEXT_PP(0);
	bool		is_local = PG_GETARG_BOOL(1);
	const MembershipOps *ops = MembershipOperations();
	TokenClaims claims;
	Identity	identity;
	bool		speaks_for;

	require_use_for_local(fcinfo, is_local, "bulwark.authenticate");

	memset(&claims, 0, sizeof(claims));
	memset(&identity, 0, sizeof(identity));
	TokenVerify(VARDATA_ANY(token), VARSIZE_ANY_EXHDR(token), &claims);

	if (!ops->find_subject(claims.issuer, claims.subject, &identity))
		RefuseToken("no principal is linked to the token's issuer and subject");
	if (!ops->find_tenant(claims.tenant_how, claims.tenant, &identity))
		RefuseToken("the tenant claim names no tenant, or is absent and there is not exactly one membership");
	speaks_for = claims.ntenants < 0;
	for (int i = 0; i < claims.ntenants && !speaks_for; i++)
		speaks_for = memcmp(&claims.tenants[i], &identity.tenant_id, sizeof(pg_uuid_t)) == 0;
	if (!speaks_for)
		RefuseToken("the issuer does not speak for that tenant");
	identity.scoped = claims.scoped;
	if (claims.scoped)
		strlcpy(identity.scope, claims.scope, sizeof(identity.scope));
	if (!ops->load_generations(&identity))
		RefuseToken("the principal is disabled or has no membership in that tenant");

	identity.proof = PROOF_TOKEN;
	identity.issuer_id = claims.issuer_id;
	memcpy(identity.issuer_key, claims.issuer_key, ISSUER_KEY_LEN);
	identity.proved_at = GetCurrentTimestamp();
	identity.expires_at = claims.expires_at;
	identity.absolute_end = claims.expires_at;
	return set_and_describe(fcinfo, &identity, is_local);
}

PG_FUNCTION_INFO_V1(bulwark_assume);
Datum
bulwark_assume(PG_FUNCTION_ARGS)
{
	const MembershipOps *ops = MembershipOperations();
	bool		is_local = PG_GETARG_BOOL(2);
	Oid			login = GetSessionUserId();
	Identity	identity;

	require_use_for_local(fcinfo, is_local, "bulwark.assume");

	/* The login, not the current user: no definer function lends this right. */
	if (!HasClusterRole(login, ROLE_IMPERSONATOR))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to assume an identity"),
				 errdetail("The session's login must be a member of %s.", ROLE_IMPERSONATOR)));
	if (SessionIsApp())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to assume an identity"),
				 errdetail("A login cannot be both an application's (%s) and a trusted back end's.", ROLE_APP)));

	memset(&identity, 0, sizeof(identity));
	identity.principal_id = *PG_GETARG_UUID_P(0);
	identity.tenant_id = *PG_GETARG_UUID_P(1);
	identity.proof = PROOF_ASSUMED;
	strlcpy(identity.assumed_by, GetUserNameFromId(login, false), sizeof(identity.assumed_by));
	if (!superuser_arg(login) && !ops->service_allows(login, &identity.tenant_id))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to assume an identity"),
				 errdetail("The tenant is outside the login's service scope.")));
	if (!ops->load_generations(&identity))
		RefuseToken("the principal to assume is unknown, disabled, or no member of that tenant");

	identity.proved_at = GetCurrentTimestamp();
	identity.absolute_end = identity.proved_at + ASSUMED_MAX_S * USECS_PER_SEC;
	identity.expires_at = identity.absolute_end;
	return set_and_describe(fcinfo, &identity, is_local);
}

PG_FUNCTION_INFO_V1(bulwark_ticket_issue);
Datum
bulwark_ticket_issue(PG_FUNCTION_ARGS)
{
	Interval   *ttl = PG_GETARG_INTERVAL_P(0);
	const EffectiveIdentity *current;
	Identity	identity;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz end;

	end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												  TimestampTzGetDatum(now),
												  IntervalPGetDatum(ttl)));
	if (end <= now || end > now + TICKET_TTL_MAX_S * USECS_PER_SEC)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a ticket's life must be more than nothing and at most 1 hour")));

	current = IdentityCurrent();
	if (current == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("no identity is in force"),
				 errhint("Call bulwark.authenticate() in this transaction first.")));
	identity = current->identity;
	identity.expires_at = Min(end, identity.absolute_end);
	PG_RETURN_TEXT_P(cstring_to_text(TicketIssue(&identity)));
}

PG_FUNCTION_INFO_V1(bulwark_release);
Datum
bulwark_release(PG_FUNCTION_ARGS)
{
	IdentityRelease();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(bulwark_identity);
Datum
bulwark_identity(PG_FUNCTION_ARGS)
{
	return describe_identity(fcinfo);
}

PG_FUNCTION_INFO_V1(bulwark_principal_id);
Datum
bulwark_principal_id(PG_FUNCTION_ARGS)
{
	const EffectiveIdentity *current = IdentityCurrent();

	if (current == NULL)
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(unconstify(pg_uuid_t *, &current->identity.principal_id));
}

PG_FUNCTION_INFO_V1(bulwark_tenant_id);
Datum
bulwark_tenant_id(PG_FUNCTION_ARGS)
{
	const EffectiveIdentity *current = IdentityCurrent();

	if (current == NULL)
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(unconstify(pg_uuid_t *, &current->identity.tenant_id));
}

PG_FUNCTION_INFO_V1(bulwark_live_identities);
Datum
bulwark_live_identities(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, LiveIdentities())
	{
		LiveIdentity *live = lfirst(lc);
		Identity   *identity = &live->identity;
		Datum		values[7];
		bool		nulls[7] = {false};

		values[0] = Int32GetDatum(live->pid);
		values[1] = UUIDPGetDatum(&identity->principal_id);
		values[2] = UUIDPGetDatum(&identity->tenant_id);
		values[3] = CStringGetTextDatum(ProofName(identity));
		values[4] = CStringGetTextDatum(identity->assumed_by);
		nulls[4] = identity->proof != PROOF_ASSUMED;
		values[5] = TimestampTzGetDatum(identity->proved_at);
		values[6] = TimestampTzGetDatum(identity->expires_at);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
