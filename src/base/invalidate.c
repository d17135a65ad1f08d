/*
 * invalidate.c
 *		How a change of who may do what reaches every back end: a relcache
 *		invalidation, sent when, and only when, the change commits.
 */
#include "base/base.h"

#include "commands/trigger.h"
#include "utils/inval.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(bulwark_invalidate);

/* Every watcher watches one relation, memberships; the table itself is for the
 * caches that hold nothing but it. */
Datum
bulwark_invalidate(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Oid			watched = PrivateRelid(WATCHED_RELATION);

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("bulwark_internal.invalidate() must be called as a trigger")));

	CacheInvalidateRelcache(trigger->tg_relation);
	if (OidIsValid(watched) && watched != RelationGetRelid(trigger->tg_relation))
		CacheInvalidateRelcacheByRelid(watched);
	return PointerGetDatum(NULL);
}
