/*
 * hash.c
 *		Digests made many at a time are those that OpenSSL makes one by one, for
 *		every width of vector that this processor has.  Prints TAP.
 */
#include "common/hash_many.c"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>

#define MOST	40
#define LONGEST 1500

/* n messages of these lengths, each on the heap alone, so that a byte too far is seen. */
static void
make_messages(bw_bytes *messages, size_t n, size_t len, bool mixed)
{
	for (size_t i = 0; i < n; i++)
	{
		size_t		mine = mixed ? (size_t) rand() % LONGEST : len;
		uint8_t    *data = malloc(mine > 0 ? mine : 1);

		for (size_t k = 0; k < mine; k++)
			data[k] = (uint8_t) rand();
		messages[i] = (bw_bytes) {data, mine};
	}
}

static void
free_messages(bw_bytes *messages, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free((void *) messages[i].data);
}

static bool
as_one_by_one(const bw_bytes *messages, size_t n, uint8_t (*digests)[BW_SHA256_LEN])
{
	bool		good = true;

	for (size_t i = 0; i < n; i++)
	{
		uint8_t		expected[BW_SHA256_LEN];

		bw_sha256(messages[i].data, messages[i].len, expected);
		good &= memcmp(expected, digests[i], BW_SHA256_LEN) == 0;
	}
	return good;
}

static void
test_many(void)
{
	bw_bytes	messages[MOST];
	uint8_t		digests[MOST][BW_SHA256_LEN];
	bool		good = true;

	for (size_t n = 0; n <= MOST; n++)
		for (int mixed = 0; mixed < 2; mixed++)
		{
			make_messages(messages, n, 200, mixed != 0);
			memset(digests, 0, sizeof(digests));
			bw_sha256_many(messages, n, digests);
			good &= as_one_by_one(messages, n, digests);
			free_messages(messages, n);
		}
	ok(good, "0 to 40 messages of one and of many lengths");
}

#ifdef HAVE_LANES
static void
test_engine(const Engine *e, bool here, const char *name)
{
	static const Begin begin = {
		{
			0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
		}, 0
	};
	bw_bytes	messages[MOST_LANES];
	uint8_t		digests[MOST_LANES][BW_SHA256_LEN];
	bool		good = true;

	if (!here)
	{
		printf("ok %d - %s # SKIP this processor has none\n", ++tests, name);
		return;
	}
	for (size_t len = 0; len <= 300; len++)
	{
		make_messages(messages, e->lanes, len, false);
		hash_lanes(e, &begin, messages, e->lanes, digests);
		good &= as_one_by_one(messages, e->lanes, digests);
		free_messages(messages, e->lanes);
	}
	for (int round = 0; round < 500; round++)
	{
		size_t		n = 1 + (size_t) rand() % e->lanes;

		make_messages(messages, n, 0, true);
		hash_lanes(e, &begin, messages, n, digests);
		good &= as_one_by_one(messages, n, digests);
		free_messages(messages, n);
	}
	ok(good, name);
}
#endif

static void
test_macs(void)
{
	uint8_t		key[32] = {7, 8, 9};
	uint8_t		digests[MOST][BW_SHA256_LEN];
	uint8_t		expected[MOST][BW_SHA256_LEN];
	bw_hmac_key keyed;
	bool		good = true;

	bw_hmac_key_init(&keyed, key, sizeof(key));
	for (size_t n = 0; n <= MOST; n++)
	{
		for (size_t i = 0; i < n; i++)
		{
			for (int k = 0; k < BW_SHA256_LEN; k++)
				digests[i][k] = (uint8_t) rand();
			bw_hmac_sha256_keyed(&keyed, digests[i], BW_SHA256_LEN, expected[i]);
		}
		bw_hmac_sha256_many(&keyed, n, digests);
		good &= memcmp(digests, expected, n * BW_SHA256_LEN) == 0;
	}
	ok(good, "MACs of 0 to 40 digests");
}

int
main(void)
{
	srand(20);
	test_many();
#ifdef HAVE_LANES
	test_engine(&(Engine) {16, compress_16}, __builtin_cpu_supports("avx512f"), "16 lanes");
	test_engine(&(Engine) {8, compress_8}, __builtin_cpu_supports("avx2"), "8 lanes");
#endif
	test_macs();
	printf("1..%d\n", tests);
	return failures > 0;
}
