/*
 * spi.c
 *		SQL that we run ourselves: as the extension's owner, with a pinned
 *		search_path, so that nothing of the caller's can be found by name.
 */
#include "base/base.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#define PINNED_SEARCH_PATH "pg_catalog, pg_temp"

/* The extension's owner owns the private schema. */
static Oid
extension_owner(void)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACENAME, CStringGetDatum(BULWARK_PRIVATE_SCHEMA));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("bulwark is not installed in this database"),
				 errhint("Run CREATE EXTENSION bulwark.")));
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	return owner;
}

void
PinSearchPath(void)
{
	(void) set_config_option("search_path", PINNED_SEARCH_PATH, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
TrustedBegin(TrustedScope *scope)
{
	Oid			owner = extension_owner();

	GetUserIdAndSecContext(&scope->save_userid, &scope->save_sec_context);
	scope->caller = CurrentMemoryContext;
	scope->guc_level = NewGUCNestLevel();
	PinSearchPath();
	SetUserIdAndSecContext(owner, scope->save_sec_context | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(scope->caller);
}

void
TrustedEnd(TrustedScope *scope)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	SetUserIdAndSecContext(scope->save_userid, scope->save_sec_context);
	AtEOXact_GUC(true, scope->guc_level);
	MemoryContextSwitchTo(scope->caller);
}

/* The next statement that the executor starts is one that we run ourselves. */
static bool next_is_ours = false;

bool
TrustedTake(void)
{
	bool		ours = next_is_ours;

	next_is_ours = false;
	return ours;
}

uint64
TrustedExec(const char *sql, int nargs, const Oid *types, const Datum *values, const bool *isnull)
{
	MemoryContext caller = CurrentMemoryContext;
	bool		outer = next_is_ours;
	char	   *volatile nulls = NULL;
	int			rc = 0;

	if (isnull != NULL)
	{
		nulls = palloc(nargs + 1);
		for (int i = 0; i < nargs; i++)
			nulls[i] = isnull[i] ? 'n' : ' ';
		nulls[nargs] = '\0';
	}
	PG_TRY();
	{
		next_is_ours = true;
		rc = SPI_execute_with_args(sql, nargs, unconstify(Oid *, types), unconstify(Datum *, values),
								   nulls, false, 0);
	}
	PG_FINALLY();
	{
		next_is_ours = outer;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);	/* SPI leaves its own, which ends with it */
	if (rc < 0)
		elog(ERROR, "statement failed: %s", SPI_result_code_string(rc));
	if (nulls)
		pfree(nulls);
	return SPI_processed;
}

Datum
TrustedScalar(const char *sql, int nargs, const Oid *types, const Datum *values, const bool *isnull,
			  bool *found, bool *result_null)
{
	Datum		result = (Datum) 0;
	bool		null = true;
	uint64		rows = TrustedExec(sql, nargs, types, values, isnull);

	if (rows > 0)
	{
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Form_pg_attribute att = TupleDescAttr(desc, 0);

		result = SPI_getbinval(SPI_tuptable->vals[0], desc, 1, &null);
		if (!null)
			result = datumCopy(result, att->attbyval, att->attlen);
	}
	if (found)
		*found = rows > 0;
	if (result_null)
		*result_null = null;
	return result;
}

/* --- the private schema's relations, by name ---------------------------------- */

typedef struct KnownRelation
{
	NameData	name;			/* hash key: first */
	Oid			relid;
} KnownRelation;

static HTAB *known = NULL;
static bool known_valid = false;

/* Some relation or schema is made, renamed or dropped. */
static void
names_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	known_valid = false;
}

void
NamesInit(void)
{
	CacheRegisterSyscacheCallback(RELNAMENSP, names_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACENAME, names_changed, (Datum) 0);
}

static void
known_start(void)
{
	HASHCTL		ctl = {.keysize = NAMEDATALEN, .entrysize = sizeof(KnownRelation)};

	if (known != NULL)
		hash_destroy(known);
	known = NULL;
	known = hash_create("bulwark private relations", 64, &ctl, HASH_ELEM | HASH_STRINGS);
	/* before anything is looked up: an invalidation meanwhile must win */
	known_valid = true;
}

Oid
PrivateRelid(const char *name)
{
	KnownRelation *relation;
	Oid			schema;
	Oid			relid;

	if (!known_valid)
		known_start();
	relation = hash_search(known, name, HASH_FIND, NULL);
	if (relation != NULL)
		return relation->relid;

	schema = get_namespace_oid(BULWARK_PRIVATE_SCHEMA, true);
	relid = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
	if (OidIsValid(relid) && known_valid)
	{
		relation = hash_search(known, name, HASH_ENTER, NULL);
		relation->relid = relid;
	}
	return relid;
}

bool
IsPrivateRelation(Oid relid)
{
	return OidIsValid(relid) && get_rel_namespace(relid) == get_namespace_oid(BULWARK_PRIVATE_SCHEMA, true);
}
