/*
 * read.c
 *		Reads that are entries: of tables audited with reads => true, of the
 *		ledger itself, and what sessions that no row security binds do to
 *		protected tables.
 *
 *		A statement reads a table when PostgreSQL asks for SELECT on it: through
 *		whatever view, function or cursor, and in whichever command.  The table
 *		whose rows it changes is read with RETURNING only: the changes are entries
 *		themselves.  The leader of parallel workers writes for them.  There is one
 *		entry for a statement of the client and a relation, however often a
 *		function in it reads that.
 */
#include "ledger/event.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "keyring/keyring.h"
#include "miscadmin.h"
#include "nodes/pathnodes.h"
#include "parser/parsetree.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#define REGISTRY	"ledger_audited"
#define LEDGER_VIEW	"ledger"

/* Columns of bulwark_internal.ledger_audited, in the order of ledger.sql. */
enum
{
	Audited_relation = 1, Audited_exclude, Audited_sealed, Audited_reads
};

/* Relations whose reads are entries. */
static Oid *watched = NULL;		/* in TopMemoryContext */
static int	nwatched = 0;
static bool watched_valid = false;
static Oid	registry = InvalidOid;
static Oid	ledger_view = InvalidOid;

/* What the client's running statement has read, and what the transaction of a
 * session that bypasses row security has touched. */
typedef struct Touched
{
	Oid			relid;
	bool		write;
} Touched;

#define TOUCHED_MAX	64

static Touched read_list[TOUCHED_MAX];
static int	nread = 0;
static LocalTransactionId read_in = InvalidLocalTransactionId;
static Touched touch_list[TOUCHED_MAX];
static int	ntouched = 0;
static LocalTransactionId touched_in = InvalidLocalTransactionId;

/* Which kind of session that row security does not bind; NULL: none. */
static const char *bypassing = NULL;
static bool bypassing_valid = false;
static Oid	bypassing_login = InvalidOid;

/* --- what is watched ------------------------------------------------------------ */

static void
forget_watched(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == registry)
		watched_valid = false;
}

static void
forget_catalog(Datum arg, int cacheid, uint32 hash)
{
	watched_valid = false;
	bypassing_valid = false;
}

static void
add_watched(Oid relid, int *capacity)
{
	if (nwatched == *capacity)
	{
		*capacity = Max(16, 2 * *capacity);
		watched = watched ? repalloc(watched, *capacity * sizeof(Oid)) :
			MemoryContextAlloc(TopMemoryContext, *capacity * sizeof(Oid));
	}
	watched[nwatched++] = relid;
}

/* Read the registry, again should it change meanwhile. */
static void
load_watched(void)
{
	static bool registered = false;
	static int	capacity = 0;

	if (watched_valid)
		return;
	if (!registered)
	{
		RelationWatch(forget_watched);
		CacheRegisterSyscacheCallback(NAMESPACEOID, forget_catalog, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, forget_catalog, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_catalog, (Datum) 0);
		registered = true;
	}
	while (!watched_valid)
	{
		PrivateScan scan;
		Oid			schema = get_namespace_oid(BULWARK_SCHEMA, true);

		nwatched = 0;
		watched_valid = true;
		registry = PrivateRelid(REGISTRY);
		ledger_view = OidIsValid(registry) && OidIsValid(schema) ? get_relname_relid(LEDGER_VIEW, schema) : InvalidOid;
		if (OidIsValid(ledger_view))
			add_watched(ledger_view, &capacity);
		if (!OidIsValid(registry) || !PrivateScanBegin(&scan, REGISTRY, "ledger_audited_pkey"))
			continue;
		while (PrivateScanNext(&scan))
		{
			bool		isnull;

			if (DatumGetBool(PrivateScanGet(&scan, Audited_reads, &isnull)))
				add_watched(DatumGetObjectId(PrivateScanGet(&scan, Audited_relation, &isnull)), &capacity);
		}
		PrivateScanEnd(&scan);
	}
}

static bool
is_watched(Oid relid)
{
	for (int i = 0; i < nwatched; i++)
		if (watched[i] == relid)
			return true;
	return false;
}

/* Note it; false: noted before. */
static bool
note_first(Touched *list, int *n, Oid relid, bool write)
{
	for (int i = 0; i < *n; i++)
		if (list[i].relid == relid && list[i].write == write)
			return false;
	if (*n < TOUCHED_MAX)
		list[(*n)++] = (Touched) {relid, write};
	return true;
}

/* --- entries ---------------------------------------------------------------------- */

static void
spool_access(SpoolClass class, const char *action, const char *entity_type, const char *entity_id,
			 const char *metadata)
{
	Entry		entry = {
		.source = SOURCE_SYSTEM,
		.action = action,
		.entity_type = entity_type,
		.entity_id = entity_id,
		.metadata = metadata,
		.annotated = true,
	};

	LedgerSpool(class, &entry);
}

void
LedgerReadEvent(const char *entity_type, const char *entity_id, const char *metadata)
{
	SpoolNoteSession();
	if (LogPeek() == NULL && !SpoolServes())
		return;					/* a ledger that has not begun has nothing to show */
	SpoolRequire();
	spool_access(SPOOL_READ, "read", entity_type, entity_id, metadata);
}

static void
record_read(Oid relid, const char *command)
{
	const char *metadata = psprintf("{\"command\": \"%s\"}", command);

	if (note_first(read_list, &nread, relid, false))
		LedgerReadEvent(relid == ledger_view ? "bulwark.ledger" : RelationName(relid), NULL, metadata);
}

/* --- sessions that row security does not bind ------------------------------------------ */

static const char *
bypassing_session(void)
{
	Oid			login = GetSessionUserId();

	if (!bypassing_valid || bypassing_login != login)
	{
		Oid			maintenance = get_role_oid(ROLE_MAINTENANCE, true);

		bypassing_valid = true;
		bypassing_login = login;
		if (superuser_arg(login))
			bypassing = "superuser";
		else if (OidIsValid(maintenance) && is_member_of_role_nosuper(login, maintenance))
			bypassing = ROLE_MAINTENANCE;
		else
			bypassing = NULL;
	}
	return MyBackendType == B_BACKEND ? bypassing : NULL;
}

/* The first time in its transaction, whatever becomes of that. */
static void
record_touch(Oid relid, bool write, const char *command)
{
	bool		audited = AuditedOf(relid) != NULL;

	/* its rows' entries name the login already */
	if ((write && audited) || (!audited && ProtectionOf(relid) == NULL))
		return;
	if (touched_in != BW_LXID(MyProc))
	{
		touched_in = BW_LXID(MyProc);
		ntouched = 0;
	}
	if (note_first(touch_list, &ntouched, relid, write))
		spool_access(SPOOL_OTHER, write ? "write" : "read", RelationName(relid), NULL,
					 psprintf("{\"command\": \"%s\", \"session\": \"%s\"}", command, bypassing));
}

/* --- statements --------------------------------------------------------------------------- */

typedef struct Access
{
	const char *command;
	bool		returning;
	const char *bypassing;
} Access;

static void
visit_access(Oid relid, AclMode required, bool target, void *arg)
{
	const Access *access = arg;
	bool		reads = (required & ACL_SELECT) != 0 && (!target || access->returning);

	/* this transaction's own entries are read like all others */
	if (reads && relid == ledger_view)
		LedgerFlush();
	if (reads && is_watched(relid))
		record_read(relid, access->command);
	else if (reads && access->bypassing)
		record_touch(relid, false, access->command);
	if ((required & (ACL_INSERT | ACL_UPDATE | ACL_DELETE)) && access->bypassing)
		record_touch(relid, true, access->command);
}

/*
 * What a foreign key asks for is the server's, and so is what our own checks ask; but
 * not what a rule, with the rights of its owner, adds to the foreign key's query.
 * (What functions run within one is no such query: tenancy/noforce.c.)
 */
static bool
is_of_the_server(const PlannedStmt *stmt)
{
	ListCell   *lc;

	if (!InNoForceRLSOperation())
		return LedgerWorking();
	foreach(lc, BW_PERMISSIONS(stmt))
		if (BW_PERMISSION_BITS(lfirst(lc)) != 0 && OidIsValid(((BwPermission *) lfirst(lc))->checkAsUser))
			return false;
	return true;
}

/* Does the entry of the parent, through which it is read, stand for the child? */
static bool
stands_for(Oid parent, Oid child)
{
	return is_watched(child) ? is_watched(parent) : AuditedOf(parent) != NULL || ProtectionOf(parent) != NULL;
}

/* The table that the statement names, by whose tree the plan comes to a child. */
static Index
root_of(const PlannedStmt *stmt, const AppendRelInfo *child)
{
	ListCell   *lc;

	foreach(lc, stmt->appendRelations)
	{
		AppendRelInfo *above = lfirst_node(AppendRelInfo, lc);

		if (above->child_relid == child->parent_relid && OidIsValid(above->parent_reloid))
			return root_of(stmt, above);
	}
	return child->parent_relid;
}

/*
 * Partitions and inheritance children that the plan goes through need no privileges
 * of their own: they are touched as the table that the statement names.
 */
static void
visit_children(const PlannedStmt *stmt, Access *access)
{
	ListCell   *lc;

	foreach(lc, stmt->appendRelations)
	{
		AppendRelInfo *child = lfirst_node(AppendRelInfo, lc);
		Oid			relid = rt_fetch(child->child_relid, stmt->rtable)->relid;

		/* without a parent it is a branch of UNION ALL */
		if (OidIsValid(child->parent_reloid) && (is_watched(relid) || access->bypassing) &&
			!stands_for(child->parent_reloid, relid))
			VisitRelationAs(stmt, root_of(stmt, child), relid, visit_access, access);
	}
}

/* A new statement of the client's, or the first after a procedure's COMMIT. */
static void
begin_statement(void)
{
	if (StatementDepth() == 0 || read_in != BW_LXID(MyProc))
		nread = 0;
	read_in = BW_LXID(MyProc);
}

/* The plan has been started, and its privileges checked. */
void
ReadPlan(const PlannedStmt *stmt)
{
	Access		access = {.returning = stmt->hasReturning};

	begin_statement();
	load_watched();
	access.bypassing = bypassing_session();
	if ((nwatched == 0 && access.bypassing == NULL) || is_of_the_server(stmt))
		return;
	access.command = stmt->commandType == CMD_SELECT ? "SELECT" :
		stmt->commandType == CMD_INSERT ? "INSERT" :
		stmt->commandType == CMD_UPDATE ? "UPDATE" :
		stmt->commandType == CMD_DELETE ? "DELETE" : "MERGE";
	RequiredRelations(stmt, visit_access, &access);
	visit_children(stmt, &access);
}

/*
 * COPY of a table runs no plan, unless row security applies; what is noted here
 * is not noted again there.  Only for who may read: all others get an error.
 */
static void
read_copy(const CopyStmt *copy)
{
	Access		access = {.command = "COPY", .bypassing = bypassing_session()};
	Oid			relid = NamedRelation(copy->relation);

	if (!OidIsValid(relid))
		return;
	load_watched();
	if (!copy->is_from &&
		(pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
		 pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT, ACLMASK_ANY) == ACLCHECK_OK))
		visit_access(relid, ACL_SELECT, false, &access);
	else if (copy->is_from)
		visit_access(relid, ACL_INSERT, true, &access);
}

static void
touch_truncate(const TruncateStmt *truncate)
{
	Access		access = {.command = "TRUNCATE", .bypassing = bypassing_session()};
	ListCell   *lc;

	if (access.bypassing == NULL)
		return;
	foreach(lc, truncate->relations)
	{
		Oid			relid = NamedRelation(lfirst(lc));

		if (OidIsValid(relid))
			visit_access(relid, ACL_DELETE, true, &access);
	}
}

void
ReadUtility(Node *stmt)
{
	begin_statement();
	if (LedgerWorking())
		return;
	if (IsA(stmt, CopyStmt) && ((CopyStmt *) stmt)->relation != NULL)
		read_copy((CopyStmt *) stmt);
	else if (IsA(stmt, TruncateStmt))
		touch_truncate((TruncateStmt *) stmt);
}
