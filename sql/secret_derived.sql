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
