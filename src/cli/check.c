/*
 * check.c
 *		Verification of a ledger's export.
 */
#include "check.h"
#include "cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* --- problems ------------------------------------------------------------------- */

void
check_problem(Check *check, int64_t leaf, int64_t entry, const char *format,...)
{
	char		text[512];
	int			n = 0;
	va_list		args;

	if (leaf >= 0)
		n += snprintf(text + n, sizeof(text) - (size_t) n, "leaf %" PRId64 ": ", leaf);
	if (entry >= 0)
		n += snprintf(text + n, sizeof(text) - (size_t) n, "entry %" PRId64 ": ", entry);
	va_start(args, format);
	vsnprintf(text + n, sizeof(text) - (size_t) n, format, args);
	va_end(args);

	if (check->problems < CHECK_MAX_KEPT)
		check->kept[check->problems] = strdup(text);
	check->problems++;
	printf("problem: %s\n", text);
}

/* The same, and nothing more is read. */
#define stop(check, ...) \
	do { check_problem((check), -1, -1, __VA_ARGS__); (check)->stopped = true; return false; } while (0)

void *
check_allocate(void *old, size_t count, size_t size)
{
	void	   *result = count <= SIZE_MAX / size ? realloc(old, count * size) : NULL;

	if (result == NULL)
	{
		complain("out of memory");
		exit(CLI_UNREADABLE);
	}
	return result;
}

/* --- members of a line ------------------------------------------------------------- */

static const JsonValue *
member(Check *check, const char *name, JsonType type)
{
	bool		twice = false;
	const JsonValue *value = json_get(&check->json, check->json.values, name, &twice);

	return value != NULL && value->type == type && !twice ? value : NULL;
}

static bool
integer(Check *check, const char *name, int64_t *result)
{
	const JsonValue *value = member(check, name, JSON_NUMBER);

	return value != NULL && json_integer(value, result) && *result >= 0;
}

static bool
bytes(Check *check, const char *name, bw_bytes *result)
{
	return json_base64(member(check, name, JSON_STRING), result);
}

/* --- earlier checkpoints ------------------------------------------------------------ */

/* Compare those of exactly this size. */
static void
compare_earlier(Check *check)
{
	uint8_t		root[BW_SHA256_LEN];

	for (size_t i = 0; i < check->nearlier; i++)
	{
		Earlier    *earlier = &check->earlier[i];

		if (earlier->is.size != check->peaks.size || earlier->state != EARLIER_OPEN)
			continue;
		bw_peaks_root(&check->peaks, root);
		earlier->state = bw_equal(root, earlier->is.root, sizeof(root)) ? EARLIER_HOLDS : EARLIER_DIFFERS;
		if (earlier->state == EARLIER_DIFFERS)
			check_problem(check, -1, -1, "equivocation: the first %" PRIu64 " leaves are not those of the checkpoint \"%s\"",
						  earlier->is.size, earlier->file);
	}
}

/* Their signatures, once it is known which keys sign this log. */
static void
finish_earlier(Check *check)
{
	for (size_t i = 0; i < check->nearlier; i++)
	{
		Earlier    *earlier = &check->earlier[i];
		bw_note_result result = BW_NOTE_UNKNOWN_KEY;

		for (size_t k = 0; k < check->trust.n && result == BW_NOTE_UNKNOWN_KEY; k++)
			if (check->keys[k].pinned || check->keys[k].used || check->unpinned)
				result = bw_note_verify(earlier->note, earlier->len, &check->keys[k].vkey, &earlier->body_len);
		if (strcmp(earlier->is.origin, check->origin) != 0)
			check_problem(check, -1, -1, "the checkpoint \"%s\" is one of another log, %s", earlier->file, earlier->is.origin);
		else if (result != BW_NOTE_OK)
			check_problem(check, -1, -1, "the checkpoint \"%s\" is not signed by a key of this log", earlier->file);
		else if (earlier->state == EARLIER_OPEN && earlier->is.size > check->peaks.size)
			check_problem(check, -1, -1, "entries are missing: the checkpoint \"%s\" is of %" PRIu64 " leaves, here are %" PRIu64,
						  earlier->file, earlier->is.size, check->peaks.size);
		else if (earlier->state == EARLIER_OPEN)
			check_problem(check, -1, -1, "the checkpoint \"%s\" cannot be compared: leaves around its size are left out",
						  earlier->file);
	}
}

/* --- log, shape ------------------------------------------------------------------------ */

static bool
uuid_matches(const uint8_t id[BW_LOG_ID_LEN], const char *text, size_t len)
{
	char		hex[32];
	char		expected[36];
	int			n = 0;

	bw_hex_encode(id, BW_LOG_ID_LEN, hex);
	for (int i = 0; i < 36; i++)
		expected[i] = i == 8 || i == 13 || i == 18 || i == 23 ? '-' : hex[n++];
	return len == 36 && memcmp(text, expected, 36) == 0;
}

/* The id of the log from "bulwark/<uuid>". */
static bool
log_id_of(const char *origin, uint8_t id[BW_LOG_ID_LEN])
{
	static const char prefix[] = "bulwark/";
	const char *uuid = origin + sizeof(prefix) - 1;
	char		hex[32];
	int			n = 0;

	if (strncmp(origin, prefix, sizeof(prefix) - 1) != 0 || strlen(uuid) != 36)
		return false;
	for (int i = 0; i < 36; i++)
		if (uuid[i] != '-' && n < 32)
			hex[n++] = uuid[i];
	return bw_hex_decode(hex, sizeof(hex), id, BW_LOG_ID_LEN) && uuid_matches(id, uuid, 36);
}

/* The export's keys beside the pinned ones. */
static bool
take_keys(Check *check, const JsonValue *keys)
{
	const JsonValue *value;

	if (keys == NULL)
		return false;
	value = json_first(keys);
	for (uint32_t i = 0; i < keys->size; i++, value = json_next(&check->json, value))
	{
		bw_trust_key key = {.pinned = check->unpinned};
		bool		there = false;

		if (value->type != JSON_STRING || !bw_vkey_parse(value->text, value->len, &key.vkey) ||
			strcmp(key.vkey.name, check->origin) != 0)
			return false;
		for (size_t k = 0; k < check->trust.n; k++)
			there |= bw_vkey_equal(&key.vkey, &check->keys[k].vkey);
		if (there)
			continue;
		if (check->trust.n == CHECK_MAX_KEYS)
			return false;
		check->keys[check->trust.n++] = key;
	}
	return true;
}

static bool
line_log(Check *check)
{
	const JsonValue *origin = member(check, "origin", JSON_STRING);
	const JsonValue *log_id = member(check, "log_id", JSON_STRING);
	const JsonValue *incarnations = member(check, "incarnations", JSON_ARRAY);
	int64_t		version;

	if (!integer(check, "version", &version) || version != 1)
		stop(check, "the export is of a version that is not known");
	if (origin == NULL || origin->len > BW_ORIGIN_MAX || incarnations == NULL || !integer(check, "tree_size", &check->tree_size))
		stop(check, "the first line is not that of a ledger's export");
	memcpy(check->origin, origin->text, origin->len);
	check->origin[origin->len] = '\0';
	check->incarnations = incarnations->size;
	check->whole = member(check, "whole", JSON_TRUE) != NULL;
	if (!log_id_of(check->origin, check->log_id) || log_id == NULL || !uuid_matches(check->log_id, log_id->text, log_id->len))
		stop(check, "the origin is not that of the log");
	for (size_t k = 0; k < check->pinned; k++)
		if (strcmp(check->keys[k].vkey.name, check->origin) != 0)
			stop(check, "another log: the key is of %s, the export of %s", check->keys[k].vkey.name, check->origin);
	if (!take_keys(check, member(check, "keys", JSON_ARRAY)))
		stop(check, "the keys of the export are none");
	check->state = CHECK_BODY;
	compare_earlier(check);
	return true;
}

/* Where the id is, or would be, among the known ones. */
static size_t
shape_place(const Check *check, const uint8_t id[BW_SHAPE_ID_LEN], bool *found)
{
	size_t		low = 0,
				high = check->nshapes;

	*found = false;
	while (low < high)
	{
		size_t		middle = (low + high) / 2;
		int			order = memcmp(check->shapes[middle], id, BW_SHAPE_ID_LEN);

		if (order == 0)
			*found = true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool
line_shape(Check *check)
{
	bw_bytes	id,
				shape;
	uint8_t		hash[BW_SHAPE_ID_LEN];
	bool		found;
	size_t		place;

	if (!bytes(check, "shape_id", &id) || !bytes(check, "shape", &shape) || id.len != BW_SHAPE_ID_LEN)
		stop(check, "line %" PRIu64 " is not a shape", check->lines);
	bw_shape_id(shape.data, shape.len, hash);
	if (memcmp(hash, id.data, BW_SHAPE_ID_LEN) != 0)
	{
		check_problem(check, -1, -1, "line %" PRIu64 ": the shape is not the one that its id names", check->lines);
		return true;
	}
	place = shape_place(check, hash, &found);
	if (found)
		return true;
	if (check->nshapes == check->shapes_room)
	{
		check->shapes_room = check->shapes_room == 0 ? 64 : check->shapes_room * 2;
		check->shapes = check_allocate(check->shapes, check->shapes_room, BW_SHAPE_ID_LEN);
	}
	memmove(check->shapes + place + 1, check->shapes + place, (check->nshapes - place) * BW_SHAPE_ID_LEN);
	memcpy(check->shapes[place], hash, BW_SHAPE_ID_LEN);
	check->nshapes++;
	return true;
}

/* --- blocks ------------------------------------------------------------------------------- */

/* The block that is open ends here. */
static bool
finish_block(Check *check)
{
	uint8_t		root[BW_SHA256_LEN];
	bool		complete = check->peaks.size == check->block.tree_size;

	if (!check->in_block)
		return true;
	check->in_block = false;
	free(check->runs_bytes);
	check->runs_bytes = NULL;
	if (!complete)
		stop(check, "block %" PRIu64 " is cut off: it ends with leaf %" PRIu64 ", not %" PRIu64,
			 check->block.number, check->peaks.size, check->block.tree_size);
	bw_peaks_root(&check->peaks, root);
	if (!bw_equal(root, check->block.root, sizeof(root)))
		check_problem(check, (int64_t) check->block.first_leaf, -1,
					  "block %" PRIu64 " (leaves %" PRIu64 " to %" PRIu64 "): its entries do not have the root that was signed",
					  check->block.number, check->block.first_leaf, check->block.tree_size - 1);
	return true;
}

/* Does the checkpoint say of the block what its header does? */
static void
check_checkpoint(Check *check, const JsonValue *note)
{
	const bw_block *block = &check->block;
	size_t		body_len = 0;

	switch (bw_trust_next(&check->trust, note->text, note->len, &body_len))
	{
		case BW_NOTE_OK:
			break;
		case BW_NOTE_MALFORMED:
			check_problem(check, -1, -1, "block %" PRIu64 ": the checkpoint is not a signed note", block->number);
			return;
		case BW_NOTE_UNKNOWN_KEY:
			check_problem(check, -1, -1, "block %" PRIu64 ": the checkpoint is not signed by the log's key", block->number);
			return;
		case BW_NOTE_BAD_SIGNATURE:
			check_problem(check, -1, -1, "block %" PRIu64 ": the signature of the checkpoint is wrong", block->number);
			return;
	}
	if (!bw_checkpoint_parse(note->text, body_len, &check->last) || strcmp(check->last.origin, check->origin) != 0 ||
		check->last.size != block->tree_size || !check->last.has_block || check->last.block != block->number ||
		!bw_equal(check->last.root, block->root, BW_SHA256_LEN) ||
		!bw_equal(check->last.header_hash, check->header_hash, BW_SHA256_LEN))
		check_problem(check, -1, -1, "block %" PRIu64 ": the checkpoint is not that of the block", block->number);
}

/* Keep the runs for the entries to come; what they say must fit the header. */
static void
take_runs(Check *check, const JsonValue *value)
{
	bw_block   *block = &check->block;
	bw_bytes	runs;
	uint8_t		hash[BW_SHA256_LEN];
	uint64_t	xid,
				n,
				total = 0;

	check->run_end = block->first_leaf;
	if (value == NULL || value->type == JSON_NULL)
		return;
	if (!json_base64(value, &runs))
	{
		check_problem(check, -1, -1, "block %" PRIu64 ": its runs are not base64", block->number);
		return;
	}
	bw_sha256(runs.data, runs.len, hash);
	if (!bw_equal(hash, block->runs_digest, sizeof(hash)))
	{
		check_problem(check, -1, -1, "block %" PRIu64 ": its runs are not those of the header", block->number);
		return;
	}
	for (bw_runs_open(&check->runs, runs.data, runs.len); bw_runs_next(&check->runs, &xid, &n);)
	{
		total = n > BW_TREE_MAX - total ? BW_TREE_MAX : total + n;
		if (bw_block_in_progress(block, xid))
			check_problem(check, -1, -1, "block %" PRIu64 ": transaction %" PRIu64 " was not ended when it was sealed",
						  block->number, xid);
		if (check->before_header != NULL && !bw_block_in_progress(&check->block_before, xid))
			check_problem(check, -1, -1, "block %" PRIu64 ": transaction %" PRIu64 " belongs to an earlier block",
						  block->number, xid);
	}
	if (!bw_runs_valid(&check->runs) || total != block->tree_size - block->first_leaf)
	{
		check_problem(check, -1, -1, "block %" PRIu64 ": its runs do not add up to its leaves", block->number);
		return;
	}
	check->runs_bytes = malloc(runs.len + 1);
	if (check->runs_bytes == NULL)
		return;
	memcpy(check->runs_bytes, runs.data, runs.len);
	bw_runs_open(&check->runs, check->runs_bytes, runs.len);
}

/* Keep the header, and the one before it where this one goes on with it; false: it is none. */
static bool
open_block(Check *check, const bw_bytes *header)
{
	uint8_t    *copy = check_allocate(NULL, header->len + 1, 1);
	bool		valid;

	memcpy(copy, header->data, header->len);
	free(check->before_header);
	check->before_header = check->block_header;
	check->block_before = check->block;
	check->block_header = copy;
	valid = bw_block_parse(copy, header->len, &check->block);
	if (check->before_header != NULL && (!valid || check->gap || check->block_before.incarnation != check->block.incarnation))
	{
		free(check->before_header);
		check->before_header = NULL;
	}
	return valid;
}

static bool
line_block(Check *check)
{
	uint64_t	before = check->block.number;
	uint8_t		before_hash[BW_SHA256_LEN];
	bool		first = check->blocks == 0;
	bw_bytes	header;
	int64_t		number;
	static const uint8_t zeros[BW_SHA256_LEN];
	const JsonValue *note = member(check, "checkpoint", JSON_STRING);
	bool		twice = false;

	if (!finish_block(check))
		return false;
	memcpy(before_hash, check->header_hash, sizeof(before_hash));
	if (!integer(check, "block", &number) || note == NULL || !bytes(check, "header", &header) || !open_block(check, &header))
		stop(check, "line %" PRIu64 " is not a block", check->lines);
	bw_sha256(header.data, header.len, check->header_hash);
	if (memcmp(check->block.log_id, check->log_id, BW_LOG_ID_LEN) != 0 || check->block.number != (uint64_t) number)
		stop(check, "line %" PRIu64 ": the header is that of another block or log", check->lines);
	if (check->block.first_leaf != check->peaks.size)
		stop(check, "block %" PRId64 " begins with leaf %" PRIu64 ", not %" PRIu64 ": blocks are missing or out of order",
			 number, check->block.first_leaf, check->peaks.size);
	if (number == 0 ? !first || check->gap || !bw_equal(check->block.before, zeros, sizeof(zeros)) :
		check->gap ? (!first && check->block.number <= before) :
		first || check->block.number != before + 1 || !bw_equal(check->block.before, before_hash, sizeof(before_hash)))
		check_problem(check, -1, -1, "block %" PRId64 " does not follow the block before", number);
	if (check->before_header != NULL && !bw_block_goes_on(&check->block_before, &check->block))
		check_problem(check, -1, -1, "block %" PRId64 " does not see all that the one before it saw", number);
	check->trust.gap = check->gap;
	check_checkpoint(check, note);
	take_runs(check, json_get(&check->json, check->json.values, "runs", &twice));
	check->gap = false;
	check->in_block = true;
	check->blocks++;
	return true;
}

/* --- entries -------------------------------------------------------------------------------- */

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

static void
check_content(Check *check, int64_t leaf_index, const bw_leaf *leaf, const bw_bytes *bytes)
{
	int64_t		entry = (int64_t) leaf->entry_id;
	uint8_t		digest[BW_SHA256_LEN];
	bw_content	content;
	bw_field	field;
	bool		known;

	bw_sha256(bytes->data, bytes->len, digest);
	if (!bw_equal(digest, leaf->content_digest, sizeof(digest)))
	{
		check_problem(check, leaf_index, entry, "its content is not the one that was recorded");
		return;
	}
	bw_content_open(&content, bytes->data, bytes->len);
	while (bw_content_next(&content, &field))
	{
		if (field.tag == BW_TAG_SHAPE && field.mode == BW_MODE_PLAIN &&
			(field.value.len != BW_SHAPE_ID_LEN || (shape_place(check, field.value.data, &known), !known)))
			check_problem(check, leaf_index, entry, "the shape of its images is missing");
		if (field.tag == BW_TAG_METADATA && field.mode == BW_MODE_PLAIN &&
			bw_leaf_records_erasure(leaf))
			check_named(check, leaf_index, leaf, &field.value);
	}
	if (!bw_content_valid(&content))
		check_problem(check, leaf_index, entry, "its content is not one of this format");
}

static bool
line_entry(Check *check)
{
	const JsonValue *content,
			   *fields = member(check, "fields", JSON_OBJECT);
	int64_t		index;
	bw_bytes	data,
				record,
				shown = {NULL, 0};
	bw_leaf		leaf;
	uint8_t		hash[BW_SHA256_LEN];
	bool		twice = false;

	if (!integer(check, "leaf_index", &index) || !bytes(check, "leaf", &data) || data.len <= BW_LOG_ID_LEN)
		stop(check, "line %" PRIu64 " is not an entry", check->lines);
	if (!check->in_block || (uint64_t) index != check->peaks.size || check->peaks.size >= check->block.tree_size)
		stop(check, "leaf %" PRId64 " is not in its place, which is that of leaf %" PRIu64, index, check->peaks.size);

	bw_tree_leaf_hash(data.data, data.len, hash);
	bw_peaks_add(&check->peaks, hash);
	check->entries++;
	record = (bw_bytes) {data.data + BW_LOG_ID_LEN, data.len - BW_LOG_ID_LEN};
	if (memcmp(data.data, check->log_id, BW_LOG_ID_LEN) != 0)
	{
		check_problem(check, index, -1, "it is an entry of another log");
		return true;
	}
	if (bw_leaf_parse(record.data, record.len, &leaf) != (ssize_t) record.len)
	{
		check_problem(check, index, -1, "its record is not one of this format");
		return true;
	}
	if (!check_new_id(check, leaf.entry_id))
		check_problem(check, index, (int64_t) leaf.entry_id, "another entry has the same id");
	if (leaf.incarnation != check->block.incarnation)
		check_problem(check, index, (int64_t) leaf.entry_id, "it is of incarnation %u, its block of %u",
					  leaf.incarnation, check->block.incarnation);
	if (run_of(check, (uint64_t) index) &&
		(leaf.xid != check->run_xid || leaf.sequence != (uint64_t) index - check->run_first + 1))
		check_problem(check, index, (int64_t) leaf.entry_id, "it is not the entry that its transaction has here");
	if (check->oldest == 0 || leaf.time < check->oldest)
		check->oldest = leaf.time;
	if (leaf.time > check->newest)
		check->newest = leaf.time;

	content = json_get(&check->json, check->json.values, "content", &twice);
	if (twice)
		check_problem(check, index, (int64_t) leaf.entry_id, "it has two contents");
	else if (content == NULL)
		check->withheld++;
	else if (content->type == JSON_NULL)
		check_gone(check, index, &leaf, hash);
	else if (!json_base64(content, &shown))
		check_problem(check, index, (int64_t) leaf.entry_id, "its content is not base64");
	else
		check_content(check, index, &leaf, &shown);
	if (fields != NULL)
		check_fields(check, fields, index, &leaf,
					 content != NULL && (content->type == JSON_NULL || shown.data != NULL), shown.data, shown.len);
	return true;
}

static bool
line_skip(Check *check)
{
	const JsonValue *nodes = member(check, "nodes", JSON_ARRAY);
	const JsonValue *node;
	int64_t		first,
				count;
	uint32_t	n = 0;

	if (!integer(check, "leaf_index", &first) || !integer(check, "count", &count) || nodes == NULL || count == 0)
		stop(check, "line %" PRIu64 " is not a skip", check->lines);
	if ((uint64_t) first != check->peaks.size || count > INT64_MAX - first)
		stop(check, "leaf %" PRId64 " is not in its place, which is that of leaf %" PRIu64, first, check->peaks.size);
	if (check->in_block && check->peaks.size == check->block.tree_size && !finish_block(check))
		return false;
	if (check->in_block && (uint64_t) (first + count) > check->block.tree_size)
		stop(check, "line %" PRIu64 " leaves out more than its block", check->lines);
	if (!check->in_block)
		check->gap = true;
	node = json_first(nodes);
	for (uint64_t end = (uint64_t) first + (uint64_t) count; check->peaks.size < end; n++)
	{
		uint64_t	at = check->peaks.size;
		int			level = 0;
		bw_bytes	hash;

		while (level < 62 && (at & (((uint64_t) 2 << level) - 1)) == 0 && at + ((uint64_t) 2 << level) <= end)
			level++;
		if (n == nodes->size || !json_base64(node, &hash) || hash.len != BW_SHA256_LEN)
			stop(check, "line %" PRIu64 ": not the nodes of what is left out", check->lines);
		bw_peaks_add_subtree(&check->peaks, level, hash.data);
		compare_earlier(check);
		node = json_next(&check->json, node);
	}
	if (n != nodes->size)
		stop(check, "line %" PRIu64 ": not the nodes of what is left out", check->lines);
	check->skipped += (uint64_t) count;
	if (check->whole)
		check_problem(check, first, -1, "%" PRId64 " entries are missing from here on, of an export that says it is whole", count);
	return true;
}

static bool
line_end(Check *check)
{
	int64_t		size,
				entries,
				skipped,
				pending;

	if (!finish_block(check))
		return false;
	if (check->gap)
		check_problem(check, -1, -1, "the newest block is left out");
	if (!integer(check, "tree_size", &size) || !integer(check, "entries", &entries) ||
		!integer(check, "skipped", &skipped) || !integer(check, "pending", &pending))
		stop(check, "line %" PRIu64 " is not the end of an export", check->lines);
	if (size != check->tree_size || (uint64_t) size != check->peaks.size || (uint64_t) entries != check->entries ||
		(uint64_t) skipped != check->skipped)
		check_problem(check, -1, -1, "the export does not add up: it says %" PRId64 " leaves, here are %" PRIu64,
					  size, check->peaks.size);
	check->pending = (uint64_t) pending;
	check->state = CHECK_ENDED;
	return true;
}

/* --- the whole --------------------------------------------------------------------------------- */

void
check_begin(Check *check)
{
	check->trust.keys = check->keys;
	check->trust.n = check->pinned;
}

bool
check_line(Check *check, char *line, size_t len)
{
	const JsonValue *type;

	check->lines++;
	if (!json_parse(&check->json, line, len) || check->json.values->type != JSON_OBJECT ||
		(type = member(check, "type", JSON_STRING)) == NULL)
		stop(check, "line %" PRIu64 " is not a JSON object of an export", check->lines);
	if (check->state == CHECK_ENDED)
		stop(check, "line %" PRIu64 " comes after the end", check->lines);
	if (check->state == CHECK_START)
	{
		if (json_is(type, "log"))
			return line_log(check);
		stop(check, "the first line is not that of a ledger's export");
	}
	if (json_is(type, "entry"))
	{
		bool		on = line_entry(check);

		compare_earlier(check);
		return on;
	}
	if (json_is(type, "skip"))
		return line_skip(check);
	if (json_is(type, "block"))
		return line_block(check);
	if (json_is(type, "shape"))
		return line_shape(check);
	if (json_is(type, "end"))
		return line_end(check);
	stop(check, "line %" PRIu64 " is of a type that is not known", check->lines);
}

bool
check_end(Check *check)
{
	if (!check->stopped)
	{
		if (check->state == CHECK_START)
			check_problem(check, -1, -1, "there is no export");
		else if (check->state == CHECK_BODY)
			check_problem(check, -1, -1, "the export is cut off after line %" PRIu64, check->lines);
		else if (check->blocks > 0 && !check->trust.trusted)
			check_problem(check, -1, -1, "the newest checkpoint is not signed by the key that you gave");
		if (check->state == CHECK_ENDED && check->skipped == 0 && check->withheld == 0)
			check_erasures(check);
		if (check->state == CHECK_ENDED)
			finish_earlier(check);
	}
	return check->problems == 0;
}

void
check_free(Check *check)
{
	json_free(&check->json);
	json_free(&check->metadata);
	free(check->runs_bytes);
	free(check->block_header);
	free(check->before_header);
	free(check->shapes);
	free(check->gone.at);
	free(check->named.at);
	free(check->ids.parts);
	for (int i = 0; i < CHECK_MAX_KEPT; i++)
		free(check->kept[i]);
}
