/*
 * scan.c
 *		Which rows of the segments may not be sealed yet.
 *
 * Segments only grow at their end, so a page has been dealt with for good once
 * nothing more can be written to it and no row on it is of a transaction in
 * progress.  The first such page that is not is the segment's mark, which is
 * stored.  Beyond it the worker remembers, for each transaction in progress, the
 * pages that hold rows of it, and looks at them again when it has ended: so a
 * transaction that stays open for an hour costs nothing a round.
 */
#include "ledger/sealer.h"

#include "access/heapam.h"
#include "access/relation.h"
#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "nodes/bitmapset.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define INSERTERS_WAIT_MS	100
#define SAVE_STEP			64	/* pages: what a restart may read again */

typedef struct PendingXid
{
	TransactionId xid;			/* of the top level */
	TimestampTz since;			/* first met */
	Bitmapset  *blocks;
} PendingXid;

typedef struct Track
{
	Oid			relid;
	int64		filenode;
	int64		frontier;		/* pages before it get no more rows */
	int64		last_live;		/* last page that has a row that stays; -1: none */
	int64		saved;
	List	   *pending;		/* PendingXid */
	bool		closed;			/* no writer comes any more */
	bool		finished;		/* and all is sealed */
	/* of this round */
	Relation	rel;
	int64		nblocks;
	const Segment *segment;
} Track;

static MemoryContext track_context = NULL;
static List *tracks = NIL;		/* Track */

typedef struct RowScan
{
	Snapshot	snapshot;
	SegmentRow	callback;
	void	   *arg;
	BufferAccessStrategy strategy;
	TransactionId last_xmin;	/* whose top-level transaction is last_top */
	TransactionId last_top;
} RowScan;

void
ScanForget(void)
{
	if (track_context != NULL)
		MemoryContextReset(track_context);
	tracks = NIL;
}

static Track *
find_track(Oid relid)
{
	ListCell   *cell;

	foreach(cell, tracks)
	{
		Track	   *track = lfirst(cell);

		if (track->relid == relid)
			return track;
	}
	return NULL;
}

void
ScanNoteClosed(Oid relid)
{
	Track	   *track = find_track(relid);

	if (track != NULL)
		track->closed = true;
}

bool
ScanIsFinished(Oid relid)
{
	Track	   *track = find_track(relid);

	return track != NULL && track->finished;
}

TransactionId
ScanOldestPending(TimestampTz *since)
{
	TransactionId oldest = InvalidTransactionId;
	ListCell   *cell;
	ListCell   *lc;

	*since = 0;
	foreach(cell, tracks)
		foreach(lc, ((Track *) lfirst(cell))->pending)
	{
		PendingXid *pending = lfirst(lc);

		if (oldest == InvalidTransactionId || pending->since < *since)
		{
			oldest = pending->xid;
			*since = pending->since;
		}
	}
	return oldest;
}

/* --- pages ----------------------------------------------------------------------------- */

static void
add_pending(Track *track, TransactionId xid, BlockNumber block)
{
	MemoryContext caller = MemoryContextSwitchTo(track_context);
	PendingXid *pending = NULL;
	ListCell   *cell;

	foreach(cell, track->pending)
		if (((PendingXid *) lfirst(cell))->xid == xid)
			pending = lfirst(cell);
	if (pending == NULL)
	{
		pending = palloc0(sizeof(PendingXid));
		pending->xid = xid;
		pending->since = GetCurrentTimestamp();
		track->pending = lappend(track->pending, pending);
	}
	pending->blocks = bms_add_member(pending->blocks, (int) block);
	MemoryContextSwitchTo(caller);
}

static void
remove_pending(Track *track, BlockNumber block)
{
	ListCell   *cell;

	foreach(cell, track->pending)
	{
		PendingXid *pending = lfirst(cell);

		pending->blocks = bms_del_member(pending->blocks, (int) block);
	}
}

/* Forget those that no page waits for any more. */
static void
drop_finished(Track *track)
{
	ListCell   *cell;

	foreach(cell, track->pending)
	{
		PendingXid *pending = lfirst(cell);

		if (!bms_is_empty(pending->blocks))
			continue;
		track->pending = foreach_delete_current(track->pending, cell);
		pfree(pending);
	}
}

/* The transaction, seen from its top, that a row waits for; invalid: none. */
static TransactionId
waits_for(RowScan *scan, HeapTupleHeader row)
{
	TransactionId xmin = HeapTupleHeaderGetRawXmin(row);

	if (HeapTupleHeaderXminFrozen(row) || !TransactionIdIsNormal(xmin))
		return InvalidTransactionId;
	if (xmin == scan->last_xmin)
		return scan->last_top;
	scan->last_xmin = xmin;
	if (TransactionIdIsCurrentTransactionId(xmin))
		scan->last_top = GetTopTransactionId();
	else if (XidInMVCCSnapshot(xmin, scan->snapshot))
		scan->last_top = SubTransGetTopmostTransaction(xmin);
	else
		scan->last_top = InvalidTransactionId;
	return scan->last_top;
}

static void
scan_block(RowScan *scan, Track *track, BlockNumber block)
{
	OffsetNumber visible[MaxHeapTuplesPerPage];
	int			n = 0;
	Buffer		buffer = ReadBufferExtended(track->rel, MAIN_FORKNUM, block, RBM_NORMAL, scan->strategy);
	Page		page = BufferGetPage(buffer);
	HeapTupleData row;

	WorkerCheck();
	row.t_tableOid = track->relid;
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	for (OffsetNumber i = FirstOffsetNumber; !PageIsNew(page) && i <= PageGetMaxOffsetNumber(page); i++)
	{
		ItemId		item = PageGetItemId(page, i);
		TransactionId top;

		if (!ItemIdIsNormal(item))
			continue;
		row.t_data = (HeapTupleHeader) PageGetItem(page, item);
		row.t_len = ItemIdGetLength(item);
		ItemPointerSet(&row.t_self, block, i);
		top = waits_for(scan, row.t_data);
		if (TransactionIdIsValid(top))
		{
			if (track_context != NULL)
				add_pending(track, top, block);
		}
		else if (HeapTupleSatisfiesVisibility(&row, scan->snapshot, buffer))
			visible[n++] = i;
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);

	/* rows do not move while the page is pinned */
	for (int i = 0; i < n; i++)
	{
		ItemId		item = PageGetItemId(page, visible[i]);

		row.t_data = (HeapTupleHeader) PageGetItem(page, item);
		row.t_len = ItemIdGetLength(item);
		ItemPointerSet(&row.t_self, block, visible[i]);
		scan->callback(track->rel, &row, scan->arg);
	}
	if (n > 0)
		track->last_live = Max(track->last_live, (int64) block);
	ReleaseBuffer(buffer);
}

/* --- segments ----------------------------------------------------------------------------- */

static Track *
track_of(const Segment *segment)
{
	Track	   *track = find_track(segment->relid);
	Relation	rel = relation_open(segment->relid, AccessShareLock);
	int64		filenode = (int64) BW_FILENODE(rel);
	MemoryContext caller;

	if (track == NULL)
	{
		caller = MemoryContextSwitchTo(track_context);
		track = palloc0(sizeof(Track));
		track->relid = segment->relid;
		tracks = lappend(tracks, track);
		MemoryContextSwitchTo(caller);
		track->filenode = segment->filenode;
		track->frontier = track->saved = segment->sealed_blocks;
		track->last_live = track->frontier - 1;
	}
	track->rel = rel;
	track->segment = segment;
	track->nblocks = RelationGetNumberOfBlocks(rel);

	/* rewritten, or shorter than it was: nothing is known of it */
	if (track->filenode != filenode || track->nblocks < track->frontier)
	{
		track->filenode = filenode;
		track->frontier = 0;
		track->last_live = -1;
		track->pending = NIL;
		track->finished = false;
	}
	return track;
}

static void
scan_track(RowScan *scan, Track *track)
{
	Bitmapset  *due = NULL;
	ListCell   *cell;
	int			block = -1;

	foreach(cell, track->pending)
	{
		PendingXid *pending = lfirst(cell);

		if (!XidInMVCCSnapshot(pending->xid, scan->snapshot))
			due = bms_add_members(due, pending->blocks);
	}
	while ((block = bms_next_member(due, block)) >= 0)
		if (block < track->frontier)
		{
			remove_pending(track, (BlockNumber) block);
			scan_block(scan, track, (BlockNumber) block);
		}
	for (int64 i = track->frontier; i < track->nblocks; i++)
	{
		remove_pending(track, (BlockNumber) i);
		scan_block(scan, track, (BlockNumber) i);
	}
	bms_free(due);
	drop_finished(track);
}

void
ScanUnsealed(Snapshot snapshot, SegmentRow callback, void *arg)
{
	RowScan		scan = {.snapshot = snapshot, .callback = callback, .arg = arg};
	List	   *now = NIL;
	ListCell   *cell;
	int64		pages = 0;
	bool		passed;

	if (track_context == NULL)
		track_context = AllocSetContextCreate(TopMemoryContext, "bulwark unsealed entries", ALLOCSET_DEFAULT_SIZES);
	foreach(cell, SegmentList())
	{
		const Segment *segment = lfirst(cell);
		Track	   *track;

		if (!OidIsValid(segment->relid) || segment->state == SEGMENT_AHEAD || segment->state == SEGMENT_INDEXED)
			continue;
		track = track_of(segment);
		if (segment->state == SEGMENT_ACTIVE)
			SegmentTellLastPage(track->rel, (BlockNumber) track->nblocks);
		now = lappend(now, track);
		pages += track->nblocks - track->frontier;
	}

	/*
	 * Sizes first, then wait for those who chose their page before, then look: who
	 * comes later does not go before a segment's last page.
	 */
	passed = InsertersPass(INSERTERS_WAIT_MS);
	scan.strategy = GetAccessStrategy(pages > NBuffers / 4 ? BAS_BULKREAD : BAS_NORMAL);
	foreach(cell, now)
	{
		Track	   *track = lfirst(cell);

		scan_track(&scan, track);
		if (passed)
			track->frontier = Max(track->frontier, Min(track->nblocks - 1, track->last_live + 1));
		track->finished = track->closed && track->pending == NIL;
		relation_close(track->rel, NoLock);
		track->rel = NULL;
	}
	if (scan.strategy)
		FreeAccessStrategy(scan.strategy);
	list_free(now);
}

/* Before the frontier and before everything that is pending. */
static int64
mark_of(const Track *track)
{
	int64		mark = track->finished ? track->nblocks : track->frontier;
	ListCell   *cell;

	foreach(cell, track->pending)
	{
		int			first = bms_next_member(((PendingXid *) lfirst(cell))->blocks, -1);

		if (first >= 0)
			mark = Min(mark, first);
	}
	return Max(mark, 0);
}

void
ScanSaveMarks(void)
{
	ListCell   *cell;

	foreach(cell, SegmentList())
	{
		const Segment *segment = lfirst(cell);
		Track	   *track = find_track(segment->relid);
		int64		mark;

		if (track == NULL || segment->state == SEGMENT_AHEAD || segment->state == SEGMENT_INDEXED)
			continue;
		mark = mark_of(track);
		if (segment->filenode == track->filenode && mark < track->saved + SAVE_STEP && !track->finished)
			continue;
		if (segment->filenode == track->filenode && mark == track->saved)
			continue;
		SegmentSetSealed(segment, mark, track->filenode);
		track->saved = mark;
	}
}

void
ScanPeek(Snapshot snapshot, SegmentRow callback, void *arg)
{
	RowScan		scan = {.snapshot = snapshot, .callback = callback, .arg = arg};
	MemoryContext kept = track_context;
	ListCell   *cell;

	track_context = NULL;		/* remember nothing */
	foreach(cell, SegmentList())
	{
		const Segment *segment = lfirst(cell);
		Track		track = {.relid = segment->relid};

		if (!OidIsValid(segment->relid) || segment->state == SEGMENT_AHEAD || segment->state == SEGMENT_INDEXED)
			continue;
		track.rel = relation_open(segment->relid, AccessShareLock);
		track.nblocks = RelationGetNumberOfBlocks(track.rel);
		if (segment->filenode == (int64) BW_FILENODE(track.rel))
			track.frontier = segment->sealed_blocks;
		for (int64 block = track.frontier; block < track.nblocks; block++)
			scan_block(&scan, &track, (BlockNumber) block);
		relation_close(track.rel, NoLock);
	}
	track_context = kept;
}
