# The command line: what it makes, and what it says when it cannot.
use strict;
use warnings;

use Digest::SHA qw(sha256);
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir;
my $path = "$dir/root.key";

command_like([ 'bulwarkctl', '--version' ], qr/^bulwarkctl \d+\.\d+\.\d+$/, 'the version is shown');

sub ctl
{
	my ($code, $out, $err, $name, @args) = @_;
	command_checks_all([ 'bulwarkctl', @args ], $code, $out, $err, $name);
	return;
}

umask 0;
ctl(0, [qr/^root key [0-9a-f]{16}$/], [qr/^$/], 'keygen makes a key and shows its id', 'keygen', $path);
like(slurp_file($path), qr/\A[0-9a-f]{64}\n\z/, 'keygen: 64 hexadecimal digits and a newline');
is(sprintf('%04o', (stat $path)[2] & oct('7777')), '0600', 'keygen: for its owner alone, whatever the umask');

my $before = slurp_file($path);
ctl(1, [qr/^$/], [qr/could not create/], 'keygen refuses a file that exists', 'keygen', $path);
is(slurp_file($path), $before, 'keygen leaves it as it was');

ctl(0, [qr/^root key/], [qr/^$/], 'keygen makes another', 'keygen', "$path.2");
isnt(slurp_file("$path.2"), $before, 'keygen: two keys differ');

umask oct('0777');
ctl(0, [qr/^root key/], [qr/^$/], 'keygen under a umask that takes all', 'keygen', "$path.3");
is(sprintf('%04o', (stat "$path.3")[2] & oct('7777')), '0600', 'keygen: its owner can read it');
umask oct('0077');

symlink "$dir/target", "$dir/link" or die $!;
ctl(1, [qr/^$/], [qr/could not create/], 'keygen refuses a symbolic link', 'keygen', "$dir/link");
ok(!-e "$dir/target", 'keygen does not follow it');
ctl(1, [qr/^$/], [qr/could not create/], 'keygen: no such directory', 'keygen', "$dir/none/key");

command_checks_all([ 'sh', '-c', "ulimit -f 0; exec bulwarkctl keygen '$dir/limited' 2>&1 | cat" ],
	0, [qr/could not write/], [qr/^$/], 'keygen: a failed write is said');
ok(!-e "$dir/limited", 'keygen removes a file that it could not write');

ctl(2, [qr/^$/], [qr/needs one argument/], 'keygen without a file', 'keygen');
ctl(2, [qr/^$/], [qr/needs one argument/], 'keygen with two files', 'keygen', "$dir/a", "$dir/b");
ctl(2, [qr/^$/], [qr/a command is needed/], 'no command');
ctl(2, [qr/^$/], [qr/"lock" is not a command/], 'an unknown command', 'lock');
ctl(0, [qr/keygen +FILE/], [qr/^$/], 'help lists the commands', 'help');
ctl(0, [qr/keygen +FILE/], [qr/^$/], '--help does too', '--help');

# verify and checkpoint, as far as they need no ledger (test/js/export.test.mjs has the rest)
my $vkey = 'bulwark/00000000-0000-4000-8000-000000000000+00000000+' . 'A' x 44;
ctl(0, [qr/--checkpoint=FILE/], [qr/^$/], 'verify --help', 'verify', '--help');
ctl(0, [qr/--out=DIR/], [qr/^$/], 'checkpoint --help', 'checkpoint', '--help');
ctl(2, [qr/^$/], [qr/give the log's key with --key, or --unpinned/], 'verify: no key', 'verify', "$dir/none");
ctl(2, [qr/^$/], [qr/is not a verifier key/], 'verify: a key that is none', 'verify', '--key', $vkey, "$dir/none");
ctl(2, [qr/^$/], [qr/takes one file/], 'verify: two files', 'verify', '--unpinned', "$dir/a", "$dir/b");
ctl(2, [qr/^$/], [qr/without a server/], 'verify: a file and a server', 'verify', '--unpinned', '-h', 'x', "$dir/a");
ctl(2, [qr/^$/], [qr/unrecognized option/], 'verify: an unknown option', 'verify', '--quick');
ctl(2, [qr/^$/], [qr/--proof takes a file and --key/], 'verify: a proof without a key', 'verify', '--proof', '--unpinned', "$dir/a");
ctl(3, [qr/^$/], [qr/could not open/], 'verify: no such file', 'verify', '--unpinned', "$dir/none");
ctl(3, [qr/^$/], [qr/could not open/], 'verify: no such checkpoint', 'verify', '--unpinned', '--checkpoint', "$dir/none", "$dir/none");
ctl(3, [qr/^$/], [qr/connection to server/], 'verify: no such server', 'verify', '--unpinned', '-h', "$dir/none");
ctl(3, [qr/^$/], [qr/connection to server/], 'verify: by a connection string', 'verify', '--unpinned', '-d', "host=$dir/none dbname=x");
ctl(3, [qr/^$/], [qr/connection to server/], 'checkpoint: no such server', 'checkpoint', '-h', "$dir/none");
ctl(3, [qr/^$/], [qr/could not open directory/], 'checkpoint: no such directory', 'checkpoint', '--out', "$dir/none", '--key', 'bulwark/x+' . key_of('bulwark/x'));
ctl(2, [qr/^$/], [qr/options only/], 'checkpoint: an argument', 'checkpoint', 'now');

# hash and base64 of a verifier key with that name
sub key_of
{
	my ($name) = @_;
	my $key = "\1" . "\2" x 32;
	return unpack('H8', sha256("$name\n$key")) . '+' . encode_base64($key, '');
}

done_testing();
