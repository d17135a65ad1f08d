/*
 * verify.h
 *		What the files of the verification share.
 *
 * Everything is recomputed from the bytes that are stored.  Tables are read page
 * by page in their heap, never through an index, and nothing on a page is
 * trusted: pointers and lengths are checked before they are followed, so that
 * damage is a problem that has a name and not a crash.  All of it under one
 * snapshot, in constant memory.
 */
#ifndef BULWARK_VERIFY_H
#define BULWARK_VERIFY_H

#include "ledger/log.h"

#include "common/block.h"
#include "common/merkle.h"
#include "common/note.h"
#include "common/record.h"

#include "storage/bufmgr.h"
#include "utils/snapshot.h"
#include "utils/tuplestore.h"

typedef struct VerifyTree VerifyTree;
typedef struct VerifyEntries VerifyEntries;

typedef struct Verify
{
	const Log  *log;
	char	   *origin;
	Snapshot	snapshot;
	BufferAccessStrategy strategy;
	MemoryContext context;		/* lives as long as the verification */
	MemoryContext page;			/* reset after each page */
	List	   *segments;		/* open relations */

	/* What is found. */
	uint64		problems;
	Tuplestorestate *sink;		/* of ledger_problems(), or NULL */
	TupleDesc	sink_desc;
	char	   *first_problem;

	/* An earlier checkpoint to compare with. */
	const bw_checkpoint *earlier;
	bool		earlier_seen;
	uint8		earlier_root[BW_SHA256_LEN];	/* ours of its size */

	uint64		tree_size;
	uint64		entries;
	uint64		pending;
	VerifyTree *tree;
	VerifyEntries *of_entries;
} Verify;

#define NO_LEAF		(-1)
#define NO_ENTRY	(-1)

/* A problem; leaf and entry where they are known. */
extern void VerifyProblem(Verify *v, int64 leaf, int64 entry, const char *format,...) pg_attribute_printf(4, 5);

/* --- verify_scan.c --------------------------------------------------------------- */

/* A row that is visible; the values point into a copy of its page. */
typedef struct VerifyRow
{
	Relation	rel;
	ItemPointerData tid;
	Datum	   *values;
	bool	   *nulls;
} VerifyRow;
typedef void (*VerifyRowCallback) (Verify *v, const VerifyRow *row, void *arg);

/* Every visible row of a heap, in the order in which it lies. */
extern void VerifyScan(Verify *v, Relation rel, VerifyRowCallback callback, void *arg);
/* The same for the row at tid; false where there is no visible one. */
extern bool VerifyFetch(Verify *v, Relation rel, ItemPointer tid, VerifyRowCallback callback, void *arg);
/* The bytes of a varlena value, detoasted if need be in v->page; false: why. */
extern bool VerifyBytes(Verify *v, const VerifyRow *row, int column, bw_bytes *bytes, const char **why);
/* One of our private tables, opened; NULL (and a problem) where it is not a plain heap. */
extern Relation VerifyOpen(Verify *v, const char *name);

/* --- verify_tree.c: tiles, blocks, checkpoints -------------------------------------- */

extern void VerifyTreeRun(Verify *v);
/* The transaction's leaves: the first one's index and their number; false: in no block. */
extern bool VerifyTreeFind(Verify *v, uint32 incarnation, uint64 xid, uint64 *first, uint64 *count);
/* Was it still in progress when that incarnation was sealed last? */
extern bool VerifyTreeUnsealed(Verify *v, uint32 incarnation, uint64 xid);
/* Hashes of a tile of level 0, as many as it has; 0 where it cannot be read. */
extern int	VerifyTreeTile(Verify *v, uint64 tile, uint8 *hashes);

/* --- verify_entry.c: entries ------------------------------------------------------------ */

extern void VerifyEntriesRun(Verify *v);

/* --- verify_misc.c: shapes, segments, keys, incarnations ---------------------------------- */

extern void VerifyShapes(Verify *v);
extern bool VerifyShapeKnown(Verify *v, const uint8 id[BW_SHAPE_ID_LEN]);

#endif							/* BULWARK_VERIFY_H */
