/*
 * envelope.c
 *		Values sealed and opened for a tenant.
 */
#include "secrets/keys.h"

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define NONCES_AT_ONCE	32

static const struct config_enum_entry suite_options[] = {
	{"xaes-256-gcm", BW_SUITE_XAES_256_GCM, false},
	{"xchacha20-poly1305", BW_SUITE_XCHACHA20_POLY1305, false},
	{NULL, 0, false}
};

static int	suite = BW_SUITE_XAES_256_GCM;	/* bulwark.encryption_suite */

/*
 * Nonces, drawn from the kernel's generator many at a time.  A process takes none
 * that it has not drawn itself: one that was forked has its parent's buffer, but not
 * its pid.  What was taken is wiped, so that it cannot be taken again.
 */
static uint8 nonces[NONCES_AT_ONCE][BW_ENVELOPE_NONCE_LEN];
static int	nonces_left = 0;
static int	nonces_pid = 0;

static void
next_nonce(uint8 nonce[BW_ENVELOPE_NONCE_LEN])
{
	if (unlikely(nonces_left == 0 || nonces_pid != MyProcPid))
	{
		nonces_left = 0;
		if (!bw_random(nonces, sizeof(nonces)))
			elog(ERROR, "could not make random bytes");
		nonces_pid = MyProcPid;
		nonces_left = NONCES_AT_ONCE;
	}
	nonces_left--;
	memcpy(nonce, nonces[nonces_left], BW_ENVELOPE_NONCE_LEN);
	sodium_memzero(nonces[nonces_left], BW_ENVELOPE_NONCE_LEN);
}

const pg_uuid_t *
SecretTenant(void)
{
	const EffectiveIdentity *effective = IdentityCurrent();

	if (effective == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("no identity is in force"),
				 errhint("Prove one first, with a ticket or bulwark.authenticate().")));
	return &effective->identity.tenant_id;
}

/* --- sealing ----------------------------------------------------------------------------- */

/* Under the tenant's active key, as binding, pad and flags have it: a varlena. */
static bytea *
seal(const bw_binding *binding, const void *plain, Size len, Size pad)
{
	const TenantKey *key = TenantKeyActive((const pg_uuid_t *) binding->tenant);
	Size		total = bw_envelope_len(len, binding->context_len > 0 || binding->commitment != NULL, pad);
	uint8		nonce[BW_ENVELOPE_NONCE_LEN];
	bytea	   *result;

	if (total == 0 || !AllocSizeIsValid(total + VARHDRSZ))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the value is too long to be encrypted")));
	result = palloc(total + VARHDRSZ);
	SET_VARSIZE(result, total + VARHDRSZ);
	next_nonce(nonce);
	if (!bw_envelope_seal(key->key, key->key_id, (bw_suite) suite, nonce, binding, plain, len, pad,
						  (uint8 *) VARDATA(result)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not encrypt a value")));
	return result;
}

bytea *
SecretSeal(const pg_uuid_t *tenant_id, SecretType type, const void *context, Size contextlen,
		   const void *plain, Size len, Size pad)
{
	bw_binding	binding = {tenant_id->data, (uint8) type, context, contextlen, NULL};

	return seal(&binding, plain, len, pad);
}

/* --- opening ------------------------------------------------------------------------------ */

BW_NORETURN static void
refuse_value(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the value cannot be decrypted"),
			 errdetail("It belongs to another tenant, type or context, has been altered, or its key is no longer in use.")));
	pg_unreachable();
}

typedef bool (*Opener) (const bw_envelope_key *key, const bw_envelope *envelope, const uint8_t *data,
						const bw_binding *binding, uint8_t *out, bw_opened *opened);

/*
 * What is in a value of that tenant, behind room for a varlena's header and with a
 * byte behind it; NULL for every cause alike.
 */
static uint8 *
try_open(Opener opener, const bw_binding *binding, const void *sealed, bw_envelope *envelope, Size sealedlen,
		 bw_opened *opened)
{
	const TenantKey *key;
	uint8	   *out;

	if (!bw_envelope_parse(sealed, sealedlen, envelope))
		return NULL;
	key = TenantKeyById((const pg_uuid_t *) binding->tenant, envelope->key_id);
	if (key == NULL)
		return NULL;
	out = (uint8 *) SecretAllocRaw(CurrentMemoryContext, VARHDRSZ + envelope->sealed_len) + VARHDRSZ;
	return opener(key->key, envelope, sealed, binding, out, opened) ? out : NULL;
}

char *
SecretTryOpen(const pg_uuid_t *tenant_id, SecretType type, const void *context, Size contextlen,
			  const void *sealed, Size sealedlen, Size *plainlen)
{
	bw_binding	binding = {tenant_id->data, (uint8) type, context, contextlen, NULL};
	bw_envelope envelope;
	bw_opened	opened;
	uint8	   *out = try_open(bw_envelope_open, &binding, sealed, &envelope, sealedlen, &opened);

	if (out == NULL)
		return NULL;
	out[opened.text_at + opened.text_len] = '\0';	/* where the tag was, if not padding */
	*plainlen = opened.text_len;
	return (char *) out + opened.text_at;
}

char *
SecretOpen(const pg_uuid_t *tenant_id, SecretType type, const void *context, Size contextlen,
		   const void *sealed, Size sealedlen, Size *plainlen)
{
	char	   *plain = SecretTryOpen(tenant_id, type, context, contextlen, sealed, sealedlen, plainlen);

	if (plain == NULL)
		refuse_value();
	return plain;
}

/* What stands before the text is of whole words, so that the header is aligned. */
StaticAssertDecl(VARHDRSZ == 4 && BW_COMMITMENT_LEN % 4 == 0, "the text of an envelope is not aligned");

bytea *
SecretOpenValue(const pg_uuid_t *tenant_id, SecretType type, const void *context, Size contextlen,
				const void *sealed, Size sealedlen)
{
	Size		len;
	char	   *plain = SecretOpen(tenant_id, type, context, contextlen, sealed, sealedlen, &len);
	bytea	   *value = (bytea *) (plain - VARHDRSZ);

	SET_VARSIZE(value, VARHDRSZ + len);
	return value;
}

/* --- sealing anew ------------------------------------------------------------------------- */

bool
SecretInspect(const void *sealed, Size sealedlen, uint8 key_id[BW_ENVELOPE_KEY_ID_LEN], bool *has_context)
{
	bw_envelope envelope;

	if (!bw_envelope_parse(sealed, sealedlen, &envelope))
		return false;
	memcpy(key_id, envelope.key_id, BW_ENVELOPE_KEY_ID_LEN);
	*has_context = (envelope.flags & BW_ENVELOPE_CONTEXT) != 0;
	return true;
}

/* A padded value is padded to the length that it had. */
bytea *
SecretTryReseal(const pg_uuid_t *tenant_id, SecretType type, const void *sealed, Size sealedlen, bool *opens)
{
	bw_binding	binding = {tenant_id->data, (uint8) type, NULL, 0, NULL};
	bw_envelope envelope;
	bw_opened	opened;
	Size		pad = 0;
	uint8	   *out;

	*opens = bw_envelope_parse(sealed, sealedlen, &envelope);
	if (!*opens)
		return NULL;
	if (memcmp(TenantKeyActive(tenant_id)->key_id, envelope.key_id, BW_ENVELOPE_KEY_ID_LEN) == 0)
		return NULL;
	out = try_open(bw_envelope_open_any_context, &binding, sealed, &envelope, sealedlen, &opened);
	*opens = out != NULL;
	if (!*opens)
		return NULL;
	if ((envelope.flags & BW_ENVELOPE_CONTEXT) != 0)
		binding.commitment = out + opened.commitment_at;
	if ((envelope.flags & BW_ENVELOPE_PADDED) != 0)
		pad = envelope.sealed_len - BW_ENVELOPE_TAG_LEN;
	return seal(&binding, out + opened.text_at, opened.text_len, pad);
}

bytea *
SecretReseal(const pg_uuid_t *tenant_id, SecretType type, const void *sealed, Size sealedlen)
{
	bool		opens;
	bytea	   *result = SecretTryReseal(tenant_id, type, sealed, sealedlen, &opens);

	if (!opens)
		refuse_value();
	return result;
}

void
EnvelopeInit(void)
{
	DefineCustomEnumVariable("bulwark.encryption_suite",
							 "Cipher that new values are encrypted with.",
							 "Values of either are decrypted.",
							 &suite, BW_SUITE_XAES_256_GCM, suite_options,
							 PGC_SIGHUP, GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
}
