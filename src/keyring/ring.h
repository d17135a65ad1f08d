/*
 * ring.h
 *		What the files of this room share; not for other rooms.
 */
#ifndef BULWARK_RING_H
#define BULWARK_RING_H

#include "keyring/keyring.h"

#define KEY_ID_HEX_LEN	(2 * ROOT_KEY_ID_LEN)
#define PROBLEM_LEN		COMMAND_PROBLEM_LEN

/*
 * A provider knows how to get a root key from outside: one setting a slot says
 * from where.  fetch() returns true with the key, or false with the problem in
 * words that hold nothing of what was read.  It runs in the postmaster at
 * start-up and in the keyring worker later, never in a back end.
 */
typedef struct RootKeyProvider
{
	const char *name;
	const char *settings[KEYRING_SLOTS];
	char	   *sources[KEYRING_SLOTS];	/* the settings' values, "" when unset */
	/* The key stays in a token: what is fetched only serves to derive from, and keys
	 * are wrapped and unwrapped by the token. */
	bool		in_token;
	bool		(*fetch) (KeyringSlot slot, const char *source, uint8 key[ROOT_KEY_LEN],
						  char problem[PROBLEM_LEN]);
} RootKeyProvider;

extern RootKeyProvider FileProvider;
extern RootKeyProvider CommandProvider;
extern RootKeyProvider Pkcs11Provider;
extern int	root_key_command_timeout;	/* seconds */
extern int	root_key_pkcs11_timeout;	/* seconds */

/* What was found for one slot, before the ring has judged it. */
typedef struct FetchedRoot
{
	const char *setting;		/* where it was looked for */
	bool		configured;
	bool		present;
	bool		in_token;
	uint8		root[ROOT_KEY_LEN];
	uint8		id[ROOT_KEY_ID_LEN];
	char		problem[PROBLEM_LEN];	/* why it is configured but not present */
} FetchedRoot;

/* loader.c */
extern void LoaderInit(void);
extern void LoadRoots(void);

/* keyring.c */
/* Where the key is in a token, root is what the token gives to derive from. */
extern bool RingCopy(KeyringSlot slot, uint8 id[ROOT_KEY_ID_LEN], uint8 root[ROOT_KEY_LEN], bool *in_token);
extern void RingUpdate(FetchedRoot fetched[KEYRING_SLOTS]);
/* Was the ring loaded under the configuration that this process started with? */
extern bool RingIsCurrent(void);
/* Which slot's root key new keys are wrapped by: the current one's, until a rotation
 * to the next one has begun. */
extern KeyringSlot RingWrapSlot(void);
extern void RingWrapWithNext(void);
BW_NORETURN extern void RaiseSealed(void);
/* Is the slot's key in a token, and which is it? */
extern bool RingTokenKey(KeyringSlot slot, uint8 id[ROOT_KEY_ID_LEN]);
/* Why the slot's token cannot be used at present, "" if nothing is known; true when
 * that has changed. */
extern bool RingTokenProblem(KeyringSlot slot, const char *problem);
/* The slot whose key that is; the problem, if any.  False: in none any more. */
extern bool RingTokenFind(const uint8 id[ROOT_KEY_ID_LEN], KeyringSlot *slot, char problem[PROBLEM_LEN]);

/* wrap.c: under that slot's root key; false when it is empty, or on failure. */
extern bool WrapUnder(KeyringSlot slot, const uint8 *key, Size keylen, const void *context, Size contextlen,
					  uint8 *wrapped);
extern void RingIdHex(const uint8 id[ROOT_KEY_ID_LEN], char hex[KEY_ID_HEX_LEN + 1]);


/* provider_pkcs11.c: start the process that holds a token; root is what it answers. */
extern bool TokenBegin(const char *uri, int service, RunningCommand *run, uint8 root[ROOT_KEY_LEN],
					   bool *pin_refused, char problem[PROBLEM_LEN]);
extern void TokenEnd(RunningCommand *run);

/* token_service.c */
extern void TokenServiceInit(void);
extern void TokenServiceMayTry(KeyringSlot slot, bool may_try);
extern long TokenServicesKeep(const char *const uris[KEYRING_SLOTS]);
extern void TokenServicesEnd(int code, Datum arg);
/* Where to ask. */
extern int	TokenServiceSocket(KeyringSlot slot);

/*
 * token_client.c: have the token that holds the root key with that id wrap or unwrap
 * (bw_token_operation).  False: it does not open.  55000 where no token answers.
 */
extern bool TokenAsk(char operation, const uint8 id[ROOT_KEY_ID_LEN], const uint8 *ad,
					 const uint8 *text, Size len, uint8 *result, Size result_len);

#endif							/* BULWARK_RING_H */
