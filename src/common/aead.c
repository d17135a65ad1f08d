/*
 * aead.c
 *		XAES-256-GCM (C2SP): AES-256-GCM under a key and nonce derived from a
 *		256-bit key and a 192-bit nonce, so that nonces may be random.
 *
 * The derivation is NIST SP 800-108 with CMAC, which for this input comes to
 * three AES blocks:
 *		K1 = the CMAC subkey of K
 *		Kx = AES_K(00 01 'X' 00 || N[0..12) ^ K1) || AES_K(00 02 'X' 00 || N[0..12) ^ K1)
 *		Nx = N[12..24)
 */
#include "common/common.h"

#include <openssl/evp.h>
#include <string.h>

#define AES_BLOCK		16
#define GCM_NONCE_LEN	12
#define GCM_TEXT_MAX	((UINT64_C(1) << 36) - 32)	/* SP 800-38D */
#define CHUNK_MAX		((size_t) 1 << 30)	/* EVP takes an int */

/* dst = src * x in GF(2^128), as CMAC doubles; without a branch on the key. */
static void
cmac_double(const uint8_t src[AES_BLOCK], uint8_t dst[AES_BLOCK])
{
	uint8_t		carry = (uint8_t) (0 - (src[0] >> 7)) & 0x87;

	for (int i = 0; i < AES_BLOCK - 1; i++)
		dst[i] = (uint8_t) (src[i] << 1 | src[i + 1] >> 7);
	dst[AES_BLOCK - 1] = (uint8_t) (src[AES_BLOCK - 1] << 1) ^ carry;
}

/* The AES-256-GCM key for a XAES key and the first half of its nonce. */
static bool
derive_key(const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_AEAD_NONCE_LEN],
		   uint8_t derived[BW_AEAD_KEY_LEN])
{
	uint8_t		zero[AES_BLOCK] = {0};
	uint8_t		l[AES_BLOCK],
				k1[AES_BLOCK],
				m[2 * AES_BLOCK];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int			n;
	bool		ok = false;

	if (ctx != NULL &&
		EVP_EncryptInit_ex(ctx, EVP_aes_256_ecb(), NULL, key, NULL) == 1 &&
		EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
		EVP_EncryptUpdate(ctx, l, &n, zero, AES_BLOCK) == 1 && n == AES_BLOCK)
	{
		cmac_double(l, k1);
		for (int i = 0; i < 2; i++)
		{
			uint8_t    *block = m + i * AES_BLOCK;
			const uint8_t prefix[4] = {0, (uint8_t) (i + 1), 'X', 0};

			memcpy(block, prefix, sizeof(prefix));
			memcpy(block + sizeof(prefix), nonce, GCM_NONCE_LEN);
			for (int j = 0; j < AES_BLOCK; j++)
				block[j] ^= k1[j];
		}
		ok = EVP_EncryptUpdate(ctx, derived, &n, m, sizeof(m)) == 1 && n == sizeof(m);
	}

	EVP_CIPHER_CTX_free(ctx);
	bw_wipe(l, sizeof(l));
	bw_wipe(k1, sizeof(k1));
	bw_wipe(m, sizeof(m));
	return ok;
}

/* EVP_CipherUpdate over any length; out NULL: the input is associated data. */
static bool
update(EVP_CIPHER_CTX *ctx, uint8_t *out, const uint8_t *in, size_t len)
{
	while (len > 0)
	{
		int			chunk = (int) (len < CHUNK_MAX ? len : CHUNK_MAX);
		int			n;

		if (EVP_CipherUpdate(ctx, out, &n, in, chunk) != 1 || n != chunk)
			return false;
		if (out != NULL)
			out += chunk;
		in += chunk;
		len -= (size_t) chunk;
	}
	return true;
}

/* Seal or open len bytes; the tag is written when sealing, checked when opening. */
static bool
crypt_gcm(bool seal, const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_AEAD_NONCE_LEN],
		  const uint8_t *ad, size_t adlen, const uint8_t *in, size_t len,
		  uint8_t *out, uint8_t *tag)
{
	uint8_t		derived[BW_AEAD_KEY_LEN];
	uint8_t		last[AES_BLOCK];
	EVP_CIPHER_CTX *ctx;
	int			n;
	bool		ok;

	if (len > GCM_TEXT_MAX || !derive_key(key, nonce, derived))
		return false;

	ctx = EVP_CIPHER_CTX_new();
	ok = ctx != NULL &&
		EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, derived, nonce + GCM_NONCE_LEN, seal) == 1 &&
		update(ctx, NULL, ad, adlen) &&
		update(ctx, out, in, len) &&
		(seal || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, BW_AEAD_TAG_LEN, tag) == 1) &&
		EVP_CipherFinal_ex(ctx, last, &n) == 1 && n == 0 &&
		(!seal || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, BW_AEAD_TAG_LEN, tag) == 1);

	EVP_CIPHER_CTX_free(ctx);
	bw_wipe(derived, sizeof(derived));
	return ok;
}

/* out = ciphertext || tag.  False: OpenSSL failed, out is undefined. */
bool
bw_aead_seal(const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_AEAD_NONCE_LEN],
			 const void *ad, size_t adlen, const void *plain, size_t len, uint8_t *out)
{
	return crypt_gcm(true, key, nonce, ad, adlen, plain, len, out, out + len);
}

/* False: too short, or not authentic under that key, nonce and data; out is then wiped. */
bool
bw_aead_open(const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_AEAD_NONCE_LEN],
			 const void *ad, size_t adlen, const uint8_t *sealed, size_t sealedlen, void *out)
{
	uint8_t		tag[BW_AEAD_TAG_LEN];
	size_t		len;

	if (sealedlen < BW_AEAD_TAG_LEN)
		return false;
	len = sealedlen - BW_AEAD_TAG_LEN;
	memcpy(tag, sealed + len, sizeof(tag));
	if (crypt_gcm(false, key, nonce, ad, adlen, sealed, len, out, tag))
		return true;
	bw_wipe(out, len);
	return false;
}
