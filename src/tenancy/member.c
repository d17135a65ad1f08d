/*
 * member.c
 *		Memberships resolved: what an identity may do, and where.
 *
 * A membership is read once per change and back end, with a fresh snapshot, and
 * kept by (principal, tenant, scope).  Any change of the tables it comes from
 * arrives as a relcache invalidation and drops the whole cache at the next use;
 * nothing is freed at any other moment.
 */
#include "tenancy/member.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#define CACHE_MAX_LOADS	1024	/* memberships read before the cache starts anew */

MemoryContext member_context = NULL;

static HTAB *member_cache = NULL;
static HTAB *name_cache = NULL;
static bool cache_valid = false;
static int	cache_loads = 0;
static Oid	watched_relid = InvalidOid;

/* --- loading ------------------------------------------------------------------- */

static inline void
set_add(AffiliationSet *set, const pg_uuid_t *affiliation)
{
	if (set->n == set->capacity)
	{
		set->capacity = set->capacity ? set->capacity * 2 : 16;
		set->ids = set->ids
			? repalloc_huge(set->ids, set->capacity * sizeof(pg_uuid_t))
			: MemoryContextAlloc(member_context, set->capacity * sizeof(pg_uuid_t));
	}
	set->ids[set->n++] = *affiliation;
}

/* A row of affiliation_parents as it is stored. */
typedef struct ParentRow
{
	pg_uuid_t	tenant_id;
	pg_uuid_t	affiliation_id;
	pg_uuid_t	parent_id;
} ParentRow;

/* A child, and the next with the same parent (-1: none). */
typedef struct TreeEdge
{
	pg_uuid_t	child;
	int			next;
} TreeEdge;

typedef struct TreeNode
{
	pg_uuid_t	parent;			/* hash key */
	char		status;
	bool		followed;		/* in the expansion that runs */
	int			first;			/* of its edges */
} TreeNode;

#define SH_PREFIX		tree
#define SH_ELEMENT_TYPE	TreeNode
#define SH_KEY_TYPE		pg_uuid_t
#define SH_KEY			parent
#define SH_HASH_KEY(tb, key)	((uint32) affiliation_hash(&(key), 0))
#define SH_EQUAL(tb, a, b)		(memcmp((a).data, (b).data, UUID_LEN) == 0)
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct Tree
{
	bool		loaded;
	tree_hash  *nodes;			/* that have children; NULL: there is none */
	int			nedges;
	int			capacity;
	TreeEdge   *edges;
} Tree;

/* The tenant's tree, in the current memory context. */
static void
tree_load(Tree *tree, const pg_uuid_t *tenant_id)
{
	PrivateScan scan;
	TreeNode   *node = NULL;

	tree->loaded = true;
	if (!PrivateScanBegin(&scan, "affiliation_parents", "affiliation_parents_tenant_id_parent_id_idx"))
		return;
	PrivateScanUuid(&scan, Parent_tenant, tenant_id);
	while (PrivateScanNext(&scan))
	{
		const ParentRow *row = PrivateScanRow(&scan);
		bool		found = true;

		if (tree->nedges == tree->capacity)
		{
			tree->capacity = tree->capacity ? tree->capacity * 2 : 64;
			tree->edges = tree->edges ? repalloc_huge(tree->edges, tree->capacity * sizeof(TreeEdge))
				: palloc(tree->capacity * sizeof(TreeEdge));
		}
		if (tree->nodes == NULL)
			tree->nodes = tree_create(CurrentMemoryContext, 64, NULL);
		/* siblings come one after the other */
		if (node == NULL || memcmp(&node->parent, &row->parent_id, UUID_LEN) != 0)
			node = tree_insert(tree->nodes, row->parent_id, &found);
		tree->edges[tree->nedges].child = row->affiliation_id;
		tree->edges[tree->nedges].next = found ? node->first : -1;
		node->first = tree->nedges++;
	}
	PrivateScanEnd(&scan);
}

/*
 * Add the descendants of every affiliation granted.  A node is followed once,
 * whatever the tree looks like.
 */
static void
set_expand(AffiliationSet *set, Tree *tree)
{
	tree_iterator it;
	TreeNode   *node;

	if (tree->nodes == NULL)
		return;
	tree_start_iterate(tree->nodes, &it);
	while ((node = tree_iterate(tree->nodes, &it)) != NULL)
		node->followed = false;

	for (int i = 0; i < set->n; i++)
	{
		node = tree_lookup(tree->nodes, set->ids[i]);
		if (node == NULL || node->followed)
			continue;
		node->followed = true;
		for (int edge = node->first; edge >= 0; edge = tree->edges[edge].next)
			set_add(set, &tree->edges[edge].child);
	}
}

static bool
load_role(RoleReach *reach, const pg_uuid_t *tenant_id)
{
	PrivateScan scan;
	bool		found = false;
	bool		isnull;
	Datum	   *items;
	Datum		tenant;

	if (!PrivateScanBegin(&scan, "roles", "roles_pkey"))
		return false;
	PrivateScanUuid(&scan, Role_id, &reach->role_id);
	if (PrivateScanNext(&scan))
	{
		tenant = PrivateScanGet(&scan, Role_tenant, &isnull);
		found = isnull || memcmp(DatumGetUUIDP(tenant), tenant_id, UUID_LEN) == 0;
	}
	if (found)
	{
		MemoryContext old = MemoryContextSwitchTo(member_context);

		reach->name = TextDatumGetCString(PrivateScanGet(&scan, Role_name, &isnull));
		deconstruct_array(DatumGetArrayTypeP(PrivateScanGet(&scan, Role_permissions, &isnull)),
						  TEXTOID, -1, false, TYPALIGN_INT, &items, NULL, &reach->npatterns);
		reach->patterns = palloc(sizeof(char *) * (reach->npatterns + 1));
		for (int i = 0; i < reach->npatterns; i++)
			reach->patterns[i] = TextDatumGetCString(items[i]);
		MemoryContextSwitchTo(old);
	}
	PrivateScanEnd(&scan);
	return found;
}

/* A row of memberships as it is stored. */
typedef struct MemberRow
{
	pg_uuid_t	membership_id;
	pg_uuid_t	principal_id;
	pg_uuid_t	tenant_id;
	pg_uuid_t	role_id;
	pg_uuid_t	affiliation_id; /* if it is not NULL: nothing stands behind it here */
} MemberRow;

/* When the membership of the current row ends: DT_NOEND if it does not. */
static inline TimestampTz
row_expiry(PrivateScan *scan)
{
	bool		isnull;

	if (PrivateScanIsNull(scan, Member_expires_at))
		return DT_NOEND;
	return DatumGetTimestampTz(PrivateScanGet(scan, Member_expires_at, &isnull));
}

static RoleReach *
role_reach(Membership *membership, const pg_uuid_t *role_id)
{
	RoleReach  *reach;

	for (int i = 0; i < membership->nroles; i++)
		if (memcmp(&membership->roles[i].role_id, role_id, UUID_LEN) == 0)
			return &membership->roles[i];

	membership->roles = membership->roles
		? repalloc(membership->roles, (membership->nroles + 1) * sizeof(RoleReach))
		: MemoryContextAlloc(member_context, sizeof(RoleReach));
	reach = &membership->roles[membership->nroles++];
	memset(reach, 0, sizeof(*reach));
	reach->role_id = *role_id;
	reach->affiliations.tenant_id = membership->key.tenant_id;
	return reach;
}

/* Read the rows of (principal, tenant); those that have expired do not count. */
static void
load_memberships(Membership *membership)
{
	PrivateScan scan;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next_expiry = DT_NOEND;
	RoleReach  *reach = NULL;
	Tree		tree = {false};
	int			kept = 0;

	if (!PrivateScanBegin(&scan, "memberships", "memberships_member_idx"))
		return;
	PrivateScanUuid(&scan, Member_principal, &membership->key.principal_id);
	PrivateScanUuid(&scan, Member_tenant, &membership->key.tenant_id);
	while (PrivateScanNext(&scan))
	{
		const MemberRow *row = PrivateScanRow(&scan);
		TimestampTz expiry = row_expiry(&scan);

		if (expiry <= now)
			continue;
		next_expiry = Min(next_expiry, expiry);
		if (reach == NULL || memcmp(&reach->role_id, &row->role_id, UUID_LEN) != 0)
			reach = role_reach(membership, &row->role_id);
		if (PrivateScanIsNull(&scan, Member_affiliation))
			reach->tenant_wide = true;
		else
			set_add(&reach->affiliations, &row->affiliation_id);
	}
	PrivateScanEnd(&scan);
	membership->next_expiry = next_expiry;

	for (int i = 0; i < membership->nroles; i++)
	{
		reach = &membership->roles[i];
		if (!load_role(reach, &membership->key.tenant_id))
			continue;
		if (reach->tenant_wide)
			reach->affiliations.n = 0;
		else
		{
			if (!tree.loaded)
				tree_load(&tree, &membership->key.tenant_id);
			set_expand(&reach->affiliations, &tree);
		}
		membership->roles[kept++] = *reach;
	}
	membership->nroles = kept;
}

/* Principal enabled?  Fills generation and e-mail. */
static bool
load_principal(const pg_uuid_t *principal_id, int64 *generation, char **email)
{
	PrivateScan scan;
	MemoryContext old;
	bool		enabled = false;
	bool		isnull;

	if (!PrivateScanBegin(&scan, "principals", "principals_pkey"))
		return false;
	PrivateScanUuid(&scan, Principal_id, principal_id);
	if (PrivateScanNext(&scan))
	{
		(void) PrivateScanGet(&scan, Principal_disabled_at, &isnull);
		enabled = isnull;
		*generation = DatumGetInt64(PrivateScanGet(&scan, Principal_generation, &isnull));
		old = MemoryContextSwitchTo(member_context);
		*email = TextDatumGetCString(PrivateScanGet(&scan, Principal_email, &isnull));
		MemoryContextSwitchTo(old);
	}
	PrivateScanEnd(&scan);
	return enabled;
}

static int64
load_member_generation(const pg_uuid_t *principal_id, const pg_uuid_t *tenant_id)
{
	PrivateScan scan;
	int64		generation = 0;
	bool		isnull;

	if (!PrivateScanBegin(&scan, "member_generations", "member_generations_pkey"))
		return -1;
	PrivateScanUuid(&scan, Generation_principal, principal_id);
	PrivateScanUuid(&scan, Generation_tenant, tenant_id);
	if (PrivateScanNext(&scan))
		generation = DatumGetInt64(PrivateScanGet(&scan, Generation_generation, &isnull));
	PrivateScanEnd(&scan);
	return generation;
}

/* Pinned to another tenant? */
static bool
pinned_elsewhere(const pg_uuid_t *tenant_id)
{
	PrivateScan scan;
	bool		elsewhere = false;
	bool		isnull;

	if (!PrivateScanBegin(&scan, "pinned_tenant", "pinned_tenant_pkey"))
		return true;
	if (PrivateScanNext(&scan))
		elsewhere = memcmp(DatumGetUUIDP(PrivateScanGet(&scan, 2, &isnull)), tenant_id, UUID_LEN) != 0;
	PrivateScanEnd(&scan);
	return elsewhere;
}

/* Tenant active, and not shut out by a pin?  Fills its names. */
static bool
load_tenant(Membership *membership)
{
	PrivateScan scan;
	bool		active = false;
	bool		isnull;

	if (!PrivateScanBegin(&scan, "tenants", "tenants_pkey"))
		return false;
	PrivateScanUuid(&scan, Tenant_id, &membership->key.tenant_id);
	if (PrivateScanNext(&scan))
	{
		MemoryContext old = MemoryContextSwitchTo(member_context);
		Datum		key_int8;

		(void) PrivateScanGet(&scan, Tenant_suspended_at, &isnull);
		active = isnull;
		membership->tenant_slug = TextDatumGetCString(PrivateScanGet(&scan, Tenant_slug, &isnull));
		membership->tenant_key = TextDatumGetCString(PrivateScanGet(&scan, Tenant_key, &isnull));
		key_int8 = PrivateScanGet(&scan, Tenant_key_int8, &isnull);
		membership->has_key_int8 = !isnull;
		membership->key_int8 = isnull ? 0 : DatumGetInt64(key_int8);
		MemoryContextSwitchTo(old);
	}
	PrivateScanEnd(&scan);
	return active && !pinned_elsewhere(&membership->key.tenant_id);
}

static void
load_scope(Membership *membership, const Identity *identity)
{
	char	   *copy;
	char	   *save = NULL;

	membership->nscope = -1;
	if (!identity->scoped)
		return;
	copy = MemoryContextStrdup(member_context, identity->scope);
	membership->scope = MemoryContextAlloc(member_context, sizeof(char *) * (strlen(copy) / 2 + 1));
	membership->nscope = 0;
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		membership->scope[membership->nscope++] = word;
}

/* What the roles give; in which order rows were read does not count. */
static uint64
rights_digest(const Membership *membership)
{
	uint64		digest = hash_bytes_extended((const unsigned char *) &membership->key, sizeof(MemberKey),
											 membership->member_generation);

	for (int i = 0; i < membership->nroles; i++)
	{
		const RoleReach *reach = &membership->roles[i];
		uint64		role;

		role = hash_bytes_extended(reach->role_id.data, UUID_LEN, reach->tenant_wide);
		for (int j = 0; j < reach->npatterns; j++)
			role = hash_bytes_extended((const unsigned char *) reach->patterns[j],
									   strlen(reach->patterns[j]) + 1, role);
		digest += role;
		for (int j = 0; j < reach->affiliations.n; j++)
			digest += affiliation_hash(&reach->affiliations.ids[j], role);
	}
	return digest;
}

uint64
MembershipRights(const Membership *membership)
{
	return membership->rights;
}

static bool
load(Membership *membership, const Identity *identity)
{
	membership->next_expiry = DT_NOEND;
	load_scope(membership, identity);
	if (!load_principal(&membership->key.principal_id, &membership->principal_generation, &membership->email) ||
		!load_tenant(membership))
		return false;
	membership->member_generation = load_member_generation(&membership->key.principal_id,
														   &membership->key.tenant_id);
	load_memberships(membership);
	membership->rights = rights_digest(membership);
	return membership->nroles > 0;
}

/*
 * What a token names, found before: the principal of (issuer, subject), the
 * tenant of a slug, key or id.
 */
typedef struct NamedId
{
	uint8		digest[BW_SHA256_LEN];	/* hash key: first */
	pg_uuid_t	id;
} NamedId;

/* --- the cache --------------------------------------------------------------------- */

static void
member_relcache_callback(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == watched_relid || !OidIsValid(watched_relid))
	{
		cache_valid = false;
		IdentityBump();
	}
}

void
MemberCacheRenew(void)
{
	cache_loads = CACHE_MAX_LOADS;
}

static void
cache_prepare(void)
{
	HASHCTL		ctl;

	if (cache_valid && cache_loads < CACHE_MAX_LOADS)
		return;

	if (member_context == NULL)
		member_context = AllocSetContextCreate(CacheMemoryContext, "bulwark memberships",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(member_context);
	IdentityBump();
	ctl.keysize = sizeof(MemberKey);
	ctl.entrysize = sizeof(Membership);
	ctl.hcxt = member_context;
	member_cache = hash_create("bulwark memberships", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.keysize = BW_SHA256_LEN;
	ctl.entrysize = sizeof(NamedId);
	name_cache = hash_create("bulwark names", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	watched_relid = PrivateRelid(WATCHED_RELATION);
	cache_loads = 0;
	/* before anything is read: an invalidation meanwhile must win */
	cache_valid = true;
}

/* The membership of (principal, tenant, scope), whatever the generations. */
static Membership *
member_lookup(const Identity *identity)
{
	MemberKey	key;
	Membership *membership;
	Membership	fresh;
	bool		found;

	memset(&key, 0, sizeof(key));
	key.principal_id = identity->principal_id;
	key.tenant_id = identity->tenant_id;
	if (identity->scoped)
		bw_sha256(identity->scope, strlen(identity->scope), key.scope_digest);

	cache_prepare();
	membership = hash_search(member_cache, &key, HASH_FIND, NULL);
	if (membership != NULL && GetCurrentTimestamp() < membership->next_expiry)
		return membership;

	memset(&fresh, 0, sizeof(fresh));
	fresh.key = key;
	cache_loads++;
	if (!load(&fresh, identity))
	{
		if (membership != NULL)
			hash_search(member_cache, &key, HASH_REMOVE, NULL);
		return NULL;
	}
	membership = hash_search(member_cache, &key, HASH_ENTER, &found);
	*membership = fresh;
	return membership;
}

static const void *
member_resolve(const Identity *identity)
{
	Membership *membership = member_lookup(identity);

	if (membership == NULL ||
		membership->principal_generation != identity->principal_generation ||
		membership->member_generation != identity->member_generation)
		return NULL;
	PlansForMembership(membership);
	return membership;
}

bool
MembershipAnyTenantWide(const Membership *membership)
{
	for (int i = 0; i < membership->nroles; i++)
		if (membership->roles[i].tenant_wide)
			return true;
	return false;
}

const char *
MembershipTenantKey(const Membership *membership)
{
	return membership->tenant_key;
}

bool
MembershipTenantKeyInt8(const Membership *membership, int64 *key)
{
	*key = membership->key_int8;
	return membership->has_key_int8;
}

/* --- what the session room asks --------------------------------------------------- */

static void
name_digest(char kind, const char *space, const char *name, uint8 digest[BW_SHA256_LEN])
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, kind);
	appendBinaryStringInfo(&buf, space, strlen(space) + 1);
	appendStringInfoString(&buf, name);
	bw_sha256(buf.data, buf.len, digest);
	pfree(buf.data);
}

/* Found before, and nothing has changed since? */
static bool
name_recall(const uint8 digest[BW_SHA256_LEN], pg_uuid_t *id)
{
	NamedId    *named;

	cache_prepare();
	named = hash_search(name_cache, digest, HASH_FIND, NULL);
	if (named != NULL)
		*id = named->id;
	return named != NULL;
}

static void
name_remember(const uint8 digest[BW_SHA256_LEN], const pg_uuid_t *id)
{
	bool		found;
	NamedId    *named = hash_search(name_cache, digest, HASH_ENTER, &found);

	named->id = *id;
	cache_loads++;
}

static bool
member_find_subject(const char *issuer, const char *subject, Identity *identity)
{
	PrivateScan scan;
	uint8		digest[BW_SHA256_LEN];
	bool		found = false;
	bool		isnull;

	name_digest('s', issuer, subject, digest);
	if (name_recall(digest, &identity->principal_id))
		return true;
	if (!PrivateScanBegin(&scan, "principal_links", "principal_links_pkey"))
		return false;
	PrivateScanText(&scan, Link_issuer, issuer);
	PrivateScanText(&scan, Link_subject, subject);
	if (PrivateScanNext(&scan))
	{
		identity->principal_id = *DatumGetUUIDP(PrivateScanGet(&scan, Link_principal, &isnull));
		name_remember(digest, &identity->principal_id);
		found = true;
	}
	PrivateScanEnd(&scan);
	return found;
}

/* The tenant of all the principal's memberships, if it is one. */
static bool
only_tenant(Identity *identity)
{
	PrivateScan scan;
	TimestampTz now = GetCurrentTimestamp();
	int			tenants = 0;

	if (!PrivateScanBegin(&scan, "memberships", "memberships_member_idx"))
		return false;
	PrivateScanUuid(&scan, Member_principal, &identity->principal_id);
	while (tenants < 2 && PrivateScanNext(&scan))
	{
		const MemberRow *row = PrivateScanRow(&scan);

		if (row_expiry(&scan) <= now)
			continue;
		if (tenants == 0 || memcmp(&row->tenant_id, &identity->tenant_id, UUID_LEN) != 0)
		{
			identity->tenant_id = row->tenant_id;
			tenants++;
		}
	}
	PrivateScanEnd(&scan);
	return tenants == 1;
}

/* Text that is a uuid in the one canonical spelling? */
static bool
parse_uuid(const char *text, pg_uuid_t *uuid)
{
	uint8		bytes[UUID_LEN];
	char		hex[UUID_LEN * 2];
	int			n = 0;

	if (strlen(text) != 36)
		return false;
	for (int i = 0; i < 36; i++)
	{
		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (text[i] != '-')
				return false;
		}
		else
			hex[n++] = text[i];
	}
	if (!bw_hex_decode(hex, sizeof(hex), bytes, UUID_LEN))
		return false;
	memcpy(uuid->data, bytes, UUID_LEN);
	return true;
}

static bool
member_find_tenant(const char *how, const char *value, Identity *identity)
{
	PrivateScan scan;
	bool		found = false;
	bool		isnull;
	bool		by_id = strcmp(how, "id") == 0;
	bool		by_key = strcmp(how, "key") == 0;
	pg_uuid_t	id;
	uint8		digest[BW_SHA256_LEN];

	if (value == NULL)
		return only_tenant(identity);
	if (by_id && !parse_uuid(value, &id))
		return false;
	name_digest('t', how, value, digest);
	if (name_recall(digest, &identity->tenant_id))
		return true;
	if (!PrivateScanBegin(&scan, "tenants", by_id ? "tenants_pkey" : by_key ? "tenants_key_key" : "tenants_slug_key"))
		return false;
	if (by_id)
		PrivateScanUuid(&scan, Tenant_id, &id);
	else
		PrivateScanText(&scan, by_key ? Tenant_key : Tenant_slug, value);
	if (PrivateScanNext(&scan))
	{
		identity->tenant_id = *DatumGetUUIDP(PrivateScanGet(&scan, Tenant_id, &isnull));
		name_remember(digest, &identity->tenant_id);
		found = true;
	}
	PrivateScanEnd(&scan);
	return found;
}

static bool
member_load_generations(Identity *identity)
{
	Membership *membership = member_lookup(identity);

	if (membership == NULL)
		return false;
	identity->principal_generation = membership->principal_generation;
	identity->member_generation = membership->member_generation;
	return true;
}

/* Is the limit one of a role that is not (any more) in this cluster? */
static bool
scope_is_by_name(PrivateScan *scan)
{
	bool		isnull;
	Datum		role = PrivateScanGet(scan, Scope_role_oid, &isnull);

	return isnull || !SearchSysCacheExists1(AUTHOID, role);
}

/* Does the limit include the tenant? */
static bool
scope_includes(PrivateScan *scan, const pg_uuid_t *tenant_id)
{
	Datum	   *tenants;
	int			ntenants;
	bool		isnull;

	deconstruct_array(DatumGetArrayTypeP(PrivateScanGet(scan, Scope_tenant_ids, &isnull)),
					  UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &tenants, NULL, &ntenants);
	for (int i = 0; i < ntenants; i++)
		if (memcmp(DatumGetUUIDP(tenants[i]), tenant_id, UUID_LEN) == 0)
			return true;
	return false;
}

static bool
member_service_allows(Oid login, const pg_uuid_t *tenant_id)
{
	PrivateScan scan;
	bool		allowed = true; /* no row: no limit */
	bool		found;

	if (!PrivateScanBegin(&scan, "service_scopes", "service_scopes_oid_idx"))
		return false;
	PrivateScanOid(&scan, Scope_role_oid, login);
	found = PrivateScanNext(&scan);
	if (found)
		allowed = scope_includes(&scan, tenant_id);
	PrivateScanEnd(&scan);
	if (found || !PrivateScanBegin(&scan, "service_scopes", "service_scopes_role_idx"))
		return allowed;

	PrivateScanName(&scan, Scope_role, GetUserNameFromId(login, false));
	while (allowed && PrivateScanNext(&scan))
		if (scope_is_by_name(&scan))
			allowed = scope_includes(&scan, tenant_id);
	PrivateScanEnd(&scan);
	return allowed;
}

static int
name_compare(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

static void
member_describe(const Identity *identity, const void *resolved, char **email, char **tenant_slug, List **roles)
{
	const Membership *membership = resolved;

	*email = pstrdup(membership->email);
	*tenant_slug = pstrdup(membership->tenant_slug);
	*roles = NIL;
	for (int i = 0; i < membership->nroles; i++)
		*roles = lappend(*roles, pstrdup(membership->roles[i].name));
	list_sort(*roles, name_compare);
}

static const MembershipOps member_ops = {
	.resolve = member_resolve,
	.find_subject = member_find_subject,
	.find_tenant = member_find_tenant,
	.load_generations = member_load_generations,
	.service_allows = member_service_allows,
	.describe = member_describe
};

void
MemberInit(void)
{
	RelationWatch(member_relcache_callback);
	MembershipRegister(&member_ops);
}
