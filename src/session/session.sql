-- session: who is asking.  Issuers whose tokens are trusted, the identity in
-- force, tickets that carry it.  Nothing here shows a token or a ticket.

CREATE TABLE bulwark_internal.issuers (
	issuer_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	issuer text COLLATE "C" NOT NULL UNIQUE,
	audience text COLLATE "C" NOT NULL,
	algorithms text[] NOT NULL,
	tenant_claim text NOT NULL,
	subject_claim text NOT NULL,
	tenant_ids uuid[],
	tenant_claim_is text NOT NULL CHECK (tenant_claim_is IN ('slug', 'key', 'id')),
	typ text[],
	required_claims jsonb,
	max_lifetime interval NOT NULL,
	scope_claim text,
	id_tokens boolean NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now()
);
SELECT pg_extension_config_dump('bulwark_internal.issuers', '');
ALTER TABLE bulwark_internal.issuers ENABLE ROW LEVEL SECURITY;

-- key_id is new whenever a key is added, so that what a removed key had proved
-- stays refused when it comes back.
CREATE TABLE bulwark_internal.issuer_keys (
	issuer_id uuid NOT NULL REFERENCES bulwark_internal.issuers ON DELETE CASCADE,
	thumbprint bytea NOT NULL CHECK (octet_length(thumbprint) = 32),	-- RFC 7638, SHA-256
	key_id uuid NOT NULL DEFAULT gen_random_uuid(),
	jwk jsonb NOT NULL CHECK (NOT jwk ? 'k'),
	wrapped_secret bytea,		-- of a symmetric key, under the root key
	PRIMARY KEY (issuer_id, thumbprint)
);
SELECT pg_extension_config_dump('bulwark_internal.issuer_keys', '');
ALTER TABLE bulwark_internal.issuer_keys ENABLE ROW LEVEL SECURITY;

CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON bulwark_internal.issuers
	FOR EACH STATEMENT EXECUTE FUNCTION bulwark_internal.invalidate('own');
ALTER TABLE bulwark_internal.issuers ENABLE ALWAYS TRIGGER invalidate;
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON bulwark_internal.issuer_keys
	FOR EACH STATEMENT EXECUTE FUNCTION bulwark_internal.invalidate('own');
ALTER TABLE bulwark_internal.issuer_keys ENABLE ALWAYS TRIGGER invalidate;
