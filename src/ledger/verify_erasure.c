/*
 * verify_erasure.c
 *		Contents that are gone: each must be one whose erasure an entry records.
 *
 * Such an entry names ranges of ids, each with a hash over the leaves that were
 * there then.  So it speaks of these leaves alone, whatever gets the same ids
 * afterwards, and can only have been written after them.
 */
#include "ledger/verify.h"
#include "ledger/view.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

struct Erasures
{
	NumberSort *gone;			/* id, leaf index, leaf hash */
	NumberSort *named;			/* first id, last id, hash over leaf hashes */
};

Erasures *
ErasuresBegin(void)
{
	Erasures   *erasures = palloc(sizeof(Erasures));

	erasures->gone = NumberSortBegin();
	erasures->named = NumberSortBegin();
	return erasures;
}

void
ErasuresGone(Erasures *erasures, const bw_leaf *leaf, const bw_hash hash, int64 leaf_index)
{
	NumberSortAddHash(erasures->gone, (int64) leaf->entry_id, leaf_index, hash);
}

/* --- records of erasure ------------------------------------------------------------- */

typedef struct Named
{
	Erasures   *erasures;
	const bw_bytes *metadata;
} Named;

/* An id in a JSON array; false: it is none. */
static bool
range_id(JsonbValue *range, int i, int64 *id)
{
	JsonbValue *value = getIthJsonbValueFromContainer(range->val.binary.data, i);

	if (value == NULL || value->type != jbvNumeric)
		return false;
	*id = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
	return *id >= 0;
}

static bool
range_hash(JsonbValue *range, int i, bw_hash hash)
{
	JsonbValue *value = getIthJsonbValueFromContainer(range->val.binary.data, i);

	return value != NULL && value->type == jbvString && value->val.string.len == 2 * BW_HASH_LEN &&
		bw_hex_decode(value->val.string.val, value->val.string.len, hash, BW_HASH_LEN);
}

/* Guarded: the ranges of {"erased": [[first, last, hash], ...]}. */
static void
take_ranges(void *arg)
{
	Named	   *named = arg;
	char	   *text = LedgerCString(named->metadata);
	Jsonb	   *json;
	JsonbValue	found;
	JsonbValue *erased;

	json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	if (!JB_ROOT_IS_OBJECT(json))
		return;
	erased = getKeyJsonValueFromContainer(&json->root, "erased", 6, &found);
	if (erased == NULL || erased->type != jbvBinary || !JsonContainerIsArray(erased->val.binary.data))
		return;
	for (uint32 i = 0; i < JsonContainerSize(erased->val.binary.data); i++)
	{
		JsonbValue *range = getIthJsonbValueFromContainer(erased->val.binary.data, i);
		int64		first,
					last;
		bw_hash		hash;

		if (range->type == jbvBinary && JsonContainerIsArray(range->val.binary.data) &&
			JsonContainerSize(range->val.binary.data) == 3 &&
			range_id(range, 0, &first) && range_id(range, 1, &last) && first <= last && range_hash(range, 2, hash))
			NumberSortAddHash(named->erasures->named, first, last, hash);
	}
}

void
ErasuresNamed(Verify *v, Erasures *erasures, const bw_leaf *leaf, int64 leaf_index, const bw_bytes *metadata)
{
	Named		named = {erasures, metadata};
	char	   *why = VerifyGuarded(take_ranges, &named);

	if (why != NULL)
		VerifyProblem(v, leaf_index, (int64) leaf->entry_id, "its metadata cannot be read: %s", why);
}

/* --- the comparison -------------------------------------------------------------------- */

/* A range that was erased, and what is gone of it. */
typedef struct Range
{
	bool		any;
	int64		first;
	int64		last;
	bw_hash		hash;
	bw_sha256_state gone;
} Range;

static void
next_range(NumberSort *named, Range *range)
{
	range->any = NumberSortNextHash(named, &range->first, &range->last, range->hash);
	bw_sha256_begin(&range->gone);
}

static void
end_range(Verify *v, Range *range)
{
	bw_hash		gone;

	bw_sha256_end(&range->gone, gone);
	if (memcmp(gone, range->hash, BW_HASH_LEN) != 0)
		VerifyProblem(v, NO_LEAF, range->first, "the contents that are gone, up to entry " INT64_FORMAT
					  ", are not those that were erased", range->last);
}

void
ErasuresFinish(Verify *v, Erasures *erasures)
{
	Range		range;
	int64		id,
				leaf;
	bw_hash		hash;

	NumberSortPerform(erasures->gone);
	NumberSortPerform(erasures->named);
	next_range(erasures->named, &range);
	while (NumberSortNextHash(erasures->gone, &id, &leaf, hash))
	{
		CHECK_FOR_INTERRUPTS();
		for (; range.any && range.last < id; next_range(erasures->named, &range))
			end_range(v, &range);
		if (range.any && range.first <= id)
			bw_sha256_add(&range.gone, hash, BW_HASH_LEN);
		else
			VerifyProblem(v, leaf, id, "its content is gone, and no record of an erasure names it");
	}
	for (; range.any; next_range(erasures->named, &range))
		end_range(v, &range);
	NumberSortEnd(erasures->gone);
	NumberSortEnd(erasures->named);
	pfree(erasures);
}
