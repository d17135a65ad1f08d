-- value: plaintext becomes a value, and a value plaintext again.

CREATE FUNCTION bulwark.encrypt(plaintext text, context text DEFAULT '') RETURNS bulwark.secret
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_encrypt';
REVOKE ALL ON FUNCTION bulwark.encrypt(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.encrypt(text, text) TO bulwark_app, bulwark_impersonator, bulwark_secrets;
COMMENT ON FUNCTION bulwark.encrypt(text, text) IS
	'Encrypts a credential under the key of the identity''s tenant, with a fresh nonce each time (AES-256 in XAES-256-GCM, or bulwark.encryption_suite). plaintext: NULL gives NULL. context: up to 1,024 bytes that the value is bound to, given again to open it (a table and column, and the row''s key, say); without one the value opens wherever it is moved within the tenant. Its length is hidden among multiples of bulwark.secret_padding bytes. Errors: 28000 no identity is in force; 22004 context is NULL; 22023 it is too long; 22021 not convertible to UTF-8; 54000 too long; 55000 no root key, no key store, or the tenant''s key is destroyed.';

CREATE FUNCTION bulwark.encrypt_text(plaintext text, context text DEFAULT '') RETURNS bulwark.encrypted_text
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_encrypt_text';
REVOKE ALL ON FUNCTION bulwark.encrypt_text(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.encrypt_text(text, text) TO bulwark_app, bulwark_impersonator, bulwark_secrets;
COMMENT ON FUNCTION bulwark.encrypt_text(text, text) IS
	'Encrypts text under the key of the identity''s tenant, with a fresh nonce each time (AES-256 in XAES-256-GCM, or bulwark.encryption_suite). plaintext: NULL gives NULL. context: up to 1,024 bytes that the value is bound to, given again to open it (a table and column, and the row''s key, say); without one the value opens wherever it is moved within the tenant. Its length is hidden among multiples of bulwark.data_padding bytes. Errors: 28000 no identity is in force; 22004 context is NULL; 22023 it is too long; 22021 not convertible to UTF-8; 54000 too long; 55000 no root key, no key store, or the tenant''s key is destroyed.';

CREATE FUNCTION bulwark.encrypt_bytea(plaintext bytea, context text DEFAULT '') RETURNS bulwark.encrypted_bytea
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_encrypt_bytea';
REVOKE ALL ON FUNCTION bulwark.encrypt_bytea(bytea, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.encrypt_bytea(bytea, text) TO bulwark_app, bulwark_impersonator, bulwark_secrets;
COMMENT ON FUNCTION bulwark.encrypt_bytea(bytea, text) IS
	'Encrypts bytes under the key of the identity''s tenant, with a fresh nonce each time (AES-256 in XAES-256-GCM, or bulwark.encryption_suite). plaintext: NULL gives NULL. context: up to 1,024 bytes that the value is bound to, given again to open it (a table and column, and the row''s key, say); without one the value opens wherever it is moved within the tenant. Its length is hidden among multiples of bulwark.data_padding bytes. Errors: 28000 no identity is in force; 22004 context is NULL; 22023 it is too long; 22021 not convertible to UTF-8; 54000 too long; 55000 no root key, no key store, or the tenant''s key is destroyed.';

CREATE FUNCTION bulwark.encrypt_jsonb(plaintext jsonb, context text DEFAULT '') RETURNS bulwark.encrypted_jsonb
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_encrypt_jsonb';
REVOKE ALL ON FUNCTION bulwark.encrypt_jsonb(jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.encrypt_jsonb(jsonb, text) TO bulwark_app, bulwark_impersonator, bulwark_secrets;
COMMENT ON FUNCTION bulwark.encrypt_jsonb(jsonb, text) IS
	'Encrypts a document under the key of the identity''s tenant, with a fresh nonce each time (AES-256 in XAES-256-GCM, or bulwark.encryption_suite). plaintext: NULL gives NULL. context: up to 1,024 bytes that the value is bound to, given again to open it (a table and column, and the row''s key, say); without one the value opens wherever it is moved within the tenant. Its length is hidden among multiples of bulwark.data_padding bytes. Errors: 28000 no identity is in force; 22004 context is NULL; 22023 it is too long; 22021 not convertible to UTF-8; 54000 too long; 55000 no root key, no key store, or the tenant''s key is destroyed.';

CREATE FUNCTION bulwark.encrypt_for(tenant_id uuid, plaintext text, context text DEFAULT '') RETURNS bulwark.secret
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_encrypt_for';
REVOKE ALL ON FUNCTION bulwark.encrypt_for(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.encrypt_for(uuid, text, text) TO bulwark_secrets;
COMMENT ON FUNCTION bulwark.encrypt_for(uuid, text, text) IS
	'encrypt() for a tenant that is named, by a trusted back end that needs no identity for it. tenant_id: one that the login''s service_scope() allows. Errors: as encrypt(); 42501 the session''s login is not a member of bulwark_secrets, or the tenant outside its scope.';

CREATE FUNCTION bulwark.encrypt_text_for(tenant_id uuid, plaintext text, context text DEFAULT '') RETURNS bulwark.encrypted_text
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_encrypt_text_for';
REVOKE ALL ON FUNCTION bulwark.encrypt_text_for(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.encrypt_text_for(uuid, text, text) TO bulwark_secrets;
COMMENT ON FUNCTION bulwark.encrypt_text_for(uuid, text, text) IS
	'encrypt_text() for a tenant that is named, by a trusted back end that needs no identity for it. tenant_id: one that the login''s service_scope() allows. Errors: as encrypt_text(); 42501 the session''s login is not a member of bulwark_secrets, or the tenant outside its scope.';

CREATE FUNCTION bulwark.encrypt_bytea_for(tenant_id uuid, plaintext bytea, context text DEFAULT '') RETURNS bulwark.encrypted_bytea
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_encrypt_bytea_for';
REVOKE ALL ON FUNCTION bulwark.encrypt_bytea_for(uuid, bytea, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.encrypt_bytea_for(uuid, bytea, text) TO bulwark_secrets;
COMMENT ON FUNCTION bulwark.encrypt_bytea_for(uuid, bytea, text) IS
	'encrypt_bytea() for a tenant that is named, by a trusted back end that needs no identity for it. tenant_id: one that the login''s service_scope() allows. Errors: as encrypt_bytea(); 42501 the session''s login is not a member of bulwark_secrets, or the tenant outside its scope.';

CREATE FUNCTION bulwark.encrypt_jsonb_for(tenant_id uuid, plaintext jsonb, context text DEFAULT '') RETURNS bulwark.encrypted_jsonb
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_encrypt_jsonb_for';
REVOKE ALL ON FUNCTION bulwark.encrypt_jsonb_for(uuid, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.encrypt_jsonb_for(uuid, jsonb, text) TO bulwark_secrets;
COMMENT ON FUNCTION bulwark.encrypt_jsonb_for(uuid, jsonb, text) IS
	'encrypt_jsonb() for a tenant that is named, by a trusted back end that needs no identity for it. tenant_id: one that the login''s service_scope() allows. Errors: as encrypt_jsonb(); 42501 the session''s login is not a member of bulwark_secrets, or the tenant outside its scope.';

CREATE FUNCTION bulwark.decrypt(value bulwark.secret, purpose text, context text DEFAULT '') RETURNS text
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'bulwark_decrypt';
REVOKE ALL ON FUNCTION bulwark.decrypt(bulwark.secret, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.decrypt(bulwark.secret, text, text) TO bulwark_secrets;
COMMENT ON FUNCTION bulwark.decrypt(bulwark.secret, text, text) IS
	'Opens a credential for a trusted back end at the moment of its use. value: of the tenant of the identity in force, whose roles do not matter: no tenant''s role opens it. purpose: 1 to 1,000 bytes, for the ledger. context: as it was encrypted with. Each use is an entry (action decrypt), on disk before the plaintext is returned and kept if the caller rolls back; its entity_id is the start of the value''s SHA-256. Errors: 28000 no identity is in force; 22023 it does not open (another tenant, context or type, altered, its key retired: all the same), or no purpose; 42501 the session''s login is not a member of bulwark_secrets, or the tenant outside its scope; 53400 too many uses; 55000 the entry could not be made durable (a standby, no worker), or no key; 0A000 within a command that keeps what it computes.';

CREATE FUNCTION bulwark.decrypt_text(value bulwark.encrypted_text, context text DEFAULT '') RETURNS text
	LANGUAGE c STABLE PARALLEL RESTRICTED COST 20 AS 'MODULE_PATHNAME', 'bulwark_decrypt_text';
REVOKE ALL ON FUNCTION bulwark.decrypt_text(bulwark.encrypted_text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.decrypt_text(bulwark.encrypted_text, text) TO bulwark_app, bulwark_impersonator, bulwark_secrets;
COMMENT ON FUNCTION bulwark.decrypt_text(bulwark.encrypted_text, text) IS
	'Opens data of the tenant of the identity in force, which needs data:decrypt. value: NULL gives NULL. context: as it was encrypted with. Errors: 28000 no identity is in force; 42501 it lacks data:decrypt; 22023 the value does not open (another tenant, context or type, altered, its key retired: all the same); 53400 too many uses; 55000 no root key or key store; 0A000 within a command that keeps what it computes.';

CREATE FUNCTION bulwark.decrypt_bytea(value bulwark.encrypted_bytea, context text DEFAULT '') RETURNS bytea
	LANGUAGE c STABLE PARALLEL RESTRICTED COST 20 AS 'MODULE_PATHNAME', 'bulwark_decrypt_bytea';
REVOKE ALL ON FUNCTION bulwark.decrypt_bytea(bulwark.encrypted_bytea, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.decrypt_bytea(bulwark.encrypted_bytea, text) TO bulwark_app, bulwark_impersonator, bulwark_secrets;
COMMENT ON FUNCTION bulwark.decrypt_bytea(bulwark.encrypted_bytea, text) IS
	'Opens data of the tenant of the identity in force, which needs data:decrypt. value: NULL gives NULL. context: as it was encrypted with. Errors: 28000 no identity is in force; 42501 it lacks data:decrypt; 22023 the value does not open (another tenant, context or type, altered, its key retired: all the same); 53400 too many uses; 55000 no root key or key store; 0A000 within a command that keeps what it computes.';

CREATE FUNCTION bulwark.decrypt_jsonb(value bulwark.encrypted_jsonb, context text DEFAULT '') RETURNS jsonb
	LANGUAGE c STABLE PARALLEL RESTRICTED COST 20 AS 'MODULE_PATHNAME', 'bulwark_decrypt_jsonb';
REVOKE ALL ON FUNCTION bulwark.decrypt_jsonb(bulwark.encrypted_jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.decrypt_jsonb(bulwark.encrypted_jsonb, text) TO bulwark_app, bulwark_impersonator, bulwark_secrets;
COMMENT ON FUNCTION bulwark.decrypt_jsonb(bulwark.encrypted_jsonb, text) IS
	'Opens data of the tenant of the identity in force, which needs data:decrypt. value: NULL gives NULL. context: as it was encrypted with. Errors: 28000 no identity is in force; 42501 it lacks data:decrypt; 22023 the value does not open (another tenant, context or type, altered, its key retired: all the same); 53400 too many uses; 55000 no root key or key store; 0A000 within a command that keeps what it computes.';

CREATE FUNCTION bulwark.hmac_sign(value bulwark.secret, payload bytea, purpose text, algorithm text DEFAULT 'sha256', context text DEFAULT '') RETURNS bytea
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'bulwark_hmac_sign';
REVOKE ALL ON FUNCTION bulwark.hmac_sign(bulwark.secret, bytea, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.hmac_sign(bulwark.secret, bytea, text, text, text) TO bulwark_secrets;
COMMENT ON FUNCTION bulwark.hmac_sign(bulwark.secret, bytea, text, text, text) IS
	'The HMAC (RFC 2104, FIPS 198-1) of payload under a credential, which is not shown. value, purpose, context: as decrypt(), and a use like that. algorithm: sha256, sha384 or sha512. The key is the credential''s text in UTF-8, of 16 bytes or more. Errors: as decrypt(); 22023 another algorithm, or a shorter key.';

CREATE FUNCTION bulwark.blind_index(plaintext text, context text) RETURNS bytea
	LANGUAGE c STABLE PARALLEL RESTRICTED COST 20 AS 'MODULE_PATHNAME', 'bulwark_blind_index';
REVOKE ALL ON FUNCTION bulwark.blind_index(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.blind_index(text, text) TO bulwark_app, bulwark_impersonator, bulwark_secrets;
COMMENT ON FUNCTION bulwark.blind_index(text, text) IS
	'A keyed digest of plaintext for equality search: HMAC-SHA256 under the index key of the identity''s tenant, over the context and the text''s UTF-8 in normalization form C (letters'' case and white space count: fold them first where they should not). The same within one tenant and context, unrelated across. It shows which rows are equal and how often, and whoever may call it can try values of which there are few. plaintext: NULL gives NULL. The identity needs data:search or data:decrypt. Errors: 28000 no identity is in force; 42501 it lacks both; 22004 context is NULL; 22023 it is too long, or the text has more than 255 characters in a row that combine with those before; 22021 not convertible to UTF-8; 53400 too many; 55000 no root key or key store.';
