/*
 * record.h
 *		The ledger's bytes: leaf records, contents, shapes and images, as
 *		docs/file-formats.md has them.  Readers are strict and bounded: they
 *		point into the caller's bytes, allocate nothing, and refuse what the
 *		format does not allow.
 */
#ifndef BULWARK_RECORD_H
#define BULWARK_RECORD_H

#include "common/common.h"

/* --- leaf record ------------------------------------------------------------- */

#define BW_LEAF_VERSION		1
#define BW_LOG_ID_LEN		16
#define BW_LEAF_STRING_MAX	1024	/* bytes of any string of a record */
#define BW_LEAF_MAX			5632	/* no record is longer */

#define BW_LEAF_ACTOR		0x01
#define BW_LEAF_TENANT		0x02
#define BW_LEAF_AFFILIATION	0x04
#define BW_LEAF_PROVED		0x08	/* by a token */
#define BW_LEAF_ASSUMED		0x10
#define BW_LEAF_MANIFEST	0x20
#define BW_LEAF_ALONE		0x40
#define BW_LEAF_FLAGS		0x7f

typedef enum bw_action
{
	BW_ACTION_NAMED = 0,		/* spelled out */
	BW_ACTION_INSERT, BW_ACTION_UPDATE, BW_ACTION_DELETE, BW_ACTION_TRUNCATE,
	BW_ACTION_READ, BW_ACTION_DENIED, BW_ACTION_AUTHENTICATE, BW_ACTION_DECRYPT,
	BW_ACTION_DDL, BW_ACTION_RETENTION, BW_ACTION_CONFIGURATION,
	BW_ACTION_LAST = BW_ACTION_CONFIGURATION
} bw_action;

typedef enum bw_source
{
	BW_SOURCE_CAPTURED = 1, BW_SOURCE_ASSERTED, BW_SOURCE_SYSTEM
} bw_source;

typedef struct bw_leaf
{
	uint8_t		flags;			/* BW_LEAF_...: says which of the fields below count */
	uint8_t		action;			/* bw_action */
	uint8_t		source;			/* bw_source */
	uint32_t	incarnation;
	uint32_t	mac_epoch;
	uint64_t	entry_id;
	uint64_t	xid;
	uint32_t	sequence;		/* from 1 */
	int64_t		time;			/* microseconds since 1970 UTC */
	uint8_t		content_digest[BW_SHA256_LEN];
	uint8_t		actor[16];
	uint8_t		tenant[16];
	bw_bytes	affiliation;
	bw_bytes	role;
	bw_bytes	assumed_by;
	bw_bytes	action_name;	/* if BW_ACTION_NAMED */
	bw_bytes	entity_type;
	uint32_t	manifest_first;
	uint32_t	manifest_count;
	uint8_t		manifest_digest[BW_SHA256_LEN];
} bw_leaf;

/* Append the record; w->failed where it would not parse, or has no room. */
extern void bw_leaf_encode(bw_writer *w, const bw_leaf *leaf);
/*
 * Make a record of len bytes, with the flag alone or without a manifest, into one
 * that carries this manifest; it grows by at most BW_MANIFEST_MAX.  Its length.
 */
#define BW_MANIFEST_MAX		(5 + 5 + BW_SHA256_LEN)
extern size_t bw_leaf_add_manifest(uint8_t *record, size_t len, uint32_t first, uint32_t count,
								   const uint8_t digest[BW_SHA256_LEN]);
/* Set the content's digest in an encoded record. */
extern void bw_leaf_set_digest(uint8_t *record, size_t len, const uint8_t digest[BW_SHA256_LEN]);
/* Set the flag alone in an encoded record. */
extern void bw_leaf_set_alone(uint8_t *record);
/*
 * Read a record at the start of data: its length, or -1 where it is not one.  What
 * follows it (the MAC) is the caller's to judge.  Strings point into data.
 */
extern ssize_t bw_leaf_parse(const void *data, size_t len, bw_leaf *leaf);

/* Does it record that contents were erased? */
extern bool bw_leaf_records_erasure(const bw_leaf *leaf);
/* Is its content never erased?  So it is of what says how things are set up, but for persons. */
extern bool bw_leaf_keeps_content(const bw_leaf *leaf);

/* H(0x00 || log id || record) */
extern void bw_leaf_hash(const uint8_t log_id[BW_LOG_ID_LEN], const void *record, size_t len,
						 uint8_t hash[BW_SHA256_LEN]);

/* Of many; best of BW_MANY at a time. */
extern void bw_leaf_hash_many(const uint8_t log_id[BW_LOG_ID_LEN], const bw_bytes *records, size_t n,
							  uint8_t (*hashes)[BW_SHA256_LEN]);

/*
 * One field each, quickly: for indexes and scans of our own rows.  They check
 * bounds, not the rest of the record; false where the field is absent or the
 * bytes end early.
 */
extern bool bw_leaf_get_time(const void *data, size_t len, int64_t *time);
extern bool bw_leaf_get_entry_id(const void *data, size_t len, uint64_t *entry_id);
extern bool bw_leaf_get_position(const void *data, size_t len, uint32_t *incarnation,
								 uint64_t *xid, uint32_t *sequence);
extern bool bw_leaf_get_actor(const void *data, size_t len, bw_bytes *actor);
extern bool bw_leaf_get_tenant(const void *data, size_t len, bw_bytes *tenant);
extern bool bw_leaf_get_affiliation(const void *data, size_t len, bw_bytes *affiliation);
extern bool bw_leaf_get_action(const void *data, size_t len, bw_bytes *name);
extern bool bw_leaf_get_entity_type(const void *data, size_t len, bw_bytes *entity_type);

/* The code of an action, BW_ACTION_NAMED if it has none; the name of a code or NULL. */
extern bw_action bw_action_code(const char *name, size_t len);
extern const char *bw_action_text(uint8_t code);

/* --- content ------------------------------------------------------------------ */

#define BW_CONTENT_VERSION	1
#define BW_SALT_LEN			16
#define BW_CONTENT_HEAD		(2 + BW_SALT_LEN)

typedef enum bw_tag
{
	BW_TAG_ENTITY_ID = 1, BW_TAG_EMAIL, BW_TAG_ISSUER, BW_TAG_PROVED_AT, BW_TAG_ROUTE,
	BW_TAG_REQUEST_ID, BW_TAG_CLIENT_ADDR, BW_TAG_REQUEST_METADATA, BW_TAG_METADATA,
	BW_TAG_SHAPE, BW_TAG_OLD_IMAGE, BW_TAG_NEW_IMAGE,
	BW_TAG_LAST = BW_TAG_NEW_IMAGE
} bw_tag;

typedef enum bw_mode
{
	BW_MODE_PLAIN = 0,
	BW_MODE_DIGEST,				/* H(salt || value), u64 length */
	BW_MODE_SEALED
} bw_mode;

#define BW_DIGEST_LEN		(BW_SHA256_LEN + 8)
#define BW_FIELD_HEAD_MAX	(2 + BW_VARINT_MAX)

extern void bw_content_begin(bw_writer *w, const uint8_t salt[BW_SALT_LEN]);
/* Tag, mode and length; the caller appends len bytes.  Tags ascend. */
extern void bw_content_field_head(bw_writer *w, bw_tag tag, bw_mode mode, size_t len);
extern void bw_content_field(bw_writer *w, bw_tag tag, bw_mode mode, const void *data, size_t len);
/* What stands for a value that is not kept. */
extern void bw_value_digest(const uint8_t salt[BW_SALT_LEN], const void *value, size_t len,
							uint8_t digest[BW_DIGEST_LEN]);

typedef struct bw_content
{
	const uint8_t *salt;
	bw_reader	r;				/* failed: not a content */
	int			last_tag;
} bw_content;

typedef struct bw_field
{
	uint8_t		tag;
	uint8_t		mode;
	bw_bytes	value;
} bw_field;

extern bool bw_content_open(bw_content *c, const void *data, size_t len);
/* false at the end, and where the bytes are not a content: ask bw_content_valid. */
extern bool bw_content_next(bw_content *c, bw_field *field);
/* All read, and nothing wrong with it? */
extern bool bw_content_valid(const bw_content *c);

/* --- shape and image ------------------------------------------------------------ */

#define BW_SHAPE_VERSION	1
#define BW_SHAPE_ID_LEN		16

typedef enum bw_encoding
{
	BW_ENC_TEXT_OUTPUT = 0, BW_ENC_BOOL, BW_ENC_INT2, BW_ENC_INT4, BW_ENC_INT8, BW_ENC_FLOAT4,
	BW_ENC_FLOAT8, BW_ENC_UUID, BW_ENC_TEXT, BW_ENC_BYTEA, BW_ENC_DATE, BW_ENC_TIMESTAMP,
	BW_ENC_TIMESTAMPTZ,
	BW_ENC_LAST = BW_ENC_TIMESTAMPTZ
} bw_encoding;

/* The length that values of an encoding have, or -1. */
extern int	bw_encoding_width(uint8_t encoding);

typedef struct bw_shape
{
	bw_bytes	relation;
	uint32_t	number;			/* the relation's oid */
	uint32_t	ncolumns;
	uint32_t	read;
	bw_reader	r;
} bw_shape;

typedef struct bw_column
{
	bw_bytes	name;
	bw_bytes	type;
	uint8_t		encoding;
	uint32_t	number;			/* attnum: names come again, numbers do not */
} bw_column;

extern void bw_shape_id(const void *shape, size_t len, uint8_t id[BW_SHAPE_ID_LEN]);
extern bool bw_shape_open(bw_shape *s, const void *data, size_t len);
extern bool bw_shape_next(bw_shape *s, bw_column *column);
extern bool bw_shape_valid(const bw_shape *s);

typedef enum bw_kind
{
	BW_KIND_NULL = 0, BW_KIND_VALUE, BW_KIND_UNCHANGED, BW_KIND_EXCLUDED,
	BW_KIND_EXCLUDED_CHANGED, BW_KIND_DIGEST, BW_KIND_SEALED,
	BW_KIND_LAST = BW_KIND_SEALED
} bw_kind;

typedef struct bw_image
{
	uint32_t	ncolumns;
	uint32_t	read;
	bw_reader	r;
} bw_image;

typedef struct bw_value
{
	uint8_t		kind;
	bw_bytes	value;			/* of VALUE and SEALED; of DIGEST: BW_DIGEST_LEN bytes */
} bw_value;

extern bool bw_image_open(bw_image *i, const void *data, size_t len);
extern bool bw_image_next(bw_image *i, bw_value *value);
extern bool bw_image_valid(const bw_image *i);

#endif							/* BULWARK_RECORD_H */
