/*
 * audit.h
 *		What the files of audit() share among themselves.
 */
#ifndef BULWARK_AUDIT_H
#define BULWARK_AUDIT_H

#include "ledger/log.h"

/* Write the row of the registry: between LedgerWorkBegin with TrustedBegin and their
 * ends. */
extern void AuditedWrite(const Audited *audited);

#endif							/* BULWARK_AUDIT_H */
