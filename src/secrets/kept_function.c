/*
 * kept_function.c
 *		Functions that indexes, generated columns, defaults, constraints, partition keys
 *		and statistics objects call: nothing is opened within one whose body does not show
 *		what it does.
 *
 *		Its definition was accepted since nothing in it names what opens a value.  INSERT,
 *		UPDATE and COPY evaluate it row by row, with no command of its own to be known by;
 *		so it is the function that is watched, whoever calls it.
 */
#include "secrets/values.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/syscache.h"

typedef struct Known
{
	Oid			function;		/* key */
	bool		watched;
} Known;

/* What a call of a watched function, or one that another hook watches, keeps. */
typedef struct Call
{
	bool		watched;
	Datum		others;
} Call;

static needs_fmgr_hook_type prev_needs_fmgr_hook = NULL;
static fmgr_hook_type prev_fmgr_hook = NULL;

static HTAB *known = NULL;
static bool known_stale = false;
static int	depth = 0;			/* watched functions at work */

/* Does one of the definitions that keep what they compute depend on it?  By way of an
 * operator, too; a function in between is watched itself. */
static bool
definition_depends_on(Oid classid, Oid objid)
{
	Relation	catalog = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *operators = NIL;
	ListCell   *lc;
	bool		result = false;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(classid));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(objid));
	scan = systable_beginscan(catalog, DependReferenceIndexId, true, NULL, 2, keys);
	while (!result && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		/* of relations, an index for its expressions and a table for its partition key; of types, a domain */
		result = form->classid == AttrDefaultRelationId || form->classid == ConstraintRelationId ||
			form->classid == StatisticExtRelationId || form->classid == RelationRelationId || form->classid == TypeRelationId;
		if (form->classid == OperatorRelationId && classid == ProcedureRelationId)
			operators = lappend_oid(operators, form->objid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	foreach(lc, operators)
		result = result || definition_depends_on(OperatorRelationId, lfirst_oid(lc));
	return result;
}

static bool
is_watched(Oid function)
{
	Known	   *entry;
	bool		found;
	bool		watched;

	if (function < FirstNormalObjectId || !IsTransactionState() || IsBinaryUpgrade)
		return false;
	if (known_stale && known != NULL)
	{
		hash_destroy(known);
		known = NULL;
	}
	if (known == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(Known)};

		known = hash_create("bulwark functions", 64, &control, HASH_ELEM | HASH_BLOBS);
		known_stale = false;
	}
	entry = hash_search(known, &function, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->watched;
	watched = definition_depends_on(ProcedureRelationId, function) && DerivedUnread(function);
	/* what was looked up may have changed meanwhile */
	if (!known_stale)
	{
		entry = hash_search(known, &function, HASH_ENTER, &found);
		entry->watched = watched;
	}
	return watched;
}

static bool
kept_needs_fmgr_hook(Oid function)
{
	return (prev_needs_fmgr_hook && prev_needs_fmgr_hook(function)) || is_watched(function);
}

static void
kept_fmgr_hook(FmgrHookEventType event, FmgrInfo *function, Datum *private)
{
	Call	   *call = (Call *) DatumGetPointer(*private);

	if (call == NULL)
	{
		call = MemoryContextAllocZero(function->fn_mcxt, sizeof(Call));
		*private = PointerGetDatum(call);
	}
	if (event == FHET_START)
		call->watched = is_watched(function->fn_oid);
	else
		depth -= call->watched;
	if (prev_fmgr_hook)
		prev_fmgr_hook(event, function, &call->others);
	/* last, for after an error above the call has not begun */
	if (event == FHET_START)
		depth += call->watched;
}

bool
KeptFunctionRuns(void)
{
	return depth > 0;
}

static void
relation_changed(Datum arg, Oid relid)
{
	known_stale = true;
}

static void
function_changed(Datum arg, int cache, uint32 hash)
{
	known_stale = true;
}

void
KeptFunctionInit(void)
{
	RelationWatch(relation_changed);
	CacheRegisterSyscacheCallback(PROCOID, function_changed, (Datum) 0);
	prev_needs_fmgr_hook = needs_fmgr_hook;
	needs_fmgr_hook = kept_needs_fmgr_hook;
	prev_fmgr_hook = fmgr_hook;
	fmgr_hook = kept_fmgr_hook;
}
