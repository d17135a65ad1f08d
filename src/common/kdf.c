/*
 * kdf.c
 *		HKDF-SHA256 (RFC 5869).
 *
 * On the low-level functions of OpenSSL, as hash.c has it and for its reasons: opening
 * a tenant's key takes four of these.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "common/common.h"

#include <string.h>

#define HKDF_MAX_OUTPUT (255 * BW_SHA256_LEN)

/* T(n) = HMAC(PRK, T(n-1) || info || n), into block, which has T(n-1) where n > 1. */
static void
expand_block(const bw_hmac_key *keyed, const uint8_t *info, size_t infolen, uint8_t n,
			 uint8_t block[BW_SHA256_LEN])
{
	SHA256_CTX	state = keyed->inner;

	if (n > 1)
		SHA256_Update(&state, block, BW_SHA256_LEN);
	SHA256_Update(&state, info, infolen);
	SHA256_Update(&state, &n, 1);
	SHA256_Final(block, &state);
	state = keyed->outer;
	SHA256_Update(&state, block, BW_SHA256_LEN);
	SHA256_Final(block, &state);
	bw_wipe(&state, sizeof(state));
}

/* Extract and expand; false only when more output is asked for than RFC 5869 allows. */
bool
bw_hkdf_sha256(const uint8_t *ikm, size_t ikmlen,
			   const uint8_t *salt, size_t saltlen,
			   const uint8_t *info, size_t infolen,
			   uint8_t *okm, size_t okmlen)
{
	bw_hmac_key keyed;
	uint8_t		prk[BW_SHA256_LEN];
	uint8_t		block[BW_SHA256_LEN];

	if (okmlen > HKDF_MAX_OUTPUT)
		return false;

	bw_hmac_sha256(salt, saltlen, ikm, ikmlen, prk);
	bw_hmac_key_init(&keyed, prk, sizeof(prk));
	for (uint8_t n = 1; okmlen > 0; n++)
	{
		size_t		take = okmlen < sizeof(block) ? okmlen : sizeof(block);

		expand_block(&keyed, info, infolen, n, block);
		memcpy(okm, block, take);
		okm += take;
		okmlen -= take;
	}

	bw_wipe(prk, sizeof(prk));
	bw_wipe(block, sizeof(block));
	bw_wipe(&keyed, sizeof(keyed));
	return true;
}
