/*
 * sealer.h
 *		What the sealer's files share: the databases' slots in shared memory, the
 *		segments, what one round of sealing does, the workers.
 */
#ifndef BULWARK_SEALER_H
#define BULWARK_SEALER_H

#include "ledger/log.h"

#include "common/note.h"

#include "access/sdir.h"
#include "access/skey.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/spin.h"

/* --- slot.c: one slot a database ------------------------------------------------ */
typedef struct DatabaseSlot
{
	pg_atomic_uint32 database;	/* 0: free, SLOT_LEFT: free, but look further */
	pg_atomic_uint32 dirty;		/* something to seal or to keep up */
	pg_atomic_uint32 avoid;		/* statements that want the database to themselves */
	pg_atomic_uint32 failures;	/* rounds that failed, since start-up */
	pg_atomic_uint64 active;	/* segment number << 32 | its relation; 0: not known */
	pg_atomic_uint64 last_page; /* the active one's filenode << 32 | block; 0: not known */
	pg_atomic_uint64 requested; /* rounds that were asked for ... */
	pg_atomic_uint64 served;	/* ... and the last of them that has been committed */
	pg_atomic_uint64 untold;	/* commits that found no place for their note (told.c) */
	pg_atomic_uint64 sealed_id; /* the largest id of an entry that was sealed since start-up */
	ConditionVariable changed;	/* served or failures did */
	slock_t		mutex;			/* of what follows */
	int			worker_pid;		/* 0: none, SLOT_STARTING: launched */
	Latch	   *worker_latch;
	TimestampTz started_at;		/* the worker was asked for */
	TimestampTz avoided_since;	/* the first statement that avoids us, since the last round; 0: none */
	TimestampTz waiting_since;	/* dirty and without a worker; 0: not */
	TimestampTz retry_at;		/* after a failure: not before */
	int			failed_in_row;
	TimestampTz sealed_at;		/* the last round that succeeded */
} DatabaseSlot;

#define SLOT_LEFT		PG_UINT32_MAX
#define SLOT_STARTING	(-1)

/* This database's; NULL: the table is full. */
extern DatabaseSlot *SlotMine(void);
/* An entry of that id was seen to be sealed. */
extern void SlotTellSealedId(uint64 entry_id);
/* Another's, made where there is none; NULL: the table is full. */
extern DatabaseSlot *SlotOf(Oid database, bool make);
extern void SlotRelease(Oid database);
/* All in use, one after the other; begin with *position = 0. */
extern DatabaseSlot *SlotNext(int *position);
/* A visit failed: another is due later, and later still where that fails too. */
extern void SlotFailed(DatabaseSlot *slot);
/* A statement wants the database to itself, or has done. */
extern void SlotAvoid(DatabaseSlot *slot);
extern void SlotAvoidEnd(DatabaseSlot *slot);
/* Is it to have it?  Not where statements have kept us away for long; *until: then no more. */
extern bool SlotIsAvoided(DatabaseSlot *slot, TimestampTz *until);
/* Who works there now: a pid, 0, SLOT_STARTING. */
extern int	SlotWorker(DatabaseSlot *slot);
/* Databases that found the table full: visit all. */
extern bool SlotOverflowTake(void);

/* The launcher's latch; NULL takes it away. */
extern void LauncherPublish(Latch *latch);
/* Wake whoever serves the slot (NULL: the launcher). */
extern void SlotWake(DatabaseSlot *slot);
/* Ask for a round that sees what is committed now; false: no slot. */
extern bool SealRequest(DatabaseSlot **slot, uint64 *request, uint32 *failures);
/* Has that request been served? */
extern bool SealServed(DatabaseSlot *slot, uint64 request);
extern void SlotInit(void);

/* --- inserter.c: insertions under way --------------------------------------------- */
extern void InserterBegin(void);
extern void InserterEnd(void);
/*
 * Wait, for at most that many milliseconds, until every insertion into this
 * database's segments that had begun before the call is over; false: it is not.
 */
extern bool InsertersPass(int milliseconds);
extern void InserterInit(void);

/* --- told.c: what committed transactions told ------------------------------------- */
/* This transaction, which is about to commit, has that many entries.  Never raises. */
extern void ToldNote(const Log *log, uint64 xid, uint32 sequence);

typedef struct Told
{
	uint32		incarnation;
	uint32		sequence;		/* of the newest entry */
	uint64		xid;
	bool		found;			/* for the caller */
} Told;

/*
 * What transactions of this database told that have committed and are not in
 * progress, by incarnation and id.  Forgotten when the caller's transaction commits.
 */
extern Told *ToldCommitted(const Log *log, bool (*in_progress) (uint64 xid, void *arg), void *arg, int *n);
/* One of them, or NULL. */
extern Told *ToldOf(Told *told, int n, uint32 incarnation, uint64 xid);
/* The database is gone. */
extern void ToldForget(Oid database);
extern void ToldInit(void);

extern uint64 WideXid(TransactionId xid, FullTransactionId next);
/* Of this incarnation and ended: has it committed?  True where it is too long ago to be known. */
extern bool XidCommitted(uint64 xid);

/* --- segment.c ----------------------------------------------------------------------- */
typedef enum SegmentState
{
	SEGMENT_AHEAD, SEGMENT_ACTIVE, SEGMENT_CLOSED, SEGMENT_INDEXED
} SegmentState;

typedef struct Segment
{
	int32		number;
	Oid			relid;			/* InvalidOid: its table is gone */
	SegmentState state;
	int64		sealed_blocks;
	int64		filenode;		/* of the relation that sealed_blocks is of */
	TimestampTz opened_at;
	TimestampTz closed_at;
	ItemPointerData tid;
} Segment;

extern int	ledger_segment_size;	/* kB */

/* Segment *, oldest first. */
extern List *SegmentList(void);
/* The first segments of a log that begins; as the extension's owner. */
extern void SegmentsBegin(void);
/* What a round has found to be the active one's last page: from now on nobody goes before it. */
extern void SegmentTellLastPage(Relation rel, BlockNumber nblocks);
/* Make one ahead; as the extension's owner. */
extern void SegmentCreate(int32 number, SegmentState state);
extern void SegmentSetState(const Segment *segment, SegmentState state);
extern void SegmentSetSealed(const Segment *segment, int64 blocks, int64 filenode);
/* Nothing is known to be sealed: a restore put rows wherever it liked. */
extern void SegmentsForgetSealed(void);
/* After the commit of a switch. */
extern void SegmentPublishActive(int32 number, Oid relid);

/* --- store.c: our tables through their indexes ------------------------------------------ */
/*
 * The first row in the order of an index whose first columns are those given, from
 * the end where direction is backward; keys number the index's columns.  A copy in
 * the caller's context, or NULL.
 */
extern HeapTuple StoreFetch(Relation rel, const AttrNumber *columns, int ncolumns,
							ScanKeyData *keys, int nkeys, ScanDirection direction);
/* Rows as long as the callback says so. */
typedef bool (*StoreCallback) (HeapTuple row, TupleDesc desc, void *arg);
extern void StoreScan(Relation rel, const AttrNumber *columns, int ncolumns, ScanKeyData *keys,
					  int nkeys, ScanDirection direction, StoreCallback callback, void *arg);

/* --- tree.c ------------------------------------------------------------------------------ */
typedef struct TreeAppender TreeAppender;
/* Leaves are added to the tree of that size; one appender in a transaction. */
extern TreeAppender *TreeAppendBegin(uint64 size);
extern void TreeAppend(TreeAppender *appender, const uint8 leaf[32]);
/* The root of all leaves so far. */
extern void TreeAppendRoot(TreeAppender *appender, uint8 root[32]);
extern void TreeAppendEnd(TreeAppender *appender);
/* The block whose leaves those of the transaction are; false: none. */
extern bool TreeFindRun(uint32 incarnation, uint64 xid, uint64 *first_leaf, uint64 *entries);
/* Forget what was read: a transaction that wrote tiles was rolled back. */
extern void TreeForget(void);

/* --- scan.c: rows that are not sealed yet ---------------------------------------------- */
typedef void (*SegmentRow) (Relation rel, HeapTuple row, void *arg);
/*
 * Every row that the snapshot sees and that may not have been sealed; some that
 * have been are among them.  Call in a sealing round only, then commit, or ScanForget().
 */
extern void ScanUnsealed(Snapshot snapshot, SegmentRow callback, void *arg);
/* Write down how far there is nothing unsealed. */
extern void ScanSaveMarks(void);
/* The same rows for a look from any back end, which keeps nothing. */
extern void ScanPeek(Snapshot snapshot, SegmentRow callback, void *arg);
extern void ScanForget(void);
/* No writer can come to a closed segment any more: the next round seals the rest of it. */
extern void ScanNoteClosed(Oid relid);
/* And that round is over. */
extern bool ScanIsFinished(Oid relid);
/* The transaction longest in progress that has rows in a segment, and since when. */
extern TransactionId ScanOldestPending(TimestampTz *since);

/* --- sorter.c: entries in the order in which they are sealed ------------------------------ */
typedef enum SealKind
{
	SEAL_PLAIN, SEAL_MANIFEST, SEAL_ALONE
} SealKind;

typedef struct SealItem
{
	uint32		incarnation;
	uint32		sequence;
	uint64		xid;
	uint64		entry_id;
	uint8		hash[BW_SHA256_LEN];
	uint8		digest[BW_SHA256_LEN];	/* of a manifest */
	uint32		first;
	uint32		count;
	uint32		kind;
} SealItem;

typedef struct Sorter Sorter;
extern Sorter *SorterBegin(void);
extern void SorterAdd(Sorter *sorter, const SealItem *item);
/* Ends adding; false: no more. */
extern bool SorterNext(Sorter *sorter, SealItem *item);
extern void SorterEnd(Sorter *sorter);

/* --- finding.c ------------------------------------------------------------------------------ */
/* Something is wrong with what was to be sealed: kept once, and told the server log. */
extern void SealFinding(uint32 incarnation, uint64 xid, uint64 entry_id, const char *problem);

/* --- checkpoint.c -------------------------------------------------------------------------- */
/* The newest epoch whose key has signed it; 0: none has. */
extern uint32 CheckpointSigner(const Log *log, const char *checkpoint);
/* The verifier key of a signing epoch. */
extern void EpochVkey(const Log *log, uint32 epoch, bw_vkey *vkey);

/* --- upkeep.c: segments made ahead, switched, indexed -------------------------------- */
/* True: something was done that another call may go on with. */
extern bool SegmentsKeepUp(void);

/* --- launcher.c, worker.c ----------------------------------------------------------------- */
extern int	seal_interval;		/* ms */
extern int	seal_lag_alarm;		/* s; 0: none */
/* A task of every visit of a worker, and whether it has something to do there. */
extern void WorkerTaskRegister(int (*task) (void), bool (*pending) (Oid database));
/* In a worker: raises an error when it must leave.  Call in long loops. */
extern void WorkerCheck(void);
/* Other databases wait for a worker. */
extern void WorkersWanted(bool wanted);
extern bool WorkersAreWanted(void);

/* --- wait.c ---------------------------------------------------------------------------------- */
/* After commit, where the setting says so: until a round has sealed it.  Never raises. */
extern void SealWaitAfterCommit(void);
extern void WaitInit(void);

/* --- aside.c: databases that a statement wants for itself ------------------------------------- */
extern void AsideInit(void);

/* --- start.c ------------------------------------------------------------------------------ */
/* Keep up the record of which checkpoints are ours: every few seconds. */
extern void StartWatchCheckpoint(void);

#endif							/* BULWARK_SEALER_H */
