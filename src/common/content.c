/*
 * content.c
 *		What erasure may destroy: contents, and the shapes and images in them.
 */
#include "common/record.h"

#include <string.h>

/* --- content ----------------------------------------------------------------------- */

void
bw_content_begin(bw_writer *w, const uint8_t salt[BW_SALT_LEN])
{
	bw_put_uint(w, BW_CONTENT_VERSION, 1);
	bw_put_uint(w, 0, 1);
	bw_put(w, salt, BW_SALT_LEN);
}

void
bw_content_field_head(bw_writer *w, bw_tag tag, bw_mode mode, size_t len)
{
	bw_put_uint(w, tag, 1);
	bw_put_uint(w, mode, 1);
	bw_put_varint(w, len);
}

void
bw_content_field(bw_writer *w, bw_tag tag, bw_mode mode, const void *data, size_t len)
{
	bw_content_field_head(w, tag, mode, len);
	bw_put(w, data, len);
}

void
bw_value_digest(const uint8_t salt[BW_SALT_LEN], const void *value, size_t len,
				uint8_t digest[BW_DIGEST_LEN])
{
	bw_writer	w = {.data = digest + BW_SHA256_LEN, .cap = 8};

	bw_sha256_two(salt, BW_SALT_LEN, value, len, digest);
	bw_put_uint(&w, len, 8);
}

bool
bw_content_open(bw_content *c, const void *data, size_t len)
{
	memset(c, 0, sizeof(*c));
	c->r.data = data;
	c->r.len = len;
	if (bw_get_uint(&c->r, 1) != BW_CONTENT_VERSION || bw_get_uint(&c->r, 1) != 0 ||
		c->r.failed || len < BW_CONTENT_HEAD)
	{
		c->r.failed = true;
		return false;
	}
	c->salt = c->r.data + c->r.pos;
	c->r.pos += BW_SALT_LEN;
	return true;
}

/* May a field of that tag and mode have this length? */
static bool
field_length_valid(const bw_field *field)
{
	if (field->mode == BW_MODE_DIGEST)
		return field->value.len == BW_DIGEST_LEN;
	if (field->mode == BW_MODE_SEALED)
		return field->value.len > 0;
	switch (field->tag)
	{
		case BW_TAG_ISSUER:
		case BW_TAG_SHAPE:
			return field->value.len == 16;
		case BW_TAG_PROVED_AT:
			return field->value.len == 8;
		default:
			return true;
	}
}

bool
bw_content_next(bw_content *c, bw_field *field)
{
	if (c->r.failed || c->r.pos == c->r.len)
		return false;
	field->tag = (uint8_t) bw_get_uint(&c->r, 1);
	field->mode = (uint8_t) bw_get_uint(&c->r, 1);
	field->value.data = bw_get_bytes(&c->r, SIZE_MAX, &field->value.len);
	if (c->r.failed || field->tag <= c->last_tag || field->tag > BW_TAG_LAST ||
		field->mode > BW_MODE_SEALED || !field_length_valid(field))
	{
		c->r.failed = true;
		return false;
	}
	c->last_tag = field->tag;
	return true;
}

bool
bw_content_valid(const bw_content *c)
{
	return bw_reader_done(&c->r);
}

/* --- shape ---------------------------------------------------------------------------- */

static const int8_t widths[] = {
	[BW_ENC_TEXT_OUTPUT] = -1,
	[BW_ENC_BOOL] = 1,
	[BW_ENC_INT2] = 2,
	[BW_ENC_INT4] = 4,
	[BW_ENC_INT8] = 8,
	[BW_ENC_FLOAT4] = 4,
	[BW_ENC_FLOAT8] = 8,
	[BW_ENC_UUID] = 16,
	[BW_ENC_TEXT] = -1,
	[BW_ENC_BYTEA] = -1,
	[BW_ENC_DATE] = 4,
	[BW_ENC_TIMESTAMP] = 8,
	[BW_ENC_TIMESTAMPTZ] = 8,
};

int
bw_encoding_width(uint8_t encoding)
{
	return encoding <= BW_ENC_LAST ? widths[encoding] : -1;
}

void
bw_shape_id(const void *shape, size_t len, uint8_t id[BW_SHAPE_ID_LEN])
{
	uint8_t		hash[BW_SHA256_LEN];

	bw_sha256(shape, len, hash);
	memcpy(id, hash, BW_SHAPE_ID_LEN);
}

bool
bw_shape_open(bw_shape *s, const void *data, size_t len)
{
	memset(s, 0, sizeof(*s));
	s->r.data = data;
	s->r.len = len;
	if (bw_get_uint(&s->r, 1) != BW_SHAPE_VERSION)
		s->r.failed = true;
	s->relation.data = bw_get_bytes(&s->r, SIZE_MAX, &s->relation.len);
	s->number = bw_get_varint32(&s->r);
	s->ncolumns = bw_get_varint32(&s->r);
	return !s->r.failed;
}

bool
bw_shape_next(bw_shape *s, bw_column *column)
{
	if (s->r.failed || s->read == s->ncolumns)
		return false;
	column->name.data = bw_get_bytes(&s->r, SIZE_MAX, &column->name.len);
	column->type.data = bw_get_bytes(&s->r, SIZE_MAX, &column->type.len);
	column->encoding = (uint8_t) bw_get_uint(&s->r, 1);
	if (column->encoding > BW_ENC_LAST)
		s->r.failed = true;
	column->number = bw_get_varint32(&s->r);
	s->read++;
	return !s->r.failed;
}

bool
bw_shape_valid(const bw_shape *s)
{
	return s->read == s->ncolumns && bw_reader_done(&s->r);
}

/* --- image ------------------------------------------------------------------------------ */

bool
bw_image_open(bw_image *i, const void *data, size_t len)
{
	memset(i, 0, sizeof(*i));
	i->r.data = data;
	i->r.len = len;
	i->ncolumns = bw_get_varint32(&i->r);
	return !i->r.failed;
}

bool
bw_image_next(bw_image *i, bw_value *value)
{
	if (i->r.failed || i->read == i->ncolumns)
		return false;
	value->value.data = NULL;
	value->value.len = 0;
	value->kind = (uint8_t) bw_get_uint(&i->r, 1);
	switch (value->kind)
	{
		case BW_KIND_VALUE:
		case BW_KIND_SEALED:
			value->value.data = bw_get_bytes(&i->r, SIZE_MAX, &value->value.len);
			break;
		case BW_KIND_DIGEST:
			value->value.data = bw_get_span(&i->r, BW_DIGEST_LEN);
			value->value.len = BW_DIGEST_LEN;
			break;
		default:
			if (value->kind > BW_KIND_LAST)
				i->r.failed = true;
	}
	i->read++;
	return !i->r.failed;
}

bool
bw_image_valid(const bw_image *i)
{
	return i->read == i->ncolumns && bw_reader_done(&i->r);
}
