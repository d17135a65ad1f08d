-- The registry of credentials: who manages, who uses, who sees; versions with
-- overlap, revocation, freezing, honey; and that every use is on the record first.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS bulwark;
CREATE ROLE credential_service LOGIN IN ROLE bulwark_secrets, bulwark_impersonator;
CREATE ROLE credential_limited LOGIN IN ROLE bulwark_secrets, bulwark_impersonator;
CREATE ROLE credential_backend LOGIN IN ROLE bulwark_impersonator;
CREATE ROLE credential_both LOGIN IN ROLE bulwark_secrets, bulwark_impersonator, bulwark_app;
CREATE ROLE credential_dba LOGIN IN ROLE bulwark_admin;
RESET client_min_messages;
CREATE SCHEMA credential;
GRANT USAGE ON SCHEMA credential TO PUBLIC;
SET search_path = credential;

CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE statement INTO result;
	RETURN 'ok: ' || coalesce(result, 'null');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;
CREATE TABLE person (name text PRIMARY KEY, id uuid NOT NULL DEFAULT gen_random_uuid());
CREATE TABLE tenant (name text PRIMARY KEY, id uuid NOT NULL DEFAULT gen_random_uuid());
GRANT SELECT ON person, tenant TO PUBLIC;
INSERT INTO tenant (name) VALUES ('a'), ('b');
INSERT INTO person (name) VALUES ('boss_a'), ('admin_a'), ('reader_a'), ('boss_b');
SELECT count(bulwark.tenant_create('credential-' || name, name, id => id)) FROM tenant;
SELECT count(bulwark.principal_create('credential-' || name || '@example.org', id => id)) FROM person;
SELECT bulwark.affiliation_create(id, 'unit', 'Unit') AS unit FROM tenant WHERE name = 'a' \gset
SELECT count(bulwark.membership_grant(p.id, t.id, r, CASE WHEN r = 'admin' THEN :'unit'::uuid END))
FROM (VALUES ('boss_a', 'a', 'tenant_admin'), ('admin_a', 'a', 'admin'), ('reader_a', 'a', 'read_only'), ('boss_b', 'b', 'tenant_admin')) m (p, t, r)
JOIN person p ON p.name = m.p JOIN tenant t ON t.name = m.t;
SELECT bulwark.service_scope('credential_limited', ARRAY[id]) FROM tenant WHERE name = 'b';
CREATE FUNCTION act(person text, tenant text) RETURNS text LANGUAGE sql
	RETURN bulwark.assume((SELECT id FROM credential.person p WHERE p.name = act.person),
		(SELECT id FROM credential.tenant t WHERE t.name = act.tenant)) ->> 'email';
-- The entries about credentials since the last call.
CREATE TABLE seen (entry_id bigint PRIMARY KEY);
CREATE FUNCTION news() RETURNS TABLE (action text, operation text, purpose text, alarm text, version text) LANGUAGE sql
BEGIN ATOMIC
	WITH fresh AS (INSERT INTO credential.seen SELECT l.entry_id FROM bulwark.ledger l
		WHERE l.entity_type = 'credential' ON CONFLICT DO NOTHING RETURNING entry_id)
	SELECT l.action, l.metadata ->> 'operation', l.metadata ->> 'purpose', l.metadata ->> 'alarm', l.metadata ->> 'version'
	FROM bulwark.ledger l JOIN fresh USING (entry_id) ORDER BY l.occurred_at, l.entry_id;
END;

-- tenant_admin and admin manage; read_only does not.
SET SESSION AUTHORIZATION credential_service;
BEGIN;
SELECT act('reader_a', 'a');
SELECT attempt($$SELECT bulwark.credential_create('crm', 'api_key', 'first')$$);
COMMIT;
BEGIN;
SELECT act('admin_a', 'a');
SELECT bulwark.credential_create('crm', 'api_key', 'first') AS crm \gset
SELECT attempt($$SELECT bulwark.credential_create('crm', 'api_key', 'other')$$);
COMMIT;
BEGIN;
SELECT act('boss_a', 'a');
SELECT bulwark.credential_create('mail', 'password', 'm-secret', '30 days') AS mail \gset
SELECT bulwark.credential_create('payroll', 'password', 'looks-real', honey => true) IS NOT NULL AS honey;
SELECT attempt($$SELECT bulwark.credential_create('', 'api_key', 'x')$$);
SELECT attempt($$SELECT bulwark.credential_create('x', 'api_key', '')$$);
SELECT attempt($$SELECT bulwark.credential_create('x', 'api_key', NULL)$$);
SELECT attempt($$SELECT bulwark.credential_create('x', 'api_key', repeat('canary', 20000))$$);
SELECT attempt($$SELECT bulwark.credential_create('x', 'api_key', 'x', '-1 day')$$);
SELECT i, attempt(format('SELECT bulwark.credential_create(%L, %L, %L, %L)', 'x', 'api_key', 'x', i))
FROM unnest('{293000 years,100 years 1 mon,-290000 years 104400001 days,1 year -100000000 days 2400000000 hours}'::text[]) i;
SAVEPOINT s;
SELECT bulwark.credential_create('x', 'api_key', 'x', '100 years') IS NOT NULL AS a_century;
ROLLBACK TO s;
COMMIT;
-- Without an identity there is no tenant.
SELECT attempt($$SELECT bulwark.credential_create('x', 'api_key', 'x')$$);

-- What each sees.
BEGIN;
SELECT act('reader_a', 'a');
SELECT name, version, state, kind, honey, rotation_due, last_used_at, created_by FROM bulwark.credentials ORDER BY name;
COMMIT;
BEGIN;
SELECT act('admin_a', 'a');
SELECT name, version, state, kind, honey, rotate_every, rotation_due - created_at AS due, last_used_at, created_by LIKE 'principal %' AS by_principal
FROM bulwark.credentials ORDER BY name;
COMMIT;
BEGIN;
SELECT act('boss_b', 'b');
SELECT count(*) FROM bulwark.credentials;
SELECT attempt(format('SELECT bulwark.credential_rotate(%L, %L)', :'crm', 'stolen'));
SELECT attempt(format('SELECT bulwark.credential_revoke(%L, %L)', :'crm', 'mischief'));
SELECT attempt(format('SELECT bulwark.credential_revoke(%L, %L)', gen_random_uuid(), 'mischief'));
SELECT attempt(format('SELECT bulwark.credential_freeze(%L, %L)', (SELECT id FROM tenant WHERE name = 'a'), 'mischief'));
SELECT attempt($$SELECT bulwark.credential_use('crm', 'steal')$$);
COMMIT;
SELECT count(*) FROM bulwark.credentials;
SELECT attempt('SELECT count(*) FROM bulwark_internal.credential_versions');

-- S15: a use is an entry, of a transaction that is rolled back too, and of one that only reads.
BEGIN;
SELECT act('reader_a', 'a');
SELECT bulwark.credential_use('crm', 'sync contacts');
ROLLBACK;
BEGIN READ ONLY;
SELECT act('reader_a', 'a');
SELECT bulwark.credential_use('crm', 'read only');
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT act('reader_a', 'a');
SELECT bulwark.credential_use('crm', 'repeatable');
COMMIT;
BEGIN;
SELECT act('reader_a', 'a');
SELECT attempt($$SELECT bulwark.credential_use('crm', '')$$);
SELECT attempt($$SELECT bulwark.credential_use('crm', NULL)$$);
SELECT attempt($$SELECT bulwark.credential_use('none', 'x')$$);
SELECT bulwark.credential_use('crm', 'used');
COMMIT;
SELECT attempt($$SELECT bulwark.credential_use('crm', 'nobody')$$);
RESET SESSION AUTHORIZATION;
SELECT * FROM news();
SELECT name, version, last_used_at > now() - interval '1 minute' AS used FROM bulwark.credentials
WHERE name IN ('crm', 'mail') AND tenant_id = (SELECT id FROM tenant WHERE name = 'a') ORDER BY name;
SELECT DISTINCT l.db_role, l.tenant_id = t.id AS of_tenant, l.actor_email, l.source FROM bulwark.ledger l, tenant t
WHERE l.action = 'decrypt' AND l.entity_id = :'crm' AND t.name = 'a';

-- The service layer only: the login counts, and its scope.
SET SESSION AUTHORIZATION credential_limited;
BEGIN;
SELECT act('boss_b', 'b');
SELECT attempt($$SELECT bulwark.credential_use('crm', 'x')$$);
COMMIT;
SELECT attempt($$SELECT act('reader_a', 'a')$$);
SET SESSION AUTHORIZATION credential_backend;
BEGIN;
SELECT act('boss_a', 'a');
SELECT attempt($$SELECT bulwark.credential_use('crm', 'x')$$);
COMMIT;
RESET SESSION AUTHORIZATION;
CREATE FUNCTION lend(name text) RETURNS text LANGUAGE sql SECURITY DEFINER RETURN bulwark.credential_use(name, 'lent');
ALTER FUNCTION lend(text) OWNER TO credential_service;
SET SESSION AUTHORIZATION credential_backend;
BEGIN;
SELECT act('boss_a', 'a');
SELECT attempt($$SELECT lend('crm')$$);
COMMIT;
RESET SESSION AUTHORIZATION;

-- Rotation in five steps: create, update, test, revoke, monitor.
SET SESSION AUTHORIZATION credential_service;
BEGIN;
SELECT act('admin_a', 'a');
SELECT bulwark.credential_rotate(:'crm', 'second', '1 hour');
SELECT bulwark.credential_use('crm', 'new'), bulwark.credential_use('crm', 'test', 2), bulwark.credential_use('crm', 'old', 1);
SELECT version, state, retires_at IS NOT NULL AS retires, rotation_due IS NOT NULL AS due FROM bulwark.credentials WHERE name = 'crm' ORDER BY 1;
-- S13: one version revoked: it opens nothing, the other does
SELECT bulwark.credential_revoke(:'crm', 'rotated', 1);
SELECT bulwark.credential_use('crm', 'after the revocation', 2);
SELECT attempt($$SELECT bulwark.credential_use('crm', 'old', 1)$$);
SELECT attempt($$SELECT bulwark.credential_use('crm', 'none', 7)$$);
SELECT attempt($$SELECT bulwark.credential_use('crm', 'none', 0)$$);
SELECT version, state, reason FROM bulwark.credentials WHERE name = 'crm' ORDER BY 1;
-- The test fails: the new version is revoked, and the one before is back.
SELECT bulwark.credential_rotate(:'crm', 'third', '1 hour');
SELECT bulwark.credential_revoke(:'crm', 'refused by the service', 3);
SELECT bulwark.credential_use('crm', 'back');
SELECT version, state FROM bulwark.credentials WHERE name = 'crm' ORDER BY 1;
-- Without overlap the one before is revoked at once, and its value gone.
SELECT bulwark.credential_rotate(:'crm', 'fourth');
SELECT bulwark.credential_use('crm', 'four');
SELECT version, state FROM bulwark.credentials WHERE name = 'crm' ORDER BY 1;
SELECT attempt(format('SELECT bulwark.credential_rotate(%L, %L, %L)', :'crm', 'x', '-1 hour'));
SELECT attempt(format('SELECT bulwark.credential_rotate(%L, %L, %L)', :'crm', 'x', '293000 years'));
-- An overlap that has ended.
SELECT bulwark.credential_rotate(:'crm', 'fifth', '1 microsecond');
SELECT attempt($$SELECT bulwark.credential_use('crm', 'late', 4)$$);
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT version, value IS NULL AS gone FROM bulwark_internal.credential_versions WHERE credential_id = :'crm' ORDER BY 1;

-- One row's interval keeps nobody from reading the view, however it got there.
BEGIN;
UPDATE bulwark_internal.credentials SET rotate_every = i FROM (VALUES (:'crm'::uuid, '293000 years'::interval), (:'mail', '-290000 years 104400001 days')) v (id, i)
WHERE credential_id = id;
SET LOCAL ROLE credential_dba;
SELECT name, rotation_due FROM bulwark.credentials WHERE rotation_due > now() + interval '1 year' ORDER BY name;
ROLLBACK;

-- S1, S13: a value moved to another version or credential does not open.
BEGIN;
UPDATE bulwark_internal.credential_versions SET value = (SELECT value FROM bulwark_internal.credential_versions WHERE credential_id = :'crm' AND version = 5)
WHERE credential_id = :'mail';
SET LOCAL SESSION AUTHORIZATION credential_service;
SELECT act('boss_a', 'a');
SELECT attempt($$SELECT bulwark.credential_use('mail', 'moved')$$);
ROLLBACK;

-- Frozen: not used, still rotated.
SET SESSION AUTHORIZATION credential_service;
BEGIN;
SELECT act('boss_a', 'a');
SELECT bulwark.credential_freeze(bulwark.tenant_id(), 'incident 7');
SELECT attempt($$SELECT bulwark.credential_use('crm', 'x')$$);
SELECT bulwark.credential_rotate(:'mail', 'm-second');
SELECT name, version, state, reason FROM bulwark.credentials WHERE state <> 'revoked' ORDER BY 1, 2;
COMMIT;
-- S15: what the transaction itself does to allow a use counts once it is committed: a freeze is
-- not lifted, and a version or a tenant not brought back, in one that is rolled back.  That
-- somebody tried to unfreeze is on the record all the same.
BEGIN;
SELECT act('boss_a', 'a');
SELECT bulwark.credential_unfreeze(bulwark.tenant_id(), 'to be rolled back');
SELECT attempt($$SELECT bulwark.credential_use('crm', 'same transaction')$$);
SELECT bulwark.credential_freeze(bulwark.tenant_id(), 'again');
SAVEPOINT s;
SELECT bulwark.credential_unfreeze(bulwark.tenant_id(), 'in a savepoint');
SELECT attempt($$SELECT bulwark.credential_use('crm', 'savepoint')$$);
RELEASE s;
SELECT attempt($$SELECT bulwark.credential_use('crm', 'after it')$$);
ROLLBACK;
BEGIN;
SELECT act('boss_a', 'a');
SELECT attempt($$SELECT bulwark.credential_use('crm', 'still frozen')$$);
SELECT bulwark.credential_unfreeze(bulwark.tenant_id(), 'over');
SELECT attempt('SELECT bulwark.credential_unfreeze(bulwark.tenant_id(), ''again'')');
COMMIT;
BEGIN;
SELECT act('boss_a', 'a');
SELECT bulwark.credential_use('mail', 'x');
SELECT bulwark.credential_rotate(:'crm', 'sixth', '1 hour');
COMMIT;
BEGIN;
SELECT act('boss_a', 'a');
SELECT bulwark.credential_revoke(:'crm', 'to be rolled back', 6);
SELECT attempt($$SELECT bulwark.credential_use('crm', 'the one before')$$);
ROLLBACK;
RESET SESSION AUTHORIZATION;
SELECT bulwark.tenant_suspend(id, 'incident') FROM tenant WHERE name = 'a';
BEGIN;
SELECT bulwark.tenant_resume(id) FROM tenant WHERE name = 'a';
SET LOCAL SESSION AUTHORIZATION credential_service;
SELECT act('boss_a', 'a');
SELECT attempt($$SELECT bulwark.credential_use('crm', 'resumed here')$$);
ROLLBACK;
SELECT bulwark.tenant_resume(id) FROM tenant WHERE name = 'a';
SELECT metadata ->> 'step' AS step, metadata ->> 'reason' AS reason FROM bulwark.ledger
WHERE metadata ->> 'operation' = 'credential_unfreeze' AND entity_id = (SELECT id::text FROM tenant WHERE name = 'a') ORDER BY occurred_at, entry_id;
SET SESSION AUTHORIZATION credential_service;

-- Revoked for good; the name is free again.
BEGIN;
SELECT act('boss_a', 'a');
SELECT bulwark.credential_revoke(:'mail', 'gone');
SELECT attempt($$SELECT bulwark.credential_use('mail', 'x')$$);
SELECT attempt(format('SELECT bulwark.credential_rotate(%L, %L)', :'mail', 'x'));
SELECT attempt(format('SELECT bulwark.credential_revoke(%L, %L)', :'mail', 'x'));
SELECT bulwark.credential_create('mail', 'password', 'another') <> :'mail' AS another;
SELECT bulwark.credential_use('mail', 'x');
COMMIT;
-- Honey: an answer like any other, and an alarm.
BEGIN;
SELECT act('reader_a', 'a');
SELECT bulwark.credential_use('payroll', 'curious');
ROLLBACK;
RESET SESSION AUTHORIZATION;
SELECT * FROM news();

-- The DBA's role manages any tenant's, and uses none.
SET SESSION AUTHORIZATION credential_dba;
SELECT name, state FROM bulwark.credentials WHERE name = 'crm' AND state = 'active';
SELECT bulwark.credential_freeze((SELECT id FROM credential.tenant WHERE name = 'a'), 'incident 8');
-- S15: what it has frozen no manager of the tenant unfreezes, assumed or not.
SET SESSION AUTHORIZATION credential_service;
BEGIN;
SELECT act('boss_a', 'a');
SELECT bulwark.credential_freeze(bulwark.tenant_id(), 'of our own');
SELECT attempt('SELECT bulwark.credential_unfreeze(bulwark.tenant_id(), ''thief'')');
COMMIT;
SET SESSION AUTHORIZATION credential_dba;
SELECT attempt($$SELECT bulwark.credential_use('crm', 'x')$$);
SELECT bulwark.credential_unfreeze((SELECT id FROM credential.tenant WHERE name = 'a'), 'over');
SELECT attempt('SELECT bulwark.credential_freeze(''00000000-0000-4000-8000-000000000000'', ''x'')');
RESET SESSION AUTHORIZATION;
-- A login that is both an application's and a trusted back end's.
SET SESSION AUTHORIZATION credential_both;
SELECT attempt($$SELECT act('reader_a', 'a')$$);
RESET SESSION AUTHORIZATION;

SET client_min_messages = warning;
SELECT bulwark.service_scope('credential_limited', NULL);
DROP SCHEMA credential CASCADE;
DROP ROLE credential_service, credential_limited, credential_backend, credential_both, credential_dba;
