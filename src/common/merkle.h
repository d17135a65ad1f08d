/*
 * merkle.h
 *		The Merkle tree of RFC 6962 and 9162 over SHA-256: hashes, roots, proofs
 *		and their verification.  Subtrees come from a callback, so that the same
 *		code serves tiles in a table, a file and memory.
 */
#ifndef BULWARK_MERKLE_H
#define BULWARK_MERKLE_H

#include "common/common.h"

#define BW_HASH_LEN			BW_SHA256_LEN
/* No tree is larger: sizes and indexes are bigint in SQL. */
#define BW_TREE_MAX			((uint64_t) INT64_MAX)
/* No inclusion or consistency proof is longer. */
#define BW_PROOF_MAX		64

typedef uint8_t bw_hash[BW_HASH_LEN];

/* H(0x00 | data); of a ledger's leaf: bw_leaf_hash in record.h. */
extern void bw_tree_leaf_hash(const void *data, size_t len, bw_hash out);
/* H(0x01 | left | right); out may be one of them. */
extern void bw_node_hash(const bw_hash left, const bw_hash right, bw_hash out);
/* Root of 2^levels hashes, which are overwritten; the root ends up in hashes[0]. */
extern void bw_subtree_root(bw_hash *hashes, int levels);

/* A tree that is only added to: the roots of its complete subtrees. */
typedef struct bw_peaks
{
	uint64_t	size;
	bw_hash		peak[64];		/* peak[l] counts where bit l of size is set */
} bw_peaks;
extern void bw_peaks_add(bw_peaks *peaks, const bw_hash leaf);
/* Add 2^level leaves by their root; false: no such subtree begins here. */
extern bool bw_peaks_add_subtree(bw_peaks *peaks, int level, const bw_hash root);
extern void bw_peaks_root(const bw_peaks *peaks, bw_hash root);

/* The root of leaves n * 2^level ... (n + 1) * 2^level - 1; false: not to be had. */
typedef bool (*bw_subtree) (void *arg, int level, uint64_t n, bw_hash hash);

/* Peaks, or the root, of the first size leaves. */
extern bool bw_tree_peaks(uint64_t size, bw_subtree subtree, void *arg, bw_peaks *peaks);
extern bool bw_tree_root(uint64_t size, bw_subtree subtree, void *arg, bw_hash root);

/*
 * Proofs, RFC 6962 sections 2.1.1 and 2.1.2.  The number of hashes, or -1: index,
 * sizes or subtrees are not to be had.
 */
extern int	bw_inclusion_proof(uint64_t index, uint64_t size, bw_subtree subtree, void *arg,
							   bw_hash proof[BW_PROOF_MAX]);
extern int	bw_consistency_proof(uint64_t old_size, uint64_t new_size, bw_subtree subtree,
								 void *arg, bw_hash proof[BW_PROOF_MAX]);

/*
 * Their verification, RFC 9162 sections 2.1.3.2 and 2.1.4.2: exactly the hashes
 * that index and sizes ask for.  From size 0 nothing is proved: refused.
 */
extern bool bw_inclusion_verify(uint64_t index, uint64_t size, const bw_hash leaf,
								const bw_hash *proof, size_t n, const bw_hash root);
extern bool bw_consistency_verify(uint64_t old_size, uint64_t new_size, const bw_hash old_root,
								  const bw_hash new_root, const bw_hash *proof, size_t n);

#endif							/* BULWARK_MERKLE_H */
