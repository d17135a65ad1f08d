/*
 * value.c
 *		Plaintext becomes a value, and a value plaintext again.
 *
 *		Whoever acts in a tenant may make values of it.  Data is opened by an
 *		identity with data:decrypt; a credential by nobody but a trusted back end,
 *		in the tenant's name, for a purpose, on the record.  What leaves here lies
 *		in memory that is wiped when the row's is reset; PostgreSQL copies it on its
 *		way to the client, and that is beyond us.
 */
#include "secrets/use.h"
#include "secrets/values.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"

#define PURPOSE_MAX		1000	/* bytes */
#define CONTEXT_MAX		1024	/* bytes, in UTF-8 */
#define VALUE_NAME_LEN	32

int			secret_padding;
int			data_padding;

PG_FUNCTION_INFO_V1(bulwark_encrypt);
PG_FUNCTION_INFO_V1(bulwark_encrypt_text);
PG_FUNCTION_INFO_V1(bulwark_encrypt_bytea);
PG_FUNCTION_INFO_V1(bulwark_encrypt_jsonb);
PG_FUNCTION_INFO_V1(bulwark_encrypt_for);
PG_FUNCTION_INFO_V1(bulwark_encrypt_text_for);
PG_FUNCTION_INFO_V1(bulwark_encrypt_bytea_for);
PG_FUNCTION_INFO_V1(bulwark_encrypt_jsonb_for);
PG_FUNCTION_INFO_V1(bulwark_decrypt);
PG_FUNCTION_INFO_V1(bulwark_decrypt_text);
PG_FUNCTION_INFO_V1(bulwark_decrypt_bytea);
PG_FUNCTION_INFO_V1(bulwark_decrypt_jsonb);

/* --- arguments ----------------------------------------------------------------- */

void
ContextOfText(Plain *context, Datum value)
{
	PlainOfText(context, value, "the context");
	if (context->len > CONTEXT_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a context has at most %d bytes", CONTEXT_MAX)));
}

void
ContextOfArgument(Plain *context, FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("context must not be NULL"),
				 errhint("Leave it out, or give the empty text, for none.")));
	ContextOfText(context, PG_GETARG_DATUM(n));
}

char *
PurposeOfArgument(FunctionCallInfo fcinfo, int n)
{
	char	   *purpose = PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));

	if (purpose == NULL || purpose[strspn(purpose, " \t\r\n")] == '\0' || strlen(purpose) > PURPOSE_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a purpose of 1 to %d bytes is needed", PURPOSE_MAX),
				 errhint("Say in a few words what the plaintext is used for: it is kept in the ledger.")));
	return purpose;
}

/* --- in ------------------------------------------------------------------------ */

/* The tenant whose key is asked for by argument 0, of a trusted back end's scope. */
static const pg_uuid_t *
service_tenant(FunctionCallInfo fcinfo)
{
	pg_uuid_t  *tenant_id;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("tenant_id must not be NULL")));
	tenant_id = PG_GETARG_UUID_P(0);
	if (!superuser_arg(GetSessionUserId()) &&
		!(HasClusterRole(GetSessionUserId(), ROLE_SECRETS) &&
		  MembershipOperations()->service_allows(GetSessionUserId(), tenant_id)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to encrypt for another tenant"),
				 errdetail("The session's login must be a member of %s, and the tenant within its scope.", ROLE_SECRETS)));
	return tenant_id;
}

/* The value of a plaintext; context is argument n, and wiped with it. */
static Datum
seal(FunctionCallInfo fcinfo, int n, const pg_uuid_t *tenant_id, SecretType type, Plain *plain)
{
	Plain		context;
	bytea	   *value;
	pg_uuid_t	owner = *tenant_id;	/* the identity's may move when tables are read */

	ContextOfArgument(&context, fcinfo, n);
	value = SecretSeal(&owner, type, context.data, context.len, plain->data, plain->len,
					   type == SECRET_CREDENTIAL ? secret_padding : data_padding);
	PlainForget(plain);
	PlainForget(&context);
	PG_RETURN_BYTEA_P(value);
}

/* Texts and bytes: the plaintext is argument n, the context follows. */
static Datum
seal_argument(FunctionCallInfo fcinfo, int n, const pg_uuid_t *tenant_id, SecretType type)
{
	Plain		plain;

	if (PG_ARGISNULL(n))
		PG_RETURN_NULL();
	if (type == SECRET_BYTEA)
		PlainOfBytes(&plain, PG_GETARG_DATUM(n));
	else
		PlainOfText(&plain, PG_GETARG_DATUM(n), "the plaintext");
	return seal(fcinfo, n + 1, tenant_id, type, &plain);
}

/* A document is kept as its text, which no version of the server reads otherwise. */
static Datum
seal_jsonb(FunctionCallInfo fcinfo, int n, const pg_uuid_t *tenant_id)
{
	Datum		argument;
	Jsonb	   *document;
	StringInfoData json;
	text	   *as_text;
	Plain		plain;
	Datum		value;

	if (PG_ARGISNULL(n))
		PG_RETURN_NULL();
	argument = PG_GETARG_DATUM(n);
	document = DatumGetJsonbP(argument);
	/* room enough from the start, so that few leave a piece behind by growing */
	initStringInfo(&json);
	appendStringInfoSpaces(&json, VARHDRSZ);
	enlargeStringInfo(&json, (int) Min((Size) MaxAllocSize / 2, (Size) VARSIZE(document) * 2 + 1024));
	JsonbToCString(&json, &document->root, VARSIZE(document));
	as_text = (text *) json.data;
	SET_VARSIZE(as_text, json.len);
	if ((Pointer) document != DatumGetPointer(argument))
		bw_wipe(document, VARSIZE(document));

	PlainOfText(&plain, PointerGetDatum(as_text), "the plaintext");
	value = seal(fcinfo, n + 1, tenant_id, SECRET_JSONB, &plain);
	bw_wipe(json.data, json.maxlen);
	pfree(json.data);
	return value;
}

Datum
bulwark_encrypt(PG_FUNCTION_ARGS)
{
	return seal_argument(fcinfo, 0, SecretTenant(), SECRET_CREDENTIAL);
}

Datum
bulwark_encrypt_text(PG_FUNCTION_ARGS)
{
	return seal_argument(fcinfo, 0, SecretTenant(), SECRET_TEXT);
}

Datum
bulwark_encrypt_bytea(PG_FUNCTION_ARGS)
{
	return seal_argument(fcinfo, 0, SecretTenant(), SECRET_BYTEA);
}

Datum
bulwark_encrypt_jsonb(PG_FUNCTION_ARGS)
{
	return seal_jsonb(fcinfo, 0, SecretTenant());
}

Datum
bulwark_encrypt_for(PG_FUNCTION_ARGS)
{
	return seal_argument(fcinfo, 1, service_tenant(fcinfo), SECRET_CREDENTIAL);
}

Datum
bulwark_encrypt_text_for(PG_FUNCTION_ARGS)
{
	return seal_argument(fcinfo, 1, service_tenant(fcinfo), SECRET_TEXT);
}

Datum
bulwark_encrypt_bytea_for(PG_FUNCTION_ARGS)
{
	return seal_argument(fcinfo, 1, service_tenant(fcinfo), SECRET_BYTEA);
}

Datum
bulwark_encrypt_jsonb_for(PG_FUNCTION_ARGS)
{
	return seal_jsonb(fcinfo, 1, service_tenant(fcinfo));
}

/* --- out ----------------------------------------------------------------------- */

/*
 * To try counts as a use, whether it opens or not: who guesses contexts is slowed like
 * who decrypts in a loop.  It is opened before its entry is written, so that an entry
 * means a use: what does not open is no use of it.  To the limits a value is its own
 * credential, each tenant's by itself; to an entry its name is the start of its SHA-256.
 */
text *
CredentialOpen(SecretOperation operation, const pg_uuid_t *tenant_id, const bytea *sealed,
			   const Plain *context, const char *purpose)
{
	const char *data = VARDATA_ANY(sealed);
	Size		len = VARSIZE_ANY_EXHDR(sealed);
	uint8		digest[BW_SHA256_LEN];
	pg_uuid_t	credential_id;
	char		name[VALUE_NAME_LEN + 1] = "";
	text	   *opened;

	SecretRequireService(tenant_id);
	bw_sha256(data, len, digest);
	bw_hex_encode(digest, VALUE_NAME_LEN / 2, name);
	bw_sha256_two(tenant_id->data, UUID_LEN, digest, sizeof(digest), digest);
	memcpy(credential_id.data, digest, UUID_LEN);
	MeterUse(operation, &credential_id);
	opened = SecretOpenValue(tenant_id, SECRET_CREDENTIAL, context->data, context->len, data, len);
	SecretRecord(operation, "secret", name, purpose, NULL);
	return opened;
}

Datum
bulwark_decrypt(PG_FUNCTION_ARGS)
{
	pg_uuid_t	tenant_id = *SecretTenant();
	char	   *purpose = PurposeOfArgument(fcinfo, 1);
	Plain		context;

	ContextOfArgument(&context, fcinfo, 2);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	DerivedRefuse();
	PG_RETURN_TEXT_P(PlainToText(CredentialOpen(SECRET_DECRYPT, &tenant_id, PG_GETARG_BYTEA_PP(0), &context, purpose)));
}

/*
 * 42501 unless the identity in force may read what is encrypted.  At every value no
 * more than a comparison, while nothing has changed about it.
 */
static void
require_decrypt(void)
{
	static const char resource[] = "data";
	static const char action[] = "decrypt";
	static uint64 permitted_epoch = 0;
	uint64		epoch = IdentityEpoch;

	if (likely(IdentityCurrent() != NULL && permitted_epoch == IdentityEpoch))
		return;
	if (GrantFor(resource, sizeof(resource) - 1, action, sizeof(action) - 1) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to decrypt"),
				 errdetail("The identity needs data:decrypt.")));
	permitted_epoch = epoch;	/* as it was before we looked */
}

/* Data of the identity's tenant: value is argument 0, context 1. */
static text *
open_data(FunctionCallInfo fcinfo, SecretType type)
{
	pg_uuid_t	tenant_id = *SecretTenant();
	bytea	   *sealed;
	Plain		context;
	text	   *opened;

	require_decrypt();
	ContextOfArgument(&context, fcinfo, 1);
	DerivedRefuse();
	SecretMeter(SECRET_DECRYPT, NULL);
	sealed = PG_GETARG_BYTEA_PP(0);
	opened = SecretOpenValue(&tenant_id, type, context.data, context.len,
							 VARDATA_ANY(sealed), VARSIZE_ANY_EXHDR(sealed));
	PG_FREE_IF_COPY(sealed, 0);
	return opened;
}

Datum
bulwark_decrypt_text(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(PlainToText(open_data(fcinfo, SECRET_TEXT)));
}

Datum
bulwark_decrypt_bytea(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_BYTEA_P(open_data(fcinfo, SECRET_BYTEA));
}

/*
 * It was a document when it was sealed; if this server does not read it as one, it
 * says that and nothing of it.
 */
Datum
bulwark_decrypt_jsonb(PG_FUNCTION_ARGS)
{
	text	   *opened;
	char	   *json;
	Datum		document;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	opened = PlainToText(open_data(fcinfo, SECRET_JSONB));
	json = SecretAlloc(CurrentMemoryContext, VARSIZE(opened) - VARHDRSZ + 1);
	memcpy(json, VARDATA(opened), VARSIZE(opened) - VARHDRSZ);
	if (!PlainToDocument(json, &document))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("the value holds no document that this server reads")));
	bw_wipe(json, VARSIZE(opened) - VARHDRSZ);
	bw_wipe(VARDATA(opened), VARSIZE(opened) - VARHDRSZ);
	PG_RETURN_DATUM(document);
}

void
ValueInit(void)
{
	DefineCustomIntVariable("bulwark.secret_padding",
							"Credentials have their lengths hidden among multiples of this many bytes.",
							"Of values made from then on. 0: the length shows.",
							&secret_padding, 64, 0, 65536,
							PGC_SIGHUP, GUC_UNIT_BYTE | GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	DefineCustomIntVariable("bulwark.data_padding",
							"Encrypted texts, bytes and documents have their lengths hidden among multiples of this many bytes.",
							"Of values made from then on. 0: the length shows.",
							&data_padding, 0, 0, 65536,
							PGC_SIGHUP, GUC_UNIT_BYTE | GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
}
