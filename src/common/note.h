/*
 * note.h
 *		C2SP signed notes and tlog-checkpoints with Ed25519.
 */
#ifndef BULWARK_NOTE_H
#define BULWARK_NOTE_H

#include "common/common.h"

#define BW_ORIGIN_MAX		128		/* bytes of a key's name */
#define BW_ED25519_KEY_LEN	32
#define BW_ED25519_SIG_LEN	64
#define BW_VKEY_MAX			(BW_ORIGIN_MAX + 1 + 8 + 1 + 44 + 1)	/* with a NUL */
#define BW_NOTE_MAX			8192	/* bytes of a note that we read or write */

/* A public key with its name. */
typedef struct bw_vkey
{
	char		name[BW_ORIGIN_MAX + 1];
	uint8_t		hash[4];
	uint8_t		key[BW_ED25519_KEY_LEN];
} bw_vkey;
/* False: not a name (empty, too long, white space or a plus sign in it). */
extern bool bw_vkey_make(const char *name, const uint8_t key[BW_ED25519_KEY_LEN], bw_vkey *vkey);
extern bool bw_vkey_equal(const bw_vkey *a, const bw_vkey *b);
extern void bw_vkey_format(const bw_vkey *vkey, char text[BW_VKEY_MAX]);
/* False unless it is <name>+<hash>+<base64> with the right hash; no white space. */
extern bool bw_vkey_parse(const char *text, size_t len, bw_vkey *vkey);

/* What a checkpoint says. */
typedef struct bw_checkpoint
{
	char		origin[BW_ORIGIN_MAX + 1];
	uint64_t	size;
	uint8_t		root[BW_SHA256_LEN];
	bool		has_block;		/* its line "block <number> <hash>" */
	uint64_t	block;
	uint8_t		header_hash[BW_SHA256_LEN];
	bool		has_next;		/* its line "next <verifier key>" */
	bw_vkey		next;			/* the key that signs from the next checkpoint on */
} bw_checkpoint;

/*
 * The body, whose signature is over all of it, its last newline included: bytes
 * written, without a NUL; 0 where it does not fit or is no checkpoint.
 */
extern size_t bw_checkpoint_format(const bw_checkpoint *checkpoint, char *dst, size_t cap);
/* Strict; extension lines that are not ours are passed over. */
extern bool bw_checkpoint_parse(const char *body, size_t len, bw_checkpoint *checkpoint);
/*
 * Does the checkpoint speak of another block of this number, or of another that ends
 * at this size?  The tree binds the leaves, a header times and snapshots too.
 */
extern bool bw_checkpoint_other_block(const bw_checkpoint *checkpoint, uint64_t number, uint64_t size,
									  const uint8_t header_hash[BW_SHA256_LEN]);

/*
 * A note is a body, an empty line and signatures.  Begin with the body in dst
 * (len bytes) and append signatures one by one: the new length, 0 where it does
 * not fit.
 */
extern size_t bw_note_add_signature(char *dst, size_t len, size_t cap, bool first,
									const bw_vkey *vkey, const uint8_t signature[BW_ED25519_SIG_LEN]);

typedef enum bw_note_result
{
	BW_NOTE_OK,
	BW_NOTE_MALFORMED,
	BW_NOTE_UNKNOWN_KEY,		/* no signature by this key */
	BW_NOTE_BAD_SIGNATURE		/* one by this key that is wrong */
} bw_note_result;
/* The body is the note's first *body_len bytes. */
extern bw_note_result bw_note_verify(const char *note, size_t len, const bw_vkey *vkey,
									 size_t *body_len);

/* Ed25519 (RFC 8032). */
extern bool bw_ed25519_verify(const uint8_t key[BW_ED25519_KEY_LEN], const void *message, size_t len,
							  const uint8_t signature[BW_ED25519_SIG_LEN]);

#endif							/* BULWARK_NOTE_H */
