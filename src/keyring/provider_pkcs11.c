/*
 * provider_pkcs11.c
 *		A root key that stays in a PKCS#11 token.
 *
 * The token's module is never loaded into the server.  A process of its own holds it
 * (bulwarkctl token-serve); it says at its start from what tickets' keys are derived,
 * and does what needs the key itself for whoever asks (token_client.c).  Here one is
 * started, asked, and ended; token_service.c keeps those that serve.
 */
#include "keyring/ring.h"

#include "common/common.h"
#include "common/token.h"
#include "miscadmin.h"

#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM		"/bulwarkctl"
#define FAREWELL_MS	500
#define FAREWELL_SLICE_MS 2
#define ANSWER_OK	"ok "
#define ANSWER_NO	"no "
#define ANSWER_PIN	"pin "

int			root_key_pkcs11_timeout = 10;

/* The program beside the server's own. */
static void
program_path(char path[MAXPGPATH])
{
	strlcpy(path, my_exec_path, MAXPGPATH);
	get_parent_directory(path);
	strlcat(path, PROGRAM, MAXPGPATH);
}

/* What the process answered: the key, or problem. */
static bool
parse_answer(const char *answer, Size len, uint8 root[ROOT_KEY_LEN], bool *pin_refused, char problem[PROBLEM_LEN])
{
	if (len > strlen(ANSWER_OK) && memcmp(answer, ANSWER_OK, strlen(ANSWER_OK)) == 0 &&
		bw_root_key_parse(answer + strlen(ANSWER_OK), len - strlen(ANSWER_OK), root))
		return true;

	*pin_refused = len > strlen(ANSWER_PIN) && memcmp(answer, ANSWER_PIN, strlen(ANSWER_PIN)) == 0;
	if (*pin_refused)
		snprintf(problem, PROBLEM_LEN, "%.*s", (int) (len - strlen(ANSWER_PIN) - 1), answer + strlen(ANSWER_PIN));
	else if (len > strlen(ANSWER_NO) && memcmp(answer, ANSWER_NO, strlen(ANSWER_NO)) == 0)
		snprintf(problem, PROBLEM_LEN, "%.*s", (int) (len - strlen(ANSWER_NO) - 1), answer + strlen(ANSWER_NO));
	else
		strlcpy(problem, "the process that holds the token gave an answer that is none", PROBLEM_LEN);
	return false;
}

bool
TokenBegin(const char *uri, int service, RunningCommand *run, uint8 root[ROOT_KEY_LEN],
		   bool *pin_refused, char problem[PROBLEM_LEN])
{
	char		path[MAXPGPATH];
	char		timeout[16];
	char		input[BW_TOKEN_URI_MAX + 1];
	char		output[BW_TOKEN_PROBLEM_MAX + 16];
	ShellCommand command = {
		.text = "exec \"$1\" token-serve \"$2\"",
		.arguments = {path, timeout},
		.input = input,
		.output = output,
		.output_cap = sizeof(output),
		.expected = "a line",
		.timeout = root_key_pkcs11_timeout,
		.service = service
	};
	bool		ok;

	*pin_refused = false;
	if (strlen(uri) >= BW_TOKEN_URI_MAX || strchr(uri, '\n') != NULL)
	{
		strlcpy(problem, "it is too long or has a newline", PROBLEM_LEN);
		return false;
	}
	program_path(path);
	snprintf(timeout, sizeof(timeout), "%d", root_key_pkcs11_timeout);
	command.input_len = (Size) snprintf(input, sizeof(input), "%s\n", uri);
	if (!CommandBegin(&command, run, problem))
		return false;

	ok = parse_answer(output, command.output_len, root, pin_refused, problem);
	bw_wipe(output, sizeof(output));
	if (!ok)
		TokenEnd(run);
	return ok;
}

/*
 * The end of its input is the end of the process, which logs out; one that does not
 * come to it is killed.
 */
void
TokenEnd(RunningCommand *run)
{
	(void) close(run->input);
	run->input = -1;
	for (int waited = 0; waited < FAREWELL_MS; waited += FAREWELL_SLICE_MS)
	{
		siginfo_t	info = {0};

		if (waitid(P_PID, (id_t) run->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == run->pid)
			break;
		pg_usleep(FAREWELL_SLICE_MS * 1000L);
	}
	(void) CommandEnd(run);
}

static bool
fetch(KeyringSlot slot, const char *uri, uint8 root[ROOT_KEY_LEN], char problem[PROBLEM_LEN])
{
	RunningCommand run;
	bool		pin_refused;
	bool		ok = TokenBegin(uri, 0, &run, root, &pin_refused, problem);

	if (ok)
		TokenEnd(&run);
	TokenServiceMayTry(slot, !pin_refused);
	return ok;
}

RootKeyProvider Pkcs11Provider = {
	.name = "pkcs11",
	.settings = {"bulwark.root_key_pkcs11", "bulwark.root_key_pkcs11_next"},
	.in_token = true,
	.fetch = fetch
};
