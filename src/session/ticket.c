/*
 * ticket.c
 *		A short string that carries a proved identity between statements,
 *		transactions and nodes: payload and HMAC-SHA256, base64url.
 *
 * The MAC key is derived from the root key with the realm as salt, and the MAC
 * also covers the login role, which is not in the ticket: a ticket of another
 * database, clone or login does not verify.  Nothing of a ticket is looked at
 * before its MAC is.
 */
#include "session/session.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xlog.h"
#include "common/common.h"
#include "keyring/keyring.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"

#define TICKET_PREFIX		"bwt1."
#define TICKET_PREFIX_LEN	5
#define TICKET_VERSION		1
#define PAYLOAD_MAX			(256 + NAMEDATALEN + SCOPE_MAX)
#define MAC_LABEL			"bulwark ticket-mac v1"

static char *realm_setting = NULL;

/* The realm as bytes: a name that several nodes share, or this database. */
typedef struct Realm
{
	Size		len;
	uint8		bytes[256];
} Realm;

typedef struct MacKey
{
	bool		present;
	uint8		id[ROOT_KEY_ID_LEN];
	bw_hmac_key key;
} MacKey;

static MacKey mac_keys[KEYRING_SLOTS];
static bool mac_keys_valid = false;
static uint64 mac_keys_generation;
static Oid	identity_relid = InvalidOid;	/* where the realm's random id was read */

static bool
database_random_id(pg_uuid_t *id)
{
	Oid			relid = PrivateRelid("database_identity");
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	if (!OidIsValid(relid))
		return false;
	identity_relid = relid;
	rel = table_open(relid, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull);

		if (!isnull)
		{
			*id = *DatumGetUUIDP(value);
			found = true;
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static bool
realm_get(Realm *realm)
{
	bw_writer	w = {realm->bytes, sizeof(realm->bytes), 0, false};

	if (realm_setting != NULL && realm_setting[0] != '\0')
	{
		bw_put_uint(&w, 'n', 1);
		bw_put(&w, realm_setting, strlen(realm_setting));
	}
	else
	{
		pg_uuid_t	id;

		if (!database_random_id(&id))
			return false;
		bw_put_uint(&w, 'd', 1);
		bw_put_uint(&w, GetSystemIdentifier(), 8);
		bw_put_uint(&w, MyDatabaseId, 4);
		bw_put(&w, id.data, UUID_LEN);
	}
	realm->len = w.len;
	return !w.failed;
}

/* Derive the MAC keys of the roots in the ring, once per change of the ring. */
static bool
mac_keys_load(void)
{
	Realm		realm;
	uint64		generation = KeyringGeneration();

	if (mac_keys_valid && mac_keys_generation == generation)
		return true;
	mac_keys_valid = false;
	if (!realm_get(&realm))
		return false;
	for (int slot = 0; slot < KEYRING_SLOTS; slot++)
	{
		MacKey	   *mac = &mac_keys[slot];
		uint8		key[DERIVED_KEY_LEN];

		mac->present = KeyringHasRoot(slot, mac->id) &&
			KeyringDerive(slot, realm.bytes, realm.len, MAC_LABEL, key);
		if (mac->present)
			bw_hmac_key_init(&mac->key, key, sizeof(key));
		else
			bw_wipe(&mac->key, sizeof(mac->key));
		bw_wipe(key, sizeof(key));
	}
	mac_keys_generation = generation;
	mac_keys_valid = true;
	return true;
}

static void
realm_relcache_callback(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == identity_relid)
		mac_keys_valid = false;
}

static void
mac_compute(const MacKey *mac, const uint8 *payload, Size len, uint8 out[BW_SHA256_LEN])
{
	uint8		input[PAYLOAD_MAX + NAMEDATALEN + 2];
	bw_writer	w = {input, sizeof(input), 0, false};

	bw_put(&w, payload, len);
	bw_put_string(&w, GetUserNameFromId(GetSessionUserId(), false));
	if (w.failed)
		elog(ERROR, "ticket and login do not fit the buffer");
	bw_hmac_sha256_keyed(&mac->key, input, w.len, out);
}

static Size
payload_encode(const Identity *identity, const uint8 key_id[ROOT_KEY_ID_LEN], uint8 *payload)
{
	bw_writer	w = {payload, PAYLOAD_MAX, 0, false};

	bw_put_uint(&w, TICKET_VERSION, 1);
	bw_put(&w, key_id, ROOT_KEY_ID_LEN);
	bw_put(&w, identity->principal_id.data, UUID_LEN);
	bw_put_uint(&w, identity->principal_generation, 8);
	bw_put(&w, identity->tenant_id.data, UUID_LEN);
	bw_put_uint(&w, identity->member_generation, 8);
	bw_put_uint(&w, identity->proof, 1);
	bw_put_uint(&w, identity->proved_at, 8);
	bw_put_uint(&w, identity->expires_at, 8);
	bw_put_uint(&w, identity->absolute_end, 8);
	if (identity->proof == PROOF_TOKEN)
	{
		bw_put(&w, identity->issuer_id.data, UUID_LEN);
		bw_put(&w, identity->issuer_key, ISSUER_KEY_LEN);
	}
	else
		bw_put_string(&w, identity->assumed_by);
	bw_put_uint(&w, identity->scoped, 1);
	if (identity->scoped)
		bw_put_string(&w, identity->scope);
	if (w.failed)
		elog(ERROR, "identity does not fit a ticket");
	return w.len;
}

/* The payload's MAC has been verified: this only rules out another format. */
static bool
payload_decode(const uint8 *payload, Size len, Identity *identity)
{
	bw_reader	r = {payload, len, 0, false};
	uint8		key_id[ROOT_KEY_ID_LEN];

	memset(identity, 0, sizeof(*identity));
	if (bw_get_uint(&r, 1) != TICKET_VERSION)
		return false;
	bw_get(&r, key_id, sizeof(key_id));
	bw_get(&r, identity->principal_id.data, UUID_LEN);
	identity->principal_generation = (int64) bw_get_uint(&r, 8);
	bw_get(&r, identity->tenant_id.data, UUID_LEN);
	identity->member_generation = (int64) bw_get_uint(&r, 8);
	identity->proof = (ProofKind) bw_get_uint(&r, 1);
	identity->proved_at = (TimestampTz) bw_get_uint(&r, 8);
	identity->expires_at = (TimestampTz) bw_get_uint(&r, 8);
	identity->absolute_end = (TimestampTz) bw_get_uint(&r, 8);
	if (identity->proof == PROOF_TOKEN)
	{
		bw_get(&r, identity->issuer_id.data, UUID_LEN);
		bw_get(&r, identity->issuer_key, ISSUER_KEY_LEN);
	}
	else if (identity->proof == PROOF_ASSUMED)
		bw_get_string(&r, identity->assumed_by, sizeof(identity->assumed_by));
	else
		return false;
	identity->scoped = bw_get_uint(&r, 1) != 0;
	if (identity->scoped)
		bw_get_string(&r, identity->scope, sizeof(identity->scope));
	return bw_reader_done(&r);
}

char *
TicketIssue(const Identity *identity)
{
	uint8		binary[PAYLOAD_MAX + BW_SHA256_LEN];
	Size		len;
	char	   *ticket;
	Size		encoded;

	KeyringRequire();
	if (!mac_keys_load() || !mac_keys[KEYRING_CURRENT].present)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no key to issue tickets with")));

	len = payload_encode(identity, mac_keys[KEYRING_CURRENT].id, binary);
	mac_compute(&mac_keys[KEYRING_CURRENT], binary, len, binary + len);
	len += BW_SHA256_LEN;

	encoded = BW_BASE64URL_ENCODED_LEN(len);
	ticket = palloc(TICKET_PREFIX_LEN + encoded + 1);
	memcpy(ticket, TICKET_PREFIX, TICKET_PREFIX_LEN);
	bw_base64url_encode(binary, len, ticket + TICKET_PREFIX_LEN);
	ticket[TICKET_PREFIX_LEN + encoded] = '\0';
	return ticket;
}

const char *
TicketOpen(const char *ticket, Identity *identity)
{
	uint8		binary[PAYLOAD_MAX + BW_SHA256_LEN];
	uint8		mac[BW_SHA256_LEN];
	Size		textlen = strlen(ticket);
	ssize_t		len;

	if (textlen > TICKET_PREFIX_LEN + BW_BASE64URL_ENCODED_LEN(sizeof(binary)) ||
		strncmp(ticket, TICKET_PREFIX, TICKET_PREFIX_LEN) != 0)
		return "not a ticket";
	len = bw_base64url_decode(ticket + TICKET_PREFIX_LEN, textlen - TICKET_PREFIX_LEN,
							  binary, sizeof(binary));
	if (len < BW_SHA256_LEN + 1 + ROOT_KEY_ID_LEN)
		return "not a ticket";
	if (!mac_keys_load())
		return "bulwark is not installed in this database";
	len -= BW_SHA256_LEN;

	for (int slot = 0; slot < KEYRING_SLOTS; slot++)
	{
		const MacKey *key = &mac_keys[slot];

		if (!key->present || memcmp(key->id, binary + 1, ROOT_KEY_ID_LEN) != 0)
			continue;
		mac_compute(key, binary, len, mac);
		if (!bw_equal(mac, binary + len, BW_SHA256_LEN))
			return "the ticket's MAC does not verify (altered, or of another database or login)";
		return payload_decode(binary, len, identity) ? NULL : "unknown ticket format";
	}
	KeyringRequire();			/* sealed: nothing is known of the ticket */
	return "the ticket's root key is not in the ring";
}

static bool
check_realm(char **newval, void **extra, GucSource source)
{
	if (*newval != NULL && strlen(*newval) > 200)
	{
		GUC_check_errdetail("The realm is at most 200 bytes long.");
		return false;
	}
	return true;
}

static void
assign_realm(const char *newval, void *extra)
{
	mac_keys_valid = false;
}

void
TicketInit(void)
{
	DefineCustomStringVariable("bulwark.realm",
							   "Where tickets are valid: the nodes of one distributed cluster share a realm.",
							   "Empty: this database alone (its random id, its oid and the system identifier).",
							   &realm_setting, "", PGC_SIGHUP,
							   GUC_DISALLOW_IN_AUTO_FILE | GUC_SUPERUSER_ONLY,
							   check_realm, assign_realm, NULL);
	RelationWatch(realm_relcache_callback);
}
