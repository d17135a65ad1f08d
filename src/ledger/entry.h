/*
 * entry.h
 *		What the files that make entries share among themselves.
 */
#ifndef BULWARK_ENTRY_H
#define BULWARK_ENTRY_H

#include "ledger/log.h"

#include "common/record.h"

/* --- entry.c ------------------------------------------------------------------------ */

/* Text of the database's encoding as UTF-8 (SQL_ASCII: as it is). */
extern bw_bytes LedgerUtf8(const char *text, Size len);
/* The content, valid until the next call. */
extern const struct varlena *EntryContent(const Entry *entry, const EntryActor *actor);
/* What the record says of who and what; numbers, digest and manifest are the caller's. */
extern void EntryRecord(const Entry *entry, const EntryActor *actor, bw_leaf *leaf);
extern void EntryInit(void);

#endif							/* BULWARK_ENTRY_H */
