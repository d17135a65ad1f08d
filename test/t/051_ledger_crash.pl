# L16: SIGKILL of a back end, of the sealer's worker or launcher, or of the
# postmaster, at random instants under load: every committed change has exactly one
# entry, no aborted one has any, and the ledger verifies.  LEDGER_KILLS (20) says
# how many.
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

my $kills = $ENV{LEDGER_KILLS} // 20;
my $seed = $ENV{LEDGER_SEED} // int(rand(1 << 31));
srand($seed);
note("LEDGER_SEED=$seed");

my $node = bulwark_node('crash', conf => <<'CONF');
restart_after_crash = on
max_prepared_transactions = 20
max_worker_processes = 16
bulwark.seal_interval = 50ms
bulwark.ledger_segment_size = 1MB
CONF
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL, v text);
CREATE SEQUENCE ids;
INSERT INTO t SELECT -n, 0, '' FROM generate_series(1, 20) n;
SELECT bulwark.audit('t');
SQL

# Commits, rollbacks, savepoints, several rows, one prepared transaction in a while.
my $script = PostgreSQL::Test::Utils::tempdir . '/load.sql';
append_to_file($script, <<'SQL');
\set row -random(1, 20)
\set way random(1, 10)
BEGIN;
INSERT INTO t VALUES (nextval('ids'), 0, repeat('x', 100));
SAVEPOINT a;
INSERT INTO t VALUES (nextval('ids'), 0, 'rolled back');
ROLLBACK TO a;
UPDATE t SET n = n + 1 WHERE id = :row;
\if :way = 1
ROLLBACK;
\elif :way = 2
INSERT INTO t SELECT nextval('ids'), 0, 'many' FROM generate_series(1, 700);
COMMIT;
\else
COMMIT;
\endif
SQL

sub start_load
{
	my $out = '';
	return IPC::Run::start([ 'pgbench', '-n', '-c', '4', '-j', '1', '-T', '600', '-f', $script, $node->connstr('postgres') ],
		'<', \undef, '>', \$out, '2>&1', IPC::Run::timeout(600));
}

# Its children notice by themselves that the postmaster is gone, sooner or later.
sub start_again
{
	for (1 .. 100)
	{
		return if $node->start(fail_ok => 1);
		$node->stop('fast', fail_ok => 1);
		usleep(200_000);
	}
	return;
}

sub wait_until_up
{
	for (1 .. 600)
	{
		return 1 if $node->psql('postgres', 'SELECT 1', on_error_stop => 0) == 0;
		usleep(100_000);
	}
	return 0;
}

# What the table shows, and what the ledger does.
my $compare = <<'SQL';
SELECT concat_ws(' ',
	(SELECT count(*) FROM (SELECT id::text FROM t WHERE id > 0 EXCEPT SELECT entity_id FROM bulwark.ledger WHERE action = 'insert') x),
	(SELECT count(*) FROM (SELECT entity_id FROM bulwark.ledger WHERE action = 'insert' AND entity_type = 'public.t' EXCEPT SELECT id::text FROM t) x),
	(SELECT count(*) FROM bulwark.ledger WHERE action = 'insert' AND entity_type = 'public.t') - (SELECT count(*) FROM t WHERE id > 0),
	(SELECT count(*) FROM bulwark.ledger WHERE action = 'update' AND entity_type = 'public.t') - (SELECT sum(n) FROM t),
	(SELECT count(*) - count(DISTINCT leaf_index) FROM bulwark.ledger))
SQL
my $verify = "SELECT integrity, pending, entries = tree_size FROM bulwark.ledger_verify()";

my @types = ('client backend', 'bulwark sealer', 'bulwark sealer launcher', 'postmaster');
my %killed;
my $up = 1;
for my $n (1 .. $kills)
{
	my $type = $types[ $n % @types ];
	my $load = start_load();
	usleep(200_000 + int(rand(1_000_000)));
	if ($type eq 'postmaster')
	{
		$node->kill9;
		$killed{$type}++;
	}
	else
	{
		my ($rc, $pid) = $node->psql('postgres',
			"SELECT pid FROM pg_stat_activity WHERE backend_type = '$type' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1");
		$killed{$type}++ if $pid && kill('KILL', $pid);
	}
	usleep(100_000);
	$load->kill_kill;
	start_again() if $type eq 'postmaster';
	$up &&= wait_until_up();
	last if !$up;
}
ok($up, "the server came up after each of $kills kills");
cmp_ok($killed{$_} // 0, '>=', 1, "L16: $_ was killed") for @types;
$node->safe_psql('postgres', 'SELECT bulwark.ledger_seal()');
is($node->safe_psql('postgres', $compare), '0 0 0 0 0',
	'L16: every committed change has exactly one entry, no aborted one has any, each has its own leaf');
is($node->safe_psql('postgres', $verify), 'ok|0|t', 'L16: the ledger verifies')
  or diag($node->safe_psql('postgres', 'SELECT * FROM bulwark.ledger_problems() LIMIT 5'));
is($node->safe_psql('postgres', 'SELECT count(*) FROM bulwark_internal.ledger_findings'), '0', 'L16: the sealer found nothing wrong');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM t'), '>', 500, 'under load');

done_testing();
