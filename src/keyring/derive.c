/*
 * derive.c
 *		Keys that are derived from a root key and live in memory only.
 */
#include "keyring/ring.h"

#include "common/common.h"

/* HKDF-SHA256(root, salt, label); false when the slot is empty. */
bool
KeyringDerive(KeyringSlot slot, const void *salt, Size saltlen,
			  const char *label, uint8 out[DERIVED_KEY_LEN])
{
	uint8		id[ROOT_KEY_ID_LEN];
	uint8		root[ROOT_KEY_LEN];
	bool		ok;

	if (!RingCopy(slot, id, root, NULL))
		return false;
	ok = bw_hkdf_sha256(root, sizeof(root), salt, saltlen,
						(const uint8 *) label, strlen(label), out, DERIVED_KEY_LEN);
	bw_wipe(root, sizeof(root));
	return ok;
}
