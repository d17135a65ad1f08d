/*
 * log.c
 *		The log of this database: begun with its first entry, known by its id,
 *		and in another incarnation wherever the database turns out to be another
 *		than it was, since transaction ids may then come a second time.
 */
#include "ledger/log.h"
#include "ledger/sealer.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/pg_namespace.h"
#include "keyring/keyring.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

#include "access/timeline.h"
#include "access/xlog_internal.h"

#define LOG_TABLE			"ledger_log"
#define INCARNATION_TABLE	"ledger_incarnations"
/* Of advisory locks; the last field tells them from those of SQL, which has 1 and 2. */
#define LOCK_SPACE			0x62756c77
#define LOCK_CLASS			0x6277

/* Where this database is: what an incarnation remembers. */
typedef struct Place
{
	char		system_identifier[24];
	pg_uuid_t	database_id;
	Oid			database_oid;
	uint32		timeline;
} Place;

static Log current;
static Oid	log_relid = InvalidOid;	/* its table: current is valid */
static bool placed = false;		/* current's incarnation is where we are */
static bool own = false;		/* begun by this transaction */
static bool read_in_recovery = false;
static bool callbacks = false;

/* --- our own writes ----------------------------------------------------------- */

bool
LedgerLock(LedgerLockKind kind, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, LOCK_SPACE, (uint32) kind, LOCK_CLASS);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

static Relation
open_private(const char *table, LOCKMODE lockmode)
{
	Oid			relid = PrivateRelid(table);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("bulwark is not installed in this database"),
				 errhint("Run CREATE EXTENSION bulwark.")));
	return table_open(relid, lockmode);
}

void
LedgerInsert(const char *table, const Datum *values, const bool *nulls)
{
	Relation	rel = open_private(table, RowExclusiveLock);
	HeapTuple	tuple = heap_form_tuple(RelationGetDescr(rel), unconstify(Datum *, values),
										unconstify(bool *, nulls));

	CatalogTupleInsert(rel, tuple);
	heap_freetuple(tuple);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* The indexes of segments are on expressions: those need more than catalogs do. */
static void
insert_index_entries(Relation rel, HeapTuple tuple)
{
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *target = makeNode(ResultRelInfo);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);

	ExecStoreHeapTuple(tuple, slot, false);
	slot->tts_tableOid = RelationGetRelid(rel);
	InitResultRelInfo(target, rel, 0, NULL, 0);
	ExecOpenIndices(target, false);
	(void) BW_INSERT_INDEX_TUPLES(target, slot, estate);
	ExecCloseIndices(target);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(estate);
}

void
LedgerUpdate(Relation rel, ItemPointer tid, const Datum *values, const bool *nulls,
			 const bool *replace)
{
	HeapTupleData old;
	Buffer		buffer;
	HeapTuple	tuple;
	Snapshot	snapshot = RegisterSnapshot(LedgerSnapshot());

	old.t_self = *tid;
	if (!heap_fetch(rel, snapshot, &old, &buffer, false))
		elog(ERROR, "row of \"%s\" is gone", RelationGetRelationName(rel));
	tuple = heap_modify_tuple(&old, RelationGetDescr(rel), unconstify(Datum *, values),
							  unconstify(bool *, nulls), unconstify(bool *, replace));
	ReleaseBuffer(buffer);
	UnregisterSnapshot(snapshot);
	BW_SIMPLE_HEAP_UPDATE(rel, tid, tuple);
	if (!HeapTupleIsHeapOnly(tuple))
		insert_index_entries(rel, tuple);
	heap_freetuple(tuple);
	CommandCounterIncrement();
}

Snapshot
LedgerSnapshot(void)
{
	return IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot();
}

/* --- what is remembered, and until when ------------------------------------------ */

static void
forget(void)
{
	log_relid = InvalidOid;
	placed = false;
	KeysForget();
}

static void
relation_changed(Datum arg, Oid relid)
{
	if (OidIsValid(log_relid) && (relid == log_relid || relid == InvalidOid) && !own)
		forget();
}

static void
at_xact_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			if (own)
				forget();
			/* FALLTHROUGH */
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
			own = false;
			break;
		default:
			break;
	}
}

/* What a savepoint began may be gone with it: look again. */
static void
at_subxact_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	if (own)
		forget();
}

static void
register_callbacks(void)
{
	if (callbacks)
		return;
	RelationWatch(relation_changed);
	RegisterXactCallback(at_xact_end, NULL);
	RegisterSubXactCallback(at_subxact_end, NULL);
	callbacks = true;
}

bool
LogIsOwn(void)
{
	return own;
}

/* --- reading ------------------------------------------------------------------------ */

/* The only row of a table, or that with the largest int4 in its first column; NULL: none. */
static HeapTuple
last_row(Relation rel)
{
	Snapshot	snapshot = RegisterSnapshot(LedgerSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	HeapTuple	row;
	HeapTuple	last = NULL;
	int32		number = 0;

	while ((row = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_attribute first = TupleDescAttr(RelationGetDescr(rel), 0);
		bool		isnull;
		int32		n = 0;

		if (first->atttypid == INT4OID)
			n = DatumGetInt32(heap_getattr(row, 1, RelationGetDescr(rel), &isnull));
		if (last == NULL || n > number)
		{
			if (last)
				heap_freetuple(last);
			last = heap_copytuple(row);
			number = n;
		}
	}
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	return last;
}

static void
current_place(Place *place)
{
	Relation	rel = open_private("database_identity", AccessShareLock);
	HeapTuple	row = last_row(rel);
	bool		isnull;

	if (row == NULL)
		elog(ERROR, "this database has no identity");
	place->database_id = *DatumGetUUIDP(heap_getattr(row, 2, RelationGetDescr(rel), &isnull));
	table_close(rel, AccessShareLock);
	snprintf(place->system_identifier, sizeof(place->system_identifier), UINT64_FORMAT,
			 GetSystemIdentifier());
	place->database_oid = MyDatabaseId;
	place->timeline = GetWALInsertionTimeLine();
}

static void
row_place(HeapTuple row, TupleDesc desc, Place *place)
{
	bool		isnull;

	strlcpy(place->system_identifier,
			DatumGetCString(DirectFunctionCall1(numeric_out, heap_getattr(row, 3, desc, &isnull))),
			sizeof(place->system_identifier));
	place->database_id = *DatumGetUUIDP(heap_getattr(row, 4, desc, &isnull));
	place->database_oid = (Oid) DatumGetInt64(heap_getattr(row, 5, desc, &isnull));
	place->timeline = (uint32) DatumGetInt32(heap_getattr(row, 6, desc, &isnull));
}

/* Did recovery stop at a point that somebody chose?  The timeline's history says so. */
static bool
timeline_is_fork(uint32 timeline)
{
	char		path[MAXPGPATH];
	char		line[MAXPGPATH];
	FILE	   *file;
	bool		fork = false;

	TLHistoryFilePath(path, timeline);
	file = AllocateFile(path, "r");
	if (file == NULL)
		return false;
	while (fgets(line, sizeof(line), file) != NULL)
		if (line[strspn(line, " \t\r\n")] != '\0')
			fork = (strstr(line, "no recovery target specified") == NULL);
	FreeFile(file);
	return fork;
}

/* Why the database is not where it was; NULL: it is. */
static const char *
moved(const Place *before, const Place *now)
{
	if (memcmp(&before->database_id, &now->database_id, UUID_LEN) != 0)
		return "restored";
	if (strcmp(before->system_identifier, now->system_identifier) != 0)
		return "upgraded";
	if (before->database_oid != now->database_oid)
		return "cloned";
	if (before->timeline != now->timeline)
		return timeline_is_fork(now->timeline) ? "restored" : "promoted";
	return NULL;
}

/* Fill current from the tables; *place of its incarnation.  False: no log yet. */
static bool
read_log(Place *place)
{
	Oid			relid = PrivateRelid(LOG_TABLE);
	Relation	rel;
	HeapTuple	row;
	bool		isnull;

	if (!OidIsValid(relid))
		return false;
	rel = table_open(relid, AccessShareLock);
	row = last_row(rel);
	if (row != NULL)
		current.log_id = *DatumGetUUIDP(heap_getattr(row, 2, RelationGetDescr(rel), &isnull));
	table_close(rel, AccessShareLock);
	if (row == NULL)
		return false;

	rel = open_private(INCARNATION_TABLE, AccessShareLock);
	row = last_row(rel);
	if (row != NULL)
	{
		current.incarnation = (uint32) DatumGetInt32(heap_getattr(row, 1, RelationGetDescr(rel), &isnull));
		row_place(row, RelationGetDescr(rel), place);
	}
	table_close(rel, AccessShareLock);
	if (row == NULL)
		return false;
	log_relid = relid;
	read_in_recovery = RecoveryInProgress();
	return true;
}

const Log *
LogPeek(void)
{
	Place		place;
	MemoryContext context;
	MemoryContext caller;
	bool		found;

	if (OidIsValid(log_relid) && !(read_in_recovery && !RecoveryInProgress()))
		return &current;
	if (LedgerRestoring())
		return NULL;
	register_callbacks();
	context = AllocSetContextCreate(CurrentMemoryContext, "bulwark log", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	placed = false;
	found = read_log(&place);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return found ? &current : NULL;
}

char *
LogOrigin(const Log *log)
{
	return psprintf("bulwark/%s", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&log->log_id))));
}

/* --- beginning ------------------------------------------------------------------------ */

static void
insert_incarnation(uint32 incarnation, const char *cause, const Place *place)
{
	Datum		values[8];
	bool		nulls[8] = {false};

	values[0] = Int32GetDatum((int32) incarnation);
	values[1] = CStringGetTextDatum(cause);
	values[2] = DirectFunctionCall3(numeric_in, CStringGetDatum(place->system_identifier),
									ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	values[3] = UUIDPGetDatum(&place->database_id);
	values[4] = Int64GetDatum((int64) place->database_oid);
	values[5] = Int32GetDatum((int32) place->timeline);
	values[6] = Int64GetDatum((int64) TreeSize());
	values[7] = TimestampTzGetDatum(GetCurrentTimestamp());
	LedgerInsert(INCARNATION_TABLE, values, nulls);
}

/* Log id, first incarnation, keys, segments: all in the caller's transaction. */
static void
begin_log(const Place *place)
{
	Datum		values[3];
	bool		nulls[3] = {false};

	if (!bw_random(&current.log_id, UUID_LEN))
		elog(ERROR, "no random bytes");
	current.log_id.data[6] = (current.log_id.data[6] & 0x0F) | 0x40;
	current.log_id.data[8] = (current.log_id.data[8] & 0x3F) | 0x80;
	current.incarnation = 1;
	values[0] = BoolGetDatum(true);
	values[1] = UUIDPGetDatum(&current.log_id);
	values[2] = TimestampTzGetDatum(GetCurrentTimestamp());
	LedgerInsert(LOG_TABLE, values, nulls);
	insert_incarnation(current.incarnation, "created", place);

	log_relid = PrivateRelid(LOG_TABLE);
	own = placed = true;
	(void) LedgerKeysMake();
	SegmentsBegin();
}

/*
 * A dump brought them, pg_upgrade's of the definitions too: it may have been made
 * without our triggers, or loaded without, and never says that they go with us.
 */
static void
guard_segments(void)
{
	ListCell   *lc;

	foreach(lc, SegmentAll())
		GuardSegment(lfirst_oid(lc));
}

/* Another incarnation, told to every back end when it commits, and an entry. */
static void
begin_incarnation(const char *cause, const Place *before, const Place *now)
{
	Entry		entry = {.source = SOURCE_SYSTEM, .action = "configuration", .entity_type = "bulwark.ledger"};
	char	   *metadata;

	own = true;					/* from here on an abort makes us look again */
	current.incarnation++;
	insert_incarnation(current.incarnation, cause, now);
	if (strcmp(cause, "restored") == 0)
		SegmentsForgetSealed();
	if (strcmp(cause, "restored") == 0 || strcmp(cause, "upgraded") == 0)
		guard_segments();
	CacheInvalidateRelcacheByRelid(log_relid);
	placed = true;

	metadata = psprintf("{\"operation\": \"incarnation\", \"cause\": \"%s\", \"incarnation\": %u, \"tree_size\": " INT64_FORMAT
						", \"system_identifier\": \"%s\", \"timeline\": %u, \"timeline_before\": %u}",
						cause, current.incarnation, (int64) TreeSize(), now->system_identifier,
						now->timeline, before->timeline);
	entry.entity_id = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&current.log_id)));
	entry.metadata = metadata;
	LedgerAppend(&entry);
	ereport(LOG,
			(errmsg("bulwark: the ledger goes on in incarnation %u, because its database was %s",
					current.incarnation, cause)));
}

/* Under the lock: look again, since another may have been first. */
static void
begin_whatever_is_missing(void)
{
	Place		before;
	Place		now;
	const char *cause;

	(void) LedgerLock(LEDGER_LOCK_LOG, true);
	current_place(&now);
	if (!read_log(&before))
		begin_log(&now);
	else if ((cause = moved(&before, &now)) != NULL)
		begin_incarnation(cause, &before, &now);
	placed = true;
}

const Log *
LogOpen(void)
{
	TrustedScope scope;
	MemoryContext context;
	MemoryContext caller;
	Place		before;
	Place		now;

	if (likely(OidIsValid(log_relid) && placed))
		return &current;

	PreventCommandDuringRecovery("writing to the ledger");
	if (LedgerRestoring())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a ledger is being restored into this database"),
				 errhint("Set bulwark.restore to off when it is done.")));
	register_callbacks();
	context = AllocSetContextCreate(CurrentMemoryContext, "bulwark log", ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	current_place(&now);
	if (read_log(&before) && moved(&before, &now) == NULL)
		placed = true;
	else
	{
		KeyringRequire();
		if (IsInParallelMode())
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
					 errmsg("cannot begin the ledger during a parallel operation")));
		TrustedBegin(&scope);
		LedgerWorkBegin();
		begin_whatever_is_missing();
		LedgerWorkEnd();
		TrustedEnd(&scope);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return &current;
}

void
LedgerInit(void)
{
	LedgerKeysInit();
	AppendInit();
	CaptureInit();
	SegmentInit();
	SpoolInit();
	WorkerInit();
	GuardInit();
	EventInit();
	ViewInit();
	EstimateInit();
}
