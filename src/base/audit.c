/*
 * audit.c
 *		How siblings work together without knowing each other: the sink for audit
 *		events, which the ledger registers, and the sealer of its contents.
 */
#include "base/base.h"

static AuditSink sink = NULL;
static const ContentSealer *content_sealer = NULL;

void
AuditSinkRegister(AuditSink newsink)
{
	sink = newsink;
}

void
AuditEmit(const AuditEvent *event)
{
	if (sink)
		sink(event);
}

void
ContentSealerRegister(const ContentSealer *sealer)
{
	content_sealer = sealer;
}

const ContentSealer *
ContentSealerGet(void)
{
	return content_sealer;
}
