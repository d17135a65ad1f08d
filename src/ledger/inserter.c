/*
 * inserter.c
 *		Which back ends are putting rows into a segment right now.
 *
 * New rows go to a segment's last page.  The sealer passes over pages before it
 * once their rows' transactions have ended; a back end that chose a page while it
 * still was the last one, and has not written there yet, must not be overlooked.
 * So each says when it begins to insert and when it has, which costs it two writes
 * to a cache line of its own.
 */
#include "ledger/sealer.h"

#include "storage/ipc.h"
#include "storage/latch.h"

typedef union Inserter
{
	pg_atomic_uint64 value;		/* serial number << 32 | database; 0: none */
	char		pad[PG_CACHE_LINE_SIZE];
} Inserter;

static Inserter *inserters = NULL;

static Size
inserters_size(void)
{
	return mul_size(MaxBackends, sizeof(Inserter));
}

static void
inserters_init(void *piece)
{
	Inserter   *all = piece;

	for (int i = 0; i < MaxBackends; i++)
		pg_atomic_init_u64(&all[i].value, 0);
}

void
InserterBegin(void)
{
	static uint32 serial = 0;

	serial = (serial == PG_UINT32_MAX) ? 1 : serial + 1;
	/* an exchange is a full barrier: what follows sees pages as of now */
	(void) pg_atomic_exchange_u64(&inserters[BW_PROC_NUMBER(MyProc)].value,
								  (uint64) serial << 32 | MyDatabaseId);
}

void
InserterEnd(void)
{
	(void) pg_atomic_exchange_u64(&inserters[BW_PROC_NUMBER(MyProc)].value, 0);
}

bool
InsertersPass(int milliseconds)
{
	bool		passed = true;

	pg_memory_barrier();
	for (int i = 0; i < MaxBackends && passed; i++)
	{
		uint64		value = pg_atomic_read_u64(&inserters[i].value);

		if ((Oid) (value & PG_UINT32_MAX) != MyDatabaseId || i == BW_PROC_NUMBER(MyProc))
			continue;
		while (pg_atomic_read_u64(&inserters[i].value) == value)
		{
			if (milliseconds-- <= 0)
			{
				passed = false;
				break;
			}
			CHECK_FOR_INTERRUPTS();
			pg_usleep(1000L);
		}
	}
	pg_memory_barrier();
	return passed;
}

void
InserterInit(void)
{
	ShmemPieceRequestSized("bulwark inserters", inserters_size, (void **) &inserters, inserters_init);
}
