-- jws_verify: compact JWS against keys from the RFCs, and every way in which a
-- token or a key must be refused.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS bulwark;
RESET client_min_messages;
CREATE SCHEMA jws_test;
SET search_path = jws_test;

-- Keys: RFC 7515 A.2 (RSA) and A.3 (EC), RFC 8037 A.2 (Ed25519).
CREATE TABLE keys (name text PRIMARY KEY, jwk jsonb);
INSERT INTO keys VALUES
	('rsa', '{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}'),
	('ec', '{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}'),
	('okp', '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}');
CREATE TABLE tokens (name text PRIMARY KEY, token text);
INSERT INTO tokens VALUES
	('rsa', 'eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw'),
	('ec', 'eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q'),
	('okp', 'eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg');

SELECT name, convert_from(bulwark.jws_verify(token, jwk, '{RS256,ES256,EdDSA}'), 'UTF8') AS payload
	FROM tokens JOIN keys USING (name) ORDER BY name;
-- a set: without a kid, the only key that fits the algorithm
SELECT name, length(bulwark.jws_verify(token, (SELECT jsonb_build_object('keys', jsonb_agg(jwk)) FROM keys), '{RS256,ES256,EdDSA}'))
	FROM tokens ORDER BY name;

CREATE FUNCTION sqlstate_of(token text, jwks jsonb, algorithms text[]) RETURNS text
	LANGUAGE plpgsql AS $$
BEGIN
	PERFORM bulwark.jws_verify(token, jwks, algorithms);
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END $$;
CREATE FUNCTION b64(b bytea) RETURNS text IMMUTABLE LANGUAGE sql AS
	$$ SELECT translate(encode(b, 'base64'), E'+/=\n', '-_') $$;

-- HS256 in SQL, so that a key made here can sign what an attacker may send.
CREATE FUNCTION hmac(key bytea, message bytea) RETURNS bytea IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE
	ipad bytea := decode(repeat('36', 64), 'hex');
	opad bytea := decode(repeat('5c', 64), 'hex');
BEGIN
	FOR i IN 0 .. length(key) - 1 LOOP
		ipad := set_byte(ipad, i, get_byte(key, i) # 54);
		opad := set_byte(opad, i, get_byte(key, i) # 92);
	END LOOP;
	RETURN sha256(opad || sha256(ipad || message));
END $$;
CREATE TABLE secret AS SELECT sha256(gen_random_uuid()::text::bytea) AS key;
CREATE FUNCTION oct() RETURNS jsonb STABLE LANGUAGE sql AS
	$$ SELECT jsonb_build_object('kty', 'oct', 'k', b64(key)) FROM secret $$;
CREATE FUNCTION sign(header bytea, payload bytea) RETURNS text STABLE LANGUAGE sql AS $$
	SELECT input || '.' || b64(hmac(key, input::bytea))
	FROM secret, LATERAL (SELECT b64(header) || '.' || b64(payload)) AS i (input)
$$;
CREATE FUNCTION signed(header text) RETURNS text STABLE LANGUAGE sql AS
	$$ SELECT sign(convert_to(header, 'UTF8'), '{}') $$;

SELECT convert_from(bulwark.jws_verify(sign('{"alg":"HS256"}', 'any bytes'), oct(), '{HS256}'), 'UTF8');
SELECT length(bulwark.jws_verify(sign('{"alg":"HS256"}', ''), oct(), '{HS256}')) AS empty_payload;
SELECT bulwark.jws_verify(NULL, oct(), '{HS256}') IS NULL AS strict;

-- I3: the algorithm is one that is allowed and that the key is for
SELECT title, sqlstate_of(token, jwks, algorithms) FROM (VALUES
	(1, 'I3: alg not among those allowed', signed('{"alg":"HS256"}'), oct(), '{HS512,EdDSA}'::text[]),
	(2, 'I3: alg none', b64('{"alg":"none"}') || '.' || b64('{}') || '.', oct(), '{HS256}'),
	(3, 'I3: alg nOnE', b64('{"alg":"nOnE"}') || '.' || b64('{}') || '.', oct(), '{HS256}'),
	(4, 'I3: alg none, named', b64('{"alg":"none"}') || '.' || b64('{}') || '.', oct(), '{none}'),
	(5, 'I3: alg none, signed', signed('{"alg":"none"}'), oct(), '{HS256}'),
	(6, 'I3: alg in another case', signed('{"alg":"hs256"}'), oct(), '{HS256}'),
	(7, 'I3: alg of another digest', signed('{"alg":"HS512"}'), oct(), '{HS256,HS512}'),
	(8, 'I3: alg missing', signed('{}'), oct(), '{HS256}'),
	(9, 'I3: alg not a string', signed('{"alg":["HS256"]}'), oct(), '{HS256}'),
	(10, 'I3: HS256 against a public key', signed('{"alg":"HS256"}'), (SELECT jwk FROM keys WHERE name = 'rsa'), '{HS256,RS256}'),
	(11, 'I3: key for another algorithm', signed('{"alg":"HS256"}'), oct() || '{"alg":"HS384"}', '{HS256,HS384}'),
	(12, 'I3: key for encryption', signed('{"alg":"HS256"}'), oct() || '{"use":"enc"}', '{HS256}'),
	(13, 'I3: key_ops without verify', signed('{"alg":"HS256"}'), oct() || '{"key_ops":["sign"]}', '{HS256}'),
	(14, 'key_ops with verify', signed('{"alg":"HS256"}'), oct() || '{"key_ops":["sign","verify"]}', '{HS256}'),
	(15, 'alg and use that fit', signed('{"alg":"HS256"}'), oct() || '{"alg":"HS256","use":"sig"}', '{HS256}'),
	(16, 'I3: kid of no key', signed('{"alg":"HS256","kid":"a"}'), oct(), '{HS256}'),
	(17, 'I3: kid of another key', signed('{"alg":"HS256","kid":"a"}'), oct() || '{"kid":"b"}', '{HS256}'),
	(18, 'I3: kid of a key that does not fit, no fallback', signed('{"alg":"HS256","kid":"a"}'),
		jsonb_build_object('keys', jsonb_build_array(oct() || '{"kid":"b"}', (SELECT jwk || '{"kid":"a"}' FROM keys WHERE name = 'ec'))), '{HS256,ES256}'),
	(19, 'kid that fits', signed('{"alg":"HS256","kid":"b"}'),
		jsonb_build_object('keys', jsonb_build_array(oct() || '{"kid":"b"}', (SELECT jwk || '{"kid":"a"}' FROM keys WHERE name = 'ec'))), '{HS256,ES256}'),
	(20, 'I3: no kid, two keys that fit', signed('{"alg":"HS256"}'),
		jsonb_build_object('keys', jsonb_build_array(oct() || '{"kid":"b"}', jsonb_build_object('kty', 'oct', 'k', b64(sha256('x')), 'kid', 'c'))), '{HS256}'),
	(21, 'I3: kid a path', signed('{"alg":"HS256","kid":"../../etc/passwd"}'), oct(), '{HS256}'),
	(22, 'I3: kid not a string', signed('{"alg":"HS256","kid":1}'), oct(), '{HS256}'),
	(23, 'I3: embedded jwk', signed(jsonb_build_object('alg', 'HS256', 'jwk', oct())::text), oct(), '{HS256}'),
	(24, 'I3: jku', signed('{"alg":"HS256","jku":"https://example.com/"}'), oct(), '{HS256}'),
	(25, 'I3: x5u', signed('{"alg":"HS256","x5u":"https://example.com/"}'), oct(), '{HS256}'),
	(26, 'I3: x5c', signed('{"alg":"HS256","x5c":[]}'), oct(), '{HS256}'),
	(27, 'I3: unknown crit', signed('{"alg":"HS256","crit":["exp"],"exp":1}'), oct(), '{HS256}'),
	(28, 'I3: b64 false', signed('{"alg":"HS256","b64":false,"crit":["b64"]}'), oct(), '{HS256}'),
	(29, 'I3: b64 true, not critical', signed('{"alg":"HS256","b64":true}'), oct(), '{HS256}'),
	(30, 'I3: encrypted', signed('{"alg":"HS256","enc":"A256GCM"}'), oct(), '{HS256}'),
	(31, 'I3: compressed', signed('{"alg":"HS256","zip":"DEF"}'), oct(), '{HS256}')
) AS v (n, title, token, jwks, algorithms) ORDER BY n;

-- I5: shape of the token and of its header
SELECT title, sqlstate_of(token, oct(), '{HS256}') FROM (VALUES
	(1, 'I5: empty', ''),
	(2, 'I5: two segments', regexp_replace(signed('{"alg":"HS256"}'), '[.][^.]*$', '')),
	(3, 'I5: no dots', 'abcd'),
	(4, 'I5: four segments', signed('{"alg":"HS256"}') || '.'),
	(5, 'I5: five segments', signed('{"alg":"HS256"}') || '.AA.AA'),
	(6, 'I5: white space', signed('{"alg":"HS256"}') || E'\n'),
	(7, 'I5: leading space', ' ' || signed('{"alg":"HS256"}')),
	(8, 'I5: padding', signed('{"alg":"HS256"}') || '='),
	(9, 'I5: no signature', regexp_replace(signed('{"alg":"HS256"}'), '[^.]*$', '')),
	(10, 'I5: signature cut short', left(signed('{"alg":"HS256"}'), -4)),
	(11, 'I5: duplicate header name', signed('{"alg":"HS256","alg":"HS256"}')),
	(12, 'I5: duplicate header name, escaped', signed('{"alg":"HS256","\u0061lg":"none"}')),
	(13, 'I5: duplicate name, nested', signed('{"alg":"HS256","x":[{"a":1,"b":{"a":1},"\u0061":2}]}')),
	(14, 'same name in different objects', signed('{"alg":"HS256","x":{"alg":1,"y":{"alg":1}},"z":[{"a":1},{"a":1}]}')),
	(15, 'I5: NUL escaped', signed('{"alg":"HS256","x":"\u0000"}')),
	(16, 'I5: NUL', sign('{"alg":"HS256"}'::bytea || '\x00', '')),
	(17, 'I5: invalid UTF-8', sign('{"alg":"HS256","x":"'::bytea || '\xff' || '"}', '')),
	(18, 'I5: overlong UTF-8', sign('{"alg":"HS256","x":"'::bytea || '\xc080' || '"}', '')),
	(19, 'I5: surrogate in UTF-8', sign('{"alg":"HS256","x":"'::bytea || '\xeda080' || '"}', '')),
	(20, 'I5: lone surrogate escaped', signed('{"alg":"HS256","x":"\ud800"}')),
	(21, 'depth 16', signed('{"alg":"HS256","x":' || repeat('[', 15) || repeat(']', 15) || '}')),
	(22, 'I5: depth 17', signed('{"alg":"HS256","x":' || repeat('[', 16) || repeat(']', 16) || '}')),
	(23, 'I5: depth 10,000', signed('{"alg":"HS256","x":' || repeat('[', 10000))),
	(24, 'I5: header an array', signed('["alg","HS256"]')),
	(25, 'I5: header a string', signed('"alg"')),
	(26, 'I5: header empty', signed('')),
	(27, 'I5: header followed by more', signed('{"alg":"HS256"}{}')),
	(28, 'I5: header with a comment', signed('{"alg":"HS256"/**/}')),
	(29, 'I5: header with single quotes', signed('{''alg'':''HS256''}')),
	(30, 'I5: byte order mark', sign('\xefbbbf'::bytea || '{"alg":"HS256"}', '')),
	(31, 'I5: number beyond a double', signed('{"alg":"HS256","x":1e400}')),
	(32, 'I5: 16 KiB and one byte', repeat('A', 16385)),
	(33, 'I5: 1 MiB', repeat('A', 1048576)),
	(34, 'white space inside JSON', signed(E'{ "alg"\n:\t"HS256" }'))
) AS v (n, title, token) ORDER BY n;
-- no other text decodes to the same bytes: the last character of 43 has 2 spare bits
WITH s AS MATERIALIZED (SELECT signed('{"alg":"HS256"}') AS t)
SELECT count(*) AS accepted FROM s,
	LATERAL unnest(regexp_split_to_array('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ ', '')) AS c
	WHERE sqlstate_of(left(t, -1) || c, oct(), '{HS256}') = 'accepted';
-- any bit of the signature, or of what is signed
WITH s AS MATERIALIZED (SELECT signed('{"alg":"HS256"}') AS t)
SELECT count(*) FILTER (WHERE sqlstate_of(left(t, i - 1) || CASE substr(t, i, 1) WHEN 'A' THEN 'B' ELSE 'A' END || substr(t, i + 1),
		oct(), '{HS256}') = 'accepted') AS accepted
	FROM s, generate_series(1, length(t)) AS i;
SELECT name, count(*) FILTER (WHERE sqlstate_of(left(token, i - 1) || CASE substr(token, i, 1) WHEN 'A' THEN 'B' ELSE 'A' END || substr(token, i + 1),
		jwk, '{RS256,ES256,EdDSA}') = 'accepted') AS accepted
	FROM tokens JOIN keys USING (name), generate_series(1, length(token)) AS i GROUP BY name ORDER BY name;
-- ECDSA: r and s of the curve's length, not DER, not zero
SELECT title, sqlstate_of(regexp_replace((SELECT token FROM tokens WHERE name = 'ec'), '[^.]*$', b64(sig)),
		(SELECT jwk FROM keys WHERE name = 'ec'), '{ES256}')
	FROM (VALUES (1, 'zeros', decode(repeat('00', 64), 'hex')), (2, 'one byte more', decode(repeat('01', 65), 'hex')),
		(3, 'one byte less', decode(repeat('01', 63), 'hex')), (4, 'DER', '\x3006020101020101'::bytea), (5, 'empty', '')) AS v (n, title, sig) ORDER BY n;

-- keys that are refused, and why
SELECT title, sqlstate_of(signed('{"alg":"HS256"}'), jwks, '{HS256,RS256,ES256,EdDSA}') FROM (VALUES
	(1, 'not an object', '[]'::jsonb),
	(2, 'keys not an array', '{"keys":{}}'),
	(3, 'no keys', '{"keys":[]}'),
	(4, 'no kty', '{"k":"AAAA"}'),
	(5, 'kty not a string', '{"kty":1}'),
	(6, 'key not an object', '{"keys":[1]}'),
	(7, 'key unknown to us', '{"keys":[{"kty":"AKP","alg":"ML-DSA-44","pub":"AAAA"}]}'),
	(8, 'oct of 31 bytes', jsonb_build_object('kty', 'oct', 'k', b64(substr(sha256('x'), 2)))),
	(9, 'oct without k', '{"kty":"oct"}'),
	(10, 'oct with padding', jsonb_build_object('kty', 'oct', 'k', encode(sha256('x'), 'base64'))),
	(11, 'oct too long', jsonb_build_object('kty', 'oct', 'k', repeat('A', 2000))),
	(12, 'RSA of 1024 bits', jsonb_build_object('kty', 'RSA', 'e', 'AQAB', 'n', b64(decode(repeat('ff', 128), 'hex')))),
	(13, 'RSA of 2047 bits', jsonb_build_object('kty', 'RSA', 'e', 'AQAB', 'n', b64(decode('7f' || repeat('ff', 255), 'hex')))),
	(14, 'RSA of 16384 bits', jsonb_build_object('kty', 'RSA', 'e', 'AQAB', 'n', b64(decode(repeat('ff', 2048), 'hex')))),
	(15, 'RSA with e = 1', (SELECT jwk || '{"e":"AQ"}' FROM keys WHERE name = 'rsa')),
	(16, 'RSA with even e', (SELECT jwk || '{"e":"BA"}' FROM keys WHERE name = 'rsa')),
	(17, 'RSA with leading zero', (SELECT jwk || '{"e":"AAED"}' FROM keys WHERE name = 'rsa')),
	(18, 'RSA without n', (SELECT jwk - 'n' FROM keys WHERE name = 'rsa')),
	(19, 'EC off the curve', (SELECT jwk || jsonb_build_object('x', b64(sha256('x'))) FROM keys WHERE name = 'ec')),
	(20, 'EC with a short coordinate', (SELECT jwk || jsonb_build_object('x', b64(substr(sha256('x'), 2))) FROM keys WHERE name = 'ec')),
	(21, 'EC of another curve', (SELECT jwk || '{"crv":"secp256k1"}' FROM keys WHERE name = 'ec')),
	(22, 'EC without curve', (SELECT jwk - 'crv' FROM keys WHERE name = 'ec')),
	(23, 'OKP of 31 bytes', (SELECT jwk || jsonb_build_object('x', b64(substr(sha256('x'), 2))) FROM keys WHERE name = 'okp')),
	(24, 'OKP for key agreement', (SELECT jwk || '{"crv":"X25519"}' FROM keys WHERE name = 'okp')),
	(25, 'private OKP', (SELECT jwk || jsonb_build_object('d', b64(sha256('x'))) FROM keys WHERE name = 'okp')),
	(26, 'private RSA', (SELECT jwk || '{"p":"AQAB"}' FROM keys WHERE name = 'rsa')),
	(27, 'two keys with one kid', (SELECT jsonb_build_object('keys', jsonb_agg(jwk || '{"kid":"a"}')) FROM keys)),
	(28, 'a key twice', (SELECT jsonb_build_object('keys', jsonb_build_array(jwk, jwk)) FROM keys WHERE name = 'ec')),
	(29, 'kid too long', oct() || jsonb_build_object('kid', repeat('k', 256)))
) AS v (n, title, jwks) ORDER BY n;
SELECT sqlstate_of(signed('{"alg":"HS256"}'), oct(), a) FROM (VALUES ('{}'::text[]), ('{HS256,NULL}'), ('{none}'), ('{hs256}')) AS v (a);

-- bulwark_admin and nobody else
SELECT has_function_privilege('bulwark_app', 'bulwark.jws_verify(text, jsonb, text[])', 'EXECUTE') AS app,
	has_function_privilege('bulwark_admin', 'bulwark.jws_verify(text, jsonb, text[])', 'EXECUTE') AS admin;

SET client_min_messages = warning;
DROP SCHEMA jws_test CASCADE;
