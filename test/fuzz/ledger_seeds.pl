#!/usr/bin/perl
# Seeds for the ledger's fuzzers: ledger_seeds.pl DIR writes records, contents, blocks
# and the like into DIR/record/seeds, notes and keys into DIR/note/seeds, exports and
# proofs into DIR/export/seeds: whole ones, so that mutations start behind the first
# refusals.
use strict;
use warnings;
use Digest::SHA qw(sha256);
use MIME::Base64 qw(encode_base64);

my $dir = shift or die "usage: ledger_seeds.pl DIR\n";
my %n;

sub seed
{
	my ($target, $bytes) = @_;
	my $file = sprintf '%s/%s/seeds/%03d', $dir, $target, $n{$target}++;
	open my $fh, '>:raw', $file or die "$file: $!\n";
	print $fh $bytes;
	close $fh or die "$file: $!\n";
	return $bytes;
}

sub varint { my ($v) = @_; return $v < 128 ? chr $v : chr($v & 127 | 128) . varint($v >> 7); }
sub string { my ($s) = @_; return varint(length $s) . $s; }
sub b64 { my ($s) = @_; return encode_base64($s, ''); }

my $log = "\0" x 6 . "\x40\0\x80" . "\0" x 7;
my $origin = 'bulwark/00000000-0000-4000-8000-000000000000';

# --- records, contents, shapes, images, blocks ---------------------------------------------
my $shape = chr(1) . string('public.t') . varint(16384) . varint(13) . join '', map { string("c$_") . string('text') . chr($_) . varint($_ + 1) } 0 .. 12;
my $shape_id = substr sha256($shape), 0, 16;
my %width = (1 => 1, 2 => 2, 3 => 4, 4 => 8, 5 => 4, 6 => 8, 7 => 16, 10 => 4, 11 => 8, 12 => 8);
my $image = varint(13) . join '', map { chr(1) . string('v' x ($width{$_} // 5)) } 0 .. 12;
my $kinds = varint(7) . chr(0) . chr(1) . string('x') . chr(2) . chr(3) . chr(4) . chr(5) . 'd' x 40 . chr(6) . string('sealed');
my $content = "\1\0" . 's' x 16 . "\1\0" . string('42') . "\2\0" . string('ann@example.org') . "\3\0" . string('i' x 16)
  . "\4\0" . string(pack 'q>', 1) . "\5\1" . string('d' x 40) . "\x09\0" . string('{"erased":[[1,2,"' . 'e3' x 32 . '"]]}') . "\x0a\0" . string($shape_id)
  . "\x0b\2" . string('sealed') . "\x0c\0" . string($image);
my @records = map {
	my ($flags, $action, $tail) = @$_;
	pack('CCCC', 1, $flags, $action, 3) . varint(1) . varint(1) . varint(7) . varint(1000) . varint(1) . pack('q>', 1_700_000_000_000_000)
	  . sha256($content) . ($flags & 1 ? 'a' x 16 : '') . ($flags & 2 ? 't' x 16 : '') . ($flags & 4 ? string('north') : '')
	  . string('shop') . ($flags & 16 ? string('backend') : '') . ($action ? '' : string('app:login')) . string('public.t') . $tail
} [ 0x40, 1, '' ], [ 0x0f, 2, '' ], [ 0x1b, 0, '' ], [ 0x27, 10, varint(1) . varint(3) . 'c' x 32 ];
seed('record', $_) for @records, $content, $shape, $image, $kinds, '';

sub header
{
	my ($number, $first, $size, $root, $before, $runs, @xip) = @_;
	return chr(1) . $log . pack('N Q> Q> Q>', 1, $number, $first, $size) . $root . $before
	  . pack('q> Q> N Q> Q> N', 1_700_000_000_000_000, 7, 1, $xip[0] // 2000, 2000, scalar @xip) . pack('Q>*', @xip) . sha256($runs);
}
my $runs = varint(2) . varint(1000) . varint(1) . varint(5) . varint(3);
seed('record', $runs);
seed('record', header(0, 0, 4, 'r' x 32, "\0" x 32, $runs, 1500, 1600, 1700));

# --- notes and keys --------------------------------------------------------------------------
my $key = "\1" . "\1" . "\0" x 31;
my $hash = substr sha256("$origin\n$key"), 0, 4;
seed('note', "$origin+" . unpack('H*', $hash) . '+' . b64($key));
sub note { my ($text) = @_; return "$text\n\xe2\x80\x94 $origin " . b64($hash . 's' x 64) . "\n"; }
sub checkpoint { my ($size, $root, $number, $header) = @_; return "$origin\n$size\n" . b64($root) . "\nblock $number " . b64(sha256($header)) . "\n"; }
seed('note', checkpoint(4, 'r' x 32, 0, 'header'));
seed('note', note(checkpoint(4, 'r' x 32, 0, 'header')));
seed('note', note(checkpoint(4, 'r' x 32, 0, 'header')) . "\xe2\x80\x94 witness " . b64('w' x 80) . "\n");
seed('note', note("$origin\n0\n" . b64('r' x 32) . "\nextension\n"));

# --- exports and proofs ------------------------------------------------------------------------
my $leaf = $log . $records[0];
my $one = varint(1) . varint(1000) . varint(1);
my $root = sha256("\0$leaf");
my $head = header(0, 0, 1, $root, "\0" x 32, $one);
my $first = qq({"type":"log","version":1,"log_id":"00000000-0000-4000-8000-000000000000","origin":"$origin","keys":[],"tree_size":%d,"incarnations":[{}]}\n);
(my $note = note(checkpoint(1, $root, 0, $head))) =~ s/\n/\\n/g;
my $block = sprintf qq({"type":"block","block":0,"header":"%s","runs":"%s","checkpoint":"%s"}\n), b64($head), b64($one), $note;
my $shape_line = sprintf qq({"type":"shape","shape_id":"%s","shape":"%s"}\n), b64($shape_id), b64($shape);
my $fields = '{"entry_id":7,"leaf_index":0,"occurred_at":"2023-11-14T22:13:20+00:00","source":"system","action":"insert","db_role":"shop","entity_type":"public.t","entity_id":"42"}';
my $entry = sprintf qq({"type":"entry","leaf_index":0,"leaf":"%s","content":"%s","fields":%s}\n), b64($leaf), b64($content), $fields;
my $skip = sprintf qq({"type":"skip","leaf_index":0,"count":1,"nodes":["%s"]}\n), b64($root);
my $end = qq({"type":"end","tree_size":%d,"entries":%d,"skipped":%d,"pending":0}\n);
seed('export', sprintf($first, 0) . sprintf($end, 0, 0, 0));
seed('export', sprintf($first, 1) . $shape_line . $block . $entry . sprintf($end, 1, 1, 0));
seed('export', sprintf($first, 1) . $block . $skip . sprintf($end, 1, 0, 1));
seed('export', sprintf($first, 2) . $skip . $block . sprintf($end, 2, 0, 1));
seed('export', sprintf '{"version":1,"origin":"%s","old_size":3,"new_size":7,"path":["%s","%s","%s","%s"]}', $origin, map { b64($_ x 32) } qw(a b c d));
seed('export', $_) for '{"type":"x\u00e4\ud83d\udd11\n"}', '[1,-2.5e+3,true,false,null,"",{},[]]', '{' x 70;
