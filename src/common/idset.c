/*
 * idset.c
 *		A set of numbers that are met about in their order and nearly all of them.
 *
 * A hash table with linear probing has a part for each PART_BITS numbers of which
 * some are met.  A part that is full is taken out of it, and is in a span.
 */
#include "common/idset.h"

#include <string.h>

#define PART_BITS	512

struct bw_idset_part
{
	uint64_t	key;			/* the numbers, divided by PART_BITS */
	unsigned	met;			/* 0: no part is here */
	uint64_t	bits[PART_BITS / 64];
};

/* Keys of full parts, both ends among them. */
struct bw_idset_span
{
	uint64_t	first;
	uint64_t	last;
};

/* --- spans ------------------------------------------------------------------------- */

/* The first span that does not end before the key. */
static size_t
span_place(const bw_idset *set, uint64_t key)
{
	size_t		low = 0,
				high = set->nspans;

	while (low < high)
	{
		size_t		middle = low + (high - low) / 2;

		if (set->spans[middle].last < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool
in_span(const bw_idset *set, uint64_t key)
{
	size_t		place = span_place(set, key);

	return place < set->nspans && set->spans[place].first <= key;
}

/* The key is in no span. */
static void
add_to_spans(bw_idset *set, uint64_t key)
{
	size_t		place = span_place(set, key);
	bw_idset_span *at = set->spans + place;
	bool		after = place > 0 && at[-1].last + 1 == key;
	bool		before = place < set->nspans && at->first == key + 1;

	if (after && before)
	{
		at[-1].last = at->last;
		memmove(at, at + 1, (--set->nspans - place) * sizeof(*at));
	}
	else if (after)
		at[-1].last = key;
	else if (before)
		at->first = key;
	else
	{
		if (set->nspans == set->spans_room)
		{
			set->spans_room = set->spans_room == 0 ? 16 : set->spans_room * 2;
			set->spans = set->resize(set->owner, set->spans, set->spans_room * sizeof(*set->spans));
			at = set->spans + place;
		}
		memmove(at + 1, at, (set->nspans++ - place) * sizeof(*at));
		*at = (bw_idset_span) {key, key};
	}
}

/* --- parts ---------------------------------------------------------------------------- */

static size_t
home(const bw_idset *set, uint64_t key)
{
	return (size_t) ((key * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (set->room - 1);
}

/* Where the key's part is, or would be. */
static size_t
part_place(const bw_idset *set, uint64_t key)
{
	size_t		place = home(set, key);

	while (set->parts[place].met > 0 && set->parts[place].key != key)
		place = (place + 1) & (set->room - 1);
	return place;
}

static void
grow(bw_idset *set)
{
	bw_idset_part *before = set->parts;
	size_t		room = set->room;

	set->room = room == 0 ? 64 : room * 2;
	set->parts = set->resize(set->owner, NULL, set->room * sizeof(*set->parts));
	memset(set->parts, 0, set->room * sizeof(*set->parts));
	for (size_t i = 0; i < room; i++)
		if (before[i].met > 0)
			set->parts[part_place(set, before[i].key)] = before[i];
	if (before != NULL)
		set->free(before);
}

/* Parts that were put off by this one move up. */
static void
take_out(bw_idset *set, size_t place)
{
	size_t		mask = set->room - 1;

	for (size_t next = (place + 1) & mask; set->parts[next].met > 0; next = (next + 1) & mask)
	{
		size_t		away = (next - home(set, set->parts[next].key)) & mask;

		if (away < ((next - place) & mask))
			continue;
		set->parts[place] = set->parts[next];
		place = next;
	}
	memset(&set->parts[place], 0, sizeof(set->parts[place]));
	set->n--;
}

/* The part of the key; NULL: it is full. */
static bw_idset_part *
part_of(bw_idset *set, uint64_t key)
{
	if (set->n > 0 && set->parts[set->last].met > 0 && set->parts[set->last].key == key)
		return &set->parts[set->last];
	if (in_span(set, key))
		return NULL;
	if (set->n * 2 >= set->room)
		grow(set);
	set->last = part_place(set, key);
	if (set->parts[set->last].met == 0)
	{
		set->parts[set->last].key = key;
		set->n++;
	}
	return &set->parts[set->last];
}

bool
bw_idset_add(bw_idset *set, uint64_t id)
{
	uint64_t	key = id / PART_BITS;
	uint64_t	bit = UINT64_C(1) << (id % 64);
	bw_idset_part *part = part_of(set, key);
	uint64_t   *bits;

	if (part == NULL)
		return false;
	bits = &part->bits[id % PART_BITS / 64];
	if ((*bits & bit) != 0)
		return false;
	*bits |= bit;
	if (++part->met == PART_BITS)
	{
		take_out(set, (size_t) (part - set->parts));
		add_to_spans(set, key);
	}
	return true;
}

void
bw_idset_free(bw_idset *set)
{
	if (set->parts != NULL)
		set->free(set->parts);
	if (set->spans != NULL)
		set->free(set->spans);
	set->parts = NULL;
	set->spans = NULL;
}
