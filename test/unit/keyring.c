/*
 * keyring.c
 *		The keyring's providers and its wrapping, without a server and under
 *		sanitizers: every way out of them, with no file descriptor, process or
 *		key left behind.  Prints TAP.
 *
 * What they need of the server is played here: a ring of two slots, errors that
 * jump back, memory.
 */
#include "keyring/ring.h"

#include "common/common.h"
#include "postmaster/interrupt.h"
#include "storage/pmsignal.h"
#include "storage/shmem.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#undef printf
#undef snprintf

/* --- the server, as far as it is needed ------------------------------------ */

sigjmp_buf *PG_exception_stack = NULL;
ErrorContextCallback *error_context_stack = NULL;
volatile sig_atomic_t InterruptPending = false;
volatile sig_atomic_t ShutdownRequestPending = false;
volatile sig_atomic_t postmaster_possibly_dead = false;
bool		IsUnderPostmaster = false;
char	   *DataDir = NULL;

static int	warnings = 0;

bool
errstart(int elevel, const char *domain)
{
	if (elevel >= ERROR)
		siglongjmp(*PG_exception_stack, 1);
	warnings++;
	return false;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void errfinish(const char *filename, int lineno, const char *funcname) {}
int errcode(int sqlerrcode) { return 0; }
int errmsg(const char *fmt,...) { return 0; }
int errdetail(const char *fmt,...) { return 0; }
int errhint(const char *fmt,...) { return 0; }

void
pg_re_throw(void)
{
	siglongjmp(*PG_exception_stack, 1);
}

void
ProcessInterrupts(void)
{
	siglongjmp(*PG_exception_stack, 1);
}

bool
PostmasterIsAliveInternal(void)
{
	return true;
}

/* Some versions' libpgcommon has it. */
__attribute__((weak)) Size
add_size(Size a, Size b)
{
	return a + b;
}

static struct
{
	bool		loaded;
	uint8		root[ROOT_KEY_LEN];
}			ring[KEYRING_SLOTS];

bool
RingCopy(KeyringSlot slot, uint8 id[ROOT_KEY_ID_LEN], uint8 root[ROOT_KEY_LEN], bool *in_token)
{
	if (in_token != NULL)
		*in_token = false;
	if (!ring[slot].loaded)
		return false;
	bw_root_key_id(ring[slot].root, id);
	if (root != NULL)
		memcpy(root, ring[slot].root, ROOT_KEY_LEN);
	return true;
}

/* No key of this ring is in a token. */
bool
TokenAsk(char operation, const uint8 id[ROOT_KEY_ID_LEN], const uint8 *ad,
		 const uint8 *text, Size len, uint8 *result, Size result_len)
{
	return false;
}

void
RaiseSealed(void)
{
	siglongjmp(*PG_exception_stack, 1);
}

void
KeyringRequire(void)
{
	uint8		id[ROOT_KEY_ID_LEN];

	if (!RingCopy(KEYRING_CURRENT, id, NULL, NULL))
		RaiseSealed();
}

KeyringSlot
RingWrapSlot(void)
{
	return KEYRING_CURRENT;
}

/* --- tests ------------------------------------------------------------------ */

static int	tests = 0;
static int	failures = 0;

static void
ok(bool passed, const char *name)
{
	printf("%sok %d - %s\n", passed ? "" : "not ", ++tests, name);
	failures += !passed;
}

static int
open_files(void)
{
	DIR		   *dir = opendir("/proc/self/fd");
	int			n = 0;

	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

static bool
has_children(void)
{
	return waitpid(-1, NULL, WNOHANG) >= 0;
}

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static char directory[] = "/tmp/keyring-unit-XXXXXX";

static const char *
file(const char *name, const char *content, mode_t mode)
{
	static char path[256];
	FILE	   *f;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	unlink(path);
	f = fopen(path, "w");
	fputs(content, f);
	fclose(f);
	chmod(path, mode);
	return path;
}

/* Fetch, and check what must hold whatever comes of it. */
static bool
fetch(const RootKeyProvider *provider, const char *source, uint8 key[ROOT_KEY_LEN], const char *name)
{
	char		problem[PROBLEM_LEN] = "";
	int			before = open_files();
	bool		fetched = provider->fetch(KEYRING_CURRENT, source, key, problem);
	char		what[PROBLEM_LEN + 32];

	snprintf(what, sizeof(what), "%s: %s", name, fetched ? "a key" : problem);
	ok(fetched == (problem[0] == '\0') && open_files() == before && !has_children(), what);
	return fetched;
}

static void
test_files(const char *digits)
{
	uint8		key[ROOT_KEY_LEN];
	char		text[256];

	ok(fetch(&FileProvider, file("plain", digits, 0600), key, "file"), "a file gives the key");
	snprintf(text, sizeof(text), "%s\n", digits);
	ok(fetch(&FileProvider, file("newline", text, 0400), key, "file"), "a newline is allowed");
	snprintf(text, sizeof(text), "%s\n\n", digits);
	ok(!fetch(&FileProvider, file("newlines", text, 0600), key, "file"), "two are not");
	ok(!fetch(&FileProvider, file("empty", "", 0600), key, "file"), "an empty file does not");
	ok(!fetch(&FileProvider, file("mode", digits, 0640), key, "file"), "nor one that the group can read");
	ok(!fetch(&FileProvider, "/dev/zero", key, "file"), "nor a device");
	ok(!fetch(&FileProvider, directory, key, "file"), "nor a directory");
	ok(!fetch(&FileProvider, "/nonexistent/key", key, "file"), "nor one that is not there");

	DataDir = directory;
	warnings = 0;
	ok(fetch(&FileProvider, file("inside", digits, 0600), key, "file") && warnings == 1,
	   "a file inside the data directory is warned of");
	DataDir = "/nonexistent";
}

/* A command that stays, until it is ended, with one descriptor of ours. */
static void
test_staying(void)
{
	char		problem[PROBLEM_LEN] = "";
	char		output[32];
	char		text[16] = "";
	int			before = open_files();
	int			pair[2];
	RunningCommand run;
	ShellCommand command = {.text = "echo ready; cat >&3", .output = output, .output_cap = sizeof(output), .expected = "a line", .timeout = 5};

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		exit(1);
	command.service = pair[1];
	ok(CommandBegin(&command, &run, problem) && command.output_len == 6 && memcmp(output, "ready\n", 6) == 0,
	   "a command that stays is there when it has printed a line");
	ok(write(run.input, "on and on", 9) == 9 && read(pair[0], text, sizeof(text)) == 9 && memcmp(text, "on and on", 9) == 0,
	   "it goes on, with its input and the descriptor that it was given");
	(void) CommandEnd(&run);
	close(pair[0]);
	close(pair[1]);
	ok(open_files() == before && !has_children(), "and nothing is left of it when it is ended");

	command.service = 0;
	command.text = "echo ready; exec 2>&-; echo >&3 || sleep 60";
	ok(CommandBegin(&command, &run, problem), "a command without a descriptor of ours");
	(void) CommandEnd(&run);
	command.text = "printf ready";
	ok(!CommandBegin(&command, &run, problem) && output[0] == '\0', "half a line is no answer, and is wiped");
	command.text = "yes | tr -d '\\n'";
	ok(!CommandBegin(&command, &run, problem), "nor is one without end");
	command.text = "sleep 60";
	command.timeout = 1;
	ok(!CommandBegin(&command, &run, problem), "nor none at all");
	ok(open_files() == before && !has_children(), "and nothing is left of these");
}

static void
test_commands(const char *digits)
{
	uint8		key[ROOT_KEY_LEN];
	char		command[512];
	double		started;
	int			before = open_files();
	bool		jumped = false;

	snprintf(command, sizeof(command), "echo %s", digits);
	ok(fetch(&CommandProvider, command, key, "command"), "a command gives the key");
	snprintf(command, sizeof(command), "printf %.32s; sleep 0.2; echo %s", digits, digits + 32);
	ok(fetch(&CommandProvider, command, key, "command"), "in pieces too");
	snprintf(command, sizeof(command), "echo %s; exit 1", digits);
	ok(!fetch(&CommandProvider, command, key, "command"), "not when it fails");
	ok(!fetch(&CommandProvider, "yes", key, "command"), "nor when it prints without end");
	ok(!fetch(&CommandProvider, "exec /nonexistent", key, "command"), "nor when it is not there");
	ok(!fetch(&CommandProvider, ":", key, "command"), "nor when it prints nothing");

	root_key_command_timeout = 1;
	started = seconds();
	ok(!fetch(&CommandProvider, "trap '' TERM; sleep 60", key, "command") && seconds() - started < 5,
	   "a command that hangs is ended");
	started = seconds();
	snprintf(command, sizeof(command), "echo %s; sleep 60 & sleep 60", digits);
	ok(!fetch(&CommandProvider, command, key, "command") && seconds() - started < 5,
	   "and all that it started");

	root_key_command_timeout = 60;
	IsUnderPostmaster = true;
	ShutdownRequestPending = true;
	started = seconds();
	ok(!fetch(&CommandProvider, "sleep 60", key, "command") && seconds() - started < 5,
	   "a server that stops does not wait for a command");
	ShutdownRequestPending = false;

	InterruptPending = true;
	PG_TRY();
	{
		char		problem[PROBLEM_LEN] = "";

		(void) CommandProvider.fetch(KEYRING_CURRENT, "sleep 60", key, problem);
	}
	PG_CATCH();
	{
		jumped = true;
	}
	PG_END_TRY();
	InterruptPending = false;
	IsUnderPostmaster = false;
	ok(jumped && open_files() == before && !has_children(), "an error amid a command leaves nothing behind");
}

static void
test_wrap(void)
{
	uint8		key[48],
				back[48],
				wrapped[WRAPPED_KEY_LEN(sizeof(key))],
				again[sizeof(wrapped)];
	Size		len = sizeof(wrapped);
	bool		refused = true;
	volatile bool jumped = false;

	ring[KEYRING_CURRENT].loaded = true;
	bw_random(ring[KEYRING_CURRENT].root, ROOT_KEY_LEN);
	bw_random(ring[KEYRING_NEXT].root, ROOT_KEY_LEN);
	bw_random(key, sizeof(key));

	KeyringWrap(key, sizeof(key), "context", 7, wrapped);
	KeyringWrap(key, sizeof(key), "context", 7, again);
	ok(memcmp(wrapped + 1 + ROOT_KEY_ID_LEN, again + 1 + ROOT_KEY_ID_LEN, len - 1 - ROOT_KEY_ID_LEN) != 0,
	   "a key is never wrapped twice alike");
	ok(KeyringUnwrap(wrapped, len, "context", 7, back, sizeof(back)) && memcmp(key, back, sizeof(key)) == 0,
	   "what is wrapped unwraps");
	ok(!KeyringUnwrap(wrapped, len, "contexT", 7, back, sizeof(back)) &&
	   !KeyringUnwrap(wrapped, len, "contex", 6, back, sizeof(back)) &&
	   !KeyringUnwrap(wrapped, len, NULL, 0, back, sizeof(back)), "not in another context");

	for (Size i = 0; i < len; i++)
	{
		wrapped[i] ^= 1;
		refused &= !KeyringUnwrap(wrapped, len, "context", 7, back, sizeof(back));
		wrapped[i] ^= 1;
	}
	ok(refused, "not with any byte changed");
	refused = true;
	for (Size i = 0; i < len; i++)
	{
		Size		keylen = i > WRAPPED_KEY_LEN(0) ? i - WRAPPED_KEY_LEN(0) : 0;
		uint8	   *shorter = malloc(i);	/* exact, so that reading past it shows */

		memcpy(shorter, wrapped, i);
		refused &= !KeyringUnwrap(shorter, i, "context", 7, back, keylen);
		free(shorter);
	}
	ok(refused, "not at any shorter length");
	ok(!KeyringUnwrap(wrapped, len, "context", 7, back, sizeof(back) - 1), "not as a key of another length");

	ring[KEYRING_NEXT] = ring[KEYRING_CURRENT];
	bw_random(ring[KEYRING_CURRENT].root, ROOT_KEY_LEN);
	ok(KeyringUnwrap(wrapped, len, "context", 7, back, sizeof(back)), "under the other root key of a rotation too");
	ring[KEYRING_NEXT].loaded = false;
	ok(!KeyringUnwrap(wrapped, len, "context", 7, back, sizeof(back)), "not when that one is gone");

	KeyringWrap(key, 0, NULL, 0, wrapped);
	ok(KeyringUnwrap(wrapped, WRAPPED_KEY_LEN(0), NULL, 0, back, 0), "an empty key and context");

	ring[KEYRING_CURRENT].loaded = false;
	PG_TRY();
	{
		KeyringWrap(key, sizeof(key), NULL, 0, wrapped);
	}
	PG_CATCH();
	{
		jumped = true;
	}
	PG_END_TRY();
	ok(jumped, "a sealed server wraps nothing");
}

static void
test_derive(void)
{
	uint8		a[DERIVED_KEY_LEN],
				b[DERIVED_KEY_LEN];

	ok(!KeyringDerive(KEYRING_CURRENT, "salt", 4, "label", a), "a sealed server derives nothing");
	ring[KEYRING_CURRENT].loaded = true;
	ok(KeyringDerive(KEYRING_CURRENT, "salt", 4, "label", a) &&
	   KeyringDerive(KEYRING_CURRENT, "salt", 4, "label", b) && memcmp(a, b, sizeof(a)) == 0,
	   "the same key from the same salt and label");
	ok(KeyringDerive(KEYRING_CURRENT, "Salt", 4, "label", b) && memcmp(a, b, sizeof(a)) != 0,
	   "another from another salt");
	ok(KeyringDerive(KEYRING_CURRENT, "salt", 4, "Label", b) && memcmp(a, b, sizeof(a)) != 0,
	   "another from another label");
}

int
main(void)
{
	uint8		key[ROOT_KEY_LEN];
	char		digits[2 * ROOT_KEY_LEN + 1];

	setvbuf(stdout, NULL, _IOLBF, 0);
	DataDir = "/nonexistent";
	if (mkdtemp(directory) == NULL || !bw_random(key, sizeof(key)))
		return 2;
	bw_hex_encode(key, sizeof(key), digits);
	digits[sizeof(digits) - 1] = '\0';

	test_files(digits);
	test_commands(digits);
	test_staying();
	test_wrap();
	test_derive();
	printf("1..%d\n", tests);

	return failures > 0 || execlp("rm", "rm", "-r", directory, (char *) NULL) != 0;
}
