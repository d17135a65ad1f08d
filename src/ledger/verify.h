/*
 * verify.h
 *		What the files of the verification share.
 *
 * Everything is recomputed from the bytes that are stored.  Tables are read page
 * by page in their heap, never through an index, and nothing on a page is
 * trusted: pointers and lengths are checked before they are followed, so that
 * damage is a problem that has a name and not a crash.  All of it under one
 * snapshot, in memory that hardly grows with the ledger: a bit for each tile, and
 * what the ids take of sessions that did not use up theirs.
 */
#ifndef BULWARK_VERIFY_H
#define BULWARK_VERIFY_H

#include "ledger/log.h"

#include "common/block.h"
#include "common/merkle.h"
#include "common/record.h"
#include "common/trust.h"

#include "storage/bufmgr.h"
#include "storage/buffile.h"
#include "utils/hsearch.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"

typedef struct VerifyTree VerifyTree;
typedef struct VerifyBlocks VerifyBlocks;

typedef struct Verify
{
	const Log  *log;			/* NULL: not begun */
	char	   *origin;
	Snapshot	snapshot;
	BufferAccessStrategy strategy;
	MemoryContext context;		/* lives as long as the verification */
	MemoryContext page;			/* reset after each page */
	List	   *opened;			/* relations */
	List	   *files;			/* of RecordFile */

	/* What is found. */
	uint64		problems;
	char	   *first;			/* the first problem's text */
	Tuplestorestate *sink;		/* of ledger_problems(), or NULL */
	TupleDesc	sink_desc;
	uint64		tree_size;		/* leaves whose hashes are there */
	uint64		entries;
	uint64		pending;

	/* An earlier checkpoint to compare with, or NULL. */
	const bw_checkpoint *earlier;
	bool		compared;
	bool		differs;
	bool		other_block;
	const bw_vkey *pinned;		/* the key that it was given with */
	bool		key_trusted;	/* the newest checkpoint is signed by it, or by one that follows it */

	VerifyTree *tree;
	VerifyBlocks *blocks;
	HTAB	   *shapes;
	const uint8 *last_shape;
	List	   *incarnations;	/* of VerifyIncarnation */
	List	   *events;			/* what the entries tell of what is audited */
} Verify;

#define NO_LEAF		(-1)
#define NO_ENTRY	(-1)

/* A problem; leaf and entry where they are known. */
extern void VerifyProblem(Verify *v, int64 leaf, int64 entry, const char *format,...) pg_attribute_printf(4, 5);

/* --- verify_scan.c: rows of heaps that may be damaged -------------------------------- */

/* A row that is visible; the values point into a copy of its page. */
typedef struct VerifyRow
{
	Relation	rel;
	ItemPointerData tid;
	ItemPointerData root;		/* where indexes lead to */
	bool		forced;			/* it names no transaction that made it */
	Datum	   *values;
	bool	   *nulls;
} VerifyRow;
typedef void (*VerifyRowCallback) (Verify *v, const VerifyRow *row, void *arg);

/* Run it in a subtransaction: NULL, or the message of an error over stored bytes. */
extern char *VerifyGuarded(void (*work) (void *arg), void *arg);
/* One of our private tables, opened; NULL, and a problem, where it is not a plain heap. */
extern Relation VerifyOpen(Verify *v, const char *name);
/* Every visible row of a heap, in the order in which it lies. */
extern void VerifyScan(Verify *v, Relation rel, VerifyRowCallback callback, void *arg);
/* The same for the row at tid; false where there is no visible one. */
extern bool VerifyFetch(Verify *v, Relation rel, ItemPointer tid, VerifyRowCallback callback, void *arg);
/* The bytes of a varlena value, detoasted if need be in v->page; false: why. */
extern bool VerifyBytes(Verify *v, const VerifyRow *row, int column, bw_bytes *bytes, const char **why);

/* --- verify_list.c: lists that may be longer than memory ------------------------------- */

/* Numbers in their order, each with another. */
typedef struct NumberSort NumberSort;
extern NumberSort *NumberSortBegin(void);
extern void NumberSortAdd(NumberSort *sort, int64 number, int64 with);
extern void NumberSortPerform(NumberSort *sort);
extern bool NumberSortNext(NumberSort *sort, int64 *number, int64 *with);
/* The same, of a sort to which all were added with a hash. */
extern void NumberSortAddHash(NumberSort *sort, int64 number, int64 with, const bw_hash hash);
extern bool NumberSortNextHash(NumberSort *sort, int64 *number, int64 *with, bw_hash hash);
extern void NumberSortEnd(NumberSort *sort);

/* A row's place as such a number. */
static inline int64
VerifyPackTid(const ItemPointerData *tid)
{
	return (int64) ItemPointerGetBlockNumberNoCheck(tid) << 16 | ItemPointerGetOffsetNumberNoCheck(tid);
}

static inline ItemPointerData
VerifyUnpackTid(int64 packed)
{
	ItemPointerData tid;

	ItemPointerSet(&tid, (BlockNumber) (packed >> 16), (OffsetNumber) (packed & 0xffff));
	return tid;
}

/* Records of one size, by their place. */
typedef struct RecordFile RecordFile;
/* Ended with the verification. */
extern RecordFile *RecordFileBegin(Verify *v, Size size);
extern void RecordFileAdd(RecordFile *file, const void *record);
extern uint64 RecordFileLength(const RecordFile *file);
/* Valid until the next call. */
extern const void *RecordFileGet(RecordFile *file, uint64 n);
extern void RecordFileEnd(RecordFile *file);

/* --- verify_tree.c: tiles --------------------------------------------------------------- */

extern void VerifyTreeBegin(Verify *v);
/* The root of the first size leaves, sizes ascending; false: not to be had. */
extern bool VerifyTreeRoot(Verify *v, uint64 size, bw_hash root);
/* After the last root: what is in the tables beyond it. */
extern void VerifyTreeFinish(Verify *v);
/* The hashes of a tile of level 0: how many, 0 where it cannot be read. */
extern int	VerifyTile(Verify *v, uint64 tile, bw_hash hashes[256]);

/* --- verify_block.c: blocks, checkpoints, where transactions are --------------------------- */

extern void VerifyBlocksRun(Verify *v);
/* The transaction's leaves: the first one's index and their number; false: in no block. */
extern bool VerifyFindRun(Verify *v, uint32 incarnation, uint64 xid, uint64 *first, uint64 *count);
/* Was it still in progress when that incarnation was sealed last? */
extern bool VerifyUnsealed(Verify *v, uint32 incarnation, uint64 xid);
/* The blocks' table of transactions that other blocks' snapshots saw in progress. */
extern void VerifyStragglers(Verify *v);

/* --- verify_entry.c: entries; verify_pending.c: those that are not sealed ------------------- */

extern void VerifyEntriesRun(Verify *v);

typedef struct VerifyPending VerifyPending;
extern VerifyPending *PendingBegin(void);
extern void PendingAdd(VerifyPending *pending, const bw_leaf *leaf, const bw_hash hash);
extern void PendingFinish(Verify *v, VerifyPending *pending);

/* --- verify_erasure.c: contents that are gone ------------------------------------------------- */

typedef struct Erasures Erasures;
extern Erasures *ErasuresBegin(void);
/* An entry has no content. */
extern void ErasuresGone(Erasures *erasures, const bw_leaf *leaf, const bw_hash hash, int64 leaf_index);
/* The metadata of a record of erasure. */
extern void ErasuresNamed(Verify *v, Erasures *erasures, const bw_leaf *leaf, int64 leaf_index, const bw_bytes *metadata);
/* Every content that is gone is one whose erasure was recorded. */
extern void ErasuresFinish(Verify *v, Erasures *erasures);

/* --- verify_index.c: what indexes hide --------------------------------------------------------- */

/* Rows of a heap by their places. */
typedef struct TidSet TidSet;
extern TidSet *TidSetMake(Verify *v, BlockNumber pages);
extern void TidSetAdd(TidSet *set, const ItemPointerData *tid);
/* Every index of the heap must lead to all of these. */
extern void VerifyIndexes(Verify *v, Relation heap, const TidSet *wanted);

/* --- verify_table.c: the small tables ------------------------------------------------------ */

extern void VerifyShapes(Verify *v);
extern bool VerifyShapeKnown(Verify *v, const uint8 id[BW_SHAPE_ID_LEN]);
typedef struct VerifyIncarnation
{
	uint32		incarnation;
	uint64		system_identifier;
	uint32		timeline;
	uint64		tree_size;		/* when it began */
	bool		any;			/* it has a block: the newest, whose xip points into bytes */
	bw_block	newest;
	uint8	   *bytes;
} VerifyIncarnation;
extern void VerifyIncarnations(Verify *v);
/* NULL: there is none of that number. */
extern VerifyIncarnation *VerifyIncarnationOf(Verify *v, uint32 number);
/* The signing keys in the order of their epochs, in v->context. */
extern void VerifyKeys(Verify *v, bw_trust *trust);
/* The segments, opened and locked; what is wrong with them is a problem. */
extern List *VerifySegments(Verify *v);
/* What the sealer has found before. */
extern void VerifyFindings(Verify *v);

#endif							/* BULWARK_VERIFY_H */
