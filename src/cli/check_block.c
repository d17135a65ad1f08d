/*
 * check_block.c
 *		Blocks of an export: the chain of headers, their snapshots, checkpoints and
 *		runs.
 */
#include "check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The newest block of the incarnation that is over, or NULL. */
static Latest *
latest_of(Check *check, uint32_t incarnation)
{
	for (size_t i = check->nlatest; i > 0; i--)
		if (check->latest[i - 1].block.incarnation == incarnation)
			return &check->latest[i - 1];
	return NULL;
}

/* The block is over, and the newest of its incarnation. */
static void
keep_latest(Check *check)
{
	Latest	   *latest = check->before;

	if (latest == NULL)
	{
		check->latest = check_allocate(check->latest, check->nlatest + 1, sizeof(Latest));
		latest = &check->latest[check->nlatest++];
		latest->header = NULL;
	}
	free(latest->header);
	latest->header = check->header;
	latest->block = check->block;
	check->header = NULL;
}

bool
check_block_end(Check *check)
{
	uint8_t		root[BW_SHA256_LEN];
	bool		complete = check->peaks.size == check->block.tree_size;

	if (!check->in_block)
		return true;
	check->in_block = false;
	check_transaction_end(check);
	free(check->runs_bytes);
	check->runs_bytes = NULL;
	if (!complete)
		check_stop(check, "block %" PRIu64 " is cut off: it ends with leaf %" PRIu64 ", not %" PRIu64,
				   check->block.number, check->peaks.size, check->block.tree_size);
	bw_peaks_root(&check->peaks, root);
	if (!bw_equal(root, check->block.root, sizeof(root)))
		check_problem(check, (int64_t) check->block.first_leaf, -1,
					  "block %" PRIu64 " (leaves %" PRIu64 " to %" PRIu64 "): its entries do not have the root that was signed",
					  check->block.number, check->block.first_leaf, check->block.tree_size - 1);
	earlier_compare_block(check);
	keep_latest(check);
	return true;
}

/* Does the checkpoint say of the block what its header does? */
static void
check_checkpoint(Check *check, const JsonValue *note)
{
	const bw_block *block = &check->block;
	size_t		body_len = 0;

	switch (bw_trust_next(&check->trust, note->text, note->len, &body_len))
	{
		case BW_NOTE_OK:
			break;
		case BW_NOTE_MALFORMED:
			check_problem(check, -1, -1, "block %" PRIu64 ": the checkpoint is not a signed note", block->number);
			return;
		case BW_NOTE_UNKNOWN_KEY:
			check_problem(check, -1, -1, "block %" PRIu64 ": the checkpoint is not signed by the log's key", block->number);
			return;
		case BW_NOTE_BAD_SIGNATURE:
			check_problem(check, -1, -1, "block %" PRIu64 ": the signature of the checkpoint is wrong", block->number);
			return;
	}
	if (!bw_checkpoint_parse(note->text, body_len, &check->last) || strcmp(check->last.origin, check->origin) != 0 ||
		check->last.size != block->tree_size || !check->last.has_block || check->last.block != block->number ||
		!bw_equal(check->last.root, block->root, BW_SHA256_LEN) ||
		!bw_equal(check->last.header_hash, check->header_hash, BW_SHA256_LEN))
		check_problem(check, -1, -1, "block %" PRIu64 ": the checkpoint is not that of the block", block->number);
}

void
check_xid(Check *check, uint64_t xid)
{
	if (bw_block_in_progress(&check->block, xid))
		check_problem(check, -1, -1, "block %" PRIu64 ": transaction %" PRIu64 " was not ended when it was sealed",
					  check->block.number, xid);
	if (check->before != NULL && !bw_block_in_progress(&check->before->block, xid))
		check_problem(check, -1, -1, "block %" PRIu64 ": transaction %" PRIu64 " belongs to an earlier block",
					  check->block.number, xid);
}

/* Keep the runs for the entries to come; what they say must fit the header. */
static void
take_runs(Check *check, const JsonValue *value)
{
	bw_block   *block = &check->block;
	bw_bytes	runs;
	uint8_t		hash[BW_SHA256_LEN];
	uint64_t	xid,
				n,
				total = 0;

	check->run_end = block->first_leaf;
	if (value->type == JSON_NULL)
	{
		if (check->whole)
			check_problem(check, -1, -1, "block %" PRIu64 ": its runs are missing, of an export that says it is whole", block->number);
		return;
	}
	if (!json_base64(value, &runs))
	{
		check_problem(check, -1, -1, "block %" PRIu64 ": its runs are not base64", block->number);
		return;
	}
	bw_sha256(runs.data, runs.len, hash);
	if (!bw_equal(hash, block->runs_digest, sizeof(hash)))
	{
		check_problem(check, -1, -1, "block %" PRIu64 ": its runs are not those of the header", block->number);
		return;
	}
	for (bw_runs_open(&check->runs, runs.data, runs.len); bw_runs_next(&check->runs, &xid, &n);)
	{
		total = n > BW_TREE_MAX - total ? BW_TREE_MAX : total + n;
		check_xid(check, xid);
	}
	if (!bw_runs_valid(&check->runs) || total != block->tree_size - block->first_leaf)
	{
		check_problem(check, -1, -1, "block %" PRIu64 ": its runs do not add up to its leaves", block->number);
		return;
	}
	check->runs_bytes = check_allocate(NULL, runs.len + 1, 1);
	memcpy(check->runs_bytes, runs.data, runs.len);
	bw_runs_open(&check->runs, check->runs_bytes, runs.len);
}

/* Keep the header; false: it is none. */
static bool
take_header(Check *check, const bw_bytes *header)
{
	check->header = check_allocate(check->header, header->len + 1, 1);
	memcpy(check->header, header->data, header->len);
	bw_sha256(header->data, header->len, check->header_hash);
	return bw_block_parse(check->header, header->len, &check->block);
}

bool
check_block(Check *check)
{
	static const uint8_t zeros[BW_SHA256_LEN];
	bool		first = check->blocks == 0;
	bool		twice = false;
	const JsonValue *note = json_member(&check->json, "checkpoint", JSON_STRING);
	const JsonValue *runs = json_get(&check->json, check->json.values, "runs", &twice);
	uint64_t	before;
	uint8_t		before_hash[BW_SHA256_LEN];
	bw_bytes	header;
	int64_t		number;

	if (!check_block_end(check))
		return false;
	before = check->block.number;
	memcpy(before_hash, check->header_hash, sizeof(before_hash));
	if (!json_member_integer(&check->json, "block", &number) || note == NULL || runs == NULL || twice ||
		!json_member_base64(&check->json, "header", &header) || !take_header(check, &header))
		check_stop(check, "line %" PRIu64 " is not a block", check->lines);
	if (memcmp(check->block.log_id, check->log_id, BW_LOG_ID_LEN) != 0 || check->block.number != (uint64_t) number)
		check_stop(check, "line %" PRIu64 ": the header is that of another block or log", check->lines);
	if (check->block.first_leaf != check->peaks.size)
		check_stop(check, "block %" PRId64 " begins with leaf %" PRIu64 ", not %" PRIu64 ": blocks are missing or out of order",
				   number, check->block.first_leaf, check->peaks.size);
	if (number == 0 ? !first || check->gap || !bw_equal(check->block.before, zeros, sizeof(zeros)) :
		check->gap ? (!first && check->block.number <= before) :
		first || check->block.number != before + 1 || !bw_equal(check->block.before, before_hash, sizeof(before_hash)))
		check_problem(check, -1, -1, "block %" PRId64 " does not follow the block before", number);
	check->before = latest_of(check, check->block.incarnation);
	if (check->before != NULL && !bw_block_goes_on(&check->before->block, &check->block))
		check_problem(check, -1, -1, "block %" PRId64 " does not see all that the one before it saw", number);
	check->trust.gap = check->gap;
	check_checkpoint(check, note);
	take_runs(check, runs);
	memset(&check->transaction, 0, sizeof(check->transaction));
	check->transaction.follows = true;
	check->gap = false;
	check->in_block = true;
	check->blocks++;
	return true;
}
