/*
 * shape.c
 *		What the rows of a relation look like: descriptors that images refer to,
 *		kept once each under their digest, and with them all that capture needs
 *		to know of a relation, so that no row costs a look at the catalogs.
 */
#include "ledger/capture.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "nodes/bitmapset.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#define SHAPES			"ledger_shapes"
#define SHAPES_INDEX	"ledger_shapes_shape_id_idx"

static HTAB *shapes = NULL;
static uint64 invalidations = 0;

/* Shapes seen in the table; what an aborted transaction stored there is not. */
static uint64 stored_generation = 1;
static bool stored_in_transaction = false;

/* Tables whose change may change what is kept of any relation. */
static struct
{
	const char *name;
	Oid			relid;
}			watched[] = {{"protections"}, {"ledger_audited"}, {SHAPES}};

/* --- what an output depends on --------------------------------------------------------- */

static uint8 type_pins(Oid type);

static uint8
composite_pins(Oid type)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(type, -1);
	uint8		pins = 0;

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			pins |= type_pins(TupleDescAttr(desc, i)->atttypid);
	ReleaseTupleDesc(desc);
	return pins;
}

static uint8
base_pins(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case CHAROID:
		case UUIDOID:
		case JSONOID:
		case JSONBOID:
		case XMLOID:
		case OIDOID:
		case XIDOID:
		case XID8OID:
		case CIDOID:
		case TIDOID:
		case PG_LSNOID:
		case INETOID:
		case CIDROID:
		case MACADDROID:
		case MACADDR8OID:
		case BITOID:
		case VARBITOID:
		case TSVECTOROID:
		case TSQUERYOID:
		case TIMEOID:
		case TIMETZOID:
			return 0;
		case DATEOID:
		case TIMESTAMPOID:
			return PIN_DATESTYLE;
		case TIMESTAMPTZOID:
			return PIN_DATESTYLE | PIN_TIMEZONE;
		case INTERVALOID:
			return PIN_INTERVAL;
		case FLOAT4OID:
		case FLOAT8OID:
		case POINTOID:
		case LSEGOID:
		case PATHOID:
		case BOXOID:
		case POLYGONOID:
		case LINEOID:
		case CIRCLEOID:
			return PIN_FLOAT;
		case BYTEAOID:
			return PIN_BYTEA;
		case CASHOID:
			return PIN_MONEY;
		default:
			return PIN_ALL;
	}
}

/* Which settings the output of a type depends on. */
static uint8
type_pins(Oid type)
{
	Oid			element = get_element_type(type);

	check_stack_depth();
	if (OidIsValid(element))
		return type_pins(element);
	switch (get_typtype(type))
	{
		case TYPTYPE_DOMAIN:
			return type_pins(getBaseType(type));
		case TYPTYPE_ENUM:
			return 0;
		case TYPTYPE_RANGE:
			return type_pins(get_range_subtype(type));
		case TYPTYPE_MULTIRANGE:
			return type_pins(get_multirange_range(type));
		case TYPTYPE_COMPOSITE:
			return composite_pins(type);
		default:
			return base_pins(type);
	}
}

/* --- columns ------------------------------------------------------------------------------- */

static bw_encoding
type_encoding(Oid base)
{
	switch (base)
	{
		case BOOLOID:
			return BW_ENC_BOOL;
		case INT2OID:
			return BW_ENC_INT2;
		case INT4OID:
			return BW_ENC_INT4;
		case INT8OID:
			return BW_ENC_INT8;
		case FLOAT4OID:
			return BW_ENC_FLOAT4;
		case FLOAT8OID:
			return BW_ENC_FLOAT8;
		case UUIDOID:
			return BW_ENC_UUID;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case JSONOID:
			return BW_ENC_TEXT;
		case BYTEAOID:
			return BW_ENC_BYTEA;
		case DATEOID:
			return BW_ENC_DATE;
		case TIMESTAMPOID:
			return BW_ENC_TIMESTAMP;
		case TIMESTAMPTZOID:
			return BW_ENC_TIMESTAMPTZ;
		default:
			return BW_ENC_TEXT_OUTPUT;
	}
}

/* Is the column kept in the row at all? */
static bool
is_stored(Form_pg_attribute att)
{
	return !att->attisdropped && (att->attgenerated == '\0' || att->attgenerated == ATTRIBUTE_GENERATED_STORED);
}

/* A column that was to be left out, and is not found by its name, may be there by
 * another: nothing is recorded of the table until somebody says. */
static void
require_listed(const CaptureShape *shape, List *names, List *numbers)
{
	for (int i = 0; i < list_length(names); i++)
		if (list_nth_int(numbers, i) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("column \"%s\" of audited table %s, which is excluded or sealed, does not exist",
							(char *) list_nth(names, i), shape->entity_type),
					 errhint("Call bulwark.audit() again with the columns as they are now.")));
}

static void
fill_columns(CaptureShape *shape, TupleDesc desc, const Audited *audited)
{
	if (audited != NULL)
	{
		require_listed(shape, audited->exclude_columns, audited->excluded);
		require_listed(shape, audited->sealed_columns, audited->sealed);
	}
	shape->columns = palloc0(sizeof(CaptureColumn) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		CaptureColumn *column = &shape->columns[shape->ncolumns];
		Oid			output;
		bool		varlena;

		if (!is_stored(att))
			continue;
		column->attno = att->attnum;
		column->attlen = att->attlen;
		column->attbyval = att->attbyval;
		column->type = getBaseType(att->atttypid);
		column->encoding = type_encoding(column->type);
		column->pins = type_pins(att->atttypid);
		if (audited != NULL)
		{
			column->excluded = list_member_int(audited->excluded, att->attnum);
			column->sealed = list_member_int(audited->sealed, att->attnum);
		}
		getTypeOutputInfo(att->atttypid, &output, &varlena);
		fmgr_info_cxt(output, &column->output, CurrentMemoryContext);
		if (column->encoding == BW_ENC_TEXT_OUTPUT && !column->excluded)
			shape->row_pins |= column->pins;
		shape->ncolumns++;
	}
}

static int
column_index(const CaptureShape *shape, AttrNumber attno)
{
	for (int i = 0; i < shape->ncolumns; i++)
		if (shape->columns[i].attno == attno)
			return i;
	return -1;
}

/*
 * The columns that name a row: of the primary key, else of the replica identity.  Where
 * one's values are not to be in the ledger, nothing names it.
 */
static void
fill_keys(CaptureShape *shape, Relation rel)
{
	Oid			index_oid = BW_PRIMARY_KEY_INDEX(rel);
	Relation	index;

	if (!OidIsValid(index_oid))
		index_oid = RelationGetReplicaIndex(rel);
	if (!OidIsValid(index_oid))
		return;
	index = relation_open(index_oid, AccessShareLock);
	shape->keys = palloc(sizeof(int) * IndexRelationGetNumberOfKeyAttributes(index));
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
	{
		int			at = column_index(shape, index->rd_index->indkey.values[i]);

		if (at < 0)
			continue;
		if (shape->columns[at].excluded || shape->columns[at].sealed)
		{
			shape->nkeys = 0;
			shape->key_pins = 0;
			break;
		}
		shape->keys[shape->nkeys++] = at;
		shape->key_pins |= shape->columns[at].pins;
	}
	relation_close(index, AccessShareLock);
}

/* --- whose a row is --------------------------------------------------------------------------- */

static void
fill_tenant(CaptureShape *shape, Relation rel)
{
	const Protection *protection = ProtectionOf(RelationGetRelid(rel));
	const char *tenant,
			   *affiliation;
	Oid			output;
	bool		varlena;

	shape->tenant_at = shape->affiliation_at = -1;
	if (protection == NULL)
		return;
	shape->pinned = protection->pinned;
	shape->pinned_tenant = protection->pinned_tenant;
	ProtectionColumns(protection, &tenant, &affiliation);
	shape->tenant_attno = tenant[0] ? get_attnum(shape->relid, tenant) : 0;
	shape->affiliation_attno = affiliation[0] ? get_attnum(shape->relid, affiliation) : 0;
	shape->tenant_at = column_index(shape, shape->tenant_attno);
	shape->affiliation_at = column_index(shape, shape->affiliation_attno);
	if (shape->tenant_attno != 0)
	{
		Oid			type = getBaseType(get_atttype(shape->relid, shape->tenant_attno));

		shape->tenant_type = type;
		shape->tenant_key = type == UUIDOID ? TENANT_BY_ID :
			type == INT2OID || type == INT4OID || type == INT8OID ? TENANT_BY_INT : TENANT_BY_TEXT;
	}
	if (shape->affiliation_attno != 0)
	{
		getTypeOutputInfo(get_atttype(shape->relid, shape->affiliation_attno), &output, &varlena);
		fmgr_info_cxt(output, &shape->affiliation_output, CurrentMemoryContext);
	}
}

/* --- the triggers that record ----------------------------------------------------------------- */

static void
fill_triggers(CaptureShape *shape, Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		if (strcmp(triggers->triggers[i].tgname, TRIGGER_CAPTURE) == 0)
			shape->row_trigger = triggers->triggers[i].tgoid;
		else if (strcmp(triggers->triggers[i].tgname, TRIGGER_CAPTURE_TRUNCATE) == 0)
			shape->truncate_trigger = triggers->triggers[i].tgoid;
	}
}

/* --- the descriptor ------------------------------------------------------------------------------- */

char *
CaptureEntityType(Oid relid)
{
	int			pinned = PinSettings(PIN_PATH);
	char	   *result = QualifiedName(relid);

	UnpinSettings(pinned);
	return result;
}

static void
put_number(StringInfo buf, uint32 n)
{
	uint8		number[BW_VARINT_MAX];

	appendBinaryStringInfo(buf, (const char *) number, bw_varint_encode(n, number));
}

static void
put_string(StringInfo buf, const char *text)
{
	bw_bytes	utf8 = LedgerUtf8(text, strlen(text));

	put_number(buf, utf8.len);
	appendBinaryStringInfo(buf, (const char *) utf8.data, utf8.len);
}

static void
fill_descriptor(CaptureShape *shape, TupleDesc desc)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoSpaces(&buf, VARHDRSZ);
	appendStringInfoChar(&buf, BW_SHAPE_VERSION);
	put_string(&buf, shape->entity_type);
	put_number(&buf, shape->relid);
	put_number(&buf, shape->ncolumns);
	for (int i = 0; i < shape->ncolumns; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, shape->columns[i].attno - 1);

		put_string(&buf, NameStr(att->attname));
		put_string(&buf, format_type_extended(att->atttypid, att->atttypmod,
											  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
		appendStringInfoChar(&buf, (char) shape->columns[i].encoding);
		put_number(&buf, att->attnum);
	}
	shape->shape = (bytea *) buf.data;
	SET_VARSIZE(shape->shape, buf.len);
	bw_shape_id(VARDATA(shape->shape), buf.len - VARHDRSZ, shape->shape_id);
}

/* --- the cache --------------------------------------------------------------------------------------- */

/* A relation, a type or a schema has changed. */
static void
forget(Oid relid)
{
	HASH_SEQ_STATUS scan;
	CaptureShape *shape;

	invalidations++;
	if (shapes == NULL)
		return;
	if (OidIsValid(relid))
	{
		shape = hash_search(shapes, &relid, HASH_FIND, NULL);
		if (shape != NULL)
			shape->valid = false;
		return;
	}
	hash_seq_init(&scan, shapes);
	while ((shape = hash_seq_search(&scan)) != NULL)
		shape->valid = false;
}

/* A relation has changed, or one of those that say how others are recorded. */
static void
relation_changed(Datum arg, Oid relid)
{
	for (int i = 0; i < lengthof(watched); i++)
		if (!OidIsValid(relid) || relid == watched[i].relid)
		{
			watched[i].relid = relid = InvalidOid;
			break;
		}
	forget(relid);
}

static void
catalog_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	forget(InvalidOid);
}

static void
build(CaptureShape *shape, Relation rel)
{
	const Audited *audited = AuditedOf(shape->relid);
	int			pinned = PinSettings(PIN_PATH);
	MemoryContext old;

	if (shape->context != NULL)
		MemoryContextDelete(shape->context);
	memset((char *) shape + sizeof(Oid), 0, sizeof(*shape) - sizeof(Oid));
	shape->context = AllocSetContextCreate(CacheMemoryContext, "bulwark shape", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(shape->context);
	shape->entity_type = CaptureEntityType(shape->relid);
	if (audited != NULL)
		fill_triggers(shape, rel);
	fill_columns(shape, RelationGetDescr(rel), audited);
	fill_keys(shape, rel);
	fill_tenant(shape, rel);
	fill_descriptor(shape, RelationGetDescr(rel));
	MemoryContextSwitchTo(old);
	UnpinSettings(pinned);
}

CaptureShape *
CaptureShapeOf(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	CaptureShape *shape;
	bool		found;
	uint64		before;

	if (shapes == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(CaptureShape), .hcxt = CacheMemoryContext};

		shapes = hash_create("bulwark shapes", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	shape = hash_search(shapes, &relid, HASH_ENTER, &found);
	if (!found)
		memset((char *) shape + sizeof(Oid), 0, sizeof(*shape) - sizeof(Oid));
	if (shape->valid)
		return shape;

	for (int i = 0; i < lengthof(watched); i++)
		if (!OidIsValid(watched[i].relid))
			watched[i].relid = PrivateRelid(watched[i].name);
	before = invalidations;
	build(shape, rel);
	/* What has changed while we looked is looked at again the next time. */
	shape->valid = before == invalidations;
	return shape;
}

/* --- the table of shapes ------------------------------------------------------------------------------- */

static bool
is_stored_shape(const bytea *id)
{
	PrivateScan scan;
	bool		found;

	if (!PrivateScanBegin(&scan, SHAPES, SHAPES_INDEX))
		return false;
	ScanKeyInit(&scan.keys[scan.nkeys++], 1, BTEqualStrategyNumber, F_BYTEAEQ, PointerGetDatum(id));
	found = PrivateScanNext(&scan);
	PrivateScanEnd(&scan);
	return found;
}

void
CaptureShapeStore(CaptureShape *shape)
{
	bytea	   *id;

	if (shape->stored == stored_generation)
		return;
	id = palloc(VARHDRSZ + BW_SHAPE_ID_LEN);
	SET_VARSIZE(id, VARHDRSZ + BW_SHAPE_ID_LEN);
	memcpy(VARDATA(id), shape->shape_id, BW_SHAPE_ID_LEN);
	/* our own row of this transaction goes with it, so the finding does, too */
	stored_in_transaction = true;
	if (!is_stored_shape(id))
	{
		Datum		values[2] = {PointerGetDatum(id), PointerGetDatum(shape->shape)};
		bool		nulls[2] = {false, false};

		LedgerInsert(SHAPES, values, nulls);
	}
	shape->stored = stored_generation;
	pfree(id);
}

static void
forget_stored(bool aborted)
{
	if (stored_in_transaction && aborted)
		stored_generation++;
}

static void
shape_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		forget_stored(true);
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_COMMIT)
		stored_in_transaction = false;
}

static void
shape_subxact(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_stored(true);
}

void
ShapeInit(void)
{
	RelationWatch(relation_changed);
	CacheRegisterSyscacheCallback(TYPEOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, catalog_changed, (Datum) 0);
	RegisterXactCallback(shape_xact, NULL);
	RegisterSubXactCallback(shape_subxact, NULL);
}
