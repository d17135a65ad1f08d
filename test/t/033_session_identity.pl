# Identities for the whole session: only where the configuration file allows
# them, and then bound like others by their end, by withdrawal and by reset.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('session_identity');
app_role($node, 'app', 'a', 'b');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE orders (id int PRIMARY KEY, tenant_id uuid, owner text);
INSERT INTO orders SELECT row_number() OVER (), tenant_id, slug FROM bulwark.tenants, generate_series(1, 5);
ALTER TABLE orders SET (parallel_workers = 2);
SELECT bulwark.protect('orders', 'tenant_id');
GRANT SELECT ON orders TO app;
SELECT bulwark.membership_grant(bulwark.principal_create('second@example.org'), tenant_id, 'tenant_admin') FROM bulwark.tenants WHERE slug = 'a';
SQL
my $owners = "SELECT string_agg(DISTINCT owner, ',') FROM orders;";
my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;';

sub for_session { return sprintf "SELECT bulwark.authenticate('%s', false) ->> 'tenant_slug';", token($_[0]) }
sub in_transaction { return sprintf "SELECT bulwark.authenticate('%s') ->> 'tenant_slug';", token($_[0]) }

sub state_of
{
	my ($s) = @_;
	return $s->{err} =~ /ERROR:\s+(\w+)/ ? $1 : '';
}

# --- not allowed -------------------------------------------------------------------
my $s = session_start($node, 'app');
session_say($s, for_session('a'));
is(state_of($s), '55000', 'an identity for the session is refused');
like($s->{err}, qr/HINT: .*allow_session_identity in the configuration file/, 'and the hint says how it is allowed');
my $ticket = session_say($s, 'BEGIN; ' . in_transaction('a') =~ s/;$/ \\g \/dev\/null/r . "\nSELECT bulwark.ticket_issue();\nCOMMIT;");
session_say($s, "SELECT set_config('bulwark.ticket', '$ticket', false);");
is(session_say($s, $owners), '', 'a ticket set for the session serves no later statement');
is(session_say($s, "$parallel $owners"), '', 'I15: nor a parallel one');
session_end($s);

# --- allowed -------------------------------------------------------------------------
$node->append_conf('postgresql.conf', 'bulwark.allow_session_identity = on');
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('bulwark.allow_session_identity') = 'on'});

$s = session_start($node, 'app');
is(session_say($s, for_session('a')), 'a', 'allowed: a statement of its own sets it');
is(session_say($s, $owners), 'a', 'it serves the next statement');
is(session_say($s, "BEGIN; $owners COMMIT; BEGIN ISOLATION LEVEL REPEATABLE READ; $owners COMMIT;"), "a\na", 'and transactions');
is(session_say($s, "$parallel $owners"), 'a', 'and parallel workers');
session_say($s, in_transaction('b'));
is(state_of($s), '25P01', 'a local identity needs a transaction as ever');
session_say($s, 'BEGIN; ' . in_transaction('b'));
is(state_of($s), '55000', 'I40: no transaction has another beside it');
session_say($s, 'ROLLBACK;');
session_say($s, for_session('b'));
is(state_of($s), '55000', 'nor does one for the session take its place unasked');
is(session_say($s, $owners), 'a', 'it is still the first');

is(session_say($s, "BEGIN; SELECT bulwark.release(); $owners ROLLBACK; $owners"), "\n\na", 'release() that is rolled back');
is(session_say($s, "SELECT bulwark.release(); $owners"), "\n", 'release() ends it');
is(session_say($s, for_session('b') . $owners), "b\nb", 'then another can be set');
is(session_say($s, "BEGIN; SAVEPOINT s; SELECT bulwark.release(); ROLLBACK TO s; $owners COMMIT;"), "\nb", 'a savepoint restores it');
is(session_say($s, "RESET ALL; $owners"), '', 'I13: RESET ALL ends it');
is(session_say($s, for_session('b') . "DISCARD ALL; $owners"), "b\n", 'I13: and so does DISCARD ALL');
is(session_say($s, 'BEGIN; ' . for_session('a') . "$owners ROLLBACK; $owners"), "a\na\n", 'one that is rolled back is gone');

# --- I7, I8: its end --------------------------------------------------------------------
my $short = session_say($s, 'BEGIN; ' . in_transaction('a') =~ s/;$/ \\g \/dev\/null/r . "\nSELECT bulwark.ticket_issue('2 seconds');\nCOMMIT;");
is(session_say($s, "SELECT set_config('bulwark.ticket', '$short', false); $owners"), "(set)\na", 'a ticket serves the session');
is(session_say($s, "SELECT pg_sleep(2.1); $owners"), "\n", 'I7: a ticket that ends in an open session: the next statement sees nothing');
session_say($s, "SELECT set_config('bulwark.ticket', '$short', false);");
is(state_of($s), '28000', 'I7: nor can it be set again');
is(session_say($s, 'RESET bulwark.ticket;' . for_session('a') . $owners), "a\na", 'proved anew');
$node->safe_psql('postgres', q{SELECT bulwark.membership_revoke(membership_id) FROM bulwark.members WHERE email = 'a@example.org'});
is(session_say($s, $owners), '', 'I8: a membership revoked: the next statement of the session sees nothing');
session_end($s);

# --- assumed ------------------------------------------------------------------------------
$node->safe_psql('postgres', 'CREATE ROLE service LOGIN IN ROLE bulwark_impersonator; GRANT SELECT ON orders TO service');
$s = session_start($node, 'service');
my $assume = $node->safe_psql('postgres', q{SELECT format('SELECT bulwark.assume(%L, %L, false) ->> ''assumed_by'';', principal_id, tenant_id) FROM bulwark.members WHERE email = 'b@example.org'});
is(session_say($s, "$assume $owners"), "service\nb", 'assume() sets one for the session too');
session_end($s);

$node->stop;
done_testing();
