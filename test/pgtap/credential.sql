-- Who may do what with credentials: every function and the view, tried as every role
-- of tenants and every role of the cluster, through a login that shows applications
-- and one of the service layer.  What is allowed must work, what is not be refused.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;

SELECT no_plan();

CREATE TABLE pc_role (role text PRIMARY KEY, affiliated boolean NOT NULL, manages boolean NOT NULL, sees text NOT NULL, id uuid NOT NULL DEFAULT gen_random_uuid());
INSERT INTO pc_role (role, affiliated, manages, sees) VALUES
	('tenant_admin', false, true, 'all'), ('admin', true, true, 'all'), ('read_only', true, false, 'names'),
	('owner', false, true, 'all'), ('administrator', false, true, 'all'), ('workspace_admin', true, true, 'all'),
	('editor', true, true, 'all'), ('viewer', true, false, 'names'), ('member', true, false, 'names'), ('auditor', false, false, 'none'),
	('pc_manager', true, true, 'all'), ('pc_onlooker', true, false, 'names'), ('pc_clerk', false, false, 'none');
CREATE TABLE pc_outcome (who text, login text, call text, outcome text);
GRANT ALL ON pc_outcome TO PUBLIC;
GRANT SELECT ON pc_role TO PUBLIC;

SELECT bulwark.tenant_create('pc', 'PC') AS tenant, bulwark.tenant_create('pc-other', 'Other') AS other \gset
SELECT bulwark.affiliation_create(:'tenant', 'unit', 'Unit') AS unit \gset
SELECT bulwark.role_create(:'tenant', 'pc_manager', '{integrations:manage}'), bulwark.role_create(:'tenant', 'pc_onlooker', '{integrations:read}'),
	bulwark.role_create(:'tenant', 'pc_clerk', '{orders:*,integration:manage,data:*,users:manage}') \g /dev/null
SELECT count(bulwark.membership_grant(bulwark.principal_create(role || '@pc.example', id => id), :'tenant', role, CASE WHEN affiliated THEN :'unit'::uuid END)) FROM pc_role \g /dev/null
SELECT bulwark.membership_grant(bulwark.principal_create('boss@pc-other.example') , :'other', 'tenant_admin') \g /dev/null
SELECT set_eq($$SELECT name FROM bulwark.roles WHERE builtin$$, $$SELECT role FROM pc_role WHERE role NOT LIKE 'pc%'$$, 'every built-in role is tried');

CREATE FUNCTION pc_try(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'SELECT bulwark.' || call;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
-- What the view shows of the tenant's credential: nothing, its names, all; or the error.
CREATE FUNCTION pc_view(shared uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	SELECT count(*), count(*) FILTER (WHERE tenant_id <> (SELECT bulwark.tenant_id())) AS foreign_rows INTO r FROM bulwark.credentials;
	IF r.foreign_rows > 0 THEN RETURN 'foreign rows'; END IF;
	SELECT name, version, state, honey, num_nonnulls(kind, rotate_every, created_at, created_by, rotation_due) AS others INTO r
		FROM bulwark.credentials WHERE credential_id = shared ORDER BY version DESC LIMIT 1;
	IF NOT FOUND THEN RETURN 'none'; END IF;
	IF num_nonnulls(r.name, r.version, r.state) < 3 THEN RETURN 'not even names'; END IF;
	RETURN CASE r.others WHEN 0 THEN 'names' WHEN 5 THEN 'all' ELSE 'some' END || CASE WHEN r.honey IS NULL THEN '' ELSE ', honey' END;
EXCEPTION WHEN insufficient_privilege THEN
	RETURN SQLSTATE;
END
$$;
-- Every call, as whoever this is now: on a credential of its own where it may make one.
CREATE FUNCTION pc_all(who text, tenant uuid, shared uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	mine text := format('of %s by %s', who, session_user);
	own uuid;
BEGIN
	INSERT INTO pc_outcome VALUES (who, session_user, 'create', pc_try(format('credential_create(%L, ''api_key'', ''x'')', mine)));
	SELECT credential_id INTO own FROM pc_own(mine) credential_id;
	INSERT INTO pc_outcome VALUES (who, session_user, 'rotate', pc_try(format('credential_rotate(%L, ''y'', ''1 day'')', coalesce(own, shared)))),
		(who, session_user, 'use', pc_try($call$credential_use('shared', 'matrix')$call$)),
		(who, session_user, 'view', pc_view(shared)),
		(who, session_user, 'table', pc_try('credential_create(name, ''x'', value::text) FROM bulwark_internal.credential_versions JOIN bulwark_internal.credentials USING (credential_id)')),
		(who, session_user, 'revoke', pc_try(format('credential_revoke(%L, ''matrix'', version => 1)', coalesce(own, shared)))),
		(who, session_user, 'freeze', pc_try(format('credential_freeze(%L, ''matrix'')', tenant))),
		(who, session_user, 'unfreeze', pc_try(format('credential_unfreeze(%L, ''matrix'')', tenant)));
END
$$;
CREATE FUNCTION pc_own(mine text) RETURNS uuid LANGUAGE sql SECURITY DEFINER RETURN (SELECT credential_id FROM bulwark_internal.credentials WHERE name = mine);

CREATE ROLE pc_web LOGIN IN ROLE bulwark_impersonator;
CREATE ROLE pc_service LOGIN IN ROLE bulwark_impersonator, bulwark_secrets;
CREATE ROLE pc_limited LOGIN IN ROLE bulwark_impersonator, bulwark_secrets;
CREATE ROLE pc_nobody LOGIN;
SELECT bulwark.service_scope('pc_limited', ARRAY[:'other'::uuid]) \g /dev/null
SELECT format('CREATE ROLE pc_%s LOGIN IN ROLE bulwark_%1$s', r) FROM unnest('{admin,app,auditor,impersonator,keys,maintenance,retention,secrets}'::text[]) r \gexec

BEGIN;
SELECT bulwark.assume(id, :'tenant') FROM pc_role WHERE role = 'owner' \g /dev/null
SELECT bulwark.credential_create('shared', 'api_key', 'of all') AS shared \gset
COMMIT;

-- Each in a transaction of its own, with its login as the session's.
CREATE PROCEDURE pc_look(tenant uuid, shared uuid) LANGUAGE plpgsql AS $$
DECLARE
	roles pc_role[] := ARRAY(SELECT r FROM pc_role r ORDER BY role);
	r pc_role;
	name text;
BEGIN
	FOREACH r IN ARRAY roles LOOP
		FOREACH name IN ARRAY '{pc_web,pc_service}'::text[] LOOP
			COMMIT;
			EXECUTE format('SET LOCAL SESSION AUTHORIZATION %I', name);
			PERFORM bulwark.assume(r.id, tenant);
			PERFORM pc_all(r.role, tenant, shared);
		END LOOP;
	END LOOP;
	FOREACH name IN ARRAY '{admin,app,auditor,impersonator,keys,maintenance,retention,secrets,nobody}'::text[] LOOP
		COMMIT;
		EXECUTE format('SET LOCAL SESSION AUTHORIZATION pc_%s', name);
		PERFORM pc_all('login ' || name, tenant, shared);
	END LOOP;
	COMMIT;
END $$;
CALL pc_look(:'tenant', :'shared');

-- as roles of a tenant
CREATE TEMP VIEW pc_expected AS
	SELECT role AS who, login, call, CASE
		WHEN call = 'use' THEN CASE WHEN login = 'pc_service' THEN 'ok' ELSE '42501' END
		WHEN call = 'view' THEN sees
		WHEN call = 'table' THEN '42501'
		WHEN manages THEN 'ok' ELSE '42501' END AS outcome
	FROM pc_role, unnest('{pc_web,pc_service}'::text[]) login, unnest('{create,rotate,use,view,table,revoke,freeze,unfreeze}'::text[]) call
UNION ALL
	-- as logins without an identity
	SELECT 'login ' || r.role, 'pc_' || r.role, c.call, replace((string_to_array(r.outcomes, ' '))[c.n], ',', ', ')
	FROM (VALUES
		--              create rotate use view table revoke freeze unfreeze
		('admin',        '28000 ok 42501 all,honey 42501 ok ok ok'),
		('app',          '28000 42501 42501 none 42501 42501 42501 42501'),
		('auditor',      '42501 42501 42501 all,honey 42501 42501 42501 42501'),
		('impersonator', '28000 42501 42501 none 42501 42501 42501 42501'),
		('keys',         '42501 42501 42501 42501 42501 42501 ok ok'),
		('maintenance',  '42501 42501 42501 all,honey 42501 42501 42501 42501'),
		('retention',    '42501 42501 42501 42501 42501 42501 42501 42501'),
		('secrets',      '28000 42501 28000 none 42501 42501 42501 42501'),
		('nobody',       '42501 42501 42501 42501 42501 42501 42501 42501')) r (role, outcomes),
		unnest('{create,rotate,use,view,table,revoke,freeze,unfreeze}'::text[]) WITH ORDINALITY AS c (call, n);
SELECT is(o.outcome, e.outcome, format('%s through %s: %s is %s', who, login, call, CASE e.outcome WHEN 'ok' THEN 'allowed' WHEN '42501' THEN 'refused' ELSE e.outcome END))
	FROM pc_expected e FULL JOIN pc_outcome o USING (who, login, call) ORDER BY who, login, call;
SELECT is((SELECT array_agg(version || state ORDER BY version) FROM bulwark.credentials WHERE credential_id = :'shared'), '{1revoked,2active}',
	'what none may change is as bulwark_admin left it');

-- a login of the service layer whose scope leaves the tenant out
BEGIN;
SET LOCAL SESSION AUTHORIZATION pc_limited;
SELECT throws_ok(format('SELECT bulwark.assume(%L, %L)', id, :'tenant'), '42501', NULL, 'S15: a service login does not act in a tenant outside its scope') FROM pc_role WHERE role = 'owner';
ROLLBACK;

-- who may execute, whatever else is asked: by the catalog, for default privileges grant nothing
CREATE TEMP TABLE pc_matrix (function text, roles text[]);
INSERT INTO pc_matrix VALUES
	('credential_create(text,text,text,interval,boolean)', '{admin,app,impersonator,secrets}'),
	('credential_rotate(uuid,text,interval)', '{admin,app,impersonator,secrets}'),
	('credential_use(text,text,integer)', '{secrets}'),
	('credential_revoke(uuid,text,integer)', '{admin,app,impersonator,secrets}'),
	('credential_freeze(uuid,text)', '{admin,app,impersonator,keys,secrets}'),
	('credential_unfreeze(uuid,text)', '{admin,app,impersonator,keys,secrets}');
SELECT set_eq($$SELECT proname || '(' || string_agg(format_type(t, NULL), ',' ORDER BY n) || ')' FROM pg_proc, unnest(proargtypes::oid[]) WITH ORDINALITY AS a (t, n)
	WHERE pronamespace = 'bulwark'::regnamespace AND proname LIKE 'credential\_%' GROUP BY oid, proname$$, 'SELECT function FROM pc_matrix', 'no function is left out');
SELECT is(ARRAY(SELECT r FROM unnest('{admin,app,auditor,impersonator,keys,maintenance,retention,secrets}'::text[]) r
		WHERE has_function_privilege('bulwark_' || r, 'bulwark.' || function, 'EXECUTE') ORDER BY r COLLATE "C"), roles,
	format('%s is executable by these roles and no other', function)) FROM pc_matrix;
SELECT ok(NOT has_function_privilege('pc_nobody', 'bulwark.' || function, 'EXECUTE'), format('nor by PUBLIC: %s', function)) FROM pc_matrix;
SELECT is(ARRAY(SELECT r FROM unnest('{admin,app,auditor,impersonator,keys,maintenance,retention,secrets,nobody}'::text[]) r
		WHERE has_table_privilege('pc_' || r, 'bulwark.credentials', 'SELECT') ORDER BY r COLLATE "C"),
	'{admin,app,auditor,impersonator,maintenance,secrets}', 'the view is selected from by these roles and no other');
SELECT is(ARRAY(SELECT DISTINCT r FROM unnest('{admin,app,auditor,impersonator,keys,maintenance,retention,secrets,nobody}'::text[]) r,
		unnest('{credentials,credential_versions,credential_uses,credential_freezes}'::text[]) t, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
		WHERE has_table_privilege('pc_' || r, 'bulwark_internal.' || t, p)), '{maintenance}', 'nobody touches the tables but bulwark_maintenance');
SELECT is(ARRAY(SELECT DISTINCT p FROM unnest('{credentials,credential_versions,credential_uses,credential_freezes}'::text[]) t, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
		WHERE has_table_privilege('pc_maintenance', 'bulwark_internal.' || t, p)), '{SELECT}', '... which reads their ciphertext, for dumps');

SELECT * FROM finish();
SELECT bulwark.service_scope('pc_limited', NULL) \g /dev/null
DROP OWNED BY pc_web, pc_service, pc_limited, pc_nobody, pc_admin, pc_app, pc_auditor, pc_impersonator, pc_keys, pc_maintenance, pc_retention, pc_secrets;
DROP ROLE pc_web, pc_service, pc_limited, pc_nobody, pc_admin, pc_app, pc_auditor, pc_impersonator, pc_keys, pc_maintenance, pc_retention, pc_secrets;
