/*
 * secrets.c
 *		Start-up of this room.
 */
#include "secrets/keys.h"

void
SecretsInit(void)
{
	KeyCacheInit();
	ComponentInit();
	TenantKeyInit();
	EnvelopeInit();
}
