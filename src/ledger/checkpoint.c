/*
 * checkpoint.c
 *		The newest checkpoint, the key that signs it, and another key.
 */
#include "ledger/sealer.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "common/note.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"

PG_FUNCTION_INFO_V1(bulwark_ledger_checkpoint);
PG_FUNCTION_INFO_V1(bulwark_ledger_public_key);
PG_FUNCTION_INFO_V1(bulwark_ledger_key_rotate);

/* Of the newest block; NULL: nothing is sealed yet. */
static char *
newest_checkpoint(void)
{
	static const AttrNumber key[] = {1};
	Oid			relid = PrivateRelid("ledger_blocks");
	Relation	rel;
	HeapTuple	row;
	char	   *checkpoint = NULL;
	bool		isnull;

	if (!OidIsValid(relid))
		return NULL;
	rel = table_open(relid, AccessShareLock);
	row = StoreFetch(rel, key, lengthof(key), NULL, 0, BackwardScanDirection);
	if (row != NULL)
		checkpoint = TextDatumGetCString(heap_getattr(row, 8, RelationGetDescr(rel), &isnull));
	table_close(rel, AccessShareLock);
	return checkpoint;
}

void
EpochVkey(const Log *log, uint32 epoch, bw_vkey *vkey)
{
	uint8		key[BW_ED25519_KEY_LEN];

	LedgerPublicKey(epoch, key);
	if (!bw_vkey_make(LogOrigin(log), key, vkey))
		elog(ERROR, "the ledger's origin is no name of a key");
}

uint32
CheckpointSigner(const Log *log, const char *checkpoint)
{
	Size		body_len;

	for (uint32 epoch = LedgerSignEpoch(); checkpoint != NULL && epoch > 0; epoch--)
	{
		bw_vkey		vkey;

		EpochVkey(log, epoch, &vkey);
		if (bw_note_verify(checkpoint, strlen(checkpoint), &vkey, &body_len) == BW_NOTE_OK)
			return epoch;
	}
	return 0;
}

/* bulwark.ledger_checkpoint() */
Datum
bulwark_ledger_checkpoint(PG_FUNCTION_ARGS)
{
	char	   *checkpoint = newest_checkpoint();

	if (checkpoint == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(checkpoint));
}

/* bulwark.ledger_public_key(): of the newest checkpoint; before it, of the first. */
Datum
bulwark_ledger_public_key(PG_FUNCTION_ARGS)
{
	const Log  *log = LogPeek();
	char	   *checkpoint = newest_checkpoint();
	bw_vkey		vkey;
	char		text[BW_VKEY_MAX];
	uint32		epoch;

	if (log == NULL)
		PG_RETURN_NULL();
	epoch = CheckpointSigner(log, checkpoint);
	if (epoch == 0)
		epoch = LedgerSignEpoch();
	EpochVkey(log, epoch, &vkey);
	bw_vkey_format(&vkey, text);
	PG_RETURN_TEXT_P(cstring_to_text(text));
}

/* The leaf that says which key follows which. */
static void
append_key_change(const Log *log, uint32 before, uint32 after)
{
	Entry		entry = {.source = SOURCE_SYSTEM, .action = "configuration", .entity_type = "bulwark.ledger_key"};
	bw_vkey		vkey;
	char		old_text[BW_VKEY_MAX];
	char		new_text[BW_VKEY_MAX];

	EpochVkey(log, before, &vkey);
	bw_vkey_format(&vkey, old_text);
	EpochVkey(log, after, &vkey);
	bw_vkey_format(&vkey, new_text);
	entry.entity_id = psprintf("%u", after);
	entry.metadata = psprintf("{\"operation\": \"key_rotate\", \"old\": \"%s\", \"new\": \"%s\"}", old_text, new_text);
	LedgerAppend(&entry);
}

/* bulwark.ledger_key_rotate(): its verifier form */
Datum
bulwark_ledger_key_rotate(PG_FUNCTION_ARGS)
{
	const Log  *log;
	TrustedScope scope;
	char	   *checkpoint;
	bw_vkey		vkey;
	char		text[BW_VKEY_MAX];
	uint32		before;
	uint32		after;

	PreventCommandDuringRecovery("bulwark.ledger_key_rotate()");
	log = LogOpen();
	(void) LedgerLock(LEDGER_LOCK_LOG, true);
	checkpoint = newest_checkpoint();
	before = LedgerSignEpoch();
	if (checkpoint == NULL || CheckpointSigner(log, checkpoint) != before)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the ledger's newest key has not signed a checkpoint yet"),
				 errhint("Wait until bulwark.ledger_seal() has sealed something.")));

	TrustedBegin(&scope);
	LedgerWorkBegin();
	after = LedgerKeysMake();
	LedgerWorkEnd();
	TrustedEnd(&scope);
	append_key_change(log, before, after);
	CacheInvalidateRelcacheByRelid(PrivateRelid("ledger_log"));
	EpochVkey(log, after, &vkey);
	bw_vkey_format(&vkey, text);
	PG_RETURN_TEXT_P(cstring_to_text(text));
}
