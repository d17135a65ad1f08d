/*
 * earlier.c
 *		Checkpoints that were kept from before: the log must still begin with what
 *		they say.
 */
#include "check.h"

#include <inttypes.h>
#include <string.h>

void
earlier_compare(Check *check)
{
	uint8_t		root[BW_SHA256_LEN];

	for (size_t i = 0; i < check->nearlier; i++)
	{
		Earlier    *earlier = &check->earlier[i];

		if (earlier->is.size != check->peaks.size || earlier->state != EARLIER_OPEN)
			continue;
		bw_peaks_root(&check->peaks, root);
		earlier->state = bw_equal(root, earlier->is.root, sizeof(root)) ? EARLIER_HOLDS : EARLIER_DIFFERS;
		if (earlier->state == EARLIER_DIFFERS)
			check_problem(check, -1, -1, "equivocation: the first %" PRIu64 " leaves are not those of the checkpoint \"%s\"",
						  earlier->is.size, earlier->file);
	}
}

void
earlier_compare_block(Check *check)
{
	const bw_block *block = &check->block;

	for (size_t i = 0; i < check->nearlier; i++)
		if (bw_checkpoint_other_block(&check->earlier[i].is, block->number, block->tree_size, check->header_hash))
			check->earlier[i].other_block = true;
}

/* Signatures come last, when it is known which keys sign this log. */
void
earlier_finish(Check *check)
{
	for (size_t i = 0; i < check->nearlier; i++)
	{
		Earlier    *earlier = &check->earlier[i];
		bw_note_result result = BW_NOTE_UNKNOWN_KEY;

		for (size_t k = 0; k < check->trust.n && result == BW_NOTE_UNKNOWN_KEY; k++)
			if (check->keys[k].pinned || check->keys[k].used || check->unpinned)
				result = bw_note_verify(earlier->note, earlier->len, &check->keys[k].vkey, &earlier->body_len);
		if (strcmp(earlier->is.origin, check->origin) != 0)
			check_problem(check, -1, -1, "the checkpoint \"%s\" is one of another log, %s", earlier->file, earlier->is.origin);
		else if (result != BW_NOTE_OK)
			check_problem(check, -1, -1, "the checkpoint \"%s\" is not signed by a key of this log", earlier->file);
		else if (earlier->state == EARLIER_OPEN && earlier->is.size > check->peaks.size)
			check_problem(check, -1, -1, "entries are missing: the checkpoint \"%s\" is of %" PRIu64 " leaves, here are %" PRIu64,
						  earlier->file, earlier->is.size, check->peaks.size);
		else if (earlier->state == EARLIER_HOLDS && earlier->other_block)
		{
			earlier->state = EARLIER_DIFFERS;
			check_problem(check, -1, -1, "equivocation: block %" PRIu64 " is not the one of the checkpoint \"%s\"",
						  earlier->is.block, earlier->file);
		}
		else if (earlier->state == EARLIER_OPEN)
			check_problem(check, -1, -1, "the checkpoint \"%s\" cannot be compared: leaves around its size are left out",
						  earlier->file);
	}
}
