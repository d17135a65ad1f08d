/*
 * import.c
 *		Columns of plaintext, or of pgcrypto's ciphertext, become encrypted ones:
 *		encrypt_column() and secrets_import_pgp().
 *
 *		Values are made in batches in a second column, while the application goes on
 *		with the first.  A trigger forgets what was made of a value that changes, so
 *		what is left to do is what has no counterpart: an interrupted run is begun
 *		again.  In the end, under an exclusive lock on all partitions that there are
 *		then, the rest is made, every counterpart is opened and compared with its
 *		value, and one ALTER TABLE puts the new values in the place of the old: it
 *		writes the table anew, so nothing of them stays in its files, which
 *		residue_scan.c then looks for.
 */
#include "secrets/import.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "keyring/keyring.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"

PG_FUNCTION_INFO_V1(bulwark_encrypt_column);
PG_FUNCTION_INFO_V1(bulwark_secrets_import_pgp);
PG_FUNCTION_INFO_V1(bulwark_encrypting);

#define BATCH_MAX		100000
#define SHADOW_PREFIX	"bulwark_encrypting_"
#define TRIGGER_PREFIX	"zzzz_bulwark_encrypting_"

/* --- the trigger ------------------------------------------------------------------ */

/*
 * BEFORE INSERT OR UPDATE, arguments column, second column and what was asked for:
 * the second column is ours, and empty as soon as the first has another value.
 */
Datum
bulwark_encrypting(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	HeapTuple	row;
	int			column;
	int			shadow;
	Datum		value;
	bool		isnull = true;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || trigger->tg_trigger->tgnargs != 3)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("encrypting() must be a BEFORE trigger of rows with three arguments")));
	desc = RelationGetDescr(trigger->tg_relation);
	column = SPI_fnumber(desc, trigger->tg_trigger->tgargs[0]);
	shadow = SPI_fnumber(desc, trigger->tg_trigger->tgargs[1]);
	if (column <= 0 || shadow <= 0)
		elog(ERROR, "a column of the trigger is missing");

	value = (Datum) 0;
	row = trigger->tg_trigtuple;
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		Form_pg_attribute att = TupleDescAttr(desc, column - 1);
		bool		oldnull;
		bool		newnull;
		Datum		old = heap_getattr(trigger->tg_trigtuple, column, desc, &oldnull);
		Datum		new = heap_getattr(trigger->tg_newtuple, column, desc, &newnull);

		row = trigger->tg_newtuple;
		if (!oldnull && !newnull && datum_image_eq(old, new, att->attbyval, att->attlen))
			value = heap_getattr(trigger->tg_trigtuple, shadow, desc, &isnull);
	}
	return PointerGetDatum(heap_modify_tuple_by_cols(row, desc, 1, &shadow, &value, &isnull));
}

/* --- statements ---------------------------------------------------------------------- */

/* Until the transaction's end; false: it is gone. */
static bool
try_lock(Oid relid, LOCKMODE lockmode)
{
	Relation	rel = try_relation_open(relid, lockmode);

	if (rel == NULL)
		return false;
	relation_close(rel, NoLock);
	return true;
}

/* The name of a table that is locked, and so stays what it is. */
static char *
lock_and_name(Oid relid, LOCKMODE lockmode)
{
	if (!try_lock(relid, lockmode))
		RefuseGone(relid);
	return QualifiedName(relid);
}

/* As the extension's owner: no code of the table's owner runs in these. */
static void
define(const char *sql)
{
	TrustedScope scope;

	TrustedBegin(&scope);
	(void) TrustedExec(sql, 0, NULL, NULL, NULL);
	TrustedEnd(&scope);
}

/* As the table's owner, restricted: checks and expressions of the table are evaluated. */
static void
define_as_owner(Oid relid, const char *sql)
{
	TrustedScope scope;
	Relation	rel = relation_open(relid, NoLock);
	Oid			owner = rel->rd_rel->relowner;

	relation_close(rel, NoLock);
	TrustedBegin(&scope);
	SetUserIdAndSecContext(owner, scope.save_sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	(void) TrustedExec(sql, 0, NULL, NULL, NULL);
	TrustedEnd(&scope);
}

/* --- a pass ------------------------------------------------------------------------------- */

/* All tables, batch by batch, in a transaction each unless they are locked; how many rows were written or left. */
static int64
import_pass(Import *import, List *tables)
{
	int64		unfinished = 0;
	ListCell   *lc;

	foreach(lc, tables)
	{
		RewritePass pass;

		if (!RewriteBegin(&pass, lfirst_oid(lc), false))
			continue;
		while (!pass.done && try_lock(pass.relid, RowExclusiveLock))
		{
			ImportLookAt(import, pass.relid);
			(void) RewriteBatch(&pass, import->batch, ImportRow, import, import->progress);
			if (import->locked)
				continue;
			SPI_commit();
			MemoryContextReset(import->work);
			MemoryContextSwitchTo(import->work);
		}
		if (import->locked && pass.locked > 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg(INT64_FORMAT " rows of \"%s\" are being written by what its own constraints or columns call",
							pass.locked, get_rel_name(pass.relid))));
		unfinished += pass.written + pass.locked;
	}
	return unfinished;
}

/* --- beginning and end ------------------------------------------------------------------------ */

static void
refuse_dependents(Oid relid, const char *column)
{
	TrustedScope scope;
	Arg			attno = {INT4OID, Int32GetDatum(ImportColumn(relid, column)), false};
	char	   *what = NULL;

	TrustedBegin(&scope);
	if (AdminRead("SELECT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_catalog.pg_depend d "
				  "WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1 AND d.refobjsubid = $2 "
				  "AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint c "
				  "WHERE d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND c.oid = d.objid AND c.contype = 'n') "
				  "ORDER BY 1 LIMIT 1",
				  ARGS(OidArg(relid), attno)) > 0)
		what = TextDatumGetCString(AdminResult(0, 1, NULL));
	TrustedEnd(&scope);
	if (what != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("column \"%s\" of \"%s\" cannot be encrypted while something depends on it", column, get_rel_name(relid)),
				 errdetail("%s does.", what),
				 errhint("Drop it first; for equality search, index a column of bulwark.blind_index() values.")));
}

/* What was asked for, in short: values that an earlier run made for something else are of no use. */
static char *
fingerprint(const Import *import)
{
	StringInfoData all;
	uint8		digest[BW_SHA256_LEN];
	char	   *hex = palloc0(2 * BW_SHA256_LEN + 1);

	initStringInfo(&all);
	appendStringInfoChar(&all, (char) import->type);
	appendStringInfo(&all, "%d %s ", import->context_column != NULL, import->context_column ? import->context_column : "");
	if (import->has_tenant)
		appendBinaryStringInfo(&all, (const char *) import->tenant.data, UUID_LEN);
	appendStringInfo(&all, " %s", TextDatumGetCString(import->context));
	bw_sha256(all.data, all.len, digest);
	bw_hex_encode(digest, BW_SHA256_LEN, hex);
	return hex;
}

/* Is our trigger there, made for the same? */
static bool
has_trigger(const Import *import, Oid relid, bool *same)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);
	bool		found = false;

	if (rel == NULL)
		RefuseGone(relid);
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (strcmp(trigger->tgname, import->trigger) != 0)
			continue;
		found = true;
		*same = trigger->tgnargs == 3 && strcmp(trigger->tgargs[0], import->column) == 0 &&
			strcmp(trigger->tgargs[2], fingerprint(import)) == 0;
	}
	relation_close(rel, AccessShareLock);
	return found;
}

/* The second column and the trigger, unless an interrupted run has made them. */
static void
prepare(Import *import, Oid relid)
{
	char	   *name;
	const char *type = import->type == SECRET_CREDENTIAL ? "secret" : import->type == SECRET_TEXT ? "encrypted_text" :
		import->type == SECRET_BYTEA ? "encrypted_bytea" : "encrypted_jsonb";
	bool		same;
	bool		there = has_trigger(import, relid, &same);

	if (there && same)
		return;
	name = lock_and_name(relid, AccessExclusiveLock);
	if (there)
	{
		define(psprintf("DROP TRIGGER %s ON %s", import->trigger, name));
		define(psprintf("ALTER TABLE %s DROP COLUMN IF EXISTS %s", name, import->shadow));
	}
	define(psprintf("ALTER TABLE %s ADD COLUMN %s bulwark.%s", name, import->shadow, type));
	define(psprintf("CREATE TRIGGER %s BEFORE INSERT OR UPDATE ON %s FOR EACH ROW "
					"EXECUTE FUNCTION bulwark_internal.encrypting(%s, %s, '%s')", import->trigger, name,
					quote_literal_cstr(import->column), quote_literal_cstr(import->shadow), fingerprint(import)));
	define(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s", name, import->trigger));
}

/* The tables of a relation that hold rows, locked; a list that outlives the transaction. */
static List *
find_tables(const Import *import, Oid relid, LOCKMODE lockmode)
{
	MemoryContext before = MemoryContextSwitchTo(import->lasting);
	List	   *tables = NIL;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, lockmode, NULL))
	{
		Oid			table = lfirst_oid(lc);
		char		kind = get_rel_relkind(table);

		if (kind == '\0')
			continue;
		if (table != relid && !get_rel_relispartition(table))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("\"%s\" has inheritance children", get_rel_name(relid)),
					 errhint("Take them out of the inheritance first, and encrypt each by itself.")));
		if (kind == RELKIND_RELATION)
			tables = lappend_oid(tables, table);
		else if (kind != RELKIND_PARTITIONED_TABLE)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" is not a table", get_rel_name(table))));
	}
	MemoryContextSwitchTo(before);
	return tables;
}

/* What was made is for what this call asks for, and for nobody else's. */
static void
require_trigger(const Import *import, Oid relid)
{
	bool		same = false;

	if (!has_trigger(import, relid, &same) || !same)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the trigger that watches column \"%s\" of \"%s\" is gone, or another call's",
						import->column, get_rel_name(relid)),
				 errdetail("The column is as it was.")));
}

/*
 * Nobody writes any more: the rest, the exchange, and what to look for afterwards.
 * Partitions may have come and gone since the beginning; returns those that there are.
 */
static List *
finish(Import *import, Oid relid)
{
	char	   *name = lock_and_name(relid, AccessExclusiveLock);
	const char *column = quote_identifier(import->column);
	const char *shadow = import->shadow;
	List	   *tables;
	ListCell   *lc;

	tables = find_tables(import, relid, AccessExclusiveLock);
	require_trigger(import, relid);
	import->locked = true;
	import->progress->phase = "checking every value, with the table locked";
	(void) import_pass(import, tables);
	CommandCounterIncrement();
	foreach(lc, tables)
		ResidueSample(import->samples, lfirst_oid(lc), import->column);
	define(psprintf("DROP TRIGGER %s ON %s", import->trigger, name));
	import->progress->phase = "writing the table anew";
	define_as_owner(relid, psprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s USING %s, DROP COLUMN %s",
									name, column, format_type_be_qualified(get_atttype(relid, get_attnum(relid, import->shadow))),
									shadow, shadow));
	AuditAdmin(import->progress->command, "relation", name, NULL, "column", import->column, NULL);
	import->name = MemoryContextStrdup(import->lasting, name);
	return tables;
}

/*
 * What came of it, and what is beyond the table.  The planner's catalogs are not written
 * anew here: that locks them against every planner, so it is left to who can choose the
 * moment.
 */
static Datum
report(const Import *import, const Residue *residue)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"rows\": " INT64_FORMAT ", \"pages_scanned\": " INT64_FORMAT ", \"samples\": %d, "
					 "\"pages_with_residue\": " INT64_FORMAT ", \"values_not_encrypted\": " INT64_FORMAT ", \"remaining\": ",
					 import->rows, residue->pages, residue->samples, residue->hits, residue->bare);
	appendStringInfoString(&json, "[\"WAL that is not recycled yet, and its archives\", \"backups and dumps made before\", "
						   "\"disk blocks of the old files, until they are overwritten\", \"replicas, until they have replayed\", "
						   "\"ledger contents recorded before, where the table was audited\", "
						   "\"dead rows of pg_statistic and pg_statistic_ext_data, until VACUUM FULL of both\"]}");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/* Not inlined: its variables are none of the caller's PG_TRY. */
static pg_noinline void
run(Import *import, Oid relid, Residue *residue)
{
	List	   *tables = find_tables(import, relid, NoLock);
	ListCell   *lc;

	refuse_dependents(relid, import->column);
	prepare(import, relid);
	CommandCounterIncrement();
	foreach(lc, tables)
		ImportLookAt(import, lfirst_oid(lc));
	SPI_commit();
	MemoryContextSwitchTo(import->work);

	import->progress->phase = "encrypting";
	/* what is locked in the second pass, or comes in after it, is done in the end */
	if (import_pass(import, tables) > 0)
		(void) import_pass(import, tables);
	import->progress->phase = "waiting for the table";
	tables = finish(import, relid);
	SPI_commit();
	MemoryContextSwitchTo(import->work);

	import->progress->phase = "looking for residue";
	foreach(lc, tables)
		ResidueScan(import->samples, lfirst_oid(lc), import->column, residue);
	import->rows = import->progress->values_written;
}

/* --- the procedures ------------------------------------------------------------------------------ */

static void
check_caller(FunctionCallInfo fcinfo, Oid relid, const char *name)
{
	CallContext *context = (CallContext *) fcinfo->context;
	Oid			user = GetUserId();

	if (get_rel_relkind(relid) == '\0')
		RefuseGone(relid);
	if (!superuser_arg(user) && !(HasClusterRole(user, ROLE_KEYS) && BW_OWNS_RELATION(relid, user)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to encrypt a column of \"%s\"", get_rel_name(relid)),
				 errdetail("Only its owner with the privileges of role \"%s\" may do this.", ROLE_KEYS)));
	if (IsCatalogNamespace(get_rel_namespace(relid)) || IsPrivateRelation(relid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("\"%s\" is not a table of users", get_rel_name(relid))));
	if (context == NULL || !IsA(context, CallContext) || context->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("bulwark.%s() cannot run inside a transaction block or a function", name),
				 errhint("It commits after every batch: CALL it by itself.")));
	PreventCommandIfReadOnly("CALL");
	PreventCommandDuringRecovery("CALL");
	KeyringRequire();
}

/* Arguments that both have, from n on: type, context, context_column, tenant_id, batch. */
static void
common_arguments(FunctionCallInfo fcinfo, int n, Oid relid, Import *import)
{
	Oid			column_type = getBaseType(get_atttype(relid, ImportColumn(relid, import->column)));
	char		type;

	import->batch = PG_ARGISNULL(n + 4) ? 1000 : PG_GETARG_INT32(n + 4);
	if (import->batch < 1 || import->batch > BATCH_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch must be 1 to %d rows, not %d", BATCH_MAX, import->batch)));
	if (SecretColumnType(column_type) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("column \"%s\" is encrypted already", import->column)));
	type = PG_ARGISNULL(n) ? 0 : SecretColumnType(PG_GETARG_OID(n));
	if (!PG_ARGISNULL(n) && type == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("type must be secret, encrypted_text, encrypted_bytea or encrypted_jsonb")));
	if (type == 0)
		type = DatumGetPointer(import->passphrase) != NULL ? SECRET_TEXT :
			column_type == BYTEAOID ? SECRET_BYTEA :
			column_type == JSONBOID || column_type == JSONOID ? SECRET_JSONB : SECRET_TEXT;
	if (DatumGetPointer(import->passphrase) == NULL && (type == SECRET_BYTEA) != (column_type == BYTEAOID))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a column of bytea becomes encrypted_bytea, and no other does")));
	import->type = (SecretType) type;
	import->context = CStringGetTextDatum(PG_ARGISNULL(n + 1) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(n + 1)));
	import->context_column = PG_ARGISNULL(n + 2) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(n + 2)));
	import->has_tenant = !PG_ARGISNULL(n + 3);
	if (import->has_tenant)
		import->tenant = *PG_GETARG_UUID_P(n + 3);
}

/* The rest is the same; returns the report. */
static Datum
import_column(FunctionCallInfo fcinfo, int n, Oid relid, Import *import, const char *command)
{
	Residue		residue = {0};
	Datum		result;
	TupleDesc	desc;
	bool		isnull = false;

	common_arguments(fcinfo, n, relid, import);
	import->shadow = psprintf(SHADOW_PREFIX "%d", ImportColumn(relid, import->column));
	import->trigger = psprintf(TRIGGER_PREFIX "%d", ImportColumn(relid, import->column));
	import->work = AllocSetContextCreate(import->lasting, "bulwark import work", ALLOCSET_DEFAULT_SIZES);
	import->samples = ResidueBegin(import->lasting);
	MemoryContextSwitchTo(import->work);
	import->progress = ProgressBegin(command);
	PG_TRY();
	{
		run(import, relid, &residue);
	}
	PG_FINALLY();
	{
		ProgressEnd();
	}
	PG_END_TRY();
	if (residue.hits > 0 || residue.bare > 0)
		ereport(WARNING,
				(errmsg("values of column \"%s\" are still found in the files of %s", import->column, import->name),
				 errdetail(INT64_FORMAT " pages hold one of %d samples, perhaps in another column; " INT64_FORMAT " values are not encrypted.",
						   residue.hits, residue.samples, residue.bare)));
	SPI_finish();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	result = report(import, &residue);
	result = HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), &result, &isnull));
	MemoryContextDelete(import->lasting);
	return result;
}

static void
refuse_nulls(FunctionCallInfo fcinfo, int n)
{
	for (int i = 0; i < n; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("relation, column_name and passphrase must not be null")));
}

/* Everything here outlives the transactions. */
static void
import_begin(Import *import, FunctionCallInfo fcinfo)
{
	memset(import, 0, sizeof(*import));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	import->lasting = AllocSetContextCreate(PortalContext, "bulwark import", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(import->lasting);
	import->column = pstrdup(NameStr(*PG_GETARG_NAME(1)));
}

/* encrypt_column(relation, column_name, type, context, context_column, tenant_id, batch, report) */
Datum
bulwark_encrypt_column(PG_FUNCTION_ARGS)
{
	Import		import;

	refuse_nulls(fcinfo, 2);
	check_caller(fcinfo, PG_GETARG_OID(0), "encrypt_column");
	import_begin(&import, fcinfo);
	return import_column(fcinfo, 2, PG_GETARG_OID(0), &import, "encrypt_column");
}

/*
 * pgcrypto's function, found as a member of its extension: whatever else is called
 * so, in whatever schema, is not.
 */
static Oid
find_pgp(const char *name)
{
	TrustedScope scope;
	Oid			result = InvalidOid;

	TrustedBegin(&scope);
	if (AdminRead("SELECT p.oid FROM pg_catalog.pg_extension e "
				  "JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass "
				  "AND d.refobjid = e.oid AND d.deptype = 'e' AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass "
				  "JOIN pg_catalog.pg_proc p ON p.oid = d.objid JOIN pg_catalog.pg_language l ON l.oid = p.prolang "
				  "WHERE e.extname = 'pgcrypto' AND l.lanname = 'c' AND p.probin = '$libdir/pgcrypto' AND p.proname::pg_catalog.text = $1 "
				  "AND p.proargtypes = '17 25'::pg_catalog.oidvector",
				  ARGS(TextArg(name))) == 1)
		result = DatumGetObjectId(AdminResult(0, 1, NULL));
	TrustedEnd(&scope);
	if (!OidIsValid(result))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("the extension pgcrypto is not installed in this database"),
				 errhint("It is needed once more, to read what it has encrypted.")));
	return result;
}

/* secrets_import_pgp(relation, column_name, passphrase, type, context, context_column, tenant_id, batch, report) */
Datum
bulwark_secrets_import_pgp(PG_FUNCTION_ARGS)
{
	Import		import;
	text	   *passphrase;
	text	   *copy;
	Oid			relid = PG_GETARG_OID(0);

	refuse_nulls(fcinfo, 3);
	check_caller(fcinfo, relid, "secrets_import_pgp");
	import_begin(&import, fcinfo);
	if (getBaseType(get_atttype(relid, ImportColumn(relid, import.column))) != BYTEAOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is not of type bytea, as pgp_sym_encrypt() returns it", import.column)));
	passphrase = PG_GETARG_TEXT_PP(2);
	copy = SecretAlloc(import.lasting, VARHDRSZ + VARSIZE_ANY_EXHDR(passphrase));
	SET_VARSIZE(copy, VARHDRSZ + VARSIZE_ANY_EXHDR(passphrase));
	memcpy(VARDATA(copy), VARDATA_ANY(passphrase), VARSIZE_ANY_EXHDR(passphrase));
	import.passphrase = PointerGetDatum(copy);
	import.pgp = find_pgp(!PG_ARGISNULL(3) && SecretColumnType(PG_GETARG_OID(3)) == SECRET_BYTEA
						  ? "pgp_sym_decrypt_bytea" : "pgp_sym_decrypt");
	return import_column(fcinfo, 3, relid, &import, "secrets_import_pgp");
}
