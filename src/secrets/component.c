/*
 * component.c
 *		The half of a tenant's keys that is outside the database: made and put
 *		before the transaction that needs it commits, taken back if it does not.
 */
#include "secrets/keys.h"

#include "access/xact.h"
#include "utils/memutils.h"

/* Put in this transaction, and not settled. */
typedef struct Pending
{
	ComponentPlace place;
	const ComponentProvider *provider;
	SubTransactionId subid;
} Pending;

static const ComponentProvider *const providers[] = {&ComponentCommand, &ComponentDirectory};

static List *pending = NIL;		/* Pending *, in TopTransactionContext */

/* The one that new components go to: the command where there is one. */
static const ComponentProvider *
current_provider(void)
{
	for (int i = 0; i < lengthof(providers); i++)
		if (providers[i]->configured())
			return providers[i];
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no place is configured for the components of tenant keys"),
			 errhint("Set bulwark.tenant_key_directory or bulwark.tenant_key_command in the configuration file and reload.")));
}

static const ComponentProvider *
provider_named(const char *name)
{
	for (int i = 0; i < lengthof(providers); i++)
		if (strcmp(providers[i]->name, name) == 0)
			return providers[i];
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("\"%s\" is not where components of tenant keys are kept", name)));
}

/* The id, as files and commands know it. */
void
ComponentName(const pg_uuid_t *id, char name[COMPONENT_NAME_LEN + 1])
{
	bw_hex_encode(id->data, UUID_LEN, name);
	name[COMPONENT_NAME_LEN] = '\0';
}

void
ComponentMake(ComponentPlace *place, uint8 component[COMPONENT_LEN])
{
	const ComponentProvider *chosen = current_provider();
	MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
	Pending    *entry = palloc0(sizeof(Pending));
	char		problem[COMPONENT_PROBLEM_LEN] = "";

	if (!bw_random(&entry->place.id, UUID_LEN) || !bw_random(component, COMPONENT_LEN))
		elog(ERROR, "could not make a component");
	strlcpy(entry->place.provider, chosen->name, sizeof(entry->place.provider));
	entry->provider = chosen;
	entry->subid = GetCurrentSubTransactionId();
	pending = lappend(pending, entry);
	MemoryContextSwitchTo(caller);

	if (chosen->put(&entry->place.id, component, entry->place.location, problem) != COMPONENT_OK)
	{
		bw_wipe(component, COMPONENT_LEN);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the component of a tenant key could not be kept outside the database"),
				 errdetail_internal("%s: %s", chosen->name, problem),
				 errhint("Set bulwark.tenant_key_directory to a directory that the server's user owns alone, or bulwark.tenant_key_command.")));
	}
	*place = entry->place;
}

bool
ComponentFetch(const ComponentPlace *place, uint8 component[COMPONENT_LEN])
{
	const ComponentProvider *chosen = provider_named(place->provider);
	char		problem[COMPONENT_PROBLEM_LEN] = "it is not there";

	switch (chosen->get(&place->id, place->location, component, problem))
	{
		case COMPONENT_OK:
			return true;
		case COMPONENT_DESTROYED:
			return false;
		case COMPONENT_ABSENT:
		case COMPONENT_FAILED:
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the component of a tenant key, which is kept outside the database, cannot be had"),
			 errdetail_log("%s: %s", chosen->name, problem),
			 errhint("Restore what bulwark.tenant_key_directory holds, or look at bulwark.tenant_key_command.")));
}

const char *
ComponentDestroy(const ComponentPlace *place, bool lost, bool *done)
{
	char		problem[COMPONENT_PROBLEM_LEN] = "";

	*done = true;
	switch (provider_named(place->provider)->destroy(&place->id, place->location, lost, problem))
	{
		case COMPONENT_OK:
			return "destroyed, tombstone left";
		case COMPONENT_ABSENT:
			*done = lost;
			return lost ? "was not there and is given up as lost, tombstone left" :
				"not there, and no tombstone of an earlier destruction: is what holds it mounted, and the setting right?";
		case COMPONENT_DESTROYED:
			return "had been destroyed, tombstone is there";
		case COMPONENT_FAILED:
			break;
	}
	*done = false;
	return psprintf("failed: %s", problem);
}

int64
ComponentSweep(TimestampTz before, bool (*in_use) (const pg_uuid_t *id))
{
	int64		removed = 0;

	for (int i = 0; i < lengthof(providers); i++)
		if (providers[i]->sweep != NULL && providers[i]->configured())
			removed += providers[i]->sweep(before, in_use);
	return removed;
}

static void
entry_end(const Pending *entry, bool committed)
{
	void		(*end) (const pg_uuid_t *id, const char *location) =
		committed ? entry->provider->settle : entry->provider->discard;

	if (end != NULL)
		end(&entry->place.id, entry->place.location);
}

/*
 * A prepared transaction's components stay as they are, usable and unsettled: the
 * sweeper sees later what became of it.
 */
static void
transaction_end(XactEvent event, void *arg)
{
	ListCell   *cell;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event != XACT_EVENT_PREPARE)
		foreach(cell, pending)
			entry_end(lfirst(cell), event == XACT_EVENT_COMMIT);
	pending = NIL;				/* goes with its memory */
}

static void
subtransaction_end(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	ListCell   *cell;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(cell, pending)
	{
		Pending    *entry = lfirst(cell);

		if (entry->subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
		{
			entry->subid = parent;
			continue;
		}
		entry_end(entry, false);
		pending = foreach_delete_current(pending, cell);
	}
}

void
ComponentInit(void)
{
	ComponentDirectoryInit();
	ComponentCommandInit();
	RegisterXactCallback(transaction_end, NULL);
	RegisterSubXactCallback(subtransaction_end, NULL);
}
