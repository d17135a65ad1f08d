/*
 * json.c
 *		JSON of one line, read in place.
 */
#include "json.h"

#include <stdlib.h>
#include <string.h>

typedef struct Parser
{
	Json	   *json;
	char	   *at;
	char	   *end;
} Parser;

static bool parse_value(Parser *p, int depth);

static void
skip_space(Parser *p)
{
	while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r'))
		p->at++;
}

/* The number of a new value, or -1 without memory. */
static int64_t
add_value(Parser *p, JsonType type, char *text, size_t len)
{
	Json	   *json = p->json;

	if (json->n == json->room)
	{
		uint32_t	room = json->room == 0 ? 256 : json->room * 2;
		JsonValue  *values;

		if (room < json->room || (values = realloc(json->values, room * sizeof(JsonValue))) == NULL)
			return -1;
		json->values = values;
		json->room = room;
	}
	json->values[json->n] = (JsonValue)
	{
		type, text, len, 0, json->n + 1
	};
	return json->n++;
}

int
json_utf8_length(const unsigned char *s, const unsigned char *end)
{
	int			n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 :
		s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

	if (n == 0 || end - s < n)
		return 0;
	for (int i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
		(s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return n;
}

/* Four hexadecimal digits, or -1. */
static int
hex4(const char *s, const char *end)
{
	int			value = 0;

	if (end - s < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		char		c = s[i];
		int			digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
			c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

		if (digit < 0)
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

static char *
put_utf8(char *out, int code)
{
	if (code < 0x80)
		*out++ = (char) code;
	else if (code < 0x800)
	{
		*out++ = (char) (0xc0 | code >> 6);
		*out++ = (char) (0x80 | (code & 0x3f));
	}
	else if (code < 0x10000)
	{
		*out++ = (char) (0xe0 | code >> 12);
		*out++ = (char) (0x80 | (code >> 6 & 0x3f));
		*out++ = (char) (0x80 | (code & 0x3f));
	}
	else
	{
		*out++ = (char) (0xf0 | code >> 18);
		*out++ = (char) (0x80 | (code >> 12 & 0x3f));
		*out++ = (char) (0x80 | (code >> 6 & 0x3f));
		*out++ = (char) (0x80 | (code & 0x3f));
	}
	return out;
}

/* What follows a backslash at p->at; writes at *out, which never overtakes it. */
static bool
parse_escape(Parser *p, char **out)
{
	static const char names[] = "\"\\/bfnrt";
	static const char values[] = "\"\\/\b\f\n\r\t";
	const char *found;
	int			code,
				low;

	if (p->at == p->end)
		return false;
	if (*p->at != 'u')
	{
		if (*p->at == '\0' || (found = strchr(names, *p->at)) == NULL)
			return false;
		*(*out)++ = values[found - names];
		p->at++;
		return true;
	}
	p->at++;
	if ((code = hex4(p->at, p->end)) < 0)
		return false;
	p->at += 4;
	if (code >= 0xd800 && code < 0xdc00)
	{
		if (p->end - p->at < 6 || p->at[0] != '\\' || p->at[1] != 'u' ||
			(low = hex4(p->at + 2, p->end)) < 0xdc00 || low > 0xdfff)
			return false;
		p->at += 6;
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
	}
	else if (code >= 0xdc00 && code < 0xe000)
		return false;
	*out = put_utf8(*out, code);
	return true;
}

/* Plain ASCII up to the next quote, backslash, control or other byte. */
static char *
plain_run(char *at, char *end)
{
	while (at < end && (unsigned char) *at >= 0x20 && (unsigned char) *at < 0x80 && *at != '"' && *at != '\\')
		at++;
	return at;
}

/* A string whose opening quote is at p->at. */
static bool
parse_string(Parser *p)
{
	char	   *start = ++p->at;
	char	   *out = start;

	for (;;)
	{
		char	   *run = p->at;
		int			n;

		p->at = plain_run(run, p->end);
		if (out != run)
			memmove(out, run, (size_t) (p->at - run));
		out += p->at - run;
		if (p->at == p->end || (unsigned char) *p->at < 0x20)
			return false;
		if (*p->at == '"')
		{
			p->at++;
			return add_value(p, JSON_STRING, start, (size_t) (out - start)) >= 0;
		}
		if (*p->at == '\\')
		{
			p->at++;
			if (!parse_escape(p, &out))
				return false;
			continue;
		}
		n = json_utf8_length((unsigned char *) p->at, (unsigned char *) p->end);
		if (n == 0)
			return false;
		memmove(out, p->at, (size_t) n);
		out += n;
		p->at += n;
	}
}

static bool
digits(Parser *p)
{
	char	   *start = p->at;

	while (p->at < p->end && *p->at >= '0' && *p->at <= '9')
		p->at++;
	return p->at > start;
}

static bool
parse_number(Parser *p)
{
	char	   *start = p->at;

	if (*p->at == '-')
		p->at++;
	if (p->at < p->end && *p->at == '0')
		p->at++;
	else if (!digits(p))
		return false;
	if (p->at < p->end && *p->at == '.')
	{
		p->at++;
		if (!digits(p))
			return false;
	}
	if (p->at < p->end && (*p->at == 'e' || *p->at == 'E'))
	{
		p->at++;
		if (p->at < p->end && (*p->at == '+' || *p->at == '-'))
			p->at++;
		if (!digits(p))
			return false;
	}
	return add_value(p, JSON_NUMBER, start, (size_t) (p->at - start)) >= 0;
}

static bool
parse_word(Parser *p, const char *word, JsonType type)
{
	size_t		len = strlen(word);

	if ((size_t) (p->end - p->at) < len || memcmp(p->at, word, len) != 0)
		return false;
	p->at += len;
	return add_value(p, type, NULL, 0) >= 0;
}

/* The name and the colon of a member. */
static bool
parse_name(Parser *p)
{
	if (p->at == p->end || *p->at != '"' || !parse_string(p))
		return false;
	skip_space(p);
	if (p->at == p->end || *p->at != ':')
		return false;
	p->at++;
	skip_space(p);
	return true;
}

/* An array or object whose bracket is at p->at. */
static bool
parse_group(Parser *p, int depth)
{
	bool		object = *p->at == '{';
	char		close = object ? '}' : ']';
	int64_t		self = add_value(p, object ? JSON_OBJECT : JSON_ARRAY, NULL, 0);
	uint32_t	size = 0;

	if (self < 0 || depth >= JSON_MAX_DEPTH)
		return false;
	p->at++;
	skip_space(p);
	if (p->at < p->end && *p->at == close)
		p->at++;
	else
		for (;;)
		{
			if ((object && !parse_name(p)) || !parse_value(p, depth + 1))
				return false;
			size++;
			skip_space(p);
			if (p->at == p->end || (*p->at != ',' && *p->at != close))
				return false;
			if (*p->at++ == close)
				break;
			skip_space(p);
		}
	p->json->values[self].size = size;
	p->json->values[self].next = p->json->n;
	return true;
}

static bool
parse_value(Parser *p, int depth)
{
	if (p->at == p->end)
		return false;
	switch (*p->at)
	{
		case '{':
		case '[':
			return parse_group(p, depth);
		case '"':
			return parse_string(p);
		case 't':
			return parse_word(p, "true", JSON_TRUE);
		case 'f':
			return parse_word(p, "false", JSON_FALSE);
		case 'n':
			return parse_word(p, "null", JSON_NULL);
		default:
			return (*p->at == '-' || (*p->at >= '0' && *p->at <= '9')) && parse_number(p);
	}
}

bool
json_parse(Json *json, char *text, size_t len)
{
	Parser		p = {json, text, text + len};

	json->n = 0;
	skip_space(&p);
	if (!parse_value(&p, 0))
		return false;
	skip_space(&p);
	return p.at == p.end;
}

void
json_free(Json *json)
{
	free(json->values);
	*json = (Json)
	{
		0
	};
}

const JsonValue *
json_next(const Json *json, const JsonValue *value)
{
	return json->values + value->next;
}

const JsonValue *
json_get(const Json *json, const JsonValue *object, const char *name, bool *twice)
{
	const JsonValue *found = NULL;
	const JsonValue *at = json_first(object);

	for (uint32_t i = 0; i < object->size; i++)
	{
		const JsonValue *value = at + 1;

		if (json_is(at, name))
		{
			if (found != NULL)
				*twice = true;
			found = value;
		}
		at = json_next(json, value);
	}
	return found;
}

bool
json_is(const JsonValue *value, const char *text)
{
	size_t		len = strlen(text);

	return value->type == JSON_STRING && value->len == len && memcmp(value->text, text, len) == 0;
}

bool
json_integer(const JsonValue *value, int64_t *result)
{
	bool		negative = value->type == JSON_NUMBER && value->text[0] == '-';
	uint64_t	limit = (uint64_t) INT64_MAX + negative;
	uint64_t	n = 0;

	if (value->type != JSON_NUMBER)
		return false;
	for (size_t i = negative; i < value->len; i++)
	{
		unsigned	digit = (unsigned) (value->text[i] - '0');

		if (digit > 9 || n > (limit - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*result = negative ? (int64_t) (0 - n) : (int64_t) n;
	return true;
}

bool
json_base64(const JsonValue *value, bw_bytes *bytes)
{
	ssize_t		n = -1;

	if (value != NULL && value->type == JSON_STRING)
		n = bw_base64_decode(value->text, value->len, (uint8_t *) value->text);
	bytes->data = n < 0 ? NULL : (const uint8_t *) value->text;
	bytes->len = n < 0 ? 0 : (size_t) n;
	return n >= 0;
}

const JsonValue *
json_member(const Json *json, const char *name, JsonType type)
{
	bool		twice = false;
	const JsonValue *value = json_get(json, json->values, name, &twice);

	return value != NULL && value->type == type && !twice ? value : NULL;
}

bool
json_member_integer(const Json *json, const char *name, int64_t *result)
{
	const JsonValue *value = json_member(json, name, JSON_NUMBER);

	return value != NULL && json_integer(value, result) && *result >= 0;
}

bool
json_member_base64(const Json *json, const char *name, bw_bytes *bytes)
{
	return json_base64(json_member(json, name, JSON_STRING), bytes);
}
