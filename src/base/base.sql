-- base: the two schemas, the cluster roles, and the trigger by which a change of
-- who may do what reaches every back end when, and only when, it commits.

\echo Use "CREATE EXTENSION bulwark" to load this file. \quit

SET LOCAL search_path = pg_catalog, pg_temp;

-- Not preloaded: the library says so, before anything else fails for want of it.
LOAD 'MODULE_PATHNAME';

-- Plain CREATE: a schema that somebody made beforehand stops the installation.
CREATE SCHEMA bulwark;
CREATE SCHEMA bulwark_internal;
REVOKE ALL ON SCHEMA bulwark_internal FROM PUBLIC;
GRANT USAGE ON SCHEMA bulwark TO PUBLIC;
COMMENT ON SCHEMA bulwark IS 'Bulwark: the public functions and views';
COMMENT ON SCHEMA bulwark_internal IS 'Bulwark: private objects; not an interface';

-- Cluster roles.  One that carries our label was made by us in another database
-- of the cluster (only a superuser can set the label); any other is adopted only
-- when nobody could have prepared it.
DO $roles$
DECLARE
	wanted record;
	present record;
BEGIN
	FOR wanted IN
		SELECT * FROM (VALUES
			('bulwark_admin', false, 'manages tenants, members and policies'),
			('bulwark_keys', false, 'manages keys, their rotation and destruction'),
			('bulwark_retention', false, 'manages retention, holds and erasure'),
			('bulwark_impersonator', false, 'trusted back ends: may assume an identity'),
			('bulwark_secrets', false, 'trusted back ends: may open credentials'),
			('bulwark_app', false, 'application logins: may prove an identity and are subject to it'),
			('bulwark_auditor', false, 'verifies the ledger'),
			('bulwark_ledger', false, 'owns the view of the ledger; for nobody to be a member of'),
			('bulwark_maintenance', true, 'bypasses row security for migrations, dumps and reports')
		) AS v (name, bypass, purpose)
	LOOP
		SELECT r.oid, r.rolcanlogin, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication, r.rolbypassrls,
			EXISTS (SELECT FROM pg_auth_members m WHERE r.oid IN (m.roleid, m.member)) AS related,
			EXISTS (SELECT FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid) AS granted,
			EXISTS (SELECT FROM pg_shseclabel s WHERE s.classoid = 'pg_authid'::regclass AND s.objoid = r.oid
				AND s.provider = 'bulwark' AND s.label = 'bulwark:cluster-role') AS ours
		INTO present
		FROM pg_roles r WHERE r.rolname = wanted.name;

		IF NOT FOUND THEN
			EXECUTE format('CREATE ROLE %I NOLOGIN%s', wanted.name, CASE WHEN wanted.bypass THEN ' BYPASSRLS' ELSE '' END);
		ELSIF present.rolcanlogin OR present.rolsuper OR present.rolcreaterole OR present.rolcreatedb OR present.rolreplication
			OR present.rolbypassrls AND NOT (present.ours AND wanted.bypass)
		THEN
			RAISE EXCEPTION 'role "%" exists with LOGIN or attributes', wanted.name
				USING ERRCODE = 'duplicate_object',
					HINT = 'Rename or drop it: bulwark does not adopt a role that somebody may have prepared.';
		ELSIF NOT present.ours AND (present.related OR present.granted) THEN
			RAISE EXCEPTION 'role "%" exists with members or grants', wanted.name
				USING ERRCODE = 'duplicate_object',
					HINT = 'Rename or drop it: bulwark does not adopt a role that somebody may have prepared.';
		ELSIF wanted.bypass AND NOT present.rolbypassrls THEN
			EXECUTE format('ALTER ROLE %I BYPASSRLS', wanted.name);
		END IF;

		EXECUTE format('COMMENT ON ROLE %I IS %L', wanted.name, 'Bulwark: ' || wanted.purpose);
		EXECUTE format('SECURITY LABEL FOR bulwark ON ROLE %I IS %L', wanted.name, 'bulwark:cluster-role');
	END LOOP;
END
$roles$;

-- The random id of this database, part of the realm that tickets are bound to.
-- Not dumped: a restored copy is another database.
CREATE TABLE bulwark_internal.database_identity (
	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	id uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO bulwark_internal.database_identity DEFAULT VALUES;
ALTER TABLE bulwark_internal.database_identity ENABLE ROW LEVEL SECURITY;

-- Not dumped: always empty; its relcache invalidation is the signal.
CREATE TABLE bulwark_internal.membership_signal ();
ALTER TABLE bulwark_internal.membership_signal ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION bulwark_internal.invalidate() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'bulwark_invalidate';
REVOKE ALL ON FUNCTION bulwark_internal.invalidate() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.invalidate() IS
	'Statement trigger: tells every back end, at commit, to read memberships anew (or, with the argument own, what it keeps of that table alone).';
