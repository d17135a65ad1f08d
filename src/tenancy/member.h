/*
 * member.h
 *		Private to member.c and grant.c: a membership as it is kept in memory.
 */
#ifndef BULWARK_MEMBER_H
#define BULWARK_MEMBER_H

#include "tenancy/tenancy.h"

#include "common/common.h"
#include "utils/hsearch.h"

typedef struct MemberKey
{
	pg_uuid_t	principal_id;
	pg_uuid_t	tenant_id;
	uint8		scope_digest[BW_SHA256_LEN];	/* zero: no scope */
} MemberKey;

/* Some of a tenant's affiliations: a list, and hash sets that grant.c builds when
 * they are asked. */
typedef struct AffiliationSet
{
	pg_uuid_t	tenant_id;
	int			n;
	int			capacity;
	pg_uuid_t  *ids;			/* one may be there twice */
	int			lookups;		/* of ids, before they had a set */
	struct idset_hash *by_id;
	struct intset_hash *by_int8;
	struct textset_hash *by_text;
} AffiliationSet;

/* One role that the principal holds, and where. */
typedef struct RoleReach
{
	pg_uuid_t	role_id;
	char	   *name;
	int			npatterns;
	char	  **patterns;
	bool		tenant_wide;
	AffiliationSet affiliations;	/* as granted; expanded after loading */
} RoleReach;

struct Membership
{
	MemberKey	key;			/* hash key: first */
	int64		principal_generation;
	int64		member_generation;
	uint64		rights;			/* a digest of the roles below */
	TimestampTz next_expiry;
	char	   *email;
	char	   *tenant_slug;
	char	   *tenant_key;
	bool		has_key_int8;
	int64		key_int8;
	int			nscope;			/* -1: no scope */
	char	  **scope;
	int			nroles;
	RoleReach  *roles;
	HTAB	   *grants;
};

/* Where memberships and grants live; reset by member.c only. */
extern MemoryContext member_context;

/* Finalizer of MurmurHash3, for keys of fixed size. */
static inline uint64
mix64(uint64 h)
{
	h ^= h >> 33;
	h *= UINT64CONST(0xff51afd7ed558ccd);
	h ^= h >> 33;
	h *= UINT64CONST(0xc4ceb9fe1a85ec53);
	return h ^ (h >> 33);
}

static inline uint64
affiliation_hash(const pg_uuid_t *id, uint64 seed)
{
	uint64		half[2];

	memcpy(half, id->data, UUID_LEN);
	return mix64(half[0] ^ (half[1] * UINT64CONST(0x9E3779B97F4A7C15)) ^ seed);
}

/* Start the cache anew at the next statement: it has grown enough. */
extern void MemberCacheRenew(void);

/* Does the principal hold any role in the whole tenant? */
extern bool MembershipAnyTenantWide(const Membership *membership);

/* support.c: drop cached plans that would be wrong for this membership. */
extern void PlansForMembership(const Membership *membership);

#endif							/* BULWARK_MEMBER_H */
