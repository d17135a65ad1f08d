/*
 * catalog.c
 *		Statements that edit the server's catalogs.
 *
 *		A superuser may: and so switch off a trigger of ours, or show the ledger's file
 *		under another name, do something, and put all back.  What is edited cannot be
 *		judged, so that it was edited is on disk before it is.
 */
#include "ledger/event.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "parser/parsetree.h"

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
	if (nedited < EDITED_MAX)
		edited[nedited++] = (Edited) {relid, command};
}

static bool
is_catalog(Oid relid)
{
	return relid < FirstNormalObjectId && IsCatalogRelationOid(relid);
}

/* A plan has been started, and its privileges checked. */
void
CatalogPlan(const PlannedStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->resultRelations)
	{
		Oid			relid = rt_fetch(lfirst_int(lc), stmt->rtable)->relid;

		if (unlikely(is_catalog(relid)))
			record_edit(relid, stmt->commandType,
						stmt->commandType == CMD_INSERT ? "INSERT" :
						stmt->commandType == CMD_UPDATE ? "UPDATE" :
						stmt->commandType == CMD_DELETE ? "DELETE" :
						stmt->commandType == CMD_SELECT ? "WITH" : "MERGE");
	}
}

/* COPY into one, and TRUNCATE, run no plan. */
void
CatalogUtility(Node *stmt)
{
	ListCell   *lc;

	if (IsA(stmt, CopyStmt) && ((CopyStmt *) stmt)->is_from && superuser())
	{
		Oid			relid = NamedRelation(((CopyStmt *) stmt)->relation);

		if (OidIsValid(relid) && is_catalog(relid))
			record_edit(relid, CMD_INSERT, "COPY");
	}
	else if (IsA(stmt, TruncateStmt) && superuser())
		foreach(lc, ((TruncateStmt *) stmt)->relations)
		{
			Oid			relid = NamedRelation(lfirst_node(RangeVar, lc));

			if (OidIsValid(relid) && is_catalog(relid))
				record_edit(relid, CMD_UTILITY, "TRUNCATE");
		}
}
