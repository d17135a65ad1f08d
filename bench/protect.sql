-- protect() on 1,000 filled tables: the whole, and the longest that one of them
-- could be locked (its call's whole transaction).
\set ON_ERROR_STOP 1
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
SET bulwark.new_tables = ignore;
CREATE SCHEMA bench_many;
CREATE OR REPLACE PROCEDURE bench.make_tables(n int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..n LOOP
		EXECUTE format('CREATE TABLE bench_many.t%s AS SELECT g AS id, bench.id(''tenant'', 1 + g %% 200) AS tenant_id, g AS v FROM generate_series(1, 1000) g', i);
		EXECUTE format('ALTER TABLE bench_many.t%s ADD PRIMARY KEY (id), ALTER tenant_id SET NOT NULL', i);
		IF i % 50 = 0 THEN COMMIT; END IF;
	END LOOP;
END $$;
CREATE OR REPLACE PROCEDURE bench.protect_tables(n int, INOUT result text) LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz := clock_timestamp(); one timestamptz; longest float8 := 0; total float8;
BEGIN
	FOR i IN 1..n LOOP
		one := clock_timestamp();
		PERFORM bulwark.protect(format('bench_many.t%s', i)::regclass, 'tenant_id');
		COMMIT;
		longest := greatest(longest, extract(epoch FROM clock_timestamp() - one) * 1000);
	END LOOP;
	total := extract(epoch FROM clock_timestamp() - began);
	result := format('%s %s  %s s (bound 20)', CASE WHEN total <= 20 THEN 'met   ' ELSE 'MISSED' END, rpad('protect() on 1,000 filled tables', 58), round(total::numeric, 1))
		|| E'\n' || format('%s %s  %s ms (bound 100)', CASE WHEN longest <= 100 THEN 'met   ' ELSE 'MISSED' END, rpad('the longest of them', 58), round(longest::numeric, 1));
END $$;
CALL bench.make_tables(1000);
CALL bench.protect_tables(1000, NULL);
DROP PROCEDURE bench.make_tables;
