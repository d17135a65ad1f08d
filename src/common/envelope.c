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

#define KEPT_CONTEXT_MAX	128	/* bytes */

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

/* What is encrypted for len bytes of commitment and text. */
static size_t
inner_len(size_t len, size_t pad)
{
	size_t		whole = LENGTH_LEN + len;

	if (pad == 0)
		return len;
	return whole % pad == 0 ? whole : whole + (pad - whole % pad);
}

size_t
bw_envelope_len(size_t len, bool has_context, size_t pad)
{
	size_t		inner;

	if (len > BW_ENVELOPE_TEXT_MAX || pad > BW_ENVELOPE_TEXT_MAX)
		return 0;
	inner = inner_len(len + (has_context ? BW_COMMITMENT_LEN : 0), pad);
	return inner > BW_ENVELOPE_TEXT_MAX ? 0 : inner + BW_ENVELOPE_OVERHEAD;
}

static uint8_t *
put_length(uint8_t *at, size_t len)
{
	for (int i = 0; i < LENGTH_LEN; i++)
		*at++ = (uint8_t) (len >> (8 * (LENGTH_LEN - 1 - i)));
	return at;
}

static uint8_t *
put_part(uint8_t *at, const void *part, size_t len)
{
	at = put_length(at, len);
	memcpy(at, part, len);
	return at + len;
}

/* Header, tenant and type, each behind its length. */
static bw_ad
bind_to(const uint8_t *header, const bw_binding *binding, uint8_t bytes[AD_LEN])
{
	uint8_t    *at = put_part(bytes, header, BW_ENVELOPE_HEADER_LEN);

	at = put_part(at, binding->tenant, TENANT_LEN);
	(void) put_part(at, &binding->type, 1);
	return (bw_ad) {bytes, AD_LEN, NULL, 0};
}

static bool
has_context(const bw_binding *binding)
{
	return binding->context_len > 0 || binding->commitment != NULL;
}

/*
 * The label's NUL ends it, so that label and context cannot be taken for one another.
 * The commitment to the latest context is kept: the values of a column often share one,
 * and where the processor has no instructions for SHA-256 it takes a fifth of the time.
 */
static void
commit_to(const bw_binding *binding, uint8_t commitment[BW_COMMITMENT_LEN])
{
	static uint8_t context[KEPT_CONTEXT_MAX];
	static uint8_t kept[BW_COMMITMENT_LEN];
	static size_t len = 0;		/* 0: none */

	if (binding->commitment != NULL)
	{
		memcpy(commitment, binding->commitment, BW_COMMITMENT_LEN);
		return;
	}
	if (binding->context_len > 0 && binding->context_len == len && memcmp(binding->context, context, len) == 0)
	{
		memcpy(commitment, kept, BW_COMMITMENT_LEN);
		return;
	}
	bw_sha256_two(CONTEXT_LABEL, sizeof(CONTEXT_LABEL), binding->context, binding->context_len, commitment);
	if (binding->context_len > KEPT_CONTEXT_MAX)
		return;
	len = binding->context_len;
	memcpy(context, binding->context, len);
	memcpy(kept, commitment, BW_COMMITMENT_LEN);
}

static bool
seal_by_suite(const bw_envelope_key *key, bw_suite suite, const uint8_t *nonce, const bw_ad *ad,
			  const bw_part *parts, int nparts, uint8_t *out)
{
	switch (suite)
	{
		case BW_SUITE_XAES_256_GCM:
			return bw_xaes_seal(&key->xaes, nonce, ad, parts, nparts, out);
		case BW_SUITE_XCHACHA20_POLY1305:
			return bw_xchacha_seal(key->xchacha, nonce, ad, parts, nparts, out);
	}
	return false;
}

bool
bw_envelope_seal(const bw_envelope_key *key, const uint8_t key_id[BW_ENVELOPE_KEY_ID_LEN], bw_suite suite,
				 const uint8_t nonce[BW_ENVELOPE_NONCE_LEN], const bw_binding *binding,
				 const void *plain, size_t len, size_t pad, uint8_t *out)
{
	bool		context = has_context(binding);
	size_t		total = bw_envelope_len(len, context, pad);
	size_t		bound = len + (context ? BW_COMMITMENT_LEN : 0);
	uint8_t		commitment[BW_COMMITMENT_LEN];
	uint8_t		length[LENGTH_LEN];
	uint8_t		bytes[AD_LEN];
	bw_part		parts[4];
	int			n = 0;
	bw_ad		ad;

	if (total == 0)
		return false;
	out[0] = MAGIC_0;
	out[1] = MAGIC_1;
	out[AT_VERSION] = VERSION;
	out[AT_SUITE] = (uint8_t) suite;
	out[AT_FLAGS] = (pad > 0 ? BW_ENVELOPE_PADDED : 0) | (context ? BW_ENVELOPE_CONTEXT : 0);
	memcpy(out + AT_KEY_ID, key_id, BW_ENVELOPE_KEY_ID_LEN);
	memcpy(out + AT_NONCE, nonce, BW_ENVELOPE_NONCE_LEN);
	ad = bind_to(out, binding, bytes);

	if (pad > 0)
	{
		put_length(length, bound);
		parts[n++] = (bw_part) {length, LENGTH_LEN};
	}
	if (context)
	{
		commit_to(binding, commitment);
		parts[n++] = (bw_part) {commitment, BW_COMMITMENT_LEN};
	}
	if (len > 0)
		parts[n++] = (bw_part) {plain, len};
	if (pad > 0)
		parts[n++] = (bw_part) {NULL, inner_len(bound, pad) - LENGTH_LEN - bound};
	if (seal_by_suite(key, suite, nonce, &ad, parts, n, out + BW_ENVELOPE_HEADER_LEN))
		return true;
	bw_wipe(out, total);
	return false;
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

/* Where the text is, in what was decrypted; false unless it is laid out as we do. */
static bool
take_apart(const bw_envelope *envelope, const uint8_t *inner, bw_opened *opened)
{
	size_t		total = envelope->sealed_len - BW_ENVELOPE_TAG_LEN;
	size_t		at = 0;
	size_t		len = total;
	uint8_t		rest = 0;

	if ((envelope->flags & BW_ENVELOPE_PADDED) != 0)
	{
		if (total < LENGTH_LEN)
			return false;
		for (len = 0; at < LENGTH_LEN; at++)
			len = len << 8 | inner[at];
		if (len > total - LENGTH_LEN)
			return false;
		for (size_t i = LENGTH_LEN + len; i < total; i++)
			rest |= inner[i];
	}
	opened->commitment_at = at;
	if ((envelope->flags & BW_ENVELOPE_CONTEXT) != 0)
	{
		if (len < BW_COMMITMENT_LEN)
			return false;
		at += BW_COMMITMENT_LEN;
		len -= BW_COMMITMENT_LEN;
	}
	opened->text_at = at;
	opened->text_len = len;
	return rest == 0;
}

bool
bw_envelope_open_any_context(const bw_envelope_key *key, const bw_envelope *envelope, const uint8_t *data,
							 const bw_binding *binding, uint8_t *out, bw_opened *opened)
{
	uint8_t		bytes[AD_LEN];
	bw_ad		ad = bind_to(data, binding, bytes);

	if (!open_by_suite(key, envelope, &ad, out))
		return false;
	if (take_apart(envelope, out, opened))
		return true;
	bw_wipe(out, envelope->sealed_len - BW_ENVELOPE_TAG_LEN);
	return false;
}

bool
bw_envelope_open(const bw_envelope_key *key, const bw_envelope *envelope, const uint8_t *data,
				 const bw_binding *binding, uint8_t *out, bw_opened *opened)
{
	bool		context = (envelope->flags & BW_ENVELOPE_CONTEXT) != 0;
	uint8_t		commitment[BW_COMMITMENT_LEN];

	if (!bw_envelope_open_any_context(key, envelope, data, binding, out, opened))
		return false;
	if (context && has_context(binding))
	{
		commit_to(binding, commitment);
		if (bw_equal(commitment, out + opened->commitment_at, BW_COMMITMENT_LEN))
			return true;
	}
	else if (!context && !has_context(binding))
		return true;
	bw_wipe(out, envelope->sealed_len - BW_ENVELOPE_TAG_LEN);
	return false;
}
