/*
 * credential.c
 *		The registry of integration credentials: versions with overlap, revoked
 *		and frozen, opened at the moment of use.
 *
 *		Decisions are taken from what is committed now, not from the transaction's
 *		snapshot: a revocation holds at the next statement of REPEATABLE READ too.
 */
#include "secrets/use.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(bulwark_credential_visible);
PG_FUNCTION_INFO_V1(bulwark_credential_create);
PG_FUNCTION_INFO_V1(bulwark_credential_rotate);
PG_FUNCTION_INFO_V1(bulwark_credential_use);
PG_FUNCTION_INFO_V1(bulwark_credential_revoke);
PG_FUNCTION_INFO_V1(bulwark_credential_freeze);
PG_FUNCTION_INFO_V1(bulwark_credential_unfreeze);

#define RESOURCE		"integrations"
#define NAME_MAX_LEN	255
#define KIND_MAX_LEN	63
#define REASON_MAX_LEN	1000
#define VALUE_MAX_LEN	65536
#define INTERVAL_MAX_YEARS	100
#define CONTEXT_LEN		(UUID_LEN + 4)
#define ALARM_PURPOSE_MAX	2000	/* one that is refused may be longer */
#define HINT_FREEZE		"bulwark.credential_freeze() waits for nobody."

/* --- who ---------------------------------------------------------------------------- */

/*
 * Does the identity hold integrations:ACTION in the tenant?  Credentials are the
 * tenant's, so the permission counts wherever in the tenant it is held.
 */
static bool
holds(const pg_uuid_t *tenant_id, const char *action)
{
	const EffectiveIdentity *actor = IdentityCurrent();

	return actor != NULL && UuidEquals(&actor->identity.tenant_id, tenant_id) &&
		GrantFor(RESOURCE, strlen(RESOURCE), action, strlen(action)) != NULL;
}

/*
 * Which ones are traps is not for those whom they are set for: a login that uses
 * credentials, or one that assumes whom it likes.
 */
static bool
sees_honey(const pg_uuid_t *tenant_id)
{
	return holds(tenant_id, "manage") && IdentityCurrent()->identity.proof == PROOF_TOKEN &&
		!HasClusterRole(GetSessionUserId(), ROLE_SECRETS);
}

Datum
bulwark_credential_visible(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *tenant_id;
	char	   *action;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_BOOL(false);
	tenant_id = PG_GETARG_UUID_P(0);
	action = text_to_cstring(PG_GETARG_TEXT_PP(1));
	PG_RETURN_BOOL(strcmp(action, "honey") == 0 ? sees_honey(tenant_id) : holds(tenant_id, action));
}

/* Call before TrustedBegin: inside, the current user is the owner. */
static void
require_manager(const pg_uuid_t *tenant_id, const char *other_role)
{
	if (HasClusterRole(GetUserId(), ROLE_ADMIN) ||
		(other_role != NULL && HasClusterRole(GetUserId(), other_role)) ||
		holds(tenant_id, "manage"))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied: %s:manage is needed", RESOURCE),
			 errdetail("An identity needs it in the credential's tenant.")));
}

/* "role NAME" or "principal ID". */
static char *
caller_name(void)
{
	const EffectiveIdentity *actor = IdentityCurrent();

	if (actor != NULL)
		return psprintf("principal %s", UuidText(&actor->identity.principal_id));
	return psprintf("role %s", GetUserNameFromId(GetSessionUserId(), false));
}

/* --- arguments ------------------------------------------------------------------------ */

static void
refuse_argument(const char *what, const char *must)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must %s", what, must)));
}

static char *
text_argument(FunctionCallInfo fcinfo, int n, const char *what, Size max)
{
	char	   *text = ArgText(fcinfo, n, what);
	Size		len = strlen(text);

	if (len == 0 || len > max)
		refuse_argument(what, psprintf("have 1 to %zu bytes", max));
	if (text[0] == ' ' || text[len - 1] == ' ')
		refuse_argument(what, "not begin or end with a blank");
	for (const char *c = text; *c != '\0'; c++)
		if ((unsigned char) *c < 0x20 || *c == 0x7f)
			refuse_argument(what, "not contain control characters");
	return text;
}

/* Where the server has put it: no copy of ours is made. */
static text *
value_argument(FunctionCallInfo fcinfo, int n)
{
	text	   *value;

	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("plaintext must not be null")));
	value = PG_GETARG_TEXT_PP(n);
	if (VARSIZE_ANY_EXHDR(value) == 0 || VARSIZE_ANY_EXHDR(value) > VALUE_MAX_LEN)
		refuse_argument("plaintext", psprintf("have 1 to %d bytes", VALUE_MAX_LEN));
	return value;
}

static bool
is_positive(const Interval *interval, bool zero_too)
{
	Interval	zero = {0};
	int32		order = DatumGetInt32(DirectFunctionCall2(interval_cmp, IntervalPGetDatum(interval),
														  IntervalPGetDatum(&zero)));

	return order > 0 || (zero_too && order == 0);
}

static bool
is_beyond(int64 value, int64 limit)
{
	return value > limit || value < -limit;
}

/*
 * Each part by itself, for they are added to a time one after the other: a sum that
 * is small may be on its way through what no timestamp can hold.
 */
static void
check_interval(const Interval *interval, bool zero_too, const char *what)
{
	const int64 days = INTERVAL_MAX_YEARS * INT64CONST(366);

	if (!is_positive(interval, zero_too))
		refuse_argument(what, zero_too ? "not be negative" : "be more than nothing");
	if (is_beyond(interval->month, INTERVAL_MAX_YEARS * MONTHS_PER_YEAR) ||
		is_beyond(interval->day, days) || is_beyond(interval->time, days * USECS_PER_DAY))
		refuse_argument(what, psprintf("be at most %d years", INTERVAL_MAX_YEARS));
}

/* --- values ---------------------------------------------------------------------------- */

/* What a version's value is bound to. */
static void
value_context(const pg_uuid_t *credential_id, int32 version, uint8 context[CONTEXT_LEN])
{
	bw_writer	w = {context, CONTEXT_LEN};

	bw_put(&w, credential_id->data, UUID_LEN);
	bw_put_uint(&w, (uint32) version, 4);
}

static bytea *
seal_value(const pg_uuid_t *tenant_id, const pg_uuid_t *credential_id, int32 version, const text *value)
{
	uint8		context[CONTEXT_LEN];

	value_context(credential_id, version, context);
	return SecretSeal(tenant_id, SECRET_REGISTRY, context, sizeof(context),
					  VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), 64);
}

/* Wiped with the caller's context. */
static text *
open_value(const pg_uuid_t *tenant_id, const pg_uuid_t *credential_id, int32 version, const bytea *sealed)
{
	uint8		context[CONTEXT_LEN];

	value_context(credential_id, version, context);
	return (text *) SecretOpenValue(tenant_id, SECRET_REGISTRY, context, sizeof(context),
									VARDATA_ANY(sealed), VARSIZE_ANY_EXHDR(sealed));
}

static void
insert_version(const pg_uuid_t *credential_id, int32 version, const bytea *sealed, const char *by)
{
	Arg			number = {INT4OID, Int32GetDatum(version), false};
	Arg			value = {BYTEAOID, PointerGetDatum(sealed), false};

	AdminExec("INSERT INTO bulwark_internal.credential_versions (credential_id, version, value, created_by) "
			  "VALUES ($1, $2, $3, $4)",
			  ARGS(UuidArg(credential_id), number, value, TextArg(by)));
	AdminExec("INSERT INTO bulwark_internal.credential_uses (credential_id, version) VALUES ($1, $2)",
			  ARGS(UuidArg(credential_id), number));
}

/* --- finding ----------------------------------------------------------------------------- */

typedef struct Credential
{
	pg_uuid_t	credential_id;
	pg_uuid_t	tenant_id;
	bool		revoked;
} Credential;

static void
no_such_credential(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the credential does not exist")));
}

/*
 * The credential that the caller may manage.  Of other tenants' credentials an
 * identity learns nothing, not even that there are any.
 */
static void
find_managed(const pg_uuid_t *credential_id, Credential *credential)
{
	TrustedScope scope;
	const EffectiveIdentity *actor = IdentityCurrent();
	bool		admin = HasClusterRole(GetUserId(), ROLE_ADMIN);
	bool		found;

	TrustedBegin(&scope);
	found = AdminRead("SELECT tenant_id, revoked_at IS NOT NULL FROM bulwark_internal.credentials WHERE credential_id = $1",
					  ARGS(UuidArg(credential_id))) > 0;
	if (found)
	{
		credential->credential_id = *credential_id;
		credential->tenant_id = *DatumGetUUIDP(AdminResult(0, 1, NULL));
		credential->revoked = DatumGetBool(AdminResult(0, 2, NULL));
	}
	TrustedEnd(&scope);
	if (!admin && actor == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied: %s:manage is needed", RESOURCE),
				 errdetail("No identity is in force.")));
	if (!found || (!admin && !UuidEquals(&actor->identity.tenant_id, &credential->tenant_id)))
		no_such_credential();
	require_manager(&credential->tenant_id, NULL);
}

static void
refuse_revoked(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the credential is revoked")));
}

/* Serialise changes of one credential; inside a trusted scope. */
static void
lock_credential(const Credential *credential)
{
	if (AdminExec("SELECT FROM bulwark_internal.credentials WHERE credential_id = $1 AND revoked_at IS NULL FOR NO KEY UPDATE",
				  ARGS(UuidArg(&credential->credential_id))) == 0)
		refuse_revoked();
}

/* --- managing ------------------------------------------------------------------------------- */

Datum
bulwark_credential_create(PG_FUNCTION_ARGS)
{
	pg_uuid_t	tenant_id = *SecretTenant();
	pg_uuid_t  *credential_id = NewUuid();
	TrustedScope scope;
	char	   *name;
	char	   *kind;
	char	   *by;
	text	   *value;
	bool		honey = ArgBool(fcinfo, 4);
	Interval	days90 = {.day = 90};
	Arg			rotate_every = {INTERVALOID, IntervalPGetDatum(&days90), false};
	Arg			is_honey = {BOOLOID, BoolGetDatum(honey), false};
	bytea	   *sealed;

	require_manager(&tenant_id, NULL);
	name = text_argument(fcinfo, 0, "name", NAME_MAX_LEN);
	kind = text_argument(fcinfo, 1, "kind", KIND_MAX_LEN);
	value = value_argument(fcinfo, 2);
	if (!PG_ARGISNULL(3))
	{
		check_interval(PG_GETARG_INTERVAL_P(3), false, "rotate_every");
		rotate_every.value = PG_GETARG_DATUM(3);
	}
	by = caller_name();
	sealed = seal_value(&tenant_id, credential_id, 1, value);

	TrustedBegin(&scope);
	if (AdminExec("INSERT INTO bulwark_internal.credentials (credential_id, tenant_id, name, kind, honey, rotate_every, created_by) "
				  "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
				  ARGS(UuidArg(credential_id), UuidArg(&tenant_id), TextArg(name), TextArg(kind), is_honey,
					   rotate_every, TextArg(by))) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("a credential named \"%s\" exists already", name),
				 errhint("Give it another value with bulwark.credential_rotate().")));
	insert_version(credential_id, 1, sealed, by);
	TrustedEnd(&scope);

	AuditAdmin("credential_create", "credential", UuidText(credential_id), &tenant_id,
			   "name", name, "kind", kind, NULL);
	PG_RETURN_UUID_P(credential_id);
}

/* Delete what may not be used any more: those past their overlap, or all but one. */
static void
expire_versions(const Credential *credential, bool all)
{
	Arg			everyone = {BOOLOID, BoolGetDatum(all), false};

	AdminExec("UPDATE bulwark_internal.credential_versions SET value = NULL, revoked_reason = 'rotated', "
			  "revoked_at = LEAST(retires_at, pg_catalog.clock_timestamp()) "
			  "WHERE credential_id = $1 AND revoked_at IS NULL AND retires_at IS NOT NULL "
			  "AND ($2 OR retires_at <= pg_catalog.clock_timestamp())",
			  ARGS(UuidArg(&credential->credential_id), everyone));
}

Datum
bulwark_credential_rotate(PG_FUNCTION_ARGS)
{
	Credential	credential;
	TrustedScope scope;
	LockWait	wait;
	text	   *value;
	Arg			overlap = {INTERVALOID};
	char	   *by;
	int32		version;

	find_managed(ArgUuid(fcinfo, 0, "credential_id"), &credential);
	value = value_argument(fcinfo, 1);
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("overlap must not be null")));
	overlap.value = PG_GETARG_DATUM(2);
	check_interval(PG_GETARG_INTERVAL_P(2), true, "overlap");
	by = caller_name();

	LockWaitBegin(&wait, HINT_FREEZE);
	TrustedBegin(&scope);
	lock_credential(&credential);
	(void) AdminRead("SELECT pg_catalog.max(version) + 1 FROM bulwark_internal.credential_versions WHERE credential_id = $1",
					 ARGS(UuidArg(&credential.credential_id)));
	version = DatumGetInt32(AdminResult(0, 1, NULL));
	AdminExec("UPDATE bulwark_internal.credential_versions SET retires_at = pg_catalog.clock_timestamp() + $2 "
			  "WHERE credential_id = $1 AND revoked_at IS NULL AND retires_at IS NULL",
			  ARGS(UuidArg(&credential.credential_id), overlap));
	expire_versions(&credential, !is_positive(PG_GETARG_INTERVAL_P(2), false));
	insert_version(&credential.credential_id, version,
				   seal_value(&credential.tenant_id, &credential.credential_id, version, value), by);
	TrustedEnd(&scope);
	LockWaitEnd(&wait);

	AuditAdmin("credential_rotate", "credential", UuidText(&credential.credential_id), &credential.tenant_id,
			   "version", psprintf("%d", version), NULL);
	PG_RETURN_INT32(version);
}

/* One version, or (0) all that are left; how many. */
static uint64
revoke_versions(const Credential *credential, int32 version, const char *reason)
{
	Arg			number = {INT4OID, Int32GetDatum(version), false};

	return AdminExec("UPDATE bulwark_internal.credential_versions "
					 "SET value = NULL, revoked_at = pg_catalog.clock_timestamp(), revoked_reason = $3 "
					 "WHERE credential_id = $1 AND revoked_at IS NULL AND $2 IN (0, version)",
					 ARGS(UuidArg(&credential->credential_id), number, TextArg(reason)));
}

/* The newest one that is left becomes the active one; false: none is left. */
static bool
keep_active(const Credential *credential)
{
	return AdminReadBool("SELECT pg_catalog.count(*) > 0 FROM bulwark_internal.credential_versions "
						 "WHERE credential_id = $1 AND revoked_at IS NULL AND retires_at IS NULL",
						 ARGS(UuidArg(&credential->credential_id))) ||
		AdminExec("UPDATE bulwark_internal.credential_versions v SET retires_at = NULL "
				  "WHERE credential_id = $1 AND version = (SELECT pg_catalog.max(o.version) "
				  "FROM bulwark_internal.credential_versions o WHERE o.credential_id = $1 AND o.revoked_at IS NULL)",
				  ARGS(UuidArg(&credential->credential_id))) > 0;
}

Datum
bulwark_credential_revoke(PG_FUNCTION_ARGS)
{
	Credential	credential;
	TrustedScope scope;
	LockWait	wait;
	char	   *reason;
	int32		version = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);

	find_managed(ArgUuid(fcinfo, 0, "credential_id"), &credential);
	reason = text_argument(fcinfo, 1, "reason", REASON_MAX_LEN);

	LockWaitBegin(&wait, HINT_FREEZE);
	TrustedBegin(&scope);
	lock_credential(&credential);
	expire_versions(&credential, false);
	if ((!PG_ARGISNULL(2) && version < 1) ||
		(revoke_versions(&credential, version, reason) == 0 && version != 0))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the credential has no version %d that can be revoked", version)));
	if (!keep_active(&credential))
		AdminExec("UPDATE bulwark_internal.credentials SET revoked_at = pg_catalog.clock_timestamp() WHERE credential_id = $1",
				  ARGS(UuidArg(&credential.credential_id)));
	TrustedEnd(&scope);
	LockWaitEnd(&wait);

	AuditAdmin("credential_revoke", "credential", UuidText(&credential.credential_id), &credential.tenant_id,
			   "reason", reason, "version", version == 0 ? NULL : psprintf("%d", version), NULL);
	PG_RETURN_VOID();
}

/* bulwark_admin and bulwark_keys, whatever identity is in force. */
static bool
is_operator(void)
{
	return HasClusterRole(GetUserId(), ROLE_ADMIN) || HasClusterRole(GetUserId(), ROLE_KEYS);
}

static void
require_tenant(const pg_uuid_t *tenant_id)
{
	if (AdminRead("SELECT FROM bulwark_internal.tenants WHERE tenant_id = $1", ARGS(UuidArg(tenant_id))) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("tenant %s does not exist", UuidText(tenant_id))));
}

Datum
bulwark_credential_freeze(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *tenant_id = ArgUuid(fcinfo, 0, "tenant_id");
	TrustedScope scope;
	char	   *reason;
	char	   *by;
	Arg			by_operator = {BOOLOID, BoolGetDatum(is_operator()), false};

	require_manager(tenant_id, ROLE_KEYS);
	reason = text_argument(fcinfo, 1, "reason", REASON_MAX_LEN);
	by = caller_name();

	/* a row of its own: whoever else freezes or unfreezes holds nobody up */
	TrustedBegin(&scope);
	require_tenant(tenant_id);
	AdminExec("INSERT INTO bulwark_internal.credential_freezes (tenant_id, reason, frozen_by, by_operator) VALUES ($1, $2, $3, $4)",
			  ARGS(UuidArg(tenant_id), TextArg(reason), TextArg(by), by_operator));
	TrustedEnd(&scope);

	AuditAdmin("credential_freeze", "tenant", UuidText(tenant_id), tenant_id, "reason", reason, NULL);
	PG_RETURN_VOID();
}

/* On disk before anything is unfrozen, whatever becomes of the transaction. */
static void
record_unfreeze(const pg_uuid_t *tenant_id, const char *reason)
{
	AuditEvent	event = {
		.action = "configuration",
		.entity_type = "tenant",
		.entity_id = UuidText(tenant_id),
		.tenant_id = tenant_id,
		.durability = AUDIT_DURABLE,
		.detail = AuditDetail("operation", "credential_unfreeze", "step", "asked for", "reason", reason, NULL)
	};

	AuditEmit(&event);
}

/*
 * Lifted freezes stay as rows until the next unfreeze: by them credential_use() knows
 * the transaction that has lifted one.
 */
static uint64
lift_freezes(const pg_uuid_t *tenant_id, bool operators_too)
{
	Arg			everyone = {BOOLOID, BoolGetDatum(operators_too), false};

	AdminExec("DELETE FROM bulwark_internal.credential_freezes WHERE tenant_id = $1 AND lifted_at IS NOT NULL",
			  ARGS(UuidArg(tenant_id)));
	return AdminExec("UPDATE bulwark_internal.credential_freezes SET lifted_at = pg_catalog.clock_timestamp() "
					 "WHERE tenant_id = $1 AND lifted_at IS NULL AND ($2 OR NOT by_operator)",
					 ARGS(UuidArg(tenant_id), everyone));
}

Datum
bulwark_credential_unfreeze(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *tenant_id = ArgUuid(fcinfo, 0, "tenant_id");
	TrustedScope scope;
	LockWait	wait;
	bool		by_operator = is_operator();
	char	   *reason;

	require_manager(tenant_id, ROLE_KEYS);
	reason = text_argument(fcinfo, 1, "reason", REASON_MAX_LEN);

	TrustedBegin(&scope);
	if (!by_operator &&
		AdminReadBool("SELECT pg_catalog.count(*) > 0 FROM bulwark_internal.credential_freezes "
					  "WHERE tenant_id = $1 AND lifted_at IS NULL AND by_operator", ARGS(UuidArg(tenant_id))))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to unfreeze the tenant's credentials"),
				 errdetail("They were frozen by " ROLE_ADMIN " or " ROLE_KEYS ", who alone unfreeze them.")));
	if (!AdminReadBool("SELECT pg_catalog.count(*) > 0 FROM bulwark_internal.credential_freezes "
					   "WHERE tenant_id = $1 AND lifted_at IS NULL", ARGS(UuidArg(tenant_id))))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the tenant's credentials are not frozen")));
	TrustedEnd(&scope);
	record_unfreeze(tenant_id, reason);

	LockWaitBegin(&wait, HINT_FREEZE);
	TrustedBegin(&scope);
	lift_freezes(tenant_id, by_operator);
	TrustedEnd(&scope);
	LockWaitEnd(&wait);

	AuditAdmin("credential_unfreeze", "tenant", UuidText(tenant_id), tenant_id, "reason", reason, NULL);
	PG_RETURN_VOID();
}

/* --- using ------------------------------------------------------------------------------------- */

typedef struct Usable
{
	pg_uuid_t	credential_id;
	int32		version;
	bool		honey;
	char		state;			/* a active or retiring, r revoked, f frozen, u not so until committed */
	bytea	   *value;
} Usable;

/*
 * Has this transaction lifted a freeze?  What it does itself to allow a use counts
 * once it is committed: else it could be rolled back, and nobody would see it.
 */
static bool
lifted_here(ArrayType *lifts)
{
	Datum	   *xmins;
	int			n;

	deconstruct_array(lifts, XIDOID, sizeof(TransactionId), true, TYPALIGN_INT, &xmins, NULL, &n);
	for (int i = 0; i < n; i++)
		if (TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmins[i])))
			return true;
	return false;
}

/*
 * The latest versions of the rows say who wrote them.  A tenant that was suspended,
 * or a version that had retired, may owe its use to a change of ours.
 */
static char
committed_state(char state)
{
	bool		isnull;
	Datum		lifts = AdminResult(0, 6, &isnull);

	if (!isnull && lifted_here(DatumGetArrayTypeP(lifts)))
		return 'f';
	for (int column = 7; column <= 8; column++)
	{
		Datum		xmin = AdminResult(0, column, &isnull);

		if (!isnull && TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin)))
			return 'u';
	}
	return state;
}

/* The version that is asked for (0: the active one); false: there is none. */
static bool
find_usable(const pg_uuid_t *tenant_id, const char *name, int32 version, Usable *usable)
{
	TrustedScope scope;
	Arg			number = {INT4OID, Int32GetDatum(version), false};
	bool		found;
	bool		isnull;
	Datum		value;

	TrustedBegin(&scope);
	found = AdminRead("SELECT c.credential_id, v.version, c.honey, "
					  "CASE WHEN c.revoked_at IS NOT NULL OR v.revoked_at IS NOT NULL "
					  "OR v.retires_at <= pg_catalog.clock_timestamp() THEN 'r' "
					  "WHEN f.frozen THEN 'f' ELSE 'a' END::\"char\", v.value, f.lifts, "
					  "CASE WHEN t.created_at < pg_catalog.now() THEN t.xmin END, "
					  "CASE WHEN v.created_at < pg_catalog.now() AND v.retires_at IS NULL AND EXISTS (SELECT FROM "
					  "bulwark_internal.credential_versions n WHERE n.credential_id = v.credential_id AND n.version > v.version) "
					  "THEN v.xmin END "
					  "FROM bulwark_internal.credentials c "
					  "JOIN bulwark_internal.tenants t ON t.tenant_id = c.tenant_id "
					  "JOIN bulwark_internal.credential_versions v USING (credential_id) "
					  "CROSS JOIN LATERAL (SELECT pg_catalog.bool_or(lifted_at IS NULL) AS frozen, "
					  "pg_catalog.array_agg(o.xmin) FILTER (WHERE lifted_at IS NOT NULL) AS lifts "
					  "FROM bulwark_internal.credential_freezes o WHERE o.tenant_id = c.tenant_id) f "
					  "WHERE c.tenant_id = $1 AND c.name = $2 AND $3 IN (0, v.version) "
					  "ORDER BY c.revoked_at DESC NULLS FIRST, v.revoked_at IS NOT NULL, v.retires_at IS NOT NULL, v.version DESC "
					  "LIMIT 1",
					  ARGS(UuidArg(tenant_id), TextArg(name), number)) > 0;
	if (found)
	{
		usable->credential_id = *DatumGetUUIDP(AdminResult(0, 1, NULL));
		usable->version = DatumGetInt32(AdminResult(0, 2, NULL));
		usable->honey = DatumGetBool(AdminResult(0, 3, NULL));
		usable->state = DatumGetChar(AdminResult(0, 4, NULL));
		value = AdminResult(0, 5, &isnull);
		usable->value = isnull ? NULL : DatumGetByteaPP(value);
		if (usable->state == 'a')
			usable->state = committed_state(usable->state);
	}
	TrustedEnd(&scope);
	return found;
}

/*
 * Nobody should use this one, with whatever for a purpose.  The alarm goes into the spool ahead of the entry
 * that the caller waits for, and is on disk with it: the answer takes no longer
 * than any other.  Where the use is refused it is kept like the entry of that.
 */
static void
raise_alarm(const Usable *usable, const char *purpose)
{
	AuditEvent	event = {
		.action = "alarm",
		.entity_type = "credential",
		.entity_id = UuidText(&usable->credential_id),
		.detail = AuditDetail("alarm", "honey", "purpose", purpose ? AuditClip(purpose, ALARM_PURPOSE_MAX) : NULL,
							  "login", GetUserNameFromId(GetSessionUserId(), true), NULL),
		.durability = AUDIT_SURVIVES,
	};

	AuditEmit(&event);
}

/* Somebody tries what is no longer for use. */
BW_NORETURN static void
refuse_state(const Usable *usable, const char *purpose)
{
	const char *state = usable->state == 'r' ? "revoked" : usable->state == 'f' ? "frozen" : "not usable yet";
	AuditEvent	event = {
		.action = "denied",
		.entity_type = "credential",
		.entity_id = UuidText(&usable->credential_id),
		.detail = AuditDetail("operation", "credential_use", "state", state, NULL),
		.durability = AUDIT_SURVIVES,
	};

	if (usable->honey)
		raise_alarm(usable, purpose);
	AuditEmit(&event);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the credential is %s", state),
			 usable->state == 'r' ? 0 :
			 errdetail("What the transaction itself does to allow the use counts once it is committed.")));
}

/*
 * Note the last use, to the minute.  Whoever notes it now stands in nobody's way;
 * where it could fail the use, it is left to the next.
 */
static void
note_use(const Usable *usable)
{
	TrustedScope scope;
	Arg			number = {INT4OID, Int32GetDatum(usable->version), false};

	if (XactReadOnly || IsolationUsesXactSnapshot())
		return;
	TrustedBegin(&scope);
	AdminExec("UPDATE bulwark_internal.credential_uses SET last_used_at = pg_catalog.clock_timestamp() "
			  "WHERE ctid = ANY (ARRAY(SELECT ctid FROM bulwark_internal.credential_uses "
			  "WHERE credential_id = $1 AND version = $2 "
			  "AND (last_used_at IS NULL OR last_used_at < pg_catalog.clock_timestamp() - pg_catalog.make_interval(mins => 1)) "
			  "FOR NO KEY UPDATE SKIP LOCKED))",
			  ARGS(UuidArg(&usable->credential_id), number));
	TrustedEnd(&scope);
}

Datum
bulwark_credential_use(PG_FUNCTION_ARGS)
{
	pg_uuid_t	tenant_id = *SecretTenant();
	Usable		usable;
	char	   *name;
	char	   *purpose = ArgTextOrNull(fcinfo, 1);
	int32		version = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2) > 0 ? PG_GETARG_INT32(2) : -1;
	text	   *value;

	SecretRequireService(&tenant_id);
	DerivedRefuse();
	name = ArgText(fcinfo, 0, "name");
	if (!find_usable(&tenant_id, name, version, &usable))
		no_such_credential();
	if (usable.state != 'a')
		refuse_state(&usable, purpose);
	if (usable.honey)
		raise_alarm(&usable, purpose);
	SecretUseVersion(SECRET_DECRYPT, &usable.credential_id, purpose, usable.version);
	value = open_value(&tenant_id, &usable.credential_id, usable.version, usable.value);
	note_use(&usable);
	PG_RETURN_TEXT_P(value);
}
