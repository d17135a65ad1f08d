/*
 * verify.c
 *		ledger_verify() and ledger_problems(): the server's own check of its
 *		ledger.  Whoever holds the server can change what it says of itself; the
 *		proof is bulwarkctl with a checkpoint that was kept elsewhere.
 */
#include "ledger/verify.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

void
VerifyProblem(Verify *v, int64 leaf, int64 entry, const char *format,...)
{
	StringInfoData text;
	int			saved = errno;

	initStringInfo(&text);
	for (;;)
	{
		va_list		args;
		int			needed;

		errno = saved;
		va_start(args, format);
		needed = appendStringInfoVA(&text, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&text, needed);
	}
	if (v->problems++ == 0)
	{
		MemoryContext caller = MemoryContextSwitchTo(v->context);

		v->first = leaf >= 0 && entry >= 0 ? psprintf("leaf " INT64_FORMAT ", entry " INT64_FORMAT ": %s", leaf, entry, text.data) :
			leaf >= 0 ? psprintf("leaf " INT64_FORMAT ": %s", leaf, text.data) :
			entry >= 0 ? psprintf("entry " INT64_FORMAT ": %s", entry, text.data) : pstrdup(text.data);
		MemoryContextSwitchTo(caller);
	}
	if (v->sink != NULL)
	{
		Datum		values[3] = {Int64GetDatum(leaf), Int64GetDatum(entry), CStringGetTextDatum(text.data)};
		bool		nulls[3] = {leaf < 0, entry < 0, false};

		tuplestore_putvalues(v->sink, v->sink_desc, values, nulls);
	}
	pfree(text.data);
}

/* --- the run ---------------------------------------------------------------------------- */

/* What one statement of this transaction has kept must count as well. */
static void
write_what_is_kept(void)
{
	if (!RecoveryInProgress())
		LedgerFlush();
}

static void
lock_segments(void)
{
	ListCell   *lc;

	foreach(lc, SegmentAll())
		LockRelationOid(lfirst_oid(lc), AccessShareLock);
}

static void
refuse_rows(Verify *v, const VerifyRow *row, void *arg)
{
	bool	   *told = arg;

	if (!*told)
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "the ledger has rows in \"%s\" and has not begun: the log's own row is gone",
					  RelationGetRelationName(row->rel));
	*told = true;
}

/* A log that has not begun has nothing. */
static void
verify_nothing(Verify *v)
{
	static const char *const tables[] = {"ledger_incarnations", "ledger_keys", "ledger_tiles", "ledger_blocks", "ledger_segments"};

	for (int i = 0; i < lengthof(tables); i++)
	{
		Relation	rel = VerifyOpen(v, tables[i]);
		bool		told = false;

		if (rel != NULL)
			VerifyScan(v, rel, refuse_rows, &told);
	}
}

/* Locks stay to the end of the transaction. */
static void
verify_end(Verify *v)
{
	ListCell   *lc;

	foreach(lc, v->opened)
		relation_close(lfirst(lc), NoLock);
	foreach(lc, v->files)
		RecordFileEnd(lfirst(lc));
	UnregisterSnapshot(v->snapshot);
	FreeAccessStrategy(v->strategy);
}

/* Guarded: what is read of our tables by the server's own means, to know where the rest is, may be damaged too. */
static void
verify_all(void *arg)
{
	Verify	   *v = arg;
	MemoryContext caller = MemoryContextSwitchTo(v->context);
	const Log  *log = LogPeek();

	lock_segments();
	v->snapshot = RegisterSnapshot(LedgerSnapshot());
	v->strategy = GetAccessStrategy(BAS_BULKREAD);
	if (log == NULL)
		verify_nothing(v);
	else
	{
		Log		   *copy = palloc(sizeof(Log));

		*copy = *log;			/* ours may be forgotten on the way */
		v->log = copy;
		v->origin = LogOrigin(copy);
		VerifyIncarnations(v);
		VerifyShapes(v);
		VerifyTreeBegin(v);
		VerifyBlocksRun(v);
		VerifyEntriesRun(v);
		VerifyStragglers(v);
		VerifyFindings(v);
	}
	MemoryContextSwitchTo(caller);
	verify_end(v);
}

/* Verify everything: problems go to the sink, where there is one. */
static void
verify_run(Verify *v)
{
	char	   *why;

	v->context = AllocSetContextCreate(CurrentMemoryContext, "bulwark verification", ALLOCSET_DEFAULT_SIZES);
	v->page = AllocSetContextCreate(v->context, "bulwark verified page", ALLOCSET_DEFAULT_SIZES);
	write_what_is_kept();
	why = VerifyGuarded(verify_all, v);
	if (why != NULL)
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "the ledger could not be read to the end: %s", why);
}

/* --- coverage ------------------------------------------------------------------------------- */

typedef struct Gaps
{
	List	   *events;
	List	   *problems;
} Gaps;

/* Guarded.  What is audited may have changed since the entries were read: what looks
 * like a gap is looked for again. */
static void
find_gaps(void *arg)
{
	Gaps	   *gaps = arg;

	gaps->problems = CoverageProblemsOf(gaps->events);
	if (gaps->problems != NIL)
		gaps->problems = CoverageProblems();
}

/* Is all that is to be audited audited?  'ok', or what is not.  No SQL function
 * stands in between that a superuser could have edited. */
static char *
coverage_verdict(const Verify *v)
{
	Gaps		gaps = {v->events, NIL};
	List	   *problems;
	const CoverageProblem *first;
	const char *why = VerifyGuarded(find_gaps, &gaps);

	if (why != NULL)
		return psprintf("could not be looked for to the end: %s", why);
	problems = gaps.problems;
	if (problems == NIL)
		return pstrdup("ok");
	first = linitial(problems);
	return list_length(problems) == 1 ? psprintf("1 gap: %s: %s", first->relation, first->problem) :
		psprintf("%d gaps, one of them: %s: %s", list_length(problems), first->relation, first->problem);
}

/* --- verdicts ------------------------------------------------------------------------------- */

static char *
integrity_verdict(const Verify *v)
{
	if (v->problems == 0)
		return pstrdup("ok");
	return v->problems == 1 ? psprintf("1 problem: %s", v->first) :
		psprintf(UINT64_FORMAT " problems, the first: %s", v->problems, v->first);
}

/* The newest checkpoint of the caller's, compared with the tree that was verified. */
static char *
anchoring_verdict(const Verify *v)
{
	const bw_checkpoint *earlier = v->earlier;

	if (v->origin == NULL || strcmp(earlier->origin, v->origin) != 0)
		return psprintf("the checkpoint is one of another log, %s", earlier->origin);
	if (earlier->size > v->tree_size)
		return psprintf("entries are missing: the checkpoint is of " UINT64_FORMAT " leaves, the ledger has " UINT64_FORMAT,
						earlier->size, v->tree_size);
	if (!v->compared || v->differs)
		return psprintf("equivocation: the first " UINT64_FORMAT " leaves are not those of the checkpoint", earlier->size);
	if (v->other_block)
		return psprintf("equivocation: block " UINT64_FORMAT " is not the one of the checkpoint", earlier->block);
	if (!v->key_trusted)
		return pstrdup("the ledger's checkpoints are not signed by this key, nor by one that follows it");
	return pstrdup("ok");
}

static Datum
verdict(FunctionCallInfo fcinfo, const Verify *v, const char *refused)
{
	char	   *integrity = integrity_verdict(v);
	char	   *coverage = coverage_verdict(v);
	const char *anchoring = refused != NULL ? refused : v->earlier != NULL ? anchoring_verdict(v) : "not checked";
	Datum		values[8];
	bool		nulls[8] = {false};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = BoolGetDatum(strcmp(integrity, "ok") == 0 && strcmp(coverage, "ok") == 0 &&
							 (v->earlier == NULL || strcmp(anchoring, "ok") == 0));
	values[1] = CStringGetTextDatum(integrity);
	values[2] = CStringGetTextDatum(coverage);
	values[3] = CStringGetTextDatum(anchoring);
	values[4] = Int64GetDatum((int64) v->tree_size);
	values[5] = Int64GetDatum((int64) v->entries);
	values[6] = Int64GetDatum((int64) v->pending);
	values[7] = Int64GetDatum((int64) v->problems);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

PG_FUNCTION_INFO_V1(bulwark_ledger_verify);
Datum
bulwark_ledger_verify(PG_FUNCTION_ARGS)
{
	Verify		v = {0};

	verify_run(&v);
	return verdict(fcinfo, &v, NULL);
}

/* What is wrong with the checkpoint under the key; NULL: nothing. */
static const char *
open_checkpoint(const char *note, const bw_vkey *vkey, bw_checkpoint *checkpoint)
{
	size_t		body_len;
	bw_note_result result = bw_note_verify(note, strlen(note), vkey, &body_len);

	if (result == BW_NOTE_MALFORMED ||
		(result == BW_NOTE_OK && !bw_checkpoint_parse(note, body_len, checkpoint)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("not a signed checkpoint")));
	if (result == BW_NOTE_UNKNOWN_KEY)
		return "the checkpoint is not signed by this key";
	if (result == BW_NOTE_BAD_SIGNATURE)
		return "the signature of the checkpoint is wrong";
	return NULL;
}

PG_FUNCTION_INFO_V1(bulwark_ledger_verify_checkpoint);
Datum
bulwark_ledger_verify_checkpoint(PG_FUNCTION_ARGS)
{
	char	   *note = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *key = text_to_cstring(PG_GETARG_TEXT_PP(1));
	bw_checkpoint checkpoint = {{0}};
	bw_vkey		vkey;
	Verify		v = {0};
	const char *refused;

	if (!bw_vkey_parse(key, strlen(key), &vkey))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("not a verifier key"),
				 errhint("It has the form <origin>+<hash>+<base64>, as ledger_public_key() shows it.")));
	refused = open_checkpoint(note, &vkey, &checkpoint);
	v.earlier = &checkpoint;
	v.pinned = &vkey;
	verify_run(&v);
	return verdict(fcinfo, &v, refused);
}

PG_FUNCTION_INFO_V1(bulwark_ledger_problems);
Datum
bulwark_ledger_problems(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Verify		v = {0};

	InitMaterializedSRF(fcinfo, 0);
	v.sink = result->setResult;
	v.sink_desc = result->setDesc;
	verify_run(&v);
	return (Datum) 0;
}
