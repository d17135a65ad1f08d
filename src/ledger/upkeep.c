/*
 * upkeep.c
 *		Segments kept up by the worker: one made ahead, the next one taken when
 *		the active one is large or old, closed ones given their indexes.
 *
 * Every lock that a writer could wait for, or make us wait, is taken only where it
 * can be had at once; else a later round tries again.  One step a call, each in a
 * transaction of its own, so that sealing goes on in between.
 */
#include "ledger/sealer.h"

#include "access/relation.h"
#include "access/xact.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "nodes/makefuncs.h"
#include "parser/parse_utilcmd.h"
#include "parser/parser.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/snapmgr.h"

#define SEGMENT_AGE_US	(INT64CONST(31) * USECS_PER_DAY)

/*
 * What people ask for, in the order of time where there may be many.  That of
 * entity ids is a hash: they may be longer than a B-tree takes.  What is made from
 * a content, which can be erased, leaves no samples in the catalog of statistics.
 */
static const struct
{
	const char *definition;
	bool		of_content;
}			indexes[] = {
	{"btree (bulwark_internal.leaf_entry_id(leaf))", false},
	{"btree (bulwark_internal.leaf_time(leaf))", false},
	{"btree (bulwark_internal.leaf_actor(leaf), bulwark_internal.leaf_time(leaf))", false},
	{"btree (bulwark_internal.leaf_action(leaf), bulwark_internal.leaf_time(leaf))", false},
	{"btree (bulwark_internal.leaf_tenant(leaf), bulwark_internal.leaf_time(leaf))", false},
	{"btree (bulwark_internal.leaf_entity_type(leaf), bulwark_internal.leaf_time(leaf))", false},
	{"hash (bulwark_internal.content_entity_id(content))", true},
};

static const Segment *
segment_in(List *segments, SegmentState state)
{
	ListCell   *cell;

	foreach(cell, segments)
	{
		const Segment *segment = lfirst(cell);

		if (segment->state == state)
			return segment;
	}
	return NULL;
}

/* --- the next one -------------------------------------------------------------------- */

static bool
segment_is_full(const Segment *segment)
{
	Relation	rel = relation_open(segment->relid, AccessShareLock);
	int64		blocks = RelationGetNumberOfBlocks(rel);

	relation_close(rel, NoLock);
	return blocks >= (int64) ledger_segment_size * 1024 / BLCKSZ ||
		(blocks > 0 && GetCurrentTimestamp() - segment->opened_at > SEGMENT_AGE_US);
}

static bool
make_ahead(List *segments)
{
	const Segment *last;
	TrustedScope scope;

	/* as the making of a child locks its parent: somebody's transaction may have it for long */
	if (segments == NIL || segment_in(segments, SEGMENT_AHEAD) != NULL ||
		!ConditionalLockRelationOid(PrivateRelid("ledger_entries"), ShareUpdateExclusiveLock))
		return false;
	last = llast(segments);
	TrustedBegin(&scope);
	LedgerWorkBegin();
	SegmentCreate(last->number + 1, SEGMENT_AHEAD);
	LedgerWorkEnd();
	TrustedEnd(&scope);
	return true;
}

/* *number: the segment that is active once this has been committed. */
static bool
take_next(List *segments, int32 *number, Oid *relid)
{
	const Segment *active = segment_in(segments, SEGMENT_ACTIVE);
	const Segment *next = segment_in(segments, SEGMENT_AHEAD);

	if (active == NULL || next == NULL || !OidIsValid(active->relid) || !segment_is_full(active))
		return false;
	LedgerWorkBegin();
	SegmentSetState(active, SEGMENT_CLOSED);
	SegmentSetState(next, SEGMENT_ACTIVE);
	LedgerWorkEnd();
	*number = next->number;
	*relid = next->relid;
	return true;
}

/* --- indexes ------------------------------------------------------------------------------- */

/* The name says which index of the segment it is. */
static char *
index_name(const Segment *segment, int i)
{
	return psprintf("ledger_segment_%d_%d", segment->number, i + 1);
}

static void
keep_no_statistics(Oid index)
{
	AlterTableCmd *command = makeNode(AlterTableCmd);

	command->subtype = AT_SetStatistics;
	command->num = 1;
	command->def = (Node *) makeInteger(0);
	AlterTableInternal(index, list_make1(command), false);
	CommandCounterIncrement();
}

static void
make_index(const Segment *segment, int i)
{
	char	   *sql = psprintf("CREATE INDEX %s ON bulwark_internal.ledger_segment_%d USING %s",
							   index_name(segment, i), segment->number, indexes[i].definition);
	List	   *parsed = raw_parser(sql, RAW_PARSE_DEFAULT);
	IndexStmt  *stmt = (IndexStmt *) linitial_node(RawStmt, parsed)->stmt;

	stmt->tableSpace = NULL;
	stmt = transformIndexStmt(segment->relid, stmt, sql);
	BW_DEFINE_INDEX(segment->relid, stmt);
	CommandCounterIncrement();
	if (indexes[i].of_content)
		keep_no_statistics(PrivateRelid(index_name(segment, i)));
}

/*
 * No writer has the segment, nor can one get it any more, and its rows are all sealed;
 * readers are welcome.  Where it is not so yet, a later round looks again.
 */
static bool
is_complete(const Segment *segment)
{
	bool		locked = ConditionalLockRelationOid(segment->relid, ShareLock);

	if (locked && ScanIsFinished(segment->relid))
		return true;
	if (locked)
		ScanNoteClosed(segment->relid);
	SealerWake();
	return false;
}

/* One more index of a closed segment; true: something was done. */
static bool
index_segment(const Segment *segment)
{
	TrustedScope scope;
	int			i;

	if (!OidIsValid(segment->relid) || !is_complete(segment))
		return false;
	for (i = 0; i < lengthof(indexes); i++)
		if (!OidIsValid(PrivateRelid(index_name(segment, i))))
			break;

	TrustedBegin(&scope);
	LedgerWorkBegin();
	if (i < lengthof(indexes))
		make_index(segment, i);
	else
	{
		/* so that plans know its indexes */
		(void) TrustedExec(psprintf("ANALYZE bulwark_internal.ledger_segment_%d", segment->number), 0, NULL, NULL, NULL);
		SegmentSetState(segment, SEGMENT_INDEXED);
	}
	LedgerWorkEnd();
	TrustedEnd(&scope);
	return true;
}

bool
SegmentsKeepUp(void)
{
	List	   *segments;
	ListCell   *cell;
	int32		number = 0;
	Oid			relid = InvalidOid;
	bool		done;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	done = LogPeek() != NULL && LedgerLock(LEDGER_LOCK_SEGMENTS, false);
	if (done)
	{
		segments = SegmentList();
		done = make_ahead(segments) || take_next(segments, &number, &relid);
		foreach(cell, segments)
		{
			const Segment *segment = lfirst(cell);

			if (!done && segment->state == SEGMENT_CLOSED)
				done = index_segment(segment);
		}
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	if (OidIsValid(relid))
		SegmentPublishActive(number, relid);
	return done;
}
