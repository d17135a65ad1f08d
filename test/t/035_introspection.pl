# What the server tells an application login about rows that policies hide: plans,
# counters, locks, log lines.  And nobody ends the sessions of others.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('introspection', conf => "autovacuum = off\n");
app_role($node, 'app', 'a', 'b');
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE service LOGIN IN ROLE bulwark_impersonator;
CREATE TABLE orders (id int PRIMARY KEY, tenant_id uuid, code text);
CREATE INDEX ON orders (code);
INSERT INTO orders SELECT n, tenant_id, 'b' || n FROM bulwark.tenants, generate_series(1, 1000) AS n WHERE slug = 'b';
ANALYZE orders;
SELECT bulwark.protect('orders', 'tenant_id');
GRANT SELECT ON orders TO app, service;
CREATE TABLE plain AS SELECT 1 AS a;
GRANT SELECT ON plain TO app;
CREATE VIEW seen AS SELECT * FROM orders;
GRANT SELECT ON seen TO app;
CREATE FUNCTION inlined(wanted text) RETURNS SETOF orders LANGUAGE sql STABLE AS 'SELECT * FROM orders WHERE code = wanted';
CREATE FUNCTION counters() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS
	'SELECT sum(pg_stat_get_numscans(oid)) FROM pg_class';
SQL

my $s = session_start($node, 'app');
my $begin = sprintf "BEGIN; SELECT '' FROM bulwark.authenticate('%s') \\g /dev/null\n", token('a');

sub answer
{
	my ($sql, $open) = @_;
	session_say($s, ($open // $begin) . "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;\n$sql");
	my $answer = $s->{err} =~ /ERROR:\s+(.*)/ ? $1 : $s->{err} eq '' ? 'ok' : $s->{err};
	session_say($s, 'ROLLBACK;');
	return $answer;
}

my $refused = qr/^42501: .* is not allowed for an application login$/;
my $lookup = "SELECT * FROM orders WHERE code = 'b7'";

# --- plans --------------------------------------------------------------------

like(answer("EXPLAIN $_;"), $refused, "I30: EXPLAIN $_: refused")
	for $lookup, "(ANALYZE) $lookup", "(ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) $lookup", 'SELECT count(*) FROM seen',
	"SELECT * FROM inlined('b7')", "SELECT 1 FROM plain WHERE EXISTS ($lookup)", "DECLARE c CURSOR FOR $lookup";
like(answer("EXPLAIN (ANALYZE) $lookup;", "BEGIN;\n"), $refused, 'I30: nor without an identity');
like(answer("DO \$\$ BEGIN EXECUTE 'EXPLAIN ANALYZE SELECT * FROM orders'; END \$\$;"), $refused, 'I30: nor in a function');
is(answer("EXPLAIN (ANALYZE) $_;"), 'ok', "EXPLAIN $_: allowed")
	for 'SELECT * FROM plain', "SELECT query_to_xml('SELECT * FROM orders', true, false, '')";

# A statement that the driver has prepared.
my $script = private_file('explain.sql', sprintf <<'SQL', token('a'));
BEGIN;
SELECT 1 FROM bulwark.authenticate('%s');
SELECT * FROM orders WHERE code = 'b7';
EXPLAIN (ANALYZE) EXECUTE "P_0_2";
SQL
IPC::Run::run([ 'pgbench', '-n', '-M', 'prepared', '-t', 1, '-U', 'app', '-f', $script, $node->connstr('postgres') ], '>&', \my $out);
like($out, qr/EXPLAIN of protected table "orders" is not allowed|prepared statement "P_0_2" does not exist/, 'I30: EXPLAIN EXECUTE: refused');

# --- counters and locks ---------------------------------------------------------

like(answer("$lookup;\nSELECT * FROM $_;"), $refused, "I30: $_: refused")
	for qw(pg_stat_xact_user_tables pg_stat_user_tables pg_statio_user_tables pg_stat_user_indexes pg_stat_database pg_locks pg_stat_wal);
like(answer("SELECT $_;"), $refused, "I30: $_: refused")
	for "pg_stat_get_xact_tuples_fetched('orders'::regclass)", "currtid2('orders', '(0,1)')",
	"sum(pg_stat_get_tuples_fetched(oid)) FROM pg_class", "(SELECT sum(x) FROM pg_stat_get_xact_numscans('orders'::regclass) AS x)";
like(answer("$lookup;\nSELECT * FROM pg_locks WHERE mode = 'SIReadLock';", $begin =~ s/BEGIN/BEGIN ISOLATION LEVEL SERIALIZABLE/r), $refused,
	'I30: the locks of a serializable transaction: refused');
like(answer("SELECT $_;"), $refused, "I30: $_: refused") for 'pg_terminate_backend(1)', 'pg_cancel_backend(1)';
is(answer("SELECT count(*) FROM $_;"), 'ok', "$_: allowed") for qw(pg_stat_activity pg_class pg_prepared_statements);
is(answer('SELECT counters();'), 'ok', 'a superuser\'s definer function: allowed');

# --- log lines -------------------------------------------------------------------

my $before = -s $node->logfile;
session_say($s, $begin . "SET LOCAL client_min_messages = log; SET LOCAL debug_print_plan = on;\n$lookup;");
unlike($s->{err}, qr/PLANNEDSTMT/, 'I30: debug_print_plan: no plan for the client');
session_say($s, 'ROLLBACK;');
like(substr(slurp_file($node->logfile), $before), qr/PLANNEDSTMT/, 'and one in the log');

# --- who is not concerned ----------------------------------------------------------

my ($principal, $tenant) = split /\|/, $node->safe_psql('postgres', "SELECT principal_id, tenant_id FROM bulwark.members WHERE tenant_slug = 'a'");
my ($ret, $plan) = $node->psql('postgres',
	"BEGIN; SELECT '' FROM bulwark.assume('$principal', '$tenant'); EXPLAIN (ANALYZE) $lookup; SELECT count(*) FROM pg_locks",
	extra_params => [ '-U', 'service' ]);
is($ret, 0, 'a service is trusted with all tenants: allowed');
like($plan, qr/Index Cond/, 'and shown the plan');

for my $where ('SET bulwark.introspection', 'ALTER SYSTEM SET bulwark.introspection')
{
	my ($failed) = $node->psql('postgres', "$where = allow");
	isnt($failed, 0, "$where: refused, to a superuser too");
}
$node->append_conf('postgresql.conf', 'bulwark.introspection = allow');
$node->reload;
$node->poll_query_until("postgres", "SELECT current_setting('bulwark.introspection') = 'allow'");
is(answer("EXPLAIN $lookup; SELECT count(*) FROM pg_locks;"), 'ok', 'bulwark.introspection = allow in the configuration file');
session_end($s);

$node->stop;
done_testing();
