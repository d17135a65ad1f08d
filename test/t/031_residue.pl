# One session serves tenant a, then tenant b, as behind a pool: what a would
# leave in it is refused, and b finds the session as it was.
use strict;
use warnings;

use FindBin;
use IPC::Run;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('residue', conf => 'max_prepared_transactions = 2');
app_role($node, 'app', 'a', 'b');
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE worker LOGIN;
CREATE ROLE other;
GRANT other TO app;
CREATE SCHEMA own AUTHORIZATION app;
CREATE FUNCTION make_temporary() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
	$$ BEGIN EXECUTE 'CREATE TEMP TABLE shadow (a int)'; END $$;
CREATE TABLE public.orders (id int PRIMARY KEY, tenant_id uuid);
SELECT bulwark.protect('orders', 'tenant_id');
GRANT SELECT, INSERT ON orders TO app;
SQL

sub as
{
	my ($tenant, $sql) = @_;
	return sprintf "BEGIN; SELECT '' FROM bulwark.authenticate('%s') \\g /dev/null\n%s\nCOMMIT;", token($tenant), $sql;
}

my $refused = qr/ERROR:  42501: .* not allowed (?:for an application login|under an identity)/;

sub refused
{
	my ($s, $sql, $what) = @_;
	session_say($s, $sql);
	like($s->{err}, $refused, "I34: $what: refused");
	session_say($s, 'ROLLBACK;');
	return;
}

sub allowed
{
	my ($s, $sql, $what) = @_;
	session_say($s, $sql);
	is($s->{err}, '', "$what: allowed");
	session_say($s, 'ROLLBACK;') if $s->{err} ne '';
	return;
}

# --- Before the first identity: what a driver sets up is its own affair -------

my $s = session_start($node, 'app');
allowed($s, "SET search_path = public; SET statement_timeout = '1min';", 'a setting before the first identity');
allowed($s, 'SET row_security = on; SET ROLE other; RESET ROLE;', 'a role before the first identity');
refused($s, 'PREPARE early AS SELECT 1;', 'PREPARE, even before');
refused($s, 'LISTEN early;', 'LISTEN, even before');
refused($s, 'CREATE TEMP TABLE early (a int);', 'a temporary table, even before');
refused($s, "ALTER ROLE app SET search_path = own;", 'settings of later sessions');
refused($s, "ALTER ROLE app PASSWORD NULL;", 'a new password');
refused($s, as('a', '') =~ s/BEGIN;/BEGIN; SET search_path = own;/r, 'a setting made before the identity, in its transaction');

# --- Statements that leave something ------------------------------------------

session_say($s, as('a', 'INSERT INTO orders VALUES (1);'));
is($s->{err}, '', 'tenant a writes');
for my $case (
	[ 'a temporary table', 'CREATE TEMP TABLE orders (id int);' ],
	[ 'a table in pg_temp', 'CREATE TABLE pg_temp.orders (id int);' ],
	[ 'a temporary table that is dropped at commit', 'CREATE TEMP TABLE orders (id int) ON COMMIT DROP;' ],
	[ 'a temporary view', 'CREATE TEMP VIEW orders AS SELECT 1 AS id;' ],
	[ 'a temporary sequence', 'CREATE TEMP SEQUENCE orders_id;' ],
	[ 'a temporary table from a query', 'CREATE TEMP TABLE mine AS SELECT * FROM orders;' ],
	[ 'SELECT INTO TEMP', 'SELECT * INTO TEMP mine FROM orders;' ],
	[ 'a function in pg_temp', "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1';" ],
	[ 'a type in pg_temp', 'CREATE TYPE pg_temp.t AS (a int);' ],
	[ 'a table by a search_path of pg_temp', 'SET LOCAL search_path = pg_temp; CREATE TABLE orders (id int);' ],
	[ 'a temporary table in a DO block', q{DO $$ BEGIN EXECUTE 'CREATE TEMP TABLE orders (id int)'; END $$;} ],
	[ 'a temporary table of a definer function', 'SELECT make_temporary();' ],
	[ 'a pg_temp function whose error is caught', q{DO $$ BEGIN EXECUTE 'CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS ''SELECT 1'''; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN END $$;} ],
	[ 'PREPARE', 'PREPARE q AS SELECT * FROM orders;' ],
	[ 'DEALLOCATE', 'DEALLOCATE ALL;' ],
	[ 'a cursor WITH HOLD', 'DECLARE c CURSOR WITH HOLD FOR SELECT * FROM orders;' ],
	[ 'LISTEN', 'LISTEN channel;' ],
	[ 'SET search_path', 'SET search_path = own;' ],
	[ 'SET search_path in capitals', 'SET SEARCH_PATH TO own;' ],
	[ 'SET search_path FROM CURRENT', 'SET LOCAL search_path = own; SET search_path FROM CURRENT;' ],
	[ 'SET ROLE', 'SET ROLE other;' ],
	[ 'SET row_security', 'SET row_security = off;' ],
	[ 'set_config of search_path', "SELECT set_config('search_path', 'own', false);" ],
	[ 'set_config of role', "SELECT set_config('role', 'other', false);" ],
	[ 'set_config of row_security', "SELECT set_config('row_security', 'off', false);" ],
	[ 'set_config under a SET LOCAL', "SELECT set_config('search_path', 'own', false); SET LOCAL search_path = public;" ],
	[ 'set_config in a savepoint', "SAVEPOINT s; SELECT set_config('search_path', 'own', false); RELEASE s;" ],
	[ 'set_config in a DO block', q{DO $$ BEGIN PERFORM set_config('search_path', 'own', false); END $$;} ],
	[ 'UPDATE of pg_settings', "UPDATE pg_settings SET setting = 'own' WHERE name = 'search_path';" ],
	[ 'a setting of the application, by SET', "SET shop.customer = '1';" ],
	[ 'a setting of the application, by set_config', "SELECT set_config('shop.customer', '1', false);" ],
	[ 'a setting of the application, in a DO block', q{DO $$ BEGIN PERFORM set_config('shop.other', '1', false); END $$;} ],
	[ 'SET exit_on_error', 'SET exit_on_error = on;' ],
	[ 'the session\'s characteristics', 'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY;' ],
	[ 'an integer by set_config', "SELECT set_config('statement_timeout', '1', false);" ],
	[ 'an enumeration by set_config', "SELECT set_config('default_transaction_isolation', 'serializable', false);" ],
	(map { [ "SET $_->[0]", "SET $_->[0] = $_->[1];" ], [ "set_config of $_->[0]", "SELECT set_config('$_->[0]', $_->[1], false);" ] }
		[ 'DateStyle', "'German'" ], [ 'IntervalStyle', "'iso_8601'" ], [ 'TimeZone', "'Asia/Kolkata'" ], [ 'client_encoding', "'LATIN1'" ],
		[ 'standard_conforming_strings', "'off'" ], [ 'backslash_quote', "'on'" ], [ 'array_nulls', "'off'" ],
		[ 'transform_null_equals', "'on'" ], [ 'xmloption', "'document'" ], [ 'default_text_search_config', "'simple'" ],
		[ 'bytea_output', "'escape'" ], [ 'extra_float_digits', "'-15'" ], [ 'check_function_bodies', "'off'" ],
		[ 'default_transaction_read_only', "'on'" ], [ 'statement_timeout', "'1'" ], [ 'lock_timeout', "'1'" ],
		[ 'synchronous_commit', "'off'" ], [ 'gin_fuzzy_search_limit', "'1'" ],
		[ 'log_parameter_max_length_on_error', "'-1'" ], [ 'local_preload_libraries', "'x'" ], [ 'client_min_messages', "'error'" ]),
	(map { [ "an advisory lock of the session, $_", "SELECT $_;" ] }
		'pg_advisory_lock(1)', 'pg_try_advisory_lock_shared(1, 2)', 'count(pg_advisory_lock(n)) FROM generate_series(1, 2) AS n'),
	[ 'PREPARE TRANSACTION', "PREPARE TRANSACTION 'left';" ])
{
	my ($what, $sql) = @$case;
	refused($s, as('a', $sql), $what);
}
refused($s, "SELECT set_config('search_path', 'own', false);", 'set_config in autocommit after an identity');
refused($s, 'SET search_path = own;', 'SET in autocommit after an identity');
refused($s, "SET shop.customer = '1';", 'SET of the application\'s own in autocommit after an identity');
refused($s, "SELECT set_config('shop.customer', '1', false);", 'set_config of it');
my $prove = "PERFORM bulwark.authenticate('@{[ token('a') ]}');";
refused($s, "DO \$\$ DECLARE r record; BEGIN $prove FOR r IN SELECT * FROM orders LOOP COMMIT; END LOOP; END \$\$;",
	'COMMIT in a loop over a query');
refused($s, "DO \$\$ DECLARE r record; BEGIN $prove FOR r IN SELECT * FROM orders LOOP ROLLBACK; END LOOP; END \$\$;",
	'ROLLBACK in a loop over a query');

is(session_say($s, 'SHOW search_path; SHOW role; SHOW row_security;'), "public\nnone\non", 'I34: the settings are as they were');
is(session_say($s, "SELECT string_agg(name, ' ') FROM pg_settings WHERE source = 'session';"), 'row_security search_path statement_timeout',
	'I34: and no others than those before the first identity were changed');
my $pid = session_say($s, 'SELECT pg_backend_pid();');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = $pid"), 0, 'I34: no lock is left');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), 0, 'I34: no prepared transaction is left');
is(session_say($s, "SELECT count(*) FROM pg_class WHERE relpersistence = 't'; SELECT count(*) FROM pg_prepared_statements; SELECT count(*) FROM pg_cursors;"),
	"0\n0\n0", 'I34: nothing is left in the session');
is(session_say($s, as('b', 'SELECT count(*) FROM orders;')), '0', 'I34: tenant b sees nothing of a');
is(session_say($s, as('a', 'SELECT count(*) FROM orders;')), '1', 'tenant a sees its own');

# --- What stays possible --------------------------------------------------------

allowed($s, as('a', 'SET LOCAL search_path = own; SET LOCAL ROLE other; RESET ROLE;'), 'SET LOCAL');
allowed($s, as('a', "SELECT set_config('search_path', 'own', true);"), 'set_config for the transaction');
allowed($s, as('a', "SELECT set_config('search_path', 'own', false); SELECT set_config('search_path', 'public', false);"),
	'a setting that is put back');
allowed($s, as('a', "SAVEPOINT s; SELECT set_config('search_path', 'own', false); ROLLBACK TO s;"), 'a setting that is rolled back');
allowed($s, as('a', 'DECLARE c CURSOR FOR SELECT * FROM orders; FETCH c;'), 'a cursor within the transaction');
allowed($s, as('a', "SET application_name = 'x'; SET enable_seqscan = off; SET work_mem = '8MB';"), 'settings that decide nothing');
allowed($s, as('a', "SET LOCAL DateStyle = 'German'; SET LOCAL shop.customer = '1'; SELECT set_config('shop.customer', '2', true);"),
	'others for the transaction');
allowed($s, as('a', 'SELECT pg_advisory_xact_lock(1);'), 'an advisory lock of the transaction');
allowed($s, as('a', 'SET DateStyle TO DEFAULT; RESET TimeZone;'), 'what RESET gives');
allowed($s, 'SELECT pg_advisory_lock(1); SELECT pg_advisory_unlock(1);', 'an advisory lock outside an identity\'s transaction');
allowed($s, "SET client_encoding = 'UTF8'; SET DateStyle = 'ISO, MDY'; SET TimeZone = 'UTC'; SET standard_conforming_strings = on; "
	  . "SET IntervalStyle = 'postgres'; SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; SET statement_timeout = 0;",
	'what a pooler sets when it hands the connection over');
allowed($s, 'RESET search_path; RESET ALL; DISCARD ALL;', 'RESET and DISCARD');
is(session_say($s, 'SHOW search_path;'), '"$user", public', 'RESET resets');
session_end($s);

# A statement of the driver's is not the tenant's to deallocate.
my $script = private_file('deallocate.sql', <<"SQL");
SELECT 1 AS driver;
BEGIN;
SELECT 1 FROM bulwark.authenticate('@{[ token('a') ]}');
DEALLOCATE ALL;
SQL
IPC::Run::run([ 'pgbench', '-n', '-M', 'prepared', '-t', 1, '-U', 'app', '-f', $script, $node->connstr('postgres') ],
	'>&', \my $out);
like($out, qr/DEALLOCATE under an identity is not allowed/, 'I34: DEALLOCATE of the driver\'s statements: refused');

# --- Cursors of other logins --------------------------------------------------------

# A back end that assumes identities serves one tenant after another, too.
$node->safe_psql('postgres', 'CREATE ROLE service LOGIN IN ROLE bulwark_impersonator; GRANT SELECT ON orders TO service; GRANT USAGE ON SCHEMA own TO service');
my %assume = map { $_ => $node->safe_psql('postgres', "SELECT format('SELECT bulwark.assume(%L, %L) IS NULL;', principal_id, tenant_id) FROM bulwark.members WHERE tenant_slug = '$_'") } qw(a b);
my $v = session_start($node, 'service');
session_say($v, "BEGIN; $assume{a} DECLARE c CURSOR WITH HOLD FOR SELECT id FROM orders; FETCH 1 FROM c; COMMIT;");
like($v->{err}, qr/ERROR:  42501: .*with an open cursor, is not allowed under an identity/, 'I10: a cursor WITH HOLD does not outlive an assumed identity');
is(session_say($v, "BEGIN; $assume{b} FETCH ALL FROM c;"), 'f', 'I10: nor is there one for the next');
like($v->{err}, qr/ERROR:  34000:/, 'I10: its rows are gone');
session_say($v, "ROLLBACK; BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT id FROM orders; $assume{a} COMMIT;");
like($v->{err}, qr/ERROR:  42501:/, 'I10: nor one that was opened before the identity');
session_say($v, "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT;");
is($v->{err}, '', 'a cursor WITH HOLD of no identity: allowed');
is(session_say($v, "BEGIN; $assume{a} DECLARE d CURSOR WITH HOLD FOR SELECT id FROM orders; CLOSE d; COMMIT; SELECT count(*) FROM pg_cursors;"), "f\n1", 'one that is closed in time: allowed');
session_end($v);

# --- Who is not concerned -------------------------------------------------------

my $w = session_start($node, 'worker');
allowed($w, 'CREATE TEMP TABLE t (a int); PREPARE q AS SELECT 1; LISTEN c; SET search_path = public;', 'another login leaves what it likes');
session_end($w);

$node->safe_psql('postgres', 'CREATE DATABASE plain');
is($node->psql('plain', 'CREATE TEMP TABLE t AS SELECT 1; PREPARE q AS SELECT 1; CREATE TABLE pg_temp.u AS SELECT 1;',
	extra_params => [ '-U', 'app' ], on_error_die => 0), 0, 'a database without bulwark: allowed');

# --- Connections that are not shared ---------------------------------------------

for my $where ('SET bulwark.session_state', 'ALTER SYSTEM SET bulwark.session_state', 'ALTER ROLE app SET bulwark.session_state')
{
	my ($ret, $stdout, $stderr) = $node->psql('postgres', "$where = allow");
	isnt($ret, 0, "$where: refused, to a superuser too");
}
$node->append_conf('postgresql.conf', 'bulwark.session_state = allow');
$node->reload;
$s = session_start($node, 'app');
session_say($s, as('a', 'SELECT 1;'));
allowed($s, as('a', 'CREATE TEMP TABLE t AS SELECT * FROM orders; SET search_path = own; LISTEN c;') . ' PREPARE q AS SELECT 1;',
	'bulwark.session_state = allow in the configuration file');
session_end($s);

$node->stop;
done_testing();
