/*
 * hash.c
 *		SHA-256 and HMAC-SHA256.
 */
#include "common/common.h"

void
bw_sha256(const void *data, size_t len, uint8_t out[BW_SHA256_LEN])
{
	crypto_hash_sha256(out, data, len);
}

void
bw_hmac_key_init(bw_hmac_key *keyed, const uint8_t *key, size_t keylen)
{
	crypto_auth_hmacsha256_init(keyed, key != NULL ? key : (const uint8_t *) "", keylen);
}

void
bw_hmac_sha256_keyed(const bw_hmac_key *keyed, const void *data, size_t len,
					 uint8_t out[BW_SHA256_LEN])
{
	bw_hmac_key state = *keyed;

	crypto_auth_hmacsha256_update(&state, data, len);
	crypto_auth_hmacsha256_final(&state, out);
	bw_wipe(&state, sizeof(state));
}

/* HMAC-SHA256 under a key of any length (RFC 2104); NULL for an empty one. */
void
bw_hmac_sha256(const uint8_t *key, size_t keylen,
			   const void *data, size_t len, uint8_t out[BW_SHA256_LEN])
{
	bw_hmac_key keyed;

	bw_hmac_key_init(&keyed, key, keylen);
	bw_hmac_sha256_keyed(&keyed, data, len, out);
	bw_wipe(&keyed, sizeof(keyed));
}
