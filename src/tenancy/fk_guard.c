/*
 * fk_guard.c
 *		Foreign keys see through row security, so a row could refer to another
 *		tenant's.  A constraint trigger beside each foreign key between protected
 *		tables refuses that with the words of a missing key.  By name order it
 *		fires before the key's own check and so reports both cases: nothing in the
 *		error, not even its source line, tells them apart.
 */
#include "tenancy/protect.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(bulwark_fk_guard);

List *
ConstraintColumns(Oid relid, HeapTuple constraint, AttrNumber which)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(CONSTROID, constraint, which, &isnull);
	ArrayType  *array = DatumGetArrayTypeP(value);
	int16	   *numbers = (int16 *) ARR_DATA_PTR(array);
	List	   *result = NIL;

	for (int i = 0; i < ARR_DIMS(array)[0]; i++)
		result = lappend(result, get_attname(relid, numbers[i], false));
	return result;
}

/* --- which keys need a guard ------------------------------------------------ */

typedef struct ForeignKey
{
	char		name[NAMEDATALEN];
	Oid			referenced;
	bool		deferrable;
	bool		deferred;
	bool		period;			/* the last column is a range that several rows may cover */
	List	   *columns;
	List	   *referenced_columns;
} ForeignKey;

static ForeignKey *
foreign_key(HeapTuple tuple)
{
	Form_pg_constraint con = (Form_pg_constraint) GETSTRUCT(tuple);
	ForeignKey *key = palloc(sizeof(ForeignKey));

	strlcpy(key->name, NameStr(con->conname), NAMEDATALEN);
	key->referenced = con->confrelid;
	key->deferrable = con->condeferrable;
	key->deferred = con->condeferred;
	key->period = BW_KEY_HAS_PERIOD(con);
	key->columns = ConstraintColumns(con->conrelid, tuple, Anum_pg_constraint_conkey);
	key->referenced_columns = ConstraintColumns(con->confrelid, tuple, Anum_pg_constraint_confkey);
	return key;
}

/* A key that partitioning derived from another of the same table. */
static bool
derived_key(Form_pg_constraint con)
{
	HeapTuple	tuple;
	bool		derived;

	if (!OidIsValid(con->conparentid))
		return false;
	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(con->conparentid));
	derived = HeapTupleIsValid(tuple) && ((Form_pg_constraint) GETSTRUCT(tuple))->conrelid == con->conrelid;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return derived;
}

/*
 * No guard where the key itself keeps tenants apart (it has both tenant columns),
 * where the row takes its tenant from it, and where there is one tenant only.
 */
static bool
needs_guard(const Protection *p, const ForeignKey *key)
{
	const Protection *referenced = ProtectionOf(key->referenced);

	if (referenced == NULL || p->kind == 's' || referenced->kind == 's' || (p->pinned && referenced->pinned))
		return false;
	for (int i = 0; i < list_length(key->columns); i++)
		if (strcmp(list_nth(key->columns, i), p->tenant_column) == 0 &&
			strcmp(list_nth(key->referenced_columns, i), referenced->tenant_column) == 0)
			return false;
	return !(p->kind == 'c' && !p->tenant_column[0] && p->parent == key->referenced &&
			 SameNames(p->key_columns, key->columns) && SameNames(p->parent_columns, key->referenced_columns));
}

/* The foreign keys of a protected relation that need a guard. */
static List *
guarded_keys(const Protection *p)
{
	Relation	rel;
	ScanKeyData scankey;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *result = NIL;

	if (get_rel_relkind(p->relid) != RELKIND_RELATION)
		return NIL;				/* rows are in the leaves */
	rel = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyInit(&scankey, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(p->relid));
	scan = systable_beginscan(rel, ConstraintRelidTypidNameIndexId, true, NULL, 1, &scankey);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint con = (Form_pg_constraint) GETSTRUCT(tuple);

		/* one that is not enforced leads nowhere: nothing answers whether the row is there */
		if (con->contype == CONSTRAINT_FOREIGN && BW_KEY_IS_ENFORCED(con) && !derived_key(con))
		{
			ForeignKey *key = foreign_key(tuple);

			if (needs_guard(p, key))
				result = lappend(result, key);
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

/* --- putting guards in place ------------------------------------------------ */

/* The name of the foreign key that a guard's argument names. */
static char *
guard_argument(Relation pg_trigger, HeapTuple tuple)
{
	bool		isnull;
	Datum		args = fastgetattr(tuple, Anum_pg_trigger_tgargs, RelationGetDescr(pg_trigger), &isnull);

	return pstrdup(VARDATA_ANY(DatumGetByteaPP(args)));
}

/* A guard bears its key's name, cut and told apart by a hash where it is too long. */
char *
FkGuardName(const char *key)
{
	int			room = NAMEDATALEN - 1 - strlen(TRIGGER_FK_GUARD);
	int			len = strlen(key);
	int			cut = pg_mbcliplen(key, len, room - 9);

	if (len <= room)
		return psprintf(TRIGGER_FK_GUARD "%s", key);
	return psprintf(TRIGGER_FK_GUARD "%.*s_%08x", cut, key, hash_bytes((const unsigned char *) key, len));
}

static bool
guard_matches(Form_pg_trigger trigger, const char *argument, const ForeignKey *key)
{
	return strcmp(argument, key->name) == 0 &&
		strcmp(NameStr(trigger->tgname), FkGuardName(key->name)) == 0 && trigger->tgconstrrelid == key->referenced &&
		trigger->tgdeferrable == key->deferrable && trigger->tginitdeferred == key->deferred;
}

/* Take the keys that have their guard off the list; list the guards that match none. */
static void
settle_guards(Oid relid, List **keys, List **surplus)
{
	Relation	rel = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData scankey;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&scankey, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, TriggerRelidNameIndexId, true, NULL, 1, &scankey);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
		const char *name = NameStr(trigger->tgname);
		ListCell   *lc;
		bool		wanted = false;

		if (trigger->tgisinternal || strncmp(name, TRIGGER_FK_GUARD, strlen(TRIGGER_FK_GUARD)) != 0)
			continue;
		foreach(lc, *keys)
		{
			if (!guard_matches(trigger, guard_argument(rel, tuple), lfirst(lc)))
				continue;
			*keys = foreach_delete_current(*keys, lc);
			wanted = true;
			break;
		}
		if (!wanted)
			*surplus = lappend(*surplus, pstrdup(name));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

void
FkGuardSync(Oid relid)
{
	const Protection *p = ProtectionOf(relid);
	List	   *keys = p ? guarded_keys(p) : NIL;
	List	   *surplus = NIL;
	char	   *name = QualifiedName(relid);
	TrustedScope scope;
	ListCell   *lc;

	settle_guards(relid, &keys, &surplus);
	if (keys == NIL && surplus == NIL)
		return;
	TrustedBegin(&scope);
	foreach(lc, surplus)
		Ddl(psprintf("DROP TRIGGER %s ON %s", quote_identifier(lfirst(lc)), name));
	foreach(lc, keys)
	{
		ForeignKey *key = lfirst(lc);
		const char *trigger = quote_identifier(FkGuardName(key->name));

		Ddl(psprintf("CREATE CONSTRAINT TRIGGER %s AFTER INSERT OR UPDATE ON %s FROM %s %s "
					 "FOR EACH ROW EXECUTE FUNCTION bulwark_internal.fk_guard(%s)",
					 trigger, name, QualifiedName(key->referenced),
					 key->deferred ? "DEFERRABLE INITIALLY DEFERRED" : key->deferrable ? "DEFERRABLE" : "NOT DEFERRABLE",
					 quote_literal_cstr(key->name)));
		Ddl(psprintf("ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %s", name, trigger));
	}
	TrustedEnd(&scope);
}

void
FkGuardSyncReferencing(Oid relid)
{
	Relation	rel = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData scankey;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *referencing = NIL;
	ListCell   *lc;

	ScanKeyInit(&scankey, Anum_pg_constraint_confrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &scankey);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint con = (Form_pg_constraint) GETSTRUCT(tuple);

		if (con->contype == CONSTRAINT_FOREIGN)
			referencing = list_append_unique_oid(referencing, con->conrelid);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	foreach(lc, referencing)
		if (ProtectionOf(lfirst_oid(lc)) != NULL)
			FkGuardSync(lfirst_oid(lc));
}

/* --- the check --------------------------------------------------------------- */

typedef struct Guard
{
	Oid			trigger;		/* hash key */
	KeptPlan	row;			/* ctid -> the row's tenant; none: no check is needed */
	KeptPlan	key;			/* the key's values -> the tenant of the row referred to */
	Oid			row_owner;		/* who runs them */
	Oid			key_owner;
	bool		row_by_key;		/* one names its tenant by id, this one by key */
	bool		key_by_key;
	int			ncolumns;		/* those whose change asks for a check: */
	AttrNumber	columns[2 * INDEX_MAX_KEYS];	/* the key's, then those that tell the tenant */
	int			nkeys;
} Guard;

static HTAB *guards = NULL;

/* The one tenant of all rows that cover a period; NULL where there are several. */
#define TENANT_OF_PERIOD \
	"SELECT CASE WHEN pg_catalog.min(t) = pg_catalog.max(t) AND pg_catalog.count(t) = pg_catalog.count(*) THEN pg_catalog.min(t) END " \
	"FROM (SELECT (%s)::pg_catalog.text COLLATE \"C\" AS t FROM %s AS bulwark_k WHERE %s) AS bulwark_t HAVING pg_catalog.count(*) > 0"

/*
 * Two statements, each run by the owner of the table that it reads, as foreign
 * keys do it: planning a query runs what the owner attached to the table (an
 * index expression or a CHECK is folded), so no other may plan it.  The row is read
 * back by its ctid: gone means that a later change of it has its own check.
 */
static void
guard_prepare(Guard *guard, Oid relid, const ForeignKey *key)
{
	const Protection *p = ProtectionOf(relid);
	const Protection *referenced = ProtectionOf(key->referenced);
	KeyType		row_type = TenantKeyType(p);
	KeyType		key_type = TenantKeyType(referenced);
	Oid			row_argument = TIDOID;
	Oid			types[INDEX_MAX_KEYS];
	StringInfoData condition;
	ListCell   *lc;

	guard->row_by_key = row_type != KEY_UUID && key_type == KEY_UUID;
	guard->key_by_key = key_type != KEY_UUID && row_type == KEY_UUID;
	guard->row_owner = RelationOwner(relid);
	guard->key_owner = RelationOwner(key->referenced);

	initStringInfo(&condition);
	guard->ncolumns = 0;
	foreach(lc, key->columns)
	{
		int			i = guard->ncolumns++;
		const char *column = list_nth(key->referenced_columns, i);

		guard->columns[i] = get_attnum(relid, lfirst(lc));
		types[i] = get_atttype(relid, guard->columns[i]);
		appendStringInfo(&condition, "%s%s %s $%d", i ? " AND " : "", RowColumn("bulwark_k", column),
						 key->period && lc == list_tail(key->columns) ? "OPERATOR(pg_catalog.&&)" :
						 EqualityOperator(key->referenced, column), i + 1);
	}
	guard->nkeys = guard->ncolumns;
	if (p->tenant_column[0])
		guard->columns[guard->ncolumns++] = get_attnum(relid, p->tenant_column);
	else
		foreach(lc, p->key_columns)
			guard->columns[guard->ncolumns++] = get_attnum(relid, lfirst(lc));

	KeptPlanSet(&guard->key,
				psprintf(key->period ? TENANT_OF_PERIOD : "SELECT %s FROM %s AS bulwark_k WHERE %s",
						 ProtectionTenantExpr(key->referenced, "bulwark_k"), QualifiedName(key->referenced), condition.data),
				guard->nkeys, types);
	KeptPlanSet(&guard->row,
				psprintf("SELECT %s FROM ONLY %s AS bulwark_r WHERE bulwark_r.ctid = $1",
						 ProtectionTenantExpr(relid, "bulwark_r"), QualifiedName(relid)),
				1, &row_argument);
}

/* The plan of a guard, made anew when what it was made from has changed. */
static Guard *
guard_lookup(TriggerData *trigger)
{
	Oid			relid = RelationGetRelid(trigger->tg_relation);
	Guard	   *guard;
	bool		found;
	HeapTuple	tuple;
	ForeignKey *key;

	if (guards == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Guard)};

		guards = hash_create("bulwark foreign keys", 32, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	guard = hash_search(guards, &trigger->tg_trigger->tgoid, HASH_ENTER, &found);
	if (!found)
	{
		memset(&guard->row, 0, sizeof(KeptPlan));
		memset(&guard->key, 0, sizeof(KeptPlan));
	}
	if (KeptPlanValid(&guard->row) && (guard->row.plan == NULL || KeptPlanValid(&guard->key)))
		return guard;

	KeptPlanReset(&guard->row);
	KeptPlanReset(&guard->key);
	tuple = SearchSysCache1(CONSTROID,
							ObjectIdGetDatum(get_relation_constraint_oid(relid, trigger->tg_trigger->tgargs[0], false)));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint \"%s\"", trigger->tg_trigger->tgargs[0]);
	key = foreign_key(tuple);
	ReleaseSysCache(tuple);
	if (ProtectionOf(relid) && needs_guard(ProtectionOf(relid), key))
	{
		TrustedScope scope;

		TrustedBegin(&scope);
		guard_prepare(guard, relid, key);
		TrustedEnd(&scope);
	}
	else
		KeptPlanSet(&guard->row, NULL, 0, NULL);
	return guard;
}

bool
ForeignKeysRest(Relation rel)
{
	if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		return true;
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgenabled == TRIGGER_DISABLED && RI_FKey_trigger_type(trigger->tgfoid) == RI_TRIGGER_FK)
			return true;
	}
	return false;
}

/* Must this row be checked?  Not where the key is NULL or nothing changed. */
static bool
check_required(const Guard *guard, TriggerData *trigger, HeapTuple row)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	bool		changed = TRIGGER_FIRED_BY_INSERT(trigger->tg_event);

	for (int i = 0; i < guard->ncolumns; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, guard->columns[i] - 1);
		bool		isnull,
					old_null;
		Datum		value = heap_getattr(row, att->attnum, desc, &isnull);
		Datum		old_value;

		if (isnull && i < guard->nkeys)
			return false;
		if (changed)
			continue;
		old_value = heap_getattr(trigger->tg_trigtuple, att->attnum, desc, &old_null);
		changed = isnull != old_null ||
			(!isnull && !datum_image_eq(value, old_value, att->attbyval, att->attlen));
	}
	return changed;
}

/* Run one of the statements: the tenant that it finds, or NULL; false if no row. */
static bool
read_tenant(KeptPlan *kept, Oid owner, Datum *values, TrustedScope *scope, char **tenant)
{
	SetUserIdAndSecContext(owner, scope->save_sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	if (SPI_execute_plan(kept->plan, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "the check of a foreign key failed");
	if (SPI_processed == 0)
		return false;
	*tenant = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	return true;
}

/* The id of the tenant with that key as text, or NULL. */
static char *
id_of_key(const char *key)
{
	PrivateScan scan;
	char	   *id = NULL;
	bool		isnull;

	if (key == NULL || !PrivateScanBegin(&scan, "tenants", "tenants_key_key"))
		return NULL;
	PrivateScanText(&scan, Tenant_key, key);
	if (PrivateScanNext(&scan))
		id = DatumGetCString(DirectFunctionCall1(uuid_out, PrivateScanGet(&scan, Tenant_id, &isnull)));
	PrivateScanEnd(&scan);
	return id;
}

/*
 * Is the row referred to of the row's tenant?  A row without a tenant is nobody's
 * and may refer to anything; while keys rest, one that is not there yet is nobody's
 * either.
 */
static bool
same_tenant(Guard *guard, TriggerData *trigger, HeapTuple row, TrustedScope *scope)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	Datum		ctid = PointerGetDatum(&row->t_self);
	Datum		keys[INDEX_MAX_KEYS];
	char	   *of_row;
	char	   *of_key;

	if (!read_tenant(&guard->row, guard->row_owner, &ctid, scope, &of_row) || of_row == NULL)
		return true;
	for (int i = 0; i < guard->nkeys; i++)
	{
		bool		isnull;

		keys[i] = heap_getattr(row, guard->columns[i], desc, &isnull);
	}
	if (!read_tenant(&guard->key, guard->key_owner, keys, scope, &of_key))
		return ForeignKeysRest(trigger->tg_relation);
	if (guard->row_by_key)
	{
		of_row = id_of_key(of_row);
		if (of_row == NULL)
			return true;
	}
	if (guard->key_by_key)
		of_key = id_of_key(of_key);
	return of_key != NULL && strcmp(of_row, of_key) == 0;
}

Datum
bulwark_fk_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TrustedScope scope;
	HeapTuple	row;
	Guard	   *guard;
	char	   *name;
	bool		allowed;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || trigger->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("bulwark_internal.fk_guard() must be called as a row trigger after insert or update")));
	name = trigger->tg_trigger->tgargs[0];
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	guard = guard_lookup(trigger);
	if (guard->row.plan == NULL || !check_required(guard, trigger, row))
		return PointerGetDatum(NULL);

	TrustedBegin(&scope);
	allowed = same_tenant(guard, trigger, row, &scope);
	TrustedEnd(&scope);

	if (!allowed)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("insert or update on table \"%s\" violates foreign key constraint \"%s\"",
						RelationGetRelationName(trigger->tg_relation), name),
				 errdetail("Key is not present in table \"%s\".", get_rel_name(trigger->tg_trigger->tgconstrrelid)),
				 errtableconstraint(trigger->tg_relation, name)));
	return PointerGetDatum(NULL);
}
