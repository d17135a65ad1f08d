/*
 * hex.c
 *		Hexadecimal digits, without a table look-up or a branch that depends on
 *		them: keys pass through here.
 */
#include "common/common.h"

/* The digit of a value below 16. */
static inline char
digit(unsigned int v)
{
	return (char) ('0' + v + (((9 - v) >> 8) & ('a' - '0' - 10)));
}

/* The value of a digit; a bit above the lowest four is set for any other character. */
static inline unsigned int
value(unsigned char c)
{
	unsigned int number = c ^ '0';	/* 0..9 for a number */
	unsigned int letter = (c | 0x20u) ^ 0x60u;	/* 1..6 for a letter */
	unsigned int is_number = (number - 10) >> 8 & 0xff; /* 0xff or 0 */
	unsigned int is_letter = (letter - 7) >> 8 & ~((letter - 1) >> 8) & 0xff;

	return (is_number & number) | (is_letter & (letter + 9)) | (~(is_number | is_letter) & 0x10);
}

/* Writes 2 * len lower-case digits. */
void
bw_hex_encode(const uint8_t *src, size_t len, char *dst)
{
	for (size_t i = 0; i < len; i++)
	{
		dst[2 * i] = digit(src[i] >> 4);
		dst[2 * i + 1] = digit(src[i] & 15);
	}
}

/* False, with dst undefined, unless src is exactly 2 * len digits. */
bool
bw_hex_decode(const char *src, size_t srclen, uint8_t *dst, size_t len)
{
	unsigned int seen = 0;

	if (srclen % 2 != 0 || srclen / 2 != len)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		unsigned int high = value((unsigned char) src[2 * i]);
		unsigned int low = value((unsigned char) src[2 * i + 1]);

		seen |= high | low;
		dst[i] = (uint8_t) (high << 4 | low);
	}
	return seen < 16;
}
