# Standbys: identities and tickets of the primary work there, what is withdrawn
# on the primary ends there when it is replayed, and where nothing is replayed
# any more there is no identity past bulwark.standby_max_staleness.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $stale = 3;
my $node = bulwark_node('primary', init => [ allows_streaming => 1 ], conf => "bulwark.standby_max_staleness = $stale\nmax_prepared_transactions = 5\n");
app_role($node, 'app', 'a', 'b');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE orders (id int PRIMARY KEY, tenant_id uuid NOT NULL);
SELECT bulwark.protect('orders', 'tenant_id');
INSERT INTO orders SELECT 10 * n, tenant_id FROM bulwark.tenants, generate_series(1, 5) AS n WHERE slug = 'a';
INSERT INTO orders SELECT 10 * n + 1, tenant_id FROM bulwark.tenants, generate_series(1, 3) AS n WHERE slug = 'b';
CREATE TABLE churn (id int);
INSERT INTO churn SELECT generate_series(1, 1000);
GRANT SELECT ON orders, churn TO app;
SQL

sub standby
{
	my ($name, $upstream, $conf) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);
	$upstream->backup($name);
	$standby->init_from_backup($upstream, $name, has_streaming => 1);
	$standby->append_conf('postgresql.conf', $conf) if $conf;
	$standby->start;
	return $standby;
}
my $standby = standby('standby', $node, "max_standby_streaming_delay = -1\nhot_standby_feedback = off\n");
my $cascade = standby('cascade', $standby);

sub membership { return $node->safe_psql('postgres', "SELECT membership_id FROM bulwark.members WHERE email = '$_[0]\@example.org'") }

my $count = 'SELECT count(*) FROM orders';

# A session of the app with an identity, by token, in an open transaction.
sub session
{
	my ($on, $tenant, $begin) = @_;
	my $session = session_start($on, 'app');
	session_say($session, ($begin // 'BEGIN') . sprintf("; SELECT '' FROM bulwark.authenticate('%s')", token($tenant)) . " \\g /dev/null\n;");
	is($session->{err}, '', "authenticate() on the " . $on->name);
	return $session;
}

sub ticket
{
	my ($on) = @_;
	return $on->safe_psql('postgres', sprintf(
		"BEGIN; SELECT '' FROM bulwark.authenticate('%s') \\g /dev/null\nSELECT bulwark.ticket_issue();", token('a')),
		extra_params => [ '-U', 'app' ]);
}

sub use_ticket
{
	my ($on, $ticket) = @_;
	my ($rc, $out, $err) = $on->psql('postgres',
		"\\set VERBOSITY verbose\nBEGIN; SET LOCAL bulwark.ticket = '$ticket'; $count;", extra_params => [ '-U', 'app' ]);
	return $err =~ /ERROR:\s+(\w+)/ ? $1 : $out;
}

# Until the session's answer is that; the seconds it took, undef when it never was.
sub wait_for
{
	my ($session, $wanted, $limit) = @_;
	my $began = time;
	while (time - $began < $limit)
	{
		return time - $began if session_say($session, "$count;") eq $wanted;
		usleep(100_000);
	}
	return;
}

# --- what works --------------------------------------------------------------------
my $ticket = ticket($node);
sub fresh { return $_[0]->poll_query_until('postgres', 'SELECT now() - pg_last_xact_replay_timestamp() < interval \'2 s\'') }
fresh($standby) && fresh($cascade) or die 'no heartbeat arrives';
is(use_ticket($node, $ticket), 5, "a ticket of the primary's works there");
is(use_ticket($standby, $ticket), 5, 'and on its standby');
is(use_ticket($cascade, $ticket), 5, "and on the standby's standby");
is(use_ticket($node, ticket($standby)), 5, "a standby's ticket works on the primary");
my $reader = session($standby, 'a');
is(session_say($reader, "$count;"), 5, 'an identity proved on a standby reads its rows');
is($standby->safe_psql('postgres', "SELECT count(*), min(proof) FROM bulwark_internal.live_identities()"), '1|token', 'live_identities tells of it, on the standby');
is($node->safe_psql('postgres', "SELECT count(*) FROM bulwark_internal.live_identities()"), 0, 'and not on the primary');

# --- an idle primary -----------------------------------------------------------------
sleep $stale + 2;
is(session_say($reader, "$count;"), 5, 'an idle primary: the standby stays fresh');
is(use_ticket($cascade, $ticket), 5, 'an idle primary: and the standby of the standby');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'bulwark heartbeat'"), 1, 'by the heartbeat');

# --- I8: what is withdrawn ---------------------------------------------------------------
my $rr = session($standby, 'a', 'BEGIN ISOLATION LEVEL REPEATABLE READ');
session_say($rr, 'DECLARE c CURSOR FOR SELECT id FROM orders ORDER BY id;');
is(session_say($rr, 'FETCH 1 FROM c;'), 10, 'a cursor on the standby, in REPEATABLE READ');
my $membership = membership('a');
$node->safe_psql('postgres', q{
SELECT bulwark.membership_grant(bulwark.principal_create('second@example.org'), tenant_id, 'tenant_admin') FROM bulwark.tenants WHERE slug = 'a'});
$node->safe_psql('postgres', "BEGIN; SELECT bulwark.membership_revoke('$membership'); PREPARE TRANSACTION 'withdraw'");
$node->wait_for_catchup('standby', 'replay', $node->lsn('flush'));
is(session_say($reader, "$count;"), 5, 'I8: a revocation that is prepared on the primary changes nothing yet');
$node->safe_psql('postgres', "COMMIT PREPARED 'withdraw'");
$node->wait_for_catchup('standby', 'replay', $node->lsn('flush'));
is(session_say($reader, "$count;"), 0, 'I8: committed and replayed, the next statement on the standby sees nothing');
is(session_say($rr, 'FETCH 1 FROM c;'), '', 'I8: nor does the next FETCH, in REPEATABLE READ');
is(session_say($rr, "$count;"), 0, 'I8: nor the next statement');
is(use_ticket($standby, $ticket), '28000', 'I8: the ticket is refused there');
session_end($_) for $reader, $rr;

$node->safe_psql('postgres', qq{
SELECT bulwark.membership_grant(principal_id, tenant_id, 'tenant_admin') FROM bulwark.principals, bulwark.tenants
WHERE email = 'a\@example.org' AND slug = 'a'});
$node->wait_for_catchup('standby', 'replay', $node->lsn('flush'));

# --- I8: replay paused -----------------------------------------------------------------------
sub withdrawn_in_time
{
	my ($session, $name) = @_;
	my $took = wait_for($session, 0, 3 * $stale);
	return ok(defined $took && $took < $stale + 2, "$name (after " . ($took // 'never') . ' s)');
}

$reader = session($standby, 'a');
is(session_say($reader, "$count;"), 5, 'granted again: the identity reads');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
withdrawn_in_time($reader, 'I8: replay paused: no identity past the limit');
session_say($reader, sprintf("COMMIT; BEGIN; SELECT bulwark.authenticate('%s');", token('a')));
like($reader->{err}, qr/28000: .*token or ticket refused/, 'I8: replay paused: none to be had either');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
fresh($standby);
session_end($reader);
$reader = session($standby, 'a');
is(session_say($reader, "$count;"), 5, 'replay goes on: identities work again');
session_end($reader);

# --- I8: replay held back by the attacker's own query -------------------------------------------
my $attacker = session($standby, 'a', 'BEGIN ISOLATION LEVEL REPEATABLE READ');
is(session_say($attacker, 'SELECT count(*) FROM churn; SELECT count(*) FROM orders;'), "1000\n5", "the attacker's snapshot is taken");
$node->safe_psql('postgres', 'DELETE FROM churn');
$node->safe_psql('postgres', 'VACUUM churn');
$membership = membership('a');
$node->safe_psql('postgres', "SELECT bulwark.membership_revoke('$membership')");
is(session_say($attacker, "$count;"), 5, 'replay waits for the query, and with it the revocation');
withdrawn_in_time($attacker, "I8: held back by the attacker's own query: no identity past the limit");
session_end($attacker);
$node->wait_for_catchup('standby', 'replay', $node->lsn('flush'));

# --- I8: cut off from the primary ---------------------------------------------------------------------
fresh($standby);
fresh($cascade);
$reader = session($standby, 'b');
my $below = session($cascade, 'b');
is(session_say($reader, "$count;"), 3, 'the standby reads');
is(session_say($below, "$count;"), 3, 'so does its own standby');
my $conninfo = $standby->safe_psql('postgres', 'SHOW primary_conninfo');
$standby->append_conf('postgresql.conf', "primary_conninfo = ''");
$standby->reload;
$standby->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_stat_wal_receiver');
my $lag = wait_for($reader, 0, 3 * $stale);
ok(defined $lag && $lag < $stale + 2, 'I8: cut off: no identity past the limit');
is($cascade->safe_psql('postgres', "SELECT status FROM pg_stat_wal_receiver"), 'streaming', "the standby's standby goes on hearing from it");
ok(defined wait_for($below, 0, $stale), 'I8: and has no identity past the limit either');
session_end($_) for $reader, $below;

# --- promotion ------------------------------------------------------------------------------------------
$ticket = $node->safe_psql('postgres', sprintf(
	"BEGIN; SELECT '' FROM bulwark.authenticate('%s') \\g /dev/null\nSELECT bulwark.ticket_issue();", token('b')), extra_params => [ '-U', 'app' ]);
is(use_ticket($standby, $ticket), 0, 'before promotion: still cut off');
$standby->append_conf('postgresql.conf', "primary_conninfo = '$conninfo'");
$standby->reload;
fresh($standby);
is(use_ticket($standby, $ticket), 3, 'connected again: the ticket works');
$node->stop;
$standby->promote;
is(use_ticket($standby, $ticket), 3, 'promoted: the ticket goes on working');
is($standby->safe_psql('postgres', sprintf(
	"BEGIN; SELECT '' FROM bulwark.authenticate('%s') \\g /dev/null\nINSERT INTO orders (id) VALUES (1000) RETURNING tenant_id = bulwark.tenant_id(); COMMIT", token('b'))), 't',
	'promoted: an identity writes');
$standby->wait_for_catchup('cascade');
is(use_ticket($cascade, $ticket), 4, 'promoted: its standby follows');

$_->stop for $cascade, $standby;
done_testing();
