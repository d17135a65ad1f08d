-- capture: audited tables.  Their rows are recorded by triggers that fire always
-- and first; which tables, and how, is in bulwark_internal.ledger_audited.

CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON bulwark_internal.ledger_audited
	FOR EACH STATEMENT EXECUTE FUNCTION bulwark_internal.invalidate('own');
ALTER TABLE bulwark_internal.ledger_audited ENABLE ALWAYS TRIGGER invalidate;

CREATE FUNCTION bulwark_internal.capture() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_capture';
REVOKE ALL ON FUNCTION bulwark_internal.capture() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.capture() IS
	'Row trigger of an audited table: an entry for the row as it was stored, with old and new values.';

CREATE FUNCTION bulwark_internal.capture_truncate() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_capture_truncate';
REVOKE ALL ON FUNCTION bulwark_internal.capture_truncate() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.capture_truncate() IS
	'Statement trigger of an audited table: an entry for TRUNCATE.';

CREATE FUNCTION bulwark_internal.audit_state(relation oid) RETURNS text
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'bulwark_audit_state';
REVOKE ALL ON FUNCTION bulwark_internal.audit_state(oid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark_internal.audit_state(oid) TO bulwark_admin;
COMMENT ON FUNCTION bulwark_internal.audit_state(oid) IS
	'audited, or why the relation cannot be; NULL: it can be and is not.';

CREATE FUNCTION bulwark.audit(relation regclass, exclude_columns name[] DEFAULT '{}', reads boolean DEFAULT false,
	sealed_columns name[] DEFAULT '{}') RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_audit';
REVOKE ALL ON FUNCTION bulwark.audit(regclass, name[], boolean, name[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.audit(regclass, name[], boolean, name[]) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.audit(regclass, name[], boolean, name[]) IS
	'Records every INSERT, UPDATE, DELETE and TRUNCATE of a table, its partitions and its inheritance children, present and future, as '
	'ledger entries of the same transaction. exclude_columns: recorded as changed or not, without values. reads: a statement that reads the '
	'table is an entry, too. sealed_columns: recorded encrypted under the tenant''s key. Called again it replaces these options. The caller '
	'is bulwark_admin and owns the table, or is superuser (42501). 42809: not an ordinary table; 42703: no such column; 22023: a column of '
	'the primary key, or one both excluded and sealed; 55000: no root key, no module that seals, or audited as part of another table; 42710: another trigger has the name of ours.';

CREATE FUNCTION bulwark.audit_stop(relation regclass) RETURNS void
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'bulwark_audit_stop';
REVOKE ALL ON FUNCTION bulwark.audit_stop(regclass) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.audit_stop(regclass) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.audit_stop(regclass) IS
	'Ends what audit() began, for the table and all below it; itself an entry. The caller is bulwark_admin and owns the table, or is '
	'superuser (42501). 55000: not audited, or audited as part of another table.';

CREATE FUNCTION bulwark.audit_schema(schema name, dry_run boolean DEFAULT true)
	RETURNS TABLE (relation regclass, reason text, statement text)
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
#variable_conflict use_column
DECLARE
	candidate record;
	whole bigint;
BEGIN
	IF schema IS NULL THEN
		RAISE EXCEPTION 'schema must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	SELECT oid INTO whole FROM pg_namespace WHERE nspname = audit_schema.schema;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'schema "%" does not exist', schema USING ERRCODE = 'invalid_schema_name';
	END IF;

	FOR candidate IN
		SELECT c.oid::regclass AS relation, bulwark_internal.audit_state(c.oid) AS state,
			(SELECT p.inhparent::regclass FROM pg_inherits p
				WHERE p.inhrelid = c.oid AND bulwark_internal.audit_state(p.inhparent) IS NULL ORDER BY p.inhseqno LIMIT 1) AS parent
		FROM pg_class c
		WHERE c.relnamespace = whole AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
		ORDER BY c.relname
	LOOP
		relation := candidate.relation;
		statement := NULL;
		IF candidate.state IS NOT NULL THEN
			reason := candidate.state;
		ELSIF candidate.parent IS NOT NULL THEN
			reason := format('is audited with %s', candidate.parent);
		ELSE
			reason := 'is not audited';
			statement := format('SELECT bulwark.audit(%L);', candidate.relation);
			IF NOT dry_run THEN
				PERFORM bulwark.audit(candidate.relation);
			END IF;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION bulwark.audit_schema(name, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.audit_schema(name, boolean) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.audit_schema(name, boolean) IS
	'Says of every table and view of a schema whether it is audited, and why not; statement, which can be fed to \gexec, is the call of '
	'audit() that is missing. dry_run => false makes these calls. 3F000: no such schema; 22004: NULL.';

CREATE FUNCTION bulwark.ledger_record(action text, entity_type text, entity_id text DEFAULT NULL, metadata jsonb DEFAULT NULL) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_ledger_record';
REVOKE ALL ON FUNCTION bulwark.ledger_record(text, text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.ledger_record(text, text, text, jsonb) TO
	bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_admin, bulwark_maintenance;
COMMENT ON FUNCTION bulwark.ledger_record(text, text, text, jsonb) IS
	'Writes an event of the application''s own into the ledger, marked as asserted, and returns its entry_id. action begins with app: and has, '
	'like entity_type, at most 256 bytes (22023). 53400: more than 8 KiB in all, or more events than bulwark.ledger_record_rate allows the '
	'principal; 55000: no root key; 25006: a read-only transaction.';
