/*
 * token_client.c
 *		What any process of the server asks of the token that holds a root key.
 *
 * A request goes through the socket of the key's slot, and with it one end of a
 * socket pair to which the answer comes: so answers reach who asked, and whoever
 * stops waiting leaves nothing behind.  While the process that serves is replaced,
 * requests wait; they are sent again where it had another key or ended over them.
 */
#include "keyring/ring.h"

#include "common/common.h"
#include "common/token.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include <sys/socket.h>
#include <unistd.h>

#define SLICE_MS		100		/* how long a wait goes without looking around */
#define PAUSE_MS		20		/* before asking again */
#define ENDINGS_MAX		3		/* processes that may end over a request */

typedef enum Outcome
{
	ANSWERED,
	ASK_AGAIN,					/* the ring has changed, or the process had another key */
	ENDED,						/* the process ended over it */
	TIMED_OUT
} Outcome;

typedef struct Asking
{
	TimestampTz deadline;
	bw_token_request request;
	Size		request_len;
	bw_token_reply reply;
	Size		reply_len;
} Asking;

/* Wait a slice, or until the descriptor is ready (-1: only a slice); false past the deadline. */
static bool
wait_slice(const Asking *asking, int fd, int events, long ms)
{
	int			wake = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH;
	int			got = fd >= 0 ? WaitLatchOrSocket(MyLatch, wake | events, fd, ms, PG_WAIT_EXTENSION) :
		WaitLatch(MyLatch, wake, ms, PG_WAIT_EXTENSION);

	if ((got & WL_LATCH_SET) != 0)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return GetCurrentTimestamp() < asking->deadline;
}

/* 1 sent, 0 no room, -1 with errno. */
static int
send_request(int service, const Asking *asking, int reply_fd)
{
	union
	{
		struct cmsghdr header;
		char		space[CMSG_SPACE(sizeof(int))];
	}			control = {0};
	struct iovec data = {(void *) &asking->request, asking->request_len};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &reply_fd, sizeof(int));
	if (sendmsg(service, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 1;
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ETOOMANYREFS || errno == ENOBUFS ? 0 : -1;
}

/* Send, then wait for the answer; pair[1] is closed once it is the other side's alone. */
static Outcome
exchange(int service, Asking *asking, int pair[2])
{
	uint64		generation = KeyringGeneration();
	int			sent;

	while ((sent = send_request(service, asking, pair[1])) == 0)
		if (!wait_slice(asking, service, WL_SOCKET_WRITEABLE, SLICE_MS))
			return TIMED_OUT;
	if (sent < 0)
		ereport(ERROR,
				(errcode_for_socket_access(),
				 errmsg("could not ask the token: %m")));
	(void) close(pair[1]);
	pair[1] = -1;

	for (;;)
	{
		ssize_t		n = recv(pair[0], &asking->reply, sizeof(asking->reply), MSG_DONTWAIT);

		if (n > 0)
		{
			asking->reply_len = (Size) n;
			return asking->reply.answer == BW_TOKEN_OTHER_KEY ? ASK_AGAIN :
				asking->reply.answer == BW_TOKEN_FAILED ? ENDED : ANSWERED;
		}
		if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
			return ENDED;
		if (!wait_slice(asking, pair[0], WL_SOCKET_READABLE, SLICE_MS))
			return TIMED_OUT;
		if (KeyringGeneration() != generation)
			return ASK_AGAIN;
	}
}

static Outcome
ask_once(int service, Asking *asking)
{
	volatile Outcome outcome = ENDED;
	int			pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
		ereport(ERROR,
				(errcode_for_socket_access(),
				 errmsg("could not make a socket: %m")));
	PG_TRY();
	{
		outcome = exchange(service, asking, pair);
	}
	PG_FINALLY();
	{
		(void) close(pair[0]);
		if (pair[1] >= 0)
			(void) close(pair[1]);
	}
	PG_END_TRY();
	return outcome;
}

BW_NORETURN static void
raise_no_answer(const uint8 id[ROOT_KEY_ID_LEN], const char *why)
{
	char		hex[KEY_ID_HEX_LEN + 1];

	RingIdHex(id, hex);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the token that holds root key %s does not answer", hex),
			 errdetail_log("%s", why),
			 errhint("The server log and bulwark.keyring_status() say what is wrong with it.")));
}

/* Ask until there is an answer. */
static void
ask(const uint8 id[ROOT_KEY_ID_LEN], Asking *asking)
{
	int			endings = 0;
	KeyringSlot slot;
	char		problem[PROBLEM_LEN];

	for (;;)
	{
		if (!RingTokenFind(id, &slot, problem))
			raise_no_answer(id, "The server's configuration does not name it any more.");
		if (problem[0] != '\0')
			raise_no_answer(id, problem);
		switch (ask_once(TokenServiceSocket(slot), asking))
		{
			case ANSWERED:
				return;
			case TIMED_OUT:
				raise_no_answer(id, "Its time was up.");
			case ENDED:
				if (++endings >= ENDINGS_MAX)
					raise_no_answer(id, "The process that holds it has ended over this several times.");
				break;
			case ASK_AGAIN:
				break;
		}
		if (!wait_slice(asking, -1, 0, PAUSE_MS))
			raise_no_answer(id, "Its time was up.");
	}
}

bool
TokenAsk(char operation, const uint8 id[ROOT_KEY_ID_LEN], const uint8 *ad,
		 const uint8 *text, Size len, uint8 *result, Size result_len)
{
	MemoryContext context;
	Asking	   *asking;
	bool		done;

	if (len > sizeof(asking->request.text) || result_len > sizeof(asking->reply.text))
		return false;
	context = AllocSetContextCreate(CurrentMemoryContext, "bulwark token", ALLOCSET_SMALL_SIZES);
	asking = SecretAlloc(context, sizeof(*asking));
	asking->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 1000 * (int64) root_key_pkcs11_timeout);
	asking->request.protocol = BW_TOKEN_PROTOCOL;
	asking->request.operation = (uint8) operation;
	memcpy(asking->request.key_id, id, ROOT_KEY_ID_LEN);
	memcpy(asking->request.ad, ad, BW_SHA256_LEN);
	memcpy(asking->request.text, text, len);
	asking->request_len = offsetof(bw_token_request, text) + len;

	ask(id, asking);
	done = asking->reply.answer == BW_TOKEN_DONE &&
		asking->reply_len == offsetof(bw_token_reply, text) + result_len;
	if (done)
		memcpy(result, asking->reply.text, result_len);
	MemoryContextDelete(context);	/* wiped */
	return done;
}
