/*
 * jwk.c
 *		JSON Web Keys (RFC 7517, 7518, 8037): from jsonb to a key that OpenSSL
 *		verifies with, each pinned to the algorithms that it may be used with.
 */
#include "session/jose.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

#define RSA_MIN_BITS	2048
#define RSA_MAX_BITS	8192
#define MEMBER_MAX		(RSA_MAX_BITS / 8)	/* bytes of a base64url member */

#define JWK_ERROR(...) \
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), __VA_ARGS__))

uint32
JwsAlgorithmSet(ArrayType *names)
{
	uint32		set = 0;
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *name = nulls[i] ? NULL : TextDatumGetCString(values[i]);
		const JwsAlgorithm *algorithm = name ? JwsAlgorithmByName(name) : NULL;

		if (algorithm == NULL)
			JWK_ERROR(errmsg("\"%s\" is not a supported algorithm", name ? name : "NULL"),
					  errhint("Supported are RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, HS256, HS384 and HS512."));
		set |= algorithm->bit;
	}
	if (set == 0)
		JWK_ERROR(errmsg("no algorithm is given"));
	return set;
}

/* A member of the key, or NULL when it has none of that name. */
static JsonbValue *
member(Jsonb *jwk, const char *name, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(&jwk->root, name, strlen(name), value);
}

static char *
string_member(Jsonb *jwk, const char *name)
{
	JsonbValue	value;

	if (member(jwk, name, &value) == NULL)
		return NULL;
	if (value.type != jbvString)
		JWK_ERROR(errmsg("member \"%s\" of the key is not a string", name));
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/* A member in canonical base64url that must be there; *encoded as it is written. */
static Size
bytes_member(Jsonb *jwk, const char *name, uint8 *out, Size cap, char **encoded)
{
	ssize_t		len;

	*encoded = string_member(jwk, name);
	if (*encoded == NULL)
		JWK_ERROR(errmsg("the key has no member \"%s\"", name));
	len = bw_base64url_decode(*encoded, strlen(*encoded), out, cap);
	if (len < 0)
		JWK_ERROR(errmsg("member \"%s\" of the key is not base64url without padding, or is too long", name));
	return len;
}

/* Is the key for verifying, as far as "use" and "key_ops" say? */
static bool
meant_to_verify(Jsonb *jwk)
{
	char	   *use = string_member(jwk, "use");
	JsonbValue	ops;
	JsonbValue	verify = {.type = jbvString, .val.string = {.val = "verify", .len = 6}};

	if (use != NULL && strcmp(use, "sig") != 0)
		return false;
	if (member(jwk, "key_ops", &ops) == NULL)
		return true;
	return ops.type == jbvBinary &&
		findJsonbValueFromContainer(ops.val.binary.data, JB_FARRAY, &verify) != NULL;
}

/* Private parts have no business in a database that only verifies. */
static void
refuse_private(Jsonb *jwk)
{
	static const char *const private_members[] = {"d", "p", "q", "dp", "dq", "qi", "oth"};
	JsonbValue	value;

	for (int i = 0; i < lengthof(private_members); i++)
		if (member(jwk, private_members[i], &value) != NULL)
			JWK_ERROR(errmsg("the key has private parts (member \"%s\")", private_members[i]),
					  errhint("Give the public key only, and take the private one as disclosed."));
}

/* --- OpenSSL: nothing in here raises, so that nothing is leaked -------------- */

/*
 * A public key from its parameters; NULL when OpenSSL refuses it, as it does a
 * point off the curve.  (Its further checks cost more than they find: that an
 * RSA modulus is composite, and the order of a point on a curve of prime order.)
 */
static EVP_PKEY *
public_key(const char *type, OSSL_PARAM_BLD *builder)
{
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
	EVP_PKEY_CTX *make = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY   *pkey = NULL;

	if (params == NULL || make == NULL ||
		EVP_PKEY_fromdata_init(make) <= 0 ||
		EVP_PKEY_fromdata(make, &pkey, EVP_PKEY_PUBLIC_KEY, params) <= 0)
	{
		EVP_PKEY_free(pkey);
		pkey = NULL;
		ERR_clear_error();
	}
	EVP_PKEY_CTX_free(make);
	OSSL_PARAM_free(params);
	return pkey;
}

static EVP_PKEY *
rsa_key(const uint8 *n, Size nlen, const uint8 *e, Size elen)
{
	OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
	BIGNUM	   *modulus = BN_bin2bn(n, nlen, NULL);
	BIGNUM	   *exponent = BN_bin2bn(e, elen, NULL);
	EVP_PKEY   *pkey = NULL;

	if (builder != NULL && modulus != NULL && exponent != NULL &&
		OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) &&
		OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent))
		pkey = public_key("RSA", builder);
	BN_free(exponent);
	BN_free(modulus);
	OSSL_PARAM_BLD_free(builder);
	return pkey;
}

static EVP_PKEY *
ec_key(const char *curve, const uint8 *point, Size len)
{
	OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
	EVP_PKEY   *pkey = NULL;

	if (builder != NULL &&
		OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, curve, 0) &&
		OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, len))
		pkey = public_key("EC", builder);
	OSSL_PARAM_BLD_free(builder);
	return pkey;
}

/* --- one key type each -------------------------------------------------------- */

static void
free_pkey(void *pkey)
{
	EVP_PKEY_free(pkey);
}

/* The key owns the handle: it goes with the current memory context. */
static void
adopt_pkey(JwkKey *key, EVP_PKEY *pkey, const char *kty)
{
	MemoryContextCallback *callback;

	if (pkey == NULL)
		JWK_ERROR(errmsg("the %s key is not a valid public key", kty));
	callback = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(*callback), MCXT_ALLOC_NO_OOM);
	if (callback == NULL)
	{
		EVP_PKEY_free(pkey);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	callback->func = free_pkey;
	callback->arg = pkey;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	key->pkey = pkey;
}

/* RFC 7638: the members that make the key, in order, without white space. */
static void
set_thumbprint(JwkKey *key, const char *json)
{
	bw_sha256(json, strlen(json), key->thumbprint);
}

static void
parse_rsa(JwkKey *key, Jsonb *jwk)
{
	uint8		n[MEMBER_MAX];
	uint8		e[8];
	char	   *n64;
	char	   *e64;
	Size		nlen = bytes_member(jwk, "n", n, sizeof(n), &n64);
	Size		elen = bytes_member(jwk, "e", e, sizeof(e), &e64);
	int			bits;

	if (nlen == 0 || n[0] == 0 || elen == 0 || e[0] == 0)
		JWK_ERROR(errmsg("a number of the RSA key is empty or has leading zero bytes"));
	bits = nlen * 8 - (7 - pg_leftmost_one_pos32(n[0]));
	if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS)
		JWK_ERROR(errmsg("the RSA key has %d bits, not %d to %d", bits, RSA_MIN_BITS, RSA_MAX_BITS));
	if ((n[nlen - 1] & 1) == 0 || (e[elen - 1] & 1) == 0 || (elen == 1 && e[0] < 3))
		JWK_ERROR(errmsg("the RSA key is not a valid public key"));
	adopt_pkey(key, rsa_key(n, nlen, e, elen), "RSA");
	set_thumbprint(key, psprintf("{\"e\":\"%s\",\"kty\":\"RSA\",\"n\":\"%s\"}", e64, n64));
}

static void
parse_ec(JwkKey *key, Jsonb *jwk, const JwsAlgorithm *algorithm)
{
	int			len = algorithm->coordinate_len;
	uint8		point[1 + 2 * 66];
	char	   *x64;
	char	   *y64;

	point[0] = POINT_CONVERSION_UNCOMPRESSED;
	if (bytes_member(jwk, "x", point + 1, len, &x64) != len ||
		bytes_member(jwk, "y", point + 1 + len, len, &y64) != len)
		JWK_ERROR(errmsg("a coordinate of the %s key is not %d bytes long", algorithm->curve, len));
	adopt_pkey(key, ec_key(algorithm->curve, point, 1 + 2 * len), "EC");
	set_thumbprint(key, psprintf("{\"crv\":\"%s\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}",
								 algorithm->curve, x64, y64));
}

static void
parse_okp(JwkKey *key, Jsonb *jwk, const char *curve)
{
	int			type = strcmp(curve, "Ed448") == 0 ? EVP_PKEY_ED448 : EVP_PKEY_ED25519;
	int			len = type == EVP_PKEY_ED448 ? 57 : 32;
	uint8		x[57];
	char	   *x64;
	EVP_PKEY   *pkey;

	if (bytes_member(jwk, "x", x, len, &x64) != len)
		JWK_ERROR(errmsg("the %s key is not %d bytes long", curve, len));
	pkey = EVP_PKEY_new_raw_public_key(type, NULL, x, len);
	if (pkey == NULL)
		ERR_clear_error();
	adopt_pkey(key, pkey, "OKP");
	set_thumbprint(key, psprintf("{\"crv\":\"%s\",\"kty\":\"OKP\",\"x\":\"%s\"}", curve, x64));
}

static void
parse_oct(JwkKey *key, Jsonb *jwk, const uint8 *secret, Size secret_len)
{
	uint8	   *bytes = SecretAlloc(CurrentMemoryContext, JWK_SECRET_MAX);
	char	   *json = SecretAlloc(CurrentMemoryContext, 64 + BW_BASE64URL_ENCODED_LEN(JWK_SECRET_MAX));
	char	   *k64;
	Size		len;

	if (secret == NULL)
		secret_len = bytes_member(jwk, "k", bytes, JWK_SECRET_MAX, &k64);
	else if (secret_len <= JWK_SECRET_MAX)
		memcpy(bytes, secret, secret_len);
	if (secret_len < JWK_SECRET_MIN || secret_len > JWK_SECRET_MAX)
		JWK_ERROR(errmsg("the symmetric key has %zu bytes, not %d to %d",
						 secret_len, JWK_SECRET_MIN, JWK_SECRET_MAX));
	key->secret = bytes;
	key->secret_len = secret_len;

	strcpy(json, "{\"k\":\"");
	len = strlen(json);
	len += bw_base64url_encode(bytes, secret_len, json + len);
	strcpy(json + len, "\",\"kty\":\"oct\"}");
	set_thumbprint(key, json);
}

/* The algorithms that a type of key and its curve fit, 0 for those unknown. */
static uint32
fitting_algorithms(const char *kty, const char *curve)
{
	uint32		set = 0;

	for (int i = 0; i < JWS_ALGORITHMS; i++)
	{
		const JwsAlgorithm *a = &jws_algorithms[i];
		bool		fits = false;

		switch (a->family)
		{
			case JWS_RSA:
			case JWS_PSS:
				fits = strcmp(kty, "RSA") == 0;
				break;
			case JWS_ECDSA:
				fits = strcmp(kty, "EC") == 0 && curve && strcmp(curve, a->curve) == 0;
				break;
			case JWS_EDDSA:
				fits = strcmp(kty, "OKP") == 0 && curve &&
					(strcmp(curve, "Ed25519") == 0 || strcmp(curve, "Ed448") == 0);
				break;
			case JWS_HMAC:
				fits = strcmp(kty, "oct") == 0;
				break;
		}
		if (fits)
			set |= a->bit;
	}
	return set;
}

JwkKey *
JwkParse(Jsonb *jwk, uint32 algorithms, const uint8 *secret, Size secret_len)
{
	JwkKey	   *key = palloc0(sizeof(JwkKey));
	const JwsAlgorithm *algorithm;
	char	   *kty;
	char	   *curve;
	char	   *alg;

	if (!JB_ROOT_IS_OBJECT(jwk))
		JWK_ERROR(errmsg("a key is not a JSON object"));
	refuse_private(jwk);
	kty = string_member(jwk, "kty");
	if (kty == NULL)
		JWK_ERROR(errmsg("the key has no member \"kty\""));
	curve = string_member(jwk, "crv");
	alg = string_member(jwk, "alg");
	algorithm = alg ? JwsAlgorithmByName(alg) : NULL;

	key->jwk = jwk;
	key->kid = string_member(jwk, "kid");
	if (key->kid && strlen(key->kid) > JOSE_MAX_KID)
		JWK_ERROR(errmsg("the \"kid\" of the key is longer than %d bytes", JOSE_MAX_KID));
	key->algorithms = algorithms & fitting_algorithms(kty, curve);
	if (alg)
		key->algorithms &= algorithm ? algorithm->bit : 0;
	if (key->algorithms == 0 || !meant_to_verify(jwk))
		return NULL;

	if (strcmp(kty, "RSA") == 0)
		parse_rsa(key, jwk);
	else if (strcmp(kty, "oct") == 0)
		parse_oct(key, jwk, secret, secret_len);
	else if (strcmp(kty, "OKP") == 0)
		parse_okp(key, jwk, curve);
	else
		for (int i = 0; i < JWS_ALGORITHMS; i++)
			if (jws_algorithms[i].bit == key->algorithms)
				parse_ec(key, jwk, &jws_algorithms[i]);
	return key;
}

/* Add a key to the set, unless it is not for us. */
static List *
add_key(List *keys, Jsonb *jwk, uint32 algorithms)
{
	JwkKey	   *key = JwkParse(jwk, algorithms, NULL, 0);
	ListCell   *cell;

	if (key == NULL)
		return keys;
	foreach(cell, keys)
	{
		JwkKey	   *other = lfirst(cell);

		if (key->kid && other->kid && strcmp(key->kid, other->kid) == 0)
			JWK_ERROR(errmsg("two keys have the kid \"%s\"", key->kid));
		if (memcmp(key->thumbprint, other->thumbprint, BW_SHA256_LEN) == 0)
			JWK_ERROR(errmsg("a key is in the set twice"));
	}
	return lappend(keys, key);
}

List *
JwkSetParse(Jsonb *jwks, uint32 algorithms)
{
	List	   *keys = NIL;
	JsonbValue	set;
	JsonbValue	element;
	JsonbIterator *it;
	JsonbIteratorToken token;

	if (!JB_ROOT_IS_OBJECT(jwks))
		JWK_ERROR(errmsg("a JWK or a JWK Set is a JSON object"));
	if (member(jwks, "keys", &set) == NULL)
		return add_key(NIL, jwks, algorithms);

	if (set.type != jbvBinary || !JsonContainerIsArray(set.val.binary.data))
		JWK_ERROR(errmsg("member \"keys\" of the JWK Set is not an array"));
	it = JsonbIteratorInit(set.val.binary.data);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			keys = add_key(keys, JsonbValueToJsonb(&element), algorithms);
	return keys;
}
