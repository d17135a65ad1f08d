-- Values: who makes them, who opens them, under which binding, and what is on the
-- record; signatures, blind indexes, and what may not keep a plaintext.
\set VERBOSITY terse
CREATE FUNCTION se_attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE statement INTO result;
	RETURN coalesce(result, 'NULL');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;
CREATE FUNCTION se_plan(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	plan text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
		plan := plan || line;
	END LOOP;
	RETURN plan;
END
$$;
SELECT bulwark.tenant_create('se-a', 'A', id => 'a7000000-0000-4000-8000-000000000001') \gset a_
SELECT bulwark.tenant_create('se-b', 'B', id => 'a7000000-0000-4000-8000-000000000002') \gset b_
SELECT bulwark.role_create(:'a_tenant_create', 'se_searcher', '{data:search}') IS NOT NULL AS made;
SELECT bulwark.principal_create(who || '@se.example', id => format('c7000000-0000-4000-8000-00000000000%s', n)::uuid) IS NOT NULL AS made
	FROM unnest('{boss,editor,reader,searcher,other}'::text[]) WITH ORDINALITY AS w (who, n);
SELECT count(bulwark.membership_grant(p::uuid, t::uuid, r)) FROM (VALUES
	('c7000000-0000-4000-8000-000000000001', :'a_tenant_create', 'tenant_admin'),
	('c7000000-0000-4000-8000-000000000002', :'a_tenant_create', 'editor'),
	('c7000000-0000-4000-8000-000000000003', :'a_tenant_create', 'read_only'),
	('c7000000-0000-4000-8000-000000000004', :'a_tenant_create', 'se_searcher'),
	('c7000000-0000-4000-8000-000000000005', :'b_tenant_create', 'tenant_admin')) AS v (p, t, r);
CREATE ROLE se_backend LOGIN IN ROLE bulwark_impersonator, bulwark_secrets;
CREATE ROLE se_front LOGIN IN ROLE bulwark_impersonator;
CREATE TABLE se_value (name text PRIMARY KEY, s bulwark.secret, t bulwark.encrypted_text, b bulwark.encrypted_bytea, j bulwark.encrypted_jsonb, x bytea);
GRANT ALL ON se_value TO se_backend, se_front;
GRANT EXECUTE ON FUNCTION se_attempt(text), se_plan(text) TO se_backend, se_front;

-- without an identity nothing is made and nothing opened
SELECT se_attempt($$SELECT bulwark.encrypt('x')$$), se_attempt($$SELECT bulwark.decrypt_text(NULL::bulwark.encrypted_text)$$),
	se_attempt($$SELECT bulwark.blind_index('x', 'c')$$), se_attempt($$SELECT bulwark.tenant_public_key()$$);

\c - se_backend
BEGIN;
SELECT bulwark.assume('c7000000-0000-4000-8000-000000000001', 'a7000000-0000-4000-8000-000000000001') IS NOT NULL AS acting;
INSERT INTO se_value VALUES ('a', bulwark.encrypt('sk_live_1', 'se_value.s:a'), bulwark.encrypt_text('Grüße', 'se_value.t:a'),
	bulwark.encrypt_bytea('\x00ff', 'se_value.b:a'), bulwark.encrypt_jsonb('{"iban": "DK50", "n": [1, 2.50, null]}', 'se_value.j:a'),
	bulwark.blind_index('Grüße', 'se_value.t'));
INSERT INTO se_value VALUES ('none', bulwark.encrypt('sk_live_1'), bulwark.encrypt_text(''), bulwark.encrypt_bytea(''), bulwark.encrypt_jsonb('null'), NULL);
INSERT INTO se_value VALUES ('key', bulwark.encrypt('Jefe, what do ya want'), NULL, NULL, NULL, NULL), ('short', bulwark.encrypt('fifteen bytes k'), NULL, NULL, NULL, NULL);
SELECT bulwark.decrypt(s, 'test', 'se_value.s:a'), bulwark.decrypt_text(t, 'se_value.t:a'), bulwark.decrypt_bytea(b, 'se_value.b:a'), bulwark.decrypt_jsonb(j, 'se_value.j:a')
	FROM se_value WHERE name = 'a';
SELECT bulwark.decrypt(s, 'test'), bulwark.decrypt_text(t) = '' AS empty, bulwark.decrypt_bytea(b), bulwark.decrypt_jsonb(j) FROM se_value WHERE name = 'none';

-- S11: NULL is NULL, and no context is not NULL
SELECT bulwark.encrypt(NULL) IS NULL AS encrypt, bulwark.encrypt_text(NULL) IS NULL AS text, bulwark.encrypt_bytea(NULL) IS NULL AS bytea, bulwark.encrypt_jsonb(NULL) IS NULL AS jsonb,
	bulwark.decrypt(NULL, 'test') IS NULL AS decrypt, bulwark.blind_index(NULL, 'c') IS NULL AS blind, bulwark.hmac_sign(NULL, 'x', 'test') IS NULL AS sign,
	bulwark.encrypt_sealed(NULL, 'c') IS NULL AS sealed;
SELECT se_attempt($$SELECT bulwark.encrypt('x', NULL)$$), se_attempt($$SELECT bulwark.blind_index('x', NULL)$$), se_attempt($$SELECT bulwark.decrypt_text(t, NULL) FROM se_value$$);
SELECT se_attempt($$SELECT bulwark.encrypt('x', repeat('c', 1025))$$), se_attempt($$SELECT bulwark.encrypt('x', repeat('c', 1024)) IS NOT NULL$$);

-- S1: another context, another type, altered: one and the same refusal
SELECT se_attempt($$SELECT bulwark.decrypt(s, 'test', 'se_value.s:b') FROM se_value WHERE name = 'a'$$) AS refusal \gset
SELECT :'refusal' AS refusal;
SELECT what, se_attempt(statement) = :'refusal' AS same FROM (VALUES
	('no context', $$SELECT bulwark.decrypt(s, 'test') FROM se_value WHERE name = 'a'$$),
	('a context where there was none', $$SELECT bulwark.decrypt(s, 'test', 'c') FROM se_value WHERE name = 'none'$$),
	('a credential as text', $$SELECT bulwark.decrypt_text(s::bytea::bulwark.encrypted_text, 'se_value.s:a') FROM se_value WHERE name = 'a'$$),
	('text as a credential', $$SELECT bulwark.decrypt(t::bytea::bulwark.secret, 'test', 'se_value.t:a') FROM se_value WHERE name = 'a'$$),
	('text as bytes', $$SELECT bulwark.decrypt_bytea(t::bytea::bulwark.encrypted_bytea, 'se_value.t:a') FROM se_value WHERE name = 'a'$$),
	('text as a document', $$SELECT bulwark.decrypt_jsonb(t::bytea::bulwark.encrypted_jsonb, 'se_value.t:a') FROM se_value WHERE name = 'a'$$),
	('altered', $$SELECT bulwark.decrypt(set_byte(s::bytea, 60, get_byte(s::bytea, 60) # 1)::bulwark.secret, 'test', 'se_value.s:a') FROM se_value WHERE name = 'a'$$),
	('S16: a key id that is nobody''s', $$SELECT bulwark.decrypt(set_byte(s::bytea, 9, get_byte(s::bytea, 9) # 1)::bulwark.secret, 'test', 'se_value.s:a') FROM se_value WHERE name = 'a'$$),
	('S16: the flag of a context taken away', $$SELECT bulwark.decrypt(set_byte(s::bytea, 4, get_byte(s::bytea, 4) & 1)::bulwark.secret, 'test') FROM se_value WHERE name = 'a'$$),
	('S16: the nonce of another value', $$SELECT bulwark.decrypt((substr(v.s::bytea, 1, 21) || substr(w.s::bytea, 22, 24) || substr(v.s::bytea, 46))::bulwark.secret, 'test', 'se_value.s:a')
		FROM se_value v, se_value w WHERE v.name = 'a' AND w.name = 'none'$$)) AS t (what, statement);
-- S16: without a context it opens wherever it is moved within the tenant
UPDATE se_value SET s = (SELECT s FROM se_value WHERE name = 'none') WHERE name = 'a' RETURNING bulwark.decrypt(s, 'test') AS moved;
ROLLBACK;

BEGIN;
SELECT bulwark.assume('c7000000-0000-4000-8000-000000000001', 'a7000000-0000-4000-8000-000000000001') IS NOT NULL AS acting;
INSERT INTO se_value VALUES ('a', bulwark.encrypt('sk_live_1', 'se_value.s:a'), bulwark.encrypt_text('Grüße', 'se_value.t:a'), NULL, NULL, bulwark.blind_index('Grüße', 'se_value.t'));
INSERT INTO se_value (name, s) VALUES ('key', bulwark.encrypt('Jefe, what do ya want')), ('short', bulwark.encrypt('fifteen bytes k')), ('none', bulwark.encrypt('none'));
COMMIT;

-- S1: another tenant's
BEGIN;
SELECT bulwark.assume('c7000000-0000-4000-8000-000000000005', 'a7000000-0000-4000-8000-000000000002') IS NOT NULL AS acting;
SELECT se_attempt($$SELECT bulwark.decrypt(s, 'test', 'se_value.s:a') FROM se_value WHERE name = 'a'$$) = :'refusal' AS same,
	se_attempt($$SELECT bulwark.decrypt_text(t, 'se_value.t:a') FROM se_value WHERE name = 'a'$$) = :'refusal' AS same,
	se_attempt($$SELECT bulwark.hmac_sign(s, 'x', 'test') FROM se_value WHERE name = 'key'$$) = :'refusal' AS same;
SELECT bulwark.blind_index('Grüße', 'se_value.t') <> x AS unrelated FROM se_value WHERE name = 'a';
COMMIT;

-- S4: a fresh nonce for each value, in one statement, in an UPDATE, in a query
BEGIN;
SELECT bulwark.assume('c7000000-0000-4000-8000-000000000001', 'a7000000-0000-4000-8000-000000000001') IS NOT NULL AS acting;
SELECT count(*), count(DISTINCT substr(v::bytea, 22, 24)) AS nonces, count(DISTINCT v::bytea) AS values
	FROM (SELECT bulwark.encrypt_text('same') AS v FROM generate_series(1, 2000)) AS q;
UPDATE se_value SET t = bulwark.encrypt_text('same');
SELECT count(DISTINCT substr(t::bytea, 22, 24)) = count(*) AS fresh FROM se_value;
INSERT INTO se_value (name, s) VALUES ('r1', bulwark.encrypt('same')), ('r2', bulwark.encrypt('same')), ('r3', bulwark.encrypt('same')), ('r4', bulwark.encrypt('same'));
INSERT INTO se_value (name, s) SELECT 'q' || n, bulwark.encrypt('same') FROM generate_series(1, 300) n;
SELECT count(*), count(DISTINCT substr(s::bytea, 22, 24)) AS nonces FROM se_value WHERE name ~ '^[qr][0-9]';
-- S4: where the rest of the plan is a worker's, values are the leader's
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SELECT se_plan('SELECT count(*) FROM se_value') ~ 'Parallel Seq Scan' AS could_be_parallel,
	se_plan('SELECT bulwark.encrypt(name) FROM se_value') ~ 'Parallel|Gather' AS is_parallel;
SELECT count(*) = count(DISTINCT substr(v::bytea, 22, 24)) AS fresh FROM (SELECT bulwark.encrypt('same') AS v FROM se_value) AS q;
PREPARE se_same AS SELECT bulwark.encrypt('same')::bytea AS v;
EXECUTE se_same \gset first_
EXECUTE se_same \gset second_
SELECT :'first_v' <> :'second_v' AS fresh;
ROLLBACK;

-- lengths: credentials are hidden among multiples of 64, data is not
BEGIN;
SELECT bulwark.assume('c7000000-0000-4000-8000-000000000001', 'a7000000-0000-4000-8000-000000000001') IS NOT NULL AS acting;
SELECT count(DISTINCT length(bulwark.encrypt(repeat('x', n))::bytea)) AS secret, count(DISTINCT length(bulwark.encrypt_text(repeat('x', n))::bytea)) AS text FROM generate_series(1, 50) n;
SELECT n, length(bulwark.decrypt_text(bulwark.encrypt_text(repeat('x', n), 'c'), 'c')) = n AS whole, length(bulwark.decrypt(bulwark.encrypt(repeat('x', n), 'c'), 'test', 'c')) = n AS whole
	FROM unnest('{0,1,59,60,61,64,127,128,8191,1000000}'::int[]) n;
SHOW bulwark.secret_padding;
SHOW bulwark.data_padding;
SHOW bulwark.sealed_lifetime;
COMMIT;

-- no tenant's role opens a credential, and data needs data:decrypt
\c - se_front
\set try 'SELECT se_attempt($$SELECT bulwark.decrypt(s, \'test\', \'se_value.s:a\') FROM se_value WHERE name = \'a\'$$) AS secret, se_attempt($$SELECT bulwark.decrypt_text(t, \'se_value.t:a\') FROM se_value WHERE name = \'a\'$$) AS data, se_attempt($$SELECT bulwark.blind_index(\'Grüße\', \'se_value.t\') = x FROM se_value WHERE name = \'a\'$$) AS index, se_attempt($$SELECT bulwark.encrypt_text(\'x\') IS NOT NULL$$) AS encrypt, se_attempt($$SELECT bulwark.hmac_sign(s, \'x\', \'test\') FROM se_value WHERE name = \'key\'$$) AS sign, se_attempt($$SELECT bulwark.encrypt_for(\'a7000000-0000-4000-8000-000000000001\', \'x\')$$) AS encrypt_for'
\x on
BEGIN;
SELECT bulwark.assume('c7000000-0000-4000-8000-000000000001', 'a7000000-0000-4000-8000-000000000001') -> 'roles' AS roles;
:try;
ROLLBACK;
BEGIN;
SELECT bulwark.assume('c7000000-0000-4000-8000-000000000002', 'a7000000-0000-4000-8000-000000000001') -> 'roles' AS roles;
:try;
ROLLBACK;
BEGIN;
SELECT bulwark.assume('c7000000-0000-4000-8000-000000000003', 'a7000000-0000-4000-8000-000000000001') -> 'roles' AS roles;
:try;
ROLLBACK;
BEGIN;
SELECT bulwark.assume('c7000000-0000-4000-8000-000000000004', 'a7000000-0000-4000-8000-000000000001') -> 'roles' AS roles;
:try;
ROLLBACK;
\x off

-- a use needs a purpose, and is an entry that outlives the caller's rollback
\c - se_backend
BEGIN;
SELECT bulwark.assume('c7000000-0000-4000-8000-000000000003', 'a7000000-0000-4000-8000-000000000001') IS NOT NULL AS acting;
SELECT se_attempt(format('SELECT bulwark.decrypt(s, %L, ''se_value.s:a'') FROM se_value WHERE name = ''a''', purpose)) AS refused FROM unnest(ARRAY['', '  ', NULL, repeat('x', 1001)]) purpose;
SELECT bulwark.decrypt(s, 'send the invoice', 'se_value.s:a') AS a_reader_for_whom_the_back_end_acts, left(encode(sha256(s::bytea), 'hex'), 32) AS name FROM se_value WHERE name = 'a' \gset
SELECT :'a_reader_for_whom_the_back_end_acts' AS opened;
SELECT encode(bulwark.hmac_sign(s, 'what do ya want for nothing?', 'sign'), 'hex') = encode(bulwark.hmac_sign(s, 'what do ya want for nothing?', 'sign', 'sha256'), 'hex') AS by_default,
	length(bulwark.hmac_sign(s, 'x', 'sign', 'sha384')) AS sha384, length(bulwark.hmac_sign(s, 'x', 'sign', 'sha512')) AS sha512,
	bulwark.hmac_sign(s, '', 'sign') = bulwark.hmac_sign(s, '', 'sign') AS of_nothing FROM se_value WHERE name = 'key';
-- RFC 4231, test case 6 (a key of 131 bytes, here 0x2b, which is text) by an HMAC of its own
CREATE FUNCTION pg_temp.hmac(key bytea, payload bytea) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	inner_pad bytea := '';
	outer_pad bytea := '';
BEGIN
	IF length(key) > 64 THEN key := sha256(key); END IF;
	FOR i IN 0..63 LOOP
		inner_pad := inner_pad || set_byte('\x00', 0, CASE WHEN i < length(key) THEN get_byte(key, i) ELSE 0 END # 54);
		outer_pad := outer_pad || set_byte('\x00', 0, CASE WHEN i < length(key) THEN get_byte(key, i) ELSE 0 END # 92);
	END LOOP;
	RETURN sha256(outer_pad || sha256(inner_pad || payload));
END
$$;
SELECT n, bulwark.hmac_sign(bulwark.encrypt(repeat('+', n)), 'Test Using Larger Than Block-Size Key', 'sign') = pg_temp.hmac(convert_to(repeat('+', n), 'UTF8'), 'Test Using Larger Than Block-Size Key') AS same
	FROM unnest('{16,63,64,65,131}'::int[]) n;
-- S17: short keys, other algorithms: refused, and each attempt an entry
SELECT se_attempt($$SELECT bulwark.hmac_sign(s, 'x', 'sign') FROM se_value WHERE name = 'short'$$) AS short_key;
SELECT a AS algorithm, se_attempt(format('SELECT bulwark.hmac_sign(s, ''x'', ''sign'', %L) FROM se_value WHERE name = ''key''', a)) AS refused FROM unnest('{sha1,SHA256,md5,sha224,"",NULL}'::text[]) a;
ROLLBACK;
\c - postgres
SELECT action, entity_type, entity_id = :'name' AS named, tenant_id = :'a_tenant_create' AS of_its_tenant, actor_email, assumed_by, db_role, metadata FROM bulwark.ledger
	WHERE action = 'decrypt' AND metadata @> '{"purpose": "send the invoice"}';
SELECT metadata ->> 'operation' AS operation, count(*) FROM bulwark.ledger WHERE action = 'decrypt' AND metadata @> '{"purpose": "sign"}' GROUP BY 1;
-- S17: what a tenant's role tried was denied, on the record
SELECT count(*) > 0 AS denied, bool_and(db_role = 'se_front') AS to_it FROM bulwark.ledger
	WHERE action = 'denied' AND tenant_id = :'a_tenant_create' AND entity_type = 'public.se_value';
SELECT count(*) AS entries_with_a_plaintext FROM bulwark.ledger e WHERE e::text ~ 'sk_live|Jefe|Gr[uü]';

-- a back end for a tenant that it names, within its scope
SELECT bulwark.service_scope('se_backend', ARRAY['a7000000-0000-4000-8000-000000000001'::uuid]);
\c - se_backend
SELECT se_attempt($$SELECT bulwark.encrypt_for('a7000000-0000-4000-8000-000000000001', 'x', 'c') IS NOT NULL$$) AS secret,
	se_attempt($$SELECT bulwark.encrypt_text_for('a7000000-0000-4000-8000-000000000001', 'x') IS NOT NULL$$) AS text,
	se_attempt($$SELECT bulwark.encrypt_bytea_for('a7000000-0000-4000-8000-000000000001', '\x00', 'c') IS NOT NULL$$) AS bytea,
	se_attempt($$SELECT bulwark.encrypt_jsonb_for('a7000000-0000-4000-8000-000000000001', '[]', 'c') IS NOT NULL$$) AS jsonb;
SELECT se_attempt($$SELECT bulwark.encrypt_for('a7000000-0000-4000-8000-000000000002', 'x')$$) AS outside, se_attempt($$SELECT bulwark.encrypt_for(NULL, 'x')$$) AS nobody;
SELECT bulwark.encrypt_for('a7000000-0000-4000-8000-000000000001', 'for later', 'c') AS v \gset
BEGIN;
SELECT bulwark.assume('c7000000-0000-4000-8000-000000000001', 'a7000000-0000-4000-8000-000000000001') IS NOT NULL AS acting;
SELECT bulwark.decrypt(:'v', 'test', 'c');
-- the login decides, whoever owns the function
CREATE FUNCTION pg_temp.mine(v bulwark.secret) RETURNS text LANGUAGE sql AS $$ SELECT bulwark.decrypt(v, 'test', 'c') $$;
SELECT pg_temp.mine(:'v');
COMMIT;

-- S11: blind indexes: composed and decomposed are the same, cases are not
BEGIN;
SELECT bulwark.assume('c7000000-0000-4000-8000-000000000004', 'a7000000-0000-4000-8000-000000000001') IS NOT NULL AS acting;
SELECT bulwark.blind_index(U&'Gr\00FC\00DFe', 'c') = bulwark.blind_index(U&'Gru\0308\00DFe', 'c') AS nfc_and_nfd,
	bulwark.blind_index(U&'\212B', 'c') = bulwark.blind_index(U&'A\030A', 'c') AS angstrom,
	bulwark.blind_index(U&'\D55C', 'c') = bulwark.blind_index(U&'\1112\1161\11AB', 'c') AS hangul,
	bulwark.blind_index(U&'\FB01', 'c') <> bulwark.blind_index('fi', 'c') AS ligature_is_kept,
	bulwark.blind_index('a', 'c') <> bulwark.blind_index('A', 'c') AS case_is_kept,
	bulwark.blind_index('a', 'bc') <> bulwark.blind_index('ca', 'b') AS context_is_apart,
	bulwark.blind_index('a', '') <> bulwark.blind_index('a', 'c') AS context_counts, length(bulwark.blind_index('', 'c'));
SELECT bulwark.blind_index(repeat(U&'e\0301', 1000), 'c') = bulwark.blind_index(repeat(U&'\00E9', 1000), 'c') AS long_too;
-- S17: a long text is composed in pieces, as it would be whole: letters, marks of every kind, jamo, and what does not stay as it is
SELECT setseed(0.5);
SELECT count(*), count(*) FILTER (WHERE t <> normalize(t, NFC)) > 190 AS composed, bool_and(bulwark.blind_index(t, 'c') = bulwark.blind_index(normalize(t, NFC), 'c')) AS same
FROM (SELECT string_agg(substr(pool, 1 + floor(random() * length(pool))::int, 1), '') FROM generate_series(1, 200) n,
	(VALUES (U&'abeo \00E9\1E69\4E00\AC00\0301\0323\0307\0344\0345\0360\035D\1DCD\05B0\05BC\0F71\0F72\0F73\0F81\0958\212B\F900\FB2C\1100\1161\11AB\AC00\11A8\+01D160\+01D16D\093C\09C7\09BE')) p (pool),
	generate_series(1, 1000) GROUP BY n) r (t);
SELECT se_attempt($$SELECT bulwark.blind_index('e' || repeat(U&'\0301\0323', 127), 'c') IS NOT NULL$$), se_attempt($$SELECT bulwark.blind_index('e' || repeat(U&'\0301\0323', 128), 'c')$$),
	se_attempt($$SELECT bulwark.blind_index(repeat(U&'\0301', 25000) || repeat(U&'\0323', 25000), 'c')$$);
-- S11: characters that do not stay as they are and do not combine with those before are text as any other, however many in a row
SELECT to_hex(ascii(c)) AS c, bool_and(bulwark.blind_index(repeat(c, n), 'c') = bulwark.blind_index(normalize(repeat(c, n), NFC), 'c')) AS same
FROM unnest(ARRAY[U&'\F900', U&'\212B', U&'\0958', U&'\FB1D', U&'\+01D15E', U&'\AC01', U&'\0374', U&'\037E']) c, unnest(ARRAY[255, 256, 257, 300, 1000]) n GROUP BY c ORDER BY ascii(c);
-- S17: it can be cancelled
SET LOCAL statement_timeout = '200ms';
SAVEPOINT s;
SELECT bulwark.blind_index(repeat('e' || repeat(U&'\0301', 100) || repeat(U&'\0323', 100), 40000), 'c');
ROLLBACK TO s;
RESET statement_timeout;
SELECT name FROM se_value WHERE x = bulwark.blind_index('Grüße', 'se_value.t');
COMMIT;

-- volatility and parallel safety
\c - postgres
SELECT proname, provolatile, proparallel, proisstrict FROM pg_proc WHERE pronamespace = 'bulwark'::regnamespace AND proname <> 'encrypt_column' AND proname ~ '^(en|de)crypt|^hmac_|^blind_|^tenant_public_key' ORDER BY 1;

SELECT bulwark.service_scope('se_backend', NULL);
DROP TABLE se_value;
DROP FUNCTION se_attempt(text), se_plan(text);
DROP ROLE se_backend, se_front;
