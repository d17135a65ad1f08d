/*
 * entry.c
 *		Who did it, and the bytes of an entry.
 */
#include "ledger/entry.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "mb/pg_wchar.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* Between PostgreSQL's epoch and that of the format. */
#define UNIX_EPOCH_OFFSET	((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)
#define SCRATCH_KEEP		((Size) 1 << 20)
#define SALT_POOL			64		/* salts fetched at a time */
#define IDENTITY_ENDED		"{\"identity\": \"ended\"}"

/* --- actor ------------------------------------------------------------------------ */

static EntryActor actor_now;
static uint64 actor_epoch = 0;	/* 0: unknown */
static Oid	role_known = InvalidOid;	/* whose name actor_now has */

static void
role_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	actor_epoch = 0;
	role_known = InvalidOid;
}

/* The login that the connection authenticated as; of a worker, whom it acts for. */
static void
remember_role(void)
{
	Oid			login = OidIsValid(MyProc->roleId) ? MyProc->roleId : GetSessionUserId();
	char	   *name;

	if (role_known == login)
		return;
	name = GetUserNameFromId(login, true);
	strlcpy(actor_now.role, name != NULL ? name : "", NAMEDATALEN);
	role_known = login;
}

char *
PrincipalEmail(const pg_uuid_t *principal)
{
	PrivateScan scan;
	char	   *email = NULL;

	if (!PrivateScanBegin(&scan, "principals", "principals_pkey"))
		return NULL;
	PrivateScanUuid(&scan, Principal_id, principal);
	if (PrivateScanNext(&scan))
	{
		bool		isnull;
		Datum		value = PrivateScanGet(&scan, Principal_email, &isnull);

		if (!isnull)
			email = TextDatumGetCString(value);
	}
	PrivateScanEnd(&scan);
	return email;
}

/* Keep it (NULL: none), and let the one before go. */
static void
remember_email(const char *email)
{
	char	   *kept = NULL;

	if (email != NULL && actor_now.email != NULL && strcmp(actor_now.email, email) == 0)
		return;
	if (email != NULL)
		kept = MemoryContextStrdup(TopMemoryContext, email);
	if (actor_now.email != NULL)
		pfree(unconstify(char *, actor_now.email));
	actor_now.email = kept;
}

/* The e-mail that the membership in force has. */
static void
remember_member(const EffectiveIdentity *identity)
{
	char	   *email,
			   *slug;
	List	   *roles;

	MembershipOperations()->describe(&identity->identity, identity->membership, &email, &slug, &roles);
	remember_email(email);
	pfree(email);
	pfree(slug);
	list_free_deep(roles);
}

/* The same where there is no membership any more. */
static void
remember_principal(const pg_uuid_t *principal)
{
	char	   *email = PrincipalEmail(principal);

	remember_email(email);
	if (email != NULL)
		pfree(email);
}

static void
remember_identity(const Identity *identity)
{
	actor_now.principal = identity->principal_id;
	actor_now.tenant = identity->tenant_id;
	actor_now.proof = identity->proof;
	actor_now.issuer = identity->issuer_id;
	actor_now.proved_at = identity->proved_at;
	strlcpy(actor_now.assumed_by, identity->proof == PROOF_ASSUMED ? identity->assumed_by : "", NAMEDATALEN);
}

/*
 * Rows are recorded when their statement ends.  Who has let go of the identity
 * meanwhile, by release() or by the ticket's setting, or has lost it, is the actor
 * all the same until the transaction ends: it has no other.
 */
const EntryActor *
EntryActorPeek(void)
{
	const EffectiveIdentity *effective = IdentityPeek();
	const Identity *identity;

	if (actor_epoch == identity_checked_epoch)
		return &actor_now;

	actor_epoch = 0;
	identity = effective != NULL ? &effective->identity : IdentityOfTransaction();
	actor_now.present = identity != NULL;
	actor_now.ended = identity != NULL && effective == NULL;
	if (identity != NULL)
		remember_identity(identity);
	if (effective != NULL)
		remember_member(effective);
	else if (identity != NULL)
		remember_principal(&identity->principal_id);
	else
		remember_email(NULL);
	remember_role();
	actor_epoch = identity_checked_epoch;
	return &actor_now;
}

void
EntryActorNow(EntryActor *actor)
{
	*actor = *EntryActorPeek();
}

/* --- salt ---------------------------------------------------------------------------- */

void
EntrySalt(uint8 salt[ENTRY_SALT_LEN])
{
	static uint8 pool[SALT_POOL * ENTRY_SALT_LEN];
	static int	left = 0;

	if (left == 0)
	{
		if (!bw_random(pool, sizeof(pool)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("no random numbers are to be had")));
		left = SALT_POOL;
	}
	left--;
	memcpy(salt, pool + left * ENTRY_SALT_LEN, ENTRY_SALT_LEN);
	bw_wipe(pool + left * ENTRY_SALT_LEN, ENTRY_SALT_LEN);
}

/* --- bytes ------------------------------------------------------------------------------ */

bw_bytes
LedgerUtf8(const char *text, Size len)
{
	if (GetDatabaseEncoding() != PG_UTF8 && GetDatabaseEncoding() != PG_SQL_ASCII)
	{
		char	   *converted = pg_server_to_any(text, len, PG_UTF8);

		if (converted != text)
			return (bw_bytes) {(const uint8_t *) converted, strlen(converted)};
	}
	return (bw_bytes) {(const uint8_t *) text, len};
}

static bw_bytes
utf8_string(const char *text)
{
	return text != NULL ? LedgerUtf8(text, strlen(text)) : (bw_bytes) {NULL, 0};
}

/* The fields of a content that are there, in the order of their tags. */
typedef struct Field
{
	bw_tag		tag;
	bw_bytes	value;
} Field;

typedef struct Fields
{
	int			n;
	Size		size;			/* room that the content needs */
	Field		fields[BW_TAG_LAST];
} Fields;

static void
add_field(Fields *all, bw_tag tag, const void *data, Size len)
{
	Field	   *field;

	if (data == NULL)
		return;
	field = &all->fields[all->n++];
	field->tag = tag;
	field->value.data = data;
	field->value.len = len;
	all->size += BW_FIELD_HEAD_MAX + len;
}

static void
add_text(Fields *all, bw_tag tag, const char *text)
{
	bw_bytes	utf8 = utf8_string(text);

	add_field(all, tag, utf8.data, utf8.len);
}

/* A buffer that is kept from one entry to the next, unless it is large. */
static struct varlena *
scratch(Size len)
{
	static struct varlena *buffer = NULL;
	static Size capacity = 0;

	if (!AllocSizeIsValid(len))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("ledger entry of %zu bytes is too large", len)));
	if (len > capacity || (capacity > SCRATCH_KEEP && len <= SCRATCH_KEEP))
	{
		if (buffer != NULL)
			pfree(buffer);
		buffer = NULL;
		capacity = 0;
		len = Max(len, 8192);
		buffer = MemoryContextAlloc(TopMemoryContext, len);
		capacity = len;
	}
	return buffer;
}

const struct varlena *
EntryContent(const Entry *entry, const EntryActor *actor)
{
	const Annotation *annotation = entry->annotated ? AnnotationCurrent() : NULL;
	Fields		all = {.size = BW_CONTENT_HEAD};
	uint8		salt[ENTRY_SALT_LEN];
	uint8		proved_at[8];
	struct varlena *content;
	bw_writer	w = {0};

	add_text(&all, BW_TAG_ENTITY_ID, entry->entity_id);
	if (actor->present)
	{
		bw_writer	at = {.data = proved_at, .cap = sizeof(proved_at)};

		add_text(&all, BW_TAG_EMAIL, actor->email);
		if (actor->proof == PROOF_TOKEN)
			add_field(&all, BW_TAG_ISSUER, actor->issuer.data, UUID_LEN);
		bw_put_uint(&at, (uint64) (actor->proved_at + UNIX_EPOCH_OFFSET), 8);
		add_field(&all, BW_TAG_PROVED_AT, proved_at, sizeof(proved_at));
	}
	if (annotation != NULL)
	{
		add_text(&all, BW_TAG_ROUTE, annotation->route);
		add_text(&all, BW_TAG_REQUEST_ID, annotation->request_id);
		add_text(&all, BW_TAG_CLIENT_ADDR, annotation->client_addr);
		add_text(&all, BW_TAG_REQUEST_METADATA, annotation->metadata);
	}
	add_text(&all, BW_TAG_METADATA, entry->metadata != NULL ? entry->metadata :
			 actor->ended ? IDENTITY_ENDED : NULL);
	add_field(&all, BW_TAG_SHAPE, entry->shape, BW_SHAPE_ID_LEN);
	add_field(&all, BW_TAG_OLD_IMAGE, entry->old_image.data, entry->old_image.len);
	add_field(&all, BW_TAG_NEW_IMAGE, entry->new_image.data, entry->new_image.len);

	content = scratch(VARHDRSZ + all.size);
	w.data = (uint8 *) VARDATA(content);
	w.cap = all.size;
	if (entry->salt == NULL)
		EntrySalt(salt);
	bw_content_begin(&w, entry->salt != NULL ? entry->salt : salt);
	for (int i = 0; i < all.n; i++)
		bw_content_field(&w, all.fields[i].tag, BW_MODE_PLAIN, all.fields[i].value.data, all.fields[i].value.len);
	Assert(!w.failed);
	SET_VARSIZE(content, VARHDRSZ + w.len);
	return content;
}

void
EntryRecord(const Entry *entry, const EntryActor *actor, bw_leaf *leaf)
{
	leaf->source = (uint8) entry->source;
	leaf->time = (entry->time != 0 ? entry->time : GetCurrentTimestamp()) + UNIX_EPOCH_OFFSET;
	leaf->action = bw_action_code(entry->action, strlen(entry->action));
	if (leaf->action == BW_ACTION_NAMED)
		leaf->action_name = utf8_string(entry->action);
	if (actor->present)
	{
		leaf->flags |= BW_LEAF_ACTOR | (actor->proof == PROOF_TOKEN ? BW_LEAF_PROVED : BW_LEAF_ASSUMED);
		memcpy(leaf->actor, actor->principal.data, UUID_LEN);
		if (actor->proof != PROOF_TOKEN)
			leaf->assumed_by = utf8_string(actor->assumed_by);
	}
	if (entry->tenant != NULL || actor->present)
	{
		leaf->flags |= BW_LEAF_TENANT;
		memcpy(leaf->tenant, entry->tenant != NULL ? entry->tenant->data : actor->tenant.data, UUID_LEN);
	}
	if (entry->affiliation != NULL)
	{
		leaf->affiliation = utf8_string(entry->affiliation);
		/* no registered affiliation has so long a key: nobody's reach depends on it */
		if (leaf->affiliation.len <= BW_LEAF_STRING_MAX)
			leaf->flags |= BW_LEAF_AFFILIATION;
	}
	leaf->role = utf8_string(actor->role);
	leaf->entity_type = utf8_string(entry->entity_type);
}

void
EntryInit(void)
{
	CacheRegisterSyscacheCallback(AUTHOID, role_changed, (Datum) 0);
}
