/*
 * acts.c
 *		Administrative acts of a transaction that come into use before they are
 *		committed.
 *
 * An act's entry comes and goes with its transaction.  So somebody could grant, take
 * the identity that the grant allows, look, and roll back: the look would be on the
 * record and what allowed it would not.  Acts are remembered until the transaction
 * ends; those that concern an identity which it takes, or has, are on disk in the
 * ledger before they are of use.
 */
#include "base/base.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#define DETAIL	"{\"operation\": \"acts_in_force\", \"step\": \"before their commit\", \"acts\": [%s]}"
#define CHUNK	((int) (AUDIT_DETAIL_MAX - sizeof(DETAIL)))	/* bytes of acts in one entry */

typedef struct Act
{
	SubTransactionId subid;
	bool		has_tenant;		/* else it concerns all */
	pg_uuid_t	tenant;
	char	   *json;
} Act;

/* In the transaction's memory. */
static List *acts = NIL;
static bool has_identity = false;
static pg_uuid_t identity_tenant;

static void
emit(const pg_uuid_t *tenant_id, StringInfo json)
{
	AuditEvent	event = {
		.action = "configuration",
		.entity_type = "tenant",
		.entity_id = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(tenant_id))),
		.detail = psprintf(DETAIL, json->data),
		.tenant_id = tenant_id,
		.durability = AUDIT_DURABLE_IF_KEPT,
	};

	AuditEmit(&event);
	resetStringInfo(json);
}

static bool
concerns(const Act *act, const pg_uuid_t *tenant_id)
{
	return !act->has_tenant || memcmp(&act->tenant, tenant_id, UUID_LEN) == 0;
}

/* Those that concern the tenant; they are forgotten when all of them are on disk. */
static void
emit_acts(const pg_uuid_t *tenant_id)
{
	StringInfoData json;
	ListCell   *cell;

	initStringInfo(&json);
	foreach(cell, acts)
	{
		const Act  *act = lfirst(cell);

		if (!concerns(act, tenant_id))
			continue;
		if (json.len > 0 && json.len + strlen(", ") + strlen(act->json) > CHUNK)
			emit(tenant_id, &json);
		appendStringInfo(&json, "%s%s", json.len > 0 ? ", " : "", act->json);
	}
	if (json.len > 0)
		emit(tenant_id, &json);
	pfree(json.data);
	foreach(cell, acts)
		if (concerns(lfirst(cell), tenant_id))
			acts = foreach_delete_current(acts, cell);
}

void
AuditActsInForce(const pg_uuid_t *tenant_id)
{
	if (acts != NIL)
		emit_acts(tenant_id);
	has_identity = true;
	identity_tenant = *tenant_id;
}

void
AuditActNote(const pg_uuid_t *tenant_id, const char *json)
{
	MemoryContext caller;
	Act		   *act;

	if (!IsTransactionState())
		return;
	caller = MemoryContextSwitchTo(TopTransactionContext);
	act = palloc0(sizeof(Act));
	act->subid = GetCurrentSubTransactionId();
	act->has_tenant = tenant_id != NULL;
	if (tenant_id != NULL)
		act->tenant = *tenant_id;
	act->json = pstrdup(json);
	acts = lappend(acts, act);
	MemoryContextSwitchTo(caller);
	if (has_identity)
		emit_acts(&identity_tenant);
}

static void
at_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	acts = NIL;
	has_identity = false;
}

/* What a savepoint takes back is in force no more; an identity stays. */
static void
at_subend(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	ListCell   *cell;

	if (acts == NIL || (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB))
		return;
	foreach(cell, acts)
	{
		Act		   *act = lfirst(cell);

		if (act->subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			act->subid = parent;
		else
			acts = foreach_delete_current(acts, cell);
	}
}

void
AuditActsInit(void)
{
	RegisterXactCallback(at_end, NULL);
	RegisterSubXactCallback(at_subend, NULL);
}
