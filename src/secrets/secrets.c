/*
 * secrets.c
 *		Start-up of this room.
 */
#include "secrets/keys.h"
#include "secrets/column.h"
#include "secrets/use.h"

void
SecretsInit(void)
{
	KeyCacheInit();
	ComponentInit();
	TenantKeyInit();
	KeyAdminInit();
	EnvelopeInit();
	MeterInit();
	ContentInit();
	ProgressInit();
	ValueInit();
	BoxInit();
	DerivedInit();
	LeakInit();
	CopyLineInit();
}
