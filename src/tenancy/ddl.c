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

typedef struct Note
{
	SettleKind	kind;
	SubTransactionId subid;
	Oid			relid;
	Oid			classid;		/* part: pg_policy or pg_trigger */
	NameData	name;			/* part, column */
	NameData	new_name;		/* column */
} Note;

/* What is yet to be settled, in the transaction's memory context. */
static List *notes = NIL;

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

static Note *
add_note(SettleKind kind, Oid relid)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Note	   *note = palloc0(sizeof(Note));

	note->kind = kind;
	note->subid = GetCurrentSubTransactionId();
	note->relid = relid;
	notes = lappend(notes, note);
	MemoryContextSwitchTo(old);
	return note;
}

static bool
is_noted(SettleKind kind, Oid relid)
{
	ListCell   *lc;

	foreach(lc, notes)
	{
		Note	   *note = lfirst(lc);

		if (note->kind == kind && note->relid == relid)
			return true;
	}
	return false;
}

void
SettleRelation(SettleKind kind, Oid relid)
{
	if (!is_noted(kind, relid))
		add_note(kind, relid);
}

void
SettlePart(SettleKind kind, Oid classid, Oid relid, const char *name)
{
	Note	   *note = add_note(kind, relid);

	note->classid = classid;
	namestrcpy(&note->name, name);
}

void
SettleColumn(Oid relid, const char *old_name, const char *new_name)
{
	Note	   *note = add_note(SETTLE_RENAMED, relid);

	namestrcpy(&note->name, old_name);
	namestrcpy(&note->new_name, new_name);
}

bool
IsSettleCreated(Oid relid)
{
	return is_noted(SETTLE_CREATED, relid);
}

/* Is the policy or trigger there?  A trigger's state, if it is. */
static bool
part_exists(const Note *note, char *enabled)
{
	bool		policy = note->classid == PolicyRelationId;
	Relation	catalog = table_open(note->classid, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], policy ? Anum_pg_policy_polrelid : Anum_pg_trigger_tgrelid,
				BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(note->relid));
	ScanKeyInit(&key[1], policy ? Anum_pg_policy_polname : Anum_pg_trigger_tgname,
				BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&note->name));
	scan = systable_beginscan(catalog, policy ? PolicyPolrelidPolnameIndexId : TriggerRelidNameIndexId,
							  true, NULL, 2, key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple) && !policy)
		*enabled = ((Form_pg_trigger) GETSTRUCT(tuple))->tgenabled;
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

/* A policy or trigger that went while its table stays is missed. */
static void
miss_part(const Note *note)
{
	char		enabled;

	if (!part_exists(note, &enabled))
		Weaken(note->relid, psprintf("dropping %s \"%s\"",
									 note->classid == PolicyRelationId ? "policy" : "trigger",
									 NameStr(note->name)));
}

/* A restore that switches all triggers off, and on again, goes on; ours fire. */
static void
switch_on(const Note *note)
{
	TrustedScope scope;
	char		enabled;

	if (!part_exists(note, &enabled) || enabled == TRIGGER_FIRES_ALWAYS)
		return;
	TrustedBegin(&scope);
	Ddl(psprintf("ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %s",
				 QualifiedName(note->relid), quote_identifier(NameStr(note->name))));
	TrustedEnd(&scope);
	ereport(NOTICE,
			(errmsg("trigger \"%s\" of protected table \"%s\" stays enabled always",
					NameStr(note->name), get_rel_name(note->relid))));
}

static void
settle_note(const Note *note)
{
	/* The command itself may have dropped it later. */
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(note->relid)))
		return;
	if (note->kind == SETTLE_CREATED)
	{
		ProtectionConsiderNew(note->relid);
		return;
	}
	if (ProtectionOf(note->relid) == NULL)
		return;
	switch (note->kind)
	{
		case SETTLE_REMOVED:
			miss_part(note);
			break;
		case SETTLE_SWITCHED:
			switch_on(note);
			break;
		case SETTLE_RENAMED:
			ProtectionColumnRenamed(note->relid, NameStr(note->name), NameStr(note->new_name));
			break;
		default:
			ProtectionSync(note->relid);
			break;
	}
}

void
Settle(void)
{
	List	   *settling = notes;
	ListCell   *lc;

	if (settling == NIL || !IsTransactionState())
		return;
	notes = NIL;
	CommandCounterIncrement();

	for (int kind = 0; kind < SETTLE_KINDS; kind++)
	{
		foreach(lc, settling)
		{
			Note	   *note = lfirst(lc);

			if (note->kind == kind)
				settle_note(note);
		}
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
			if (notes != NIL)
			{
				PushActiveSnapshot(GetTransactionSnapshot());
				Settle();
				PopActiveSnapshot();
			}
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			notes = NIL;
			break;
		default:
			break;
	}
}

/* What a savepoint undoes did not happen: forget it.  Later ones have higher ids. */
static void
ddl_subxact(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	ListCell   *lc;

	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(lc, notes)
	{
		if (((Note *) lfirst(lc))->subid >= subid)
			notes = foreach_delete_current(notes, lc);
	}
}

void
DdlInit(void)
{
	DdlEventInit();
	DdlCommandInit();
	RegisterXactCallback(ddl_xact, NULL);
	RegisterSubXactCallback(ddl_subxact, NULL);
}
