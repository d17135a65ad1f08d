/*
 * view.c
 *		Who may see which entries, and the parts of an entry that the view
 *		bulwark.ledger shows (its images and metadata are rendered by render.c).
 *
 * Superusers and auditors see every entry, an identity with audit:read those of
 * its own tenant within its affiliations.  Row security asks ledger_visible() of
 * every entry; for readers of the second kind its support function adds the tenant
 * as a condition.  Plans that depend on row security are made anew for another
 * role, and the condition names the tenant of whoever runs the plan.
 */
#include "ledger/view.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/record.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/supportnodes.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#define REASON_MAX	1000		/* characters */

/* Why this transaction reads contents; who gives it is an auditor. */
static bool reason_given = false;
static SubTransactionId reason_subid;

bool
LedgerReadsAll(void)
{
	return HasClusterRole(GetUserId(), ROLE_AUDITOR);
}

/* The id in its canonical form, as uuid_out prints it. */
static bool
canonical_uuid(const bw_bytes *text, pg_uuid_t *id)
{
	static const uint8 dashes[] = {8, 13, 18, 23};
	char		digits[32];
	int			n = 0;

	if (text->len != 36)
		return false;
	for (int i = 0; i < lengthof(dashes); i++)
		if (text->data[dashes[i]] != '-')
			return false;
	for (int i = 0; i < 36; i++)
		if (text->data[i] != '-' && n < 32)
			digits[n++] = (char) text->data[i];
	return n == 32 && bw_hex_decode(digits, 32, id->data, UUID_LEN);
}

/* The number in its canonical form, as int8out prints it. */
static bool
canonical_int8(const bw_bytes *text, int64 *key)
{
	char		buffer[MAXINT8LEN + 1];
	char		canonical[MAXINT8LEN + 1];
	char	   *end;

	if (text->len == 0 || text->len > MAXINT8LEN)
		return false;
	memcpy(buffer, text->data, text->len);
	buffer[text->len] = '\0';
	errno = 0;
	*key = strtoll(buffer, &end, 10);
	if (errno != 0 || *end != '\0')
		return false;
	canonical[pg_lltoa(*key, canonical)] = '\0';
	return strcmp(buffer, canonical) == 0;
}

/* An affiliation stands in the record as its column had it: an id, a number, a key. */
static bool
covers_affiliation(const Grant *grant, const bw_bytes *affiliation)
{
	pg_uuid_t	id;
	int64		key;

	if (grant->tenant_wide)
		return true;
	if (affiliation->data == NULL)
		return false;
	return GrantHasText(grant, (const char *) affiliation->data, (int) affiliation->len) ||
		(canonical_uuid(affiliation, &id) && GrantHasId(grant, &id)) ||
		(canonical_int8(affiliation, &key) && GrantHasInt8(grant, key));
}

/* Does the identity have audit:<action> for an entry of that tenant and affiliation? */
static bool
identity_covers(const char *action, const uint8 *tenant, const bw_bytes *affiliation)
{
	const EffectiveIdentity *current = IdentityCurrent();
	const Grant *grant;

	if (current == NULL || tenant == NULL ||
		memcmp(tenant, current->identity.tenant_id.data, UUID_LEN) != 0)
		return false;
	grant = GrantFor("audit", 5, action, (int) strlen(action));
	return grant != NULL && covers_affiliation(grant, affiliation);
}

static void
leaf_place(const bytea *leaf, bw_bytes *tenant, bw_bytes *affiliation)
{
	if (!bw_leaf_get_tenant(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), tenant))
		tenant->data = NULL;
	if (!bw_leaf_get_affiliation(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), affiliation))
		affiliation->data = NULL;
}

bool
LedgerContentVisible(const bytea *leaf, bool *as_tenant)
{
	bw_bytes	tenant;
	bw_bytes	affiliation;

	*as_tenant = false;
	if (superuser())
		return true;
	if (LedgerReadsAll())
		return reason_given;
	*as_tenant = true;
	leaf_place(leaf, &tenant, &affiliation);
	return identity_covers("values", tenant.data, &affiliation);
}

bool
LedgerEntryVisible(const bytea *leaf)
{
	bw_bytes	tenant;
	bw_bytes	affiliation;

	leaf_place(leaf, &tenant, &affiliation);
	return LedgerReadsAll() || identity_covers("read", tenant.data, &affiliation);
}

PG_FUNCTION_INFO_V1(bulwark_ledger_visible);
Datum
bulwark_ledger_visible(PG_FUNCTION_ARGS)
{
	typedef struct Reader
	{
		uint64		epoch;
		Oid			userid;
		bool		reads_all;
	} Reader;
	Reader	   *reader = fcinfo->flinfo->fn_extra;
	bytea	   *leaf;
	bw_bytes	affiliation;

	if (reader == NULL)
		reader = fcinfo->flinfo->fn_extra = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Reader));
	if (reader->epoch != IdentityEpoch || reader->userid != GetUserId())
	{
		reader->reads_all = LedgerReadsAll();
		reader->userid = GetUserId();
		reader->epoch = IdentityEpoch;
	}
	if (reader->reads_all)
		PG_RETURN_BOOL(true);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_BOOL(false);
	leaf = PG_GETARG_BYTEA_PP(1);
	if (!bw_leaf_get_affiliation(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), &affiliation))
		affiliation.data = NULL;
	PG_RETURN_BOOL(identity_covers("read", PG_GETARG_UUID_P(0)->data, &affiliation));
}

/* leaf_tenant(leaf) = bulwark.tenant_id() */
static Expr *
tenant_condition(Node *tenant)
{
	Oid			operator = OpernameGetOprid(list_make2(makeString("pg_catalog"), makeString("=")),
											UUIDOID, UUIDOID);
	Oid			accessor = LookupFuncName(list_make2(makeString(BULWARK_SCHEMA), makeString("tenant_id")),
										  0, NULL, true);

	if (!OidIsValid(operator) || !OidIsValid(accessor))
		return NULL;
	return make_opclause(operator, BOOLOID, false, (Expr *) copyObject(tenant),
						 (Expr *) makeFuncExpr(accessor, UUIDOID, NIL, InvalidOid, InvalidOid,
											   COERCE_EXPLICIT_CALL),
						 InvalidOid, InvalidOid);
}

/*
 * For readers who see only their own, the tenant as a condition of its own before
 * the call, for any plan to use.  A condition is simplified again for each segment:
 * a collation, which the function has no use for, tells a call that has its tenant.
 */
static Node *
simplify(const FuncExpr *call)
{
	FuncExpr   *rest;
	Expr	   *condition;

	if (call->inputcollid == C_COLLATION_OID || LedgerReadsAll())
		return NULL;
	condition = tenant_condition(linitial(call->args));
	if (condition == NULL)
		return NULL;
	rest = copyObject((FuncExpr *) call);
	rest->inputcollid = C_COLLATION_OID;
	return (Node *) make_andclause(list_make2(condition, rest));
}

PG_FUNCTION_INFO_V1(bulwark_ledger_visible_support);
Datum
bulwark_ledger_visible_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (IsA(request, SupportRequestSimplify))
		PG_RETURN_POINTER(simplify(((SupportRequestSimplify *) request)->fcall));
	if (IsA(request, SupportRequestSelectivity))
	{
		/* whom the condition on the tenant lets through, this does */
		((SupportRequestSelectivity *) request)->selectivity = 1.0;
		PG_RETURN_POINTER(request);
	}
	PG_RETURN_POINTER(NULL);
}

/* --- parts of the record ------------------------------------------------------- */

int
LedgerUtf8Length(const char *text, const char *end)
{
	int			n = pg_utf_mblen((const unsigned char *) text);

	return n <= end - text && pg_utf8_islegal((const unsigned char *) text, n) ? n : 0;
}

/* Somebody changed the bytes, which is ledger_verify()'s to tell: what is no UTF-8 shows as question marks. */
static char *
legible(const bw_bytes *bytes)
{
	char	   *copy = pnstrdup((const char *) bytes->data, bytes->len);
	char	   *end = copy + bytes->len;

	for (char *p = copy; p < end;)
	{
		int			n = LedgerUtf8Length(p, end);

		if (*p != '\0' && n > 0)
			p += n;
		else
			*p++ = '?';
	}
	return copy;
}

text *
LedgerText(const bw_bytes *bytes)
{
	char	   *text = unconstify(char *, (const char *) bytes->data);

	/* a database with SQL_ASCII may hold anything, and so may its entries */
	if (GetDatabaseEncoding() != PG_SQL_ASCII)
	{
		if (!pg_verify_mbstr(PG_UTF8, text, (int) bytes->len, true))
			text = legible(bytes);
		text = pg_any_to_server(text, (int) bytes->len, PG_UTF8);
	}
	if (text == (const char *) bytes->data)
		return cstring_to_text_with_len((const char *) bytes->data, (int) bytes->len);
	return cstring_to_text(text);
}

char *
LedgerCString(const bw_bytes *bytes)
{
	return text_to_cstring(LedgerText(bytes));
}

/* An entry that does not parse is ledger_verify()'s to report; here it shows NULL. */
static bool
parse_leaf(FunctionCallInfo fcinfo, bw_leaf *leaf)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);

	return bw_leaf_parse(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), leaf) >= 0;
}

PG_FUNCTION_INFO_V1(bulwark_leaf_source);
Datum
bulwark_leaf_source(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {NULL, "captured", "asserted", "system"};
	bw_leaf		leaf;

	if (!parse_leaf(fcinfo, &leaf))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(names[leaf.source]));
}

PG_FUNCTION_INFO_V1(bulwark_leaf_proof);
Datum
bulwark_leaf_proof(PG_FUNCTION_ARGS)
{
	bw_leaf		leaf;

	if (!parse_leaf(fcinfo, &leaf) || !(leaf.flags & (BW_LEAF_PROVED | BW_LEAF_ASSUMED)))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(leaf.flags & BW_LEAF_ASSUMED ? "assumed" : "token"));
}

PG_FUNCTION_INFO_V1(bulwark_leaf_assumed_by);
Datum
bulwark_leaf_assumed_by(PG_FUNCTION_ARGS)
{
	bw_leaf		leaf;

	if (!parse_leaf(fcinfo, &leaf) || !(leaf.flags & BW_LEAF_ASSUMED))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(LedgerText(&leaf.assumed_by));
}

PG_FUNCTION_INFO_V1(bulwark_leaf_role);
Datum
bulwark_leaf_role(PG_FUNCTION_ARGS)
{
	bw_leaf		leaf;

	if (!parse_leaf(fcinfo, &leaf))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(LedgerText(&leaf.role));
}

PG_FUNCTION_INFO_V1(bulwark_leaf_index);
Datum
bulwark_leaf_index(PG_FUNCTION_ARGS)
{
	bytea	   *leaf = PG_GETARG_BYTEA_PP(0);
	uint32		incarnation;
	uint64		xid;
	uint32		sequence;
	int64		index;

	if (!bw_leaf_get_position(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), &incarnation, &xid, &sequence))
		PG_RETURN_NULL();
	index = LeafIndexOf(incarnation, xid, sequence);
	if (index < 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(index);
}

/* --- parts of the content --------------------------------------------------------- */

bool
LedgerField(const bytea *content, bw_tag tag, bw_field *field)
{
	bw_content	c;

	if (!bw_content_open(&c, VARDATA_ANY(content), VARSIZE_ANY_EXHDR(content)))
		return false;
	while (bw_content_next(&c, field) && field->tag <= tag)
		if (field->tag == tag)
			return true;
	return false;
}

static text *
plain_field(bytea *content, bw_tag tag)
{
	bw_field	field;

	if (!LedgerField(content, tag, &field) || field.mode != BW_MODE_PLAIN)
		return NULL;
	return LedgerText(&field.value);
}

static Datum
content_text(FunctionCallInfo fcinfo, bw_tag tag)
{
	text	   *value = plain_field(PG_GETARG_BYTEA_PP(0), tag);

	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(value);
}

PG_FUNCTION_INFO_V1(bulwark_content_email);
Datum
bulwark_content_email(PG_FUNCTION_ARGS)
{
	return content_text(fcinfo, BW_TAG_EMAIL);
}

PG_FUNCTION_INFO_V1(bulwark_content_route);
Datum
bulwark_content_route(PG_FUNCTION_ARGS)
{
	return content_text(fcinfo, BW_TAG_ROUTE);
}

PG_FUNCTION_INFO_V1(bulwark_content_request_id);
Datum
bulwark_content_request_id(PG_FUNCTION_ARGS)
{
	return content_text(fcinfo, BW_TAG_REQUEST_ID);
}

PG_FUNCTION_INFO_V1(bulwark_content_client_addr);
Datum
bulwark_content_client_addr(PG_FUNCTION_ARGS)
{
	text	   *value = plain_field(PG_GETARG_BYTEA_PP(0), BW_TAG_CLIENT_ADDR);

	if (value == NULL)
		PG_RETURN_NULL();
	return DirectFunctionCall1(inet_in, CStringGetDatum(text_to_cstring(value)));
}

/* --- the reason ----------------------------------------------------------------------- */

PG_FUNCTION_INFO_V1(bulwark_ledger_reason);
Datum
bulwark_ledger_reason(PG_FUNCTION_ARGS)
{
	text	   *reason = PG_GETARG_TEXT_PP(0);
	int			length = pg_mbstrlen_with_len(VARDATA_ANY(reason), VARSIZE_ANY_EXHDR(reason));
	StringInfoData detail;
	AuditEvent	event = {
		.action = "read",
		.entity_type = "bulwark.ledger",
		.durability = AUDIT_DURABLE,
	};

	if (length < 1 || length > REASON_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a reason has 1 to %d characters, not %d", REASON_MAX, length)));
	initStringInfo(&detail);
	appendStringInfoString(&detail, "{\"reason\": ");
	escape_json(&detail, text_to_cstring(reason));
	appendStringInfoChar(&detail, '}');
	event.detail = detail.data;
	AuditEmit(&event);

	reason_given = true;
	reason_subid = GetCurrentSubTransactionId();
	PG_RETURN_VOID();
}

static void
reason_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		reason_given = false;
}

static void
reason_subxact(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (!reason_given || reason_subid != mine)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		reason_given = false;
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		reason_subid = parent;
}

void
ViewInit(void)
{
	RegisterXactCallback(reason_xact, NULL);
	RegisterSubXactCallback(reason_subxact, NULL);
}
