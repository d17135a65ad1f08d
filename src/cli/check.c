/*
 * check.c
 *		Verification of a ledger's export: its lines, the log, shapes, what is left
 *		out, the end.
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
	const JsonValue *origin = json_member(&check->json, "origin", JSON_STRING);
	const JsonValue *log_id = json_member(&check->json, "log_id", JSON_STRING);
	const JsonValue *incarnations = json_member(&check->json, "incarnations", JSON_ARRAY);
	int64_t		version;

	if (!json_member_integer(&check->json, "version", &version) || version != 1)
		check_stop(check, "the export is of a version that is not known");
	if (origin == NULL || origin->len > BW_ORIGIN_MAX || incarnations == NULL || !json_member_integer(&check->json, "tree_size", &check->tree_size))
		check_stop(check, "the first line is not that of a ledger's export");
	memcpy(check->origin, origin->text, origin->len);
	check->origin[origin->len] = '\0';
	check->incarnations = incarnations->size;
	check->whole = json_member(&check->json, "whole", JSON_TRUE) != NULL;
	if (!log_id_of(check->origin, check->log_id) || log_id == NULL || !uuid_matches(check->log_id, log_id->text, log_id->len))
		check_stop(check, "the origin is not that of the log");
	for (size_t k = 0; k < check->pinned; k++)
		if (strcmp(check->keys[k].vkey.name, check->origin) != 0)
			check_stop(check, "another log: the key is of %s, the export of %s", check->keys[k].vkey.name, check->origin);
	if (!take_keys(check, json_member(&check->json, "keys", JSON_ARRAY)))
		check_stop(check, "the keys of the export are none");
	check->state = CHECK_BODY;
	earlier_compare(check);
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
		int			order = memcmp(check->shapes[middle].id, id, BW_SHAPE_ID_LEN);

		if (order == 0)
			*found = true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const Shape *
check_shape(const Check *check, const uint8_t id[BW_SHAPE_ID_LEN])
{
	bool		found;
	size_t		place = shape_place(check, id, &found);

	return found ? &check->shapes[place] : NULL;
}

/* false: it is no shape. */
static bool
read_shape(const bw_bytes *bytes, bw_shape *shape)
{
	bw_column	column;

	bw_shape_open(shape, bytes->data, bytes->len);
	while (bw_shape_next(shape, &column))
		;
	return bw_shape_valid(shape);
}

static bool
line_shape(Check *check)
{
	bw_bytes	id,
				bytes;
	bw_shape	is;
	Shape		shape;
	bool		found;
	size_t		place;

	if (!json_member_base64(&check->json, "shape_id", &id) || !json_member_base64(&check->json, "shape", &bytes) || id.len != BW_SHAPE_ID_LEN)
		check_stop(check, "line %" PRIu64 " is not a shape", check->lines);
	bw_shape_id(bytes.data, bytes.len, shape.id);
	if (memcmp(shape.id, id.data, BW_SHAPE_ID_LEN) != 0)
	{
		check_problem(check, -1, -1, "line %" PRIu64 ": the shape is not the one that its id names", check->lines);
		return true;
	}
	if (!read_shape(&bytes, &is))
	{
		check_problem(check, -1, -1, "line %" PRIu64 ": the shape is not one of this format", check->lines);
		return true;
	}
	place = shape_place(check, shape.id, &found);
	if (found)
		return true;
	if (check->nshapes == check->shapes_room)
	{
		check->shapes_room = check->shapes_room == 0 ? 64 : check->shapes_room * 2;
		check->shapes = check_allocate(check->shapes, check->shapes_room, sizeof(Shape));
	}
	shape.ncolumns = is.ncolumns;
	shape.len = is.relation.len;
	shape.relation = check_allocate(NULL, shape.len + 1, 1);
	memcpy(shape.relation, is.relation.data, shape.len);
	memmove(check->shapes + place + 1, check->shapes + place, (check->nshapes - place) * sizeof(Shape));
	check->shapes[place] = shape;
	check->nshapes++;
	return true;
}

/* --- skip, end ---------------------------------------------------------------------------- */

static bool
line_skip(Check *check)
{
	const JsonValue *nodes = json_member(&check->json, "nodes", JSON_ARRAY);
	const JsonValue *node;
	int64_t		first,
				count;
	uint32_t	n = 0;

	if (!json_member_integer(&check->json, "leaf_index", &first) || !json_member_integer(&check->json, "count", &count) || nodes == NULL || count == 0)
		check_stop(check, "line %" PRIu64 " is not a skip", check->lines);
	if ((uint64_t) first != check->peaks.size || count > INT64_MAX - first)
		check_stop(check, "leaf %" PRId64 " is not in its place, which is that of leaf %" PRIu64, first, check->peaks.size);
	if (check->in_block && check->peaks.size == check->block.tree_size && !check_block_end(check))
		return false;
	if (check->in_block && (uint64_t) (first + count) > check->block.tree_size)
		check_stop(check, "line %" PRIu64 " leaves out more than its block", check->lines);
	if (check->in_block)
		check_left_out(check);
	else
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
			check_stop(check, "line %" PRIu64 ": not the nodes of what is left out", check->lines);
		bw_peaks_add_subtree(&check->peaks, level, hash.data);
		earlier_compare(check);
		node = json_next(&check->json, node);
	}
	if (n != nodes->size)
		check_stop(check, "line %" PRIu64 ": not the nodes of what is left out", check->lines);
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

	if (!check_block_end(check))
		return false;
	if (check->gap)
		check_problem(check, -1, -1, "the newest block is left out");
	if (!json_member_integer(&check->json, "tree_size", &size) || !json_member_integer(&check->json, "entries", &entries) ||
		!json_member_integer(&check->json, "skipped", &skipped) || !json_member_integer(&check->json, "pending", &pending))
		check_stop(check, "line %" PRIu64 " is not the end of an export", check->lines);
	if (size != check->tree_size || (uint64_t) size != check->peaks.size || (uint64_t) entries != check->entries ||
		(uint64_t) skipped != check->skipped)
		check_problem(check, -1, -1, "the export does not add up: it says %" PRId64 " leaves, here are %" PRIu64,
					  size, check->peaks.size);
	check->pending = (uint64_t) pending;
	check->state = CHECK_ENDED;
	return true;
}

/* --- the whole --------------------------------------------------------------------------------- */

static void *
resize(void *owner, void *old, size_t size)
{
	(void) owner;
	return check_allocate(old, size, 1);
}

void
check_begin(Check *check)
{
	check->ids = (bw_idset) {.resize = resize, .free = free};
	check->trust.keys = check->keys;
	check->trust.n = check->pinned;
}

bool
check_line(Check *check, char *line, size_t len)
{
	const JsonValue *type;

	check->lines++;
	if (!json_parse(&check->json, line, len) || check->json.values->type != JSON_OBJECT ||
		(type = json_member(&check->json, "type", JSON_STRING)) == NULL)
		check_stop(check, "line %" PRIu64 " is not a JSON object of an export", check->lines);
	if (check->state == CHECK_ENDED)
		check_stop(check, "line %" PRIu64 " comes after the end", check->lines);
	if (check->state == CHECK_START)
	{
		if (json_is(type, "log"))
			return line_log(check);
		check_stop(check, "the first line is not that of a ledger's export");
	}
	if (json_is(type, "entry"))
		return check_entry(check);
	if (json_is(type, "skip"))
		return line_skip(check);
	if (json_is(type, "block"))
		return check_block(check);
	if (json_is(type, "shape"))
		return line_shape(check);
	if (json_is(type, "end"))
		return line_end(check);
	check_stop(check, "line %" PRIu64 " is of a type that is not known", check->lines);
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
			earlier_finish(check);
	}
	return check->problems == 0;
}

void
check_free(Check *check)
{
	json_free(&check->json);
	json_free(&check->metadata);
	free(check->runs_bytes);
	free(check->header);
	for (size_t i = 0; i < check->nlatest; i++)
		free(check->latest[i].header);
	free(check->latest);
	for (size_t i = 0; i < check->nshapes; i++)
		free(check->shapes[i].relation);
	free(check->shapes);
	free(check->gone.at);
	free(check->named.at);
	bw_idset_free(&check->ids);
	for (int i = 0; i < CHECK_MAX_KEPT; i++)
		free(check->kept[i]);
}
