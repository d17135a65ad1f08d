-- guard: the triggers by which the ledger's tables refuse every statement, where no
-- hook is asked: logical replication, a server that has not preloaded the library.

-- Not dumped: another server has its own.  Starts of the server that have an entry
-- here: it ran without us before, or with leave to drop the extension.
CREATE TABLE bulwark_internal.ledger_starts (
	started_at timestamptz PRIMARY KEY,
	unguarded boolean NOT NULL,
	decommission boolean NOT NULL
);
ALTER TABLE bulwark_internal.ledger_starts ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION bulwark_internal.ledger_guard() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_ledger_guard';
REVOKE ALL ON FUNCTION bulwark_internal.ledger_guard() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.ledger_guard() IS
	'Trigger on every table of the ledger: 42501 for any change by a statement.';

DO $triggers$
DECLARE
	t regclass;
BEGIN
	FOR t IN SELECT oid FROM pg_class
		WHERE relnamespace = 'bulwark_internal'::regnamespace AND (relname LIKE 'ledger\_%' OR relname = 'database_identity') AND relkind = 'r'
		ORDER BY relname
	LOOP
		EXECUTE format('CREATE TRIGGER bulwark_guard_row BEFORE INSERT OR UPDATE OR DELETE ON %s
			FOR EACH ROW EXECUTE FUNCTION bulwark_internal.ledger_guard()', t);
		EXECUTE format('CREATE TRIGGER bulwark_guard_truncate BEFORE TRUNCATE ON %s
			FOR EACH STATEMENT EXECUTE FUNCTION bulwark_internal.ledger_guard()', t);
		EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER bulwark_guard_row,
			ENABLE ALWAYS TRIGGER bulwark_guard_truncate', t);
	END LOOP;
END
$triggers$;

CREATE FUNCTION bulwark_internal.ledger_coverage_check() RETURNS TABLE (relation text, problem text)
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_ledger_coverage_check';
REVOKE ALL ON FUNCTION bulwark_internal.ledger_coverage_check() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.ledger_coverage_check() IS
	'Where the audited tables, their triggers, the ledger''s own tables and functions are not as the entries say.';
