/*
 * materialize.c
 *		Children that keep their parent's tenant and affiliation in columns of
 *		their own: filled by a row trigger through the key, followed by a trigger
 *		of the parent, filled in batches where there are rows already.  A client
 *		cannot set them: the trigger overwrites what it is given.
 */
#include "tenancy/protect.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "nodes/parsenodes.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(bulwark_materialize_row);
PG_FUNCTION_INFO_V1(bulwark_materialize_children);
PG_FUNCTION_INFO_V1(bulwark_materialize);

/* Where a parent has what its children keep; NULL: it has none. */
typedef struct Source
{
	const char *tenant;
	const char *affiliation;
} Source;

static const char *
column_if_there(Oid relid, const char *column)
{
	return get_attnum(relid, column) != InvalidAttrNumber ? column : NULL;
}

static Source
source_of(const Protection *parent)
{
	Source		source = {NULL, NULL};

	if (parent->kind == 'c')
	{
		source.tenant = column_if_there(parent->relid, MATERIALIZED_TENANT);
		source.affiliation = column_if_there(parent->relid, MATERIALIZED_AFFILIATION);
	}
	else
	{
		source.tenant = parent->tenant_column[0] ? parent->tenant_column : NULL;
		source.affiliation = parent->affiliation_column[0] ? parent->affiliation_column : NULL;
	}
	return source;
}

static void
refuse(const Protection *p, const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("cannot materialize the tenant of \"%s\": %s", get_rel_name(p->relid), why),
			 errhint("%s", hint)));
}

void
MaterializeCheck(const Protection *p)
{
	const Protection *parent;
	Source		source;

	if (p->kind != 'c')
		refuse(p, "it has no parent", "materialize => true goes with parent.");
	parent = ProtectionOf(p->parent);
	source = source_of(parent);
	if (parent->kind == 'c' && !parent->materialized)
		refuse(p, psprintf("that of its parent \"%s\" is not", get_rel_name(p->parent)),
			   "Protect the parent with materialize => true, and fill its rows with CALL bulwark.materialize(), first.");
	if (source.tenant == NULL && source.affiliation == NULL)
		refuse(p, psprintf("\"%s\" has neither a tenant nor an affiliation column", get_rel_name(p->parent)),
			   "Leave materialize out: in this pinned database there is nothing to keep.");
	if (RelationOwner(p->relid) != RelationOwner(p->parent))
		refuse(p, psprintf("its owner does not own \"%s\"", get_rel_name(p->parent)),
			   "Parent and child need one owner, as whom the columns are filled.");
}

/* --- columns and triggers ----------------------------------------------------- */

/* "ADD COLUMN name" with the type and collation of the parent's column. */
static char *
add_column(const char *name, Oid parent, const char *column)
{
	HeapTuple	tuple = SearchSysCacheAttName(parent, column);
	Form_pg_attribute att = (Form_pg_attribute) GETSTRUCT(tuple);
	char	   *result;

	result = psprintf("ADD COLUMN %s %s%s", name,
					  format_type_extended(att->atttypid, att->atttypmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY),
					  OidIsValid(att->attcollation) ?
					  psprintf(" COLLATE %s", generate_collation_name(att->attcollation)) : "");
	ReleaseSysCache(tuple);
	return result;
}

bool
MaterializeAddColumns(const Protection *p)
{
	Source		source = source_of(ProtectionOf(p->parent));
	char	   *name = QualifiedName(p->relid);
	TrustedScope scope;
	bool		empty;

	Ddl(psprintf("ALTER TABLE %s %s%s%s", name,
				 source.tenant ? add_column(MATERIALIZED_TENANT, p->parent, source.tenant) : "",
				 source.tenant && source.affiliation ? ", " : "",
				 source.affiliation ? add_column(MATERIALIZED_AFFILIATION, p->parent, source.affiliation) : ""));
	TrustedBegin(&scope);
	SetUserIdAndSecContext(RelationOwner(p->relid), scope.save_sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	empty = TrustedExec(psprintf("SELECT FROM %s LIMIT 1", name), 0, NULL, NULL, NULL) == 0;
	TrustedEnd(&scope);
	return empty;
}

void
MaterializeDropColumns(Oid relid)
{
	static const char *const columns[] = {MATERIALIZED_TENANT, MATERIALIZED_AFFILIATION};

	for (int i = 0; i < lengthof(columns); i++)
		if (get_attnum(relid, columns[i]) != InvalidAttrNumber)
			Ddl(psprintf("ALTER TABLE %s DROP COLUMN %s", QualifiedName(relid), columns[i]));
}

void
MaterializeCreateTrigger(const Protection *p)
{
	char	   *name = QualifiedName(p->relid);

	Ddl(psprintf("CREATE TRIGGER " TRIGGER_MATERIALIZE " BEFORE INSERT OR UPDATE ON %s "
				 "FOR EACH ROW EXECUTE FUNCTION bulwark_internal.materialize_row()", name));
	Ddl(psprintf("ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER " TRIGGER_MATERIALIZE, name));
}

/* The children that follow the rows of relid or of its root. */
static List *
materialized_children(const Protection *p)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, ProtectionsWithParent(OidIsValid(p->root) ? p->root : p->relid))
	{
		const Protection *child = lfirst(lc);

		if (child->materialize && !OidIsValid(child->root))
			result = lappend(result, lfirst(lc));
	}
	return result;
}

void
MaterializeSync(Oid relid)
{
	const Protection *p = ProtectionOf(relid);
	char	   *name = QualifiedName(relid);
	TrustedScope scope;
	bool		wanted;

	if (p == NULL || get_rel_relkind(relid) != RELKIND_RELATION)
		return;
	wanted = materialized_children(p) != NIL;
	if (wanted == OidIsValid(get_trigger_oid(relid, TRIGGER_CHILDREN, true)))
		return;

	TrustedBegin(&scope);
	if (wanted)
	{
		Ddl(psprintf("CREATE TRIGGER " TRIGGER_CHILDREN " AFTER UPDATE ON %s "
					 "FOR EACH ROW EXECUTE FUNCTION bulwark_internal.materialize_children()", name));
		Ddl(psprintf("ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER " TRIGGER_CHILDREN, name));
	}
	else
		Ddl(psprintf("DROP TRIGGER " TRIGGER_CHILDREN " ON %s", name));
	TrustedEnd(&scope);
}

/* --- rows --------------------------------------------------------------------- */

typedef struct Filler
{
	Oid			trigger;		/* hash key */
	KeptPlan	kept;			/* the key's values -> the parent's tenant and affiliation */
	Oid			owner;			/* the parent's, who runs it: planning runs what is attached to the table */
	int			nkeys;
	AttrNumber	keys[INDEX_MAX_KEYS];
	int			ncolumns;
	AttrNumber	columns[2];		/* to fill, in the order of the plan's results */
} Filler;

static HTAB *fillers = NULL;

/* While a parent tells its children, the key's being the same means nothing. */
static bool refreshing = false;

/*
 * FOR SHARE, which a concurrent change of the parent's affiliation conflicts
 * with: either it waits and then finds the new row, or we wait and read it.
 */
static void
filler_prepare(Filler *filler, const Protection *p)
{
	Source		source = source_of(ProtectionOf(p->parent));
	Oid			types[INDEX_MAX_KEYS];
	StringInfoData condition;
	StringInfoData targets;

	initStringInfo(&condition);
	initStringInfo(&targets);
	filler->nkeys = 0;
	for (int i = 0; i < list_length(p->key_columns); i++)
	{
		filler->keys[i] = get_attnum(p->relid, list_nth(p->key_columns, i));
		types[i] = get_atttype(p->relid, filler->keys[i]);
		appendStringInfo(&condition, "%s%s %s $%d", i ? " AND " : "",
						 RowColumn("bulwark_p", list_nth(p->parent_columns, i)),
						 EqualityOperator(p->parent, list_nth(p->parent_columns, i)), i + 1);
		filler->nkeys++;
	}
	filler->ncolumns = 0;
	if (source.tenant)
	{
		filler->columns[filler->ncolumns++] = get_attnum(p->relid, MATERIALIZED_TENANT);
		appendStringInfoString(&targets, RowColumn("bulwark_p", source.tenant));
	}
	if (source.affiliation)
	{
		filler->columns[filler->ncolumns++] = get_attnum(p->relid, MATERIALIZED_AFFILIATION);
		appendStringInfo(&targets, "%s%s", targets.len ? ", " : "", RowColumn("bulwark_p", source.affiliation));
	}
	filler->owner = RelationOwner(p->parent);
	KeptPlanSet(&filler->kept,
				psprintf("SELECT %s FROM %s AS bulwark_p WHERE %s FOR SHARE",
						 targets.data, QualifiedName(p->parent), condition.data),
				filler->nkeys, types);
}

static Filler *
filler_lookup(TriggerData *trigger)
{
	Filler	   *filler;
	bool		found;
	const Protection *p;
	TrustedScope scope;

	if (fillers == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Filler)};

		fillers = hash_create("bulwark materialized children", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	filler = hash_search(fillers, &trigger->tg_trigger->tgoid, HASH_ENTER, &found);
	if (!found)
		memset(&filler->kept, 0, sizeof(KeptPlan));
	if (KeptPlanValid(&filler->kept))
		return filler;

	KeptPlanReset(&filler->kept);
	p = ProtectionOf(RelationGetRelid(trigger->tg_relation));
	if (p == NULL || !p->materialize)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" has no materialized tenant", RelationGetRelationName(trigger->tg_relation))));
	TrustedBegin(&scope);
	filler_prepare(filler, p);
	TrustedEnd(&scope);
	return filler;
}

/* Is the key what it was, and are the columns filled? */
static bool
nothing_moved(const Filler *filler, TupleDesc desc, HeapTuple old_row, HeapTuple new_row)
{
	for (int i = 0; i < filler->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, filler->keys[i] - 1);
		bool		old_null,
					new_null;
		Datum		old_value = heap_getattr(old_row, att->attnum, desc, &old_null);
		Datum		new_value = heap_getattr(new_row, att->attnum, desc, &new_null);

		if (old_null || new_null || !datum_image_eq(old_value, new_value, att->attbyval, att->attlen))
			return false;
	}
	return !heap_attisnull(old_row, filler->columns[0], desc);
}

/* The parent's values; all NULL where there is no parent. */
static void
look_up_parent(const Filler *filler, TupleDesc desc, HeapTuple row, Datum *values, bool *isnull)
{
	Datum		keys[INDEX_MAX_KEYS];
	TrustedScope scope;

	for (int i = 0; i < filler->ncolumns; i++)
		isnull[i] = true;
	for (int i = 0; i < filler->nkeys; i++)
	{
		bool		key_null;

		keys[i] = heap_getattr(row, filler->keys[i], desc, &key_null);
		if (key_null)
			return;
	}

	TrustedBegin(&scope);
	SetUserIdAndSecContext(filler->owner, scope.save_sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	if (SPI_execute_plan(filler->kept.plan, keys, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "the look-up of a parent failed");
	for (int i = 0; SPI_processed > 0 && i < filler->ncolumns; i++)
	{
		Form_pg_attribute att = TupleDescAttr(SPI_tuptable->tupdesc, i);

		values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &isnull[i]);
		if (!isnull[i])
			values[i] = datumCopy(values[i], att->attbyval, att->attlen);
	}
	TrustedEnd(&scope);
}

/*
 * What replication or a restore brings while foreign keys rest is kept: the parent
 * may come later.
 */
Datum
bulwark_materialize_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	HeapTuple	row;
	Filler	   *filler;
	int			columns[2];
	Datum		values[2] = {0};
	bool		isnull[2];
	bool		update;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("bulwark_internal.materialize_row() must be called as a row trigger before insert or update")));
	desc = RelationGetDescr(trigger->tg_relation);
	update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	row = update ? trigger->tg_newtuple : trigger->tg_trigtuple;
	filler = filler_lookup(trigger);

	if (ForeignKeysRest(trigger->tg_relation) && !heap_attisnull(row, filler->columns[0], desc))
		return PointerGetDatum(row);
	if (update && !refreshing && nothing_moved(filler, desc, trigger->tg_trigtuple, row))
		for (int i = 0; i < filler->ncolumns; i++)
			values[i] = heap_getattr(trigger->tg_trigtuple, filler->columns[i], desc, &isnull[i]);
	else
		look_up_parent(filler, desc, row, values, isnull);

	for (int i = 0; i < filler->ncolumns; i++)
		columns[i] = filler->columns[i];
	return PointerGetDatum(heap_modify_tuple_by_cols(row, desc, filler->ncolumns, columns, values, isnull));
}

typedef struct Refresher
{
	Oid			child;			/* hash key */
	KeptPlan	kept;			/* the parent's key -> its rows updated */
} Refresher;

static HTAB *refreshers = NULL;

static Refresher *
refresher_lookup(const Protection *child)
{
	const char *column = column_if_there(child->relid, MATERIALIZED_TENANT) ? MATERIALIZED_TENANT : MATERIALIZED_AFFILIATION;
	Refresher  *refresher;
	bool		found;
	Oid			types[INDEX_MAX_KEYS];
	StringInfoData sql;

	if (refreshers == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Refresher)};

		refreshers = hash_create("bulwark parents of children", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	refresher = hash_search(refreshers, &child->relid, HASH_ENTER, &found);
	if (!found)
		memset(&refresher->kept, 0, sizeof(KeptPlan));
	if (KeptPlanValid(&refresher->kept))
		return refresher;

	KeptPlanReset(&refresher->kept);
	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s AS bulwark_c SET %s = %s WHERE ", QualifiedName(child->relid), column, column);
	for (int i = 0; i < list_length(child->key_columns); i++)
	{
		const char *parent_column = list_nth(child->parent_columns, i);

		types[i] = get_atttype(child->parent, get_attnum(child->parent, parent_column));
		appendStringInfo(&sql, "%s$%d %s %s", i ? " AND " : "", i + 1, EqualityOperator(child->parent, parent_column),
						 RowColumn("bulwark_c", list_nth(child->key_columns, i)));
	}
	KeptPlanSet(&refresher->kept, sql.data, list_length(child->key_columns), types);
	return refresher;
}

/*
 * Rewrite a child's rows of one parent: their own trigger fetches the values.
 * As their owner, whose triggers and checks run; with the latest rows even in
 * REPEATABLE READ, where one that the transaction does not see is an error.
 */
static void
refresh_child(const Protection *child, Relation parent, HeapTuple parent_row)
{
	Datum		keys[INDEX_MAX_KEYS];
	Snapshot	snapshot = InvalidSnapshot;
	Snapshot	crosscheck = InvalidSnapshot;
	TrustedScope scope;
	int			rc;

	for (int i = 0; i < list_length(child->parent_columns); i++)
	{
		AttrNumber	attnum = get_attnum(RelationGetRelid(parent), list_nth(child->parent_columns, i));
		bool		isnull;

		keys[i] = heap_getattr(parent_row, attnum, RelationGetDescr(parent), &isnull);
		if (isnull)
			return;
	}

	TrustedBegin(&scope);
	SetUserIdAndSecContext(RelationOwner(child->relid), scope.save_sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	if (IsolationUsesXactSnapshot())
	{
		CommandCounterIncrement();
		snapshot = GetLatestSnapshot();
		crosscheck = GetTransactionSnapshot();
	}
	rc = SPI_execute_snapshot(refresher_lookup(child)->kept.plan, keys, NULL, snapshot, crosscheck, false, true, 0);
	if (rc != SPI_OK_UPDATE)
		elog(ERROR, "the update of \"%s\" failed: %s", get_rel_name(child->relid), SPI_result_code_string(rc));
	TrustedEnd(&scope);
}

/* Is a column of the row (NULL: none) another than it was? */
static bool
column_changed(TriggerData *trigger, const char *column)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	Form_pg_attribute att;
	Datum		old_value,
				new_value;
	bool		old_null,
				new_null;

	if (column == NULL)
		return false;
	att = TupleDescAttr(desc, get_attnum(RelationGetRelid(trigger->tg_relation), column) - 1);
	old_value = heap_getattr(trigger->tg_trigtuple, att->attnum, desc, &old_null);
	new_value = heap_getattr(trigger->tg_newtuple, att->attnum, desc, &new_null);
	return old_null != new_null ||
		(!old_null && !datum_image_eq(old_value, new_value, att->attbyval, att->attlen));
}

Datum
bulwark_materialize_children(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const Protection *p;
	Source		source;
	bool		save = refreshing;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || !TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("bulwark_internal.materialize_children() must be called as a row trigger after update")));
	p = ProtectionOf(RelationGetRelid(trigger->tg_relation));
	if (p == NULL || SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
		return PointerGetDatum(NULL);
	source = source_of(p);
	if (!column_changed(trigger, source.tenant) && !column_changed(trigger, source.affiliation))
		return PointerGetDatum(NULL);

	refreshing = true;
	PG_TRY();
	{
		ListCell   *lc;

		foreach(lc, materialized_children(p))
			refresh_child(lfirst(lc), trigger->tg_relation, trigger->tg_newtuple);
	}
	PG_FINALLY();
	{
		refreshing = save;
	}
	PG_END_TRY();
	return PointerGetDatum(NULL);
}

/* --- rows that were there before --------------------------------------------- */

/*
 * Fill the rows of some blocks of a leaf.  As the owner, whose checks and index
 * expressions run; an application's own triggers do not: nothing that it knows
 * of changes.  A row that somebody updates meanwhile fills itself.
 */
static void
fill_blocks(const Protection *p, BlockNumber from, BlockNumber to)
{
	Source		source = source_of(ProtectionOf(p->parent));
	const char *missing = source.tenant ? MATERIALIZED_TENANT : MATERIALIZED_AFFILIATION;
	TrustedScope scope;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE ONLY %s AS bulwark_c SET ", QualifiedName(p->relid));
	if (source.tenant)
		appendStringInfo(&sql, MATERIALIZED_TENANT " = %s", RowColumn("bulwark_p", source.tenant));
	if (source.affiliation)
		appendStringInfo(&sql, "%s" MATERIALIZED_AFFILIATION " = %s", source.tenant ? ", " : "",
						 RowColumn("bulwark_p", source.affiliation));
	appendStringInfo(&sql, " FROM %s AS bulwark_p WHERE %s AND bulwark_c.ctid >= '(%u,0)' AND bulwark_c.ctid < '(%u,0)' "
					 "AND bulwark_c.%s IS NULL AND %s IS NOT NULL",
					 QualifiedName(p->parent), KeyCondition(p->key_columns, "bulwark_c", p->parent, p->parent_columns, "bulwark_p"),
					 from, to, missing, RowColumn("bulwark_p", source.tenant ? source.tenant : source.affiliation));

	TrustedBegin(&scope);
	(void) set_config_option("session_replication_role", "replica", PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	SetUserIdAndSecContext(RelationOwner(p->relid), scope.save_sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	TrustedExec(sql.data, 0, NULL, NULL, NULL);
	TrustedEnd(&scope);
}

/* The relation as it is in this transaction: it may have changed between batches. */
static const Protection *
require_materialize(Oid relid)
{
	const Protection *p;

	if (get_rel_relkind(relid) == '\0')
		RefuseGone(relid);
	RequireRights(relid);
	p = ProtectionOf(relid);
	if (p == NULL || !p->materialize || OidIsValid(p->root))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" has no materialized tenant", get_rel_name(relid)),
				 errhint("Call bulwark.protect() with materialize => true first.")));
	return p;
}

/* Everything is filled: the policies of the root and all below it read the columns. */
static void
switch_policies(Oid relid)
{
	Oid			type = OIDOID;
	Datum		value = ObjectIdGetDatum(relid);
	TrustedScope scope;
	List	   *tree;
	ListCell   *lc;

	LockRelationOid(relid, AccessExclusiveLock);
	tree = find_all_inheritors(relid, AccessExclusiveLock, NULL);
	(void) require_materialize(relid);
	TrustedBegin(&scope);
	TrustedExec("UPDATE bulwark_internal.protections SET materialized = true WHERE relation = $1 OR root = $1",
				1, &type, &value, NULL);
	foreach(lc, tree)
		RenewPolicies(lfirst_oid(lc));
	TrustedEnd(&scope);
	AuditAdmin("materialize", "relation", QualifiedName(relid), NULL, NULL);
}

static BlockNumber
leaf_blocks(Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	BlockNumber blocks = RelationGetNumberOfBlocks(rel);

	relation_close(rel, AccessShareLock);
	return blocks;
}

/* materialize(relation, batch): commits after every batch of blocks. */
Datum
bulwark_materialize(PG_FUNCTION_ARGS)
{
	CallContext *context = (CallContext *) fcinfo->context;
	Oid			relid = PG_GETARG_OID(0);
	int32		batch = PG_GETARG_INT32(1);
	MemoryContext work = AllocSetContextCreate(PortalContext, "bulwark materialize", ALLOCSET_DEFAULT_SIZES);
	List	   *leaves;
	ListCell   *lc;

	if (context == NULL || !IsA(context, CallContext) || context->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("bulwark.materialize() cannot run inside a transaction block or a function"),
				 errhint("It commits after every batch: CALL it by itself.")));
	if (batch < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch must be at least 1 block, not %d", batch)));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	MemoryContextSwitchTo(work);
	if (require_materialize(relid)->materialized)
	{
		SPI_finish();
		PG_RETURN_VOID();
	}

	leaves = find_all_inheritors(relid, NoLock, NULL);
	foreach(lc, leaves)
	{
		Oid			leaf = lfirst_oid(lc);
		BlockNumber blocks;

		if (get_rel_relkind(leaf) != RELKIND_RELATION)
			continue;
		blocks = leaf_blocks(leaf);
		for (BlockNumber block = 0; block < blocks; block += batch)
		{
			const Protection *p;

			require_materialize(relid);
			p = ProtectionOf(leaf);
			if (p)
				fill_blocks(p, block, Min(block + (BlockNumber) batch, blocks));
			SPI_commit();
			MemoryContextSwitchTo(work);
		}
	}
	switch_policies(relid);
	SPI_finish();
	MemoryContextDelete(work);
	PG_RETURN_VOID();
}
