-- keyring: the root keys' state.  The keys themselves are in memory only, loaded
-- from outside the database; no function shows them.

CREATE FUNCTION bulwark.keyring_status()
	RETURNS TABLE (slot text, state text, key_id text, source text, problem text, checked_at timestamptz)
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'bulwark_keyring_status';
REVOKE ALL ON FUNCTION bulwark.keyring_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.keyring_status() TO bulwark_keys, bulwark_admin;
COMMENT ON FUNCTION bulwark.keyring_status() IS
	'The root keys that this server holds: one row for the current and one for the next. state: loaded, failed (configured, but nothing usable was found) or unset; key_id: the key''s public id in hexadecimal; source: the setting it comes from; problem: what was wrong when the configuration was last loaded, also when a loaded key was kept; checked_at: when that was (after a crash restart NULL until the keys have been looked for again). For bulwark_keys and bulwark_admin.';
