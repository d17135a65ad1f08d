# A protected database with a table of every kind, and how to tell whether
# another one protects the same rows in the same way.
package BulwarkShop;

use strict;
use warnings;

use BulwarkNode;
use Exporter qw(import);

use Test::More;

our @EXPORT = qw(shop_create shop_definitions shop_rows same_ok);

# Tenants 7 and 8 with an administrator each, and ann, who reads tenant 7's north.
sub shop_create
{
	my ($node) = @_;
	app_role($node, 'app', 7, 8);
	$node->safe_psql('postgres', <<'SQL');
SELECT bulwark.affiliation_create(tenant_id, 'north', 'North') FROM bulwark.tenants;
SELECT bulwark.affiliation_create(tenant_id, 'harbour', 'Harbour', parent_id => affiliation_id)
	FROM bulwark.affiliations WHERE slug = 'north';
SELECT bulwark.affiliation_create(tenant_id, 'south', 'South') FROM bulwark.tenants;
SELECT bulwark.role_create(tenant_id, 'clerk', '{orders:*,items:read}') FROM bulwark.tenants;
SELECT bulwark.principal_create('ann@example.org');
SELECT bulwark.principal_link(principal_id, issuer, 'ann') FROM bulwark.principals, bulwark.issuers WHERE email = 'ann@example.org';
SELECT bulwark.membership_grant(principal_id, tenant_id, 'read_only', affiliation_id)
	FROM bulwark.principals, bulwark.affiliations JOIN bulwark.tenants USING (tenant_id)
	WHERE email = 'ann@example.org' AND affiliations.slug = 'north' AND tenants.slug = '7';

CREATE TABLE orders (id int PRIMARY KEY, tenant_id uuid NOT NULL, place text, note text);
CREATE TABLE items (id int PRIMARY KEY, order_id int NOT NULL REFERENCES orders, note text);
CREATE TABLE lines (id int PRIMARY KEY, item_id int NOT NULL REFERENCES items);
CREATE TABLE deliveries (id int PRIMARY KEY, order_id int NOT NULL REFERENCES orders);
CREATE TABLE invoices (id int PRIMARY KEY, account bigint, order_id int REFERENCES orders DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE calls (id int, tenant text, place text) PARTITION BY RANGE (id);
CREATE TABLE calls_1 PARTITION OF calls FOR VALUES FROM (0) TO (45);
CREATE TABLE calls_2 PARTITION OF calls FOR VALUES FROM (45) TO (1000) PARTITION BY LIST (tenant);
CREATE TABLE calls_2_7 PARTITION OF calls_2 FOR VALUES IN ('7');
CREATE TABLE calls_2_rest PARTITION OF calls_2 DEFAULT;
CREATE TABLE notes (id int, tenant_id uuid);
CREATE TABLE old_notes (archived date) INHERITS (notes);
CREATE TABLE countries (code text PRIMARY KEY);
CREATE TABLE plain (id int);
CREATE VIEW north WITH (security_invoker) AS SELECT * FROM orders WHERE place = 'north';

SELECT bulwark.protect('orders', 'tenant_id', 'place');
SELECT bulwark.protect('items', parent => 'orders');
SELECT bulwark.protect('lines', parent => 'items');
SELECT bulwark.protect('deliveries', parent => 'orders', materialize => true);
SELECT bulwark.protect('invoices', 'account', resource => 'bills');
SELECT bulwark.protect('calls', 'tenant', 'place');
SELECT bulwark.protect('notes', 'tenant_id');
SELECT bulwark.protect('countries', shared => true);
CREATE POLICY mine ON orders FOR SELECT TO app USING (note IS NOT NULL);
CREATE INDEX ON orders (tenant_id, place);

INSERT INTO orders SELECT 10 * n + key_int8, tenant_id, CASE n % 3 WHEN 0 THEN 'north' WHEN 1 THEN 'harbour' ELSE 'south' END, slug
	FROM (SELECT tenant_id, slug, slug::int AS key_int8 FROM bulwark.tenants) AS t, generate_series(1, 9) AS n;
INSERT INTO items SELECT id, id, note FROM orders;
INSERT INTO lines SELECT id, id FROM items;
INSERT INTO deliveries SELECT id, id FROM orders;
INSERT INTO invoices SELECT id, note::int, id FROM orders;
INSERT INTO calls SELECT id, note, place FROM orders;
INSERT INTO notes SELECT id, tenant_id FROM orders WHERE id < 50;
INSERT INTO old_notes SELECT id, tenant_id, '2020-01-01' FROM orders WHERE id >= 50;
INSERT INTO countries VALUES ('dk'), ('se');
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app;
SQL
	return;
}

my $definitions = <<'SQL';
SELECT 'policy', tablename::text, policyname::text, permissive, roles::text, cmd, qual, with_check FROM pg_policies WHERE schemaname = 'public'
UNION ALL
SELECT 'trigger', tgrelid::regclass::text, tgname, tgenabled::text, NULL, pg_get_triggerdef(oid), NULL, NULL
	FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'table', relname, relrowsecurity::text, relforcerowsecurity::text, NULL,
	(SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(relacl) a WHERE a::text !~ ('^' || relowner::regrole || '=')),
	relowner::regrole::text, reloptions::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')
UNION ALL
SELECT 'column', attrelid::regclass::text, attname, format_type(atttypid, atttypmod), NULL, attnotnull::text, attnum::text, pg_get_expr(adbin, adrelid)
	FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
	WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0
UNION ALL
SELECT 'protection', relation::text, kind::text, resource, parent_columns::text, concat_ws(',', tenant_column, affiliation_column, root, parent),
	key_columns::text, concat_ws(',', materialize, materialized, automatic, protected_by, protected_at, pinned)
	FROM bulwark_internal.protections
UNION ALL
SELECT 'undo', relation::text, undo::text, NULL, NULL, NULL, NULL, NULL FROM bulwark_internal.protections
UNION ALL
SELECT 'kept', table_name, md5(line), count(*)::text, NULL, NULL, NULL, NULL
	FROM unnest('{tenants,tenant_names,affiliations,affiliation_names,affiliation_parents,principals,principal_links,roles,memberships,member_generations,pinned_tenant,service_scopes,issuers,issuer_keys}'::text[]) AS table_name,
		xmltable('/table/row/*' PASSING query_to_xml(format(
			'SELECT CASE WHEN to_jsonb(t) @> ''{"builtin": true}'' THEN to_jsonb(t) - ''created_at'' ELSE to_jsonb(t) END FROM bulwark_internal.%s t',
			table_name), false, false, '') COLUMNS line text PATH '.')
	GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
SQL

# All that protects, and all that Bulwark keeps, as text.
sub shop_definitions
{
	my ($node, $database) = @_;
	return $node->safe_psql($database, "SET timezone = 'UTC'; $definitions");
}

# The same lines; else those that are not.
sub same_ok
{
	my ($got, $expected, $name) = @_;
	my %expected = map { $_ => 1 } split /\n/, $expected;
	my %got = map { $_ => 1 } split /\n/, $got;
	my @differ = ((map { "missing: $_" } grep { !$got{$_} } sort keys %expected),
		(map { "got:     $_" } grep { !$expected{$_} } sort keys %got));
	return ok($got eq $expected, $name) || diag(join "\n", @differ[ 0 .. ($#differ < 9 ? $#differ : 9) ]);
}

my @tables = qw(orders items lines deliveries invoices calls calls_1 calls_2 calls_2_7 notes old_notes countries plain north);

# What each identity sees of each table, as text.
sub shop_rows
{
	my ($node, $database) = @_;
	my $rows = join ' UNION ALL ', map { "SELECT '$_', count(*), md5(string_agg(t::text, ';' ORDER BY t::text)) FROM $_ AS t" } @tables;
	my $all = $node->safe_psql($database, "$rows;", extra_params => [ '-U', 'app' ]);
	for my $who ([7], [8], [ 7, 'ann' ])
	{
		$all .= "\n@$who\n" . $node->safe_psql($database,
			sprintf("BEGIN; SELECT '' FROM bulwark.authenticate('%s') \\g /dev/null\n%s;", token(@$who), $rows),
			extra_params => [ '-U', 'app' ]);
	}
	return $all;
}

1;
