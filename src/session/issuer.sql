-- issuer: who may sign tokens, for which audience and tenants, with which keys.
-- A token proves an identity only if one of these issuers signed it.

CREATE FUNCTION bulwark.jws_verify(token text, jwks jsonb, algorithms text[]) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_jws_verify';
REVOKE ALL ON FUNCTION bulwark.jws_verify(text, jsonb, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.jws_verify(text, jsonb, text[]) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.jws_verify(text, jsonb, text[]) IS
	'The payload of a compact JWS (RFC 7515) whose signature verifies under a key of jwks, a JWK or JWK Set (RFC 7517). '
	'algorithms: those allowed, of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, HS256, HS384, HS512. '
	'A token with a kid is verified by the key of that kid only, one without by the only key that fits. '
	'Errors: 28000 the token is refused, for whatever cause; 22023 jwks or algorithms are not usable.';

CREATE FUNCTION bulwark.issuer_create(
		issuer text,
		audience text,
		jwks jsonb,
		algorithms text[] DEFAULT '{EdDSA,ES256,PS256,RS256}',
		tenant_claim text DEFAULT 'tenant',
		subject_claim text DEFAULT 'sub',
		tenant_ids uuid[] DEFAULT NULL,
		tenant_claim_is text DEFAULT 'slug',
		typ text[] DEFAULT NULL,
		required_claims jsonb DEFAULT NULL,
		max_lifetime interval DEFAULT '24 hours',
		scope_claim text DEFAULT NULL,
		id_tokens boolean DEFAULT false)
	RETURNS uuid
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'bulwark_issuer_create';
REVOKE ALL ON FUNCTION bulwark.issuer_create(text, text, jsonb, text[], text, text, uuid[], text, text[], jsonb, interval, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.issuer_create(text, text, jsonb, text[], text, text, uuid[], text, text[], jsonb, interval, text, boolean) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.issuer_create(text, text, jsonb, text[], text, text, uuid[], text, text[], jsonb, interval, text, boolean) IS
	'Trust a token issuer (RFC 7519, RFC 8725); returns its id. issuer, audience: what iss must be and aud must hold, byte for byte. '
	'jwks: its public keys, or one oct key of 32 to 1024 bytes for HS* (stored under the root key). algorithms: those allowed, symmetric or asymmetric, not both. '
	'tenant_claim, subject_claim: names of top-level claims. tenant_ids: it speaks for these tenants only; NULL: all. '
	'tenant_claim_is: slug, key or id. typ: what the header''s typ must be; NULL: absent, JWT or at+jwt. '
	'required_claims: what the payload must contain, as jsonb @> does. max_lifetime: from iat (else now) to exp, at most 10 years. '
	'scope_claim: the claim that narrows permissions, then required; NULL: none. id_tokens: accept OpenID Connect ID tokens. '
	'Errors: 22023 a bad argument; 22004 a NULL where it may not be; 23505 the issuer exists; 42501 the caller is not bulwark_admin; 55000 no root key for a symmetric key.';

CREATE FUNCTION bulwark.issuer_set_jwks(issuer text, jwks jsonb) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'bulwark_issuer_set_jwks';
REVOKE ALL ON FUNCTION bulwark.issuer_set_jwks(text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.issuer_set_jwks(text, jsonb) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.issuer_set_jwks(text, jsonb) IS
	'Replace an issuer''s keys. A key in the old set and the new goes on; tokens of a removed key, and tickets that such a token proved, '
	'are refused from the next statement on, also when the key comes back. '
	'Errors: 22023 no usable key; 42501 the caller is not bulwark_admin; 42704 no such issuer; 22004 a NULL; 55000 no root key for a symmetric key.';

CREATE FUNCTION bulwark.issuer_drop(issuer text) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'bulwark_issuer_drop';
REVOKE ALL ON FUNCTION bulwark.issuer_drop(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.issuer_drop(text) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.issuer_drop(text) IS
	'Trust an issuer no longer: its tokens, and tickets that one of them proved, are refused from the next statement on. '
	'Links of principals to its subjects stay. Errors: 42501 the caller is not bulwark_admin; 42704 no such issuer; 22004 a NULL.';

CREATE VIEW bulwark.issuers WITH (security_barrier) AS
	SELECT i.issuer_id, i.issuer, i.audience, i.algorithms, i.tenant_claim, i.subject_claim,
		i.tenant_ids, i.tenant_claim_is, i.typ, i.required_claims, i.max_lifetime, i.scope_claim, i.id_tokens,
		(SELECT jsonb_build_object('keys', coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
				'kid', k.jwk -> 'kid', 'kty', k.jwk -> 'kty', 'crv', k.jwk -> 'crv', 'alg', k.jwk -> 'alg',
				'thumbprint', CASE WHEN k.wrapped_secret IS NULL
					THEN translate(encode(k.thumbprint, 'base64'), '+/=', '-_') END))
				ORDER BY k.jwk ->> 'kid', k.thumbprint), '[]'))
			FROM bulwark_internal.issuer_keys k WHERE k.issuer_id = i.issuer_id) AS jwks,
		i.created_at
	FROM bulwark_internal.issuers i;
REVOKE ALL ON bulwark.issuers FROM PUBLIC;
GRANT SELECT ON bulwark.issuers TO bulwark_admin, bulwark_auditor, bulwark_maintenance;
COMMENT ON VIEW bulwark.issuers IS
	'The token issuers that are trusted. jwks tells the keys apart (kid, kty, crv, alg, RFC 7638 thumbprint) and shows nothing of a secret.';
