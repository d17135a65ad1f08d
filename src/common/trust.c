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

bw_note_result
bw_trust_next(bw_trust *trust, const char *note, size_t len, size_t *body_len)
{
	bw_note_result result = BW_NOTE_UNKNOWN_KEY;
	bw_trust_key *before = trust->current;

	if (before != NULL)
	{
		result = bw_note_verify(note, len, &before->vkey, body_len);
		if (result == BW_NOTE_UNKNOWN_KEY && trust->gap)
			trust->trusted = false;
		else if (result != BW_NOTE_OK)
			return result;
	}
	trust->gap = false;
	for (size_t i = 0; i < trust->n; i++)
	{
		bw_trust_key *key = &trust->keys[i];

		if (key == before)
			continue;
		switch (bw_note_verify(note, len, &key->vkey, body_len))
		{
			case BW_NOTE_OK:
				follow(trust, key);
				result = BW_NOTE_OK;
				break;
			case BW_NOTE_UNKNOWN_KEY:
				break;
			case BW_NOTE_MALFORMED:
				return BW_NOTE_MALFORMED;
			case BW_NOTE_BAD_SIGNATURE:
				return BW_NOTE_BAD_SIGNATURE;
		}
	}
	return result;
}
