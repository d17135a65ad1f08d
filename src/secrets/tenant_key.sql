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
	provider text COLLATE "C" NOT NULL,
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
	receipt jsonb				-- once destroyed
);
SELECT pg_extension_config_dump('bulwark_internal.tenant_key_destructions', '');
ALTER TABLE bulwark_internal.tenant_key_destructions ENABLE ROW LEVEL SECURITY;
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON bulwark_internal.tenant_key_destructions
	FOR EACH STATEMENT EXECUTE FUNCTION bulwark_internal.invalidate('own');
ALTER TABLE bulwark_internal.tenant_key_destructions ENABLE ALWAYS TRIGGER invalidate;
