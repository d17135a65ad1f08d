-- A database pinned to one tenant: affiliations only.
\set ON_ERROR_STOP 1
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
SET max_parallel_workers_per_gather = 0;
CREATE TABLE bench.pinned (id bigint PRIMARY KEY, affiliation_id uuid, amount int NOT NULL, note text NOT NULL);
INSERT INTO bench.pinned SELECT id, affiliation_id, amount, note FROM bench.skew;
VACUUM ANALYZE bench.pinned;
GRANT SELECT ON bench.pinned TO bench_app, bench_plain;
SELECT bulwark.pin_tenant(bench.id('tenant', 201)) \g /dev/null
SELECT bulwark.protect('bench.pinned', affiliation_column => 'affiliation_id') \g /dev/null
CREATE FUNCTION bench.pinned_filter(n int) RETURNS text STABLE LANGUAGE sql AS $$
	SELECT format('affiliation_id = ANY (%L)', array_agg(bench.id('aff', 201, a))) FROM generate_series(1, n) a $$;
BEGIN;
SELECT bulwark.assume(bench.id('principal', 2), bench.id('tenant', 201)) \g /dev/null
SELECT bench.compare('pinned database, member of 20: sequential scan', 'bench_app', 'SELECT sum(amount) FROM bench.pinned',
	'bench_plain', 'SELECT sum(amount) FROM bench.pinned WHERE ' || bench.pinned_filter(20), 21, 1.15);
COMMIT;
BEGIN;
SELECT bulwark.assume(bench.id('principal', 3), bench.id('tenant', 201)) \g /dev/null
SELECT bench.compare('pinned database, member of 1,000: sequential scan', 'bench_app', 'SELECT sum(amount) FROM bench.pinned',
	'bench_plain', 'SELECT sum(amount) FROM bench.pinned WHERE ' || bench.pinned_filter(1000), 21, 1.15);
COMMIT;
SELECT bulwark.unpin_tenant() \g /dev/null
