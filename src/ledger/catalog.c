/*
 * catalog.c
 *		Statements that edit the server's catalogs, or our own tables.
 *
 *		A superuser may: and so switch off a trigger of ours, or show the ledger's file
 *		under another name, do something, and put all back.  What is edited cannot be
 *		judged, so that it was edited is on disk before it is.
 */
#include "ledger/event.h"
#include "ledger/guard.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define EDITED_MAX	64

/* What is recorded of this transaction. */
typedef struct Edited
{
	Oid			relid;
	const char *command;
} Edited;

static Edited edited[EDITED_MAX];
static int	nedited = 0;
static LocalTransactionId edited_in = InvalidLocalTransactionId;

static bool
is_recorded(Oid relid, const char *command)
{
	if (edited_in != BW_LXID(MyProc))
		nedited = 0;
	edited_in = BW_LXID(MyProc);
	for (int i = 0; i < nedited; i++)
		if (edited[i].relid == relid && strcmp(edited[i].command, command) == 0)
			return true;
	return false;
}

/* The command's name is a constant. */
static void
note_recorded(Oid relid, const char *command)
{
	if (nedited < EDITED_MAX)
		edited[nedited++] = (Edited) {relid, command};
}

/* Once in a transaction for each catalog and command; 55000 where it cannot be had. */
static void
record_edit(Oid relid, const char *command)
{
	Entry		entry = {
		.source = SOURCE_SYSTEM,
		.action = "ddl",
		.annotated = true,
	};

	if (!EventServes() || is_recorded(relid, command))
		return;
	entry.entity_type = RelationName(relid);
	entry.metadata = psprintf("{\"command\": \"%s\", \"catalog\": true}", command);
	LedgerSpoolAndWait(&entry);
	note_recorded(relid, command);
}

/* Keys between our tables are the server's to keep. */
static bool
keys_are_ours(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		result = true;
	ListCell   *lc;

	foreach(lc, RelationGetFKeyList(rel))
		result = result && get_rel_namespace(lfirst_node(ForeignKeyCacheInfo, lc)->confrelid) == RelationGetNamespace(rel);
	table_close(rel, NoLock);
	return result;
}

/*
 * One of our tables, which our functions change and record: what a statement does to it
 * is not what they were called for.  In the transaction, for that is what it changes.
 */
static void
record_direct(Oid relid, const char *command)
{
	if ((InNoForceRLSOperation() && keys_are_ours(relid)) || !EventServes() || is_recorded(relid, command))
		return;
	EventAppend("configuration", RelationName(relid), NULL,
				psprintf("{\"operation\": \"direct\", \"command\": \"%s\"}", command));
	note_recorded(relid, command);
}

static void
record_change(Oid relid, const char *command, bool ours)
{
	if (relid >= FirstNormalObjectId)
	{
		if (!ours && IsPrivateRelation(relid))
			record_direct(relid, command);
	}
	else if (IsCatalogRelationOid(relid))
		record_edit(relid, command);
}

void
CatalogPlan(const PlannedStmt *stmt, bool ours)
{
	ListCell   *lc;

	foreach(lc, stmt->resultRelations)
		record_change(rt_fetch(lfirst_int(lc), stmt->rtable)->relid,
					  GuardCommandName(stmt->commandType, "WITH"), ours);
}

/* COPY into one, and TRUNCATE, run no plan.  Who may not gets an error. */
static void
utility_target(Oid relid, const char *command)
{
	if (OidIsValid(relid) && (superuser() || BW_OWNS_RELATION(relid, GetUserId())))
		record_change(relid, command, false);
}

/* The table whose definition the statement changes, or NULL. */
static RangeVar *
defined_table(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_AlterTableStmt:
			return ((AlterTableStmt *) stmt)->relation;
		case T_RenameStmt:
			return ((RenameStmt *) stmt)->relation;
		case T_AlterObjectSchemaStmt:
			return ((AlterObjectSchemaStmt *) stmt)->relation;
		case T_CreateTrigStmt:
			return ((CreateTrigStmt *) stmt)->relation;
		case T_RuleStmt:
			return ((RuleStmt *) stmt)->relation;
		case T_ViewStmt:
			return ((ViewStmt *) stmt)->view;
		case T_IndexStmt:
			return ((IndexStmt *) stmt)->relation;
		case T_CreatePolicyStmt:
			return ((CreatePolicyStmt *) stmt)->table;
		case T_AlterPolicyStmt:
			return ((AlterPolicyStmt *) stmt)->table;
		default:
			return NULL;
	}
}

static void
definition_target(Node *stmt)
{
	RangeVar   *target = defined_table(stmt);
	Oid			relid = target ? NamedRelation(target) : InvalidOid;

	/* of a catalog, nobody changes it without that setting */
	if (OidIsValid(relid) && (relid >= FirstNormalObjectId || allowSystemTableMods))
		utility_target(relid, GetCommandTagName(CreateCommandTag(stmt)));
}

void
CatalogUtility(Node *stmt)
{
	ListCell   *lc;

	if (IsA(stmt, CopyStmt) && ((CopyStmt *) stmt)->is_from)
		utility_target(NamedRelation(((CopyStmt *) stmt)->relation), "COPY");
	else if (IsA(stmt, TruncateStmt))
		foreach(lc, ((TruncateStmt *) stmt)->relations)
			utility_target(NamedRelation(lfirst_node(RangeVar, lc)), "TRUNCATE");
	else
		definition_target(stmt);
}
