/*
 * plan.c
 *		What a plan needs privileges on.
 */
#include "base/base.h"

#include "access/sysattr.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
#include "utils/acl.h"

/* What the plan needs on the table whose rows it changes; NULL: it changes none. */
static void *
target_of(const PlannedStmt *stmt)
{
	return stmt->planTree != NULL && IsA(stmt->planTree, ModifyTable) ?
		BW_PERMISSION_OF(stmt, rt_fetch(((ModifyTable *) stmt->planTree)->nominalRelation, stmt->rtable)) : NULL;
}

void
RequiredRelations(const PlannedStmt *stmt, VisitRelation visit, void *arg)
{
	void	   *target = target_of(stmt);
	ListCell   *lc;

	foreach(lc, BW_PERMISSIONS(stmt))
	{
		void	   *node = lfirst(lc);

		if (BW_PERMISSION_BITS(node) != 0)
			visit(BW_PERMISSION_RELID(node), BW_PERMISSION_BITS(node), node == target, arg);
	}
}

void
VisitRelationAs(const PlannedStmt *stmt, Index root, Oid relid, VisitRelation visit, void *arg)
{
	void	   *node = BW_PERMISSION_OF(stmt, rt_fetch(root, stmt->rtable));

	if (node != NULL && BW_PERMISSION_BITS(node) != 0)
		visit(relid, BW_PERMISSION_BITS(node), node == target_of(stmt), arg);
}

/* Where a statement names no column, a privilege on any will do. */
static bool
columns_denied(Oid relid, Oid user, Bitmapset *columns, AclMode mode)
{
	int			column = -1;

	if (bms_is_empty(columns))
		return pg_attribute_aclcheck_all(relid, user, mode, ACLMASK_ANY) != ACLCHECK_OK;
	while ((column = bms_next_member(columns, column)) >= 0)
	{
		AttrNumber	attno = column + FirstLowInvalidHeapAttributeNumber;

		if ((attno == InvalidAttrNumber ? pg_attribute_aclcheck_all(relid, user, mode, ACLMASK_ALL) :
			 pg_attribute_aclcheck(relid, attno, user, mode)) != ACLCHECK_OK)
			return true;
	}
	return false;
}

static bool
is_denied(const BwPermission *permission)
{
	AclMode		required = BW_PERMISSION_BITS(permission);
	Oid			relid = permission->relid;
	Oid			user = OidIsValid(permission->checkAsUser) ? permission->checkAsUser : GetUserId();
	AclMode		missing;

	if (required == 0)
		return false;
	missing = required & ~pg_class_aclmask(relid, user, required, ACLMASK_ALL);
	return (missing & ~(ACL_SELECT | ACL_INSERT | ACL_UPDATE)) != 0 ||
		((missing & ACL_SELECT) && columns_denied(relid, user, permission->selectedCols, ACL_SELECT)) ||
		((missing & ACL_INSERT) && columns_denied(relid, user, permission->insertedCols, ACL_INSERT)) ||
		((missing & ACL_UPDATE) && columns_denied(relid, user, permission->updatedCols, ACL_UPDATE));
}

Oid
DeniedRelation(const PlannedStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, BW_PERMISSIONS(stmt))
		if (is_denied(lfirst(lc)))
			return BW_PERMISSION_RELID(lfirst(lc));
	return InvalidOid;
}
