# pg_upgrade of a protected database to a newer version: it protects the same rows
# in the same way, goes on working, takes no ticket of before, and its ledger is
# whole.  BULWARK_OLD is the installation that it begins with.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t";
use BulwarkNode;
use BulwarkSecrets;
use BulwarkShop;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

die "BULWARK_OLD names no installation\n" unless -x "$ENV{BULWARK_OLD}/bin/postgres";

my $key = private_file('root.key', unpack 'H*', random_bytes(32));
my $old = bulwark_node('old', key => $key, new => [ install_path => $ENV{BULWARK_OLD} ]);
shop_create($old);
$old->safe_psql('postgres', "CREATE TABLE audited (id int PRIMARY KEY, note text); SELECT bulwark.audit('audited');
	INSERT INTO audited SELECT n, 'before' FROM generate_series(1, 500) AS n; SELECT bulwark.ledger_seal()");
my $checkpoint = $old->safe_psql('postgres', 'SELECT bulwark.ledger_checkpoint()') =~ s/\n*\z/\n/r;
my $vkey = $old->safe_psql('postgres', 'SELECT bulwark.ledger_public_key()');
my $rows = shop_rows($old, 'postgres');
secrets_create($old);
my $opened = secrets_opened($old, 'postgres');
my $bytes = secrets_bytes($old, 'postgres');
like($opened, qr/a key of many bytes 3\|Grüße 1 3\|.*^crm\|1\|first of .*^crm\|2\|second of .*^crm\|1\|55000: the credential is frozen/ms, 'before: secrets open');
my $definitions = shop_definitions($old, 'postgres');

# A ticket of tenant 7's administrator.
sub ticket
{
	my ($node) = @_;
	return $node->safe_psql('postgres', sprintf("BEGIN; SELECT '' FROM bulwark.authenticate('%s') \\g /dev/null\nSELECT bulwark.ticket_issue();", token(7)),
		extra_params => [ '-U', 'app' ]);
}

# What the holder of a ticket sees, or why not.
sub with_ticket
{
	my ($node, $ticket) = @_;
	my ($status, $out, $err) = $node->psql('postgres',
		"BEGIN; SELECT set_config('bulwark.ticket', '$ticket', true) \\g /dev/null\nSELECT count(*) FROM orders;",
		extra_params => [ '-U', 'app' ]);
	return $out . $err;
}

my $ticket = ticket($old);
is(with_ticket($old, $ticket), '9', 'before: the ticket opens its tenant');
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$new->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'bulwark'
bulwark.root_key_file = '$key'
CONF
my @upgrade = ('pg_upgrade', '--no-sync',
	'-d', $old->data_dir, '-D', $new->data_dir,
	'-b', $old->config_data('--bindir'), '-B', $new->config_data('--bindir'),
	'-s', $new->host, '-p', $old->port, '-P', $new->port);
command_ok([ @upgrade, '--check' ], 'pg_upgrade --check finds nothing in the way');
my $upgraded = run_log(\@upgrade);
ok($upgraded, 'pg_upgrade succeeds');
unless ($upgraded)
{
	foreach my $log (glob $new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_dump_*.log')
	{
		my ($error) = slurp_file($log) =~ /^(pg_restore: error.*)/ms;
		diag("$log:\n$error") if $error;
	}
	BAIL_OUT('nothing was upgraded');
}
$new->start;

same_ok(shop_definitions($new, 'postgres'), $definitions, 'after: protected in the same way');
same_ok(shop_rows($new, 'postgres'), $rows, 'after: every identity sees the same rows');
like(with_ticket($new, $ticket), qr/token or ticket refused/, 'after: a ticket of before is of another cluster, and refused');
is(with_ticket($new, ticket($new)), '9', 'after: a new ticket opens its tenant');
my (undef, undef, $err) = $new->psql('postgres',
	sprintf("BEGIN; SELECT '' FROM bulwark.authenticate('%s') \\g /dev/null\nINSERT INTO orders (id, tenant_id) VALUES (1000, gen_random_uuid());", token(7)),
	extra_params => [ '-U', 'app' ]);
like($err, qr/row-level security/, 'after: a row of another tenant is refused');
$new->safe_psql('postgres', 'CREATE TABLE calls_3 PARTITION OF calls FOR VALUES FROM (1000) TO (2000)');
is($new->safe_psql('postgres', "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE oid = 'calls_3'::regclass"), 't',
	'after: a new partition is protected');
$new->safe_psql('postgres', "SELECT bulwark.tenant_suspend(tenant_id, 'test') FROM bulwark.tenants WHERE slug = '7'");
(undef, undef, $err) = $new->psql('postgres', sprintf("BEGIN; SELECT bulwark.authenticate('%s')", token(7)), extra_params => [ '-U', 'app' ]);
like($err, qr/token or ticket refused/, 'after: a member of a suspended tenant is refused');

# --- L6: the ledger -----------------------------------------------------------------------------
my $verdict = "SELECT integrity, coverage, anchoring FROM bulwark.ledger_verify(\$\$$checkpoint\$\$, '$vkey')";
$new->safe_psql('postgres', "UPDATE audited SET note = 'after' WHERE id = 1; SELECT bulwark.ledger_seal()");
is($new->safe_psql('postgres', $verdict), 'ok|ok|ok', 'L6: after: the ledger is whole, guarded, and continues the checkpoint of before');
is($new->safe_psql('postgres', q{SELECT string_agg((old ->> 'note') || ' ' || (new ->> 'note') || ' ' || (leaf_index IS NOT NULL), ',') FROM bulwark.ledger
	WHERE entity_type = 'public.audited' AND action = 'update'}), 'before after true', 'L6: captured and sealed');
is($new->safe_psql('postgres', 'SELECT count(*) FROM bulwark_internal.ledger_incarnations'), '2', 'L6: in another incarnation');

# --- S5: secrets -------------------------------------------------------------------------------
is(secrets_bytes($new, 'postgres'), $bytes, 'S5: after: encrypted columns, keys and credentials are the same bytes');
same_ok(secrets_opened($new, 'postgres'), $opened, 'S5: after: they open to what they did, with their blind indexes and signatures');
$new->safe_psql('postgres', "SELECT bulwark.tenant_key_rotate(tenant_id) FROM bulwark.tenants WHERE slug LIKE 'vault-%'");
$new->safe_psql('postgres', $_) for q{CALL bulwark.reencrypt('vault')}, q{CALL bulwark.reencrypt('bulwark_internal.credential_versions')};
$new->safe_psql('postgres', "SELECT bulwark.tenant_key_minimum(tenant_id, max(version)) FROM bulwark.tenant_keys WHERE kind = 'data' AND tenant LIKE 'vault-%' GROUP BY tenant_id");
same_ok(secrets_opened($new, 'postgres'), $opened, 'S13: after: their keys are rotated, and the values open under the new ones alone');

$new->stop;
done_testing();
