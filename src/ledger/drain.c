/*
 * drain.c
 *		The worker's end of the spool: entries become the ledger's, a group in
 *		one transaction, and whoever waits is told when that is on disk.
 *
 *		An entry leaves the spool after its commit and not before, so an error
 *		costs nothing but another try.  Should a single entry be what fails, it is
 *		tried alone, three times, and then counted instead of written.
 */
#include "ledger/event.h"
#include "ledger/sealer.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define GROUP_MAX		500
#define FAILURES_MAX	3
#define PAUSE			USECS_PER_SEC	/* after an error */
#define DRAIN_LOCK		0x42570001	/* "BW" */

static List *taken = NIL;		/* what is being written, for the handling of an error */
static bool one_by_one = false;
static TimestampTz not_before = 0;

/* One worker at a time takes from the spool: until the transaction ends. */
static void
lock_drain(void)
{
	LOCKTAG		tag;

	/* no advisory lock of a user's has this last field */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, DRAIN_LOCK, 3);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* The names of all relations as one more member of the metadata. */
static const char *
with_relations(const char *metadata, List *names)
{
	StringInfoData json;
	ListCell   *lc;

	initStringInfo(&json);
	if (metadata != NULL)		/* "{...}" of our own making: continue it */
		appendBinaryStringInfo(&json, metadata, strlen(metadata) - 1);
	else
		appendStringInfoChar(&json, '{');
	appendStringInfo(&json, "%s\"relations\": [", json.len > 1 ? ", " : "");
	foreach(lc, names)
	{
		appendStringInfoString(&json, foreach_current_index(lc) > 0 ? ", " : "");
		escape_json(&json, lfirst(lc));
	}
	appendStringInfoString(&json, "]}");
	return json.data;
}

static void
write_entry(const SpoolRecord *record)
{
	EntryActor	actor = record->actor;
	Annotation	asserted = {
		.route = unconstify(char *, SpoolTextOf(record, TEXT_ROUTE)),
		.request_id = unconstify(char *, SpoolTextOf(record, TEXT_REQUEST_ID)),
		.client_addr = unconstify(char *, SpoolTextOf(record, TEXT_CLIENT_ADDR)),
		.metadata = unconstify(char *, SpoolTextOf(record, TEXT_REQUEST_METADATA)),
	};
	Entry		entry = {
		.source = record->source,
		.action = SpoolTextOf(record, TEXT_ACTION),
		.time = record->time,
		.actor = &actor,
		.tenant = record->has_tenant ? &record->tenant : NULL,
		.affiliation = SpoolTextOf(record, TEXT_AFFILIATION),
		.entity_type = SpoolTextOf(record, TEXT_ENTITY_TYPE),
		.entity_id = SpoolTextOf(record, TEXT_ENTITY_ID),
		.metadata = SpoolTextOf(record, TEXT_METADATA),
		.annotated = record->annotated,
	};
	List	   *names = NIL;

	actor.email = SpoolTextOf(record, TEXT_EMAIL);
	if (actor.email == NULL && actor.present)
		actor.email = PrincipalEmail(&actor.principal);
	for (int i = 0; i < record->nrelations; i++)
	{
		char	   *name = RelationName(record->relations[i]);

		if (name != NULL)
			names = lappend(names, name);
	}
	if (list_length(names) > 1)
		entry.metadata = with_relations(entry.metadata, names);
	if (entry.entity_type == NULL)
		entry.entity_type = names != NIL ? linitial(names) : "statement";

	AnnotationLend(record->annotated ? &asserted : NULL);
	LedgerAppend(&entry);
	AnnotationLend(NULL);
}

/* So many more, of which nothing else is known. */
static void
write_folded(const SpoolFolded *folded)
{
	EntryActor	actor = folded->actor;
	Entry		entry = {
		.source = SOURCE_SYSTEM,
		.action = folded->action,
		.time = folded->last,
		.actor = &actor,
		.entity_type = folded->entity_type,
	};

	if (actor.present)
		actor.email = PrincipalEmail(&actor.principal);
	entry.metadata = psprintf("{\"folded\": " UINT64_FORMAT ", \"since\": \"%s\", \"until\": \"%s\"}",
							  folded->count, UtcText(folded->first), UtcText(folded->last));
	LedgerAppend(&entry);
}

static bool
any_waited_for(void)
{
	ListCell   *lc;

	foreach(lc, taken)
		if (((SpoolTaken *) lfirst(lc))->waited_for)
			return true;
	return false;
}

/* Write one group and commit it; how many there were.  *more: others are left. */
static int
write_group(MemoryContext context, bool *more)
{
	List	   *folded;
	ListCell   *lc;
	int			n;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	lock_drain();
	if (!OidIsValid(PrivateRelid("ledger_log")))
	{
		SpoolForget();
		PopActiveSnapshot();
		CommitTransactionCommand();
		return 0;
	}

	if (LedgerRestoring())
	{
		PopActiveSnapshot();
		CommitTransactionCommand();
		return 0;
	}

	MemoryContextSwitchTo(context);
	taken = SpoolTake(one_by_one ? 1 : GROUP_MAX, more);
	folded = SpoolTakeFolded();
	foreach(lc, taken)
		write_entry(((SpoolTaken *) lfirst(lc))->record);
	foreach(lc, folded)
		write_folded(lfirst(lc));
	n = list_length(taken) + list_length(folded);
	PopActiveSnapshot();

	/* between the commit and its being noted nothing may come */
	HOLD_INTERRUPTS();
	CommitTransactionCommand();
	if (any_waited_for())
		XLogFlush(XactLastCommitEnd);
	SpoolWritten(taken, folded);
	RESUME_INTERRUPTS();
	return n;
}

/* Does the fault lie with the server rather than the entry? */
static bool
is_passing(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_TRANSACTION_ROLLBACK:
			return true;
		default:
			return false;
	}
}

/* Keep what was not written for another try, in a while. */
static void
handle_failure(const ErrorData *edata)
{
	bool		alone = list_length(taken) == 1;

	ereport(LOG,
			(errcode(edata->sqlerrcode),
			 errmsg("entries for the ledger could not be written: %s", edata->message),
			 errdetail("%d of them stay in the spool.", list_length(taken))));
	not_before = GetCurrentTimestamp() + PAUSE;
	SpoolNotWritten(taken);
	if (is_passing(edata->sqlerrcode))
		return;
	one_by_one = true;
	if (alone && SpoolFailures(linitial(taken)) >= FAILURES_MAX)
	{
		ereport(WARNING,
				(errcode(edata->sqlerrcode),
				 errmsg("an entry for the ledger cannot be written, and is counted only")));
		SpoolDiscard(linitial(taken));
		one_by_one = false;
	}
}

/* write_group, or the handling of its error; false: nothing is left, or not to be had now. */
static bool
try_group(MemoryContext context, int *written)
{
	bool		more = false;
	volatile bool succeeded = true;

	taken = NIL;
	PG_TRY();
	{
		*written += write_group(context, &more);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		FlushErrorState();
		AnnotationLend(NULL);
		AbortCurrentTransaction();
		MemoryContextSwitchTo(context);
		handle_failure(edata);
		succeeded = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextReset(context);
	taken = NIL;
	if (succeeded && !more)
		one_by_one = false;
	return succeeded && more;
}

int
SpoolDrain(void)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	TimestampTz began = GetCurrentTimestamp();
	uint64		lost;
	int			written = 0;

	if (!SpoolPending(MyDatabaseId) || !SpoolHasKey() ||
		began < not_before)
		return 0;
	lost = SpoolTakeLost();
	if (lost > 0)
		ereport(WARNING,
				(errmsg("the ledger's spool had no room for " UINT64_FORMAT " entries, nor to count them", lost)));

	context = AllocSetContextCreate(TopMemoryContext, "bulwark spool", ALLOCSET_DEFAULT_SIZES);
	/* what a flood adds meanwhile is for the next round: sealing must go on */
	while (try_group(context, &written))
		if (GetCurrentTimestamp() - began > (int64) seal_interval * 500)
			break;
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return written;
}
