/*
 * trust.c
 *		Which key signs a log, checkpoint by checkpoint.
 */
#include "common/trust.h"

static void
follow(bw_trust *trust, bw_trust_key *key)
{
	trust->current = key;
	key->used = true;
	if (key->pinned)
		trust->trusted = true;
}

/*
 * Where no key is in force, or none that is trusted: one that has signed, rather a
 * pinned one.
 */
static bw_note_result
choose(bw_trust *trust, const char *note, size_t len, size_t *body_len, bw_note_result result)
{
	for (size_t i = 0; i < trust->n; i++)
	{
		bw_trust_key *key = &trust->keys[i];
		bw_note_result signature = key == trust->current ? BW_NOTE_UNKNOWN_KEY : bw_note_verify(note, len, &key->vkey, body_len);

		if (signature == BW_NOTE_UNKNOWN_KEY)
			continue;
		if (signature != BW_NOTE_OK)
			return signature;
		result = BW_NOTE_OK;
		if (trust->current == NULL || (key->pinned && !trust->trusted))
			follow(trust, key);
	}
	return result;
}

/*
 * The key that the body names comes into force; that it has signed shows that it is
 * there.  The one before is out of force, known or not who follows.
 */
static bw_note_result
succeed(bw_trust *trust, const char *note, size_t len, size_t *body_len)
{
	bw_checkpoint checkpoint;

	if (!bw_checkpoint_parse(note, *body_len, &checkpoint) || !checkpoint.has_next ||
		bw_vkey_equal(&trust->current->vkey, &checkpoint.next))
		return BW_NOTE_OK;
	for (size_t i = 0; i < trust->n; i++)
	{
		bw_trust_key *key = &trust->keys[i];
		bw_note_result result;

		if (!bw_vkey_equal(&key->vkey, &checkpoint.next))
			continue;
		result = bw_note_verify(note, len, &key->vkey, body_len);
		if (result == BW_NOTE_OK)
			follow(trust, key);
		return result;
	}
	return BW_NOTE_UNKNOWN_KEY;
}

bw_note_result
bw_trust_next(bw_trust *trust, const char *note, size_t len, size_t *body_len)
{
	bw_note_result result = BW_NOTE_UNKNOWN_KEY;

	if (trust->current != NULL)
	{
		result = bw_note_verify(note, len, &trust->current->vkey, body_len);
		if (result == BW_NOTE_UNKNOWN_KEY && trust->gap)
		{
			trust->current = NULL;
			trust->trusted = false;
		}
		else if (result != BW_NOTE_OK)
			return result;
	}
	trust->gap = false;
	if (!trust->trusted)
		result = choose(trust, note, len, body_len, result);
	return result == BW_NOTE_OK ? succeed(trust, note, len, body_len) : result;
}
