/*
 * view.h
 *		What the files that show entries to people share.
 */
#ifndef BULWARK_LEDGER_VIEW_H
#define BULWARK_LEDGER_VIEW_H

#include "ledger/log.h"

#include "common/record.h"
#include "fmgr.h"
#include "utils/jsonb.h"

/* --- view.c -------------------------------------------------------------------- */

/* Does the current user see every entry, whoever's? */
extern bool LedgerReadsAll(void);
/*
 * May the reader see old, new and metadata of this entry?  *as_tenant: because an
 * identity may, within what the current user may select.
 */
extern bool LedgerContentVisible(const bytea *leaf, bool *as_tenant);
/* The field of a content; false where there is none. */
extern bool LedgerField(const bytea *content, bw_tag tag, bw_field *field);
/* The length of the UTF-8 sequence that text begins with; 0: it begins with none. */
extern int	LedgerUtf8Length(const char *text, const char *end);
/* UTF-8 of an entry as text of this database. */
extern text *LedgerText(const bw_bytes *bytes);
extern char *LedgerCString(const bw_bytes *bytes);

/* May the reader see that the entry exists? */
extern bool LedgerEntryVisible(const bytea *leaf);

/* --- render.c ------------------------------------------------------------------- */

/* May the reader have all of the content, as bytes? */
extern bool LedgerContentWhole(const bytea *leaf, const bytea *content);
/* --- value.c -------------------------------------------------------------------- */

extern void PushString(JsonbParseState **state, JsonbIteratorToken token, const char *text, int len);
extern void PushNull(JsonbParseState **state, JsonbIteratorToken token);
extern void PushJsonb(JsonbParseState **state, JsonbIteratorToken token, Jsonb *jsonb);
/* An object with one member, that says what the entry holds instead of a value. */
extern void PushNote(JsonbParseState **state, const char *name, const char *text);
/* The value of a column, what stands for a large one, and one that is sealed. */
extern void PushValue(JsonbParseState **state, const bw_column *column, const bw_bytes *bytes);
extern void PushDigest(JsonbParseState **state, const bw_bytes *value);
extern void PushSealed(JsonbParseState **state, const bw_column *column, const bw_bytes *value,
					   const uint8 *tenant);
/* JSON that jsonb does not take (\u0000, a huge number) is NULL. */
extern Jsonb *JsonOrNull(const char *text);
/* RFC 3339, in UTC, of microseconds since 1970. */
extern char *LedgerTimeText(int64 since_1970);

/* The view's decoders, which exports use as well. */
extern Datum bulwark_leaf_source(PG_FUNCTION_ARGS);
extern Datum bulwark_leaf_proof(PG_FUNCTION_ARGS);
extern Datum bulwark_leaf_assumed_by(PG_FUNCTION_ARGS);
extern Datum bulwark_entry_metadata(PG_FUNCTION_ARGS);
extern Datum bulwark_entry_old(PG_FUNCTION_ARGS);
extern Datum bulwark_entry_new(PG_FUNCTION_ARGS);

/* --- row.c: an entry as the view's columns -------------------------------------- */
typedef enum LedgerColumn
{
	COL_ENTRY_ID, COL_LEAF_INDEX, COL_OCCURRED_AT, COL_SOURCE, COL_ACTION, COL_TENANT_ID,
	COL_AFFILIATION, COL_ACTOR_ID, COL_ACTOR_EMAIL, COL_ACTOR_PROOF, COL_ASSUMED_BY, COL_DB_ROLE,
	COL_ENTITY_TYPE, COL_ENTITY_ID, COL_ROUTE, COL_REQUEST_ID, COL_CLIENT_ADDR, COL_METADATA,
	COL_OLD, COL_NEW,
	LEDGER_COLUMNS
} LedgerColumn;

extern const char *const ledger_column_names[LEDGER_COLUMNS];

/* NULL where the view shows NULL; in the server's encoding, times as RFC 3339 in UTC. */
typedef struct LedgerRow
{
	int64		time;			/* microseconds since 1970 */
	char	   *text[LEDGER_COLUMNS];
} LedgerRow;

/* content may be NULL: erased; leaf_index -1: not sealed */
extern void LedgerRowFill(LedgerRow *row, bytea *leaf, bytea *content, int64 leaf_index);

/* --- format.c: a row as a line ---------------------------------------------------- */
typedef struct LedgerFormat
{
	const char *name;
	void		(*header) (StringInfo line);	/* NULL: none */
	void		(*row) (StringInfo line, const LedgerRow *row);
} LedgerFormat;
/* NULL: no such format.  The object of the fields is what jsonl shows of an entry. */
extern const LedgerFormat *LedgerFormatByName(const char *name);
extern void LedgerRowObject(StringInfo line, const LedgerRow *row);

#endif							/* BULWARK_LEDGER_VIEW_H */
