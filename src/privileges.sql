-- Last of all: what this script granted is all that anybody has.  Default
-- privileges of the installing role would add to it, or take the accessors from
-- PUBLIC, without a word.
DO $privileges$
DECLARE
	cluster_roles CONSTANT oid[] := ARRAY(
		SELECT oid FROM pg_roles WHERE rolname IN ('bulwark_admin', 'bulwark_keys', 'bulwark_retention',
			'bulwark_impersonator', 'bulwark_secrets', 'bulwark_app', 'bulwark_auditor', 'bulwark_ledger', 'bulwark_maintenance'));
	accessors CONSTANT regprocedure[] := ARRAY['bulwark.principal_id()', 'bulwark.tenant_id()', 'bulwark.tenant_key()',
		'bulwark.tenant_key_int8()', 'bulwark.affiliations_with(text, text)',
		'bulwark.affiliation_keys_with(text, text)', 'bulwark.affiliation_keys_int8_with(text, text)',
		'bulwark.affiliation_visible(anyelement, text, text)', 'bulwark.permitted(text, text)'];
	accessor regprocedure;
	surplus record;
BEGIN
	IF EXISTS (SELECT FROM pg_default_acl d, aclexplode(d.defaclacl) a
		WHERE d.defaclrole = current_user::regrole AND a.grantee = ANY (cluster_roles))
	THEN
		RAISE EXCEPTION 'default privileges of role "%" grant to bulwark''s roles', current_user
			USING ERRCODE = 'object_not_in_prerequisite_state',
				HINT = 'Revoke them with ALTER DEFAULT PRIVILEGES, or create the extension as another superuser.';
	END IF;

	FOR surplus IN
		SELECT object, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee
		FROM (
			SELECT 'ROUTINE ' || oid::regprocedure AS object, proowner AS owner, proacl AS acl, oid = ANY (accessors) AS open
			FROM pg_proc WHERE pronamespace IN ('bulwark'::regnamespace, 'bulwark_internal'::regnamespace)
			UNION ALL
			SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || oid::regclass, relowner, relacl, false
			FROM pg_class WHERE relnamespace IN ('bulwark'::regnamespace, 'bulwark_internal'::regnamespace)
				AND relkind IN ('r', 'p', 'v', 'm', 'S')
			UNION ALL
			SELECT 'TYPE ' || t.oid::regtype, typowner, typacl, true
			FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
			WHERE typnamespace IN ('bulwark'::regnamespace, 'bulwark_internal'::regnamespace)
				AND typelem = 0 AND COALESCE(c.relkind, 'c') = 'c'
			UNION ALL
			SELECT 'SCHEMA ' || oid::regnamespace, nspowner, nspacl, nspname = 'bulwark'
			FROM pg_namespace WHERE nspname IN ('bulwark', 'bulwark_internal')
		) o, aclexplode(o.acl) a
		WHERE a.grantee <> o.owner AND a.grantee <> ALL (cluster_roles) AND NOT (o.open AND a.grantee = 0)
	LOOP
		EXECUTE format('REVOKE ALL ON %s FROM %s', surplus.object, surplus.grantee);
	END LOOP;

	FOREACH accessor IN ARRAY accessors LOOP
		EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', accessor);
	END LOOP;
END
$privileges$;
REVOKE CREATE ON SCHEMA bulwark FROM PUBLIC;
