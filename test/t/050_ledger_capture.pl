# What is captured where one server is not enough to say it: without a root key,
# through PREPARE TRANSACTION, on a logical subscriber, over a crash.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $key = private_file('ledger.key', unpack 'H*', random_bytes(32));
my $node = bulwark_node('main', key => $key, init => [ allows_streaming => 'logical' ], conf => <<'CONF');
max_prepared_transactions = 5
bulwark.ledger_max_value = 4
bulwark.ledger_record_rate = 5
CONF

# The entries of a table, oldest first.
sub entries
{
	my ($on, $table, $columns) = @_;
	$columns //= 'action, entity_id';
	return $on->safe_psql('postgres', "SELECT $columns FROM bulwark.ledger WHERE entity_type = 'public.$table' AND source = 'captured' ORDER BY entry_id");
}

sub entry_count
{
	my ($on, $table, $columns) = @_;
	return $on->safe_psql('postgres', "SELECT $columns FROM bulwark.ledger WHERE entity_type = 'public.$table' AND source = 'captured'");
}

sub verdict
{
	my ($on) = @_;
	$on->safe_psql('postgres', 'SELECT bulwark.ledger_seal()');
	return $on->safe_psql('postgres', 'SELECT integrity FROM bulwark.ledger_verify()');
}

$node->safe_psql('postgres', "CREATE TABLE item (id int PRIMARY KEY, name text); SELECT bulwark.audit('item')");

# --- settings of the configuration file ---------------------------------------------------
$node->safe_psql('postgres', "INSERT INTO item VALUES (1, repeat('x', 4096)), (2, repeat('x', 4097))");
is(entries($node, 'item', q{entity_id, length(new ->> 'name') = 4096, new -> 'name' ? '$sha256'}), "1|t|f\n2|f|t",
	'a value over bulwark.ledger_max_value is digest and length');
my ($code, $out, $err) = $node->psql('postgres', 'SET bulwark.ledger_max_value = 1');
like($err, qr/cannot be changed now/, 'and no session changes the limit');
($code, $out, $err) = $node->psql('postgres', q{SELECT count(bulwark.ledger_record('app:x', 'y')) FROM generate_series(1, 60)});
like($err, qr/too many ledger events/, 'L28: so many events a second, and no more');

# --- wide rows ------------------------------------------------------------------------------
$node->append_conf('postgresql.conf', 'bulwark.ledger_max_value = 1MB');
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('bulwark.ledger_max_value') = '1MB'});
$node->safe_psql('postgres', 'CREATE TABLE wide (id int PRIMARY KEY, ' . join(', ', map { "c$_ text" } 1 .. 20) . ");
	SELECT bulwark.audit('wide'); INSERT INTO wide VALUES (1, " . join(', ', ("repeat(E'\\x01', 1000000)") x 20) . ')');
is(entries($node, 'wide', q{(SELECT count(*) FROM jsonb_each(new) WHERE value ? '$sha256')}), 4, 'an image has at most 16 MB, so that it can always be exported');
$node->append_conf('postgresql.conf', 'bulwark.ledger_max_value = 4');
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('bulwark.ledger_max_value') = '4kB'});

# --- prepared transactions --------------------------------------------------------------------
$node->safe_psql('postgres', 'TRUNCATE item');
my $before = entry_count($node, 'item', 'count(*)');
$node->safe_psql('postgres', q{BEGIN; INSERT INTO item VALUES (10), (11); PREPARE TRANSACTION 'two'});
$node->safe_psql('postgres', q{BEGIN; INSERT INTO item VALUES (20); PREPARE TRANSACTION 'gone'});
is(entry_count($node, 'item', 'count(*)'), $before, 'L15: what is prepared is not there yet');
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', q{COMMIT PREPARED 'two'});
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'gone'});
is($node->safe_psql('postgres', qq{SELECT action, entity_id FROM bulwark.ledger WHERE entity_type = 'public.item' AND source = 'captured' ORDER BY entry_id OFFSET $before}),
	"insert|10\ninsert|11", 'L15: prepared, crashed and committed: there, once each; rolled back: not');
is(verdict($node), 'ok', 'and the ledger is whole');

# --- savepoints at random, against what the table says ---------------------------------------------
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE tried (id serial PRIMARY KEY);
SELECT bulwark.audit('tried');
CREATE FUNCTION try(depth int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..3 LOOP
		INSERT INTO tried DEFAULT VALUES;
		IF random() < 0.05 THEN
			PERFORM count(*) FROM bulwark.ledger WHERE entity_type = 'public.tried';
		END IF;
		IF depth > 0 THEN
			BEGIN
				PERFORM try(depth - 1);
				IF random() < 0.4 THEN
					RAISE EXCEPTION 'undone';
				END IF;
			EXCEPTION WHEN raise_exception THEN
				NULL;
			END;
		END IF;
	END LOOP;
END
$$;
SQL
$node->safe_psql('postgres', "SELECT setseed($_ / 10.0); SELECT try(4)") for 1 .. 6;
is(entry_count($node, 'tried', q{count(*), count(DISTINCT entity_id)}), $node->safe_psql('postgres', 'SELECT count(*), count(*) FROM tried'),
	'L14: one entry for each row that is there, whatever was undone');
is($node->safe_psql('postgres', q{SELECT count(*) FROM tried FULL JOIN (SELECT entity_id::int FROM bulwark.ledger
	WHERE entity_type = 'public.tried' AND action = 'insert') l ON l.entity_id = id WHERE id IS NULL OR l.entity_id IS NULL}), '0', 'and none for another');
is(verdict($node), 'ok', 'and every manifest fits');

# --- a logical subscriber ---------------------------------------------------------------------------
my $subscriber = bulwark_node('subscriber', key => $key, conf => "max_prepared_transactions = 10\nbulwark.max_workers = 1\n");
$subscriber->safe_psql('postgres', "CREATE TABLE item (id int PRIMARY KEY, name text); SELECT bulwark.audit('item')");
$node->safe_psql('postgres', 'TRUNCATE item; INSERT INTO item VALUES (1); CREATE PUBLICATION items FOR TABLE item');
my $connstr = $node->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION items CONNECTION '$connstr' PUBLICATION items WITH (two_phase = true)");
$subscriber->wait_for_subscription_sync;
$node->safe_psql('postgres', "INSERT INTO item VALUES (2); UPDATE item SET name = 'x' WHERE id = 1; DELETE FROM item WHERE id = 2; TRUNCATE item");
$node->wait_for_catchup('items');
is(entries($subscriber, 'item'), "insert|1\ninsert|2\nupdate|1\ndelete|2\ntruncate|",
	'L13: a subscriber records what it copies and applies, once each');

# committed by a worker of replication, which executes no statement, when the sealer's
# worker has left for another database
$subscriber->safe_psql('postgres', 'CREATE DATABASE other');
bulwark_create($subscriber, 'other');
my $sealed = 'SELECT tree_size FROM bulwark.ledger_status()';
$node->safe_psql('postgres', "BEGIN; INSERT INTO item VALUES (5); PREPARE TRANSACTION 'far'");
$node->wait_for_catchup('items');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), '1', 'what is prepared is prepared at the subscriber');
$subscriber->safe_psql('other', q{SELECT bulwark.ledger_record('app:begun', 'ledger')});
$subscriber->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'bulwark sealer'}) or die 'the sealer stays';
my $size = $subscriber->safe_psql('postgres', $sealed);
$node->safe_psql('postgres', "COMMIT PREPARED 'far'");
ok($subscriber->poll_query_until('postgres', "SELECT ($sealed) = $size + 1"), 'L15: prepared and committed by replication: sealed without being asked');
like(entries($subscriber, 'item'), qr/\|\ninsert\|5$/, 'L15: once');
$node->safe_psql('postgres', 'DELETE FROM item');

# --- without a root key -------------------------------------------------------------------------------
rename $key, "$key.away" or die $!;
$node->restart;
($code, $out, $err) = $node->psql('postgres', 'INSERT INTO item VALUES (3)');
like($err, qr/bulwark is sealed.*HINT/s, 'L27: an audited table without a root key: refused, with a hint');
is($node->safe_psql('postgres', 'SELECT count(*) FROM item'), '0', 'and nothing is changed');
is($node->safe_psql('postgres', 'CREATE TABLE free (id int); INSERT INTO free VALUES (1) RETURNING 1'), '1', 'other tables go on');
rename "$key.away", $key or die $!;
$node->reload;
$node->poll_query_until('postgres', 'SELECT bulwark.ledger_record(\'app:back\', \'key\') > 0') or die 'the key did not come back';
$node->safe_psql('postgres', 'INSERT INTO item VALUES (3)');
like(entries($node, 'item'), qr/insert\|3$/, 'with the key it goes on');
is(verdict($node), 'ok', 'and the ledger is whole');

done_testing();
