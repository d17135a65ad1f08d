/*
 * standby.c
 *		How stale may the memberships be that a standby reads?
 *
 * A revocation reaches a standby when it is replayed.  Replay that is paused,
 * held back by somebody's query, or cut off from the primary would keep revoked
 * identities alive, so past bulwark.standby_max_staleness there is none.
 */
#include "session/session.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "replication/walreceiver.h"
#include "storage/spin.h"

static int	standby_max_staleness = 60;

/*
 * Fresh when the newest commit replayed is young enough, or when everything that
 * the primary had, as of a message young enough, has been replayed.
 */
bool
StandbyIsFresh(void)
{
	TimestampTz horizon;
	TimestampTz heard;
	XLogRecPtr	known;

	if (!RecoveryInProgress())
		return true;

	horizon = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										  -(int64) standby_max_staleness * 1000);
	if (GetLatestXTime() >= horizon)
		return true;

	SpinLockAcquire(&WalRcv->mutex);
	heard = WalRcv->walRcvState == WALRCV_STREAMING ? WalRcv->lastMsgReceiptTime : 0;
	known = WalRcv->latestWalEnd;
	SpinLockRelease(&WalRcv->mutex);

	return heard >= horizon && known != InvalidXLogRecPtr &&
		GetXLogReplayRecPtr(NULL) >= known;
}

void
StandbyInit(void)
{
	DefineCustomIntVariable("bulwark.standby_max_staleness",
							"How far a standby may lag and still accept identities.",
							"Past it there is no identity on the standby. Keep the primary's wal_sender_timeout below twice this.",
							&standby_max_staleness, 60, 1, 3600, PGC_SIGHUP,
							GUC_UNIT_S | GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
}
