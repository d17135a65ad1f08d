/*
 * audit.c
 *		audit(), audit_stop(): a table and all below it gets triggers that record
 *		every row, and the registry remembers how.  Both are entries.
 */
#include "ledger/audit.h"
#include "ledger/capture.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "parser/parse_func.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* --- what can be audited, and by whom --------------------------------------------------- */

/* Why a relation cannot be audited, NULL if it can; and what to do instead. */
static const char *
obstacle(Oid relid, const char **hint)
{
	Oid			schema = get_rel_namespace(relid);
	const char *schema_name = get_namespace_name(schema);

	*hint = "Audit the application's own tables.";
	if (IsCatalogNamespace(schema) || IsToastNamespace(schema) || strcmp(schema_name, "information_schema") == 0)
		return "a system table";
	if (strcmp(schema_name, BULWARK_SCHEMA) == 0 || strcmp(schema_name, BULWARK_PRIVATE_SCHEMA) == 0)
	{
		*hint = "What changes bulwark's own tables is recorded already.";
		return "part of bulwark";
	}
	switch (get_rel_relkind(relid))
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			break;
		case RELKIND_VIEW:
			*hint = "It has no rows of its own: audit the tables that it reads and writes.";
			return "a view";
		case RELKIND_MATVIEW:
			*hint = "Its rows are a query's: audit the tables that it reads.";
			return "a materialized view";
		case RELKIND_FOREIGN_TABLE:
			*hint = "Its rows change on another server, and rolling back here does not undo that: audit the table there.";
			return "a foreign table";
		default:
			*hint = "Name a table.";
			return "not a table";
	}
	switch (get_rel_persistence(relid))
	{
		case RELPERSISTENCE_TEMP:
			*hint = "Its rows are gone with the session.";
			return "a temporary table";
		case RELPERSISTENCE_UNLOGGED:
			*hint = "A crash empties it, and the ledger would not say so: ALTER TABLE ... SET LOGGED first.";
			return "an unlogged table";
	}
	return NULL;
}

static void
require_auditable(Oid relid)
{
	const char *hint;
	const char *what;

	if (get_rel_name(relid) == NULL)
		RefuseGone(relid);
	what = obstacle(relid, &hint);
	if (what != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot audit \"%s\": it is %s", get_rel_name(relid), what),
				 errhint("%s", hint)));
}

static void
require_rights(Oid relid)
{
	Oid			userid = GetUserId();

	if (superuser_arg(userid))
		return;
	if (!HasClusterRole(userid, ROLE_ADMIN))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to audit \"%s\"", get_rel_name(relid)),
				 errdetail("Only members of \"%s\" say what is audited.", ROLE_ADMIN)));
	if (!BW_OWNS_RELATION(relid, userid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table %s", get_rel_name(relid))));
}

/* The audited parent that makes a child audited; InvalidOid: none. */
static Oid
audited_parent(Oid relid)
{
	Relation	rel = table_open(InheritsRelationId, AccessShareLock);
	Oid			result = InvalidOid;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	while (!OidIsValid(result) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Oid			parent = ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent;

		if (AuditedOf(parent) != NULL)
			result = parent;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

static void
refuse_part(Oid relid)
{
	Oid			parent = audited_parent(relid);

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("\"%s\" is audited as part of \"%s\"", get_rel_name(relid),
					OidIsValid(parent) ? get_rel_name(parent) : "another table"),
			 errhint("Name the table at the top.")));
}

/* --- columns ------------------------------------------------------------------------------ */

static void
bad_column(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message), errhint("%s", hint)));
}

static List *
column_list(FunctionCallInfo fcinfo, int arg, Oid relid)
{
	List	   *names = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	if (PG_ARGISNULL(arg))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
					  &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		const char *name = nulls[i] ? NULL : NameStr(*DatumGetName(elements[i]));
		ListCell   *lc;
		bool		twice = false;

		if (name == NULL || get_attnum(relid, name) <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" does not exist", name ? name : "", get_rel_name(relid))));
		foreach(lc, names)
			twice |= strcmp(lfirst(lc), name) == 0;
		if (!twice)
			names = lappend(names, pstrdup(name));
	}
	return names;
}

/* A column of the primary key that is left out or sealed; NULL: none. */
static const char *
hidden_key_column(Oid relid, const Audited *audited)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Bitmapset  *key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	const char *found = NULL;
	ListCell   *lc;

	foreach(lc, list_concat_copy(audited->exclude_columns, audited->sealed_columns))
		if (bms_is_member(get_attnum(relid, lfirst(lc)) - FirstLowInvalidHeapAttributeNumber, key))
			found = lfirst(lc);
	table_close(rel, AccessShareLock);
	return found;
}

/* Entries name their row by its key: that is neither left out nor sealed. */
static void
check_columns(Oid relid, const Audited *audited)
{
	const char *key = hidden_key_column(relid, audited);
	ListCell   *lc;

	if (key != NULL)
		bad_column(psprintf("column \"%s\" is part of the primary key", key),
				   "Entries name their row by the primary key.");
	foreach(lc, audited->sealed_columns)
	{
		ListCell   *other;

		foreach(other, audited->exclude_columns)
			if (strcmp(lfirst(lc), lfirst(other)) == 0)
				bad_column(psprintf("column \"%s\" is both excluded and sealed", (char *) lfirst(lc)),
						   "An excluded column's values are not recorded at all.");
	}
	if (audited->sealed_columns != NIL && ContentSealerGet() == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no module seals columns"),
				 errhint("Leave sealed_columns out, or exclude the columns.")));
}

static bool
same_names(List *a, List *b)
{
	if (list_length(a) != list_length(b))
		return false;
	for (int i = 0; i < list_length(a); i++)
		if (strcmp(list_nth(a, i), list_nth(b, i)) != 0)
			return false;
	return true;
}

/* --- entries ---------------------------------------------------------------------------------- */

static void
put_names(StringInfo buf, const char *label, List *names)
{
	ListCell   *lc;

	appendStringInfo(buf, ", \"%s\": [", label);
	foreach(lc, names)
	{
		if (foreach_current_index(lc) > 0)
			appendStringInfoString(buf, ", ");
		escape_json(buf, lfirst(lc));
	}
	appendStringInfoChar(buf, ']');
}

/* That auditing began, changed or ended is an entry of its own. */
static void
record_change(Oid relid, const char *operation, const Audited *audited)
{
	Entry		entry = {.source = SOURCE_SYSTEM, .action = "configuration", .annotated = true};
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"operation\": \"%s\"", operation);
	if (audited != NULL)
	{
		put_names(&buf, "exclude_columns", audited->exclude_columns);
		put_names(&buf, "sealed_columns", audited->sealed_columns);
		appendStringInfo(&buf, ", \"reads\": %s, \"automatic\": %s",
						 audited->reads ? "true" : "false", audited->automatic ? "true" : "false");
	}
	appendStringInfoChar(&buf, '}');
	entry.entity_type = CaptureEntityType(relid);
	entry.metadata = buf.data;
	LedgerAppend(&entry);
}

/* --- triggers -------------------------------------------------------------------------------------- */

/* Our own statements: as the extension's owner, past the guard. */
typedef struct Work
{
	TrustedScope scope;
} Work;

static void
work_begin(Work *work)
{
	LedgerWorkBegin();
	TrustedBegin(&work->scope);
}

static void
work_end(Work *work)
{
	TrustedEnd(&work->scope);
	LedgerWorkEnd();
}

static void
run(const char *sql)
{
	(void) TrustedExec(sql, 0, NULL, NULL, NULL);
}

typedef struct CaptureTrigger
{
	const char *name;
	const char *function;
	int16		type;
	const char *events;			/* as CREATE TRIGGER has them */
	const char *level;
} CaptureTrigger;

static const CaptureTrigger capture_triggers[] = {
	{TRIGGER_CAPTURE, "capture",
		TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE,
	"INSERT OR UPDATE OR DELETE", "ROW"},
	{TRIGGER_CAPTURE_TRUNCATE, "capture_truncate", TRIGGER_TYPE_TRUNCATE, "TRUNCATE", "STATEMENT"},
};

/* Is it as we make it?  (coverage.c asks the same.)  A dump may have brought it. */
static bool
is_own_trigger(Oid trigger, const CaptureTrigger *own)
{
	List	   *function = list_make2(makeString(BULWARK_PRIVATE_SCHEMA), makeString(unconstify(char *, own->function)));
	HeapTuple	row = CatalogRow(TriggerRelationId, TriggerOidIndexId, Anum_pg_trigger_oid, trigger, NULL);
	Form_pg_trigger form;
	bool		result;

	if (row == NULL)
		return false;
	form = (Form_pg_trigger) GETSTRUCT(row);
	result = form->tgfoid == LookupFuncName(function, 0, NULL, false) && form->tgtype == own->type &&
		form->tgattr.dim1 == 0 && !form->tgisinternal && !OidIsValid(form->tgconstraint) &&
		heap_attisnull(row, Anum_pg_trigger_tgqual, NULL);
	heap_freetuple(row);
	return result;
}

static void
create_trigger(Oid relid, const CaptureTrigger *own)
{
	const char *table = CaptureEntityType(relid);
	Oid			trigger = get_trigger_oid(relid, own->name, true);

	if (!OidIsValid(trigger))
		run(psprintf("CREATE TRIGGER %s AFTER %s ON %s FOR EACH %s EXECUTE FUNCTION " BULWARK_PRIVATE_SCHEMA ".%s()",
					 quote_identifier(own->name), own->events, table, own->level, own->function));
	else if (!is_own_trigger(trigger, own))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("trigger \"%s\" of table \"%s\" is not the one that records its changes", own->name, get_rel_name(relid)),
				 errhint("Drop or rename it: the name is bulwark's.")));
	run(psprintf("ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %s", table, quote_identifier(own->name)));
}

/* The triggers of a table with rows of its own, where they are not there yet. */
static void
create_triggers(Oid relid)
{
	if (get_rel_relkind(relid) != RELKIND_RELATION)
		return;
	for (int i = 0; i < lengthof(capture_triggers); i++)
		create_trigger(relid, &capture_triggers[i]);
}

static void
drop_triggers(Oid relid)
{
	for (int i = 0; i < lengthof(capture_triggers); i++)
		if (OidIsValid(get_trigger_oid(relid, capture_triggers[i].name, true)))
			run(psprintf("DROP TRIGGER %s ON %s", quote_identifier(capture_triggers[i].name), CaptureEntityType(relid)));
}

/* --- starting and stopping ----------------------------------------------------------------------------- */

/* Only columns that the child has: one that is attached may lack none. */
static Audited
as_child(const Audited *audited, Oid relid)
{
	Audited		child = *audited;

	child.relid = relid;
	child.automatic = true;
	return child;
}

/* A child that was audited by itself stays so. */
static void
start_one(const Audited *audited)
{
	Work		work;
	Relation	rel = table_open(audited->relid, NoLock);

	/* by a command that is changing it, say, and has not rewritten its rows yet */
	CheckTableNotInUse(rel, "audit");
	table_close(rel, NoLock);
	work_begin(&work);
	AuditedWrite(audited);
	create_triggers(audited->relid);
	work_end(&work);
}

static void
start_tree(const Audited *audited)
{
	List	   *tree = find_all_inheritors(audited->relid, ShareRowExclusiveLock, NULL);
	ListCell   *lc;

	foreach(lc, tree)
		if (lfirst_oid(lc) != audited->relid)
			require_auditable(lfirst_oid(lc));
	start_one(audited);
	foreach(lc, tree)
	{
		Audited		child = as_child(audited, lfirst_oid(lc));
		const Audited *before = AuditedOf(child.relid);

		if (child.relid == audited->relid || (before != NULL && !before->automatic))
			continue;
		record_change(child.relid, before == NULL ? "audit" : "audit_change", &child);
		start_one(&child);
	}
}

static void
stop_one(Oid relid)
{
	Work		work;

	work_begin(&work);
	drop_triggers(relid);
	AuditedForget(relid);
	work_end(&work);
}

/* audit(relation, exclude_columns, reads, sealed_columns) */
PG_FUNCTION_INFO_V1(bulwark_audit);
Datum
bulwark_audit(PG_FUNCTION_ARGS)
{
	Audited		audited = {0};
	const Audited *before;
	const char *operation = "audit";

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("relation must not be null")));
	audited.relid = PG_GETARG_OID(0);
	require_auditable(audited.relid);
	require_rights(audited.relid);
	LockRelationOid(audited.relid, ShareRowExclusiveLock);
	require_auditable(audited.relid);
	audited.exclude_columns = column_list(fcinfo, 1, audited.relid);
	audited.reads = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	audited.sealed_columns = column_list(fcinfo, 3, audited.relid);
	check_columns(audited.relid, &audited);

	before = AuditedOf(audited.relid);
	if (before != NULL && before->automatic && OidIsValid(audited_parent(audited.relid)))
		refuse_part(audited.relid);
	if (before != NULL)
	{
		bool		same = before->reads == audited.reads && !before->automatic &&
			same_names(before->exclude_columns, audited.exclude_columns) &&
			same_names(before->sealed_columns, audited.sealed_columns);

		operation = same ? NULL : "audit_change";
	}
	start_tree(&audited);
	if (operation != NULL)
		record_change(audited.relid, operation, &audited);
	PG_RETURN_VOID();
}

/* audit_stop(relation) */
PG_FUNCTION_INFO_V1(bulwark_audit_stop);
Datum
bulwark_audit_stop(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	const Audited *audited;
	ListCell   *lc;

	if (get_rel_name(relid) == NULL)
		require_auditable(relid);
	require_rights(relid);
	LockRelationOid(relid, ShareRowExclusiveLock);
	audited = AuditedOf(relid);
	if (audited == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" is not audited", get_rel_name(relid))));
	if (audited->automatic && OidIsValid(audited_parent(relid)))
		refuse_part(relid);

	record_change(relid, "audit_stop", NULL);
	stop_one(relid);
	foreach(lc, find_all_inheritors(relid, ShareRowExclusiveLock, NULL))
	{
		const Audited *child = AuditedOf(lfirst_oid(lc));

		/* one of several parents may be audited still */
		if (child == NULL || !child->automatic || OidIsValid(audited_parent(child->relid)))
			continue;
		record_change(lfirst_oid(lc), "audit_stop", NULL);
		stop_one(lfirst_oid(lc));
	}
	PG_RETURN_VOID();
}

void
AuditedRequireRecordable(Oid relid)
{
	const Audited *audited = AuditedOf(relid);
	const char *hint;
	const char *what = obstacle(relid, &hint);

	if (what != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" cannot be %s: it is audited, or a child of what is", get_rel_name(relid), what),
				 errdetail("Its changes would not be recorded."),
				 errhint("%s", hint)));
	if (audited != NULL)
	{
		const char *key = hidden_key_column(relid, audited);

		if (key != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("column \"%s\" of \"%s\" cannot be part of the primary key: the ledger leaves its values out",
							key, get_rel_name(relid)),
					 errdetail("Entries name their row by the primary key."),
					 errhint("Call bulwark.audit() with other columns first.")));
	}
}

void
AuditedConsiderNew(Oid relid)
{
	const Audited *audited;
	Oid			parent;
	ListCell   *lc;

	if (creating_extension || !OidIsValid(PrivateRelid("ledger_audited")))
		return;
	audited = AuditedOf(relid);
	parent = audited_parent(relid);
	if (audited == NULL && OidIsValid(parent))
	{
		Audited		child = as_child(AuditedOf(parent), relid);

		AuditedRequireRecordable(relid);
		start_tree(&child);
		record_change(relid, "audit", &child);
	}
	else if (audited != NULL && audited->automatic && !OidIsValid(parent))
	{
		/* it left its parent: from now on it stands by itself */
		Audited		alone = *audited;
		Work		work;

		alone.automatic = false;
		work_begin(&work);
		AuditedWrite(&alone);
		work_end(&work);
	}
	else if (audited != NULL && !audited->automatic)
	{
		Audited		top = *audited;

		foreach(lc, find_all_inheritors(relid, NoLock, NULL))
			if (AuditedOf(lfirst_oid(lc)) == NULL)
			{
				start_tree(&top);
				break;
			}
	}
}

/* audit_state(relation): why it is not, or cannot be, audited; NULL: it can. */
PG_FUNCTION_INFO_V1(bulwark_audit_state);
Datum
bulwark_audit_state(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	const Audited *audited;
	const char *hint;
	const char *what;

	if (get_rel_name(relid) == NULL)
		PG_RETURN_NULL();
	audited = AuditedOf(relid);
	if (audited != NULL)
		PG_RETURN_TEXT_P(cstring_to_text("audited"));
	what = obstacle(relid, &hint);
	if (what != NULL)
		PG_RETURN_TEXT_P(cstring_to_text(psprintf("is %s", what)));
	PG_RETURN_NULL();
}
