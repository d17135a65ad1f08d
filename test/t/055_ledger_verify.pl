# What somebody changes on disk is found and named: L8, L9, L10, L11, L12; what only moves
# rows about is no problem: L6; another's checkpoints and forged proofs: L22, L29; what
# code that runs as the server's user does, and who holds its root key: L31.
use strict;
use warnings;

use Digest::SHA qw(sha256);
use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($major) = `initdb --version` =~ /(\d+)/;
my $node = bulwark_node('verify',
	init => [ extra => [ '--encoding', 'UTF8', '--locale', 'C', $major >= 18 ? '--no-data-checksums' : () ] ],
	conf => "autovacuum = off\nbulwark.ledger_segment_size = 1MB\n");
my $data = $node->data_dir;

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }
sub checkpoint { my ($database) = @_; return $node->safe_psql($database // 'postgres', 'SELECT bulwark.ledger_checkpoint()') =~ s/\n*\z/\n/r; }
sub problems { return sql("SELECT coalesce(leaf_index::text, '-') || ' ' || coalesce(entry_id::text, '-') || ': ' || problem FROM bulwark.ledger_problems()"); }

# A server as it was, with its files changed by a function; what it finds.
sub tampered
{
	my ($pristine, $tamper) = @_;
	$node->stop;
	system_or_bail('rm', '-rf', $data);
	system_or_bail('cp', '-a', $pristine, $data);
	$tamper->();
	$node->start;
	return problems();
}

sub keep
{
	my ($name) = @_;
	my $copy = PostgreSQL::Test::Utils::tempdir . "/$name";
	$node->stop;
	system_or_bail('cp', '-a', $data, $copy);
	$node->start;
	return $copy;
}

sub slurp_binary { my ($file) = @_; open my $fh, '<:raw', $file or die "$file: $!"; local $/; return scalar <$fh>; }

sub rewrite
{
	my ($file, $bytes) = @_;
	open my $fh, '+<:raw', $file or die "$file: $!";
	print $fh $bytes;
	close $fh or die "$file: $!";
	return;
}

# Change the only place where a relation's file has these bytes.
sub replace_bytes
{
	my ($path, $old, $new) = @_;
	my $bytes = slurp_binary("$data/$path");
	my $at = index $bytes, $old;
	die "the bytes are not in $path" if $at < 0;
	die "the bytes are in $path twice" if index($bytes, $old, $at + 1) >= 0;
	substr($bytes, $at, length $new) = $new;
	rewrite("$data/$path", $bytes);
	return;
}

sub flip_in { my ($path, $bytes, $at) = @_; my $new = $bytes; substr($new, $at, 1) ^= "\x40"; return replace_bytes($path, $bytes, $new); }

# Where a row is: its file, the offset of its line pointer and its own bytes' place.
sub locate
{
	my ($row) = @_;
	my ($block, $item) = $row->{ctid} =~ /\((\d+),(\d+)\)/;
	my $page = substr slurp_binary("$data/$row->{path}"), $block * 8192, 8192;
	my $pointer = 24 + 4 * ($item - 1);
	my $value = unpack 'L<', substr $page, $pointer, 4;
	return { page => $block * 8192, pointer => $block * 8192 + $pointer, offset => $block * 8192 + ($value & 0x7fff), length => $value >> 17 };
}

sub patch { my ($row, $at, $bytes) = @_; my $file = slurp_binary("$data/$row->{path}"); substr($file, $at, length $bytes) = $bytes; return rewrite("$data/$row->{path}", $file); }

# Where a row of this length would begin on a page, and its line pointer; nothing if there is no room.
sub room
{
	my ($row, $length, $file) = @_;
	my $page = locate($row)->{page};
	my ($lower, $upper) = unpack 'S<S<', substr $file, $page + 12, 4;
	my $start = $upper - ($length + 7 & ~7);
	return $start < $lower + 4 ? () : ($page, $start, $lower);
}

# A row's bytes once more, in the free space of its page.
sub add_row
{
	my ($row, $tuple) = @_;
	my $file = slurp_binary("$data/$row->{path}");
	my ($page, $start, $lower) = room($row, length $tuple, $file) or die 'no room on the page';
	substr($file, $page + $start, length $tuple) = $tuple;
	substr($file, $page + $lower, 4) = pack 'L<', $start | 1 << 15 | length($tuple) << 17;
	substr($file, $page + 12, 4) = pack 'S<S<', $lower + 4, $start;
	return rewrite("$data/$row->{path}", $file);
}

sub entry
{
	my ($id) = @_;
	my %row;
	$row{id} = $id;
	@row{qw(segment ctid path leaf content leaf_index)} = split /\|/, sql(<<"SQL");
SELECT tableoid::regclass, ctid, pg_relation_filepath(tableoid), encode(leaf, 'hex'), encode(content, 'hex'), bulwark_internal.leaf_index(leaf)
FROM bulwark_internal.ledger_entries WHERE bulwark_internal.leaf_entry_id(leaf) = $id
SQL
	$_ = pack 'H*', $_ for $row{leaf}, $row{content};
	return \%row;
}

# The offset in a leaf of a record's number: 0 incarnation, 1 epoch, 2 id, 3 xid, 4 sequence.
sub number_at { my ($leaf, $n) = @_; my $at = 4; for (1 .. $n) { $at++ while ord(substr $leaf, $at, 1) & 0x80; $at++ } return $at; }

# --- a ledger with a closed segment --------------------------------------------------------
sql(<<'SQL');
CREATE TABLE t (id int PRIMARY KEY, note text);
SELECT bulwark.audit('t');
SQL
my $begun = keep('begun');

sub fill
{
	my ($note) = @_;
	sql("INSERT INTO t SELECT n, '$note ' || n || repeat('.', 300) FROM generate_series(1, 2500) AS n; SELECT bulwark.ledger_seal()");
	# in blocks of their own, however slow the machine is
	for (1 .. 20)
	{
		sql("INSERT INTO t SELECT 10000 + $_ * 10 + n, 'later' FROM generate_series(1, 3) AS n");
		sql('SELECT bulwark.ledger_seal()') if $_ % 5 == 0;
	}
	return;
}
fill('note');
$node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM bulwark_internal.ledger_segments WHERE state = 'indexed')")
	or die 'no segment was closed';
sql('SELECT bulwark.ledger_seal()');
is(problems(), '', 'a whole ledger has no problem');
my $verdict = sql('SELECT ok, integrity, anchoring, pending, problems FROM bulwark.ledger_verify()');
like($verdict, qr/^[tf]\|ok\|not checked\|\d+\|0$/, 'and its integrity is ok');

my $key = sql('SELECT bulwark.ledger_public_key()');
my $checkpoint = checkpoint();
my $kept = PostgreSQL::Test::Utils::tempdir . '/checkpoint';
append_to_file($kept, "$checkpoint\n");
my @online = ('bulwarkctl', 'verify', '--key', $key, '-d', $node->connstr('postgres'));
command_ok([ @online, '--checkpoint', $kept ], 'bulwarkctl verifies it online, against a checkpoint');

# --- L6: rows that move, settings that change ---------------------------------------------------
sql(<<'SQL');
VACUUM FULL bulwark_internal.ledger_segment_1;
VACUUM FULL bulwark_internal.ledger_tiles;
VACUUM FULL bulwark_internal.ledger_blocks;
CLUSTER bulwark_internal.ledger_blocks USING ledger_blocks_pkey;
REINDEX TABLE bulwark_internal.ledger_segment_1;
REINDEX TABLE bulwark_internal.ledger_tiles;
VACUUM bulwark_internal.ledger_shapes;
SQL
is(problems(), '', 'L6: after VACUUM FULL, CLUSTER and REINDEX');
is(sql(<<'SQL'), '', 'L6: under any setting of the session');
SET TimeZone = 'Pacific/Apia';
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'iso_8601';
SET bytea_output = 'escape';
SET extra_float_digits = -15;
SET standard_conforming_strings = off;
SELECT problem FROM bulwark.ledger_problems();
SQL
sql("ALTER DATABASE postgres SET lc_numeric = 'C'; ALTER DATABASE postgres RESET lc_numeric");
command_ok(\@online, 'L6: bulwarkctl too');

# Nothing is sealed from here on that a test did not ask for.
$node->append_conf('postgresql.conf', 'bulwark.max_workers = 0');
my $pristine = keep('pristine');

# --- L8: entries --------------------------------------------------------------------------------
my @ids = split /\n/, sql(<<'SQL');
SELECT bulwark_internal.leaf_entry_id(leaf) FROM bulwark_internal.ledger_segment_1
WHERE bulwark_internal.leaf_action(leaf) = 'insert' ORDER BY bulwark_internal.leaf_index(leaf) LIMIT 200
SQL
my %e = map { $_ => entry($ids[$_]) } 50, 60, 70, 71, 80, 90, 100, 110, 120, 130;
# the second of three entries of a transaction: on the last page, and without a manifest
my $last = sql("SELECT entry_id FROM bulwark.ledger WHERE action = 'insert' ORDER BY leaf_index DESC OFFSET 1 LIMIT 1");
my $roomy = entry($last);
my $index = sql("SELECT pg_relation_filepath('bulwark_internal.ledger_segment_1_1')");

# what L9 is about
my ($blocks, $tiles, $toast, $keys) = split /\|/, sql(<<'SQL');
SELECT pg_relation_filepath('bulwark_internal.ledger_blocks'), pg_relation_filepath('bulwark_internal.ledger_tiles'),
	pg_relation_filepath((SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'bulwark_internal.ledger_tiles'::regclass)),
	pg_relation_filepath('bulwark_internal.ledger_keys')
SQL
my %block = map { my ($n, $header, $runs, $note) = split /\|/; $n => { header => pack('H*', $header), runs => pack('H*', $runs), note => pack('H*', $note) } }
	split /\n/, sql("SELECT block, encode(header, 'hex'), encode(runs, 'hex'), encode(convert_to(checkpoint, 'UTF8'), 'hex') FROM bulwark_internal.ledger_blocks");
my $blocks_n = keys %block;
cmp_ok($blocks_n, '>', 3, 'there are blocks');
my $hash = pack 'H*', sql("SELECT encode(substr(hashes, 32 * 30 + 1, 32), 'hex') FROM bulwark_internal.ledger_tiles WHERE level = 0 AND tile = 3");
my $gone = sql("SELECT ctid FROM bulwark_internal.ledger_blocks WHERE block = 1");
my $public = pack 'H*', sql("SELECT encode(public_key, 'hex') FROM bulwark_internal.ledger_keys WHERE kind = 's'");

my $found = tampered($pristine, sub {
	flip_in($e{50}{path}, $e{50}{leaf}, index $e{50}{leaf}, 'public.t');
	flip_in($e{60}{path}, $e{60}{content}, -1);
	for my $pair ([ 70, 71 ], [ 71, 70 ])
	{
		my $leaf = $e{ $pair->[0] }{leaf};
		my $at = index $leaf, sha256($e{ $pair->[0] }{content});
		die 'no digest' if $at < 0;
		substr($leaf, $at, 32) = sha256($e{ $pair->[1] }{content});
		replace_bytes($e{ $pair->[0] }{path}, $e{ $pair->[0] }{leaf}, $leaf);
	}
	patch($e{80}, locate($e{80})->{pointer}, pack 'L<', 3 << 15);			# dead
	flip_in($e{90}{path}, $e{90}{leaf}, -1);								# its MAC
	patch($e{100}, locate($e{100})->{offset} + 22, "\xff");					# the offset of its data
	patch($e{110}, locate($e{110})->{pointer}, pack 'L<', 8184 | 1 << 15 | 900 << 17);	# beyond the page
	patch($e{120}, locate($e{120})->{offset}, pack 'L<', 0x7ffffff0);		# a transaction that never was:
	patch($e{120}, locate($e{120})->{offset} + 20, pack 'S<', 0x0802);		# nothing vouches for it
});
my %expected = (
	50 => 'its record is not the one that was sealed',
	60 => 'its content is not the one that was recorded',
	70 => 'its record is not the one that was sealed',
	71 => 'its record is not the one that was sealed',
	90 => 'its authentication code is wrong');
for my $id (sort keys %expected)
{
	like($found, qr/^$e{$id}{leaf_index} $ids[$id]: $expected{$id}$/m, "L8: named: $expected{$id}");
}
for my $id (80, 100, 110, 120)
{
	like($found, qr/^$e{$id}{leaf_index} -: its entry is missing$/m, "L8: an entry removed: its leaf is named");
}
my ($block, $item) = $e{100}{ctid} =~ /(\d+),(\d+)/;
like($found, qr/row \($block,$item\) of "ledger_segment_1" is damaged: its header/, 'L8: a row that cannot be taken apart is named');
($block, $item) = $e{110}{ctid} =~ /(\d+),(\d+)/;
like($found, qr/row \($block,$item\) of "ledger_segment_1" is damaged: its line pointer/, 'L8: a line pointer too');
my $named = join '|', '-', @ids[50, 60, 70, 71, 90];
unlike($found, qr/^\S+ (?!(?:$named):)\S+: /m, 'L8: no other entry is');
command_fails(\@online, 'L8: bulwarkctl refuses it');

# a byte by which a text is no UTF-8 is an error of nothing else
$found = tampered($pristine, sub {
	my $leaf = $e{50}{leaf};
	substr($leaf, 1 + index($leaf, 'public.t'), 1) = "\xff";
	replace_bytes($e{50}{path}, $e{50}{leaf}, $leaf);
});
my ($illegible, $its_leaf) = ($e{50}{id}, $e{50}{leaf_index});
like($found, qr/^$its_leaf $illegible: its record is not the one that was sealed$/m, 'L8: a record whose text is no UTF-8 is named');
isnt(sql('SELECT integrity FROM bulwark.ledger_verify()'), 'ok', 'L8: and there is a verdict');
is(sql("SELECT entity_type IS NULL, entity_id IS NOT NULL FROM bulwark.ledger WHERE entry_id = $illegible"), 't|t', 'L8: the view shows what can be shown');
cmp_ok(sql("SELECT count(*) FROM bulwark.ledger_export('csv')"), '>', 200, 'L8: an export tells of all others');
command_checks_all(\@online, 1, [qr/NOT verified/], [qr/^$/], 'L8: bulwarkctl refuses it by name');

# --- L8: an entry doubled, one inserted, an index that hides one ---------------------------------
$found = tampered($pristine, sub {
	my $place = locate($roomy);
	my $tuple = substr slurp_binary("$data/$roomy->{path}"), $place->{offset}, $place->{length};
	add_row($roomy, $tuple);
	my $inserted = $tuple;
	my $at = index($inserted, $roomy->{leaf}) + number_at($roomy->{leaf}, 4);
	substr($inserted, $at, 1) = "\x7e";
	add_row($roomy, $inserted);
	# the item of the index that leads to entry 130 is marked dead
	my $file = slurp_binary("$data/$index");
	my ($b, $i) = $e{130}{ctid} =~ /(\d+),(\d+)/;
	my $key = pack 'S<S<S<S<q<', $b >> 16, $b & 0xffff, $i, 16, $ids[130];
	my $item_at = index $file, $key;
	die 'no such item' if $item_at < 0;
	my $page = $item_at - $item_at % 8192;
	for (my $pointer = $page + 24; $pointer < $page + 8192; $pointer += 4)
	{
		my $value = unpack 'L<', substr $file, $pointer, 4;
		next unless ($value & 0x7fff) == $item_at % 8192;
		substr($file, $pointer, 4) = pack 'L<', $value | 3 << 15;
		last;
	}
	rewrite("$data/$index", $file);
});
like($found, qr/^$roomy->{leaf_index} $last: it is there twice$/m, 'L8: an entry doubled is named');
like($found, qr/^- $last: it is in no block: it was not there when its transaction was sealed$/m, 'L8: so is one inserted');
like($found, qr/^- ${\$ids[130]}: index "ledger_segment_1_1" hides it$/m, 'L8: and one that an index hides');
is(sql('SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count(*) FROM bulwark_internal.ledger_segment_1 WHERE bulwark_internal.leaf_entry_id(leaf) = ' . $ids[130]),
	0, 'which it does');

# --- L9: blocks, signatures, tiles, keys ----------------------------------------------------------
$found = tampered($pristine, sub {
	flip_in($blocks, $block{1}{header}, 120);
	my $at = index($block{2}{note}, "\n\n") + 100;
	my $note = $block{2}{note};
	substr($note, $at, 1) = substr($note, $at, 1) eq 'A' ? 'B' : 'A';
	replace_bytes($blocks, $block{2}{note}, $note);
	flip_in($toast, $hash, 5);
});
like($found, qr/block 1: its checkpoint says something else than its header/, 'L9: a header edited');
like($found, qr/block 2 does not follow the header before it/, 'L9: breaks the chain');
like($found, qr/block 2: the signature of its checkpoint is wrong/, 'L9: a signature edited');
like($found, qr/tile 3 of the tree does not have the root that the level above has/, 'L9: a tile edited');
my $leaf = 3 * 256 + 30;
like($found, qr/^$leaf \d+: its record is not the one that was sealed$/m, 'L9: and the leaf that it changes');

$found = tampered($pristine, sub { my $row = { path => $blocks, ctid => $gone }; patch($row, locate($row)->{pointer}, pack 'L<', 3 << 15); });
like($found, qr/: block 1 is missing$/m, 'L9: a block removed');

$found = tampered($pristine, sub { replace_bytes($keys, $public, random_bytes(32)); });
like($found, qr/$blocks_n checkpoints are not signed by the log's key, the first is that of block 0/, 'L9: the public key replaced');
command_ok(\@online, 'L9: whoever pins the key is not misled');
command_fails([ 'bulwarkctl', 'verify', '--unpinned', '-d', $node->connstr('postgres') ], 'L9: whoever does not is refused');

# --- L10: the newest entries gone, by an older copy of everything -------------------------------------
sub anchoring
{
	my ($note, $vkey) = @_;
	return sql("SELECT anchoring FROM bulwark.ledger_verify(\$note\$$note\$note\$, '$vkey')");
}
is(tampered($pristine, sub { $node->adjust_conf('postgresql.conf', 'bulwark.max_workers', '4'); }), '', 'as it was');
my $old = keep('old');
my $out = PostgreSQL::Test::Utils::tempdir . '/out';
mkdir $out or die $!;
my @out = ('bulwarkctl', 'checkpoint', '--out', $out, '--key', $key, '-d', $node->connstr('postgres'));
command_ok(\@out, 'a checkpoint is kept outside');
sql("INSERT INTO t SELECT n, 'newest' FROM generate_series(20001, 20050) AS n; SELECT bulwark.ledger_seal()");
command_ok(\@out, 'and another, which continues it');
my $newest = checkpoint();
append_to_file("$kept.newest", $newest);
is(anchoring($newest, $key), 'ok', 'the ledger is anchored to it');

is(tampered($old, sub { }), '', 'L10: an old copy is whole in itself');
like(anchoring($newest, $key), qr/^entries are missing: the checkpoint is of \d+ leaves, the ledger has \d+$/, 'L10: but not against a checkpoint');
command_checks_all([ @online, '--checkpoint', "$kept.newest" ], 1, [qr/entries are missing/], [qr/^$/], 'L10: bulwarkctl says so too');
command_checks_all(\@out, 1, [qr/^$/], [qr/the ledger has gone backwards/], 'L10: and keeps no such checkpoint');

sql("INSERT INTO t SELECT n, 'another history' FROM generate_series(20001, 20100) AS n; SELECT bulwark.ledger_seal()");
is(problems(), '', 'L29: another history is whole in itself');
like(anchoring($newest, $key), qr/^equivocation: the first \d+ leaves are not those of the checkpoint$/, 'L29: equivocation is named');
command_checks_all([ @online, '--checkpoint', "$kept.newest" ], 1, [qr/equivocation: the first \d+ leaves/], [qr/^$/], 'L29: by bulwarkctl too');
command_checks_all(\@out, 1, [qr/^$/], [qr/equivocation: the ledger of \d+ leaves does not continue/], 'L29: which keeps no such checkpoint');
is(anchoring($checkpoint, $key), 'ok', 'L29: a checkpoint from before the fork holds');

# The same leaves, sealed in another block: what is not sealed yet is, in two copies.
$node->adjust_conf('postgresql.conf', 'bulwark.max_workers', '0');
$node->restart;
sql("INSERT INTO t SELECT n, 'in two blocks' FROM generate_series(30001, 30050) AS n");
my $twice = keep('twice');
my @twins = map {
	$node->stop;
	system_or_bail('rm', '-rf', $data);
	system_or_bail('cp', '-a', $twice, $data);
	$node->adjust_conf('postgresql.conf', 'bulwark.max_workers', '4');
	$node->start;
	$node->poll_query_until('postgres', 'SELECT pending = 0 FROM bulwark.ledger_status()') or die 'it is not sealed';
	checkpoint();
} 1, 2;
is((split /\n/, $twins[0])[$_], (split /\n/, $twins[1])[$_], "L29: the same leaves, sealed twice: line $_") for 1, 2;
isnt((split /\n/, $twins[0])[3], (split /\n/, $twins[1])[3], 'L29: in blocks with other headers');
append_to_file("$kept.twin$_", $twins[$_]) for 0, 1;
is(anchoring($twins[1], $key), 'ok', 'L29: its own checkpoint holds');
like(anchoring($twins[0], $key), qr/^equivocation: block \d+ is not the one of the checkpoint$/, 'L29: the one of the other block does not');
command_checks_all([ @online, '--checkpoint', "$kept.twin0" ], 1, [qr/equivocation: block \d+ is not the one of the checkpoint/], [qr/^$/], 'L29: nor for bulwarkctl');
command_ok([ @online, '--checkpoint', "$kept.twin1" ], 'L29: which takes its own');

# --- L29: another database's -----------------------------------------------------------------------------
sql('CREATE DATABASE other');
bulwark_create($node, 'other');
$node->safe_psql('other', "CREATE TABLE t (id int); SELECT bulwark.audit('t'); INSERT INTO t VALUES (1); SELECT bulwark.ledger_seal()");
my $other_key = $node->safe_psql('other', 'SELECT bulwark.ledger_public_key()');
my $other_note = checkpoint('other');
like(anchoring($other_note, $other_key), qr/^the checkpoint is one of another log/, 'L29: a checkpoint of another database');
is(anchoring($other_note, $key), 'the checkpoint is not signed by this key', 'L29: under the key of this one');
(my $forged = $newest) =~ s/^(\d+)$/$1 + 1/me;
is(anchoring($forged, $key), 'the signature of the checkpoint is wrong', 'L29: a checkpoint edited');
command_checks_all([ 'bulwarkctl', 'verify', '--key', $other_key, '-d', $node->connstr('postgres') ], 1, [qr/another log/], [qr/^$/], 'L29: a key of another log');

# --- L22: proofs -------------------------------------------------------------------------------------------
my $proof = sql("SELECT bulwark.ledger_proof($ids[50])");
my $proof_file = PostgreSQL::Test::Utils::tempdir . '/proof.json';
append_to_file($proof_file, $proof);
command_like([ 'bulwarkctl', 'verify', '--proof', '--key', $key, $proof_file ], qr/^verified: entry ${\$ids[50]} \(insert of public\.t by \S+\) is in the tree/, 'L22: a proof holds');
command_fails([ 'bulwarkctl', 'verify', '--proof', '--key', $other_key, $proof_file ], 'L22: not under another key');
(my $moved = $proof) =~ s/"leaf_index": (\d+)/'"leaf_index": ' . ($1 + 1)/e;
append_to_file("$proof_file.moved", $moved);
command_checks_all([ 'bulwarkctl', 'verify', '--proof', '--key', $key, "$proof_file.moved" ], 1, [qr/its leaf is not under the root that was signed/], [qr/^$/], 'L22: nor of another place');

# --- L12: entries removed from the beginning on, and a whole segment, without a certificate ----------------
my $first = $e{50}{path};
my $whole = sql("SELECT count(*) FROM bulwark_internal.ledger_segment_1");
$found = tampered($pristine, sub { my $file = slurp_binary("$data/$first"); substr($file, 0, 8192 * 3) = "\0" x (8192 * 3); rewrite("$data/$first", $file); });
like($found, qr/^0 -: \d+ entries are missing from here on$/m, 'L12: the oldest entries removed');
command_fails(\@online, 'L12: bulwarkctl refuses what is left');
$found = tampered($pristine, sub { truncate "$data/$first", 0 or die $!; });
like($found, qr/^0 -: $whole entries are missing from here on$/m, 'L12: a segment emptied');
command_fails(\@online, 'L12: without that one, too');

# --- L11: what is not sealed yet -----------------------------------------------------------------------------
is(tampered($pristine, sub { }), '', 'as it was');
sub pending
{
	my ($k) = @_;
	return [ map { entry($_) } split /\n/, sql(<<"SQL") ];
INSERT INTO t SELECT 30000 + $k * 10 + n, 'pending' FROM generate_series(1, 4) AS n;
SELECT entry_id FROM bulwark.ledger WHERE entity_type = 'public.t' AND entity_id LIKE '300${k}_' ORDER BY entity_id
SQL
}
my @pending = map { pending($_) } 1 .. 4;
# the one that is copied is on a page that has room for the copy
for (5 .. 9)
{
	$pending[4] = pending($_);
	sql('CHECKPOINT');
	last if room($pending[4][1], locate($pending[4][1])->{length}, slurp_binary("$data/$pending[4][1]{path}"));
}
sub xid_of { my ($leaf) = @_; my $at = number_at($leaf, 3); return ($at, number_at($leaf, 4) - $at); }
is(problems(), '', 'what waits is no problem');
my $unsealed = keep('unsealed');
my ($edited, $lost, $cut, $moved_away, $copied) = @pending;
$found = tampered($unsealed, sub {
	flip_in($edited->[1]{path}, $edited->[1]{leaf}, index $edited->[1]{leaf}, 'public.t');
	patch($lost->[1], locate($lost->[1])->{pointer}, pack 'L<', 3 << 15);
	patch($cut->[3], locate($cut->[3])->{pointer}, pack 'L<', 3 << 15);
	my ($leaf, $other) = ($moved_away->[1]{leaf}, $copied->[1]{leaf});
	my ($from, $from_length) = xid_of($leaf);
	my ($to, $to_length) = xid_of($other);
	substr($leaf, $from, $from_length) = substr($other, $to, $to_length);
	replace_bytes($moved_away->[1]{path}, $moved_away->[1]{leaf}, $leaf);
	my $place = locate($copied->[1]);
	add_row($copied->[1], substr slurp_binary("$data/$copied->[1]{path}"), $place->{offset}, $place->{length});
});
my %id = (edited => $edited->[1]{id}, moved => $moved_away->[1]{id}, copied => $copied->[1]{id});
like($found, qr/^- $id{edited}: its authentication code is wrong$/m, 'L11: an entry edited before it is sealed is named');
like($found, qr/^- $edited->[3]{id}: its manifest is not that of its transaction$/m, 'L11: so is the manifest that it breaks');
like($found, qr/^- -: transaction \d+, not sealed yet: entries 2 to 2 of it are missing$/m, 'L11: one removed');
like($found, qr/^- -: transaction \d+, not sealed yet: its last entries are missing, with its manifest$/m, 'L11: the last one removed');
like($found, qr/^- $id{moved}: its authentication code is wrong$/m, 'L11: one moved to another transaction');
like($found, qr/^- $id{copied}: it is there twice$/m, 'L11: one copied');
$node->adjust_conf('postgresql.conf', 'bulwark.max_workers', '4');
$node->reload;
sql('SELECT bulwark.ledger_seal()');
$found = problems();
for my $what ("$id{edited}: found when it was to be sealed: an entry does not bear the ledger's MAC",
	"$id{moved}: found when it was to be sealed: an entry does not bear the ledger's MAC",
	"$id{copied}: found when it was to be sealed: an entry is there twice",
	"$lost->[2]{id}: found when it was to be sealed: entries of a transaction are missing",
	'-: found when it was to be sealed: the last entries of a transaction, with its manifest, are missing')
{
	like($found, qr/^- \Q$what\E$/m, "L11: the sealer says so for good: $what");
}

# --- what tells of coverage ----------------------------------------------------------------------------------
is(tampered($pristine, sub { }), '', 'as it was');
my $told = entry(sql("SELECT entry_id FROM bulwark.ledger WHERE entity_type = 'public.t' AND 'audit' IN (metadata->>'change', metadata->>'operation')"));
tampered($pristine, sub { flip_in($told->{path}, $told->{content}, index $told->{content}, '{') });
like(sql('SELECT ok, integrity, coverage FROM bulwark.ledger_verify()'),
	qr/^f\|.*its content is not the one that was recorded\|could not be looked for to the end: invalid input syntax/, 'L8: the entry that says what is audited, damaged');

# --- what says where the rest is -----------------------------------------------------------------------------
# a row of a transaction of which the server knows nothing
for my $damage ([ 'ledger_segments', qr/the ledger could not be read to the end/ ],
	[ 'ledger_segment_1', qr/page 0 of "ledger_segment_1" cannot be read: .*\|could not be looked for to the end/ ])
{
	my ($table, $told) = @$damage;
	is(tampered($pristine, sub { }), '', 'as it was');
	my %row;
	@row{qw(ctid path)} = split /\|/, sql("SELECT ctid, pg_relation_filepath('bulwark_internal.$table') FROM bulwark_internal.$table LIMIT 1");
	sql('CHECKPOINT');
	$node->stop;
	my $at = locate(\%row)->{offset};
	my $flags = unpack 'S<', substr slurp_binary("$data/$row{path}"), $at + 20, 2;
	patch(\%row, $at, pack 'L<', 0xc0000000);
	patch(\%row, $at + 20, pack 'S<', $flags & ~0x0300);	# nor whether it has committed
	$node->start;
	like(sql('SELECT ok, integrity, coverage FROM bulwark.ledger_verify()'), qr/^f\|.*$told: could not access status of transaction 3221225472/,
		"L8: $table damaged so that the server cannot read it: ledger_verify() says so");
}

# --- L31: code that runs as the server's user ------------------------------------------------------------------
is(tampered($pristine, sub { }), '', 'as it was');
sql('CREATE EXTENSION pg_surgery');
for my $row ([ 'a closed segment', $e{50} ], [ 'the active one', $roomy ])
{
	my ($where, $entry) = @$row;
	sql("SELECT heap_force_kill('$entry->{segment}', ARRAY['$entry->{ctid}'::tid])");
	like(problems(), qr/^$entry->{leaf_index} -: its entry is missing$/m, "L31: an entry of $where removed by pg_surgery: its leaf is named");
}
command_fails(\@online, 'L31: bulwarkctl refuses what is left');

is(tampered($pristine, sub { }), '', 'as it was');
my $struck = $e{60};
sql('CHECKPOINT');
my $heap = slurp_binary("$data/$struck->{path}");
my $seek = index($heap, $struck->{content}) + length($struck->{content}) - 1;
my $octal = sprintf '\\%03o', ord(substr $heap, $seek, 1) ^ 0x40;
sql("COPY (SELECT) TO PROGRAM \$\$printf '$octal' | dd of=$struck->{path} bs=1 seek=$seek conv=notrunc\$\$");
$node->restart;
like(problems(), qr/^$struck->{leaf_index} $struck->{id}: its content is not the one that was recorded$/m, 'L31: a byte that COPY TO PROGRAM wrote');

# the whole history told anew, with the keys of the log: nothing in the server knows better
is(tampered($begun, sub { }), '', 'the log when it had begun');
fill('another note');
sql("INSERT INTO t SELECT 50000 + n, 'more' FROM generate_series(1, 100) AS n; SELECT bulwark.ledger_seal()");
is(problems(), '', 'L31: a history that is signed anew is whole in itself');
command_ok(\@online, 'L31: and bears the signature of the key that is pinned');
like(anchoring($checkpoint, $key), qr/^equivocation: the first \d+ leaves are not those of the checkpoint$/, 'L31: a checkpoint that was kept tells');
command_checks_all([ @online, '--checkpoint', $kept ], 1, [qr/equivocation: the first \d+ leaves/], [qr/^$/], 'L31: and bulwarkctl with it');

# a log begun anew, with the same root key and data, is another log
sql('CREATE DATABASE again');
bulwark_create($node, 'again');
$node->safe_psql('again', "CREATE TABLE t (id int PRIMARY KEY, note text); SELECT bulwark.audit('t');
	INSERT INTO t SELECT n, 'note ' || n FROM generate_series(1, 3000) AS n; SELECT bulwark.ledger_seal()");
my @again = ('bulwarkctl', 'verify', '-d', $node->connstr('again'), '--checkpoint', $kept);
is($node->safe_psql('again', 'SELECT integrity FROM bulwark.ledger_verify()'), 'ok', 'L31: a log begun anew is whole in itself');
command_checks_all([ @again, '--key', $key ], 1, [qr/another log/], [qr/^$/], 'L31: but neither that of the key');
command_checks_all([ @again, '--key', $node->safe_psql('again', 'SELECT bulwark.ledger_public_key()') ], 1, [qr/another log/], [qr/^$/],
	'L31: nor that of the checkpoint');

$node->stop;
done_testing();
