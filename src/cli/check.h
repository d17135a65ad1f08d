/*
 * check.h
 *		Verification of a ledger's export, line by line, in memory that hardly
 *		grows with it (docs/file-formats.md has the format).
 */
#ifndef BULWARK_CHECK_H
#define BULWARK_CHECK_H

#include "common/block.h"
#include "common/idset.h"
#include "common/merkle.h"
#include "common/record.h"
#include "common/trust.h"
#include "json.h"

#include <stdio.h>

#define CHECK_MAX_KEYS		64
#define CHECK_MAX_KEPT		12	/* problems that the report shows */

/* A checkpoint that was kept from before. */
typedef struct Earlier
{
	const char *file;
	char		note[BW_NOTE_MAX];
	size_t		len;
	size_t		body_len;
	bw_checkpoint is;
	enum
	{
		EARLIER_OPEN, EARLIER_HOLDS, EARLIER_DIFFERS
	}			state;			/* of its leaves */
	bool		other_block;	/* its block's header is another */
} Earlier;

/* Ranges of entry ids, and a hash of or over leaves. */
typedef struct Range
{
	uint64_t	first;
	uint64_t	last;
	uint8_t		hash[BW_SHA256_LEN];
} Range;
typedef struct Ranges
{
	Range	   *at;
	size_t		n;
	size_t		room;
} Ranges;

/* A shape that was shown: what the images of which table look like. */
typedef struct Shape
{
	uint8_t		id[BW_SHAPE_ID_LEN];
	char	   *relation;
	size_t		len;
	uint32_t	ncolumns;
} Shape;

/* The newest block of an incarnation. */
typedef struct Latest
{
	uint8_t    *header;			/* allocated: the block's xip is in it */
	bw_block	block;
} Latest;

/* Where we are in the transactions of a block. */
typedef struct Transaction
{
	uint64_t	xid;
	uint32_t	sequence;		/* of the entry that was shown last; 0: none was */
	bool		follows;		/* nothing was left out since, or since the block began */
	uint32_t	first;			/* of those that no manifest covers yet; 0: not known */
	bw_sha256_state leaves;		/* from there on */
} Transaction;

typedef struct Check
{
	/* Given. */
	bw_trust_key keys[CHECK_MAX_KEYS];	/* the pinned ones, then the export's */
	size_t		pinned;
	bool		unpinned;		/* take the export's own word for the key */
	Earlier    *earlier;		/* in ascending order of size */
	size_t		nearlier;

	/* Found. */
	uint64_t	problems;
	char	   *kept[CHECK_MAX_KEPT];
	uint64_t	lines;
	uint64_t	entries;
	bool		whole;			/* so the export says: nothing may be left out */
	uint64_t	skipped;
	uint64_t	withheld;		/* contents not shown */
	uint64_t	rendered;		/* entries whose metadata or images are shown, which is not compared */
	uint64_t	unproved;		/* entries of which something is shown without their content */
	uint64_t	erased;
	uint64_t	blocks;
	uint64_t	pending;
	uint64_t	incarnations;
	int64_t		tree_size;		/* as the export says in the beginning */
	int64_t		oldest;			/* times of entries */
	int64_t		newest;
	char		origin[BW_ORIGIN_MAX + 1];
	bw_checkpoint last;			/* the newest checkpoint */
	bw_peaks	peaks;

	/* Where we are. */
	enum
	{
		CHECK_START, CHECK_BODY, CHECK_ENDED
	}			state;
	bool		stopped;		/* nothing more can be said of it */
	Json		json;
	Json		metadata;		/* of retention entries */
	uint8_t		log_id[BW_LOG_ID_LEN];
	bw_trust	trust;
	bool		in_block;
	bool		gap;			/* blocks were left out just now */
	bw_block	block;
	uint8_t    *header;			/* allocated: the block's xip is in it */
	Latest	   *latest;			/* of each incarnation, of blocks that are over */
	size_t		nlatest;
	Latest	   *before;			/* of the block's incarnation; NULL: none */
	uint8_t		header_hash[BW_SHA256_LEN];
	uint8_t    *runs_bytes;		/* NULL: not shown */
	bw_runs		runs;
	uint64_t	run_xid;
	uint64_t	run_first;		/* leaf of the run's first entry */
	uint64_t	run_end;
	Transaction transaction;
	Shape	   *shapes;			/* by their ids */
	size_t		nshapes;
	size_t		shapes_room;
	Ranges		gone;			/* entries without a content */
	Ranges		named;			/* what retention entries name */
	bw_idset	ids;			/* of the entries: no two have the same */
} Check;

/* Earlier checkpoints and pinned keys are set; the export's lines come next. */
extern void check_begin(Check *check);
/* The next line, which is changed; false: reading on makes no sense. */
extern bool check_line(Check *check, char *line, size_t len);
/* After the last line: true where everything holds. */
extern bool check_end(Check *check);
extern void check_free(Check *check);

/* leaf and entry: -1 where not known. */
extern void check_problem(Check *check, int64_t leaf, int64_t entry, const char *format,...)
			__attribute__((format(printf, 4, 5)));

/* As realloc(), of count times size bytes; ends the program where there are none. */
extern void *check_allocate(void *old, size_t count, size_t size);

/* A problem after which reading on makes no sense. */
#define check_stop(check, ...) \
	do { check_problem((check), -1, -1, __VA_ARGS__); (check)->stopped = true; return false; } while (0)

/* The shape of this id, or NULL. */
extern const Shape *check_shape(const Check *check, const uint8_t id[BW_SHAPE_ID_LEN]);

/*
 * check_block.c: a line of a block; the one that is open ends, false: nothing more can
 * be said; a transaction that the block has: it must be over, and in no earlier one.
 */
extern bool check_block(Check *check);
extern bool check_block_end(Check *check);
extern void check_xid(Check *check, uint64_t xid);

/* check_entry.c: a line of an entry; leaves that are left out; the transaction that is open is over. */
extern bool check_entry(Check *check);
extern void check_left_out(Check *check);
extern void check_transaction_end(Check *check);

/*
 * earlier.c: the earlier checkpoints of the size that the tree has now; those that are
 * of a block or its size; at the end, their signatures and the ones that were not met.
 */
extern void earlier_compare(Check *check);
extern void earlier_compare_block(Check *check);
extern void earlier_finish(Check *check);

/* erasure.c: an entry has no content; a record of erasures; after the last entry, where all are here. */
extern void check_gone(Check *check, int64_t leaf_index, const bw_leaf *leaf, const uint8_t hash[BW_SHA256_LEN]);
extern void check_named(Check *check, int64_t leaf_index, const bw_leaf *leaf, const bw_bytes *metadata);
extern void check_erasures(Check *check);

/*
 * fields.c: compare what is written for people with what is proved: the record
 * and, where it is shown, the content (NULL: erased).
 */
extern void check_fields(Check *check, const JsonValue *fields, int64_t leaf_index,
						 const bw_leaf *leaf, bool shown, const uint8_t *content, size_t len);

#endif							/* BULWARK_CHECK_H */
