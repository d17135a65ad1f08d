-- What an identity costs a transaction: a ticket and the first row, against SET
-- LOCAL of a plain setting and the same row.
\set ON_ERROR_STOP 1
\pset format unaligned
\pset tuples_only on
CREATE OR REPLACE PROCEDURE bench.transactions(setting text, value text, n int, INOUT us float8) LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz;
	v int;
BEGIN
	COMMIT;
	began := clock_timestamp();
	FOR i IN 1..n LOOP
		PERFORM set_config(setting, value, true);
		SELECT amount INTO v FROM bench.event WHERE id = 6;
		COMMIT;
	END LOOP;
	us := extract(epoch FROM clock_timestamp() - began) * 1e6 / n;
END $$;
CREATE OR REPLACE PROCEDURE bench.ticket_cost(label text, ticket text, bound float8, INOUT result text) LANGUAGE plpgsql AS $$
DECLARE
	a float8; b float8; d float8[];
BEGIN
	FOR i IN 0..20 LOOP
		CALL bench.transactions('bulwark.ticket', ticket, 1000, a);
		CALL bench.transactions('app.tenant', '6f8d2c9e-0000-4000-8000-000000000000', 1000, b);
		IF i > 0 THEN d := d || (a - b); END IF;
	END LOOP;
	SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v) INTO a FROM unnest(d) v;
	result := format('%s %s  %s microseconds over a plain setting (bound %s)', CASE WHEN a <= bound THEN 'met   ' ELSE 'MISSED' END, rpad(label, 58), round(a::numeric, 1), bound);
END $$;
-- The first use after every back end was told of a change.
CREATE OR REPLACE PROCEDURE bench.first_use(label text, ticket text, bound float8, INOUT result text) LANGUAGE plpgsql AS $$
DECLARE
	a float8[]; b float8[]; began timestamptz; v int; m float8;
BEGIN
	FOR i IN 1..1001 LOOP
		UPDATE bulwark_internal.tenants SET name = name WHERE slug = 'bench-200';
		COMMIT;
		began := clock_timestamp();
		PERFORM set_config('bulwark.ticket', ticket, true);
		SELECT amount INTO v FROM bench.event WHERE id = 6 AND bulwark.affiliation_visible(affiliation_id, 'event', 'read');
		a := a || extract(epoch FROM clock_timestamp() - began) * 1e6;
		COMMIT;
		began := clock_timestamp();
		PERFORM set_config('app.tenant', '6f8d2c9e-0000-4000-8000-000000000000', true);
		SELECT amount INTO v FROM bench.event WHERE id = 6;
		b := b || extract(epoch FROM clock_timestamp() - began) * 1e6;
		COMMIT;
	END LOOP;
	SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x - y) INTO m FROM unnest(a, b) u(x, y);
	result := format('%s %s  %s microseconds over a plain setting (bound %s)', CASE WHEN m <= bound THEN 'met   ' ELSE 'MISSED' END, rpad(label, 58), round(m::numeric, 1), bound);
END $$;
BEGIN; SELECT bulwark.assume(bench.id('principal', 1), bench.id('tenant', 7)) \g /dev/null
SELECT bulwark.ticket_issue('1 hour') AS ten \gset
COMMIT;
BEGIN; SELECT bulwark.assume(bench.id('principal', 3), bench.id('tenant', 201)) \g /dev/null
SELECT bulwark.ticket_issue('1 hour') AS thousand \gset
COMMIT;
CALL bench.ticket_cost('ticket and first row, member of 10', :'ten', 10, NULL);
CALL bench.ticket_cost('ticket and first row, member of 1,000, cached', :'thousand', 10, NULL);
CALL bench.first_use('ticket and first row, member of 1,000, first use', :'thousand', 100, NULL);
