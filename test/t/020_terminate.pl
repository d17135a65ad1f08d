# Withdrawal with terminate ends the sessions that act under what is withdrawn:
# those and no others, and only once it has committed.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = PostgreSQL::Test::Cluster->new('terminate');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'bulwark'\nmax_prepared_transactions = 2\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION bulwark');

my %id;
sub made
{
	my ($name, $call) = @_;
	return $id{$name} = $node->safe_psql('postgres', "SELECT bulwark.$call");
}
made('a', "tenant_create('a', 'A')");
made('b', "tenant_create('b', 'B')");
made($_, "principal_create('$_\@example.org')") foreach qw(ann bob);
made("ann $_", "membership_grant('$id{ann}', '$id{$_}', 'tenant_admin')") foreach qw(a b);
made('ann reads', "membership_grant('$id{ann}', '$id{a}', 'read_only')");
made("bob $_", "membership_grant('$id{bob}', '$id{$_}', 'tenant_admin')") foreach qw(a b);

# A session that acts as somebody in a statement that does not end by itself.
my @sessions;
sub acting
{
	my ($who, $tenant) = @_;
	my $name = "$who $tenant";
	my ($out, $err) = ('', '');
	my $run = IPC::Run::start(
		[
			'psql', '-XAtq', '-d', $node->connstr('postgres') . " application_name='$name'", '-c',
			"BEGIN; SELECT bulwark.assume('$id{$who}', '$id{$tenant}'); SELECT pg_sleep(600)"
		],
		'<', \undef, '>', \$out, '2>', \$err);
	push @sessions, $run;
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = '$name' AND wait_event = 'PgSleep'")
	  or die "$name does not sleep: $err";
	return;
}

sub alive
{
	return $node->safe_psql('postgres',
		q(SELECT string_agg(application_name, ', ' ORDER BY application_name) FROM pg_stat_activity WHERE application_name ~ '^(ann|bob) [ab]$'));
}

# What is left when those that were told to end have.
sub left_is
{
	my ($expected, $name) = @_;
	foreach (1 .. 100)
	{
		last if alive() eq $expected;
		usleep(50_000);
	}
	is(alive(), $expected, $name);
	return;
}

acting($_->[0], $_->[1]) foreach (['ann', 'a'], ['ann', 'b'], ['bob', 'a'], ['bob', 'b']);
my $all = 'ann a, ann b, bob a, bob b';

$node->safe_psql('postgres', "BEGIN; SELECT bulwark.tenant_suspend('$id{a}', 'x', terminate => true); ROLLBACK");
is(alive(), $all, 'a withdrawal that is rolled back ends nothing');
$node->safe_psql('postgres',
	"BEGIN; SAVEPOINT s; SELECT bulwark.tenant_suspend('$id{a}', 'x', terminate => true); ROLLBACK TO s; COMMIT");
is(alive(), $all, 'nor one in a savepoint that is rolled back');
$node->safe_psql('postgres', "SELECT bulwark.membership_revoke('$id{'ann reads'}')");
is(alive(), $all, 'nor one that does not ask for it');
my ($rc, undef, $err) = $node->psql('postgres',
	"BEGIN; SELECT bulwark.tenant_suspend('$id{a}', 'x', terminate => true); PREPARE TRANSACTION 'x'");
like($err, qr/cannot PREPARE a transaction that is to terminate sessions/, 'a prepared transaction cannot ask for it');

$node->safe_psql('postgres',
	"BEGIN; SAVEPOINT s; SELECT bulwark.membership_revoke('$id{'ann a'}', terminate => true); RELEASE s; COMMIT");
left_is('ann b, bob a, bob b', 'I8: a membership revoked ends the sessions of its principal in its tenant');
$node->safe_psql('postgres', "SELECT bulwark.tenant_suspend('$id{a}', 'x', terminate => true)");
left_is('ann b, bob b', 'I8: a tenant suspended ends all sessions in it');
$node->safe_psql('postgres', "SELECT bulwark.principal_disable('$id{ann}', terminate => true)");
left_is('bob b', 'I8: a principal disabled ends its sessions in every tenant');

# Prepared: what it takes away counts from COMMIT PREPARED on, and until then
# nobody else takes the other administrator.
$node->safe_psql('postgres', "SELECT bulwark.principal_enable('$id{ann}')");
$node->safe_psql('postgres', "BEGIN; SELECT bulwark.membership_revoke('$id{'bob b'}'); PREPARE TRANSACTION 'revoke'");
(undef, undef, $err) = $node->psql('postgres', "SET lock_timeout = '100ms'; SELECT bulwark.principal_disable('$id{ann}')");
like($err, qr/canceling statement due to lock timeout/, 'I31: the other administrator is not disabled while a prepared transaction may take the one');
$node->safe_psql('postgres', "COMMIT PREPARED 'revoke'");
(undef, undef, $err) = $node->psql('postgres', "SELECT bulwark.principal_disable('$id{ann}')");
like($err, qr/would be left without an administrator/, 'I31: nor when it has');

$_->kill_kill foreach @sessions;
$node->stop;
done_testing();
