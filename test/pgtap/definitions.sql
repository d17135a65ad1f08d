-- What happens to a protected table when its definition is changed, by an
-- application login that owns it, by another owner, by a superuser; and what
-- becomes of new tables.  Every attempt is undone; its answer is "ok" or the
-- SQLSTATE.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;

SELECT * FROM no_plan();

CREATE ROLE pgtap_definitions_app LOGIN IN ROLE bulwark_app;
CREATE ROLE pgtap_definitions_second LOGIN IN ROLE bulwark_app;
CREATE ROLE pgtap_definitions_owner LOGIN;
CREATE ROLE pgtap_definitions_group;
CREATE ROLE pgtap_definitions_inner IN ROLE pgtap_definitions_group;
GRANT pgtap_definitions_inner TO pgtap_definitions_second;
GRANT pgtap_definitions_owner TO pgtap_definitions_app WITH ADMIN OPTION;
CREATE SCHEMA shop;
GRANT ALL ON SCHEMA shop TO pgtap_definitions_app, pgtap_definitions_owner;
SELECT format('GRANT CREATE ON DATABASE %I TO pgtap_definitions_app, pgtap_definitions_owner', current_database()) \gexec

-- Two sets of the same tables: one is an application login's, one another owner's.
CREATE FUNCTION make_tables(prefix text, owner text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE replace($ddl$
		CREATE TABLE shop.#orders (id int PRIMARY KEY, tenant_id uuid, place uuid, note text);
		CREATE TABLE shop.#items (id int PRIMARY KEY, order_id int REFERENCES shop.#orders, note text);
		CREATE TABLE shop.#calls (id int, tenant_id uuid) PARTITION BY RANGE (id);
		CREATE TABLE shop.#calls_1 PARTITION OF shop.#calls FOR VALUES FROM (0) TO (10);
		CREATE TABLE shop.#loose (id int, tenant_id uuid);
		SELECT bulwark.protect('shop.#orders', 'tenant_id', 'place');
		SELECT bulwark.protect('shop.#items', parent => 'shop.#orders');
		SELECT bulwark.protect('shop.#calls', 'tenant_id');
		CREATE POLICY mine ON shop.#orders USING (true);
		CREATE VIEW shop.#seen AS SELECT id FROM shop.#orders;
		CREATE FUNCTION shop.#nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		CREATE FUNCTION shop.#partition() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = shop AS
			'CREATE TABLE shop.x PARTITION OF shop.#calls FOR VALUES FROM (10) TO (20)';
		CREATE TRIGGER mine BEFORE INSERT ON shop.#orders FOR EACH ROW WHEN (false) EXECUTE FUNCTION shop.#nothing();
	$ddl$, '#', prefix);
	EXECUTE (SELECT string_agg(format('ALTER TABLE %s OWNER TO %I;', c.oid::regclass, owner), ' ') FROM pg_class c
		WHERE c.relnamespace = 'shop'::regnamespace AND c.relname LIKE prefix || '%' AND c.relkind IN ('r', 'p', 'v'));
	EXECUTE format('ALTER FUNCTION shop.%Inothing() OWNER TO %I', prefix, owner);
END
$$;
SET bulwark.new_tables = ignore;
SELECT make_tables('a', 'pgtap_definitions_app'), make_tables('o', 'pgtap_definitions_owner') \g /dev/null
RESET bulwark.new_tables;

CREATE FUNCTION attempt(statement text, login text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL SESSION AUTHORIZATION %I', login);
	EXECUTE statement;
	SET CONSTRAINTS ALL IMMEDIATE;
	RAISE EXCEPTION USING ERRCODE = 'ZZ000';
EXCEPTION WHEN OTHERS THEN
	RETURN CASE SQLSTATE WHEN 'ZZ000' THEN 'ok' ELSE SQLSTATE || ' ' || SQLERRM END;
END
$$;
CREATE TABLE attempts (n int GENERATED ALWAYS AS IDENTITY, statement text, app text, owner text, what text);

-- app and owner: what the application login and the other owner are answered.
INSERT INTO attempts (what, statement, app, owner) VALUES
	('I17: disable row security', 'ALTER TABLE shop.#orders DISABLE ROW LEVEL SECURITY', '42501', '42501'),
	('I17: disable it on a partition', 'ALTER TABLE shop.#calls_1 DISABLE ROW LEVEL SECURITY', '42501', '42501'),
	('I17: no force', 'ALTER TABLE shop.#orders NO FORCE ROW LEVEL SECURITY', '42501', '42501'),
	('I17: no force, behind another change', 'ALTER TABLE shop.#orders ALTER note SET STATISTICS 10, NO FORCE ROW LEVEL SECURITY', '42501', '42501'),
	('I17: disable row security in a DO block', $s$DO $x$ BEGIN EXECUTE 'ALTER TABLE shop.#orders DISABLE ROW LEVEL SECURITY'; END $x$$s$, '42501', '42501'),
	('I17: drop our policy', 'DROP POLICY bulwark_tenant ON shop.#orders', '42501', '42501'),
	('I17: drop our policy of a partition', 'DROP POLICY bulwark_tenant ON shop.#calls_1', '42501', '42501'),
	('I17: alter our policy', 'ALTER POLICY bulwark_tenant ON shop.#orders USING (true)', '42501', '42501'),
	('I17: rename our policy', 'ALTER POLICY bulwark_tenant ON shop.#orders RENAME TO x', '42501', '42501'),
	('I17: create a policy', 'CREATE POLICY evil ON shop.#orders USING (true)', '42501', 'ok'),
	('drop the application''s policy', 'DROP POLICY mine ON shop.#orders', '42501', 'ok'),
	('I17: disable our trigger', 'ALTER TABLE shop.#orders DISABLE TRIGGER bulwark_tenant_immutable', '42501', '42501'),
	('I17: disable all triggers', 'ALTER TABLE shop.#orders DISABLE TRIGGER USER', '42501', '42501'),
	('I17: let our trigger sleep as a replica', 'ALTER TABLE shop.#orders ENABLE TRIGGER bulwark_tenant_immutable', '42501', '42501'),
	('enable our trigger always', 'ALTER TABLE shop.#orders ENABLE ALWAYS TRIGGER bulwark_tenant_immutable', '42501', 'ok'),
	('I17: drop our trigger', 'DROP TRIGGER bulwark_tenant_immutable ON shop.#orders', '42501', '42501'),
	('I17: rename our trigger', 'ALTER TRIGGER bulwark_tenant_immutable ON shop.#orders RENAME TO x', '42501', '42501'),
	('I17: replace our trigger', 'CREATE OR REPLACE TRIGGER bulwark_tenant_immutable BEFORE INSERT ON shop.#orders FOR EACH ROW EXECUTE FUNCTION shop.#nothing()', '42501', '42501'),
	('I17: create a trigger', 'CREATE TRIGGER t BEFORE INSERT ON shop.#orders FOR EACH ROW EXECUTE FUNCTION shop.#nothing()', '42501', 'ok'),
	('drop the application''s trigger', 'DROP TRIGGER mine ON shop.#orders', '42501', 'ok'),
	('I17: create a rule', 'CREATE RULE r AS ON DELETE TO shop.#orders DO INSTEAD NOTHING', '42501', 'ok'),
	('I17: rename the tenant column', 'ALTER TABLE shop.#orders RENAME tenant_id TO t', '42501', '42501'),
	('I17: rename it by a partitioned parent', 'ALTER TABLE shop.#calls RENAME tenant_id TO t', '42501', '42501'),
	('I17: retype the tenant column', 'ALTER TABLE shop.#orders ALTER tenant_id TYPE text', '42501', '0A000'),
	('I17: drop the tenant column', 'ALTER TABLE shop.#orders DROP tenant_id CASCADE', '42501', '42501'),
	('I17: drop the affiliation column', 'ALTER TABLE shop.#orders DROP place CASCADE', '42501', '42501'),
	('rename another column', 'ALTER TABLE shop.#orders RENAME note TO text', '42501', 'ok'),
	('rename the key to the parent', 'ALTER TABLE shop.#items RENAME order_id TO parent_id', '42501', 'ok'),
	('add a column', 'ALTER TABLE shop.#orders ADD extra int', '42501', 'ok'),
	('drop a column', 'ALTER TABLE shop.#orders DROP note', '42501', 'ok'),
	('rename the table', 'ALTER TABLE shop.#orders RENAME TO x', '42501', 'ok'),
	('give the table away', 'ALTER TABLE shop.#orders OWNER TO pgtap_definitions_owner', '42501', 'ok'),
	('move the table', 'CREATE SCHEMA s2; ALTER TABLE shop.#orders SET SCHEMA s2', '42501', 'ok'),
	('I17: a check that reads every row', 'ALTER TABLE shop.#orders ADD CHECK (note <> $$x$$)', '42501', 'ok'),
	('I17: an index whose expression reads every row', 'CREATE INDEX ON shop.#orders (lower(note))', '42501', 'ok'),
	('I20: extended statistics', 'CREATE STATISTICS shop.st ON id, note FROM shop.#orders', '42501', 'ok'),
	('I22: truncate', 'TRUNCATE shop.#items', '42501', 'ok'),
	('I22: truncate through a foreign key', 'TRUNCATE shop.#orders CASCADE', '42501', 'ok'),
	('I22: truncate a partition', 'TRUNCATE shop.#calls_1', '42501', 'ok'),
	('drop the table', 'DROP TABLE shop.#items', '42501', 'ok'),
	('I17: drop a parent from under its children', 'DROP TABLE shop.#orders CASCADE', '42501', '42501'),
	('drop a partition', 'DROP TABLE shop.#calls_1', '42501', 'ok'),
	('drop what one owns', 'DROP OWNED BY CURRENT_USER', '42501', 'ok'),
	('drop the function of one''s trigger', 'DROP FUNCTION shop.#nothing() CASCADE', '42501', 'ok'),
	('comment', $$COMMENT ON TABLE shop.#orders IS 'x'$$, 'ok', 'ok'),
	('grant', 'GRANT SELECT ON shop.#orders TO pgtap_definitions_second', '42501', 'ok'),
	('revoke', 'REVOKE SELECT ON shop.#orders FROM pgtap_definitions_second', '42501', 'ok'),
	('I22: grant TRUNCATE to an application login', 'GRANT TRUNCATE ON shop.#orders TO pgtap_definitions_second', '42501', '42501'),
	('I22: grant ALL to everybody', 'GRANT ALL ON shop.#orders TO PUBLIC', '42501', '42501'),
	('I22: grant REFERENCES of a column', 'GRANT REFERENCES (id) ON shop.#orders TO bulwark_app', '42501', '42501'),
	('I22: grant TRUNCATE to a group of an application login', 'GRANT TRUNCATE ON shop.#orders TO pgtap_definitions_group', '42501', '42501'),
	('I22: grant ALL to such a group, on all tables', 'GRANT ALL ON ALL TABLES IN SCHEMA shop TO pgtap_definitions_group', '42501', '42501'),
	('grant SELECT to such a group', 'GRANT SELECT ON shop.#orders TO pgtap_definitions_group', '42501', 'ok'),
	('LOCK TABLE', 'LOCK TABLE shop.#orders', '42501', 'ok'),
	('LOCK TABLE that writers wait for', 'LOCK TABLE shop.#loose, shop.#items IN SHARE MODE', '42501', 'ok'),
	('LOCK TABLE of a partition', 'LOCK TABLE ONLY shop.#calls_1 IN EXCLUSIVE MODE', '42501', 'ok'),
	('LOCK TABLE of a view', 'LOCK TABLE shop.#seen IN SHARE MODE', '42501', 'ok'),
	('LOCK TABLE as a statement locks it', 'LOCK TABLE shop.#orders, shop.#calls IN ROW EXCLUSIVE MODE', 'ok', 'ok'),
	('LOCK TABLE of another table', 'LOCK TABLE shop.#loose', 'ok', 'ok'),
	('grant TRUNCATE to another', 'GRANT TRUNCATE ON shop.#orders TO bulwark_maintenance', '42501', 'ok'),
	('I20: LIKE', 'CREATE TABLE shop.x (LIKE shop.#orders INCLUDING ALL)', '42501', 'ok'),
	('I20: LIKE of a partition', 'CREATE TABLE shop.x (other int, LIKE shop.#calls_1)', '42501', 'ok'),
	('I20: CREATE TABLE AS', 'CREATE TABLE shop.x AS SELECT * FROM shop.#orders', '42501', 'ok'),
	('I20: CREATE TABLE AS without rows', 'CREATE TABLE shop.x AS SELECT * FROM shop.#orders WITH NO DATA', '42501', 'ok'),
	('I20: SELECT INTO', 'CREATE FUNCTION shop.f() RETURNS void LANGUAGE sql AS $$SELECT * INTO shop.x FROM shop.#orders$$; SELECT shop.f()', '42501', 'ok'),
	('I20: EXPLAIN ANALYZE of it', 'EXPLAIN ANALYZE CREATE TABLE shop.x AS SELECT * FROM shop.#orders', '42501', 'ok'),
	('I20: a materialized view', 'CREATE MATERIALIZED VIEW shop.x AS SELECT * FROM shop.#orders', '42501', 'ok'),
	('I21: a publication', 'CREATE PUBLICATION p FOR TABLE shop.#orders', '42501', 'ok'),
	('a foreign key from another table', 'CREATE TABLE shop.x (id int REFERENCES shop.#orders)', '42501', 'ok'),
	('I20: a partition with a check of one''s own', 'CREATE TABLE shop.x PARTITION OF shop.#calls (CHECK (id <> 0)) FOR VALUES FROM (10) TO (20)', '42501', 'ok'),
	('I20: a child with a check of one''s own', 'CREATE TABLE shop.x (CHECK (note <> $$x$$)) INHERITS (shop.#orders)', '42501', 'ok'),
	('a partition made by a definer function', 'SELECT shop.#partition()', 'ok', 'ok'),
	('I20: attach a partition', 'ALTER TABLE shop.#calls ATTACH PARTITION shop.#loose FOR VALUES FROM (10) TO (20)', '42501', 'ok'),
	('I20: detach a partition', 'ALTER TABLE shop.#calls DETACH PARTITION shop.#calls_1', '42501', 'ok'),
	('I20: inherit', 'CREATE TABLE shop.x (LIKE shop.#loose); ALTER TABLE shop.x ADD place uuid, ADD note text, ALTER id SET NOT NULL; ALTER TABLE shop.x INHERIT shop.#orders', '42501', 'ok'),
	('a table of one''s own', 'CREATE TABLE shop.x (id int PRIMARY KEY, tenant_id uuid)', 'ok', 'ok'),
	('row security off, on any table', 'ALTER TABLE shop.#loose DISABLE ROW LEVEL SECURITY', '42501', 'ok');

SELECT is(left(attempt(replace(statement, '#', 'a'), 'pgtap_definitions_app'), length(app)), app,
	what || ': an application login that owns the table is answered ' || app) FROM attempts ORDER BY n;
SELECT is(left(attempt(replace(statement, '#', 'o'), 'pgtap_definitions_owner'), length(owner)), owner,
	what || ': another owner is answered ' || owner) FROM attempts ORDER BY n;

-- What a superuser does is done, but for our triggers, which stay on.
SELECT is(attempt(statement, current_user), 'ok', 'a superuser may: ' || statement)
	FROM unnest(ARRAY['ALTER TABLE shop.oorders DISABLE ROW LEVEL SECURITY', 'DROP POLICY bulwark_tenant ON shop.oorders',
		'ALTER TABLE shop.oorders RENAME tenant_id TO t', 'GRANT ALL ON ALL TABLES IN SCHEMA shop TO PUBLIC',
		'ALTER TABLE shop.oorders DISABLE TRIGGER ALL']) AS statement;
ALTER TABLE shop.oorders DISABLE TRIGGER ALL;
SELECT is((SELECT string_agg(format('%s %s', tgname, tgenabled), ', ' ORDER BY tgname) FROM pg_trigger
		WHERE tgrelid = 'shop.oorders'::regclass AND NOT tgisinternal), 'bulwark_tenant_immutable A, mine D',
	'DISABLE TRIGGER ALL, as a restore has it, leaves our triggers on');
ALTER TABLE shop.oorders ENABLE TRIGGER ALL;
SELECT is((SELECT string_agg(format('%s %s', tgname, tgenabled), ', ' ORDER BY tgname) FROM pg_trigger
		WHERE tgrelid = 'shop.oorders'::regclass AND NOT tgisinternal), 'bulwark_tenant_immutable A, mine O',
	'and so does ENABLE TRIGGER ALL');

-- I18: row_security = off makes an error, not rows.
GRANT SELECT ON shop.oorders TO pgtap_definitions_second;
GRANT USAGE ON SCHEMA shop TO pgtap_definitions_second;
SELECT is(left(attempt('SET LOCAL row_security = off; SELECT * FROM shop.oorders', 'pgtap_definitions_second'), 5), '42501',
	'I18: row_security = off: an error for an application login');
SELECT is(left(attempt('SET LOCAL row_security = off; SELECT * FROM shop.aorders', 'pgtap_definitions_app'), 5), '42501',
	'I18: row_security = off: an error for the owner');

-- A restore that brings what is there already is left in peace; another
-- definition under the same name is not.
CREATE FUNCTION restores(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
SELECT is(restores(format('CREATE POLICY %I ON %s AS %s FOR %s%s%s', p.policyname, format('%I.%I', p.schemaname, p.tablename),
		p.permissive, p.cmd, ' USING (' || p.qual || ')', ' WITH CHECK (' || p.with_check || ')')), 'ok',
		format('policy %s of %s comes again', p.policyname, p.tablename))
	FROM pg_policies p WHERE p.schemaname = 'shop' AND p.policyname LIKE 'bulwark%';
SELECT is(restores(pg_get_triggerdef(t.oid)), 'ok', format('trigger %s of %s comes again', t.tgname, t.tgrelid::regclass))
	FROM pg_trigger t WHERE t.tgname LIKE 'bulwark%' AND t.tgrelid::regclass::text LIKE 'shop.%';
SELECT is(restores(statement), '42710', 'another definition is a conflict: ' || statement) FROM unnest(ARRAY[
	'CREATE POLICY bulwark_tenant ON shop.oorders AS RESTRICTIVE USING (true)',
	'CREATE POLICY bulwark_tenant ON shop.oorders AS PERMISSIVE USING (tenant_id = bulwark.tenant_id())',
	'CREATE POLICY bulwark_tenant ON shop.oorders AS RESTRICTIVE FOR SELECT USING (tenant_id = bulwark.tenant_id())',
	'CREATE POLICY bulwark_tenant ON shop.oorders AS RESTRICTIVE TO postgres USING (tenant_id = bulwark.tenant_id())',
	'CREATE POLICY bulwark_tenant ON shop.oorders AS RESTRICTIVE USING (tenant_id = bulwark.tenant_id()) WITH CHECK (true)',
	'CREATE TRIGGER bulwark_tenant_immutable BEFORE UPDATE OF note ON shop.oorders FOR EACH ROW EXECUTE FUNCTION bulwark_internal.tenant_immutable()',
	'CREATE TRIGGER bulwark_tenant_immutable BEFORE UPDATE OF tenant_id ON shop.oorders FOR EACH ROW EXECUTE FUNCTION shop.onothing()',
	'CREATE TRIGGER bulwark_tenant_immutable BEFORE UPDATE OF tenant_id ON shop.oorders FOR EACH ROW WHEN (false) EXECUTE FUNCTION bulwark_internal.tenant_immutable()'
	]) AS statement;

-- New tables: with event triggers off where there is such a switch.
SELECT format('SET %I = off', name) FROM pg_settings WHERE name = 'event_triggers' \gexec
CREATE FUNCTION is_protected(relation regclass) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (SELECT FROM bulwark_internal.protections p WHERE p.relation = $1)
		THEN 'protected' ELSE 'not protected' END FROM pg_class c WHERE c.oid = $1
$$;
CREATE TABLE shop.plain (id int);
CREATE TABLE shop.new (id int, tenant_id uuid);
DO $$ BEGIN EXECUTE 'CREATE TABLE shop.from_do (id int, tenant_id uuid)'; END $$;
CREATE FUNCTION shop.maker() RETURNS void LANGUAGE sql AS 'CREATE TABLE shop.from_function (id int, tenant_id uuid)';
SELECT shop.maker() \g /dev/null
CREATE TABLE shop.copied (LIKE shop.oorders);
CREATE TABLE shop.queried AS SELECT * FROM shop.oorders;
SELECT * INTO shop.selected FROM shop.oorders;
CREATE TABLE shop.inherits () INHERITS (shop.oorders);
CREATE TABLE shop.calls_2 PARTITION OF shop.ocalls FOR VALUES FROM (10) TO (20);
CREATE TABLE shop.calls_3 PARTITION OF shop.ocalls FOR VALUES FROM (20) TO (30) PARTITION BY RANGE (id);
CREATE TABLE shop.calls_3_1 PARTITION OF shop.calls_3 FOR VALUES FROM (20) TO (25);
SET bulwark.new_tables = ignore;
CREATE TABLE shop.attached (id int, tenant_id uuid);
CREATE TABLE shop.adopted (LIKE shop.oorders INCLUDING CONSTRAINTS);
CREATE TABLE shop.ignored (id int, tenant_id uuid);
ALTER TABLE shop.ocalls ATTACH PARTITION shop.attached FOR VALUES FROM (30) TO (40);
ALTER TABLE shop.adopted INHERIT shop.oorders;
RESET bulwark.new_tables;
CREATE SCHEMA whole CREATE TABLE element (id int, tenant_id uuid) CREATE VIEW seen AS SELECT 1 AS one;
SELECT is(is_protected(t), expected, what) FROM (VALUES
	('shop.plain'::regclass, 'not protected', 'a table without a tenant column is left alone'),
	('shop.new', 'protected', 'I20: a new table with a tenant column is protected'),
	('shop.from_do', 'protected', 'I42: without event triggers: made by a DO block'),
	('shop.from_function', 'protected', 'I42: without event triggers: made by a function'),
	('whole.element', 'protected', 'I42: without event triggers: made with its schema'),
	('shop.copied', 'protected', 'I20: CREATE TABLE LIKE by an administrator'),
	('shop.queried', 'protected', 'I20: CREATE TABLE AS by an administrator'),
	('shop.selected', 'protected', 'I20: SELECT INTO by an administrator'),
	('shop.inherits', 'protected', 'I20: an inheritance child'),
	('shop.calls_2', 'protected', 'I20: a partition'),
	('shop.calls_3', 'protected', 'I20: a partitioned partition'),
	('shop.calls_3_1', 'protected', 'I20: a partition of a partition'),
	('shop.attached', 'protected', 'I20: an attached partition, whatever bulwark.new_tables says'),
	('shop.adopted', 'protected', 'I20: an adopted child, whatever bulwark.new_tables says'),
	('shop.ignored', 'not protected', 'I20: bulwark.new_tables = ignore')) AS v (t, expected, what);
-- The tenants' own table, protected by its key: other tables' keys of that name are
-- not tenants, but what refers to it is.
CREATE TABLE shop.firms (id uuid PRIMARY KEY, code int UNIQUE);
SELECT bulwark.protect('shop.firms', 'id') \g /dev/null
CREATE TABLE shop.surrogate (id uuid PRIMARY KEY, note text);
CREATE TABLE shop.loose_id (id uuid, note text);
CREATE TABLE shop.both (id uuid PRIMARY KEY, tenant_id uuid);
CREATE TABLE shop.referring (id uuid PRIMARY KEY, firm uuid REFERENCES shop.firms);
CREATE TABLE shop.twice (id uuid PRIMARY KEY, buyer uuid REFERENCES shop.firms, seller uuid REFERENCES shop.firms);
SELECT is((SELECT tenant_column::text FROM bulwark.protected_tables WHERE relation = t), expected, what) FROM (VALUES
	('shop.surrogate'::regclass, NULL, 'a primary key of the same name as the tenants'' own is no tenant'),
	('shop.loose_id', NULL, 'nor is a column of that name without a key'),
	('shop.both', 'tenant_id', 'of both names the tenant column is taken'),
	('shop.referring', 'firm', 'I20: the only foreign key to the tenants'' table is a tenant column'),
	('shop.twice', NULL, 'of two foreign keys none is guessed')) AS v (t, expected, what);
SELECT set_eq($$SELECT relation::text FROM bulwark.isolation_check() WHERE check_name = 'unprotected_tables' AND relation IN
	('shop.surrogate'::regclass, 'shop.loose_id', 'shop.twice')$$, '{shop.twice}'::text[], 'isolation_check() reports the one that refers to it');
BEGIN; SAVEPOINT s; CREATE TABLE shop.undone (id int, tenant_id uuid); ROLLBACK TO s; COMMIT;
SELECT is(to_regclass('shop.undone'), NULL, 'a table that a savepoint undoes is forgotten');
-- A command that fails after it has renamed: the registry keeps the old name.
BEGIN;
SAVEPOINT s;
CREATE FUNCTION shop.fail() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE division_by_zero; END';
CREATE EVENT TRIGGER pgtap_definitions_fail ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION shop.fail();
SET LOCAL bulwark.new_tables = ignore;
\set ON_ERROR_STOP off
SAVEPOINT inner_one;
ALTER TABLE shop.new RENAME tenant_id TO renamed;
ROLLBACK TO inner_one;
\set ON_ERROR_STOP on
DROP EVENT TRIGGER pgtap_definitions_fail;
CREATE TABLE shop.another (id int);
SELECT is((SELECT tenant_column FROM bulwark_internal.protections WHERE relation = 'shop.new'::regclass), 'tenant_id',
	'a rename that a savepoint undoes is forgotten');
ROLLBACK;
CREATE FUNCTION shop.caught() RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN RETURN 1; END';
CREATE TABLE shop.caught AS SELECT shop.caught() AS id, NULL::uuid AS tenant_id;
SELECT is(is_protected('shop.caught'), 'protected', 'a new table is considered though its query caught an error');
DROP TABLE shop.new, shop.calls_2;
SELECT is((SELECT count(*) FROM bulwark_internal.protections p WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = p.relation)),
	0::bigint, 'a dropped table leaves no protection behind');

-- I23: what an application login can put in the way of names.
SELECT is(left(attempt(statement, 'pgtap_definitions_app'), 5), '42501', 'I23: an application login cannot ' || what) FROM (VALUES
	('shadow a table with a temporary one', 'CREATE TEMP TABLE aorders (id int)'),
	('make a function in pg_temp and keep it', 'CREATE VIEW pg_temp.v AS SELECT 1'),
	('label a role', $$SECURITY LABEL FOR bulwark ON ROLE pgtap_definitions_app IS 'bulwark:cluster-role'$$),
	('create in our schema', 'CREATE FUNCTION bulwark.tenant_id(int) RETURNS uuid LANGUAGE sql AS $$SELECT NULL::uuid$$'),
	('look into our private schema', 'SELECT * FROM bulwark_internal.protections')) AS v (what, statement);

SELECT * FROM finish();
DROP SCHEMA shop, whole CASCADE;
DROP OWNED BY pgtap_definitions_app, pgtap_definitions_second, pgtap_definitions_owner, pgtap_definitions_group, pgtap_definitions_inner;
DROP ROLE pgtap_definitions_app, pgtap_definitions_second, pgtap_definitions_owner, pgtap_definitions_inner, pgtap_definitions_group;
