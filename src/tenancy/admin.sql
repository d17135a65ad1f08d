-- admin: managing tenants, affiliations, principals, memberships and roles.
-- Every function checks its caller itself; EXECUTE is the outer door only.

CREATE FUNCTION bulwark_internal.administers(permissions text[]) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_administers';
REVOKE ALL ON FUNCTION bulwark_internal.administers(text[]) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.administers(text[]) IS
	'Do the permissions of a role make an administrator: do they cover users:manage?';

-- Who counts as an administrator that a tenant must not lose.
CREATE VIEW bulwark_internal.administrators AS
	SELECT m.tenant_id, m.principal_id, m.role_id, m.membership_id
	FROM bulwark_internal.memberships m
	JOIN bulwark_internal.roles r USING (role_id)
	JOIN bulwark_internal.principals p USING (principal_id)
	JOIN bulwark_internal.tenants t ON t.tenant_id = m.tenant_id
	WHERE m.affiliation_id IS NULL AND m.expires_at IS NULL
		AND p.disabled_at IS NULL AND t.suspended_at IS NULL
		AND bulwark_internal.administers(r.permissions);

CREATE FUNCTION bulwark.tenant_create(slug text, name text, key text DEFAULT NULL, region text DEFAULT NULL, id uuid DEFAULT NULL) RETURNS uuid
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_tenant_create';
REVOKE ALL ON FUNCTION bulwark.tenant_create(text, text, text, text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.tenant_create(text, text, text, text, uuid) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.tenant_create(text, text, text, text, uuid) IS
	'Creates a tenant and returns its id. slug: 1 to 63 ASCII letters, digits, ".", "_", "-". name: to show. key: how existing tables name the tenant, by default the slug. region: free text. id: an id already in use in their columns, by default a random one. Slugs, keys and ids share one namespace, without regard to case, Unicode form, signs and leading zeros. Errors: 42501 the caller lacks the privileges of bulwark_admin; 22023 not fit for a slug, name or key; 23505 one of them is another tenant''s; 22004 a NULL where it may not be.';

CREATE FUNCTION bulwark.tenant_suspend(tenant_id uuid, reason text, terminate boolean DEFAULT false) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_tenant_suspend';
REVOKE ALL ON FUNCTION bulwark.tenant_suspend(uuid, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.tenant_suspend(uuid, text, boolean) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.tenant_suspend(uuid, text, boolean) IS
	'Suspends a tenant: from their next statement on, its members see and write nothing. Never waits for a member''s open transaction. reason: kept beside the tenant. terminate: also end, at commit, the sessions that act in it. A suspended tenant may lose its last administrator. Errors: 42501 the caller lacks the privileges of bulwark_admin; 42704 no such tenant; 22023 an empty reason; 22004 a NULL where it may not be; 0A000 PREPARE TRANSACTION with terminate.';

CREATE FUNCTION bulwark.tenant_resume(tenant_id uuid) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_tenant_resume';
REVOKE ALL ON FUNCTION bulwark.tenant_resume(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.tenant_resume(uuid) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.tenant_resume(uuid) IS
	'Ends a suspension. Errors: 42501 the caller lacks the privileges of bulwark_admin; 42704 no such tenant; 22004 a NULL where it may not be.';

CREATE FUNCTION bulwark.affiliation_create(tenant_id uuid, slug text, name text, key text DEFAULT NULL, parent_id uuid DEFAULT NULL, id uuid DEFAULT NULL) RETURNS uuid
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_affiliation_create';
REVOKE ALL ON FUNCTION bulwark.affiliation_create(uuid, text, text, text, uuid, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.affiliation_create(uuid, text, text, text, uuid, uuid) TO bulwark_admin, bulwark_app, bulwark_impersonator;
COMMENT ON FUNCTION bulwark.affiliation_create(uuid, text, text, text, uuid, uuid) IS
	'Creates an affiliation in a tenant''s tree and returns its id; arguments as tenant_create(). parent_id: the affiliation above it, NULL for a root. Slugs, keys and ids share one namespace in the tenant. An identity must itself hold, for all affiliations, what the roles held on the parent and above it give. id: only bulwark_admin may choose it. Errors: 42501 neither bulwark_admin nor an identity with system:configure for all affiliations of the tenant, or less held than that; 42704 no such tenant or parent; 22023, 23505, 22004 as tenant_create().';

CREATE FUNCTION bulwark.affiliation_move(affiliation_id uuid, parent_id uuid) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_affiliation_move';
REVOKE ALL ON FUNCTION bulwark.affiliation_move(uuid, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.affiliation_move(uuid, uuid) TO bulwark_admin, bulwark_app, bulwark_impersonator;
COMMENT ON FUNCTION bulwark.affiliation_move(uuid, uuid) IS
	'Moves an affiliation, with all below it, under another of its tenant; parent_id NULL makes it a root. Roles held on the new parent and above hold for it from then on, so an identity must itself hold, for all affiliations, what they give. Errors: 42501 neither bulwark_admin nor an identity with system:configure for all affiliations of the tenant, or less held than that (the same to an identity for an unknown affiliation); 42704 no such affiliation or parent; 22023 the parent is the affiliation or below it; 22004 a NULL where it may not be.';

CREATE FUNCTION bulwark.affiliation_drop(affiliation_id uuid) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_affiliation_drop';
REVOKE ALL ON FUNCTION bulwark.affiliation_drop(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.affiliation_drop(uuid) TO bulwark_admin, bulwark_app, bulwark_impersonator;
COMMENT ON FUNCTION bulwark.affiliation_drop(uuid) IS
	'Drops an affiliation. Rows that name it stay, visible to tenant-wide roles only. Errors: 42501 neither bulwark_admin nor an identity with system:configure for all affiliations of the tenant (the same to an identity for an unknown affiliation); 42704 no such affiliation; 23503 it has affiliations below it, or members; 22004 a NULL where it may not be.';

CREATE FUNCTION bulwark.principal_create(email text, display_name text DEFAULT NULL, kind text DEFAULT 'user', id uuid DEFAULT NULL) RETURNS uuid
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_principal_create';
REVOKE ALL ON FUNCTION bulwark.principal_create(text, text, text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.principal_create(text, text, text, uuid) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.principal_create(text, text, text, uuid) IS
	'Creates a principal and returns its id. email: unique without regard to case. kind: user or service. Errors: 42501 the caller lacks the privileges of bulwark_admin; 22023 not fit for a name, or another kind; 23505 the e-mail address or id exists; 22004 a NULL where it may not be.';

CREATE FUNCTION bulwark.principal_link(principal_id uuid, issuer text, subject text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_principal_link';
REVOKE ALL ON FUNCTION bulwark.principal_link(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.principal_link(uuid, text, text) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.principal_link(uuid, text, text) IS
	'Says that a subject of a token issuer is the principal. issuer, subject: exactly as in the token''s claims. Idempotent. Errors: 42501 the caller lacks the privileges of bulwark_admin; 42704 no such principal; 23505 the subject is another principal; 22023 an empty or unfit issuer or subject; 22004 a NULL where it may not be.';

CREATE FUNCTION bulwark.principal_unlink(principal_id uuid, issuer text, subject text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_principal_unlink';
REVOKE ALL ON FUNCTION bulwark.principal_unlink(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.principal_unlink(uuid, text, text) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.principal_unlink(uuid, text, text) IS
	'Takes a link back; tickets of the principal issued before are refused. Errors: 42501 the caller lacks the privileges of bulwark_admin; 42704 no such link; 22004 a NULL where it may not be.';

CREATE FUNCTION bulwark.principal_disable(principal_id uuid, terminate boolean DEFAULT false) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_principal_disable';
REVOKE ALL ON FUNCTION bulwark.principal_disable(uuid, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.principal_disable(uuid, boolean) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.principal_disable(uuid, boolean) IS
	'Disables a principal in all tenants, from its next statement on; its tickets stay refused after principal_enable(). terminate: also end, at commit, the sessions that act as it. Never waits for a member''s open transaction. Errors: 42501 the caller lacks the privileges of bulwark_admin; 42704 no such principal; 23514 it is, now or at commit, the last administrator of a tenant that is not suspended; 22004 a NULL where it may not be; 0A000 PREPARE TRANSACTION with terminate.';

CREATE FUNCTION bulwark.principal_enable(principal_id uuid) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_principal_enable';
REVOKE ALL ON FUNCTION bulwark.principal_enable(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.principal_enable(uuid) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.principal_enable(uuid) IS
	'Enables a disabled principal. Errors: 42501 the caller lacks the privileges of bulwark_admin; 42704 no such principal; 22004 a NULL where it may not be.';

CREATE FUNCTION bulwark.tickets_revoke(principal_id uuid) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_tickets_revoke';
REVOKE ALL ON FUNCTION bulwark.tickets_revoke(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.tickets_revoke(uuid) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.tickets_revoke(uuid) IS
	'Ends every identity and ticket of the principal that exists now, in all tenants; it can prove itself anew. Errors: 42501 the caller lacks the privileges of bulwark_admin; 42704 no such principal; 22004 a NULL where it may not be.';

CREATE FUNCTION bulwark.membership_grant(principal_id uuid, tenant_id uuid, role text, affiliation_id uuid DEFAULT NULL, expires_at timestamptz DEFAULT NULL) RETURNS uuid
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_membership_grant';
REVOKE ALL ON FUNCTION bulwark.membership_grant(uuid, uuid, text, uuid, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.membership_grant(uuid, uuid, text, uuid, timestamptz) TO bulwark_admin, bulwark_app, bulwark_impersonator;
COMMENT ON FUNCTION bulwark.membership_grant(uuid, uuid, text, uuid, timestamptz) IS
	'Grants a role in a tenant and returns the membership''s id. affiliation_id: the role holds there and below; NULL: in the whole tenant. expires_at: its end, NULL for none. Granting the same again changes the end and returns the same id; one that has ended is replaced. An identity gives no more than it holds there itself, never to its own principal, and only to members of its tenant or principals that belong to none; for all others the answer is the same. Errors: 42501 neither bulwark_admin nor an identity with users:manage in the tenant, for the affiliation, or more than it may give; 42704 no such tenant, principal, role or affiliation in the tenant; 22023 expires_at is past; 23514 the last administrator would get an end, now or at commit; 22004 a NULL where it may not be.';

CREATE FUNCTION bulwark.membership_revoke(membership_id uuid, terminate boolean DEFAULT false) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_membership_revoke';
REVOKE ALL ON FUNCTION bulwark.membership_revoke(uuid, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.membership_revoke(uuid, boolean) TO bulwark_admin, bulwark_app, bulwark_impersonator;
COMMENT ON FUNCTION bulwark.membership_revoke(uuid, boolean) IS
	'Revokes a membership, from the principal''s next statement on; its tickets for the tenant are refused. terminate: also end, at commit, the sessions that act as the principal in the tenant. An identity revokes only roles whose permissions it holds there itself. Errors: 42501 neither bulwark_admin nor an identity with users:manage in the tenant, for the affiliation (the same for an unknown membership); 42704 no such membership; 23514 it is, now or at commit, the last administrator''s, and the tenant is not suspended; 22004 a NULL where it may not be; 0A000 PREPARE TRANSACTION with terminate.';

CREATE FUNCTION bulwark.role_create(tenant_id uuid, name text, permissions text[]) RETURNS uuid
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_role_create';
REVOKE ALL ON FUNCTION bulwark.role_create(uuid, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.role_create(uuid, text, text[]) TO bulwark_admin, bulwark_app, bulwark_impersonator;
COMMENT ON FUNCTION bulwark.role_create(uuid, text, text[]) IS
	'Creates a role of a tenant, or (tenant_id NULL) one for all tenants, and returns its id. permissions: resource:action, with * for either. An identity must hold all of them itself, for all affiliations. Errors: 42501 neither bulwark_admin nor an identity with roles:manage for all affiliations of the tenant (tenant_id NULL: bulwark_admin only), or more than it holds; 42704 no such tenant; 22023 not a permission or not fit for a name; 23505 the name exists, in the tenant or for all tenants; 22004 a NULL where it may not be.';

CREATE FUNCTION bulwark.role_alter(tenant_id uuid, name text, permissions text[]) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_role_alter';
REVOKE ALL ON FUNCTION bulwark.role_alter(uuid, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.role_alter(uuid, text, text[]) TO bulwark_admin, bulwark_app, bulwark_impersonator;
COMMENT ON FUNCTION bulwark.role_alter(uuid, text, text[]) IS
	'Replaces a role''s permissions, for those who hold it too, from their next statement on. An identity must hold both what the role had and what it gets, for all affiliations. Errors: 42501 neither bulwark_admin nor an identity with roles:manage for all affiliations of the tenant (tenant_id NULL: bulwark_admin only), less held than that, or a built-in role; 42704 no such tenant or role; 22023 not a permission; 23514 a tenant would, now or at commit, be left without an administrator; 22004 a NULL where it may not be.';

CREATE FUNCTION bulwark.role_drop(tenant_id uuid, name text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_role_drop';
REVOKE ALL ON FUNCTION bulwark.role_drop(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.role_drop(uuid, text) TO bulwark_admin, bulwark_app, bulwark_impersonator;
COMMENT ON FUNCTION bulwark.role_drop(uuid, text) IS
	'Drops a role that nobody holds. An identity must hold all of its permissions itself. Errors: 42501 neither bulwark_admin nor an identity with roles:manage for all affiliations of the tenant (tenant_id NULL: bulwark_admin only), less held than that, or a built-in role; 42704 no such tenant or role; 23503 it is held, also by memberships that have ended; 22004 a NULL where it may not be.';

CREATE FUNCTION bulwark.service_scope(role name, tenant_ids uuid[]) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_service_scope';
REVOKE ALL ON FUNCTION bulwark.service_scope(name, uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.service_scope(name, uuid[]) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.service_scope(name, uuid[]) IS
	'Limits a login (session_user) that is an impersonator or opens secrets to these tenants. tenant_ids: an empty array for none, NULL takes the limit away. The limit stays with the role when that is renamed; a dump carries it by the name under which it was set. Errors: 42501 the caller lacks the privileges of bulwark_admin; 42704 no such role or tenant; 22004 a NULL where it may not be.';

CREATE FUNCTION bulwark.pin_tenant(tenant_id uuid) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_pin_tenant';
REVOKE ALL ON FUNCTION bulwark.pin_tenant(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.pin_tenant(uuid) TO bulwark_admin;
COMMENT ON FUNCTION bulwark.pin_tenant(uuid) IS
	'Dedicates the database to one tenant: every identity of another is refused. Idempotent. Errors: 42501 the caller lacks the privileges of bulwark_admin; 42704 no such tenant; 55000 another is pinned; 22004 a NULL where it may not be.';

CREATE FUNCTION bulwark.unpin_tenant() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_unpin_tenant';
REVOKE ALL ON FUNCTION bulwark.unpin_tenant() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.unpin_tenant() TO bulwark_admin;
COMMENT ON FUNCTION bulwark.unpin_tenant() IS
	'Takes the pin back. Tables protected while pinned keep the tenant in their policies, so nothing opens. Errors: 42501 the caller lacks the privileges of bulwark_admin.';
