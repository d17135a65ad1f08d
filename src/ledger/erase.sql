-- erase: contents of entries that may not be kept any longer.

CREATE FUNCTION bulwark.ledger_erase(entry_ids bigint[], reason text) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_ledger_erase';
REVOKE ALL ON FUNCTION bulwark.ledger_erase(bigint[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.ledger_erase(bigint[], text) TO bulwark_retention;
COMMENT ON FUNCTION bulwark.ledger_erase(bigint[], text) IS
	'Destroys the contents of entries (images, e-mail, entity id, request, metadata) and returns how many had one. Their records stay, so that every proof and ledger_verify() still hold; an entry with the action retention names them, in the same transaction. Old row versions go with the next VACUUM FULL of their segment at the latest; WAL archives and backups keep what they hold. reason: 1 to 1,000 bytes. For bulwark_retention. Errors: 22023 no reason, or an entry that records an erasure, a definition or a configuration (but of a principal); 22004 a NULL id; 40001 in a transaction that has one snapshot, another has erased one of them since; 55000 no root key is loaded.';
