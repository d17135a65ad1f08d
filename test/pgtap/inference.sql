-- What one can learn of hidden rows without seeing them: from functions and
-- operators that tell their arguments, from errors, from statistics, from plans.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;
SET bulwark.new_tables = ignore;

SELECT no_plan();

CREATE ROLE pgtap_inference_app LOGIN IN ROLE bulwark_app;
CREATE TABLE thing (name text PRIMARY KEY, id uuid NOT NULL);
CREATE FUNCTION the(name text) RETURNS uuid LANGUAGE sql STABLE AS 'SELECT id FROM public.thing t WHERE t.name = $1';
INSERT INTO thing SELECT 'a', bulwark.tenant_create('a', 'A', '1');
INSERT INTO thing SELECT 'b', bulwark.tenant_create('b', 'B', '2');
INSERT INTO thing SELECT 'north', bulwark.affiliation_create(the('a'), 'north', 'North', '10');
INSERT INTO thing SELECT name, bulwark.principal_create(name || '@example.org') FROM unnest('{root,guest}'::text[]) name;
SELECT bulwark.membership_grant(the('root'), the('a'), 'tenant_admin'), bulwark.membership_grant(the('guest'), the('a'), 'admin', the('north')) \g /dev/null

-- Ids: tens are north's, twenties of another affiliation, forties tenant b's.
CREATE TABLE doc (id int PRIMARY KEY, tenant int, place int, secret text UNIQUE, size int, other int);
INSERT INTO doc SELECT id, CASE WHEN id < 40 THEN 1 ELSE 2 END, id / 10 * 10, 'secret ' || id, id, id
	FROM unnest('{10,11,20,21,40,41}'::int[]) id;
CREATE TABLE page (id int PRIMARY KEY, doc_id int REFERENCES doc, secret text);
INSERT INTO page SELECT id, id, 'page ' || id FROM doc;
CREATE TABLE stamp (id int PRIMARY KEY, doc_id int REFERENCES doc, secret text);
CREATE TABLE event (id int, tenant int, place int, secret text) PARTITION BY RANGE (id);
CREATE TABLE event_low PARTITION OF event FOR VALUES FROM (0) TO (30);
CREATE TABLE event_high PARTITION OF event FOR VALUES FROM (30) TO (100);
INSERT INTO event SELECT id, tenant, place, 'event ' || id FROM doc;
SELECT bulwark.protect('doc', 'tenant', 'place'), bulwark.protect('page', parent => 'doc'),
	bulwark.protect('stamp', parent => 'doc', materialize => true), bulwark.protect('event', 'tenant', 'place') \g /dev/null
INSERT INTO stamp SELECT id, id, 'stamp ' || id FROM doc;
CREATE INDEX ON doc (tenant, place);
CREATE STATISTICS doc_statistics (ndistinct, dependencies, mcv) ON size, other FROM doc;
CREATE STATISTICS doc_expression ON (size + other) FROM doc;
ANALYZE doc, page, stamp, event;
CREATE VIEW invoker WITH (security_invoker) AS SELECT * FROM doc;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO pgtap_inference_app;

-- I29: cheap, and tells each argument that it is given.
CREATE TABLE told (value text);
GRANT INSERT, SELECT ON told TO PUBLIC;
CREATE FUNCTION tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS 'BEGIN INSERT INTO told VALUES ($1); RETURN true; END';
CREATE FUNCTION tell_two(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS 'BEGIN INSERT INTO told VALUES ($1); RETURN $1 < $2; END';
CREATE OPERATOR <<<< (LEFTARG = text, RIGHTARG = text, FUNCTION = tell_two);

-- What a statement told or returned; then it is undone.
CREATE FUNCTION learnt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
	detail text;
BEGIN
	EXECUTE statement INTO result;
	SELECT coalesce(nullif(string_agg(DISTINCT value, ', ' ORDER BY value), ''), result, 'nothing') INTO result FROM told;
	RAISE EXCEPTION USING ERRCODE = 'ZZ000';
EXCEPTION
	WHEN SQLSTATE 'ZZ000' THEN
		RETURN result;
	WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
		RETURN SQLSTATE || ' ' || SQLERRM || coalesce(' ' || nullif(detail, ''), '');
END
$$;

CREATE TABLE attempts (n int GENERATED ALWAYS AS IDENTITY, statement text, root text, guest text, what text);
GRANT SELECT ON attempts TO PUBLIC;
INSERT INTO attempts (what, statement, root, guest)
SELECT 'I29: ' || what || ' of ' || source, replace(replace(statement, '#', source), '@', label),
	format('%1$s 10, %1$s 11, %1$s 20, %1$s 21', label), format('%1$s 10, %1$s 11', label)
FROM (VALUES ('doc', 'secret'), ('page', 'page'), ('stamp', 'stamp'), ('event', 'event'), ('event_low', 'event'), ('invoker', 'secret')) AS s (source, label),
	(VALUES ('a cheap function in WHERE', 'SELECT count(*) FROM # WHERE tell(secret)'),
		('a cheap operator in WHERE', 'SELECT count(*) FROM # WHERE secret <<<< ''x'''),
		('a cheap function before others', 'SELECT count(*) FROM # WHERE tell(secret) AND id > 0 AND secret LIKE ''@%'''),
		('a cheap function in JOIN', 'SELECT count(*) FROM # a JOIN # b ON a.id = b.id AND tell_two(a.secret, b.secret)'),
		('a cheap function in CASE', 'SELECT count(CASE WHEN tell(secret) THEN 1 END) FROM #'),
		('a cheap function in ORDER BY', 'SELECT min(id) FROM (SELECT id FROM # ORDER BY tell(secret)) x'),
		('a cheap function in a lateral join', 'SELECT count(*) FROM # CROSS JOIN LATERAL (SELECT tell(secret) OFFSET 0) x'),
		('a cheap function in UPDATE', 'WITH u AS (UPDATE # SET id = id WHERE tell(secret) RETURNING 1) SELECT count(*) FROM u'),
		('a cheap function in DELETE', 'WITH u AS (DELETE FROM # WHERE tell(secret) RETURNING 1) SELECT count(*) FROM u')) AS v (what, statement)
WHERE source NOT IN ('doc', 'invoker') OR what !~ 'DELETE';	-- children refer to it
INSERT INTO attempts (what, statement, root, guest) VALUES
	('I29: an error on another tenant''s row', 'SELECT sum(1 / (size - 40)) FROM doc WHERE id >= 40', 'nothing', 'nothing'),
	('I29: in WHERE', 'SELECT count(*) FROM doc WHERE 1 / (size - 40) > -5', '4', '2'),
	('I29: on another affiliation''s row', 'SELECT count(*) FROM doc WHERE 1 / (size - 20) > -5', '22012 division by zero', '2'),
	('I29: on one''s own', 'SELECT count(*) FROM doc WHERE 1 / (size - 10) > -5', '22012 division by zero', '22012 division by zero'),
	('I29: a bad cast of another tenant''s row', 'SELECT count(*) FROM doc WHERE (CASE WHEN id = 40 THEN secret ELSE ''0'' END)::int = 0', '4', '2'),
	('I29: a bad cast of a child of another tenant''s row', 'SELECT count(*) FROM page WHERE (CASE WHEN id = 40 THEN secret ELSE ''0'' END)::int = 0', '4', '2'),
	('I29: a bad cast of one''s own', 'SELECT count(*) FROM doc WHERE (CASE WHEN id = 10 THEN secret ELSE ''0'' END)::int = 0',
		'22P02 invalid input syntax for type integer: "secret 10"', '22P02 invalid input syntax for type integer: "secret 10"'),
	-- I25: what is refused says that a value is taken, and nothing of whose it is
	('I25: a key of another tenant''s row, inserted', 'INSERT INTO doc (id, place) VALUES (40, 10)',
		'23505 duplicate key value violates unique constraint "doc_pkey"', '23505 duplicate key value violates unique constraint "doc_pkey"'),
	('I25: a key of another affiliation''s row, updated', 'UPDATE doc SET secret = ''secret 20'' WHERE id = 10',
		'23505 duplicate key value violates unique constraint "doc_secret_key"', '23505 duplicate key value violates unique constraint "doc_secret_key"'),
	('I25: a conflict that would show the row', 'INSERT INTO doc (id, place) VALUES (40, 10) ON CONFLICT (id) DO UPDATE SET size = 0 RETURNING secret',
		'42501 new row violates row-level security policy "bulwark_tenant" (USING expression) for table "doc"', '42501 new row violates row-level security policy "bulwark_tenant" (USING expression) for table "doc"'),
	('I25: a conflict that does nothing', 'INSERT INTO doc (id, place) VALUES (40, 10) ON CONFLICT DO NOTHING RETURNING secret', 'nothing', 'nothing'),
	('I25: RETURNING of what is written', 'UPDATE doc SET size = 0 RETURNING (SELECT string_agg(secret, '','' ORDER BY id) FROM doc)',
		'secret 10,secret 11,secret 20,secret 21', 'secret 10,secret 11'),
	-- I30
	('I30: pg_stats', 'SELECT count(*) FROM pg_stats WHERE tablename ~ ''^(doc|page|stamp|event)''', '0', '0'),
	('I30: pg_stats_ext', 'SELECT count(*) FROM pg_stats_ext WHERE schemaname = ''public''', '0', '0'),
	('I30: pg_stats_ext_exprs', 'SELECT count(*) FROM pg_stats_ext_exprs WHERE schemaname = ''public''', '0', '0'),
	('I30: pg_statistic', 'SELECT count(*) FROM pg_statistic', '42501 permission denied for table pg_statistic', '42501 permission denied for table pg_statistic'),
	('I30: pg_statistic_ext_data', 'SELECT count(*) FROM pg_statistic_ext_data', '42501 permission denied for table pg_statistic_ext_data', '42501 permission denied for table pg_statistic_ext_data');

CREATE TABLE answered (actor text PRIMARY KEY, answers jsonb);
\set ask 'SELECT jsonb_object_agg(n, learnt(statement)) AS got FROM (SELECT * FROM attempts ORDER BY n) a \\gset'
BEGIN; SELECT bulwark.assume(the('root'), the('a')) \g /dev/null
SET LOCAL ROLE pgtap_inference_app;
:ask
ROLLBACK; INSERT INTO answered VALUES ('root', :'got');
BEGIN; SELECT bulwark.assume(the('guest'), the('a')) \g /dev/null
SET LOCAL ROLE pgtap_inference_app;
:ask
ROLLBACK; INSERT INTO answered VALUES ('guest', :'got');
BEGIN; SET LOCAL ROLE pgtap_inference_app;
SELECT learnt('SELECT count(*) FROM doc WHERE tell(secret)') AS nobody \gset
ROLLBACK;

SELECT is(d.answers ->> a.n::text, CASE actor WHEN 'root' THEN root ELSE guest END, regexp_replace(what, ': ', ': ' || actor || ': '))
	FROM attempts a, answered d ORDER BY actor, a.n;
SELECT is(:'nobody'::text, '0', 'I29: without an identity a cheap function is told nothing');

-- I23: names that an application login puts before ours are not ours: policies are
-- bound to what they meant when they were made.
CREATE SCHEMA hijack AUTHORIZATION pgtap_inference_app;
SET ROLE pgtap_inference_app;
CREATE FUNCTION hijack.yes(int, int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION hijack.yes(int, bigint) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR hijack.= (LEFTARG = int, RIGHTARG = int, FUNCTION = hijack.yes);
CREATE OPERATOR hijack.= (LEFTARG = int, RIGHTARG = bigint, FUNCTION = hijack.yes);
CREATE FUNCTION hijack.affiliation_visible(int, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION hijack.tenant_key_int8() RETURNS bigint LANGUAGE sql AS 'SELECT 2::bigint';
CREATE TABLE hijack.memberships (principal_id uuid, tenant_id uuid);
RESET ROLE;
BEGIN; SELECT bulwark.assume(the('guest'), the('a')) \g /dev/null
SET LOCAL search_path = hijack, public, pg_catalog;
SET LOCAL ROLE pgtap_inference_app;
SELECT string_agg(id::text, ' ' ORDER BY id) AS doc FROM public.doc \gset
SELECT string_agg(id::text, ' ' ORDER BY id) AS page FROM public.page \gset
SELECT string_agg(id::text, ' ' ORDER BY id) AS stamp FROM public.stamp \gset
SELECT count(*) = 0 AS operators FROM public.doc WHERE NOT 1 = 2 \gset
ROLLBACK;
SELECT is(:'doc'::text, '10 11', 'I23: operators and functions before ours change nothing of a table''s policies');
SELECT is(:'page'::text, '10 11', 'I23: nor of a child''s');
SELECT is(:'stamp'::text, '10 11', 'I23: nor of a materialized child''s');
SELECT is(:'operators'::text, 't', 'though they are found first');

-- I23: nor does a superuser's ANALYZE run an index's function with a superuser's rights.
CREATE TABLE ran_as (name text);
GRANT INSERT ON ran_as TO PUBLIC;
SET ROLE pgtap_inference_app;
CREATE FUNCTION hijack.write() RETURNS void LANGUAGE sql AS 'INSERT INTO public.ran_as VALUES (current_user)';
CREATE FUNCTION hijack.note(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM hijack.write(); RETURN $1; END';
CREATE TABLE hijack.trap (id int);
INSERT INTO hijack.trap SELECT generate_series(1, 100);
CREATE INDEX ON hijack.trap (hijack.note(id));
RESET ROLE;
TRUNCATE ran_as;
ANALYZE hijack.trap;
SELECT set_eq('SELECT DISTINCT name FROM ran_as', '{pgtap_inference_app}'::text[], 'I23: ANALYZE runs it as the table''s owner');

-- That these attempts would show something: with the policies off they do.
SELECT is(learnt('SELECT count(*) FROM doc WHERE tell(secret)'), 'secret 10, secret 11, secret 20, secret 21, secret 40, secret 41', 'a superuser''s function is told all');
SELECT cmp_ok(learnt($$SELECT count(*) FROM pg_stats WHERE tablename ~ '^(doc|page|stamp|event)'$$), '<>', '0', 'a superuser sees statistics');
SELECT cmp_ok(learnt($$SELECT count(*) FROM pg_stats_ext WHERE schemaname = 'public'$$), '=', '2', 'and extended ones');

SELECT * FROM finish();
DROP TABLE doc, page, stamp, event CASCADE;
DROP OWNED BY pgtap_inference_app CASCADE;
DROP ROLE pgtap_inference_app;
