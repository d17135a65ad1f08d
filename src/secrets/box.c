/*
 * box.c
 *		Secrets that a client seals itself, so that no statement, parameter or log
 *		ever has the plaintext.
 *
 *		The client makes an anonymous box of libsodium's (crypto_box_seal) to the
 *		tenant's public key.  Inside are, besides the secret, all that it is meant
 *		for: key, tenant, type, context, and a nonce and time by which it is taken
 *		once and not for long.
 *
 *		magic "bwb1" | key id (16) | tenant (16) | type (1) | nonce (24) |
 *		time, seconds of Unix (8) | length of context (2) | context | secret
 *
 *		To whoever sends it, every cause of a refusal is the same.
 */
#include "secrets/values.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#define BOX_MAGIC			"bwb1"
#define BOX_MAGIC_LEN		4
#define BOX_NONCE_LEN		24
#define BOX_SKEW			30		/* seconds */
#define UNIX_EPOCH_SECONDS	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

static int	sealed_lifetime;	/* bulwark.sealed_lifetime, seconds */

PG_FUNCTION_INFO_V1(bulwark_tenant_public_key);
PG_FUNCTION_INFO_V1(bulwark_encrypt_sealed);

typedef struct Box
{
	const uint8 *key_id;
	const uint8 *tenant;
	const uint8 *nonce;
	int64		made_at;
	const uint8 *context;
	Size		context_len;
	const char *secret;
	Size		secret_len;
} Box;

BW_NORETURN static void
refuse_box(const char *cause)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the sealed value is refused"),
			 errdetail_log("Cause: %s.", cause),
			 errhint("Seal it anew, to bulwark.tenant_public_key() as it is now, for this tenant and context.")));
}

static void
read_box(const char *data, Size len, Box *box)
{
	bw_reader	reader = {(const uint8_t *) data, len};
	const uint8_t *magic = bw_get_span(&reader, BOX_MAGIC_LEN);
	const uint8_t *type;

	box->key_id = bw_get_span(&reader, BW_ENVELOPE_KEY_ID_LEN);
	box->tenant = bw_get_span(&reader, UUID_LEN);
	type = bw_get_span(&reader, 1);
	box->nonce = bw_get_span(&reader, BOX_NONCE_LEN);
	box->made_at = (int64) bw_get_uint(&reader, 8);
	box->context_len = bw_get_uint(&reader, 2);
	box->context = bw_get_span(&reader, box->context_len);
	if (reader.failed || memcmp(magic, BOX_MAGIC, BOX_MAGIC_LEN) != 0)
		refuse_box("not in the format of a sealed value");
	if (*type != SECRET_CREDENTIAL)
		refuse_box("of another type");
	box->secret = data + reader.pos;
	box->secret_len = len - reader.pos;
}

/* Take the nonce, which nobody can take again; old ones are forgotten meanwhile. */
static void
take_nonce(const pg_uuid_t *tenant_id, const Box *box)
{
	static const Oid types[] = {UUIDOID, BYTEAOID, TIMESTAMPTZOID};
	bytea	   *nonce = palloc(VARHDRSZ + BOX_NONCE_LEN);
	Datum		values[3];
	TrustedScope scope;
	uint64		taken;

	SET_VARSIZE(nonce, VARHDRSZ + BOX_NONCE_LEN);
	memcpy(VARDATA(nonce), box->nonce, BOX_NONCE_LEN);
	values[0] = UUIDPGetDatum(tenant_id);
	values[1] = PointerGetDatum(nonce);
	values[2] = TimestampTzGetDatum((box->made_at - UNIX_EPOCH_SECONDS) * USECS_PER_SEC);

	TrustedBegin(&scope);
	TrustedExec("DELETE FROM bulwark_internal.sealed_nonces WHERE ctid = ANY (ARRAY("
				"SELECT ctid FROM bulwark_internal.sealed_nonces WHERE made_at < pg_catalog.now() - '2 days'::pg_catalog.interval "
				"ORDER BY made_at LIMIT 100 FOR UPDATE SKIP LOCKED))", 0, NULL, NULL, NULL);
	taken = TrustedExec("INSERT INTO bulwark_internal.sealed_nonces (tenant_id, nonce, made_at) VALUES ($1, $2, $3) "
						"ON CONFLICT DO NOTHING", 3, types, values, NULL);
	TrustedEnd(&scope);
	if (taken != 1)
		refuse_box("used before");
}

static void
check_box(const pg_uuid_t *tenant_id, const uint8 *key_id, const Plain *context, const Box *box)
{
	int64		now = GetCurrentTimestamp() / USECS_PER_SEC + UNIX_EPOCH_SECONDS;

	if (memcmp(box->key_id, key_id, BW_ENVELOPE_KEY_ID_LEN) != 0)
		refuse_box("for another key");
	if (memcmp(box->tenant, tenant_id, UUID_LEN) != 0)
		refuse_box("for another tenant");
	if (box->context_len != context->len || memcmp(box->context, context->data, context->len) != 0)
		refuse_box("for another context");
	if (box->made_at > now + BOX_SKEW || box->made_at < now - sealed_lifetime)
		refuse_box("its time is not now");
	if (!pg_verify_mbstr(PG_UTF8, box->secret, box->secret_len, true) ||
		memchr(box->secret, '\0', box->secret_len) != NULL)
		refuse_box("its secret is not a text in UTF-8");
}

Datum
bulwark_tenant_public_key(PG_FUNCTION_ARGS)
{
	pg_uuid_t	tenant_id = *SecretTenant();
	uint8		key_id[BW_ENVELOPE_KEY_ID_LEN];
	bytea	   *result = palloc(VARHDRSZ + TENANT_BOX_PUBLIC_LEN);

	SET_VARSIZE(result, VARHDRSZ + TENANT_BOX_PUBLIC_LEN);
	TenantBoxPublic(&tenant_id, key_id, (uint8 *) VARDATA(result));
	PG_RETURN_BYTEA_P(result);
}

Datum
bulwark_encrypt_sealed(PG_FUNCTION_ARGS)
{
	pg_uuid_t	tenant_id = *SecretTenant();
	bytea	   *sealed,
			   *value;
	Plain		context;
	uint8		key_id[BW_ENVELOPE_KEY_ID_LEN];
	char	   *plain;
	Size		len;
	Box			box;

	ContextOfArgument(&context, fcinfo, 1);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	sealed = PG_GETARG_BYTEA_PP(0);
	plain = TenantBoxOpen(&tenant_id, VARDATA_ANY(sealed), VARSIZE_ANY_EXHDR(sealed), key_id, &len);
	if (plain == NULL)
		refuse_box("it does not open under the tenant's key");
	read_box(plain, len, &box);
	check_box(&tenant_id, key_id, &context, &box);
	take_nonce(&tenant_id, &box);
	value = SecretSeal(&tenant_id, SECRET_CREDENTIAL, context.data, context.len,
					   box.secret, box.secret_len, secret_padding);
	bw_wipe(plain, len);
	PG_RETURN_BYTEA_P(value);
}

void
BoxInit(void)
{
	DefineCustomIntVariable("bulwark.sealed_lifetime",
							"Time after its making for which a value that a client sealed is taken.",
							NULL, &sealed_lifetime, 600, 1, 86400,
							PGC_SIGHUP, GUC_UNIT_S | GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
}
