-- The encrypted types: ciphertext in and out, and nothing else, by whatever way.
-- Errors show no input.
\set VERBOSITY terse
SELECT bulwark.tenant_create('st-a', 'A', id => 'a6000000-0000-4000-8000-000000000001') \gset a_
SELECT bulwark.membership_grant(bulwark.principal_create('boss@st.example', id => 'c6000000-0000-4000-8000-000000000001'),
	:'a_tenant_create', 'tenant_admin') IS NOT NULL AS made;
CREATE FUNCTION st_sqlstate_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || CASE WHEN statement ~ 'canary' AND SQLERRM ~ 'canary' THEN ' and it shows the input' ELSE '' END;
END
$$;

-- the types as the catalog has them
SELECT typname, typlen, typbyval, typalign, typstorage, typcategory, typispreferred, typmodin::text, typcollation, typdelim
	FROM pg_type WHERE typnamespace = 'bulwark'::regnamespace AND typtype = 'b' AND typelem = 0 ORDER BY 1;
SELECT count(*) AS operator_classes FROM pg_opclass c JOIN pg_type t ON t.oid IN (c.opcintype, c.opckeytype) WHERE t.typnamespace = 'bulwark'::regnamespace AND t.typtype = 'b';
SELECT count(*) AS operators FROM pg_operator o JOIN pg_type t ON t.oid IN (o.oprleft, o.oprright) WHERE t.typnamespace = 'bulwark'::regnamespace;
SELECT castsource::regtype, casttarget::regtype, castcontext, castmethod FROM pg_cast c JOIN pg_type t ON t.oid IN (c.castsource, c.casttarget)
	WHERE t.typnamespace = 'bulwark'::regnamespace ORDER BY 1::text, 2::text;

CREATE TABLE st_value (id int PRIMARY KEY, s bulwark.secret, t bulwark.encrypted_text, b bulwark.encrypted_bytea, j bulwark.encrypted_jsonb);
BEGIN;
SELECT bulwark.assume('c6000000-0000-4000-8000-000000000001', :'a_tenant_create') IS NOT NULL AS acting;
INSERT INTO st_value VALUES
	(1, bulwark.encrypt('one', 'c'), bulwark.encrypt_text('one', 'c'), bulwark.encrypt_bytea('\x0001', 'c'), bulwark.encrypt_jsonb('{"n": 1}', 'c')),
	(2, bulwark.encrypt(repeat('x', 100000), 'c'), NULL, NULL, NULL);
COMMIT;

-- S5: text, binary and bytea are the same envelope, and come back as they went
SELECT id, left(s::text, 4) AS prefix, s::text ~ '^bw1:[A-Za-z0-9_-]+$' AS base64url, substr(s::bytea, 1, 2) AS magic,
	(s::text)::bulwark.secret::bytea = s::bytea AS text_round_trip, (s::bytea)::bulwark.secret::text = s::text AS bytea_round_trip
	FROM st_value ORDER BY id;
SELECT length(s::bytea) AS one, octet_length(t::bytea) AS unpadded FROM st_value WHERE id = 1;
CREATE TABLE st_copy (LIKE st_value);
\getenv builddir PG_ABS_BUILDDIR
\set file :builddir '/results/st_value'
COPY st_value TO :'file';
COPY st_copy FROM :'file';
COPY st_value TO :'file' (FORMAT binary);
COPY st_copy FROM :'file' (FORMAT binary);
COPY st_value TO :'file' (FORMAT csv);
COPY st_copy FROM :'file' (FORMAT csv);
SELECT c.id, count(*) AS copies, bool_and((v.s::bytea, v.t::bytea, v.b::bytea, v.j::bytea) IS NOT DISTINCT FROM (c.s::bytea, c.t::bytea, c.b::bytea, c.j::bytea)) AS identical
	FROM st_copy c JOIN st_value v USING (id) GROUP BY c.id ORDER BY c.id;

-- S5: plaintext is no value, and is not shown
INSERT INTO st_value (id, s) VALUES (3, 'canary');
INSERT INTO st_value (id, t) VALUES (3, 'canary'), (4, NULL);
UPDATE st_value SET j = '{"canary": 1}' WHERE id = 1;
SELECT 'canary'::text::bulwark.encrypted_text;
SELECT 'canary'::bytea::bulwark.encrypted_bytea;
SELECT ''::bulwark.secret;
SELECT 'bw1:'::bulwark.secret;
\set VERBOSITY default
COPY st_value (id, s) FROM stdin;
5	canary
\.
COPY st_value (id, t) FROM stdin (FORMAT csv);
5,"canary, long enough to be a password"
\.
\set VERBOSITY terse
SELECT count(*) AS still FROM st_value;
SELECT t AS typed, st_sqlstate_of(format('SELECT %L::bulwark.%I', 'canary', t)) AS text, st_sqlstate_of(format('SELECT %L::bytea::bulwark.%I', 'canary', t)) AS bytea
	FROM unnest('{secret,encrypted_text,encrypted_bytea,encrypted_jsonb}'::text[]) t;

-- S2: cut at every length, every byte changed, unknown version, suite and flags
BEGIN;
SELECT bulwark.assume('c6000000-0000-4000-8000-000000000001', :'a_tenant_create') IS NOT NULL AS acting;
SELECT t::bytea AS envelope FROM st_value WHERE id = 1 \gset
CREATE FUNCTION st_outcome(value bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN bulwark.decrypt_text(value::bulwark.encrypted_text, 'c');
EXCEPTION WHEN invalid_text_representation THEN RETURN 'no envelope';
	WHEN invalid_parameter_value THEN RETURN SQLERRM;
END
$$;
SELECT st_outcome(:'envelope');
SELECT st_outcome(substr(:'envelope'::bytea, 1, n)), min(n), max(n), count(*) FROM generate_series(0, length(:'envelope'::bytea) - 1) n GROUP BY 1 ORDER BY 2;
SELECT st_outcome(set_byte(:'envelope'::bytea, n, get_byte(:'envelope'::bytea, n) # bit)), min(n), max(n), count(*)
	FROM generate_series(0, length(:'envelope'::bytea) - 1) n, unnest('{1,2,4,8,16,32,64,128}'::int[]) bit GROUP BY 1 ORDER BY 2;
SELECT st_outcome(:'envelope'::bytea || '\x00');
SELECT count(*) AS bytes, st_outcome(set_byte(:'envelope'::bytea, place, value)) FROM (VALUES (2), (3), (4)) AS p (place), generate_series(0, 255) value
	WHERE value <> get_byte(:'envelope'::bytea, place) GROUP BY 2 ORDER BY 2;
COMMIT;

-- text forms that are not the one form
SELECT s AS form FROM st_value WHERE id = 1 \gset
SELECT what, st_sqlstate_of(format('SELECT %L::bulwark.secret', form)) FROM (VALUES
	('as it is', :'form'), ('upper case', 'BW1:' || substr(:'form', 5)), ('padded', :'form' || '='), ('space before', ' ' || :'form'),
	('space behind', :'form' || ' '), ('newline', :'form' || E'\n'), ('base64', translate(:'form', '-_', '+/')),
	('twice', :'form' || :'form'), ('hex', encode((:'form'::bulwark.secret)::bytea, 'hex')), ('bytea', (:'form'::bulwark.secret)::bytea::text),
	('a bit set in the tail', left(:'form', -1) || translate(right(:'form', 1), 'AEIMQUYcgkosw048', 'BFJNRVZdhlptx159'))) AS f (what, form)
	WHERE what <> 'a bit set in the tail' OR length(:'form') % 4 <> 0;

-- not compared, ordered, grouped, hashed or indexed
SELECT st_sqlstate_of(statement), statement FROM unnest(ARRAY[
	'SELECT FROM st_value a JOIN st_value b ON a.s = b.s', 'SELECT s FROM st_value ORDER BY s', 'SELECT DISTINCT s FROM st_value',
	'SELECT s FROM st_value GROUP BY s', 'SELECT s FROM st_value UNION SELECT s FROM st_value', 'CREATE INDEX ON st_value (s)',
	'CREATE INDEX ON st_value USING hash (s)', 'CREATE TABLE st_key (s bulwark.secret PRIMARY KEY)', 'SELECT s::bulwark.secret(10) FROM st_value',
	'SELECT s || s FROM st_value', 'SELECT length(s) FROM st_value', 'SELECT s::bulwark.encrypted_text FROM st_value',
	'UPDATE st_value SET t = s', 'UPDATE st_value SET t = j', 'SELECT max(s) FROM st_value']) statement;

-- statistics know nothing of it but width and NULLs
ANALYZE st_value;
SELECT attname, null_frac, n_distinct, most_common_vals, histogram_bounds, correlation FROM pg_stats WHERE tablename = 'st_value' AND attname <> 'id' ORDER BY attname;

-- rows, arrays, domains and JSON carry it as ciphertext
SELECT row_to_json(v)::jsonb -> 's' = to_jsonb(s::text) AS json FROM st_value v WHERE id = 1;
CREATE DOMAIN st_domain AS bulwark.secret NOT NULL;
SELECT (ARRAY[s, NULL])[1]::st_domain::bulwark.secret::bytea = s::bytea AS through_a_domain FROM st_value WHERE id = 1;
DROP TABLE st_value, st_copy;
DROP DOMAIN st_domain;
DROP FUNCTION st_sqlstate_of(text), st_outcome(bytea);
