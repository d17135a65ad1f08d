/*
 * envelope_fuzz.c
 *		S2: libFuzzer target for envelopes.  What the fuzzer makes of bytes is parsed and
 *		opened; nothing that was not sealed opens.  Its bytes are also a text that is
 *		sealed, changed in one place and opened.
 */
#include "common/envelope.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition) \
	do { if (!(condition)) { fprintf(stderr, "does not hold: %s\n", #condition); abort(); } } while (0)

static bw_envelope_key key;
static uint8_t key_id[BW_ENVELOPE_KEY_ID_LEN];

static void
make_key(void)
{
	static bool made = false;
	uint8_t		bytes[BW_ENVELOPE_KEY_LEN];

	if (made)
		return;
	/* random, so that no input found elsewhere is sealed under it */
	REQUIRE(bw_random(bytes, sizeof(bytes)) && bw_envelope_key_init(&key, bytes) && bw_envelope_key_id(bytes, key_id));
	made = true;
}

static bool
try_open(const uint8_t *data, size_t len, const bw_binding *binding, const uint8_t *text, size_t text_len)
{
	bw_envelope envelope;
	bw_opened	opened;
	uint8_t    *out;
	bool		ok;

	if (!bw_envelope_parse(data, len, &envelope))
		return false;
	REQUIRE(len >= BW_ENVELOPE_OVERHEAD && envelope.sealed + envelope.sealed_len == data + len);
	out = malloc(envelope.sealed_len);
	ok = bw_envelope_open(&key, &envelope, data, binding, out, &opened);
	if (ok)
		REQUIRE(opened.text_at + opened.text_len <= envelope.sealed_len - BW_ENVELOPE_TAG_LEN &&
				opened.text_len == text_len && memcmp(out + opened.text_at, text, text_len) == 0);
	free(out);
	return ok;
}

/* The first bytes say how, the others are the text. */
static void
try_sealed(const uint8_t *data, size_t len)
{
	bw_binding	binding = {(const uint8_t *) "0123456789abcdef", 't', NULL, 0, NULL};
	uint8_t		nonce[BW_ENVELOPE_NONCE_LEN] = {0};
	size_t		total;
	size_t		at;
	size_t		pad;
	uint8_t    *sealed;

	if (len < 6)
		return;
	binding.context = data;
	binding.context_len = data[0] % 6;
	pad = data[1];
	memcpy(nonce, data, 6);
	total = bw_envelope_len(len - 6, binding.context_len > 0, pad);
	REQUIRE(total >= len - 6 + BW_ENVELOPE_OVERHEAD);
	sealed = malloc(total);
	REQUIRE(bw_envelope_seal(&key, key_id, data[2] % 2 ? BW_SUITE_XAES_256_GCM : BW_SUITE_XCHACHA20_POLY1305,
							 nonce, &binding, data + 6, len - 6, pad, sealed));
	REQUIRE(try_open(sealed, total, &binding, data + 6, len - 6));
	at = (data[3] << 8 | data[4]) % total;
	sealed[at] ^= data[5] | 1;
	REQUIRE(!try_open(sealed, total, &binding, data + 6, len - 6));
	free(sealed);
}

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const bw_binding binding = {(const uint8_t *) "0123456789abcdef", 't', NULL, 0, NULL};
	uint8_t    *copy = malloc(len);

	make_key();
	if (len > 0)
		memcpy(copy, data, len);
	REQUIRE(!try_open(copy, len, &binding, NULL, 0));
	try_sealed(copy, len);
	free(copy);
	return 0;
}
