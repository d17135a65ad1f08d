# S10: what a core file of a back end has of secrets that it has used: no plaintext that
# was in our memory alone, after a commit, an error, a cancelled statement, and at the
# end of a session that was terminated; and never a root key, a tenant's key or its
# component.  Core files are written by gdb from running back ends, and by the kernel
# from one that is aborted.
use strict;
use warnings;
no warnings qw(portable);

use Digest::SHA qw(sha256);
use FindBin;
use IPC::Run;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir;
my $root = random_bytes(32);
my $node = bulwark_node('core', key => private_file('core.key', unpack 'H*', $root), conf => "shared_buffers = 4MB\nrestart_after_crash = on\n");
my $components = $node->safe_psql('postgres', 'SHOW bulwark.root_key_file') =~ s{/[^/]*$}{/tenant-keys}r;
my $tenant = 'a9000000-0000-4000-8000-000000000001';
my $principal = 'c9000000-0000-4000-8000-000000000001';
$node->safe_psql('postgres', <<"SQL");
SELECT bulwark.membership_grant(bulwark.principal_create('boss\@example.org', id => '$principal'), bulwark.tenant_create('t', 'T', id => '$tenant'), 'tenant_admin');
CREATE ROLE backend LOGIN IN ROLE bulwark_impersonator, bulwark_secrets;
CREATE TABLE kept (id text PRIMARY KEY, s bulwark.secret, t bulwark.encrypted_text, b bulwark.encrypted_bytea);
GRANT ALL ON kept TO backend;
SQL
my $acting = "SELECT '' FROM bulwark.assume('$principal', '$tenant') \\g /dev/null\n";

# Letters only, the same number of them, and none that another has.
my %canary;
sub canary
{
	my ($way) = @_;
	(my $letters = unpack 'H*', random_bytes(16)) =~ tr/0-9/g-p/;
	return $canary{$way} = "canary$letters";
}
my $length = length canary('a key that signs');

# Plaintexts come in by another session, which ends: the ones that are looked at have
# none in a statement or an answer, where PostgreSQL would keep it.
canary($_) for 'a text', 'bytes', 'a credential', 'a registered credential', 'a text put under another key', 'a text that is indexed', 'a text before an error',
	'a text before an error that is caught', 'a text in a cancelled statement', 'a text in a terminated session', 'a text before an abort';
my %stored = ('a key that signs' => 's', 'a credential' => 's', bytes => 'b');
my $fill = join "\n", 'BEGIN;', $acting, (map { sprintf "INSERT INTO kept (id, %s) VALUES ('%s', bulwark.%s('%s', 'c'));", $stored{$_} // 't', $_,
	{ s => 'encrypt', b => 'encrypt_bytea', t => 'encrypt_text' }->{ $stored{$_} // 't' }, $canary{$_} } sort keys %canary),
	"SELECT bulwark.credential_create('crm', 'api_key', '$canary{'a registered credential'}');", "SELECT bulwark.blind_index('x', 'c');", 'COMMIT;';
$node->safe_psql('postgres', $fill, extra_params => [ '-U', 'backend' ]);

# A box that a client seals.
my $seal = "$dir/seal_box";
my $compiled = run_log([ 'cc', '-o', $seal, "$FindBin::RealBin/seal_box.c", '-lsodium' ]);
ok($compiled, 'a client that seals is compiled');
my $public = $node->safe_psql('postgres', "BEGIN;\n$acting SELECT encode(bulwark.tenant_public_key(), 'hex'); COMMIT;", extra_params => [ '-U', 'backend' ]);
my $inside = 'bwb1' . substr(sha256('bulwark box key v1' . pack 'H*', $public), 0, 16) . pack('H*', $tenant =~ tr/-//dr) . 's' . random_bytes(24)
  . pack('Q>', time) . pack('n', 1) . 'c' . canary('a sealed value');
IPC::Run::run([ $seal, $public, unpack 'H*', $inside ], '>', \my $box) or die 'nothing was sealed';
chomp $box;

my @component = map { substr slurp_file($_), 33, 32 } grep { -f && -s == 73 } glob "$components/*/*";
ok(scalar @component, 'the components are known');

# Processes may not be looked at everywhere.
my $gdb = grep { -x "$_/gdb" } split /:/, $ENV{PATH};
sub core_of
{
	my ($pid, @commands) = @_;
	my $file = "$dir/core.$pid";
	unlink $file;
	return unless $gdb;
	IPC::Run::run([ 'gdb', '-nx', '-batch', '-p', $pid, (map { ('-ex', $_) } @commands, "generate-core-file $file", 'detach') ], '<', '/dev/null', '>&', \my $out);
	note($out) unless -s $file;
	return unless -s $file;
	my $core = slurp_file($file);
	unlink $file;
	return $core;
}

# The key material that a process has of a tenant: all that looks random in the sixteen
# byte pieces of its cache of keys behind each key's id, wherever they are laid out, and
# is not public.
sub keys_in
{
	my ($pid) = @_;
	my @ids = map { pack 'H*', $_ } split /\n/, $node->safe_psql('postgres', q{SELECT replace(key_id::text, '-', '') FROM bulwark_internal.tenant_keys});
	my $public = pack 'H*', $node->safe_psql('postgres', q{SELECT coalesce(string_agg(encode(public_key, 'hex'), ''), '') FROM bulwark_internal.tenant_keys});
	my ($from, $to, $mode, @pieces);
	open my $mem, '<:raw', "/proc/$pid/mem" or return;
	for my $line (split /\n/, slurp_file("/proc/$pid/smaps"))
	{
		($from, $to, $mode) = (hex $1, hex $2, $3) if $line =~ /^([0-9a-f]+)-([0-9a-f]+) (....) /;
		next unless $line =~ /^VmFlags: .*\bdd\b/ && $mode eq 'rw-p';
		sysseek $mem, $from, 0 or next;
		sysread $mem, my $memory, $to - $from or next;
		for my $id (@ids)
		{
			my $at = index $memory, $id;
			next if $at < 0;
			for my $n (2 .. 14)
			{
				my $piece = substr $memory, $at + 8 * $n, 16;
				my %bytes = map { $_ => 1 } split //, $piece;
				push @pieces, $piece if length $piece == 16 && keys %bytes > 11 && index($public, $piece) < 0;
			}
		}
	}
	return @pieces;
}

sub control
{
	my ($session) = @_;
	my $control = 'control' . unpack 'H*', random_bytes(8);
	session_say($session, "SET application_name = '$control';");
	return $control;
}

# What must not be in a core: the canaries of these ways, and any key.
sub clean
{
	my ($name, $core, $control, $keys, @ways) = @_;
	ok(index($core, $control) >= 0, "$name: the core file has the session's memory");
	my @found = grep { index($core, $canary{$_}) >= 0 || index($core, substr $canary{$_}, -16) >= 0 } @ways;
	is_deeply(\@found, [], "S10: $name: no plaintext is in it");
	ok(index($core, $root) < 0 && index(lc $core, unpack 'H*', $root) < 0, "S10: $name: nor is a root key");
	is(scalar(grep { index($core, $_) >= 0 } @component), 0, "S10: $name: nor a component of a tenant's key");
	my $pieces = grep { index($core, $_) >= 0 } @$keys;
	# in a transaction, the cipher library's own state has the key that was used last
	$name =~ /in a transaction/ ? cmp_ok($pieces, '<=', 3, "S10: $name: nor more of tenants' keys than the one that is in use")
	  : is($pieces, 0, "S10: $name: nor a tenant's key");
	return;
}

my %use = (
	'a text' => q{SELECT length(bulwark.decrypt_text(t, 'c')) FROM kept WHERE id = 'a text';},
	bytes => q{SELECT length(bulwark.decrypt_bytea(b, 'c')) FROM kept WHERE id = 'bytes';},
	'a credential' => q{SELECT length(bulwark.decrypt(s, 'core', 'c')) FROM kept WHERE id = 'a credential';},
	'a registered credential' => q{SELECT length(bulwark.credential_use('crm', 'core'));},
	'a key that signs' => q{SELECT length(bulwark.hmac_sign(s, 'x', 'core', 'sha256', 'c')) + } . ($length - 32) . q{ FROM kept WHERE id = 'a key that signs';},
	'a text put under another key' => q{SELECT length(bulwark.decrypt_text(bulwark.encrypt_text(bulwark.decrypt_text(t, 'c'), 'd'), 'd')) FROM kept WHERE id = 'a text put under another key';},
	'a text that is indexed' => q{SELECT length(bulwark.blind_index(bulwark.decrypt_text(t, 'c'), 'c')) + } . ($length - 32) . q{ FROM kept WHERE id = 'a text that is indexed';},
	'a sealed value' => "SELECT length(bulwark.decrypt(bulwark.encrypt_sealed('\\x$box', 'c'), 'core', 'c'));");

SKIP:
{
	my $session = session_start($node, 'backend');
	my $pid = session_say($session, 'SELECT pg_backend_pid();');
	for my $way (sort keys %use)
	{
		is((split /\n/, session_say($session, "BEGIN;\n$acting$use{$way}\nCOMMIT;"))[-1], $length, "$way is used");
	}
	my $control = control($session);
	my @keys = keys_in($pid);
	my $core = core_of($pid);
	skip 'gdb cannot read a back end here', 14 unless defined $core;
	cmp_ok(scalar @keys, '>=', 6, 'the keys that the session has are known');
	clean('after a commit', $core, $control, \@keys, sort keys %use);

	session_say($session, "BEGIN;\n${acting}SELECT 1 / (length(bulwark.decrypt_text(t, 'c')) - $length) FROM kept WHERE id = 'a text before an error';\nROLLBACK;");
	like($session->{err}, qr/division by zero/, 'a statement fails');
	session_say($session, "BEGIN;\n${acting}DO \$\$ BEGIN PERFORM 1 / (length(bulwark.decrypt_text(t, 'c')) - $length) FROM kept WHERE id = 'a text before an error that is caught'; "
		. "EXCEPTION WHEN division_by_zero THEN RAISE WARNING 'caught'; END \$\$;\nCOMMIT;");
	like($session->{err}, qr/caught/, 'an error is caught');
	session_say($session, "SET statement_timeout = 300;\nBEGIN;\n${acting}SELECT length(bulwark.decrypt_text(t, 'c')), pg_sleep(600) FROM kept WHERE id = 'a text in a cancelled statement';\nROLLBACK;\nRESET statement_timeout;");
	like($session->{err}, qr/statement timeout/, 'a statement is cancelled');
	$control = control($session);
	clean('after errors', core_of($pid), $control, \@keys, 'a text before an error', 'a text before an error that is caught', 'a text in a cancelled statement');
	session_end($session);
}

# FATAL: held by gdb as it leaves, when all of its memory has had its end.
SKIP:
{
	skip 'gdb is not installed here', 7 unless $gdb;
	my $session = session_start($node, 'backend');
	my $pid = session_say($session, 'SELECT pg_backend_pid();');
	my $control = control($session);
	$session->{in} .= "BEGIN;\n${acting}SELECT length(bulwark.decrypt_text(t, 'c')), pg_sleep(600) FROM kept WHERE id = 'a text in a terminated session';\n";
	$session->{run}->pump_nb;
	$node->poll_query_until('postgres', "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $pid");
	my @keys = keys_in($pid);
	my ($file, $out) = ("$dir/core.fatal", '');
	my $debugger = IPC::Run::start([ 'gdb', '-nx', '-batch', '-p', $pid, (map { ('-ex', $_) } 'handle SIGUSR1 SIGTERM SIGURG nostop noprint pass', 'break exit', 'echo ready\n', 'continue', "generate-core-file $file", 'kill') ],
		'<', '/dev/null', '>&', \$out, IPC::Run::timeout(300));
	$debugger->pump until $out =~ /ready/ || !$debugger->pumpable;
	skip 'gdb cannot stop a back end here', 7 unless $out =~ /ready/ && $out !~ /not defined|ptrace/;
	kill 'TERM', $pid;
	$debugger->finish;
	eval { $session->{run}->finish };
	ok(-s $file, 'gdb has stopped the session at its end') or diag($out);
	clean('at the end of a terminated session', slurp_file($file), $control, \@keys, 'a text in a terminated session');
	like(slurp_file($node->logfile), qr/terminating connection due to administrator command/, 'it was terminated');
	unlink $file;
	# what gdb has killed has taken the server down with it
	$node->poll_query_until('postgres', 'SELECT true');
}

# Real cores: the kernel's, of back ends that are aborted.
for my $when ('after a commit', 'in a transaction')
{
	SKIP:
	{
		my $pattern = slurp_file('/proc/sys/kernel/core_pattern');
		skip "the kernel puts no core file into the data directory here ($pattern)", 6 if $pattern =~ /^\||\//;
		my $session = session_start($node, 'backend');
		my $pid = session_say($session, 'SELECT pg_backend_pid();');
		skip 'the limit of core files cannot be raised here', 6 unless run_log([ 'prlimit', '--pid', $pid, '--core=unlimited:' ]);
		session_say($session, "BEGIN;\n$acting");
		is(session_say($session, q{SELECT length(bulwark.decrypt_text(t, 'c')) FROM kept WHERE id = 'a text before an abort';}), $length, "a session has decrypted, and is aborted $when");
		session_say($session, 'COMMIT;') if $when eq 'after a commit';
		my $control = $when eq 'after a commit' ? control($session) : '';
		my @keys = keys_in($pid);
		kill 'ABRT', $pid;
		eval { $session->{run}->finish };
		my @files;
		for (1 .. 300)
		{
			@files = grep { -s } glob $node->data_dir . '/core*';
			last if @files && !-d "/proc/$pid";
			select undef, undef, undef, 0.2;
		}
		skip 'the kernel has written no core file', 5 unless @files;
		clean("the kernel's core file $when", slurp_file($files[0]), $control, \@keys, 'a text before an abort');
		unlink @files;
		$node->poll_query_until('postgres', 'SELECT true');
	}
}
$node->stop;
done_testing();
