/*
 * start.c
 *		Did the server run without us since we last saw it?
 *
 *		Every run of a server writes a checkpoint, at the latest when it stops.  We
 *		keep in a file which one was the last of ours: the postmaster writes it when
 *		it ends, after the shutdown checkpoint, and the launcher when there is a new
 *		one.  At the next start the control file names the same one, or somebody
 *		else has run in between: then the guards were off, and each database's
 *		ledger says so in an entry.  After a crash within seconds of a checkpoint
 *		we cannot tell, and the entry says that.
 *
 *		Who runs code as the server's system user can edit the file, as all others.
 */
#include "ledger/guard.h"
#include "ledger/sealer.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogdefs.h"
#include "catalog/pg_control.h"
#include "common/file_perm.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define LAST_CHECKPOINT_FILE	"bulwark.last_checkpoint"
#define NOTED_MAX	64

typedef enum Gap
{
	GAP_NONE,
	GAP_POSSIBLE,				/* nothing says that there was none */
	GAP_CERTAIN
} Gap;

typedef struct Start
{
	Gap			gap;
	bool		decommission;
	slock_t		mutex;			/* of what follows */
	int			nnoted;
	Oid			noted[NOTED_MAX];	/* databases that have their entries */
} Start;

static Start *start = NULL;

/* --- the file -------------------------------------------------------------------- */

/* Never raises: a stop goes on without it, and the next start says that it does not know. */
static void
write_last_checkpoint(XLogRecPtr checkpoint)
{
	char		text[64];
	int			len = snprintf(text, sizeof(text), "%X/%X\n", LSN_FORMAT_ARGS(checkpoint));
	int			fd = open(LAST_CHECKPOINT_FILE ".new", O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY, PG_FILE_MODE_OWNER);

	if (fd >= 0)
	{
		bool		ok = write(fd, text, len) == len && pg_fsync(fd) == 0;

		if (close(fd) == 0 && ok && rename(LAST_CHECKPOINT_FILE ".new", LAST_CHECKPOINT_FILE) == 0)
		{
			fsync_fname(".", true);
			return;
		}
	}
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("bulwark: could not write file \"%s\": %m", LAST_CHECKPOINT_FILE)));
}

/* InvalidXLogRecPtr: there is none that can be read. */
static XLogRecPtr
read_last_checkpoint(void)
{
	char		text[64];
	uint32		high,
				low;
	int			fd = open(LAST_CHECKPOINT_FILE, O_RDONLY | PG_BINARY, 0);
	ssize_t		len;

	if (fd < 0)
		return InvalidXLogRecPtr;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return InvalidXLogRecPtr;
	text[len] = '\0';
	if (sscanf(text, "%X/%X\n", &high, &low) != 2)
		return InvalidXLogRecPtr;
	return (uint64) high << 32 | low;
}

static bool
control_file(ControlFileData *control)
{
	bool		crc_ok;
	ControlFileData *data = get_controlfile(DataDir, &crc_ok);

	*control = *data;
	pfree(data);
	return crc_ok;
}

/* --- in the postmaster -------------------------------------------------------------- */

static bool
exists(const char *file)
{
	struct stat st;

	return stat(file, &st) == 0;
}

static Gap
judge_start(void)
{
	ControlFileData control;
	XLogRecPtr	last = read_last_checkpoint();

	/* A copy, a standby, a fork: the incarnation tells of it. */
	if (exists("backup_label") || exists("standby.signal") || exists("recovery.signal"))
		return GAP_NONE;
	if (!control_file(&control) || XLogRecPtrIsInvalid(last))
		return GAP_POSSIBLE;
	if (control.state != DB_SHUTDOWNED && control.state != DB_IN_PRODUCTION)
		return GAP_NONE;
	if (control.checkPoint == last)
		return GAP_NONE;
	return control.state == DB_SHUTDOWNED ? GAP_CERTAIN : GAP_POSSIBLE;
}

/* After the shutdown checkpoint, at the very end. */
static void
at_postmaster_exit(int code, Datum arg)
{
	ControlFileData control;

	if (control_file(&control))
		write_last_checkpoint(control.checkPoint);
}

static void
start_init(void *piece)
{
	static bool judged = false;
	static Gap	gap;

	/* Shared memory is made anew after a crash of a back end: the same start. */
	if (!judged)
		gap = judge_start();
	judged = true;
	start = piece;
	start->gap = gap;
	start->decommission = LedgerDecommission();
	SpinLockInit(&start->mutex);
}

/* --- in workers ------------------------------------------------------------------------ */

void
StartWatchCheckpoint(void)
{
	ControlFileData control;
	static XLogRecPtr redo = InvalidXLogRecPtr;
	XLogRecPtr	now = GetRedoRecPtr();

	if (now == redo)
		return;
	if (control_file(&control) && control.checkPointCopy.redo == now)
	{
		write_last_checkpoint(control.checkPoint);
		redo = now;
	}
}

static bool
is_noted(Oid database, bool note)
{
	bool		noted = false;

	SpinLockAcquire(&start->mutex);
	for (int i = 0; i < start->nnoted; i++)
		noted = noted || start->noted[i] == database;
	if (!noted && note && start->nnoted < NOTED_MAX)
		start->noted[start->nnoted++] = database;
	SpinLockRelease(&start->mutex);
	return noted;
}

static bool
start_pending(Oid database)
{
	return (start->gap != GAP_NONE || start->decommission) && !is_noted(database, false);
}

/* Did the log live here before this start, and has it no entry of it yet? */
static bool
to_be_noted(void)
{
	enum
	{
		Start_started_at = 1
	};
	PrivateScan scan;
	TimestampTz since;
	uint32		incarnation;
	bool		isnull;
	bool		wanted = true;

	if (!LedgerLivesHere(&since, &incarnation) || since > PgStartTime || !PrivateScanBegin(&scan, "ledger_starts", "ledger_starts_pkey"))
		return false;
	while (wanted && PrivateScanNext(&scan))
		wanted = DatumGetTimestampTz(PrivateScanGet(&scan, Start_started_at, &isnull)) != PgStartTime;
	PrivateScanEnd(&scan);
	return wanted;
}

static void
append(const char *operation, const char *detail)
{
	Entry		entry = {.source = SOURCE_SYSTEM, .action = "configuration", .entity_type = "bulwark.server"};

	entry.metadata = psprintf("{\"operation\": \"%s\", \"detail\": \"%s\"}", operation, detail);
	LedgerAppend(&entry);
}

/* A task of the sealer's workers: tell the database they are in how the server was
 * started. */
static int
note_start(void)
{
	Datum		values[3] = {TimestampTzGetDatum(PgStartTime),
		BoolGetDatum(start->gap != GAP_NONE), BoolGetDatum(start->decommission)};
	bool		nulls[3] = {false};
	int			n = 0;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (to_be_noted())
	{
		if (start->gap == GAP_CERTAIN)
			append("not_preloaded", "the server ran without bulwark before this start");
		else if (start->gap == GAP_POSSIBLE)
			append("not_preloaded", "whether the server ran without bulwark before this start is not known");
		if (start->decommission)
			append("decommission", "the server was started with bulwark.ledger_decommission");
		n = (start->gap != GAP_NONE) + start->decommission;
		LedgerInsert("ledger_starts", values, nulls);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	(void) is_noted(MyDatabaseId, true);
	return n;
}

void
StartInit(void)
{
	ShmemPieceRequest("bulwark start", sizeof(Start), (void **) &start, start_init);
	on_proc_exit(at_postmaster_exit, (Datum) 0);
	WorkerTaskRegister(note_start, start_pending);
}
