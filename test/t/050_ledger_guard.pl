# The ledger where no statement of a running, preloaded server is meant: a start
# without the library, single-user mode, crashes, decommissioning, DROP DATABASE,
# dump and restore.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('guarded');
my $key = $node->safe_psql('postgres', 'SHOW bulwark.root_key_file');

# What a statement fails with; empty when it does not.
sub failure
{
	my ($database, $sql) = @_;
	my ($rc, $out, $err) = $node->psql($database, "\\set VERBOSITY verbose\n$sql", on_error_stop => 1);
	return $err =~ /((?:ERROR|FATAL): .*)/s ? $1 : '';
}

# What the ledger says of the server's starts, the oldest first.
sub starts
{
	my ($database) = @_;
	return $node->safe_psql($database, q{SELECT string_agg(metadata->>'operation' || ': ' || (metadata->>'detail'), E'\n' ORDER BY entry_id)
		FROM bulwark.ledger WHERE entity_type = 'bulwark.server'});
}

sub coverage
{
	my ($database) = @_;
	return $node->safe_psql($database, q{SELECT string_agg(relation || ': ' || problem, E'\n') FROM bulwark_internal.ledger_coverage_check()});
}

# A command in single-user mode, and all that the server then says.
sub single_user
{
	my ($sql, @options) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'postgres', '--single', '-D', $node->data_dir, @options, 'shop' ], '<', \"$sql\n", '>', \$out, '2>', \$err,
		IPC::Run::timeout(60));
	return $err;
}

# Set for the next start: name => value.
sub configure
{
	my (%settings) = @_;
	$node->append_conf('postgresql.conf', "$_ = $settings{$_}") for sort keys %settings;
	return;
}

# --- L2: before there is anything to keep -------------------------------------------------
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', 'CREATE EXTENSION bulwark');
is(failure('shop', 'DROP EXTENSION bulwark'), '', 'L2: an extension without an entry can be dropped');
$node->safe_psql('shop', <<'SQL');
CREATE EXTENSION bulwark;
CREATE TABLE account (id int PRIMARY KEY, note text);
SELECT bulwark.audit('account');
INSERT INTO account SELECT n, 'note ' || n FROM generate_series(1, 5) AS n;
SQL
like(failure('shop', 'DROP EXTENSION bulwark CASCADE'), qr/ERROR:  42501: DROP EXTENSION is not allowed.*HINT:  To decommission it/s, 'L2: one with entries cannot');
is(starts('shop'), '', 'nothing is said of the server\'s start');

# --- starts that are ours ---------------------------------------------------------------------
$node->restart;
$node->safe_psql('shop', 'INSERT INTO account VALUES (6)');
$node->stop('immediate');
$node->start;
# the launcher has looked at the checkpoint by which recovery ended
$node->poll_query_until('postgres', q{SELECT pg_read_file('bulwark.last_checkpoint') = checkpoint_lsn || E'\n' FROM pg_control_checkpoint()})
	or die 'the checkpoint is not noted';
$node->safe_psql('shop', 'INSERT INTO account VALUES (7)');
my ($pid) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
$node->kill9;
for (1 .. 100)
{
	last unless kill 0, $pid;
	select undef, undef, undef, 0.1;
}
# its children leave when they notice
for (1 .. 20)
{
	last if $node->start(fail_ok => 1);
	select undef, undef, undef, 0.5;
}
$node->safe_psql('shop', 'SELECT bulwark.ledger_seal()');
is(starts('shop'), '', 'L7: a restart, a stop in haste and a crash are no gaps');

# --- L7: a server that has not preloaded the library -----------------------------------------
configure(shared_preload_libraries => "''");
$node->restart;
like(failure('shop', 'INSERT INTO account VALUES (8)'), qr/ERROR:  55000: bulwark must be loaded via shared_preload_libraries/,
	'L7: without preloading an audited table is not written');
like(failure('shop', 'DELETE FROM bulwark_internal.ledger_segment_1'), qr/ERROR:  55000:/, 'L7: nor is the ledger');
like(failure('shop', 'TRUNCATE bulwark_internal.ledger_blocks'), qr/ERROR:  55000:/, 'L7: nor emptied');
configure(shared_preload_libraries => "'bulwark'");
$node->restart;
$node->poll_query_until('shop', 'SELECT count(*) = 1 FROM bulwark_internal.ledger_starts') or die 'the gap is not noted';
my $gap = 'not_preloaded: the server ran without bulwark before this start';
is(starts('shop'), $gap, 'L7: the gap is an entry at the next start');
is($node->safe_psql('shop', 'SELECT coverage FROM bulwark.ledger_verify()'), 'ok', 'and nothing was changed in it');
$node->restart;
$node->safe_psql('shop', 'SELECT bulwark.ledger_seal()');
is(starts('shop'), $gap, 'it is entered once');

# --- L7: single-user mode ----------------------------------------------------------------------
$node->stop;
like(single_user('DELETE FROM bulwark_internal.ledger_segment_1'), qr/DELETE is not allowed on ledger relation "ledger_segment_1"/,
	'L7: a preloaded single-user server refuses as any other');
like(single_user('ALTER TABLE account DISABLE TRIGGER "!bulwark_ledger"'), qr/is not allowed/, 'L7: also to disable a trigger');
$node->start;
$node->safe_psql('shop', 'SELECT bulwark.ledger_seal()');
is(starts('shop'), $gap, 'a preloaded single-user server is no gap');
$node->stop;
unlike(single_user(qq{ALTER TABLE account DISABLE TRIGGER "!bulwark_ledger"\n} . 'INSERT INTO account VALUES (8)', '-c', 'shared_preload_libraries='), qr/ERROR/,
	'one without the library can disable a trigger, and write');
$node->start;
$node->poll_query_until('shop', 'SELECT count(*) = 2 FROM bulwark_internal.ledger_starts') or die 'the gap is not noted';
is(starts('shop'), "$gap\n$gap", 'L7: which is a gap');
is(coverage('shop'), 'public.account: trigger "!bulwark_ledger" does not fire always', 'L7: and the trigger is found');
like($node->safe_psql('shop', 'SELECT ok, coverage FROM bulwark.ledger_verify()'), qr/^f\|1 gap: public.account: trigger/, 'L7: by ledger_verify(), too');
$node->safe_psql('shop', 'ALTER TABLE account ENABLE ALWAYS TRIGGER "!bulwark_ledger"');
is($node->safe_psql('shop', 'SELECT ok, coverage FROM bulwark.ledger_verify()'), 't|ok', 'until it is enabled again');

# The record of our checkpoints lost: we say that we do not know.
$node->stop;
unlink $node->data_dir . '/bulwark.last_checkpoint' or die $!;
$node->start;
$node->poll_query_until('shop', 'SELECT count(*) = 3 FROM bulwark_internal.ledger_starts') or die 'the start is not noted';
like(starts('shop'), qr/\nnot_preloaded: whether the server ran without bulwark before this start is not known$/, 'L7: a lost record is said, too');

# --- settings that no statement reaches ----------------------------------------------------------
for my $setting ('bulwark.ledger_decommission', 'bulwark.restore', 'bulwark.refuse_drop_database', 'bulwark.ledger_ddl_digests')
{
	like(failure('shop', "SET $setting = on"), qr/ERROR:  55P02:/, "no SET of $setting");
	like(failure('shop', "ALTER SYSTEM SET $setting = on"), qr/ERROR:  55P02:/, "no ALTER SYSTEM SET $setting");
	ok(failure('shop', "ALTER DATABASE shop SET $setting = on"), "no ALTER DATABASE SET $setting");
}

# --- DROP DATABASE ----------------------------------------------------------------------------------
configure('bulwark.refuse_drop_database' => 'on');
$node->reload;
$node->safe_psql('postgres', 'CREATE DATABASE plain');
is(failure('postgres', 'DROP DATABASE plain'), '', 'a database without the extension can be dropped');
like(failure('postgres', 'DROP DATABASE shop'), qr/ERROR:  42501: database "shop" has a ledger/, 'refuse_drop_database: one with it cannot');
configure('bulwark.refuse_drop_database' => 'off');
$node->reload;

# --- L1: logical replication, which asks triggers alone ------------------------------------------------
my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->start;
$publisher->safe_psql('postgres', <<'SQL');
CREATE SCHEMA bulwark_internal;
CREATE TABLE bulwark_internal.ledger_shapes (shape_id bytea NOT NULL, shape bytea NOT NULL);
CREATE PUBLICATION forged FOR TABLE bulwark_internal.ledger_shapes;
SQL
my $connstr = $publisher->connstr . ' dbname=postgres';
my $shapes = $node->safe_psql('shop', 'SELECT count(*) FROM bulwark_internal.ledger_shapes');
my $offset = -s $node->logfile;
$node->safe_psql('shop', "CREATE SUBSCRIPTION forged CONNECTION '$connstr' PUBLICATION forged WITH (copy_data = false)");
$publisher->wait_for_catchup('forged');
$publisher->safe_psql('postgres', q{INSERT INTO bulwark_internal.ledger_shapes VALUES ('a', 'b')});
ok($node->wait_for_log(qr/INSERT is not allowed on ledger relation "ledger_shapes"/, $offset), 'L1: a row that is replicated into the ledger is refused');
is($node->safe_psql('shop', 'SELECT count(*) FROM bulwark_internal.ledger_shapes'), $shapes, 'L1: and is not there');
$node->safe_psql('shop', 'DROP SUBSCRIPTION forged');
$publisher->stop;

# --- L25: dump and restore ------------------------------------------------------------------------------
my $dump = PostgreSQL::Test::Utils::tempdir . '/shop.sql';
$node->safe_psql('shop', <<'SQL');
INSERT INTO account VALUES (9);
CREATE ROLE service LOGIN IN ROLE bulwark_impersonator;
SELECT bulwark.tenant_create('acme', 'Acme', id => 'a7000000-0000-4000-8000-000000000001');
SELECT bulwark.principal_create('ann@acme.test', id => 'a7000000-0000-4000-8000-000000000002');
SELECT bulwark.membership_grant('a7000000-0000-4000-8000-000000000002', 'a7000000-0000-4000-8000-000000000001', 'tenant_admin');
CREATE TABLE invoice (id int PRIMARY KEY, tenant_id uuid);
GRANT SELECT ON invoice TO service;
SELECT bulwark.protect('invoice', 'tenant_id'), bulwark.audit('invoice');
INSERT INTO invoice VALUES (1, 'a7000000-0000-4000-8000-000000000001');
SELECT bulwark.ledger_seal();
SQL

# What a tenant sees of the entries of its invoices.
sub seen_by_tenant
{
	my ($database) = @_;
	return $node->safe_psql($database, <<'SQL', extra_params => [ '-U', 'service' ]) =~ s/\A\s+//r;
BEGIN;
SET LOCAL client_min_messages = error;
SELECT FROM bulwark.assume('a7000000-0000-4000-8000-000000000002', 'a7000000-0000-4000-8000-000000000001');
SELECT string_agg(entity_id || ': ' || coalesce(new->>'id', 'hidden'), ', ' ORDER BY entity_id) FROM bulwark.ledger
	WHERE entity_type = 'public.invoice' AND action = 'insert';
COMMIT;
SQL
}
is(seen_by_tenant('shop'), '1: 1', 'a tenant sees the values of its entries');
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('shop') ], 'the database is dumped');
my $entries = 'SELECT count(*) FROM bulwark_internal.ledger_entries';
my $rows = 0;					# of the dump; reading them was an entry, later
$rows += () = $_ =~ /\n/g for slurp_file($dump) =~ /^COPY bulwark_internal\.ledger_segment_\d+ [^\n]*\n(.*?)^\\\.$/msg;
cmp_ok($rows, '>', 0, 'with its entries');

sub restore
{
	my ($database) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	my ($rc, $out, $err) = $node->psql($database, "\\i $dump", on_error_stop => 0);
	return $err;
}
my $refused = restore('copy_refused');
like($refused, qr/is not allowed on ledger relation "ledger_log"/, 'L25: a dump\'s ledger is refused');
is($node->safe_psql('copy_refused', 'SELECT count(*) FROM account'), 9, 'the rest of the dump is there');
like(failure('copy_refused', 'INSERT INTO account VALUES (10)'), qr/ERROR:  55000: .*records changes/, 'L7: tables whose registry was refused with it are not written to unrecorded');
is(failure('copy_refused', q{SELECT bulwark.audit('account'); INSERT INTO account VALUES (10)}), '', 'until they are audited anew');
my $log_id = 'SELECT log_id FROM bulwark_internal.ledger_log';
isnt($node->safe_psql('copy_refused', $log_id), $node->safe_psql('shop', $log_id), 'and nothing of its ledger');

configure('bulwark.restore' => 'on');
$node->reload;
unlike(restore('copy'), qr/ERROR/, 'L25: with bulwark.restore all of it is restored');
is($node->safe_psql('copy', $entries), $rows, 'every entry');
like(failure('copy', 'INSERT INTO account VALUES (10)'), qr/ERROR:  55000: a ledger is being restored/, 'nothing is captured meanwhile');
like(failure('shop', 'DELETE FROM bulwark_internal.ledger_segment_1'), qr/42501/, 'L25: a ledger that lives is guarded all the same');
like(failure('shop', 'CREATE TABLE bulwark_internal.ledger_segment_9 (leaf bytea)'), qr/42501/, 'L25: and takes in no segments');
configure('bulwark.restore' => 'off');
$node->reload;
like(failure('copy', 'DELETE FROM bulwark_internal.ledger_segment_1'), qr/42501/, 'the restored ledger is guarded');
$node->safe_psql('copy', 'INSERT INTO account VALUES (10); SELECT bulwark.ledger_seal()');
is($node->safe_psql('copy', 'SELECT string_agg(cause, $$,$$ ORDER BY incarnation) FROM bulwark_internal.ledger_incarnations'), 'created,restored', 'L25: it goes on in another incarnation');
is($node->safe_psql('copy', 'SELECT ok, integrity, coverage FROM bulwark.ledger_verify()'), 't|ok|ok', 'L25: and verifies');
$node->safe_psql('copy', q{INSERT INTO invoice VALUES (2, 'a7000000-0000-4000-8000-000000000001')});
is(seen_by_tenant('copy'), '1: hidden, 2: 2', 'L30: to a tenant the values that the dump brought are hidden: its tables have other numbers here');
configure('bulwark.restore' => 'on');
$node->reload;
like(failure('copy', 'DELETE FROM bulwark_internal.ledger_segment_1'), qr/42501/, 'L25: bulwark.restore opens it no more');
configure('bulwark.restore' => 'off');

# --- decommissioning ----------------------------------------------------------------------------------------
configure('bulwark.ledger_decommission' => 'on');
$node->restart;
$node->poll_query_until('copy', 'SELECT count(*) = 1 FROM bulwark_internal.ledger_starts') or die 'the start is not noted';
is(starts('copy'), starts('shop') =~ s/\ndecommission.*//sr . "\ndecommission: the server was started with bulwark.ledger_decommission",
	'the start of a server that may decommission is an entry');
like(failure('copy', 'DELETE FROM bulwark_internal.ledger_segment_1'), qr/42501/, 'the ledger is as closed as before');
is(failure('copy', 'DROP EXTENSION bulwark CASCADE'), '', 'the extension can be dropped');
is($node->safe_psql('copy', q{SELECT count(*) FROM pg_class WHERE relname LIKE 'ledger\_%'}), 0, 'with all its segments');
is(failure('copy', 'INSERT INTO account VALUES (11)'), '', 'and the application goes on');
done_testing();
