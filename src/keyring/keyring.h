/*
 * keyring.h
 *		The root key ring and what is derived from it.
 */
#ifndef BULWARK_KEYRING_H
#define BULWARK_KEYRING_H

#include "base/base.h"

#define ROOT_KEY_LEN	32
#define ROOT_KEY_ID_LEN	8
#define DERIVED_KEY_LEN	32

/* Roots in the ring: the current one, and the next while a rotation overlaps. */
typedef enum KeyringSlot
{
	KEYRING_CURRENT = 0,
	KEYRING_NEXT = 1,
	KEYRING_SLOTS = 2
} KeyringSlot;

extern void KeyringInit(void);

/* Changes whenever a root key is loaded or dropped: caches of derived keys
 * compare it.  Cheap (one atomic read). */
extern uint64 KeyringGeneration(void);
extern bool KeyringHasRoot(KeyringSlot slot, uint8 id[ROOT_KEY_ID_LEN]);

/*
 * HKDF-SHA256(root, salt, label).  False when that slot is empty.
 * KeyringRequire raises 55000 with a hint when there is no current root.
 */
extern bool KeyringDerive(KeyringSlot slot, const void *salt, Size saltlen,
						  const char *label, uint8 out[DERIVED_KEY_LEN]);
extern void KeyringRequire(void);

/*
 * Minimal wrapper for random keys: version | root key id | salt | nonce |
 * XAES-256-GCM(KEK, key, AD = header and context).  The KEK is
 * HKDF(root, salt recorded in the blob, "bulwark key-encryption v1"), so a
 * wrapped key survives pg_upgrade and dump and restore, where the realm does
 * not.  Where the root key is in a token, the token wraps and unwraps (wrap.c).
 * Wrap raises 55000 without a root; Unwrap returns false for any cause, but raises
 * 55000 where a token does not answer.
 */
#define WRAPPED_KEY_LEN(keylen)	(1 + ROOT_KEY_ID_LEN + 32 + 24 + (keylen) + 16)
extern void KeyringWrap(const uint8 *key, Size keylen, const void *context, Size contextlen,
						uint8 *wrapped);
extern bool KeyringUnwrap(const uint8 *wrapped, Size wrappedlen, const void *context,
						  Size contextlen, uint8 *key, Size keylen);

/* The id of the root key that a key is wrapped by; is it in the ring? */
extern bool KeyringHoldsRootOf(const uint8 *wrapped, Size wrappedlen, uint8 id[ROOT_KEY_ID_LEN]);
/*
 * rotate.c: everything that is wrapped, put under another root key.  A room that
 * keeps wrapped keys registers a function that puts at most limit of its own under
 * that key with KeyringRewrap, in the transaction that is under way.
 */
typedef enum Rewrapping
{
	REWRAP_DONE,				/* wrapped is the key's new form */
	REWRAP_NOT_NEEDED,			/* it is under that root key already */
	REWRAP_IMPOSSIBLE			/* its root key is not loaded, or it was altered */
} Rewrapping;
typedef struct RewrapCount
{
	int64		done;
	int64		left;			/* because of the limit */
	int64		impossible;
} RewrapCount;
typedef void (*Rewrapper) (int64 limit, RewrapCount *count);
extern void KeyringRewrapRegister(const char *what, Rewrapper rewrapper);
/* Same length, same context; to the root key that the running rotation is for. */
extern Rewrapping KeyringRewrap(uint8 *wrapped, Size wrappedlen, const void *context, Size contextlen);

/* The file that the current root key is configured to come from, or "". */
extern const char *KeyringFile(void);

#endif							/* BULWARK_KEYRING_H */
