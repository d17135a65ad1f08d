/*
 * keyring.c
 *		The ring: root keys in memory that all processes of the server share.
 *
 * The keys have a page of their own, mapped by the postmaster before its first
 * child and apart from PostgreSQL's shared memory: so it can be kept out of core
 * dumps and locked into memory whatever huge_pages says, and it outlives a crash
 * restart, which must not depend on a key server being there.  What may be shown
 * (why a key is missing) is in ordinary shared memory.
 */
#include "keyring/ring.h"

#include "common/common.h"
#include "funcapi.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include <sys/mman.h>
#include <unistd.h>

#define RING_PIECE	"bulwark keyring"

StaticAssertDecl(ROOT_KEY_LEN == BW_ROOT_KEY_LEN && ROOT_KEY_ID_LEN == BW_ROOT_KEY_ID_LEN,
				 "server and command line disagree about root keys");

typedef struct RingSlot
{
	bool		loaded;
	bool		in_token;
	uint8		id[ROOT_KEY_ID_LEN];
	uint8		root[ROOT_KEY_LEN];
} RingSlot;

typedef struct RingStatus
{
	pg_atomic_uint64 generation;
	TimestampTz config_time;	/* of the configuration that was loaded at start-up */
	TimestampTz checked_at;		/* when keys were last looked for */
	bool		wrap_with_next; /* a rotation to it has begun */
	const char *setting[KEYRING_SLOTS];	/* constants of this library */
	char		problem[KEYRING_SLOTS][PROBLEM_LEN];
	char		token_problem[KEYRING_SLOTS][PROBLEM_LEN];
} RingStatus;

static RingSlot *ring = NULL;	/* the page; protected by ring_lock */
static RingStatus *status = NULL;	/* also */
static LWLock *ring_lock = NULL;

static const char *const slot_names[KEYRING_SLOTS] = {"current", "next"};

PG_FUNCTION_INFO_V1(bulwark_keyring_status);

void
RingIdHex(const uint8 id[ROOT_KEY_ID_LEN], char hex[KEY_ID_HEX_LEN + 1])
{
	bw_hex_encode(id, ROOT_KEY_ID_LEN, hex);
	hex[KEY_ID_HEX_LEN] = '\0';
}

static void
drop_slot(RingSlot *slot)
{
	bw_wipe(slot, sizeof(*slot));
}

/* The postmaster leaves nothing behind; its children drop this callback. */
static void
wipe_ring(int code, Datum arg)
{
	bw_wipe(ring, KEYRING_SLOTS * sizeof(*ring));
}

static void
map_ring(void)
{
	Size		size = (Size) sysconf(_SC_PAGESIZE);

	ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ring == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map memory for the root keys: %m")));
	on_proc_exit(wipe_ring, (Datum) 0);

#ifdef MADV_DONTDUMP
	if (madvise(ring, size, MADV_DONTDUMP) != 0)
		ereport(WARNING,
				(errmsg("could not keep the root keys out of core dumps: %m")));
#else
	ereport(WARNING,
			(errmsg("this platform cannot keep the root keys out of core dumps")));
#endif
	if (mlock(ring, size) != 0)
		ereport(WARNING,
				(errmsg("could not lock the root keys into memory: %m"),
				 errhint("Raise the server's limit for locked memory (LimitMEMLOCK= of a systemd unit, ulimit -l).")));
}

/* After a crash restart: is the slot whole, or did the crash hit it half written? */
static bool
slot_intact(const RingSlot *slot)
{
	uint8		id[ROOT_KEY_ID_LEN];

	bw_root_key_id(slot->root, id);
	return slot->loaded && bw_equal(id, slot->id, sizeof(id));
}

static void
init_status(void *piece)
{
	status = piece;
	ring_lock = ShmemPieceLock(RING_PIECE);
	pg_atomic_init_u64(&status->generation, 1);

	if (ring == NULL)
	{
		map_ring();
		LoadRoots();
		status->config_time = PgReloadTime;
	}
	else
	{
		for (int i = 0; i < KEYRING_SLOTS; i++)
			if (!slot_intact(&ring[i]))
				drop_slot(&ring[i]);
	}
}

/*
 * True once: a worker that is started again, or after a crash restart, cannot
 * know what the one before it had still to do.
 */
bool
RingIsCurrent(void)
{
	bool		result;

	LWLockAcquire(ring_lock, LW_EXCLUSIVE);
	result = (status->config_time == PgReloadTime);
	status->config_time = 0;
	LWLockRelease(ring_lock);
	return result;
}

/* Is that key in the ring, in whichever slot? */
static bool
ring_has(const RingSlot *slots, const uint8 *id)
{
	for (int i = 0; i < KEYRING_SLOTS; i++)
		if (slots[i].loaded && memcmp(slots[i].id, id, ROOT_KEY_ID_LEN) == 0)
			return true;
	return false;
}

/*
 * Bring one slot to what was fetched for it.  old is the ring before the update.
 * A slot is emptied only where its setting was; a key is replaced only by one
 * that the ring knows already, so that a key server's mistake cannot make every
 * ticket and wrapped key unreadable.
 */
static void
update_slot(RingSlot *slot, FetchedRoot *fetched, const RingSlot *old)
{
	if (!fetched->configured)
		drop_slot(slot);
	if (!fetched->present)
		return;

	if (slot->loaded && !ring_has(old, fetched->id))
	{
		char		needed[KEY_ID_HEX_LEN + 1];
		char		got[KEY_ID_HEX_LEN + 1];

		RingIdHex(slot->id, needed);
		RingIdHex(fetched->id, got);
		snprintf(fetched->problem, PROBLEM_LEN,
				 "root key %s is needed, but root key %s was got", needed, got);
		return;
	}
	memcpy(slot->root, fetched->root, ROOT_KEY_LEN);
	memcpy(slot->id, fetched->id, ROOT_KEY_ID_LEN);
	slot->in_token = fetched->in_token;
	slot->loaded = true;
}

/* Say what became of one slot; never a byte of a key. */
static void
report_slot(KeyringSlot i, const FetchedRoot *fetched, const RingSlot *before, const RingSlot *after)
{
	char		id[KEY_ID_HEX_LEN + 1];

	RingIdHex(after->id, id);
	if (fetched->problem[0] != '\0' && after->loaded)
		ereport(WARNING,
				(errmsg("bulwark keeps %s root key %s, because \"%s\" gave no other",
						slot_names[i], id, fetched->setting),
				 errdetail_internal("%s", fetched->problem)));
	else if (fetched->problem[0] != '\0')
		ereport(WARNING,
				(errmsg("bulwark has no %s root key, because \"%s\" gave none",
						slot_names[i], fetched->setting),
				 errdetail_internal("%s", fetched->problem)));
	else if (after->loaded && (!before->loaded || memcmp(before->id, after->id, ROOT_KEY_ID_LEN) != 0))
		ereport(LOG,
				(errmsg("bulwark has loaded %s root key %s from \"%s\"",
						slot_names[i], id, fetched->setting)));
	else if (!after->loaded && before->loaded)
		ereport(LOG,
				(errmsg("bulwark has dropped its %s root key, because \"%s\" is empty",
						slot_names[i], fetched->setting)));

	if (i == KEYRING_CURRENT && !after->loaded)
		ereport(WARNING,
				(errmsg("bulwark is sealed: what needs a key is refused"),
				 errhint("Set \"%s\" (or another root key provider) and reload the server's configuration.",
						 fetched->setting)));
}

/* Take over what was fetched, all of it at once. */
void
RingUpdate(FetchedRoot fetched[KEYRING_SLOTS])
{
	RingSlot	before[KEYRING_SLOTS];
	RingSlot	after[KEYRING_SLOTS];

	/* This process alone writes: what is read here without the lock stays so. */
	memcpy(before, ring, sizeof(before));
	memcpy(after, ring, sizeof(after));

	for (int i = 0; i < KEYRING_SLOTS; i++)
		update_slot(&after[i], &fetched[i], before);
	if (after[KEYRING_NEXT].loaded && after[KEYRING_CURRENT].loaded &&
		memcmp(after[KEYRING_NEXT].id, after[KEYRING_CURRENT].id, ROOT_KEY_ID_LEN) == 0)
	{
		drop_slot(&after[KEYRING_NEXT]);
		strlcpy(fetched[KEYRING_NEXT].problem, "it is the current root key", PROBLEM_LEN);
	}

	LWLockAcquire(ring_lock, LW_EXCLUSIVE);
	if (memcmp(before, after, sizeof(after)) != 0)
	{
		memcpy(ring, after, sizeof(after));
		status->wrap_with_next = false;
		pg_atomic_fetch_add_u64(&status->generation, 1);
	}
	status->checked_at = GetCurrentTimestamp();
	for (int i = 0; i < KEYRING_SLOTS; i++)
	{
		status->setting[i] = fetched[i].setting;
		strlcpy(status->problem[i], fetched[i].problem, PROBLEM_LEN);
	}
	LWLockRelease(ring_lock);

	for (int i = 0; i < KEYRING_SLOTS; i++)
	{
		bw_wipe(before[i].root, ROOT_KEY_LEN);
		bw_wipe(after[i].root, ROOT_KEY_LEN);
		report_slot(i, &fetched[i], &before[i], &after[i]);
	}
}

/* False when the slot is empty.  root may be NULL; else the caller wipes it. */
bool
RingCopy(KeyringSlot slot, uint8 id[ROOT_KEY_ID_LEN], uint8 root[ROOT_KEY_LEN], bool *in_token)
{
	bool		loaded;

	if (ring_lock == NULL)
		return false;			/* before shared memory, as the settings are read */
	LWLockAcquire(ring_lock, LW_SHARED);
	loaded = ring[slot].loaded;
	if (loaded)
	{
		memcpy(id, ring[slot].id, ROOT_KEY_ID_LEN);
		if (root != NULL)
			memcpy(root, ring[slot].root, ROOT_KEY_LEN);
		if (in_token != NULL)
			*in_token = ring[slot].in_token;
	}
	LWLockRelease(ring_lock);
	return loaded;
}

bool
RingTokenKey(KeyringSlot slot, uint8 id[ROOT_KEY_ID_LEN])
{
	bool		in_token;

	return RingCopy(slot, id, NULL, &in_token) && in_token;
}

bool
RingTokenProblem(KeyringSlot slot, const char *problem)
{
	bool		changed;

	LWLockAcquire(ring_lock, LW_EXCLUSIVE);
	changed = strcmp(status->token_problem[slot], problem) != 0;
	strlcpy(status->token_problem[slot], problem, PROBLEM_LEN);
	LWLockRelease(ring_lock);
	return changed;
}

bool
RingTokenFind(const uint8 id[ROOT_KEY_ID_LEN], KeyringSlot *slot, char problem[PROBLEM_LEN])
{
	bool		found = false;

	LWLockAcquire(ring_lock, LW_SHARED);
	for (int i = 0; i < KEYRING_SLOTS && !found; i++)
	{
		found = ring[i].loaded && ring[i].in_token && memcmp(ring[i].id, id, ROOT_KEY_ID_LEN) == 0;
		if (!found)
			continue;
		*slot = i;
		strlcpy(problem, status->token_problem[i], PROBLEM_LEN);
	}
	LWLockRelease(ring_lock);
	return found;
}

KeyringSlot
RingWrapSlot(void)
{
	KeyringSlot slot;

	LWLockAcquire(ring_lock, LW_SHARED);
	slot = status->wrap_with_next && ring[KEYRING_NEXT].loaded ? KEYRING_NEXT : KEYRING_CURRENT;
	LWLockRelease(ring_lock);
	return slot;
}

void
RingWrapWithNext(void)
{
	LWLockAcquire(ring_lock, LW_EXCLUSIVE);
	status->wrap_with_next = true;
	LWLockRelease(ring_lock);
}

uint64
KeyringGeneration(void)
{
	return status != NULL ? pg_atomic_read_u64(&status->generation) : 0;
}

bool
KeyringHasRoot(KeyringSlot slot, uint8 id[ROOT_KEY_ID_LEN])
{
	return RingCopy(slot, id, NULL, NULL);
}

void
RaiseSealed(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("bulwark is sealed: no root key is loaded"),
			 errhint("Set bulwark.root_key_file, bulwark.root_key_command or bulwark.root_key_pkcs11 in the configuration file and reload; the server log says what was wrong.")));
}

void
KeyringRequire(void)
{
	uint8		id[ROOT_KEY_ID_LEN];

	if (!KeyringHasRoot(KEYRING_CURRENT, id))
		RaiseSealed();
}

/* bulwark.keyring_status(): one row a slot. */
Datum
bulwark_keyring_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < KEYRING_SLOTS; i++)
	{
		const char *setting;
		char		problem[PROBLEM_LEN];
		char		hex[KEY_ID_HEX_LEN + 1];
		uint8		id[ROOT_KEY_ID_LEN];
		bool		loaded;
		TimestampTz checked_at;
		Datum		values[6];
		bool		nulls[6] = {false};

		LWLockAcquire(ring_lock, LW_SHARED);
		loaded = ring[i].loaded;
		memcpy(id, ring[i].id, sizeof(id));
		setting = status->setting[i];
		checked_at = status->checked_at;
		strlcpy(problem, status->token_problem[i][0] ? status->token_problem[i] : status->problem[i], sizeof(problem));
		LWLockRelease(ring_lock);

		RingIdHex(id, hex);
		values[0] = CStringGetTextDatum(slot_names[i]);
		values[1] = CStringGetTextDatum(loaded ? "loaded" : problem[0] ? "failed" : "unset");
		values[2] = CStringGetTextDatum(hex);
		nulls[2] = !loaded;
		nulls[3] = (setting == NULL);
		values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(setting);
		values[4] = CStringGetTextDatum(problem);
		nulls[4] = (problem[0] == '\0');
		values[5] = TimestampTzGetDatum(checked_at);
		nulls[5] = (checked_at == 0);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

void
KeyringInit(void)
{
	ShmemPieceRequest(RING_PIECE, sizeof(RingStatus), (void **) &status, init_status);
	LoaderInit();
}
