/*
 * jose.c
 *		Takes a compact JWS apart and reads its JSON, strictly (RFC 7515, 7519,
 *		8725).  Works on bytes that nobody has vouched for yet, so it knows
 *		nothing of the back end but palloc and compiles outside the server too,
 *		where it is fuzzed.
 */
#include "session/jose.h"

#include <errno.h>
#include <math.h>

#include "common/common.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"

#define DATE_MAX	253402300799.0	/* 9999-12-31 23:59:59 UTC */

const JwsAlgorithm jws_algorithms[JWS_ALGORITHMS] = {
	{"RS256", 1 << 0, JWS_RSA, "SHA256"},
	{"RS384", 1 << 1, JWS_RSA, "SHA384"},
	{"RS512", 1 << 2, JWS_RSA, "SHA512"},
	{"PS256", 1 << 3, JWS_PSS, "SHA256"},
	{"PS384", 1 << 4, JWS_PSS, "SHA384"},
	{"PS512", 1 << 5, JWS_PSS, "SHA512"},
	{"ES256", 1 << 6, JWS_ECDSA, "SHA256", "P-256", 32},
	{"ES384", 1 << 7, JWS_ECDSA, "SHA384", "P-384", 48},
	{"ES512", 1 << 8, JWS_ECDSA, "SHA512", "P-521", 66},
	{"EdDSA", 1 << 9, JWS_EDDSA, NULL},
	{"HS256", 1 << 10, JWS_HMAC, "SHA256"},
	{"HS384", 1 << 11, JWS_HMAC, "SHA384"},
	{"HS512", 1 << 12, JWS_HMAC, "SHA512"},
};

const JwsAlgorithm *
JwsAlgorithmByName(const char *name)
{
	for (int i = 0; i < JWS_ALGORITHMS; i++)
		if (strcmp(jws_algorithms[i].name, name) == 0)
			return &jws_algorithms[i];
	return NULL;
}

/* Decode one segment at *buffer and move *buffer behind it. */
static bool
decode_segment(const char *segment, size_t len, uint8 **buffer, const uint8 **out, size_t *outlen)
{
	ssize_t		n = bw_base64url_decode(segment, len, *buffer, BW_BASE64URL_DECODED_MAX(len));

	if (n < 0)
		return false;
	*out = *buffer;
	*outlen = n;
	*buffer += n;
	return true;
}

const char *
JoseSplit(const char *token, size_t len, uint8 *buffer, JoseParts *parts)
{
	const char *end = token + len;
	const char *payload;
	const char *signature;

	if (len > JOSE_MAX_TOKEN)
		return "the token is longer than 16 KiB";

	payload = memchr(token, '.', len);
	signature = payload ? memchr(payload + 1, '.', end - payload - 1) : NULL;
	if (signature == NULL || memchr(signature + 1, '.', end - signature - 1) != NULL)
		return "the token does not have three segments";

	parts->input = token;
	parts->input_len = signature - token;
	if (!decode_segment(token, payload - token, &buffer,
						&parts->header, &parts->header_len) ||
		!decode_segment(payload + 1, signature - payload - 1, &buffer,
						&parts->payload, &parts->payload_len) ||
		!decode_segment(signature + 1, end - signature - 1, &buffer,
						&parts->signature, &parts->signature_len))
		return "a segment is not canonical base64url";
	return NULL;
}

/* --- JSON ------------------------------------------------------------------- */

typedef struct JoseName
{
	uint32		hash;
	const char *name;
} JoseName;

typedef struct JoseParser
{
	JoseObject *object;
	int			maxmembers;
	JoseName   *names;			/* of all objects that are open */
	int			nnames;
	int			depth;
	int			first[JOSE_MAX_DEPTH + 1];	/* names[] of the object at a depth */
	const char *error;
} JoseParser;

/*
 * Refuse what must not reach the parser: nesting that would exhaust its stack,
 * and characters that it could only hand over by raising an error.
 */
static const char *
scan(const char *json, size_t len, bool ascii)
{
	bool		in_string = false;
	int			depth = 0;

	for (size_t i = 0; i < len; i++)
	{
		char		c = json[i];

		if (ascii && (c & 0x80))
			return "JSON with a character that the database's encoding may not have";
		if (in_string)
		{
			if (c == '"')
				in_string = false;
			else if (c == '\\')
			{
				i++;
				if (ascii && i + 3 < len && json[i] == 'u' &&
					(json[i + 1] != '0' || json[i + 2] != '0' || json[i + 3] > '7'))
					return "JSON with a character that the database's encoding may not have";
			}
		}
		else if (c == '"')
			in_string = true;
		else if (c == '{' || c == '[')
		{
			if (++depth > JOSE_MAX_DEPTH)
				return "JSON nested too deeply";
		}
		else if (c == '}' || c == ']')
			depth--;
	}
	return NULL;
}

/* The top-level member whose value is being read. */
static JoseMember *
current_member(JoseParser *parser)
{
	return &parser->object->members[parser->object->nmembers - 1];
}

/* A value begins: is it allowed here, and what does it make of its member? */
static void
value_begins(JoseParser *parser, JoseType type)
{
	if (parser->depth == 0 && type != JOSE_OBJECT)
		parser->error = "JSON that is not an object";
	else if (parser->depth == 1)
		current_member(parser)->type = type;
	else if (parser->depth == 2 && type != JOSE_STRING &&
			 current_member(parser)->type == JOSE_STRINGS)
		current_member(parser)->type = JOSE_ARRAY;
}

static void
nest(JoseParser *parser, JoseType type)
{
	value_begins(parser, type);
	if (parser->depth == JOSE_MAX_DEPTH)
		parser->error = "JSON nested too deeply";
	else
		parser->first[++parser->depth] = parser->nnames;
}

static void
unnest(JoseParser *parser)
{
	if (parser->depth > 0)
		parser->nnames = parser->first[parser->depth--];
}

static BW_JSON_ACTION
object_start(void *state)
{
	JoseParser *parser = state;

	if (!parser->error)
		nest(parser, JOSE_OBJECT);
	BW_JSON_ACTION_RETURN(parser->error);
}

static BW_JSON_ACTION
array_start(void *state)
{
	JoseParser *parser = state;

	if (!parser->error)
		nest(parser, JOSE_STRINGS);
	BW_JSON_ACTION_RETURN(parser->error);
}

static BW_JSON_ACTION
nesting_end(void *state)
{
	JoseParser *parser = state;

	if (!parser->error)
		unnest(parser);
	BW_JSON_ACTION_RETURN(parser->error);
}

static BW_JSON_ACTION
field_start(void *state, char *name, bool isnull)
{
	JoseParser *parser = state;
	JoseObject *object = parser->object;
	uint32		hash = hash_bytes((const unsigned char *) name, strlen(name));

	if (parser->error)
		BW_JSON_ACTION_RETURN(parser->error);

	for (int i = parser->first[parser->depth]; i < parser->nnames; i++)
		if (parser->names[i].hash == hash && strcmp(parser->names[i].name, name) == 0)
		{
			parser->error = "JSON with the same name twice";
			BW_JSON_ACTION_RETURN(parser->error);
		}
	parser->names[parser->nnames++] = (JoseName) {hash, name};

	if (parser->depth == 1)
	{
		if (object->nmembers == parser->maxmembers)
		{
			parser->maxmembers *= 2;
			object->members = repalloc(object->members,
									   parser->maxmembers * sizeof(JoseMember));
		}
		object->members[object->nmembers++] = (JoseMember) {.name = name};
	}
	BW_JSON_ACTION_RETURN(NULL);
}

/* Numbers that are none for a double are none for anybody (RFC 7493). */
static bool
number_fits(const char *text)
{
	double		value;

	errno = 0;
	value = strtod(text, NULL);
	return errno == 0 && isfinite(value);
}

static BW_JSON_ACTION
scalar(void *state, char *text, JsonTokenType token)
{
	JoseParser *parser = state;
	JoseMember *member;
	JoseType	type;

	if (parser->error)
		BW_JSON_ACTION_RETURN(parser->error);

	switch (token)
	{
		case JSON_TOKEN_STRING:
			type = JOSE_STRING;
			break;
		case JSON_TOKEN_NUMBER:
			type = JOSE_NUMBER;
			if (!number_fits(text))
				parser->error = "a number out of range";
			break;
		case JSON_TOKEN_NULL:
			type = JOSE_NULL;
			break;
		default:
			type = JOSE_BOOLEAN;
			break;
	}
	value_begins(parser, type);
	if (parser->error)
		BW_JSON_ACTION_RETURN(parser->error);

	member = current_member(parser);
	if (parser->depth == 1)
		member->text = text;
	else if (parser->depth == 2 && member->type == JOSE_STRINGS)
	{
		/* room for 8, then doubled whenever the number is a power of two */
		if (member->nitems == 0)
			member->items = palloc(8 * sizeof(char *));
		else if (member->nitems >= 8 && (member->nitems & (member->nitems - 1)) == 0)
			member->items = repalloc(member->items, 2 * member->nitems * sizeof(char *));
		member->items[member->nitems++] = text;
	}
	BW_JSON_ACTION_RETURN(NULL);
}

const char *
JoseParse(const char *json, size_t len, bool ascii, JoseObject *object)
{
	JoseParser	parser = {.object = object, .maxmembers = 16};
	JsonSemAction actions = {
		.semstate = &parser,
		.object_start = object_start,
		.object_end = nesting_end,
		.array_start = array_start,
		.array_end = nesting_end,
		.object_field_start = field_start,
		.scalar = scalar,
	};
	const char *cause;
	JsonParseErrorType result;

	if (len > JOSE_MAX_TOKEN)
		return "JSON longer than 16 KiB";
	if (pg_encoding_verifymbstr(PG_UTF8, json, len) != len) /* a NUL stops it too */
		return "JSON that is not valid UTF-8";
	cause = scan(json, len, ascii);
	if (cause)
		return cause;

	object->nmembers = 0;
	object->members = palloc(parser.maxmembers * sizeof(JoseMember));
	/* a member takes four bytes at least */
	parser.names = palloc((len / 4 + 1) * sizeof(JoseName));

	result = pg_parse_json(BW_JSON_LEX(json, len, PG_UTF8), &actions);
	if (parser.error)
		return parser.error;
	return result == JSON_SUCCESS ? NULL : "malformed JSON";
}

const JoseMember *
JoseGet(const JoseObject *object, const char *name)
{
	for (int i = 0; i < object->nmembers; i++)
		if (strcmp(object->members[i].name, name) == 0)
			return &object->members[i];
	return NULL;
}

bool
JoseHas(const JoseMember *member, const char *value)
{
	if (member->type == JOSE_STRING)
		return strcmp(member->text, value) == 0;
	if (member->type != JOSE_STRINGS)
		return false;
	for (int i = 0; i < member->nitems; i++)
		if (strcmp(member->items[i], value) == 0)
			return true;
	return false;
}

bool
JoseDate(const JoseMember *member, double *seconds)
{
	if (member->type != JOSE_NUMBER)
		return false;
	*seconds = strtod(member->text, NULL);
	return *seconds >= 0 && *seconds <= DATE_MAX;
}

bool
JoseIsInteger(const JoseMember *member)
{
	return member->type == JOSE_NUMBER &&
		strspn(member->text, "-0123456789") == strlen(member->text) &&
		strcmp(member->text, "-0") != 0;
}

static const char *
skip_application(const char *typ)
{
	static const char prefix[] = "application/";

	return pg_strncasecmp(typ, prefix, strlen(prefix)) == 0 ? typ + strlen(prefix) : typ;
}

bool
JoseTypEqual(const char *a, const char *b)
{
	return pg_strcasecmp(skip_application(a), skip_application(b)) == 0;
}

/* --- header ------------------------------------------------------------------ */

const char *
JoseHeaderParse(const uint8 *json, size_t len, bool ascii, JoseHeader *header)
{
	/* Extensions that we do not implement, encryption, and keys that come with
	 * the token they are to verify. */
	static const char *const refused[] = {
		"crit", "b64", "enc", "zip", "jwk", "jku", "x5u", "x5c"
	};
	JoseObject	object;
	const JoseMember *alg;
	const JoseMember *kid;
	const JoseMember *typ;
	const char *cause = JoseParse((const char *) json, len, ascii, &object);

	if (cause)
		return cause;
	for (int i = 0; i < lengthof(refused); i++)
		if (JoseGet(&object, refused[i]) != NULL)
			return "the header has a parameter that is refused (crit, b64, enc, zip, jwk, jku, x5u or x5c)";

	alg = JoseGet(&object, "alg");
	if (alg == NULL || alg->type != JOSE_STRING)
		return "the header has no algorithm";
	header->algorithm = JwsAlgorithmByName(alg->text);
	if (header->algorithm == NULL)
		return "the header's algorithm is not one that is supported";

	kid = JoseGet(&object, "kid");
	if (kid != NULL && (kid->type != JOSE_STRING || strlen(kid->text) > JOSE_MAX_KID))
		return "the header's kid is not a string of at most 255 bytes";
	header->kid = kid ? kid->text : NULL;

	typ = JoseGet(&object, "typ");
	if (typ != NULL && typ->type != JOSE_STRING)
		return "the header's typ is not a string";
	header->typ = typ ? typ->text : NULL;
	return NULL;
}
