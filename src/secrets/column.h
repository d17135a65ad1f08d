/*
 * column.h
 *		What the procedures share that rewrite columns of tables: reencrypt.c,
 *		import.c and the files below them.
 */
#ifndef BULWARK_COLUMN_H
#define BULWARK_COLUMN_H

#include "secrets/secrets.h"

#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

/* --- progress.c ------------------------------------------------------------------- */
typedef struct Progress
{
	const char *command;		/* these two are constants of this library */
	const char *phase;
	Oid			relid;
	int64		blocks_total;
	int64		blocks_done;
	int64		values_seen;
	int64		values_written;
	int64		values_unreadable;
	int64		rows_locked;	/* left for later, because somebody else writes them */
} Progress;
/* Until ProgressEnd(), or the back end's end. */
extern Progress *ProgressBegin(const char *command);
extern void ProgressEnd(void);
extern void ProgressInit(void);

/* --- rewrite.c: rows of a table rewritten in batches -------------------------------- */

/*
 * What becomes of a row: fill values, isnull and replace for the columns that
 * change, and say whether any does.  look: nothing is to be made yet, just say
 * whether it would be.  The current memory context is the row's.
 */
typedef bool (*RowRewriter) (TupleTableSlot *row, bool look, Datum *values, bool *isnull, void *arg);

/* A pass over a table that is under way. */
typedef struct RewritePass
{
	Oid			relid;
	BlockNumber blocks;			/* when it began */
	ItemPointerData next;
	bool		done;
	bool		wait;			/* for rows that others have locked, and one row a batch */
	int64		written;
	int64		locked;
} RewritePass;

/* False: there is no such table any more. */
extern bool RewriteBegin(RewritePass *pass, Oid relid, bool wait);
/*
 * The next batch, within this transaction: at most so many rows written.  As the
 * table's owner, restricted; no trigger fires and no policy filters.  What was
 * changed since is rewritten as it is now, never as it was.
 */
extern int64 RewriteBatch(RewritePass *pass, int batch, RowRewriter rewriter, void *arg, Progress *progress);
/* Wait for transactions that may have written to the table what no snapshot shows yet. */
extern void RewriteAwaitWriters(Oid relid);

/* --- reencrypt.c --------------------------------------------------------------------- */
/* The type of an encrypted column, 0 for others. */
extern char SecretColumnType(Oid type);

#endif							/* BULWARK_COLUMN_H */
