-- check_table: a protected table's own structure, who may do what with it, and
-- what stands over it.

CREATE FUNCTION bulwark_internal.check_structure(relations oid[]) RETURNS SETOF bulwark_internal.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT relid::regclass, 'row_security', 'fail',
		format('Row security is not %s: ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY.',
			CASE WHEN relrowsecurity THEN 'forced on the owner' ELSE 'enabled' END, name)
	FROM bulwark_internal.checked_tables
	WHERE relid = ANY ($1) AND NOT (relrowsecurity AND relforcerowsecurity)
UNION ALL
	SELECT t.relid::regclass, 'permissive_policies', 'warning',
		format('Other permissive policies: %s. They open nothing, for the restrictive ones hold beside them; drop what is not needed.',
			string_agg(quote_ident(p.polname), ', ' ORDER BY p.polname))
	FROM bulwark_internal.checked_tables t JOIN pg_policy p ON p.polrelid = t.relid
	WHERE t.relid = ANY ($1) AND p.polpermissive AND p.polname !~ '^bulwark_base_(select|insert|update|delete)$'
	GROUP BY t.relid
UNION ALL
	SELECT t.relid::regclass, 'triggers', 'fail',
		format('Trigger %I does not always fire: ALTER TABLE %s ENABLE ALWAYS TRIGGER %I.', g.tgname, t.name, g.tgname)
	FROM bulwark_internal.checked_tables t
	JOIN pg_trigger g ON g.tgrelid = t.relid
	JOIN pg_proc f ON f.oid = g.tgfoid
	WHERE t.relid = ANY ($1) AND NOT g.tgisinternal AND g.tgenabled <> 'A'
		AND f.pronamespace = 'bulwark_internal'::regnamespace
UNION ALL
	SELECT t.relid::regclass, 'triggers', 'fail',
		format('No trigger calls %s, which %s: call bulwark.protect() as before, which puts it back.', w.func, w.purpose)
	FROM bulwark_internal.checked_tables t
	LEFT JOIN pg_attribute a ON a.attrelid = t.relid AND a.attname = t.tenant_column
	CROSS JOIN LATERAL (VALUES
		('bulwark_internal.tenant_immutable()'::regprocedure, 19, a.attnum::text, 'keeps a row''s tenant from being changed',	-- before update of
			a.attnum IS NOT NULL),
		('bulwark_internal.materialize_row()', 23, '', 'takes the row''s tenant from its parent',	-- before insert or update
			t.materialize),
		('bulwark_internal.materialize_children()', 17, '', 'tells the rows below it of another tenant or affiliation',	-- after update
			t.relid IN (SELECT parent FROM bulwark_internal.protections WHERE materialize)
				OR t.root IN (SELECT parent FROM bulwark_internal.protections WHERE materialize))
	) AS w (func, type, columns, purpose, wanted)
	WHERE t.relid = ANY ($1) AND t.relkind = 'r' AND w.wanted AND NOT EXISTS (
		SELECT FROM pg_trigger g
		WHERE g.tgrelid = t.relid AND g.tgfoid = w.func AND g.tgtype = w.type AND g.tgattr::text = w.columns
			AND (g.tgqual IS NULL OR w.type = 17))
UNION ALL
	SELECT t.relid::regclass, 'tenant_default', 'warning',
		format('%I does not default to the identity''s tenant, so an INSERT must name it: ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s.',
			t.tenant_column, t.name, t.tenant_column,
			CASE coalesce(nullif(b.typbasetype, 0), b.oid)
				WHEN 'uuid'::regtype THEN 'bulwark.tenant_id()'
				WHEN 'text'::regtype THEN 'bulwark.tenant_key()'
				WHEN 'varchar'::regtype THEN 'bulwark.tenant_key()'
				ELSE 'bulwark.tenant_key_int8()' END)
	FROM bulwark_internal.checked_tables t
	JOIN pg_attribute a ON a.attrelid = t.relid AND a.attname = t.tenant_column
	JOIN pg_type b ON b.oid = a.atttypid
	LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	WHERE t.relid = ANY ($1) AND a.attidentity = '' AND a.attgenerated = ''
		AND coalesce(pg_get_expr(d.adbin, d.adrelid), '') !~ '^\(*bulwark\.tenant_(id|key|key_int8)\(\)'
UNION ALL
	SELECT t.relid::regclass, 'children', 'fail',
		format('%s is a %s of %s and %s: %s', i.inhrelid::regclass,
			CASE WHEN c.relispartition THEN 'partition' ELSE 'child' END, t.name,
			CASE WHEN c.relkind = 'f' THEN 'is a foreign table, which has no row security' ELSE 'is not protected' END,
			CASE WHEN c.relkind = 'f' THEN 'detach it, or keep application roles from it.'
				ELSE format('call bulwark.protect(%L) again.', coalesce(t.root, t.relid)::regclass) END)
	FROM bulwark_internal.checked_tables t
	JOIN pg_inherits i ON i.inhparent = t.relid
	JOIN pg_class c ON c.oid = i.inhrelid
	WHERE t.relid = ANY ($1) AND NOT EXISTS (SELECT FROM bulwark_internal.protections p WHERE p.relation = i.inhrelid)
UNION ALL
	SELECT t.relid::regclass, 'column_type',
		CASE WHEN coalesce(nullif(y.typbasetype, 0), y.oid) = 'bpchar'::regtype THEN 'fail' ELSE 'warning' END,
		CASE WHEN coalesce(nullif(y.typbasetype, 0), y.oid) = 'bpchar'::regtype
			THEN format('%I has type %s, which pads with blanks: change it to text.', a.attname, format_type(a.atttypid, a.atttypmod))
			ELSE format('%I has the collation %s, which calls different strings equal. The policies compare bytes too; joins, keys and '
				'GROUP BY do not: ALTER TABLE %s ALTER COLUMN %I TYPE text COLLATE "C".', a.attname, l.oid::regcollation, t.name, a.attname) END
	FROM bulwark_internal.checked_tables t
	JOIN pg_attribute a ON a.attrelid = t.relid AND a.attname IN (t.tenant_column, t.affiliation_column)
	JOIN pg_type y ON y.oid = a.atttypid
	LEFT JOIN pg_collation l ON l.oid = a.attcollation
	WHERE t.relid = ANY ($1) AND (NOT l.collisdeterministic OR coalesce(nullif(y.typbasetype, 0), y.oid) = 'bpchar'::regtype)
UNION ALL
	SELECT t.relid::regclass, 'materialized', 'warning',
		format('It was protected with materialize and holds rows whose columns are not filled, so its policies still read the parent: '
			'CALL bulwark.materialize(%L).', t.name)
	FROM bulwark_internal.checked_tables t
	WHERE t.relid = ANY ($1) AND t.materialize AND NOT t.materialized AND t.root IS NULL
UNION ALL
	SELECT t.relid::regclass, 'pinned_tenant', 'warning',
		format('It was protected while the database was pinned to tenant %s, and shows rows to no other: '
			'call bulwark.unprotect(%L) and bulwark.protect() again, or pin the database as it was.', t.pinned, t.name)
	FROM bulwark_internal.checked_tables t
	WHERE t.relid = ANY ($1) AND t.pinned IS NOT NULL
		AND NOT EXISTS (SELECT FROM bulwark_internal.pinned_tenant x WHERE x.tenant_id = t.pinned);
$$;
REVOKE ALL ON FUNCTION bulwark_internal.check_structure(oid[]) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.check_structure(oid[]) IS
	'Row security, permissive policies, triggers, default, children and column types of protected tables.';

-- Our policies, compared with what protect() would write now.
CREATE FUNCTION bulwark_internal.check_policies(relations oid[]) RETURNS SETOF bulwark_internal.finding
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t record;
	problems text;
BEGIN
	FOR t IN SELECT c.relid, c.name FROM bulwark_internal.checked_tables c WHERE c.relid = ANY (relations) LOOP
		BEGIN
			SELECT string_agg(format('%I %s', w.name, CASE
					WHEN p.polname IS NULL THEN 'is missing'
					WHEN p.polpermissive THEN 'is permissive'
					WHEN p.polroles <> '{0}' THEN 'is not for all roles'
					ELSE 'was altered' END), ', ')
			INTO problems
			FROM bulwark_internal.policies_wanted(t.relid) w
			LEFT JOIN pg_policy p ON p.polrelid = t.relid AND p.polname = w.name
			WHERE p.polname IS NULL OR p.polpermissive OR p.polroles <> '{0}'
				OR (CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update' WHEN 'd' THEN 'delete' ELSE 'all' END,
					pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
				IS DISTINCT FROM (w.command, w.condition, w.check_condition);
		EXCEPTION WHEN OTHERS THEN
			problems := format('what they should be cannot be worked out (%s)', SQLERRM);
		END;
		IF problems IS NOT NULL THEN
			RETURN NEXT ROW(t.relid::regclass, 'policies', 'fail',
				format('Policies of %s: %s. Drop what was altered and call bulwark.protect() as before, which puts back what is missing.', t.name, problems))::bulwark_internal.finding;
		END IF;
	END LOOP;
END
$$;
REVOKE ALL ON FUNCTION bulwark_internal.check_policies(oid[]) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.check_policies(oid[]) IS
	'Are the restrictive policies of protected tables there, for everybody, as protect() writes them?';

CREATE FUNCTION bulwark_internal.check_rights(relations oid[]) RETURNS SETOF bulwark_internal.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT t.relid::regclass, 'app_privileges', 'fail',
		format('%s has %s, which row security does not filter: REVOKE %s ON %s FROM %s.', g.grantee, g.privileges, g.privileges, t.name, g.grantee)
	FROM bulwark_internal.checked_tables t, LATERAL (
		SELECT bulwark_internal.role_names(ARRAY[x.grantee]) AS grantee,
			string_agg(DISTINCT x.privilege_type || coalesce(' (' || quote_ident(x.attname) || ')', ''), ', ') AS privileges
		FROM (SELECT NULL::name AS attname, e.* FROM aclexplode(t.relacl) e
			UNION ALL
			SELECT a.attname, e.* FROM pg_attribute a, aclexplode(a.attacl) e WHERE a.attrelid = t.relid) x
		WHERE x.privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES', 'MAINTAIN')
			AND x.grantee <> t.relowner AND x.grantee IN (SELECT oid FROM bulwark_internal.app_grantees)
		GROUP BY x.grantee) g
	WHERE t.relid = ANY ($1)
UNION ALL
	SELECT t.relid::regclass, 'owner', 'fail',
		format('Its owner %s is an application role, or a role that application roles are members of, and can change or drop it: '
			'ALTER TABLE %s OWNER TO a role that they are not members of.', bulwark_internal.role_names(ARRAY[t.relowner]), t.name)
	FROM bulwark_internal.checked_tables t
	WHERE t.relid = ANY ($1) AND t.relowner IN (SELECT oid FROM bulwark_internal.app_grantees)
UNION ALL
	SELECT f.relid::regclass, 'foreign_code', CASE WHEN f.app THEN 'fail' ELSE 'warning' END,
		format('Function %s, in %s, belongs to %s and not to the table''s owner or a superuser, so what it does can change: '
			'ALTER FUNCTION %s OWNER TO the table''s owner.',
			f.func::regprocedure, f.place, bulwark_internal.role_names(ARRAY[f.proowner]), f.func::regprocedure)
	FROM (
		SELECT DISTINCT u.relid, u.place, p.oid AS func, p.proowner,
			p.proowner IN (SELECT oid FROM bulwark_internal.app_grantees) AS app
		FROM (
			SELECT t.relid, t.relowner, format('index %s', i.indexrelid::regclass) AS place, 'pg_class'::regclass AS classid, i.indexrelid AS objid
			FROM bulwark_internal.checked_tables t JOIN pg_index i ON i.indrelid = t.relid WHERE t.relid = ANY ($1)
			UNION ALL
			SELECT t.relid, t.relowner, format('constraint %I', c.conname), 'pg_constraint'::regclass, c.oid
			FROM bulwark_internal.checked_tables t JOIN pg_constraint c ON c.conrelid = t.relid WHERE t.relid = ANY ($1)
			UNION ALL
			SELECT t.relid, t.relowner, format('the constraint %I of domain %s', c.conname, c.contypid::regtype), 'pg_constraint'::regclass, c.oid
			FROM bulwark_internal.checked_tables t JOIN pg_attribute a ON a.attrelid = t.relid JOIN pg_constraint c ON c.contypid = a.atttypid
			WHERE t.relid = ANY ($1) AND a.attnum > 0
			UNION ALL
			SELECT t.relid, t.relowner, format('the default of %I', a.attname), 'pg_attrdef'::regclass, d.oid
			FROM bulwark_internal.checked_tables t JOIN pg_attrdef d ON d.adrelid = t.relid
			JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE t.relid = ANY ($1)
			UNION ALL
			SELECT t.relid, t.relowner, format('trigger %I', g.tgname), 'pg_trigger'::regclass, g.oid
			FROM bulwark_internal.checked_tables t JOIN pg_trigger g ON g.tgrelid = t.relid WHERE t.relid = ANY ($1) AND NOT g.tgisinternal
		) u
		JOIN pg_depend d ON d.classid = u.classid AND d.objid = u.objid AND d.refclassid = 'pg_proc'::regclass
		JOIN pg_proc p ON p.oid = d.refobjid
		JOIN pg_roles r ON r.oid = p.proowner
		WHERE NOT r.rolsuper AND p.proowner <> u.relowner
	) f;
$$;
REVOKE ALL ON FUNCTION bulwark_internal.check_rights(oid[]) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.check_rights(oid[]) IS
	'Owners of protected tables, privileges of application roles on them, and functions of others that run with them.';

CREATE FUNCTION bulwark_internal.check_readers(relations oid[]) RETURNS SETOF bulwark_internal.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH RECURSIVE reader (base, view, direct) AS (
		SELECT DISTINCT d.refobjid, w.ev_class, true
		FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid
		WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
			AND d.refobjid = ANY ($1) AND w.rulename = '_RETURN'
		UNION
		SELECT r.base, w.ev_class, false
		FROM reader r
		JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = r.view
		JOIN pg_rewrite w ON w.oid = d.objid AND w.rulename = '_RETURN' AND w.ev_class <> r.view
	),
	view AS (
		SELECT DISTINCT ON (r.base, c.oid) r.base, c.oid, r.direct, c.relkind, format('%I.%I', n.nspname, c.relname) AS name,
			bulwark_internal.role_names(ARRAY[c.relowner]) AS owner, bulwark_internal.bypasses(c.relowner) AS bypasses,
			coalesce((SELECT bool_or(o.option_value::boolean) FROM pg_options_to_table(c.reloptions) o
				WHERE o.option_name = 'security_invoker'), false) AS invoker,
			EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee IN (SELECT oid FROM bulwark_internal.app_grantees))
				OR EXISTS (SELECT FROM pg_attribute b, aclexplode(b.attacl) a
					WHERE b.attrelid = c.oid AND a.grantee IN (SELECT oid FROM bulwark_internal.app_grantees)) AS app
		FROM reader r JOIN pg_class c ON c.oid = r.view JOIN pg_namespace n ON n.oid = c.relnamespace
		ORDER BY r.base, c.oid, r.direct DESC
	)
	SELECT base::regclass, 'views', CASE WHEN bypasses THEN 'fail' ELSE 'warning' END,
		format('View %s reads it with the rights of %s%s: ALTER VIEW %s SET (security_invoker = true).', name, owner,
			CASE WHEN bypasses THEN ', to whom no policy applies' ELSE '' END, name)
	FROM view WHERE relkind = 'v' AND direct AND NOT invoker
UNION ALL
	SELECT base::regclass, 'materialized_views', CASE WHEN app THEN 'fail' ELSE 'warning' END,
		format('Materialized view %s holds rows of it for all who may read it%s', name,
			CASE WHEN app THEN format(', application roles too: revoke what they have on %s, or make it a protected table.', name)
				ELSE ': grant it to no application role.' END)
	FROM view WHERE relkind = 'm'
UNION ALL
	SELECT t.relid::regclass, 'rules', CASE WHEN bulwark_internal.bypasses(t.relowner) THEN 'fail' ELSE 'warning' END,
		format('Rule %I runs with the rights of %s%s: make it a trigger, or drop it.', w.rulename, bulwark_internal.role_names(ARRAY[t.relowner]),
			CASE WHEN bulwark_internal.bypasses(t.relowner) THEN ', to whom no policy applies' ELSE '' END)
	FROM bulwark_internal.checked_tables t JOIN pg_rewrite w ON w.ev_class = t.relid
	WHERE t.relid = ANY ($1)
UNION ALL
	SELECT t.relid::regclass, 'cascades', 'warning',
		format('Foreign key %s writes rows as %s, to whom no policy applies, and so run triggers on them: %s. '
			'ALTER TABLE %s OWNER TO a role that is no superuser and has no BYPASSRLS.',
			k.names, bulwark_internal.role_names(ARRAY[t.relowner]), g.names, t.name)
	FROM bulwark_internal.checked_tables t
	CROSS JOIN LATERAL (SELECT string_agg(quote_ident(conname), ', ' ORDER BY conname) AS names
		FROM pg_constraint WHERE conrelid = t.relid AND contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))) k
	CROSS JOIN LATERAL (SELECT string_agg(quote_ident(r.tgname), ', ' ORDER BY r.tgname) AS names
		FROM pg_trigger r JOIN pg_proc f ON f.oid = r.tgfoid
		WHERE r.tgrelid = t.relid AND NOT r.tgisinternal AND r.tgenabled <> 'D' AND NOT f.prosecdef
			AND f.pronamespace NOT IN ('bulwark_internal'::regnamespace, 'pg_catalog'::regnamespace)) g
	WHERE t.relid = ANY ($1) AND k.names IS NOT NULL AND g.names IS NOT NULL AND bulwark_internal.bypasses(t.relowner)
UNION ALL
	SELECT t.relid::regclass, 'publications', 'warning',
		format('Publication %I sends rows of all tenants to its subscribers: drop the table from it unless they are protected as well.', p.pubname)
	FROM bulwark_internal.checked_tables t
	JOIN pg_class c ON c.oid = t.relid
	JOIN pg_publication p ON p.puballtables
		OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = t.relid)
		OR EXISTS (SELECT FROM pg_publication_namespace s WHERE s.pnpubid = p.oid AND s.pnnspid = c.relnamespace)
	WHERE t.relid = ANY ($1);
$$;
REVOKE ALL ON FUNCTION bulwark_internal.check_readers(oid[]) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.check_readers(oid[]) IS
	'Views, materialized views, rules, cascades and publications over protected tables.';
