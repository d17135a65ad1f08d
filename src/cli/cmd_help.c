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
		printf("  %-12s %-18s %s\n", command->name, command->arguments, command->purpose);
	puts("\n\"bulwarkctl COMMAND --help\" lists the options of a command.\n"
		 "Exit status: 0 done, 1 failed, 2 called wrongly, 3 could not read.");
	return CLI_OK;
}
