/*
 * tenancy.h
 *		Tenants, affiliations, principals, memberships, roles, and the
 *		protection of tables by them.
 */
#ifndef BULWARK_TENANCY_H
#define BULWARK_TENANCY_H

#include "base/base.h"
#include "session/session.h"

extern void TenancyInit(void);

/* --- member.c: memberships resolved, cached per back end ------------------- */
typedef struct Membership Membership;

/* What one (resource, action) gives an identity. */
typedef struct Grant
{
	bool		tenant_wide;	/* every row of the tenant */
	int			naffiliations;	/* else these, sorted by id */
	const pg_uuid_t *ids;
} Grant;

/* The grant in force for (resource, action), or NULL: no identity, no permission. */
extern const Grant *GrantFor(const char *resource, int resource_len,
							 const char *action, int action_len);

/* Does a permission pattern ("resource:action", * for either) cover it? */
extern bool PermissionCovers(const char *pattern, int pattern_len,
							 const char *resource, int resource_len,
							 const char *action, int action_len);

/* --- authority.c: may the caller administer? ------------------------------- */
typedef struct Authority
{
	bool		admin;			/* bulwark_admin (or superuser) */
	const EffectiveIdentity *actor;	/* else the identity in force, may be NULL */
} Authority;
extern Authority CallerAuthority(void);
/* 42501 unless bulwark_admin. */
extern void RequireAdmin(const char *what);
/* 42501 unless bulwark_admin, or the identity has the permission tenant-wide in
 * that tenant (affiliation NULL), or covering that affiliation. */
extern void RequireTenantPermission(const pg_uuid_t *tenant_id, const pg_uuid_t *affiliation_id,
									const char *resource, const char *action);

/* --- protection.c: what is protected (a cached registry) ------------------- */
typedef struct Protection
{
	Oid			relid;
	char		kind;			/* t tenant, a affiliation only (pinned), c child, s shared, i inherits another's */
	char		resource[NAMEDATALEN * 2];
	char		tenant_column[NAMEDATALEN];			/* "" if none */
	char		affiliation_column[NAMEDATALEN];	/* "" if none */
	Oid			parent;			/* child: its parent */
	Oid			root;			/* partition or inheritance child: the table that protect() was called for */
	bool		materialize;
} Protection;
extern const Protection *ProtectionOf(Oid relid);	/* NULL: not protected */
/* True while protect/unprotect/materialize run their own DDL. */
extern bool ProtectionWorking(void);
/* Bring policies, triggers and children of a protected table up to date. */
extern void ProtectionSync(Oid relid);
/* A new table: protect, warn or ignore, by bulwark.new_tables. */
extern void ProtectionConsiderNew(Oid relid);

#endif							/* BULWARK_TENANCY_H */
