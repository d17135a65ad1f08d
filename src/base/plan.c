/*
 * plan.c
 *		What a plan needs privileges on.
 */
#include "base/base.h"

#include "nodes/plannodes.h"
#include "parser/parsetree.h"

void
RequiredRelations(const PlannedStmt *stmt, VisitRelation visit, void *arg)
{
	void	   *target = NULL;
	ListCell   *lc;

	if (stmt->planTree != NULL && IsA(stmt->planTree, ModifyTable))
		target = BW_PERMISSION_OF(stmt, rt_fetch(((ModifyTable *) stmt->planTree)->nominalRelation, stmt->rtable));

	foreach(lc, BW_PERMISSIONS(stmt))
	{
		void	   *node = lfirst(lc);

		if (BW_PERMISSION_BITS(node) != 0)
			visit(BW_PERMISSION_RELID(node), BW_PERMISSION_BITS(node), node == target, arg);
	}
}
