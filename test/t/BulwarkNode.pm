# What the tests of whole servers share: a server with bulwark preloaded and an
# issuer of its own, tokens of that issuer, and sessions that stay open.
package BulwarkNode;

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use Exporter qw(import);
use IO::Socket::UNIX;
use IPC::Run;
use MIME::Base64 qw(encode_base64url);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(random_bytes private_file bulwark_node bulwark_create app_role token
  session_start session_say session_end wire_open wire_send wire_pipeline);

my $issuer = 'https://issuer.example';
my $issuer_secret = random_bytes(32);

sub random_bytes
{
	my ($n) = @_;
	open my $fh, '<:raw', '/dev/urandom' or die $!;
	read($fh, my $bytes, $n) == $n or die 'no random bytes';
	return $bytes;
}

# A file that only the server's user reads.
sub private_file
{
	my ($name, $content) = @_;
	my $path = PostgreSQL::Test::Utils::tempdir . "/$name";
	open my $fh, '>', $path or die "$path: $!";
	chmod oct('0600'), $path or die "$path: $!";
	print $fh $content;
	close $fh or die "$path: $!";
	return $path;
}

# A running server with the extension; preload names other libraries around it,
# key another server's file, conf more settings; init are arguments of init, new of new.
sub bulwark_node
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, @{ $options{new} // [] });
	my $key = $options{key} // private_file("$name.key", unpack 'H*', random_bytes(32));
	my $preload = $options{preload} // 'bulwark';

	$node->init(@{ $options{init} // [] });
	$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = '$preload'
bulwark.root_key_file = '$key'
CONF
	$node->append_conf('postgresql.conf', $options{conf}) if $options{conf};
	$node->start;
	bulwark_create($node, 'postgres');
	return $node;
}

# The extension in a database, with the issuer of the tests' tokens.
sub bulwark_create
{
	my ($node, $database) = @_;
	my $jwk = encode_base64url($issuer_secret);
	$node->safe_psql($database, <<"SQL");
CREATE EXTENSION bulwark;
SELECT bulwark.issuer_create('$issuer', 'tests', '{"kty":"oct","kid":"k","alg":"HS256","k":"$jwk"}', '{HS256}');
SQL
	return;
}

# An application login, and for each tenant named a tenant_admin of the same name.
sub app_role
{
	my ($node, $role, @tenants) = @_;
	$node->safe_psql('postgres', "CREATE ROLE $role LOGIN IN ROLE bulwark_app");
	for my $tenant (@tenants)
	{
		$node->safe_psql('postgres', <<"SQL");
SELECT bulwark.membership_grant(bulwark.principal_create('$tenant\@example.org'),
	bulwark.tenant_create('$tenant', 'Tenant $tenant'), 'tenant_admin');
SELECT bulwark.principal_link(principal_id, '$issuer', '$tenant') FROM bulwark.principals WHERE email = '$tenant\@example.org';
SQL
	}
	return;
}

# A token by which that tenant's tenant_admin authenticates, or another subject.
sub token
{
	my ($tenant, $subject) = @_;
	$subject //= $tenant;
	my $header = encode_base64url('{"alg":"HS256","kid":"k"}');
	my $payload = encode_base64url(sprintf '{"iss":"%s","aud":"tests","sub":"%s","tenant":"%s","exp":%d,"jti":"%s"}',
		$issuer, $subject, $tenant, time + 600, unpack 'H*', random_bytes(8));
	return "$header.$payload." . encode_base64url(hmac_sha256("$header.$payload", $issuer_secret));
}

# A psql that stays: what a pooled connection is to its clients.
sub session_start
{
	my ($node, $user) = @_;
	my %session = (in => '', out => '', err => '', marks => 0);
	$session{run} = IPC::Run::start(
		[ 'psql', '-XqAt', '-v', 'VERBOSITY=verbose', '-U', $user, '-d', $node->connstr('postgres') ],
		'<', \$session{in}, '>', \$session{out}, '2>', \$session{err}, IPC::Run::timeout(120));
	return \%session;
}

# What the session answers; its errors are in {err}.
sub session_say
{
	my ($session, $sql) = @_;
	my $mark = 'mark-' . ++$session->{marks};
	$session->{out} = $session->{err} = '';
	$session->{in} .= "$sql\n\\echo $mark\n\\warn $mark\n";
	$session->{run}->pump until $session->{out} =~ /^$mark\n/m && $session->{err} =~ /^$mark\n/m;
	s/^$mark\n//m for $session->{out}, $session->{err};
	chomp $session->{out};
	return $session->{out};
}

sub session_end
{
	my ($session) = @_;
	$session->{in} .= "\\q\n";
	$session->{run}->finish;
	return;
}

# A connection that speaks the protocol itself.
sub wire_open
{
	my ($node, $user) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port) or die $!;
	binmode $socket;
	my $startup = pack('N', 196608) . "user\0$user\0database\0postgres\0\0";
	print $socket pack('N', 4 + length $startup) . $startup;
	$socket->flush;
	wire_receive($socket);
	return $socket;
}

# [type, content] of what comes until the server is ready.
sub wire_receive
{
	my ($socket) = @_;
	my @messages;
	do
	{
		my ($head, $content) = ('', '');
		read($socket, $head, 5) == 5 or die 'the server has gone';
		my ($type, $length) = unpack 'aN', $head;
		$length == 4 or read($socket, $content, $length - 4) == $length - 4 or die 'the server has gone';
		push @messages, [ $type, $content ];
	} until $messages[-1][0] eq 'Z';
	return @messages;
}

# Messages, each [type, content], the last of which makes the server ready again.
sub wire_send
{
	my ($socket, @messages) = @_;
	print $socket join '', map { $_->[0] . pack('N', 4 + length $_->[1]) . $_->[1] } @messages;
	$socket->flush;
	return wire_receive($socket);
}

# Statements up to one Sync, each [SQL, rows at most]: what comes, as one text.
sub wire_pipeline
{
	my ($socket, @statements) = @_;
	my @messages = map { ([ 'P', "\0$_->[0]\0" . pack 'n', 0 ], [ 'B', "\0\0" . pack 'nnn', 0, 0, 0 ], [ 'E', "\0" . pack 'N', $_->[1] ]) } @statements;
	return join "\n", map { $_->[1] } wire_send($socket, @messages, [ 'S', '' ]);
}

1;
