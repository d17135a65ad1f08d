/*
 * compat.h
 *		The one place (with bulwark.c) that knows PostgreSQL's versions.  Its
 *		first part serves code that also compiles outside the server.
 */
#ifndef BULWARK_COMPAT_H
#define BULWARK_COMPAT_H

#ifdef FRONTEND
#include "postgres_fe.h"
#else
#include "postgres.h"
#endif

#include "common/jsonapi.h"

#if PG_VERSION_NUM < 150000
#error "bulwark needs PostgreSQL 15 or later"
#endif

/* On whose rights a relation of a plan, or of a query, is read: InvalidOid is the current user. */
#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
#define BW_CHECK_AS_USER(stmt, rte) \
	((rte)->perminfoindex != 0 ? getRTEPermissionInfo((stmt)->permInfos, (rte))->checkAsUser : InvalidOid)
#define BW_QUERY_CHECK_AS_USER(query, rte) \
	((rte)->perminfoindex != 0 ? getRTEPermissionInfo((query)->rteperminfos, (rte))->checkAsUser : InvalidOid)
#else
#define BW_CHECK_AS_USER(stmt, rte)	((rte)->checkAsUser)
#define BW_QUERY_CHECK_AS_USER(query, rte)	((rte)->checkAsUser)
#endif

/* Index scans count for EXPLAIN since 18. */
#if PG_VERSION_NUM >= 180000
#define BW_INDEX_BEGINSCAN(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), NULL, (nkeys), 0)
#else
#define BW_INDEX_BEGINSCAN(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), (nkeys), 0)
#endif

/* JSON lexer over a buffer with a known length. */
#if PG_VERSION_NUM >= 170000
#define BW_JSON_LEX(json, len, enc)	makeJsonLexContextCstringLen(NULL, (json), (len), (enc), true)
#else
#define BW_JSON_LEX(json, len, enc)	makeJsonLexContextCstringLen((char *) (json), (len), (enc), true)
#endif

/* JSON semantic actions can stop the parser since 16. */
#if PG_VERSION_NUM >= 160000
#define BW_JSON_ACTION	JsonParseErrorType
#define BW_JSON_ACTION_RETURN(error)	return (error) ? JSON_SEM_ACTION_FAILED : JSON_SUCCESS
#else
#define BW_JSON_ACTION	void
#define BW_JSON_ACTION_RETURN(error)	return
#endif

#ifndef FRONTEND

#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Symbols are hidden by default; before 16 the core macro exports too few. */
#if PG_VERSION_NUM < 160000
#undef PG_FUNCTION_INFO_V1
#define PG_FUNCTION_INFO_V1(funcname) \
extern PGDLLEXPORT Datum funcname(PG_FUNCTION_ARGS); \
extern PGDLLEXPORT const Pg_finfo_record * CppConcat(pg_finfo_,funcname)(void); \
const Pg_finfo_record * \
CppConcat(pg_finfo_,funcname) (void) \
{ \
	static const Pg_finfo_record my_finfo = { 1 }; \
	return &my_finfo; \
} \
extern int no_such_variable
#endif

/* The number of a back end's PGPROC, and its local transaction id. */
#if PG_VERSION_NUM >= 170000
#define BW_PROC_NUMBER(proc)	((int) GetNumberFromPGProc(proc))
#define BW_LXID(proc)			((proc)->vxid.lxid)
#else
#define BW_PROC_NUMBER(proc)	((proc)->pgprocno)
#define BW_LXID(proc)			((proc)->lxid)
#endif

/* ExecutorRun lost its execute_once argument in 18. */
#if PG_VERSION_NUM >= 180000
#define BW_RUN_PARAMS	QueryDesc *queryDesc, ScanDirection direction, uint64 count
#define BW_RUN_ARGS		queryDesc, direction, count
#else
#define BW_RUN_PARAMS	QueryDesc *queryDesc, ScanDirection direction, uint64 count, bool execute_once
#define BW_RUN_ARGS		queryDesc, direction, count, execute_once
#endif

/* Keys over periods, and keys that are not enforced, came with 18. */
#if PG_VERSION_NUM >= 180000
#define BW_KEY_HAS_PERIOD(con)	((con)->conperiod)
#define BW_KEY_IS_ENFORCED(con)	((con)->conenforced)
#else
#define BW_KEY_HAS_PERIOD(con)	false
#define BW_KEY_IS_ENFORCED(con)	true
#endif

/* The index of a primary key, deferrable or not. */
#if PG_VERSION_NUM >= 180000
#define BW_PRIMARY_KEY_INDEX(rel)	RelationGetPrimaryKeyIndex((rel), true)
#else
#define BW_PRIMARY_KEY_INDEX(rel)	RelationGetPrimaryKeyIndex(rel)
#endif

/* An index made by us, without a check of rights. */
#if PG_VERSION_NUM >= 160000
#define BW_DEFINE_INDEX(relid, stmt) \
	DefineIndex((relid), (stmt), InvalidOid, InvalidOid, InvalidOid, -1, false, false, false, false, true)
#else
#define BW_DEFINE_INDEX(relid, stmt) \
	DefineIndex((relid), (stmt), InvalidOid, InvalidOid, InvalidOid, false, false, false, false, true)
#endif

/* An update says since 16 which indexes it needs, and they which of them to serve. */
#if PG_VERSION_NUM >= 160000
#define BW_SIMPLE_HEAP_UPDATE(rel, tid, tuple) \
	do { TU_UpdateIndexes indexes_; simple_heap_update((rel), (tid), (tuple), &indexes_); } while (0)
#define BW_INSERT_INDEX_TUPLES(target, slot, estate) \
	ExecInsertIndexTuples((target), (slot), (estate), false, false, NULL, NIL, false)
#else
#define BW_SIMPLE_HEAP_UPDATE(rel, tid, tuple)	simple_heap_update((rel), (tid), (tuple))
#define BW_INSERT_INDEX_TUPLES(target, slot, estate) \
	ExecInsertIndexTuples((target), (slot), (estate), false, false, NULL, NIL)
#endif

/* The oldest transaction that the commit log knows. */
#if PG_VERSION_NUM >= 170000
#define BW_OLDEST_CLOG_XID	(TransamVariables->oldestClogXid)
#else
#define BW_OLDEST_CLOG_XID	(ShmemVariableCache->oldestClogXid)
#endif

/* The number of a relation's file. */
#if PG_VERSION_NUM >= 160000
#define BW_FILENODE(rel)	((rel)->rd_locator.relNumber)
#else
#define BW_FILENODE(rel)	((rel)->rd_node.relNode)
#endif

/* Sorted datums come as copies where that is asked for since 16, and always before. */
#if PG_VERSION_NUM >= 160000
#define BW_TUPLESORT_GETDATUM(state, value, isnull) \
	tuplesort_getdatum((state), true, true, (value), (isnull), NULL)
#else
#define BW_TUPLESORT_GETDATUM(state, value, isnull) \
	tuplesort_getdatum((state), true, (value), (isnull), NULL)
#endif

/* Does this back end hold that very lock?  It may ask for stronger ones, too, since 17. */
#if PG_VERSION_NUM >= 170000
#define BW_LOCK_HELD(tag, mode)	LockHeldByMe((tag), (mode), false)
#else
#define BW_LOCK_HELD(tag, mode)	LockHeldByMe((tag), (mode))
#endif

/* Before a declaration; 18 renamed what stood after it. */
#if PG_VERSION_NUM >= 180000
#define BW_NORETURN	pg_noreturn
#else
#define BW_NORETURN	__attribute__((noreturn))
#endif

/* The namespaces of storage parameters are const since 18. */
#if PG_VERSION_NUM >= 180000
#define BW_RELOPT_NAMESPACES(names)	((const char *const *) (names))
#else
#define BW_RELOPT_NAMESPACES(names)	(names)
#endif

/* Names in text can fail softly since 16. */
#if PG_VERSION_NUM >= 160000
#define BW_QUALIFIED_NAME_LIST(string)	stringToQualifiedNameList((string), NULL)
#else
#define BW_QUALIFIED_NAME_LIST(string)	stringToQualifiedNameList(string)
#endif

/* An input function that refuses can be asked not to raise since 16. */
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#define BW_ERETURN(escontext, value, ...)	ereturn((escontext), (value), __VA_ARGS__)
#else
#define BW_ERETURN(escontext, value, ...) \
	do { ereport(ERROR, __VA_ARGS__); return (value); } while (0)
#endif

/* A GUC's extra must come from the allocator that guc.c frees it with. */
#if PG_VERSION_NUM >= 160000
#define BW_GUC_ALLOC(size)	guc_malloc(LOG, (size))
#define BW_GUC_STRDUP(s)	guc_strdup(LOG, (s))
#else
#define BW_GUC_ALLOC(size)	malloc(size)
#define BW_GUC_STRDUP(s)	strdup(s)
#endif

/* The records of all settings. */
static inline struct config_generic **
BwAllSettings(int *n)
{
#if PG_VERSION_NUM >= 160000
	return get_guc_variables(n);
#else
	*n = GetNumConfigOptions();
	return get_guc_variables();
#endif
}

/* The record of a setting that exists, in whatever case, or NULL. */
static inline struct config_generic *
BwFindSetting(const char *name)
{
#if PG_VERSION_NUM >= 160000
	return find_option(name, false, true, 0);
#else
	int			n;
	struct config_generic **all = BwAllSettings(&n);

	for (int i = 0; i < n; i++)
		if (pg_strcasecmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
#endif
}

#if PG_VERSION_NUM >= 160000
#define BW_COMPAT_OPTIONS_OTHER	COMPAT_OPTIONS_OTHER
#else
#define BW_COMPAT_OPTIONS_OTHER	COMPAT_OPTIONS_CLIENT
#endif

#if PG_VERSION_NUM >= 160000
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#define BW_OWNS_DATABASE(dbid, roleid) \
	object_ownercheck(DatabaseRelationId, (dbid), (roleid))
#define BW_OWNS_RELATION(relid, roleid) \
	object_ownercheck(RelationRelationId, (relid), (roleid))
#define BW_MAY_USE_SCHEMA(schema, roleid) \
	(object_aclcheck(NamespaceRelationId, (schema), (roleid), ACL_USAGE) == ACLCHECK_OK)
#else
#define BW_OWNS_DATABASE(dbid, roleid) \
	pg_database_ownercheck((dbid), (roleid))
#define BW_OWNS_RELATION(relid, roleid) \
	pg_class_ownercheck((relid), (roleid))
#define BW_MAY_USE_SCHEMA(schema, roleid) \
	(pg_namespace_aclcheck((schema), (roleid), ACL_USAGE) == ACLCHECK_OK)
#endif

/* What GRANT of a role says beside the roles, as DefElems: 16 has more than ADMIN. */
#if PG_VERSION_NUM >= 160000
#define BW_GRANT_ROLE_OPTIONS(stmt)	((stmt)->opt)
#else
#define BW_GRANT_ROLE_OPTIONS(stmt) \
	((stmt)->admin_opt ? list_make1(makeDefElem("admin", (Node *) makeBoolean(true), -1)) : NIL)
#endif

/* Which privileges a plan needs on relations: nodes of a list, and what is in one. */
#if PG_VERSION_NUM >= 160000
typedef RTEPermissionInfo BwPermission;
#define BW_PERMISSIONS(stmt)	((stmt)->permInfos)
#define BW_PERMISSION_RELID(node)	(((RTEPermissionInfo *) (node))->relid)
#define BW_PERMISSION_BITS(node)	(((RTEPermissionInfo *) (node))->requiredPerms)
#define BW_PERMISSION_OF(stmt, rte) \
	((rte)->perminfoindex != 0 ? (void *) getRTEPermissionInfo((stmt)->permInfos, (rte)) : NULL)
#else
typedef RangeTblEntry BwPermission;
#define BW_PERMISSIONS(stmt)	((stmt)->rtable)
#define BW_PERMISSION_RELID(node)	(((RangeTblEntry *) (node))->relid)
#define BW_PERMISSION_BITS(node) \
	(((RangeTblEntry *) (node))->rtekind == RTE_RELATION ? ((RangeTblEntry *) (node))->requiredPerms : 0)
#define BW_PERMISSION_OF(stmt, rte)	((void *) (rte))
#endif

#endif							/* !FRONTEND */

#endif							/* BULWARK_COMPAT_H */
