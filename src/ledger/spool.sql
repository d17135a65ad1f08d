-- spool: what survives the caller's rollback waits in shared memory for the
-- ledger's worker.  All of it is C; this shows how much waits.

CREATE FUNCTION bulwark_internal.ledger_spool(OUT entries bigint, OUT folded bigint, OUT used real)
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'bulwark_ledger_spool';
REVOKE ALL ON FUNCTION bulwark_internal.ledger_spool() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.ledger_spool() IS
	'What waits for the worker of this database''s ledger. entries: in the spool; folded: counted beyond bulwark.ledger_flood_limit and not yet written as a count; used: how full the spool of the whole server is, 0 to 1.';
