/*
 * status.c
 *		What waits to be sealed, and who should be doing it.
 */
#include "ledger/sealer.h"

#include "access/htup_details.h"
#include "common/record.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/snapmgr.h"

#define UNIX_EPOCH_US	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

PG_FUNCTION_INFO_V1(bulwark_ledger_pending);

typedef struct Pending
{
	int64		rows;
	int64		oldest;
	/* what was last looked up */
	uint32		incarnation;
	uint64		xid;
	bool		sealed;
} Pending;

/* Entries of a transaction are sealed together. */
static void
count_row(Relation rel, HeapTuple row, void *arg)
{
	Pending    *pending = arg;
	bool		isnull;
	bytea	   *leaf = DatumGetByteaPP(heap_getattr(row, 1, RelationGetDescr(rel), &isnull));
	uint32_t	incarnation;
	uint32_t	sequence;
	uint64_t	xid;
	int64_t		time;
	uint64		first;
	uint64		entries;

	if (isnull || !bw_leaf_get_position(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), &incarnation, &xid, &sequence) ||
		!bw_leaf_get_time(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), &time))
		return;
	if (pending->xid != xid || pending->incarnation != incarnation)
	{
		pending->xid = xid;
		pending->incarnation = incarnation;
		pending->sealed = TreeFindRun(incarnation, xid, &first, &entries);
	}
	if (pending->sealed)
		return;
	if (pending->rows++ == 0 || time < pending->oldest)
		pending->oldest = time;
}

/* bulwark_internal.ledger_pending() */
Datum
bulwark_ledger_pending(PG_FUNCTION_ARGS)
{
	Pending		pending = {0};
	DatabaseSlot *slot = SlotMine();
	Snapshot	snapshot;
	TupleDesc	desc;
	Datum		values[5];
	bool		nulls[5] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (LogPeek() != NULL)
	{
		snapshot = RegisterSnapshot(LedgerSnapshot());
		ScanPeek(snapshot, count_row, &pending);
		UnregisterSnapshot(snapshot);
	}
	values[0] = Int64GetDatum(pending.rows);
	values[1] = TimestampTzGetDatum(pending.oldest - UNIX_EPOCH_US);
	nulls[1] = (pending.rows == 0);
	nulls[2] = nulls[3] = nulls[4] = (slot == NULL);
	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		values[2] = Int32GetDatum(slot->worker_pid);
		nulls[2] = (slot->worker_pid <= 0);
		values[3] = TimestampTzGetDatum(slot->sealed_at);
		nulls[3] = (slot->sealed_at == 0);
		values[4] = Int32GetDatum(slot->failed_in_row);
		SpinLockRelease(&slot->mutex);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
