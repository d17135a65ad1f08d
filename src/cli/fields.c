/*
 * fields.c
 *		What an export says of an entry for people, compared with its record and
 *		its content: who reads the one must not be told something else.
 *
 * Metadata and images are rendered by the server from the same content.  Whether there is
 * one to render is compared, what is in it is not, and is counted: the verdict says so.
 * docs/file-formats.md says how to read them from the content.
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

typedef struct Entry
{
	Check	   *check;
	const JsonValue *fields;
	int64_t		leaf_index;
	const bw_leaf *leaf;
} Entry;

/* The field; NULL where it is null or not there. */
static const JsonValue *
field_of(const Entry *e, const char *name)
{
	bool		twice = false;
	const JsonValue *value = json_get(&e->check->json, e->fields, name, &twice);

	if (twice)
		check_problem(e->check, e->leaf_index, (int64_t) e->leaf->entry_id, "its field \"%s\" is there twice", name);
	return value == NULL || value->type == JSON_NULL ? NULL : value;
}

static void
differs(const Entry *e, const char *name)
{
	check_problem(e->check, e->leaf_index, (int64_t) e->leaf->entry_id,
				  "its field \"%s\" is not what was recorded", name);
}

/* Is the value the text?  Of bytes that are no UTF-8, JSON has the replacement character. */
static bool
same_text(const JsonValue *value, const unsigned char *text, size_t len)
{
	static const char replacement[] = "\xef\xbf\xbd";
	size_t		at = 0;

	for (const unsigned char *end = text + len; text < end;)
	{
		int			n = json_utf8_length(text, end);
		const void *expected = n > 0 ? (const void *) text : replacement;
		size_t		width = n > 0 ? (size_t) n : sizeof(replacement) - 1;

		if (value->len - at < width || memcmp(value->text + at, expected, width) != 0)
			return false;
		at += width;
		text += n > 0 ? n : 1;
	}
	return at == value->len;
}

static void
expect_text(const Entry *e, const char *name, const void *text, size_t len)
{
	const JsonValue *value = field_of(e, name);

	if (text == NULL ? value != NULL : value == NULL || value->type != JSON_STRING || !same_text(value, text, len))
		differs(e, name);
}

static void
expect_uuid(const Entry *e, const char *name, const uint8_t *id)
{
	char		hex[32];
	char		text[36];
	int			n = 0;

	if (id == NULL)
	{
		expect_text(e, name, NULL, 0);
		return;
	}
	bw_hex_encode(id, 16, hex);
	for (int i = 0; i < 36; i++)
		text[i] = i == 8 || i == 13 || i == 18 || i == 23 ? '-' : hex[n++];
	expect_text(e, name, text, sizeof(text));
}

static void
expect_integer(const Entry *e, const char *name, int64_t expected)
{
	const JsonValue *value = field_of(e, name);
	int64_t		n;

	if (value == NULL || !json_integer(value, &n) || n != expected)
		differs(e, name);
}

/* A number of exactly n digits; *at moves on. */
static bool
digits(const char **at, const char *end, int n, int64_t *value)
{
	*value = 0;
	if (end - *at < n)
		return false;
	for (int i = 0; i < n; i++, (*at)++)
	{
		if (**at < '0' || **at > '9')
			return false;
		*value = *value * 10 + (**at - '0');
	}
	return true;
}

static bool
literal(const char **at, const char *end, const char *chars)
{
	if (*at == end || strchr(chars, **at) == NULL)
		return false;
	(*at)++;
	return true;
}

/* Days from 1970-01-01 in the Gregorian calendar. */
static int64_t
days_of(int64_t year, int64_t month, int64_t day)
{
	int64_t		era,
				of_era;

	year -= month <= 2;
	era = year / 400;
	of_era = year - era * 400;
	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 +
		(153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1 - 719468;
}

/* ISO 8601 with a time zone, as microseconds since 1970 UTC. */
static bool
parse_time(const char *at, const char *end, int64_t *time)
{
	int64_t		year,
				month,
				day,
				hour,
				minute,
				second,
				zone_hour = 0,
				zone_minute = 0,
				fraction = 0;
	bool		west = false;

	if (!digits(&at, end, 4, &year) || !literal(&at, end, "-") || !digits(&at, end, 2, &month) ||
		!literal(&at, end, "-") || !digits(&at, end, 2, &day) || !literal(&at, end, "T ") ||
		!digits(&at, end, 2, &hour) || !literal(&at, end, ":") || !digits(&at, end, 2, &minute) ||
		!literal(&at, end, ":") || !digits(&at, end, 2, &second) || month < 1 || month > 12 || day < 1 || day > 31)
		return false;
	if (at < end && *at == '.')
	{
		int64_t		unit = 100000;

		at++;
		for (; at < end && *at >= '0' && *at <= '9' && unit > 0; at++, unit /= 10)
			fraction += (*at - '0') * unit;
	}
	if (at < end && (*at == '+' || *at == '-'))
	{
		west = *at++ == '-';
		if (!digits(&at, end, 2, &zone_hour))
			return false;
		if (at < end && (!literal(&at, end, ":") || !digits(&at, end, 2, &zone_minute)))
			return false;
	}
	else if (!literal(&at, end, "Z"))
		return false;
	*time = ((days_of(year, month, day) * 24 + hour) * 60 + minute - (west ? -1 : 1) * (zone_hour * 60 + zone_minute)) * 60 + second;
	*time = *time * 1000000 + fraction;
	return at == end;
}

static void
expect_time(const Entry *e, const char *name, int64_t expected)
{
	const JsonValue *value = field_of(e, name);
	int64_t		time;

	if (value == NULL || value->type != JSON_STRING ||
		!parse_time(value->text, value->text + value->len, &time) || time != expected)
		differs(e, name);
}

static void
compare_record(const Entry *e)
{
	static const char *const sources[] = {NULL, "captured", "asserted", "system"};
	const bw_leaf *leaf = e->leaf;
	const char *action = bw_action_text(leaf->action);
	const char *proof = leaf->flags & BW_LEAF_ASSUMED ? "assumed" : leaf->flags & BW_LEAF_PROVED ? "token" : NULL;

	expect_integer(e, "entry_id", (int64_t) leaf->entry_id);
	expect_integer(e, "leaf_index", e->leaf_index);
	expect_time(e, "occurred_at", leaf->time);
	expect_text(e, "source", sources[leaf->source], strlen(sources[leaf->source]));
	if (leaf->action == BW_ACTION_NAMED)
		expect_text(e, "action", leaf->action_name.data, leaf->action_name.len);
	else
		expect_text(e, "action", action, strlen(action));
	expect_uuid(e, "tenant_id", leaf->flags & BW_LEAF_TENANT ? leaf->tenant : NULL);
	expect_text(e, "affiliation", leaf->flags & BW_LEAF_AFFILIATION ? leaf->affiliation.data : NULL, leaf->affiliation.len);
	expect_uuid(e, "actor_id", leaf->flags & BW_LEAF_ACTOR ? leaf->actor : NULL);
	expect_text(e, "actor_proof", proof, proof ? strlen(proof) : 0);
	expect_text(e, "assumed_by", leaf->flags & BW_LEAF_ASSUMED ? leaf->assumed_by.data : NULL, leaf->assumed_by.len);
	expect_text(e, "db_role", leaf->role.data, leaf->role.len);
	expect_text(e, "entity_type", leaf->entity_type.data, leaf->entity_type.len);
}

/* Shown where the content has one of the two, else not; true: it is shown. */
static bool
expect_rendering(const Entry *e, const char *name, const bw_field *one, const bw_field *other)
{
	bool		there = one->tag != 0 || (other != NULL && other->tag != 0);
	bool		readable = (one->tag != 0 && one->mode == BW_MODE_PLAIN) ||
		(other != NULL && other->tag != 0 && other->mode == BW_MODE_PLAIN);
	bool		shown = field_of(e, name) != NULL;

	if (shown ? !there : readable)
		differs(e, name);
	return shown;
}

/* Plain text fields of the content (NULL: erased); what it does not have must not be there. */
static void
compare_content(const Entry *e, const uint8_t *bytes, size_t len)
{
	static const struct
	{
		uint8_t		tag;
		const char *name;
	}			texts[] = {
		{BW_TAG_ENTITY_ID, "entity_id"}, {BW_TAG_EMAIL, "actor_email"}, {BW_TAG_ROUTE, "route"},
		{BW_TAG_REQUEST_ID, "request_id"}, {BW_TAG_CLIENT_ADDR, "client_addr"}
	};
	bw_field	found[BW_TAG_LAST + 1] = {{0}};
	bw_content	content;
	bw_field	field;

	if (bytes != NULL)
		bw_content_open(&content, bytes, len);
	while (bytes != NULL && bw_content_next(&content, &field))
		found[field.tag] = field;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		const bw_field *is = &found[texts[i].tag];

		if (is->tag == 0)
			expect_text(e, texts[i].name, NULL, 0);
		else if (is->mode == BW_MODE_PLAIN)
			expect_text(e, texts[i].name, is->value.data, is->value.len);
	}
	e->check->rendered += expect_rendering(e, "old", &found[BW_TAG_OLD_IMAGE], NULL) |
		expect_rendering(e, "new", &found[BW_TAG_NEW_IMAGE], NULL) |
		expect_rendering(e, "metadata", &found[BW_TAG_METADATA], &found[BW_TAG_REQUEST_METADATA]);
}

/* The content is not there: what is shown of it nothing proves. */
static void
count_unproved(const Entry *e)
{
	static const char *const names[] = {
		"entity_id", "actor_email", "route", "request_id", "client_addr", "metadata", "old", "new"
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (field_of(e, names[i]) != NULL)
		{
			e->check->unproved++;
			return;
		}
}

void
check_fields(Check *check, const JsonValue *fields, int64_t leaf_index,
			 const bw_leaf *leaf, bool shown, const uint8_t *content, size_t len)
{
	const Entry e = {check, fields, leaf_index, leaf};

	compare_record(&e);
	if (shown)
		compare_content(&e, content, len);
	else
		count_unproved(&e);
}
