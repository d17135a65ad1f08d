/*
 * wrap.c
 *		Random keys under the root key, in a form that may be stored.
 *
 *		01 | root key id (8) | salt (32) | nonce (24) | sealed key, tag (16)
 *
 * The key-encryption key is HKDF(root, salt, label) with the blob's own salt, so
 * that no two blobs share one.  Everything before the sealed key is
 * authenticated with it, followed by the caller's context.
 *
 *		02 | root key id (8) | zeroes (44) | nonce (12) | sealed key, tag (16)
 *
 * is wrapped in a token, by AES-256-GCM under the root key itself, which nobody
 * outside the token has.  What is authenticated with it is the SHA-256 of version,
 * root key id and context: tokens take associated data of any length on paper only.
 * It has the length of the other, so that a rotation changes one into the other
 * where it lies.
 */
#include "keyring/ring.h"

#include "common/common.h"
#include "common/token.h"

#define WRAP_VERSION	1
#define TOKEN_VERSION	2
#define WRAP_SALT_LEN	32
#define WRAP_LABEL		"bulwark key-encryption v1"

typedef struct WrapHeader
{
	uint8		version;
	uint8		root_id[ROOT_KEY_ID_LEN];
	uint8		salt[WRAP_SALT_LEN];
	uint8		nonce[BW_AEAD_NONCE_LEN];
} WrapHeader;

typedef struct TokenHeader
{
	uint8		version;
	uint8		root_id[ROOT_KEY_ID_LEN];
	uint8		zeroes[44];
	uint8		nonce[BW_GCM_NONCE_LEN];
} TokenHeader;

StaticAssertDecl(sizeof(TokenHeader) == sizeof(WrapHeader) &&
				 offsetof(TokenHeader, nonce) + BW_TOKEN_WRAPPED_LEN(0) == WRAPPED_KEY_LEN(0) &&
				 offsetof(TokenHeader, root_id) == offsetof(WrapHeader, root_id),
				 "a key wrapped in a token has another layout");
StaticAssertDecl(sizeof(WrapHeader) + BW_AEAD_TAG_LEN == WRAPPED_KEY_LEN(0),
				 "the header of a wrapped key has padding");

/* Associated data: the header, whose length is fixed, then the context. */
static uint8 *
wrap_ad_alloc(const void *context, Size contextlen, Size *adlen)
{
	uint8	   *ad;

	*adlen = add_size(sizeof(WrapHeader), contextlen);
	ad = palloc(*adlen);
	if (contextlen > 0)
		memcpy(ad + sizeof(WrapHeader), context, contextlen);
	return ad;
}

static bool
wrap_kek(const uint8 root[ROOT_KEY_LEN], const WrapHeader *header, uint8 kek[BW_AEAD_KEY_LEN])
{
	return bw_hkdf_sha256(root, ROOT_KEY_LEN, header->salt, sizeof(header->salt),
						  (const uint8 *) WRAP_LABEL, strlen(WRAP_LABEL), kek, BW_AEAD_KEY_LEN);
}

/* --- in a token ------------------------------------------------------------------- */

static void
token_ad(const TokenHeader *header, const void *context, Size contextlen, uint8 ad[BW_SHA256_LEN])
{
	bw_sha256_two(header, offsetof(TokenHeader, zeroes), context, contextlen, ad);
}

static bool
wrap_in_token(const uint8 id[ROOT_KEY_ID_LEN], const uint8 *key, Size keylen,
			  const void *context, Size contextlen, uint8 *wrapped)
{
	TokenHeader header = {.version = TOKEN_VERSION};
	uint8		ad[BW_SHA256_LEN];

	memcpy(header.root_id, id, ROOT_KEY_ID_LEN);
	token_ad(&header, context, contextlen, ad);
	memcpy(wrapped, &header, sizeof(header));
	return TokenAsk(BW_TOKEN_WRAP, id, ad, key, keylen,
					wrapped + offsetof(TokenHeader, nonce), BW_TOKEN_WRAPPED_LEN(keylen));
}

static bool
unwrap_in_token(const uint8 *wrapped, Size wrappedlen, const void *context, Size contextlen,
				uint8 *key, Size keylen)
{
	static const TokenHeader blank = {0};
	TokenHeader header;
	uint8		ad[BW_SHA256_LEN];

	memcpy(&header, wrapped, sizeof(header));
	if (memcmp(header.zeroes, blank.zeroes, sizeof(header.zeroes)) != 0)
		return false;
	token_ad(&header, context, contextlen, ad);
	return TokenAsk(BW_TOKEN_UNWRAP, header.root_id, ad,
					wrapped + offsetof(TokenHeader, nonce), wrappedlen - offsetof(TokenHeader, nonce), key, keylen);
}

/* --- in memory -------------------------------------------------------------------- */

static bool
wrap_in_memory(const uint8 id[ROOT_KEY_ID_LEN], const uint8 root[ROOT_KEY_LEN], const uint8 *key, Size keylen,
			   const void *context, Size contextlen, uint8 *wrapped)
{
	WrapHeader	header = {.version = WRAP_VERSION};
	uint8		kek[BW_AEAD_KEY_LEN];
	Size		adlen;
	uint8	   *ad;
	bool		ok;

	memcpy(header.root_id, id, ROOT_KEY_ID_LEN);
	ad = wrap_ad_alloc(context, contextlen, &adlen);
	ok = bw_random(header.salt, sizeof(header.salt)) &&
		bw_random(header.nonce, sizeof(header.nonce)) &&
		wrap_kek(root, &header, kek);
	memcpy(ad, &header, sizeof(header));
	ok = ok && bw_aead_seal(kek, header.nonce, ad, adlen, key, keylen, wrapped + sizeof(header));
	memcpy(wrapped, &header, sizeof(header));

	bw_wipe(kek, sizeof(kek));
	pfree(ad);
	return ok;
}

static bool
unwrap_in_memory(const uint8 root[ROOT_KEY_LEN], const uint8 *wrapped, Size wrappedlen,
				 const void *context, Size contextlen, uint8 *key)
{
	WrapHeader	header;
	uint8		kek[BW_AEAD_KEY_LEN];
	uint8	   *ad;
	Size		adlen;
	bool		ok;

	memcpy(&header, wrapped, sizeof(header));
	ad = wrap_ad_alloc(context, contextlen, &adlen);
	memcpy(ad, &header, sizeof(header));
	ok = wrap_kek(root, &header, kek) &&
		bw_aead_open(kek, header.nonce, ad, adlen,
					 wrapped + sizeof(header), wrappedlen - sizeof(header), key);

	bw_wipe(kek, sizeof(kek));
	pfree(ad);
	return ok;
}

/* --- either ----------------------------------------------------------------------- */

bool
WrapUnder(KeyringSlot slot, const uint8 *key, Size keylen, const void *context, Size contextlen, uint8 *wrapped)
{
	uint8		id[ROOT_KEY_ID_LEN];
	uint8		root[ROOT_KEY_LEN];
	bool		in_token;
	bool		ok = false;

	if (!RingCopy(slot, id, root, &in_token))
		return false;
	if (!in_token)
		ok = wrap_in_memory(id, root, key, keylen, context, contextlen, wrapped);
	bw_wipe(root, sizeof(root));
	return in_token ? wrap_in_token(id, key, keylen, context, contextlen, wrapped) : ok;
}

/* Writes WRAPPED_KEY_LEN(keylen) bytes; 55000 without a root key. */
void
KeyringWrap(const uint8 *key, Size keylen, const void *context, Size contextlen, uint8 *wrapped)
{
	KeyringRequire();
	if (!WrapUnder(RingWrapSlot(), key, keylen, context, contextlen, wrapped))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not wrap a key")));
}

/* The root key with that id, in whichever slot. */
static bool
root_with_id(const uint8 id[ROOT_KEY_ID_LEN], uint8 root[ROOT_KEY_LEN], bool *in_token)
{
	for (int slot = 0; slot < KEYRING_SLOTS; slot++)
	{
		uint8		slot_id[ROOT_KEY_ID_LEN];

		if (RingCopy(slot, slot_id, root, in_token) && memcmp(slot_id, id, ROOT_KEY_ID_LEN) == 0)
			return true;
	}
	return false;
}

bool
KeyringHoldsRootOf(const uint8 *wrapped, Size wrappedlen, uint8 id[ROOT_KEY_ID_LEN])
{
	uint8		root[ROOT_KEY_LEN];
	bool		in_token;
	bool		holds;

	memset(id, 0, ROOT_KEY_ID_LEN);
	if (wrappedlen < sizeof(WrapHeader))
		return false;
	memcpy(id, wrapped + offsetof(WrapHeader, root_id), ROOT_KEY_ID_LEN);
	holds = root_with_id(id, root, &in_token);
	bw_wipe(root, sizeof(root));
	return holds;
}

/*
 * False for every cause alike, but that a token which holds the root key does not
 * answer: that says nothing about the wrapped key, and is 55000.
 */
bool
KeyringUnwrap(const uint8 *wrapped, Size wrappedlen, const void *context, Size contextlen,
			  uint8 *key, Size keylen)
{
	const uint8 *id = wrapped + offsetof(WrapHeader, root_id);
	uint8		root[ROOT_KEY_LEN];
	bool		in_token = false;
	bool		ok;

	if (wrappedlen < WRAPPED_KEY_LEN(0) || wrappedlen - WRAPPED_KEY_LEN(0) != keylen)
		return false;
	ok = root_with_id(id, root, &in_token) && wrapped[0] == (in_token ? TOKEN_VERSION : WRAP_VERSION);
	if (ok && !in_token)
		ok = unwrap_in_memory(root, wrapped, wrappedlen, context, contextlen, key);
	bw_wipe(root, sizeof(root));
	return ok && in_token ? unwrap_in_token(wrapped, wrappedlen, context, contextlen, key, keylen) : ok;
}
