/*
 * xchacha.c
 *		XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha): for machines without
 *		instructions for AES, or where AES is not wanted.
 */
#include "common/common.h"

#include <stdlib.h>

#define AD_ON_STACK	512

/* libsodium takes associated data in one piece; *heap is to be freed. */
static const uint8_t *
ad_joined(const bw_ad *ad, uint8_t stack[AD_ON_STACK], uint8_t **heap)
{
	uint8_t    *joined = stack;

	*heap = NULL;
	if (ad->tail_len == 0)
		return ad->head;
	if (ad->head_len > SIZE_MAX - ad->tail_len)
		return NULL;
	if (ad->head_len + ad->tail_len > AD_ON_STACK)
		joined = *heap = malloc(ad->head_len + ad->tail_len);
	if (joined == NULL)
		return NULL;
	if (ad->head_len > 0)
		memcpy(joined, ad->head, ad->head_len);
	memcpy(joined + ad->head_len, ad->tail, ad->tail_len);
	return joined;
}

/* The text where its ciphertext goes: libsodium takes it in one piece, and in place. */
static size_t
join_parts(const bw_part *parts, int nparts, uint8_t *out)
{
	size_t		len = 0;

	for (int i = 0; i < nparts; i++)
	{
		if (parts[i].data == NULL)
			memset(out + len, 0, parts[i].len);
		else if (parts[i].len > 0)
			memcpy(out + len, parts[i].data, parts[i].len);
		len += parts[i].len;
	}
	return len;
}

/* out = ciphertext || tag.  False: out of memory, or too long; out is undefined. */
bool
bw_xchacha_seal(const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_AEAD_NONCE_LEN], const bw_ad *ad,
				const bw_part *parts, int nparts, uint8_t *out)
{
	uint8_t		stack[AD_ON_STACK];
	uint8_t    *heap;
	const uint8_t *joined = ad_joined(ad, stack, &heap);
	size_t		len;
	bool		ok;

	if (joined == NULL && ad->head_len + ad->tail_len > 0)
		return false;
	len = join_parts(parts, nparts, out);
	ok = len <= crypto_aead_xchacha20poly1305_ietf_MESSAGEBYTES_MAX &&
		crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, out, len, joined,
												   ad->head_len + ad->tail_len, NULL, nonce, key) == 0;
	free(heap);
	return ok;
}

/* False: too short, or not authentic; out is then wiped. */
bool
bw_xchacha_open(const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_AEAD_NONCE_LEN], const bw_ad *ad,
				const uint8_t *sealed, size_t sealedlen, void *out)
{
	uint8_t		stack[AD_ON_STACK];
	uint8_t    *heap;
	const uint8_t *joined;
	bool		ok;

	if (sealedlen < BW_AEAD_TAG_LEN)
		return false;
	joined = ad_joined(ad, stack, &heap);
	ok = (joined != NULL || ad->head_len + ad->tail_len == 0) &&
		crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, sealed, sealedlen, joined,
												   ad->head_len + ad->tail_len, nonce, key) == 0;
	free(heap);
	if (!ok)
		bw_wipe(out, sealedlen - BW_AEAD_TAG_LEN);
	return ok;
}
