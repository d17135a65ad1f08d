/*
 * ddl.h
 *		What the files that watch definitions share among themselves.
 */
#ifndef BULWARK_DDL_H
#define BULWARK_DDL_H

#include "tenancy/tenancy.h"

#include "nodes/parsenodes.h"

/* --- ddl.c: refusals, and what is settled when a command is done ------------ */

/* No hook of ours looks at our own statements, nor at those of pg_upgrade, which
 * brings every definition by itself. */
extern bool DdlWatched(void);

/* Refuse an application login's change of a protected relation; nothing for
 * other logins and relations. */
extern void RefuseApp(Oid relid, const char *what);
/* A protection is taken apart: an error, for a superuser a warning. */
extern void Weaken(Oid relid, const char *what);

/*
 * What the running command did, to be settled when it is done, in this order.
 */
typedef enum SettleKind
{
	SETTLE_REMOVED,				/* a policy or trigger of ours went, perhaps with its table */
	SETTLE_SWITCHED,			/* a superuser switched a trigger of ours off */
	SETTLE_RENAMED,				/* a column of a protected relation */
	SETTLE_CREATED,				/* a new relation, or a new child */
	SETTLE_CHANGED				/* a protected relation */
} SettleKind;
#define SETTLE_KINDS	(SETTLE_CHANGED + 1)

extern void SettleRelation(SettleKind kind, Oid relid);
extern void SettlePart(SettleKind kind, Oid classid, Oid relid, const char *name);
extern void SettleColumn(Oid relid, const char *old_name, const char *new_name);
extern bool IsSettleCreated(Oid relid);
/* The command is done: act on all that. */
extern void Settle(void);

/* --- ddl_event.c, ddl_command.c: the two hooks ------------------------------- */
extern void DdlEventInit(void);
extern void DdlCommandInit(void);

/* --- ddl_same.c: does the relation have this very policy or trigger already? - */
extern bool SamePolicyExists(Oid relid, const CreatePolicyStmt *stmt, const char *source);
extern bool SameTriggerExists(Oid relid, const CreateTrigStmt *stmt);

#endif							/* BULWARK_DDL_H */
