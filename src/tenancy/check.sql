-- check: isolation_check() attacks the set-up from inside.  This part holds what
-- all checks share: who the application roles are, what is protected, and how a
-- finding looks.  A check says nothing where all is well; isolation_check() adds
-- its name and promise (see isolation_checks()).

CREATE TYPE bulwark_internal.finding AS (relation regclass, check_name text, status text, detail text);

-- bulwark_app and all that are granted it, at any depth; superusers only when
-- they were granted it.
CREATE VIEW bulwark_internal.app_roles AS
	WITH RECURSIVE app AS (
		SELECT oid FROM pg_roles WHERE rolname = 'bulwark_app'
		UNION
		SELECT m.member FROM pg_auth_members m JOIN app ON m.roleid = app.oid
	)
	SELECT r.* FROM app JOIN pg_roles r USING (oid);

-- Whatever is granted to one of these, an application role has: PUBLIC (0), the
-- application roles, and every role that they are members of.
CREATE VIEW bulwark_internal.app_grantees AS
	WITH RECURSIVE holder AS (
		SELECT oid FROM bulwark_internal.app_roles
		UNION
		SELECT m.roleid FROM pg_auth_members m JOIN holder ON m.member = holder.oid
	)
	SELECT oid FROM holder UNION ALL SELECT 0;

CREATE FUNCTION bulwark_internal.role_names(roles oid[]) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT string_agg(DISTINCT coalesce(r.rolname, 'PUBLIC'), ', ')
	FROM unnest($1) AS g (oid) LEFT JOIN pg_roles r ON r.oid = g.oid;
$$;
REVOKE ALL ON FUNCTION bulwark_internal.role_names(oid[]) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.role_names(oid[]) IS 'Names of roles for people; 0 is PUBLIC.';

-- Does row security mean nothing to that role?
CREATE FUNCTION bulwark_internal.bypasses(role oid) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE oid = $1;
$$;
REVOKE ALL ON FUNCTION bulwark_internal.bypasses(oid) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.bypasses(oid) IS 'Is the role a superuser, or does it have BYPASSRLS?';

-- What is protected, with what the checks ask about it.  tenant_attribute is the
-- column that tells the row's tenant, decider the one that an index should lead
-- with.
CREATE VIEW bulwark_internal.checked_tables AS
	SELECT p.relation::oid AS relid, format('%I.%I', n.nspname, c.relname) AS name,
		p.kind, p.tenant_column, p.affiliation_column, p.parent::oid AS parent, p.key_columns, p.parent_columns,
		p.root::oid AS root, p.pinned, p.materialize, p.materialized,
		c.relkind, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity,
		t.attnum AS tenant_attribute, d.attname AS decider, d.attnum AS decider_attribute
	FROM bulwark_internal.protections p
	JOIN pg_class c ON c.oid = p.relation
	JOIN pg_namespace n ON n.oid = c.relnamespace
	LEFT JOIN pg_attribute t ON t.attrelid = c.oid AND NOT t.attisdropped
		AND t.attname = coalesce(p.tenant_column, CASE WHEN p.materialized THEN 'bulwark_tenant' END)
	LEFT JOIN pg_attribute d ON d.attrelid = c.oid AND NOT d.attisdropped
		AND d.attname = coalesce(t.attname, p.affiliation_column, p.key_columns[1]);

CREATE FUNCTION bulwark_internal.policies_wanted(relation oid)
	RETURNS TABLE (name name, command text, condition text, check_condition text)
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'bulwark_policies_wanted';
REVOKE ALL ON FUNCTION bulwark_internal.policies_wanted(oid) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.policies_wanted(oid) IS
	'The restrictive policies that protect() would give the relation now, conditions as pg_get_expr() shows stored ones.';

CREATE FUNCTION bulwark_internal.tenant_expression(relation oid, alias text, OUT expression text, OUT is_id boolean)
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'bulwark_tenant_expression';
REVOKE ALL ON FUNCTION bulwark_internal.tenant_expression(oid, text) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.tenant_expression(oid, text) IS
	'SQL that yields, as text, the tenant of a row of the relation that a statement calls alias; is_id: by id, not by key.';

CREATE FUNCTION bulwark_internal.rows_as_owner(relation oid, query text, OUT count bigint, OUT keys text)
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'bulwark_rows_as_owner';
REVOKE ALL ON FUNCTION bulwark_internal.rows_as_owner(oid, text) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.rows_as_owner(oid, text) IS
	'The one row of a query, run with the rights of the relation''s owner and past row security that the owner is forced under.';

-- How rows are named in a finding: SQL that yields a row's primary key (or its
-- ctid), and what to call it.
CREATE FUNCTION bulwark_internal.row_key(relation oid, alias text, OUT expression text, OUT label text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce('concat_ws('', '', ' || string_agg(format('%I.%I::text', $2, a.attname), ', ' ORDER BY k.n) || ')',
			format('%I.ctid::text', $2)),
		coalesce(string_agg(quote_ident(a.attname), ', ' ORDER BY k.n), 'ctid')
	FROM pg_index i
	CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, n)
	JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
	WHERE i.indrelid = $1 AND i.indisprimary AND k.n <= i.indnkeyatts;
$$;
REVOKE ALL ON FUNCTION bulwark_internal.row_key(oid, text) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.row_key(oid, text) IS
	'SQL that yields the primary key of a row that a statement calls alias, and the names of its columns.';
