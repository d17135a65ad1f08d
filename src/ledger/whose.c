/*
 * whose.c
 *		Whose a row is: the tenant and the affiliation that its columns name.
 */
#include "ledger/capture.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#define TENANT_KEY_MAX	256		/* with its NUL; no tenant has a longer key */
#define TENANTS_KEPT	4096

typedef struct KnownTenant
{
	char		key[TENANT_KEY_MAX];	/* hash key */
	bool		exists;
	pg_uuid_t	tenant;
} KnownTenant;

static HTAB *tenants = NULL;
static bool tenants_valid = false;
static Oid	watched_relid = InvalidOid;

static void
relation_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == watched_relid)
		tenants_valid = false;
}

/* An empty cache, valid from now on. */
static void
start(void)
{
	HASHCTL		ctl = {.keysize = TENANT_KEY_MAX, .entrysize = sizeof(KnownTenant), .hcxt = CacheMemoryContext};

	if (tenants != NULL)
		hash_destroy(tenants);
	tenants = hash_create("bulwark tenants of rows", 64, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	watched_relid = PrivateRelid(WATCHED_RELATION);
	tenants_valid = true;
}

static bool
read_tenant(const char *key, pg_uuid_t *tenant)
{
	PrivateScan scan;
	bool		found;
	bool		isnull;

	if (!PrivateScanBegin(&scan, "tenants", "tenants_key_key"))
		return false;
	PrivateScanText(&scan, Tenant_key, key);
	found = PrivateScanNext(&scan);
	if (found)
		*tenant = *DatumGetUUIDP(PrivateScanGet(&scan, Tenant_id, &isnull));
	PrivateScanEnd(&scan);
	return found;
}

/* The tenant with that key.  A number names one by its decimal form, which is how
 * its key is written. */
static bool
tenant_by_key(const char *key, pg_uuid_t *tenant)
{
	KnownTenant *known;
	bool		exists;

	if (strlen(key) >= TENANT_KEY_MAX)
		return false;
	if (!tenants_valid || hash_get_num_entries(tenants) >= TENANTS_KEPT)
		start();
	known = hash_search(tenants, key, HASH_FIND, NULL);
	if (known == NULL)
	{
		exists = read_tenant(key, tenant);
		if (!tenants_valid)		/* it changed while we read */
			return exists;
		known = hash_search(tenants, key, HASH_ENTER, NULL);
		known->exists = exists;
		if (exists)
			known->tenant = *tenant;
	}
	if (known->exists)
		*tenant = known->tenant;
	return known->exists;
}

bool
RowTenant(const CaptureShape *shape, TupleTableSlot *slot, pg_uuid_t *tenant)
{
	int			at = shape->tenant_attno - 1;
	char		number[24];

	if (shape->pinned)
	{
		*tenant = shape->pinned_tenant;
		return true;
	}
	if (at < 0 || slot->tts_isnull[at])
		return false;
	switch (shape->tenant_key)
	{
		case TENANT_BY_ID:
			*tenant = *DatumGetUUIDP(slot->tts_values[at]);
			return true;
		case TENANT_BY_INT:
			snprintf(number, sizeof(number), INT64_FORMAT,
					 shape->tenant_type == INT2OID ? DatumGetInt16(slot->tts_values[at]) :
					 shape->tenant_type == INT4OID ? DatumGetInt32(slot->tts_values[at]) :
					 DatumGetInt64(slot->tts_values[at]));
			return tenant_by_key(number, tenant);
		case TENANT_BY_TEXT:
			return tenant_by_key(TextDatumGetCString(slot->tts_values[at]), tenant);
		case TENANT_BY_NONE:
			break;
	}
	return false;
}

char *
RowAffiliation(const CaptureShape *shape, TupleTableSlot *slot)
{
	int			at = shape->affiliation_attno - 1;

	if (at < 0 || slot->tts_isnull[at])
		return NULL;
	return OutputFunctionCall(unconstify(FmgrInfo *, &shape->affiliation_output), slot->tts_values[at]);
}

void
WhoseInit(void)
{
	RelationWatch(relation_changed);
}
