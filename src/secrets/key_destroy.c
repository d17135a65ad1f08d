/*
 * key_destroy.c
 *		A tenant's keys destroyed, for good: what is under them is lost in the
 *		database and in each of its backups.
 *
 * What is outside the database cannot be brought back by a rollback.  So a transaction
 * of several statements only makes the request: once it is committed, a worker carries
 * it out, or a later call.  A SELECT in autocommit does both.  The act is on the
 * record, on disk, before the first component goes; and when one has gone, every back
 * end forgets all keys at once, whatever becomes of the transaction.  A failure half-way
 * leaves a tenant whose keys are of no use, and a request that is committed is taken up
 * again.
 */
#include "secrets/keys.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "session/session.h"
#include "utils/builtins.h"
#include "utils/json.h"

#define MAX_HOLDS		8
#define PENDING_US		(INT64CONST(7) * USECS_PER_DAY)
#define NOW_WORD		"immediately"
#define LOST_WORD		"lost"

static TenantKeyHold holds[MAX_HOLDS];
static int	nholds = 0;

PG_FUNCTION_INFO_V1(bulwark_tenant_key_destroy);
PG_FUNCTION_INFO_V1(bulwark_tenant_key_destroy_cancel);

static const char *const remaining[] = {
	"dead versions of the rows until the table is vacuumed, WAL and its archives, backups of the database and standbys that lag: the wrapped half of each key, of no use without its component",
	"backups of the place where components are kept: the component itself; destroy it there too. Here its tombstone refuses it",
	"copies of decrypted values that applications, clients and their backups keep",
};

void
TenantKeyHoldRegister(TenantKeyHold hold)
{
	if (nholds == MAX_HOLDS)
		elog(ERROR, "too many holds on tenant keys");
	holds[nholds++] = hold;
}

static void
ask_holds(const pg_uuid_t *tenant_id)
{
	for (int i = 0; i < nholds; i++)
		holds[i] (tenant_id);
}

/* --- the receipt ---------------------------------------------------------------------------- */

typedef struct Destruction
{
	const pg_uuid_t *tenant_id;
	const char *slug;
	TimestampTz requested_at;
	TimestampTz due_at;
	int			nkeys;
	int			ncomponents;
	ComponentPlace *components;
	const char **answers;
	bool		lost;			/* what is not there is given up */
	bool		complete;
} Destruction;

static void
append_provider(StringInfo json, const char *provider, const pg_uuid_t *component, const char *answer)
{
	if (json->data[json->len - 1] != '[')
		appendStringInfoString(json, ", ");
	appendStringInfoString(json, "{\"provider\": ");
	escape_json(json, provider);
	if (component != NULL)
	{
		char		name[COMPONENT_NAME_LEN + 1];

		ComponentName(component, name);
		appendStringInfo(json, ", \"component\": \"%s\"", name);
	}
	appendStringInfoString(json, ", \"answer\": ");
	escape_json(json, answer);
	appendStringInfoChar(json, '}');
}

/* state: pending, incomplete or destroyed. */
static Datum
receipt(const Destruction *destruction, const char *state)
{
	bool		pending = strcmp(state, "pending") == 0;
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"tenant_id\": \"%s\", \"tenant\": ", UuidText(destruction->tenant_id));
	escape_json(&json, destruction->slug);
	appendStringInfo(&json, ", \"state\": \"%s\", \"requested_at\": \"%s\", \"due_at\": \"%s\", ",
					 state, UtcText(destruction->requested_at), UtcText(destruction->due_at));
	if (!pending)
		appendStringInfo(&json, "\"at\": \"%s\", ", UtcText(GetCurrentTimestamp()));
	appendStringInfo(&json, "\"keys\": %d, \"providers\": [", destruction->nkeys);
	append_provider(&json, "database", NULL,
					pending ? "keys of no use from now on" :
					destruction->complete ? "wrapped halves removed" : "wrapped halves kept until every component is destroyed");
	for (int i = 0; i < destruction->ncomponents; i++)
		append_provider(&json, destruction->components[i].provider, &destruction->components[i].id,
						!pending ? destruction->answers[i] :
						destruction->due_at <= GetCurrentTimestamp() ? "destroyed as soon as this is committed" : "kept until due");
	appendStringInfoString(&json, "], \"remains\": [");
	for (int i = 0; i < lengthof(remaining); i++)
	{
		if (i > 0)
			appendStringInfoString(&json, ", ");
		escape_json(&json, remaining[i]);
	}
	appendStringInfoString(&json, "]}");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/* --- destroying ------------------------------------------------------------------------------- */

/* Inside a trusted scope. */
static void
find_components(Destruction *destruction)
{
	int			n = (int) AdminRead("SELECT component, pg_catalog.min(provider), pg_catalog.count(*)::pg_catalog.int4, pg_catalog.min(location)"
									" FROM bulwark_internal.tenant_keys WHERE tenant_id = $1 GROUP BY component ORDER BY 1",
									ARGS(UuidArg(destruction->tenant_id)));

	destruction->ncomponents = n;
	destruction->components = palloc0(Max(n, 1) * sizeof(ComponentPlace));
	destruction->answers = palloc0(Max(n, 1) * sizeof(char *));
	destruction->nkeys = 0;
	for (int i = 0; i < n; i++)
	{
		ComponentPlace *place = &destruction->components[i];

		place->id = *DatumGetUUIDP(AdminResult(i, 1, NULL));
		strlcpy(place->provider, TextDatumGetCString(AdminResult(i, 2, NULL)), sizeof(place->provider));
		strlcpy(place->location, TextDatumGetCString(AdminResult(i, 4, NULL)), sizeof(place->location));
		destruction->nkeys += DatumGetInt32(AdminResult(i, 3, NULL));
	}
}

static void
record_intent(const Destruction *destruction, AuditDurability durability)
{
	AuditEvent	event = {
		.action = "configuration",
		.entity_type = "tenant",
		.entity_id = UuidText(destruction->tenant_id),
		.tenant_id = destruction->tenant_id,
		.durability = durability,
		.detail = AuditDetail("operation", "tenant_key_destroy", "step", "components are being destroyed",
							  "components", psprintf("%d", destruction->ncomponents), NULL)
	};

	AuditEmit(&event);
}

static void
destroy_each(Destruction *destruction)
{
	destruction->complete = true;
	for (int i = 0; i < destruction->ncomponents; i++)
	{
		bool		done;

		destruction->answers[i] = ComponentDestroy(&destruction->components[i], destruction->lost, &done);
		destruction->complete &= done;
	}
}

/* An interrupt may come between two of them. */
static void
destroy_components(Destruction *destruction)
{
	PG_TRY();
	{
		destroy_each(destruction);
	}
	PG_CATCH();
	{
		KeyCacheForgetEverywhere();
		PG_RE_THROW();
	}
	PG_END_TRY();
	KeyCacheForgetEverywhere();
}

/* The caller holds the lock of the tenant's keys and that of the request, which is due
 * and committed, or about to be. */
static Datum
destroy(Destruction *destruction, AuditDurability durability)
{
	TrustedScope scope;
	Datum		result;

	ask_holds(destruction->tenant_id);
	record_intent(destruction, durability);
	destroy_components(destruction);
	result = receipt(destruction, destruction->complete ? "destroyed" : "incomplete");

	TrustedBegin(&scope);
	if (destruction->complete)
	{
		(void) AdminExec("UPDATE bulwark_internal.tenant_keys SET state = 'x', wrapped = NULL WHERE tenant_id = $1",
						 ARGS(UuidArg(destruction->tenant_id)));
		(void) AdminExec("UPDATE bulwark_internal.tenant_key_destructions SET receipt = $2 WHERE tenant_id = $1",
						 ARGS(UuidArg(destruction->tenant_id), ((Arg) {JSONBOID, result, false})));
	}
	else
		(void) AdminExec("UPDATE bulwark_internal.tenant_key_destructions SET tried_at = pg_catalog.now() WHERE tenant_id = $1",
						 ARGS(UuidArg(destruction->tenant_id)));
	TrustedEnd(&scope);
	if (!destruction->complete)
		ereport(WARNING,
				(errmsg("not every component of the keys of tenant %s could be destroyed", UuidText(destruction->tenant_id)),
				 errdetail("The keys are of no use; the receipt says what each provider answered."),
				 errhint("Call bulwark.tenant_key_destroy() again when the provider is there, or leave it to the worker. Components that are lost for good are given up by confirming with the tenant's slug, a blank and \"lost\".")));
	AuditAdmin("tenant_key_destroy", "tenant", UuidText(destruction->tenant_id), destruction->tenant_id,
			   "state", destruction->complete ? "destroyed" : "incomplete",
			   "receipt", DatumGetCString(DirectFunctionCall1(jsonb_out, result)), NULL);
	return result;
}

/* --- the request -------------------------------------------------------------------------------- */

/* True: at once.  The tenant's slug confirms; the words ask for no delay, and give up
 * what is not there. */
static bool
check_confirmation(const char *confirm, const char *slug, bool immediately, bool *lost)
{
	*lost = strcmp(confirm, psprintf("%s " LOST_WORD, slug)) == 0;
	if (*lost)
		return true;
	if (strcmp(confirm, slug) == 0)
		return immediately;
	if (strcmp(confirm, NOW_WORD) == 0 || strcmp(confirm, psprintf("%s " NOW_WORD, slug)) == 0)
		return true;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the destruction of a tenant's keys must be confirmed"),
			 errdetail("What is encrypted under them is lost, in every backup of the database too."),
			 errhint("Confirm with the tenant's slug to destroy them in 7 days, or with the slug, a blank and \"immediately\".")));
}

typedef enum RequestState
{
	REQUEST_NEW,				/* written, or made due, by this transaction */
	REQUEST_DUE,				/* committed by another, and due */
	REQUEST_PENDING,			/* not due yet */
	REQUEST_DONE				/* there is a receipt */
} RequestState;

static RequestState
request_first(Destruction *destruction)
{
	AdminExpectRow(AdminExec("INSERT INTO bulwark_internal.tenant_key_destructions (tenant_id, requested_at, requested_by, due_at)"
							 " VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
							 ARGS(UuidArg(destruction->tenant_id), TimeArg(destruction->requested_at),
								  TextArg(GetUserNameFromId(GetSessionUserId(), false)), TimeArg(destruction->due_at))));
	return destruction->due_at > destruction->requested_at ? REQUEST_PENDING : REQUEST_NEW;
}

/* What stands in the table, or what is put there now, which is then locked.  Inside a
 * trusted scope. */
static RequestState
request(Destruction *destruction, bool immediately, Datum *done_receipt)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz was_due;
	bool		ours;
	bool		no_receipt;

	destruction->requested_at = now;
	destruction->due_at = immediately ? now : now + PENDING_US;
	if (AdminRead("SELECT requested_at, due_at, receipt, xmin FROM bulwark_internal.tenant_key_destructions WHERE tenant_id = $1",
				  ARGS(UuidArg(destruction->tenant_id))) == 0)
		return request_first(destruction);
	*done_receipt = AdminResult(0, 3, &no_receipt);
	if (!no_receipt)
		return REQUEST_DONE;
	destruction->requested_at = DatumGetTimestampTz(AdminResult(0, 1, NULL));
	was_due = DatumGetTimestampTz(AdminResult(0, 2, NULL));
	ours = TransactionIdIsCurrentTransactionId(DatumGetTransactionId(AdminResult(0, 4, NULL)));
	destruction->due_at = Min(destruction->due_at, was_due);
	AdminExpectRow(AdminExec("UPDATE bulwark_internal.tenant_key_destructions SET due_at = $2 WHERE tenant_id = $1",
							 ARGS(UuidArg(destruction->tenant_id), TimeArg(destruction->due_at))));
	if (was_due <= now && !ours)
		return REQUEST_DUE;
	return destruction->due_at <= now ? REQUEST_NEW : REQUEST_PENDING;
}

static Datum
report_pending(const Destruction *destruction)
{
	AuditAdmin("tenant_key_destroy", "tenant", UuidText(destruction->tenant_id), destruction->tenant_id,
			   "state", "pending", "due_at", UtcText(destruction->due_at), NULL);
	return receipt(destruction, "pending");
}

Datum
bulwark_tenant_key_destroy(PG_FUNCTION_ARGS)
{
	Destruction destruction = {.tenant_id = ArgUuid(fcinfo, 0, "tenant_id")};
	char	   *confirm = ArgText(fcinfo, 1, "confirm");
	bool		immediately;
	RequestState state;
	Datum		done_receipt = (Datum) 0;
	TrustedScope scope;

	TenantKeysLockBounded(destruction.tenant_id);
	TrustedBegin(&scope);
	destruction.slug = TenantSlug(destruction.tenant_id);
	immediately = check_confirmation(confirm, destruction.slug, ArgBool(fcinfo, 2), &destruction.lost);
	ask_holds(destruction.tenant_id);
	state = request(&destruction, immediately, &done_receipt);
	find_components(&destruction);
	TrustedEnd(&scope);

	if (state == REQUEST_DONE)
		PG_RETURN_DATUM(done_receipt);
	/* in autocommit the request is committed with what it does */
	if (state == REQUEST_NEW && !destruction.lost && CalledInAutocommit(fcinfo))
	{
		CommitAtOnce();
		state = REQUEST_DUE;
	}
	if (state == REQUEST_DUE)
		PG_RETURN_DATUM(destroy(&destruction, AUDIT_DURABLE));
	if (destruction.lost)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no destruction of the keys of tenant %s has been committed and is due", UuidText(destruction.tenant_id)),
				 errhint("Ask for it with the slug, a blank and \"immediately\", and commit. When called again it says which components are not there.")));
	if (state == REQUEST_NEW)
		UpkeepSoon();
	PG_RETURN_DATUM(report_pending(&destruction));
}

Datum
bulwark_tenant_key_destroy_cancel(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *tenant_id = ArgUuid(fcinfo, 0, "tenant_id");
	TrustedScope scope;
	uint64		rows;

	TenantKeysLockBounded(tenant_id);
	TrustedBegin(&scope);
	(void) TenantSlug(tenant_id);
	rows = AdminExec("DELETE FROM bulwark_internal.tenant_key_destructions"
					 " WHERE tenant_id = $1 AND receipt IS NULL AND due_at > pg_catalog.clock_timestamp()",
					 ARGS(UuidArg(tenant_id)));
	TrustedEnd(&scope);
	if (rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no destruction of the keys of tenant %s is pending", UuidText(tenant_id))));
	AuditAdmin("tenant_key_destroy_cancel", "tenant", UuidText(tenant_id), tenant_id, NULL);
	PG_RETURN_VOID();
}

/* --- when the time is up ------------------------------------------------------------------------- */

/* Others that are due and have not been tried. */
static bool
more_due(const pg_uuid_t *tenant_id)
{
	return AdminReadBool("SELECT true FROM bulwark_internal.tenant_key_destructions"
						 " WHERE tenant_id <> $1 AND receipt IS NULL AND tried_at IS NULL AND due_at <= pg_catalog.now() LIMIT 1",
						 ARGS(UuidArg(tenant_id)));
}

/*
 * In a worker, for which the record cannot be waited: it would write it itself.  One of
 * those that are due, those not tried before first, else by chance, so that one that
 * cannot be finished holds none up.
 */
void
TenantKeysUpkeep(void)
{
	Destruction destruction = {0};
	TrustedScope scope;
	uint64		n;

	TrustedBegin(&scope);
	n = AdminRead("SELECT tenant_id, requested_at, due_at FROM bulwark_internal.tenant_key_destructions"
				  " WHERE receipt IS NULL AND due_at <= pg_catalog.now() ORDER BY tried_at IS NOT NULL, pg_catalog.random() LIMIT 1", 0, NULL);
	if (n > 0)
	{
		destruction.tenant_id = DatumGetUUIDP(AdminResult(0, 1, NULL));
		destruction.requested_at = DatumGetTimestampTz(AdminResult(0, 2, NULL));
		destruction.due_at = DatumGetTimestampTz(AdminResult(0, 3, NULL));
		destruction.slug = TenantSlug(destruction.tenant_id);
		/* who holds it may wait for this worker to write an entry: the next round, then */
		if (!TenantKeysTryLock(destruction.tenant_id))
		{
			TrustedEnd(&scope);
			UpkeepSoon();
			return;
		}
		/* it may have been taken back meanwhile */
		n = AdminExec("UPDATE bulwark_internal.tenant_key_destructions SET due_at = due_at"
					  " WHERE tenant_id = $1 AND receipt IS NULL AND due_at <= pg_catalog.now()",
					  ARGS(UuidArg(destruction.tenant_id)));
		find_components(&destruction);
		if (more_due(destruction.tenant_id))
			UpkeepSoon();
	}
	TrustedEnd(&scope);
	if (n > 0)
		(void) destroy(&destruction, AUDIT_IN_TRANSACTION);
}
