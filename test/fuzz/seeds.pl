#!/usr/bin/perl
# Seeds for the token fuzzer: seeds.pl DIR writes tokens and JSON that reach every
# branch of the parser, so that mutations start behind the first refusals.
use strict;
use warnings;
use MIME::Base64 qw(encode_base64url);

my $dir = shift or die "usage: seeds.pl DIR\n";
my $n = 0;

sub seed
{
	my $file = sprintf '%s/%03d', $dir, $n++;
	open my $fh, '>:raw', $file or die "$file: $!\n";
	print $fh @_;
	close $fh or die "$file: $!\n";
}

my @headers = map { qq({"alg":"$_","kid":"k1","typ":"JWT"}) }
  qw(RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA HS256 HS384 HS512 none);
push @headers, map { qq({"alg":"ES256",$_}) }
  '"crit":["b64"],"b64":false', '"enc":"A256GCM"', '"zip":"DEF"', '"jku":"https://x/"', '"jwk":{"kty":"EC"}',
  '"x5c":["MIIB"]', '"x5u":"https://x/"', '"kid":1', '"typ":null', '"\u0061lg":"none"', '"kid":"' . 'k' x 256 . '"';

my $claims = '{"iss":"https://idp.example/","sub":"ann","aud":["a","b"],"exp":1893456000,"nbf":1.5e9,"iat":0.5,'
  . '"tenant":"acme","scope":"orders:read","cnf":{"jkt":"x"},"act":{},"events":{},"nonce":"n"}';
my @claims = (
	$claims, '{}', '[]', '""', '{"a":1,"a":2}', '{"a":{"b":1,"\u0062":2}}', '{"x":1e400}', '{"x":1e-400}', '{"x":-0}', '{"x":"\u0000"}',
	'{"x":"\ud83e\udd89"}', '{"x":"\ud800"}', "{\"x\":\"\xc3\xa4\"}", "{\"x\":\"\xff\"}", "{\"x\":\"\xed\xa0\x80\"}", "{\"x\":\"\0\"}",
	'{"x":[1,"a",null,true,false,{},[]]}', '{"x":' . '[' x 15 . ']' x 15 . '}', '{"x":' . '[' x 17 . ']' x 17 . '}', '[' x 200,
	'{"a":' x 200, '{' . join(',', map { qq("k$_":$_) } 1 .. 200) . '}', '{"x":[' . join(',', map { qq("s$_") } 1 .. 40) . ']}',
	'{"x":"\\', '{"x":"\u12', '{"x":tru', '{"x":01}', '{"x":"a"}}', " {\n\t\"x\"\r:1 } ");

seed($_) for @headers, @claims;
seed(join '.', encode_base64url($headers[$_ % @headers]), encode_base64url($claims[$_ % @claims]), encode_base64url('s' x (32 + $_)))
  for 0 .. 40;
seed($_) for '', '.', '..', '...', 'a.b.c', 'AA.AA.AA', 'AB.AA.AA', 'AA=.AA.AA', 'A' x 16385, "\xef\xbb\xbf{}";
seed(pack('C a8 a16 Q> n/a n/a', 1, 'rootkey0', 'p' x 16, 1, 'login', 'orders:read'));
seed('bwt1.' . encode_base64url(pack('C a16 Q> n/a n/a', 1, 'p' x 16, 1, 'login', 'orders:read')));
