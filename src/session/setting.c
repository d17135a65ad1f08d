/*
 * setting.c
 *		Which settings may outlive a transaction of an application login.  A value
 *		that decides what a statement means, or whether it works at all, is the next
 *		tenant's trouble where connections are shared.
 *
 *		Bound settings do not change for the session any more once it has had an
 *		identity.  Of these, poolers and drivers set the tracked ones themselves when
 *		they hand a connection over, so those are bound only in the transactions of an
 *		identity.  Everything else makes statements faster or slower.
 */
#include "session/session.h"

#include "catalog/objectaccess.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

static const char *const tracked_settings[] = {
	"client_encoding", "DateStyle", "IntervalStyle", "TimeZone", "extra_float_digits",
	"standard_conforming_strings", "escape_string_warning", "client_min_messages",
	"default_transaction_isolation", "default_transaction_read_only", "default_transaction_deferrable",
	"statement_timeout", "lock_timeout", "transaction_timeout", "idle_in_transaction_session_timeout",
	"idle_session_timeout"
};

/* Bound settings of the server's own. */
static struct config_generic **bound = NULL;
static int	nbound = 0;

/* Has set_config() run in this transaction?  An extension's settings are looked at only then. */
static bool set_config_ran = false;

static object_access_hook_type prev_object_access = NULL;

static bool
is_tracked(const char *name)
{
	for (int i = 0; i < lengthof(tracked_settings); i++)
		if (pg_strcasecmp(name, tracked_settings[i]) == 0)
			return true;
	return false;
}

/* The groups are whole, so that a setting of a later version is bound too. */
static bool
is_bound(const struct config_generic *setting)
{
	switch (setting->group)
	{
		case CLIENT_CONN_STATEMENT:
		case CLIENT_CONN_LOCALE:
		case CLIENT_CONN_PRELOAD:
		case CLIENT_CONN_OTHER:
		case COMPAT_OPTIONS_PREVIOUS:
		case BW_COMPAT_OPTIONS_OTHER:
		case WAL_SETTINGS:
		case ERROR_HANDLING_OPTIONS:
		case CUSTOM_OPTIONS:
		case UNGROUPED:
			break;
		case LOGGING_WHAT:
			if (strcmp(setting->name, "application_name") == 0)
				return false;
			break;
		default:
			return false;
	}
	/* ours and the login have rules of their own; the transaction's own end with it */
	return strncmp(setting->name, "bulwark.", strlen("bulwark.")) != 0 &&
		strcmp(setting->name, "session_authorization") != 0 &&
		(strncmp(setting->name, "transaction_", strlen("transaction_")) != 0 || is_tracked(setting->name));
}

bool
SettingIsBound(const char *name)
{
	struct config_generic *setting;

	if (name == NULL || !IdentityEverSet())
		return false;
	setting = BwFindSetting(name);
	if (setting == NULL ? strchr(name, '.') == NULL : !is_bound(setting))
		return false;
	return IdentityOfTransaction() != NULL || !is_tracked(name);
}

static bool
same_string(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/*
 * Will the setting have, after this transaction's commit, a value that is
 * neither its reset value nor the one from before?  What RESET gives stays
 * possible.
 */
static bool
survives(const struct config_generic *setting)
{
	const GucStack *stack = setting->stack;
	bool		now;

	if (stack == NULL || (stack->state != GUC_SET && stack->state != GUC_SET_LOCAL))
		return false;
	now = stack->state == GUC_SET;

#define SURVIVES(record, field, same) \
	{ \
		const record *typed = (const record *) setting; \
		return !same(now ? *typed->variable : stack->masked.val.field, typed->reset_val) && \
			!same(now ? *typed->variable : stack->masked.val.field, stack->prior.val.field); \
	}
#define SAME_VALUE(a, b)	((a) == (b))
	switch (setting->vartype)
	{
		case PGC_BOOL:
			SURVIVES(struct config_bool, boolval, SAME_VALUE);
		case PGC_INT:
			SURVIVES(struct config_int, intval, SAME_VALUE);
		case PGC_REAL:
			SURVIVES(struct config_real, realval, SAME_VALUE);
		case PGC_ENUM:
			SURVIVES(struct config_enum, enumval, SAME_VALUE);
		case PGC_STRING:
			SURVIVES(struct config_string, stringval, same_string);
	}
	return true;
}

/* Does this one survive a transaction that it may not? */
static bool
survives_wrongly(const struct config_generic *setting)
{
	return setting->stack != NULL && survives(setting) &&
		(IdentityOfTransaction() != NULL || !is_tracked(setting->name));
}

const char *
SettingSurvivor(void)
{
	struct config_generic **all;
	const char *survivor = NULL;
	int			n;

	if (!IdentityEverSet())
		return NULL;
	for (int i = 0; i < nbound; i++)
		if (survives_wrongly(bound[i]))
			return bound[i]->name;

	if (!set_config_ran)
		return NULL;
	all = BwAllSettings(&n);
	for (int i = 0; i < n && survivor == NULL; i++)
		if (all[i]->group == CUSTOM_OPTIONS && is_bound(all[i]) && survives_wrongly(all[i]))
			survivor = all[i]->name;
	return survivor;
}

void
SettingTransactionEnd(void)
{
	set_config_ran = false;
}

static void
setting_object_access(ObjectAccessType access, Oid classid, Oid objectid, int subid, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classid, objectid, subid, arg);
	if (access == OAT_FUNCTION_EXECUTE && objectid == F_SET_CONFIG)
		set_config_ran = true;
}

void
SettingInit(void)
{
	int			n;
	struct config_generic **all = BwAllSettings(&n);

	bound = MemoryContextAlloc(TopMemoryContext, n * sizeof(struct config_generic *));
	for (int i = 0; i < n; i++)
		if (all[i]->group != CUSTOM_OPTIONS && all[i]->context >= PGC_SUSET && is_bound(all[i]))
			bound[nbound++] = all[i];

	prev_object_access = object_access_hook;
	object_access_hook = setting_object_access;
}
