-- seal: entries go under one Merkle tree in blocks, each with a signed checkpoint.
-- A worker does it within bulwark.seal_interval; here is what asks it to, what it
-- tells, and the functions of the indexes that it gives to closed segments.

-- What the sealer found to be wrong with entries, each once.
CREATE TABLE bulwark_internal.ledger_findings (
	found_at timestamptz NOT NULL,
	incarnation bigint NOT NULL,
	xid bigint NOT NULL,
	entry_id bigint NOT NULL,
	problem text NOT NULL
);
SELECT pg_extension_config_dump('bulwark_internal.ledger_findings', '');
CREATE INDEX ON bulwark_internal.ledger_findings (incarnation, xid);
ALTER TABLE bulwark_internal.ledger_findings ENABLE ROW LEVEL SECURITY;

-- Their cost: with that of a comparison, plans would rather read all of a segment by its
-- time than what is asked for by an index.
CREATE FUNCTION bulwark_internal.leaf_entry_id(leaf bytea) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 30 AS 'MODULE_PATHNAME', 'bulwark_leaf_entry_id';
REVOKE ALL ON FUNCTION bulwark_internal.leaf_entry_id(bytea) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.leaf_entry_id(bytea) IS 'The id of a stored entry.';
CREATE FUNCTION bulwark_internal.leaf_time(leaf bytea) RETURNS timestamptz
	LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 30 AS 'MODULE_PATHNAME', 'bulwark_leaf_time';
REVOKE ALL ON FUNCTION bulwark_internal.leaf_time(bytea) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.leaf_time(bytea) IS 'When a stored entry was made.';
CREATE FUNCTION bulwark_internal.leaf_actor(leaf bytea) RETURNS uuid
	LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 30 AS 'MODULE_PATHNAME', 'bulwark_leaf_actor';
REVOKE ALL ON FUNCTION bulwark_internal.leaf_actor(bytea) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.leaf_actor(bytea) IS 'The principal of a stored entry; NULL: none.';
CREATE FUNCTION bulwark_internal.leaf_tenant(leaf bytea) RETURNS uuid
	LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 30 AS 'MODULE_PATHNAME', 'bulwark_leaf_tenant';
REVOKE ALL ON FUNCTION bulwark_internal.leaf_tenant(bytea) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.leaf_tenant(bytea) IS 'The tenant of a stored entry; NULL: none.';
CREATE FUNCTION bulwark_internal.leaf_action(leaf bytea) RETURNS text
	LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 30 AS 'MODULE_PATHNAME', 'bulwark_leaf_action';
REVOKE ALL ON FUNCTION bulwark_internal.leaf_action(bytea) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.leaf_action(bytea) IS 'The action of a stored entry.';
CREATE FUNCTION bulwark_internal.leaf_entity_type(leaf bytea) RETURNS text
	LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 30 AS 'MODULE_PATHNAME', 'bulwark_leaf_entity_type';
REVOKE ALL ON FUNCTION bulwark_internal.leaf_entity_type(bytea) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.leaf_entity_type(bytea) IS 'The entity type of a stored entry.';
CREATE FUNCTION bulwark_internal.leaf_affiliation(leaf bytea) RETURNS text
	LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 30 AS 'MODULE_PATHNAME', 'bulwark_leaf_affiliation';
REVOKE ALL ON FUNCTION bulwark_internal.leaf_affiliation(bytea) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.leaf_affiliation(bytea) IS 'The affiliation of a stored entry; NULL: none.';
CREATE FUNCTION bulwark_internal.content_entity_id(content bytea) RETURNS text
	LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_content_entity_id';
REVOKE ALL ON FUNCTION bulwark_internal.content_entity_id(bytea) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.content_entity_id(bytea) IS 'The entity id of a stored content; NULL: none, or erased.';

CREATE FUNCTION bulwark_internal.ledger_pending(OUT pending bigint, OUT oldest timestamptz, OUT worker integer,
	OUT sealed_at timestamptz, OUT failures integer)
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'bulwark_ledger_pending';
REVOKE ALL ON FUNCTION bulwark_internal.ledger_pending() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.ledger_pending() IS
	'Committed entries that are not sealed yet, the oldest one''s time, and the sealer''s worker of this database.';

CREATE FUNCTION bulwark.ledger_seal() RETURNS bigint
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'bulwark_ledger_seal';
REVOKE ALL ON FUNCTION bulwark.ledger_seal() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.ledger_seal() TO bulwark_auditor, bulwark_admin;
COMMENT ON FUNCTION bulwark.ledger_seal() IS
	'Waits until the worker has sealed everything that was committed before the call; the size of the tree, in entries. The worker does so '
	'by itself within bulwark.seal_interval. 55000: no root key, sealing failed, or no worker came within a minute; 25006: on a standby.';

CREATE FUNCTION bulwark.ledger_checkpoint() RETURNS text
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'bulwark_ledger_checkpoint';
REVOKE ALL ON FUNCTION bulwark.ledger_checkpoint() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.ledger_checkpoint() TO bulwark_auditor, bulwark_admin;
COMMENT ON FUNCTION bulwark.ledger_checkpoint() IS
	'The newest checkpoint of the ledger, a C2SP tlog-checkpoint as a signed note (Ed25519): keep it elsewhere. NULL: nothing is sealed yet.';

CREATE FUNCTION bulwark.ledger_public_key() RETURNS text
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'bulwark_ledger_public_key';
REVOKE ALL ON FUNCTION bulwark.ledger_public_key() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.ledger_public_key() TO bulwark_auditor, bulwark_admin;
COMMENT ON FUNCTION bulwark.ledger_public_key() IS
	'The key that verifies the newest checkpoint, in the verifier form (vkey) of C2SP signed notes: keep it elsewhere, and '
	'keep it again after ledger_key_rotate(). NULL: the ledger has not begun.';

CREATE FUNCTION bulwark.ledger_key_rotate() RETURNS text
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'bulwark_ledger_key_rotate';
REVOKE ALL ON FUNCTION bulwark.ledger_key_rotate() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.ledger_key_rotate() TO bulwark_keys;
COMMENT ON FUNCTION bulwark.ledger_key_rotate() IS
	'Makes new keys for the ledger, to sign checkpoints and to authenticate entries; the new verifier key. The change is an entry, and the '
	'next checkpoint is signed by both keys and names the new one (a line "next"), which verifiers follow. 55000: no root key, or the newest key has not signed anything yet.';

CREATE FUNCTION bulwark.ledger_status(OUT tree_size bigint, OUT pending bigint, OUT lag interval, OUT sealed_at timestamptz,
	OUT worker integer, OUT failures integer, OUT findings bigint, OUT segments bigint, OUT unindexed bigint,
	OUT held_back_by text, OUT held_back_since timestamptz)
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
	SELECT p.pending, clock_timestamp() - p.oldest, p.worker, p.sealed_at, p.failures
		INTO ledger_status.pending, ledger_status.lag, ledger_status.worker, ledger_status.sealed_at, ledger_status.failures
		FROM bulwark_internal.ledger_pending() p;
	SELECT b.tree_size INTO ledger_status.tree_size FROM bulwark_internal.ledger_blocks b ORDER BY b.block DESC LIMIT 1;
	tree_size := coalesce(tree_size, 0);
	SELECT count(*) INTO ledger_status.findings FROM bulwark_internal.ledger_findings;
	SELECT count(*) FILTER (WHERE state <> 'ahead'), count(*) FILTER (WHERE state = 'closed')
		INTO ledger_status.segments, ledger_status.unindexed FROM bulwark_internal.ledger_segments;

	-- who writes: its rows cannot be sealed before it ends
	SELECT CASE WHEN x.gid IS NULL THEN format('process %s', l.pid) ELSE format('prepared transaction %L', x.gid) END,
		coalesce(x.prepared, a.xact_start)
		INTO ledger_status.held_back_by, ledger_status.held_back_since
		FROM pg_locks l
		JOIN pg_inherits i ON i.inhrelid = l.relation AND i.inhparent = 'bulwark_internal.ledger_entries'::regclass
		LEFT JOIN pg_stat_activity a ON a.pid = l.pid
		LEFT JOIN pg_locks t ON l.pid IS NULL AND t.virtualtransaction = l.virtualtransaction AND t.locktype = 'transactionid'
		LEFT JOIN pg_prepared_xacts x ON x.transaction = t.transactionid
		WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock'
			AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
		ORDER BY coalesce(x.prepared, a.xact_start) LIMIT 1;
END
$function$;
REVOKE ALL ON FUNCTION bulwark.ledger_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.ledger_status() TO bulwark_auditor, bulwark_admin;
COMMENT ON FUNCTION bulwark.ledger_status() IS
	'The sealer''s state: entries under the tree and committed entries that wait for it, the oldest one''s age, the last round, the worker''s '
	'pid and its failures in a row, findings (entries that were not as they should be), segments and those closed that have no indexes yet, '
	'and the session or prepared transaction that has had entries uncommitted for longest, with its beginning.';
