# The protocol's function call runs no statement, and is one by itself: what was
# withdrawn before it is gone, and its arguments are shown nowhere.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('function_call');
app_role($node, 'app', 'a', 'b');
my %oid = map { $_ => $node->safe_psql('postgres', "SELECT '$_'::regprocedure::oid") }
	'bulwark.authenticate(text, boolean)', 'bulwark.tenant_id()', 'bulwark.identity()', 'set_config(text, text, boolean)',
	'pg_stat_get_xact_numscans(oid)', 'bulwark.encrypt_jsonb(jsonb, text)';

my $socket = wire_open($node, 'app');
my $error;

sub message { my ($type, $content) = @_; return wire_send($socket, [ $type, $content ]) }

sub query { return message('Q', "$_[0]\0") }

# The result as text, undef for NULL, the SQLSTATE of an error.
sub call
{
	my ($function, @arguments) = @_;
	my @messages = message('F', pack('Nnn', $oid{$function}, 0, scalar @arguments)
		  . join('', map { pack 'N/a*', $_ } @arguments) . pack('n', 0));
	my %content = map { @$_ } @messages;
	$error = $content{E};
	return $error =~ /\0C(\w{5})\0/ ? $1 : die if defined $error;	# of the commit, perhaps
	return unpack('N', $content{V}) == 0xFFFFFFFF ? undef : substr $content{V}, 4;
}

my $suspend = "SELECT bulwark.tenant_suspend(tenant_id, 'test') FROM bulwark.tenants WHERE slug = 'a'";
my $resume = "SELECT bulwark.tenant_resume(tenant_id) FROM bulwark.tenants WHERE slug = 'a'";

for my $asked ('bulwark.tenant_id()', 'bulwark.identity()')
{
	query('BEGIN');
	like(call('bulwark.authenticate(text, boolean)', token('a'), 't'), qr/a\@example.org/, 'an identity by a function call');
	isnt(call($asked), undef, "$asked: it is in force");
	$node->safe_psql('postgres', $suspend);
	is(call($asked), undef, "I8: $asked: none after the tenant is suspended");
	query('ROLLBACK');
	$node->safe_psql('postgres', $resume);
}

query('BEGIN');
like(call('bulwark.authenticate(text, boolean)', token('a'), 't'), qr/a\@example.org/, 'one identity');
is(call('bulwark.authenticate(text, boolean)', token('b'), 't'), '55000', 'I9: and no other in its transaction');
query('ROLLBACK');
is(call('bulwark.tenant_id()'), undef, 'I13: none after the transaction');
is(call('set_config(text, text, boolean)', 'search_path', 'own', 'f'), '42501', 'I34: nor a setting for the next');
is(call('pg_stat_get_xact_numscans(oid)', '1259'), '42501', 'I30: nor a counter');

# what cannot be read of an argument is quoted neither in the answer nor in the log
for my $tracked ('on', 'off')
{
	query("SET track_activities = $tracked");
	(my $canary = 'canary' . unpack 'H*', random_bytes(8)) =~ tr/0-9/g-p/;
	is(call('bulwark.encrypt_jsonb(jsonb, text)', "{\"a\": $canary}", 'c'), '22P02', "S6: activities tracked $tracked: a document that is none");
	unlike($error, qr/$canary/, 'S6: is not quoted in the answer');
	unlike(slurp_file($node->logfile), qr/$canary/, 'S6: nor in the log');
	like(slurp_file($node->logfile), qr/DETAIL:  Token "\*{22}" is invalid\.\n.*CONTEXT:  JSON data, line 1:[*:]+$/m, 'S6: which has the error');
}
query("SELECT 'quoted'::int");
like(slurp_file($node->logfile), qr/integer: "quoted"/, 'what a statement quotes that names none of ours is logged as it is');
close $socket;

$node->stop;
done_testing();
