/*
 * key_cache.c
 *		The tenant keys that this back end has opened: a bounded number, in memory
 *		that stays out of core dumps and, where the limit allows, of swap.
 *
 * A key is thrown away when another needs its room, and all are when the table of
 * keys changes, the ring of root keys does, or keys are destroyed anywhere in the
 * server.  The first reaches us as an invalidation message when it commits; the
 * last as a counter in shared memory at once, for what is destroyed outside the
 * database is destroyed whether its transaction commits or not.
 */
#include "secrets/keys.h"

#include "common/hashfn.h"
#include "port/atomics.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include <sys/mman.h>
#include <sys/resource.h>

#define SHARED_PIECE	"bulwark tenant keys"

typedef struct Shared
{
	pg_atomic_uint64 destructions;
} Shared;

typedef struct ById
{
	uint8		key_id[BW_ENVELOPE_KEY_ID_LEN];	/* hash key: first */
	CachedKey  *key;
} ById;

typedef struct ActiveTag
{
	pg_uuid_t	tenant_id;
	uint8		kind;
} ActiveTag;

typedef struct Active
{
	ActiveTag	tag;			/* hash key: first */
	CachedKey  *key;
} Active;

static Shared *shared = NULL;
static int	cache_size = 256;	/* bulwark.tenant_key_cache */

static CachedKey *slots = NULL;
static dlist_head used = DLIST_STATIC_INIT(used);
static dlist_head unused = DLIST_STATIC_INIT(unused);
static HTAB *by_id = NULL;
static HTAB *active = NULL;
static CachedKey *last_by_id = NULL;	/* of the latest answers */
static CachedKey *last_active[3] = {NULL};

static bool stale = false;
static uint64 seen_ring = 0;
static uint64 seen_destructions = 0;
static uint64 tenants_epoch = 1;
static Oid	keys_relid = InvalidOid;
static Oid	destructions_relid = InvalidOid;
static Oid	watched_relid = InvalidOid;

static void
relation_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == keys_relid || relid == destructions_relid)
		stale = true;
	if (relid == InvalidOid || relid == watched_relid)
		tenants_epoch++;
}

static int
kind_slot(KeyKind kind)
{
	return kind == KEY_DATA ? 0 : kind == KEY_INDEX ? 1 : 2;
}

/* --- memory ---------------------------------------------------------------------------- */

static Size
slots_size(int n)
{
	return mul_size(n, sizeof(CachedKey));
}

/* Pages of our own: apart from all that may be dumped, and gone with the process. */
static void
slots_make(void)
{
	Size		size = slots_size(cache_size);
	HASHCTL		id_ctl = {.keysize = BW_ENVELOPE_KEY_ID_LEN, .entrysize = sizeof(ById), .hcxt = TopMemoryContext};
	HASHCTL		active_ctl = {.keysize = sizeof(ActiveTag), .entrysize = sizeof(Active), .hcxt = TopMemoryContext};
	void	   *memory;

	if (by_id == NULL)
		by_id = hash_create("bulwark tenant keys by id", 64, &id_ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	if (active == NULL)
		active = hash_create("bulwark active tenant keys", 64, &active_ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map memory for tenant keys: %m")));
#ifdef MADV_DONTDUMP
	(void) madvise(memory, size, MADV_DONTDUMP);
#endif
	(void) mlock(memory, size);	/* the postmaster has warned if it cannot be */
	slots = memory;
	for (int i = cache_size - 1; i >= 0; i--)
		dlist_push_head(&unused, &slots[i].used);
}

static void
warn_of_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
		limit.rlim_cur < slots_size(cache_size))
		ereport(WARNING,
				(errmsg("the keys of tenants cannot be locked into memory"),
				 errdetail("A process of the server may lock %llu bytes, its keys take %zu.",
						   (unsigned long long) limit.rlim_cur, slots_size(cache_size)),
				 errhint("Raise the server's limit for locked memory (LimitMEMLOCK= of a systemd unit, ulimit -l), or lower bulwark.tenant_key_cache.")));
}

/* --- throwing away --------------------------------------------------------------------- */

static void
forget_latest(void)
{
	last_by_id = NULL;
	memset(last_active, 0, sizeof(last_active));
}

static void
slot_free(CachedKey *key)
{
	ActiveTag	tag;

	(void) hash_search(by_id, key->key.key_id, HASH_REMOVE, NULL);
	memset(&tag, 0, sizeof(tag));
	tag.tenant_id = key->key.tenant_id;
	tag.kind = (uint8) key->kind;
	if (key->active)
		(void) hash_search(active, &tag, HASH_REMOVE, NULL);
	dlist_delete(&key->used);
	bw_wipe(key, sizeof(*key));
	dlist_push_head(&unused, &key->used);
	forget_latest();
}

void
KeyCacheForget(void)
{
	dlist_mutable_iter iter;

	stale = false;
	dlist_foreach_modify(iter, &used)
		slot_free(dlist_container(CachedKey, used, iter.cur));
}

void
KeyCacheForgetEverywhere(void)
{
	pg_atomic_fetch_add_u64(&shared->destructions, 1);
}

/* Before any look-up: is what is here still good? */
static inline void
freshen(void)
{
	uint64		ring = KeyringGeneration();
	uint64		destructions = pg_atomic_read_u64(&shared->destructions);

	if (likely(!stale && ring == seen_ring && destructions == seen_destructions))
		return;
	KeyCacheForget();
	seen_ring = ring;
	seen_destructions = destructions;
}

/* --- finding and adding ------------------------------------------------------------------ */

static CachedKey *
touch(CachedKey *key)
{
	dlist_move_head(&used, &key->used);
	return key;
}

CachedKey *
KeyCacheById(const uint8 key_id[BW_ENVELOPE_KEY_ID_LEN])
{
	ById	   *found;

	freshen();
	if (last_by_id != NULL && memcmp(last_by_id->key.key_id, key_id, BW_ENVELOPE_KEY_ID_LEN) == 0)
		return last_by_id;
	found = slots ? hash_search(by_id, key_id, HASH_FIND, NULL) : NULL;
	return found ? last_by_id = touch(found->key) : NULL;
}

CachedKey *
KeyCacheActive(const pg_uuid_t *tenant_id, KeyKind kind)
{
	CachedKey **last = &last_active[kind_slot(kind)];
	ActiveTag	tag;
	Active	   *found;

	freshen();
	if (*last != NULL && memcmp(&(*last)->key.tenant_id, tenant_id, UUID_LEN) == 0)
		return *last;
	memset(&tag, 0, sizeof(tag));
	tag.tenant_id = *tenant_id;
	tag.kind = (uint8) kind;
	found = slots ? hash_search(active, &tag, HASH_FIND, NULL) : NULL;
	return found ? *last = touch(found->key) : NULL;
}

CachedKey *
KeyCacheRoom(void)
{
	CachedKey  *key;

	/* before the table is read: what changes meanwhile makes us read again */
	keys_relid = PrivateRelid(TENANT_KEY_TABLE);
	destructions_relid = PrivateRelid("tenant_key_destructions");
	watched_relid = PrivateRelid(WATCHED_RELATION);
	if (slots == NULL)
		slots_make();
	freshen();
	if (dlist_is_empty(&unused))
		slot_free(dlist_tail_element(CachedKey, used, &used));
	key = dlist_head_element(CachedKey, used, &unused);
	key->active = false;
	return key;
}

void
KeyCacheAdd(CachedKey *key)
{
	ById	   *named = hash_search(by_id, key->key.key_id, HASH_ENTER, NULL);

	named->key = key;
	if (key->active)
	{
		ActiveTag	tag;
		Active	   *entry;

		memset(&tag, 0, sizeof(tag));
		tag.tenant_id = key->key.tenant_id;
		tag.kind = (uint8) key->kind;
		entry = hash_search(active, &tag, HASH_ENTER, NULL);
		entry->key = key;
	}
	dlist_delete(&key->used);
	dlist_push_head(&used, &key->used);
}

uint64
KeyCacheTenants(void)
{
	return tenants_epoch;
}

static void
shared_init(void *piece)
{
	shared = piece;
	pg_atomic_init_u64(&shared->destructions, 1);
}

void
KeyCacheInit(void)
{
	DefineCustomIntVariable("bulwark.tenant_key_cache",
							"Number of tenant keys that each back end keeps opened.",
							NULL, &cache_size, 256, 16, 65536,
							PGC_POSTMASTER, GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	warn_of_limit();
	ShmemPieceRequest(SHARED_PIECE, sizeof(Shared), (void **) &shared, shared_init);
	RelationWatch(relation_changed);
}
