/*
 * sorter.c
 *		Entries in the order in which they are sealed: by incarnation, transaction
 *		and sequence.  In memory as long as maintenance_work_mem has room, else
 *		with PostgreSQL's sort.
 */
#include "ledger/sealer.h"

#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"

#define LEAST_ITEMS	4096
#define KEY_LEN		16

/* An entry without its manifest, which one in a transaction has. */
typedef struct Plain
{
	uint32		incarnation;
	uint32		sequence;
	uint64		xid;
	uint64		entry_id;
	uint8		hash[BW_SHA256_LEN];
	uint32		kind;
	uint32		manifest;		/* which */
} Plain;

typedef struct Manifest
{
	uint32		first;
	uint32		count;
	uint8		digest[BW_SHA256_LEN];
} Manifest;

/* A row of the spilled sort: the key in bytes that compare as it does, then the rest. */
typedef struct SortRow
{
	char		header[VARHDRSZ];
	uint8		key[KEY_LEN];
	uint32		kind;
	uint64		entry_id;
	uint8		hash[BW_SHA256_LEN];
	Manifest	manifest;		/* only where there is one */
} SortRow;

struct Sorter
{
	Size		n;
	Size		next;
	Size		cap;
	Size		nmanifests;
	Size		manifest_cap;
	bool		sorted;			/* no more is added */
	bool		in_order;		/* as they were added */
	Plain	   *items;
	Plain	  **order;			/* NULL: as they are */
	Manifest   *manifests;
	Tuplesortstate *spilled;
	struct varlena *last;		/* what the sort gave last */
};

Sorter *
SorterBegin(void)
{
	Sorter	   *sorter = palloc0(sizeof(Sorter));

	sorter->in_order = true;
	return sorter;
}

/* --- more than memory has room for ------------------------------------------------- */

static void
spill(Sorter *sorter, const Plain *item, const Manifest *manifest)
{
	SortRow		row = {{0}};
	bw_writer	w = {row.key, sizeof(row.key)};

	SET_VARSIZE(&row, item->kind == SEAL_MANIFEST ? sizeof(row) : offsetof(SortRow, manifest));
	bw_put_uint(&w, item->incarnation, 4);
	bw_put_uint(&w, item->xid, 8);
	bw_put_uint(&w, item->sequence, 4);
	row.kind = item->kind;
	row.entry_id = item->entry_id;
	memcpy(row.hash, item->hash, BW_SHA256_LEN);
	if (item->kind == SEAL_MANIFEST)
		row.manifest = *manifest;
	tuplesort_putdatum(sorter->spilled, PointerGetDatum(&row), false);
}

static void
begin_spilling(Sorter *sorter)
{
	sorter->spilled = tuplesort_begin_datum(BYTEAOID, ByteaLessOperator, InvalidOid, false,
											maintenance_work_mem, NULL, TUPLESORT_NONE);
	for (Size i = 0; i < sorter->n; i++)
		spill(sorter, &sorter->items[i], &sorter->manifests[sorter->items[i].manifest]);
	pfree(sorter->items);
	if (sorter->manifests != NULL)
		pfree(sorter->manifests);
	sorter->items = NULL;
	sorter->manifests = NULL;
	sorter->n = 0;
}

static bool
next_spilled(Sorter *sorter, SealItem *item)
{
	Datum		value;
	bool		isnull;
	const SortRow *row;
	bw_reader	r;

	if (sorter->last != NULL)
		pfree(sorter->last);
	sorter->last = NULL;
	if (!BW_TUPLESORT_GETDATUM(sorter->spilled, &value, &isnull))
		return false;
	sorter->last = (struct varlena *) DatumGetPointer(value);
	row = (const SortRow *) sorter->last;
	r = (bw_reader) {row->key, sizeof(row->key)};
	item->incarnation = (uint32) bw_get_uint(&r, 4);
	item->xid = bw_get_uint(&r, 8);
	item->sequence = (uint32) bw_get_uint(&r, 4);
	item->kind = row->kind;
	item->entry_id = row->entry_id;
	memcpy(item->hash, row->hash, BW_SHA256_LEN);
	if (item->kind == SEAL_MANIFEST)
	{
		item->first = row->manifest.first;
		item->count = row->manifest.count;
		memcpy(item->digest, row->manifest.digest, BW_SHA256_LEN);
	}
	return true;
}

/* --- in memory --------------------------------------------------------------------------- */

static inline int
compare(const Plain *a, const Plain *b)
{
	if (a->incarnation != b->incarnation)
		return a->incarnation < b->incarnation ? -1 : 1;
	if (a->xid != b->xid)
		return a->xid < b->xid ? -1 : 1;
	return a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
}

typedef Plain *PlainRef;
#define ST_SORT sort_plain
#define ST_ELEMENT_TYPE PlainRef
#define ST_COMPARE(a, b) compare(*(a), *(b))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* An array of items of that size, twice as large as it was. */
static void *
grown(void *array, Size *cap, Size size)
{
	*cap = Max(LEAST_ITEMS, 2 * *cap);
	return array == NULL ? palloc(*cap * size) : repalloc_huge(array, *cap * size);
}

static bool
memory_is_full(const Sorter *sorter)
{
	Size		item = sizeof(Plain) + (sorter->in_order ? 0 : sizeof(Plain *));
	Size		used = sorter->n * item + sorter->nmanifests * sizeof(Manifest);

	return sorter->n >= LEAST_ITEMS && used > (Size) maintenance_work_mem * 1024;
}

void
SorterAdd(Sorter *sorter, const SealItem *item)
{
	Plain		plain = {item->incarnation, item->sequence, item->xid, item->entry_id};
	Manifest	manifest;

	memcpy(plain.hash, item->hash, BW_SHA256_LEN);
	plain.kind = item->kind;
	if (item->kind == SEAL_MANIFEST)
	{
		manifest.first = item->first;
		manifest.count = item->count;
		memcpy(manifest.digest, item->digest, BW_SHA256_LEN);
	}
	if (sorter->spilled == NULL && memory_is_full(sorter))
		begin_spilling(sorter);
	if (sorter->spilled != NULL)
	{
		spill(sorter, &plain, &manifest);
		return;
	}

	if (sorter->n == sorter->cap)
		sorter->items = grown(sorter->items, &sorter->cap, sizeof(Plain));
	if (item->kind == SEAL_MANIFEST)
	{
		if (sorter->nmanifests == sorter->manifest_cap)
			sorter->manifests = grown(sorter->manifests, &sorter->manifest_cap, sizeof(Manifest));
		plain.manifest = (uint32) sorter->nmanifests;
		sorter->manifests[sorter->nmanifests++] = manifest;
	}
	if (sorter->n > 0 && compare(&sorter->items[sorter->n - 1], &plain) > 0)
		sorter->in_order = false;
	sorter->items[sorter->n++] = plain;
}

static void
finish(Sorter *sorter)
{
	sorter->sorted = true;
	if (sorter->spilled != NULL)
	{
		tuplesort_performsort(sorter->spilled);
		return;
	}
	if (sorter->n == 0 || sorter->in_order)
		return;
	sorter->order = MemoryContextAllocHuge(CurrentMemoryContext, sorter->n * sizeof(Plain *));
	for (Size i = 0; i < sorter->n; i++)
		sorter->order[i] = &sorter->items[i];
	sort_plain(sorter->order, sorter->n);
}

bool
SorterNext(Sorter *sorter, SealItem *item)
{
	const Plain *plain;

	if (!sorter->sorted)
		finish(sorter);
	if (sorter->spilled != NULL)
		return next_spilled(sorter, item);
	if (sorter->next == sorter->n)
		return false;
	plain = sorter->order != NULL ? sorter->order[sorter->next] : &sorter->items[sorter->next];
	sorter->next++;
	item->incarnation = plain->incarnation;
	item->sequence = plain->sequence;
	item->xid = plain->xid;
	item->entry_id = plain->entry_id;
	item->kind = plain->kind;
	memcpy(item->hash, plain->hash, BW_SHA256_LEN);
	if (plain->kind == SEAL_MANIFEST)
	{
		const Manifest *manifest = &sorter->manifests[plain->manifest];

		item->first = manifest->first;
		item->count = manifest->count;
		memcpy(item->digest, manifest->digest, BW_SHA256_LEN);
	}
	return true;
}

void
SorterEnd(Sorter *sorter)
{
	if (sorter->spilled != NULL)
		tuplesort_end(sorter->spilled);
	if (sorter->items != NULL)
		pfree(sorter->items);
	if (sorter->manifests != NULL)
		pfree(sorter->manifests);
	if (sorter->order != NULL)
		pfree(sorter->order);
	pfree(sorter);
}
