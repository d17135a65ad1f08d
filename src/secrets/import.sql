-- import: columns of plaintext, or of pgcrypto's ciphertext, become encrypted ones.

CREATE FUNCTION bulwark_internal.encrypting() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_encrypting';
REVOKE ALL ON FUNCTION bulwark_internal.encrypting() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.encrypting() IS
	'Row trigger while a column is being encrypted: the encrypted counterpart of a value that changes is forgotten.';

CREATE PROCEDURE bulwark.encrypt_column(relation regclass, column_name name, type regtype DEFAULT NULL, context text DEFAULT '',
		context_column name DEFAULT NULL, tenant_id uuid DEFAULT NULL, batch int DEFAULT 1000, INOUT report jsonb DEFAULT NULL)
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_encrypt_column';
REVOKE ALL ON PROCEDURE bulwark.encrypt_column(regclass, name, regtype, text, name, uuid, int, jsonb) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE bulwark.encrypt_column(regclass, name, regtype, text, name, uuid, int, jsonb) TO bulwark_keys;
COMMENT ON PROCEDURE bulwark.encrypt_column(regclass, name, regtype, text, name, uuid, int, jsonb) IS
	'Encrypts a column of a table, partitions included, where it is: afterwards it is of an encrypted type (type; by default encrypted_bytea for bytea, encrypted_jsonb for json and jsonb, encrypted_text for all else), with the same name, place and NOT NULL. Rows belong to the tenant that protect() finds in them, or to tenant_id. context: bound with every value; context_column: the column whose text is the context, as a primary key. batch: rows that a transaction writes, 1 to 100,000. While it works the application uses the old column, and the table has one more (bulwark_encrypting_N); in the end it is locked with all partitions that it has then, every counterpart is opened and compared with its row''s value, tenant and context, and made anew where it differs, and the table is written anew, so that its files hold nothing of the old values, which a scan of all pages confirms. The lock lasts as long as decrypting the column once and writing the table. An interrupted run is begun again. report: rows, pages_scanned, samples (values that were looked for), pages_with_residue, values_not_encrypted, and remaining, which says where old values still are. No trigger fires for the batches. For the table''s owner with bulwark_keys. Errors: 42501 not such a caller; 2D000 inside a transaction block; 2BP01 an index, view, constraint, default or policy depends on the column; 22023 a type that does not fit, no tenant, or a context above 1,024 bytes; 22P02 a value that is no document, for encrypted_jsonb (it is not quoted); 23502 a row without a tenant or context; 0A000 inheritance children; 55000 encrypted already, a tenant''s keys are not to be had, no root key is loaded, or another call began to encrypt the column otherwise; the column is then as it was.';

CREATE PROCEDURE bulwark.secrets_import_pgp(relation regclass, column_name name, passphrase text, type regtype DEFAULT NULL,
		context text DEFAULT '', context_column name DEFAULT NULL, tenant_id uuid DEFAULT NULL, batch int DEFAULT 1000,
		INOUT report jsonb DEFAULT NULL)
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_secrets_import_pgp';
REVOKE ALL ON PROCEDURE bulwark.secrets_import_pgp(regclass, name, text, regtype, text, name, uuid, int, jsonb) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE bulwark.secrets_import_pgp(regclass, name, text, regtype, text, name, uuid, int, jsonb) TO bulwark_keys;
COMMENT ON PROCEDURE bulwark.secrets_import_pgp(regclass, name, text, regtype, text, name, uuid, int, jsonb) IS
	'The same as encrypt_column() for a column of type bytea that holds what pgcrypto''s pgp_sym_encrypt() made with the passphrase (RFC 4880). type: encrypted_text by default; encrypted_bytea for pgp_sym_encrypt_bytea(). pgcrypto must be installed: its function is found as a member of the extension. Errors: those of encrypt_column(); 42883 without pgcrypto; 42804 the column is not bytea; 39000 another passphrase, or not such a value, and what was done before stays for the next run.';
