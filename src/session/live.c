/*
 * live.c
 *		One slot in shared memory for every back end: who it is acting as.
 *
 * Parallel workers take their identity from the slot of their lock group's
 * leader; the view live_identities and revocation with termination read them
 * all.  A slot is written by its owner only.
 */
#include "session/session.h"

#include "storage/ipc.h"
#include "storage/spin.h"

typedef struct Slot
{
	slock_t		mutex;
	int			pid;			/* 0: nobody */
	Oid			database;
	LocalTransactionId lxid;	/* the transaction in which it is in force */
	Identity	identity;
} Slot;

static Slot *slots = NULL;
static bool published = false;

static Slot *
slot_of(PGPROC *proc)
{
	int			number = BW_PROC_NUMBER(proc);

	Assert(number >= 0 && number < MaxBackends);
	return &slots[number];
}

static Size
slots_size(void)
{
	return mul_size(MaxBackends, sizeof(Slot));
}

static void
slots_init(void *piece)
{
	Slot	   *slot = piece;

	for (int i = 0; i < MaxBackends; i++)
		SpinLockInit(&slot[i].mutex);
}

static void
slot_clear_at_exit(int code, Datum arg)
{
	SlotPublish(NULL);
}

/* Must not fail: called while a transaction ends. */
void
SlotPublish(const Identity *identity)
{
	static bool exit_registered = false;
	Slot	   *slot;

	if (identity == NULL && !published)
		return;

	slot = slot_of(MyProc);
	SpinLockAcquire(&slot->mutex);
	if (identity != NULL)
	{
		slot->pid = MyProcPid;
		slot->database = MyDatabaseId;
		slot->lxid = BW_LXID(MyProc);
		slot->identity = *identity;
	}
	else
	{
		slot->pid = 0;
		memset(&slot->identity, 0, sizeof(Identity));
	}
	SpinLockRelease(&slot->mutex);
	published = (identity != NULL);

	if (!exit_registered)
	{
		before_shmem_exit(slot_clear_at_exit, 0);
		exit_registered = true;
	}
}

/* What a parallel worker's leader acts as, in the transaction they share. */
bool
SlotOfLeader(Identity *identity)
{
	PGPROC	   *leader = MyProc->lockGroupLeader;
	Slot	   *slot;
	bool		found;

	if (leader == NULL || leader == MyProc)
		return false;
	slot = slot_of(leader);
	SpinLockAcquire(&slot->mutex);
	found = slot->pid == leader->pid && slot->pid != 0 &&
		slot->database == MyDatabaseId && slot->lxid == BW_LXID(leader);
	if (found)
		*identity = slot->identity;
	SpinLockRelease(&slot->mutex);
	return found;
}

List *
LiveIdentities(void)
{
	List	   *live = NIL;

	for (int i = 0; i < MaxBackends; i++)
	{
		Slot	   *slot = &slots[i];
		LiveIdentity *one;

		if (slot->pid == 0)
			continue;
		one = palloc(sizeof(LiveIdentity));
		SpinLockAcquire(&slot->mutex);
		one->pid = slot->pid;
		one->database = slot->database;
		one->identity = slot->identity;
		SpinLockRelease(&slot->mutex);
		if (one->pid != 0 && one->database == MyDatabaseId)
			live = lappend(live, one);
	}
	return live;
}

void
LiveInit(void)
{
	ShmemPieceRequestSized("bulwark identities", slots_size, (void **) &slots, slots_init);
}
