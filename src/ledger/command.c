/*
 * command.c
 *		Statements that change roles, privileges, ownership, policies and the
 *		settings of others: "ddl" entries in their own transaction.  ALTER SYSTEM,
 *		CREATE DATABASE and DROP DATABASE are in none: their entry is durable
 *		before they begin.
 *
 *		Of passwords nothing is kept but that there was one; of a setting's value
 *		only what cannot be a secret.
 */
#include "ledger/event.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_parameter_acl.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "tcop/cmdtag.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/syscache.h"

#define ACT_MAX	2000			/* bytes of metadata that an act is remembered with */

/* --- metadata: one JSON object ---------------------------------------------------- */

static void
put_key(StringInfo json, const char *key)
{
	appendStringInfoString(json, json->len > 1 ? ", " : "");
	escape_json(json, key);
	appendStringInfoString(json, ": ");
}

static void
put_member(StringInfo json, const char *key, const char *value)
{
	if (value == NULL)
		return;
	put_key(json, key);
	escape_json(json, value);
}

static void
put_flag(StringInfo json, const char *key, bool value)
{
	put_key(json, key);
	appendStringInfoString(json, value ? "true" : "false");
}

/* A list of char *. */
static void
put_names(StringInfo json, const char *key, List *names)
{
	ListCell   *lc;

	if (names == NIL)
		return;
	put_key(json, key);
	appendStringInfoChar(json, '[');
	foreach(lc, names)
	{
		appendStringInfoString(json, foreach_current_index(lc) > 0 ? ", " : "");
		escape_json(json, lfirst(lc));
	}
	appendStringInfoChar(json, ']');
}

static void
begin(StringInfo json, Node *stmt)
{
	initStringInfo(json);
	appendStringInfoChar(json, '{');
	put_member(json, "command", GetCommandTagName(CreateCommandTag(stmt)));
}

/* What changes roles may allow an identity to be taken, and a secret to be used. */
static void
note_role(const char *metadata, const char *role)
{
	StringInfoData act;

	if (strlen(metadata) > ACT_MAX)
		metadata = AuditDetail("statement", AuditClip(metadata, ACT_MAX), NULL);
	initStringInfo(&act);
	appendStringInfoChar(&act, '{');
	put_member(&act, "entity_type", "role");
	put_member(&act, "entity_id", role);
	appendStringInfo(&act, ", %s", metadata + 1);
	AuditActNote(NULL, act.data);
}

static void
append(StringInfo json, const char *entity_type, const char *entity_id)
{
	appendStringInfoChar(json, '}');
	EventAppend("ddl", entity_type, entity_id, json->data);
	if (strcmp(entity_type, "role") == 0)
		note_role(json->data, entity_id);
}

/* --- names --------------------------------------------------------------------------- */

static char *
role_name(const RoleSpec *role)
{
	switch (role->roletype)
	{
		case ROLESPEC_CSTRING:
			return role->rolename;
		case ROLESPEC_PUBLIC:
			return "PUBLIC";
		case ROLESPEC_SESSION_USER:
			return GetUserNameFromId(GetSessionUserId(), false);
		default:
			return GetUserNameFromId(GetUserId(), false);
	}
}

/* Of a list of RoleSpec. */
static List *
role_names(List *roles)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, roles)
		names = lappend(names, role_name(lfirst_node(RoleSpec, lc)));
	return names;
}

static char *
relation_name(const RangeVar *name)
{
	Oid			relid = NamedRelation(name);
	char	   *qualified = OidIsValid(relid) ? RelationName(relid) : NULL;

	return qualified ? qualified : quote_qualified_identifier(name->schemaname, name->relname);
}

/* How the statement calls an object. */
static char *
object_name(Node *object)
{
	switch (nodeTag(object))
	{
		case T_RangeVar:
			return relation_name((RangeVar *) object);
		case T_ObjectWithArgs:
			return NameListToString(((ObjectWithArgs *) object)->objname);
		case T_String:
			return strVal(object);
		case T_TypeName:
			return NameListToString(((TypeName *) object)->names);
		case T_List:
			return NameListToString((List *) object);
		case T_Integer:
		case T_Float:
			return nodeToString(object);	/* a large object */
		default:
			return "?";
	}
}

static List *
object_names(List *objects)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, objects)
		names = lappend(names, object_name(lfirst(lc)));
	return names;
}

static const char *
object_kind(ObjectType type)
{
	switch (type)
	{
		case OBJECT_TABLE:
		case OBJECT_COLUMN:
		case OBJECT_VIEW:
		case OBJECT_MATVIEW:
		case OBJECT_FOREIGN_TABLE:
			return "relation";
		case OBJECT_SEQUENCE:
			return "sequence";
		case OBJECT_DATABASE:
			return "database";
		case OBJECT_FUNCTION:
		case OBJECT_PROCEDURE:
		case OBJECT_ROUTINE:
		case OBJECT_AGGREGATE:
			return "function";
		case OBJECT_SCHEMA:
			return "schema";
		case OBJECT_TYPE:
		case OBJECT_DOMAIN:
			return "type";
		case OBJECT_LANGUAGE:
			return "language";
		case OBJECT_LARGEOBJECT:
			return "large object";
		case OBJECT_TABLESPACE:
			return "tablespace";
		case OBJECT_FDW:
			return "foreign-data wrapper";
		case OBJECT_FOREIGN_SERVER:
			return "foreign server";
		case OBJECT_PARAMETER_ACL:
			return "setting";
		default:
			return "object";
	}
}

/* The only one of them, or NULL. */
static char *
only(List *names)
{
	return list_length(names) == 1 ? linitial(names) : NULL;
}

/* --- roles ------------------------------------------------------------------------------ */

static void
put_role_options(StringInfo json, List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, "password") == 0)
			put_flag(json, "password", option->arg != NULL);
		else if (option->arg == NULL)
			put_flag(json, option->defname, true);
		else if (IsA(option->arg, List))
			put_names(json, option->defname, role_names((List *) option->arg));
		else if (IsA(option->arg, Boolean))
			put_flag(json, option->defname, boolVal(option->arg));
		else
			put_member(json, option->defname, defGetString(option));
	}
}

/* Settings of text whose value is no secret, and matters. */
static const char *const open_settings[] = {
	"search_path", "role", "session_preload_libraries", "shared_preload_libraries", "local_preload_libraries",
	"log_destination", "archive_library", "listen_addresses"
};

static bool
is_open_setting(const char *name)
{
	struct config_generic *setting = BwFindSetting(name);

	if (setting == NULL)
		return false;
	for (int i = 0; i < lengthof(open_settings); i++)
		if (pg_strcasecmp(name, open_settings[i]) == 0)
			return true;
	return setting->vartype != PGC_STRING;
}

static void
put_setting(StringInfo json, VariableSetStmt *set)
{
	if (set->kind == VAR_RESET_ALL)
	{
		put_member(json, "setting", "ALL");
		put_flag(json, "reset", true);
		return;
	}
	put_member(json, "setting", set->name);
	if (set->kind == VAR_RESET || set->kind == VAR_SET_DEFAULT)
		put_flag(json, "reset", true);
	else if (set->kind == VAR_SET_CURRENT)
		put_flag(json, "from_current", true);
	else if (set->kind == VAR_SET_VALUE && is_open_setting(set->name))
		put_member(json, "value", ExtractSetVariableArgs(set));
}

static void
drop_roles(DropRoleStmt *drop)
{
	ListCell   *lc;

	foreach(lc, drop->roles)
	{
		StringInfoData json;

		begin(&json, (Node *) drop);
		append(&json, "role", role_name(lfirst_node(RoleSpec, lc)));
	}
}

static void
grant_roles(StringInfo json, GrantRoleStmt *grant)
{
	List	   *roles = NIL;
	ListCell   *lc;

	foreach(lc, grant->granted_roles)
		roles = lappend(roles, lfirst_node(AccessPriv, lc)->priv_name);
	put_names(json, "roles", roles);
	put_names(json, "members", role_names(grant->grantee_roles));
	put_role_options(json, BW_GRANT_ROLE_OPTIONS(grant));
	append(json, "role", only(roles));
}

/* --- privileges --------------------------------------------------------------------------- */

static void
put_privileges(StringInfo json, GrantStmt *grant)
{
	List	   *privileges = NIL;
	ListCell   *lc;

	foreach(lc, grant->privileges)
	{
		AccessPriv *privilege = lfirst_node(AccessPriv, lc);
		char	   *name = privilege->priv_name ? privilege->priv_name : "all";

		privileges = lappend(privileges, privilege->cols == NIL ? name :
							 psprintf("%s (%s)", name, NameListToString(privilege->cols)));
	}
	put_names(json, "privileges", privileges ? privileges : list_make1("all"));
	put_names(json, "grantees", role_names(grant->grantees));
	if (grant->is_grant && grant->grant_option)
		put_flag(json, "grant_option", true);
}

static void
grant_privileges(StringInfo json, GrantStmt *grant)
{
	List	   *objects = object_names(grant->objects);

	put_names(json, grant->targtype == ACL_TARGET_ALL_IN_SCHEMA ? "all_in_schemas" : "objects", objects);
	put_privileges(json, grant);
	append(json, object_kind(grant->objtype),
		   grant->targtype == ACL_TARGET_ALL_IN_SCHEMA ? NULL : only(objects));
}

static void
default_privileges(StringInfo json, AlterDefaultPrivilegesStmt *alter)
{
	ListCell   *lc;

	foreach(lc, alter->options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, "roles") == 0)
			put_names(json, "for_roles", role_names((List *) option->arg));
		else if (strcmp(option->defname, "schemas") == 0)
			put_names(json, "in_schemas", object_names((List *) option->arg));
	}
	put_flag(json, "revoke", !alter->action->is_grant);
	put_privileges(json, alter->action);
	append(json, "default privileges", object_kind(alter->action->objtype));
}

/* Is it, or does it become, one that runs with its owner's rights? */
static bool
names_security(List *options, bool *definer)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, "security") == 0)
		{
			*definer = boolVal(option->arg);
			return true;
		}
	}
	return false;
}

/* Owner and row security, among all that ALTER TABLE does. */
static void
alter_table(AlterTableStmt *alter)
{
	ListCell   *lc;

	foreach(lc, alter->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		const char *what = NULL;
		StringInfoData json;

		switch (cmd->subtype)
		{
			case AT_ChangeOwner:
				what = "owner";
				break;
			case AT_EnableRowSecurity:
				what = "enable row level security";
				break;
			case AT_DisableRowSecurity:
				what = "disable row level security";
				break;
			case AT_ForceRowSecurity:
				what = "force row level security";
				break;
			case AT_NoForceRowSecurity:
				what = "no force row level security";
				break;
			default:
				continue;
		}
		begin(&json, (Node *) alter);
		put_member(&json, "change", what);
		if (cmd->subtype == AT_ChangeOwner)
			put_member(&json, "owner", role_name(cmd->newowner));
		append(&json, "relation", relation_name(alter->relation));
	}
}

/* --- in the statement's transaction ------------------------------------------------------------ */

static void
record_policy(StringInfo json, const char *policy, const RangeVar *table)
{
	put_member(json, "policy", policy);
	append(json, "relation", relation_name(table));
}

static void
record_function(StringInfo json, Node *name, bool definer)
{
	put_member(json, "security", definer ? "definer" : "invoker");
	append(json, "function", object_name(name));
}

/* Is it a statement of those that are entries? */
static bool
concerns(Node *stmt)
{
	bool		definer = false;

	switch (nodeTag(stmt))
	{
		case T_CreateRoleStmt:
		case T_AlterRoleStmt:
		case T_AlterRoleSetStmt:
		case T_DropRoleStmt:
		case T_GrantRoleStmt:
		case T_GrantStmt:
		case T_AlterDefaultPrivilegesStmt:
		case T_AlterDatabaseStmt:
		case T_AlterDatabaseSetStmt:
		case T_AlterOwnerStmt:
		case T_ReassignOwnedStmt:
		case T_DropOwnedStmt:
		case T_CreatePolicyStmt:
		case T_AlterPolicyStmt:
		case T_AlterTableStmt:
			return true;
		case T_DropStmt:
			return ((DropStmt *) stmt)->removeType == OBJECT_POLICY;
		case T_RenameStmt:
			return ((RenameStmt *) stmt)->renameType == OBJECT_ROLE ||
				((RenameStmt *) stmt)->renameType == OBJECT_DATABASE;
		case T_CreateFunctionStmt:
			return names_security(((CreateFunctionStmt *) stmt)->options, &definer) && definer;
		case T_AlterFunctionStmt:
			return names_security(((AlterFunctionStmt *) stmt)->actions, &definer);
		default:
			return false;
	}
}

static void
record(Node *stmt)
{
	StringInfoData json;
	bool		definer = false;

	begin(&json, stmt);
	switch (nodeTag(stmt))
	{
		case T_CreateRoleStmt:
			put_role_options(&json, ((CreateRoleStmt *) stmt)->options);
			append(&json, "role", ((CreateRoleStmt *) stmt)->role);
			break;
		case T_AlterRoleStmt:
			if (((AlterRoleStmt *) stmt)->action < 0)
				put_flag(&json, "drop_members", true);
			put_role_options(&json, ((AlterRoleStmt *) stmt)->options);
			append(&json, "role", role_name(((AlterRoleStmt *) stmt)->role));
			break;
		case T_AlterRoleSetStmt:
			{
				AlterRoleSetStmt *alter = (AlterRoleSetStmt *) stmt;

				put_member(&json, "database", alter->database);
				put_setting(&json, alter->setstmt);
				append(&json, "role", alter->role ? role_name(alter->role) : "ALL");
				break;
			}
		case T_DropRoleStmt:
			drop_roles((DropRoleStmt *) stmt);
			break;
		case T_GrantRoleStmt:
			grant_roles(&json, (GrantRoleStmt *) stmt);
			break;
		case T_GrantStmt:
			grant_privileges(&json, (GrantStmt *) stmt);
			break;
		case T_AlterDefaultPrivilegesStmt:
			default_privileges(&json, (AlterDefaultPrivilegesStmt *) stmt);
			break;
		case T_AlterDatabaseStmt:
			append(&json, "database", ((AlterDatabaseStmt *) stmt)->dbname);
			break;
		case T_AlterDatabaseSetStmt:
			put_setting(&json, ((AlterDatabaseSetStmt *) stmt)->setstmt);
			append(&json, "database", ((AlterDatabaseSetStmt *) stmt)->dbname);
			break;
		case T_AlterOwnerStmt:
			{
				AlterOwnerStmt *alter = (AlterOwnerStmt *) stmt;

				put_member(&json, "owner", role_name(alter->newowner));
				append(&json, object_kind(alter->objectType),
					   alter->object ? object_name(alter->object) : relation_name(alter->relation));
				break;
			}
		case T_ReassignOwnedStmt:
			put_names(&json, "roles", role_names(((ReassignOwnedStmt *) stmt)->roles));
			append(&json, "role", role_name(((ReassignOwnedStmt *) stmt)->newrole));
			break;
		case T_DropOwnedStmt:
			append(&json, "role", only(role_names(((DropOwnedStmt *) stmt)->roles)));
			break;
		case T_RenameStmt:
			put_member(&json, "new_name", ((RenameStmt *) stmt)->newname);
			append(&json, ((RenameStmt *) stmt)->renameType == OBJECT_ROLE ? "role" : "database",
				   ((RenameStmt *) stmt)->subname);
			break;
		case T_CreatePolicyStmt:
			record_policy(&json, ((CreatePolicyStmt *) stmt)->policy_name, ((CreatePolicyStmt *) stmt)->table);
			break;
		case T_AlterPolicyStmt:
			record_policy(&json, ((AlterPolicyStmt *) stmt)->policy_name, ((AlterPolicyStmt *) stmt)->table);
			break;
		case T_DropStmt:
			{
				List	   *names = linitial_node(List, ((DropStmt *) stmt)->objects);

				record_policy(&json, strVal(llast(names)),
							  makeRangeVarFromNameList(list_truncate(list_copy(names), list_length(names) - 1)));
				break;
			}
		case T_AlterTableStmt:
			alter_table((AlterTableStmt *) stmt);
			break;
		case T_CreateFunctionStmt:
			record_function(&json, (Node *) ((CreateFunctionStmt *) stmt)->funcname, true);
			break;
		case T_AlterFunctionStmt:
			names_security(((AlterFunctionStmt *) stmt)->actions, &definer);
			record_function(&json, (Node *) ((AlterFunctionStmt *) stmt)->func, definer);
			break;
		default:
			break;
	}
}

void
CommandAfter(Node *stmt)
{
	if (concerns(stmt) && (!ProtectionWorking() || StrangersRun()) && EventServes())
		record(stmt);
}

/* --- before a statement that no transaction undoes ------------------------------------------------ */

static bool
creates_databases(Oid roleid)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(roleid));
	bool		can = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return can;
}

/* May the user do it?  Of one who may not, the error is the entry. */
static bool
is_allowed(Node *stmt)
{
	Oid			user = GetUserId();

	if (superuser())
		return true;
	switch (nodeTag(stmt))
	{
		case T_CreatedbStmt:
			return creates_databases(user);
		case T_DropdbStmt:
			return BW_OWNS_DATABASE(get_database_oid(((DropdbStmt *) stmt)->dbname, true), user);
		default:
			{
				const char *setting = ((AlterSystemStmt *) stmt)->setstmt->name;

				return setting != NULL && pg_parameter_aclcheck(setting, user, ACL_ALTER_SYSTEM) == ACLCHECK_OK;
			}
	}
}

void
CommandBefore(Node *stmt)
{
	const char *entity_type = "database";
	const char *entity_id;
	StringInfoData json;

	if (!IsA(stmt, AlterSystemStmt) && !IsA(stmt, CreatedbStmt) && !IsA(stmt, DropdbStmt))
		return;
	/* inside a transaction block it is an error, and no entry that it began */
	if (IsTransactionBlock() || !is_allowed(stmt) || !EventServes())
		return;

	begin(&json, stmt);
	switch (nodeTag(stmt))
	{
		case T_CreatedbStmt:
			entity_id = ((CreatedbStmt *) stmt)->dbname;
			break;
		case T_DropdbStmt:
			entity_id = ((DropdbStmt *) stmt)->dbname;
			break;
		default:
			entity_type = "setting";
			put_setting(&json, ((AlterSystemStmt *) stmt)->setstmt);
			entity_id = ((AlterSystemStmt *) stmt)->setstmt->name;
			break;
	}
	appendStringInfoChar(&json, '}');

	{
		Entry		entry = {
			.source = SOURCE_SYSTEM,
			.action = "ddl",
			.entity_type = entity_type,
			.entity_id = entity_id ? entity_id : "ALL",
			.metadata = json.data,
			.annotated = true,
		};

		LedgerSpoolAndWait(&entry);
	}
}
