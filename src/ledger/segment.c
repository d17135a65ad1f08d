/*
 * segment.c
 *		Where entries go: plain heap tables, children of ledger_entries, one of
 *		which is the active one.
 *
 * The active segment is known from shared memory, so that a writer reads no
 * catalog of ours.  Having locked it the writer looks again: so once the sealer has
 * named another, and then got a lock that excludes writers, no row can come any more.
 */
#include "ledger/sealer.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "catalog/toasting.h"
#include "commands/tablecmds.h"
#include "commands/tablespace.h"
#include "nodes/makefuncs.h"
#include "replication/logicalworker.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#define SEGMENTS_TABLE	"ledger_segments"
#define SEGMENT_NAME	"ledger_segment_%d"

int			ledger_segment_size = 32 * 1024;

static const char *const state_names[] = {"ahead", "active", "closed", "indexed"};
static bool wrote = false;		/* this transaction put rows into a segment, ... */
static bool began = false;		/* ... which it has made itself: nobody else can read it yet */

/* --- the table of segments -------------------------------------------------------- */

static SegmentState
state_of(const char *name)
{
	for (int i = 0; i < lengthof(state_names); i++)
		if (strcmp(name, state_names[i]) == 0)
			return i;
	elog(ERROR, "segment in an unknown state");
}

static int
older_first(const ListCell *a, const ListCell *b)
{
	const Segment *left = lfirst(a);
	const Segment *right = lfirst(b);

	return left->number < right->number ? -1 : left->number > right->number;
}

static Segment *
segment_read(HeapTuple row, TupleDesc desc)
{
	Segment    *segment = palloc0(sizeof(Segment));
	char		name[NAMEDATALEN];
	bool		isnull;

	segment->number = DatumGetInt32(heap_getattr(row, 1, desc, &isnull));
	segment->state = state_of(TextDatumGetCString(heap_getattr(row, 2, desc, &isnull)));
	segment->sealed_blocks = DatumGetInt64(heap_getattr(row, 3, desc, &isnull));
	segment->filenode = DatumGetInt64(heap_getattr(row, 4, desc, &isnull));
	segment->opened_at = DatumGetTimestampTz(heap_getattr(row, 5, desc, &isnull));
	segment->closed_at = DatumGetTimestampTz(heap_getattr(row, 6, desc, &isnull));
	segment->tid = row->t_self;
	snprintf(name, sizeof(name), SEGMENT_NAME, segment->number);
	segment->relid = PrivateRelid(name);
	return segment;
}

List *
SegmentList(void)
{
	Oid			relid = PrivateRelid(SEGMENTS_TABLE);
	Relation	rel;
	Snapshot	snapshot;
	TableScanDesc scan;
	HeapTuple	row;
	List	   *segments = NIL;

	if (!OidIsValid(relid))
		return NIL;
	rel = table_open(relid, AccessShareLock);
	snapshot = RegisterSnapshot(LedgerSnapshot());
	scan = table_beginscan(rel, snapshot, 0, NULL);
	while ((row = heap_getnext(scan, ForwardScanDirection)) != NULL)
		segments = lappend(segments, segment_read(row, RelationGetDescr(rel)));
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	list_sort(segments, older_first);
	return segments;
}

List *
SegmentAll(void)
{
	List	   *relids = NIL;
	ListCell   *cell;

	foreach(cell, SegmentList())
	{
		const Segment *segment = lfirst(cell);

		if (OidIsValid(segment->relid))
			relids = lappend_oid(relids, segment->relid);
	}
	return relids;
}

#define SEGMENT_COLUMNS 6

static void
segment_update(const Segment *segment, const Datum values[SEGMENT_COLUMNS],
			   const bool replace[SEGMENT_COLUMNS])
{
	Relation	rel = table_open(PrivateRelid(SEGMENTS_TABLE), RowExclusiveLock);
	bool		nulls[SEGMENT_COLUMNS] = {false};
	ItemPointerData tid = segment->tid;

	LedgerUpdate(rel, &tid, values, nulls, replace);
	table_close(rel, NoLock);
}

void
SegmentSetState(const Segment *segment, SegmentState state)
{
	Datum		values[SEGMENT_COLUMNS] = {0};
	bool		replace[SEGMENT_COLUMNS] = {false};

	values[1] = CStringGetTextDatum(state_names[state]);
	replace[1] = true;
	values[4] = values[5] = TimestampTzGetDatum(GetCurrentTimestamp());
	replace[4] = (state == SEGMENT_ACTIVE);
	replace[5] = (state == SEGMENT_CLOSED);
	segment_update(segment, values, replace);
}

void
SegmentSetSealed(const Segment *segment, int64 blocks, int64 filenode)
{
	Datum		values[SEGMENT_COLUMNS] = {0};
	bool		replace[SEGMENT_COLUMNS] = {false};

	values[2] = Int64GetDatum(blocks);
	values[3] = Int64GetDatum(filenode);
	replace[2] = replace[3] = true;
	segment_update(segment, values, replace);
}

void
SegmentsForgetSealed(void)
{
	ListCell   *cell;

	foreach(cell, SegmentList())
		SegmentSetSealed(lfirst(cell), 0, 0);
}

/* --- making one --------------------------------------------------------------------- */

/* Append-only: freeze at the first chance, never give pages back (inserter.c). */
static List *
storage_options(void)
{
	List	   *options = NIL;

	options = lappend(options, makeDefElem("vacuum_truncate", (Node *) makeString("false"), -1));
	options = lappend(options, makeDefElem("autovacuum_freeze_min_age", (Node *) makeString("0"), -1));
	options = lappend(options, makeDefElemExtended("toast", "autovacuum_freeze_min_age",
												   (Node *) makeString("0"), DEFELEM_UNSPEC, -1));
	return options;
}

/* Default privileges of the extension's owner give nothing of ours away. */
static void
drop_default_privileges(Oid relid)
{
	Relation	pg_class = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple	row = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relid));
	Datum		values[Natts_pg_class] = {0};
	bool		nulls[Natts_pg_class] = {false};
	bool		replace[Natts_pg_class] = {false};
	Datum		old;
	bool		isnull;

	if (!HeapTupleIsValid(row))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	old = SysCacheGetAttr(RELOID, row, Anum_pg_class_relacl, &isnull);
	if (!isnull)
	{
		Oid			owner = ((Form_pg_class) GETSTRUCT(row))->relowner;
		Oid		   *members;
		int			n = aclmembers(DatumGetAclP(old), &members);

		updateAclDependencies(RelationRelationId, relid, 0, owner, n, members, 0, NULL);
		nulls[Anum_pg_class_relacl - 1] = replace[Anum_pg_class_relacl - 1] = true;
		row = heap_modify_tuple(row, RelationGetDescr(pg_class), values, nulls, replace);
		CatalogTupleUpdate(pg_class, &row->t_self, row);
	}
	table_close(pg_class, RowExclusiveLock);
	CommandCounterIncrement();
}

static Oid
create_table(const char *name)
{
	static char *namespaces[] = HEAP_RELOPT_NAMESPACES;
	CreateStmt *stmt = makeNode(CreateStmt);
	AlterTableCmd *security = makeNode(AlterTableCmd);
	AlterTableCmd *statistics = makeNode(AlterTableCmd);
	char	   *schema = pstrdup(BULWARK_PRIVATE_SCHEMA);
	Datum		toast;
	Oid			relid;

	stmt->relation = makeRangeVar(schema, pstrdup(name), -1);
	stmt->inhRelations = list_make1(makeRangeVar(schema, pstrdup("ledger_entries"), -1));
	stmt->options = storage_options();
	stmt->oncommit = ONCOMMIT_NOOP;
	/* not what the session's settings would choose */
	stmt->accessMethod = pstrdup("heap");
	stmt->tablespacename = get_tablespace_name(MyDatabaseTableSpace);
	relid = DefineRelation(stmt, RELKIND_RELATION, InvalidOid, NULL, NULL).objectId;
	CommandCounterIncrement();

	toast = transformRelOptions((Datum) 0, stmt->options, "toast", BW_RELOPT_NAMESPACES(namespaces), true, false);
	NewRelationCreateToastTable(relid, toast);
	CommandCounterIncrement();
	security->subtype = AT_EnableRowSecurity;
	/* contents can be erased, samples of them in the catalog cannot */
	statistics->subtype = AT_SetStatistics;
	statistics->name = pstrdup("content");
	statistics->def = (Node *) makeInteger(0);
	AlterTableInternal(relid, list_make2(security, statistics), false);
	CommandCounterIncrement();
	drop_default_privileges(relid);
	/* it goes with the extension, but its rows are dumped: it is no member */
	GuardSegment(relid);
	return relid;
}

void
SegmentCreate(int32 number, SegmentState state)
{
	char		name[NAMEDATALEN];
	Datum		values[SEGMENT_COLUMNS];
	bool		nulls[SEGMENT_COLUMNS] = {false};

	snprintf(name, sizeof(name), SEGMENT_NAME, number);
	(void) create_table(name);
	values[0] = Int32GetDatum(number);
	values[1] = CStringGetTextDatum(state_names[state]);
	values[2] = Int64GetDatum(0);
	values[3] = Int64GetDatum(0);
	values[4] = TimestampTzGetDatum(GetCurrentTimestamp());
	nulls[4] = (state != SEGMENT_ACTIVE);
	values[5] = (Datum) 0;
	nulls[5] = true;
	LedgerInsert(SEGMENTS_TABLE, values, nulls);
}

void
SegmentsBegin(void)
{
	SegmentCreate(1, SEGMENT_ACTIVE);
	SegmentCreate(2, SEGMENT_AHEAD);
}

/* --- the active one --------------------------------------------------------------- */

/* A writer's own look never takes shared memory back to an older segment. */
void
SegmentPublishActive(int32 number, Oid relid)
{
	DatabaseSlot *slot = SlotMine();
	uint64		wanted = (uint64) number << 32 | relid;
	uint64		known;

	if (slot == NULL)
		return;
	known = pg_atomic_read_u64(&slot->active);
	while (known < wanted && !pg_atomic_compare_exchange_u64(&slot->active, &known, wanted))
		;
}

/* The table says which; it is told to others where it is committed. */
static Oid
active_from_table(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "bulwark segments", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Oid			relid = InvalidOid;
	ListCell   *cell;

	foreach(cell, SegmentList())
	{
		const Segment *segment = lfirst(cell);

		if (segment->state != SEGMENT_ACTIVE)
			continue;
		relid = segment->relid;
		if (OidIsValid(relid) && !LogIsOwn())
			SegmentPublishActive(segment->number, relid);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the ledger has no active segment")));
	return relid;
}

static Oid
active_relid(void)
{
	DatabaseSlot *slot = LogIsOwn() ? NULL : SlotMine();
	uint64		known = slot != NULL ? pg_atomic_read_u64(&slot->active) : 0;

	return known != 0 ? (Oid) (known & PG_UINT32_MAX) : active_from_table();
}

/* What shared memory names is gone: the extension was dropped and made again. */
static void
forget_active(Oid relid)
{
	DatabaseSlot *slot = SlotMine();
	uint64		known;

	if (slot == NULL)
		return;
	known = pg_atomic_read_u64(&slot->active);
	if ((Oid) (known & PG_UINT32_MAX) == relid)
		(void) pg_atomic_compare_exchange_u64(&slot->active, &known, 0);
}

Relation
SegmentOpenActive(void)
{
	(void) LogOpen();
	for (;;)
	{
		Oid			relid = active_relid();
		Relation	rel = try_relation_open(relid, RowExclusiveLock);

		if (rel == NULL)
		{
			forget_active(relid);
			continue;
		}
		if (likely(active_relid() == relid))
			return rel;
		relation_close(rel, RowExclusiveLock);
	}
}

TupleDesc
SegmentDesc(void)
{
	static TupleDesc desc = NULL;

	if (desc == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc	made = CreateTemplateTupleDesc(2);

		TupleDescInitEntry(made, 1, "leaf", BYTEAOID, -1, 0);
		TupleDescInitEntry(made, 2, "content", BYTEAOID, -1, 0);
		desc = made;
		MemoryContextSwitchTo(caller);
	}
	return desc;
}

/*
 * The last page.  Asking the kernel each time is dear, so it stands in shared memory:
 * the sealer says which relation's and how far that had come when it looked, writers
 * move it on.  A writer may be late to, but has then begun before the sealer looked,
 * and is waited for; who begins later sees what the sealer said, or more.  Hence a
 * writer never puts in another relation, nor an earlier page.
 */
#define PAGE_OF(rel, block)		((uint64) BW_FILENODE(rel) << 32 | (block))

static BlockNumber
last_page(Relation rel)
{
	DatabaseSlot *slot = SlotMine();
	uint64		known = slot != NULL ? pg_atomic_read_u64(&slot->last_page) : 0;

	/* unknown: the server asks for the relation's size */
	return known >> 32 == BW_FILENODE(rel) ? (BlockNumber) known : InvalidBlockNumber;
}

static void
move_last_page(Relation rel, BlockNumber block)
{
	DatabaseSlot *slot = SlotMine();
	uint64		known = slot != NULL ? pg_atomic_read_u64(&slot->last_page) : 0;

	while (known >> 32 == BW_FILENODE(rel) && (BlockNumber) known < block &&
		   !pg_atomic_compare_exchange_u64(&slot->last_page, &known, PAGE_OF(rel, block)))
		;
}

void
SegmentTellLastPage(Relation rel, BlockNumber nblocks)
{
	DatabaseSlot *slot = SlotMine();
	uint64		known;

	if (slot == NULL || nblocks == 0)
		return;
	known = pg_atomic_read_u64(&slot->last_page);
	while ((known >> 32 != BW_FILENODE(rel) || (BlockNumber) known < nblocks - 1) &&
		   !pg_atomic_compare_exchange_u64(&slot->last_page, &known, PAGE_OF(rel, nblocks - 1)))
		;
}

void
SegmentInsert(TupleTableSlot **slots, int n, CommandId cid)
{
	Relation	rel = SegmentOpenActive();

	wrote = true;
	began |= LogIsOwn();
	InserterBegin();
	/* the last page, or a new one: never room that was left further ahead */
	RelationSetTargetBlock(rel, last_page(rel));
	heap_multi_insert(rel, slots, n, cid, HEAP_INSERT_SKIP_FSM, NULL);
	move_last_page(rel, ItemPointerGetBlockNumber(&slots[n - 1]->tts_tid));
	InserterEnd();
	table_close(rel, NoLock);
}

/*
 * A worker of logical replication commits what was prepared here without a statement
 * that aside.c could see: a transaction of its own that changes nothing.
 */
static bool
applied_prepared(XactEvent event)
{
	return event == XACT_EVENT_COMMIT && IsLogicalWorker() &&
		!TransactionIdIsValid(GetTopTransactionIdIfAny());
}

static void
at_xact_end(XactEvent event, void *arg)
{
	if (!wrote)
	{
		if (unlikely(applied_prepared(event)))
			SealerWake();
		return;
	}
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			wrote = false;
			SealerWake();
			if (!began)
				SealWaitAfterCommit();
			began = false;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			wrote = began = false;
			InserterEnd();
			break;
		default:
			break;
	}
}

/* An error in the middle of an insertion that a savepoint catches. */
static void
at_subxact_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	if (wrote && event == SUBXACT_EVENT_ABORT_SUB)
		InserterEnd();
}

void
SegmentInit(void)
{
	DefineCustomIntVariable("bulwark.ledger_segment_size",
							"Size at which the ledger goes on in another segment.",
							NULL, &ledger_segment_size, 32 * 1024, 1024, 64 * 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_KB | GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	SlotInit();
	InserterInit();
	ToldInit();
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
}
