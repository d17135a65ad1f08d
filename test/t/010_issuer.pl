# Token issuers across root keys, dumps, encodings and standbys: what a server
# needs to go on verifying, and that a secret is never readable on the way.
use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(encode_base64url);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir;
my $node = PostgreSQL::Test::Cluster->new('issuer');
$node->init(allows_streaming => 1, extra => [ '--encoding', 'UTF8', '--locale', 'C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'bulwark'\ninclude = 'keys.conf'\n");

sub random_bytes
{
	my ($len) = @_;
	open my $fh, '<:raw', '/dev/urandom' or die $!;
	read($fh, my $bytes, $len) == $len or die 'no random bytes';
	return $bytes;
}

sub root_key
{
	my ($name) = @_;
	open my $fh, '>', "$dir/$name" or die $!;
	print $fh unpack('H*', random_bytes(32));
	close $fh or die $!;
	chmod oct('0600'), "$dir/$name" or die $!;
	return "$dir/$name";
}

sub configure
{
	my ($path) = @_;
	open my $fh, '>', $node->data_dir . '/keys.conf' or die $!;
	print $fh "bulwark.root_key_file = '$path'\n" if $path;
	close $fh or die $!;
	return;
}

my $secret = random_bytes(32);
my $k = encode_base64url($secret);
my $oct = qq({"kty":"oct","kid":"s","k":"$k"});

# Ed25519 by openssl, whose public key is the last 32 bytes of its DER.
system_or_bail('openssl', 'genpkey', '-algorithm', 'ed25519', '-out', "$dir/ed25519.pem");
my $x = encode_base64url(substr `openssl pkey -in $dir/ed25519.pem -pubout -outform DER`, -32);
my $okp = qq({"kty":"OKP","crv":"Ed25519","kid":"e","x":"$x"});

sub token
{
	my ($alg, $sub, $more) = @_;
	my $kid = $alg eq 'HS256' ? 's' : 'e';
	my $iss = $alg eq 'HS256' ? 'symmetric' : 'asymmetric';
	my $exp = time + 300;
	my $input = encode_base64url(qq({"alg":"$alg","kid":"$kid"})) . '.'
	  . encode_base64url(qq({"iss":"$iss","aud":"app","sub":"$sub","tenant":"acme","exp":$exp) . ($more // '') . '}');
	return "$input." . encode_base64url(hmac_sha256($input, $secret)) if $alg eq 'HS256';
	open my $fh, '>:raw', "$dir/input" or die $!;
	print $fh $input;
	close $fh or die $!;
	my $signature = `openssl pkeyutl -sign -inkey $dir/ed25519.pem -rawin -in $dir/input`;
	die 'openssl did not sign' unless length $signature == 64;
	return "$input." . encode_base64url($signature);
}

# The SQLSTATE and message, or the subject's tenant.
sub authenticate
{
	my ($on, $database, $token) = @_;
	my ($rc, $out, $err) = $on->psql($database,
		qq(\\set VERBOSITY verbose
BEGIN;
SELECT bulwark.authenticate('$token') ->> 'tenant_slug';));
	return $out if $rc == 0;
	$err =~ /ERROR:\s+(\S+): (.*)/ or die $err;
	return "$1 $2";
}
my $refused = '28000 token or ticket refused';

sub set_up
{
	my ($database) = @_;
	$node->safe_psql($database, qq(
		CREATE EXTENSION bulwark;
		SELECT bulwark.tenant_create('acme', 'Acme');
		SELECT bulwark.principal_create('ann\@acme.example');
		SELECT bulwark.membership_grant(p.principal_id, t.tenant_id, 'read_only')
			FROM bulwark.principals p, bulwark.tenants t;
		SELECT bulwark.principal_link(principal_id, i, 'ann') FROM bulwark.principals, unnest('{symmetric,asymmetric}'::text[]) i;
		SELECT bulwark.issuer_create('asymmetric', 'app', '$okp');));
	return;
}

# --- root keys --------------------------------------------------------------------
my ($first, $second) = (root_key('first'), root_key('second'));
configure(undef);
$node->start;
set_up('postgres');
my $create = "SELECT bulwark.issuer_create('symmetric', 'app', '$oct', '{HS256}') IS NOT NULL";
my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$create");
like($err, qr/ERROR:\s+55000:/, 'S9: without a root key no secret is stored');
is(authenticate($node, 'postgres', token('EdDSA', 'ann')), 'acme', 'S9: public keys verify without a root key');

configure($first);
$node->restart;
is($node->safe_psql('postgres', $create), 't', 'with a root key it is');
is(authenticate($node, 'postgres', token('HS256', 'ann')), 'acme', 'HS256 proves an identity');
is($node->safe_psql('postgres', "SELECT count(*) FROM bulwark_internal.issuer_keys k WHERE position('$k' IN k::text) > 0"),
	0, 'the secret is not in its table');

configure($second);
$node->restart;
my $log_start = -s $node->logfile;
is(authenticate($node, 'postgres', token('HS256', 'ann')), $refused, 'under another root key the secret does not open');
like(substr(slurp_file($node->logfile), $log_start), qr/cannot open the secret of issuer "symmetric"/, 'and the log says so');
is(authenticate($node, 'postgres', token('EdDSA', 'ann')), 'acme', 'public keys go on');

configure(undef);
$node->restart;
is(authenticate($node, 'postgres', token('EdDSA', 'ann')), 'acme', 'also without any');
like(authenticate($node, 'postgres', token('HS256', 'ann')), qr/^55000 bulwark is sealed: no root key is loaded/,
	'S9: sealed: what needs the root key to be verified says so');
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $token = token('HS256', 'ann');
my $attempt = "BEGIN; SELECT bulwark.authenticate('$token') ->> 'tenant_slug'; ROLLBACK;";
unlike($session->query($attempt), qr/acme/, 'an open session is refused');
configure($first);
my $before = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
$node->reload;
$node->poll_query_until('postgres', "SELECT bool_and(checked_at > '$before') FROM bulwark.keyring_status()")
  or die 'keys were not looked for';
like($session->query($attempt), qr/acme/, 'S9: the root key arrives, and the open session verifies without a restart');
$session->quit;

# --- dump and restore --------------------------------------------------------------
my $dump = "$dir/issuers.dump";
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump');
unlike(slurp_file($dump), qr/\Q$k\E|\Q${\unpack('H*', $secret)}\E/, 'no secret in a dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->append_conf('postgresql.conf', 'bulwark.restore = on');
$node->restart;
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restore');
is(authenticate($node, 'restored', token('HS256', 'ann')), 'acme', 'HS256 proves an identity in the restored database');
is(authenticate($node, 'restored', token('EdDSA', 'ann')), 'acme', 'EdDSA too');

# --- a database that cannot hold every character ------------------------------------
$node->safe_psql('postgres', "CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
set_up('latin1');
is(authenticate($node, 'latin1', token('EdDSA', 'ann')), 'acme', 'LATIN1: a token of ASCII characters');
for my $more (qq(,"n":"\xc3\xa4"), ',"n":"\u00e4"', ',"n":"\u20ac"', ',"n":"\ud83e\udd89"', ',"\u20ac":1')
{
	is(authenticate($node, 'latin1', token('EdDSA', 'ann', $more)), $refused, "LATIN1: $more is refused with the one message");
}
is(authenticate($node, 'latin1', token('EdDSA', '\u0061nn')), 'acme', 'LATIN1: an escaped ASCII character');
is(authenticate($node, 'postgres', token('EdDSA', 'ann', qq(,"n":"\xc3\xa4\\u20ac"))), 'acme', 'UTF8 holds them');

# --- standby ---------------------------------------------------------------------------
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('issuer_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', "COMMENT ON DATABASE postgres IS 'a commit, from which the standby knows how fresh it is'");
$node->wait_for_catchup($standby);
is(authenticate($standby, 'postgres', token('EdDSA', 'ann')), 'acme', 'a standby verifies');
is(authenticate($standby, 'postgres', token('HS256', 'ann')), 'acme', 'a standby opens the secret');
my $reader = $standby->background_psql('postgres', on_error_stop => 0);
$token = token('EdDSA', 'ann');
$attempt = "BEGIN; SELECT bulwark.authenticate('$token') ->> 'tenant_slug'; ROLLBACK;";
like($reader->query($attempt), qr/acme/, 'a session on the standby');
$node->safe_psql('postgres', "SELECT bulwark.issuer_drop('asymmetric')");
$node->wait_for_catchup($standby);
unlike($reader->query($attempt), qr/acme/, 'issuer_drop on the primary reaches it by replay');
$reader->quit;

done_testing();
