/*
 * rotate.c
 *		Everything that is wrapped by a root key, put under the next one.
 *
 * A root key from which a rotation has begun is retired in this database: whichever
 * of the two slots it is in afterwards, nothing is wrapped by it again.  So the
 * function can be called as often as one likes, before and after the settings are
 * exchanged, and goes on where it was.
 */
#include "keyring/ring.h"

#include "catalog/pg_type.h"
#include "common/common.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/json.h"

#define MAX_REWRAPPERS	8
#define RETIRED_TABLE	"root_keys"

typedef struct Registered
{
	const char *what;
	Rewrapper	rewrapper;
} Registered;

static Registered registered[MAX_REWRAPPERS];
static int	nregistered = 0;
static KeyringSlot target = KEYRING_CURRENT;	/* of the running rotation */

PG_FUNCTION_INFO_V1(bulwark_root_key_rotate);

void
KeyringRewrapRegister(const char *what, Rewrapper rewrapper)
{
	if (nregistered == MAX_REWRAPPERS)
		elog(ERROR, "too many kinds of wrapped keys");
	registered[nregistered++] = (Registered) {what, rewrapper};
}

Rewrapping
KeyringRewrap(uint8 *wrapped, Size wrappedlen, const void *context, Size contextlen)
{
	uint8		target_id[ROOT_KEY_ID_LEN];
	uint8		id[ROOT_KEY_ID_LEN];
	Size		keylen;
	uint8	   *key;
	uint8	   *again;
	bool		ok;

	if (!KeyringHasRoot(target, target_id))
		RaiseSealed();
	if (!KeyringHoldsRootOf(wrapped, wrappedlen, id) || wrappedlen < WRAPPED_KEY_LEN(0))
		return REWRAP_IMPOSSIBLE;
	if (memcmp(id, target_id, ROOT_KEY_ID_LEN) == 0)
		return REWRAP_NOT_NEEDED;

	keylen = wrappedlen - WRAPPED_KEY_LEN(0);
	key = SecretAlloc(CurrentMemoryContext, keylen);
	again = palloc(wrappedlen);
	ok = KeyringUnwrap(wrapped, wrappedlen, context, contextlen, key, keylen);
	if (ok && !WrapUnder(target, key, keylen, context, contextlen, again))
		elog(ERROR, "could not wrap a key");
	if (ok)
		memcpy(wrapped, again, wrappedlen);
	bw_wipe(key, keylen);
	pfree(again);
	return ok ? REWRAP_DONE : REWRAP_IMPOSSIBLE;
}

/* --- which way ----------------------------------------------------------------------------- */

static Datum
id_datum(const uint8 id[ROOT_KEY_ID_LEN])
{
	return PointerGetDatum(cstring_to_text_with_len((const char *) id, ROOT_KEY_ID_LEN));
}

static bool
is_retired(const uint8 id[ROOT_KEY_ID_LEN])
{
	static const Oid type = BYTEAOID;
	Datum		value = id_datum(id);

	return TrustedExec("SELECT FROM bulwark_internal.root_keys WHERE root_key_id = $1", 1, &type, &value, NULL) > 0;
}

static void
retire(const uint8 id[ROOT_KEY_ID_LEN])
{
	static const Oid type = BYTEAOID;
	Datum		value = id_datum(id);

	(void) TrustedExec("INSERT INTO bulwark_internal.root_keys (root_key_id) VALUES ($1) ON CONFLICT DO NOTHING",
					   1, &type, &value, NULL);
}

/* Sets target; fills the id of the key that goes and of the one that comes. */
static void
choose_target(uint8 from[ROOT_KEY_ID_LEN], uint8 to[ROOT_KEY_ID_LEN])
{
	uint8		current[ROOT_KEY_ID_LEN];
	uint8		next[ROOT_KEY_ID_LEN];

	KeyringRequire();
	if (!KeyringHasRoot(KEYRING_CURRENT, current) || !KeyringHasRoot(KEYRING_NEXT, next))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no next root key is loaded"),
				 errhint("Make one with bulwarkctl keygen or token-keygen, set bulwark.root_key_file_next, bulwark.root_key_command_next or bulwark.root_key_pkcs11_next, and reload the server's configuration.")));
	target = is_retired(next) ? KEYRING_CURRENT : KEYRING_NEXT;
	memcpy(from, target == KEYRING_NEXT ? current : next, ROOT_KEY_ID_LEN);
	memcpy(to, target == KEYRING_NEXT ? next : current, ROOT_KEY_ID_LEN);
	if (is_retired(to))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("both root keys have been rotated away from in this database"),
				 errhint("Make a new one with bulwarkctl keygen or token-keygen.")));
}

/* --- the rotation ----------------------------------------------------------------------------- */

static void
append_id(StringInfo json, const char *key, const uint8 id[ROOT_KEY_ID_LEN])
{
	char		hex[KEY_ID_HEX_LEN + 1];

	RingIdHex(id, hex);
	appendStringInfo(json, "\"%s\": \"%s\", ", key, hex);
}

/* Each kind of key in turn, until the limit is reached; the totals. */
static void
rewrap_all(int64 limit, StringInfo json, RewrapCount *total)
{
	appendStringInfoString(json, "\"rewrapped\": {");
	for (int i = 0; i < nregistered; i++)
	{
		RewrapCount count = {0};

		registered[i].rewrapper(limit - total->done, &count);
		total->done += count.done;
		total->left += count.left;
		total->impossible += count.impossible;
		appendStringInfo(json, "%s\"%s\": " INT64_FORMAT, i > 0 ? ", " : "", registered[i].what, count.done);
	}
	appendStringInfo(json, "}, \"left\": " INT64_FORMAT ", \"impossible\": " INT64_FORMAT "}",
					 total->left, total->impossible);
}

static void
record_rotation(const uint8 from[ROOT_KEY_ID_LEN], const uint8 to[ROOT_KEY_ID_LEN], const RewrapCount *total)
{
	char		from_hex[KEY_ID_HEX_LEN + 1];
	char		to_hex[KEY_ID_HEX_LEN + 1];

	RingIdHex(from, from_hex);
	RingIdHex(to, to_hex);
	AuditAdmin("root_key_rotate", "root_key", to_hex, NULL, "from", from_hex,
			   "rewrapped", psprintf(INT64_FORMAT, total->done),
			   "left", psprintf(INT64_FORMAT, total->left),
			   "impossible", psprintf(INT64_FORMAT, total->impossible), NULL);
}

/* bulwark.root_key_rotate(batch) */
Datum
bulwark_root_key_rotate(PG_FUNCTION_ARGS)
{
	int64		limit = PG_ARGISNULL(0) ? PG_INT64_MAX : PG_GETARG_INT32(0);
	uint8		from[ROOT_KEY_ID_LEN];
	uint8		to[ROOT_KEY_ID_LEN];
	RewrapCount total = {0};
	StringInfoData json;
	TrustedScope scope;

	if (limit < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch must be at least 1")));
	LockDatabaseObject(PrivateRelid(RETIRED_TABLE), 0, 0, ExclusiveLock);
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');

	TrustedBegin(&scope);
	choose_target(from, to);
	append_id(&json, "from", from);
	append_id(&json, "to", to);
	retire(from);
	if (target == KEYRING_NEXT)
		RingWrapWithNext();
	TrustedEnd(&scope);

	rewrap_all(limit, &json, &total);
	record_rotation(from, to, &total);
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}
