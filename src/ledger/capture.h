/*
 * capture.h
 *		What the files that capture rows share among themselves.
 */
#ifndef BULWARK_CAPTURE_H
#define BULWARK_CAPTURE_H

#include "ledger/entry.h"

#include "executor/tuptable.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/rel.h"

/* --- shape.c: relations as capture needs them, cached ------------------------------ */

/* Settings that a type's output may depend on. */
#define PIN_DATESTYLE	0x01
#define PIN_INTERVAL	0x02
#define PIN_FLOAT		0x04
#define PIN_BYTEA		0x08
#define PIN_TIMEZONE	0x10
#define PIN_MONEY		0x20
#define PIN_PATH		0x40
#define PIN_ALL			0x7f

typedef struct CaptureColumn
{
	AttrNumber	attno;
	uint8		encoding;		/* bw_encoding */
	bool		excluded;
	bool		sealed;
	int16		attlen;
	bool		attbyval;
	Oid			type;			/* below any domain */
	uint8		pins;			/* of the output function */
	FmgrInfo	output;
} CaptureColumn;

/* How a column names a tenant. */
typedef enum TenantKey
{
	TENANT_BY_NONE, TENANT_BY_ID, TENANT_BY_INT, TENANT_BY_TEXT
} TenantKey;

typedef struct CaptureShape
{
	Oid			relid;			/* hash key */
	bool		valid;
	MemoryContext context;		/* of all that follows */
	Oid			row_trigger;	/* audit()'s own; InvalidOid: not audited */
	Oid			truncate_trigger;
	char	   *entity_type;	/* schema-qualified, in the database's encoding */
	int			ncolumns;
	CaptureColumn *columns;
	int			nkeys;			/* what names a row; 0: nothing does */
	int		   *keys;			/* indexes of columns */
	uint8		key_pins;
	uint8		row_pins;
	bool		pinned;			/* all rows are this tenant's */
	pg_uuid_t	pinned_tenant;
	AttrNumber	tenant_attno;	/* 0: none */
	int			tenant_at;		/* its index in columns; -1: none */
	TenantKey	tenant_key;
	Oid			tenant_type;	/* below any domain */
	AttrNumber	affiliation_attno;	/* 0: none */
	int			affiliation_at;
	FmgrInfo	affiliation_output;
	bytea	   *shape;
	uint8		shape_id[BW_SHAPE_ID_LEN];
	uint64		stored;			/* the generation in which it was seen stored */
} CaptureShape;

/* Valid until the next command. */
extern CaptureShape *CaptureShapeOf(Relation rel);
/* The shape is in ledger_shapes when this returns. */
extern void CaptureShapeStore(CaptureShape *shape);
/* "schema.relation", quoted where SQL would need it. */
extern char *CaptureEntityType(Oid relid);
extern void ShapeInit(void);

/* --- image.c: rows as bytes ---------------------------------------------------------- */

/* Pin settings that the outputs need and the session has otherwise; pass the
 * result to UnpinSettings. */
extern int	PinSettings(uint8 pins);
extern void UnpinSettings(int level);

typedef enum ColumnChange
{
	COLUMN_CHANGED = 0,
	COLUMN_SAME,
	COLUMN_SAME_APART			/* the same, and stored out of line */
} ColumnChange;

/* Compare the rows of an update column by column; true if any differs. */
extern bool ImageCompare(const CaptureShape *shape, TupleTableSlot *old, TupleTableSlot *new,
						 uint8 *changes);
typedef enum ImageSide
{
	IMAGE_OLD, IMAGE_NEW
} ImageSide;

/* The image of a row, in place of what buf had; changes NULL: not an update. */
extern void ImageBuild(StringInfo buf, const CaptureShape *shape, TupleTableSlot *slot,
					   ImageSide side, const uint8 *changes, const uint8 *salt,
					   const pg_uuid_t *tenant);
/* What names the row: text of its key, in the database's encoding, or NULL. */
extern char *ImageKey(const CaptureShape *shape, TupleTableSlot *slot);
extern void ImageInit(void);

/* --- whose.c: tenants by the keys that rows have ------------------------------------------- */
/* The tenant and affiliation of a row; false, or NULL, where it does not say. */
extern bool RowTenant(const CaptureShape *shape, TupleTableSlot *slot, pg_uuid_t *tenant);
extern char *RowAffiliation(const CaptureShape *shape, TupleTableSlot *slot);
extern void WhoseInit(void);

/* --- audited.c -------------------------------------------------------------------------- */
extern void AuditedInit(void);

/* --- application.c ---------------------------------------------------------------------- */
extern void ApplicationInit(void);

#endif							/* BULWARK_CAPTURE_H */
