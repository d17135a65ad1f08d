-- The ledger as people read it: who sees which entries and contents, how values
-- look, exports, and erasure that leaves every proof whole.
CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE statement INTO result;
	RETURN coalesce(result, 'NULL');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;
SELECT bulwark.tenant_create('lv-a', 'A', id => 'a1000000-0000-4000-8000-000000000001') \gset a_
SELECT bulwark.tenant_create('lv-b', 'B', id => 'a1000000-0000-4000-8000-000000000002') \gset b_
SELECT bulwark.affiliation_create(:'a_tenant_create', 'north', 'North', key => 'n', id => 'b1000000-0000-4000-8000-000000000001') \gset north_
SELECT bulwark.affiliation_create(:'a_tenant_create', 'south', 'South', key => 's', id => 'b1000000-0000-4000-8000-000000000002') \gset south_
SELECT bulwark.principal_create(who || '@lv.example', id => format('c1000000-0000-4000-8000-00000000000%s', n)::uuid) IS NOT NULL AS made
	FROM unnest('{boss,north,blind,other}'::text[]) WITH ORDINALITY AS w (who, n);
SELECT bulwark.role_create(:'a_tenant_create', 'lv_reader', '{*:read,audit:read}') IS NOT NULL AS made;
SELECT bulwark.role_create(:'a_tenant_create', 'lv_values', '{*:read,audit:read,audit:values}') IS NOT NULL AS made;
SELECT count(bulwark.membership_grant(p::uuid, t::uuid, r, f::uuid)) FROM (VALUES
	('c1000000-0000-4000-8000-000000000001', :'a_tenant_create', 'tenant_admin', NULL),
	('c1000000-0000-4000-8000-000000000002', :'a_tenant_create', 'lv_values', :'north_affiliation_create'),
	('c1000000-0000-4000-8000-000000000003', :'a_tenant_create', 'lv_reader', NULL),
	('c1000000-0000-4000-8000-000000000004', :'b_tenant_create', 'tenant_admin', NULL)) AS v (p, t, r, f);

CREATE TABLE lv_case (id int PRIMARY KEY, tenant_id uuid, place text, name text, secret_note text);
SELECT bulwark.protect('lv_case', 'tenant_id', 'place');
SELECT bulwark.audit('lv_case');
CREATE ROLE lv_app LOGIN IN ROLE bulwark_app;
CREATE ROLE lv_service LOGIN IN ROLE bulwark_impersonator;
CREATE ROLE lv_auditor LOGIN IN ROLE bulwark_auditor;
GRANT SELECT, INSERT, UPDATE, DELETE ON lv_case TO lv_service;
INSERT INTO lv_case VALUES
	(1, :'a_tenant_create', 'n', 'north one', 'x1'), (2, :'a_tenant_create', 's', 'south one', 'x2'),
	(3, :'a_tenant_create', NULL, 'nowhere', 'x3'), (4, :'b_tenant_create', NULL, 'other', 'x4');
UPDATE lv_case SET name = 'north 1' WHERE id = 1;

-- a superuser sees every entry and its contents
SELECT action, tenant_id, affiliation, entity_id, old, new FROM bulwark.ledger WHERE entity_type = 'public.lv_case' AND source = 'captured' ORDER BY entry_id;

-- L30: others see what their permissions cover, within their affiliations
\set seen 'SELECT action, affiliation, entity_id, old, new FROM bulwark.ledger WHERE entity_type = ''public.lv_case'' AND source = ''captured'' ORDER BY entry_id'
\c - lv_service
BEGIN;
SELECT bulwark.assume('c1000000-0000-4000-8000-000000000001', 'a1000000-0000-4000-8000-000000000001') IS NOT NULL AS tenant_admin;
:seen;
ROLLBACK;
BEGIN;
SELECT bulwark.assume('c1000000-0000-4000-8000-000000000002', 'a1000000-0000-4000-8000-000000000001') IS NOT NULL AS north_only;
:seen;
ROLLBACK;
BEGIN;
SELECT bulwark.assume('c1000000-0000-4000-8000-000000000003', 'a1000000-0000-4000-8000-000000000001') IS NOT NULL AS no_values;
:seen;
ROLLBACK;
BEGIN;
SELECT bulwark.assume('c1000000-0000-4000-8000-000000000004', 'a1000000-0000-4000-8000-000000000002') IS NOT NULL AS other_tenant;
:seen;
-- a condition that leaks is tried on rows that may be seen, and on no other
CREATE FUNCTION pg_temp.leak(tenant uuid, type text, id text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
	IF tenant IS DISTINCT FROM 'a1000000-0000-4000-8000-000000000002' OR type = 'public.lv_case' THEN
		RAISE NOTICE 'saw % of %', id, tenant;
	END IF;
	RETURN true;
END
$$;
SELECT count(*) FROM bulwark.ledger WHERE pg_temp.leak(tenant_id, entity_type, entity_id) AND entity_type = 'public.lv_case';
ROLLBACK;
-- no identity, no entries
SELECT count(*) FROM bulwark.ledger;
-- the tables behind the view are nobody's
SELECT count(*) FROM bulwark_internal.ledger_entries;

-- a column that the reader may not select is not in old and new either
\c - postgres
SELECT bulwark.ledger_seal() > 0 AS sealed;
REVOKE SELECT ON lv_case FROM lv_service;
GRANT SELECT (id, tenant_id, place, name) ON lv_case TO lv_service;
\c - lv_service
BEGIN;
SELECT bulwark.assume('c1000000-0000-4000-8000-000000000001', 'a1000000-0000-4000-8000-000000000001') IS NOT NULL AS tenant_admin;
SELECT old, new FROM bulwark.ledger WHERE entity_type = 'public.lv_case' AND action = 'update';
SELECT count(*) > 0 AS entries, count(*) FILTER (WHERE line ~ '"content"') AS with_content, bool_or(line ~ '"x1') AS leaks
	FROM bulwark.ledger_export('jsonl') AS line WHERE line ~ '"entry".*public.lv_case';
ROLLBACK;

-- nor one that is gone, when another has its name, is there in its place or may be selected with all others
\c - postgres
CREATE TABLE lv_doc (id int PRIMARY KEY, tenant_id uuid, body text, hidden text);
CREATE TABLE lv_note (id int PRIMARY KEY, tenant_id uuid, body text, hidden text);
GRANT SELECT (id, tenant_id, body) ON lv_doc, lv_note TO lv_service;
SELECT bulwark.protect('lv_doc', 'tenant_id'), bulwark.protect('lv_note', 'tenant_id');
SELECT bulwark.audit('lv_doc'), bulwark.audit('lv_note');
INSERT INTO lv_doc VALUES (1, :'a_tenant_create', 'b', 'TOPSECRET');
INSERT INTO lv_note VALUES (1, :'a_tenant_create', 'b', 'TOPSECRET');
\set seen 'SELECT entity_type, new FROM bulwark.ledger WHERE entity_type IN (''public.lv_doc'', ''public.lv_note'') AND action = ''insert'' ORDER BY entry_id'
\c - lv_service
BEGIN;
SELECT bulwark.assume('c1000000-0000-4000-8000-000000000001', 'a1000000-0000-4000-8000-000000000001') IS NOT NULL AS tenant_admin;
:seen;
ROLLBACK;
\c - postgres
ALTER TABLE lv_note RENAME hidden TO hidden_before;
ALTER TABLE lv_note ADD hidden text;
GRANT SELECT ON lv_note TO lv_service;
DROP TABLE lv_doc;
CREATE TABLE lv_doc (id int PRIMARY KEY, tenant_id uuid, body text, hidden text);
GRANT SELECT ON lv_doc TO lv_service;
SELECT bulwark.protect('lv_doc', 'tenant_id'), bulwark.audit('lv_doc');
INSERT INTO lv_doc VALUES (2, :'a_tenant_create', 'b', 'public');
SELECT bulwark.ledger_seal() > 0 AS sealed;
\c - lv_service
BEGIN;
SELECT bulwark.assume('c1000000-0000-4000-8000-000000000001', 'a1000000-0000-4000-8000-000000000001') IS NOT NULL AS tenant_admin;
:seen;
SELECT bool_or(line ~ 'TOPSECRET' OR encode(decode(coalesce(line::jsonb ->> 'content', ''), 'base64'), 'escape') ~ 'TOPSECRET') AS leaks,
	count(*) FILTER (WHERE line::jsonb ? 'content') AS with_content
	FROM bulwark.ledger_export('jsonl') AS line WHERE line ~ '"entry".*public.lv_(doc|note)';
ROLLBACK;

-- a schema that may not be looked into hides its entries' values and no other's
\c - postgres
CREATE SCHEMA lv_billing;
CREATE TABLE lv_billing.bill (id int PRIMARY KEY, tenant_id uuid);
GRANT SELECT ON lv_billing.bill TO lv_service;
SELECT bulwark.protect('lv_billing.bill', 'tenant_id'), bulwark.audit('lv_billing.bill');
INSERT INTO lv_billing.bill VALUES (1, :'a_tenant_create');
\c - lv_service
BEGIN;
SELECT bulwark.assume('c1000000-0000-4000-8000-000000000001', 'a1000000-0000-4000-8000-000000000001') IS NOT NULL AS tenant_admin;
SELECT entity_type, new IS NOT NULL AS shown FROM bulwark.ledger WHERE entity_type IN ('public.lv_doc', 'lv_billing.bill') AND action = 'insert' ORDER BY entry_id;
SELECT count(*) FROM bulwark.ledger_export('csv') AS line WHERE line ~ 'lv_billing.bill';
ROLLBACK;
\c - postgres
SET client_min_messages = warning;
DROP SCHEMA lv_billing CASCADE;
DROP TABLE lv_doc, lv_note;
RESET client_min_messages;

-- an auditor sees that entries exist; contents once it has said why, which is an entry
\c - lv_auditor
SELECT action, entity_id, old, new FROM bulwark.ledger WHERE entity_type = 'public.lv_case' AND action = 'update';
BEGIN;
SELECT bulwark.ledger_reason('');
ROLLBACK;
BEGIN;
SELECT bulwark.ledger_reason('complaint 4711');
SELECT action, entity_id, old, new FROM bulwark.ledger WHERE entity_type = 'public.lv_case' AND action = 'update';
ROLLBACK;
SELECT old IS NULL AS hidden_again FROM bulwark.ledger WHERE entity_type = 'public.lv_case' AND action = 'update';
\c - postgres
SELECT source, db_role, metadata FROM bulwark.ledger WHERE action = 'read' AND metadata ? 'reason' AND db_role = 'lv_auditor';

-- contents are rendered by the leader where a plan is parallel
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(old) AS old, count(new) AS new, count(metadata) AS metadata FROM bulwark.ledger WHERE entity_type = 'public.lv_case' AND source = 'captured';
RESET ALL;

-- how values look
CREATE TYPE lv_mood AS ENUM ('good', 'bad');
CREATE TYPE lv_pair AS (a int, b text);
CREATE TABLE lv_values (id bigint PRIMARY KEY, b boolean, i2 smallint, f4 real, f8 double precision, n numeric, t text, bt bytea,
	u uuid, d date, ts timestamp, tz timestamptz, iv interval, j json, jb jsonb, ia int[], ta text[], nested int[], m lv_mood, p lv_pair, r int4range, ip inet);
SELECT bulwark.audit('lv_values');
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'German';
SET bytea_output = 'escape';
SET extra_float_digits = -15;
INSERT INTO lv_values VALUES (9007199254740993, true, -3, 'NaN', 0.1, 12.50, E'say "x"\n', '\x00ff', '11111111-2222-4333-8444-555555555555',
	'2026-02-03', '2026-02-03 04:05:06.7', '2026-02-03 04:05:06.7+00', '1 mon 2 days', '{"a": "\u0000"}', '{"a": [1, null]}', '{1,NULL,-3}',
	'{"a b",NULL,"null","q\"uote"}', '{{1,2},{3,4}}', 'bad', ROW(1, 'x,y'), '[1,5)', '10.0.0.1/8');
INSERT INTO lv_values (id, f8, d, ts) VALUES (2, '-Infinity', 'infinity', '-infinity');
SELECT jsonb_pretty(new) FROM bulwark.ledger WHERE entity_type = 'public.lv_values' AND action = 'insert' ORDER BY entry_id LIMIT 1;
SELECT new ->> 'f8' AS f8, new ->> 'd' AS d, new ->> 'ts' AS ts FROM bulwark.ledger WHERE entity_type = 'public.lv_values' AND entity_id = '2';
RESET ALL;

-- L23: old entries are legible when their types and columns are gone
ALTER TABLE lv_values DROP COLUMN m, DROP COLUMN p;
DROP TYPE lv_mood;
DROP TYPE lv_pair;
SELECT new ->> 'm' AS m, new ->> 'p' AS p FROM bulwark.ledger WHERE entity_type = 'public.lv_values' AND action = 'insert' ORDER BY entry_id LIMIT 1;

-- what an application asserts is marked as asserted, and its own metadata stands beside the entry's
BEGIN;
SELECT bulwark.annotate('/cases/1', 'req-1', '192.0.2.7', '{"browser": "x"}');
SELECT bulwark.ledger_record('app:opened', 'case', '1', '{"how": "link"}') > 0 AS recorded;
UPDATE lv_case SET name = 'north I' WHERE id = 1;
COMMIT;
SELECT source, action, entity_type, entity_id, route, request_id, client_addr, metadata FROM bulwark.ledger WHERE request_id = 'req-1' ORDER BY entry_id;

-- L19: nothing in a value ends a field or a line, or starts a formula
INSERT INTO lv_case VALUES (5, 'a1000000-0000-4000-8000-000000000001', '=cmd|''/c calc''!A1', E'a|b=c\\d\ne"f]g', '+1');
SELECT bulwark.ledger_record('app:odd|name=x', E'=odd\ntype|]', E'@odd"id\\', '{"k": "v|=]\n"}') > 0 AS recorded;
SELECT regexp_replace(line, '"\d+",("\d+")?,"[^"]+"', '"ID",,"TIME"') AS csv FROM bulwark.ledger_export('csv') AS line WHERE line ~ 'app:odd';
SELECT regexp_replace(regexp_replace(line, 'rt=\d+ externalId=\d+', 'rt=TIME externalId=ID'), ' cn1Label=leafIndex cn1=\d+', '') AS cef FROM bulwark.ledger_export('cef') AS line WHERE line ~ 'app:odd';
SELECT regexp_replace(regexp_replace(line, '>1 \S+ ', '>1 TIME '), 'entry_id="\d+"( leaf_index="\d+")?', 'entry_id="ID"') AS syslog FROM bulwark.ledger_export('syslog') AS line WHERE line ~ 'app:odd';
SELECT line::jsonb -> 'entity' AS ocsf, (line::jsonb ->> 'type_uid')::int AS type_uid FROM bulwark.ledger_export('ocsf') AS line WHERE line ~ 'app:odd';
SELECT count(*) > 10 AS rows, count(*) FILTER (WHERE line ~ '(^|,)"[=+@-]') AS formulas FROM bulwark.ledger_export('csv') AS line;
SELECT bulwark.ledger_export('xml');
SELECT count(*) AS later FROM bulwark.ledger_export('csv', since => now() + '1 day');
SELECT bulwark.ledger_seal() > 0 AS sealed;
SELECT line::jsonb ->> 'type' AS type, count(*) > 0 AS there FROM bulwark.ledger_export('jsonl') AS line GROUP BY 1 ORDER BY min(line::jsonb ->> 'type' COLLATE "C");
\c - lv_app
-- a plan would count others' entries and members
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT 1 FROM bulwark.ledger WHERE entity_id = '1';
EXPLAIN SELECT 1 FROM bulwark.members;
SELECT count(*) FROM bulwark.ledger_export('csv');

-- erased contents are gone, and every proof holds
\c - postgres
SELECT array_agg(entry_id) AS ids FROM bulwark.ledger WHERE entity_type = 'public.lv_case' AND entity_id = '1' \gset
SELECT bulwark.ledger_seal() > 0 AS sealed;
CREATE ROLE lv_retention LOGIN IN ROLE bulwark_retention;
\c - lv_retention
SELECT bulwark.ledger_erase(:'ids', 'erasure request 12') AS erased;
SELECT bulwark.ledger_erase(:'ids', 'again') AS erased_again;
SELECT bulwark.ledger_erase('{1}', '');
\c - postgres
SELECT action, entity_id, actor_email, old, new FROM bulwark.ledger WHERE entry_id = ANY (:'ids') ORDER BY entry_id;
SELECT action, entity_type, metadata ->> 'reason' AS reason FROM bulwark.ledger WHERE action = 'retention';
SELECT bulwark.ledger_seal() > 0 AS sealed;
SELECT ok, integrity, coverage, problems FROM bulwark.ledger_verify();
SELECT count(*) AS about_the_erased FROM bulwark.ledger_problems();
SELECT attempt(format('SELECT bulwark.ledger_erase(ARRAY[%s], ''no'')', entry_id)) ~ '22023' AS refused FROM bulwark.ledger WHERE action = 'retention' LIMIT 1;
-- L8: nor is what says how things are set up; of what else happened, and of persons, the content can go
\c - postgres
CREATE TABLE lv_changed (id int);
SELECT bulwark.audit('lv_changed');
ALTER TABLE lv_changed ADD note text;
SELECT principal_id FROM bulwark.principals LIMIT 1 \gset
SELECT bulwark.tickets_revoke(:'principal_id');
\c - lv_retention
SELECT * FROM lv_case;
\c - postgres
DO $$
BEGIN
	FOR i IN 1 .. 400 LOOP
		EXIT WHEN EXISTS (SELECT FROM bulwark.ledger WHERE action = 'denied' AND entity_type = 'public.lv_case' AND db_role = 'lv_retention');
		PERFORM pg_sleep(0.05);
	END LOOP;
END $$;
SELECT bulwark.ledger_seal() > 0 AS sealed;
SELECT action, entity_type, regexp_replace(attempt(format('SELECT bulwark.ledger_erase(ARRAY[%s], ''no'')', entry_id)), 'entry \d+', 'entry') AS answer FROM (
	SELECT DISTINCT ON (action, entity_type) action, entity_type, entry_id FROM bulwark.ledger
	WHERE (action, entity_type) IN (('configuration', 'public.lv_changed'), ('ddl', 'public.lv_changed'), ('configuration', 'tenant'), ('configuration', 'principal'), ('denied', 'public.lv_case'))
	ORDER BY action, entity_type, entry_id DESC) AS e ORDER BY 1, 2;
SELECT bulwark.ledger_seal() > 0 AS sealed;
SELECT ok, coverage, problems FROM bulwark.ledger_verify();
SELECT bulwark.audit_stop('lv_changed');
DROP TABLE lv_changed;

SELECT bulwark.audit_stop('lv_case'), bulwark.audit_stop('lv_values');
DROP TABLE lv_case, lv_values;
DROP FUNCTION attempt;
DROP ROLE lv_app, lv_service, lv_auditor, lv_retention;
