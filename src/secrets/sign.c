/*
 * sign.c
 *		A credential signs, and is not shown.
 */
#include "secrets/values.h"

#include "utils/builtins.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#define SIGN_KEY_MIN	16		/* bytes: NIST SP 800-107, SP 800-131A ask for 112 bits */

PG_FUNCTION_INFO_V1(bulwark_hmac_sign);

static const EVP_MD *
hash_named(FunctionCallInfo fcinfo, int n)
{
	char	   *name = PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));

	if (name != NULL && strcmp(name, "sha256") == 0)
		return EVP_sha256();
	if (name != NULL && strcmp(name, "sha384") == 0)
		return EVP_sha384();
	if (name != NULL && strcmp(name, "sha512") == 0)
		return EVP_sha512();
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the algorithm must be sha256, sha384 or sha512")));
	return NULL;				/* not reached */
}

/*
 * What asks for another algorithm, or of a key too short, is on the record like a
 * signature, and counts as one: whoever may not sign learns nothing of the key, and
 * whoever may is seen trying.
 */
Datum
bulwark_hmac_sign(PG_FUNCTION_ARGS)
{
	pg_uuid_t	tenant_id = *SecretTenant();
	char	   *purpose = PurposeOfArgument(fcinfo, 2);
	const EVP_MD *hash;
	bytea	   *payload,
			   *signature;
	Plain		context;
	text	   *key;
	unsigned int len = 0;

	ContextOfArgument(&context, fcinfo, 4);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	DerivedRefuse();
	payload = PG_GETARG_BYTEA_PP(1);
	key = CredentialOpen(SECRET_HMAC_SIGN, &tenant_id, PG_GETARG_BYTEA_PP(0), &context, purpose);
	hash = hash_named(fcinfo, 3);
	if (VARSIZE(key) - VARHDRSZ < SIGN_KEY_MIN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a key of fewer than %d bytes does not sign", SIGN_KEY_MIN)));

	signature = palloc(VARHDRSZ + EVP_MAX_MD_SIZE);
	if (HMAC(hash, VARDATA(key), VARSIZE(key) - VARHDRSZ,
			 (const unsigned char *) VARDATA_ANY(payload), VARSIZE_ANY_EXHDR(payload),
			 (unsigned char *) VARDATA(signature), &len) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute the signature")));
	bw_wipe(VARDATA(key), VARSIZE(key) - VARHDRSZ);
	SET_VARSIZE(signature, VARHDRSZ + len);
	PG_RETURN_BYTEA_P(signature);
}
