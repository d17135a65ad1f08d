/*
 * invalidate.c
 *		How a change of who may do what reaches every back end: a relcache
 *		invalidation, sent when, and only when, the change commits.
 */
#include "base/base.h"

#include "commands/trigger.h"
#include "utils/inval.h"
#include "utils/rel.h"

#define MAX_WATCHERS	32

static RelationWatcher watchers[MAX_WATCHERS];
static int	nwatchers = 0;

static void
relation_changed(Datum arg, Oid relid)
{
	for (int i = 0; i < nwatchers; i++)
		watchers[i] (arg, relid);
}

void
RelationWatch(RelationWatcher watcher)
{
	if (nwatchers == MAX_WATCHERS)
		elog(ERROR, "too many watchers of relations");
	if (nwatchers == 0)
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	watchers[nwatchers++] = watcher;
}

/*
 * Memberships and all that they come from share one signal, an empty table that
 * nobody reads: what is invalidated must be rebuilt, and theirs is read often.
 * With the argument 'own' the table signals for itself alone.
 */
PG_FUNCTION_INFO_V1(bulwark_invalidate);
Datum
bulwark_invalidate(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("bulwark_internal.invalidate() must be called as a trigger")));

	if (trigger->tg_trigger->tgnargs > 0)
		CacheInvalidateRelcache(trigger->tg_relation);
	else
		CacheInvalidateRelcacheByRelid(PrivateRelid(WATCHED_RELATION));
	return PointerGetDatum(NULL);
}
