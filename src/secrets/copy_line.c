/*
 * copy_line.c
 *		COPY into a table with an encrypted column quotes no line that it cannot divide
 *		into columns: what is in it may be a plaintext that went astray, and no type
 *		has seen it yet.
 */
#include "secrets/column.h"

#include <ctype.h>

#include "access/xact.h"
#include "catalog/namespace.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"

static ProcessUtility_hook_type prev_ProcessUtility = NULL;

/* Without a lock: the command takes its own, and says what is missing. */
static bool
has_encrypted_column(const RangeVar *name)
{
	Oid			relid = RangeVarGetRelid(name, NoLock, true);

	for (AttrNumber attno = 1; OidIsValid(relid) && get_attname(relid, attno, true) != NULL; attno++)
	{
		Oid			type = get_atttype(relid, attno);

		if (OidIsValid(type) && SecretColumnType(type) != 0)
			return true;
	}
	return false;
}

/* The command that fills a table with an encrypted column, or NULL: another. */
static const CopyStmt *
filling_copy(Node *stmt)
{
	const CopyStmt *copy = (const CopyStmt *) stmt;

	return stmt != NULL && IsA(stmt, CopyStmt) && copy->is_from && copy->relation != NULL &&
		IsTransactionState() && has_encrypted_column(copy->relation) ? copy : NULL;
}

/* Is the first line compared with the names of the columns? */
static bool
matches_header(const CopyStmt *copy)
{
	ListCell   *lc;

	foreach(lc, copy->options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, "header") == 0 && option->arg != NULL && IsA(option->arg, String))
			return pg_strcasecmp(strVal(option->arg), "match") == 0;
	}
	return false;
}

/* The line's number as COPY's context has it, in whatever language; 0: there is none. */
static long
line_number(const char *context, const char *table)
{
	const char *p = strstr(context, table);

	if (p == NULL)
		return 0;
	for (p += strlen(table); *p != '\0' && !isdigit((unsigned char) *p); p++)
		;
	return strtol(p, NULL, 10);
}

static void
hide_line(ErrorData *edata, const CopyStmt *copy)
{
	const char *table = copy->relation->relname;
	char	   *outer;
	long		line;

	if (edata->context == NULL)
		return;
	line = line_number(edata->context, table);
	outer = GetErrorContextStack();
	edata->context = psprintf("COPY %s, line %ld: \"(not shown)\"", table, line);
	if (outer != NULL)
		edata->context = psprintf("%s\n%s", edata->context, outer);
	/* it says what it found in the place of a name */
	if (line == 1 && matches_header(copy))
		edata->message = pstrdup("the first line does not have the names of the columns");
}

static void
run(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree, ProcessUtilityContext context,
	ParamListInfo params, QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	if (prev_ProcessUtility)
		prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

static void
copy_line_ProcessUtility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
						 ProcessUtilityContext context, ParamListInfo params,
						 QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	const CopyStmt *copy = filling_copy(pstmt->utilityStmt);
	MemoryContext caller = CurrentMemoryContext;

	if (copy == NULL)
	{
		run(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		return;
	}
	PG_TRY();
	{
		run(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		if (geterrcode() != ERRCODE_BAD_COPY_FILE_FORMAT)
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		edata = CopyErrorData();
		FlushErrorState();
		hide_line(edata, copy);
		ReThrowError(edata);
	}
	PG_END_TRY();
}

void
CopyLineInit(void)
{
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = copy_line_ProcessUtility;
}
