/*
 * log.h
 *		What the files of this room share.  docs/file-formats.md says what the
 *		bytes mean; common/record.h, merkle.h and note.h read and write them.
 */
#ifndef BULWARK_LOG_H
#define BULWARK_LOG_H

#include "ledger/ledger.h"

#include "common/common.h"
#include "session/session.h"
#include "tenancy/tenancy.h"

/* --- log.c: the log of this database, its incarnations ----------------------- */
typedef struct Log
{
	pg_uuid_t	log_id;
	uint32		incarnation;
} Log;

/* The log of this database, begun with its first entry; 55000 without a root key. */
extern const Log *LogOpen(void);
/* The same if it has begun, else NULL. Never raises for want of a key. */
extern const Log *LogPeek(void);
/* "bulwark/<log id>", in the caller's context. */
extern char *LogOrigin(const Log *log);

/*
 * True while this room writes its own tables and definitions by itself: the guard
 * lets those through.  Begin and end in pairs; an error in between ends it.
 */
extern void LedgerWorkBegin(void);
extern void LedgerWorkEnd(void);
extern bool LedgerWorking(void);

/* Rows of our private tables without the executor; table by PrivateRelid name. */
extern void LedgerInsert(const char *table, const Datum *values, const bool *nulls);
extern void LedgerUpdate(Relation rel, ItemPointer tid, const Datum *values, const bool *nulls,
						 const bool *replace);

/* --- key.c: keys of the log, wrapped by the keyring ---------------------------- */
#define LEDGER_MAC_LEN	16
/* The newest epoch, made where there is none; 55000 without a root key. */
extern uint32 LedgerMacEpoch(void);
/* First LEDGER_MAC_LEN bytes of the HMAC; false where the key cannot be had. */
extern bool LedgerMac(uint32 epoch, const uint8 leaf_hash[32], uint8 mac[LEDGER_MAC_LEN]);
extern void LedgerSign(const void *message, Size len, uint8 signature[64], uint32 *epoch);
extern void LedgerPublicKey(uint32 epoch, uint8 key[32]);

/* --- segment.c: where entries go ------------------------------------------------ */
/* The active segment, opened RowExclusiveLock; the caller closes it with NoLock. */
extern Relation SegmentOpenActive(void);
/* All segments, oldest first, as Oids of relations. */
extern List *SegmentAll(void);
/* Tell the sealer that this database has something to seal: after commit. */
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
	bool		present;		/* an identity is in force */
	pg_uuid_t	principal;
	pg_uuid_t	tenant;			/* the identity's */
	ProofKind	proof;
	pg_uuid_t	issuer;
	char		assumed_by[NAMEDATALEN];
	TimestampTz proved_at;
	const char *email;			/* may be NULL */
	char		role[NAMEDATALEN];	/* session_user */
} EntryActor;
extern void EntryActorNow(EntryActor *actor);

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
	const uint8 *shape;			/* 16 bytes, or NULL */
	Bytes		old_image;
	Bytes		new_image;
} Entry;

/*
 * Write an entry in this transaction.  It is kept in memory until its
 * subtransaction ends, there are many, or LedgerFlush(); its bytes are final at
 * once.  55000 without a key.
 */
extern void LedgerAppend(const Entry *entry);
/* Write what is kept, as reading the ledger in the same transaction needs. */
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
/* The leaf of (incarnation, xid, sequence), or -1 while it is not sealed. */
extern int64 LeafIndexOf(uint32 incarnation, uint64 xid, uint32 sequence);
extern uint64 TreeSize(void);
/* The hash of leaf or node (level, n) of complete subtrees: level 0 is leaves. */
extern bool TreeHash(int level, uint64 n, uint8 hash[32]);
/* Root of the first size leaves. */
extern void TreeRoot(uint64 size, uint8 root[32]);

/* --- guard.c: what may not be touched ---------------------------------------------- */
extern bool IsLedgerRelation(Oid relid);

/* --- audited.c: which relations are audited, and how (cached) ---------------------- */
typedef struct Audited
{
	Oid			relid;
	bool		reads;
	List	   *excluded;		/* attribute numbers */
	List	   *sealed;			/* attribute numbers */
} Audited;
/* NULL: not audited.  Valid until the next command. */
extern const Audited *AuditedOf(Oid relid);

/* Start-up of the files of this room, called by LedgerInit. */
extern void AppendInit(void);
extern void SegmentInit(void);
extern void SpoolInit(void);
extern void WorkerInit(void);
extern void GuardInit(void);
extern void EventInit(void);

#endif							/* BULWARK_LOG_H */
