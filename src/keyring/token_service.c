/*
 * token_service.c
 *		The processes that hold tokens, one for each slot whose root key is in one:
 *		started, replaced and ended by the keyring's worker.
 *
 * Whoever needs a token's key asks through a socket that the postmaster has made
 * before its first child, so that it has no name, nobody else can reach it, and
 * requests wait in it while a process is replaced.  A process that has ended is
 * started again; not so where the token has refused the PIN, for most lock
 * themselves after a few tries: then a reload of the configuration is waited for.
 */
#include "keyring/ring.h"

#include "common/common.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define RETRY_MS	2000		/* after a failure */

enum
{
	END_ASKING,
	END_SERVING
};

typedef struct Service
{
	bool		running;
	RunningCommand run;
	uint8		id[ROOT_KEY_ID_LEN];
	char	   *uri;
	TimestampTz retry_at;
	bool		may_try;
} Service;

static int	sockets[KEYRING_SLOTS][2] = {{-1, -1}, {-1, -1}};
static Service services[KEYRING_SLOTS] = {{.may_try = true}, {.may_try = true}};

void
TokenServiceInit(void)
{
	for (int i = 0; i < KEYRING_SLOTS; i++)
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets[i]) != 0)
			ereport(FATAL,
					(errcode_for_socket_access(),
					 errmsg("could not make a socket for requests to tokens: %m")));
}

int
TokenServiceSocket(KeyringSlot slot)
{
	return sockets[slot][END_ASKING];
}

void
TokenServiceMayTry(KeyringSlot slot, bool may_try)
{
	services[slot].may_try = may_try;
}

static void
end_service(Service *service)
{
	if (!service->running)
		return;
	service->running = false;
	TokenEnd(&service->run);
}

/* Requests that nobody will answer: what they carry must not wait for ever. */
static void
drop_requests(KeyringSlot slot)
{
	union
	{
		struct cmsghdr header;
		char		space[CMSG_SPACE(sizeof(int))];
	}			control;
	char		byte;
	struct iovec data = {&byte, sizeof(byte)};

	for (;;)
	{
		struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
		struct cmsghdr *header;

		if (recvmsg(sockets[slot][END_SERVING], &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
			return;
		header = CMSG_FIRSTHDR(&message);
		if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		{
			int			fd;

			memcpy(&fd, CMSG_DATA(header), sizeof(fd));
			(void) close(fd);
		}
	}
}

/* Said once; whoever asks is told from then on, unless an older process still serves. */
static void
note_failure(KeyringSlot slot, const char *problem)
{
	Service    *service = &services[slot];
	char		hex[KEY_ID_HEX_LEN + 1];

	RingIdHex(service->id, hex);
	service->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
	if (service->running || RingTokenProblem(slot, problem))
		ereport(WARNING,
				(errmsg("bulwark has no access to the token with root key %s", hex),
				 errdetail_internal("%s", problem),
				 service->may_try ? 0 :
				 errhint("The PIN is not tried again until the server's configuration is reloaded.")));
}

/* Start a process for the slot's key; then, and only then, end the one before it. */
static void
start_service(KeyringSlot slot, const uint8 id[ROOT_KEY_ID_LEN], const char *uri)
{
	Service    *service = &services[slot];
	RunningCommand run;
	char		problem[PROBLEM_LEN] = "";
	uint8		root[ROOT_KEY_LEN];
	uint8		got[ROOT_KEY_ID_LEN];
	bool		pin_refused;
	bool		ok = TokenBegin(uri, sockets[slot][END_SERVING], &run, root, &pin_refused, problem);

	service->may_try = !pin_refused;
	memcpy(service->id, id, ROOT_KEY_ID_LEN);
	if (service->uri != NULL)
		pfree(service->uri);
	service->uri = MemoryContextStrdup(TopMemoryContext, uri);
	if (ok)
	{
		bw_root_key_id(root, got);
		bw_wipe(root, sizeof(root));
		ok = memcmp(got, id, sizeof(got)) == 0 && write(run.input, "g", 1) == 1;
		if (!ok)
		{
			TokenEnd(&run);
			strlcpy(problem, "another key is there under that name", PROBLEM_LEN);
		}
	}
	if (!ok)
	{
		if (!ShutdownRequestPending)
			note_failure(slot, problem);
		return;
	}
	end_service(service);
	service->run = run;
	service->running = true;
	service->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
	(void) RingTokenProblem(slot, "");
}

/* Has the process ended?  Its group goes with it. */
static void
look_after(KeyringSlot slot)
{
	Service    *service = &services[slot];
	siginfo_t	info = {0};

	if (!service->running || waitid(P_PID, (id_t) service->run.pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
		info.si_pid != service->run.pid)
		return;
	end_service(service);
	ereport(LOG,
			(errmsg("the process that holds bulwark's %s token has ended", slot == KEYRING_CURRENT ? "current" : "next")));
}

/*
 * Bring one slot's process in line with the ring and the setting (NULL: the slot is
 * configured to come from elsewhere).  Returns in how many milliseconds to call
 * again, -1 where nothing is to be done by itself.
 */
static long
keep_service(KeyringSlot slot, const char *uri)
{
	Service    *service = &services[slot];
	TimestampTz now = GetCurrentTimestamp();
	uint8		id[ROOT_KEY_ID_LEN];
	bool		same;

	look_after(slot);
	if (!RingTokenKey(slot, id))
	{
		end_service(service);
		drop_requests(slot);
		(void) RingTokenProblem(slot, "");
		return -1;
	}
	if (service->running && memcmp(service->id, id, ROOT_KEY_ID_LEN) != 0)
		end_service(service);
	same = uri == NULL ||
		(service->uri != NULL && memcmp(service->id, id, ROOT_KEY_ID_LEN) == 0 && strcmp(service->uri, uri) == 0);
	if (service->running && same)
		return -1;				/* also one whose key the ring has kept */
	if (uri == NULL || !service->may_try)
	{
		if (!service->running)
		{
			(void) RingTokenProblem(slot, uri == NULL ? "the configuration names no token" : "the token has refused the PIN");
			drop_requests(slot);
		}
		return -1;
	}
	if (same && service->retry_at > now)
		return TimestampDifferenceMilliseconds(now, service->retry_at) + 1;
	start_service(slot, id, uri);
	return service->running || !service->may_try ? -1 : RETRY_MS;
}

long
TokenServicesKeep(const char *const uris[KEYRING_SLOTS])
{
	long		next = -1;

	for (int slot = 0; slot < KEYRING_SLOTS; slot++)
	{
		long		ms = keep_service(slot, uris[slot]);

		if (ms >= 0)
			next = next < 0 ? ms : Min(next, ms);
	}
	return next;
}

void
TokenServicesEnd(int code, Datum arg)
{
	for (int slot = 0; slot < KEYRING_SLOTS; slot++)
		end_service(&services[slot]);
}
