# A column is encrypted while others use its table: whatever they do to rows and
# partitions until it is locked, every value is its row's in the end, under the
# tenant and the context that the row then has, or the column is as it was.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('import');
my %tenant = (a => 'a6300000-0000-4000-8000-000000000001', b => 'a6300000-0000-4000-8000-000000000002');
my $person = 'c6300000-0000-4000-8000-000000000001';
$node->safe_psql('postgres', <<"SQL");
SELECT bulwark.principal_create('p\@example.org', id => '$person');
SELECT bulwark.membership_grant('$person', bulwark.tenant_create(slug, slug, id => id::uuid), 'tenant_admin')
	FROM (VALUES ('a', '$tenant{a}'), ('b', '$tenant{b}')) t (slug, id);
-- While the gate is closed, a batch that comes to the row stays there.
CREATE FUNCTION gate() RETURNS boolean LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_advisory_xact_lock_shared(63); RETURN true; END \$\$;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN NEW.v := 'touched ' || NEW.id; RETURN NEW; END \$\$;
SQL

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub acting
{
	my ($tenant, $query) = @_;
	return sql("BEGIN; SELECT '' FROM bulwark.assume('$person', '$tenant{$tenant}') \\g /dev/null\n$query; COMMIT;");
}
# A session's statement, of which something is to be waited for meanwhile.
sub begin { my ($s, $statement) = @_; $s->{in} .= "$statement\n"; $s->{run}->pump_nb; return }
sub waits
{
	my ($s, $lock) = @_;
	begin($s, '');
	return $node->poll_query_until('postgres', "SELECT wait_event_type = 'Lock' AND wait_event = '$lock' FROM pg_stat_activity WHERE pid = $s->{pid}");
}
sub session
{
	my $s = session_start($node, 'postgres');
	$s->{pid} = session_say($s, 'SELECT pg_backend_pid();');
	return $s;
}

my ($gate, $run, $other) = map { session() } 1 .. 3;

# Encrypt a column of a table whose row 60 is the gate, and do something meanwhile: half of
# the rows have counterparts by then.  Returns what the call says.
sub during
{
	my ($call, $meanwhile) = @_;
	session_say($gate, 'SELECT pg_advisory_lock(63);');
	begin($run, "CALL bulwark.$call;");
	waits($run, 'advisory') or die 'the call never came to the gate';
	$meanwhile->();
	session_say($gate, 'SELECT pg_advisory_unlock(63);');
	session_say($run, '');
	return $run->{err} eq '' ? $run->{out} : $run->{err};
}
my $gated = 'CHECK (id <> 60 OR gate())';
my $hundred = "SELECT i, 'value ' || i FROM generate_series(1, 100) i";

# --- S20: what the trigger does not see ---------------------------------------------------------

sql("CREATE TABLE moved (id int PRIMARY KEY, tenant_id uuid, v text, $gated); INSERT INTO moved SELECT i, '$tenant{a}', 'value ' || i FROM generate_series(1, 100) i");
sql("SELECT bulwark.protect('moved', 'tenant_id'); GRANT ALL ON moved TO bulwark_maintenance");
like(during(q{encrypt_column('moved', 'v', context_column => 'id', batch => 10)}, sub {
	is(sql('SELECT count(*) FROM moved WHERE bulwark_encrypting_3 IS NOT NULL'), 50, 'some have been made');
	sql("UPDATE moved SET id = 1002 WHERE id = 2; SET ROLE bulwark_maintenance; UPDATE moved SET tenant_id = '$tenant{b}' WHERE id = 3");
}), qr/"rows": 102/, 'a row whose context changes and one whose tenant does are made anew');
is(acting('a', "SELECT count(*) FROM moved WHERE id <> 3 AND bulwark.decrypt_text(v, id::text) = 'value ' || (id % 1000)"), 99, 'S20: a value is under the context that its row has');
is(acting('b', 'SELECT bulwark.decrypt_text(v, id::text) FROM moved WHERE id = 3'), 'value 3', 'S20: ... and under the key of its tenant');

sql("CREATE TABLE parts (id int, v text, $gated) PARTITION BY RANGE (id); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100); CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200)");
sql("INSERT INTO parts $hundred");
like(during("encrypt_column('parts', 'v', tenant_id => '$tenant{a}', batch => 10)", sub {
	sql('CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM (200) TO (300) PARTITION BY RANGE (id)');
	sql(q{CREATE TABLE parts_4 PARTITION OF parts_3 FOR VALUES FROM (200) TO (250); INSERT INTO parts VALUES (201, 'value 201'), (202, NULL)});
}), qr/"values_not_encrypted": 0/, 'a partition that came meanwhile is encrypted, too');
is(acting('a', "SELECT count(*), count(v), count(*) FILTER (WHERE bulwark.decrypt_text(v) = 'value ' || id) FROM parts"), '102|101|101', 'S20: its values are not lost');

sql("CREATE TABLE triggered (id int PRIMARY KEY, v text, n int, $gated); INSERT INTO triggered $hundred");
sql('CREATE TRIGGER "ö behind all others" BEFORE UPDATE ON triggered FOR EACH ROW EXECUTE FUNCTION touch()');
like(during("encrypt_column('triggered', 'v', tenant_id => '$tenant{a}', batch => 10)", sub {
	sql('UPDATE triggered SET n = 1 WHERE id IN (2, 90)');
	# while the call waits for the table: the trigger off, and counterparts that are not the values'
	session_say($other, 'BEGIN; SELECT count(*) FROM triggered;');
	session_say($gate, 'SELECT pg_advisory_unlock(63);');
	waits($run, 'relation') or die 'the call never waited for the table';
	session_say($other, <<'SQL');
ALTER TABLE triggered DISABLE TRIGGER zzzz_bulwark_encrypting_2, DISABLE TRIGGER "ö behind all others";
UPDATE triggered SET v = 'changed 4' WHERE id = 4;
UPDATE triggered SET v = NULL WHERE id = 5;
UPDATE triggered SET bulwark_encrypting_2 = (SELECT t.bulwark_encrypting_2 FROM triggered t WHERE t.id = 7) WHERE id = 6;
UPDATE triggered SET bulwark_encrypting_2 = NULL WHERE id = 8;
COMMIT;
SQL
	is($other->{err}, '', 'the table changes while the call waits for it');
}), qr/"rows": 10[0-9]/, 'a counterpart that is not its value\'s is made anew');
is(acting('a', q{SELECT string_agg(id || ' ' || coalesce(bulwark.decrypt_text(v), '-'), ', ' ORDER BY id) FROM triggered WHERE bulwark.decrypt_text(v) IS DISTINCT FROM 'value ' || id}),
	'2 touched 2, 4 changed 4, 5 -, 90 touched 90', 'S20: a value that a trigger behind ours changes, or anybody while ours is off, is not lost');

# --- S20: what cannot be done leaves all as it was ---------------------------------------------------

sql("CREATE TABLE kept (id int PRIMARY KEY, tenant_id uuid, c text, v text, $gated); INSERT INTO kept SELECT i, '$tenant{a}', 'c' || i, 'value ' || i FROM generate_series(1, 100) i; SELECT bulwark.protect('kept', 'tenant_id')");
my $kept = q{SELECT count(*), count(*) FILTER (WHERE v = 'value ' || id), pg_typeof(min(v)) FROM kept};
like(during(q{encrypt_column('kept', 'v', context_column => 'c', batch => 10)}, sub { sql('UPDATE kept SET c = NULL WHERE id = 2') }),
	qr/ERROR:  23502: the context column is null/, 'a row that has lost its context');
is(sql($kept), '100|100|text', 'S20: the column is as it was');
sql("UPDATE kept SET c = repeat('c', 1025) WHERE id = 2");
(undef, undef, my $err) = $node->psql('postgres', q{CALL bulwark.encrypt_column('kept', 'v', context_column => 'c')});
like($err, qr/a context has at most 1024 bytes/, 'a context that decrypt_text() would not take');
is(sql($kept), '100|100|text', 'S20: the column is as it was');
sql(q{UPDATE kept SET c = 'c2' WHERE id = 2; UPDATE kept SET v = '' WHERE id = 60; UPDATE kept SET v = 'value 60' WHERE id = 60});
like(during(q{encrypt_column('kept', 'v', context_column => 'c', batch => 10)}, sub {
	session_say($other, 'BEGIN; SELECT count(*) FROM kept;');
	session_say($gate, 'SELECT pg_advisory_unlock(63);');
	waits($run, 'relation') or die 'the call never waited for the table';
	session_say($other, 'DROP TRIGGER zzzz_bulwark_encrypting_4 ON kept; COMMIT;');
}), qr/ERROR:  55000: the trigger that watches column "v" of "kept" is gone, or another call's/, 'the trigger is gone');
is(sql($kept), '100|100|text', 'S20: the column is as it was');
sql('ALTER TABLE kept DROP COLUMN bulwark_encrypting_4');
sql(q{CALL bulwark.encrypt_column('kept', 'v', context_column => 'c')});
is(acting('a', "SELECT count(*) FROM kept WHERE bulwark.decrypt_text(v, c) = 'value ' || id"), 100, 'and is encrypted by the next call');

# --- S6: a value that is no document ------------------------------------------------------------------

my $dictionary = 'canary' . unpack('H*', random_bytes(8)) =~ tr/0-9/g-p/r;
sql("CREATE EXTENSION pgcrypto; CREATE TABLE documents (id int PRIMARY KEY, v text, p bytea); INSERT INTO documents (id, v) VALUES (1, '{}'), (2, '{\"a\": $dictionary');"
	. "UPDATE documents SET p = pgp_sym_encrypt(v, 'pass phrase'); CREATE TABLE documents_before AS SELECT * FROM documents");
my $before = -s $node->logfile;
for my $call (q{encrypt_column('documents', 'v', 'bulwark.encrypted_jsonb'}, q{secrets_import_pgp('documents', 'p', 'pass phrase', 'bulwark.encrypted_jsonb'})
{
	my ($ret, $out, $error) = $node->psql('postgres', "CALL bulwark.$call, tenant_id => '$tenant{a}')");
	like($error, qr/ERROR:  a value of the column is no document\nDETAIL:  It is one of column [vp] of table documents, and not shown\./, 'a value that is no document is refused');
	unlike($error, qr/$dictionary/, 'S6: the answer does not quote it');
}
unlike(slurp_file($node->logfile, $before), qr/$dictionary/, 'S6: nor does the log');
is(sql('SELECT count(*) FROM documents JOIN documents_before USING (id, v, p)'), 2, 'S20: the columns are as they were');

# --- S20: the table goes, or a partition -------------------------------------------------------------

sub dropped_during
{
	my ($table, $what) = @_;
	return during("encrypt_column('$table', 'v', tenant_id => '$tenant{a}', batch => 10)", sub {
		begin($other, "BEGIN; DROP TABLE $what;");
		waits($other, 'relation') or die 'the drop never waited for the batch';
		session_say($gate, 'SELECT pg_advisory_unlock(63);');
		waits($run, 'relation') or die 'the call never waited for the drop';
		session_say($other, 'COMMIT;');
	});
}

sql("CREATE TABLE gone (id int PRIMARY KEY, v text, $gated); INSERT INTO gone $hundred");
like(dropped_during('gone', 'gone'), qr/ERROR:  42P01: relation with OID \d+ does not exist/, 'S20: a table that is dropped while a batch is made');
sql("CREATE TABLE gone (id int PRIMARY KEY, v text, $gated); INSERT INTO gone $hundred");
like(during("encrypt_column('gone', 'v', tenant_id => '$tenant{a}', batch => 10)", sub {
	session_say($other, 'BEGIN; SELECT count(*) FROM gone;');
	session_say($gate, 'SELECT pg_advisory_unlock(63);');
	waits($run, 'relation') or die 'the call never waited for the table';
	session_say($other, 'DROP TABLE gone; COMMIT;');
}), qr/ERROR:  42P01: relation with OID \d+ does not exist/, 'S20: ... and while the call waits for it');
sql("CREATE TABLE left_over (id int, v text, $gated) PARTITION BY RANGE (id); CREATE TABLE left_over_1 PARTITION OF left_over FOR VALUES FROM (0) TO (100); CREATE TABLE left_over_2 PARTITION OF left_over FOR VALUES FROM (100) TO (200)");
sql("INSERT INTO left_over $hundred");
like(dropped_during('left_over', 'left_over_1'), qr/"values_not_encrypted": 0/, 'S20: a partition that is dropped stops nothing');
is(acting('a', 'SELECT bulwark.decrypt_text(v) FROM left_over'), 'value 100', 'the rest is encrypted');
unlike(slurp_file($node->logfile), qr/terminated by signal/, 'S20: no process has ended');

session_end($_) for $gate, $run, $other;
done_testing();
