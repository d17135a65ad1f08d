/*
 * provider_command.c
 *		A root key from a shell command's standard output, within a time limit.
 */
#include "keyring/ring.h"

#include "common/common.h"

int			root_key_command_timeout = 10;

static bool
fetch(KeyringSlot slot, const char *text, uint8 key[ROOT_KEY_LEN], char problem[PROBLEM_LEN])
{
	char		output[BW_ROOT_KEY_TEXT_MAX + 1];	/* one more shows that it is too much */
	ShellCommand command = {
		.text = text,
		.output = output,
		.output_cap = sizeof(output),
		.expected = "64 hexadecimal digits and a newline",
		.timeout = root_key_command_timeout
	};
	bool		ok = false;

	if (!CommandRun(&command, problem))
		return false;
	if (command.result != 0)
	{
		char	   *reason = wait_result_to_str(command.result);

		snprintf(problem, PROBLEM_LEN, "the command failed: %s", reason);
		pfree(reason);
	}
	else if (!bw_root_key_parse(output, command.output_len, key))
		snprintf(problem, PROBLEM_LEN,
				 "the command printed something other than %d hexadecimal digits and at most one newline",
				 2 * ROOT_KEY_LEN);
	else
		ok = true;
	bw_wipe(output, sizeof(output));
	return ok;
}

RootKeyProvider CommandProvider = {
	.name = "command",
	.settings = {"bulwark.root_key_command", "bulwark.root_key_command_next"},
	.fetch = fetch
};
