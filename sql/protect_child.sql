-- Children: tables whose rows belong to a parent's row, found through the foreign
-- key; and the guard on foreign keys between protected tables.  (Who sees and
-- writes what: test/pgtap/protect_child.sql.)
CREATE SCHEMA regress_protect_child;
SET search_path = regress_protect_child;
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
CREATE VIEW guards AS
	SELECT tgrelid::regclass AS relation, tgname, tgconstrrelid::regclass AS referenced, tgenabled AS enabled, tgdeferrable AS may_wait,
		tginitdeferred AS waits, split_part(encode(tgargs, 'escape'), E'\\000', 1) AS key
	FROM pg_trigger WHERE tgfoid = 'bulwark_internal.fk_guard'::regproc ORDER BY tgrelid::regclass::text, 2;

CREATE TABLE persona (id int PRIMARY KEY, tenant_id text NOT NULL, place int, boss int REFERENCES persona);
CREATE TABLE calls (id int PRIMARY KEY, persona_id int REFERENCES persona, other int, tenant_id text);
CREATE TABLE recording (id int PRIMARY KEY, call_id int NOT NULL REFERENCES calls);
CREATE TABLE plain (id int PRIMARY KEY);

SELECT attempt($$bulwark.protect('calls', parent => 'persona')$$) AS "the parent first";
SELECT bulwark.protect('persona', 'tenant_id', 'place');
SELECT attempt($$bulwark.protect('plain', parent => 'persona')$$) AS "no foreign key";
SELECT attempt($$bulwark.protect('calls', parent => 'calls')$$) AS "its own parent";
SELECT attempt($$bulwark.protect('calls', parent => 'persona', parent_key => 'nothing')$$) AS "no such key";

-- One condition for each command: the parent is visible, and at the top the
-- child's own resource and action are granted.
SELECT bulwark.protect('calls', parent => 'persona', resource => 'call');
SELECT policies('calls');
SELECT bulwark.protect('recording', parent => 'calls');
SELECT policies('recording');
SELECT relation, kind, parent, key_columns, resource FROM bulwark.protected_tables ORDER BY protected_at, relation::text;
-- the same again is nothing
SELECT bulwark.protect('recording', parent => 'calls');
-- a parent cannot go before its children
SELECT attempt($$bulwark.unprotect('persona')$$) AS "unprotect a parent";
SELECT bulwark.unprotect('recording');
SELECT bulwark.unprotect('calls');

-- A child may have a tenant column of its own as well, and an affiliation column.
SELECT bulwark.protect('calls', 'tenant_id', 'other', parent => 'persona');
SELECT policies('calls');
SELECT bulwark.unprotect('calls');

-- Several keys: none is guessed.
ALTER TABLE calls ADD CONSTRAINT second_key FOREIGN KEY (other) REFERENCES persona;
SELECT bulwark.protect('calls', parent => 'persona');
SELECT bulwark.protect('calls', parent => 'persona', parent_key => 'second_key');
SELECT policies('calls') LIMIT 1;
SELECT attempt($$bulwark.protect('calls', parent => 'persona', parent_key => 'calls_persona_id_fkey')$$) AS "another key";
SELECT bulwark.unprotect('calls');

-- Composite keys, types that differ, names that need quotes.
CREATE TABLE "Home" ("Tenant" bigint, "the ""id""" bigint, PRIMARY KEY ("Tenant", "the ""id"""));
CREATE TABLE "Child's" ("T" smallint, "I" int, FOREIGN KEY ("T", "I") REFERENCES "Home");
SELECT bulwark.protect('"Home"', 'Tenant');
SELECT bulwark.protect('"Child''s"', parent => '"Home"');
SELECT policies('"Child''s"') LIMIT 1;
SELECT bulwark.unprotect('"Child''s"');

-- A parent without affiliations: the permission stands outside.
CREATE TABLE flat (id int PRIMARY KEY, tenant_id uuid NOT NULL);
CREATE TABLE flat_child (id int REFERENCES flat);
SELECT bulwark.protect('flat', 'tenant_id'), bulwark.protect('flat_child', parent => 'flat');
SELECT policies('flat_child');

-- A shared parent has no tenant to give.
CREATE TABLE country (code text PRIMARY KEY);
CREATE TABLE city (id int, code text REFERENCES country);
SELECT bulwark.protect('country', shared => true);
SELECT attempt($$bulwark.protect('city', parent => 'country')$$) AS "a shared parent";

-- Partitioned and inherited children: every leaf by itself.
CREATE TABLE log (id int, persona_id int REFERENCES persona) PARTITION BY RANGE (id);
CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (10);
CREATE TABLE log_2 (persona_id int, id int);
CREATE TABLE base (persona_id int REFERENCES persona);
CREATE TABLE heir (CONSTRAINT heir_key FOREIGN KEY (persona_id) REFERENCES persona) INHERITS (base);
SELECT bulwark.protect('log', parent => 'persona'), bulwark.protect('base', parent => 'persona');
ALTER TABLE log ATTACH PARTITION log_2 FOR VALUES FROM (10) TO (20);
SELECT policies('log_2') LIMIT 1;
SELECT policies('heir') LIMIT 1;

-- I26: a guard for each foreign key that could lead into another tenant, with
-- the key's own deferrability; none where the key itself keeps tenants apart,
-- where the row has its tenant from it, or where the other table is shared.
SELECT * FROM guards;
CREATE TABLE guarded (id int PRIMARY KEY, tenant_id text NOT NULL, place int, country text REFERENCES country,
	a int REFERENCES persona, b int REFERENCES persona DEFERRABLE, c int REFERENCES persona DEFERRABLE INITIALLY DEFERRED,
	UNIQUE (tenant_id, id));
CREATE TABLE composite (tenant_id text NOT NULL, id int, FOREIGN KEY (tenant_id, id) REFERENCES guarded (tenant_id, id));
SELECT bulwark.protect('guarded', 'tenant_id', 'place'), bulwark.protect('composite', 'tenant_id');
SELECT tgname, referenced, enabled, may_wait, waits, key FROM guards WHERE relation = 'guarded'::regclass;
SELECT count(*) FROM guards WHERE relation = 'composite'::regclass;
-- keys that come and go, and are renamed
ALTER TABLE guarded ADD d int CONSTRAINT added REFERENCES flat;
ALTER TABLE guarded DROP CONSTRAINT guarded_a_fkey;
ALTER TABLE guarded RENAME CONSTRAINT guarded_b_fkey TO renamed;
ALTER TABLE guarded ALTER CONSTRAINT guarded_c_fkey NOT DEFERRABLE;
SELECT tgname, referenced, may_wait, waits, key FROM guards WHERE relation = 'guarded'::regclass;
-- a table protected later guards the keys that refer to it, and lets them go
CREATE TABLE late (id int PRIMARY KEY, tenant_id uuid);
ALTER TABLE guarded ADD e int REFERENCES late;
SELECT count(*) FROM guards WHERE relation = 'guarded'::regclass AND referenced = 'late'::regclass;
SELECT bulwark.protect('late', 'tenant_id');
SELECT count(*) FROM guards WHERE relation = 'guarded'::regclass AND referenced = 'late'::regclass;
SELECT bulwark.unprotect('late');
SELECT count(*) FROM guards WHERE relation = 'guarded'::regclass AND referenced = 'late'::regclass;
SELECT bulwark.unprotect('composite'), bulwark.unprotect('guarded');
SELECT count(*) FROM guards WHERE relation = 'guarded'::regclass;

-- I26: what the guard refuses.  Even a superuser, whom no policy binds.
INSERT INTO persona (id, tenant_id) VALUES (1, 'a'), (2, 'a'), (3, 'b'), (4, 'b');
UPDATE persona SET boss = 1 WHERE id = 2;
UPDATE persona SET boss = 3 WHERE id = 2;
-- a key of another tenant and a missing one: the same words
INSERT INTO persona (id, tenant_id, boss) VALUES (5, 'a', 3);
INSERT INTO persona (id, tenant_id, boss) VALUES (5, 'a', 99);
SELECT bulwark.protect('guarded', 'tenant_id');
INSERT INTO guarded (id, tenant_id, b) VALUES (1, 'a', 1), (2, 'b', 3);
INSERT INTO guarded (id, tenant_id, b) VALUES (3, 'a', 1), (4, 'a', 3);
INSERT INTO guarded (id, tenant_id, b) VALUES (5, 'a', 1) ON CONFLICT (id) DO UPDATE SET b = 3;
INSERT INTO guarded (id, tenant_id, b) VALUES (1, 'a', 1) ON CONFLICT (id) DO UPDATE SET b = 3;
MERGE INTO guarded g USING (VALUES (1, 3)) v (id, b) ON g.id = v.id WHEN MATCHED THEN UPDATE SET b = v.b;
COPY guarded (id, tenant_id, b) FROM stdin;
6	a	4
\.
SELECT id, tenant_id, b FROM guarded ORDER BY id;
-- through a parent: the row's tenant is its parent's
SELECT bulwark.protect('calls', parent => 'persona', parent_key => 'calls_persona_id_fkey');
INSERT INTO calls (id, persona_id, other) VALUES (1, 1, 2);
INSERT INTO calls (id, persona_id, other) VALUES (2, 1, 3);
UPDATE calls SET persona_id = 4;
UPDATE calls SET persona_id = 4, other = 3;
SELECT * FROM calls;
-- in replica mode, too
SET session_replication_role = replica;
INSERT INTO calls (id, persona_id, other) VALUES (3, 1, 3);
RESET session_replication_role;
-- a deferred one waits for the end
ALTER TABLE calls ALTER CONSTRAINT second_key DEFERRABLE INITIALLY DEFERRED;
BEGIN;
INSERT INTO calls (id, persona_id, other) VALUES (4, 1, 3);
DELETE FROM calls WHERE id = 4;
INSERT INTO calls (id, persona_id, other) VALUES (5, 1, 3);
UPDATE calls SET other = 2 WHERE id = 5;
COMMIT;
BEGIN;
INSERT INTO calls (id, persona_id, other) VALUES (6, 1, 3);
COMMIT;
SELECT * FROM calls ORDER BY id;
-- whatever SET CONSTRAINTS names, key and guard answer together: another tenant's
-- row and a missing one at the same moment
CREATE FUNCTION answers(mode text, other int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text := 'at once';
BEGIN
	EXECUTE 'SET CONSTRAINTS ' || mode;
	INSERT INTO calls (id, persona_id, other) VALUES (7, 1, $2);
	result := 'at the end';
	SET CONSTRAINTS ALL IMMEDIATE;
	RETURN 'never';
EXCEPTION WHEN foreign_key_violation THEN
	RETURN result;
END
$$;
SELECT mode, answers(mode, 3) AS "another tenant's", answers(mode, 99) AS missing FROM unnest('{ALL DEFERRED,ALL IMMEDIATE,second_key DEFERRED,
	second_key IMMEDIATE,regress_protect_child.second_key IMMEDIATE}'::text[]) AS mode;
ALTER TABLE calls ALTER CONSTRAINT second_key DEFERRABLE INITIALLY IMMEDIATE;
SELECT mode, answers(mode, 3) AS "another tenant's", answers(mode, 99) AS missing FROM unnest('{ALL DEFERRED,second_key DEFERRED}'::text[]) AS mode;
SET CONSTRAINTS "Bulwark_fk_second_key" DEFERRED;
BEGIN;
SET CONSTRAINTS nothing DEFERRED;
ROLLBACK;
-- of a partition, too, when its root's key is named
ALTER TABLE log ADD other int CONSTRAINT log_other REFERENCES persona DEFERRABLE;
BEGIN;
SET CONSTRAINTS log_other DEFERRED;
INSERT INTO log (id, persona_id, other) VALUES (1, 1, 3);
SET CONSTRAINTS log_other IMMEDIATE;
ROLLBACK;
ALTER TABLE log DROP other;
-- tenants named in two ways: by id here, by key there
SELECT bulwark.tenant_create('regress-child-a', 'A', 'a', id => 'a0000000-0000-4000-8000-0000000000aa') AS a,
	bulwark.tenant_create('regress-child-b', 'B', 'b', id => 'a0000000-0000-4000-8000-0000000000bb') AS b \gset
CREATE TABLE mixed (tenant_id uuid NOT NULL, persona_id int REFERENCES persona);
SELECT bulwark.protect('mixed', 'tenant_id');
INSERT INTO mixed VALUES (:'a', 1), (:'b', 3);
INSERT INTO mixed VALUES (:'a', 3);
-- a key whose operator is an extension's or somebody's own
CREATE TYPE code AS (t text);
CREATE TABLE coded (code code PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE coded_child (id int, code code REFERENCES coded, other code REFERENCES coded);
SELECT bulwark.protect('coded', 'tenant_id'), bulwark.protect('coded_child', parent => 'coded', parent_key => 'coded_child_code_fkey');
INSERT INTO coded VALUES ('(x)', 'a'), ('(y)', 'b'), ('(z)', 'a');
INSERT INTO coded_child VALUES (1, '(x)', '(z)');
INSERT INTO coded_child VALUES (1, '(x)', '(y)');

-- I24: the tenant of a row, once set, stays; a member of bulwark_maintenance moves it.
UPDATE persona SET tenant_id = 'a' WHERE id = 3;
UPDATE persona SET tenant_id = NULL WHERE id = 3;
UPDATE persona SET tenant_id = 'b' WHERE id = 3;
UPDATE late SET tenant_id = NULL;
SELECT bulwark.protect('late', 'tenant_id');
INSERT INTO late VALUES (1, NULL);
UPDATE late SET tenant_id = :'a';
UPDATE late SET tenant_id = :'b';
CREATE ROLE regress_protect_child_keeper SUPERUSER IN ROLE bulwark_maintenance;
SET ROLE regress_protect_child_keeper;
UPDATE late SET tenant_id = :'b';
RESET ROLE;
DROP ROLE regress_protect_child_keeper;
SELECT tenant_id = :'b' AS moved FROM late;

-- A parent that goes with CASCADE takes the policies that read it: nothing is
-- let through then.
\set VERBOSITY terse
SET client_min_messages = error;
DROP TABLE flat CASCADE;
RESET client_min_messages;
SELECT count(*) FROM pg_policy WHERE polrelid = 'flat_child'::regclass;
SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = 'flat_child'::regclass;
SELECT bulwark.unprotect('flat_child');

-- A renamed key column: followed, for partitions to come.
ALTER TABLE log RENAME persona_id TO who;
ALTER TABLE persona RENAME id TO number;
CREATE TABLE log_3 PARTITION OF log FOR VALUES FROM (20) TO (30);
SELECT policies('log_3') LIMIT 1;
SELECT bulwark.protect('log', parent => 'persona');

SET client_min_messages = error;
DROP SCHEMA regress_protect_child CASCADE;
DELETE FROM bulwark_internal.tenants WHERE slug LIKE 'regress-child-%';
SELECT count(*) FROM bulwark.protected_tables;
