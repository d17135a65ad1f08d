# The ledger's proof in databases of other encodings: an export is JSON in UTF-8 and
# checkpoints are signed notes in UTF-8, whatever the database's encoding, the
# client's, and what a database with SQL_ASCII was given.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use JSON::PP qw(decode_json);
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('encoding');
my $dir = PostgreSQL::Test::Utils::tempdir;

# As the client that it is connected with: encoding, statement.
sub as_client
{
	my ($database, $encoding, $sql) = @_;
	local $ENV{PGCLIENTENCODING} = $encoding;
	return $node->safe_psql($database, $sql);
}

sub ctl
{
	my @command = ('bulwarkctl', @_);
	my ($out, $err);
	my $ok = IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err);
	return ($ok ? 'ok' : 'failed') . ($ok ? '' : ": $out$err");
}

my @where = ('-h', $node->host, '-p', $node->port, '-U', 'postgres');

# An encoding, what a client of another encoding writes, and the same in UTF-8.
for my $case (
	[ 'latin1', 'LATIN1', 'UTF8', "caf\xc3\xa9", "caf\xc3\xa9" ],
	[ 'euc', 'EUC_JP', 'UTF8', "\xe6\x97\xa5\xe6\x9c\xac", "\xe6\x97\xa5\xe6\x9c\xac" ],
	[ 'ascii', 'SQL_ASCII', 'SQL_ASCII', "\xe9\xe8 \xc3\xa9", "\xef\xbf\xbd\xef\xbf\xbd \xc3\xa9" ])
{
	my ($database, $encoding, $client, $written, $utf8) = @$case;
	my $table = $encoding eq 'SQL_ASCII' ? "t\xe9" : 'item';

	$node->safe_psql('postgres', "CREATE DATABASE $database ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	as_client($database, $client, <<SQL);
CREATE EXTENSION bulwark;
CREATE TABLE "$table" (name text PRIMARY KEY, note text);
SELECT bulwark.audit('"$table"');
INSERT INTO "$table" VALUES ('$written', '$written');
SQL
	$node->safe_psql($database, q(SELECT bulwark.ledger_seal()));
	my $vkey = $node->safe_psql($database, 'SELECT bulwark.ledger_public_key()');
	is(as_client($database, 'SQL_ASCII', "SELECT integrity, coverage, problems FROM bulwark.ledger_verify()"), 'ok|ok|0', "$encoding: the server verifies");
	my ($note, $complaint) = ('', '');
	ok(IPC::Run::run([ 'bulwarkctl', 'checkpoint', '--key', $vkey, @where, '-d', $database ], '>', \$note, '2>', \$complaint), "$encoding: a checkpoint is printed")
	  or diag($complaint);
	append_to_file("$dir/$database.checkpoint", $note);
	is(ctl('verify', '--key', $vkey, '--checkpoint', "$dir/$database.checkpoint", @where, '-d', $database), 'ok', "$encoding: verified over a connection");
	for my $reader ($encoding eq 'SQL_ASCII' ? ('UTF8', 'SQL_ASCII') : ('UTF8', $encoding))
	{
		my $export = as_client($database, $reader, q(SELECT bulwark.ledger_export('jsonl')));
		my ($entry) = grep { $_->{type} eq 'entry' && ($_->{fields}{action} // '') eq 'insert' } map { decode_json($_) } split /\n/, $export;

		append_to_file("$dir/$database.$reader.jsonl", "$export\n");
		my $id = $entry->{fields}{entity_id};
		utf8::encode($id);
		is($id, $utf8, "$encoding: an export that a client with $reader has read is UTF-8");
		is(ctl('verify', '--key', $vkey, '--checkpoint', "$dir/$database.checkpoint", "$dir/$database.$reader.jsonl"), 'ok', "$encoding: and is verified");
	}
}

$node->stop;
done_testing();
