-- protect() and unprotect(): what they write on a table, what they refuse, and
-- that nothing is left of it afterwards.  (Children: protect_child; who sees
-- what: test/pgtap/protect.sql.)
CREATE SCHEMA regress_protect;
SET search_path = regress_protect;
SET bulwark.new_tables = ignore;
CREATE ROLE regress_protect_app IN ROLE bulwark_app;
CREATE ROLE regress_protect_other;
CREATE ROLE regress_protect_group;
GRANT regress_protect_group TO regress_protect_app;

CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'SELECT ' || statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;
-- All that protect() may touch, one line each.
CREATE FUNCTION state(relid regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT * FROM (
		SELECT format('row security %s, forced %s', relrowsecurity, relforcerowsecurity) FROM pg_class WHERE oid = relid
		UNION ALL SELECT format('policy %s %s %s %s %s', polname, CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END, polcmd,
			pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM pg_policy WHERE polrelid = relid
		UNION ALL SELECT format('trigger %s enabled %s', pg_get_triggerdef(oid), tgenabled) FROM pg_trigger WHERE tgrelid = relid AND NOT tgisinternal
		UNION ALL SELECT format('default of %s: %s', attname, pg_get_expr(adbin, adrelid)) FROM pg_attrdef JOIN pg_attribute
			ON attrelid = adrelid AND attnum = adnum WHERE adrelid = relid
		UNION ALL SELECT format('%s to %s%s', privilege_type, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
			CASE WHEN is_grantable THEN ' with grant option' END) FROM pg_class, aclexplode(relacl)
			WHERE oid = relid AND grantee <> relowner AND privilege_type <> 'MAINTAIN'
		UNION ALL SELECT format('%s (%s) to %s', privilege_type, attname, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
			FROM pg_attribute, aclexplode(attacl) WHERE attrelid = relid
		UNION ALL SELECT format('column %s %s', attname, format_type(atttypid, atttypmod)) FROM pg_attribute
			WHERE attrelid = relid AND attnum > 0 AND NOT attisdropped
	) AS s (line) ORDER BY line COLLATE "C"
$$;
CREATE TABLE before_protect (relation text, line text);

-- A table as applications have them: grants, a default, a policy of its own.
CREATE TABLE orders (id int PRIMARY KEY, tenant_id uuid DEFAULT '00000000-0000-4000-8000-000000000001' NOT NULL, place text, "odd ""column" int);
GRANT ALL ON orders TO regress_protect_app;
GRANT TRUNCATE, SELECT ON orders TO regress_protect_other;
GRANT TRIGGER ON orders TO PUBLIC;
GRANT INSERT, TRUNCATE ON orders TO regress_protect_group;
GRANT REFERENCES ("odd ""column"), UPDATE (place) ON orders TO regress_protect_app;
INSERT INTO before_protect SELECT 'orders', state('orders');
SELECT bulwark.protect('orders', 'tenant_id', 'place');
SELECT state('orders');
SELECT relation, kind, tenant_column, affiliation_column, parent, resource, materialize, root, automatic FROM bulwark.protected_tables;

-- The same again changes nothing, and locks nothing strongly; otherwise: an error.
BEGIN;
SELECT bulwark.protect('orders', 'tenant_id', 'place', resource => 'orders');
SELECT mode FROM pg_locks WHERE relation = 'orders'::regclass AND mode <> 'AccessShareLock';
COMMIT;
SELECT attempt($$bulwark.protect('orders', 'tenant_id')$$) AS "another affiliation column";
SELECT attempt($$bulwark.protect('orders', 'tenant_id', 'place', resource => 'other')$$) AS "another resource";
SELECT attempt($$bulwark.protect('orders', shared => true)$$) AS "another kind";

-- What a superuser takes off comes back with the next call.
SET client_min_messages = error;
DROP POLICY bulwark_tenant ON orders;
SELECT polname FROM pg_policy WHERE polrelid = 'orders'::regclass AND polpermissive;
ALTER TABLE orders NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
DROP TRIGGER bulwark_tenant_immutable ON orders;
RESET client_min_messages;
SELECT bulwark.protect('orders', 'tenant_id', 'place');
SELECT count(*) AS parts FROM state('orders') WHERE state ~ '^(policy|trigger|row security t, forced t)';

SELECT bulwark.unprotect('orders');
SELECT state('orders') EXCEPT SELECT line FROM before_protect WHERE relation = 'orders';
SELECT line FROM before_protect WHERE relation = 'orders' EXCEPT SELECT state('orders');
SELECT count(*) FROM bulwark.protected_tables;
SELECT attempt($$bulwark.unprotect('orders')$$) AS "unprotect twice";

-- A default that somebody changed meanwhile stays.
SELECT bulwark.protect('orders', 'tenant_id');
ALTER TABLE orders ALTER tenant_id SET DEFAULT '00000000-0000-4000-8000-000000000002';
SELECT bulwark.unprotect('orders');
SELECT state FROM state('orders') WHERE state LIKE 'default%';

-- I19: row security that was on, with the application's policies: nothing that
-- was denied is let through.
CREATE TABLE denied (tenant_id uuid NOT NULL, n int);
ALTER TABLE denied ENABLE ROW LEVEL SECURITY;
CREATE POLICY small ON denied FOR SELECT USING (n < 10);
INSERT INTO before_protect SELECT 'denied', state('denied');
SELECT bulwark.protect('denied', 'tenant_id');
SELECT state FROM state('denied') WHERE state ~ 'permissive';
SELECT bulwark.unprotect('denied');
SELECT state('denied') EXCEPT SELECT line FROM before_protect WHERE relation = 'denied';
SELECT line FROM before_protect WHERE relation = 'denied' EXCEPT SELECT state('denied');
-- Policies without row security were none.
CREATE TABLE prepared (tenant_id uuid NOT NULL, n int);
CREATE POLICY all_of_it ON prepared USING (n < 10);
SELECT bulwark.protect('prepared', 'tenant_id');
SELECT state FROM state('prepared') WHERE state ~ ' permissive';

-- Every type that can name a tenant and an affiliation, and domains over them.
CREATE DOMAIN tenant_code AS varchar(20) CHECK (VALUE <> '');
CREATE COLLATION ignoring_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE types (u uuid, s smallint, i int, b bigint, t text, v varchar(9), d tenant_code, ci text COLLATE ignoring_case,
	c char(9), n numeric, a uuid[], bad date);
CREATE FUNCTION written(col text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text := attempt(format('bulwark.protect(''types'', %L, %L)', col, col));
BEGIN
	IF answer = 'ok' THEN
		answer := string_agg(state, E'\n') FROM state('types') WHERE state ~ 'bulwark_(tenant |select)|default';
		PERFORM bulwark.unprotect('types');
	END IF;
	RETURN answer;
END
$$;
SELECT c AS column, written(c) FROM unnest('{u,s,i,b,t,v,d,ci,c,n,a,bad,missing}'::text[]) c;

-- NULLs: a warning with their number; NOT NULL columns are not counted.
CREATE TABLE holes (id int, tenant_id bigint);
INSERT INTO holes SELECT g, CASE WHEN g % 3 = 0 THEN g END FROM generate_series(1, 10) g;
SELECT bulwark.protect('holes', 'tenant_id');

-- A tenant column that computes itself keeps what it has.
CREATE TABLE identity_column (tenant_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
CREATE TABLE generated_column (code text, tenant_id text GENERATED ALWAYS AS (left(code, 2)) STORED);
SELECT bulwark.protect(t, 'tenant_id') FROM unnest('{identity_column,generated_column}'::regclass[]) t;
SELECT state FROM state('generated_column') WHERE state LIKE 'default%';
SELECT bulwark.unprotect(t) FROM unnest('{identity_column,generated_column}'::regclass[]) t;

-- What cannot be protected, and what to do instead.
CREATE VIEW a_view AS SELECT 1 AS tenant_id;
CREATE MATERIALIZED VIEW a_matview AS SELECT 1 AS tenant_id;
CREATE SEQUENCE a_sequence;
CREATE TEMP TABLE a_temp (tenant_id uuid);
CREATE TYPE a_type AS (tenant_id uuid);
CREATE FOREIGN DATA WRAPPER regress_protect_wrapper;
CREATE SERVER regress_protect_server FOREIGN DATA WRAPPER regress_protect_wrapper;
CREATE FOREIGN TABLE a_foreign (tenant_id uuid) SERVER regress_protect_server;
CREATE TABLE top (tenant_id uuid, n int) PARTITION BY RANGE (n);
CREATE TABLE top_1 PARTITION OF top FOR VALUES FROM (0) TO (1);
CREATE FOREIGN TABLE top_2 PARTITION OF top FOR VALUES FROM (1) TO (2) SERVER regress_protect_server;
\set VERBOSITY terse
SELECT r AS relation, attempt(format('bulwark.protect(%L, ''tenant_id'')', r)) AS answer
FROM unnest('{a_view,a_matview,a_sequence,pg_temp.a_temp,a_foreign,top,top_1,pg_class,information_schema.sql_features,
	bulwark_internal.tenants,bulwark.tenants,orders_pkey}'::text[]) r;
SELECT attempt('bulwark.protect(4294967295, ''tenant_id'')') AS "no such table";
SELECT attempt('bulwark.protect(NULL)') AS "NULL";
\set VERBOSITY default
SELECT bulwark.protect('a_view', 'tenant_id');
SELECT bulwark.protect('a_matview', 'tenant_id');
SELECT bulwark.protect('a_foreign', 'tenant_id');
SELECT bulwark.protect('types', 'c');
DROP FOREIGN TABLE top_2;

-- Arguments that do not go together.
SELECT a AS arguments, attempt(format('bulwark.protect(''orders'', %s)', a)) AS answer FROM unnest(ARRAY[
	'shared => true, tenant_column => ''tenant_id''', 'shared => true, materialize => true', 'shared => true, parent => ''denied''',
	'''tenant_id'', resource => ''a:b''', '''tenant_id'', resource => ''*''', '''tenant_id'', resource => ''''',
	'''tenant_id'', resource => repeat(''x'', 128)', '''tenant_id'', parent_key => ''k''', '''tenant_id'', materialize => true',
	'resource => NULL', 'affiliation_column => ''place''']) a;

-- Shared: all read, bulwark_admin writes.
CREATE TABLE country (code text PRIMARY KEY);
SELECT bulwark.protect('country', shared => true);
SELECT state FROM state('country') WHERE state LIKE 'policy%restrictive%';
SELECT bulwark.unprotect('country');

-- A pinned database: no tenant column, and the policies name the tenant.
SELECT bulwark.tenant_create('regress-protect', 'Pinned', id => 'a0000000-0000-4000-8000-00000000abcd') AS pinned \gset
SELECT bulwark.pin_tenant(:'pinned');
CREATE TABLE persona (id int PRIMARY KEY, place int);
CREATE TABLE integration (id int PRIMARY KEY);
SELECT bulwark.protect('persona', affiliation_column => 'place');
SELECT bulwark.protect('integration');
SELECT state FROM state('persona') WHERE state LIKE 'policy%restrictive%';
SELECT state FROM state('integration') WHERE state LIKE 'policy%restrictive%';
SELECT relation, kind FROM bulwark.protected_tables WHERE relation IN ('persona'::regclass, 'integration'::regclass) ORDER BY 1;
SELECT bulwark.unpin_tenant();
-- unpinning opens nothing
SELECT count(*) FROM state('persona') WHERE state ~ 'bulwark_tenant restrictive .*abcd';
SELECT bulwark.unprotect('persona'), bulwark.unprotect('integration');
DELETE FROM bulwark_internal.tenants WHERE slug = 'regress-protect';

-- I20: partitions and inheritance children carry the policies themselves.
CREATE TABLE top_3 (tenant_id uuid, n int);
CREATE TABLE base (tenant_id uuid NOT NULL, n int);
CREATE TABLE heir (extra text) INHERITS (base);
CREATE TABLE grand_heir () INHERITS (heir);
INSERT INTO before_protect SELECT r, state(r::regclass) FROM unnest('{top,top_1,base,heir,grand_heir}'::text[]) r;
SELECT bulwark.protect('top', 'tenant_id');
SELECT bulwark.protect('base', 'tenant_id');
SELECT attempt($$bulwark.protect('heir', 'tenant_id')$$) AS "a child by itself";
SELECT attempt($$bulwark.unprotect('top_1')$$) AS "a partition by itself";
SELECT relation, kind, root, (SELECT count(*) FROM pg_policy WHERE polrelid = relation) AS policies FROM bulwark.protected_tables
	WHERE relation IN ('top'::regclass, 'top_1'::regclass, 'base'::regclass, 'heir'::regclass, 'grand_heir'::regclass) ORDER BY 1;
-- what comes later, too; and what leaves keeps them
ALTER TABLE top ATTACH PARTITION top_3 FOR VALUES FROM (3) TO (4);
CREATE TABLE top_4 PARTITION OF top FOR VALUES FROM (4) TO (5);
CREATE TABLE second_heir () INHERITS (base);
ALTER TABLE top DETACH PARTITION top_1;
SELECT relation, kind, root, (SELECT count(*) FROM pg_policy WHERE polrelid = relation) AS policies FROM bulwark.protected_tables
	WHERE relation::text ~ 'top|heir' ORDER BY relation::text;
SELECT bulwark.unprotect('top_1');
ALTER TABLE top ATTACH PARTITION top_1 FOR VALUES FROM (0) TO (1);
SELECT bulwark.unprotect('top'), bulwark.unprotect('base');
SELECT r, state(r::regclass) FROM unnest('{top,top_1,base,heir,grand_heir}'::text[]) r EXCEPT SELECT * FROM before_protect;
SELECT * FROM before_protect WHERE relation <> 'orders' AND relation <> 'denied'
	EXCEPT SELECT r, state(r::regclass) FROM unnest('{top,top_1,base,heir,grand_heir}'::text[]) r;

-- bulwark.new_tables: protect, warn, ignore; a call of protect() replaces what it chose.
SELECT bulwark.protect('orders', 'tenant_id', 'place');
SET bulwark.new_tables = protect;
CREATE TABLE copy_of_orders (LIKE orders);
CREATE TABLE other_type (tenant_id text);
SELECT relation, kind, tenant_column, affiliation_column, automatic FROM bulwark.protected_tables WHERE automatic;
SELECT bulwark.protect('copy_of_orders', 'tenant_id', 'place', resource => 'orders');
SET bulwark.new_tables = warn;
CREATE TABLE copied AS SELECT * FROM orders;
SET bulwark.new_tables = ignore;
CREATE TABLE ignored (LIKE orders);
SELECT relation, resource, automatic FROM bulwark.protected_tables WHERE relation::text ~ 'cop' ORDER BY 1;
-- a dropped table leaves the registry; a renamed column is followed
DROP TABLE copy_of_orders;
ALTER TABLE orders RENAME "odd ""column" TO even_column;
SELECT count(*) FROM bulwark.protected_tables WHERE relation::text LIKE 'copy%';

SET client_min_messages = error;
DROP SCHEMA regress_protect CASCADE;
DROP FOREIGN DATA WRAPPER regress_protect_wrapper CASCADE;
DROP ROLE regress_protect_app, regress_protect_other, regress_protect_group;
SELECT count(*) FROM bulwark.protected_tables;
