/*
 * log.h
 *		What the files of this room share.  docs/file-formats.md says what the
 *		bytes mean; common/record.h, merkle.h and note.h read and write them.
 */
#ifndef BULWARK_LOG_H
#define BULWARK_LOG_H

#include "ledger/ledger.h"

#include "common/common.h"
#include "common/record.h"
#include "executor/tuptable.h"
#include "session/session.h"
#include "tenancy/tenancy.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

/* --- log.c: the log of this database, its incarnations ----------------------- */
typedef struct Log
{
	pg_uuid_t	log_id;
	uint32		incarnation;
} Log;

/*
 * The log of this database, begun with its first entry; 55000 without a root key.
 * Where the database is another than it was (promoted, restored, cloned, upgraded)
 * this begins an incarnation, with an entry of its own: call it before anything
 * that an entry in between would disturb.
 */
extern const Log *LogOpen(void);
/* The same if it has begun, else NULL. Never raises for want of a key. */
extern const Log *LogPeek(void);
/* "bulwark/<log id>", in the caller's context. */
extern char *LogOrigin(const Log *log);
/* Was it, or its incarnation, begun by this transaction, which may yet abort? */
extern bool LogIsOwn(void);

/*
 * True while this room writes its own tables and definitions by itself: the guard
 * lets those through.  Begin and end in pairs; an error in between ends it.
 */
extern void LedgerWorkBegin(void);
extern void LedgerWorkEnd(void);
extern bool LedgerWorking(void);
/* Does a function of an event trigger run, which a command of ours fired? */
extern bool StrangersRun(void);
/* Does our own install or update script run? */
extern bool LedgerScriptRuns(void);

/* Rows of our private tables without the executor; table by PrivateRelid name. */
extern void LedgerInsert(const char *table, const Datum *values, const bool *nulls);
extern void LedgerUpdate(Relation rel, ItemPointer tid, const Datum *values, const bool *nulls,
						 const bool *replace);
/* A snapshot that sees what is committed now, and what this transaction did. */
extern Snapshot LedgerSnapshot(void);

/* Locks of this room, to the end of the transaction: nothing in SQL reaches them. */
typedef enum LedgerLockKind
{
	LEDGER_LOCK_LOG = 1,		/* to begin the log, an incarnation or a key */
	LEDGER_LOCK_SEAL,			/* to seal */
	LEDGER_LOCK_SEGMENTS		/* to make, switch or index segments */
} LedgerLockKind;
/* False: another has it, and wait is false. */
extern bool LedgerLock(LedgerLockKind kind, bool wait);

/* --- key.c: keys of the log, wrapped by the keyring ---------------------------- */
#define LEDGER_MAC_LEN	16
/* The newest epoch, made where there is none; 55000 without a root key. */
extern uint32 LedgerMacEpoch(void);
/* In place: of n leaf hashes, MACs, whose first LEDGER_MAC_LEN bytes count; false where the key cannot be had. */
extern bool LedgerMacs(uint32 epoch, size_t n, uint8 (*hashes)[32]);
/* The newest signing epoch, 0 where there is none yet. */
extern uint32 LedgerSignEpoch(void);
/* Sign with the key of that epoch; 55000 where it cannot be had. */
extern void LedgerSign(uint32 epoch, const void *message, Size len, uint8 signature[64]);
extern void LedgerPublicKey(uint32 epoch, uint8 key[32]);
/* Make both kinds of key of a new epoch; the signing epoch. */
extern uint32 LedgerKeysMake(void);
extern void KeysForget(void);
extern void LedgerKeysInit(void);

/* --- segment.c: where entries go ------------------------------------------------ */
/*
 * Put rows (leaf, content) into the active segment: the only way into one.  The
 * sealer relies on its choice of pages.  The slots are made with SegmentDesc();
 * cid is the command, this one or an earlier, from which on they are seen.
 */
extern void SegmentInsert(TupleTableSlot **slots, int n, CommandId cid);
/* What a row of a segment looks like: leaf bytea, content bytea. */
extern TupleDesc SegmentDesc(void);
/* The active segment, opened RowExclusiveLock; the caller closes it with NoLock. */
extern Relation SegmentOpenActive(void);
/* All segments, oldest first, as Oids of relations. */
extern List *SegmentAll(void);
/* Tell the sealer that this database has something to seal.  SegmentInsert does so
 * after commit by itself. */
extern void SealerWake(void);

/* --- append.c: entries on their way in ------------------------------------------- */
typedef enum EntrySource
{
	SOURCE_CAPTURED = 1, SOURCE_ASSERTED = 2, SOURCE_SYSTEM = 3
} EntrySource;

typedef struct Bytes
{
	const void *data;			/* NULL: absent */
	Size		len;
} Bytes;

/* Who did it.  EntryActor fills it for this back end, now. */
typedef struct EntryActor
{
	bool		present;		/* an identity is in force, or was in this transaction */
	bool		ended;			/* it was */
	pg_uuid_t	principal;
	pg_uuid_t	tenant;			/* the identity's */
	ProofKind	proof;
	pg_uuid_t	issuer;
	char		assumed_by[NAMEDATALEN];
	TimestampTz proved_at;
	const char *email;			/* may be NULL */
	char		role[NAMEDATALEN];	/* the login that authenticated, whatever SET SESSION AUTHORIZATION says */
} EntryActor;
/* email is valid until the next statement. */
extern void EntryActorNow(EntryActor *actor);
/* The principal's address now, palloc'd; NULL: none. */
extern char *PrincipalEmail(const pg_uuid_t *principal);
/* The same without a copy, valid until the next statement. */
extern const EntryActor *EntryActorPeek(void);

typedef struct Entry
{
	EntrySource source;
	const char *action;			/* "insert", "app:..." */
	TimestampTz time;			/* 0: now */
	const EntryActor *actor;	/* NULL: EntryActorNow */
	const pg_uuid_t *tenant;	/* the row's; NULL: the identity's */
	const char *affiliation;	/* the row's, or NULL */
	const char *entity_type;
	const char *entity_id;		/* or NULL */
	const char *metadata;		/* JSON text, or NULL */
	bool		annotated;		/* with what annotate() asserted */
	const uint8 *salt;			/* EntrySalt's, where images hold digests; or NULL */
	const uint8 *shape;			/* 16 bytes, or NULL */
	Bytes		old_image;
	Bytes		new_image;
} Entry;

/* Random bytes for an entry's content. */
#define ENTRY_SALT_LEN	16
extern void EntrySalt(uint8 salt[ENTRY_SALT_LEN]);

/*
 * Write an entry in this transaction; its id.  What it says is fixed at once; it
 * is kept in memory until the transaction commits, there are many, or
 * LedgerFlush().  55000 without a key.
 */
extern int64 LedgerAppend(const Entry *entry);
/*
 * Write what is kept, as reading the ledger in the same transaction needs: a
 * snapshot taken since the command that changed the rows shows their entries.
 */
extern void LedgerFlush(void);

/* --- spool.c: what survives a rollback -------------------------------------------- */
typedef enum SpoolClass
{
	SPOOL_DENIED, SPOOL_AUTHENTICATE, SPOOL_READ, SPOOL_OTHER, SPOOL_CLASSES
} SpoolClass;

/* Hand an entry to the worker; never raises; bounded under flood. */
extern void LedgerSpool(SpoolClass class, const Entry *entry);
/* The same, and wait until it is durable; 55000 where it cannot be. */
extern void LedgerSpoolAndWait(const Entry *entry);
/* The database worker's part: write what is spooled for this database; returns
 * how many.  Runs in a transaction of its own. */
extern int	SpoolDrain(void);
extern bool SpoolPending(Oid database);

/* --- read.c: what is read ----------------------------------------------------------- */
/*
 * An entry for a read: it survives a rollback.  55000 where it cannot be had, so
 * that nothing is read without it.  For functions that show the ledger.
 */
extern void LedgerReadEvent(const char *entity_type, const char *entity_id, const char *metadata);

/* --- seal.c, tree.c: leaves, tiles, blocks ---------------------------------------- */
/* Seal what is committed now; the tree's size.  In a transaction of the caller. */
extern uint64 LedgerSealNow(void);
/* Have the worker seal what is committed now, where it can soon. */
extern void SealIfPossible(void);
/* The leaf of (incarnation, xid, sequence), or -1 while it is not sealed. */
extern int64 LeafIndexOf(uint32 incarnation, uint64 xid, uint32 sequence);
extern uint64 TreeSize(void);
/* The hash of leaf or node (level, n) of complete subtrees: level 0 is leaves. */
extern bool TreeHash(int level, uint64 n, uint8 hash[32]);
/* Root of the first size leaves. */
extern void TreeRoot(uint64 size, uint8 root[32]);

/* --- guard.c: what may not be touched ---------------------------------------------- */
extern bool IsLedgerRelation(Oid relid);
/* A new segment, or any table of this room: refuse all statements on it.  Again is
 * no harm: restored segments need it too. */
extern void GuardSegment(Oid relid);
/*
 * bulwark.restore is on and this database has no log of its own yet: a dump's is
 * being brought.  No entry is written and nothing sealed meanwhile: LogOpen
 * raises 55000, LogPeek returns NULL.  Ends when the first incarnation of this
 * database is written.
 */
extern bool LedgerRestoring(void);

/* --- coverage.c: is what should be recorded still recorded? ------------------------ */
typedef struct CoverageProblem
{
	char	   *relation;
	char	   *problem;
} CoverageProblem;
/* Does an entry with this record tell what is audited? */
extern bool CoverageTold(const bw_leaf *leaf);
/* Its content, added to what the entries before it in storage told, in that context. */
extern List *CoverageAdd(List *events, MemoryContext context, const bw_leaf *leaf, const bw_bytes *content);
/* Gaps, if this is all that the entries told; of the ledger's own tables too.
 * CoverageProblem *, in the caller's context. */
extern List *CoverageProblemsOf(List *events);
/* The same; reads every entry's head. */
extern List *CoverageProblems(void);

/* --- audited.c: which relations are audited, and how (cached) ---------------------- */
typedef struct Audited
{
	Oid			relid;
	bool		reads;
	bool		automatic;		/* because a parent is */
	List	   *exclude_columns;	/* names: char * */
	List	   *sealed_columns;
	List	   *excluded;		/* the same as attribute numbers; 0: there is no such column */
	List	   *sealed;
} Audited;
/* NULL: not audited.  Valid until the next command. */
extern const Audited *AuditedOf(Oid relid);
/* A new table, or a new child of a parent: audited if its parent is. */
extern void AuditedConsiderNew(Oid relid);
/* 55000 where an audited table, or a child of one, is what cannot be recorded. */
extern void AuditedRequireRecordable(Oid relid);
/* The relation is being dropped: out of the registry.  No SQL is run. */
extern void AuditedForget(Oid relid);
/* A column has another name, or is gone (NULL): the lists of columns follow. */
extern void AuditedColumnRenamed(Oid relid, const char *old_name, const char *new_name);
/*
 * The names of our triggers on audited relations.  Triggers of one event fire in the
 * order of their names: ours before all others, so that what these do to the row is
 * recorded after what was done to them.
 */
#define TRIGGER_CAPTURE				"!bulwark_ledger"
#define TRIGGER_CAPTURE_TRUNCATE	"!bulwark_ledger_truncate"

/* Start-up of the files of this room, called by LedgerInit. */
extern void AppendInit(void);
extern void CaptureInit(void);
extern void SegmentInit(void);
extern void SpoolInit(void);
extern void WorkerInit(void);
extern void GuardInit(void);
extern void EventInit(void);
extern void ViewInit(void);
extern void EstimateInit(void);

#endif							/* BULWARK_LOG_H */
