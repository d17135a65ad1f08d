/*
 * hash_many.c
 *		SHA-256 of many short messages at once.
 *
 * A message is hashed block after block, but different messages have nothing to do
 * with each other, so a vector of 8 or 16 words does a step of as many messages.
 * OpenSSL has this inside TLS only.  Without such vectors, or where the processor
 * has instructions for SHA-256 and no vectors of 16, OpenSSL hashes one by one.
 */
#include "common/common.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_LANES
#include <cpuid.h>
#endif

#define BLOCK_LEN	SHA256_CBLOCK
#define MOST_LANES	16
#define FEWEST		3			/* lanes that must be busy for it to be worth it */

/* What messages begin with: the state after so many bytes. */
typedef struct Begin
{
	uint32_t	h[8];
	uint64_t	bytes;
} Begin;

#ifdef HAVE_LANES

static const uint32_t round_constant[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

#define LANES	16
#define NAME(x)	x##_16
#define TARGET	__attribute__((target("avx512f")))
#include "common/hash_lanes.h"

#define LANES	8
#define NAME(x)	x##_8
#define TARGET	__attribute__((target("avx2")))
#include "common/hash_lanes.h"

typedef struct Engine
{
	size_t		lanes;			/* 1: none */
	void		(*compress) (uint32_t *state, const uint8_t *const *blocks);
} Engine;

static bool
has_sha_instructions(void)
{
	unsigned int a,
				b,
				c,
				d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1) != 0;
}

static Engine
choose_engine(void)
{
	if (__builtin_cpu_supports("avx512f"))
		return (Engine) {16, compress_16};
	if (__builtin_cpu_supports("avx2") && !has_sha_instructions())
		return (Engine) {8, compress_8};
	return (Engine) {1, NULL};
}

static const Engine *
engine(void)
{
	static Engine chosen;

	if (chosen.lanes == 0)
		chosen = choose_engine();
	return &chosen;
}

/* A message in its lane. */
typedef struct Lane
{
	const uint8_t *data;
	size_t		whole;			/* blocks of data, ... */
	size_t		blocks;			/* ... and with those of the tail */
	uint8_t		tail[2 * BLOCK_LEN];
} Lane;

/* The tail is what is left of the message, a one, zeros and the number of bits. */
static void
begin_lane(Lane *lane, const bw_bytes *message, uint64_t before)
{
	size_t		rest = message->len % BLOCK_LEN;
	uint64_t	bits = __builtin_bswap64((before + message->len) * 8);

	lane->data = message->data;
	lane->whole = message->len / BLOCK_LEN;
	lane->blocks = lane->whole + (rest + 9 <= BLOCK_LEN ? 1 : 2);
	memset(lane->tail, 0, BLOCK_LEN);
	if (lane->blocks > lane->whole + 1)
		memset(lane->tail + BLOCK_LEN, 0, BLOCK_LEN);
	if (rest > 0)
		memcpy(lane->tail, message->data + message->len - rest, rest);
	lane->tail[rest] = 0x80;
	memcpy(lane->tail + (lane->blocks - lane->whole) * BLOCK_LEN - sizeof(bits), &bits, sizeof(bits));
}

static inline const uint8_t *
block_of(const Lane *lane, size_t block)
{
	if (block < lane->whole)
		return lane->data + block * BLOCK_LEN;
	/* one that has ended goes on with what does not matter */
	return lane->tail + (block + 1 == lane->blocks && block > lane->whole ? BLOCK_LEN : 0);
}

static void
take_digest(const uint32_t *state, size_t lanes, size_t lane, uint8_t out[BW_SHA256_LEN])
{
	for (size_t i = 0; i < 8; i++)
	{
		uint32_t	word = __builtin_bswap32(state[i * lanes + lane]);

		memcpy(out + 4 * i, &word, 4);
	}
}

/* Are the lanes busy enough, from the first message's block to the longest one's last? */
static bool
worth_lanes(const bw_bytes *messages, size_t n)
{
	size_t		most = 0;
	size_t		all = 0;

	for (size_t i = 0; i < n; i++)
	{
		size_t		blocks = (messages[i].len + 8) / BLOCK_LEN + 1;

		most = blocks > most ? blocks : most;
		all += blocks;
	}
	return all >= FEWEST * most;
}

/* At most as many messages as there are lanes; idle ones do the first again. */
static void
hash_lanes(const Engine *e, const Begin *begin, const bw_bytes *messages, size_t n, uint8_t (*out)[BW_SHA256_LEN])
{
	uint32_t	state[8 * MOST_LANES] __attribute__((aligned(4 * MOST_LANES)));
	Lane		lanes[MOST_LANES];
	const uint8_t *at[MOST_LANES];
	size_t		most = 0;

	for (size_t i = 0; i < n; i++)
	{
		begin_lane(&lanes[i], &messages[i], begin->bytes);
		most = lanes[i].blocks > most ? lanes[i].blocks : most;
	}
	for (size_t i = 0; i < 8; i++)
		for (size_t lane = 0; lane < e->lanes; lane++)
			state[i * e->lanes + lane] = begin->h[i];

	for (size_t block = 0; block < most; block++)
	{
		for (size_t i = 0; i < n; i++)
			at[i] = block_of(&lanes[i], block);
		for (size_t i = n; i < e->lanes; i++)
			at[i] = at[0];
		e->compress(state, at);
		for (size_t i = 0; i < n; i++)
			if (block + 1 == lanes[i].blocks)
				take_digest(state, e->lanes, i, out[i]);
	}
	if (begin->bytes > 0)
	{
		bw_wipe(state, sizeof(state));	/* of a key */
		bw_wipe(lanes, sizeof(lanes));
	}
}

/* As many of the messages as there are lanes; false: they are for OpenSSL. */
static bool
hash_in_lanes(const Begin *begin, const bw_bytes *messages, size_t n, uint8_t (*out)[BW_SHA256_LEN])
{
	const Engine *e = engine();

	if (e->lanes == 1 || !worth_lanes(messages, n))
		return false;
	for (size_t done = 0; done < n; done += e->lanes)
		hash_lanes(e, begin, messages + done, n - done < e->lanes ? n - done : e->lanes, out + done);
	return true;
}

#else

static bool
hash_in_lanes(const Begin *begin, const bw_bytes *messages, size_t n, uint8_t (*out)[BW_SHA256_LEN])
{
	return false;
}

#endif

void
bw_sha256_many(const bw_bytes *messages, size_t n, uint8_t (*out)[BW_SHA256_LEN])
{
	static const Begin begin = {
		{
			0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
		}, 0
	};

	for (size_t done = 0; done < n; done += BW_MANY)
	{
		size_t		now = n - done < BW_MANY ? n - done : BW_MANY;

		if (hash_in_lanes(&begin, messages + done, now, out + done))
			continue;
		for (size_t i = done; i < done + now; i++)
			bw_sha256(messages[i].data, messages[i].len, out[i]);
	}
}

/* Of n digests, BW_MANY at most, in place. */
static void
hash_after(const bw_sha256_state *keyed, size_t n, uint8_t (*digests)[BW_SHA256_LEN])
{
	Begin		begin = {.bytes = BLOCK_LEN};
	bw_bytes	messages[BW_MANY] = {{NULL, 0}};

	for (int i = 0; i < 8; i++)
		begin.h[i] = keyed->h[i];
	for (size_t i = 0; i < n; i++)
		messages[i] = (bw_bytes) {digests[i], BW_SHA256_LEN};
	if (!hash_in_lanes(&begin, messages, n, digests))
		for (size_t i = 0; i < n; i++)
		{
			bw_sha256_state state = *keyed;

			bw_sha256_add(&state, digests[i], BW_SHA256_LEN);
			bw_sha256_end(&state, digests[i]);
			bw_wipe(&state, sizeof(state));
		}
	bw_wipe(&begin, sizeof(begin));
}

void
bw_hmac_sha256_many(const bw_hmac_key *keyed, size_t n, uint8_t (*digests)[BW_SHA256_LEN])
{
	for (size_t done = 0; done < n; done += BW_MANY)
	{
		size_t		now = n - done < BW_MANY ? n - done : BW_MANY;

		hash_after(&keyed->inner, now, digests + done);
		hash_after(&keyed->outer, now, digests + done);
	}
}
