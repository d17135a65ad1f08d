/*
 * idset.h
 *		A set of numbers that are met about in their order and nearly all of them,
 *		as the ids of a ledger's entries are: a bit each, and nothing for spans of
 *		which every number has been met.
 */
#ifndef BULWARK_IDSET_H
#define BULWARK_IDSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bw_idset_part bw_idset_part;
typedef struct bw_idset_span bw_idset_span;

/* All zero but for the functions: nothing is in it. */
typedef struct bw_idset
{
	/* As realloc(), of a size above zero; does not return where there is no memory. */
	void	   *(*resize) (void *owner, void *old, size_t size);
	void		(*free) (void *memory);
	void	   *owner;
	bw_idset_part *parts;
	size_t		n;
	size_t		room;			/* a power of two, or 0 */
	size_t		last;			/* where the number before was put */
	bw_idset_span *spans;		/* ascending, none next to another */
	size_t		nspans;
	size_t		spans_room;
} bw_idset;

/* false: it is there already. */
extern bool bw_idset_add(bw_idset *set, uint64_t id);
extern void bw_idset_free(bw_idset *set);

#endif							/* BULWARK_IDSET_H */
