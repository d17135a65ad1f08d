-- keyring: the root keys' state.  The keys themselves are in memory only, loaded
-- from outside the database; no function shows them.

-- Root keys that this database has rotated away from.
CREATE TABLE bulwark_internal.root_keys (
	root_key_id bytea PRIMARY KEY CHECK (octet_length(root_key_id) = 8),
	retired_at timestamptz NOT NULL DEFAULT now()
);
SELECT pg_extension_config_dump('bulwark_internal.root_keys', '');
ALTER TABLE bulwark_internal.root_keys ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION bulwark.root_key_rotate(batch integer DEFAULT NULL) RETURNS jsonb
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'bulwark_root_key_rotate';
REVOKE ALL ON FUNCTION bulwark.root_key_rotate(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.root_key_rotate(integer) TO bulwark_keys;
COMMENT ON FUNCTION bulwark.root_key_rotate(integer) IS
	'Put every key that this database keeps wrapped (tenants'' keys, secrets of issuers, keys of the ledger) under the next root key, which must be loaded. '
	'batch: at most so many in this call; NULL: all. Returns from and to (ids of root keys), rewrapped (numbers by kind), left (for further calls), impossible (wrapped by a root key that is not loaded, or altered). '
	'Each call commits with its transaction and goes on where the last one was, also after the settings of the two root keys have been exchanged: nothing is ever put under a root key again that was rotated away from. '
	'Call it in every database; in the overlap both root keys are good for tickets. Errors: 55000 no next root key, no root key; 22023 batch below 1. For bulwark_keys.';

CREATE FUNCTION bulwark.keyring_status()
	RETURNS TABLE (slot text, state text, key_id text, source text, problem text, checked_at timestamptz)
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'bulwark_keyring_status';
REVOKE ALL ON FUNCTION bulwark.keyring_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.keyring_status() TO bulwark_keys, bulwark_admin;
COMMENT ON FUNCTION bulwark.keyring_status() IS
	'The root keys that this server holds: one row for the current and one for the next. state: loaded, failed (configured, but nothing usable was found) or unset; key_id: the key''s public id in hexadecimal; source: the setting it comes from; problem: what was wrong when the configuration was last loaded, also when a loaded key was kept, or why the token that holds the key cannot be used at present; checked_at: when that was (after a crash restart NULL until the keys have been looked for again). For bulwark_keys and bulwark_admin.';
