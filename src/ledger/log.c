/*
 * log.c
 *		The log of this database.
 */
#include "ledger/log.h"

void
LedgerInit(void)
{
	GuardInit();
}
