/*
 * jws.c
 *		Signatures of compact JWS (RFC 7515, 7518, 8037), with OpenSSL's EVP.
 */
#include "session/jose.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#define ECDSA_DER_MAX	160		/* two integers of 66 bytes, with their headers */

PG_FUNCTION_INFO_V1(bulwark_jws_verify);

bool
JoseAsciiOnly(void)
{
	return GetDatabaseEncoding() != PG_UTF8;
}

/* HMAC, compared in constant time. */
static bool
verify_hmac(const JwkKey *key, const EVP_MD *digest, const JoseParts *parts)
{
	uint8		mac[EVP_MAX_MD_SIZE];
	unsigned int len;

	return HMAC(digest, key->secret, key->secret_len,
				(const uint8 *) parts->input, parts->input_len, mac, &len) != NULL &&
		len == parts->signature_len &&
		bw_equal(mac, parts->signature, len);
}

/* JWS has r || s, each of the field's length; OpenSSL wants DER.  0: refused. */
static size_t
ecdsa_der(const uint8 *raw, size_t len, int coordinate_len, uint8 der[ECDSA_DER_MAX])
{
	ECDSA_SIG  *sig;
	BIGNUM	   *r;
	BIGNUM	   *s;
	int			n = 0;

	if (len != 2 * coordinate_len)
		return 0;
	sig = ECDSA_SIG_new();
	r = BN_bin2bn(raw, coordinate_len, NULL);
	s = BN_bin2bn(raw + coordinate_len, coordinate_len, NULL);
	if (sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s))
	{
		r = s = NULL;			/* the signature's now */
		n = i2d_ECDSA_SIG(sig, &der);
	}
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(sig);
	return n > 0 ? n : 0;
}

static bool
verify_public(const JwkKey *key, const JwsAlgorithm *algorithm, const EVP_MD *digest,
			  const JoseParts *parts)
{
	const uint8 *signature = parts->signature;
	size_t		len = parts->signature_len;
	uint8		der[ECDSA_DER_MAX];
	EVP_MD_CTX *ctx;
	EVP_PKEY_CTX *pctx;
	bool		ok;

	if (algorithm->family == JWS_ECDSA)
	{
		len = ecdsa_der(signature, len, algorithm->coordinate_len, der);
		if (len == 0)
			return false;
		signature = der;
	}

	ctx = EVP_MD_CTX_new();
	ok = ctx != NULL && EVP_DigestVerifyInit(ctx, &pctx, digest, NULL, key->pkey) == 1;
	if (ok && algorithm->family == JWS_PSS)
		ok = EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 &&
			EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) == 1;
	ok = ok && EVP_DigestVerify(ctx, signature, len,
								(const uint8 *) parts->input, parts->input_len) == 1;
	EVP_MD_CTX_free(ctx);
	return ok;
}

/* The key that a header selects: by its kid, or, without one, the only one that fits. */
static const JwkKey *
select_key(const JoseHeader *header, List *keys)
{
	const JwkKey *found = NULL;
	ListCell   *cell;

	foreach(cell, keys)
	{
		const JwkKey *key = lfirst(cell);
		bool		fits = (key->algorithms & header->algorithm->bit) != 0;

		if (header->kid)
		{
			if (key->kid && strcmp(key->kid, header->kid) == 0)
				return fits ? key : NULL;
		}
		else if (fits)
		{
			if (found)
				return NULL;
			found = key;
		}
	}
	return found;
}

const JwkKey *
JwsVerify(const JoseParts *parts, const JoseHeader *header, List *keys, uint32 algorithms)
{
	const JwsAlgorithm *algorithm = header->algorithm;
	const EVP_MD *digest = algorithm->digest ? EVP_get_digestbyname(algorithm->digest) : NULL;
	const JwkKey *key;
	bool		ok;

	if ((algorithms & algorithm->bit) == 0)
		RefuseToken("the token's algorithm is not among those allowed");
	key = select_key(header, keys);
	if (key == NULL)
		RefuseToken("no key, or more than one, fits the token's kid and algorithm");

	if (algorithm->family == JWS_HMAC)
		ok = verify_hmac(key, digest, parts);
	else
		ok = verify_public(key, algorithm, digest, parts);
	if (!ok)
	{
		ERR_clear_error();
		RefuseToken("the signature does not verify");
	}
	return key;
}

/* jws_verify(token, jwks, algorithms): the payload of a JWS that verifies. */
Datum
bulwark_jws_verify(PG_FUNCTION_ARGS)
{
	text	   *token = PG_GETARG_TEXT_PP(0);
	Jsonb	   *jwks = PG_GETARG_JSONB_P(1);
	ArrayType  *names = PG_GETARG_ARRAYTYPE_P(2);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "bulwark jws_verify",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	uint8	   *buffer = palloc(JOSE_MAX_TOKEN);
	JoseParts	parts;
	JoseHeader	header;
	uint32		algorithms;
	bytea	   *payload;
	const char *cause;

	cause = JoseSplit(VARDATA_ANY(token), VARSIZE_ANY_EXHDR(token), buffer, &parts);
	if (cause == NULL)
		cause = JoseHeaderParse(parts.header, parts.header_len, JoseAsciiOnly(), &header);
	if (cause)
		RefuseToken(cause);
	algorithms = JwsAlgorithmSet(names);
	JwsVerify(&parts, &header, JwkSetParse(jwks, algorithms), algorithms);

	MemoryContextSwitchTo(caller);
	payload = (bytea *) cstring_to_text_with_len((const char *) parts.payload, parts.payload_len);
	MemoryContextDelete(context);
	PG_RETURN_BYTEA_P(payload);
}
