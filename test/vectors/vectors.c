/*
 * vectors.c
 *		common/ against published vectors (lines.pl on standard input) and
 *		against cases of our own.  Prints TAP.
 *
 * Every buffer is allocated at its exact size, so that a sanitizer or valgrind
 * sees a byte read or written beyond it.
 */
#include "common/common.h"

#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORDS	8

typedef struct Bytes
{
	uint8_t    *data;
	size_t		len;
} Bytes;

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
die(const char *what)
{
	fprintf(stderr, "vectors: %s\n", what);
	exit(2);
}

static void *
alloc(size_t len)
{
	void	   *p = malloc(len);

	if (p == NULL && len > 0)
		die("out of memory");
	return p;
}

/* Bytes from a hex word; "-" is empty.  Not by the function under test. */
static Bytes
bytes(const char *word)
{
	Bytes		b = {NULL, 0};

	if (strcmp(word, "-") == 0)
		word = "";
	b.len = strlen(word) / 2;
	b.data = alloc(b.len);
	for (size_t i = 0; i < b.len; i++)
	{
		unsigned int v;

		if (sscanf(word + 2 * i, "%2x", &v) != 1)
			die("a vector is not hex");
		b.data[i] = (uint8_t) v;
	}
	return b;
}

static bool
same(const uint8_t *data, size_t len, Bytes expected)
{
	return len == expected.len && (len == 0 || memcmp(data, expected.data, len) == 0);
}

static void
test_hkdf(char **word)
{
	bool		valid = strcmp(word[2], "valid") == 0;
	Bytes		ikm = bytes(word[3]),
				salt = bytes(word[4]),
				info = bytes(word[5]),
				okm = bytes(word[7]);
	size_t		size = (size_t) atol(word[6]);
	uint8_t    *out = alloc(size);
	bool		done = bw_hkdf_sha256(ikm.data, ikm.len, salt.data, salt.len,
									  info.data, info.len, out, size);

	ok(valid ? done && same(out, size, okm) : !done, "HKDF-SHA256, Wycheproof %s (%s)", word[1], word[2]);
	free(ikm.data);
	free(salt.data);
	free(info.data);
	free(okm.data);
	free(out);
}

static void
test_hmac(char **word)
{
	bool		valid = strcmp(word[2], "valid") == 0;
	Bytes		key = bytes(word[3]),
				msg = bytes(word[4]),
				tag = bytes(word[5]);
	uint8_t		out[BW_SHA256_LEN];

	bw_hmac_sha256(key.data, key.len, msg.data, msg.len, out);
	ok(tag.len <= sizeof(out) && bw_equal(out, tag.data, tag.len) == valid,
	   "HMAC-SHA256, Wycheproof %s (%s)", word[1], word[2]);
	free(key.data);
	free(msg.data);
	free(tag.data);
}

/* Opens a copy of sealed with one byte changed, or cut short. */
static bool
opens_changed(Bytes key, Bytes nonce, Bytes ad, Bytes sealed, size_t change, size_t cut)
{
	size_t		len = sealed.len - cut;
	size_t		outlen = len > BW_AEAD_TAG_LEN ? len - BW_AEAD_TAG_LEN : 0;
	uint8_t    *copy = alloc(len);
	uint8_t    *out = alloc(outlen);
	bool		opened,
				clean = true;

	memcpy(copy, sealed.data, len);
	memset(out, 0xaa, outlen);
	if (change < len)
		copy[change] ^= 1;
	opened = bw_aead_open(key.data, nonce.data, ad.data, ad.len, copy, len, out);
	for (size_t i = 0; i < outlen && len >= BW_AEAD_TAG_LEN; i++)
		clean &= out[i] == 0;
	free(copy);
	free(out);
	return opened || !clean;
}

static void
test_xaes(char **word)
{
	Bytes		key = bytes(word[2]),
				nonce = bytes(word[3]),
				ad = bytes(word[4]),
				plain = bytes(word[5]),
				sealed = bytes(word[6]);
	uint8_t    *out = alloc(plain.len + BW_AEAD_TAG_LEN);
	bool		refused = true;

	ok(bw_aead_seal(key.data, nonce.data, ad.data, ad.len, plain.data, plain.len, out) &&
	   same(out, plain.len + BW_AEAD_TAG_LEN, sealed), "XAES-256-GCM, C2SP %s: seals", word[1]);
	free(out);

	out = alloc(plain.len);
	ok(bw_aead_open(key.data, nonce.data, ad.data, ad.len, sealed.data, sealed.len, out) &&
	   same(out, plain.len, plain), "XAES-256-GCM, C2SP %s: opens", word[1]);

	for (size_t i = 0; i < sealed.len; i++)
		refused &= !opens_changed(key, nonce, ad, sealed, i, 0);
	ok(refused, "XAES-256-GCM, C2SP %s: refused with any byte changed, output wiped", word[1]);
	refused = true;
	for (size_t i = 1; i <= sealed.len; i++)
		refused &= !opens_changed(key, nonce, ad, sealed, SIZE_MAX, i);
	ok(refused, "XAES-256-GCM, C2SP %s: refused at any shorter length", word[1]);
	refused = true;
	for (size_t i = 0; i < nonce.len; i++)
	{
		nonce.data[i] ^= 0x80;
		refused &= !opens_changed(key, nonce, ad, sealed, SIZE_MAX, 0);
		nonce.data[i] ^= 0x80;
	}
	ok(refused, "XAES-256-GCM, C2SP %s: refused with another nonce", word[1]);
	refused = !bw_aead_open(key.data, nonce.data, "x", 1, sealed.data, sealed.len, out);
	ok(refused, "XAES-256-GCM, C2SP %s: refused with other associated data", word[1]);

	free(key.data);
	free(nonce.data);
	free(ad.data);
	free(plain.data);
	free(sealed.data);
	free(out);
}

/* The specification's accumulated vector: random inputs from SHAKE-128 of nothing. */
static void
test_xaes_accumulated(char **word)
{
	long		iterations = atol(word[1]);
	Bytes		expected = bytes(word[2]);
	size_t		size = (size_t) iterations * (BW_AEAD_KEY_LEN + BW_AEAD_NONCE_LEN + 2 + 2 * 255);
	uint8_t    *stream = alloc(size);
	uint8_t    *next = stream;
	uint8_t		digest[32];
	EVP_MD_CTX *rng = EVP_MD_CTX_new();
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	bool		opened = true;

	if (EVP_DigestInit_ex(rng, EVP_shake128(), NULL) != 1 || EVP_DigestFinalXOF(rng, stream, size) != 1 ||
		EVP_DigestInit_ex(hash, EVP_shake128(), NULL) != 1)
		die("no SHAKE-128");
	for (long i = 0; i < iterations; i++)
	{
		const uint8_t *key = next;
		const uint8_t *nonce = key + BW_AEAD_KEY_LEN;
		size_t		len = nonce[BW_AEAD_NONCE_LEN];
		const uint8_t *plain = nonce + BW_AEAD_NONCE_LEN + 1;
		size_t		adlen = plain[len];
		const uint8_t *ad = plain + len + 1;
		uint8_t    *sealed = alloc(len + BW_AEAD_TAG_LEN);
		uint8_t    *back = alloc(len);

		next = stream + (ad + adlen - stream);
		opened &= bw_aead_seal(key, nonce, ad, adlen, plain, len, sealed) &&
			bw_aead_open(key, nonce, ad, adlen, sealed, len + BW_AEAD_TAG_LEN, back) &&
			same(back, len, (Bytes) {(uint8_t *) plain, len});
		EVP_DigestUpdate(hash, sealed, len + BW_AEAD_TAG_LEN);
		free(sealed);
		free(back);
	}
	EVP_DigestFinalXOF(hash, digest, sizeof(digest));
	ok(opened, "XAES-256-GCM, C2SP accumulated: what is sealed opens, %ld times", iterations);
	ok(same(digest, sizeof(digest), expected), "XAES-256-GCM, C2SP accumulated: %ld seals", iterations);

	EVP_MD_CTX_free(rng);
	EVP_MD_CTX_free(hash);
	free(stream);
	free(expected.data);
}

typedef bool (*Sealer) (const uint8_t *key, const uint8_t *nonce, const bw_ad *ad,
						const bw_part *parts, int nparts, uint8_t *out);
typedef bool (*Opener) (const uint8_t *key, const uint8_t *nonce, const bw_ad *ad,
						const uint8_t *sealed, size_t sealedlen, void *out);

/* One of Wycheproof's; text and associated data also in pieces. */
static void
test_aead(char **word, const char *name, Sealer seal, Opener open)
{
	bool		valid = strcmp(word[2], "valid") == 0;
	Bytes		key = bytes(word[3]),
				nonce = bytes(word[4]),
				ad = bytes(word[5]),
				plain = bytes(word[6]),
				sealed = bytes(word[7]);
	const bw_ad whole = {ad.data, ad.len, NULL, 0};
	const bw_ad halves = {ad.data, ad.len / 2, ad.data + ad.len / 2, ad.len - ad.len / 2};
	const bw_part text = {plain.data, plain.len};
	const bw_part pieces[] = {{plain.data, plain.len / 3}, {plain.data + plain.len / 3, plain.len - plain.len / 3}};
	uint8_t    *out = alloc(plain.len + BW_AEAD_TAG_LEN);
	uint8_t    *back = alloc(plain.len);

	if (valid)
		ok(seal(key.data, nonce.data, &whole, &text, 1, out) && same(out, plain.len + BW_AEAD_TAG_LEN, sealed) &&
		   seal(key.data, nonce.data, &halves, pieces, 2, out) && same(out, plain.len + BW_AEAD_TAG_LEN, sealed),
		   "%s, Wycheproof %s: seals, in one piece and in several", name, word[1]);
	ok(open(key.data, nonce.data, &halves, sealed.data, sealed.len, back) == valid &&
	   (!valid || same(back, plain.len, plain)), "%s, Wycheproof %s: %s", name, word[1], valid ? "opens" : "is refused");
	free(key.data);
	free(nonce.data);
	free(ad.data);
	free(plain.data);
	free(sealed.data);
	free(out);
	free(back);
}

static ssize_t
decode64(const char *text, size_t len, uint8_t *dst, size_t cap)
{
	char	   *copy = alloc(len);
	ssize_t		n;

	if (len > 0)
		memcpy(copy, text, len);
	n = bw_base64url_decode(copy, len, dst, cap);
	free(copy);
	return n;
}

static void
test_base64url(void)
{
	static const struct
	{
		const char *plain,
				   *text;
	}			good[] = {			/* RFC 4648 section 10, unpadded */
		{"", ""}, {"f", "Zg"}, {"fo", "Zm8"}, {"foo", "Zm9v"}, {"foob", "Zm9vYg"},
		{"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff\xfe", "-__-"}
	};
	static const struct
	{
		const char *text,
				   *why;
	}			bad[] = {
		{"Zg==", "padding"}, {"Zm8=", "padding"}, {"Zm9v====", "padding"}, {"Z", "one character"},
		{"Zm9vY", "one character left over"}, {"Zh", "tail bits set"}, {"Zm9", "tail bits set"},
		{"+__-", "plus of the other alphabet"}, {"-//-", "slash of the other alphabet"},
		{"Zm9v\n", "newline"}, {" Zm9v", "space"}, {"Zm 9", "space within"}, {"Zm9\x80", "eighth bit"},
		{"Zm.v", "dot"}
	};
	uint8_t		out[16];
	char		text[16];
	bool		all = true;
	int			accepted = 0;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		size_t		len = strlen(good[i].plain);
		size_t		textlen = strlen(good[i].text);

		ok(bw_base64url_encode((const uint8_t *) good[i].plain, len, text) == textlen &&
		   textlen == BW_BASE64URL_ENCODED_LEN(len) && memcmp(text, good[i].text, textlen) == 0,
		   "base64url encodes to \"%s\"", good[i].text);
		ok(decode64(good[i].text, textlen, out, len) == (ssize_t) len &&
		   memcmp(out, good[i].plain, len) == 0, "base64url decodes \"%s\"", good[i].text);
		ok(len == 0 || decode64(good[i].text, textlen, out, len - 1) == -1,
		   "base64url refuses \"%s\" for a buffer too small", good[i].text);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(decode64(bad[i].text, strlen(bad[i].text), out, sizeof(out)) == -1,
		   "base64url refuses: %s", bad[i].why);
	ok(decode64("Zm\0v", 4, out, sizeof(out)) == -1, "base64url refuses: NUL");

	/* Of all pairs of characters exactly 256 are a text, each that of its byte. */
	for (int a = 0; a < 256; a++)
		for (int b = 0; b < 256; b++)
		{
			char		pair[2] = {(char) a, (char) b};

			if (decode64(pair, 2, out, sizeof(out)) == 1)
			{
				accepted++;
				all &= bw_base64url_encode(out, 1, text) == 2 && memcmp(text, pair, 2) == 0;
			}
		}
	ok(all && accepted == 256, "base64url has one text for each byte");
}

static void
test_hex(void)
{
	uint8_t		out[2];
	char		text[4];
	bool		all = true;
	int			accepted = 0;

	for (int a = 0; a < 256; a++)
		for (int b = 0; b < 256; b++)
		{
			char		pair[2] = {(char) a, (char) b};

			if (bw_hex_decode(pair, 2, out, 1))
			{
				char		low[3];

				accepted++;
				snprintf(low, sizeof(low), "%02x", out[0]);
				bw_hex_encode(out, 1, text);
				all &= memcmp(low, text, 2) == 0 && (low[0] | 0x20) == (a | 0x20) && (low[1] | 0x20) == (b | 0x20);
			}
		}
	ok(all && accepted == 22 * 22, "hex takes digits of either case and nothing else");
	ok(!bw_hex_decode("0a0", 3, out, 1) && !bw_hex_decode("0a0", 3, out, 2) &&
	   !bw_hex_decode("0a", 2, out, 2) && !bw_hex_decode("", 0, out, 1) && bw_hex_decode("", 0, out, 0),
	   "hex takes exactly the length asked for");
}

static void
test_root_key(void)
{
	char		text[BW_ROOT_KEY_TEXT_MAX + 1];
	uint8_t		key[BW_ROOT_KEY_LEN],
				again[BW_ROOT_KEY_LEN],
				id[BW_ROOT_KEY_ID_LEN];
	static const uint8_t zero_id[] = {0x34, 0x71, 0x96, 0xc3, 0x9c, 0x9d, 0x5e, 0xb0};

	ok(bw_random(key, sizeof(key)) && bw_random(again, sizeof(again)) && !bw_equal(key, again, sizeof(key)),
	   "random bytes differ");
	bw_hex_encode(key, sizeof(key), text);
	text[64] = text[65] = '\n';
	ok(bw_root_key_parse(text, 64, again) && bw_equal(key, again, sizeof(key)), "root key of 64 digits");
	ok(bw_root_key_parse(text, 65, again) && bw_equal(key, again, sizeof(key)), "root key with a newline");
	ok(!bw_root_key_parse(text, 66, again), "root key with two newlines is refused");
	ok(!bw_root_key_parse(text, 63, again) && !bw_root_key_parse(text, 0, again), "a short root key is refused");
	text[64] = ' ';
	ok(!bw_root_key_parse(text, 65, again), "root key with a space is refused");
	text[64] = '0';
	ok(!bw_root_key_parse(text, 65, again), "root key of 65 digits is refused");

	memset(key, 0, sizeof(key));
	bw_root_key_id(key, id);
	ok(bw_equal(id, zero_id, sizeof(id)), "the id of the root key of zeroes is what it always was");
}

int
main(void)
{
	char	   *line = NULL;
	size_t		size = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (getline(&line, &size, stdin) > 0)
	{
		char	   *word[MAX_WORDS] = {NULL};
		int			n = 0;

		for (char *w = strtok(line, " \n"); w != NULL && n < MAX_WORDS; w = strtok(NULL, " \n"))
			word[n++] = w;
		if (n == 8 && strcmp(word[0], "hkdf") == 0)
			test_hkdf(word);
		else if (n == 6 && strcmp(word[0], "hmac") == 0)
			test_hmac(word);
		else if (n == 7 && strcmp(word[0], "xaes") == 0)
			test_xaes(word);
		else if (n == 3 && strcmp(word[0], "xaes-accumulated") == 0)
			test_xaes_accumulated(word);
		else if (n == 8 && strcmp(word[0], "gcm") == 0)
			test_aead(word, "AES-256-GCM", bw_gcm_seal, bw_gcm_open);
		else if (n == 8 && strcmp(word[0], "xchacha") == 0)
			test_aead(word, "XChaCha20-Poly1305", bw_xchacha_seal, bw_xchacha_open);
		else if (n == 2 && strcmp(word[0], "absent") == 0)
			printf("ok %d # SKIP no %s: set BULWARK_SHARED to the directory that has vectors/\n", ++tests, word[1]);
		else
			die("a line is not a vector");
	}
	free(line);

	test_base64url();
	test_hex();
	test_root_key();
	printf("1..%d\n", tests);
	return failures > 0;
}
