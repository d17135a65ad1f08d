/*
 * envelope.h
 *		The stored form of an encrypted value.
 *
 *		magic F8 'B' | version (1) | suite (1) | flags (1) | key id (16) |
 *		nonce (24) | ciphertext | tag (16)
 *
 * The header up to and with the nonce, the tenant and the type are associated data,
 * each length-prefixed.  What is encrypted:
 *
 *		length (4, if padded) | commitment (32, if there is a context) | text | zeroes
 *
 * The length is that of commitment and text; the commitment is SHA-256 of a label and
 * the context.  It stands inside so that a value can be put under another key by who
 * does not know its context; it binds as associated data would, and the key besides.
 *
 * The magic is not valid UTF-8: an envelope is never mistaken for text, nor text for
 * an envelope.
 */
#ifndef BULWARK_ENVELOPE_H
#define BULWARK_ENVELOPE_H

#include "common/common.h"

#define BW_ENVELOPE_KEY_ID_LEN	16
#define BW_ENVELOPE_KEY_LEN		32
#define BW_ENVELOPE_NONCE_LEN	24
#define BW_ENVELOPE_TAG_LEN		16
#define BW_ENVELOPE_HEADER_LEN	(2 + 1 + 1 + 1 + BW_ENVELOPE_KEY_ID_LEN + BW_ENVELOPE_NONCE_LEN)
#define BW_ENVELOPE_OVERHEAD	(BW_ENVELOPE_HEADER_LEN + BW_ENVELOPE_TAG_LEN)

#define BW_ENVELOPE_TEXT_MAX	((size_t) 0x3fffff00)	/* less than a varlena's */

#define BW_ENVELOPE_PADDED		0x01	/* flag: a length before, padding behind the text */
#define BW_ENVELOPE_CONTEXT		0x02	/* flag: a commitment to the context before the text */
#define BW_COMMITMENT_LEN		32
/* How far behind the beginning of what is decrypted the text may begin. */
#define BW_ENVELOPE_BEFORE_MAX	(4 + BW_COMMITMENT_LEN)

typedef enum bw_suite
{
	BW_SUITE_XAES_256_GCM = 1,
	BW_SUITE_XCHACHA20_POLY1305 = 2
} bw_suite;

typedef struct bw_envelope
{
	bw_suite	suite;
	uint8_t		flags;
	const uint8_t *key_id;
	const uint8_t *nonce;
	const uint8_t *sealed;		/* ciphertext and tag */
	size_t		sealed_len;
} bw_envelope;

/* False: not an envelope of a version, suite and flags that are known. */
extern bool bw_envelope_parse(const uint8_t *data, size_t len, bw_envelope *envelope);

/*
 * A key prepared for use.  It holds secrets and nothing that must be released:
 * put it where memory is not dumped, and wipe it.
 */
typedef struct bw_envelope_key
{
	bw_xaes_key xaes;
	uint8_t		xchacha[BW_AEAD_KEY_LEN];
} bw_envelope_key;

extern bool bw_envelope_key_init(bw_envelope_key *prepared, const uint8_t key[BW_ENVELOPE_KEY_LEN]);
/* HKDF of the key: commits to it, which the suites do not. */
extern bool bw_envelope_key_id(const uint8_t key[BW_ENVELOPE_KEY_LEN],
							   uint8_t id[BW_ENVELOPE_KEY_ID_LEN]);

/* What is bound with a value beside its header. */
typedef struct bw_binding
{
	const uint8_t *tenant;		/* 16 bytes */
	uint8_t		type;
	const void *context;
	size_t		context_len;	/* 0: none */
	const uint8_t *commitment;	/* or NULL: stands for a context that is not known */
} bw_binding;

/* Length of the envelope of len bytes, padded to multiples of pad (0: not); 0: too long. */
extern size_t bw_envelope_len(size_t len, bool has_context, size_t pad);
/* key_id is the key's own.  Writes bw_envelope_len() bytes. */
extern bool bw_envelope_seal(const bw_envelope_key *key,
							 const uint8_t key_id[BW_ENVELOPE_KEY_ID_LEN], bw_suite suite,
							 const uint8_t nonce[BW_ENVELOPE_NONCE_LEN], const bw_binding *binding,
							 const void *plain, size_t len, size_t pad, uint8_t *out);

/* What was found in an envelope; at counts from where it was decrypted to. */
typedef struct bw_opened
{
	size_t		text_at;
	size_t		text_len;
	size_t		commitment_at;	/* with a context only */
} bw_opened;

/* data: where the envelope begins; out: room for sealed_len bytes.  False for every
 * cause, out then wiped. */
extern bool bw_envelope_open(const bw_envelope_key *key, const bw_envelope *envelope,
							 const uint8_t *data, const bw_binding *binding,
							 uint8_t *out, bw_opened *opened);
/* The same under whatever context it has: to seal it anew, and for nothing else. */
extern bool bw_envelope_open_any_context(const bw_envelope_key *key, const bw_envelope *envelope,
										 const uint8_t *data, const bw_binding *binding,
										 uint8_t *out, bw_opened *opened);

#endif							/* BULWARK_ENVELOPE_H */
