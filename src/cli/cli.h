/*
 * cli.h
 *		bulwarkctl: a table of commands, each in a file of its own.
 */
#ifndef BULWARK_CLI_H
#define BULWARK_CLI_H

#include <stdbool.h>
#include <stddef.h>

/* Exit codes: done or verified, failed or problems found, called wrongly, could not read. */
#define CLI_OK			0
#define CLI_FAILED		1
#define CLI_USAGE		2
#define CLI_UNREADABLE	3

typedef struct Command
{
	const char *name;
	const char *arguments;
	const char *purpose;
	/* argv[0] is the command's name; returns the exit code. */
	int			(*run) (int argc, char **argv);
} Command;

extern const Command commands[];	/* ends with a NULL name */

extern int	cmd_checkpoint(int argc, char **argv);
extern int	cmd_help(int argc, char **argv);
extern int	cmd_keygen(int argc, char **argv);
extern int	cmd_token_id(int argc, char **argv);
extern int	cmd_token_keygen(int argc, char **argv);
extern int	cmd_token_serve(int argc, char **argv);
extern int	cmd_verify(int argc, char **argv);

/* "bulwarkctl: ..." on standard error. */
extern void complain(const char *format,...) __attribute__((format(printf, 1, 2)));

/* --- file.c -------------------------------------------------------------------- */

/* All of data; false with errno. */
extern bool write_all(int fd, const char *data, size_t len);
/* Make the name of a file durable; false with errno. */
extern bool sync_directory_of(const char *path);
/* A file of at most cap - 1 bytes, NUL-terminated: its length, or -1 and a complaint. */
extern long read_small_file(const char *path, char *buffer, size_t cap);
/* The same of a signed note, without the newlines that psql puts behind it. */
extern long read_note_file(const char *path, char *buffer, size_t cap);
/* A new file for everybody to read, whole on disk or not there; false with errno. */
extern bool write_new_file(const char *path, const char *data, size_t len);

#endif							/* BULWARK_CLI_H */
