/*
 * component_command.c
 *		Components that a command keeps: any secret manager or KMS has one.
 *
 * bulwark.tenant_key_command is given a verb as $1 and the component's id, 32
 * hexadecimal digits, as $2:
 *		put			reads 64 hexadecimal digits from its standard input and keeps them;
 *					fails if there are any, or a tombstone, under that id
 *		get			prints them
 *		destroy		destroys them, in every version that it keeps
 *		tombstone	makes get and put of that id answer 4 from now on, for good
 * It exits with 0, with 3 if there is nothing under the id, with 4 if a tombstone is,
 * with anything else if it failed.
 */
#include "secrets/keys.h"

#include "utils/guc.h"

#include <sys/wait.h>

#define TEXT_LEN		(2 * COMPONENT_LEN)
#define EXIT_ABSENT		3
#define EXIT_DESTROYED	4

static char *command_setting;
static int	command_timeout = 10;

static bool
configured(void)
{
	return command_setting[0] != '\0';
}

static ComponentAnswer
answer_of(int result, const char *verb, char *problem)
{
	char	   *reason;

	if (WIFEXITED(result) && WEXITSTATUS(result) == 0)
		return COMPONENT_OK;
	if (WIFEXITED(result) && WEXITSTATUS(result) == EXIT_ABSENT)
		return COMPONENT_ABSENT;
	if (WIFEXITED(result) && WEXITSTATUS(result) == EXIT_DESTROYED)
		return COMPONENT_DESTROYED;
	reason = wait_result_to_str(result);
	snprintf(problem, COMPONENT_PROBLEM_LEN, "the command failed to %s: %s", verb, reason);
	pfree(reason);
	return COMPONENT_FAILED;
}

/* output: room for TEXT_LEN digits, a newline and one more that shows it is too much. */
static ComponentAnswer
run(const char *verb, const pg_uuid_t *id, const char *input, char output[TEXT_LEN + 2], Size *len, char *problem)
{
	char		name[COMPONENT_NAME_LEN + 1];
	ShellCommand command = {
		.text = command_setting,
		.arguments = {verb, name},
		.input = input,
		.input_len = input ? TEXT_LEN : 0,
		.output = output,
		.output_cap = TEXT_LEN + 2,
		.expected = "64 hexadecimal digits and a newline",
		.timeout = command_timeout
	};

	if (!configured())
	{
		strlcpy(problem, "bulwark.tenant_key_command is not set", COMPONENT_PROBLEM_LEN);
		return COMPONENT_FAILED;
	}
	ComponentName(id, name);
	if (!CommandRun(&command, problem))
		return COMPONENT_FAILED;
	*len = command.output_len;
	return answer_of(command.result, verb, problem);
}

static ComponentAnswer
put(const pg_uuid_t *id, const uint8 component[COMPONENT_LEN], char location[MAXPGPATH], char *problem)
{
	char		input[TEXT_LEN];
	char		output[TEXT_LEN + 2];
	Size		len;
	ComponentAnswer answer;

	location[0] = '\0';
	bw_hex_encode(component, COMPONENT_LEN, input);
	answer = run("put", id, input, output, &len, problem);
	bw_wipe(input, sizeof(input));
	bw_wipe(output, sizeof(output));
	if (answer == COMPONENT_ABSENT || answer == COMPONENT_DESTROYED)
		strlcpy(problem, "the command does not take a new component", COMPONENT_PROBLEM_LEN);
	return answer;
}

static ComponentAnswer
get(const pg_uuid_t *id, const char *location, uint8 component[COMPONENT_LEN], char *problem)
{
	char		output[TEXT_LEN + 2];
	Size		len;
	ComponentAnswer answer = run("get", id, NULL, output, &len, problem);

	if (answer == COMPONENT_OK && !bw_root_key_parse(output, len, component))
	{
		strlcpy(problem, "the command printed something other than 64 hexadecimal digits and at most one newline",
				COMPONENT_PROBLEM_LEN);
		answer = COMPONENT_FAILED;
	}
	bw_wipe(output, sizeof(output));
	return answer;
}

/*
 * The tombstone first: a component must not come back between the two.  None where
 * there is nothing, and was nothing: the command may look in another place.
 */
static ComponentAnswer
destroy(const pg_uuid_t *id, const char *location, bool lost, char *problem)
{
	char		output[TEXT_LEN + 2];
	Size		len;
	ComponentAnswer before = run("get", id, NULL, output, &len, problem);
	ComponentAnswer tombstone;
	ComponentAnswer answer;

	bw_wipe(output, sizeof(output));
	if (before == COMPONENT_FAILED || (before == COMPONENT_ABSENT && !lost))
		return before;
	tombstone = answer = run("tombstone", id, NULL, output, &len, problem);
	if (tombstone == COMPONENT_ABSENT)
	{
		strlcpy(problem, "the command left no tombstone", COMPONENT_PROBLEM_LEN);
		answer = COMPONENT_FAILED;
	}
	else if (tombstone != COMPONENT_FAILED)
		answer = run("destroy", id, NULL, output, &len, problem);
	bw_wipe(output, sizeof(output));
	return answer == COMPONENT_ABSENT && before == COMPONENT_DESTROYED ? COMPONENT_DESTROYED : answer;
}

const ComponentProvider ComponentCommand = {
	.name = "command",
	.configured = configured,
	.put = put,
	.get = get,
	.destroy = destroy
};

void
ComponentCommandInit(void)
{
	DefineCustomStringVariable("bulwark.tenant_key_command",
							   "Shell command that keeps the components of tenant keys: put, get, destroy or tombstone as $1, the component's id as $2.",
							   "Empty: they are kept in bulwark.tenant_key_directory.",
							   &command_setting, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY | GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	DefineCustomIntVariable("bulwark.tenant_key_command_timeout",
							"Time after which the command of tenant keys is stopped and has failed.",
							NULL, &command_timeout, 10, 1, 300,
							PGC_SIGHUP, GUC_UNIT_S | GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
}
