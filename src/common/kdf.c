/*
 * kdf.c
 *		HKDF-SHA256 (RFC 5869).
 */
#include "common/common.h"

#include <sodium.h>
#include <string.h>

#define HKDF_MAX_OUTPUT (255 * BW_SHA256_LEN)

/* Extract and expand; false only when more output is asked for than RFC 5869 allows. */
bool
bw_hkdf_sha256(const uint8_t *ikm, size_t ikmlen,
			   const uint8_t *salt, size_t saltlen,
			   const uint8_t *info, size_t infolen,
			   uint8_t *okm, size_t okmlen)
{
	crypto_auth_hmacsha256_state keyed,
				state;
	uint8_t		prk[BW_SHA256_LEN];
	uint8_t		block[BW_SHA256_LEN];
	uint8_t		counter = 0;

	if (okmlen > HKDF_MAX_OUTPUT)
		return false;

	bw_hmac_sha256(salt, saltlen, ikm, ikmlen, prk);
	crypto_auth_hmacsha256_init(&keyed, prk, sizeof(prk));
	while (okmlen > 0)
	{
		size_t		take = okmlen < sizeof(block) ? okmlen : sizeof(block);

		state = keyed;
		if (counter > 0)
			crypto_auth_hmacsha256_update(&state, block, sizeof(block));
		counter++;
		crypto_auth_hmacsha256_update(&state, info, infolen);
		crypto_auth_hmacsha256_update(&state, &counter, 1);
		crypto_auth_hmacsha256_final(&state, block);
		memcpy(okm, block, take);
		okm += take;
		okmlen -= take;
	}

	bw_wipe(prk, sizeof(prk));
	bw_wipe(block, sizeof(block));
	bw_wipe(&keyed, sizeof(keyed));
	bw_wipe(&state, sizeof(state));
	return true;
}
