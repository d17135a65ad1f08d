/*
 * admin.h
 *		What the management functions share; private to this room.
 *
 *		Every one of them works the same way: who asks is established first,
 *		while the caller's own user is in force (CallerAuthority); then, between
 *		TrustedBegin and TrustedEnd, decisions are taken from what is committed
 *		now (AdminRead) and not from the transaction's snapshot, so that
 *		REPEATABLE READ decides on nothing stale, and changes are written with
 *		AdminExec.
 */
#ifndef BULWARK_ADMIN_H
#define BULWARK_ADMIN_H

#include "tenancy/tenancy.h"

#include "fmgr.h"
#include "utils/builtins.h"

/* --- authority.c ------------------------------------------------------------- */
/* "role NAME" or "principal ID": who granted. */
extern char *AuthorityName(const Authority *who);
/* 42501 unless who may, as RequireTenantPermission; usable inside a trusted scope. */
extern void AuthorityRequire(const Authority *who, const pg_uuid_t *tenant_id,
							 const pg_uuid_t *affiliation_id,
							 const char *resource, const char *action);
extern bool AuthorityHas(const Authority *who, const pg_uuid_t *tenant_id,
						 const pg_uuid_t *affiliation_id,
						 const char *resource, const char *action);
/* 42501 unless who holds every one of the permissions (text[]) there. */
extern void AuthorityRequireAll(const Authority *who, const pg_uuid_t *tenant_id,
								const pg_uuid_t *affiliation_id, const ArrayType *permissions);

/* --- administrator.c: a tenant that has an administrator keeps one ------------- */
/* Serialise changes of who may do what in a tenant; 42704 if there is none. */
extern void TenantLock(const pg_uuid_t *tenant_id);
extern bool TenantHasAdministrator(const pg_uuid_t *tenant_id);

/* Whose change may have taken an administrator from a tenant: the tenant's that
 * had one, a principal's that was enabled, a role's that gave users:manage. */
typedef enum TakenFrom
{
	FROM_TENANT,
	FROM_PRINCIPAL,
	FROM_ROLE
} TakenFrom;
/* 23514, now or at commit, if a tenant is left without one. */
extern void AdministratorTaken(TakenFrom from, const pg_uuid_t *id);

/* --- name.c: slugs, keys and other names --------------------------------------- */
/* 22023 unless fit to be a name: not empty, no blanks at the ends, no control or
 * invisible characters, at most 255 bytes. */
extern void NameCheck(const char *what, const char *name);
/* 22023 unless letters, digits, '.', '_' and '-', at most 63. */
extern void SlugCheck(const char *slug);
/* The form in which two names that could be taken for one another are equal. */
extern char *NameFold(const char *name);
/* The distinct folded forms (text[]) of an object's three names, and their number. */
extern ArrayType *NamesFold(const pg_uuid_t *id, const char *slug, const char *key, int *count);
/* The key as int8, NULL unless it is an int8's canonical decimal. */
extern Arg	NameInt8Arg(const char *key);

/* --- role.c ---------------------------------------------------------------------- */
typedef struct RoleRow
{
	pg_uuid_t	role_id;
	bool		global;
	bool		builtin;
	ArrayType  *permissions;
} RoleRow;
/* The tenant's own role of that name, or the one for all tenants; 42704. */
extern RoleRow RoleFind(const pg_uuid_t *tenant_id, const char *name);

/* --- terminate.c ------------------------------------------------------------------ */
/* If this transaction commits, end the back ends that then act for the
 * principal (NULL: any) in the tenant (NULL: any). */
extern void TerminateAtCommit(const pg_uuid_t *principal_id, const pg_uuid_t *tenant_id);

#endif							/* BULWARK_ADMIN_H */
