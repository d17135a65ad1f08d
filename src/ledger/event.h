/*
 * event.h
 *		What the files share that turn statements into entries.
 */
#ifndef BULWARK_EVENT_H
#define BULWARK_EVENT_H

#include "ledger/spool.h"

#include "executor/execdesc.h"
#include "nodes/parsenodes.h"

/* --- event.c ------------------------------------------------------------------ */

/*
 * Is an entry written in this transaction?  Not while nothing of a ledger is
 * here, and not where it has not begun and there is no key to begin it with,
 * of which the session is warned once.
 */
extern bool EventServes(void);
extern void EventAppend(const char *action, const char *entity_type, const char *entity_id,
						const char *metadata);
/* The relation that a statement names, without regard to privileges; InvalidOid. */
extern Oid	NamedRelation(const RangeVar *name);

/* --- denied.c: the error that ends a statement -------------------------------- */
extern void DeniedStatementBegins(void);
extern void DeniedInPlan(const PlannedStmt *stmt, bool running);
extern void DeniedInUtility(Node *stmt, Oid relation);
/* The relation that a utility statement is about, or InvalidOid. */
extern Oid	UtilityRelation(Node *stmt);
/* The error that is about to be raised is an entry already. */
extern void DeniedIsReported(void);
extern void DeniedInit(void);

/* --- read.c --------------------------------------------------------------------- */
extern void ReadPlan(const PlannedStmt *stmt);
extern void ReadUtility(Node *stmt);

/* --- catalog.c: edits of the server's catalogs, and of our tables ------------------ */
/* A plan has been started, and its privileges checked; ours: it is a statement of our own. */
extern void CatalogPlan(const PlannedStmt *stmt, bool ours);
extern void CatalogUtility(Node *stmt);

/* --- command.c: roles, privileges, settings -------------------------------------- */
/* Before a statement that no transaction undoes. */
extern void CommandBefore(Node *stmt);
/* After any other. */
extern void CommandAfter(Node *stmt);

#endif							/* BULWARK_EVENT_H */
