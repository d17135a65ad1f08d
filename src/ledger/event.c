/*
 * event.c
 *		What happens beside changes of rows: the sink for what other rooms
 *		report, and the hooks through which statements are seen.
 */
#include "ledger/event.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define LOGINS			8192	/* that are remembered, by hash */

static ExecutorStart_hook_type prev_ExecutorStart = NULL;
static ExecutorRun_hook_type prev_ExecutorRun = NULL;
static ExecutorFinish_hook_type prev_ExecutorFinish = NULL;
static ProcessUtility_hook_type prev_ProcessUtility = NULL;

static pg_atomic_uint64 *logins = NULL;

/* --- names ------------------------------------------------------------------------ */

Oid
NamedRelation(const RangeVar *name)
{
	Oid			schema;

	if (name == NULL)
		return InvalidOid;
	if (name->schemaname == NULL)
		return RelnameGetRelid(name->relname);
	schema = get_namespace_oid(name->schemaname, true);
	return OidIsValid(schema) ? get_relname_relid(name->relname, schema) : InvalidOid;
}

/* --- the sink ---------------------------------------------------------------------- */

bool
EventServes(void)
{
	static bool warned = false;

	if (IsBinaryUpgrade || !IsTransactionState() || LedgerWorking() || LedgerRestoring() ||
		!OidIsValid(PrivateRelid("ledger_log")))
		return false;
	if (LedgerScriptRuns())
		return false;
	if (SpoolHasKey() || LogPeek() != NULL)
		return true;
	if (!warned)
		ereport(WARNING,
				(errmsg("the ledger has not begun, because no root key is loaded"),
				 errdetail("This and other administrative acts are not recorded."),
				 errhint("Set bulwark.root_key_file, bulwark.root_key_command or bulwark.root_key_pkcs11 in the configuration file and reload.")));
	warned = true;
	return false;
}

void
EventAppend(const char *action, const char *entity_type, const char *entity_id, const char *metadata)
{
	Entry		entry = {
		.source = SOURCE_SYSTEM,
		.action = action,
		.entity_type = entity_type,
		.entity_id = entity_id,
		.metadata = metadata,
		.annotated = true,
	};

	LedgerAppend(&entry);
}

/*
 * Is this the first time that the server sees the token, or the first time in
 * this hour that this session assumes the identity?  Every transaction proves
 * its identity anew, and an entry for each would say nothing more.  The table is
 * a cache: what falls out of it is one entry too many.
 */
static bool
is_first_login(void)
{
	const Identity *identity = IdentityOfTransaction();
	struct
	{
		Oid			database;
		int			proof;
		pg_uuid_t	principal;
		pg_uuid_t	tenant;
		pg_uuid_t	issuer;
		TimestampTz end;
		int			pid;
		TimestampTz session;
		Oid			login;
	}			key;
	uint64		hash;
	pg_atomic_uint64 *slot;

	if (identity == NULL || logins == NULL)
		return true;
	memset(&key, 0, sizeof(key));
	key.database = MyDatabaseId;
	key.proof = identity->proof;
	key.principal = identity->principal_id;
	key.tenant = identity->tenant_id;
	key.login = GetSessionUserId();
	if (identity->proof == PROOF_TOKEN)
	{
		key.issuer = identity->issuer_id;
		key.end = identity->absolute_end;
	}
	else
	{
		key.end = identity->proved_at / USECS_PER_HOUR;
		key.pid = MyProcPid;
		key.session = MyStartTimestamp;
	}
	hash = hash_bytes_extended((unsigned char *) &key, sizeof(key), 0);
	slot = &logins[hash % LOGINS];
	if (pg_atomic_read_u64(slot) == hash)
		return false;
	pg_atomic_write_u64(slot, hash);
	return true;
}

static SpoolClass
class_of(const char *action)
{
	if (strcmp(action, "denied") == 0)
		return SPOOL_DENIED;
	if (strcmp(action, "authenticate") == 0)
		return SPOOL_AUTHENTICATE;
	if (strcmp(action, "read") == 0)
		return SPOOL_READ;
	return SPOOL_OTHER;
}

static void
take_event(const AuditEvent *event)
{
	Entry		entry = {
		.source = SOURCE_SYSTEM,
		.action = event->action,
		.entity_type = event->entity_type,
		.entity_id = event->entity_id,
		.metadata = event->detail,
		.tenant = event->tenant_id,
		.annotated = true,
	};
	SpoolClass	class = class_of(event->action);

	switch (event->durability)
	{
		case AUDIT_IN_TRANSACTION:
			if (EventServes())
				LedgerAppend(&entry);
			break;
		case AUDIT_SURVIVES:
			if (class == SPOOL_READ)
			{
				LedgerReadEvent(entry.entity_type, entry.entity_id, entry.metadata);
				break;
			}
			SpoolNoteSession();
			if (!SpoolServes())
				break;
			/* one that concerns a principal was accepted */
			if (class == SPOOL_AUTHENTICATE && event->entity_id != NULL && !is_first_login())
				break;
			LedgerSpool(class, &entry);
			if (class == SPOOL_DENIED)
				DeniedIsReported();
			break;
		case AUDIT_DURABLE_IF_KEPT:
			SpoolNoteSession();
			if (!SpoolServes())
				break;
			/* FALLTHROUGH */
		case AUDIT_DURABLE:
			LedgerSpoolAndWait(&entry);
			break;
	}
}

/* --- statements ------------------------------------------------------------------------ */

static void
event_ExecutorStart(QueryDesc *queryDesc, int eflags)
{
	bool		ours = TrustedTake();

	DeniedStatementBegins();
	PG_TRY();
	{
		if (prev_ExecutorStart)
			prev_ExecutorStart(queryDesc, eflags);
		else
			standard_ExecutorStart(queryDesc, eflags);
		if (!(eflags & EXEC_FLAG_EXPLAIN_ONLY) && !IsParallelWorker())
		{
			ReadPlan(queryDesc->plannedstmt);
			CatalogPlan(queryDesc->plannedstmt, ours);
		}
	}
	PG_CATCH();
	{
		DeniedInPlan(queryDesc->plannedstmt, false);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static void
event_ExecutorRun(BW_RUN_PARAMS)
{
	PG_TRY();
	{
		if (prev_ExecutorRun)
			prev_ExecutorRun(BW_RUN_ARGS);
		else
			standard_ExecutorRun(BW_RUN_ARGS);
	}
	PG_CATCH();
	{
		DeniedInPlan(queryDesc->plannedstmt, true);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static void
event_ExecutorFinish(QueryDesc *queryDesc)
{
	PG_TRY();
	{
		if (prev_ExecutorFinish)
			prev_ExecutorFinish(queryDesc);
		else
			standard_ExecutorFinish(queryDesc);
	}
	PG_CATCH();
	{
		DeniedInPlan(queryDesc->plannedstmt, true);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * What a statement is about is found out before it runs; while its error is
 * handled no catalog may be read.  After COMMIT or a procedure the tree may be
 * gone, so those are left alone.
 */
static void
event_ProcessUtility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					 ProcessUtilityContext context, ParamListInfo params,
					 QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *stmt = pstmt->utilityStmt;
	Oid			relation;

	(void) TrustedTake();		/* what the command runs is not */
	DeniedStatementBegins();
	relation = IsTransactionState() ? UtilityRelation(stmt) : InvalidOid;
	PG_TRY();
	{
		if (IsTransactionState())
		{
			ReadUtility(stmt);
			CatalogUtility(stmt);
			CommandBefore(stmt);
		}
		if (prev_ProcessUtility)
			prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		else
			standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		CommandAfter(stmt);
	}
	PG_CATCH();
	{
		DeniedInUtility(stmt, relation);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static Size
logins_size(void)
{
	return LOGINS * sizeof(pg_atomic_uint64);
}

static void
logins_init(void *piece)
{
	pg_atomic_uint64 *slot = piece;

	for (int i = 0; i < LOGINS; i++)
		pg_atomic_init_u64(&slot[i], 0);
}

void
EventInit(void)
{
	ShmemPieceRequest("bulwark logins", logins_size(), (void **) &logins, logins_init);
	AuditSinkRegister(take_event);
	DeniedInit();

	prev_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = event_ExecutorStart;
	prev_ExecutorRun = ExecutorRun_hook;
	ExecutorRun_hook = event_ExecutorRun;
	prev_ExecutorFinish = ExecutorFinish_hook;
	ExecutorFinish_hook = event_ExecutorFinish;
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = event_ProcessUtility;
}
