/*
 * trust.h
 *		Which key signs a log, checkpoint by checkpoint: one key until the body of
 *		a checkpoint that it has signed names the next one.
 */
#ifndef BULWARK_TRUST_H
#define BULWARK_TRUST_H

#include "common/note.h"

typedef struct bw_trust_key
{
	bw_vkey		vkey;
	bool		pinned;			/* trusted for itself */
	bool		used;			/* has been the key in force */
} bw_trust_key;

typedef struct bw_trust
{
	bw_trust_key *keys;			/* those that may sign */
	size_t		n;
	bw_trust_key *current;		/* in force; NULL before the first checkpoint */
	bool		trusted;		/* current is pinned, or follows one that is */
	bool		gap;			/* set where checkpoints before the next one are not known */
} bw_trust;

/*
 * The next checkpoint, in the order of the tree.  Signed by the key in force; by any
 * of the keys where it is the first or follows a gap.  Where its body names the key
 * that follows, that one has signed it as well.  Other signatures mean nothing:
 * anybody can append one.
 */
extern bw_note_result bw_trust_next(bw_trust *trust, const char *note, size_t len, size_t *body_len);

#endif							/* BULWARK_TRUST_H */
