/*
 * shmem.c
 *		Named pieces of shared memory, asked for by the rooms' Init functions.
 */
#include "base/base.h"

#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#define MAX_PIECES	24
#define LWLOCK_TRANCHE "bulwark"

typedef struct ShmemPiece
{
	const char *name;
	Size		size;
	ShmemPieceSize sizer;
	void	  **slot;
	ShmemPieceInit init;
} ShmemPiece;

static ShmemPiece pieces[MAX_PIECES];
static int	npieces = 0;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static void
piece_add(const char *name, Size size, ShmemPieceSize sizer, void **slot, ShmemPieceInit init)
{
	if (npieces == MAX_PIECES)
		elog(ERROR, "too many pieces of shared memory");
	pieces[npieces++] = (ShmemPiece) {name, size, sizer, slot, init};
}

void
ShmemPieceRequest(const char *name, Size size, void **slot, ShmemPieceInit init)
{
	piece_add(name, size, NULL, slot, init);
}

void
ShmemPieceRequestSized(const char *name, ShmemPieceSize size, void **slot, ShmemPieceInit init)
{
	piece_add(name, 0, size, slot, init);
}

LWLock *
ShmemPieceLock(const char *name)
{
	for (int i = 0; i < npieces; i++)
		if (strcmp(pieces[i].name, name) == 0)
			return &GetNamedLWLockTranche(LWLOCK_TRANCHE)[i].lock;
	elog(ERROR, "no piece of shared memory is named \"%s\"", name);
}

static void
shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();

	for (int i = 0; i < npieces; i++)
	{
		if (pieces[i].sizer)
			pieces[i].size = pieces[i].sizer();
		RequestAddinShmemSpace(add_size(pieces[i].size, PG_CACHE_LINE_SIZE));
	}
	RequestNamedLWLockTranche(LWLOCK_TRANCHE, npieces);
}

static void
shmem_startup(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < npieces; i++)
	{
		bool		found;

		*pieces[i].slot = ShmemInitStruct(pieces[i].name, pieces[i].size, &found);
		if (!found)
		{
			memset(*pieces[i].slot, 0, pieces[i].size);
			if (pieces[i].init)
				pieces[i].init(*pieces[i].slot);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

void
ShmemInit(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}
