# Crashes and prepared transactions: no slot of a dead back end acts on, tickets
# survive a restart, and what a prepared transaction withdraws ends when another
# session commits it, whatever the one that loses it holds open.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('crash', conf => <<'CONF');
bulwark.session_state = allow
max_prepared_transactions = 10
restart_after_crash = on
CONF
app_role($node, 'app', 'a', 'b');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE orders (id int PRIMARY KEY, tenant_id uuid NOT NULL);
SELECT bulwark.protect('orders', 'tenant_id');
INSERT INTO orders SELECT 10 * n, tenant_id FROM bulwark.tenants, generate_series(1, 5) AS n WHERE slug = 'a';
GRANT SELECT, INSERT ON orders TO app;
CREATE FUNCTION counted() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM orders); END';
SELECT bulwark.membership_grant(bulwark.principal_create('second@example.org'), tenant_id, 'tenant_admin')
	FROM bulwark.tenants WHERE slug = 'a';
SQL

my $live = 'SELECT count(*) FROM bulwark_internal.live_identities()';
my $count = 'SELECT count(*) FROM orders;';

sub session
{
	my ($begin) = @_;
	my $session = session_start($node, 'app');
	session_say($session, ($begin // 'BEGIN') . sprintf("; SELECT '' FROM bulwark.authenticate('%s')", token('a')) . " \\g /dev/null\n;");
	return $session;
}

sub use_ticket
{
	my ($ticket) = @_;
	my ($rc, $out, $err) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nBEGIN; SET LOCAL bulwark.ticket = '$ticket'; $count", extra_params => [ '-U', 'app' ]);
	return $err =~ /ERROR:\s+(\w+)/ ? $1 : $out;
}

# --- back ends that end, one way or another ---------------------------------------------
my $session = session();
my $ticket = session_say($session, 'SELECT bulwark.ticket_issue();');
is(session_say($session, $count), 5, 'a session acts');
is($node->safe_psql('postgres', $live), 1, 'and live_identities() tells of it');
my $pid = session_say($session, 'SELECT pg_backend_pid();');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 10000)");
is($node->safe_psql('postgres', $live), 0, 'terminated: its slot is free');
$session->{run}->kill_kill;

$session = session();
$pid = session_say($session, 'SELECT pg_backend_pid();');
$session->{run}->kill_kill;
$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
is($node->safe_psql('postgres', $live), 0, 'its client killed: its slot is free');

# The next one that gets the slot is nobody until it proves who it is.
$session = session_start($node, 'app');
is(session_say($session, "BEGIN; $count"), 0, 'the next session has no identity');
session_end($session);

my @others = map { session() } 1 .. 3;
session_say($_, 'INSERT INTO orders (id) VALUES (1000 + pg_backend_pid());') for @others;
is($node->safe_psql('postgres', $live), 3, 'three sessions act');
$pid = session_say($others[0], 'SELECT pg_backend_pid();');
kill 'KILL', $pid;
$_->{run}->kill_kill for @others;
$node->poll_query_until('postgres', 'SELECT 1', '1') or die 'the server did not come back';
is($node->safe_psql('postgres', $live), 0, 'a back end killed amid its transaction: after the restart nobody acts');
is($node->safe_psql('postgres', 'SELECT count(*) FROM orders'), 5, 'and nothing of what they wrote is there');
$node->poll_query_until('postgres', q{SELECT bool_or(state = 'loaded') FROM bulwark.keyring_status()});
is(use_ticket($ticket), 5, 'a ticket from before the crash works');

$session = session();
$node->stop('immediate');
$session->{run}->kill_kill;
$node->start;
is($node->safe_psql('postgres', $live), 0, 'immediate shutdown: nobody acts afterwards');
is(use_ticket($ticket), 5, 'a ticket from before the shutdown works');

# --- an identity and PREPARE TRANSACTION ----------------------------------------------------
$session = session();
is(session_say($session, "INSERT INTO orders (id) VALUES (60); PREPARE TRANSACTION 'by a'; $count"), 0,
	'PREPARE TRANSACTION ends the identity');
is($node->safe_psql('postgres', $live), 0, 'and frees its slot');
$node->stop('immediate');
$session->{run}->kill_kill;
$node->start;
$session = session();
is(session_say($session, "COMMIT; COMMIT PREPARED 'by a'; $count"), 0, 'COMMIT PREPARED gives none back');
session_end($session);
is(use_ticket($ticket), 6, 'what was written under it is there');
$node->safe_psql('postgres', 'DELETE FROM orders WHERE id = 60');

# --- I8: withdrawn by COMMIT PREPARED --------------------------------------------------------
my %withdrawal = (
	'membership revoked' => [
		q{SELECT bulwark.membership_revoke(membership_id) FROM bulwark.members WHERE email = 'a@example.org'},
		q{SELECT bulwark.membership_grant(principal_id, tenant_id, 'tenant_admin') FROM bulwark.principals, bulwark.tenants WHERE email = 'a@example.org' AND slug = 'a'} ],
	'principal disabled' => [
		q{SELECT bulwark.principal_disable(principal_id) FROM bulwark.principals WHERE email = 'a@example.org'},
		q{SELECT bulwark.principal_enable(principal_id) FROM bulwark.principals WHERE email = 'a@example.org'} ],
	'tenant suspended' => [
		q{SELECT bulwark.tenant_suspend(tenant_id, 'test') FROM bulwark.tenants WHERE slug = 'a'},
		q{SELECT bulwark.tenant_resume(tenant_id) FROM bulwark.tenants WHERE slug = 'a'} ]);

for my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	for my $what (sort keys %withdrawal)
	{
		my ($withdraw, $undo) = @{ $withdrawal{$what} };
		my $name = "I8: $what by COMMIT PREPARED, $level";
		my $victim = session("PREPARE counting AS $count PREPARE one (int) AS SELECT id FROM orders WHERE id = \$1; SET plan_cache_mode = force_generic_plan; BEGIN ISOLATION LEVEL $level");

		session_say($victim, 'LOCK TABLE orders IN ACCESS SHARE MODE; DECLARE c CURSOR FOR SELECT id FROM orders ORDER BY id; DECLARE scrolled SCROLL CURSOR FOR SELECT id FROM orders ORDER BY id; DECLARE sorted SCROLL CURSOR FOR SELECT id FROM orders ORDER BY -id;');
		is(session_say($victim, 'FETCH 2 FROM c; FETCH 2 FROM scrolled; FETCH 2 FROM sorted; EXECUTE counting; EXECUTE one (20); SELECT counted();'),
			"10\n20\n10\n20\n50\n40\n5\n20\n5", "$name: before");
		is($victim->{err}, '', "$name: before, no error");
		$node->safe_psql('postgres', "BEGIN; $withdraw; PREPARE TRANSACTION 'withdrawal'");
		is(session_say($victim, $count), 5, "$name: prepared, it changes nothing");
		$node->safe_psql('postgres', "COMMIT PREPARED 'withdrawal'");
		is(session_say($victim, 'FETCH 1 FROM c;'), '', "$name: FETCH");
		is(session_say($victim, 'FETCH BACKWARD 1 FROM scrolled;'), '', "$name: FETCH BACKWARD");
		is(session_say($victim, 'FETCH 1 FROM sorted;'), '', "$name: FETCH of rows sorted before");
		is(session_say($victim, 'FETCH BACKWARD 1 FROM sorted;'), '', "$name: and backward");
		is(session_say($victim, 'EXECUTE counting;'), 0, "$name: a prepared statement");
		is(session_say($victim, 'EXECUTE one (20);'), '', "$name: another");
		is(session_say($victim, 'SELECT counted();'), 0, "$name: a function's kept plan");
		is(session_say($victim, $count), 0, "$name: a new statement");
		session_say($victim, 'SAVEPOINT s; INSERT INTO orders (id) VALUES (70);');
		like($victim->{err}, qr/ERROR:  (42501|23502):/, "$name: nothing is written");
		session_end($victim);
		$node->safe_psql('postgres', $undo);
	}
}

# Prepared, then a crash, then committed.
my ($withdraw) = @{ $withdrawal{'principal disabled'} };
$node->safe_psql('postgres', "BEGIN; $withdraw; PREPARE TRANSACTION 'withdrawal'");
$node->stop('immediate');
$node->start;
$session = session();
is(session_say($session, $count), 5, 'I8: a withdrawal that a crash found prepared changes nothing');
$node->safe_psql('postgres', "COMMIT PREPARED 'withdrawal'");
is(session_say($session, $count), 0, 'I8: and ends the identity when it is committed');
session_end($session);

$node->stop;
done_testing();
