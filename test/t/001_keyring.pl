# The keyring: where root keys may come from, what a server without one does,
# and that no key is left where it can be read.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $dir = PostgreSQL::Test::Utils::tempdir;
my $node = PostgreSQL::Test::Cluster->new('keyring');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'bulwark'
restart_after_crash = on
shared_buffers = 4MB
include = 'keys.conf'
CONF

my @all_keys;
my $log_start = 0;

sub new_key
{
	open my $fh, '<:raw', '/dev/urandom' or die $!;
	read($fh, my $bytes, 32) == 32 or die 'no random bytes';
	my $hex = unpack 'H*', $bytes;
	push @all_keys, $hex;
	return $hex;
}

# A file in our own directory, for the server's user alone unless told otherwise.
sub file
{
	my ($name, $content, $mode) = @_;
	my $path = "$dir/$name";
	unlink $path;
	open my $fh, '>:raw', $path or die "$path: $!";
	print $fh $content;
	close $fh or die "$path: $!";
	chmod $mode // oct('0600'), $path or die "$path: $!";
	return $path;
}

# What keys.conf is to hold, and nothing else.
sub configure
{
	my ($on, %settings) = @_;
	open my $fh, '>', $on->data_dir . '/keys.conf' or die $!;
	print $fh "bulwark.$_ = '", ($settings{$_} =~ s/'/''/gr), "'\n" for sort keys %settings;
	close $fh or die $!;
	return;
}

sub restart_with
{
	configure($node, @_);
	$node->stop;
	$log_start = -s $node->logfile;
	$node->start;
	return;
}

# Reload, and wait until the keys have been looked for.
sub reload_with
{
	my ($on, @settings) = @_;
	configure($on, @settings);
	$log_start = -s $on->logfile;
	my $before = $on->safe_psql('postgres', 'SELECT clock_timestamp()');
	$on->reload;
	$on->poll_query_until('postgres',
		"SELECT bool_and(checked_at > '$before') FROM bulwark.keyring_status()") or die 'keys were not looked for';
	return;
}

sub log_since { return substr(slurp_file($node->logfile), $log_start) }

sub column
{
	my ($name, $slot, $on) = @_;
	return ($on // $node)->safe_psql('postgres',
		"SELECT $name FROM bulwark.keyring_status() WHERE slot = '$slot'");
}

sub state_of { return column('state', @_) }
sub id_of { return column('key_id', @_) }
sub problem_of { return column('problem', @_) }

# --- A server without a key ------------------------------------------------

configure($node);
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION bulwark');
is(state_of('current'), 'unset', 'S8: without a setting the server starts, and has no key');
like(log_since(), qr/bulwark is sealed.*bulwark\.root_key_file/s, 'S8: the log says so and names the setting');

# --- Files -----------------------------------------------------------------

my $key = new_key();
my $good = file('good', "$key\n");
my $missing = "$dir/missing";
my $link = "$dir/link";
my $fifo = "$dir/fifo";
symlink $good, $link or die $!;
system('mkfifo', '-m', '600', $fifo) == 0 or die 'mkfifo';
mkdir "$dir/directory", oct('0700') or die $!;

for my $case (
	[ 'a missing file', $missing, qr/No such file/ ],
	[ 'a relative path', 'good', qr/not an absolute path/ ],
	[ 'mode 0644', file('mode644', $key, oct('0644')), qr/mode 0644/ ],
	[ 'mode 0640', file('mode640', $key, oct('0640')), qr/mode 0640/ ],
	[ 'mode 0602', file('mode602', $key, oct('0602')), qr/mode 0602/ ],
	[ 'another owner', '/etc/passwd', qr/not owned by the server's user/ ],
	[ 'a symbolic link', $link, qr/symbolic link/ ],
	[ 'a FIFO', $fifo, qr/not a regular file/ ],
	[ 'a directory', "$dir/directory", qr/not a regular file/ ],
	[ 'a device', '/dev/zero', qr/not a regular file/ ],
	[ 'an empty file', file('empty', ''), qr/has 0 bytes/ ],
	[ 'a short key', file('short', substr($key, 0, 63)), qr/has 63 bytes/ ],
	[ 'a short key with a newline', file('short2', substr($key, 0, 63) . "\n"), qr/other than 64 hexadecimal/ ],
	[ 'a digit that is none', file('nonhex', substr($key, 0, 63) . 'g'), qr/other than 64 hexadecimal/ ],
	[ 'a leading space', file('space', ' ' . substr($key, 0, 63)), qr/other than 64 hexadecimal/ ],
	[ 'two newlines', file('newlines', "$key\n\n"), qr/has 66 bytes/ ],
	[ 'a carriage return', file('cr', "$key\r"), qr/other than 64 hexadecimal/ ],
	[ 'a raw key', file('raw', pack('H*', $key)), qr/has 32 bytes/ ])
{
	my ($what, $path, $problem) = @$case;
	restart_with(root_key_file => $path);
	is(state_of('current'), 'failed', "S8: $what: the server starts sealed");
	like(problem_of('current'), $problem, "S8: $what: the status says what is wrong");
	like(log_since(), qr/bulwark has no current root key.*$problem/s, "S8: $what: the log says what is wrong");
}
ok(!-e $missing, 'S8: the server creates no key');

for my $case (
	[ 'without a newline', file('plain', $key) ],
	[ 'with one newline', $good ],
	[ 'in upper case', file('upper', uc $key) ],
	[ 'with mode 0400', file('mode400', $key, oct('0400')) ])
{
	my ($what, $path) = @$case;
	restart_with(root_key_file => $path);
	is(state_of('current'), 'loaded', "a key $what is loaded");
}
my $id = id_of('current');
like($id, qr/^[0-9a-f]{16}$/, 'a key has a public id');
like(log_since(), qr/loaded current root key $id/, 'the log names the key by its id');

my $inside = $node->data_dir . '/root.key';
system('cp', '-p', $good, $inside) == 0 or die 'cp';
restart_with(root_key_file => $inside);
like(log_since(), qr/inside the data directory/, 'a key inside the data directory is warned of');
unlink $inside;

# --- Arrival, loss and change without a restart ----------------------------

restart_with();
reload_with($node, root_key_file => $good);
is(state_of('current') . ' ' . id_of('current'), "loaded $id", 'S9: a key that arrives is loaded by a reload');

my $other_key = new_key();
my $other = file('other', $other_key);
chmod oct('0644'), $good;
reload_with($node, root_key_file => $good);
is(id_of('current'), $id, 'a file that has become unusable leaves the loaded key in place');
like(problem_of('current'), qr/mode 0644/, 'and the status says what is wrong');
like(log_since(), qr/WARNING:  bulwark keeps current root key $id/, 'and the log warns');
chmod oct('0600'), $good;

reload_with($node, root_key_file => $other);
is(id_of('current'), $id, 'S8: a reload does not replace a key by a stranger');
like(problem_of('current'), qr/root key $id is needed, but root key [0-9a-f]{16} was got/,
	'S8: and says which key it needs and which it got');

reload_with($node);
is(state_of('current'), 'unset', 'a setting that is emptied seals the server');
like(log_since(), qr/dropped its current root key.*bulwark is sealed/s, 'and the log says so');

# --- Rotation --------------------------------------------------------------

reload_with($node, root_key_file => $good, root_key_file_next => $good);
is(state_of('current') . ' ' . state_of('next'), 'loaded failed', 'the current key is not its own next');
reload_with($node, root_key_file => $good, root_key_file_next => $other);
my $other_id = id_of('next');
isnt($other_id, $id, 'rotation: the next key is loaded beside the current one');
reload_with($node, root_key_file => $other, root_key_file_next => $good);
is(id_of('current') . ' ' . id_of('next'), "$other_id $id", 'rotation: the two change places');
reload_with($node, root_key_file => $other);
is(id_of('current') . ' ' . state_of('next'), "$other_id unset", 'rotation: the old key is dropped');

# --- Expected ids ----------------------------------------------------------

restart_with(root_key_file => $good, root_key_id => $other_id);
is(state_of('current'), 'failed', 'S8: another key than the expected one is refused at the start');
like(log_since(), qr/root key $other_id is needed, but root key $id was got/,
	'S8: the log says which key it needs and which it got');
restart_with(root_key_file => $good, root_key_id => 'x' x 16);
is(state_of('current'), 'failed', 'an expected id that is none admits no key');
restart_with(root_key_file => $good, root_key_id => uc $id);
is(state_of('current'), 'loaded', 'the expected key is loaded');

# --- Commands --------------------------------------------------------------

sub restart_with_command
{
	my ($command, @more) = @_;
	restart_with(root_key_provider => 'command', root_key_command => $command,
		root_key_command_timeout => '1s', @more);
	return;
}

sub gone
{
	my ($pid_file) = @_;
	my $pid = slurp_file($pid_file) + 0;
	for (1 .. 50)
	{
		return 1 if !kill(0, $pid) || slurp_file("/proc/$pid/stat") =~ /\) Z /;
		usleep(20_000);
	}
	return 0;
}

restart_with_command("cat $good");
is(state_of('current') . ' ' . id_of('current'), "loaded $id", 'a command prints the key');
is(column('source', 'current'), 'bulwark.root_key_command', 'and the status says where it is from');

restart_with_command("ls -l /proc/self/fd >$dir/fds; cat $good");
my @fds = grep { /(\d+) -> (.*)/ && $1 > 2 && $2 !~ m{^/proc/} } split /\n/, slurp_file("$dir/fds");
is_deeply(\@fds, [], 'a command inherits no file descriptor of the server');

for my $case (
	[ 'exits non-zero after the key', "cat $good; exit 3", qr/exit code 3/ ],
	[ 'is not there', '/nonexistent/command', qr/exit code 127|command not found/ ],
	[ 'is killed', "cat $good; kill -9 \$\$", qr/signal 9/ ],
	[ 'prints nothing', 'true', qr/other than 64 hexadecimal/ ],
	[ 'prints more', "cat $good $good", qr/more than 64 hexadecimal/ ],
	[ 'prints without end', 'yes', qr/more than 64 hexadecimal/ ],
	[ 'prints a word', 'echo key', qr/other than 64 hexadecimal/ ],
	[ 'prints two newlines', "cat $good; echo", qr/more than 64 hexadecimal/ ],
	[ 'hangs', "echo \$\$ >$dir/pid; sleep 600", qr/not finished after 1 s/ ],
	[ 'hangs after the key', "cat $good; exec >/dev/null; sleep 600", qr/not finished after 1 s/ ],
	[ 'leaves its output open', "cat $good; sleep 600 &", qr/not finished after 1 s/ ])
{
	my ($what, $command, $problem) = @$case;
	my $started = time;
	restart_with_command($command);
	is(state_of('current'), 'failed', "S8: a command that $what: the server starts sealed");
	like(log_since(), qr/bulwark has no current root key.*$problem/s, "S8: a command that $what: the log says what is wrong");
	cmp_ok(time - $started, '<', 30, "S8: a command that $what does not hold the server");
}
ok(gone("$dir/pid"), 'a command whose time is up is killed');
restart_with_command("sleep 600 >/dev/null 2>&1 & echo \$! >$dir/pid; cat $good");
is(state_of('current'), 'loaded', 'a command that leaves a process behind has printed the key');
ok(gone("$dir/pid"), 'and the process is killed');

my $switch = file('switch', $key);
restart_with_command("cat $switch");
file('switch', $other_key);
reload_with($node, root_key_provider => 'command', root_key_command => "cat $switch");
is(id_of('current'), $id, 'S8: a command that prints another key on reload: the loaded one stays');
like(log_since(), qr/root key $id is needed, but root key $other_id was got/, 'S8: and the log says which');
reload_with($node, root_key_provider => 'command', root_key_command => 'sleep 600',
	root_key_command_timeout => '1s');
is(id_of('current'), $id, 'a command that hangs on reload: the loaded key stays');

# --- What a sealed server refuses ------------------------------------------

restart_with();
my $asking = <<'SQL';
BEGIN;
SELECT bulwark.assume(p, t) IS NOT NULL FROM (SELECT
	(SELECT principal_id FROM bulwark.principals WHERE email = 'someone@example.com') AS p,
	(SELECT tenant_id FROM bulwark.tenants WHERE slug = 'somewhere') AS t) AS ids;
\echo :SQLSTATE
SELECT bulwark.ticket_issue() LIKE 'bwt1.%';
\echo :SQLSTATE
\echo :LAST_ERROR_MESSAGE
COMMIT;
SQL
$node->safe_psql('postgres', <<'SQL');
SELECT bulwark.tenant_create('somewhere', 'Somewhere');
SELECT bulwark.principal_create('someone@example.com');
SELECT bulwark.membership_grant(
	(SELECT principal_id FROM bulwark.principals WHERE email = 'someone@example.com'),
	(SELECT tenant_id FROM bulwark.tenants WHERE slug = 'somewhere'), 'tenant_admin');
SQL
my ($rc, $out, $err) = $node->psql('postgres', $asking, on_error_stop => 0);
like($out, qr/^t\n00000\n55000\n/, 'S9: sealed: an identity may be assumed, a ticket is refused with 55000');
like($out, qr/no root key is loaded/, 'S9: sealed: the error says why');
like($err, qr/HINT:.*bulwark\.root_key_file/, 'S9: sealed: the hint names the setting');
reload_with($node, root_key_file => $good);
($rc, $out, $err) = $node->psql('postgres', $asking, on_error_stop => 0);
like($out, qr/^t\n00000\nt\n00000\n/, 'S9: the key arrives by reload, and tickets are issued');

# --- Whose tickets a server takes --------------------------------------------

sub issue_ticket
{
	my ($ticket) = $node->safe_psql('postgres', $asking =~ s/ LIKE 'bwt1.%'//r) =~ /^(bwt1\..*)$/m;
	return $ticket // die 'no ticket';
}

# Whose it is, or the SQLSTATE and message.
sub use_ticket
{
	my ($ticket) = @_;
	my (undef, $stdout, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\nBEGIN; SET LOCAL bulwark.ticket = '$ticket';\n"
		. q{SELECT bulwark.identity() ->> 'email'});
	return $stderr =~ /ERROR:  (\w+: .*)/ ? $1 : $stdout;
}

my $ticket = issue_ticket();
is(use_ticket($ticket), 'someone@example.com', 'a ticket under this root key is taken');
restart_with(root_key_file => $other);
is(use_ticket($ticket), '28000: token or ticket refused', 'I2: a ticket under another root key is refused');
my $newer = issue_ticket();
is(use_ticket($newer), 'someone@example.com', 'one under the new key is taken');
restart_with(root_key_file => $other, root_key_file_next => $good);
is(use_ticket($ticket), 'someone@example.com', 'while a rotation overlaps, a ticket under either key is taken: the one');
is(use_ticket($newer), 'someone@example.com', 'and the other');
restart_with(root_key_file => $good);
is(use_ticket($newer), '28000: token or ticket refused', 'I2: after it, a ticket under the key that is gone is refused');
is(use_ticket($ticket), 'someone@example.com', 'and the other is taken');
restart_with();
like(use_ticket($ticket), qr/^55000: bulwark is sealed: no root key is loaded/, 'S9: sealed: a ticket cannot be verified, and the error says why');
restart_with(root_key_file => $good);

# --- Settings and who may see ----------------------------------------------

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE plain LOGIN;
CREATE ROLE keeper LOGIN IN ROLE bulwark_keys;
SQL
for my $setting (qw(root_key_provider root_key_file root_key_file_next root_key_command
	root_key_command_next root_key_command_timeout root_key_id root_key_id_next root_key_provider_next
	root_key_pkcs11 root_key_pkcs11_next root_key_pkcs11_timeout))
{
	my $value = $setting =~ /timeout/ ? 5 : $setting =~ /provider/ ? q('command') : q('/x');
	for my $sql ("ALTER SYSTEM SET bulwark.$setting = $value", "SET bulwark.$setting = $value",
		"ALTER ROLE plain SET bulwark.$setting = $value")
	{
		isnt($node->psql('postgres', $sql), 0, "$sql is refused");
	}
	isnt($node->psql('postgres', "SHOW bulwark.$setting", extra_params => [ '-U', 'plain' ]), 0,
		"bulwark.$setting is not shown to a plain role");
}
isnt($node->psql('postgres', 'SELECT bulwark.keyring_status()', extra_params => [ '-U', 'plain' ]), 0,
	'keyring_status is not for a plain role');
is($node->psql('postgres', 'SELECT bulwark.keyring_status()', extra_params => [ '-U', 'keeper' ]), 0,
	'keyring_status is for members of bulwark_keys');

# --- Crashes ---------------------------------------------------------------

rename $good, "$good.away" or die $!;
$log_start = -s $node->logfile;
my $victim = $node->background_psql('postgres', on_error_stop => 0);
my $victim_pid = $victim->query_safe('SELECT pg_backend_pid()');
cmp_ok($victim_pid, '>', 1, 'a back end to kill') and kill 'KILL', $victim_pid;
$node->wait_for_log(qr/reinitializing.*ready to accept connections/s, $log_start);
$node->poll_query_until('postgres', 'SELECT checked_at IS NOT NULL FROM bulwark.keyring_status() LIMIT 1');
is(id_of('current'), $id, 'a crash restart keeps the key, though its file is away');
rename "$good.away", $good or die $!;
eval { $victim->quit };

sub worker_pid
{
	my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
	for my $proc (glob '/proc/[0-9]*')
	{
		my $line = eval { slurp_file("$proc/cmdline") } // '';
		my $stat = eval { slurp_file("$proc/stat") } // '';
		return $proc =~ s{/proc/}{}r if $line =~ /bulwark keyring/ && $stat =~ /\) \w $postmaster /;
	}
	return 0;
}
my $worker = worker_pid();
ok($worker, 'one worker looks after the keys');
kill 'TERM', $worker;
for (1 .. 100)
{
	my $now = worker_pid();
	last if $now && $now != $worker;
	usleep(100_000);
}
isnt(worker_pid(), $worker, 'a worker that is terminated is started again');
reload_with($node, root_key_file => $good, root_key_file_next => $other);
is(id_of('next'), $other_id, 'and takes up a reload');

# --- Memory ----------------------------------------------------------------

# The mappings of a process: address range, flags, and what of @bytes is in them.
sub mappings
{
	my ($pid, @bytes) = @_;
	my @found;
	my $mem;
	open $mem, '<:raw', "/proc/$pid/mem" or undef $mem;
	for my $line (split /\n/, slurp_file("/proc/$pid/smaps"))
	{
		if ($line =~ /^([0-9a-f]+)-([0-9a-f]+) (....) /)
		{
			push @found, { from => hex $1, to => hex $2, mode => $3, name => $line };
		}
		$found[-1]{flags} = $1 if $line =~ /^VmFlags: (.*)/;
	}
	@found = grep { $_->{mode} =~ /^rw/ } @found;
	for my $map (@found)
	{
		my $size = $map->{to} - $map->{from};
		next unless $mem && sysseek($mem, $map->{from}, 0);
		next unless sysread($mem, my $content, $size);
		$map->{holds} = grep { index($content, $_) >= 0 } @bytes;
		$map->{read} = 1;
	}
	return @found;
}

my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
my $session = $node->background_psql('postgres');
$session->query_safe($_) for $asking =~ /^((?:BEGIN|SELECT).*?;)$/msg;
my $backend = $session->query_safe('SELECT pg_backend_pid()');

my ($ring) = grep { $_->{flags} =~ /\bdd\b/ && $_->{mode} eq 'rw-s' } mappings($postmaster);
ok($ring, 'S10: the root keys have a mapping that core dumps leave out');
like($ring->{flags} // '', qr/\blo\b/, 'S10: and that is locked');

SKIP:
{
	my %process = (postmaster => $postmaster, worker => worker_pid(), 'back end' => $backend);
	my @raw = map { pack 'H*', $_ } $key, $other_key;
	my @maps = mappings($postmaster, @raw);
	skip 'the memory of the server cannot be read here', 9 unless grep { $_->{read} } @maps;
	for my $name (sort keys %process)
	{
		my @holding = grep { $_->{holds} } mappings($process{$name}, @raw);
		is(scalar @holding, 1, "S10: $name: the root keys are in one mapping");
		like($holding[0]{flags} // '', qr/\bdd\b/, "S10: $name: which core dumps leave out");
		my @digits = grep { $_->{holds} } mappings($process{$name}, $key, $other_key);
		is_deeply([ map { $_->{name} } @digits ], [], "S10: $name: their digits are nowhere");
	}
}
$session->quit;

# --- Standby ---------------------------------------------------------------

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('keyring_standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
configure($standby, root_key_file => $other);
$standby->start;
is(id_of('current', $standby), $other_id, 'a standby loads its own key');
reload_with($standby);
is(state_of('current', $standby), 'unset', 'and reloads it');
$standby->stop;

$node->stop;
my $log = slurp_file($node->logfile) . slurp_file($standby->logfile);
is(scalar(grep { $log =~ /$_/i } @all_keys), 0, 'no key is in a log');

done_testing();
