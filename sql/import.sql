-- Columns of plaintext and of pgcrypto's ciphertext become encrypted ones: every
-- value, under its row's tenant, and nothing of the old ones left in the files.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS bulwark;
CREATE SCHEMA crypto;
CREATE EXTENSION pgcrypto SCHEMA crypto;
CREATE ROLE import_owner LOGIN IN ROLE bulwark_keys;
CREATE ROLE import_keys LOGIN IN ROLE bulwark_keys;
RESET client_min_messages;
CREATE SCHEMA import;
GRANT USAGE, CREATE ON SCHEMA import TO import_owner, import_keys;
SET search_path = import;

CREATE TABLE tenant (name text PRIMARY KEY, id uuid NOT NULL DEFAULT gen_random_uuid());
CREATE TABLE person (name text PRIMARY KEY, id uuid NOT NULL DEFAULT gen_random_uuid());
INSERT INTO tenant (name) VALUES ('a'), ('b');
INSERT INTO person (name) VALUES ('a'), ('b');
SELECT count(bulwark.tenant_create('import-' || name, name, id => id)) FROM tenant;
SELECT count(bulwark.principal_create('import-' || name || '@example.org', id => id)) FROM person;
SELECT count(bulwark.membership_grant(p.id, t.id, 'tenant_admin')) FROM person p JOIN tenant t USING (name);
SELECT id AS a FROM tenant WHERE name = 'a' \gset
SELECT id AS b FROM tenant WHERE name = 'b' \gset
CREATE FUNCTION act(name text) RETURNS boolean LANGUAGE sql
	RETURN bulwark.assume((SELECT id FROM import.person p WHERE p.name = act.name), (SELECT id FROM import.tenant t WHERE t.name = act.name)) IS NOT NULL;
-- Does any file of the table hold the text?  Looked for from outside.
CREATE FUNCTION on_disk(relation regclass, what text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	r regclass;
BEGIN
	CHECKPOINT;
	FOR r IN SELECT relation UNION ALL SELECT reltoastrelid FROM pg_class WHERE oid = relation AND reltoastrelid <> 0
		UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = relation LOOP
		IF position(what::bytea IN pg_read_binary_file(pg_relation_filepath(r))) > 0 THEN
			RETURN true;
		END IF;
	END LOOP;
	RETURN false;
END
$$;

-- A table of two tenants, with NULLs, long values, updates and dead rows.
CREATE TABLE customer (id int PRIMARY KEY, tenant_id uuid NOT NULL, email text NOT NULL, note varchar(40), doc json, raw bytea, n int);
INSERT INTO customer SELECT i, CASE WHEN i % 2 = 0 THEN :'a' ELSE :'b' END::uuid, 'canary-' || i || '@example.org',
	CASE WHEN i % 3 = 0 THEN 'note ' || i END, json_build_object('i', i), decode(lpad(to_hex(i), 8, '0'), 'hex'), i
FROM generate_series(1, 5000) i;
UPDATE customer SET email = 'canary-long-' || repeat('x', 5000) || id WHERE id % 500 = 0;
UPDATE customer SET email = 'canary-changed-' || id WHERE id % 7 = 0;
DELETE FROM customer WHERE id % 11 = 0;
ALTER TABLE customer OWNER TO import_owner;
SELECT bulwark.protect('customer', 'tenant_id');
CREATE TABLE before AS SELECT id, tenant_id, email, note, doc::text AS doc, raw, n FROM customer;
SELECT on_disk('customer', 'canary-17@');

-- Who may, and what is refused.
SET SESSION AUTHORIZATION import_keys;
CALL bulwark.encrypt_column('customer', 'email');
SET SESSION AUTHORIZATION import_owner;
CALL bulwark.encrypt_column('customer', 'nothing');
CALL bulwark.encrypt_column('customer', 'email', 'text');
CALL bulwark.encrypt_column('customer', 'raw', 'bulwark.encrypted_text');
CALL bulwark.encrypt_column('customer', 'id');
CALL bulwark.encrypt_column('customer', 'email', batch => 0);
CALL bulwark.encrypt_column('customer', NULL);
BEGIN;
CALL bulwark.encrypt_column('customer', 'email');
ROLLBACK;
CREATE TABLE whose (t text);
INSERT INTO whose VALUES ('of nobody');
CALL bulwark.encrypt_column('whose', 't');
RESET SESSION AUTHORIZATION;

SELECT (SELECT count(*) FROM customer) AS rows \gset
SET SESSION AUTHORIZATION import_owner;
CALL bulwark.encrypt_column('customer', 'email', context_column => 'id', batch => 300) \gset email_
CALL bulwark.encrypt_column('customer', 'note') \gset note_
CALL bulwark.encrypt_column('customer', 'doc') \gset doc_
CALL bulwark.encrypt_column('customer', 'raw', context => 'raw') \gset raw_
CALL bulwark.encrypt_column('customer', 'n') \gset n_
CALL bulwark.encrypt_column('customer', 'n');
RESET SESSION AUTHORIZATION;
SELECT r.name, (r.report ->> 'rows')::int AS rows, r.report ->> 'samples' AS samples, (r.report ->> 'pages_scanned')::int > 10 AS scanned,
	r.report ->> 'pages_with_residue' AS residue, r.report ->> 'values_not_encrypted' AS bare, jsonb_array_length(r.report -> 'remaining') > 3 AS remaining
FROM (VALUES ('email', :'email_report'::jsonb), ('note', :'note_report'), ('doc', :'doc_report'), ('raw', :'raw_report'), ('n', :'n_report')) r (name, report);
SELECT attname, atttypid::regtype, attnotnull, attnum FROM pg_attribute WHERE attrelid = 'customer'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'customer'::regclass AND tgname ~ 'encrypting';
SELECT on_disk('customer', 'canary'), on_disk('customer', 'note 1');
-- Every value is its row's, for its row's tenant, under its context.
GRANT SELECT ON customer, before TO import_owner;
BEGIN;
SELECT act('a');
SELECT count(*), count(*) FILTER (WHERE bulwark.decrypt_text(c.email, c.id::text) = b.email
	AND bulwark.decrypt_text(c.note) IS NOT DISTINCT FROM b.note AND bulwark.decrypt_jsonb(c.doc) = b.doc::jsonb
	AND bulwark.decrypt_bytea(c.raw, 'raw') = b.raw AND bulwark.decrypt_text(c.n) = b.n::text) AS same
FROM customer c JOIN before b USING (id) WHERE c.tenant_id = :'a';
SELECT bulwark.decrypt_text(email, '1') FROM customer WHERE id = 2;
ROLLBACK;
BEGIN;
SELECT act('b');
SELECT count(*), count(*) FILTER (WHERE bulwark.decrypt_text(c.email, c.id::text) = b.email) AS same
FROM customer c JOIN before b USING (id) WHERE c.tenant_id = :'b';
SELECT bulwark.decrypt_text(email, '2') FROM customer WHERE id = 2;
ROLLBACK;

-- An interrupted run is begun again: a value that changed meanwhile is made anew,
-- and nobody writes to the second column.
CREATE TABLE again (id int PRIMARY KEY, v text);
INSERT INTO again SELECT i, 'canary-' || i FROM generate_series(1, 100) i;
INSERT INTO again VALUES (101, E'bad \u0001');
ALTER TABLE again ADD CHECK (id < 1000);
CREATE FUNCTION stop() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'interrupted'; END $$;
ALTER TABLE again ADD CONSTRAINT interrupt CHECK (id <> 60 OR stop()) NOT VALID;
CALL bulwark.encrypt_column('again', 'v', tenant_id => :'a', batch => 10);
SELECT count(*), count(bulwark_encrypting_2) FROM again;
UPDATE again SET v = 'canary-new' WHERE id = 5;
UPDATE again SET bulwark_encrypting_2 = NULL WHERE id = 6;
UPDATE again SET v = v WHERE id = 7;
SELECT id, bulwark_encrypting_2 IS NULL AS forgotten FROM again WHERE id BETWEEN 5 AND 7 ORDER BY id;
ALTER TABLE again DROP CONSTRAINT interrupt;
CALL bulwark.encrypt_column('again', 'v', tenant_id => :'a', batch => 10) \gset again_
BEGIN;
SELECT act('a');
SELECT count(*), count(*) FILTER (WHERE bulwark.decrypt_text(v) = CASE id WHEN 5 THEN 'canary-new' WHEN 101 THEN E'bad \u0001' ELSE 'canary-' || id END) AS same FROM again;
ROLLBACK;
SELECT on_disk('again', 'canary');

-- S7: what ANALYZE kept: gone for SQL, in dead rows of the catalogs' files until they are written anew, which the report says.
CREATE TABLE analyzed (id int, v text, w text);
ALTER TABLE analyzed ALTER v SET STATISTICS 10;
INSERT INTO analyzed SELECT i, 'sampled-' || i % 5, 'w' || i % 5 FROM generate_series(1, 100) i;
CREATE STATISTICS analyzed_s (mcv) ON v, w FROM analyzed;
ANALYZE analyzed;
CREATE FUNCTION sampled(catalog regclass) RETURNS boolean LANGUAGE sql
	RETURN position('sampled-' IN encode(pg_read_binary_file(pg_relation_filepath(catalog)), 'escape')) > 0;
SELECT count(*) FROM pg_stats WHERE tablename = 'analyzed' AND attname = 'v' AND most_common_vals::text ~ 'sampled-';
DROP STATISTICS analyzed_s;
CALL bulwark.encrypt_column('analyzed', 'v', tenant_id => :'a') \gset analyzed_
CHECKPOINT;
SELECT count(*) FROM pg_stats WHERE tablename = 'analyzed' AND attname = 'v';
SELECT :'analyzed_report'::jsonb -> 'remaining' @> '["dead rows of pg_statistic and pg_statistic_ext_data, until VACUUM FULL of both"]' AS said, sampled('pg_statistic') AS there;
-- What others may still see is kept by VACUUM: until nobody's snapshot is older.
CREATE PROCEDURE await_snapshots() LANGUAGE plpgsql AS $$
DECLARE
	mark xid := pg_current_xact_id()::xid;
BEGIN
	COMMIT;
	WHILE EXISTS (SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND age(backend_xmin) > age(mark)) LOOP
		PERFORM pg_sleep(0.05), pg_stat_clear_snapshot();
		COMMIT;
	END LOOP;
END
$$;
CALL await_snapshots();
VACUUM FULL pg_statistic;
VACUUM FULL pg_statistic_ext_data;
CHECKPOINT;
SELECT sampled('pg_statistic') AS there, sampled('pg_statistic_ext_data') AS in_the_other;

-- What depends on a column is named.
CREATE TABLE depended (id int, v text, w text DEFAULT 'x');
CREATE INDEX ON depended (v);
CALL bulwark.encrypt_column('depended', 'v', tenant_id => :'a');
CALL bulwark.encrypt_column('depended', 'w', tenant_id => :'a');
-- Partitions that order their columns otherwise.
CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE parts_2 (v text, id int, gone int);
ALTER TABLE parts_2 DROP COLUMN gone;
ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (100) TO (200);
INSERT INTO parts SELECT i, 'canary-' || i FROM generate_series(0, 199) i;
CALL bulwark.encrypt_column('parts', 'v', tenant_id => :'a', batch => 7) \gset parts_
BEGIN;
SELECT act('a');
SELECT count(*), count(*) FILTER (WHERE bulwark.decrypt_text(v) = 'canary-' || id) AS same FROM parts;
ROLLBACK;
SELECT on_disk('parts_1', 'canary'), on_disk('parts_2', 'canary');

-- From pgcrypto, S12: a planted function of the same name sees nothing.
CREATE FUNCTION pgp_sym_decrypt(bytea, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
CREATE FUNCTION public.pgp_sym_decrypt(bytea, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
CREATE TABLE old (id int PRIMARY KEY, v bytea, b bytea);
INSERT INTO old SELECT i, crypto.pgp_sym_encrypt('secret ' || i, 'pass phrase'),
	crypto.pgp_sym_encrypt_bytea(decode(lpad(to_hex(i), 8, '0'), 'hex'), 'pass phrase') FROM generate_series(1, 40) i;
SELECT encode(substr(v, 1, 40), 'hex') AS ciphertext FROM old WHERE id = 7 \gset
CALL bulwark.secrets_import_pgp('old', 'v', 'wrong', tenant_id => :'a');
CALL bulwark.secrets_import_pgp('old', 'v', 'pass phrase', type => 'bulwark.secret', context => 'old', tenant_id => :'a', batch => 15) \gset old_
CALL bulwark.secrets_import_pgp('old', 'b', 'pass phrase', type => 'bulwark.encrypted_bytea', tenant_id => :'a') \gset b_
SELECT r.report - '{remaining,pages_scanned}'::text[] FROM (VALUES (:'old_report'::jsonb), (:'b_report')) r (report);
BEGIN;
SELECT act('a');
SELECT count(*), count(*) FILTER (WHERE bulwark.decrypt(v, 'test', 'old') = 'secret ' || id) AS same,
	count(*) FILTER (WHERE bulwark.decrypt_bytea(b) = decode(lpad(to_hex(id), 8, '0'), 'hex')) AS bytes FROM old;
ROLLBACK;
CHECKPOINT;
SELECT position(decode(:'ciphertext', 'hex') IN pg_read_binary_file(pg_relation_filepath('old'))) AS left_on_disk;
SELECT l.metadata ->> 'operation' AS operation, l.entity_type, l.entity_id, l.metadata ->> 'column' AS column
FROM bulwark.ledger l WHERE l.metadata ->> 'operation' IN ('encrypt_column', 'secrets_import_pgp') ORDER BY l.occurred_at, l.entry_id;
SELECT count(*) FROM bulwark.ledger l WHERE l::text ~ 'canary|pass phrase';

SET client_min_messages = warning;
RESET ROLE;
RESET SESSION AUTHORIZATION;
DROP SCHEMA import CASCADE;
DROP SCHEMA crypto CASCADE;
DROP FUNCTION IF EXISTS public.pgp_sym_decrypt(bytea, text);
DROP ROLE import_owner, import_keys;
SELECT count(*) FROM bulwark.protected_tables;
