/*
 * ledger.h
 *		The audit ledger, as rooms above it see it.
 */
#ifndef BULWARK_LEDGER_H
#define BULWARK_LEDGER_H

#include "base/base.h"

extern void LedgerInit(void);

/*
 * Destroy the content of entries, for erasure and retention: their records and
 * every proof stay.  The caller has checked its right to; an entry with the
 * action "retention" that names them is written in the same transaction.
 * Returns how many had content.
 */
extern int64 LedgerEraseContents(const int64 *entry_ids, int n, const char *reason);

#endif							/* BULWARK_LEDGER_H */
