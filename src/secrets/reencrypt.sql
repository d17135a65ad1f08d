-- reencrypt: values moved to their tenants' active keys, and how far that is.

CREATE PROCEDURE bulwark.reencrypt(relation regclass, batch int DEFAULT 1000)
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_reencrypt';
REVOKE ALL ON PROCEDURE bulwark.reencrypt(regclass, int) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE bulwark.reencrypt(regclass, int) TO bulwark_keys;
COMMENT ON PROCEDURE bulwark.reencrypt(regclass, int) IS
	'Puts every value of the relation''s encrypted columns, partitions and inheritance children included, under the active key of its tenant; bulwark_internal.credential_versions is the registry of credentials. batch: rows that a transaction writes, 1 to 100,000; it commits after each. Others read and write meanwhile; rows that they have locked are left to the end. Texts and contexts stay as they are and never leave the server''s code. An interrupted run is begun again, and does what is left. No trigger fires: in place of an entry for each row of an audited table there is one a batch (configuration, operation reencrypt). See bulwark.reencrypt_progress. For bulwark_keys. Errors: 42501 without its privileges; 2D000 inside a transaction block; 42809 no encrypted column; 22023 a batch out of range; 55000 no root key is loaded.';

CREATE FUNCTION bulwark_internal.reencrypt_progress(OUT pid integer, OUT command text, OUT relation oid, OUT phase text,
		OUT blocks_total bigint, OUT blocks_done bigint, OUT values_seen bigint, OUT rows_written bigint,
		OUT values_unreadable bigint, OUT rows_locked bigint, OUT started_at timestamptz) RETURNS SETOF record
	LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'bulwark_reencrypt_progress';
REVOKE ALL ON FUNCTION bulwark_internal.reencrypt_progress() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark_internal.reencrypt_progress() TO bulwark_keys, bulwark_admin, bulwark_auditor;
COMMENT ON FUNCTION bulwark_internal.reencrypt_progress() IS
	'What the view reencrypt_progress shows.';

CREATE VIEW bulwark.reencrypt_progress AS
	SELECT p.pid, p.command, p.relation::regclass AS relation, p.phase, p.blocks_total, p.blocks_done, p.values_seen,
		p.rows_written, p.values_unreadable, p.rows_locked, p.started_at
	FROM bulwark_internal.reencrypt_progress() p;
COMMENT ON VIEW bulwark.reencrypt_progress IS
	'Procedures of this database that rewrite encrypted columns right now: command (reencrypt, encrypt_column, secrets_import_pgp), the table they are at, the phase, blocks of that table in all and done, values looked at in all, rows written, values that could not be opened, rows left for later because others have them locked. For bulwark_keys, bulwark_admin and bulwark_auditor.';
REVOKE ALL ON bulwark.reencrypt_progress FROM PUBLIC;
GRANT SELECT ON bulwark.reencrypt_progress TO bulwark_keys, bulwark_admin, bulwark_auditor;
