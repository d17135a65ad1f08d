/*
 * check_entry.c
 *		Entries of an export: each in its place, whole, and what its transaction has
 *		there.
 */
#include "check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- transactions ------------------------------------------------------------------ */

/* The run that the leaf belongs to is the current one. */
static bool
run_of(Check *check, uint64_t leaf)
{
	uint64_t	n;

	while (leaf >= check->run_end)
	{
		if (check->runs_bytes == NULL || !bw_runs_next(&check->runs, &check->run_xid, &n))
			return false;
		check->run_first = check->run_end;
		check->run_end += n;
	}
	return true;
}

/* Where the transaction's last entry was shown, a manifest must cover it. */
void
check_transaction_end(Check *check)
{
	const Transaction *t = &check->transaction;

	if (t->follows && t->sequence != 0 && t->first != t->sequence + 1)
		check_problem(check, (int64_t) check->peaks.size - 1, -1,
					  "transaction %" PRIu64 ": its last entries are missing, with its manifest", t->xid);
}

/* Another transaction begins, with this entry or with some that are left out. */
static void
begin_transaction(Check *check, const bw_leaf *leaf)
{
	Transaction *t = &check->transaction;

	t->xid = leaf->xid;
	t->sequence = 0;
	t->first = leaf->sequence == 1 ? 1 : 0;
	bw_sha256_begin(&t->leaves);
	if (check->runs_bytes == NULL)
		check_xid(check, leaf->xid);
}

/* What the manifest covers begins where the one before it ended, and is what was shown. */
static bool
manifest_holds(const Transaction *t, const bw_leaf *leaf)
{
	bw_sha256_state leaves = t->leaves;
	uint8_t		digest[BW_SHA256_LEN];

	if (t->first == 0)
		return true;
	if (leaf->manifest_first != t->first)
		return false;
	bw_sha256_end(&leaves, digest);
	return bw_equal(digest, leaf->manifest_digest, sizeof(digest));
}

/* Entries come in the order of (xid, sequence), and the manifests say how many there are. */
static void
check_transaction(Check *check, int64_t index, const bw_leaf *leaf, const uint8_t hash[BW_SHA256_LEN])
{
	Transaction *t = &check->transaction;
	bool		same = t->sequence != 0 && leaf->xid == t->xid;

	if (same ? leaf->sequence <= t->sequence || (t->follows && leaf->sequence != t->sequence + 1) :
		leaf->xid < t->xid || (t->follows && leaf->sequence != 1))
		check_problem(check, index, (int64_t) leaf->entry_id, "it does not follow the entry before it");
	if (!same)
	{
		check_transaction_end(check);
		begin_transaction(check, leaf);
	}
	else if (!t->follows)
		t->first = 0;
	t->follows = true;
	t->sequence = leaf->sequence;
	if (leaf->flags & BW_LEAF_ALONE)
		t->first = 2;
	else if (leaf->flags & BW_LEAF_MANIFEST)
	{
		if (!manifest_holds(t, leaf))
			check_problem(check, index, (int64_t) leaf->entry_id, "its manifest is not that of the entries here");
		t->first = leaf->sequence + 1;
		bw_sha256_begin(&t->leaves);
	}
	else
		bw_sha256_add(&t->leaves, hash, BW_SHA256_LEN);
}

void
check_left_out(Check *check)
{
	check->transaction.follows = false;
}

/* --- contents --------------------------------------------------------------------------- */

#define BIT(tag)	(1u << (tag))
#define IMAGES		(BIT(BW_TAG_SHAPE) | BIT(BW_TAG_OLD_IMAGE) | BIT(BW_TAG_NEW_IMAGE))

/* Which of shape and images an action has. */
static unsigned
images_of(const bw_leaf *leaf)
{
	switch (leaf->action)
	{
		case BW_ACTION_INSERT:
			return BIT(BW_TAG_SHAPE) | BIT(BW_TAG_NEW_IMAGE);
		case BW_ACTION_UPDATE:
			return IMAGES;
		case BW_ACTION_DELETE:
			return BIT(BW_TAG_SHAPE) | BIT(BW_TAG_OLD_IMAGE);
		default:
			return 0;
	}
}

/* Changes of rows are captured; what an application names is asserted, and nothing else. */
static bool
source_fits(const bw_leaf *leaf)
{
	static const char application[] = "app:";
	size_t		n = sizeof(application) - 1;

	if (leaf->action >= BW_ACTION_INSERT && leaf->action <= BW_ACTION_TRUNCATE)
		return leaf->source == BW_SOURCE_CAPTURED;
	if (leaf->action == BW_ACTION_NAMED && leaf->action_name.len >= n && memcmp(leaf->action_name.data, application, n) == 0)
		return leaf->source == BW_SOURCE_ASSERTED;
	return leaf->source == BW_SOURCE_SYSTEM;
}

/* Does it have a value for each column? */
static bool
image_fits(const Shape *shape, const bw_bytes *bytes)
{
	bw_image	image;
	bw_value	value;

	bw_image_open(&image, bytes->data, bytes->len);
	while (bw_image_next(&image, &value))
		;
	return bw_image_valid(&image) && image.ncolumns == shape->ncolumns;
}

static void
check_content(Check *check, int64_t leaf_index, const bw_leaf *leaf, const bw_bytes *bytes)
{
	int64_t		entry = (int64_t) leaf->entry_id;
	const Shape *shape = NULL;
	uint8_t		digest[BW_SHA256_LEN];
	unsigned	there = 0;
	bw_content	content;
	bw_field	field;

	bw_sha256(bytes->data, bytes->len, digest);
	if (!bw_equal(digest, leaf->content_digest, sizeof(digest)))
	{
		check_problem(check, leaf_index, entry, "its content is not the one that was recorded");
		return;
	}
	bw_content_open(&content, bytes->data, bytes->len);
	while (bw_content_next(&content, &field))
	{
		there |= BIT(field.tag) & IMAGES;
		if (field.mode != BW_MODE_PLAIN)
			continue;
		if (field.tag == BW_TAG_SHAPE)
		{
			shape = check_shape(check, field.value.data);
			if (shape == NULL)
				check_problem(check, leaf_index, entry, "the shape of its images is missing");
			else if (shape->len != leaf->entity_type.len || memcmp(shape->relation, leaf->entity_type.data, shape->len) != 0)
				check_problem(check, leaf_index, entry, "the shape of its images is that of another table");
		}
		if ((field.tag == BW_TAG_OLD_IMAGE || field.tag == BW_TAG_NEW_IMAGE) && shape != NULL && !image_fits(shape, &field.value))
			check_problem(check, leaf_index, entry, "an image does not have the columns of its shape");
		if (field.tag == BW_TAG_METADATA && bw_leaf_records_erasure(leaf))
			check_named(check, leaf_index, leaf, &field.value);
	}
	if (!bw_content_valid(&content))
		check_problem(check, leaf_index, entry, "its content is not one of this format");
	else if (there != images_of(leaf))
		check_problem(check, leaf_index, entry, "its content does not have the images of its action");
}

/* --- entries ------------------------------------------------------------------------------ */

/* The record, which is leaf data without the log's id. */
static void
check_record(Check *check, int64_t index, const bw_leaf *leaf, const uint8_t hash[BW_SHA256_LEN])
{
	int64_t		entry = (int64_t) leaf->entry_id;

	if (!bw_idset_add(&check->ids, leaf->entry_id))
		check_problem(check, index, entry, "another entry has the same id");
	if (leaf->incarnation != check->block.incarnation)
		check_problem(check, index, entry, "it is of incarnation %u, its block of %u", leaf->incarnation, check->block.incarnation);
	if (run_of(check, (uint64_t) index) &&
		(leaf->xid != check->run_xid || leaf->sequence != (uint64_t) index - check->run_first + 1))
		check_problem(check, index, entry, "it is not the entry that its transaction has here");
	check_transaction(check, index, leaf, hash);
	if (!source_fits(leaf))
		check_problem(check, index, entry, "its action is not one of its source");
	if (check->oldest == 0 || leaf->time < check->oldest)
		check->oldest = leaf->time;
	if (leaf->time > check->newest)
		check->newest = leaf->time;
}

/* What is beside the record: its content, and the fields for people. */
static void
check_shown(Check *check, int64_t index, const bw_leaf *leaf, const uint8_t hash[BW_SHA256_LEN])
{
	bool		twice = false;
	const JsonValue *content = json_get(&check->json, check->json.values, "content", &twice);
	const JsonValue *fields = json_get(&check->json, check->json.values, "fields", &twice);
	bw_bytes	shown = {NULL, 0};

	if (twice || (fields != NULL && fields->type != JSON_OBJECT))
	{
		check_problem(check, index, (int64_t) leaf->entry_id, "it has two contents, or its fields are not one object");
		return;
	}
	if (content == NULL)
		check->withheld++;
	else if (content->type == JSON_NULL)
		check_gone(check, index, leaf, hash);
	else if (!json_base64(content, &shown))
		check_problem(check, index, (int64_t) leaf->entry_id, "its content is not base64");
	else
		check_content(check, index, leaf, &shown);
	if (fields != NULL)
		check_fields(check, fields, index, leaf,
					 content != NULL && (content->type == JSON_NULL || shown.data != NULL), shown.data, shown.len);
}

bool
check_entry(Check *check)
{
	int64_t		index;
	bw_bytes	data;
	bw_leaf		leaf;
	uint8_t		hash[BW_SHA256_LEN];

	if (!json_member_integer(&check->json, "leaf_index", &index) || !json_member_base64(&check->json, "leaf", &data) || data.len <= BW_LOG_ID_LEN)
		check_stop(check, "line %" PRIu64 " is not an entry", check->lines);
	if (!check->in_block || (uint64_t) index != check->peaks.size || check->peaks.size >= check->block.tree_size)
		check_stop(check, "leaf %" PRId64 " is not in its place, which is that of leaf %" PRIu64, index, check->peaks.size);

	bw_tree_leaf_hash(data.data, data.len, hash);
	bw_peaks_add(&check->peaks, hash);
	check->entries++;
	if (memcmp(data.data, check->log_id, BW_LOG_ID_LEN) != 0)
	{
		check_problem(check, index, -1, "it is an entry of another log");
		check_left_out(check);
	}
	else if (bw_leaf_parse(data.data + BW_LOG_ID_LEN, data.len - BW_LOG_ID_LEN, &leaf) != (ssize_t) (data.len - BW_LOG_ID_LEN))
	{
		check_problem(check, index, -1, "its record is not one of this format");
		check_left_out(check);
	}
	else
	{
		check_record(check, index, &leaf, hash);
		check_shown(check, index, &leaf, hash);
	}
	earlier_compare(check);
	return true;
}
