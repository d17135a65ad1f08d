# The ceremony by which a root key is replaced: killed at each step it goes on, and
# tickets, tokens, encrypted values, blind indexes and the ledger are good throughout.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Utils;
use Test::More;

my $old_key = private_file('old.key', unpack 'H*', random_bytes(32));
my $new_key = private_file('new.key', unpack 'H*', random_bytes(32));
my $node = bulwark_node('primary', key => $old_key, conf => "bulwark.root_key_file_next = ''\n");
app_role($node, 'app', 'acme');

sub say { my ($session, $sql) = @_; return session_say($session, "$sql;") }

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql) }

sub as_app
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', 'app', '-v', 'VERBOSITY=verbose' ]);
	return $err =~ /ERROR:  (.*)/ ? $1 : (split /\n/, $out)[-1] // '';
}

# The ids of the root keys that keys of ours are wrapped by.
sub wrapped_by
{
	return sql(q{SELECT string_agg(DISTINCT id, ' ' ORDER BY id) FROM (
		SELECT root_key_id FROM bulwark.tenant_keys
		UNION ALL SELECT encode(substr(wrapped, 2, 8), 'hex') FROM bulwark_internal.ledger_keys
		UNION ALL SELECT encode(substr(wrapped_secret, 2, 8), 'hex') FROM bulwark_internal.issuer_keys WHERE wrapped_secret IS NOT NULL) w (id)});
}

sub root_id { my ($slot) = @_; return sql("SELECT key_id FROM bulwark.keyring_status() WHERE slot = '$slot'") }

my $tenant = sql(q{SELECT tenant_id FROM bulwark.tenants WHERE slug = 'acme'});
my $token = token('acme');
my $authenticate = "SELECT bulwark.authenticate('$token') IS NULL";
my $sealed = as_app("BEGIN; $authenticate; SELECT bulwark.encrypt_text('of acme', 'c'); COMMIT;");
my $index = as_app("BEGIN; $authenticate; SELECT bulwark.blind_index('x', 'c'); COMMIT;");
my $ticket = as_app("BEGIN; $authenticate; SELECT bulwark.ticket_issue(); COMMIT;");
like($ticket, qr/^bwt1\./, 'a ticket of the old root key');
sql(q{SELECT count(bulwark.encrypt_text_for(bulwark.tenant_create('t' || i, 'T'), 'x')) FROM generate_series(1, 20) i});

my $fresh = 0;

# All that depends on a root key.
sub all_good
{
	my ($step) = @_;
	is(as_app("BEGIN; $authenticate; SELECT bulwark.decrypt_text('$sealed', 'c'); COMMIT;"), 'of acme', "S19: $step: a token is verified, a value opens");
	is(as_app("BEGIN; SELECT set_config('bulwark.ticket', '$ticket', true) IS NULL; SELECT bulwark.tenant_id(); COMMIT;"), $tenant, "S19: $step: the ticket is good");
	is(as_app("BEGIN; $authenticate; SELECT bulwark.blind_index('x', 'c'); COMMIT;"), $index, "S19: $step: the blind index is the same");
	$fresh++;
	is(sql("SELECT bulwark.encrypt_text_for(bulwark.tenant_create('fresh-$fresh', 'Fresh'), 'x') IS NOT NULL"), 't', "S19: $step: a new tenant gets a key");
	sql('SELECT bulwark.ledger_seal()');
	is(sql('SELECT integrity FROM bulwark.ledger_verify()'), 'ok', "S19: $step: the ledger verifies");
	return;
}

sub configure
{
	my ($current, $next) = @_;
	$node->adjust_conf('postgresql.conf', 'bulwark.root_key_file', "'$current'");
	$node->adjust_conf('postgresql.conf', 'bulwark.root_key_file_next', "'$next'");
	$node->reload;
	my $wanted = 'loaded,' . ($next eq '' ? 'unset' : 'loaded');
	for (1 .. 100)
	{
		return if sql("SELECT string_agg(state, ',' ORDER BY slot) FROM bulwark.keyring_status()") eq $wanted
		  && sql('SHOW bulwark.root_key_file') eq $current;
		select undef, undef, undef, 0.1;
	}
	die 'the keys were not loaded';
}

sub left { return sql('SELECT r ->> $$left$$ FROM bulwark.root_key_rotate(5) r') }

my $old_id = root_id('current');
is(wrapped_by(), $old_id, 'at first everything is under one root key');
my ($rc, $out, $err) = $node->psql('postgres', 'SELECT bulwark.root_key_rotate()');
like($err, qr/no next root key is loaded/, 'without a next root key there is no rotation');
($rc, $out, $err) = $node->psql('postgres', 'SELECT bulwark.root_key_rotate(0)');
like($err, qr/batch must be at least 1/, 'a batch of none is refused');

configure($old_key, $new_key);
my $new_id = root_id('next');
isnt($new_id, $old_id, 'the next root key is loaded');
all_good('both loaded');

my $session = session_start($node, sql('SELECT current_user'));
say($session, 'BEGIN');
like(say($session, 'SELECT bulwark.root_key_rotate()'), qr/"left": 0/, 'a rotation that does not commit');
$node->stop('immediate');
eval { session_end($session) };
$node->start;
is(wrapped_by(), $old_id, 'S19: killed before it commits, nothing has changed');
all_good('killed before it commits');

cmp_ok(left(), '>', 0, 'S19: a batch leaves some');
is(wrapped_by(), join(' ', sort $old_id, $new_id), 'S19: ... and both root keys are in use');
all_good('half-way');
$node->stop('immediate');
$node->start;
all_good('killed half-way');
my $rounds = 0;
1 while left() > 0 && ++$rounds < 100;
is(wrapped_by(), $new_id, 'S19: called again it goes on to the end');
all_good('rotated');
is(wrapped_by(), $new_id, 'S19: what is made after the rotation is under the new root key too');
is(sql('SELECT count(*) FROM bulwark_internal.root_keys'), 1, 'the old root key is retired');
$node->stop('immediate');
$node->start;
all_good('rotated, then killed');

configure($new_key, $old_key);
is(root_id('current'), $new_id, 'the settings are exchanged');
all_good('exchanged');
is(sql('SELECT r ->> $$to$$ FROM bulwark.root_key_rotate() r'), $new_id, 'S19: rotated once more, nothing goes back to the old root key');
is(wrapped_by(), $new_id, 'S19: all is under the new root key, also what was made after a crash before the exchange');
all_good('exchanged and rotated once more');

configure($new_key, '');
is(as_app("BEGIN; SELECT set_config('bulwark.ticket', '$ticket', true); SELECT bulwark.tenant_id(); COMMIT;"), '28000: token or ticket refused',
	'S19: without the old root key its tickets are refused');
$ticket = as_app("BEGIN; $authenticate; SELECT bulwark.ticket_issue(); COMMIT;");
unlink $old_key;
all_good('the old root key gone');
$node->restart;
all_good('restarted');

is(sql(q{SELECT count(*) > 3 FROM bulwark.ledger WHERE metadata ->> 'operation' = 'root_key_rotate' AND metadata ->> 'from' = '} . $old_id . q{'}), 't',
	'each call is an entry');
my $log = slurp_file($node->logfile);
my $secret = slurp_file($new_key);
unlike($log, qr/\Q$secret\E/i, 'no root key in the log');

done_testing();
