/*
 * spool_record.c
 *		An entry as bytes for the spool, and what is noted of the session while
 *		catalogs may be read: later, while an error is handled, they may not.
 */
#include "ledger/spool.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "keyring/keyring.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* What SpoolNoteSession has found. */
static bool session_noted = false;
static bool ledger_here = false;
static bool ledger_begun = false;
static Oid	login_oid = InvalidOid;
static NameData login_name;

/* --- the session --------------------------------------------------------------- */

static void
forget_session(Datum arg, int cacheid, uint32 hash)
{
	session_noted = false;
}

/* The login that authenticated, whatever SET SESSION AUTHORIZATION says. */
static Oid
authenticated_login(void)
{
	return OidIsValid(MyProc->roleId) ? MyProc->roleId : GetSessionUserId();
}

bool
SpoolHasKey(void)
{
	static uint64 seen = 0;		/* the keyring's generation that had one */
	uint64		generation = KeyringGeneration();
	uint8		id[ROOT_KEY_ID_LEN];

	if (generation == seen && seen != 0)
		return true;
	if (!KeyringHasRoot(KEYRING_CURRENT, id))
		return false;
	seen = generation;
	return true;
}

static void
note(void)
{
	static bool registered = false;
	const char *name;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(NAMESPACEOID, forget_session, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, forget_session, (Datum) 0);
		registered = true;
	}
	session_noted = true;		/* first: an invalidation while we look undoes it */
	ledger_here = OidIsValid(PrivateRelid("ledger_log"));
	ledger_begun = false;
	login_oid = authenticated_login();
	name = GetUserNameFromId(login_oid, true);
	namestrcpy(&login_name, name ? name : "");
}

/*
 * Whether the log has begun matters without a key only.  To look takes a
 * snapshot, and a transaction's first is not for us to take.
 */
void
SpoolNoteSession(void)
{
	if (!IsTransactionState() || !OidIsValid(MyDatabaseId))
		return;
	if (!session_noted || login_oid != authenticated_login())
		note();
	if (ledger_here && !ledger_begun && !SpoolHasKey() && FirstSnapshotSet)
		ledger_begun = LogPeek() != NULL;
}

bool
SpoolLedgerHere(void)
{
	return ledger_here;
}

bool
SpoolLedgerBegun(void)
{
	return ledger_begun;
}

/* --- an entry as bytes ------------------------------------------------------------ */

const char *
SpoolTextOf(const SpoolRecord *record, SpoolText which)
{
	const char *text = (const char *) (record + 1);

	if (record->text_len[which] == 0)
		return NULL;
	for (int i = 0; i < which; i++)
		text += record->text_len[i];
	return text;
}

static void
put_text(SpoolRecord *record, SpoolText which, const char *text)
{
	Size		len;

	if (text == NULL)
		return;
	len = strlen(text) + 1;
	if (record->len + len > SPOOL_RECORD_MAX)
		return;
	memcpy((char *) record + record->len, text, len);
	record->text_len[which] = len;
	record->len += len;
}

/* Who acts, from memory alone. */
static void
note_actor(EntryActor *actor)
{
	const Identity *identity = IdentityOfTransaction();

	memset(actor, 0, sizeof(*actor));
	strlcpy(actor->role, NameStr(login_name), sizeof(actor->role));
	if (identity == NULL)
		return;
	actor->present = true;
	actor->principal = identity->principal_id;
	actor->tenant = identity->tenant_id;
	actor->proof = identity->proof;
	actor->proved_at = identity->proved_at;
	if (identity->proof == PROOF_TOKEN)
		actor->issuer = identity->issuer_id;
	else
		strlcpy(actor->assumed_by, identity->assumed_by, sizeof(actor->assumed_by));
}

/* Metadata that is too long gives way to its length. */
SpoolRecord *
SpoolEncode(SpoolClass class, const Entry *entry, const Oid *relations, int nrelations)
{
	static union
	{
		SpoolRecord record;
		char		bytes[SPOOL_RECORD_MAX];
	}			buffer;
	SpoolRecord *record = &buffer.record;
	const Annotation *asserted = entry->annotated ? AnnotationCurrent() : NULL;
	char		too_long[64];

	Assert(entry->shape == NULL && entry->old_image.data == NULL && entry->new_image.data == NULL);
	memset(record, 0, sizeof(*record));
	record->len = sizeof(*record);
	record->class = class;
	record->source = entry->source;
	record->time = entry->time != 0 ? entry->time : GetCurrentTimestamp();
	if (entry->actor != NULL)
		record->actor = *entry->actor;
	else
		note_actor(&record->actor);
	record->actor.email = NULL;
	record->has_tenant = entry->tenant != NULL;
	if (entry->tenant != NULL)
		record->tenant = *entry->tenant;
	record->annotated = asserted != NULL;
	record->nrelations = Min(nrelations, SPOOL_RELATIONS);
	memcpy(record->relations, relations, record->nrelations * sizeof(Oid));

	/* in the order of their numbers */
	put_text(record, TEXT_ACTION, entry->action);
	put_text(record, TEXT_ENTITY_TYPE, entry->entity_type);
	put_text(record, TEXT_ENTITY_ID, entry->entity_id);
	put_text(record, TEXT_AFFILIATION, entry->affiliation);
	if (entry->metadata != NULL && strlen(entry->metadata) > SPOOL_METADATA_MAX)
	{
		snprintf(too_long, sizeof(too_long), "{\"metadata_bytes\": %zu}", strlen(entry->metadata));
		put_text(record, TEXT_METADATA, too_long);
	}
	else
		put_text(record, TEXT_METADATA, entry->metadata);
	put_text(record, TEXT_EMAIL, entry->actor != NULL ? entry->actor->email : NULL);
	if (asserted != NULL)
	{
		put_text(record, TEXT_ROUTE, asserted->route);
		put_text(record, TEXT_REQUEST_ID, asserted->request_id);
		put_text(record, TEXT_CLIENT_ADDR, asserted->client_addr);
		put_text(record, TEXT_REQUEST_METADATA, asserted->metadata);
	}
	return record;
}

uint64
SpoolFoldHash(const SpoolRecord *record, uint64 seed)
{
	struct
	{
		Oid			database;
		uint32		class;
		char		who[NAMEDATALEN];
		char		what[2 * NAMEDATALEN + 8];
	}			key;
	const char *what = SpoolTextOf(record, record->class == SPOOL_READ ? TEXT_ENTITY_TYPE : TEXT_ENTITY_ID);

	memset(&key, 0, sizeof(key));
	key.database = MyDatabaseId;
	key.class = record->class;
	if (record->actor.present)
		memcpy(key.who, &record->actor.principal, UUID_LEN);
	else
		strlcpy(key.who, record->actor.role, sizeof(key.who));
	if (what != NULL && (record->class == SPOOL_READ || strcmp(SpoolTextOf(record, TEXT_ACTION), "alarm") == 0))
		strlcpy(key.what, what, sizeof(key.what));
	return hash_bytes_extended((unsigned char *) &key, sizeof(key), seed);
}
