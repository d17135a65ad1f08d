/*
 * record.c
 *		Leaf records: who did what to what, and the digest of the rest.
 */
#include "common/record.h"

#include <string.h>

static const char *const action_names[] = {
	[BW_ACTION_INSERT] = "insert",
	[BW_ACTION_UPDATE] = "update",
	[BW_ACTION_DELETE] = "delete",
	[BW_ACTION_TRUNCATE] = "truncate",
	[BW_ACTION_READ] = "read",
	[BW_ACTION_DENIED] = "denied",
	[BW_ACTION_AUTHENTICATE] = "authenticate",
	[BW_ACTION_DECRYPT] = "decrypt",
	[BW_ACTION_DDL] = "ddl",
	[BW_ACTION_RETENTION] = "retention",
	[BW_ACTION_CONFIGURATION] = "configuration",
};

bw_action
bw_action_code(const char *name, size_t len)
{
	for (int code = BW_ACTION_INSERT; code <= BW_ACTION_LAST; code++)
		if (strlen(action_names[code]) == len && memcmp(action_names[code], name, len) == 0)
			return code;
	return BW_ACTION_NAMED;
}

const char *
bw_action_text(uint8_t code)
{
	return code >= BW_ACTION_INSERT && code <= BW_ACTION_LAST ? action_names[code] : NULL;
}

/* Is it a string that a record may have? */
static bool
string_valid(const bw_bytes *s, bool empty_allowed)
{
	return s->len <= BW_LEAF_STRING_MAX && (empty_allowed || s->len > 0) &&
		memchr(s->len > 0 ? (const void *) s->data : "x", '\0', s->len) == NULL;
}

/* Do the fields agree with each other?  The same for what is written and read. */
static bool
leaf_valid(const bw_leaf *leaf)
{
	bool		actor = leaf->flags & BW_LEAF_ACTOR;
	bool		proved = leaf->flags & BW_LEAF_PROVED;
	bool		assumed = leaf->flags & BW_LEAF_ASSUMED;
	bool		manifest = leaf->flags & BW_LEAF_MANIFEST;
	bool		alone = leaf->flags & BW_LEAF_ALONE;

	if ((leaf->flags & ~BW_LEAF_FLAGS) || leaf->action > BW_ACTION_LAST ||
		leaf->source < BW_SOURCE_CAPTURED || leaf->source > BW_SOURCE_SYSTEM)
		return false;
	if ((actor ? proved == assumed : proved || assumed) || (manifest && alone))
		return false;
	if (leaf->sequence == 0 || (alone && leaf->sequence != 1))
		return false;
	if (manifest && (leaf->manifest_first == 0 || leaf->manifest_count == 0 ||
					 leaf->manifest_first > leaf->sequence ||
					 leaf->sequence - leaf->manifest_first != leaf->manifest_count - 1))
		return false;
	if ((leaf->flags & BW_LEAF_AFFILIATION) && !string_valid(&leaf->affiliation, true))
		return false;
	if (assumed && !string_valid(&leaf->assumed_by, false))
		return false;
	if (leaf->action == BW_ACTION_NAMED &&
		(!string_valid(&leaf->action_name, false) ||
		 bw_action_code((const char *) leaf->action_name.data, leaf->action_name.len) != BW_ACTION_NAMED))
		return false;
	return string_valid(&leaf->role, true) && string_valid(&leaf->entity_type, true);
}

static void
put_manifest(bw_writer *w, uint32_t first, uint32_t count, const uint8_t digest[BW_SHA256_LEN])
{
	bw_put_varint(w, first);
	bw_put_varint(w, count);
	bw_put(w, digest, BW_SHA256_LEN);
}

void
bw_leaf_encode(bw_writer *w, const bw_leaf *leaf)
{
	uint8_t		head[4] = {BW_LEAF_VERSION, leaf->flags, leaf->action, leaf->source};

	if (!leaf_valid(leaf))
	{
		w->failed = true;
		return;
	}
	bw_put(w, head, sizeof(head));
	bw_put_varint(w, leaf->incarnation);
	bw_put_varint(w, leaf->mac_epoch);
	bw_put_varint(w, leaf->entry_id);
	bw_put_varint(w, leaf->xid);
	bw_put_varint(w, leaf->sequence);
	bw_put_uint(w, (uint64_t) leaf->time, 8);
	bw_put(w, leaf->content_digest, BW_SHA256_LEN);
	if (leaf->flags & BW_LEAF_ACTOR)
		bw_put(w, leaf->actor, sizeof(leaf->actor));
	if (leaf->flags & BW_LEAF_TENANT)
		bw_put(w, leaf->tenant, sizeof(leaf->tenant));
	if (leaf->flags & BW_LEAF_AFFILIATION)
		bw_put_bytes(w, leaf->affiliation.data, leaf->affiliation.len);
	bw_put_bytes(w, leaf->role.data, leaf->role.len);
	if (leaf->flags & BW_LEAF_ASSUMED)
		bw_put_bytes(w, leaf->assumed_by.data, leaf->assumed_by.len);
	if (leaf->action == BW_ACTION_NAMED)
		bw_put_bytes(w, leaf->action_name.data, leaf->action_name.len);
	bw_put_bytes(w, leaf->entity_type.data, leaf->entity_type.len);
	if (leaf->flags & BW_LEAF_MANIFEST)
		put_manifest(w, leaf->manifest_first, leaf->manifest_count, leaf->manifest_digest);
}

size_t
bw_leaf_add_manifest(uint8_t *record, size_t len, uint32_t first, uint32_t count,
					 const uint8_t digest[BW_SHA256_LEN])
{
	bw_writer	w = {.data = record, .cap = len + BW_MANIFEST_MAX, .len = len};

	record[1] = (record[1] & ~BW_LEAF_ALONE) | BW_LEAF_MANIFEST;
	put_manifest(&w, first, count, digest);
	return w.len;
}

void
bw_leaf_set_alone(uint8_t *record)
{
	record[1] |= BW_LEAF_ALONE;
}

/* A string of a record, where it lies. */
static bw_bytes
get_string(bw_reader *r)
{
	bw_bytes	s = {NULL, 0};

	s.data = bw_get_bytes(r, BW_LEAF_STRING_MAX, &s.len);
	return s;
}

ssize_t
bw_leaf_parse(const void *data, size_t len, bw_leaf *leaf)
{
	bw_reader	r = {.data = data, .len = len};

	memset(leaf, 0, sizeof(*leaf));
	if (bw_get_uint(&r, 1) != BW_LEAF_VERSION)
		return -1;
	leaf->flags = (uint8_t) bw_get_uint(&r, 1);
	leaf->action = (uint8_t) bw_get_uint(&r, 1);
	leaf->source = (uint8_t) bw_get_uint(&r, 1);
	leaf->incarnation = bw_get_varint32(&r);
	leaf->mac_epoch = bw_get_varint32(&r);
	leaf->entry_id = bw_get_varint(&r);
	leaf->xid = bw_get_varint(&r);
	leaf->sequence = bw_get_varint32(&r);
	leaf->time = (int64_t) bw_get_uint(&r, 8);
	bw_get(&r, leaf->content_digest, BW_SHA256_LEN);
	if (leaf->flags & BW_LEAF_ACTOR)
		bw_get(&r, leaf->actor, sizeof(leaf->actor));
	if (leaf->flags & BW_LEAF_TENANT)
		bw_get(&r, leaf->tenant, sizeof(leaf->tenant));
	if (leaf->flags & BW_LEAF_AFFILIATION)
		leaf->affiliation = get_string(&r);
	leaf->role = get_string(&r);
	if (leaf->flags & BW_LEAF_ASSUMED)
		leaf->assumed_by = get_string(&r);
	if (leaf->action == BW_ACTION_NAMED)
		leaf->action_name = get_string(&r);
	leaf->entity_type = get_string(&r);
	if (leaf->flags & BW_LEAF_MANIFEST)
	{
		leaf->manifest_first = bw_get_varint32(&r);
		leaf->manifest_count = bw_get_varint32(&r);
		bw_get(&r, leaf->manifest_digest, BW_SHA256_LEN);
	}
	return r.failed || !leaf_valid(leaf) ? -1 : (ssize_t) r.pos;
}

bool
bw_leaf_records_erasure(const bw_leaf *leaf)
{
	return leaf->source == BW_SOURCE_SYSTEM && leaf->action == BW_ACTION_RETENTION;
}

bool
bw_leaf_keeps_content(const bw_leaf *leaf)
{
	static const char person[] = "principal";

	if (leaf->source != BW_SOURCE_SYSTEM)
		return false;
	if (leaf->action == BW_ACTION_CONFIGURATION)
		return leaf->entity_type.len != sizeof(person) - 1 || memcmp(leaf->entity_type.data, person, leaf->entity_type.len) != 0;
	return leaf->action == BW_ACTION_RETENTION || leaf->action == BW_ACTION_DDL;
}

void
bw_leaf_hash(const uint8_t log_id[BW_LOG_ID_LEN], const void *record, size_t len,
			 uint8_t hash[BW_SHA256_LEN])
{
	uint8_t		head[1 + BW_LOG_ID_LEN] = {0x00};

	memcpy(head + 1, log_id, BW_LOG_ID_LEN);
	bw_sha256_two(head, sizeof(head), record, len, hash);
}

/* Records of the usual length are put together with what goes before them, and hashed together. */
void
bw_leaf_hash_many(const uint8_t log_id[BW_LOG_ID_LEN], const bw_bytes *records, size_t n,
				  uint8_t (*hashes)[BW_SHA256_LEN])
{
	enum {HEAD = 1 + BW_LOG_ID_LEN, USUAL = 367};
	uint8_t		input[BW_MANY][HEAD + USUAL];
	bw_bytes	messages[BW_MANY];
	size_t		at[BW_MANY];
	uint8_t		found[BW_MANY][BW_SHA256_LEN];
	size_t		usual = 0;

	for (size_t i = 0; i < n; i++)
	{
		if (records[i].len > USUAL)
			bw_leaf_hash(log_id, records[i].data, records[i].len, hashes[i]);
		else
		{
			input[usual][0] = 0x00;
			memcpy(input[usual] + 1, log_id, BW_LOG_ID_LEN);
			memcpy(input[usual] + HEAD, records[i].data, records[i].len);
			messages[usual] = (bw_bytes) {input[usual], HEAD + records[i].len};
			at[usual++] = i;
		}
		if (usual == BW_MANY || (i + 1 == n && usual > 0))
		{
			bw_sha256_many(messages, usual, found);
			while (usual > 0)
			{
				usual--;
				memcpy(hashes[at[usual]], found[usual], BW_SHA256_LEN);
			}
		}
	}
}

/* --- one field ------------------------------------------------------------------- */

/* The fields in their order, as far as quick readers need to tell them apart. */
enum
{
	AT_INCARNATION = 0, AT_MAC_EPOCH, AT_ENTRY_ID, AT_XID, AT_SEQUENCE, AT_TIME
};

/* A reader that stands at one of the numbers of a record. */
static bw_reader
at_number(const void *data, size_t len, int number)
{
	bw_reader	r = {.data = data, .len = len, .pos = 4};

	if (len < 4 || r.data[0] != BW_LEAF_VERSION)
		r.failed = true;
	for (int i = 0; i < number; i++)
		(void) bw_get_varint(&r);
	return r;
}

static void
skip(bw_reader *r, size_t len)
{
	if (r->failed || len > r->len - r->pos)
		r->failed = true;
	else
		r->pos += len;
}

/* A reader that stands behind the content digest. */
static bw_reader
at_people(const void *data, size_t len)
{
	bw_reader	r = at_number(data, len, AT_TIME);

	skip(&r, 8 + BW_SHA256_LEN);
	return r;
}

static bool
get_id(bw_reader *r, bw_bytes *id)
{
	id->data = r->data + r->pos;
	id->len = 16;
	skip(r, 16);
	return !r->failed;
}

void
bw_leaf_set_digest(uint8_t *record, size_t len, const uint8_t digest[BW_SHA256_LEN])
{
	bw_reader	r = at_number(record, len, AT_TIME);

	skip(&r, 8 + BW_SHA256_LEN);
	if (!r.failed)
		memcpy(record + r.pos - BW_SHA256_LEN, digest, BW_SHA256_LEN);
}

bool
bw_leaf_get_time(const void *data, size_t len, int64_t *time)
{
	bw_reader	r = at_number(data, len, AT_TIME);

	*time = (int64_t) bw_get_uint(&r, 8);
	return !r.failed;
}

bool
bw_leaf_get_entry_id(const void *data, size_t len, uint64_t *entry_id)
{
	bw_reader	r = at_number(data, len, AT_ENTRY_ID);

	*entry_id = bw_get_varint(&r);
	return !r.failed;
}

bool
bw_leaf_get_position(const void *data, size_t len, uint32_t *incarnation, uint64_t *xid,
					 uint32_t *sequence)
{
	bw_reader	r = at_number(data, len, AT_INCARNATION);

	*incarnation = bw_get_varint32(&r);
	(void) bw_get_varint(&r);
	(void) bw_get_varint(&r);
	*xid = bw_get_varint(&r);
	*sequence = bw_get_varint32(&r);
	return !r.failed;
}

bool
bw_leaf_get_actor(const void *data, size_t len, bw_bytes *actor)
{
	bw_reader	r = at_people(data, len);

	return !r.failed && (r.data[1] & BW_LEAF_ACTOR) && get_id(&r, actor);
}

bool
bw_leaf_get_tenant(const void *data, size_t len, bw_bytes *tenant)
{
	bw_reader	r = at_people(data, len);

	if (!r.failed && (r.data[1] & BW_LEAF_ACTOR))
		skip(&r, 16);
	return !r.failed && (r.data[1] & BW_LEAF_TENANT) && get_id(&r, tenant);
}

/* A reader that stands at the affiliation, or where it would be. */
static bw_reader
at_strings(const void *data, size_t len)
{
	bw_reader	r = at_people(data, len);

	if (!r.failed)
		skip(&r, ((r.data[1] & BW_LEAF_ACTOR) ? 16 : 0) + ((r.data[1] & BW_LEAF_TENANT) ? 16 : 0));
	return r;
}

bool
bw_leaf_get_affiliation(const void *data, size_t len, bw_bytes *affiliation)
{
	bw_reader	r = at_strings(data, len);

	if (r.failed || !(r.data[1] & BW_LEAF_AFFILIATION))
		return false;
	*affiliation = get_string(&r);
	return !r.failed;
}

/* A reader that stands at the action's name, or where it would be. */
static bw_reader
at_action(const void *data, size_t len)
{
	bw_reader	r = at_strings(data, len);

	if (!r.failed && (r.data[1] & BW_LEAF_AFFILIATION))
		(void) get_string(&r);
	(void) get_string(&r);
	if (!r.failed && (r.data[1] & BW_LEAF_ASSUMED))
		(void) get_string(&r);
	return r;
}

bool
bw_leaf_get_action(const void *data, size_t len, bw_bytes *name)
{
	bw_reader	r;
	const char *text;

	if (len < 4)
		return false;
	text = bw_action_text(((const uint8_t *) data)[2]);
	if (text != NULL)
	{
		name->data = (const uint8_t *) text;
		name->len = strlen(text);
		return true;
	}
	r = at_action(data, len);
	*name = get_string(&r);
	return !r.failed;
}

bool
bw_leaf_get_entity_type(const void *data, size_t len, bw_bytes *entity_type)
{
	bw_reader	r = at_action(data, len);

	if (!r.failed && r.data[2] == BW_ACTION_NAMED)
		(void) get_string(&r);
	*entity_type = get_string(&r);
	return !r.failed;
}
