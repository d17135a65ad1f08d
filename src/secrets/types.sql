-- types: values as they are stored, and nothing else.  Text, binary, COPY, dumps
-- and subscriptions carry ciphertext; a plaintext is no input.  They are not
-- compared, so they have no operator and no operator class; they are not
-- compressed, for ciphertext is not compressible.

CREATE TYPE bulwark.secret;
CREATE FUNCTION bulwark_internal.secret_in(cstring) RETURNS bulwark.secret
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_in';
REVOKE ALL ON FUNCTION bulwark_internal.secret_in(cstring) FROM PUBLIC;
CREATE FUNCTION bulwark_internal.secret_out(bulwark.secret) RETURNS cstring
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_out';
REVOKE ALL ON FUNCTION bulwark_internal.secret_out(bulwark.secret) FROM PUBLIC;
CREATE FUNCTION bulwark_internal.secret_recv(internal) RETURNS bulwark.secret
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_recv';
REVOKE ALL ON FUNCTION bulwark_internal.secret_recv(internal) FROM PUBLIC;
CREATE FUNCTION bulwark_internal.secret_send(bulwark.secret) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_send';
REVOKE ALL ON FUNCTION bulwark_internal.secret_send(bulwark.secret) FROM PUBLIC;
CREATE TYPE bulwark.secret (
	INPUT = bulwark_internal.secret_in,
	OUTPUT = bulwark_internal.secret_out,
	RECEIVE = bulwark_internal.secret_recv,
	SEND = bulwark_internal.secret_send,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = int4,
	STORAGE = external
);
CREATE TYPE bulwark.encrypted_text;
CREATE FUNCTION bulwark_internal.encrypted_text_in(cstring) RETURNS bulwark.encrypted_text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_in';
REVOKE ALL ON FUNCTION bulwark_internal.encrypted_text_in(cstring) FROM PUBLIC;
CREATE FUNCTION bulwark_internal.encrypted_text_out(bulwark.encrypted_text) RETURNS cstring
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_out';
REVOKE ALL ON FUNCTION bulwark_internal.encrypted_text_out(bulwark.encrypted_text) FROM PUBLIC;
CREATE FUNCTION bulwark_internal.encrypted_text_recv(internal) RETURNS bulwark.encrypted_text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_recv';
REVOKE ALL ON FUNCTION bulwark_internal.encrypted_text_recv(internal) FROM PUBLIC;
CREATE FUNCTION bulwark_internal.encrypted_text_send(bulwark.encrypted_text) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_send';
REVOKE ALL ON FUNCTION bulwark_internal.encrypted_text_send(bulwark.encrypted_text) FROM PUBLIC;
CREATE TYPE bulwark.encrypted_text (
	INPUT = bulwark_internal.encrypted_text_in,
	OUTPUT = bulwark_internal.encrypted_text_out,
	RECEIVE = bulwark_internal.encrypted_text_recv,
	SEND = bulwark_internal.encrypted_text_send,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = int4,
	STORAGE = external
);
CREATE TYPE bulwark.encrypted_bytea;
CREATE FUNCTION bulwark_internal.encrypted_bytea_in(cstring) RETURNS bulwark.encrypted_bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_in';
REVOKE ALL ON FUNCTION bulwark_internal.encrypted_bytea_in(cstring) FROM PUBLIC;
CREATE FUNCTION bulwark_internal.encrypted_bytea_out(bulwark.encrypted_bytea) RETURNS cstring
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_out';
REVOKE ALL ON FUNCTION bulwark_internal.encrypted_bytea_out(bulwark.encrypted_bytea) FROM PUBLIC;
CREATE FUNCTION bulwark_internal.encrypted_bytea_recv(internal) RETURNS bulwark.encrypted_bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_recv';
REVOKE ALL ON FUNCTION bulwark_internal.encrypted_bytea_recv(internal) FROM PUBLIC;
CREATE FUNCTION bulwark_internal.encrypted_bytea_send(bulwark.encrypted_bytea) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_send';
REVOKE ALL ON FUNCTION bulwark_internal.encrypted_bytea_send(bulwark.encrypted_bytea) FROM PUBLIC;
CREATE TYPE bulwark.encrypted_bytea (
	INPUT = bulwark_internal.encrypted_bytea_in,
	OUTPUT = bulwark_internal.encrypted_bytea_out,
	RECEIVE = bulwark_internal.encrypted_bytea_recv,
	SEND = bulwark_internal.encrypted_bytea_send,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = int4,
	STORAGE = external
);
CREATE TYPE bulwark.encrypted_jsonb;
CREATE FUNCTION bulwark_internal.encrypted_jsonb_in(cstring) RETURNS bulwark.encrypted_jsonb
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_in';
REVOKE ALL ON FUNCTION bulwark_internal.encrypted_jsonb_in(cstring) FROM PUBLIC;
CREATE FUNCTION bulwark_internal.encrypted_jsonb_out(bulwark.encrypted_jsonb) RETURNS cstring
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_out';
REVOKE ALL ON FUNCTION bulwark_internal.encrypted_jsonb_out(bulwark.encrypted_jsonb) FROM PUBLIC;
CREATE FUNCTION bulwark_internal.encrypted_jsonb_recv(internal) RETURNS bulwark.encrypted_jsonb
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_recv';
REVOKE ALL ON FUNCTION bulwark_internal.encrypted_jsonb_recv(internal) FROM PUBLIC;
CREATE FUNCTION bulwark_internal.encrypted_jsonb_send(bulwark.encrypted_jsonb) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_send';
REVOKE ALL ON FUNCTION bulwark_internal.encrypted_jsonb_send(bulwark.encrypted_jsonb) FROM PUBLIC;
CREATE TYPE bulwark.encrypted_jsonb (
	INPUT = bulwark_internal.encrypted_jsonb_in,
	OUTPUT = bulwark_internal.encrypted_jsonb_out,
	RECEIVE = bulwark_internal.encrypted_jsonb_recv,
	SEND = bulwark_internal.encrypted_jsonb_send,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = int4,
	STORAGE = external
);

CREATE FUNCTION bulwark_internal.secret_from_bytea(bytea) RETURNS bulwark.secret
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_from_bytea';
REVOKE ALL ON FUNCTION bulwark_internal.secret_from_bytea(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark_internal.secret_from_bytea(bytea) TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_keys, bulwark_maintenance;
CREATE CAST (bytea AS bulwark.secret) WITH FUNCTION bulwark_internal.secret_from_bytea(bytea);
CREATE CAST (bulwark.secret AS bytea) WITHOUT FUNCTION;
CREATE FUNCTION bulwark_internal.encrypted_text_from_bytea(bytea) RETURNS bulwark.encrypted_text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_from_bytea';
REVOKE ALL ON FUNCTION bulwark_internal.encrypted_text_from_bytea(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark_internal.encrypted_text_from_bytea(bytea) TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_keys, bulwark_maintenance;
CREATE CAST (bytea AS bulwark.encrypted_text) WITH FUNCTION bulwark_internal.encrypted_text_from_bytea(bytea);
CREATE CAST (bulwark.encrypted_text AS bytea) WITHOUT FUNCTION;
CREATE FUNCTION bulwark_internal.encrypted_bytea_from_bytea(bytea) RETURNS bulwark.encrypted_bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_from_bytea';
REVOKE ALL ON FUNCTION bulwark_internal.encrypted_bytea_from_bytea(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark_internal.encrypted_bytea_from_bytea(bytea) TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_keys, bulwark_maintenance;
CREATE CAST (bytea AS bulwark.encrypted_bytea) WITH FUNCTION bulwark_internal.encrypted_bytea_from_bytea(bytea);
CREATE CAST (bulwark.encrypted_bytea AS bytea) WITHOUT FUNCTION;
CREATE FUNCTION bulwark_internal.encrypted_jsonb_from_bytea(bytea) RETURNS bulwark.encrypted_jsonb
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_secret_from_bytea';
REVOKE ALL ON FUNCTION bulwark_internal.encrypted_jsonb_from_bytea(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark_internal.encrypted_jsonb_from_bytea(bytea) TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_keys, bulwark_maintenance;
CREATE CAST (bytea AS bulwark.encrypted_jsonb) WITH FUNCTION bulwark_internal.encrypted_jsonb_from_bytea(bytea);
CREATE CAST (bulwark.encrypted_jsonb AS bytea) WITHOUT FUNCTION;

COMMENT ON TYPE bulwark.secret IS
	'A credential, encrypted under its tenant''s key: what encrypt() and encrypt_sealed() make, and decrypt() opens for a trusted back end. Input and output are ciphertext: as text bw1: and base64url (RFC 4648 section 5, no padding), as binary, and cast from and to bytea, the envelope itself. Anything else is refused and not quoted (22P02). No operators, no ordering, no operator class.';
COMMENT ON TYPE bulwark.encrypted_text IS
	'Text, encrypted under its tenant''s key: made by encrypt_text(), opened by decrypt_text(). Input and output as type secret.';
COMMENT ON TYPE bulwark.encrypted_bytea IS
	'Bytes, encrypted under their tenant''s key: made by encrypt_bytea(), opened by decrypt_bytea(). Input and output as type secret.';
COMMENT ON TYPE bulwark.encrypted_jsonb IS
	'A jsonb document, encrypted under its tenant''s key: made by encrypt_jsonb(), opened by decrypt_jsonb(). Input and output as type secret.';
