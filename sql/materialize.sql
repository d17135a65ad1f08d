-- materialize => true: a child keeps its parent's tenant and affiliation.
CREATE SCHEMA regress_materialize;
SET search_path = regress_materialize;
SET bulwark.new_tables = ignore;

CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'SELECT ' || statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;
CREATE FUNCTION policies(relid regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regexp_replace(format('%s: %s%s', polname, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)), '\s+', ' ', 'g')
	FROM pg_policy WHERE polrelid = relid AND NOT polpermissive ORDER BY polname
$$;
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.touched := NEW.touched + 1; RETURN NEW; END';

CREATE TABLE persona (id int PRIMARY KEY, tenant_id varchar(8) NOT NULL, place int);
CREATE TABLE calls (id int PRIMARY KEY, persona_id int REFERENCES persona ON UPDATE CASCADE, touched int DEFAULT 0);
CREATE TRIGGER touched BEFORE UPDATE ON calls FOR EACH ROW EXECUTE FUNCTION touched();
CREATE TABLE recording (id int, call_id int REFERENCES calls) PARTITION BY RANGE (id);
CREATE INDEX ON recording (call_id);
CREATE INDEX ON calls (persona_id);
CREATE TABLE recording_1 PARTITION OF recording FOR VALUES FROM (0) TO (1000);
INSERT INTO persona VALUES (1, 'a', 1), (2, 'a', 2), (3, 'b', 1);
INSERT INTO calls SELECT g, 1 + g % 3 FROM generate_series(1, 3000) g;
INSERT INTO calls VALUES (0, NULL);

SELECT bulwark.protect('persona', 'tenant_id', 'place');

-- On a table with rows: columns and triggers at once, the policies through the
-- parent until the rows are filled.
SELECT bulwark.protect('calls', parent => 'persona', materialize => true);
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'calls'::regclass AND attname LIKE 'bulwark%';
SELECT policies('calls') LIMIT 1;
SELECT attempt($$bulwark.protect('recording', parent => 'calls', materialize => true)$$) AS "its parent is not filled";
-- a new row is filled whatever the client writes, and so is one that is changed
INSERT INTO calls VALUES (4001, 2, 0, 'b', 9) RETURNING *;
UPDATE calls SET persona_id = 3, bulwark_tenant = 'x' WHERE id = 4001 RETURNING *;
UPDATE calls SET bulwark_tenant = NULL, bulwark_affiliation = 7 WHERE id = 4001 RETURNING *;
UPDATE calls SET touched = 0 WHERE id = 1 RETURNING *;

-- Batches, each with its own commit; the application's triggers do not fire.
BEGIN;
CALL bulwark.materialize('calls');
ROLLBACK;
CALL bulwark.materialize('calls', 0);
CALL bulwark.materialize('persona');
CALL bulwark.materialize('calls', 2);
SELECT bulwark_tenant, bulwark_affiliation, count(*), max(touched) FROM calls WHERE id BETWEEN 2 AND 4000 GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM calls WHERE id = 0;
SELECT policies('calls');
CALL bulwark.materialize('calls');
SELECT relation, kind, materialize, materialized FROM bulwark.protected_tables ORDER BY 1;

-- An empty, partitioned child of it, ready at once.
SELECT bulwark.protect('recording', parent => 'calls', materialize => true);
SELECT policies('recording_1');
CREATE TABLE recording_2 PARTITION OF recording FOR VALUES FROM (1000) TO (2000);
INSERT INTO recording SELECT g, g FROM generate_series(1, 1500) g;
SELECT tableoid::regclass, bulwark_tenant, bulwark_affiliation, count(*) FROM recording GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- A parent's change reaches children and their children.
UPDATE persona SET place = 5 WHERE id = 1;
SELECT bulwark_tenant, bulwark_affiliation, count(*) FROM calls WHERE id BETWEEN 1 AND 4000 GROUP BY 1, 2 ORDER BY 1, 2;
SELECT tableoid::regclass, bulwark_tenant, bulwark_affiliation, count(*) FROM recording GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
UPDATE calls SET persona_id = 2 WHERE id = 4;
SELECT * FROM recording WHERE call_id = 4;
UPDATE persona SET id = 20 WHERE id = 2;
SELECT id, persona_id, bulwark_tenant, bulwark_affiliation FROM calls WHERE id = 4;
UPDATE persona SET place = NULL WHERE id = 20;
SELECT id, persona_id, bulwark_tenant, bulwark_affiliation FROM calls WHERE id = 4;
SELECT * FROM recording WHERE call_id = 4;
-- to another tenant, by a member of bulwark_maintenance
CREATE ROLE regress_materialize_keeper SUPERUSER IN ROLE bulwark_maintenance;
SET ROLE regress_materialize_keeper;
UPDATE persona SET tenant_id = 'c' WHERE id = 20;
RESET ROLE;
DROP ROLE regress_materialize_keeper;
SELECT id, persona_id, bulwark_tenant, bulwark_affiliation FROM calls WHERE id = 4;
SELECT * FROM recording WHERE call_id = 4;

-- Undone: columns, triggers and all.
SELECT attempt($$bulwark.unprotect('calls')$$) AS "children first";
SELECT bulwark.unprotect('recording'), bulwark.unprotect('calls');
SELECT attrelid::regclass, attname FROM pg_attribute WHERE attname LIKE 'bulwark%' AND NOT attisdropped AND attrelid::regclass::text ~ 'calls|recording';
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text ~ '^(persona|calls|recording)' ORDER BY 1, 2;

-- I41: what the owner attached to a table is run by no other when we plan a statement that reads it
CREATE ROLE regress_materialize_owner;
GRANT USAGE, CREATE ON SCHEMA regress_materialize TO regress_materialize_owner;
CREATE TABLE planted_as (name text);
GRANT INSERT ON planted_as TO PUBLIC;
CREATE FUNCTION planted_write() RETURNS void LANGUAGE sql AS $$ INSERT INTO regress_materialize.planted_as VALUES (current_user) $$;
CREATE FUNCTION planted(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
	$$ BEGIN PERFORM regress_materialize.planted_write(); RETURN i; END $$;
CREATE TABLE trap (id int PRIMARY KEY, tenant_id text);
CREATE TABLE bait (id int PRIMARY KEY, tenant_id text, trap_id int REFERENCES trap);
CREATE TABLE prey (id int PRIMARY KEY, trap_id int REFERENCES trap);
INSERT INTO trap VALUES (1, 'a');
CREATE INDEX ON trap (planted(1), id);
ALTER TABLE trap OWNER TO regress_materialize_owner;
ALTER TABLE bait OWNER TO regress_materialize_owner;
ALTER TABLE prey OWNER TO regress_materialize_owner;
SELECT bulwark.protect('trap', 'tenant_id'), bulwark.protect('bait', 'tenant_id');
SELECT bulwark.protect('prey', parent => 'trap', materialize => true);
TRUNCATE planted_as;
\c -
SET search_path = regress_materialize;
INSERT INTO bait VALUES (1, 'a', 1);
\c -
SET search_path = regress_materialize;
SET bulwark.new_tables = ignore;
INSERT INTO prey VALUES (1, 1);
SELECT DISTINCT name FROM planted_as;
-- nor when we fill its rows: a trigger, a default, a CHECK, a domain, an expression index
CREATE FUNCTION planted_check(i int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT regress_materialize.planted(i) IS NOT NULL';
CREATE FUNCTION planted_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM regress_materialize.planted(1); RETURN NEW; END';
GRANT CREATE ON SCHEMA regress_materialize TO regress_materialize_owner;
SET ROLE regress_materialize_owner;
CREATE DOMAIN snare AS int DEFAULT planted(1) CHECK (planted_check(VALUE));
CREATE TABLE quarry (id int PRIMARY KEY, trap_id int REFERENCES trap, n snare DEFAULT planted(2), CHECK (planted_check(id)));
INSERT INTO quarry SELECT n, 1 FROM generate_series(1, 5) n;
CREATE INDEX ON quarry (planted(id), trap_id) WHERE planted_check(n);
CREATE TRIGGER planted BEFORE INSERT OR UPDATE ON quarry FOR EACH ROW EXECUTE FUNCTION planted_trigger();
CREATE TRIGGER planted_always BEFORE INSERT OR UPDATE ON quarry FOR EACH ROW EXECUTE FUNCTION planted_trigger();
ALTER TABLE quarry ENABLE ALWAYS TRIGGER planted_always;
RESET ROLE;
SELECT bulwark.protect('quarry', parent => 'trap', materialize => true);
TRUNCATE planted_as;
\c -
SET search_path = regress_materialize;
CALL bulwark.materialize('quarry');
SELECT DISTINCT name FROM planted_as;
TRUNCATE planted_as;
SELECT count(*) FROM quarry WHERE bulwark_tenant = 'a';
SELECT bulwark.unprotect('quarry');
DROP TABLE quarry;
DROP DOMAIN snare;
SET bulwark.new_tables = ignore;
SELECT bulwark.unprotect('prey'), bulwark.unprotect('bait'), bulwark.unprotect('trap');
DROP TABLE prey, bait, trap;
REVOKE ALL ON SCHEMA regress_materialize FROM regress_materialize_owner;
DROP ROLE regress_materialize_owner;

-- In a pinned database there is the affiliation only.
SELECT bulwark.tenant_create('regress-materialize', 'Pinned') AS pinned \gset
SELECT bulwark.pin_tenant(:'pinned');
CREATE TABLE actor (id int PRIMARY KEY, place uuid);
CREATE TABLE target (id int PRIMARY KEY, actor_id int REFERENCES actor);
CREATE TABLE flat (id int PRIMARY KEY);
CREATE TABLE flat_child (id int REFERENCES flat);
SELECT bulwark.protect('actor', affiliation_column => 'place'), bulwark.protect('flat');
SELECT bulwark.protect('target', parent => 'actor', materialize => true);
SELECT attempt($$bulwark.protect('flat_child', parent => 'flat', materialize => true)$$) AS "nothing to keep";
INSERT INTO actor VALUES (1, 'a0000000-0000-4000-8000-000000000001');
INSERT INTO target VALUES (1, 1) RETURNING *;
SELECT count(*) FROM policies('target') WHERE policies ~ 'tenant_id\(\) = ';
SELECT bulwark.unpin_tenant();

SET client_min_messages = error;
DROP SCHEMA regress_materialize CASCADE;
DELETE FROM bulwark_internal.tenants WHERE slug = 'regress-materialize';
SELECT count(*) FROM bulwark.protected_tables;
