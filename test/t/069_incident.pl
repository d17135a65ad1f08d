# An incident: whoever answers to it does not wait for a transaction that somebody leaves
# open, and a destruction is done only when what it destroys was there to be destroyed.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('incident');
my $dir = $node->safe_psql('postgres', q{SELECT regexp_replace(current_setting('bulwark.root_key_file'), '/[^/]*$', '/tenant-keys')});
my %tenant = map { $_ => $node->safe_psql('postgres', "SELECT bulwark.tenant_create('$_', '$_')") } qw(held away old lost);
my $boss = $node->safe_psql('postgres', q{SELECT bulwark.principal_create('boss@example.org')});
$node->safe_psql('postgres', "SELECT bulwark.membership_grant('$boss', '$_', 'tenant_admin')") for values %tenant;

sub acting
{
	my ($name, $statement) = @_;
	return "BEGIN;\nSELECT '' FROM bulwark.assume('$boss', '$tenant{$name}') \\g /dev/null\n$statement;";
}

sub act { my ($name, $statement) = @_; return $node->safe_psql('postgres', acting($name, $statement) . "\nCOMMIT;") }

# --- nobody is held up without end ----------------------------------------------------------
my $credential = act('held', q{SELECT bulwark.credential_create('crm', 'api_key', 'first')});
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');
my $open = session_start($node, $superuser);
session_say($open, acting('held', "SELECT bulwark.credential_rotate('$credential', 'second', '1 day'), bulwark.blind_index('x', 'the first index key')"));
my %next = (
	"credential_revoke('$credential', 'incident')" => 'credential_freeze',
	"credential_rotate('$credential', 'third')" => 'credential_freeze',
	"tenant_key_rotate('$tenant{held}')" => 'tenant_suspend',
	"tenant_key_destroy('$tenant{held}', 'held immediately')" => 'tenant_suspend',
);
# all at once; statement_timeout ends a wait without end
my @waiting;
for my $call (sort keys %next)
{
	my %wait = (call => $call, err => '');
	$wait{run} = IPC::Run::start([ 'psql', '-XqAt', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'), '-c', 'SET statement_timeout = 90000', '-c', "SELECT bulwark.$call" ],
		'>', \my $out, '2>', \$wait{err}, IPC::Run::timeout(180));
	push @waiting, \%wait;
}
for my $wait (@waiting)
{
	$wait->{run}->finish;
	like($wait->{err}, qr/ERROR:  55P03: .*HINT:  .*pg_terminate_backend.*$next{$wait->{call}}/s, "S15: $wait->{call} gives up, and says what to do");
}
is($node->safe_psql('postgres', "SELECT bulwark.credential_freeze('$tenant{held}', 'incident'); SELECT state FROM bulwark.credentials"), "\nfrozen",
	'S15: a freeze waits for nobody');
is($node->safe_psql('postgres', "SELECT bulwark.tenant_suspend('$tenant{held}', 'incident')"), '', 'S15: nor does a suspension');
is($node->safe_psql('postgres', 'SHOW lock_timeout'), 0, 'lock_timeout is as it was');
session_say($open, 'ROLLBACK;');
session_end($open);

# --- S14: what was not there is not destroyed --------------------------------------------------
my %value = map { $_ => act($_, q{SELECT bulwark.encrypt_text('of } . $_ . q{')}) } qw(away old lost);
sub component { return $node->safe_psql('postgres', "SELECT DISTINCT component FROM bulwark.tenant_keys WHERE tenant = '$_[0]'") =~ s/-//gr }
sub path { my ($name, $in) = @_; my $id = component($name); return ($in // $dir) . '/' . substr($id, 0, 2) . "/$id" }
sub destroy
{
	my ($name, $confirm) = @_;
	return $node->safe_psql('postgres', "SELECT bulwark.tenant_key_destroy('$tenant{$name}', '" . ($confirm // "$name immediately") . "')");
}
ok(-e path($_), "the component of $_ is there") for qw(away old lost);
rename $dir, "$dir-mount" or die $!;
like(destroy('away'), qr/"state": "incomplete".*is not there: is it mounted|is not there: is it mounted.*"state": "incomplete"/, 'S14: with the directory away a destruction is not complete');
ok(!-e $dir, 'S14: ... and makes none');
mkdir $dir, oct('0700') or die $!;
for my $time (qw(first second))
{
	like(destroy('away'), qr/not there, and no tombstone.*"state": "incomplete"|"state": "incomplete".*not there, and no tombstone/,
		"S14: nor with an empty one in its place, the $time time");
}
ok(!-e path('away') . '.gone', 'S14: ... and no tombstone says that it was');
like($node->safe_psql('postgres', "SELECT count(*) FROM bulwark.tenant_key_destructions WHERE tenant = 'away' AND receipt IS NULL"), qr/^1$/, 'S14: ... the request stays');
rename $dir, "$dir-under" or die $!;
rename "$dir-mount", $dir or die $!;
like(destroy('away'), qr/"state": "destroyed"/, 'S14: mounted again, it is destroyed');
ok(!-e path('away') && -e path('away') . '.gone', 'S14: ... and gone');
like(destroy('away'), qr/"state": "destroyed"/, 'asked again, it is the receipt');

# the row's place is away, and the present one has nothing
$node->append_conf('postgresql.conf', "bulwark.tenant_key_directory = '$dir-new'\n");
mkdir "$dir-new", oct('0700') or die $!;
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('bulwark.tenant_key_directory') <> ''});
rename $dir, "$dir-mount" or die $!;
like(destroy('old'), qr/"state": "incomplete"/, 'S14: nor is one complete whose place is away, with the setting moved');
ok(!-e $dir && !-e path('old', "$dir-new") . '.gone', 'S14: ... nothing is made');
rename "$dir-mount", $dir or die $!;
like(destroy('old'), qr/"state": "destroyed"/, 'S14: there again, it is destroyed');
ok(!-e path('old') && -e path('old') . '.gone' && -e path('old', "$dir-new") . '.gone', 'S14: ... with a tombstone in both places');

# lost for good, at the caller's word
unlink path('lost') or die $!;
like(destroy('lost'), qr/"state": "incomplete"/, 'S14: one that is lost is not destroyed by itself');
my $receipt = destroy('lost', 'lost lost');
like($receipt, qr/given up as lost/, 'S14: it is given up at the word of who destroys');
like($receipt, qr/"state": "destroyed"/, 'S14: ... and that completes it');
ok(-e path('lost') . '.gone', 'S14: ... with a tombstone, should it turn up');

done_testing();
