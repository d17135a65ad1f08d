/*
 * merkle.c
 *		The Merkle tree of RFC 6962 and 9162.
 */
#include "common/merkle.h"

#include <string.h>

void
bw_tree_leaf_hash(const void *data, size_t len, bw_hash out)
{
	bw_sha256_two("", 1, data, len, out);
}

void
bw_node_hash(const bw_hash left, const bw_hash right, bw_hash out)
{
	uint8_t		node[1 + 2 * BW_HASH_LEN];

	node[0] = 0x01;
	memcpy(node + 1, left, BW_HASH_LEN);
	memcpy(node + 1 + BW_HASH_LEN, right, BW_HASH_LEN);
	bw_sha256(node, sizeof(node), out);
}

/* The n nodes over 2 * n hashes, in their place; BW_MANY at most. */
static void
hash_pairs(const bw_hash *hashes, size_t n, bw_hash *out)
{
	uint8_t		node[BW_MANY][1 + 2 * BW_HASH_LEN];
	bw_bytes	messages[BW_MANY];

	for (size_t i = 0; i < n; i++)
	{
		node[i][0] = 0x01;
		memcpy(node[i] + 1, hashes[2 * i], 2 * BW_HASH_LEN);
		messages[i] = (bw_bytes) {node[i], sizeof(node[i])};
	}
	bw_sha256_many(messages, n, out);
}

void
bw_subtree_root(bw_hash *hashes, int levels)
{
	for (size_t nodes = ((size_t) 1 << levels) / 2; nodes > 0; nodes /= 2)
		for (size_t i = 0; i < nodes; i += BW_MANY)
			hash_pairs(hashes + 2 * i, nodes - i < BW_MANY ? nodes - i : BW_MANY, hashes + i);
}

void
bw_peaks_add(bw_peaks *peaks, const bw_hash leaf)
{
	(void) bw_peaks_add_subtree(peaks, 0, leaf);
}

bool
bw_peaks_add_subtree(bw_peaks *peaks, int level, const bw_hash root)
{
	uint64_t	leaves = (uint64_t) 1 << level;
	bw_hash		hash;

	if ((peaks->size & (leaves - 1)) != 0 || leaves > BW_TREE_MAX - peaks->size)
		return false;
	memcpy(hash, root, BW_HASH_LEN);
	for (; peaks->size >> level & 1; level++)
		bw_node_hash(peaks->peak[level], hash, hash);
	memcpy(peaks->peak[level], hash, BW_HASH_LEN);
	peaks->size += leaves;
	return true;
}

void
bw_peaks_root(const bw_peaks *peaks, bw_hash root)
{
	bool		any = false;

	if (peaks->size == 0)
	{
		bw_sha256("", 0, root);
		return;
	}
	for (int level = 0; level < 64; level++)
	{
		if (!(peaks->size >> level & 1))
			continue;
		if (any)
			bw_node_hash(peaks->peak[level], root, root);
		else
			memcpy(root, peaks->peak[level], BW_HASH_LEN);
		any = true;
	}
}

bool
bw_tree_peaks(uint64_t size, bw_subtree subtree, void *arg, bw_peaks *peaks)
{
	if (size > BW_TREE_MAX)
		return false;
	memset(peaks, 0, sizeof(*peaks));
	peaks->size = size;
	for (int level = 0; level < 63; level++)
		if ((size >> level & 1) && !subtree(arg, level, (size >> level) - 1, peaks->peak[level]))
			return false;
	return true;
}

bool
bw_tree_root(uint64_t size, bw_subtree subtree, void *arg, bw_hash root)
{
	bw_peaks	peaks;

	if (!bw_tree_peaks(size, subtree, arg, &peaks))
		return false;
	bw_peaks_root(&peaks, root);
	return true;
}

/* Root of leaves first ... end - 1, where first is a multiple of the power of two at or above their number. */
static bool
range_root(uint64_t first, uint64_t end, bw_subtree subtree, void *arg, bw_hash root)
{
	uint64_t	n = end - first;
	bool		any = false;

	for (int level = 0; level < 63; level++)
	{
		bw_hash		peak;

		if (!(n >> level & 1))
			continue;
		if (!subtree(arg, level, (end >> level) - 1, peak))
			return false;
		if (any)
			bw_node_hash(peak, root, root);
		else
			memcpy(root, peak, BW_HASH_LEN);
		any = true;
		end -= (uint64_t) 1 << level;
	}
	return any;
}

/* The largest power of two smaller than n, which is at least 2. */
static uint64_t
split(uint64_t n)
{
	return (uint64_t) 1 << (63 - __builtin_clzll(n - 1));
}

/* Put the hashes of a proof, which was gathered from the root down, leaf first. */
static void
reverse(bw_hash *proof, int n)
{
	for (int i = 0; i < n / 2; i++)
	{
		bw_hash		hash;

		memcpy(hash, proof[i], BW_HASH_LEN);
		memcpy(proof[i], proof[n - 1 - i], BW_HASH_LEN);
		memcpy(proof[n - 1 - i], hash, BW_HASH_LEN);
	}
}

int
bw_inclusion_proof(uint64_t index, uint64_t size, bw_subtree subtree, void *arg,
				   bw_hash proof[BW_PROOF_MAX])
{
	uint64_t	first = 0;
	uint64_t	end = size;
	int			n = 0;

	if (size > BW_TREE_MAX || index >= size)
		return -1;
	while (end - first > 1)
	{
		uint64_t	middle = first + split(end - first);
		bool		left = index < middle;

		if (!range_root(left ? middle : first, left ? end : middle, subtree, arg, proof[n++]))
			return -1;
		if (left)
			end = middle;
		else
			first = middle;
	}
	reverse(proof, n);
	return n;
}

int
bw_consistency_proof(uint64_t old_size, uint64_t new_size, bw_subtree subtree, void *arg,
					 bw_hash proof[BW_PROOF_MAX])
{
	uint64_t	first = 0;
	uint64_t	end = new_size;
	int			n = 0;

	if (new_size > BW_TREE_MAX || old_size == 0 || old_size > new_size)
		return -1;
	while (end != old_size)
	{
		uint64_t	middle = first + split(end - first);
		bool		left = old_size <= middle;

		if (!range_root(left ? middle : first, left ? end : middle, subtree, arg, proof[n++]))
			return -1;
		if (left)
			end = middle;
		else
			first = middle;
	}
	/* the old tree itself is known to the verifier */
	if (first > 0 && !range_root(first, end, subtree, arg, proof[n++]))
		return -1;
	reverse(proof, n);
	return n;
}

bool
bw_inclusion_verify(uint64_t index, uint64_t size, const bw_hash leaf,
					const bw_hash *proof, size_t n, const bw_hash root)
{
	uint64_t	fn = index;
	uint64_t	sn = size - 1;
	bw_hash		hash;

	if (size > BW_TREE_MAX || index >= size)
		return false;
	memcpy(hash, leaf, BW_HASH_LEN);
	for (size_t i = 0; i < n; i++)
	{
		if (sn == 0)
			return false;
		if ((fn & 1) || fn == sn)
		{
			bw_node_hash(proof[i], hash, hash);
			while (!(fn & 1) && fn != 0)
			{
				fn >>= 1;
				sn >>= 1;
			}
		}
		else
			bw_node_hash(hash, proof[i], hash);
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && bw_equal(hash, root, BW_HASH_LEN);
}

bool
bw_consistency_verify(uint64_t old_size, uint64_t new_size, const bw_hash old_root,
					  const bw_hash new_root, const bw_hash *proof, size_t n)
{
	uint64_t	fn = old_size - 1;
	uint64_t	sn = new_size - 1;
	bw_hash		old_hash;
	bw_hash		new_hash;
	size_t		i = 0;

	if (new_size > BW_TREE_MAX || old_size == 0 || old_size > new_size)
		return false;
	if (old_size == new_size)
		return n == 0 && bw_equal(old_root, new_root, BW_HASH_LEN);
	if (n == 0)
		return false;

	/* where the old tree is complete, its root begins the proof */
	memcpy(old_hash, (old_size & (old_size - 1)) == 0 ? old_root : proof[i++], BW_HASH_LEN);
	memcpy(new_hash, old_hash, BW_HASH_LEN);
	while (fn & 1)
	{
		fn >>= 1;
		sn >>= 1;
	}
	for (; i < n; i++)
	{
		if (sn == 0)
			return false;
		if ((fn & 1) || fn == sn)
		{
			bw_node_hash(proof[i], old_hash, old_hash);
			bw_node_hash(proof[i], new_hash, new_hash);
			while (!(fn & 1) && fn != 0)
			{
				fn >>= 1;
				sn >>= 1;
			}
		}
		else
			bw_node_hash(new_hash, proof[i], new_hash);
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && bw_equal(old_hash, old_root, BW_HASH_LEN) &&
		bw_equal(new_hash, new_root, BW_HASH_LEN);
}
