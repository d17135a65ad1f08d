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
my %tenant = map { $_ => $node->safe_psql('postgres', "SELECT bulwark.tenant_create('$_', '$_')") } qw(held away old lost back late soon old2 pipe first);
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

sub component
{
	my ($name, $version) = @_;
	return $node->safe_psql('postgres', "SELECT component FROM bulwark.tenant_keys WHERE tenant = '$name' ORDER BY version = " . ($version // 1) . ' DESC LIMIT 1') =~ s/-//gr;
}
sub path { my ($name, $in, $version) = @_; my $id = component($name, $version); return ($in // $dir) . '/' . substr($id, 0, 2) . "/$id" }

# --- S14: a transaction destroys nothing before its request is committed ------------------------------
my %made = map { $_ => act($_, q{SELECT bulwark.encrypt_text('of } . $_ . q{'), length(bulwark.blind_index('x', 'c'))}) =~ s/\|.*//r } qw(back late soon pipe first);
sub whole { my ($name) = @_; return -e path($name) && act($name, "SELECT bulwark.decrypt_text('$made{$name}')") eq "of $name" }
ok(whole($_), "$_ has a key") for sort keys %made;

like($node->safe_psql('postgres', "BEGIN; SELECT bulwark.tenant_key_destroy('$tenant{back}', 'back immediately'); ROLLBACK"), qr/"state": "pending".*as soon as this is committed/,
	'S14: in a transaction a destruction is a request');
ok(whole('back'), 'S14: rolled back, it has destroyed nothing');
my ($rc, $out, $err) = $node->psql('postgres', "DO 'BEGIN PERFORM bulwark.tenant_key_destroy(''$tenant{back}'', ''back immediately''); PERFORM 1 / (SELECT 0); END'");
like($err, qr/division by zero/, 'a function that fails after it');
ok(whole('back'), 'S14: ... has destroyed nothing either');
is($node->safe_psql('postgres', "SELECT count(*) FROM bulwark.tenant_key_destructions WHERE tenant = 'back'"), 0, '... nor left a request');

# what comes with it in one transaction, or after it, though no BEGIN was said
my $wire = wire_open($node, $superuser);
my $once = "SELECT bulwark.tenant_key_destroy('$tenant{pipe}', 'pipe immediately')";
my $fails = 'SELECT 1 / (SELECT 0)';
like(wire_pipeline($wire, [ 'SELECT 1', 0 ], [ $once, 0 ], [ $fails, 0 ]), qr/"state": "pending".*division by zero/s, 'a pipeline that fails after it');
ok(whole('pipe'), 'S14: ... has destroyed nothing');
like(wire_pipeline($wire, [ $once, 1 ], [ $fails, 0 ]), qr/"state": "pending".*division by zero/s, 'a portal that is left at its first row, and what fails after it');
ok(whole('pipe'), 'S14: ... have destroyed nothing');
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE late (receipt jsonb CHECK (receipt IS NULL));
CREATE FUNCTION late_destroy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM bulwark.tenant_key_destroy(''$tenant{pipe}'', ''pipe immediately''); RETURN NULL; END';
CREATE FUNCTION late_fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''too late''; END';
CREATE CONSTRAINT TRIGGER a AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late_destroy();
CREATE CONSTRAINT TRIGGER b AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late_fail();
SQL
for my $statement ('INSERT INTO late VALUES (NULL)', "INSERT INTO late $once",
	"DO \$\$ BEGIN EXECUTE \$q\$DECLARE a CURSOR WITH HOLD FOR $once\$q\$; EXECUTE \$q\$DECLARE b CURSOR WITH HOLD FOR $fails\$q\$; END \$\$")
{
	my (undef, undef, $complaint) = $node->psql('postgres', $statement);
	like($complaint, qr/too late|check constraint|division by zero/, 'a statement that fails as it is committed');
	ok(whole('pipe'), 'S14: ... has destroyed nothing');
}
like(wire_pipeline($wire, [ $once =~ s/pipe/first/r =~ s/$tenant{pipe}/$tenant{first}/r, 0 ], [ $fails, 0 ]), qr/"state": "destroyed".*division by zero/s, 'first in a pipeline, it is done at once');
is($node->safe_psql('postgres', "SELECT receipt ->> 'state' FROM bulwark.tenant_key_destructions WHERE tenant = 'first'"), 'destroyed', 'S14: ... and what fails after it undoes nothing');
close $wire;

# a snapshot that is older than a rotation
my $older = session_start($node, $superuser);
session_say($older, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class;');
$node->safe_psql('postgres', "SELECT bulwark.tenant_key_rotate('$tenant{late}')");
session_say($older, "SELECT bulwark.tenant_key_destroy('$tenant{late}', 'late immediately');");
ok(-e path('late', undef, $_), "S14: component $_ is there while the request is open") for 1, 2;
session_say($older, 'COMMIT;');
session_end($older);
ok($node->poll_query_until('postgres', "SELECT receipt ->> 'state' = 'destroyed' FROM bulwark.tenant_key_destructions WHERE tenant = 'late'"),
	'S14: once it is committed a worker destroys them');
for my $version (1, 2)
{
	ok(!-e path('late', undef, $version) && -e path('late', undef, $version) . '.gone', "S14: ... component $version, made after the snapshot or before");
}
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT state, ' ') FROM bulwark.tenant_keys WHERE tenant = 'late'"), 'destroyed', 'S14: ... and the keys are destroyed in the database');

# a call that carries one out, and is rolled back: the request stays, and is finished
$node->safe_psql('postgres', "SELECT bulwark.tenant_key_destroy('$tenant{soon}', 'soon')");
$node->safe_psql('postgres', "UPDATE bulwark_internal.tenant_key_destructions SET due_at = now() WHERE tenant_id = '$tenant{soon}'");
$node->safe_psql('postgres', "BEGIN; SELECT bulwark.tenant_key_destroy('$tenant{soon}', 'soon'); ROLLBACK");
ok(!-e path('soon') && -e path('soon') . '.gone', 'S14: a call that goes on with a request destroys at once');
is($node->safe_psql('postgres', "SELECT count(*) FROM bulwark.tenant_key_destructions WHERE tenant = 'soon'"), 1, 'S14: ... and if it is rolled back, the request is there');
($rc, $out, $err) = $node->psql('postgres', "SELECT bulwark.tenant_key_rotate('$tenant{soon}')");
like($err, qr/are destroyed, or about to be/, 'S14: ... so that the tenant gets no new keys');
like($node->safe_psql('postgres', "SELECT bulwark.tenant_key_destroy('$tenant{soon}', 'soon')"), qr/"state": "destroyed"/, 'S14: ... and the next one finishes it');

# --- S14: what was not there is not destroyed --------------------------------------------------
my %value = map { $_ => act($_, q{SELECT bulwark.encrypt_text('of } . $_ . q{')}) } qw(away old lost);
sub destroy { my ($name) = @_; return $node->safe_psql('postgres', "SELECT bulwark.tenant_key_destroy('$tenant{$name}', '$name immediately')") }
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

# lost for good, at the caller's word, who has been told first
($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT bulwark.tenant_key_destroy('$tenant{lost}', 'lost lost')");
like($err, qr/55000: no destruction .* is due/, 'S14: nothing is given up as lost before anybody has looked for it');
unlink path('lost') or die $!;
like(destroy('lost'), qr/"state": "incomplete"/, 'S14: one that is lost is not destroyed by itself');
my $receipt = $node->safe_psql('postgres', "SELECT bulwark.tenant_key_destroy('$tenant{lost}', 'lost lost')");
like($receipt, qr/given up as lost/, 'S14: it is given up at the word of who destroys');
like($receipt, qr/"state": "destroyed"/, 'S14: ... and that completes it');
ok(-e path('lost') . '.gone', 'S14: ... with a tombstone, should it turn up');

# --- S15: what an operator does to take an identity, and rolls back ----------------------------
my $other = $node->safe_psql('postgres', q{SELECT bulwark.tenant_create('other', 'other')});
my $guest = $node->safe_psql('postgres', q{SELECT bulwark.principal_create('guest@example.org')});
my $trap = act('old2', q{SELECT bulwark.credential_create('crm', 'api_key', 'of old2')});
$node->safe_psql('postgres', <<"SQL");
CREATE ROLE dba LOGIN IN ROLE bulwark_admin, bulwark_impersonator;
CREATE ROLE dbas LOGIN IN ROLE bulwark_admin, bulwark_impersonator, bulwark_secrets;
SELECT bulwark.service_scope('dbas', ARRAY['$other'::uuid]);
SQL
sub as_login
{
	my ($login, $sql) = @_;
	my ($code, $said, $complaint) = $node->psql('postgres', "BEGIN;\n$sql;\nROLLBACK;", extra_params => [ '-U', $login ], on_error_stop => 0);
	return $said . $complaint;
}
# what was in force before its commit, of a login
sub in_force
{
	my ($login) = @_;
	return $node->safe_psql('postgres', <<"SQL");
SELECT bulwark.ledger_seal() \\g /dev/null
SELECT l.entity_id = l.tenant_id::text, a ->> 'operation', a ->> 'entity_type', a ->> 'principal'
FROM bulwark.ledger l, jsonb_array_elements(l.metadata -> 'acts') a WHERE l.db_role = '$login' AND l.metadata ->> 'operation' = 'acts_in_force' ORDER BY l.entry_id
SQL
}
my $grant = "SELECT bulwark.membership_grant('$guest', '$tenant{old2}', 'tenant_admin')";
my $assume = "SELECT bulwark.assume('$guest', '$tenant{old2}') ->> 'tenant_slug'";
my $sealed = act('old2', q{SELECT bulwark.encrypt_text('of old2')});
like(as_login('dba', "$grant;\n$assume;\nSELECT bulwark.decrypt_text('$sealed')"), qr/^of old2$/m, 'what a bulwark_admin grants holds in its transaction');
is(in_force('dba'), "t|membership_grant|membership|$guest", 'S15: rolled back, it is on the record');
is($node->safe_psql('postgres', "SELECT count(*) FROM bulwark.ledger WHERE db_role = 'dba' AND metadata ->> 'operation' = 'membership_grant'"), 0, '... as nothing that was committed');
like(as_login('dbas', "SELECT bulwark.service_scope('dbas', NULL);\nSELECT bulwark.assume('$boss', '$tenant{old2}') ->> 'tenant_slug';\nSELECT bulwark.credential_use('crm', 'scope lifted')"),
	qr/^of old2$/m, 'a scope that is lifted is lifted in the transaction');
is(in_force('dbas'), 't|service_scope|login|', 'S15: rolled back, it is on the record');
# after the identity, too; and in the order of both
like(as_login('dba', "SELECT bulwark.assume('$boss', '$tenant{old2}') ->> 'tenant_slug';\n$grant"), qr/old2/, 'a grant under an identity');
is(in_force('dba'), join("\n", ("t|membership_grant|membership|$guest") x 2), 'S15: rolled back, it is on the record');
# what is not in force, or another tenant's, or committed, is not
as_login('dba', "SAVEPOINT s;\n$grant;\nROLLBACK TO s;\nSELECT bulwark.assume('$boss', '$tenant{old2}')");
as_login('dba', "SELECT bulwark.membership_grant('$guest', '$other', 'tenant_admin');\nSELECT bulwark.assume('$boss', '$tenant{old2}')");
$node->psql('postgres', "$grant;\nBEGIN;\n$assume;\nCOMMIT", extra_params => [ '-U', 'dba' ]);
is(in_force('dba'), join("\n", ("t|membership_grant|membership|$guest") x 2), 'what a savepoint took back, another tenant\'s and what was committed is not');
is($node->safe_psql('postgres', "SELECT count(*) FROM bulwark.ledger WHERE db_role = 'dba' AND metadata ->> 'operation' = 'membership_grant'"), 1, '... the last by its own entry');
# released savepoints count for what is around them
as_login('dba', "SAVEPOINT s;\nSELECT bulwark.membership_grant('$boss', '$other', 'tenant_admin');\nRELEASE s;\nSELECT bulwark.assume('$boss', '$other')");
like(in_force('dba'), qr/\|\Q$boss\E$/, 'S15: what a savepoint has kept is');

# and who makes an operator of itself
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE lone LOGIN;
CREATE FUNCTION lend(statement text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN EXECUTE statement; END';
SQL
my $lent = 'GRANT bulwark_impersonator, bulwark_secrets TO lone';
like(as_login('lone', "SELECT lend('$lent');\nSELECT bulwark.assume('$boss', '$tenant{old2}') ->> 'tenant_slug';\nSELECT bulwark.credential_use('crm', 'lent')"), qr/^of old2$/m, 'a role that is granted is granted in the transaction');
as_login('lone', "SELECT lend('CREATE ROLE mid IN ROLE bulwark_impersonator ROLE lone');\nSELECT bulwark.assume('$boss', '$tenant{old2}')");
is($node->safe_psql('postgres', <<'SQL'), qq(role|GRANT ROLE||["bulwark_impersonator", "bulwark_secrets"]|["lone"]\nrole|CREATE ROLE|mid||), 'S15: rolled back, it is on the record');
SELECT bulwark.ledger_seal() \g /dev/null
SELECT a ->> 'entity_type', a ->> 'command', a ->> 'entity_id', a ->> 'roles', a ->> 'members'
FROM bulwark.ledger l, jsonb_array_elements(l.metadata -> 'acts') a WHERE l.db_role = 'lone' ORDER BY l.entry_id
SQL

# many, and long ones, as it takes several entries to hold them
my $roles = "SELECT count(bulwark.role_create('$other', 'r' || i || repeat('x', 40), ARRAY['x:read'])) FROM generate_series(1, 100) i";
my $long = "SELECT bulwark.role_create('$other', 'pad', ARRAY(SELECT 'resource' || i || ':read' FROM generate_series(1, 2000) i))";
as_login('dba', "SELECT bulwark.membership_grant('$guest', '$other', 'tenant_admin');\n$roles;\n$long;\nSELECT bulwark.assume('$guest', '$other')");
my @acts = grep { /\|(role_create|membership_grant)\|/ } split /\n/, in_force('dba');
is(scalar(grep { /role_create/ } @acts), 101, 'S15: what fills up more than one entry is on the record whole');
is($acts[-102], "t|membership_grant|membership|$guest", 'S15: ... with what stands before it');
is($node->safe_psql('postgres', "SELECT count(*) FROM bulwark.ledger WHERE db_role = 'dba' AND metadata ? 'metadata_bytes'"), 0, 'S15: ... and no entry keeps only its length');
like($node->safe_psql('postgres', "SELECT a ->> 'name', a ->> 'permissions' FROM bulwark.ledger l, jsonb_array_elements(l.metadata -> 'acts') a WHERE a ->> 'name' = 'pad'"),
	qr/^pad\|.?resource1:read.*\.\.\. \(\d{5} bytes, SHA-256 [0-9a-f]{64}\)$/, 'S15: ... of a long value its beginning and a digest');

done_testing();
