-- What a superuser's statements may do to the ledger: nothing.  Every attempt is
-- undone; its answer is "ok" or the SQLSTATE.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;

SELECT * FROM no_plan();

CREATE ROLE pgtap_guard_owner;
CREATE SCHEMA shop;
GRANT ALL ON SCHEMA shop TO pgtap_guard_owner;
CREATE TABLE shop.account (id int PRIMARY KEY, note text);
CREATE TABLE shop.call (id int, note text) PARTITION BY LIST (id);
CREATE TABLE shop.call_1 PARTITION OF shop.call FOR VALUES IN (1);
CREATE TABLE shop.other (id int PRIMARY KEY, note text);
CREATE TABLE shop.copied (LIKE bulwark_internal.ledger_shapes);
CREATE VIEW shop.shapes AS SELECT * FROM bulwark_internal.ledger_shapes;
CREATE TABLE shop.rules (a bytea);
CREATE RULE writes AS ON INSERT TO shop.rules DO ALSO INSERT INTO bulwark_internal.ledger_shapes VALUES (NEW.a, NEW.a);
CREATE FUNCTION shop.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION shop.writes() RETURNS int LANGUAGE sql AS $$INSERT INTO bulwark_internal.ledger_shapes VALUES ('a', 'b'); SELECT 1$$;

CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	SET CONSTRAINTS ALL IMMEDIATE;
	RAISE EXCEPTION USING ERRCODE = 'ZZ000';
EXCEPTION WHEN OTHERS THEN
	RETURN CASE SQLSTATE WHEN 'ZZ000' THEN 'ok' ELSE SQLSTATE END;
END
$$;

SELECT bulwark.audit('shop.account'), bulwark.audit('shop.call') \g /dev/null
INSERT INTO shop.account SELECT n, 'note ' || n FROM generate_series(1, 10) AS n;
INSERT INTO shop.call VALUES (1, 'a call');

CREATE TABLE attempts (n int GENERATED ALWAYS AS IDENTITY, what text, statement text, answer text);
INSERT INTO attempts (answer, what, statement) VALUES
	-- #: each table of the ledger
	('42501', 'L1: delete', 'DELETE FROM #'),
	('42501', 'L1: delete nothing', 'DELETE FROM # WHERE false'),
	('42501', 'L1: truncate', 'TRUNCATE #'),
	('42501', 'L1: truncate it alone', 'TRUNCATE ONLY #'),
	('42501', 'L1: lock rows', 'SELECT FROM # FOR KEY SHARE'),
	('42501', 'L1: delete as a replica', 'SET LOCAL session_replication_role = replica; DELETE FROM #'),
	('42501', 'L1: delete in a CTE', 'WITH gone AS (DELETE FROM # RETURNING 1) SELECT count(*) FROM gone'),
	('42501', 'lock out writers', 'LOCK TABLE # IN SHARE MODE'),
	('42501', 'lock out the sealer', 'LOCK TABLE # IN SHARE UPDATE EXCLUSIVE MODE'),
	('42501', 'lock out everybody', 'LOCK TABLE #'),
	('ok', 'lock as a writer', 'LOCK TABLE # IN ROW EXCLUSIVE MODE'),
	('ok', 'read', 'SELECT count(*) FROM #'),
	('42501', 'L2: drop', 'DROP TABLE #'),
	('42501', 'L2: drop with all that depends', 'DROP TABLE # CASCADE'),
	('42501', 'L3: disable a trigger', 'ALTER TABLE # DISABLE TRIGGER bulwark_guard_row'),
	('42501', 'L3: let a trigger sleep as a replica', 'ALTER TABLE # ENABLE TRIGGER bulwark_guard_row'),
	('42501', 'L3: drop a trigger', 'DROP TRIGGER bulwark_guard_truncate ON #'),
	('42501', 'L3: rename a trigger', 'ALTER TRIGGER bulwark_guard_row ON # RENAME TO x'),
	('42501', 'L3: replace a trigger', 'CREATE OR REPLACE TRIGGER bulwark_guard_row BEFORE INSERT ON # FOR EACH ROW EXECUTE FUNCTION shop.nothing()'),
	('42501', 'L3: add a trigger', 'CREATE TRIGGER a BEFORE INSERT ON # FOR EACH ROW EXECUTE FUNCTION shop.nothing()'),
	('42501', 'L5: unlogged', 'ALTER TABLE # SET UNLOGGED'),
	('42501', 'L5: access method', 'ALTER TABLE # SET ACCESS METHOD heap'),
	('42501', 'L5: schema', 'ALTER TABLE # SET SCHEMA shop'),
	('42501', 'L5: owner', 'ALTER TABLE # OWNER TO pgtap_guard_owner'),
	('42501', 'L5: rename', 'ALTER TABLE # RENAME TO x'),
	('42501', 'L5: add a column', 'ALTER TABLE # ADD x int'),
	('42501', 'L5: rule', 'CREATE RULE r AS ON INSERT TO # DO INSTEAD NOTHING'),
	('42501', 'L5: policy', 'CREATE POLICY p ON #'),
	('42501', 'L5: no row security', 'ALTER TABLE # DISABLE ROW LEVEL SECURITY'),
	('42501', 'L5: row security for the owner', 'ALTER TABLE # FORCE ROW LEVEL SECURITY'),
	('42501', 'L5: replica identity', 'ALTER TABLE # REPLICA IDENTITY FULL'),
	('42501', 'L5: storage options', 'ALTER TABLE # SET (autovacuum_enabled = off)'),
	('42501', 'L5: grant', 'GRANT INSERT ON # TO pgtap_guard_owner'),
	('42501', 'L5: revoke', 'REVOKE ALL ON # FROM PUBLIC'),
	('42501', 'L5: become a child', 'ALTER TABLE # INHERIT shop.other'),
	('42501', 'L5: a constraint', 'ALTER TABLE # ADD CHECK (true)'),
	('42501', 'out of the extension', 'ALTER EXTENSION bulwark DROP TABLE #'),
	('ok', 'comment', 'COMMENT ON TABLE # IS $$x$$'),
	('25001', 'keep writers out: move to a tablespace', 'ALTER TABLE # SET TABLESPACE pg_default'),
	('25001', 'keep writers out: CLUSTER', 'CLUSTER #'),
	('ok', 'L4: switch all triggers off and on, as pg_restore does', 'ALTER TABLE # DISABLE TRIGGER ALL; ALTER TABLE # ENABLE TRIGGER ALL'),
	('25001', 'keep writers out: rebuild indexes', 'REINDEX TABLE #'),
	('ok', 'publish for reading', 'CREATE PUBLICATION p FOR TABLE ONLY #');
SELECT is(attempt(replace(statement, '#', t.oid::regclass::text)), answer, what || ': ' || t.relname)
FROM attempts, pg_class t
WHERE t.relnamespace = 'bulwark_internal'::regnamespace AND t.relname LIKE 'ledger\_%' AND t.relkind = 'r'
ORDER BY n, t.relname;

-- Attempts on one thing.
TRUNCATE attempts;
INSERT INTO attempts (answer, what, statement) VALUES
	('42501', 'L1: insert', $$INSERT INTO bulwark_internal.ledger_shapes VALUES ('a', 'b')$$),
	('42501', 'L1: insert an entry', $$INSERT INTO bulwark_internal.ledger_segment_1 VALUES ('a', 'b')$$),
	('42501', 'L1: insert an entry into the parent', $$INSERT INTO bulwark_internal.ledger_entries VALUES ('a', 'b')$$),
	('42501', 'L1: insert or update', $$INSERT INTO bulwark_internal.ledger_log VALUES (true, gen_random_uuid(), now()) ON CONFLICT (singleton) DO UPDATE SET created_at = now()$$),
	('42501', 'L1: update', 'UPDATE bulwark_internal.ledger_segment_1 SET content = NULL'),
	('42501', 'L1: update by the parent', 'UPDATE bulwark_internal.ledger_entries SET content = NULL'),
	('42501', 'L1: merge', $$MERGE INTO bulwark_internal.ledger_shapes USING (VALUES (1)) AS v (a) ON true WHEN MATCHED THEN DELETE$$),
	('42501', 'L1: update by an updatable view', $$UPDATE shop.shapes SET shape = 'x'$$),
	('42501', 'L1: insert by a rule', $$INSERT INTO shop.rules VALUES ('a')$$),
	('42501', 'L1: insert by a function', 'SELECT shop.writes()'),
	('42501', 'L1: copy', $$COPY bulwark_internal.ledger_shapes FROM PROGRAM 'printf "a\tb\n"'$$),
	('ok', 'copy no row, as a dump of an empty ledger does', $$COPY bulwark_internal.ledger_shapes FROM PROGRAM 'true'$$),
	('42501', 'L7: copy where a catalog edit took the trigger away', $$DELETE FROM pg_trigger WHERE tgrelid = 'bulwark_internal.ledger_shapes'::regclass;
		UPDATE pg_class SET relname = relname WHERE oid = 'bulwark_internal.ledger_shapes'::regclass; COPY bulwark_internal.ledger_shapes FROM PROGRAM 'printf "a\tb\n"'$$),
	('42501', 'L7: delete there', $$DELETE FROM pg_trigger WHERE tgrelid = 'bulwark_internal.ledger_shapes'::regclass;
		UPDATE pg_class SET relname = relname WHERE oid = 'bulwark_internal.ledger_shapes'::regclass; DELETE FROM bulwark_internal.ledger_shapes$$),
	('42501', 'L1: explain analyze', 'EXPLAIN ANALYZE DELETE FROM bulwark_internal.ledger_shapes'),
	('ok', 'explain', 'EXPLAIN DELETE FROM bulwark_internal.ledger_shapes'),
	('42501', 'L1: in a prepared statement', 'PREPARE p AS DELETE FROM bulwark_internal.ledger_shapes; EXECUTE p'),
	('42501', 'L1: by a cursor', 'DECLARE c CURSOR FOR SELECT * FROM bulwark_internal.ledger_shapes FOR UPDATE; FETCH c'),
	('25001', 'keep writers out: rebuild an index', 'REINDEX INDEX bulwark_internal.ledger_log_pkey'),
	('25001', 'keep writers out: move an index', 'ALTER INDEX bulwark_internal.ledger_log_pkey SET TABLESPACE pg_default'),
	('25001', 'keep writers out: move all', 'ALTER TABLE ALL IN TABLESPACE pg_default SET TABLESPACE pg_default'),
	('ok', 'rebuild indexes of another table', 'REINDEX TABLE shop.other'),
	('42501', 'lock through a view', 'LOCK TABLE shop.shapes IN EXCLUSIVE MODE'),
	('42501', 'L2: drop the schema', 'DROP SCHEMA bulwark_internal CASCADE'),
	('42501', 'L2: drop the public schema', 'DROP SCHEMA bulwark CASCADE'),
	('42501', 'L2: drop the extension', 'DROP EXTENSION bulwark'),
	('42501', 'L2: drop the extension with all that depends', 'DROP EXTENSION IF EXISTS pgtap, bulwark CASCADE'),
	('42501', 'L2: drop the language of its functions', 'DROP EXTENSION plpgsql CASCADE'),
	('42501', 'L2: drop an index', 'DROP INDEX bulwark_internal.ledger_blocks_pkey'),
	('42501', 'L2: drop the sequence', 'DROP SEQUENCE bulwark_internal.ledger_entry_id'),
	('42501', 'L2: several tables at once', 'DROP TABLE shop.other, bulwark_internal.ledger_log'),
	('42501', 'L3: replace a function', $$CREATE OR REPLACE FUNCTION bulwark_internal.ledger_guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'$$),
	('42501', 'L3: alter a function', 'ALTER FUNCTION bulwark_internal.ledger_guard() SET search_path = shop'),
	('42501', 'L3: a function''s owner', 'ALTER FUNCTION bulwark_internal.capture() OWNER TO pgtap_guard_owner'),
	('42501', 'L3: rename a function', 'ALTER FUNCTION bulwark_internal.capture() RENAME TO x'),
	('42501', 'L3: move a function', 'ALTER FUNCTION bulwark_internal.capture() SET SCHEMA shop'),
	('42501', 'L3: drop a function', 'DROP FUNCTION bulwark_internal.capture() CASCADE'),
	('42501', 'L3: drop a routine', 'DROP ROUTINE bulwark_internal.ledger_guard CASCADE'),
	('42501', 'L3: a default for a column of a view', 'ALTER VIEW bulwark.ledger ALTER entry_id SET DEFAULT 5'),
	('42501', 'L3: the same as of a table', 'ALTER TABLE bulwark.ledger ALTER entry_id SET DEFAULT 5'),
	('42501', 'L3: replace a view', 'CREATE OR REPLACE VIEW bulwark.issuers AS SELECT * FROM bulwark.issuers WHERE false'),
	('42501', 'L3: rename the schema', 'ALTER SCHEMA bulwark_internal RENAME TO x'),
	('42501', 'L3: give the schema away', 'ALTER SCHEMA bulwark_internal OWNER TO pgtap_guard_owner'),
	('42501', 'L3: a function out of the extension', 'ALTER EXTENSION bulwark DROP FUNCTION bulwark_internal.ledger_guard()'),
	('42501', 'L3: a table into the extension', 'ALTER EXTENSION bulwark ADD TABLE shop.other'),
	('42501', 'L5: drop a column', 'ALTER TABLE bulwark_internal.ledger_shapes DROP shape'),
	('42501', 'L5: rename a column', 'ALTER TABLE bulwark_internal.ledger_shapes RENAME shape TO x'),
	('42501', 'L5: retype a column', 'ALTER TABLE bulwark_internal.ledger_shapes ALTER shape TYPE text USING shape::text'),
	('42501', 'L5: a default', $$ALTER TABLE bulwark_internal.ledger_shapes ALTER shape SET DEFAULT 'x'$$),
	('42501', 'L5: rename a constraint', 'ALTER TABLE bulwark_internal.ledger_log RENAME CONSTRAINT ledger_log_pkey TO x'),
	('42501', 'L5: an index', 'CREATE INDEX ON bulwark_internal.ledger_shapes (shape)'),
	('42501', 'L5: an index of a segment', 'CREATE INDEX ON bulwark_internal.ledger_segment_1 (leaf)'),
	('42501', 'L5: alter an index', 'ALTER INDEX bulwark_internal.ledger_log_pkey SET (fillfactor = 50)'),
	('42501', 'L5: rename an index', 'ALTER INDEX bulwark_internal.ledger_log_pkey RENAME TO x'),
	('42501', 'L5: statistics', 'CREATE STATISTICS shop.s ON shape, shape_id FROM bulwark_internal.ledger_shapes'),
	('42501', 'L5: grant a column', 'GRANT UPDATE (content) ON bulwark_internal.ledger_entries TO pgtap_guard_owner'),
	('42501', 'L5: grant all tables', 'GRANT INSERT ON ALL TABLES IN SCHEMA bulwark_internal TO pgtap_guard_owner'),
	('42501', 'L5: grant all sequences', 'GRANT USAGE ON ALL SEQUENCES IN SCHEMA bulwark_internal TO pgtap_guard_owner'),
	('42501', 'L5: alter the sequence', 'ALTER SEQUENCE bulwark_internal.ledger_entry_id RESTART'),
	('42501', 'L5: give the sequence away', 'ALTER SEQUENCE bulwark_internal.ledger_entry_id OWNER TO pgtap_guard_owner'),
	('42501', 'L5: a segment leaves its parent', 'ALTER TABLE bulwark_internal.ledger_segment_1 NO INHERIT bulwark_internal.ledger_entries'),
	-- no form of certificate exists that would let entries go: all of it is refused
	('42501', 'L12: the oldest entries', 'DELETE FROM bulwark_internal.ledger_entries WHERE bulwark_internal.leaf_index(leaf) < 3'),
	('42501', 'L12: entries of a time', $$DELETE FROM bulwark_internal.ledger_segment_1 WHERE bulwark_internal.leaf_time(leaf) < now()$$),
	('42501', 'L12: a segment', 'DROP TABLE bulwark_internal.ledger_segment_1'),
	('42501', 'L12: all segments, by their parent', 'TRUNCATE bulwark_internal.ledger_entries'),
	('42501', 'L12: a segment by the parent that it inherits from', 'DROP TABLE bulwark_internal.ledger_entries CASCADE'),
	('42501', 'L12: a segment that is not one any more', 'ALTER TABLE bulwark_internal.ledger_segment_1 NO INHERIT bulwark_internal.ledger_entries; DROP TABLE bulwark_internal.ledger_segment_1'),
	('42501', 'L12: what says that there is a segment', 'DELETE FROM bulwark_internal.ledger_segments WHERE segment = 1'),
	('42501', 'L12: as the one who may erase contents', $$SET LOCAL ROLE bulwark_retention; DELETE FROM bulwark_internal.ledger_entries$$),
	('42501', 'L11: a child that would bring entries', 'CREATE TABLE shop.forged () INHERITS (bulwark_internal.ledger_entries)'),
	('42501', 'L11: a table made a child', 'CREATE TABLE shop.forged (leaf bytea NOT NULL, content bytea); ALTER TABLE shop.forged INHERIT bulwark_internal.ledger_entries'),
	('42501', 'L11: a table that looks like a segment', 'CREATE TABLE bulwark_internal.ledger_segment_3 (leaf bytea, content bytea)'),
	('42501', 'L11: a table moved to look like one', 'CREATE TABLE shop.ledger_segment_3 (); ALTER TABLE shop.ledger_segment_3 SET SCHEMA bulwark_internal'),
	('42501', 'L3: a type of the next segment''s name', 'CREATE DOMAIN bulwark_internal.ledger_segment_9 AS int'),
	('42501', 'L3: a composite type', 'CREATE TYPE bulwark_internal.ledger_segment_9 AS (a int)'),
	('42501', 'L3: an enum', 'CREATE TYPE bulwark.mood AS ENUM (''a'')'),
	('42501', 'L3: a function that is preferred to ours', $$CREATE FUNCTION bulwark.audit(regclass) RETURNS void LANGUAGE sql AS ''$$),
	('42501', 'L3: a procedure', $$CREATE PROCEDURE bulwark.audit(int) LANGUAGE sql AS ''$$),
	('42501', 'L3: an aggregate', 'CREATE AGGREGATE bulwark.audit(int) (SFUNC = int4pl, STYPE = int)'),
	('42501', 'L3: an operator', 'CREATE OPERATOR bulwark_internal.### (RIGHTARG = int, FUNCTION = int4um)'),
	('42501', 'L3: a table', 'CREATE TABLE bulwark.sheet (a int)'),
	('42501', 'L3: a view', 'CREATE VIEW bulwark.ledgers AS SELECT 1 AS a'),
	('42501', 'L3: a sequence', 'CREATE SEQUENCE bulwark_internal.numbers'),
	('42501', 'L3: a function moved to ours', $$CREATE FUNCTION shop.audit(regclass) RETURNS void LANGUAGE sql AS ''; ALTER FUNCTION shop.audit(regclass) SET SCHEMA bulwark$$),
	('42501', 'L3: a type moved to ours', 'CREATE DOMAIN shop.d AS int; ALTER DOMAIN shop.d SET SCHEMA bulwark_internal'),
	('42501', 'L3: a table moved to ours', 'ALTER TABLE shop.copied SET SCHEMA bulwark'),
	('42501', 'L5: a type of ours renamed', 'ALTER TYPE bulwark.secret RENAME TO q'),
	('42501', 'L3: a trigger instead of what the view shows', 'CREATE TRIGGER t INSTEAD OF DELETE ON bulwark.ledger FOR EACH ROW EXECUTE FUNCTION shop.nothing()'),
	('42501', 'L5: a segment for another extension', 'ALTER EXTENSION plpgsql ADD TABLE bulwark_internal.ledger_segment_1'),
	('42501', 'L5: the sequence for another extension', 'ALTER EXTENSION plpgsql ADD SEQUENCE bulwark_internal.ledger_entry_id'),
	('42501', 'L5: a function that goes with another extension', 'ALTER FUNCTION bulwark.ledger_verify(text, text) DEPENDS ON EXTENSION plpgsql'),
	('42501', 'L5: a trigger that goes with another extension', 'ALTER TRIGGER bulwark_guard_row ON bulwark_internal.ledger_log DEPENDS ON EXTENSION plpgsql'),
	('42501', 'L5: an index that goes with another extension', 'ALTER INDEX bulwark_internal.ledger_log_pkey DEPENDS ON EXTENSION plpgsql'),
	('ok', 'a type of ours used elsewhere', 'CREATE DOMAIN shop.s AS bulwark.secret; CREATE FUNCTION shop.f(bulwark.secret) RETURNS int LANGUAGE sql AS $$SELECT 1$$'),
	('42501', 'L5: become a partition', 'CREATE TABLE shop.p (shape_id bytea NOT NULL, shape bytea NOT NULL) PARTITION BY LIST (shape_id); ALTER TABLE shop.p ATTACH PARTITION bulwark_internal.ledger_shapes DEFAULT'),
	('42501', 'a foreign key to the ledger', 'CREATE TABLE shop.f (a boolean REFERENCES bulwark_internal.ledger_log ON DELETE CASCADE)'),
	('42501', 'in the dark of an index expression', $$CREATE FUNCTION shop.darker() RETURNS void LANGUAGE plpgsql AS 'BEGIN DROP TRIGGER bulwark_guard_row ON bulwark_internal.ledger_log; END';
		CREATE FUNCTION shop.dark(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM shop.darker(); RETURN 1; END'; CREATE INDEX i ON shop.other (shop.dark(id)); INSERT INTO shop.other VALUES (1); REINDEX TABLE shop.other$$),
	('ok', 'a copy of a table''s form', 'CREATE TABLE shop.c (LIKE bulwark_internal.ledger_shapes INCLUDING ALL)'),
	('ok', 'a copy of its rows', 'CREATE TABLE shop.c AS SELECT * FROM bulwark_internal.ledger_shapes'),
	('ok', 'a table of that name elsewhere', 'CREATE TABLE shop.ledger_log (); DROP TABLE shop.ledger_log'),
	('ok', 'grant a function', 'GRANT EXECUTE ON FUNCTION bulwark.identity() TO pgtap_guard_owner'),
	-- the extension's other tables
	('42501', 'L32: one of ours a partition', 'CREATE TABLE shop.p (LIKE bulwark_internal.roles INCLUDING CONSTRAINTS) PARTITION BY HASH (role_id); ALTER TABLE shop.p ATTACH PARTITION bulwark_internal.roles FOR VALUES WITH (MODULUS 1, REMAINDER 0)'),
	('42501', 'L32: a child of ours', 'CREATE TABLE shop.c () INHERITS (bulwark_internal.roles)'),
	('42501', 'L32: a key that changes ours', 'CREATE TABLE shop.names (name text PRIMARY KEY); ALTER TABLE bulwark_internal.roles ADD FOREIGN KEY (name) REFERENCES shop.names ON UPDATE CASCADE'),
	('42501', 'L32: a column that is filled anew', $$ALTER TABLE bulwark_internal.service_scopes ALTER tenant_ids TYPE uuid[] USING '{}'$$),
	('42501', 'L32: a column', 'ALTER TABLE bulwark_internal.roles ADD x int'),
	('42501', 'L32: a column renamed', 'ALTER TABLE bulwark_internal.roles RENAME name TO x'),
	('42501', 'L32: a trigger', 'CREATE TRIGGER a BEFORE INSERT ON bulwark_internal.roles FOR EACH ROW EXECUTE FUNCTION shop.nothing()'),
	('42501', 'L32: a trigger of ours disabled', 'ALTER TABLE bulwark_internal.roles DISABLE TRIGGER invalidate'),
	('42501', 'L32: a trigger of ours dropped', 'DROP TRIGGER invalidate ON bulwark_internal.roles'),
	('42501', 'L32: a rule', 'CREATE RULE r AS ON DELETE TO bulwark_internal.memberships DO INSTEAD NOTHING'),
	('42501', 'L32: an index', 'CREATE INDEX ON bulwark_internal.roles (name)'),
	('42501', 'L32: an index dropped', 'DROP INDEX bulwark_internal.memberships_member_idx'),
	('42501', 'L32: row security', 'ALTER TABLE bulwark_internal.roles DISABLE ROW LEVEL SECURITY'),
	('42501', 'L32: renamed', 'ALTER TABLE bulwark_internal.roles RENAME TO x'),
	('42501', 'L32: another owner', 'ALTER TABLE bulwark_internal.roles OWNER TO pgtap_guard_owner'),
	('ok', 'a key to one of ours', 'CREATE TABLE shop.k (t uuid REFERENCES bulwark_internal.tenants); DROP TABLE shop.k'),
	('ok', 'how one of ours is stored', 'ALTER TABLE bulwark_internal.roles SET (fillfactor = 90)'),
	('ok', 'pg_restore --disable-triggers', 'ALTER TABLE bulwark_internal.roles DISABLE TRIGGER ALL; ALTER TABLE bulwark_internal.roles ENABLE TRIGGER ALL'),
	-- the server's
	('42501', 'L7: a catalog as a partition', 'CREATE TABLE shop.p (LIKE pg_trigger) PARTITION BY HASH (oid); ALTER TABLE shop.p ATTACH PARTITION pg_catalog.pg_trigger FOR VALUES WITH (MODULUS 1, REMAINDER 0)'),
	('42501', 'L7: a child of a catalog', 'CREATE TABLE shop.c () INHERITS (pg_catalog.pg_trigger)'),
	('ok', 'L7: the definition of a catalog', 'SET LOCAL allow_system_table_mods = on; ALTER TABLE pg_catalog.pg_trigger ALTER tgargs SET STATISTICS 10; CREATE RULE r AS ON INSERT TO pg_catalog.pg_trigger DO ALSO NOTHING'),
	-- audited tables
	('42501', 'L3: disable the trigger of an audited table', 'ALTER TABLE shop.account DISABLE TRIGGER "!bulwark_ledger"'),
	('42501', 'L3: let it sleep as a replica', 'ALTER TABLE shop.account ENABLE REPLICA TRIGGER "!bulwark_ledger"'),
	('42501', 'L3: drop it', 'DROP TRIGGER "!bulwark_ledger" ON shop.account'),
	('42501', 'L3: drop that of TRUNCATE', 'DROP TRIGGER "!bulwark_ledger_truncate" ON shop.account'),
	('42501', 'L3: drop that of a partition', 'DROP TRIGGER "!bulwark_ledger" ON shop.call_1'),
	('42501', 'L3: rename it', 'ALTER TRIGGER "!bulwark_ledger" ON shop.account RENAME TO x'),
	('42501', 'L3: replace it', 'CREATE OR REPLACE TRIGGER "!bulwark_ledger" AFTER INSERT ON shop.account FOR EACH ROW EXECUTE FUNCTION shop.nothing()'),
	('ok', 'enable it always', 'ALTER TABLE shop.account ENABLE ALWAYS TRIGGER "!bulwark_ledger"'),
	('ok', 'L3: drop an audited table', 'DROP TABLE shop.account'),
	('ok', 'L3: drop a partition', 'DROP TABLE shop.call_1'),
	('ok', 'L3: drop all', 'DROP SCHEMA shop CASCADE'),
	('ok', 'end the audit', $$SELECT bulwark.audit_stop('shop.account')$$);
SELECT is(attempt(statement), answer, what) FROM attempts ORDER BY n;

SELECT is((SELECT string_agg(DISTINCT metadata->>'command', ', ') FROM bulwark.ledger WHERE entity_type = 'pg_catalog.pg_trigger' AND metadata ? 'catalog' AND metadata->>'command' <> 'DELETE'),
	'ALTER TABLE, CREATE RULE', 'L7: definitions of catalogs are entries, though they were undone');
BEGIN;
ALTER TABLE bulwark_internal.roles DISABLE TRIGGER ALL;
ALTER TABLE bulwark_internal.roles ENABLE TRIGGER ALL;
SELECT is((SELECT count(*) FROM bulwark.ledger WHERE entity_type = 'bulwark_internal.roles' AND metadata->>'operation' = 'direct' AND metadata->>'command' = 'ALTER TABLE'), 1::bigint,
	'L32: what goes through is an entry');
ROLLBACK;

-- What is no attempt of ours cannot run in a function.
VACUUM FULL bulwark_internal.ledger_segment_1;
SELECT is(:'SQLSTATE'::text, '00000', 'L6: VACUUM FULL');
CLUSTER bulwark_internal.ledger_log USING ledger_log_pkey;
SELECT is(:'SQLSTATE'::text, '00000', 'L6: CLUSTER');
REINDEX TABLE CONCURRENTLY bulwark_internal.ledger_shapes;
SELECT is(:'SQLSTATE'::text, '00000', 'L6: REINDEX CONCURRENTLY');
REINDEX TABLE bulwark_internal.ledger_segment_1;
SELECT is(:'SQLSTATE'::text, '00000', 'L6: REINDEX');
ALTER TABLE bulwark_internal.ledger_segment_1 SET TABLESPACE pg_default;
SELECT is(:'SQLSTATE'::text, '00000', 'L6: move to a tablespace');
ALTER INDEX bulwark_internal.ledger_log_pkey SET TABLESPACE pg_default;
SELECT is(:'SQLSTATE'::text, '00000', 'L6: move an index');
VACUUM ANALYZE bulwark_internal.ledger_entries;
SELECT is(:'SQLSTATE'::text, '00000', 'L6: VACUUM ANALYZE');
\set ON_ERROR_STOP off
CREATE INDEX CONCURRENTLY ON bulwark_internal.ledger_shapes (shape);
SELECT is(:'SQLSTATE'::text, '42501', 'L5: an index made concurrently');
BEGIN;
REINDEX TABLE bulwark_internal.ledger_segment_1;
SELECT :'SQLSTATE' AS state \gset
ROLLBACK;
SELECT is(:'state'::text, '25001', 'keep writers out: REINDEX in a transaction block');
\set ON_ERROR_STOP on

-- L7: what a superuser edited in the catalogs is found.
SELECT is_empty('SELECT * FROM bulwark_internal.ledger_coverage_check()', 'L7: nothing is wrong');
CREATE FUNCTION found_after(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found text;
BEGIN
	EXECUTE statement;
	SELECT string_agg(relation || ': ' || problem, E'\n' ORDER BY relation, problem) INTO found
	FROM bulwark_internal.ledger_coverage_check();
	RAISE EXCEPTION USING ERRCODE = 'ZZ000', MESSAGE = coalesce(found, 'nothing');
EXCEPTION WHEN SQLSTATE 'ZZ000' THEN
	RETURN SQLERRM;
END
$$;
TRUNCATE attempts;
INSERT INTO attempts (what, statement, answer) VALUES
	('a trigger disabled', $$UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'shop.account'::regclass AND tgname = '!bulwark_ledger'$$,
		'shop.account: trigger "!bulwark_ledger" does not fire always'),
	('a trigger that would not fire as a replica', $$UPDATE pg_trigger SET tgenabled = 'O' WHERE tgrelid = 'shop.call_1'::regclass AND tgname = '!bulwark_ledger'$$,
		'shop.call_1: trigger "!bulwark_ledger" does not fire always'),
	('a trigger removed', $$DELETE FROM pg_trigger WHERE tgrelid = 'shop.account'::regclass AND tgname = '!bulwark_ledger_truncate'$$,
		'shop.account: trigger "!bulwark_ledger_truncate" is missing'),
	('a trigger with a condition', $$UPDATE pg_trigger SET tgattr = '2' WHERE tgrelid = 'shop.account'::regclass AND tgname = '!bulwark_ledger'$$,
		'shop.account: trigger "!bulwark_ledger" is not as it was made'),
	('a trigger of another function', $$UPDATE pg_trigger SET tgfoid = 'shop.nothing()'::regprocedure WHERE tgrelid = 'bulwark_internal.ledger_log'::regclass AND tgname = 'bulwark_guard_row'$$,
		'bulwark_internal.ledger_log: trigger "bulwark_guard_row" is not as it was made'),
	('a table that has no triggers any more', $$UPDATE pg_class SET relhastriggers = false WHERE oid = 'bulwark_internal.ledger_keys'::regclass$$,
		E'bulwark_internal.ledger_keys: trigger "bulwark_guard_row" does not fire always\nbulwark_internal.ledger_keys: trigger "bulwark_guard_truncate" does not fire always'),
	('another trigger', $$UPDATE pg_trigger SET tgname = 'x' WHERE tgrelid = 'bulwark_internal.ledger_log'::regclass AND tgname = 'bulwark_guard_row'$$,
		E'bulwark_internal.ledger_log: trigger "bulwark_guard_row" is missing\nbulwark_internal.ledger_log: trigger "x" is not of the ledger''s'),
	('a function replaced', $$UPDATE pg_proc SET prosrc = 'bulwark_ledger_guard' WHERE oid = 'bulwark_internal.capture()'::regprocedure$$,
		'bulwark_internal.capture: the function is not as it was made'),
	('a function of another library', $$UPDATE pg_proc SET probin = '/tmp/x.so' WHERE oid = 'bulwark_internal.ledger_guard()'::regprocedure$$,
		'bulwark_internal.ledger_guard: the function is not as it was made'),
	('a segment that left', $$DELETE FROM pg_inherits WHERE inhrelid = 'bulwark_internal.ledger_segment_2'::regclass$$,
		'bulwark_internal.ledger_segment_2: it is a segment, and does not inherit from ledger_entries alone'),
	('a child that came', $$INSERT INTO pg_inherits (inhrelid, inhparent, inhseqno, inhdetachpending) VALUES ('shop.copied'::regclass, 'bulwark_internal.ledger_entries'::regclass, 1, false)$$,
		'shop.copied: it inherits from a table of the ledger, and is no segment'),
	('an unlogged table', $$UPDATE pg_class SET relpersistence = 'u' WHERE oid = 'bulwark_internal.ledger_blocks'::regclass$$,
		'bulwark_internal.ledger_blocks: it is not a plain, logged heap table of the extension''s owner with row security and without rules or policies'),
	('a function of others among ours', $$CREATE FUNCTION shop.audit(regclass) RETURNS void LANGUAGE sql AS ''; UPDATE pg_proc SET pronamespace = 'bulwark'::regnamespace WHERE oid = 'shop.audit(regclass)'::regprocedure$$,
		'bulwark.audit(pg_catalog.regclass): it is a function that is not the extension''s'),
	('a type of others among ours', $$CREATE DOMAIN shop.ledger_segment_9 AS int; UPDATE pg_type SET typnamespace = 'bulwark_internal'::regnamespace WHERE oid = 'shop.ledger_segment_9'::regtype$$,
		'bulwark_internal.ledger_segment_9: it is a type that is not the extension''s'),
	('a segment that another extension has', $$INSERT INTO pg_depend SELECT 'pg_class'::regclass, 'bulwark_internal.ledger_segment_1'::regclass, 0, 'pg_extension'::regclass, oid, 0, 'e' FROM pg_extension WHERE extname = 'plpgsql'$$,
		'bulwark_internal.ledger_segment_1: it belongs to the extension plpgsql'),
	('statistics of contents', $$UPDATE pg_attribute SET attstattarget = 100 WHERE attrelid = 'bulwark_internal.ledger_segment_1'::regclass AND attname = 'content'$$,
		'bulwark_internal.ledger_segment_1: statistics are gathered of contents, which erasing them would not reach'),
	('a partition that is not audited any more', $$CREATE TABLE shop.call_2 (id int, note text); INSERT INTO pg_inherits (inhrelid, inhparent, inhseqno, inhdetachpending) VALUES ('shop.call_2'::regclass, 'shop.call'::regclass, 1, false)$$,
		'shop.call_2: it is not audited, and belongs to shop.call, which is'),
	('a table renamed by hand', $$UPDATE pg_class SET relname = 'hidden' WHERE oid = 'shop.account'::regclass$$,
		E'shop.account: the entries say that it is audited, and it is not registered\nshop.hidden: it is registered as audited, and no entry says so'),
	('an operator that is preferred to the server''s', $$CREATE FUNCTION shop.same(oid, regclass) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'; CREATE OPERATOR pg_catalog.= (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = shop.same)$$,
		'shop.same(pg_catalog.oid,pg_catalog.regclass): what is recorded was not compared: the function stands where one of the server should'),
	('a function of the server that runs another language', $$UPDATE pg_proc SET prolang = (SELECT oid FROM pg_language WHERE lanname = 'sql') WHERE oid = 'to_regprocedure(text)'::regprocedure$$,
		'pg_catalog.to_regprocedure(pg_catalog.text): what is recorded was not compared: the function stands where one of the server should'),
	('a child of a catalog', $$INSERT INTO pg_inherits (inhrelid, inhparent, inhseqno, inhdetachpending) VALUES ('shop.copied'::regclass, 'pg_trigger'::regclass, 1, false)$$,
		'shop.copied: a system catalog is its parent'),
	('nothing but a rename', 'ALTER TABLE shop.account RENAME TO acct', 'nothing'),
	('nothing but a schema renamed', 'ALTER SCHEMA shop RENAME TO store', 'nothing'),
	('nothing but a table dropped', 'DROP TABLE shop.account', 'nothing'),
	('nothing but the end of an audit', $$SELECT bulwark.audit_stop('shop.call')$$, 'nothing');
SELECT is(found_after(statement), answer, 'L7: ' || what) FROM attempts ORDER BY n;

-- L4: loading rows with all triggers off.
ALTER TABLE shop.account DISABLE TRIGGER ALL;
SELECT is((SELECT string_agg(tgenabled, '') FROM pg_trigger WHERE tgrelid = 'shop.account'::regclass AND tgname ~ 'bulwark'), 'AA',
	'L4: DISABLE TRIGGER ALL leaves ours on');
ALTER TABLE shop.call DISABLE TRIGGER USER;
SELECT is((SELECT string_agg(tgenabled, '') FROM pg_trigger WHERE tgrelid = 'shop.call_1'::regclass AND tgname ~ 'bulwark'), 'AA',
	'L4: DISABLE TRIGGER USER leaves those of a partition on');

SELECT * FROM finish();
