/*
 * constant.c
 *		Statements whose constants are nobody's business: those that name a function
 *		which takes plaintexts.  What they are called is registered by the room that
 *		has them; here every string and number of such a statement is overwritten,
 *		in place and at the same length, so that the text still reads as the same
 *		tokens.
 *
 *		The text may be a statement as the client sent it, syntax errors and all, a
 *		part of one, or a log line with one in it.  So this is a scanner of its own,
 *		which raises no error, allocates nothing, and takes for a constant whatever
 *		may be one.
 */
#include "session/session.h"

#include <ctype.h>

#define MAX_WORDS	32
static const char *words[MAX_WORDS];
static int	nwords = 0;

void
HideConstantsOf(const char *const *names, int n)
{
	if (nwords + n > MAX_WORDS)
		elog(FATAL, "too many functions that take plaintexts");
	for (int i = 0; i < n; i++)
		words[nwords++] = names[i];
}

static inline bool
is_word_start(char c)
{
	return isalpha((unsigned char) c) || c == '_' || IS_HIGHBIT_SET(c);
}

static inline bool
is_word(char c)
{
	return is_word_start(c) || isdigit((unsigned char) c) || c == '$';
}

/*
 * A name with Unicode escapes, which may spell any: too rare to be read, so it is taken
 * for one of ours.  The statement may be a JSON string.
 */
static inline bool
is_unicode_name(const char *p)
{
	return (p[0] == 'u' || p[0] == 'U') && p[1] == '&' && (p[2] == '"' || (p[2] == '\\' && p[3] == '"'));
}

static bool
is_hidden_word(const char *word, size_t len)
{
	for (int i = 0; i < nwords; i++)
		if (pg_strncasecmp(word, words[i], len) == 0 && words[i][len] == '\0')
			return true;
	return false;
}

const char *
FindHiddenWord(const char *text)
{
	if (text == NULL || nwords == 0)
		return NULL;
	while (*text != '\0')
	{
		size_t		len = 0;

		if (!is_word(*text))
		{
			text++;
			continue;
		}
		while (is_word(text[len]))
			len++;
		if (len == 1 && is_unicode_name(text))
			return text;
		if (is_hidden_word(text, len))
			return text;
		text += len;
	}
	return NULL;
}

/* Overwrite what is between start and end, but for the ends of lines. */
static void
mask(char *start, const char *end)
{
	for (; start < end; start++)
		if (*start != '\n' && *start != '\r')
			*start = '*';
}

/* The end of the quoted string that begins behind its quote: at the quote, or the NUL. */
static char *
quoted_end(char *p, char quote, bool escapes)
{
	for (; *p != '\0'; p++)
	{
		if (escapes && *p == '\\' && p[1] != '\0')
			p++;
		else if (*p == quote)
		{
			if (p[1] != quote)
				break;
			p++;
		}
	}
	return p;
}

/*
 * The same where nobody knows whether a backslash escapes: as standard_conforming_strings
 * was when a statement was read, and not where bound values were printed.  What follows a
 * quote behind an odd number of them may be on either side of it, so everything to the NUL
 * is taken for the constant.
 */
static char *
unsure_end(char *p)
{
	int			backslashes = 0;

	for (; *p != '\0'; p++)
	{
		if (*p == '\'')
		{
			if (backslashes % 2 == 1)
				return p + strlen(p);
			if (p[1] != '\'')
				break;
			p++;
		}
		backslashes = *p == '\\' ? backslashes + 1 : 0;
	}
	return p;
}

/* The end of a name in a field of CSV, behind its doubled quote; a quote in it is four. */
static char *
twice_quoted_end(char *p)
{
	for (; *p != '\0'; p++)
	{
		if (p[0] != '"' || p[1] != '"')
			continue;
		if (p[2] != '"' || p[3] != '"')
			return p + 2;
		p += 3;
	}
	return p;
}

static char *
skip_line(char *p)
{
	while (*p != '\0' && *p != '\n' && *p != '\r')
		p++;
	return p;
}

/* A string constant, and those that continue it on further lines, behind comments too. */
static char *
hide_string(char *p, Backslash backslash)
{
	for (;;)
	{
		char	   *end = backslash == BACKSLASH_UNSURE ? unsure_end(p + 1) : quoted_end(p + 1, '\'', backslash == BACKSLASH_ESCAPES);
		char	   *next;
		bool		newline = false;

		mask(p + 1, end);
		if (*end == '\0')
			return end;
		for (next = end + 1; isspace((unsigned char) *next) || (next[0] == '-' && next[1] == '-'); next++)
		{
			if (*next == '-')
				next = skip_line(next);
			if (*next == '\0')
				break;
			newline = newline || *next == '\n' || *next == '\r';
		}
		if (!newline || *next != '\'')
			return end + 1;
		p = next;
	}
}

/* A constant in dollar quotes, or what only looks like one. */
static char *
hide_dollar(char *p)
{
	char	   *tag_end = p + 1;
	char	   *end;
	size_t		len;

	if (is_word_start(*tag_end))
		while (is_word(*tag_end) && *tag_end != '$')
			tag_end++;
	if (*tag_end != '$')
	{
		/* a parameter */
		for (p++; isdigit((unsigned char) *p); p++)
			;
		return p;
	}
	len = tag_end + 1 - p;
	for (end = tag_end + 1; *end != '\0' && strncmp(end, p, len) != 0; end++)
		;
	mask(tag_end + 1, end);
	return *end == '\0' ? end : end + len;
}

static char *
hide_number(char *p)
{
	if (p[0] == '0' && p[1] != '\0' && strchr("xXoObB", p[1]) != NULL)
		p += 2;
	for (; isalnum((unsigned char) *p) || *p == '.' || *p == '_'; p++)
		if (isalnum((unsigned char) *p))
			*p = '0';
	return p;
}

static char *
skip_comment(char *p)
{
	int			depth = 0;

	if (p[0] == '-')
		return skip_line(p);
	do
	{
		if (p[0] == '/' && p[1] == '*')
		{
			depth++;
			p += 2;
		}
		else if (p[0] == '*' && p[1] == '/')
		{
			depth--;
			p += 2;
		}
		else
			p++;
	} while (depth > 0 && *p != '\0');
	return p;
}

void
HideConstants(char *text, const char *numbers_from, QuotedIs quoted, Backslash backslash)
{
	char	   *p = text;

	while (p != NULL && *p != '\0')
	{
		if ((p[0] == '-' && p[1] == '-') || (p[0] == '/' && p[1] == '*'))
			p = skip_comment(p);
		else if (*p == '\'')
			p = hide_string(p, backslash);
		else if (p[0] == '"' && p[1] == '"' && quoted == QUOTED_TWICE)
			p = twice_quoted_end(p + 2);
		else if (p[0] == '\\' && p[1] == '"' && quoted == QUOTED_STATEMENT)
		{
			/* a name in a statement that is a JSON string */
			char	   *end = strstr(p + 2, "\\\"");

			p = end == NULL ? p + 2 : end + 2;
		}
		else if (*p == '"' && quoted != QUOTED_STATEMENT)
		{
			char	   *end = quoted_end(p + 1, '"', false);

			if (quoted == QUOTED_INPUT)
				mask(p + 1, end);
			p = *end == '\0' ? end : end + 1;
		}
		else if (*p == '$')
			p = hide_dollar(p);
		else if (isdigit((unsigned char) *p))
		{
			if (numbers_from != NULL && p >= numbers_from)
				p = hide_number(p);
			else
				while (isalnum((unsigned char) *p) || *p == '.' || *p == '_')
					p++;
		}
		else if (is_word_start(*p))
		{
			char	   *start = p;

			while (is_word(*p))
				p++;
			if (*p == '\'' && p == start + 1 && (*start == 'e' || *start == 'E'))
				p = hide_string(p, BACKSLASH_ESCAPES);
		}
		else
			p++;
	}
}

/* The end of what is copied towards the front. */
static char *
copy_to(char *to, const char *from, const char *end)
{
	memmove(to, from, end - from);
	return to + (end - from);
}

/* What has been hidden between dollar quotes, lines too; 0: nothing. */
static size_t
hidden_len(const char *p)
{
	size_t		len = strspn(p, "*\r\n");

	return p[len] == '$' && memchr(p, '*', len) != NULL ? len : 0;
}

/* The call in which a trigger's definition ends: names in it are constants, as strings are. */
typedef enum TriggerCall
{
	NO_CALL, EXECUTE_READ, CALL_BEGUN, ARGUMENTS
} TriggerCall;

static bool
is_keyword(const char *word, size_t len, const char *keyword)
{
	return len == strlen(keyword) && pg_strncasecmp(word, keyword, len) == 0;
}

static TriggerCall
call_after_word(TriggerCall call, const char *word, size_t len)
{
	if (call == ARGUMENTS || call == CALL_BEGUN)
		return call;
	if (call == EXECUTE_READ && (is_keyword(word, len, "function") || is_keyword(word, len, "procedure")))
		return CALL_BEGUN;
	return is_keyword(word, len, "execute") ? EXECUTE_READ : NO_CALL;
}

static TriggerCall
call_after_sign(TriggerCall call, char sign)
{
	if (sign == '(')
		return call == CALL_BEGUN ? ARGUMENTS : call == ARGUMENTS ? ARGUMENTS : NO_CALL;
	return sign == ')' || sign == ';' ? NO_CALL : call;
}

void
HideValues(char *text)
{
	char	   *to = text;
	char	   *p = text;
	size_t		hidden;
	TriggerCall call = NO_CALL;

	HideConstants(text, text, QUOTED_NAME, BACKSLASH_UNSURE);
	while (*p != '\0')
	{
		char	   *start = p;

		if ((p[0] == '-' && p[1] == '-') || (p[0] == '/' && p[1] == '*'))
		{
			p = skip_comment(p);
			*to++ = ' ';
		}
		else if (*p == '"')
		{
			p = quoted_end(p + 1, '"', false);
			p += *p != '\0';
			if (call == ARGUMENTS)
				*to++ = '*';
			else
				to = copy_to(to, start, p);
		}
		else if (p > text && p[-1] == '$' && (hidden = hidden_len(p)) > 0)
		{
			*to++ = '*';
			p += hidden;
		}
		else if (*p == '\'')
		{
			/* of what is hidden one, of nothing none */
			*to++ = *p++;
			hidden = strspn(p, "*\r\n");
			if (hidden > 0)
				*to++ = '*';
			p += hidden;
			if (*p == '\'')
				*to++ = *p++;
		}
		else if (is_word_start(*p))
		{
			while (is_word(*p) && *p != '$')
				p++;
			if (call == ARGUMENTS)
				*to++ = '*';
			else
				to = copy_to(to, start, p);
			call = call_after_word(call, start, p - start);
		}
		else if (isdigit((unsigned char) *p))
		{
			p += strspn(p, "0123456789._xXoObB");
			*to++ = '0';
		}
		else
		{
			call = call_after_sign(call, *p);
			*to++ = *p++;
		}
	}
	*to = '\0';
}

/* Overwrite a name in text, in whichever case, also where it has been cut off as too long. */
static void
hide_name(char *text, const char *name, size_t len)
{
	size_t		least = Min(len, NAMEDATALEN - 4);

	for (char *p = text; len > 0 && *p != '\0'; p++)
	{
		size_t		n = least;

		if ((p > text && is_word(p[-1])) || pg_strncasecmp(p, name, least) != 0)
			continue;
		while (n < len && p[n] == name[n])
			n++;
		if (!is_word(p[n]))
			mask(p, p + n);
	}
}

void
HideWordsOf(char *message, const char *statement)
{
	const char *p = FindHiddenWord(statement);
	size_t		len;

	if (message == NULL || p == NULL)
		return;
	for (; *p != '\0'; p += len)
	{
		len = 0;
		while (is_word(p[len]))
			len++;
		if (len > 0 && !is_hidden_word(p, len) && (len != strlen(BULWARK_SCHEMA) || pg_strncasecmp(p, BULWARK_SCHEMA, len) != 0))
			hide_name(message, p, len);
		if (*p == '"')
			hide_name(message, p + 1, quoted_end(unconstify(char *, p + 1), '"', false) - (p + 1));
		len = Max(len, 1);
	}
}

void
HideBehindWord(char *text)
{
	const char *word = FindHiddenWord(text);
	char	   *p;

	if (word == NULL)
		return;
	for (p = text + (word - text); is_word(*p); p++)
		;
	mask(p, p + strlen(p));
}

/*
 * Is a prepared statement executed?  (A trigger's function, and a string of PL/pgSQL,
 * are not.)
 */
bool
NamesExecute(const char *text)
{
	static const char execute[] = "EXECUTE";

	for (const char *p = text; p != NULL && *p != '\0';)
	{
		const char *word = p;

		if (!is_word(*p))
		{
			p++;
			continue;
		}
		while (is_word(*p))
			p++;
		if (p - word != strlen(execute) || pg_strncasecmp(word, execute, strlen(execute)) != 0)
			continue;
		while (isspace((unsigned char) *p))
			p++;
		if ((is_word_start(*p) || *p == '"') && pg_strncasecmp(p, "FUNCTION", 8) != 0 && pg_strncasecmp(p, "PROCEDURE", 9) != 0)
			return true;
	}
	return false;
}

/*
 * What is overwritten is as long as a name at least, since there was one in it.  The
 * name that is put there is always the same, so that it tells nothing.
 */
void
HideKeepName(char *text)
{
	size_t		len = strlen(words[0]);

	if (FindHiddenWord(text) != NULL)
		return;
	for (char *p = text; (p = strchr(p, '*')) != NULL;)
	{
		size_t		n = strspn(p, "*");

		if (n >= len + 2)
		{
			memcpy(p + 1, words[0], len);
			return;
		}
		if (n == len && (p == text || !is_word(p[-1])) && !is_word(p[n]))
		{
			memcpy(p, words[0], len);
			return;
		}
		p += n;
	}
}

/* The end of a field of CSV: at its comma, or the NUL. */
static char *
field_end(char *p)
{
	if (*p == '"')
		p = quoted_end(p + 1, '"', false);
	while (*p != '\0' && *p != ',')
		p++;
	return p;
}

/* The values that were bound, as one field; pgaudit's own words for none stay. */
static void
hide_audit_parameters(char *field)
{
	static const char *const none[] = {"<none>", "<not logged>", "<previously logged>", "<long param suppressed>"};
	char	   *end = field_end(field);

	for (int i = 0; i < lengthof(none); i++)
		if ((size_t) (end - field) == strlen(none[i]) && memcmp(field, none[i], end - field) == 0)
			return;
	if (*field == '"' && end > field + 1)
		mask(field + 1, end - 1);
	else
		mask(field, end);
}

/*
 * AUDIT: type, statement, substatement, class, command, kind of object, its name,
 * the statement, its parameters, and what may follow, as CSV.
 */
void
HideAuditLine(char *text)
{
	static const char prefix[] = "AUDIT: ";
	char	   *p = text;
	char	   *end;
	char		last;

	if (text == NULL || strncmp(text, prefix, strlen(prefix)) != 0)
		return;
	p += strlen(prefix);
	for (int i = 0; i < 7; i++)
	{
		p = field_end(p);
		if (*p++ == '\0')
			return;
	}
	end = field_end(p);
	last = *end;
	*end = '\0';
	if (*p == '"')
		HideConstants(p + 1, p, QUOTED_TWICE, BACKSLASH_UNSURE);
	else
		HideConstants(p, p, QUOTED_NAME, BACKSLASH_UNSURE);
	*end = last;
	if (last == ',')
		hide_audit_parameters(end + 1);
}
