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

bool		standard_conforming_strings = true;

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
hide(char *text, QuotedIs quoted)
{
	size_t		len = strlen(text);
	char	   *before = strdup(text);
	char	   *once;

	HideConstants(text, text, quoted);
	REQUIRE(strlen(text) == len);
	for (size_t i = 0; i < len; i++)
		REQUIRE((before[i] == '\n') == (text[i] == '\n'));
	once = strdup(text);
	HideConstants(text, text, quoted);
	REQUIRE(strcmp(once, text) == 0);
	free(before);
	free(once);
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
	standard_conforming_strings = (data[0] & 1) != 0;

	text = strndup((const char *) data, size);
	(void) FindHiddenWord(text);
	hide(text, (QuotedIs) (data[0] % 3));
	free(text);

	text = malloc(sizeof(literal) + size);
	memcpy(text, literal, sizeof(literal) - 1);
	memcpy(text + sizeof(literal) - 1, data, size);
	text[sizeof(literal) - 1 + size] = '\0';
	REQUIRE(FindHiddenWord(text) == text + 7);
	hide(text, QUOTED_NAME);
	text[sizeof(literal) - 1] = '\0';
	REQUIRE(strstr(text, "canary") == NULL && strstr(text, "7777") == NULL);
	free(text);
	return 0;
}
