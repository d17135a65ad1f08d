#!/usr/bin/perl
# Turns the published JSON vectors into lines of words for vectors.c: hex values,
# "-" for an empty one.  A file that is not there becomes a line that says so.
use strict;
use warnings;
use JSON::PP;

my ($dir) = @ARGV;
die "usage: lines.pl DIRECTORY\n" unless defined $dir;

sub vectors
{
	my ($file, $emit) = @_;
	my $path = "$dir/$file";
	unless (-e $path)
	{
		print "absent $file\n";
		return;
	}
	open my $fh, '<', $path or die "$path: $!\n";
	local $/;
	$emit->(decode_json(<$fh>));
	return;
}

sub line { print join(' ', map { length $_ ? $_ : '-' } @_), "\n"; return }

sub each_test
{
	my ($json, $emit) = @_;
	for my $group (@{ $json->{testGroups} })
	{
		$emit->($group, $_) for @{ $group->{tests} };
	}
	return;
}

vectors('hkdf_sha256_test.json', sub {
	each_test(shift, sub {
		my ($group, $t) = @_;
		line('hkdf', $t->{tcId}, $t->{result}, $t->{ikm}, $t->{salt}, $t->{info}, $t->{size}, $t->{okm});
	});
});
vectors('hmac_sha256_test.json', sub {
	each_test(shift, sub {
		my ($group, $t) = @_;
		line('hmac', $t->{tcId}, $t->{result}, $t->{key}, $t->{msg}, $t->{tag});
	});
});
vectors('xaes_256_gcm.json', sub {
	my ($json) = @_;
	my $id = 0;
	line('xaes', ++$id, $_->{key}, (map { unpack 'H*', $_ } @$_{qw(nonce_ascii aad_ascii plaintext_ascii)}),
		$_->{ciphertext_and_tag}) for @{ $json->{tests} };
	line('xaes-accumulated', 10000, $json->{accumulated}{iterations_10000});
});
# Those of the sizes that we use; others cannot be asked for.
for my $cipher ([ 'gcm', 'aes_gcm_test.json', 96 ], [ 'xchacha', 'xchacha20_poly1305_test.json', 192 ])
{
	my ($name, $file, $iv) = @$cipher;
	vectors($file, sub {
		each_test(shift, sub {
			my ($group, $t) = @_;
			return unless $group->{keySize} == 256 && $group->{ivSize} == $iv && $group->{tagSize} == 128;
			line($name, $t->{tcId}, $t->{result}, @$t{qw(key iv aad msg)}, $t->{ct} . $t->{tag});
		});
	});
}
