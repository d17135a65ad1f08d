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

/* One role that the principal holds, and where. */
typedef struct RoleReach
{
	pg_uuid_t	role_id;
	char	   *name;
	int			npatterns;
	char	  **patterns;
	bool		tenant_wide;
	int			naffiliations;
	int			capacity;
	pg_uuid_t  *affiliations;	/* as granted; expanded after loading */
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

/* Add to a role's affiliations; one may be there twice. */
extern void ReachAdd(RoleReach *reach, const pg_uuid_t *affiliation);

/* Start the cache anew at the next statement: it has grown enough. */
extern void MemberCacheRenew(void);

/* Does the principal hold any role in the whole tenant? */
extern bool MembershipAnyTenantWide(const Membership *membership);

/* support.c: drop cached plans that would be wrong for this membership. */
extern void PlansForMembership(const Membership *membership);

#endif							/* BULWARK_MEMBER_H */
