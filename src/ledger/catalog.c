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

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#define EDITED_MAX	64

/* What is recorded of this transaction. */
typedef struct Edited
{
	Oid			relid;
	CmdType		command;
} Edited;

static Edited edited[EDITED_MAX];
static int	nedited = 0;
static LocalTransactionId edited_in = InvalidLocalTransactionId;

static bool
is_recorded(Oid relid, CmdType command)
{
	if (edited_in != BW_LXID(MyProc))
		nedited = 0;
	edited_in = BW_LXID(MyProc);
	for (int i = 0; i < nedited; i++)
		if (edited[i].relid == relid && edited[i].command == command)
			return true;
	return false;
}

static void
note_recorded(Oid relid, CmdType command)
{
	if (nedited < EDITED_MAX)
		edited[nedited++] = (Edited) {relid, command};
}

/* Once in a transaction for each catalog and command; 55000 where it cannot be had. */
static void
record_edit(Oid relid, CmdType command, const char *name)
{
	Entry		entry = {
		.source = SOURCE_SYSTEM,
		.action = "ddl",
		.annotated = true,
	};

	if (!EventServes() || is_recorded(relid, command))
		return;
	entry.entity_type = RelationName(relid);
	entry.metadata = psprintf("{\"command\": \"%s\", \"catalog\": true}", name);
	LedgerSpoolAndWait(&entry);
	note_recorded(relid, command);
}

/*
 * One of our tables, which our functions change and record: what a statement does to it
 * is not what they were called for.  In the transaction, for that is what it changes.
 * (Keys between our tables are the server's to check.)
 */
static void
record_direct(Oid relid, CmdType command, const char *name)
{
	if (InNoForceRLSOperation() || !EventServes() || is_recorded(relid, command))
		return;
	EventAppend("configuration", RelationName(relid), NULL,
				psprintf("{\"operation\": \"direct\", \"command\": \"%s\"}", name));
	note_recorded(relid, command);
}

static void
record_change(Oid relid, CmdType command, const char *name, bool ours)
{
	if (relid >= FirstNormalObjectId)
	{
		if (!ours && get_rel_namespace(relid) == get_namespace_oid(BULWARK_PRIVATE_SCHEMA, true))
			record_direct(relid, command, name);
	}
	else if (IsCatalogRelationOid(relid))
		record_edit(relid, command, name);
}

void
CatalogPlan(const PlannedStmt *stmt, bool ours)
{
	ListCell   *lc;

	foreach(lc, stmt->resultRelations)
		record_change(rt_fetch(lfirst_int(lc), stmt->rtable)->relid, stmt->commandType,
					  GuardCommandName(stmt->commandType, "WITH"), ours);
}

/* COPY into one, and TRUNCATE, run no plan.  Who may not gets an error. */
static void
utility_target(const RangeVar *target, CmdType command, const char *name)
{
	Oid			relid = NamedRelation(target);

	if (OidIsValid(relid) && superuser())
		record_change(relid, command, name, false);
}

void
CatalogUtility(Node *stmt)
{
	ListCell   *lc;

	if (IsA(stmt, CopyStmt) && ((CopyStmt *) stmt)->is_from)
		utility_target(((CopyStmt *) stmt)->relation, CMD_INSERT, "COPY");
	else if (IsA(stmt, TruncateStmt))
		foreach(lc, ((TruncateStmt *) stmt)->relations)
			utility_target(lfirst_node(RangeVar, lc), CMD_UTILITY, "TRUNCATE");
}
