-- A threat-intelligence service as it was before Bulwark: one database for many
-- customers, a tenant column on some tables, foreign keys for the rest, and
-- nothing that keeps a query inside its tenant.

CREATE TABLE countries (
	code char(2) PRIMARY KEY,
	name text NOT NULL
);

CREATE TABLE customers (
	tenant_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	slug text NOT NULL UNIQUE
);

-- A customer's parts, as a tree.
CREATE TABLE branches (
	affiliation_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	tenant_id uuid NOT NULL REFERENCES customers,
	parent_id uuid REFERENCES branches,
	slug text NOT NULL,
	UNIQUE (tenant_id, slug)
);

-- Invented people, in whose name fraudsters are spoken to.
CREATE TABLE personas (
	persona_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	tenant_id uuid NOT NULL REFERENCES customers,
	affiliation_id uuid NOT NULL REFERENCES branches,
	name text NOT NULL,
	country char(2) NOT NULL REFERENCES countries,
	status text NOT NULL DEFAULT 'active'
);
CREATE INDEX ON personas (tenant_id, affiliation_id);

CREATE TABLE phone_numbers (
	number text PRIMARY KEY,
	persona_id bigint NOT NULL REFERENCES personas ON DELETE CASCADE
);
CREATE INDEX ON phone_numbers (persona_id);

-- The logs belong to whom their persona belongs to; calls by month.
CREATE TABLE calls (
	call_id bigint GENERATED ALWAYS AS IDENTITY,
	persona_id bigint NOT NULL REFERENCES personas ON DELETE CASCADE,
	started_at timestamptz NOT NULL,
	seconds integer NOT NULL,
	caller text NOT NULL,
	PRIMARY KEY (call_id, started_at)
) PARTITION BY RANGE (started_at);
CREATE TABLE calls_2025_01 PARTITION OF calls FOR VALUES FROM ('2025-01-01Z') TO ('2025-02-01Z');
CREATE TABLE calls_2025_02 PARTITION OF calls FOR VALUES FROM ('2025-02-01Z') TO ('2025-03-01Z');
CREATE TABLE calls_2025_03 PARTITION OF calls FOR VALUES FROM ('2025-03-01Z') TO ('2025-04-01Z');
CREATE TABLE calls_2025_04 PARTITION OF calls FOR VALUES FROM ('2025-04-01Z') TO ('2025-05-01Z');
CREATE INDEX ON calls (persona_id);

CREATE TABLE sms (
	sms_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	persona_id bigint NOT NULL REFERENCES personas ON DELETE CASCADE,
	received_at timestamptz NOT NULL,
	body text NOT NULL
);
CREATE INDEX ON sms (persona_id);

CREATE TABLE emails (
	email_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	persona_id bigint NOT NULL REFERENCES personas ON DELETE CASCADE,
	received_at timestamptz NOT NULL,
	subject text NOT NULL
);
CREATE INDEX ON emails (persona_id);

CREATE TABLE attachments (
	attachment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	email_id bigint NOT NULL REFERENCES emails ON DELETE CASCADE,
	filename text NOT NULL
);
CREATE INDEX ON attachments (email_id);

CREATE TABLE threat_actors (
	threat_actor_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	tenant_id uuid NOT NULL REFERENCES customers,
	affiliation_id uuid REFERENCES branches,	-- NULL: not yet assigned
	alias text NOT NULL
);
CREATE INDEX ON threat_actors (tenant_id, affiliation_id);

CREATE TABLE injection_targets (
	target_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	tenant_id uuid NOT NULL REFERENCES customers,
	affiliation_id uuid NOT NULL REFERENCES branches,
	iban text NOT NULL
);
CREATE INDEX ON injection_targets (tenant_id, affiliation_id);

CREATE TABLE integrations (
	integration_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	tenant_id uuid NOT NULL REFERENCES customers,
	kind text NOT NULL,
	endpoint text NOT NULL
);
CREATE INDEX ON integrations (tenant_id);

-- What the application's login may do, as in any database.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO demo_app, demo_bff;
