/*
 * record_fuzz.c
 *		libFuzzer target for the bytes of the ledger: records, contents, shapes,
 *		images, headers and runs.  What is accepted must lie within the input, and
 *		encode to the same bytes again where there is an encoder.
 */
#include "common/block.h"
#include "common/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition) \
	do { if (!(condition)) { fprintf(stderr, "does not hold: %s\n", #condition); abort(); } } while (0)

static void
within(bw_bytes bytes, const uint8_t *data, size_t len)
{
	if (bytes.data != NULL)
		REQUIRE(bytes.data >= data && bytes.len <= len && bytes.data + bytes.len <= data + len);
}

static void
try_record(const uint8_t *data, size_t len)
{
	bw_leaf		leaf;
	bw_bytes	field;
	int64_t		time;
	uint64_t	entry_id,
				xid;
	uint32_t	incarnation,
				sequence;
	uint8_t		again[BW_LEAF_MAX];
	bw_writer	w = {again, sizeof(again), 0, false};
	ssize_t		n = bw_leaf_parse(data, len, &leaf);

	/* the quick ones look at bytes that may be no record */
	(void) bw_leaf_get_time(data, len, &time);
	(void) bw_leaf_get_entry_id(data, len, &entry_id);
	(void) bw_leaf_get_position(data, len, &incarnation, &xid, &sequence);
	if (bw_leaf_get_affiliation(data, len, &field))
		within(field, data, len);
	if (bw_leaf_get_entity_type(data, len, &field))
		within(field, data, len);
	if (n < 0)
		return;
	REQUIRE((size_t) n <= len && n <= BW_LEAF_MAX);
	within(leaf.role, data, len);
	within(leaf.entity_type, data, len);
	bw_leaf_encode(&w, &leaf);
	REQUIRE(!w.failed && w.len == (size_t) n && memcmp(again, data, w.len) == 0);
	REQUIRE(bw_leaf_get_entry_id(data, (size_t) n, &entry_id) && entry_id == leaf.entry_id);
	REQUIRE(bw_leaf_get_position(data, (size_t) n, &incarnation, &xid, &sequence) &&
			incarnation == leaf.incarnation && xid == leaf.xid && sequence == leaf.sequence);
	REQUIRE(bw_leaf_get_time(data, (size_t) n, &time) && time == leaf.time);
}

static void
try_image(bw_bytes bytes)
{
	bw_image	image;
	bw_value	value;
	uint32_t	n = 0;

	bw_image_open(&image, bytes.data, bytes.len);
	while (bw_image_next(&image, &value))
	{
		within(value.value, bytes.data, bytes.len);
		n++;
	}
	if (bw_image_valid(&image))
		REQUIRE(n == image.ncolumns);
}

static void
try_content(const uint8_t *data, size_t len)
{
	bw_content	content;
	bw_field	field;
	int			last = 0;

	bw_content_open(&content, data, len);
	while (bw_content_next(&content, &field))
	{
		REQUIRE(field.tag > last && field.tag <= BW_TAG_LAST);
		last = field.tag;
		within(field.value, data, len);
		if (field.mode == BW_MODE_PLAIN && (field.tag == BW_TAG_OLD_IMAGE || field.tag == BW_TAG_NEW_IMAGE))
			try_image(field.value);
	}
	(void) bw_content_valid(&content);
}

static void
try_shape(const uint8_t *data, size_t len)
{
	bw_shape	shape;
	bw_column	column;

	bw_shape_open(&shape, data, len);
	while (bw_shape_next(&shape, &column))
	{
		within(column.name, data, len);
		within(column.type, data, len);
	}
	(void) bw_shape_valid(&shape);
}

static void
try_block(const uint8_t *data, size_t len)
{
	bw_block	block;
	uint8_t    *again;
	bw_writer	w;

	if (!bw_block_parse(data, len, &block))
		return;
	REQUIRE(len == BW_BLOCK_LEN(block.nxip) && bw_block_in_progress(&block, block.xmax));
	if (block.nxip > 0)
		REQUIRE(bw_block_in_progress(&block, block.xmin) || block.xmin < block.xmax);
	again = malloc(len);
	w = (bw_writer) {again, len, 0, false};
	bw_block_encode(&w, &block);
	REQUIRE(!w.failed && w.len == len && memcmp(again, data, len) == 0);
	free(again);
}

static void
try_runs(const uint8_t *data, size_t len)
{
	bw_runs		runs,
				counted;
	uint64_t	xid,
				entries,
				before = 0,
				n = 0;
	uint8_t    *again = malloc(len + 1);
	bw_writer	w = {again, len, 0, false};

	for (bw_runs_open(&counted, data, len); bw_runs_next(&counted, &xid, &entries);)
		n++;
	if (bw_runs_valid(&counted))
	{
		bw_runs_begin(&w, n);
		for (bw_runs_open(&runs, data, len); bw_runs_next(&runs, &xid, &entries); before = xid)
		{
			REQUIRE(xid > before && entries > 0);
			bw_runs_add(&w, before, xid, entries);
		}
		REQUIRE(!w.failed && w.len == len && memcmp(again, data, len) == 0);
	}
	free(again);
}

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	/* of exactly this size, so that reading past it is seen */
	uint8_t    *copy = malloc(len);

	if (len > 0)
		memcpy(copy, data, len);
	try_record(copy, len);
	try_content(copy, len);
	try_shape(copy, len);
	try_image((bw_bytes) {copy, len});
	try_block(copy, len);
	try_runs(copy, len);
	free(copy);
	return 0;
}
