/*
 * sorter.c
 *		Entries in the order in which they are sealed: by incarnation, transaction
 *		and sequence.  In memory as long as they are few, else PostgreSQL's sort.
 */
#include "ledger/sealer.h"

#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/tuplesort.h"

#define IN_MEMORY	(256 * 1024)
#define KEY_LEN		16

struct Sorter
{
	int			n;
	int			next;
	int			cap;
	bool		sorted;			/* no more is added */
	SealItem   *items;
	SealItem  **order;
	Tuplesortstate *spilled;
	struct varlena *last;		/* what the sort gave last */
};

/* A row of the sort: the key in bytes that compare as it does, then the item. */
typedef struct SortRow
{
	char		header[VARHDRSZ];
	uint8		key[KEY_LEN];
	SealItem	item;
} SortRow;

Sorter *
SorterBegin(void)
{
	return palloc0(sizeof(Sorter));
}

static void
spill(Sorter *sorter, const SealItem *item)
{
	SortRow		row = {{0}};
	bw_writer	w = {row.key, sizeof(row.key)};

	SET_VARSIZE(&row, sizeof(row));
	bw_put_uint(&w, item->incarnation, 4);
	bw_put_uint(&w, item->xid, 8);
	bw_put_uint(&w, item->sequence, 4);
	row.item = *item;
	tuplesort_putdatum(sorter->spilled, PointerGetDatum(&row), false);
}

static void
begin_spilling(Sorter *sorter)
{
	sorter->spilled = tuplesort_begin_datum(BYTEAOID, ByteaLessOperator, InvalidOid, false,
											maintenance_work_mem, NULL, TUPLESORT_NONE);
	for (int i = 0; i < sorter->n; i++)
		spill(sorter, &sorter->items[i]);
	pfree(sorter->items);
	sorter->items = NULL;
	sorter->n = 0;
}

void
SorterAdd(Sorter *sorter, const SealItem *item)
{
	if (sorter->spilled == NULL && sorter->n == IN_MEMORY)
		begin_spilling(sorter);
	if (sorter->spilled != NULL)
	{
		spill(sorter, item);
		return;
	}
	if (sorter->n == sorter->cap)
	{
		sorter->cap = Max(1024, Min(2 * sorter->cap, IN_MEMORY));
		sorter->items = sorter->items == NULL ? palloc(sorter->cap * sizeof(SealItem)) :
			repalloc(sorter->items, sorter->cap * sizeof(SealItem));
	}
	sorter->items[sorter->n++] = *item;
}

static inline int
compare(const SealItem *a, const SealItem *b)
{
	if (a->incarnation != b->incarnation)
		return a->incarnation < b->incarnation ? -1 : 1;
	if (a->xid != b->xid)
		return a->xid < b->xid ? -1 : 1;
	return a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
}

typedef SealItem *SealItemRef;
#define ST_SORT sort_items
#define ST_ELEMENT_TYPE SealItemRef
#define ST_COMPARE(a, b) compare(*(a), *(b))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static void
finish(Sorter *sorter)
{
	sorter->sorted = true;
	if (sorter->spilled != NULL)
	{
		tuplesort_performsort(sorter->spilled);
		return;
	}
	if (sorter->n == 0)
		return;
	sorter->order = palloc(sorter->n * sizeof(SealItem *));
	for (int i = 0; i < sorter->n; i++)
		sorter->order[i] = &sorter->items[i];
	sort_items(sorter->order, sorter->n);
}

bool
SorterNext(Sorter *sorter, SealItem *item)
{
	Datum		value;
	bool		isnull;

	if (!sorter->sorted)
		finish(sorter);
	if (sorter->spilled == NULL)
	{
		if (sorter->next == sorter->n)
			return false;
		*item = *sorter->order[sorter->next++];
		return true;
	}
	if (sorter->last != NULL)
		pfree(sorter->last);
	sorter->last = NULL;
	if (!BW_TUPLESORT_GETDATUM(sorter->spilled, &value, &isnull))
		return false;
	sorter->last = (struct varlena *) DatumGetPointer(value);
	*item = ((SortRow *) sorter->last)->item;
	return true;
}

void
SorterEnd(Sorter *sorter)
{
	if (sorter->spilled != NULL)
		tuplesort_end(sorter->spilled);
	if (sorter->items != NULL)
		pfree(sorter->items);
	if (sorter->order != NULL)
		pfree(sorter->order);
	pfree(sorter);
}
