/*
 * relation.c
 *		Names of relations by their oid, which may be that of one that is gone: whoever
 *		holds no lock may be told of a table that has just been dropped.
 */
#include "base/base.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"

void
RefuseGone(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("relation with OID %u does not exist", relid)));
}

char *
RelationName(Oid relid)
{
	char	   *name = get_rel_name(relid);
	char	   *schema = name ? get_namespace_name(get_rel_namespace(relid)) : NULL;

	return schema ? quote_qualified_identifier(schema, name) : NULL;
}

char *
QualifiedName(Oid relid)
{
	char	   *name = RelationName(relid);

	if (name == NULL)
		RefuseGone(relid);
	return name;
}
