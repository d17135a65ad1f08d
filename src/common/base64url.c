/*
 * base64url.c
 *		base64url without padding (RFC 4648 section 5).
 *
 * The decoder accepts exactly what the encoder writes: one text for each byte
 * string, so that a token or ticket has no second spelling.
 */
#include "common/common.h"

static const char alphabet[] =
"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* The value of a character plus one; 0 for one that is not of the alphabet. */
static const uint8_t value_plus_one[256] = {
	['A'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
	14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
	['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39,
	40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
	['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62,
	['-'] = 63,
	['_'] = 64,
};

/* The first n characters as n * 6 bits; *bad becomes true if one is foreign. */
static inline uint32_t
sextets(const char *src, size_t n, bool *bad)
{
	uint32_t	bits = 0;

	for (size_t i = 0; i < n; i++)
	{
		uint8_t		v = value_plus_one[(uint8_t) src[i]];

		*bad |= (v == 0);
		bits = bits << 6 | ((uint32_t) (v - 1) & 63);
	}
	return bits;
}

/* Encodes len bytes into BW_BASE64URL_ENCODED_LEN(len) characters. */
size_t
bw_base64url_encode(const uint8_t *src, size_t len, char *dst)
{
	char	   *out = dst;
	size_t		i;

	for (i = 0; len - i >= 3; i += 3)
	{
		uint32_t	bits = (uint32_t) src[i] << 16 | (uint32_t) src[i + 1] << 8 | src[i + 2];

		*out++ = alphabet[bits >> 18];
		*out++ = alphabet[bits >> 12 & 63];
		*out++ = alphabet[bits >> 6 & 63];
		*out++ = alphabet[bits & 63];
	}
	if (len - i == 2)
	{
		uint32_t	bits = (uint32_t) src[i] << 8 | src[i + 1];

		*out++ = alphabet[bits >> 10];
		*out++ = alphabet[bits >> 4 & 63];
		*out++ = alphabet[bits << 2 & 63];
	}
	else if (len - i == 1)
	{
		*out++ = alphabet[src[i] >> 2];
		*out++ = alphabet[src[i] << 4 & 63];
	}
	return (size_t) (out - dst);
}

/* Decodes into at most cap bytes; -1 for anything but the canonical text. */
ssize_t
bw_base64url_decode(const char *src, size_t len, uint8_t *dst, size_t cap)
{
	size_t		tail = len % 4;
	size_t		decoded = len / 4 * 3 + (tail > 0 ? tail - 1 : 0);
	uint8_t    *out = dst;
	bool		bad = false;
	uint32_t	bits;
	size_t		i;

	if (tail == 1 || decoded > cap)
		return -1;

	for (i = 0; i < len - tail; i += 4)
	{
		bits = sextets(src + i, 4, &bad);
		*out++ = (uint8_t) (bits >> 16);
		*out++ = (uint8_t) (bits >> 8);
		*out++ = (uint8_t) bits;
	}
	if (tail == 3)
	{
		bits = sextets(src + i, 3, &bad);
		bad |= (bits & 3) != 0;
		*out++ = (uint8_t) (bits >> 10);
		*out++ = (uint8_t) (bits >> 2);
	}
	else if (tail == 2)
	{
		bits = sextets(src + i, 2, &bad);
		bad |= (bits & 15) != 0;
		*out++ = (uint8_t) (bits >> 4);
	}
	return bad ? -1 : (ssize_t) decoded;
}
