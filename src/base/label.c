/*
 * label.c
 *		The security label provider "bulwark".  It marks the cluster roles that
 *		the install script made, so that it can tell them in another database
 *		from roles that somebody prepared.  The mark is evidence, so only a
 *		superuser sets or removes it.
 */
#include "base/base.h"

#include "catalog/pg_authid.h"
#include "commands/seclabel.h"

#define CLUSTER_ROLE_LABEL	"bulwark:cluster-role"

/* A superuser may put our one label on a role, and take it off. */
static void
check_relabel(const ObjectAddress *object, const char *label)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to set a security label of bulwark")));

	if (object->classId != AuthIdRelationId)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("security labels of bulwark are for roles only")));

	if (label != NULL && strcmp(label, CLUSTER_ROLE_LABEL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" is not a security label of bulwark", label),
				 errhint("The only one is \"%s\".", CLUSTER_ROLE_LABEL)));
}

void
LabelInit(void)
{
	register_label_provider("bulwark", check_relabel);
}
