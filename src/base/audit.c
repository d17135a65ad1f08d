/*
 * audit.c
 *		How siblings work together without knowing each other: the sink for audit
 *		events, which the ledger registers, and the sealer of its contents.
 */
#include "base/base.h"

#include <stdarg.h>

#include "access/xact.h"
#include "common/common.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/json.h"

#define ACT_VALUE_MAX	500		/* bytes of a value that an act is remembered with */

static AuditSink sink = NULL;
static const ContentSealer *content_sealer = NULL;

void
AuditSinkRegister(AuditSink newsink)
{
	sink = newsink;
}

void
AuditEmit(const AuditEvent *event)
{
	if (sink)
		sink(event);
	else if (event->durability == AUDIT_DURABLE || event->durability == AUDIT_DURABLE_IF_KEPT)
		elog(ERROR, "nothing keeps the entry that is needed");
}

char *
UtcText(TimestampTz at)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
		return pstrdup("infinity");
	return psprintf("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year, tm.tm_mon, tm.tm_mday,
					tm.tm_hour, tm.tm_min, tm.tm_sec, fsec);
}

/* One more member of an object that is begun already, unless value is NULL. */
static void
append_member(StringInfo json, const char *key, const char *value)
{
	if (value == NULL)
		return;
	if (json->len > 1)
		appendStringInfoString(json, ", ");
	escape_json(json, key);
	appendStringInfoString(json, ": ");
	escape_json(json, value);
}

static void
append_members(StringInfo json, const char *key, va_list pairs)
{
	for (; key != NULL; key = va_arg(pairs, const char *))
		append_member(json, key, va_arg(pairs, const char *));
}

char *
AuditDetail(const char *key,...)
{
	StringInfoData json;
	va_list		pairs;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	va_start(pairs, key);
	append_members(&json, key, pairs);
	va_end(pairs);
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* How many bytes it takes in JSON, at most. */
static Size
json_len(const char *text, Size len)
{
	Size		result = 0;

	for (Size i = 0; i < len; i++)
		result += (unsigned char) text[i] < ' ' ? strlen("\\u0001") : text[i] == '"' || text[i] == '\\' ? 2 : 1;
	return result;
}

const char *
AuditClip(const char *text, Size max)
{
	Size		len = strlen(text);
	Size		kept = Min(len, max);
	uint8		digest[BW_SHA256_LEN];
	char		hex[2 * BW_SHA256_LEN + 1] = "";

	while (json_len(text, kept) > max)
		kept /= 2;
	if (kept == len)
		return text;
	bw_sha256(text, len, digest);
	bw_hex_encode(digest, sizeof(digest), hex);
	return psprintf("%.*s... (%zu bytes, SHA-256 %s)", pg_mbcliplen(text, (int) len, (int) kept), text, len, hex);
}

/* Not the identity's own: what it does, it might do without. */
static bool
is_operator(void)
{
	return HasClusterRole(GetUserId(), ROLE_ADMIN) || HasClusterRole(GetUserId(), ROLE_KEYS);
}

/*
 * Of what concerns all tenants, one of them learns no more than that it was done.  Who
 * makes a value long hides nothing but its end.
 */
static void
note_act(const AuditEvent *event, const char *operation, const char *key, va_list pairs)
{
	StringInfoData json;

	if (!IsTransactionState() || !is_operator())
		return;
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	append_member(&json, "entity_type", event->entity_type);
	append_member(&json, "entity_id", event->entity_id ? AuditClip(event->entity_id, ACT_VALUE_MAX) : NULL);
	append_member(&json, "operation", operation);
	for (; event->tenant_id != NULL && key != NULL; key = va_arg(pairs, const char *))
	{
		const char *value = va_arg(pairs, const char *);

		append_member(&json, key, value ? AuditClip(value, ACT_VALUE_MAX) : NULL);
	}
	appendStringInfoChar(&json, '}');
	AuditActNote(event->tenant_id, json.data);
	pfree(json.data);
}

void
AuditAdmin(const char *operation, const char *entity_type, const char *entity_id,
		   const pg_uuid_t *tenant_id,...)
{
	StringInfoData json;
	va_list		pairs;
	const char *key;
	AuditEvent	event = {
		.action = "configuration",
		.entity_type = entity_type,
		.entity_id = entity_id,
		.tenant_id = tenant_id,
		.durability = AUDIT_IN_TRANSACTION,
	};

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	append_member(&json, "operation", operation);
	va_start(pairs, tenant_id);
	append_members(&json, va_arg(pairs, const char *), pairs);
	va_end(pairs);
	appendStringInfoChar(&json, '}');
	event.detail = json.data;
	AuditEmit(&event);

	va_start(pairs, tenant_id);
	key = va_arg(pairs, const char *);
	note_act(&event, operation, key, pairs);
	va_end(pairs);
}

void
ContentSealerRegister(const ContentSealer *sealer)
{
	content_sealer = sealer;
}

const ContentSealer *
ContentSealerGet(void)
{
	return content_sealer;
}
