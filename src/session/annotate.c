/*
 * annotate.c
 *		What the application asserts about the request that it serves: for the
 *		ledger, marked as asserted, once per transaction, bounded.
 */
#include "session/session.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#define ANNOTATION_MAX	8192

static Annotation annotation;
static bool annotated = false;
static SubTransactionId annotated_in;
static const Annotation *lent_annotation = NULL;

const Annotation *
AnnotationCurrent(void)
{
	if (lent_annotation != NULL)
		return lent_annotation;
	return annotated ? &annotation : NULL;
}

void
AnnotationLend(const Annotation *lent)
{
	lent_annotation = lent;
}

static char *
keep(char *text)
{
	return MemoryContextStrdup(TopTransactionContext, text);
}

PG_FUNCTION_INFO_V1(bulwark_annotate);
Datum
bulwark_annotate(PG_FUNCTION_ARGS)
{
	char	   *part[4] = {NULL, NULL, NULL, NULL};
	Size		total = 0;

	if (annotated)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this transaction is already annotated")));

	for (int i = 0; i < 2; i++)
		if (!PG_ARGISNULL(i))
			part[i] = text_to_cstring(PG_GETARG_TEXT_PP(i));
	if (!PG_ARGISNULL(2))
		part[2] = DatumGetCString(DirectFunctionCall1(inet_out, PG_GETARG_DATUM(2)));
	if (!PG_ARGISNULL(3))
	{
		Jsonb	   *metadata = PG_GETARG_JSONB_P(3);

		part[3] = JsonbToCString(NULL, &metadata->root, VARSIZE(metadata));
	}
	for (int i = 0; i < 4; i++)
		total += part[i] ? strlen(part[i]) : 0;
	if (total > ANNOTATION_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("annotation of %zu bytes exceeds the limit of %d", total, ANNOTATION_MAX)));

	annotation.route = part[0] ? keep(part[0]) : NULL;
	annotation.request_id = part[1] ? keep(part[1]) : NULL;
	annotation.client_addr = part[2] ? keep(part[2]) : NULL;
	annotation.metadata = part[3] ? keep(part[3]) : NULL;
	annotated_in = GetCurrentSubTransactionId();
	annotated = true;
	PG_RETURN_VOID();
}

static void
annotate_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		annotated = false;
}

static void
annotate_subxact(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (!annotated || annotated_in != mine)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		annotated = false;
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		annotated_in = parent;
}

void
AnnotateInit(void)
{
	RegisterXactCallback(annotate_xact, NULL);
	RegisterSubXactCallback(annotate_subxact, NULL);
}
