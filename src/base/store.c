/*
 * store.c
 *		Statements and arguments of the rooms' management functions.
 */
#include "base/base.h"

#include "access/xact.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

uint64
AdminExec(const char *sql, int nargs, const Arg *args)
{
	Oid			types[ARGS_MAX];
	Datum		values[ARGS_MAX];
	bool		isnull[ARGS_MAX];

	Assert(nargs <= ARGS_MAX);
	for (int i = 0; i < nargs; i++)
	{
		types[i] = args[i].type;
		values[i] = args[i].value;
		isnull[i] = args[i].isnull;
	}
	return TrustedExec(sql, nargs, types, values, isnull);
}

uint64
AdminRead(const char *sql, int nargs, const Arg *args)
{
	Oid			types[ARGS_MAX];
	Datum		values[ARGS_MAX];
	char		nulls[ARGS_MAX];
	MemoryContext caller = CurrentMemoryContext;
	SPIPlanPtr	plan;
	int			rc;

	Assert(nargs <= ARGS_MAX);
	for (int i = 0; i < nargs; i++)
	{
		types[i] = args[i].type;
		values[i] = args[i].value;
		nulls[i] = args[i].isnull ? 'n' : ' ';
	}
	plan = SPI_prepare(sql, nargs, types);
	if (plan == NULL)
		elog(ERROR, "statement failed: %s", SPI_result_code_string(SPI_result));
	CommandCounterIncrement();
	rc = SPI_execute_snapshot(plan, values, nulls, GetLatestSnapshot(), InvalidSnapshot,
							  true, false, 0);
	if (rc < 0)
		elog(ERROR, "statement failed: %s", SPI_result_code_string(rc));
	SPI_freeplan(plan);
	MemoryContextSwitchTo(caller);	/* SPI leaves its own, which ends with it */
	return SPI_processed;
}

Datum
AdminResult(uint64 row, int column, bool *isnull)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;
	Form_pg_attribute att = TupleDescAttr(desc, column - 1);
	bool		null;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], desc, column, &null);

	if (isnull)
		*isnull = null;
	else if (null)
		elog(ERROR, "unexpected null in column %d", column);
	return null ? (Datum) 0 : datumCopy(value, att->attbyval, att->attlen);
}

bool
AdminReadBool(const char *sql, int nargs, const Arg *args)
{
	return AdminRead(sql, nargs, args) > 0 && DatumGetBool(AdminResult(0, 1, NULL));
}

void
AdminExpectRow(uint64 rows)
{
	if (rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
}

static void
refuse_null(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

pg_uuid_t *
ArgUuid(FunctionCallInfo fcinfo, int n, const char *name)
{
	refuse_null(fcinfo, n, name);
	return PG_GETARG_UUID_P(n);
}

pg_uuid_t *
ArgUuidOrNull(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_UUID_P(n);
}

char *
ArgText(FunctionCallInfo fcinfo, int n, const char *name)
{
	refuse_null(fcinfo, n, name);
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

char *
ArgTextOrNull(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

bool
ArgBool(FunctionCallInfo fcinfo, int n)
{
	return !PG_ARGISNULL(n) && PG_GETARG_BOOL(n);
}

pg_uuid_t *
NewUuid(void)
{
	return DatumGetUUIDP(OidFunctionCall0(F_GEN_RANDOM_UUID));
}

char *
UuidText(const pg_uuid_t *uuid)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(uuid)));
}

bool
UuidEquals(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return memcmp(a->data, b->data, UUID_LEN) == 0;
}
