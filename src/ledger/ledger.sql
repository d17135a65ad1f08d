-- ledger: the audit trail.  Entries go into segments that no statement changes,
-- a worker puts them under one Merkle tree and signs its checkpoints.  The tables
-- are written by C alone; guard.c refuses every statement that names them.

-- The log of this database; empty until its first entry.
CREATE TABLE bulwark_internal.ledger_log (
	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	log_id uuid NOT NULL,
	created_at timestamptz NOT NULL
);
SELECT pg_extension_config_dump('bulwark_internal.ledger_log', '');

-- Where the log has lived: a restore, a promotion, a clone begins another.
CREATE TABLE bulwark_internal.ledger_incarnations (
	incarnation integer PRIMARY KEY,
	cause text NOT NULL,
	system_identifier numeric NOT NULL,
	database_id uuid NOT NULL,
	database_oid bigint NOT NULL,
	timeline integer NOT NULL,
	tree_size bigint NOT NULL,
	started_at timestamptz NOT NULL
);
SELECT pg_extension_config_dump('bulwark_internal.ledger_incarnations', '');

-- Wrapped by the keyring: 's' signs checkpoints, 'm' authenticates entries.
CREATE TABLE bulwark_internal.ledger_keys (
	kind "char" NOT NULL,
	epoch integer NOT NULL,
	public_key bytea,
	wrapped bytea NOT NULL,
	created_at timestamptz NOT NULL,
	PRIMARY KEY (kind, epoch)
);
SELECT pg_extension_config_dump('bulwark_internal.ledger_keys', '');

-- What relations' rows look like.  No unique index: writers wait for nobody, and
-- two may add the same shape.
CREATE TABLE bulwark_internal.ledger_shapes (
	shape_id bytea NOT NULL,
	shape bytea NOT NULL
);
CREATE INDEX ON bulwark_internal.ledger_shapes (shape_id);
SELECT pg_extension_config_dump('bulwark_internal.ledger_shapes', '');

-- Entries.  Always empty itself: rows are in its children, ledger_segment_N, which
-- are made ahead by the worker.
CREATE TABLE bulwark_internal.ledger_entries (
	leaf bytea NOT NULL,		-- record and MAC
	content bytea				-- NULL once erased
);
ALTER TABLE bulwark_internal.ledger_entries ALTER COLUMN leaf SET STORAGE MAIN;
-- contents can be erased, samples of them in pg_statistic cannot
ALTER TABLE bulwark_internal.ledger_entries ALTER COLUMN content SET STATISTICS 0;
SELECT pg_extension_config_dump('bulwark_internal.ledger_entries', '');

CREATE SEQUENCE bulwark_internal.ledger_entry_id INCREMENT 64;
SELECT pg_extension_config_dump('bulwark_internal.ledger_entry_id', '');

CREATE TABLE bulwark_internal.ledger_segments (
	segment integer PRIMARY KEY,
	state text NOT NULL CHECK (state IN ('ahead', 'active', 'closed', 'indexed')),
	sealed_blocks bigint NOT NULL DEFAULT 0,	-- heap blocks before this one hold nothing unsealed, ...
	filenode bigint NOT NULL DEFAULT 0,	-- ... in this file: a rewritten table has another
	opened_at timestamptz,
	closed_at timestamptz
);
SELECT pg_extension_config_dump('bulwark_internal.ledger_segments', '');

-- The tree: hashes in tiles of 256 (docs/file-formats.md).
CREATE TABLE bulwark_internal.ledger_tiles (
	level smallint NOT NULL,
	tile bigint NOT NULL,
	hashes bytea NOT NULL,
	PRIMARY KEY (level, tile)
);
ALTER TABLE bulwark_internal.ledger_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;
SELECT pg_extension_config_dump('bulwark_internal.ledger_tiles', '');

CREATE TABLE bulwark_internal.ledger_blocks (
	block bigint PRIMARY KEY,
	incarnation integer NOT NULL,
	snapshot_xmax bigint NOT NULL,
	first_leaf bigint NOT NULL,
	tree_size bigint NOT NULL,
	header bytea NOT NULL,
	runs bytea NOT NULL,
	checkpoint text NOT NULL
);
CREATE INDEX ON bulwark_internal.ledger_blocks (incarnation, snapshot_xmax);
CREATE INDEX ON bulwark_internal.ledger_blocks (first_leaf);
SELECT pg_extension_config_dump('bulwark_internal.ledger_blocks', '');

-- Transactions that were in progress when an earlier block was sealed: where they
-- are.  All others are in the first block whose snapshot has a larger xmax.
CREATE TABLE bulwark_internal.ledger_stragglers (
	incarnation integer NOT NULL,
	xid bigint NOT NULL,
	block bigint NOT NULL,
	PRIMARY KEY (incarnation, xid)
);
SELECT pg_extension_config_dump('bulwark_internal.ledger_stragglers', '');

-- Which relations are audited, by name as well: a dump has no oids.
CREATE TABLE bulwark_internal.ledger_audited (
	relation regclass PRIMARY KEY,
	exclude_columns name[] NOT NULL DEFAULT '{}',
	sealed_columns name[] NOT NULL DEFAULT '{}',
	reads boolean NOT NULL DEFAULT false,
	automatic boolean NOT NULL DEFAULT false	-- a partition or child of an audited table
);
SELECT pg_extension_config_dump('bulwark_internal.ledger_audited', '');

DO $tables$
DECLARE
	t name;
BEGIN
	FOREACH t IN ARRAY ARRAY['ledger_log', 'ledger_incarnations', 'ledger_keys', 'ledger_shapes', 'ledger_entries',
		'ledger_segments', 'ledger_tiles', 'ledger_blocks', 'ledger_stragglers', 'ledger_audited']
	LOOP
		EXECUTE format('ALTER TABLE bulwark_internal.%I ENABLE ROW LEVEL SECURITY', t);
	END LOOP;
END
$tables$;
