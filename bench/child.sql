-- Children through their parent, against the join written by hand; materialized
-- ones against a table with columns of its own.
\set ON_ERROR_STOP 1
\pset format unaligned
\pset tuples_only on
SET max_parallel_workers_per_gather = 0;
-- 2,000 reads by key, plans cached
CREATE OR REPLACE FUNCTION bench.child_by_key() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE s bigint := 0; q int;
BEGIN
	FOR k IN 1..2000 LOOP
		SELECT quantity INTO q FROM bench.item WHERE item_id = k * 200 - 194;
		s := s + coalesce(q, 0);
	END LOOP;
	RETURN s;
END $$;
CREATE OR REPLACE FUNCTION bench.child_by_key_by_hand() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE s bigint := 0; q int; t uuid := bench.id('tenant', 7); a uuid[] := (SELECT array_agg(bench.id('aff', 7, n)) FROM generate_series(1, 10) n);
BEGIN
	FOR k IN 1..2000 LOOP
		SELECT quantity INTO q FROM bench.item i JOIN bench.event e ON e.id = i.event_id
			WHERE item_id = k * 200 - 194 AND e.tenant_id = t AND e.affiliation_id = ANY (a);
		s := s + coalesce(q, 0);
	END LOOP;
	RETURN s;
END $$;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA bench TO bench_app, bench_plain;
BEGIN;
SELECT bulwark.assume(bench.id('principal', 1), bench.id('tenant', 7)) \g /dev/null
SELECT bench.compare('child by key', 'bench_app', 'SELECT bench.child_by_key()', 'bench_plain', 'SELECT bench.child_by_key_by_hand()', 21, 2.0);
SELECT bench.compare('whole tenant, materialized', 'bench_app', 'SELECT sum(quantity) FROM bench.item_filled', 'bench_app', 'SELECT sum(quantity) FROM bench.item_plain', 41, 1.1);
SELECT bench.compare('whole tenant, through the parent (documented, no bound)', 'bench_app', 'SELECT sum(quantity) FROM bench.item', 'bench_plain',
	'SELECT sum(quantity) FROM bench.item i JOIN bench.event e ON e.id = i.event_id WHERE ' || bench.filter(7, 10), 5, 'infinity');
COMMIT;
