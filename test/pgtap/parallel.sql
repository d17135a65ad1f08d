-- I15: plans that run in parallel workers, of every kind of node that reads: each
-- identity sees the rows that it sees serially, and nobody sees none.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;
SET bulwark.new_tables = ignore;

SELECT no_plan();

CREATE ROLE pgtap_parallel_app LOGIN IN ROLE bulwark_app;
CREATE TABLE thing (name text PRIMARY KEY, id uuid NOT NULL);
CREATE FUNCTION the(name text) RETURNS uuid LANGUAGE sql STABLE AS 'SELECT id FROM public.thing t WHERE t.name = $1';
INSERT INTO thing SELECT 'a', bulwark.tenant_create('a', 'A', '1');
INSERT INTO thing SELECT 'b', bulwark.tenant_create('b', 'B', '2');
INSERT INTO thing SELECT 'north', bulwark.affiliation_create(the('a'), 'north', 'North', '10');
INSERT INTO thing SELECT name, bulwark.principal_create(name || '@example.org') FROM unnest('{root,guest,stranger}'::text[]) name;
SELECT bulwark.membership_grant(the('root'), the('a'), 'tenant_admin'), bulwark.membership_grant(the('guest'), the('a'), 'read_only', the('north')),
	bulwark.membership_grant(the('stranger'), the('b'), 'tenant_admin') \g /dev/null

-- Every fourth row is north's, every third tenant b's.
CREATE TABLE doc (id int PRIMARY KEY, tenant int, place text, note text);
INSERT INTO doc SELECT n, CASE WHEN n % 3 = 0 THEN 2 ELSE 1 END, CASE WHEN n % 4 = 0 THEN '10' ELSE '20' END, 'note ' || n % 7 FROM generate_series(1, 6000) n;
CREATE INDEX doc_policy ON doc (tenant, place, id);
CREATE TABLE page (id int PRIMARY KEY, doc_id int NOT NULL REFERENCES doc);
INSERT INTO page SELECT id, id FROM doc;
CREATE INDEX ON page (doc_id);
CREATE TABLE stamp (id int PRIMARY KEY, doc_id int NOT NULL REFERENCES doc);
CREATE TABLE event (id int, tenant int, place text) PARTITION BY HASH (id);
CREATE TABLE event_0 PARTITION OF event FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE event_1 PARTITION OF event FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE event_2 PARTITION OF event FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO event SELECT id, tenant, place FROM doc;
SELECT bulwark.protect('doc', 'tenant', 'place'), bulwark.protect('page', parent => 'doc'),
	bulwark.protect('stamp', parent => 'doc', materialize => true), bulwark.protect('event', 'tenant', 'place') \g /dev/null
INSERT INTO stamp SELECT id, id FROM doc;
GRANT SELECT ON doc, page, stamp, event TO pgtap_parallel_app;
VACUUM ANALYZE doc, page, stamp, event;

SELECT format('SET %I = %L', name, value) FROM (VALUES ('parallel_setup_cost', '0'), ('parallel_tuple_cost', '0'), ('min_parallel_table_scan_size', '0'),
	('min_parallel_index_scan_size', '0'), ('max_parallel_workers_per_gather', '2'), ('parallel_leader_participation', 'off'), ('jit', 'off')) AS v (name, value) JOIN pg_settings USING (name) \gexec

-- What a query is asked under, which nodes its plan must have, the query.
CREATE TABLE queries (n int GENERATED ALWAYS AS IDENTITY, settings text[], nodes text[], query text);
INSERT INTO queries (settings, nodes, query) VALUES
	('{indexscan,indexonlyscan,bitmapscan}', '{Gather,Parallel Seq Scan,Partial Aggregate}', 'SELECT count(*), sum(id) FROM doc'),
	('{seqscan,bitmapscan,indexonlyscan}', '{Gather,Parallel Index Scan}', 'SELECT count(*), sum(length(note)) FROM doc'),
	('{seqscan,bitmapscan}', '{Gather,Parallel Index Only Scan}', 'SELECT count(*), sum(id) FROM doc'),
	('{seqscan,indexscan,indexonlyscan}', '{Gather,Parallel Bitmap Heap Scan}', 'SELECT count(*), sum(length(note)) FROM doc WHERE id > 100'),
	('{hashagg,indexscan,indexonlyscan,bitmapscan}', '{Gather Merge,Sort}', 'SELECT note, count(*) FROM doc GROUP BY note ORDER BY note'),
	('{indexscan,indexonlyscan,bitmapscan}', '{Gather,Parallel Append}', 'SELECT count(*), sum(id) FROM event'),
	('{nestloop,mergejoin,indexscan,indexonlyscan,bitmapscan}', '{Gather,Parallel Hash Join}', 'SELECT count(*), sum(d.id) FROM doc d JOIN stamp s ON s.doc_id = d.id'),
	('{hashjoin,nestloop,bitmapscan}', '{Gather,Merge Join}', 'SELECT count(*), sum(d.id) FROM doc d JOIN stamp s ON s.doc_id = d.id'),
	('{hashjoin,mergejoin}', '{Gather,Nested Loop}', 'SELECT count(*), sum(d.id) FROM doc d JOIN page p ON p.doc_id = d.id'),
	('{}', '{Gather,Parallel,page}', 'SELECT count(*), sum(id) FROM page'),
	('{}', '{Gather,Parallel,stamp}', 'SELECT count(*), sum(id) FROM stamp'),
	('{}', '{Gather}', 'SELECT count(*), sum(id) FROM doc WHERE id IN (SELECT doc_id FROM page WHERE id % 2 = 0)'),
	('{}', '{Gather}', 'SELECT count(*), sum(n) FROM (SELECT row_number() OVER (ORDER BY id) AS n FROM doc) w'),
	('{}', '{Gather}', 'SELECT count(*), sum(id) FROM (SELECT id FROM doc UNION ALL SELECT id FROM stamp UNION ALL SELECT id FROM event) u'),
	-- worked out by hand in the worker, not by a policy
	('{}', '{Gather}', 'SELECT count(*) FILTER (WHERE bulwark.tenant_key_int8() = 1), count(*) FILTER (WHERE bulwark.permitted(''doc'', ''read'')),
		count(*) FILTER (WHERE bulwark.principal_id() IS NOT NULL), count(*) FILTER (WHERE bulwark.affiliation_visible(place, ''doc'', ''read'')) FROM doc');
GRANT SELECT ON queries TO pgtap_parallel_app;
CREATE TABLE answers (actor text, n int, parallel boolean, answer text, plan text);
GRANT INSERT ON answers TO pgtap_parallel_app;

-- Planned once, for whom sees most, and kept: the others run the same plans.
CREATE FUNCTION plan() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	q record;
BEGIN
	FOR q IN SELECT * FROM queries, unnest('{0,2}'::int[]) AS workers ORDER BY n LOOP
		PERFORM set_config('enable_' || s, 'off', true) FROM unnest(q.settings) s;
		PERFORM set_config('max_parallel_workers_per_gather', q.workers::text, true);
		EXECUTE format('PREPARE query_%s_%s AS SELECT string_agg(x::text, '';'') FROM (%s) x', q.n, q.workers, q.query);
		EXECUTE format('EXPLAIN EXECUTE query_%s_%s', q.n, q.workers);
		PERFORM set_config('enable_' || s, 'on', true) FROM unnest(q.settings) s;
	END LOOP;
END
$$;
CREATE FUNCTION ask(who text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	q record;
	line text;
	got text;
	how text;
BEGIN
	FOR q IN SELECT * FROM queries, unnest('{0,2}'::int[]) AS workers ORDER BY n LOOP
		how := '';
		FOR line IN EXECUTE format('EXPLAIN (COSTS OFF) EXECUTE query_%s_%s', q.n, q.workers) LOOP
			how := how || line || E'\n';
		END LOOP;
		EXECUTE format('EXECUTE query_%s_%s', q.n, q.workers) INTO got;
		INSERT INTO answers VALUES (who, q.n, q.workers > 0, got, how);
	END LOOP;
END
$$;
SET plan_cache_mode = force_generic_plan;

BEGIN; SELECT bulwark.assume(the('root'), the('a')) \g /dev/null
SET LOCAL ROLE pgtap_parallel_app; SELECT plan(), ask('root') \g /dev/null
COMMIT;
BEGIN; SELECT bulwark.assume(the('guest'), the('a')) \g /dev/null
SET LOCAL ROLE pgtap_parallel_app; SELECT ask('guest') \g /dev/null
COMMIT;
BEGIN; SELECT bulwark.assume(the('stranger'), the('b')) \g /dev/null
SET LOCAL ROLE pgtap_parallel_app; SELECT ask('stranger') \g /dev/null
COMMIT;
BEGIN; SET LOCAL ROLE pgtap_parallel_app; SELECT ask('nobody') \g /dev/null
COMMIT;

SELECT ok(p.plan ~ ALL (q.nodes), format('%s: query %s is planned with %s', p.actor, q.n, array_to_string(q.nodes, ', ')))
	|| CASE WHEN p.plan ~ ALL (q.nodes) THEN '' ELSE E'\n# ' || replace(p.plan, E'\n', E'\n# ') END
FROM queries q JOIN answers p ON p.n = q.n AND p.parallel ORDER BY p.actor, q.n;
SELECT is(p.answer, s.answer, format('I15: %s: query %s sees in parallel what it sees serially', p.actor, q.n))
FROM queries q JOIN answers p ON p.n = q.n AND p.parallel JOIN answers s ON s.n = q.n AND s.actor = p.actor AND NOT s.parallel ORDER BY p.actor, q.n;
-- and that is the right thing
SELECT is((SELECT string_agg(actor || answer, ' ' ORDER BY actor) FROM answers WHERE n = 1 AND parallel),
	(SELECT format('guest(%s,%s) nobody(0,) root(%s,%s) stranger(%s,%s)', count(*) FILTER (WHERE tenant = 1 AND place = '10'),
		sum(id) FILTER (WHERE tenant = 1 AND place = '10'), count(*) FILTER (WHERE tenant = 1), sum(id) FILTER (WHERE tenant = 1),
		count(*) FILTER (WHERE tenant = 2), sum(id) FILTER (WHERE tenant = 2)) FROM doc), 'I15: each sees its own rows');
SELECT ok(bool_and(answer IS NULL OR answer ~ '^\(0,' ), 'I15: nobody sees nothing') FROM answers WHERE actor = 'nobody';

SELECT * FROM finish();
DROP TABLE doc, page, stamp, event, queries, answers CASCADE;
DROP ROLE pgtap_parallel_app;
