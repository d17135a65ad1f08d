/*
 * block.h
 *		Headers and runs of the ledger's blocks, as docs/file-formats.md has
 *		them.  Readers are strict, point into the caller's bytes and allocate
 *		nothing.
 */
#ifndef BULWARK_BLOCK_H
#define BULWARK_BLOCK_H

#include "common/common.h"

#define BW_BLOCK_VERSION	1
/* Bytes of a header whose snapshot has n transactions in progress. */
#define BW_BLOCK_LEN(n)		(181 + 8 * (size_t) (n))

typedef struct bw_block
{
	uint8_t		log_id[16];
	uint32_t	incarnation;
	uint64_t	number;
	uint64_t	first_leaf;
	uint64_t	tree_size;
	uint8_t		root[BW_SHA256_LEN];
	uint8_t		before[BW_SHA256_LEN];	/* hash of the header before */
	int64_t		time;			/* microseconds since 1970 UTC */
	uint64_t	system_identifier;
	uint32_t	timeline;
	uint64_t	xmin;			/* of the snapshot */
	uint64_t	xmax;
	uint32_t	nxip;
	const uint8_t *xip;			/* nxip big-endian u64, ascending */
	uint8_t		runs_digest[BW_SHA256_LEN];
} bw_block;

/* Append the header; block->xip as it lies in the bytes. */
extern void bw_block_encode(bw_writer *w, const bw_block *block);
/* Read a header that is all of data; false where it is not one. */
extern bool bw_block_parse(const void *data, size_t len, bw_block *block);
/* Was the transaction in progress, or not yet begun, in the block's snapshot? */
extern bool bw_block_in_progress(const bw_block *block, uint64_t xid);
/* Does a later snapshot of the same incarnation show what the one before did? */
extern bool bw_block_goes_on(const bw_block *before, const bw_block *block);

/* Transactions of a block in ascending order, each with its number of entries. */
typedef struct bw_runs
{
	bw_reader	r;
	uint64_t	left;			/* runs still to read */
	uint64_t	xid;			/* of the one read last */
} bw_runs;

extern void bw_runs_begin(bw_writer *w, uint64_t number);
/* before: the xid of the run before, 0 for the first. */
extern void bw_runs_add(bw_writer *w, uint64_t before, uint64_t xid, uint64_t entries);
extern bool bw_runs_open(bw_runs *runs, const void *data, size_t len);
/* false at the end, and where the bytes are not runs: ask bw_runs_valid. */
extern bool bw_runs_next(bw_runs *runs, uint64_t *xid, uint64_t *entries);
/* All read, and nothing wrong with them? */
extern bool bw_runs_valid(const bw_runs *runs);

#endif							/* BULWARK_BLOCK_H */
