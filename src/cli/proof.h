/*
 * proof.h
 *		Proofs as ledger_proof() and ledger_consistency() return them.
 */
#ifndef BULWARK_PROOF_H
#define BULWARK_PROOF_H

#include "check.h"

/* The proof of one entry, under the pinned keys; says what the entry is. The exit code. */
extern int	proof_verify(Check *check, const char *path);

typedef enum ProofResult
{
	PROOF_HOLDS, PROOF_REFUSED, PROOF_MALFORMED
} ProofResult;
/* Does the newer tree begin with the older one?  text is changed. */
extern ProofResult proof_consistency(char *text, size_t len, const bw_checkpoint *older,
									 const bw_checkpoint *newer);

#endif							/* BULWARK_PROOF_H */
