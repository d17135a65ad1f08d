/*
 * guard.h
 *		What the files that guard the ledger share.
 */
#ifndef BULWARK_GUARD_H
#define BULWARK_GUARD_H

#include "ledger/log.h"

/* --- guard.c: what is guarded, and when ------------------------------------- */

/*
 * Nothing is refused: this room is at work, our own install or update script
 * runs, pg_upgrade brings the definitions, or a log is being restored.
 */
extern bool GuardOff(void);
/* The same without regard to a restore. */
extern bool GuardOwnWork(void);

/* The ledger table (or sequence) that a relation is, or is an index or the toast
 * table of; InvalidOid: none of ours. */
extern Oid	LedgerTableOf(Oid relid);
/* The same, as the running command has just written it. */
extern bool IsNewLedgerRelation(Oid relid);
/* A function or view of the extension itself. */
extern bool IsLedgerMember(Oid classid, Oid objectid);
extern Oid	LedgerExtension(void);
/* Every ledger table. */
extern List *LedgerTables(void);

/* Has the log begun: is there anything to keep? */
extern bool LedgerBegun(void);
/* May the extension go: by the configuration file, or for want of a log? */
extern bool MayDecommission(void);

/* 42501: what was tried on the relation, by name where it is there no more. */
BW_NORETURN extern void RefuseLedgerChange(const char *what, Oid relid);
BW_NORETURN extern void RefuseLedgerDefinition(const char *what);

/* --- guard_command.c ---------------------------------------------------------- */

/* What the running utility command may do to the ledger. */
typedef enum GuardMode
{
	GUARD_REFUSES,
	GUARD_MAINTAINS,			/* moves bytes and changes none: VACUUM, CLUSTER, REINDEX */
	GUARD_DROPS					/* takes the extension away, with our leave */
} GuardMode;
extern GuardMode GuardCommandMode(void);
extern void GuardCommandInit(void);

/* --- start.c: starts of the server ------------------------------------------ */
extern bool LedgerDecommission(void);	/* the setting */
/* Keep up the record of which checkpoints are ours: about once a second. */
extern void StartWatchCheckpoint(void);
/* Has this database yet to hear how the server was started? */
extern bool StartPending(Oid database);
/* Tell it, in a transaction of the caller's: number of entries. */
extern int	StartNote(void);
extern void StartInit(void);

/* --- guard_event.c ------------------------------------------------------------ */
extern void GuardEventInit(void);

#endif							/* BULWARK_GUARD_H */
