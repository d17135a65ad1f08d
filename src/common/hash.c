/*
 * hash.c
 *		SHA-256 and HMAC-SHA256.
 *
 * The low-level functions of OpenSSL: they use the processor's SHA instructions
 * as EVP does, cannot fail, have no handle to release, and for the small inputs
 * of the ledger take two thirds of the time of EVP with a fetched digest and a
 * kept context.  libsodium's are portable C and take six times as long.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "common/common.h"

#include <string.h>

#define BLOCK_LEN SHA256_CBLOCK

void
bw_sha256(const void *data, size_t len, uint8_t out[BW_SHA256_LEN])
{
	SHA256_CTX	state;

	SHA256_Init(&state);
	SHA256_Update(&state, data, len);
	SHA256_Final(out, &state);
}

void
bw_sha256_begin(bw_sha256_state *state)
{
	SHA256_Init(state);
}

void
bw_sha256_add(bw_sha256_state *state, const void *data, size_t len)
{
	SHA256_Update(state, data, len);
}

void
bw_sha256_end(bw_sha256_state *state, uint8_t out[BW_SHA256_LEN])
{
	SHA256_Final(out, state);
}

void
bw_sha256_two(const void *first, size_t firstlen, const void *second, size_t secondlen,
			  uint8_t out[BW_SHA256_LEN])
{
	SHA256_CTX	state;

	SHA256_Init(&state);
	SHA256_Update(&state, first, firstlen);
	SHA256_Update(&state, second, secondlen);
	SHA256_Final(out, &state);
}

void
bw_hmac_key_init(bw_hmac_key *keyed, const uint8_t *key, size_t keylen)
{
	uint8_t		block[BLOCK_LEN] = {0};

	if (keylen > BLOCK_LEN)
		bw_sha256(key, keylen, block);
	else if (keylen > 0)
		memcpy(block, key, keylen);

	for (int i = 0; i < BLOCK_LEN; i++)
		block[i] ^= 0x36;
	SHA256_Init(&keyed->inner);
	SHA256_Update(&keyed->inner, block, BLOCK_LEN);

	for (int i = 0; i < BLOCK_LEN; i++)
		block[i] ^= 0x36 ^ 0x5c;
	SHA256_Init(&keyed->outer);
	SHA256_Update(&keyed->outer, block, BLOCK_LEN);
	bw_wipe(block, sizeof(block));
}

static void
hmac_finish(const bw_hmac_key *keyed, SHA256_CTX *state, uint8_t out[BW_SHA256_LEN])
{
	uint8_t		inner[BW_SHA256_LEN];

	SHA256_Final(inner, state);
	*state = keyed->outer;
	SHA256_Update(state, inner, sizeof(inner));
	SHA256_Final(out, state);
	bw_wipe(state, sizeof(*state));
}

void
bw_hmac_sha256_keyed(const bw_hmac_key *keyed, const void *data, size_t len,
					 uint8_t out[BW_SHA256_LEN])
{
	SHA256_CTX	state = keyed->inner;

	SHA256_Update(&state, data, len);
	hmac_finish(keyed, &state, out);
}

void
bw_hmac_sha256_labelled(const bw_hmac_key *keyed, const char *label,
						const void *data, size_t len, uint8_t out[BW_SHA256_LEN])
{
	SHA256_CTX	state = keyed->inner;
	size_t		n = strlen(label);
	const uint8_t prefix[4] = {(uint8_t) (n >> 24), (uint8_t) (n >> 16), (uint8_t) (n >> 8), (uint8_t) n};

	SHA256_Update(&state, prefix, sizeof(prefix));
	SHA256_Update(&state, label, n);
	SHA256_Update(&state, data, len);
	hmac_finish(keyed, &state, out);
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
