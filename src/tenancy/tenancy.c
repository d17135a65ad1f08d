/*
 * tenancy.c
 *		Start-up of the room, its parts in the order in which they build on each other.
 */
#include "tenancy/tenancy.h"

void
TenancyInit(void)
{
	MemberInit();
	NoForceInit();				/* before all that ask for the mark */
	MissingInit();
	ExplainInit();
	CursorInit();
	ProtectionInit();
	DdlInit();
}
