/*
 * encode.c
 *		Big-endian, length-prefixed encoding into and out of bounded buffers.
 *		An overflow or a short read sets `failed` and changes nothing more.
 */
#include "common/common.h"

#include <string.h>

void
bw_put_string(bw_writer *w, const char *s)
{
	size_t		len = strlen(s);

	if (len > UINT16_MAX)
		w->failed = true;
	bw_put_uint(w, len, 2);
	bw_put(w, s, len);
}

void
bw_get(bw_reader *r, void *data, size_t len)
{
	if (r->failed || len > r->len - r->pos)
	{
		r->failed = true;
		memset(data, 0, len);
		return;
	}
	memcpy(data, r->data + r->pos, len);
	r->pos += len;
}

uint64_t
bw_get_uint(bw_reader *r, int bytes)
{
	const uint8_t *at = bw_get_span(r, (size_t) bytes);
	uint64_t	value = 0;

	for (int i = 0; at != NULL && i < bytes; i++)
		value = value << 8 | at[i];
	return value;
}

/* A string of at most cap - 1 bytes, NUL-terminated; an embedded NUL fails. */
void
bw_get_string(bw_reader *r, char *dst, size_t cap)
{
	size_t		len = (size_t) bw_get_uint(r, 2);

	if (len >= cap)
		r->failed = true;
	else
	{
		bw_get(r, dst, len);
		dst[r->failed ? 0 : len] = '\0';
		if (!r->failed && strlen(dst) != len)
			r->failed = true;
	}
	if (r->failed)
		dst[0] = '\0';
}

/* Everything read, nothing missing? */
bool
bw_reader_done(const bw_reader *r)
{
	return !r->failed && r->pos == r->len;
}

void
bw_put_bytes(bw_writer *w, const void *data, size_t len)
{
	bw_put_varint(w, len);
	bw_put(w, data, len);
}

/* A varint; a superfluous byte or more than 64 bits fail. */
uint64_t
bw_get_varint(bw_reader *r)
{
	uint64_t	value = 0;

	if (!r->failed && r->pos < r->len && r->data[r->pos] < 0x80)
		return r->data[r->pos++];	/* as most are */
	for (int shift = 0; shift < 64 && !r->failed; shift += 7)
	{
		uint8_t		byte;

		if (r->pos >= r->len)
			break;
		byte = r->data[r->pos++];
		if (shift == 63 && byte > 1)
			break;
		value |= (uint64_t) (byte & 0x7f) << shift;
		if (byte < 0x80)
		{
			if (byte == 0 && shift > 0)
				break;
			return value;
		}
	}
	r->failed = true;
	return 0;
}

uint32_t
bw_get_varint32(bw_reader *r)
{
	uint64_t	value = bw_get_varint(r);

	if (value > UINT32_MAX)
		r->failed = true;
	return r->failed ? 0 : (uint32_t) value;
}

const uint8_t *
bw_get_span(bw_reader *r, size_t len)
{
	const uint8_t *span = r->data + r->pos;

	if (r->failed || len > r->len - r->pos)
	{
		r->failed = true;
		return NULL;
	}
	r->pos += len;
	return span;
}

const uint8_t *
bw_get_bytes(bw_reader *r, size_t max, size_t *len)
{
	uint64_t	n = bw_get_varint(r);
	const uint8_t *span = NULL;

	if (n > max)
		r->failed = true;
	else
		span = bw_get_span(r, (size_t) n);
	*len = span != NULL ? (size_t) n : 0;
	return span;
}
