# No tool shows a ticket or a token: the log, pg_stat_activity of the same role,
# pg_stat_statements.  Each server runs with everything logged; what is looked
# for at the end is the secrets themselves.
use strict;
use warnings;

use FindBin;
use IPC::Run;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my @secrets;

sub new_token
{
	push @secrets, token('a');
	return $secrets[-1];
}

sub new_ticket
{
	my ($node, $role) = @_;
	my $ticket = $node->safe_psql('postgres', sprintf(
		q{BEGIN; SELECT '' FROM bulwark.authenticate('%s'); SELECT bulwark.ticket_issue();}, new_token()),
		extra_params => [ '-U', $role ]);
	$ticket =~ s/\s//g;
	push @secrets, $ticket;
	return $ticket;
}

# Everything is logged but what an administrator writes to set it up.
sub new_node
{
	my ($name, $preload) = @_;
	my $node = bulwark_node($name, preload => $preload);

	app_role($node, 'app', 'a');
	app_role($node, 'quiet');
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements');
	$node->append_conf('postgresql.conf', <<'CONF');
log_statement = all
log_min_duration_statement = 0
log_duration = on
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
log_error_verbosity = verbose
log_min_messages = debug2
pg_stat_statements.track = all
log_min_error_statement = debug5
session_preload_libraries = 'auto_explain'
auto_explain.log_min_duration = 0
auto_explain.log_nested_statements = on
auto_explain.log_verbose = on
track_activity_query_size = 8kB
CONF
	# A line in the log hides what it meets: another login writes none but errors.
	$node->safe_psql('postgres', <<'SQL');
ALTER ROLE quiet SET log_statement = none;
ALTER ROLE quiet SET log_min_duration_statement = -1;
ALTER ROLE quiet SET log_duration = off;
ALTER ROLE quiet SET log_min_messages = error;
ALTER ROLE quiet SET log_min_error_statement = panic;
ALTER ROLE quiet SET auto_explain.log_min_duration = -1;
SQL
	$node->restart;
	return $node;
}

# What an attacker under the same role sees of all its sessions.
sub activity
{
	my ($node, $role) = @_;
	return $node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', $role ]);
SELECT query FROM pg_stat_activity WHERE pid <> pg_backend_pid();
SELECT pg_stat_get_backend_activity(s) FROM pg_stat_get_backend_idset() AS s;
SQL
}

sub finds_secret
{
	my ($text) = @_;
	return scalar grep { index($text, $_) >= 0 || index($text, substr $_, -40) >= 0 } @secrets;
}

sub check
{
	my ($node, $role, $order) = @_;
	my $s = session_start($node, $role);
	my $token = new_token();
	my $ticket = new_ticket($node, $role);

	# A literal is overwritten, and does its work.
	is(session_say($s, "BEGIN; SET LOCAL bulwark.ticket = '$ticket';\nSELECT bulwark.identity() ->> 'tenant_slug';"),
		"a", "$order: a ticket as a literal of SET LOCAL works");
	is(session_say($s, "SHOW bulwark.ticket; SELECT count(*) FROM pg_settings WHERE setting LIKE 'bwt%';"),
		"(set)\n0", "I16: $order: neither SHOW nor pg_settings shows a ticket");
	session_say($s, 'COMMIT;');

	my @cases = (
		[ 'a ticket in SET LOCAL', "BEGIN; SET LOCAL bulwark.ticket = '$ticket';" ],
		[ 'a ticket in set_config', "BEGIN; SELECT set_config('bulwark.ticket', '$ticket', true);" ],
		[ 'a token in authenticate', "BEGIN; SELECT bulwark.authenticate('$token');" ],
		[ 'several statements in one message', "BEGIN\\; SET LOCAL bulwark.ticket = '$ticket'\\; SELECT 1;" ],
		[ 'a comment', "SELECT 1 /* $ticket */;" ],
		[ 'a DO block', "DO \$\$ BEGIN PERFORM set_config('bulwark.ticket', '$ticket', true); END \$\$;" ],
		[ 'dynamic SQL', "DO \$\$ BEGIN EXECUTE 'SET LOCAL bulwark.ticket = ''$ticket'''; END \$\$;" ],
		[ 'a syntax error', "SELECT FROM WHERE set_config('bulwark.ticket', '$ticket', true);" ],
		[ 'a syntax error at the secret', "SELECT '$ticket' '$token' WHERE;" ],
		[ 'an unknown column', "SELECT '$ticket', nothing;" ],
		[ 'an error while running', "SELECT 1 / (length('$ticket') - length('$ticket'));" ],
		[ 'an error that quotes it', "SELECT '$ticket'::int;" ],
		[ 'an error that quotes a token', "SELECT ('[' || '$token')::jsonb;" ],
		[ 'an error in a function', "DO \$\$ BEGIN RAISE EXCEPTION 'no %', '$token' USING DETAIL = '$ticket', HINT = '$token'; END \$\$;" ],
		[ 'an aborted transaction', "BEGIN; SELECT 1 / 0;\nSELECT '$ticket';" ],
		[ 'a ticket that is refused', "BEGIN; SET LOCAL bulwark.ticket = '${ticket}x';" ],
		[ 'a name', "SELECT \"$token\";" ],
		[ 'a cursor', "BEGIN; DECLARE c CURSOR FOR SELECT length('$ticket'); FETCH c;" ],
		[ 'EXPLAIN', "EXPLAIN (ANALYZE, VERBOSE) SELECT length('$ticket'), n FROM generate_series(1, 3) AS n;" ],
		[ 'a deferred look', "SELECT current_query() /* $token */;" ]);
	for my $case (@cases)
	{
		my ($what, $sql) = @$case;
		session_say($s, $sql);
		like($s->{err}, qr/ERROR/, "$order: $what: is an error") if $what =~ /error|refused|name|unknown|aborted/;
		ok(!finds_secret(activity($node, $role)), "I16: $order: $what: pg_stat_activity does not show it");
		ok(!finds_secret($s->{err}), "I16: $order: $what: no error quotes it")
			if $what =~ /error|refused/ && $what !~ /syntax|column/;
		session_say($s, 'ROLLBACK;');
	}
	session_end($s);

	# The extended protocol: pgbench sends a script's text in Parse.
	for my $mode (qw(simple extended prepared))
	{
		my $script = private_file('literal.sql', <<"SQL");
BEGIN;
SET LOCAL bulwark.ticket = '$ticket';
\\sleep 1000 ms
SELECT set_config('bulwark.ticket', '$ticket', true);
\\sleep 1000 ms
SELECT 1 / (bulwark.tenant_id() IS NOT NULL)::int AS proved;
SELECT 1 / (NOT EXISTS (SELECT FROM pg_prepared_statements WHERE statement LIKE '%bwt' || '1.%'))::int AS hidden;
COMMIT;
SQL
		my $out = '';
		my $bench = IPC::Run::start([ 'pgbench', '-n', '-M', $mode, '-t', 1, '-U', $role, '-f', $script, $node->connstr('postgres') ],
			'>&', \$out, IPC::Run::timeout(60));
		for my $statement ('SET LOCAL', 'set_config')
		{
			$node->poll_query_until('postgres',
				"SELECT count(*) = 1 FROM pg_stat_activity WHERE state = 'idle in transaction' AND query LIKE '%$statement%' AND pid <> pg_backend_pid()")
				or die "no $statement";
			ok(!finds_secret(activity($node, $role)), "I16: $order: $mode protocol, $statement: pg_stat_activity does not show it");
		}
		ok($bench->finish, "I16: $order: $mode protocol: the ticket is proved, and no prepared statement shows it") or diag $out;
	}

	# Bound parameters, as the documentation has it.
	my $script = private_file('parameter.sql', <<'SQL');
BEGIN;
SELECT set_config('bulwark.ticket', :ticket, true);
SELECT 1 / (bulwark.tenant_id() IS NOT NULL)::int AS proved;
SELECT 1 / (length(:ticket) - length(:ticket));
SQL
	for my $mode (qw(extended prepared))
	{
		my $bench = IPC::Run::run([ 'pgbench', '-n', '-M', $mode, '-t', 1, '-U', $role, '-f', $script,
			'-D', "ticket=$ticket", $node->connstr('postgres') ], '>&', \my $out);
		like($out, qr/division by zero/, "$order: $mode protocol, a parameter: the ticket is proved, and an error comes after it");
	}

	return;
}

# A statement full of what looks like tokens: nobody can cancel it while they are hidden.
sub check_many
{
	my ($node, $order) = @_;
	my @took = map {
		my $many = join ' ', ('eyJ' . 'a' x 25 . '.' . 'b' x 16) x $_;
		my $began = time;
		is($node->safe_psql('postgres', "SELECT length('$many')", extra_params => [ '-U', 'quiet' ]), length $many, "$order: $_ tokens");
		time - $began;
	} 20_000, 160_000;
	cmp_ok($took[1], '<', 24 * $took[0], "$order: eight times as many tokens do not take the square of that to hide");
	return;
}

# Long after: pg_stat_statements and the log.
sub check_remains
{
	my ($node, $order) = @_;
	my $statements = $node->safe_psql('postgres', 'SELECT query FROM pg_stat_statements');
	like($statements, qr/authenticate/, "$order: pg_stat_statements has the statements");
	ok(!finds_secret($statements), "I16: $order: pg_stat_statements shows none");
	unlike($statements, qr/^SET (LOCAL )?bulwark\.ticket/m, "$order: nor does every ticket make a statement of its own");
	my $log = slurp_file($node->logfile);
	for my $line (qr/statement: .*bulwark\.ticket/, qr/parameters: \$1 = '\*+'/, qr/Query Text: /,
		qr/STATEMENT: .*\*{40}/, qr/duration: .*bulwark\.ticket = '\*+'/)
	{
		like($log, $line, "$order: the log has a line like $line");
	}
	for my $secret (@secrets)
	{
		unlike($log, qr/\Q$secret\E/, "I16: $order: the log has no trace of it");
		my $tail = substr $secret, -40;
		unlike($log, qr/\Q$tail\E/, "I16: $order: nor of its end");
	}
	return;
}

# The order of the libraries is the order of their hooks.
for my $run ([ 'bulwark,pg_stat_statements', 'app', 'quiet' ], [ 'pg_stat_statements,bulwark', 'app' ])
{
	my ($order, @roles) = @$run;
	(my $name = $order) =~ tr/,/_/;
	my $node = new_node($name, $order);
	check($node, $_, "$order, $_") for @roles;
	check_many($node, $order) if @roles > 1;
	check_remains($node, $order);
	$node->stop;
}

done_testing();
