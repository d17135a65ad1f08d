/*
 * audit.c
 *		The sink for audit events: the ledger registers one, the others report.
 */
#include "base/base.h"

static AuditSink sink = NULL;

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
