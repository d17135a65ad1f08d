/*
 * spool.h
 *		What the two ends of the spool share: spool.c, which any back end calls,
 *		and drain.c, which the worker of the database calls.
 */
#ifndef BULWARK_SPOOL_H
#define BULWARK_SPOOL_H

#include "ledger/log.h"

#define SPOOL_RELATIONS		8
#define SPOOL_RECORD_MAX	(32 * 1024)
#define SPOOL_METADATA_MAX	AUDIT_DETAIL_MAX

typedef enum SpoolText
{
	TEXT_ACTION, TEXT_ENTITY_TYPE, TEXT_ENTITY_ID, TEXT_AFFILIATION, TEXT_METADATA, TEXT_EMAIL,
	TEXT_ROUTE, TEXT_REQUEST_ID, TEXT_CLIENT_ADDR, TEXT_REQUEST_METADATA
} SpoolText;
#define SPOOL_TEXTS (TEXT_REQUEST_METADATA + 1)

/* An entry in the spool: this, and its texts behind it, each ended by a NUL. */
typedef struct SpoolRecord
{
	uint32		len;			/* of all */
	SpoolClass	class;
	EntrySource source;
	TimestampTz time;
	EntryActor	actor;			/* its e-mail is a text, or found by the worker */
	pg_uuid_t	tenant;
	bool		has_tenant;
	bool		annotated;
	int			nrelations;		/* of a denied statement: the worker finds their names */
	Oid			relations[SPOOL_RELATIONS];
	uint32		text_len[SPOOL_TEXTS];	/* with the NUL; 0: NULL */
} SpoolRecord;

/* --- spool_record.c ----------------------------------------------------------- */

/* The record of an entry, in a buffer that lasts until the next call. */
extern SpoolRecord *SpoolEncode(SpoolClass class, const Entry *entry, const Oid *relations, int nrelations);
/* One of the record's texts, or NULL. */
extern const char *SpoolTextOf(const SpoolRecord *record, SpoolText which);
/* What floods are told apart by; reads also by what is read, alarms by what they are of. */
extern uint64 SpoolFoldHash(const SpoolRecord *record, uint64 seed);

/* Note who logged in and whether there is a ledger here. */
extern void SpoolNoteSession(void);
/* Is there a root key?  Cheap. */
extern bool SpoolHasKey(void);
/* What was noted: the extension is installed, its log has begun. */
extern bool SpoolLedgerHere(void);
extern bool SpoolLedgerBegun(void);

/* --- spool.c -------------------------------------------------------------------- */

/* Hand over an entry together with the relations that its statement names. */
extern void SpoolStatement(SpoolClass class, const Entry *entry, const Oid *relations, int nrelations);
/* Would an entry of this back end be kept?  Reads nothing but memory. */
extern bool SpoolServes(void);
/* 55000 unless what is spooled now can be written soon. */
extern void SpoolRequire(void);

/* --- the worker's side ------------------------------------------------------ */

/* An entry taken for writing; it stays in the spool until SpoolWritten. */
typedef struct SpoolTaken
{
	void	   *queued;
	bool		waited_for;
	SpoolRecord *record;
} SpoolTaken;

/* How many more than were kept. */
typedef struct SpoolFolded
{
	int			slot;
	uint64		count;
	SpoolClass	class;
	TimestampTz first;
	TimestampTz last;
	EntryActor	actor;
	char		action[NAMEDATALEN];
	char		entity_type[2 * NAMEDATALEN + 8];
} SpoolFolded;

extern List *SpoolTake(int max, bool *more);
extern List *SpoolTakeFolded(void);
extern void SpoolWritten(List *taken, List *folded);
extern void SpoolNotWritten(List *taken);
/* One that cannot be written: counted with those folded. */
extern void SpoolDiscard(const SpoolTaken *taken);
/* How often has writing it alone failed? */
extern int	SpoolFailures(const SpoolTaken *taken);
/* How many found no place to be counted in. */
extern uint64 SpoolTakeLost(void);
/* The ledger of this database is gone. */
extern void SpoolForget(void);

#endif							/* BULWARK_SPOOL_H */
