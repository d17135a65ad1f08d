/*
 * secrets.h
 *		Encrypted values, the tenants' keys that they are under, and the registry
 *		of credentials.
 */
#ifndef BULWARK_SECRETS_H
#define BULWARK_SECRETS_H

#include "base/base.h"

#include "common/envelope.h"
#include "session/session.h"
#include "tenancy/tenancy.h"

extern void SecretsInit(void);

/* What a value is; bound with it, so that it opens as nothing else. */
typedef enum SecretType
{
	SECRET_CREDENTIAL = 's',	/* type secret */
	SECRET_TEXT = 't',			/* encrypted_text */
	SECRET_BYTEA = 'b',			/* encrypted_bytea */
	SECRET_JSONB = 'j',			/* encrypted_jsonb */
	SECRET_REGISTRY = 'r',		/* a version of a registered credential */
	SECRET_CONTENT = 'c'		/* a column of a ledger content */
} SecretType;

/* --- tenant_key.c: the keys of tenants --------------------------------------- */

/*
 * A tenant's key, opened.  Cached in the back end, bounded; valid until the next
 * call of these functions or the next statement.
 */
typedef struct TenantKey
{
	pg_uuid_t	tenant_id;
	int32		version;
	uint8		key_id[BW_ENVELOPE_KEY_ID_LEN];
	const bw_envelope_key *key; /* prepared for use */
} TenantKey;

/* The active key of a tenant, made if it has none.  55000 without a root key,
 * without the outside component, for a destroyed or suspended tenant. */
extern const TenantKey *TenantKeyActive(const pg_uuid_t *tenant_id);

/* The key that a value is under; NULL if it may not be used (any more): unknown,
 * below the minimum version, destroyed, its tenant suspended, or not that tenant's
 * (NULL: any), whose key is left alone then. 55000 without a root key or component
 * store. */
extern const TenantKey *TenantKeyById(const pg_uuid_t *tenant_id, const uint8 key_id[BW_ENVELOPE_KEY_ID_LEN]);

/*
 * HMAC-SHA256 under the tenant's index key, domain-separated by label.  The key is
 * made if there is none.  Raises as TenantKeyActive does.
 */
extern void TenantIndexHmac(const pg_uuid_t *tenant_id, const char *label,
							const void *data, Size len, uint8 out[BW_SHA256_LEN]);

/*
 * The tenant's X25519 key for sealed boxes (crypto_box_seal), made if there is
 * none.  Its id is the start of SHA-256("bulwark box key v1" || public key), so that
 * a client can compute it.  Raises as TenantKeyActive does.
 */
#define TENANT_BOX_PUBLIC_LEN	32
extern void TenantBoxPublic(const pg_uuid_t *tenant_id, uint8 key_id[BW_ENVELOPE_KEY_ID_LEN],
							uint8 public_key[TENANT_BOX_PUBLIC_LEN]);
/*
 * Open a sealed box with the tenant's active box key, whose id is returned for
 * comparison with the one inside; NULL for every cause alike, sealed to a retired
 * key among them.  SecretAlloc'd in the current context, with a NUL behind.
 */
extern char *TenantBoxOpen(const pg_uuid_t *tenant_id, const void *sealed, Size sealedlen,
						   uint8 key_id[BW_ENVELOPE_KEY_ID_LEN], Size *plainlen);

/*
 * Asked before a tenant's keys are destroyed: raise to forbid it (a legal hold).
 */
typedef void (*TenantKeyHold) (const pg_uuid_t *tenant_id);
extern void TenantKeyHoldRegister(TenantKeyHold hold);

/* --- envelope.c: values ------------------------------------------------------- */

/*
 * Seal under the tenant's active key.  pad: the length is hidden among multiples
 * of that many bytes (0: not padded).  A palloc'd varlena.
 */
extern bytea *SecretSeal(const pg_uuid_t *tenant_id, SecretType type,
						 const void *context, Size contextlen,
						 const void *plain, Size len, Size pad);

/*
 * Open a value of that tenant.  SecretAlloc'd in the current context (one byte
 * more than *plainlen, NUL).  SecretTryOpen: NULL for every cause alike.
 * SecretOpen raises one and the same error for all of them.
 */
extern char *SecretTryOpen(const pg_uuid_t *tenant_id, SecretType type,
						   const void *context, Size contextlen,
						   const void *sealed, Size sealedlen, Size *plainlen);
extern char *SecretOpen(const pg_uuid_t *tenant_id, SecretType type,
						const void *context, Size contextlen,
						const void *sealed, Size sealedlen, Size *plainlen);

/* The same as varlena, SecretAlloc'd: what a function returns. */
extern bytea *SecretOpenValue(const pg_uuid_t *tenant_id, SecretType type,
							  const void *context, Size contextlen,
							  const void *sealed, Size sealedlen);

/* The key that a value is under, and whether it has a context; false: no value. */
extern bool SecretInspect(const void *sealed, Size sealedlen,
						  uint8 key_id[BW_ENVELOPE_KEY_ID_LEN], bool *has_context);
/*
 * The value under the tenant's active key, its context and padding as they were;
 * NULL when it is under that key already.  Raises SecretOpen's error if it does not
 * open.
 */
extern bytea *SecretReseal(const pg_uuid_t *tenant_id, SecretType type,
						   const void *sealed, Size sealedlen);
/* The same, and *opens false instead of the error. */
extern bytea *SecretTryReseal(const pg_uuid_t *tenant_id, SecretType type,
							  const void *sealed, Size sealedlen, bool *opens);

/* The identity's tenant; 28000 without an identity. */
extern const pg_uuid_t *SecretTenant(void);

/* --- use.c: who may, how often, and on the record ------------------------------ */

typedef enum SecretOperation
{
	SECRET_DECRYPT, SECRET_HMAC_SIGN, SECRET_BLIND_INDEX
} SecretOperation;

/* The limits of what leaves no entry each time: blind indexes, and (SECRET_DECRYPT)
 * decrypted data.  Cheap; the credential counts for nothing here. */
extern void SecretMeter(SecretOperation operation, const pg_uuid_t *credential_id);

/* --- derived.c: nothing keeps a plaintext ---------------------------------------- */

/* Call before a plaintext is given out: 0A000 while a command is at work that keeps
 * what it computes (an index, a materialized view, a table made from a query). */
extern void DerivedRefuse(void);
extern void DerivedInit(void);

/* --- value.c, box.c, leak.c, copy_line.c ------------------------------------------  */
extern void ValueInit(void);
extern void BoxInit(void);
extern void LeakInit(void);
extern void CopyLineInit(void);

#endif							/* BULWARK_SECRETS_H */
