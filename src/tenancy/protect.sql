-- protect: which tables are isolated, and how.  A row of the registry for every
-- table, partition and inheritance child that carries our policies; the policies
-- themselves are ordinary ones that pg_dump and a DBA can read.

CREATE TABLE bulwark_internal.protections (
	relation regclass PRIMARY KEY,
	kind "char" NOT NULL CHECK (kind IN ('t', 'a', 'c', 's')),	-- tenant, affiliation (pinned), child, shared
	resource text COLLATE "C" NOT NULL,
	tenant_column name,
	affiliation_column name,
	parent regclass,			-- kind c: whose row each row belongs to, ...
	key_columns name[],			-- ... through these columns of the relation
	parent_columns name[],		-- ... which name these of the parent
	root regclass,				-- partition or inheritance child: the table that protect() was called for
	pinned uuid,				-- kind a: the tenant that the policies name
	materialize boolean NOT NULL DEFAULT false,
	materialized boolean NOT NULL DEFAULT false,	-- the columns are filled and the policies read them
	automatic boolean NOT NULL DEFAULT false,	-- by bulwark.new_tables: a call of protect() replaces it
	undo jsonb NOT NULL,		-- what unprotect() puts back
	protected_by name NOT NULL DEFAULT current_user,
	protected_at timestamptz NOT NULL DEFAULT now()
);
SELECT pg_extension_config_dump('bulwark_internal.protections', '');
CREATE INDEX protections_root ON bulwark_internal.protections (root);
CREATE INDEX protections_parent ON bulwark_internal.protections (parent);
ALTER TABLE bulwark_internal.protections ENABLE ROW LEVEL SECURITY;

CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON bulwark_internal.protections
	FOR EACH STATEMENT EXECUTE FUNCTION bulwark_internal.invalidate('own');
ALTER TABLE bulwark_internal.protections ENABLE ALWAYS TRIGGER invalidate;

-- By which columns protected tables name whose their rows are: what other tables
-- with such a column may be told by.  A column that is a key of its table by itself
-- names the row (a company, by its id), and tells nothing of others of that name.
CREATE VIEW bulwark_internal.naming_columns AS
	WITH naming AS NOT MATERIALIZED (
		SELECT a.attrelid, a.attname, a.atttypid FROM pg_attribute a
		WHERE NOT a.attisdropped AND NOT EXISTS (SELECT FROM pg_index i
			WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum)
	)
	SELECT DISTINCT p.kind, p.pinned, t.attname AS tenant_column, t.atttypid AS tenant_type,
		a.attname AS affiliation_column, a.atttypid AS affiliation_type
	FROM bulwark_internal.protections p
	LEFT JOIN naming t ON t.attrelid = p.relation AND t.attname = p.tenant_column
	LEFT JOIN naming a ON a.attrelid = p.relation AND a.attname = p.affiliation_column
	WHERE p.kind = 't' AND t.attname IS NOT NULL OR p.kind = 'a' AND a.attname IS NOT NULL;

CREATE FUNCTION bulwark_internal.protection_replace() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_protection_replace';
REVOKE ALL ON FUNCTION bulwark_internal.protection_replace() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.protection_replace() IS
	'A restored row takes the place of what the protection of new tables had put on the table already.';
CREATE TRIGGER replace BEFORE INSERT ON bulwark_internal.protections
	FOR EACH ROW EXECUTE FUNCTION bulwark_internal.protection_replace();
ALTER TABLE bulwark_internal.protections ENABLE ALWAYS TRIGGER replace;

-- Executable by bulwark_admin, who creates triggers with them.
GRANT USAGE ON SCHEMA bulwark_internal TO bulwark_admin;
CREATE FUNCTION bulwark_internal.tenant_immutable() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_tenant_immutable';
REVOKE ALL ON FUNCTION bulwark_internal.tenant_immutable() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark_internal.tenant_immutable() TO bulwark_admin;
COMMENT ON FUNCTION bulwark_internal.tenant_immutable() IS
	'Row trigger: a row''s tenant, once set, is changed by members of bulwark_maintenance only (42501).';

CREATE FUNCTION bulwark_internal.fk_guard() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_fk_guard';
REVOKE ALL ON FUNCTION bulwark_internal.fk_guard() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.fk_guard() IS
	'Constraint trigger beside a foreign key between protected tables: a reference to another tenant''s row is a missing key (23503).';

CREATE FUNCTION bulwark_internal.rule_guard() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_rule_guard';
REVOKE ALL ON FUNCTION bulwark_internal.rule_guard() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.rule_guard() IS
	'Row trigger of a table that rules write to: our policies hold for the user even where the rule''s owner bypasses them (42501).';

CREATE FUNCTION bulwark_internal.materialize_row() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_materialize_row';
REVOKE ALL ON FUNCTION bulwark_internal.materialize_row() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark_internal.materialize_row() TO bulwark_admin;
COMMENT ON FUNCTION bulwark_internal.materialize_row() IS
	'Row trigger of a materialized child: takes tenant and affiliation from the row''s parent, whatever the client wrote.';

CREATE FUNCTION bulwark_internal.materialize_children() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_materialize_children';
REVOKE ALL ON FUNCTION bulwark_internal.materialize_children() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.materialize_children() IS
	'Row trigger of the parent of materialized children: tells them of another affiliation or tenant.';

CREATE FUNCTION bulwark.protect(relation regclass, tenant_column name DEFAULT NULL, affiliation_column name DEFAULT NULL,
	parent regclass DEFAULT NULL, shared boolean DEFAULT false, resource text DEFAULT NULL, materialize boolean DEFAULT false,
	parent_key name DEFAULT NULL) RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_protect';
REVOKE ALL ON FUNCTION bulwark.protect(regclass, name, name, regclass, boolean, text, boolean, name) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.protect(regclass, name, name, regclass, boolean, text, boolean, name) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.protect(regclass, name, name, regclass, boolean, text, boolean, name) IS
	'Isolates a table and all its partitions and inheritance children. By tenant_column (uuid, int2, int4, int8, text, varchar); '
	'by affiliation_column (the same types); as a child of parent''s rows, through the foreign key (parent_key names it where there are '
	'several; materialize keeps the tenant and affiliation in columns of its own); shared: every tenant reads, bulwark_admin writes. '
	'With no tenant column the database must be pinned. resource: the name in permissions, by default the relation''s. '
	'The caller is bulwark_admin and owns the table, or is superuser (42501). 22023: arguments that do not fit the table; '
	'42809: not a table; 55000: protected otherwise, or the database is not pinned. The same call again changes nothing.';

CREATE FUNCTION bulwark.unprotect(relation regclass) RETURNS void
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'bulwark_unprotect';
REVOKE ALL ON FUNCTION bulwark.unprotect(regclass) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.unprotect(regclass) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.unprotect(regclass) IS
	'Undoes exactly what protect() did to the table and its children. The caller is bulwark_admin and owns the table, or is superuser '
	'(42501). 55000: not protected, or protected as part of another table; 2BP01: other protected tables follow its rows.';

CREATE FUNCTION bulwark.protect_schema(schema name, tenant_column name DEFAULT 'tenant_id', affiliation_column name DEFAULT NULL,
	dry_run boolean DEFAULT true) RETURNS TABLE (relation regclass, kind text, reason text, statement text)
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_protect_schema';
REVOKE ALL ON FUNCTION bulwark.protect_schema(name, name, name, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.protect_schema(name, name, name, boolean) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.protect_schema(name, name, name, boolean) IS
	'Works out how each table of a schema is to be protected: kind is tenant, affiliation, child, shared, undecided (reason says between '
	'what) or skip. statement, in an order that can be fed to \gexec, is a call of protect(), or CREATE INDEX CONCURRENTLY, VALIDATE '
	'CONSTRAINT, CALL materialize(). dry_run => false makes the calls of protect() in this transaction and leaves the rest. '
	'3F000: no such schema; 22004: a NULL schema or tenant column.';

CREATE PROCEDURE bulwark.materialize(relation regclass, batch int DEFAULT 128)
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_materialize';
REVOKE ALL ON PROCEDURE bulwark.materialize(regclass, int) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE bulwark.materialize(regclass, int) TO bulwark_admin;
COMMENT ON PROCEDURE bulwark.materialize(regclass, int) IS
	'Fills the columns of a child that protect(materialize => true) found with rows, batch blocks (of 8 kB) at a time, committing after '
	'each; then its policies read the columns. May be called again after an interruption. The caller is bulwark_admin and owns the '
	'table, or is superuser (42501). 2D000: inside a transaction block; 55000: not such a child; 22023: a batch below 1.';

CREATE VIEW bulwark.protected_tables AS
	SELECT p.relation,
		CASE p.kind WHEN 't' THEN 'tenant' WHEN 'c' THEN 'child' WHEN 's' THEN 'shared'
			WHEN 'a' THEN CASE WHEN p.affiliation_column IS NULL THEN 'tenant' ELSE 'affiliation' END END AS kind,
		p.tenant_column, p.affiliation_column, p.parent, p.key_columns, p.resource, p.materialize, p.materialized, p.root, p.automatic,
		p.protected_by, p.protected_at
	FROM bulwark_internal.protections p;
GRANT SELECT ON bulwark.protected_tables TO bulwark_app, bulwark_impersonator, bulwark_admin, bulwark_auditor, bulwark_maintenance;
-- A dump is made as bulwark_maintenance, too, and holds what is in our tables.
GRANT USAGE ON SCHEMA bulwark_internal TO bulwark_maintenance;
GRANT SELECT ON ALL TABLES IN SCHEMA bulwark_internal TO bulwark_maintenance;
COMMENT ON VIEW bulwark.protected_tables IS
	'What is protected and how: one row for every table, partition and inheritance child; root names the table that protect() was called for.';
