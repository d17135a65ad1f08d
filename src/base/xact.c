/*
 * xact.c
 *		Callbacks that must come after all others of ours before a commit.  The
 *		server calls transaction callbacks in the reverse order of their
 *		registration, so this one is registered before any other.
 */
#include "base/base.h"

#include "access/xact.h"

#define MAX_CALLBACKS	4

static PreCommitLast callbacks[MAX_CALLBACKS];
static int	ncallbacks = 0;

void
PreCommitLastRegister(PreCommitLast callback)
{
	if (ncallbacks == MAX_CALLBACKS)
		elog(ERROR, "too many callbacks");
	callbacks[ncallbacks++] = callback;
}

static void
call_last(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		return;
	for (int i = 0; i < ncallbacks; i++)
		callbacks[i] ();
}

void
XactInit(void)
{
	RegisterXactCallback(call_last, NULL);
}
