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
#define GCM_TEXT_MAX	((UINT64_C(1) << 36) - 32)	/* SP 800-38D */
#define CHUNK_MAX		((size_t) 1 << 30)	/* EVP takes an int */
#define GATHER_MAX		2048	/* bytes of short parts */

/*
 * The process's two contexts.  The ciphers are fetched once, for an implicit fetch
 * costs more than sealing a short value does.  Which key the first one has is kept
 * beside it: who seals many values under one key expands it once.
 */
static EVP_CIPHER_CTX *ecb = NULL;
static EVP_CIPHER_CTX *gcm = NULL;
static uint64_t ecb_serial = 0; /* 0: none */
static bool ecb_keyed = false;
static bool gcm_keyed = false;
static uint64_t last_serial = 0;

static EVP_CIPHER_CTX *
context_new(const char *name)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	bool		ok = cipher != NULL && ctx != NULL &&
		EVP_CipherInit_ex(ctx, cipher, NULL, NULL, NULL, 1) == 1;

	EVP_CIPHER_free(cipher);	/* the context holds it */
	if (ok)
		return ctx;
	EVP_CIPHER_CTX_free(ctx);
	return NULL;
}

static bool
contexts_ready(void)
{
	if (gcm != NULL)
		return true;
	if (ecb == NULL)
	{
		ecb = context_new("AES-256-ECB");
		if (ecb == NULL || EVP_CIPHER_CTX_set_padding(ecb, 0) != 1)
			return false;
	}
	gcm = context_new("AES-256-GCM");
	return gcm != NULL;
}

/* Overwrite what the contexts hold of the last keys. */
void
bw_aead_forget(void)
{
	static const uint8_t zero[BW_AEAD_KEY_LEN];

	if (ecb_keyed)
		(void) EVP_CipherInit_ex(ecb, NULL, NULL, zero, NULL, 1);
	if (gcm_keyed)
		(void) EVP_CipherInit_ex(gcm, NULL, NULL, zero, zero, 1);
	ecb_serial = 0;
	ecb_keyed = gcm_keyed = false;
}

static bool
ecb_set_key(const bw_xaes_key *key)
{
	if (ecb_serial == key->serial && ecb_serial != 0)
		return true;
	ecb_serial = 0;
	ecb_keyed = true;
	if (!contexts_ready() || EVP_CipherInit_ex(ecb, NULL, NULL, key->key, NULL, 1) != 1)
		return false;
	ecb_serial = key->serial;
	return true;
}

/* dst = src * x in GF(2^128), as CMAC doubles; without a branch on the key. */
static void
cmac_double(const uint8_t src[AES_BLOCK], uint8_t dst[AES_BLOCK])
{
	uint8_t		carry = (uint8_t) (0 - (src[0] >> 7)) & 0x87;

	for (int i = 0; i < AES_BLOCK - 1; i++)
		dst[i] = (uint8_t) (src[i] << 1 | src[i + 1] >> 7);
	dst[AES_BLOCK - 1] = (uint8_t) (src[AES_BLOCK - 1] << 1) ^ carry;
}

/* False: OpenSSL failed, prepared is then wiped. */
bool
bw_xaes_key_init(bw_xaes_key *prepared, const uint8_t key[BW_AEAD_KEY_LEN])
{
	static const uint8_t zero[AES_BLOCK];
	uint8_t		l[AES_BLOCK];
	int			n;
	bool		ok;

	prepared->serial = ++last_serial;
	memcpy(prepared->key, key, sizeof(prepared->key));
	ok = ecb_set_key(prepared) &&
		EVP_EncryptUpdate(ecb, l, &n, zero, AES_BLOCK) == 1 && n == AES_BLOCK;
	if (ok)
		cmac_double(l, prepared->k1);
	else
		bw_wipe(prepared, sizeof(*prepared));
	bw_wipe(l, sizeof(l));
	return ok;
}

/* The AES-256-GCM key for the first half of a nonce. */
static bool
derive_key(const bw_xaes_key *key, const uint8_t nonce[BW_AEAD_NONCE_LEN],
		   uint8_t derived[BW_AEAD_KEY_LEN])
{
	uint8_t		m[2 * AES_BLOCK];
	int			n;
	bool		ok;

	for (int i = 0; i < 2; i++)
	{
		uint8_t    *block = m + i * AES_BLOCK;
		const uint8_t prefix[4] = {0, (uint8_t) (i + 1), 'X', 0};

		memcpy(block, prefix, sizeof(prefix));
		memcpy(block + sizeof(prefix), nonce, BW_GCM_NONCE_LEN);
		for (int j = 0; j < AES_BLOCK; j++)
			block[j] ^= key->k1[j];
	}
	ok = ecb_set_key(key) &&
		EVP_EncryptUpdate(ecb, derived, &n, m, sizeof(m)) == 1 && n == sizeof(m);
	sodium_memzero(m, sizeof(m));
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

static bool
begin(bool seal, const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_GCM_NONCE_LEN], const bw_ad *ad)
{
	gcm_keyed = true;
	return contexts_ready() &&
		EVP_CipherInit_ex(gcm, NULL, NULL, key, nonce, seal) == 1 &&
		update(gcm, NULL, ad->head, ad->head_len) &&
		update(gcm, NULL, ad->tail, ad->tail_len);
}

/* Zeroes are laid out where their ciphertext goes. */
static bool
update_part(const bw_part *part, uint8_t *out)
{
	if (part->data != NULL || part->len == 0)
		return update(gcm, out, part->data, part->len);
	memset(out, 0, part->len);
	return update(gcm, out, out, part->len);
}

/*
 * Short parts are laid out where their ciphertext goes and encrypted there at once: a
 * call costs more than the copy.
 */
static bool
update_gathered(const bw_part *parts, int nparts, size_t len, uint8_t *out)
{
	uint8_t    *at = out;

	for (int i = 0; i < nparts; i++)
	{
		if (parts[i].data != NULL)
			memcpy(at, parts[i].data, parts[i].len);
		else
			memset(at, 0, parts[i].len);
		at += parts[i].len;
	}
	if (update(gcm, out, out, len))
		return true;
	bw_wipe(out, len);
	return false;
}

static bool
update_parts(const bw_part *parts, int nparts, uint8_t *out)
{
	for (int i = 0; i < nparts; i++)
	{
		if (!update_part(&parts[i], out))
			return false;
		out += parts[i].len;
	}
	return true;
}

/* out = ciphertext || tag.  False: OpenSSL failed, or too long; out is undefined. */
bool
bw_gcm_seal(const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_GCM_NONCE_LEN], const bw_ad *ad,
			const bw_part *parts, int nparts, uint8_t *out)
{
	uint64_t	len = 0;
	uint8_t		last[AES_BLOCK];
	int			n;
	bool		ok;

	for (int i = 0; i < nparts; i++)
	{
		if (parts[i].len > GCM_TEXT_MAX - len)
			return false;
		len += parts[i].len;
	}
	ok = begin(true, key, nonce, ad) &&
		(nparts > 1 && len <= GATHER_MAX ? update_gathered(parts, nparts, len, out) : update_parts(parts, nparts, out));
	out += len;
	return ok && EVP_CipherFinal_ex(gcm, last, &n) == 1 && n == 0 &&
		EVP_CIPHER_CTX_ctrl(gcm, EVP_CTRL_AEAD_GET_TAG, BW_AEAD_TAG_LEN, out) == 1;
}

/* False: too short, or not authentic under that key, nonce and data; out is then wiped. */
bool
bw_gcm_open(const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_GCM_NONCE_LEN], const bw_ad *ad,
			const uint8_t *sealed, size_t sealedlen, void *out)
{
	uint8_t		tag[BW_AEAD_TAG_LEN];
	uint8_t		last[AES_BLOCK];
	size_t		len;
	int			n;

	if (sealedlen < BW_AEAD_TAG_LEN)
		return false;
	len = sealedlen - BW_AEAD_TAG_LEN;
	memcpy(tag, sealed + len, sizeof(tag));
	if (len <= GCM_TEXT_MAX && begin(false, key, nonce, ad) &&
		update(gcm, out, sealed, len) &&
		EVP_CIPHER_CTX_ctrl(gcm, EVP_CTRL_AEAD_SET_TAG, BW_AEAD_TAG_LEN, tag) == 1 &&
		EVP_CipherFinal_ex(gcm, last, &n) == 1 && n == 0)
		return true;
	bw_wipe(out, len);
	return false;
}

bool
bw_xaes_seal(const bw_xaes_key *key, const uint8_t nonce[BW_AEAD_NONCE_LEN], const bw_ad *ad,
			 const bw_part *parts, int nparts, uint8_t *out)
{
	uint8_t		derived[BW_AEAD_KEY_LEN];
	bool		ok = derive_key(key, nonce, derived) &&
		bw_gcm_seal(derived, nonce + BW_GCM_NONCE_LEN, ad, parts, nparts, out);

	sodium_memzero(derived, sizeof(derived));
	return ok;
}

bool
bw_xaes_open(const bw_xaes_key *key, const uint8_t nonce[BW_AEAD_NONCE_LEN], const bw_ad *ad,
			 const uint8_t *sealed, size_t sealedlen, void *out)
{
	uint8_t		derived[BW_AEAD_KEY_LEN];
	bool		ok = derive_key(key, nonce, derived) &&
		bw_gcm_open(derived, nonce + BW_GCM_NONCE_LEN, ad, sealed, sealedlen, out);

	sodium_memzero(derived, sizeof(derived));
	return ok;
}

/* Once, leaving nothing of the key in the contexts. */
bool
bw_aead_seal(const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_AEAD_NONCE_LEN],
			 const void *ad, size_t adlen, const void *plain, size_t len, uint8_t *out)
{
	const bw_ad whole = {ad, adlen, NULL, 0};
	const bw_part text = {plain, len};
	bw_xaes_key prepared;
	bool		ok = bw_xaes_key_init(&prepared, key) &&
		bw_xaes_seal(&prepared, nonce, &whole, &text, 1, out);

	bw_aead_forget();
	bw_wipe(&prepared, sizeof(prepared));
	return ok;
}

bool
bw_aead_open(const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_AEAD_NONCE_LEN],
			 const void *ad, size_t adlen, const uint8_t *sealed, size_t sealedlen, void *out)
{
	const bw_ad whole = {ad, adlen, NULL, 0};
	bw_xaes_key prepared;
	bool		ok = bw_xaes_key_init(&prepared, key) &&
		bw_xaes_open(&prepared, nonce, &whole, sealed, sealedlen, out);

	bw_aead_forget();
	bw_wipe(&prepared, sizeof(prepared));
	return ok;
}
