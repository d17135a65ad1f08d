/*
 * common.h
 *		Encodings and cryptography that the server and the command line share.
 *		Nothing here calls the back end: functions return codes, take buffers
 *		with their lengths and never allocate with palloc.
 */
#ifndef BULWARK_COMMON_H
#define BULWARK_COMMON_H

#include <openssl/sha.h>
#include <sodium.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

/* base64url without padding (RFC 4648 section 5), canonical only. */
#define BW_BASE64URL_ENCODED_LEN(n)		(((n) * 4 + 2) / 3)
#define BW_BASE64URL_DECODED_MAX(n)		(((n) * 3) / 4)
extern size_t bw_base64url_encode(const uint8_t *src, size_t len, char *dst);	/* writes no NUL */
/* Decoded length, or -1: a bad character, padding, a non-canonical tail. */
extern ssize_t bw_base64url_decode(const char *src, size_t len, uint8_t *dst, size_t cap);

/* base64 with padding (RFC 4648 section 4), canonical only. */
#define BW_BASE64_ENCODED_LEN(n)		(((n) + 2) / 3 * 4)
#define BW_BASE64_DECODED_MAX(n)		((n) / 4 * 3)
extern size_t bw_base64_encode(const uint8_t *src, size_t len, char *dst);	/* writes no NUL */
/* Decoded length, or -1.  dst may be src, else has room for BW_BASE64_DECODED_MAX(len). */
extern ssize_t bw_base64_decode(const char *src, size_t len, uint8_t *dst);

/* Lower-case hex out; either case in. decode: false unless exactly 2*len digits. */
extern void bw_hex_encode(const uint8_t *src, size_t len, char *dst);	/* writes no NUL */
extern bool bw_hex_decode(const char *src, size_t srclen, uint8_t *dst, size_t len);

/* Bytes that are somebody else's. */
typedef struct bw_bytes
{
	const uint8_t *data;
	size_t		len;
} bw_bytes;

/* SHA-256, HMAC-SHA256 (OpenSSL's, for its speed), HKDF-SHA256 (RFC 5869). */
#define BW_SHA256_LEN 32
extern void bw_sha256(const void *data, size_t len, uint8_t out[BW_SHA256_LEN]);
/* Of one after the other. */
extern void bw_sha256_two(const void *first, size_t firstlen, const void *second, size_t secondlen,
						  uint8_t out[BW_SHA256_LEN]);
/* Of what comes in pieces; a state may be copied, and ended once. */
typedef SHA256_CTX bw_sha256_state;
extern void bw_sha256_begin(bw_sha256_state *state);
extern void bw_sha256_add(bw_sha256_state *state, const void *data, size_t len);
extern void bw_sha256_end(bw_sha256_state *state, uint8_t out[BW_SHA256_LEN]);
extern void bw_hmac_sha256(const uint8_t *key, size_t keylen,
						   const void *data, size_t len, uint8_t out[BW_SHA256_LEN]);
/* The same with a key that is used often: its two blocks are hashed once. */
typedef struct bw_hmac_key
{
	SHA256_CTX	inner;
	SHA256_CTX	outer;
} bw_hmac_key;
extern void bw_hmac_key_init(bw_hmac_key *keyed, const uint8_t *key, size_t keylen);
extern void bw_hmac_sha256_keyed(const bw_hmac_key *keyed, const void *data, size_t len,
								 uint8_t out[BW_SHA256_LEN]);
/* Of a label behind its length (4), then the data. */
extern void bw_hmac_sha256_labelled(const bw_hmac_key *keyed, const char *label,
									const void *data, size_t len, uint8_t out[BW_SHA256_LEN]);
/* Digests of n messages, and MACs of n digests in place: quicker than one by one, best of 16 at a time. */
#define BW_MANY 16
extern void bw_sha256_many(const bw_bytes *messages, size_t n, uint8_t (*out)[BW_SHA256_LEN]);
extern void bw_hmac_sha256_many(const bw_hmac_key *keyed, size_t n, uint8_t (*digests)[BW_SHA256_LEN]);
extern bool bw_equal(const void *a, const void *b, size_t len);	/* constant time */
extern bool bw_hkdf_sha256(const uint8_t *ikm, size_t ikmlen,
						   const uint8_t *salt, size_t saltlen,
						   const uint8_t *info, size_t infolen,
						   uint8_t *okm, size_t okmlen);
extern bool bw_random(void *dst, size_t len);
extern void bw_wipe(void *p, size_t len);

/* XAES-256-GCM (C2SP): 32-byte key, 24-byte nonce, 16-byte tag after the text. */
#define BW_AEAD_KEY_LEN		32
#define BW_AEAD_NONCE_LEN	24
#define BW_AEAD_TAG_LEN		16
extern bool bw_aead_seal(const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_AEAD_NONCE_LEN],
						 const void *ad, size_t adlen, const void *plain, size_t len,
						 uint8_t *out /* len + BW_AEAD_TAG_LEN */ );
extern bool bw_aead_open(const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_AEAD_NONCE_LEN],
						 const void *ad, size_t adlen, const uint8_t *sealed, size_t sealedlen,
						 void *out /* sealedlen - BW_AEAD_TAG_LEN */ );

/*
 * The same with a key that is used often: its CMAC subkey is computed once.  The
 * cipher contexts are the process's and reused; bw_aead_forget() leaves no key of
 * the last use in them.  Associated data in two parts, one after the other.
 */
typedef struct bw_xaes_key
{
	uint64_t	serial;			/* of this key among the process's, never 0 */
	uint8_t		key[BW_AEAD_KEY_LEN];
	uint8_t		k1[16];
} bw_xaes_key;

typedef struct bw_ad
{
	const void *head;
	size_t		head_len;
	const void *tail;			/* may be NULL */
	size_t		tail_len;
} bw_ad;

/* A text in pieces, as if they stood one after the other. */
typedef struct bw_part
{
	const void *data;			/* NULL: zeroes */
	size_t		len;
} bw_part;

extern bool bw_xaes_key_init(bw_xaes_key *prepared, const uint8_t key[BW_AEAD_KEY_LEN]);
extern bool bw_xaes_seal(const bw_xaes_key *key, const uint8_t nonce[BW_AEAD_NONCE_LEN], const bw_ad *ad,
						 const bw_part *parts, int nparts, uint8_t *out);
extern bool bw_xaes_open(const bw_xaes_key *key, const uint8_t nonce[BW_AEAD_NONCE_LEN], const bw_ad *ad,
						 const uint8_t *sealed, size_t sealedlen, void *out);
extern void bw_aead_forget(void);

/* AES-256-GCM with a 96-bit nonce, which must never repeat: the layer below. */
#define BW_GCM_NONCE_LEN	12
extern bool bw_gcm_seal(const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_GCM_NONCE_LEN], const bw_ad *ad,
						const bw_part *parts, int nparts, uint8_t *out);
extern bool bw_gcm_open(const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_GCM_NONCE_LEN], const bw_ad *ad,
						const uint8_t *sealed, size_t sealedlen, void *out);

/* XChaCha20-Poly1305 (libsodium), laid out as XAES. */
extern bool bw_xchacha_seal(const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_AEAD_NONCE_LEN], const bw_ad *ad,
							const bw_part *parts, int nparts, uint8_t *out);
extern bool bw_xchacha_open(const uint8_t key[BW_AEAD_KEY_LEN], const uint8_t nonce[BW_AEAD_NONCE_LEN], const bw_ad *ad,
							const uint8_t *sealed, size_t sealedlen, void *out);

/*
 * A root key as text: 64 hex digits and at most one newline.  Its id, which may
 * be shown, is the start of HKDF(key, "", "bulwark root key id v1").
 */
#define BW_ROOT_KEY_LEN			32
#define BW_ROOT_KEY_ID_LEN		8
#define BW_ROOT_KEY_TEXT_MAX	(2 * BW_ROOT_KEY_LEN + 1)
/* Until the buffer is full or the file ends; -1 with errno on failure. */
extern ssize_t bw_read_all(int fd, char *buffer, size_t size);
extern bool bw_root_key_parse(const char *text, size_t len, uint8_t key[BW_ROOT_KEY_LEN]);
extern void bw_root_key_id(const uint8_t key[BW_ROOT_KEY_LEN], uint8_t id[BW_ROOT_KEY_ID_LEN]);

/* Big-endian, length-prefixed encoding in bounded buffers (encode.c). */
typedef struct bw_writer
{
	uint8_t    *data;
	size_t		cap;
	size_t		len;
	bool		failed;
} bw_writer;

typedef struct bw_reader
{
	const uint8_t *data;
	size_t		len;
	size_t		pos;
	bool		failed;
} bw_reader;

/* Inline, for every audited row is written with them. */
static inline void
bw_put(bw_writer *w, const void *data, size_t len)
{
	if (w->failed || len > w->cap - w->len)
	{
		w->failed = true;
		return;
	}
	if (len > 0)
		memcpy(w->data + w->len, data, len);
	w->len += len;
}

static inline void
bw_put_uint(bw_writer *w, uint64_t value, int bytes)
{
	uint8_t		be[8];

	for (int i = 0; i < bytes; i++)
		be[i] = (uint8_t) (value >> (8 * (bytes - 1 - i)));
	bw_put(w, be, (size_t) bytes);
}

extern void bw_put_string(bw_writer *w, const char *s);
extern void bw_get(bw_reader *r, void *data, size_t len);
extern uint64_t bw_get_uint(bw_reader *r, int bytes);
extern void bw_get_string(bw_reader *r, char *dst, size_t cap);
extern bool bw_reader_done(const bw_reader *r);
/* Unsigned LEB128 without superfluous bytes, and bytes with that for a length. */
#define BW_VARINT_MAX 10
static inline int
bw_varint_encode(uint64_t value, uint8_t dst[BW_VARINT_MAX])	/* its length */
{
	int			n = 0;

	for (; value >= 0x80; value >>= 7)
		dst[n++] = (uint8_t) (value | 0x80);
	dst[n++] = (uint8_t) value;
	return n;
}

static inline void
bw_put_varint(bw_writer *w, uint64_t value)
{
	uint8_t		bytes[BW_VARINT_MAX];

	bw_put(w, bytes, (size_t) bw_varint_encode(value, bytes));
}

extern void bw_put_bytes(bw_writer *w, const void *data, size_t len);
extern uint64_t bw_get_varint(bw_reader *r);
extern uint32_t bw_get_varint32(bw_reader *r);
/* Where they lie; NULL and failed if they are not all there, or more than max. */
extern const uint8_t *bw_get_span(bw_reader *r, size_t len);
extern const uint8_t *bw_get_bytes(bw_reader *r, size_t max, size_t *len);

#endif							/* BULWARK_COMMON_H */
