/*
 * envelope.c
 *		Envelopes of values without a server, under sanitizers.  Prints TAP.
 *
 * Every buffer is allocated at its exact size, so that a sanitizer sees a byte read
 * or written beyond it.
 */
#include "common/envelope.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const uint8_t tenant[16] = "tenant of a test";
static const uint8_t other_tenant[16] = "tenant of others";

static int	tests = 0;
static int	failures = 0;

static void ok(bool passed, const char *format,...) __attribute__((format(printf, 2, 3)));

static void
ok(bool passed, const char *format,...)
{
	va_list		args;

	printf("%sok %d - ", passed ? "" : "not ", ++tests);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	failures += !passed;
}

static void
require(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "envelope: %s\n", what);
	exit(2);
}

/* A key, and how values of the test are made with it. */
typedef struct Maker
{
	bw_envelope_key key;
	uint8_t		key_id[BW_ENVELOPE_KEY_ID_LEN];
	bw_suite	suite;
	bw_binding	binding;
	size_t		pad;
} Maker;

static const char *
suite_name(const Maker *maker)
{
	return maker->suite == BW_SUITE_XAES_256_GCM ? "XAES-256-GCM" : "XChaCha20-Poly1305";
}

static void
maker_init(Maker *maker, bw_suite suite, const char *context, size_t pad)
{
	uint8_t		key[BW_ENVELOPE_KEY_LEN];

	require(bw_random(key, sizeof(key)) && bw_envelope_key_init(&maker->key, key) &&
			bw_envelope_key_id(key, maker->key_id), "no key");
	maker->suite = suite;
	maker->binding = (bw_binding) {tenant, 't', context, strlen(context), NULL};
	maker->pad = pad;
}

static uint8_t *
make(const Maker *maker, const void *text, size_t len, size_t *total)
{
	uint8_t		nonce[BW_ENVELOPE_NONCE_LEN];
	uint8_t    *out;

	*total = bw_envelope_len(len, maker->binding.context_len > 0 || maker->binding.commitment != NULL, maker->pad);
	require(*total > 0 && bw_random(nonce, sizeof(nonce)), "no envelope");
	out = malloc(*total);
	require(bw_envelope_seal(&maker->key, maker->key_id, maker->suite, nonce, &maker->binding,
							 text, len, maker->pad, out), "sealing failed");
	return out;
}

/* Does a copy open, as exactly that text?  -1: to something else, or left something behind. */
static int
opens(const Maker *maker, const bw_binding *binding, const uint8_t *data, size_t total, const void *text, size_t len)
{
	uint8_t    *copy = malloc(total);
	uint8_t    *out = NULL;
	bw_envelope envelope;
	bw_opened	opened;
	int			result = 0;

	if (total > 0)
		memcpy(copy, data, total);
	if (bw_envelope_parse(copy, total, &envelope))
	{
		out = malloc(envelope.sealed_len);
		memset(out, 0xaa, envelope.sealed_len);
		if (bw_envelope_open(&maker->key, &envelope, copy, binding, out, &opened))
			result = opened.text_len == len && memcmp(out + opened.text_at, text, len) == 0 ? 1 : -1;
		else
			for (size_t i = 0; i + BW_ENVELOPE_TAG_LEN < envelope.sealed_len; i++)
				if (out[i] != 0)
					result = -1;
	}
	free(out);
	free(copy);
	return result;
}

static void
test_lengths(const Maker *maker)
{
	uint8_t		text[300];
	bool		all = true;
	bool		multiple = true;

	require(bw_random(text, sizeof(text)), "no random bytes");
	for (size_t len = 0; len <= sizeof(text); len++)
	{
		size_t		total;
		uint8_t    *data = make(maker, text, len, &total);

		all &= opens(maker, &maker->binding, data, total, text, len) == 1;
		multiple &= maker->pad == 0 || (total - BW_ENVELOPE_OVERHEAD) % maker->pad == 0;
		free(data);
	}
	ok(all, "%s, pad %zu, context \"%s\": opens at every length from 0 to 300", suite_name(maker), maker->pad,
	   (const char *) maker->binding.context);
	ok(multiple, "%s, pad %zu: lengths are multiples of it", suite_name(maker), maker->pad);
}

static void
test_damage(const Maker *maker)
{
	static const char text[] = "what nobody but its tenant reads";
	size_t		total;
	uint8_t    *data = make(maker, text, sizeof(text), &total);
	uint8_t    *longer = malloc(total + 1);
	bool		truncated = true;
	bool		flipped = true;

	for (size_t len = 0; len < total; len++)
		truncated &= opens(maker, &maker->binding, data, len, text, sizeof(text)) == 0;
	ok(truncated, "S2: %s, pad %zu: refused when truncated at any length, output wiped", suite_name(maker), maker->pad);
	for (size_t i = 0; i < total * 8; i++)
	{
		data[i / 8] ^= 1 << i % 8;
		flipped &= opens(maker, &maker->binding, data, total, text, sizeof(text)) == 0;
		data[i / 8] ^= 1 << i % 8;
	}
	ok(flipped, "S2: %s, pad %zu: refused with any bit flipped, output wiped", suite_name(maker), maker->pad);
	memcpy(longer, data, total);
	longer[total] = 0;
	ok(opens(maker, &maker->binding, longer, total + 1, text, sizeof(text)) == 0, "S2: %s: refused with a byte more",
	   suite_name(maker));
	free(longer);
	free(data);
}

static void
test_header(const Maker *maker)
{
	size_t		total;
	uint8_t    *data = make(maker, "x", 1, &total);
	bw_envelope envelope;
	int			versions = 0,
				suites = 0,
				flags = 0;

	ok(bw_envelope_parse(data, total, &envelope) && envelope.suite == maker->suite &&
	   memcmp(envelope.key_id, maker->key_id, sizeof(maker->key_id)) == 0, "%s: the header says suite and key", suite_name(maker));
	for (int v = 0; v < 256; v++)
	{
		uint8_t		version = data[2],
					suite = data[3],
					flag = data[4];

		data[2] = v;
		versions += bw_envelope_parse(data, total, &envelope);
		data[2] = version;
		data[3] = v;
		suites += bw_envelope_parse(data, total, &envelope);
		data[3] = suite;
		data[4] = v;
		flags += bw_envelope_parse(data, total, &envelope);
		data[4] = flag;
	}
	ok(versions == 1 && suites == 2 && flags == 4, "S2: an unknown version, suite or flag is refused");
	data[0] = 'B';
	ok(!bw_envelope_parse(data, total, &envelope), "S2: another magic is refused");
	free(data);
}

static void
test_binding(const Maker *maker)
{
	static const char text[] = "bound";
	size_t		total;
	uint8_t    *data = make(maker, text, sizeof(text), &total);
	bw_binding	other = maker->binding;
	Maker		other_key;

	other.tenant = other_tenant;
	ok(opens(maker, &other, data, total, text, sizeof(text)) == 0, "S1: %s: refused for another tenant", suite_name(maker));
	other = maker->binding;
	other.type = 's';
	ok(opens(maker, &other, data, total, text, sizeof(text)) == 0, "S1: %s: refused as another type", suite_name(maker));
	other = maker->binding;
	other.context = "another context";
	other.context_len = strlen("another context");
	ok(opens(maker, &other, data, total, text, sizeof(text)) == 0, "S1: %s: refused under another context", suite_name(maker));
	other.context_len = maker->binding.context_len > 0 ? 0 : 1;
	ok(opens(maker, &other, data, total, text, sizeof(text)) == 0,
	   "S1: %s: refused under %s context", suite_name(maker), other.context_len > 0 ? "a" : "no");
	maker_init(&other_key, maker->suite, "", 0);
	ok(opens(&other_key, &maker->binding, data, total, text, sizeof(text)) == 0, "S1: %s: refused under another key",
	   suite_name(maker));
	ok(memcmp(other_key.key_id, maker->key_id, sizeof(maker->key_id)) != 0, "keys have ids of their own");
	free(data);
}

/* What reencrypt does: its context is not known, and holds all the same. */
static void
test_again(const Maker *maker)
{
	static const char text[] = "sealed anew";
	size_t		total;
	size_t		again_total;
	uint8_t    *data = make(maker, text, sizeof(text), &total);
	uint8_t    *out;
	uint8_t    *again;
	bw_envelope envelope;
	bw_opened	opened;
	Maker		next;

	require(bw_envelope_parse(data, total, &envelope), "not parsed");
	out = malloc(envelope.sealed_len);
	require(bw_envelope_open_any_context(&maker->key, &envelope, data, &maker->binding, out, &opened), "not opened");
	maker_init(&next, maker->suite, "", maker->pad > 0 ? envelope.sealed_len - BW_ENVELOPE_TAG_LEN : 0);
	if ((envelope.flags & BW_ENVELOPE_CONTEXT) != 0)
		next.binding.commitment = out + opened.commitment_at;
	again = make(&next, out + opened.text_at, opened.text_len, &again_total);
	ok(again_total == total && opens(&next, &maker->binding, again, again_total, text, sizeof(text)) == 1 &&
	   opens(maker, &maker->binding, again, again_total, text, sizeof(text)) == 0,
	   "%s, pad %zu: sealed anew without its context it opens under that, is as long, and is the new key's alone",
	   suite_name(maker), maker->pad);
	free(again);
	free(out);
	free(data);
}

static void
test_limits(void)
{
	ok(bw_envelope_len(BW_ENVELOPE_TEXT_MAX + 1, false, 0) == 0 && bw_envelope_len(SIZE_MAX, true, 0) == 0 &&
	   bw_envelope_len(1, false, SIZE_MAX) == 0 && bw_envelope_len(BW_ENVELOPE_TEXT_MAX, true, 0) == 0 &&
	   bw_envelope_len(BW_ENVELOPE_TEXT_MAX - 1, false, BW_ENVELOPE_TEXT_MAX) == 0 &&
	   bw_envelope_len(BW_ENVELOPE_TEXT_MAX, false, 0) == BW_ENVELOPE_TEXT_MAX + BW_ENVELOPE_OVERHEAD,
	   "S11: what is too long has no length");
	ok(bw_envelope_len(0, false, 64) == 64 + BW_ENVELOPE_OVERHEAD && bw_envelope_len(60, false, 64) == 64 + BW_ENVELOPE_OVERHEAD &&
	   bw_envelope_len(61, false, 64) == 128 + BW_ENVELOPE_OVERHEAD && bw_envelope_len(28, true, 64) == 64 + BW_ENVELOPE_OVERHEAD &&
	   bw_envelope_len(29, true, 64) == 128 + BW_ENVELOPE_OVERHEAD, "padded lengths are as documented");
}

/* Made once by this code and checked against an independent computation: formats do not drift. */
static void
test_stored(void)
{
	static const uint8_t key[BW_ENVELOPE_KEY_LEN] = {1, 2, 3};
	uint8_t		id[BW_ENVELOPE_KEY_ID_LEN];
	char		hex[2 * BW_ENVELOPE_KEY_ID_LEN + 1] = "";

	require(bw_envelope_key_id(key, id), "no id");
	bw_hex_encode(id, sizeof(id), hex);
	ok(strcmp(hex, "4d0a5388f38b5f264130a738af141969") == 0, "the id of a key is what it always was: %s", hex);
}

/* After this nothing of a key may be used by mistake, and what follows must work. */
static void
test_forget(const Maker *maker)
{
	size_t		total;
	uint8_t    *data = make(maker, "again", 5, &total);

	bw_aead_forget();
	ok(opens(maker, &maker->binding, data, total, "again", 5) == 1, "%s: opens after the contexts have forgotten their key",
	   suite_name(maker));
	free(data);
}

int
main(void)
{
	static const char *const contexts[] = {"", "a context"};
	static const size_t pads[] = {0, 1, 32, 100};

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int suite = BW_SUITE_XAES_256_GCM; suite <= BW_SUITE_XCHACHA20_POLY1305; suite++)
		for (int c = 0; c < 2; c++)
		{
			Maker		maker;

			for (int p = 0; p < 4; p++)
			{
				maker_init(&maker, (bw_suite) suite, contexts[c], pads[p]);
				test_lengths(&maker);
				test_damage(&maker);
				test_again(&maker);
			}
			test_header(&maker);
			test_binding(&maker);
			test_forget(&maker);
		}
	test_limits();
	test_stored();
	printf("1..%d\n", tests);
	return failures > 0;
}
