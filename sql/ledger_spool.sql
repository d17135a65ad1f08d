-- The ledger: what survives a rollback, statements about roles and privileges,
-- administrative acts, reads, and sessions that row security does not bind.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
\set superuser :USER
CREATE ROLE ledger_spool_app LOGIN IN ROLE bulwark_app;
CREATE ROLE ledger_spool_flood LOGIN IN ROLE bulwark_app;
CREATE ROLE ledger_spool_back LOGIN IN ROLE bulwark_impersonator;
CREATE ROLE ledger_spool_keeper LOGIN IN ROLE bulwark_maintenance;
CREATE ROLE ledger_spool_owner;
CREATE TABLE ledger_spool_hidden (id int PRIMARY KEY, v text);
CREATE TABLE ledger_spool_read (id int PRIMARY KEY, v text);
CREATE TABLE ledger_spool_line (id int PRIMARY KEY, of int REFERENCES ledger_spool_read);
CREATE TABLE ledger_spool_order (id int PRIMARY KEY, tenant_id uuid NOT NULL, v text);
INSERT INTO ledger_spool_read SELECT n, 'v' FROM generate_series(1, 2000) AS n;
CREATE VIEW ledger_spool_view AS SELECT * FROM ledger_spool_read;
CREATE FUNCTION ledger_spool_count() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM ledger_spool_read); END';
CREATE SCHEMA ledger_spool_closed CREATE TABLE ledger_spool_inner (id int);
DO $$
BEGIN
	FOR i IN 1 .. 9 LOOP
		EXECUTE format('CREATE TABLE ledger_spool_many_%1$s (id int, v text); GRANT SELECT (id) ON ledger_spool_many_%1$s TO ledger_spool_app', i);
	END LOOP;
END $$;
GRANT SELECT ON ledger_spool_read, ledger_spool_view, ledger_spool_order TO ledger_spool_app, ledger_spool_back;
GRANT SELECT, INSERT ON ledger_spool_order TO ledger_spool_keeper;
SELECT bulwark.tenant_create('ledger-spool', 'Spool', id => '0a000000-0000-4000-8000-000000000001') AS tenant \gset
SELECT bulwark.principal_create('ann@spool.example', id => '0a000000-0000-4000-8000-000000000002') AS ann \gset
SELECT bulwark.membership_grant(:'ann', :'tenant', 'read_only') AS membership \gset
SELECT bulwark.protect('ledger_spool_order', 'tenant_id');
SELECT bulwark.audit('ledger_spool_read', reads => true);

-- Everything that waits for the worker has been written.
CREATE FUNCTION ledger_spool_settled() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 400 LOOP
		EXIT WHEN (SELECT entries + folded = 0 FROM bulwark_internal.ledger_spool());
		PERFORM pg_sleep(0.05);
	END LOOP;
END $$;
CREATE FUNCTION ledger_spool_mark() RETURNS timestamptz LANGUAGE sql AS
	'SELECT ledger_spool_settled(); SELECT clock_timestamp()';
-- Entries since a mark; the reads of the ledger that this test makes are of the ledger.
CREATE FUNCTION ledger_spool_since(timestamptz) RETURNS TABLE (action text, entity_type text, entity_id text, db_role text, metadata jsonb)
	LANGUAGE sql AS $$
	SELECT ledger_spool_settled();
	SELECT action, entity_type, entity_id, db_role, metadata FROM bulwark.ledger
	WHERE occurred_at >= $1 AND entity_type <> 'bulwark.ledger' ORDER BY occurred_at $$;

-- L20: a denied statement is an entry, whatever becomes of its transaction
SELECT ledger_spool_mark() AS mark \gset
\c - ledger_spool_app
BEGIN;
SELECT * FROM ledger_spool_hidden;
ROLLBACK;
INSERT INTO ledger_spool_hidden VALUES (1, 'a secret value');
SELECT h.id FROM ledger_spool_hidden h JOIN ledger_spool_read r USING (id);
-- behind others that may be read: by its column, the table itself
SELECT h.id FROM ledger_spool_read r JOIN ledger_spool_hidden h USING (id);
SELECT a.id FROM ledger_spool_many_1 a, ledger_spool_many_2 b, ledger_spool_many_3 c, ledger_spool_many_4 d, ledger_spool_many_5 e,
	ledger_spool_many_6 f, ledger_spool_many_7 g, ledger_spool_many_8 h, ledger_spool_many_9 i, ledger_spool_hidden j WHERE i.id = 1;
SELECT a.v FROM ledger_spool_many_2 b, ledger_spool_many_1 a;
TRUNCATE ledger_spool_hidden;
ALTER TABLE ledger_spool_hidden ADD extra int;
COPY ledger_spool_hidden TO STDOUT;
SELECT * FROM ledger_spool_closed.ledger_spool_inner;
SELECT * FROM bulwark_internal.ledger_entries;
SELECT bulwark.tenant_create('mine', 'Mine');
-- caught by the attacker's own code
DO $$ BEGIN PERFORM * FROM ledger_spool_hidden; EXCEPTION WHEN insufficient_privilege THEN NULL; END $$;
-- one entry for one error, however deep it was raised
DO $$ BEGIN EXECUTE 'SELECT * FROM ledger_spool_hidden'; END $$;
-- in a read-only transaction
BEGIN READ ONLY;
SELECT * FROM ledger_spool_hidden;
ROLLBACK;
-- no error of another kind
SELECT 1 / 0;
SELECT * FROM ledger_spool_none;
\c - :superuser
SELECT action, entity_type, db_role, metadata FROM ledger_spool_since(:'mark');
SELECT count(*) AS with_values FROM bulwark.ledger WHERE metadata::text LIKE '%secret value%';

-- L20: so is a token or ticket that is refused, with the cause and without the token
SELECT ledger_spool_mark() AS mark \gset
\c - ledger_spool_app
BEGIN;
SELECT bulwark.authenticate('e30.e30.c2lnbmF0dXJl');
ROLLBACK;
BEGIN;
SELECT set_config('bulwark.ticket', 'bwt1.AAAA', true);
ROLLBACK;
BEGIN;
SELECT bulwark.assume('0a000000-0000-4000-8000-000000000002', '0a000000-0000-4000-8000-000000000001');
ROLLBACK;
\c - :superuser
SELECT action, entity_type, db_role, metadata FROM ledger_spool_since(:'mark');

-- an identity that is accepted is an entry once, though its transaction rolls back
SELECT ledger_spool_mark() AS mark \gset
\c - ledger_spool_back
BEGIN;
SELECT bulwark.assume('0a000000-0000-4000-8000-000000000002', '0a000000-0000-4000-8000-000000000001') IS NOT NULL AS assumed;
ROLLBACK;
BEGIN;
SELECT bulwark.assume('0a000000-0000-4000-8000-000000000002', '0a000000-0000-4000-8000-000000000001') IS NOT NULL AS assumed;
COMMIT;
\c - :superuser
SELECT ledger_spool_settled();
SELECT action, tenant_id, actor_email, actor_proof, assumed_by, entity_type, entity_id, db_role, metadata FROM bulwark.ledger
	WHERE occurred_at >= :'mark' AND action = 'authenticate';

-- L18: the actor is who was authenticated, whatever the session says of itself
SELECT ledger_spool_mark() AS mark \gset
GRANT ledger_spool_owner TO ledger_spool_back;
\c - ledger_spool_back
SET application_name = 'root@spool.example';
BEGIN;
SELECT bulwark.assume('0a000000-0000-4000-8000-000000000002', '0a000000-0000-4000-8000-000000000001') IS NOT NULL AS assumed;
SELECT bulwark.annotate(route => '/orders', request_id => 'r-1', client_addr => '203.0.113.9', metadata => '{"actor": "root"}');
SET LOCAL ROLE ledger_spool_owner;
SELECT * FROM ledger_spool_hidden;
ROLLBACK;
\c - :superuser
SET SESSION AUTHORIZATION ledger_spool_owner;
SELECT * FROM ledger_spool_hidden;
RESET SESSION AUTHORIZATION;
SELECT ledger_spool_settled();
SELECT source, actor_id, actor_email, actor_proof, assumed_by, db_role = :'superuser' AS superuser, route, request_id, client_addr, metadata
	FROM bulwark.ledger WHERE occurred_at >= :'mark' AND action = 'denied' ORDER BY occurred_at;

-- L20: a flood is bounded, the first are kept, and all are counted
SELECT ledger_spool_mark() AS mark \gset
\c - ledger_spool_flood
DO $$
BEGIN
	FOR i IN 1 .. 5000 LOOP
		BEGIN
			EXECUTE 'SELECT * FROM ledger_spool_hidden';
		EXCEPTION WHEN insufficient_privilege THEN NULL;
		END;
	END LOOP;
END $$;
\c - :superuser
-- an entry that must not be lost has its place amid the flood
ALTER SYSTEM SET work_mem = '5MB';
ALTER SYSTEM RESET work_mem;
SELECT ledger_spool_settled();
SELECT count(*) BETWEEN 100 AND 500 AS bounded, count(*) FILTER (WHERE NOT metadata ? 'folded') >= 100 AS first_kept,
	count(*) FILTER (WHERE NOT metadata ? 'folded') + sum(COALESCE((metadata ->> 'folded')::int, 0)) AS counted
	FROM bulwark.ledger WHERE occurred_at >= :'mark' AND action = 'denied' AND db_role = 'ledger_spool_flood';
SELECT action, entity_type, entity_id, metadata FROM ledger_spool_since(:'mark') WHERE entity_type = 'setting';

-- roles, privileges, settings: no password, no value that may be a secret
SELECT ledger_spool_mark() AS mark \gset
CREATE ROLE ledger_spool_new LOGIN CREATEDB PASSWORD 'a secret value';
ALTER ROLE ledger_spool_new PASSWORD 'another secret value' VALID UNTIL '2030-01-01';
ALTER ROLE ledger_spool_new SET work_mem = '7MB';
ALTER ROLE ledger_spool_new SET search_path = pg_catalog;
ALTER ROLE ledger_spool_new SET spool.password = 'a secret value';
ALTER ROLE ledger_spool_new RESET ALL;
GRANT ledger_spool_owner TO ledger_spool_new WITH ADMIN OPTION;
REVOKE ledger_spool_owner FROM ledger_spool_new;
GRANT SELECT (id), UPDATE (v) ON ledger_spool_hidden TO ledger_spool_new WITH GRANT OPTION;
REVOKE ALL ON ledger_spool_hidden FROM ledger_spool_new CASCADE;
GRANT USAGE ON SCHEMA ledger_spool_closed TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger_spool_closed TO ledger_spool_new;
ALTER DEFAULT PRIVILEGES FOR ROLE ledger_spool_owner IN SCHEMA ledger_spool_closed GRANT SELECT ON TABLES TO ledger_spool_new;
CREATE FUNCTION ledger_spool_definer() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS 'SELECT 1';
ALTER FUNCTION ledger_spool_definer() SECURITY INVOKER;
ALTER FUNCTION ledger_spool_definer() OWNER TO ledger_spool_owner;
CREATE FUNCTION ledger_spool_invoker() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER TABLE ledger_spool_hidden OWNER TO ledger_spool_owner;
ALTER TABLE ledger_spool_hidden ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON ledger_spool_hidden USING (true);
DROP POLICY mine ON ledger_spool_hidden;
ALTER TABLE ledger_spool_hidden ALTER v SET DEFAULT 'a secret value';
REASSIGN OWNED BY ledger_spool_new TO ledger_spool_owner;
DROP OWNED BY ledger_spool_new;
ALTER ROLE ledger_spool_new RENAME TO ledger_spool_old;
DROP ROLE ledger_spool_old;
-- undone with its transaction
BEGIN;
CREATE ROLE ledger_spool_never;
ROLLBACK;
SELECT entity_type, entity_id, metadata FROM ledger_spool_since(:'mark') WHERE action = 'ddl';
SELECT count(*) AS with_secrets FROM bulwark.ledger WHERE metadata::text LIKE '%secret value%';

-- what no transaction undoes is durable before it begins
SELECT ledger_spool_mark() AS mark \gset
CREATE DATABASE ledger_spool_database;
DROP DATABASE ledger_spool_database;
BEGIN;
ALTER SYSTEM SET work_mem = '5MB';
ROLLBACK;
SELECT action, entity_type, entity_id, metadata FROM ledger_spool_since(:'mark');

-- administrative acts: the operation, its object, whose tenant it is
SELECT ledger_spool_mark() AS mark \gset
SELECT bulwark.affiliation_create(:'tenant', 'north', 'North', id => '0a000000-0000-4000-8000-000000000003') AS north \gset
SELECT bulwark.role_create(:'tenant', 'clerk', '{orders:read}') IS NOT NULL AS created;
SELECT bulwark.role_alter(:'tenant', 'clerk', '{orders:*}');
SELECT bulwark.role_drop(:'tenant', 'clerk');
SELECT bulwark.principal_link(:'ann', 'https://spool.example', 'ann');
SELECT bulwark.principal_unlink(:'ann', 'https://spool.example', 'ann');
SELECT bulwark.tickets_revoke(:'ann');
SELECT bulwark.membership_revoke(:'membership');
SELECT bulwark.affiliation_drop(:'north');
SELECT bulwark.service_scope('ledger_spool_back', ARRAY[:'tenant']::uuid[]);
SELECT bulwark.issuer_create('https://spool.example', 'spool', '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}') IS NOT NULL AS created;
SELECT bulwark.issuer_drop('https://spool.example');
SELECT bulwark.tenant_suspend(:'tenant', 'unpaid');
SELECT bulwark.tenant_resume(:'tenant');
SELECT bulwark.unprotect('ledger_spool_order');
SELECT bulwark.protect('ledger_spool_order', 'tenant_id');
SELECT bulwark.principal_disable(:'ann');
SELECT bulwark.principal_enable(:'ann');
BEGIN;
SELECT bulwark.principal_disable(:'ann');
ROLLBACK;
SELECT ledger_spool_settled();
SELECT metadata ->> 'operation' AS operation, tenant_id IS NOT NULL AS tenant, entity_type,
	CASE WHEN entity_type NOT IN ('role', 'membership') THEN entity_id END AS entity_id, metadata - 'operation' AS rest
	FROM bulwark.ledger WHERE occurred_at >= :'mark' AND action = 'configuration' AND metadata ? 'operation' ORDER BY occurred_at;

-- L21: reads: one entry for a statement, by whatever way
SELECT ledger_spool_mark() AS mark \gset
\c - ledger_spool_app
\o /dev/null
SELECT count(*) FROM ledger_spool_read;
SELECT * FROM ledger_spool_view LIMIT 1;
SELECT ledger_spool_count() FROM generate_series(1, 3);
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM ledger_spool_read;
FETCH 5 FROM c;
FETCH 5 FROM c;
ROLLBACK;
COPY ledger_spool_read TO STDOUT;
COPY (SELECT * FROM ledger_spool_read) TO STDOUT;
EXPLAIN ANALYZE SELECT * FROM ledger_spool_read;
SELECT a.id FROM ledger_spool_read a JOIN ledger_spool_read b USING (id) WHERE a.id = 1;
\o
\c - :superuser
PREPARE one (int) AS SELECT id FROM ledger_spool_read WHERE id = $1;
EXECUTE one (1);
EXECUTE one (2);
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*), sum(length(v)) FROM ledger_spool_read;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
DELETE FROM ledger_spool_read WHERE id = 2000 RETURNING id;
INSERT INTO ledger_spool_order SELECT 1, :'tenant', v FROM ledger_spool_read WHERE id = 7;
SELECT entity_type, db_role = 'ledger_spool_app' AS app, metadata ->> 'command' AS command, count(*)
	FROM ledger_spool_since(:'mark') WHERE action = 'read' AND entity_type = 'public.ledger_spool_read' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

-- L21: no reads: the checks of a foreign key, plans that are shown, a change by key
SELECT ledger_spool_mark() AS mark \gset
INSERT INTO ledger_spool_line VALUES (1, 1);
INSERT INTO ledger_spool_line VALUES (2, 9999);
DELETE FROM ledger_spool_read WHERE id = 1;
EXPLAIN (COSTS OFF) SELECT * FROM ledger_spool_read WHERE id = 1;
UPDATE ledger_spool_read SET v = 'w' WHERE id = 3;
INSERT INTO ledger_spool_read VALUES (3000, 'v');
SELECT action, entity_type FROM ledger_spool_since(:'mark');

-- L21: a partition, audited by itself, read through its parent; but where the plan does not go, or the parent is audited as well
CREATE TABLE ledger_spool_parent (id int, v text) PARTITION BY LIST (id);
CREATE TABLE ledger_spool_part PARTITION OF ledger_spool_parent FOR VALUES IN (1, 2) PARTITION BY LIST (id);
CREATE TABLE ledger_spool_leaf PARTITION OF ledger_spool_part FOR VALUES IN (1);
CREATE TABLE ledger_spool_other PARTITION OF ledger_spool_parent FOR VALUES IN (3);
INSERT INTO ledger_spool_parent VALUES (1, 'v'), (3, 'v');
SELECT bulwark.audit('ledger_spool_part', reads => true);
SELECT ledger_spool_mark() AS mark \gset
SELECT v FROM ledger_spool_parent;
SELECT v FROM ledger_spool_parent WHERE id = 1;
SELECT v FROM ledger_spool_parent WHERE id = 3;
UPDATE ledger_spool_parent SET v = 'w';
UPDATE ledger_spool_parent SET v = 'w' RETURNING id;
SELECT p.v FROM ledger_spool_other o, LATERAL (SELECT v FROM ledger_spool_parent UNION ALL SELECT o.v) p;
SELECT entity_type, metadata ->> 'command' AS command, count(*) FROM ledger_spool_since(:'mark') WHERE action = 'read' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT bulwark.audit('ledger_spool_parent', reads => true);
SELECT ledger_spool_mark() AS mark \gset
SELECT v FROM ledger_spool_parent;
SELECT entity_type, count(*) FROM ledger_spool_since(:'mark') WHERE action = 'read' GROUP BY 1;
SELECT bulwark.audit_stop('ledger_spool_parent');
DROP TABLE ledger_spool_parent;

-- L21: what a trigger or a rule does within a foreign key's own statement, reads and changes of our own tables
CREATE TABLE ledger_spool_up (id int PRIMARY KEY);
CREATE TABLE ledger_spool_down (id int REFERENCES ledger_spool_up ON UPDATE CASCADE ON DELETE CASCADE);
CREATE TABLE ledger_spool_log (line text);
CREATE FUNCTION ledger_spool_meanwhile() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM v FROM ledger_spool_read WHERE id = 5;
	UPDATE bulwark_internal.roles SET name = name WHERE false;
	RETURN NEW;
END $$;
CREATE TRIGGER meanwhile BEFORE UPDATE ON ledger_spool_down FOR EACH ROW EXECUTE FUNCTION ledger_spool_meanwhile();
CREATE RULE meanwhile AS ON DELETE TO ledger_spool_down DO ALSO INSERT INTO ledger_spool_log SELECT v FROM ledger_spool_read WHERE id = 5;
INSERT INTO ledger_spool_up VALUES (1);
INSERT INTO ledger_spool_down VALUES (1);
SELECT ledger_spool_mark() AS mark \gset
UPDATE ledger_spool_up SET id = 2;
SELECT action, entity_type, metadata FROM ledger_spool_since(:'mark') ORDER BY 1;
SELECT ledger_spool_mark() AS mark \gset
DELETE FROM ledger_spool_up;
SELECT action, entity_type, metadata FROM ledger_spool_since(:'mark') ORDER BY 1;
DROP TABLE ledger_spool_down, ledger_spool_up, ledger_spool_log;
DROP FUNCTION ledger_spool_meanwhile();

-- L30: each read or export of the ledger
SELECT ledger_spool_mark() AS mark \gset
SELECT count(*) > 0 AS some FROM bulwark.ledger;
SELECT count(*) > 0 AS some FROM bulwark.ledger_export('csv');
SELECT ledger_spool_settled();
SELECT action, entity_type, metadata ->> 'command' AS command, metadata ->> 'export' AS export
	FROM bulwark.ledger WHERE occurred_at >= :'mark' AND action = 'read' ORDER BY occurred_at;

-- superusers and bulwark_maintenance on protected tables: once a transaction
SELECT ledger_spool_mark() AS mark \gset
\c - ledger_spool_keeper
BEGIN;
SELECT count(*) FROM ledger_spool_order;
SELECT count(*) FROM ledger_spool_order;
INSERT INTO ledger_spool_order SELECT 2, tenant_id FROM ledger_spool_order;
ROLLBACK;
\c - :superuser
SELECT count(*) FROM ledger_spool_order;
SELECT action, entity_type, db_role = :'superuser' AS superuser, metadata FROM ledger_spool_since(:'mark') WHERE action IN ('read', 'write');

-- nobody else's statements leave a trace
SELECT ledger_spool_mark() AS mark \gset
\c - ledger_spool_app
SELECT count(*) FROM ledger_spool_order;
\c - :superuser
SELECT * FROM ledger_spool_since(:'mark');

SELECT bulwark.audit_stop('ledger_spool_read');
SELECT bulwark.unprotect('ledger_spool_order');
DROP VIEW ledger_spool_view;
DROP TABLE ledger_spool_hidden, ledger_spool_line, ledger_spool_read, ledger_spool_order;
DO $$ BEGIN FOR i IN 1 .. 9 LOOP EXECUTE format('DROP TABLE ledger_spool_many_%s', i); END LOOP; END $$;
DROP SCHEMA ledger_spool_closed CASCADE;
DROP OWNED BY ledger_spool_app, ledger_spool_flood, ledger_spool_back, ledger_spool_keeper, ledger_spool_owner;
DROP ROLE ledger_spool_app, ledger_spool_flood, ledger_spool_back, ledger_spool_keeper, ledger_spool_owner;
