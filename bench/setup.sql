-- 2,000,000 rows, 200 tenants of 20 affiliations; a second table of which one
-- tenant has 90 %; children of the first; and what measures.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SET bulwark.new_tables = ignore;
CREATE EXTENSION IF NOT EXISTS bulwark;
DROP SCHEMA IF EXISTS bench CASCADE;
CREATE SCHEMA bench;
DO $$ BEGIN
	CREATE ROLE bench_app NOLOGIN IN ROLE bulwark_app;
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN
	CREATE ROLE bench_plain NOLOGIN BYPASSRLS;
EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT USAGE ON SCHEMA bench TO bench_app, bench_plain;

CREATE FUNCTION bench.id(kind text, n int, m int DEFAULT 0) RETURNS uuid LANGUAGE sql IMMUTABLE
	RETURN md5(kind || '/' || n || '/' || m)::uuid;

SELECT count(bulwark.tenant_create('bench-' || t, 'Bench ' || t, 'bench-key-' || t, NULL, bench.id('tenant', t)))
FROM generate_series(1, 202) t;
SELECT count(bulwark.affiliation_create(bench.id('tenant', t), 'a' || a, 'A ' || a, NULL, NULL, bench.id('aff', t, a)))
FROM generate_series(1, 200) t, generate_series(1, 20) a;
-- tenant 201 has 1,000 affiliations
SELECT count(bulwark.affiliation_create(bench.id('tenant', 201), 'a' || a, 'A ' || a, NULL, NULL, bench.id('aff', 201, a)))
FROM generate_series(1, 1000) a;
SELECT count(bulwark.principal_create('bench-' || p || '@bench.test', NULL, 'user', bench.id('principal', p)))
FROM generate_series(1, 5) p;
-- 1: ten affiliations of tenant 7; 2: twenty of 201; 3: a thousand of 201;
-- 4: all of tenant 7; 5: all of tenant 201
SELECT count(bulwark.membership_grant(bench.id('principal', 1), bench.id('tenant', 7), 'admin', bench.id('aff', 7, a))) FROM generate_series(1, 10) a;
SELECT count(bulwark.membership_grant(bench.id('principal', 2), bench.id('tenant', 201), 'admin', bench.id('aff', 201, a))) FROM generate_series(1, 20) a;
SELECT count(bulwark.membership_grant(bench.id('principal', 3), bench.id('tenant', 201), 'admin', bench.id('aff', 201, a))) FROM generate_series(1, 1000) a;
SELECT bulwark.membership_grant(bench.id('principal', 4), bench.id('tenant', 7), 'tenant_admin') \g /dev/null
SELECT bulwark.membership_grant(bench.id('principal', 5), bench.id('tenant', 201), 'tenant_admin') \g /dev/null

CREATE TABLE bench.event (id bigint PRIMARY KEY, tenant_id uuid NOT NULL, affiliation_id uuid, amount int NOT NULL, note text NOT NULL);
INSERT INTO bench.event
SELECT g, bench.id('tenant', 1 + g % 200), bench.id('aff', 1 + g % 200, 1 + (g / 200) % 20), g % 1000, 'note ' || md5(g::text)
FROM generate_series(1, 2000000) g;
CREATE INDEX ON bench.event (tenant_id, affiliation_id);

-- Skew: tenant 201 has 90 %, a thousand affiliations.
CREATE TABLE bench.skew (id bigint PRIMARY KEY, tenant_id uuid NOT NULL, affiliation_id uuid, amount int NOT NULL, note text NOT NULL);
INSERT INTO bench.skew
SELECT g, CASE WHEN g % 10 > 0 THEN bench.id('tenant', 201) ELSE bench.id('tenant', 1 + (g / 10) % 100) END,
	CASE WHEN g % 10 > 0 THEN bench.id('aff', 201, 1 + g % 1000) ELSE bench.id('aff', 1 + (g / 10) % 100, 1 + g % 20) END,
	g % 1000, 'note ' || md5(g::text)
FROM generate_series(1, 1000000) g;
CREATE INDEX ON bench.skew (tenant_id, affiliation_id);

-- The usual way, for comparison.
CREATE TABLE bench.usual (LIKE bench.event INCLUDING ALL);
INSERT INTO bench.usual SELECT * FROM bench.event;
ALTER TABLE bench.usual ENABLE ROW LEVEL SECURITY;
CREATE POLICY usual ON bench.usual USING (tenant_id = current_setting('app.tenant')::uuid
	AND affiliation_id = ANY (string_to_array(current_setting('app.affiliations'), ',')::uuid[]));
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA bench TO bench_app, bench_plain;
-- There is no autovacuum here to have done it by now.  Commits are waited for, since a
-- page becomes all-visible only when the commits of its rows are on disk.
SET synchronous_commit = on;
VACUUM ANALYZE bench.event, bench.skew, bench.usual;
VACUUM ANALYZE bulwark_internal.tenants, bulwark_internal.affiliations, bulwark_internal.principals, bulwark_internal.memberships;
RESET synchronous_commit;
SELECT bulwark.protect('bench.event', 'tenant_id', 'affiliation_id');
SELECT bulwark.protect('bench.skew', 'tenant_id', 'affiliation_id');

-- Children, with and without the materialized columns.
CREATE TABLE bench.item (item_id bigint PRIMARY KEY, event_id bigint NOT NULL REFERENCES bench.event, quantity int NOT NULL);
INSERT INTO bench.item SELECT g, g, g % 7 FROM generate_series(1, 400000) g;
CREATE INDEX ON bench.item (event_id);
CREATE TABLE bench.item_plain (item_id bigint PRIMARY KEY, event_id bigint NOT NULL, quantity int NOT NULL, tenant_id uuid NOT NULL, affiliation_id uuid);
INSERT INTO bench.item_plain SELECT i.*, e.tenant_id, e.affiliation_id FROM bench.item i JOIN bench.event e ON e.id = i.event_id;
CREATE INDEX ON bench.item_plain (tenant_id, affiliation_id);
CREATE TABLE bench.item_filled (item_id bigint PRIMARY KEY, event_id bigint NOT NULL REFERENCES bench.event, quantity int NOT NULL);
INSERT INTO bench.item_filled SELECT * FROM bench.item;
GRANT SELECT ON bench.item, bench.item_plain, bench.item_filled TO bench_app, bench_plain;
SELECT bulwark.protect('bench.item', parent => 'bench.event');
SELECT bulwark.protect('bench.item_plain', 'tenant_id', 'affiliation_id');
SELECT bulwark.protect('bench.item_filled', parent => 'bench.event', materialize => true);
CALL bulwark.materialize('bench.item_filled', 20000);
CREATE INDEX ON bench.item_filled (bulwark_tenant, bulwark_affiliation);
VACUUM ANALYZE bench.item, bench.item_plain, bench.item_filled;

-- A partitioned table, by tenant.
CREATE TABLE bench.part (id bigint, tenant_id uuid NOT NULL, amount int) PARTITION BY HASH (tenant_id);
SELECT format('CREATE TABLE bench.part_%s PARTITION OF bench.part FOR VALUES WITH (MODULUS 8, REMAINDER %s)', n, n) FROM generate_series(0, 7) n \gexec
INSERT INTO bench.part SELECT id, tenant_id, amount FROM bench.event WHERE id <= 100000;
GRANT SELECT ON bench.part TO bench_app, bench_plain;
SELECT bulwark.protect('bench.part', 'tenant_id');
ANALYZE bench.part;

-- The filter that somebody would write by hand.
CREATE FUNCTION bench.filter(tenant int, affiliations int) RETURNS text STABLE LANGUAGE sql AS $$
	SELECT format('tenant_id = %L AND affiliation_id = ANY (%L)', bench.id('tenant', tenant),
		array_agg(bench.id('aff', tenant, a))) FROM generate_series(1, affiliations) a $$;

-- Milliseconds that a statement takes.
CREATE FUNCTION bench.ms(statement text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz := clock_timestamp();
BEGIN
	EXECUTE statement;
	RETURN extract(epoch FROM clock_timestamp() - began) * 1000;
END $$;

-- Median of interleaved pairs: a as role_a, b as role_b, under the identity in force.
CREATE FUNCTION bench.compare(label text, role_a text, a text, role_b text, b text, pairs int, bound float8) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	ta float8[]; tb float8[]; r float8[]; x float8; y float8; ratio float8;
BEGIN
	FOR i IN 0..pairs LOOP
		EXECUTE format('SET LOCAL ROLE %I', role_a); x := bench.ms(a);
		EXECUTE format('SET LOCAL ROLE %I', role_b); y := bench.ms(b);
		SET LOCAL ROLE NONE;
		IF i > 0 THEN ta := ta || x; tb := tb || y; r := r || (x / y); END IF;
	END LOOP;
	SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v) INTO ratio FROM unnest(r) v;
	RETURN format('%s %s  %s ms against %s ms: %s times (bound %s)', CASE WHEN ratio <= bound THEN 'met   ' ELSE 'MISSED' END, rpad(label, 58),
		round((SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v) FROM unnest(ta) v)::numeric, 2),
		round((SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v) FROM unnest(tb) v)::numeric, 2),
		round(ratio::numeric, 3), bound);
END $$;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA bench TO bench_app, bench_plain;
