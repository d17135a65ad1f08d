# Keys of tenants and their components: what a crash leaves, what other sessions
# notice, what backups bring back, what is wrong with a file or a command.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use File::Copy qw(copy);
use MIME::Base64 qw(decode_base64url);
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir;
my $node = bulwark_node('primary', init => [ allows_streaming => 1 ], conf => "bulwark.tenant_key_cache = 16\n");
my $components = $node->safe_psql('postgres', 'SHOW bulwark.root_key_file') =~ s{/[^/]*$}{/tenant-keys}r;

sub say { my ($session, $sql) = @_; return session_say($session, "$sql;") }

sub tenant
{
	my ($slug) = @_;
	$node->safe_psql('postgres', <<"SQL");
SELECT bulwark.membership_grant(bulwark.principal_create('$slug\@example.org'), bulwark.tenant_create('$slug', '$slug'), 'tenant_admin');
SQL
	return;
}

sub tenant_id { my ($slug) = @_; return "(SELECT tenant_id FROM bulwark.tenants WHERE slug = '$slug')" }

# SQL that acts as the tenant's administrator in a transaction.
sub acting
{
	my ($slug, $sql) = @_;
	return "BEGIN; SELECT bulwark.assume(p.principal_id, t.tenant_id) IS NULL FROM bulwark.principals p, bulwark.tenants t "
	  . "WHERE p.email = '$slug\@example.org' AND t.slug = '$slug'; $sql; COMMIT;";
}

sub seal
{
	my ($slug, $text) = @_;
	return $node->safe_psql('postgres', "SELECT bulwark.encrypt_text_for(" . tenant_id($slug) . ", '$text')");
}

# What opening a value gives: its text, or the SQLSTATE and message.
sub opened
{
	my ($on, $slug, $sealed) = @_;
	my ($rc, $out, $err) = $on->psql('postgres', acting($slug, "SELECT bulwark.decrypt_text('$sealed')"),
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $1 if $err =~ /ERROR:  (.*)/;
	return (split /\n/, $out)[-1] // '';
}

sub files { my ($pattern) = @_; return grep { /$pattern/ } glob "$components/*/*" }

sub component
{
	my ($slug, $kind) = @_;
	$kind //= 'data';
	return $node->safe_psql('postgres', "SELECT component FROM bulwark.tenant_keys WHERE tenant = '$slug' AND kind = '$kind' ORDER BY version DESC LIMIT 1");
}

sub component_path { my ($id) = @_; return "$components/" . substr($id, 0, 2) . "/$id" }

my $destroyed = '55000: the keys of tenant ';
my $refused = '22023: the value cannot be decrypted';

# --- files ---------------------------------------------------------------------
tenant('acme');
my $sealed = seal('acme', 'of acme');
my $path = component_path(component('acme'));
ok(-f $path && -s $path == 73, 'a component is a file of 73 bytes under its id');
is((stat $path)[2] & oct('7777'), oct('0600'), '... that nobody else reads');
is((stat $components)[2] & oct('7777'), oct('0700'), '... in a directory that nobody else enters');
is(scalar files(qr/\.new$/), 0, 'a component that is committed has its own name');
is(opened($node, 'acme', $sealed), 'of acme', 'and its value opens');

# --- what does not commit --------------------------------------------------------
tenant($_) for qw(rolled crashed);
my $session = session_start($node, $node->safe_psql('postgres', 'SELECT current_user'));
say($session, 'BEGIN');
say($session, 'SELECT bulwark.encrypt_text_for(' . tenant_id('rolled') . ", 'x') IS NULL");
is(scalar files(qr/\.new$/), 1, 'the component is there, unsettled, before its transaction commits');
say($session, 'ROLLBACK');
is(scalar files(qr/\.new$/), 0, 'rolled back, it is gone');
say($session, 'BEGIN');
say($session, 'SELECT bulwark.encrypt_text_for(' . tenant_id('crashed') . ", 'x') IS NULL");
$node->stop('immediate');
eval { session_end($session) };
$node->start;
my ($orphan) = files(qr/\.new$/);
ok($orphan, 'a crash leaves the component');
is($node->safe_psql('postgres', 'SELECT bulwark.tenant_key_sweep()'), 0, 'a young one is not swept: its transaction may be under way');
my $old = time - 2 * 86400;
utime $old, $old, $orphan;
rename $path, "$path.new" or die $!;
utime $old, $old, "$path.new";
is(opened($node, 'acme', $sealed), 'of acme', 'a component that a crash left unsettled after the commit opens values');
bulwark_create($node, $_) for $node->safe_psql('postgres', 'CREATE DATABASE other') || 'other';
is($node->safe_psql('other', 'SELECT bulwark.tenant_key_sweep()'), 0, "another database's components are not swept");
cmp_ok($node->safe_psql('postgres', 'SELECT bulwark.tenant_key_sweep()'), '<=', 1, 'an old one in no row is swept, unless the worker has been there first');
ok(!-e $orphan && -f $path && !-e "$path.new", '... and that one only: the one in a row is settled');

# --- what is wrong with a file ----------------------------------------------------
sub with_component
{
	my ($name, $break, $mend, $message) = @_;
	$break->();
	like(opened($node, 'acme', $sealed), qr/^55000: the component of a tenant key/, "$name: 55000");
	is(opened($node, 'rolled', $sealed), $refused, "S1: $name: another tenant learns nothing of it");
	my $offset = -s $node->logfile;
	my ($rc, $out, $err) = $node->psql('postgres', acting('acme', "SELECT bulwark.decrypt_text('$sealed')"));
	like(slurp_file($node->logfile, $offset), $message, "$name: the log says what is wrong");
	unlike($err, qr/DETAIL|\Q$components\E/, "$name: ... and the client does not see where");
	$mend->();
	is(opened($node, 'acme', $sealed), 'of acme', "$name: mended, it works without a restart");
	return;
}
my $content = slurp_file($path);
sub write_component { my ($bytes) = @_; open my $fh, '>:raw', $path or die $!; print $fh $bytes; close $fh; return }
with_component('lost', sub { rename $path, "$dir/kept" or die $! }, sub { rename "$dir/kept", $path or die $! }, qr/it is not there/);
with_component('readable by others', sub { chmod oct('0644'), $path }, sub { chmod oct('0600'), $path }, qr/permissions for group or others \(mode 0644\)/);
with_component('a symbolic link', sub { rename $path, "$dir/kept" or die $!; symlink "$dir/kept", $path },
	sub { unlink $path; rename "$dir/kept", $path or die $! }, qr/symbolic link/);
with_component('cut short', sub { write_component(substr $content, 0, 72) }, sub { write_component($content) }, qr/damaged/);
with_component('one bit changed', sub { my $c = $content; vec($c, 40 * 8, 1) ^= 1; write_component($c) }, sub { write_component($content) }, qr/damaged/);
my $second = seal('rolled', 'x') && slurp_file(component_path(component('rolled')));
with_component("another tenant's", sub { write_component($second) }, sub { write_component($content) }, qr/damaged, or another component/);

# --- other sessions, at their next statement ----------------------------------------
my $login = $node->safe_psql('postgres', 'SELECT current_user');
my $other = session_start($node, $login);
sub key_of { my ($value) = @_; return unpack 'H*', substr decode_base64url(substr $value, 4), 5, 16 }
my $seal_here = 'SELECT bulwark.encrypt_text_for(' . tenant_id('acme') . ", 'x')";
my $before = key_of(say($other, $seal_here));
$node->safe_psql('postgres', 'SELECT bulwark.tenant_key_rotate(' . tenant_id('acme') . ')');
isnt(key_of(say($other, $seal_here)), $before, 'S13: a rotation reaches a session that has the old key at its next statement');
is(opened($node, 'acme', $sealed), 'of acme', 'S13: what was sealed before opens');
say($other, 'BEGIN');
say($other, $seal_here);
$node->safe_psql('postgres', 'SELECT bulwark.tenant_suspend(' . tenant_id('acme') . ", 'test')");
say($other, $seal_here);
like($other->{err}, qr/55000: tenant \S+ is suspended/, 'so does a suspension, within a transaction too');
say($other, 'ROLLBACK');
$node->safe_psql('postgres', 'SELECT bulwark.tenant_resume(' . tenant_id('acme') . ')');
like(say($other, $seal_here), qr/^bw1:/, 'resumed, it goes on');
$node->safe_psql('postgres', 'SELECT bulwark.tenant_key_minimum(' . tenant_id('acme') . ', 2)');
is(opened($node, 'acme', $sealed), $refused, 'S3: below the minimum version nothing opens');
$node->safe_psql('postgres', 'SELECT bulwark.tenant_key_minimum(' . tenant_id('acme') . ', 1)');

# --- more tenants than the cache has room for ------------------------------------------
$node->safe_psql('postgres', q{SELECT count(bulwark.tenant_create('many-' || i, 'Many', id => ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid)) FROM generate_series(1, 50) i});
say($other, q{CREATE TEMP TABLE many AS SELECT i, ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid AS id FROM generate_series(1, 50) i});
is(say($other, 'SELECT count(DISTINCT substr(bulwark.encrypt_text_for(id, $$x$$)::text, 1, 30)) FROM many, generate_series(1, 3)'), 50,
	'with a cache of 16 keys a session uses those of 50 tenants');

# --- S4: nonces of many processes --------------------------------------------------------
my @runs = map { my $out = ''; [ IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
	'SELECT bulwark.encrypt_text_for(' . tenant_id('acme') . ", 'same') FROM generate_series(1, 500)" ], '>', \$out), \$out ] } 1 .. 6;
my %nonces;
for my $run (@runs)
{
	$run->[0]->finish;
	$nonces{ substr decode_base64url(substr $_, 4), 21, 24 }++ for split /\n/, ${ $run->[1] };
}
is(scalar keys %nonces, 3000, 'S4: six sessions at once make 3000 values with 3000 nonces');

# --- a tenant's first key, wanted by many at once ---------------------------------------------
tenant('crowded');
@runs = map { my $out = ''; [ IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
	'SELECT bulwark.encrypt_text_for(' . tenant_id('crowded') . ", 'of crowded')" ], '>', \$out), \$out ] } 1 .. 6;
my @crowd = map { $_->[0]->finish; chomp(my $value = ${ $_->[1] }); $value } @runs;
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT component) FROM bulwark.tenant_keys WHERE tenant = 'crowded'"), '1|1',
	'six sessions at once make one key for a tenant');
is(scalar(grep { opened($node, 'crowded', $_) eq 'of crowded' } @crowd), 6, '... and the values of all open');
is(scalar files(qr/\.new$/), 0, '... with no component left over');

# --- S13: rotations with writers at work, and a crash among them ----------------------------------
tenant('busy');
$node->safe_psql('postgres', 'CREATE TABLE busy (sealed bulwark.encrypted_text)');
my $write = 'DO $$ BEGIN FOR i IN 1 .. 100000 LOOP INSERT INTO busy VALUES (bulwark.encrypt_text_for('
  . tenant_id('busy') . q{, 'of busy')); COMMIT; END LOOP; END $$};
my $busy_id = $node->safe_psql('postgres', 'SELECT ' . tenant_id('busy'));
@runs = map { IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $write ], '>', '/dev/null', '2>', '/dev/null') } 1 .. 3;
$node->poll_query_until('postgres', 'SELECT count(*) > 100 FROM busy');
for my $version (2 .. 6)
{
	is($node->safe_psql('postgres', "SELECT bulwark.tenant_key_rotate('$busy_id')"), $version, "S13: rotated to version $version with writers at work");
	select undef, undef, undef, 0.1;
}
my $rotating = session_start($node, $login);
say($rotating, 'BEGIN');
say($rotating, "SELECT bulwark.tenant_key_rotate('$busy_id')");
$node->stop('immediate');
$_->finish for @runs;
eval { session_end($rotating) };
eval { session_end($other) };
$node->start;
$other = session_start($node, $login);
my $versions = $node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE state = 'active') || ' ' || max(version) FROM bulwark.tenant_keys WHERE tenant = 'busy'");
is($versions, '1 6', 'S13: a rotation that a crash cut off has not been');
is($node->safe_psql('postgres', acting('busy', q{SELECT count(*) FROM busy WHERE bulwark.decrypt_text(sealed) IS DISTINCT FROM 'of busy'})) =~ s/.*\n//sr, 0,
	'S13: every value opens, under whichever version it was made');
cmp_ok($node->safe_psql('postgres', 'SELECT count(DISTINCT substr(sealed::text, 1, 28)) FROM busy'), '>=', 5, 'S13: ... and they are under many');
is($node->safe_psql('postgres', "SELECT bulwark.tenant_key_rotate('$busy_id')"), 7, 'S13: the next rotation goes on');

# --- S14: destroyed stays destroyed --------------------------------------------------------
tenant('doomed');
my $doomed = seal('doomed', 'of doomed');
$node->safe_psql('postgres', acting('doomed', "SELECT bulwark.blind_index('x', 'c')"));
my $id = component('doomed');
my $saved = slurp_file(component_path($id));
$node->backup('before');
like(say($other, acting('doomed', "SELECT bulwark.decrypt_text('$doomed')")), qr/of doomed/, 'a session has the key');
say($other, acting('doomed', 'SELECT 1') =~ s/COMMIT;$//r);
my $receipt = $node->safe_psql('postgres', 'SELECT bulwark.tenant_key_destroy(' . tenant_id('doomed') . ", 'doomed immediately')");
like($receipt, qr/"state": "destroyed"/, 'S14: destroyed at once');
like($receipt, qr/"answer": "destroyed, tombstone left", "provider": "directory", "component": "$id"/, 'S14: the receipt names the provider and its answer');
like($receipt, qr/"remains": \[".*backups of the database.*"\]/, 'S14: ... and what backups hold');
say($other, "SELECT bulwark.decrypt_text('$doomed')");
like($other->{err}, qr/\Q$refused\E/, 'S14: the session that had the key does not open it at its next statement, within its transaction');
say($other, 'ROLLBACK');
is(opened($node, 'doomed', $doomed), $refused, 'S14: nor does a new one');
ok(!-e component_path($id) && -e component_path($id) . '.gone', 'S14: the component is gone, a tombstone is there');
unlike(slurp_file($node->logfile), qr/of doomed/, 'no plaintext in the log');

my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'before');
$restored->start;
is($restored->safe_psql('postgres', "SELECT state FROM bulwark.tenant_keys WHERE tenant = 'doomed' AND kind = 'data'"), 'active',
	'S14: in an old backup of the database the key is active');
is(opened($restored, 'doomed', $doomed), $refused, 'S14: ... and opens nothing');
open my $fh, '>:raw', component_path($id) or die $!;
print $fh $saved;
close $fh;
chmod oct('0600'), component_path($id);
is(opened($restored, 'doomed', $doomed), $refused, 'S14: a component that is restored is refused by its tombstone');
my ($rc, $out, $err) = $restored->psql('postgres', acting('doomed', "SELECT bulwark.blind_index('x', 'c')"));
like($err, qr/are destroyed, or about to be/, 'S14: the blind index is dead too');
unlink component_path($id) . '.gone';
is(opened($restored, 'doomed', $doomed), 'of doomed',
	'S14: what the receipt says: a backup of the database, one of the components and no tombstone together bring it back');
$restored->stop;

# --- a destruction that is due -----------------------------------------------------------------
tenant('due');
my $due = seal('due', 'of due');
$node->safe_psql('postgres', 'SELECT bulwark.tenant_key_destroy(' . tenant_id('due') . ", 'due')");
is(opened($node, 'due', $due), $refused, 'S14: pending, the keys are of no use');
ok(-e component_path(component('due')), 'S14: ... but can be taken back');
$node->safe_psql('postgres', q{UPDATE bulwark_internal.tenant_key_destructions SET due_at = now() - interval '1 s' WHERE receipt IS NULL});
$node->restart;
$node->safe_psql('postgres', q{SELECT bulwark.tenant_create('waker', 'something for the ledger')});
ok($node->poll_query_until('postgres', q{SELECT receipt ->> 'state' = 'destroyed' FROM bulwark.tenant_key_destructions WHERE tenant = 'due'}),
	'S14: when the time is up a worker destroys them');
ok(!-e component_path(component('due')), 'S14: ... and the component');

# --- S13: a standby decrypts --------------------------------------------------------------------
my $standby = PostgreSQL::Test::Cluster->new('standby');
$node->backup('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
# until it has heard of the primary, it has no identities
my $there = '';
for (1 .. 60)
{
	$there = opened($standby, 'acme', $sealed);
	last if $there !~ /^28000/;
	select undef, undef, undef, 0.5;
}
is($there, 'of acme', 'S13: a standby opens values');
tenant('fresh');
$node->wait_for_catchup($standby);
($rc, $out, $err) = $standby->psql('postgres', 'SELECT bulwark.encrypt_text_for(' . tenant_id('fresh') . ", 'x')");
like($err, qr/cannot execute .* in a read-only transaction/, 'a standby makes no key');
$node->safe_psql('postgres', 'SELECT bulwark.tenant_key_minimum(' . tenant_id('acme') . ', 2)');
$node->wait_for_catchup($standby);
is(opened($standby, 'acme', $sealed), $refused, 'S3: the minimum holds on a standby');
$node->safe_psql('postgres', 'SELECT bulwark.tenant_key_minimum(' . tenant_id('acme') . ', 1)');
$standby->stop;

# --- components that a command keeps ---------------------------------------------------------------
mkdir "$dir/vault" or die $!;
my $script = "$dir/vault.sh";
open $fh, '>', $script or die $!;
print $fh <<"SH";
#!/bin/sh
cd '$dir/vault' || exit 1
[ -e hang ] && sleep 60
[ -e fail ] && { echo broken >&2; exit 1; }
[ -e "\$2.gone" ] && [ "\$1" != destroy ] && [ "\$1" != tombstone ] && exit 4
case \$1 in
put) [ -e "\$2" ] && exit 1; umask 077; cat >"\$2" ;;
get) [ -e "\$2" ] || exit 3; cat "\$2"; if [ -e more ]; then echo more; fi ;;
destroy) [ -e "\$2" ] || exit 3; rm "\$2" ;;
tombstone) : >"\$2.gone" ;;
*) exit 2 ;;
esac
SH
close $fh;
chmod oct('0755'), $script;
$node->append_conf('postgresql.conf', "bulwark.tenant_key_command = '$script \"\$1\" \"\$2\"'\nbulwark.tenant_key_command_timeout = '1s'\n");
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('bulwark.tenant_key_command') <> ''});
sub vault { my ($name, $on) = @_; if ($on) { open my $f, '>', "$dir/vault/$name" or die $! } else { unlink "$dir/vault/$name" } return }

tenant('cmd');
vault('fail', 1);
($rc, $out, $err) = $node->psql('postgres', 'SELECT bulwark.encrypt_text_for(' . tenant_id('cmd') . ", 'x')");
like($err, qr/could not be kept outside the database.*exit code 1/s, 'a command that fails: no key is made');
vault('fail', 0);
vault('hang', 1);
my $began = time;
($rc, $out, $err) = $node->psql('postgres', 'SELECT bulwark.encrypt_text_for(' . tenant_id('cmd') . ", 'x')");
like($err, qr/had not finished after 1 s/, 'a command that hangs is stopped');
cmp_ok(time - $began, '<', 20, '... in time');
vault('hang', 0);
is($node->safe_psql('postgres', "SELECT count(*) FROM bulwark.tenant_keys WHERE tenant = 'cmd'"), 0, '... and leaves no key');
my $by_command = seal('cmd', 'of cmd');
is($node->safe_psql('postgres', "SELECT provider FROM bulwark.tenant_keys WHERE tenant = 'cmd'"), 'command', 'a new component goes to the command');
my $kept = component('cmd');
like(slurp_file("$dir/vault/$kept"), qr/^[0-9a-f]{64}$/, '... as 64 hexadecimal digits');
is(opened($node, 'cmd', $by_command), 'of cmd', '... and comes from it');
is(opened($node, 'acme', $sealed), 'of acme', 'one that is in a file still comes from there');
vault('more', 1);
like(opened($node, 'cmd', $by_command), qr/^55000: the component of a tenant key/, 'a command that prints more is refused');
vault('more', 0);
vault('fail', 1);
$receipt = $node->safe_psql('postgres', 'SELECT bulwark.tenant_key_destroy(' . tenant_id('cmd') . ", 'cmd immediately')");
like($receipt, qr/"state": "incomplete".*|.*"answer": "failed: /, 'S14: a provider that fails is named in the receipt, which is not complete');
is(opened($node, 'cmd', $by_command), $refused, 'S14: ... the keys are of no use all the same');
vault('fail', 0);
$receipt = $node->safe_psql('postgres', 'SELECT bulwark.tenant_key_destroy(' . tenant_id('cmd') . ", 'cmd')");
like($receipt, qr/"answer": "destroyed, tombstone left", "provider": "command"/, 'S14: asked again it goes on');
ok(!-e "$dir/vault/$kept" && -e "$dir/vault/$kept.gone", 'S14: the command has destroyed the component and left a tombstone');

# --- S9: no root key ---------------------------------------------------------------------------------
my $key_file = $node->safe_psql('postgres', 'SHOW bulwark.root_key_file');
my (undef, $credential, $kept_id) = split /\n/, $node->safe_psql('postgres',
	acting('acme', q{SELECT bulwark.encrypt('a key of many bytes'); SELECT bulwark.credential_create('kept', 'api_key', 'x')}));
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE keyless LOGIN IN ROLE bulwark_impersonator;
CREATE TABLE own (tenant_id uuid, note text);
GRANT SELECT ON own TO keyless;
INSERT INTO own SELECT tenant_id, 'of ' || slug FROM bulwark.tenants WHERE slug IN ('acme', 'cmd');
SELECT bulwark.protect('own', 'tenant_id');
SQL
my ($who, $where) = split /\|/, $node->safe_psql('postgres', q{SELECT principal_id, tenant_id FROM bulwark.principals, bulwark.tenants WHERE email = 'acme@example.org' AND slug = 'acme'});
$node->stop;
rename $key_file, "$key_file.away" or die $!;
$node->start;
like(opened($node, 'acme', $sealed), qr/^55000: bulwark is sealed: no root key is loaded/, 'S9: without a root key nothing opens: 55000');
($rc, $out, $err) = $node->psql('postgres', 'SELECT bulwark.encrypt_text_for(' . tenant_id('acme') . ", 'x')");
like($err, qr/no root key is loaded.*HINT:  Set bulwark\.root_key_file/s, 'S9: nor is anything sealed, and the hint says why');
for my $call (q{bulwark.encrypt('x')}, q{bulwark.encrypt_text('x')}, q{bulwark.encrypt_bytea('x')}, q{bulwark.encrypt_jsonb('1')},
	"bulwark.decrypt('$credential', 'test')", "bulwark.hmac_sign('$credential', 'x', 'test')", q{bulwark.blind_index('x', 'c')},
	q{bulwark.tenant_public_key()}, q{bulwark.encrypt_sealed(decode(repeat('00', 200), 'hex'), 'c')}, q{bulwark.credential_create('new', 'api_key', 'x')},
	q{bulwark.credential_use('kept', 'test')}, "bulwark.credential_rotate('$kept_id', 'x')", 'bulwark.ticket_issue()',
	'bulwark.tenant_key_rotate(' . tenant_id('acme') . ')', 'bulwark.root_key_rotate()')
{
	($rc, $out, $err) = $node->psql('postgres', acting('acme', "SELECT $call"), extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($err, qr/ERROR:  55000.*HINT:  /s, 'S9: without a root key: ' . ($call =~ /(\w+)\(/)[0] . '() says 55000, with a hint');
}
is($node->safe_psql('postgres', "BEGIN; SELECT bulwark.assume('$who', '$where') IS NULL; SELECT string_agg(note, ' ') FROM own; COMMIT;", extra_params => [ '-U', 'keyless' ]), "f\nof acme",
	'S9: isolation, which needs no key, goes on');
rename "$key_file.away", $key_file or die $!;
$node->reload;
$node->poll_query_until('postgres', q{SELECT state = 'loaded' FROM bulwark.keyring_status() WHERE slot = 'current'});
is(opened($node, 'acme', $sealed), 'of acme', 'S9: the key arrives, and it works without a restart');

done_testing();
