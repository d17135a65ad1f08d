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

/* The varlena of a value of that length, with its header. */
static bytea *
envelope_alloc(Size len, Size pad, bool context)
{
	Size		total = bw_envelope_len(len, pad, context);
	bytea	   *result;

	if (total == 0 || !AllocSizeIsValid(total + VARHDRSZ))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the value is too long to be encrypted")));
	result = palloc(total + VARHDRSZ);
	SET_VARSIZE(result, total + VARHDRSZ);
	return result;
}

bytea *
SecretSeal(const pg_uuid_t *tenant_id, SecretType type, const void *context, Size contextlen,
		   const void *plain, Size len, Size pad)
{
	bw_binding	binding = {tenant_id->data, (uint8) type, context, contextlen};
	bytea	   *result = envelope_alloc(len, pad, contextlen > 0);
	const TenantKey *key = TenantKeyActive(tenant_id);
	uint8		nonce[BW_ENVELOPE_NONCE_LEN];

	next_nonce(nonce);
	if (!bw_envelope_seal(key->key, key->key_id, (bw_suite) suite, nonce, &binding, plain, len, pad,
						  (uint8 *) VARDATA(result)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not encrypt a value")));
	return result;
}

/*
 * The opened value behind room bytes for a header, and a NUL; NULL if it does not
 * open.
 */
static char *
try_open(const pg_uuid_t *tenant_id, SecretType type, const void *context, Size contextlen,
		 const void *sealed, Size sealedlen, Size room, Size *plainlen)
{
	bw_binding	binding = {tenant_id->data, (uint8) type, context, contextlen};
	bw_envelope envelope;
	const TenantKey *key;
	char	   *plain;
	size_t		len;

	if (!bw_envelope_parse(sealed, sealedlen, &envelope))
		return NULL;
	key = TenantKeyById(envelope.key_id);
	if (key == NULL || memcmp(&key->tenant_id, tenant_id, UUID_LEN) != 0)
		return NULL;
	plain = SecretAlloc(CurrentMemoryContext, room + envelope.sealed_len + 1);
	if (!bw_envelope_open(key->key, &envelope, sealed, &binding, (uint8 *) plain + room, &len))
		return NULL;
	plain[room + len] = '\0';
	*plainlen = len;
	return plain;
}

BW_NORETURN static void
refuse_value(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the value cannot be decrypted"),
			 errdetail("It belongs to another tenant, type or context, has been altered, or its key is no longer in use.")));
}

char *
SecretTryOpen(const pg_uuid_t *tenant_id, SecretType type, const void *context, Size contextlen,
			  const void *sealed, Size sealedlen, Size *plainlen)
{
	return try_open(tenant_id, type, context, contextlen, sealed, sealedlen, 0, plainlen);
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

bytea *
SecretOpenValue(const pg_uuid_t *tenant_id, SecretType type, const void *context, Size contextlen,
				const void *sealed, Size sealedlen)
{
	Size		len;
	char	   *value = try_open(tenant_id, type, context, contextlen, sealed, sealedlen, VARHDRSZ, &len);

	if (value == NULL)
		refuse_value();
	SET_VARSIZE(value, VARHDRSZ + len);
	return (bytea *) value;
}

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

/* The old key is copied: asking for the new one may throw it out of the cache. */
bytea *
SecretReseal(SecretType type, const void *sealed, Size sealedlen)
{
	bw_envelope envelope;
	bw_envelope_key from;
	const TenantKey *key;
	pg_uuid_t	tenant_id;
	bw_binding	binding = {tenant_id.data, (uint8) type, NULL, 0};
	uint8		nonce[BW_ENVELOPE_NONCE_LEN];
	bytea	   *result;
	volatile bool resealed;

	if (!bw_envelope_parse(sealed, sealedlen, &envelope))
		return NULL;
	key = TenantKeyById(envelope.key_id);
	if (key == NULL)
		return NULL;
	tenant_id = key->tenant_id;
	result = palloc(sealedlen + VARHDRSZ);
	SET_VARSIZE(result, sealedlen + VARHDRSZ);
	next_nonce(nonce);

	from = *key->key;
	PG_TRY();
	{
		key = TenantKeyActive(&tenant_id);
		resealed = bw_envelope_reseal(&from, &envelope, sealed, key->key, key->key_id, (bw_suite) suite,
									  nonce, &binding, (uint8 *) VARDATA(result));
	}
	PG_FINALLY();
	{
		bw_wipe(&from, sizeof(from));
	}
	PG_END_TRY();
	return resealed ? result : NULL;
}

void
EnvelopeInit(void)
{
	DefineCustomEnumVariable("bulwark.encryption_suite",
							 "Cipher that new values are encrypted with.",
							 "Values of either are decrypted.",
							 &suite, BW_SUITE_XAES_256_GCM, suite_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
}
