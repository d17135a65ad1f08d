# The settings: which there are and who can set them where, so that what weakens a
# guard is in the configuration file or nowhere.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('settings');
app_role($node, 'app', 'a');
$node->safe_psql('postgres', 'CREATE ROLE manager LOGIN CREATEROLE CREATEDB IN ROLE bulwark_admin; GRANT app TO manager; CREATE DATABASE managed OWNER manager');

# name, context, type, default, a value that differs
my @settings = (
	[ 'bulwark.allow_session_identity', 'sighup', 'bool', 'off', 'on' ],
	[ 'bulwark.blind_index_burst', 'sighup', 'integer', '1000000', '50' ],
	[ 'bulwark.blind_index_rate', 'sighup', 'integer', '10000', '50' ],
	[ 'bulwark.commit_waits_for_seal', 'user', 'bool', 'off', 'on' ],
	[ 'bulwark.data_decrypt_burst', 'sighup', 'integer', '1000000', '50' ],
	[ 'bulwark.data_decrypt_rate', 'sighup', 'integer', '0', '50' ],
	[ 'bulwark.data_padding', 'sighup', 'integer', '0', '32' ],
	[ 'bulwark.encryption_suite', 'sighup', 'enum', 'xaes-256-gcm', 'xchacha20-poly1305' ],
	[ 'bulwark.introspection', 'sighup', 'enum', 'refuse', 'allow' ],
	[ 'bulwark.ledger_ddl_digests', 'sighup', 'bool', 'on', 'off' ],
	[ 'bulwark.ledger_decommission', 'postmaster', 'bool', 'off', 'on' ],
	[ 'bulwark.ledger_flood_limit', 'sighup', 'integer', '100', '10' ],
	[ 'bulwark.ledger_max_value', 'sighup', 'integer', '1024', '2048' ],
	[ 'bulwark.ledger_record_rate', 'sighup', 'integer', '100', '200' ],
	[ 'bulwark.ledger_segment_size', 'sighup', 'integer', '32768', '65536' ],
	[ 'bulwark.ledger_skip_unchanged', 'superuser', 'bool', 'off', 'on' ],
	[ 'bulwark.ledger_spool_size', 'postmaster', 'integer', '4096', '8192' ],
	[ 'bulwark.ledger_wait_timeout', 'sighup', 'integer', '10000', '5000' ],
	[ 'bulwark.max_workers', 'sighup', 'integer', '4', '2' ],
	[ 'bulwark.missing_identity', 'superuser', 'enum', 'hide', 'error' ],
	[ 'bulwark.new_tables', 'superuser', 'enum', 'protect', 'ignore' ],
	[ 'bulwark.realm', 'sighup', 'string', '', 'other' ],
	[ 'bulwark.refuse_drop_database', 'sighup', 'bool', 'off', 'on' ],
	[ 'bulwark.restore', 'sighup', 'bool', 'off', 'on' ],
	[ 'bulwark.root_key_command', 'sighup', 'string', '', '/bin/false' ],
	[ 'bulwark.root_key_command_next', 'sighup', 'string', '', '/bin/false' ],
	[ 'bulwark.root_key_command_timeout', 'sighup', 'integer', '10', '20' ],
	[ 'bulwark.root_key_file', 'sighup', 'string', '', '/tmp/root.key' ],
	[ 'bulwark.root_key_file_next', 'sighup', 'string', '', '/tmp/root.key' ],
	[ 'bulwark.root_key_id', 'sighup', 'string', '', '0123456789abcdef' ],
	[ 'bulwark.root_key_id_next', 'sighup', 'string', '', '0123456789abcdef' ],
	[ 'bulwark.root_key_pkcs11', 'sighup', 'string', '', 'pkcs11:token=t;object=o' ],
	[ 'bulwark.root_key_pkcs11_next', 'sighup', 'string', '', 'pkcs11:token=t;object=o' ],
	[ 'bulwark.root_key_pkcs11_timeout', 'sighup', 'integer', '10', '20' ],
	[ 'bulwark.root_key_provider', 'sighup', 'enum', 'file', 'command' ],
	[ 'bulwark.root_key_provider_next', 'sighup', 'enum', 'same', 'pkcs11' ],
	[ 'bulwark.seal_interval', 'sighup', 'integer', '1000', '2000' ],
	[ 'bulwark.seal_lag_alarm', 'sighup', 'integer', '60', '30' ],
	[ 'bulwark.sealed_lifetime', 'sighup', 'integer', '600', '60' ],
	[ 'bulwark.secret_burst', 'sighup', 'integer', '1000', '50' ],
	[ 'bulwark.secret_padding', 'sighup', 'integer', '64', '32' ],
	[ 'bulwark.secret_rate', 'sighup', 'integer', '100', '50' ],
	[ 'bulwark.session_state', 'sighup', 'enum', 'refuse', 'allow' ],
	[ 'bulwark.standby_max_staleness', 'sighup', 'integer', '60', '3600' ],
	[ 'bulwark.tenant_key_cache', 'postmaster', 'integer', '256', '512' ],
	[ 'bulwark.tenant_key_command', 'sighup', 'string', '', '/bin/false' ],
	[ 'bulwark.tenant_key_command_timeout', 'sighup', 'integer', '10', '20' ],
	[ 'bulwark.tenant_key_directory', 'sighup', 'string', '', '/tmp/tenant-keys' ]);

is($node->safe_psql('postgres', q{SELECT name, context, vartype, boot_val FROM pg_settings WHERE name ~ '^bulwark' ORDER BY name COLLATE "C"}),
	join("\n", map { join '|', @$_[ 0 .. 3 ] } @settings),
	'these settings there are, and bulwark.ticket, which is never shown');

sub refused
{
	my ($sql, $state, $name, @options) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", @options);
	like($err, qr/(ERROR|FATAL):  $state:/, $name);
	return;
}

for my $setting (grep { $_->[1] ne 'user' } @settings)
{
	my ($name, $context, undef, undef, $value) = @$setting;
	my @manager = (extra_params => [ '-U', 'manager' ]);
	my @app = (extra_params => [ '-U', 'app' ]);

	if ($context ne 'superuser')
	{
		refused("ALTER SYSTEM SET $name = '$value'", '55P02', "$name: not by ALTER SYSTEM");
		refused("ALTER ROLE app SET $name = '$value'", '55P02', "$name: not for a role, by a superuser either");
		refused("ALTER DATABASE postgres SET $name = '$value'", '55P02', "$name: not for a database");
		refused("SET $name = '$value'", '55P02', "$name: not for a session");
		refused("SELECT set_config('$name', '$value', true)", '55P02', "$name: not for a transaction");
		refused("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET $name = '$value' AS 'SELECT 1'", '55P02', "$name: not for a function");
	}
	else
	{
		refused("ALTER ROLE app SET $name = '$value'", '42501', "$name: not for a role, by its administrator", @manager);
		refused("ALTER DATABASE managed SET $name = '$value'", '42501', "$name: not for a database, by its owner", @manager);
		refused("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET $name = '$value' AS 'SELECT 1'", '42501', "$name: not for a function", @manager);
	}
	refused("SET $name = '$value'", $context eq 'superuser' ? '42501' : '55P02', "$name: not by an application", @app);

	local $ENV{PGOPTIONS} = "-c $name=$value";
	my ($out, $err) = run_command([ 'psql', '-X', '-U', 'app', '-c', 'SELECT 1', '-d', $node->connstr('postgres') ]);
	like($err, qr/FATAL:  (parameter "$name" cannot be changed (now|without restarting the server)|permission denied to set parameter "$name")/, "$name: not when an application connects");
}

# A ticket is set in a transaction, and nowhere else.
my $ticket = $node->safe_psql('postgres', sprintf(
	"BEGIN; SELECT '' FROM bulwark.authenticate('%s') \\g /dev/null\nSELECT bulwark.ticket_issue();", token('a')), extra_params => [ '-U', 'app' ]);
for my $value ('made up', $ticket)
{
	my $which = $value eq $ticket ? 'a genuine ticket' : 'a made-up ticket';
	refused("ALTER ROLE app SET bulwark.ticket = '$value'", '28000', "I1: $which not for a role");
	refused("ALTER DATABASE postgres SET bulwark.ticket = '$value'", '28000', "I1: $which not for a database");
	refused("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET bulwark.ticket = '$value' AS 'SELECT 1'", '28000', "I1: $which not for a function");
	refused("ALTER SYSTEM SET bulwark.ticket = '$value'", '(28000|55P02)', "I1: $which not by ALTER SYSTEM");
	local $ENV{PGOPTIONS} = "-c bulwark.ticket='$value'" =~ s/ up/_up/r;
	my ($out, $err) = run_command([ 'psql', '-X', '-U', 'app', '-c', 'SELECT 1', '-d', $node->connstr('postgres') ]);
	like($err, qr/FATAL:.*refused/, "I1: $which not when connecting");
}
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_db_role_setting s, unnest(s.setconfig) c WHERE c ~ 'bulwark'"), 0, 'nothing of all that has been kept');

# The prefix is ours: no setting of another name.
refused("SET bulwark.tickets = 'x'", '42602', 'a setting that there is not is refused');
refused("ALTER ROLE app SET bulwark.realms = 'x'", '42602', 'for a role too');

# What the configuration file says is what holds, also for sessions that are there.
my $session = session_start($node, 'app');
is(session_say($session, 'SHOW bulwark.session_state;'), 'refuse', 'session_state is refuse');
$node->append_conf('postgresql.conf', 'bulwark.session_state = allow');
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('bulwark.session_state') = 'allow'});
is(session_say($session, 'SELECT 1; SHOW bulwark.session_state;'), "1\nallow", 'until the configuration file says otherwise');
session_end($session);

$node->stop;
done_testing();
