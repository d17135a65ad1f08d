/*
 * introspection.c
 *		What the server tells of its work.  PostgreSQL looks rows up by index before
 *		it asks the policies, as far as operators are leakproof, and counts them: the
 *		plan's counters, the table's statistics and the locks of a serializable
 *		transaction say how many rows, of whichever tenant, have a value.  The
 *		planner's estimates say the same of common values.  An application login could
 *		read indexed columns of other tenants by asking "how many below x".
 *
 *		So such a login does not run the functions that read these counters, and the
 *		client gets no log lines, among which plans are.  EXPLAIN is the tenancy
 *		room's.  Nor does it end the work of other sessions, which PostgreSQL lets
 *		every session of the same login do.
 */
#include "session/session.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "utils/elog.h"
#include "utils/fmgrtab.h"
#include "utils/lsyscache.h"

typedef enum Introspection
{
	INTROSPECTION_REFUSE,
	INTROSPECTION_ALLOW
} Introspection;

static const struct config_enum_entry introspection_options[] = {
	{"refuse", INTROSPECTION_REFUSE, false},
	{"allow", INTROSPECTION_ALLOW, false},
	{NULL, 0, false}
};

static int	introspection = INTROSPECTION_REFUSE;
static bool lines_kept = false;

static object_access_hook_type prev_object_access = NULL;
static emit_log_hook_type prev_emit_log = NULL;

/*
 * A superuser's SECURITY DEFINER function that reads counters for the application
 * is the superuser's choice.
 */
bool
IntrospectionRefused(void)
{
	return introspection == INTROSPECTION_REFUSE && SessionIsApp() && !superuser();
}

void
RefuseIntrospection(const char *what, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("%s is not allowed for an application login", what),
			 errdetail("%s", detail),
			 errhint("Use a login that is not a member of \"%s\", or see bulwark.introspection.", ROLE_APP)));
}

static bool
has_prefix(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

/*
 * Why is this function of the server's refused?  NULL: it is not.  Of those of the
 * statistics only the ones about sessions stay, so that a new one is refused.
 */
static const char *
refusal_of(const char *name)
{
	const char *statistic;

	if (strcmp(name, "pg_terminate_backend") == 0 || strcmp(name, "pg_cancel_backend") == 0)
		return "The other session may serve another tenant.";
	if (strcmp(name, "pg_lock_status") == 0 || strcmp(name, "currtid_byrelname") == 0)
		return DETAIL_COUNTS_ROWS;
	if (!has_prefix(name, "pg_stat_get_"))
		return NULL;
	statistic = name + strlen("pg_stat_get_");
	if (has_prefix(statistic, "activity") || has_prefix(statistic, "progress_info") ||
		has_prefix(statistic, "wal_senders") ||
		(has_prefix(statistic, "backend_") && strcmp(statistic, "backend_io") != 0 &&
		 strcmp(statistic, "backend_wal") != 0))
		return NULL;
	return DETAIL_COUNTS_ROWS;
}

/* The server's own name of a built-in function, or NULL. */
static const char *
builtin_name(Oid function)
{
	uint16		index;

	if (function > fmgr_last_builtin_oid)
		return NULL;
	index = fmgr_builtin_oid_index[function];
	return index == InvalidOidBuiltinMapping ? NULL : fmgr_builtins[index].funcName;
}

static void
introspection_object_access(ObjectAccessType access, Oid classid, Oid objectid, int subid, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classid, objectid, subid, arg);

	if (access == OAT_FUNCTION_EXECUTE)
	{
		const char *name = builtin_name(objectid);
		const char *detail = name != NULL ? refusal_of(name) : NULL;

		if (detail != NULL && IntrospectionRefused())
			RefuseIntrospection(psprintf("function %s()", get_func_name(objectid)), detail);
	}
}

/* Asked before a statement is planned or run: no catalog can be read while a line is written. */
void
IntrospectionBegin(void)
{
	if (client_min_messages <= LOG && IsTransactionState())
		lines_kept = IntrospectionRefused();
}

/* What is meant for the log alone goes to a client that asks for it: not to this one. */
static void
introspection_emit_log(ErrorData *edata)
{
	if (lines_kept && edata->elevel == LOG)
		edata->output_to_client = false;
	if (prev_emit_log)
		prev_emit_log(edata);
}

void
IntrospectionInit(void)
{
	DefineCustomEnumVariable("bulwark.introspection",
							 "Whether an application login may look at, or end, what the server does for other tenants.",
							 "refuse: no plans of protected tables, counters, locks or signals to other sessions; allow: all of them.",
							 &introspection, INTROSPECTION_REFUSE, introspection_options,
							 PGC_SIGHUP, GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);

	prev_object_access = object_access_hook;
	object_access_hook = introspection_object_access;
	prev_emit_log = emit_log_hook;
	emit_log_hook = introspection_emit_log;
}
