/*
 * cli.h
 *		bulwarkctl: a table of commands, each in a file of its own.
 */
#ifndef BULWARK_CLI_H
#define BULWARK_CLI_H

/* Exit codes: done, failed, called wrongly. */
#define CLI_OK		0
#define CLI_FAILED	1
#define CLI_USAGE	2

typedef struct Command
{
	const char *name;
	const char *arguments;
	const char *purpose;
	/* argv[0] is the command's name; returns the exit code. */
	int			(*run) (int argc, char **argv);
} Command;

extern const Command commands[];	/* ends with a NULL name */

extern int	cmd_help(int argc, char **argv);
extern int	cmd_keygen(int argc, char **argv);

/* "bulwarkctl: ..." on standard error. */
extern void complain(const char *format,...) __attribute__((format(printf, 1, 2)));

#endif							/* BULWARK_CLI_H */
