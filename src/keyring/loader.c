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

static RootKeyProvider *const providers[] = {&FileProvider, &CommandProvider, &Pkcs11Provider};

#define SAME_PROVIDER	(-1)

static const struct config_enum_entry provider_options[] = {
	{"file", 0, false},
	{"command", 1, false},
	{"pkcs11", 2, false},
	{NULL, 0, false}
};
static const struct config_enum_entry next_provider_options[] = {
	{"same", SAME_PROVIDER, false},
	{"file", 0, false},
	{"command", 1, false},
	{"pkcs11", 2, false},
	{NULL, 0, false}
};

static int	root_key_provider[KEYRING_SLOTS] = {0, SAME_PROVIDER};
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

static const RootKeyProvider *
provider_of(KeyringSlot slot)
{
	if (root_key_provider[slot] == SAME_PROVIDER)
		slot = KEYRING_CURRENT;
	return providers[root_key_provider[slot]];
}

static void
fetch_root(KeyringSlot slot, FetchedRoot *fetched)
{
	const RootKeyProvider *provider = provider_of(slot);
	const char *source = provider->sources[slot];

	memset(fetched, 0, sizeof(*fetched));
	fetched->setting = provider->settings[slot];
	fetched->configured = (source[0] != '\0');
	fetched->in_token = provider->in_token;
	if (!fetched->configured || !provider->fetch(slot, source, fetched->root, fetched->problem))
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

/* Have the processes that hold tokens run; in how many milliseconds to look again. */
static long
keep_services(void)
{
	const char *uris[KEYRING_SLOTS];

	for (int i = 0; i < KEYRING_SLOTS; i++)
	{
		const RootKeyProvider *provider = provider_of(i);

		uris[i] = provider->in_token && provider->sources[i][0] != '\0' ? provider->sources[i] : NULL;
	}
	return TokenServicesKeep(uris);
}

static void
child_ended(SIGNAL_ARGS)
{
	int			saved = errno;

	SetLatch(MyLatch);
	errno = saved;
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
	pqsignal(SIGCHLD, child_ended);
	BackgroundWorkerUnblockSignals();
	before_shmem_exit(TokenServicesEnd, (Datum) 0);

	if (!RingIsCurrent())
		LoadRoots();

	while (!ShutdownRequestPending)
	{
		long		again;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			LoadRoots();
			continue;
		}
		again = keep_services();
		if (ShutdownRequestPending || ConfigReloadPending)
			continue;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (again >= 0 ? WL_TIMEOUT : 0), again, PG_WAIT_EXTENSION);
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
							 "Where the root key comes from: a file, a command or a PKCS#11 token.",
							 NULL, &root_key_provider[KEYRING_CURRENT], 0, provider_options,
							 PGC_SIGHUP, ROOT_SETTING, NULL, NULL, NULL);
	DefineCustomEnumVariable("bulwark.root_key_provider_next",
							 "Where the other root key comes from while a rotation overlaps.",
							 NULL, &root_key_provider[KEYRING_NEXT], SAME_PROVIDER, next_provider_options,
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
	DefineCustomStringVariable("bulwark.root_key_pkcs11",
							   "PKCS #11 URI of the root key, with module-path and pin-source.",
							   NULL, &Pkcs11Provider.sources[KEYRING_CURRENT], "",
							   PGC_SIGHUP, ROOT_SETTING, NULL, NULL, NULL);
	DefineCustomStringVariable("bulwark.root_key_pkcs11_next",
							   "PKCS #11 URI of the other root key while a rotation overlaps.",
							   NULL, &Pkcs11Provider.sources[KEYRING_NEXT], "",
							   PGC_SIGHUP, ROOT_SETTING, NULL, NULL, NULL);
	DefineCustomIntVariable("bulwark.root_key_pkcs11_timeout",
							"Time after which a PKCS#11 token has failed to start or to answer.",
							NULL, &root_key_pkcs11_timeout, 10, 1, 300,
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
	TokenServiceInit();

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_PostmasterStart;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "bulwark", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "BulwarkKeyringWorker", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, WORKER_NAME, sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, WORKER_NAME, sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}
