/*
 * base.c
 *		Start-up of the back-end glue.
 */
#include "base/base.h"

#include "sodium.h"

void
BaseInit(void)
{
	if (sodium_init() < 0)
		elog(FATAL, "libsodium could not be initialised");
	XactInit();
	ShmemInit();
	UpkeepInit();
	AuditActsInit();
	LabelInit();
	NamesInit();
}
