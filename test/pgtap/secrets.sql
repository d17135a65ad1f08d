-- Who may call what of the secrets module, for every role; what is planted for it
-- to find; and what isolation_check() says of values that are bound to no context.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;

SELECT no_plan();
BEGIN;

SELECT bulwark.tenant_create('ps-a', 'A', id => 'ab000000-0000-4000-8000-000000000001') \g /dev/null
SELECT bulwark.principal_create('boss@ps.example', id => 'cb000000-0000-4000-8000-000000000001') \g /dev/null
SELECT bulwark.membership_grant('cb000000-0000-4000-8000-000000000001', 'ab000000-0000-4000-8000-000000000001', 'tenant_admin') \g /dev/null

-- The privilege matrix: a function and the roles that may execute it.
CREATE TEMP TABLE matrix (function text, roles text[]);
INSERT INTO matrix VALUES
	('encrypt(text,text)', '{app,impersonator,secrets}'), ('encrypt_text(text,text)', '{app,impersonator,secrets}'),
	('encrypt_bytea(bytea,text)', '{app,impersonator,secrets}'), ('encrypt_jsonb(jsonb,text)', '{app,impersonator,secrets}'),
	('encrypt_for(uuid,text,text)', '{secrets}'), ('encrypt_text_for(uuid,text,text)', '{secrets}'),
	('encrypt_bytea_for(uuid,bytea,text)', '{secrets}'), ('encrypt_jsonb_for(uuid,jsonb,text)', '{secrets}'),
	('decrypt(bulwark.secret,text,text)', '{secrets}'), ('hmac_sign(bulwark.secret,bytea,text,text,text)', '{secrets}'),
	('decrypt_text(bulwark.encrypted_text,text)', '{app,impersonator,secrets}'), ('decrypt_bytea(bulwark.encrypted_bytea,text)', '{app,impersonator,secrets}'),
	('decrypt_jsonb(bulwark.encrypted_jsonb,text)', '{app,impersonator,secrets}'), ('blind_index(text,text)', '{app,impersonator,secrets}'),
	('tenant_public_key()', '{app,impersonator,secrets}'), ('encrypt_sealed(bytea,text)', '{app,impersonator,secrets}'),
	('secrets_check()', '{admin,auditor,keys,maintenance}');
SELECT is(ARRAY(SELECT r FROM unnest('{admin,app,auditor,impersonator,keys,maintenance,retention,secrets}'::text[]) r
		WHERE has_function_privilege('bulwark_' || r, 'bulwark.' || function, 'EXECUTE') ORDER BY r COLLATE "C"), roles,
	format('S17: %s is executable by no other role', function)) FROM matrix;
SELECT ok(NOT has_function_privilege('pg_database_owner', 'bulwark.' || function, 'EXECUTE'), format('nor by PUBLIC: %s', function)) FROM matrix;

-- Every built-in role of tenants: no role gives decrypt(), six give decrypt_text().
CREATE ROLE ps_front LOGIN IN ROLE bulwark_impersonator;
CREATE TABLE ps_value (id int PRIMARY KEY, s bulwark.secret, t bulwark.encrypted_text);
GRANT SELECT ON ps_value TO ps_front;
SELECT set_eq($$SELECT name FROM bulwark.roles WHERE builtin AND EXISTS (SELECT FROM unnest(permissions) p WHERE p IN ('*:*', 'data:*', 'data:decrypt', '*:decrypt'))$$,
	'{tenant_admin,owner,administrator,admin,workspace_admin,editor}'::text[], 'data:decrypt belongs to the built-in roles that the documentation names');

-- S12: a planted operator, function, cast or type of our names is never found.
CREATE SCHEMA ps_planted;
CREATE FUNCTION ps_planted.encrypt(text, text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted saw %', $1; END $$;
CREATE FUNCTION ps_planted.blind_index(text, text) RETURNS bytea LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted saw %', $1; END $$;
CREATE FUNCTION ps_planted.eq(bytea, bytea) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted saw %', $1; END $$;
CREATE OPERATOR ps_planted.= (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = ps_planted.eq);
CREATE FUNCTION ps_planted.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted'; END $$;
SET LOCAL search_path = ps_planted, pg_catalog, public;
SELECT '' FROM bulwark.assume('cb000000-0000-4000-8000-000000000001', 'ab000000-0000-4000-8000-000000000001') \g /dev/null
SELECT lives_ok($$INSERT INTO public.ps_value VALUES (1, bulwark.encrypt('one', 'c'), bulwark.encrypt_text('one')), (2, bulwark.encrypt('two'), bulwark.encrypt_text('two', 'c'))$$,
	'S12: values are made with planted functions in the search_path');
SELECT is(bulwark.decrypt(s, 'test', 'c'), 'one', 'S12: and opened') FROM public.ps_value WHERE id = 1;
SELECT is(length(bulwark.blind_index('one', 'c')), 32, 'S12: and indexed');
SELECT throws_ok($$SELECT bulwark.encrypt_sealed('\x00', 'c')$$, '22023', 'the sealed value is refused', 'S12: and sealed values are looked at');
SET LOCAL search_path = public, pg_catalog;

-- A definer function lends its owner's EXECUTE, and no more: the login decides.
CREATE FUNCTION ps_definer(v bulwark.secret, c text) RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT bulwark.decrypt(v, 'borrowed', c) $$;
SET SESSION AUTHORIZATION ps_front;
SELECT throws_ok($$SELECT ps_definer(s, 'c') FROM ps_value WHERE id = 1$$, '42501', NULL, 'S12: a definer function of a superuser does not open a credential for another login');
SELECT throws_ok($$SELECT bulwark.decrypt(s, 'x', 'c') FROM ps_value WHERE id = 1$$, '42501', NULL, 'S17: nor does the login itself');
SELECT is(bulwark.decrypt_text(t), 'one', 'data is opened for the identity, which has data:decrypt') FROM ps_value WHERE id = 1;
RESET SESSION AUTHORIZATION;

-- S16: values that are bound to no context are reported, by their keys.
SELECT set_eq($$SELECT relation::text, status, detail FROM bulwark.isolation_check() WHERE check_name = 'encryption_context'$$,
	$$VALUES ('ps_value', 'warning', 'Values of s that open wherever they are moved within their tenant: 1. Encrypt them with a context that says where they belong. id: 2'),
		('ps_value', 'warning', 'Values of t that open wherever they are moved within their tenant: 1. Encrypt them with a context that says where they belong. id: 1')$$,
	'S16: isolation_check() names the columns and the rows');
UPDATE ps_value SET s = bulwark.encrypt('s', 'c'), t = bulwark.encrypt_text('t', 'c');
SELECT is(status, 'ok', 'S16: and is content when every value has a context') FROM bulwark.isolation_check() WHERE check_name = 'encryption_context';

-- secrets_check() sees each setting.
SELECT is(status, 'ok', format('%s is ok as the server is set up', check_name)) FROM bulwark.secrets_check()
	WHERE check_name IN ('log_parameters', 'log_error_parameters', 'log_durations', 'debug_print', 'pgaudit', 'kept_plaintexts', 'network') ORDER BY check_name;
CREATE FUNCTION pg_temp.checked(setting text, value text, wanted text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	PERFORM set_config(setting, value, true);
	SELECT status INTO result FROM bulwark.secrets_check() WHERE check_name = wanted;
	RETURN result;
END
$$;
SELECT is(pg_temp.checked('log_statement', 'all', 'log_statement'), 'warning', 'S6: log_statement');
SELECT is(pg_temp.checked('log_statement', 'all', 'log_parameters'), 'fail', 'S6: parameters with it');
SELECT is(pg_temp.checked('log_parameter_max_length', '0', 'log_parameters'), 'ok', 'S6: unless they are not logged');
SELECT is(pg_temp.checked('log_min_duration_statement', '0', 'log_durations'), 'warning', 'S6: log_min_duration_statement');
SELECT is(pg_temp.checked('log_parameter_max_length_on_error', '-1', 'log_error_parameters'), 'fail', 'S6: log_parameter_max_length_on_error');
SELECT is(pg_temp.checked('log_min_error_statement', 'panic', 'log_error_statements'), 'ok', 'S6: log_min_error_statement');
SELECT is(pg_temp.checked('debug_print_plan', 'on', 'debug_print'), 'fail', 'S6: debug_print_plan');
SELECT is(pg_temp.checked('pgaudit.log_parameter', 'on', 'pgaudit'), 'fail', 'S6: pgaudit.log_parameter');
SELECT is(pg_temp.checked('auto_explain.log_min_duration', '0', 'auto_explain'), 'warning', 'S6: auto_explain');
ALTER ROLE ps_front SET log_statement = 'all';
SELECT ok(detail ~ 'ps_front', 'S6: a role''s own setting') FROM bulwark.secrets_check() WHERE check_name = 'role_settings' AND status = 'warning';
SELECT is(count(*), 1::bigint, 'S6: it was found') FROM bulwark.secrets_check() WHERE check_name = 'role_settings' AND status = 'warning';

CREATE ROLE ps_service LOGIN IN ROLE bulwark_secrets;
SELECT ok(detail ~ 'ps_service', 'S6: a login whose statements are seen while they wait to be parsed') FROM bulwark.secrets_check() WHERE check_name = 'shared_activity' AND status = 'warning';
SELECT is(count(*), 1::bigint, 'S6: it was found') FROM bulwark.secrets_check() WHERE check_name = 'shared_activity' AND status = 'warning';
ALTER ROLE ps_service SET track_activities = off;
SELECT ok(detail !~ 'ps_service', 'S6: and is not, once they are not tracked') FROM bulwark.secrets_check() WHERE check_name = 'shared_activity';

SELECT * FROM finish();
ROLLBACK;
