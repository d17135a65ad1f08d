/*
 * accessor.c
 *		What policies ask: cheap, stable, silent.  NULL or false without a valid
 *		identity, never an error.
 */
#include "tenancy/tenancy.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

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

static CallSite *
site_new(FunctionCallInfo fcinfo, int first)
{
	CallSite   *site = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(CallSite));

	site->constant = get_fn_expr_arg_stable(fcinfo->flinfo, first) &&
		get_fn_expr_arg_stable(fcinfo->flinfo, first + 1);
	if (first > 0)
		site->type = getBaseType(get_fn_expr_argtype(fcinfo->flinfo, 0));
	fcinfo->flinfo->fn_extra = site;
	return site;
}

static const Grant *
site_recompute(FunctionCallInfo fcinfo, int first, CallSite *site)
{
	uint64		epoch = IdentityEpoch;

	if (!site->constant)
		return grant_of_arguments(fcinfo, first);
	site->grant = grant_of_arguments(fcinfo, first);
	site->epoch = epoch;
	return site->grant;
}

/* At every row: no more than comparisons while nothing has changed. */
static pg_attribute_always_inline const Grant *
site_grant(FunctionCallInfo fcinfo, int first, CallSite **result)
{
	CallSite   *site = fcinfo->flinfo->fn_extra;

	if (unlikely(site == NULL))
		site = site_new(fcinfo, first);
	*result = site;

	/* Also asked when nothing has changed: reading none must be noticed. */
	if (IdentityCurrent() == NULL)
		return NULL;
	if (unlikely(site->epoch != IdentityEpoch))
		return site_recompute(fcinfo, first, site);
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

/* The affiliations of a grant as an array: NULL without an identity. */
static Datum
grant_array(FunctionCallInfo fcinfo, Oid element_type)
{
	const Grant *grant = grant_of_arguments(fcinfo, 0);

	if (grant != NULL)
		PG_RETURN_ARRAYTYPE_P(GrantArray(grant, element_type));
	if (IdentityCurrent() == NULL)
		PG_RETURN_NULL();
	PG_RETURN_ARRAYTYPE_P(construct_empty_array(element_type));
}

PG_FUNCTION_INFO_V1(bulwark_affiliations_with);
Datum
bulwark_affiliations_with(PG_FUNCTION_ARGS)
{
	return grant_array(fcinfo, UUIDOID);
}

PG_FUNCTION_INFO_V1(bulwark_affiliation_keys_with);
Datum
bulwark_affiliation_keys_with(PG_FUNCTION_ARGS)
{
	return grant_array(fcinfo, TEXTOID);
}

PG_FUNCTION_INFO_V1(bulwark_affiliation_keys_int8_with);
Datum
bulwark_affiliation_keys_int8_with(PG_FUNCTION_ARGS)
{
	return grant_array(fcinfo, INT8OID);
}
