/*
 * envelope.c
 *		Values sealed under a tenant's key, with what they belong to.
 *
 * Neither suite commits to its key: a ciphertext can be made that opens under two.
 * So the key is named by an output of HKDF over it, which is authenticated with the
 * header, and who prepares a key compares that name with the key that was unwrapped.
 */
#include "common/envelope.h"

#include <string.h>

#define KEY_ID_LABEL	"bulwark envelope key id v1"
#define XCHACHA_LABEL	"bulwark xchacha20-poly1305 v1"
#define CONTEXT_LABEL	"bulwark context v1"

#define MAGIC_0			0xf8
#define MAGIC_1			'B'
#define VERSION			1
#define KNOWN_FLAGS		(BW_ENVELOPE_PADDED | BW_ENVELOPE_CONTEXT)

#define AT_VERSION		2
#define AT_SUITE		3
#define AT_FLAGS		4
#define AT_KEY_ID		5
#define AT_NONCE		(AT_KEY_ID + BW_ENVELOPE_KEY_ID_LEN)

#define LENGTH_LEN		4		/* of each part of the associated data, and of a padded text */
#define TENANT_LEN		16
#define AD_LEN			(LENGTH_LEN + BW_ENVELOPE_HEADER_LEN + LENGTH_LEN + TENANT_LEN + LENGTH_LEN + 1)

bool
bw_envelope_key_id(const uint8_t key[BW_ENVELOPE_KEY_LEN], uint8_t id[BW_ENVELOPE_KEY_ID_LEN])
{
	return bw_hkdf_sha256(key, BW_ENVELOPE_KEY_LEN, NULL, 0, (const uint8_t *) KEY_ID_LABEL,
						  strlen(KEY_ID_LABEL), id, BW_ENVELOPE_KEY_ID_LEN);
}

/* XAES takes the key itself, the other suite one derived from it: no key serves two. */
bool
bw_envelope_key_init(bw_envelope_key *prepared, const uint8_t key[BW_ENVELOPE_KEY_LEN])
{
	if (bw_xaes_key_init(&prepared->xaes, key) &&
		bw_hkdf_sha256(key, BW_ENVELOPE_KEY_LEN, NULL, 0, (const uint8_t *) XCHACHA_LABEL,
					   strlen(XCHACHA_LABEL), prepared->xchacha, sizeof(prepared->xchacha)))
		return true;
	bw_wipe(prepared, sizeof(*prepared));
	return false;
}

bool
bw_envelope_parse(const uint8_t *data, size_t len, bw_envelope *envelope)
{
	if (len < BW_ENVELOPE_OVERHEAD || data[0] != MAGIC_0 || data[1] != MAGIC_1 ||
		data[AT_VERSION] != VERSION || (data[AT_FLAGS] & ~KNOWN_FLAGS) != 0 ||
		(data[AT_SUITE] != BW_SUITE_XAES_256_GCM && data[AT_SUITE] != BW_SUITE_XCHACHA20_POLY1305))
		return false;
	envelope->suite = (bw_suite) data[AT_SUITE];
	envelope->flags = data[AT_FLAGS];
	envelope->key_id = data + AT_KEY_ID;
	envelope->nonce = data + AT_NONCE;
	envelope->sealed = data + BW_ENVELOPE_HEADER_LEN;
	envelope->sealed_len = len - BW_ENVELOPE_HEADER_LEN;
	return true;
}

/* What is encrypted of len bytes: themselves, or with length and padding. */
static size_t
padded_len(size_t len, size_t pad)
{
	size_t		whole = LENGTH_LEN + len;

	if (pad == 0)
		return len;
	return whole % pad == 0 ? whole : whole + (pad - whole % pad);
}

size_t
bw_envelope_len(size_t len, size_t pad, bool context)
{
	size_t		inner;

	if (len > BW_ENVELOPE_TEXT_MAX || pad > BW_ENVELOPE_TEXT_MAX)
		return 0;
	inner = padded_len(len, pad) + (context ? BW_CONTEXT_LEN : 0);
	return inner > BW_ENVELOPE_TEXT_MAX ? 0 : inner + BW_ENVELOPE_OVERHEAD;
}

static void
put_length(uint8_t **at, size_t len)
{
	for (int i = 0; i < LENGTH_LEN; i++)
		*(*at)++ = (uint8_t) (len >> (8 * (LENGTH_LEN - 1 - i)));
}

static void
put_part(uint8_t **at, const void *part, size_t len)
{
	put_length(at, len);
	memcpy(*at, part, len);
	*at += len;
}

/* Header, tenant and type, each behind its length. */
static void
bind_to(const uint8_t *header, const bw_binding *binding, uint8_t bytes[AD_LEN], bw_ad *ad)
{
	uint8_t    *at = bytes;

	put_part(&at, header, BW_ENVELOPE_HEADER_LEN);
	put_part(&at, binding->tenant, TENANT_LEN);
	put_part(&at, &binding->type, 1);
	*ad = (bw_ad) {bytes, AD_LEN, NULL, 0};
}

/*
 * What stands for a context, encrypted with the text: so a value can be moved to
 * another key by who does not know the context.  A digest without a key, for it
 * must be the same under the next one; nobody sees it.
 */
static void
commit_to(const bw_binding *binding, uint8_t commitment[BW_CONTEXT_LEN])
{
	bw_sha256_two(CONTEXT_LABEL, strlen(CONTEXT_LABEL), binding->context, binding->context_len, commitment);
}

static bool
seal_by_suite(const bw_envelope_key *key, bw_suite suite, const uint8_t *nonce, const bw_ad *ad,
			  const void *plain, size_t len, uint8_t *out)
{
	switch (suite)
	{
		case BW_SUITE_XAES_256_GCM:
			return bw_xaes_seal(&key->xaes, nonce, ad, plain, len, out);
		case BW_SUITE_XCHACHA20_POLY1305:
			return bw_xchacha_seal(key->xchacha, nonce, ad, plain, len, out);
	}
	return false;
}

/* Length, text and zeroes, laid out where the ciphertext goes and encrypted in place. */
static void
pad_text(const void *plain, size_t len, size_t inner, uint8_t *out)
{
	put_length(&out, len);
	if (len > 0)
		memcpy(out, plain, len);
	memset(out + len, 0, inner - LENGTH_LEN - len);
}

static void
put_header(uint8_t *out, bw_suite suite, uint8_t flags, const uint8_t *key_id, const uint8_t *nonce)
{
	out[0] = MAGIC_0;
	out[1] = MAGIC_1;
	out[AT_VERSION] = VERSION;
	out[AT_SUITE] = (uint8_t) suite;
	out[AT_FLAGS] = flags;
	memcpy(out + AT_KEY_ID, key_id, BW_ENVELOPE_KEY_ID_LEN);
	memcpy(out + AT_NONCE, nonce, BW_ENVELOPE_NONCE_LEN);
}

/* Behind the header that stands in out; inner may lie where the ciphertext goes. */
static bool
seal_inner(const bw_envelope_key *key, const bw_binding *binding, const void *inner, size_t len, uint8_t *out)
{
	uint8_t		bytes[AD_LEN];
	uint8_t    *sealed = out + BW_ENVELOPE_HEADER_LEN;
	bw_ad		ad;

	bind_to(out, binding, bytes, &ad);
	if (seal_by_suite(key, (bw_suite) out[AT_SUITE], out + AT_NONCE, &ad, inner, len, sealed))
		return true;
	bw_wipe(sealed, len + BW_ENVELOPE_TAG_LEN);
	return false;
}

/* key_id is the key's own.  Writes bw_envelope_len() bytes. */
bool
bw_envelope_seal(const bw_envelope_key *key, const uint8_t key_id[BW_ENVELOPE_KEY_ID_LEN], bw_suite suite,
				 const uint8_t nonce[BW_ENVELOPE_NONCE_LEN], const bw_binding *binding,
				 const void *plain, size_t len, size_t pad, uint8_t *out)
{
	bool		context = binding->context_len > 0;
	uint8_t    *sealed = out + BW_ENVELOPE_HEADER_LEN;
	size_t		padded;

	if (bw_envelope_len(len, pad, context) == 0)
		return false;
	padded = padded_len(len, pad);
	put_header(out, suite, (pad > 0 ? BW_ENVELOPE_PADDED : 0) | (context ? BW_ENVELOPE_CONTEXT : 0), key_id, nonce);
	if (pad == 0 && !context)
		return seal_inner(key, binding, plain, len, out);
	if (pad > 0)
		pad_text(plain, len, padded, sealed);
	else if (len > 0)
		memcpy(sealed, plain, len);
	if (context)
		commit_to(binding, sealed + padded);
	return seal_inner(key, binding, sealed, padded + (context ? BW_CONTEXT_LEN : 0), out);
}

static bool
open_by_suite(const bw_envelope_key *key, const bw_envelope *envelope, const bw_ad *ad, uint8_t *out)
{
	switch (envelope->suite)
	{
		case BW_SUITE_XAES_256_GCM:
			return bw_xaes_open(&key->xaes, envelope->nonce, ad, envelope->sealed, envelope->sealed_len, out);
		case BW_SUITE_XCHACHA20_POLY1305:
			return bw_xchacha_open(key->xchacha, envelope->nonce, ad, envelope->sealed, envelope->sealed_len, out);
	}
	return false;
}

/* Move the text to the front; false unless the padding is as we make it. */
static bool
unpad_text(uint8_t *out, size_t inner, size_t *len)
{
	size_t		text = 0;
	uint8_t		rest = 0;

	if (inner < LENGTH_LEN)
		return false;
	for (int i = 0; i < LENGTH_LEN; i++)
		text = text << 8 | out[i];
	if (text > inner - LENGTH_LEN)
		return false;
	for (size_t i = LENGTH_LEN + text; i < inner; i++)
		rest |= out[i];
	if (rest != 0)
		return false;
	memmove(out, out + LENGTH_LEN, text);
	bw_wipe(out + text, inner - text);
	*len = text;
	return true;
}

/* Drop the commitment at the end; false unless it is that of the context. */
static bool
check_context(const bw_envelope *envelope, const bw_binding *binding, uint8_t *out, size_t *inner)
{
	uint8_t		commitment[BW_CONTEXT_LEN];
	bool		same;

	if ((envelope->flags & BW_ENVELOPE_CONTEXT) == 0)
		return binding->context_len == 0;
	if (binding->context_len == 0 || *inner < BW_CONTEXT_LEN)
		return false;
	*inner -= BW_CONTEXT_LEN;
	commit_to(binding, commitment);
	same = bw_equal(out + *inner, commitment, BW_CONTEXT_LEN);
	bw_wipe(out + *inner, BW_CONTEXT_LEN);
	return same;
}

/* data: where the envelope begins, as it was parsed. */
bool
bw_envelope_open(const bw_envelope_key *key, const bw_envelope *envelope, const uint8_t *data,
				 const bw_binding *binding, uint8_t *out, size_t *len)
{
	uint8_t		bytes[AD_LEN];
	bw_ad		ad;
	size_t		inner = envelope->sealed_len - BW_ENVELOPE_TAG_LEN;

	bind_to(data, binding, bytes, &ad);
	if (!open_by_suite(key, envelope, &ad, out))
		return false;
	*len = inner;
	if (check_context(envelope, binding, out, len) &&
		((envelope->flags & BW_ENVELOPE_PADDED) == 0 || unpad_text(out, *len, len)))
		return true;
	bw_wipe(out, inner);
	return false;
}

bool
bw_envelope_reseal(const bw_envelope_key *from, const bw_envelope *envelope, const uint8_t *data,
				   const bw_envelope_key *to, const uint8_t to_id[BW_ENVELOPE_KEY_ID_LEN], bw_suite suite,
				   const uint8_t nonce[BW_ENVELOPE_NONCE_LEN], const bw_binding *binding, uint8_t *out)
{
	uint8_t		bytes[AD_LEN];
	uint8_t    *sealed = out + BW_ENVELOPE_HEADER_LEN;
	bw_ad		ad;

	bind_to(data, binding, bytes, &ad);
	if (!open_by_suite(from, envelope, &ad, sealed))
		return false;
	put_header(out, suite, envelope->flags, to_id, nonce);
	return seal_inner(to, binding, sealed, envelope->sealed_len - BW_ENVELOPE_TAG_LEN, out);
}
