-- credential: the tenants' registry of integration credentials.  A value is an
-- envelope under the tenant's key, bound to its credential and version; nothing
-- here opens one but credential_use().

CREATE TABLE bulwark_internal.credentials (
	credential_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	tenant_id uuid NOT NULL REFERENCES bulwark_internal.tenants ON DELETE CASCADE,
	name text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	honey boolean NOT NULL DEFAULT false,
	rotate_every interval NOT NULL DEFAULT '90 days',
	created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	created_by text NOT NULL,
	revoked_at timestamptz
);
-- A name is free again once its credential is revoked.
CREATE UNIQUE INDEX credentials_name_key ON bulwark_internal.credentials (tenant_id, name) WHERE revoked_at IS NULL;
SELECT pg_extension_config_dump('bulwark_internal.credentials', '');

-- retires_at NULL: the active one.  A revoked version keeps no value.
CREATE TABLE bulwark_internal.credential_versions (
	credential_id uuid NOT NULL REFERENCES bulwark_internal.credentials ON DELETE CASCADE,
	version integer NOT NULL CHECK (version > 0),
	value bytea,
	created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	created_by text NOT NULL,
	retires_at timestamptz,
	revoked_at timestamptz,
	revoked_reason text,
	PRIMARY KEY (credential_id, version),
	CHECK ((value IS NULL) = (revoked_at IS NOT NULL))
);
ALTER TABLE bulwark_internal.credential_versions ALTER COLUMN value SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX credential_versions_active_key ON bulwark_internal.credential_versions (credential_id)
	WHERE retires_at IS NULL AND revoked_at IS NULL;
SELECT pg_extension_config_dump('bulwark_internal.credential_versions', '');

-- Apart, so that a user of a version never stands in the way of its revocation.
CREATE TABLE bulwark_internal.credential_uses (
	credential_id uuid NOT NULL REFERENCES bulwark_internal.credentials ON DELETE CASCADE,
	version integer NOT NULL,
	last_used_at timestamptz,
	PRIMARY KEY (credential_id, version)
);
SELECT pg_extension_config_dump('bulwark_internal.credential_uses', '');

-- A row for each freeze, so that none waits for another, nor for who unfreezes.
-- by_operator: by bulwark_admin or bulwark_keys, who alone lift it.
CREATE TABLE bulwark_internal.credential_freezes (
	freeze_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	tenant_id uuid NOT NULL REFERENCES bulwark_internal.tenants ON DELETE CASCADE,
	reason text NOT NULL,
	frozen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	frozen_by text NOT NULL,
	by_operator boolean NOT NULL,
	lifted_at timestamptz
);
SELECT pg_extension_config_dump('bulwark_internal.credential_freezes', '');
CREATE INDEX credential_freezes_tenant_idx ON bulwark_internal.credential_freezes (tenant_id);

ALTER TABLE bulwark_internal.credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE bulwark_internal.credential_versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE bulwark_internal.credential_uses ENABLE ROW LEVEL SECURITY;
ALTER TABLE bulwark_internal.credential_freezes ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION bulwark_internal.credential_visible(tenant_id uuid, action text) RETURNS boolean
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_credential_visible';
REVOKE ALL ON FUNCTION bulwark_internal.credential_visible(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark_internal.credential_visible(uuid, text)
	TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_admin, bulwark_auditor, bulwark_maintenance;
COMMENT ON FUNCTION bulwark_internal.credential_visible(uuid, text) IS
	'Is the tenant the identity''s own, and does it hold integrations:ACTION anywhere in it? The action honey: integrations:manage, by a token, in a session whose login is no member of bulwark_secrets.';
GRANT EXECUTE ON FUNCTION bulwark_internal.sees_all() TO bulwark_secrets;

CREATE FUNCTION bulwark.credential_create(name text, kind text, plaintext text, rotate_every interval DEFAULT NULL, honey boolean DEFAULT false) RETURNS uuid
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_credential_create';
REVOKE ALL ON FUNCTION bulwark.credential_create(text, text, text, interval, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.credential_create(text, text, text, interval, boolean)
	TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_admin;
COMMENT ON FUNCTION bulwark.credential_create(text, text, text, interval, boolean) IS
	'Registers a credential of the identity''s tenant and returns its id; the value becomes version 1. name: unique in the tenant among those not revoked, 1 to 255 bytes. kind: what it is (api_key, oauth_token, password ...), 1 to 63 bytes. plaintext: 1 to 65,536 bytes, sealed with AES-256 under the tenant''s key; give it as a bound parameter. rotate_every: when the next rotation is due, 90 days by default, at most 100 years. honey: nothing uses it, and whoever does, or tries to while it is frozen or when it is revoked, raises an entry with the action alarm. For an identity with integrations:manage. Errors: 28000 no identity; 42501 without the permission; 23505 the name is taken; 22023 an argument that is empty, too long or not positive; 22004 a NULL where it may not be; 55000 no root key is loaded.';

CREATE FUNCTION bulwark.credential_rotate(credential_id uuid, plaintext text, overlap interval DEFAULT '0') RETURNS integer
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_credential_rotate';
REVOKE ALL ON FUNCTION bulwark.credential_rotate(uuid, text, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.credential_rotate(uuid, text, interval)
	TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_admin;
COMMENT ON FUNCTION bulwark.credential_rotate(uuid, text, interval) IS
	'Gives a credential a new value and returns the number of its version, which is the active one from the commit on. overlap: how long the one before stays usable by its number (state retiring), at most 100 years; 0, the default, revokes it. A frozen tenant''s credentials can be rotated. For an identity with integrations:manage in the credential''s tenant, and bulwark_admin. Errors: 42501 without the permission; 42704 no such credential in the tenant; 55000 it is revoked, or no root key is loaded; 55P03 another transaction has changed it and stays open; 22023 the value is empty or too long, or overlap is negative or too long; 22004 a NULL.';

CREATE FUNCTION bulwark.credential_use(name text, purpose text, version integer DEFAULT NULL) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_credential_use';
REVOKE ALL ON FUNCTION bulwark.credential_use(text, text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.credential_use(text, text, integer) TO bulwark_secrets;
COMMENT ON FUNCTION bulwark.credential_use(text, text, integer) IS
	'The value of a credential of the identity''s tenant, for the moment of its use. purpose: what for, 1 to 1,000 bytes, kept in the ledger. version: a certain one (active or retiring) instead of the active one, as for testing a rotation. The session''s login must be a member of bulwark_secrets, with the tenant in its service scope. An entry with the action decrypt is on disk before the value is returned, and stays if the transaction is rolled back. Errors: 28000 no identity; 42501 not such a login; 42704 no credential of that name, or no such version; 55000 it is revoked or frozen, the transaction itself has unfrozen it or otherwise made it usable, no root key is loaded, or the entry cannot be made durable (a standby, no worker); 53400 bulwark.secret_rate is used up; 22023 an empty purpose; 22004 a NULL name.';

CREATE FUNCTION bulwark.credential_revoke(credential_id uuid, reason text, version integer DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_credential_revoke';
REVOKE ALL ON FUNCTION bulwark.credential_revoke(uuid, text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.credential_revoke(uuid, text, integer)
	TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_admin;
COMMENT ON FUNCTION bulwark.credential_revoke(uuid, text, integer) IS
	'Revokes a credential, or one version of it: from the commit on nothing opens it, and its value is deleted. Never waits for who is using it; for who is changing it 10 seconds. Where the active version alone is revoked, the newest one that is retiring is active again; without any the credential is revoked. reason: 1 to 1,000 bytes. For an identity with integrations:manage in the credential''s tenant, and bulwark_admin. Errors: 42501 without the permission; 42704 no such credential in the tenant, or no such version; 55000 it is revoked already; 55P03 another transaction has changed it and stays open; 22023 an empty reason; 22004 a NULL.';

CREATE FUNCTION bulwark.credential_freeze(tenant_id uuid, reason text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_credential_freeze';
REVOKE ALL ON FUNCTION bulwark.credential_freeze(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.credential_freeze(uuid, text)
	TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_admin, bulwark_keys;
COMMENT ON FUNCTION bulwark.credential_freeze(uuid, text) IS
	'Freezes all credentials of a tenant: from the commit on none can be used, until credential_unfreeze(). Waits for no other transaction. They can still be rotated and revoked. What bulwark_admin or bulwark_keys has frozen they alone unfreeze. reason: 1 to 1,000 bytes. For an identity with integrations:manage in the tenant, bulwark_admin and bulwark_keys. Errors: 42501 without the permission; 42704 no such tenant; 22023 an empty reason; 22004 a NULL.';

CREATE FUNCTION bulwark.credential_unfreeze(tenant_id uuid, reason text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_credential_unfreeze';
REVOKE ALL ON FUNCTION bulwark.credential_unfreeze(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.credential_unfreeze(uuid, text)
	TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_admin, bulwark_keys;
COMMENT ON FUNCTION bulwark.credential_unfreeze(uuid, text) IS
	'Ends every freeze of a tenant''s credentials, from the commit on: the transaction itself cannot use them yet. An entry that it was asked for is on disk before, and stays if the transaction is rolled back. For the same callers, but what bulwark_admin or bulwark_keys has frozen they alone unfreeze. Errors: 42501 without the permission; 55000 they are not frozen, or the entry cannot be made durable (a standby, no worker); 55P03 another transaction has unfrozen them and stays open; 22023 an empty reason; 22004 a NULL.';

CREATE VIEW bulwark.credentials WITH (security_barrier) AS
	SELECT c.credential_id, c.tenant_id, c.name, v.version,
		CASE WHEN v.revoked_at IS NOT NULL OR v.retires_at <= clock_timestamp() THEN 'revoked'
			WHEN f.reason IS NOT NULL THEN 'frozen'
			WHEN v.retires_at IS NOT NULL THEN 'retiring'
			ELSE 'active' END AS state,
		d.kind, d.honey, d.rotate_every, d.created_at, d.created_by, d.rotation_due, d.last_used_at,
		d.retires_at, d.revoked_at, d.reason
	FROM bulwark_internal.credentials c
	JOIN bulwark_internal.credential_versions v USING (credential_id)
	LEFT JOIN LATERAL (
		SELECT o.reason FROM bulwark_internal.credential_freezes o
		WHERE o.tenant_id = c.tenant_id AND o.lifted_at IS NULL
		ORDER BY o.frozen_at DESC LIMIT 1) f ON true
	LEFT JOIN LATERAL (
		SELECT c.kind,
			CASE WHEN (SELECT bulwark_internal.sees_all()) OR bulwark_internal.credential_visible(c.tenant_id, 'honey') THEN c.honey END AS honey,
			c.rotate_every, v.created_at, v.created_by,
			CASE WHEN v.retires_at IS NOT NULL OR v.revoked_at IS NOT NULL THEN NULL
				-- what a timestamp may not hold is not added: one row must not keep all others from being read
				WHEN abs(extract(year FROM c.rotate_every)) <= 100 AND abs(extract(day FROM c.rotate_every)) <= 36600
					AND abs(extract(hour FROM c.rotate_every)) <= 878400 THEN v.created_at + c.rotate_every
				ELSE 'infinity' END AS rotation_due,
			(SELECT u.last_used_at FROM bulwark_internal.credential_uses u
				WHERE u.credential_id = v.credential_id AND u.version = v.version) AS last_used_at,
			v.retires_at, v.revoked_at, COALESCE(v.revoked_reason, f.reason) AS reason
		WHERE (SELECT bulwark_internal.sees_all()) OR bulwark_internal.credential_visible(c.tenant_id, 'manage')) d ON true
	WHERE (SELECT bulwark_internal.sees_all())
		OR c.tenant_id = bulwark.tenant_id()
			AND (bulwark_internal.credential_visible(c.tenant_id, 'read')
				OR bulwark_internal.credential_visible(c.tenant_id, 'manage'));
COMMENT ON VIEW bulwark.credentials IS
	'The versions of credentials and their state: active, retiring (usable by its number until retires_at), revoked, frozen. rotation_due: when the active one should be rotated. last_used_at: to the minute; every use is an entry of the ledger. To an identity its own tenant''s: names, versions and states with integrations:read, the other columns with integrations:manage, but honey only where a token has proved the identity and the login is no member of bulwark_secrets; to bulwark_admin, bulwark_auditor and bulwark_maintenance all.';
REVOKE ALL ON bulwark.credentials FROM PUBLIC;
GRANT SELECT ON bulwark.credentials
	TO bulwark_app, bulwark_impersonator, bulwark_secrets, bulwark_admin, bulwark_auditor, bulwark_maintenance;
-- Dumps are made as bulwark_maintenance, too: ciphertext.
GRANT SELECT ON bulwark_internal.credentials, bulwark_internal.credential_versions, bulwark_internal.credential_uses,
	bulwark_internal.credential_freezes TO bulwark_maintenance;
