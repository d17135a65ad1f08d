/*
 * ddl.c
 *		Watches definitions: what would take a table's protection away is
 *		refused or said aloud, and what appears beside a protected table is
 *		protected.
 *
 *		Two hooks share the work.  The object access hook (ddl_event.c) sees
 *		which object a command is changing, whatever the command was called, in a
 *		function or by CASCADE, and cannot be misled by names; the utility hook
 *		(ddl_command.c) sees the commands that the other is not told of.  What
 *		both note is settled here when the command is done.  Event triggers,
 *		which a setting switches off, have no part in it.
 *
 *		An application login (session_user) changes nothing about a protected
 *		table, be it the owner.  Everybody else but a superuser must unprotect()
 *		before taking a protection apart; a superuser may, and is warned.
 */
#include "tenancy/ddl.h"
#include "tenancy/protect.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* A policy or trigger of ours. */
typedef struct Guard
{
	Oid			classid;
	Oid			relid;
	NameData	name;
} Guard;

typedef struct Renamed
{
	Oid			relid;
	NameData	old_name;
	NameData	new_name;
} Renamed;

/* What the transaction has yet to settle, in its memory context. */
static List *created = NIL;		/* Oid */
static List *changed = NIL;		/* Oid */
static List *renamed = NIL;		/* Renamed * */
static List *removed = NIL;		/* Guard * */
static List *switched = NIL;	/* Guard * */

bool
DdlWatched(void)
{
	return !ProtectionWorking() && !IsBinaryUpgrade;
}

void
RefuseApp(Oid relid, const char *what)
{
	if (OidIsValid(relid) && SessionIsApp() && ProtectionOf(relid) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("%s is not allowed for an application login on protected table \"%s\"",
						what, get_rel_name(relid)),
				 errhint("Use a role that is not a member of \"%s\".", ROLE_APP)));
}

void
Weaken(Oid relid, const char *what)
{
	bool		allowed = superuser();

	ereport(allowed ? WARNING : ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("%s takes protection from table \"%s\"", what, get_rel_name(relid)),
			 allowed ? errhint("bulwark.isolation_check() tells what is missing; bulwark.protect() brings it back.") :
			 errhint("Call bulwark.unprotect() first, which undoes what bulwark.protect() did.")));
}

void
SettleCreated(Oid relid)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	created = list_append_unique_oid(created, relid);
	MemoryContextSwitchTo(old);
}

bool
IsSettleCreated(Oid relid)
{
	return list_member_oid(created, relid);
}

void
SettleChanged(Oid relid)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	changed = list_append_unique_oid(changed, relid);
	MemoryContextSwitchTo(old);
}

void
SettleRenamed(Oid relid, const char *old_name, const char *new_name)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Renamed    *r = palloc(sizeof(Renamed));

	r->relid = relid;
	namestrcpy(&r->old_name, old_name);
	namestrcpy(&r->new_name, new_name);
	renamed = lappend(renamed, r);
	MemoryContextSwitchTo(old);
}

static List *
append_guard(List *list, Oid classid, Oid relid, const char *name)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Guard	   *guard = palloc(sizeof(Guard));

	guard->classid = classid;
	guard->relid = relid;
	namestrcpy(&guard->name, name);
	list = lappend(list, guard);
	MemoryContextSwitchTo(old);
	return list;
}

void
SettleRemoved(Oid classid, Oid relid, const char *name)
{
	removed = append_guard(removed, classid, relid, name);
}

void
SettleSwitched(Oid relid, const char *name)
{
	switched = append_guard(switched, TriggerRelationId, relid, name);
}

/* A savepoint rolled back, or the command itself, may have taken it away. */
static bool
relation_exists(Oid relid)
{
	return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid));
}

static bool
is_protected(Oid relid)
{
	return relation_exists(relid) && ProtectionOf(relid) != NULL;
}

/* Is it there?  A trigger's state, if it is. */
static bool
guard_exists(const Guard *guard, char *enabled)
{
	bool		policy = guard->classid == PolicyRelationId;
	Relation	catalog = table_open(guard->classid, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], policy ? Anum_pg_policy_polrelid : Anum_pg_trigger_tgrelid,
				BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(guard->relid));
	ScanKeyInit(&key[1], policy ? Anum_pg_policy_polname : Anum_pg_trigger_tgname,
				BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&guard->name));
	scan = systable_beginscan(catalog, policy ? PolicyPolrelidPolnameIndexId : TriggerRelidNameIndexId,
							  true, NULL, 2, key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple) && !policy)
		*enabled = ((Form_pg_trigger) GETSTRUCT(tuple))->tgenabled;
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

/* Our policy or trigger went, and its table is still there. */
static void
miss_guard(const Guard *guard)
{
	char		enabled;

	if (is_protected(guard->relid) && !guard_exists(guard, &enabled))
		Weaken(guard->relid, psprintf("dropping %s \"%s\"",
									  guard->classid == PolicyRelationId ? "policy" : "trigger",
									  NameStr(guard->name)));
}

/* A restore that switches all triggers off, and on again, goes on; ours fire. */
static void
switch_on(const Guard *guard)
{
	TrustedScope scope;
	char		enabled;

	if (!is_protected(guard->relid) || !guard_exists(guard, &enabled) ||
		enabled == TRIGGER_FIRES_ALWAYS)
		return;
	TrustedBegin(&scope);
	Ddl(psprintf("ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %s",
				 QualifiedName(guard->relid), quote_identifier(NameStr(guard->name))));
	TrustedEnd(&scope);
	ereport(NOTICE,
			(errmsg("trigger \"%s\" of protected table \"%s\" stays enabled always",
					NameStr(guard->name), get_rel_name(guard->relid))));
}

static bool
anything_to_settle(void)
{
	return created != NIL || changed != NIL || renamed != NIL || removed != NIL || switched != NIL;
}

static void
forget_all(void)
{
	created = changed = renamed = removed = switched = NIL;
}

/*
 * A policy that went without its table is missed, new relations are considered,
 * changed ones brought up to date.
 */
void
Settle(void)
{
	List	   *to_consider = created;
	List	   *to_sync = changed;
	List	   *to_rename = renamed;
	List	   *to_miss = removed;
	List	   *to_switch_on = switched;
	ListCell   *lc;

	if (!anything_to_settle() || !IsTransactionState())
		return;
	forget_all();
	CommandCounterIncrement();

	foreach(lc, to_miss)
		miss_guard(lfirst(lc));
	foreach(lc, to_switch_on)
		switch_on(lfirst(lc));
	foreach(lc, to_rename)
	{
		Renamed    *r = lfirst(lc);

		if (is_protected(r->relid))
			ProtectionColumnRenamed(r->relid, NameStr(r->old_name), NameStr(r->new_name));
	}
	foreach(lc, to_consider)
	{
		Oid			relid = lfirst_oid(lc);

		if (relation_exists(relid))
			ProtectionConsiderNew(relid);
	}
	foreach(lc, to_sync)
	{
		Oid			relid = lfirst_oid(lc);

		if (is_protected(relid))
			ProtectionSync(relid);
	}
}

static void
ddl_xact(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			/* Noted outside any command: a function in C made a table, say. */
			if (anything_to_settle())
			{
				PushActiveSnapshot(GetTransactionSnapshot());
				Settle();
				PopActiveSnapshot();
			}
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			forget_all();
			break;
		default:
			break;
	}
}

void
DdlInit(void)
{
	DdlEventInit();
	DdlCommandInit();
	RegisterXactCallback(ddl_xact, NULL);
}
