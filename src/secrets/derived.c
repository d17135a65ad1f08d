/*
 * derived.c
 *		What would keep a plaintext in the database is refused: an index, statistics,
 *		a generated column or a default, a constraint, a partition key, a materialized
 *		view, a table made from a query, a column rewritten, over a value that is opened.
 *
 *		Two guards share the work.  The definition is read as the catalogs have it,
 *		through views, operators and the bodies of functions, and refused for
 *		everybody.  A body in a language that we do not read calls whatever has a name
 *		that is a word of it.  What a definition does not show (a body that makes up its
 *		statement) is refused when it runs: nothing is opened while such a command is
 *		at work, nor (kept_function.c) within a function that such a definition calls.
 */
#include "secrets/values.h"

#include <ctype.h>

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_language.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/prepare.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parser.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* What gives plaintexts away. */
static const char *const openers[] = {
	"decrypt", "decrypt_text", "decrypt_bytea", "decrypt_jsonb", "credential_use"
};

#define HINT_BLIND_INDEX \
	"It would keep plaintext in the database. For equality search, keep bulwark.blind_index() in a column of its own."

PG_FUNCTION_INFO_V1(bulwark_expression_opens);

/* Functions and views that a walk has been in. */
typedef struct Walk
{
	List	   *functions;
	List	   *relations;
	bool		unread_too;		/* what is not read, or not to the end, counts as what opens */
} Walk;

static object_access_hook_type prev_object_access = NULL;
static ProcessUtility_hook_type prev_ProcessUtility = NULL;

/* Commands at work that keep what they compute. */
static int	keeping = 0;

static bool function_opens(Oid oid, Walk *walk);
static bool node_opens(Node *node, Walk *walk);

/* --- does it open a value? ------------------------------------------------------ */

static bool
is_opener_name(const char *name)
{
	for (int i = 0; i < lengthof(openers); i++)
		if (strcmp(name, openers[i]) == 0)
			return true;
	return false;
}

/* Built-in functions that run a query, or fetch from one, which is a string. */
static bool
runs_string(Oid function, void *arg)
{
	switch (function)
	{
		case F_CURSOR_TO_XML:
		case F_DATABASE_TO_XML:
		case F_DATABASE_TO_XML_AND_XMLSCHEMA:
		case F_QUERY_TO_XML:
		case F_QUERY_TO_XML_AND_XMLSCHEMA:
		case F_SCHEMA_TO_XML:
		case F_SCHEMA_TO_XML_AND_XMLSCHEMA:
		case F_TABLE_TO_XML:
		case F_TABLE_TO_XML_AND_XMLSCHEMA:
		case F_TS_REWRITE_TSQUERY_TEXT:
		case F_TS_STAT_TEXT:
		case F_TS_STAT_TEXT_TEXT:
			return true;
		default:
			return false;
	}
}

static bool
any_function_opens(const char *name, Walk *walk)
{
	CatCList   *functions = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	List	   *oids = NIL;
	ListCell   *lc;
	bool		result = false;

	for (int i = 0; i < functions->n_members; i++)
		oids = lappend_oid(oids, ((Form_pg_proc) GETSTRUCT(&functions->members[i]->tuple))->oid);
	ReleaseSysCacheList(functions);
	foreach(lc, oids)
		result = result || function_opens(lfirst_oid(lc), walk);
	return result;
}

static bool
any_operator_opens(const char *name, Walk *walk)
{
	CatCList   *operators = SearchSysCacheList1(OPERNAMENSP, CStringGetDatum(name));
	List	   *codes = NIL;
	ListCell   *lc;

	for (int i = 0; i < operators->n_members; i++)
		codes = lappend_oid(codes, ((Form_pg_operator) GETSTRUCT(&operators->members[i]->tuple))->oprcode);
	ReleaseSysCacheList(operators);
	foreach(lc, codes)
		if (function_opens(lfirst_oid(lc), walk))
			return true;
	return false;
}

static bool view_opens(Oid relid, Walk *walk);

/*
 * A function's body that is kept as text, parsed but not analyzed: names in it are
 * looked up at every call, so any function or view of a name may be meant.
 */
static bool
raw_opens(Node *node, void *arg)
{
	Walk	   *walk = arg;

	if (node == NULL)
		return false;
	if (IsA(node, FuncCall) && any_function_opens(strVal(llast(((FuncCall *) node)->funcname)), walk))
		return true;
	if (IsA(node, A_Expr) && ((A_Expr *) node)->name != NIL &&
		any_operator_opens(strVal(llast(((A_Expr *) node)->name)), walk))
		return true;
	if (IsA(node, RangeVar))
	{
		Oid			relid = RangeVarGetRelid((RangeVar *) node, NoLock, true);

		if (OidIsValid(relid) && view_opens(relid, walk))
			return true;
	}
	return raw_expression_tree_walker(node, raw_opens, arg);
}

/* Does a function or view of that name, in whichever schema, open one? */
static bool
word_opens(const char *word, Walk *walk)
{
	CatCList   *relations;
	List	   *oids = NIL;
	ListCell   *lc;

	if (is_opener_name(word) || any_function_opens(word, walk))
		return true;
	relations = SearchSysCacheList1(RELNAMENSP, CStringGetDatum(word));
	for (int i = 0; i < relations->n_members; i++)
		oids = lappend_oid(oids, ((Form_pg_class) GETSTRUCT(&relations->members[i]->tuple))->oid);
	ReleaseSysCacheList(relations);
	foreach(lc, oids)
		if (view_opens(lfirst_oid(lc), walk))
			return true;
	return false;
}

/*
 * For languages that we do not read: may any word of the source be the name of what
 * opens one, and any run of operator characters an operator that does?  As it stands
 * and in lower case.
 */
static bool
source_opens(const char *source, Walk *walk)
{
	static const char symbols[] = "+-*/<>=~!@#%^&|`?";

	check_stack_depth();
	for (const char *p = source; *p != '\0';)
	{
		char		word[NAMEDATALEN];
		char		lower[NAMEDATALEN];
		bool		symbol = strchr(symbols, *p) != NULL;
		int			len = 0;

		CHECK_FOR_INTERRUPTS();
		for (; *p != '\0'; p++)
		{
			bool		letter = isalnum((unsigned char) *p) || *p == '_' || *p == '$' || IS_HIGHBIT_SET(*p);

			if (symbol ? strchr(symbols, *p) == NULL : !letter)
				break;
			if (len < NAMEDATALEN - 1)
				word[len++] = *p;
		}
		if (len == 0)
		{
			p++;
			continue;
		}
		word[len] = '\0';
		for (int i = 0; i <= len; i++)
			lower[i] = pg_ascii_tolower((unsigned char) word[i]);
		if (symbol ? any_operator_opens(word, walk) : word_opens(lower, walk) || (strcmp(word, lower) != 0 && word_opens(word, walk)))
			return true;
	}
	return false;
}

static bool
attribute_text(int cache, HeapTuple tuple, AttrNumber attno, char **result)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(cache, tuple, attno, &isnull);

	*result = isnull ? NULL : TextDatumGetCString(value);
	return !isnull;
}

/* The body of a function in SQL, analyzed at its making or kept as text. */
static bool
sql_body_opens(HeapTuple proc, Walk *walk)
{
	char	   *body;
	ListCell   *lc;

	if (attribute_text(PROCOID, proc, Anum_pg_proc_prosqlbody, &body))
		return node_opens(stringToNode(body), walk);
	if (!attribute_text(PROCOID, proc, Anum_pg_proc_prosrc, &body))
		return false;
	foreach(lc, raw_parser(body, RAW_PARSE_DEFAULT))
	{
		Node	   *stmt = ((RawStmt *) lfirst(lc))->stmt;

		/* what else there may be in a function computes nothing to be kept */
		if ((IsA(stmt, SelectStmt) || IsA(stmt, InsertStmt) || IsA(stmt, UpdateStmt) || IsA(stmt, DeleteStmt)) &&
			raw_opens(stmt, walk))
			return true;
	}
	return false;
}

/* The functions that an aggregate is made of. */
static bool
aggregate_opens(Oid oid, Walk *walk)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(oid));
	Form_pg_aggregate form;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	result = function_opens(form->aggtransfn, walk) || function_opens(form->aggfinalfn, walk) ||
		function_opens(form->aggcombinefn, walk) ||
		function_opens(form->aggserialfn, walk) || function_opens(form->aggdeserialfn, walk) ||
		function_opens(form->aggmtransfn, walk) || function_opens(form->aggminvtransfn, walk) ||
		function_opens(form->aggmfinalfn, walk);
	ReleaseSysCache(tuple);
	return result;
}

static bool
function_opens(Oid oid, Walk *walk)
{
	HeapTuple	proc;
	Form_pg_proc form;
	char	   *source;
	bool		result = false;

	if (oid < FirstNormalObjectId)
		return walk->unread_too && runs_string(oid, NULL);
	if (list_member_oid(walk->functions, oid))
		return false;
	walk->functions = lappend_oid(walk->functions, oid);
	proc = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
	if (!HeapTupleIsValid(proc))
		return false;
	form = (Form_pg_proc) GETSTRUCT(proc);
	if (form->pronamespace == get_namespace_oid(BULWARK_SCHEMA, true))
		result = is_opener_name(NameStr(form->proname));
	else if (form->prokind == PROKIND_AGGREGATE)
		result = aggregate_opens(oid, walk);
	else if (form->prolang == SQLlanguageId)
		result = (walk->unread_too && heap_attisnull(proc, Anum_pg_proc_prosqlbody, NULL)) || sql_body_opens(proc, walk);
	else if (form->prolang != ClanguageId && form->prolang != INTERNALlanguageId &&
			 attribute_text(PROCOID, proc, Anum_pg_proc_prosrc, &source))
		result = walk->unread_too || source_opens(source, walk);
	ReleaseSysCache(proc);
	return result;
}

static bool
check_function(Oid oid, void *arg)
{
	return function_opens(oid, arg);
}

/* The actions of a relation's rules under a snapshot; a table has none. */
static bool
rules_open(Oid relid, Snapshot snapshot, Walk *walk)
{
	Relation	catalog = table_open(RewriteRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *actions = NIL;
	ListCell   *lc;

	ScanKeyInit(&key, Anum_pg_rewrite_ev_class, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, RewriteRelRulenameIndexId, true, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		action = heap_getattr(tuple, Anum_pg_rewrite_ev_action, RelationGetDescr(catalog), &isnull);

		if (!isnull && ((Form_pg_rewrite) GETSTRUCT(tuple))->ev_type == CMD_SELECT + '0')
			actions = lappend(actions, TextDatumGetCString(action));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	foreach(lc, actions)
		if (node_opens(stringToNode(lfirst(lc)), walk))
			return true;
	return false;
}

static bool
view_opens(Oid relid, Walk *walk)
{
	if (relid < FirstNormalObjectId || get_rel_relkind(relid) != RELKIND_VIEW ||
		list_member_oid(walk->relations, relid))
		return false;
	walk->relations = lappend_oid(walk->relations, relid);
	return rules_open(relid, NULL, walk);
}

static bool
analyzed_opens(Node *node, void *arg)
{
	Walk	   *walk = arg;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, analyzed_opens, arg, QTW_EXAMINE_RTES_BEFORE);
	if (IsA(node, RangeTblEntry))
		return ((RangeTblEntry *) node)->rtekind == RTE_RELATION && view_opens(((RangeTblEntry *) node)->relid, walk);
	if (check_functions_in_node(node, check_function, arg))
		return true;
	return expression_tree_walker(node, analyzed_opens, arg);
}

static bool
node_opens(Node *node, Walk *walk)
{
	check_stack_depth();
	return analyzed_opens(node, walk);
}

static bool
opens(Node *node)
{
	Walk		walk = {0};

	return node_opens(node, &walk);
}

/*
 * Does a kept expression itself run a query that is a string?  A built-in function is
 * called past those who watch functions.
 */
static bool
expression_runs_string(Node *node, void *arg)
{
	if (node == NULL || IsA(node, Query))
		return false;
	return check_functions_in_node(node, runs_string, NULL) || expression_tree_walker(node, expression_runs_string, arg);
}

/* A body in SQL that is kept as text names what it means to whoever calls it, by casts and attributes, too. */
bool
DerivedUnread(Oid function)
{
	Walk		walk = {.unread_too = true};

	return function_opens(function, &walk);
}

/* expression_opens(expression): what is stored already. */
Datum
bulwark_expression_opens(PG_FUNCTION_ARGS)
{
	Node	   *expression = stringToNode(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	PG_RETURN_BOOL(opens(expression) || expression_runs_string(expression, NULL));
}

BW_NORETURN static void
refuse(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s over a decrypted value is not allowed", what),
			 errhint(HINT_BLIND_INDEX)));
}

/* --- definitions, as the running command has just written them ------------------ */

/* A catalog whose rows hold expressions that are evaluated to be kept. */
typedef struct Definition
{
	Oid			classid;
	Oid			index;
	AttrNumber	key;
	AttrNumber	trees[2];		/* 0: none */
	const char *what;
} Definition;

static const Definition definitions[] = {
	{IndexRelationId, IndexRelidIndexId, Anum_pg_index_indexrelid,
		{Anum_pg_index_indexprs, Anum_pg_index_indpred}, "an index"},
	{StatisticExtRelationId, StatisticExtOidIndexId, Anum_pg_statistic_ext_oid,
		{Anum_pg_statistic_ext_stxexprs, 0}, "a statistics object"},
	{ConstraintRelationId, ConstraintOidIndexId, Anum_pg_constraint_oid,
		{Anum_pg_constraint_conbin, 0}, "a constraint"},
	{TypeRelationId, TypeOidIndexId, Anum_pg_type_oid,
		{Anum_pg_type_typdefaultbin, 0}, "a domain's default"},
	{PartitionedRelationId, PartitionedRelidIndexId, Anum_pg_partitioned_table_partrelid,
		{Anum_pg_partitioned_table_partexprs, 0}, "a partition key"},
};

/* The trees of a catalog's row that the key finds, as text. */
static List *
row_trees(Oid classid, Oid index, int nkeys, ScanKey keys, const AttrNumber trees[2])
{
	Relation	catalog = table_open(classid, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, index, true, SnapshotSelf, nkeys, keys);
	HeapTuple	tuple = systable_getnext(scan);
	List	   *result = NIL;

	for (int i = 0; HeapTupleIsValid(tuple) && i < 2 && trees[i] != 0; i++)
	{
		bool		isnull;
		Datum		tree = heap_getattr(tuple, trees[i], RelationGetDescr(catalog), &isnull);

		if (!isnull)
			result = lappend(result, TextDatumGetCString(tree));
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return result;
}

static void
check_trees(List *trees, const char *what)
{
	ListCell   *lc;

	foreach(lc, trees)
	{
		Node	   *expression = stringToNode(lfirst(lc));

		if (opens(expression))
			refuse(what);
		if (expression_runs_string(expression, NULL))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("%s that runs a query given as a string is not allowed", what),
					 errhint("What the query decrypts would be kept. Call a function in SQL or PL/pgSQL that runs it: nothing is decrypted there.")));
	}
}

static void
check_definition(Oid classid, Oid objid)
{
	for (int i = 0; i < lengthof(definitions); i++)
	{
		const Definition *d = &definitions[i];
		ScanKeyData key;

		if (d->classid != classid)
			continue;
		ScanKeyInit(&key, d->key, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(objid));
		check_trees(row_trees(classid, d->index, 1, &key, d->trees), d->what);
	}
}

/* A default or the expression of a generated column. */
static void
check_default(Oid relid, int attnum)
{
	static const AttrNumber trees[2] = {Anum_pg_attrdef_adbin, 0};
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], Anum_pg_attrdef_adrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[1], Anum_pg_attrdef_adnum, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(attnum));
	check_trees(row_trees(AttrDefaultRelationId, AttrDefaultIndexId, 2, keys, trees), "a default or generated column");
}

/*
 * Does an expression of that catalog's rows open one, and through that function?  All
 * are looked at: bodies that are text depend on nothing that the catalogs tell.
 */
static bool
catalog_keeps(Oid classid, const AttrNumber trees[2], Oid function)
{
	Relation	catalog = table_open(classid, AccessShareLock);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	bool		result = false;

	while (!result && HeapTupleIsValid(tuple = systable_getnext(scan)))
		for (int i = 0; !result && i < 2 && trees[i] != 0; i++)
		{
			Walk		walk = {0};
			bool		isnull;
			Datum		tree = heap_getattr(tuple, trees[i], RelationGetDescr(catalog), &isnull);

			result = !isnull && node_opens(stringToNode(TextDatumGetCString(tree)), &walk) &&
				list_member_oid(walk.functions, function);
		}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return result;
}

/* A function that is made, replaced or renamed may be called, by whatever way, in
 * definitions that keep what it gives. */
static void
check_function_users(Oid oid)
{
	static const AttrNumber defaults[2] = {Anum_pg_attrdef_adbin, 0};
	Walk		walk = {0};
	bool		keeps;

	/* the row that the command has just made is there to be read */
	CommandCounterIncrement();
	if (!function_opens(oid, &walk))
		return;
	keeps = catalog_keeps(AttrDefaultRelationId, defaults, oid);
	for (int i = 0; !keeps && i < lengthof(definitions); i++)
		keeps = catalog_keeps(definitions[i].classid, definitions[i].trees, oid);
	if (keeps)
		refuse("an index, statistics object, default, constraint or partition key");
}

static void
derived_object_access(ObjectAccessType access, Oid classid, Oid objectid, int subid, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classid, objectid, subid, arg);
	if ((access != OAT_POST_CREATE && access != OAT_POST_ALTER) || IsBinaryUpgrade || creating_extension ||
		objectid < FirstNormalObjectId)
		return;

	if (classid == RelationRelationId && subid == 0)
		check_definition(IndexRelationId, objectid);
	else if (classid == AttrDefaultRelationId)
		check_default(objectid, subid);
	else if (classid == StatisticExtRelationId || classid == ConstraintRelationId || classid == TypeRelationId)
		check_definition(classid, objectid);
	else if (classid == ProcedureRelationId)
		check_function_users(objectid);
}

/* --- commands that keep what a query gives --------------------------------------- */

/* A query that may stand for another: EXECUTE of a prepared one. */
static bool
query_opens(Node *query)
{
	Query	   *analyzed = (Query *) query;
	ListCell   *lc;

	if (query == NULL || !IsA(query, Query))
		return false;
	if (analyzed->commandType == CMD_UTILITY && IsA(analyzed->utilityStmt, ExecuteStmt))
	{
		PreparedStatement *prepared = FetchPreparedStatement(((ExecuteStmt *) analyzed->utilityStmt)->name, false);

		if (prepared == NULL)
			return false;
		foreach(lc, prepared->plansource->query_list)
			if (opens(lfirst(lc)))
				return true;
		return false;
	}
	return opens(query);
}

/* Does ALTER COLUMN TYPE ... USING open what it rewrites? */
static bool
rewrite_opens(AlterTableStmt *stmt)
{
	Walk		walk = {0};
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst(lc);

		if (cmd->subtype == AT_AlterColumnType && raw_opens(((ColumnDef *) cmd->def)->raw_default, &walk))
			return true;
	}
	return false;
}

/* Refuse the command if it shows that it keeps plaintexts; does it keep what it computes? */
static bool
check_command(Node *stmt)
{
	Walk		walk = {0};
	Oid			relid;

	switch (nodeTag(stmt))
	{
		case T_CreateTableAsStmt:
			if (query_opens(((CreateTableAsStmt *) stmt)->query))
				refuse(((CreateTableAsStmt *) stmt)->objtype == OBJECT_MATVIEW ? "a materialized view" : "a table made from a query");
			return true;

		case T_ExplainStmt:
			{
				Query	   *query = (Query *) ((ExplainStmt *) stmt)->query;

				return query != NULL && IsA(query, Query) && query->commandType == CMD_UTILITY &&
					IsA(query->utilityStmt, CreateTableAsStmt) && check_command(query->utilityStmt);
			}

		case T_RefreshMatViewStmt:
			relid = RangeVarGetRelid(((RefreshMatViewStmt *) stmt)->relation, NoLock, true);
			if (OidIsValid(relid) && !((RefreshMatViewStmt *) stmt)->skipData && rules_open(relid, NULL, &walk))
				refuse("a materialized view");
			return true;

		case T_AlterTableStmt:
			if (rewrite_opens((AlterTableStmt *) stmt))
				refuse("a column rewritten");
			return true;

		case T_CreateStmt:		/* the bounds of a partition */
		case T_IndexStmt:
		case T_ReindexStmt:
		case T_ClusterStmt:
		case T_CreateStatsStmt:
		case T_VacuumStmt:
			return true;

		default:
			return false;
	}
}

/* No hook sees a partition key being written, so it is looked at when its table is there. */
static void
check_partition_key(Node *stmt)
{
	Oid			relid;

	if (!IsA(stmt, CreateStmt) || ((CreateStmt *) stmt)->partspec == NULL || creating_extension || IsBinaryUpgrade)
		return;
	relid = RangeVarGetRelid(((CreateStmt *) stmt)->relation, NoLock, true);
	if (OidIsValid(relid))
		check_definition(PartitionedRelationId, relid);
}

static void
derived_ProcessUtility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					   ProcessUtilityContext context, ParamListInfo params,
					   QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	bool		keeps = !creating_extension && IsTransactionState() && check_command(pstmt->utilityStmt);

	keeping += keeps;
	PG_TRY();
	{
		if (prev_ProcessUtility)
			prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		else
			standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_FINALLY();
	{
		keeping -= keeps;
	}
	PG_END_TRY();
	check_partition_key(pstmt->utilityStmt);
}

void
DerivedRefuse(void)
{
	if (keeping > 0 || InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a value is not decrypted by a command that keeps what it computes"),
				 errhint(HINT_BLIND_INDEX)));
	if (KeptFunctionRuns())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a value is not decrypted within a function that an index, statistics object, default, constraint or partition key calls"),
				 errhint(HINT_BLIND_INDEX)));
}

void
DerivedInit(void)
{
	KeptFunctionInit();
	prev_object_access = object_access_hook;
	object_access_hook = derived_object_access;
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = derived_ProcessUtility;
}
