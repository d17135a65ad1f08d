-- box: secrets that clients seal themselves.

-- Sealed values that were taken, so that none is taken twice: longer than any is
-- good for.
CREATE TABLE bulwark_internal.sealed_nonces (
	tenant_id uuid NOT NULL,
	nonce bytea NOT NULL CHECK (octet_length(nonce) = 24),
	made_at timestamptz NOT NULL,
	PRIMARY KEY (tenant_id, nonce)
);
CREATE INDEX sealed_nonces_made_at ON bulwark_internal.sealed_nonces (made_at);
SELECT pg_extension_config_dump('bulwark_internal.sealed_nonces', '');
ALTER TABLE bulwark_internal.sealed_nonces ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION bulwark.tenant_public_key() RETURNS bytea
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_tenant_public_key';
REVOKE ALL ON FUNCTION bulwark.tenant_public_key() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.tenant_public_key() TO bulwark_app, bulwark_impersonator, bulwark_secrets;
COMMENT ON FUNCTION bulwark.tenant_public_key() IS
	'The X25519 public key (32 bytes, RFC 7748) of the identity''s tenant, to which clients seal what encrypt_sealed() takes. It changes when the tenant''s keys are rotated; values sealed to the old one are refused from then on. Errors: 28000 no identity is in force; 55000 no root key or key store.';

CREATE FUNCTION bulwark.encrypt_sealed(sealed bytea, context text) RETURNS bulwark.secret
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_encrypt_sealed';
REVOKE ALL ON FUNCTION bulwark.encrypt_sealed(bytea, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.encrypt_sealed(bytea, text) TO bulwark_app, bulwark_impersonator, bulwark_secrets;
COMMENT ON FUNCTION bulwark.encrypt_sealed(bytea, text) IS
	'Makes a credential of what a client has sealed with libsodium''s crypto_box_seal to tenant_public_key(), so that its plaintext is in no statement, parameter or log. sealed: the box; in it (docs/file-formats.md) the key''s id, tenant, type, context, a nonce and the time, which are checked. It is taken once (a transaction that is rolled back has not taken it), and until bulwark.sealed_lifetime after it was made. context: the same as in the box. Errors: 28000 no identity is in force; 22023 refused, for whatever cause (the server log has it); 55000 no root key or key store.';
