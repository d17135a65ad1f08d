-- tenancy: tenants, their tree of affiliations, principals and what they may do
-- where.  Tables are private and written through functions only; every one of
-- them tells all back ends of a change when it commits.

CREATE TABLE bulwark_internal.tenants (
	tenant_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	slug text COLLATE "C" NOT NULL UNIQUE,
	name text NOT NULL,
	key text COLLATE "C" NOT NULL UNIQUE,
	key_int8 bigint UNIQUE,		-- set only when the key is canonical decimal
	region text,
	suspended_at timestamptz,
	suspended_reason text,
	created_at timestamptz NOT NULL DEFAULT now()
);
SELECT pg_extension_config_dump('bulwark_internal.tenants', '');

-- Slugs, keys and ids share one namespace: one row for each distinct name, in a
-- folded form in which '1', '01', '+1' and letters of either case collide.
CREATE TABLE bulwark_internal.tenant_names (
	folded text COLLATE "C" PRIMARY KEY,
	tenant_id uuid NOT NULL REFERENCES bulwark_internal.tenants ON DELETE CASCADE
);
SELECT pg_extension_config_dump('bulwark_internal.tenant_names', '');

CREATE TABLE bulwark_internal.affiliations (
	affiliation_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	tenant_id uuid NOT NULL REFERENCES bulwark_internal.tenants ON DELETE CASCADE,
	slug text COLLATE "C" NOT NULL,
	name text NOT NULL,
	key text COLLATE "C" NOT NULL,
	key_int8 bigint,
	created_at timestamptz NOT NULL DEFAULT now(),
	UNIQUE (tenant_id, affiliation_id),
	UNIQUE (tenant_id, slug),
	UNIQUE (tenant_id, key),
	UNIQUE (tenant_id, key_int8)
);
SELECT pg_extension_config_dump('bulwark_internal.affiliations', '');

CREATE TABLE bulwark_internal.affiliation_names (
	tenant_id uuid NOT NULL,
	folded text COLLATE "C" NOT NULL,
	affiliation_id uuid NOT NULL,
	PRIMARY KEY (tenant_id, folded),
	FOREIGN KEY (tenant_id, affiliation_id)
		REFERENCES bulwark_internal.affiliations (tenant_id, affiliation_id) ON DELETE CASCADE
);
SELECT pg_extension_config_dump('bulwark_internal.affiliation_names', '');

-- The tree.  A table of its own, so that no table refers to itself.
CREATE TABLE bulwark_internal.affiliation_parents (
	tenant_id uuid NOT NULL,
	affiliation_id uuid PRIMARY KEY,
	parent_id uuid NOT NULL CHECK (parent_id <> affiliation_id),
	FOREIGN KEY (tenant_id, affiliation_id)
		REFERENCES bulwark_internal.affiliations (tenant_id, affiliation_id) ON DELETE CASCADE,
	FOREIGN KEY (tenant_id, parent_id)
		REFERENCES bulwark_internal.affiliations (tenant_id, affiliation_id)
);
CREATE INDEX ON bulwark_internal.affiliation_parents (tenant_id, parent_id);
SELECT pg_extension_config_dump('bulwark_internal.affiliation_parents', '');

CREATE TABLE bulwark_internal.principals (
	principal_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	email text NOT NULL,
	display_name text,
	kind text NOT NULL DEFAULT 'user' CHECK (kind IN ('user', 'service')),
	generation bigint NOT NULL DEFAULT 1,	-- tickets of an older one are refused
	disabled_at timestamptz,
	created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX principals_email_key ON bulwark_internal.principals (lower(email));
SELECT pg_extension_config_dump('bulwark_internal.principals', '');

CREATE TABLE bulwark_internal.principal_links (
	issuer text COLLATE "C" NOT NULL,
	subject text COLLATE "C" NOT NULL,
	principal_id uuid NOT NULL REFERENCES bulwark_internal.principals ON DELETE CASCADE,
	PRIMARY KEY (issuer, subject)
);
SELECT pg_extension_config_dump('bulwark_internal.principal_links', '');

-- tenant_id NULL: a role for all tenants.  Built-in rows have fixed ids and stay
-- out of dumps.
CREATE TABLE bulwark_internal.roles (
	role_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	tenant_id uuid REFERENCES bulwark_internal.tenants ON DELETE CASCADE,
	name text COLLATE "C" NOT NULL,
	permissions text[] NOT NULL,
	builtin boolean NOT NULL DEFAULT false,
	created_at timestamptz NOT NULL DEFAULT now(),
	UNIQUE NULLS NOT DISTINCT (tenant_id, name)
);
SELECT pg_extension_config_dump('bulwark_internal.roles', 'WHERE NOT builtin');

CREATE TABLE bulwark_internal.memberships (
	membership_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	principal_id uuid NOT NULL REFERENCES bulwark_internal.principals ON DELETE CASCADE,
	tenant_id uuid NOT NULL REFERENCES bulwark_internal.tenants ON DELETE CASCADE,
	role_id uuid NOT NULL REFERENCES bulwark_internal.roles,
	affiliation_id uuid,		-- NULL: tenant-wide
	expires_at timestamptz,
	granted_by text NOT NULL,
	granted_at timestamptz NOT NULL DEFAULT now(),
	FOREIGN KEY (tenant_id, affiliation_id)
		REFERENCES bulwark_internal.affiliations (tenant_id, affiliation_id)
);
CREATE UNIQUE INDEX memberships_key ON bulwark_internal.memberships
	(principal_id, tenant_id, affiliation_id, role_id) NULLS NOT DISTINCT;
-- Equal keys are kept in the order of the heap: a member's rows are read page by page.
CREATE INDEX memberships_member_idx ON bulwark_internal.memberships (principal_id, tenant_id);
CREATE INDEX ON bulwark_internal.memberships (tenant_id, affiliation_id);
CREATE INDEX ON bulwark_internal.memberships (role_id);
SELECT pg_extension_config_dump('bulwark_internal.memberships', '');

-- Bumped when a membership is revoked: tickets of an older generation are refused.
-- A missing row is generation 0.
CREATE TABLE bulwark_internal.member_generations (
	principal_id uuid NOT NULL REFERENCES bulwark_internal.principals ON DELETE CASCADE,
	tenant_id uuid NOT NULL REFERENCES bulwark_internal.tenants ON DELETE CASCADE,
	generation bigint NOT NULL,
	PRIMARY KEY (principal_id, tenant_id)
);
SELECT pg_extension_config_dump('bulwark_internal.member_generations', '');

-- A dedicated database holds this one tenant.
CREATE TABLE bulwark_internal.pinned_tenant (
	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	tenant_id uuid NOT NULL REFERENCES bulwark_internal.tenants
);
SELECT pg_extension_config_dump('bulwark_internal.pinned_tenant', '');

-- Impersonator and secrets logins limited to tenants.  The role is the one with
-- role_oid, whatever it is called; where no role has that, the one of that name.
CREATE TABLE bulwark_internal.service_scopes (
	role name NOT NULL,
	role_oid oid,
	tenant_ids uuid[] NOT NULL
);
CREATE INDEX service_scopes_role_idx ON bulwark_internal.service_scopes (role);
CREATE UNIQUE INDEX service_scopes_oid_idx ON bulwark_internal.service_scopes (role_oid);
SELECT pg_extension_config_dump('bulwark_internal.service_scopes', '');

CREATE FUNCTION bulwark_internal.bind_service_scope() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	NEW.role_oid := (SELECT oid FROM pg_roles WHERE rolname = NEW.role);
	RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION bulwark_internal.bind_service_scope() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.bind_service_scope() IS
	'Row trigger: a limit that is set, or comes with a dump, is that of the role which has the name now.';
CREATE TRIGGER bind BEFORE INSERT ON bulwark_internal.service_scopes
	FOR EACH ROW EXECUTE FUNCTION bulwark_internal.bind_service_scope();
ALTER TABLE bulwark_internal.service_scopes ENABLE ALWAYS TRIGGER bind;

DO $tables$
DECLARE
	t name;
BEGIN
	FOREACH t IN ARRAY ARRAY['tenants', 'tenant_names', 'affiliations', 'affiliation_names', 'affiliation_parents',
		'principals', 'principal_links', 'roles', 'memberships', 'member_generations', 'pinned_tenant', 'service_scopes']
	LOOP
		EXECUTE format('ALTER TABLE bulwark_internal.%I ENABLE ROW LEVEL SECURITY', t);
		EXECUTE format('CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON bulwark_internal.%I '
			'FOR EACH STATEMENT EXECUTE FUNCTION bulwark_internal.invalidate()', t);
		-- under session_replication_role = replica too
		EXECUTE format('ALTER TABLE bulwark_internal.%I ENABLE ALWAYS TRIGGER invalidate', t);
	END LOOP;
END
$tables$;

INSERT INTO bulwark_internal.roles (role_id, name, permissions, builtin) VALUES
	('00000000-0000-4000-8000-00000b010001', 'tenant_admin', '{*:*}', true),
	('00000000-0000-4000-8000-00000b010002', 'admin', '{*:read,*:insert,*:update,*:delete,data:decrypt,data:search,users:manage,integrations:manage}', true),
	('00000000-0000-4000-8000-00000b010003', 'read_only', '{*:read}', true),
	('00000000-0000-4000-8000-00000b010004', 'owner', '{*:*}', true),
	('00000000-0000-4000-8000-00000b010005', 'administrator', '{*:*}', true),
	('00000000-0000-4000-8000-00000b010006', 'workspace_admin', '{*:read,*:insert,*:update,*:delete,data:decrypt,data:search,users:manage,roles:manage,integrations:manage,system:configure,export:run}', true),
	('00000000-0000-4000-8000-00000b010007', 'editor', '{*:read,*:insert,*:update,data:decrypt,data:search,integrations:manage}', true),
	('00000000-0000-4000-8000-00000b010008', 'viewer', '{*:read}', true),
	('00000000-0000-4000-8000-00000b010009', 'member', '{*:read,*:insert,*:update,*:delete}', true),
	('00000000-0000-4000-8000-00000b01000a', 'auditor', '{audit:read,audit:values}', true);
