/*
 * proof.c
 *		Proofs as ledger_proof() and ledger_consistency() return them.
 */
#include "proof.h"

#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PROOF_TEXT_MAX (64 * 1024)

/* The hashes of a path: their number, or -1. */
static int
path_of(const Json *json, bw_hash path[BW_PROOF_MAX])
{
	const JsonValue *array = json_member(json, "path", JSON_ARRAY);
	const JsonValue *value;
	bw_bytes	hash;

	if (array == NULL || array->size > BW_PROOF_MAX)
		return -1;
	value = json_first(array);
	for (uint32_t i = 0; i < array->size; i++, value = json_next(json, value))
	{
		if (!json_base64(value, &hash) || hash.len != BW_HASH_LEN)
			return -1;
		memcpy(path[i], hash.data, BW_HASH_LEN);
	}
	return (int) array->size;
}

static bool
parse(Json *json, char *text, size_t len)
{
	int64_t		version;

	return json_parse(json, text, len) && json->values->type == JSON_OBJECT &&
		json_member_integer(json, "version", &version) && version == 1;
}

/* The hash of that name is this one. */
static bool
names_hash(const Json *json, const char *name, const uint8_t hash[BW_HASH_LEN])
{
	bw_bytes	is;

	return json_member_base64(json, name, &is) && is.len == BW_HASH_LEN && bw_equal(is.data, hash, BW_HASH_LEN);
}

static bool
names_origin(const Json *json, const char *origin)
{
	const JsonValue *is = json_member(json, "origin", JSON_STRING);

	return is != NULL && json_is(is, origin);
}

ProofResult
proof_consistency(char *text, size_t len, const bw_checkpoint *older, const bw_checkpoint *newer)
{
	Json		json = {0};
	bw_hash		path[BW_PROOF_MAX];
	int64_t		old_size,
				new_size;
	int			n = -1;
	ProofResult result = PROOF_MALFORMED;

	if (parse(&json, text, len) && json_member_integer(&json, "old_size", &old_size) && json_member_integer(&json, "new_size", &new_size) &&
		(n = path_of(&json, path)) >= 0)
		result = (uint64_t) old_size == older->size && (uint64_t) new_size == newer->size &&
			names_hash(&json, "old_root", older->root) && names_hash(&json, "new_root", newer->root) &&
			names_origin(&json, older->origin) && names_origin(&json, newer->origin) &&
			bw_consistency_verify(older->size, newer->size, older->root, newer->root,
								  (const bw_hash *) path, (size_t) n) ? PROOF_HOLDS : PROOF_REFUSED;
	json_free(&json);
	return result;
}

/* --- one entry -------------------------------------------------------------------- */

/* The checkpoint, signed by a pinned key; NULL, or why not. */
static const char *
open_checkpoint(const Check *check, const JsonValue *note, bw_checkpoint *checkpoint)
{
	bw_note_result result = BW_NOTE_UNKNOWN_KEY;
	size_t		body_len = 0;

	for (size_t i = 0; i < check->pinned && result == BW_NOTE_UNKNOWN_KEY; i++)
	{
		result = bw_note_verify(note->text, note->len, &check->keys[i].vkey, &body_len);
		if (result == BW_NOTE_OK &&
			(!bw_checkpoint_parse(note->text, body_len, checkpoint) ||
			 strcmp(checkpoint->origin, check->keys[i].vkey.name) != 0))
			return "its checkpoint is one of another log";
	}
	return result == BW_NOTE_OK ? NULL :
		result == BW_NOTE_UNKNOWN_KEY ? "its checkpoint is not signed by the key that you gave" :
		"the signature of its checkpoint is wrong";
}

static void
origin_of(const uint8_t id[BW_LOG_ID_LEN], char origin[64])
{
	char		hex[32];
	int			n = 0;
	char	   *at = origin + sprintf(origin, "bulwark/");

	bw_hex_encode(id, BW_LOG_ID_LEN, hex);
	for (int i = 0; i < 36; i++)
		*at++ = i == 8 || i == 13 || i == 18 || i == 23 ? '-' : hex[n++];
	*at = '\0';
}

/* NULL and what the entry is, or why the proof does not hold. */
static const char *
judge(const Check *check, const Json *json, bw_checkpoint *checkpoint, bw_leaf *leaf)
{
	const JsonValue *note = json_member(json, "checkpoint", JSON_STRING);
	int64_t		index,
				size,
				entry_id;
	bw_bytes	data,
				claimed;
	bw_hash		path[BW_PROOF_MAX];
	bw_hash		hash;
	char		origin[64];
	const char *why;
	int			n;

	if (note == NULL || !json_member_integer(json, "leaf_index", &index) || !json_member_integer(json, "tree_size", &size) ||
		!json_member_integer(json, "entry_id", &entry_id) || !json_member_base64(json, "leaf", &data) ||
		!json_member_base64(json, "leaf_hash", &claimed) || (n = path_of(json, path)) < 0 ||
		data.len <= BW_LOG_ID_LEN || claimed.len != BW_HASH_LEN)
		return "it is not a proof of this format";
	if ((why = open_checkpoint(check, note, checkpoint)) != NULL)
		return why;
	origin_of(data.data, origin);
	if (strcmp(origin, checkpoint->origin) != 0 || !names_origin(json, checkpoint->origin))
		return "its leaf is one of another log";
	if (checkpoint->size != (uint64_t) size)
		return "its checkpoint is of another size";
	bw_tree_leaf_hash(data.data, data.len, hash);
	if (!bw_equal(hash, claimed.data, BW_HASH_LEN))
		return "its hash is not that of its leaf";
	if (!bw_inclusion_verify((uint64_t) index, (uint64_t) size, hash, (const bw_hash *) path, (size_t) n, checkpoint->root))
		return "its leaf is not under the root that was signed";
	if (bw_leaf_parse(data.data + BW_LOG_ID_LEN, data.len - BW_LOG_ID_LEN, leaf) != (ssize_t) (data.len - BW_LOG_ID_LEN) ||
		leaf->entry_id != (uint64_t) entry_id)
		return "its leaf is not the record of the entry";
	return NULL;
}

/* Text of the entry, without what a terminal would obey. */
static void
print_plain(bw_bytes text)
{
	for (size_t i = 0; i < text.len; i++)
	{
		uint8_t		c = text.data[i];
		bool		c1 = c == 0xc2 && i + 1 < text.len && text.data[i + 1] < 0xa0;

		putchar(c < 0x20 || c == 0x7f || c1 ? '?' : c);
		i += c1;
	}
}

static void
say(const bw_leaf *leaf, const bw_checkpoint *checkpoint)
{
	const char *action = bw_action_text(leaf->action);

	printf("verified: entry %" PRIu64 " (", leaf->entry_id);
	print_plain(leaf->action == BW_ACTION_NAMED ? leaf->action_name :
				(bw_bytes) {(const uint8_t *) action, strlen(action)});
	fputs(" of ", stdout);
	print_plain(leaf->entity_type);
	fputs(" by ", stdout);
	print_plain(leaf->role);
	printf(") is in the tree of %" PRIu64 " leaves of %s\n", checkpoint->size, checkpoint->origin);
}

int
proof_verify(Check *check, const char *path)
{
	char	   *text = malloc(PROOF_TEXT_MAX);
	long		len = text != NULL ? read_small_file(path, text, PROOF_TEXT_MAX) : -1;
	Json		json = {0};
	bw_checkpoint checkpoint;
	bw_leaf		leaf;
	const char *why = "it is not a proof of this format";
	int			code = len < 0 ? CLI_UNREADABLE : CLI_FAILED;

	if (len >= 0 && parse(&json, text, (size_t) len))
		why = judge(check, &json, &checkpoint, &leaf);
	if (why == NULL)
	{
		say(&leaf, &checkpoint);
		code = CLI_OK;
	}
	else if (code == CLI_FAILED)
		printf("NOT verified: %s\n", why);
	json_free(&json);
	free(text);
	return code;
}
