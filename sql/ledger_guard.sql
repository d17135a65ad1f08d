-- What statements are told that would touch the ledger, and what becomes of an
-- audited table's definition. (Every attempt: test/pgtap/ledger_guard.sql; servers
-- that have not preloaded the library, restores: test/t/050_ledger_guard.pl.)
SET client_min_messages = notice;
CREATE SCHEMA guarded;
SET search_path = guarded, public;

-- L1: the words
DELETE FROM bulwark_internal.ledger_segments;
-- L2
DROP TABLE bulwark_internal.ledger_log;
-- L3
CREATE TABLE account (id int PRIMARY KEY, note text, amount numeric, secret text);
SELECT bulwark.audit('account', exclude_columns => '{secret}');
DROP EXTENSION bulwark;
ALTER TABLE account DISABLE TRIGGER "!bulwark_ledger";
-- L4
ALTER TABLE account DISABLE TRIGGER ALL;
SET session_replication_role = replica;
INSERT INTO account VALUES (1, 'one', 1.5, 'x'), (2, NULL, 2, 'y'), (3, 'three', NULL, NULL);
RESET session_replication_role;
ALTER TABLE account ENABLE TRIGGER ALL;
ALTER TABLE bulwark_internal.ledger_log DISABLE TRIGGER ALL;
SELECT action, entity_type, entity_id FROM bulwark.ledger WHERE entity_type = 'guarded.account' AND action NOT IN ('ddl', 'denied') ORDER BY entry_id;

-- L26: the digest as docs/file-formats.md has it, once more
CREATE FUNCTION varint(n int) RETURNS bytea LANGUAGE sql IMMUTABLE AS
	$$SELECT CASE WHEN n < 128 THEN set_byte('\x00', 0, n) ELSE set_byte('\x00', 0, n % 128 + 128) || set_byte('\x00', 0, n / 128) END$$;
CREATE FUNCTION column_image(value text) RETURNS bytea LANGUAGE sql IMMUTABLE AS
	$$SELECT CASE WHEN value IS NULL THEN '\x00'::bytea WHEN value = '(excluded)' THEN '\x03' ELSE '\x01' || varint(octet_length(value)) || convert_to(value, 'UTF8') END$$;
CREATE FUNCTION row_digest(salt text, VARIADIC columns text[]) RETURNS bytea LANGUAGE sql IMMUTABLE AS
	$$SELECT sha256(decode(salt, 'hex') || varint(cardinality(columns)) || string_agg(column_image(c), '' ORDER BY n)) FROM unnest(columns) WITH ORDINALITY AS u (c, n)$$;
CREATE FUNCTION table_digest(digests bytea[]) RETURNS text LANGUAGE sql IMMUTABLE AS
	$$SELECT encode(sha256(string_agg(d, '' ORDER BY d)), 'hex') FROM unnest(digests) AS d$$;
CREATE VIEW definitions AS
	SELECT entry_id, entity_type, metadata->>'change' AS change, metadata->>'command' AS command, metadata->>'salt' AS salt,
		metadata->'before'->>'rows' AS rows_before, metadata->'before'->>'digest' AS before,
		metadata->'after'->>'rows' AS rows_after, metadata->'after'->>'digest' AS after, metadata
	FROM bulwark.ledger WHERE action = 'ddl' AND metadata ? 'change';
CREATE FUNCTION newest() RETURNS SETOF definitions LANGUAGE sql AS 'SELECT * FROM definitions ORDER BY entry_id DESC LIMIT 1';

CREATE TABLE copied AS SELECT * FROM account;
ALTER TABLE account ALTER amount TYPE text USING coalesce(amount::text, 'none') || ' EUR';
SELECT d.entity_type, d.change, d.command, d.metadata->>'statement' AS statement, d.rows_before, d.rows_after,
	d.before = (SELECT table_digest(array_agg(row_digest(d.salt, id::text, note, amount::text, '(excluded)'))) FROM copied) AS before,
	d.after = (SELECT table_digest(array_agg(row_digest(d.salt, id::text, note, amount, '(excluded)'))) FROM account) AS after
FROM newest() AS d;

-- another setting of the session gives the same
SET datestyle = german;
ALTER TABLE account ADD made date DEFAULT (date '2020-01-31' + (random() * 0)::int);
SELECT d.change, d.rows_before, d.rows_after,
	d.after = (SELECT table_digest(array_agg(row_digest(d.salt, id::text, note, amount, '(excluded)', '2020-01-31'))) FROM account) AS after
FROM newest() AS d;
RESET datestyle;
ALTER TABLE account ADD colour text DEFAULT 'red';
SELECT change, rows_before, metadata->'filled' AS filled FROM newest();

DROP TABLE copied;
CREATE TABLE copied AS SELECT * FROM account;
ALTER TABLE account DROP note;
SELECT d.change, d.rows_before, d.rows_after,
	d.before = (SELECT table_digest(array_agg(row_digest(d.salt, id::text, note, amount, '(excluded)', '2020-01-31', colour))) FROM copied) AS before,
	d.after = (SELECT table_digest(array_agg(row_digest(d.salt, id::text, amount, '(excluded)', '2020-01-31', colour))) FROM account) AS after
FROM newest() AS d;

-- a column of a type that is dropped
CREATE TYPE mood AS ENUM ('good', 'bad');
ALTER TABLE account ADD mood mood;
UPDATE account SET mood = 'good' WHERE id = 1;
DROP TYPE mood CASCADE;
SELECT entity_type, change, command, rows_before, rows_after, before <> after AS differ FROM newest();

-- through the types of columns: of a composite, an array, a domain, an enum, another table's row type
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN checked AS pair CHECK (VALUE IS NOT NULL);
CREATE TYPE mood AS ENUM ('sad', 'good');
CREATE TABLE part (a int, m mood);
CREATE TABLE whole (id int PRIMARY KEY, p pair, ps checked[], m mood, r part);
SELECT bulwark.audit('whole');
INSERT INTO whole VALUES (1, (1, 'x'), ARRAY[(2, 'y')::pair], 'sad', (1, 'sad'));
CREATE TABLE copied_whole AS SELECT id, p::text, ps::text, m::text, r::text FROM whole;
ALTER TYPE pair DROP ATTRIBUTE b;
SELECT d.entity_type, d.change, d.command, d.rows_before, d.rows_after,
	d.before = (SELECT table_digest(array_agg(row_digest(d.salt, id::text, p, ps, m, r))) FROM copied_whole) AS before,
	d.after = (SELECT table_digest(array_agg(row_digest(d.salt, id::text, p::text, ps::text, m::text, r::text))) FROM whole) AS after,
	d.before <> d.after AS differ
FROM newest() AS d;
ALTER TYPE pair ADD ATTRIBUTE c int;
SELECT change, metadata->>'statement' AS statement, before <> after AS differ FROM newest();
ALTER TYPE mood RENAME VALUE 'sad' TO 'fine';
SELECT d.change, d.metadata->>'statement' AS statement, d.before <> d.after AS differ,
	d.after = (SELECT table_digest(array_agg(row_digest(d.salt, id::text, p::text, ps::text, m::text, r::text))) FROM whole) AS after
FROM newest() AS d;
ALTER TABLE part DROP a;
SELECT change, metadata->>'statement' AS statement, before <> after AS differ FROM newest();
-- nothing of a row changes by it
ALTER TYPE mood ADD VALUE 'bad';
ALTER TYPE pair RENAME ATTRIBUTE c TO d;
ALTER TYPE mood RENAME TO temper;
SELECT metadata->>'statement' AS statement FROM newest();
DROP TABLE whole, part, copied_whole;
DROP DOMAIN checked;
DROP TYPE pair, temper;

-- a function or an event trigger of a command runs others: each is an entry when it is done; while the outer
-- one is at work its table's rows are read as they are stored
CREATE TYPE mood AS ENUM ('sad', 'good');
CREATE TABLE nested (id int PRIMARY KEY, a int, b text, m mood DEFAULT 'sad');
CREATE TABLE other (id int PRIMARY KEY, a int);
SELECT bulwark.audit('nested'), bulwark.audit('other');
INSERT INTO nested SELECT g, -4, 'b' || g FROM generate_series(1, 2) AS g;
CREATE TABLE copied_nested AS TABLE nested;
CREATE FUNCTION runs(command text, value text) RETURNS text LANGUAGE plpgsql AS $$BEGIN EXECUTE command; RETURN value; END$$;
CREATE FUNCTION drops_mood() RETURNS event_trigger LANGUAGE plpgsql AS
	$$BEGIN IF set_config('guarded.depth', current_setting('guarded.depth') || '+', false) = '+' THEN ALTER TABLE guarded.nested DROP m; END IF; END$$;
SELECT max(entry_id) AS seen FROM definitions \gset
ALTER TABLE nested ALTER a TYPE text USING runs('CREATE TABLE IF NOT EXISTS made ()', 'v' || a);
ALTER TABLE nested ALTER b TYPE text USING runs('SET LOCAL guarded.x = 1', 'forged ' || b);
ALTER TABLE nested ALTER b TYPE varchar USING runs('ALTER TABLE other ADD IF NOT EXISTS c int', 'b' || b);
ALTER TABLE nested ALTER b TYPE text USING runs('ALTER SCHEMA ' || CASE id WHEN 1 THEN 'guarded RENAME TO g' ELSE 'g RENAME TO guarded' END, b || id);
ALTER TABLE nested ALTER b TYPE varchar USING runs('ALTER TYPE mood RENAME VALUE ''sad'' TO ''fine''', b);
CREATE EVENT TRIGGER drops ON table_rewrite EXECUTE FUNCTION drops_mood();
SET guarded.depth = '';
ALTER TABLE nested ALTER a TYPE int USING length(a);
ALTER EVENT TRIGGER drops DISABLE;
ALTER TABLE nested ADD m mood;
CREATE EVENT TRIGGER drops_after ON ddl_command_end WHEN tag IN ('ALTER TABLE') EXECUTE FUNCTION drops_mood();
SET guarded.depth = '';
ALTER TABLE nested ALTER a TYPE text;
DROP EVENT TRIGGER drops;
DROP EVENT TRIGGER drops_after;
SELECT entity_type, change, rows_before, rows_after, before = after AS same, metadata->>'statement' AS statement
FROM definitions WHERE entry_id > :seen ORDER BY entry_id;
SELECT d.before = (SELECT table_digest(array_agg(row_digest(d.salt, id::text, a::text, b, m::text))) FROM copied_nested) AS before,
	d.after = (SELECT table_digest(array_agg(row_digest(d.salt, id::text, 'v' || a, b, m::text))) FROM copied_nested) AS after
FROM definitions AS d WHERE entry_id > :seen ORDER BY entry_id LIMIT 1;
-- one that is not audited before its rows are read
SELECT bulwark.audit_stop('nested');
ALTER TABLE nested ALTER a TYPE int USING runs('SELECT bulwark.audit(''nested'')', a)::int;
DROP TABLE nested, other, made, copied_nested;
DROP FUNCTION drops_mood;
DROP TYPE mood;

-- the row's order and place do not count, nor does a rewrite that changes nothing
UPDATE account SET colour = 'red' WHERE id = 1;
ALTER TABLE account ALTER colour TYPE varchar USING colour;
SELECT change, rows_before, before = after AS same FROM newest();

-- tables swapped by rename: who was who
CREATE TABLE replacement (LIKE account);
BEGIN;
ALTER TABLE account RENAME TO account_old;
ALTER TABLE replacement RENAME TO account;
COMMIT;
SELECT entity_type, change, metadata->>'renamed_to' AS renamed_to, rows_before, before = after AS same FROM newest();
INSERT INTO account_old VALUES (4);
SELECT action, entity_type, entity_id FROM bulwark.ledger WHERE entity_id = '4' AND entity_type LIKE 'guarded.%';
DROP TABLE account;
ALTER TABLE account_old RENAME TO account;
-- a column of the options
ALTER TABLE account RENAME secret TO hidden;
SELECT exclude_columns FROM bulwark_internal.ledger_audited WHERE relation = 'account'::regclass;
INSERT INTO account (id, hidden) VALUES (5, 'unseen');
SELECT new FROM bulwark.ledger WHERE entity_id = '5' AND entity_type = 'guarded.account';

-- partitions with rows
CREATE TABLE call (id int, note text) PARTITION BY LIST (id);
CREATE TABLE call_1 PARTITION OF call FOR VALUES IN (1);
SELECT bulwark.audit('call');
CREATE TABLE call_2 (id int, note text);
INSERT INTO call_2 VALUES (2, 'brought along');
ALTER TABLE call ATTACH PARTITION call_2 FOR VALUES IN (2);
INSERT INTO call VALUES (1, 'a'), (2, 'b');
ALTER TABLE call DETACH PARTITION call_1;
INSERT INTO call_1 VALUES (1, 'alone');
DROP TABLE call_1;
CREATE TABLE call_3 PARTITION OF call FOR VALUES IN (3);
ALTER TABLE call ADD note2 text DEFAULT random()::text;
SELECT entity_type, change, metadata->>'child' AS child, rows_before, rows_after FROM definitions
WHERE entity_type LIKE 'guarded.call%' ORDER BY entry_id;
SELECT action, entity_type, new->>'note' AS note FROM bulwark.ledger WHERE entity_type LIKE 'guarded.call%' AND action = 'insert' ORDER BY entry_id;
SELECT entity_type, metadata->>'operation' AS operation, metadata->>'automatic' AS automatic FROM bulwark.ledger
WHERE entity_type LIKE 'guarded.call%' AND action = 'configuration' ORDER BY entry_id;

-- what is undone is no entry; a savepoint's neither
BEGIN;
ALTER TABLE account ADD a int;
SAVEPOINT s;
ALTER TABLE account ADD b int;
ROLLBACK TO s;
ALTER TABLE account ADD c int;
COMMIT;
SELECT change, metadata->>'statement' AS statement FROM definitions WHERE entity_type = 'guarded.account' ORDER BY entry_id DESC LIMIT 2;

-- what changes no row that is there, but those to come, or what names them
CREATE FUNCTION newer(than bigint) RETURNS TABLE (entity_types text, change text, statement text) LANGUAGE sql AS
	$$SELECT string_agg(entity_type, ' ' ORDER BY entity_type), change, metadata->>'statement' FROM definitions WHERE entry_id > than GROUP BY 2, 3 ORDER BY min(entry_id)$$;
SELECT max(entry_id) AS seen FROM definitions \gset
ALTER TABLE account ALTER colour SET DEFAULT 'blue';
ALTER TABLE account ALTER colour DROP DEFAULT;
ALTER TABLE account REPLICA IDENTITY FULL;
CREATE UNIQUE INDEX account_colour ON account (id, colour);
ALTER TABLE account REPLICA IDENTITY DEFAULT;
REINDEX INDEX account_colour;	-- changes nothing
DROP INDEX account_colour;
CREATE INDEX CONCURRENTLY account_colour ON account (colour);
DROP INDEX CONCURRENTLY account_colour;
ALTER TABLE call ALTER note SET DEFAULT 'none';
CREATE INDEX call_note ON call (note);
DROP INDEX call_note;
CREATE SEQUENCE colours;
ALTER TABLE account ALTER colour SET DEFAULT nextval('colours');
DROP SEQUENCE colours CASCADE;
CREATE TABLE counted (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
SELECT bulwark.audit('counted');
ALTER TABLE counted ALTER id RESTART WITH 100;
ALTER TABLE counted REPLICA IDENTITY USING INDEX counted_pkey;
CREATE TABLE keyed (id int PRIMARY KEY REFERENCES counted);
SELECT bulwark.audit('keyed');
ALTER TABLE keyed DISABLE TRIGGER ALL;
CREATE TABLE unaudited (LIKE keyed) PARTITION BY LIST (id);
ALTER TABLE unaudited ATTACH PARTITION keyed DEFAULT;
ALTER TABLE unaudited DETACH PARTITION keyed;
SELECT * FROM newer(:seen);
DROP TABLE keyed, unaudited, counted;

-- no constant of a statement is kept: it may be a secret, or the value of a column that is left out
SELECT max(entry_id) AS seen FROM definitions \gset
ALTER TABLE account ADD CONSTRAINT a CHECK (colour <> 'S3CRET' AND id <> 5500005555555559 AND 'it''s S3CRET' <> E'S3\'CRET' AND 1.5 < 2e3 /* S3CRET */); -- S3CRET
ALTER TABLE account ADD CONSTRAINT "5" CHECK ($$S3CRET$$ <> $a$
S3CRETS$a$ AND U&'S3CRET' <> repeat('S3', length(B'1010')) /* /* S3CRET */ '*/);
DO $$BEGIN EXECUTE format('ALTER TABLE account ALTER colour SET DEFAULT %L', 'S3CRET'); END$$;
ALTER TABLE account ALTER colour SET DEFAULT '
S3CRET';
CREATE FUNCTION argued() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER argued AFTER INSERT ON account FOR EACH ROW WHEN (NEW.colour <> '') EXECUTE FUNCTION guarded."argued" (S3CRET, "S3CRET""x", 'S3CRET', 5, S3$S3, U&"S3CRET", /* S3CRET */ on);
CREATE OR REPLACE TRIGGER argued AFTER INSERT ON account FOR EACH ROW EXECUTE PROCEDURE argued(S3CRET);
SELECT * FROM newer(:seen);
DROP TRIGGER argued ON account;
DROP FUNCTION argued;
ALTER TABLE account DROP CONSTRAINT a, DROP CONSTRAINT "5", ALTER colour DROP DEFAULT;
SELECT count(*) FROM definitions WHERE entry_id > :seen AND metadata::text ~ 'S3|1010|5559|2e3';
DROP FUNCTION newer;

-- in a function, by a schema's name, with the schema
DO $$BEGIN ALTER TABLE guarded.account ALTER a TYPE bigint; END$$;
SELECT change, command, rows_before, before = after AS same FROM newest();
ALTER SCHEMA guarded RENAME TO watched;
SET search_path = watched, public;
SELECT entity_type, change, metadata->>'renamed_to' AS renamed_to FROM definitions
WHERE metadata->>'command' = 'ALTER SCHEMA' AND metadata->>'renamed_to' LIKE 'watched.%' ORDER BY 1;
-- schema public as well, which was there before the first of all others
CREATE TABLE public.guarded_public (id int PRIMARY KEY);
SELECT bulwark.audit('public.guarded_public');
BEGIN;
ALTER SCHEMA public OWNER TO CURRENT_USER;	-- is no renaming
ALTER SCHEMA public RENAME TO hidden;
SELECT entity_type, change, metadata->>'renamed_to' AS renamed_to FROM definitions
WHERE entity_type = 'public.guarded_public' AND change = 'renamed';
ROLLBACK;
DROP TABLE public.guarded_public;

-- L11: what records is audit()'s own trigger, of a table that it knows, and no other
CREATE TABLE unknown (id int PRIMARY KEY);
CREATE TRIGGER records AFTER INSERT ON unknown FOR EACH ROW EXECUTE FUNCTION bulwark_internal.capture();
CREATE TRIGGER records_truncate AFTER TRUNCATE ON unknown EXECUTE FUNCTION bulwark_internal.capture_truncate();
INSERT INTO unknown VALUES (1);
TRUNCATE unknown;
DROP TRIGGER records ON unknown;
INSERT INTO unknown VALUES (1);
CREATE TRIGGER again AFTER INSERT ON account FOR EACH ROW EXECUTE FUNCTION bulwark_internal.capture();
INSERT INTO account (id) VALUES (6);
DROP TRIGGER again ON account;

-- L3: a trigger of that name that does something else, on a table that becomes audited
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER "!bulwark_ledger" AFTER INSERT OR UPDATE OR DELETE ON unknown FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT bulwark.audit('unknown');
CREATE OR REPLACE TRIGGER "!bulwark_ledger" AFTER INSERT OR UPDATE OR DELETE ON unknown FOR EACH ROW WHEN (false) EXECUTE FUNCTION bulwark_internal.capture();
SELECT bulwark.audit('unknown');
CREATE TABLE call_4 (LIKE call);
CREATE TRIGGER "!bulwark_ledger" AFTER INSERT ON call_4 FOR EACH ROW EXECUTE FUNCTION nothing();
ALTER TABLE call ATTACH PARTITION call_4 FOR VALUES IN (4);
DROP TRIGGER "!bulwark_ledger" ON unknown;
-- as a dump brings it, it is taken for what it is
CREATE TRIGGER "!bulwark_ledger" AFTER INSERT OR UPDATE OR DELETE ON unknown FOR EACH ROW EXECUTE FUNCTION bulwark_internal.capture();
ALTER TABLE unknown DISABLE TRIGGER "!bulwark_ledger";
SELECT bulwark.audit('unknown');
INSERT INTO unknown VALUES (2);
SELECT action, entity_id FROM bulwark.ledger WHERE entity_type = 'watched.unknown' AND source = 'captured';

SELECT bulwark.audit_stop('account');
ALTER TABLE account DISABLE TRIGGER ALL;
ALTER TABLE account ADD d int;
SELECT count(*) FROM definitions WHERE metadata->>'statement' LIKE '%ADD d int%';
SELECT relation, problem FROM bulwark_internal.ledger_coverage_check() WHERE relation LIKE 'watched.%' OR relation LIKE 'bulwark_internal.%';
SET client_min_messages = warning;
DROP SCHEMA watched CASCADE;
SELECT count(*) FROM bulwark_internal.ledger_coverage_check() WHERE relation ~ '^(guarded|watched)\.';
