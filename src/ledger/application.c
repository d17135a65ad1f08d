/*
 * application.c
 *		ledger_record(): events that the application asserts, bounded in size and
 *		in number, since whoever may write entries may also write too many.
 *
 * The bucket of a principal (without an identity: of a login) holds ten seconds'
 * worth of events and fills steadily.  Buckets are in shared memory, a few to a
 * set; one that has not been asked for longest makes room, which can only give
 * somebody a full bucket again.
 */
#include "ledger/capture.h"

#include "access/detoast.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#define RECORD_MAX		8192
#define ACTION_PREFIX	"app:"
#define BUCKETS_PIECE	"bulwark ledger_record buckets"
#define SETS			256
#define WAYS			4
#define BURST_SECONDS	10

typedef struct Bucket
{
	pg_uuid_t	whose;
	TimestampTz filled_at;		/* 0: not in use */
	double		events;			/* that it holds */
} Bucket;

static Bucket (*buckets)[WAYS] = NULL;
static int	record_rate = 100;	/* bulwark.ledger_record_rate */

/* --- how many ---------------------------------------------------------------------------- */

/* The principal, or in its place what stands for a login. */
static pg_uuid_t
whose_bucket(const EntryActor *actor)
{
	pg_uuid_t	whose = {{0}};
	Oid			login = MyProc->roleId;

	if (actor->present)
		return actor->principal;
	memcpy(whose.data, &login, sizeof(login));
	memcpy(whose.data + sizeof(login), &MyDatabaseId, sizeof(Oid));
	return whose;
}

/* The bucket, in the place of the one that has rested longest if it is new. */
static Bucket *
find_bucket(const pg_uuid_t *whose)
{
	Bucket	   *set = buckets[(whose->data[0] ^ whose->data[5] ^ whose->data[15]) % SETS];
	Bucket	   *oldest = &set[0];

	for (int i = 0; i < WAYS; i++)
	{
		if (set[i].filled_at != 0 && memcmp(set[i].whose.data, whose->data, UUID_LEN) == 0)
			return &set[i];
		if (set[i].filled_at < oldest->filled_at)
			oldest = &set[i];
	}
	oldest->whose = *whose;
	oldest->filled_at = 0;
	return oldest;
}

/* Take one event out; false: there is none. */
static bool
take_event(const EntryActor *actor)
{
	pg_uuid_t	whose = whose_bucket(actor);
	LWLock	   *lock = ShmemPieceLock(BUCKETS_PIECE);
	TimestampTz now = GetCurrentTimestamp();
	double		full = (double) record_rate * BURST_SECONDS;
	Bucket	   *bucket;
	bool		taken;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	bucket = find_bucket(&whose);
	if (bucket->filled_at == 0)
		bucket->events = full;
	else if (now > bucket->filled_at)
		bucket->events += (double) (now - bucket->filled_at) / USECS_PER_SEC * record_rate;
	bucket->events = Min(bucket->events, full);
	bucket->filled_at = Max(now, bucket->filled_at);
	taken = bucket->events >= 1;
	if (taken)
		bucket->events -= 1;
	LWLockRelease(lock);
	return taken;
}

/* --- what -------------------------------------------------------------------------------------- */

static void
too_large(Size bytes)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("ledger event of %zu bytes exceeds the limit of %d", bytes, RECORD_MAX)));
}

/* The text of an argument, NULL if it is; what it takes is added to *total. */
static char *
text_argument(FunctionCallInfo fcinfo, int n, Size *total)
{
	if (PG_ARGISNULL(n))
		return NULL;
	*total += toast_raw_datum_size(PG_GETARG_DATUM(n)) - VARHDRSZ;
	if (*total > RECORD_MAX)
		too_large(*total);
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/* JSON text takes no less than about half of its binary form: most that is too
 * large is refused without being written out. */
static char *
json_argument(FunctionCallInfo fcinfo, int n, Size *total)
{
	Jsonb	   *json;
	Size		size;
	char	   *text;

	if (PG_ARGISNULL(n))
		return NULL;
	size = toast_raw_datum_size(PG_GETARG_DATUM(n));
	if (size > 64 * RECORD_MAX)
		too_large(size);
	json = PG_GETARG_JSONB_P(n);
	text = JsonbToCString(NULL, &json->root, VARSIZE(json));
	*total += strlen(text);
	if (*total > RECORD_MAX)
		too_large(*total);
	return text;
}

static void
check_action(const char *action)
{
	if (action == NULL || strncmp(action, ACTION_PREFIX, strlen(ACTION_PREFIX)) != 0 ||
		action[strlen(ACTION_PREFIX)] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the action of an application's event begins with \"" ACTION_PREFIX "\""),
				 errhint("For example: bulwark.ledger_record('app:invoice_sent', 'invoice', '42').")));
	for (const char *c = action; *c != '\0'; c++)
		if ((unsigned char) *c < 0x20 || *c == 0x7f)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the action of an event has no control characters")));
}

/* ledger_record(action, entity_type, entity_id, metadata) */
PG_FUNCTION_INFO_V1(bulwark_ledger_record);
Datum
bulwark_ledger_record(PG_FUNCTION_ARGS)
{
	Entry		entry = {.source = SOURCE_ASSERTED, .annotated = true};
	Size		total = 0;

	PreventCommandIfReadOnly("ledger_record()");
	PreventCommandDuringRecovery("ledger_record()");
	entry.action = text_argument(fcinfo, 0, &total);
	entry.entity_type = text_argument(fcinfo, 1, &total);
	entry.entity_id = text_argument(fcinfo, 2, &total);
	check_action(entry.action);
	if (entry.entity_type == NULL || entry.entity_type[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an event names the type of what it is about")));
	if (strlen(entry.action) > BW_LEAF_STRING_MAX / 4 || strlen(entry.entity_type) > BW_LEAF_STRING_MAX / 4)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the action and the type of an event have at most %d bytes each", BW_LEAF_STRING_MAX / 4)));
	entry.metadata = json_argument(fcinfo, 3, &total);
	if (!take_event(EntryActorPeek()))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many ledger events"),
				 errdetail("At most %d a second are accepted, %d at once.", record_rate, record_rate * BURST_SECONDS),
				 errhint("See bulwark.ledger_record_rate.")));
	PG_RETURN_INT64(LedgerAppend(&entry));
}

void
ApplicationInit(void)
{
	ShmemPieceRequest(BUCKETS_PIECE, sizeof(Bucket) * SETS * WAYS, (void **) &buckets, NULL);
	DefineCustomIntVariable("bulwark.ledger_record_rate",
							"Events a second that a principal may put into the ledger with ledger_record().",
							"Ten times as many at once.", &record_rate, 100, 1, 100000, PGC_SIGHUP,
							GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
}
