/*
 * leak.c
 *		Where plaintexts would show beside the values.
 *
 *		A statement that gives a plaintext as a literal or a bound parameter is
 *		neither refused nor shown: the session room overwrites the constants of
 *		statements that name one of these functions.  What the server's own settings
 *		would leak all the same is told by secrets_check(), to which this file adds
 *		what SQL cannot see.
 */
#include "secrets/secrets.h"

#include <sys/resource.h>

#include "utils/builtins.h"

/* Functions that are given plaintexts, passphrases or keys. */
static const char *const takers[] = {
	"encrypt", "encrypt_text", "encrypt_bytea", "encrypt_jsonb",
	"encrypt_for", "encrypt_text_for", "encrypt_bytea_for", "encrypt_jsonb_for",
	"blind_index", "hmac_sign", "credential_create", "credential_rotate", "secrets_import_pgp",
	"issuer_create", "issuer_set_jwks"
};

PG_FUNCTION_INFO_V1(bulwark_process_limit);

/* A resource limit of the server's processes in bytes: core or memlock; NULL: none. */
Datum
bulwark_process_limit(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			resource = strcmp(name, "core") == 0 ? RLIMIT_CORE : RLIMIT_MEMLOCK;
	struct rlimit limit;

	if (getrlimit(resource, &limit) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not read a limit of the process: %m")));
	if (limit.rlim_cur == RLIM_INFINITY)
		PG_RETURN_NULL();
	PG_RETURN_INT64((int64) Min(limit.rlim_cur, (rlim_t) PG_INT64_MAX));
}

void
LeakInit(void)
{
	HideConstantsOf(takers, lengthof(takers));
}
