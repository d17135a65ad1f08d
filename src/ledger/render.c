/*
 * render.c
 *		An entry's images and metadata as JSON, for whoever reads, as far as they
 *		may be seen.
 */
#include "ledger/view.h"
#include "ledger/guard.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/varlena.h"

/* --- shapes ---------------------------------------------------------------------- */

typedef struct ShapeEntry
{
	uint8		id[BW_SHAPE_ID_LEN];
	bytea	   *shape;
} ShapeEntry;

/* A shape's bytes follow from its id, so what was found stays right. */
static HTAB *shapes = NULL;

static void
shapes_create(void)
{
	HASHCTL		control = {
		.keysize = BW_SHAPE_ID_LEN,
		.entrysize = sizeof(ShapeEntry),
		.hcxt = TopMemoryContext,
	};

	shapes = hash_create("bulwark ledger shapes", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* The shape with that id, from the table; NULL where it is not, or not that. */
static bytea *
shape_read(const uint8 *id)
{
	Relation	rel = table_open(PrivateRelid("ledger_shapes"), AccessShareLock);
	bytea	   *key = palloc(VARHDRSZ + BW_SHAPE_ID_LEN);
	bytea	   *found = NULL;
	ScanKeyData scankey;
	SysScanDesc scan;
	HeapTuple	tuple;

	SET_VARSIZE(key, VARHDRSZ + BW_SHAPE_ID_LEN);
	memcpy(VARDATA(key), id, BW_SHAPE_ID_LEN);
	ScanKeyInit(&scankey, 1, BTEqualStrategyNumber, F_BYTEAEQ, PointerGetDatum(key));
	scan = systable_beginscan(rel, PrivateRelid("ledger_shapes_shape_id_idx"), true, NULL, 1, &scankey);
	while (found == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		bytea	   *shape = DatumGetByteaPP(heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));
		uint8		actual[BW_SHAPE_ID_LEN];

		bw_shape_id(VARDATA_ANY(shape), VARSIZE_ANY_EXHDR(shape), actual);
		if (memcmp(actual, id, BW_SHAPE_ID_LEN) == 0)
		{
			Size		len = VARSIZE_ANY_EXHDR(shape);

			found = MemoryContextAlloc(TopMemoryContext, VARHDRSZ + len);
			SET_VARSIZE(found, VARHDRSZ + len);
			memcpy(VARDATA(found), VARDATA_ANY(shape), len);
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static const bytea *
shape_of(const bytea *content)
{
	bw_field	field;
	ShapeEntry *entry;
	bytea	   *shape;

	if (!LedgerField(content, BW_TAG_SHAPE, &field) || field.value.len != BW_SHAPE_ID_LEN)
		return NULL;
	if (shapes == NULL)
		shapes_create();
	entry = hash_search(shapes, field.value.data, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->shape;
	shape = shape_read(field.value.data);
	if (shape != NULL)
	{
		entry = hash_search(shapes, field.value.data, HASH_ENTER, NULL);
		entry->shape = shape;
	}
	return shape;
}

/* --- images -------------------------------------------------------------------------------- */

typedef struct Rendering
{
	bool		everything;		/* else what the user may select of relid's columns */
	Oid			relid;
	bool		all_granted;
	const uint8 *tenant;
} Rendering;

/*
 * May the current user select the column?  Not if it is not there any more: who
 * may see a column of that name now is no answer for the one that had it then.
 */
static bool
column_selectable(const Rendering *rendering, const bw_column *column)
{
	char	   *name = LedgerCString(&column->name);
	AttrNumber	attno = get_attnum(rendering->relid, name);

	return attno > 0 && attno == column->number &&
		(rendering->all_granted ||
		 pg_attribute_aclcheck(rendering->relid, attno, GetUserId(), ACL_SELECT) == ACLCHECK_OK);
}

static bool
shows(const Rendering *rendering, const bw_column *column)
{
	return rendering->everything || column_selectable(rendering, column);
}

static bool
shows_all(const Rendering *rendering, const bytea *shape_bytes)
{
	bw_shape	shape;
	bw_column	column;

	if (!bw_shape_open(&shape, VARDATA_ANY(shape_bytes), VARSIZE_ANY_EXHDR(shape_bytes)))
		return false;
	while (bw_shape_next(&shape, &column))
		if (!shows(rendering, &column))
			return false;
	return bw_shape_valid(&shape);
}

/*
 * Are oids of the entry's incarnation those of this database?  What a dump brought
 * has others.  Looked at once a statement.
 */
static bool
numbers_hold(const bytea *leaf)
{
	static uint64 epoch = 0;
	static uint32 first;
	TimestampTz since;
	uint32		incarnation;
	uint64		xid;
	uint32		sequence;

	if (epoch != IdentityEpoch)
	{
		if (!LedgerLivesHere(&since, &first))
			first = PG_UINT32_MAX;
		epoch = IdentityEpoch;
	}
	return bw_leaf_get_position(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), &incarnation, &xid, &sequence) &&
		incarnation >= first;
}

/*
 * The relation of the shape, if it still has that name and the current user may
 * look into its schema.  One that may not be seen is no error: other entries are
 * shown.
 */
static Oid
relation_of_shape(const bw_shape *shape)
{
	char	   *name = LedgerCString(&shape->relation);
	RangeVar   *parts = makeRangeVarFromNameList(BW_QUALIFIED_NAME_LIST(name));
	Oid			schema = parts->schemaname != NULL ? get_namespace_oid(parts->schemaname, true) : InvalidOid;

	if (!OidIsValid(schema) || get_relname_relid(parts->relname, schema) != shape->number ||
		!BW_MAY_USE_SCHEMA(schema, GetUserId()))
		return InvalidOid;
	return shape->number;
}

/* base (may be NULL): the old image, from which unchanged columns are taken */
static Datum
render_image(const bytea *shape_bytes, const bw_bytes *image_bytes, const bw_bytes *base_bytes,
			 const Rendering *rendering)
{
	JsonbParseState *state = NULL;
	bw_shape	shape;
	bw_column	column;
	bw_image	image;
	bw_image	base;
	bw_value	value;
	bw_value	old;

	if (!bw_shape_open(&shape, VARDATA_ANY(shape_bytes), VARSIZE_ANY_EXHDR(shape_bytes)) ||
		!bw_image_open(&image, image_bytes->data, image_bytes->len) ||
		(base_bytes != NULL && !bw_image_open(&base, base_bytes->data, base_bytes->len)))
		return (Datum) 0;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while (bw_shape_next(&shape, &column) && bw_image_next(&image, &value))
	{
		text	   *name;

		if (base_bytes != NULL && !bw_image_next(&base, &old))
			break;
		if (value.kind == BW_KIND_UNCHANGED && base_bytes != NULL)
			value = old;
		if (value.kind == BW_KIND_EXCLUDED || value.kind == BW_KIND_UNCHANGED || !shows(rendering, &column))
			continue;

		name = LedgerText(&column.name);
		PushString(&state, WJB_KEY, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
		switch (value.kind)
		{
			case BW_KIND_NULL:
				PushNull(&state, WJB_VALUE);
				break;
			case BW_KIND_VALUE:
				PushValue(&state, &column, &value.value);
				break;
			case BW_KIND_EXCLUDED_CHANGED:
				PushNote(&state, "$excluded", "changed");
				break;
			case BW_KIND_DIGEST:
				PushDigest(&state, &value.value);
				break;
			default:
				PushSealed(&state, &column, &value.value, rendering->tenant);
				break;
		}
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* How much of the images of this entry the reader may see; false: nothing. */
static bool
rendering_for(const bytea *leaf, const bytea *shape, Rendering *rendering)
{
	bw_shape	opened;
	bw_bytes	tenant;
	bool		as_tenant;

	memset(rendering, 0, sizeof(*rendering));
	if (!LedgerContentVisible(leaf, &as_tenant))
		return false;
	rendering->everything = !as_tenant;
	if (as_tenant && shape != NULL)
	{
		if (!numbers_hold(leaf) || !bw_shape_open(&opened, VARDATA_ANY(shape), VARSIZE_ANY_EXHDR(shape)))
			return false;
		rendering->relid = relation_of_shape(&opened);
		if (!OidIsValid(rendering->relid))
			return false;
		rendering->all_granted = pg_class_aclcheck(rendering->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
	}
	if (bw_leaf_get_tenant(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), &tenant))
		rendering->tenant = tenant.data;
	return true;
}

bool
LedgerContentWhole(const bytea *leaf, const bytea *content)
{
	const bytea *shape = shape_of(content);
	bw_field	image;
	Rendering	rendering;
	bool		images = LedgerField(content, BW_TAG_OLD_IMAGE, &image) ||
		LedgerField(content, BW_TAG_NEW_IMAGE, &image);

	return rendering_for(leaf, shape, &rendering) &&
		(shape != NULL ? shows_all(&rendering, shape) : rendering.everything || !images);
}

/* The image with that tag, as far as the reader may see it; else a NULL Datum. */
static Datum
entry_image(const bytea *leaf, const bytea *content, bw_tag tag)
{
	const bytea *shape;
	Rendering	rendering;
	bw_field	image;
	bw_field	old;
	bool		has_old;

	if (!LedgerField(content, tag, &image) || image.mode != BW_MODE_PLAIN)
		return (Datum) 0;
	shape = shape_of(content);
	if (shape == NULL || !rendering_for(leaf, shape, &rendering))
		return (Datum) 0;
	has_old = tag == BW_TAG_NEW_IMAGE && LedgerField(content, BW_TAG_OLD_IMAGE, &old) &&
		old.mode == BW_MODE_PLAIN;
	return render_image(shape, &image.value, has_old ? &old.value : NULL, &rendering);
}

PG_FUNCTION_INFO_V1(bulwark_entry_old);
Datum
bulwark_entry_old(PG_FUNCTION_ARGS)
{
	Datum		image = entry_image(PG_GETARG_BYTEA_PP(0), PG_GETARG_BYTEA_PP(1), BW_TAG_OLD_IMAGE);

	if (image == (Datum) 0)
		PG_RETURN_NULL();
	return image;
}

PG_FUNCTION_INFO_V1(bulwark_entry_new);
Datum
bulwark_entry_new(PG_FUNCTION_ARGS)
{
	Datum		image = entry_image(PG_GETARG_BYTEA_PP(0), PG_GETARG_BYTEA_PP(1), BW_TAG_NEW_IMAGE);

	if (image == (Datum) 0)
		PG_RETURN_NULL();
	return image;
}

static Jsonb *
json_field(const bytea *content, bw_tag tag)
{
	bw_field	field;
	text	   *value;
	Jsonb	   *jsonb;

	if (!LedgerField(content, tag, &field) || field.mode != BW_MODE_PLAIN)
		return NULL;
	value = LedgerText(&field.value);
	jsonb = JsonOrNull(text_to_cstring(value));
	if (jsonb == NULL)			/* shown all the same */
	{
		JsonbValue	string = {.type = jbvString};

		string.val.string.val = VARDATA_ANY(value);
		string.val.string.len = VARSIZE_ANY_EXHDR(value);
		jsonb = JsonbValueToJsonb(&string);
	}
	return jsonb;
}

/*
 * The entry's own metadata, or what the application asserted with annotate();
 * where there are both, that is a member "request" of the first.
 */
PG_FUNCTION_INFO_V1(bulwark_entry_metadata);
Datum
bulwark_entry_metadata(PG_FUNCTION_ARGS)
{
	bytea	   *content = PG_GETARG_BYTEA_PP(1);
	bool		as_tenant;
	Jsonb	   *own;
	Jsonb	   *request;

	if (!LedgerContentVisible(PG_GETARG_BYTEA_PP(0), &as_tenant))
		PG_RETURN_NULL();
	own = json_field(content, BW_TAG_METADATA);
	request = json_field(content, BW_TAG_REQUEST_METADATA);
	if (own != NULL && request != NULL && JB_ROOT_IS_OBJECT(own))
	{
		JsonbParseState *state = NULL;
		Jsonb	   *member;

		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		PushString(&state, WJB_KEY, "request", 7);
		PushJsonb(&state, WJB_VALUE, request);
		member = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
		return DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(own), JsonbPGetDatum(member));
	}
	if (own == NULL && request == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(own != NULL ? own : request);
}
