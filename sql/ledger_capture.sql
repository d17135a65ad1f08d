-- What is captured: one entry for each row that was stored, with what was stored,
-- whatever statement, trigger or setting had a part in it.  Each block names the
-- attempt that it answers.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS bulwark;
CREATE ROLE capture_app LOGIN IN ROLE bulwark_app;
CREATE ROLE capture_admin LOGIN IN ROLE bulwark_admin;
CREATE ROLE capture_owner LOGIN;
CREATE ROLE capture_service LOGIN IN ROLE bulwark_impersonator;
RESET client_min_messages;
CREATE SCHEMA capture;
GRANT USAGE, CREATE ON SCHEMA capture TO capture_admin, capture_owner;
GRANT USAGE ON SCHEMA capture TO capture_app, capture_service;
SET search_path = capture;

CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;
-- The entries of a relation since the last call for it, oldest first.
CREATE TABLE seen (relation text PRIMARY KEY, entry_id bigint NOT NULL);
CREATE FUNCTION news(relation text) RETURNS TABLE (action text, entity_id text, old jsonb, new jsonb) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	before bigint := coalesce((SELECT s.entry_id FROM capture.seen s WHERE s.relation = news.relation), 0);
BEGIN
	RETURN QUERY SELECT l.action, l.entity_id, l.old, l.new FROM bulwark.ledger l
		WHERE l.entity_type = news.relation AND l.entry_id > before AND l.source = 'captured' ORDER BY l.entry_id;
	INSERT INTO capture.seen SELECT news.relation, coalesce(max(l.entry_id), before) FROM bulwark.ledger l
		WHERE l.entity_type = news.relation AND l.source = 'captured'
		ON CONFLICT (relation) DO UPDATE SET entry_id = excluded.entry_id;
END
$$;
-- The bytes of a relation's contents behind their salt.
CREATE FUNCTION bytes(relation text) RETURNS SETOF bytea LANGUAGE sql AS $$
	SELECT substr(content, 19) FROM bulwark_internal.ledger_entries WHERE position(convert_to(relation, 'UTF8') IN leaf) > 0
$$;

-- Who may say what is audited, and of what.
CREATE TABLE plain (id int PRIMARY KEY, v text);
CREATE VIEW a_view AS SELECT * FROM plain;
CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM plain;
CREATE SEQUENCE a_sequence;
CREATE UNLOGGED TABLE an_unlogged (id int);
CREATE TEMPORARY TABLE a_temporary (id int);
CREATE FOREIGN DATA WRAPPER capture_wrapper;
CREATE SERVER capture_server FOREIGN DATA WRAPPER capture_wrapper;
CREATE FOREIGN TABLE a_foreign (id int) SERVER capture_server;
SELECT name, attempt(format('SELECT bulwark.audit(%L)', name)) FROM unnest(ARRAY['a_view', 'a_matview', 'a_sequence', 'an_unlogged',
	'a_temporary', 'a_foreign', 'pg_class', 'information_schema.sql_features', 'bulwark_internal.ledger_audited', 'bulwark_internal.tenants']) AS name;
CREATE TABLE theirs (id int PRIMARY KEY);
ALTER TABLE theirs OWNER TO capture_owner;
SET ROLE capture_owner;
SELECT attempt($$SELECT bulwark.audit('theirs')$$) AS "an owner who is no admin";
SET ROLE capture_admin;
SELECT attempt($$SELECT bulwark.audit('theirs')$$) AS "an admin who is no owner";
CREATE TABLE own (id int PRIMARY KEY);
SELECT attempt($$SELECT bulwark.audit('own')$$) AS "an admin who is the owner";
RESET ROLE;
SELECT attempt($$SELECT bulwark.audit('plain', '{none}')$$) AS "no such column",
	attempt($$SELECT bulwark.audit('plain', '{id}')$$) AS "a key column excluded",
	attempt($$SELECT bulwark.audit(NULL)$$) AS "no relation",
	attempt($$SELECT bulwark.audit_stop('plain')$$) AS "not audited";

-- Starting, changing and stopping are entries; the same call again is none.
SELECT bulwark.audit('plain');
SELECT bulwark.audit('plain');
SELECT bulwark.audit('plain', '{v}', true);
SELECT bulwark.audit_stop('plain');
INSERT INTO plain VALUES (1, 'unseen');
SELECT source, action, metadata, old, new FROM bulwark.ledger WHERE entity_type = 'capture.plain' ORDER BY entry_id;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'plain'::regclass;
SELECT bulwark.audit('plain');
SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'plain'::regclass ORDER BY 1;

-- audit_schema() says what is missing, and does it.
CREATE SCHEMA capture_all;
CREATE TABLE capture_all.one (id int PRIMARY KEY);
CREATE TABLE capture_all."two words" (id int PRIMARY KEY);
CREATE TABLE capture_all.parted (id int) PARTITION BY RANGE (id);
CREATE TABLE capture_all.part PARTITION OF capture_all.parted DEFAULT;
CREATE VIEW capture_all.three AS SELECT 1 AS x;
SELECT * FROM bulwark.audit_schema('capture_all');
SELECT relation, reason FROM bulwark.audit_schema('capture_all', false);
SELECT relation, reason FROM bulwark.audit_schema('capture_all');
SELECT attempt($$SELECT bulwark.audit_schema('nowhere')$$), attempt($$SELECT bulwark.audit_schema(NULL)$$);

-- L13: every way to write a row leaves exactly one entry for it, with what was stored.
CREATE TABLE item (id int PRIMARY KEY, name text, n int DEFAULT 7);
SELECT bulwark.audit('item');
INSERT INTO item (id, name) VALUES (1, 'one'), (2, 'two');
UPDATE item SET n = n + 1 WHERE id = 1;
UPDATE item SET id = 20 WHERE id = 2;
DELETE FROM item WHERE id = 20;
SELECT * FROM news('capture.item');
COPY item FROM stdin;
3	three	3
4	\N	4
\.
SELECT * FROM news('capture.item');
INSERT INTO item VALUES (3, 'again', 0), (5, 'five', 5) ON CONFLICT (id) DO UPDATE SET name = excluded.name;
INSERT INTO item VALUES (3, 'nothing', 0) ON CONFLICT DO NOTHING;
SELECT * FROM news('capture.item');
MERGE INTO item USING (VALUES (3, 'merged'), (4, NULL), (6, 'six')) AS s (id, name) ON item.id = s.id
	WHEN MATCHED AND s.name IS NULL THEN DELETE
	WHEN MATCHED THEN UPDATE SET name = s.name
	WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.name, 6);
SELECT * FROM news('capture.item');
WITH gone AS (DELETE FROM item WHERE id = 5 RETURNING *) INSERT INTO item SELECT 50, name, n FROM gone;
TRUNCATE item;
SELECT * FROM news('capture.item');
BEGIN;
CREATE TABLE frozen (id int PRIMARY KEY);
SELECT bulwark.audit('frozen');
COPY frozen FROM stdin WITH (FREEZE);
1
2
\.
COMMIT;
SELECT * FROM news('capture.frozen');

CREATE TABLE moving (id int, place text, PRIMARY KEY (id, place)) PARTITION BY LIST (place);
CREATE TABLE moving_north PARTITION OF moving FOR VALUES IN ('north');
CREATE TABLE moving_south PARTITION OF moving FOR VALUES IN ('south');
SELECT bulwark.audit('moving');
INSERT INTO moving VALUES (1, 'north');
UPDATE moving SET place = 'south';
TRUNCATE moving;
SELECT 'north' AS part, * FROM news('capture.moving_north') UNION ALL SELECT 'south', * FROM news('capture.moving_south');

CREATE TABLE author (id int PRIMARY KEY);
CREATE TABLE book (id int PRIMARY KEY, author int REFERENCES author ON DELETE CASCADE ON UPDATE CASCADE);
SELECT bulwark.audit('author'), bulwark.audit('book');
INSERT INTO author VALUES (1);
INSERT INTO book VALUES (10, 1), (11, 1);
UPDATE author SET id = 2;
DELETE FROM author;
SELECT 'author' AS relation, * FROM news('capture.author') UNION ALL SELECT 'book', * FROM news('capture.book');

CREATE TABLE changed (id int PRIMARY KEY, v text);
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF new.v = 'suppress' THEN
		RETURN NULL;
	END IF;
	new.v := upper(new.v);
	RETURN new;
END
$$;
CREATE TRIGGER zzzz_change BEFORE INSERT OR UPDATE ON changed FOR EACH ROW EXECUTE FUNCTION change();
SELECT bulwark.audit('changed');
INSERT INTO changed VALUES (1, 'a'), (2, 'suppress');
UPDATE changed SET v = 'suppress';
UPDATE changed SET v = 'b';
SELECT * FROM news('capture.changed');

-- An UPDATE that changes nothing is one all the same, unless it is to be skipped.
UPDATE changed SET v = v;
SET bulwark.ledger_skip_unchanged = on;
UPDATE changed SET v = v;
UPDATE changed SET v = 'c';
RESET bulwark.ledger_skip_unchanged;
SELECT * FROM news('capture.changed');

-- L4: under session_replication_role = replica, too.
SET session_replication_role = replica;
INSERT INTO item VALUES (1, 'replica', 1);
TRUNCATE item;
RESET session_replication_role;
SELECT * FROM news('capture.item');

-- L14: what a savepoint or an exception takes back leaves no entry; sequences have no
-- gap; several changes of one row are all there.
CREATE FUNCTION fails(i int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO capture.item VALUES (i, 'phantom');
	PERFORM 1 / 0;
EXCEPTION WHEN division_by_zero THEN
	INSERT INTO capture.item VALUES (i + 1, 'handled');
END
$$;
BEGIN;
INSERT INTO item VALUES (1, 'first');
SAVEPOINT a;
INSERT INTO item VALUES (2, 'phantom');
SAVEPOINT b;
INSERT INTO item VALUES (3, 'phantom');
RELEASE b;
ROLLBACK TO a;
UPDATE item SET name = 'second' WHERE id = 1;
SAVEPOINT c;
UPDATE item SET name = 'third' WHERE id = 1;
RELEASE c;
SELECT fails(100);
DELETE FROM item WHERE id = 1;
COMMIT;
SELECT action, entity_id, new ->> 'name' AS name FROM news('capture.item');

-- The records of one transaction, as bytes say it: sequence, flags, manifest.
CREATE FUNCTION number(leaf bytea, INOUT at int, OUT value bigint) LANGUAGE plpgsql AS $$
DECLARE
	shift int := 0;
	b int;
BEGIN
	value := 0;
	LOOP
		b := get_byte(leaf, at);
		at := at + 1;
		value := value + ((b & 127)::bigint << shift);
		EXIT WHEN b < 128;
		shift := shift + 7;
	END LOOP;
END
$$;
CREATE FUNCTION positions(relation text) RETURNS TABLE (xid bigint, sequence bigint, manifest boolean, alone boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	entry record;
	at int;
	value bigint;
BEGIN
	FOR entry IN SELECT leaf FROM bulwark_internal.ledger_entries WHERE position(convert_to(relation, 'UTF8') IN leaf) > 0 LOOP
		at := 4;
		FOR i IN 1..5 LOOP
			SELECT n.at, n.value INTO at, value FROM capture.number(entry.leaf, at) AS n;
			xid := CASE i WHEN 4 THEN value ELSE xid END;
			sequence := value;
		END LOOP;
		manifest := get_byte(entry.leaf, 1) & 32 > 0;
		alone := get_byte(entry.leaf, 1) & 64 > 0;
		RETURN NEXT;
	END LOOP;
END
$$;
CREATE TABLE counted (id int PRIMARY KEY);
SELECT bulwark.audit('counted');
INSERT INTO counted VALUES (1);
INSERT INTO counted VALUES (2), (3);
BEGIN;
INSERT INTO counted VALUES (4);
SAVEPOINT a;
INSERT INTO counted VALUES (5);
ROLLBACK TO a;
SAVEPOINT b;
INSERT INTO counted VALUES (6);
ROLLBACK TO b;
COMMIT;
BEGIN;
INSERT INTO counted SELECT generate_series(1000, 2999);
SAVEPOINT a;
INSERT INTO counted SELECT generate_series(3000, 4999);
ROLLBACK TO a;
INSERT INTO counted SELECT generate_series(5000, 5999);
COMMIT;
SELECT count(*) AS entries, max(sequence) AS last, count(DISTINCT sequence) AS sequences,
	count(*) FILTER (WHERE manifest) AS manifests, max(sequence) FILTER (WHERE manifest) AS at, count(*) FILTER (WHERE alone) AS alone
FROM positions('capture.counted') GROUP BY xid ORDER BY xid;

-- A transaction reads its own entries, in a savepoint too; nothing is there twice.
CREATE TABLE own_entries (id int PRIMARY KEY);
SELECT bulwark.audit('own_entries');
BEGIN;
INSERT INTO own_entries VALUES (1);
SAVEPOINT a;
INSERT INTO own_entries VALUES (2);
SELECT count(*) FROM bulwark.ledger WHERE entity_type = 'capture.own_entries' AND action = 'insert';
ROLLBACK TO a;
SELECT count(*) FROM bulwark.ledger WHERE entity_type = 'capture.own_entries' AND action = 'insert';
SAVEPOINT b;
INSERT INTO own_entries VALUES (3);
SELECT count(*) FROM bulwark.ledger WHERE entity_type = 'capture.own_entries' AND action = 'insert';
RELEASE b;
INSERT INTO own_entries VALUES (4);
COMMIT;
SELECT action, entity_id FROM news('capture.own_entries');
SELECT count(*) AS entries, max(sequence) AS last, count(DISTINCT sequence) AS sequences FROM positions('capture.own_entries') WHERE NOT alone;

-- Excluded columns: changed or not, without a value, under whatever name.
CREATE TABLE card (id int PRIMARY KEY, holder text, number text);
SELECT bulwark.audit('card', '{number}');
INSERT INTO card VALUES (1, 'Ann', '4111111111111111');
UPDATE card SET holder = 'Bob';
UPDATE card SET number = '4222222222222222';
DELETE FROM card;
SELECT * FROM news('capture.card');
SELECT count(*) AS "values in the bytes" FROM bytes('capture.card') AS b WHERE position('4111111111111111'::bytea IN b) > 0 OR position('4222222222222222'::bytea IN b) > 0;
ALTER TABLE card RENAME number TO pan;
SELECT attempt($$INSERT INTO card VALUES (2, 'Cy', '4333333333333333')$$) AS "after a rename";
SELECT count(*) AS "values in the bytes" FROM bytes('capture.card') AS b WHERE position('4333333333333333'::bytea IN b) > 0;

-- L23: schema changes; entries made before stay as they were.
CREATE TABLE life (id int PRIMARY KEY, a text, b int);
SELECT bulwark.audit('life');
INSERT INTO life VALUES (1, 'x', 1);
ALTER TABLE life ADD c text DEFAULT 'added';
UPDATE life SET b = 2;
ALTER TABLE life DROP a;
ALTER TABLE life RENAME b TO bee;
UPDATE life SET bee = 3;
ALTER TABLE life ALTER c TYPE varchar(20);
INSERT INTO life VALUES (2, 5, 'varchar');
ALTER TABLE life RENAME TO lives;
INSERT INTO lives VALUES (3, 6, NULL);
SELECT * FROM news('capture.life') UNION ALL SELECT * FROM news('capture.lives');

-- New partitions and children come under their parent; those that leave stay audited.
CREATE TABLE moving_east PARTITION OF moving FOR VALUES IN ('east');
INSERT INTO moving VALUES (2, 'east');
CREATE TABLE moving_west (id int NOT NULL, place text NOT NULL);
ALTER TABLE moving ATTACH PARTITION moving_west FOR VALUES IN ('west');
INSERT INTO moving VALUES (3, 'west');
SELECT attempt($$SELECT bulwark.audit_stop('moving_west')$$) AS "a part by itself";
ALTER TABLE moving DETACH PARTITION moving_west;
INSERT INTO moving_west VALUES (4, 'west');
CREATE TABLE book_rare (price numeric) INHERITS (book);
INSERT INTO book_rare VALUES (12, NULL, 9.5);
SELECT 'east' AS part, * FROM news('capture.moving_east') UNION ALL SELECT 'west', * FROM news('capture.moving_west')
UNION ALL SELECT 'rare', * FROM news('capture.book_rare');
SELECT bulwark.audit_stop('moving');
INSERT INTO moving VALUES (5, 'north');
INSERT INTO moving_west VALUES (6, 'west');
SELECT count(*) AS stopped FROM news('capture.moving_north');
SELECT count(*) AS "stands by itself" FROM news('capture.moving_west');

-- L18: who did it is who was authenticated, whatever else is said.
CREATE FUNCTION id(n int) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$ SELECT ('ca000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid $$;
SELECT count(bulwark.tenant_create('capture-' || t, 'T' || t, (4200 + t)::text, NULL, id(t))) FROM generate_series(1, 2) t;
SELECT bulwark.affiliation_create(id(1), 'capture-a', 'A', 'north', NULL, id(11));
SELECT bulwark.principal_create('ann@capture.test', NULL, 'user', id(101));
SELECT count(bulwark.membership_grant(id(101), id(1), 'tenant_admin'));
CREATE TABLE by_id (id int PRIMARY KEY, tenant_id uuid NOT NULL);
CREATE TABLE by_key (id int PRIMARY KEY, tenant text NOT NULL, place text);
CREATE TABLE by_number (id int PRIMARY KEY, tenant int NOT NULL);
CREATE TABLE by_parent (id int PRIMARY KEY, by_key int REFERENCES by_key);
CREATE TABLE by_materialized (id int PRIMARY KEY, by_key int REFERENCES by_key);
SET client_min_messages = warning;
SELECT bulwark.protect('by_id', 'tenant_id'), bulwark.protect('by_key', 'tenant', 'place'), bulwark.protect('by_number', 'tenant');
SELECT bulwark.protect('by_parent', parent => 'by_key'), bulwark.protect('by_materialized', parent => 'by_key', materialize => true);
RESET client_min_messages;
GRANT ALL ON by_id, by_key, by_number, by_parent, by_materialized TO capture_service;
SELECT bulwark.audit('by_id'), bulwark.audit('by_key'), bulwark.audit('by_number'), bulwark.audit('by_parent'), bulwark.audit('by_materialized');
SET SESSION AUTHORIZATION capture_service;
SET application_name = 'root';
BEGIN;
SELECT count(bulwark.assume(id(101), id(1))) AS assumed;
SELECT bulwark.annotate('/orders', 'r-1', '192.0.2.1', '{"user": "root"}');
INSERT INTO by_id VALUES (1, id(1));
INSERT INTO by_key VALUES (1, '4201', 'north');
INSERT INTO by_number VALUES (1, 4201);
INSERT INTO by_parent VALUES (1, 1);
INSERT INTO by_materialized VALUES (1, 1);
COMMIT;
RESET SESSION AUTHORIZATION;
RESET application_name;
INSERT INTO by_id VALUES (2, id(2));
INSERT INTO by_number VALUES (2, 4202), (3, 9999);
SET ROLE bulwark_maintenance;
RESET ROLE;
SELECT entity_type, entity_id, source, tenant_id, affiliation, actor_id, actor_email, actor_proof, assumed_by, db_role = session_user AS login,
	route, request_id, client_addr
FROM bulwark.ledger WHERE entity_type LIKE 'capture.by\_%' AND action = 'insert' ORDER BY entry_id;

-- L18: who lets go of the identity in the very statement is its actor all the same
CREATE TABLE unprotected (id int PRIMARY KEY);
GRANT ALL ON unprotected TO capture_service;
SELECT bulwark.audit('unprotected');
SET SESSION AUTHORIZATION capture_service;
BEGIN;
SELECT count(bulwark.assume(capture.id(101), capture.id(1))) AS assumed;
INSERT INTO by_id VALUES (11, capture.id(1)) RETURNING bulwark.release();
COMMIT;
BEGIN;
SELECT count(bulwark.assume(capture.id(101), capture.id(1))) AS assumed;
WITH added AS (INSERT INTO by_id VALUES (12, capture.id(1)) RETURNING 1) SELECT set_config('bulwark.ticket', '', true) FROM added;
SELECT count(*) AS "sees nothing" FROM by_id;
INSERT INTO unprotected VALUES (1);
COMMIT;
BEGIN;
SELECT count(bulwark.assume(capture.id(101), capture.id(1))) AS assumed;
INSERT INTO by_id VALUES (13, capture.id(1));
COMMIT;
INSERT INTO unprotected VALUES (2);
RESET SESSION AUTHORIZATION;
SELECT entity_type, entity_id, tenant_id, actor_email, actor_proof, assumed_by, metadata FROM bulwark.ledger
WHERE entity_type = 'capture.unprotected' AND source = 'captured' OR entity_type = 'capture.by_id' AND entity_id LIKE '1_' ORDER BY entity_type, entity_id;

-- L13: what triggers make of a row follows what made them do it, whatever their names
CREATE TABLE touched (id int PRIMARY KEY, v text);
CREATE TABLE touched_line (id int PRIMARY KEY, of int REFERENCES touched ON DELETE CASCADE);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE capture.touched SET v = v || '+' WHERE id = NEW.id AND v NOT LIKE '%+';
	RETURN NULL;
END
$$;
CREATE TRIGGER "AAA" AFTER INSERT OR UPDATE ON touched FOR EACH ROW EXECUTE FUNCTION touch();
SELECT bulwark.audit('touched'), bulwark.audit('touched_line');
INSERT INTO touched VALUES (1, 'a');
INSERT INTO touched_line VALUES (11, 1);
UPDATE touched SET v = 'b' WHERE id = 1;
DELETE FROM touched WHERE id = 1;
SELECT action, entity_type, old, new FROM bulwark.ledger WHERE entity_type LIKE 'capture.touched%' AND source = 'captured' ORDER BY entry_id;

-- L30: a row that gets another affiliation is gone there, with what it held there, and new here
INSERT INTO by_key VALUES (20, '4201', 'north');
UPDATE by_key SET place = 'south' WHERE id = 20;
UPDATE by_key SET place = NULL WHERE id = 20;
SELECT action, tenant_id, affiliation, old, new FROM bulwark.ledger WHERE entity_type = 'capture.by_key' AND entity_id = '20' ORDER BY entry_id;

-- L28: what an application asserts begins with app:, is bounded, and marked.
SELECT attempt($$SELECT bulwark.ledger_record('insert', 'public.customer')$$) AS "a system action",
	attempt($$SELECT bulwark.ledger_record('app:', 'x')$$) AS "no action",
	attempt($$SELECT bulwark.ledger_record(NULL, 'x')$$) AS "NULL",
	attempt($$SELECT bulwark.ledger_record(E'app:a\nb', 'x')$$) AS "a control character",
	attempt($$SELECT bulwark.ledger_record('app:x', NULL)$$) AS "no type",
	attempt($$SELECT bulwark.ledger_record('app:x', '')$$) AS "an empty type",
	attempt($$SELECT bulwark.ledger_record('app:' || repeat('x', 300), 'x')$$) AS "a long action",
	attempt($$SELECT bulwark.ledger_record('app:x', 'y', repeat('z', 10000))$$) AS "a long id",
	attempt($$SELECT bulwark.ledger_record('app:x', 'y', 'z', jsonb_build_object('a', repeat('z', 9000)))$$) AS "8 KiB",
	attempt($$SELECT bulwark.ledger_record('app:x', 'y', 'z', jsonb_build_object('a', repeat('z', 200000000)))$$) AS "200 MB";
BEGIN READ ONLY;
SELECT attempt($$SELECT bulwark.ledger_record('app:x', 'y')$$) AS "read only";
COMMIT;
SET SESSION AUTHORIZATION capture_service;
BEGIN;
SELECT count(bulwark.assume(capture.id(101), capture.id(1))) AS assumed;
SELECT bulwark.annotate('/pay');
SELECT bulwark.ledger_record('app:paid', 'capture invoice', '42', '{"sum": 7}') > 0 AS recorded;
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT source, action, entity_type, entity_id, tenant_id, actor_email, actor_proof, route, metadata FROM bulwark.ledger WHERE entity_type = 'capture invoice';
-- in a loop: what a bucket holds, and what comes in while it is emptied
DO $$
DECLARE
	n int := 0;
BEGIN
	LOOP
		PERFORM bulwark.ledger_record('app:flood', 'capture flood');
		n := n + 1;
	END LOOP;
EXCEPTION WHEN configuration_limit_exceeded THEN
	RAISE NOTICE '%, after a bounded number: %', SQLERRM, n BETWEEN 900 AND 20000;
END
$$;
SELECT count(*) AS "undone with the block" FROM bulwark.ledger WHERE entity_type = 'capture flood';

-- What cannot be recorded becomes no part of what is audited.
CREATE TABLE logged (id int, k int) PARTITION BY LIST (k);
CREATE TABLE logged_1 PARTITION OF logged FOR VALUES IN (1);
CREATE UNLOGGED TABLE logged_2 (id int, k int);
CREATE TABLE logged_parent (id int);
SELECT bulwark.audit('logged'), bulwark.audit('logged_parent');
SELECT attempt('CREATE UNLOGGED TABLE logged_3 PARTITION OF logged FOR VALUES IN (3)') AS "an unlogged partition",
	attempt('ALTER TABLE logged ATTACH PARTITION logged_2 FOR VALUES IN (2)') AS "attached",
	attempt('ALTER TABLE logged_1 SET UNLOGGED') AS "made unlogged";
SELECT attempt('CREATE TEMPORARY TABLE logged_4 () INHERITS (capture.logged_parent)') AS "a temporary child",
	attempt('CREATE FOREIGN TABLE logged_5 (id int) INHERITS (logged_parent) SERVER capture_server') AS "a foreign child";
SELECT relation, problem FROM bulwark_internal.ledger_coverage_check() WHERE relation LIKE '%logged%';

DROP SCHEMA capture, capture_all CASCADE;
DROP SERVER capture_server;
DROP FOREIGN DATA WRAPPER capture_wrapper;
