# What survives a rollback, and what must not be lost: entries that somebody waits
# for are on disk when the wait is over, whatever kills the server then; where they
# cannot be, the statement is refused; a flood takes their place from nobody.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $key = private_file('spool.key', unpack 'H*', random_bytes(32));
my $node = bulwark_node('spool', key => $key, init => [ allows_streaming => 1 ], conf => <<'CONF');
restart_after_crash = on
synchronous_commit = off
wal_writer_delay = 10s
CONF
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN IN ROLE bulwark_app;
CREATE TABLE hidden (id int);
CREATE TABLE seen (id int);
INSERT INTO seen SELECT generate_series(1, 3);
SELECT bulwark.audit('seen', reads => true);
GRANT SELECT ON seen TO app;
SQL
my @app = (extra_params => [ '-U', 'app' ]);

# Until nothing waits for the worker.
sub settle
{
	return $node->poll_query_until('postgres', 'SELECT entries + folded = 0 FROM bulwark_internal.ledger_spool()');
}

sub entries
{
	my ($condition) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM bulwark.ledger WHERE $condition");
}

# The error of a statement: its SQLSTATE and text, '' if there is none.
sub error_of
{
	my ($sql, %options) = @_;
	my ($rc, $out, $err) = ($options{on} // $node)->psql('postgres', "\\set VERBOSITY verbose\n$sql", %options);
	return $err =~ /ERROR:\s+(.*)/ ? $1 : '';
}

sub sealers
{
	return split /\n/, $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'bulwark sealer%'));
}

# --- killed as the wait returns ------------------------------------------------------
for my $n (1 .. 5)
{
	$node->safe_psql('postgres', "ALTER SYSTEM SET work_mem = '${n}MB'");
	$node->stop('immediate');
	$node->start;
	is(entries("entity_id = 'work_mem' AND metadata ->> 'value' = '${n}MB'"), 1,
		"L20: killed as the wait returns, time $n: the entry is there");
}
$node->safe_psql('postgres', 'ALTER SYSTEM RESET work_mem');

# --- an entry that is waited for, amid a flood ------------------------------------------
my @flood = map {
	IPC::Run::start([ 'psql', '-XqAt', '-U', 'app', '-d', $node->connstr('postgres'), '-c',
			'DO $$ BEGIN FOR i IN 1 .. 10000 LOOP BEGIN EXECUTE \'SELECT * FROM hidden\'; EXCEPTION WHEN insufficient_privilege THEN NULL; END; END LOOP; END $$' ],
		'<', \undef, '>', \my $out, '2>', \my $err)
} 1 .. 3;
my ($slowest, $waited) = (0, 0);
for my $n (1 .. 20)
{
	my $began = time;
	$waited += error_of("ALTER SYSTEM SET work_mem = '${n}kB'") =~ /^55000/ ? 1 : 0;
	$node->safe_psql('postgres', "ALTER SYSTEM SET work_mem = '${n}MB'");
	$slowest = time - $began if time - $began > $slowest;
}
$_->finish foreach @flood;
is($waited, 0, 'L20: amid a flood, no entry that is waited for is refused');
settle();
cmp_ok(entries("entity_id = 'work_mem' AND metadata ->> 'value' = '20MB'"), '>=', 1, 'L20: and it is there');
is( $node->safe_psql('postgres', q{SELECT count(*) FILTER (WHERE NOT metadata ? 'folded') + sum(COALESCE((metadata ->> 'folded')::int, 0))
		FROM bulwark.ledger WHERE action = 'denied' AND db_role = 'app'}), 30000, 'L20: all of the flood are counted');
cmp_ok(entries("action = 'denied' AND db_role = 'app'"), '<', 2000, 'L28: few of them are kept');
note("the slowest of the waits took $slowest s");

# --- one that is waited for, behind large ones ------------------------------------------
$node->append_conf('postgresql.conf', "bulwark.max_workers = 0\nbulwark.ledger_wait_timeout = '60s'");
$node->reload;
$node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'bulwark sealer'));
# by another login: of the flood before, this window's are counted already
$node->safe_psql('postgres', 'CREATE ROLE large LOGIN IN ROLE bulwark_app');
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'large' ]);
BEGIN;
SELECT bulwark.annotate('/large', 'r', '192.0.2.1', jsonb_build_object('a', repeat('x', 8000)));
DO $$ BEGIN FOR i IN 1 .. 90 LOOP BEGIN EXECUTE 'SELECT * FROM hidden'; EXCEPTION WHEN insufficient_privilege THEN NULL; END; END LOOP; END $$;
COMMIT;
SQL
my $waiter = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-c', "ALTER SYSTEM SET work_mem = '33MB'" ],
	'<', \undef, '>', \my $waiter_out, '2>', \my $waiter_err);
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'ALTER SYSTEM SET work_mem = ''33MB''%' AND wait_event_type IS NOT NULL});
$node->append_conf('postgresql.conf', 'bulwark.max_workers = 4');
$node->reload;
$waiter->finish;
is($waiter_err, '', 'L20: what is waited for does not stand behind a flood');
settle();
is( $node->safe_psql('postgres', q{SELECT count(*) FROM bulwark.ledger WHERE route = '/large' AND action = 'denied' AND entry_id <
		(SELECT max(entry_id) FROM bulwark.ledger WHERE entity_id = 'work_mem' AND metadata ->> 'value' = '33MB')}),
	0, 'L20: it is written before all of them');

# --- the worker does not come -----------------------------------------------------------
$node->append_conf('postgresql.conf', "bulwark.ledger_wait_timeout = '700ms'\n");
$node->reload;
my @stopped = sealers();
ok(scalar @stopped, 'the sealer is there');
kill 'STOP', @stopped;
my $began = time;
like(error_of("ALTER SYSTEM SET work_mem = '77MB'"), qr/^55000: the ledger entry could not be made durable/,
	'the worker is stopped: what must be recorded is refused');
cmp_ok(time - $began, '<', 10, 'within the time limit');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_file_settings WHERE setting = '77MB'"), 0, 'and not done');
like(error_of('SELECT * FROM hidden', @app), qr/^42501/, 'a denied statement is no slower for it');
is(error_of('SELECT count(*) FROM seen', @app), '', 'a read goes on');

# Cancelled while it waits: the entry stays.
$node->append_conf('postgresql.conf', "bulwark.ledger_wait_timeout = '60s'\n");
$node->reload;
like(error_of("SET statement_timeout = '300ms'; ALTER SYSTEM SET work_mem = '78MB'"), qr/^57014/,
	'a wait can be cancelled');
kill 'CONT', @stopped;
settle();
is(entries("entity_id = 'work_mem' AND metadata ->> 'value' = '78MB'"), 1, 'and leaves its entry behind');
is(entries("entity_id = 'work_mem' AND metadata ->> 'value' = '77MB'"), 0, 'that of a statement which was refused is taken back');
is(entries("entity_type = 'public.seen' AND action = 'read'"), 1, 'what was spooled meanwhile is written');

# --- the spool is full ----------------------------------------------------------------------
$node->append_conf('postgresql.conf', "bulwark.ledger_spool_size = '256kB'\nbulwark.ledger_flood_limit = 100000\nbulwark.ledger_wait_timeout = '5s'\n");
$node->restart;
$node->safe_psql('postgres', "ALTER SYSTEM SET work_mem = '79MB'");
@stopped = sealers();
kill 'STOP', @stopped;
$node->psql('postgres', 'DO $$ BEGIN FOR i IN 1 .. 2000 LOOP BEGIN EXECUTE \'SELECT * FROM hidden\'; EXCEPTION WHEN insufficient_privilege THEN NULL; END; END LOOP; END $$', @app);
my ($used) = $node->safe_psql('postgres', 'SELECT used FROM bulwark_internal.ledger_spool()');
cmp_ok($used, '<=', 0.76, 'L20: entries that nobody waits for leave a quarter of the spool to those that somebody does');
kill 'CONT', @stopped;
is(error_of("ALTER SYSTEM SET work_mem = '80MB'"), '', 'which have their place in it');
settle();
is( $node->safe_psql('postgres', q{SELECT count(*) FILTER (WHERE NOT metadata ? 'folded') + sum(COALESCE((metadata ->> 'folded')::int, 0))
		FROM bulwark.ledger WHERE action = 'denied' AND db_role = 'app'}), 32001, 'and the rest is counted');

# --- a standby ------------------------------------------------------------------------------
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
like(error_of('SELECT count(*) FROM seen', on => $standby, @app), qr/^55000: the ledger cannot be written on a standby/,
	'L21: on a standby a read that cannot be recorded is refused');
like(error_of('COPY seen TO STDOUT', on => $standby, @app), qr/^55000/, 'L21: so is COPY');
is(error_of('EXPLAIN SELECT * FROM seen', on => $standby, @app), '', 'a plan can be shown');
is(error_of('SELECT count(*) FROM pg_class', on => $standby, @app), '', 'and anything else read');
like(error_of('SELECT * FROM hidden', on => $standby, @app), qr/^42501/, 'a denied statement is denied');
$standby->stop;

# --- no root key -----------------------------------------------------------------------------
$node->append_conf('postgresql.conf', "bulwark.root_key_file = ''\n");
$node->restart;
like(error_of('CREATE ROLE nobody'), qr/^55000/, 'L27: without a root key no role is changed once the ledger has begun');
like(error_of("ALTER SYSTEM SET work_mem = '81MB'"), qr/^55000: bulwark is sealed/, 'L27: nor the server\'s settings');
like(error_of('SELECT count(*) FROM seen', @app), qr/^55000: bulwark is sealed/, 'L27: nor is a table read whose reads are entries');
like(error_of('SELECT * FROM hidden', @app), qr/^42501/, 'a denied statement is denied');
$node->append_conf('postgresql.conf', "bulwark.root_key_file = '$key'\n");
$node->reload;
$node->poll_query_until('postgres', q(SELECT state = 'loaded' FROM bulwark.keyring_status() WHERE slot = 'current'))
  or die 'the key does not come';
settle();
cmp_ok(entries("action = 'denied' AND db_role = 'app' AND occurred_at > now() - interval '1 minute'"), '>=', 1,
	'what was denied meanwhile is written when the key is there');

# --- a database whose ledger has not begun, and no key -------------------------------------------
my $bare = PostgreSQL::Test::Cluster->new('bare');
$bare->init;
$bare->append_conf('postgresql.conf', "shared_preload_libraries = 'bulwark'\n");
$bare->start;
$bare->safe_psql('postgres', 'CREATE EXTENSION bulwark');
my ($rc, $out, $err) = $bare->psql('postgres',
	"SELECT bulwark.tenant_create('a', 'A') IS NOT NULL; SELECT bulwark.tenant_create('b', 'B') IS NOT NULL; CREATE ROLE c; ALTER SYSTEM SET work_mem = '5MB'");
is("$rc $out", "0 t\nt", 'without a key and a ledger, administration works');
is(scalar(() = $err =~ /WARNING:  the ledger has not begun/g), 1, 'and warns once a session that it is not recorded');
$bare->stop;

$node->stop;
done_testing();
