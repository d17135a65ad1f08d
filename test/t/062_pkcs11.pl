# A root key that never leaves its PKCS#11 token (SoftHSM2): what the server needs of
# it, what it does without, and that nothing else opens what the token has wrapped.
use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my ($module) = grep { -e } glob '/usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so /usr/lib64/softhsm/libsofthsm2.so';
plan skip_all => 'SoftHSM2 (package softhsm2) is not here' unless $module && `sh -c 'command -v softhsm2-util'`;

my $dir = PostgreSQL::Test::Utils::tempdir;
my $pin = 'pin-' . unpack 'H*', random_bytes(8);
my $pin_file = private_file('pin', "$pin\n");
mkdir "$dir/tokens", oct('0700') or die $!;
$ENV{SOFTHSM2_CONF} = private_file('softhsm2.conf', "directories.tokendir = $dir/tokens\nobjectstore.backend = file\nlog.level = ERROR\n");

sub run_quietly
{
	my (@command) = @_;
	my ($out, $err) = run_command(\@command);
	$? == 0 or die "@command: $out$err";
	return $out;
}

sub token_init { my ($label) = @_; run_quietly('softhsm2-util', '--init-token', '--free', '--label', $label, '--so-pin', 'officer', '--pin', $pin); return }

sub uri
{
	my ($token, $object, %query) = @_;
	%query = ('module-path' => $module, 'pin-source' => "file:$pin_file", %query);
	return "pkcs11:token=$token;object=$object?" . join '&', map { "$_=$query{$_}" } grep { defined $query{$_} } sort keys %query;
}

# Random bytes that softhsm2-util can import: it takes some control characters for the file's end.
sub importable { my ($n) = @_; return random_bytes($n) =~ tr/\0-\x20\x7f/!-A/r }

# A key of known bytes, as no server should have them.
sub import_key
{
	my ($token, $label, $id, $bytes) = @_;
	my $file = private_file("import-$label", $bytes);
	run_quietly('softhsm2-util', '--import', $file, '--aes', '--token', $token, '--pin', $pin, '--label', $label, '--id', $id);
	unlink $file;
	return;
}

sub ctl
{
	my ($code, $expected, $name, @args) = @_;
	my ($out, $err) = run_command([ 'bulwarkctl', @args ]);
	is($? >> 8, $code, "$name: exit code");
	like($code == 0 ? $out : $err, $expected, $name);
	unlike("$out$err", qr/\Q$pin\E/, "$name: the PIN is not shown");
	return $out;
}

token_init('bulwark');
token_init('other');

# --- bulwarkctl ------------------------------------------------------------------

my $root_a = uri('bulwark', 'root-a');
ctl(1, qr/no secret key "root-a"/, 'a key that is not there', 'token-id', $root_a);
my ($id_a) = ctl(0, qr/^root key [0-9a-f]{16}$/, 'token-keygen makes a key', 'token-keygen', $root_a) =~ /root key (\w+)/;
ctl(0, qr/^root key $id_a$/, 'token-id shows the same id', 'token-id', $root_a);
ctl(1, qr/has a secret key "root-a" already/, 'a key is not made twice', 'token-keygen', $root_a);

my $known = importable(32);
import_key('bulwark', 'known', '0a', $known);
my ($id_known) = ctl(0, qr/^root key/, 'a key made elsewhere', 'token-id', uri('bulwark', 'known')) =~ /root key (\w+)/;

SKIP:
{
	my $mac = sub {
		my $hex = unpack 'H*', $known;
		my ($out) = run_command([ 'sh', '-c', "printf '%b' '\\0$_[0]bulwark token root v1\\0000\\0001\\0000' | openssl mac -cipher AES-256-CBC -macopt hexkey:$hex CMAC" ]);
		return pack 'H*', $out =~ /^([0-9A-Fa-f]{32})$/m ? $1 : '';
	};
	my $root = $mac->('001') . $mac->('002');
	skip 'openssl mac is not here', 1 unless length $root == 32;
	my $id = substr hmac_sha256("bulwark root key id v1\x01", hmac_sha256($root, "\0" x 32)), 0, 8;
	is($id_known, unpack('H*', $id), 'the root is AES-CMAC in counter mode (SP 800-108), and the id HKDF of it');
}

import_key('bulwark', 'short', '0b', importable(16));
import_key('bulwark', 'twice', '0c', importable(32));
import_key('bulwark', 'twice', '0d', importable(32));
my $pkcs11_tool = `sh -c 'command -v pkcs11-tool'` ? 1 : 0;
if ($pkcs11_tool)
{
	my @tool = ('pkcs11-tool', '--module', $module, '--token-label', 'bulwark', '--login', '--pin', $pin, '--keygen', '--key-type', 'AES:32');
	run_quietly(@tool, '--label', 'tool', '--id', '10', '--private', '--sensitive', '--usage-sign', '--usage-decrypt');
	run_quietly(@tool, '--label', 'extractable', '--id', '11', '--private', '--sensitive', '--extractable', '--usage-sign', '--usage-decrypt');
	run_quietly(@tool, '--label', 'plain', '--id', '12', '--private', '--usage-sign', '--usage-decrypt');
}
for my $case (
	[ 'an AES key of 128 bits', uri('bulwark', 'short'), qr/not an AES key of 256 bits/ ],
	[ 'two keys of a name', uri('bulwark', 'twice'), qr/more than one secret key "twice"/ ],
	[ 'no such token', uri('none', 'root-a'), qr/there is no token "none"/ ],
	[ 'no such module', uri('bulwark', 'root-a', 'module-path' => '/nonexistent/module.so'), qr/could not load the module/ ],
	[ 'a file that is no library', uri('bulwark', 'root-a', 'module-path' => $pin_file), qr/could not load the module/ ],
	[ 'a library that is no module', uri('bulwark', 'root-a', 'module-path' => (glob '/usr/lib/*/libcrypto.so.3 /lib/*/libcrypto.so.3')[0]), qr/not a PKCS#11 module/ ],
	[ 'no PIN', uri('bulwark', 'root-a', 'pin-source' => undef), qr/needs a PIN/ ],
	[ 'a PIN file that is not there', uri('bulwark', 'root-a', 'pin-source' => "file:$dir/none"), qr/No such file/ ],
	[ 'a PIN command that fails', uri('bulwark', 'root-a', 'pin-source' => '|false'), qr/exit code 1/ ],
	[ 'a PIN of two lines', uri('bulwark', 'root-a', 'pin-source' => 'file:' . private_file('pin2', "$pin\n$pin\n")), qr/other than one line/ ],
	[ 'no PIN in the file', uri('bulwark', 'root-a', 'pin-source' => 'file:' . private_file('pin0', "\n")), qr/other than one line/ ],
	$pkcs11_tool ?
	  ([ 'a key that may be taken out', uri('bulwark', 'extractable'), qr/can be taken out of the token/ ],
		[ 'a key that shows itself', uri('bulwark', 'plain'), qr/can be taken out of the token/ ]) : ())
{
	my ($what, $uri, $problem) = @$case;
	ctl(1, $problem, $what, 'token-id', $uri);
}
ctl(0, qr/^root key/, 'a key that another program has made there', 'token-id', uri('bulwark', 'tool')) if $pkcs11_tool;
ctl(0, qr/^root key $id_known$/, 'a key by its id', 'token-id', "pkcs11:token=bulwark;id=%0a?module-path=$module&pin-source=$pin_file");
ctl(0, qr/^root key $id_a$/, 'a PIN from a command', 'token-id', uri('bulwark', 'root-a', 'pin-source' => "|cat%20$pin_file"));

for my $case (
	[ 'no URI', '/etc/key', qr/not a PKCS #11 URI/ ],
	[ 'the PIN in the URI', uri('bulwark', 'root-a', 'pin-value' => $pin), qr/must come from a pin-source/ ],
	[ 'no token', "pkcs11:object=root-a?module-path=$module", qr/names no token/ ],
	[ 'no key', "pkcs11:token=bulwark?module-path=$module", qr/names no key/ ],
	[ 'no module', 'pkcs11:token=bulwark;object=root-a', qr/module-path is missing/ ],
	[ 'a relative module', uri('bulwark', 'root-a', 'module-path' => 'm.so'), qr/module-path is missing or not an absolute path/ ],
	[ 'a relative PIN file', uri('bulwark', 'root-a', 'pin-source' => 'pin'), qr/neither the absolute path/ ],
	[ 'a public key', uri('bulwark', 'root-a;type=public'), qr/not secret-key/ ],
	[ 'an attribute twice', uri('bulwark', 'root-a;object=root-b'), qr/"object" twice/ ],
	[ 'an attribute that we do not follow', uri('bulwark', 'root-a;slot-id=1'), qr/"slot-id" is not supported/ ],
	[ 'a bad escape', uri('bulwark', 'root%2'), qr/not percent-encoded/ ],
	[ 'a zero byte', uri('bulwark', 'root%00a'), qr/zero byte/ ],
	[ 'a space', uri('bulwark', 'root a'), qr/not percent-encoded/ ],
	[ 'an empty attribute', uri('bulwark', ''), qr/"object" is empty/ ],
	[ 'an attribute without a value', uri('bulwark', 'root-a;type'), qr/other than attributes/ ],
	[ 'too long a name', uri('bulwark', 'x' x 300), qr/too long/ ])
{
	my ($what, $uri, $problem) = @$case;
	ctl(2, $problem, "URI: $what", 'token-id', $uri);
}
ctl(2, qr/needs one argument/, 'token-id without an argument', 'token-id');
ctl(2, qr/is for the server/, 'token-serve is not for people', 'token-serve');

# --- a server -----------------------------------------------------------------------

my $node = PostgreSQL::Test::Cluster->new('pkcs11');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'bulwark'
restart_after_crash = on
bulwark.tenant_key_directory = '$dir/tenant-keys'
include = 'keys.conf'
CONF
mkdir "$dir/tenant-keys", oct('0700') or die $!;
my $log_start = 0;

sub configure
{
	my (%settings) = @_;
	open my $fh, '>', $node->data_dir . '/keys.conf' or die $!;
	print $fh "bulwark.$_ = '", ($settings{$_} =~ s/'/''/gr), "'\n" for sort keys %settings;
	close $fh or die $!;
	return;
}

sub with_token { my ($uri, %more) = @_; return (root_key_provider => 'pkcs11', root_key_pkcs11 => $uri, %more) }

sub restart_with
{
	configure(@_);
	$node->stop;
	$log_start = -s $node->logfile;
	$node->start;
	return;
}

sub reload_with
{
	configure(@_);
	$log_start = -s $node->logfile;
	my $before = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
	$node->reload;
	$node->poll_query_until('postgres', "SELECT bool_and(checked_at > '$before') FROM bulwark.keyring_status()") or die 'keys were not looked for';
	return;
}

sub log_since { return substr slurp_file($node->logfile), $log_start }
sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql) }
sub status { my ($column, $slot) = @_; return sql("SELECT $column FROM bulwark.keyring_status() WHERE slot = '" . ($slot // 'current') . q{'}) }

# In a session of its own, which has opened no key yet: the result, or SQLSTATE and message.
sub try_sql
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $err =~ /ERROR:  (\w+: .*)/ ? $1 : $out;
}

configure(with_token($root_a));
$node->start;
bulwark_create($node, 'postgres');
is(status('state'), 'loaded', 'a server starts with a key in a token');
is(status('key_id'), $id_a, 'which is that one');
is(status('source'), 'bulwark.root_key_pkcs11', 'and says where it comes from');
app_role($node, 'app', 'acme');
my $acme = sql(q{SELECT tenant_id FROM bulwark.tenants WHERE slug = 'acme'});
my $sealed = sql("SELECT bulwark.encrypt_text_for('$acme', 'of acme', 'c')");
my $token = token('acme');
my $authenticate = "SELECT bulwark.authenticate('$token') IS NULL";

sub as_app
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "BEGIN; $sql; COMMIT;", extra_params => [ '-U', 'app', '-v', 'VERBOSITY=verbose' ]);
	return $err =~ /ERROR:  (\w+: .*)/ ? $1 : (split /\n/, $out)[-1] // '';
}

my $decrypt = "$authenticate; SELECT bulwark.decrypt_text('$sealed', 'c')";
my $opens = "SELECT bulwark.encrypt_text_for('$acme', 'x') IS NOT NULL";	# the tenant's key
my $ticket = as_app("$authenticate; SELECT bulwark.ticket_issue()");
like($ticket, qr/^bwt1\./, 'a ticket is issued');

# An identity that no issuer has proved: its ticket needs nothing that is wrapped.
sub assumed
{
	my ($sql) = @_;
	return try_sql("BEGIN; SELECT bulwark.assume(principal_id, '$acme') IS NULL FROM bulwark.principals WHERE email = 'acme\@example.org'; $sql; COMMIT") =~ s/.*\n//sr;
}

my $assumed_ticket = assumed('SELECT bulwark.ticket_issue()');
like($assumed_ticket, qr/^bwt1\./, 'another one for an identity that is assumed');

sub ticket_good
{
	my ($step) = @_;
	is(try_sql("BEGIN; SELECT set_config('bulwark.ticket', '$assumed_ticket', true) IS NULL; SELECT bulwark.tenant_id(); COMMIT") =~ s/.*\n//sr, $acme, "$step: a ticket is good");
	return;
}

# A token of an issuer whose secret is wrapped, a value, a ticket, a new tenant's key, the ledger.
my $fresh = 0;

sub all_good
{
	my ($step) = @_;
	is(as_app($decrypt), 'of acme', "$step: a token is verified, a value opens");
	is(as_app("SELECT set_config('bulwark.ticket', '$ticket', true) IS NULL; SELECT bulwark.tenant_id()"), $acme, "$step: the ticket is good") if $ticket;
	$fresh++;
	is(try_sql("SELECT bulwark.encrypt_text_for(bulwark.tenant_create('fresh-$fresh', 'Fresh'), 'x') IS NOT NULL"), 't', "$step: a new tenant gets a key");
	sql('SELECT bulwark.ledger_seal()');
	is(sql('SELECT integrity FROM bulwark.ledger_verify()'), 'ok', "$step: the ledger verifies");
	return;
}

# How the keys of all kinds are wrapped: version and root key.
sub wrapped_by
{
	return sql(q{SELECT string_agg(DISTINCT encode(substr(w, 1, 9), 'hex'), ' ') FROM (
		SELECT wrapped FROM bulwark_internal.tenant_keys UNION ALL SELECT wrapped FROM bulwark_internal.ledger_keys
		UNION ALL SELECT wrapped_secret FROM bulwark_internal.issuer_keys WHERE wrapped_secret IS NOT NULL) AS wrapped (w)});
}

all_good('started');
is(wrapped_by(), "02$id_a", 'everything is wrapped in the token');
$node->restart;
all_good('restarted');

# --- processes ---------------------------------------------------------------------------

# Pids by what is in their command line, of this server: pid => parent.
sub processes
{
	my ($pattern) = @_;
	my %found;
	for my $proc (glob '/proc/[0-9]*')
	{
		my $line = eval { slurp_file("$proc/cmdline") } // next;
		my ($parent) = (eval { slurp_file("$proc/stat") } // next) =~ /\) \w (\d+) /;
		$found{ $proc =~ s{/proc/}{}r } = $parent if $line =~ $pattern && defined $parent;
	}
	return %found;
}

sub postmaster { my ($pid) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid'); return $pid }

sub worker
{
	my %workers = processes(qr/bulwark keyring/);
	return (grep { $workers{$_} == postmaster() } keys %workers)[0] // 0;
}

sub holders
{
	my %all = processes(qr/token-serve/);
	my $worker = worker();
	return sort grep { $all{$_} == $worker } keys %all;
}

sub wait_for_holder
{
	my ($not) = @_;
	for (1 .. 600)
	{
		my @now = holders();
		return $now[0] if @now == 1 && $now[0] != ($not // 0);
		usleep(100_000);
	}
	die 'no process holds the token';
}

my $holder = wait_for_holder();
like($holder, qr/^\d+$/, 'one process holds the token, a child of the worker');
my $mapped = eval { slurp_file('/proc/' . postmaster() . '/maps') } . eval { slurp_file('/proc/' . worker() . '/maps') };
unlike($mapped, qr/softhsm/, 'neither the postmaster nor the worker has the module in it');

kill 'KILL', $holder;
all_good('the process that holds the token killed');
isnt(wait_for_holder($holder), $holder, 'another has taken its place');

kill 'TERM', worker();
all_good('the worker ended');
my $victim = $node->background_psql('postgres', on_error_stop => 0);
my $victim_pid = $victim->query_safe('SELECT pg_backend_pid()');
$log_start = -s $node->logfile;
kill 'KILL', $victim_pid if $victim_pid > 1;
$node->wait_for_log(qr/reinitializing.*ready to accept connections/s, $log_start);
eval { $victim->quit };
all_good('after a crash restart');
$node->stop('immediate');
$node->start;
all_good('after an immediate shutdown');
wait_for_holder();
is(scalar(my @holders = holders()), 1, 'one process holds the token still');

# Many at once, each of which opens its key for the first time.
my ($load, $load_err) = run_command([ 'pgbench', '-n', '-C', '-c', '8', '-t', '10', '-f',
	private_file('load.sql', "$opens;\n"), $node->connstr('postgres') ]);
like($load, qr{actually processed: 80/80}, 'eight sessions at once ask the token') or diag $load_err;

# --- a token that hangs --------------------------------------------------------------------

restart_with(with_token($root_a, root_key_pkcs11_timeout => '1s'));
$holder = wait_for_holder();
all_good('with a limit of a second');
kill 'STOP', $holder;
like(try_sql($opens), qr/^55000: the token that holds root key $id_a does not answer/,
	'a token that hangs: the statement ends with an error that says so');
ticket_good('a token that hangs');
reload_with(with_token($root_a, root_key_pkcs11_timeout => '300s'));
my $waiting = $node->background_psql('postgres', on_error_stop => 0);
my $waiting_pid = $waiting->query_safe('SELECT pg_backend_pid()');
$waiting->query_until(qr/begin/, "\\echo begin\n$opens;\n\\echo canceled :SQLSTATE\n");
$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $waiting_pid");
sql("SELECT pg_cancel_backend($waiting_pid)");
$waiting->query_until(qr/canceled 57014/, '');
pass('a statement that waits for the token can be canceled');
$waiting->quit;
kill 'CONT', $holder;
all_good('the token goes on');

# --- S8: what is wrong at the start, S9: and right later -----------------------------------

my $tries = "$dir/tries";
my $wrong_pin = private_file('wrong', "wrong-pin\n");
my $wrong_command = "|echo%20x%3E%3E$tries;cat%20$wrong_pin";
my $open_pin = private_file('open', "$pin\n");
chmod oct('0644'), $open_pin;
symlink $pin_file, "$dir/link" or die $!;

for my $case (
	[ 'a wrong PIN', uri('bulwark', 'root-a', 'pin-source' => $wrong_pin), qr/the token refuses the PIN: CKR_PIN_INCORRECT/ ],
	[ 'a PIN that others may read', uri('bulwark', 'root-a', 'pin-source' => $open_pin), qr/PIN's file has permissions for group or others \(mode 0644/ ],
	[ 'a PIN by a symbolic link', uri('bulwark', 'root-a', 'pin-source' => "$dir/link"), qr/symbolic link/ ],
	[ 'a PIN of another owner', uri('bulwark', 'root-a', 'pin-source' => '/etc/passwd'), qr/not owned by the server's user/ ],
	[ 'a PIN that is a directory', uri('bulwark', 'root-a', 'pin-source' => "$dir/tokens"), qr/not a regular file/ ],
	[ 'a PIN command that hangs', uri('bulwark', 'root-a', 'pin-source' => '|sleep%20600'), qr/had not finished after 1 s/ ],
	[ 'a missing token', uri('none', 'root-a'), qr/there is no token "none"/ ],
	[ 'a missing key', uri('bulwark', 'none'), qr/no secret key "none"/ ],
	[ 'a missing module', uri('bulwark', 'root-a', 'module-path' => '/nonexistent.so'), qr/could not load the module/ ],
	[ 'a PIN in the setting', uri('bulwark', 'root-a', 'pin-value' => 'hello'), qr/must come from a pin-source/ ],
	[ 'no URI', '/etc/key', qr/not a PKCS #11 URI/ ])
{
	my ($what, $uri, $problem) = @$case;
	restart_with(with_token($uri, root_key_pkcs11_timeout => '1s'));
	is(status('state'), 'failed', "S8: $what: the server starts sealed");
	like(status('problem'), $problem, "S8: $what: the status says what is wrong");
	like(log_since(), qr/bulwark has no current root key.*$problem/s, "S8: $what: the log says what is wrong");
}
restart_with(with_token(uri('bulwark', 'known'), root_key_id => $id_a));
like(status('problem'), qr/root key $id_a is needed, but root key $id_known was got/, 'S8: another key: the status says which is needed and which was got');
like(as_app($decrypt), qr/^55000: bulwark is sealed/, 'S9: sealed: what needs a key says 55000');
like(as_app("SELECT set_config('bulwark.ticket', '$ticket', true) IS NULL"), qr/^55000: bulwark is sealed/, 'S9: sealed: a ticket too');

restart_with(with_token(uri('bulwark', 'root-a', 'pin-source' => $wrong_command)));
is(status('state'), 'failed', 'a wrong PIN by a command');
like(as_app($decrypt), qr/^55000: bulwark is sealed/, 'is refused');
is(slurp_file($tries), "x\n", 'and tried once, for a token locks itself after a few tries');
reload_with(with_token($root_a));
is(status('state'), 'loaded', 'S9: with the right PIN a reload brings the key');
all_good('S9: and everything works, without a restart');

# --- what a reload does -------------------------------------------------------------------

unlink $tries;
for my $case (
	[ 'a wrong PIN', uri('bulwark', 'root-a', 'pin-source' => $wrong_command), qr/CKR_PIN_INCORRECT/ ],
	[ 'another key', uri('bulwark', 'known'), qr/root key $id_a is needed, but root key $id_known was got/ ],
	[ 'a missing token', uri('none', 'root-a'), qr/no token "none"/ ])
{
	my ($what, $uri, $problem) = @$case;
	reload_with(with_token($uri));
	is(status('state') . ' ' . status('key_id'), "loaded $id_a", "reload with $what: the key is kept");
	like(log_since(), qr/bulwark keeps current root key $id_a.*$problem/s, "reload with $what: with a warning");
	all_good("reload with $what");
}
is(slurp_file($tries), "x\n", 'a wrong PIN is tried once by a reload too');
reload_with(root_key_provider => 'file', root_key_file => "$dir/none");
all_good('reload with another provider that has no key');
reload_with(with_token($root_a));
all_good('reload as it was');

# A token that goes and comes back.
$holder = wait_for_holder();
rename "$dir/tokens", "$dir/away" or die $!;
mkdir "$dir/tokens", oct('0700') or die $!;
kill 'KILL', $holder;
$node->poll_query_until('postgres', q{SELECT problem LIKE '%no token "bulwark"%' FROM bulwark.keyring_status() WHERE slot = 'current'});
like(try_sql($opens), qr/^55000: the token that holds root key $id_a does not answer/,
	'a token that is gone: 55000');
like(log_since(), qr/bulwark has no access to the token with root key $id_a/, 'a token that is gone: the log says so');
ticket_good('a token that is gone');
rmdir "$dir/tokens" or die $!;
rename "$dir/away", "$dir/tokens" or die $!;
$node->poll_query_until('postgres', q{SELECT problem IS NULL FROM bulwark.keyring_status() WHERE slot = 'current'});
all_good('the token is back, without a reload');

# --- what is in memory ---------------------------------------------------------------------

# The mappings of a process that hold any of these bytes; undef where they cannot be read.
sub mappings_with
{
	my ($pid, @bytes) = @_;
	my ($found, $read) = (0, 0);
	open my $mem, '<:raw', "/proc/$pid/mem" or return;
	for my $line (split /\n/, slurp_file("/proc/$pid/maps"))
	{
		my ($from, $to) = $line =~ /^([0-9a-f]+)-([0-9a-f]+) rw/ or next;
		next unless sysseek $mem, hex $from, 0;
		next unless sysread $mem, my $content, hex($to) - hex($from);
		$read++;
		$found++ if grep { index($content, $_) >= 0 } @bytes;
	}
	return $read ? $found : undef;
}

my $derived;
{
	my ($in, $out, $err) = ("$root_a\n", '', '');
	my $run = IPC::Run::start([ 'bulwarkctl', 'token-serve', '60' ], '<', \$in, '>', \$out, '2>', \$err);
	$run->finish;
	($derived) = $out =~ /^ok ([0-9a-f]{64})\n\z/;
	ok($derived, 'the process says from what tickets derive');
}
SKIP:
{
	my $session = $node->background_psql('postgres');
	$session->query_safe($opens);
	my %process = (postmaster => postmaster(), worker => worker(), 'back end' => $session->query_safe('SELECT pg_backend_pid()'));
	skip 'the memory of the server cannot be read here', 6 unless mappings_with($process{postmaster}, pack 'H*', $derived);
	for my $name (sort keys %process)
	{
		is(mappings_with($process{$name}, pack 'H*', $derived), 1, "S10: $name: what tickets derive from is in one mapping");
		is(mappings_with($process{$name}, $pin), 0, "S10: $name: the PIN is in none");
	}
	$session->quit;
}

# --- S19: from a file into a token, and on into another -------------------------------------

my $file_node_key = unpack 'H*', random_bytes(32);
my $key_file = private_file('root.key', $file_node_key);

# Exchanged by reloads, as the ceremony has it.
sub rotate
{
	my ($step, $old, $new, $new_id) = @_;
	my %current = (root_key_provider => $old->[0], "root_key_$old->[0]" => $old->[1]);
	my %next = (root_key_provider_next => $new->[0], "root_key_$new->[0]_next" => $new->[1]);
	reload_with(%current, %next);
	is(status('key_id', 'next'), $new_id, "S19: $step: the next root key is loaded");
	all_good("S19: $step: both loaded");
	like(sql('SELECT bulwark.root_key_rotate(3)'), qr/"to": "$new_id"/, "S19: $step: a batch is rotated");
	all_good("S19: $step: half-way");
	$node->stop('immediate');
	$node->start;
	all_good("S19: $step: killed half-way");
	like(sql('SELECT bulwark.root_key_rotate()'), qr/"left": 0\b.*"impossible": 0\b/, "S19: $step: rotated to the end");
	all_good("S19: $step: rotated");
	reload_with(root_key_provider => $new->[0], "root_key_$new->[0]" => $new->[1],
		root_key_provider_next => $old->[0], "root_key_$old->[0]_next" => $old->[1]);
	is(status('key_id'), $new_id, "S19: $step: the settings are exchanged");
	all_good("S19: $step: exchanged");
	like(sql('SELECT bulwark.root_key_rotate()'), qr/"to": "$new_id".*"left": 0\b.*"impossible": 0\b/, "S19: $step: nothing goes back");
	$ticket = as_app("$authenticate; SELECT bulwark.ticket_issue()");
	reload_with(root_key_provider => $new->[0], "root_key_$new->[0]" => $new->[1]);
	is(status('state', 'next'), 'unset', "S19: $step: the old root key is gone");
	all_good("S19: $step: done");
	$node->restart;
	all_good("S19: $step: restarted");
	return;
}

my ($file_id) = do { reload_with(with_token($root_a, root_key_provider_next => 'file', root_key_file_next => $key_file)); status('key_id', 'next') };
my @file = ('file', $key_file);
my @token_a = ('pkcs11', $root_a);
rotate('from a token to a file', \@token_a, \@file, $file_id);
is(wrapped_by(), "01$file_id", 'S19: from a token to a file: everything is wrapped by the file\'s key');
my ($id_b) = ctl(0, qr/^root key/, 'a key in another token', 'token-keygen', uri('other', 'root-b')) =~ /root key (\w+)/;
my @token_b = ('pkcs11', uri('other', 'root-b'));
rotate('from a file to a token', \@file, \@token_b, $id_b);
is(wrapped_by(), "02$id_b", 'S19: from a file to a token: everything is wrapped in the token');
my @token_c = ('pkcs11', uri('bulwark', 'known'));
rotate('from a token to another', \@token_b, \@token_c, $id_known);
is(wrapped_by(), "02$id_known", 'S19: from a token to another: everything is wrapped in that');
wait_for_holder();
is(scalar(@holders = holders()), 1, 'S19: no process is left that holds the old token');

SKIP:
{
	my $session = $node->background_psql('postgres');
	$session->query_safe($opens);
	my %process = (postmaster => postmaster(), worker => worker(), 'back end' => $session->query_safe('SELECT pg_backend_pid()'));
	skip 'the memory of the server cannot be read here', 3 unless defined mappings_with($process{postmaster}, $known);
	is(mappings_with($process{$_}, $known, unpack 'H*', $known), 0, "S10: $_: the root key is nowhere") for sort keys %process;
	$session->quit;
}

# --- elsewhere, without the token ---------------------------------------------------------

($derived) = do
{
	my ($in, $out) = ("$token_c[1]\n", '');
	IPC::Run::run([ 'bulwarkctl', 'token-serve', '60' ], '<', \$in, '>', \$out);
	$out =~ /^ok ([0-9a-f]{64})\n\z/;
};
my $stolen = private_file('stolen.key', $derived);
my $wrapped = sql("SELECT encode(wrapped, 'hex') FROM bulwark_internal.tenant_keys WHERE tenant_id = '$acme' AND kind = 'd'");
like($wrapped, qr/^02$id_known(00){44}/, 'a key wrapped in the token: version, root key, zeroes');
my $dump = "$dir/dump.sql";
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'the database is dumped');

my $elsewhere = bulwark_node('elsewhere', key => $key_file, conf => "bulwark.tenant_key_directory = '$dir/tenant-keys'\nbulwark.restore = on\n");
$elsewhere->safe_psql('postgres', 'CREATE DATABASE copy');
$elsewhere->command_checks_all([ 'psql', '-Xq', '-f', $dump, $elsewhere->connstr('copy') ], 0, [qr//], [qr//], 'and restored elsewhere, with all components');

sub elsewhere
{
	my ($rc, $out, $err) = $elsewhere->psql('copy', <<"SQL", extra_params => [ '-v', 'VERBOSITY=verbose' ]);
BEGIN;
SELECT bulwark.assume(principal_id, '$acme') IS NULL FROM bulwark.principals WHERE email = 'acme\@example.org';
SELECT bulwark.decrypt_text('$sealed', 'c');
COMMIT;
SQL
	return $err =~ /ERROR:  (\w+: .*)/ ? $1 : (split /\n/, $out)[-1] // '';
}

is($elsewhere->safe_psql('copy', "SELECT count(*) FROM bulwark_internal.tenant_keys WHERE tenant_id = '$acme'"), '1', 'the wrapped key is there');
like(elsewhere(), qr/^55000: the keys of tenant $acme need root key $id_known, which is not loaded/, 'without the token nothing opens, and the error says which key');
$elsewhere->adjust_conf('postgresql.conf', 'bulwark.root_key_file', "'$stolen'");
$elsewhere->restart;
is($elsewhere->safe_psql('copy', q{SELECT key_id FROM bulwark.keyring_status() WHERE slot = 'current'}), $id_known,
	'what a thief finds in the memory of a server passes for its root key');
like(elsewhere(), qr/^XX001: /, 'but opens nothing that the token has wrapped');
$elsewhere->append_conf('postgresql.conf', "bulwark.root_key_provider = pkcs11\nbulwark.root_key_pkcs11 = '$token_c[1]'\n");
$elsewhere->restart;
is(elsewhere(), 'of acme', 'with the token the restored database opens');
$elsewhere->safe_psql('copy', "UPDATE bulwark_internal.tenant_keys SET wrapped = overlay(wrapped placing '\\x01' from 20) WHERE tenant_id = '$acme'");
like(elsewhere(), qr/^XX001: /, 'a wrapped key with something else where zeroes are does not open');

# --- nothing is in the log ----------------------------------------------------------------------

$elsewhere->stop;
$node->stop;
is(scalar(@holders = holders_anywhere()), 0, 'no process that holds a token outlives its server');
my $log = slurp_file($node->logfile) . slurp_file($elsewhere->logfile);
for my $secret ([ 'the PIN', $pin ], [ 'the wrong PIN', 'wrong-pin' ], [ 'the root key', unpack 'H*', $known ], [ 'what derives from it', $derived ])
{
	unlike($log, qr/\Q$secret->[1]\E/i, "$secret->[0] is not in the log");
}

sub holders_anywhere { my %all = processes(qr/token-serve/); return grep { (eval { slurp_file("/proc/$_/environ") } // '') =~ /\Q$dir\E/ } keys %all }

done_testing();
