/*
 * audited.c
 *		Which relations are audited, and how: the registry, read through a cache
 *		that its own relcache invalidation, or the relation's, empties.
 */
#include "ledger/capture.h"
#include "ledger/audit.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define REGISTRY		"ledger_audited"
#define REGISTRY_INDEX	"ledger_audited_pkey"

/* The registry's columns, in the order of ledger.sql. */
enum
{
	Anum_relation = 1, Anum_exclude_columns, Anum_sealed_columns, Anum_reads, Anum_automatic
};

typedef struct CacheEntry
{
	Oid			relid;			/* hash key */
	Audited    *audited;		/* NULL: not audited */
} CacheEntry;

static MemoryContext cache_context = NULL;
static HTAB *cache = NULL;
static bool cache_valid = false;
static Oid	registry_relid = InvalidOid;

/* --- the cache ------------------------------------------------------------------------- */

static void
relation_changed(Datum arg, Oid relid)
{
	if (!cache_valid)
		return;
	/* an audited relation's columns may have other numbers or names */
	if (relid == InvalidOid || relid == registry_relid)
		cache_valid = false;
	else
	{
		CacheEntry *entry = hash_search(cache, &relid, HASH_FIND, NULL);

		if (entry != NULL && entry->audited != NULL)
			cache_valid = false;
	}
}

static void
cache_start(Oid registry)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(CacheEntry)};

	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(CacheMemoryContext, "bulwark audited", ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(cache_context);
	ctl.hcxt = cache_context;
	cache = hash_create("bulwark audited", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	registry_relid = registry;
	cache_valid = true;
}

static List *
name_list(Datum array)
{
	List	   *names = NIL;
	Datum	   *elements;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(array), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
					  &elements, NULL, &n);
	for (int i = 0; i < n; i++)
		names = lappend(names, pstrdup(NameStr(*DatumGetName(elements[i]))));
	return names;
}

static List *
numbers(Oid relid, List *names)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, names)
		result = lappend_int(result, get_attnum(relid, lfirst(lc)));
	return result;
}

/* The row of the registry, in the current memory context; NULL: none. */
static Audited *
registry_read(Oid relid)
{
	PrivateScan scan;
	Audited    *audited = NULL;
	bool		isnull;

	if (!PrivateScanBegin(&scan, REGISTRY, REGISTRY_INDEX))
		return NULL;
	ScanKeyInit(&scan.keys[scan.nkeys++], Anum_relation, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	if (PrivateScanNext(&scan))
	{
		audited = palloc0(sizeof(Audited));
		audited->relid = relid;
		audited->exclude_columns = name_list(PrivateScanGet(&scan, Anum_exclude_columns, &isnull));
		audited->sealed_columns = name_list(PrivateScanGet(&scan, Anum_sealed_columns, &isnull));
		audited->reads = DatumGetBool(PrivateScanGet(&scan, Anum_reads, &isnull));
		audited->automatic = DatumGetBool(PrivateScanGet(&scan, Anum_automatic, &isnull));
		audited->excluded = numbers(relid, audited->exclude_columns);
		audited->sealed = numbers(relid, audited->sealed_columns);
	}
	PrivateScanEnd(&scan);
	return audited;
}

static Audited *
audited_copy(const Audited *audited)
{
	Audited    *copy = palloc(sizeof(Audited));

	*copy = *audited;
	copy->exclude_columns = copy->sealed_columns = NIL;
	for (int i = 0; i < list_length(audited->exclude_columns); i++)
		copy->exclude_columns = lappend(copy->exclude_columns, pstrdup(list_nth(audited->exclude_columns, i)));
	for (int i = 0; i < list_length(audited->sealed_columns); i++)
		copy->sealed_columns = lappend(copy->sealed_columns, pstrdup(list_nth(audited->sealed_columns, i)));
	copy->excluded = list_copy(audited->excluded);
	copy->sealed = list_copy(audited->sealed);
	return copy;
}

/*
 * An invalidation may arrive while the registry is read: what was read is then
 * older than the change, so read again.
 */
const Audited *
AuditedOf(Oid relid)
{
	for (;;)
	{
		Oid			registry = cache_valid ? registry_relid : PrivateRelid(REGISTRY);
		CacheEntry *entry;
		Audited    *audited;
		MemoryContext old;

		if (!OidIsValid(registry))
			return NULL;
		if (!cache_valid)
			cache_start(registry);
		entry = hash_search(cache, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			return entry->audited;

		audited = registry_read(relid);
		if (!cache_valid)
			continue;
		old = MemoryContextSwitchTo(cache_context);
		audited = audited != NULL ? audited_copy(audited) : NULL;
		entry = hash_search(cache, &relid, HASH_ENTER, NULL);
		entry->audited = audited;
		MemoryContextSwitchTo(old);
		return audited;
	}
}

/* --- changes ------------------------------------------------------------------------------ */

static Datum
name_array(List *names)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(1, list_length(names)));

	for (int i = 0; i < list_length(names); i++)
		elements[i] = DirectFunctionCall1(namein, CStringGetDatum(list_nth(names, i)));
	return PointerGetDatum(construct_array(elements, list_length(names), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR));
}

void
AuditedWrite(const Audited *audited)
{
	Oid			types[] = {OIDOID, NAMEARRAYOID, NAMEARRAYOID, BOOLOID, BOOLOID};
	Datum		values[] = {ObjectIdGetDatum(audited->relid), name_array(audited->exclude_columns),
		name_array(audited->sealed_columns), BoolGetDatum(audited->reads), BoolGetDatum(audited->automatic)};

	TrustedExec("INSERT INTO bulwark_internal.ledger_audited (relation, exclude_columns, sealed_columns, reads, automatic) "
				"VALUES ($1, $2, $3, $4, $5) ON CONFLICT (relation) DO UPDATE SET exclude_columns = excluded.exclude_columns, "
				"sealed_columns = excluded.sealed_columns, reads = excluded.reads, automatic = excluded.automatic",
				lengthof(types), types, values, NULL);
}

/* Runs inside a drop as well: no SQL here. */
void
AuditedForget(Oid relid)
{
	Oid			registry = PrivateRelid(REGISTRY);
	Relation	rel;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		found = false;

	if (!OidIsValid(registry) || AuditedOf(relid) == NULL)
		return;
	rel = table_open(registry, RowExclusiveLock);
	ScanKeyInit(&key, Anum_relation, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, PrivateRelid(REGISTRY_INDEX), true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CatalogTupleDelete(rel, &tuple->t_self);
		found = true;
	}
	systable_endscan(scan);
	if (found)
		CacheInvalidateRelcache(rel);
	table_close(rel, NoLock);
}

/* The names but the old one, the new one in its place. */
static List *
replace_name(List *names, const char *old_name, const char *new_name)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), old_name) != 0)
			result = lappend(result, lfirst(lc));
		else if (new_name != NULL)
			result = lappend(result, unconstify(char *, new_name));
	}
	return result;
}

void
AuditedColumnRenamed(Oid relid, const char *old_name, const char *new_name)
{
	const Audited *before = AuditedOf(relid);
	Audited    *audited;
	TrustedScope scope;

	if (before == NULL)
		return;
	audited = audited_copy(before);
	audited->exclude_columns = replace_name(audited->exclude_columns, old_name, new_name);
	audited->sealed_columns = replace_name(audited->sealed_columns, old_name, new_name);
	LedgerWorkBegin();
	TrustedBegin(&scope);
	AuditedWrite(audited);
	TrustedEnd(&scope);
	LedgerWorkEnd();
}

void
AuditedInit(void)
{
	RelationWatch(relation_changed);
}
