/*
 * export.c
 *		ledger_export(): entries that the reader may see as lines of text.
 *
 * Entries are sorted by their leaf (those not sealed yet come last), so that an
 * export in jsonl is the tree from left to right: what is left out, because it is
 * another tenant's or of another time, is stood for by the hashes of its subtrees.
 */
#include "ledger/view.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "common/note.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"

#define NOT_SEALED	PG_INT64_MAX

enum
{
	SORT_LEAF_INDEX = 1, SORT_ENTRY_ID, SORT_LEAF, SORT_CONTENT, SORT_COLUMNS = SORT_CONTENT
};

typedef struct Export
{
	ReturnSetInfo *result;
	bool		has_since;
	bool		has_until;
	TimestampTz since;
	TimestampTz until;
	uint64		tree_size;		/* leaves that the blocks account for */
	Tuplesortstate *sort;
	TupleTableSlot *sorted;		/* the next entry, empty at the end */
	HTAB	   *shapes;			/* of contents that are shown, jsonl only */
	int64		entries;
	int64		skipped;
	int64		pending;
	int64		next_leaf;
	MemoryContext per_line;
} Export;

static void
put_line(Export *export, const char *data, int len)
{
	Datum		value = PointerGetDatum(cstring_to_text_with_len(data, len));
	bool		isnull = false;

	tuplestore_putvalues(export->result->setResult, export->result->setDesc, &value, &isnull);
}

/* --- collecting -------------------------------------------------------------------- */

static bool
wanted_time(const Export *export, const bytea *leaf)
{
	int64		time;

	if (!bw_leaf_get_time(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), &time))
		return true;			/* damaged: let it be found */
	time -= (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	return (!export->has_since || time >= export->since) && (!export->has_until || time < export->until);
}

static int64
leaf_index(const bytea *leaf)
{
	uint32		incarnation;
	uint64		xid;
	uint32		sequence;

	if (!bw_leaf_get_position(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), &incarnation, &xid, &sequence))
		return -1;
	return LeafIndexOf(incarnation, xid, sequence);
}

static void
note_shape(Export *export, const bytea *content)
{
	bw_field	field;

	if (export->shapes != NULL && LedgerField(content, BW_TAG_SHAPE, &field) &&
		field.value.len == BW_SHAPE_ID_LEN)
		(void) hash_search(export->shapes, field.value.data, HASH_ENTER, NULL);
}

static void
collect_entry(Export *export, TupleTableSlot *scanned, TupleTableSlot *slot)
{
	bool		isnull;
	bytea	   *leaf = DatumGetByteaPP(slot_getattr(scanned, 1, &isnull));
	int64		index = leaf_index(leaf);
	bool		sealed = index >= 0 && (uint64) index < export->tree_size;
	uint64		entry_id = 0;
	bytea	   *content;

	if (!sealed)
		export->pending++;
	if (!wanted_time(export, leaf) || !LedgerEntryVisible(leaf))
		return;
	(void) bw_leaf_get_entry_id(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), &entry_id);
	ExecClearTuple(slot);
	slot->tts_values[SORT_LEAF_INDEX - 1] = Int64GetDatum(sealed ? index : NOT_SEALED);
	slot->tts_values[SORT_ENTRY_ID - 1] = Int64GetDatum((int64) entry_id);
	slot->tts_values[SORT_LEAF - 1] = PointerGetDatum(leaf);
	slot->tts_values[SORT_CONTENT - 1] = slot_getattr(scanned, 2, &isnull);
	memset(slot->tts_isnull, 0, SORT_COLUMNS * sizeof(bool));
	slot->tts_isnull[SORT_CONTENT - 1] = isnull;
	if (!isnull)
	{
		content = DatumGetByteaPP(slot->tts_values[SORT_CONTENT - 1]);
		slot->tts_values[SORT_CONTENT - 1] = PointerGetDatum(content);
		note_shape(export, content);
	}
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(export->sort, slot);
}

static void
collect(Export *export)
{
	TupleDesc	desc = CreateTemplateTupleDesc(SORT_COLUMNS);
	AttrNumber	keys[] = {SORT_LEAF_INDEX, SORT_ENTRY_ID};
	Oid			operators[] = {Int8LessOperator, Int8LessOperator};
	Oid			collations[] = {InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false};
	TupleTableSlot *slot;
	ListCell   *lc;

	TupleDescInitEntry(desc, SORT_LEAF_INDEX, "leaf_index", INT8OID, -1, 0);
	TupleDescInitEntry(desc, SORT_ENTRY_ID, "entry_id", INT8OID, -1, 0);
	TupleDescInitEntry(desc, SORT_LEAF, "leaf", BYTEAOID, -1, 0);
	TupleDescInitEntry(desc, SORT_CONTENT, "content", BYTEAOID, -1, 0);
	export->sort = tuplesort_begin_heap(desc, lengthof(keys), keys, operators, collations, nulls_first,
										work_mem, NULL, TUPLESORT_NONE);
	slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);

	foreach(lc, SegmentAll())
	{
		Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);
		TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
		TupleTableSlot *scanned = table_slot_create(rel, NULL);

		while (table_scan_getnextslot(scan, ForwardScanDirection, scanned))
		{
			MemoryContext old = MemoryContextSwitchTo(export->per_line);

			CHECK_FOR_INTERRUPTS();
			collect_entry(export, scanned, slot);
			MemoryContextSwitchTo(old);
			MemoryContextReset(export->per_line);
		}
		ExecDropSingleTupleTableSlot(scanned);
		table_endscan(scan);
		table_close(rel, AccessShareLock);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplesort_performsort(export->sort);
	export->sorted = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	(void) tuplesort_gettupleslot(export->sort, true, false, export->sorted, NULL);
}

/* --- the next entry ------------------------------------------------------------------ */

static bool
next_is(const Export *export, int64 *index)
{
	bool		isnull;

	if (TupIsNull(export->sorted))
		return false;
	*index = DatumGetInt64(slot_getattr(export->sorted, SORT_LEAF_INDEX, &isnull));
	return true;
}

static void
next_entry(Export *export, bytea **leaf, bytea **content)
{
	bool		isnull;

	*leaf = DatumGetByteaPP(slot_getattr(export->sorted, SORT_LEAF, &isnull));
	*content = (bytea *) DatumGetPointer(slot_getattr(export->sorted, SORT_CONTENT, &isnull));
	if (isnull)
		*content = NULL;
	export->entries++;
}

static void
advance(Export *export)
{
	CHECK_FOR_INTERRUPTS();
	(void) tuplesort_gettupleslot(export->sort, true, false, export->sorted, NULL);
}

/* --- formats of one line an entry ------------------------------------------------------ */

static void
export_lines(Export *export, const LedgerFormat *format)
{
	StringInfoData line;
	int64		index;

	initStringInfo(&line);
	if (format->header != NULL)
	{
		format->header(&line);
		put_line(export, line.data, line.len);
	}
	while (next_is(export, &index))
	{
		MemoryContext old = MemoryContextSwitchTo(export->per_line);
		bytea	   *leaf;
		bytea	   *content;
		LedgerRow	row;

		next_entry(export, &leaf, &content);
		LedgerRowFill(&row, leaf, content, index == NOT_SEALED ? -1 : index);
		resetStringInfo(&line);
		format->row(&line, &row);
		put_line(export, line.data, line.len);
		MemoryContextSwitchTo(old);
		MemoryContextReset(export->per_line);
		advance(export);
	}
}

/* --- jsonl -------------------------------------------------------------------------------- */

static void
append_base64(StringInfo line, const void *data, Size len)
{
	enlargeStringInfo(line, BW_BASE64_ENCODED_LEN(len) + 1);
	line->len += bw_base64_encode(data, len, line->data + line->len);
	line->data[line->len] = '\0';
}

/* The code point of a UTF-8 sequence, and how long that is; no such: the replacement character, 1. */
static pg_wchar
code_point(const char *text, const char *end, int *len)
{
	*len = LedgerUtf8Length(text, end);
	if (*len > 0)
		return utf8_to_unicode((const unsigned char *) text);
	*len = 1;
	return 0xfffd;
}

/*
 * JSON, which is UTF-8 whatever the database's encoding and the client's are: where
 * that is not UTF-8, in ASCII, the rest escaped.
 */
static void
append_json(StringInfo line, const char *json, int len, int encoding)
{
	const char *end;
	int			n;

	if (GetDatabaseEncoding() == PG_UTF8)
	{
		appendBinaryStringInfo(line, json, len);
		return;
	}
	if (encoding != PG_UTF8 && encoding != PG_SQL_ASCII)
	{
		char	   *converted = (char *) pg_do_encoding_conversion((unsigned char *) unconstify(char *, json), len, encoding, PG_UTF8);

		if (converted != json)
			len = (int) strlen(converted);
		json = converted;
	}
	for (end = json + len; json < end; json += n)
	{
		pg_wchar	code = code_point(json, end, &n);

		if (code < 0x80)
			appendStringInfoChar(line, (char) code);
		else if (code < 0x10000)
			appendStringInfo(line, "\\u%04x", code);
		else
			appendStringInfo(line, "\\u%04x\\u%04x", 0xd800 + ((code - 0x10000) >> 10), 0xdc00 + ((code - 0x10000) & 0x3ff));
	}
}

static void
skip(Export *export, int64 until)
{
	StringInfoData line;
	int64		at = export->next_leaf;

	if (at >= until)
		return;
	initStringInfo(&line);
	appendStringInfo(&line, "{\"type\":\"skip\",\"leaf_index\":" INT64_FORMAT ",\"count\":" INT64_FORMAT ",\"nodes\":[",
					 at, until - at);
	export->skipped += until - at;
	while (at < until)
	{
		uint8		hash[BW_SHA256_LEN];
		int			level = 0;

		while (level < 62 && (at & (((int64) 1 << (level + 1)) - 1)) == 0 &&
			   at + ((int64) 1 << (level + 1)) <= until)
			level++;
		if (!TreeHash(level, (uint64) at >> level, hash))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("a hash of the ledger's tree is missing"),
					 errhint("bulwark.ledger_problems() names it.")));
		if (at != export->next_leaf)
			appendStringInfoChar(&line, ',');
		appendStringInfoChar(&line, '"');
		append_base64(&line, hash, sizeof(hash));
		appendStringInfoChar(&line, '"');
		at += (int64) 1 << level;
	}
	appendStringInfoString(&line, "]}");
	put_line(export, line.data, line.len);
	export->next_leaf = until;
	pfree(line.data);
}

static void
put_entry(Export *export, int64 index)
{
	const Log  *log = LogPeek();
	StringInfoData line;
	StringInfoData fields;
	bytea	   *leaf;
	bytea	   *content;
	LedgerRow	row;
	bw_leaf		parsed;
	ssize_t		record_len;
	uint8	   *data;

	next_entry(export, &leaf, &content);
	record_len = bw_leaf_parse(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), &parsed);
	LedgerRowFill(&row, leaf, content, index);	/* an error if it does not parse */

	data = palloc(BW_LOG_ID_LEN + record_len);
	memcpy(data, log->log_id.data, BW_LOG_ID_LEN);
	memcpy(data + BW_LOG_ID_LEN, VARDATA_ANY(leaf), record_len);
	initStringInfo(&line);
	appendStringInfo(&line, "{\"type\":\"entry\",\"leaf_index\":" INT64_FORMAT ",\"leaf\":\"", index);
	append_base64(&line, data, BW_LOG_ID_LEN + record_len);
	appendStringInfoChar(&line, '"');
	if (content == NULL)
		appendStringInfoString(&line, ",\"content\":null");
	else if (LedgerContentWhole(leaf, content))
	{
		appendStringInfoString(&line, ",\"content\":\"");
		append_base64(&line, VARDATA_ANY(content), VARSIZE_ANY_EXHDR(content));
		appendStringInfoChar(&line, '"');
	}
	appendStringInfoString(&line, ",\"fields\":");
	initStringInfo(&fields);
	LedgerRowObject(&fields, &row);
	append_json(&line, fields.data, fields.len, GetDatabaseEncoding());
	appendStringInfoChar(&line, '}');
	put_line(export, line.data, line.len);
}

/* A block's leaves: entries, and what stands for those left out. */
static void
put_leaves(Export *export, int64 tree_size)
{
	int64		index;

	while (next_is(export, &index) && index < tree_size)
	{
		MemoryContext old = MemoryContextSwitchTo(export->per_line);

		if (index < export->next_leaf)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("leaf " INT64_FORMAT " of the ledger is there twice", index),
					 errhint("bulwark.ledger_problems() names it.")));
		skip(export, index);
		put_entry(export, index);
		export->next_leaf = index + 1;
		MemoryContextSwitchTo(old);
		MemoryContextReset(export->per_line);
		advance(export);
	}
	skip(export, tree_size);
}

/* What the private tables say, as lines; of blocks with first leaf and tree size. */
static Tuplestorestate *
private_lines(const char *sql, int nargs, const Oid *types, const Datum *values, TupleDesc *desc)
{
	MemoryContext caller = CurrentMemoryContext;
	Tuplestorestate *lines = tuplestore_begin_heap(false, false, work_mem);
	TrustedScope scope;
	Portal		portal;

	TrustedBegin(&scope);
	portal = SPI_cursor_open_with_args(NULL, sql, nargs, unconstify(Oid *, types),
									   unconstify(Datum *, values), NULL, true, 0);
	*desc = NULL;
	for (;;)
	{
		SPI_cursor_fetch(portal, true, 100);
		if (*desc == NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(caller);

			*desc = CreateTupleDescCopy(SPI_tuptable->tupdesc);
			MemoryContextSwitchTo(old);
		}
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
			tuplestore_puttuple(lines, SPI_tuptable->vals[i]);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	TrustedEnd(&scope);
	return lines;
}

static const char blocks_sql[] =
	"SELECT first_leaf, tree_size, '{\"type\":\"block\",\"block\":' || block"
	" || ',\"header\":\"' || translate(encode(header, 'base64'), E'\\n', '')"
	" || '\",\"runs\":' || CASE WHEN $1 THEN '\"' || translate(encode(runs, 'base64'), E'\\n', '') || '\"' ELSE 'null' END"
	" || ',\"checkpoint\":' || pg_catalog.to_json(checkpoint)::text || '}' AS line"
	" FROM bulwark_internal.ledger_blocks ORDER BY block";

static const char log_sql[] =
	"SELECT pg_catalog.json_build_object('type', 'log', 'version', 1, 'log_id', l.log_id, 'origin', $1, 'keys', $2::json,"
	" 'tree_size', $3, 'exported_at', pg_catalog.clock_timestamp(), 'since', $4, 'until', $5, 'whole', $6,"
	" 'incarnations', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('incarnation', i.incarnation, 'cause', i.cause,"
	" 'system_identifier', i.system_identifier::text, 'timeline', i.timeline, 'tree_size', i.tree_size,"
	" 'started_at', i.started_at) ORDER BY i.incarnation) FROM bulwark_internal.ledger_incarnations i))::text"
	" FROM bulwark_internal.ledger_log l";

static const char shape_sql[] =
	"SELECT '{\"type\":\"shape\",\"shape_id\":\"' || encode(shape_id, 'base64') || '\",\"shape\":\"'"
	" || translate(encode(shape, 'base64'), E'\\n', '') || '\"}'"
	" FROM bulwark_internal.ledger_shapes WHERE shape_id = $1 LIMIT 1";

/* One line that a statement of ours makes; nothing where it finds nothing. */
static void
put_private_line(Export *export, const char *sql, int nargs, const Oid *types, const Datum *values,
				 const bool *isnull)
{
	TrustedScope scope;
	bool		found;
	bool		null;
	Datum		line;

	TrustedBegin(&scope);
	line = TrustedScalar(sql, nargs, types, values, isnull, &found, &null);
	TrustedEnd(&scope);
	if (found && !null)
	{
		text	   *value = DatumGetTextPP(line);

		put_line(export, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	}
}

/* JSON array of the verifier keys that have signed, oldest first. */
static char *
keys_json(const char *origin)
{
	StringInfoData keys;
	uint32		newest = LedgerSignEpoch();

	initStringInfo(&keys);
	appendStringInfoChar(&keys, '[');
	for (uint32 epoch = 1; epoch <= newest; epoch++)
	{
		uint8		public_key[BW_ED25519_KEY_LEN];
		bw_vkey		vkey;
		char		text[BW_VKEY_MAX];

		LedgerPublicKey(epoch, public_key);
		if (!bw_vkey_make(origin, public_key, &vkey))
			elog(ERROR, "the ledger's origin is no key name");
		bw_vkey_format(&vkey, text);
		if (epoch > 1)
			appendStringInfoChar(&keys, ',');
		escape_json(&keys, text);
	}
	appendStringInfoChar(&keys, ']');
	return keys.data;
}

/* Is it of everything, for a reader who sees all entries? */
static bool
is_whole(const Export *export)
{
	return LedgerReadsAll() && !export->has_since && !export->has_until;
}

static void
put_log(Export *export)
{
	char	   *origin = LogOrigin(LogPeek());
	Oid			types[] = {TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID};
	Datum		values[] = {
		CStringGetTextDatum(origin),
		CStringGetTextDatum(keys_json(origin)),
		Int64GetDatum((int64) export->tree_size),
		TimestampTzGetDatum(export->since),
		TimestampTzGetDatum(export->until),
		BoolGetDatum(is_whole(export))
	};
	bool		isnull[] = {false, false, false, !export->has_since, !export->has_until, false};

	put_private_line(export, log_sql, lengthof(types), types, values, isnull);
}

static void
put_shapes(Export *export)
{
	Oid			type = BYTEAOID;
	HASH_SEQ_STATUS status;
	uint8	   *id;

	hash_seq_init(&status, export->shapes);
	while ((id = hash_seq_search(&status)) != NULL)
	{
		bytea	   *key = palloc(VARHDRSZ + BW_SHAPE_ID_LEN);
		Datum		value = PointerGetDatum(key);

		SET_VARSIZE(key, VARHDRSZ + BW_SHAPE_ID_LEN);
		memcpy(VARDATA(key), id, BW_SHAPE_ID_LEN);
		put_private_line(export, shape_sql, 1, &type, &value, NULL);
	}
}

static void
put_end(Export *export)
{
	char	   *line = psprintf("{\"type\":\"end\",\"tree_size\":" UINT64_FORMAT ",\"entries\":" INT64_FORMAT
								",\"skipped\":" INT64_FORMAT ",\"pending\":" INT64_FORMAT "}",
								export->tree_size, export->entries, export->skipped, export->pending);

	put_line(export, line, (int) strlen(line));
}

static void
export_jsonl(Export *export, Tuplestorestate *blocks, TupleDesc desc)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	put_log(export);
	put_shapes(export);
	tuplestore_rescan(blocks);
	while (tuplestore_gettupleslot(blocks, true, false, slot))
	{
		bool		isnull;
		int64		first = DatumGetInt64(slot_getattr(slot, 1, &isnull));
		int64		size = DatumGetInt64(slot_getattr(slot, 2, &isnull));
		StringInfoData line;
		text	   *block;
		int64		index;

		/* whole blocks are left out together, but for the last */
		if ((uint64) size < export->tree_size && !(next_is(export, &index) && index < size))
			continue;
		skip(export, first);
		block = DatumGetTextPP(slot_getattr(slot, 3, &isnull));
		initStringInfo(&line);
		/* its checkpoint is a note, which is UTF-8 */
		append_json(&line, VARDATA_ANY(block), VARSIZE_ANY_EXHDR(block), PG_UTF8);
		put_line(export, line.data, line.len);
		pfree(line.data);
		put_leaves(export, size);
	}
	put_end(export);
	ExecDropSingleTupleTableSlot(slot);
}

/* --- the function ------------------------------------------------------------------------ */

static uint64
size_of_blocks(Tuplestorestate *blocks, TupleDesc desc)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	uint64		size = 0;
	bool		isnull;

	while (tuplestore_gettupleslot(blocks, true, false, slot))
		size = (uint64) DatumGetInt64(slot_getattr(slot, 2, &isnull));
	ExecDropSingleTupleTableSlot(slot);
	return size;
}

/*
 * An erasure takes contents with its commit, and what it records is in an export once
 * it is sealed.  So who gets everything, and could tell that a record is missing, sees
 * what is sealed now.  A transaction that has one snapshot keeps to that.
 */
static void
begin_snapshot(bool whole)
{
	if (whole && !IsolationUsesXactSnapshot())
		SealIfPossible();
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* The reading is an entry, whatever becomes of the transaction. */
static void
record_export(const char *format)
{
	StringInfoData detail;
	AuditEvent	event = {
		.action = "read",
		.entity_type = "bulwark.ledger",
		.durability = AUDIT_SURVIVES,
	};

	initStringInfo(&detail);
	appendStringInfoString(&detail, "{\"export\": ");
	escape_json(&detail, format);
	appendStringInfoChar(&detail, '}');
	event.detail = detail.data;
	AuditEmit(&event);
}

PG_FUNCTION_INFO_V1(bulwark_ledger_export);
Datum
bulwark_ledger_export(PG_FUNCTION_ARGS)
{
	Export		export = {.result = (ReturnSetInfo *) fcinfo->resultinfo};
	char	   *name;
	bool		jsonl;
	const LedgerFormat *format;
	Oid			bool_type = BOOLOID;
	Datum		sees_runs = BoolGetDatum(LedgerReadsAll());
	Tuplestorestate *blocks;
	TupleDesc	desc;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("format must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	jsonl = strcmp(name, "jsonl") == 0;
	format = jsonl ? NULL : LedgerFormatByName(name);
	if (!jsonl && format == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no such format of export: \"%s\"", name),
				 errhint("Formats are jsonl, csv, cef, ocsf and syslog.")));
	export.has_since = !PG_ARGISNULL(1);
	export.has_until = !PG_ARGISNULL(2);
	export.since = export.has_since ? PG_GETARG_TIMESTAMPTZ(1) : 0;
	export.until = export.has_until ? PG_GETARG_TIMESTAMPTZ(2) : 0;
	export.per_line = AllocSetContextCreate(CurrentMemoryContext, "bulwark ledger export", ALLOCSET_DEFAULT_SIZES);

	if (!LedgerReadsAll() && GrantFor("audit", 5, "read", 4) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to export the ledger"),
				 errhint("Be a member of \"%s\", or act as an identity with audit:read.", ROLE_AUDITOR)));
	if (jsonl && LogPeek() == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the ledger of this database has not begun")));

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	record_export(name);
	LedgerFlush();
	if (jsonl)
	{
		HASHCTL		control = {.keysize = BW_SHAPE_ID_LEN, .entrysize = BW_SHAPE_ID_LEN, .hcxt = CurrentMemoryContext};

		export.shapes = hash_create("bulwark export shapes", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	begin_snapshot(jsonl && is_whole(&export));
	blocks = private_lines(blocks_sql, 1, &bool_type, &sees_runs, &desc);
	export.tree_size = size_of_blocks(blocks, desc);
	collect(&export);
	if (jsonl)
		export_jsonl(&export, blocks, desc);
	else
		export_lines(&export, format);
	PopActiveSnapshot();
	tuplesort_end(export.sort);
	tuplestore_end(blocks);
	return (Datum) 0;
}
