/*
 * bulwark.c
 *		Module entry: each room initialises itself, in layer order.
 */
#include "base/base.h"
#include "keyring/keyring.h"
#include "ledger/ledger.h"
#include "secrets/secrets.h"
#include "session/session.h"
#include "tenancy/tenancy.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("bulwark must be loaded via shared_preload_libraries"),
				 errhint("Add bulwark to shared_preload_libraries in postgresql.conf and restart the server.")));

	BaseInit();
	KeyringInit();
	SessionInit();
	TenancyInit();
	SecretsInit();
	LedgerInit();

	MarkGUCPrefixReserved("bulwark");
}
