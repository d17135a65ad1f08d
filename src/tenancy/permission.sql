-- permission: what policies ask of the identity in force.  These, with
-- principal_id() and tenant_id(), are all that PUBLIC can execute.

CREATE FUNCTION bulwark.tenant_key() RETURNS text
	LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF COST 1 AS 'MODULE_PATHNAME', 'bulwark_tenant_key';
COMMENT ON FUNCTION bulwark.tenant_key() IS
	'The key of the tenant of the identity in force, by which tables with a text tenant column name it; NULL without an identity. Never raises.';

CREATE FUNCTION bulwark.tenant_key_int8() RETURNS bigint
	LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF COST 1 AS 'MODULE_PATHNAME', 'bulwark_tenant_key_int8';
COMMENT ON FUNCTION bulwark.tenant_key_int8() IS
	'The same key as a number, for integer tenant columns; NULL without an identity or where the key is not canonical decimal. Never raises.';

CREATE FUNCTION bulwark.affiliations_with(resource text, action text) RETURNS uuid[]
	LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF COST 1 AS 'MODULE_PATHNAME', 'bulwark_affiliations_with';
COMMENT ON FUNCTION bulwark.affiliations_with(text, text) IS
	'The affiliations in which the identity in force may do action on resource (with a tenant-wide role: all of the tenant''s); NULL without an identity. Never raises.';

CREATE FUNCTION bulwark.affiliation_keys_with(resource text, action text) RETURNS text[]
	LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF COST 1 AS 'MODULE_PATHNAME', 'bulwark_affiliation_keys_with';
COMMENT ON FUNCTION bulwark.affiliation_keys_with(text, text) IS
	'As affiliations_with(), by key: for text affiliation columns. Never raises.';

CREATE FUNCTION bulwark.affiliation_keys_int8_with(resource text, action text) RETURNS bigint[]
	LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF COST 1 AS 'MODULE_PATHNAME', 'bulwark_affiliation_keys_int8_with';
COMMENT ON FUNCTION bulwark.affiliation_keys_int8_with(text, text) IS
	'As affiliations_with(), by key: for integer affiliation columns, leaving out keys that are not canonical decimal. Never raises.';

CREATE FUNCTION bulwark_internal.affiliation_support(internal) RETURNS internal
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'bulwark_affiliation_support';
REVOKE ALL ON FUNCTION bulwark_internal.affiliation_support(internal) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.affiliation_support(internal) IS
	'Planner support for bulwark.affiliation_visible().';

CREATE FUNCTION bulwark.affiliation_visible(affiliation anyelement, resource text, action text) RETURNS boolean
	LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF COST 1 SUPPORT bulwark_internal.affiliation_support
	AS 'MODULE_PATHNAME', 'bulwark_affiliation_visible';
COMMENT ON FUNCTION bulwark.affiliation_visible(anyelement, text, text) IS
	'May the identity in force do action on resource in that affiliation? affiliation: its id (uuid) or key (smallint, integer, bigint, text). A tenant-wide role sees all, NULL too; false without an identity. Never raises.';

CREATE FUNCTION bulwark.permitted(resource text, action text) RETURNS boolean
	LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF COST 1 AS 'MODULE_PATHNAME', 'bulwark_permitted';
COMMENT ON FUNCTION bulwark.permitted(text, text) IS
	'May the identity in force do action on resource anywhere in its tenant? False without an identity. Never raises.';
