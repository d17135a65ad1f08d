/*
 * keys.h
 *		What the files about keys share; not for other rooms.
 */
#ifndef BULWARK_KEYS_H
#define BULWARK_KEYS_H

#include "secrets/secrets.h"

#include "keyring/keyring.h"
#include "lib/ilist.h"

/* --- component.c: the half of a key that is outside the database -------------- */
#define COMPONENT_LEN			32
#define COMPONENT_PROBLEM_LEN	256

typedef enum ComponentAnswer
{
	COMPONENT_OK,
	COMPONENT_ABSENT,			/* it never was there, or is lost */
	COMPONENT_DESTROYED,		/* its tombstone is there */
	COMPONENT_FAILED			/* problem says why; nothing that was read is in it */
} ComponentAnswer;

/*
 * Where components are kept.  put() returns when the component would survive a
 * crash, and refuses one that is there.  destroy() leaves a tombstone for good,
 * durable before the component goes; done again, it answers COMPONENT_DESTROYED.  One
 * that is not there and has no tombstone may be where we cannot look: COMPONENT_ABSENT,
 * and no tombstone, unless it is given up as lost.
 */
typedef struct ComponentProvider
{
	const char *name;
	bool		(*configured) (void);
	/* location: where, in the provider's own words; kept with the row, and looked at
	 * too should the settings have changed. */
	ComponentAnswer (*put) (const pg_uuid_t *id, const uint8 component[COMPONENT_LEN],
							char location[MAXPGPATH], char *problem);
	ComponentAnswer (*get) (const pg_uuid_t *id, const char *location,
							uint8 component[COMPONENT_LEN], char *problem);
	ComponentAnswer (*destroy) (const pg_uuid_t *id, const char *location, bool lost, char *problem);
	/* Its transaction has committed, or not; must not fail.  May be NULL. */
	void		(*settle) (const pg_uuid_t *id, const char *location);
	void		(*discard) (const pg_uuid_t *id, const char *location);
	/* Finish what crashes left: of the components that this database put before
	 * that time and has not settled, those in use are settled, others removed.
	 * The number of those removed.  May be NULL. */
	int64		(*sweep) (TimestampTz before, bool (*in_use) (const pg_uuid_t *id));
} ComponentProvider;

extern const ComponentProvider ComponentDirectory;
extern const ComponentProvider ComponentCommand;

#define COMPONENT_NAME_LEN	(2 * UUID_LEN)
extern void ComponentName(const pg_uuid_t *id, char name[COMPONENT_NAME_LEN + 1]);

extern void ComponentInit(void);
extern void ComponentDirectoryInit(void);
extern void ComponentCommandInit(void);
/* Where a component is kept: what a row says of it. */
typedef struct ComponentPlace
{
	pg_uuid_t	id;
	char		provider[NAMEDATALEN];
	char		location[MAXPGPATH];
} ComponentPlace;
/* Make and put a component; 55000. */
extern void ComponentMake(ComponentPlace *place, uint8 component[COMPONENT_LEN]);
/* Fetch it: true, or false if it is destroyed; 55000 for all else. */
extern bool ComponentFetch(const ComponentPlace *place, uint8 component[COMPONENT_LEN]);
/* What the provider answers to destroying it, in words; *done: it is, or it was not
 * there and is given up as lost. */
extern const char *ComponentDestroy(const ComponentPlace *place, bool lost, bool *done);
extern int64 ComponentSweep(TimestampTz before, bool (*in_use) (const pg_uuid_t *id));

/* --- tenant_key.c: rows, and keys made of them ---------------------------------- */
extern void TenantKeyInit(void);
#define TENANT_KEY_TABLE	"tenant_keys"
#define KEY_HALF_LEN		32	/* what a row wraps */

typedef enum KeyKind
{
	KEY_DATA = 'd', KEY_INDEX = 'i', KEY_BOX = 'b'
} KeyKind;

typedef enum KeyState
{
	KEY_ACTIVE = 'a', KEY_DECRYPT_ONLY = 'o', KEY_BELOW_MINIMUM = 'm', KEY_DESTROYED = 'x'
} KeyState;

typedef struct KeyRow
{
	pg_uuid_t	tenant_id;
	KeyKind		kind;
	int32		version;
	KeyState	state;
	pg_uuid_t	key_id;
	ComponentPlace component;
	bool		has_wrapped;
	uint8		wrapped[WRAPPED_KEY_LEN(KEY_HALF_LEN)];
} KeyRow;

/* What is bound with a wrapped half: it opens as no other tenant's, kind's or version's. */
#define KEY_CONTEXT_LEN		(22 + 1 + 4 + 2 * UUID_LEN)
extern void TenantKeyContext(const KeyRow *row, uint8 context[KEY_CONTEXT_LEN]);

/* Rows of the table, of a tenant or all; return false to stop. */
typedef bool (*KeyRowVisitor) (const KeyRow *row, void *arg);
extern void TenantKeyScan(const pg_uuid_t *tenant_id, KeyRowVisitor visit, void *arg);

/* Changes of a tenant's keys come one after the other, until the transaction ends. */
extern void TenantKeysLock(const pg_uuid_t *tenant_id);
/* The same where it can be had at once. */
extern bool TenantKeysTryLock(const pg_uuid_t *tenant_id);
/* The same for whoever administers them: 55P03 where another stays in the way. */
extern void TenantKeysLockBounded(const pg_uuid_t *tenant_id);
/* A new active key of that kind; the caller holds the lock, and has retired the
 * one before.  fresh: with a component of its own.  Its version. */
extern int32 TenantKeyMake(const pg_uuid_t *tenant_id, KeyKind kind, bool fresh);
/* 42704 no such tenant; 55000 suspended, or its keys are destroyed or about to be. */
extern void TenantRequireUsable(const pg_uuid_t *tenant_id);

/* --- key_cache.c: keys that this back end has opened ------------------------------ */
typedef struct CachedKey
{
	dlist_node	used;			/* the latest first */
	bool		active;
	KeyKind		kind;
	uint64		tenants_seen;	/* when its tenant was last looked at */
	TenantKey	key;
	union
	{
		bw_envelope_key data;
		bw_hmac_key index;
		struct
		{
			uint8		public_key[crypto_box_PUBLICKEYBYTES];
			uint8		secret_key[crypto_box_SECRETKEYBYTES];
		}			box;
	}			u;
} CachedKey;

extern void KeyCacheInit(void);
/* Both NULL where it is not there; valid until the next of these calls. */
extern CachedKey *KeyCacheById(const uint8 key_id[BW_ENVELOPE_KEY_ID_LEN]);
extern CachedKey *KeyCacheActive(const pg_uuid_t *tenant_id, KeyKind kind);
/* Room for one; empty, and not found until it is added. */
extern CachedKey *KeyCacheRoom(void);
extern void KeyCacheAdd(CachedKey *key);
/* When what is known of tenants was last out of date. */
extern uint64 KeyCacheTenants(void);
/* Throw away every key here, and in all back ends now, committed or not. */
extern void KeyCacheForget(void);
extern void KeyCacheForgetEverywhere(void);

/* --- key_admin.c, key_destroy.c: what bulwark_keys does ---------------------------- */
extern void KeyAdminInit(void);
extern void TenantKeysUpkeep(void);
/* 42704 no such tenant; its slug, palloc'd. Inside a trusted scope. */
extern char *TenantSlug(const pg_uuid_t *tenant_id);

/* --- envelope.c ------------------------------------------------------------------- */
extern void EnvelopeInit(void);

#endif							/* BULWARK_KEYS_H */
