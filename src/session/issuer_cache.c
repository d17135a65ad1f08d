/*
 * issuer_cache.c
 *		The issuers and keys that this back end has met, parsed.  Verifying a
 *		token reads no table as long as nothing changed; a change reaches us as
 *		a relcache invalidation of their tables, when it commits.
 */
#include "session/jose.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "keyring/keyring.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* columns of bulwark_internal.issuers */
enum
{
	ISSUERS_ID = 1,
	ISSUERS_ISSUER,
	ISSUERS_AUDIENCE,
	ISSUERS_ALGORITHMS,
	ISSUERS_TENANT_CLAIM,
	ISSUERS_SUBJECT_CLAIM,
	ISSUERS_TENANT_IDS,
	ISSUERS_TENANT_CLAIM_IS,
	ISSUERS_TYP,
	ISSUERS_REQUIRED_CLAIMS,
	ISSUERS_MAX_LIFETIME,
	ISSUERS_SCOPE_CLAIM,
	ISSUERS_ID_TOKENS
};

/* columns of bulwark_internal.issuer_keys */
enum
{
	KEYS_ISSUER_ID = 1,
	KEYS_THUMBPRINT,
	KEYS_KEY_ID,
	KEYS_JWK,
	KEYS_WRAPPED_SECRET
};

static MemoryContext cache_context = NULL;
static dlist_head cache = DLIST_STATIC_INIT(cache); /* latest used first */
static bool cache_stale = false;
static uint64 cache_generation = 0; /* of the keyring */
static Oid	issuers_relid = InvalidOid;
static Oid	issuer_keys_relid = InvalidOid;

static void
invalidate(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == issuers_relid || relid == issuer_keys_relid)
		cache_stale = true;
}

void
IssuerCacheInit(void)
{
	RelationWatch(invalidate);
}

static Datum
column(HeapTuple tuple, TupleDesc desc, int attno, bool *isnull)
{
	return heap_getattr(tuple, attno, desc, isnull);
}

/* NULL where the column is; copied into the current context. */
static char *
text_column(HeapTuple tuple, TupleDesc desc, int attno)
{
	bool		isnull;
	Datum		value = column(tuple, desc, attno, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static ArrayType *
array_column(HeapTuple tuple, TupleDesc desc, int attno)
{
	bool		isnull;
	Datum		value = column(tuple, desc, attno, &isnull);

	return isnull ? NULL : DatumGetArrayTypePCopy(value);
}

static void
set_tenants(Issuer *issuer, ArrayType *ids)
{
	Datum	   *values;

	issuer->ntenants = -1;
	if (ids == NULL)
		return;
	deconstruct_array(ids, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &values, NULL, &issuer->ntenants);
	issuer->tenants = palloc(issuer->ntenants * sizeof(pg_uuid_t));
	for (int i = 0; i < issuer->ntenants; i++)
		issuer->tenants[i] = *DatumGetUUIDP(values[i]);
}

static void
set_typs(Issuer *issuer, ArrayType *typs)
{
	Datum	   *values;

	if (typs == NULL)
		return;
	deconstruct_array(typs, TEXTOID, -1, false, TYPALIGN_INT, &values, NULL, &issuer->ntyps);
	issuer->typs = palloc(issuer->ntyps * sizeof(char *));
	for (int i = 0; i < issuer->ntyps; i++)
		issuer->typs[i] = TextDatumGetCString(values[i]);
}

static Issuer *
issuer_from_tuple(HeapTuple tuple, TupleDesc desc)
{
	Issuer	   *issuer = palloc0(sizeof(Issuer));
	bool		isnull;
	Datum		value;
	Interval   *lifetime;

	issuer->id = *DatumGetUUIDP(column(tuple, desc, ISSUERS_ID, &isnull));
	issuer->name = text_column(tuple, desc, ISSUERS_ISSUER);
	issuer->audience = text_column(tuple, desc, ISSUERS_AUDIENCE);
	issuer->algorithms = JwsAlgorithmSet(array_column(tuple, desc, ISSUERS_ALGORITHMS));
	issuer->tenant_claim = text_column(tuple, desc, ISSUERS_TENANT_CLAIM);
	issuer->subject_claim = text_column(tuple, desc, ISSUERS_SUBJECT_CLAIM);
	set_tenants(issuer, array_column(tuple, desc, ISSUERS_TENANT_IDS));
	issuer->tenant_claim_is = text_column(tuple, desc, ISSUERS_TENANT_CLAIM_IS);
	set_typs(issuer, array_column(tuple, desc, ISSUERS_TYP));
	value = column(tuple, desc, ISSUERS_REQUIRED_CLAIMS, &isnull);
	issuer->required_claims = isnull ? NULL : DatumGetJsonbPCopy(value);
	lifetime = DatumGetIntervalP(column(tuple, desc, ISSUERS_MAX_LIFETIME, &isnull));
	issuer->max_lifetime = IntervalSeconds(lifetime);
	issuer->scope_claim = text_column(tuple, desc, ISSUERS_SCOPE_CLAIM);
	issuer->id_tokens = DatumGetBool(column(tuple, desc, ISSUERS_ID_TOKENS, &isnull));
	return issuer;
}

/* The key of a row of issuer_keys, or NULL when its secret cannot be opened. */
static JwkKey *
key_from_tuple(const Issuer *issuer, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Jsonb	   *jwk = DatumGetJsonbPCopy(column(tuple, desc, KEYS_JWK, &isnull));
	Datum		wrapped = column(tuple, desc, KEYS_WRAPPED_SECRET, &isnull);
	uint8	   *secret = NULL;
	Size		secret_len = 0;
	JwkKey	   *key;
	uint8		named[BW_SHA256_LEN + UUID_LEN];

	if (!isnull)
	{
		bytea	   *blob = DatumGetByteaPP(wrapped);
		Size		len = VARSIZE_ANY_EXHDR(blob);
		char	   *context = ISSUER_WRAP_CONTEXT(issuer->name);

		secret_len = len - Min(len, WRAPPED_KEY_LEN(0));
		secret = SecretAlloc(CurrentMemoryContext, secret_len);
		if (!KeyringUnwrap((uint8 *) VARDATA_ANY(blob), len, context, strlen(context), secret, secret_len))
		{
			ereport(LOG,
					(errmsg("bulwark cannot open the secret of issuer \"%s\" with the root keys it has", issuer->name),
					 errhint("Provide the root key that it was stored under, or call bulwark.issuer_set_jwks() again.")));
			return NULL;
		}
	}
	key = JwkParse(jwk, issuer->algorithms, secret, secret_len);
	if (key == NULL)
		return NULL;
	memcpy(named, key->thumbprint, BW_SHA256_LEN);
	memcpy(named + BW_SHA256_LEN, DatumGetUUIDP(column(tuple, desc, KEYS_KEY_ID, &isnull)), UUID_LEN);
	bw_sha256(named, sizeof(named), key->proof);
	return key;
}

static List *
load_keys(const Issuer *issuer)
{
	Relation	rel = table_open(issuer_keys_relid, AccessShareLock);
	List	   *keys = NIL;
	ScanKeyData skey;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&skey, KEYS_ISSUER_ID, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(&issuer->id));
	scan = systable_beginscan(rel, PrivateRelid("issuer_keys_pkey"), true, NULL, 1, &skey);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		JwkKey	   *key = key_from_tuple(issuer, tuple, RelationGetDescr(rel));

		if (key)
			keys = lappend(keys, key);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return keys;
}

/*
 * Read one issuer by a unique column, with a snapshot of now: a transaction's
 * own may be older than the change that made us look.
 */
static const Issuer *
load_issuer(AttrNumber attno, RegProcedure equal, Datum value, const char *index)
{
	MemoryContext context;
	MemoryContext caller;
	Issuer	   *issuer = NULL;
	Relation	rel;
	ScanKeyData skey;
	SysScanDesc scan;
	HeapTuple	tuple;

	issuers_relid = PrivateRelid("issuers");
	issuer_keys_relid = PrivateRelid("issuer_keys");
	if (!OidIsValid(issuers_relid) || !OidIsValid(issuer_keys_relid))
		return NULL;

	/* moved under the cache once complete, so that an error leaves nothing */
	context = AllocSetContextCreate(CurrentMemoryContext, "bulwark issuer", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);

	rel = table_open(issuers_relid, AccessShareLock);
	ScanKeyInit(&skey, attno, BTEqualStrategyNumber, equal, value);
	scan = systable_beginscan(rel, PrivateRelid(index), true, NULL, 1, &skey);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		issuer = issuer_from_tuple(tuple, RelationGetDescr(rel));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (issuer)
		issuer->keys = load_keys(issuer);

	MemoryContextSwitchTo(caller);
	if (issuer == NULL)
	{
		MemoryContextDelete(context);
		return NULL;
	}
	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(TopMemoryContext, "bulwark issuers", ALLOCSET_SMALL_SIZES);
	MemoryContextSetParent(context, cache_context);
	dlist_push_head(&cache, &issuer->node);
	return issuer;
}

/*
 * Drop everything when something changed: an issuer, a key, or the root keys
 * that open secrets.  Only look-ups do this, so that no pointer that somebody
 * holds dangles when the invalidation arrives.
 */
static void
drop_stale(void)
{
	uint64		generation = KeyringGeneration();

	if (!cache_stale && cache_generation == generation)
		return;
	cache_stale = false;
	cache_generation = generation;
	dlist_init(&cache);
	if (cache_context)
		MemoryContextDeleteChildren(cache_context);
}

const Issuer *
IssuerByName(const char *name)
{
	dlist_iter	iter;

	drop_stale();
	dlist_foreach(iter, &cache)
	{
		Issuer	   *issuer = dlist_container(Issuer, node, iter.cur);

		if (strcmp(issuer->name, name) == 0)
		{
			dlist_move_head(&cache, &issuer->node);
			return issuer;
		}
	}
	return load_issuer(ISSUERS_ISSUER, F_TEXTEQ, CStringGetTextDatum(name), "issuers_issuer_key");
}

static const Issuer *
issuer_by_id(const pg_uuid_t *id)
{
	dlist_iter	iter;

	drop_stale();
	dlist_foreach(iter, &cache)
	{
		Issuer	   *issuer = dlist_container(Issuer, node, iter.cur);

		if (memcmp(&issuer->id, id, UUID_LEN) == 0)
		{
			dlist_move_head(&cache, &issuer->node);
			return issuer;
		}
	}
	return load_issuer(ISSUERS_ID, F_UUID_EQ, UUIDPGetDatum(id), "issuers_pkey");
}

bool
IssuerKeyValid(const pg_uuid_t *issuer_id, const uint8 key[ISSUER_KEY_LEN])
{
	const Issuer *issuer = issuer_by_id(issuer_id);
	ListCell   *cell;

	if (issuer == NULL)
		return false;
	foreach(cell, issuer->keys)
		if (memcmp(((JwkKey *) lfirst(cell))->proof, key, ISSUER_KEY_LEN) == 0)
			return true;
	return false;
}
