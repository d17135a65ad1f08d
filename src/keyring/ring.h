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
	bool		(*fetch) (const char *source, uint8 key[ROOT_KEY_LEN],
						  char problem[PROBLEM_LEN]);
} RootKeyProvider;

extern RootKeyProvider FileProvider;
extern RootKeyProvider CommandProvider;
extern int	root_key_command_timeout;	/* seconds */

/* What was found for one slot, before the ring has judged it. */
typedef struct FetchedRoot
{
	const char *setting;		/* where it was looked for */
	bool		configured;
	bool		present;
	uint8		root[ROOT_KEY_LEN];
	uint8		id[ROOT_KEY_ID_LEN];
	char		problem[PROBLEM_LEN];	/* why it is configured but not present */
} FetchedRoot;

/* loader.c */
extern void LoaderInit(void);
extern void LoadRoots(void);

/* keyring.c */
extern bool RingCopy(KeyringSlot slot, uint8 id[ROOT_KEY_ID_LEN], uint8 root[ROOT_KEY_LEN]);
extern void RingUpdate(FetchedRoot fetched[KEYRING_SLOTS]);
/* Was the ring loaded under the configuration that this process started with? */
extern bool RingIsCurrent(void);
/* Which slot's root key new keys are wrapped by: the current one's, until a rotation
 * to the next one has begun. */
extern KeyringSlot RingWrapSlot(void);
extern void RingWrapWithNext(void);
BW_NORETURN extern void RaiseSealed(void);

/* wrap.c: under that slot's root key; false when it is empty, or on failure. */
extern bool WrapUnder(KeyringSlot slot, const uint8 *key, Size keylen, const void *context, Size contextlen,
					  uint8 *wrapped);
extern void RingIdHex(const uint8 id[ROOT_KEY_ID_LEN], char hex[KEY_ID_HEX_LEN + 1]);

#endif							/* BULWARK_RING_H */
