-- tenant_key: the keys of tenants, wrapped by the root key.  A wrapped key is one
-- half: the other is a component that is kept outside the database, so that
-- destroying that destroys what the database's backups hold.

CREATE TABLE bulwark_internal.tenant_keys (
	tenant_id uuid NOT NULL REFERENCES bulwark_internal.tenants,
	kind "char" NOT NULL CHECK (kind IN ('d', 'i', 'b')),	-- data, index, box
	version integer NOT NULL CHECK (version > 0),
	state "char" NOT NULL CHECK (state IN ('a', 'o', 'm', 'x')),	-- active, decrypt only, below the minimum, destroyed
	key_id uuid NOT NULL,
	component uuid NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now(),
	provider text COLLATE "C" NOT NULL,	-- that keeps the component, ...
	location text COLLATE "C" NOT NULL,	-- ... and where, for the one that has places
	wrapped bytea,				-- NULL: destroyed
	public_key bytea,			-- of a box key
	PRIMARY KEY (tenant_id, kind, version)
);
CREATE UNIQUE INDEX tenant_keys_key_id ON bulwark_internal.tenant_keys (key_id);
CREATE UNIQUE INDEX tenant_keys_active ON bulwark_internal.tenant_keys (tenant_id, kind) WHERE state = 'a';
CREATE INDEX tenant_keys_component ON bulwark_internal.tenant_keys (component);
SELECT pg_extension_config_dump('bulwark_internal.tenant_keys', '');
ALTER TABLE bulwark_internal.tenant_keys ENABLE ROW LEVEL SECURITY;
-- A new key needs no signal: what is not there is not kept.
CREATE TRIGGER invalidate AFTER UPDATE OR DELETE OR TRUNCATE ON bulwark_internal.tenant_keys
	FOR EACH STATEMENT EXECUTE FUNCTION bulwark_internal.invalidate('own');
ALTER TABLE bulwark_internal.tenant_keys ENABLE ALWAYS TRIGGER invalidate;

-- Tenants whose keys are to be destroyed, or are.  Their keys are of no use from
-- the request on; until the time is up it can be taken back.
CREATE TABLE bulwark_internal.tenant_key_destructions (
	tenant_id uuid PRIMARY KEY REFERENCES bulwark_internal.tenants,
	requested_at timestamptz NOT NULL DEFAULT now(),
	requested_by text NOT NULL,
	due_at timestamptz NOT NULL,
	tried_at timestamptz,		-- it could not be finished
	receipt jsonb				-- once destroyed
);
SELECT pg_extension_config_dump('bulwark_internal.tenant_key_destructions', '');
ALTER TABLE bulwark_internal.tenant_key_destructions ENABLE ROW LEVEL SECURITY;
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON bulwark_internal.tenant_key_destructions
	FOR EACH STATEMENT EXECUTE FUNCTION bulwark_internal.invalidate('own');
ALTER TABLE bulwark_internal.tenant_key_destructions ENABLE ALWAYS TRIGGER invalidate;

CREATE FUNCTION bulwark.tenant_key_rotate(tenant_id uuid, kind text DEFAULT 'data') RETURNS integer
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'bulwark_tenant_key_rotate';
REVOKE ALL ON FUNCTION bulwark.tenant_key_rotate(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.tenant_key_rotate(uuid, text) TO bulwark_keys;
COMMENT ON FUNCTION bulwark.tenant_key_rotate(uuid, text) IS
	'Give a tenant a new active key, with a component of its own outside the database; returns its version. '
	'kind: data, what values are encrypted with from now on (the ones before decrypt until reencrypt() is through and tenant_key_minimum() is raised); '
	'box, what clients seal to (what was sealed to the one before is refused from now on); '
	'index, what blind_index() uses (indexes must be computed anew: values indexed before are not found). '
	'Errors: 42704 no such tenant; 22023 no such kind; 22004 a NULL; 55000 no root key, nowhere to keep the component, or the tenant''s keys are destroyed; 55P03 another transaction that makes or changes one stays open. For bulwark_keys.';

CREATE FUNCTION bulwark.tenant_key_minimum(tenant_id uuid, version integer) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'bulwark_tenant_key_minimum';
REVOKE ALL ON FUNCTION bulwark.tenant_key_minimum(uuid, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.tenant_key_minimum(uuid, integer) TO bulwark_keys;
COMMENT ON FUNCTION bulwark.tenant_key_minimum(uuid, integer) IS
	'Use no data key of the tenant below that version: values under one do not decrypt from the next statement on. Lowered again, they do. '
	'Errors: 42704 no such tenant; 22023 below 1 or above the active version; 22004 a NULL; 55P03 another transaction that makes or changes a key stays open. For bulwark_keys.';

CREATE FUNCTION bulwark.tenant_key_destroy(tenant_id uuid, confirm text, immediately boolean DEFAULT false) RETURNS jsonb
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'bulwark_tenant_key_destroy';
REVOKE ALL ON FUNCTION bulwark.tenant_key_destroy(uuid, text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.tenant_key_destroy(uuid, text, boolean) TO bulwark_keys;
COMMENT ON FUNCTION bulwark.tenant_key_destroy(uuid, text, boolean) IS
	'Destroy all keys of a tenant, and with them what is encrypted under them, in backups of the database too (cryptographic erasure, NIST SP 800-88). '
	'confirm: the tenant''s slug; the keys are of no use from the next statement on and destroyed in 7 days, until when tenant_key_destroy_cancel() takes it back. '
	'The slug, a blank and the word immediately (or that word alone, or immediately => true): due at once. '
	'A SELECT of its own in autocommit, the first of a pipeline too, destroys them and returns the receipt. In a transaction block, a pipeline, a function or another statement nothing is destroyed before the request has been committed: then a worker does it, within a moment, and so does the next call; a request that is rolled back destroys nothing. '
	'Called again when it is due it goes on, or returns the receipt. The slug, a blank and the word lost: so, and a component that is not there is given up. Without it, one that is not there and has no tombstone leaves the destruction incomplete. '
	'Returns a receipt: tenant_id, tenant, state (pending, incomplete, destroyed), requested_at, due_at, at, keys, '
	'providers (each with its component and its answer) and remains (what this does not reach). '
	'What a call has destroyed outside the database stays destroyed if its transaction fails after that: the keys are of no use, the act is in the ledger all the same, and the request, or another call, finishes it. '
	'Errors: 42704 no such tenant; 22023 not confirmed; 22004 a NULL; 55000 the entry could not be made durable, or lost without a destruction that is due; 55P03 another transaction that makes or changes a key stays open; '
	'40001 the request was changed meanwhile (REPEATABLE READ); whatever a hold raises. For bulwark_keys.';

CREATE FUNCTION bulwark.tenant_key_destroy_cancel(tenant_id uuid) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'bulwark_tenant_key_destroy_cancel';
REVOKE ALL ON FUNCTION bulwark.tenant_key_destroy_cancel(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.tenant_key_destroy_cancel(uuid) TO bulwark_keys;
COMMENT ON FUNCTION bulwark.tenant_key_destroy_cancel(uuid) IS
	'Take back a destruction of a tenant''s keys that is pending: they work again from the next statement on. '
	'Errors: 42704 no such tenant; 55000 none is pending, or it is due; 22004 a NULL; 55P03 another transaction that makes or changes a key stays open. For bulwark_keys.';

CREATE FUNCTION bulwark.tenant_key_sweep() RETURNS bigint
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'bulwark_tenant_key_sweep';
REVOKE ALL ON FUNCTION bulwark.tenant_key_sweep() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.tenant_key_sweep() TO bulwark_keys;
COMMENT ON FUNCTION bulwark.tenant_key_sweep() IS
	'Remove components of tenant keys that this database put into bulwark.tenant_key_directory more than a day ago for transactions which did not commit; returns their number. '
	'A worker does it now and then by itself. For bulwark_keys.';

CREATE VIEW bulwark.tenant_keys WITH (security_barrier) AS
	SELECT k.tenant_id, t.slug AS tenant,
		CASE k.kind WHEN 'd' THEN 'data' WHEN 'i' THEN 'index' ELSE 'box' END AS kind,
		k.version,
		CASE WHEN k.state = 'x' THEN 'destroyed'
			WHEN d.tenant_id IS NOT NULL THEN 'pending_destruction'
			WHEN k.state = 'a' THEN 'active'
			WHEN k.state = 'o' THEN CASE k.kind WHEN 'd' THEN 'decrypt_only' ELSE 'retired' END
			ELSE 'below_minimum' END AS state,
		translate(k.key_id::text, '-', '') AS key_id,
		encode(substr(k.wrapped, 2, 8), 'hex') AS root_key_id,
		k.provider, translate(k.component::text, '-', '') AS component, k.created_at
	FROM bulwark_internal.tenant_keys k
	JOIN bulwark_internal.tenants t USING (tenant_id)
	LEFT JOIN bulwark_internal.tenant_key_destructions d USING (tenant_id);
REVOKE ALL ON bulwark.tenant_keys FROM PUBLIC;
GRANT SELECT ON bulwark.tenant_keys TO bulwark_keys, bulwark_admin, bulwark_auditor, bulwark_maintenance;
COMMENT ON VIEW bulwark.tenant_keys IS
	'The keys of tenants by name and state, none of their bytes. kind: data, index, box; state: active, decrypt_only (data), retired (index, box), below_minimum, pending_destruction, destroyed; '
	'key_id: stands in each value that is under the key; root_key_id: what wraps it; provider and component: where the half outside the database is kept, and under which name.';

CREATE VIEW bulwark.tenant_key_destructions WITH (security_barrier) AS
	SELECT d.tenant_id, t.slug AS tenant, d.requested_at, d.requested_by, d.due_at, d.receipt
	FROM bulwark_internal.tenant_key_destructions d JOIN bulwark_internal.tenants t USING (tenant_id);
REVOKE ALL ON bulwark.tenant_key_destructions FROM PUBLIC;
GRANT SELECT ON bulwark.tenant_key_destructions TO bulwark_keys, bulwark_admin, bulwark_auditor, bulwark_maintenance;
COMMENT ON VIEW bulwark.tenant_key_destructions IS
	'Tenants whose keys are to be destroyed or are: who asked when, when it is due, and the receipt once it is done.';
