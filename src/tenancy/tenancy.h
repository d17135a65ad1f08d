/*
 * tenancy.h
 *		Tenants, affiliations, principals, memberships, roles, and the
 *		protection of tables by them.
 */
#ifndef BULWARK_TENANCY_H
#define BULWARK_TENANCY_H

#include "base/base.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "session/session.h"
#include "utils/array.h"

extern void TenancyInit(void);
extern void MemberInit(void);
extern void MissingInit(void);
extern void ExplainInit(void);
extern void CursorInit(void);
extern void NoForceInit(void);

/* --- scan.c: reading our own tables ---------------------------------------- */
typedef struct PrivateScan
{
	Relation	rel;
	Oid			index;
	int			nkeys;
	ScanKeyData keys[3];
	struct PrivateBatch *batch;
	HeapTuple	tuple;			/* the current one, until the next */
	int			left;			/* that and those behind it, of one page */
} PrivateScan;
extern bool PrivateScanBegin(PrivateScan *scan, const char *table, const char *index);
extern void PrivateScanUuid(PrivateScan *scan, AttrNumber attno, const pg_uuid_t *value);
extern void PrivateScanText(PrivateScan *scan, AttrNumber attno, const char *value);
extern void PrivateScanName(PrivateScan *scan, AttrNumber attno, const char *value);
extern void PrivateScanOid(PrivateScan *scan, AttrNumber attno, Oid value);
extern bool PrivateScanFill(PrivateScan *scan);
/* The next row; false at the end. */
static inline bool
PrivateScanNext(PrivateScan *scan)
{
	if (scan->left > 1)
	{
		scan->left--;
		scan->tuple++;
		return true;
	}
	return PrivateScanFill(scan);
}
extern Datum PrivateScanGet(PrivateScan *scan, AttrNumber attno, bool *isnull);
/* The row as it is stored, as the server reads its catalogs: good for columns of
 * fixed length that no column before can shift by being NULL. */
#define PrivateScanRow(scan)			((const void *) GETSTRUCT((scan)->tuple))
#define PrivateScanIsNull(scan, attno) \
	(HeapTupleHasNulls((scan)->tuple) && att_isnull((attno) - 1, (scan)->tuple->t_data->t_bits))
extern void PrivateScanEnd(PrivateScan *scan);

/* Columns of our tables by number, in the order of tenancy.sql. */
enum
{
	Tenant_id = 1, Tenant_slug, Tenant_name, Tenant_key, Tenant_key_int8, Tenant_region, Tenant_suspended_at
};
enum
{
	Affiliation_id = 1, Affiliation_tenant, Affiliation_slug, Affiliation_name, Affiliation_key, Affiliation_key_int8
};
enum
{
	Parent_tenant = 1, Parent_affiliation, Parent_parent
};
enum
{
	Principal_id = 1, Principal_email, Principal_display_name, Principal_kind, Principal_generation, Principal_disabled_at
};
enum
{
	Link_issuer = 1, Link_subject, Link_principal
};
enum
{
	Role_id = 1, Role_tenant, Role_name, Role_permissions, Role_builtin
};
enum
{
	Member_id = 1, Member_principal, Member_tenant, Member_role, Member_affiliation, Member_expires_at
};
enum
{
	Generation_principal = 1, Generation_tenant, Generation_generation
};
enum
{
	Scope_role = 1, Scope_role_oid, Scope_tenant_ids
};

/* --- member.c: memberships resolved, cached per back end ------------------- */
typedef struct Membership Membership;

/*
 * What one (resource, action) gives an identity: every row of the tenant, or the
 * rows of these affiliations.  Valid until the next IdentityBump(): use it at
 * once, and never hold it over a call that may read tables.
 */
typedef struct Grant
{
	bool		tenant_wide;
	struct AffiliationSet *affiliations;	/* private to member.c and grant.c */
} Grant;

/* Is a row with that affiliation (its id, or its key) among them? */
extern bool GrantHasId(const Grant *grant, const pg_uuid_t *id);
extern bool GrantHasInt8(const Grant *grant, int64 key);
extern bool GrantHasText(const Grant *grant, const char *key, int len);
/* The affiliations as an array of uuid, int8 or text (keys). */
extern ArrayType *GrantArray(const Grant *grant, Oid element_type);

/* A digest of all that a membership gives: equal while nothing has changed. */
extern uint64 MembershipRights(const Membership *membership);

/* The tenant of a membership. */
extern const char *MembershipTenantKey(const Membership *membership);
extern bool MembershipTenantKeyInt8(const Membership *membership, int64 *key);

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
	char		kind;			/* t tenant, a affiliation only (pinned), c child, s shared */
	char		resource[NAMEDATALEN * 2];
	char		tenant_column[NAMEDATALEN];			/* "" if none */
	char		affiliation_column[NAMEDATALEN];	/* "" if none */
	Oid			parent;			/* child: its parent, ... */
	List	   *key_columns;	/* ... through these columns (char *), ... */
	List	   *parent_columns; /* ... which name these of the parent */
	Oid			root;			/* partition or inheritance child: the table that protect() was called for */
	bool		pinned;			/* kind a: pinned_tenant is set */
	pg_uuid_t	pinned_tenant;
	bool		materialize;
	bool		materialized;	/* the policies read the columns that materialize keeps */
	bool		automatic;		/* by bulwark.new_tables */
} Protection;
extern void ProtectionInit(void);
/* NULL: not protected.  A copy in the current memory context. */
extern const Protection *ProtectionOf(Oid relid);
/* The columns of the relation itself that say whose a row is, materialized ones
 * too; "" if none.  One that is being filled may still be NULL. */
extern void ProtectionColumns(const Protection *p, const char **tenant, const char **affiliation);
/* True while protect/unprotect/materialize run their own DDL. */
extern bool ProtectionWorking(void);
/* Is it how a policy or trigger of ours is named? */
extern bool ProtectionPartName(const char *name);
/* Bring policies, triggers and children of a protected table up to date. */
extern void ProtectionSync(Oid relid);
/* A new table: protect, warn or ignore, by bulwark.new_tables; a new partition
 * or inheritance child of a protected table is protected always. */
extern void ProtectionConsiderNew(Oid relid);
/* The protected tables that a rule, which the running command has just made, names. */
extern List *ProtectionRuleTargets(Oid rule);
/* The table is being dropped. */
extern void ProtectionForget(Oid relid);
/* A column of a protected table has another name now. */
extern void ProtectionColumnRenamed(Oid relid, const char *old_name, const char *new_name);
/* SQL (text) that yields the tenant of a row of relid, through parents where it
 * has no column of its own; alias is how the statement calls the row. */
extern char *ProtectionTenantExpr(Oid relid, const char *alias);

/* --- ddl.c: watching definitions ------------------------------------------- */
extern void DdlInit(void);

/* --- ddl_event.c: things that belong to a relation, for hooks --------------- */
typedef struct DdlPart
{
	const char *what;			/* policy, trigger, rule, constraint, ... */
	Oid			relid;
	NameData	name;			/* empty: an index */
	bool		internal;		/* a foreign key's trigger, say */
	bool		rewritten;		/* not the row that made it */
	char		enabled;		/* trigger */
	Oid			function;		/* trigger */
	Oid			referenced;		/* foreign key: the other table */
} DdlPart;
/*
 * Read the thing; false if its catalog has none under that snapshot, or if
 * things of this class belong to no relation.  NULL is as earlier commands left
 * it, SnapshotSelf as the running one has just written it.
 */
extern bool DdlReadPart(Oid classid, Oid objectid, Snapshot snapshot, DdlPart *part);

#endif							/* BULWARK_TENANCY_H */
