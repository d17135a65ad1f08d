# Secrets of every kind, to see whether what has been moved, restored or upgraded
# still opens: data and credentials of two tenants, under keys of two versions, a
# blind index, a key that signs, and the registry with a version that retires.
package BulwarkSecrets;

use strict;
use warnings;

use Exporter qw(import);
use PostgreSQL::Test::Utils;

our @EXPORT = qw(secrets_create secrets_bytes secrets_opened);

my %tenant = (1 => 'ae000000-0000-4000-8000-000000000001', 2 => 'ae000000-0000-4000-8000-000000000002');
my $principal = 'ce000000-0000-4000-8000-000000000001';

# Statements as the administrator of both, in one of the tenants.
sub acting
{
	my ($n, @statements) = @_;
	return join "\n", 'BEGIN;', "SELECT '' FROM bulwark.assume('$principal', '$tenant{$n}') \\g /dev/null", @statements, 'COMMIT;', '';
}

sub secrets_create
{
	my ($node) = @_;
	my $fill = sub {
		my ($n, $from) = @_;
		return <<"SQL";
INSERT INTO vault SELECT $n, i, bulwark.encrypt('a key of many bytes ' || i, 'vault.s:' || i), bulwark.encrypt_text('Grüße $n ' || i, 'vault.t'),
	bulwark.encrypt_bytea('\\x00ff'), bulwark.encrypt_jsonb(jsonb_build_object('n', i, 'long', repeat('x', 5000))), bulwark.blind_index('Grüße $n ' || i, 'vault.t')
	FROM generate_series($from, $from + 4) i;
SQL
	};
	$node->safe_psql('postgres', <<"SQL");
SELECT bulwark.principal_create('vault\@example.org', id => '$principal');
SELECT bulwark.membership_grant('$principal', bulwark.tenant_create('vault-' || n, 'Vault', id => t::uuid), 'tenant_admin')
	FROM (VALUES (1, '$tenant{1}'), (2, '$tenant{2}')) v (n, t);
CREATE TABLE vault (tenant int, id int, s bulwark.secret, t bulwark.encrypted_text, b bulwark.encrypted_bytea, j bulwark.encrypted_jsonb, x bytea, PRIMARY KEY (tenant, id));
CREATE INDEX ON vault (x);
CREATE FUNCTION vault_attempt(statement text) RETURNS text LANGUAGE plpgsql AS \$\$
DECLARE
	result text;
BEGIN
	EXECUTE statement INTO result;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END
\$\$;
SQL
	$node->safe_psql('postgres', acting($_, $fill->($_, 1), q{SELECT bulwark.credential_create('crm', 'api_key', 'first of ' || bulwark.tenant_id(), '30 days');},
		q{SELECT bulwark.credential_create('trap', 'password', 'honey', honey => true);}))
	  for 1, 2;
	$node->safe_psql('postgres', "SELECT bulwark.tenant_key_rotate('$tenant{1}')");
	$node->safe_psql('postgres', acting(1, $fill->(1, 6), q{SELECT bulwark.credential_rotate(credential_id, 'second of ' || tenant_id, '1 day') FROM bulwark.credentials WHERE name = 'crm';}));
	$node->safe_psql('postgres', acting(2, "SELECT bulwark.credential_freeze('$tenant{2}', 'test');"));
	return;
}

# The values as they are stored.
sub secrets_bytes
{
	my ($node, $database) = @_;
	return $node->safe_psql($database, <<'SQL');
SELECT count(*), encode(sha256(string_agg(s::bytea || t::bytea || b::bytea || j::bytea || x, NULL ORDER BY tenant, id)), 'hex') FROM vault;
SELECT count(*), encode(sha256(string_agg(value, NULL ORDER BY credential_id, version)), 'hex') FROM bulwark_internal.credential_versions;
SELECT count(*), encode(sha256(string_agg(key_id::text::bytea || wrapped, NULL ORDER BY key_id)), 'hex') FROM bulwark_internal.tenant_keys;
SQL
}

# What they open to, for each tenant: all of its own, and nothing of the other's.
sub secrets_opened
{
	my ($node, $database) = @_;
	return join '', map { $node->safe_psql($database, acting($_, <<"SQL")) . "\n" } 1, 2;
SELECT tenant, id, bulwark.decrypt(s, 'look', 'vault.s:' || id), bulwark.decrypt_text(t, 'vault.t'), bulwark.decrypt_bytea(b), bulwark.decrypt_jsonb(j) ->> 'n',
	encode(bulwark.hmac_sign(s, 'x', 'look', context => 'vault.s:' || id), 'hex') FROM vault WHERE tenant = $_ ORDER BY id;
SELECT id FROM vault WHERE x = bulwark.blind_index('Grüße $_ 3', 'vault.t');
SELECT DISTINCT vault_attempt(format('SELECT bulwark.decrypt_text(%L, ''vault.t'')', t)) FROM vault WHERE tenant <> $_;
SELECT name, version, vault_attempt(format('SELECT bulwark.credential_use(%L, ''look'', %s)', name, version)) FROM bulwark.credentials ORDER BY 1, 2;
SELECT name, version, state, kind, honey, rotate_every, reason FROM bulwark.credentials ORDER BY 1, 2;
SQL
}

1;
