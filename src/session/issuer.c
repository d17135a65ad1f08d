/*
 * issuer.c
 *		Administration of the token issuers that are trusted.
 */
#include "session/jose.h"

#include "catalog/pg_type.h"
#include "keyring/keyring.h"
#include "utils/builtins.h"
#include "utils/datum.h"

#define LIFETIME_MAX	(10 * 365.25 * SECS_PER_DAY)

PG_FUNCTION_INFO_V1(bulwark_issuer_create);
PG_FUNCTION_INFO_V1(bulwark_issuer_set_jwks);
PG_FUNCTION_INFO_V1(bulwark_issuer_drop);

#define BAD_ARGUMENT(...) \
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), __VA_ARGS__))

static void
require_issuer_admin(void)
{
	if (!HasClusterRole(GetUserId(), ROLE_ADMIN))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to administer token issuers"),
				 errdetail("The role must be a member of %s.", ROLE_ADMIN)));
}

/* Months of 30 days, as PostgreSQL compares intervals. */
double
IntervalSeconds(const Interval *interval)
{
	return interval->month * (30.0 * SECS_PER_DAY) + interval->day * (double) SECS_PER_DAY +
		interval->time / (double) USECS_PER_SEC;
}

/* --- arguments ----------------------------------------------------------------- */

static Datum
required(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be NULL", name)));
	return PG_GETARG_DATUM(n);
}

static char *
text_argument(FunctionCallInfo fcinfo, int n, const char *name, int max)
{
	char	   *value = TextDatumGetCString(required(fcinfo, n, name));
	int			len = strlen(value);

	if (len == 0 || len > max)
		BAD_ARGUMENT(errmsg("argument \"%s\" must have 1 to %d bytes", name, max));
	return value;
}

/* Elements of a one-dimensional array that has some, none of them NULL. */
static int
array_elements(Datum array, Oid type, int16 typlen, char align, const char *name, Datum **values)
{
	ArrayType  *a = DatumGetArrayTypeP(array);
	int			n;

	if (ARR_NDIM(a) != 1 || array_contains_nulls(a))
		BAD_ARGUMENT(errmsg("argument \"%s\" must be an array with elements, none of them NULL", name));
	deconstruct_array(a, type, typlen, false, align, values, NULL, &n);
	return n;
}

static void
check_algorithms(uint32 set)
{
	uint32		symmetric = 0;

	for (int i = 0; i < JWS_ALGORITHMS; i++)
		if (jws_algorithms[i].family == JWS_HMAC)
			symmetric |= jws_algorithms[i].bit;
	if ((set & symmetric) && (set & ~symmetric))
		BAD_ARGUMENT(errmsg("an issuer cannot have both symmetric (HS*) and asymmetric algorithms"),
					 errhint("Create two issuers."));
}

static void
check_typs(Datum typs)
{
	Datum	   *values;
	int			n = array_elements(typs, TEXTOID, -1, TYPALIGN_INT, "typ", &values);

	for (int i = 0; i < n; i++)
		if (VARSIZE_ANY_EXHDR(DatumGetPointer(values[i])) == 0)
			BAD_ARGUMENT(errmsg("argument \"typ\" has an empty element"));
}

/* Every tenant must exist.  Call between TrustedBegin and TrustedEnd. */
static void
check_tenants(Datum ids)
{
	Oid			type = UUIDARRAYOID;
	bool		found;
	Datum		unknown;

	unknown = TrustedScalar("SELECT t.id FROM pg_catalog.unnest($1) AS t (id)"
							" WHERE NOT EXISTS (SELECT FROM bulwark_internal.tenants WHERE tenant_id = t.id) LIMIT 1",
							1, &type, &ids, NULL, &found, NULL);
	if (found)
		BAD_ARGUMENT(errmsg("there is no tenant %s",
							DatumGetCString(DirectFunctionCall1(uuid_out, unknown))));
}

static List *
usable_keys(Jsonb *jwks, uint32 algorithms)
{
	List	   *keys = JwkSetParse(jwks, algorithms);

	if (keys == NIL)
		BAD_ARGUMENT(errmsg("no key of the JWK Set can be used with the issuer's algorithms"),
					 errhint("Its \"kty\", \"crv\", \"alg\", \"use\" and \"key_ops\" must fit one of them: "
							 "HS* need a key of type oct, RS* and PS* RSA, ES256, ES384 and ES512 EC, EdDSA OKP."));
	return keys;
}

/* --- rows ------------------------------------------------------------------------ */

/* The issuer's keys become these; one that was there already stays what it is. */
static void
store_keys(Datum issuer_id, const char *issuer, List *keys)
{
	static const Oid insert_types[] = {UUIDOID, BYTEAOID, JSONBOID, BYTEAOID};
	static const Oid delete_types[] = {UUIDOID, BYTEAARRAYOID};
	char	   *context = ISSUER_WRAP_CONTEXT(issuer);
	Datum	   *thumbprints = palloc(list_length(keys) * sizeof(Datum));
	Datum		delete_values[2];
	ListCell   *cell;

	foreach(cell, keys)
	{
		JwkKey	   *key = lfirst(cell);
		Datum		values[4];
		bool		nulls[4] = {false, false, false, key->secret == NULL};

		values[0] = issuer_id;
		values[1] = PointerGetDatum(cstring_to_text_with_len((char *) key->thumbprint, BW_SHA256_LEN));
		values[2] = PointerGetDatum(key->jwk);
		values[3] = (Datum) 0;
		if (key->secret)
		{
			Size		len = WRAPPED_KEY_LEN(key->secret_len);
			bytea	   *wrapped = palloc(VARHDRSZ + len);

			SET_VARSIZE(wrapped, VARHDRSZ + len);
			KeyringWrap(key->secret, key->secret_len, context, strlen(context), (uint8 *) VARDATA(wrapped));
			values[3] = PointerGetDatum(wrapped);
		}
		thumbprints[foreach_current_index(cell)] = values[1];
		TrustedExec("INSERT INTO bulwark_internal.issuer_keys (issuer_id, thumbprint, jwk, wrapped_secret)"
					" VALUES ($1, $2, $3 OPERATOR(pg_catalog.-) 'k'::pg_catalog.text, $4)"
					" ON CONFLICT (issuer_id, thumbprint) DO UPDATE"
					" SET jwk = excluded.jwk, wrapped_secret = excluded.wrapped_secret",
					4, insert_types, values, nulls);
	}

	delete_values[0] = issuer_id;
	delete_values[1] = PointerGetDatum(construct_array(thumbprints, list_length(keys),
													   BYTEAOID, -1, false, TYPALIGN_INT));
	TrustedExec("DELETE FROM bulwark_internal.issuer_keys WHERE issuer_id = $1 AND thumbprint <> ALL ($2)",
				2, delete_types, delete_values, NULL);
}

/* Which keys: the thumbprints (RFC 7638) of public ones, separated by spaces. */
static char *
keys_text(List *keys)
{
	StringInfoData buf;
	ListCell   *cell;

	initStringInfo(&buf);
	foreach(cell, keys)
	{
		const JwkKey *key = lfirst(cell);
		char		text[BW_BASE64URL_ENCODED_LEN(BW_SHA256_LEN)];
		size_t		len = bw_base64url_encode(key->thumbprint, BW_SHA256_LEN, text);

		if (buf.len > 0)
			appendStringInfoChar(&buf, ' ');
		if (key->secret)
			appendStringInfoString(&buf, "symmetric");
		else
			appendBinaryStringInfo(&buf, text, len);
	}
	return buf.data;
}

static void
raise_no_issuer(const char *issuer)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("issuer \"%s\" does not exist", issuer)));
}

/* issuer_create(...): trust a token issuer. */
Datum
bulwark_issuer_create(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {
		TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID, UUIDARRAYOID,
		TEXTOID, TEXTARRAYOID, JSONBOID, INTERVALOID, TEXTOID, BOOLOID
	};
	/* where each of them is among our arguments: jwks is not a column */
	static const int position[] = {0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
	Datum		values[lengthof(types)];
	bool		nulls[lengthof(types)];
	char	   *issuer;
	char	   *tenant_claim_is;
	uint32		algorithms;
	List	   *keys;
	double		lifetime;
	Datum	   *elements;
	Datum		id;
	bool		found;
	TrustedScope scope;

	require_issuer_admin();

	issuer = text_argument(fcinfo, 0, "issuer", ISSUER_NAME_MAX);
	text_argument(fcinfo, 1, "audience", ISSUER_NAME_MAX);
	array_elements(required(fcinfo, 3, "algorithms"), TEXTOID, -1, TYPALIGN_INT, "algorithms", &elements);
	algorithms = JwsAlgorithmSet(PG_GETARG_ARRAYTYPE_P(3));
	check_algorithms(algorithms);
	keys = usable_keys(DatumGetJsonbP(required(fcinfo, 2, "jwks")), algorithms);
	text_argument(fcinfo, 4, "tenant_claim", CLAIM_NAME_MAX);
	text_argument(fcinfo, 5, "subject_claim", CLAIM_NAME_MAX);
	if (!PG_ARGISNULL(6))
		array_elements(PG_GETARG_DATUM(6), UUIDOID, UUID_LEN, TYPALIGN_CHAR, "tenant_ids", &elements);
	tenant_claim_is = text_argument(fcinfo, 7, "tenant_claim_is", CLAIM_NAME_MAX);
	if (strcmp(tenant_claim_is, "slug") != 0 && strcmp(tenant_claim_is, "key") != 0 &&
		strcmp(tenant_claim_is, "id") != 0)
		BAD_ARGUMENT(errmsg("argument \"tenant_claim_is\" must be slug, key or id"));
	if (!PG_ARGISNULL(8))
		check_typs(PG_GETARG_DATUM(8));
	if (!PG_ARGISNULL(9) && !JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(9)))
		BAD_ARGUMENT(errmsg("argument \"required_claims\" must be a JSON object"));
	lifetime = IntervalSeconds(DatumGetIntervalP(required(fcinfo, 10, "max_lifetime")));
	if (!(lifetime > 0 && lifetime <= LIFETIME_MAX))
		BAD_ARGUMENT(errmsg("argument \"max_lifetime\" must be more than 0 and at most 10 years"));
	if (!PG_ARGISNULL(11))
		text_argument(fcinfo, 11, "scope_claim", CLAIM_NAME_MAX);
	required(fcinfo, 12, "id_tokens");

	for (int i = 0; i < lengthof(types); i++)
	{
		values[i] = PG_GETARG_DATUM(position[i]);
		nulls[i] = PG_ARGISNULL(position[i]);
	}

	TrustedBegin(&scope);
	if (!PG_ARGISNULL(6))
		check_tenants(PG_GETARG_DATUM(6));
	id = TrustedScalar("INSERT INTO bulwark_internal.issuers"
					   " (issuer, audience, algorithms, tenant_claim, subject_claim, tenant_ids,"
					   "  tenant_claim_is, typ, required_claims, max_lifetime, scope_claim, id_tokens)"
					   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
					   " ON CONFLICT (issuer) DO NOTHING RETURNING issuer_id",
					   lengthof(types), types, values, nulls, &found, NULL);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("issuer \"%s\" exists already", issuer),
				 errhint("bulwark.issuer_set_jwks() replaces its keys.")));
	store_keys(id, issuer, keys);
	TrustedEnd(&scope);
	AuditAdmin("issuer_create", "issuer", issuer, NULL, "audience", TextDatumGetCString(values[1]),
			   "keys", keys_text(keys), NULL);
	PG_RETURN_DATUM(id);
}

/* issuer_set_jwks(issuer, jwks): its keys become these, at the next statement. */
Datum
bulwark_issuer_set_jwks(PG_FUNCTION_ARGS)
{
	Oid			type = TEXTOID;
	char	   *issuer;
	Jsonb	   *jwks;
	Datum		name;
	Datum		id;
	Datum		algorithms;
	List	   *keys;
	bool		found;
	TrustedScope scope;

	require_issuer_admin();
	issuer = text_argument(fcinfo, 0, "issuer", ISSUER_NAME_MAX);
	jwks = DatumGetJsonbP(required(fcinfo, 1, "jwks"));

	TrustedBegin(&scope);
	name = PG_GETARG_DATUM(0);
	id = TrustedScalar("SELECT issuer_id FROM bulwark_internal.issuers WHERE issuer = $1 FOR UPDATE",
					   1, &type, &name, NULL, &found, NULL);
	if (!found)
		raise_no_issuer(issuer);
	algorithms = TrustedScalar("SELECT algorithms FROM bulwark_internal.issuers WHERE issuer = $1",
							   1, &type, &name, NULL, NULL, NULL);
	keys = usable_keys(jwks, JwsAlgorithmSet(DatumGetArrayTypeP(algorithms)));
	store_keys(id, issuer, keys);
	TrustedEnd(&scope);
	AuditAdmin("issuer_set_jwks", "issuer", issuer, NULL, "keys", keys_text(keys), NULL);
	PG_RETURN_VOID();
}

/* issuer_drop(issuer): trust it no longer; what it proved ends at the next statement. */
Datum
bulwark_issuer_drop(PG_FUNCTION_ARGS)
{
	Oid			type = TEXTOID;
	char	   *issuer;
	Datum		name;
	uint64		dropped;
	TrustedScope scope;

	require_issuer_admin();
	issuer = text_argument(fcinfo, 0, "issuer", ISSUER_NAME_MAX);

	TrustedBegin(&scope);
	name = PG_GETARG_DATUM(0);
	dropped = TrustedExec("DELETE FROM bulwark_internal.issuers WHERE issuer = $1", 1, &type, &name, NULL);
	if (dropped == 0)
		raise_no_issuer(issuer);
	TrustedEnd(&scope);
	AuditAdmin("issuer_drop", "issuer", issuer, NULL, NULL);
	PG_RETURN_VOID();
}

/* --- another root key ------------------------------------------------------------------- */

typedef struct WrappedSecret
{
	char	   *issuer;
	Datum		issuer_id;
	Datum		thumbprint;
	bytea	   *wrapped;
} WrappedSecret;

static int
read_wrapped_secrets(WrappedSecret **secrets)
{
	int			n = (int) TrustedExec("SELECT i.issuer, k.issuer_id, k.thumbprint, k.wrapped_secret"
									  " FROM bulwark_internal.issuer_keys k JOIN bulwark_internal.issuers i USING (issuer_id)"
									  " WHERE k.wrapped_secret IS NOT NULL ORDER BY 2, 3 FOR UPDATE OF k", 0, NULL, NULL, NULL);
	TupleDesc	desc = SPI_tuptable->tupdesc;

	*secrets = palloc(Max(n, 1) * sizeof(WrappedSecret));
	for (int i = 0; i < n; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		isnull;

		(*secrets)[i] = (WrappedSecret) {
			SPI_getvalue(row, desc, 1),
			datumCopy(SPI_getbinval(row, desc, 2, &isnull), false, UUID_LEN),
			datumCopy(SPI_getbinval(row, desc, 3, &isnull), false, -1),
			DatumGetByteaPCopy(SPI_getbinval(row, desc, 4, &isnull))
		};
	}
	return n;
}

static void
store_wrapped_secret(const WrappedSecret *secret)
{
	static const Oid types[] = {UUIDOID, BYTEAOID, BYTEAOID};
	Datum		values[] = {secret->issuer_id, secret->thumbprint, PointerGetDatum(secret->wrapped)};

	(void) TrustedExec("UPDATE bulwark_internal.issuer_keys SET wrapped_secret = $3"
					   " WHERE issuer_id = $1 AND thumbprint = $2", 3, types, values, NULL);
}

static void
rewrap_secrets(int64 limit, RewrapCount *count)
{
	TrustedScope scope;
	WrappedSecret *secrets;
	int			n;

	TrustedBegin(&scope);
	n = read_wrapped_secrets(&secrets);
	for (int i = 0; i < n; i++)
	{
		char	   *context = ISSUER_WRAP_CONTEXT(secrets[i].issuer);

		switch (KeyringRewrap((uint8 *) VARDATA(secrets[i].wrapped), VARSIZE(secrets[i].wrapped) - VARHDRSZ,
							  context, strlen(context)))
		{
			case REWRAP_DONE:
				if (count->done == limit)
					count->left++;
				else
				{
					store_wrapped_secret(&secrets[i]);
					count->done++;
				}
				break;
			case REWRAP_NOT_NEEDED:
				break;
			case REWRAP_IMPOSSIBLE:
				count->impossible++;
				break;
		}
	}
	TrustedEnd(&scope);
}

void
IssuerInit(void)
{
	KeyringRewrapRegister("issuer secrets", rewrap_secrets);
}
