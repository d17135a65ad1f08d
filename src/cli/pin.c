/*
 * pin.c
 *		A token's PIN, under the rules that a root key's file and command have.
 */
#include "token.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEXT_MAX	(PIN_MAX + 2)	/* a newline, and one more shows that it is too much */

static bool
file_acceptable(int fd, char *problem)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		snprintf(problem, BW_TOKEN_PROBLEM_MAX, "could not stat the PIN's file: %s", strerror(errno));
	else if (!S_ISREG(st.st_mode))
		strcpy(problem, "the PIN's file is not a regular file");
	else if (st.st_uid != geteuid())
		strcpy(problem, "the PIN's file is not owned by the server's user");
	else if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		snprintf(problem, BW_TOKEN_PROBLEM_MAX,
				 "the PIN's file has permissions for group or others (mode %04o, 0600 or less is needed)",
				 (unsigned int) (st.st_mode & 07777));
	else
		return true;
	return false;
}

static long
read_file(const char *path, char *text, char *problem)
{
	long		len = -1;
	int			fd;

	/* O_NONBLOCK: opening a FIFO must not wait for its writer. */
	do
		fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
	{
		snprintf(problem, BW_TOKEN_PROBLEM_MAX, "could not open the PIN's file: %s",
				 errno == ELOOP ? "it is a symbolic link" : strerror(errno));
		return -1;
	}
	if (file_acceptable(fd, problem))
	{
		len = bw_read_all(fd, text, TEXT_MAX);
		if (len < 0)
			snprintf(problem, BW_TOKEN_PROBLEM_MAX, "could not read the PIN's file: %s", strerror(errno));
	}
	close(fd);
	return len;
}

/* Who runs us has a time limit for it, and ends it with us. */
static long
read_command(const char *command, char *text, char *problem)
{
	int			out[2];
	int			status = -1;
	long		len;
	pid_t		pid;

	if (pipe2(out, O_CLOEXEC) != 0 || (pid = fork()) < 0)
	{
		snprintf(problem, BW_TOKEN_PROBLEM_MAX, "could not run the PIN's command: %s", strerror(errno));
		return -1;
	}
	if (pid == 0)
	{
		int			null = open("/dev/null", O_RDONLY);

		if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out[1], STDOUT_FILENO) < 0)
			_exit(126);
		execl("/bin/sh", "sh", "-c", command, (char *) NULL);
		_exit(127);
	}
	close(out[1]);
	len = bw_read_all(out[0], text, TEXT_MAX);
	close(out[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (len >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return len;
	if (WIFEXITED(status))
		snprintf(problem, BW_TOKEN_PROBLEM_MAX, "the PIN's command failed with exit code %d", WEXITSTATUS(status));
	else
		strcpy(problem, "the PIN's command failed");
	return -1;
}

long
pin_read(const char *source, char pin[PIN_MAX + 1], char problem[BW_TOKEN_PROBLEM_MAX])
{
	char		text[TEXT_MAX];
	long		len = source[0] == '|' ? read_command(source + 1, text, problem) : read_file(source, text, problem);
	bool		ok;

	if (len < 0)
	{
		bw_wipe(text, sizeof(text));
		return -1;
	}
	if (len > 0 && text[len - 1] == '\n')
		len--;
	ok = len > 0 && len <= PIN_MAX &&
		memchr(text, '\n', (size_t) len) == NULL && memchr(text, '\0', (size_t) len) == NULL;
	if (ok)
	{
		memcpy(pin, text, (size_t) len);
		pin[len] = '\0';
	}
	else
		snprintf(problem, BW_TOKEN_PROBLEM_MAX, "the PIN's source gives something other than one line of 1 to %d bytes", PIN_MAX);
	bw_wipe(text, sizeof(text));
	return ok ? len : -1;
}
