-- Policies against the same filter written by hand, as a role without policies.
\set ON_ERROR_STOP 1
\pset format unaligned
\pset tuples_only on
SET max_parallel_workers_per_gather = 0;

BEGIN;
SELECT bulwark.assume(bench.id('principal', 1), bench.id('tenant', 7)) \g /dev/null
SELECT bench.compare('member of 10 of 20: index scan', 'bench_app', 'SELECT sum(amount) FROM bench.event',
	'bench_plain', 'SELECT sum(amount) FROM bench.event WHERE ' || bench.filter(7, 10), 201, 1.05);
SET LOCAL enable_indexscan = off;
SET LOCAL enable_bitmapscan = off;
SELECT bench.compare('member of 10 of 20: sequential scan', 'bench_app', 'SELECT sum(amount) FROM bench.event',
	'bench_plain', 'SELECT sum(amount) FROM bench.event WHERE ' || bench.filter(7, 10), 21, 1.05);
SELECT set_config('app.tenant', bench.id('tenant', 7)::text, true) \g /dev/null
SELECT set_config('app.affiliations', string_agg(bench.id('aff', 7, a)::text, ','), true) FROM generate_series(1, 10) a \g /dev/null
SELECT bench.compare('against current_setting() policies: sequential scan', 'bench_app', 'SELECT sum(amount) FROM bench.event',
	'bench_app', 'SELECT sum(amount) FROM bench.usual', 5, 0.2);
COMMIT;

BEGIN;
SELECT bulwark.assume(bench.id('principal', 2), bench.id('tenant', 201)) \g /dev/null
SET LOCAL enable_indexscan = off;
SET LOCAL enable_bitmapscan = off;
SELECT bench.compare('tenant with 90 %, member of 20: sequential scan', 'bench_app', 'SELECT sum(amount) FROM bench.skew',
	'bench_plain', 'SELECT sum(amount) FROM bench.skew WHERE ' || bench.filter(201, 20), 21, 1.15);
COMMIT;
BEGIN;
SELECT bulwark.assume(bench.id('principal', 3), bench.id('tenant', 201)) \g /dev/null
SET LOCAL enable_indexscan = off;
SET LOCAL enable_bitmapscan = off;
SELECT bench.compare('tenant with 90 %, member of 1,000: sequential scan', 'bench_app', 'SELECT sum(amount) FROM bench.skew',
	'bench_plain', 'SELECT sum(amount) FROM bench.skew WHERE ' || bench.filter(201, 1000), 21, 1.15);
COMMIT;

-- Plans: skew, pruning, parallelism.
CREATE OR REPLACE FUNCTION bench.plan_has(label text, statement text, pattern text, wanted boolean DEFAULT true, options text DEFAULT 'COSTS OFF') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text; plan text := '';
BEGIN
	FOR line IN EXECUTE format('EXPLAIN (%s) %s', options, statement) LOOP plan := plan || line || E'\n'; END LOOP;
	RETURN CASE WHEN (plan ~ pattern) = wanted THEN 'met    ' ELSE 'MISSED ' END || label || CASE WHEN (plan ~ pattern) = wanted THEN '' ELSE E'\n' || plan END;
END $$;
BEGIN;
SELECT bulwark.assume(bench.id('principal', 5), bench.id('tenant', 201)) \g /dev/null
SET LOCAL ROLE bench_app;
SELECT bench.plan_has('a tenant with 90 % gets a sequential plan', 'SELECT sum(amount) FROM bench.skew', 'Seq Scan on skew');
SET LOCAL max_parallel_workers_per_gather = 2;
SELECT bench.plan_has('parallel plans stay parallel', 'SELECT sum(amount) FROM bench.skew', 'Parallel Seq Scan');
COMMIT;
BEGIN;
SELECT bulwark.assume(bench.id('principal', 4), bench.id('tenant', 7)) \g /dev/null
SET LOCAL ROLE bench_app;
SELECT bench.plan_has('a tenant with 0.1 % gets an index plan', 'SELECT sum(amount) FROM bench.skew', 'Index');
SELECT bench.plan_has('partitions are pruned at executor start', 'SELECT sum(amount) FROM bench.part', 'Subplans Removed: 7');
COMMIT;
