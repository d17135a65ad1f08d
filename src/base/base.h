/*
 * base.h
 *		Back-end glue that every room stands on: shared memory, trusted SPI,
 *		wiping, callbacks that let siblings work together without knowing
 *		each other.  Includes nothing of ours but compat.h and common/.
 */
#ifndef BULWARK_BASE_H
#define BULWARK_BASE_H

#include "postgres.h"

#include "base/compat.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "portability/instr_time.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define BULWARK_SCHEMA			"bulwark"
#define BULWARK_PRIVATE_SCHEMA	"bulwark_internal"

/* Every change of a membership or of what it comes from invalidates this one. */
#define WATCHED_RELATION		"membership_signal"

extern void BaseInit(void);
extern void ShmemInit(void);
extern void LabelInit(void);
extern void NamesInit(void);

/* --- shmem.c: named pieces of shared memory ------------------------------ */

/*
 * Ask for a zeroed, cache-line aligned piece of shared memory.  Call from an
 * XxxInit(); *slot is set in every process before any of our code can run.
 * init (may be NULL) runs once, in the postmaster, on the zeroed memory.
 */
typedef void (*ShmemPieceInit) (void *piece);
extern void ShmemPieceRequest(const char *name, Size size, void **slot,
							  ShmemPieceInit init);
/* The same when the size depends on MaxBackends: called at request time. */
typedef Size (*ShmemPieceSize) (void);
extern void ShmemPieceRequestSized(const char *name, ShmemPieceSize size,
								   void **slot, ShmemPieceInit init);
/* The named LWLock of our tranche; valid after start-up. */
extern LWLock *ShmemPieceLock(const char *name);

/* --- lockwait.c: no endless wait for another transaction ------------------- */

/* Between the two, a lock is waited for 10 s at most (less where lock_timeout says so),
 * then 55P03 with that hint.  An error in between restores everything by itself. */
typedef struct LockWait
{
	ErrorContextCallback context;
	int			guc_level;
	const char *hint;
} LockWait;
extern void LockWaitBegin(LockWait *wait, const char *hint);
extern void LockWaitEnd(LockWait *wait);

/* --- spi.c: SQL run by us, as the extension's owner ----------------------- */

/*
 * Between TrustedBegin and TrustedEnd, SPI statements run as the extension's
 * owner with search_path = pg_catalog, pg_temp, under
 * SECURITY_LOCAL_USERID_CHANGE; an error in between restores everything by
 * itself (transaction abort resets the user, subtransaction abort too).
 * The caller's memory context is current between the calls.
 */
typedef struct TrustedScope
{
	Oid			save_userid;
	int			save_sec_context;
	int			guc_level;
	MemoryContext caller;
} TrustedScope;
/* search_path = pg_catalog, pg_temp until the enclosing GUC nest level ends. */
extern void PinSearchPath(void);
extern void TrustedBegin(TrustedScope *scope);
extern void TrustedEnd(TrustedScope *scope);

/*
 * Run one statement with typed arguments; NULL Datum: pass isnull[i] = true.
 * Returns SPI_processed.  Results are in SPI_tuptable until the next call.
 * read_only false always, so that the statement sees what this command did.
 */
extern uint64 TrustedExec(const char *sql, int nargs, const Oid *types,
						  const Datum *values, const bool *isnull);

/* Is the statement that begins now TrustedExec's?  Asked once, by who looks at all of them. */
extern bool TrustedTake(void);

/* First column of the first row; *isnull true when there is no row.
 * By-reference values are copied into the caller's context. */
extern Datum TrustedScalar(const char *sql, int nargs, const Oid *types,
						   const Datum *values, const bool *isnull,
						   bool *found, bool *result_null);

/* The oid of bulwark_internal.NAME, or InvalidOid (extension not here). */
extern Oid	PrivateRelid(const char *name);
/* Is it a table (or an index, a view) in the schema bulwark_internal? */
extern bool IsPrivateRelation(Oid relid);

/* --- catalog.c: a copy of a catalog's row by its oid, or NULL.  A NULL snapshot is
 * the catalog's own; SnapshotSelf has what the running command has written. -------- */
extern HeapTuple CatalogRow(Oid catalog, Oid index, AttrNumber column, Oid oid, Snapshot snapshot);

/* --- relation.c: a relation's name with its schema, quoted; palloc'd ----------- */
/* NULL, or 42P01, for one that is gone. */
extern char *RelationName(Oid relid);
extern char *QualifiedName(Oid relid);
BW_NORETURN extern void RefuseGone(Oid relid);

/* --- store.c: statements with typed arguments, for management functions ----- */
typedef struct Arg
{
	Oid			type;
	Datum		value;
	bool		isnull;
} Arg;

static inline Arg
UuidArg(const pg_uuid_t *uuid)
{
	return (Arg) {UUIDOID, PointerGetDatum(uuid), uuid == NULL};
}

static inline Arg
TextArg(const char *text)
{
	return (Arg) {TEXTOID, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL};
}

/* DT_NOEND is NULL. */
static inline Arg
TimeArg(TimestampTz time)
{
	return (Arg) {TIMESTAMPTZOID, TimestampTzGetDatum(time), time == DT_NOEND};
}

static inline Arg
OidArg(Oid value)
{
	return (Arg) {OIDOID, ObjectIdGetDatum(value), false};
}

static inline Arg
ArrayArg(Oid type, const ArrayType *array)
{
	return (Arg) {type, PointerGetDatum(array), array == NULL};
}

#define ARGS(...) \
	(int) (sizeof((Arg[]) {__VA_ARGS__}) / sizeof(Arg)), (const Arg[]) {__VA_ARGS__}
#define ARGS_MAX 8

/* Run a statement that writes or locks; the number of its rows. */
extern uint64 AdminExec(const char *sql, int nargs, const Arg *args);
/* Run a query over what is committed now and what this transaction did. */
extern uint64 AdminRead(const char *sql, int nargs, const Arg *args);
/* A column (from 1) of a row (from 0) of the last result, in the caller's
 * context; *isnull may be NULL where the column cannot be. */
extern Datum AdminResult(uint64 row, int column, bool *isnull);
extern bool AdminReadBool(const char *sql, int nargs, const Arg *args);
/* 40001 unless a row that AdminRead saw was there to be written. */
extern void AdminExpectRow(uint64 rows);

/* Arguments of a function: the first of each pair refuses NULL (22004). */
extern pg_uuid_t *ArgUuid(FunctionCallInfo fcinfo, int n, const char *name);
extern pg_uuid_t *ArgUuidOrNull(FunctionCallInfo fcinfo, int n);
extern char *ArgText(FunctionCallInfo fcinfo, int n, const char *name);
extern char *ArgTextOrNull(FunctionCallInfo fcinfo, int n);
/* A flag: NULL is false. */
extern bool ArgBool(FunctionCallInfo fcinfo, int n);

extern pg_uuid_t *NewUuid(void);
extern char *UuidText(const pg_uuid_t *uuid);
extern bool UuidEquals(const pg_uuid_t *a, const pg_uuid_t *b);

/* --- wipe.c ---------------------------------------------------------------- */

/* A palloc'd buffer that is overwritten when its context is reset or deleted,
 * on error too. */
extern void *SecretAlloc(MemoryContext context, Size size);
/* The same, not set to zero before: for what is filled at once. */
extern void *SecretAllocRaw(MemoryContext context, Size size);

/* --- roles.c: who is asking ------------------------------------------------ */

/* Is the current user (superuser, or has the privileges of) that cluster role? */
extern bool HasClusterRole(Oid userid, const char *role);
#define ROLE_ADMIN			"bulwark_admin"
#define ROLE_APP			"bulwark_app"
#define ROLE_IMPERSONATOR	"bulwark_impersonator"
#define ROLE_SECRETS		"bulwark_secrets"
#define ROLE_AUDITOR		"bulwark_auditor"
#define ROLE_MAINTENANCE	"bulwark_maintenance"
#define ROLE_KEYS			"bulwark_keys"
#define ROLE_RETENTION		"bulwark_retention"
/*
 * Is the session's login (session_user) an application login: not a superuser
 * and a member of bulwark_app, in a database that has the extension?  False
 * outside a transaction.
 */
extern bool SessionIsApp(void);

/* --- plan.c: what a plan needs privileges on --------------------------------- */

/*
 * Visit every relation, view or foreign table on which running the plan needs
 * privileges; target: as the one whose rows it changes.  Children of an
 * inheritance tree need none of their own.
 */
typedef void (*VisitRelation) (Oid relid, AclMode required, bool target, void *arg);
struct PlannedStmt;
extern void RequiredRelations(const struct PlannedStmt *stmt, VisitRelation visit, void *arg);
/* Visit one of those children as its root, by number in the plan, is visited. */
extern void VisitRelationAs(const struct PlannedStmt *stmt, Index root, Oid relid,
							VisitRelation visit, void *arg);
/* The first of them on which the privileges are missing, as the executor finds it;
 * InvalidOid: none. */
extern Oid	DeniedRelation(const struct PlannedStmt *stmt);

/* --- xact.c: last of all before a commit ------------------------------------ */

/*
 * Called at PRE_COMMIT and PRE_PREPARE after every other such callback of ours:
 * what those wrote is seen.
 */
typedef void (*PreCommitLast) (void);
extern void PreCommitLastRegister(PreCommitLast callback);
extern void XactInit(void);

/* --- invalidate.c: when a relation changes ---------------------------------- */

/*
 * Call back at a relcache invalidation: of the relation, or of all (InvalidOid).
 * The server has room for ten such callbacks, all libraries counted: ours share
 * one.  It must not fail.
 */
typedef void (*RelationWatcher) (Datum arg, Oid relid);
extern void RelationWatch(RelationWatcher watcher);

/* --- command.c: a shell command within a time limit --------------------------- */

typedef struct ShellCommand
{
	const char *text;			/* for the shell, ... */
	const char *arguments[2];	/* ... which knows these as $1 and $2; may be NULL */
	const void *input;			/* at most 4096 bytes */
	Size		input_len;
	char	   *output;
	Size		output_cap;		/* filled to that, it is too much */
	Size		output_len;
	const char *expected;		/* what it may print at most, in words */
	int			timeout;		/* seconds */
	int			service;		/* a descriptor that it has as its third; 0: none */
	int			result;			/* as waitpid() has it */
} ShellCommand;

typedef struct RunningCommand
{
	pid_t		pid;			/* also its process group */
	int			input;			/* to it, or -1 */
	int			output;
	instr_time	started;
} RunningCommand;
#define COMMAND_PROBLEM_LEN	256
/* True when it has ended by itself in time; else problem says why not, in words
 * that hold nothing of what it printed, and output is wiped. */
extern bool CommandRun(ShellCommand *command, char problem[COMMAND_PROBLEM_LEN]);
/* One that stays: true when it has printed a line, which is in output, in time.  Its
 * input stays open.  Else it has been ended, as CommandEnd() does. */
extern bool CommandBegin(ShellCommand *command, RunningCommand *run, char problem[COMMAND_PROBLEM_LEN]);
extern int	CommandEnd(RunningCommand *run);

/* --- upkeep.c: what is done now and then, with nobody waiting ------------------ */

/*
 * Called in a worker of each database that is written to, every few minutes, in a
 * transaction of its own.
 */
typedef void (*Upkeep) (void);
extern void UpkeepRegister(Upkeep upkeep);
extern void UpkeepInit(void);
/* In that worker: every one of them; an error of one is logged and stops no other. */
extern void UpkeepRun(void);
/* At the worker's next round after this transaction has committed, which an entry in
 * the ledger brings about; else it is done in its turn. */
extern void UpkeepSoon(void);

/* --- audit.c: audit-event sink: the ledger registers, others report --------- */
typedef enum AuditDurability
{
	AUDIT_IN_TRANSACTION,		/* comes and goes with the transaction */
	AUDIT_SURVIVES,				/* kept after a rollback, written by a worker soon */
	AUDIT_DURABLE,				/* on disk when the call returns, else 55000 */
	AUDIT_DURABLE_IF_KEPT		/* the same, but nothing where no ledger is kept */
} AuditDurability;

#define AUDIT_DETAIL_MAX	(8 * 1024)	/* bytes: what is longer is kept IN_TRANSACTION only */

typedef struct AuditEvent
{
	const char *action;			/* "authenticate", "denied", "configuration", ... */
	const char *entity_type;
	const char *entity_id;		/* may be NULL */
	const char *detail;			/* JSON text or NULL; never a secret */
	const pg_uuid_t *tenant_id;	/* whose the entity is; NULL: the identity's */
	AuditDurability durability;
} AuditEvent;
typedef void (*AuditSink) (const AuditEvent *event);
extern void AuditSinkRegister(AuditSink sink);
extern void AuditEmit(const AuditEvent *event);
/* RFC 3339 in UTC, with microseconds: independent of the session's settings. */
extern char *UtcText(TimestampTz at);
/* A JSON object of texts: pairs of key and value, ended by a NULL key; a NULL
 * value is left out. */
extern char *AuditDetail(const char *key,...);
/* The text, or of one that takes more than max bytes in JSON the beginning, its length
 * and a digest of all: little more than max. */
extern const char *AuditClip(const char *text, Size max);
/*
 * An administrative act, undone with the transaction: the entry's action is
 * "configuration", its metadata the operation and the pairs that follow, as
 * AuditDetail takes them.
 */
extern void AuditAdmin(const char *operation, const char *entity_type, const char *entity_id,
					   const pg_uuid_t *tenant_id,...);

/* --- acts.c: administrative acts that are of use before they are committed ------ */
extern void AuditActsInit(void);
/* An act is in the transaction, of an operator or what makes one; NULL: it concerns all tenants.  The
 * object is of less than AUDIT_DETAIL_MAX / 2 bytes. */
extern void AuditActNote(const pg_uuid_t *tenant_id, const char *json);
/* The transaction takes an identity of the tenant: what was noted in it so far, and is
 * from now on, is on disk before it is of use; else 55000. */
extern void AuditActsInForce(const pg_uuid_t *tenant_id);

/* --- sealer of ledger contents: the secrets module registers ----------------- */
typedef struct ContentSealer
{
	/* The envelope of a value under the tenant's key, palloc'd; 55000 without one. */
	void	   *(*seal) (const pg_uuid_t *tenant_id, const void *plain, Size len, Size *sealed_len);
	/* The value, palloc'd; NULL where it cannot be opened (any more). */
	void	   *(*open) (const pg_uuid_t *tenant_id, const void *sealed, Size len, Size *plain_len);
} ContentSealer;
extern void ContentSealerRegister(const ContentSealer *sealer);
/* NULL while no such module is there. */
extern const ContentSealer *ContentSealerGet(void);

#endif							/* BULWARK_BASE_H */
