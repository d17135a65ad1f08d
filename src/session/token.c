/*
 * token.c
 *		JSON Web Tokens (RFC 7519, RFC 8725): from a token to what it proves.
 *
 * The issuer is chosen by the unverified iss; nothing else of the payload is
 * looked at until the signature verifies under one of that issuer's keys.
 */
#include "keyring/keyring.h"
#include "session/jose.h"
#include "keyring/keyring.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/memutils.h"

#define SKEW_SECONDS	30
#define CLAIM_MAX		255		/* bytes of the subject and of the tenant */

/* Seconds between 1970, where a NumericDate begins, and 2000, PostgreSQL's. */
#define EPOCH_SECONDS \
	((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (double) SECS_PER_DAY)

static TimestampTz
date_to_timestamp(double seconds)
{
	return (TimestampTz) floor((seconds - EPOCH_SECONDS) * USECS_PER_SEC);
}

/* The header's typ: what the issuer names, else none, a JWT or an access token. */
static bool
typ_accepted(const Issuer *issuer, const char *typ)
{
	if (issuer->ntyps == 0)
		return typ == NULL || JoseTypEqual(typ, "JWT") || JoseTypEqual(typ, "at+jwt");
	if (typ == NULL)
		return false;
	for (int i = 0; i < issuer->ntyps; i++)
		if (JoseTypEqual(typ, issuer->typs[i]))
			return true;
	return false;
}

/*
 * An ID token tells a client who signed in; it authorises nothing.  It is told
 * by the claims that OpenID Connect binds it to a client's request with, by the
 * marks of providers that have one, and by an auth_time in what is neither
 * marked as an access token nor names a scope or a client, as those must.
 */
static bool
is_id_token(const JoseHeader *header, const JoseObject *claims)
{
	static const char *const binding[] = {"nonce", "at_hash", "c_hash", "s_hash"};
	static const char *const access[] = {"scope", "scp", "client_id"};
	const JoseMember *mark;

	for (int i = 0; i < lengthof(binding); i++)
		if (JoseGet(claims, binding[i]))
			return true;
	if ((mark = JoseGet(claims, "token_use")) != NULL && JoseHas(mark, "id"))
		return true;
	if ((mark = JoseGet(claims, "typ")) != NULL && JoseHas(mark, "ID"))
		return true;

	if (JoseGet(claims, "auth_time") == NULL ||
		(header->typ && JoseTypEqual(header->typ, "at+jwt")))
		return false;
	for (int i = 0; i < lengthof(access); i++)
		if (JoseGet(claims, access[i]))
			return false;
	return true;
}

/* Refuse what is a signed statement, but not this bearer's authority here. */
static void
check_kind(const Issuer *issuer, const JoseHeader *header, const JoseObject *claims)
{
	if (!typ_accepted(issuer, header->typ))
		RefuseToken("the token's typ is not one that the issuer's tokens have");
	if (JoseGet(claims, "cnf"))
		RefuseToken("the token is bound to a key of its bearer (cnf)");
	if (JoseGet(claims, "act"))
		RefuseToken("the token is a delegation (act)");
	if (JoseGet(claims, "events"))
		RefuseToken("the token is a security event or a logout token (events)");
	if (!issuer->id_tokens && is_id_token(header, claims))
		RefuseToken("the token is an ID token");
}

static bool
date_claim(const JoseObject *claims, const char *name, double *seconds)
{
	const JoseMember *member = JoseGet(claims, name);

	if (member == NULL)
		return false;
	if (!JoseDate(member, seconds))
		RefuseToken(psprintf("the claim %s is not a time in seconds between 1970 and 9999", name));
	return true;
}

/* The instant at which what the token proves ends. */
static TimestampTz
check_times(const Issuer *issuer, const JoseObject *claims)
{
	double		now = GetCurrentTimestamp() / (double) USECS_PER_SEC + EPOCH_SECONDS;
	double		exp;
	double		nbf;
	double		iat;

	if (!date_claim(claims, "exp", &exp))
		RefuseToken("the token has no exp");
	if (date_claim(claims, "nbf", &nbf) && nbf > now + SKEW_SECONDS)
		RefuseToken("the token is not valid yet (nbf)");
	if (!date_claim(claims, "iat", &iat))
		iat = now;
	else if (iat > now + SKEW_SECONDS)
		RefuseToken("the token was issued in the future (iat)");
	if (exp + SKEW_SECONDS <= now)
		RefuseToken("the token has expired");
	if (exp - iat > issuer->max_lifetime)
		RefuseToken("the token's lifetime is longer than the issuer's max_lifetime");
	return date_to_timestamp(exp > now ? exp : exp + SKEW_SECONDS);
}

static void
check_audience(const Issuer *issuer, const JoseObject *claims)
{
	const JoseMember *aud = JoseGet(claims, "aud");

	if (aud == NULL || !JoseHas(aud, issuer->audience))
		RefuseToken("the token is for another audience (aud)");
}

static const char *
subject_claim(const Issuer *issuer, const JoseObject *claims)
{
	const JoseMember *sub = JoseGet(claims, issuer->subject_claim);

	if (sub == NULL || sub->type != JOSE_STRING ||
		sub->text[0] == '\0' || strlen(sub->text) > CLAIM_MAX)
		RefuseToken("the subject claim is not a string of 1 to 255 bytes");
	return sub->text;
}

/* NULL when the claim is absent.  Keys of tenants are often numbers, so a key
 * may also come as a JSON integer. */
static const char *
tenant_claim(const Issuer *issuer, const JoseObject *claims)
{
	const JoseMember *tenant = JoseGet(claims, issuer->tenant_claim);
	bool		as_number;

	if (tenant == NULL)
		return NULL;
	as_number = strcmp(issuer->tenant_claim_is, "key") == 0 && JoseIsInteger(tenant);
	if ((tenant->type != JOSE_STRING && !as_number) ||
		tenant->text[0] == '\0' || strlen(tenant->text) > CLAIM_MAX)
		RefuseToken("the tenant claim is not a string of 1 to 255 bytes");
	return tenant->text;
}

/* The scope, separated by spaces; NULL when the issuer's tokens have none. */
static char *
scope_claim(const Issuer *issuer, const JoseObject *claims)
{
	const JoseMember *scope;
	StringInfoData buf;

	if (issuer->scope_claim == NULL)
		return NULL;
	scope = JoseGet(claims, issuer->scope_claim);
	if (scope == NULL || (scope->type != JOSE_STRING && scope->type != JOSE_STRINGS))
		RefuseToken("the scope claim is not a string or an array of strings");

	initStringInfo(&buf);
	if (scope->type == JOSE_STRING)
		appendStringInfoString(&buf, scope->text);
	for (int i = 0; i < scope->nitems; i++)
		appendStringInfo(&buf, "%s%s", i > 0 ? " " : "", scope->items[i]);
	if (buf.len > SCOPE_MAX)
		RefuseToken("the scope claim is too long");
	return buf.data;
}

static void
check_required(const Issuer *issuer, const JoseParts *parts)
{
	Datum		payload;

	if (issuer->required_claims == NULL)
		return;
	payload = DirectFunctionCall1(jsonb_in,
								  CStringGetDatum(pnstrdup((const char *) parts->payload, parts->payload_len)));
	if (!DatumGetBool(DirectFunctionCall2(jsonb_contains, payload,
										  JsonbPGetDatum(issuer->required_claims))))
		RefuseToken("the token lacks a claim that the issuer's tokens must have");
}

/* What the token's own issuer is, by exact comparison of bytes. */
static const Issuer *
choose_issuer(const JoseObject *claims)
{
	const JoseMember *iss = JoseGet(claims, "iss");
	const Issuer *issuer = NULL;

	if (iss != NULL && iss->type == JOSE_STRING && strlen(iss->text) <= ISSUER_NAME_MAX)
		issuer = IssuerByName(iss->text);
	if (issuer == NULL)
		RefuseToken("the token's issuer is not registered (iss)");
	return issuer;
}

void
TokenVerify(const char *token, Size len, TokenClaims *proved)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "bulwark token",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	uint8	   *buffer = palloc(JOSE_MAX_TOKEN);
	JoseParts	parts;
	JoseHeader	header;
	JoseObject	claims;
	const Issuer *issuer;
	const JwkKey *key;
	const char *subject;
	const char *tenant;
	const char *scope;
	const char *cause;

	cause = JoseSplit(token, len, buffer, &parts);
	if (cause == NULL)
		cause = JoseHeaderParse(parts.header, parts.header_len, JoseAsciiOnly(), &header);
	if (cause == NULL)
		cause = JoseParse((const char *) parts.payload, parts.payload_len, JoseAsciiOnly(), &claims);
	if (cause)
		RefuseToken(cause);

	issuer = choose_issuer(&claims);
	if (issuer->keys == NIL)
		KeyringRequire();		/* its secrets could not be opened */
	key = JwsVerify(&parts, &header, issuer->keys, issuer->algorithms);

	check_kind(issuer, &header, &claims);
	proved->expires_at = check_times(issuer, &claims);
	check_audience(issuer, &claims);
	check_required(issuer, &parts);
	subject = subject_claim(issuer, &claims);
	tenant = tenant_claim(issuer, &claims);
	scope = scope_claim(issuer, &claims);

	MemoryContextSwitchTo(caller);
	proved->issuer = pstrdup(issuer->name);
	proved->subject = pstrdup(subject);
	proved->tenant_how = pstrdup(issuer->tenant_claim_is);
	proved->tenant = tenant ? pstrdup(tenant) : NULL;
	proved->issuer_id = issuer->id;
	memcpy(proved->issuer_key, key->proof, ISSUER_KEY_LEN);
	proved->scoped = scope != NULL;
	proved->scope = scope ? pstrdup(scope) : NULL;
	proved->ntenants = issuer->ntenants;
	proved->tenants = NULL;
	if (issuer->ntenants > 0)
	{
		proved->tenants = palloc(issuer->ntenants * sizeof(pg_uuid_t));
		memcpy(proved->tenants, issuer->tenants, issuer->ntenants * sizeof(pg_uuid_t));
	}
	MemoryContextDelete(context);
}
