/*
 * loader.c
 *		Settings of the root keys, and the two moments at which they are loaded:
 *		by the postmaster before it has a child, so that the first connection
 *		finds the server in the state in which it stays, and by one worker when
 *		the configuration is reloaded.
 */
#include "keyring/ring.h"

#include "common/common.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#include <signal.h>

#define WORKER_NAME		"bulwark keyring"
#define ROOT_SETTING	(GUC_SUPERUSER_ONLY | GUC_DISALLOW_IN_AUTO_FILE)

static RootKeyProvider *const providers[] = {&FileProvider, &CommandProvider};

static const struct config_enum_entry provider_options[] = {
	{"file", 0, false},
	{"command", 1, false},
	{NULL, 0, false}
};

static int	root_key_provider = 0;
static char *expected_id[KEYRING_SLOTS];

static const char *const expected_id_settings[KEYRING_SLOTS] = {
	"bulwark.root_key_id", "bulwark.root_key_id_next"
};

PGDLLEXPORT void BulwarkKeyringWorker(Datum arg);

/* Does the key have the id that the configuration asks for, if it asks? */
static bool
id_expected(KeyringSlot slot, const uint8 id[ROOT_KEY_ID_LEN], char problem[PROBLEM_LEN])
{
	const char *wanted = expected_id[slot];
	uint8		wanted_id[ROOT_KEY_ID_LEN];
	char		got[KEY_ID_HEX_LEN + 1];

	if (wanted[0] == '\0')
		return true;
	if (!bw_hex_decode(wanted, strlen(wanted), wanted_id, sizeof(wanted_id)))
	{
		snprintf(problem, PROBLEM_LEN, "\"%s\" is not %d hexadecimal digits",
				 expected_id_settings[slot], KEY_ID_HEX_LEN);
		return false;
	}
	if (bw_equal(wanted_id, id, sizeof(wanted_id)))
		return true;
	RingIdHex(id, got);
	snprintf(problem, PROBLEM_LEN, "root key %s is needed, but root key %s was got", wanted, got);
	return false;
}

static void
fetch_root(KeyringSlot slot, FetchedRoot *fetched)
{
	const RootKeyProvider *provider = providers[root_key_provider];
	const char *source = provider->sources[slot];

	memset(fetched, 0, sizeof(*fetched));
	fetched->setting = provider->settings[slot];
	fetched->configured = (source[0] != '\0');
	if (!fetched->configured || !provider->fetch(source, fetched->root, fetched->problem))
		return;
	bw_root_key_id(fetched->root, fetched->id);
	fetched->present = id_expected(slot, fetched->id, fetched->problem);
}

/* Fetch both root keys as the configuration says and put them into the ring. */
void
LoadRoots(void)
{
	FetchedRoot fetched[KEYRING_SLOTS];

	for (int i = 0; i < KEYRING_SLOTS; i++)
		fetch_root(i, &fetched[i]);
	if (!ShutdownRequestPending)
		RingUpdate(fetched);
	bw_wipe(fetched, sizeof(fetched));
}

/*
 * The worker's main function.  It exits with 1, so that the postmaster starts
 * another unless the server is stopping.
 */
void
BulwarkKeyringWorker(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();

	if (!RingIsCurrent())
		LoadRoots();

	while (!ShutdownRequestPending)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			LoadRoots();
			continue;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1L, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	proc_exit(1);
}

const char *
KeyringFile(void)
{
	return FileProvider.sources[KEYRING_CURRENT];
}

static void
define_settings(void)
{
	DefineCustomEnumVariable("bulwark.root_key_provider",
							 "Where root keys come from: a file or a command.",
							 NULL, &root_key_provider, 0, provider_options,
							 PGC_SIGHUP, ROOT_SETTING, NULL, NULL, NULL);
	DefineCustomStringVariable("bulwark.root_key_file",
							   "File that holds the root key as 64 hexadecimal digits.",
							   "Owned by the server's user, with no permission for others.",
							   &FileProvider.sources[KEYRING_CURRENT], "",
							   PGC_SIGHUP, ROOT_SETTING, NULL, NULL, NULL);
	DefineCustomStringVariable("bulwark.root_key_file_next",
							   "File that holds the other root key while a rotation overlaps.",
							   NULL, &FileProvider.sources[KEYRING_NEXT], "",
							   PGC_SIGHUP, ROOT_SETTING, NULL, NULL, NULL);
	DefineCustomStringVariable("bulwark.root_key_command",
							   "Shell command that prints the root key as 64 hexadecimal digits.",
							   NULL, &CommandProvider.sources[KEYRING_CURRENT], "",
							   PGC_SIGHUP, ROOT_SETTING, NULL, NULL, NULL);
	DefineCustomStringVariable("bulwark.root_key_command_next",
							   "Shell command that prints the other root key while a rotation overlaps.",
							   NULL, &CommandProvider.sources[KEYRING_NEXT], "",
							   PGC_SIGHUP, ROOT_SETTING, NULL, NULL, NULL);
	DefineCustomIntVariable("bulwark.root_key_command_timeout",
							"Time after which a root key command is stopped and has failed.",
							NULL, &root_key_command_timeout, 10, 1, 300,
							PGC_SIGHUP, ROOT_SETTING | GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomStringVariable(expected_id_settings[KEYRING_CURRENT],
							   "Id of the only root key to accept; empty accepts any.",
							   NULL, &expected_id[KEYRING_CURRENT], "",
							   PGC_SIGHUP, ROOT_SETTING, NULL, NULL, NULL);
	DefineCustomStringVariable(expected_id_settings[KEYRING_NEXT],
							   "Id of the only other root key to accept; empty accepts any.",
							   NULL, &expected_id[KEYRING_NEXT], "",
							   PGC_SIGHUP, ROOT_SETTING, NULL, NULL, NULL);
}

void
LoaderInit(void)
{
	BackgroundWorker worker = {0};

	define_settings();

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_PostmasterStart;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "bulwark", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "BulwarkKeyringWorker", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, WORKER_NAME, sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, WORKER_NAME, sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}
