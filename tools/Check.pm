# What the checks share: TAP lines, the project's files, a live database.
package Check;

use strict;
use warnings;
use Exporter 'import';
use FindBin;

our @EXPORT = qw(rule files slurp sql_parts query);

our $top = "$FindBin::RealBin/..";
chdir $top or die "$top: $!\n";

my $failed = 0;
my $rules = 0;

# One rule: it holds when nothing breaks it.
sub rule
{
	my ($name, @broken) = @_;
	$rules++;
	$failed++ if @broken;
	print @broken ? 'not ok' : 'ok', " - $name\n";
	print "#   $_\n" foreach @broken;
	return;
}

# The project's files whose path matches; what git ignores is not among them.
sub files
{
	my ($pattern) = @_;
	open my $list, '-|', 'bash', '-c', '. tools/lib.sh && project_files' or die "project_files: $!\n";
	local $/ = "\0";
	my @files = <$list>;
	chomp @files;
	return sort grep { $_ =~ $pattern } @files;
}

sub slurp
{
	my ($file) = @_;
	open my $fh, '<', $file or die "$file: $!\n";
	local $/;
	return scalar <$fh>;
}

# The install script's parts, in the Makefile's order, without comments.
sub sql_parts
{
	my ($list) = slurp('Makefile') =~ /^SQL_PARTS\s*=((?:.*\\\n)*.*)/m
		or die "the Makefile names no SQL_PARTS\n";
	my @parts;
	foreach my $file ($list =~ /(\S+\.sql)/g)
	{
		(my $text = slurp($file)) =~ s/--.*$//mg;
		push @parts, [ $file, $text ];
	}
	return @parts;
}

# Rows of a query, each a reference to its columns; the connection is libpq's
# default and has the extension.
sub query
{
	my ($sql, $database) = @_;
	open my $psql, '-|', 'psql', '-XqAt', '-F', "\t", '-v', 'ON_ERROR_STOP=1',
		'-d', $database // $ENV{PGDATABASE} // 'postgres', '-c', $sql
		or die "psql: $!\n";
	my @rows;
	while (my $line = <$psql>)
	{
		chomp $line;
		push @rows, [ split /\t/, $line, -1 ];
	}
	close $psql or die "psql failed\n";
	return @rows;
}

# Exit status 1 says that a rule is broken; anything else that a check is.
END { $? = $? || !$rules ? 2 : $failed ? 1 : 0 }

1;
