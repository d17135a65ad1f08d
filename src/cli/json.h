/*
 * json.h
 *		JSON (RFC 8259) of one line, read in place: strings are unescaped where
 *		they lie.  Strict: UTF-8, no member twice in an object that json_get is
 *		asked of, nothing after the value.
 */
#ifndef BULWARK_JSON_H
#define BULWARK_JSON_H

#include "common/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum JsonType
{
	JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT
} JsonType;

typedef struct JsonValue
{
	JsonType	type;
	char	   *text;			/* of numbers and strings: not NUL-terminated */
	size_t		len;
	uint32_t	size;			/* items of an array, members of an object */
	uint32_t	next;			/* the value after this one and all in it */
} JsonValue;

/* Values in the order of the text; in an object name and value take turns. */
typedef struct Json
{
	JsonValue  *values;
	uint32_t	n;
	uint32_t	room;
} Json;

#define JSON_MAX_DEPTH 64

/* false where the text is not one JSON value. */
extern bool json_parse(Json *json, char *text, size_t len);
extern void json_free(Json *json);

/* The first value in an array or object, and the one after: up to size of them. */
#define json_first(value)	((value) + 1)
extern const JsonValue *json_next(const Json *json, const JsonValue *value);
/*
 * A member by its name: NULL where there is none.  Where it is there twice,
 * *twice is set, and stays as it was otherwise.
 */
extern const JsonValue *json_get(const Json *json, const JsonValue *object, const char *name, bool *twice);
/* Members of the outermost object: NULL or false where there is none of that name and type, or two. */
extern const JsonValue *json_member(const Json *json, const char *name, JsonType type);
/* From 0 on. */
extern bool json_member_integer(const Json *json, const char *name, int64_t *result);
extern bool json_member_base64(const Json *json, const char *name, bw_bytes *bytes);
/* The length of a UTF-8 sequence that is whole, shortest and no surrogate, or 0. */
extern int	json_utf8_length(const unsigned char *s, const unsigned char *end);
/* Does the string equal the text? */
extern bool json_is(const JsonValue *value, const char *text);
/* A number without fraction and exponent that fits; false where it is none. */
extern bool json_integer(const JsonValue *value, int64_t *result);
/* Bytes in base64, decoded where they lie; false, and no bytes, where the value is none. */
extern bool json_base64(const JsonValue *value, bw_bytes *bytes);

#endif							/* BULWARK_JSON_H */
