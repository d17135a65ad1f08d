/*
 * record.c
 *		The ledger's bytes without a server and under sanitizers: what is written
 *		is read back, and what the format does not allow is refused, byte by
 *		byte.  Prints TAP.
 */
#include "common/record.h"
#include "tap.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bw_bytes
bytes(const char *s)
{
	return (bw_bytes) {(const uint8_t *) s, strlen(s)};
}

static bool
same(bw_bytes a, bw_bytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* A copy of exactly that size on the heap, so that a byte too far is seen. */
static uint8_t *
exact(const void *data, size_t len)
{
	uint8_t    *copy = malloc(len > 0 ? len : 1);

	if (copy == NULL)
		abort();
	memcpy(copy, data, len);
	return copy;
}

/* --- leaf records ------------------------------------------------------------------ */

static bw_leaf
full_leaf(void)
{
	bw_leaf		leaf = {
		.flags = BW_LEAF_ACTOR | BW_LEAF_TENANT | BW_LEAF_AFFILIATION | BW_LEAF_ASSUMED | BW_LEAF_MANIFEST,
		.action = BW_ACTION_NAMED, .source = BW_SOURCE_ASSERTED,
		.incarnation = 3, .mac_epoch = 200, .entry_id = UINT64_MAX, .xid = 1234567890123,
		.sequence = 7, .time = INT64_MIN,
		.affiliation = bytes("north"), .role = bytes("app"), .assumed_by = bytes("service"),
		.action_name = bytes("app:paid"), .entity_type = bytes("invoice"),
		.manifest_first = 3, .manifest_count = 5,
	};

	memset(leaf.content_digest, 0x11, sizeof(leaf.content_digest));
	memset(leaf.actor, 0x22, sizeof(leaf.actor));
	memset(leaf.tenant, 0x33, sizeof(leaf.tenant));
	memset(leaf.manifest_digest, 0x44, sizeof(leaf.manifest_digest));
	return leaf;
}

static bw_leaf
small_leaf(void)
{
	return (bw_leaf) {
		.action = BW_ACTION_INSERT, .source = BW_SOURCE_CAPTURED, .sequence = 1,
		.role = bytes(""), .entity_type = bytes("public.t")
	};
}

static size_t
encode(const bw_leaf *leaf, uint8_t record[BW_LEAF_MAX])
{
	bw_writer	w = {.data = record, .cap = BW_LEAF_MAX};

	bw_leaf_encode(&w, leaf);
	return w.failed ? 0 : w.len;
}

static bool
leaf_equal(const bw_leaf *a, const bw_leaf *b)
{
	return a->flags == b->flags && a->action == b->action && a->source == b->source &&
		a->incarnation == b->incarnation && a->mac_epoch == b->mac_epoch && a->entry_id == b->entry_id &&
		a->xid == b->xid && a->sequence == b->sequence && a->time == b->time &&
		memcmp(a->content_digest, b->content_digest, 32) == 0 && memcmp(a->actor, b->actor, 16) == 0 &&
		memcmp(a->tenant, b->tenant, 16) == 0 && same(a->affiliation, b->affiliation) && same(a->role, b->role) &&
		same(a->assumed_by, b->assumed_by) && same(a->action_name, b->action_name) &&
		same(a->entity_type, b->entity_type) && a->manifest_first == b->manifest_first &&
		a->manifest_count == b->manifest_count && memcmp(a->manifest_digest, b->manifest_digest, 32) == 0;
}

static bool
round_trip(const bw_leaf *leaf)
{
	uint8_t		record[BW_LEAF_MAX];
	size_t		len = encode(leaf, record);
	uint8_t    *copy = exact(record, len);
	bw_leaf		read;
	bool		good = len > 0 && bw_leaf_parse(copy, len, &read) == (ssize_t) len && leaf_equal(leaf, &read);

	free(copy);
	return good;
}

/* Is a record with one byte changed refused? */
static bool
refused_with(const uint8_t *record, size_t len, size_t at, uint8_t value)
{
	uint8_t    *copy = exact(record, len);
	bw_leaf		leaf;
	ssize_t		read;

	copy[at] = value;
	read = bw_leaf_parse(copy, len, &leaf);
	free(copy);
	return read == -1;
}

static bool
refuses(void (*change) (bw_leaf *))
{
	bw_leaf		leaf = full_leaf();
	uint8_t		record[BW_LEAF_MAX];

	change(&leaf);
	return encode(&leaf, record) == 0;
}

static void both_proofs(bw_leaf *leaf) { leaf->flags |= BW_LEAF_PROVED; }
static void no_proof(bw_leaf *leaf) { leaf->flags &= ~BW_LEAF_ASSUMED; }
static void proof_of_nobody(bw_leaf *leaf) { leaf->flags &= ~BW_LEAF_ACTOR; }
static void alone_with_manifest(bw_leaf *leaf) { leaf->flags |= BW_LEAF_ALONE; }
static void reserved_flag(bw_leaf *leaf) { leaf->flags |= 0x80; }
static void no_sequence(bw_leaf *leaf) { leaf->sequence = 0; }
static void manifest_of_others(bw_leaf *leaf) { leaf->manifest_count = 4; }
static void manifest_of_none(bw_leaf *leaf) { leaf->manifest_count = 0; }
static void named_as_coded(bw_leaf *leaf) { leaf->action_name = bytes("insert"); }
static void no_action(bw_leaf *leaf) { leaf->action_name = bytes(""); }
static void unknown_action(bw_leaf *leaf) { leaf->action = BW_ACTION_LAST + 1; }
static void unknown_source(bw_leaf *leaf) { leaf->source = 4; }
static void nul_in_string(bw_leaf *leaf) { leaf->role = (bw_bytes) {(const uint8_t *) "a\0b", 3}; }

static void
long_string(bw_leaf *leaf)
{
	static char text[BW_LEAF_STRING_MAX + 2];

	memset(text, 'x', BW_LEAF_STRING_MAX + 1);
	leaf->entity_type = bytes(text);
}

static void
test_leaf(void)
{
	bw_leaf		full = full_leaf(),
				small = small_leaf(),
				read;
	uint8_t		record[BW_LEAF_MAX];
	size_t		len;
	bool		all = true;
	char		longest[BW_LEAF_STRING_MAX + 1] = {0};

	ok(round_trip(&full), "a record with everything is read as it was written");
	ok(round_trip(&small), "and one with next to nothing");
	memset(longest, 'y', BW_LEAF_STRING_MAX);
	full.affiliation = full.role = full.assumed_by = full.action_name = full.entity_type = bytes(longest);
	full.incarnation = full.mac_epoch = full.sequence = full.manifest_first = UINT32_MAX;
	full.manifest_count = 1;
	full.xid = UINT64_MAX;
	ok(round_trip(&full), "the longest record fits BW_LEAF_MAX");

	ok(refuses(both_proofs) && refuses(no_proof) && refuses(proof_of_nobody), "an actor has one proof");
	ok(refuses(alone_with_manifest) && refuses(reserved_flag), "flags that exclude each other, or mean nothing");
	ok(refuses(no_sequence) && refuses(manifest_of_others) && refuses(manifest_of_none), "a manifest ends with its own entry");
	ok(refuses(named_as_coded) && refuses(no_action) && refuses(unknown_action) && refuses(unknown_source), "one way to name an action");
	ok(refuses(nul_in_string) && refuses(long_string), "strings are bounded and have no NUL");

	full = full_leaf();
	len = encode(&full, record);
	for (size_t cut = 0; cut < len; cut++)
	{
		uint8_t    *copy = exact(record, cut);

		all &= bw_leaf_parse(copy, cut, &read) == -1;
		free(copy);
	}
	ok(all, "a record cut off anywhere is refused");
	ok(refused_with(record, len, 0, 0) && refused_with(record, len, 0, 2), "a version that it does not know is refused");
	ok(refused_with(record, len, 1, record[1] | 0x80), "a reserved flag is refused");

	/* entry id 1 in one byte, and in two */
	small.entry_id = 1;
	len = encode(&small, record);
	memmove(record + 8, record + 7, len - 7);
	record[6] = 0x81;
	record[7] = 0x00;
	ok(bw_leaf_parse(record, len + 1, &read) == -1, "a superfluous byte in a number is refused");

	/* every byte to every value: never a crash, and what is read can be written */
	len = encode(&full, record);
	all = true;
	for (size_t at = 0; at < len; at++)
		for (int value = 0; value < 256; value++)
		{
			uint8_t    *copy = exact(record, len);
			uint8_t		again[BW_LEAF_MAX];
			ssize_t		n;

			copy[at] = (uint8_t) value;
			n = bw_leaf_parse(copy, len, &read);
			if (n >= 0)
				all &= encode(&read, again) == (size_t) n && memcmp(again, copy, (size_t) n) == 0;
			free(copy);
		}
	ok(all, "what is read is written in the same bytes: there is one encoding");
}

static void
test_manifest(void)
{
	bw_leaf		leaf = full_leaf(),
				read;
	uint8_t		record[BW_LEAF_MAX],
				expected[BW_LEAF_MAX];
	size_t		len,
				expected_len = encode(&leaf, expected);

	leaf.flags &= ~BW_LEAF_MANIFEST;
	len = encode(&leaf, record);
	len = bw_leaf_add_manifest(record, len, leaf.manifest_first, leaf.manifest_count, leaf.manifest_digest);
	ok(len == expected_len && memcmp(record, expected, len) == 0, "a manifest is added to an encoded record");

	leaf = small_leaf();
	len = encode(&leaf, record);
	bw_leaf_set_alone(record);
	ok(bw_leaf_parse(record, len, &read) == (ssize_t) len && read.flags == BW_LEAF_ALONE, "and so is the flag alone");
}

static void
test_getters(void)
{
	bw_leaf		full = full_leaf(),
				small = small_leaf();
	uint8_t		record[BW_LEAF_MAX];
	size_t		len = encode(&full, record);
	int64_t		when;
	uint64_t	id,
				xid;
	uint32_t	incarnation,
				sequence;
	bw_bytes	s;
	bool		all = true;

	ok(bw_leaf_get_time(record, len, &when) && when == INT64_MIN &&
	   bw_leaf_get_entry_id(record, len, &id) && id == UINT64_MAX &&
	   bw_leaf_get_position(record, len, &incarnation, &xid, &sequence) && incarnation == 3 && xid == full.xid && sequence == 7 &&
	   bw_leaf_get_actor(record, len, &s) && s.len == 16 && memcmp(s.data, full.actor, 16) == 0 &&
	   bw_leaf_get_tenant(record, len, &s) && memcmp(s.data, full.tenant, 16) == 0 &&
	   bw_leaf_get_affiliation(record, len, &s) && same(s, full.affiliation) &&
	   bw_leaf_get_action(record, len, &s) && same(s, full.action_name) &&
	   bw_leaf_get_entity_type(record, len, &s) && same(s, full.entity_type), "each field is found by itself");

	for (size_t cut = 0; cut < len; cut++)
	{
		uint8_t    *copy = exact(record, cut);

		(void) bw_leaf_get_time(copy, cut, &when);
		(void) bw_leaf_get_entry_id(copy, cut, &id);
		(void) bw_leaf_get_position(copy, cut, &incarnation, &xid, &sequence);
		(void) bw_leaf_get_actor(copy, cut, &s);
		(void) bw_leaf_get_tenant(copy, cut, &s);
		(void) bw_leaf_get_affiliation(copy, cut, &s);
		(void) bw_leaf_get_action(copy, cut, &s);
		all &= !bw_leaf_get_entity_type(copy, cut, &s) || cut >= len - BW_MANIFEST_MAX;
		free(copy);
	}
	ok(all, "a record cut off is read no further than it goes");

	len = encode(&small, record);
	ok(!bw_leaf_get_actor(record, len, &s) && !bw_leaf_get_tenant(record, len, &s) && !bw_leaf_get_affiliation(record, len, &s) &&
	   bw_leaf_get_action(record, len, &s) && same(s, bytes("insert")) &&
	   bw_leaf_get_entity_type(record, len, &s) && same(s, small.entity_type), "what is absent is not found");
}

static void
test_hashes(void)
{
	uint8_t		log_id[16] = {1, 2, 3},
				input[1 + 16 + 4] = {0},
				expected[32],
				hash[32];

	memcpy(input + 1, log_id, 16);
	memcpy(input + 17, "abcd", 4);
	bw_sha256(input, sizeof(input), expected);
	bw_leaf_hash(log_id, "abcd", 4, hash);
	ok(memcmp(hash, expected, 32) == 0, "a leaf's hash is H(0x00, log id, record)");
}

/* --- contents ------------------------------------------------------------------------- */

static bool
content_accepts(const uint8_t *data, size_t len)
{
	uint8_t    *copy = exact(data, len);
	bw_content	c;
	bw_field	field;
	bool		good = bw_content_open(&c, copy, len);

	while (good && bw_content_next(&c, &field))
		;
	good = good && bw_content_valid(&c);
	free(copy);
	return good;
}

static void
test_content(void)
{
	uint8_t		salt[16] = "0123456789abcde",
				digest[BW_DIGEST_LEN],
				buffer[512];
	bw_writer	w = {.data = buffer, .cap = sizeof(buffer)};
	bw_content	c;
	bw_field	field;
	bool		all = true;

	bw_value_digest(salt, "secret", 6, digest);
	bw_content_begin(&w, salt);
	bw_content_field(&w, BW_TAG_ENTITY_ID, BW_MODE_PLAIN, "42", 2);
	bw_content_field(&w, BW_TAG_METADATA, BW_MODE_DIGEST, digest, sizeof(digest));
	bw_content_field(&w, BW_TAG_OLD_IMAGE, BW_MODE_SEALED, "x", 1);
	ok(!w.failed && content_accepts(buffer, w.len), "a content is read as it was written");

	ok(bw_content_open(&c, buffer, w.len) && memcmp(c.salt, salt, 16) == 0 &&
	   bw_content_next(&c, &field) && field.tag == BW_TAG_ENTITY_ID && same(field.value, bytes("42")) &&
	   bw_content_next(&c, &field) && field.mode == BW_MODE_DIGEST && memcmp(field.value.data, digest, BW_DIGEST_LEN) == 0 &&
	   bw_content_next(&c, &field) && field.tag == BW_TAG_OLD_IMAGE &&
	   !bw_content_next(&c, &field) && bw_content_valid(&c), "field after field");

	for (size_t cut = 0; cut < w.len; cut++)
		if (cut != BW_CONTENT_HEAD && cut != BW_CONTENT_HEAD + 5 && cut != BW_CONTENT_HEAD + 5 + 43)
			all &= !content_accepts(buffer, cut);
	ok(all, "one cut off within a field is refused");

	buffer[1] = 1;
	ok(!content_accepts(buffer, w.len), "a reserved byte that is set is refused");
	buffer[1] = 0;
	buffer[0] = 2;
	ok(!content_accepts(buffer, w.len), "a version that it does not know is refused");

	w.len = 0;
	bw_content_begin(&w, salt);
	bw_content_field(&w, BW_TAG_EMAIL, BW_MODE_PLAIN, "b", 1);
	bw_content_field(&w, BW_TAG_ENTITY_ID, BW_MODE_PLAIN, "a", 1);
	ok(!content_accepts(buffer, w.len), "tags that do not ascend are refused");
	w.len = 0;
	bw_content_begin(&w, salt);
	bw_content_field(&w, BW_TAG_SHAPE, BW_MODE_PLAIN, "short", 5);
	ok(!content_accepts(buffer, w.len), "an id of another length is refused");
	w.len = 0;
	bw_content_begin(&w, salt);
	bw_content_field(&w, BW_TAG_LAST + 1, BW_MODE_PLAIN, "", 0);
	ok(!content_accepts(buffer, w.len), "an unknown tag is refused");
	w.len = 0;
	bw_content_begin(&w, salt);
	bw_content_field(&w, BW_TAG_EMAIL, BW_MODE_SEALED + 1, "x", 1);
	ok(!content_accepts(buffer, w.len), "an unknown mode is refused");
}

/* --- shapes and images ---------------------------------------------------------------------- */

static bool
image_accepts(const uint8_t *data, size_t len)
{
	uint8_t    *copy = exact(data, len);
	bw_image	image;
	bw_value	value;
	bool		good = bw_image_open(&image, copy, len);

	while (good && bw_image_next(&image, &value))
		;
	good = good && bw_image_valid(&image);
	free(copy);
	return good;
}

static bool
shape_accepts(const uint8_t *data, size_t len)
{
	uint8_t    *copy = exact(data, len);
	bw_shape	shape;
	bw_column	column;
	bool		good = bw_shape_open(&shape, copy, len);

	while (good && bw_shape_next(&shape, &column))
		;
	good = good && bw_shape_valid(&shape);
	free(copy);
	return good;
}

static void
test_images(void)
{
	uint8_t		buffer[256];
	bw_writer	w = {.data = buffer, .cap = sizeof(buffer)};
	uint8_t		digest[BW_DIGEST_LEN] = {0};
	bool		all = true;

	bw_put_varint(&w, 7);
	for (int kind = BW_KIND_NULL; kind <= BW_KIND_LAST; kind++)
	{
		bw_put_uint(&w, (uint64_t) kind, 1);
		if (kind == BW_KIND_VALUE || kind == BW_KIND_SEALED)
			bw_put_bytes(&w, "val", 3);
		if (kind == BW_KIND_DIGEST)
			bw_put(&w, digest, sizeof(digest));
	}
	ok(!w.failed && image_accepts(buffer, w.len), "an image with every kind of value is read");
	for (size_t cut = 0; cut < w.len; cut++)
		all &= !image_accepts(buffer, cut);
	ok(all, "one cut off anywhere is refused");
	bw_put_uint(&w, 0, 1);
	ok(!image_accepts(buffer, w.len), "bytes that are left over are refused");
	buffer[1] = BW_KIND_LAST + 1;
	ok(!image_accepts(buffer, w.len - 1), "an unknown kind is refused");

	w.len = 0;
	bw_put_uint(&w, BW_SHAPE_VERSION, 1);
	bw_put_bytes(&w, "public.t", 8);
	bw_put_varint(&w, 16384);
	bw_put_varint(&w, 1);
	bw_put_bytes(&w, "id", 2);
	bw_put_bytes(&w, "integer", 7);
	bw_put_uint(&w, BW_ENC_INT4, 1);
	bw_put_varint(&w, 1);
	ok(shape_accepts(buffer, w.len), "a shape is read");
	all = true;
	for (size_t cut = 0; cut < w.len; cut++)
		all &= !shape_accepts(buffer, cut);
	ok(all, "one cut off anywhere is refused");
	buffer[w.len - 2] = BW_ENC_LAST + 1;
	ok(!shape_accepts(buffer, w.len), "an unknown encoding is refused");
	ok(bw_encoding_width(BW_ENC_UUID) == 16 && bw_encoding_width(BW_ENC_TEXT) == -1 &&
	   bw_encoding_width(BW_ENC_LAST + 1) == -1, "encodings of fixed width have that");
}

/* --- numbers ---------------------------------------------------------------------------------- */

static void
test_varints(void)
{
	static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, (uint64_t) UINT32_MAX + 1, INT64_MAX, UINT64_MAX};
	static const struct
	{
		const char *bytes;
		size_t		len;
	}			bad[] = {{"", 0}, {"\x80", 1}, {"\x80\x00", 2}, {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10},
	{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}};
	bool		all = true;

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
	{
		uint8_t		buffer[BW_VARINT_MAX];
		bw_writer	w = {.data = buffer, .cap = sizeof(buffer)};
		bw_reader	r = {.data = buffer};

		bw_put_varint(&w, values[i]);
		r.len = w.len;
		all &= !w.failed && bw_get_varint(&r) == values[i] && bw_reader_done(&r);
		r = (bw_reader) {.data = buffer, .len = w.len};
		(void) bw_get_varint32(&r);
		all &= r.failed == (values[i] > UINT32_MAX);
	}
	ok(all, "numbers are read as they were written");
	all = true;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		uint8_t    *copy = exact(bad[i].bytes, bad[i].len);
		bw_reader	r = {.data = copy, .len = bad[i].len};

		(void) bw_get_varint(&r);
		all &= r.failed;
		free(copy);
	}
	ok(all, "an unfinished, superfluous or too large number is refused");
}

int
main(void)
{
	test_varints();
	test_leaf();
	test_manifest();
	test_getters();
	test_hashes();
	test_content();
	test_images();
	printf("1..%d\n", tests);
	return failures > 0;
}
