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

/*
 * Entries of a transaction that follow one another, as those of one statement do, with
 * ids that do; only the last one may have a manifest.
 */
typedef struct Run
{
	uint32		incarnation;
	uint32		sequence;		/* of the first */
	uint64		xid;
	uint64		entry_id;		/* of the first */
	Size		first;			/* of hashes */
	uint32		count;
	uint32		kind;			/* of the last */
	uint32		manifest;		/* which */
} Run;

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
	Run		   *runs;
	Size		nruns;
	Size		run_cap;
	uint8		(*hashes)[BW_SHA256_LEN];
	Size		nhashes;
	Size		hash_cap;
	Manifest   *manifests;
	Size		nmanifests;
	Size		manifest_cap;
	bool		sorted;			/* no more is added */
	bool		in_order;		/* as they were added */
	Size		run;			/* what is given next: the run, ... */
	uint32		at;				/* ... and which of it */
	Tuplesortstate *spilled;
	struct varlena *last;		/* what the sort gave last */
};

/* --- in memory --------------------------------------------------------------------------- */

static Manifest
manifest_of(const SealItem *item)
{
	Manifest	manifest = {item->first, item->count};

	memcpy(manifest.digest, item->digest, BW_SHA256_LEN);
	return manifest;
}

static void
put_manifest(SealItem *item, const Manifest *manifest)
{
	item->first = manifest->first;
	item->count = manifest->count;
	memcpy(item->digest, manifest->digest, BW_SHA256_LEN);
}

static inline int
compare(const Run *a, const Run *b)
{
	if (a->incarnation != b->incarnation)
		return a->incarnation < b->incarnation ? -1 : 1;
	if (a->xid != b->xid)
		return a->xid < b->xid ? -1 : 1;
	return a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
}

#define ST_SORT sort_runs
#define ST_ELEMENT_TYPE Run
#define ST_COMPARE(a, b) compare(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* An array of so many items of that size, with room for one more. */
static void *
room_for_one(void *array, Size n, Size *cap, Size size)
{
	if (n < *cap)
		return array;
	*cap = Max(LEAST_ITEMS, 2 * *cap);
	return array == NULL ? palloc(*cap * size) : repalloc_huge(array, *cap * size);
}

static bool
memory_is_full(const Sorter *sorter)
{
	Size		used = sorter->nhashes * BW_SHA256_LEN + sorter->nruns * sizeof(Run) + sorter->nmanifests * sizeof(Manifest);

	return sorter->nhashes >= LEAST_ITEMS && used > (Size) maintenance_work_mem * 1024;
}

static bool
follows(const Run *run, const SealItem *item)
{
	return run->kind == SEAL_PLAIN && run->xid == item->xid && run->incarnation == item->incarnation &&
		(uint64) run->sequence + run->count == item->sequence && run->entry_id + run->count == item->entry_id;
}

static void
add_run(Sorter *sorter, const Run *run)
{
	sorter->runs = room_for_one(sorter->runs, sorter->nruns, &sorter->run_cap, sizeof(Run));
	if (sorter->nruns > 0 && compare(&sorter->runs[sorter->nruns - 1], run) > 0)
		sorter->in_order = false;
	sorter->runs[sorter->nruns++] = *run;
}

static void
keep(Sorter *sorter, const SealItem *item)
{
	Run		   *run = sorter->nruns > 0 ? &sorter->runs[sorter->nruns - 1] : NULL;

	if (run == NULL || !follows(run, item))
	{
		add_run(sorter, &(Run) {item->incarnation, item->sequence, item->xid, item->entry_id, sorter->nhashes});
		run = &sorter->runs[sorter->nruns - 1];
	}
	sorter->hashes = room_for_one(sorter->hashes, sorter->nhashes, &sorter->hash_cap, BW_SHA256_LEN);
	memcpy(sorter->hashes[sorter->nhashes++], item->hash, BW_SHA256_LEN);
	run->count++;
	run->kind = item->kind;
	if (item->kind == SEAL_MANIFEST)
	{
		sorter->manifests = room_for_one(sorter->manifests, sorter->nmanifests, &sorter->manifest_cap, sizeof(Manifest));
		run->manifest = (uint32) sorter->nmanifests;
		sorter->manifests[sorter->nmanifests++] = manifest_of(item);
	}
}

/* The next entry in the order of the runs. */
static bool
next_kept(Sorter *sorter, SealItem *item)
{
	const Run  *run;

	if (sorter->run == sorter->nruns)
		return false;
	run = &sorter->runs[sorter->run];
	item->incarnation = run->incarnation;
	item->sequence = run->sequence + sorter->at;
	item->xid = run->xid;
	item->entry_id = run->entry_id + sorter->at;
	memcpy(item->hash, sorter->hashes[run->first + sorter->at], BW_SHA256_LEN);
	item->kind = SEAL_PLAIN;
	if (++sorter->at == run->count)
	{
		item->kind = run->kind;
		if (item->kind == SEAL_MANIFEST)
			put_manifest(item, &sorter->manifests[run->manifest]);
		sorter->run++;
		sorter->at = 0;
	}
	return true;
}

static bool
overlap(const Run *a, const Run *b)
{
	return a->incarnation == b->incarnation && a->xid == b->xid && b->sequence < (uint64) a->sequence + a->count;
}

/* Runs of one entry each. */
static void
split(Sorter *sorter)
{
	Sorter		single = {.in_order = true};

	for (Size i = 0; i < sorter->nruns; i++)
	{
		const Run  *run = &sorter->runs[i];

		for (uint32 at = 0; at < run->count; at++)
			add_run(&single, &(Run) {run->incarnation, run->sequence + at, run->xid, run->entry_id + at, run->first + at, 1,
					at + 1 == run->count ? run->kind : SEAL_PLAIN, run->manifest});
	}
	pfree(sorter->runs);
	sorter->runs = single.runs;
	sorter->nruns = single.nruns;
}

static void
sort_kept(Sorter *sorter)
{
	bool		overlapping = false;

	if (sorter->nruns == 0)
		return;
	if (!sorter->in_order)
		sort_runs(sorter->runs, sorter->nruns);
	/* entries that are there twice come one after the other */
	for (Size i = 1; i < sorter->nruns && !overlapping; i++)
		overlapping = overlap(&sorter->runs[i - 1], &sorter->runs[i]);
	if (overlapping)
	{
		split(sorter);
		sort_runs(sorter->runs, sorter->nruns);
	}
}

static void
free_kept(Sorter *sorter)
{
	if (sorter->runs != NULL)
		pfree(sorter->runs);
	if (sorter->hashes != NULL)
		pfree(sorter->hashes);
	if (sorter->manifests != NULL)
		pfree(sorter->manifests);
	sorter->runs = NULL;
	sorter->hashes = NULL;
	sorter->manifests = NULL;
}

/* --- more than memory has room for ------------------------------------------------- */

static void
spill(Sorter *sorter, const SealItem *item)
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
		row.manifest = manifest_of(item);
	tuplesort_putdatum(sorter->spilled, PointerGetDatum(&row), false);
}

static void
begin_spilling(Sorter *sorter)
{
	SealItem	item;

	sorter->spilled = tuplesort_begin_datum(BYTEAOID, ByteaLessOperator, InvalidOid, false,
											maintenance_work_mem, NULL, TUPLESORT_NONE);
	while (next_kept(sorter, &item))
		spill(sorter, &item);
	free_kept(sorter);
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
		put_manifest(item, &row->manifest);
	return true;
}

/* --- all of them -------------------------------------------------------------------------- */

Sorter *
SorterBegin(void)
{
	Sorter	   *sorter = palloc0(sizeof(Sorter));

	sorter->in_order = true;
	return sorter;
}

void
SorterAdd(Sorter *sorter, const SealItem *item)
{
	if (sorter->spilled == NULL && memory_is_full(sorter))
		begin_spilling(sorter);
	if (sorter->spilled != NULL)
		spill(sorter, item);
	else
		keep(sorter, item);
}

bool
SorterNext(Sorter *sorter, SealItem *item)
{
	if (!sorter->sorted)
	{
		sorter->sorted = true;
		if (sorter->spilled != NULL)
			tuplesort_performsort(sorter->spilled);
		else
			sort_kept(sorter);
	}
	return sorter->spilled != NULL ? next_spilled(sorter, item) : next_kept(sorter, item);
}

void
SorterEnd(Sorter *sorter)
{
	if (sorter->spilled != NULL)
		tuplesort_end(sorter->spilled);
	free_kept(sorter);
	pfree(sorter);
}
