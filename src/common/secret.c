/*
 * secret.c
 *		What every secret needs: to be random, compared in constant time, wiped.
 */
#include "common/common.h"

#include <sodium.h>

bool
bw_equal(const void *a, const void *b, size_t len)
{
	return sodium_memcmp(a, b, len) == 0;
}

/* Bytes from the kernel's generator, fresh in every process after a fork. */
bool
bw_random(void *dst, size_t len)
{
	if (sodium_init() < 0)
		return false;
	randombytes_buf(dst, len);
	return true;
}

/* Overwrites memory in a way that the compiler does not drop. */
void
bw_wipe(void *p, size_t len)
{
	sodium_memzero(p, len);
}
