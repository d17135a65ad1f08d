/*
 * sync.c
 *		Keeping protection whole as tables change: new partitions and inheritance
 *		children get what the rest of the tree has.
 */
#include "tenancy/protect.h"

void
ProtectionSync(Oid relid)
{
	const Protection *p = ProtectionOf(relid);
	TrustedScope scope;

	if (p == NULL)
		return;
	TrustedBegin(&scope);
	ProtectTree(p);
	TrustedEnd(&scope);
}
