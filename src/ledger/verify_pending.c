/*
 * verify_pending.c
 *		Entries that are not sealed yet: each bears a MAC, and the manifests of a
 *		transaction say how many there are and which.
 */
#include "ledger/verify.h"

#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"

/* What is sorted, bytewise: the first three fields are big-endian. */
typedef struct PendingEntry
{
	uint32		incarnation;
	uint32		sequence;		/* behind xid in the order: see key_of */
	uint64		xid;
	uint64		entry_id;
	uint32		first;
	uint32		count;
	uint8		flags;
	bw_hash		hash;
	bw_hash		manifest_digest;
} PendingEntry;

#define KEY_LEN		16			/* incarnation, xid, sequence */
#define ITEM_LEN	(KEY_LEN + sizeof(PendingEntry))

struct VerifyPending
{
	Tuplesortstate *sort;
	bytea	   *item;
};

VerifyPending *
PendingBegin(void)
{
	VerifyPending *pending = palloc(sizeof(VerifyPending));

	pending->sort = tuplesort_begin_datum(BYTEAOID, ByteaLessOperator, InvalidOid, false, work_mem, NULL, TUPLESORT_NONE);
	pending->item = palloc0(VARHDRSZ + ITEM_LEN);
	SET_VARSIZE(pending->item, VARHDRSZ + ITEM_LEN);
	return pending;
}

void
PendingAdd(VerifyPending *pending, const bw_leaf *leaf, const bw_hash hash)
{
	PendingEntry entry = {0};
	uint8	   *at = (uint8 *) VARDATA(pending->item);
	bw_writer	key = {at, KEY_LEN};

	entry.incarnation = leaf->incarnation;
	entry.xid = leaf->xid;
	entry.sequence = leaf->sequence;
	entry.entry_id = leaf->entry_id;
	entry.flags = leaf->flags & (BW_LEAF_ALONE | BW_LEAF_MANIFEST);
	entry.first = leaf->manifest_first;
	entry.count = leaf->manifest_count;
	memcpy(entry.hash, hash, BW_HASH_LEN);
	memcpy(entry.manifest_digest, leaf->manifest_digest, BW_HASH_LEN);
	bw_put_uint(&key, entry.incarnation, 4);
	bw_put_uint(&key, entry.xid, 8);
	bw_put_uint(&key, entry.sequence, 4);
	memcpy(at + KEY_LEN, &entry, sizeof(entry));
	tuplesort_putdatum(pending->sort, PointerGetDatum(pending->item), false);
}

/* Where we are in a transaction. */
typedef struct Transaction
{
	uint32		incarnation;
	uint64		xid;
	uint32		sequence;		/* of the entry before */
	uint32		first;			/* of those that no manifest covers so far */
	bool		whole;			/* none of them is missing */
	bw_sha256_state before;		/* over the hashes of those */
} Transaction;

static void
finish_group(Verify *v, const Transaction *group)
{
	if (group->sequence >= group->first && group->sequence > 0)
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "transaction " UINT64_FORMAT ", not sealed yet: its last entries are missing, with its manifest",
					  group->xid);
}

static void
begin_group(Transaction *group, const PendingEntry *entry)
{
	memset(group, 0, sizeof(*group));
	group->incarnation = entry->incarnation;
	group->xid = entry->xid;
	group->first = 1;
	group->whole = true;
	bw_sha256_begin(&group->before);
}

static void
add_entry(Verify *v, Transaction *group, const PendingEntry *entry)
{
	bool		covers = (entry->flags & (BW_LEAF_ALONE | BW_LEAF_MANIFEST)) != 0;
	uint32		count = (entry->flags & BW_LEAF_ALONE) ? 1 : entry->count;
	uint32		first = (entry->flags & BW_LEAF_ALONE) ? entry->sequence : entry->first;
	bw_hash		digest;

	if (entry->sequence == group->sequence)
	{
		VerifyProblem(v, NO_LEAF, (int64) entry->entry_id, "it is there twice");
		return;
	}
	if (entry->sequence != group->sequence + 1)
	{
		VerifyProblem(v, NO_LEAF, NO_ENTRY, "transaction " UINT64_FORMAT ", not sealed yet: entries %u to %u of it are missing",
					  group->xid, group->sequence + 1, entry->sequence - 1);
		group->whole = false;
	}
	group->sequence = entry->sequence;
	if (!covers)
	{
		bw_sha256_add(&group->before, entry->hash, BW_HASH_LEN);
		return;
	}
	if (!(entry->flags & BW_LEAF_ALONE))
		bw_sha256_end(&group->before, digest);
	/* what is missing has been told; the rest must be as the manifest says */
	if (group->whole && (first != group->first || count != entry->sequence - group->first + 1 ||
						 (!(entry->flags & BW_LEAF_ALONE) && !bw_equal(entry->manifest_digest, digest, BW_HASH_LEN))))
		VerifyProblem(v, NO_LEAF, (int64) entry->entry_id, "its manifest is not that of its transaction");
	group->first = entry->sequence + 1;
	group->whole = true;
	bw_sha256_begin(&group->before);
}

void
PendingFinish(Verify *v, VerifyPending *pending)
{
	Transaction		group = {0};
	bool		any = false;
	Datum		value;
	bool		isnull;

	tuplesort_performsort(pending->sort);
	while (BW_TUPLESORT_GETDATUM(pending->sort, &value, &isnull))
	{
		PendingEntry entry;

		CHECK_FOR_INTERRUPTS();
		memcpy(&entry, VARDATA_ANY(DatumGetPointer(value)) + KEY_LEN, sizeof(entry));
		if (!any || entry.incarnation != group.incarnation || entry.xid != group.xid)
		{
			if (any)
				finish_group(v, &group);
			begin_group(&group, &entry);
			any = true;
		}
		add_entry(v, &group, &entry);
		v->pending++;
		pfree(DatumGetPointer(value));
	}
	if (any)
		finish_group(v, &group);
	tuplesort_end(pending->sort);
}
