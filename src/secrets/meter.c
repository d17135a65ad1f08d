/*
 * meter.c
 *		How often a secret may be used: token buckets in shared memory, of
 *		principals, of logins (all their principals together) and of credentials.
 *
 *		Memory is fixed.  A bucket makes room for another only once it is full
 *		again, when a new one would say the same, so nobody gains by pushing others
 *		out.  Those for whom there is no room share one bucket: under a flood of
 *		names they are slowed together.  Time is the monotonic clock, which nobody
 *		sets ahead.
 */
#include "secrets/use.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/guc.h"

#define METER_PIECE		"bulwark secret meter"
#define SETS			1024
#define WAYS			8
#define LOGIN_FACTOR	20		/* a login's limit is that of so many principals */
#define LEASE_MAX		128
#define USECS			1000000.0

typedef enum Whose
{
	OF_PRINCIPAL, OF_LOGIN, OF_CREDENTIAL, OF_OTHERS
} Whose;

typedef enum MeterLimit
{
	LIMIT_USE, LIMIT_INDEX, LIMIT_DATA
} MeterLimit;
#define LIMITS (LIMIT_DATA + 1)

typedef struct BucketKey
{
	Oid			database;		/* InvalidOid: a login, which is the cluster's */
	uint16		whose;
	uint16		limit;
	pg_uuid_t	id;
} BucketKey;

typedef struct Bucket
{
	BucketKey	key;
	bool		used;
	bool		alarmed;		/* of this episode */
	int64		filled_at;		/* microseconds */
	double		tokens;
} Bucket;

typedef struct Meter
{
	uint64		seed;
	Bucket		others[LIMITS];
	Bucket		sets[SETS][WAYS];
} Meter;

static Meter *meter = NULL;

static int	use_rate = 100;
static int	use_burst = 1000;
static int	index_rate = 10000;
static int	index_burst = 1000000;
static int	data_rate = 0;
static int	data_burst = 1000000;

/* --- buckets --------------------------------------------------------------------- */

static int64
now_usec(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

static double
of_whom(const BucketKey *key, int limit)
{
	return key->whose == OF_LOGIN ? (double) limit * LOGIN_FACTOR : limit;
}

static double
rate_of(const BucketKey *key)
{
	return of_whom(key, key->limit == LIMIT_USE ? use_rate : key->limit == LIMIT_INDEX ? index_rate : data_rate);
}

static double
burst_of(const BucketKey *key)
{
	return of_whom(key, key->limit == LIMIT_USE ? use_burst : key->limit == LIMIT_INDEX ? index_burst : data_burst);
}

/* Half full again: an episode is over. */
static void
fill(Bucket *bucket, int64 now)
{
	double		burst = burst_of(&bucket->key);

	if (now > bucket->filled_at)
	{
		bucket->tokens += (now - bucket->filled_at) / USECS * rate_of(&bucket->key);
		bucket->filled_at = now;
	}
	bucket->tokens = Min(bucket->tokens, burst);
	if (bucket->tokens >= burst / 2)
		bucket->alarmed = false;
}

static void
start(Bucket *bucket, const BucketKey *key, int64 now)
{
	bucket->key = *key;
	bucket->used = true;
	bucket->alarmed = false;
	bucket->filled_at = now;
	bucket->tokens = burst_of(key);
}

static Bucket *
find_others(MeterLimit limit, int64 now)
{
	BucketKey	key;
	Bucket	   *bucket = &meter->others[limit];

	memset(&key, 0, sizeof(key));
	key.whose = OF_OTHERS;
	key.limit = limit;
	if (!bucket->used)
		start(bucket, &key, now);
	return bucket;
}

/* The bucket, filled to date; the lock is held. */
static Bucket *
find_bucket(const BucketKey *key, int64 now)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) key, sizeof(*key), meter->seed);
	Bucket	   *set = meter->sets[hash % SETS];
	Bucket	   *room = NULL;

	for (int i = 0; i < WAYS; i++)
	{
		if (set[i].used && memcmp(&set[i].key, key, sizeof(*key)) == 0)
		{
			fill(&set[i], now);
			return &set[i];
		}
		if (room != NULL)
			continue;
		if (set[i].used)
			fill(&set[i], now);
		if (!set[i].used || set[i].tokens >= burst_of(&set[i].key))
			room = &set[i];
	}
	if (room == NULL)
	{
		room = find_others(key->limit, now);
		fill(room, now);
	}
	else
		start(room, key, now);
	return room;
}

/* --- taking ------------------------------------------------------------------------ */

static BucketKey
key_for(Whose whose, MeterLimit limit, const void *id, Size len)
{
	BucketKey	key;

	memset(&key, 0, sizeof(key));
	key.database = whose == OF_LOGIN ? InvalidOid : MyDatabaseId;
	key.whose = whose;
	key.limit = limit;
	memcpy(key.id.data, id, len);
	return key;
}

static int
keys_of(MeterLimit limit, const pg_uuid_t *credential_id, BucketKey keys[3])
{
	const EffectiveIdentity *current = IdentityPeek();
	Oid			login = OidIsValid(MyProc->roleId) ? MyProc->roleId : GetSessionUserId();
	int			n = 0;

	keys[n++] = key_for(OF_LOGIN, limit, &login, sizeof(login));
	if (current != NULL)
		keys[n++] = key_for(OF_PRINCIPAL, limit, &current->identity.principal_id, UUID_LEN);
	if (credential_id != NULL)
		keys[n++] = key_for(OF_CREDENTIAL, limit, credential_id, UUID_LEN);
	return n;
}

static const char *
whose_name(Whose whose)
{
	switch (whose)
	{
		case OF_PRINCIPAL:
			return "principal";
		case OF_LOGIN:
			return "login";
		case OF_CREDENTIAL:
			return "credential";
		case OF_OTHERS:
			break;
	}
	return "others";
}

/* What was found empty. */
typedef struct Empty
{
	BucketKey	key;
	bool		alarm;			/* the first time of this episode */
} Empty;

/*
 * Take up to wanted tokens, as many from each bucket, and say how many; 0: one
 * of them is empty, and nothing is taken from any.
 */
static int
take(const BucketKey *keys, int nkeys, int wanted, Empty *empty)
{
	LWLock	   *lock = ShmemPieceLock(METER_PIECE);
	int64		now = now_usec();
	int			n = wanted;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < nkeys && n > 0; i++)
	{
		Bucket	   *bucket = find_bucket(&keys[i], now);

		if (bucket->tokens < 1)
		{
			empty->key = bucket->key;
			empty->alarm = !bucket->alarmed;
			bucket->alarmed = true;
			n = 0;
		}
		else
			n = (int) Min(bucket->tokens, (double) n);
	}
	/* a full one may have made room for the next meanwhile: find them again */
	for (int i = 0; i < nkeys && n > 0; i++)
		find_bucket(&keys[i], now)->tokens -= n;
	LWLockRelease(lock);
	return n;
}

const char *
SecretOperationName(SecretOperation operation)
{
	switch (operation)
	{
		case SECRET_DECRYPT:
			return "decrypt";
		case SECRET_HMAC_SIGN:
			return "hmac_sign";
		case SECRET_BLIND_INDEX:
			break;
	}
	return "blind_index";
}

BW_NORETURN static void
refuse(SecretOperation operation, const Empty *empty, const pg_uuid_t *credential_id)
{
	const char *whose = whose_name(empty->key.whose);
	double		rate = rate_of(&empty->key);
	double		burst = burst_of(&empty->key);
	AuditEvent	event = {
		.action = "alarm",
		.entity_type = empty->key.whose == OF_CREDENTIAL ? "credential" : "secret",
		.entity_id = empty->key.whose == OF_CREDENTIAL ? UuidText(credential_id) : NULL,
		.durability = AUDIT_SURVIVES,
	};

	if (empty->alarm)
	{
		event.detail = AuditDetail("alarm", "rate", "operation", SecretOperationName(operation),
								   "limit_of", whose, "login", GetUserNameFromId(GetSessionUserId(), true), NULL);
		AuditEmit(&event);
		ereport(LOG,
				(errmsg("limit for %s reached", SecretOperationName(operation)),
				 errdetail("The limit is that of a %s: %.0f a second, %.0f at once.", whose, rate, burst)));
	}
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("too many calls of %s", SecretOperationName(operation)),
			 errdetail("The limit of a %s is %.0f a second, %.0f at once.", whose, rate, burst),
			 errhint("See bulwark.%s.", empty->key.limit == LIMIT_USE ? "secret_rate" :
					 empty->key.limit == LIMIT_INDEX ? "blind_index_rate" : "data_decrypt_rate")));
}

/* Tokens that this back end has taken ahead. */
typedef struct Lease
{
	BucketKey	whose[3];
	int			nwhose;
	uint64		epoch;
	int			left;
	int			size;			/* of the next one */
} Lease;

static void
renew(Lease *lease, MeterLimit limit, SecretOperation operation)
{
	BucketKey	keys[3];
	int			nkeys = keys_of(limit, NULL, keys);
	Empty		empty;

	if (nkeys != lease->nwhose || memcmp(keys, lease->whose, nkeys * sizeof(BucketKey)) != 0)
	{
		memcpy(lease->whose, keys, nkeys * sizeof(BucketKey));
		lease->nwhose = nkeys;
		lease->left = 0;
		lease->size = 1;
	}
	lease->epoch = IdentityEpoch;
	if (lease->left > 0)
		return;
	lease->left = take(keys, nkeys, lease->size, &empty);
	if (lease->left == 0)
	{
		lease->size = 1;
		refuse(operation, &empty, NULL);
	}
	lease->size = Min(lease->size * 2, LEASE_MAX);
}

/*
 * These are many and cheap, so a back end takes tokens for some at once: twice as
 * many each time that the same principal in the same login comes back, so that no
 * more are lost than were used.
 */
void
SecretMeter(SecretOperation operation, const pg_uuid_t *credential_id)
{
	static Lease leases[LIMITS];
	MeterLimit	limit = operation == SECRET_BLIND_INDEX ? LIMIT_INDEX : LIMIT_DATA;
	Lease	   *lease = &leases[limit];

	if (limit == LIMIT_DATA && data_rate == 0)
		return;
	if (unlikely(lease->left <= 0 || lease->epoch != IdentityEpoch))
		renew(lease, limit, operation);
	lease->left--;
}

void
MeterUse(SecretOperation operation, const pg_uuid_t *credential_id)
{
	BucketKey	keys[3];
	Empty		empty;

	if (take(keys, keys_of(LIMIT_USE, credential_id, keys), 1, &empty) == 0)
		refuse(operation, &empty, credential_id);
}

/* --- start-up ------------------------------------------------------------------------ */

static void
meter_init(void *piece)
{
	Meter	   *fresh = piece;

	if (!bw_random(&fresh->seed, sizeof(fresh->seed)))
		elog(FATAL, "no random bytes");
}

void
MeterInit(void)
{
	ShmemPieceRequest(METER_PIECE, sizeof(Meter), (void **) &meter, meter_init);
	DefineCustomIntVariable("bulwark.secret_rate",
							"Uses of secrets a second of a principal, and of a credential.",
							"decrypt(), hmac_sign() and credential_use(). All principals of a login together have twenty times as many.",
							&use_rate, 100, 1, 1000000, PGC_SIGHUP,
							GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	DefineCustomIntVariable("bulwark.secret_burst",
							"Uses of secrets at once of a principal, and of a credential, after a rest.",
							"All principals of a login together have twenty times as many.",
							&use_burst, 1000, 1, 100000000, PGC_SIGHUP,
							GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	DefineCustomIntVariable("bulwark.blind_index_rate",
							"Blind indexes a second of a principal.",
							"All principals of a login together have twenty times as many.",
							&index_rate, 10000, 1, 100000000, PGC_SIGHUP,
							GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	DefineCustomIntVariable("bulwark.blind_index_burst",
							"Blind indexes at once of a principal, after a rest.",
							"All principals of a login together have twenty times as many.",
							&index_burst, 1000000, 1, 1000000000, PGC_SIGHUP,
							GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	DefineCustomIntVariable("bulwark.data_decrypt_rate",
							"Values a second that a principal may decrypt with decrypt_text() and its kin; 0: no limit.",
							"All principals of a login together have twenty times as many.",
							&data_rate, 0, 0, 100000000, PGC_SIGHUP,
							GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	DefineCustomIntVariable("bulwark.data_decrypt_burst",
							"Values at once that a principal may decrypt with decrypt_text() and its kin, after a rest.",
							"All principals of a login together have twenty times as many.",
							&data_burst, 1000000, 1, 1000000000, PGC_SIGHUP,
							GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
}
