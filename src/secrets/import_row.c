/*
 * import_row.c
 *		What becomes of a row of a column that is being encrypted: whose it is, its
 *		plaintext and its context, and whether the encrypted counterpart of its value
 *		is that of the value as it is now.
 */
#include "secrets/import.h"

#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

/* --- a table ------------------------------------------------------------------------------ */

AttrNumber
ImportColumn(Oid relid, const char *name)
{
	AttrNumber	attno = get_attnum(relid, name);
	char	   *table = get_rel_name(relid);

	if (table == NULL)
		RefuseGone(relid);
	if (attno <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of \"%s\" does not exist", name, table)));
	return attno;
}

static Oid
output_of(Oid type)
{
	Oid			output;
	bool		varlena;

	getTypeOutputInfo(type, &output, &varlena);
	return output;
}

void
ImportLookAt(Import *import, Oid table)
{
	const Protection *protection = ProtectionOf(table);
	const char *tenant_column = "";
	const char *affiliation_column;

	import->table = table;
	import->column_attno = ImportColumn(table, import->column);
	import->shadow_attno = ImportColumn(table, import->shadow);
	import->column_type = getBaseType(get_atttype(table, import->column_attno));
	import->column_output = output_of(import->column_type);
	import->context_attno = 0;
	if (import->context_column != NULL)
	{
		import->context_attno = ImportColumn(table, import->context_column);
		import->context_output = output_of(get_atttype(table, import->context_attno));
	}
	import->one_owner = import->has_tenant || (protection != NULL && protection->pinned);
	if (import->one_owner)
	{
		import->owner = import->has_tenant ? import->tenant : protection->pinned_tenant;
		return;
	}
	if (protection != NULL)
		ProtectionColumns(protection, &tenant_column, &affiliation_column);
	if (tenant_column[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot tell whose the rows of \"%s\" are", get_rel_name(table)),
				 errhint("Protect the table by a tenant column (a child with materialize), or name the tenant in tenant_id.")));
	import->tenant_attno = ImportColumn(table, tenant_column);
	import->tenant_type = getBaseType(get_atttype(table, import->tenant_attno));
	import->tenant_output = output_of(import->tenant_type);
}

/* --- rows ------------------------------------------------------------------------------ */

/* Whose the row is. */
static pg_uuid_t
row_tenant(TupleTableSlot *row, const Import *import)
{
	Datum		value;
	bool		isnull;
	Identity	identity;

	if (import->one_owner)
		return import->owner;
	value = slot_getattr(row, import->tenant_attno, &isnull);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("a row of \"%s\" has no tenant", get_rel_name(import->table)),
				 errhint("Give it one, or name the tenant of such a table in tenant_id.")));
	if (import->tenant_type == UUIDOID)
		return *DatumGetUUIDP(value);
	memset(&identity, 0, sizeof(identity));
	if (!MembershipOperations()->find_tenant("key", OidOutputFunctionCall(import->tenant_output, value), &identity))
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("a row of \"%s\" has the key of no tenant", get_rel_name(import->table))));
	return identity.tenant_id;
}

/* A value as text by its type's output function. */
static Datum
as_text(const Import *import, Datum value)
{
	char	   *out = OidOutputFunctionCall(import->column_output, value);
	Datum		result = CStringGetTextDatum(out);

	bw_wipe(out, strlen(out));
	return result;
}

/*
 * A text as a document, in the form that encrypt_jsonb() gives it; what is none is not
 * quoted.  The names in the error have no quotes, between which all is hidden.
 */
static Datum
as_document(const Import *import, Datum value)
{
	char	   *json = TextDatumGetCString(value);
	Datum		datum;
	Jsonb	   *document;

	if (!PlainToDocument(json, &datum))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("a value of the column is no document"),
				 errdetail("It is one of column %s of table %s, and not shown.", import->column, get_rel_name(import->table)),
				 errhint("Encrypt the column as encrypted_text, or mend its values first.")));
	document = DatumGetJsonbP(datum);
	bw_wipe(json, strlen(json));
	return CStringGetTextDatum(JsonbToCString(NULL, &document->root, VARSIZE(document)));
}

/* The plaintext of a value of the column. */
static void
plaintext(const Import *import, Datum value, Plain *plain)
{
	if (OidIsValid(import->pgp))
		value = OidFunctionCall2(import->pgp, value, import->passphrase);
	else if (import->type != SECRET_BYTEA && import->column_type != TEXTOID && import->column_type != VARCHAROID)
		value = as_text(import, value);
	if (import->type == SECRET_JSONB)
		value = as_document(import, value);
	if (import->type == SECRET_BYTEA)
		PlainOfBytes(plain, value);
	else
		PlainOfText(plain, value, "a value of the column");
}

/* The context of a row: a text for all, or a column's. */
static void
row_context(TupleTableSlot *row, const Import *import, Plain *context)
{
	Datum		value;
	bool		isnull;

	if (import->context_attno == 0)
	{
		ContextOfText(context, import->context);
		return;
	}
	value = slot_getattr(row, import->context_attno, &isnull);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("the context column is null in a row of \"%s\"", get_rel_name(import->table))));
	ContextOfText(context, CStringGetTextDatum(OidOutputFunctionCall(import->context_output, value)));
}

/* Does the counterpart open to the value, under the tenant and the context that the row has now? */
static bool
is_counterpart(TupleTableSlot *row, const Import *import, Datum value, Datum counterpart)
{
	struct varlena *sealed = PG_DETOAST_DATUM_PACKED(counterpart);
	pg_uuid_t	tenant = row_tenant(row, import);
	Plain		plain;
	Plain		context;
	char	   *opened;
	Size		len;
	bool		same;

	row_context(row, import, &context);
	opened = SecretTryOpen(&tenant, import->type, context.data, context.len,
						   VARDATA_ANY(sealed), VARSIZE_ANY_EXHDR(sealed), &len);
	if (opened == NULL)
		return false;
	plaintext(import, value, &plain);
	same = len == plain.len && memcmp(opened, plain.data, len) == 0;
	PlainForget(&plain);
	return same;
}

static Datum
seal_value(TupleTableSlot *row, const Import *import, Datum value)
{
	pg_uuid_t	tenant = row_tenant(row, import);
	Plain		plain;
	Plain		context;
	bytea	   *sealed;

	row_context(row, import, &context);
	plaintext(import, value, &plain);
	sealed = SecretSeal(&tenant, import->type, context.data, context.len, plain.data, plain.len,
						import->type == SECRET_CREDENTIAL ? secret_padding : data_padding);
	PlainForget(&plain);
	return PointerGetDatum(sealed);
}

/*
 * While others write, what has a counterpart is left alone, since the trigger forgets
 * what was made of a value that changes.  It does not see what else may change: the
 * row's tenant or context, the value by a trigger behind it, anything while it is
 * disabled.  So once nobody writes any more it is not relied on.
 */
bool
ImportRow(TupleTableSlot *row, bool look, Datum *values, bool *isnull, void *arg)
{
	const Import *import = arg;
	int			shadow = import->shadow_attno - 1;
	bool		no_value;
	bool		no_counterpart;
	Datum		value = slot_getattr(row, import->column_attno, &no_value);
	Datum		counterpart = slot_getattr(row, import->shadow_attno, &no_counterpart);

	if (no_value && no_counterpart)
		return false;
	if (!no_counterpart && !import->locked)
		return false;
	if (look)
		return no_value || no_counterpart || !is_counterpart(row, import, value, counterpart);
	isnull[shadow] = no_value;
	values[shadow] = no_value ? (Datum) 0 : seal_value(row, import, value);
	return true;
}
