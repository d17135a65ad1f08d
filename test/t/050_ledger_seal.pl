# The sealer: every committed entry is sealed once, whatever order transactions
# end in; what stops it is told, and stops nobody else; a database that is promoted,
# cloned or dropped finds it in its place.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = bulwark_node('seal', init => [ allows_streaming => 1, extra => [ '--wal-segsize=1' ] ], conf => <<'CONF');
max_prepared_transactions = 10
max_worker_processes = 16
restart_after_crash = on
bulwark.seal_interval = 100ms
bulwark.seal_lag_alarm = 2s
bulwark.ledger_segment_size = 1MB
CONF

sub sql
{
	my ($statement, $on, $database) = @_;
	return ($on // $node)->safe_psql($database // 'postgres', $statement);
}

sub wait_for
{
	my ($query, $on, $database) = @_;
	return ($on // $node)->poll_query_until($database // 'postgres', $query);
}

sub wait_for_log
{
	my ($pattern, $from) = @_;
	for (1 .. 300)
	{
		return 1 if substr(slurp_file($node->logfile), $from) =~ $pattern;
		usleep(100_000);
	}
	return 0;
}

# Sealed, every entry once, and verified.
sub whole
{
	my ($title, $on, $database) = @_;
	sql('SELECT bulwark.ledger_seal()', $on, $database);
	is(sql("SELECT integrity || ' ' || pending || ' ' || (entries = tree_size) FROM bulwark.ledger_verify()", $on, $database),
		'ok 0 true', $title)
	  or diag(sql('SELECT * FROM bulwark.ledger_problems() LIMIT 5', $on, $database));
	return;
}

sql('CREATE TABLE t (id int PRIMARY KEY, v text)');
sql('CREATE DATABASE fresh');
sql('CREATE EXTENSION bulwark', $node, 'fresh');
is(sql('SELECT bulwark.ledger_seal(), bulwark.ledger_checkpoint() IS NULL, bulwark.ledger_public_key() IS NULL', $node, 'fresh'), '0|t|t',
	'before the first entry there is nothing to seal, no checkpoint and no key');
sql(q{SELECT bulwark.audit('t')});

# --- order -----------------------------------------------------------------------------
sub entries_of
{
	my ($id) = @_;
	return sql("SELECT count(*), count(leaf_index), count(DISTINCT leaf_index) FROM bulwark.ledger WHERE entity_type = 'public.t' AND entity_id = '$id'");
}

my $long = session_start($node, 'postgres');
my $short = session_start($node, 'postgres');
# many enough that they are written before the commit
session_say($long, "BEGIN; INSERT INTO t VALUES (1, 'long'); INSERT INTO t SELECT n, 'long' FROM generate_series(1000, 1600) n;");
session_say($short, "BEGIN; INSERT INTO t VALUES (2, 'short');");
sql("INSERT INTO t VALUES (3, 'between')");
session_say($short, 'COMMIT;');
sql('SELECT bulwark.ledger_seal()');
is(entries_of(2), '1|1|1', 'L15: what began later and committed first is sealed');
is(entries_of(1), '0|0|0', 'L15: an open transaction is not');
ok(wait_for("SELECT held_back_by LIKE 'process %' FROM bulwark.ledger_status()"), 'ledger_status() names the process that is open');
ok(wait_for_log(qr/ledger entries have waited \d+ seconds for process \d+ to end/, 0), 'and so does the server log, after bulwark.seal_lag_alarm');
sql("INSERT INTO t SELECT n, 'many' FROM generate_series(100, 600) n");
session_say($long, "UPDATE t SET v = 'longer' WHERE id = 1;");
session_say($long, 'COMMIT;');
session_end($long);
session_end($short);
sql('SELECT bulwark.ledger_seal()');
is(entries_of(1), '2|2|2', 'L15: the one that was open is sealed when it ends, each entry once');
is(sql('SELECT count(*) > 0 FROM bulwark_internal.ledger_stragglers'), 't', 'L15: as a straggler');
whole('L15: commits out of order: the ledger is whole');

my $from = -s $node->logfile;
sql("BEGIN; INSERT INTO t VALUES (10, 'prepared'); PREPARE TRANSACTION 'p1'");
sql("BEGIN; INSERT INTO t VALUES (11, 'rolled back'); PREPARE TRANSACTION 'p2'");
sql("INSERT INTO t VALUES (12, 'after')");
sql('SELECT bulwark.ledger_seal()');
is(sql('SELECT held_back_by FROM bulwark.ledger_status()'), "prepared transaction 'p1'", 'L15: ledger_status() names a prepared transaction');
ok(wait_for_log(qr/for prepared transaction 'p1' to end/, $from), 'and so does the server log');
$node->stop('immediate');
$node->start;
sql("COMMIT PREPARED 'p1'; ROLLBACK PREPARED 'p2'");
ok(wait_for(q{SELECT count(leaf_index) = 1 FROM bulwark.ledger WHERE entity_id = '10'}), 'L15: prepared, crash, COMMIT PREPARED: sealed without being asked');
is(entries_of(10) . ' ' . entries_of(11), '1|1|1 0|0|0', 'L15: once, and what was rolled back is not');
whole('L15: and the ledger is whole');

# committed from another session when no worker is there, since another database wanted
# it: nothing else is written, nor is the ledger read, which would be an entry
my $no_worker = q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'bulwark sealer'};
$node->append_conf('postgresql.conf', 'bulwark.max_workers = 1');
$node->restart;
sql("BEGIN; INSERT INTO t VALUES (13, 'prepared'); PREPARE TRANSACTION 'p4'");
sql(q{SELECT bulwark.ledger_record('app:begun', 'ledger')}, $node, 'fresh');
ok(wait_for($no_worker), 'L15: a worker that is wanted elsewhere leaves a prepared transaction');
my $before = sql('SELECT tree_size FROM bulwark.ledger_status()');
sql("COMMIT PREPARED 'p4'");
ok(wait_for("SELECT tree_size = $before + 1 FROM bulwark.ledger_status()"), 'L15: COMMIT PREPARED brings one back');
is(entries_of(13), '1|1|1', 'L15: for the entry that was prepared');
$node->append_conf('postgresql.conf', 'bulwark.max_workers = 4');
$node->reload;

my $sub = "BEGIN; SAVEPOINT a; INSERT INTO t VALUES (20, 'a'); ROLLBACK TO a; INSERT INTO t VALUES (21, 'b'); SAVEPOINT c; INSERT INTO t VALUES (22, 'c'); RELEASE c; COMMIT";
sql($sub);
whole('savepoints leave no gap');

# --- segments -----------------------------------------------------------------------------
sql("INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(10000, 15000) n");
ok(wait_for(q{SELECT count(*) >= 1 FROM bulwark_internal.ledger_segments WHERE state = 'indexed'}), 'a full segment is closed, and indexed');
is(sql(q{SELECT count(*) FROM bulwark_internal.ledger_segments WHERE state IN ('active', 'ahead')}), '2', 'another is active, the next one ready');
is(sql(q{SELECT count(DISTINCT c.relrowsecurity::text || coalesce(c.relacl::text, 'none')) || min(c.relrowsecurity::text) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE i.inhparent = 'bulwark_internal.ledger_entries'::regclass}),
	'1true', 'all are alike in row security and privileges');
# an entity is looked up, of which the catalog keeps no samples
my ($estimate) = sql(q{SET enable_seqscan = off; SET enable_bitmapscan = off; EXPLAIN SELECT FROM bulwark.ledger WHERE entity_id = '12000'}) =~
  /using ledger_segment_1_7 on ledger_segment_1 .* rows=(\d+) /;
is($estimate, '2', 'the planner expects few entries of an entity in a segment');
is(sql(q{SELECT count(*) FROM pg_statistic s JOIN pg_class c ON c.oid = s.starelid WHERE c.relname = 'ledger_segment_1_7'}), '0', 'though there are no statistics of entity ids');
# and a tenant's auditor who asks for what everybody does finds the tenant's by its index
sql(<<'SQL');
CREATE ROLE reader IN ROLE bulwark_app;
SELECT bulwark.tenant_create(name, name, id => md5(name)::uuid) FROM unnest('{tenant-a,tenant-b}'::text[]) name;
SELECT bulwark.principal_create('auditor@example.org', id => md5('auditor')::uuid);
SELECT bulwark.membership_grant(md5('auditor')::uuid, md5(name)::uuid, 'auditor') FROM unnest('{tenant-a,tenant-b}'::text[]) name;
BEGIN;
SELECT bulwark.assume(md5('auditor')::uuid, md5('tenant-b')::uuid);
INSERT INTO t VALUES (29, 'of another tenant');
COMMIT;
SQL
my $as_auditor = q{BEGIN; SET LOCAL enable_sort = off; DO 'BEGIN PERFORM bulwark.assume(md5(''auditor'')::uuid, md5(''tenant-%s'')::uuid); END'; SET LOCAL ROLE reader;};
my $inserts = q{SELECT entity_id FROM bulwark.ledger WHERE action = 'insert' ORDER BY occurred_at DESC LIMIT 100};
like(sql(sprintf($as_auditor, 'a') . "EXPLAIN (COSTS OFF) $inserts; COMMIT"),
	qr/Index Scan Backward using ledger_segment_1_5 on ledger_segment_1.*\n\s+Index Cond: \(?\S*leaf_tenant\(leaf\) = bulwark.tenant_id\(\)/,
	"a tenant's auditor reads the tenant's index of a segment, newest first");
is(sql(sprintf($as_auditor, $_) . "$inserts; COMMIT"), { a => '', b => '29' }->{$_}, "and sees what tenant $_ has done") for qw(a b);
is(sql("SET ROLE reader; $inserts"), '', 'without an identity nothing is seen');
my $writer = session_start($node, 'postgres');
session_say($writer, "BEGIN; INSERT INTO t VALUES (30, 'w'); INSERT INTO t SELECT n, 'w' FROM generate_series(2000, 2600) n;");
sql("INSERT INTO t SELECT n, repeat('y', 200) FROM generate_series(20000, 26000) n");
sql('SELECT bulwark.ledger_seal()');
session_say($writer, 'COMMIT;');
session_end($writer);
ok(wait_for(q{SELECT unindexed = 0 FROM bulwark.ledger_status()}), 'segments are indexed once no writer is in them');
whole('over several segments the ledger is whole');
sql('VACUUM FULL bulwark_internal.ledger_segments');
sql("REINDEX TABLE $_") for split /\n/, sql("SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'bulwark_internal.ledger_entries'::regclass");
my $active = sql(q{SELECT 'bulwark_internal.ledger_segment_' || segment FROM bulwark_internal.ledger_segments WHERE state = 'active'});
sql("BEGIN; INSERT INTO t VALUES (31, 'x'); ROLLBACK") for 1 .. 3;
sql("INSERT INTO t VALUES (32, 'x')");
sql("VACUUM FULL $active");
sql("INSERT INTO t VALUES (33, 'x')");
whole('L6: a segment that VACUUM FULL has rewritten is sealed on');

# --- what stops the sealer -------------------------------------------------------------------
my $reader = session_start($node, 'postgres');
session_say($reader, 'BEGIN; SELECT count(*) FROM bulwark_internal.ledger_tiles;');
my $reindex = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-c', 'REINDEX TABLE bulwark_internal.ledger_tiles' ], '<', \undef, '>&', \my $reindexed);
$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE relation = 'bulwark_internal.ledger_tiles'::regclass AND mode = 'ShareLock'}) or die 'it is not being reindexed';
$from = -s $node->logfile;
my $began = time;
sql("INSERT INTO t VALUES (40, 'locked out')");
ok(time - $began < 5, 'L17: writers are unharmed while the sealer is locked out');
ok(wait_for_log(qr/canceling statement due to lock timeout/, $from), 'L17: the log says that it is');
cmp_ok(sql('SELECT pending FROM bulwark.ledger_status()'), '>=', 1, 'L17: and ledger_status() that an entry is pending');
ok(wait_for_log(qr/have waited \d+ seconds to be sealed/, $from), 'L17: and the alarm');
my ($rc, $out, $err) = $node->psql('postgres', "SET bulwark.commit_waits_for_seal = on; SET statement_timeout = 5000; INSERT INTO t VALUES (41, 'waits')");
is("$rc " . ($err =~ /WARNING:.*did not wait until/ ? 'warned' : $err), '0 warned', 'a commit that cannot wait any longer is a commit, with a warning');
session_say($reader, 'COMMIT;');
session_end($reader);
$reindex->finish;
is($reindexed, '', 'the table is reindexed when its reader is gone');
ok(wait_for('SELECT pending = 0 FROM bulwark.ledger_status()'), 'L17: it catches up');
whole('L17: and all is whole');

# A transaction that has the parent of the segments: none is made ahead, and sealing goes on.
ok(wait_for(q{SELECT EXISTS (SELECT FROM bulwark_internal.ledger_segments WHERE state = 'ahead')}), 'a segment is made ahead');
my $comment = session_start($node, 'postgres');
session_say($comment, q{BEGIN; COMMENT ON TABLE bulwark_internal.ledger_entries IS 'x';});
my $segments = sql('SELECT max(segment) FROM bulwark_internal.ledger_segments');
for my $k (1 .. 2)
{
	sql("INSERT INTO t SELECT n, repeat('z', 200) FROM generate_series(30000 + $k * 10000, 36000 + $k * 10000) n; SELECT bulwark.ledger_seal()");
	ok(wait_for("SELECT segment >= $segments FROM bulwark_internal.ledger_segments WHERE state = 'active'"), 'L17: the segment made ahead is taken');
}
sql("INSERT INTO t VALUES (47, 'x')");
is(sql('SELECT bulwark.ledger_seal() > 0'), 't', 'L17: entries are sealed while somebody has the parent of the segments, and another is due');
is(sql('SELECT max(segment) FROM bulwark_internal.ledger_segments'), $segments, 'L17: which is not made');
session_say($comment, 'ROLLBACK;');
session_end($comment);
ok(wait_for("SELECT max(segment) > $segments FROM bulwark_internal.ledger_segments"), 'L17: before that ends');
whole('L17: and all is whole');

# in a worker's long pause between rounds
$node->append_conf('postgresql.conf', 'bulwark.seal_interval = 30s');
$node->reload;
sql("INSERT INTO t VALUES (42, 'x')");
my $pending = 'SELECT pending FROM bulwark.ledger_status()';
sql('SELECT bulwark.ledger_seal()');
is(sql("INSERT INTO t VALUES (43, 'does not wait'); $pending"), '1', 'a commit waits for no seal');
$began = time;
is(sql("SET bulwark.commit_waits_for_seal = on; INSERT INTO t VALUES (46, 'waits'); $pending"), '0',
	'but with bulwark.commit_waits_for_seal its entry is sealed when it returns');
cmp_ok(time - $began, '<', 20, 'and it does not wait for the next round');
$node->append_conf('postgresql.conf', 'bulwark.seal_interval = 100ms');
$node->reload;

$from = -s $node->logfile;
sql("INSERT INTO t VALUES (44, 'x')");
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'bulwark sealer%'});
sql("INSERT INTO t VALUES (45, 'x')");
ok(wait_for(q{SELECT count(leaf_index) = 2 FROM bulwark.ledger WHERE entity_id IN ('44', '45')}), 'L17: sealer and launcher terminated: others take over');

# A full disk: whoever the server starts from here on cannot make a file longer than this,
# while who is there already can.
my $there = session_start($node, 'postgres');
session_say($there, 'SELECT 1;');
my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
my $limit = 1024 * 1024 + -s $node->logfile;
system_or_bail('prlimit', "--pid=$postmaster", "--fsize=$limit:unlimited");
$from = -s $node->logfile;
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'bulwark sealer'});
session_say($there, q{INSERT INTO t SELECT n, 'disk full' FROM generate_series(100001, 200000) n;});
ok(wait_for_log(qr/ERROR: +could not (?:extend|write).*File too large/, $from), 'L17: the sealer finds no room on the disk');
is(session_say($there, q{INSERT INTO t VALUES (300000, 'goes on') RETURNING id;}), '300000', 'L17: writers that have room go on');
ok(wait_for_log(qr/have waited \d+ seconds to be sealed/, $from), 'L17: the alarm');
cmp_ok(session_say($there, 'SELECT pending FROM bulwark.ledger_verify();'), '>=', 1, 'L17: and ledger_verify() says how much is pending');
system_or_bail('prlimit', "--pid=$postmaster", '--fsize=unlimited:unlimited');
ok(wait_for('SELECT pending = 0 FROM bulwark.ledger_status()'), 'L17: with room it catches up');
whole('L17: and all is whole after a full disk');
session_end($there);

# More than maintenance_work_mem has room for, of transactions that are in one another's way.
$from = -s $node->logfile;
$node->append_conf('postgresql.conf', "maintenance_work_mem = '1MB'\nlog_temp_files = 0\nbulwark.max_workers = 0");
$node->reload;
ok(wait_for($no_worker), 'no worker is left');
my $apart = session_start($node, 'postgres');
session_say($apart, "BEGIN; INSERT INTO t SELECT n, 'm' FROM generate_series(1000000, 1020000) n;");
sql("INSERT INTO t SELECT n, 'm' FROM generate_series(1030000, 1050000) n");
session_say($apart, "INSERT INTO t SELECT n, 'm' FROM generate_series(1060000, 1080000) n; COMMIT;");
session_end($apart);
$node->append_conf('postgresql.conf', 'bulwark.max_workers = 4');
$node->reload;
whole('many at once, of transactions that wrote in turn: the ledger is whole');
ok(wait_for_log(qr/temporary file: .*pgsql_tmp/, $from), 'they were sorted on disk');
$node->append_conf('postgresql.conf', "maintenance_work_mem = '64MB'\nlog_temp_files = -1");
$node->reload;
sql('DELETE FROM t WHERE id >= 1000000');

# --- databases ------------------------------------------------------------------------------------
sql('CREATE DATABASE other');
bulwark_create($node, 'other');
sql(q{CREATE TABLE t (id int PRIMARY KEY); SELECT bulwark.audit('t'); INSERT INTO t VALUES (1)}, $node, 'other');
ok(wait_for(q{SELECT tree_size > 0 FROM bulwark.ledger_status()}, $node, 'other'), 'another database is sealed by a worker of its own');
is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'bulwark sealer' AND datname = 'other'}), '1', 'which is there');
sql('CREATE DATABASE clone TEMPLATE other');
sql('INSERT INTO t VALUES (2)', $node, 'other');
sql('ALTER DATABASE other RENAME TO another');
sql('INSERT INTO t VALUES (3)', $node, 'another');
sql('INSERT INTO t VALUES (4)', $node, 'clone');
is(sql('SELECT incarnation, cause FROM bulwark_internal.ledger_incarnations ORDER BY 1', $node, 'clone'), "1|created\n2|cloned", 'L25: a clone is another incarnation');
is(sql(q{SELECT count(*) FROM bulwark.ledger WHERE action = 'configuration' AND entity_type = 'bulwark.ledger'}, $node, 'clone'), '1', 'L25: recorded');
whole('L25: the clone is whole', $node, 'clone');
whole('and what it is a clone of', $node, 'another');
sql('INSERT INTO t VALUES (5)', $node, 'another');
sql('ALTER DATABASE another ALLOW_CONNECTIONS false');
sql(q{SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'another'});
my $worked = sql(q{SELECT bulwark.ledger_seal() > 0});
is($worked, 't', 'a database that lets nobody in stops no other');
$from = -s $node->logfile;
sleep 2;
cmp_ok(() = substr(slurp_file($node->logfile), $from) =~ /not currently accepting connections/g, '<', 3, 'and is not tried all the time');
sql('DROP DATABASE another');
sql('DROP DATABASE clone');
pass('DROP DATABASE, CREATE DATABASE ... TEMPLATE and RENAME do not meet a worker');

# L17: whoever may create databases, and not copy this one, does not send the worker away
sql('CREATE ROLE creates LOGIN CREATEDB');
my @loops = map {
	IPC::Run::start([ 'psql', '-XqAt', '-U', 'creates', '-d', $node->connstr('template1') ], '<',
		\q{SELECT 'CREATE DATABASE copied TEMPLATE postgres' FROM generate_series(1, 1000000) \gexec}, '>', '/dev/null', '2>', '/dev/null')
} 1 .. 3;
for (1 .. 3)
{
	sql("INSERT INTO t SELECT max(id) + 1, 'meanwhile' FROM t");
	is(sql('SELECT bulwark.ledger_seal() > 0'), 't', 'L17: who may not copy the database does not keep the sealer away');
}
$_->kill_kill for @loops;

# --- keys ---------------------------------------------------------------------------------------------
my $old = sql('SELECT bulwark.ledger_public_key()');
my $new = sql('SELECT bulwark.ledger_key_rotate()');
isnt($new, $old, 'ledger_key_rotate() gives another key');
($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\nBEGIN; SELECT bulwark.ledger_key_rotate(); SELECT bulwark.ledger_key_rotate()");
like($err, qr/55000/, 'which must sign before there is a third');
sql('SELECT bulwark.ledger_seal()');
is(sql(q{SELECT regexp_count(bulwark.ledger_checkpoint(), '— ')}), '2', 'the next checkpoint is signed by both keys');
is(sql('SELECT bulwark.ledger_public_key()'), $new, 'and the new one is the one to verify with');
sql("INSERT INTO t VALUES (50, 'x')");
sql('SELECT bulwark.ledger_seal()');
is(sql(q{SELECT regexp_count(bulwark.ledger_checkpoint(), '— ')}), '1', 'those after it by the new one alone');
whole('with the new key all is whole');

# --- a standby, promoted -----------------------------------------------------------------------------------
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is(sql('SELECT bulwark.ledger_checkpoint()', $standby), sql('SELECT bulwark.ledger_checkpoint()'), 'a standby shows the checkpoint');
is(sql("SELECT integrity FROM bulwark.ledger_verify()", $standby), 'ok', 'and verifies');
is(sql('SELECT pending FROM bulwark.ledger_status()', $standby), '0', 'and has a status');
($rc, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT bulwark.ledger_seal()");
like($err, qr/25006/, 'but does not seal');
sql("BEGIN; INSERT INTO t VALUES (60, 'prepared before'); PREPARE TRANSACTION 'p3'");
sql("INSERT INTO t VALUES (61, 'x')");
my $size = sql('SELECT bulwark.ledger_seal()');
my $checkpoint = sql('SELECT bulwark.ledger_checkpoint()');
$node->wait_for_catchup($standby);
$node->stop;
$standby->promote;
ok(wait_for(q{SELECT count(*) = 2 FROM bulwark_internal.ledger_incarnations WHERE cause IN ('created', 'promoted')}, $standby), 'L25: promoted: a new incarnation');
sql("INSERT INTO t VALUES (62, 'x')", $standby);
sql("COMMIT PREPARED 'p3'", $standby);
whole('L25: with a transaction prepared before it, the ledger is whole', $standby);
is(sql("SELECT anchoring FROM bulwark.ledger_verify('$checkpoint', '$new')", $standby), 'ok', 'L25: and goes on from the checkpoint before');
is(sql("SELECT count(*) FROM bulwark_internal.ledger_findings", $standby), '0', 'no finding in all of it');
$standby->stop;

done_testing();
