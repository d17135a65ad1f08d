/*
 * rootkey.c
 *		The text form of a root key and the id that names it in public.
 */
#include "common/common.h"

#include <string.h>

/* False, with key undefined, for anything but 64 hex digits and at most one newline. */
bool
bw_root_key_parse(const char *text, size_t len, uint8_t key[BW_ROOT_KEY_LEN])
{
	if (len == BW_ROOT_KEY_TEXT_MAX && text[len - 1] == '\n')
		len--;
	return bw_hex_decode(text, len, key, BW_ROOT_KEY_LEN);
}

void
bw_root_key_id(const uint8_t key[BW_ROOT_KEY_LEN], uint8_t id[BW_ROOT_KEY_ID_LEN])
{
	static const char label[] = "bulwark root key id v1";

	(void) bw_hkdf_sha256(key, BW_ROOT_KEY_LEN, NULL, 0,
						  (const uint8_t *) label, strlen(label), id, BW_ROOT_KEY_ID_LEN);
}
