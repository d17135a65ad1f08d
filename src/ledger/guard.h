/*
 * guard.h
 *		What the files that guard the ledger share.
 */
#ifndef BULWARK_GUARD_H
#define BULWARK_GUARD_H

#include "ledger/log.h"

#include "access/tupdesc.h"
#include "catalog/objectaccess.h"
#include "nodes/plannodes.h"
#include "utils/relcache.h"

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
/* The table (or sequence) of the extension's own, of the ledger or not, likewise. */
extern Oid	OwnTableOf(Oid relid);
/* Is it of the ledger, as the running command has just written it? */
extern bool IsNewLedgerRelation(Oid relid);
/* A function or view of the extension itself. */
extern bool IsLedgerMember(Oid classid, Oid objectid);
extern Oid	LedgerExtension(void);
/* Every ledger table. */
extern List *LedgerTables(void);

/* Does an incarnation of the log name this very database; which one first, and when? */
extern bool LedgerLivesHere(TimestampTz *since, uint32 *incarnation);
/* Has the log begun: is there anything to keep? */
extern bool LedgerBegun(void);
/* May the extension go: by the configuration file, or for want of a log? */
extern bool MayDecommission(void);

/* 42501: what was tried on the relation, by name where it is there no more. */
/* What a plan does; within: where a query in WITH does it. */
extern const char *GuardCommandName(CmdType command, const char *within);
BW_NORETURN extern void RefuseLedgerChange(const char *what, Oid relid);
BW_NORETURN extern void RefuseLedgerDefinition(const char *what);
/* The table is the extension's own. */
BW_NORETURN extern void RefuseOwnChange(const char *what, Oid relid);

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
extern void StartInit(void);

/* --- digest.c: what a table holds --------------------------------------------- */
typedef struct TableDigest
{
	uint64		rows;
	uint8		digest[32];
} TableDigest;
/* Rows as desc has them, under a salt of 16 bytes, without the columns that the
 * ledger leaves out (audited NULL: none).  The relation is locked. */
extern void TableDigestOf(Relation rel, TupleDesc desc, const Audited *audited, const uint8 *salt,
						  TableDigest *digest);

/* --- altered.c: definitions of audited tables --------------------------------- */
typedef enum AlteredHow
{
	ALTERED_DEFINITION = 0x01,	/* a column, a rule, an owner, ... */
	ALTERED_NAME = 0x02,
	ALTERED_ROWS = 0x04,		/* rewritten, or a column is gone */
	ALTERED_DROPPED = 0x08,
	ALTERED_ATTACHED = 0x10,	/* to a parent */
	ALTERED_DETACHED = 0x20,
	ALTERED_SWITCHED = 0x40,	/* a trigger of ours, with all others */
	ALTERED_TRIGGER_GONE = 0x80
} AlteredHow;

/* The running command does that to an audited relation; of a child: parent. */
extern void AlteredNote(Oid relid, AlteredHow how, Oid parent);
/* Remember how its rows are to be read, before the command changes that. */
extern void AlteredKeepRows(Oid relid);
/* Take their digest now, for they will not be there later.  Nobody writes to the
 * table from then on. */
extern void AlteredDigestRows(Oid relid);
extern void AlteredColumnName(Oid relid, const char *old_name, const char *new_name);
/* A command begins, and ends; settles: it is the one that entries name, and calls
 * AlteredSettle() when it is done. */
typedef struct AlteredCommand
{
	const char *tag;			/* NULL: none */
	const char *text;
	int			len;
	uint64		number;
	int			depth;			/* this one, and those around it */
	bool		renames_value;	/* of an enum */
} AlteredCommand;
extern AlteredCommand AlteredCommandBegin(const PlannedStmt *pstmt, const char *source, bool settles);
extern void AlteredCommandEnd(AlteredCommand outer);
/* Does it give a value of an enum another name? */
extern bool AlteredCommandRenamesValue(void);
/* Entries of what it has done. */
extern void AlteredSettle(void);
extern void AlteredInit(void);

/* --- altered_type.c ------------------------------------------------------------- */
/* The running command changes what values of the type are; before it does. */
extern void AlteredRowsOfType(Oid type);

/* --- altered_event.c ------------------------------------------------------------ */
/* Is it one of ours on an audited relation? */
extern bool IsCaptureTrigger(const DdlPart *part);
BW_NORETURN extern void RefuseTriggerChange(const DdlPart *part, const char *what);
extern void AlteredEvent(ObjectAccessType access, Oid classid, Oid objectid, int subid, void *arg);

/* --- guard_event.c ------------------------------------------------------------ */
/* Is it the extension, or does it stand or fall with it; of which of its tables is it? */
extern bool GoesWithLedger(Oid classid, Oid objectid, Oid *relid);
extern void GuardEventInit(void);

#endif							/* BULWARK_GUARD_H */
