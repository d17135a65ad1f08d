/*
 * guard.c
 *		Statements do not touch the ledger, whoever runs them.
 *
 *		Three layers.  A trigger on each of its tables, ENABLE ALWAYS, meets what
 *		no hook sees: logical replication, and a server that has not preloaded us
 *		(the library then refuses to load).  A check of every plan's result
 *		relations meets rules, views, foreign keys and statements that touch no
 *		row.  The hooks on definitions (guard_event.c, guard_command.c) keep
 *		tables, triggers and functions as they are.  This room itself writes
 *		through the access methods, below all of that.
 *
 *		A superuser can still edit the catalogs, and who runs code as the
 *		server's system user can do anything: that is found, not prevented.
 */
#include "ledger/guard.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(bulwark_ledger_guard);

#define EXTENSION_NAME		"bulwark"
#define TABLE_PREFIX		"ledger_"
#define IDENTITY_TABLE		"database_identity"
#define TRIGGER_GUARD_ROW		"bulwark_guard_row"
#define TRIGGER_GUARD_TRUNCATE	"bulwark_guard_truncate"

static bool decommission = false;
static bool restore = false;

#define MAX_STRANGERS	64

/* Functions of event triggers that run within our own work. */
static const FmgrInfo *strangers[MAX_STRANGERS];
static int	nstrangers = 0;

static ExecutorStart_hook_type prev_ExecutorStart = NULL;
static needs_fmgr_hook_type prev_needs_fmgr_hook = NULL;
static fmgr_hook_type prev_fmgr_hook = NULL;

/* --- what is guarded ---------------------------------------------------------- */

static bool
is_ledger_form(Form_pg_class form)
{
	/* with another identity this would be another database, and its ledger another's */
	return (strncmp(NameStr(form->relname), TABLE_PREFIX, strlen(TABLE_PREFIX)) == 0 ||
			strncmp(NameStr(form->relname), IDENTITY_TABLE, strlen(IDENTITY_TABLE)) == 0) &&
		form->relnamespace == get_namespace_oid(BULWARK_PRIVATE_SCHEMA, true);
}

/* By its name in our schema: neither can be changed, and nobody else makes such a one. */
bool
IsLedgerRelation(Oid relid)
{
	HeapTuple	tuple;
	bool		result;

	if (relid < FirstNormalObjectId)
		return false;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	if (!HeapTupleIsValid(tuple))
		return false;
	result = is_ledger_form((Form_pg_class) GETSTRUCT(tuple));
	ReleaseSysCache(tuple);
	return result;
}

bool
IsNewLedgerRelation(Oid relid)
{
	HeapTuple	row = CatalogRow(RelationRelationId, ClassOidIndexId, Anum_pg_class_oid, relid, SnapshotSelf);
	bool		result = row != NULL && is_ledger_form((Form_pg_class) GETSTRUCT(row));

	if (row != NULL)
		heap_freetuple(row);
	return result;
}

/* The table that a toast table belongs to. */
static Oid
toast_owner(Oid relid)
{
	Relation	catalog = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			owner = InvalidOid;

	ScanKeyInit(&key[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, DependDependerIndexId, true, NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);

		if (form->deptype == DEPENDENCY_INTERNAL && form->refclassid == RelationRelationId)
			owner = form->refobjid;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return owner;
}

/* What a relation is, or is an index or the toast table of; InvalidOid: a catalog's. */
static Oid
table_of(Oid relid)
{
	char		kind;

	if (relid < FirstNormalObjectId)
		return InvalidOid;
	kind = get_rel_relkind(relid);
	if (kind == RELKIND_INDEX || kind == RELKIND_PARTITIONED_INDEX)
	{
		relid = IndexGetRelation(relid, true);
		kind = get_rel_relkind(relid);
	}
	return kind == RELKIND_TOASTVALUE ? toast_owner(relid) : relid;
}

Oid
LedgerTableOf(Oid relid)
{
	relid = table_of(relid);
	return OidIsValid(relid) && IsLedgerRelation(relid) ? relid : InvalidOid;
}

Oid
OwnTableOf(Oid relid)
{
	relid = table_of(relid);
	return IsPrivateRelation(relid) && OidIsValid(LedgerExtension()) ? relid : InvalidOid;
}

List *
LedgerTables(void)
{
	Relation	catalog = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	List	   *result = NIL;

	ScanKeyInit(&key, Anum_pg_class_relnamespace, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(get_namespace_oid(BULWARK_PRIVATE_SCHEMA, true)));
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->relkind == RELKIND_RELATION && is_ledger_form(form))
			result = lappend_oid(result, form->oid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return result;
}

Oid
LedgerExtension(void)
{
	return get_extension_oid(EXTENSION_NAME, true);
}

bool
IsLedgerMember(Oid classid, Oid objectid)
{
	Oid			extension;

	if (objectid < FirstNormalObjectId)
		return false;
	extension = getExtensionOfObject(classid, objectid);
	return OidIsValid(extension) && extension == LedgerExtension();
}

/* --- when --------------------------------------------------------------------- */

bool
LedgerBegun(void)
{
	PrivateScan scan;
	bool		begun = false;

	/* while the extension is being dropped it is half there */
	if (OidIsValid(PrivateRelid("ledger_log_pkey")) && PrivateScanBegin(&scan, "ledger_log", "ledger_log_pkey"))
	{
		begun = PrivateScanNext(&scan);
		PrivateScanEnd(&scan);
	}
	return begun;
}

bool
LedgerDecommission(void)
{
	return decommission;
}

bool
MayDecommission(void)
{
	return decommission || !LedgerBegun();
}

bool
LedgerLivesHere(TimestampTz *since, uint32 *incarnation)
{
	enum
	{
		Identity_id = 2,
		Incarnation_number = 1,
		Incarnation_database_id = 4,
		Incarnation_started_at = 8
	};
	PrivateScan scan;
	pg_uuid_t	id;
	bool		isnull;
	bool		found;

	/* while the extension is being dropped it is half there */
	if (!OidIsValid(PrivateRelid("database_identity_pkey")) ||
		!OidIsValid(PrivateRelid("ledger_incarnations_pkey")) ||
		!PrivateScanBegin(&scan, "database_identity", "database_identity_pkey"))
		return false;
	found = PrivateScanNext(&scan);
	if (found)
		id = *DatumGetUUIDP(PrivateScanGet(&scan, Identity_id, &isnull));
	PrivateScanEnd(&scan);
	if (!found || !PrivateScanBegin(&scan, "ledger_incarnations", "ledger_incarnations_pkey"))
		return false;

	/* in their order, which is that of time */
	found = false;
	while (!found && PrivateScanNext(&scan))
	{
		found = memcmp(DatumGetUUIDP(PrivateScanGet(&scan, Incarnation_database_id, &isnull)), &id, UUID_LEN) == 0;
		*incarnation = (uint32) DatumGetInt32(PrivateScanGet(&scan, Incarnation_number, &isnull));
		*since = DatumGetTimestampTz(PrivateScanGet(&scan, Incarnation_started_at, &isnull));
	}
	PrivateScanEnd(&scan);
	return found;
}

bool
LedgerRestoring(void)
{
	TimestampTz since;
	uint32		incarnation;

	return restore && !LedgerLivesHere(&since, &incarnation);
}

bool
LedgerScriptRuns(void)
{
	return creating_extension && nstrangers == 0 && CurrentExtensionObject == LedgerExtension();
}

bool
GuardOwnWork(void)
{
	return IsBinaryUpgrade || LedgerWorking() || LedgerScriptRuns();
}

bool
GuardOff(void)
{
	return GuardOwnWork() || LedgerRestoring();
}

/* --- refusals ------------------------------------------------------------------- */

void
RefuseLedgerChange(const char *what, Oid relid)
{
	const char *name = get_rel_name(relid);

	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("%s is not allowed on ledger relation \"%s\"", what, name ? name : "?"),
			 errdetail("Nobody changes the ledger by a statement, superusers included."),
			 errhint("bulwark.ledger_record() adds an entry of your own; the view bulwark.ledger shows what there is.")));
}

void
RefuseLedgerDefinition(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("%s is not allowed while bulwark keeps a ledger", what),
			 errdetail("Nobody changes what guards the ledger by a statement, superusers included."),
			 errhint("To decommission it, set bulwark.ledger_decommission in the configuration file and restart the server.")));
}

void
RefuseOwnChange(const char *what, Oid relid)
{
	if (IsLedgerRelation(relid))
		RefuseLedgerChange(what, relid);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("%s is not allowed on table \"%s\" of bulwark", what, get_rel_name(relid)),
			 errdetail("Nobody changes by a statement what the extension's own tables are, superusers included.")));
}

/* --- plans ------------------------------------------------------------------------ */

const char *
GuardCommandName(CmdType command, const char *within)
{
	switch (command)
	{
		case CMD_INSERT:
			return "INSERT";
		case CMD_UPDATE:
			return "UPDATE";
		case CMD_DELETE:
			return "DELETE";
		case CMD_MERGE:
			return "MERGE";
		default:
			return within;
	}
}

/* A plan that writes to the ledger, or locks its rows, does not start. */
static void
check_plan(PlannedStmt *plan)
{
	ListCell   *lc;

	foreach(lc, plan->resultRelations)
	{
		Oid			relid = rt_fetch(lfirst_int(lc), plan->rtable)->relid;

		if (unlikely(IsLedgerRelation(relid)) && !GuardOff())
			RefuseLedgerChange(GuardCommandName(plan->commandType, "a change in WITH"), relid);
	}
	foreach(lc, plan->rowMarks)
	{
		PlanRowMark *mark = lfirst_node(PlanRowMark, lc);
		Oid			relid = rt_fetch(mark->rti, plan->rtable)->relid;

		if (mark->markType < ROW_MARK_REFERENCE && IsLedgerRelation(relid) && !GuardOff())
			RefuseLedgerChange("locking rows", relid);
	}
}

static void
guard_ExecutorStart(QueryDesc *queryDesc, int eflags)
{
	PlannedStmt *plan = queryDesc->plannedstmt;

	if ((plan->resultRelations != NIL || plan->rowMarks != NIL) && (eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0)
		check_plan(plan);
	if (prev_ExecutorStart)
		prev_ExecutorStart(queryDesc, eflags);
	else
		standard_ExecutorStart(queryDesc, eflags);
}

/* --- the trigger --------------------------------------------------------------------- */

static const char *
event_name(TriggerEvent event)
{
	return TRIGGER_FIRED_BY_INSERT(event) ? "INSERT" : TRIGGER_FIRED_BY_UPDATE(event) ? "UPDATE" :
		TRIGGER_FIRED_BY_DELETE(event) ? "DELETE" : "TRUNCATE";
}

Datum
bulwark_ledger_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("bulwark_internal.ledger_guard() must be called as a trigger before the event")));
	if (!GuardOff())
		RefuseLedgerChange(event_name(trigger->tg_event), RelationGetRelid(trigger->tg_relation));
	if (!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		return PointerGetDatum(NULL);
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple);
}

static void
create_trigger(Oid relid, char *name, int16 events, bool row)
{
	CreateTrigStmt *stmt = makeNode(CreateTrigStmt);

	if (OidIsValid(get_trigger_oid(relid, name, true)))
		return;
	stmt->trigname = name;
	stmt->relation = makeRangeVar(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid), -1);
	stmt->funcname = list_make2(makeString(BULWARK_PRIVATE_SCHEMA), makeString("ledger_guard"));
	stmt->row = row;
	stmt->timing = TRIGGER_TYPE_BEFORE;
	stmt->events = events;
	(void) CreateTriggerFiringOn(stmt, NULL, relid, InvalidOid, InvalidOid, InvalidOid, InvalidOid, InvalidOid,
								 NULL, false, false, TRIGGER_FIRES_ALWAYS);
	CommandCounterIncrement();
}

/* The triggers, and that a table which the extension did not make goes with it. */
void
GuardSegment(Oid relid)
{
	TrustedScope scope;

	LedgerWorkBegin();
	TrustedBegin(&scope);
	create_trigger(relid, TRIGGER_GUARD_ROW, TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE, true);
	create_trigger(relid, TRIGGER_GUARD_TRUNCATE, TRIGGER_TYPE_TRUNCATE, false);
	TrustedEnd(&scope);

	if (!OidIsValid(getExtensionOfObject(RelationRelationId, relid)) &&
		!list_member_oid(getAutoExtensionsOfObject(RelationRelationId, relid), LedgerExtension()))
	{
		ObjectAddress table = {RelationRelationId, relid, 0};
		ObjectAddress extension = {ExtensionRelationId, LedgerExtension(), 0};

		recordDependencyOn(&table, &extension, DEPENDENCY_AUTO_EXTENSION);
	}
	LedgerWorkEnd();
}

/* --- our own work ------------------------------------------------------------------------ */

#define MAX_WORK	16

/*
 * What we define while another extension's script runs would become that
 * extension's, and go with it: meanwhile no script is running.
 */
typedef struct Work
{
	SubTransactionId subid;
	bool		creating_extension;
	Oid			extension;
	int			strangers;		/* within which it began */
} Work;

static Work work[MAX_WORK];
static int	nwork = 0;

void
LedgerWorkBegin(void)
{
	if (nwork == MAX_WORK)
		elog(ERROR, "work on the ledger is nested too deeply");
	work[nwork++] = (Work) {GetCurrentSubTransactionId(), creating_extension, CurrentExtensionObject, nstrangers};
	creating_extension = false;
	CurrentExtensionObject = InvalidOid;
}

static void
work_end(void)
{
	nwork--;
	creating_extension = work[nwork].creating_extension;
	CurrentExtensionObject = work[nwork].extension;
}

void
LedgerWorkEnd(void)
{
	if (nwork == 0)
		elog(ERROR, "no work on the ledger has begun");
	work_end();
}

bool
LedgerWorking(void)
{
	return nwork > 0 && work[nwork - 1].strangers == nstrangers;
}

/* --- others' code within it --------------------------------------------------------------- */

/*
 * Commands that we run, and those of our scripts, fire event triggers.  What their
 * functions do is not our work: the guard is up while one runs.
 */
static bool
commands_are_ours(void)
{
	return nwork > 0 || creating_extension || ProtectionWorking();
}

bool
StrangersRun(void)
{
	return nstrangers > 0;
}

static bool
guard_needs_fmgr_hook(Oid function)
{
	return (prev_needs_fmgr_hook && prev_needs_fmgr_hook(function)) ||
		(commands_are_ours() && get_func_rettype(function) == EVENT_TRIGGEROID);
}

static void
guard_fmgr_hook(FmgrHookEventType event, FmgrInfo *function, Datum *private)
{
	if (event == FHET_START)
	{
		if (commands_are_ours() && get_func_rettype(function->fn_oid) == EVENT_TRIGGEROID)
		{
			if (nstrangers == MAX_STRANGERS)
				elog(ERROR, "event triggers are nested too deeply");
			strangers[nstrangers++] = function;
		}
	}
	else if (nstrangers > 0 && strangers[nstrangers - 1] == function)
		nstrangers--;
	if (prev_fmgr_hook)
		prev_fmgr_hook(event, function, private);
}

/* No script outlives a transaction. */
static void
work_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		nwork = nstrangers = 0;
}

/* An error ended what the subtransaction had begun. */
static void
work_subxact(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	while (event == SUBXACT_EVENT_ABORT_SUB && nwork > 0 && work[nwork - 1].subid >= subid)
		work_end();
}

void
GuardInit(void)
{
	DefineCustomBoolVariable("bulwark.ledger_decommission",
							 "Lets DROP EXTENSION take the ledger away.",
							 "The start of a server with this on is itself an entry.",
							 &decommission, false, PGC_POSTMASTER,
							 GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	DefineCustomBoolVariable("bulwark.restore",
							 "Lets pg_restore and psql bring a dumped ledger into a database that has none of its own.",
							 "Nothing is captured meanwhile; the first entry or seal of the database's own ends it.",
							 &restore, false, PGC_SIGHUP,
							 GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);

	prev_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = guard_ExecutorStart;
	prev_needs_fmgr_hook = needs_fmgr_hook;
	needs_fmgr_hook = guard_needs_fmgr_hook;
	prev_fmgr_hook = fmgr_hook;
	fmgr_hook = guard_fmgr_hook;
	RegisterXactCallback(work_xact, NULL);
	RegisterSubXactCallback(work_subxact, NULL);
	GuardEventInit();
	GuardCommandInit();
	AlteredInit();
	StartInit();
}
