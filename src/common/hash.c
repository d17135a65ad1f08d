/*
 * hash.c
 *		SHA-256 and HMAC-SHA256.
 */
#include "common/common.h"

#include <sodium.h>

void
bw_sha256(const void *data, size_t len, uint8_t out[BW_SHA256_LEN])
{
	crypto_hash_sha256(out, data, len);
}

/* HMAC-SHA256 under a key of any length (RFC 2104); NULL for an empty one. */
void
bw_hmac_sha256(const uint8_t *key, size_t keylen,
			   const void *data, size_t len, uint8_t out[BW_SHA256_LEN])
{
	crypto_auth_hmacsha256_state state;

	crypto_auth_hmacsha256_init(&state, key != NULL ? key : (const uint8_t *) "", keylen);
	crypto_auth_hmacsha256_update(&state, data, len);
	crypto_auth_hmacsha256_final(&state, out);
	bw_wipe(&state, sizeof(state));
}
