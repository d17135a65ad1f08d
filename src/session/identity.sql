-- identity: proving who acts, carrying it, describing it; the accessors that
-- policies read.  PUBLIC executes the accessors and nothing else of ours.

CREATE FUNCTION bulwark.principal_id() RETURNS uuid
	LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF COST 1 AS 'MODULE_PATHNAME', 'bulwark_principal_id';
COMMENT ON FUNCTION bulwark.principal_id() IS
	'The principal of the identity in force; NULL without one. Never raises.';

CREATE FUNCTION bulwark.tenant_id() RETURNS uuid
	LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF COST 1 AS 'MODULE_PATHNAME', 'bulwark_tenant_id';
COMMENT ON FUNCTION bulwark.tenant_id() IS
	'The tenant of the identity in force; NULL without one. Never raises.';

CREATE FUNCTION bulwark.authenticate(token text, is_local boolean DEFAULT true) RETURNS jsonb
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_authenticate';
REVOKE ALL ON FUNCTION bulwark.authenticate(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.authenticate(text, boolean) TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_admin, bulwark_auditor;
COMMENT ON FUNCTION bulwark.authenticate(text, boolean) IS
	'Verifies a JWT (RFC 7519, 7515, 8725), sets the identity that it proves for this transaction and returns it as identity() does. token: a compact JWS of a registered issuer, passed as a bound parameter. is_local: false keeps the identity for the session and needs bulwark.allow_session_identity. Errors: 28000 the token is refused, for whatever cause (the cause is in the server log); 55000 the transaction already has another identity, the running statement has already read without one, a session identity is not allowed, or a symmetric issuer''s secret needs a root key and none is loaded; 25P01 called by a statement of its own outside a transaction block.';

CREATE FUNCTION bulwark.assume(principal_id uuid, tenant_id uuid, is_local boolean DEFAULT true) RETURNS jsonb
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_assume';
REVOKE ALL ON FUNCTION bulwark.assume(uuid, uuid, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.assume(uuid, uuid, boolean) TO bulwark_impersonator;
COMMENT ON FUNCTION bulwark.assume(uuid, uuid, boolean) IS
	'Sets an identity without a token, for at most 1 hour; the identity says by which login. Only for a session whose login is a member of bulwark_impersonator (or a superuser) and not of bulwark_app, and within its service_scope(). Errors: 42501 not such a login, or the tenant is outside its scope; 28000 no such principal or membership; 55000 and 25P01 as authenticate().';

CREATE FUNCTION bulwark.ticket_issue(ttl interval DEFAULT '10 minutes') RETURNS text
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_ticket_issue';
REVOKE ALL ON FUNCTION bulwark.ticket_issue(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.ticket_issue(interval) TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_admin, bulwark_auditor;
COMMENT ON FUNCTION bulwark.ticket_issue(interval) IS
	'A ticket for the identity in force, for this login and realm: set_config(''bulwark.ticket'', $1, true) sets the same identity in a later transaction. ttl: at most 1 hour, and never past the end of the first proof. Errors: 28000 no identity is in force; 22023 ttl out of range; 55000 no root key is loaded.';

CREATE FUNCTION bulwark.release() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_release';
REVOKE ALL ON FUNCTION bulwark.release() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.release() TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_admin, bulwark_auditor;
COMMENT ON FUNCTION bulwark.release() IS
	'Drops the identity in force. The transaction can get the same one again, never another.';

CREATE FUNCTION bulwark.identity() RETURNS jsonb
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_identity';
REVOKE ALL ON FUNCTION bulwark.identity() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.identity() TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_admin, bulwark_auditor, bulwark_maintenance;
COMMENT ON FUNCTION bulwark.identity() IS
	'The identity in force as an object with principal_id, email, tenant_id, tenant_slug, roles, expires_at (RFC 3339, UTC), proof (token, assumed) and assumed_by; NULL without one.';

CREATE FUNCTION bulwark.annotate(route text DEFAULT NULL, request_id text DEFAULT NULL, client_addr inet DEFAULT NULL, metadata jsonb DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_annotate';
REVOKE ALL ON FUNCTION bulwark.annotate(text, text, inet, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.annotate(text, text, inet, jsonb) TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_admin;
COMMENT ON FUNCTION bulwark.annotate(text, text, inet, jsonb) IS
	'What the application asserts about the request it serves, for the audit trail; kept until the transaction ends. Once per transaction, at most 8 KiB in all. Errors: 55000 already annotated; 53400 too large.';

CREATE FUNCTION bulwark_internal.live_identities(OUT pid integer, OUT principal_id uuid, OUT tenant_id uuid, OUT proof text, OUT assumed_by text, OUT proved_at timestamptz, OUT expires_at timestamptz) RETURNS SETOF record
	LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'bulwark_live_identities';
REVOKE ALL ON FUNCTION bulwark_internal.live_identities() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark_internal.live_identities() TO bulwark_app, bulwark_impersonator, bulwark_admin, bulwark_auditor, bulwark_maintenance;
COMMENT ON FUNCTION bulwark_internal.live_identities() IS
	'The identity slots of this database''s back ends; read through the view bulwark.live_identities.';
