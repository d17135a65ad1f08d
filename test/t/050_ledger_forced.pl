# Ways around the guard that a superuser has without a line of C: pg_surgery, edits of
# the catalogs that are put back, code that runs within our own commands.  Each is
# refused, or leaves an entry or a finding (L1, L7, L11, L16, L31).
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('forced', conf => "max_prepared_transactions = 5\nbulwark.seal_interval = 100ms\n");
my $segment = 'bulwark_internal.ledger_segment_1';

sub sql
{
	my ($statement) = @_;
	return $node->safe_psql('postgres', $statement);
}

sub failure
{
	my ($statement) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $statement, on_error_stop => 1);
	return $err =~ /^(?:psql:\S+ )?(ERROR: .*)$/m ? $1 : '';
}

# What the sealer has found, of the transactions that were looked at since.
my $told = 0;
sub found
{
	sql('SELECT bulwark.ledger_seal()');
	my $all = sql("SELECT string_agg(problem, '; ' ORDER BY found_at, problem) FROM (SELECT * FROM bulwark_internal.ledger_findings ORDER BY found_at, problem OFFSET $told) f");
	$told = sql('SELECT count(*) FROM bulwark_internal.ledger_findings');
	return $all;
}

sub entries
{
	my ($what) = @_;
	return sql("SELECT string_agg(action, ' ' ORDER BY entry_id) FROM bulwark.ledger WHERE $what");
}

sql(<<'SQL');
CREATE EXTENSION pg_surgery;
CREATE TABLE orders (id int PRIMARY KEY, item text);
SELECT bulwark.audit('orders');
INSERT INTO orders VALUES (1, 'one');
SQL
is(found(), '', 'nothing is found where nothing was done');
is(sql('SELECT ok FROM bulwark.ledger_verify()'), 't', 'and the ledger is whole');

# --- entries that are taken away before they are sealed ---------------------------------------
# ctids of rows that hold a text
my $rows_with = "SELECT array_agg(ctid) FROM $segment WHERE position(convert_to('%s', 'UTF8') IN content) > 0";

sub kill_rows
{
	my ($text) = @_;
	return sprintf "SELECT heap_force_kill('$segment', ($rows_with))", $text;
}
my $flush = 'SELECT count(*) > 0 FROM bulwark.ledger';

sql("BEGIN; INSERT INTO orders VALUES (2, 'hidden whole'); $flush; " . kill_rows('hidden whole') . '; COMMIT');
is(sql('SELECT item FROM orders WHERE id = 2'), 'hidden whole', 'L31: pg_surgery takes an entry away, its row is there');
is(found(), 'the entries of a transaction that has committed are missing', 'L11: a transaction without its entries is found');
sql("BEGIN; INSERT INTO orders VALUES (3, 'kept'); $flush; INSERT INTO orders VALUES (4, 'hidden end'); $flush; " . kill_rows('hidden end') . '; COMMIT');
is(found(), 'the last entries of a transaction, with its manifest, are missing', 'L11: so is one without the last of them, and their manifest');
is(entries(q{entity_type = 'public.orders' AND entity_id = '3'}), 'insert', 'what there is of it is sealed');
sql("BEGIN; INSERT INTO orders VALUES (5, 'hidden prepared'); $flush; " . kill_rows('hidden prepared') . "; PREPARE TRANSACTION 'p'");
is(found(), '', 'a prepared transaction is none yet');
sql("COMMIT PREPARED 'p'");
is(found(), 'the entries of a transaction that has committed are missing', 'L11: it is found when it is committed');
sql("BEGIN; INSERT INTO orders VALUES (6, 'rolled back'); $flush; " . kill_rows('rolled back') . '; ROLLBACK');
sql("BEGIN; SAVEPOINT a; INSERT INTO orders VALUES (6, 'rolled back'); $flush; ROLLBACK TO a; INSERT INTO orders VALUES (7, 'stays'); COMMIT");
sql("BEGIN; INSERT INTO orders VALUES (8, 'prepared'); PREPARE TRANSACTION 'q'");
sql("ROLLBACK PREPARED 'q'");
is(found(), '', 'L14: what was rolled back is not missed');

# --- entries of what never happened --------------------------------------------------------------
my ($never) = sql("BEGIN; INSERT INTO orders VALUES (666, 'never happened'); $flush; SELECT 'at ' || unnest(($rows_with)); ROLLBACK" =~ s/%s/never happened/r) =~ /^at (\(.*\))$/m;
sql("SELECT heap_force_freeze('$segment', ARRAY['$never'::tid])");
like(found(), qr/^an entry is there although its transaction has not committed$/, 'L16: an entry that pg_surgery makes visible is found');
is(sql(q{SELECT count(*), count(leaf_index) FROM bulwark.ledger WHERE entity_id = '666'}), '1|0', 'L16: and not sealed');
isnt(failure(q{SELECT bulwark.ledger_proof(entry_id) FROM bulwark.ledger WHERE entity_id = '666'}), '', 'L16: nothing proves it');
sql(sprintf "BEGIN; INSERT INTO orders VALUES (9, 'frozen by hand'); $flush; SELECT heap_force_freeze('$segment', ($rows_with)); COMMIT", 'frozen by hand');
like(found(), qr/an entry's row was made visible by force/, 'L16: a row that says of no transaction that made it is not sealed');
is(sql('SELECT ok FROM bulwark.ledger_verify()'), 'f', 'ledger_verify() says so');
like(sql('SELECT string_agg(problem, $$; $$) FROM bulwark.ledger_problems()'), qr/has not committed/, 'and what');
sql("INSERT INTO orders SELECT n, 'after' FROM generate_series(100, 110) AS n; VACUUM (FREEZE) $segment; INSERT INTO orders VALUES (111, 'vacuumed')");
is(found(), '', 'L6: what VACUUM freezes is not taken for it');

# --- catalogs that are edited, and put back ----------------------------------------------------------
my $edits = q{source = 'system' AND action = 'ddl' AND metadata->>'catalog' = 'true' AND entity_type};
my $quiet = 'ALTER TABLE orders SET (fillfactor = 99); ALTER TABLE orders RESET (fillfactor)';
sub edit_trigger
{
	my ($enabled) = @_;
	return "UPDATE pg_trigger SET tgenabled = '$enabled' WHERE tgrelid = 'orders'::regclass AND tgfoid = 'bulwark_internal.capture()'::regprocedure";
}
sql('BEGIN; ' . edit_trigger('D') . "; $quiet; UPDATE orders SET item = 'unrecorded' WHERE id = 1; " . edit_trigger('A') . '; COMMIT');
is(entries("$edits = 'pg_catalog.pg_trigger'"), 'ddl', 'L7: a trigger that was switched off and on again: the edit is an entry');
is(sql("SELECT metadata->>'command', db_role FROM bulwark.ledger WHERE $edits = 'pg_catalog.pg_trigger'"), 'UPDATE|' . sql('SELECT session_user'), 'L7: with the command and who it was');
sql('BEGIN; ' . edit_trigger('D') . '; ROLLBACK');
is(entries("$edits = 'pg_catalog.pg_trigger'"), 'ddl ddl', 'L7: also where it is rolled back');

sql("CREATE TABLE alias (LIKE $segment); UPDATE pg_class SET relfilenode = (SELECT relfilenode FROM pg_class WHERE oid = '$segment'::regclass) WHERE oid = 'alias'::regclass");
sql("BEGIN; INSERT INTO orders VALUES (999, 'hidden by alias'); $flush; DELETE FROM alias WHERE position('hidden by alias'::bytea IN content) > 0; COMMIT");
is(found(), 'the entries of a transaction that has committed are missing', 'L7: an entry that went under another name of its file is found');
is(entries("$edits = 'pg_catalog.pg_class'"), 'ddl', 'L7: the edit is an entry');
sql("UPDATE pg_class SET relfilenode = oid WHERE oid = 'alias'::regclass");

for (
	[ 'through a view', 'CREATE VIEW v AS SELECT * FROM pg_description; DELETE FROM v WHERE false', 'pg_description' ],
	[ 'in a function', 'DO $$BEGIN INSERT INTO pg_seclabel SELECT * FROM pg_seclabel; END$$', 'pg_seclabel' ],
	[ 'in WITH', 'WITH d AS (DELETE FROM pg_shdescription WHERE false RETURNING 1) SELECT count(*) FROM d', 'pg_shdescription' ],
	[ 'by MERGE', 'MERGE INTO pg_cast USING (VALUES (0)) AS v (a) ON oid = a WHEN MATCHED THEN DELETE', 'pg_cast' ],
	[ 'by COPY', q{COPY pg_transform FROM PROGRAM 'true'}, 'pg_transform' ],
  )
{
	my ($how, $statement, $catalog) = @$_;
	sql($statement);
	is(entries("$edits = 'pg_catalog.$catalog'"), 'ddl', "L7: an edit $how is an entry");
}
sql('CREATE ROLE plain; GRANT SELECT ON pg_trigger TO plain');
like(failure('SET ROLE plain; ' . edit_trigger('D')), qr/permission denied/, 'who may not');
is(entries("$edits = 'pg_catalog.pg_trigger'"), 'ddl ddl', 'is denied, and it was no edit');
sql('EXPLAIN ' . edit_trigger('D'));
is(entries("$edits = 'pg_catalog.pg_trigger'"), 'ddl ddl', 'nor is a plan that is shown');

# --- code that runs within our own commands ------------------------------------------------------------
sql(<<'SQL');
CREATE FUNCTION intrude() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE
	statement text := current_setting('my.statement', true);
BEGIN
	IF statement <> '' THEN
		PERFORM set_config('my.statement', '', false);
		EXECUTE statement;
		RAISE NOTICE 'done within %', tg_tag;
	END IF;
END
$$;
CREATE EVENT TRIGGER intrude_start ON ddl_command_start EXECUTE FUNCTION intrude();
CREATE TABLE victim (id int PRIMARY KEY, v text);
CREATE TABLE part (id int, v text) PARTITION BY LIST (id);
SELECT bulwark.audit('part');
SQL
my $at = 0;
for my $statement (
	"DELETE FROM $segment",
	"UPDATE $segment SET content = NULL",
	'TRUNCATE bulwark_internal.ledger_findings',
	'DELETE FROM bulwark_internal.ledger_audited',
	'ALTER TABLE bulwark_internal.ledger_log DISABLE ROW LEVEL SECURITY',
	'DROP TABLE bulwark_internal.ledger_findings',
	'ALTER TABLE public.orders DISABLE TRIGGER "!bulwark_ledger"',
	'CREATE OR REPLACE FUNCTION bulwark_internal.capture() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$')
{
	for my $command ("SELECT bulwark.audit('victim')", 'CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1)')
	{
		# of the commands of ours that follow the first one, which is the client's
		my $later = $command =~ /^CREATE/ ? "CREATE TABLE part_0 PARTITION OF part FOR VALUES IN (0); " : '';
		like(failure("SET my.statement = '" . ($statement =~ s/'/''/gr) . "'; $command"), qr/is not allowed|not as it/, "L1, L3: within $command: $statement");
	}
}
$node->psql('postgres', "SELECT bulwark.audit('victim')");
sql("SELECT bulwark.audit('victim')");
like(failure("SET my.statement = 'DELETE FROM $segment'; SELECT bulwark.audit_stop('victim')"), qr/is not allowed/, 'L1: within audit_stop()');
like(failure("SET my.statement = 'DELETE FROM bulwark_internal.ledger_log'; CREATE EXTENSION hstore"), qr/is not allowed/, "L1: within another extension's script");
sql("SELECT bulwark.audit_stop('victim')");
is(sql("SET my.statement = 'CREATE TABLE public.within (id int)'; SELECT bulwark.audit('victim'); SELECT to_regclass('public.within') IS NOT NULL") =~ /t$/ ? 1 : 0, 1, 'what is no change of the ledger goes on there');
sql('DROP EVENT TRIGGER intrude_start');

# what protect() and its like do is one entry; what is done within them is not theirs
sql(<<'SQL');
SELECT bulwark.tenant_create('forced', 'Forced');
CREATE TABLE protected (id int PRIMARY KEY, v text, tenant uuid);
CREATE EVENT TRIGGER intrude_end ON ddl_command_end EXECUTE FUNCTION intrude();
SET my.statement = 'CREATE ROLE forced_within';
SELECT bulwark.protect('protected', tenant_column => 'tenant');
DROP EVENT TRIGGER intrude_end;
SQL
is(entries(q{action = 'ddl' AND entity_type = 'role' AND entity_id = 'forced_within'}), 'ddl', 'what an event trigger does within protect() has an entry of its own');

# --- our tables, changed directly ---------------------------------------------------------------------------
my $identity = 'bulwark_internal.database_identity';
for my $statement ("UPDATE $identity SET id = gen_random_uuid()", "DELETE FROM $identity", "TRUNCATE $identity", "ALTER TABLE $identity RENAME TO x",
	"DROP TABLE $identity CASCADE", "INSERT INTO $identity DEFAULT VALUES ON CONFLICT (singleton) DO UPDATE SET id = gen_random_uuid()")
{
	like(failure($statement), qr/is not allowed|already exists/, "L25: $statement");
}
my $direct = q{action = 'configuration' AND metadata->>'operation' = 'direct' AND entity_type};
is(entries("$direct LIKE 'bulwark_internal.%'"), '', 'what our functions do is not direct');
sql(q{UPDATE bulwark_internal.tenants SET name = 'Forged' WHERE slug = 'forced'});
sql(q{BEGIN; UPDATE bulwark_internal.tenants SET name = 'Forced' WHERE slug = 'forced'; ROLLBACK});
sql(q{DO $$BEGIN DELETE FROM bulwark_internal.roles WHERE false; END$$});
sql(q{COPY bulwark_internal.roles FROM PROGRAM 'true'});
is(sql(qq{SELECT string_agg(entity_type || ' ' || (metadata->>'command'), ', ' ORDER BY entry_id) FROM bulwark.ledger WHERE $direct LIKE 'bulwark_internal.%'}),
	'bulwark_internal.tenants UPDATE, bulwark_internal.roles DELETE, bulwark_internal.roles COPY', 'a statement that changes our tables past our functions is an entry');

sql(<<'SQL');
CREATE TABLE above (id int PRIMARY KEY);
CREATE TABLE below (id int REFERENCES above ON DELETE CASCADE);
CREATE RULE forge AS ON DELETE TO below DO ALSO UPDATE bulwark_internal.tenants SET name = 'Forged';
INSERT INTO above VALUES (1);
INSERT INTO below VALUES (1);
SQL
like(failure('DELETE FROM above'), qr/a rule cannot use "tenants" within the query of a foreign key/, 'nor does a rule change them unseen within the query of a foreign key');
sql('DROP TABLE below, above');

# --- code that runs while triggers are switched -------------------------------------------------------------
sql(<<'SQL');
CREATE ROLE owner;
GRANT CREATE ON SCHEMA public TO owner;
ALTER TABLE victim OWNER TO owner;
INSERT INTO victim VALUES (1, 'a'), (2, 'b'), (3, 'c');
SET ROLE owner;
CREATE FUNCTION act(i int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF i = 1 THEN
		UPDATE victim SET v = 'changed' WHERE id = 2;
		DELETE FROM victim WHERE id = 3;
		INSERT INTO victim VALUES (99, 'new');
	END IF;
	RETURN true;
END
$$;
ALTER TABLE victim DISABLE TRIGGER USER, ADD CONSTRAINT c CHECK (act(id));
SQL
is(entries(q{entity_type = 'public.victim' AND entity_id IN ('2', '3', '99') AND action <> 'insert' OR entity_type = 'public.victim' AND entity_id = '99'}), 'update delete insert',
	'L4: what a CHECK\'s function does while all triggers are switched off is recorded');
is(sql(q{SELECT string_agg(DISTINCT tgenabled, '') FROM pg_trigger WHERE tgrelid = 'victim'::regclass AND tgname ~ 'bulwark_ledger'}), 'A', 'L4: ours fire always');
sql(<<'SQL');
ALTER TABLE victim DROP CONSTRAINT c;
CREATE FUNCTION write_within() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN UPDATE victim SET v = 'by event' WHERE id = 1; END$$;
CREATE EVENT TRIGGER write_within ON ddl_command_end WHEN tag IN ('ALTER TABLE') EXECUTE FUNCTION write_within();
ALTER TABLE victim DISABLE TRIGGER ALL;
DROP EVENT TRIGGER write_within;
SQL
is(entries(q{entity_type = 'public.victim' AND entity_id = '1'}), 'insert update', 'L4: nor does an event trigger find them off');
# --- values that are left out, and become a key --------------------------------------------------------------
sql(<<'SQL');
CREATE TABLE card (id int, number int NOT NULL);
SELECT bulwark.audit('card', exclude_columns => '{number}');
SQL
like(failure('ALTER TABLE card ADD PRIMARY KEY (number)'), qr/cannot be part of the primary key/, 'L30: a column that is left out becomes no primary key');
sql('CREATE UNIQUE INDEX card_number ON card (number); ALTER TABLE card REPLICA IDENTITY USING INDEX card_number; INSERT INTO card VALUES (1, 1234567)');
is(sql(q{SELECT entity_id IS NULL, new FROM bulwark.ledger WHERE entity_type = 'public.card' AND action = 'insert'}), 't|{"id": 1}',
	'L30: as a replica identity it names no row');

is(sql('SELECT coverage FROM bulwark.ledger_verify()'), 'ok', 'L7: nothing is left that is not as it was');

done_testing();
