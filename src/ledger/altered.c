/*
 * altered.c
 *		Definitions of audited tables: what a command did to each of them is
 *		noted as it goes on, and written as an entry when it is done.
 *
 *		A definition can change rows that no trigger is asked about: a type is
 *		changed by an expression, a column dropped, a new one filled by a volatile
 *		default, a partition with rows attached or detached.  Such an entry has the
 *		digests of the rows before and after.  They cost a scan each, under the
 *		lock that the command holds in any case.
 */
#include "ledger/guard.h"
#include "ledger/capture.h"

#include "access/table.h"
#include "access/tupdesc_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/extension.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#define STATEMENT_MAX	4096	/* bytes of a command's text in an entry */

typedef struct Altered
{
	SubTransactionId subid;
	Oid			relid;
	int			how;			/* AlteredHow */
	Oid			parent;			/* attached to or detached from */
	AlteredCommand command;		/* that did it; its text as entries have it */
	int			depth;			/* of the command that settles it */
	char	   *name;			/* before */
	char	   *parent_name;
	List	   *old_names;		/* columns renamed or (new name NULL) dropped */
	List	   *new_names;
	TupleDesc	desc;			/* of its rows, before */
	Oid			storage;		/* that has rows of that form */
	bool		digested;
	uint8		salt[BW_SALT_LEN];
	TableDigest before;
} Altered;

static bool digests = true;
static List *notes = NIL;		/* Altered *, in the transaction's memory context */
static AlteredCommand command;	/* the innermost one that settles */
static uint64 last_command = 0;

/* --- noting ------------------------------------------------------------------------- */

/* Its text, not too long, without constants: those may be secrets, or values that are recorded nowhere else. */
static char *
command_text(void)
{
	char	   *text = pnstrdup(command.text, command.len);

	(void) HideSecrets(text);
	HideValues(text);
	text[pg_mbcliplen(text, strlen(text), STATEMENT_MAX)] = '\0';
	return text;
}

/*
 * A function or event trigger within a command that changes the relation may run
 * another one that does: until the outer one is done the rows need not be as the
 * catalogs say, so that they are looked at together.
 */
static int
settling_depth(Oid relid)
{
	int			depth = command.depth;
	ListCell   *lc;

	foreach(lc, notes)
	{
		Altered    *note = lfirst(lc);

		if (note->relid == relid)
			depth = Min(depth, note->depth);
	}
	return depth;
}

static Altered *
note_of(Oid relid, Oid parent)
{
	MemoryContext caller;
	Altered    *note;
	ListCell   *lc;

	foreach(lc, notes)
	{
		note = lfirst(lc);
		if (note->relid == relid && note->parent == parent && note->command.number == command.number &&
			note->subid == GetCurrentSubTransactionId())
			return note;
	}
	caller = MemoryContextSwitchTo(TopTransactionContext);
	note = palloc0(sizeof(Altered));
	note->subid = GetCurrentSubTransactionId();
	note->relid = relid;
	note->parent = parent;
	note->command = command;
	if (command.tag != NULL)
		note->command.text = command_text();
	note->depth = settling_depth(relid);
	note->name = CaptureEntityType(relid);
	if (OidIsValid(parent))
		note->parent_name = CaptureEntityType(parent);
	notes = lappend(notes, note);
	MemoryContextSwitchTo(caller);
	return note;
}

void
AlteredNote(Oid relid, AlteredHow how, Oid parent)
{
	/* protect() and its like report by themselves what they do. */
	if (how == ALTERED_DEFINITION && ProtectionWorking() && !StrangersRun())
		return;
	note_of(relid, parent)->how |= how;
}

void
AlteredColumnName(Oid relid, const char *old_name, const char *new_name)
{
	Altered    *note = note_of(relid, InvalidOid);
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);

	note->old_names = lappend(note->old_names, pstrdup(old_name));
	note->new_names = lappend(note->new_names, new_name ? pstrdup(new_name) : NULL);
	MemoryContextSwitchTo(caller);
}

void
AlteredKeepRows(Oid relid)
{
	Altered    *note = note_of(relid, InvalidOid);
	MemoryContext caller;
	Relation	rel;

	if (note->desc != NULL)
		return;
	caller = MemoryContextSwitchTo(TopTransactionContext);
	rel = table_open(relid, AccessShareLock);
	note->desc = CreateTupleDescCopyConstr(RelationGetDescr(rel));
	note->storage = rel->rd_rel->relfilenode;
	table_close(rel, NoLock);
	MemoryContextSwitchTo(caller);
}

/*
 * How its rows are stored: as the outermost command found them that is still at it,
 * unless it has rewritten them.  The catalogs may be ahead of them.
 */
static TupleDesc
stored_desc(Relation rel, TupleDesc desc)
{
	ListCell   *lc;

	foreach(lc, notes)
	{
		Altered    *note = lfirst(lc);

		if (note->relid == RelationGetRelid(rel) && note->desc != NULL && note->storage == rel->rd_rel->relfilenode)
			return note->desc;
	}
	return desc ? desc : RelationGetDescr(rel);
}

/* False: it has no rows of its own, or nobody wants digests. */
static bool
digest(Oid relid, TupleDesc desc, const uint8 *salt, TableDigest *result)
{
	Relation	rel;

	if (!digests || get_rel_relkind(relid) != RELKIND_RELATION)
		return false;
	rel = table_open(relid, AccessShareLock);
	TableDigestOf(rel, stored_desc(rel, desc), AuditedOf(relid), salt, result);
	table_close(rel, NoLock);
	return true;
}

static void
make_salt(uint8 *salt)
{
	if (!bw_random(salt, BW_SALT_LEN))
		elog(ERROR, "no random bytes");
}

void
AlteredDigestRows(Oid relid)
{
	Altered    *note = note_of(relid, InvalidOid);

	if (note->digested)
		return;
	/* most commands have a stronger lock; one that alters a type has none */
	if (digests)
		LockRelationOid(relid, ShareLock);
	make_salt(note->salt);
	note->digested = digest(relid, note->desc, note->salt, &note->before);
}

/* --- the command, for entries -------------------------------------------------------------- */

AlteredCommand
AlteredCommandBegin(const PlannedStmt *pstmt, const char *source, bool settles)
{
	AlteredCommand outer = command;
	Node	   *stmt = pstmt->utilityStmt;
	int			begin = Max(pstmt->stmt_location, 0);

	/* what was noted outside any command is not this one's */
	if (settles && outer.depth == 0 && !IsA(stmt, TransactionStmt))
		AlteredSettle();
	command.renames_value = IsA(stmt, AlterEnumStmt) && ((AlterEnumStmt *) stmt)->oldVal != NULL;
	if (!settles)
		return outer;
	command.tag = CreateCommandName(stmt);
	command.text = source ? source + begin : "";
	command.len = source == NULL ? 0 : pstmt->stmt_len > 0 ? pstmt->stmt_len : strlen(command.text);
	command.number = ++last_command;
	command.depth++;
	return outer;
}

void
AlteredCommandEnd(AlteredCommand outer)
{
	command = outer;
}

bool
AlteredCommandRenamesValue(void)
{
	return command.renames_value;
}

/* --- entries ----------------------------------------------------------------------------------- */

static void
add_string(StringInfo json, const char *key, const char *value)
{
	appendStringInfoString(json, json->len > 1 ? ", " : "");
	escape_json(json, key);
	appendStringInfoString(json, ": ");
	escape_json(json, value);
}

static void
add_digest(StringInfo json, const char *key, const TableDigest *digest)
{
	char		hex[2 * BW_SHA256_LEN + 1] = {0};

	bw_hex_encode(digest->digest, BW_SHA256_LEN, hex);
	appendStringInfo(json, ", \"%s\": {\"rows\": " UINT64_FORMAT ", \"digest\": \"%s\"}", key, digest->rows, hex);
}

static void
add_salt(StringInfo json, const uint8 *salt)
{
	char		hex[2 * BW_SALT_LEN + 1] = {0};

	bw_hex_encode(salt, BW_SALT_LEN, hex);
	add_string(json, "salt", hex);
}

static void
begin_metadata(StringInfo json, const Altered *note, const char *change)
{
	initStringInfo(json);
	appendStringInfoChar(json, '{');
	add_string(json, "change", change);
	if (note->command.tag != NULL)
	{
		add_string(json, "command", note->command.tag);
		add_string(json, "statement", note->command.text);
	}
}

static void
append(const char *entity_type, StringInfo json)
{
	Entry		entry = {.source = SOURCE_SYSTEM, .action = "ddl", .annotated = true};

	appendStringInfoChar(json, '}');
	entry.entity_type = entity_type;
	entry.metadata = json->data;
	LedgerAppend(&entry);
}

/* The values that columns which came without a rewrite have in all earlier rows. */
static void
add_filled(StringInfo json, const Altered *note)
{
	Relation	rel = table_open(note->relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	int			n = 0;
	int			level = PinSettings(PIN_ALL);

	for (int i = note->desc->natts; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Oid			output;
		bool		varlena;

		if (att->attisdropped || !att->atthasmissing || !desc->constr->missing[i].am_present)
			continue;
		getTypeOutputInfo(att->atttypid, &output, &varlena);
		appendStringInfoString(json, n++ == 0 ? ", \"filled\": {" : ", ");
		escape_json(json, NameStr(att->attname));
		appendStringInfoString(json, ": ");
		escape_json(json, OidOutputFunctionCall(output, desc->constr->missing[i].am_value));
	}
	if (n > 0)
		appendStringInfoChar(json, '}');
	UnpinSettings(level);
	table_close(rel, NoLock);
}

static const char *
change_name(int how)
{
	return how & ALTERED_DROPPED ? "dropped" : how & ALTERED_ROWS ? "rows" : how & ALTERED_NAME ? "renamed" : "definition";
}

/* What happened to the table itself. */
static void
enter_table(Altered *note, bool there)
{
	StringInfoData json;
	TableDigest after;

	begin_metadata(&json, note, change_name(note->how));
	if (there && (note->how & ALTERED_NAME))
		add_string(&json, "renamed_to", CaptureEntityType(note->relid));

	if (there && note->desc != NULL)
		add_filled(&json, note);

	/* Under another name, or as another's successor, it is the same rows. */
	if ((note->how & ALTERED_NAME) && !note->digested)
	{
		make_salt(note->salt);
		note->digested = digest(note->relid, NULL, note->salt, &note->before);
	}
	if (note->digested)
	{
		add_salt(&json, note->salt);
		add_digest(&json, "before", &note->before);
		if ((note->how & (ALTERED_ROWS | ALTERED_DROPPED)) == 0)
			add_digest(&json, "after", &note->before);
		else if (there && digest(note->relid, NULL, note->salt, &after))
			add_digest(&json, "after", &after);
	}
	append(note->name, &json);
}

/* What came to a parent, or left it: one entry for each table with rows. */
static void
enter_children(const Altered *note)
{
	List	   *children = find_all_inheritors(note->relid, AccessShareLock, NULL);
	bool		attached = (note->how & ALTERED_ATTACHED) != 0;
	ListCell   *lc;

	foreach(lc, children)
	{
		Oid			child = lfirst_oid(lc);
		StringInfoData json;
		uint8		salt[BW_SALT_LEN];
		TableDigest rows;

		if (get_rel_relkind(child) == RELKIND_PARTITIONED_TABLE)
			continue;
		begin_metadata(&json, note, attached ? "attached" : "detached");
		add_string(&json, "child", CaptureEntityType(child));
		make_salt(salt);
		if (digest(child, NULL, salt, &rows))
		{
			add_salt(&json, salt);
			add_digest(&json, attached ? "after" : "before", &rows);
		}
		append(note->parent_name, &json);
	}
}

/* --- settling ------------------------------------------------------------------------------------ */

static void
settle_columns(const Altered *note)
{
	ListCell   *old_name,
			   *new_name;

	forboth(old_name, note->old_names, new_name, note->new_names)
		AuditedColumnRenamed(note->relid, lfirst(old_name), lfirst(new_name));
}

static void
settle_note(Altered *note)
{
	bool		there = SearchSysCacheExists1(RELOID, ObjectIdGetDatum(note->relid));

	if (there)
	{
		if (OidIsValid(note->parent))
		{
			AuditedConsiderNew(note->relid);
			enter_children(note);
			return;
		}
		if (AuditedOf(note->relid) == NULL)
			return;
		AuditedRequireRecordable(note->relid);
		if (note->how & ALTERED_TRIGGER_GONE)
		{
			DdlPart		part = {.relid = note->relid};

			namestrcpy(&part.name, OidIsValid(get_trigger_oid(note->relid, TRIGGER_CAPTURE, true)) ?
					   TRIGGER_CAPTURE_TRUNCATE : TRIGGER_CAPTURE);
			RefuseTriggerChange(&part, "dropping");
		}
		if (note->how & ALTERED_SWITCHED)
			ereport(NOTICE,
					(errmsg("triggers of the audit on table \"%s\" stay enabled always", get_rel_name(note->relid))));
		settle_columns(note);
	}
	else if (!(note->how & ALTERED_DROPPED))
		return;
	if (note->how & (ALTERED_DEFINITION | ALTERED_NAME | ALTERED_ROWS | ALTERED_DROPPED))
		enter_table(note, there);
}

/* Those of commands at that depth and within them. */
static List *
take_notes(int depth)
{
	List	   *taken = NIL;
	ListCell   *lc;

	foreach(lc, notes)
	{
		Altered    *note = lfirst(lc);

		if (note->depth < depth)
			continue;
		taken = lappend(taken, note);
		notes = foreach_delete_current(notes, lc);
	}
	return taken;
}

static void
settle(int depth)
{
	List	   *settling;
	ListCell   *lc;

	if (notes == NIL || creating_extension || (settling = take_notes(depth)) == NIL)
		return;
	CommandCounterIncrement();
	if (!OidIsValid(PrivateRelid("ledger_log")))	/* the extension has gone */
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(lc, settling)
		settle_note(lfirst(lc));
	PopActiveSnapshot();
}

/* Of the commands around the running one nothing, for they are not done. */
void
AlteredSettle(void)
{
	if (IsTransactionState())
		settle(command.depth);
}

/* --- transactions --------------------------------------------------------------------------------- */

static void
altered_xact(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			/* noted outside any command (a function in C dropped a table, say), or
			 * by one that commits as it goes on */
			settle(0);
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

static void
altered_subxact(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	ListCell   *lc;

	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(lc, notes)
	{
		if (((Altered *) lfirst(lc))->subid >= subid)
			notes = foreach_delete_current(notes, lc);
	}
}

void
AlteredInit(void)
{
	DefineCustomBoolVariable("bulwark.ledger_ddl_digests",
							 "Digests the rows of an audited table when a definition changes them.",
							 "Off: the entry has the command, and nothing to compare the rows with.",
							 &digests, true, PGC_SIGHUP,
							 GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	RegisterXactCallback(altered_xact, NULL);
	RegisterSubXactCallback(altered_subxact, NULL);
}
