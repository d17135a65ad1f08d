-- ledger_verify(), ledger_problems(), proofs: who may call them, what they say of a
-- whole ledger, their errors.  What is found where it is not whole: test/t/055.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS bulwark;
CREATE SCHEMA ledger_verify_test;
SET search_path = ledger_verify_test;
CREATE ROLE ledger_verify_auditor IN ROLE bulwark_auditor;
CREATE ROLE ledger_verify_app LOGIN IN ROLE bulwark_app;
CREATE ROLE ledger_verify_backend LOGIN IN ROLE bulwark_impersonator;
CREATE ROLE ledger_verify_nobody;

CREATE TABLE orders (id int PRIMARY KEY, tenant_id uuid NOT NULL, item text);
GRANT USAGE ON SCHEMA ledger_verify_test TO ledger_verify_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO ledger_verify_app;
SELECT bulwark.protect('orders', 'tenant_id'), bulwark.audit('orders') \g /dev/null
SELECT bulwark.tenant_create('ledger-verify-acme', 'Acme') AS acme, bulwark.tenant_create('ledger-verify-globex', 'Globex') AS globex \gset
INSERT INTO orders SELECT n, :'acme', 'anvil ' || n FROM generate_series(1, 300) AS n;
INSERT INTO orders VALUES (1001, :'globex', 'magnet');
UPDATE orders SET item = 'rope' WHERE id % 10 = 0;
DELETE FROM orders WHERE id % 50 = 0;
BEGIN;
SAVEPOINT s;
INSERT INTO orders VALUES (2001, :'acme', 'gone again');
ROLLBACK TO s;
INSERT INTO orders VALUES (2002, :'acme', 'spring');
COMMIT;
BEGIN;
INSERT INTO orders VALUES (2003, :'acme', 'prepared');
COMMIT;

-- What is not sealed yet has its MACs and manifests, in the transaction that wrote it too.
BEGIN;
INSERT INTO orders VALUES (2004, :'acme', 'my own');
SELECT integrity, pending >= 1 AS own_counts FROM bulwark.ledger_verify();
COMMIT;
SELECT bulwark.ledger_seal() > 300 AS sealed;
SELECT integrity, anchoring, entries > 300 AS entries, entries - pending = tree_size AS all_there, problems FROM bulwark.ledger_verify();
SELECT * FROM bulwark.ledger_problems();

-- Against a checkpoint.
SELECT bulwark.ledger_checkpoint() AS note, bulwark.ledger_public_key() AS vkey \gset
SELECT integrity, anchoring FROM bulwark.ledger_verify(:'note', :'vkey');
INSERT INTO orders VALUES (2005, :'acme', 'later');
SELECT bulwark.ledger_seal() > 300 AS sealed;
SELECT integrity, anchoring FROM bulwark.ledger_verify(:'note', :'vkey');
SELECT ok, anchoring FROM bulwark.ledger_verify(replace(:'note', E'\nblock ', E'\nblocks '), :'vkey');
SELECT bulwark.ledger_verify('', :'vkey');
SELECT bulwark.ledger_verify(:'note', 'no key');
SELECT bulwark.ledger_verify(NULL, :'vkey') IS NULL AS strict;

-- Proofs say all that somebody outside needs.
SELECT entry_id FROM bulwark.ledger WHERE entity_type = 'ledger_verify_test.orders' AND entity_id = '2005' \gset
SELECT split_part(bulwark.ledger_checkpoint(), E'\n', 2)::bigint AS earlier \gset
SELECT bulwark.ledger_proof(:entry_id) AS proof \gset
SELECT key, jsonb_typeof(value) FROM jsonb_each(:'proof') ORDER BY key;
SELECT split_part(:'proof'::jsonb ->> 'checkpoint', E'\n', 2)::bigint
		BETWEEN :earlier AND split_part(bulwark.ledger_checkpoint(), E'\n', 2)::bigint AS newest,
	(:'proof'::jsonb ->> 'entry_id')::bigint = :entry_id AS entry,
	encode(sha256('\x00' || decode(:'proof'::jsonb ->> 'leaf', 'base64')), 'base64') = :'proof'::jsonb ->> 'leaf_hash' AS hash;
SELECT key, jsonb_typeof(value) FROM jsonb_each(bulwark.ledger_consistency(100, 300)) ORDER BY key;
SELECT jsonb_array_length(bulwark.ledger_consistency(256, 256) -> 'path') AS of_itself;
\set VERBOSITY sqlstate
SELECT bulwark.ledger_consistency(0, 5);
SELECT bulwark.ledger_consistency(6, 5);
SELECT bulwark.ledger_consistency(-1, 5);
SELECT bulwark.ledger_consistency(5, 1000000000);
BEGIN;
SELECT bulwark.ledger_record('app:test', 'test') AS unsealed \gset
SELECT bulwark.ledger_proof(:unsealed);
ROLLBACK;
\set VERBOSITY default
SELECT bulwark.ledger_proof(9000000000000000000);

-- Who may: auditors verify and prove, a person with audit:read proves what it sees.
SET ROLE ledger_verify_auditor;
SELECT integrity FROM bulwark.ledger_verify();
SELECT count(*) FROM bulwark.ledger_problems();
SELECT bulwark.ledger_proof(:entry_id) ->> 'version' AS version;
SELECT bulwark.ledger_consistency(1, 300) ->> 'version' AS version;
RESET ROLE;
SET ROLE ledger_verify_nobody;
SELECT * FROM bulwark.ledger_verify();
SELECT bulwark.ledger_proof(:entry_id);
RESET ROLE;
SELECT bulwark.principal_create('ann@ledger-verify.example') AS ann \gset
SELECT bulwark.membership_grant(:'ann', :'acme', 'tenant_admin') \g /dev/null
SELECT entry_id AS others FROM bulwark.ledger WHERE entity_type = 'ledger_verify_test.orders' AND entity_id = '1001' AND action = 'insert' \gset
SET SESSION AUTHORIZATION ledger_verify_app;
\set VERBOSITY sqlstate
SELECT * FROM bulwark.ledger_problems();
SELECT bulwark.ledger_proof(:entry_id);
SELECT bulwark.ledger_consistency(1, 1000000000);	-- how many there are is not told
SET SESSION AUTHORIZATION ledger_verify_backend;
BEGIN;
SELECT bulwark.assume(:'ann', :'acme') ->> 'email' AS acting_for;
SELECT bulwark.ledger_consistency(1, 300) ->> 'version' AS version;
SELECT bulwark.ledger_proof(:entry_id) ->> 'version' AS own_tenants;
SELECT bulwark.ledger_proof(:others);
ROLLBACK;
\set VERBOSITY default
RESET SESSION AUTHORIZATION;

DROP SCHEMA ledger_verify_test CASCADE;
DROP OWNED BY ledger_verify_auditor, ledger_verify_app, ledger_verify_backend, ledger_verify_nobody;
DROP ROLE ledger_verify_auditor, ledger_verify_app, ledger_verify_backend, ledger_verify_nobody;
