/*
 * view.h
 *		What the files that show entries to people share.
 */
#ifndef BULWARK_LEDGER_VIEW_H
#define BULWARK_LEDGER_VIEW_H

#include "ledger/log.h"

#include "common/record.h"

/* --- view.c -------------------------------------------------------------------- */

/* Does the current user see every entry, whoever's? */
extern bool LedgerReadsAll(void);
/*
 * May the reader see old, new and metadata of this entry?  *as_tenant: because an
 * identity may, within what the current user may select.
 */
extern bool LedgerContentVisible(const bytea *leaf, bool *as_tenant);
/* The field of a content; false where there is none. */
extern bool LedgerField(const bytea *content, bw_tag tag, bw_field *field);
/* UTF-8 of an entry as text of this database. */
extern text *LedgerText(const bw_bytes *bytes);

extern void ViewInit(void);

#endif							/* BULWARK_LEDGER_VIEW_H */
