-- view: the ledger as people read it.  Entries are decoded when somebody reads
-- them; row security on the entries decides whose they are, so that a reader's
-- own conditions and order still find the segments' indexes.

-- Owns the view and nothing else: row security holds for it, whoever reads.
GRANT USAGE ON SCHEMA bulwark_internal TO bulwark_ledger;

CREATE FUNCTION bulwark_internal.ledger_visible_support(internal) RETURNS internal
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_ledger_visible_support';
REVOKE ALL ON FUNCTION bulwark_internal.ledger_visible_support(internal) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.ledger_visible_support(internal) IS
	'Planner support for ledger_visible(): a condition on the tenant for readers who see only their own.';

CREATE FUNCTION bulwark_internal.ledger_visible(tenant uuid, leaf bytea) RETURNS boolean
	LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF COST 2 SUPPORT bulwark_internal.ledger_visible_support
	AS 'MODULE_PATHNAME', 'bulwark_ledger_visible';
REVOKE ALL ON FUNCTION bulwark_internal.ledger_visible(uuid, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark_internal.ledger_visible(uuid, bytea) TO bulwark_app, bulwark_impersonator, bulwark_auditor;
COMMENT ON FUNCTION bulwark_internal.ledger_visible(uuid, bytea) IS
	'May the reader see that an entry exists? Superusers and bulwark_auditor: every one; an identity with audit:read: those of its tenant within its affiliations.';

CREATE POLICY readers ON bulwark_internal.ledger_entries FOR SELECT TO bulwark_ledger
	USING (bulwark_internal.ledger_visible(bulwark_internal.leaf_tenant(leaf), leaf));
GRANT SELECT ON bulwark_internal.ledger_entries TO bulwark_ledger;

CREATE FUNCTION bulwark_internal.leaf_source(leaf bytea) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'bulwark_leaf_source';
CREATE FUNCTION bulwark_internal.leaf_proof(leaf bytea) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'bulwark_leaf_proof';
CREATE FUNCTION bulwark_internal.leaf_assumed_by(leaf bytea) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'bulwark_leaf_assumed_by';
CREATE FUNCTION bulwark_internal.leaf_role(leaf bytea) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'bulwark_leaf_role';
CREATE FUNCTION bulwark_internal.leaf_index(leaf bytea) RETURNS bigint
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'bulwark_leaf_index';
CREATE FUNCTION bulwark_internal.content_email(content bytea) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'bulwark_content_email';
CREATE FUNCTION bulwark_internal.content_route(content bytea) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'bulwark_content_route';
CREATE FUNCTION bulwark_internal.content_request_id(content bytea) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF AS 'MODULE_PATHNAME', 'bulwark_content_request_id';
CREATE FUNCTION bulwark_internal.content_client_addr(content bytea) RETURNS inet
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bulwark_content_client_addr';
-- Not parallel: JSON that jsonb does not take is tried in a subtransaction.
CREATE FUNCTION bulwark_internal.entry_metadata(leaf bytea, content bytea) RETURNS jsonb
	LANGUAGE c STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_entry_metadata';
CREATE FUNCTION bulwark_internal.entry_old(leaf bytea, content bytea) RETURNS jsonb
	LANGUAGE c STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_entry_old';
CREATE FUNCTION bulwark_internal.entry_new(leaf bytea, content bytea) RETURNS jsonb
	LANGUAGE c STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_entry_new';

DO $decoders$
DECLARE
	decoder regprocedure;
BEGIN
	FOR decoder IN
		SELECT oid FROM pg_proc WHERE pronamespace = 'bulwark_internal'::regnamespace
			AND (proname LIKE 'leaf\_%' OR proname LIKE 'content\_%' OR proname LIKE 'entry\_%')
	LOOP
		EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', decoder);
		EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO bulwark_app, bulwark_impersonator, bulwark_auditor, bulwark_ledger', decoder);
		IF obj_description(decoder, 'pg_proc') IS NULL THEN
			EXECUTE format('COMMENT ON FUNCTION %s IS %L', decoder, 'Decodes a part of a ledger entry, as the view bulwark.ledger shows it.');
		END IF;
	END LOOP;
END
$decoders$;

CREATE VIEW bulwark.ledger AS
	SELECT bulwark_internal.leaf_entry_id(leaf) AS entry_id,
		bulwark_internal.leaf_index(leaf) AS leaf_index,
		bulwark_internal.leaf_time(leaf) AS occurred_at,
		bulwark_internal.leaf_source(leaf) AS source,
		bulwark_internal.leaf_action(leaf) AS action,
		bulwark_internal.leaf_tenant(leaf) AS tenant_id,
		bulwark_internal.leaf_affiliation(leaf) AS affiliation,
		bulwark_internal.leaf_actor(leaf) AS actor_id,
		bulwark_internal.content_email(content) AS actor_email,
		bulwark_internal.leaf_proof(leaf) AS actor_proof,
		bulwark_internal.leaf_assumed_by(leaf) AS assumed_by,
		bulwark_internal.leaf_role(leaf) AS db_role,
		bulwark_internal.leaf_entity_type(leaf) AS entity_type,
		bulwark_internal.content_entity_id(content) AS entity_id,
		bulwark_internal.content_route(content) AS route,
		bulwark_internal.content_request_id(content) AS request_id,
		bulwark_internal.content_client_addr(content) AS client_addr,
		bulwark_internal.entry_metadata(leaf, content) AS metadata,
		bulwark_internal.entry_old(leaf, content) AS old,
		bulwark_internal.entry_new(leaf, content) AS new
	FROM bulwark_internal.ledger_entries;
ALTER VIEW bulwark.ledger OWNER TO bulwark_ledger;
REVOKE ALL ON bulwark.ledger FROM PUBLIC;
GRANT SELECT ON bulwark.ledger TO bulwark_app, bulwark_impersonator, bulwark_auditor;
COMMENT ON VIEW bulwark.ledger IS
	'The audit trail, an entry a row. Superusers and bulwark_auditor see every entry, an identity with audit:read those of its tenant within its affiliations; anyone else none. old, new and metadata: to superusers; to bulwark_auditor once it has said why (ledger_reason()); to an identity with audit:values, without columns that the current user may not select, or that are gone. leaf_index is NULL until the entry is sealed. source: captured (by a trigger), asserted (by an application), system. actor_proof: token, assumed. entity_type of a row change is its schema-qualified table, entity_id its primary key. Every statement that reads the view is an entry.';

CREATE FUNCTION bulwark.ledger_reason(reason text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_ledger_reason';
REVOKE ALL ON FUNCTION bulwark.ledger_reason(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.ledger_reason(text) TO bulwark_auditor;
COMMENT ON FUNCTION bulwark.ledger_reason(text) IS
	'Says why the contents of entries are read: for the rest of the transaction a member of bulwark_auditor sees old, new and metadata in the view ledger. Itself an entry, on disk before the call returns. reason: 1 to 1,000 characters. Errors: 22023 an empty or overlong reason; 55000 the entry could not be made durable (a standby, no root key, no worker).';

CREATE FUNCTION bulwark.ledger_export(format text, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS SETOF text
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'bulwark_ledger_export';
REVOKE ALL ON FUNCTION bulwark.ledger_export(text, timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.ledger_export(text, timestamptz, timestamptz) TO bulwark_app, bulwark_impersonator, bulwark_auditor;
COMMENT ON FUNCTION bulwark.ledger_export(text, timestamptz, timestamptz) IS
	'The entries that the reader sees in the view ledger, a line each, in the order of their leaves. format: jsonl (with leaf records, contents, blocks and checkpoints: bulwarkctl verify proves it offline), csv (RFC 4180, formulas disarmed), cef (ArcSight Common Event Format), ocsf (OCSF 1.3.0), syslog (RFC 5424). since, until: entries that occurred from the one on and before the other. jsonl shows sealed entries only, and has what is committed sealed first where it is of everything. Itself an entry. Errors: 22023 no such format; 42501 neither auditor nor an identity with audit:read; 55000 the ledger has not begun (jsonl).';
