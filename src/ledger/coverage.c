/*
 * coverage.c
 *		Is what should be recorded still recorded?
 *
 *		What is audited is an inventory of its own: each audit(), audit_stop(), DROP
 *		and RENAME is an entry, so that the sealed entries say what there must be.
 *		Here it is compared with the registry, and the registry with the catalogs,
 *		which a superuser can edit and a server that has not preloaded us lets
 *		anybody change.  The questions are asked from C: a function's text in the
 *		catalog could be edited like the rest.  They are in SQL, and call nothing
 *		but functions of the server that are its own.
 */
#include "ledger/guard.h"
#include "ledger/view.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(bulwark_ledger_coverage_check);

/* --- what the entries say ------------------------------------------------------------ */

typedef enum CoverageKind
{
	COVERAGE_BEGINS,
	COVERAGE_ENDS,
	COVERAGE_MOVES,				/* to another name */
	COVERAGE_NONE				/* what else is set up has such entries, too */
} CoverageKind;

/* An entry that changes what is audited. */
typedef struct CoverageEvent
{
	int64		time;
	int64		number;			/* in the order of storage, among equals */
	char	   *relation;
	CoverageKind kind;
	char	   *renamed_to;		/* or NULL */
} CoverageEvent;

/* A string of a JSON object, or NULL. */
static char *
json_string(Jsonb *json, const char *key)
{
	JsonbValue	value;
	JsonbValue *found;

	if (!JB_ROOT_IS_OBJECT(json))
		return NULL;
	found = getKeyJsonValueFromContainer(&json->root, key, strlen(key), &value);
	return found != NULL && found->type == jbvString ? pnstrdup(found->val.string.val, found->val.string.len) : NULL;
}

/* The metadata of a content, or NULL. */
static Jsonb *
content_metadata(const bw_bytes *bytes)
{
	bw_content	content;
	bw_field	field;

	if (!bw_content_open(&content, bytes->data, bytes->len))
		return NULL;
	while (bw_content_next(&content, &field))
	{
		if (field.tag == BW_TAG_METADATA && field.mode == BW_MODE_PLAIN)
			return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(LedgerCString(&field.value))));
	}
	return NULL;
}

bool
CoverageTold(const bw_leaf *leaf)
{
	return leaf->source == BW_SOURCE_SYSTEM &&
		(leaf->action == BW_ACTION_DDL || leaf->action == BW_ACTION_CONFIGURATION);
}

static CoverageKind
kind_of(const char *what)
{
	static const struct
	{
		const char *what;
		CoverageKind kind;
	}			kinds[] = {
		{"audit", COVERAGE_BEGINS},
		{"audit_change", COVERAGE_BEGINS},
		{"audit_stop", COVERAGE_ENDS},
		{"dropped", COVERAGE_ENDS},
		{"renamed", COVERAGE_MOVES},
	};

	for (int i = 0; what != NULL && i < lengthof(kinds); i++)
		if (strcmp(what, kinds[i].what) == 0)
			return kinds[i].kind;
	return COVERAGE_NONE;
}

List *
CoverageAdd(List *events, MemoryContext context, const bw_leaf *leaf, const bw_bytes *content)
{
	Jsonb	   *metadata = content_metadata(content);
	CoverageKind kind = metadata == NULL ? COVERAGE_NONE :
		kind_of(json_string(metadata, leaf->action == BW_ACTION_DDL ? "change" : "operation"));
	char	   *renamed_to = metadata == NULL ? NULL : json_string(metadata, "renamed_to");
	MemoryContext caller;
	CoverageEvent *event;

	if (kind == COVERAGE_NONE)
		return events;
	caller = MemoryContextSwitchTo(context);
	event = palloc(sizeof(CoverageEvent));
	event->time = leaf->time;
	event->number = list_length(events);
	event->relation = LedgerCString(&leaf->entity_type);
	event->kind = kind;
	event->renamed_to = renamed_to ? pstrdup(renamed_to) : NULL;
	events = lappend(events, event);
	MemoryContextSwitchTo(caller);
	return events;
}

/* Of a segment; contents are read for those alone that tell of coverage. */
static List *
segment_events(Oid segment, List *events)
{
	Relation	rel = table_open(segment, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(LedgerSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(caller, "bulwark entry", ALLOCSET_DEFAULT_SIZES);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bytea	   *bytes;
		bw_leaf		leaf;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(context);
		slot_getallattrs(slot);
		bytes = DatumGetByteaPP(slot->tts_values[0]);
		if (VARSIZE_ANY_EXHDR(bytes) >= 4 && ((uint8 *) VARDATA_ANY(bytes))[3] == BW_SOURCE_SYSTEM &&
			bw_leaf_parse(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), &leaf) >= 0 && CoverageTold(&leaf) &&
			!slot->tts_isnull[1])
		{
			bytea	   *content = DatumGetByteaPP(slot->tts_values[1]);

			events = CoverageAdd(events, caller, &leaf,
								 &(bw_bytes) {(uint8 *) VARDATA_ANY(content), VARSIZE_ANY_EXHDR(content)});
		}
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(caller);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	MemoryContextDelete(context);
	return events;
}

/* Changes of one table exclude each other, from before their entry to their commit. */
static int
earlier_first(const ListCell *a, const ListCell *b)
{
	const CoverageEvent *left = lfirst(a);
	const CoverageEvent *right = lfirst(b);

	if (left->time != right->time)
		return left->time < right->time ? -1 : 1;
	return left->number < right->number ? -1 : left->number > right->number;
}

static List *
without(List *names, const char *name)
{
	ListCell   *lc;

	foreach(lc, names)
		if (strcmp(lfirst(lc), name) == 0)
			names = foreach_delete_current(names, lc);
	return names;
}

/* The relations that the events say are audited. */
static List *
inventory(List *events)
{
	List	   *names = NIL;
	ListCell   *lc;

	list_sort(events, earlier_first);
	foreach(lc, events)
	{
		CoverageEvent *event = lfirst(lc);

		if (event->kind == COVERAGE_MOVES && event->renamed_to == NULL)
			continue;
		names = without(names, event->relation);
		if (event->kind != COVERAGE_ENDS)
			names = lappend(names, event->kind == COVERAGE_MOVES ? event->renamed_to : event->relation);
	}
	return names;
}

/* --- what the catalogs say ------------------------------------------------------------ */

/* $1: the inventory. */
static const char *const registry_query =
"WITH registry AS (SELECT relation, relation::text AS name FROM bulwark_internal.ledger_audited)"
" SELECT i.name, 'the entries say that it is audited, and it is not registered'"
" FROM unnest($1) AS i (name) WHERE i.name NOT IN (SELECT name FROM registry)"
" UNION ALL"
" SELECT r.name, 'it is registered as audited, and no entry says so'"
" FROM registry r WHERE r.name <> ALL ($1)"
" UNION ALL"
" SELECT r.name, 'it is registered as audited, and does not exist'"
" FROM registry r WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = r.relation)"
" UNION ALL"
" SELECT c.oid::regclass::text, format('it is not audited, and belongs to %s, which is', r.name)"
" FROM registry r JOIN pg_inherits h ON h.inhparent = r.relation JOIN pg_class c ON c.oid = h.inhrelid"
" WHERE c.relkind IN ('r', 'p') AND c.oid NOT IN (SELECT relation FROM registry)";

/* Types of triggers: AFTER each row 29 (all but TRUNCATE), AFTER TRUNCATE 32, BEFORE
 * each row 31, BEFORE TRUNCATE 34, AFTER any statement 60. */
static const char *const trigger_query =
"WITH wanted AS ("
"  SELECT c.oid AS relid, w.name, w.function, w.type"
"  FROM bulwark_internal.ledger_audited a JOIN pg_class c ON c.oid = a.relation AND c.relkind = 'r',"
"  (VALUES ('" TRIGGER_CAPTURE "', 'bulwark_internal.capture()', 29),"
"    ('" TRIGGER_CAPTURE_TRUNCATE "', 'bulwark_internal.capture_truncate()', 32)) AS w (name, function, type)"
"  UNION ALL"
"  SELECT c.oid, w.name, w.function, w.type"
"  FROM pg_class c,"
"  (VALUES ('bulwark_guard_row', 'bulwark_internal.ledger_guard()', 31),"
"    ('bulwark_guard_truncate', 'bulwark_internal.ledger_guard()', 34)) AS w (name, function, type)"
"  WHERE c.relnamespace = 'bulwark_internal'::regnamespace AND (c.relname LIKE 'ledger\\_%' OR c.relname = 'database_identity') AND c.relkind = 'r'"
"  UNION ALL"
"  SELECT 'bulwark_internal.ledger_audited'::regclass, 'invalidate', 'bulwark_internal.invalidate()', 60)"
" SELECT w.relid::regclass::text, CASE"
"  WHEN t.oid IS NULL THEN format('trigger \"%s\" is missing', w.name)"
"  WHEN t.tgenabled <> 'A' OR NOT c.relhastriggers THEN format('trigger \"%s\" does not fire always', w.name)"
"  ELSE format('trigger \"%s\" is not as it was made', w.name) END"
" FROM wanted w JOIN pg_class c ON c.oid = w.relid LEFT JOIN pg_trigger t ON t.tgrelid = w.relid AND t.tgname = w.name"
" WHERE t.oid IS NULL OR t.tgenabled <> 'A' OR NOT c.relhastriggers OR t.tgfoid IS DISTINCT FROM to_regprocedure(w.function)"
"  OR t.tgtype <> w.type OR t.tgisinternal OR t.tgqual IS NOT NULL OR t.tgattr <> ''::int2vector OR t.tgconstraint <> 0"
" UNION ALL"
" SELECT t.tgrelid::regclass::text, format('trigger \"%s\" is not of the ledger''s', t.tgname)"
" FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
" WHERE c.relnamespace = 'bulwark_internal'::regnamespace AND (c.relname LIKE 'ledger\\_%' OR c.relname = 'database_identity')"
"  AND NOT EXISTS (SELECT FROM wanted w WHERE w.relid = t.tgrelid AND w.name = t.tgname)";

/* $1: the tables that there must be. */
static const char *const table_query =
"WITH present AS ("
"  SELECT c.* FROM pg_class c"
"  WHERE c.relnamespace = 'bulwark_internal'::regnamespace AND (c.relname LIKE 'ledger\\_%' OR c.relname = 'database_identity') AND c.relkind NOT IN ('i', 'S', 'c')),"
" extension AS (SELECT oid, extowner FROM pg_extension WHERE extname = 'bulwark'),"
" segment AS (SELECT format('ledger_segment_%s', segment) AS name FROM bulwark_internal.ledger_segments)"
" SELECT 'bulwark_internal.' || m.name, 'the table is missing'"
" FROM (SELECT unnest($1) UNION ALL SELECT name FROM segment) AS m (name) WHERE m.name NOT IN (SELECT relname FROM present)"
" UNION ALL"
" SELECT p.oid::regclass::text, 'it is not a plain, logged heap table of the extension''s owner with row security and without rules or policies'"
" FROM present p, extension e"
" WHERE p.relkind <> 'r' OR p.relpersistence <> 'p' OR p.relowner <> e.extowner OR p.relhasrules OR NOT p.relrowsecurity"
"  OR p.relam <> (SELECT oid FROM pg_am WHERE amname = 'heap') OR p.relispartition"
"  OR EXISTS (SELECT FROM pg_policy y WHERE y.polrelid = p.oid AND NOT (p.relname = 'ledger_entries' AND y.polname = 'readers'"
"   AND y.polcmd = 'r' AND y.polpermissive AND y.polroles = ARRAY(SELECT oid FROM pg_authid WHERE rolname = 'bulwark_ledger')"
"   AND pg_get_expr(y.polqual, y.polrelid) = 'bulwark_internal.ledger_visible(bulwark_internal.leaf_tenant(leaf), leaf)'))"
" UNION ALL"
" SELECT a.attrelid::regclass::text, 'statistics are gathered of contents, which erasing them would not reach'"
" FROM pg_attribute a WHERE coalesce(a.attstattarget, -1) <> 0 AND a.attname = CASE"
"  WHEN a.attrelid IN (SELECT oid FROM present WHERE relname = 'ledger_entries' OR relname IN (SELECT name FROM segment)) THEN 'content'"
"  WHEN a.attrelid IN (SELECT c.oid FROM pg_class c JOIN segment s ON c.relname = s.name || '_7'"
"   WHERE c.relnamespace = 'bulwark_internal'::regnamespace AND c.relkind = 'i') THEN 'content_entity_id' END"
" UNION ALL"
" SELECT p.oid::regclass::text, 'it does not belong to the extension'"
" FROM present p, extension e"
" WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = p.oid"
"  AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid"
"  AND d.deptype = CASE WHEN p.relname IN (SELECT name FROM segment) THEN 'x'::\"char\" ELSE 'e' END)"
" UNION ALL"
" SELECT o.oid::regclass::text, format('it belongs to the extension %s', x.extname)"
" FROM present p CROSS JOIN extension e"
" CROSS JOIN LATERAL (SELECT p.oid UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = p.oid) AS o (oid)"
" JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = o.oid AND d.refclassid = 'pg_extension'::regclass AND d.refobjid <> e.oid"
" JOIN pg_extension x ON x.oid = d.refobjid"
" UNION ALL"
" SELECT p.oid::regclass::text, 'it is a segment, and does not inherit from ledger_entries alone'"
" FROM present p WHERE p.relname IN (SELECT name FROM segment) AND"
"  ARRAY(SELECT h.inhparent FROM pg_inherits h WHERE h.inhrelid = p.oid) <> ARRAY['bulwark_internal.ledger_entries'::regclass::oid]"
" UNION ALL"
" SELECT h.inhrelid::regclass::text, 'it inherits from a table of the ledger, and is no segment'"
" FROM pg_inherits h JOIN present p ON p.oid = h.inhparent JOIN pg_class c ON c.oid = h.inhrelid"
" WHERE p.relname <> 'ledger_entries' OR c.relname NOT IN (SELECT name FROM segment) OR c.relnamespace <> p.relnamespace";

static const char *const function_query =
"SELECT 'bulwark_internal.' || w.name, CASE WHEN p.oid IS NULL THEN 'the function is missing' ELSE 'the function is not as it was made' END"
" FROM (VALUES ('capture', 'bulwark_capture'), ('capture_truncate', 'bulwark_capture_truncate'),"
"  ('ledger_guard', 'bulwark_ledger_guard'), ('invalidate', 'bulwark_invalidate')) AS w (name, symbol)"
" CROSS JOIN pg_extension e"
" LEFT JOIN pg_proc p ON p.pronamespace = 'bulwark_internal'::regnamespace AND p.proname = w.name AND p.pronargs = 0"
" WHERE e.extname = 'bulwark' AND (p.oid IS NULL OR p.prosrc <> w.symbol OR p.probin <> '$libdir/bulwark'"
"  OR p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c') OR p.proowner <> e.extowner OR p.prosecdef"
"  OR p.proconfig IS NOT NULL OR p.prorettype <> 'trigger'::regtype"
"  OR NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid"
"   AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'))";

/* What is in our schemas and not the extension's: it may be taken for ours, or be where ours is to be. */
static const char *const stranger_query =
"WITH home AS (SELECT oid FROM pg_namespace WHERE nspname IN ('bulwark', 'bulwark_internal')),"
" extension AS (SELECT oid FROM pg_extension WHERE extname = 'bulwark'),"
" present (classid, objid) AS ("
"  SELECT 'pg_proc'::regclass, p.oid FROM pg_proc p JOIN home h ON h.oid = p.pronamespace"
"  UNION ALL SELECT 'pg_class'::regclass, c.oid FROM pg_class c JOIN home h ON h.oid = c.relnamespace"
"   WHERE c.relkind NOT IN ('i', 'I', 't') AND NOT c.relname LIKE 'ledger\\_segment\\_%'"
"  UNION ALL SELECT 'pg_type'::regclass, t.oid FROM pg_type t JOIN home h ON h.oid = t.typnamespace"
"   WHERE t.typrelid = 0 AND NOT EXISTS (SELECT FROM pg_type b WHERE b.typarray = t.oid)"
"  UNION ALL SELECT 'pg_operator'::regclass, o.oid FROM pg_operator o JOIN home h ON h.oid = o.oprnamespace"
"  UNION ALL SELECT 'pg_opclass'::regclass, o.oid FROM pg_opclass o JOIN home h ON h.oid = o.opcnamespace"
"  UNION ALL SELECT 'pg_opfamily'::regclass, o.oid FROM pg_opfamily o JOIN home h ON h.oid = o.opfnamespace"
"  UNION ALL SELECT 'pg_collation'::regclass, o.oid FROM pg_collation o JOIN home h ON h.oid = o.collnamespace"
"  UNION ALL SELECT 'pg_conversion'::regclass, o.oid FROM pg_conversion o JOIN home h ON h.oid = o.connamespace"
"  UNION ALL SELECT 'pg_statistic_ext'::regclass, o.oid FROM pg_statistic_ext o JOIN home h ON h.oid = o.stxnamespace)"
" SELECT i.identity, format('it is a %s that is not the extension''s', i.type)"
" FROM extension e, present p, pg_identify_object(p.classid, p.objid, 0) AS i"
" WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = p.classid AND d.objid = p.objid"
"  AND (d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'"
"   OR d.deptype = 'i'))"
" UNION ALL"
" SELECT t.tgrelid::regclass::text, format('trigger \"%s\" is not the extension''s', t.tgname)"
" FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid AND c.relkind = 'v' JOIN home h ON h.oid = c.relnamespace";

/* What there must be in any case. */
static const char *const tables[] = {
	"ledger_log", "ledger_incarnations", "ledger_keys", "ledger_shapes", "ledger_entries", "ledger_segments",
	"ledger_tiles", "ledger_blocks", "ledger_stragglers", "ledger_audited", "ledger_starts", "database_identity"
};

static Datum
text_array(List *names)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(list_length(names), 1));

	for (int i = 0; i < list_length(names); i++)
		values[i] = CStringGetTextDatum(list_nth(names, i));
	return PointerGetDatum(construct_array(values, list_length(names), TEXTOID, -1, false, TYPALIGN_INT));
}

static List *
add_problem(List *problems, char *relation, char *what)
{
	CoverageProblem *problem = palloc(sizeof(CoverageProblem));

	problem->relation = relation;
	problem->problem = what;
	return lappend(problems, problem);
}

/* Is it not in the server's own code?  An operator in pg_catalog that fits the types
 * better calls such a one, and a function of the server can be replaced. */
static bool
is_strange(Oid function, void *context)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		strange = true;

	if (HeapTupleIsValid(tuple))
	{
		strange = function >= FirstNormalObjectId || ((Form_pg_proc) GETSTRUCT(tuple))->prolang != INTERNALlanguageId;
		ReleaseSysCache(tuple);
	}
	if (strange)
		*(Oid *) context = function;
	return strange;
}

static bool
find_strange(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_strange, context))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_strange, context, 0);
	return expression_tree_walker(node, find_strange, context);
}

/* A function that a query would call and that is not the server's, or InvalidOid. */
static Oid
strange_function(SPIPlanPtr plan)
{
	Oid			function = InvalidOid;
	ListCell   *lc;

	foreach(lc, SPI_plan_get_plan_sources(plan))
		if (find_strange((Node *) ((CachedPlanSource *) lfirst(lc))->query_list, &function))
			break;
	return function;
}

/* The rows of a query of (relation, problem), as problems. */
static List *
ask(const char *query, List *names, bool with_names, List *problems)
{
	Oid			type = TEXTARRAYOID;
	Datum		value = with_names ? text_array(names) : (Datum) 0;
	SPIPlanPtr	plan = SPI_prepare(query, with_names ? 1 : 0, &type);
	MemoryContext caller = CurrentMemoryContext;
	Oid			strange;
	int			rc;

	if (plan == NULL)
		elog(ERROR, "could not prepare a question: %s", SPI_result_code_string(SPI_result));
	strange = strange_function(plan);
	if (OidIsValid(strange))
	{
		char	   *name = format_procedure_qualified(strange);

		/* of several questions once */
		if (problems != NIL && strcmp(((CoverageProblem *) llast(problems))->relation, name) == 0)
			return problems;
		return add_problem(problems, name,
						   "what is recorded was not compared: the function stands where one of the server should");
	}
	rc = SPI_execute_plan(plan, &value, NULL, false, 0);
	MemoryContextSwitchTo(caller);
	if (rc < 0)
		elog(ERROR, "a question failed: %s", SPI_result_code_string(rc));
	for (uint64 i = 0; i < SPI_processed; i++)
		problems = add_problem(problems, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1),
							   SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
	SPI_freeplan(plan);
	return problems;
}

/* Catalogs that are parts of tables, or have parts, with whose rows they would be read. */
static List *
catalog_parts(List *problems)
{
	Relation	catalog = table_open(InheritsRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_inherits form = (Form_pg_inherits) GETSTRUCT(tuple);
		Oid			other = Max(form->inhrelid, form->inhparent);
		char	   *name = RelationName(other);

		if (Min(form->inhrelid, form->inhparent) < FirstNormalObjectId)
			problems = add_problem(problems, name ? name : "?",
								   psprintf("a system catalog is its %s", other == form->inhparent ? "partition or child" : "parent"));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return problems;
}

List *
CoverageProblemsOf(List *events)
{
	List	   *names = inventory(events);
	List	   *made = NIL;
	List	   *problems = NIL;
	TrustedScope scope;

	for (int i = 0; i < lengthof(tables); i++)
		made = lappend(made, unconstify(char *, tables[i]));
	TrustedBegin(&scope);
	problems = catalog_parts(problems);
	problems = ask(registry_query, names, true, problems);
	problems = ask(trigger_query, NIL, false, problems);
	problems = ask(table_query, made, true, problems);
	problems = ask(function_query, NIL, false, problems);
	problems = ask(stranger_query, NIL, false, problems);
	TrustedEnd(&scope);
	return problems;
}

List *
CoverageProblems(void)
{
	List	   *events = NIL;
	ListCell   *lc;

	LedgerFlush();
	foreach(lc, SegmentAll())
		events = segment_events(lfirst_oid(lc), events);
	return CoverageProblemsOf(events);
}

Datum
bulwark_ledger_coverage_check(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, CoverageProblems())
	{
		CoverageProblem *problem = lfirst(lc);
		Datum		values[2] = {CStringGetTextDatum(problem->relation), CStringGetTextDatum(problem->problem)};
		bool		nulls[2] = {false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
