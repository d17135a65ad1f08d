/*
 * support.c
 *		Planner support for affiliation_visible(): its cost, its selectivity for
 *		the identity that plans, and an index condition.
 *
 * The index condition is column = ANY (affiliations_with(...)), evaluated when
 * the plan runs and so good for whoever runs it.  It is right for no identity with a
 * tenant-wide role, which also sees rows whose affiliation is NULL or not
 * registered; so it is derived only while an identity without one plans, and a
 * back end that has done so drops its cached plans before the first identity
 * with a tenant-wide role runs any.
 */
#include "tenancy/member.h"

#include "access/stratnum.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/supportnodes.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"

/* Above the tenant floor's comparison, which should be made first. */
#define COST_UNITS	4

static bool derived = false;	/* this back end holds plans with our condition */

void
PlansForMembership(const Membership *membership)
{
	if (derived && MembershipAnyTenantWide(membership))
	{
		derived = false;
		ResetPlanCache();
	}
}

/* An affiliation column's type, and how its set of affiliations is named. */
typedef struct ColumnKind
{
	Oid			compared_as;	/* left operand of = */
	Oid			element;
	const char *accessor;
} ColumnKind;

static bool
column_kind(Node *column, ColumnKind *kind)
{
	switch (getBaseType(exprType(column)))
	{
		case UUIDOID:
			*kind = (ColumnKind) {UUIDOID, UUIDOID, "affiliations_with"};
			return true;
		case INT2OID:
			*kind = (ColumnKind) {INT2OID, INT8OID, "affiliation_keys_int8_with"};
			return true;
		case INT4OID:
			*kind = (ColumnKind) {INT4OID, INT8OID, "affiliation_keys_int8_with"};
			return true;
		case INT8OID:
			*kind = (ColumnKind) {INT8OID, INT8OID, "affiliation_keys_int8_with"};
			return true;
		case TEXTOID:
		case VARCHAROID:
			*kind = (ColumnKind) {TEXTOID, TEXTOID, "affiliation_keys_with"};
			return true;
		default:
			return false;
	}
}

static const Grant *
grant_of_constants(List *args)
{
	Const	   *resource = lsecond(args);
	Const	   *action = lthird(args);
	text	   *r;
	text	   *a;

	if (!IsA(resource, Const) || !IsA(action, Const) || resource->constisnull || action->constisnull)
		return NULL;
	r = DatumGetTextPP(resource->constvalue);
	a = DatumGetTextPP(action->constvalue);
	return GrantFor(VARDATA_ANY(r), VARSIZE_ANY_EXHDR(r), VARDATA_ANY(a), VARSIZE_ANY_EXHDR(a));
}

static Expr *
any_of_array(Node *column, const ColumnKind *kind, Oid operator, Oid collation, Expr *array)
{
	ScalarArrayOpExpr *saop = makeNode(ScalarArrayOpExpr);

	if (exprType(column) != kind->compared_as)
		column = (Node *) makeRelabelType((Expr *) column, kind->compared_as, -1, collation,
										  COERCE_IMPLICIT_CAST);
	saop->opno = operator;
	saop->opfuncid = get_opcode(operator);
	saop->useOr = true;
	saop->inputcollid = collation;
	saop->args = list_make2(column, array);
	saop->location = -1;
	return (Expr *) saop;
}

/* From the column's own statistics and the affiliations of whoever plans. */
static bool
estimate(SupportRequestSelectivity *request)
{
	Node	   *column = linitial(request->args);
	const Grant *grant = grant_of_constants(request->args);
	ColumnKind	kind;
	Oid			operator;
	Expr	   *array;

	if (grant == NULL)
		return false;
	if (grant->tenant_wide)
	{
		request->selectivity = 1.0;
		return true;
	}
	if (!column_kind(column, &kind))
		return false;
	operator = OpernameGetOprid(list_make2(makeString("pg_catalog"), makeString("=")),
								kind.compared_as, kind.element);
	if (!OidIsValid(operator))
		return false;
	array = (Expr *) makeConst(get_array_type(kind.element), -1, InvalidOid, -1,
							   PointerGetDatum(GrantArray(grant, kind.element)), false, false);
	request->selectivity =
		clause_selectivity(request->root,
						   (Node *) any_of_array(column, &kind, operator, request->inputcollid, array),
						   request->varRelid, request->jointype, request->sjinfo);
	return true;
}

static List *
index_condition(SupportRequestIndexCondition *request)
{
	FuncExpr   *call = (FuncExpr *) request->node;
	const EffectiveIdentity *current = IdentityPeek();
	const Grant *grant;
	ColumnKind	kind;
	Oid			operator;
	Oid			accessor;
	Oid			argtypes[] = {TEXTOID, TEXTOID};
	Expr	   *array;

	if (!IsA(call, FuncExpr) || request->indexarg != 0 || !request->index->amsearcharray ||
		current == NULL || MembershipAnyTenantWide(current->membership))
		return NIL;
	grant = grant_of_constants(call->args);
	if (grant == NULL || grant->tenant_wide || !column_kind(linitial(call->args), &kind))
		return NIL;
	operator = get_opfamily_member(request->opfamily, kind.compared_as, kind.element, BTEqualStrategyNumber);
	if (!OidIsValid(operator))
		return NIL;
	accessor = LookupFuncName(list_make2(makeString(BULWARK_SCHEMA), makeString(pstrdup(kind.accessor))),
							  2, argtypes, true);
	if (!OidIsValid(accessor))
		return NIL;

	array = (Expr *) makeFuncExpr(accessor, get_array_type(kind.element),
								  list_make2(lsecond(call->args), lthird(call->args)),
								  InvalidOid, call->inputcollid, COERCE_EXPLICIT_CALL);
	/* exact, but for texts that a collation calls equal */
	request->lossy = kind.element == TEXTOID;
	derived = true;
	return list_make1(any_of_array(linitial(call->args), &kind, operator, request->indexcollation, array));
}

PG_FUNCTION_INFO_V1(bulwark_affiliation_support);
Datum
bulwark_affiliation_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (IsA(request, SupportRequestCost))
	{
		SupportRequestCost *cost = (SupportRequestCost *) request;

		cost->startup = 0;
		cost->per_tuple = COST_UNITS * cpu_operator_cost;
		PG_RETURN_POINTER(cost);
	}
	if (IsA(request, SupportRequestSelectivity) && estimate((SupportRequestSelectivity *) request))
		PG_RETURN_POINTER(request);
	if (IsA(request, SupportRequestIndexCondition))
		PG_RETURN_POINTER(index_condition((SupportRequestIndexCondition *) request));
	PG_RETURN_POINTER(NULL);
}
