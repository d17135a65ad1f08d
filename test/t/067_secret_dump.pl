# S5: encrypted columns through dumps, restores, and logical replication: the same
# bytes, with no key on the other side, and never a plaintext.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('source', init => [ allows_streaming => 'logical' ]);
my $table = 'CREATE TABLE kept (id int PRIMARY KEY, s bulwark.secret, t bulwark.encrypted_text, b bulwark.encrypted_bytea, j bulwark.encrypted_jsonb)';
my $acting = q{SELECT '' FROM bulwark.assume('c9000000-0000-4000-8000-000000000001', 'a9000000-0000-4000-8000-000000000001') \g /dev/null};
my $fill = <<'SQL';
INSERT INTO kept SELECT n, bulwark.encrypt('canary ' || n, 'c'), bulwark.encrypt_text(repeat('canary ', n * n), 'c'),
	bulwark.encrypt_bytea('\x63616e617279'), bulwark.encrypt_jsonb('{"canary": 1}') FROM generate_series(1, 100) n;
SQL
my $tenant = <<'SQL';
SELECT bulwark.membership_grant(bulwark.principal_create('boss@example.org', id => 'c9000000-0000-4000-8000-000000000001'),
	bulwark.tenant_create('t', 'T', id => 'a9000000-0000-4000-8000-000000000001'), 'tenant_admin');
SQL
$node->safe_psql('postgres', "$tenant $table;");
$node->safe_psql('postgres', "BEGIN;\n$acting\n$fill COMMIT;");
my $bytes = 'SELECT count(*), encode(sha256(string_agg(id::text::bytea || s::bytea || t::bytea || b::bytea || j::bytea, NULL ORDER BY id)), \'hex\') FROM kept';
my $original = $node->safe_psql('postgres', $bytes);
like($original, qr/^100\|/, 'a hundred rows');

# Another cluster with the extension, and no root key at all.
sub keyless
{
	my ($name) = @_;
	my $other = PostgreSQL::Test::Cluster->new($name);
	$other->init;
	$other->append_conf('postgresql.conf', "shared_preload_libraries = 'bulwark'");
	$other->start;
	$other->safe_psql('postgres', 'CREATE EXTENSION bulwark');
	return $other;
}
my $other = keyless('other');

my $dir = PostgreSQL::Test::Utils::tempdir;
for my $form (qw(copy inserts custom))
{
	my @as = $form eq 'custom' ? ('-Fc') : $form eq 'inserts' ? ('--inserts') : ();
	my $from = $node;
	for my $round (1, 2)
	{
		my $file = "$dir/$form.$round";
		command_ok([ 'pg_dump', @as, '-t', 'kept', '-f', $file, $from->connstr('postgres') ], "$form, round $round: dumped");
		unlike(slurp_file($file), qr/canary/, "S5: $form, round $round: no plaintext in it") unless $form eq 'custom';
		$other->safe_psql('postgres', 'DROP TABLE IF EXISTS kept');
		command_ok($form eq 'custom' ? [ 'pg_restore', '-e', '-d', $other->connstr('postgres'), $file ] :
			[ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $other->connstr('postgres'), '-f', $file ], "$form, round $round: restored without a key");
		is($other->safe_psql('postgres', $bytes), $original, "S5: $form, round $round: the same bytes");
		$from = $other;
	}
}

# A script in which somebody put plaintext, run past its errors.
my $script = slurp_file("$dir/inserts.1");
is($script =~ s/(VALUES \(7, )'bw1:[^']+'/$1'canary in the clear'/, 1, 'a dump with a plaintext in it');
my $altered = private_file('altered.sql', $script);
$other->safe_psql('postgres', 'DROP TABLE kept');
$other->psql('postgres', "\\i $altered", on_error_stop => 0, stderr => \my $err);
like($err, qr/not an encrypted value for type/, 'is refused where it is');
is($other->safe_psql('postgres', 'SELECT count(*), count(*) FILTER (WHERE id = 7) FROM kept'), '99|0', 'S5: and the plaintext is not stored, nor encrypted on the way');

# Logical replication, text and binary.
$node->safe_psql('postgres', 'CREATE PUBLICATION kept FOR TABLE kept');
for my $binary (qw(false true))
{
	my $name = "kept_$binary";
	$other->safe_psql('postgres', 'TRUNCATE kept');
	$other->safe_psql('postgres', "CREATE SUBSCRIPTION $name CONNECTION '" . $node->connstr . " dbname=postgres' PUBLICATION kept WITH (binary = $binary)");
	$other->wait_for_subscription_sync($node, $name);
	is($other->safe_psql('postgres', $bytes), $original, "S5: the first copy, binary $binary: the same bytes");
	my $id = $binary eq 'true' ? 1001 : 1000;
	$node->safe_psql('postgres', "INSERT INTO kept SELECT $id, s, t, b, j FROM kept WHERE id = 1; UPDATE kept SET t = (SELECT t FROM kept WHERE id = 100) WHERE id = 2");
	$node->wait_for_catchup($name);
	is($other->safe_psql('postgres', $bytes), $node->safe_psql('postgres', $bytes), "S5: changes, binary $binary: the same bytes");
	$other->safe_psql('postgres', "DROP SUBSCRIPTION $name");
	$node->safe_psql('postgres', "DELETE FROM kept WHERE id = $id");
	$original = $node->safe_psql('postgres', $bytes);
}

# Without a key nothing opens, and nothing else is hurt.
$other->psql('postgres', "BEGIN; $tenant\n$acting\nSELECT bulwark.encrypt('x');", stderr => \$err);
like($err, qr/root key/, 'S9: without a root key nothing is encrypted');

# S11: as long as values of the server get, and a byte longer than ours can be.
for my $case ([ 'encrypt_text', q{repeat('x', 1073741819)} ], [ 'encrypt_bytea', q{convert_to(repeat('x', 1073741819), 'UTF8')} ],
	[ 'encrypt', q{repeat('x', 1073741819)} ])
{
	my ($function, $long) = @$case;
	$node->psql('postgres', "\\set VERBOSITY verbose\nBEGIN;\n$acting\nSELECT length(bulwark.$function($long)::bytea);", stdout => \my $length, stderr => \$err);
	like($err, qr/ERROR:  54000: the value is too long to be encrypted/, "S11: $function of a gigabyte is refused");
}
$node->psql('postgres', "BEGIN;\n$acting\nSELECT length(bulwark.decrypt_bytea(bulwark.encrypt_bytea(convert_to(repeat('x', 100000000), 'UTF8'), 'c'), 'c'));", stdout => \my $whole, stderr => \$err);
is($whole, '100000000', 'S11: and 100 MB are encrypted and decrypted') or diag($err);

# S11: what is in a value does not depend on the database's encoding.
$node->safe_psql('postgres', q{CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0});
bulwark_create($node, 'latin');
$node->safe_psql('latin', $tenant);
is($node->safe_psql('latin', <<"SQL"), "t|63|t|t", 'S11: LATIN1: a value holds UTF-8, opens in the encoding of the database, and composes first');
SET client_encoding = 'LATIN1';
BEGIN;
$acting
SELECT bulwark.decrypt_text(v) = chr(233), length(v::bytea), bulwark.decrypt_jsonb(j) ->> 'a' = chr(233), bulwark.blind_index(chr(233), 'c') = bulwark.blind_index(chr(233), 'c')
	FROM (SELECT bulwark.encrypt_text(chr(233)) AS v, bulwark.encrypt_jsonb(jsonb_build_object('a', chr(233))) AS j) AS q;
COMMIT;
SQL
$node->safe_psql('postgres', q{CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0});
bulwark_create($node, 'bytes');
$node->safe_psql('bytes', $tenant);
$node->psql('bytes', "BEGIN;\n$acting\nSELECT bulwark.encrypt_text(E'canary \\xe9');", stderr => \$err);
like($err, qr/the plaintext cannot be converted between UTF-8 and SQL_ASCII, the encoding of the database$/m, 'S11: SQL_ASCII: what is not UTF-8 is refused');
unlike($err, qr/canary.*cannot/, 'and the message does not show it');

done_testing();
