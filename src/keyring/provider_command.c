/*
 * provider_command.c
 *		A root key from a shell command's standard output, within a time limit.
 *
 * The command runs as PostgreSQL's other commands do: /bin/sh -c, the server's
 * user, environment and directory, its standard error in the server's log.  It
 * has a process group of its own, of which nothing is left when it has ended or
 * its time is up, and none of the server's file descriptors.
 */
#include "keyring/ring.h"

#include "common/common.h"
#include "portability/instr_time.h"
#include "postmaster/interrupt.h"
#include "storage/pmsignal.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLICE_MS	50			/* how long a wait goes without looking around */

typedef struct RunningCommand
{
	pid_t		pid;			/* also its process group */
	int			output;
	instr_time	started;
	char		text[BW_ROOT_KEY_TEXT_MAX + 1];	/* one more shows that it is too much */
	size_t		len;
} RunningCommand;

int			root_key_command_timeout = 10;

/* Close all but the three standard ones; their possible number may be huge. */
static void
close_inherited(void)
{
#ifdef SYS_close_range
	if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0) == 0)
		return;
#endif
	for (int fd = STDERR_FILENO + 1; fd < sysconf(_SC_OPEN_MAX); fd++)
		(void) close(fd);
}

/* In the child: become the command.  Signals are blocked until it is clean. */
static void
exec_command(const char *command, int output)
{
	struct sigaction standard = {.sa_handler = SIG_DFL};
	sigset_t	none;
	int			null = open("/dev/null", O_RDONLY);

	(void) setpgid(0, 0);
	for (int sig = 1; sig < NSIG; sig++)
		(void) sigaction(sig, &standard, NULL);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0)
		_exit(126);
	close_inherited();
	sigemptyset(&none);
	(void) sigprocmask(SIG_SETMASK, &none, NULL);
	execl("/bin/sh", "sh", "-c", command, (char *) NULL);
	_exit(127);
}

static bool
start_command(const char *command, RunningCommand *run, char problem[PROBLEM_LEN])
{
	int			fds[2];
	sigset_t	all,
				saved;
	int			fork_errno;

	if (pipe2(fds, O_CLOEXEC) != 0)
	{
		snprintf(problem, PROBLEM_LEN, "could not create a pipe: %s", strerror(errno));
		return false;
	}

	sigfillset(&all);
	(void) sigprocmask(SIG_SETMASK, &all, &saved);
	run->pid = fork();
	if (run->pid == 0)
		exec_command(command, fds[1]);
	fork_errno = errno;
	(void) sigprocmask(SIG_SETMASK, &saved, NULL);
	(void) close(fds[1]);
	if (run->pid < 0)
	{
		(void) close(fds[0]);
		snprintf(problem, PROBLEM_LEN, "could not fork: %s", strerror(fork_errno));
		return false;
	}

	(void) setpgid(run->pid, run->pid);	/* whichever of the two is first */
	(void) fcntl(fds[0], F_SETFL, O_NONBLOCK);
	run->output = fds[0];
	run->len = 0;
	INSTR_TIME_SET_CURRENT(run->started);
	return true;
}

/*
 * Wait a slice for output (fd) or only for time to pass (-1); false when the
 * time is up or the server is stopping.
 */
static bool
wait_slice(const RunningCommand *run, int fd, char problem[PROBLEM_LEN])
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	instr_time	elapsed;

	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, run->started);
	if (INSTR_TIME_GET_DOUBLE(elapsed) >= root_key_command_timeout)
	{
		snprintf(problem, PROBLEM_LEN, "the command had not finished after %d s",
				 root_key_command_timeout);
		return false;
	}
	(void) poll(&pfd, 1, SLICE_MS);
	if (IsUnderPostmaster)
	{
		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending || !PostmasterIsAlive())
		{
			strlcpy(problem, "the server is stopping", PROBLEM_LEN);
			return false;
		}
	}
	return true;
}

/* Read standard output to its end. */
static bool
read_output(RunningCommand *run, char problem[PROBLEM_LEN])
{
	for (;;)
	{
		ssize_t		n = read(run->output, run->text + run->len, sizeof(run->text) - run->len);

		if (n == 0)
			return true;
		if (n > 0)
		{
			run->len += (size_t) n;
			if (run->len < sizeof(run->text))
				continue;
			snprintf(problem, PROBLEM_LEN,
					 "the command printed more than %d hexadecimal digits and a newline",
					 2 * ROOT_KEY_LEN);
			return false;
		}
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
		{
			snprintf(problem, PROBLEM_LEN, "could not read from the command: %s", strerror(errno));
			return false;
		}
		if (!wait_slice(run, run->output, problem))
			return false;
	}
}

/* Wait until the command has ended, leaving it to be reaped. */
static bool
await_end(const RunningCommand *run, char problem[PROBLEM_LEN])
{
	for (;;)
	{
		siginfo_t	info = {0};

		if (waitid(P_PID, (id_t) run->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 && errno != EINTR)
		{
			snprintf(problem, PROBLEM_LEN, "could not wait for the command: %s", strerror(errno));
			return false;
		}
		if (info.si_pid == run->pid)
			return true;
		if (!wait_slice(run, -1, problem))
			return false;
	}
}

/* End the whole group, then reap its leader: until then its number is not reused. */
static int
stop_command(RunningCommand *run)
{
	int			result = -1;

	(void) close(run->output);
	(void) kill(-run->pid, SIGKILL);
	while (waitpid(run->pid, &result, 0) < 0 && errno == EINTR)
		;
	return result;
}

static bool
fetch(const char *command, uint8 key[ROOT_KEY_LEN], char problem[PROBLEM_LEN])
{
	RunningCommand run;
	volatile bool ended = false;
	volatile int result = -1;
	volatile bool ok = false;

	if (!start_command(command, &run, problem))
		return false;

	PG_TRY();
	{
		ended = read_output(&run, problem) && await_end(&run, problem);
	}
	PG_FINALLY();
	{
		result = stop_command(&run);
		if (!ended)
			bw_wipe(run.text, sizeof(run.text));
	}
	PG_END_TRY();

	if (!ended)
		return false;
	if (result != 0)
	{
		char	   *reason = wait_result_to_str(result);

		snprintf(problem, PROBLEM_LEN, "the command failed: %s", reason);
		pfree(reason);
	}
	else if (!bw_root_key_parse(run.text, run.len, key))
		snprintf(problem, PROBLEM_LEN,
				 "the command printed something other than %d hexadecimal digits and at most one newline",
				 2 * ROOT_KEY_LEN);
	else
		ok = true;
	bw_wipe(run.text, sizeof(run.text));
	return ok;
}

RootKeyProvider CommandProvider = {
	.name = "command",
	.settings = {"bulwark.root_key_command", "bulwark.root_key_command_next"},
	.fetch = fetch
};
