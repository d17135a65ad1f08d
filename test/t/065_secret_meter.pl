# How often secrets may be used: a stolen service login is slowed, told of, and on
# the record; a standby and a server whose worker is away open nothing.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('meter', init => [ allows_streaming => 1 ], conf => <<'CONF');
bulwark.secret_rate = 1
bulwark.secret_burst = 20
bulwark.blind_index_rate = 10
bulwark.blind_index_burst = 200
bulwark.ledger_wait_timeout = 2000
CONF
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE service LOGIN IN ROLE bulwark_secrets, bulwark_impersonator;
CREATE TABLE who AS SELECT bulwark.tenant_create('acme', 'Acme') AS tenant;
CREATE TABLE person AS SELECT n, bulwark.principal_create(n || '@example.org') AS id FROM generate_series(1, 62) n;
SELECT count(bulwark.membership_grant(id, tenant, 'tenant_admin')) FROM who, person;
GRANT SELECT ON who, person TO service;
CREATE FUNCTION act(n int) RETURNS boolean LANGUAGE sql
	RETURN bulwark.assume((SELECT p.id FROM public.person p WHERE p.n = act.n), (SELECT tenant FROM public.who)) IS NOT NULL;
-- Until it is refused; how often it went well, and why it ended.
CREATE FUNCTION attempt(statement text, times int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. times LOOP
		BEGIN
			EXECUTE statement;
		EXCEPTION WHEN OTHERS THEN
			RETURN (i - 1) || ' ' || SQLSTATE;
		END;
	END LOOP;
	RETURN times || ' ok';
END $$;
-- With another context each time, none of which it opens with.
CREATE FUNCTION guess(statement text, times int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. times LOOP
		BEGIN
			EXECUTE statement USING 'c' || i;
		EXCEPTION WHEN invalid_parameter_value THEN
			NULL;
		WHEN OTHERS THEN
			RETURN (i - 1) || ' ' || SQLSTATE;
		END;
	END LOOP;
	RETURN times || ' ok';
END $$;
BEGIN;
SELECT act(1);
SELECT bulwark.credential_create('one', 'api_key', 'first'), bulwark.credential_create('two', 'api_key', 'second');
COMMIT;
SQL
my @service = (extra_params => [ '-U', 'service' ]);

sub as_service
{
	my ($n, $statement, %options) = @_;
	my $end = $options{end} // 'COMMIT';
	return (split /\n/, $node->safe_psql('postgres', "BEGIN; SELECT act($n); $statement; $end;", @service))[-1];
}

sub entries
{
	my ($condition) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM bulwark.ledger WHERE $condition");
}

# --- one principal, one credential ---------------------------------------------------
my $use = q(SELECT attempt($$SELECT bulwark.credential_use('one', 'loop')$$, 100));
my $answer = as_service(1, $use, end => 'ROLLBACK');
like($answer, qr/^2\d 53400$/, 'S15: decrypt in a loop is refused when the burst is used up');
my ($used) = $answer =~ /^(\d+)/;
is(entries(q(action = 'decrypt' AND metadata ->> 'purpose' = 'loop')), $used, 'S15: every use is an entry, even after ROLLBACK');
as_service(1, $use) for 1 .. 3;
$node->poll_query_until('postgres', q(SELECT count(*) > 0 FROM bulwark.ledger WHERE action = 'alarm'));
is(entries(q(action = 'alarm' AND metadata ->> 'alarm' = 'rate' AND metadata ->> 'login' = 'service')), 1, 'S15: one alarm for the episode');

# --- the same of values in columns ------------------------------------------------------
my $value = as_service(60, q(SELECT bulwark.encrypt('a key of many bytes', 'c')));
for my $call ([ 'decrypt', "bulwark.decrypt('$value', 'loop of decrypt', 'c')", 58 ], [ 'hmac_sign', "bulwark.hmac_sign('$value', 'x', 'loop of hmac_sign', 'sha256', 'c')", 59 ])
{
	my ($name, $statement, $n) = @$call;
	my $before = entries("action = 'alarm' AND metadata ->> 'operation' = '$name'");
	$answer = as_service($n, "SELECT attempt(\$\$SELECT $statement\$\$, 100)", end => 'ROLLBACK');
	like($answer, qr/^\d+ 53400$/, "S15: $name in a loop is refused when the burst is used up");
	($used) = $answer =~ /^(\d+)/;
	is(entries("action = 'decrypt' AND metadata ->> 'operation' = '$name' AND metadata ->> 'purpose' = 'loop of $name'"), $used,
		"S15: every use of $name is an entry, even after ROLLBACK");
	$node->poll_query_until('postgres', "SELECT count(*) > $before FROM bulwark.ledger WHERE action = 'alarm' AND metadata ->> 'operation' = '$name'");
	is(entries("action = 'alarm' AND metadata ->> 'operation' = '$name'"), $before + 1, "S15: and an alarm of $name");
}

# --- the credential's own limit: others have none of it left ----------------------------
my $by_credential = entries(q(action = 'alarm' AND metadata ->> 'limit_of' = 'credential'));
like(as_service(2, $use), qr/^\d 53400$/, 'another principal finds the credential used up');
like(as_service(2, q(SELECT attempt($$SELECT bulwark.credential_use('two', 'loop')$$, 10))), qr/^10 ok$/, 'and uses another');
is(entries(q(action = 'alarm' AND metadata ->> 'limit_of' = 'credential')) - $by_credential, 1, 'which is an alarm of its own');

# --- a login that goes from principal to principal --------------------------------------
$node->safe_psql('postgres', "BEGIN; SELECT act(1); SELECT bulwark.credential_create('c' || n, 'api_key', 'x') FROM generate_series(1, 60) n; COMMIT;");
my $total = 0;
my $began = time;
for my $n (3 .. 57)
{
	my ($went) = as_service($n, "SELECT attempt(\$\$SELECT bulwark.credential_use('c$n', 'hop')\$\$, 15)") =~ /^(\d+)/;
	$total += $went;
}
cmp_ok($total, '<=', 400 + 20 * (time - $began + 1), "a login's principals together have twenty times the limit of one");
cmp_ok($total, '>', 300, 'and no less');
is(entries(q(action = 'alarm' AND metadata ->> 'limit_of' = 'login')), 1, 'the login is told of');

# --- blind indexes --------------------------------------------------------------------------
$answer = as_service(1, q(SELECT attempt($$SELECT bulwark.blind_index(random()::text, 'dictionary')$$, 2000)));
like($answer, qr/^(19[0-9]|2\d\d) 53400$/, 'S17: a dictionary is refused when the burst is used up');
$node->poll_query_until('postgres', q(SELECT count(*) > 0 FROM bulwark.ledger WHERE metadata ->> 'operation' = 'blind_index'));
is(entries(q(action = 'alarm' AND metadata ->> 'operation' = 'blind_index')), 1, 'S17: and an alarm');

# --- limits come back, and are configuration --------------------------------------------------
$node->append_conf('postgresql.conf', "bulwark.secret_rate = 1000\nbulwark.secret_burst = 1000");
$node->reload;
sleep 1;
like(as_service(2, q(SELECT attempt($$SELECT bulwark.credential_use('two', 'again')$$, 100))), qr/^100 ok$/, 'after a rest there is more');
my ($rc, $out, $err) = $node->psql('postgres', q(ALTER SYSTEM SET bulwark.secret_rate = 1000000));
isnt($rc, 0, 'limits stand in the configuration file alone');
($rc, $out, $err) = $node->psql('postgres', q(SET bulwark.secret_rate = 1000000));
isnt($rc, 0, 'and in no session');

# --- contexts that are guessed -----------------------------------------------------------------
$node->append_conf('postgresql.conf', "bulwark.secret_rate = 1\nbulwark.secret_burst = 20");
$node->reload;
$node->poll_query_until('postgres', q(SELECT current_setting('bulwark.secret_burst') = '20'));
my @guessed = map { as_service(60, q(SELECT bulwark.encrypt('a key of many bytes', 'c'))) } 1 .. 2;
for my $call ([ 'decrypt', "bulwark.decrypt('$guessed[0]', 'guess', \$1)", 61 ], [ 'hmac_sign', "bulwark.hmac_sign('$guessed[1]', 'x', 'guess', 'sha256', \$1)", 62 ])
{
	my ($name, $statement, $n) = @$call;
	my $alarms = "(SELECT count(*) FROM bulwark.ledger WHERE action = 'alarm' AND metadata ->> 'operation' = '$name')";
	my $before = $node->safe_psql('postgres', "SELECT $alarms");
	like(as_service($n, "SELECT guess(\$s\$SELECT $statement\$s\$, 200)"), qr/^\d\d? 53400$/, "S15: contexts guessed with $name are refused when the burst is used up");
	ok($node->poll_query_until('postgres', "SELECT $alarms > $before"), 'S15: and an alarm');
	is(entries(q(action = 'decrypt' AND metadata ->> 'purpose' = 'guess')), 0, '... no use is on the record that was none');
}

# --- where no entry can be durable ---------------------------------------------------------------
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('meter_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
# identities hold there once it has replayed something new
for (1 .. 100)
{
	($rc, $out, $err) = $standby->psql('postgres', q(\set VERBOSITY verbose
BEGIN; SELECT act(1); SELECT bulwark.credential_use('one', 'standby');), @service);
	last unless $err =~ /28000/;
	sleep 1;
}
like($err, qr/ERROR:  55000/, 'S13: a standby opens no credential');
unlike($out, qr/first/, 'and shows none');
$standby->stop;
done_testing();
