/*
 * base64.c
 *		base64 with padding (RFC 4648 section 4).  The decoder accepts exactly
 *		what the encoder writes.
 */
#include "common/common.h"

static const char alphabet[] =
"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* The value of a character plus one; 0 for one that is not of the alphabet. */
static const uint8_t value_plus_one[256] = {
	['A'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
	14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
	['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39,
	40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
	['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62,
	['+'] = 63,
	['/'] = 64,
};

size_t
bw_base64_encode(const uint8_t *src, size_t len, char *dst)
{
	char	   *out = dst;

	for (size_t i = 0; i < len; i += 3)
	{
		size_t		left = len - i;
		uint32_t	bits = (uint32_t) src[i] << 16 |
			(left > 1 ? (uint32_t) src[i + 1] << 8 : 0) | (left > 2 ? src[i + 2] : 0);

		*out++ = alphabet[bits >> 18];
		*out++ = alphabet[bits >> 12 & 63];
		*out++ = left > 1 ? alphabet[bits >> 6 & 63] : '=';
		*out++ = left > 2 ? alphabet[bits & 63] : '=';
	}
	return (size_t) (out - dst);
}

/* Four characters of which the last pad are "=": 24 bits, or false. */
static inline bool
quantum(const uint8_t *src, int pad, uint32_t *bits)
{
	uint32_t	a = value_plus_one[src[0]];
	uint32_t	b = value_plus_one[src[1]];
	uint32_t	c = pad > 1 ? 1 : value_plus_one[src[2]];
	uint32_t	d = pad > 0 ? 1 : value_plus_one[src[3]];

	*bits = (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6 | (d - 1);
	return a != 0 && b != 0 && c != 0 && d != 0;
}

ssize_t
bw_base64_decode(const char *src, size_t len, uint8_t *dst)
{
	const uint8_t *in = (const uint8_t *) src;
	const uint8_t *end = in + len;
	uint8_t    *out = dst;
	uint32_t	bits;
	int			pad;

	if (len % 4 != 0)
		return -1;
	if (len == 0)
		return 0;
	pad = end[-1] != '=' ? 0 : end[-2] != '=' ? 1 : 2;
	for (; in < end - 4; in += 4)
	{
		if (!quantum(in, 0, &bits))
			return -1;
		*out++ = (uint8_t) (bits >> 16);
		*out++ = (uint8_t) (bits >> 8);
		*out++ = (uint8_t) bits;
	}
	/* bits beyond the last byte must be zero */
	if (!quantum(in, pad, &bits) || (pad > 0 && (bits & (pad == 1 ? 0xff : 0xffff)) != 0))
		return -1;
	*out++ = (uint8_t) (bits >> 16);
	if (pad < 2)
		*out++ = (uint8_t) (bits >> 8);
	if (pad < 1)
		*out++ = (uint8_t) bits;
	return out - dst;
}
