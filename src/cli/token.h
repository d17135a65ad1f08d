/*
 * token.h
 *		An AES-256 key in a PKCS#11 token, which does the work.
 */
#ifndef BULWARK_CLI_TOKEN_H
#define BULWARK_CLI_TOKEN_H

#include "uri.h"

#include "common/token.h"

typedef enum TokenFault
{
	TOKEN_FINE,
	TOKEN_BROKEN,
	TOKEN_PIN_REFUSED			/* trying again may lock the token */
} TokenFault;

typedef struct Token Token;

/* Load the module, find the token, log in.  token is set, and to be closed, either way. */
extern TokenFault token_open(const TokenUri *uri, bool writable, Token **token, char problem[BW_TOKEN_PROBLEM_MAX]);
extern void token_close(Token *token);

/* The one key that the URI names; false unless it is an AES-256 key that cannot leave
 * the token, and that does what it must. */
extern bool token_find_key(Token *token, const TokenUri *uri, char problem[BW_TOKEN_PROBLEM_MAX]);
/* Make that key, which must not be there. */
extern bool token_make_key(Token *token, const TokenUri *uri, char problem[BW_TOKEN_PROBLEM_MAX]);

/* With the key found. */
extern bool token_root(Token *token, uint8_t root[BW_ROOT_KEY_LEN], char problem[BW_TOKEN_PROBLEM_MAX]);
extern bool token_wrap(Token *token, const uint8_t ad[BW_SHA256_LEN], const uint8_t *text, size_t len,
					   uint8_t *out /* BW_TOKEN_WRAPPED_LEN(len) */ );
extern bool token_unwrap(Token *token, const uint8_t ad[BW_SHA256_LEN], const uint8_t *wrapped, size_t wrapped_len,
						 uint8_t *out /* wrapped_len */ );
/* Does it still wrap and unwrap? */
extern bool token_works(Token *token, char problem[BW_TOKEN_PROBLEM_MAX]);

/* --- pin.c ------------------------------------------------------------------------- */

#define PIN_MAX		255
/* From a file that only its owner, this process's user, can touch, or from a
 * command; its length, or -1 and the problem. */
extern long pin_read(const char *source, char pin[PIN_MAX + 1], char problem[BW_TOKEN_PROBLEM_MAX]);

#endif							/* BULWARK_CLI_TOKEN_H */
