/*
 * key_admin.c
 *		Keys of tenants rotated, retired, put under another root key, swept.
 */
#include "secrets/keys.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define REWRAP_AT_ONCE	1000
#define SWEEP_AGE_US	USECS_PER_DAY

PG_FUNCTION_INFO_V1(bulwark_tenant_key_rotate);
PG_FUNCTION_INFO_V1(bulwark_tenant_key_minimum);
PG_FUNCTION_INFO_V1(bulwark_tenant_key_sweep);

static Arg
int4_arg(int32 value)
{
	return (Arg) {INT4OID, Int32GetDatum(value), false};
}

static Arg
kind_arg(KeyKind kind)
{
	return (Arg) {CHAROID, CharGetDatum(kind), false};
}

char *
TenantSlug(const pg_uuid_t *tenant_id)
{
	if (AdminRead("SELECT slug FROM bulwark_internal.tenants WHERE tenant_id = $1", ARGS(UuidArg(tenant_id))) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("tenant %s does not exist", UuidText(tenant_id))));
	return TextDatumGetCString(AdminResult(0, 1, NULL));
}

/* --- rotation ----------------------------------------------------------------------------- */

static KeyKind
kind_named(const char *name)
{
	if (strcmp(name, "data") == 0)
		return KEY_DATA;
	if (strcmp(name, "index") == 0)
		return KEY_INDEX;
	if (strcmp(name, "box") == 0)
		return KEY_BOX;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is not a kind of tenant key", name),
			 errhint("The kinds are data, index and box.")));
}

/* The keys of a suspended tenant may be rotated: it may be suspended for that reason. */
static void
require_keys_alive(const pg_uuid_t *tenant_id)
{
	if (AdminReadBool("SELECT true FROM bulwark_internal.tenant_key_destructions WHERE tenant_id = $1",
					  ARGS(UuidArg(tenant_id))))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the keys of tenant %s are destroyed, or about to be", UuidText(tenant_id))));
}

Datum
bulwark_tenant_key_rotate(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *tenant_id = ArgUuid(fcinfo, 0, "tenant_id");
	char	   *name = ArgText(fcinfo, 1, "kind");
	KeyKind		kind = kind_named(name);
	TrustedScope scope;
	int32		version;

	TenantKeysLockBounded(tenant_id);
	TrustedBegin(&scope);
	(void) TenantSlug(tenant_id);
	require_keys_alive(tenant_id);
	(void) AdminExec("UPDATE bulwark_internal.tenant_keys SET state = 'o'"
					 " WHERE tenant_id = $1 AND kind = $2 AND state = 'a'",
					 ARGS(UuidArg(tenant_id), kind_arg(kind)));
	TrustedEnd(&scope);
	version = TenantKeyMake(tenant_id, kind, true);
	AuditAdmin("tenant_key_rotate", "tenant", UuidText(tenant_id), tenant_id,
			   "kind", name, "version", psprintf("%d", version), NULL);
	PG_RETURN_INT32(version);
}

/* --- minimum version ------------------------------------------------------------------------ */

Datum
bulwark_tenant_key_minimum(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *tenant_id = ArgUuid(fcinfo, 0, "tenant_id");
	int32		version;
	TrustedScope scope;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("version must not be null")));
	version = PG_GETARG_INT32(1);

	TenantKeysLockBounded(tenant_id);
	TrustedBegin(&scope);
	(void) TenantSlug(tenant_id);
	if (version < 1 ||
		!AdminReadBool("SELECT true FROM bulwark_internal.tenant_keys"
					   " WHERE tenant_id = $1 AND kind = 'd' AND state = 'a' AND version >= $2",
					   ARGS(UuidArg(tenant_id), int4_arg(version))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the minimum must be a version from 1 to the active one")));
	(void) AdminExec("UPDATE bulwark_internal.tenant_keys SET state = CASE WHEN version < $2 THEN 'm' ELSE 'o' END"
					 " WHERE tenant_id = $1 AND kind = 'd' AND state IN ('o', 'm')"
					 " AND state <> CASE WHEN version < $2 THEN 'm' ELSE 'o' END",
					 ARGS(UuidArg(tenant_id), int4_arg(version)));
	TrustedEnd(&scope);
	AuditAdmin("tenant_key_minimum", "tenant", UuidText(tenant_id), tenant_id,
			   "version", psprintf("%d", version), NULL);
	PG_RETURN_VOID();
}

/* --- another root key ------------------------------------------------------------------------- */

typedef struct Rewrapped
{
	Datum		key_ids[REWRAP_AT_ONCE];
	Datum		wrapped[REWRAP_AT_ONCE];
	int			n;
	int64		limit;
	RewrapCount *count;
} Rewrapped;

static ArrayType *
array_of(Datum *elements, int n, Oid type, int16 len, char align)
{
	return construct_array(elements, n, type, len, false, align);
}

/* What was destroyed meanwhile stays so: its row has no key to replace. */
static void
store_rewrapped(Rewrapped *batch)
{
	TrustedScope scope;

	if (batch->n == 0)
		return;
	TrustedBegin(&scope);
	(void) AdminExec("UPDATE bulwark_internal.tenant_keys k SET wrapped = u.wrapped"
					 " FROM unnest($1, $2) AS u (key_id, wrapped)"
					 " WHERE k.key_id = u.key_id AND k.wrapped IS NOT NULL",
					 ARGS(ArrayArg(UUIDARRAYOID, array_of(batch->key_ids, batch->n, UUIDOID, UUID_LEN, TYPALIGN_CHAR)),
						  ArrayArg(BYTEAARRAYOID, array_of(batch->wrapped, batch->n, BYTEAOID, -1, TYPALIGN_INT))));
	TrustedEnd(&scope);
	batch->n = 0;
}

static bool
rewrap_row(const KeyRow *row, void *arg)
{
	Rewrapped  *batch = arg;
	KeyRow		again = *row;
	uint8		context[KEY_CONTEXT_LEN];
	pg_uuid_t  *key_id;

	if (!row->has_wrapped)
		return true;
	TenantKeyContext(row, context);
	switch (KeyringRewrap(again.wrapped, sizeof(again.wrapped), context, sizeof(context)))
	{
		case REWRAP_NOT_NEEDED:
			return true;
		case REWRAP_IMPOSSIBLE:
			batch->count->impossible++;
			return true;
		case REWRAP_DONE:
			break;
	}
	if (batch->count->done == batch->limit)
	{
		batch->count->left++;
		return true;
	}
	key_id = palloc(sizeof(pg_uuid_t));
	*key_id = row->key_id;
	batch->key_ids[batch->n] = UUIDPGetDatum(key_id);
	batch->wrapped[batch->n++] = PointerGetDatum(cstring_to_text_with_len((char *) again.wrapped, sizeof(again.wrapped)));
	batch->count->done++;
	if (batch->n == REWRAP_AT_ONCE)
		store_rewrapped(batch);
	return true;
}

static void
rewrap_keys(int64 limit, RewrapCount *count)
{
	Rewrapped  *batch = palloc0(sizeof(Rewrapped));

	batch->limit = limit;
	batch->count = count;
	TenantKeyScan(NULL, rewrap_row, batch);
	store_rewrapped(batch);
}

/* --- orphans ------------------------------------------------------------------------------------ */

/* Does a row that is committed, or ours, name it? */
static bool
component_in_use(const pg_uuid_t *id)
{
	PrivateScan scan;
	bool		found;

	if (!PrivateScanBegin(&scan, TENANT_KEY_TABLE, "tenant_keys_component"))
		return true;
	PrivateScanUuid(&scan, 6, id);
	found = PrivateScanNext(&scan);
	PrivateScanEnd(&scan);
	return found;
}

Datum
bulwark_tenant_key_sweep(PG_FUNCTION_ARGS)
{
	int64		removed = ComponentSweep(GetCurrentTimestamp() - SWEEP_AGE_US, component_in_use);

	if (removed > 0)
		AuditAdmin("tenant_key_sweep", "tenant_key", NULL, NULL, "removed", psprintf(INT64_FORMAT, removed), NULL);
	PG_RETURN_INT64(removed);
}

static void
upkeep(void)
{
	if (!OidIsValid(PrivateRelid(TENANT_KEY_TABLE)))
		return;
	TenantKeysUpkeep();
	(void) DirectFunctionCall1(bulwark_tenant_key_sweep, (Datum) 0);
}

void
KeyAdminInit(void)
{
	KeyringRewrapRegister("tenant keys", rewrap_keys);
	UpkeepRegister(upkeep);
}
