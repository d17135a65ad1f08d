/*
 * capture.c
 *		The triggers of audited relations: one entry for each row that was
 *		stored, in the transaction that stored it.
 *
 * They are AFTER triggers and read what the statement stored, so what others made of
 * a row before, or suppressed, is what is recorded.  They fire before all other
 * AFTER triggers, those of foreign keys too: what these change comes after what made
 * them change it.  (Should a key be violated, the entries go with the rest.)
 */
#include "ledger/capture.h"

#include "commands/trigger.h"
#include "utils/memutils.h"

static bool skip_unchanged = false; /* bulwark.ledger_skip_unchanged */

static StringInfoData old_image,
			new_image;

#define IMAGE_KEEP	(1 << 20)		/* larger buffers are let go */

/* --- buffers ------------------------------------------------------------------------- */

/* A buffer that lasts from one row to the next. */
static void
ready(StringInfo buf)
{
	MemoryContext old;

	if (buf->data != NULL && buf->maxlen <= IMAGE_KEEP)
		return;
	if (buf->data != NULL)
		pfree(buf->data);
	buf->data = NULL;
	old = MemoryContextSwitchTo(TopMemoryContext);
	initStringInfo(buf);
	MemoryContextSwitchTo(old);
}

/* --- rows ------------------------------------------------------------------------------ */

static TriggerData *
require_trigger(FunctionCallInfo fcinfo, const char *name, bool row)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) != !row)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("bulwark_internal.%s() must be called as an AFTER %s trigger", name, row ? "ROW" : "STATEMENT")));
	return trigger;
}

/*
 * Only audit() makes triggers that record.  By another one a row would be recorded
 * twice, or one of a table that nobody says is audited: of what was called by an
 * audited table's name meanwhile, say.
 */
static void
require_own(const TriggerData *trigger, Oid own)
{
	if (likely(trigger->tg_trigger->tgoid == own))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("trigger \"%s\" of table \"%s\" records changes, and bulwark.audit() does not know of it",
					trigger->tg_trigger->tgname, RelationGetRelationName(trigger->tg_relation)),
			 errdetail("What is recorded is a change of a registered table, once."),
			 errhint("Drop the trigger, or, where a dump brought it without its ledger, call bulwark.audit() for the table.")));
}

/* Does the update put the row under another tenant or affiliation? */
static bool
moves_row(const CaptureShape *shape, const uint8 *changes)
{
	return (shape->tenant_at >= 0 && changes[shape->tenant_at] == COLUMN_CHANGED) ||
		(shape->affiliation_at >= 0 && changes[shape->affiliation_at] == COLUMN_CHANGED);
}

/*
 * Fill what the entry says of a row; old or new may be NULL.  An entry has one
 * tenant and one affiliation, whose readers see it: a row that goes from one to
 * another is gone there, with what it held there, and new here.
 */
static void
record_row(CaptureShape *shape, const char *action, TupleTableSlot *old, TupleTableSlot *new)
{
	TupleTableSlot *named = old != NULL ? old : new;	/* the row that was acted on */
	TupleTableSlot *stored = new != NULL ? new : old;
	Entry		entry = {.source = SOURCE_CAPTURED, .action = action, .annotated = true};
	uint8		salt[ENTRY_SALT_LEN];
	uint8		changes[MaxTupleAttributeNumber];
	const uint8 *update = NULL;
	pg_uuid_t	tenant;
	const pg_uuid_t *sealed_for = NULL;
	int			pinned;

	if (old != NULL && new != NULL)
	{
		if (!ImageCompare(shape, old, new, changes) && skip_unchanged)
			return;
		if (moves_row(shape, changes))
		{
			record_row(shape, "delete", old, NULL);
			record_row(shape, "insert", NULL, new);
			return;
		}
		update = changes;
	}

	CaptureShapeStore(shape);
	EntrySalt(salt);
	entry.salt = salt;
	entry.shape = shape->shape_id;
	entry.entity_type = shape->entity_type;
	if (RowTenant(shape, stored, &tenant))
		sealed_for = entry.tenant = &tenant;
	else if (EntryActorPeek()->present)
		sealed_for = &EntryActorPeek()->tenant;

	pinned = PinSettings(shape->row_pins | shape->key_pins);
	entry.affiliation = RowAffiliation(shape, stored);
	entry.entity_id = ImageKey(shape, named);
	if (old != NULL)
	{
		ready(&old_image);
		ImageBuild(&old_image, shape, old, IMAGE_OLD, update, salt, sealed_for);
		entry.old_image = (Bytes) {old_image.data, old_image.len};
	}
	if (new != NULL)
	{
		ready(&new_image);
		ImageBuild(&new_image, shape, new, IMAGE_NEW, update, salt, sealed_for);
		entry.new_image = (Bytes) {new_image.data, new_image.len};
	}
	UnpinSettings(pinned);
	LedgerAppend(&entry);
}

PG_FUNCTION_INFO_V1(bulwark_capture);
Datum
bulwark_capture(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = require_trigger(fcinfo, "capture", true);
	CaptureShape *shape = CaptureShapeOf(trigger->tg_relation);

	require_own(trigger, shape->row_trigger);
	slot_getallattrs(trigger->tg_trigslot);
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		record_row(shape, "insert", NULL, trigger->tg_trigslot);
	else if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		record_row(shape, "delete", trigger->tg_trigslot, NULL);
	else
	{
		slot_getallattrs(trigger->tg_newslot);
		record_row(shape, "update", trigger->tg_trigslot, trigger->tg_newslot);
	}
	return PointerGetDatum(NULL);
}

PG_FUNCTION_INFO_V1(bulwark_capture_truncate);
Datum
bulwark_capture_truncate(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = require_trigger(fcinfo, "capture_truncate", false);
	CaptureShape *shape = CaptureShapeOf(trigger->tg_relation);
	Entry		entry = {.source = SOURCE_CAPTURED, .action = "truncate", .annotated = true};

	require_own(trigger, shape->truncate_trigger);
	entry.entity_type = shape->entity_type;
	if (shape->pinned)
		entry.tenant = &shape->pinned_tenant;
	LedgerAppend(&entry);
	return PointerGetDatum(NULL);
}

void
CaptureInit(void)
{
	DefineCustomBoolVariable("bulwark.ledger_skip_unchanged",
							 "An UPDATE that changes no column of a row is not recorded.",
							 NULL, &skip_unchanged, false, PGC_SUSET, 0, NULL, NULL, NULL);
	ShapeInit();
	ImageInit();
	WhoseInit();
	AuditedInit();
	ApplicationInit();
}
