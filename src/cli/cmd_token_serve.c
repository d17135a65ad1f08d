/*
 * cmd_token_serve.c
 *		bulwarkctl token-serve SECONDS: the process that holds a token for the server,
 *		which starts it and tells it the URI.
 *
 * A PKCS#11 module is somebody else's code, and some hang, crash, start threads or
 * cannot be forked.  Here it can: whatever happens, this process ends, by itself,
 * by an alarm or with the server's worker, and the server starts another.
 *
 *		0	the URI and a newline; then one byte, from which on requests are served;
 *			its end is ours
 *		1	what became of it, as common/token.h says
 *		3	requests
 */
#include "cli.h"
#include "token.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#define SERVICE_FD	3
#define LATER		5			/* seconds: who waits gives up first, and says why */

/* No core with keys in it, and no life without who started us. */
static void
guard_process(void)
{
	struct rlimit none = {0, 0};

	(void) setrlimit(RLIMIT_CORE, &none);
#ifdef __linux__
	(void) prctl(PR_SET_DUMPABLE, 0);
	(void) prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
}

/* Where we answer; standard output goes where errors go, for modules that print. */
static int
take_output(void)
{
	int			fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, SERVICE_FD + 1);

	if (fd >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		return -1;
	return fd;
}

static bool
read_uri(char uri[BW_TOKEN_URI_MAX])
{
	size_t		len = 0;

	while (len < BW_TOKEN_URI_MAX)
	{
		ssize_t		n = read(STDIN_FILENO, uri + len, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n != 1)
			return false;
		if (uri[len] == '\n')
		{
			uri[len] = '\0';
			return true;
		}
		len++;
	}
	return false;
}

/* --- the first answer ------------------------------------------------------------------- */

static bool
say_problem(int output, const char *kind, const char *problem)
{
	char		line[BW_TOKEN_PROBLEM_MAX + 8];
	int			len = snprintf(line, sizeof(line), "%s %s\n", kind, problem);

	for (int i = 0; i < len - 1; i++)
		if ((unsigned char) line[i] < ' ')
			line[i] = '?';
	return write_all(output, line, (size_t) len);
}

static bool
say_root(int output, const uint8_t root[BW_ROOT_KEY_LEN])
{
	char		line[3 + 2 * BW_ROOT_KEY_LEN + 1] = "ok ";
	bool		ok;

	bw_hex_encode(root, BW_ROOT_KEY_LEN, line + 3);
	line[sizeof(line) - 1] = '\n';
	ok = write_all(output, line, sizeof(line));
	bw_wipe(line, sizeof(line));
	return ok;
}

/* The token ready, with its answer given; NULL if it is not. */
static Token *
prepare(const char *text, int output, uint8_t id[BW_ROOT_KEY_ID_LEN])
{
	char		problem[BW_TOKEN_PROBLEM_MAX] = "";
	TokenUri	uri;
	Token	   *token = NULL;
	TokenFault	fault = TOKEN_BROKEN;
	uint8_t		root[BW_ROOT_KEY_LEN];
	bool		said = false;

	if (token_uri_parse(text, &uri, problem))
		fault = token_open(&uri, false, &token, problem);
	if (fault == TOKEN_FINE && !(token_find_key(token, &uri, problem) && token_root(token, root, problem)))
		fault = TOKEN_BROKEN;
	if (fault == TOKEN_FINE)
	{
		bw_root_key_id(root, id);
		said = say_root(output, root);
		bw_wipe(root, sizeof(root));
	}
	else
		(void) say_problem(output, fault == TOKEN_PIN_REFUSED ? "pin" : "no", problem);
	if (said)
		return token;
	token_close(token);
	return NULL;
}

/* --- requests --------------------------------------------------------------------------- */

/* A request and the descriptor that came with it, or -1; its length, 0 for none. */
static size_t
receive(bw_token_request *request, int *reply_fd)
{
	union
	{
		struct cmsghdr header;
		char		space[CMSG_SPACE(sizeof(int))];
	}			control;
	struct iovec data = {request, sizeof(*request)};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t		n = recvmsg(SERVICE_FD, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *header;

	*reply_fd = -1;
	if (n <= 0)
		return 0;
	header = CMSG_FIRSTHDR(&message);
	if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
		header->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(reply_fd, CMSG_DATA(header), sizeof(int));
	return (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 ? (size_t) n : 0;
}

/* The reply's length. */
static size_t
perform(Token *token, const uint8_t id[BW_ROOT_KEY_ID_LEN], const bw_token_request *request, size_t len, bw_token_reply *reply)
{
	const size_t head = offsetof(bw_token_request, text);
	size_t		text_len = len - head;
	char		problem[BW_TOKEN_PROBLEM_MAX];
	size_t		done_len = 0;
	bool		done = false;

	reply->answer = BW_TOKEN_REFUSED;
	if (len < head || request->protocol != BW_TOKEN_PROTOCOL)
		return 1;
	if (memcmp(request->key_id, id, BW_ROOT_KEY_ID_LEN) != 0)
	{
		reply->answer = BW_TOKEN_OTHER_KEY;
		return 1;
	}
	if (request->operation == BW_TOKEN_WRAP && text_len <= BW_TOKEN_TEXT_MAX)
	{
		done = token_wrap(token, request->ad, request->text, text_len, reply->text);
		done_len = BW_TOKEN_WRAPPED_LEN(text_len);
	}
	else if (request->operation == BW_TOKEN_UNWRAP && text_len >= BW_TOKEN_WRAPPED_LEN(0))
	{
		done = token_unwrap(token, request->ad, request->text, text_len, reply->text);
		done_len = text_len - BW_TOKEN_WRAPPED_LEN(0);
	}
	if (done)
	{
		reply->answer = BW_TOKEN_DONE;
		return 1 + done_len;
	}

	/* Modules disagree about the error for a wrong tag: the token itself says what it was. */
	if (!token_works(token, problem))
	{
		complain("%s", problem);
		reply->answer = BW_TOKEN_FAILED;
	}
	return 1;
}

/* False when the token does not work any more. */
static bool
serve_one(Token *token, const uint8_t id[BW_ROOT_KEY_ID_LEN], unsigned int seconds)
{
	bw_token_request request;
	bw_token_reply reply;
	int			reply_fd;
	size_t		len = receive(&request, &reply_fd);
	struct pollfd asker = {.fd = reply_fd};

	reply.answer = BW_TOKEN_REFUSED;
	/* who has given up asks for nothing any more */
	if (len > 0 && reply_fd >= 0 && poll(&asker, 1, 0) == 0)
	{
		(void) alarm(seconds + LATER);
		len = perform(token, id, &request, len, &reply);
		(void) alarm(0);
		(void) send(reply_fd, &reply, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	if (reply_fd >= 0)
		(void) close(reply_fd);
	bw_wipe(&request, sizeof(request));
	bw_wipe(&reply.text, sizeof(reply.text));
	return reply.answer != BW_TOKEN_FAILED;
}

static int
serve(Token *token, const uint8_t id[BW_ROOT_KEY_ID_LEN], unsigned int seconds)
{
	struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = -1, .events = POLLIN}};

	for (;;)
	{
		char		byte;

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return CLI_FAILED;
		if (fds[0].revents != 0)
		{
			if (read(STDIN_FILENO, &byte, 1) != 1)
				return CLI_OK;
			fds[1].fd = SERVICE_FD;
		}
		else if ((fds[1].revents & ~POLLIN) != 0)
			return CLI_FAILED;	/* nobody can ask any more */
		else if (fds[1].revents != 0 && !serve_one(token, id, seconds))
			return CLI_FAILED;
	}
}

int
cmd_token_serve(int argc, char **argv)
{
	long		seconds = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
	char		uri[BW_TOKEN_URI_MAX];
	uint8_t		id[BW_ROOT_KEY_ID_LEN];
	Token	   *token;
	int			output;
	int			result;

	if (seconds < 1 || seconds > 3600)
	{
		complain("token-serve is for the server, which starts it where \"bulwark.root_key_provider\" is pkcs11");
		return CLI_USAGE;
	}
	guard_process();
	(void) fcntl(SERVICE_FD, F_SETFD, FD_CLOEXEC);
	output = take_output();
	if (output < 0 || !read_uri(uri))
		return CLI_USAGE;

	(void) alarm((unsigned int) seconds + LATER);
	token = prepare(uri, output, id);
	(void) alarm(0);
	(void) close(output);
	if (token == NULL)
		return CLI_FAILED;
	result = serve(token, id, (unsigned int) seconds);
	(void) alarm((unsigned int) seconds);
	token_close(token);
	return result;
}
