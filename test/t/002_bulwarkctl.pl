# The command line: what it makes, and what it says when it cannot.
use strict;
use warnings;

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

my ($libraries) = run_command([ 'sh', '-c', 'ldd "$(command -v bulwarkctl)"' ]);
unlike($libraries, qr/libpq/, 'bulwarkctl needs no libpq');

done_testing();
