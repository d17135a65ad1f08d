/*
 * token_fuzz.c
 *		libFuzzer target for what reads bytes that nobody has vouched for: the
 *		compact form and the JSON of tokens (session/jose.c), and the shape of
 *		a ticket.  Each input is tried as a token, as the JSON of a header and
 *		of claims, and as a ticket.
 *
 * Runs outside the server on libpgcommon's JSON parser.  Memory comes from an
 * arena as the server's contexts do: one malloc a piece, so that the address
 * sanitizer sees an overrun, and all freed after each input.
 */
#include "session/jose.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/common.h"

/* --- palloc ------------------------------------------------------------------ */

typedef struct Piece
{
	struct Piece *next;
	size_t		size;
	max_align_t data[];
} Piece;

static Piece *pieces = NULL;

void *
palloc(Size size)
{
	Piece	   *piece = malloc(sizeof(Piece) + size);

	if (piece == NULL)
		abort();
	piece->size = size;
	piece->next = pieces;
	pieces = piece;
	return piece->data;
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void *
repalloc(void *old, Size size)
{
	size_t		oldsize = ((Piece *) ((char *) old - offsetof(Piece, data)))->size;

	return memcpy(palloc(size), old, oldsize < size ? oldsize : size);
}

char *
pstrdup(const char *s)
{
	return strcpy(palloc(strlen(s) + 1), s);
}

void
pfree(void *p)
{
}

static void
free_all(void)
{
	while (pieces)
	{
		Piece	   *next = pieces->next;

		free(pieces);
		pieces = next;
	}
}

/* --- what must hold ------------------------------------------------------------ */

#define REQUIRE(condition) \
	do { if (!(condition)) { fprintf(stderr, "does not hold: %s\n", #condition); abort(); } } while (0)

/* An accepted object has no name twice, and its values are as their types say. */
static void
check_object(const JoseObject *object)
{
	double		seconds;

	for (int i = 0; i < object->nmembers; i++)
	{
		const JoseMember *m = &object->members[i];

		for (int j = 0; j < i; j++)
			REQUIRE(strcmp(m->name, object->members[j].name) != 0);
		REQUIRE(JoseGet(object, m->name) == m);
		if (m->type == JOSE_STRING)
			REQUIRE(JoseHas(m, m->text));
		if (m->type == JOSE_STRINGS)
			for (int j = 0; j < m->nitems; j++)
				REQUIRE(JoseHas(m, m->items[j]));
		if (JoseDate(m, &seconds))
			REQUIRE(m->type == JOSE_NUMBER && seconds >= 0 && seconds < 253402300800.0);
		if (JoseIsInteger(m))
			REQUIRE(strpbrk(m->text, ".eE+") == NULL);
		if (m->type == JOSE_STRING)
			REQUIRE(JoseTypEqual(m->text, m->text));
	}
}

static void
try_json(const char *json, size_t len)
{
	JoseObject	object;
	JoseHeader	header;

	for (int ascii = 0; ascii <= 1; ascii++)
	{
		if (JoseParse(json, len, ascii, &object) == NULL)
			check_object(&object);
		if (JoseHeaderParse((const uint8 *) json, len, ascii, &header) == NULL)
		{
			REQUIRE(JwsAlgorithmByName(header.algorithm->name) == header.algorithm);
			REQUIRE(header.kid == NULL || strlen(header.kid) <= JOSE_MAX_KID);
		}
	}
}

/* An accepted token is the one text that its parts encode to. */
static void
try_token(const char *token, size_t len)
{
	uint8	   *buffer = palloc(JOSE_MAX_TOKEN);
	char	   *again = palloc(JOSE_MAX_TOKEN + 8);
	size_t		n = 0;
	JoseParts	parts;

	if (JoseSplit(token, len, buffer, &parts) != NULL)
		return;
	n += bw_base64url_encode(parts.header, parts.header_len, again + n);
	again[n++] = '.';
	n += bw_base64url_encode(parts.payload, parts.payload_len, again + n);
	REQUIRE(n == parts.input_len && memcmp(parts.input, again, n) == 0);
	again[n++] = '.';
	n += bw_base64url_encode(parts.signature, parts.signature_len, again + n);
	REQUIRE(n == len && memcmp(token, again, n) == 0);

	try_json((const char *) parts.header, parts.header_len);
	try_json((const char *) parts.payload, parts.payload_len);
}

/* The encoding that tickets are made of: fixed fields, then two strings. */
static void
try_ticket(const uint8 *data, size_t len)
{
	uint8	   *binary = palloc(len + 1);
	ssize_t		n = bw_base64url_decode((const char *) data, len, binary, len);
	const bw_reader inputs[] = {{data, len, 0, false}, {binary, n > 0 ? n : 0, 0, false}};

	for (int i = 0; i < lengthof(inputs); i++)
	{
		bw_reader	r = inputs[i];
		char		string[64];
		char		scope[1025];
		uint8		field[16];

		bw_get_uint(&r, 1);
		bw_get(&r, field, sizeof(field));
		bw_get_uint(&r, 8);
		bw_get_string(&r, string, sizeof(string));
		bw_get_string(&r, scope, sizeof(scope));
		if (bw_reader_done(&r))
			REQUIRE(strlen(string) < sizeof(string) && strlen(scope) < sizeof(scope));
	}
}

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t len)
{
	/* of exactly this size, so that reading past it is seen */
	char	   *text = palloc(len);

	memcpy(text, data, len);
	try_token(text, len);
	try_json(text, len);
	try_ticket((uint8 *) text, len);
	free_all();
	return 0;
}
