/*
 * cmd_token.c
 *		bulwarkctl token-keygen URI: a root key in a PKCS#11 token, which it never leaves.
 *		bulwarkctl token-id URI: the id of the root key there, if the server could use it.
 */
#include "cli.h"
#include "token.h"

#include <stdio.h>

/* Open the token, see to the key, and print its id. */
static int
show_key(int argc, char **argv, bool make)
{
	char		problem[BW_TOKEN_PROBLEM_MAX] = "";
	TokenUri	uri;
	Token	   *token = NULL;
	uint8_t		root[BW_ROOT_KEY_LEN];
	uint8_t		id[BW_ROOT_KEY_ID_LEN];
	char		hex[2 * BW_ROOT_KEY_ID_LEN];
	bool		ok;

	if (argc != 2)
	{
		complain("%s needs one argument, the PKCS #11 URI of a key", argv[0]);
		return CLI_USAGE;
	}
	if (!token_uri_parse(argv[1], &uri, problem))
	{
		complain("%s", problem);
		return CLI_USAGE;
	}
	ok = token_open(&uri, make, &token, problem) == TOKEN_FINE &&
		(make ? token_make_key(token, &uri, problem) : token_find_key(token, &uri, problem)) &&
		token_root(token, root, problem);
	token_close(token);
	if (!ok)
	{
		complain("%s", problem);
		return CLI_FAILED;
	}
	bw_root_key_id(root, id);
	bw_wipe(root, sizeof(root));
	bw_hex_encode(id, sizeof(id), hex);
	printf("root key %.*s\n", (int) sizeof(hex), hex);
	return CLI_OK;
}

int
cmd_token_keygen(int argc, char **argv)
{
	return show_key(argc, argv, true);
}

int
cmd_token_id(int argc, char **argv)
{
	return show_key(argc, argv, false);
}
