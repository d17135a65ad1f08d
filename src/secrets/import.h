/*
 * import.h
 *		What import.c and residue_scan.c share.
 */
#ifndef BULWARK_IMPORT_H
#define BULWARK_IMPORT_H

#include "secrets/column.h"
#include "secrets/values.h"

#include "funcapi.h"

/* --- residue_scan.c: is anything left? -------------------------------------------- */
typedef struct ResidueSamples ResidueSamples;

typedef struct Residue
{
	int			samples;
	int64		pages;			/* that were looked at */
	int64		hits;			/* that hold a sample's bytes */
	int64		bare;			/* values of the column that are no envelopes */
} Residue;

extern ResidueSamples *ResidueBegin(MemoryContext context);
/* Remember some values of the column as it is now. */
extern void ResidueSample(ResidueSamples *samples, Oid relid, const char *column);
/* Look for them in every page of the table, its TOAST table and its indexes. */
extern void ResidueScan(const ResidueSamples *samples, Oid relid, const char *column, Residue *residue);

/* --- import.c ------------------------------------------------------------------------ */
typedef struct Import
{
	char	   *column;
	char	   *shadow;			/* the second column; needs no quotes */
	char	   *trigger;		/* nor does this */
	SecretType	type;
	int			batch;
	Datum		context;		/* text, of all rows ... */
	char	   *context_column; /* ... or the column that has it, or NULL */
	bool		has_tenant;		/* the caller names one for all rows */
	pg_uuid_t	tenant;
	Oid			pgp;			/* pgcrypto's function, or InvalidOid */
	Datum		passphrase;
	MemoryContext lasting;
	MemoryContext work;
	Progress   *progress;
	int64		rows;			/* in the end: that were written */
	char	   *name;			/* in the end: of the table */
	ResidueSamples *samples;
	bool		locked;			/* nobody writes any more: every counterpart is opened and compared */

	/* of the table that is worked on */
	Oid			table;
	AttrNumber	column_attno;
	AttrNumber	shadow_attno;
	AttrNumber	context_attno;	/* 0: none */
	bool		one_owner;		/* of all its rows, else tenant_attno says whose each is */
	pg_uuid_t	owner;
	AttrNumber	tenant_attno;
	Oid			column_type;
	Oid			column_output;
	Oid			context_output;
	Oid			tenant_type;
	Oid			tenant_output;
} Import;

/* --- import_row.c: the values of rows ------------------------------------------------ */
/* A column's number; 42703 if there is none, 42P01 if there is no such table. */
extern AttrNumber ImportColumn(Oid relid, const char *name);
/* What is where in this table: partitions may order their columns otherwise. */
extern void ImportLookAt(Import *import, Oid table);
/* A RowRewriter; its argument is the Import, which has looked at the table. */
extern bool ImportRow(TupleTableSlot *row, bool look, Datum *values, bool *isnull, void *arg);

#endif							/* BULWARK_IMPORT_H */
