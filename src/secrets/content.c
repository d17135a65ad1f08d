/*
 * content.c
 *		Sealed columns of ledger contents: under the tenant's key, so that they go
 *		with it while every proof holds.
 *
 *		No context is bound beside tenant and type: the value stands in a content
 *		whose digest is the record's.
 */
#include "secrets/secrets.h"

#include "secrets/use.h"

static void *
content_seal(const pg_uuid_t *tenant_id, const void *plain, Size len, Size *sealed_len)
{
	bytea	   *sealed = SecretSeal(tenant_id, SECRET_CONTENT, NULL, 0, plain, len, 0);

	/* the caller frees what it is given */
	*sealed_len = VARSIZE(sealed) - VARHDRSZ;
	return memmove(sealed, VARDATA(sealed), *sealed_len);
}

/* To an identity of that tenant with data:decrypt, and nobody else. */
static bool
may_open(const pg_uuid_t *tenant_id)
{
	const EffectiveIdentity *actor = IdentityCurrent();

	return actor != NULL && UuidEquals(&actor->identity.tenant_id, tenant_id) &&
		GrantFor("data", strlen("data"), "decrypt", strlen("decrypt")) != NULL;
}

static void *
content_open(const pg_uuid_t *tenant_id, const void *sealed, Size len, Size *plain_len)
{
	if (!may_open(tenant_id))
		return NULL;
	return SecretTryOpen(tenant_id, SECRET_CONTENT, NULL, 0, sealed, len, plain_len);
}

void
ContentInit(void)
{
	static const ContentSealer sealer = {.seal = content_seal,.open = content_open};

	ContentSealerRegister(&sealer);
}
