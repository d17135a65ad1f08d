/*
 * lockwait.c
 *		Whoever answers to an incident does not wait without end for a transaction
 *		that somebody, the thief perhaps, leaves open.
 */
#include "base/base.h"

#include "storage/proc.h"
#include "utils/guc.h"

#define LOCK_WAIT_MS	10000

static void
say_what_to_do(void *arg)
{
	const LockWait *wait = arg;

	if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
		return;
	errhint("Another transaction has changed the same and stays open. pg_blocking_pids() names its session, which "
			"pg_terminate_backend() ends; then try again. %s", wait->hint);
}

void
LockWaitBegin(LockWait *wait, const char *hint)
{
	char		limit[32];

	wait->hint = hint;
	wait->guc_level = NewGUCNestLevel();
	if (LockTimeout == 0 || LockTimeout > LOCK_WAIT_MS)
	{
		snprintf(limit, sizeof(limit), "%d", LOCK_WAIT_MS);
		(void) set_config_option("lock_timeout", limit, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	}
	wait->context.callback = say_what_to_do;
	wait->context.arg = wait;
	wait->context.previous = error_context_stack;
	error_context_stack = &wait->context;
}

void
LockWaitEnd(LockWait *wait)
{
	error_context_stack = wait->context.previous;
	AtEOXact_GUC(true, wait->guc_level);
}
