/*
 * note.c
 *		C2SP signed notes (signed-note.md) and checkpoints (tlog-checkpoint.md).
 */
#include "common/note.h"

#include <stdio.h>
#include <string.h>

#define ED25519_TYPE	0x01
#define HASH_LEN		4
#define ROOT_BASE64		44		/* 32 bytes, padded */
#define VKEY_BYTES		(1 + BW_ED25519_KEY_LEN)
#define SIGNATURE_BYTES	(HASH_LEN + BW_ED25519_SIG_LEN)
#define SIGNATURE_BASE64 92		/* 68 bytes, padded */
#define MAX_SIGNATURES	100

/* What begins the line of a signature: an em dash and a space. */
static const char signature_mark[] = "\xE2\x80\x94 ";
#define MARK_LEN		(sizeof(signature_mark) - 1)

/* Exactly len bytes from canonical, padded base64; exactly srclen characters. */
static bool
base64_decode(const char *src, size_t srclen, uint8_t *dst, size_t len)
{
	size_t		got;
	const char *end;
	char		canonical[SIGNATURE_BASE64 + 1];

	if (srclen != sodium_base64_ENCODED_LEN(len, sodium_base64_VARIANT_ORIGINAL) - 1 ||
		srclen >= sizeof(canonical))
		return false;
	if (sodium_base642bin(dst, len, src, srclen, NULL, &got, &end,
						  sodium_base64_VARIANT_ORIGINAL) != 0 ||
		got != len || end != src + srclen)
		return false;
	sodium_bin2base64(canonical, sizeof(canonical), dst, len, sodium_base64_VARIANT_ORIGINAL);
	return memcmp(canonical, src, srclen) == 0;
}

/* --- keys -------------------------------------------------------------------- */

/* Visible ASCII and UTF-8 beyond it, without a plus sign. */
static bool
name_valid(const char *name, size_t len)
{
	if (len == 0 || len > BW_ORIGIN_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((uint8_t) name[i] <= ' ' || name[i] == 0x7F || name[i] == '+')
			return false;
	return true;
}

static bool
vkey_set(const char *name, size_t len, const uint8_t key[BW_ED25519_KEY_LEN], bw_vkey *vkey)
{
	uint8_t		hashed[BW_ORIGIN_MAX + 2 + BW_ED25519_KEY_LEN];
	uint8_t		hash[BW_SHA256_LEN];

	memset(vkey, 0, sizeof(*vkey));
	if (!name_valid(name, len))
		return false;
	memcpy(vkey->name, name, len);
	memcpy(vkey->key, key, BW_ED25519_KEY_LEN);

	memcpy(hashed, name, len);
	hashed[len] = '\n';
	hashed[len + 1] = ED25519_TYPE;
	memcpy(hashed + len + 2, key, BW_ED25519_KEY_LEN);
	bw_sha256(hashed, len + 2 + BW_ED25519_KEY_LEN, hash);
	memcpy(vkey->hash, hash, HASH_LEN);
	return true;
}

bool
bw_vkey_make(const char *name, const uint8_t key[BW_ED25519_KEY_LEN], bw_vkey *vkey)
{
	return vkey_set(name, strlen(name), key, vkey);
}

bool
bw_vkey_equal(const bw_vkey *a, const bw_vkey *b)
{
	return strcmp(a->name, b->name) == 0 && memcmp(a->key, b->key, BW_ED25519_KEY_LEN) == 0;
}

void
bw_vkey_format(const bw_vkey *vkey, char text[BW_VKEY_MAX])
{
	uint8_t		bytes[VKEY_BYTES];
	char		hex[2 * HASH_LEN + 1];
	char		base64[sodium_base64_ENCODED_LEN(VKEY_BYTES, sodium_base64_VARIANT_ORIGINAL)];

	bw_hex_encode(vkey->hash, HASH_LEN, hex);
	hex[2 * HASH_LEN] = '\0';
	bytes[0] = ED25519_TYPE;
	memcpy(bytes + 1, vkey->key, BW_ED25519_KEY_LEN);
	sodium_bin2base64(base64, sizeof(base64), bytes, sizeof(bytes), sodium_base64_VARIANT_ORIGINAL);
	snprintf(text, BW_VKEY_MAX, "%s+%s+%s", vkey->name, hex, base64);
}

/* The one text that formats to itself: no upper-case digit, nothing after it. */
bool
bw_vkey_parse(const char *text, size_t len, bw_vkey *vkey)
{
	const char *end = text + len;
	const char *hex = memchr(text, '+', len);
	const char *base64;
	uint8_t		hash[HASH_LEN];
	uint8_t		bytes[VKEY_BYTES];
	char		canonical[BW_VKEY_MAX];

	if (hex == NULL || end - ++hex < 2 * HASH_LEN + 1 || hex[2 * HASH_LEN] != '+')
		return false;
	base64 = hex + 2 * HASH_LEN + 1;
	if (!bw_hex_decode(hex, 2 * HASH_LEN, hash, HASH_LEN) ||
		!base64_decode(base64, (size_t) (end - base64), bytes, sizeof(bytes)) ||
		bytes[0] != ED25519_TYPE ||
		!vkey_set(text, (size_t) (hex - 1 - text), bytes + 1, vkey) ||
		memcmp(vkey->hash, hash, HASH_LEN) != 0)
		return false;
	bw_vkey_format(vkey, canonical);
	return strlen(canonical) == len && memcmp(canonical, text, len) == 0;
}

bool
bw_ed25519_verify(const uint8_t key[BW_ED25519_KEY_LEN], const void *message, size_t len,
				  const uint8_t signature[BW_ED25519_SIG_LEN])
{
	return crypto_sign_verify_detached(signature, message, len, key) == 0;
}

/* --- checkpoints --------------------------------------------------------------- */

static const char block_word[] = "block ";
static const char next_word[] = "next ";

size_t
bw_checkpoint_format(const bw_checkpoint *checkpoint, char *dst, size_t cap)
{
	char		root[ROOT_BASE64 + 1];
	char		header[ROOT_BASE64 + 1];
	char		vkey[BW_VKEY_MAX];
	char		block[sizeof(block_word) + 20 + 1 + ROOT_BASE64 + 1] = "";
	char		next[sizeof(next_word) + BW_VKEY_MAX] = "";
	int			len;

	if (!name_valid(checkpoint->origin, strlen(checkpoint->origin)) ||
		checkpoint->size > INT64_MAX || checkpoint->block > INT64_MAX)
		return 0;
	sodium_bin2base64(root, sizeof(root), checkpoint->root, BW_SHA256_LEN,
					  sodium_base64_VARIANT_ORIGINAL);
	sodium_bin2base64(header, sizeof(header), checkpoint->header_hash, BW_SHA256_LEN,
					  sodium_base64_VARIANT_ORIGINAL);
	if (checkpoint->has_block)
		(void) snprintf(block, sizeof(block), "%s%llu %s\n", block_word, (unsigned long long) checkpoint->block, header);
	if (checkpoint->has_next)
	{
		bw_vkey_format(&checkpoint->next, vkey);
		(void) snprintf(next, sizeof(next), "%s%s\n", next_word, vkey);
	}
	len = snprintf(dst, cap, "%s\n%llu\n%s\n%s%s", checkpoint->origin, (unsigned long long) checkpoint->size, root, block, next);
	return len > 0 && (size_t) len < cap ? (size_t) len : 0;
}

/* One line of a text, without its newline; false where none is left. */
static bool
next_line(const char **at, const char *end, const char **line, size_t *len)
{
	const char *newline = *at < end ? memchr(*at, '\n', (size_t) (end - *at)) : NULL;

	if (newline == NULL)
		return false;
	*line = *at;
	*len = (size_t) (newline - *at);
	*at = newline + 1;
	return true;
}

/* A decimal number as a checkpoint has it: no sign, no superfluous zero. */
static bool
decimal(const char *text, size_t len, uint64_t *value)
{
	if (len == 0 || len > 19 || (len > 1 && text[0] == '0'))
		return false;
	*value = 0;
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return false;
		*value = *value * 10 + (uint64_t) (text[i] - '0');
	}
	return *value <= INT64_MAX;
}

static bool
begins_with(const char *line, size_t len, const char *word)
{
	return len >= strlen(word) && memcmp(line, word, strlen(word)) == 0;
}

/* "block <number> <hash>" */
static bool
parse_block(const char *line, size_t len, bw_checkpoint *checkpoint)
{
	const char *number = line + strlen(block_word);
	const char *end = line + len;
	const char *space;

	space = memchr(number, ' ', (size_t) (end - number));
	if (checkpoint->has_block || space == NULL ||
		!decimal(number, (size_t) (space - number), &checkpoint->block) ||
		!base64_decode(space + 1, (size_t) (end - space - 1), checkpoint->header_hash, BW_SHA256_LEN))
		return false;
	checkpoint->has_block = true;
	return true;
}

/* "next <verifier key>" */
static bool
parse_next(const char *line, size_t len, bw_checkpoint *checkpoint)
{
	size_t		word = strlen(next_word);

	if (checkpoint->has_next || !bw_vkey_parse(line + word, len - word, &checkpoint->next))
		return false;
	checkpoint->has_next = true;
	return true;
}

/* One of our extension lines, or another's. */
static bool
parse_extension(const char *line, size_t len, bw_checkpoint *checkpoint)
{
	if (begins_with(line, len, block_word))
		return parse_block(line, len, checkpoint);
	return !begins_with(line, len, next_word) || parse_next(line, len, checkpoint);
}

bool
bw_checkpoint_parse(const char *body, size_t len, bw_checkpoint *checkpoint)
{
	const char *at = body;
	const char *end = body + len;
	const char *line;
	size_t		n;

	memset(checkpoint, 0, sizeof(*checkpoint));
	if (!next_line(&at, end, &line, &n) || !name_valid(line, n))
		return false;
	memcpy(checkpoint->origin, line, n);
	if (!next_line(&at, end, &line, &n) || !decimal(line, n, &checkpoint->size))
		return false;
	if (!next_line(&at, end, &line, &n) ||
		!base64_decode(line, n, checkpoint->root, BW_SHA256_LEN))
		return false;
	while (next_line(&at, end, &line, &n))
		if (n == 0 || !parse_extension(line, n, checkpoint))
			return false;
	return at == end;
}

bool
bw_checkpoint_other_block(const bw_checkpoint *checkpoint, uint64_t number, uint64_t size,
						  const uint8_t header_hash[BW_SHA256_LEN])
{
	bool		same_number = checkpoint->block == number;
	bool		same_size = checkpoint->size == size;

	return checkpoint->has_block && (same_number || same_size) &&
		!(same_number && same_size && bw_equal(checkpoint->header_hash, header_hash, BW_SHA256_LEN));
}

/* --- notes ---------------------------------------------------------------------- */

size_t
bw_note_add_signature(char *dst, size_t len, size_t cap, bool first,
					  const bw_vkey *vkey, const uint8_t signature[BW_ED25519_SIG_LEN])
{
	uint8_t		bytes[SIGNATURE_BYTES];
	char		base64[SIGNATURE_BASE64 + 1];
	int			added;

	memcpy(bytes, vkey->hash, HASH_LEN);
	memcpy(bytes + HASH_LEN, signature, BW_ED25519_SIG_LEN);
	sodium_bin2base64(base64, sizeof(base64), bytes, sizeof(bytes), sodium_base64_VARIANT_ORIGINAL);
	added = snprintf(dst + len, cap - len, "%s%s%s %s\n", first ? "\n" : "", signature_mark,
					 vkey->name, base64);
	return added > 0 && (size_t) added < cap - len ? len + (size_t) added : 0;
}

/* UTF-8 without control characters other than newline. */
static bool
text_valid(const char *text, size_t len)
{
	const uint8_t *p = (const uint8_t *) text;
	const uint8_t *end = p + len;

	while (p < end)
	{
		uint32_t	c = *p++;
		int			more = c < 0x80 ? 0 : (c & 0xE0) == 0xC0 ? 1 : (c & 0xF0) == 0xE0 ? 2 :
			(c & 0xF8) == 0xF0 ? 3 : -1;
		static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};

		if (more < 0 || end - p < more)
			return false;
		c &= more == 0 ? 0x7F : 0x3F >> more;
		for (int i = 0; i < more; i++)
		{
			if ((*p & 0xC0) != 0x80)
				return false;
			c = c << 6 | (*p++ & 0x3F);
		}
		if (c < least[more] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF) ||
			(c < ' ' && c != '\n') || c == 0x7F)
			return false;
	}
	return true;
}

/* The body ends with the last empty line; what follows is signatures. */
static bool
note_split(const char *note, size_t len, size_t *body_len)
{
	if (len < 3 || len > BW_NOTE_MAX || note[len - 1] != '\n' || !text_valid(note, len))
		return false;
	for (size_t i = len - 1; i > 0; i--)
		if (note[i] == '\n' && note[i - 1] == '\n')
		{
			*body_len = i;
			return i + 1 < len;
		}
	return false;
}

/* One line of a signature: its name and bytes (key hash, then signature). */
static bool
signature_parse(const char *line, size_t len, const char **name, size_t *namelen,
				const char **base64, size_t *base64len)
{
	const char *end = line + len;
	const char *space;

	if (len <= MARK_LEN || memcmp(line, signature_mark, MARK_LEN) != 0)
		return false;
	*name = line + MARK_LEN;
	space = memchr(*name, ' ', (size_t) (end - *name));
	if (space == NULL)
		return false;
	*namelen = (size_t) (space - *name);
	*base64 = space + 1;
	*base64len = (size_t) (end - *base64);
	return name_valid(*name, *namelen) && *base64len > 0;
}

/* At least a key hash and a byte, in base64; others' signatures may be of any length. */
static bool
signature_key_hash(const char *base64, size_t len, uint8_t hash[HASH_LEN])
{
	uint8_t		bytes[BW_NOTE_MAX];
	size_t		got;

	if (sodium_base642bin(bytes, sizeof(bytes), base64, len, NULL, &got, NULL,
						  sodium_base64_VARIANT_ORIGINAL) != 0 || got <= HASH_LEN)
		return false;
	memcpy(hash, bytes, HASH_LEN);
	return true;
}

bw_note_result
bw_note_verify(const char *note, size_t len, const bw_vkey *vkey, size_t *body_len)
{
	bw_note_result result = BW_NOTE_UNKNOWN_KEY;
	const char *end = note + len;
	const char *at;
	const char *line;
	size_t		n;
	int			signatures = 0;

	if (!note_split(note, len, body_len))
		return BW_NOTE_MALFORMED;
	at = note + *body_len + 1;
	while (next_line(&at, end, &line, &n))
	{
		const char *name;
		const char *base64;
		size_t		namelen;
		size_t		base64len;
		uint8_t		hash[HASH_LEN];
		uint8_t		bytes[SIGNATURE_BYTES];

		if (++signatures > MAX_SIGNATURES ||
			!signature_parse(line, n, &name, &namelen, &base64, &base64len) ||
			!signature_key_hash(base64, base64len, hash))
			return BW_NOTE_MALFORMED;
		if (namelen != strlen(vkey->name) || memcmp(name, vkey->name, namelen) != 0 ||
			memcmp(hash, vkey->hash, HASH_LEN) != 0)
			continue;
		if (!base64_decode(base64, base64len, bytes, sizeof(bytes)) ||
			!bw_ed25519_verify(vkey->key, note, *body_len, bytes + HASH_LEN))
			return BW_NOTE_BAD_SIGNATURE;
		result = BW_NOTE_OK;
	}
	return result;
}
