/*
 * constant_fuzz.c
 *		libFuzzer target for what overwrites the constants of statements.  The input
 *		is text around a canary that stands in quotes; whatever the text, its length
 *		and line ends stay, and hiding it again changes nothing.  Where a statement
 *		begins with the canary's literal, the canary goes.
 */
#include "session/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "session/constant.c"

#define REQUIRE(condition) \
	do { if (!(condition)) { fprintf(stderr, "does not hold: %s\n", #condition); abort(); } } while (0)

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The server's own, of which nothing may be needed. */
bool
errstart_cold(int elevel, const char *domain)
{
	abort();
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	abort();
}

int
errmsg_internal(const char *fmt,...)
{
	abort();
}

static const char *const names[] = {"encrypt", "blind_index"};

static void
hide(char *text, QuotedIs quoted, Backslash backslash)
{
	size_t		len = strlen(text);
	char	   *before = strdup(text);
	char	   *once;

	HideConstants(text, text, quoted, backslash);
	REQUIRE(strlen(text) == len);
	for (size_t i = 0; i < len; i++)
		REQUIRE((before[i] == '\n') == (text[i] == '\n'));
	once = strdup(text);
	HideConstants(text, text, quoted, backslash);
	REQUIRE(strcmp(once, text) == 0);
	HideKeepName(text);
	REQUIRE(strlen(text) == len);
	HideValues(before);
	REQUIRE(strlen(before) <= len);
	free(before);
	free(once);
}

/* Text in double quotes, its own doubled: a name, or a field of CSV. */
static char *
quote_twice(const char *text)
{
	char	   *quoted = malloc(2 * strlen(text) + 3);
	char	   *at = quoted;

	*at++ = '"';
	for (; *text != '\0'; text++)
	{
		if (*text == '"')
			*at++ = '"';
		*at++ = *text;
	}
	strcpy(at, "\"");
	return quoted;
}

/* A line of pgaudit about a statement with any name in it, and any parameter. */
static void
audit_line(const char *text)
{
	static const char *const after[] = {"", ",3"};
	char	   *name = quote_twice(text);
	size_t		room = 12 * strlen(text) + 400;
	char	   *statement = malloc(room);
	char	   *line = malloc(room);

	for (int i = 0; i < 2; i++)
	{
		char	   *field,
				   *parameter;

		snprintf(statement, room, "SELECT %s, encrypt('canary'), E'canary\\'canary', 7777, $x$canary$x$", name);
		field = quote_twice(statement);
		snprintf(statement, room, "canary%s,canary", text);
		parameter = quote_twice(statement);
		snprintf(line, room, "AUDIT: SESSION,1,1,WRITE,INSERT,TABLE,%s,%s,%s%s", name, field, parameter, after[i]);
		free(field);
		free(parameter);
		/* the canary that the name has itself is the fuzzer's */
		HideAuditLine(line);
		REQUIRE(strstr(text, "canary") != NULL || strstr(text, "7777") != NULL ||
				(strstr(line, "canary") == NULL && strstr(line, "7777") == NULL));
	}
	snprintf(line, room, "AUDIT: SESSION,1,1,READ,SELECT,,,SELECT encrypt($1),canary");
	HideAuditLine(line);
	REQUIRE(strcmp(line, "AUDIT: SESSION,1,1,READ,SELECT,,,SELECT encrypt($1),******") == 0);
	snprintf(line, room, "AUDIT: %s", text);
	HideAuditLine(line);
	free(name);
	free(statement);
	free(line);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char literal[] = "SELECT encrypt('canary'), E'canary\\'', $x$canary$x$, 7777 ";
	char	   *text;

	if (nwords == 0)
		HideConstantsOf(names, lengthof(names));
	if (memchr(data, 0, size) != NULL || size < 1)
		return 0;

	text = strndup((const char *) data, size);
	(void) FindHiddenWord(text);
	audit_line(text);
	hide(text, (QuotedIs) (data[0] % 4), (Backslash) (data[0] / 4 % 3));
	free(text);

	text = malloc(sizeof(literal) + size);
	memcpy(text, literal, sizeof(literal) - 1);
	memcpy(text + sizeof(literal) - 1, data, size);
	text[sizeof(literal) - 1 + size] = '\0';
	REQUIRE(FindHiddenWord(text) == text + 7);
	hide(text, QUOTED_NAME, (Backslash) (data[0] % 3));
	text[sizeof(literal) - 1] = '\0';
	REQUIRE(strstr(text, "canary") == NULL && strstr(text, "7777") == NULL);
	free(text);
	return 0;
}
