/*
 * schema.c
 *		protect_schema(): which kind each table of a schema is, by its columns and
 *		by where its foreign keys lead.  It says why, and where two answers are
 *		possible it gives none.
 */
#include "tenancy/protect.h"

#include "access/htup_details.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(bulwark_protect_schema);

/*
 * $1 schema, $2 tenant column, $3 affiliation column (may be NULL).
 *
 * tables	the schema's tables, their two columns, and what is known from those; a
 *			table to which tenant columns refer is the tenants' own, by that key
 * open		the tables that only their foreign keys can place
 * reach	tables whose rows have a tenant, by themselves or by some foreign key
 * keys		the foreign keys from open tables into reach; of several the only one
 *			that cannot be NULL is taken, of those the only one that cascades
 * level	how far a table is from one with columns of its own: parents first
 * plan		one line a table
 * Then one line for each statement that serves it: index, protect, validate, fill.
 */
static const char classify[] =
"WITH RECURSIVE tables AS ("
"	SELECT c.oid, c.relkind, format('%I.%I', n.nspname, c.relname) AS name, p.kind AS protected, p.materialize, p.materialized,"
"		p.tenant_column, p.affiliation_column, p.key_columns,"
"		h.inhparent::regclass AS above, t.attname AS tenant, t.type AS tenant_type, t.fits AS tenant_fits, t.attnotnull, t.referring,"
"		a.attname AS affiliation, coalesce(a.fits, false) AS affiliation_fits, pin.tenant_id IS NOT NULL AS pinned"
"	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
"	LEFT JOIN bulwark_internal.pinned_tenant pin ON true"
"	LEFT JOIN bulwark_internal.protections p ON p.relation = c.oid"
"	LEFT JOIN LATERAL (SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = c.oid ORDER BY i.inhseqno LIMIT 1) h ON true"
"	LEFT JOIN LATERAL (SELECT x.attname, x.attnotnull, format_type(x.atttypid, x.atttypmod) AS type,"
"			coalesce(nullif(y.typbasetype, 0), y.oid) IN ('uuid'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'text'::regtype, 'varchar'::regtype) AS fits,"
"			r.referring"
"		FROM pg_attribute x JOIN pg_type y ON y.oid = x.atttypid"
"		LEFT JOIN LATERAL (SELECT f.conrelid::regclass AS referring FROM pg_constraint f JOIN pg_attribute b ON b.attrelid = f.conrelid AND b.attnum = f.conkey[1]"
"			WHERE f.confrelid = c.oid AND f.contype = 'f' AND f.confkey = ARRAY[x.attnum] AND b.attname = $2 AND f.conrelid <> c.oid AND f.conparentid = 0 ORDER BY f.conname, f.oid LIMIT 1) r ON x.attname <> $2"
"		WHERE x.attrelid = c.oid AND x.attnum > 0 AND NOT x.attisdropped AND (x.attname = $2 OR r.referring IS NOT NULL)"
"		ORDER BY x.attname <> $2, x.attnum LIMIT 1) t ON true"
"	LEFT JOIN LATERAL (SELECT x.attname,"
"			coalesce(nullif(y.typbasetype, 0), y.oid) IN ('uuid'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'text'::regtype, 'varchar'::regtype) AS fits"
"		FROM pg_attribute x JOIN pg_type y ON y.oid = x.atttypid WHERE x.attrelid = c.oid AND x.attname = $3 AND x.attnum > 0 AND NOT x.attisdropped) a ON true"
"	WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'"
"		AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
"), open AS ("
"	SELECT * FROM tables WHERE protected IS NULL AND above IS NULL AND tenant IS NULL AND NOT (pinned AND affiliation_fits)"
"), anchors AS ("
"	SELECT oid FROM tables WHERE protected IS NULL AND above IS NULL AND (tenant_fits OR tenant IS NULL AND pinned AND affiliation_fits)"
"	UNION SELECT p.relation FROM bulwark_internal.protections p WHERE p.kind IN ('t', 'c') OR p.kind = 'a' AND p.affiliation_column IS NOT NULL"
"), reach AS ("
"	SELECT oid FROM anchors UNION SELECT f.conrelid FROM reach r JOIN pg_constraint f ON f.confrelid = r.oid AND f.contype = 'f'"
"		JOIN open o ON o.oid = f.conrelid"
"), keys AS ("
"	SELECT k.*, count(*) OVER t AS n, count(*) FILTER (WHERE must) OVER t AS n_must, count(*) FILTER (WHERE must AND cascades) OVER t AS n_cascades,"
"		count(*) OVER (PARTITION BY k.conrelid, k.confrelid) AS n_parent"
"	FROM (SELECT f.conrelid, f.confrelid, f.conname, f.conkey, f.confdeltype = 'c' AS cascades,"
"			NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = f.conrelid AND a.attnum = ANY (f.conkey) AND NOT a.attnotnull) AS must"
"		FROM pg_constraint f JOIN open o ON o.oid = f.conrelid JOIN reach r ON r.oid = f.confrelid"
"		LEFT JOIN pg_constraint above ON above.oid = f.conparentid"
"		WHERE f.contype = 'f' AND f.confrelid <> f.conrelid AND above.conrelid IS DISTINCT FROM f.conrelid) k"
"	WINDOW t AS (PARTITION BY k.conrelid)"
"), chosen AS ("
"	SELECT * FROM keys WHERE n = 1 OR n_must = 1 AND must OR n_must > 1 AND n_cascades = 1 AND must AND cascades"
"), level AS ("
"	SELECT oid, 0 AS level FROM anchors UNION ALL SELECT c.conrelid, l.level + 1 FROM chosen c JOIN level l ON l.oid = c.confrelid"
"), plan AS ("
"	SELECT t.oid, t.name, t.relkind, coalesce(l.level, 0) AS level, t.materialize, t.materialized, v.*"
"	FROM tables t LEFT JOIN chosen c ON c.conrelid = t.oid LEFT JOIN level l ON l.oid = t.oid,"
"	LATERAL (SELECT"
"		CASE WHEN t.above IS NOT NULL THEN 'skip'"
"			WHEN t.protected IS NOT NULL THEN CASE WHEN t.protected = 'a' AND t.affiliation_column IS NULL THEN 'tenant'"
"				ELSE CASE t.protected WHEN 't' THEN 'tenant' WHEN 'a' THEN 'affiliation' WHEN 'c' THEN 'child' ELSE 'shared' END END"
"			WHEN t.tenant_fits THEN 'tenant'"
"			WHEN t.tenant IS NOT NULL THEN 'undecided'"
"			WHEN t.pinned AND t.affiliation_fits THEN 'affiliation'"
"			WHEN c.conrelid IS NOT NULL AND l.oid IS NOT NULL THEN 'child'"
"			WHEN t.pinned AND NOT EXISTS (SELECT FROM keys k WHERE k.conrelid = t.oid) THEN 'tenant'"
"			ELSE 'undecided' END AS kind,"
"		(SELECT string_agg(format('%I to %s', k.conname, k.confrelid::regclass), ', ' ORDER BY k.conname) FROM keys k WHERE k.conrelid = t.oid) AS candidates"
"	) k, LATERAL (SELECT k.kind,"
"		CASE WHEN t.above IS NOT NULL THEN format('partition or inheritance child of %s, protected with it', t.above)"
"			WHEN t.protected IS NOT NULL THEN 'protected already'"
"			WHEN t.tenant_fits THEN format('column %I', t.tenant) || coalesce(', to which ' || quote_ident($2) || ' of ' || t.referring || ' refers', '') || CASE WHEN t.affiliation_fits THEN format(', affiliation in %I', t.affiliation) ELSE '' END"
"				|| CASE WHEN t.attnotnull THEN '' ELSE '; it may be NULL, and such rows are nobody''s' END"
"			WHEN t.tenant IS NOT NULL THEN format('column %I has type %s, which cannot name a tenant', t.tenant, t.tenant_type)"
"			WHEN k.kind = 'affiliation' THEN format('column %I, in a database pinned to a tenant', t.affiliation)"
"			WHEN k.kind = 'child' THEN format('foreign key %I to %s', c.conname, c.confrelid::regclass)"
"				|| CASE WHEN c.n > 1 AND c.n_must = 1 THEN ', the only one that cannot be NULL' WHEN c.n > 1 THEN ', the only one that deletes with its parent' ELSE '' END"
"			WHEN k.kind = 'tenant' THEN 'every row belongs to the pinned tenant'"
"			WHEN c.conrelid IS NOT NULL THEN format('its parent %s is undecided', c.confrelid::regclass)"
"			WHEN k.candidates IS NOT NULL THEN 'several foreign keys could say whose the rows are: ' || k.candidates"
"			ELSE format('no column %I and no foreign key to a table with one', $2) END AS reason,"
"		CASE WHEN t.protected IS NOT NULL OR k.kind = 'skip' THEN NULL"
"			WHEN k.kind = 'undecided' THEN CASE WHEN t.tenant IS NULL AND k.candidates IS NULL THEN"
"				format('-- if every tenant may read it: SELECT bulwark.protect(%L, shared => true)', t.name) END"
"			ELSE format('SELECT bulwark.protect(%s)', concat_ws(', ', quote_literal(t.name),"
"				CASE WHEN t.tenant_fits THEN format('tenant_column => %L', t.tenant) END,"
"				CASE WHEN t.affiliation_fits THEN format('affiliation_column => %L', t.affiliation) END,"
"				CASE WHEN k.kind = 'child' THEN format('parent => %L', (SELECT format('%I.%I', pn.nspname, pc.relname)"
"					FROM pg_class pc JOIN pg_namespace pn ON pn.oid = pc.relnamespace WHERE pc.oid = c.confrelid)) END,"
"				CASE WHEN k.kind = 'child' AND c.n_parent > 1 THEN format('parent_key => %L', c.conname) END)) END AS statement,"
"		CASE WHEN t.materialized THEN ARRAY['" MATERIALIZED_TENANT "', '" MATERIALIZED_AFFILIATION "']::name[]"
"			WHEN k.kind = 'tenant' OR k.kind = 'affiliation' THEN array_remove(ARRAY[coalesce(t.tenant_column, t.tenant),"
"				coalesce(t.affiliation_column, CASE WHEN t.affiliation_fits THEN t.affiliation END)], NULL)"
"			WHEN k.kind = 'child' THEN coalesce(t.key_columns, (SELECT array_agg(a.attname ORDER BY o.n) FROM unnest(c.conkey) WITH ORDINALITY o (num, n)"
"				JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = o.num)) END AS leading"
"	) v"
"), statements AS ("
"	SELECT p.oid, p.level, 2 AS step, p.kind, p.reason, p.statement FROM plan p"
"	UNION ALL"
"	SELECT p.oid, p.level, 1, p.kind, format('no index of %s begins with %I', leaf.oid::regclass, p.leading[1]),"
"		format('CREATE INDEX CONCURRENTLY ON %I.%I (%s)', ln.nspname, leaf.relname,"
"			(SELECT string_agg(quote_ident(l.name), ', ' ORDER BY l.n) FROM unnest(p.leading) WITH ORDINALITY l (name, n)"
"				WHERE EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = leaf.oid AND a.attname = l.name)))"
"	FROM plan p, LATERAL (SELECT p.oid AS relid WHERE p.relkind = 'r' UNION ALL"
"		SELECT x.relid FROM pg_partition_tree(p.oid) x WHERE x.isleaf AND p.relkind = 'p') x"
"	JOIN pg_class leaf ON leaf.oid = x.relid AND leaf.relkind = 'r' JOIN pg_namespace ln ON ln.oid = leaf.relnamespace"
"	WHERE p.kind IN ('tenant', 'affiliation', 'child') AND cardinality(p.leading) > 0"
"		AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
"			WHERE i.indrelid = leaf.oid AND i.indisvalid AND i.indpred IS NULL AND a.attname = p.leading[1])"
"		AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = leaf.oid AND a.attname = p.leading[1])"
"	UNION ALL"
"	SELECT p.oid, p.level, 3, p.kind, format('foreign key %I is not validated', f.conname),"
"		format('ALTER TABLE %s VALIDATE CONSTRAINT %I', p.name, f.conname)"
"	FROM plan p JOIN pg_constraint f ON f.conrelid = p.oid AND f.contype = 'f' AND NOT f.convalidated"
"	WHERE p.kind NOT IN ('skip', 'undecided')"
"	UNION ALL"
"	SELECT p.oid, p.level, 4, p.kind, 'its rows have no materialized tenant yet', format('CALL bulwark.materialize(%L)', p.name)"
"	FROM plan p WHERE p.materialize AND NOT p.materialized AND p.kind <> 'skip'"
") "
"SELECT s.oid::regclass, s.kind, s.reason, s.statement, s.step = 2 AND s.statement NOT LIKE '--%' "
"FROM statements s JOIN plan p ON p.oid = s.oid ORDER BY s.kind IN ('undecided', 'skip'), s.level, p.name, s.step, s.statement";

/* protect_schema(schema, tenant_column, affiliation_column, dry_run) */
Datum
bulwark_protect_schema(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			types[] = {NAMEOID, NAMEOID, NAMEOID};
	Datum		args[3];
	bool		nulls[3];
	bool		dry_run = PG_ARGISNULL(3) || PG_GETARG_BOOL(3);
	List	   *to_run = NIL;
	ListCell   *lc;
	TrustedScope scope;
	Oid			schema;

	for (int i = 0; i < 3; i++)
	{
		nulls[i] = PG_ARGISNULL(i);
		args[i] = nulls[i] ? (Datum) 0 : PG_GETARG_DATUM(i);
	}
	if (nulls[0] || nulls[1])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("schema and tenant_column cannot be NULL")));
	schema = get_namespace_oid(NameStr(*DatumGetName(args[0])), false);
	if (IsCatalogNamespace(schema) || IsToastNamespace(schema) || strcmp(NameStr(*DatumGetName(args[0])), "information_schema") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot protect schema \"%s\": it is a system schema", NameStr(*DatumGetName(args[0]))),
				 errhint("Name a schema of the application's own tables.")));
	InitMaterializedSRF(fcinfo, 0);

	TrustedBegin(&scope);
	/* Compiling this statement takes a hundred times as long as running it. */
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	TrustedExec(classify, lengthof(types), types, args, nulls);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[5];
		bool		isnull[5];

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, values, isnull);
		tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
		if (!isnull[4] && DatumGetBool(values[4]))
		{
			MemoryContext old = MemoryContextSwitchTo(scope.caller);

			to_run = lappend(to_run, TextDatumGetCString(values[3]));
			MemoryContextSwitchTo(old);
		}
	}
	TrustedEnd(&scope);

	/* As the caller, whose rights protect() checks for every table. */
	if (!dry_run && to_run != NIL)
	{
		CallerBegin(&scope);
		foreach(lc, to_run)
			if (SPI_execute(lfirst(lc), false, 0) != SPI_OK_SELECT)
				elog(ERROR, "statement failed: %s", (char *) lfirst(lc));
		TrustedEnd(&scope);
	}
	return (Datum) 0;
}
