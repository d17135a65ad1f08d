-- Keys of tenants: made at first use, rotated, retired, destroyed; a value opens under
-- its own tenant's key alone, whatever is written into the table of keys.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS bulwark;
CREATE ROLE tenant_key_keys LOGIN IN ROLE bulwark_keys;
CREATE ROLE tenant_key_service LOGIN IN ROLE bulwark_secrets, bulwark_impersonator;
CREATE ROLE tenant_key_nobody LOGIN IN ROLE bulwark_app;
RESET client_min_messages;
CREATE SCHEMA tenant_key;
GRANT USAGE ON SCHEMA tenant_key TO PUBLIC;
SET search_path = tenant_key;

CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE statement INTO result;
	RETURN 'ok: ' || coalesce(result, 'null');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || regexp_replace(SQLERRM, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'ID');
END
$$;
CREATE TABLE tenant (name text PRIMARY KEY, id uuid NOT NULL DEFAULT gen_random_uuid(), person uuid NOT NULL DEFAULT gen_random_uuid());
GRANT SELECT ON tenant TO PUBLIC;
INSERT INTO tenant (name) VALUES ('a'), ('b'), ('c'), ('d');
SELECT count(bulwark.tenant_create('tenant-key-' || name, name, id => id)),
	count(bulwark.principal_create('tenant-key-' || name || '@example.org', id => person)) FROM tenant;
SELECT count(bulwark.membership_grant(person, id, 'tenant_admin')) FROM tenant;
CREATE FUNCTION act(tenant text) RETURNS text LANGUAGE sql
	RETURN (SELECT bulwark.assume(person, id) ->> 'tenant_slug' FROM tenant_key.tenant t WHERE t.name = act.tenant);
CREATE FUNCTION id(tenant text) RETURNS uuid LANGUAGE sql STABLE
	RETURN (SELECT id FROM tenant_key.tenant t WHERE t.name = id.tenant);
CREATE VIEW keys AS SELECT t.name, k.kind, k.version, k.state, k.provider, length(k.key_id) AS key_id, length(k.root_key_id) AS root_key_id
	FROM tenant t JOIN bulwark.tenant_keys k ON k.tenant_id = t.id;

-- a tenant has no key until it needs one; all of its keys share one component
SELECT count(*) FROM keys;
CREATE TABLE value (name text, sealed bulwark.encrypted_text);
GRANT SELECT ON value TO PUBLIC;
INSERT INTO value SELECT 'first of ' || name, bulwark.encrypt_text_for(id, 'plaintext ' || name, 'tenant_key') FROM tenant;
BEGIN;
SELECT act('a');
SELECT length(bulwark.blind_index('x', 'tenant_key')), length(bulwark.tenant_public_key());
COMMIT;
SELECT * FROM keys ORDER BY name, kind;
SELECT t.name, count(DISTINCT k.component) FROM tenant t JOIN bulwark.tenant_keys k ON k.tenant_id = t.id GROUP BY 1 ORDER BY 1;

-- S1: another tenant's value, and the same under another context
BEGIN;
SELECT act('a');
SELECT name, attempt(format('SELECT bulwark.decrypt_text(%L, %L)', sealed, context)) FROM value, (VALUES ('tenant_key'), ('other'), ('')) c (context) ORDER BY 1, context;
COMMIT;

-- S4: every row its own nonce
SELECT count(DISTINCT substr(v::bulwark.encrypted_text::text, 1, 68)), count(DISTINCT v::text)
FROM (SELECT bulwark.encrypt_text_for(id('a'), 'same') AS v FROM generate_series(1, 1000)) s;

-- a key that its transaction takes back leaves nothing in the session
BEGIN;
SELECT bulwark.tenant_create('tenant-key-gone', 'Gone', id => '00000000-0000-4000-8000-000000000b09') IS NOT NULL AS made;
SAVEPOINT s;
SELECT bulwark.encrypt_text_for('00000000-0000-4000-8000-000000000b09', 'x') IS NOT NULL AS sealed;
ROLLBACK TO s;
SELECT count(*) FROM bulwark.tenant_keys WHERE tenant = 'tenant-key-gone';
SELECT bulwark.encrypt_text_for('00000000-0000-4000-8000-000000000b09', 'x') IS NOT NULL AS sealed;
SELECT version FROM bulwark.tenant_keys WHERE tenant = 'tenant-key-gone';
ROLLBACK;
SELECT attempt('SELECT bulwark.encrypt_text_for(''00000000-0000-4000-8000-000000000b09'', ''x'')');
BEGIN READ ONLY;
SELECT attempt(format('SELECT bulwark.tenant_key_rotate(%L)', id('a')));
COMMIT;

-- rotation: new values under the new key, old ones still open
SET ROLE tenant_key_keys;
SELECT bulwark.tenant_key_rotate(id('a'));
RESET ROLE;
INSERT INTO value SELECT 'second of a', bulwark.encrypt_text_for(id('a'), 'plaintext a again', 'tenant_key');
SELECT * FROM keys WHERE name = 'a' ORDER BY kind, version;
SELECT count(DISTINCT component) FROM bulwark.tenant_keys WHERE tenant = 'tenant-key-a';
BEGIN;
SELECT act('a');
SELECT name, bulwark.decrypt_text(sealed, 'tenant_key') FROM value WHERE name LIKE '% a' ORDER BY 1;
COMMIT;

-- S3: nothing below the minimum version, from the next statement on
SELECT attempt(format('SELECT bulwark.tenant_key_minimum(%L, %s)', id('a'), v)) FROM (VALUES (0), (3), (2)) m (v);
SELECT * FROM keys WHERE name = 'a' AND kind = 'data' ORDER BY version;
BEGIN;
SELECT act('a');
SELECT name, attempt(format('SELECT bulwark.decrypt_text(%L, ''tenant_key'')', sealed)) FROM value WHERE name LIKE '% a' ORDER BY 1;
COMMIT;
SELECT bulwark.tenant_key_minimum(id('a'), 1);
BEGIN;
SELECT act('a');
SELECT name, attempt(format('SELECT bulwark.decrypt_text(%L, ''tenant_key'')', sealed)) FROM value WHERE name LIKE '% a' ORDER BY 1;
COMMIT;

-- index and box keys are rotated by name; the index before is another
BEGIN;
SELECT act('a');
SELECT bulwark.blind_index('x', 'tenant_key') AS index, bulwark.tenant_public_key() AS public \gset
COMMIT;
SELECT bulwark.tenant_key_rotate(id('a'), 'index'), bulwark.tenant_key_rotate(id('a'), 'box');
BEGIN;
SELECT act('a');
SELECT bulwark.blind_index('x', 'tenant_key') = :'index' AS same_index, bulwark.tenant_public_key() = :'public' AS same_public;
COMMIT;
SELECT * FROM keys WHERE name = 'a' ORDER BY kind, version;
SELECT attempt(format('SELECT bulwark.tenant_key_rotate(%L, %L)', id('a'), kind)) FROM (VALUES ('none'), ('d'), (NULL)) k (kind);
SELECT attempt('SELECT bulwark.tenant_key_rotate(gen_random_uuid())');

-- a suspended tenant's keys are of no use until it is resumed
SELECT bulwark.tenant_suspend(id('b'), 'tenant_key');
SELECT attempt(format('SELECT bulwark.encrypt_text_for(%L, ''x'')', id('b')));
SELECT bulwark.tenant_resume(id('b'));
SELECT attempt(format('SELECT length(bulwark.encrypt_text_for(%L, ''x'')::text) > 0', id('b')));

-- S3: wrapped keys swapped, relabelled, altered: detected when they are loaded
CREATE TABLE saved AS TABLE bulwark_internal.tenant_keys;
CREATE PROCEDURE put_back() LANGUAGE sql AS $$
	UPDATE bulwark_internal.tenant_keys k SET wrapped = s.wrapped, component = s.component, state = s.state, key_id = s.key_id
	FROM tenant_key.saved s WHERE (s.tenant_id, s.kind, s.version) = (k.tenant_id, k.kind, k.version)
$$;
CREATE FUNCTION try_both() RETURNS TABLE (name text, seals text, opens text) LANGUAGE plpgsql AS $$
BEGIN
	FOR name IN SELECT v FROM unnest('{b,c}'::text[]) v LOOP
		seals := tenant_key.attempt(format('SELECT length(bulwark.encrypt_text_for(%L, ''x'')::text) > 0', tenant_key.id(name)));
		opens := (SELECT tenant_key.attempt(format('SELECT bulwark.decrypt_text(%L, ''tenant_key'')', v.sealed)) FROM tenant_key.value v WHERE v.name = 'first of ' || try_both.name);
		RETURN NEXT;
	END LOOP;
END
$$;
SELECT name, seals FROM try_both();
UPDATE bulwark_internal.tenant_keys k SET wrapped = o.wrapped FROM bulwark_internal.tenant_keys o
WHERE (k.tenant_id = id('b') AND o.tenant_id = id('c') OR k.tenant_id = id('c') AND o.tenant_id = id('b')) AND k.kind = 'd' AND o.kind = 'd';
SELECT name, seals FROM try_both();
BEGIN;
SELECT act('b');
SELECT * FROM try_both() WHERE name = 'b';
COMMIT;
CALL put_back();
SELECT name, seals FROM try_both();
-- with its component too, which is bound
UPDATE bulwark_internal.tenant_keys k SET wrapped = o.wrapped, component = o.component FROM saved o
WHERE (k.tenant_id = id('b') AND o.tenant_id = id('c') OR k.tenant_id = id('c') AND o.tenant_id = id('b')) AND k.kind = 'd' AND o.kind = 'd';
SELECT name, seals FROM try_both();
CALL put_back();
-- another id for the key, another of the tenant's own versions
UPDATE bulwark_internal.tenant_keys SET key_id = gen_random_uuid() WHERE tenant_id = id('b');
SELECT name, seals FROM try_both() WHERE name = 'b';
CALL put_back();
UPDATE bulwark_internal.tenant_keys k SET wrapped = o.wrapped, component = o.component FROM saved o
WHERE k.tenant_id = id('a') AND o.tenant_id = id('a') AND k.kind = 'd' AND o.kind = 'd' AND k.version = 2 AND o.version = 1;
SELECT attempt(format('SELECT bulwark.encrypt_text_for(%L, ''x'')', id('a')));
CALL put_back();
-- a bit, a byte less, another root key's id
UPDATE bulwark_internal.tenant_keys SET wrapped = set_byte(wrapped, 112, get_byte(wrapped, 112) # 1) WHERE tenant_id = id('b');
SELECT name, seals FROM try_both() WHERE name = 'b';
CALL put_back();
UPDATE bulwark_internal.tenant_keys SET wrapped = substr(wrapped, 1, 112) WHERE tenant_id = id('b');
SELECT name, seals FROM try_both() WHERE name = 'b';
CALL put_back();
UPDATE bulwark_internal.tenant_keys SET wrapped = overlay(wrapped PLACING '\x0011223344556677' FROM 2) WHERE tenant_id = id('b');
SELECT name, seals FROM try_both() WHERE name = 'b';
CALL put_back();
SELECT name, seals FROM try_both();

-- S16: a key id that is forged, cut off, or of a key that somebody put into the table
SELECT encode(decode(translate(substr(sealed::text, 5), '-_', '+/') || repeat('=', (4 - (length(sealed::text) - 4) % 4) % 4), 'base64'), 'hex') AS hex
FROM value WHERE name = 'first of b' \gset
CREATE FUNCTION with_key_id(hex text, id text) RETURNS text LANGUAGE sql
	RETURN tenant_key.attempt(format('SELECT bulwark.decrypt_text(%L::bytea::bulwark.encrypted_text, ''tenant_key'')', '\x' || overlay(hex PLACING id FROM 11 FOR 32)));
BEGIN;
SELECT act('b');
SELECT with_key_id(:'hex', substr(:'hex', 11, 32)) AS its_own;
SELECT with_key_id(:'hex', repeat('0', 32)) AS nobody, with_key_id(:'hex', encode(uuid_send(k.key_id), 'hex')) AS another_tenants
FROM saved k WHERE k.tenant_id = id('c') AND k.kind = 'd';
SELECT with_key_id(:'hex', encode(uuid_send(k.key_id), 'hex')) AS an_index_key FROM saved k WHERE k.tenant_id = id('a') AND k.kind = 'i' LIMIT 1;
SELECT with_key_id(:'hex', '') AS cut_out, with_key_id(left(:'hex', 26), substr(:'hex', 11, 16)) AS cut_off;
COMMIT;
INSERT INTO bulwark_internal.tenant_keys (tenant_id, kind, version, state, key_id, component, provider, location, wrapped)
SELECT tenant_id, kind, 99, 'o', '01234567-89ab-4def-8123-456789abcdef', component, provider, location,
	overlay(wrapped PLACING sha256('imported') FROM length(wrapped) - 31) FROM saved WHERE tenant_id = id('b') AND kind = 'd';
BEGIN;
SELECT act('b');
SELECT with_key_id(:'hex', '0123456789ab4def8123456789abcdef') AS imported;
COMMIT;
-- wrapped by this very root key, for that very row: another key's, so its id is another
UPDATE bulwark_internal.tenant_keys k SET wrapped = s.wrapped FROM saved s
WHERE k.version = 99 AND (s.tenant_id, s.kind) = (id('b'), 'd');
BEGIN;
SELECT act('b');
SELECT with_key_id(:'hex', '0123456789ab4def8123456789abcdef') AS copied;
COMMIT;
DELETE FROM bulwark_internal.tenant_keys WHERE version = 99;
SELECT name, seals FROM try_both();

-- S14: destruction, confirmed by the slug, pending for 7 days and of no use meanwhile
SELECT attempt(format('SELECT bulwark.tenant_key_destroy(%L, %L)', id('c'), confirm))
FROM (VALUES (''), ('tenant-key-b'), ('yes'), ('tenant-key-c  immediately'), (NULL)) c (confirm);
SET ROLE tenant_key_keys;
SELECT r ->> 'state' AS state, r ->> 'tenant' AS tenant, r ->> 'keys' AS keys,
	(r ->> 'due_at')::timestamptz - (r ->> 'requested_at')::timestamptz AS delay, r #>> '{providers,0,answer}' AS database, r #>> '{providers,1,provider}' AS provider,
	r #>> '{providers,1,answer}' AS answer, jsonb_array_length(r -> 'remains') AS remains
FROM bulwark.tenant_key_destroy(id('c'), 'tenant-key-c') r;
RESET ROLE;
SELECT * FROM keys WHERE name = 'c';
BEGIN;
SELECT act('c');
SELECT attempt(format('SELECT bulwark.decrypt_text(%L, ''tenant_key'')', sealed)) FROM value WHERE name = 'first of c';
SELECT attempt('SELECT bulwark.encrypt_text(''x'')'), attempt('SELECT bulwark.blind_index(''x'', ''y'')'), attempt('SELECT bulwark.tenant_public_key()');
COMMIT;
SELECT attempt(format('SELECT bulwark.tenant_key_rotate(%L)', id('c')));
SELECT bulwark.tenant_key_destroy_cancel(id('c'));
SELECT attempt(format('SELECT bulwark.tenant_key_destroy_cancel(%L)', id('c')));
BEGIN;
SELECT act('c');
SELECT attempt(format('SELECT bulwark.decrypt_text(%L, ''tenant_key'')', sealed)) FROM value WHERE name = 'first of c';
COMMIT;
-- at once: the word in the confirmation, or the argument
SELECT r ->> 'state' AS state, r #>> '{providers,0,answer}' AS database, r #>> '{providers,1,answer}' AS answer
FROM bulwark.tenant_key_destroy(id('c'), 'tenant-key-c immediately') r;
SELECT r ->> 'state' AS state FROM bulwark.tenant_key_destroy(id('c'), 'tenant-key-c') r;
SELECT attempt(format('SELECT bulwark.tenant_key_destroy_cancel(%L)', id('c')));
SELECT * FROM keys WHERE name = 'c';
SELECT tenant, requested_by = session_user AS by_us, receipt ->> 'state' AS state FROM bulwark.tenant_key_destructions WHERE tenant_id = id('c');
BEGIN;
SELECT act('c');
SELECT attempt(format('SELECT bulwark.decrypt_text(%L, ''tenant_key'')', sealed)) FROM value WHERE name = 'first of c';
SELECT attempt('SELECT bulwark.encrypt_text(''x'')'), attempt('SELECT bulwark.blind_index(''x'', ''y'')');
COMMIT;
SELECT attempt(format('SELECT bulwark.tenant_key_rotate(%L)', id('c')));
-- S14: an old backup's row does not bring it back
CALL put_back();
DELETE FROM bulwark_internal.tenant_key_destructions WHERE tenant_id = id('c');
SELECT state FROM keys WHERE name = 'c';
BEGIN;
SELECT act('c');
SELECT attempt(format('SELECT bulwark.decrypt_text(%L, ''tenant_key'')', sealed)) FROM value WHERE name = 'first of c';
SELECT attempt('SELECT bulwark.encrypt_text(''x'')'), attempt('SELECT bulwark.blind_index(''x'', ''y'')');
COMMIT;
-- S14: what is rolled back has destroyed nothing; within it the keys are of no use
BEGIN;
SELECT r ->> 'state' AS state FROM bulwark.tenant_key_destroy(id('d'), 'tenant-key-d', immediately => true) r;
SELECT attempt(format('SELECT bulwark.encrypt_text_for(%L, ''x'')', id('d')));
ROLLBACK;
SELECT state FROM keys WHERE name = 'd';
SELECT attempt(format('SELECT bulwark.encrypt_text_for(%L, ''x'') IS NOT NULL', id('d')));
SELECT attempt(format('SELECT bulwark.tenant_key_destroy(%L, ''tenant-key-d lost'')', id('d')));
SELECT r ->> 'state' AS state, r #>> '{providers,1,answer}' AS answer FROM bulwark.tenant_key_destroy(id('d'), 'immediately') r;

-- who may
SET ROLE tenant_key_service;
SELECT attempt('SELECT bulwark.tenant_key_rotate(gen_random_uuid())'), attempt('SELECT bulwark.tenant_key_destroy(gen_random_uuid(), '''')');
SELECT attempt('SELECT bulwark.tenant_key_minimum(gen_random_uuid(), 1)'), attempt('SELECT bulwark.root_key_rotate()');
SET ROLE tenant_key_nobody;
SELECT attempt('SELECT count(*) FROM bulwark.tenant_keys'), attempt('SELECT count(*) FROM bulwark.tenant_key_destructions'), attempt('SELECT bulwark.tenant_key_sweep()'),
	attempt('SELECT bulwark.tenant_key_destroy_cancel(gen_random_uuid())'), attempt('SELECT wrapped FROM bulwark_internal.tenant_keys');
SET ROLE tenant_key_keys;
SELECT count(*) > 0 AS sees FROM bulwark.tenant_keys;
SELECT attempt('SELECT bulwark.root_key_rotate()');
SELECT bulwark.tenant_key_sweep();
RESET ROLE;

-- each act is an entry
SELECT bulwark.ledger_seal() > 0 AS sealed;
SELECT metadata ->> 'operation' AS operation, t.name, metadata ->> 'kind' AS kind, metadata ->> 'version' AS version, metadata ->> 'state' AS state, metadata ->> 'step' AS step
FROM bulwark.ledger l JOIN tenant t ON t.id = l.tenant_id WHERE metadata ->> 'operation' LIKE 'tenant_key%' ORDER BY 1, 2, 3, 4, 5, 6;

\c -
SET client_min_messages = warning;
DROP SCHEMA tenant_key CASCADE;
DROP ROLE tenant_key_keys, tenant_key_service, tenant_key_nobody;
