/*
 * denied.c
 *		Statements that were denied (42501), whoever denied them.
 *
 *		An error is seen on its way out of the executor or of a utility command,
 *		so that one which a function catches is recorded too; and once more when
 *		the server reports it, because a statement may be denied before it gets
 *		that far.  In both places nothing but memory may be touched: the command
 *		and the relations are what is recorded, the worker finds the names.  Never
 *		a value, and never the statement's text, which has them.
 *
 *		Of many relations the one that was denied comes first.  The executor finds
 *		it before it has done anything, where catalogs can be read, so that it can
 *		be found once more.
 */
#include "ledger/event.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
#include "tcop/cmdtag.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"

#define COMMAND_MAX	64

static emit_log_hook_type prev_emit_log = NULL;

/* The error that is on its way is an entry already. */
static bool reported = false;

/* The relations of a plan, the one that was denied first. */
typedef struct Named
{
	Oid			relations[SPOOL_RELATIONS];
	int			n;
	int			more;			/* times that others were named, for which there was no room */
} Named;

void
DeniedStatementBegins(void)
{
	SpoolNoteSession();
	if (StatementDepth() == 0)
		reported = false;
}

void
DeniedIsReported(void)
{
	reported = true;
}

static void
report(const char *command, const char *name, const Oid *relations, int n, int more)
{
	char		metadata[COMMAND_MAX + 64];
	int			len;
	Entry		entry = {
		.source = SOURCE_SYSTEM,
		.action = "denied",
		.entity_type = name,
		.annotated = true,
	};

	reported = true;
	if (command != NULL)
	{
		len = snprintf(metadata, sizeof(metadata), "{\"command\": \"%s\"", command);
		if (more > 0)
			len += snprintf(metadata + len, sizeof(metadata) - len, ", \"more\": %d", more);
		snprintf(metadata + len, sizeof(metadata) - len, "}");
		entry.metadata = metadata;
	}
	SpoolStatement(SPOOL_DENIED, &entry, relations, n);
}

static bool
is_denial(void)
{
	return !reported && !IsParallelWorker() && geterrcode() == ERRCODE_INSUFFICIENT_PRIVILEGE;
}

static void
add_named(Named *named, Oid relid)
{
	for (int i = 0; i < named->n; i++)
		if (named->relations[i] == relid)
			return;
	if (named->n < SPOOL_RELATIONS)
		named->relations[named->n++] = relid;
	else
		named->more++;
}

static void
visit_named(Oid relid, AclMode required, bool target, void *arg)
{
	add_named(arg, relid);
}

/*
 * Call in PG_CATCH.  It was denied before it ran for want of privileges, or by a
 * guard of ours, and while running by a policy: these for what it changes.
 */
void
DeniedInPlan(const PlannedStmt *stmt, bool running)
{
	Named		named = {.n = 0};
	const char *command = NULL;
	Oid			denied;

	if (!is_denial())
		return;
	if (!running && OidIsValid(denied = DeniedRelation(stmt)))
		add_named(&named, denied);
	else if (stmt->resultRelations != NIL)
		add_named(&named, rt_fetch(linitial_int(stmt->resultRelations), stmt->rtable)->relid);
	RequiredRelations(stmt, visit_named, &named);
	switch (stmt->commandType)
	{
		case CMD_SELECT:
			command = "SELECT";
			break;
		case CMD_INSERT:
			command = "INSERT";
			break;
		case CMD_UPDATE:
			command = "UPDATE";
			break;
		case CMD_DELETE:
			command = "DELETE";
			break;
		case CMD_MERGE:
			command = "MERGE";
			break;
		default:
			break;
	}
	report(command, NULL, named.relations, named.n, named.more);
}

/* Call in PG_CATCH. */
void
DeniedInUtility(Node *stmt, Oid relation)
{
	if (is_denial())
		report(GetCommandTagName(CreateCommandTag(stmt)), NULL, &relation, OidIsValid(relation) ? 1 : 0, 0);
}

Oid
UtilityRelation(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_AlterTableStmt:
			return NamedRelation(((AlterTableStmt *) stmt)->relation);
		case T_CopyStmt:
			return NamedRelation(((CopyStmt *) stmt)->relation);
		case T_TruncateStmt:
			return NamedRelation(linitial(((TruncateStmt *) stmt)->relations));
		case T_LockStmt:
			return NamedRelation(linitial(((LockStmt *) stmt)->relations));
		case T_RenameStmt:
			return NamedRelation(((RenameStmt *) stmt)->relation);
		case T_AlterObjectSchemaStmt:
			return NamedRelation(((AlterObjectSchemaStmt *) stmt)->relation);
		case T_IndexStmt:
			return NamedRelation(((IndexStmt *) stmt)->relation);
		case T_RuleStmt:
			return NamedRelation(((RuleStmt *) stmt)->relation);
		case T_CreateTrigStmt:
			return NamedRelation(((CreateTrigStmt *) stmt)->relation);
		case T_CreatePolicyStmt:
			return NamedRelation(((CreatePolicyStmt *) stmt)->table);
		case T_AlterPolicyStmt:
			return NamedRelation(((AlterPolicyStmt *) stmt)->table);
		case T_GrantStmt:
			{
				GrantStmt  *grant = (GrantStmt *) stmt;

				return grant->objtype == OBJECT_TABLE && grant->targtype == ACL_TARGET_OBJECT ?
					NamedRelation(linitial(grant->objects)) : InvalidOid;
			}
		case T_DropStmt:
			{
				DropStmt   *drop = (DropStmt *) stmt;

				if (drop->removeType != OBJECT_TABLE && drop->removeType != OBJECT_VIEW &&
					drop->removeType != OBJECT_INDEX && drop->removeType != OBJECT_SEQUENCE &&
					drop->removeType != OBJECT_MATVIEW && drop->removeType != OBJECT_FOREIGN_TABLE)
					return InvalidOid;
				return NamedRelation(makeRangeVarFromNameList(linitial(drop->objects)));
			}
		default:
			return InvalidOid;
	}
}

/* The statement's first word where that is a command by itself: letters only. */
static const char *
command_of_text(const char *text)
{
	static const char *const commands[] = {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "CALL", "TRUNCATE TABLE", NULL};

	if (text == NULL)
		return NULL;
	text += strspn(text, " \t\r\n(");
	for (int i = 0; commands[i] != NULL; i++)
	{
		size_t		len = strcspn(commands[i], " ");

		if (pg_strncasecmp(text, commands[i], len) == 0 &&
			!((text[len] >= 'a' && text[len] <= 'z') || (text[len] >= 'A' && text[len] <= 'Z') || text[len] == '_'))
			return commands[i];
	}
	return NULL;
}

/*
 * The name at which the parser points: of a relation in a schema that may not
 * be looked into.  Anything but a plain name is left alone.
 */
static const char *
name_in_text(const char *text, int position, char name[2 * NAMEDATALEN])
{
	static const char characters[] = "abcdefghijklmnopqrstuvwxyz_.0123456789";
	size_t		len;

	if (text == NULL || position <= 0)
		return NULL;
	for (; *text != '\0' && position > 1; position--)
		text += pg_mblen(text);
	len = strspn(text, characters);
	if (len == 0 || len >= 2 * NAMEDATALEN || strchr(characters + 27, text[0]) != NULL)
		return NULL;
	strlcpy(name, text, len + 1);
	return name;
}

/*
 * The server reports an error: to its log, and to the client.  Names are found
 * before the executor is reached, so a session's very first statement may be
 * denied without anything having been noted of it; an error of this kind is
 * raised where a catalog could be read, and can be still.
 */
static void
denied_emit_log(ErrorData *edata)
{
	if (edata->elevel == ERROR && edata->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE &&
		MyBackendType == B_BACKEND && !IsParallelWorker())
	{
		if (!reported)
		{
			char		name[2 * NAMEDATALEN];

			SpoolNoteSession();
			report(command_of_text(debug_query_string),
				   name_in_text(debug_query_string, edata->cursorpos, name), NULL, 0, 0);
		}
		reported = false;
	}
	if (prev_emit_log)
		prev_emit_log(edata);
}

/* A function has caught the error: the next one is another. */
static void
denied_subxact(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		reported = false;
}

void
DeniedInit(void)
{
	prev_emit_log = emit_log_hook;
	emit_log_hook = denied_emit_log;
	RegisterSubXactCallback(denied_subxact, NULL);
}
