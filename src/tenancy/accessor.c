/*
 * accessor.c
 *		What policies ask: cheap, stable, silent.  NULL or false without a valid
 *		identity, never an error.
 */
#include "tenancy/tenancy.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(bulwark_tenant_key);
Datum
bulwark_tenant_key(PG_FUNCTION_ARGS)
{
	const EffectiveIdentity *current = IdentityCurrent();

	if (current == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(MembershipTenantKey(current->membership)));
}

PG_FUNCTION_INFO_V1(bulwark_tenant_key_int8);
Datum
bulwark_tenant_key_int8(PG_FUNCTION_ARGS)
{
	const EffectiveIdentity *current = IdentityCurrent();
	int64		key;

	if (current == NULL || !MembershipTenantKeyInt8(current->membership, &key))
		PG_RETURN_NULL();
	PG_RETURN_INT64(key);
}

/*
 * What a call site has worked out: the grant for its constant (resource,
 * action), good for one epoch.
 */
typedef struct CallSite
{
	uint64		epoch;
	bool		constant;		/* resource and action do not vary */
	Oid			type;			/* of the affiliation argument */
	const Grant *grant;
} CallSite;

static const Grant *
grant_of_arguments(FunctionCallInfo fcinfo, int first)
{
	text	   *resource;
	text	   *action;

	if (PG_ARGISNULL(first) || PG_ARGISNULL(first + 1))
		return NULL;
	resource = PG_GETARG_TEXT_PP(first);
	action = PG_GETARG_TEXT_PP(first + 1);
	return GrantFor(VARDATA_ANY(resource), VARSIZE_ANY_EXHDR(resource),
					VARDATA_ANY(action), VARSIZE_ANY_EXHDR(action));
}

static const Grant *
site_grant(FunctionCallInfo fcinfo, int first, CallSite **result)
{
	CallSite   *site = fcinfo->flinfo->fn_extra;

	if (unlikely(site == NULL))
	{
		site = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(CallSite));
		site->constant = get_fn_expr_arg_stable(fcinfo->flinfo, first) &&
			get_fn_expr_arg_stable(fcinfo->flinfo, first + 1);
		if (first > 0)
			site->type = getBaseType(get_fn_expr_argtype(fcinfo->flinfo, 0));
		fcinfo->flinfo->fn_extra = site;
	}
	*result = site;

	/* Also asked when nothing has changed: reading none must be noticed. */
	if (IdentityCurrent() == NULL)
		return NULL;
	if (!site->constant)
		return grant_of_arguments(fcinfo, first);
	if (site->epoch != IdentityEpoch)
	{
		uint64		epoch = IdentityEpoch;

		site->grant = grant_of_arguments(fcinfo, first);
		site->epoch = epoch;
	}
	return site->grant;
}

PG_FUNCTION_INFO_V1(bulwark_affiliation_visible);
Datum
bulwark_affiliation_visible(PG_FUNCTION_ARGS)
{
	CallSite   *site;
	const Grant *grant = site_grant(fcinfo, 1, &site);

	if (grant == NULL)
		PG_RETURN_BOOL(false);
	if (grant->tenant_wide)
		PG_RETURN_BOOL(true);
	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	switch (site->type)
	{
		case UUIDOID:
			PG_RETURN_BOOL(GrantHasId(grant, PG_GETARG_UUID_P(0)));
		case INT2OID:
			PG_RETURN_BOOL(GrantHasInt8(grant, PG_GETARG_INT16(0)));
		case INT4OID:
			PG_RETURN_BOOL(GrantHasInt8(grant, PG_GETARG_INT32(0)));
		case INT8OID:
			PG_RETURN_BOOL(GrantHasInt8(grant, PG_GETARG_INT64(0)));
		case TEXTOID:
		case VARCHAROID:
			{
				text	   *key = PG_GETARG_TEXT_PP(0);

				PG_RETURN_BOOL(GrantHasText(grant, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)));
			}
		default:
			PG_RETURN_BOOL(false);
	}
}

PG_FUNCTION_INFO_V1(bulwark_permitted);
Datum
bulwark_permitted(PG_FUNCTION_ARGS)
{
	CallSite   *site;

	PG_RETURN_BOOL(site_grant(fcinfo, 0, &site) != NULL);
}

PG_FUNCTION_INFO_V1(bulwark_affiliations_with);
Datum
bulwark_affiliations_with(PG_FUNCTION_ARGS)
{
	const Grant *grant = grant_of_arguments(fcinfo, 0);

	if (grant == NULL)
	{
		if (IdentityCurrent() == NULL)
			PG_RETURN_NULL();
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(UUIDOID));
	}
	PG_RETURN_ARRAYTYPE_P(GrantArray(grant, UUIDOID));
}

/*
 * Estimate affiliation_visible(column, ...) as column = ANY (the affiliations of
 * the identity that plans), from the column's own statistics.
 */
static bool
estimate(SupportRequestSelectivity *request)
{
	Node	   *column = linitial(request->args);
	Node	   *resource = lsecond(request->args);
	Node	   *action = lthird(request->args);
	Oid			type = getBaseType(exprType(column));
	Oid			element = (type == UUIDOID) ? UUIDOID :
		(type == TEXTOID || type == VARCHAROID) ? TEXTOID : INT8OID;
	const Grant *grant;
	ScalarArrayOpExpr *saop;
	Oid			operator;
	text	   *res;
	text	   *act;

	if (!IsA(resource, Const) || !IsA(action, Const) ||
		((Const *) resource)->constisnull || ((Const *) action)->constisnull)
		return false;
	res = DatumGetTextPP(((Const *) resource)->constvalue);
	act = DatumGetTextPP(((Const *) action)->constvalue);
	grant = GrantFor(VARDATA_ANY(res), VARSIZE_ANY_EXHDR(res), VARDATA_ANY(act), VARSIZE_ANY_EXHDR(act));
	if (grant == NULL)
	{
		/* nobody yet: a plan for whoever comes */
		if (IdentityCurrent() == NULL)
			return false;
		request->selectivity = 0.0;
		return true;
	}
	if (grant->tenant_wide)
	{
		request->selectivity = 1.0;
		return true;
	}

	operator = OpernameGetOprid(list_make2(makeString("pg_catalog"), makeString("=")),
								type == VARCHAROID ? TEXTOID : type, element);
	if (!OidIsValid(operator))
		return false;
	saop = makeNode(ScalarArrayOpExpr);
	saop->opno = operator;
	saop->opfuncid = get_opcode(operator);
	saop->useOr = true;
	saop->inputcollid = request->inputcollid;
	saop->args = list_make2(column,
							makeConst(get_array_type(element), -1, InvalidOid, -1,
									  PointerGetDatum(GrantArray(grant, element)), false, false));
	request->selectivity = clause_selectivity(request->root, (Node *) saop, request->varRelid,
											  request->jointype, request->sjinfo);
	return true;
}

PG_FUNCTION_INFO_V1(bulwark_affiliation_support);
Datum
bulwark_affiliation_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (IsA(request, SupportRequestSelectivity) &&
		estimate((SupportRequestSelectivity *) request))
		PG_RETURN_POINTER(request);
	PG_RETURN_POINTER(NULL);
}

void
TenancyInit(void)
{
	MemberInit();
	ProtectionInit();
}
