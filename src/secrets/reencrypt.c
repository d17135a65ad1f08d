/*
 * reencrypt.c
 *		Values moved from older keys of their tenants to the active ones.
 *
 *		A value says itself which key it is under, so there is nothing to remember:
 *		an interrupted run goes on where values are still under an old key.  A text
 *		is in the clear between two calls of the cipher only, in memory of this
 *		library.  No trigger fires, for no row says anything else than before: not
 *		audit()'s either, in whose place each batch leaves one entry.
 */
#include "secrets/column.h"

#include "access/detoast.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "keyring/keyring.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(bulwark_reencrypt);

#define BATCH_MAX		100000

typedef struct SecretColumn
{
	AttrNumber	attno;
	SecretType	type;
} SecretColumn;

typedef struct Reencryption
{
	int			ncolumns;
	SecretColumn *columns;
	bool		first_pass;		/* unreadable values are counted in it */
	Progress   *progress;
} Reencryption;

/* --- columns -------------------------------------------------------------------- */

char
SecretColumnType(Oid type)
{
	static const struct
	{
		const char *name;
		SecretType	type;
	}			types[] = {
		{"secret", SECRET_CREDENTIAL}, {"encrypted_text", SECRET_TEXT},
		{"encrypted_bytea", SECRET_BYTEA}, {"encrypted_jsonb", SECRET_JSONB},
	};
	Oid			schema = get_namespace_oid(BULWARK_SCHEMA, true);

	type = getBaseType(type);
	for (int i = 0; i < lengthof(types); i++)
		if (OidIsValid(type) &&
			type == GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(types[i].name), ObjectIdGetDatum(schema)))
			return (char) types[i].type;
	return 0;
}

/* The registry's values are no column of an encrypted type. */
static char
column_type(Oid relid, Form_pg_attribute att)
{
	if (relid == PrivateRelid("credential_versions") && strcmp(NameStr(att->attname), "value") == 0)
		return SECRET_REGISTRY;
	return SecretColumnType(att->atttypid);
}

/* A table's columns that hold values; how many. */
static int
find_columns(Oid relid, SecretColumn **columns)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);
	int			n = 0;

	if (rel == NULL)
		return 0;
	*columns = palloc(RelationGetDescr(rel)->natts * sizeof(SecretColumn));
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		char		type = att->attisdropped ? 0 : column_type(relid, att);

		if (type != 0)
			(*columns)[n++] = (SecretColumn) {att->attnum, (SecretType) type};
	}
	relation_close(rel, AccessShareLock);
	return n;
}

/* --- rows ------------------------------------------------------------------------- */

/* Does the value need another key?  Its tenant is its key's. */
static bool
is_outdated(const void *sealed, Size len, pg_uuid_t *tenant_id, bool *readable)
{
	uint8		key_id[BW_ENVELOPE_KEY_ID_LEN];
	bool		has_context;
	const TenantKey *key;

	*readable = false;
	if (!SecretInspect(sealed, len, key_id, &has_context))
		return false;
	key = TenantKeyById(NULL, key_id);
	if (key == NULL)
		return false;
	*readable = true;
	*tenant_id = key->tenant_id;
	return memcmp(TenantKeyActive(tenant_id)->key_id, key_id, sizeof(key_id)) != 0;
}

/* Without reading more than its start. */
static bool
looks_outdated(Datum value, Reencryption *job)
{
	struct varlena *start = PG_DETOAST_DATUM_SLICE(value, 0, BW_ENVELOPE_OVERHEAD);
	pg_uuid_t	tenant_id;
	bool		readable;
	bool		outdated = is_outdated(VARDATA_ANY(start), VARSIZE_ANY_EXHDR(start), &tenant_id, &readable);

	if (job->first_pass)
	{
		job->progress->values_seen++;
		if (!readable)
			job->progress->values_unreadable++;
	}
	return outdated;
}

static bool
reseal(SecretType type, Datum *value, Reencryption *job)
{
	struct varlena *sealed = PG_DETOAST_DATUM_PACKED(*value);
	pg_uuid_t	tenant_id;
	bool		readable;
	bytea	   *result;

	if (!is_outdated(VARDATA_ANY(sealed), VARSIZE_ANY_EXHDR(sealed), &tenant_id, &readable))
		return false;
	result = SecretTryReseal(&tenant_id, type, VARDATA_ANY(sealed), VARSIZE_ANY_EXHDR(sealed), &readable);
	if (!readable && job->first_pass)
		job->progress->values_unreadable++;
	if (result == NULL)
		return false;
	*value = PointerGetDatum(result);
	return true;
}

static bool
reencrypt_row(TupleTableSlot *row, bool look, Datum *values, bool *isnull, void *arg)
{
	Reencryption *job = arg;
	bool		any = false;

	for (int i = 0; i < job->ncolumns; i++)
	{
		const SecretColumn *column = &job->columns[i];
		bool		null;
		Datum		value = slot_getattr(row, column->attno, &null);

		if (null)
			continue;
		if (look)
			any |= looks_outdated(value, job);
		else
			any |= reseal(column->type, &values[column->attno - 1], job);
	}
	return any;
}

/* --- the procedure ----------------------------------------------------------------- */

static void
record_batch(Oid relid, int64 rows)
{
	char	   *name = RelationName(relid);

	if (rows > 0 && name != NULL)
		AuditAdmin("reencrypt", "relation", name, NULL, "rows", psprintf(INT64_FORMAT, rows), NULL);
}

/* One pass, a transaction for each batch. */
static void
run_pass(RewritePass *pass, int batch, Reencryption *job, MemoryContext work)
{
	while (!pass->done)
	{
		/* a column may have come or gone with each commit */
		job->ncolumns = find_columns(pass->relid, &job->columns);
		if (job->ncolumns == 0)
			break;
		record_batch(pass->relid, RewriteBatch(pass, batch, reencrypt_row, job, job->progress));
		SPI_commit();
		MemoryContextReset(work);
		MemoryContextSwitchTo(work);
	}
}

/*
 * Passes until one finds nothing.  Before the second one all writers are waited
 * for that may have begun before the rotation: what they write is under the old
 * key, and seen by no snapshot until they commit.
 */
static void
reencrypt_table(Oid relid, int batch, Reencryption *job, MemoryContext work)
{
	RewritePass pass;

	job->first_pass = true;
	for (int n = 0;; n++)
	{
		job->progress->phase = n == 0 ? "re-encrypting" : "re-encrypting what others wrote meanwhile";
		if (!RewriteBegin(&pass, relid, n > 1))
			break;
		run_pass(&pass, batch, job, work);
		job->first_pass = false;
		if (n > 0 && pass.written == 0 && pass.locked == 0)
			break;
		if (n == 0)
		{
			job->progress->phase = "waiting for writers";
			RewriteAwaitWriters(relid);
			SPI_commit();
			MemoryContextSwitchTo(work);
		}
	}
}

static void
check_caller(FunctionCallInfo fcinfo)
{
	CallContext *context = (CallContext *) fcinfo->context;

	if (!HasClusterRole(GetUserId(), ROLE_KEYS))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to re-encrypt"),
				 errdetail("Only roles with the privileges of role \"%s\" may do this.", ROLE_KEYS)));
	if (context == NULL || !IsA(context, CallContext) || context->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("bulwark.reencrypt() cannot run inside a transaction block or a function"),
				 errhint("It commits after every batch: CALL it by itself.")));
	PreventCommandIfReadOnly("CALL bulwark.reencrypt()");
	PreventCommandDuringRecovery("CALL bulwark.reencrypt()");
}

/* The tables of a relation that hold values, in a context that outlives transactions. */
static List *
find_tables(Oid relid)
{
	List	   *tables = NIL;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		Oid			table = lfirst_oid(lc);
		SecretColumn *columns;

		if (get_rel_relkind(table) == RELKIND_RELATION && find_columns(table, &columns) > 0)
			tables = lappend_oid(tables, table);
	}
	if (tables == NIL)
	{
		char	   *name = get_rel_name(relid);

		if (name == NULL)
			RefuseGone(relid);
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" has no encrypted column", name),
				 errdetail("Columns of the types secret, encrypted_text, encrypted_bytea and encrypted_jsonb are.")));
	}
	return tables;
}

static void
reencrypt_tables(List *tables, int batch, MemoryContext work)
{
	Progress   *progress = ProgressBegin("reencrypt");
	Reencryption job = {.progress = progress};

	PG_TRY();
	{
		ListCell   *lc;

		foreach(lc, tables)
			reencrypt_table(lfirst_oid(lc), batch, &job, work);
	}
	PG_FINALLY();
	{
		ProgressEnd();
	}
	PG_END_TRY();
	if (progress->values_unreadable > 0)
		ereport(WARNING,
				(errmsg(INT64_FORMAT " values cannot be opened and stay as they are", progress->values_unreadable),
				 errdetail("Their keys are destroyed or below the minimum version, their tenant is suspended, or they have been altered.")));
}

/* reencrypt(relation, batch): commits after every batch of rows. */
Datum
bulwark_reencrypt(PG_FUNCTION_ARGS)
{
	Oid			relid;
	int32		batch;
	MemoryContext lasting;
	MemoryContext work;
	List	   *tables;

	check_caller(fcinfo);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("relation and batch must not be null")));
	relid = PG_GETARG_OID(0);
	batch = PG_GETARG_INT32(1);
	if (batch < 1 || batch > BATCH_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch must be 1 to %d rows, not %d", BATCH_MAX, batch)));
	if (get_rel_relkind(relid) == '\0')
		RefuseGone(relid);
	KeyringRequire();

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	lasting = AllocSetContextCreate(PortalContext, "bulwark reencrypt", ALLOCSET_SMALL_SIZES);
	work = AllocSetContextCreate(lasting, "bulwark reencrypt work", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(lasting);
	tables = find_tables(relid);
	MemoryContextSwitchTo(work);
	reencrypt_tables(tables, batch, work);
	SPI_finish();
	MemoryContextDelete(lasting);
	PG_RETURN_VOID();
}
