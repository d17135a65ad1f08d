/*
 * key.c
 *		Keys of the log: one kind authenticates entries until they are sealed,
 *		the other signs checkpoints.  Both are random, stored wrapped by the
 *		keyring, and unwrapped once in a back end.
 */
#include "ledger/log.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "keyring/keyring.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define KEY_TABLE		"ledger_keys"
#define KIND_MAC		'm'
#define KIND_SIGN		's'
#define KEY_LEN			32		/* of a MAC key, and of the seed of a signing key */
#define CACHED			4
#define CONTEXT_LABEL	"bulwark ledger key v1"

/* What a wrapped key is bound to. */
typedef struct KeyContext
{
	char		label[sizeof(CONTEXT_LABEL)];
	char		kind;
	uint8		epoch[4];
	uint8		log_id[UUID_LEN];
} KeyContext;

/* What was unwrapped; of no use once the ring has changed. */
typedef struct MacKey
{
	uint32		epoch;			/* 0: free */
	uint64		generation;
	bw_hmac_key key;
} MacKey;

typedef struct SignKey
{
	uint32		epoch;
	uint64		generation;
	uint8		secret[crypto_sign_SECRETKEYBYTES];
} SignKey;

static MacKey mac_keys[CACHED];
static SignKey sign_key;
static uint32 mac_epoch = 0;	/* the newest, 0: not known */

/* A row of the table. */
typedef struct StoredKey
{
	uint32		epoch;
	bool		has_public;
	uint8		public_key[crypto_sign_PUBLICKEYBYTES];
	uint8		wrapped[WRAPPED_KEY_LEN(KEY_LEN)];
} StoredKey;

void
KeysForget(void)
{
	bw_wipe(mac_keys, sizeof(mac_keys));
	bw_wipe(&sign_key, sizeof(sign_key));
	mac_epoch = 0;
}

static void
forget_at_exit(int code, Datum arg)
{
	KeysForget();
}

static void
wipe_at_exit(void)
{
	static bool registered = false;

	if (!registered)
		before_shmem_exit(forget_at_exit, (Datum) 0);
	registered = true;
}

/* False where the lengths are not those of a key. */
static bool
stored_key_read(HeapTuple row, TupleDesc desc, StoredKey *stored)
{
	bool		isnull;
	bytea	   *public_key;
	bytea	   *wrapped;
	bool		ok;

	stored->epoch = (uint32) DatumGetInt32(heap_getattr(row, 2, desc, &isnull));
	public_key = (bytea *) DatumGetPointer(heap_getattr(row, 3, desc, &isnull));
	stored->has_public = !isnull;
	wrapped = DatumGetByteaPP(heap_getattr(row, 4, desc, &isnull));
	ok = VARSIZE_ANY_EXHDR(wrapped) == sizeof(stored->wrapped);
	if (ok)
		memcpy(stored->wrapped, VARDATA_ANY(wrapped), sizeof(stored->wrapped));
	if (stored->has_public)
	{
		public_key = DatumGetByteaPP(PointerGetDatum(public_key));
		ok = ok && VARSIZE_ANY_EXHDR(public_key) == sizeof(stored->public_key);
		if (ok)
			memcpy(stored->public_key, VARDATA_ANY(public_key), sizeof(stored->public_key));
	}
	return ok;
}

/* The key of that kind and epoch, or its newest (epoch 0). */
static bool
stored_key_find(char kind, uint32 epoch, StoredKey *stored)
{
	Oid			relid = PrivateRelid(KEY_TABLE);
	Relation	rel;
	Snapshot	snapshot;
	TableScanDesc scan;
	HeapTuple	row;
	bool		found = false;

	if (!OidIsValid(relid))
		return false;
	rel = table_open(relid, AccessShareLock);
	snapshot = RegisterSnapshot(LedgerSnapshot());
	scan = table_beginscan(rel, snapshot, 0, NULL);
	while ((row = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		bool		isnull;
		uint32		this_epoch = (uint32) DatumGetInt32(heap_getattr(row, 2, RelationGetDescr(rel), &isnull));

		if (DatumGetChar(heap_getattr(row, 1, RelationGetDescr(rel), &isnull)) != kind)
			continue;
		if (epoch != 0 ? this_epoch != epoch : found && this_epoch < stored->epoch)
			continue;
		found = stored_key_read(row, RelationGetDescr(rel), stored);
		if (epoch != 0)
			break;
	}
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return found;
}

static void
key_context(char kind, uint32 epoch, KeyContext *context)
{
	const Log  *log = LogPeek();
	bw_writer	w = {context->epoch, sizeof(context->epoch)};

	if (log == NULL)
		elog(ERROR, "the ledger has not begun");
	memcpy(context->label, CONTEXT_LABEL, sizeof(CONTEXT_LABEL));
	context->kind = kind;
	bw_put_uint(&w, epoch, sizeof(context->epoch));
	memcpy(context->log_id, &log->log_id, UUID_LEN);
}

/* The caller wipes key. */
static bool
stored_key_open(char kind, const StoredKey *stored, uint8 key[KEY_LEN])
{
	KeyContext	context;

	key_context(kind, stored->epoch, &context);
	return KeyringUnwrap(stored->wrapped, sizeof(stored->wrapped), &context, sizeof(context),
						 key, KEY_LEN);
}

static void
key_store(char kind, uint32 epoch, const uint8 *public_key, const uint8 key[KEY_LEN])
{
	KeyContext	context;
	bytea	   *wrapped = palloc(VARHDRSZ + WRAPPED_KEY_LEN(KEY_LEN));
	bytea	   *public_bytes = palloc(VARHDRSZ + crypto_sign_PUBLICKEYBYTES);
	Datum		values[5];
	bool		nulls[5] = {false};

	key_context(kind, epoch, &context);
	SET_VARSIZE(wrapped, VARHDRSZ + WRAPPED_KEY_LEN(KEY_LEN));
	KeyringWrap(key, KEY_LEN, &context, sizeof(context), (uint8 *) VARDATA(wrapped));
	SET_VARSIZE(public_bytes, VARHDRSZ + crypto_sign_PUBLICKEYBYTES);
	if (public_key != NULL)
		memcpy(VARDATA(public_bytes), public_key, crypto_sign_PUBLICKEYBYTES);

	values[0] = CharGetDatum(kind);
	values[1] = Int32GetDatum((int32) epoch);
	values[2] = PointerGetDatum(public_bytes);
	nulls[2] = (public_key == NULL);
	values[3] = PointerGetDatum(wrapped);
	values[4] = TimestampTzGetDatum(GetCurrentTimestamp());
	LedgerInsert(KEY_TABLE, values, nulls);
}

/* Both keys of the next epoch; the caller holds LEDGER_LOCK_LOG and is at work. */
uint32
LedgerKeysMake(void)
{
	StoredKey	newest;
	uint32		epoch = stored_key_find(KIND_SIGN, 0, &newest) ? newest.epoch + 1 : 1;
	uint8	   *secrets = SecretAlloc(CurrentMemoryContext, 2 * KEY_LEN + crypto_sign_SECRETKEYBYTES);
	uint8	   *seed = secrets + KEY_LEN;
	uint8		public_key[crypto_sign_PUBLICKEYBYTES];

	KeyringRequire();
	if (!bw_random(secrets, 2 * KEY_LEN) ||
		crypto_sign_seed_keypair(public_key, seed + KEY_LEN, seed) != 0)
		elog(ERROR, "could not make a key");
	key_store(KIND_MAC, epoch, NULL, secrets);
	key_store(KIND_SIGN, epoch, public_key, seed);
	bw_wipe(secrets, 2 * KEY_LEN + crypto_sign_SECRETKEYBYTES);
	mac_epoch = 0;
	return epoch;
}

/* The epoch that new entries are authenticated with; begins the log. */
uint32
LedgerMacEpoch(void)
{
	StoredKey	stored;

	(void) LogOpen();
	if (likely(mac_epoch != 0))
		return mac_epoch;
	KeyringRequire();
	if (!stored_key_find(KIND_MAC, 0, &stored))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the ledger has lost its keys"),
				 errhint("Restore bulwark_internal.ledger_keys from a backup.")));
	mac_epoch = stored.epoch;
	return mac_epoch;
}

/* The key, from the cache or the table; NULL where it cannot be had. */
static const MacKey *
mac_key(uint32 epoch)
{
	MacKey	   *slot = &mac_keys[epoch % CACHED];
	uint64		generation = KeyringGeneration();
	StoredKey	stored;
	uint8		key[KEY_LEN];
	bool		ok;

	if (likely(slot->epoch == epoch && slot->generation == generation))
		return slot;
	bw_wipe(slot, sizeof(*slot));
	if (epoch == 0 || !stored_key_find(KIND_MAC, epoch, &stored))
		return NULL;
	wipe_at_exit();
	ok = stored_key_open(KIND_MAC, &stored, key);
	if (ok)
	{
		bw_hmac_key_init(&slot->key, key, sizeof(key));
		slot->epoch = epoch;
		slot->generation = generation;
	}
	bw_wipe(key, sizeof(key));
	return ok ? slot : NULL;
}

bool
LedgerMacs(uint32 epoch, size_t n, uint8 (*hashes)[32])
{
	const MacKey *key = mac_key(epoch);

	if (key == NULL)
		return false;
	bw_hmac_sha256_many(&key->key, n, hashes);
	return true;
}

uint32
LedgerSignEpoch(void)
{
	StoredKey	stored;

	return stored_key_find(KIND_SIGN, 0, &stored) ? stored.epoch : 0;
}

static void
find_or_raise(uint32 epoch, StoredKey *stored)
{
	if (!stored_key_find(KIND_SIGN, epoch, stored) || !stored->has_public)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the ledger has no signing key of epoch %u", epoch)));
}

void
LedgerPublicKey(uint32 epoch, uint8 key[32])
{
	StoredKey	stored;

	find_or_raise(epoch, &stored);
	memcpy(key, stored.public_key, sizeof(stored.public_key));
}

/* Fill sign_key, whose public half must be the one that the table shows. */
static void
open_sign_key(uint32 epoch)
{
	StoredKey	stored;
	uint8		seed[KEY_LEN];
	uint8		public_key[crypto_sign_PUBLICKEYBYTES];
	uint64		generation = KeyringGeneration();
	bool		ok;

	KeyringRequire();
	find_or_raise(epoch, &stored);
	wipe_at_exit();
	ok = stored_key_open(KIND_SIGN, &stored, seed) &&
		crypto_sign_seed_keypair(public_key, sign_key.secret, seed) == 0 &&
		bw_equal(public_key, stored.public_key, sizeof(public_key));
	bw_wipe(seed, sizeof(seed));
	if (!ok)
	{
		bw_wipe(&sign_key, sizeof(sign_key));
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the ledger's signing key of epoch %u cannot be opened", epoch),
				 errhint("It is wrapped by another root key, or has been altered.")));
	}
	sign_key.epoch = epoch;
	sign_key.generation = generation;
}

void
LedgerSign(uint32 epoch, const void *message, Size len, uint8 signature[64])
{
	if (sign_key.epoch != epoch || sign_key.generation != KeyringGeneration())
		open_sign_key(epoch);
	if (crypto_sign_detached(signature, NULL, message, len, sign_key.secret) != 0)
		elog(ERROR, "could not sign");
}

/* --- another root key -------------------------------------------------------------------- */

/* The row with its key wrapped anew, in the row's place. */
static void
rewrap_row(Relation rel, HeapTuple row, const StoredKey *stored)
{
	bytea	   *wrapped = palloc(VARHDRSZ + sizeof(stored->wrapped));
	Datum		values[5] = {0};
	bool		nulls[5] = {false};
	bool		replace[5] = {false, false, false, true, false};

	SET_VARSIZE(wrapped, VARHDRSZ + sizeof(stored->wrapped));
	memcpy(VARDATA(wrapped), stored->wrapped, sizeof(stored->wrapped));
	values[3] = PointerGetDatum(wrapped);
	LedgerUpdate(rel, &row->t_self, values, nulls, replace);
}

static void
rewrap_one(Relation rel, HeapTuple row, int64 limit, RewrapCount *count)
{
	bool		isnull;
	char		kind = DatumGetChar(heap_getattr(row, 1, RelationGetDescr(rel), &isnull));
	StoredKey	stored;
	KeyContext	context;

	if (!stored_key_read(row, RelationGetDescr(rel), &stored))
	{
		count->impossible++;
		return;
	}
	key_context(kind, stored.epoch, &context);
	switch (KeyringRewrap(stored.wrapped, sizeof(stored.wrapped), &context, sizeof(context)))
	{
		case REWRAP_DONE:
			if (count->done == limit)
				count->left++;
			else
			{
				rewrap_row(rel, row, &stored);
				count->done++;
			}
			break;
		case REWRAP_NOT_NEEDED:
			break;
		case REWRAP_IMPOSSIBLE:
			count->impossible++;
			break;
	}
}

/* Both kinds of every epoch: old ones open what is not sealed yet. */
static void
rewrap_keys(int64 limit, RewrapCount *count)
{
	Relation	rel = table_open(PrivateRelid(KEY_TABLE), RowExclusiveLock);
	Snapshot	snapshot = RegisterSnapshot(LedgerSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	HeapTuple	row;
	TrustedScope scope;

	TrustedBegin(&scope);
	LedgerWorkBegin();
	while ((row = heap_getnext(scan, ForwardScanDirection)) != NULL)
		rewrap_one(rel, row, limit, count);
	LedgerWorkEnd();
	TrustedEnd(&scope);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
}

void
LedgerKeysInit(void)
{
	KeyringRewrapRegister("ledger keys", rewrap_keys);
}
