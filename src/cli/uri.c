/*
 * uri.c
 *		PKCS #11 URIs (RFC 7512), as far as they can name a secret key for good.
 *
 *		pkcs11:token=bulwark;object=root?module-path=/usr/lib/m.so&pin-source=file:/etc/pin
 */
#include "uri.h"

#include <stdio.h>
#include <string.h>

#define SCHEME	"pkcs11:"

typedef struct Field
{
	const char *name;
	char	   *value;
	size_t		cap;
} Field;

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The decoded length, or -1: a character that has no place in a URI, or too many. */
static long
percent_decode(const char *src, size_t len, char *dst, size_t cap)
{
	size_t		n = 0;

	for (size_t i = 0; i < len; i++)
	{
		int			c = (unsigned char) src[i];

		if (c <= ' ' || c >= 0x7f || c == '#' || n == cap)
			return -1;
		if (c == '%')
		{
			int			high = i + 2 < len ? hex_digit(src[i + 1]) : -1;
			int			low = i + 2 < len ? hex_digit(src[i + 2]) : -1;

			if (high < 0 || low < 0)
				return -1;
			c = high * 16 + low;
			i += 2;
		}
		dst[n++] = (char) c;
	}
	return (long) n;
}

/* One "name=value" into the field of that name, which must be empty as yet. */
static bool
take_attribute(const char *text, size_t len, const Field *fields, TokenUri *uri, char *problem)
{
	const char *equals = memchr(text, '=', len);
	size_t		name_len = equals != NULL ? (size_t) (equals - text) : len;
	char		value[BW_TOKEN_URI_MAX];
	long		value_len;

	if (equals == NULL || name_len == 0 || name_len > 32)
	{
		strcpy(problem, "the URI has something other than attributes with values");
		return false;
	}
	value_len = percent_decode(equals + 1, len - name_len - 1, value, sizeof(value) - 1);
	if (value_len <= 0)
	{
		snprintf(problem, BW_TOKEN_PROBLEM_MAX, "the URI's attribute \"%.*s\" is empty, too long or not percent-encoded",
				 (int) name_len, text);
		return false;
	}
	value[value_len] = '\0';

	for (const Field *field = fields; field->name != NULL; field++)
	{
		bool		is_id = field->value == (char *) uri->id;

		if (strlen(field->name) != name_len || memcmp(field->name, text, name_len) != 0)
			continue;
		if (is_id ? uri->id_len > 0 : field->value[0] != '\0')
			snprintf(problem, BW_TOKEN_PROBLEM_MAX, "the URI has \"%s\" twice", field->name);
		else if ((size_t) value_len >= field->cap || (!is_id && memchr(value, '\0', (size_t) value_len) != NULL))
			snprintf(problem, BW_TOKEN_PROBLEM_MAX, "the URI's \"%s\" is too long or has a zero byte", field->name);
		else
		{
			memcpy(field->value, value, (size_t) value_len + 1);
			if (is_id)
				uri->id_len = (size_t) value_len;
			return true;
		}
		return false;
	}
	if (name_len == strlen("pin-value") && memcmp(text, "pin-value", name_len) == 0)
		strcpy(problem, "the URI has the PIN itself, which must come from a pin-source");
	else
		snprintf(problem, BW_TOKEN_PROBLEM_MAX, "the URI's attribute \"%.*s\" is not supported", (int) name_len, text);
	return false;
}

static bool
take_attributes(const char *text, size_t len, char separator, const Field *fields, TokenUri *uri, char *problem)
{
	while (len > 0)
	{
		const char *end = memchr(text, separator, len);
		size_t		n = end != NULL ? (size_t) (end - text) : len;

		if (!take_attribute(text, n, fields, uri, problem))
			return false;
		n += end != NULL;
		text += n;
		len -= n;
	}
	return true;
}

/* A file by its path or file: URI (of this machine), or a command. */
static bool
pin_source_ok(char *source, char *problem)
{
	if (strncmp(source, "file://", 7) == 0)
		memmove(source, source + 7, strlen(source + 7) + 1);
	else if (strncmp(source, "file:", 5) == 0)
		memmove(source, source + 5, strlen(source + 5) + 1);
	if (source[0] == '\0' || source[0] == '/' || (source[0] == '|' && source[1] != '\0'))
		return true;
	strcpy(problem, "the URI's pin-source is neither the absolute path of a file nor a command after \"|\"");
	return false;
}

bool
token_uri_parse(const char *text, TokenUri *uri, char problem[BW_TOKEN_PROBLEM_MAX])
{
	char		type[TOKEN_FIELD_MAX] = "";
	const Field path[] = {
		{"token", uri->token, sizeof(uri->token)},
		{"manufacturer", uri->manufacturer, sizeof(uri->manufacturer)},
		{"model", uri->model, sizeof(uri->model)},
		{"serial", uri->serial, sizeof(uri->serial)},
		{"object", uri->object, sizeof(uri->object)},
		{"id", (char *) uri->id, sizeof(uri->id)},
		{"type", type, sizeof(type)},
		{NULL, NULL, 0}
	};
	const Field query[] = {
		{"module-path", uri->module_path, sizeof(uri->module_path)},
		{"pin-source", uri->pin_source, sizeof(uri->pin_source)},
		{NULL, NULL, 0}
	};
	const char *question = strchr(text, '?');
	size_t		path_len;

	memset(uri, 0, sizeof(*uri));
	if (strncmp(text, SCHEME, strlen(SCHEME)) != 0 || strlen(text) >= BW_TOKEN_URI_MAX)
	{
		strcpy(problem, "it is not a PKCS #11 URI (pkcs11:token=...;object=...?module-path=...&pin-source=...)");
		return false;
	}
	text += strlen(SCHEME);
	path_len = question != NULL ? (size_t) (question - text) : strlen(text);
	if (!take_attributes(text, path_len, ';', path, uri, problem) ||
		(question != NULL && !take_attributes(question + 1, strlen(question + 1), '&', query, uri, problem)) ||
		!pin_source_ok(uri->pin_source, problem))
		return false;

	if (uri->token[0] == '\0' && uri->serial[0] == '\0')
		strcpy(problem, "the URI names no token (token= or serial=)");
	else if (uri->object[0] == '\0' && uri->id_len == 0)
		strcpy(problem, "the URI names no key (object= or id=)");
	else if (type[0] != '\0' && strcmp(type, "secret-key") != 0)
		strcpy(problem, "the URI's type is not secret-key");
	else if (uri->module_path[0] != '/')
		strcpy(problem, "the URI's module-path is missing or not an absolute path");
	else
		return true;
	return false;
}
