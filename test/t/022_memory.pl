# I11: memory that runs out while an identity is proved: at every single
# allocation, the identity or none, never the one before, and the session goes on.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# A malloc() that fails once, in one process, at the allocation that the control
# file counts down to.
my $dir = PostgreSQL::Test::Utils::tempdir;
my ($source, $shim, $control) = map { "$dir/$_" } qw(shim.c shim.so control);
open my $fh, '>', $source or die $!;
print $fh <<'C';
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
static volatile struct { int pid, countdown; } *control;

__attribute__((constructor)) static void start(void)
{
	int fd = open(getenv("SHIM_CONTROL"), O_RDWR);
	void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map != MAP_FAILED)
		control = map;
}

static int fails(void)
{
	if (!control || control->countdown <= 0 || control->pid != getpid() || --control->countdown > 0)
		return 0;
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t n) { return fails() ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t m) { return fails() ? NULL : __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { return fails() ? NULL : __libc_realloc(p, n); }
C
close $fh or die $!;
run_log([ 'cc', '-shared', '-fPIC', '-O', '-o', $shim, $source ]) or plan skip_all => 'there is no C compiler';

sub arm
{
	my ($pid, $countdown) = @_;
	open my $out, '+<:raw', $control or die $!;
	syswrite $out, pack 'ii', $pid, $countdown;
	close $out or die $!;
	return;
}

# How many allocations are left to be counted.
sub left { return (unpack 'ii', slurp_file($control))[1]; }

open $fh, '>:raw', $control or die $!;
print $fh pack 'ii', 0, 0;
close $fh or die $!;

my $node;
{
	local %ENV = (%ENV, LD_PRELOAD => $shim, SHIM_CONTROL => $control);
	$node = bulwark_node('memory');
}
app_role($node, 'app', 'a', 'b');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE orders (id int PRIMARY KEY, tenant_id uuid, owner text);
INSERT INTO orders SELECT row_number() OVER (), tenant_id, slug FROM bulwark.tenants, generate_series(1, 5);
SELECT bulwark.protect('orders', 'tenant_id');
GRANT SELECT ON orders TO app;
SQL
my $owners = "SELECT string_agg(DISTINCT owner, ',') FROM orders;";
my $as_b = sub { sprintf "ROLLBACK; BEGIN; SELECT '' FROM bulwark.authenticate('%s') \\g /dev/null\n$owners ROLLBACK;", token('b') };
my $ticket = $node->safe_psql('postgres', sprintf("BEGIN; SELECT '' FROM bulwark.authenticate('%s') \\g /dev/null\nSELECT bulwark.ticket_issue();", token('a')),
	extra_params => [ '-U', 'app' ]);

# As b, then as a with the nth allocation failing, then as b again.
sub attempt
{
	my ($s, $setter, $n) = @_;
	my $pid = session_say($s, "ROLLBACK; SELECT pg_backend_pid();");
	my $b = session_say($s, $as_b->());
	session_say($s, 'BEGIN; SAVEPOINT s;');
	arm($pid, $n);
	session_say($s, "$setter \\g /dev/null");
	my $error = $s->{err} =~ /ERROR:\s+(\w+)/ ? $1 : '';
	my $failed = left() == 0;
	arm(0, 0);
	session_say($s, 'ROLLBACK TO s;') if $error;
	my $seen = session_say($s, $owners);
	my $then = session_say($s, $as_b->());
	note("$n: $b $error $failed $seen $then");
	return ($failed, $b eq 'b' && $then eq 'b' && ($error ? $seen eq '' : $seen eq 'a') ? () : "allocation $n: $error, sees $seen, then $then");
}

my @setters = ([ 'a token', sub { sprintf "SELECT bulwark.authenticate('%s')", token('a') } ],
	[ 'a ticket', sub { "SELECT set_config('bulwark.ticket', '$ticket', true)" } ]);

# A session that has done it before, and new ones, that have everything to load.
for my $case (map { my $new = $_; map { [ @$_, $new ] } @setters } 0, 1)
{
	my ($what, $setter, $new) = @$case;
	my ($n, $failed, @odd) = (0, 1);
	my $s;
	while ($failed && $n < 2000)
	{
		$n++;
		session_end($s) if $s && $new;
		$s = session_start($node, 'app') if !$s || $new;
		($failed, my @seen) = attempt($s, $setter->(), $n);
		push @odd, @seen;
	}
	session_end($s);
	is_deeply(\@odd, [], "I11: out of memory, $what in " . ($new ? 'a new session' : 'a session') . ': the identity or none');
	ok(!$failed && $n > 1, "each allocation was made to fail ($n)");
}

$node->stop;
done_testing();
