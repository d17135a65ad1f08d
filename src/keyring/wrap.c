/*
 * wrap.c
 *		Random keys under the root key, in a form that may be stored.
 *
 *		version (1) | root key id (8) | salt (32) | nonce (24) | sealed key, tag (16)
 *
 * The key-encryption key is HKDF(root, salt, label) with the blob's own salt, so
 * that no two blobs share one.  Everything before the sealed key is
 * authenticated with it, followed by the caller's context.
 */
#include "keyring/ring.h"

#include "common/common.h"

#define WRAP_VERSION	1
#define WRAP_SALT_LEN	32
#define WRAP_LABEL		"bulwark key-encryption v1"

typedef struct WrapHeader
{
	uint8		version;
	uint8		root_id[ROOT_KEY_ID_LEN];
	uint8		salt[WRAP_SALT_LEN];
	uint8		nonce[BW_AEAD_NONCE_LEN];
} WrapHeader;

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

bool
WrapUnder(KeyringSlot slot, const uint8 *key, Size keylen, const void *context, Size contextlen, uint8 *wrapped)
{
	WrapHeader	header = {.version = WRAP_VERSION};
	uint8		root[ROOT_KEY_LEN];
	uint8		kek[BW_AEAD_KEY_LEN];
	Size		adlen;
	uint8	   *ad;
	bool		ok;

	if (!RingCopy(slot, header.root_id, root))
		return false;
	ad = wrap_ad_alloc(context, contextlen, &adlen);
	ok = bw_random(header.salt, sizeof(header.salt)) &&
		bw_random(header.nonce, sizeof(header.nonce)) &&
		wrap_kek(root, &header, kek);
	memcpy(ad, &header, sizeof(header));
	ok = ok && bw_aead_seal(kek, header.nonce, ad, adlen, key, keylen, wrapped + sizeof(header));
	memcpy(wrapped, &header, sizeof(header));

	bw_wipe(root, sizeof(root));
	bw_wipe(kek, sizeof(kek));
	pfree(ad);
	return ok;
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
root_with_id(const uint8 id[ROOT_KEY_ID_LEN], uint8 root[ROOT_KEY_LEN])
{
	for (int slot = 0; slot < KEYRING_SLOTS; slot++)
	{
		uint8		slot_id[ROOT_KEY_ID_LEN];

		if (RingCopy(slot, slot_id, root) && memcmp(slot_id, id, ROOT_KEY_ID_LEN) == 0)
			return true;
	}
	return false;
}

bool
KeyringHoldsRootOf(const uint8 *wrapped, Size wrappedlen, uint8 id[ROOT_KEY_ID_LEN])
{
	uint8		root[ROOT_KEY_LEN];
	bool		holds;

	memset(id, 0, ROOT_KEY_ID_LEN);
	if (wrappedlen < sizeof(WrapHeader))
		return false;
	memcpy(id, wrapped + offsetof(WrapHeader, root_id), ROOT_KEY_ID_LEN);
	holds = root_with_id(id, root);
	bw_wipe(root, sizeof(root));
	return holds;
}

/* False for every cause alike; key is then wiped. */
bool
KeyringUnwrap(const uint8 *wrapped, Size wrappedlen, const void *context, Size contextlen,
			  uint8 *key, Size keylen)
{
	WrapHeader	header;
	uint8		root[ROOT_KEY_LEN];
	uint8		kek[BW_AEAD_KEY_LEN];
	uint8	   *ad;
	Size		adlen;
	bool		ok;

	if (wrappedlen < WRAPPED_KEY_LEN(0) || wrappedlen - WRAPPED_KEY_LEN(0) != keylen)
		return false;
	memcpy(&header, wrapped, sizeof(header));
	if (header.version != WRAP_VERSION)
		return false;
	ad = wrap_ad_alloc(context, contextlen, &adlen);
	memcpy(ad, &header, sizeof(header));

	ok = root_with_id(header.root_id, root) &&
		wrap_kek(root, &header, kek) &&
		bw_aead_open(kek, header.nonce, ad, adlen,
					 wrapped + sizeof(header), wrappedlen - sizeof(header), key);

	bw_wipe(root, sizeof(root));
	bw_wipe(kek, sizeof(kek));
	pfree(ad);
	return ok;
}
