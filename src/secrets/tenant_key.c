/*
 * tenant_key.c
 *		The keys of tenants: found, opened, made.
 *
 * A key is HKDF over two halves, one wrapped by the root key in a row of the table
 * and bound there to its tenant, kind and version, one outside the database.  Its id
 * is computed anew from the key that comes out and compared with the row's: what
 * opens a value is then the key that sealed it, whoever wrote the row.
 */
#include "secrets/keys.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"

#define CONTEXT_LABEL	"bulwark tenant key v1"	/* and its NUL */
#define BOX_ID_LABEL	"bulwark box key v1"

/* Columns of the table, and of that of destructions. */
enum
{
	Key_tenant = 1, Key_kind, Key_version, Key_state, Key_key_id, Key_component, Key_created_at, Key_provider, Key_location,
	Key_wrapped, Key_public
};
enum
{
	Destruction_tenant = 1
};

StaticAssertDecl(sizeof(CONTEXT_LABEL) == 22, "a label has grown");
StaticAssertDecl(sizeof(pg_uuid_t) == BW_ENVELOPE_KEY_ID_LEN, "key ids are stored as uuids");

static bool made_here = false;	/* this transaction made a key, which its end may undo */

/* --- tenants ------------------------------------------------------------------------------- */

typedef enum TenantState
{
	TENANT_USABLE, TENANT_UNKNOWN, TENANT_SUSPENDED, TENANT_DESTROYED
} TenantState;

static char *
uuid_text(const pg_uuid_t *id)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
}

static bool
destruction_requested(const pg_uuid_t *tenant_id)
{
	PrivateScan scan;
	bool		found;

	if (!PrivateScanBegin(&scan, "tenant_key_destructions", "tenant_key_destructions_pkey"))
		return false;
	PrivateScanUuid(&scan, Destruction_tenant, tenant_id);
	found = PrivateScanNext(&scan);
	PrivateScanEnd(&scan);
	return found;
}

static TenantState
tenant_state(const pg_uuid_t *tenant_id)
{
	PrivateScan scan;
	TenantState state = TENANT_UNKNOWN;

	if (!PrivateScanBegin(&scan, "tenants", "tenants_pkey"))
		return TENANT_UNKNOWN;
	PrivateScanUuid(&scan, Tenant_id, tenant_id);
	if (PrivateScanNext(&scan))
		state = PrivateScanIsNull(&scan, Tenant_suspended_at) ? TENANT_USABLE : TENANT_SUSPENDED;
	PrivateScanEnd(&scan);
	if (state != TENANT_UNKNOWN && destruction_requested(tenant_id))
		state = TENANT_DESTROYED;
	return state;
}

BW_NORETURN static void
refuse_destroyed(const pg_uuid_t *tenant_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the keys of tenant %s are destroyed, or about to be", uuid_text(tenant_id))));
	pg_unreachable();
}

BW_NORETURN static void
refuse_tenant(const pg_uuid_t *tenant_id, TenantState state)
{
	if (state == TENANT_UNKNOWN)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("tenant %s does not exist", uuid_text(tenant_id))));
	if (state == TENANT_SUSPENDED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tenant %s is suspended", uuid_text(tenant_id)),
				 errdetail("Its keys are of no use until it is resumed.")));
	refuse_destroyed(tenant_id);
}

void
TenantRequireUsable(const pg_uuid_t *tenant_id)
{
	TenantState state = tenant_state(tenant_id);

	if (state != TENANT_USABLE)
		refuse_tenant(tenant_id, state);
}

/* --- rows ------------------------------------------------------------------------------------- */

static Datum
column(PrivateScan *scan, AttrNumber attno)
{
	bool		isnull;
	Datum		value = PrivateScanGet(scan, attno, &isnull);

	if (isnull)
		elog(ERROR, "unexpected null in column %d", attno);
	return value;
}

BW_NORETURN static void
report_altered(const KeyRow *row)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("key %d of tenant %s has been altered", row->version, uuid_text(&row->tenant_id)),
			 errdetail("What is wrapped is not this tenant's, kind's and version's key.")));
	pg_unreachable();
}

static void
row_read(PrivateScan *scan, KeyRow *row)
{
	char	   *provider = TextDatumGetCString(column(scan, Key_provider));
	char	   *location = TextDatumGetCString(column(scan, Key_location));
	bool		isnull;
	Datum		wrapped = PrivateScanGet(scan, Key_wrapped, &isnull);

	row->tenant_id = *DatumGetUUIDP(column(scan, Key_tenant));
	row->kind = (KeyKind) DatumGetChar(column(scan, Key_kind));
	row->version = DatumGetInt32(column(scan, Key_version));
	row->state = (KeyState) DatumGetChar(column(scan, Key_state));
	row->key_id = *DatumGetUUIDP(column(scan, Key_key_id));
	row->component.id = *DatumGetUUIDP(column(scan, Key_component));
	strlcpy(row->component.provider, provider, sizeof(row->component.provider));
	strlcpy(row->component.location, location, sizeof(row->component.location));
	pfree(provider);
	pfree(location);
	row->has_wrapped = !isnull;
	if (row->has_wrapped)
	{
		bytea	   *bytes = DatumGetByteaPP(wrapped);

		if (VARSIZE_ANY_EXHDR(bytes) != sizeof(row->wrapped))
			report_altered(row);
		memcpy(row->wrapped, VARDATA_ANY(bytes), sizeof(row->wrapped));
	}
}

void
TenantKeyScan(const pg_uuid_t *tenant_id, KeyRowVisitor visit, void *arg)
{
	PrivateScan scan;
	KeyRow		row;

	if (!PrivateScanBegin(&scan, TENANT_KEY_TABLE, tenant_id ? "tenant_keys_pkey" : NULL))
		return;
	if (tenant_id)
		PrivateScanUuid(&scan, Key_tenant, tenant_id);
	while (PrivateScanNext(&scan))
	{
		row_read(&scan, &row);
		if (!visit(&row, arg))
			break;
	}
	PrivateScanEnd(&scan);
}

/* The one row that an index has for that id, whatever its state. */
static bool
row_by_id(const uint8 key_id[BW_ENVELOPE_KEY_ID_LEN], KeyRow *row)
{
	PrivateScan scan;
	pg_uuid_t	id;
	bool		found;

	if (!PrivateScanBegin(&scan, TENANT_KEY_TABLE, "tenant_keys_key_id"))
		return false;
	memcpy(id.data, key_id, UUID_LEN);
	PrivateScanUuid(&scan, Key_key_id, &id);
	found = PrivateScanNext(&scan);
	if (found)
		row_read(&scan, row);
	PrivateScanEnd(&scan);
	return found;
}

/* The index has active rows only, one of each kind. */
static bool
row_active(const pg_uuid_t *tenant_id, KeyKind kind, KeyRow *row)
{
	PrivateScan scan;
	bool		found = false;

	if (!PrivateScanBegin(&scan, TENANT_KEY_TABLE, "tenant_keys_active"))
		return false;
	PrivateScanUuid(&scan, Key_tenant, tenant_id);
	while (!found && PrivateScanNext(&scan))
	{
		row_read(&scan, row);
		found = row->kind == kind && row->state == KEY_ACTIVE;
	}
	PrivateScanEnd(&scan);
	return found;
}

/* --- from a row to a key -------------------------------------------------------------------------- */

void
TenantKeyContext(const KeyRow *row, uint8 context[KEY_CONTEXT_LEN])
{
	bw_writer	w = {context, KEY_CONTEXT_LEN, 0, false};

	bw_put(&w, CONTEXT_LABEL, sizeof(CONTEXT_LABEL));
	bw_put_uint(&w, (uint8) row->kind, 1);
	bw_put_uint(&w, (uint32) row->version, 4);
	bw_put(&w, row->tenant_id.data, UUID_LEN);
	bw_put(&w, row->component.id.data, UUID_LEN);
	if (w.failed || w.len != KEY_CONTEXT_LEN)
		elog(ERROR, "the context of a tenant key does not fit");
}

/* Both halves, one after the other, into a key; they are wiped. */
static void
derive(const KeyRow *row, uint8 halves[KEY_HALF_LEN + COMPONENT_LEN], uint8 key[BW_ENVELOPE_KEY_LEN])
{
	uint8		context[KEY_CONTEXT_LEN];

	TenantKeyContext(row, context);
	(void) bw_hkdf_sha256(halves, KEY_HALF_LEN + COMPONENT_LEN, NULL, 0, context, sizeof(context),
						  key, BW_ENVELOPE_KEY_LEN);
	bw_wipe(halves, KEY_HALF_LEN + COMPONENT_LEN);
}

/* Prepare the key in its place of the cache, and name it. */
static bool
prepare(CachedKey *cached, KeyKind kind, const uint8 key[BW_ENVELOPE_KEY_LEN], uint8 key_id[BW_ENVELOPE_KEY_ID_LEN])
{
	uint8		digest[BW_SHA256_LEN];

	cached->kind = kind;
	switch (kind)
	{
		case KEY_DATA:
			return bw_envelope_key_init(&cached->u.data, key) && bw_envelope_key_id(key, key_id);
		case KEY_INDEX:
			bw_hmac_key_init(&cached->u.index, key, BW_ENVELOPE_KEY_LEN);
			return bw_envelope_key_id(key, key_id);
		case KEY_BOX:
			if (crypto_box_seed_keypair(cached->u.box.public_key, cached->u.box.secret_key, key) != 0)
				return false;
			bw_sha256_two(BOX_ID_LABEL, strlen(BOX_ID_LABEL), cached->u.box.public_key,
						  sizeof(cached->u.box.public_key), digest);
			memcpy(key_id, digest, BW_ENVELOPE_KEY_ID_LEN);
			return true;
	}
	return false;
}

static void
cached_fill(CachedKey *cached, const KeyRow *row)
{
	cached->active = row->state == KEY_ACTIVE;
	cached->key.tenant_id = row->tenant_id;
	cached->key.version = row->version;
	memcpy(cached->key.key_id, row->key_id.data, BW_ENVELOPE_KEY_ID_LEN);
	cached->key.key = row->kind == KEY_DATA ? &cached->u.data : NULL;
	KeyCacheAdd(cached);
}

static void
require_root_of(const KeyRow *row)
{
	uint8		id[ROOT_KEY_ID_LEN];
	char		hex[2 * ROOT_KEY_ID_LEN + 1] = "";

	KeyringRequire();
	if (KeyringHoldsRootOf(row->wrapped, sizeof(row->wrapped), id))
		return;
	bw_hex_encode(id, sizeof(id), hex);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the keys of tenant %s need root key %s, which is not loaded", uuid_text(&row->tenant_id), hex),
			 errhint("Load it as the next root key (bulwark.root_key_file_next, bulwark.root_key_command_next or bulwark.root_key_pkcs11_next), and call bulwark.root_key_rotate().")));
}

/* Open a row's key into the cache; NULL: its component is destroyed. */
static CachedKey *
key_open(const KeyRow *row)
{
	CachedKey  *cached = KeyCacheRoom();
	uint64		tenants_seen = KeyCacheTenants();
	uint8	   *halves;
	uint8		key[BW_ENVELOPE_KEY_LEN];
	uint8		key_id[BW_ENVELOPE_KEY_ID_LEN];
	uint8		context[KEY_CONTEXT_LEN];
	bool		same;

	if (!row->has_wrapped)
		return NULL;
	require_root_of(row);
	/* not on the stack: a token that does not answer is an error */
	halves = SecretAlloc(CurrentMemoryContext, KEY_HALF_LEN + COMPONENT_LEN);
	if (!ComponentFetch(&row->component, halves + KEY_HALF_LEN))
		return NULL;
	TenantKeyContext(row, context);
	if (!KeyringUnwrap(row->wrapped, sizeof(row->wrapped), context, sizeof(context), halves, KEY_HALF_LEN))
		report_altered(row);
	derive(row, halves, key);
	same = prepare(cached, row->kind, key, key_id) && bw_equal(key_id, row->key_id.data, sizeof(key_id));
	bw_wipe(key, sizeof(key));
	if (!same)
	{
		bw_wipe(&cached->u, sizeof(cached->u));
		report_altered(row);
	}
	cached->tenants_seen = tenants_seen;
	cached_fill(cached, row);
	return cached;
}

/* --- making ------------------------------------------------------------------------------------------ */

void
TenantKeysLock(const pg_uuid_t *tenant_id)
{
	Oid			relid = PrivateRelid(TENANT_KEY_TABLE);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("bulwark is not installed in this database"),
				 errhint("Run CREATE EXTENSION bulwark.")));
	LockDatabaseObject(relid, hash_bytes(tenant_id->data, UUID_LEN), 0, ExclusiveLock);
}

bool
TenantKeysTryLock(const pg_uuid_t *tenant_id)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, PrivateRelid(TENANT_KEY_TABLE), hash_bytes(tenant_id->data, UUID_LEN), 0);
	if (LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages();
	return true;
}

void
TenantKeysLockBounded(const pg_uuid_t *tenant_id)
{
	LockWait	wait;

	LockWaitBegin(&wait, "bulwark.tenant_suspend() stops every use of the tenant's keys and waits for nobody.");
	TenantKeysLock(tenant_id);
	LockWaitEnd(&wait);
}

/* What a tenant has: the newest version of a kind, and the latest component. */
typedef struct Inventory
{
	KeyKind		kind;
	int32		newest;
	bool		has_component;
	ComponentPlace component;
} Inventory;

static bool
take_stock(const KeyRow *row, void *arg)
{
	Inventory  *stock = arg;

	if (row->state == KEY_DESTROYED)
		refuse_destroyed(&row->tenant_id);
	if (row->kind == stock->kind)
		stock->newest = Max(stock->newest, row->version);
	if (row->state == KEY_ACTIVE && (row->kind == KEY_DATA || !stock->has_component))
	{
		stock->has_component = true;
		stock->component = row->component;
	}
	return true;
}

static void
row_insert(const KeyRow *row, const uint8 *public_key)
{
	static const Oid types[] = {UUIDOID, CHAROID, INT4OID, UUIDOID, UUIDOID, TEXTOID, TEXTOID, BYTEAOID, BYTEAOID};
	Datum		values[9];
	bool		nulls[9] = {false};
	TrustedScope scope;

	values[0] = UUIDPGetDatum(&row->tenant_id);
	values[1] = CharGetDatum(row->kind);
	values[2] = Int32GetDatum(row->version);
	values[3] = UUIDPGetDatum(&row->key_id);
	values[4] = UUIDPGetDatum(&row->component.id);
	values[5] = CStringGetTextDatum(row->component.provider);
	values[6] = CStringGetTextDatum(row->component.location);
	values[7] = PointerGetDatum(cstring_to_text_with_len((const char *) row->wrapped, sizeof(row->wrapped)));
	nulls[8] = public_key == NULL;
	values[8] = nulls[8] ? (Datum) 0 :
		PointerGetDatum(cstring_to_text_with_len((const char *) public_key, TENANT_BOX_PUBLIC_LEN));
	TrustedBegin(&scope);
	(void) TrustedExec("INSERT INTO bulwark_internal.tenant_keys"
					   " (tenant_id, kind, version, state, key_id, component, provider, location, wrapped, public_key)"
					   " VALUES ($1, $2, $3, 'a', $4, $5, $6, $7, $8, $9)",
					   lengthof(types), types, values, nulls);
	TrustedEnd(&scope);
}

/* The component: the tenant's latest, if it may be shared and is still to be had, or a new one. */
static void
choose_component(const Inventory *stock, bool fresh, KeyRow *row, uint8 component[COMPONENT_LEN])
{
	if (!stock->has_component || fresh)
	{
		ComponentMake(&row->component, component);
		return;
	}
	if (!ComponentFetch(&stock->component, component))
		refuse_destroyed(&row->tenant_id);
	row->component = stock->component;
}

int32
TenantKeyMake(const pg_uuid_t *tenant_id, KeyKind kind, bool fresh)
{
	KeyRow		row = {.tenant_id = *tenant_id, .kind = kind, .state = KEY_ACTIVE};
	Inventory	stock = {.kind = kind};
	CachedKey  *cached;
	uint8	   *halves = SecretAlloc(CurrentMemoryContext, KEY_HALF_LEN + COMPONENT_LEN + BW_ENVELOPE_KEY_LEN);
	uint8	   *key = halves + KEY_HALF_LEN + COMPONENT_LEN;
	uint8		context[KEY_CONTEXT_LEN];

	KeyringRequire();
	TenantKeyScan(tenant_id, take_stock, &stock);
	row.version = stock.newest + 1;
	choose_component(&stock, fresh, &row, halves + KEY_HALF_LEN);
	if (!bw_random(halves, KEY_HALF_LEN))
		elog(ERROR, "could not make a key");
	TenantKeyContext(&row, context);
	KeyringWrap(halves, KEY_HALF_LEN, context, sizeof(context), row.wrapped);
	derive(&row, halves, key);

	cached = KeyCacheRoom();	/* lent for the sake of its memory */
	if (!prepare(cached, kind, key, row.key_id.data))
		elog(ERROR, "could not prepare a key");
	bw_wipe(key, BW_ENVELOPE_KEY_LEN);
	made_here = true;
	row_insert(&row, kind == KEY_BOX ? cached->u.box.public_key : NULL);
	bw_wipe(&cached->u, sizeof(cached->u));
	return row.version;
}

/* A tenant's first key of that kind, unless another session has just made it. */
static void
make_first(const pg_uuid_t *tenant_id, KeyKind kind, KeyRow *row)
{
	PreventCommandIfReadOnly("making a key of a tenant");
	PreventCommandIfParallelMode("making a key of a tenant");
	TenantKeysLock(tenant_id);
	TenantRequireUsable(tenant_id);
	if (row_active(tenant_id, kind, row))
		return;
	(void) TenantKeyMake(tenant_id, kind, false);
	if (!row_active(tenant_id, kind, row))
		elog(ERROR, "a new key is not there");
}

/* --- using ------------------------------------------------------------------------------------------- */

/* Is its tenant usable, by what is known now? */
static TenantState
cached_tenant_state(CachedKey *cached)
{
	TenantState state;
	uint64		epoch = KeyCacheTenants();

	if (likely(cached->tenants_seen == epoch))
		return TENANT_USABLE;
	state = tenant_state(&cached->key.tenant_id);
	if (state == TENANT_USABLE)
		cached->tenants_seen = epoch;
	return state;
}

static CachedKey *
active_key(const pg_uuid_t *tenant_id, KeyKind kind)
{
	CachedKey  *cached = KeyCacheActive(tenant_id, kind);
	KeyRow		row;

	if (likely(cached != NULL))
	{
		TenantState state = cached_tenant_state(cached);

		if (state != TENANT_USABLE)
			refuse_tenant(tenant_id, state);
		return cached;
	}
	TenantRequireUsable(tenant_id);
	if (!row_active(tenant_id, kind, &row))
		make_first(tenant_id, kind, &row);
	cached = key_open(&row);
	if (cached == NULL)
		refuse_destroyed(tenant_id);
	return cached;
}

const TenantKey *
TenantKeyActive(const pg_uuid_t *tenant_id)
{
	return &active_key(tenant_id, KEY_DATA)->key;
}

static bool
is_asked_for(const pg_uuid_t *tenant_id, const pg_uuid_t *owner)
{
	return tenant_id == NULL || UuidEquals(tenant_id, owner);
}

const TenantKey *
TenantKeyById(const pg_uuid_t *tenant_id, const uint8 key_id[BW_ENVELOPE_KEY_ID_LEN])
{
	CachedKey  *cached = KeyCacheById(key_id);
	KeyRow		row;

	if (likely(cached != NULL))
		return cached->kind == KEY_DATA && is_asked_for(tenant_id, &cached->key.tenant_id) &&
			cached_tenant_state(cached) == TENANT_USABLE ? &cached->key : NULL;
	KeyringRequire();
	if (!row_by_id(key_id, &row) || row.kind != KEY_DATA || !is_asked_for(tenant_id, &row.tenant_id) ||
		(row.state != KEY_ACTIVE && row.state != KEY_DECRYPT_ONLY) ||
		tenant_state(&row.tenant_id) != TENANT_USABLE)
		return NULL;
	cached = key_open(&row);
	return cached ? &cached->key : NULL;
}

/* The label goes before the data, behind its length. */
void
TenantIndexHmac(const pg_uuid_t *tenant_id, const char *label, const void *data, Size len,
				uint8 out[BW_SHA256_LEN])
{
	CachedKey  *cached = active_key(tenant_id, KEY_INDEX);

	bw_hmac_sha256_labelled(&cached->u.index, label, data, len, out);
}

void
TenantBoxPublic(const pg_uuid_t *tenant_id, uint8 key_id[BW_ENVELOPE_KEY_ID_LEN],
				uint8 public_key[TENANT_BOX_PUBLIC_LEN])
{
	CachedKey  *cached = active_key(tenant_id, KEY_BOX);

	memcpy(key_id, cached->key.key_id, BW_ENVELOPE_KEY_ID_LEN);
	memcpy(public_key, cached->u.box.public_key, TENANT_BOX_PUBLIC_LEN);
}

char *
TenantBoxOpen(const pg_uuid_t *tenant_id, const void *sealed, Size sealedlen,
			  uint8 key_id[BW_ENVELOPE_KEY_ID_LEN], Size *plainlen)
{
	CachedKey  *cached;
	char	   *plain;

	if (sealedlen < crypto_box_SEALBYTES)
		return NULL;
	cached = active_key(tenant_id, KEY_BOX);
	*plainlen = sealedlen - crypto_box_SEALBYTES;
	plain = SecretAlloc(CurrentMemoryContext, *plainlen + 1);
	memcpy(key_id, cached->key.key_id, BW_ENVELOPE_KEY_ID_LEN);
	if (crypto_box_seal_open((unsigned char *) plain, sealed, sealedlen,
							 cached->u.box.public_key, cached->u.box.secret_key) != 0)
		return NULL;
	return plain;
}

/* --- the end of a transaction ------------------------------------------------------------------------------ */

static void
undo_made(void)
{
	if (made_here)
		KeyCacheForget();
}

static void
transaction_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event != XACT_EVENT_COMMIT)
		undo_made();
	made_here = false;
	bw_aead_forget();
}

static void
subtransaction_end(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		undo_made();
}

void
TenantKeyInit(void)
{
	RegisterXactCallback(transaction_end, NULL);
	RegisterSubXactCallback(subtransaction_end, NULL);
}
