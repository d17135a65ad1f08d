/*
 * protection.c
 *		The registry of protected tables: read through a cache that the
 *		registry's own relcache invalidation empties.
 */
#include "tenancy/protect.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#define REGISTRY "protections"

/* The registry's columns, in the order in which protect.sql declares them. */
enum
{
	Anum_relation = 1,
	Anum_kind,
	Anum_resource,
	Anum_tenant_column,
	Anum_affiliation_column,
	Anum_parent,
	Anum_key_columns,
	Anum_parent_columns,
	Anum_root,
	Anum_pinned,
	Anum_materialize,
	Anum_materialized,
	Anum_automatic
};

typedef struct CacheEntry
{
	Oid			relid;			/* hash key */
	Protection *protection;		/* NULL: not protected */
} CacheEntry;

static bool protection_working = false;

static MemoryContext cache_context = NULL;
static HTAB *cache = NULL;
static bool cache_valid = false;
static Oid	registry_relid = InvalidOid;
static uint64 generation = 1;

bool
ProtectionWorking(void)
{
	return protection_working;
}

bool
ProtectionPartName(const char *name)
{
	static const char *const prefixes[] = {"bulwark_", TRIGGER_FK_GUARD, TRIGGER_MATERIALIZE, TRIGGER_CHILDREN, TRIGGER_RULE_GUARD};

	for (int i = 0; i < lengthof(prefixes); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

/* The registry, or any relation, has changed: forget everything. */
static void
registry_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == registry_relid)
	{
		cache_valid = false;
		generation++;
	}
}

void
ProtectionInit(void)
{
	RelationWatch(registry_changed);
	SyncInit();
}

/* An empty cache for the registry of this database. */
static void
cache_start(Oid relid)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(CacheEntry)};

	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(CacheMemoryContext, "bulwark protections",
											  ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(cache_context);
	ctl.hcxt = cache_context;
	cache = hash_create("bulwark protections", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	registry_relid = relid;
	cache_valid = true;
}

/* A name[] as a list of C strings. */
static List *
name_list(Datum array)
{
	List	   *result = NIL;
	Datum	   *elements;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(array), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
					  &elements, NULL, &n);
	for (int i = 0; i < n; i++)
		result = lappend(result, pstrdup(NameStr(*DatumGetName(elements[i]))));
	return result;
}

static void
copy_name(char *dst, Datum value, bool isnull)
{
	strlcpy(dst, isnull ? "" : NameStr(*DatumGetName(value)), NAMEDATALEN);
}

Protection *
ProtectionFromTuple(HeapTuple tuple, TupleDesc desc)
{
	Protection *p = palloc0(sizeof(Protection));
	Datum		values[MaxHeapAttributeNumber];
	bool		isnull[MaxHeapAttributeNumber];

#define VALUE(column)	values[Anum_##column - 1]
#define ISNULL(column)	isnull[Anum_##column - 1]
	heap_deform_tuple(tuple, desc, values, isnull);
	p->relid = DatumGetObjectId(VALUE(relation));
	p->kind = DatumGetChar(VALUE(kind));
	strlcpy(p->resource, TextDatumGetCString(VALUE(resource)), sizeof(p->resource));
	copy_name(p->tenant_column, VALUE(tenant_column), ISNULL(tenant_column));
	copy_name(p->affiliation_column, VALUE(affiliation_column), ISNULL(affiliation_column));
	p->parent = ISNULL(parent) ? InvalidOid : DatumGetObjectId(VALUE(parent));
	p->key_columns = ISNULL(key_columns) ? NIL : name_list(VALUE(key_columns));
	p->parent_columns = ISNULL(parent_columns) ? NIL : name_list(VALUE(parent_columns));
	p->root = ISNULL(root) ? InvalidOid : DatumGetObjectId(VALUE(root));
	p->pinned = !ISNULL(pinned);
	if (p->pinned)
		p->pinned_tenant = *DatumGetUUIDP(VALUE(pinned));
	p->materialize = DatumGetBool(VALUE(materialize));
	p->materialized = DatumGetBool(VALUE(materialized));
	p->automatic = DatumGetBool(VALUE(automatic));
#undef VALUE
#undef ISNULL
	return p;
}

/* Rows of the registry whose column is relid, as committed or as we made them
 * so far, by the column's index. */
static List *
registry_read(Oid registry, const char *index, AttrNumber column, Oid relid)
{
	List	   *result = NIL;
	Relation	rel = table_open(registry, AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, PrivateRelid(index), true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		result = lappend(result, ProtectionFromTuple(tuple, RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

bool
KeptPlanValid(const KeptPlan *kept)
{
	return kept->generation == generation && (kept->plan == NULL || SPI_plan_is_valid(kept->plan));
}

void
KeptPlanReset(KeptPlan *kept)
{
	if (kept->plan)
		SPI_freeplan(kept->plan);
	kept->plan = NULL;
	kept->generation = 0;
}

/* Between TrustedBegin and TrustedEnd.  sql NULL: there is nothing to run. */
void
KeptPlanSet(KeptPlan *kept, const char *sql, int nargs, Oid *types)
{
	if (sql)
	{
		SPIPlanPtr	plan = SPI_prepare(sql, nargs, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "cannot prepare \"%s\"", sql);
		kept->plan = plan;
	}
	kept->generation = generation;
}

bool
SameNames(List *a, List *b)
{
	if (list_length(a) != list_length(b))
		return false;
	for (int i = 0; i < list_length(a); i++)
		if (strcmp(list_nth(a, i), list_nth(b, i)) != 0)
			return false;
	return true;
}

bool
SameProtection(const Protection *a, const Protection *b)
{
	return a->kind == b->kind && a->parent == b->parent && a->materialize == b->materialize &&
		strcmp(a->resource, b->resource) == 0 &&
		strcmp(a->tenant_column, b->tenant_column) == 0 &&
		strcmp(a->affiliation_column, b->affiliation_column) == 0 &&
		SameNames(a->key_columns, b->key_columns) &&
		SameNames(a->parent_columns, b->parent_columns);
}

static Protection *
protection_copy(const Protection *p)
{
	Protection *copy = palloc(sizeof(Protection));

	memcpy(copy, p, sizeof(Protection));
	copy->key_columns = NIL;
	copy->parent_columns = NIL;
	for (int i = 0; i < list_length(p->key_columns); i++)
	{
		copy->key_columns = lappend(copy->key_columns, pstrdup(list_nth(p->key_columns, i)));
		copy->parent_columns = lappend(copy->parent_columns, pstrdup(list_nth(p->parent_columns, i)));
	}
	return copy;
}

/*
 * An invalidation may arrive while the registry is read (opening a table
 * accepts them): the entry is then older than the change, so read again.
 */
const Protection *
ProtectionOf(Oid relid)
{
	CacheEntry *entry;

	for (;;)
	{
		Oid			registry = cache_valid ? registry_relid : PrivateRelid(REGISTRY);
		List	   *rows;
		MemoryContext old;

		if (!OidIsValid(registry))
			return NULL;
		if (!cache_valid)
			cache_start(registry);
		entry = hash_search(cache, &relid, HASH_FIND, NULL);
		if (entry)
			break;

		rows = registry_read(registry, "protections_pkey", Anum_relation, relid);
		if (!cache_valid)
			continue;
		old = MemoryContextSwitchTo(cache_context);
		entry = hash_search(cache, &relid, HASH_ENTER, NULL);
		entry->protection = NULL;
		entry->protection = rows ? protection_copy(linitial(rows)) : NULL;
		MemoryContextSwitchTo(old);
		break;
	}
	return entry->protection ? protection_copy(entry->protection) : NULL;
}

void
ProtectionColumns(const Protection *p, const char **tenant, const char **affiliation)
{
	bool		kept = p->kind == 'c' && p->materialize;

	*tenant = kept && get_attnum(p->relid, MATERIALIZED_TENANT) != InvalidAttrNumber ?
		MATERIALIZED_TENANT : p->tenant_column;
	*affiliation = kept && get_attnum(p->relid, MATERIALIZED_AFFILIATION) != InvalidAttrNumber ?
		MATERIALIZED_AFFILIATION : p->affiliation_column;
}

/* A scan of pg_inherits by its child. */
List *
InheritanceParents(Oid relid)
{
	Relation	rel = table_open(InheritsRelationId, AccessShareLock);
	List	   *result = NIL;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		result = lappend_oid(result, ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

static List *
protections_with(const char *index, AttrNumber column, Oid relid)
{
	Oid			registry = PrivateRelid(REGISTRY);

	return OidIsValid(registry) ? registry_read(registry, index, column, relid) : NIL;
}

List *
ProtectionsWithRoot(Oid root)
{
	return protections_with("protections_root", Anum_root, root);
}

List *
ProtectionsWithParent(Oid parent)
{
	return protections_with("protections_parent", Anum_parent, parent);
}

/* The table goes, and its row with it.  Runs inside the drop: no SQL here. */
void
ProtectionForget(Oid relid)
{
	Oid			registry = PrivateRelid(REGISTRY);
	Relation	rel;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		found = false;

	if (!OidIsValid(registry) || ProtectionOf(relid) == NULL)
		return;
	rel = table_open(registry, RowExclusiveLock);
	ScanKeyInit(&key, Anum_relation, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, PrivateRelid("protections_pkey"), true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		CatalogTupleDelete(rel, &tuple->t_self);
		found = true;
	}
	systable_endscan(scan);
	if (found)
		CacheInvalidateRelcache(rel);
	table_close(rel, RowExclusiveLock);
}

/* --- our own statements ---------------------------------------------------- */

void
CallerBegin(TrustedScope *scope)
{
	GetUserIdAndSecContext(&scope->save_userid, &scope->save_sec_context);
	scope->caller = CurrentMemoryContext;
	scope->guc_level = NewGUCNestLevel();
	PinSearchPath();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(scope->caller);
}

/* Only while one of our statements runs do our hooks let it pass. */
void
Ddl(const char *sql)
{
	bool		save = protection_working;
	int			rc = 0;

	protection_working = true;
	PG_TRY();
	{
		rc = SPI_execute(sql, false, 0);
	}
	PG_FINALLY();
	{
		protection_working = save;
	}
	PG_END_TRY();
	if (rc < 0)
		elog(ERROR, "statement failed: %s", SPI_result_code_string(rc));
}
