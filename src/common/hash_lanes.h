/*
 * hash_lanes.h
 *		One block of SHA-256 in each of LANES messages, in the lanes of vectors
 *		(FIPS 180-4, 6.2.2).  Included once for each width, with NAME and TARGET.
 */

typedef uint32_t NAME(vec) __attribute__((vector_size(4 * LANES)));

#define VEC NAME(vec)
#define ROTR(x, n)	((x) >> (n) | (x) << (32 - (n)))
#define SWAP(x)		((ROTR(x, 8) & 0xff00ff00) | (ROTR(x, 24) & 0x00ff00ff))

/* state[word * LANES + lane] */
TARGET static void
NAME(compress) (uint32_t *state, const uint8_t *const *blocks)
{
	uint32_t	words[16][LANES] __attribute__((aligned(4 * LANES)));
	VEC			w[16];
	VEC			s[8];
	VEC			a,
				b,
				c,
				d,
				e,
				f,
				g,
				h;

	for (int lane = 0; lane < LANES; lane++)
		for (int i = 0; i < 16; i++)
			memcpy(&words[i][lane], blocks[lane] + 4 * i, 4);
	for (int i = 0; i < 16; i++)
	{
		memcpy(&w[i], words[i], sizeof(VEC));
		w[i] = SWAP(w[i]);
	}
	memcpy(s, state, sizeof(s));
	a = s[0], b = s[1], c = s[2], d = s[3];
	e = s[4], f = s[5], g = s[6], h = s[7];

#pragma GCC unroll 64
	for (int i = 0; i < 64; i++)
	{
		VEC			t1;
		VEC			t2;

		if (i >= 16)
		{
			VEC			w2 = w[(i - 2) & 15];
			VEC			w15 = w[(i - 15) & 15];

			w[i & 15] += (ROTR(w2, 17) ^ ROTR(w2, 19) ^ w2 >> 10) + w[(i - 7) & 15] +
				(ROTR(w15, 7) ^ ROTR(w15, 18) ^ w15 >> 3);
		}
		t1 = h + (ROTR(e, 6) ^ ROTR(e, 11) ^ ROTR(e, 25)) + (g ^ (e & (f ^ g))) + round_constant[i] + w[i & 15];
		t2 = (ROTR(a, 2) ^ ROTR(a, 13) ^ ROTR(a, 22)) + ((a & b) | (c & (a | b)));
		h = g, g = f, f = e, e = d + t1;
		d = c, c = b, b = a, a = t1 + t2;
	}

	s[0] += a, s[1] += b, s[2] += c, s[3] += d;
	s[4] += e, s[5] += f, s[6] += g, s[7] += h;
	memcpy(state, s, sizeof(s));
}

#undef VEC
#undef ROTR
#undef SWAP
#undef LANES
#undef NAME
#undef TARGET
