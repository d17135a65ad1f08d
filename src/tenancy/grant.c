/*
 * grant.c
 *		What a membership grants for one (resource, action): computed at first
 *		use, kept with the membership.  Affiliations are answered from hash sets,
 *		which all grants that come from one role share.
 */
#include "tenancy/member.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define GRANT_KEY_MAX		256
#define GRANTS_MAX			4096	/* of one membership, before the cache starts anew */
#define LOOKUPS_UNHASHED	4		/* a row or two are found sooner than a set is built */

typedef struct GrantEntry
{
	char		key[GRANT_KEY_MAX];
	bool		permitted;
	Grant		grant;
} GrantEntry;

/* Hash sets over affiliations, built when they are asked. */
#define SH_PREFIX		idset
#define SH_ELEMENT_TYPE	IdSetEntry
#define SH_KEY_TYPE		pg_uuid_t
#define SH_KEY			id
#define SH_HASH_KEY(tb, key)	((uint32) affiliation_hash(&(key), 0))
#define SH_EQUAL(tb, a, b)		(memcmp((a).data, (b).data, UUID_LEN) == 0)
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
typedef struct IdSetEntry
{
	pg_uuid_t	id;
	char		status;
} IdSetEntry;
#include "lib/simplehash.h"

#define SH_PREFIX		intset
#define SH_ELEMENT_TYPE	IntSetEntry
#define SH_KEY_TYPE		int64
#define SH_KEY			key
#define SH_HASH_KEY(tb, key)	((uint32) mix64((uint64) (key)))
#define SH_EQUAL(tb, a, b)		((a) == (b))
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
typedef struct IntSetEntry
{
	int64		key;
	char		status;
} IntSetEntry;
#include "lib/simplehash.h"

typedef struct KeyText
{
	const char *data;
	int			len;
} KeyText;
#define SH_PREFIX		textset
#define SH_ELEMENT_TYPE	TextSetEntry
#define SH_KEY_TYPE		KeyText
#define SH_KEY			key
#define SH_HASH_KEY(tb, key)	hash_bytes((const unsigned char *) (key).data, (key).len)
#define SH_EQUAL(tb, a, b)		((a).len == (b).len && memcmp((a).data, (b).data, (a).len) == 0)
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
typedef struct TextSetEntry
{
	KeyText		key;
	char		status;
} TextSetEntry;
#include "lib/simplehash.h"

bool
PermissionCovers(const char *pattern, int pattern_len, const char *resource, int resource_len,
				 const char *action, int action_len)
{
	const char *colon = memchr(pattern, ':', pattern_len);
	int			left;
	int			right;
	bool		any_resource;
	bool		any_action;

	if (colon == NULL)
		return false;
	left = colon - pattern;
	right = pattern_len - left - 1;
	any_resource = left == 1 && pattern[0] == '*';
	any_action = right == 1 && colon[1] == '*';

	if (!any_resource && !(left == resource_len && memcmp(pattern, resource, left) == 0))
		return false;
	if (!any_action && !(right == action_len && memcmp(colon + 1, action, right) == 0))
		return false;
	/* Reading every table is not reading the audit trail. */
	if (any_resource && !any_action && resource_len == 5 && memcmp(resource, "audit", 5) == 0)
		return false;
	return true;
}

static bool
patterns_cover(char **patterns, int npatterns, const char *resource, int resource_len,
			   const char *action, int action_len)
{
	for (int i = 0; i < npatterns; i++)
		if (PermissionCovers(patterns[i], strlen(patterns[i]), resource, resource_len, action, action_len))
			return true;
	return false;
}

/* The affiliations of two sets, in a set of its own. */
static AffiliationSet *
set_union(const AffiliationSet *a, const AffiliationSet *b)
{
	AffiliationSet *both = MemoryContextAllocZero(member_context, sizeof(AffiliationSet));

	both->tenant_id = a->tenant_id;
	both->n = both->capacity = a->n + b->n;
	both->ids = MemoryContextAllocHuge(member_context, both->n * sizeof(pg_uuid_t));
	memcpy(both->ids, a->ids, a->n * sizeof(pg_uuid_t));
	memcpy(both->ids + a->n, b->ids, b->n * sizeof(pg_uuid_t));
	return both;
}

static void
grant_compute(Membership *membership, GrantEntry *entry, const char *resource, int resource_len,
			  const char *action, int action_len)
{
	entry->permitted = false;
	memset(&entry->grant, 0, sizeof(entry->grant));
	if (membership->nscope >= 0 &&
		!patterns_cover(membership->scope, membership->nscope, resource, resource_len, action, action_len))
		return;

	for (int i = 0; i < membership->nroles; i++)
	{
		RoleReach  *reach = &membership->roles[i];

		if (!patterns_cover(reach->patterns, reach->npatterns, resource, resource_len, action, action_len))
			continue;
		entry->permitted = true;
		if (reach->tenant_wide)
		{
			entry->grant.tenant_wide = true;
			return;
		}
		entry->grant.affiliations = entry->grant.affiliations == NULL ? &reach->affiliations
			: set_union(entry->grant.affiliations, &reach->affiliations);
	}
}

const Grant *
GrantFor(const char *resource, int resource_len, const char *action, int action_len)
{
	const EffectiveIdentity *current = IdentityCurrent();
	Membership *membership;
	char		key[GRANT_KEY_MAX];
	GrantEntry *entry;
	bool		found;

	if (current == NULL || resource_len + action_len + 2 > GRANT_KEY_MAX)
		return NULL;
	membership = unconstify(Membership *, (const Membership *) current->membership);

	if (membership->grants == NULL)
	{
		HASHCTL		ctl;

		ctl.keysize = GRANT_KEY_MAX;
		ctl.entrysize = sizeof(GrantEntry);
		ctl.hcxt = member_context;
		membership->grants = hash_create("bulwark grants", 16, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	memcpy(key, resource, resource_len);
	key[resource_len] = ':';
	memcpy(key + resource_len + 1, action, action_len);
	key[resource_len + 1 + action_len] = '\0';

	entry = hash_search(membership->grants, key, HASH_FIND, NULL);
	if (entry == NULL)
	{
		GrantEntry	fresh;

		memset(&fresh, 0, sizeof(fresh));
		grant_compute(membership, &fresh, resource, resource_len, action, action_len);
		entry = hash_search(membership->grants, key, HASH_ENTER, &found);
		if (hash_get_num_entries(membership->grants) == GRANTS_MAX)
			MemberCacheRenew();
		entry->permitted = fresh.permitted;
		entry->grant = fresh.grant;
	}
	return entry->permitted ? &entry->grant : NULL;
}

static void
build_ids(AffiliationSet *set)
{
	idset_hash *ids = idset_create(member_context, Max(set->n, 2), NULL);
	bool		found;

	for (int i = 0; i < set->n; i++)
		idset_insert(ids, set->ids[i], &found);
	set->by_id = ids;
}

/* Read the keys of the affiliations into the two key sets. */
static void
load_keys(AffiliationSet *set)
{
	intset_hash *ints = intset_create(member_context, Max(set->n, 2), NULL);
	textset_hash *texts = textset_create(member_context, Max(set->n, 2), NULL);
	PrivateScan scan;
	bool		isnull;
	bool		found;

	if (set->by_id == NULL)
		build_ids(set);
	if (PrivateScanBegin(&scan, "affiliations", "affiliations_tenant_id_affiliation_id_key"))
	{
		PrivateScanUuid(&scan, Affiliation_tenant, &set->tenant_id);
		while (PrivateScanNext(&scan))
		{
			pg_uuid_t  *id = DatumGetUUIDP(PrivateScanGet(&scan, Affiliation_id, &isnull));
			Datum		value;
			KeyText		key;

			if (idset_lookup(set->by_id, *id) == NULL)
				continue;
			value = PrivateScanGet(&scan, Affiliation_key, &isnull);
			key.data = MemoryContextStrdup(member_context, TextDatumGetCString(value));
			key.len = strlen(key.data);
			textset_insert(texts, key, &found);
			value = PrivateScanGet(&scan, Affiliation_key_int8, &isnull);
			if (!isnull)
				intset_insert(ints, DatumGetInt64(value), &found);
		}
		PrivateScanEnd(&scan);
	}
	set->by_text = texts;
	set->by_int8 = ints;
}

bool
GrantHasId(const Grant *grant, const pg_uuid_t *id)
{
	AffiliationSet *set = grant->affiliations;

	if (grant->tenant_wide)
		return true;
	if (unlikely(set->by_id == NULL))
	{
		if (set->lookups++ < LOOKUPS_UNHASHED)
		{
			for (int i = 0; i < set->n; i++)
				if (memcmp(&set->ids[i], id, UUID_LEN) == 0)
					return true;
			return false;
		}
		build_ids(set);
	}
	return idset_lookup(set->by_id, *id) != NULL;
}

bool
GrantHasInt8(const Grant *grant, int64 key)
{
	if (grant->tenant_wide)
		return true;
	if (grant->affiliations->by_int8 == NULL)
		load_keys(grant->affiliations);
	return intset_lookup(grant->affiliations->by_int8, key) != NULL;
}

bool
GrantHasText(const Grant *grant, const char *key, int len)
{
	KeyText		probe = {key, len};

	if (grant->tenant_wide)
		return true;
	if (grant->affiliations->by_text == NULL)
		load_keys(grant->affiliations);
	return textset_lookup(grant->affiliations->by_text, probe) != NULL;
}

/* The tenant's affiliations, all of them. */
static ArrayType *
all_affiliations(const Membership *membership, Oid element_type)
{
	PrivateScan scan;
	ArrayBuildState *build = initArrayResult(element_type, CurrentMemoryContext, false);
	AttrNumber	attno = element_type == UUIDOID ? Affiliation_id :
		element_type == INT8OID ? Affiliation_key_int8 : Affiliation_key;

	if (PrivateScanBegin(&scan, "affiliations", "affiliations_tenant_id_affiliation_id_key"))
	{
		PrivateScanUuid(&scan, Affiliation_tenant, &membership->key.tenant_id);
		while (PrivateScanNext(&scan))
		{
			bool		isnull;
			Datum		value = PrivateScanGet(&scan, attno, &isnull);

			if (!isnull)
				accumArrayResult(build, value, false, element_type, CurrentMemoryContext);
		}
		PrivateScanEnd(&scan);
	}
	return DatumGetArrayTypeP(makeArrayResult(build, CurrentMemoryContext));
}

ArrayType *
GrantArray(const Grant *grant, Oid element_type)
{
	const EffectiveIdentity *current = IdentityCurrent();
	AffiliationSet *set = grant->affiliations;
	ArrayBuildState *build;

	if (grant->tenant_wide)
		return all_affiliations(current->membership, element_type);

	build = initArrayResult(element_type, CurrentMemoryContext, false);
	if (element_type == UUIDOID)
	{
		for (int i = 0; i < set->n; i++)
			accumArrayResult(build, UUIDPGetDatum(&set->ids[i]), false, UUIDOID, CurrentMemoryContext);
	}
	else if (element_type == INT8OID)
	{
		intset_iterator it;
		IntSetEntry *entry;

		if (set->by_int8 == NULL)
			load_keys(set);
		intset_start_iterate(set->by_int8, &it);
		while ((entry = intset_iterate(set->by_int8, &it)) != NULL)
			accumArrayResult(build, Int64GetDatum(entry->key), false, INT8OID, CurrentMemoryContext);
	}
	else
	{
		textset_iterator it;
		TextSetEntry *entry;

		if (set->by_text == NULL)
			load_keys(set);
		textset_start_iterate(set->by_text, &it);
		while ((entry = textset_iterate(set->by_text, &it)) != NULL)
			accumArrayResult(build, PointerGetDatum(cstring_to_text_with_len(entry->key.data, entry->key.len)),
							 false, TEXTOID, CurrentMemoryContext);
	}
	return DatumGetArrayTypeP(makeArrayResult(build, CurrentMemoryContext));
}
