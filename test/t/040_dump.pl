# Dump and restore of a protected database in every format, into the same cluster
# and another, by a superuser and by a member of bulwark_maintenance: the copy
# protects the same rows in the same way, and is another database to tickets.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use BulwarkSecrets;
use BulwarkShop;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $key = private_file('shared.key', unpack 'H*', random_bytes(32));
my $node = bulwark_node('source', key => $key);
shop_create($node);
secrets_create($node);
$node->safe_psql('postgres', 'CREATE ROLE dumper LOGIN IN ROLE bulwark_maintenance; GRANT pg_read_all_data TO bulwark_maintenance');
my $dir = PostgreSQL::Test::Utils::tempdir;
my $definitions = shop_definitions($node, 'postgres');
my $rows = shop_rows($node, 'postgres');
my $opened = secrets_opened($node, 'postgres');
my $bytes = secrets_bytes($node, 'postgres');

# What the rest relies on: every identity sees something else, and nobody nothing.
like($rows, qr/^orders\|0\|$/m, 'the source: nothing without an identity');
like($rows, qr/^7\norders\|9\|.*^8\norders\|9\|.*^7 ann\norders\|6\|/ms, 'the source: tenants see theirs, ann her affiliation and what is below it');
is(() = $definitions =~ /^protection\|/mg, 13, 'the source: every table, partition and child is registered');

# A command that succeeds without a word.
sub silent_ok
{
	my ($command, $name) = @_;
	my ($out, $err) = run_command($command);
	return is("$out$err", '', $name);
}

my %restore = (
	plain => sub { [ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $_[0], '-f', "$dir/$_[1]" ] },
	plain_one => sub { [ 'psql', '-XqAt', '-1', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $_[0], '-f', "$dir/$_[1]" ] },
	custom => sub { [ 'pg_restore', '-e', '-d', $_[0], "$dir/$_[1]" ] },
	custom_one => sub { [ 'pg_restore', '-1', '-d', $_[0], "$dir/$_[1]" ] },
	custom_jobs => sub { [ 'pg_restore', '-j2', '-e', '-d', $_[0], "$dir/$_[1]" ] },
	directory => sub { [ 'pg_restore', '-j2', '-e', '-d', $_[0], "$dir/$_[1]" ] });

my $other = bulwark_node('other', key => $key);
# no worker that comes while the extension is dropped
$other->append_conf('postgresql.conf', "bulwark.ledger_decommission = on\nbulwark.max_workers = 0");
$_->append_conf('postgresql.conf', 'bulwark.restore = on') foreach $node, $other;
$_->restart foreach $node, $other;
$other->command_ok([ 'psql', '-XqAt', '-d', $other->connstr('postgres'), '-c', 'DROP EXTENSION bulwark' ], 'another cluster, whose bulwark has gone');
$other->append_conf('postgresql.conf', 'bulwark.max_workers = 4');
$other->reload;
my $globals = "$dir/globals.sql";
silent_ok([ 'pg_dumpall', '--globals-only', '--no-role-passwords', '-d', $node->connstr('postgres'), '-f', $globals ], 'pg_dumpall --globals-only');
$other->psql('postgres', "\\i $globals", on_error_stop => 0);
is($other->safe_psql('postgres', q{SELECT count(*) FROM pg_shseclabel WHERE provider = 'bulwark'}), 9,
	'the cluster roles keep their mark in another cluster');

like($opened, qr/a key of many bytes 3\|Grüße 1 3\|.*^crm\|1\|first of .*^crm\|2\|second of .*^crm\|1\|55000: the credential is frozen/ms, 'the source: secrets open');

my @restored;
for my $who ('postgres', 'dumper')
{
	my @as = $who eq 'dumper' ? ('--role=bulwark_maintenance', '-U', $who) : ();
	silent_ok([ 'pg_dump', @as, '-Fp', '-f', "$dir/$who.plain", $node->connstr('postgres') ], "$who: pg_dump -Fp warns of nothing");
	silent_ok([ 'pg_dump', @as, '-Fc', '-f', "$dir/$who.custom", $node->connstr('postgres') ], "$who: pg_dump -Fc");
	silent_ok([ 'pg_dump', @as, '-Fd', '-j2', '-f', "$dir/$who.directory", $node->connstr('postgres') ], "$who: pg_dump -Fd -j2");
	silent_ok([ 'pg_dump', @as, '-a', '-f', "$dir/$who.data", $node->connstr('postgres') ], "$who: pg_dump -a: no circular foreign keys");
	my $kept = join '', slurp_file("$dir/$who.plain") =~ /^COPY bulwark_internal\.(?:roles|database_identity) .*?^\\\.$/msg;
	like($kept, qr/\tclerk\t/, "$who: the tenants' own roles are dumped");
	unlike(slurp_file("$dir/$who.plain"), qr/a key of many bytes|Grüße|second of|honey'/, "S5: $who: no plaintext is dumped");
	unlike($kept, qr/00000b01|database_identity/, "$who: no built-in role is dumped, nor the database's id");

	for my $how (sort keys %restore)
	{
		# a superuser's dump in every way; the other's once each way it is written
		next if $who eq 'dumper' && $how =~ /_/;
		my $database = "${who}_$how";
		my $file = "$who." . ($how =~ s/_.*//r);
		my $target = $how eq 'plain_one' || $how eq 'custom' ? $other : $node;
		$target->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0");
		silent_ok($restore{$how}->($target->connstr($database), $file), "$who, $how: restored without a word");
		same_ok(shop_definitions($target, $database), $definitions, "$who, $how: policies, triggers, registry, members are as they were");
		same_ok(shop_rows($target, $database), $rows, "$who, $how: every identity sees the rows it saw");
		is(secrets_bytes($target, $database), $bytes, "S5: $who, $how: encrypted columns, keys and credentials are the same bytes");
		push @restored, [ "$who, $how", $target, $database ] if $target == $other;
	}
}

my $check = q{SELECT relation::text, check_name, status, replace(detail, current_database(), 'postgres') FROM bulwark.isolation_check() ORDER BY 1, 2, 3, 4};
same_ok($node->safe_psql('postgres_custom_jobs', $check), $node->safe_psql('postgres', $check), 'isolation_check() says of a copy what it says of the source');

# The copies go on: what is refused and what is given there is what it was.
for my $database ('postgres', 'postgres_custom_jobs')
{
	my ($rc, $out, $err) = $node->psql($database, sprintf(
		"\\set VERBOSITY verbose\nBEGIN; SELECT bulwark.authenticate('%s') IS NULL;\nINSERT INTO items VALUES (1000, 18)", token(7)),
		extra_params => [ '-U', 'app' ]);
	like($err, qr/ERROR:  42501:/, "$database: a child of another tenant's row is refused");
	is($node->safe_psql($database, sprintf(
		"BEGIN; SELECT '' FROM bulwark.authenticate('%s') \\g /dev/null\nINSERT INTO orders (id, place) VALUES (1000, 'north') RETURNING tenant_id = bulwark.tenant_id();", token(7)),
		extra_params => [ '-U', 'app' ]), 't', "$database: a new row is the identity's tenant's");
}
is($node->safe_psql('postgres_plain', <<'SQL'), "\n0|0|0",
SELECT bulwark.unprotect('calls');
SELECT (SELECT count(*) FROM pg_policies WHERE tablename ~ 'calls'),
	(SELECT count(*) FROM pg_trigger WHERE tgrelid::regclass::text ~ 'calls'),
	(SELECT count(*) FROM pg_attrdef WHERE adrelid::regclass::text ~ 'calls')
SQL
	'unprotect() in a copy undoes what protect() did in the source');

# Data alone, into tables that are there.
$node->safe_psql('postgres_directory', 'DELETE FROM lines; DELETE FROM items; DELETE FROM deliveries; DELETE FROM invoices; DELETE FROM orders;');
$node->command_ok([ 'pg_restore', '-e', '--data-only', '--disable-triggers', map({ ('-t', $_) } qw(orders items lines deliveries invoices)),
	'-d', $node->connstr('postgres_directory'), "$dir/postgres.custom" ], 'data alone with triggers off goes on');
same_ok(shop_rows($node, 'postgres_directory'), $rows, 'data alone with triggers off: every identity sees the rows it saw');
same_ok(shop_definitions($node, 'postgres_directory'), $definitions, 'data alone with triggers off: our triggers are on');

# The same as bulwark_maintenance, parents first.
$node->safe_psql('postgres_directory', 'DELETE FROM lines; DELETE FROM items; GRANT INSERT ON items, lines TO bulwark_maintenance');
for my $table ('items', 'lines')
{
	$node->command_ok([ 'pg_restore', '-e', '--data-only', '-U', 'dumper', '--role=bulwark_maintenance', '-t', $table,
		'-d', $node->connstr('postgres_directory'), "$dir/dumper.custom" ], "dumper: data of $table alone");
}
same_ok(shop_rows($node, 'postgres_directory'), $rows, 'dumper: data alone: every identity sees the rows it saw');

# --- I35: a ticket of the source in its copies ------------------------------------
sub ticket
{
	my ($on, $database) = @_;
	return $on->safe_psql($database, sprintf(
		"BEGIN; SELECT '' FROM bulwark.authenticate('%s') \\g /dev/null\nSELECT bulwark.ticket_issue();", token(7)),
		extra_params => [ '-U', 'app' ]);
}

# The tenant that it proves, or the SQLSTATE.
sub use_ticket
{
	my ($on, $database, $ticket) = @_;
	my ($rc, $out, $err) = $on->psql($database,
		"\\set VERBOSITY verbose\nBEGIN; SET LOCAL bulwark.ticket = '$ticket'; SELECT bulwark.tenant_key();",
		extra_params => [ '-U', 'app' ]);
	return $err =~ /ERROR:\s+(\w+)/ ? $1 : $out;
}

my $ticket = ticket($node, 'postgres');
is(use_ticket($node, 'postgres', $ticket), '7', 'I35: a ticket works where it was issued');
is(use_ticket($node, 'postgres_custom_jobs', $ticket), '28000', 'I35: and not in a restored copy, of the same cluster and root key');
is(use_ticket($other, 'postgres_custom', $ticket), '28000', 'I35: nor in one in another cluster with the same root key');
my $copys = ticket($node, 'postgres_custom_jobs');
is(use_ticket($node, 'postgres_custom_jobs', $copys), '7', 'I35: the copy issues its own');
is(use_ticket($node, 'postgres', $copys), '28000', 'I35: which do not work in the source');
$node->safe_psql('template1', 'CREATE DATABASE clone TEMPLATE postgres');
same_ok(shop_rows($node, 'clone'), shop_rows($node, 'postgres'), 'a clone by TEMPLATE shows every identity its rows');
is(use_ticket($node, 'clone', $ticket), '28000', 'I35: nor does a ticket work in a clone by TEMPLATE');
is(use_ticket($node, 'postgres', ticket($node, 'clone')), '28000', "I35: nor a clone's in the source");

# Who waits for an entry is told at once that there is none.
my (undef, undef, $refused) = $other->psql($restored[0][2], "SELECT bulwark.ledger_reason('audit')");
like($refused, qr/the ledger cannot be written while a dump is restored/, 'an entry to be waited for is refused while a dump is restored');

# Uses of secrets are entries, which a database has again when its restore is over.  In
# the other cluster, a superuser's copies and one of bulwark_maintenance.
$other->append_conf('postgresql.conf', "bulwark.restore = off\nbulwark.ledger_wait_timeout = '60s'");
$other->restart;
foreach my $copy (@restored)
{
	my ($how, $target, $database) = @$copy;
	same_ok(secrets_opened($target, $database), $opened, "S5: $how: with root key and components they open to what they did");
}

$node->stop;
$other->stop;
done_testing();
