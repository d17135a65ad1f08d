/*
 * tree.c
 *		Merkle trees, proofs, notes and checkpoints of common/ against published
 *		vectors (the tree of 8 leaves of Certificate Transparency, the note of
 *		Go's package) and against a tree computed by definition.  Prints TAP.
 *
 * Every buffer is allocated at its exact size, so that a sanitizer sees a byte
 * read beyond it.
 */
#include "common/merkle.h"
#include "common/note.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAVES	70				/* of the trees that are compared in all sizes */

static int	tests = 0;
static int	failures = 0;

static void ok(bool passed, const char *format,...) __attribute__((format(printf, 2, 3)));

static void
ok(bool passed, const char *format,...)
{
	va_list		args;

	printf("%sok %d - ", passed ? "" : "not ", ++tests);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	failures += !passed;
}

static void
unhex(const char *hex, uint8_t *out, size_t len)
{
	if (!bw_hex_decode(hex, strlen(hex), out, len))
		abort();
}

/* --- Certificate Transparency's tree ------------------------------------------------ */

static const char *const ct_leaves[] = {
	"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"
};
static const char *const ct_roots[] = {
	"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
	"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
	"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
	"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
	"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
	"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
	"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
	"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
};

typedef struct Published
{
	uint64_t	first;			/* index, or the old size */
	uint64_t	size;
	int			n;
	const char *hash[3];
} Published;

static const Published ct_inclusion[] = {
	{0, 1, 0, {NULL}},
	{0, 8, 3, {"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
		"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
	"6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}},
	{5, 8, 3, {"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
		"ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
	"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}},
	{2, 3, 1, {"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"}},
	{1, 5, 3, {"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
	"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"}}
};
static const Published ct_consistency[] = {
	{1, 1, 0, {NULL}},
	{1, 8, 3, {"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
		"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
	"6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}},
	{6, 8, 3, {"0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
		"ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
	"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}},
	{2, 5, 2, {"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
	"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"}}
};

/* --- a tree by definition --------------------------------------------------------------- */

typedef struct Tree
{
	uint64_t	size;
	bw_hash    *leaf;
} Tree;

/* MTH of RFC 6962, section 2.1, as it stands there. */
static void
mth(const bw_hash *leaf, uint64_t n, bw_hash out)
{
	uint64_t	k = 1;
	bw_hash		left;
	bw_hash		right;

	if (n == 1)
	{
		memcpy(out, leaf[0], BW_HASH_LEN);
		return;
	}
	while (k * 2 < n)
		k *= 2;
	mth(leaf, k, left);
	mth(leaf + k, n - k, right);
	bw_node_hash(left, right, out);
}

static bool
subtree(void *arg, int level, uint64_t n, bw_hash hash)
{
	Tree	   *tree = arg;
	uint64_t	len = (uint64_t) 1 << level;

	if ((n + 1) * len > tree->size)
		return false;
	mth(tree->leaf + n * len, len, hash);
	return true;
}

static bool
proof_is(const Published *published, bw_hash *proof, int n)
{
	if (n != published->n)
		return false;
	for (int i = 0; i < n; i++)
	{
		bw_hash		expected;

		unhex(published->hash[i], expected, BW_HASH_LEN);
		if (memcmp(expected, proof[i], BW_HASH_LEN) != 0)
			return false;
	}
	return true;
}

static void
test_ct(void)
{
	bw_hash		leaf[8];
	Tree		tree = {8, leaf};
	bw_peaks	peaks = {0};
	bw_hash		proof[BW_PROOF_MAX];
	bw_hash		empty;
	bw_hash		root;

	bw_peaks_root(&peaks, root);
	unhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", empty, BW_HASH_LEN);
	ok(memcmp(root, empty, BW_HASH_LEN) == 0, "the root of no leaves is the hash of nothing");
	for (int i = 0; i < 8; i++)
	{
		size_t		len = strlen(ct_leaves[i]) / 2;
		uint8_t    *data = malloc(len);
		bw_hash		expected;

		unhex(ct_leaves[i], data, len);
		bw_tree_leaf_hash(data, len, leaf[i]);
		free(data);
		bw_peaks_add(&peaks, leaf[i]);
		bw_peaks_root(&peaks, root);
		unhex(ct_roots[i], expected, BW_HASH_LEN);
		ok(memcmp(root, expected, BW_HASH_LEN) == 0, "root of %d leaves of CT's tree", i + 1);
		ok(bw_tree_root(i + 1, subtree, &tree, root) && memcmp(root, expected, BW_HASH_LEN) == 0,
		   "the same from subtrees");
	}
	for (size_t i = 0; i < sizeof(ct_inclusion) / sizeof(*ct_inclusion); i++)
		ok(proof_is(&ct_inclusion[i], proof, bw_inclusion_proof(ct_inclusion[i].first, ct_inclusion[i].size, subtree, &tree, proof)),
		   "CT's proof that leaf %d is in %d", (int) ct_inclusion[i].first, (int) ct_inclusion[i].size);
	for (size_t i = 0; i < sizeof(ct_consistency) / sizeof(*ct_consistency); i++)
		ok(proof_is(&ct_consistency[i], proof, bw_consistency_proof(ct_consistency[i].first, ct_consistency[i].size, subtree, &tree, proof)),
		   "CT's proof that %d leaves begin %d", (int) ct_consistency[i].first, (int) ct_consistency[i].size);
}

/* A copy of exactly n hashes, freed by the caller. */
static bw_hash *
exactly(bw_hash *proof, int n)
{
	bw_hash    *copy = malloc(n * sizeof(bw_hash));

	memcpy(copy, proof, n * sizeof(bw_hash));
	return copy;
}

/* Is the proof refused with each hash changed, one too few, one too many? */
static bool
inclusion_only_as_it_is(uint64_t index, uint64_t size, const bw_hash leaf, bw_hash *proof, int n, const bw_hash root)
{
	bool		refused = true;
	bw_hash    *longer = malloc((n + 1) * sizeof(bw_hash));

	for (int i = 0; i < n; i++)
	{
		proof[i][i % BW_HASH_LEN] ^= 1;
		refused &= !bw_inclusion_verify(index, size, leaf, (const bw_hash *) proof, n, root);
		proof[i][i % BW_HASH_LEN] ^= 1;
	}
	memcpy(longer, proof, n * sizeof(bw_hash));
	memcpy(longer[n], leaf, BW_HASH_LEN);
	refused &= !bw_inclusion_verify(index, size, leaf, (const bw_hash *) longer, n + 1, root);
	refused &= n == 0 || !bw_inclusion_verify(index, size, leaf, (const bw_hash *) proof, n - 1, root);
	refused &= !bw_inclusion_verify(size, size, leaf, (const bw_hash *) proof, n, root);
	/* a node is no leaf: that of its children, and of its doubled child */
	refused &= n == 0 || !bw_inclusion_verify(index / 2, (size + 1) / 2, leaf, (const bw_hash *) proof + 1, n - 1, root);
	free(longer);
	return refused;
}

static void
test_all_sizes(void)
{
	bw_hash		leaf[LEAVES];
	bool		roots = true,
				included = true,
				forged = true,
				elsewhere = true,
				consistent = true,
				inconsistent = true;

	for (int i = 0; i < LEAVES; i++)
		bw_tree_leaf_hash(&i, sizeof(i), leaf[i]);
	for (uint64_t size = 1; size <= LEAVES; size++)
	{
		Tree		tree = {size, leaf};
		bw_hash		root;
		bw_hash		by_definition;
		bw_hash		proof[BW_PROOF_MAX];

		mth(leaf, size, by_definition);
		roots &= bw_tree_root(size, subtree, &tree, root) && memcmp(root, by_definition, BW_HASH_LEN) == 0;
		for (uint64_t i = 0; i < size; i++)
		{
			int			n = bw_inclusion_proof(i, size, subtree, &tree, proof);
			bw_hash    *copy = exactly(proof, n);

			included &= bw_inclusion_verify(i, size, leaf[i], (const bw_hash *) copy, n, root);
			forged &= inclusion_only_as_it_is(i, size, leaf[i], copy, n, root);
			for (uint64_t j = 0; j < size; j++)
				elsewhere &= j == i || !bw_inclusion_verify(j, size, leaf[i], (const bw_hash *) copy, n, root);
			free(copy);
		}
		for (uint64_t old = 1; old <= size; old++)
		{
			bw_hash		old_root;
			int			n = bw_consistency_proof(old, size, subtree, &tree, proof);
			bw_hash    *copy = exactly(proof, n);

			mth(leaf, old, old_root);
			consistent &= bw_consistency_verify(old, size, old_root, root, (const bw_hash *) copy, n);
			for (int k = 0; k < n; k++)
			{
				copy[k][0] ^= 0x80;
				inconsistent &= !bw_consistency_verify(old, size, old_root, root, (const bw_hash *) copy, n);
				copy[k][0] ^= 0x80;
			}
			old_root[5] ^= 1;
			inconsistent &= !bw_consistency_verify(old, size, old_root, root, (const bw_hash *) copy, n);
			old_root[5] ^= 1;
			inconsistent &= n == 0 || !bw_consistency_verify(old, size, old_root, root, (const bw_hash *) copy, n - 1);
			free(copy);
		}
	}
	ok(roots, "roots of trees up to %d leaves are those of the definition", LEAVES);
	ok(included, "every leaf's proof holds");
	ok(forged, "L22: no proof holds with a hash changed, missing or added, nor of a node as a leaf");
	ok(elsewhere, "L22: no proof holds for another index");
	ok(consistent, "every size is consistent with every later one");
	ok(inconsistent, "L22: and with no other root, nor by a changed or shorter proof");
}

static void
test_limits(void)
{
	bw_hash		zero = {0};
	bw_hash		proof[BW_PROOF_MAX];
	bw_hash		leaf = {1};
	Tree		tree = {1, &leaf};

	ok(bw_inclusion_proof(1, 1, subtree, &tree, proof) == -1, "no proof of a leaf beyond the tree");
	ok(bw_inclusion_proof(0, 2, subtree, &tree, proof) == -1, "none where a subtree is not to be had");
	ok(bw_inclusion_proof(0, BW_TREE_MAX + 1, subtree, &tree, proof) == -1, "none of a tree that is too large");
	ok(bw_consistency_proof(0, 1, subtree, &tree, proof) == -1, "no consistency from nothing");
	ok(bw_consistency_proof(2, 1, subtree, &tree, proof) == -1, "none backwards");
	ok(!bw_inclusion_verify(0, 0, zero, NULL, 0, zero), "L22: nothing is in an empty tree");
	ok(!bw_inclusion_verify(0, UINT64_MAX, zero, NULL, 0, zero), "L22: a size beyond all is refused");
	ok(!bw_consistency_verify(0, 5, zero, zero, NULL, 0), "L22: from size 0 nothing is proved");
	ok(!bw_consistency_verify(6, 5, zero, zero, NULL, 0), "L22: a tree that shrank is refused");
	ok(!bw_consistency_verify(4, 8, zero, zero, NULL, 0), "L22: an empty proof between sizes is refused");
}

/* --- notes ----------------------------------------------------------------------------------- */

static const char go_vkey[] = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
static const char go_note[] =
"If you think cryptography is the answer to your problem,\n"
"then you don't know what your problem is.\n"
"\n"
"\xE2\x80\x94 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

static bw_note_result
verify_copy(const char *note, size_t len, const bw_vkey *vkey)
{
	char	   *copy = malloc(len);
	size_t		body_len;
	bw_note_result result;

	memcpy(copy, note, len);
	result = bw_note_verify(copy, len, vkey, &body_len);
	free(copy);
	return result;
}

static bool
vkey_parses(const char *text, size_t len)
{
	char	   *copy = malloc(len);
	bw_vkey		vkey;
	bool		parsed;

	memcpy(copy, text, len);
	parsed = bw_vkey_parse(copy, len, &vkey);
	free(copy);
	return parsed;
}

static void
test_note(void)
{
	bw_vkey		vkey;
	char		text[BW_VKEY_MAX];
	size_t		len = sizeof(go_note) - 1;
	size_t		vkey_len = sizeof(go_vkey) - 1;
	bool		shorter = true;
	bool		changed = true;
	bool		changed_key = true;
	size_t		body_len;

	ok(bw_vkey_parse(go_vkey, vkey_len, &vkey), "the key of Go's example is read");
	bw_vkey_format(&vkey, text);
	ok(strcmp(text, go_vkey) == 0, "and written as it was");
	ok(bw_note_verify(go_note, len, &vkey, &body_len) == BW_NOTE_OK &&
	   body_len == strlen("If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"),
	   "Go's example of a note verifies");
	for (size_t i = 0; i < len; i++)
	{
		char	   *copy = malloc(len);

		shorter &= verify_copy(go_note, i, &vkey) != BW_NOTE_OK;
		for (int bit = 0; bit < 8; bit++)
		{
			memcpy(copy, go_note, len);
			copy[i] ^= 1 << bit;
			changed &= verify_copy(copy, len, &vkey) != BW_NOTE_OK;
		}
		free(copy);
	}
	ok(shorter, "it does not at any other length");
	ok(changed, "nor with any bit changed");
	for (size_t i = 0; i < vkey_len; i++)
	{
		char		copy[sizeof(go_vkey)];

		changed_key &= !vkey_parses(go_vkey, i);
		memcpy(copy, go_vkey, sizeof(copy));
		copy[i] ^= 2;
		changed_key &= !vkey_parses(copy, vkey_len);
	}
	ok(changed_key, "a key with a character changed or missing is none");
	ok(!bw_vkey_make("", vkey.key, &vkey) && !bw_vkey_make("a b", vkey.key, &vkey) && !bw_vkey_make("a+b", vkey.key, &vkey),
	   "a name is not empty, and has neither white space nor a plus sign");
}

/* --- checkpoints ------------------------------------------------------------------------------- */

static bool
parses(const char *body)
{
	size_t		len = strlen(body);
	char	   *copy = malloc(len);
	bw_checkpoint checkpoint;
	bool		parsed;

	memcpy(copy, body, len);
	parsed = bw_checkpoint_parse(copy, len, &checkpoint);
	free(copy);
	return parsed;
}

#define ROOT "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="

static void
test_checkpoint(void)
{
	uint8_t		seed[32] = {7};
	uint8_t		secret[crypto_sign_SECRETKEYBYTES];
	uint8_t		public_key[BW_ED25519_KEY_LEN];
	uint8_t		signature[BW_ED25519_SIG_LEN];
	bw_checkpoint written = {.origin = "bulwark/test", .size = 1234, .has_block = true, .block = 56};
	bw_checkpoint got;
	bw_vkey		vkey;
	bw_vkey		other;
	char		note[BW_NOTE_MAX];
	size_t		len;
	size_t		body_len;

	memset(written.root, 1, BW_SHA256_LEN);
	memset(written.header_hash, 2, BW_SHA256_LEN);
	crypto_sign_seed_keypair(public_key, secret, seed);
	bw_vkey_make(written.origin, public_key, &vkey);
	bw_vkey_make("bulwark/another", public_key, &other);

	len = body_len = bw_checkpoint_format(&written, note, sizeof(note));
	ok(len > 0 && bw_checkpoint_parse(note, len, &got) && memcmp(&got, &written, sizeof(got)) == 0,
	   "a checkpoint is read as it was written");
	crypto_sign_detached(signature, NULL, (const unsigned char *) note, len, secret);
	len = bw_note_add_signature(note, len, sizeof(note), true, &vkey, signature);
	ok(verify_copy(note, len, &vkey) == BW_NOTE_OK, "and its signature verifies");
	ok(verify_copy(note, len, &other) == BW_NOTE_UNKNOWN_KEY, "L29: not under another log's name");
	len = bw_note_add_signature(note, len, sizeof(note), false, &other, signature);
	ok(verify_copy(note, len, &vkey) == BW_NOTE_OK && verify_copy(note, len, &other) == BW_NOTE_OK, "two keys sign one");
	ok(bw_checkpoint_format(&written, note, body_len) == 0 && bw_checkpoint_format(&written, note, body_len + 1) == body_len,
	   "what does not fit is not written");
	written.size = (uint64_t) INT64_MAX + 1;
	ok(bw_checkpoint_format(&written, note, sizeof(note)) == 0, "nor is a size that no log has");

	ok(parses("o\n0\n" ROOT "\n"), "the least checkpoint is one");
	ok(parses("o\n1\n" ROOT "\nextension\n"), "with a line that we do not know, too");
	ok(!parses("o\n01\n" ROOT "\n"), "no superfluous zero");
	ok(!parses("o\n-1\n" ROOT "\n") && !parses("o\n+1\n" ROOT "\n") && !parses("o\n1 \n" ROOT "\n"), "no sign or space in the size");
	ok(!parses("o\n9223372036854775808\n" ROOT "\n") && parses("o\n9223372036854775807\n" ROOT "\n"), "no size beyond a bigint");
	ok(!parses("\n1\n" ROOT "\n") && !parses("o p\n1\n" ROOT "\n"), "an origin that is a name");
	ok(!parses("o\n1\n" ROOT) && !parses("o\n1\n" ROOT "\n\n") && !parses("o\n1\n"), "whole lines, and no empty ones");
	ok(!parses("o\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=\n"), "canonical base64");
	ok(!parses("o\n1\n" ROOT "\nblock 1 " ROOT "\nblock 2 " ROOT "\n") && !parses("o\n1\n" ROOT "\nblock 1\n"),
	   "one block at most, and a whole one");
}

int
main(void)
{
	if (sodium_init() < 0)
		return 2;
	test_ct();
	test_all_sizes();
	test_limits();
	test_note();
	test_checkpoint();
	printf("1..%d\n", tests);
	return failures > 0;
}
