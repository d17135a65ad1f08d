-- Views over the private tables.  Roles that administer, audit or maintain see
-- all rows; an identity sees its own tenant's, and of members and principals its
-- own and those that it manages.

CREATE FUNCTION bulwark_internal.sees_all() RETURNS boolean
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_sees_all';
REVOKE ALL ON FUNCTION bulwark_internal.sees_all() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark_internal.sees_all() TO bulwark_app, bulwark_impersonator, bulwark_admin, bulwark_auditor, bulwark_maintenance;
COMMENT ON FUNCTION bulwark_internal.sees_all() IS
	'Does the current user see the rows of every tenant in the views?';

CREATE FUNCTION bulwark_internal.member_visible(tenant_id uuid, principal_id uuid, affiliation_id uuid) RETURNS boolean
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_member_visible';
REVOKE ALL ON FUNCTION bulwark_internal.member_visible(uuid, uuid, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark_internal.member_visible(uuid, uuid, uuid) TO bulwark_app, bulwark_impersonator, bulwark_admin, bulwark_auditor, bulwark_maintenance;
COMMENT ON FUNCTION bulwark_internal.member_visible(uuid, uuid, uuid) IS
	'Is a membership the identity''s own, or one that its users:manage covers?';

CREATE VIEW bulwark.tenants WITH (security_barrier) AS
	SELECT t.tenant_id, t.slug, t.name, t.key, t.region, t.suspended_at, t.suspended_reason, t.created_at,
		EXISTS (SELECT FROM bulwark_internal.pinned_tenant p WHERE p.tenant_id = t.tenant_id) AS pinned
	FROM bulwark_internal.tenants t
	WHERE (SELECT bulwark_internal.sees_all()) OR t.tenant_id = bulwark.tenant_id();
COMMENT ON VIEW bulwark.tenants IS
	'Tenants: to an identity its own, to bulwark_admin, bulwark_auditor and bulwark_maintenance all.';

CREATE VIEW bulwark.affiliations WITH (security_barrier) AS
	SELECT a.affiliation_id, a.tenant_id, t.slug AS tenant_slug, a.slug, a.name, a.key, p.parent_id, a.created_at
	FROM bulwark_internal.affiliations a
	JOIN bulwark_internal.tenants t USING (tenant_id)
	LEFT JOIN bulwark_internal.affiliation_parents p USING (affiliation_id)
	WHERE (SELECT bulwark_internal.sees_all()) OR a.tenant_id = bulwark.tenant_id();
COMMENT ON VIEW bulwark.affiliations IS
	'The trees of affiliations: to an identity its own tenant''s, to bulwark_admin, bulwark_auditor and bulwark_maintenance all.';

CREATE VIEW bulwark.principals WITH (security_barrier) AS
	SELECT p.principal_id, p.email, p.display_name, p.kind, p.disabled_at, p.created_at
	FROM bulwark_internal.principals p
	WHERE (SELECT bulwark_internal.sees_all()) OR p.principal_id = bulwark.principal_id()
		OR p.principal_id IN (SELECT m.principal_id FROM bulwark_internal.memberships m
			WHERE m.tenant_id = bulwark.tenant_id()
				AND bulwark_internal.member_visible(m.tenant_id, m.principal_id, m.affiliation_id));
COMMENT ON VIEW bulwark.principals IS
	'Principals: to an identity itself, and the members that its users:manage covers; to bulwark_admin, bulwark_auditor and bulwark_maintenance all.';

CREATE VIEW bulwark.principal_links WITH (security_barrier) AS
	SELECT l.principal_id, l.issuer, l.subject
	FROM bulwark_internal.principal_links l
	WHERE (SELECT bulwark_internal.sees_all());
COMMENT ON VIEW bulwark.principal_links IS
	'Which subject of which token issuer is which principal; for bulwark_admin, bulwark_auditor and bulwark_maintenance.';

CREATE VIEW bulwark.members WITH (security_barrier) AS
	SELECT m.membership_id, m.principal_id, p.email, p.display_name, p.kind, p.disabled_at IS NOT NULL AS disabled,
		m.tenant_id, t.slug AS tenant_slug, r.name AS role,
		m.affiliation_id, a.slug AS affiliation_slug, m.expires_at, m.granted_at, m.granted_by
	FROM bulwark_internal.memberships m
	JOIN bulwark_internal.principals p USING (principal_id)
	JOIN bulwark_internal.tenants t ON t.tenant_id = m.tenant_id
	JOIN bulwark_internal.roles r ON r.role_id = m.role_id
	LEFT JOIN bulwark_internal.affiliations a ON a.affiliation_id = m.affiliation_id
	WHERE (SELECT bulwark_internal.sees_all())
		OR m.tenant_id = bulwark.tenant_id()
			AND bulwark_internal.member_visible(m.tenant_id, m.principal_id, m.affiliation_id);
COMMENT ON VIEW bulwark.members IS
	'Who holds which role where: to an identity its own memberships in its tenant, and those that its users:manage covers; to bulwark_admin, bulwark_auditor and bulwark_maintenance all. affiliation_id NULL: in the whole tenant. Memberships past expires_at give nothing and stay listed until revoked.';

CREATE VIEW bulwark.roles WITH (security_barrier) AS
	SELECT r.role_id, r.tenant_id, r.name, r.permissions, r.builtin, r.created_at
	FROM bulwark_internal.roles r
	WHERE (SELECT bulwark_internal.sees_all()) OR r.tenant_id IS NULL OR r.tenant_id = bulwark.tenant_id();
COMMENT ON VIEW bulwark.roles IS
	'Roles and their permissions: those for all tenants (tenant_id NULL), and to an identity its own tenant''s, to bulwark_admin, bulwark_auditor and bulwark_maintenance all.';

CREATE VIEW bulwark.live_identities WITH (security_barrier) AS
	SELECT l.pid, l.principal_id, p.email, l.tenant_id, t.slug AS tenant_slug, l.proof, l.assumed_by, l.proved_at, l.expires_at
	FROM bulwark_internal.live_identities() l
	JOIN bulwark_internal.principals p USING (principal_id)
	JOIN bulwark_internal.tenants t ON t.tenant_id = l.tenant_id
	WHERE (SELECT bulwark_internal.sees_all())
		OR l.tenant_id = bulwark.tenant_id()
			AND (l.principal_id = bulwark.principal_id()
				OR l.principal_id IN (SELECT m.principal_id FROM bulwark_internal.memberships m
					WHERE m.tenant_id = bulwark.tenant_id()
						AND bulwark_internal.member_visible(m.tenant_id, m.principal_id, m.affiliation_id)));
COMMENT ON VIEW bulwark.live_identities IS
	'Which back end of this database (pid) is acting as whom right now, how that was proved (token, assumed), when and until when: to an identity itself and the members of its tenant that its users:manage covers; to bulwark_admin, bulwark_auditor and bulwark_maintenance all.';

REVOKE ALL ON bulwark_internal.administrators, bulwark.tenants, bulwark.affiliations, bulwark.principals,
	bulwark.principal_links, bulwark.members, bulwark.roles, bulwark.live_identities FROM PUBLIC;
GRANT SELECT ON bulwark.tenants, bulwark.affiliations, bulwark.principals, bulwark.members, bulwark.roles, bulwark.live_identities
	TO bulwark_app, bulwark_impersonator, bulwark_admin, bulwark_auditor, bulwark_maintenance;
GRANT SELECT ON bulwark.principal_links TO bulwark_admin, bulwark_auditor, bulwark_maintenance;
