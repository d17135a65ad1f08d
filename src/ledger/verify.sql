-- verify: the server's own check of its ledger, and proofs for whoever is outside.

CREATE FUNCTION bulwark.ledger_verify(OUT ok boolean, OUT integrity text, OUT coverage text, OUT anchoring text,
		OUT tree_size bigint, OUT entries bigint, OUT pending bigint, OUT problems bigint)
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_ledger_verify';
REVOKE ALL ON FUNCTION bulwark.ledger_verify() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.ledger_verify() TO bulwark_auditor, bulwark_admin;
COMMENT ON FUNCTION bulwark.ledger_verify() IS
	'Recomputes the whole ledger from its stored bytes: records, authentication codes, contents, leaves, tiles, blocks, signatures, manifests of what is not sealed. integrity, coverage (is all that should be audited audited) and anchoring are ''ok'' or say what is wrong; anchoring is ''not checked'' without a checkpoint; ok: integrity and coverage. pending: entries not sealed yet. One snapshot, constant memory; writers go on. This is the server''s check of itself: proof is "bulwarkctl verify" with a checkpoint that was kept elsewhere.';

CREATE FUNCTION bulwark.ledger_verify(checkpoint text, vkey text, OUT ok boolean, OUT integrity text, OUT coverage text, OUT anchoring text,
		OUT tree_size bigint, OUT entries bigint, OUT pending bigint, OUT problems bigint)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_ledger_verify_checkpoint';
REVOKE ALL ON FUNCTION bulwark.ledger_verify(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.ledger_verify(text, text) TO bulwark_auditor, bulwark_admin;
COMMENT ON FUNCTION bulwark.ledger_verify(text, text) IS
	'The same, and compares the ledger with a checkpoint that was kept. checkpoint: a C2SP signed note of ledger_checkpoint(); vkey: the verifier key that signed it, as it was kept. anchoring: the signature under that key, the same log, no fewer leaves, the same root of as many; ok: all three verdicts. Errors: 22023 what is given is no checkpoint or no verifier key.';

CREATE FUNCTION bulwark.ledger_problems(OUT leaf_index bigint, OUT entry_id bigint, OUT problem text) RETURNS SETOF record
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_ledger_problems';
REVOKE ALL ON FUNCTION bulwark.ledger_problems() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.ledger_problems() TO bulwark_auditor, bulwark_admin;
COMMENT ON FUNCTION bulwark.ledger_problems() IS
	'Verifies the ledger as ledger_verify() does and lists each problem with the leaf and the entry it concerns, NULL where that is not known. No row: integrity is ok.';

CREATE FUNCTION bulwark.ledger_proof(entry_id bigint) RETURNS jsonb
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_ledger_proof';
REVOKE ALL ON FUNCTION bulwark.ledger_proof(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.ledger_proof(bigint) TO bulwark_app, bulwark_impersonator, bulwark_auditor;
COMMENT ON FUNCTION bulwark.ledger_proof(bigint) IS
	'The RFC 6962 inclusion proof of an entry that the caller may see: its leaf, the path, and the signed checkpoint of the tree; "bulwarkctl verify --proof" checks it (docs/file-formats.md). Errors: 42704 no such entry for the caller; 55000 it is not sealed yet.';

CREATE FUNCTION bulwark.ledger_consistency(old_size bigint, new_size bigint) RETURNS jsonb
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_ledger_consistency';
REVOKE ALL ON FUNCTION bulwark.ledger_consistency(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.ledger_consistency(bigint, bigint) TO bulwark_app, bulwark_impersonator, bulwark_auditor, bulwark_admin;
COMMENT ON FUNCTION bulwark.ledger_consistency(bigint, bigint) IS
	'The RFC 6962 consistency proof that the tree of new_size leaves begins with that of old_size. For members of bulwark_auditor or bulwark_admin, and identities with audit:read. Errors: 22023 unless 1 <= old_size <= new_size <= the tree''s size; 42501 anybody else.';
