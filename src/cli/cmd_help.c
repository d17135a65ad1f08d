/*
 * cmd_help.c
 *		bulwarkctl help
 */
#include "cli.h"

#include <stdio.h>

int
cmd_help(int argc, char **argv)
{
	(void) argv;
	if (argc != 1)
	{
		complain("help takes no argument");
		return CLI_USAGE;
	}
	puts("Usage: bulwarkctl COMMAND [ARGUMENT...]\n"
		 "       bulwarkctl --version\n");
	for (const Command *command = commands; command->name != NULL; command++)
		printf("  %-8s %-6s %s\n", command->name, command->arguments, command->purpose);
	puts("\nExit status: 0 done, 1 failed, 2 called wrongly.");
	return CLI_OK;
}
