/*
 * values.h
 *		What the files that take plaintexts and give them share among themselves.
 */
#ifndef BULWARK_VALUES_H
#define BULWARK_VALUES_H

#include "secrets/secrets.h"

/* --- encoding.c: texts on their way in and out ---------------------------------- */

/* The bytes of an argument; copy is memory of ours that holds them, if any does. */
typedef struct Plain
{
	const char *data;
	Size		len;
	void	   *copy;
	Size		copy_size;
} Plain;

extern void PlainOfBytes(Plain *plain, Datum argument);
/* The same in UTF-8; 22021, which names it and does not show it. */
extern void PlainOfText(Plain *plain, Datum argument, const char *what);
/* In normalization form C; 22023 for more than 255 combining marks in a row. */
extern void PlainNormalize(Plain *plain);
/* Wipe what is ours of it; on an error that happens by itself. */
extern void PlainForget(Plain *plain);
/* An opened value, SecretAlloc'd, as text of this database. */
extern text *PlainToText(text *opened);
/* The jsonb of a text; false: it is no document. */
extern bool PlainToDocument(char *json, Datum *document);

/* --- derived.c ------------------------------------------------------------------- */

/* Does the function, or one that it calls, have a body that does not show what it does? */
extern bool DerivedUnread(Oid function);

/* --- kept_function.c ------------------------------------------------------------- */

extern void KeptFunctionInit(void);
/* Is one at work whose results are kept, and whose body does not show what it does? */
extern bool KeptFunctionRuns(void);

/* --- value.c --------------------------------------------------------------------- */

/* The context that an argument gives, as it is bound; 22004 for NULL. */
extern void ContextOfArgument(Plain *context, FunctionCallInfo fcinfo, int n);
/* The context that a text is; 22023 for one that is too long to be given again. */
extern void ContextOfText(Plain *context, Datum value);
/* 22023 unless the purpose is 1 to 1,000 bytes; palloc'd. */
extern char *PurposeOfArgument(FunctionCallInfo fcinfo, int n);
/* A credential of that tenant opened for a trusted back end, metered and on the record. */
extern text *CredentialOpen(SecretOperation operation, const pg_uuid_t *tenant_id, const bytea *sealed,
							const Plain *context, const char *purpose);
/* How much lengths of credentials, and of data, are padded. */
extern int	secret_padding;
extern int	data_padding;

#endif							/* BULWARK_VALUES_H */
