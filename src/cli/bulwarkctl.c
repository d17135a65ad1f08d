/*
 * bulwarkctl.c
 *		The command line: finds the command and runs it.
 */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const Command commands[] = {
	{"keygen", "FILE", "make a root key in a new file", cmd_keygen},
	{"token-keygen", "URI", "make a root key in a PKCS#11 token", cmd_token_keygen},
	{"token-id", "URI", "show the id of a token's root key, if the server can use it", cmd_token_id},
	{"token-serve", "SECONDS", "hold a token for the server, which starts this", cmd_token_serve},
	{"verify", "[OPTION...] [FILE]", "verify a ledger: an export, or a server's", cmd_verify},
	{"checkpoint", "[OPTION...]", "print a ledger's newest checkpoint, or keep it", cmd_checkpoint},
	{"help", "", "show this list", cmd_help},
	{NULL, NULL, NULL, NULL}
};

void
complain(const char *format,...)
{
	va_list		args;

	fputs("bulwarkctl: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

int
main(int argc, char **argv)
{
	if (argc < 2)
	{
		complain("a command is needed; \"bulwarkctl help\" lists them");
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0 && argc == 2)
	{
		puts("bulwarkctl " BULWARK_VERSION);
		return CLI_OK;
	}
	if (strcmp(argv[1], "--help") == 0)
		argv[1] = "help";
	for (const Command *command = commands; command->name != NULL; command++)
		if (strcmp(argv[1], command->name) == 0)
			return command->run(argc - 1, argv + 1);
	complain("\"%s\" is not a command; \"bulwarkctl help\" lists them", argv[1]);
	return CLI_USAGE;
}
