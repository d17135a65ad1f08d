/*
 * protect.h
 *		What the files that protect tables share among themselves.
 */
#ifndef BULWARK_PROTECT_H
#define BULWARK_PROTECT_H

#include "tenancy/tenancy.h"

/* Columns that materialize keeps on a child. */
#define MATERIALIZED_TENANT			"bulwark_tenant"
#define MATERIALIZED_AFFILIATION	"bulwark_affiliation"

#define TRIGGER_IMMUTABLE			"bulwark_tenant_immutable"
#define TRIGGER_MATERIALIZE			"zz_bulwark_materialize"	/* after an application's own */
#define TRIGGER_CHILDREN			"zz_bulwark_children"
#define TRIGGER_RULE_GUARD			"zz_bulwark_rule_guard"
#define TRIGGER_FK_GUARD			"Bulwark_fk_"	/* sorts before RI_ConstraintTrigger_c_ */

/* --- protection.c: the registry -------------------------------------------- */

/*
 * DDL of ours, of fixed shape, with the pinned search_path: between CallerBegin
 * and TrustedEnd as the caller, between TrustedBegin and TrustedEnd as the
 * extension's owner.
 */
extern void CallerBegin(TrustedScope *scope);
extern void Ddl(const char *sql);

/* The parents of a partition or inheritance child. */
extern List *InheritanceParents(Oid relid);

/* A row of the registry, in the current memory context. */
extern Protection *ProtectionFromTuple(HeapTuple tuple, TupleDesc desc);
/*
 * A plan kept from one call to the next, while the registry and what the plan
 * reads stay as they are.  All zeros: none yet; a plan of NULL: nothing to run.
 */
typedef struct KeptPlan
{
	uint64		generation;
	SPIPlanPtr	plan;
} KeptPlan;
extern bool KeptPlanValid(const KeptPlan *kept);
/* Let go of the old plan; then make the new one and keep it. */
extern void KeptPlanReset(KeptPlan *kept);
extern void KeptPlanSet(KeptPlan *kept, const char *sql, int nargs, Oid *types);
/* The same column names in the same order? */
extern bool SameNames(List *a, List *b);
/* The same protection, however it was asked for? */
extern bool SameProtection(const Protection *a, const Protection *b);
/* Every protected relation that has this root, or this parent. */
extern List *ProtectionsWithRoot(Oid root);
extern List *ProtectionsWithParent(Oid parent);

/* --- policy.c: conditions and policies as SQL ------------------------------ */

/* How a column's type names a tenant or an affiliation. */
typedef enum KeyType
{
	KEY_NONE,					/* a type that cannot */
	KEY_UUID,
	KEY_TEXT,
	KEY_INT
} KeyType;
extern KeyType ColumnKeyType(Oid relid, const char *column);
/* The function of ours that yields the identity's tenant in that type. */
extern const char *TenantAccessor(KeyType type);

typedef struct PolicyDefinition
{
	const char *name;
	char	   *sql;			/* CREATE POLICY */
} PolicyDefinition;
/* The restrictive policies of a relation. */
extern List *PolicyDefinitions(const Protection *p);
/* All that they ask of a row for one command ("insert", "update", "delete"). */
extern char *PolicyCondition(const Protection *p, const char *action);
/* "SELECT" for 'r' (pg_policy.polcmd), and so on. */
extern const char *CommandKeyword(char command);
/* The permissive one that lets a command through to the restrictive ones. */
extern PolicyDefinition BasePolicy(Oid relid, char command);
extern void LinkBasePolicies(Oid relid);

extern char *RowColumn(const char *ref, const char *column);
/* The operator of a key: the default equality of the referenced column's type. */
extern char *EqualityOperator(Oid relid, const char *column);
/* The child's key equals the parent's. */
extern char *KeyCondition(List *child_columns, const char *child_ref,
						  Oid parent, List *parent_columns, const char *parent_ref);
extern Oid	RelationOwner(Oid relid);
/* How the row that decides names its tenant. */
extern KeyType TenantKeyType(const Protection *p);
/* The protection whose row decides: that of the nearest relation up the chain
 * of parents with columns of its own to decide by. */
extern const Protection *ProtectionAnchor(const Protection *p);

/* --- sync.c ------------------------------------------------------------------ */

extern void SyncInit(void);

/* --- fk_guard.c -------------------------------------------------------------- */

/* Give the relation the guards that its foreign keys need, drop those that none
 * needs.  As the extension's owner: the relation may be another's. */
extern void FkGuardSync(Oid relid);
/* The same for all relations that refer to this one. */
extern void FkGuardSyncReferencing(Oid relid);
/* Does a superuser load the relation's rows in any order, its foreign keys at rest:
 * session_replication_role = replica, or DISABLE TRIGGER ALL as pg_restore does it? */
extern bool ForeignKeysRest(Relation rel);
/* The name of the guard of a foreign key with that name. */
extern char *FkGuardName(const char *key);

/* fk_mode.c: the guards of the constraints that SET CONSTRAINTS names, as RangeVars. */
extern List *FkGuardsOf(List *constraints);
/* The columns of a constraint, as names. */
extern List *ConstraintColumns(Oid relid, HeapTuple constraint, AttrNumber which);

/* --- noforce.c: queries past FORCE ROW LEVEL SECURITY ------------------------- */

/* Is the query that runs now one of them, as PostgreSQL's for foreign keys are?  Not
 * what a function called in it runs. */
extern bool RunsPastForce(void);

/* --- rule_guard.c ------------------------------------------------------------ */

/* The trigger of a leaf that rules write to: there or gone, as there are such. */
extern void RuleGuardSync(Oid relid);

/* --- materialize.c ----------------------------------------------------------- */

/* Can the child keep columns of its own?  Else raises 22023. */
extern void MaterializeCheck(const Protection *p);
/* Add the columns to the root and all below it; true if there are no rows to fill. */
extern bool MaterializeAddColumns(const Protection *p);
extern void MaterializeDropColumns(Oid relid);
/* The row trigger of a leaf that fills them. */
extern void MaterializeCreateTrigger(const Protection *p);
/* The trigger by which a leaf of a parent tells its children: there or gone, as
 * there are such children.  As the extension's owner. */
extern void MaterializeSync(Oid relid);

/* --- apply.c: between CallerBegin or TrustedBegin and TrustedEnd -------------- */

/* Bring the relation and all below it under p, as far as they are not yet. */
extern void ProtectTree(const Protection *p);
/* Take a root and all that is protected with it out. */
extern void UnprotectTree(Oid relid);
/* 55000: protected otherwise than asked for. */
BW_NORETURN extern void RefuseOtherProtection(Oid relid);
/* 2BP01 if others are protected through the relation. */
extern void RequireNoChildren(Oid relid);
/* What a superuser has taken off a protected relation comes back. */
extern void RepairProtection(const Protection *p);
/* The policies of a relation made anew, by its row in the registry. */
extern void RenewPolicies(Oid relid);
/* Our policies and triggers, off a relation. */
extern void DropProtectionObjects(Oid relid);
/* What bulwark.new_tables chose has been asked for now. */
extern void ProtectionConfirm(Oid relid);
extern void ProtectionUnregister(Oid relid);
/* To the ledger: the table is protected in that way. */
extern void ReportProtect(const Protection *p);

/* --- protect.c --------------------------------------------------------------- */

/* 42501 unless bulwark_admin and owner, or superuser. */
extern void RequireRights(Oid relid);

#endif							/* BULWARK_PROTECT_H */
