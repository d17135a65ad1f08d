/*
 * check.c
 *		What isolation_check() cannot find out in SQL: the policies as protect()
 *		would write them now, the tenant of a row as an expression, and a look at
 *		the rows of somebody's table without lending anybody our rights.
 */
#include "tenancy/protect.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "funcapi.h"
#include "nodes/parsenodes.h"
#include "parser/parse_clause.h"
#include "parser/parse_collate.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(bulwark_policies_wanted);
PG_FUNCTION_INFO_V1(bulwark_tenant_expression);
PG_FUNCTION_INFO_V1(bulwark_rows_as_owner);

/* A policy's condition as pg_get_expr() shows it once it is stored. */
static Datum
stored_expression(Relation rel, Node *condition, bool *isnull)
{
	ParseState *pstate;
	ParseNamespaceItem *item;
	Node	   *expr;
	Datum		text;

	*isnull = condition == NULL;
	if (condition == NULL)
		return (Datum) 0;
	pstate = make_parsestate(NULL);
	item = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, NULL, false, false);
	addNSItemToQuery(pstate, item, false, true, true);
	expr = transformWhereClause(pstate, condition, EXPR_KIND_POLICY, "POLICY");
	assign_expr_collations(pstate, expr);
	text = DirectFunctionCall2(pg_get_expr, CStringGetTextDatum(nodeToString(expr)),
							   ObjectIdGetDatum(RelationGetRelid(rel)));
	free_parsestate(pstate);
	return text;
}

/* policies_wanted(relation) */
Datum
bulwark_policies_wanted(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const Protection *p = ProtectionOf(PG_GETARG_OID(0));
	Relation	rel;
	TrustedScope scope;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	if (p == NULL)
		return (Datum) 0;

	TrustedBegin(&scope);
	rel = table_open(p->relid, AccessShareLock);
	foreach(lc, PolicyDefinitions(p))
	{
		const PolicyDefinition *policy = lfirst(lc);
		RawStmt    *raw = linitial_node(RawStmt, raw_parser(policy->sql, RAW_PARSE_DEFAULT));
		CreatePolicyStmt *stmt = castNode(CreatePolicyStmt, raw->stmt);
		Datum		values[4];
		bool		isnull[4] = {false};

		values[0] = DirectFunctionCall1(namein, CStringGetDatum(policy->name));
		values[1] = CStringGetTextDatum(stmt->cmd_name);
		values[2] = stored_expression(rel, stmt->qual, &isnull[2]);
		values[3] = stored_expression(rel, stmt->with_check, &isnull[3]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
	}
	table_close(rel, AccessShareLock);
	TrustedEnd(&scope);
	return (Datum) 0;
}

/* tenant_expression(relation, alias) */
Datum
bulwark_tenant_expression(PG_FUNCTION_ARGS)
{
	const Protection *p = ProtectionOf(PG_GETARG_OID(0));
	TupleDesc	desc;
	Datum		values[2];
	bool		isnull[2] = {false};

	if (p == NULL)
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = CStringGetTextDatum(ProtectionTenantExpr(p->relid, text_to_cstring(PG_GETARG_TEXT_PP(1))));
	values[1] = BoolGetDatum(TenantKeyType(p) == KEY_UUID);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull));
}

/*
 * rows_as_owner(relation, query): one row, a count and a text, of a query of ours
 * that reads the relation.  Planning alone may run what its owner attached to it
 * (an index predicate is folded), so it runs with the owner's rights and no
 * more; FORCE ROW LEVEL SECURITY is put aside, as foreign keys do it.
 */
Datum
bulwark_rows_as_owner(PG_FUNCTION_ARGS)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(PG_GETARG_OID(0)));
	char	   *query = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Oid			owner;
	TrustedScope scope;
	TupleDesc	desc;
	Datum		values[2];
	bool		isnull[2];

	if (!HeapTupleIsValid(tuple))
		RefuseGone(PG_GETARG_OID(0));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	TrustedBegin(&scope);
	SetUserIdAndSecContext(owner, scope.save_sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	if (SPI_execute(query, true, 0) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "one row was expected");
	MemoryContextSwitchTo(scope.caller);
	values[0] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull[0]);
	values[1] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull[1]);
	if (!isnull[1])
		values[1] = PointerGetDatum(PG_DETOAST_DATUM_COPY(values[1]));
	TrustedEnd(&scope);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull));
}
