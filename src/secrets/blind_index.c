/*
 * blind_index.c
 *		Equality search over what is encrypted: HMAC-SHA256 of the plaintext under
 *		the tenant's index key and the context.
 *
 *		The same text gives the same index whatever the database's encoding, and
 *		whether its accents come composed or not (Unicode NFC; letters' case, width
 *		and white space count).  Between contexts and between tenants nothing can be
 *		compared.  Within one, equality and frequency show.
 */
#include "secrets/values.h"

#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(bulwark_blind_index);

/* 42501 unless the identity may search (or read) what is encrypted. */
static void
require_search(void)
{
	if (GrantFor("data", 4, "search", 6) == NULL && GrantFor("data", 4, "decrypt", 7) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to search what is encrypted"),
				 errdetail("The identity needs data:search or data:decrypt.")));
}

Datum
bulwark_blind_index(PG_FUNCTION_ARGS)
{
	pg_uuid_t	tenant_id = *SecretTenant();
	Plain		plain,
				context;
	uint8		small[256];
	uint8	   *input = small;
	Size		len;
	bytea	   *index;

	require_search();
	ContextOfArgument(&context, fcinfo, 1);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	SecretMeter(SECRET_BLIND_INDEX, NULL);
	PlainOfText(&plain, PG_GETARG_DATUM(0), "the plaintext");
	PlainNormalize(&plain);

	/* length of the context (2 bytes), context, text: no two pairs are one input */
	len = 2 + context.len + plain.len;
	if (len > sizeof(small))
		input = SecretAlloc(CurrentMemoryContext, len);
	input[0] = (uint8) (context.len >> 8);
	input[1] = (uint8) context.len;
	memcpy(input + 2, context.data, context.len);
	memcpy(input + 2 + context.len, plain.data, plain.len);

	index = palloc(VARHDRSZ + BW_SHA256_LEN);
	SET_VARSIZE(index, VARHDRSZ + BW_SHA256_LEN);
	TenantIndexHmac(&tenant_id, "bulwark blind index v1", input, len, (uint8 *) VARDATA(index));
	bw_wipe(input, len);
	PlainForget(&plain);
	PlainForget(&context);
	PG_RETURN_BYTEA_P(index);
}
