# A dump of a protected database, restored: the new tables are protected as they
# are made, and what the dump then brings of ours is no conflict.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('restore');
app_role($node, 'app', 'a', 'b');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE orders (id int PRIMARY KEY, tenant_id uuid NOT NULL, place text, note text);
CREATE TABLE items (id int PRIMARY KEY, order_id int NOT NULL REFERENCES orders, note text);
CREATE TABLE countries (code text PRIMARY KEY);
CREATE TABLE calls (id int, tenant_id uuid, text text) PARTITION BY RANGE (id);
CREATE TABLE calls_1 PARTITION OF calls FOR VALUES FROM (0) TO (100);
CREATE TABLE plain (id int);
SELECT bulwark.protect('orders', 'tenant_id', 'place');
SELECT bulwark.protect('items', parent => 'orders');
SELECT bulwark.protect('countries', shared => true);
SELECT bulwark.protect('calls', 'tenant_id');
CREATE POLICY mine ON orders FOR SELECT USING (note IS NOT NULL);
INSERT INTO orders SELECT 10 * n, tenant_id, 'north', slug FROM bulwark.tenants, generate_series(1, 5) AS n WHERE slug = 'a';
INSERT INTO orders SELECT 10 * n + 1, tenant_id, 'north', slug FROM bulwark.tenants, generate_series(1, 5) AS n WHERE slug = 'b';
INSERT INTO items SELECT id, id, note FROM orders;
INSERT INTO calls SELECT id, tenant_id, note FROM orders;
GRANT SELECT, INSERT ON orders, items, countries, calls TO app;
SQL

my $definitions = <<'SQL';
SELECT 'policy', tablename, policyname, permissive, roles, cmd, qual, with_check FROM pg_policies WHERE schemaname = 'public'
UNION ALL
SELECT 'trigger', tgrelid::regclass::text, tgname, tgenabled::text, NULL, pg_get_triggerdef(oid), NULL, NULL
FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text !~ '^bulwark'
UNION ALL
SELECT 'table', relname, relrowsecurity::text, relforcerowsecurity::text, NULL, relacl::text, NULL, NULL
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
UNION ALL
SELECT 'protection', relation::text, kind::text, resource, NULL, tenant_column, affiliation_column, root::regclass::text
FROM bulwark_internal.protections
ORDER BY 1, 2, 3
SQL
my $rows = q{SELECT bulwark.identity() ->> 'tenant_slug', (SELECT count(*) FROM orders), (SELECT count(*) FROM items), (SELECT count(*) FROM calls)};
my $before = $node->safe_psql('postgres', $definitions);
my $dir = PostgreSQL::Test::Utils::tempdir;

sub tenant_rows
{
	my ($db, $tenant) = @_;
	return $node->safe_psql($db, sprintf(q{BEGIN; SELECT '' FROM bulwark.authenticate('%s') \g /dev/null
%s;}, token($tenant), $rows), extra_params => [ '-U', 'app' ]);
}

is(tenant_rows('postgres', 'a'), 'a|5|5|5', 'before: tenant a sees its rows');

$node->command_ok([ 'pg_dump', '-Fp', '-f', "$dir/plain.sql", $node->connstr('postgres') ], 'a plain dump');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom", $node->connstr('postgres') ], 'a custom dump');

$node->append_conf('postgresql.conf', 'bulwark.restore = on');
$node->restart;
for my $new_tables (qw(protect warn ignore))
{
	my $db = "restored_$new_tables";
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0; ALTER DATABASE $db SET bulwark.new_tables = $new_tables");
	$node->command_ok([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql", '-d', $node->connstr($db) ],
		"new_tables = $new_tables: restored without an error");
	is($node->safe_psql($db, $definitions), $before, "new_tables = $new_tables: policies, triggers and protections are as they were");
	is(tenant_rows($db, 'a'), 'a|5|5|5', "new_tables = $new_tables: tenant a sees its rows");
	is(tenant_rows($db, 'b'), 'b|5|5|5', "new_tables = $new_tables: tenant b sees its own");
}

$node->safe_psql('postgres', 'CREATE DATABASE custom TEMPLATE template0');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('custom'), "$dir/custom" ], 'a custom dump: restored without an error');
is($node->safe_psql('custom', $definitions), $before, 'a custom dump: all is as it was');
# What is there goes first, its ledger too.
$node->append_conf('postgresql.conf', 'bulwark.ledger_decommission = on');
$node->restart;
$node->command_ok([ 'pg_restore', '-e', '--clean', '--if-exists', '-d', $node->connstr('custom'), "$dir/custom" ],
	'pg_restore --clean over it: no error');
is($node->safe_psql('custom', $definitions), $before, 'pg_restore --clean: all is as it was');

# Data alone, with triggers switched off: ours stay on.
$node->safe_psql('custom', 'DELETE FROM items; DELETE FROM orders; DELETE FROM calls');
$node->command_ok([ 'pg_restore', '-e', '--data-only', '--disable-triggers', '-t', 'orders', '-t', 'items', '-t', 'calls_1',
	'-d', $node->connstr('custom'), "$dir/custom" ], 'pg_restore --disable-triggers goes on');
is($node->safe_psql('custom', $definitions), $before, 'pg_restore --disable-triggers: our triggers are on');
is(tenant_rows('custom', 'a'), 'a|5|5|5', 'pg_restore --disable-triggers: tenant a sees its rows');

$node->stop;
done_testing();
