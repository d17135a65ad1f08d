/*
 * idset.c
 *		A set of numbers has each once, whatever order they come in, and little of
 *		those that are all there.  Prints TAP.
 */
#include "common/idset.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST	200000

static void *
resize(void *owner, void *old, size_t size)
{
	void	   *result = realloc(old, size);

	if (result == NULL || owner == NULL)
		abort();
	return result;
}

/* Add them all, each of them now and then twice: is what it says true each time? */
static bool
add_all(bw_idset *set, const uint64_t *ids, size_t n, uint64_t base)
{
	uint8_t    *there = calloc(MOST, 1);
	bool		good = true;

	for (size_t i = 0; i < n; i++)
	{
		uint64_t	again = ids[(size_t) rand() % (i + 1)];

		good &= bw_idset_add(set, base + ids[i]) == !there[ids[i]];
		there[ids[i]] = 1;
		good &= bw_idset_add(set, base + again) == false;
	}
	free(there);
	return good;
}

static void
try(const char *what, const uint64_t *ids, size_t n, uint64_t base, size_t most_room)
{
	bw_idset	set = {.resize = resize, .free = free, .owner = &tests};
	char		text[200];

	snprintf(text, sizeof(text), "%s: each is new once", what);
	ok(add_all(&set, ids, n, base), text);
	snprintf(text, sizeof(text), "%s: in %zu parts, %zu spans", what, set.room, set.nspans);
	ok(set.room <= most_room && set.nspans <= most_room, text);
	bw_idset_free(&set);
}

int
main(void)
{
	uint64_t   *ids = malloc(MOST * sizeof(uint64_t));

	srand(7);
	for (size_t i = 0; i < MOST; i++)
		ids[i] = i;
	try("ascending", ids, MOST, 0, 64);
	try("ascending, up to the last number", ids, MOST, UINT64_MAX - MOST + 1, 64);
	for (size_t i = 0; i < MOST; i++)
		ids[i] = MOST - 1 - i;
	try("descending", ids, MOST, 12345, 64);
	for (size_t i = 0; i < MOST; i++)
		ids[i] = i;
	for (size_t i = 0; i + 1000 < MOST; i++)
	{
		size_t		other = i + (size_t) rand() % 1000;
		uint64_t	mine = ids[i];

		ids[i] = ids[other];
		ids[other] = mine;
	}
	try("about in their order", ids, MOST, 1000, 64);
	for (size_t i = 0; i < MOST; i++)
	{
		size_t		other = i + (size_t) rand() % (MOST - i);
		uint64_t	mine = ids[i];

		ids[i] = ids[other];
		ids[other] = mine;
	}
	try("in any order", ids, MOST, 0, 1024);
	for (size_t i = 0; i < MOST; i++)
		ids[i] = (uint64_t) rand() % MOST;
	try("some of them", ids, MOST, UINT64_C(1) << 62, 1024);
	for (size_t i = 0; i < MOST / 2; i++)
		ids[i] = 2 * i;
	try("every other", ids, MOST / 2, 0, 1024);
	free(ids);
	printf("1..%d\n", tests);
	return failures > 0;
}
