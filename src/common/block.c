/*
 * block.c
 *		Headers and runs of the ledger's blocks.
 */
#include "common/block.h"

#include <string.h>

static uint64_t
xid_at(const bw_block *block, uint32_t i)
{
	const uint8_t *at = block->xip + 8 * (size_t) i;
	uint64_t	xid = 0;

	for (int b = 0; b < 8; b++)
		xid = xid << 8 | at[b];
	return xid;
}

void
bw_block_encode(bw_writer *w, const bw_block *block)
{
	bw_put_uint(w, BW_BLOCK_VERSION, 1);
	bw_put(w, block->log_id, sizeof(block->log_id));
	bw_put_uint(w, block->incarnation, 4);
	bw_put_uint(w, block->number, 8);
	bw_put_uint(w, block->first_leaf, 8);
	bw_put_uint(w, block->tree_size, 8);
	bw_put(w, block->root, BW_SHA256_LEN);
	bw_put(w, block->before, BW_SHA256_LEN);
	bw_put_uint(w, (uint64_t) block->time, 8);
	bw_put_uint(w, block->system_identifier, 8);
	bw_put_uint(w, block->timeline, 4);
	bw_put_uint(w, block->xmin, 8);
	bw_put_uint(w, block->xmax, 8);
	bw_put_uint(w, block->nxip, 4);
	if (block->nxip > 0)
		bw_put(w, block->xip, 8 * (size_t) block->nxip);
	bw_put(w, block->runs_digest, BW_SHA256_LEN);
}

/* What else must hold of a header than its length. */
static bool
header_makes_sense(const bw_block *block)
{
	uint64_t	before = 0;

	if (block->first_leaf >= block->tree_size || block->tree_size > INT64_MAX || block->number > INT64_MAX ||
		block->xmin > block->xmax)
		return false;
	for (uint32_t i = 0; i < block->nxip; i++)
	{
		uint64_t	xid = xid_at(block, i);

		if (xid < block->xmin || xid >= block->xmax || (i > 0 && xid <= before))
			return false;
		before = xid;
	}
	return true;
}

bool
bw_block_parse(const void *data, size_t len, bw_block *block)
{
	bw_reader	r = {data, len, 0, false};

	memset(block, 0, sizeof(*block));
	if (len < BW_BLOCK_LEN(0) || bw_get_uint(&r, 1) != BW_BLOCK_VERSION)
		return false;
	bw_get(&r, block->log_id, sizeof(block->log_id));
	block->incarnation = (uint32_t) bw_get_uint(&r, 4);
	block->number = bw_get_uint(&r, 8);
	block->first_leaf = bw_get_uint(&r, 8);
	block->tree_size = bw_get_uint(&r, 8);
	bw_get(&r, block->root, BW_SHA256_LEN);
	bw_get(&r, block->before, BW_SHA256_LEN);
	block->time = (int64_t) bw_get_uint(&r, 8);
	block->system_identifier = bw_get_uint(&r, 8);
	block->timeline = (uint32_t) bw_get_uint(&r, 4);
	block->xmin = bw_get_uint(&r, 8);
	block->xmax = bw_get_uint(&r, 8);
	block->nxip = (uint32_t) bw_get_uint(&r, 4);
	if (len != BW_BLOCK_LEN(block->nxip))
		return false;
	block->xip = r.data + r.pos;
	r.pos += 8 * (size_t) block->nxip;
	bw_get(&r, block->runs_digest, BW_SHA256_LEN);
	return bw_reader_done(&r) && header_makes_sense(block);
}

bool
bw_block_in_progress(const bw_block *block, uint64_t xid)
{
	uint32_t	low = 0,
				high = block->nxip;

	if (xid >= block->xmax)
		return true;
	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;
		uint64_t	at = xid_at(block, middle);

		if (at == xid)
			return true;
		if (at < xid)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

bool
bw_block_goes_on(const bw_block *before, const bw_block *block)
{
	if (block->xmax < before->xmax)
		return false;
	for (uint32_t i = 0; i < block->nxip && xid_at(block, i) < before->xmax; i++)
		if (!bw_block_in_progress(before, xid_at(block, i)))
			return false;
	return true;
}

void
bw_runs_begin(bw_writer *w, uint64_t number)
{
	bw_put_varint(w, number);
}

void
bw_runs_add(bw_writer *w, uint64_t before, uint64_t xid, uint64_t entries)
{
	bw_put_varint(w, xid - before);
	bw_put_varint(w, entries);
}

bool
bw_runs_open(bw_runs *runs, const void *data, size_t len)
{
	*runs = (bw_runs)
	{
		{data, len, 0, false}, 0, 0
	};
	runs->left = bw_get_varint(&runs->r);
	/* each takes two bytes at least: a number that lies ends here */
	if (runs->left > len / 2)
		runs->r.failed = true;
	return !runs->r.failed;
}

bool
bw_runs_next(bw_runs *runs, uint64_t *xid, uint64_t *entries)
{
	uint64_t	step;

	if (runs->r.failed || runs->left == 0)
		return false;
	step = bw_get_varint(&runs->r);
	*entries = bw_get_varint(&runs->r);
	if (step == 0 || step > UINT64_MAX - runs->xid || *entries == 0 || *entries > INT64_MAX)
		runs->r.failed = true;
	if (runs->r.failed)
		return false;
	runs->left--;
	*xid = runs->xid += step;
	return true;
}

bool
bw_runs_valid(const bw_runs *runs)
{
	return runs->left == 0 && bw_reader_done(&runs->r);
}
