-- Who may manage what: each actor tries each act in a transaction of its own,
-- undone at once; the answer is "ok" or the SQLSTATE.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;

SELECT plan(158);

CREATE ROLE pgtap_authority_app LOGIN IN ROLE bulwark_app;
CREATE ROLE pgtap_authority_service LOGIN IN ROLE bulwark_impersonator;
CREATE ROLE pgtap_authority_admin LOGIN IN ROLE bulwark_admin;
CREATE ROLE pgtap_authority_nobody LOGIN;
CREATE ROLE pgtap_authority_auditor LOGIN IN ROLE bulwark_auditor;
CREATE ROLE pgtap_authority_maintenance LOGIN IN ROLE bulwark_maintenance;
CREATE ROLE pgtap_authority_keys LOGIN IN ROLE bulwark_keys, bulwark_retention, bulwark_secrets;

-- Names of the things that the acts are about, in place of their ids.
CREATE TABLE thing (name text PRIMARY KEY, id uuid NOT NULL);
GRANT SELECT ON thing TO PUBLIC;
CREATE FUNCTION the(name text) RETURNS uuid LANGUAGE sql STABLE AS 'SELECT id FROM thing t WHERE t.name = $1';

INSERT INTO thing SELECT 'tenant a', bulwark.tenant_create('a', 'Tenant A');
INSERT INTO thing SELECT 'tenant b', bulwark.tenant_create('b', 'Tenant B');
INSERT INTO thing SELECT 'north', bulwark.affiliation_create(the('tenant a'), 'north', 'North');
INSERT INTO thing SELECT 'north 1', bulwark.affiliation_create(the('tenant a'), 'north-1', 'North 1', parent_id => the('north'));
INSERT INTO thing SELECT 'south', bulwark.affiliation_create(the('tenant a'), 'south', 'South');
INSERT INTO thing SELECT 'empty', bulwark.affiliation_create(the('tenant a'), 'empty', 'Empty');
INSERT INTO thing SELECT 'b root', bulwark.affiliation_create(the('tenant b'), 'root', 'Root');
INSERT INTO thing SELECT 'nothing', gen_random_uuid();
INSERT INTO thing SELECT n, bulwark.principal_create(n || '@example.org')
	FROM unnest('{owner,root,chief,reader,clerk,keeper,colleague,stranger,newcomer}'::text[]) AS n;
SELECT bulwark.role_create(the('tenant a'), 'clerk', '{users:manage,orders:read,invoices:read}') \g /dev/null
SELECT bulwark.role_create(the('tenant a'), 'keeper', '{system:configure,roles:manage,*:read}') \g /dev/null
SELECT bulwark.role_create(the('tenant a'), 'idle', '{orders:read}') \g /dev/null
SELECT bulwark.role_create(the('tenant b'), 'b_role', '{orders:read}') \g /dev/null
SELECT bulwark.role_create(NULL, 'common', '{orders:read}') \g /dev/null
INSERT INTO thing VALUES
	('m owner', bulwark.membership_grant(the('owner'), the('tenant a'), 'owner')),
	('m root', bulwark.membership_grant(the('root'), the('tenant a'), 'tenant_admin')),
	('m chief', bulwark.membership_grant(the('chief'), the('tenant a'), 'admin', the('north'))),
	('m reader', bulwark.membership_grant(the('reader'), the('tenant a'), 'read_only')),
	('m clerk', bulwark.membership_grant(the('clerk'), the('tenant a'), 'clerk')),
	('m keeper', bulwark.membership_grant(the('keeper'), the('tenant a'), 'keeper')),
	('m colleague', bulwark.membership_grant(the('colleague'), the('tenant a'), 'read_only', the('south'))),
	('m colleague north', bulwark.membership_grant(the('colleague'), the('tenant a'), 'read_only', the('north 1'))),
	('m stranger', bulwark.membership_grant(the('stranger'), the('tenant b'), 'tenant_admin'));

CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RAISE EXCEPTION USING ERRCODE = 'ZZ000';
EXCEPTION WHEN OTHERS THEN
	RETURN CASE SQLSTATE WHEN 'ZZ000' THEN 'ok' ELSE SQLSTATE END;
END
$$;

CREATE TABLE attempts (n int GENERATED ALWAYS AS IDENTITY, actor text, statement text, expected text, what text);
GRANT SELECT ON attempts TO PUBLIC;
INSERT INTO attempts (actor, statement, expected, what) VALUES
	-- a tenant's administrator
	('root', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'editor')$$, 'ok', 'grants any role in its tenant'),
	('root', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'tenant_admin')$$, 'ok', 'grants its own role'),
	('root', $$bulwark.membership_grant(the('newcomer'), the('tenant a'), 'read_only')$$, 'ok', 'grants to a principal that belongs to no tenant'),
	('root', $$bulwark.membership_grant(the('root'), the('tenant a'), 'read_only')$$, '42501', 'I31: grants nothing to itself'),
	('root', $$bulwark.membership_grant(the('colleague'), the('tenant b'), 'read_only')$$, '42501', 'I31: grants nothing in another tenant'),
	('root', $$bulwark.membership_grant(the('stranger'), the('tenant b'), 'read_only', the('b root'))$$, '42501', 'I31: grants nothing in another tenant''s affiliation'),
	('root', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'read_only', the('b root'))$$, '42704', 'I31: grants nothing in its tenant for another''s affiliation'),
	('root', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'b_role')$$, '42704', 'I31: grants no role of another tenant'),
	('root', $$bulwark.membership_grant(the('stranger'), the('tenant a'), 'read_only')$$, '42501', 'I38: grants nothing to another tenant''s member'),
	('root', $$bulwark.membership_grant(the('nothing'), the('tenant a'), 'read_only')$$, '42501', 'I38: and gets the same answer for an unknown principal'),
	('root', $$bulwark.membership_revoke(the('m reader'))$$, 'ok', 'revokes a membership'),
	('root', $$bulwark.membership_revoke(the('m root'))$$, 'ok', 'leaves, while another administrator stays'),
	('root', $$bulwark.membership_revoke(the('m stranger'))$$, '42501', 'I38: revokes nothing of another tenant'),
	('root', $$bulwark.membership_revoke(the('nothing'))$$, '42501', 'I38: and gets the same answer for an unknown membership'),
	('root', $$bulwark.role_create(the('tenant a'), 'mine', '{*:*}')$$, 'ok', 'makes a role of its tenant'),
	('root', $$bulwark.role_create(the('tenant b'), 'mine', '{orders:read}')$$, '42501', 'I31: makes no role of another tenant'),
	('root', $$bulwark.role_create(NULL, 'mine', '{orders:read}')$$, '42501', 'I31: makes no role for all tenants'),
	('root', $$bulwark.role_create(the('tenant a'), 'Tenant_Admin', '{orders:read}')$$, '23505', 'makes no role that looks like a built-in one'),
	('root', $$bulwark.role_alter(the('tenant a'), 'clerk', '{orders:read}')$$, 'ok', 'alters a role of its tenant'),
	('root', $$bulwark.role_alter(the('tenant a'), 'tenant_admin', '{orders:read}')$$, '42501', 'I31: alters no built-in role'),
	('root', $$bulwark.role_alter(NULL, 'tenant_admin', '{orders:read}')$$, '42501', 'I31: alters no built-in role, named as such'),
	('root', $$bulwark.role_alter(NULL, 'common', '{*:*}')$$, '42501', 'I31: alters no role for all tenants'),
	('root', $$bulwark.role_alter(the('tenant a'), 'common', '{*:*}')$$, '42501', 'I31: alters no role for all tenants as its own'),
	('root', $$bulwark.role_alter(the('tenant b'), 'b_role', '{*:*}')$$, '42501', 'I31: alters no role of another tenant'),
	('root', $$bulwark.role_drop(the('tenant a'), 'idle')$$, 'ok', 'drops a role that nobody holds'),
	('root', $$bulwark.role_drop(the('tenant a'), 'clerk')$$, '23503', 'drops no role that somebody holds'),
	('root', $$bulwark.role_drop(the('tenant a'), 'read_only')$$, '42501', 'I31: drops no built-in role'),
	('root', $$bulwark.role_drop(the('tenant b'), 'b_role')$$, '42501', 'I31: drops no role of another tenant'),
	('root', $$bulwark.affiliation_create(the('tenant a'), 'west', 'West')$$, 'ok', 'makes an affiliation'),
	('root', $$bulwark.affiliation_create(the('tenant a'), 'west', 'West', parent_id => the('b root'))$$, '42704', 'makes none under another tenant''s'),
	('root', $$bulwark.affiliation_create(the('tenant b'), 'west', 'West')$$, '42501', 'I31: makes none in another tenant'),
	('root', $$bulwark.affiliation_move(the('north 1'), the('south'))$$, 'ok', 'moves an affiliation'),
	('root', $$bulwark.affiliation_move(the('north 1'), NULL)$$, 'ok', 'moves an affiliation to the top'),
	('root', $$bulwark.affiliation_move(the('north'), the('north 1'))$$, '22023', 'moves none below itself'),
	('root', $$bulwark.affiliation_move(the('b root'), NULL)$$, '42501', 'I38: moves none of another tenant'),
	('root', $$bulwark.affiliation_move(the('nothing'), NULL)$$, '42501', 'I38: and gets the same answer for an unknown affiliation'),
	('root', $$bulwark.affiliation_drop(the('empty'))$$, 'ok', 'drops an affiliation'),
	('root', $$bulwark.affiliation_drop(the('north'))$$, '23503', 'drops none that has others below it'),
	('root', $$bulwark.affiliation_drop(the('south'))$$, '23503', 'drops none that has members'),
	('root', $$bulwark.affiliation_drop(the('b root'))$$, '42501', 'I38: drops none of another tenant'),
	('root', $$bulwark.tickets_revoke(the('root'))$$, '42501', 'ends no tickets'),
	('root', $$bulwark.principal_create('new@example.org')$$, '42501', 'I38: makes no principal'),
	('root', $$bulwark.principal_create('stranger@example.org')$$, '42501', 'I38: and gets the same answer for an e-mail address that exists'),
	('root', $$bulwark.principal_link(the('stranger'), 'https://a.example', 'x')$$, '42501', 'I38: links no principal'),
	('root', $$bulwark.principal_link(the('reader'), 'https://a.example', 'x')$$, '42501', 'I38: links no member of its own either'),
	('root', $$bulwark.principal_unlink(the('stranger'), 'https://a.example', 'x')$$, '42501', 'I38: unlinks no principal'),
	('root', $$bulwark.principal_disable(the('stranger'))$$, '42501', 'I38: disables no principal'),
	('root', $$bulwark.principal_enable(the('stranger'))$$, '42501', 'I38: enables no principal'),
	('root', $$bulwark.tenant_create('c', 'C')$$, '42501', 'makes no tenant'),
	('root', $$bulwark.tenant_suspend(the('tenant b'), 'x')$$, '42501', 'suspends no tenant'),
	('root', $$bulwark.tenant_resume(the('tenant a'))$$, '42501', 'resumes no tenant'),
	('root', $$bulwark.pin_tenant(the('tenant a'))$$, '42501', 'pins nothing'),
	('root', $$bulwark.unpin_tenant()$$, '42501', 'unpins nothing'),
	('root', $$bulwark.service_scope('pgtap_authority_service', NULL)$$, '42501', 'limits no service'),
	-- an affiliation's administrator: users:manage, data and integrations, in north
	('chief', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'read_only', the('north'))$$, 'ok', 'grants in its affiliation'),
	('chief', $$bulwark.membership_grant(the('reader'), the('tenant a'), 'admin', the('north 1'))$$, 'ok', 'grants its own role below it'),
	('chief', $$bulwark.membership_grant(the('newcomer'), the('tenant a'), 'read_only', the('north'))$$, 'ok', 'grants to a principal that belongs to no tenant'),
	('chief', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'read_only', the('south'))$$, '42501', 'I32: grants nothing in another affiliation'),
	('chief', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'read_only')$$, '42501', 'I31: grants nothing tenant-wide'),
	('chief', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'tenant_admin', the('north'))$$, '42501', 'I31: grants no role above its own'),
	('chief', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'auditor', the('north'))$$, '42501', 'I31: grants no audit:read, which a wildcard resource does not cover'),
	('chief', $$bulwark.membership_grant(the('chief'), the('tenant a'), 'read_only', the('north 1'))$$, '42501', 'I31: grants nothing to itself'),
	('chief', $$bulwark.membership_grant(the('stranger'), the('tenant a'), 'read_only', the('north'))$$, '42501', 'I38: grants nothing to another tenant''s member'),
	('chief', $$bulwark.membership_revoke(the('m colleague north'))$$, 'ok', 'revokes a membership in its affiliation'),
	('chief', $$bulwark.membership_revoke(the('m colleague'))$$, '42501', 'I32: revokes none in another affiliation'),
	('chief', $$bulwark.membership_revoke(the('m reader'))$$, '42501', 'I32: revokes none that is tenant-wide'),
	('chief', $$bulwark.role_create(the('tenant a'), 'mine', '{orders:read}')$$, '42501', 'makes no role'),
	('chief', $$bulwark.affiliation_create(the('tenant a'), 'west', 'West', parent_id => the('north'))$$, '42501', 'makes no affiliation'),
	('chief', $$bulwark.affiliation_move(the('south'), the('north'))$$, '42501', 'I31: moves no other affiliation under its own'),
	-- users:manage with two resources
	('clerk', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'idle')$$, 'ok', 'grants a role that it covers'),
	('clerk', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'clerk')$$, 'ok', 'grants its own role'),
	('clerk', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'read_only')$$, '42501', 'I31: two resources do not cover all of them'),
	('clerk', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'keeper')$$, '42501', 'I31: grants no role with a permission of which it has none'),
	('clerk', $$bulwark.membership_grant(the('reader'), the('tenant a'), 'read_only', NULL, now() + '1 hour')$$, '42501', 'I31: gives no end to a role above its own'),
	('clerk', $$bulwark.membership_revoke(the('m keeper'))$$, '42501', 'I31: revokes no role above its own'),
	('clerk', $$bulwark.membership_revoke(the('m owner'))$$, '42501', 'I31: revokes no administrator'),
	('clerk', $$bulwark.role_alter(the('tenant a'), 'idle', '{invoices:read}')$$, '42501', 'alters no role'),
	-- system:configure and roles:manage with *:read
	('keeper', $$bulwark.role_create(the('tenant a'), 'mine', '{*:read}')$$, 'ok', 'makes a role of what it holds'),
	('keeper', $$bulwark.role_create(the('tenant a'), 'mine', '{orders:read,system:configure}')$$, 'ok', 'makes a role of less'),
	('keeper', $$bulwark.role_create(the('tenant a'), 'mine', '{*:*}')$$, '42501', 'I31: makes no role of everything'),
	('keeper', $$bulwark.role_create(the('tenant a'), 'mine', '{orders:*}')$$, '42501', 'I31: one action does not cover all of them'),
	('keeper', $$bulwark.role_create(the('tenant a'), 'mine', '{orders:update}')$$, '42501', 'I31: makes no role of what it does not hold'),
	('keeper', $$bulwark.role_create(the('tenant a'), 'mine', '{audit:read}')$$, '42501', 'I31: *:read does not give audit:read'),
	('keeper', $$bulwark.role_alter(the('tenant a'), 'keeper', '{*:*}')$$, '42501', 'I31: makes nothing more of its own role'),
	('keeper', $$bulwark.role_alter(the('tenant a'), 'idle', '{invoices:read}')$$, 'ok', 'alters a role within what it holds'),
	('keeper', $$bulwark.role_alter(the('tenant a'), 'clerk', '{orders:read}')$$, '42501', 'I31: takes nothing from a role that has more'),
	('keeper', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'idle')$$, '42501', 'grants nothing'),
	('keeper', $$bulwark.affiliation_create(the('tenant a'), 'west', 'West')$$, 'ok', 'makes an affiliation'),
	('keeper', $$bulwark.affiliation_create(the('tenant a'), 'west', 'West', parent_id => the('south'))$$, 'ok', 'makes one where only readers gain'),
	('keeper', $$bulwark.affiliation_create(the('tenant a'), 'west', 'West', parent_id => the('north 1'))$$, '42501', 'I31: makes none below a role that has more'),
	('keeper', $$bulwark.affiliation_move(the('empty'), the('north'))$$, '42501', 'I31: moves none below a role that has more'),
	('keeper', $$bulwark.affiliation_move(the('empty'), the('south'))$$, 'ok', 'moves one to where only readers gain'),
	-- no permission to manage
	('reader', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'read_only')$$, '42501', 'grants nothing'),
	('reader', $$bulwark.membership_revoke(the('m colleague'))$$, '42501', 'revokes nothing'),
	('reader', $$bulwark.role_create(the('tenant a'), 'mine', '{}')$$, '42501', 'makes no role'),
	('reader', $$bulwark.affiliation_create(the('tenant a'), 'west', 'West')$$, '42501', 'makes no affiliation'),
	-- no identity
	('nobody', $$bulwark.membership_grant(the('colleague'), the('tenant a'), 'read_only')$$, '42501', 'grants nothing'),
	('nobody', $$bulwark.membership_revoke(the('m colleague'))$$, '42501', 'revokes nothing'),
	('nobody', $$bulwark.role_create(the('tenant a'), 'mine', '{}')$$, '42501', 'makes no role'),
	('nobody', $$bulwark.role_create(NULL, 'mine', '{}')$$, '42501', 'makes no role for all tenants'),
	('nobody', $$bulwark.affiliation_create(the('tenant a'), 'west', 'West')$$, '42501', 'makes no affiliation'),
	('nobody', $$bulwark.affiliation_drop(the('empty'))$$, '42501', 'drops no affiliation'),
	('nobody', $$bulwark_internal.sees_all()$$, '42501', 'reaches nothing private');

-- The same under an application's login as under a trusted service's.
CREATE FUNCTION answers(actor text) RETURNS jsonb LANGUAGE sql
	AS $$ SELECT jsonb_object_agg(n, attempt('SELECT ' || statement)) FROM attempts a WHERE a.actor = $1 $$;
CREATE TABLE answered (actor text, answers jsonb);

\set login pgtap_authority_app
\set actor root
BEGIN; SELECT bulwark.assume(the(:'actor'), the('tenant a')) \g /dev/null
SET LOCAL ROLE :login; SELECT answers(:'actor') AS got \gset
ROLLBACK; INSERT INTO answered VALUES (:'actor', :'got');
\set actor chief
BEGIN; SELECT bulwark.assume(the(:'actor'), the('tenant a')) \g /dev/null
SET LOCAL ROLE :login; SELECT answers(:'actor') AS got \gset
ROLLBACK; INSERT INTO answered VALUES (:'actor', :'got');
\set login pgtap_authority_service
\set actor clerk
BEGIN; SELECT bulwark.assume(the(:'actor'), the('tenant a')) \g /dev/null
SET LOCAL ROLE :login; SELECT answers(:'actor') AS got \gset
ROLLBACK; INSERT INTO answered VALUES (:'actor', :'got');
\set actor keeper
BEGIN; SELECT bulwark.assume(the(:'actor'), the('tenant a')) \g /dev/null
SET LOCAL ROLE :login; SELECT answers(:'actor') AS got \gset
ROLLBACK; INSERT INTO answered VALUES (:'actor', :'got');
\set login pgtap_authority_app
\set actor reader
BEGIN; SELECT bulwark.assume(the(:'actor'), the('tenant a')) \g /dev/null
SET LOCAL ROLE :login; SELECT answers(:'actor') AS got \gset
ROLLBACK; INSERT INTO answered VALUES (:'actor', :'got');
\set actor nobody
BEGIN; SET LOCAL ROLE :login; SELECT answers(:'actor') AS got \gset
ROLLBACK; INSERT INTO answered VALUES (:'actor', :'got');

SELECT is(d.answers ->> a.n::text, a.expected, CASE WHEN what ~ '^I[0-9]+: '
		THEN regexp_replace(what, ': ', ': ' || actor || ': ') ELSE actor || ': ' || what END)
	FROM attempts a JOIN answered d USING (actor) ORDER BY a.n;

-- I38: the answers agree in their words too, but for the id that was asked for.
CREATE FUNCTION words(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE 'SELECT ' || statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN regexp_replace(concat_ws('|', message, detail, hint), '[0-9a-f-]{36}', 'ID', 'g');
END
$$;
BEGIN; SELECT bulwark.assume(the('root'), the('tenant a')) \g /dev/null
SET LOCAL ROLE pgtap_authority_app;
SELECT words($$bulwark.membership_grant(the('stranger'), the('tenant a'), 'read_only')$$) AS a1,
	words($$bulwark.membership_grant(the('nothing'), the('tenant a'), 'read_only')$$) AS b1,
	words($$bulwark.membership_revoke(the('m stranger'))$$) AS a2,
	words($$bulwark.membership_revoke(the('nothing'))$$) AS b2,
	words($$bulwark.affiliation_drop(the('b root'))$$) AS a3,
	words($$bulwark.affiliation_drop(the('nothing'))$$) AS b3,
	words($$bulwark.membership_grant(the('reader'), the('tenant a'), 'read_only', the('b root'))$$) AS a4,
	words($$bulwark.membership_grant(the('reader'), the('tenant a'), 'read_only', the('nothing'))$$) AS b4,
	words($$bulwark.membership_grant(the('reader'), the('tenant b'), 'read_only')$$) AS a5,
	words($$bulwark.membership_grant(the('reader'), the('nothing'), 'read_only')$$) AS b5 \gset
ROLLBACK;
SELECT is(:'a1'::text, :'b1', 'I38: granting to another tenant''s member and to nobody: the same words');
SELECT is(:'a2'::text, :'b2', 'I38: revoking another tenant''s membership and none: the same words');
SELECT is(:'a3'::text, :'b3', 'I38: dropping another tenant''s affiliation and none: the same words');
SELECT is(:'a4'::text, :'b4', 'I38: granting in another tenant''s affiliation and in none: the same words');
SELECT is(:'a5'::text, :'b5', 'I38: granting in another tenant and in none: the same words');

-- A token's scope only narrows: with it, an administrator gives no more than it.
CREATE EXTENSION pgcrypto SCHEMA public;
CREATE FUNCTION base64url(data bytea) RETURNS text LANGUAGE sql
	AS $$ SELECT translate(encode(data, 'base64'), E'+/=\n', '-_') $$;
CREATE FUNCTION token(key bytea, subject text, scope text) RETURNS text LANGUAGE sql AS $$
	SELECT signed || '.' || base64url(hmac(convert_to(signed, 'UTF8'), key, 'sha256'))
	FROM concat(base64url('{"alg":"HS256"}'), '.', base64url(convert_to(jsonb_build_object('iss', 'https://login.example',
		'sub', subject, 'aud', 'app', 'tenant', 'a', 'scope', scope, 'iat', extract(epoch FROM now())::int,
		'exp', extract(epoch FROM now())::int + 600)::text, 'UTF8'))) AS signed $$;
SELECT gen_random_bytes(32) AS key \gset
SELECT bulwark.issuer_create('https://login.example', 'app',
	jsonb_build_object('kty', 'oct', 'k', base64url(:'key')), '{HS256}', scope_claim => 'scope') \g /dev/null
SELECT bulwark.principal_link(the('root'), 'https://login.example', 'root') \g /dev/null
BEGIN; SELECT bulwark.authenticate(token(:'key', 'root', 'users:manage *:read')) \g /dev/null
SET LOCAL ROLE pgtap_authority_app;
SELECT attempt($$SELECT bulwark.membership_grant(the('colleague'), the('tenant a'), 'read_only')$$) AS a1,
	attempt($$SELECT bulwark.membership_grant(the('colleague'), the('tenant a'), 'tenant_admin')$$) AS a2,
	attempt($$SELECT bulwark.membership_revoke(the('m keeper'))$$) AS a3,
	attempt($$SELECT bulwark.role_create(the('tenant a'), 'mine', '{orders:read}')$$) AS a4 \gset
ROLLBACK;
SELECT is(:'a1'::text, 'ok', 'I37: within its token''s scope an administrator grants');
SELECT is(:'a2'::text, '42501', 'I37: but gives no more than the scope holds');
SELECT is(:'a3'::text, '42501', 'I37: revokes no more than the scope holds');
SELECT is(:'a4'::text, '42501', 'I37: and does nothing outside it');

-- The views: which tenants, members and principals each actor sees.
CREATE FUNCTION seen() RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' / ',
		(SELECT string_agg(slug, ' ' ORDER BY slug) FROM bulwark.tenants),
		(SELECT string_agg(slug, ' ' ORDER BY slug) FROM bulwark.affiliations),
		(SELECT string_agg(DISTINCT split_part(email, '@', 1), ' ') FROM bulwark.members),
		(SELECT string_agg(split_part(email, '@', 1), ' ' ORDER BY email) FROM bulwark.principals),
		(SELECT string_agg(name, ' ' ORDER BY name) FROM bulwark.roles WHERE NOT builtin)) $$;
BEGIN; SELECT bulwark.assume(the('root'), the('tenant a')) \g /dev/null
SET LOCAL ROLE pgtap_authority_app; SELECT seen() AS root \gset
ROLLBACK;
BEGIN; SELECT bulwark.assume(the('chief'), the('tenant a')) \g /dev/null
SET LOCAL ROLE pgtap_authority_app; SELECT seen() AS chief \gset
ROLLBACK;
BEGIN; SELECT bulwark.assume(the('reader'), the('tenant a')) \g /dev/null
SET LOCAL ROLE pgtap_authority_app; SELECT seen() AS reader \gset
ROLLBACK;
BEGIN; SELECT bulwark.assume(the('stranger'), the('tenant b')) \g /dev/null
SET LOCAL ROLE pgtap_authority_service; SELECT seen() AS stranger \gset
ROLLBACK;
BEGIN; SET LOCAL ROLE pgtap_authority_app; SELECT seen() AS nobody \gset
ROLLBACK;
BEGIN; SET LOCAL ROLE pgtap_authority_auditor; SELECT seen() AS auditor \gset
ROLLBACK;
SELECT is(:'root'::text, 'a / empty north north-1 south / chief clerk colleague keeper owner reader root / '
	'chief clerk colleague keeper owner reader root / clerk common idle keeper', 'a tenant''s administrator sees its tenant, whole');
SELECT is(:'chief'::text, 'a / empty north north-1 south / chief colleague / chief colleague / clerk common idle keeper',
	'an affiliation''s administrator sees the members of its affiliations');
SELECT is(:'reader'::text, 'a / empty north north-1 south / reader / reader / clerk common idle keeper',
	'a member without users:manage sees itself only');
SELECT is(:'stranger'::text, 'b / root / stranger / stranger / b_role common', 'another tenant''s administrator sees its own');
SELECT is(:'nobody'::text, 'common', 'without an identity there is nothing but the roles for all tenants');
SELECT is(:'auditor'::text, 'a b / empty north north-1 root south / chief clerk colleague keeper owner reader root stranger / '
	'chief clerk colleague keeper newcomer owner reader root stranger / b_role clerk common idle keeper',
	'bulwark_auditor sees every tenant');

-- I33: EXECUTE on every management function, for each cluster role and PUBLIC.
CREATE TABLE may (signature text, roles text[]);
INSERT INTO may SELECT 'bulwark.' || s, '{admin}' FROM unnest('{"tenant_create(text,text,text,text,uuid)",
	"tenant_suspend(uuid,text,boolean)", "tenant_resume(uuid)", "principal_create(text,text,text,uuid)",
	"principal_link(uuid,text,text)", "principal_unlink(uuid,text,text)", "principal_disable(uuid,boolean)",
	"principal_enable(uuid)", "tickets_revoke(uuid)", "service_scope(name,uuid[])", "pin_tenant(uuid)", "unpin_tenant()"}'::text[]) AS s;
INSERT INTO may SELECT 'bulwark.' || s, '{admin,app,service}' FROM unnest('{
	"affiliation_create(uuid,text,text,text,uuid,uuid)", "affiliation_move(uuid,uuid)", "affiliation_drop(uuid)",
	"membership_grant(uuid,uuid,text,uuid,timestamptz)", "membership_revoke(uuid,boolean)",
	"role_create(uuid,text,text[])", "role_alter(uuid,text,text[])", "role_drop(uuid,text)"}'::text[]) AS s;
SELECT is(
	ARRAY(SELECT r FROM unnest('{admin,app,auditor,keys,maintenance,nobody,service}'::text[]) AS r
		WHERE has_function_privilege('pgtap_authority_' || r, signature, 'EXECUTE') ORDER BY r),
	roles, 'I33: ' || signature || ' is for ' || array_to_string(roles, ', ')) FROM may;

-- I33: default privileges that give EXECUTE away open the door, and nothing behind it.
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA bulwark, bulwark_internal TO pgtap_authority_nobody;
GRANT USAGE ON SCHEMA bulwark_internal TO pgtap_authority_nobody;
SET ROLE pgtap_authority_nobody;
SELECT throws_ok($$SELECT bulwark.tenant_create('c', 'C')$$, '42501', NULL, 'I33: tenant_create asks who calls');
SELECT throws_ok($$SELECT bulwark.tenant_suspend(the('tenant a'), 'x')$$, '42501', NULL, 'I33: tenant_suspend asks who calls');
SELECT throws_ok($$SELECT bulwark.tenant_resume(the('tenant a'))$$, '42501', NULL, 'I33: tenant_resume asks who calls');
SELECT throws_ok($$SELECT bulwark.principal_create('c')$$, '42501', NULL, 'I33: principal_create asks who calls');
SELECT throws_ok($$SELECT bulwark.principal_link(the('root'), 'i', 's')$$, '42501', NULL, 'I33: principal_link asks who calls');
SELECT throws_ok($$SELECT bulwark.principal_unlink(the('root'), 'i', 's')$$, '42501', NULL, 'I33: principal_unlink asks who calls');
SELECT throws_ok($$SELECT bulwark.principal_disable(the('root'))$$, '42501', NULL, 'I33: principal_disable asks who calls');
SELECT throws_ok($$SELECT bulwark.principal_enable(the('root'))$$, '42501', NULL, 'I33: principal_enable asks who calls');
SELECT throws_ok($$SELECT bulwark.membership_grant(the('root'), the('tenant a'), 'owner')$$, '42501', NULL, 'I33: membership_grant asks who calls');
SELECT throws_ok($$SELECT bulwark.membership_revoke(the('m root'))$$, '42501', NULL, 'I33: membership_revoke asks who calls');
SELECT throws_ok($$SELECT bulwark.role_create(the('tenant a'), 'x', '{}')$$, '42501', NULL, 'I33: role_create asks who calls');
SELECT throws_ok($$SELECT bulwark.role_alter(the('tenant a'), 'idle', '{}')$$, '42501', NULL, 'I33: role_alter asks who calls');
SELECT throws_ok($$SELECT bulwark.role_drop(the('tenant a'), 'idle')$$, '42501', NULL, 'I33: role_drop asks who calls');
SELECT throws_ok($$SELECT bulwark.affiliation_create(the('tenant a'), 'x', 'X')$$, '42501', NULL, 'I33: affiliation_create asks who calls');
SELECT throws_ok($$SELECT bulwark.affiliation_move(the('empty'), NULL)$$, '42501', NULL, 'I33: affiliation_move asks who calls');
SELECT throws_ok($$SELECT bulwark.affiliation_drop(the('empty'))$$, '42501', NULL, 'I33: affiliation_drop asks who calls');
SELECT throws_ok($$SELECT bulwark.tickets_revoke(the('root'))$$, '42501', NULL, 'I33: tickets_revoke asks who calls');
SELECT throws_ok($$SELECT bulwark.pin_tenant(the('tenant a'))$$, '42501', NULL, 'I33: pin_tenant asks who calls');
SELECT throws_ok($$SELECT bulwark.unpin_tenant()$$, '42501', NULL, 'I33: unpin_tenant asks who calls');
SELECT throws_ok($$SELECT bulwark.service_scope('postgres', NULL)$$, '42501', NULL, 'I33: service_scope asks who calls');
RESET ROLE;

SELECT * FROM finish();
DROP OWNED BY pgtap_authority_nobody;
DROP ROLE pgtap_authority_app, pgtap_authority_service, pgtap_authority_admin, pgtap_authority_nobody,
	pgtap_authority_auditor, pgtap_authority_maintenance, pgtap_authority_keys;
