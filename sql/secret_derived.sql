-- S7: nothing in the database keeps what a decryption gave: not for anybody, and
-- not behind a view, a function or an operator.
\set VERBOSITY terse
CREATE FUNCTION sd_attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;
SELECT bulwark.tenant_create('sd-a', 'A', id => 'a8000000-0000-4000-8000-000000000001') \gset a_
SELECT bulwark.membership_grant(bulwark.principal_create('boss@sd.example', id => 'c8000000-0000-4000-8000-000000000001'),
	:'a_tenant_create', 'tenant_admin') IS NOT NULL AS made;
CREATE TABLE sd_person (id int PRIMARY KEY, name bulwark.encrypted_text, token bulwark.secret, doc bulwark.encrypted_jsonb, index bytea, plain text);
BEGIN;
SELECT bulwark.assume('c8000000-0000-4000-8000-000000000001', :'a_tenant_create') IS NOT NULL AS acting;
INSERT INTO sd_person SELECT n, bulwark.encrypt_text('canary ' || n, 'c'), bulwark.encrypt('canary', 'c'), bulwark.encrypt_jsonb('{"a": "canary"}', 'c'), bulwark.blind_index('canary ' || n, 'c') FROM generate_series(1, 3) n;
COMMIT;

-- what is called immutable, at one remove and at several
CREATE FUNCTION sd_name(bulwark.encrypted_text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT bulwark.decrypt_text($1, 'c') $$;
CREATE FUNCTION sd_parsed(v bulwark.encrypted_text) RETURNS text LANGUAGE sql IMMUTABLE RETURN bulwark.decrypt_text(v, 'c');
CREATE FUNCTION sd_outer(bulwark.encrypted_text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT upper(public.sd_name($1)) $$;
CREATE FUNCTION sd_doc(bulwark.encrypted_jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN bulwark.decrypt_jsonb($1, 'c') ->> 'a'; END $$;
CREATE FUNCTION sd_token(bulwark.secret) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN "bulwark"."decrypt"($1, 'x', 'c'); END $$;
CREATE FUNCTION sd_made_up(bulwark.encrypted_text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	result text;
BEGIN
	EXECUTE 'SELECT bulwark.' || 'de' || 'crypt_text($1, ''c'')' INTO result USING $1;
	RETURN result;
END
$$;
-- through bodies that are not read, where a call is a word: of a function, a view, an operator
CREATE FUNCTION sd_inner(v bulwark.encrypted_text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN bulwark.decrypt_text(v, 'c'); END $$;
CREATE FUNCTION sd_calls(v bulwark.encrypted_text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN SD_Inner(v); END $$;
CREATE FUNCTION sd_calls_again(v bulwark.encrypted_text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN upper(sd_calls(v)); END $$;
CREATE FUNCTION "Sd Quoted"(v bulwark.encrypted_text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT public.sd_calls($1) $$;
CREATE FUNCTION "sdCase"(v bulwark.encrypted_text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT public.sd_calls_again($1) $$;
CREATE FUNCTION sd_calls_case(v bulwark.encrypted_text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN "sdCase"(v); END $$;
CREATE FUNCTION sd_innocent(bulwark.encrypted_text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'x'::text $$;
CREATE OPERATOR ### (RIGHTARG = bulwark.encrypted_text, FUNCTION = sd_name);
CREATE VIEW sd_view AS SELECT id, bulwark.decrypt_text(name, 'c') AS name FROM sd_person;
CREATE VIEW sd_view_of_view AS SELECT name FROM sd_view;
CREATE FUNCTION sd_looks(i int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN (SELECT name FROM sd_view_of_view LIMIT i); END $$;
CREATE FUNCTION sd_operates(v bulwark.encrypted_text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN ###v; END $$;
CREATE FUNCTION sd_rows() RETURNS SETOF text LANGUAGE sql STABLE AS $$ SELECT name FROM sd_view $$;

SELECT n, sd_attempt(statement) FROM unnest(ARRAY[
	'CREATE INDEX ON sd_person (bulwark.decrypt_text(name))',
	'CREATE INDEX ON sd_person (sd_name(name))',
	'CREATE INDEX ON sd_person ((sd_parsed(name)))',
	'CREATE INDEX ON sd_person (lower(sd_outer(name)))',
	'CREATE INDEX ON sd_person (sd_doc(doc))',
	'CREATE INDEX ON sd_person (sd_token(token))',
	'CREATE INDEX ON sd_person ((### name))',
	'CREATE INDEX ON sd_person (id) WHERE sd_name(name) > ''m''',
	'ALTER TABLE sd_person ADD EXCLUDE USING btree (sd_name(name) WITH =)',
	'CREATE INDEX ON sd_person (sd_calls(name))',
	'CREATE INDEX ON sd_person (sd_calls_again(name))',
	'CREATE INDEX ON sd_person ("Sd Quoted"(name))',
	'CREATE INDEX ON sd_person (sd_calls_case(name))',
	'CREATE INDEX ON sd_person (sd_looks(id))',
	'CREATE INDEX ON sd_person (sd_operates(name))',
	'CREATE TABLE sd_new (name bulwark.encrypted_text, clear text GENERATED ALWAYS AS (sd_calls_again(name)) STORED)',
	'CREATE STATISTICS sd_statistics ON sd_name(name), id FROM sd_person',
	'CREATE STATISTICS sd_statistics ON (sd_outer(name)) FROM sd_person',
	'ALTER TABLE sd_person ADD clear text GENERATED ALWAYS AS (sd_name(name)) STORED',
	'CREATE TABLE sd_new (name bulwark.encrypted_text, clear text GENERATED ALWAYS AS (sd_outer(name)) STORED)',
	'CREATE TABLE sd_new (name text DEFAULT bulwark.decrypt_text(NULL))',
	'ALTER TABLE sd_person ALTER plain SET DEFAULT (sd_name(NULL))',
	'ALTER TABLE sd_person ADD CHECK (sd_name(name) <> '''')',
	'ALTER TABLE sd_person ADD CHECK (bulwark.decrypt_text(name, ''c'') <> '''') NOT VALID',
	'CREATE DOMAIN sd_domain AS bulwark.encrypted_text CHECK (sd_name(VALUE) <> '''')',
	'CREATE MATERIALIZED VIEW sd_kept AS SELECT sd_name(name) FROM sd_person',
	'CREATE MATERIALIZED VIEW sd_kept AS SELECT * FROM sd_view_of_view',
	'CREATE MATERIALIZED VIEW sd_kept AS SELECT * FROM sd_rows() WITH NO DATA',
	'CREATE TABLE sd_kept AS SELECT sd_name(name) FROM sd_person',
	'CREATE TEMP TABLE sd_kept AS SELECT id, (SELECT name FROM sd_view v WHERE v.id = p.id) FROM sd_person p',
	'CREATE TABLE sd_kept AS WITH w AS (SELECT * FROM sd_view_of_view) SELECT * FROM w',
	'CREATE TABLE sd_kept AS SELECT id FROM sd_person ORDER BY sd_name(name)',
	'EXPLAIN (ANALYZE, COSTS OFF) CREATE TABLE sd_kept AS SELECT * FROM sd_view',
	'ALTER TABLE sd_person ALTER name TYPE text USING sd_name(name)',
	'ALTER TABLE sd_person ALTER plain TYPE text USING bulwark.decrypt_text(name, ''c'')'
	]) WITH ORDINALITY AS s (statement, n) ORDER BY n;
CREATE INDEX CONCURRENTLY ON sd_person (sd_name(name));
SELECT name INTO sd_kept FROM sd_view;
PREPARE sd_prepared AS SELECT * FROM sd_view_of_view;
CREATE TABLE sd_kept AS EXECUTE sd_prepared;
DEALLOCATE sd_prepared;
\set VERBOSITY default
CREATE INDEX ON sd_person (sd_name(name));
\set VERBOSITY terse

-- what is not shown is refused when it runs
BEGIN;
SELECT bulwark.assume('c8000000-0000-4000-8000-000000000001', :'a_tenant_create') IS NOT NULL AS acting;
SELECT sd_made_up(name) FROM sd_person WHERE id = 1;
SELECT n, sd_attempt(statement) FROM unnest(ARRAY[
	'CREATE INDEX ON sd_person (sd_made_up(name))',
	'CREATE TABLE sd_kept AS SELECT sd_made_up(name) FROM sd_person',
	'CREATE MATERIALIZED VIEW sd_kept AS SELECT sd_made_up(name) FROM sd_person',
	'ALTER TABLE sd_person ADD clear text GENERATED ALWAYS AS (sd_made_up(name)) STORED',
	'ALTER TABLE sd_person ALTER plain TYPE text USING sd_made_up(name)'
	]) WITH ORDINALITY AS s (statement, n) ORDER BY n;
ROLLBACK;

-- also where no command shows it: the expression is evaluated row by row
CREATE TABLE sd_stored (id int, name bulwark.encrypted_text, clear text GENERATED ALWAYS AS (sd_made_up(name)) STORED);
CREATE TABLE sd_indexed (id int, name bulwark.encrypted_text);
CREATE FUNCTION sd_wraps(bulwark.encrypted_text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT upper(public.sd_made_up($1)) $$;
CREATE INDEX sd_indexed_wraps ON sd_indexed (sd_wraps(name));
CREATE FUNCTION sd_catches(v bulwark.encrypted_text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RETURN sd_made_up(v);
EXCEPTION WHEN feature_not_supported THEN
	RETURN 'refused';
END
$$;
CREATE TABLE sd_caught (id int, name bulwark.encrypted_text, clear text GENERATED ALWAYS AS (sd_catches(name)) STORED);
BEGIN;
SELECT bulwark.assume('c8000000-0000-4000-8000-000000000001', :'a_tenant_create') IS NOT NULL AS acting;
SELECT n, sd_attempt(statement) FROM unnest(ARRAY[
	'INSERT INTO sd_stored SELECT id, name FROM sd_person',
	'INSERT INTO sd_indexed SELECT id, name FROM sd_person',
	'INSERT INTO sd_caught SELECT id, name FROM sd_person',
	'UPDATE sd_caught SET id = id + 10'
	]) WITH ORDINALITY AS s (statement, n) ORDER BY n;
SELECT DISTINCT clear FROM sd_caught;
SELECT bulwark.decrypt_text(name, 'c') FROM sd_person WHERE id = 1;
-- within one, whoever calls it; no longer, once nothing keeps what it gives
SELECT sd_attempt('SELECT sd_made_up(name) FROM sd_person');
DROP TABLE sd_stored, sd_indexed, sd_caught;
SELECT sd_made_up(name) FROM sd_person WHERE id = 1;
ROLLBACK;
DROP TABLE sd_stored, sd_indexed, sd_caught;
DROP FUNCTION sd_wraps(bulwark.encrypted_text), sd_catches(bulwark.encrypted_text);

-- nor does a body in SQL show all: aggregates, casts, attributes that are functions, queries in a string
CREATE FUNCTION sd_step(text, v bulwark.encrypted_text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT bulwark.decrypt_text(v, 'c') $$;
CREATE AGGREGATE sd_last(bulwark.encrypted_text) (SFUNC = sd_step, STYPE = text);
CREATE FUNCTION sd_aggregates(v bulwark.encrypted_text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT sd_last(x) FROM (SELECT v) AS q (x) $$;
CREATE FUNCTION sd_aggregates_parsed(v bulwark.encrypted_text) RETURNS text LANGUAGE sql IMMUTABLE RETURN (SELECT sd_last(x) FROM (SELECT v) AS q (x));
CREATE TYPE sd_row AS (v bulwark.encrypted_text);
CREATE TYPE sd_opened AS (v text);
CREATE FUNCTION sd_open(bulwark.encrypted_text) RETURNS sd_opened LANGUAGE sql IMMUTABLE AS $$ SELECT ROW (bulwark.decrypt_text($1, 'c'))::sd_opened $$;
CREATE CAST (bulwark.encrypted_text AS sd_opened) WITH FUNCTION sd_open(bulwark.encrypted_text);
CREATE FUNCTION sd_casts(v bulwark.encrypted_text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT (v::sd_opened).v $$;
CREATE FUNCTION sd_attribute(sd_row) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT bulwark.decrypt_text($1.v, 'c') $$;
CREATE FUNCTION sd_attributes(v bulwark.encrypted_text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT (x).sd_attribute FROM (SELECT ROW (v)::sd_row) AS q (x) $$;
CREATE FUNCTION sd_queries(i int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT query_to_xml('SELECT bulwark.decrypt_text(name, ''c'') FROM sd_person WHERE id = ' || i, true, true, '')::text $$;
CREATE FUNCTION sd_queries_parsed(i int) RETURNS text LANGUAGE sql IMMUTABLE RETURN query_to_xml('SELECT bulwark.decrypt_text(name, ''c'') FROM sd_person WHERE id = ' || i, true, true, '')::text;
CREATE VIEW sd_replaced AS SELECT id, 'harmless'::text AS name FROM sd_person;
CREATE FUNCTION sd_reads(i int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT name FROM sd_replaced WHERE id = i $$;
CREATE FUNCTION sd_reads_parsed(i int) RETURNS text LANGUAGE sql IMMUTABLE RETURN (SELECT name FROM sd_replaced WHERE id = i);
SELECT n, sd_attempt(statement) FROM unnest(ARRAY[
	'CREATE TABLE sd_new (name bulwark.encrypted_text, clear text GENERATED ALWAYS AS (sd_aggregates(name)) STORED)',
	'CREATE TABLE sd_new (name bulwark.encrypted_text, clear text GENERATED ALWAYS AS (sd_aggregates_parsed(name)) STORED)',
	'CREATE DOMAIN sd_domain AS text DEFAULT sd_name(NULL)',
	'CREATE DOMAIN sd_domain AS text DEFAULT bulwark.credential_use(''x'', ''x'')',
	'CREATE DOMAIN sd_domain AS xml DEFAULT query_to_xml(''SELECT 1'', true, true, '''')',
	'CREATE TABLE sd_new (clear text DEFAULT upper(query_to_xml(''SELECT 1'', true, true, '''')::text))',
	'ALTER TABLE sd_person ALTER plain SET DEFAULT ts_rewrite(''a'', ''SELECT 1'')::text',
	'CREATE TABLE sd_new (name bulwark.encrypted_text) PARTITION BY LIST (sd_name(name))',
	'CREATE TABLE sd_new (id int, name bulwark.encrypted_text) PARTITION BY RANGE (id, (lower(sd_parsed(name))))'
	]) WITH ORDINALITY AS s (statement, n) ORDER BY n;
CREATE DOMAIN sd_domain AS text DEFAULT 'x';
ALTER DOMAIN sd_domain SET DEFAULT sd_name(NULL);
ALTER DOMAIN sd_domain SET DEFAULT sd_queries(1);
CREATE TABLE sd_default (id int, clear sd_domain);
CREATE TABLE sd_cast (id int, name bulwark.encrypted_text, clear text GENERATED ALWAYS AS (sd_casts(name)) STORED);
CREATE TABLE sd_attributed (id int, name bulwark.encrypted_text, clear text GENERATED ALWAYS AS (sd_attributes(name)) STORED);
CREATE TABLE sd_queried (id int, clear text GENERATED ALWAYS AS (sd_queries(id)) STORED);
CREATE TABLE sd_queried_parsed (id int, clear text GENERATED ALWAYS AS (sd_queries_parsed(id)) STORED);
CREATE TABLE sd_queried_index (id int);
CREATE INDEX ON sd_queried_index (sd_queries(id));
CREATE TABLE sd_read (id int, clear text GENERATED ALWAYS AS (sd_reads(id)) STORED);
CREATE TABLE sd_read_parsed (id int, clear text GENERATED ALWAYS AS (sd_reads_parsed(id)) STORED);
CREATE TABLE sd_partitioned (id int, name bulwark.encrypted_text) PARTITION BY LIST (sd_casts(name));
CREATE TABLE sd_bounds (clear text) PARTITION BY LIST (clear);
BEGIN;
SELECT bulwark.assume('c8000000-0000-4000-8000-000000000001', :'a_tenant_create') IS NOT NULL AS acting;
INSERT INTO sd_read VALUES (1);
INSERT INTO sd_read_parsed VALUES (1);
SELECT a.clear, b.clear FROM sd_read a, sd_read_parsed b;
CREATE OR REPLACE VIEW sd_replaced AS SELECT id, bulwark.decrypt_text(name, 'c') AS name FROM sd_person;
SELECT n, sd_attempt(statement) FROM unnest(ARRAY[
	'INSERT INTO sd_default (id) VALUES (1)',
	'INSERT INTO sd_cast SELECT id, name FROM sd_person',
	'INSERT INTO sd_attributed SELECT id, name FROM sd_person',
	'INSERT INTO sd_queried VALUES (1)',
	'INSERT INTO sd_queried_parsed VALUES (1)',
	'INSERT INTO sd_queried_index VALUES (1)',
	'INSERT INTO sd_read VALUES (2)',
	'INSERT INTO sd_read_parsed VALUES (2)',
	'INSERT INTO sd_partitioned SELECT id, name FROM sd_person',
	'CREATE TABLE sd_bound PARTITION OF sd_bounds FOR VALUES IN (bulwark.decrypt_text(''' || (SELECT name::text FROM sd_person WHERE id = 1) || ''', ''c''))'
	]) WITH ORDINALITY AS s (statement, n) ORDER BY n;
SELECT sd_casts(name) FROM sd_person WHERE id = 1;
ROLLBACK;
SELECT check_name, status, detail FROM bulwark.secrets_check() WHERE check_name = 'kept_plaintexts';
DROP TABLE sd_default, sd_cast, sd_attributed, sd_queried, sd_queried_parsed, sd_queried_index, sd_read, sd_read_parsed, sd_partitioned, sd_bounds;
ALTER DOMAIN sd_domain DROP DEFAULT;
BEGIN;
SELECT bulwark.assume('c8000000-0000-4000-8000-000000000001', :'a_tenant_create') IS NOT NULL AS acting;
SELECT sd_casts(name), sd_attributes(name), sd_aggregates(name), sd_queries(id) LIKE '%canary 1%' AS queried FROM sd_person WHERE id = 1;
ROLLBACK;

-- what has become so by another way is told: a domain's default, a partition key
CREATE VIEW sd_changed AS SELECT id, plain AS name FROM sd_person;
CREATE FUNCTION sd_later_default() RETURNS text LANGUAGE sql STABLE AS $$ SELECT min(name) FROM public.sd_changed $$;
CREATE FUNCTION sd_later_key(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT name FROM public.sd_changed WHERE id = $1 $$;
ALTER DOMAIN sd_domain SET DEFAULT sd_later_default();
CREATE TABLE sd_keyed (id int) PARTITION BY LIST (sd_later_key(id));
CREATE OR REPLACE VIEW sd_changed AS SELECT id, bulwark.decrypt_text(name, 'c') AS name FROM sd_person;
SELECT check_name, status, detail FROM bulwark.secrets_check() WHERE check_name = 'kept_plaintexts';
CREATE OR REPLACE FUNCTION sd_later_key(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT bulwark.decrypt_text(name, 'c') FROM public.sd_person WHERE id = $1 $$;
DROP TABLE sd_keyed;
DROP DOMAIN sd_domain;
DROP VIEW sd_replaced, sd_changed CASCADE;
DROP AGGREGATE sd_last(bulwark.encrypted_text) CASCADE;
DROP CAST (bulwark.encrypted_text AS sd_opened);
DROP FUNCTION sd_step(text, bulwark.encrypted_text), sd_aggregates(bulwark.encrypted_text), sd_casts(bulwark.encrypted_text), sd_attributes(bulwark.encrypted_text),
	sd_attribute(sd_row), sd_open(bulwark.encrypted_text), sd_queries(int), sd_queries_parsed(int), sd_reads(int), sd_later_default(), sd_later_key(int);
DROP TYPE sd_row, sd_opened;

-- harmless functions in SQL work in all of these, beside a decryption too
CREATE FUNCTION sd_hello() RETURNS text LANGUAGE sql STABLE AS $$ SELECT 'hello ' || current_setting('server_encoding') $$;
CREATE FUNCTION sd_fold(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT lower(btrim($1)) $$;
CREATE FUNCTION sd_bucket(i int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT i % 2 $$;
CREATE DOMAIN sd_greeting AS text DEFAULT sd_hello() CHECK (sd_fold(VALUE) <> '');
CREATE TABLE sd_harmless (id int, made timestamptz DEFAULT now(), key uuid DEFAULT gen_random_uuid(), greeting sd_greeting, name text DEFAULT sd_hello() CHECK (sd_fold(name) <> ''),
	folded text GENERATED ALWAYS AS (sd_fold(name)) STORED) PARTITION BY LIST (sd_bucket(id));
CREATE TABLE sd_harmless_0 PARTITION OF sd_harmless FOR VALUES IN (0);
CREATE TABLE sd_harmless_1 PARTITION OF sd_harmless FOR VALUES IN (1);
CREATE INDEX ON sd_harmless (sd_fold(name));
CREATE STATISTICS sd_harmless ON sd_fold(name), id FROM sd_harmless_0;
BEGIN;
SELECT bulwark.assume('c8000000-0000-4000-8000-000000000001', :'a_tenant_create') IS NOT NULL AS acting;
INSERT INTO sd_harmless (id, name) SELECT id, ' B' || length(bulwark.decrypt_text(name, 'c')) FROM sd_person;
INSERT INTO sd_harmless (id) VALUES (4);
COMMIT;
ANALYZE sd_harmless;
SELECT tableoid::regclass, id, greeting = sd_hello() AS greeted, folded FROM sd_harmless ORDER BY id;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM sd_harmless_0 WHERE sd_fold(name) = 'b8';
RESET enable_seqscan;
EXPLAIN (COSTS OFF) SELECT id FROM sd_harmless WHERE sd_bucket(id) = 1;
DROP TABLE sd_harmless;
DROP DOMAIN sd_greeting;
DROP FUNCTION sd_hello(), sd_fold(text), sd_bucket(int);

-- made innocent, and changed behind its back
CREATE INDEX sd_innocent ON sd_person (sd_innocent(name));
CREATE MATERIALIZED VIEW sd_later AS SELECT * FROM sd_view_of_view LIMIT 0;
CREATE VIEW sd_plain AS SELECT id::text AS name FROM sd_person;
CREATE MATERIALIZED VIEW sd_later AS SELECT * FROM sd_plain;
CREATE OR REPLACE FUNCTION sd_innocent(bulwark.encrypted_text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT bulwark.decrypt_text($1, 'c') $$;
-- the one that it calls, by a body that names it only: replaced, made, renamed
CREATE FUNCTION sd_deep(v bulwark.encrypted_text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 'x'; END $$;
CREATE FUNCTION sd_top(v bulwark.encrypted_text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF false THEN RETURN sd_missing(v) || sd_absent(v); END IF; RETURN sd_deep(v); END $$;
CREATE TABLE sd_generated (name bulwark.encrypted_text, clear text GENERATED ALWAYS AS (sd_top(name)) STORED);
CREATE OR REPLACE FUNCTION sd_deep(v bulwark.encrypted_text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN bulwark.decrypt_text(v, 'c'); END $$;
CREATE FUNCTION sd_missing(v bulwark.encrypted_text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN sd_calls_again(v); END $$;
ALTER FUNCTION sd_calls(bulwark.encrypted_text) RENAME TO sd_absent;
CREATE OR REPLACE FUNCTION sd_deep(v bulwark.encrypted_text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 'y'; END $$;
DROP TABLE sd_generated;
CREATE OR REPLACE VIEW sd_plain AS SELECT sd_name(name) AS name FROM sd_person;
REFRESH MATERIALIZED VIEW sd_later;
SELECT check_name, status, detail FROM bulwark.secrets_check() WHERE check_name = 'kept_plaintexts';
CREATE OR REPLACE VIEW sd_plain AS SELECT id::text AS name FROM sd_person;
REFRESH MATERIALIZED VIEW sd_later;
SELECT check_name, status, detail FROM bulwark.secrets_check() WHERE check_name = 'kept_plaintexts';

-- what keeps ciphertext, or nothing, is as ever
SELECT n, sd_attempt(statement) FROM unnest(ARRAY[
	'CREATE TABLE sd_copy AS SELECT id, name, index FROM sd_person',
	'CREATE INDEX ON sd_person (index)',
	'CREATE INDEX ON sd_person (id) WHERE name IS NOT NULL',
	'CREATE MATERIALIZED VIEW sd_ids AS SELECT id, name FROM sd_person',
	'CREATE STATISTICS sd_statistics ON id, plain FROM sd_person',
	'ALTER TABLE sd_person ADD CHECK (name IS NOT NULL)',
	'ALTER TABLE sd_person ALTER plain TYPE varchar(10)',
	'CREATE VIEW sd_clear AS SELECT bulwark.decrypt_text(name, ''c'') FROM sd_person'
	]) WITH ORDINALITY AS s (statement, n) ORDER BY n;

-- the way that is there: an index on blind indexes
SET enable_seqscan = off;
BEGIN;
SELECT bulwark.assume('c8000000-0000-4000-8000-000000000001', :'a_tenant_create') IS NOT NULL AS acting;
EXPLAIN (COSTS OFF) SELECT id FROM sd_person WHERE index = bulwark.blind_index('canary 2', 'c');
SELECT id, bulwark.decrypt_text(name, 'c') FROM sd_person WHERE index = bulwark.blind_index('canary 2', 'c');
COMMIT;
DROP TABLE sd_person, sd_copy CASCADE;
DROP OPERATOR ### (NONE, bulwark.encrypted_text);
DROP FUNCTION sd_attempt(text), sd_name(bulwark.encrypted_text), sd_parsed(bulwark.encrypted_text), sd_outer(bulwark.encrypted_text), sd_doc(bulwark.encrypted_jsonb),
	sd_token(bulwark.secret), sd_made_up(bulwark.encrypted_text), sd_innocent(bulwark.encrypted_text), sd_rows(), sd_inner(bulwark.encrypted_text),
	sd_calls(bulwark.encrypted_text), sd_calls_again(bulwark.encrypted_text), "Sd Quoted"(bulwark.encrypted_text), "sdCase"(bulwark.encrypted_text),
	sd_calls_case(bulwark.encrypted_text), sd_looks(int), sd_operates(bulwark.encrypted_text), sd_deep(bulwark.encrypted_text), sd_top(bulwark.encrypted_text);
