/*
 * command.c
 *		A shell command with an input and an output, both small, within a time limit,
 *		or one that stays until it is ended.
 *
 * The command runs as PostgreSQL's other commands do: /bin/sh -c, the server's
 * user, environment and directory, its standard error in the server's log.  It
 * has a process group of its own, of which nothing is left when it has ended or
 * its time is up, and none of the server's file descriptors.
 */
#include "base/base.h"

#include "common/common.h"
#include "miscadmin.h"
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
#define SERVICE_FD	(STDERR_FILENO + 1)

/* Close all from there on; their possible number may be huge. */
static void
close_from(int first)
{
#ifdef SYS_close_range
	if (syscall(SYS_close_range, first, ~0U, 0) == 0)
		return;
#endif
	for (int fd = first; fd < sysconf(_SC_OPEN_MAX); fd++)
		(void) close(fd);
}

/* Leave the command one more descriptor, or none, besides the standard ones. */
static bool
pass_service(int service)
{
	if (service == 0)
	{
		close_from(SERVICE_FD);
		return true;
	}
	if (service == SERVICE_FD)
		(void) fcntl(service, F_SETFD, 0);
	else if (dup2(service, SERVICE_FD) < 0)
		return false;
	close_from(SERVICE_FD + 1);
	return true;
}

/* In the child: become the command.  Signals are blocked until it is clean. */
static void
exec_command(const ShellCommand *command, int input, int output)
{
	struct sigaction standard = {.sa_handler = SIG_DFL};
	sigset_t	none;

	(void) setpgid(0, 0);
	for (int sig = 1; sig < NSIG; sig++)
		(void) sigaction(sig, &standard, NULL);
	if (dup2(input, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 || !pass_service(command->service))
		_exit(126);
	sigemptyset(&none);
	(void) sigprocmask(SIG_SETMASK, &none, NULL);
	execl("/bin/sh", "sh", "-c", command->text, "bulwark", command->arguments[0], command->arguments[1], (char *) NULL);
	_exit(127);
}

static void
close_pair(const int fds[2])
{
	(void) close(fds[0]);
	(void) close(fds[1]);
}

/* Both pipes; what goes in is written at once, for it is less than a pipe holds. */
static bool
make_pipes(const ShellCommand *command, int in[2], int out[2], char *problem)
{
	if (pipe2(in, O_CLOEXEC) != 0)
	{
		snprintf(problem, COMMAND_PROBLEM_LEN, "could not create a pipe: %s", strerror(errno));
		return false;
	}
	if (pipe2(out, O_CLOEXEC) == 0)
	{
		(void) fcntl(in[1], F_SETFL, O_NONBLOCK);
		if (command->input_len == 0 ||
			write(in[1], command->input, command->input_len) == (ssize_t) command->input_len)
			return true;
		close_pair(out);
	}
	snprintf(problem, COMMAND_PROBLEM_LEN, "could not set up a pipe: %s", strerror(errno));
	close_pair(in);
	return false;
}

/* The input's other end is closed unless it is to stay. */
static bool
start_command(const ShellCommand *command, RunningCommand *run, bool stays, char *problem)
{
	int			in[2];
	int			out[2];
	sigset_t	all,
				saved;
	int			fork_errno;

	if (!make_pipes(command, in, out, problem))
		return false;

	sigfillset(&all);
	(void) sigprocmask(SIG_SETMASK, &all, &saved);
	run->pid = fork();
	if (run->pid == 0)
		exec_command(command, in[0], out[1]);
	fork_errno = errno;
	(void) sigprocmask(SIG_SETMASK, &saved, NULL);
	(void) close(in[0]);
	(void) close(out[1]);
	run->input = stays && run->pid >= 0 ? in[1] : -1;
	if (run->input < 0)
		(void) close(in[1]);
	if (run->pid < 0)
	{
		(void) close(out[0]);
		snprintf(problem, COMMAND_PROBLEM_LEN, "could not fork: %s", strerror(fork_errno));
		return false;
	}

	(void) setpgid(run->pid, run->pid);	/* whichever of the two is first */
	(void) fcntl(out[0], F_SETFL, O_NONBLOCK);
	run->output = out[0];
	INSTR_TIME_SET_CURRENT(run->started);
	return true;
}

/*
 * Wait a slice for output (fd) or only for time to pass (-1); false when the
 * time is up or the server is stopping.
 */
static bool
wait_slice(const ShellCommand *command, const RunningCommand *run, int fd, char *problem)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	instr_time	elapsed;

	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, run->started);
	if (INSTR_TIME_GET_DOUBLE(elapsed) >= command->timeout)
	{
		snprintf(problem, COMMAND_PROBLEM_LEN, "the command had not finished after %d s",
				 command->timeout);
		return false;
	}
	(void) poll(&pfd, 1, SLICE_MS);
	if (IsUnderPostmaster)
	{
		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending || !PostmasterIsAlive())
		{
			strlcpy(problem, "the server is stopping", COMMAND_PROBLEM_LEN);
			return false;
		}
	}
	return true;
}

/* Read standard output to its end, or to that of its first line. */
static bool
read_output(ShellCommand *command, const RunningCommand *run, bool one_line, char *problem)
{
	for (;;)
	{
		ssize_t		n = read(run->output, command->output + command->output_len,
							 command->output_cap - command->output_len);

		if (n == 0 && one_line)
		{
			strlcpy(problem, "the command ended without an answer", COMMAND_PROBLEM_LEN);
			return false;
		}
		if (n == 0)
			return true;
		if (n > 0)
		{
			command->output_len += (Size) n;
			if (one_line && command->output[command->output_len - 1] == '\n')
				return true;
			if (command->output_len < command->output_cap)
				continue;
			snprintf(problem, COMMAND_PROBLEM_LEN, "the command printed more than %s", command->expected);
			return false;
		}
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
		{
			snprintf(problem, COMMAND_PROBLEM_LEN, "could not read from the command: %s", strerror(errno));
			return false;
		}
		if (!wait_slice(command, run, run->output, problem))
			return false;
	}
}

/* Wait until the command has ended, leaving it to be reaped. */
static bool
await_end(const ShellCommand *command, const RunningCommand *run, char *problem)
{
	for (;;)
	{
		siginfo_t	info = {0};

		if (waitid(P_PID, (id_t) run->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 && errno != EINTR)
		{
			snprintf(problem, COMMAND_PROBLEM_LEN, "could not wait for the command: %s", strerror(errno));
			return false;
		}
		if (info.si_pid == run->pid)
			return true;
		if (!wait_slice(command, run, -1, problem))
			return false;
	}
}

/* End the whole group, then reap its leader: until then its number is not reused. */
int
CommandEnd(RunningCommand *run)
{
	int			result = -1;

	if (run->input >= 0)
		(void) close(run->input);
	(void) close(run->output);
	(void) kill(-run->pid, SIGKILL);
	while (waitpid(run->pid, &result, 0) < 0 && errno == EINTR)
		;
	return result;
}

bool
CommandRun(ShellCommand *command, char problem[COMMAND_PROBLEM_LEN])
{
	RunningCommand run;
	volatile bool ended = false;
	volatile int result = -1;

	command->output_len = 0;
	if (!start_command(command, &run, false, problem))
		return false;

	PG_TRY();
	{
		ended = read_output(command, &run, false, problem) && await_end(command, &run, problem);
	}
	PG_FINALLY();
	{
		result = CommandEnd(&run);
		if (!ended)
			bw_wipe(command->output, command->output_cap);
	}
	PG_END_TRY();

	command->result = result;
	return ended;
}

bool
CommandBegin(ShellCommand *command, RunningCommand *run, char problem[COMMAND_PROBLEM_LEN])
{
	volatile bool answered = false;

	command->output_len = 0;
	if (!start_command(command, run, true, problem))
		return false;

	PG_TRY();
	{
		answered = read_output(command, run, true, problem);
	}
	PG_FINALLY();
	{
		if (!answered)
		{
			(void) CommandEnd(run);
			bw_wipe(command->output, command->output_cap);
		}
	}
	PG_END_TRY();
	return answered;
}
