# Contents that were erased are gone from wherever statements reach: entries of closed
# segments with their indexes among them, and the samples that plans are made from.
use strict;
use warnings;

use FindBin;
use IPC::Run;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('erase', conf => <<'CONF');
autovacuum = off
bulwark.ledger_segment_size = 1MB
CONF

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql('postgres', $statement);
}

# Is it in any of the files of a segment?
sub in_files
{
	my ($canary, $segment) = @_;
	sql('CHECKPOINT');
	my $files = sql(<<"SQL");
WITH s AS (SELECT '$segment'::regclass AS oid)
SELECT pg_relation_filepath(s.oid) FROM s
UNION ALL SELECT pg_relation_filepath(i.indexrelid) FROM s JOIN pg_index i ON i.indrelid = s.oid
UNION ALL SELECT pg_relation_filepath(c.reltoastrelid) FROM s JOIN pg_class c ON c.oid = s.oid
SQL
	return scalar grep { slurp_file($node->data_dir . "/$_") =~ /\Q$canary\E/ } split /\n/, $files;
}

sql(<<'SQL');
CREATE TABLE person (email text PRIMARY KEY, note text);
SELECT bulwark.audit('person');
INSERT INTO person SELECT 'p' || n || '@erase.example', 'canary-' || n || '.' || repeat('.', 300) FROM generate_series(1, 4000) AS n;
SELECT bulwark.ledger_seal();
SQL
$node->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM bulwark_internal.ledger_segments WHERE segment = 1 AND state = 'indexed')})
  or die 'no segment was closed';
my $segment = 'bulwark_internal.ledger_segment_1';
is(sql("SELECT count(*) FROM pg_index WHERE indrelid = '$segment'::regclass"), '7', 'a closed segment has its indexes');

# --- statistics ------------------------------------------------------------------------
sql("ANALYZE; ANALYZE $segment; ANALYZE bulwark_internal.ledger_entries");
is(sql(<<'SQL'), 'f', 'no statistics are kept of contents');
SELECT EXISTS (SELECT FROM pg_stats WHERE schemaname = 'bulwark_internal'
	AND (attname = 'content' AND tablename LIKE 'ledger\_%' OR attname = 'content_entity_id'))
SQL
is(sql(q{SELECT count(*) > 0 FROM pg_stats WHERE tablename LIKE 'ledger\_segment\_1\_%' AND attname = 'leaf_time'}), 't',
	'those that plans need are');
# what bytes of a content would look like there, as text
my $sampled = q{SELECT count(*) FROM pg_statistic s JOIN pg_class c ON c.oid = s.starelid AND c.relnamespace = 'bulwark_internal'::regnamespace
	WHERE concat(s.stavalues1, s.stavalues2, s.stavalues3, s.stavalues4, s.stavalues5) ~ '63616e6172792d|6572617365|erase'};
is(sql($sampled), '0', 'no sample of what may be erased is in pg_statistic');
my (undef, undef, $refused) = $node->psql('postgres', "ALTER TABLE $segment ALTER COLUMN content SET STATISTICS 100");
like($refused, qr/not allowed on ledger relation/, 'nor can a statement have them gathered');
my ($code) = $node->psql('postgres', "CREATE STATISTICS bulwark_contents ON content, leaf FROM $segment");
isnt($code, 0, 'or others');

is(in_files('canary-1311.', $segment) > 0, 1, 'a content is in the files of its segment');

# --- an entry in a closed segment ---------------------------------------------------------
my $key = sql(q{SELECT entry_id FROM bulwark.ledger WHERE entity_id = 'p1311@erase.example'});
like($key, qr/^\d+$/, 'an entry is found by its entity');
is(sql("SELECT e.tableoid::regclass FROM bulwark_internal.ledger_entries e WHERE bulwark_internal.leaf_entry_id(e.leaf) = $key"),
	$segment, 'in the closed segment');
is(sql("SELECT bulwark.ledger_erase(ARRAY[$key], 'art. 17')"), '1', 'its content is erased');
is(sql("SELECT entity_id IS NULL AND new IS NULL AND entity_type = 'public.person' FROM bulwark.ledger WHERE entry_id = $key"), 't',
	'the record stays');
is(sql(<<"SQL"), '1 0', 'the indexes show the entry by its id, and not by its entity');
SET enable_seqscan = off;
SELECT (SELECT count(*) FROM $segment WHERE bulwark_internal.leaf_entry_id(leaf) = $key) || ' ' ||
	(SELECT count(*) FROM $segment WHERE bulwark_internal.content_entity_id(content) = 'p1311\@erase.example')
SQL
is(sql("SELECT bulwark.ledger_erase(ARRAY[$key], 'again')"), '0', 'there is nothing left to erase');
# several at once, and one whose content is stored out of line
sql(q{INSERT INTO person SELECT 'long@erase.example', string_agg(md5(n::text), '') FROM generate_series(1, 2000) AS n});
is(sql(q{SELECT bulwark.ledger_erase(array_agg(entry_id ORDER BY entry_id), 'art. 17') FROM bulwark.ledger WHERE entity_id IN ('p7@erase.example', 'p8@erase.example', 'long@erase.example')}),
	'3', 'so are several, one that is stored out of line among them');
is(sql('SELECT bulwark.ledger_seal() > 0'), 't', 'the erasure is sealed');
is(sql('SELECT ok, integrity, coverage FROM bulwark.ledger_verify()'), 't|ok|ok', 'the ledger is whole, its indexes too')
  or diag(sql('SELECT * FROM bulwark.ledger_problems() LIMIT 5'));

# --- an export right after an erasure --------------------------------------------------------
# of contents that are gone, and of a record that is sealed before the worker's next round
my $vkey = sql('SELECT bulwark.ledger_public_key()');
my @verify = ('bulwarkctl', 'verify', '--key', $vkey, '-d', $node->connstr('postgres'));
$node->append_conf('postgresql.conf', 'bulwark.seal_interval = 1min');
$node->reload;
sql(q{SELECT bulwark.ledger_seal(), bulwark.ledger_seal()});
is(sql(q{SELECT bulwark.ledger_erase(array_agg(entry_id), 'art. 17') FROM bulwark.ledger WHERE entity_id = 'p9@erase.example'}), '1', 'an erasure');
command_checks_all(\@verify, 0, [qr/^verified: /], [], 'is in the export that follows it at once, which is verified');
my $eraser = session_start($node, 'postgres');
session_say($eraser, q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT bulwark.ledger_erase(array_agg(entry_id), 'art. 17') FROM bulwark.ledger WHERE entity_id = 'p10@erase.example';});
my $early = private_file('early.jsonl', session_say($eraser, q{SELECT bulwark.ledger_export('jsonl');}) . "\n");
command_checks_all([ @verify[0 .. 3], $early ], 1, [qr/its content is gone, and no record of an erasure names it, or none that was sealed: export again/], [],
	'one from within the transaction that erases says that it came too early');

# --- two at once ------------------------------------------------------------------------------
my $erase_both = q{SELECT bulwark.ledger_erase(array_agg(entry_id), 'art. 17') FROM bulwark.ledger WHERE entity_id IN ('p10@erase.example', 'p11@erase.example')};
my $second = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-c', $erase_both ], '<', \undef, '>&', \my $erased);
$node->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%ledger_erase%' AND pid <> pg_backend_pid())})
  or die 'the second erasure does not wait';
session_say($eraser, 'COMMIT;');
$second->finish;
is($erased, "1\n", 'an erasure that waited for another erases what that has left');
session_say($eraser, q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM person;});
is(sql(q{SELECT bulwark.ledger_erase(array_agg(entry_id), 'art. 17') FROM bulwark.ledger WHERE entity_id = 'p12@erase.example'}), '1', 'an erasure');
session_say($eraser, q{SELECT bulwark.ledger_erase(array_agg(entry_id), 'art. 17') FROM bulwark.ledger WHERE entity_id = 'p12@erase.example';});
like($eraser->{err}, qr/40001/, 'that a snapshot does not see yet is an error by which to try again');
session_say($eraser, 'ROLLBACK;');
session_end($eraser);
is(sql('SELECT ok FROM bulwark.ledger_verify()'), 't', 'and the ledger is whole');
command_checks_all(\@verify, 0, [qr/^verified: /], [], 'for bulwarkctl, too');
$node->append_conf('postgresql.conf', 'bulwark.seal_interval = 1s');
$node->reload;

# --- the bytes -----------------------------------------------------------------------------
sql("VACUUM FULL $segment");
is(in_files('canary-1311.', $segment), 0, 'VACUUM FULL takes them from its files');
is(in_files('canary-1312.', $segment) > 0, 1, 'and no other content');
is(sql('SELECT ok FROM bulwark.ledger_verify()'), 't', 'and the ledger is whole');

# --- L8: an id that is used again ---------------------------------------------------------------
# Ids are what an erasure names entries by to people; it covers the leaves that it found.
sub problems { return sql(q{SELECT coalesce(entry_id::text, '-') || ': ' || problem FROM bulwark.ledger_problems()}); }
sql(q{INSERT INTO person SELECT 'junk' || n, 'junk' FROM generate_series(1, 200) AS n});
my $junk = sql(q{SELECT array_agg(entry_id ORDER BY entry_id) FROM bulwark.ledger WHERE entity_id LIKE 'junk%'});
my ($first, $last) = $junk =~ /^\{(\d+).*?(\d+)\}$/;
my $back = sprintf q{SELECT setval('bulwark_internal.ledger_entry_id', %d, false)}, int(($first - 1) / 64) * 64 + 1;
is(sql("SELECT bulwark.ledger_erase('$junk', 'junk')"), '200', 'L8: contents of entries are erased');
sql('SELECT bulwark.ledger_seal()');
my $log = -s $node->logfile;
sql($back);
sql(q{INSERT INTO person VALUES ('next@erase.example', 'a')});
cmp_ok(sql(q{SELECT entry_id FROM bulwark.ledger WHERE entity_id = 'next@erase.example'}), '>', $last, 'L8: a sequence that was set back goes on behind the newest entry');
like(substr(slurp_file($node->logfile), $log), qr/ids had been set back to \d+/, 'L8: and the log says so');
sql('SELECT bulwark.ledger_seal()');
is(problems(), '', 'L8: no id is used twice');

# where the server does not know yet which ids are used
$node->restart;
sql($back);
sql(q{INSERT INTO person SELECT 'evil' || n, 'x' FROM generate_series(1, 100) AS n});
my $evil = sql(q{SELECT entry_id FROM bulwark.ledger WHERE entity_id = 'evil100'});
ok($first <= $evil && $evil <= $last, 'L8: an id is used twice after a restart');
sql('SELECT bulwark.ledger_seal()');
like(problems(), qr/^$evil: another entry has the same id$/m, 'L8: ledger_problems() names it');
command_checks_all(\@verify, 1,
	[qr/entry $evil: another entry has the same id/], [], 'L8: so does bulwarkctl');

# the segment's file under another name, which no guard knows
my $active = sql("SELECT tableoid::regclass FROM bulwark_internal.ledger_entries WHERE bulwark_internal.leaf_entry_id(leaf) = $evil AND content IS NOT NULL");
sql("CREATE TABLE alias (LIKE $active)");
sql("UPDATE pg_class SET relfilenode = pg_relation_filenode('$active') WHERE oid = 'alias'::regclass");
is(sql("UPDATE alias SET content = NULL WHERE bulwark_internal.leaf_entry_id(leaf) = $evil AND content IS NOT NULL RETURNING 1"), '1',
	'L8: a content is taken away under the erasure of another');
like(problems(), qr/^\d+: the contents that are gone, up to entry \d+, are not those that were erased$/m, 'L8: it is not the one that was erased');
command_checks_all(\@verify, 1,
	[qr/up to entry \d+, are not those that were erased/], [], 'L8: which bulwarkctl tells, too');

# --- what says how things are set up ---------------------------------------------------------------
my $setup = sql(q{SELECT entry_id FROM bulwark.ledger WHERE action = 'configuration' AND entity_type = 'public.person'});
(undef, undef, $refused) = $node->psql('postgres', "SELECT bulwark.ledger_erase(ARRAY[$setup], 'x')");
like($refused, qr/the content of entry $setup cannot be erased/, 'L8: that a table is audited is not erased');
sql("UPDATE pg_class SET relfilenode = pg_relation_filenode('$segment') WHERE oid = 'alias'::regclass");
is(sql("UPDATE alias SET content = NULL WHERE bulwark_internal.leaf_entry_id(leaf) = $setup RETURNING 1"), '1', 'L8: who takes it away all the same');
like(problems(), qr/^$setup: its content is gone, which no erasure takes from such an entry$/m, 'L8: is found');
command_checks_all(\@verify, 1,
	[qr/entry $setup: its content is gone, which no erasure takes from such an entry/], [], 'L8: by bulwarkctl, too');

done_testing();
