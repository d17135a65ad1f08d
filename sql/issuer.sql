-- issuer_create, issuer_set_jwks, issuer_drop and the view of issuers: what is
-- accepted, what is refused and why, and that nothing of a secret shows.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS bulwark;
RESET client_min_messages;
CREATE SCHEMA issuer_test;
SET search_path = issuer_test;

-- Public keys from RFC 7515 A.3, RFC 7638 3.1 and RFC 8037 A.2; a secret made here.
CREATE TABLE keys (name text PRIMARY KEY, jwk jsonb);
INSERT INTO keys VALUES
	('rsa', '{"kty":"RSA","e":"AQAB","alg":"RS256","kid":"2011-04-29","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}'),
	('ec', '{"kty":"EC","crv":"P-256","kid":"ec","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}'),
	('okp', '{"kty":"OKP","crv":"Ed25519","kid":"okp","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'),
	('encryption', '{"kty":"RSA","use":"enc","e":"AQAB","n":"AQAB"}'),
	('unknown', '{"kty":"AKP","alg":"ML-DSA-44","pub":"AAAA"}'),
	('oct', jsonb_build_object('kty', 'oct', 'kid', 's', 'k',
		translate(encode(sha256(gen_random_uuid()::text::bytea), 'base64'), '+/=', '-_')));
CREATE FUNCTION jwks(VARIADIC names text[]) RETURNS jsonb STABLE LANGUAGE sql AS
	$$ SELECT jsonb_build_object('keys', jsonb_agg(jwk)) FROM issuer_test.keys WHERE name = ANY (names) $$;
CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END $$;

SELECT bulwark.issuer_create('https://idp.example/', 'app', jwks('rsa', 'ec', 'okp', 'encryption', 'unknown')) IS NOT NULL AS created;
SELECT issuer, audience, algorithms, tenant_claim, subject_claim, tenant_ids, tenant_claim_is, typ, required_claims,
	max_lifetime, scope_claim, id_tokens, jsonb_pretty(jwks) AS jwks
	FROM bulwark.issuers WHERE issuer = 'https://idp.example/' \gx
-- one JWK is a set of one
SELECT bulwark.issuer_create('single', 'app', (SELECT jwk FROM keys WHERE name = 'ec'), '{ES256}') IS NOT NULL AS created;

-- a symmetric key is stored wrapped, and nothing of it shows
SELECT bulwark.issuer_create('symmetric', 'app', jwks('oct'), '{HS256,HS512}') IS NOT NULL AS created;
SELECT jwks FROM bulwark.issuers WHERE issuer = 'symmetric';
SELECT count(*) FROM bulwark_internal.issuer_keys k, keys
	WHERE name = 'oct' AND (position(keys.jwk ->> 'k' IN k::text) > 0
		OR position(decode(translate(keys.jwk ->> 'k', '-_', '+/') || '=', 'base64') IN k.wrapped_secret) > 0);

-- what is refused
SELECT title, attempt('SELECT bulwark.issuer_create(' || arguments || ')') FROM (VALUES
	(1, 'exists', $$'single', 'app', issuer_test.jwks('ec')$$),
	(2, 'empty issuer', $$'', 'app', issuer_test.jwks('ec')$$),
	(3, 'no issuer', $$NULL, 'app', issuer_test.jwks('ec')$$),
	(4, 'issuer too long', $$repeat('x', 1025), 'app', issuer_test.jwks('ec')$$),
	(5, 'empty audience', $$'i', '', issuer_test.jwks('ec')$$),
	(6, 'no audience', $$'i', NULL, issuer_test.jwks('ec')$$),
	(7, 'no keys', $$'i', 'a', NULL$$),
	(8, 'empty set', $$'i', 'a', '{"keys":[]}'$$),
	(9, 'no key for signatures', $$'i', 'a', issuer_test.jwks('encryption', 'unknown')$$),
	(10, 'no key for the algorithms', $$'i', 'a', issuer_test.jwks('okp'), '{ES256}'$$),
	(11, 'unknown algorithm', $$'i', 'a', issuer_test.jwks('ec'), '{ES256,RS1}'$$),
	(12, 'I3: algorithm none', $$'i', 'a', issuer_test.jwks('ec'), '{none}'$$),
	(13, 'no algorithms', $$'i', 'a', issuer_test.jwks('ec'), '{}'$$),
	(14, 'algorithms NULL', $$'i', 'a', issuer_test.jwks('ec'), NULL$$),
	(15, 'I3: symmetric and asymmetric', $$'i', 'a', issuer_test.jwks('ec', 'oct'), '{ES256,HS256}'$$),
	(16, 'I3: HS256 with public keys', $$'i', 'a', issuer_test.jwks('rsa', 'ec'), '{HS256}'$$),
	(17, 'I3: oct with the default algorithms', $$'i', 'a', issuer_test.jwks('oct')$$),
	(18, 'oct of 31 bytes', $$'i', 'a', jsonb_build_object('kty', 'oct', 'k', repeat('A', 42)), '{HS256}'$$),
	(19, 'private key', $$'i', 'a', (SELECT jwk || '{"d":"AAAA"}' FROM issuer_test.keys WHERE name = 'okp')$$),
	(20, 'private key beside', $$'i', 'a', (SELECT jsonb_build_object('keys', jsonb_agg(jwk || '{"d":"AAAA"}')) FROM issuer_test.keys WHERE name = 'unknown')$$),
	(21, 'RSA of 1024 bits', $$'i', 'a', jsonb_build_object('kty', 'RSA', 'e', 'AQAB', 'n', repeat('_', 170) || 'w')$$),
	(22, 'kid twice', $$'i', 'a', (SELECT jsonb_build_object('keys', jsonb_agg(jwk || '{"kid":"x"}')) FROM issuer_test.keys WHERE name IN ('ec', 'okp'))$$),
	(23, 'empty tenant claim', $$'i', 'a', issuer_test.jwks('ec'), tenant_claim => ''$$),
	(24, 'subject claim NULL', $$'i', 'a', issuer_test.jwks('ec'), subject_claim => NULL$$),
	(25, 'no tenant', $$'i', 'a', issuer_test.jwks('ec'), tenant_ids => '{}'$$),
	(26, 'tenant NULL', $$'i', 'a', issuer_test.jwks('ec'), tenant_ids => '{NULL}'$$),
	(27, 'unknown tenant', $$'i', 'a', issuer_test.jwks('ec'), tenant_ids => '{00000000-0000-0000-0000-000000000001}'$$),
	(28, 'tenant claim is a name', $$'i', 'a', issuer_test.jwks('ec'), tenant_claim_is => 'name'$$),
	(29, 'typ without elements', $$'i', 'a', issuer_test.jwks('ec'), typ => '{}'$$),
	(30, 'empty typ', $$'i', 'a', issuer_test.jwks('ec'), typ => '{JWT,""}'$$),
	(31, 'required claims an array', $$'i', 'a', issuer_test.jwks('ec'), required_claims => '["a"]'$$),
	(32, 'lifetime 0', $$'i', 'a', issuer_test.jwks('ec'), max_lifetime => '0'$$),
	(33, 'lifetime negative', $$'i', 'a', issuer_test.jwks('ec'), max_lifetime => '1 day -25 hours'$$),
	(34, 'lifetime of 11 years', $$'i', 'a', issuer_test.jwks('ec'), max_lifetime => '11 years'$$),
	(35, 'lifetime NULL', $$'i', 'a', issuer_test.jwks('ec'), max_lifetime => NULL$$),
	(36, 'empty scope claim', $$'i', 'a', issuer_test.jwks('ec'), scope_claim => ''$$),
	(37, 'id_tokens NULL', $$'i', 'a', issuer_test.jwks('ec'), id_tokens => NULL$$)
) AS v (n, title, arguments) ORDER BY n;
SELECT count(*) FROM bulwark.issuers WHERE issuer = 'i';

-- other keys: what stays keeps its row, what goes loses it
CREATE TABLE before AS SELECT k.* FROM bulwark_internal.issuer_keys k JOIN bulwark_internal.issuers USING (issuer_id) WHERE issuer = 'https://idp.example/';
SELECT bulwark.issuer_set_jwks('https://idp.example/', jwks('ec', 'okp'));
SELECT k.jwk ->> 'kid' AS kid, k.key_id = b.key_id AS same
	FROM bulwark_internal.issuer_keys k JOIN bulwark_internal.issuers USING (issuer_id) JOIN before b USING (thumbprint)
	WHERE issuer = 'https://idp.example/' ORDER BY 1;
SELECT bulwark.issuer_set_jwks('https://idp.example/', jwks('rsa', 'ec'));
SELECT k.jwk ->> 'kid' AS kid, k.key_id = b.key_id AS same
	FROM bulwark_internal.issuer_keys k JOIN bulwark_internal.issuers USING (issuer_id) JOIN before b USING (thumbprint)
	WHERE issuer = 'https://idp.example/' ORDER BY 1;
SELECT attempt($$SELECT bulwark.issuer_set_jwks('https://idp.example/', '{"keys":[]}')$$);
SELECT attempt($$SELECT bulwark.issuer_set_jwks('https://idp.example/', issuer_test.jwks('oct'))$$);
SELECT attempt($$SELECT bulwark.issuer_set_jwks('https://idp.example', issuer_test.jwks('ec'))$$);
SELECT attempt($$SELECT bulwark.issuer_set_jwks(NULL, issuer_test.jwks('ec'))$$);
SELECT jsonb_array_length(jwks -> 'keys') FROM bulwark.issuers WHERE issuer = 'https://idp.example/';

-- who may: bulwark_admin; an application login sees and does nothing
CREATE ROLE issuer_test_app NOLOGIN IN ROLE bulwark_app;
CREATE ROLE issuer_test_admin NOLOGIN IN ROLE bulwark_admin;
GRANT USAGE ON SCHEMA issuer_test TO issuer_test_app, issuer_test_admin;
GRANT SELECT ON keys TO issuer_test_app, issuer_test_admin;
SET ROLE issuer_test_app;
SELECT attempt($$SELECT bulwark.issuer_create('mine', 'app', issuer_test.jwks('ec'))$$);
SELECT attempt($$SELECT bulwark.issuer_set_jwks('single', issuer_test.jwks('ec'))$$);
SELECT attempt($$SELECT bulwark.issuer_drop('single')$$);
SELECT attempt('SELECT * FROM bulwark.issuers');
SELECT attempt('SELECT * FROM bulwark_internal.issuer_keys');
RESET ROLE;
-- also when somebody grants the function again (I33)
GRANT EXECUTE ON FUNCTION bulwark.issuer_drop(text) TO issuer_test_app;
SET ROLE issuer_test_app;
SELECT attempt($$SELECT bulwark.issuer_drop('single')$$) AS "I33: granted again";
RESET ROLE;
REVOKE EXECUTE ON FUNCTION bulwark.issuer_drop(text) FROM issuer_test_app;
SET ROLE issuer_test_admin;
SELECT bulwark.issuer_create('by-admin', 'app', jwks('ec')) IS NOT NULL AS created;
SELECT bulwark.issuer_set_jwks('by-admin', jwks('okp'));
SELECT issuer, jwks #>> '{keys,0,kid}' AS kid FROM bulwark.issuers WHERE issuer IN ('single', 'by-admin') ORDER BY issuer;
SELECT attempt('SELECT * FROM bulwark_internal.issuer_keys');
SELECT bulwark.issuer_drop('by-admin');
RESET ROLE;

SELECT bulwark.issuer_drop(issuer) FROM (VALUES ('https://idp.example/'), ('single'), ('symmetric')) AS v (issuer);
SELECT attempt($$SELECT bulwark.issuer_drop('single')$$);
SELECT attempt($$SELECT bulwark.issuer_drop(NULL)$$);
SELECT count(*) FROM bulwark_internal.issuer_keys k JOIN before USING (issuer_id);

SET client_min_messages = warning;
DROP SCHEMA issuer_test CASCADE;
DROP ROLE issuer_test_app, issuer_test_admin;
