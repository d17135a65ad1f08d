-- ledger_seal, ledger_checkpoint, ledger_public_key, ledger_key_rotate, ledger_status:
-- what they answer, and to whom.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS bulwark;
RESET client_min_messages;
CREATE SCHEMA seal_test;
SET search_path = seal_test;
CREATE ROLE seal_admin LOGIN IN ROLE bulwark_admin;
CREATE ROLE seal_auditor LOGIN IN ROLE bulwark_auditor;
CREATE ROLE seal_keys LOGIN IN ROLE bulwark_keys;
CREATE ROLE seal_app LOGIN IN ROLE bulwark_app;
GRANT USAGE ON SCHEMA seal_test TO PUBLIC;
CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE statement INTO result;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END $$;

CREATE TABLE item (id int PRIMARY KEY, v text);
SELECT bulwark.audit('item');
INSERT INTO item SELECT n, 'value ' || n FROM generate_series(1, 300) n;
SELECT bulwark.ledger_seal() AS size \gset
SELECT :size >= 301 AS all_are_sealed;
SELECT bulwark.ledger_seal() = :size AS nothing_to_seal;
INSERT INTO item VALUES (301, 'one');
SELECT bulwark.ledger_seal() = :size + 1 AS one_more;

-- a checkpoint is a signed note
SELECT line, CASE
	WHEN n = 1 THEN text ~ '^bulwark/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
	WHEN n = 2 THEN text = (:size + 1)::text
	WHEN n = 3 THEN text ~ '^[A-Za-z0-9+/]{43}=$'
	WHEN n = 4 THEN text ~ '^block [0-9]+ [A-Za-z0-9+/]{43}=$'
	WHEN n = 5 THEN text = ''
	WHEN n = 6 THEN text ~ '^— bulwark/[0-9a-f-]{36} [A-Za-z0-9+/]{91}=$' END AS as_it_must
FROM (VALUES (1, 'origin'), (2, 'size'), (3, 'root'), (4, 'block'), (5, 'empty'), (6, 'signature')) AS l (n, line)
JOIN regexp_split_to_table(rtrim(bulwark.ledger_checkpoint(), E'\n'), E'\n') WITH ORDINALITY AS t (text, n) USING (n) ORDER BY n;
SELECT bulwark.ledger_public_key() ~ '^bulwark/[0-9a-f-]{36}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}$' AS vkey,
	split_part(bulwark.ledger_public_key(), '+', 1) = split_part(bulwark.ledger_checkpoint(), E'\n', 1) AS same_origin;

-- the tree has every leaf once
SELECT sum(octet_length(hashes)) / 32 = :size + 1 AS each_leaf FROM bulwark_internal.ledger_tiles WHERE level = 0;

-- who commits waits, if told to
SET bulwark.commit_waits_for_seal = on;
INSERT INTO item VALUES (302, 'two');
SELECT pending FROM bulwark.ledger_status();
RESET bulwark.commit_waits_for_seal;

SELECT tree_size = :size + 2 AS size, pending, lag, failures, findings, segments >= 1 AS segments, held_back_by FROM bulwark.ledger_status();

-- keys
SELECT bulwark.ledger_public_key() AS old_key \gset
SELECT bulwark.ledger_key_rotate() AS new_key \gset
SELECT :'old_key' <> :'new_key' AS another;
SELECT bulwark.ledger_seal() > 0 AS sealed;
SELECT bulwark.ledger_public_key() = :'new_key' AS signs_now, regexp_count(bulwark.ledger_checkpoint(), '— ') AS signatures;
SELECT metadata - 'old' - 'new' AS metadata, metadata ->> 'old' = :'old_key' AS old, metadata ->> 'new' = :'new_key' AS new
	FROM bulwark.ledger WHERE entity_type = 'bulwark.ledger_key' ORDER BY entry_id DESC LIMIT 1;
BEGIN;
SELECT bulwark.ledger_key_rotate() IS NOT NULL AS rotated;
SELECT attempt('SELECT bulwark.ledger_key_rotate()');
ROLLBACK;
INSERT INTO item VALUES (303, 'three');
SELECT bulwark.ledger_seal() > 0 AS sealed;
SELECT bulwark.ledger_public_key() = :'new_key' AS signs_still, regexp_count(bulwark.ledger_checkpoint(), '— ') AS signatures;

-- who may
SELECT role, call, has_function_privilege(role, call, 'EXECUTE')
FROM unnest(ARRAY['seal_admin', 'seal_auditor', 'seal_keys', 'seal_app']) WITH ORDINALITY AS r (role, n),
	unnest(ARRAY['bulwark.ledger_seal()', 'bulwark.ledger_checkpoint()', 'bulwark.ledger_public_key()', 'bulwark.ledger_key_rotate()',
		'bulwark.ledger_status()']) WITH ORDINALITY AS c (call, m)
ORDER BY n, m;
SET ROLE seal_app;
SELECT bulwark.ledger_seal();
SELECT bulwark.ledger_status();
RESET ROLE;
SET ROLE seal_auditor;
SELECT bulwark.ledger_seal() > 0 AS sealed;
SELECT pending FROM bulwark.ledger_status();
RESET ROLE;
SET ROLE seal_keys;
SELECT bulwark.ledger_key_rotate() IS NOT NULL AS rotated;
RESET ROLE;

-- fields of bytes that are no entry
SELECT bulwark_internal.leaf_entry_id(b), extract(epoch FROM bulwark_internal.leaf_time(b))::bigint AS leaf_time, bulwark_internal.leaf_actor(b), bulwark_internal.leaf_tenant(b),
	bulwark_internal.leaf_action(b), bulwark_internal.leaf_entity_type(b), bulwark_internal.leaf_affiliation(b), bulwark_internal.content_entity_id(b)
FROM (VALUES ('\x'::bytea), ('\x00'), ('\x01'), ('\x01ffffff'), (decode(repeat('ff', 300), 'hex')), (decode(repeat('01', 300), 'hex'))) AS v (b);
-- an entity id that is long is found in the whole content
INSERT INTO item VALUES (304, 'four');
CREATE TABLE named (id text PRIMARY KEY);
SELECT bulwark.audit('named');
INSERT INTO named VALUES (repeat('n', 2500));
SELECT length(entity_id) FROM bulwark.ledger WHERE entity_type = 'seal_test.named' AND action = 'insert';
SELECT integrity, pending = 0 AS all_sealed FROM (SELECT bulwark.ledger_seal()) s, bulwark.ledger_verify();

SELECT bulwark.audit_stop('item'), bulwark.audit_stop('named');
DROP TABLE item, named;
DROP FUNCTION attempt(text);
REVOKE USAGE ON SCHEMA seal_test FROM PUBLIC;
DROP SCHEMA seal_test;
DROP ROLE seal_admin, seal_auditor, seal_keys, seal_app;
