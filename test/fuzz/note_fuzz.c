/*
 * note_fuzz.c
 *		libFuzzer target for signed notes, checkpoints and verifier keys.  Nothing
 *		that the fuzzer makes is signed; a checkpoint that is accepted must be the
 *		one text that it formats to, but for lines that are not ours.
 */
#include "common/trust.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition) \
	do { if (!(condition)) { fprintf(stderr, "does not hold: %s\n", #condition); abort(); } } while (0)

static const char origin[] = "bulwark/00000000-0000-4000-8000-000000000000";

static void
try_note(const char *text, size_t len)
{
	uint8_t		public_key[BW_ED25519_KEY_LEN] = {1};
	bw_trust_key key = {.pinned = true};
	bw_trust	trust = {&key, 1};
	size_t		body_len = 0;

	REQUIRE(bw_vkey_make(origin, public_key, &key.vkey));
	if (bw_note_verify(text, len, &key.vkey, &body_len) != BW_NOTE_MALFORMED)
		REQUIRE(body_len > 0 && body_len < len);
	REQUIRE(bw_trust_next(&trust, text, len, &body_len) != BW_NOTE_OK && !trust.trusted);
}

static void
try_checkpoint(const char *text, size_t len)
{
	bw_checkpoint checkpoint,
				same;
	char		again[BW_NOTE_MAX];
	size_t		n;

	if (!bw_checkpoint_parse(text, len, &checkpoint))
		return;
	REQUIRE(checkpoint.size <= INT64_MAX && strlen(checkpoint.origin) > 0);
	n = bw_checkpoint_format(&checkpoint, again, sizeof(again));
	REQUIRE(n > 0 && n <= len);
	REQUIRE(bw_checkpoint_parse(again, n, &same) && memcmp(&same, &checkpoint, sizeof(same)) == 0);
}

static void
try_vkey(const char *text, size_t len)
{
	bw_vkey		vkey;
	char		again[BW_VKEY_MAX];

	if (!bw_vkey_parse(text, len, &vkey))
		return;
	bw_vkey_format(&vkey, again);
	REQUIRE(strlen(again) == len && memcmp(again, text, len) == 0);
}

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char	   *copy = malloc(len);

	if (len > 0)
		memcpy(copy, data, len);
	try_note(copy, len);
	try_checkpoint(copy, len);
	try_vkey(copy, len);
	free(copy);
	return 0;
}
