# S6, S10: a plaintext is where its values are opened, and nowhere else: not in the
# log with everything logged, not in what the server tells of statements, not in any
# file of the cluster, not in the memory of a back end that signs with it.  Each way
# has a canary of its own, which is looked for at the end.
use strict;
use warnings;

use File::Find;
use FindBin;
use IPC::Run;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# pgaudit, where it is installed: all that it can log.
chomp(my $libraries = `pg_config --pkglibdir`);
my $pgaudit = -e "$libraries/pgaudit.so";
my $node = bulwark_node('leak', preload => ($pgaudit ? 'pgaudit,' : '') . 'pg_stat_statements,bulwark');
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_stat_statements;
SELECT bulwark.membership_grant(bulwark.principal_create('boss@example.org', id => 'c9000000-0000-4000-8000-000000000001'),
	bulwark.tenant_create('t', 'T', id => 'a9000000-0000-4000-8000-000000000001'), 'tenant_admin');
CREATE ROLE backend LOGIN IN ROLE bulwark_impersonator, bulwark_secrets;
CREATE TABLE kept (id text PRIMARY KEY, s bulwark.secret, t bulwark.encrypted_text, x bytea);
GRANT ALL ON kept TO backend;
-- what takes plaintexts of its own, and what only passes them on
CREATE FUNCTION inner_literal() RETURNS bulwark.secret LANGUAGE plpgsql AS $$ BEGIN RETURN bulwark.encrypt('a, "b" constant of the function'); END $$;
CREATE FUNCTION passed_on(v text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN bulwark.encrypt(v) IS NOT NULL; END $$;
SQL
$node->safe_psql('postgres', 'CREATE EXTENSION pgaudit') if $pgaudit;
# Only now: what an administrator writes to set it up has no plaintext.
$node->append_conf('postgresql.conf', <<'CONF');
log_statement = all
log_min_duration_statement = 0
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
log_error_verbosity = verbose
log_min_messages = debug1
log_min_error_statement = debug5
debug_print_parse = on
debug_print_plan = on
pg_stat_statements.track = all
session_preload_libraries = 'auto_explain'
auto_explain.log_min_duration = 0
auto_explain.log_nested_statements = on
auto_explain.log_verbose = on
CONF
$node->append_conf('postgresql.conf', <<'CONF') if $pgaudit;
pgaudit.log = 'all'
pgaudit.log_catalog = on
pgaudit.log_parameter = on
pgaudit.log_relation = on
pgaudit.log_rows = on
pgaudit.log_statement = on
pgaudit.log_statement_once = off
pgaudit.role = 'pg_monitor'
CONF
$node->restart;

# Letters only, so that no number of it is at home elsewhere.
my %canary;
sub canary
{
	my ($way) = @_;
	(my $letters = unpack 'H*', random_bytes(12)) =~ tr/0-9/g-p/;
	return $canary{$way} = "canary$letters";
}

my $acting = "SELECT '' FROM bulwark.assume('c9000000-0000-4000-8000-000000000001', 'a9000000-0000-4000-8000-000000000001') \\g /dev/null\n";

# Statements of one session; errors go on.
sub say_all
{
	my (@statements) = @_;
	my ($out, $err) = ('', '');
	$node->psql('postgres', join("\n", @statements), stdout => \$out, stderr => \$err,
		on_error_stop => 0, extra_params => [ '-U', 'backend' ]);
	return wantarray ? ($out, $err) : $out;
}

my $kept = canary('a literal');
is(say_all('BEGIN;', $acting,
	"INSERT INTO kept SELECT 'literal', bulwark.encrypt('$kept', 'c'), bulwark.encrypt_text('$kept', 'c'), bulwark.blind_index('$kept', 'c');",
	"SELECT bulwark.decrypt(s, 'look', 'c') = bulwark.decrypt_text(t, 'c'), length(bulwark.decrypt_text(t, 'c')) FROM kept;", 'COMMIT;'),
	't|' . length $kept, 'a value made of a literal opens to it');

say_all('BEGIN;', $acting,
	sprintf("INSERT INTO kept (id, s) VALUES ('many', bulwark.encrypt('%s')), ('more', bulwark.encrypt(E'%s\\''));", canary('rows of literals'), canary('an escape string')),
	sprintf("SELECT bulwark.encrypt(\$x\$%s\$x\$), bulwark.encrypt('%s' || '%s');", canary('dollar quotes'), canary('a concatenation'), canary('its second half')),
	sprintf("SELECT bulwark.encrypt(v) FROM (VALUES ('%s')) AS q (v);", canary('a row of VALUES')),
	sprintf("DO \$do\$ BEGIN PERFORM bulwark.encrypt('%s'); END \$do\$;", canary('a DO block')),
	"PREPARE p AS SELECT bulwark.encrypt(\$1);",
	sprintf("EXECUTE p('%s');", canary('EXECUTE')),
	sprintf("EXPLAIN (VERBOSE) SELECT bulwark.encrypt('%s') \\g /dev/null", canary('EXPLAIN VERBOSE')),
	sprintf("SELECT bulwark.encrypt_for('a9000000-0000-4000-8000-000000000001', '%s');", canary('encrypt_for')),
	sprintf("SELECT bulwark.encrypt_jsonb('{\"a\": \"%s\"}');", canary('a document')),
	sprintf("SELECT bulwark.hmac_sign(s, '%s', 'sign', 'sha256', 'c') FROM kept WHERE id = 'literal';", canary('a payload')),
	'COMMIT;');
# names with quotes and commas, which pgaudit quotes and doubles; nested, which nobody has overwritten before
say_all('BEGIN;', $acting,
	sprintf("SELECT bulwark.encrypt('%s', 'c') AS \"it's, \"\"quoted\"\"\";", canary('a literal beside a quoted name')),
	sprintf("DO \$do\$ DECLARE \"it's, \"\"q\"\"\" text; BEGIN SELECT bulwark.encrypt('%s', '\"') INTO \"it's, \"\"q\"\"\"; END \$do\$;", canary('a DO block with quoted names')),
	sprintf("DO \$do\$ BEGIN EXECUTE 'SELECT bulwark.encrypt(\$1), \$2' USING '%s', 'x,\"y'; END \$do\$;", canary('a parameter of EXECUTE in a DO block')),
	sprintf("WITH w AS (SELECT 1) SELECT bulwark.encrypt_text('%s'), passed_on('%s') FROM w;", canary('a CTE'), canary('a function beside ours')),
	sprintf("DECLARE cur CURSOR FOR SELECT bulwark.encrypt('%s');", canary('a cursor')), "FETCH cur;",
	sprintf("MERGE INTO kept k USING (VALUES ('merged', '%s')) v (id, plain) ON k.id = v.id WHEN NOT MATCHED THEN INSERT (id, s) VALUES (v.id, bulwark.encrypt(v.plain));", canary('MERGE')),
	"DELETE FROM kept WHERE id = 'merged';", "SELECT inner_literal();", 'COMMIT;');
is($node->safe_psql('postgres', 'SELECT count(*) FROM kept'), 3, 'those statements did what they say');

# a name that is spelt with escapes, also in a string of JSON and in a field of CSV
say_all('BEGIN;', $acting,
	sprintf("SELECT bulwark.U&\"\\0065ncrypt_text\"('%s'), id FROM kept WHERE x = bulwark.u&\"blind!005findex\" UESCAPE '!' ('%s', 'c');", canary('a name with Unicode escapes'), canary('another escape')),
	sprintf("DO \$do\$ BEGIN PERFORM bulwark.U&\"\\0065ncrypt_text\"('%s'); END \$do\$;", canary('such a name in a DO block')), 'COMMIT;');
# strings whose end depends on a setting, which is another when they are logged
my (undef, $complaint) = say_all('BEGIN;', $acting, 'SET LOCAL standard_conforming_strings = off;', 'SET LOCAL escape_string_warning = off;',
	sprintf("SELECT bulwark.encrypt('it\\'s %s');", canary('a backslash escape')),
	sprintf("SELECT 'x\\\\', bulwark.encrypt('%s');", canary('an even number of backslashes')),
	sprintf("SET LOCAL standard_conforming_strings = on\\; SELECT bulwark.encrypt('it\\'s %s');", canary('a setting that changes in the message')), 'COMMIT;');
my (undef, $another) = say_all('BEGIN;', $acting, sprintf("SET LOCAL standard_conforming_strings = off\\; SELECT 'x\\', bulwark.encrypt('%s');", canary('and the other way')), 'COMMIT;');
is($complaint . $another, '', 'such strings are as good as others, with pg_stat_statements too');

# errors: of the parser, the server's types, ours, and after a parameter is bound
for my $case (
	[ 'a syntax error', "SELECT bulwark.encrypt('%s') FROM FROM kept;" ],
	[ 'an unknown column', "SELECT bulwark.encrypt('%s'), nothing;" ],
	[ 'a document that is none', "SELECT bulwark.encrypt_jsonb('{\"a\": %s}');" ],
	[ 'a failure afterwards', "SELECT bulwark.encrypt('%s'), 1 / (length(id) - length(id)) FROM kept;" ],
	[ 'no identity', "COMMIT; SELECT bulwark.encrypt('%s');" ],
	[ 'a function that fails', "DO \$do\$ BEGIN PERFORM bulwark.encrypt('%s'), 1 / 0; END \$do\$;" ])
{
	my ($way, $statement) = @$case;
	my (undef, $err) = say_all('BEGIN;', $acting, sprintf($statement, canary($way)));
	like($err, qr/ERROR/, "$way is an error");
	# psql shows the line that it sent itself
	my @answer = grep { !/^LINE 1: / } split /\n/, $err;
	ok(!(grep { /\Q$canary{$way}\E/ } @answer), "S6: $way: the server's answer does not quote it");
}

# plaintext where ciphertext belongs, by COPY and by a bound parameter
my (undef, $copy) = say_all('COPY kept (id, s) FROM stdin;', "copied\t" . canary('COPY'), '\.');
like($copy, qr/not an encrypted value.*COPY kept, line 1, column s: "\(not shown\)"/s, 'COPY of a plaintext is refused, and does not quote it');
unlike($copy, qr/\Q$canary{COPY}\E/, 'S6: nowhere');
# a line that does not fit the columns: no type sees the value
for my $case (
	[ 'COPY with a column too many', 'COPY kept (id, s) FROM stdin;', "copied\t%s\tmore", 'extra data after last expected column' ],
	[ 'COPY with a column too few', 'COPY kept (id, x, s) FROM stdin;', "%s\t\\\\x00", 'missing data for column "s"' ],
	[ 'COPY of lines of CSV', 'COPY kept (id, s) FROM stdin (FORMAT csv);', qq{"a","%s"\n"b","c","d"}, 'not an encrypted value' ],
	[ 'COPY of a field of CSV that does not end', 'COPY kept (id, s) FROM stdin (FORMAT csv);', qq{a,"b\n%s}, 'unterminated CSV quoted field' ],
	[ 'COPY with a header that is none', 'COPY kept (id, s) FROM stdin (HEADER match);', "id\t%s", 'the first line does not have the names of the columns' ])
{
	my ($way, $statement, $line, $error) = @$case;
	(undef, $copy) = say_all($statement, sprintf($line, canary($way)), '\.');
	like($copy, qr/ERROR:  \Q$error\E.*COPY kept, line \d+.*"\(not shown\)"/s, "$way is refused");
	unlike($copy, qr/\Q$canary{$way}\E/, "S6: $way: the server's answer does not quote it");
}
(undef, $copy) = say_all('CREATE TEMP TABLE ordinary (a int);', 'COPY ordinary FROM stdin;', "1\t2", '\.');
like($copy, qr/COPY ordinary, line 1: "1\t2"/, 'COPY into a table without an encrypted column quotes the line as ever');

my $script = private_file('bound.sql', <<"SQL");
BEGIN;
SELECT bulwark.assume('c9000000-0000-4000-8000-000000000001', 'a9000000-0000-4000-8000-000000000001') IS NOT NULL AS acting;
INSERT INTO kept (id, s) VALUES (:mode, bulwark.encrypt(:good));
COMMIT;
BEGIN;
SELECT bulwark.assume('c9000000-0000-4000-8000-000000000001', 'a9000000-0000-4000-8000-000000000001') IS NOT NULL AS acting;
SELECT bulwark.encrypt(:failing), 1 / (length(:mode) - length(:mode));
SQL
my $backslash = private_file('backslash.sql', <<"SQL");
SET standard_conforming_strings = off;
BEGIN;
SELECT bulwark.assume('c9000000-0000-4000-8000-000000000001', 'a9000000-0000-4000-8000-000000000001') IS NOT NULL AS acting;
SELECT :first, bulwark.encrypt(:second);
SELECT :first, bulwark.encrypt(:third), 1 / (length(:second) - length(:second));
SQL
my $plain = private_file('plain.sql', "INSERT INTO kept (id, s) VALUES ('plain', :plain);\n");
{
	my $out = '';
	IPC::Run::run([ 'pgbench', '-n', '-M', 'extended', '-t', 1, '-U', 'backend', '-f', $backslash, '-D', 'first=x\\',
		'-D', 'second=' . canary('a parameter behind a backslash'), '-D', 'third=' . canary('the same before an error'), $node->connstr('postgres') ], '>&', \$out);
	like($out, qr/division by zero/, 'parameters that end with a backslash are taken');
}
for my $mode (qw(extended prepared))
{
	my $out = '';
	IPC::Run::run([ 'pgbench', '-n', '-M', $mode, '-t', 1, '-U', 'backend', '-f', $script, '-D', "mode=$mode",
		'-D', 'good=' . canary("a parameter, $mode"), '-D', 'failing=' . canary("a parameter before an error, $mode"), $node->connstr('postgres') ], '>&', \$out);
	like($out, qr/division by zero/, "$mode protocol: both statements ran");
	unlike($out, qr/\Q$canary{"a parameter before an error, $mode"}\E/, "S6: $mode protocol: the error does not quote the parameter");
	$out = '';
	IPC::Run::run([ 'pgbench', '-n', '-M', $mode, '-t', 1, '-U', 'backend', '-f', $plain, '-D', 'plain=' . canary("a plaintext as parameter, $mode"), $node->connstr('postgres') ], '>&', \$out);
	like($out, qr/not an encrypted value/, "$mode protocol: a plaintext parameter is refused");
	unlike($out, qr/\Q$canary{"a plaintext as parameter, $mode"}\E/, "S6: $mode protocol: and not quoted");
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM kept WHERE id IN ('extended', 'prepared')}), 2, 'bound parameters were encrypted');

# executed by other commands, prepared or within a function; strings that go on behind comments;
# an issuer's secret; plans in JSON and YAML; statements that cannot be read
say_all('BEGIN;', $acting,
	"PREPARE p AS SELECT bulwark.encrypt(\$1);",
	sprintf("EXPLAIN EXECUTE p('%s') \\g /dev/null", canary('EXPLAIN EXECUTE')),
	sprintf("CREATE TEMP TABLE made AS EXECUTE p('%s');", canary('CREATE TABLE AS EXECUTE')),
	sprintf("DO \$do\$ BEGIN EXECUTE 'EXPLAIN SELECT bulwark.encrypt(''%s'')'; END \$do\$;", canary('a command in a DO block')),
	sprintf("SELECT bulwark.encrypt(E'a'\n-- it's a comment\n'b\\'%s');", canary('a string behind a comment')), 'COMMIT;');
$node->psql('postgres', sprintf("SELECT bulwark.issuer_create('https://leak.example/', 'leak', jsonb_build_object('kty', 'oct', 'k', '%s'), algorithms => '{HS256}')", canary("an issuer's secret") x 2));
for my $format (qw(json yaml))
{
	$node->safe_psql('postgres', "ALTER ROLE backend SET auto_explain.log_format = '$format'");
	say_all('BEGIN;', $acting,
		sprintf("SELECT id FROM kept WHERE id = bulwark.blind_index('%s', 'c')::text;", canary("a plan in $format")),
		sprintf("SELECT bulwark.encrypt('%s') AS \"it's\", bulwark.encrypt(E'\\'%s');", canary("a quoted name in $format"), canary("an escape in $format")), 'COMMIT;');
}
$node->safe_psql('postgres', 'ALTER ROLE backend RESET auto_explain.log_format');
for my $case ([ 'a stray quote', q{SELECT bulwark.encrypt('it's %s')} ], [ 'double quotes', q{SELECT bulwark.encrypt("%s")} ], [ 'no such statement', q{EXECUTE gone('%s')} ],
	# what is meant as a string is taken for a name, of one part or several, which messages do not quote
	[ 'a schema in double quotes', q{SELECT bulwark.encrypt("%s".x())} ], [ 'a schema of a type', q{SELECT bulwark.encrypt('1'::"%s".t)} ],
	[ 'a database in double quotes', q{SELECT bulwark.encrypt("%s".b.c.d)} ], [ 'too many parts', q{SELECT bulwark.encrypt("%s".b.c.d.e)} ],
	[ 'the name of an argument', q{SELECT bulwark.encrypt("%s" => 1)} ],
	[ 'a name that is cut off', q{SELECT bulwark.encrypt("%s} . 'x' x 70 . q{".b.c.d.e)} ], [ 'a relation in a string', q{SELECT bulwark.encrypt('%s.b.c.d.e'::regclass::text)} ])
{
	my ($way, $statement) = @$case;
	my $answer = '';
	IPC::Run::run([ 'psql', '-XqAt', '-U', 'backend', '-d', $node->connstr('postgres'), '-c', sprintf($statement, canary($way)) ], '<', \undef, '>&', \$answer);
	like($answer, qr/ERROR/, "$way is an error");
	unlike($answer =~ s/^LINE 1: .*$//mgr, qr/\Q$canary{$way}\E/, "S6: $way: the server's answer does not quote it");
}

my (undef, $unknown) = say_all('SELECT bulwark.encrypt(1, 2), id FROM kept;');
like($unknown, qr/function bulwark\.encrypt\(integer, integer\) does not exist/, 'what is not of the statement stays in the message');

# Behind a function of the application's own, in a statement that does not name ours, it is
# the application that shows it: the documentation says so, and secrets_check().
my $beyond = "beyond" . unpack('H*', random_bytes(8)) =~ tr/0-9/g-p/r;
say_all('BEGIN;', $acting, "SELECT passed_on('$beyond');", 'COMMIT;');
unlike(slurp_file($node->logfile), qr/canary[a-p]{24}/, 'S6: nothing that was given to our functions is in the log yet');
like(slurp_file($node->logfile), qr/statement: SELECT passed_on\('$beyond'\)/, 'S6: a plaintext that is given to a function of the application\'s own is logged as it came');
is($node->safe_psql('postgres', q{SELECT string_agg(check_name || ' ' || status, ', ' ORDER BY check_name) FROM bulwark.secrets_check() WHERE check_name IN ('log_statement', 'log_parameters', 'log_error_parameters', 'pgaudit')}),
	'log_error_parameters fail, log_parameters fail, log_statement warning, pgaudit ' . ($pgaudit ? 'fail' : 'ok'), 'S6: ... and secrets_check() names the settings by which it is');

# A deadlock's report quotes the statements of others: one that waits for a table's lock
# before it has been parsed, and one whose beginning alone is known.
$node->safe_psql('postgres', "CREATE TABLE other (i int); GRANT SELECT ON other TO backend; ALTER ROLE backend SET deadlock_timeout = '1h'");
for my $case (
	[ 'a statement in a deadlock', "INSERT INTO kept (id, s) VALUES ('deadlock', bulwark.encrypt('%s'))" ],
	[ 'a name in a deadlock', 'INSERT INTO kept (id, s) VALUES (\'deadlock\', bulwark.encrypt("%s"))' ],
	[ 'a statement in a deadlock, cut off', "INSERT INTO kept (id, s) SELECT 'it''s %s" . 'x' x 2000 . "', bulwark.encrypt('x')" ])
{
	my ($way, $statement) = @$case;
	my ($waits, $asks) = map { session_start($node, $_) } 'backend', 'postgres';
	session_say($waits, "BEGIN;\nSELECT count(*) FROM other;");
	session_say($asks, "SET deadlock_timeout = '10ms';\nBEGIN;\nLOCK TABLE kept;");
	$waits->{in} .= sprintf("$statement;\n", canary($way));
	$waits->{run}->pump_nb;
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted});
	session_say($asks, "ALTER TABLE other ADD COLUMN j int /* 'asked' */;");
	like($asks->{err}, qr/deadlock detected/, "$way: two sessions wait for each other");
	session_say($asks, 'ROLLBACK;');
	session_say($waits, 'ROLLBACK;');
	session_end($_) for $waits, $asks;
}
like(slurp_file($node->logfile), qr/Process \d+: INSERT INTO kept \(id, s\) VALUES \('\*+', bulwark\.encrypt\('\*+'\)\)/, 'the report has the statement with its constants overwritten');
like(slurp_file($node->logfile), qr/Process \d+: ALTER TABLE other ADD COLUMN j int \/\* 'asked' \*\//, 'and one that takes no plaintext as it is');

# what the server tells of statements
my $activity = session_start($node, 'backend');
session_say($activity, sprintf("SELECT bulwark.encrypt_for('a9000000-0000-4000-8000-000000000001', '%s') IS NOT NULL;", canary('a session that stays')));
my $seen = $node->safe_psql('postgres', q{SELECT query FROM pg_stat_activity WHERE usename = 'backend'}, extra_params => [ '-U', 'backend' ]);
like($seen, qr/bulwark\.encrypt_for\('\*+', '\*+'\)/, 'pg_stat_activity shows the statement with its constants overwritten');
my $statements = $node->safe_psql('postgres', 'SELECT query FROM pg_stat_statements');
like($statements, qr/bulwark\.encrypt/, 'pg_stat_statements has the statements');
session_end($activity);

# S10: a back end that signs with a key has neither it nor its copy in memory.
my $key = canary('the key of a signature');
say_all('BEGIN;', $acting, "INSERT INTO kept (id, s) VALUES ('key', bulwark.encrypt('$key', 'k'));", 'COMMIT;');
my $signer = session_start($node, 'backend');
session_say($signer, "BEGIN;\n$acting");
like(session_say($signer, q{SELECT bulwark.hmac_sign(s, 'x', 'sign', 'sha256', 'k') FROM kept WHERE id = 'key';}), qr/^\\x[0-9a-f]{64}$/, 'a back end signs');
session_say($signer, 'COMMIT;');
my $pid = session_say($signer, 'SELECT pg_backend_pid();');
my $control = 'control' . unpack 'H*', random_bytes(8);
session_say($signer, "SET application_name = '$control';");
my $memory = process_memory($pid);
SKIP:
{
	skip 'the memory of a process cannot be read here', 2 unless defined $memory;
	ok(index($memory, $control) >= 0, 'its memory is read');
	ok(index($memory, $key) < 0, 'S10: the key is not in its memory');
}
undef $memory;
session_end($signer);

sub process_memory
{
	my ($of) = @_;
	open my $maps, '<', "/proc/$of/maps" or return;
	open my $mem, '<:raw', "/proc/$of/mem" or return;
	my $all = '';
	while (<$maps>)
	{
		my ($from, $to) = /^([0-9a-f]+)-([0-9a-f]+) rw/ or next;
		next if /pg_shmem|\/dev\/(?:zero|shm)|SYSV/;
		sysseek $mem, hex $from, 0 or next;
		my $left = hex($to) - hex $from;
		while ($left > 0)
		{
			my $n = sysread $mem, my $piece, $left > 1048576 ? 1048576 : $left;
			last unless $n;
			$all .= $piece;
			$left -= $n;
		}
	}
	return length $all ? $all : undef;
}

# Every file: heap, WAL, statistics, temporary files; and the log.
$node->safe_psql('postgres', 'ANALYZE kept; CHECKPOINT; SELECT bulwark.ledger_seal();');
$node->stop;
my %found;
my $files = 0;
sub look
{
	my ($file) = @_;
	open my $fh, '<:raw', $file or return;
	local $/ = undef;
	my $content = <$fh> // '';
	$files++;
	for my $way (keys %canary)
	{
		$found{$way} = $file if index($content, $canary{$way}) >= 0 || index($content, substr $canary{$way}, -16) >= 0;
	}
	return;
}
find({ no_chdir => 1, wanted => sub { look($_) if -f } }, $node->data_dir);
cmp_ok($files, '>', 500, 'the files of the cluster are read');
my $log = slurp_file($node->logfile);
for my $line (qr/statement: .*bulwark\.encrypt/, qr/parameters: \$1 = '\*+'/, qr/Query Text: .*encrypt/, qr/STATEMENT: .*encrypt\('\*+'\)/, qr/parse tree:/)
{
	like($log, $line, "the log has a line like $line");
}
SKIP:
{
	skip 'pgaudit is not installed here', 6 unless $pgaudit;
	for my $line (qr/AUDIT: SESSION,\d+,\d+,WRITE,INSERT,TABLE,public\.kept,"INSERT INTO kept SELECT '\*+', bulwark\.encrypt\('\*+', /,
		qr/AUDIT: SESSION,\d+,\d+,\w+,\w+,,,[^\n]*bulwark\.encrypt\(\$1\)[^\n]*,"?\*+/,
		qr/AUDIT: SESSION,\d+,\d+,READ,SELECT,,,"SELECT bulwark\.encrypt\('\*+', '\*+'\) +AS ""it's, """"quoted"""""";"/,
		qr/AUDIT: SESSION,\d+,\d+,MISC,[^\n]*/, qr/AUDIT: SESSION,\d+,\d+,WRITE,INSERT,TABLE,public\.kept,"INSERT INTO kept \(id, s\) VALUES \(\$1, bulwark\.encrypt\(\$2\)\)[^\n]*","?\*+"?,\d+$/m)
	{
		like($log, $line, "S6: pgaudit has a line like $line");
	}
	like($log, qr/AUDIT: [^\n]*passed_on\('$beyond'\)/, 'S6: and of a function of the application\'s own what the client sent');
}
look($node->logfile);
for my $way (sort keys %canary)
{
	ok(!$found{$way}, "S6: $way: in no file and not in the log") or diag("$canary{$way} in $found{$way}: " . join "\n", grep { /\Q$canary{$way}\E/ } split /\n/, $log);
	ok(index($statements, $canary{$way}) < 0, "S6: $way: not in pg_stat_statements");
	ok(index($seen, $canary{$way}) < 0, "S6: $way: not in pg_stat_activity");
}

done_testing();
