/*
 * erasure.c
 *		Contents that are gone from an export: each must be one whose erasure an
 *		entry records.
 *
 * Forty bytes for each are kept in memory.
 */
#include "check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- contents ---------------------------------------------------------------------------- */

static void
ranges_add(Ranges *ranges, uint64_t first, uint64_t last, const uint8_t hash[BW_SHA256_LEN])
{
	if (ranges->n == ranges->room)
	{
		ranges->room = ranges->room == 0 ? 64 : ranges->room * 2;
		ranges->at = check_allocate(ranges->at, ranges->room, sizeof(Range));
	}
	ranges->at[ranges->n].first = first;
	ranges->at[ranges->n].last = last;
	memcpy(ranges->at[ranges->n++].hash, hash, BW_SHA256_LEN);
}

void
check_gone(Check *check, int64_t leaf_index, const bw_leaf *leaf, const uint8_t hash[BW_SHA256_LEN])
{
	check->erased++;
	ranges_add(&check->gone, leaf->entry_id, leaf->entry_id, hash);
	if (bw_leaf_keeps_content(leaf))
		check_problem(check, leaf_index, (int64_t) leaf->entry_id,
					  "its content is gone, which no erasure takes from such an entry");
}

/* A record of erasure has metadata {"erased": [[first, last, hash], ...]}. */
void
check_named(Check *check, int64_t leaf_index, const bw_leaf *leaf, const bw_bytes *metadata)
{
	char	   *copy = check_allocate(NULL, metadata->len + 1, 1);
	const JsonValue *erased,
			   *range;
	bool		twice = false;

	memcpy(copy, metadata->data, metadata->len);
	if (!json_parse(&check->metadata, copy, metadata->len) || check->metadata.values->type != JSON_OBJECT)
		check_problem(check, leaf_index, (int64_t) leaf->entry_id, "its metadata is not a JSON object");
	else if ((erased = json_get(&check->metadata, check->metadata.values, "erased", &twice)) != NULL && !twice &&
			 erased->type == JSON_ARRAY)
	{
		range = json_first(erased);
		for (uint32_t i = 0; i < erased->size; i++, range = json_next(&check->metadata, range))
		{
			int64_t		first,
						last;
			uint8_t		hash[BW_SHA256_LEN];

			if (range->type == JSON_ARRAY && range->size == 3 && json_integer(range + 1, &first) &&
				json_integer(range + 2, &last) && first >= 0 && first <= last && range[3].type == JSON_STRING &&
				range[3].len == 2 * BW_SHA256_LEN && bw_hex_decode(range[3].text, range[3].len, hash, sizeof(hash)))
				ranges_add(&check->named, (uint64_t) first, (uint64_t) last, hash);
		}
	}
	free(copy);
}

static int
by_first(const void *a, const void *b)
{
	const Range *x = a,
			   *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return memcmp(x->hash, y->hash, BW_SHA256_LEN);
}

static void
sort_ranges(Ranges *ranges)
{
	if (ranges->n > 0)
		qsort(ranges->at, ranges->n, sizeof(Range), by_first);
}

/* A content goes when its erasure is committed; the record of that is here once it is sealed. */
static void
not_named(Check *check, uint64_t entry_id)
{
	check_problem(check, -1, (int64_t) entry_id, check->pending > 0 ?
				  "its content is gone, and no record of an erasure names it, or none that was sealed: export again" :
				  "its content is gone, and no record of an erasure names it");
}

/* Every content that is gone is named by a record of its erasure, and no other leaf. */
void
check_erasures(Check *check)
{
	size_t		i = 0;

	sort_ranges(&check->gone);
	sort_ranges(&check->named);
	for (size_t n = 0; n < check->named.n; n++)
	{
		const Range *range = &check->named.at[n];
		bw_sha256_state leaves;
		uint8_t		hash[BW_SHA256_LEN];

		for (; i < check->gone.n && check->gone.at[i].first < range->first; i++)
			not_named(check, check->gone.at[i].first);
		bw_sha256_begin(&leaves);
		for (; i < check->gone.n && check->gone.at[i].first <= range->last; i++)
			bw_sha256_add(&leaves, check->gone.at[i].hash, BW_SHA256_LEN);
		bw_sha256_end(&leaves, hash);
		if (!bw_equal(hash, range->hash, sizeof(hash)))
			check_problem(check, -1, (int64_t) range->first, "the contents that are gone, up to entry %" PRIu64
						  ", are not those that were erased", range->last);
	}
	for (; i < check->gone.n; i++)
		not_named(check, check->gone.at[i].first);
}
