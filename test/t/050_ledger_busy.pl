# When all background workers of the server are taken, entries wait to be sealed, the
# log says for what, and they are sealed as soon as one is free.  A worker does not leave
# a segment without its indexes because somebody has it for a while.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# the key loader, the launcher, the heartbeat, and one that is free
my $node = bulwark_node('busy', conf => <<'CONF');
max_worker_processes = 4
max_logical_replication_workers = 0
bulwark.seal_interval = 100ms
bulwark.ledger_segment_size = 1MB
CONF
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE t (id int PRIMARY KEY);
SELECT bulwark.audit('t');
SELECT bulwark.ledger_seal();
CREATE TABLE rows AS SELECT generate_series(1, 1000) AS id;
ANALYZE rows;
SQL
my $no_worker = "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'bulwark sealer'";
ok($node->poll_query_until('postgres', $no_worker), 'a worker leaves a database in which nothing happens');

my $busy = session_start($node, 'postgres');
session_say($busy, <<'SQL');
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
SET max_parallel_workers_per_gather = 2;
SQL
$busy->{in} .= "SELECT count(pg_sleep(0.5)) FROM rows;\n";
$busy->{run}->pump_nb;
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'parallel worker'"), 'a query takes the one that is free');

my $from = -s $node->logfile;
$node->safe_psql('postgres', 'INSERT INTO t SELECT generate_series(1, 10)');
ok($node->wait_for_log(qr/no background worker is free to seal the ledger/, $from), 'the log says that no worker is to be had');
is($node->safe_psql('postgres', "SELECT pending > 0 AND lag > interval '0' FROM bulwark.ledger_status()"), 't', 'the entries wait');
is($node->safe_psql('postgres', $no_worker), 't', 'for there is no worker');

$node->safe_psql('postgres', "SELECT pg_cancel_backend(leader_pid) FROM pg_stat_activity WHERE backend_type = 'parallel worker'");
ok($node->poll_query_until('postgres', 'SELECT pending = 0 FROM bulwark.ledger_status()'), 'they are sealed when one is');
is($node->safe_psql('postgres', 'SELECT integrity FROM bulwark.ledger_verify()'), 'ok', 'and whole');

# --- a segment that is held when it is closed, for longer than a worker stays in an idle database -----------
session_say($busy, 'BEGIN; LOCK TABLE bulwark_internal.ledger_segment_1 IN ROW EXCLUSIVE MODE;');
$node->safe_psql('postgres', 'INSERT INTO t SELECT generate_series(101, 20000)');
my $state = 'SELECT state FROM bulwark_internal.ledger_segments WHERE segment = 1';
ok($node->poll_query_until('postgres', "SELECT ($state) = 'closed'"), 'a full segment is closed');
sleep 7;
is($node->safe_psql('postgres', $state), 'closed', 'it gets no index while somebody may write to it');
session_say($busy, 'COMMIT;');
ok($node->poll_query_until('postgres', "SELECT ($state) = 'indexed'"), 'but afterwards, without anybody asking');

session_end($busy);
$node->stop;
done_testing();
