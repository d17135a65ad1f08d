/*
 * rewrite.c
 *		Rows of a table rewritten in batches, while others read and write it.
 *
 *		A row is locked and read again in its newest version before it is written,
 *		so nothing of a concurrent writer is lost.  Rows that others have locked are
 *		passed over and left to another pass, so that batches deadlock with nobody;
 *		the last of them are waited for one at a time.
 */
#include "secrets/column.h"

#include "access/heapam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define SEEN_FACTOR		50		/* rows that a batch reads at most, for each that it may write */

bool
RewriteBegin(RewritePass *pass, Oid relid, bool wait)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);

	memset(pass, 0, sizeof(*pass));
	pass->relid = relid;
	pass->wait = wait;
	ItemPointerSet(&pass->next, 0, FirstOffsetNumber);
	if (rel == NULL)
	{
		pass->done = true;
		return false;
	}
	pass->blocks = RelationGetNumberOfBlocks(rel);
	pass->done = pass->blocks == 0;
	relation_close(rel, AccessShareLock);
	return true;
}

/* The newest version of the row, locked, in *locked; false: it is gone, or not to be had. */
static bool
lock_row(Relation rel, RewritePass *pass, ItemPointer tid, Snapshot snapshot, TupleTableSlot *locked)
{
	TM_FailureData failure;
	TM_Result	result = table_tuple_lock(rel, tid, snapshot, locked, GetCurrentCommandId(false),
										  LockTupleNoKeyExclusive,
										  pass->wait ? LockWaitBlock : LockWaitSkip,
										  TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);

	switch (result)
	{
		case TM_Ok:
			return true;
		case TM_Deleted:
			return false;
		default:				/* somebody is at it: another pass */
			pass->locked++;
			return false;
	}
}

typedef struct RewriteState
{
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *target;
	TupleTableSlot *locked;
	TupleTableSlot *fresh;
	MemoryContext row_context;
	Snapshot	snapshot;
} RewriteState;

static void
state_begin(RewriteState *state, Relation rel)
{
	state->rel = rel;
	state->estate = CreateExecutorState();
	state->target = makeNode(ResultRelInfo);
	InitResultRelInfo(state->target, rel, 0, NULL, 0);
	state->target->ri_TrigDesc = NULL;	/* none fires */
	ExecOpenIndices(state->target, false);
	state->locked = table_slot_create(rel, NULL);
	state->fresh = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);
	state->row_context = AllocSetContextCreate(CurrentMemoryContext, "bulwark row", ALLOCSET_DEFAULT_SIZES);
	PushActiveSnapshot(GetLatestSnapshot());
	state->snapshot = GetActiveSnapshot();
	state->estate->es_snapshot = state->snapshot;
}

static void
state_end(RewriteState *state)
{
	ExecDropSingleTupleTableSlot(state->locked);
	ExecDropSingleTupleTableSlot(state->fresh);
	ExecCloseIndices(state->target);
	FreeExecutorState(state->estate);
	MemoryContextDelete(state->row_context);
	PopActiveSnapshot();
}

/* Write the locked row with what the rewriter changes; false: nothing. */
static bool
write_row(RewriteState *state, RowRewriter rewriter, void *arg)
{
	TupleTableSlot *fresh = state->fresh;
	int			natts = RelationGetDescr(state->rel)->natts;

	ExecClearTuple(fresh);
	slot_getallattrs(state->locked);
	memcpy(fresh->tts_values, state->locked->tts_values, natts * sizeof(Datum));
	memcpy(fresh->tts_isnull, state->locked->tts_isnull, natts * sizeof(bool));
	if (!rewriter(state->locked, false, fresh->tts_values, fresh->tts_isnull, arg))
		return false;
	ExecStoreVirtualTuple(fresh);
	ExecSimpleRelationUpdate(state->target, state->estate, NULL, state->locked, fresh);
	return true;
}

/* One row of the scan. */
static void
visit_row(RewriteState *state, RewritePass *pass, TupleTableSlot *row, RowRewriter rewriter, void *arg,
		  Progress *progress)
{
	MemoryContext before = MemoryContextSwitchTo(state->row_context);

	if (rewriter(row, true, NULL, NULL, arg) &&
		lock_row(state->rel, pass, &row->tts_tid, state->snapshot, state->locked))
	{
		if (write_row(state, rewriter, arg))
			pass->written++;
		ExecClearTuple(state->locked);
	}
	MemoryContextSwitchTo(before);
	MemoryContextReset(state->row_context);
	ResetPerTupleExprContext(state->estate);
}

static void
scan_batch(Relation rel, RewritePass *pass, int batch, RowRewriter rewriter, void *arg, Progress *progress)
{
	RewriteState state;
	TableScanDesc scan;
	TupleTableSlot *row = table_slot_create(rel, NULL);
	ItemPointerData last;
	int64		limit = pass->written + batch;
	int64		seen = 0;

	state_begin(&state, rel);
	ItemPointerSet(&last, pass->blocks - 1, MaxOffsetNumber);
	scan = table_beginscan_tidrange(rel, state.snapshot, &pass->next, &last);
	pass->done = true;
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, row))
	{
		CHECK_FOR_INTERRUPTS();
		pass->next = row->tts_tid;
		ItemPointerInc(&pass->next);
		visit_row(&state, pass, row, rewriter, arg, progress);
		progress->blocks_done = ItemPointerGetBlockNumberNoCheck(&row->tts_tid);
		if (pass->written >= limit || ++seen >= (int64) batch * SEEN_FACTOR)
		{
			pass->done = false;
			break;
		}
	}
	ExecDropSingleTupleTableSlot(row);
	table_endscan(scan);
	state_end(&state);
}

int64
RewriteBatch(RewritePass *pass, int batch, RowRewriter rewriter, void *arg, Progress *progress)
{
	Relation	rel = try_relation_open(pass->relid, RowExclusiveLock);
	int64		before = pass->written;
	Oid			userid;
	int			sec_context;
	int			guc_level;

	if (rel == NULL)
	{
		pass->done = true;
		return 0;
	}
	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(rel->rd_rel->relowner, sec_context | SECURITY_RESTRICTED_OPERATION);
	guc_level = NewGUCNestLevel();
	PinSearchPath();
	progress->relid = pass->relid;
	progress->blocks_total = pass->blocks;
	scan_batch(rel, pass, pass->wait ? 1 : batch, rewriter, arg, progress);
	progress->values_written += pass->written - before;
	progress->rows_locked = pass->locked;
	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(userid, sec_context);
	relation_close(rel, NoLock);
	return pass->written - before;
}

void
RewriteAwaitWriters(Oid relid)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	WaitForLockers(tag, ShareLock, false);
}
