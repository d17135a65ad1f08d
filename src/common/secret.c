/*
 * secret.c
 *		What every secret needs: to be random, compared in constant time, wiped.
 */
#include "common/common.h"

#include <sodium.h>
#include <string.h>

bool
bw_equal(const void *a, const void *b, size_t len)
{
	return sodium_memcmp(a, b, len) == 0;
}

#if defined(__has_attribute)
#if __has_attribute(zero_call_used_regs)
#define ZERO_REGISTERS __attribute__((noinline, zero_call_used_regs("all")))
#endif
#endif
#ifndef ZERO_REGISTERS
#define ZERO_REGISTERS __attribute__((noinline))
#endif

/*
 * A copied secret stays behind in vector registers, from where a core file, or
 * the frame of the next signal, takes it to memory.  The attribute clears those
 * that compiled code uses; copies of zeroes, those that only the C library's
 * memcpy does, a size class at a time.
 */
static void ZERO_REGISTERS
scrub_registers(void)
{
	static const uint8_t zero[256];
	uint8_t		sink[sizeof(zero)];
	void	   *(*volatile copy) (void *, const void *, size_t) = memcpy;

	for (size_t n = 8; n <= sizeof(zero); n *= 2)
		copy(sink, zero, n);
}

/*
 * Overwrites memory in a way that the compiler does not drop, and what is left
 * of it in registers: call it when the secret has been used for the last time.
 */
void
bw_wipe(void *p, size_t len)
{
	sodium_memzero(p, len);
	scrub_registers();
}

/*
 * Bytes from the kernel's generator, fresh in every process after a fork.  Many are
 * expanded from a seed of its, which is faster than to fetch them all.
 */
bool
bw_random(void *dst, size_t len)
{
	uint8_t		seed[randombytes_SEEDBYTES];

	if (sodium_init() < 0)
		return false;
	if (len <= sizeof(seed))
	{
		randombytes_buf(dst, len);
		return true;
	}
	randombytes_buf(seed, sizeof(seed));
	randombytes_buf_deterministic(dst, len, seed);
	bw_wipe(seed, sizeof(seed));
	return true;
}
