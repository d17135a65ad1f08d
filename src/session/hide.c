/*
 * hide.c
 *		No tool shows a ticket or a token: not pg_stat_activity of the same role
 *		(which all tenants share), not pg_stat_statements, not the server's log.
 *
 *		A bound parameter is in none of these but the log.  A literal is
 *		overwritten in the statement's own text as soon as the statement has been
 *		parsed, before anything else takes a copy; what the back end had already
 *		published of it is overwritten in place.  What is left is the time
 *		between the statement's arrival and the end of its parse analysis, which waits
 *		for the locks of the tables that it names.
 *
 *		The constants of a statement that names a function which takes plaintexts
 *		(constant.c) go the same way.  With them go bound parameters in the log, for
 *		those are as good as constants there.
 */
#include "session/session.h"

#include "commands/prepare.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/memnodes.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* A ticket, and the header of a JWS or JWE in compact form. */
static const char *const secret_starts[] = {"bwt1.", "eyJ"};

/* base64url and the dot; anything shorter than this is no secret of ours. */
#define SECRET_CHARACTERS	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
#define SECRET_MIN_LENGTH	40

static post_parse_analyze_hook_type prev_post_parse_analyze = NULL;
static ProcessUtility_hook_type prev_ProcessUtility = NULL;
static emit_log_hook_type prev_emit_log = NULL;

/* The client's message that has been read already; it goes with MessageContext. */
static const char *read_message = NULL;

/* A ticket, or a token. */
typedef struct FoundSecret
{
	const char *at;				/* NULL: there is none */
	size_t		length;
} FoundSecret;

/* The first secret in text that begins so. */
static FoundSecret
find_secret(const char *text, const char *start)
{
	FoundSecret found = {text, 0};

	for (; (found.at = strstr(found.at, start)) != NULL; found.at += found.length)
	{
		found.length = strspn(found.at, SECRET_CHARACTERS);
		if (found.length >= SECRET_MIN_LENGTH && memchr(found.at, '.', found.length) != NULL)
			break;
	}
	return found;
}

static bool
holds_secret(const char *text)
{
	for (int i = 0; i < lengthof(secret_starts); i++)
		if (find_secret(text, secret_starts[i]).at != NULL)
			return true;
	return false;
}

/*
 * Those of one beginning are looked for again only once they have been passed:
 * whatever is in it, a text is read once for each beginning.
 */
bool
HideSecrets(char *text)
{
	FoundSecret next[lengthof(secret_starts)];
	const FoundSecret *first;
	bool		found = false;

	if (text == NULL)
		return false;
	for (int i = 0; i < lengthof(secret_starts); i++)
		next[i] = find_secret(text, secret_starts[i]);
	for (;;)
	{
		first = NULL;
		for (int i = 0; i < lengthof(secret_starts); i++)
			if (next[i].at != NULL && (first == NULL || next[i].at < first->at))
				first = &next[i];
		if (first == NULL)
			return found;
		text += first->at - text;
		memset(text, '*', first->length);
		text += first->length;
		found = true;
		for (int i = 0; i < lengthof(secret_starts); i++)
			if (next[i].at != NULL && next[i].at < text)
				next[i] = find_secret(text, secret_starts[i]);
	}
}

/* A statement's text, or a piece of one of which constants say that all are hidden. */
static bool
hide_text(char *text, bool constants)
{
	bool		found = HideSecrets(text);
	bool		named = FindHiddenWord(text) != NULL;

	if (!constants && !named)
		return found;
	/* as the parser read them: settings change only when the first statement runs */
	HideConstants(text, text, QUOTED_NAME, standard_conforming_strings ? BACKSLASH_PLAIN : BACKSLASH_ESCAPES);
	if (named)
		HideKeepName(text);		/* what is logged of it later asks again */
	return true;
}

/*
 * Overwrite what pg_stat_activity shows of this back end.  A reader that meets
 * the change reads again.
 */
static void
hide_activity(bool constants, bool unread)
{
	volatile PgBackendStatus *entry = MyBEEntry;

	if (entry == NULL || entry->st_activity_raw == NULL ||
		(!constants && !holds_secret(entry->st_activity_raw)))
		return;

	PGSTAT_BEGIN_WRITE_ACTIVITY(entry);
	hide_text(entry->st_activity_raw, constants);
	if (unread)
		HideBehindWord(entry->st_activity_raw);
	PGSTAT_END_WRITE_ACTIVITY(entry);
}

/*
 * A Parse message has its text copied into the new plan before it is analyzed,
 * where it would serve every later Bind.  The plan's context carries that copy
 * as its identifier.
 */
static void
hide_new_plans(MemoryContext context)
{
	for (MemoryContext child = context->firstchild; child != NULL; child = child->nextchild)
	{
		if (strcmp(child->name, "CachedPlanSource") == 0)
			hide_text(unconstify(char *, child->ident), false);
		hide_new_plans(child);
	}
}

/* The ticket that SET (LOCAL) gives as a literal, or NULL: another statement. */
static const char *
ticket_literal(Node *stmt)
{
	VariableSetStmt *set = (VariableSetStmt *) stmt;
	Node	   *value;

	if (stmt == NULL || !IsA(stmt, VariableSetStmt) || set->kind != VAR_SET_VALUE ||
		pg_strcasecmp(set->name, "bulwark.ticket") != 0 || list_length(set->args) != 1)
		return NULL;
	value = linitial(set->args);
	return IsA(value, A_Const) && IsA(&((A_Const *) value)->val, String) ?
		strVal(&((A_Const *) value)->val) : NULL;
}

static void
forget_read_message(void *arg)
{
	read_message = NULL;
}

/* A message may hold many statements: read it at the first. */
static void
remember_read_message(const char *text)
{
	static MemoryContextCallback forget = {.func = forget_read_message};

	if (read_message == NULL)
		MemoryContextRegisterResetCallback(MessageContext, &forget);
	read_message = text;
}

/*
 * The text of a client's statement is in memory that may be written: the
 * client's message, or a plan's copy of it.  That of a statement inside a
 * function may be a constant, and is not published.
 */
static void
hide_statement(const char *text, const char *prepared)
{
	bool		constants;

	if (text == NULL || text == read_message)
		return;
	constants = FindHiddenWord(text) != NULL || FindHiddenWord(prepared) != NULL;
	if (hide_text(unconstify(char *, text), constants))
	{
		if (debug_query_string != NULL && debug_query_string != text)
			hide_text(unconstify(char *, debug_query_string), constants);
		if (MessageContext != NULL)
			hide_new_plans(MessageContext);
		hide_activity(constants, false);
	}
	if (text == debug_query_string && MessageContext != NULL && prepared == NULL)
		remember_read_message(text);
}

/* The text of the statement that EXECUTE runs, or NULL: another statement. */
static const char *
executed_text(Node *stmt)
{
	PreparedStatement *prepared;

	while (stmt != NULL && (IsA(stmt, ExplainStmt) || IsA(stmt, CreateTableAsStmt)))
	{
		stmt = IsA(stmt, ExplainStmt) ? ((ExplainStmt *) stmt)->query : ((CreateTableAsStmt *) stmt)->query;
		if (stmt != NULL && IsA(stmt, Query))
			stmt = ((Query *) stmt)->utilityStmt;
	}
	if (stmt == NULL || !IsA(stmt, ExecuteStmt))
		return NULL;
	prepared = FetchPreparedStatement(((ExecuteStmt *) stmt)->name, false);
	return prepared == NULL ? NULL : prepared->plansource->query_string;
}

static void
hide_post_parse_analyze(ParseState *pstate, Query *query, JumbleState *jstate)
{
	if (StatementDepth() == 0)
		hide_statement(pstate->p_sourcetext, executed_text(query->utilityStmt));
	/* a command within a function is kept by pg_stat_statements as it is written */
	else if (query->utilityStmt != NULL && FindHiddenWord(pstate->p_sourcetext) != NULL)
		query->queryId = 0;

	/* Each ticket would be a statement of its own in pg_stat_statements. */
	if (ticket_literal(query->utilityStmt) != NULL)
		query->queryId = 0;

	if (prev_post_parse_analyze)
		prev_post_parse_analyze(pstate, query, jstate);
}

/* Does a distributed engine send the text of SET LOCAL on to other nodes? */
static bool
settings_are_forwarded(void)
{
	static struct config_generic *setting = NULL;
	static bool looked = false;
	const char *value;

	if (!looked)
	{
		setting = BwFindSetting("citus.propagate_set_commands");
		looked = true;
	}
	if (setting == NULL || (setting->flags & GUC_CUSTOM_PLACEHOLDER) != 0)
		return false;
	value = GetConfigOption(setting->name, true, false);
	return value != NULL && strcmp(value, "local") == 0;
}

/*
 * The statement's text has been overwritten, so an engine that forwards it gets
 * one that holds this statement alone, for as long as it runs.
 */
static void
hide_ProcessUtility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					ProcessUtilityContext context, ParamListInfo params,
					QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	const char *ticket = ticket_literal(pstmt->utilityStmt);

	if (ticket != NULL && ((VariableSetStmt *) pstmt->utilityStmt)->is_local && settings_are_forwarded())
	{
		StringInfoData text;

		initStringInfo(&text);
		appendStringInfo(&text, "SET LOCAL bulwark.ticket = %s", quote_literal_cstr(ticket));
		queryString = text.data;
		pstmt = copyObject(pstmt);
		pstmt->stmt_location = 0;
		pstmt->stmt_len = text.len;
	}

	if (prev_ProcessUtility)
		prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

/*
 * The statement that a log line quotes.  It may not have been parsed yet, so
 * the line gets a copy; where there is no room for one, no statement at all.
 */
static void
hide_logged_statement(ErrorData *edata, bool constants, bool unread)
{
	Size		size;
	char	   *copy = NULL;

	if (debug_query_string == NULL || edata->hide_stmt ||
		(edata->elevel != LOG && edata->elevel < log_min_error_statement) ||
		(!constants && !holds_secret(debug_query_string)))
		return;

	/* it goes on, and what an error says of it is compared with it */
	if (unread && edata->elevel < ERROR)
	{
		edata->hide_stmt = true;
		return;
	}
	size = strlen(debug_query_string) + 1;
	if (MessageContext != NULL)
		copy = MemoryContextAllocExtended(MessageContext, size, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (copy == NULL)
	{
		edata->hide_stmt = true;
		return;
	}
	memcpy(copy, debug_query_string, size);
	hide_text(copy, constants);
	if (unread)
		HideBehindWord(copy);
	debug_query_string = copy;
}

/* From where on a line is a statement with constants: NULL is nowhere. */
static const char *
statement_in(const char *line)
{
	const char *start = NULL;

	if (line != NULL && debug_query_string != NULL && debug_query_string[0] != '\0')
		start = strstr(line, debug_query_string);
	return start != NULL ? start : FindHiddenWord(line);
}

/* The server's parsers quote what they could not read, with and without quotes. */
static void
hide_quoted_input(char *context)
{
	static const char json[] = "JSON data, line ";
	char	   *line = context == NULL ? NULL : strstr(context, json);

	if (line == NULL)
		return;
	for (line = strchr(line + strlen(json), ':'); line != NULL && *line != '\0' && *line != '\n'; line++)
		if (*line != ':')
			*line = '*';
}

/* What EXECUTE gives to a statement, and the body of DO, as the tree of the command has them. */
static void
hide_command_tree(char *detail)
{
	static const char *const commands[] = {"{EXECUTESTMT", "{DOSTMT"};

	for (int i = 0; detail != NULL && i < lengthof(commands); i++)
	{
		char	   *tree = strstr(detail, commands[i]);

		if (tree != NULL)
			*tree = '\0';
	}
}

/* A plan in JSON or YAML, whose lines are in double quotes; true: it is one.  The statement is hidden. */
static bool
hide_plan(char *message)
{
	static const char *const heads[] = {"\"Query Text\": \"", "Query Text: \""};
	char	   *p = NULL;

	for (int i = 0; message != NULL && p == NULL && i < lengthof(heads); i++)
	{
		p = strstr(message, heads[i]);
		if (p != NULL)
			p += strlen(heads[i]);
	}
	if (p == NULL)
		return false;
	for (; *p != '\0' && *p != '\n'; p++)
		if (p[0] != '"' || (p[1] != ',' && p[1] != '\n' && p[1] != '\0'))
			*p = '*';
	return true;
}

/* Does a line begin here under which a deadlock's report quotes a statement?  Where that begins, or NULL. */
static char *
quoted_statement(char *line)
{
	const char *format = _("Process %d: %s");
	const char *number = strstr(format, "%d");
	const char *text = strstr(format, "%s");
	size_t		digits;

	if (number == NULL || text == NULL || text < number || strncmp(line, format, number - format) != 0)
		return NULL;
	line += number - format;
	number += strlen("%d");
	digits = strspn(line, "0123456789");
	return digits > 0 && strncmp(line + digits, number, text - number) == 0 ? line + digits + (text - number) : NULL;
}

/*
 * A deadlock's report quotes the statements of other sessions as pg_stat_activity has
 * them: one that waits for a table's lock before it has been parsed as it came, and of
 * one that is longer than what is shown there the beginning, which need not name ours.
 */
static void
hide_deadlock(char *report, const char *processes)
{
	char	   *end = report;
	char	   *statement = NULL;

	if (report == NULL || processes == NULL || strlen(processes) > strlen(report))
		return;
	for (end = report + strlen(processes); *end != '\0' && statement == NULL;)
		statement = *end++ == '\n' ? quoted_statement(end) : NULL;
	/* in words that are not known here: none of it */
	if (statement == NULL)
		report[strlen(processes)] = '\0';
	while (statement != NULL)
	{
		char	   *next = NULL;
		bool		named;

		for (end = statement; *end != '\0'; end++)
			if (*end == '\n' && (next = quoted_statement(end + 1)) != NULL)
				break;
		*end = '\0';
		named = FindHiddenWord(statement) != NULL;
		if (named || NamesExecute(statement) || strlen(statement) + MAX_MULTIBYTE_CHAR_LEN >= pgstat_track_activity_query_size)
			HideConstants(statement, statement, named ? QUOTED_INPUT : QUOTED_NAME, BACKSLASH_UNSURE);
		if (next != NULL)
			*end = '\n';
		statement = next;
	}
}

/*
 * The server could not read a statement, or took a part of it for a name: where its
 * constants begin and end is not known then.
 */
static bool
is_unread(const ErrorData *edata)
{
	int			category = ERRCODE_TO_CATEGORY(edata->sqlerrcode);

	return edata->sqlerrcode != ERRCODE_INSUFFICIENT_PRIVILEGE &&
		(category == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION ||
		 category == ERRCODE_INVALID_SCHEMA_NAME || category == ERRCODE_FEATURE_NOT_SUPPORTED);
}

/*
 * Does the protocol call a function, whose arguments are in no statement?  Which one is
 * not known here, so all count.  A back end that does not track activities does not
 * say so; it has no statement then, or none any more: its transaction is about to end.
 */
static bool
is_function_call(void)
{
	return debug_query_string == NULL && MyBackendType == B_BACKEND && MyBEEntry != NULL &&
		(MyBEEntry->st_state == STATE_FASTPATH || MyBEEntry->st_state == STATE_DISABLED);
}

/*
 * A line about a statement that takes plaintexts.  Numbers before the statement are
 * the line's own, and so are those in a detail, unless it is a printed tree.
 */
static void
hide_line_constants(ErrorData *edata, bool unread)
{
	bool		input = unread || ERRCODE_TO_CATEGORY(edata->sqlerrcode) == ERRCODE_DATA_EXCEPTION;
	/* the client's statement before it is parsed: what is in double quotes may be meant as a string */
	bool		early = edata->message != NULL && strncmp(edata->message, "statement: ", 11) == 0;
	QuotedIs	quoted = input || early ? QUOTED_INPUT : QUOTED_NAME;

	if (hide_plan(edata->message))
		HideConstants(edata->message, FindHiddenWord(edata->message), QUOTED_STATEMENT, BACKSLASH_UNSURE);
	else
		HideConstants(edata->message, statement_in(edata->message), quoted, BACKSLASH_UNSURE);
	/* names of several parts are not quoted */
	if (unread)
		HideWordsOf(edata->message, debug_query_string);
	HideAuditLine(edata->message);
	HideConstants(edata->detail, edata->detail != NULL ? strstr(edata->detail, ":constvalue") : NULL, quoted, BACKSLASH_UNSURE);
	if (edata->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
		HideConstants(edata->detail_log, NULL, quoted, BACKSLASH_UNSURE);
	HideConstants(edata->context, FindHiddenWord(edata->context), input ? QUOTED_INPUT : QUOTED_STATEMENT, BACKSLASH_UNSURE);
	if (input)
		hide_quoted_input(edata->context);
	HideConstants(edata->internalquery, edata->internalquery, QUOTED_NAME, BACKSLASH_UNSURE);
}

/*
 * elog.c frees all of these after use, so all are palloc'd and may be written;
 * nothing is allocated for them here, where memory may have run out.  A
 * statement that fails in the parser meets us here only.
 */
static void
hide_emit_log(ErrorData *edata)
{
	bool		named = FindHiddenWord(debug_query_string) != NULL;
	bool		unread = named && is_unread(edata);
	bool		statement = named || NamesExecute(debug_query_string);

	HideSecrets(edata->message);
	HideSecrets(edata->detail);
	HideSecrets(edata->detail_log);
	HideSecrets(edata->hint);
	HideSecrets(edata->context);
	HideSecrets(edata->internalquery);
	hide_command_tree(edata->detail);
	if (edata->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED)
		hide_deadlock(edata->detail_log, edata->detail);
	if (statement || is_function_call() || FindHiddenWord(edata->message) || FindHiddenWord(edata->detail) ||
		FindHiddenWord(edata->detail_log) || FindHiddenWord(edata->context) || FindHiddenWord(edata->internalquery))
	{
		hide_line_constants(edata, unread);
		/* EXECUTE of a prepared one: the detail says of what */
		statement = statement || (edata->elevel == LOG && FindHiddenWord(edata->detail));
	}
	hide_logged_statement(edata, statement, unread);
	hide_activity(statement, unread);

	if (prev_emit_log)
		prev_emit_log(edata);
}

void
HideInit(void)
{
	prev_post_parse_analyze = post_parse_analyze_hook;
	post_parse_analyze_hook = hide_post_parse_analyze;
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = hide_ProcessUtility;
	prev_emit_log = emit_log_hook;
	emit_log_hook = hide_emit_log;
}
