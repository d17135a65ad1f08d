/*
 * types.c
 *		The encrypted types: ciphertext in, ciphertext out, and nothing else.
 *
 *		What a dump, COPY or a subscription carries is the envelope as it is stored,
 *		so none of them needs a key, and neither a plaintext nor a second layer of
 *		encryption can come in by that way.  What is refused here may well be a
 *		plaintext that went astray: it is quoted nowhere, not in the error, not in
 *		the context that COPY adds, and the server's log leaves the statement out.
 */
#include "secrets/secrets.h"

#include "commands/copy.h"
#include "commands/copyfrom_internal.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define TEXT_PREFIX		"bw1:"
#define TEXT_PREFIX_LEN	4

PG_FUNCTION_INFO_V1(bulwark_secret_in);
PG_FUNCTION_INFO_V1(bulwark_secret_out);
PG_FUNCTION_INFO_V1(bulwark_secret_recv);
PG_FUNCTION_INFO_V1(bulwark_secret_send);
PG_FUNCTION_INFO_V1(bulwark_secret_from_bytea);

/*
 * Whoever called may quote the input in the error's context: COPY, a portal's
 * parameters, a function's statement.  Of these COPY alone is asked, for the line
 * and the column, once its value is out of its hands.
 */
static void
hide_input(bool raises)
{
	static ErrorContextCallback copy;
	ErrorContextCallback *callback = error_context_stack;

	while (callback != NULL && callback->callback != CopyFromErrorCallback)
		callback = callback->previous;
	if (callback != NULL)
	{
		((CopyFromState) callback->arg)->cur_attval = "(not shown)";
		copy = *callback;
		copy.previous = NULL;
	}
	/* whoever catches the error puts the stack back as it was */
	if (raises)
		error_context_stack = callback != NULL ? &copy : NULL;
}

#define REFUSED(type) \
	(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION), \
	 errmsg("not an encrypted value for type %s", (type)), \
	 errdetail("Values of this type are ciphertext, in text as %s and base64url; the input is not shown.", TEXT_PREFIX), \
	 errhint("Plaintext becomes a value through bulwark.encrypt() and its kin."), \
	 errhidestmt(true), errhidecontext(true))

/* The type that the function serves, for messages. */
static const char *
type_name(FunctionCallInfo fcinfo)
{
	Oid			type = get_fn_expr_rettype(fcinfo->flinfo);
	const char *name = fcinfo->flinfo->fn_oid != InvalidOid ? get_func_name(fcinfo->flinfo->fn_oid) : NULL;
	size_t		len = name == NULL ? 0 : strlen(name);

	if (OidIsValid(type) && type != CSTRINGOID)
		return format_type_be(type);
	/* I/O functions are called without an expression: NAME_in, NAME_recv */
	if (len > 3 && strcmp(name + len - 3, "_in") == 0)
		return pnstrdup(name, len - 3);
	if (len > 5 && strcmp(name + len - 5, "_recv") == 0)
		return pnstrdup(name, len - 5);
	return "of bulwark";
}

static bool
is_envelope(const void *data, Size len)
{
	bw_envelope envelope;

	return bw_envelope_parse(data, len, &envelope);
}

/* The value that text stands for, or NULL. */
static bytea *
from_text(const char *text)
{
	size_t		len = strlen(text);
	bytea	   *value;
	ssize_t		n;

	if (len <= TEXT_PREFIX_LEN || memcmp(text, TEXT_PREFIX, TEXT_PREFIX_LEN) != 0)
		return NULL;
	text += TEXT_PREFIX_LEN;
	len -= TEXT_PREFIX_LEN;
	value = palloc(VARHDRSZ + BW_BASE64URL_DECODED_MAX(len));
	n = bw_base64url_decode(text, len, (uint8_t *) VARDATA(value), BW_BASE64URL_DECODED_MAX(len));
	if (n < 0 || !is_envelope(VARDATA(value), n))
	{
		bw_wipe(VARDATA(value), BW_BASE64URL_DECODED_MAX(len));
		pfree(value);
		return NULL;
	}
	SET_VARSIZE(value, VARHDRSZ + n);
	return value;
}

Datum
bulwark_secret_in(PG_FUNCTION_ARGS)
{
	bytea	   *value = from_text(PG_GETARG_CSTRING(0));

	if (value == NULL)
	{
		hide_input(fcinfo->context == NULL);
		BW_ERETURN(fcinfo->context, (Datum) 0, REFUSED(type_name(fcinfo)));
	}
	PG_RETURN_BYTEA_P(value);
}

Datum
bulwark_secret_out(PG_FUNCTION_ARGS)
{
	bytea	   *value = PG_GETARG_BYTEA_PP(0);
	Size		len = VARSIZE_ANY_EXHDR(value);
	size_t		encoded = BW_BASE64URL_ENCODED_LEN(len);
	char	   *text;

	/* the text of the longest values is longer than a datum may be */
	if (encoded > MaxAllocSize - TEXT_PREFIX_LEN - 1)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("encrypted value of %zu bytes is too long for text", len),
				 errhint("Ask for it in binary form, or cast it to bytea.")));
	text = palloc(TEXT_PREFIX_LEN + encoded + 1);
	memcpy(text, TEXT_PREFIX, TEXT_PREFIX_LEN);
	bw_base64url_encode((const uint8_t *) VARDATA_ANY(value), len, text + TEXT_PREFIX_LEN);
	text[TEXT_PREFIX_LEN + encoded] = '\0';
	PG_RETURN_CSTRING(text);
}

Datum
bulwark_secret_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	int			len = message->len - message->cursor;
	const char *data = pq_getmsgbytes(message, len);
	bytea	   *value;

	if (!is_envelope(data, len))
	{
		hide_input(true);
		ereport(ERROR, REFUSED(type_name(fcinfo)));
	}
	value = palloc(VARHDRSZ + len);
	memcpy(VARDATA(value), data, len);
	SET_VARSIZE(value, VARHDRSZ + len);
	PG_RETURN_BYTEA_P(value);
}

Datum
bulwark_secret_send(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(PG_GETARG_BYTEA_P_COPY(0));
}

/* The explicit cast from bytea: the envelope, and nothing but one. */
Datum
bulwark_secret_from_bytea(PG_FUNCTION_ARGS)
{
	bytea	   *value = PG_GETARG_BYTEA_PP(0);

	if (!is_envelope(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)))
	{
		hide_input(true);
		ereport(ERROR, REFUSED(type_name(fcinfo)));
	}
	PG_RETURN_BYTEA_P(PG_GETARG_BYTEA_P_COPY(0));
}
