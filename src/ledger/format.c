/*
 * format.c
 *		A row of the ledger as a line of CSV (RFC 4180), CEF (ArcSight Common
 *		Event Format), OCSF or syslog (RFC 5424).
 *
 * What an application or a tenant wrote is data here too: nothing in a value can
 * end a field or a line, or start a formula.
 */
#include "ledger/view.h"

#include "utils/builtins.h"
#include "utils/json.h"

#define PRODUCT			"Bulwark"
/* The number that RFC 5612 reserves for examples: we have none of our own. */
#define SD_ID			"bulwark@32473"
#define FACILITY_AUDIT	13

/* --- CSV ------------------------------------------------------------------------ */

static void
csv_header(StringInfo line)
{
	for (int i = 0; i < LEDGER_COLUMNS; i++)
		appendStringInfo(line, "%s%s", i > 0 ? "," : "", ledger_column_names[i]);
}

/* A spreadsheet takes a cell that begins so for a formula. */
static bool
starts_formula(const char *text)
{
	return *text != '\0' && strchr("=+-@\t\r", *text) != NULL;
}

static void
csv_row(StringInfo line, const LedgerRow *row)
{
	for (int i = 0; i < LEDGER_COLUMNS; i++)
	{
		const char *text = row->text[i];

		if (i > 0)
			appendStringInfoChar(line, ',');
		if (text == NULL)
			continue;
		appendStringInfoChar(line, '"');
		if (starts_formula(text))
			appendStringInfoChar(line, '\'');
		for (const char *p = text; *p != '\0'; p++)
		{
			if (*p == '"')
				appendStringInfoChar(line, '"');
			appendStringInfoChar(line, *p);
		}
		appendStringInfoChar(line, '"');
	}
}

/* --- what the others share --------------------------------------------------------- */

static bool
action_is(const LedgerRow *row, const char *action)
{
	return strcmp(row->text[COL_ACTION], action) == 0;
}

/* Control characters that a format has no escape for become spaces. */
static void
append_escaped(StringInfo line, const char *text, const char *escaped)
{
	for (const char *p = text; *p != '\0'; p++)
	{
		if (strchr(escaped, *p) != NULL)
			appendStringInfoChar(line, '\\');
		appendStringInfoChar(line, (unsigned char) *p < ' ' || *p == 0x7f ? ' ' : *p);
	}
}

static void
object_member(StringInfo line, LedgerColumn column, const char *text)
{
	appendStringInfo(line, "%s\"%s\":", line->data[line->len - 1] == '{' ? "" : ",", ledger_column_names[column]);
	if (text == NULL)
		appendStringInfoString(line, "null");
	else if (column == COL_ENTRY_ID || column == COL_LEAF_INDEX ||
			 column == COL_METADATA || column == COL_OLD || column == COL_NEW)
		appendStringInfoString(line, text);
	else
		escape_json(line, text);
}

void
LedgerRowObject(StringInfo line, const LedgerRow *row)
{
	appendStringInfoChar(line, '{');
	for (int i = 0; i < LEDGER_COLUMNS; i++)
		object_member(line, i, row->text[i]);
	appendStringInfoChar(line, '}');
}

/* --- CEF ----------------------------------------------------------------------------- */

static int
cef_severity(const LedgerRow *row)
{
	if (action_is(row, "denied"))
		return 7;
	if (action_is(row, "decrypt") || action_is(row, "configuration") || action_is(row, "ddl") ||
		action_is(row, "truncate") || action_is(row, "retention"))
		return 5;
	return 3;
}

static void
cef_extension(StringInfo line, const char *key, const char *text)
{
	if (text == NULL)
		return;
	appendStringInfo(line, "%s%s=", line->data[line->len - 1] == '|' ? "" : " ", key);
	for (const char *p = text; *p != '\0'; p++)
	{
		if (*p == '\n')
			appendStringInfoString(line, "\\n");
		else if (*p == '\r')
			appendStringInfoString(line, "\\r");
		else
		{
			char		one[2] = {*p, '\0'};

			append_escaped(line, one, "\\=");
		}
	}
}

static void
cef_labelled(StringInfo line, const char *key, const char *label, const char *text)
{
	if (text == NULL)
		return;
	appendStringInfo(line, "%s%sLabel=%s", line->data[line->len - 1] == '|' ? "" : " ", key, label);
	cef_extension(line, key, text);
}

static void
cef_row(StringInfo line, const LedgerRow *row)
{
	const char *address = row->text[COL_CLIENT_ADDR];

	appendStringInfo(line, "CEF:0|%s|%s|%s|", PRODUCT, PRODUCT, BULWARK_VERSION);
	append_escaped(line, row->text[COL_ACTION], "\\|");
	appendStringInfoChar(line, '|');
	append_escaped(line, psprintf("%s %s", row->text[COL_ACTION], row->text[COL_ENTITY_TYPE]), "\\|");
	appendStringInfo(line, "|%d|", cef_severity(row));

	cef_extension(line, "rt", psprintf(INT64_FORMAT, row->time / 1000));
	cef_extension(line, "externalId", row->text[COL_ENTRY_ID]);
	cef_extension(line, "act", row->text[COL_ACTION]);
	cef_extension(line, "cat", row->text[COL_SOURCE]);
	cef_extension(line, "suid", row->text[COL_ACTOR_ID]);
	cef_extension(line, "suser", row->text[COL_ACTOR_EMAIL]);
	cef_extension(line, "spriv", row->text[COL_DB_ROLE]);
	if (address != NULL && strchr(address, ':') != NULL)
		cef_labelled(line, "c6a2", "Source IPv6 Address", address);
	else
		cef_extension(line, "src", address);
	cef_extension(line, "request", row->text[COL_ROUTE]);
	cef_labelled(line, "cs1", "tenant", row->text[COL_TENANT_ID]);
	cef_labelled(line, "cs2", "affiliation", row->text[COL_AFFILIATION]);
	cef_labelled(line, "cs3", "entityType", row->text[COL_ENTITY_TYPE]);
	cef_labelled(line, "cs4", "entityId", row->text[COL_ENTITY_ID]);
	cef_labelled(line, "cs5", "requestId", row->text[COL_REQUEST_ID]);
	cef_labelled(line, "cs6", "proof", row->text[COL_ASSUMED_BY] != NULL ?
				 psprintf("assumed by %s", row->text[COL_ASSUMED_BY]) : row->text[COL_ACTOR_PROOF]);
	cef_labelled(line, "cn1", "leafIndex", row->text[COL_LEAF_INDEX]);
	cef_labelled(line, "flexString1", "old", row->text[COL_OLD]);
	cef_labelled(line, "flexString2", "new", row->text[COL_NEW]);
	cef_extension(line, "msg", row->text[COL_METADATA]);
}

/* --- OCSF ------------------------------------------------------------------------------ */

#define OCSF_VERSION			"1.3.0"
#define OCSF_CATEGORY_IAM		3
#define OCSF_AUTHENTICATION		3002
#define OCSF_ENTITY_MANAGEMENT	3004
#define OCSF_OTHER				99

static int
ocsf_activity(const LedgerRow *row)
{
	if (action_is(row, "authenticate") || action_is(row, "insert"))
		return 1;				/* Logon; Create */
	if (action_is(row, "read") || action_is(row, "decrypt"))
		return 2;
	if (action_is(row, "update"))
		return 3;
	if (action_is(row, "delete") || action_is(row, "truncate"))
		return 4;
	return OCSF_OTHER;
}

static void
ocsf_string(StringInfo line, const char *name, const char *text)
{
	if (text == NULL)
		return;
	appendStringInfo(line, "%s\"%s\":", line->data[line->len - 1] == '{' ? "" : ",", name);
	escape_json(line, text);
}

static void
ocsf_row(StringInfo line, const LedgerRow *row)
{
	bool		authentication = action_is(row, "authenticate");
	int			class = authentication ? OCSF_AUTHENTICATION : OCSF_ENTITY_MANAGEMENT;
	int			activity = ocsf_activity(row);

	appendStringInfo(line, "{\"category_uid\":%d,\"class_uid\":%d,\"activity_id\":%d,\"type_uid\":%d,"
					 "\"severity_id\":%d,\"time\":" INT64_FORMAT,
					 OCSF_CATEGORY_IAM, class, activity, class * 100 + activity,
					 action_is(row, "denied") ? 4 : 1, row->time / 1000);
	ocsf_string(line, "activity_name", row->text[COL_ACTION]);
	if (action_is(row, "denied"))
		appendStringInfoString(line, ",\"status_id\":2,\"status\":\"Failure\"");
	appendStringInfoString(line, ",\"metadata\":{\"version\":\"" OCSF_VERSION "\",\"product\":{\"name\":\"" PRODUCT
						   "\",\"vendor_name\":\"" PRODUCT "\",\"version\":\"" BULWARK_VERSION "\"}");
	ocsf_string(line, "uid", row->text[COL_ENTRY_ID]);
	ocsf_string(line, "correlation_uid", row->text[COL_REQUEST_ID]);
	ocsf_string(line, "original_time", row->text[COL_OCCURRED_AT]);
	appendStringInfoString(line, "},\"actor\":{\"user\":{");
	ocsf_string(line, "uid", row->text[COL_ACTOR_ID]);
	ocsf_string(line, "email_addr", row->text[COL_ACTOR_EMAIL]);
	ocsf_string(line, "name", row->text[COL_DB_ROLE]);
	appendStringInfoString(line, "}}");
	if (authentication)
	{
		appendStringInfoString(line, ",\"user\":{");
		ocsf_string(line, "uid", row->text[COL_ACTOR_ID]);
		ocsf_string(line, "email_addr", row->text[COL_ACTOR_EMAIL]);
		ocsf_string(line, "name", row->text[COL_DB_ROLE]);
		appendStringInfoChar(line, '}');
	}
	else
	{
		appendStringInfoString(line, ",\"entity\":{");
		ocsf_string(line, "type", row->text[COL_ENTITY_TYPE]);
		ocsf_string(line, "uid", row->text[COL_ENTITY_ID]);
		appendStringInfoChar(line, '}');
	}
	if (row->text[COL_CLIENT_ADDR] != NULL)
	{
		appendStringInfoString(line, ",\"src_endpoint\":{");
		ocsf_string(line, "ip", row->text[COL_CLIENT_ADDR]);
		appendStringInfoChar(line, '}');
	}
	appendStringInfoString(line, ",\"unmapped\":");
	LedgerRowObject(line, row);
	appendStringInfoChar(line, '}');
}

/* --- syslog ------------------------------------------------------------------------------ */

/* MSGID: at most 32 printable characters of ASCII. */
static void
syslog_msgid(StringInfo line, const char *action)
{
	for (int i = 0; i < 32 && action[i] != '\0'; i++)
		appendStringInfoChar(line, action[i] > ' ' && action[i] < 0x7f ? action[i] : '_');
}

static void
syslog_param(StringInfo line, const LedgerRow *row, LedgerColumn column)
{
	if (row->text[column] == NULL)
		return;
	appendStringInfo(line, " %s=\"", ledger_column_names[column]);
	append_escaped(line, row->text[column], "\"\\]");
	appendStringInfoChar(line, '"');
}

static void
syslog_row(StringInfo line, const LedgerRow *row)
{
	static const LedgerColumn params[] = {
		COL_ENTRY_ID, COL_LEAF_INDEX, COL_SOURCE, COL_ACTION, COL_TENANT_ID, COL_AFFILIATION,
		COL_ACTOR_ID, COL_ACTOR_EMAIL, COL_ACTOR_PROOF, COL_ASSUMED_BY, COL_DB_ROLE, COL_ENTITY_TYPE,
		COL_ENTITY_ID, COL_ROUTE, COL_REQUEST_ID, COL_CLIENT_ADDR
	};
	int			severity = action_is(row, "denied") ? 4 : 6;

	appendStringInfo(line, "<%d>1 %s - bulwark - ", FACILITY_AUDIT * 8 + severity, row->text[COL_OCCURRED_AT]);
	syslog_msgid(line, row->text[COL_ACTION]);
	appendStringInfoString(line, " [" SD_ID);
	for (int i = 0; i < lengthof(params); i++)
		syslog_param(line, row, params[i]);
	appendStringInfoString(line, "] {");
	object_member(line, COL_METADATA, row->text[COL_METADATA]);
	object_member(line, COL_OLD, row->text[COL_OLD]);
	object_member(line, COL_NEW, row->text[COL_NEW]);
	appendStringInfoChar(line, '}');
}

static const LedgerFormat formats[] = {
	{"csv", csv_header, csv_row},
	{"cef", NULL, cef_row},
	{"ocsf", NULL, ocsf_row},
	{"syslog", NULL, syslog_row},
};

const LedgerFormat *
LedgerFormatByName(const char *name)
{
	for (int i = 0; i < lengthof(formats); i++)
		if (strcmp(formats[i].name, name) == 0)
			return &formats[i];
	return NULL;
}
