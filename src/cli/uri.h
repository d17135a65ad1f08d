/*
 * uri.h
 *		Which key in which token, by which module: a PKCS #11 URI (RFC 7512).
 */
#ifndef BULWARK_URI_H
#define BULWARK_URI_H

#include "common/token.h"

#define TOKEN_FIELD_MAX	256

/* "" where the URI does not say. */
typedef struct TokenUri
{
	char		token[TOKEN_FIELD_MAX];
	char		manufacturer[TOKEN_FIELD_MAX];
	char		model[TOKEN_FIELD_MAX];
	char		serial[TOKEN_FIELD_MAX];
	char		object[TOKEN_FIELD_MAX];
	unsigned char id[TOKEN_FIELD_MAX];
	size_t		id_len;
	char		module_path[BW_TOKEN_URI_MAX];
	char		pin_source[BW_TOKEN_URI_MAX];	/* a file's path, or a command after '|' */
} TokenUri;

/*
 * False, with the problem in words, for whatever does not name one key in full: it
 * must have a token or a serial, an object or an id, and a module-path.  Attributes
 * that we do not follow are refused, not skipped; so is a PIN in the URI itself.
 */
extern bool token_uri_parse(const char *text, TokenUri *uri, char problem[BW_TOKEN_PROBLEM_MAX]);

#endif							/* BULWARK_URI_H */
