-- check_rows: keys and indexes of protected tables, and the rows that they hold.

CREATE FUNCTION bulwark_internal.check_indexes(relations oid[]) RETURNS SETOF bulwark_internal.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	-- A uuid cannot be guessed, so a key with one says nothing.
	SELECT t.relid::regclass, 'unique_keys', 'warning',
		format('Unique across tenants, so a refused INSERT tells that another tenant has the value: %s. '
			'Put %I first: UNIQUE (%I, ...).', string_agg(x.indexrelid::regclass::text, ', ' ORDER BY x.indexrelid), t.decider, t.decider)
	FROM bulwark_internal.checked_tables t
	JOIN pg_index x ON x.indrelid = t.relid
	WHERE t.relid = ANY ($1) AND t.kind IN ('t', 'c') AND t.pinned IS NULL AND t.decider IS NOT NULL
		AND (x.indisunique OR x.indisexclusion)
		AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = x.indexrelid)
		AND NOT EXISTS (SELECT FROM pg_attribute a
			WHERE a.attrelid = x.indexrelid AND a.attnum <= x.indnkeyatts
				AND (a.atttypid = 'uuid'::regtype OR x.indkey[a.attnum - 1] = t.decider_attribute))
	GROUP BY t.relid, t.decider
UNION ALL
	SELECT t.relid::regclass, 'tenant_index', 'warning',
		format('No index begins with %I, so the policies read the whole table: CREATE INDEX CONCURRENTLY ON %s (%I%s).',
			t.decider, t.name, t.decider,
			CASE WHEN t.affiliation_column <> t.decider THEN format(', %I', t.affiliation_column) ELSE '' END)
	FROM bulwark_internal.checked_tables t
	WHERE t.relid = ANY ($1) AND t.relkind = 'r' AND t.decider IS NOT NULL
		AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = t.relid AND x.indisvalid
			AND x.indpred IS NULL AND x.indkey[0] = t.decider_attribute)
UNION ALL
	SELECT o.relid::regclass, 'usable_indexes', 'warning',
		format('The policies keep conditions with these from using index %s, for they are not leakproof: %s. Where they show nothing of '
			'their arguments in an error, a superuser may say so (ALTER FUNCTION %s LEAKPROOF); else let the index begin with the '
			'tenant column, by which it serves all the same.',
			o.index, string_agg(DISTINCT o.operator, ', '), (array_agg(o.func ORDER BY o.strategy))[1])
	FROM (
		SELECT t.relid, x.indexrelid::regclass::text AS index, m.amopstrategy AS strategy,
			format('%s (%s)', p.oprname, format_type(p.oprleft, NULL)) AS operator, p.oprcode::regprocedure::text AS func
		FROM bulwark_internal.checked_tables t
		JOIN pg_index x ON x.indrelid = t.relid AND x.indisvalid
		CROSS JOIN LATERAL unnest(x.indclass) AS k (opclass)
		JOIN pg_opclass c ON c.oid = k.opclass
		JOIN pg_am am ON am.oid = c.opcmethod
		JOIN pg_amop m ON m.amopfamily = c.opcfamily AND m.amoppurpose = 's' AND m.amoplefttype = c.opcintype
			AND (m.amoprighttype = c.opcintype OR am.amname NOT IN ('btree', 'hash'))
		JOIN pg_operator p ON p.oid = m.amopopr
		JOIN pg_proc f ON f.oid = p.oprcode
		WHERE t.relid = ANY ($1) AND NOT f.proleakproof
		UNION ALL
		-- An index for prefixes serves LIKE, which is not in its operator family.
		SELECT t.relid, x.indexrelid::regclass::text, 0::smallint, format('~~ (%s)', format_type(c.opcintype, NULL)),
			CASE WHEN c.opcintype = 'bpchar'::regtype THEN 'bpcharlike(character,text)' ELSE 'textlike(text,text)' END
		FROM bulwark_internal.checked_tables t
		JOIN pg_index x ON x.indrelid = t.relid AND x.indisvalid
		CROSS JOIN LATERAL unnest(x.indclass) AS k (opclass)
		JOIN pg_opclass c ON c.oid = k.opclass
		WHERE t.relid = ANY ($1) AND c.opcname IN ('text_pattern_ops', 'varchar_pattern_ops', 'bpchar_pattern_ops')
			AND NOT (SELECT f.proleakproof FROM pg_proc f WHERE f.oid = 'textlike(text,text)'::regprocedure)
		UNION ALL
		SELECT t.relid, x.indexrelid::regclass::text, 0::smallint, f.oid::regprocedure::text, f.oid::regprocedure::text
		FROM bulwark_internal.checked_tables t
		JOIN pg_index x ON x.indrelid = t.relid AND x.indisvalid
		CROSS JOIN LATERAL regexp_matches(x.indexprs::text, ':(?:op)?funcid (\d+)', 'g') AS m (ids)
		JOIN pg_proc f ON f.oid = m.ids[1]::oid
		WHERE t.relid = ANY ($1) AND NOT f.proleakproof
	) o
	GROUP BY o.relid, o.index;
$$;
REVOKE ALL ON FUNCTION bulwark_internal.check_indexes(oid[]) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.check_indexes(oid[]) IS
	'Unique keys that tell of other tenants, indexes that policies need, and indexes that they make unusable.';

-- Foreign keys between protected tables whose rows could be of two tenants: not
-- those that hold both tenant columns, those by which a child takes its parent's
-- tenant, and those of pinned tables.  One row for each leaf that has the key.
CREATE VIEW bulwark_internal.checked_keys AS
	SELECT c.oid, c.conname, c.conrelid, c.confrelid, c.conkey, c.confkey, c.conpfeqop, t.name, r.name AS referenced_name
	FROM pg_constraint c
	JOIN bulwark_internal.checked_tables t ON t.relid = c.conrelid
	JOIN bulwark_internal.checked_tables r ON r.relid = c.confrelid
	WHERE c.contype = 'f' AND t.relkind = 'r' AND t.kind <> 's' AND r.kind <> 's'
		AND NOT (t.pinned IS NOT NULL AND r.pinned IS NOT NULL)
		AND NOT EXISTS (SELECT FROM pg_constraint d WHERE d.oid = c.conparentid AND d.conrelid = c.conrelid)
		AND coalesce(to_jsonb(c) ->> 'conenforced', 'true') = 'true'	-- a column since 18
		AND NOT EXISTS (SELECT FROM unnest(c.conkey, c.confkey) AS k (own, other)
			JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.own AND a.attname = t.tenant_column
			JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = k.other AND b.attname = r.tenant_column)
		AND NOT (t.kind = 'c' AND t.tenant_column IS NULL AND t.parent = c.confrelid
			AND t.key_columns = (SELECT array_agg(a.attname ORDER BY k.n) FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, n)
				JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum));

-- The tables that telling a row's tenant reads: the table's, and its parents'.
CREATE FUNCTION bulwark_internal.readable_by(owner oid, relation oid) RETURNS boolean
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	next oid := relation;
BEGIN
	WHILE next IS NOT NULL LOOP
		IF NOT (SELECT pg_has_role(owner, c.relowner, 'USAGE') AND has_table_privilege(owner, c.oid, 'SELECT')
				AND has_schema_privilege(owner, c.relnamespace, 'USAGE')
			FROM pg_class c WHERE c.oid = next)
		THEN
			RETURN false;
		END IF;
		next := (SELECT p.parent FROM bulwark_internal.protections p WHERE p.relation = next);
	END LOOP;
	RETURN true;
END
$$;
REVOKE ALL ON FUNCTION bulwark_internal.readable_by(oid, oid) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.readable_by(oid, oid) IS
	'Can a table''s owner, past FORCE ROW LEVEL SECURITY, read the tenants of a relation''s rows?';

-- Two rows' tenants in one form: where one is told by its id and the other by its
-- key, by id.  As a literal, for the owner of a table cannot read our tables.
CREATE FUNCTION bulwark_internal.comparable_tenant(expression text, is_id boolean, other_is_id boolean) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN is_id OR NOT other_is_id THEN format('(%s) COLLATE "C"', expression)
		ELSE format('(%L::jsonb ->> (%s)) COLLATE "C"',
			(SELECT jsonb_object_agg(key, tenant_id) FROM bulwark_internal.tenants), expression) END;
$$;
REVOKE ALL ON FUNCTION bulwark_internal.comparable_tenant(text, boolean, boolean) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.comparable_tenant(text, boolean, boolean) IS
	'SQL that yields a row''s tenant so that another''s, told by id or by key, compares with it.';

-- What a query of ours finds in a table's rows.  What its owner attached to the table
-- may fail, which ends the look at this table and no other check.  The error is not
-- shown: it is the owner's, and may quote rows.
CREATE FUNCTION bulwark_internal.rows_found(relation oid, query text, OUT count bigint, OUT keys text, OUT failure text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	SELECT r.count, r.keys || CASE WHEN r.count > 10 THEN '; ...' ELSE '' END INTO rows_found.count, rows_found.keys
	FROM bulwark_internal.rows_as_owner(relation, format(
		'SELECT count(*), string_agg(q.key, ''; '') FILTER (WHERE q.n <= 10) FROM (SELECT x.key, row_number() OVER () FROM (%s) AS x (key)) AS q (key, n)',
		query)) r;
EXCEPTION WHEN OTHERS OR assert_failure THEN
	failure := format('Not looked at: reading %s fails (%s). An index, a statistics object, a constraint or a policy of its owner calls a function that fails: mend it, or drop it.',
		relation::regclass, SQLSTATE);
END
$$;
REVOKE ALL ON FUNCTION bulwark_internal.rows_found(oid, text) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.rows_found(oid, text) IS
	'How many rows a query of ours yields, read as their table''s owner, and at most ten keys of them; or what is said where they cannot be read.';

CREATE FUNCTION bulwark_internal.check_rows(relations oid[]) RETURNS SETOF bulwark_internal.finding
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t record;
	found_rows record;
	remedy text;
BEGIN
	FOR t IN
		SELECT c.relid, 'null_tenant' AS check_name, 'warning' AS status, c.name, c.tenant_column, NULL::name AS conname, NULL::text AS referenced_name,
			k.label, bulwark_internal.readable_by(c.relowner, c.relid) AS readable,
			format('SELECT %s FROM ONLY %s AS r WHERE r.%I IS NULL', k.expression, c.name, c.tenant_column) AS query
		FROM bulwark_internal.checked_tables c
		JOIN pg_attribute a ON a.attrelid = c.relid AND a.attname = c.tenant_column,
		LATERAL bulwark_internal.row_key(c.relid, 'r') k
		WHERE c.relid = ANY (relations) AND c.relkind = 'r'
			AND (NOT a.attnotnull OR EXISTS (SELECT FROM pg_constraint n
				WHERE n.conrelid = c.relid AND n.contype = 'n' AND NOT n.convalidated))
		UNION ALL
		SELECT f.conrelid, 'foreign_keys', 'fail', f.name, NULL, f.conname, f.referenced_name,
			k.label, bulwark_internal.readable_by(c.relowner, f.conrelid) AND bulwark_internal.readable_by(c.relowner, f.confrelid),
			format('SELECT %s FROM ONLY %s AS r JOIN %s AS k ON %s WHERE %s <> %s', k.expression, f.name, f.referenced_name,
				(SELECT string_agg(format('k.%I OPERATOR(%I.%s) r.%I', b.attname, s.nspname, o.oprname, a.attname), ' AND ')
					FROM unnest(f.conkey, f.confkey, f.conpfeqop) AS x (own, other, operator)
					JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = x.own
					JOIN pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = x.other
					JOIN pg_operator o ON o.oid = x.operator
					JOIN pg_namespace s ON s.oid = o.oprnamespace),
				bulwark_internal.comparable_tenant(e.expression, e.is_id, g.is_id),
				bulwark_internal.comparable_tenant(g.expression, g.is_id, e.is_id))
		FROM bulwark_internal.checked_keys f
		JOIN pg_class c ON c.oid = f.conrelid,
		LATERAL bulwark_internal.row_key(f.conrelid, 'r') k,
		LATERAL bulwark_internal.tenant_expression(f.conrelid, 'r') e,
		LATERAL bulwark_internal.tenant_expression(f.confrelid, 'k') g
		WHERE f.conrelid = ANY (relations)
	LOOP
		IF NOT t.readable THEN
			RETURN NEXT ROW(t.relid::regclass, t.check_name, 'warning', format(
				'Not looked at: the owner of %s cannot read all tables that tell the tenants of its rows. Give the tables one owner.',
				t.name))::bulwark_internal.finding;
			CONTINUE;
		END IF;
		SELECT * INTO found_rows FROM bulwark_internal.rows_found(t.relid, t.query);
		IF found_rows.failure IS NOT NULL THEN
			RETURN NEXT ROW(t.relid::regclass, t.check_name, 'warning', found_rows.failure)::bulwark_internal.finding;
		ELSIF found_rows.count > 0 THEN
			remedy := CASE t.check_name
				WHEN 'null_tenant' THEN format('Rows without a tenant, hidden from all: %s. Set %I in them and make it NOT NULL.',
					found_rows.count, t.tenant_column)
				ELSE format('Rows that refer by %I to a row of another tenant in %s: %s. Correct or delete them.',
					t.conname, t.referenced_name, found_rows.count) END;
			RETURN NEXT ROW(t.relid::regclass, t.check_name, t.status, format('%s %s: %s', remedy, t.label, found_rows.keys))::bulwark_internal.finding;
		END IF;
	END LOOP;

	RETURN QUERY
	SELECT f.conrelid::regclass, 'foreign_key_guards', 'fail',
		format('Nothing keeps %I from referring to another tenant''s row in %s: put both tenant columns into the key, or call '
			'bulwark.unprotect(%L) and bulwark.protect() as before.', f.conname, f.referenced_name, f.name)
	FROM bulwark_internal.checked_keys f
	WHERE f.conrelid = ANY (relations) AND NOT EXISTS (
		SELECT FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid
		WHERE g.tgrelid = f.conrelid AND g.tgconstrrelid = f.confrelid AND g.tgenabled = 'A' AND g.tgqual IS NULL
			AND p.proname = 'fk_guard' AND p.pronamespace = 'bulwark_internal'::regnamespace
			AND g.tgtype = 21	-- AFTER INSERT OR UPDATE, of each row
			AND g.tgargs = convert_to(f.conname, getdatabaseencoding()) || '\x00'::bytea);
END
$$;
REVOKE ALL ON FUNCTION bulwark_internal.check_rows(oid[]) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.check_rows(oid[]) IS
	'Rows without a tenant, foreign keys that join rows of two tenants, and those that nothing guards.';

-- The fifth byte of a value holds its flags (docs/file-formats.md): 2 says that it
-- is bound to a context.
CREATE FUNCTION bulwark_internal.check_contexts(relation oid) RETURNS SETOF bulwark_internal.finding
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t record;
	found_rows record;
BEGIN
	FOR t IN
		SELECT c.oid AS relid, a.attname, k.label,
			format('SELECT %s FROM ONLY %I.%I AS r WHERE get_byte(substring(r.%I::bytea FROM 5 FOR 1), 0) & 2 = 0',
				k.expression, n.nspname, c.relname, a.attname) AS query
		FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		JOIN pg_type y ON y.oid = a.atttypid,
		LATERAL bulwark_internal.row_key(c.oid, 'r') k
		WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND (check_contexts.relation IS NULL OR c.oid = check_contexts.relation)
			AND y.typnamespace = 'bulwark'::regnamespace AND y.typname IN ('secret', 'encrypted_text', 'encrypted_bytea', 'encrypted_jsonb')
		ORDER BY c.oid, a.attnum
	LOOP
		SELECT * INTO found_rows FROM bulwark_internal.rows_found(t.relid, t.query);
		IF found_rows.failure IS NOT NULL THEN
			RETURN NEXT ROW(t.relid::regclass, 'encryption_context', 'warning', found_rows.failure)::bulwark_internal.finding;
		ELSIF found_rows.count > 0 THEN
			RETURN NEXT ROW(t.relid::regclass, 'encryption_context', 'warning', format(
				'Values of %I that open wherever they are moved within their tenant: %s. Encrypt them with a context that says where they belong. %s: %s',
				t.attname, found_rows.count, t.label, found_rows.keys))::bulwark_internal.finding;
		END IF;
	END LOOP;
END
$$;
REVOKE ALL ON FUNCTION bulwark_internal.check_contexts(oid) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.check_contexts(oid) IS
	'Encrypted columns (of one table, or all for NULL) with values that are bound to no context.';
