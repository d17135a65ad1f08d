/*
 * verify_table.c
 *		The ledger's small tables: shapes, keys, incarnations, segments.
 */
#include "ledger/verify.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* --- shapes -------------------------------------------------------------------------- */

static void
check_shape(Verify *v, const VerifyRow *row, void *arg)
{
	bw_bytes	id,
				shape;
	bw_shape	parsed;
	bw_column	column;
	uint8		hash[BW_SHAPE_ID_LEN];
	const char *why = "";

	if (row->nulls[0] || row->nulls[1] || !VerifyBytes(v, row, 0, &id, &why) || !VerifyBytes(v, row, 1, &shape, &why))
	{
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "a shape cannot be read: %s", why);
		return;
	}
	bw_shape_id(shape.data, shape.len, hash);
	bw_shape_open(&parsed, shape.data, shape.len);
	while (bw_shape_next(&parsed, &column))
		;
	if (id.len != BW_SHAPE_ID_LEN || memcmp(id.data, hash, BW_SHAPE_ID_LEN) != 0 || !bw_shape_valid(&parsed))
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "the shape at (%u,%u) of \"ledger_shapes\" is not the one that its id names",
					  ItemPointerGetBlockNumber(&row->tid), ItemPointerGetOffsetNumber(&row->tid));
	else
		(void) hash_search(v->shapes, hash, HASH_ENTER, NULL);
}

void
VerifyShapes(Verify *v)
{
	HASHCTL		control = {.keysize = BW_SHAPE_ID_LEN, .entrysize = BW_SHAPE_ID_LEN, .hcxt = v->context};
	Relation	rel = VerifyOpen(v, "ledger_shapes");

	v->shapes = hash_create("bulwark verified shapes", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	if (rel != NULL)
		VerifyScan(v, rel, check_shape, NULL);
}

bool
VerifyShapeKnown(Verify *v, const uint8 id[BW_SHAPE_ID_LEN])
{
	/* the next entry is most often of the same table */
	if (v->last_shape == NULL || memcmp(v->last_shape, id, BW_SHAPE_ID_LEN) != 0)
		v->last_shape = hash_search(v->shapes, id, HASH_FIND, NULL);
	return v->last_shape != NULL;
}

/* --- keys -------------------------------------------------------------------------------- */

typedef struct SigningKey
{
	int32		epoch;
	bw_vkey		vkey;
} SigningKey;

static int
older_epoch(const ListCell *a, const ListCell *b)
{
	const SigningKey *left = lfirst(a);
	const SigningKey *right = lfirst(b);

	return left->epoch < right->epoch ? -1 : left->epoch > right->epoch;
}

static void
take_key(Verify *v, const VerifyRow *row, void *arg)
{
	List	  **keys = arg;
	bw_bytes	public_key;
	SigningKey *key;
	const char *why;
	MemoryContext caller;

	if (row->nulls[0] || row->nulls[1] || DatumGetChar(row->values[0]) != 's')
		return;
	if (row->nulls[2] || !VerifyBytes(v, row, 2, &public_key, &why) || public_key.len != BW_ED25519_KEY_LEN)
	{
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "the public key of epoch %d cannot be read", DatumGetInt32(row->values[1]));
		return;
	}
	caller = MemoryContextSwitchTo(v->context);
	key = palloc0(sizeof(SigningKey));
	key->epoch = DatumGetInt32(row->values[1]);
	(void) bw_vkey_make(v->origin, public_key.data, &key->vkey);
	*keys = lappend(*keys, key);
	MemoryContextSwitchTo(caller);
}

void
VerifyKeys(Verify *v, bw_trust *trust)
{
	Relation	rel = VerifyOpen(v, "ledger_keys");
	List	   *keys = NIL;
	ListCell   *lc;

	*trust = (bw_trust) {0};
	if (rel != NULL)
		VerifyScan(v, rel, take_key, &keys);
	list_sort(keys, older_epoch);
	trust->keys = MemoryContextAllocZero(v->context, (list_length(keys) + 1) * sizeof(bw_trust_key));
	foreach(lc, keys)
	{
		bw_trust_key *key = &trust->keys[trust->n];

		key->vkey = ((SigningKey *) lfirst(lc))->vkey;
		/* without a key from outside, the log's first is where trust begins */
		key->pinned = v->pinned != NULL ? memcmp(v->pinned->key, key->vkey.key, BW_ED25519_KEY_LEN) == 0 : trust->n == 0;
		trust->n++;
	}
}

/* --- incarnations --------------------------------------------------------------------------- */

static void
take_incarnation(Verify *v, const VerifyRow *row, void *arg)
{
	List	  **all = arg;
	VerifyIncarnation *incarnation;
	MemoryContext caller;
	char	   *text;

	for (int i = 0; i < row->rel->rd_att->natts; i++)
		if (row->nulls[i])
		{
			VerifyProblem(v, NO_LEAF, NO_ENTRY, "an incarnation cannot be read");
			return;
		}
	caller = MemoryContextSwitchTo(v->context);
	incarnation = palloc0(sizeof(VerifyIncarnation));
	text = DatumGetCString(DirectFunctionCall1(numeric_out, row->values[2]));
	incarnation->incarnation = (uint32) DatumGetInt32(row->values[0]);
	incarnation->system_identifier = strtoull(text, NULL, 10);
	incarnation->timeline = (uint32) DatumGetInt32(row->values[5]);
	incarnation->tree_size = (uint64) DatumGetInt64(row->values[6]);
	*all = lappend(*all, incarnation);
	MemoryContextSwitchTo(caller);
}

static int
older_incarnation(const ListCell *a, const ListCell *b)
{
	const VerifyIncarnation *left = lfirst(a);
	const VerifyIncarnation *right = lfirst(b);

	return left->incarnation < right->incarnation ? -1 : left->incarnation > right->incarnation;
}

void
VerifyIncarnations(Verify *v)
{
	Relation	rel = VerifyOpen(v, "ledger_incarnations");
	uint32		expected = 1;
	uint64		size = 0;
	ListCell   *lc;

	if (rel != NULL)
		VerifyScan(v, rel, take_incarnation, &v->incarnations);
	list_sort(v->incarnations, older_incarnation);
	foreach(lc, v->incarnations)
	{
		const VerifyIncarnation *incarnation = lfirst(lc);

		if (incarnation->incarnation != expected || incarnation->tree_size < size)
			VerifyProblem(v, NO_LEAF, NO_ENTRY, "incarnation %u does not follow the one before it", incarnation->incarnation);
		expected = incarnation->incarnation + 1;
		size = incarnation->tree_size;
	}
}

VerifyIncarnation *
VerifyIncarnationOf(Verify *v, uint32 number)
{
	ListCell   *lc;

	foreach(lc, v->incarnations)
	{
		VerifyIncarnation *incarnation = lfirst(lc);

		if (incarnation->incarnation == number)
			return incarnation;
	}
	return NULL;
}

/* --- segments ---------------------------------------------------------------------------------- */

typedef struct SegmentRows
{
	int			active;
	List	   *relids;
	List	   *ahead;			/* those that must be empty */
} SegmentRows;

static void
take_segment(Verify *v, const VerifyRow *row, void *arg)
{
	SegmentRows *rows = arg;
	bw_bytes	state;
	const char *why = "";
	char	   *name;
	Oid			relid;
	MemoryContext caller;

	if (row->nulls[0] || row->nulls[1] || !VerifyBytes(v, row, 1, &state, &why))
	{
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "a row of \"ledger_segments\" cannot be read: %s", why);
		return;
	}
	name = psprintf("ledger_segment_%d", DatumGetInt32(row->values[0]));
	relid = PrivateRelid(name);
	caller = MemoryContextSwitchTo(v->context);
	if (!OidIsValid(relid))
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "segment \"%s\" is gone", name);
	else if (list_member_oid(rows->relids, relid))
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "segment \"%s\" is listed twice", name);
	else
		rows->relids = lappend_oid(rows->relids, relid);
	if (state.len == 6 && memcmp(state.data, "active", 6) == 0)
		rows->active++;
	if (state.len == 5 && memcmp(state.data, "ahead", 5) == 0 && OidIsValid(relid))
		rows->ahead = lappend_oid(rows->ahead, relid);
	MemoryContextSwitchTo(caller);
}

static void
refuse_row(Verify *v, const VerifyRow *row, void *arg)
{
	VerifyProblem(v, NO_LEAF, NO_ENTRY, "row (%u,%u) of \"%s\", where no entry may be",
				  ItemPointerGetBlockNumber(&row->tid), ItemPointerGetOffsetNumber(&row->tid), RelationGetRelationName(row->rel));
}

/* Segments that make no difference to a reader of ledger_entries, or that only it sees. */
static void
compare_children(Verify *v, Oid parent, const SegmentRows *rows)
{
	List	   *children = find_inheritance_children(parent, AccessShareLock);
	ListCell   *lc;

	/* one that was made after our snapshot has nothing that we see */
	foreach(lc, children)
	{
		Relation	child = list_member_oid(rows->relids, lfirst_oid(lc)) ? NULL : VerifyOpen(v, get_rel_name(lfirst_oid(lc)));

		if (child != NULL)
			VerifyScan(v, child, refuse_row, NULL);
	}
	foreach(lc, rows->relids)
		if (!list_member_oid(children, lfirst_oid(lc)))
			VerifyProblem(v, NO_LEAF, NO_ENTRY, "segment \"%s\" does not inherit from ledger_entries",
						  get_rel_name(lfirst_oid(lc)));
}

List *
VerifySegments(Verify *v)
{
	Relation	rel = VerifyOpen(v, "ledger_segments");
	Relation	parent = VerifyOpen(v, "ledger_entries");
	SegmentRows rows = {0};
	List	   *segments = NIL;
	ListCell   *lc;

	if (rel == NULL || parent == NULL)
		return NIL;
	VerifyScan(v, rel, take_segment, &rows);
	VerifyScan(v, parent, refuse_row, NULL);
	if (rows.active != 1 && v->log != NULL)
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "there are %d active segments", rows.active);
	compare_children(v, RelationGetRelid(parent), &rows);
	foreach(lc, rows.relids)
	{
		Relation	segment = VerifyOpen(v, get_rel_name(lfirst_oid(lc)));

		if (segment == NULL)
			continue;
		if (list_member_oid(rows.ahead, lfirst_oid(lc)))
			VerifyScan(v, segment, refuse_row, NULL);
		else
			segments = lappend(segments, segment);
	}
	return segments;
}

/* --- findings ------------------------------------------------------------------------------------ */

/* (found_at, incarnation, xid, entry_id, problem); an entry id of 0 says that none is to blame. */
static void
take_finding(Verify *v, const VerifyRow *row, void *arg)
{
	bw_bytes	problem;
	const char *why = "";
	int64		entry_id;

	if (row->nulls[3] || row->nulls[4] || !VerifyBytes(v, row, 4, &problem, &why))
	{
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "a finding of the sealer cannot be read: %s", why);
		return;
	}
	entry_id = DatumGetInt64(row->values[3]);
	VerifyProblem(v, NO_LEAF, entry_id > 0 ? entry_id : NO_ENTRY, "found when it was to be sealed: %.*s",
				  (int) problem.len, (const char *) problem.data);
}

void
VerifyFindings(Verify *v)
{
	Relation	rel = VerifyOpen(v, "ledger_findings");

	if (rel != NULL)
		VerifyScan(v, rel, take_finding, NULL);
}
